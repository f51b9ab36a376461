//! Catalogues with schema `lcod-registry/catalogue@1`: components, their versions, and a manifest for each.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::dialect::Withdrawn;
use crate::dialect::lcod::document::{
    CatalogueComponent, CatalogueDocument, CatalogueOrigin, CatalogueVersion, Dependency, Entry, Field,
    Within,
};
use crate::dialect::lcod::manifest::ManifestTask;
use crate::dialect::lcod::pending::{Pending, component_id, dependencies, sha256};
use crate::dialect::lcod::place::{Held, Named, Root, RootPlace, Spot, named, prefix, repository};
use crate::dialect::lcod::{Reading, Task, plain};
use crate::digest::Digest;
use crate::error::ParseError;
use crate::id::{ComponentId, SourceId, parse_release_id};
use crate::json;
use crate::lexicon::Lexicon;
use crate::pace;
use crate::pointer::{CommitId, Location, Revision};
use crate::version::Version;

/// How much work it is to read one version, roughly.
const VERSION_NS: usize = 400;

/// The most bytes of component-level fields that one catalogue may have copied into its releases.
pub(super) const EXTRA_COPIED_BYTES_MAX: usize = 16 << 20;

impl Reading<'_> {
    /// Reads `lcod-registry/catalogue@1`.
    pub(super) fn catalogue(&mut self, text: &str) -> Result<(), ParseError> {
        let document: CatalogueDocument<&RawValue> = json::document(text)?;
        self.described(document.id.as_deref(), document.origin.as_ref(), text)?;
        let within = Within::Document(&json::Document::of(text));
        let mut copies_left = EXTRA_COPIED_BYTES_MAX;
        for (index, raw) in document.components.into_iter().enumerate() {
            let entry = Entry { field: Field::Item("components", index), text: raw.get(), within };
            self.component(&entry, &mut copies_left)?;
        }
        self.all_withdrawn(document.withdrawn.as_ref(), Reading::withdrawn)
    }

    /// Notes everything that a document has taken back, each by `note`.
    fn all_withdrawn(
        &mut self,
        listed: Option<&Value>,
        mut note: impl FnMut(&mut Self, (usize, &Value)) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        match listed {
            None | Some(Value::Null) => Ok(()),
            Some(Value::Array(listed)) => listed.iter().enumerate().try_for_each(|one| note(self, one)),
            Some(other) => {
                let found = other.to_string();
                self.skip("withdrawn", ParseError::new("input.field", "a list of ids", found))
            }
        }
    }

    /// Notes what a list has taken back: its catalogues by their ids, which are no ids of components.
    pub(super) fn withdrawn_of_list(&mut self, listed: Option<&Value>) -> Result<(), ParseError> {
        self.all_withdrawn(listed, |reading, (index, entry)| {
            match entry.as_str().and_then(|text| SourceId::parse(text).ok()) {
                Some(name) => reading.finding.withdrawn_catalogues.push(name),
                None => reading.withdrawn((index, entry))?,
            }
            Ok(())
        })
    }

    /// Notes what the catalogue has taken back.
    fn withdrawn(&mut self, (index, entry): (usize, &Value)) -> Result<(), ParseError> {
        let text = entry.as_str().unwrap_or_default();
        let read = match (ComponentId::parse(text), parse_release_id(text)) {
            (Ok(id), _) => Ok(Withdrawn { id, version: None }),
            (Err(_), Ok((id, version))) => Ok(Withdrawn { id, version: Some(version) }),
            (Err(error), Err(release)) => Err(if text.contains('@') { release } else { error }),
        };
        match read {
            Ok(withdrawn) => self.finding.withdrawn.push(withdrawn),
            Err(error) => self.skip(Field::Item("withdrawn", index), error)?,
        }
        Ok(())
    }

    /// Reads `lcod-registry/catalogue@1` that is plain, as nearly all are: the same in one walk.
    pub(super) fn plain_catalogue(
        &mut self,
        document: plain::Catalogue<'_>,
        text: &str,
    ) -> Result<(), ParseError> {
        self.described(document.id, document.origin.as_ref(), text)?;
        let within = Within::Document(&json::Document::of(text));
        let mut copies_left = EXTRA_COPIED_BYTES_MAX;
        self.finding.errands.reserve(document.versions.len());
        self.ledger.reserve(document.components.len());
        let tree = Arc::new(self.root.tree());
        let mut all_versions = document.versions.into_iter();
        for (index, component) in document.components.into_iter().enumerate() {
            let plain::Component { id, count, extra, text } = component;
            let versions = all_versions.by_ref().take(count);
            let entry = Entry { field: Field::Item("components", index), text, within };
            let id = match component_id(id, self.lexicon) {
                Ok(read) => read,
                Err(error) => {
                    versions.for_each(drop);
                    self.skip(id, entry.refused(error.in_field("id")))?;
                    continue;
                }
            };
            let extra = plain::fields(extra);
            let shared = self.shared_fields(&id, extra, count, &mut copies_left);
            for (index, (version, text)) in pace::each(versions, VERSION_NS).enumerate() {
                let entry = entry.below("versions", index, text);
                let held = self.root.held(version.manifest, &tree, self.locality, self.forges);
                self.version(&id, version, &shared, &entry, held)?;
            }
        }
        Ok(())
    }

    fn described(
        &mut self,
        id: Option<&str>,
        origin: Option<&CatalogueOrigin>,
        text: &str,
    ) -> Result<(), ParseError> {
        self.named(id);
        if let Some(origin) = origin {
            self.root =
                self.declared_root(origin).map_err(|error| json::located(error.in_field("origin"), text))?;
        }
        Ok(())
    }

    /// Returns where relative manifest paths lead by the catalogue's own word.
    fn declared_root(&self, origin: &CatalogueOrigin) -> Result<Root, ParseError> {
        let prefix = prefix(origin.path.as_deref()).map_err(|error| error.in_field("path"))?;
        let url = origin.url.as_deref();
        let place = match origin.kind.as_deref() {
            Some("git") => self.declared_repository(origin)?,
            Some("https" | "http") => match url {
                Some(text) => match named(text, self.locality).map_err(|error| error.in_field("url"))? {
                    Named::Https(document) => RootPlace::Https { document },
                    _ => {
                        return Err(
                            ParseError::new("input.url_scheme", "an https:// URL", text).in_field("url")
                        );
                    }
                },
                None => self.root.place.clone(),
            },
            Some("file") => match url.map(|text| named(text, self.locality)).transpose() {
                Ok(None) => self.root.place.clone(),
                Ok(Some(Named::Local(directory))) => RootPlace::File { directory },
                Ok(Some(Named::Relative(path))) => {
                    let joined = prefix.as_ref().map_or(Ok(path.clone()), |inner| path.join(inner))?;
                    return Ok(Root { place: self.root.place.clone(), prefix: Some(joined) });
                }
                Ok(Some(Named::Https(url))) => {
                    let error = ParseError::new("input.url_scheme", "a directory", url.as_text());
                    return Err(error.in_field("url"));
                }
                Err(error) => return Err(error.in_field("url")),
            },
            other => {
                let found = other.unwrap_or("no type");
                return Err(ParseError::new("input.kind", "type git, https or file", found).in_field("type"));
            }
        };
        Ok(Root { place, prefix })
    }

    fn declared_repository(&self, origin: &CatalogueOrigin) -> Result<RootPlace, ParseError> {
        let url = origin.url.as_deref();
        let url = url.ok_or_else(|| ParseError::new("input.field", "the field url", "nothing"))?;
        let repository = repository(url, self.locality).map_err(|error| error.in_field("url"))?;
        let commit =
            origin.commit.as_deref().filter(|text| *text != "local").map(CommitId::parse).transpose();
        let commit = commit.map_err(|error| error.in_field("commit"))?;
        let revision = match (commit, &self.root.place) {
            (Some(commit), _) => Revision::Commit(commit),
            (None, RootPlace::Git { repository: own, revision }) if *own == repository => revision.clone(),
            (None, _) => Revision::Head,
        };
        Ok(RootPlace::Git { repository, revision })
    }

    fn component(&mut self, entry: &Entry<'_>, copies_left: &mut usize) -> Result<(), ParseError> {
        let component: CatalogueComponent<&RawValue> = match entry.read() {
            Ok(component) => component,
            Err(error) => return self.skip(entry.field, error),
        };
        let id = match component_id(&component.id, self.lexicon) {
            Ok(id) => id,
            Err(error) => return self.skip(&component.id, entry.refused(error.in_field("id"))),
        };
        let shared = self.shared_fields(&id, component.extra, component.versions.len(), copies_left);
        for (index, raw) in pace::each(component.versions, VERSION_NS).enumerate() {
            let entry = entry.below("versions", index, raw.get());
            match entry.read::<CatalogueVersion>() {
                Ok(version) => {
                    let spot = self.root.spot(&version.manifest, self.locality, self.forges);
                    self.listed_version(&id, version, &shared, &entry, spot.map(Spot::held))?;
                }
                Err(error) => self.skip(entry.field, error)?,
            }
        }
        Ok(())
    }

    /// Returns the component's fields that go into each of its releases, as long as the copies stay within bounds.
    pub(super) fn shared_fields(
        &mut self,
        id: &ComponentId,
        extra: Map<String, Value>,
        versions: usize,
        copies_left: &mut usize,
    ) -> Map<String, Value> {
        if extra.is_empty() {
            return extra;
        }
        let one = Value::Object(extra);
        let copied = one.to_string().len().saturating_mul(versions);
        if let (Value::Object(extra), Some(left)) = (one, copies_left.checked_sub(copied)) {
            *copies_left = left;
            return extra;
        }
        let text = format!("{id}: its unknown fields are too large to be carried into {versions} releases");
        self.warn("catalogue.extra_dropped", text);
        Map::new()
    }

    /// Adds the errand of one version's manifest, which lies at `held`.
    pub(super) fn listed_version(
        &mut self,
        id: &ComponentId,
        mut written: CatalogueVersion,
        shared: &Map<String, Value>,
        entry: &Entry<'_>,
        held: Result<Held, ParseError>,
    ) -> Result<(), ParseError> {
        let extra = std::mem::take(&mut written.extra).into_iter().collect();
        let dependencies = written.dependencies.as_ref();
        let version = plain::Version {
            version: &written.version,
            manifest: &written.manifest,
            sha256: written.sha256.as_deref(),
            yanked: written.yanked,
            dependencies: dependencies.map(|all| all.iter().map(Dependency::required).collect()),
            extra,
        };
        self.version(id, version, shared, entry, held)
    }

    fn version(
        &mut self,
        id: &ComponentId,
        written: plain::Version<'_>,
        shared: &Map<String, Value>,
        entry: &Entry<'_>,
        held: Result<Held, ParseError>,
    ) -> Result<(), ParseError> {
        let version = written.version;
        match manifest_task(id, written, shared, held, self.lexicon) {
            Ok((pointer, task)) => self.admit(format_args!("{id}@{version}"), entry, pointer, task),
            Err(error) => self.skip(format_args!("{id}@{version}"), entry.refused(error)),
        }
    }
}

/// Returns where a manifest lies, its digest, and what its reader will need.
fn manifest_task(
    id: &ComponentId,
    written: plain::Version<'_>,
    shared: &Map<String, Value>,
    held: Result<Held, ParseError>,
    lexicon: &mut Lexicon,
) -> Result<((Location, Option<Digest>), Task), ParseError> {
    let version = Version::parse(written.version).map_err(|error| error.in_field("version"))?;
    let Held { location, tree } = held.map_err(|error| error.in_field("manifest"))?;
    let digest = written.sha256.map(sha256).transpose();
    let digest = digest.map_err(|error| error.in_field("sha256"))?;
    let declared = written.dependencies.as_deref().map(|all| dependencies(all, lexicon)).transpose()?;
    let mut extra = plain::fields(written.extra);
    for (field, value) in shared {
        extra.entry(field.clone()).or_insert_with(|| value.clone());
    }
    let pending = Pending {
        id: id.clone(),
        version,
        // The directory of the manifest is not the component's; only the manifest knows that.
        origin: tree,
        yanked: written.yanked.unwrap_or(false),
        extra,
    };
    let task = Task::Manifest(Box::new(ManifestTask { pending, declared }));
    Ok(((location, digest), task))
}
