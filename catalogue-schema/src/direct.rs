//! Direct references: a directory of a Git repository at a commit, named without any catalogue.
//!
//! **Shape**: `git+https://host/repo.git@<commit>#<path>`, or `git+file:///repo@<commit>#<path>` for whoever may name local files.
//! The commit is a full id; the path may not be empty. As a table: `{"type": "git", "url": …, "commit": …, "path": …}`, where `rev`
//! and `subdir` are other words for the last two. **Source**: seed 001, section 5. Never says whether it may be used.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::ParseError;
use crate::extra::Extra;
use crate::id::{CatalogueId, ComponentId, Reference, SourceId};
use crate::model::{File, Origin, Release, Verdict};
use crate::path::DocPath;
use crate::pointer::{CommitId, HttpsUrl, LocalPath, Location, Repository, Revision};
use crate::version::Version;

/// How a direct reference begins.
pub const PREFIX: &str = "git+";
/// The longest direct reference, in bytes.
pub const DIRECT_BYTES_MAX: usize = 2560;
/// What answers and locks name as source and catalogue of what a direct reference brought; no configured source may be called so.
pub const DIRECT_SOURCE: &str = "direct";

/// Returns who owns what a direct reference brought.
pub fn owner() -> CatalogueId {
    let name = SourceId::parse(DIRECT_SOURCE).expect("the word is an id");
    CatalogueId { source: name.clone(), name }
}

/// Tells whether a direct reference brought what `owner` owns.
pub fn is_direct(owner: &CatalogueId) -> bool {
    owner.source.as_text() == DIRECT_SOURCE
}

/// A directory of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectReference {
    /// The repository.
    pub repository: Repository,
    /// The commit.
    pub commit: CommitId,
    /// The directory.
    pub path: DocPath,
}

impl DirectReference {
    /// Reads a direct reference.
    ///
    /// **Errors**: `input.reference`, `input.commit`, `input.url`, `input.url_scheme`, `input.path`.
    pub fn parse(text: &str) -> Result<DirectReference, ParseError> {
        let refused = || {
            let expected = "git+URL@COMMIT#PATH, with a full commit id and the path of a directory";
            ParseError::new("input.reference", expected, text)
        };
        if text.len() > DIRECT_BYTES_MAX {
            return Err(refused());
        }
        let rest = text.strip_prefix(PREFIX).ok_or_else(refused)?;
        let (rest, path) = rest.split_once('#').ok_or_else(refused)?;
        let (url, commit) = rest.rsplit_once('@').ok_or_else(refused)?;
        let repository = match url.starts_with("file:") {
            true => Repository::Local(LocalPath::parse(url)?),
            false => Repository::Https(HttpsUrl::parse(url)?),
        };
        Ok(DirectReference {
            repository,
            commit: full_commit(commit)?,
            path: DocPath::parse(path.trim_end_matches('/'))?,
        })
    }

    /// Returns its place.
    pub fn location(&self) -> Location {
        Location::Git {
            repository: self.repository.clone(),
            revision: Revision::Commit(self.commit.clone()),
            path: self.path.clone(),
        }
    }

    /// Returns the release that the directory holds: what its descriptor calls it, and what it requires. The paths of `files` count
    /// from the directory.
    ///
    /// **Errors**: `input.path`: a whole path is longer than any may be.
    pub fn release(
        &self,
        (id, version): (ComponentId, Version),
        mut dependencies: Vec<Reference>,
        files: Vec<File>,
        verdict: Verdict,
    ) -> Result<Release, ParseError> {
        let below = |file: File| Ok(File { path: self.path.join(&file.path)?, ..file });
        dependencies.sort_by_cached_key(ToString::to_string);
        dependencies.dedup();
        Ok(Release {
            id,
            version,
            origin: Origin {
                repository: Some(self.repository.clone()),
                commit: Some(self.commit.clone()),
                path: Some(self.path.clone()),
            },
            manifest: None,
            unfetched: false,
            files: files.into_iter().map(below).collect::<Result<_, ParseError>>()?,
            archive: None,
            kind: None,
            summary: None,
            dependencies: dependencies.into(),
            implements: Vec::new(),
            promised: false,
            yanked: false,
            verdict,
            warnings: Vec::new(),
            basis: None,
            extra: Extra::default(),
        })
    }
}

/// A direct reference as a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectTable {
    /// `git`.
    #[serde(rename = "type")]
    pub kind: DirectKind,
    /// The repository.
    pub url: String,
    /// The full id of the commit.
    #[serde(default, alias = "rev")]
    pub commit: Option<String>,
    /// The directory.
    #[serde(default, alias = "subdir")]
    pub path: Option<String>,
}

/// What a direct reference leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DirectKind {
    /// A Git repository.
    Git,
}

impl DirectTable {
    /// Returns the reference.
    ///
    /// **Errors**: those of [`DirectReference::parse`].
    pub fn reference(&self) -> Result<DirectReference, ParseError> {
        let missing =
            |field: &str, expected: &str| ParseError::new("input.field", expected, "none").in_field(field);
        let commit = self
            .commit
            .as_deref()
            .ok_or_else(|| ParseError::new("input.commit", FULL_COMMIT, "none").in_field("commit"))?;
        let path = self.path.as_deref().ok_or_else(|| missing("path", "the directory of the component"))?;
        DirectReference::parse(&format!("{PREFIX}{}@{commit}#{path}", self.url))
    }
}

const FULL_COMMIT: &str =
    "the full id of a commit: a branch, a tag or a shortened id may mean another commit tomorrow";

fn full_commit(text: &str) -> Result<CommitId, ParseError> {
    CommitId::parse(text)
        .map_err(|error| ParseError { expected: FULL_COMMIT.to_owned(), ..error }.in_field("commit"))
}

impl fmt::Display for DirectReference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{PREFIX}{}@{}#{}", self.repository, self.commit, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_reference_is_read_and_printed() {
        const ID: &str = "0123456789abcdef0123456789abcdef01234567";
        let check = |text: &str, expected: Result<&str, &str>| {
            let text = text.replace("ID", ID);
            let found = DirectReference::parse(&text).map(|read| read.to_string());
            let found = found.map_err(|error| error.reason.into_owned());
            let expected = expected.map(|text| text.replace("ID", ID)).map_err(str::to_owned);
            assert_eq!(found, expected, "{text}");
        };
        let good = "git+https://e.org/a/b.git@ID#packages/x";
        check(good, Ok(good));
        check("git+https://e.org/a@b/c@ID#x", Ok("git+https://e.org/a@b/c@ID#x"));
        check("git+https://e.org/a@ID#x/", Ok("git+https://e.org/a@ID#x"));
        check("git+file:///srv/a@ID#x", Ok("git+file:///srv/a@ID#x"));
        check("git+https://e.org/a@ID", Err("input.reference"));
        check("git+https://e.org/a#x", Err("input.reference"));
        check("https://e.org/a@ID#x", Err("input.reference"));
        check("git+https://e.org/a@main#x", Err("input.commit"));
        check("git+https://e.org/a@ID#../x", Err("input.path"));
        check("git+https://e.org/a@ID#", Err("input.path"));
        check("git+http://e.org/a@ID#x", Err("input.url_scheme"));
        check("git+ssh://e.org/a@ID#x", Err("input.url_scheme"));
    }

    #[test]
    fn a_table_is_the_same_reference() {
        const ID: &str = "0123456789abcdef0123456789abcdef01234567";
        let check = |text: &str, expected: Result<&str, &str>| {
            let text = text.replace("ID", ID);
            let table: Result<DirectTable, _> = serde_json::from_str(&text);
            let found = match table {
                Err(_) => Err("no table".to_owned()),
                Ok(table) => table
                    .reference()
                    .map(|read| read.to_string())
                    .map_err(|error| format!("{} {}", error.reason, error.field)),
            };
            assert_eq!(found, expected.map(|text| text.replace("ID", ID)).map_err(str::to_owned), "{text}");
        };
        let good = Ok("git+https://e.org/a.git@ID#packages/x");
        check(r#"{"type": "git", "url": "https://e.org/a.git", "commit": "ID", "path": "packages/x"}"#, good);
        check(r#"{"type": "git", "url": "https://e.org/a.git", "rev": "ID", "subdir": "packages/x"}"#, good);
        check(
            r#"{"type": "git", "url": "https://e.org/a.git", "rev": "main", "path": "x"}"#,
            Err("input.commit commit"),
        );
        check(r#"{"type": "git", "url": "https://e.org/a.git", "path": "x"}"#, Err("input.commit commit"));
        check(r#"{"type": "git", "url": "https://e.org/a.git", "rev": "ID"}"#, Err("input.field path"));
        check(
            r#"{"type": "git", "url": "https://e.org/a.git", "rev": "ID", "commit": "ID", "path": "x"}"#,
            Err("no table"),
        );
        check(
            r#"{"type": "git", "url": "https://e.org/a.git", "ref": "main", "path": "x"}"#,
            Err("no table"),
        );
        check(r#"{"type": "http", "url": "https://e.org/a.git", "rev": "ID", "path": "x"}"#, Err("no table"));
    }
}
