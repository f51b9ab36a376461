//! The layout before the federation: `packages.jsonl`, `registry.json` or `catalog.json`, and `versions.json` per component.
//!
//! | document | what it says |
//! |---|---|
//! | `packages.jsonl` | one line per version, `{"kind":"component","id","version","manifest","registryId"}`, and `{"kind":"registry"}` lines |
//! | `catalog.json` | `packages: [{id, registryId, versionsPath}]`: each points to a `versions.json` |
//! | `registry.json` | `packages: {id: {registry}}`: no paths, so that the `packages.jsonl` beside it is read |
//! | `versions.json` | `{id, versions: [{version, manifest, sha256}]}` |
//!
//! Registries that lines name are data: a manifest is read from the registry whose document lists it, never from another one.
//! The layout is additive: what these documents lead to are manifests like those of a catalogue.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::dialect::lcod::Reading;
use crate::dialect::lcod::catalogue::EXTRA_COPIED_BYTES_MAX;
use crate::dialect::lcod::document::{
    CatalogueVersion, Entry, Field, PackageRow, RegistryDocument, RegistryPackage, RowType, VersionsDocument,
    Within,
};
use crate::dialect::lcod::list::{Names, PRIORITY_DEFAULT, Pins};
use crate::dialect::lcod::pending::component_id;
use crate::dialect::lcod::place::{Named, Spot, named};
use crate::dialect::{Errand, Stage};
use crate::digest::Digests;
use crate::error::ParseError;
use crate::filter::Filter;
use crate::id::{ComponentId, parse_release_id};
use crate::json;
use crate::lexicon::Lexicon;
use crate::model::Place;
use crate::path::DocPath;
use crate::pointer::{Location, Want};

/// The file with the versions, beside a `registry.json`.
const PACKAGES_FILE: &str = "packages.jsonl";

impl Reading<'_> {
    /// Reads `packages.jsonl`: each line is a document of its own, and a bad line spoils only itself.
    pub(super) fn package_lines(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        for (number, line) in json::lines(bytes) {
            if let Some(entry) = self.row(bytes, number, line)? {
                self.package_line(&entry)?;
            }
        }
        Ok(())
    }

    fn package_line(&mut self, entry: &Entry<'_>) -> Result<(), ParseError> {
        let row: RowType = match entry.read() {
            Ok(row) => row,
            Err(error) => return self.skip(entry.field, error),
        };
        let word = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
        match word(&row.kind).as_deref() {
            Some("component") => self.package_row(entry),
            Some("registry") => Ok(()),
            other => {
                let found = other.unwrap_or("no kind");
                let error = ParseError::new("input.row_type", "a line of kind component or registry", found);
                match word(&row.id) {
                    Some(id) => self.skip(id, entry.refused(error)),
                    None => self.skip(entry.field, entry.refused(error)),
                }
            }
        }
    }

    fn package_row(&mut self, entry: &Entry<'_>) -> Result<(), ParseError> {
        let mut row: PackageRow = match entry.read() {
            Ok(row) => row,
            Err(error) => return self.skip(entry.field, error),
        };
        row.extra.remove("kind");
        let (id, version) = match released(&row, self.lexicon) {
            Ok(released) => released,
            Err(error) => return self.skip(&row.id, entry.refused(error)),
        };
        let spot = self.root.spot(&row.manifest, self.locality, self.forges);
        let written = CatalogueVersion {
            version,
            manifest: row.manifest,
            sha256: row.sha256,
            yanked: row.yanked,
            dependencies: row.dependencies,
            extra: row.extra,
        };
        self.listed_version(&id, written, &Map::new(), entry, spot.map(Spot::held))
    }

    /// Reads `lcod-registry/versions@1`.
    pub(super) fn versions(&mut self, text: &str) -> Result<(), ParseError> {
        let document: VersionsDocument<&RawValue> = json::document(text)?;
        let id = component_id(&document.id, self.lexicon)
            .map_err(|error| json::located(error.in_field("id"), text))?;
        let mut copies_left = EXTRA_COPIED_BYTES_MAX;
        let shared = self.shared_fields(&id, document.extra, document.versions.len(), &mut copies_left);
        let within = Within::Document(&json::Document::of(text));
        for (index, raw) in document.versions.into_iter().enumerate() {
            let entry = Entry { field: Field::Item("versions", index), text: raw.get(), within };
            match entry.read::<CatalogueVersion>() {
                Ok(version) => {
                    let spot = self.around(&version.manifest);
                    self.listed_version(&id, version, &shared, &entry, spot.map(Spot::held))?;
                }
                Err(error) => self.skip(entry.field, error)?,
            }
        }
        Ok(())
    }

    /// Returns the manifest that `versions.json` names. Published ones write paths from the registry's root, which nobody
    /// states; the documented sample writes them from the document's own directory. A path that starts like the end of
    /// that directory is read as the former.
    fn around(&self, text: &str) -> Result<Spot, ParseError> {
        let Named::Relative(path) = named(text, self.locality)? else {
            return self.root.spot(text, self.locality, self.forges);
        };
        let own = match self.location {
            Location::Git { path, .. } => path.as_text().to_owned(),
            Location::File { path } => path.to_string(),
            Location::Https { url } => url.segments().join("/"),
        };
        let mut directory: Vec<&str> = own.split('/').collect();
        directory.pop();
        let parts: Vec<&str> = path.as_text().split('/').collect();
        let shared = (0..parts.len()).rev().find(|count| directory.ends_with(&parts[..*count])).unwrap_or(0);
        let rest = DocPath::parse(&parts[shared..].join("/"))?;
        let (location, listed) = match self.location_read() {
            Location::Git { repository, revision, path } => {
                let path = path.parent().map_or(Ok(rest.clone()), |directory| directory.join(&rest))?;
                (Location::Git { repository, revision, path: path.clone() }, path)
            }
            Location::File { path: own } => {
                let directory = own.parent().unwrap_or(own);
                (Location::File { path: directory.join(&rest) }, path)
            }
            Location::Https { url } => (Location::Https { url: url.sibling(&rest)? }, path),
        };
        Ok(Spot { location, path: listed })
    }

    /// Reads `lcod-registry@1`.
    pub(super) fn registry(&mut self, text: &str) -> Result<(), ParseError> {
        let document: RegistryDocument<&RawValue> = json::document(text)?;
        self.named(document.id.as_deref());
        let mut names = self.names();
        let within = Within::Document(&json::Document::of(text));
        let packages = Entry { field: Field::Named("packages"), text: document.packages.get(), within };
        if packages.text.starts_with('{') {
            let named: Map<String, Value> = packages.read()?;
            if !named.is_empty() {
                let errand =
                    self.versions_errand("packages", PACKAGES_FILE, PRIORITY_DEFAULT, 0, &mut names)?;
                self.finding.errands.push(errand);
            }
            return Ok(());
        }
        let listed: Vec<&RawValue> = packages.read()?;
        for (index, raw) in listed.into_iter().enumerate() {
            let entry = Entry { field: Field::Item("packages", index), text: raw.get(), within };
            let package: RegistryPackage = match entry.read() {
                Ok(package) => package,
                Err(error) => {
                    self.skip(entry.field, error)?;
                    continue;
                }
            };
            let priority = package.priority.unwrap_or(PRIORITY_DEFAULT);
            let errand = component_id(&package.id, self.lexicon)
                .map_err(|error| error.in_field("id"))
                .and_then(|id| {
                    let errand =
                        self.versions_errand(id.path(), &package.versions_path, priority, index, &mut names);
                    errand.map_err(|error| {
                        if error.field.is_empty() { error.in_field("versionsPath") } else { error }
                    })
                });
            match errand {
                Ok(errand) => self.finding.errands.push(errand),
                Err(error) => self.skip(&package.id, entry.refused(error))?,
            }
        }
        Ok(())
    }

    fn versions_errand(
        &self,
        name: &str,
        path: &str,
        priority: i64,
        index: usize,
        names: &mut Names,
    ) -> Result<Errand, ParseError> {
        let location = match named(path, self.locality)? {
            Named::Relative(_) => self.beside(path, &Pins::default())?.0,
            _ => self.root.spot(path, self.locality, self.forges)?.location,
        };
        let name = names.give(Some(name), index)?;
        let place = Place { priority, position: u32::try_from(index).unwrap_or(u32::MAX) };
        Ok(Errand {
            want: Want::Blob(location),
            digests: Digests::default(),
            size: None,
            signature: None,
            stage: Stage::Node(Box::new(self.node.child(name, place))),
            task: crate::dialect::Task::Lcod(self.task_below(None, &Filter::default())),
        })
    }
}

fn released(row: &PackageRow, lexicon: &mut Lexicon) -> Result<(ComponentId, String), ParseError> {
    match &row.version {
        Some(version) => {
            Ok((component_id(&row.id, lexicon).map_err(|error| error.in_field("id"))?, version.clone()))
        }
        None => {
            let (id, version) = parse_release_id(&row.id).map_err(|error| error.in_field("id"))?;
            Ok((component_id(id.as_text(), lexicon)?, version.to_string()))
        }
    }
}
