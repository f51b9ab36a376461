//! Directories that are made of released files by copying: for kernels, or for whoever wants the files at a place of their own.
//!
//! A workspace for LCOD kernels (`lcod-view`), which they find through `LCOD_COMPONENTS_PATH`:
//! ```text
//! workspace.lcp.toml                  [workspace] packages = ["view"]
//! packages/view/lcp.toml              the package, whose components lie in components/
//! packages/view/components/<path>/<version>/   compose.yaml, lcp.toml and what else a release has
//! registry/components.std.jsonl       one row a component, paths from the workspace
//! .resolverd-view.json                who made it, of which releases
//! ```
//! Kernels write beside components (`lcp.lock`, `.lcod/cache`), so that everything is a copy of its own: files 0644 (0755 where
//! they may be executed), directories 0755, whatever the umask says. Every byte is compared with its digest while it is copied.
//! A new directory is made aside and comes into sight in one step. In one that is there already every file is written aside and
//! renamed by itself: what somebody else has put there, or changed, is never removed and never overwritten. The marker says which
//! files are this program's, before the first of them is written; a link is never followed.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use catalogue_schema::digest::Digest;
use catalogue_schema::id::{ComponentId, Dialect};
use catalogue_schema::model::Refusal;
use catalogue_schema::path::DocPath;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::{Builder, TempDir};

use crate::api::files::{FileLine, FilesRow};
use crate::materialize::about::read;
use crate::materialize::gate::directories;
use crate::materialize::stage::{self, remove};
use crate::materialize::{Cache, is_temporary};
use crate::shelf::durable::{self, TEMPORARY_PREFIX, sync_directory};

/// The file that says that a directory was made here. No release can hold one of this name.
pub const MARKER: &str = ".resolverd-view.json";
/// The schema of that file.
pub const SCHEMA: &str = "resolverd/view@1";
/// Where the components of a workspace lie.
const COMPONENTS: &str = "packages/view/components";
/// The list that kernels read.
const LIST: &str = "registry/components.std.jsonl";

const FILE: u32 = 0o644;
const EXECUTABLE: u32 = 0o755;
const DIRECTORY: u32 = 0o755;

/// What a directory is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `<path>/<version>/` for each release, and nothing else.
    Plain,
    /// A workspace for LCOD kernels.
    LcodView,
}

/// What the marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    schema: String,
    /// `plain` or `lcod-view`.
    layout: String,
    /// The releases, each with the digest over its files.
    releases: Vec<(String, Digest)>,
    /// The files that were written, with digest and size; two of one path while it is replaced.
    #[serde(default)]
    files: Vec<(String, Digest, u64)>,
}

impl Marker {
    fn empty(shape: Shape) -> Marker {
        Marker {
            schema: SCHEMA.to_owned(),
            layout: shape.name().to_owned(),
            releases: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Tells whether the file at `place` is one that was written under `path`.
    fn accounts_for(&self, path: &str, place: &Path) -> bool {
        self.files
            .iter()
            .filter(|(known, ..)| known == path)
            .any(|(_, digest, size)| is_file(place, digest, *size))
    }
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Shape::Plain => "plain",
            Shape::LcodView => "lcod-view",
        }
    }
}

/// What becomes of what somebody else did in a directory that is there already. It is never lost but where this program keeps the
/// directory for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    /// Nothing of others may be there.
    Refuse,
    /// Files of others stay beside; one that was changed, or stands in the way, is refused.
    Keep,
    /// Files of others stay beside; what was changed is made good.
    Mend,
}

/// A release and where its files go.
struct Item<'a> {
    row: &'a FilesRow,
    id: ComponentId,
    /// From the directory.
    place: String,
}

/// Makes the directory `place` of `rows`, or adds them to one that was made here before. A plain directory keeps the releases
/// that were put there before; a workspace holds these and no others.
///
/// **Errors**: `files.unsafe_dest`: something is there that was not made here, or was changed since; `files.view`: a release has no
/// place in such a directory; `cache.changed`: a file is not what it was published as; `files.write`, `no_space`.
pub fn put(place: &Path, shape: Shape, rows: &[FilesRow]) -> Result<(), Refusal> {
    let care = match shape {
        Shape::Plain => Care::Refuse,
        Shape::LcodView => Care::Keep,
    };
    place_at(place, shape, &items(shape, rows)?, care)
}

fn place_at(place: &Path, shape: Shape, items: &[Item<'_>], care: Care) -> Result<(), Refusal> {
    let files = files(shape, items);
    let told = |fault: Fault| match fault {
        Fault::Refused(refusal) => refusal,
        Fault::System(error) => unwritten(place, &error),
    };
    match old(place, shape, care)? {
        None => fresh(place, shape, items, &files).map_err(told),
        Some(before) => merge(place, shape, items, &files, (&before, care)).map_err(told),
    }
}

fn unwritten(place: &Path, error: &io::Error) -> Refusal {
    if super::is_full(error) {
        let found = format!("{error}; make room there");
        return Refusal::new(super::NO_SPACE, place.display(), "room for files", found);
    }
    let found = format!("{error}; name a directory whose parent exists and that you may write into");
    Refusal::new("files.write", place.display(), "a directory that can be made", found)
}

fn unsafe_dest(place: &Path, found: &str) -> Refusal {
    let expected = "a free name, an empty directory, or one that this verb has made and nobody has changed";
    let found = format!("{found}; name another directory");
    Refusal::new("files.unsafe_dest", place.display(), expected, found)
}

/// Makes a directory for what is only half made, whatever the umask says.
fn beside(place: &Path) -> io::Result<TempDir> {
    let aside = Builder::new().prefix(TEMPORARY_PREFIX).tempdir_in(place)?;
    fs::set_permissions(aside.path(), Permissions::from_mode(0o700))?;
    Ok(aside)
}

/// Makes a directory that is not there yet.
fn fresh(place: &Path, shape: Shape, items: &[Item<'_>], files: &[Wanted<'_>]) -> Result<(), Fault> {
    let parent = place.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let aside = beside(parent)?;
    let fresh = aside.path().join("view");
    for file in files {
        write(&fresh, &file.path, file.mode, &file.bytes()?)?;
    }
    let marker = after(&Marker::empty(shape), shape, items, files);
    write(&fresh, MARKER, FILE, &serde_json::to_vec_pretty(&marker).map_err(io::Error::other)?)?;
    renameat_with(CWD, &fresh, CWD, place, RenameFlags::NOREPLACE).map_err(io::Error::from)?;
    remove(&aside.keep())?;
    Ok(sync_directory(parent).map_err(io::Error::from)?)
}

/// Brings a directory that is there up to date, file by file.
fn merge(
    place: &Path,
    shape: Shape,
    items: &[Item<'_>],
    files: &[Wanted<'_>],
    (before, care): (&Marker, Care),
) -> Result<(), Fault> {
    let after = after(before, shape, items, files);
    refuse_conflicts(place, before, &after, files, care)?;
    let aside = beside(place)?;
    let swap = |path: &str, mode: u32, bytes: &[u8]| -> io::Result<()> {
        let target = place.join(path);
        if let Some(parent) = target.parent() {
            make(parent)?;
        }
        write(aside.path(), "file", mode, bytes)?;
        fs::rename(aside.path().join("file"), target)
    };
    let note = |marker: &Marker| -> io::Result<()> {
        swap(MARKER, FILE, &serde_json::to_vec_pretty(marker).map_err(io::Error::other)?)
    };
    // Whatever ends this, each file is known as one of this program's, in its old or its new form.
    let mut between = after.clone();
    between.files.extend(before.files.iter().cloned());
    note(&between)?;
    for file in files {
        let target = place.join(&file.path);
        if is_file(&target, file.digest(), file.size()) {
            continue;
        }
        clear_way(place, &file.path, care)?;
        swap(&file.path, file.mode, &file.bytes()?)?;
    }
    let kept: BTreeSet<&str> = after.files.iter().map(|(path, ..)| path.as_str()).collect();
    for (path, ..) in before.files.iter().filter(|(path, ..)| !kept.contains(path.as_str())) {
        if before.accounts_for(path, &place.join(path)) && is_inside(place, path) {
            fs::remove_file(place.join(path))?;
            let above = Path::new(path).ancestors().skip(1).filter(|above| *above != Path::new(""));
            // The first that is not empty stays, with everything above it.
            let _ = above.map(|above| fs::remove_dir(place.join(above))).take_while(Result::is_ok).count();
        }
    }
    note(&after)?;
    Ok(sync_directory(place).map_err(io::Error::from)?)
}

/// Returns what the marker says at the end.
fn after(before: &Marker, shape: Shape, items: &[Item<'_>], files: &[Wanted<'_>]) -> Marker {
    let mut after = Marker::empty(shape);
    if shape == Shape::Plain {
        let is_new = |path: &str| {
            items.iter().any(|item| path.strip_prefix(&item.place).is_some_and(|rest| rest.starts_with('/')))
        };
        after.files = before.files.iter().filter(|(path, ..)| !is_new(path)).cloned().collect();
        let is_asked = |release: &str| items.iter().any(|item| item.row.release == release);
        after.releases = before.releases.iter().filter(|(release, _)| !is_asked(release)).cloned().collect();
    }
    after.releases.extend(items.iter().map(|item| (item.row.release.clone(), item.row.integrity.clone())));
    after.files.extend(files.iter().map(|file| (file.path.clone(), file.digest().clone(), file.size())));
    after.releases.sort();
    after.files.sort();
    after
}

/// Refuses what would lose something of others, before anything is written.
fn refuse_conflicts(
    place: &Path,
    before: &Marker,
    after: &Marker,
    files: &[Wanted<'_>],
    care: Care,
) -> Result<(), Fault> {
    let mut strange = Vec::new();
    if care == Care::Refuse {
        strange = strangers(place, before)?;
    }
    if care == Care::Keep {
        let is_changed = |path: &str| {
            let there = place.join(path);
            there.symlink_metadata().is_ok() && !before.accounts_for(path, &there)
        };
        let known = before.files.iter().map(|(path, ..)| path.as_str());
        let wanted =
            files.iter().filter(|file| !is_file(&place.join(&file.path), file.digest(), file.size()));
        let paths: BTreeSet<&str> = known.chain(wanted.map(|file| file.path.as_str())).collect();
        strange = paths
            .into_iter()
            .filter(|path| is_changed(path))
            .take(STRANGERS_NAMED)
            .map(str::to_owned)
            .collect();
    }
    if care != Care::Mend {
        strange.extend(files.iter().filter_map(|file| obstacle(place, &file.path)).take(STRANGERS_NAMED));
    }
    strange.dedup();
    if !strange.is_empty() {
        let found =
            format!("files of somebody else, or changed since: {}; move them away", strange.join(", "));
        return Err(Fault::Refused(unsafe_dest(place, &found)));
    }
    let places: Vec<(String, String)> = after
        .releases
        .iter()
        .filter_map(|(release, _)| {
            let (id, version) = release.rsplit_once('@')?;
            Some((placed(Shape::Plain, &ComponentId::parse(id).ok()?, version), release.clone()))
        })
        .collect();
    apart(places).map_err(Fault::Refused)
}

/// How many files a refusal names.
const STRANGERS_NAMED: usize = 5;

/// Returns the first files below `place` that the marker does not account for.
fn strangers(place: &Path, before: &Marker) -> io::Result<Vec<String>> {
    let (mut found, mut open) = (Vec::new(), vec![String::new()]);
    while let Some(below) = open.pop() {
        for (name, entry) in durable::entries(&place.join(&below))? {
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            let is_left = below.is_empty() && is_temporary(&path);
            if path == MARKER || is_left {
                continue;
            }
            match entry.symlink_metadata()?.is_dir() {
                true => open.push(path),
                false if before.accounts_for(&path, &entry) => {}
                false => found.push(path),
            }
            if found.len() == STRANGERS_NAMED {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Returns what stands where a directory of `path` has to be, or a directory in the place of `path` itself.
fn obstacle(place: &Path, path: &str) -> Option<String> {
    let kind = |path: &str| place.join(path).symlink_metadata().map(|found| found.is_dir());
    let above =
        path.match_indices('/').map(|(at, _)| &path[..at]).find(|above| matches!(kind(above), Ok(false)));
    above.or_else(|| matches!(kind(path), Ok(true)).then_some(path)).map(str::to_owned)
}

/// Tells whether every directory above `path` is one, so that it lies in `place`.
fn is_inside(place: &Path, path: &str) -> bool {
    let is_directory = |above: &str| place.join(above).symlink_metadata().is_ok_and(|found| found.is_dir());
    path.match_indices('/').all(|(at, _)| is_directory(&path[..at]))
}

/// Removes what stands in the way of `path`, where the directory is this program's own.
fn clear_way(place: &Path, path: &str, care: Care) -> io::Result<()> {
    match obstacle(place, path) {
        Some(obstacle) if care == Care::Mend => remove(&place.join(obstacle)),
        Some(obstacle) => Err(io::Error::other(format!("{obstacle} is in the way"))),
        None => Ok(()),
    }
}

/// Returns what the marker of a directory says that is there; `None` where the name is free.
fn old(place: &Path, shape: Shape, care: Care) -> Result<Option<Marker>, Refusal> {
    let found = match place.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unsafe_dest(place, &error.to_string())),
        Ok(found) => found,
    };
    if care == Care::Mend && !found.is_dir() {
        return fs::remove_file(place).map(|()| None).map_err(|error| unwritten(place, &error));
    }
    if found.is_symlink() {
        return Err(unsafe_dest(place, "a symbolic link, which is never followed"));
    }
    if !found.is_dir() {
        return Err(unsafe_dest(place, "something that is no directory"));
    }
    let mut entries = fs::read_dir(place).map_err(|error| unsafe_dest(place, &error.to_string()))?;
    match marker(place) {
        Some(marker) if marker.layout == shape.name() => Ok(Some(marker)),
        _ if care == Care::Mend || entries.next().is_none() => Ok(Some(Marker::empty(shape))),
        Some(marker) => Err(unsafe_dest(place, &format!("a directory with the layout {}", marker.layout))),
        None => Err(unsafe_dest(place, "a directory with files of somebody else")),
    }
}

fn marker(place: &Path) -> Option<Marker> {
    let bytes = read(&place.join(MARKER), MARKER_BYTES_MAX).ok()?;
    let mut marker: Marker = serde_json::from_slice(&bytes).ok()?;
    // Whoever made the directory wrote this too: nothing outside is ever meant.
    let is_own = |path: &str| path.split('/').all(|name| !matches!(name, "" | "." | ".."));
    marker.files.retain(|(path, ..)| is_own(path));
    (marker.schema == SCHEMA).then_some(marker)
}

const MARKER_BYTES_MAX: u64 = 16 << 20;

/// Tells whether a directory was made here.
pub fn is_view(place: &Path) -> bool {
    marker(place).is_some()
}

/// Finds a place for every release.
fn items(shape: Shape, rows: &[FilesRow]) -> Result<Vec<Item<'_>>, Refusal> {
    let mut items: Vec<Item<'_>> = Vec::with_capacity(rows.len());
    for row in rows {
        let refused = |expected: &str, found: &str| Refusal::new("files.view", &row.release, expected, found);
        let split = row.release.rsplit_once('@');
        let Some((id, version)) =
            split.and_then(|(id, version)| Some((ComponentId::parse(id).ok()?, version)))
        else {
            return Err(refused("a release with an id and a version", "a direct reference"));
        };
        if shape == Shape::LcodView && id.dialect() != Dialect::Lcod {
            return Err(refused("an LCOD component", "a component of another registry"));
        }
        if shape == Shape::LcodView && row.compose.is_none() {
            return Err(refused("a component with a compose.yaml", "none"));
        }
        let place = placed(shape, &id, version);
        items.push(Item { row, id, place });
    }
    items.sort_by(|one, other| one.place.cmp(&other.place));
    items.dedup_by(|one, other| one.place == other.place && one.row.integrity == other.row.integrity);
    apart(items.iter().map(|item| (item.place.clone(), item.row.release.clone())).collect())?;
    Ok(items)
}

/// Returns where the files of a release go.
fn placed(shape: Shape, id: &ComponentId, version: &str) -> String {
    let below = match shape {
        Shape::Plain => String::new(),
        Shape::LcodView => format!("{COMPONENTS}/"),
    };
    format!("{below}{}/{version}", id.path().trim_start_matches('@'))
}

/// Refuses releases of which one would lie in the directory of another; each is a place and a release.
fn apart(mut places: Vec<(String, String)>) -> Result<(), Refusal> {
    // By segments: a name with a hyphen sorts before what lies below the same name.
    places.sort_by(|(one, _), (other, _)| one.split('/').cmp(other.split('/')));
    for pair in places.windows(2) {
        let [(outer, release), (inner, other)] = pair else { continue };
        if inner.strip_prefix(outer.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            let expected = "directories of releases that do not lie in each other";
            return Err(Refusal::new("files.view", other, expected, format!("{other} in that of {release}")));
        }
    }
    Ok(())
}

enum Fault {
    Refused(Refusal),
    System(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::System(error)
    }
}

/// A file that has to be in a directory.
struct Wanted<'a> {
    /// From the directory.
    path: String,
    mode: u32,
    source: Source<'a>,
}

enum Source<'a> {
    Released(&'a FilesRow, &'a FileLine),
    Made(Vec<u8>, Digest),
}

impl Wanted<'_> {
    fn made(path: &str, text: &str) -> Wanted<'static> {
        let source = Source::Made(text.as_bytes().to_vec(), Digest::sha256(text.as_bytes()));
        Wanted { path: path.to_owned(), mode: FILE, source }
    }

    fn digest(&self) -> &Digest {
        match &self.source {
            Source::Released(_, file) => &file.digest,
            Source::Made(_, digest) => digest,
        }
    }

    fn size(&self) -> u64 {
        match &self.source {
            Source::Released(_, file) => file.size,
            Source::Made(bytes, _) => bytes.len() as u64,
        }
    }

    /// Returns its bytes, compared with their digest.
    fn bytes(&self) -> Result<Vec<u8>, Fault> {
        let (row, file) = match &self.source {
            Source::Made(bytes, _) => return Ok(bytes.clone()),
            Source::Released(row, file) => (row, file),
        };
        let bytes = read(&Path::new(&row.directory).join(file.path.as_text()), file.size)?;
        let found = Digest::sha256(&bytes);
        if found == file.digest {
            return Ok(bytes);
        }
        let subject = format!("{} of {}", file.path, row.release);
        let found = format!("{found}; resolverd verify names every change");
        Err(Fault::Refused(Refusal::new(super::CHANGED, subject, &file.digest, found)))
    }
}

/// Returns everything that has to be in a directory, but for the marker.
fn files<'a>(shape: Shape, items: &[Item<'a>]) -> Vec<Wanted<'a>> {
    let mut files = Vec::new();
    for item in items {
        files.extend(item.row.files.iter().map(|file| Wanted {
            path: format!("{}/{}", item.place, file.path),
            mode: if file.executable { EXECUTABLE } else { FILE },
            source: Source::Released(item.row, file),
        }));
    }
    if shape == Shape::LcodView {
        files.push(Wanted::made("workspace.lcp.toml", WORKSPACE));
        files.push(Wanted::made("packages/view/lcp.toml", PACKAGE));
        files.push(Wanted::made(LIST, &list(items)));
    }
    files
}

fn is_file(place: &Path, digest: &Digest, size: u64) -> bool {
    read(place, size).is_ok_and(|bytes| Digest::sha256(&bytes) == *digest)
}

const WORKSPACE: &str = "[workspace]\npackages = [\"view\"]\n";
const PACKAGE: &str = "schemaVersion = \"2.0\"\nid = \"lcod://pkg/view@0.1.0\"\nname = \"view\"\nnamespace = \"pkg\"\nversion = \"0.1.0\"\nkind = \"workspace-package\"\nsummary = \"Components laid out by resolverd\"\n\n[workspace]\ncomponentsDir = \"components\"\n";

/// Returns the list that kernels read: a header, and a row for each component with paths from the workspace.
fn list(items: &[Item<'_>]) -> String {
    let header = json!({
        "type": "manifest", "schema": "lcod-manifest/list@1", "id": "resolverd/view",
        "description": "Components laid out by resolverd",
    });
    let row = |item: &Item<'_>| {
        let at = |path: &Option<DocPath>| path.as_ref().map(|path| format!("{}/{path}", item.place));
        let version = item.row.release.rsplit_once('@').map(|(_, version)| version);
        let mut row = json!({
            "type": "component", "id": format!("{}@{}", item.id, version.unwrap_or_default()),
            "compose": at(&item.row.compose), "version": version, "package": "resolverd/view",
        });
        if let Some(descriptor) = at(&item.row.descriptor) {
            row["lcp"] = descriptor.into();
        }
        row
    };
    std::iter::once(header).chain(items.iter().map(row)).map(|row| format!("{row}\n")).collect()
}

fn write(root: &Path, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let place = root.join(path);
    if let Some(parent) = place.parent() {
        make(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))
}

fn make(place: &Path) -> io::Result<()> {
    stage::make(place, DIRECTORY)
}

impl Cache {
    /// Lays a workspace out in the cache, or finds the one of the same releases there; what a kernel wrote beside the components
    /// stays, what it changed of them is made good.
    ///
    /// **Errors**: as [`put`].
    pub fn view(&self, rows: &[FilesRow]) -> Result<PathBuf, Refusal> {
        let items = items(Shape::LcodView, rows)?;
        let lines = items.iter().map(|item| format!("{} {}\n", item.row.release, item.row.integrity));
        let name = Digest::sha256(lines.collect::<String>().as_bytes()).hex();
        let place = self.views().join(name);
        let shared = self.furnish().and_then(|()| {
            let lock = self.lock()?;
            lock.lock_shared()?;
            Ok(lock)
        });
        let _lock = shared.map_err(|error| self.unusable("a workspace", error))?;
        let is_whole = || is_whole(&place, &files(Shape::LcodView, &items));
        if !is_whole() {
            match place_at(&place, Shape::LcodView, &items, Care::Mend) {
                // Another request was faster.
                Err(_) if is_whole() => {}
                done => done?,
            }
        }
        Ok(place)
    }

    /// Returns the workspaces that are here, with their number of components.
    ///
    /// **Errors**: the system's.
    pub fn all_views(&self) -> io::Result<Vec<(PathBuf, usize)>> {
        if !self.check()? {
            return Ok(Vec::new());
        }
        let count = |place: &Path| marker(place).map_or(0, |marker| marker.releases.len());
        let views = directories(&self.views())?.into_iter();
        Ok(views.map(|(_, place)| (place.clone(), count(&place))).collect())
    }
}

/// Tells whether a workspace holds every file of its releases, and the list of them.
fn is_whole(place: &Path, files: &[Wanted<'_>]) -> bool {
    let is_there = |file: &Wanted<'_>| {
        is_inside(place, &file.path) && is_file(&place.join(&file.path), file.digest(), file.size())
    };
    place.symlink_metadata().is_ok_and(|found| found.is_dir()) && is_view(place) && files.iter().all(is_there)
}
