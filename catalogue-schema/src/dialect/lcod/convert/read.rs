//! Reading a document of any form into content, field by field as it is written. Checks the shape and nothing else.

use serde_json::{Map, Value};

use crate::dialect::lcod::convert::{Content, Entry, Losses};
use crate::dialect::lcod::document::{
    CATALOGUE_SCHEMA, CATALOGUES_SCHEMA, LIST_SCHEMA, REGISTRY_SCHEMA, VERSIONS_SCHEMA, without_mark,
};
use crate::error::{ParseError, Position};
use crate::json;

/// What only rows of lists and sources filter by.
pub(super) const FILTERS: &[&str] = &["namespace", "package", "version"];
const NO_FILTER: &str = "it filters nothing there";
/// What a version says and its component cannot.
const VERSIONS_OWN: &[&str] = &["version", "manifest", "sha256", "yanked", "dependencies"];
/// What a component of `catalog.json` may call as it likes, and a pointer means something by.
const POINTERS_OWN: &[&str] = &[
    "type",
    "kind",
    "url",
    "path",
    "subpath",
    "ref",
    "commit",
    "checksum",
    "publicKey",
    "signature",
    "metadata",
    "namespace",
    "package",
    "version",
];

/// Reads a document, told by its content.
///
/// **Errors**: `input.json` and its kin; `input.schema`; `input.field`.
pub(super) fn content(bytes: &[u8], losses: &mut Losses) -> Result<Content, ParseError> {
    let bytes = without_mark(bytes);
    if let Some(lines) = lines(bytes)? {
        return of_lines(lines, losses);
    }
    let text = json::check(bytes)?;
    let whole: Value = json::document(text)?;
    let placed = |error: ParseError| json::located(error, text);
    match whole {
        Value::Array(items) => {
            let rows = entries(items, "").map_err(placed)?;
            let rows = rows.into_iter().map(|entry| row(entry, losses)).collect();
            Ok(Content { rows, ..Content::default() })
        }
        Value::Object(fields) => object(fields, losses).map_err(placed),
        _ => Err(ParseError::new("input.schema", "an object, an array or JSON lines", "another value")),
    }
}

/// A line's number and its fields.
type Line = (usize, Map<String, Value>);

/// Returns the lines of a JSONL document; `None` when the text is one JSON document.
fn lines(bytes: &[u8]) -> Result<Option<Vec<Line>>, ParseError> {
    let mut lines = Vec::new();
    for (number, line) in json::lines(bytes) {
        let read = json::check(line).and_then(json::document::<Map<String, Value>>);
        match read {
            Ok(fields) if lines.is_empty() && !is_first_line(&fields) => return Ok(None),
            Ok(fields) => lines.push((number, fields)),
            Err(_) if lines.is_empty() => return Ok(None),
            Err(error) => {
                let error = error.in_field(format!("line {number}"));
                return Err(json::moved(error, Position { line: number, column: 1 }));
            }
        }
    }
    Ok(Some(lines).filter(|lines| !lines.is_empty()))
}

fn is_first_line(fields: &Map<String, Value>) -> bool {
    word(fields, "schema") == Some(LIST_SCHEMA)
        || word(fields, "type") == Some("manifest")
        || (!fields.contains_key("schema") && matches!(word(fields, "kind"), Some("component" | "registry")))
}

fn word<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

fn of_lines(lines: Vec<Line>, losses: &mut Losses) -> Result<Content, ParseError> {
    let mut content = Content::default();
    let mut lines = lines.into_iter().peekable();
    let has_header = lines.peek().is_some_and(|(_, first)| word(first, "schema") == Some(LIST_SCHEMA));
    if has_header && let Some((_, mut head)) = lines.next() {
        head.remove("type");
        head.remove("schema");
        content.head = head;
    }
    let mut registries = Vec::new();
    for (number, mut fields) in lines {
        let name = named(&fields, || format!("line {number}"));
        let written = word(&fields, "type").or_else(|| word(&fields, "kind")).map(str::to_owned);
        match (has_header, written.as_deref()) {
            (true, Some("component")) => {
                if !fields.contains_key("type") {
                    fields.remove("kind");
                }
                content.rows.push(row(Entry { name, fields }, losses));
            }
            (true, Some(kind @ ("list" | "git" | "https" | "file"))) => {
                if word(&fields, "type") != Some("list") {
                    losses.take(&name, &mut fields, FILTERS, NO_FILTER);
                }
                if fields.remove("type").is_some() && kind != "list" {
                    fields.entry("kind").or_insert_with(|| kind.into());
                }
                content.pointers.push(Entry { name, fields });
            }
            (false, _) if word(&fields, "kind") == Some("component") => {
                fields.remove("kind");
                content.manifests.push(Entry { name, fields });
            }
            (false, _) if word(&fields, "kind") == Some("registry") => {
                fields.remove("kind");
                registries.push(Value::Object(fields));
            }
            (_, other) => {
                let found = other.unwrap_or("no type");
                let error = ParseError::new("input.row_type", "a row of a known type", found);
                return Err(error
                    .in_field(format!("line {number}"))
                    .at(Position { line: number, column: 1 }));
            }
        }
    }
    if !registries.is_empty() {
        content.head.insert("registries".to_owned(), registries.into());
    }
    Ok(content)
}

fn object(mut fields: Map<String, Value>, losses: &mut Losses) -> Result<Content, ParseError> {
    let schema = word(&fields, "schema").map(str::to_owned);
    fields.remove("schema");
    match schema.as_deref() {
        Some(CATALOGUES_SCHEMA) => {
            let pointers = entries(taken(&mut fields, "catalogues")?, "catalogues")?;
            let pointer = |mut entry: Entry| {
                if word(&entry.fields, "type") != Some("list") {
                    losses.take(&entry.name, &mut entry.fields, FILTERS, NO_FILTER);
                }
                typed(entry, losses)
            };
            let pointers = pointers.into_iter().map(pointer).collect();
            Ok(Content { head: fields, pointers, ..Content::default() })
        }
        Some(CATALOGUE_SCHEMA) => {
            let mut manifests = Vec::new();
            for component in entries(taken(&mut fields, "components")?, "components")? {
                manifests.extend(versions(component, losses)?);
            }
            Ok(Content { head: fields, manifests, ..Content::default() })
        }
        Some(VERSIONS_SCHEMA) => {
            let name = named(&fields, || "versions".to_owned());
            Ok(Content { manifests: versions(Entry { name, fields }, losses)?, ..Content::default() })
        }
        Some(REGISTRY_SCHEMA) => registry(fields, losses),
        _ if fields.contains_key("sources") => {
            let sources = entries(taken(&mut fields, "sources")?, "sources")?;
            fields.remove("$schema");
            let pointers = sources.into_iter().map(|entry| flat(entry, losses)).collect();
            Ok(Content { head: fields, pointers, ..Content::default() })
        }
        other => {
            let expected =
                "a list, a catalogue, a sources file, or a document of the layout before the federation";
            Err(ParseError::new("input.schema", expected, other.unwrap_or("no schema")))
        }
    }
}

fn taken(fields: &mut Map<String, Value>, name: &str) -> Result<Vec<Value>, ParseError> {
    match fields.remove(name) {
        Some(Value::Array(items)) => Ok(items),
        other => {
            let found = other.map_or("nothing".to_owned(), |value| value.to_string());
            Err(ParseError::new("input.field", "an array", found).in_field(name))
        }
    }
}

fn entries(items: Vec<Value>, within: &str) -> Result<Vec<Entry>, ParseError> {
    let entry = |(index, item)| {
        let field = format!("{within}[{index}]");
        match item {
            Value::Object(fields) => Ok(Entry { name: named(&fields, || field), fields }),
            other => {
                Err(ParseError::new("input.field", "an object", Value::to_string(&other)).in_field(field))
            }
        }
    };
    items.into_iter().enumerate().map(entry).collect()
}

/// Returns the id of an entry, or its place.
fn named(fields: &Map<String, Value>, place: impl FnOnce() -> String) -> String {
    word(fields, "id").map_or_else(place, str::to_owned)
}

/// Writes the `composePath` of a row, another spelling of `compose`, as `compose`.
fn row(mut entry: Entry, losses: &mut Losses) -> Entry {
    let Entry { name, fields } = &mut entry;
    fields.remove("type");
    fields.retain(|field, value| field != "compose" || !value.is_null());
    if let Some(path) = fields.remove("composePath").filter(|path| !path.is_null()) {
        match fields.get("compose") {
            Some(own) if *own != path => losses.field(name, "composePath", "compose says something else"),
            _ => {
                fields.insert("compose".to_owned(), path);
            }
        }
    }
    entry
}

/// Writes the `type` of a pointer, another spelling of `kind`, as `kind`.
fn typed(mut entry: Entry, losses: &mut Losses) -> Entry {
    if let Some(kind) = entry.fields.remove("type").filter(|kind| kind != "list") {
        match entry.fields.get("kind") {
            Some(own) if *own != kind => losses.field(&entry.name, "type", "kind says something else"),
            _ => {
                entry.fields.insert("kind".to_owned(), kind);
            }
        }
    }
    entry
}

/// Writes a source with an `entrypoint` in the flat form.
fn flat(entry: Entry, losses: &mut Losses) -> Entry {
    let mut entry = typed(entry, losses);
    if let Some(Value::Object(inner)) = entry.fields.remove("entrypoint") {
        let inner = typed(Entry { name: entry.name.clone(), fields: inner }, losses);
        for (field, value) in inner.fields {
            if entry.fields.contains_key(&field) {
                losses.field(&entry.name, &format!("entrypoint.{field}"), "the source says it too");
            } else {
                entry.fields.insert(field, value);
            }
        }
    }
    if let Some(path) = entry.fields.remove("catalogue") {
        entry.fields.entry("subpath").or_insert(path);
    }
    entry
}

/// Returns one entry per version of a component; what the component says goes along with each of them.
fn versions(component: Entry, losses: &mut Losses) -> Result<Vec<Entry>, ParseError> {
    let mut shared = component.fields;
    let listed = taken(&mut shared, "versions").map_err(|error| error.in_field(&component.name))?;
    if listed.is_empty() {
        losses.field(&component.name, "", "it has no version");
    }
    losses.take(&component.name, &mut shared, VERSIONS_OWN, "only a version says it");
    let mut all = Vec::with_capacity(listed.len());
    for version in entries(listed, "versions")? {
        let mut own = version.fields;
        let name = format!("{}@{}", component.name, word(&own, "version").unwrap_or("?"));
        losses.take(&name, &mut own, &["id"], "it is the component's");
        let mut fields = shared.clone();
        fields.extend(own);
        all.push(Entry { name, fields });
    }
    Ok(all)
}

/// Returns the pointers of `catalog.json` to the versions of each component, or the one of `registry.json`.
fn registry(mut fields: Map<String, Value>, losses: &mut Losses) -> Result<Content, ParseError> {
    if let Some(Value::Object(packages)) = fields.get("packages") {
        for id in packages.keys() {
            losses.field(id, "", "registry.json names no path; the list points to packages.jsonl beside it");
        }
        let is_empty = packages.is_empty();
        fields.remove("packages");
        if is_empty {
            return Ok(Content { head: fields, ..Content::default() });
        }
        let pointer = Map::from_iter([
            ("id".to_owned(), "packages".into()),
            ("path".to_owned(), "packages.jsonl".into()),
        ]);
        let pointers = vec![Entry { name: "packages".to_owned(), fields: pointer }];
        return Ok(Content { head: fields, pointers, ..Content::default() });
    }
    let packages = entries(taken(&mut fields, "packages")?, "packages")?;
    let pointer = |mut entry: Entry| {
        losses.take(&entry.name, &mut entry.fields, POINTERS_OWN, "it would say where the versions lie");
        if let Some(path) = entry.fields.remove("versionsPath") {
            entry.fields.insert("path".to_owned(), path);
        }
        let id = entry.name.strip_prefix("lcod://").unwrap_or(&entry.name).to_owned();
        entry.fields.insert("id".to_owned(), id.into());
        entry
    };
    Ok(Content { head: fields, pointers: packages.into_iter().map(pointer).collect(), ..Content::default() })
}
