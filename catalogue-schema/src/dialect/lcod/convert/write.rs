//! Writing content in one form, and reporting what that form has no place for.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::dialect::lcod::convert::read::FILTERS;
use crate::dialect::lcod::convert::{Content, Entry, Format, Losses};
use crate::dialect::lcod::document::{CATALOGUE_SCHEMA, CATALOGUES_SCHEMA, LIST_SCHEMA};
use crate::error::ParseError;
use crate::forge::Forges;
use crate::pointer::HttpsUrl;

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
    let own: &[&str] = match to {
        Format::List => &["type"],
        Format::Catalogues => &["catalogues"],
        Format::Catalogue => &["components"],
        Format::Array | Format::Packages | Format::Sources | Format::SourcesList => &[],
    };
    losses.take("header", &mut content.head, own, "the form says something else there");
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
        let why = match entry.fields.get("enabled") {
            Some(Value::Bool(false)) => Some("it is switched off"),
            _ => unnameable(&entry.fields),
        };
        if let Some(why) = why {
            losses.field(&entry.name, "", why);
        }
        why.is_none()
    });
    for Entry { name, fields } in &mut content.pointers {
        if let Some(priority) = &default {
            fields.entry("priority").or_insert_with(|| priority.clone());
        }
        losses.take(name, fields, OPERATORS, OPERATOR);
        if let Some(repository) = local_repository(fields).map(str::to_owned) {
            fields.remove("path");
            fields.insert("url".to_owned(), repository.into());
        }
    }
}

/// Returns the repository on this machine that a source names under `path`; a pointer calls its document so.
fn local_repository(fields: &Map<String, Value>) -> Option<&str> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let path = text("path").filter(|path| text("url").is_none() && text("subpath") != Some(path));
    text("subpath").and(path)
}

/// Says why a pointer of a published list cannot lead where a source leads.
fn unnameable(fields: &Map<String, Value>) -> Option<&'static str> {
    let url = fields.get("url").and_then(Value::as_str).unwrap_or_default();
    let is_scp = url.split_once(':').is_some_and(|(login, _)| login.contains('@') && !login.contains('/'));
    if url.starts_with("ssh:") || is_scp {
        return Some("only a sources file names a repository by ssh");
    }
    local_repository(fields)
        .filter(|path| !path.starts_with('/') && !path.starts_with("file:"))
        .map(|_| "only a sources file names a repository by a relative path")
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
    for Entry { name, mut fields } in content.manifests {
        losses.take(&name, &mut fields, &["kind"], "the form says by it what a line is");
        rows.push(with(fields, "kind", "component").into());
    }
    lines(rows)
}

/// Makes each pointer a source: an id, the kind written out, nothing that a sources file refuses.
fn strict_sources(content: &mut Content, losses: &mut Losses) -> Result<(), ParseError> {
    losses.keep("header", &mut content.head, &["id", "description", "defaults"], NO_PLACE);
    content.pointers.retain(|entry| {
        let is_beside = is_beside(&entry.fields);
        if is_beside {
            losses.field(
                &entry.name,
                "",
                "it lies beside the list in its repository, which nothing names here",
            );
        }
        !is_beside
    });
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
        match kind {
            "git" => in_repository(name, fields, losses),
            "https" => {
                let fields_of_trees = ["path", "subpath", "ref"];
                losses.take(name, fields, &fields_of_trees, "a document behind a URL has none");
                state_commit(name, fields, losses);
            }
            _ => {
                losses.take(name, fields, &["subpath", "ref", "commit"], "a file has none");
                if fields.contains_key("url") {
                    losses.take(name, fields, &["path"], "the url names the file");
                }
            }
        }
        fields.insert("kind".to_owned(), kind.into());
    }
    Ok(())
}

/// Tells whether a pointer means a path in the list's own tree, by a commit or a kind that only a repository has.
fn is_beside(fields: &Map<String, Value>) -> bool {
    let has = |name: &str| fields.get(name).is_some_and(Value::is_string);
    kind(fields) == "git" && !has("url") && local_repository(fields).is_none()
}

/// Writes once what a source of kind git may say once: the document's path, and the commit or the branch.
fn in_repository(name: &str, fields: &mut Map<String, Value>, losses: &mut Losses) {
    if fields.get("path") == fields.get("subpath") {
        fields.remove("subpath");
    }
    let metadata =
        |field: &str| fields.get("metadata")?.get(field).filter(|value| value.is_string()).cloned();
    let (listed, is_pinned) = (metadata("manifestPath"), metadata("commit").is_some());
    let url = fields.get("url").and_then(Value::as_str).and_then(|url| HttpsUrl::parse(url).ok());
    let names_file = url.is_some_and(|url| Forges::default().file(&url).is_some());
    let has_path =
        fields.contains_key("subpath") || (fields.contains_key("url") && fields.contains_key("path"));
    match listed {
        Some(listed) if !has_path && !names_file => {
            fields.insert("subpath".to_owned(), listed);
        }
        _ if names_file => {
            losses.take(name, fields, &["path", "subpath", "ref"], "the url names the file and its revision");
        }
        _ => {}
    }
    if is_pinned || fields.contains_key("commit") {
        losses.take(name, fields, &["ref"], "the commit counts");
    }
}

/// Makes the commit of a plain document, which cannot be read at one, a statement about where it comes from.
fn state_commit(name: &str, fields: &mut Map<String, Value>, losses: &mut Losses) {
    let Some(commit) = fields.remove("commit") else { return };
    let stated = fields.entry("metadata").or_insert_with(|| json!({}));
    let stated =
        stated.as_object_mut().map(|metadata| metadata.entry("commit").or_insert_with(|| commit.clone()));
    if stated.is_none_or(|stated| *stated != commit) {
        losses.field(name, "commit", "metadata says something else");
    }
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
        _ if has("url") && starts("https:") => "https",
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
