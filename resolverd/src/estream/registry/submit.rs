//! A change of a registry as a commit on a branch of its own: made in a temporary clone, whose files are never checked out, and
//! pushed with the rights of the user's own `git`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use catalogue_schema::error::escaped;
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{HttpsUrl, SshUrl};
use tempfile::TempDir;

use crate::api::{Code, Failure};
use crate::estream::git::{Git, GitError};
use crate::estream::registry::keep::uncommitted;
use crate::estream::registry::view::Home;

/// The host of repositories that are named `OWNER/REPO`.
const FORGE: &str = "github.com";

/// Where a registry's repository lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// What Git is given.
    pub url: String,
    /// Its owner and name, where it lies on the forge whose interface is known.
    pub forge: Option<Forge>,
}

/// A repository of a forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forge {
    /// The host.
    pub host: String,
    /// Who owns it.
    pub owner: String,
    /// Its name.
    pub repository: String,
}

impl Address {
    /// Reads `OWNER/REPO`, an `https://`, `ssh://` or `file://` URL, `user@host:path`, or a path that starts with `/`, `./`, `../`
    /// or is `.`.
    ///
    /// **Errors**: R011: it is none of these.
    pub fn parse(text: &str, current: &Path) -> Result<Address, Failure> {
        let refused = |found: &str| {
            let expected =
                "OWNER/REPO, an https://, ssh:// or file:// URL, or a path that starts with / or ./";
            let detail = format!("cannot use the registry {}: expected {expected}", escaped(found));
            Failure::new(Code::RequestInvalid, "registry.address", detail)
                .hint("credentials belong into git's own helpers, not into the address")
        };
        let plain = |url: String| Ok(Address { url, forge: None });
        let is_path =
            text == "." || text == ".." || ["/", "./", "../"].iter().any(|start| text.starts_with(start));
        if is_path {
            // What stands for the same directory is left out.
            let path: PathBuf = current.join(text).components().collect();
            return path.to_str().map(str::to_owned).map_or_else(|| Err(refused(text)), plain);
        }
        if let Some(path) = text.strip_prefix("file://").filter(|path| path.starts_with('/')) {
            return plain(format!("file://{path}"));
        }
        if text.starts_with("https://") {
            // A user or a password in it is no part of the grammar, and is not repeated.
            let url = HttpsUrl::parse(text).map_err(|_| refused("https://…"))?;
            let forge = match url.segments().as_slice() {
                [owner, repository] if url.host() == FORGE => Forge::of(url.host(), owner, repository),
                _ => None,
            };
            return Ok(Address { url: text.to_owned(), forge });
        }
        if let Ok(url) = SshUrl::parse(text) {
            let host = url.login().rsplit('@').next().unwrap_or_default();
            let path = url.path().trim_start_matches('/').split_once('/');
            let forge =
                path.filter(|_| host == FORGE).and_then(|(owner, name)| Forge::of(FORGE, owner, name));
            return Ok(Address { url: url.as_text().to_owned(), forge });
        }
        match text.split_once('/').and_then(|(owner, name)| Forge::of(FORGE, owner, name)) {
            Some(forge) => {
                let Forge { host, owner, repository } = &forge;
                Ok(Address { url: format!("https://{host}/{owner}/{repository}"), forge: Some(forge) })
            }
            None => Err(refused(text)),
        }
    }
}

impl Forge {
    fn of(host: &str, owner: &str, repository: &str) -> Option<Forge> {
        let is_name = |part: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !part.is_empty() && !part.starts_with(['.', '-']) && part.bytes().all(plain)
        };
        let repository = repository.strip_suffix(".git").unwrap_or(repository);
        (is_name(owner) && is_name(repository)).then(|| Forge {
            host: host.to_owned(),
            owner: owner.to_owned(),
            repository: repository.to_owned(),
        })
    }
}

/// A temporary clone of a registry.
#[derive(Debug)]
pub struct Desk {
    place: TempDir,
    git: Git,
    repository: PathBuf,
    /// Where it was cloned from.
    pub address: Address,
    /// The branch that changes are merged into.
    pub branch: String,
    /// Its newest commit.
    pub head: String,
}

impl Desk {
    /// Clones the newest commit of a registry's default branch.
    ///
    /// **Errors**: E012: it cannot be reached, or has nothing to clone; R008: nothing can be written here.
    pub fn clone(address: &Address) -> Result<Desk, Failure> {
        let failed = |error: std::io::Error| {
            let detail = format!("cannot make a directory for a clone: {error}");
            Failure::new(Code::ConfigInvalid, "registry.temporary", detail)
                .hint("set TMPDIR to a place with room")
        };
        let place = tempfile::tempdir().map_err(failed)?;
        let repository = place.path().join("registry.git");
        let git = Git::in_directory(place.path());
        let arguments =
            ["clone", "--quiet", "--bare", "--no-local", "--depth=1", "--", &address.url, "registry.git"];
        git.run(&arguments).map_err(|error| unreachable(address, &error))?;
        let git = Git::in_repository(&repository);
        let empty = |_: GitError| {
            let detail = format!("the registry {} has no commit on its default branch", address.url);
            Failure::new(Code::NetworkError, "registry.empty", detail)
                .hint("resolverd registry init DIR makes a registry; push it there first")
        };
        let head = git.run(&["rev-parse", "--quiet", "--verify", "HEAD^{commit}"]).map_err(empty)?;
        let branch = git.run(&["symbolic-ref", "--short", "HEAD"]).map_err(empty)?;
        Ok(Desk { place, git, repository, address: address.clone(), branch, head })
    }

    /// Returns a directory of its own for whatever goes with the change; it goes with the clone.
    pub fn aside(&self) -> &Path {
        self.place.path()
    }

    /// Returns Git in the clone.
    pub fn git(&self) -> &Git {
        &self.git
    }

    /// Returns the registry at a commit.
    ///
    /// **Errors**: the directory has a path that cannot be one.
    pub fn home(&self, commit: &str) -> Result<Home, Failure> {
        Home::commit(&self.repository, "", commit)
    }

    /// Commits files on top of the newest commit, and returns the commit; everything else stays as it is.
    ///
    /// **Errors**: Git does not do its part, mostly because it does not know who commits.
    pub fn commit(&self, files: &BTreeMap<DocPath, Vec<u8>>, message: &str) -> Result<String, Failure> {
        let work = || -> Result<String, GitError> {
            let git = self.git.with_index(&self.place.path().join("index"));
            git.run(&["read-tree", &self.head])?;
            for (path, bytes) in files {
                let object = git.run_with(&["hash-object", "-w", "--stdin"], bytes)?;
                git.run(&["update-index", "--add", "--cacheinfo", &format!("100644,{object},{path}")])?;
            }
            let tree = git.run(&["write-tree"])?;
            git.run_with(&["commit-tree", &tree, "-p", &self.head, "-F", "-"], message.as_bytes())
        };
        work().map_err(|error| uncommitted(&error))
    }

    /// Tells whether something lies at a path in the newest commit.
    pub fn has(&self, path: &DocPath) -> bool {
        self.git.run(&["cat-file", "-e", &format!("{}:{path}", self.head)]).is_ok()
    }

    /// Tells whether a file, and no directory, lies at a path in the newest commit.
    pub fn has_file(&self, path: &str) -> bool {
        let kind = self.git.run(&["cat-file", "-t", &format!("{}:{path}", self.head)]);
        kind.is_ok_and(|kind| kind.trim() != "tree")
    }

    /// Refuses a branch that Git takes for none, before anything is pushed.
    ///
    /// **Errors**: R011.
    pub fn can_have(&self, branch: &str) -> Result<(), Failure> {
        let name = format!("refs/heads/{branch}");
        self.git.run(&["check-ref-format", &name]).map(drop).map_err(|_| {
            let detail = format!("Git takes no branch {}", escaped(branch));
            Failure::new(Code::RequestInvalid, "registry.branch", detail)
                .hint("take a version without .lock at its end, such as 1.0.0-rc.1")
        })
    }

    /// Refuses a branch that the registry has already.
    ///
    /// **Errors**: E015 `registry.branch_exists`; E012: it cannot be reached.
    pub fn has_no(&self, branch: &str) -> Result<(), Failure> {
        let name = format!("refs/heads/{branch}");
        let found = self.git.run(&["ls-remote", "--heads", "--", &self.address.url, &name]);
        match found.map_err(|error| unreachable(&self.address, &error))?.is_empty() {
            true => Ok(()),
            false => Err(self.taken(branch)),
        }
    }

    /// Tells whether the registry has the branch, now or when one of these times has passed.
    fn is_taken(&self, branch: &str, turns: &[Duration]) -> bool {
        let is_there =
            || self.has_no(branch).is_err_and(|failure| failure.reason == "registry.branch_exists");
        let later = |turn: &Duration| {
            std::thread::sleep(*turn);
            is_there()
        };
        is_there() || turns.iter().any(later)
    }

    fn refused(&self, branch: &str, error: &GitError, is_locked: bool) -> Failure {
        let detail = format!("cannot push {branch} to {}: {error}", self.address.url);
        let hint = match is_locked {
            true => {
                "a branch that has the beginning of this name (publish beside publish/x), a lock file that was left, or missing rights \
                 are in the way: whoever keeps the registry can see which"
            }
            false => {
                "ask whoever keeps the registry for the right to push branches, or check git's credentials"
            }
        };
        Failure::new(Code::PermissionDenied, "registry.push_refused", detail).hint(hint)
    }

    fn taken(&self, branch: &str) -> Failure {
        let detail = format!("the registry {} has a branch {branch} already", self.address.url);
        Failure::new(Code::PermissionDenied, "registry.branch_exists", detail).hint(
            "it was submitted before: have it merged, or delete that branch where it was merged already",
        )
    }

    /// Pushes a commit as a new branch.
    ///
    /// **Errors**: E015: it is refused, or `registry.branch_exists`; E012: the registry cannot be reached.
    pub fn push(&self, commit: &str, branch: &str) -> Result<(), Failure> {
        let refspec = format!("{commit}:refs/heads/{branch}");
        // Where the branch has come into being meanwhile, it is not taken over.
        let lease = format!("--force-with-lease=refs/heads/{branch}:");
        let pushed = self.git.run(&["push", "--quiet", &lease, "--", &self.address.url, &refspec]);
        pushed.map(drop).map_err(|error| match error.is_unreachable() {
            true => unreachable(&self.address, &error),
            false => {
                // Git says it of a branch that somebody else is making, and of much that stays in the way.
                let is_locked = error.to_string().contains("cannot lock ref");
                match self.is_taken(branch, if is_locked { &BRANCH_TURNS } else { &[] }) {
                    true => self.taken(branch),
                    false => self.refused(branch, &error, is_locked),
                }
            }
        })
    }
}

impl Desk {
    /// Takes away a branch that was pushed, where it is still at that commit.
    ///
    /// **Errors**: Git does not do its part.
    pub fn retract(&self, commit: &str, branch: &str) -> Result<(), GitError> {
        let lease = format!("--force-with-lease=refs/heads/{branch}:{commit}");
        let gone = format!(":refs/heads/{branch}");
        self.git.run(&["push", "--quiet", &lease, "--", &self.address.url, &gone]).map(drop)
    }
}

/// How long somebody else may take to make a branch of which Git says that it is being made.
const BRANCH_TURNS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1_000),
];

fn unreachable(address: &Address, error: &GitError) -> Failure {
    let detail = format!("cannot read the registry {}: {error}", address.url);
    Failure::new(Code::NetworkError, "registry.unreachable", detail).hint(
        "check the address; git's own credentials are used, and it is never asked for any on the terminal",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn registries_are_named_in_few_ways() {
        let check = |text: &str, url: Option<&str>, forge: bool| {
            let found = Address::parse(text, Path::new("/here"));
            assert_eq!(found.as_ref().ok().map(|found| found.url.as_str()), url, "{text}");
            assert_eq!(found.is_ok_and(|found| found.forge.is_some()), forge, "{text}");
        };
        check("estream-io/registry", Some("https://github.com/estream-io/registry"), true);
        check(
            "https://github.com/estream-io/registry.git",
            Some("https://github.com/estream-io/registry.git"),
            true,
        );
        check("https://e.org/a/b", Some("https://e.org/a/b"), false);
        check("./registry", Some("/here/registry"), false);
        check("/srv/registry.git", Some("/srv/registry.git"), false);
        check("file:///srv/registry.git", Some("file:///srv/registry.git"), false);
        check("ssh://git@github.com/acme/r.git", Some("ssh://git@github.com/acme/r.git"), true);
        check("git@github.com:acme/r.git", Some("git@github.com:acme/r.git"), true);
        check("ssh://git@e.org/srv/r.git", Some("ssh://git@e.org/srv/r.git"), false);
        for text in [
            "",
            "-x",
            "registry",
            "a/b/c",
            "ext::sh -c x",
            "http://e.org/a",
            "https://u:p@e.org/a",
            "--upload-pack=x/y",
            "../..x:y/\n",
            "git://e.org/x",
            "file://host/x",
            ".a/b",
            "a/-b",
        ] {
            let found = Address::parse(text, Path::new("/here"));
            assert!(found.is_err() || text.starts_with("../"), "{text:?}: {found:?}");
        }
    }
}
