//! `estream-component.toml`: what the author of a version says of it. Asks for the checksum of its archive.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;

use crate::dialect::estream::document::{PlatformTable, manifest};
use crate::dialect::estream::pending::{Described, Pending};
use crate::dialect::estream::signature::ChecksumTask;
use crate::dialect::estream::{KERNEL, Task};
use crate::dialect::{Finding, Received};
use crate::error::{ParseError, Position};
use crate::id::{ComponentId, Dialect, Reference};
use crate::model::Refusal;
use crate::version::{Grammar, Version, VersionReq};

/// The reason of a version whose manifest says that it is another one.
const MISMATCH: &str = "estream.manifest_mismatch";
/// The most that one version may require.
const DEPENDENCIES_MAX: usize = 1_000;

/// What is known of a version before its manifest is read.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestTask {
    pub(super) pending: Pending,
}

impl ManifestTask {
    pub(super) fn refused(&self, refusal: Refusal) -> Finding {
        self.pending.refused(refusal)
    }
}

/// Reads a manifest.
///
/// **Errors**: it cannot be read, or is about another version; what it requires cannot be read.
pub(super) fn read(task: &ManifestTask, bytes: &[u8], received: &Received) -> Result<Finding, ParseError> {
    let (document, mut fields, text) = manifest(bytes)?;
    let component = document.component;
    let pending = task.pending.and(received);
    let at = |span: Range<usize>| Position::of(text.as_bytes(), span.start);
    let is = |expected: &str, found: &Spanned<String>, field: &str| match found.get_ref() == expected {
        true => Ok(()),
        false => {
            let expected = format!("{expected}, as the index says");
            let error = ParseError::new(MISMATCH, expected, found.get_ref()).in_field(field);
            Err(error.in_field("component").at(at(found.span())))
        }
    };
    is(pending.listing.id.path(), &component.name, "name")?;
    is(&pending.version.to_string(), &component.version, "version")?;
    is(&pending.listing.category, &component.category, "category")?;
    let mut platform = platform(&component.estream, &at)?;
    platform.extend(pending.row.min_version.iter().map(|version| format!(">={version}")));
    let dependencies = dependencies(component.dependencies, platform, &at)?;
    let mut extra = match fields.remove("component") {
        Some(Value::Object(own)) => own,
        _ => Map::new(),
    };
    for told in ["name", "version", "category", "dependencies"] {
        extra.remove(told);
    }
    if !fields.is_empty() {
        extra.insert("manifest".to_owned(), Value::Object(fields));
    }
    let described = Described {
        manifest: received.digest.clone(),
        summary: component.description,
        dependencies: dependencies.into(),
        extra,
    };
    let next = Task::Checksum(Box::new(ChecksumTask { pending: pending.clone(), described }));
    let errands = vec![pending.errand("checksum.sha3", next)?];
    Ok(Finding { errands, ..Finding::default() })
}

/// Returns the requirements on the platform, as texts.
pub(super) fn platform(
    table: &PlatformTable,
    at: &dyn Fn(Range<usize>) -> Position,
) -> Result<Vec<String>, ParseError> {
    let mut requirements = Vec::new();
    let bounds = [(">=", "min_version", &table.min_version), ("<=", "max_version", &table.max_version)];
    for (sign, field, bound) in bounds {
        let Some(bound) = bound else { continue };
        let placed =
            |error: ParseError| error.in_field(format!("component.estream.{field}")).at(at(bound.span()));
        requirements.push(format!("{sign}{}", Version::parse(bound.get_ref()).map_err(placed)?));
    }
    if let Some(written) = &table.platform {
        let text = written.get_ref();
        let placed = |error: ParseError| error.in_field("component.estream.platform").at(at(written.span()));
        match Version::parse(text) {
            Ok(version) => requirements.push(format!(">={version}")),
            Err(_) => {
                let read = VersionReq::parse(text, Grammar::Caret).map_err(placed)?;
                requirements.extend(Some(read.as_text().to_owned()).filter(|text| !text.is_empty()));
            }
        }
    }
    Ok(requirements)
}

/// Reads what a version requires, with Cargo's meaning of bare versions, sorted by id. What is required of the platform, by whatever
/// field, is one requirement.
pub(super) fn dependencies(
    written: BTreeMap<String, Spanned<toml::Value>>,
    mut platform: Vec<String>,
    at: &dyn Fn(Range<usize>) -> Position,
) -> Result<Vec<Reference>, ParseError> {
    if written.len() > DEPENDENCIES_MAX {
        let expected = format!("at most {DEPENDENCIES_MAX} dependencies");
        let error = ParseError::new("limit.dependencies", expected, written.len().to_string());
        return Err(error.in_field("component.dependencies"));
    }
    let mut references = Vec::with_capacity(written.len());
    for (name, value) in written {
        let placed =
            |error: ParseError| error.in_field(format!("component.dependencies.{name}")).at(at(value.span()));
        let text = match value.get_ref() {
            toml::Value::String(text) => Some(text.as_str()),
            toml::Value::Table(table) => table.get("version").and_then(toml::Value::as_str),
            _ => None,
        };
        let text = text.ok_or_else(|| {
            let found = value.get_ref().type_str();
            placed(ParseError::new("input.field", "a requirement, or a table with version", found))
        })?;
        let id = ComponentId::from_path(Dialect::Estream, &name).map_err(placed)?;
        let requirement = VersionReq::parse(text, Grammar::Caret).map_err(placed)?;
        match id.as_text() == KERNEL {
            true => {
                platform.extend(Some(requirement.as_text().to_owned()).filter(|text| !text.is_empty()));
            }
            false => references.push(Reference::of(id, requirement).map_err(placed)?),
        }
    }
    platform.retain(|text| text != "*");
    platform.sort();
    platform.dedup();
    if !platform.is_empty() {
        let requirement = VersionReq::parse(&platform.join(", "), Grammar::Caret)
            .map_err(|error| error.in_field("component.estream"))?;
        let reference = Reference::of(ComponentId::parse(KERNEL)?, requirement);
        references.push(reference.map_err(|error| error.in_field("component.estream"))?);
    }
    references.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(references)
}
