//! Where bytes lie and what pins them: Git objects, local files, https documents; and the file URLs of Git forges.
//!
//! A pin is a full commit id or a content digest. A branch or tag is not a pin: it is a [`Revision::Ref`], resolved when it
//! is fetched and recorded.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::digest::{Digest, unhex};
use crate::error::ParseError;
use crate::path::DocPath;

/// The longest URL in bytes.
pub const URL_BYTES_MAX: usize = 2048;

/// A full Git object id of a commit: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(Arc<str>);

impl CommitId {
    /// Reads a full commit id.
    ///
    /// **Errors**: `input.commit` for a short, symbolic or upper-case id.
    pub fn parse(text: &str) -> Result<CommitId, ParseError> {
        match (text.len(), unhex(text)) {
            (40 | 64, Some(_)) => Ok(CommitId(text.into())),
            _ => {
                let expected =
                    "a full commit id of 40 or 64 lower-case hex digits, not a short id, branch or tag";
                Err(ParseError::new("input.commit", expected, text))
            }
        }
    }

    /// Returns the hex digits.
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

/// The name of a branch or tag: `main`, `v1.0.0`, `refs/heads/main`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(Arc<str>);

impl RefName {
    /// Reads a ref name: segments in the path grammar, no leading `-`, no `..`, `@{`, `~`, `^` or `.lock` ending.
    ///
    /// **Errors**: `input.ref`.
    pub fn parse(text: &str) -> Result<RefName, ParseError> {
        let hostile = text.starts_with('-') || text.ends_with(".lock") || text.contains(['~', '^', '[', '{']);
        match DocPath::parse(text) {
            Ok(path) if !hostile && !text.contains("..") && path.as_text() == text => {
                Ok(RefName(text.into()))
            }
            _ => Err(ParseError::new("input.ref", "the name of a branch or tag", text)),
        }
    }

    /// Returns the name.
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

/// Which tree of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Revision {
    /// A pinned commit.
    Commit(CommitId),
    /// A branch or tag, resolved at fetch time: not a pin.
    Ref(RefName),
    /// Whatever `HEAD` names: not a pin.
    Head,
}

/// An `https:` URL without user, password or fragment. Other schemes, control characters and parts that start with `-` are refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpsUrl(Arc<str>);

impl HttpsUrl {
    /// Reads an https URL. The text is kept as it was written.
    ///
    /// **Errors**: `input.url_scheme`, `input.url`.
    pub fn parse(text: &str) -> Result<HttpsUrl, ParseError> {
        let refused = |expected: &str| Err(ParseError::new("input.url", expected, text));
        if text.len() > URL_BYTES_MAX {
            return refused("a URL of at most 2048 bytes");
        }
        let lower = text.to_ascii_lowercase();
        if !text.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
            || ["%00", "%0a", "%0d"].iter().any(|c| lower.contains(c))
        {
            return refused("a URL in printable ASCII without control characters");
        }
        let Some(rest) = text.strip_prefix("https://") else {
            return Err(ParseError::new("input.url_scheme", "an https:// URL", text));
        };
        if text.contains(' ') {
            return refused("a URL without spaces");
        }
        let Ok(url) = Url::parse(text) else { return refused("an https:// URL") };
        if !url.username().is_empty()
            || url.password().is_some()
            || rest.split('/').next().is_some_and(|host| host.contains('@'))
        {
            return refused(
                "a URL without user or password; credentials belong into the local configuration",
            );
        }
        if url.fragment().is_some() || rest.contains('\\') {
            return refused("a URL without fragment or backslash");
        }
        if rest.split('/').any(|part| part.starts_with('-')) {
            return refused("a URL without parts that start with -");
        }
        if url.path_segments().into_iter().flatten().any(|segment| segment == "..")
            || rest.split('/').any(|part| part == "..")
        {
            return refused("a URL without .. segments");
        }
        Ok(HttpsUrl(text.into()))
    }

    /// Returns the URL as it was written.
    pub fn as_text(&self) -> &str {
        &self.0
    }

    /// Returns the host, lower case, with the port where one is written.
    pub fn host(&self) -> &str {
        let rest = &self.0["https://".len()..];
        rest.split(['/', '?']).next().unwrap_or(rest)
    }

    /// Returns the path segments, without the query.
    pub fn segments(&self) -> Vec<&str> {
        let rest = &self.0["https://".len()..];
        let path = rest.split('?').next().unwrap_or(rest);
        path.split('/').skip(1).collect()
    }

    /// Returns `path` resolved against this document's URL (RFC 3986): below the directory that holds the document.
    ///
    /// **Errors**: `input.url`.
    pub fn sibling(&self, path: &DocPath) -> Result<HttpsUrl, ParseError> {
        let base = self.0.split('?').next().unwrap_or(&self.0);
        let directory = match base["https://".len()..].rfind('/') {
            Some(slash) => &base[.."https://".len() + slash],
            None => base,
        };
        HttpsUrl::parse(&format!("{directory}/{path}"))
    }
}

/// An absolute local path without `.` or `..` segments. Only documents that are themselves local may name one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPath(Arc<Path>);

impl LocalPath {
    /// Reads an absolute path or a `file:` URL with an empty or `localhost` authority.
    ///
    /// **Errors**: `input.path` when it is relative, climbs or holds NUL.
    pub fn parse(text: &str) -> Result<LocalPath, ParseError> {
        let refused = || ParseError::new("input.path", "an absolute path or a file: URL", text);
        let path = match text.strip_prefix("file:") {
            Some(_) => {
                let url = Url::parse(text).map_err(|_| refused())?;
                url.to_file_path().map_err(|()| refused())?
            }
            None => PathBuf::from(text),
        };
        LocalPath::from_path(&path).ok_or_else(refused)
    }

    /// Takes an absolute path; `.` segments are dropped.
    pub fn from_path(path: &Path) -> Option<LocalPath> {
        let text = path.to_str()?;
        let climbs = path.components().any(|part| matches!(part, Component::ParentDir));
        if !path.is_absolute() || climbs || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return None;
        }
        Some(LocalPath(path.components().collect::<PathBuf>().into()))
    }

    /// Returns the path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Returns the directory that holds it.
    pub fn parent(&self) -> Option<LocalPath> {
        self.0.parent().map(|parent| LocalPath(parent.into()))
    }

    /// Returns `path` below this directory.
    pub fn join(&self, path: &DocPath) -> LocalPath {
        LocalPath(self.0.join(path.as_text()).into())
    }
}

impl fmt::Display for LocalPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.display(), out)
    }
}

/// A Git repository: over https, or on this machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Repository {
    /// A remote repository.
    Https(HttpsUrl),
    /// A repository on this machine, bare or with a work tree (which is never read).
    Local(LocalPath),
}

impl fmt::Display for Repository {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repository::Https(url) => fmt::Display::fmt(url, out),
            Repository::Local(path) => write!(out, "file://{path}"),
        }
    }
}

/// Where one document lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// A file in a tree of a Git repository.
    Git {
        /// The repository.
        repository: Repository,
        /// Which tree.
        revision: Revision,
        /// The file, from the repository's root.
        path: DocPath,
    },
    /// A file on this machine.
    File {
        /// The file.
        path: LocalPath,
    },
    /// A document served over https.
    Https {
        /// Its URL.
        url: HttpsUrl,
    },
}

impl Location {
    /// Returns the commit that pins the document, where one does.
    pub fn commit(&self) -> Option<&CommitId> {
        match self {
            Location::Git { revision: Revision::Commit(commit), .. } => Some(commit),
            _ => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Git { repository, revision, path } => match revision {
                Revision::Commit(commit) => write!(out, "{repository} at {commit}: {path}"),
                Revision::Ref(name) => write!(out, "{repository} at {name}: {path}"),
                Revision::Head => write!(out, "{repository} at HEAD: {path}"),
            },
            Location::File { path } => fmt::Display::fmt(path, out),
            Location::Https { url } => fmt::Display::fmt(url, out),
        }
    }
}

/// What a sync asks a fetcher for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Want {
    /// The bytes of one document.
    Blob(Location),
    /// The listing of a directory, down to `depth` levels: sorted lines `mode type oid path`.
    Tree {
        /// The directory; its path may not be empty.
        location: Location,
        /// How many levels below it are listed, from 1.
        depth: u8,
    },
    /// The refs of a repository whose full names start with `prefix`: sorted lines `oid ref`.
    Refs {
        /// The repository.
        repository: Repository,
        /// The start of the full ref name, such as `refs/heads/`.
        prefix: RefName,
    },
}

impl Want {
    /// Tells whether the answer can never change: it is addressed by a commit.
    pub fn is_pinned(&self) -> bool {
        match self {
            Want::Blob(location) | Want::Tree { location, .. } => location.commit().is_some(),
            Want::Refs { .. } => false,
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Want::Blob(location) => fmt::Display::fmt(location, out),
            Want::Tree { location, depth } => write!(out, "{location} (listing, {depth} levels)"),
            Want::Refs { repository, prefix } => write!(out, "{repository} ({}…)", prefix.as_text()),
        }
    }
}

/// Whether the bytes that name a pointer came from this machine: only such bytes may name local files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Locality {
    /// From a `file:` document, a local repository, or the operator.
    Local,
    /// From the network.
    Remote,
}

impl Location {
    /// Returns the locality of the bytes found here.
    pub fn locality(&self) -> Locality {
        match self {
            Location::File { .. } | Location::Git { repository: Repository::Local(_), .. } => Locality::Local,
            _ => Locality::Remote,
        }
    }
}

/// A file URL of a Git forge, taken apart: what `raw.githubusercontent.com/<owner>/<repo>/<ref>/<path>` and its kin mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgeFile {
    /// The repository's URL.
    pub repository: HttpsUrl,
    /// The commit or ref segment.
    pub revision: Revision,
    /// The file.
    pub path: DocPath,
}

impl ForgeFile {
    /// Takes a forge's file URL apart; `None` when the URL has none of the known forms.
    ///
    /// Forms: `raw.githubusercontent.com/O/R/REF/PATH` (also `refs/heads/REF`), `github.com/O/R/(raw|blob)/REF/PATH`,
    /// GitLab `HOST/GROUP…/R/-/(raw|blob)/REF/PATH`, Gitea and Forgejo `HOST/O/R/raw/(branch|commit|tag)/REF/PATH`.
    pub fn parse(url: &HttpsUrl) -> Option<ForgeFile> {
        let segments = url.segments();
        let (host, rest) = (url.host(), segments.as_slice());
        let (host, project, revision, path): (&str, &[&str], &[&str], &[&str]) = match (host, rest) {
            ("raw.githubusercontent.com", [_, _, "refs", "heads" | "tags", _, _, ..]) => {
                ("github.com", &rest[..2], &rest[2..5], &rest[5..])
            }
            ("raw.githubusercontent.com", [_, _, _, _, ..]) => {
                ("github.com", &rest[..2], &rest[2..3], &rest[3..])
            }
            ("github.com", [_, _, "raw" | "blob", _, _, ..]) => (host, &rest[..2], &rest[3..4], &rest[4..]),
            (_, [_, _, "raw", "branch" | "commit" | "tag", _, _, ..]) => {
                (host, &rest[..2], &rest[4..5], &rest[5..])
            }
            (_, rest) => {
                let dash = rest.iter().position(|segment| *segment == "-")?;
                match &rest[dash + 1..] {
                    ["raw" | "blob", _, _, ..] if dash >= 2 => {
                        (host, &rest[..dash], &rest[dash + 2..dash + 3], &rest[dash + 3..])
                    }
                    _ => return None,
                }
            }
        };
        let name = revision.join("/");
        let revision = match CommitId::parse(&name) {
            Ok(commit) => Revision::Commit(commit),
            Err(_) => Revision::Ref(RefName::parse(&name).ok()?),
        };
        Some(ForgeFile {
            repository: HttpsUrl::parse(&format!("https://{host}/{}", project.join("/"))).ok()?,
            revision,
            path: DocPath::parse(&path.join("/")).ok()?,
        })
    }
}

/// Digests that a document must have, all of them.
pub type Digests = Vec<Digest>;

macro_rules! prints_text {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    )*};
}

crate::text_forms!(CommitId, RefName, HttpsUrl, LocalPath);
prints_text!(CommitId, RefName, HttpsUrl);

impl fmt::Debug for CommitId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
