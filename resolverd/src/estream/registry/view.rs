//! A registry as a daemon reads it: by the same reader, with the same look at seals, at one commit or in a plain directory.
//!
//! What is refused here is refused there, for the same reason. Of policies nothing is known here: they are the operators' own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use catalogue_schema::dialect::estream::document::{ConfigDocument, config};
use catalogue_schema::dialect::estream::{self, INDEX, Publisher};
use catalogue_schema::dialect::{self, Errand, Finding, Received, start};
use catalogue_schema::digest::Hashed;
use catalogue_schema::error::ParseError;
use catalogue_schema::filter::Filter;
use catalogue_schema::forge::Forges;
use catalogue_schema::id::{ComponentId, Dialect, Reference, SourceId};
use catalogue_schema::key::Fingerprint;
use catalogue_schema::model::{Place, Refusal, Release, Skipped, Source, Verdict, Warning};
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{CommitId, LocalPath, Location, Repository, Revision, Want};
use catalogue_schema::seal::{Checksums, Seal};
use catalogue_schema::version::Version;

use crate::api::{Code, Failure};
use crate::fetch::limit::{Budget, Limits};
use crate::fetch::network::Network;
use crate::fetch::{Answer, Ask, Fetch as _, FetchError, Origins};
use crate::trust::evidence::Proofs;
use crate::trust::seal::examined;
use crate::trust::verify::{Evidence, judge};

/// How many documents are asked for at once.
const BATCH: usize = 4_096;
/// How many records of publishers are held at once.
const RECORDS: usize = 256;
/// The directory of publishers' records.
pub const PUBLISHERS: &str = "publishers";

/// Where a registry lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// At a commit of a repository of this machine, below `root` where it is not its root.
    Commit {
        /// The repository.
        repository: LocalPath,
        /// The registry's directory.
        root: Option<DocPath>,
        /// The commit.
        commit: CommitId,
    },
    /// In a directory.
    Directory(LocalPath),
}

impl Home {
    /// Returns the home in a plain directory.
    ///
    /// **Errors**: its path cannot be one.
    pub fn directory(path: &Path) -> Result<Home, Failure> {
        local(path).map(Home::Directory)
    }

    /// Returns the home in a repository.
    ///
    /// **Errors**: a path that cannot be one.
    pub fn commit(repository: &Path, root: &str, commit: &str) -> Result<Home, Failure> {
        let wrong = |error: ParseError| Failure::of(Code::RequestInvalid, &error);
        let root = match root.trim_end_matches('/') {
            "" => None,
            root => Some(DocPath::parse(root).map_err(wrong)?),
        };
        Ok(Home::Commit {
            repository: local(repository)?,
            root,
            commit: CommitId::parse(commit).map_err(wrong)?,
        })
    }

    /// Returns where a path from the registry's root lies.
    ///
    /// **Errors**: the path cannot be one.
    pub fn at(&self, path: &str) -> Result<Location, ParseError> {
        let path = DocPath::parse(path)?;
        Ok(match self {
            Home::Commit { repository, root, commit } => Location::Git {
                repository: Repository::Local(repository.clone()),
                revision: Revision::Commit(commit.clone()),
                path: match root {
                    Some(root) => root.join(&path)?,
                    None => path,
                },
            },
            Home::Directory(root) => Location::File { path: root.join(&path) },
        })
    }
}

impl Home {
    /// Returns the path from the registry's root at which the archive of one of its releases lies in its repository; `None` where it
    /// lies elsewhere.
    pub fn own(&self, release: &Release) -> Option<String> {
        let location = &release.archive.as_ref()?.location;
        let below = |path: &str, root: &str| Some(path.strip_prefix(root)?.strip_prefix('/')?.to_owned());
        match (self, location) {
            (Home::Commit { root, .. }, Location::Git { path, .. }) => match root {
                Some(root) => below(path.as_text(), root.as_text()),
                None => Some(path.as_text().to_owned()),
            },
            _ => None,
        }
    }
}

fn local(path: &Path) -> Result<LocalPath, Failure> {
    LocalPath::from_path(path).ok_or_else(|| {
        let detail = format!("cannot use the path {}: it is not absolute, or no plain text", path.display());
        Failure::new(Code::RequestInvalid, "registry.path", detail)
    })
}

/// Reads documents of registries, and archives.
pub struct Eyes {
    origins: Origins,
    limits: Limits,
    /// How long archives were waited for and looked at.
    archives_took: Mutex<Duration>,
}

impl Eyes {
    /// Prepares to read within limits, and to reach what `network` describes.
    ///
    /// **Errors**: what is wrong with the network's settings.
    pub fn new(network: Network, limits: &Limits) -> Result<Eyes, Failure> {
        let origins = Origins::new(network)
            .map_err(|refusal| Failure { code: Code::ConfigInvalid, ..Failure::of_refusal(&refusal) })?;
        Ok(Eyes { origins, limits: limits.clone(), archives_took: Mutex::default() })
    }

    /// Returns what one step may cost: what is done between steps, such as to clone a registry, takes as long as it takes.
    fn budget(&self) -> Budget {
        // The monotonic clock alone: a step ends, whatever date it is.
        Budget::new(&self.limits, Instant::now())
    }

    /// Reads one document of a registry; `None` where it is not there.
    ///
    /// **Errors**: it is there and cannot be read.
    pub fn read(&self, home: &Home, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        let location = home.at(path).map_err(|error| Failure::of(Code::ManifestInvalid, &error))?;
        let want = Want::Blob(location);
        match self.origins.fetch(&[Ask::from(&want)], &self.budget().for_catalogues()).pop() {
            Some(Ok(Answer::Fetched(fetched))) => Ok(Some(fetched.bytes)),
            Some(Err(FetchError::Missing(_))) => Ok(None),
            Some(Err(error)) => Err(unread(&error)),
            Some(Ok(Answer::Unchanged)) | None => Err(unanswered(&want)),
        }
    }

    /// Reads an archive. Of other machines only public ones are asked, and those that the operator's own rewrite rules lead to.
    ///
    /// **Errors**: it is not there, cannot be reached or is too large; all archives together took longer than `limits.total_s`.
    pub fn archive(&self, location: &Location) -> Result<Vec<u8>, Failure> {
        let want = Want::Blob(location.clone());
        let fetch = |budget: &Budget| self.origins.fetch(&[Ask::from(&want)], &budget.for_archives()).pop();
        match self.timed(fetch) {
            Some(Ok(Answer::Fetched(fetched))) => Ok(fetched.bytes),
            Some(Err(error)) => Err(unread(&error)),
            Some(Ok(Answer::Unchanged)) | None => Err(unanswered(&want)),
        }
    }

    /// Looks at the archive `subject` in the time that archives have; `work` asks from time to time whether it goes on.
    ///
    /// **Errors**: those of `work`; all archives together took longer than `limits.total_s`.
    pub fn look<T>(
        &self,
        subject: &str,
        work: impl FnOnce(&dyn Fn() -> Result<(), Failure>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.timed(|budget| {
            let goes_on = || budget.check_deadline(subject).map_err(|error| unread(&error));
            let done = work(&goes_on)?;
            // What came too late is no outcome: whoever waits for it would wait as long for the next.
            goes_on().map(|()| done)
        })
    }

    /// Does something with an archive. Each has the limits to itself, for a registry has as many as it likes; but for the time, of which
    /// all have as much as one run.
    fn timed<T>(&self, work: impl FnOnce(&Budget) -> T) -> T {
        let took = || self.archives_took.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let started = now.checked_sub(*took()).unwrap_or(now);
        let done = work(&Budget::new(&self.limits, started));
        *took() += now.elapsed();
        done
    }

    /// Lists the names of files in a directory of a registry, from its root; none where it is not there.
    ///
    /// **Errors**: it cannot be read.
    pub fn list(&self, home: &Home, path: &str) -> Result<Vec<String>, Failure> {
        let location = home.at(path).map_err(|error| Failure::of(Code::ManifestInvalid, &error))?;
        let want = Want::Tree { location, depth: 1 };
        let listing = match self.origins.fetch(&[Ask::from(&want)], &self.budget().for_catalogues()).pop() {
            Some(Ok(Answer::Fetched(fetched))) => fetched.bytes,
            Some(Err(FetchError::Missing(_))) => return Ok(Vec::new()),
            Some(Err(error)) => return Err(unread(&error)),
            Some(Ok(Answer::Unchanged)) | None => return Err(unanswered(&want)),
        };
        let text = String::from_utf8_lossy(&listing);
        let files = text.lines().filter_map(|line| {
            let mut words = line.splitn(4, ' ');
            let (_, kind, _, path) = (words.next()?, words.next()?, words.next()?, words.next()?);
            (kind == "blob").then(|| path.rsplit('/').next().unwrap_or(path).to_owned())
        });
        Ok(files.collect())
    }

    /// Tells whether a place has no index, and with it nothing that anybody reads.
    ///
    /// **Errors**: it cannot be read.
    pub fn is_empty(&self, home: &Home) -> Result<bool, Failure> {
        let location = home.at(INDEX).map_err(|error| Failure::of(Code::ManifestInvalid, &error))?;
        let want = Want::Tree { location, depth: 1 };
        match self.origins.fetch(&[Ask::from(&want)], &self.budget().for_catalogues()).pop() {
            Some(Err(FetchError::Missing(_))) => Ok(true),
            Some(Err(error)) => Err(unread(&error)),
            Some(Ok(_)) => Ok(false),
            None => Err(unanswered(&want)),
        }
    }

    /// Returns the record of a publisher; `None` where there is none.
    ///
    /// **Errors**: the record cannot be read.
    pub fn publisher(&self, home: &Home, name: &str) -> Result<Option<Publisher>, Failure> {
        let Some(bytes) = self.read(home, &format!("{PUBLISHERS}/{name}.json"))? else { return Ok(None) };
        estream::publisher(name, &bytes).map(Some).map_err(|error| {
            let failure = Failure::of(Code::UnknownPublisher, &error);
            Failure { detail: format!("{PUBLISHERS}/{name}.json: {error}"), ..failure }
        })
    }

    /// Returns the names of all publishers with a record, sorted.
    ///
    /// **Errors**: they cannot be listed.
    pub fn publishers(&self, home: &Home) -> Result<Vec<String>, Failure> {
        let names = self.list(home, PUBLISHERS)?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(".json")).map(str::to_owned).collect())
    }

    /// Returns every key of every publisher, with whose it is and by which id. A record that cannot be read is nobody's.
    ///
    /// **Errors**: they cannot be listed, or not all of them be had.
    pub fn holders(&self, home: &Home) -> Result<BTreeMap<Fingerprint, Vec<(String, String)>>, Failure> {
        let mut holders: BTreeMap<Fingerprint, Vec<(String, String)>> = BTreeMap::new();
        for names in self.publishers(home)?.chunks(RECORDS) {
            let places = names.iter().filter_map(|name| {
                Some((name, Want::Blob(home.at(&format!("{PUBLISHERS}/{name}.json")).ok()?)))
            });
            let places: Vec<(&String, Want)> = places.collect();
            let asks: Vec<Ask<'_>> = places.iter().map(|(_, want)| Ask::from(want)).collect();
            let answers = self.origins.fetch(&asks, &self.budget().for_release_documents());
            for ((name, want), answer) in places.iter().zip(answers) {
                let bytes = match answer {
                    Ok(Answer::Fetched(fetched)) => fetched.bytes,
                    Ok(Answer::Unchanged) => return Err(unanswered(want)),
                    Err(FetchError::Missing(_) | FetchError::Refused(_)) => continue,
                    Err(FetchError::Limit(refusal)) if refusal.reason == "limit.release_document_bytes" => {
                        continue;
                    }
                    Err(error) => return Err(unread(&error)),
                };
                let Ok(record) = estream::publisher(name, &bytes) else { continue };
                for (id, key) in record.keys {
                    if let Ok(key) = key {
                        holders.entry(key.key.fingerprint()).or_default().push(((*name).clone(), id));
                    }
                }
            }
        }
        Ok(holders)
    }

    /// Returns what holds for the whole registry; what always holds where it has no `config.json`.
    ///
    /// **Errors**: E008: it is there and cannot be read.
    pub fn config(&self, home: &Home) -> Result<ConfigDocument, Failure> {
        let Some(bytes) = self.read(home, "config.json")? else { return Ok(ConfigDocument::default()) };
        config(&bytes).map_err(|error| {
            let failure = Failure::of(Code::ManifestInvalid, &error);
            Failure { detail: format!("config.json: {error}"), ..failure }
        })
    }

    /// Reads a whole registry.
    ///
    /// **Errors**: it has no index, or a document of it could not be read for a reason that is not its own.
    pub fn view(&self, home: &Home) -> Result<View, Failure> {
        let mut view = View::default();
        let mut errands = vec![self.start(home)?];
        let (proofs, whole) = (Proofs::default(), self.budget());
        while !errands.is_empty() {
            let rest = errands.split_off(errands.len().min(BATCH));
            let batch = std::mem::replace(&mut errands, rest);
            let asks: Vec<Ask<'_>> = batch.iter().map(|errand| Ask::from(&errand.want)).collect();
            let budget = match batch.iter().any(Errand::is_long) {
                true => whole.for_catalogues(),
                false => whole.for_release_documents(),
            };
            let answers = self.origins.fetch(&asks, &budget);
            for (errand, answer) in batch.iter().zip(answers) {
                let finding = found(errand, answer)?;
                errands.extend(view.take(finding, &proofs)?);
            }
        }
        view.refuse_twice();
        view.releases.sort_by(|one, other| (&one.id, &one.version).cmp(&(&other.id, &other.version)));
        Ok(view)
    }

    /// Returns the first errand: the listing of the index.
    fn start(&self, home: &Home) -> Result<Errand, Failure> {
        let wrong = |error: ParseError| Failure::of(Code::ManifestInvalid, &error);
        let source = Source {
            id: SourceId::parse("registry").map_err(wrong)?,
            dialect: Dialect::Estream,
            place: Place { priority: 0, position: 0 },
            entry: home.at(INDEX).map_err(wrong)?,
            digests: Vec::new(),
            owns: Vec::new(),
            offline: false,
            refresh_s: None,
            max_stale_s: None,
            filter: Filter::default(),
            origin: None,
            signature: None,
            declared_in: None,
        };
        Ok(start(&source, &Forges::default()))
    }
}

fn unread(error: &FetchError) -> Failure {
    let failure = Failure::of_refusal(error.refusal());
    let is_far = failure.code == Code::SourceUnavailable || matches!(error, FetchError::Unreachable(_));
    match error {
        // Who is too slow is out of reach; nothing is known to be too large.
        FetchError::Limit(refusal) if refusal.reason == "limit.total_s" => {
            Failure { code: Code::NetworkError, ..failure }
                .hint("try again, or raise total_s below [limits] in config.toml")
        }
        FetchError::Limit(_) => Failure { code: Code::PackageTooLarge, ..failure }
            .hint("config.toml raises limits below [limits]"),
        _ if is_far => {
            Failure { code: Code::NetworkError, ..failure }.hint("try again once it can be had there")
        }
        _ => failure,
    }
}

fn unanswered(want: &Want) -> Failure {
    Failure::new(Code::Internal, "registry.unanswered", format!("{want} was not answered"))
}

/// Reads the document of an errand, or says what becomes of its releases without it.
fn found(errand: &Errand, answer: Result<Answer, FetchError>) -> Result<Finding, Failure> {
    let fetched = match answer {
        Ok(Answer::Fetched(fetched)) => fetched,
        Ok(Answer::Unchanged) => return Err(unanswered(&errand.want)),
        Err(FetchError::Missing(refusal)) if errand.node().is_some() => {
            return Err(Failure::of_refusal(&refusal)
                .hint("a registry has a directory index; resolverd registry init DIR makes an empty one"));
        }
        Err(FetchError::Missing(refusal) | FetchError::Refused(refusal)) if errand.node().is_none() => {
            return Ok(dialect::refuse(errand, refusal));
        }
        // One document that is too large spoils itself alone.
        Err(FetchError::Limit(refusal))
            if errand.node().is_none() && refusal.reason == "limit.document_bytes" =>
        {
            return Ok(dialect::refuse(errand, refusal));
        }
        Err(error) => return Err(unread(&error)),
    };
    let content = Hashed::of(fetched.bytes);
    let evidence = Evidence {
        subject: &errand.want,
        digests: &errand.digests,
        size: errand.size,
        commit_pinned: errand.want.is_pinned(),
        signature: None,
        named_by: None,
    };
    let trust = match judge(&evidence, &content) {
        Verdict::Trusted(trust) => trust,
        Verdict::Refused(refusal) => return Ok(dialect::refuse(errand, refusal)),
    };
    let received = Received {
        trust,
        digest: content.digest().clone(),
        size: content.bytes().len() as u64,
        commit: fetched.commit,
        blob: fetched.blob,
    };
    match dialect::read(errand, content.bytes(), &received, &Forges::default()) {
        Ok(finding) => Ok(finding),
        Err(error) if errand.node().is_some() => Err(Failure::of(Code::ManifestInvalid, &error)),
        Err(error) => Ok(dialect::refuse(errand, Refusal::of(&errand.want, &error))),
    }
}

/// What a registry holds.
#[derive(Debug, Default)]
pub struct View {
    /// Every version, with the verdict that a daemon comes to, sorted by id and version.
    pub releases: Vec<Release>,
    /// The seals that were looked at.
    pub seals: BTreeMap<(ComponentId, Version), Seal>,
    /// Entries that could not be read.
    pub skipped: Vec<Skipped>,
    /// What else its readers are told.
    pub warnings: Vec<Warning>,
}

impl View {
    /// Takes what a document said, and returns what is to be read next.
    fn take(&mut self, finding: Finding, proofs: &Proofs) -> Result<Vec<Errand>, Failure> {
        self.releases.extend(finding.releases);
        self.skipped.extend(finding.skipped);
        self.warnings.extend(finding.warnings);
        for sealed in finding.sealed {
            let of = (sealed.release.id.clone(), sealed.release.version.clone());
            self.seals.insert(of, sealed.seal.clone());
            let release = examined(sealed, proofs).map_err(|error| {
                Failure::new(Code::Internal, "trust.signature_not_computed", error.to_string())
            })?;
            self.releases.push(release);
        }
        Ok(finding.errands)
    }

    /// Refuses all versions that state one archive: it names its release itself, so that it is one alone.
    fn refuse_twice(&mut self) {
        let mut checksums = Checksums::default();
        checksums.note(&self.releases);
        checksums.keep_twice();
        for release in &mut self.releases {
            checksums.refuse(release);
        }
    }

    /// Returns every release of a component, oldest first, those among them that may not be used.
    pub fn of(&self, id: &ComponentId) -> &[Release] {
        let start = self.releases.partition_point(|release| release.id < *id);
        let end = self.releases.partition_point(|release| release.id <= *id);
        self.releases.get(start..end).unwrap_or_default()
    }

    /// Returns every version of a component, oldest first.
    pub fn versions(&self, id: &ComponentId) -> Vec<Version> {
        self.of(id).iter().map(|release| release.version.clone()).collect()
    }

    /// Returns a version.
    pub fn release(&self, id: &ComponentId, version: &Version) -> Option<&Release> {
        let all = self.of(id);
        let at = all.partition_point(|release| release.version < *version);
        all.get(at).filter(|release| release.version == *version)
    }

    /// Returns when a version was published, as its registry attests it, in seconds since 1970-01-01 UTC; `None` where that was not read.
    pub fn published_s(&self, id: &ComponentId, version: &Version) -> Option<i64> {
        self.seals.get(&(id.clone(), version.clone())).map(|seal| seal.published_s)
    }

    /// Returns the schemas that these dependencies provide, in the newest versions that the registry would give; what it has nothing
    /// for is not among them.
    pub fn given(&self, dependencies: &[Reference]) -> BTreeMap<ComponentId, Vec<String>> {
        let newest = |reference: &Reference| {
            let fits = |one: &&Release| {
                !one.yanked
                    && matches!(one.verdict, Verdict::Trusted(_))
                    && reference.requirement.matches(&one.version)
            };
            self.of(&reference.id).iter().rfind(fits)
        };
        let chosen = dependencies.iter().filter_map(newest);
        chosen.map(|release| (release.id.clone(), provided(release))).collect()
    }
}

/// Returns the schemas that a release says it provides.
fn provided(release: &Release) -> Vec<String> {
    let listed = release.extra.get("schemas").and_then(|schemas| schemas.get("provides")?.as_array());
    listed.into_iter().flatten().filter_map(|one| one.as_str()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn archives_have_one_time_together_and_documents_their_own() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("config.json"), "{}").unwrap();
        let (limits, home) = (Limits::default(), Home::directory(place.path()).unwrap());
        let eyes = Eyes::new(Network::default(), &limits).unwrap();
        let location = home.at("config.json").unwrap();
        assert_eq!(eyes.archive(&location).unwrap(), b"{}");
        *eyes.archives_took.lock().unwrap() += Duration::from_secs(limits.total_s);
        let failure = eyes.archive(&location).unwrap_err();
        assert_eq!((failure.code, &*failure.reason), (Code::NetworkError, "limit.total_s"));
        // To look at one takes of the same time.
        let failure = eyes.look("a@1.0.0", |_| Ok(())).unwrap_err();
        assert_eq!((failure.code, &*failure.reason), (Code::NetworkError, "limit.total_s"));
        let began = std::cell::Cell::new(false);
        let failure = eyes.look("a@1.0.0", |goes_on| goes_on().map(|()| began.set(true))).unwrap_err();
        assert!(&*failure.reason == "limit.total_s" && failure.detail.contains("a@1.0.0") && !began.get());
        assert_eq!(eyes.read(&home, "config.json").unwrap().unwrap(), b"{}");
    }
}
