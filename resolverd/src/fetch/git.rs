//! Git repositories on this machine: objects and refs only.
//!
//! A repository is read in place through its object files and its ref files. Never read: configuration, hooks, the index,
//! the work tree, attributes, replace refs, grafts, alternates. Never written: anything. Never searched: a parent directory.
//!
//! What we trust is the owner: git directory and objects belong to root or to us, because a repository that somebody else can
//! write could change between two checks. What we do not trust is the content: each object is checked against its name when
//! it is read, sizes before that, and every tree on the way by [`crate::fetch::walk`].
//!
//! Off-spec: only SHA-1 repositories with ref files (no reftable, no linked work trees) are read; others are refused by name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use catalogue_schema::error::quoted;
use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::{LocalPath, Location, RefName, Revision, Want};
use git2::{ObjectType, Oid};
use rustix::fs::OFlags;
use rustix::process::geteuid;

use crate::fetch::limit::Budget;
use crate::fetch::loose::{self, LooseError};
use crate::fetch::object::{Kind, ObjectId, ReadError};
use crate::fetch::pack::{PackError, Packs};
use crate::fetch::walk::{Errand, Walk};
use crate::fetch::{FetchError, Fetched};

/// The largest ref file, in bytes: one id, or the name of another ref.
const REF_BYTES_MAX: u64 = 1024;
/// The largest list of shallow commits, in bytes: 400,000 of them.
const SHALLOW_BYTES_MAX: u64 = 16 << 20;
/// How many annotated tags may lead from a ref to a commit.
const TAG_LEVELS_MAX: u8 = 8;
/// How many branches a message names.
const BRANCHES_SHOWN: usize = 5;
/// How deep directories below `refs/` may nest.
const REF_LEVELS_MAX: u32 = 32;

/// Answers wants about one repository, in order, with one opened repository and one memory of trees.
///
/// **Errors** of the repository: `git.repository_missing`, `git.unreadable`, `git.unsafe_layout`, `git.unsafe_owner`; of a
/// revision: `git.commit_missing`, `git.not_a_commit`, `git.ref_missing`, `git.bad_ref`, `git.object_format`; of a path:
/// those of [`Walk`]; and the limits.
pub fn fetch(path: &LocalPath, wants: &[&Want], budget: &Budget) -> Vec<Result<Fetched, FetchError>> {
    let (refs, mut objects) = match open(path, budget) {
        Ok(opened) => opened,
        Err(error) => return wants.iter().map(|want| Err(error.about(want))).collect(),
    };
    let walk = Walk::new(|id: &ObjectId, kind, bytes_max| read_object(&mut objects, id, kind, bytes_max));
    let mut visit = Visit { url: format!("file://{path}"), refs: &refs, walk, resolved: HashMap::new() };
    wants.iter().map(|want| visit.answer(want, budget)).collect()
}

/// The objects of one repository: its directory of loose objects, and its packs.
struct Objects {
    place: PathBuf,
    packs: Packs,
}

struct Visit<'a, R> {
    url: String,
    refs: &'a Refs,
    walk: Walk<R>,
    /// A branch that moves during a batch is read once, so that the batch sees one commit.
    resolved: HashMap<Revision, ObjectId>,
}

impl<R: FnMut(&ObjectId, Kind, u64) -> Result<Vec<u8>, ReadError>> Visit<'_, R> {
    fn answer(&mut self, want: &Want, budget: &Budget) -> Result<Fetched, FetchError> {
        let errand = Errand { subject: want, budget };
        budget.take_document(want)?;
        let (commit, (bytes, id)) = match want {
            Want::Blob(Location::Git { revision, path, .. }) => {
                let commit = self.resolve(revision, errand)?;
                (commit, self.walk.blob(&commit, path, errand)?)
            }
            Want::Tree { location: Location::Git { revision, path, .. }, depth } => {
                let commit = self.resolve(revision, errand)?;
                (commit, self.walk.listing(&commit, path, *depth, errand)?)
            }
            Want::Directories { location: Location::Git { revision, path, .. }, depth } => {
                let commit = self.resolve(revision, errand)?;
                (commit, self.walk.directories(&commit, path, *depth, errand)?)
            }
            Want::Refs { prefix, .. } => {
                let bytes = self.list_refs(prefix, errand)?;
                return Ok(Fetched {
                    bytes,
                    url: self.url.clone(),
                    commit: None,
                    blob: None,
                    etag: None,
                    modified: None,
                    way: Vec::new(),
                });
            }
            Want::History { commit, commits_max, .. } => {
                let commit = self.resolve(&Revision::Commit(commit.clone()), errand)?;
                let shallow = self.refs.shallow().map_err(|error| error.about(want))?;
                let bytes = self.walk.history(&commit, *commits_max, &shallow, errand)?;
                let commit = Some(commit.to_commit_id());
                return Ok(Fetched {
                    bytes,
                    url: self.url.clone(),
                    commit,
                    blob: None,
                    etag: None,
                    modified: None,
                    way: Vec::new(),
                });
            }
            Want::Blob(_) | Want::Tree { .. } | Want::Directories { .. } => {
                let refusal =
                    Refusal::new("git.not_git", want, "a place in a Git repository", "another place");
                return Err(FetchError::Refused(refusal));
            }
        };
        let way = match want {
            Want::Tree { location: Location::Git { path, .. }, .. } => self.walk.way(&commit, path),
            _ => Vec::new(),
        };
        let (commit, blob) = (Some(commit.to_commit_id()), Some(id.to_commit_id()));
        Ok(Fetched { bytes, url: self.url.clone(), commit, blob, etag: None, modified: None, way })
    }

    fn resolve(&mut self, revision: &Revision, errand: Errand<'_>) -> Result<ObjectId, FetchError> {
        if let Some(known) = self.resolved.get(revision) {
            return Ok(*known);
        }
        let names = match revision {
            // A pin is taken as it stands: a tag's id in its place is refused by the walk, never peeled.
            Revision::Commit(commit) => {
                return ObjectId::parse(commit.as_text())
                    .ok_or_else(|| refused("git.object_format", errand.subject, SHA1_ONLY, commit));
            }
            Revision::Head => vec!["HEAD".to_owned()],
            // Git allows no branch of this name.
            Revision::Ref(name) if name.as_text() == "HEAD" => vec!["HEAD".to_owned()],
            Revision::Ref(name) if name.as_text().starts_with("refs/") => vec![name.to_string()],
            Revision::Ref(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
        };
        let mut found = None;
        for name in &names {
            found = found.or(self.refs.find(name).map_err(|error| error.about(errand.subject))?);
        }
        let id = found.ok_or_else(|| {
            let found = format!("no {}; {}", names.join(" and no "), self.branches(errand));
            let expected = "a branch or tag of this repository";
            FetchError::Unreachable(Refusal::new("git.ref_missing", errand.subject, expected, found))
        })?;
        let commit = self.walk.peel(&id, TAG_LEVELS_MAX, errand)?;
        self.resolved.insert(revision.clone(), commit);
        Ok(commit)
    }

    /// Says which branches there are, for a name that leads nowhere.
    fn branches(&self, errand: Errand<'_>) -> String {
        let refs = self.refs.starting_with("refs/heads/", errand).unwrap_or_default();
        let mut names: Vec<&str> = refs.keys().filter_map(|name| name.strip_prefix("refs/heads/")).collect();
        let more = if names.len() > BRANCHES_SHOWN { ", …" } else { "" };
        names.truncate(BRANCHES_SHOWN);
        match names.is_empty() {
            true => "it has no branch: nothing was committed or fetched there yet".to_owned(),
            false => format!("its branches are {}{more}", names.join(", ")),
        }
    }

    /// **Shape**: lines `oid ref\n` sorted by the ref's full name; the id is the commit, also for annotated tags.
    /// Refs that lead to no commit, and names outside our grammar, are left out, as Git leaves out broken refs.
    fn list_refs(&mut self, prefix: &RefName, errand: Errand<'_>) -> Result<Vec<u8>, FetchError> {
        let mut refs = String::new();
        for (name, id) in self.refs.starting_with(prefix.as_text(), errand)? {
            errand.budget.take_documents(1, errand.subject)?;
            match self.walk.peel(&id, TAG_LEVELS_MAX, errand) {
                Ok(commit) => refs.push_str(&format!("{commit} {name}\n")),
                Err(limit @ FetchError::Limit(_)) => return Err(limit),
                Err(_) => {}
            }
        }
        errand.budget.take_bytes(refs.len() as u64, errand.subject)?;
        Ok(refs.into_bytes())
    }
}

/// Reads a loose object, else a packed one.
///
/// Neither is read by libgit2, for the reasons that [`loose`] and [`crate::fetch::pack`] name.
fn read_object(
    objects: &mut Objects,
    id: &ObjectId,
    kind: Kind,
    bytes_max: u64,
) -> Result<Vec<u8>, ReadError> {
    match read_loose(&objects.place, id, kind, bytes_max)? {
        Some(bytes) => Ok(bytes),
        None => read_packed(&mut objects.packs, id, kind, bytes_max),
    }
}

/// Reads `objects/<2 digits>/<38 digits>`; `None` when there is no such file.
pub(super) fn read_loose(
    objects: &Path,
    id: &ObjectId,
    kind: Kind,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, ReadError> {
    let digits = id.to_string();
    let place = objects.join(&digits[..2]).join(&digits[2..]);
    let failed = |error: FetchError| ReadError::Corrupt(error.refusal().found.clone());
    let damaged = |error: LooseError| ReadError::Corrupt(error.to_string());
    let Some(start) = read_plain(&place, loose::START_BYTES).map_err(failed)? else { return Ok(None) };
    let head = loose::head(&start).map_err(damaged)?;
    if head.kind != kind {
        return Err(ReadError::OtherKind(head.kind));
    }
    if u64::from(head.size) > bytes_max {
        return Err(ReadError::TooLarge(head.size.into()));
    }
    let stream = read_plain(&place, loose::stream_bytes_max(head.size.into())).map_err(failed)?;
    // Packed meanwhile.
    let Some(stream) = stream else { return Ok(None) };
    let bytes = loose::content(&stream, &head).map_err(damaged)?;
    proven(id, kind, bytes).map(Some)
}

fn read_packed(packs: &mut Packs, id: &ObjectId, kind: Kind, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    let damaged = |error: PackError| ReadError::Corrupt(error.to_string());
    let found = packs.find(id).map_err(damaged)?.ok_or(ReadError::Missing)?;
    if found.kind != kind {
        return Err(ReadError::OtherKind(found.kind));
    }
    if found.size > bytes_max {
        return Err(ReadError::TooLarge(found.size));
    }
    proven(id, kind, found.read().map_err(damaged)?)
}

/// Compares the content of an object with its name. The hash is libgit2's, which detects SHA-1 collisions.
fn proven(id: &ObjectId, kind: Kind, bytes: Vec<u8>) -> Result<Vec<u8>, ReadError> {
    match object_id(kind, &bytes) {
        Some(found) if found == *id => Ok(bytes),
        _ => Err(ReadError::Corrupt("its content does not have its id".to_owned())),
    }
}

/// Returns the id of an object's content; `None` where the content is one half of a SHA-1 collision.
pub fn object_id(kind: Kind, bytes: &[u8]) -> Option<ObjectId> {
    let kind = match kind {
        Kind::Commit => ObjectType::Commit,
        Kind::Tree => ObjectType::Tree,
        Kind::Blob => ObjectType::Blob,
        Kind::Tag => ObjectType::Tag,
    };
    let oid = Oid::hash_object(kind, bytes).ok()?;
    oid.as_bytes().try_into().ok().map(ObjectId::from_bytes)
}

pub(super) const SHA1_ONLY: &str = "a SHA-1 id of 40 digits; this build reads no SHA-256 repositories";
const PLAIN_LAYOUT: &str = "a repository with its own plain git directory";

fn refused(
    reason: &'static str,
    subject: &dyn fmt::Display,
    expected: &str,
    found: impl fmt::Display,
) -> FetchError {
    FetchError::Refused(Refusal::new(reason, subject, expected, found))
}

fn unsafe_layout(place: &Path, found: &str) -> FetchError {
    refused("git.unsafe_layout", &place.display(), PLAIN_LAYOUT, format!("{}: {found}", place.display()))
}

fn unreadable(place: &Path, error: &io::Error) -> FetchError {
    let found = format!("{}: {error}", place.display());
    FetchError::Unreachable(Refusal::new("git.unreadable", place.display(), "a readable repository", found))
}

/// Opens the refs, and the objects lazily, after every check of the layout.
fn open(path: &LocalPath, budget: &Budget) -> Result<(Refs, Objects), FetchError> {
    let git = git_directory(path.as_path())?;
    let objects = git.join("objects");
    check_layout(&git, &objects)?;
    let refs = Refs::open(&git, budget)?;
    let packs = Packs::new(objects.join("pack"));
    Ok((refs, Objects { place: objects, packs }))
}

/// Finds the git directory: `<path>/.git`, or the path itself where it is bare. Never looks above it.
fn git_directory(path: &Path) -> Result<PathBuf, FetchError> {
    let inside = path.join(".git");
    if let Some(metadata) = look(&inside)? {
        let kind = metadata.file_type();
        return match (kind.is_dir(), kind.is_symlink()) {
            (true, _) => Ok(inside),
            (false, true) => Err(unsafe_layout(&inside, "a symlink; name the repository that it leads to")),
            (false, false) => {
                let text = read_plain(&inside, REF_BYTES_MAX)?.unwrap_or_default();
                let target = String::from_utf8_lossy(&text);
                let target = quoted(target.trim_start_matches("gitdir:").trim());
                let found = format!(
                    "a file that leads to {target} (a linked work tree or submodule); name the main repository"
                );
                Err(unsafe_layout(&inside, &found))
            }
        };
    }
    let bare = look(&path.join("objects"))?.is_some() && look(&path.join("HEAD"))?.is_some();
    if bare {
        return Ok(path.to_owned());
    }
    let found = match look(path)? {
        Some(_) => "a place that holds neither .git nor HEAD and objects",
        None => "nothing there",
    };
    let refusal = Refusal::new("git.repository_missing", path.display(), "a Git repository", found);
    Err(FetchError::Unreachable(refusal))
}

fn check_layout(git: &Path, objects: &Path) -> Result<(), FetchError> {
    for directory in [git, objects] {
        // The path itself may be reached through a link; what lies inside may not be one.
        let metadata = fs::metadata(directory).map_err(|error| unreadable(directory, &error))?;
        if !metadata.is_dir() {
            return Err(unsafe_layout(directory, "not a directory"));
        }
        let (owner, us) = (metadata.uid(), geteuid().as_raw());
        if owner != 0 && owner != us {
            let expected = "a repository that belongs to root or to the user who runs this program";
            let found = format!("{} belongs to user {owner}, we are user {us}", directory.display());
            return Err(refused("git.unsafe_owner", &git.display(), expected, found));
        }
    }
    let links = ["objects", "objects/pack", "objects/info", "info", "refs", "HEAD", "packed-refs"];
    for place in links.map(|name| git.join(name)) {
        if look(&place)?.is_some_and(|metadata| metadata.file_type().is_symlink()) {
            return Err(unsafe_layout(&place, "a symlink; copy the repository with `git clone`"));
        }
    }
    let strangers = [
        ("objects/info/alternates", "objects borrowed from elsewhere; run `git repack -ad`, then remove it"),
        ("objects/info/http-alternates", "objects borrowed from elsewhere; remove it"),
        ("info/grafts", "grafts, which change history; remove it"),
        ("commondir", "a linked work tree; name the main repository"),
        ("reftable", "refs in the reftable format; run `git refs migrate --ref-format=files`"),
    ];
    for (name, found) in strangers {
        if look(&git.join(name))?.is_some() {
            return Err(unsafe_layout(&git.join(name), found));
        }
    }
    let replace = git.join("refs/replace");
    match look(&replace)? {
        Some(_) if !names_in(&replace)?.is_empty() => Err(unsafe_layout(&replace, REPLACED)),
        _ => Ok(()),
    }
}

const REPLACED: &str = "replace refs, which change history; remove them with `git replace -d`";

fn look(place: &Path) -> Result<Option<fs::Metadata>, FetchError> {
    match fs::symlink_metadata(place) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(unreadable(place, &error)),
    }
}

/// Returns the names in a directory, sorted; names that are not UTF-8 cannot be refs of ours and are left out.
fn names_in(directory: &Path) -> Result<Vec<String>, FetchError> {
    let read = || -> io::Result<Vec<String>> {
        let names: io::Result<Vec<_>> =
            fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect();
        let mut names: Vec<String> = names?.into_iter().filter_map(|name| name.into_string().ok()).collect();
        names.sort_unstable();
        Ok(names)
    };
    read().map_err(|error| unreadable(directory, &error))
}

/// The refs of a repository: loose files before `packed-refs`.
#[derive(Debug)]
struct Refs {
    git: PathBuf,
    packed: BTreeMap<String, ObjectId>,
}

/// What one ref file says.
enum Loose {
    Id(ObjectId),
    Symbolic(RefName),
}

impl Refs {
    fn open(git: &Path, budget: &Budget) -> Result<Refs, FetchError> {
        let place = git.join("packed-refs");
        let budget = budget.for_git_objects();
        let text = read_plain(&place, budget.readable_bytes())?.unwrap_or_default();
        budget.take_bytes(text.len() as u64, place.display())?;
        let mut packed = BTreeMap::new();
        for line in text.split(|byte| *byte == b'\n') {
            // `#` opens the header, `^` the peeled value of the tag above, which we find out ourselves.
            if line.is_empty() || matches!(line[0], b'#' | b'^') {
                continue;
            }
            let line = String::from_utf8_lossy(line);
            let (digits, name) = line.split_once(' ').unwrap_or((&line, ""));
            if name.starts_with("refs/replace/") {
                return Err(unsafe_layout(&place, REPLACED));
            }
            packed.insert(name.to_owned(), parse_id(&place, digits)?);
        }
        Ok(Refs { git: git.to_owned(), packed })
    }

    /// Returns the commits whose parents were left out when this repository was cloned.
    fn shallow(&self) -> Result<HashSet<ObjectId>, FetchError> {
        let place = self.git.join("shallow");
        let text = read_plain(&place, SHALLOW_BYTES_MAX)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().map(|line| parse_id(&place, line)).collect()
    }

    /// Returns the id that a full ref name leads to; a symbolic ref is followed once.
    fn find(&self, name: &str) -> Result<Option<ObjectId>, FetchError> {
        match self.loose(name)? {
            Some(Loose::Id(id)) => Ok(Some(id)),
            None => Ok(self.packed.get(name).copied()),
            Some(Loose::Symbolic(target)) => match self.loose(target.as_text())? {
                Some(Loose::Id(id)) => Ok(Some(id)),
                None => Ok(self.packed.get(target.as_text()).copied()),
                Some(Loose::Symbolic(_)) => {
                    let place = self.git.join(name);
                    Err(bad_ref(&place, "a symbolic ref that leads to another symbolic ref"))
                }
            },
        }
    }

    /// Returns the refs whose full names start with `prefix`, sorted by name.
    fn starting_with(
        &self,
        prefix: &str,
        errand: Errand<'_>,
    ) -> Result<BTreeMap<String, ObjectId>, FetchError> {
        let mut names: Vec<String> =
            self.packed.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        self.collect_loose("refs", prefix, 0, &mut names, errand)?;
        let mut refs = BTreeMap::new();
        for name in names {
            // A broken ref is left out; it spoils only itself.
            if RefName::parse(&name).is_ok()
                && let Ok(Some(id)) = self.find(&name)
            {
                refs.insert(name, id);
            }
        }
        Ok(refs)
    }

    fn collect_loose(
        &self,
        directory: &str,
        prefix: &str,
        level: u32,
        names: &mut Vec<String>,
        errand: Errand<'_>,
    ) -> Result<(), FetchError> {
        errand.budget.check_deadline(errand.subject)?;
        let place = self.git.join(directory);
        if level == REF_LEVELS_MAX || look(&place)?.is_none() {
            return Ok(());
        }
        for name in names_in(&place)? {
            let name = format!("{directory}/{name}");
            let Some(metadata) = look(&self.git.join(&name))? else { continue };
            if metadata.is_dir() && (name.starts_with(prefix) || prefix.starts_with(&format!("{name}/"))) {
                self.collect_loose(&name, prefix, level + 1, names, errand)?;
            } else if metadata.is_file() && name.starts_with(prefix) {
                errand.budget.take_documents(1, errand.subject)?;
                names.push(name);
            }
        }
        Ok(())
    }

    fn loose(&self, name: &str) -> Result<Option<Loose>, FetchError> {
        let place = self.git.join(name);
        let Some(bytes) = read_plain(&place, REF_BYTES_MAX)? else { return Ok(None) };
        if bytes.len() as u64 > REF_BYTES_MAX {
            return Err(bad_ref(&place, "a ref file of more than 1024 bytes"));
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end();
        let Some(target) = text.strip_prefix("ref:") else {
            return parse_id(&place, text).map(|id| Some(Loose::Id(id)));
        };
        match RefName::parse(target.trim_start()) {
            Ok(target) if target.as_text().starts_with("refs/") => Ok(Some(Loose::Symbolic(target))),
            _ => Err(bad_ref(&place, &quoted(text))),
        }
    }
}

fn parse_id(place: &Path, digits: &str) -> Result<ObjectId, FetchError> {
    match ObjectId::parse(digits) {
        Some(id) => Ok(id),
        None if digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            Err(refused("git.object_format", &place.display(), SHA1_ONLY, digits))
        }
        None => Err(bad_ref(place, &quoted(digits))),
    }
}

fn bad_ref(place: &Path, found: &str) -> FetchError {
    let expected = "an object id of 40 digits or the name of a ref";
    refused("git.bad_ref", &place.display(), expected, format!("{} in {}", found, place.display()))
}

/// Reads at most `bytes_max` + 1 bytes of a regular file that is no symlink; `None` when there is none.
fn read_plain(place: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, FetchError> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file: File = match OpenOptions::new().read(true).custom_flags(flags).open(place) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(unsafe_layout(place, "a symlink; copy the repository with `git clone`"));
        }
        Err(error) => return Err(unreadable(place, &error)),
    };
    let metadata = file.metadata().map_err(|error| unreadable(place, &error))?;
    if metadata.is_dir() {
        return Ok(None);
    }
    if !metadata.is_file() {
        return Err(unsafe_layout(place, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(place, &error))?;
    Ok(Some(bytes))
}
