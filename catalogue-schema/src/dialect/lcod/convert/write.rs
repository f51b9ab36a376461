//! Writing content in one form, and reporting what that form has no place for.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::dialect::lcod::convert::{Content, Entry, Format, Losses};
use crate::dialect::lcod::document::{CATALOGUE_SCHEMA, CATALOGUES_SCHEMA, LIST_SCHEMA};
use crate::error::ParseError;

/// What only an operator says about a source.
const OPERATORS: &[&str] = &[
    "dialect",
    "owns",
    "offline",
    "refresh",
    "maxStale",
    "enabled",
    "transport",
    "headers",
    "timeoutMs",
    "retries",
];
/// What only rows of lists and sources filter by.
const FILTERS: &[&str] = &["namespace", "package", "version"];
/// What stands under `entrypoint` in a sources file.
const ENTRYPOINT: &[&str] = &["url", "path", "commit", "ref", "subpath"];
/// Everything that a source may say, besides its entry point.
const SOURCE: &[&str] = &[
    "id",
    "kind",
    "url",
    "path",
    "commit",
    "ref",
    "subpath",
    "dialect",
    "checksum",
    "publicKey",
    "signature",
    "priority",
    "owns",
    "namespace",
    "package",
    "version",
    "offline",
    "refresh",
    "maxStale",
    "enabled",
    "metadata",
    "transport",
    "headers",
    "timeoutMs",
    "retries",
    "description",
];

const NO_PLACE: &str = "the form has no place for it";
const OPERATOR: &str = "only a sources file says it";

/// Writes `content`, which the form can hold.
///
/// **Errors**: `input.field` for an entry without something that the form requires.
pub(super) fn text(mut content: Content, to: Format, losses: &mut Losses) -> Result<String, ParseError> {
    losses.take("header", &mut content.head, &["signature"], "it signs other bytes");
    match to {
        Format::Catalogues => Ok(catalogues(content, losses)),
        Format::List => Ok(list(content, losses)),
        Format::Catalogue => catalogue(content),
        Format::Array => Ok(array(content, losses)),
        Format::Packages => Ok(packages(content, losses)),
        Format::Sources => sources(content, losses),
        Format::SourcesList => sources_list(content, losses),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn lines(rows: Vec<Value>) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn with(mut fields: Map<String, Value>, name: &str, value: impl Into<Value>) -> Map<String, Value> {
    fields.insert(name.to_owned(), value.into());
    fields
}

/// Turns sources into pointers: their default priority is written out, and what is switched off is left out.
fn plain_pointers(content: &mut Content, losses: &mut Losses) {
    let default = content.head.remove("defaults").and_then(|defaults| defaults.get("priority").cloned());
    content.pointers.retain(|entry| {
        let is_off = entry.fields.get("enabled") == Some(&Value::Bool(false));
        if is_off {
            losses.field(&entry.name, "", "it is switched off");
        }
        !is_off
    });
    for Entry { name, fields } in &mut content.pointers {
        if let Some(priority) = &default {
            fields.entry("priority").or_insert_with(|| priority.clone());
        }
        losses.take(name, fields, OPERATORS, OPERATOR);
    }
}

fn catalogues(mut content: Content, losses: &mut Losses) -> String {
    plain_pointers(&mut content, losses);
    for Entry { name, fields } in &mut content.pointers {
        losses.take(name, fields, FILTERS, "it would filter nothing there");
    }
    let entries: Vec<Value> = content.pointers.into_iter().map(|entry| entry.fields.into()).collect();
    pretty(&with(with(content.head, "schema", CATALOGUES_SCHEMA), "catalogues", entries).into())
}

fn list(mut content: Content, losses: &mut Losses) -> String {
    plain_pointers(&mut content, losses);
    let head = with(with(content.head, "type", "manifest"), "schema", LIST_SCHEMA);
    let mut rows = vec![head.into()];
    rows.extend(content.pointers.into_iter().map(|entry| with(entry.fields, "type", "list").into()));
    rows.extend(content.rows.into_iter().map(|entry| with(entry.fields, "type", "component").into()));
    lines(rows)
}

fn array(mut content: Content, losses: &mut Losses) -> String {
    losses.keep("header", &mut content.head, &[], NO_PLACE);
    let mut rows = Vec::with_capacity(content.rows.len());
    for Entry { name, mut fields } in content.rows {
        let Some(compose) = fields.remove("compose").filter(Value::is_string) else {
            losses.field(&name, "", "it names no path of a compose.yaml");
            continue;
        };
        let beside = compose.as_str().map(|path| match path.rsplit_once('/') {
            Some((directory, _)) => format!("{directory}/lcp.toml"),
            None => "lcp.toml".to_owned(),
        });
        if fields.get("lcp").and_then(Value::as_str) == beside.as_deref() {
            // An array means this very file when it says nothing.
            fields.remove("lcp");
        }
        losses.keep(&name, &mut fields, &["id"], NO_PLACE);
        rows.push(with(fields, "composePath", compose).into());
    }
    pretty(&Value::Array(rows))
}

fn catalogue(content: Content) -> Result<String, ParseError> {
    let mut components: Vec<(String, Vec<Value>)> = Vec::new();
    // A catalogue has a million components at times, so that looking through them for each version would never end.
    let mut places: HashMap<String, usize> = HashMap::new();
    for Entry { name, mut fields } in content.manifests {
        let id = fields.remove("id").and_then(|id| Some(id.as_str()?.to_owned())).unwrap_or_default();
        let (id, behind) = match id.rsplit_once('@') {
            Some((id, version)) => (id.to_owned(), Some(version.to_owned())),
            None => (id, None),
        };
        if let Some(version) = behind {
            fields.entry("version").or_insert_with(|| version.into());
        }
        for required in ["version", "manifest"] {
            if !fields.contains_key(required) {
                let error = ParseError::new("input.field", format!("the field {required}"), "nothing");
                return Err(error.in_field(name));
            }
        }
        let place = *places.entry(id.clone()).or_insert(components.len());
        match components.get_mut(place) {
            Some((_, versions)) => versions.push(fields.into()),
            None => components.push((id, vec![fields.into()])),
        }
    }
    let component = |(id, versions): (String, Vec<Value>)| {
        Value::from(Map::from_iter([("id".to_owned(), id.into()), ("versions".to_owned(), versions.into())]))
    };
    let components: Vec<Value> = components.into_iter().map(component).collect();
    Ok(pretty(&with(with(content.head, "schema", CATALOGUE_SCHEMA), "components", components).into()))
}

fn packages(mut content: Content, losses: &mut Losses) -> String {
    let mut rows = Vec::new();
    if let Some(Value::Array(registries)) = content.head.remove("registries") {
        for registry in registries {
            match registry {
                Value::Object(fields) => rows.push(with(fields, "kind", "registry").into()),
                _ => losses.field("header", "registries", NO_PLACE),
            }
        }
    }
    losses.keep("header", &mut content.head, &[], NO_PLACE);
    rows.extend(content.manifests.into_iter().map(|entry| with(entry.fields, "kind", "component").into()));
    lines(rows)
}

/// Makes each pointer a source: an id, the kind written out, nothing that a sources file refuses.
fn strict_sources(content: &mut Content, losses: &mut Losses) -> Result<(), ParseError> {
    losses.keep("header", &mut content.head, &["id", "description", "defaults"], NO_PLACE);
    for Entry { name, fields } in &mut content.pointers {
        losses.keep(name, fields, SOURCE, "a sources file takes known fields only");
        if !fields.contains_key("id") {
            let error = ParseError::new("input.field", "the field id, which a source requires", "nothing");
            return Err(error.in_field(name.clone()));
        }
        let in_range = |value: &Value| value.as_i64().is_some_and(|number| (0..=1000).contains(&number));
        if fields.get("priority").is_some_and(|value| !in_range(value)) {
            losses.take(name, fields, &["priority"], "a source's priority is 0 to 1000");
        }
        let kind = kind(fields);
        if kind == "https"
            && let Some(commit) = fields.remove("commit")
        {
            // A plain document cannot be read at a commit: there it is a statement about where it comes from.
            let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.entry("commit").or_insert(commit);
            }
        }
        fields.insert("kind".to_owned(), kind.into());
    }
    Ok(())
}

fn kind(fields: &Map<String, Value>) -> &'static str {
    let has = |name: &str| fields.get(name).is_some_and(Value::is_string);
    let starts =
        |text: &str| fields.get("url").and_then(Value::as_str).is_some_and(|url| url.starts_with(text));
    match fields.get("kind").and_then(Value::as_str) {
        Some("git") => "git",
        Some("https") => "https",
        Some("file") => "file",
        _ if has("subpath") || has("ref") || (has("url") && has("path")) => "git",
        _ if has("url") && !starts("file:") => "https",
        _ if has("path") && has("commit") => "git",
        _ => "file",
    }
}

fn sources(mut content: Content, losses: &mut Losses) -> Result<String, ParseError> {
    strict_sources(&mut content, losses)?;
    losses.take("header", &mut content.head, &["id"], NO_PLACE);
    let entry = |Entry { mut fields, .. }: Entry| {
        let mut entrypoint = Map::new();
        if let Some(kind) = fields.remove("kind") {
            entrypoint.insert("type".to_owned(), kind);
        }
        for name in ENTRYPOINT {
            if let Some(value) = fields.remove(*name) {
                entrypoint.insert((*name).to_owned(), value);
            }
        }
        Value::from(with(fields, "entrypoint", entrypoint))
    };
    let entries: Vec<Value> = content.pointers.into_iter().map(entry).collect();
    Ok(pretty(&with(with(content.head, "schema", "lcod-resolver/sources@1"), "sources", entries).into()))
}

fn sources_list(mut content: Content, losses: &mut Losses) -> Result<String, ParseError> {
    strict_sources(&mut content, losses)?;
    let head = with(with(content.head, "type", "manifest"), "schema", LIST_SCHEMA);
    let mut rows = vec![head.into()];
    rows.extend(content.pointers.into_iter().map(|entry| with(entry.fields, "type", "list").into()));
    Ok(lines(rows))
}
