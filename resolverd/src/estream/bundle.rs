//! Bundles on disk: written whole or not at all, and taken over with every byte compared. The format is
//! [`catalogue_schema::dialect::estream::bundle`].
//!
//! A bundle is made beside its place and comes into sight by one rename; an earlier bundle goes by the same rename. Whatever else is
//! at that place is refused. A bundle that is taken over is copied first, file by file, into a directory that nobody else can write:
//! what is judged afterwards is what was compared. Never follows a link, and never fetches.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use catalogue_schema::dialect::estream::bundle::{
    BUNDLE, BUNDLE_BYTES_MAX, Bundle, BundleFile, CONFIG, CONFIG_TEXT, Origin, PackedRelease,
};
use catalogue_schema::digest::Digest;
use catalogue_schema::id::ComponentId;
use catalogue_schema::path::DocPath;
use catalogue_schema::version::Version;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use tempfile::{Builder, TempDir};

use crate::api::{Code, Failure};
use crate::fetch::limit::Limits;
use crate::materialize::about::read;
use crate::materialize::stage::remove;

/// The reason of a place that holds something else than an earlier bundle.
const PLACE: &str = "bundle.place";
/// The reason of a bundle whose files are not what it says.
const CHANGED: &str = "bundle.changed";
/// The reason of an archive in the cache that is not the promised one.
pub const DAMAGED: &str = "trust.digest_mismatch";
/// The reason of an archive that is not in the cache, or cannot be read there.
pub const LOST: &str = "bundle.archive";
/// What helps against both.
pub const FETCH: &str = "export again without --offline: it fetches the archive again; nothing was changed";
/// The id of the source that a bundle is while it is installed: what a policy says of it.
pub const SOURCE: &str = "bundle";
/// How the names of directories that are being made begin.
const ASIDE: &str = ".tmp-";

/// What goes into a bundle.
#[derive(Debug, Default)]
pub struct Content {
    /// Where the releases come from.
    pub sources: BTreeSet<Origin>,
    /// What was asked for.
    pub requested: Vec<(ComponentId, Version)>,
    /// The releases, each with the file that its archive is in now.
    pub releases: Vec<(PackedRelease, PathBuf)>,
    /// The documents, by their paths in the bundle.
    pub documents: BTreeMap<DocPath, String>,
}

/// What a bundle has become.
#[derive(Debug)]
pub struct Written {
    /// SHA-256 of its `bundle.json`, which pins the rest.
    pub digest: Digest,
    /// How many files it has, `bundle.json` among them.
    pub files: usize,
    /// How many bytes they have together.
    pub bytes: u64,
}

/// Writes a bundle to `place`, which is new, empty, or holds an earlier bundle and nothing else.
///
/// **Errors**: R011 `bundle.place`, `bundle.write`; E006 where an archive is not the promised one; E013 where it is gone.
pub fn write(place: &Path, content: &Content, limits: &Limits) -> Result<Written, Failure> {
    let is_there = free(place)?;
    let unwritten = |error: io::Error| unwritten(place, &error);
    let parent = place.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let aside = Builder::new()
        .prefix(ASIDE)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(unwritten)?;
    let fresh = aside.path().join("bundle");
    let mut files = Vec::new();
    let mut put = |path: &DocPath, bytes: &[u8]| -> Result<(), Failure> {
        put(&fresh, path.as_text(), bytes).map_err(unwritten)?;
        files.push(BundleFile {
            path: path.clone(),
            digest: Digest::sha256(bytes),
            size: bytes.len() as u64,
        });
        Ok(())
    };
    let config = DocPath::parse(CONFIG).map_err(|error| Failure::of(Code::Internal, &error))?;
    put(&config, CONFIG_TEXT.as_bytes())?;
    for (path, text) in &content.documents {
        put(path, text.as_bytes())?;
    }
    for (release, archive) in &content.releases {
        put(&release.archive, &promised(release, archive, limits)?)?;
    }
    let bundle = Bundle {
        sources: content.sources.iter().cloned().collect(),
        requested: content.requested.clone(),
        releases: content.releases.iter().map(|(release, _)| release.clone()).collect(),
        files,
    };
    let text = bundle.to_text();
    self::put(&fresh, BUNDLE, text.as_bytes()).map_err(unwritten)?;
    settled(&fresh).map_err(unwritten)?;
    let flags = if is_there { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    renameat_with(CWD, &fresh, CWD, place, flags).map_err(|error| unwritten(error.into()))?;
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(unwritten)?;
    let bytes = bundle.files.iter().map(|file| file.size).sum::<u64>() + text.len() as u64;
    Ok(Written { digest: Digest::sha256(text.as_bytes()), files: bundle.files.len() + 1, bytes })
}

/// Reads an archive, and compares it with what its publisher signs.
fn promised(release: &PackedRelease, archive: &Path, limits: &Limits) -> Result<Vec<u8>, Failure> {
    let PackedRelease { release, digest, .. } = release;
    let bytes = read(archive, limits.archive_bytes).map_err(|error| {
        let detail = format!("cannot read the archive of {release} at {}: {error}", archive.display());
        Failure::new(Code::CacheCorrupted, LOST, detail).with("release", release).hint(FETCH)
    })?;
    match Digest::of(digest.algorithm(), &bytes) {
        found if found == *digest => Ok(bytes),
        found => Err(Failure::new(
            Code::ChecksumMismatch,
            DAMAGED,
            format!("the archive of {release} at {}: expected {digest}, found {found}", archive.display()),
        )
        .with("release", release)
        .with("expected", digest)
        .with("found", &found)
        .hint(FETCH)),
    }
}

/// Tells whether something is at `place` that a bundle may replace.
fn free(place: &Path) -> Result<bool, Failure> {
    let refused = |found: String| {
        let expected = "a free name, an empty directory, or an earlier bundle and nothing beside it";
        let detail = format!("{}: expected {expected}, found {found}", place.display());
        Failure::new(Code::RequestInvalid, PLACE, detail)
            .with("expected", expected)
            .with("found", &found)
            .hint("name another directory; nothing was changed")
    };
    match place.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(refused(error.to_string())),
        Ok(found) if !found.is_dir() => return Err(refused("something that is no directory".to_owned())),
        Ok(_) => {}
    }
    let found = walk(place, usize::MAX).map_err(|error| refused(error.to_string()))?;
    let is_empty = fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty {
        return Ok(true);
    }
    let earlier = read(&place.join(BUNDLE), BUNDLE_BYTES_MAX)
        .map_err(|error| refused(format!("files, and no {BUNDLE} that can be read: {error}")))?;
    let earlier = Bundle::parse(&earlier).map_err(|error| refused(format!("{BUNDLE}: {error}")))?;
    let known: BTreeSet<&str> = earlier.files.iter().map(|file| file.path.as_text()).collect();
    match found.iter().find(|path| *path != BUNDLE && !known.contains(path.as_str())) {
        None => Ok(true),
        Some(stranger) => Err(refused(format!("{stranger}, which is no file of the bundle there"))),
    }
}

/// A bundle that was taken over: a copy of it of which every byte was compared, and that nobody else can write.
#[derive(Debug)]
pub struct Taken {
    /// What it holds.
    pub bundle: Bundle,
    /// SHA-256 of its `bundle.json`.
    pub digest: Digest,
    aside: TempDir,
}

impl Taken {
    /// Returns the directory of the registry that the bundle is.
    pub fn registry(&self) -> PathBuf {
        self.aside.path().join("registry")
    }

    /// Returns the private directory that it lies in, with a sources file that names it and nothing else, and with room for state and
    /// cache. It goes with this value.
    pub fn alone(&self) -> &Path {
        self.aside.path()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // Released files are read-only, and so are their directories. What is left lies in a directory for what is temporary.
        let _ = remove(self.aside.path());
    }
}

/// Takes a bundle over: copies it, comparing every file with what `bundle.json` says, and that with `pinned`.
///
/// **Errors**: E006 `bundle.checksum`: another bundle than the pinned one; E006 `bundle.changed`: a file is not what the bundle says,
/// is missing, or is too much; E008: `bundle.json` cannot be read; E012 `bundle.unreadable`; R005 for what is too large.
pub fn take(place: &Path, pinned: Option<&Digest>, limits: &Limits) -> Result<Taken, Failure> {
    let file = place.join(BUNDLE);
    let text = read(&file, BUNDLE_BYTES_MAX).map_err(|error| unreadable(&file, &error))?;
    if text.len() as u64 > BUNDLE_BYTES_MAX {
        return Err(too_large(&file, BUNDLE_BYTES_MAX, "a bundle.json"));
    }
    if let Some(pinned) = pinned
        && Digest::of(pinned.algorithm(), &text) != *pinned
    {
        let found = Digest::of(pinned.algorithm(), &text);
        let detail = format!("{}: expected {pinned}, as --checksum says, found {found}", file.display());
        return Err(Failure::new(Code::ChecksumMismatch, "bundle.checksum", detail)
            .with("expected", pinned)
            .with("found", &found)
            .hint("this is not the bundle that was meant; nothing was installed"));
    }
    let bundle = Bundle::parse(&text).map_err(|error| {
        let mut failure = Failure::of(Code::ManifestInvalid, &error);
        failure.detail = format!("cannot read {}: {error}", file.display());
        failure.hint("name a directory that resolverd export has made")
    })?;
    let known: BTreeMap<&str, &BundleFile> =
        bundle.files.iter().map(|file| (file.path.as_text(), file)).collect();
    let strays = walk(place, known.len() + 1).map_err(|error| unreadable(place, &error))?;
    if let Some(stray) = strays.iter().find(|path| *path != BUNDLE && !known.contains_key(path.as_str())) {
        let found = "a file that bundle.json does not name";
        return Err(changed(place, stray, "no such file", found));
    }
    // What archives a registry has, and where, is said by this file: were it another one, they might lie elsewhere.
    let own = known.get(CONFIG).is_some_and(|file| file.digest == Digest::sha256(CONFIG_TEXT.as_bytes()));
    if !own {
        let detail = format!("{}: expected the {CONFIG} that every bundle has", place.display());
        return Err(Failure::new(Code::ManifestInvalid, "bundle.config", detail)
            .hint("name a directory that resolverd export has made"));
    }
    let aside = Builder::new().permissions(Permissions::from_mode(0o700)).tempdir();
    let aside = aside.map_err(|error| unwritten(Path::new("a temporary directory"), &error))?;
    let taken = Taken { digest: Digest::sha256(&text), bundle: bundle.clone(), aside };
    let archives: BTreeSet<&str> = bundle.releases.iter().map(|one| one.archive.as_text()).collect();
    for file in &bundle.files {
        let path = file.path.as_text();
        let (most, key) = match archives.contains(path) {
            true => (limits.archive_bytes, "archive_bytes"),
            false => (limits.catalogue_bytes, "catalogue_bytes"),
        };
        if file.size > most {
            return Err(too_large(&place.join(path), most, key));
        }
        let bytes = inside(place, path)
            .and_then(|()| read(&place.join(path), file.size))
            .map_err(|error| changed(place, path, &file.digest.to_string(), &error.to_string()))?;
        let found = Digest::sha256(&bytes);
        if bytes.len() as u64 != file.size || found != file.digest {
            return Err(changed(place, path, &file.digest.to_string(), &found.to_string()));
        }
        put(&taken.registry(), path, &bytes).map_err(|error| unwritten(&taken.registry(), &error))?;
    }
    let entrypoint = json!({"type": "file", "path": taken.registry()});
    let sources = json!({"sources": [{"id": SOURCE, "dialect": "estream", "entrypoint": entrypoint}]});
    put(taken.alone(), "sources.json", sources.to_string().as_bytes())
        .map_err(|error| unwritten(taken.alone(), &error))?;
    Ok(taken)
}

fn changed(place: &Path, path: &str, expected: &str, found: &str) -> Failure {
    let detail = format!("{}: expected {expected}, found {found}", place.join(path).display());
    Failure::new(Code::ChecksumMismatch, CHANGED, detail)
        .with("path", path)
        .with("expected", expected)
        .with("found", found)
        .hint("the bundle was changed after it was made: carry it across again; nothing was installed")
}

fn unreadable(place: &Path, error: &io::Error) -> Failure {
    let detail = format!("cannot read the bundle: {}: {error}", place.display());
    Failure::new(Code::NetworkError, "bundle.unreadable", detail)
        .hint("name a directory that resolverd export has made")
}

fn too_large(place: &Path, most: u64, key: &str) -> Failure {
    let detail = format!("{}: more than {most} bytes, which is the most for {key}", place.display());
    Failure::new(Code::LimitExceeded, "limit.bundle", detail)
        .with("limit", most)
        .hint("raise the limit in config.toml where that is meant")
}

fn unwritten(place: &Path, error: &io::Error) -> Failure {
    let detail = format!("cannot write {}: {error}", place.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Failure::new(Code::StoreUnavailable, "no_space", detail)
                .hint("make room there; nothing was changed")
        }
        _ => Failure::new(Code::RequestInvalid, "bundle.write", detail)
            .hint("name a directory whose parent exists and that you may write into; nothing was changed"),
    }
}

/// Returns the paths of everything below `place` that is no directory, sorted; ends after `most` of them and one more.
///
/// **Errors**: the system's; a name that is no text.
fn walk(place: &Path, most: usize) -> io::Result<Vec<String>> {
    let (mut found, mut open) = (Vec::new(), vec![String::new()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(place.join(&folder))? {
            let entry = entry?;
            let name = entry
                .file_name()
                .into_string()
                .map_err(|name| io::Error::other(format!("{name:?}: the name is no text")))?;
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            // A link to a directory is none.
            match entry.file_type()?.is_dir() && path.len() <= catalogue_schema::path::PATH_BYTES_MAX {
                true => open.push(path),
                false => found.push(path),
            }
            if found.len() + open.len() > most.saturating_mul(2).saturating_add(64) {
                return Err(io::Error::other("far more files than bundle.json names"));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Tells that no directory on the way to `path` is a link.
fn inside(place: &Path, path: &str) -> io::Result<()> {
    let mut way = place.to_owned();
    let above = path.rsplit_once('/').map_or("", |(above, _)| above);
    for name in above.split('/').filter(|name| !name.is_empty()) {
        way.push(name);
        if !way.symlink_metadata()?.is_dir() {
            return Err(io::Error::other(format!("{} is no directory", way.display())));
        }
    }
    Ok(())
}

/// Writes a new file below `root`, with the directories above it, durably.
fn put(root: &Path, path: &str, bytes: &[u8]) -> io::Result<()> {
    let place = root.join(path);
    if let Some(parent) = place.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&place)?;
    file.write_all(bytes)?;
    // The mode that `open` was given is cut by the umask.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.sync_all()
}

/// Gives every directory of a new bundle the same mode, whatever the umask says, and makes it outlive a power cut.
fn settled(place: &Path) -> io::Result<()> {
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            settled(&entry.path())?;
        }
    }
    fs::set_permissions(place, Permissions::from_mode(0o755))?;
    File::open(place)?.sync_all()
}
