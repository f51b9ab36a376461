//! What lies beside a component: its package, and the other components of that, at the same commit of the same repository.
//!
//! A relative call such as `internal/name` counts from the package of whoever makes it. That is the directory which holds the
//! `components` directory above the caller, or the caller's own where that has a `[workspace]` table; the first segment may be an
//! alias, of the package or of the `workspace.lcp.toml` above its `packages` directory. What a catalogue lists in that version
//! answers the call; else the component of the package whose `lcp.toml` says that id and version, under the policy's `direct`, since no
//! catalogue vouches for it. **Source**: the kernels' loaders, which register every component of a workspace by the id that its
//! descriptor says. Everything else is not known, and a reason says why. Never guesses an id.
//!
//! What a package says of itself gives it no right to a name. A component beside counts as if the caller's source listed it, and only
//! where nobody lists its id in any version, no other source owns the namespace, the caller's own id lies below that of the package, and
//! the rules of the policy let that source supply it. A place that cannot be reached is an error: unreachable is not absent.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalogue_schema::compose::Package;
use catalogue_schema::direct::{DirectReference, is_direct, owner};
use catalogue_schema::id::{CatalogueId, ComponentId, Reference, SourceId};
use catalogue_schema::model::{Origin, Refusal, Release};
use catalogue_schema::path::DocPath;
use catalogue_schema::project::ProjectFile;

use crate::api::files::FilesRow;
use crate::api::{Code, Failure};
use crate::resolve::{Candidates, Request, Standing, native_for};
use crate::server::direct::{DIRECTS_MAX, Described};
use crate::server::files::{Beside, Choice, Part};

/// How many descriptors of one package are read.
const DESCRIPTORS_MAX: usize = 2_000;
/// How many packages one question is led to.
const PACKAGES_MAX: usize = 64;
/// The directory of a package that holds its components.
const COMPONENTS: &str = "components";
/// The directory of a workspace that holds its packages.
const PACKAGES: &str = "packages";
const DESCRIPTOR: &str = "lcp.toml";
const WORKSPACE: &str = "workspace.lcp.toml";

/// Why nobody can say what a relative call means.
pub(super) type Why = String;

/// What a relative call means, or why nobody can say.
pub(super) type Meant = Result<Reference, Why>;

/// The bytes of a file; `None` where there is none.
type Content = Option<Vec<u8>>;

/// Whoever makes relative calls.
type Of = Option<Box<(Release, CatalogueId)>>;

/// Puts things on disk, reads them, and says what a directory is.
pub(super) struct Hands<'h> {
    /// Puts something on disk.
    pub(super) provide: &'h dyn Fn(Choice) -> Result<FilesRow, Failure>,
    /// Reads a file of what was put on disk; `None` where it is none of it.
    pub(super) read: &'h dyn Fn(&FilesRow, &DocPath) -> Result<Content, Failure>,
    /// Says what a directory is that the policies allow.
    pub(super) describe: &'h dyn Fn(&DirectReference, &FilesRow) -> Result<Described, Failure>,
    /// Tells whether the policies allow a directory.
    pub(super) allow: &'h dyn Fn(&DirectReference) -> Result<(), Failure>,
    /// Returns another source than this one that owns an id by its configuration.
    pub(super) owner: &'h dyn Fn(&ComponentId, &SourceId) -> Option<SourceId>,
    /// Tells whether the policies let this source supply a component that nobody lists.
    pub(super) supply: &'h dyn Fn(&ComponentId, &SourceId) -> Result<(), Refusal>,
}

/// The directories of the components of a package, by `id@version`; `None` where two say that they are the same.
type Contents = BTreeMap<String, Option<DocPath>>;

/// The packages that one question has led to, and what was taken out of them.
#[derive(Debug, Default)]
pub(super) struct Packages {
    /// What they say of themselves, by the directory.
    known: BTreeMap<String, Result<Package, Why>>,
    /// What lies in them, by the directory.
    contents: BTreeMap<String, Result<Arc<Contents>, Why>>,
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

    /// Returns what a relative call of `caller` means, or why nobody can say.
    ///
    /// **Errors**: that cannot be found out now: a place cannot be reached, a limit is met, the cache cannot be used.
    pub(super) fn meaning(
        &mut self,
        caller: &Choice,
        text: &str,
        scene: &Scene<'_>,
    ) -> Result<Meant, Failure> {
        match self.meant(caller, text, scene) {
            Ok(reference) => Ok(Ok(reference)),
            Err(Unsaid::Never(why)) => Ok(Err(why)),
            Err(Unsaid::Now(failure)) => Err(failure),
        }
    }

    fn meant(&mut self, caller: &Choice, text: &str, scene: &Scene<'_>) -> Result<Reference, Unsaid> {
        let described =
            caller.direct().and_then(|direct| scene.described.iter().find(|one| one.reference == *direct));
        let own = described.and_then(|one| one.package.as_ref());
        let (here, of) = place(caller)
            .ok_or_else(|| Unsaid::never("which counts from a package that is not known here"))?;
        let directory = match own {
            Some(_) => Some(here.path.clone()),
            None => package_above(&here.path),
        };
        let Some(path) = directory else {
            return Err(Unsaid::Never(format!(
                "which counts from a package that is not known here: {} lies below no {COMPONENTS} directory",
                here.path
            )));
        };
        let directory = DirectReference { path, ..here.clone() };
        let package = match (self.package(&directory, &of, &scene.hands), own) {
            (Err(Unsaid::Never(_)), Some(own)) => own.clone(),
            (package, _) => package?,
        };
        let wanted =
            package.expand(text).map_err(|error| Unsaid::Never(format!("which cannot be read: {error}")))?;
        let missing = |what: &str| Unsaid::Never(format!("which is {wanted}: nobody lists that, and {what}"));
        if self.is_answered(&wanted, &package, &here, scene)? {
            return Ok(wanted);
        }
        // From here on nobody lists it: only the package of the caller could have it, where that is no word about somebody else's names.
        let id = match caller {
            Choice::Listed(listed) => Some(&listed.0.id),
            _ => described.map(|one| &one.release.id),
        };
        if !id.is_some_and(|id| is_at_or_below(id, &package.base)) {
            return Err(missing(&format!(
                "its package calls itself {}, which is none of what the caller belongs to",
                package.base
            )));
        }
        let source = of.as_ref().map_or_else(|| owner().source, |of| of.1.source.clone());
        if let Some(other) = (scene.hands.owner)(&wanted.id, &source) {
            return Err(missing(&format!("its namespace is owned by source {other}")));
        }
        (scene.hands.supply)(&wanted.id, &source)
            .map_err(|refusal| missing(&format!("{source} may not supply it under the policy: {refusal}")))?;
        if !scene.request.overlay.takes(owner().source.as_text()) {
            return Err(missing("the project's sources leave out what no catalogue lists"));
        }
        let refused = |reference: &DirectReference, failure: Failure| match is_lasting(&failure) {
            true => missing(&format!("{reference} may not be used: {}", failure.detail)),
            false => Unsaid::Now(failure),
        };
        // The policy is asked before anything but the package's own word is fetched.
        (scene.hands.allow)(&directory).map_err(|failure| refused(&directory, failure))?;
        let full = format!("{}@{}", wanted.id, package.version);
        let contents = self.contents(&directory, &of, &scene.hands).map_err(|why| match why {
            Unsaid::Never(why) => Unsaid::Never(format!("which is {wanted}, and nobody lists that; {why}")),
            now @ Unsaid::Now(_) => now,
        })?;
        let path = match contents.get(&full) {
            Some(Some(path)) => path.clone(),
            Some(None) => return Err(missing("two directories beside it say that they are it")),
            None => return Err(missing(&format!("no {DESCRIPTOR} of its package has this id and version"))),
        };
        if scene.described.len() + self.taken.len() >= DIRECTS_MAX {
            return Err(missing(&format!("more than {DIRECTS_MAX} directories of commits would take part")));
        }
        let reference = DirectReference { path, ..here };
        (scene.hands.allow)(&reference).map_err(|failure| refused(&reference, failure))?;
        let choice =
            Beside { reference: reference.clone(), part: Part::Whole, release: Some(full), of: of.clone() };
        let row = (scene.hands.provide)(Choice::Beside(Box::new(choice)))
            .map_err(|failure| refused(&reference, failure))?;
        let described =
            (scene.hands.describe)(&reference, &row).map_err(|failure| refused(&reference, failure))?;
        if described.release.id != wanted.id || described.release.version != package.version {
            return Err(missing("its directory says that it is another component"));
        }
        self.taken.push(Described { beside: of, ..described });
        Ok(wanted)
    }

    /// Tells whether what is there without other directories answers a reference: something that the caller has itself, or puts in its
    /// place, a release of this version that a catalogue lists, or a directory of the caller's own commit. A namespace that waits for
    /// its source is nobody else's.
    ///
    /// **Errors**: somebody else has the id, so that nothing beside the caller can be it.
    fn is_answered(
        &self,
        wanted: &Reference,
        package: &Package,
        here: &DirectReference,
        scene: &Scene<'_>,
    ) -> Result<bool, Unsaid> {
        let Request { natives, overlay, .. } = scene.request;
        if native_for(wanted, natives).is_some() || overlay.substitute(&wanted.id).is_some() {
            return Ok(true);
        }
        let known = scene.described.iter().chain(&self.taken).find(|one| one.release.id == wanted.id);
        if let Some(known) = known {
            let there = &known.reference;
            let is_own = (&there.repository, &there.commit) == (&here.repository, &here.commit);
            return match is_own && known.release.version == package.version {
                true => Ok(true),
                false => Err(Unsaid::Never(format!(
                    "which is {wanted}, counted from {here}: another takes part as {}, from {there}",
                    known.full()
                ))),
            };
        }
        let version = package.version.to_string();
        match scene.candidates.standing(&wanted.id) {
            Standing::Known(packed) if packed.all().any(|listed| listed.version_text() == version) => {
                Ok(true)
            }
            Standing::Known(packed) => {
                let by = packed.head().map_err(|error| Unsaid::Now(error.into()))?.owner;
                let by = if is_direct(&by) { "a directory of a commit".to_owned() } else { by.to_string() };
                let why =
                    format!("which is {wanted}: nobody lists that, and {by} lists it in other versions");
                Err(Unsaid::Never(why))
            }
            Standing::Blocked(_) => Ok(true),
            Standing::Unknown => Ok(false),
        }
    }

    /// Returns what a package says of itself, read once.
    fn package(
        &mut self,
        directory: &DirectReference,
        of: &Of,
        hands: &Hands<'_>,
    ) -> Result<Package, Unsaid> {
        let name = directory.to_string();
        if let Some(known) = self.known.get(&name) {
            return known.clone().map_err(Unsaid::Never);
        }
        if self.known.len() >= PACKAGES_MAX {
            let why = format!("which counts from one of more than {PACKAGES_MAX} packages");
            return Err(Unsaid::Never(why));
        }
        let found = lasting(opened(directory, of, hands))?;
        self.known.insert(name, found.clone());
        found.map_err(Unsaid::Never)
    }

    /// Returns what lies in a package, read once.
    fn contents(
        &mut self,
        directory: &DirectReference,
        of: &Of,
        hands: &Hands<'_>,
    ) -> Result<Arc<Contents>, Unsaid> {
        let name = directory.to_string();
        if let Some(known) = self.contents.get(&name) {
            return known.clone().map_err(Unsaid::Never);
        }
        let found = lasting(held(directory, of, hands).map(Arc::new))?;
        self.contents.insert(name, found.clone());
        found.map_err(Unsaid::Never)
    }
}

/// Why nobody says what a relative call means.
enum Unsaid {
    /// It is so for these commits, this policy and this question.
    Never(Why),
    /// It cannot be found out now.
    Now(Failure),
}

impl Unsaid {
    fn never(why: &str) -> Unsaid {
        Unsaid::Never(why.to_owned())
    }
}

/// Parts what may be remembered from what may be otherwise the next time.
fn lasting<T>(found: Result<T, Unsaid>) -> Result<Result<T, Why>, Unsaid> {
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(Unsaid::Never(why)) => Ok(Err(why)),
        Err(now @ Unsaid::Now(_)) => Err(now),
    }
}

/// Tells whether a failure is a fact about a commit or about the policy, and not about what can be reached or kept now.
fn is_lasting(failure: &Failure) -> bool {
    let reason = &*failure.reason;
    let is_known = ["file_missing", "policy.direct", "git.not_a_blob", "git.not_a_tree", "git.lfs_pointer"];
    // How much of a directory may come onto the disk is the same for as long as the configuration is.
    let is_of_size = reason == "limit.file_bytes" || reason.starts_with("limit.release_");
    failure.code == Code::ManifestInvalid
        || is_known.contains(&reason)
        || is_of_size
        || reason.starts_with("files.")
}

/// Tells whether an id is that of a package or of something in it.
fn is_at_or_below(id: &ComponentId, base: &ComponentId) -> bool {
    let rest = id.as_text().strip_prefix(base.as_text());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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

/// Reads what a package says of itself, and what the workspace above it says. Both files are one entry of the cache, so that neither
/// is kept without the other, and that one of them is not there is kept as well.
fn opened(directory: &DirectReference, of: &Of, hands: &Hands<'_>) -> Result<Package, Unsaid> {
    let unknown =
        |why: &str| Unsaid::Never(format!("which counts from the package in {}, and {why}", directory.path));
    let descriptor = DocPath::parse(DESCRIPTOR).and_then(|name| directory.path.join(&name));
    let descriptor = descriptor.map_err(|error| unknown(&error.to_string()))?;
    let workspace = above(&directory.path, PACKAGES).and_then(|root| {
        DocPath::parse(&if root.is_empty() { WORKSPACE.to_owned() } else { format!("{root}/{WORKSPACE}") })
            .ok()
    });
    let part = Part::Files([descriptor].into_iter().chain(workspace.clone()).collect());
    let choice = Beside { reference: directory.clone(), part, release: None, of: of.clone() };
    let row =
        (hands.provide)(Choice::Beside(Box::new(choice))).map_err(|failure| match is_lasting(&failure) {
            true => unknown(&format!("that cannot be had: {}", failure.detail)),
            false => Unsaid::Now(failure),
        })?;
    let read = |name: &str| match row.files.iter().find(|line| line.path.as_text() == name) {
        Some(line) => (hands.read)(&row, &line.path).map_err(Unsaid::Now),
        None => Ok(None),
    };
    let own = read(DESCRIPTOR)?.and_then(|bytes| ProjectFile::parse(&bytes).ok()?.package);
    let mut package =
        own.ok_or_else(|| unknown(&format!("its {DESCRIPTOR} has no id, or no [workspace]")))?;
    if let (Some(path), Some(bytes)) = (workspace, read(WORKSPACE)?) {
        let file = ProjectFile::parse(&bytes)
            .map_err(|error| unknown(&format!("the {path} above it cannot be read: {error}")))?;
        for (name, meaning) in file.aliases.unwrap_or_default() {
            package.aliases.entry(name).or_insert(meaning);
        }
    }
    Ok(package)
}

/// Reads the ids of the components in a package. Nothing but their descriptors is fetched.
fn held(directory: &DirectReference, of: &Of, hands: &Hands<'_>) -> Result<Contents, Unsaid> {
    let unknown = |why: &str| Unsaid::Never(format!("the package in {} {why}", directory.path));
    let part = Part::Descriptors(DESCRIPTORS_MAX);
    let choice = Beside { reference: directory.clone(), part, release: None, of: of.clone() };
    let row =
        (hands.provide)(Choice::Beside(Box::new(choice))).map_err(|failure| match is_lasting(&failure) {
            true => unknown(&format!("cannot be had: {}", failure.detail)),
            false => Unsaid::Now(failure),
        })?;
    let mut contents = Contents::new();
    for path in row.files.iter().map(|line| &line.path) {
        let bytes = (hands.read)(&row, path).map_err(Unsaid::Now)?.unwrap_or_default();
        let project = ProjectFile::parse(&bytes).ok().and_then(|file| file.project);
        let (Some(project), Some(parent)) = (project, path.parent()) else { continue };
        let Ok(place) = directory.path.join(&parent) else { continue };
        let full = format!("{}@{}", project.id, project.version);
        contents.entry(full).and_modify(|known| *known = None).or_insert(Some(place));
    }
    Ok(contents)
}
