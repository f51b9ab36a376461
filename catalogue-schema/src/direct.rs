//! Direct references: a directory of a Git repository at a commit, named without any catalogue.
//!
//! **Shape**: `git+https://host/repo.git@<commit>#<path>`, or `git+file:///repo@<commit>#<path>` for whoever may name local files.
//! The commit is a full id; the path may not be empty. **Source**: seed 001, section 5. Never says whether it may be used.

use std::fmt;

use crate::error::ParseError;
use crate::path::DocPath;
use crate::pointer::{CommitId, HttpsUrl, LocalPath, Location, Repository, Revision};

/// How a direct reference begins.
pub const PREFIX: &str = "git+";
/// The longest direct reference, in bytes.
pub const DIRECT_BYTES_MAX: usize = 2560;

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
            commit: CommitId::parse(commit)?,
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
}
