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
//! A directory is made aside and exchanged for the old one in one step. Only a directory that this program has made, an empty
//! one, or a name that is free is ever replaced; a link never.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use catalogue_schema::digest::Digest;
use catalogue_schema::id::{ComponentId, Dialect};
use catalogue_schema::model::Refusal;
use catalogue_schema::path::DocPath;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::Builder;

use crate::api::files::FilesRow;
use crate::materialize::about::read;
use crate::materialize::stage::remove;
use crate::materialize::Cache;
use crate::materialize::gate::directories;
use crate::shelf::durable::{TEMPORARY_PREFIX, sync_directory};

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
}

/// A release and where its files go.
struct Item<'a> {
    row: &'a FilesRow,
    id: ComponentId,
    /// From the directory.
    place: String,
}

/// Makes the directory `place` of `rows`, or makes it anew.
///
/// **Errors**: `files.unsafe_dest`: something is there that was not made here; `files.view`: a release has no place in such a
/// directory; `cache.changed`: a file is not what it was published as; `files.write`.
pub fn put(place: &Path, shape: Shape, rows: &[FilesRow]) -> Result<(), Refusal> {
    let items = items(shape, rows)?;
    let old = replaceable(place)?;
    let parent = place.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let unwritten = |error: &dyn std::fmt::Display| {
        let found = format!("{error}; name a directory whose parent exists and that you may write into");
        Refusal::new("files.write", place.display(), "a directory that can be made", found)
    };
    let aside = Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(|error| unwritten(&error))?;
    let fresh = aside.path().join("view");
    fill(&fresh, shape, &items).map_err(|fault| match fault {
        Fault::Refused(refusal) => refusal,
        Fault::System(error) => unwritten(&error),
    })?;
    let placed = match old {
        Old::None => renameat_with(CWD, &fresh, CWD, place, RenameFlags::NOREPLACE),
        // What was there lies aside then, and goes with that.
        Old::Ours => renameat_with(CWD, &fresh, CWD, place, RenameFlags::EXCHANGE),
    };
    placed.map_err(|error| unwritten(&io::Error::from(error)))?;
    let swept = remove(&aside.keep());
    swept.and_then(|()| sync_directory(parent).map_err(io::Error::other)).map_err(|error| unwritten(&error))
}

/// What lies at the place of a directory to make.
enum Old {
    None,
    Ours,
}

fn replaceable(place: &Path) -> Result<Old, Refusal> {
    let refused = |found: &str| {
        let expected = "a free name, an empty directory, or one that this verb has made";
        let found = format!("{found}; name another directory");
        Refusal::new("files.unsafe_dest", place.display(), expected, found)
    };
    let found = match place.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Old::None),
        Err(error) => return Err(refused(&error.to_string())),
        Ok(found) => found,
    };
    if found.is_symlink() {
        return Err(refused("a symbolic link, which is never followed"));
    }
    if !found.is_dir() {
        return Err(refused("something that is no directory"));
    }
    let is_empty = fs::read_dir(place).map_err(|error| refused(&error.to_string()))?.next().is_none();
    match is_empty || marker(place).is_some() {
        true => Ok(Old::Ours),
        false => Err(refused("a directory with files of somebody else")),
    }
}

fn marker(place: &Path) -> Option<Marker> {
    let bytes = read(&place.join(MARKER), MARKER_BYTES_MAX).ok()?;
    let marker: Marker = serde_json::from_slice(&bytes).ok()?;
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
        let below = match shape {
            Shape::Plain => String::new(),
            Shape::LcodView => format!("{COMPONENTS}/"),
        };
        let place = format!("{below}{}/{version}", id.path().trim_start_matches('@'));
        items.push(Item { row, id, place });
    }
    items.sort_by(|one, other| one.place.cmp(&other.place));
    items.dedup_by(|one, other| one.place == other.place && one.row.integrity == other.row.integrity);
    for pair in items.windows(2) {
        let is_inside = pair[1]
            .place
            .strip_prefix(&pair[0].place)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_inside {
            let expected = "directories of releases that do not lie in each other";
            let found = format!("{} in that of {}", pair[1].row.release, pair[0].row.release);
            return Err(Refusal::new("files.view", &pair[1].row.release, expected, found));
        }
    }
    Ok(items)
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

/// Writes a directory whole.
fn fill(fresh: &Path, shape: Shape, items: &[Item<'_>]) -> Result<(), Fault> {
    for item in items {
        for file in &item.row.files {
            let from = Path::new(&item.row.directory).join(file.path.as_text());
            let bytes = read(&from, file.size)?;
            let found = Digest::sha256(&bytes);
            if found != file.digest {
                let subject = format!("{} of {}", file.path, item.row.release);
                let found = format!("{found}; resolverd verify names every change");
                return Err(Fault::Refused(Refusal::new(super::CHANGED, subject, &file.digest, found)));
            }
            let mode = if file.executable { EXECUTABLE } else { FILE };
            write(fresh, &format!("{}/{}", item.place, file.path), mode, &bytes)?;
        }
    }
    let layout = match shape {
        Shape::Plain => "plain",
        Shape::LcodView => {
            write(fresh, "workspace.lcp.toml", FILE, WORKSPACE.as_bytes())?;
            write(fresh, "packages/view/lcp.toml", FILE, PACKAGE.as_bytes())?;
            write(fresh, LIST, FILE, list(items).as_bytes())?;
            "lcod-view"
        }
    };
    let releases = items.iter().map(|item| (item.row.release.clone(), item.row.integrity.clone())).collect();
    let marker = Marker { schema: SCHEMA.to_owned(), layout: layout.to_owned(), releases };
    let marker = serde_json::to_vec_pretty(&marker).map_err(io::Error::other)?;
    write(fresh, MARKER, FILE, &marker)?;
    Ok(())
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

/// Makes a directory and what is missing above it, each with its mode whatever the umask says.
fn make(place: &Path) -> io::Result<()> {
    if place.is_dir() {
        return Ok(());
    }
    if let Some(parent) = place.parent() {
        make(parent)?;
    }
    DirBuilder::new().mode(0o700).create(place)?;
    File::open(place)?.set_permissions(Permissions::from_mode(DIRECTORY))
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
        if !is_whole(&place, &items) {
            match put(&place, Shape::LcodView, rows) {
                // Another request was faster.
                Err(_) if is_whole(&place, &items) => {}
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
fn is_whole(place: &Path, items: &[Item<'_>]) -> bool {
    let is = |path: &str, digest: &Digest, size: u64| {
        read(&place.join(path), size).is_ok_and(|bytes| Digest::sha256(&bytes) == *digest)
    };
    let list = list(items);
    is_view(place)
        && is(LIST, &Digest::sha256(list.as_bytes()), list.len() as u64)
        && is("workspace.lcp.toml", &Digest::sha256(WORKSPACE.as_bytes()), WORKSPACE.len() as u64)
        && is("packages/view/lcp.toml", &Digest::sha256(PACKAGE.as_bytes()), PACKAGE.len() as u64)
        && items.iter().all(|item| {
            let is_file = |file: &crate::api::files::FileLine| {
                is(&format!("{}/{}", item.place, file.path), &file.digest, file.size)
            };
            item.row.files.iter().all(is_file)
        })
}
