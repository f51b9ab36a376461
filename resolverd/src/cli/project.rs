//! A project's own files as the client reads them: `lcp.toml`, `resolve.config.json` and the lock. What is sent to a daemon are
//! their values, never their places. Writes nothing.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use catalogue_schema::direct::DirectReference;
use catalogue_schema::error::ParseError;
use catalogue_schema::id::{ComponentId, Reference};
use catalogue_schema::lockfile::{Form, LOCK_BYTES_MAX, Lock};
use catalogue_schema::project::{Other, Overrides, ProjectFile};
use clap::Args;
use rustix::fs::OFlags;
use serde_json::{Map, Value, json};

use crate::api::{Code, Failure};
use crate::cli::render::{Paint, field, text};
use crate::cli::{Env, Terminal};

/// The variable that names another file than the `resolve.config.json` of the project.
const CONFIG_VARIABLE: &str = "LCOD_RESOLVER_CONFIG";
const CONFIG: &str = "resolve.config.json";
const DESCRIPTOR: &str = "lcp.toml";

/// Which project counts for a verb.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// The directory whose resolve.config.json counts [default: the current one]
    #[arg(long, value_name = "DIR")]
    project: Option<PathBuf>,
    /// Let no resolve.config.json count
    #[arg(long, conflicts_with = "project")]
    no_project: bool,
}

/// A directory, and what its files say.
#[derive(Debug)]
pub struct Room {
    directory: PathBuf,
    /// `lcp.toml`, where there is one.
    pub file: Option<ProjectFile>,
    /// `resolve.config.json`; `None` where there is none.
    pub wishes: Option<Wishes>,
}

/// A `resolve.config.json`.
#[derive(Debug)]
pub struct Wishes {
    /// Where it lies.
    path: PathBuf,
    overrides: Overrides,
}

impl Place {
    /// Returns the directory of the project.
    ///
    /// **Errors**: R011 where none is to count, which has no lock.
    pub fn directory(&self) -> Result<PathBuf, Failure> {
        match self.no_project {
            true => Err(Failure::new(Code::RequestInvalid, "arguments", "a lock is that of a project")
                .hint("leave --no-project or --locked out")),
            false => Ok(self.place().to_path_buf()),
        }
    }

    /// Reads the project's wishes; `None` where it has none, or none are to count.
    ///
    /// **Errors**: R008.
    pub fn wishes(&self, env: Env<'_>) -> Result<Option<Wishes>, Failure> {
        match self.no_project {
            true => Ok(None),
            false => wishes(self.place(), env),
        }
    }

    fn place(&self) -> &Path {
        self.project.as_deref().unwrap_or(Path::new("."))
    }
}

impl Wishes {
    /// Adds the wishes to the body of a resolve, and says what is not done of them.
    pub fn add_to(&self, body: &mut Value, terminal: &Terminal) {
        let own = self.overrides.natives.iter().map(|one| json!(one));
        if let Some(natives) = body["natives"].as_array_mut() {
            natives.extend(own);
        }
        for (name, value) in [("overlay", self.overlay()), ("mirrors", self.mirrors())] {
            if value.as_object().is_some_and(|fields| !fields.is_empty()) {
                body[name] = value;
            }
        }
        self.say(terminal);
    }

    /// Says what is not done of them.
    pub fn say(&self, terminal: &Terminal) {
        for warning in &self.overrides.warnings {
            terminal.say(&format!("warning: {} ({})", warning.text, warning.reason));
        }
    }

    /// Notes in an answer that they counted for it.
    pub fn note(&self, answer: &mut Value) {
        answer["overlay"] = json!({"file": self.path});
    }

    /// Notes in an explanation what the project uses instead, where that is something else.
    pub fn note_other(&self, answer: &mut Value) {
        let id = field(&answer["reference"], "id");
        let Ok(id) = ComponentId::parse(&id) else { return };
        let owner = &answer["source"]["id"];
        let is_taken = match (&self.overrides.sources, owner.as_str()) {
            (Some(sources), Some(owner)) => sources.iter().any(|source| source.as_text() == owner),
            _ => true,
        };
        let told = match self.overrides.other(&id) {
            Some(Other::Instead(by, word)) => json!({"uses": by, "by": word}),
            Some(Other::Direct(direct)) => json!({"uses": direct.to_string(), "by": "git"}),
            Some(Other::Own) => json!({"uses": null, "by": "path"}),
            Some(Other::NotAllowed) => json!({"uses": null, "by": "allowlist"}),
            None if !is_taken => json!({"uses": null, "by": "registry"}),
            None => return,
        };
        answer["project"] = told;
        answer["project"]["file"] = json!(self.path);
    }

    /// Returns what the project implements itself.
    pub fn natives(&self) -> &[Reference] {
        &self.overrides.natives
    }

    /// Returns the mirrors of a request.
    pub fn mirrors(&self) -> Value {
        self.overrides
            .mirrors
            .iter()
            .map(|(from, to)| (from.clone(), json!(to)))
            .collect::<Map<_, _>>()
            .into()
    }

    /// Returns the overlay of a request, without fields that say nothing.
    pub fn overlay(&self) -> Value {
        let Overrides { replace, replaced, bindings, direct, allowlist, sources, .. } = &self.overrides;
        let pairs = |pairs: &[(Reference, Reference)]| -> Map<String, Value> {
            pairs.iter().map(|(one, other)| (one.id.to_string(), json!(other))).collect()
        };
        let directories = |pairs: &[(Reference, DirectReference)]| -> Map<String, Value> {
            pairs.iter().map(|(one, other)| (one.id.to_string(), json!(other.to_string()))).collect()
        };
        let mut replaces = pairs(replace);
        replaces.extend(directories(replaced));
        let mut overlay = Map::new();
        for (name, pairs) in
            [("replace", replaces), ("bindings", pairs(bindings)), ("direct", directories(direct))]
        {
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

/// Takes the note of one answer over into another that is made of it.
pub fn keep_note(from: &Value, to: &mut Value) {
    if from["overlay"].is_object() {
        to["overlay"] = from["overlay"].clone();
    }
}

/// Returns the line that says whose wishes counted; nothing where none did.
pub fn note_text(answer: &Value) -> String {
    match answer["overlay"]["file"].as_str() {
        Some(file) => format!("overlay: {file}\n"),
        None => String::new(),
    }
}

/// Returns the line that says what the project uses instead; nothing where it uses what is explained.
pub fn other_text(answer: &Value, paint: Paint) -> Option<String> {
    let project = &answer["project"];
    let file = project["file"].as_str()?;
    let by = field(project, "by");
    let what = match by.as_str() {
        "path" => "the project implements it itself".to_owned(),
        "allowlist" => "the project may not use it: its allowlist does not name it".to_owned(),
        "registry" => "the project does not use its source".to_owned(),
        _ => format!("the project uses {} instead ({by})", text(&project["uses"])),
    };
    Some(format!("{}     {what}; {file} says so", paint.note("project")))
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
            wishes: wishes(directory, env)?,
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

/// Returns the files of a project, which nothing else may overwrite.
pub fn own_files(directory: &Path, env: Env<'_>) -> Vec<PathBuf> {
    let usual = [DESCRIPTOR, CONFIG, Form::Lcp.file_name(), Form::Resolverd.file_name()];
    let named = env(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    usual.map(|name| directory.join(name)).into_iter().chain(named).collect()
}

fn wishes(directory: &Path, env: Env<'_>) -> Result<Option<Wishes>, Failure> {
    let named = env(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = match (&named, directory == Path::new(".")) {
        (Some(path), _) => path.clone(),
        (None, true) => PathBuf::from(CONFIG),
        (None, false) => directory.join(CONFIG),
    };
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
        None => return Ok(None),
    };
    match Overrides::parse(&bytes) {
        Ok(overrides) => Ok(Some(Wishes { path, overrides })),
        Err(error) => Err(refused(Code::ConfigInvalid, &path, &error)
            .hint("correct it; every verb but lock and check goes without it by --no-project")),
    }
}

/// Reads a file of bounded size; `None` where there is none. What is no file, such as a pipe that nobody writes to, is refused
/// instead of waited for.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
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

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::ManifestInvalid, "project.file", format!("cannot read {}: {error}", path.display()))
        .hint("it has to be a regular file that you may read")
}

pub(super) fn refused(code: Code, path: &Path, error: &ParseError) -> Failure {
    let failure = Failure::of(code, error);
    Failure { detail: format!("{}: {error}", path.display()), ..failure }
}
