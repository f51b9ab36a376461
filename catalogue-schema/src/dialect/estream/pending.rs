//! Releases on their way: where the registry lies, which component it is, and what the documents read so far say of a version.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::dialect::estream::Task;
use crate::dialect::estream::document::ConfigDocument;
use crate::dialect::{Errand, Finding, Received, Stage};
use crate::digest::{Digest, Digests};
use crate::error::ParseError;
use crate::filter::Filter;
use crate::id::ComponentId;
use crate::model::{Archive, Origin, Refusal, Release, Trust, Verdict, Warning};
use crate::path::DocPath;
use crate::pointer::{CommitId, LocalPath, Location, Repository, Revision, Want};
use crate::references::References;
use crate::seal::{self, PublisherRecord};
use crate::version::Version;

/// What a registry says of a component and of its versions, whatever their manifests say of the same.
const OF_REGISTRY: [&str; 4] = ["badges", "description", "keywords", "stats"];
/// What the manifest of a version alone says of it, also where it says nothing: the tables of seed 002, section 2.1, and what lies
/// beside its table `[component]`. Answers are judged by some of them.
const OF_AUTHOR: [&str; 11] = [
    "author",
    "circuits",
    "dependencies",
    "estream",
    "fpga",
    "include",
    "manifest",
    "marketplace",
    "schemas",
    "widget",
    "wire_adapter",
];

/// Where a registry lies, at the commit at which its index was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Home {
    /// In a repository, below `root` where it is not its root.
    Git { repository: Repository, revision: Revision, commit: Option<CommitId>, root: Option<DocPath> },
    /// In a directory of this machine.
    Directory(LocalPath),
}

impl Home {
    /// Returns the home of the registry whose index lies at `location`.
    ///
    /// **Errors**: `input.want` where the index cannot lie there.
    pub(super) fn of(location: &Location, received: &Received) -> Result<Home, ParseError> {
        Home::at_commit(location, received.commit.clone())
    }

    /// Returns the home of the registry whose index lies at `location`, as it is at `commit`.
    ///
    /// **Errors**: `input.want` where the index cannot lie there.
    pub(super) fn at_commit(location: &Location, commit: Option<CommitId>) -> Result<Home, ParseError> {
        let refused =
            || ParseError::new("input.want", "the index of a registry in Git", location.to_string());
        match location {
            Location::Git { repository, revision, path } => {
                let revision = commit.clone().map_or_else(|| revision.clone(), Revision::Commit);
                Ok(Home::Git { repository: repository.clone(), revision, commit, root: path.parent() })
            }
            Location::File { path } => path.parent().map(Home::Directory).ok_or_else(refused),
            Location::Https { .. } => Err(refused()),
        }
    }

    /// Returns the place of a path from the registry's root.
    ///
    /// **Errors**: `input.path` where it is too long.
    pub(super) fn at(&self, path: &DocPath) -> Result<Location, ParseError> {
        Ok(match self {
            Home::Git { repository, revision, .. } => Location::Git {
                repository: repository.clone(),
                revision: revision.clone(),
                path: self.in_repository(path)?,
            },
            Home::Directory(root) => Location::File { path: root.join(path) },
        })
    }

    /// Returns a path from the repository's root.
    fn in_repository(&self, path: &DocPath) -> Result<DocPath, ParseError> {
        match self {
            Home::Git { root: Some(root), .. } => root.join(path),
            Home::Git { root: None, .. } | Home::Directory(_) => Ok(path.clone()),
        }
    }

    /// Returns where a release whose documents lie at `path` is kept.
    fn origin(&self, path: &DocPath) -> Origin {
        match self {
            Home::Git { repository, commit, .. } => Origin {
                repository: Some(repository.clone()),
                commit: commit.clone(),
                path: self.in_repository(path).ok(),
            },
            Home::Directory(_) => Origin { repository: None, commit: None, path: Some(path.clone()) },
        }
    }
}

/// Where one component lies, as the listing of the index says it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spot {
    pub(super) id: ComponentId,
    /// The operator says that the registry owns it.
    pub(super) is_owned: bool,
    pub(super) category: Arc<str>,
    /// The versions that have documents, oldest first.
    pub(super) versions: Vec<Version>,
    /// Why none of it may be used.
    pub(super) fault: Option<Box<ParseError>>,
}

/// What holds for every version of a component.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Listing {
    pub(super) home: Arc<Home>,
    pub(super) config: Arc<ConfigDocument>,
    pub(super) id: ComponentId,
    /// The operator says that the registry owns it.
    pub(super) is_owned: bool,
    pub(super) category: Arc<str>,
    pub(super) publisher: String,
    /// What the record of the publisher says; nothing before it is read.
    pub(super) record: Arc<PublisherRecord>,
    /// What its metadata carries.
    pub(super) extra: Map<String, Value>,
}

impl Listing {
    /// Returns the directory of a component, or of one of its versions, from the registry's root.
    ///
    /// **Errors**: `input.path` where it is too long.
    pub(super) fn directory(&self, version: Option<&Version>) -> Result<DocPath, ParseError> {
        directory(&self.category, &self.id, version)
    }

    /// Tells whether it is an official component: every registry can say so, and only of what its operator's sources give to the
    /// registry is it believed.
    pub(super) fn is_official(&self) -> bool {
        self.is_owned && self.publisher == super::OFFICIAL && self.record.is_verified
    }
}

/// Returns the directory of a component, or of one of its versions, from the registry's root.
///
/// **Errors**: `input.path` where it is too long.
pub(super) fn directory(
    category: &str,
    id: &ComponentId,
    version: Option<&Version>,
) -> Result<DocPath, ParseError> {
    let version = version.map(|version| format!("/{version}")).unwrap_or_default();
    DocPath::parse(&format!("{}/{category}/{}{version}", super::INDEX, id.path()))
}

/// A version of which documents are still to be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pending {
    pub(super) listing: Arc<Listing>,
    pub(super) version: Version,
    pub(super) row: Arc<Row>,
    /// What the leave of every document so far comes to.
    pub(super) trust: Trust,
}

/// What the metadata of a component says of one version.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// SHA3-256 of the archive.
    pub(super) checksum: Digest,
    pub(super) archive: Location,
    pub(super) key_id: String,
    pub(super) published_at: String,
    pub(super) published_s: i64,
    pub(super) yanked: bool,
    pub(super) min_version: Option<Version>,
    /// It is the newest, and the metadata calls another one so.
    pub(super) latest_said: Option<String>,
    pub(super) extra: Map<String, Value>,
}

impl Pending {
    /// Returns which version it is.
    pub(super) fn described(&self) -> (&ComponentId, &Version) {
        (&self.listing.id, &self.version)
    }

    /// Returns `id@version`.
    pub(super) fn full(&self) -> String {
        format!("{}@{}", self.listing.id, self.version)
    }

    /// Returns the same version behind one document more.
    pub(super) fn and(&self, received: &Received) -> Pending {
        Pending { trust: self.trust.and(&received.trust), ..self.clone() }
    }

    /// Returns the errand of a document of this version.
    ///
    /// **Errors**: `input.path` where its path is too long.
    pub(super) fn errand(&self, name: &str, task: Task) -> Result<Errand, ParseError> {
        let directory = self.listing.directory(Some(&self.version))?;
        let path = DocPath::parse(&format!("{directory}/{name}"))?;
        Ok(errand(Want::Blob(self.listing.home.at(&path)?), task))
    }

    /// Returns the release as far as it is known, without what its manifest says.
    pub(super) fn release(&self) -> Release {
        let Pending { listing, version, row, trust } = self;
        let verdict = Verdict::Trusted(trust.clone());
        let mut release = bare((&listing.home, &listing.category), &listing.id, version, verdict);
        release.archive = Some(Archive {
            location: row.archive.clone(),
            digests: vec![row.checksum.clone()],
            size: row.extra.get("size").and_then(Value::as_u64),
        });
        release.promised = true;
        release.yanked = row.yanked;
        release.warnings.extend(row.latest_said.as_ref().map(|said| {
            let text = format!("the newest version, although its metadata names {said} as latest");
            Warning::new("estream.latest", text)
        }));
        release.extra = self.extra(Map::new()).into();
        release
    }

    /// Returns what the release carries: what its manifest says, and beside it what the registry says. Nobody signs the registry's word,
    /// and the manifest has to be that of the signed archive: of a field that both have, the manifest's counts.
    pub(super) fn extra(&self, manifest: Map<String, Value>) -> Map<String, Value> {
        let Pending { listing, row, .. } = self;
        let mut extra = manifest;
        let own = extra.remove("keywords");
        let mut said = listing.extra.clone();
        said.extend(row.extra.clone());
        for (name, value) in said {
            if OF_REGISTRY.contains(&name.as_str()) {
                extra.insert(name, value);
            } else if !OF_AUTHOR.contains(&name.as_str()) {
                extra.entry(name).or_insert(value);
            }
        }
        // Whoever searches for a word finds it, whichever of the two says it.
        match (own, extra.get_mut("keywords")) {
            (Some(Value::Array(own)), Some(Value::Array(all))) => {
                let new: Vec<Value> = own.into_iter().filter(|word| !all.contains(word)).collect();
                all.extend(new);
            }
            (Some(own), None) => drop(extra.insert("keywords".to_owned(), own)),
            _ => {}
        }
        extra.remove("publisherName");
        extra.insert("category".to_owned(), (*listing.category).into());
        extra.insert("publisher".to_owned(), listing.publisher.clone().into());
        extra.insert("publisherVerified".to_owned(), listing.record.is_verified.into());
        extra.insert("official".to_owned(), listing.is_official().into());
        extra.insert("publishedAt".to_owned(), row.published_at.clone().into());
        if let Some(name) = &listing.record.display_name {
            extra.insert("publisherName".to_owned(), name.clone().into());
        }
        // No document says how its own seal was found.
        extra.remove(seal::VERIFICATION);
        extra
    }

    /// Returns the release, refused.
    pub(super) fn refused(&self, refusal: Refusal) -> Finding {
        let mut release = self.release();
        if let Some(told) = seal::broken(&refusal.reason) {
            release.extra.extend([(seal::VERIFICATION.to_owned(), told)]);
        }
        release.verdict = Verdict::Refused(refusal);
        Finding { releases: vec![release], ..Finding::default() }
    }
}

/// What the manifest of a version says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Described {
    pub(super) manifest: Digest,
    pub(super) summary: String,
    pub(super) dependencies: References,
    pub(super) extra: Map<String, Value>,
}

impl Described {
    /// Completes a release with what its manifest says.
    pub(super) fn complete(&self, pending: &Pending, release: Release) -> Release {
        let seal = release.extra.get(seal::VERIFICATION).cloned();
        let mut extra = pending.extra(self.extra.clone());
        extra.extend(seal.map(|seal| (seal::VERIFICATION.to_owned(), seal)));
        Release {
            manifest: Some(self.manifest.clone()),
            summary: Some(self.summary.clone()),
            dependencies: self.dependencies.clone(),
            extra: extra.into(),
            ..release
        }
    }
}

/// Returns a release of which nothing but its place is known.
pub(super) fn bare(
    (home, category): (&Home, &str),
    id: &ComponentId,
    version: &Version,
    verdict: Verdict,
) -> Release {
    let origin = match directory(category, id, Some(version)) {
        Ok(path) => home.origin(&path),
        Err(_) => Origin { repository: None, commit: None, path: None },
    };
    Release {
        id: id.clone(),
        version: version.clone(),
        origin,
        manifest: None,
        unfetched: false,
        files: Vec::new(),
        archive: None,
        kind: Some(category.to_owned()),
        summary: None,
        dependencies: References::default(),
        implements: Vec::new(),
        promised: false,
        yanked: false,
        verdict,
        warnings: Vec::new(),
        basis: None,
        extra: Map::from_iter([("category".to_owned(), category.into())]).into(),
    }
}

/// Returns the errand of a document below the index.
pub(super) fn errand(want: Want, task: Task) -> Errand {
    Errand {
        want,
        digests: Digests::default(),
        size: None,
        signature: None,
        stage: Stage::Release,
        task: crate::dialect::Task::Estream(task),
    }
}

/// Tells whether a source takes a version.
pub(super) fn admits(filter: &Filter, id: &ComponentId, version: &Version) -> bool {
    filter.admits(id, version, None)
}
