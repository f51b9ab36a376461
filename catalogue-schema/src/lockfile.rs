//! Lockfiles: which release of every component a project uses, from where, and which bytes.
//!
//! A lock is equal on every machine: it holds no time, no path of a machine, no mirror, and neither the snapshot nor the policy
//! under which it was made. A repository on a machine is left out, its commit stays. Two forms hold the same values.
//!
//! # `resolverd.lock`
//! ```toml
//! schema = "resolverd/lock@1"
//! natives = [                             # requests that the host implements itself; left out where there are none
//!     "lcod://contract/core/array/map@1",
//! ]
//!
//! [[components]]
//! id = "lcod://acme/billing/invoice"
//! version = "1.2.0"
//! source = "acme"                         # the source and the catalogue that own the id
//! catalogue = "acme/billing"
//! repository = "https://git.acme.example/components"
//! commit = "8770cf166ff8d874cb8164c5fc1032afbeca8e9c"
//! path = "components/acme.billing.invoice"
//! manifest = "sha256:…"
//! archive = [                             # of the one file that holds all of it; the commit is left out where there is one
//!     "sha3-256:…",
//! ]
//! files = [
//!     "sha256:… compose.yaml",
//! ]
//! requested = [                           # what the project itself asks for
//!     "lcod://acme/billing/invoice@^1",
//! ]
//! dependencies = [                        # as the release lists them
//!     "lcod://acme/billing/tax@^1",
//!     "lcod://contract/core/array/map@1 -> native",
//!     "lcod://contract/net/fetch@1 -> lcod://impl/net/fetch",
//!     "lcod://old/log@1 -> native lcod://contract/log@1",
//! ]
//! requiredBy = [
//!     "lcod://acme/app",
//! ]
//! ```
//! Blocks are sorted by id, every list by its text, one entry a line, so that changes to different components merge. What
//! answers a dependency stands behind `->` where it is another id than the one that is named, or the host; behind `native` what
//! the host implements, where that is used instead of what is named. In `natives` that stands right behind `->`.
//!
//! What a direct reference brought has `source = "direct"` and `catalogue = "direct"`: its repository, commit and path name it again.
//!
//! Where calls were followed, `calls = "follow"` stands behind the schema, `called` behind it lists which of the requests are calls
//! of the project's own `compose.yaml`, and `called` in a block which of its dependencies are calls that the release does not
//! declare. Both are left out where there are none, and without `calls` a lock has neither.
//!
//! # `lcp.lock`
//! The published form, schema version 1.0: see [`crate::lockfile::write`]. Our own values stand in `source`, which that schema
//! leaves open.
//!
//! Reading is strict: an unknown field, a block twice, an edge that leads nowhere or to a version that does not meet it, and a
//! `requiredBy` that the other blocks do not bear out are refused, with the line. Values that may be missing are those that a
//! release does not have. The formats grow by fields under a new schema. Never chooses a version.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::error::ParseError;
use crate::id::{CatalogueId, ComponentId, Reference};
use crate::model::Release;
use crate::path::DocPath;
use crate::pointer::{CommitId, Repository};
use crate::version::Version;

pub mod document;
mod read;
#[cfg(test)]
mod tests;
pub mod write;

/// The schema of `resolverd.lock`.
pub const LOCK_SCHEMA: &str = "resolverd/lock@1";
/// The schema version of `lcp.lock`.
pub const LCP_SCHEMA_VERSION: &str = "1.0";
/// What `lcp.lock` names as its resolver: a form, not a release of this program, so that locks are equal across releases.
pub const LCP_RESOLVER: &str = "resolverd/lock@1";
/// The largest lockfile in bytes: some 30,000 components of the published kind.
pub const LOCK_BYTES_MAX: usize = 16 << 20;
/// What `calls` says where they were followed.
pub const FOLLOW: &str = "follow";
/// What stands behind `->` where the host answers.
pub const NATIVE: &str = "native";
/// The file whose digest kernels call the integrity of a component.
const DESCRIPTOR: &str = "lcp.toml";

/// In which form a lock is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `resolverd.lock`.
    Resolverd,
    /// `lcp.lock`, for projects with an `lcp.toml`.
    Lcp,
}

impl Form {
    /// Returns the word that names it in requests.
    pub fn name(self) -> &'static str {
        match self {
            Form::Resolverd => "resolverd",
            Form::Lcp => "lcp",
        }
    }

    /// Returns the usual name of the file.
    pub fn file_name(self) -> &'static str {
        match self {
            Form::Resolverd => "resolverd.lock",
            Form::Lcp => "lcp.lock",
        }
    }

    /// Returns the form that `name` names.
    pub fn named(name: &str) -> Option<Form> {
        [Form::Resolverd, Form::Lcp].into_iter().find(|form| form.name() == name)
    }
}

/// What a project is known by: its id and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ComponentId,
    /// Its version.
    pub version: Version,
}

/// What a project uses: a solution, and what pins it. Sorted, and whole in itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Lock {
    project: Option<Project>,
    roots: Vec<Edge>,
    components: Vec<Locked>,
    calls: Option<Calls>,
}

/// What of a lock is there because it is called, not because somebody says that it is required: references as they are locked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    /// What the project itself calls.
    pub project: BTreeSet<String>,
    /// What releases call.
    pub releases: BTreeMap<ComponentId, BTreeSet<String>>,
}

/// A reference, and what answers it.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// What is asked for.
    pub wanted: Reference,
    /// The component that answers: mostly the one that is named.
    pub to: To,
}

/// What answers a reference.
#[derive(Debug, Clone, PartialEq)]
pub enum To {
    /// The host itself.
    Native,
    /// The host, as what is used instead of what is named.
    Hosted(Reference),
    /// A component of the lock.
    Component(ComponentId),
}

/// One release of a lock.
#[derive(Debug, Clone, PartialEq)]
pub struct Locked {
    /// Which component.
    pub id: ComponentId,
    /// Which version.
    pub version: Version,
    /// The catalogue that owns the id.
    pub owner: CatalogueId,
    /// The author's repository; `None` for one on a machine, and where there is none.
    pub repository: Option<Repository>,
    /// The commit; `None` where there is an archive, whose digests say what it is: each publication moves the commit of its registry.
    pub commit: Option<CommitId>,
    /// The component's directory.
    pub path: Option<DocPath>,
    /// The digest of its manifest.
    pub manifest: Option<Digest>,
    /// The digests of the archive that holds all of it, sorted; empty where its files lie one by one.
    pub archive: Vec<Digest>,
    /// Its files as far as their digests are known, sorted by path.
    pub files: Vec<LockedFile>,
    /// What it requires, sorted.
    pub dependencies: Vec<Edge>,
}

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedFile {
    /// Its path, as its manifest or row names it.
    pub path: DocPath,
    /// The digest of its bytes.
    pub digest: Digest,
}

impl Edge {
    /// Returns an edge to the component that is named.
    pub fn plain(wanted: Reference) -> Edge {
        Edge { to: To::Component(wanted.id.clone()), wanted }
    }

    /// Returns what the host implements, where it is the one who answers: what is named, or what is used instead.
    pub fn native(&self) -> Option<&Reference> {
        match &self.to {
            To::Native => Some(&self.wanted),
            To::Hosted(instead) => Some(instead),
            To::Component(_) => None,
        }
    }

    /// Returns what edges are sorted by: what is named, then who answers.
    fn key(&self) -> (String, u8, String) {
        let (kind, to) = match &self.to {
            To::Native => (0, String::new()),
            To::Hosted(instead) => (1, instead.to_string()),
            To::Component(id) => (2, id.to_string()),
        };
        (self.wanted.to_string(), kind, to)
    }
}

impl Locked {
    /// Returns what a lock holds of `release`, which `owner` lists; `dependencies` says what answers each of its own.
    pub fn of(owner: &CatalogueId, release: &Release, dependencies: Vec<Edge>) -> Locked {
        let Release { id, version, origin, manifest, archive, files, .. } = release;
        let file = |file: &crate::model::File| {
            Some(LockedFile { path: file.path.clone(), digest: file.digest.clone()? })
        };
        let mut files: Vec<LockedFile> = files.iter().filter_map(file).collect();
        files.sort();
        let mut digests = archive.as_ref().map(|archive| archive.digests.clone()).unwrap_or_default();
        digests.sort();
        digests.dedup();
        Locked {
            id: id.clone(),
            version: version.clone(),
            owner: owner.clone(),
            repository: origin.repository.clone().filter(|one| !matches!(one, Repository::Local(_))),
            commit: origin.commit.clone().filter(|_| archive.is_none()),
            path: origin.path.clone(),
            manifest: manifest.clone(),
            archive: digests,
            files,
            dependencies,
        }
    }

    /// Returns `id@version`.
    pub fn full(&self) -> String {
        format!("{}@{}", self.id, self.version)
    }

    /// Returns the digest of its `lcp.toml`, which kernels call its integrity.
    fn integrity(&self) -> Option<&Digest> {
        let own = self.files.iter().find(|file| file.path.segments().next_back() == Some(DESCRIPTOR));
        own.map(|file| &file.digest)
    }
}

impl Lock {
    /// Makes a lock of parts in any order.
    ///
    /// **Errors**: `lock.duplicate` (a component twice), `lock.dangling` (an edge to a component that is not there),
    /// `lock.unmet` (an edge to a version that does not meet it), `lock.unused` (a component that nothing leads to).
    pub fn new(
        project: Option<Project>,
        roots: Vec<Edge>,
        components: Vec<Locked>,
    ) -> Result<Lock, ParseError> {
        Lock::of(project, roots, components).map_err(|flaw| flaw.error)
    }

    /// Makes a lock of parts in any order; what is wrong says which component it is about.
    fn of(project: Option<Project>, mut roots: Vec<Edge>, mut components: Vec<Locked>) -> Result<Lock, Flaw> {
        in_order(&mut roots);
        components.sort_by(|one, other| one.id.cmp(&other.id));
        for one in &mut components {
            in_order(&mut one.dependencies);
            one.archive.sort();
            one.archive.dedup();
            one.files.sort();
            one.files.dedup();
        }
        if let Some(twice) = components.windows(2).find(|pair| pair[0].id == pair[1].id) {
            let found = format!("{} and {}", twice[0].full(), twice[1].full());
            let error = ParseError::new("lock.duplicate", "one version of each component", found);
            return Err(Flaw { error, about: Some(twice[1].id.clone()) });
        }
        let lock = Lock { project, roots, components, calls: None };
        lock.is_whole()?;
        Ok(lock)
    }

    /// Returns the same lock as one for which calls were followed.
    ///
    /// **Errors**: `lock.inconsistent`: something is called that the lock does not hold.
    pub fn with_calls(self, calls: Calls) -> Result<Lock, ParseError> {
        let holds = |edges: &[Edge], called: &BTreeSet<String>| {
            let wanted: BTreeSet<String> = edges.iter().map(|edge| edge.wanted.to_string()).collect();
            called.difference(&wanted).next().cloned()
        };
        let below = calls.releases.iter().find_map(|(id, called)| {
            holds(self.component(id).map_or(&[], |one| one.dependencies.as_slice()), called)
        });
        match holds(&self.roots, &calls.project).or(below) {
            None => Ok(Lock { calls: Some(calls), ..self }),
            Some(strange) => {
                let expected = "calls that are among what is requested or required";
                Err(ParseError::new("lock.inconsistent", expected, strange).in_field("called"))
            }
        }
    }

    /// Returns what is called; `None` where calls were not followed.
    pub fn calls(&self) -> Option<&Calls> {
        self.calls.as_ref()
    }

    /// Tells whether a requirement of a component is there because it is called.
    pub fn is_call(&self, id: &ComponentId, wanted: &Reference) -> bool {
        let called = self.calls.as_ref().and_then(|calls| calls.releases.get(id));
        called.is_some_and(|called| called.contains(&wanted.to_string()))
    }

    /// Tells whether a request is there because the project calls it.
    pub fn is_own_call(&self, wanted: &Reference) -> bool {
        self.calls.as_ref().is_some_and(|calls| calls.project.contains(&wanted.to_string()))
    }

    /// Reads either form; the content decides which.
    ///
    /// **Errors**: `limit.document_bytes`, `input.encoding`, `input.toml`, `input.schema`, `lock.foreign` (an `lcp.lock` that
    /// another resolver wrote), `lock.host_path`, those of its values and of [`Lock::new`].
    pub fn parse(bytes: &[u8]) -> Result<(Lock, Form), ParseError> {
        read::read(bytes)
    }

    /// Returns the text in a form; the same lock always has the same text.
    ///
    /// **Errors**: `lock.project` (the published form names its project, and this lock has none).
    pub fn text(&self, form: Form) -> Result<String, ParseError> {
        match form {
            Form::Resolverd => Ok(write::resolverd(self)),
            Form::Lcp => write::lcp(self),
        }
    }

    /// Returns the project; `None` where references alone were locked.
    pub fn project(&self) -> Option<&Project> {
        self.project.as_ref()
    }

    /// Returns what the project asks for, sorted by text.
    pub fn roots(&self) -> &[Edge] {
        &self.roots
    }

    /// Returns the releases, sorted by id.
    pub fn components(&self) -> &[Locked] {
        &self.components
    }

    /// Returns the release of a component.
    pub fn component(&self, id: &ComponentId) -> Option<&Locked> {
        self.components.binary_search_by(|one| one.id.cmp(id)).ok().map(|at| &self.components[at])
    }

    /// Returns which components require each one.
    fn required_by(&self) -> RequiredBy<'_> {
        let mut all = RequiredBy::new();
        for one in &self.components {
            for edge in &one.dependencies {
                if let To::Component(to) = &edge.to {
                    all.entry(to).or_default().insert(&one.id);
                }
            }
        }
        all
    }

    fn is_whole(&self) -> Result<(), Flaw> {
        let below =
            self.components.iter().flat_map(|one| one.dependencies.iter().map(move |edge| (Some(one), edge)));
        for (from, edge) in self.roots.iter().map(|edge| (None, edge)).chain(below) {
            let To::Component(to) = &edge.to else { continue };
            let who = || from.map_or_else(|| "the project".to_owned(), Locked::full);
            let about = from.map(|one| one.id.clone());
            let Some(target) = self.component(to) else {
                let expected = format!("a block for {to}, which {} requires", who());
                return Err(Flaw { error: ParseError::new("lock.dangling", expected, "none"), about });
            };
            if *to == edge.wanted.id && !edge.wanted.requirement.matches_prerelease(&target.version) {
                let expected =
                    format!("a version of {to} that meets {} of {}", edge.wanted.requirement, who());
                let error = ParseError::new("lock.unmet", expected, target.version.to_string());
                return Err(Flaw { error, about: about.or_else(|| Some(to.clone())) });
            }
        }
        let used = self.reached();
        match self.components.iter().find(|one| !used.contains(&one.id)) {
            None => Ok(()),
            Some(one) => {
                let expected = "components that the project or what it uses requires";
                let error = ParseError::new("lock.unused", expected, one.full());
                Err(Flaw { error, about: Some(one.id.clone()) })
            }
        }
    }

    /// Returns the components that the project's requests lead to.
    fn reached(&self) -> BTreeSet<&ComponentId> {
        let mut used = BTreeSet::new();
        let mut open: Vec<&Edge> = self.roots.iter().collect();
        while let Some(edge) = open.pop() {
            if let To::Component(to) = &edge.to
                && used.insert(to)
                && let Some(target) = self.component(to)
            {
                open.extend(&target.dependencies);
            }
        }
        used
    }
}

/// Which components require each one.
type RequiredBy<'a> = BTreeMap<&'a ComponentId, BTreeSet<&'a ComponentId>>;

/// What is wrong with a lock as a whole, and the component that it is about; `None` for the project.
struct Flaw {
    error: ParseError,
    about: Option<ComponentId>,
}

fn in_order(edges: &mut Vec<Edge>) {
    edges.sort_by_cached_key(Edge::key);
    edges.dedup();
}
