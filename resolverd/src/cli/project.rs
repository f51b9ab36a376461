//! A project's own files as the client reads them: `lcp.toml`, `resolve.config.json` and the lock. What is sent to a daemon are
//! their values, never their places. Writes nothing.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use catalogue_schema::error::ParseError;
use catalogue_schema::id::Reference;
use catalogue_schema::lockfile::{Form, LOCK_BYTES_MAX, Lock};
use catalogue_schema::project::{Overrides, ProjectFile};
use rustix::fs::OFlags;
use serde_json::{Map, Value, json};

use crate::api::{Code, Failure};
use crate::cli::Env;

/// The variable that names another file than the `resolve.config.json` of the project.
const CONFIG_VARIABLE: &str = "LCOD_RESOLVER_CONFIG";
const CONFIG: &str = "resolve.config.json";
const DESCRIPTOR: &str = "lcp.toml";

/// A directory, and what its files say.
#[derive(Debug)]
pub struct Room {
    directory: PathBuf,
    /// `lcp.toml`, where there is one.
    pub file: Option<ProjectFile>,
    /// `resolve.config.json`, or nothing where there is none.
    pub overrides: Overrides,
}

/// A lock on disk.
#[derive(Debug)]
pub struct Kept {
    /// What it holds.
    pub lock: Lock,
    /// Its text.
    pub text: String,
}

impl Room {
    /// Reads the files of a directory.
    ///
    /// **Errors**: E008 (`lcp.toml`), R008 (`resolve.config.json`, or the file that `LCOD_RESOLVER_CONFIG` names and that is not
    /// there).
    pub fn read(directory: &Path, env: Env<'_>) -> Result<Room, Failure> {
        Ok(Room {
            directory: directory.to_path_buf(),
            file: project_at(directory)?,
            overrides: overrides(directory, env)?,
        })
    }

    /// Returns the path of a file of the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        match self.directory == Path::new(".") {
            true => PathBuf::from(name),
            false => self.directory.join(name),
        }
    }

    /// Reads the lock of a form; `None` where there is none.
    ///
    /// **Errors**: E008: it cannot be read; `lock.foreign` where another resolver wrote it.
    pub fn lock(&self, form: Form) -> Result<Option<Kept>, Failure> {
        lock_at(&self.path(form.file_name()))
    }

    /// Returns the overlay of a request, without fields that say nothing.
    pub fn overlay(&self) -> Value {
        let Overrides { replace, bindings, allowlist, sources, .. } = &self.overrides;
        let pairs = |pairs: &[(Reference, Reference)]| -> Map<String, Value> {
            pairs.iter().map(|(one, other)| (one.id.to_string(), json!(other))).collect()
        };
        let mut overlay = Map::new();
        for (name, pairs) in [("replace", pairs(replace)), ("bindings", pairs(bindings))] {
            if !pairs.is_empty() {
                overlay.insert(name.to_owned(), pairs.into());
            }
        }
        if !allowlist.is_empty() {
            overlay.insert("allowlist".to_owned(), json!(allowlist));
        }
        if let Some(sources) = sources {
            overlay.insert("sources".to_owned(), json!(sources));
        }
        overlay.into()
    }
}

/// Reads the `lcp.toml` of a directory; `None` where there is none.
///
/// **Errors**: E008.
pub fn project_at(directory: &Path) -> Result<Option<ProjectFile>, Failure> {
    let path = directory.join(DESCRIPTOR);
    let file = read(&path).map_err(|error| unreadable(&path, &error))?;
    let file = file.map(|bytes| ProjectFile::parse(&bytes)).transpose();
    file.map_err(|error| {
        refused(Code::ManifestInvalid, &path, &error)
            .hint("correct what the project says of itself, then lock again")
    })
}

/// Reads the lock at `path`; `None` where there is none.
///
/// **Errors**: as [`Room::lock`].
pub fn lock_at(path: &Path) -> Result<Option<Kept>, Failure> {
    let Some(bytes) = read(path).map_err(|error| unreadable(path, &error))? else { return Ok(None) };
    let (lock, _) = Lock::parse(&bytes).map_err(|error| {
        let hint = match &*error.reason {
            "lock.foreign" => "resolverd lock --overwrite replaces it by one that can be replayed",
            _ => "mend it as the message says, or write it anew with resolverd lock --overwrite",
        };
        refused(Code::ManifestInvalid, path, &error).hint(hint)
    })?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Some(Kept { lock, text }))
}

/// Returns the file of overrides that is there and does not count for a verb which reads no project.
pub fn overrides_left_out(env: Env<'_>) -> Option<PathBuf> {
    let named = env(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(CONFIG)).filter(|path| path.exists()))
}

/// Returns the files of a project, which nothing else may overwrite.
pub fn own_files(directory: &Path, env: Env<'_>) -> Vec<PathBuf> {
    let usual = [DESCRIPTOR, CONFIG, Form::Lcp.file_name(), Form::Resolverd.file_name()];
    let named = env(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    usual.map(|name| directory.join(name)).into_iter().chain(named).collect()
}

fn overrides(directory: &Path, env: Env<'_>) -> Result<Overrides, Failure> {
    let named = env(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = named.clone().unwrap_or_else(|| directory.join(CONFIG));
    let failed = |error: &io::Error| {
        let detail = format!("cannot read {}: {error}", path.display());
        Failure::new(Code::ConfigInvalid, "project.config", detail)
            .hint("it has to be a regular file that you may read")
    };
    let bytes = match read(&path).map_err(|error| failed(&error))? {
        Some(bytes) => bytes,
        None if named.is_some() => {
            let absent = io::Error::from(io::ErrorKind::NotFound);
            return Err(
                failed(&absent).hint(format!("{CONFIG_VARIABLE} names it: correct that, or leave it out"))
            );
        }
        None => return Ok(Overrides::default()),
    };
    Overrides::parse(&bytes)
        .map_err(|error| refused(Code::ConfigInvalid, &path, &error).hint("correct the project's overrides"))
}

/// Reads a file of bounded size; `None` where there is none. What is no file, such as a pipe that nobody writes to, is refused
/// instead of waited for.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LOCK_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::ManifestInvalid, "project.file", format!("cannot read {}: {error}", path.display()))
        .hint("it has to be a regular file that you may read")
}

fn refused(code: Code, path: &Path, error: &ParseError) -> Failure {
    let failure = Failure::of(code, error);
    Failure { detail: format!("{}: {error}", path.display()), ..failure }
}
