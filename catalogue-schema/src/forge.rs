//! The file URLs of Git forges: which repository, revision and file `raw.githubusercontent.com/<owner>/<repo>/<ref>/<path>`
//! and its kin mean, and the operator's own patterns for forges that nobody knows.
//!
//! A pattern is two texts:
//!
//! ```text
//! file       = https://git.acme.example/{repository}/raw/{revision}/{path}
//! repository = https://git.acme.example/{repository}.git
//! ```
//!
//! In `file` each placeholder is a whole part of the path and stands once, `{path}` last. `{repository}` takes one part or
//! more where a fixed part follows it, and exactly two (owner and name) where `{revision}` follows it at once. `{revision}`
//! takes one part, or `refs/heads/NAME` or `refs/tags/NAME`. In `repository` only `{repository}` may stand.
//!
//! Never fetches: whether such a repository exists is not known here. What stands behind `?` in a URL counts for nothing.

use serde::Deserialize;

use crate::error::ParseError;
use crate::path::DocPath;
use crate::pointer::{CommitId, HttpsUrl, RefName, Revision};

/// The most patterns that an operator may give.
pub const PATTERNS_MAX: usize = 64;

/// A file URL of a forge, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgeFile {
    /// The repository's URL.
    pub repository: HttpsUrl,
    /// The commit or ref segment.
    pub revision: Revision,
    /// The file.
    pub path: DocPath,
}

/// The forges whose file URLs are understood: those of the operator's patterns, then the known ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forges {
    patterns: Vec<ForgePattern>,
}

impl Forges {
    /// Takes the operator's patterns, in the order in which they count.
    pub fn new(patterns: Vec<ForgePattern>) -> Forges {
        Forges { patterns }
    }

    /// Takes a forge's file URL apart; `None` when it has no known form, or a percent escape in its path.
    pub fn file(&self, url: &HttpsUrl) -> Option<ForgeFile> {
        self.patterns.iter().find_map(|pattern| pattern.file(url)).or_else(|| ForgeFile::parse(url))
    }

    /// Returns the URL of the same file at `commit`; a URL that names a commit already, or no forge's file, as it is.
    ///
    /// **Errors**: `input.url` when the URL's branch stands where no commit can.
    pub fn at_commit(&self, url: &HttpsUrl, commit: &CommitId) -> Result<HttpsUrl, ParseError> {
        let Some(file) = self.file(url) else { return Ok(url.clone()) };
        let Revision::Ref(name) = &file.revision else { return Ok(url.clone()) };
        let whole = url.as_text();
        let (address, query) = whole.split_at(whole.find('?').unwrap_or(whole.len()));
        let pattern = self.patterns.iter().find(|pattern| pattern.file(url).is_some());
        if let Some(address) = pattern.and_then(|pattern| pattern.written(url, commit)) {
            return HttpsUrl::parse(&format!("{address}{query}"));
        }
        let Some(start) = address.strip_suffix(&format!("/{name}/{}", file.path)) else {
            let expected = "a URL in which the commit can replace the branch";
            return Err(ParseError::new("input.url", expected, whole));
        };
        let start = ["/raw/branch", "/raw/tag", "/src/branch", "/src/tag"]
            .iter()
            .find_map(|form| Some((form, start.strip_suffix(form)?)))
            .map_or_else(|| start.to_owned(), |(form, project)| format!("{project}{}/commit", &form[..4]));
        HttpsUrl::parse(&format!("{start}/{commit}/{}{query}", file.path))
    }
}

impl ForgeFile {
    /// Takes the file URL of a known forge apart; `None` when the URL has none of the forms, or a percent escape in its path.
    ///
    /// Forms: `raw.githubusercontent.com/O/R/REF/PATH`, `(www.)github.com/O/R/(raw|blob)/REF/PATH`, GitLab
    /// `HOST/GROUP…/R/-/(raw|blob)/REF/PATH`, Gitea and Forgejo `HOST/O/R/(raw|src)/(branch|commit|tag)/REF/PATH`. REF is
    /// one segment, or `refs/heads/NAME` or `refs/tags/NAME`.
    pub fn parse(url: &HttpsUrl) -> Option<ForgeFile> {
        let segments = url.segments();
        let (host, project, file): (&str, &[&str], &[&str]) = match (host(url), segments.as_slice()) {
            ("raw.githubusercontent.com", [_, _, file @ ..]) => (GITHUB, &segments[..2], file),
            (GITHUB | "www.github.com", [_, _, "raw" | "blob", file @ ..]) => (GITHUB, &segments[..2], file),
            (host, [_, _, "raw" | "src", "commit", commit, ..]) => {
                CommitId::parse(commit).ok()?;
                (host, &segments[..2], &segments[4..])
            }
            (host, [_, _, "raw" | "src", "branch" | "tag", file @ ..]) => (host, &segments[..2], file),
            (host, all) => {
                let dash = all.iter().position(|segment| *segment == "-").filter(|dash| *dash >= 2)?;
                match &all[dash + 1..] {
                    ["raw" | "blob", file @ ..] => (host, &all[..dash], file),
                    _ => return None,
                }
            }
        };
        let (taken, revision) = revision(file)?;
        let project = plain(project)?;
        Some(ForgeFile {
            repository: HttpsUrl::parse(&format!("https://{host}/{project}")).ok()?,
            revision,
            path: plain(&file[taken..])?,
        })
    }
}

/// The host of GitHub's repositories.
const GITHUB: &str = "github.com";

/// Returns the host without the port that `https:` means anyway.
fn host(url: &HttpsUrl) -> &str {
    url.host().strip_suffix(":443").unwrap_or(url.host())
}

/// Reads the revision at the start of `parts`, and says how many of them it takes.
fn revision(parts: &[&str]) -> Option<(usize, Revision)> {
    let taken = match parts {
        ["refs", "heads" | "tags", _, ..] => 3,
        ["refs", ..] | [] => return None,
        _ => 1,
    };
    let text = parts[..taken].join("/");
    let revision = match CommitId::parse(&text) {
        Ok(commit) => Revision::Commit(commit),
        Err(_) => Revision::Ref(RefName::parse(&text).ok()?),
    };
    Some((taken, revision))
}

/// Joins parts to a path; `None` for one that is empty or holds an escape.
fn plain(parts: &[&str]) -> Option<DocPath> {
    let text = parts.join("/");
    if text.contains('%') {
        return None;
    }
    DocPath::parse(&text).ok()
}

/// The operator's word for the file URLs of one forge.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenPattern")]
pub struct ForgePattern {
    host: String,
    parts: Vec<Part>,
    /// What stands before and behind the repository's path in its URL.
    repository: (String, String),
}

/// A part of a pattern's path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Repository,
    Revision,
    Path,
}

/// A pattern as `[[forge]]` writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPattern {
    file: String,
    repository: String,
}

impl TryFrom<WrittenPattern> for ForgePattern {
    type Error = ParseError;

    fn try_from(written: WrittenPattern) -> Result<ForgePattern, ParseError> {
        ForgePattern::parse(&written.file, &written.repository)
    }
}

const REPOSITORY: &str = "{repository}";

impl ForgePattern {
    /// Reads a pattern: the form of file URLs, and that of the repository that they lie in.
    ///
    /// **Errors**: `input.forge`, with the field and what is missing or stands in the wrong place.
    pub fn parse(file: &str, repository: &str) -> Result<ForgePattern, ParseError> {
        let (host, parts) = file_parts(file).map_err(|error| error.in_field("file"))?;
        let repository = repository_parts(repository).map_err(|error| error.in_field("repository"))?;
        Ok(ForgePattern { host, parts, repository })
    }

    /// Takes a file URL of this forge apart.
    fn file(&self, url: &HttpsUrl) -> Option<ForgeFile> {
        if host(url) != self.host {
            return None;
        }
        let segments = url.segments();
        let found = matched(&self.parts, &segments)?;
        let (before, behind) = &self.repository;
        let project = plain(&segments[found.repository.clone()])?;
        Some(ForgeFile {
            repository: HttpsUrl::parse(&format!("{before}{project}{behind}")).ok()?,
            revision: found.revision,
            path: plain(&segments[found.path..])?,
        })
    }

    /// Returns the address, without its query, of the same file at `commit`.
    fn written(&self, url: &HttpsUrl, commit: &CommitId) -> Option<String> {
        let segments = url.segments();
        let found = matched(&self.parts, &segments)?;
        let part = |part: &Part| match part {
            Part::Fixed(text) => text.clone(),
            Part::Repository => segments[found.repository.clone()].join("/"),
            Part::Revision => commit.to_string(),
            Part::Path => segments[found.path..].join("/"),
        };
        let path: Vec<String> = self.parts.iter().map(part).collect();
        Some(format!("https://{}/{}", url.host(), path.join("/")))
    }
}

/// Where the placeholders of a pattern stand in a URL.
struct Found {
    repository: std::ops::Range<usize>,
    revision: Revision,
    path: usize,
}

fn matched(parts: &[Part], segments: &[&str]) -> Option<Found> {
    let longest = segments.len();
    let two = parts.windows(2).any(|pair| pair == [Part::Repository, Part::Revision]);
    let lengths = if two { 2..=2 } else { 1..=longest };
    // The shortest repository counts: a file may lie in a directory that is called like the fixed part behind it.
    lengths.into_iter().find_map(|length| matched_with(parts, segments, length))
}

fn matched_with(parts: &[Part], segments: &[&str], length: usize) -> Option<Found> {
    let (mut at, mut repository, mut named) = (0, 0..0, None);
    for part in parts {
        match part {
            Part::Fixed(text) => {
                if segments.get(at)? != text {
                    return None;
                }
                at += 1;
            }
            Part::Repository => {
                repository = at..at + length;
                at += length;
            }
            Part::Revision => {
                let (taken, revision) = revision(segments.get(at..)?)?;
                named = Some(revision);
                at += taken;
            }
            Part::Path => {}
        }
    }
    (at < segments.len()).then_some(Found { repository, revision: named?, path: at })
}

fn refused(expected: &str, found: &str) -> ParseError {
    ParseError::new("input.forge", expected, found)
}

fn file_parts(text: &str) -> Result<(String, Vec<Part>), ParseError> {
    let sample = text.replace(REPOSITORY, "r").replace("{revision}", "r").replace("{path}", "p");
    let url = HttpsUrl::parse(&sample).map_err(|error| refused(&error.expected, text))?;
    if text.contains('?') {
        return Err(refused("a pattern without a query: what stands behind ? counts for nothing", text));
    }
    let whole = text.strip_prefix("https://").unwrap_or(text);
    let (authority, path) = whole.split_once('/').unwrap_or((whole, ""));
    if authority.contains(['{', '}']) {
        return Err(refused("a host without placeholders", text));
    }
    let parts = path.split('/').map(|part| match part {
        REPOSITORY => Ok(Part::Repository),
        "{revision}" => Ok(Part::Revision),
        "{path}" => Ok(Part::Path),
        part if part.is_empty() || part.contains(['{', '}']) => Err(refused(
            "parts of the path that are fixed, or one of {repository}, {revision} and {path} alone",
            text,
        )),
        part => Ok(Part::Fixed(part.to_owned())),
    });
    let parts = parts.collect::<Result<Vec<Part>, ParseError>>()?;
    for (name, part) in
        [(REPOSITORY, Part::Repository), ("{revision}", Part::Revision), ("{path}", Part::Path)]
    {
        if parts.iter().filter(|one| **one == part).count() != 1 {
            return Err(refused(&format!("{name} once"), text));
        }
    }
    if parts.last() != Some(&Part::Path) {
        return Err(refused("{path} as the last part", text));
    }
    let at = |part: &Part| parts.iter().position(|one| one == part);
    if at(&Part::Revision) < at(&Part::Repository) {
        return Err(refused("{repository} before {revision}", text));
    }
    Ok((host(&url).to_owned(), parts))
}

fn repository_parts(text: &str) -> Result<(String, String), ParseError> {
    let pieces: Vec<&str> = text.split(REPOSITORY).collect();
    let [before, behind] = pieces.as_slice() else { return Err(refused("{repository} once", text)) };
    HttpsUrl::parse(&format!("{before}r{behind}")).map_err(|error| refused(&error.expected, text))?;
    let path = before.strip_prefix("https://").is_some_and(|rest| rest.contains('/'));
    if !path || [before, behind].iter().any(|piece| piece.contains(['{', '}', '?'])) {
        return Err(refused("an https:// URL with {repository} in its path and no other placeholder", text));
    }
    Ok(((*before).to_owned(), (*behind).to_owned()))
}

#[cfg(test)]
mod tests;
