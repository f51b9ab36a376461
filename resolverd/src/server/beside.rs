//! What lies beside a component: its package, and the other components of that, at the same commit of the same repository.
//!
//! A relative call such as `internal/name` counts from the package of whoever makes it. That is the directory which holds the
//! `components` directory above the caller, or the caller's own where that has a `[workspace]` table; the first segment may be an
//! alias, of the package or of the `workspace.lcp.toml` above its `packages` directory. What a catalogue lists in that version
//! answers the call; else the component of the package whose `lcp.toml` says that id and version, under the policy's `direct`, since no
//! catalogue vouches for it. **Source**: the kernels' loaders, which register every component of a workspace by the id that its
//! descriptor says. Everything else is not known, and a reason says why. Never guesses an id.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalogue_schema::compose::Package;
use catalogue_schema::direct::{DirectReference, owner};
use catalogue_schema::id::{CatalogueId, Reference};
use catalogue_schema::model::{Origin, Release};
use catalogue_schema::path::DocPath;
use catalogue_schema::project::ProjectFile;

use crate::api::Failure;
use crate::api::files::FilesRow;
use crate::resolve::{Candidates, Request, Standing, native_for};
use crate::server::direct::{DIRECTS_MAX, Described};
use crate::server::files::{Beside, Choice};

/// How many descriptors of one package are read.
const DESCRIPTORS_MAX: usize = 2_000;
/// The directory of a package that holds its components.
const COMPONENTS: &str = "components";
/// The directory of a workspace that holds its packages.
const PACKAGES: &str = "packages";
const DESCRIPTOR: &str = "lcp.toml";
const WORKSPACE: &str = "workspace.lcp.toml";

/// Why nobody can say what a relative call means.
pub(super) type Why = String;

/// Whoever makes relative calls.
type Of = Option<Box<(Release, CatalogueId)>>;

/// Puts things on disk, reads them, and says what a directory is.
pub(super) struct Hands<'h> {
    /// Puts something on disk.
    pub(super) provide: &'h dyn Fn(Choice) -> Result<FilesRow, Failure>,
    /// Reads a file of what was put on disk.
    pub(super) read: &'h dyn Fn(&FilesRow, &DocPath) -> Option<Vec<u8>>,
    /// Says what a directory is that the policies allow.
    pub(super) describe: &'h dyn Fn(&DirectReference, &FilesRow) -> Result<Described, Failure>,
    /// Tells whether the policies allow a directory.
    pub(super) allow: &'h dyn Fn(&DirectReference) -> Result<(), Failure>,
}

/// A package at a commit.
#[derive(Debug)]
struct Found {
    package: Package,
    /// The directories of its components, by `id@version`; `None` where two say that they are the same.
    components: BTreeMap<String, Option<DocPath>>,
}

/// The packages that one question has led to, and what was taken out of them.
#[derive(Debug, Default)]
pub(super) struct Packages {
    /// By the directory.
    known: BTreeMap<String, Result<Arc<Found>, Why>>,
    /// What takes part from now on.
    taken: Vec<Described>,
}

/// The question, and what there is for it.
pub(super) struct Scene<'s> {
    pub(super) request: &'s Request,
    pub(super) candidates: &'s dyn Candidates,
    pub(super) described: &'s [Described],
    pub(super) hands: Hands<'s>,
}

impl Packages {
    /// Returns what was found since the last time.
    pub(super) fn take(&mut self) -> Vec<Described> {
        std::mem::take(&mut self.taken)
    }

    /// Returns what a relative call of `caller` means.
    ///
    /// **Errors**: why nobody can say.
    pub(super) fn meaning(
        &mut self,
        caller: &Choice,
        text: &str,
        scene: &Scene<'_>,
    ) -> Result<Reference, Why> {
        let own = caller
            .direct()
            .and_then(|direct| scene.described.iter().find(|one| one.reference == *direct)?.package.as_ref());
        let (here, of) = place(caller).ok_or("which counts from a package that is not known here")?;
        let directory = match own {
            Some(_) => Some(here.path.clone()),
            None => package_above(&here.path),
        };
        let found = match directory {
            Some(path) => self.package(DirectReference { path, ..here.clone() }, &of, &scene.hands),
            None => Err(format!(
                "which counts from a package that is not known here: {} lies below no {COMPONENTS} directory",
                here.path
            )),
        };
        let package = match (&found, own) {
            (Ok(found), _) => &found.package,
            (Err(_), Some(own)) => own,
            (Err(why), None) => return Err(why.clone()),
        };
        let wanted = package.expand(text).map_err(|error| format!("which cannot be read: {error}"))?;
        if is_answered(&wanted, package, scene) || self.taken.iter().any(|one| one.release.id == wanted.id) {
            return Ok(wanted);
        }
        let found =
            found.as_ref().map_err(|why| format!("which is {wanted}, and nobody lists that; {why}"))?;
        let full = format!("{}@{}", wanted.id, package.version);
        let missing = |what: &str| format!("which is {wanted}: nobody lists that, and {what}");
        let path = match found.components.get(&full) {
            Some(Some(path)) => path.clone(),
            Some(None) => return Err(missing("two directories beside it say that they are it")),
            None => return Err(missing(&format!("no {DESCRIPTOR} of its package has this id and version"))),
        };
        if !scene.request.overlay.takes(owner().source.as_text()) {
            return Err(missing("the project's sources leave out what no catalogue lists"));
        }
        if scene.described.len() + self.taken.len() >= DIRECTS_MAX {
            return Err(missing(&format!("more than {DIRECTS_MAX} directories of commits would take part")));
        }
        let reference = DirectReference { path, ..here };
        let refused = |failure: Failure| missing(&format!("{reference} may not be used: {}", failure.detail));
        (scene.hands.allow)(&reference).map_err(refused)?;
        let choice =
            Beside { reference: reference.clone(), is_file: false, release: Some(full), of: of.clone() };
        let row = (scene.hands.provide)(Choice::Beside(Box::new(choice))).map_err(refused)?;
        let described = (scene.hands.describe)(&reference, &row).map_err(refused)?;
        if described.release.id != wanted.id {
            return Err(missing("its directory says that it is another component"));
        }
        self.taken.push(Described { beside: of, ..described });
        Ok(wanted)
    }

    /// Returns a package, read once.
    fn package(&mut self, directory: DirectReference, of: &Of, hands: &Hands<'_>) -> Result<Arc<Found>, Why> {
        let name = directory.to_string();
        if let Some(known) = self.known.get(&name) {
            return known.clone();
        }
        let found = opened(&directory, of, hands).map(Arc::new);
        self.known.insert(name, found.clone());
        found
    }
}

/// Returns where a release lies; `None` where that is no commit of a repository.
fn place(caller: &Choice) -> Option<(DirectReference, Of)> {
    match caller {
        Choice::Listed(listed) => {
            let Origin { repository, commit, path } = listed.0.origin.clone();
            let reference = DirectReference { repository: repository?, commit: commit?, path: path? };
            Some((reference, Some(listed.clone())))
        }
        Choice::Direct(direct) | Choice::Described(direct, _) => Some((direct.clone(), None)),
        Choice::Beside(beside) => Some((beside.reference.clone(), beside.of.clone())),
    }
}

/// Returns the directory that holds the nearest directory for components above a path.
fn package_above(path: &DocPath) -> Option<DocPath> {
    above(path, COMPONENTS).and_then(|path| DocPath::parse(&path).ok())
}

/// Returns the path above the nearest directory of this name, itself not counted; empty for the root of the repository.
fn above(path: &DocPath, name: &str) -> Option<String> {
    let segments: Vec<&str> = path.segments().collect();
    let (_, parents) = segments.split_last()?;
    let at = parents.iter().rposition(|segment| *segment == name)?;
    Some(parents[..at].join("/"))
}

/// Reads a package: what its descriptor says of it, and the ids of the components in it.
fn opened(directory: &DirectReference, of: &Of, hands: &Hands<'_>) -> Result<Found, Why> {
    let unknown = |why: &str| format!("which counts from the package in {}, and {why}", directory.path);
    let choice = |reference: DirectReference, is_file: bool| {
        Choice::Beside(Box::new(Beside { reference, is_file, release: None, of: of.clone() }))
    };
    let row = (hands.provide)(choice(directory.clone(), false))
        .map_err(|failure| unknown(&format!("that cannot be had: {}", failure.detail)))?;
    let read = |path: &DocPath| (hands.read)(&row, path).and_then(|bytes| ProjectFile::parse(&bytes).ok());
    let is_descriptor = |path: &&DocPath| path.segments().next_back() == Some(DESCRIPTOR);
    let (own, others): (Vec<&DocPath>, Vec<&DocPath>) = row
        .files
        .iter()
        .map(|line| &line.path)
        .filter(is_descriptor)
        .partition(|path| path.segments().count() == 1);
    let own = own.first().and_then(|path| read(path));
    let mut package = own
        .and_then(|own| own.package)
        .ok_or_else(|| unknown(&format!("its {DESCRIPTOR} has no id, or no [workspace]")))?;
    for (name, meaning) in workspace_aliases(directory, &choice, hands)? {
        package.aliases.entry(name).or_insert(meaning);
    }
    if others.len() > DESCRIPTORS_MAX {
        return Err(unknown(&format!("it has more than {DESCRIPTORS_MAX} components")));
    }
    let mut components = BTreeMap::new();
    for path in others {
        let (Some(project), Some(parent)) = (read(path).and_then(|file| file.project), path.parent()) else {
            continue;
        };
        let Ok(place) = directory.path.join(&parent) else { continue };
        let full = format!("{}@{}", project.id, project.version);
        components.entry(full).and_modify(|known| *known = None).or_insert(Some(place));
    }
    Ok(Found { package, components })
}

/// Returns the aliases of the workspace above a package; none where it has no file of its own.
fn workspace_aliases(
    directory: &DirectReference,
    choice: &dyn Fn(DirectReference, bool) -> Choice,
    hands: &Hands<'_>,
) -> Result<BTreeMap<String, String>, Why> {
    let Some(root) = above(&directory.path, PACKAGES) else { return Ok(BTreeMap::new()) };
    let path = if root.is_empty() { WORKSPACE.to_owned() } else { format!("{root}/{WORKSPACE}") };
    let wrong = |why: &str| format!("which counts from a package whose {path} {why}");
    let Ok(parsed) = DocPath::parse(&path) else { return Ok(BTreeMap::new()) };
    let row = match (hands.provide)(choice(DirectReference { path: parsed, ..directory.clone() }, true)) {
        Ok(row) => row,
        // What is not there says nothing; offline, what was there when the package was fetched is in the cache with it.
        Err(failure) if matches!(&*failure.reason, "file_missing" | "offline") => return Ok(BTreeMap::new()),
        Err(failure) => return Err(wrong(&format!("cannot be had: {}", failure.detail))),
    };
    let bytes = row.files.first().and_then(|line| (hands.read)(&row, &line.path)).unwrap_or_default();
    let file = ProjectFile::parse(&bytes).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    Ok(file.aliases.unwrap_or_default())
}

/// Tells whether what is there without directories answers a reference: something that the caller has itself, or puts in its place, or
/// a release of this version that somebody lists. A namespace that waits for its source is nobody else's.
fn is_answered(wanted: &Reference, package: &Package, scene: &Scene<'_>) -> bool {
    let Request { natives, overlay, .. } = scene.request;
    if native_for(wanted, natives).is_some() || overlay.substitute(&wanted.id).is_some() {
        return true;
    }
    let version = package.version.to_string();
    match scene.candidates.standing(&wanted.id) {
        Standing::Known(packed) => packed.all().any(|listed| listed.version_text() == version),
        Standing::Blocked(_) => true,
        Standing::Unknown => false,
    }
}
