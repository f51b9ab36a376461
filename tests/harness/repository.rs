//! Real Git repositories in a temporary directory, made by the `git` command with fixed names and dates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::harness::place;

/// The files of a tree: path and bytes.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A repository with a work tree.
#[derive(Debug)]
pub(crate) struct Repository {
    /// Where it lies.
    pub(crate) path: PathBuf,
}

impl Repository {
    /// Makes an empty repository at `path`.
    pub(crate) fn create(path: &Path) -> Repository {
        std::fs::create_dir_all(path).unwrap();
        place::git(path, &["init", "--quiet", "."]);
        Repository { path: path.to_path_buf() }
    }

    /// Commits a tree that holds exactly `files` and returns the commit's id.
    pub(crate) fn commit(&self, files: &Files) -> String {
        for entry in std::fs::read_dir(&self.path).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() && entry.file_name() == ".git" => {}
                kind if kind.is_dir() => std::fs::remove_dir_all(entry.path()).unwrap(),
                _ => std::fs::remove_file(entry.path()).unwrap(),
            }
        }
        write(&self.path, files);
        place::git(&self.path, &["add", "--all", "--force", "."]);
        place::git(&self.path, &["commit", "--quiet", "--allow-empty", "--message", "a revision"]);
        place::git(&self.path, &["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Makes a bare clone at `to`.
    pub(crate) fn bare_clone(&self, to: &Path) -> Repository {
        let (from, into) = (self.path.to_str().unwrap(), to.to_str().unwrap());
        place::git(&self.path, &["clone", "--quiet", "--bare", "--no-local", from, into]);
        Repository { path: to.to_path_buf() }
    }

    /// Returns its `file:` URL.
    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }
}

/// Writes `files` below `root`.
pub(crate) fn write(root: &Path, files: &Files) {
    for (path, bytes) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_repository_has_the_commits_it_was_given() {
    let place = tempfile::tempdir().unwrap();
    let repository = Repository::create(&place.path().join("a"));
    let files = |text: &str| Files::from([("x/y.txt".to_owned(), text.as_bytes().to_vec())]);
    let (first, second) = (repository.commit(&files("one")), repository.commit(&files("two")));
    assert_eq!((first.len(), first == second), (40, false));
    let bare = repository.bare_clone(&place.path().join("b.git"));
    assert_eq!(place::git(&bare.path, &["cat-file", "blob", &format!("{first}:x/y.txt")]), "one");
    assert_eq!(place::git(&bare.path, &["cat-file", "blob", &format!("{second}:x/y.txt")]), "two");
    let again = Repository::create(&place.path().join("c")).commit(&files("one"));
    assert_eq!(first, again, "dates and names are fixed, so ids are");
}
