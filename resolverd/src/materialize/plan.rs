//! What the files of a release are and where they lie. Pure: reads what a generation says, never a file.
//!
//! A manifest lists its files with their digests; they lie in the commit that it names. A release without a list of files is the
//! directory of its `compose.yaml` at the commit of its catalogue row, and the object ids of that tree are its integrity. Where
//! there is no repository, a release is the documents that the sync has read.

use catalogue_schema::dialect::estream::MANIFEST;
use catalogue_schema::digest::Digest;
use catalogue_schema::generation::CatalogueState;
use catalogue_schema::model::{Archive, Origin, Refusal, Release};
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{CommitId, LocalPath, Location, Revision, Want};

use crate::fetch::limit::Limits;
use crate::fetch::reach::Reach;
use crate::materialize::names;
use crate::materialize::tree::{self, at_most};

/// The file that says what a component does.
const COMPOSE: &str = "compose.yaml";
/// The file that describes a component.
pub(super) const DESCRIPTOR: &str = "lcp.toml";

/// What has to be on disk, and where it comes from.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is asked for, as `id@version`.
    pub release: String,
    /// The digest over everything that the generation promises about its files: equal promises are one piece of work.
    pub promise: Digest,
    /// The files that are known by name.
    pub pieces: Vec<Piece>,
    /// The directory whose files belong to it as well.
    pub tree: Option<Directory>,
    /// The one file that holds everything: the files that are known by name have to be in it.
    pub archive: Option<Archive>,
    /// Its known files are documents that a sync has read one by one, so that the record of that says where they lie.
    pub is_recorded: bool,
    /// Its `compose.yaml`.
    pub compose: Option<DocPath>,
    /// Its `lcp.toml`.
    pub descriptor: Option<DocPath>,
    /// Which machines may be asked.
    pub reach: Reach,
    /// Its source is never fetched.
    pub is_offline: bool,
}

impl Plan {
    /// Returns what tells its piece of work from others: what is promised, and from which mirrors it comes. What one caller's mirror
    /// does is nobody else's trouble.
    pub fn claim(&self) -> Digest {
        match self.reach.mirrors().digest() {
            None => self.promise.clone(),
            Some(mirrors) => Digest::sha256(format!("{}\n{mirrors}\n", self.promise).as_bytes()),
        }
    }
}

/// A file before its bytes are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it goes in the directory.
    pub path: DocPath,
    /// The digest that its bytes must have.
    pub digest: Option<Digest>,
    /// The Git object id that it must have.
    pub blob: Option<CommitId>,
    /// The size that it must have.
    pub size: Option<u64>,
    /// It may be executed.
    pub executable: bool,
    /// Where it lies; `None` where only the shelf can have it.
    pub want: Option<Want>,
    /// Where its commit does not have it, the release is whole without it.
    pub is_optional: bool,
}

/// A directory of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Its place.
    pub location: Location,
    /// Its path from the repository's root.
    pub path: DocPath,
    /// Of its files only the descriptors of what lies below it, and at most so many; everything where it is missing.
    pub descriptors: Option<usize>,
}

impl Directory {
    /// Returns the want of its listing, as deep as `limits` allow.
    pub fn want(&self, limits: &Limits) -> Want {
        let depth = u8::try_from(tree::levels(limits)).unwrap_or(u8::MAX);
        Want::Tree { location: self.location.clone(), depth }
    }

    /// Returns where one of its files lies.
    ///
    /// **Errors**: `files.path`: the whole path is longer than any may be.
    pub fn file(&self, path: &DocPath) -> Result<Want, Refusal> {
        let full = self.path.join(path).map_err(|error| Refusal::of(path, &error))?;
        match &self.location {
            Location::Git { repository, revision, .. } => Ok(Want::Blob(Location::Git {
                repository: repository.clone(),
                revision: revision.clone(),
                path: full,
            })),
            other => Err(Refusal::new("git.not_git", other, "a place in a Git repository", "another place")),
        }
    }
}

/// Plans the files of a release that may be used; `catalogue` is the one that owns it, as it was read.
///
/// **Errors**: `files.none`, `files.duplicate`, `limit.release_files`, `limit.file_bytes`, `limit.release_bytes`.
pub fn of(release: &Release, catalogue: Option<&CatalogueState>, limits: &Limits) -> Result<Plan, Refusal> {
    let full = format!("{}@{}", release.id, release.version);
    let origin = &release.origin;
    let pieces: Vec<Piece> = match &release.archive {
        Some(_) => inside_archive(release)?,
        None => release
            .files
            .iter()
            .map(|file| Piece {
                path: inside(&file.path, origin),
                digest: file.digest.clone(),
                blob: file.blob.clone(),
                size: file.size,
                executable: false,
                want: None,
                is_optional: false,
            })
            .collect(),
    };
    let tree = if release.archive.is_some() { None } else { directory(release) };
    if pieces.is_empty() && tree.is_none() && release.archive.is_none() {
        let expected = "a manifest that lists files, or a directory in a Git repository";
        return Err(Refusal::new("files.none", &full, expected, "neither"));
    }
    bounded(&full, &pieces, limits)?;
    names::check(&full, pieces.iter().map(|piece| &piece.path))?;
    let (compose, descriptor) = roles(release, &pieces);
    let mut plan = Plan {
        promise: promise(release),
        release: full,
        tree,
        archive: release.archive.clone(),
        is_recorded: release.manifest.is_none(),
        compose,
        descriptor,
        pieces,
        reach: Reach::default(),
        is_offline: false,
    };
    if plan.archive.is_some() {
        return Ok(plan);
    }
    for (piece, file) in plan.pieces.iter_mut().zip(&release.files) {
        piece.want = place(release, &file.path, catalogue);
    }
    Ok(plan)
}

/// Returns what has to lie in the archive of a release: the manifest that its registry shows, byte for byte.
fn inside_archive(release: &Release) -> Result<Vec<Piece>, Refusal> {
    let Some(digest) = release.manifest.clone() else { return Ok(Vec::new()) };
    let path = DocPath::parse(MANIFEST)
        .map_err(|error| Refusal::of(format!("{}@{}", release.id, release.version), &error))?;
    Ok(vec![Piece {
        path,
        digest: Some(digest),
        blob: None,
        size: None,
        executable: false,
        want: None,
        is_optional: false,
    }])
}

/// Plans the directory `path` of a commit, which `release` names itself.
pub fn direct(release: String, location: Location, path: DocPath) -> Plan {
    let promise = Digest::sha256(format!("resolverd/files@1 direct\n{release}\n").as_bytes());
    Plan {
        release,
        promise,
        pieces: Vec::new(),
        tree: Some(Directory { location, path, descriptors: None }),
        archive: None,
        is_recorded: false,
        compose: None,
        descriptor: None,
        reach: Reach::default(),
        is_offline: false,
    }
}

/// Plans single files of a commit, each under its own name, as far as they are there; `release` names the directory to which they belong.
pub fn some(
    release: &str,
    places: impl Iterator<Item = (DocPath, Location)>,
    whole: (Location, DocPath),
) -> Plan {
    let piece = |(path, location): (DocPath, Location)| Piece {
        path,
        digest: None,
        blob: None,
        size: None,
        executable: false,
        want: Some(Want::Blob(location)),
        is_optional: true,
    };
    let pieces = places.map(piece).collect();
    Plan { pieces, tree: None, ..direct(format!("{release} (descriptors)"), whole.0, whole.1) }
}

/// Plans the descriptors of what lies below the directory `path` of a commit, at most `most` of them.
pub fn descriptors(release: &str, location: Location, path: DocPath, most: usize) -> Plan {
    let tree = Some(Directory { location: location.clone(), path: path.clone(), descriptors: Some(most) });
    Plan { tree, ..direct(format!("{release} (descriptors below it)"), location, path) }
}

/// Returns the files that play a part of their own, by name, among `paths`: the one nearest to the top.
pub fn named<'a>(paths: impl Iterator<Item = &'a DocPath>) -> (Option<DocPath>, Option<DocPath>) {
    let (mut compose, mut descriptor): (Option<DocPath>, Option<DocPath>) = (None, None);
    for path in paths {
        let slot = match path.segments().next_back() {
            Some(COMPOSE) => &mut compose,
            Some(DESCRIPTOR) => &mut descriptor,
            _ => continue,
        };
        let rank = |path: &DocPath| (path.segments().count(), path.clone());
        if slot.as_ref().is_none_or(|known| rank(path) < rank(known)) {
            *slot = Some(path.clone());
        }
    }
    (compose, descriptor)
}

/// A row names its two files in this order, whatever they are called.
fn roles(release: &Release, pieces: &[Piece]) -> (Option<DocPath>, Option<DocPath>) {
    match pieces {
        [compose, descriptor] if release.manifest.is_none() => {
            (Some(compose.path.clone()), Some(descriptor.path.clone()))
        }
        _ => named(pieces.iter().map(|piece| &piece.path)),
    }
}

/// Returns the directory of a release whose documents list no files of it.
fn directory(release: &Release) -> Option<Directory> {
    if release.manifest.is_some() && !release.files.is_empty() {
        return None;
    }
    let Origin { repository: Some(repository), commit: Some(commit), path: Some(path) } = &release.origin
    else {
        return None;
    };
    let location = Location::Git {
        repository: repository.clone(),
        revision: Revision::Commit(commit.clone()),
        path: path.clone(),
    };
    Some(Directory { location, path: path.clone(), descriptors: None })
}

/// Returns where a file goes in the directory of its release: below the component's own directory, else by its name alone.
fn inside(path: &DocPath, origin: &Origin) -> DocPath {
    let Some(directory) = &origin.path else { return path.clone() };
    let own = path.as_text().strip_prefix(directory.as_text()).and_then(|rest| rest.strip_prefix('/'));
    let name = own.or_else(|| path.segments().next_back());
    name.and_then(|name| DocPath::parse(name).ok()).unwrap_or_else(|| path.clone())
}

/// Returns where a file lies by what the release says of itself.
fn place(release: &Release, path: &DocPath, catalogue: Option<&CatalogueState>) -> Option<Want> {
    match (&release.origin.repository, &release.origin.commit) {
        (Some(repository), Some(commit)) => Some(Want::Blob(Location::Git {
            repository: repository.clone(),
            revision: Revision::Commit(commit.clone()),
            path: path.clone(),
        })),
        _ => Some(Want::Blob(Location::File { path: root(catalogue?)?.join(path) })),
    }
}

/// Returns the directory from which the paths of a local catalogue count: its own, or the one above where that is called
/// `registry`, which is what kernels do.
fn root(catalogue: &CatalogueState) -> Option<LocalPath> {
    let Want::Blob(Location::File { path }) = &catalogue.errand.want else { return None };
    let directory = path.parent()?;
    let above = directory.as_path().ends_with("registry").then(|| directory.parent()).flatten();
    Some(above.unwrap_or(directory))
}

fn bounded(full: &str, pieces: &[Piece], limits: &Limits) -> Result<(), Refusal> {
    if pieces.len() as u64 > limits.release_files {
        let expected = at_most(limits.release_files, "files in one release", "release_files");
        return Err(Refusal::new("limit.release_files", full, expected, pieces.len()));
    }
    let sizes = || pieces.iter().filter_map(|piece| piece.size);
    if let Some(size) = sizes().find(|size| *size > limits.file_bytes) {
        let expected = at_most(limits.file_bytes, "bytes", "file_bytes");
        return Err(Refusal::new("limit.file_bytes", full, expected, format!("a file of {size} bytes")));
    }
    let total = sizes().fold(0u64, u64::saturating_add);
    if total > limits.release_bytes {
        let expected = at_most(limits.release_bytes, "bytes in one release", "release_bytes");
        return Err(Refusal::new("limit.release_bytes", full, expected, total));
    }
    Ok(())
}

/// Returns the digest over what is promised.
///
/// **Shape**: SHA-256 over lines: what this is, the release, its manifest, its repository, commit and directory, the digests of its archive, and every file
/// with digest and object id. No mirror, no local path but that of a local repository, no time. Where there is an archive, its digests
/// decide its bytes: the commit, which every publication in its registry moves, is left out.
fn promise(release: &Release) -> Digest {
    let Origin { repository, commit, path } = &release.origin;
    let commit = commit.as_ref().filter(|_| release.archive.is_none());
    let text = |value: Option<String>| value.unwrap_or_default();
    let mut lines = format!(
        "resolverd/files@1\n{}@{}\n{}\n{}\n{}\n{}\n",
        release.id,
        release.version,
        text(release.manifest.as_ref().map(Digest::to_string)),
        text(repository.as_ref().map(ToString::to_string)),
        text(commit.map(CommitId::to_string)),
        text(path.as_ref().map(DocPath::to_string)),
    );
    for digest in release.archive.iter().flat_map(|archive| &archive.digests) {
        lines.push_str(&format!("archive {digest}\n"));
    }
    for file in &release.files {
        let (digest, blob) = (file.digest.as_ref(), file.blob.as_ref());
        let digest = text(digest.map(Digest::to_string));
        lines.push_str(&format!("{} {digest} {}\n", file.path, text(blob.map(CommitId::to_string))));
    }
    Digest::sha256(lines.as_bytes())
}
