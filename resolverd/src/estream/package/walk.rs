//! Reads the files of a component's directory from one open directory, without following a link.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use catalogue_schema::dialect::estream::MANIFEST;
use catalogue_schema::dialect::estream::component::{Declared, MANIFEST_BYTES_MAX, Written};
use catalogue_schema::error::{ParseError, Position, escaped};
use catalogue_schema::model::Refusal;
use catalogue_schema::path::DocPath;
use glob::Pattern;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use crate::api::{Code, Failure};
use crate::estream::package::include::{Glob, Globs, PATTERNS_MAX, Progress};
use crate::estream::package::{NOISE, PRIVATE_KEY, of_files, secret};
use crate::materialize::archive::Bounds;
use crate::materialize::names;
use crate::materialize::tree::at_most;

/// The files at the top that belong to every component.
const ALWAYS: [&str; 5] = [MANIFEST, "LICEN[SC]E*", "COPYING*", "NOTICE*", "licen[sc]e*"];
/// What people read first where the manifest names nothing.
const README: &str = "README.md";
/// The most entries of a directory tree that are looked at, so that a wrong directory is soon told.
const ENTRIES_MAX: usize = 200_000;
/// The most of what is left out that is named.
const LEFT_OUT_MAX: usize = 1_000;

/// An open directory of a component.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

/// What lies in a component's directory.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The files that are published.
    pub(super) files: BTreeMap<DocPath, Vec<u8>>,
    /// What is left out.
    pub(super) left_out: Vec<String>,
    /// Patterns that name nothing.
    pub(super) unmatched: Vec<String>,
    /// What would be published and cannot.
    pub(super) refused: Vec<Refusal>,
    /// Patterns that are none.
    pub(super) patterns: Vec<ParseError>,
}

impl Root {
    /// Opens a component's directory.
    ///
    /// **Errors**: E008 `package.directory`.
    pub(super) fn open(directory: &Path) -> Result<Root, Failure> {
        // The caller may name the directory by a link; nothing below it is reached by one.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, directory, flags, Mode::empty()).map(Root).map_err(|errno| {
            let detail = format!("cannot read the directory {}: {errno}", directory.display());
            Failure::new(Code::ManifestInvalid, "package.directory", detail).hint(
                "name the directory that holds estream-component.toml; resolverd scaffold makes a new one",
            )
        })
    }

    /// Reads the manifest.
    ///
    /// **Errors**: E008 `package.manifest`.
    pub(super) fn manifest(&self) -> Result<Vec<u8>, Failure> {
        let failed = |found: String| {
            Failure::new(
                Code::ManifestInvalid,
                "package.manifest",
                format!("cannot read {MANIFEST}: {found}"),
            )
            .hint("name the directory that holds it; resolverd scaffold CATEGORY NAME makes a new component")
        };
        match content(&self.0, MANIFEST, MANIFEST_BYTES_MAX as u64) {
            Ok(Content::Bytes(bytes)) => Ok(bytes),
            Ok(Content::TooLarge) => Err(failed(format!("it has more than {MANIFEST_BYTES_MAX} bytes"))),
            Ok(Content::NoFile(what)) => Err(failed(format!("it is {what}, and no file"))),
            Err(errno) => Err(failed(errno.to_string())),
        }
    }
}

/// Reads what is published of a component.
///
/// **Errors**: E008 where the system does not let it be read; E011 where it is more than `bounds` allow; what `goes_on` returns, which
/// is asked before each file.
pub(super) fn walk(
    root: &Root,
    declared: &Declared,
    own_archives: Option<String>,
    (bounds, goes_on): (&Bounds, &dyn Fn() -> Result<(), Failure>),
) -> Result<Found, Failure> {
    let mut found = Found::default();
    let (globs, own) = globs(declared, &mut found.patterns);
    let mut walker = Walker {
        noise: match declared.include {
            Some(_) => Vec::new(),
            None => NOISE.iter().filter_map(|text| Pattern::new(text).ok()).collect(),
        },
        own_archives: own_archives.filter(|_| declared.include.is_none()),
        matched: BTreeSet::new(),
        entries: 0,
        bytes: 0,
        unpacking: secret::Unpacking::start(),
        globs: &globs,
        bounds,
        goes_on,
        found,
    };
    walker.directory(&root.0, "", &globs.start())?;
    let Walker { matched, mut found, .. } = walker;
    let unmatched = own.filter(|at| !matched.contains(at)).filter_map(|at| globs.glob(at));
    found.unmatched = unmatched.map(|glob| glob.as_text().to_owned()).collect();
    if let Err(refusal) = names::check(&"the component", found.files.keys()) {
        found.refused.push(Refusal { reason: "archive.duplicate".into(), ..refusal });
    }
    Ok(found)
}

/// Returns the patterns of all that is published, and which of them are the component's own.
fn globs(declared: &Declared, wrong: &mut Vec<ParseError>) -> (Globs, std::ops::Range<usize>) {
    let ours = |text: &str| {
        let position = Position { line: 1, column: 1 };
        Glob::parse(&Written { text: text.to_owned(), field: "component".to_owned(), position }).ok()
    };
    let mut globs: Vec<Glob> = ALWAYS.iter().filter_map(|text| ours(text)).collect();
    // A name with characters that mean something in a pattern stands for itself.
    let readme = declared.readme.as_ref().map_or(README, |readme| &readme.text);
    let readme = readme.strip_prefix("./").unwrap_or(readme);
    globs.extend(ours(&readme.split('/').map(Pattern::escape).collect::<Vec<_>>().join("/")));
    let start = globs.len();
    let Some(include) = &declared.include else {
        globs.extend(ours("**"));
        return (Globs::new(globs), 0..0);
    };
    for written in include.values().flatten().take(PATTERNS_MAX) {
        match Glob::parse(written) {
            Ok(glob) => globs.push(glob),
            Err(error) => wrong.push(error),
        }
    }
    if let Some(one) = include.values().flatten().nth(PATTERNS_MAX) {
        wrong.push(one.wrong("estream.include", format!("at most {PATTERNS_MAX} patterns")));
    }
    let end = globs.len();
    (Globs::new(globs), start..end)
}

struct Walker<'w> {
    /// What is left out without `[component.include]`.
    noise: Vec<Pattern>,
    own_archives: Option<String>,
    globs: &'w Globs,
    bounds: &'w Bounds,
    /// Whether there is time for another file.
    goes_on: &'w dyn Fn() -> Result<(), Failure>,
    unpacking: secret::Unpacking,
    /// The patterns that have named a file.
    matched: BTreeSet<usize>,
    entries: usize,
    bytes: u64,
    found: Found,
}

impl Walker<'_> {
    /// Reads a directory whose path is `path`, which ends in `/` unless it is the component's.
    fn directory(&mut self, directory: &OwnedFd, path: &str, progress: &Progress) -> Result<(), Failure> {
        let unread = |errno: Errno| {
            let place = if path.is_empty() { "the component's directory" } else { path };
            let detail = format!("cannot read {}: {errno}", escaped(place));
            Failure::new(Code::ManifestInvalid, "package.unreadable", detail)
                .hint("make it readable, or leave it out")
        };
        let mut entries = Vec::new();
        for entry in Dir::read_from(directory).map_err(unread)? {
            let entry = entry.map_err(unread)?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                entries.push(entry.file_name().to_owned());
            }
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                let detail = format!("the directory has more than {ENTRIES_MAX} entries");
                return Err(Failure::new(Code::PackageTooLarge, "archive.too_many", detail).hint(
                    "name a component's directory, and what of it is published by [component.include]",
                ));
            }
        }
        // The order of a directory is its file system's; what is told first should not be.
        entries.sort();
        for entry in entries {
            let name = entry.to_string_lossy();
            let next = self.globs.step(progress, &name);
            let is_file = self.globs.that_end(&next).next().is_some();
            let below = self.globs.lead_below(&next);
            let shown = format!("{path}{}", escaped(&name));
            if !(is_file || below) || self.is_noise(path, &name) {
                self.leave_out(shown);
                continue;
            }
            let stat = statat(directory, &entry, AtFlags::SYMLINK_NOFOLLOW).map_err(unread)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if below => {
                    self.below(directory, &entry, &format!("{path}{name}"), &next).map_err(|errno| {
                        match errno {
                            Below::Failed(failure) => failure,
                            Below::Unread(errno) => unread(errno),
                        }
                    })?;
                }
                FileType::Directory => self.leave_out(format!("{shown}/")),
                FileType::RegularFile if is_file => {
                    self.matched.extend(self.globs.that_end(&next));
                    self.file(directory, &name, &format!("{path}{name}")).map_err(|found| match found {
                        Below::Failed(failure) => failure,
                        Below::Unread(errno) => unread(errno),
                    })?;
                }
                FileType::RegularFile => self.leave_out(shown),
                other => self.refuse_type(&shown, other),
            }
        }
        Ok(())
    }

    fn below(
        &mut self,
        directory: &OwnedFd,
        name: &std::ffi::CStr,
        path: &str,
        progress: &Progress,
    ) -> Result<(), Below> {
        let depth = path.split('/').count() as u64 + 1;
        if depth > self.bounds.depth {
            let expected = at_most(self.bounds.depth, "levels of directories", "release_depth");
            let refusal = Refusal::new(
                "archive.too_deep",
                "the component",
                expected,
                format!("files below {}", escaped(path)),
            );
            self.found.refused.push(refusal);
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = match openat(directory, name, flags, Mode::empty()) {
            // It was a directory a moment ago.
            Err(Errno::LOOP | Errno::NOTDIR) => {
                self.refuse_type(&escaped(path), FileType::Symlink);
                return Ok(());
            }
            open => open.map_err(Below::Unread)?,
        };
        self.directory(&open, &format!("{path}/"), progress).map_err(Below::Failed)
    }

    fn file(&mut self, directory: &OwnedFd, name: &str, path: &str) -> Result<(), Below> {
        (self.goes_on)().map_err(Below::Failed)?;
        let place = match DocPath::parse(path) {
            Ok(place) => place,
            Err(error) => {
                self.found.refused.push(Refusal::of("the component", &error));
                return Ok(());
            }
        };
        if self.found.files.len() as u64 >= self.bounds.entries {
            let expected = at_most(self.bounds.entries, "files and directories", "release_files");
            return Err(too_much("archive.too_many", expected, "more"));
        }
        let limit = self.bounds.file_bytes.min(self.bounds.unpacked_bytes);
        match content(directory, name, limit).map_err(Below::Unread)? {
            Content::Bytes(bytes) => {
                self.bytes += bytes.len() as u64;
                if self.bytes > self.bounds.unpacked_bytes {
                    let expected =
                        at_most(self.bounds.unpacked_bytes, "bytes in one release", "release_bytes");
                    return Err(too_much("archive.too_large", expected, "more"));
                }
                if secret::is_in(&bytes, &mut self.unpacking) {
                    let (expected, found) = ("nothing that is secret", format!("a private key in {path}"));
                    let refusal = Refusal::new(PRIVATE_KEY, "the component", expected, found);
                    self.found.refused.push(refusal);
                }
                self.found.files.insert(place, bytes);
            }
            Content::TooLarge => {
                let expected = at_most(limit, "bytes in one file", "file_bytes");
                self.found.refused.push(Refusal::new(
                    "archive.too_large",
                    "the component",
                    expected,
                    format!("{path} with more"),
                ));
            }
            Content::NoFile(what) => self.refuse(path, what),
        }
        Ok(())
    }

    /// Tells whether a name is left out of a component that does not say what belongs to it.
    fn is_noise(&self, path: &str, name: &str) -> bool {
        let is_own_archive = path.is_empty()
            && self
                .own_archives
                .as_ref()
                .is_some_and(|start| name.starts_with(start) && name.ends_with(".tar.gz"));
        is_own_archive || self.noise.iter().any(|pattern| pattern.matches(name))
    }

    fn leave_out(&mut self, shown: String) {
        if self.found.left_out.len() < LEFT_OUT_MAX {
            self.found.left_out.push(shown);
        }
    }

    fn refuse_type(&mut self, shown: &str, found: FileType) {
        self.refuse(shown, described(found));
    }

    fn refuse(&mut self, shown: &str, what: &str) {
        let found = format!("{shown}, which is {what}");
        let expected = "regular files in directories";
        self.found.refused.push(Refusal::new("package.entry_type", "the component", expected, found));
    }
}

/// Why something below a directory is not read.
enum Below {
    Unread(Errno),
    Failed(Failure),
}

fn too_much(reason: &'static str, expected: String, found: &str) -> Below {
    Below::Failed(of_files(&Refusal::new(reason, "the component", expected, found)))
}

/// What is behind a name.
enum Content {
    Bytes(Vec<u8>),
    TooLarge,
    NoFile(&'static str),
}

/// Reads a regular file of at most `limit` bytes.
fn content(directory: impl AsFd, name: &str, limit: u64) -> Result<Content, Errno> {
    // To open what is no file has no effect so: a link is not followed, a pipe not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Ok(Content::NoFile(described(FileType::Symlink))),
        file => file?,
    };
    let stat = fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        other => return Ok(Content::NoFile(described(other))),
    }
    let mut bytes = Vec::new();
    let read = File::from(file).take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(if bytes.len() as u64 > limit { Content::TooLarge } else { Content::Bytes(bytes) })
}

fn described(found: FileType) -> &'static str {
    match found {
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a directory",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "no regular file",
    }
}
