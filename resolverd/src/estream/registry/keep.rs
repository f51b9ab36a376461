//! A registry's own files: an empty one made, publishers registered, their keys replaced and revoked. Writes whole files, in a
//! checkout of the caller's, and follows no link there; commits nothing but the first commit of a registry that it makes.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use catalogue_schema::dialect::estream::INDEX;
use catalogue_schema::dialect::estream::write::{NewKey, NewPublisher, registered, revoked, rotated};
use catalogue_schema::error::ParseError;
use catalogue_schema::id::{ComponentId, Dialect};
use catalogue_schema::key::PublicKey;
use catalogue_schema::path::DocPath;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::api::{Code, Failure};
use crate::estream::git::{Git, GitError};
use crate::estream::registry::check::PLACEHOLDER;
use crate::estream::registry::view::PUBLISHERS;
use crate::trust::keys::{KeyError, read_named_public};
use crate::trust::signature::is_weak;

/// The largest record that is changed, in bytes; larger ones no reader takes.
const RECORD_BYTES_MAX: u64 = 1 << 20;
/// What is wrong with a directory that Git takes for a repository.
const IS_REPOSITORY: &str = "it is a Git repository itself, or has one in it that is not called .git";
/// Who is asked for a change: a forge reads it at the top and in directories that differ from forge to forge.
const OWNERS: &str = "codeowners";
/// What else lies at the top of a registry or is shown there by forges, whatever its ending.
const TAKEN: [&str; 15] = [
    INDEX,
    PUBLISHERS,
    "config",
    "readme",
    "license",
    "licence",
    "copying",
    "notice",
    "authors",
    "changelog",
    "contributing",
    "governance",
    "maintainers",
    "security",
    "support",
];
/// What a new registry says of itself.
const README: &str = include_str!("README.template.md");

/// A directory, as Git sees it.
#[derive(Debug, Clone)]
pub struct Checkout {
    /// Git, in that directory.
    pub git: Git,
    /// Where its objects lie.
    pub repository: PathBuf,
    /// The directory from the root of the repository, with a slash at its end, or nothing.
    pub root: String,
}

impl Checkout {
    /// Looks at a directory; `None` where it lies in no repository.
    ///
    /// **Errors**: there is no such directory, or Git does not read it.
    pub fn at(directory: &Path) -> Result<Option<Checkout>, Failure> {
        let directory = std::path::absolute(directory).map_err(|error| unread(directory, &error))?;
        if !directory.is_dir() {
            return Err(unread(&directory, &io::Error::other("it is no directory")));
        }
        let git = Git::in_directory(&directory);
        let place = match git.run(&["rev-parse", "--path-format=absolute", "--git-common-dir"]) {
            Ok(place) => place,
            Err(GitError::Failed { said, .. }) if said.contains("not a git repository") => return Ok(None),
            Err(GitError::Failed { said, .. }) if said.contains("safe.bareRepository") => {
                return Err(unread(&directory, &io::Error::other(IS_REPOSITORY)));
            }
            Err(error) => return Err(refused(&directory, &error)),
        };
        let read = |what: &str| {
            let told = git.run(&["rev-parse", "--path-format=absolute", what]);
            told.map_err(|error| refused(&directory, &error))
        };
        // What lies in the directory is what is looked at, so that nothing in it says where the repository is.
        let (own, found) = (directory.canonicalize(), PathBuf::from(read("--git-dir")?));
        let own = own.map_err(|error| unread(&directory, &error))?;
        if found.starts_with(&own) && found != own.join(".git") {
            return Err(unread(&directory, &io::Error::other(IS_REPOSITORY)));
        }
        let root = read("--show-prefix")?;
        Ok(Some(Checkout { git, repository: PathBuf::from(place), root }))
    }

    /// Returns the commit that a revision names.
    ///
    /// **Errors**: R011: there is none.
    pub fn commit(&self, revision: &str) -> Result<String, Failure> {
        let named = format!("{revision}^{{commit}}");
        let found = self.git.run(&["rev-parse", "--quiet", "--verify", "--end-of-options", &named]);
        found.map_err(|_| {
            let place = self.git.directory().display();
            let detail = format!("{place} has no commit {revision:?}");
            Failure::new(Code::RequestInvalid, "registry.revision", detail)
                .hint("fetch it first; a shallow clone has few commits: git fetch --unshallow. HEAD^2 is there behind a merge alone; what the merge was made onto is HEAD^1")
        })
    }

    /// Tells whether one commit follows another.
    pub fn follows(&self, base: &str, head: &str) -> bool {
        self.git.run(&["merge-base", "--is-ancestor", base, head]).is_ok()
    }

    /// Returns the files that differ from the commit, as Git lists them; `None` where it cannot tell. Git is not asked where the
    /// repository itself names programs that files pass before they are compared: they would run.
    pub fn uncommitted(&self) -> Option<Vec<String>> {
        let filters = ["config", "--includes", "--show-scope", "--name-only", "--get-regexp", "^filter\\."];
        let is_own = |line: &str| !line.starts_with("system\t") && !line.starts_with("global\t");
        match self.git.run(&filters) {
            Ok(listed) if listed.lines().any(is_own) => return None,
            Ok(_) => {}
            Err(error) if error.is_not_configured() => {}
            // Such as more than is kept: what nobody has seen may be a program.
            Err(_) => return None,
        }
        let status =
            ["status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=dirty", "--", "."];
        let listed = self.git.run(&status).ok()?;
        Some(listed.lines().filter_map(|line| line.get(3..)).map(str::to_owned).collect())
    }
}

fn refused(directory: &Path, error: &GitError) -> Failure {
    Failure::new(
        Code::RequestInvalid,
        "registry.git",
        format!("cannot read {}: {error}", directory.display()),
    )
}

fn unread(path: &Path, error: &io::Error) -> Failure {
    let detail = format!("cannot read {}: {error}", path.display());
    Failure::new(Code::RequestInvalid, "registry.file", detail)
        .hint("name the checkout of a registry; resolverd registry init DIR makes one")
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let detail = format!("cannot write {}: {error}", path.display());
    Failure::new(Code::RequestInvalid, "registry.file", detail).hint("name a place that you may write to")
}

/// Refuses a place for archives where something else of a registry lies, or what a forge or Git acts on, in whatever case of letters it
/// is written: some systems make no difference.
///
/// **Errors**: `input.path`.
pub fn for_archives(path: &DocPath) -> Result<(), ParseError> {
    let small = path.as_text().to_ascii_lowercase();
    let top = small.split(['/', '.']).next().unwrap_or_default();
    let is_acted_on = |name: &str| name.starts_with('.') || name == OWNERS;
    match TAKEN.contains(&top) || small.split('/').any(is_acted_on) {
        false => Ok(()),
        true => {
            let expected = format!(
                "a path that is free for archives: no name that begins with a dot, no {OWNERS}, and none of {} at the top",
                TAKEN.join(", ")
            );
            Err(ParseError::new("input.path", expected, path.as_text()))
        }
    }
}

/// Makes an empty registry: a repository with one commit. `archives` is where archives lie in it, where they do.
///
/// **Errors**: something lies there; Git does not do its part.
pub fn init(directory: &Path, archives: Option<&str>) -> Result<(), Failure> {
    if let Some(archives) = archives {
        let place = DocPath::parse(archives).and_then(|path| for_archives(&path));
        place.map_err(|error| {
            Failure::of(Code::RequestInvalid, &error.in_field("--archives"))
                .hint("name a directory such as archives")
        })?;
    }
    let directory = std::path::absolute(directory).map_err(|error| unwritten(directory, &error))?;
    let is_free = match fs::read_dir(&directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => directory.symlink_metadata().is_err(),
        Err(_) => false,
    };
    let taken = || {
        let detail = format!("cannot make a registry at {}: something is there", directory.display());
        Failure::new(Code::RequestInvalid, "registry.exists", detail)
            .hint("name a directory that does not exist")
    };
    if !is_free {
        return Err(taken());
    }
    let parent = directory.parent().ok_or_else(taken)?;
    // Made aside, and put into its place whole.
    let made = tempfile::Builder::new()
        .prefix(".registry-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(parent)
        .map_err(|error| unwritten(parent, &error))?;
    let mut config = json!({ "schema_version": 1, "max_package_mb": 50, "reserved_prefixes": [] });
    if let (Some(archives), Some(fields)) = (archives, config.as_object_mut()) {
        fields.insert("archives".to_owned(), archives.into());
    }
    let files = [
        ("README.md".to_owned(), README.to_owned()),
        ("config.json".to_owned(), format!("{config:#}\n")),
        (format!("index/{PLACEHOLDER}"), String::new()),
        (format!("{PUBLISHERS}/{PLACEHOLDER}"), String::new()),
    ];
    for (path, text) in &files {
        let path = made.path().join(path);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| whole(&path, text));
        written.map_err(|error| unwritten(&path, &error))?;
    }
    let git = Git::in_directory(made.path());
    let done = git
        .run(&["init", "--quiet", "--initial-branch=main", "."])
        .and_then(|_| git.run(&["add", "--force", "--", "."]))
        .and_then(|_| git.run(&["commit", "--quiet", "--message", "An empty registry"]));
    done.map_err(|error| uncommitted(&error))?;
    match fs::rename(made.path(), &directory) {
        Ok(()) => {
            // It has another name now, and stays.
            let _ = made.keep();
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Err(taken()),
        Err(error) => Err(unwritten(&directory, &error)),
    }
}

/// Says why Git did not commit.
pub fn uncommitted(error: &GitError) -> Failure {
    let failure = Failure::new(Code::RequestInvalid, "registry.git", error.to_string());
    match error.is_nameless() {
        true => failure.hint("tell git who you are: git config --global user.name NAME; git config --global user.email ADDRESS"),
        false => failure,
    }
}

/// What is done to the record of a publisher.
#[derive(Debug, Clone)]
pub enum Act<'a> {
    /// It is made, with a first key.
    Add(NewPublisher<'a>, NewKey<'a>),
    /// A key of this id is replaced.
    Rotate(&'a str, NewKey<'a>),
    /// A key of this id is revoked, at an instant in UTC.
    Revoke(&'a str, &'a str),
}

/// Writes the record of a publisher anew, in the checkout of a registry; returns its file.
///
/// **Errors**: E007: there is no such record or key; R011: there is one already, or the change makes none that readers take.
pub fn record(registry: &Path, name: &str, act: &Act<'_>) -> Result<PathBuf, Failure> {
    let named = ComponentId::from_path(Dialect::Estream, name).is_ok_and(|id| id.scope().is_empty());
    if !named || name.starts_with('-') {
        let error = ParseError::new("input.field", "a name of a-z, 0-9 and -", name);
        return Err(Failure::of(Code::RequestInvalid, &error).hint("publishers have names such as acme-fin"));
    }
    // Readers take a name that every system can have for a file.
    DocPath::parse(&format!("{PUBLISHERS}/{name}.json")).map_err(|error| {
        Failure::of(Code::RequestInvalid, &error).hint("take another name, such as acme-fin")
    })?;
    let place = registry.join(PUBLISHERS);
    match place.symlink_metadata() {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(unread(&place, &io::Error::other("it is no directory"))),
        Err(error) => return Err(unread(&place, &error)),
    }
    let file = place.join(format!("{name}.json"));
    let known = match file.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(unread(&file, &error)),
        Ok(found) if !found.is_file() || found.len() > RECORD_BYTES_MAX => {
            return Err(unread(&file, &io::Error::other("it is no record of a publisher")));
        }
        Ok(_) => Some(fs::read(&file).map_err(|error| unread(&file, &error))?),
    };
    let text = match (act, known) {
        (Act::Add(..), Some(_)) => {
            let detail = format!("{} is there already", file.display());
            return Err(Failure::new(Code::RequestInvalid, "registry.publisher_exists", detail)
                .hint("resolverd registry publisher rotate replaces a key"));
        }
        (Act::Add(publisher, key), None) => registered(publisher, key),
        (_, None) => {
            let detail = format!("{} is not there: {name} is not registered", file.display());
            return Err(Failure::new(Code::UnknownPublisher, "estream.publisher_unknown", detail)
                .hint("resolverd registry publisher add registers a publisher"));
        }
        (Act::Rotate(id, key), Some(known)) => rotated(&known, name, id, key),
        (Act::Revoke(id, at), Some(known)) => revoked(&known, name, id, at),
    };
    let text = text.map_err(|error| {
        let code =
            match error.reason.starts_with("estream.key") || error.reason.starts_with("estream.publisher") {
                true => Code::UnknownPublisher,
                false => Code::RequestInvalid,
            };
        Failure::of(code, &error)
    })?;
    let written = match act {
        Act::Add(..) => fresh(&file, &text),
        Act::Rotate(..) | Act::Revoke(..) => whole(&file, &text),
    };
    written.map_err(|error| unwritten(&file, &error))?;
    Ok(file)
}

/// Writes a file whole, in place of what was there.
fn whole(path: &Path, text: &str) -> io::Result<()> {
    aside(path, text)?.persist(path).map(drop).map_err(|error| error.error)
}

/// Writes a file whole where none is; one that has come meanwhile stays.
fn fresh(path: &Path, text: &str) -> io::Result<()> {
    aside(path, text)?.persist_noclobber(path).map(drop).map_err(|error| error.error)
}

fn aside(path: &Path, text: &str) -> io::Result<NamedTempFile> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let permissions = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Reads a public key that the caller names: a file, or its hexadecimal digits.
///
/// **Errors**: it cannot be read, or is no public ML-DSA-87 key, or one that anybody could sign for.
pub fn public_key(named: &str) -> Result<PublicKey, Failure> {
    let refused = |reason: &'static str, detail: String| {
        Failure::new(Code::RequestInvalid, reason, detail)
            .hint("resolverd keys generate ml-dsa-87 NAME makes one; publishers hand over NAME.pem")
    };
    let is_hex = named.len() > 64 && named.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        let key = PublicKey::from_hex(&named.to_ascii_lowercase())
            .map_err(|error| refused("keys.public", format!("cannot use the key: {error}")))?;
        return match is_weak(&key) {
            true => Err(refused("policy.key_weak", "anybody could sign for this key".to_owned())),
            false => Ok(key),
        };
    }
    let read = read_named_public(Path::new(named));
    read.map_err(|error: KeyError| refused(error.reason(), error.to_string()))
}
