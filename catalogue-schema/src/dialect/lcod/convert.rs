//! Conversion of a published document into another form that can hold it, with a list of everything that was left behind.
//!
//! Documents hold one of three kinds of content, and a form holds some of them:
//!
//! | kind | forms |
//! |---|---|
//! | pointers to catalogues | `catalogues`, `list`, `sources`, `sources-list` |
//! | components with a `compose.yaml` | `list`, `array` |
//! | components with a manifest | `catalogue`, `packages` |
//!
//! Unknown fields go along where the form takes them: every form but `array` and the strict sources files. Pure: paths and
//! URLs are carried as they are written, nothing is fetched, nothing is checked but the shape. A signature of the document
//! is always left behind, since the bytes that it signs are gone.

mod read;
mod write;

use serde_json::{Map, Value};

use crate::error::ParseError;

/// A form that documents are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `lcod-registry/catalogues@1`, JSON.
    Catalogues,
    /// `lcod-manifest/list@1`, JSONL, of pointers or of component rows.
    List,
    /// `lcod-registry/catalogue@1`, JSON.
    Catalogue,
    /// `[{id, composePath}]`.
    Array,
    /// `packages.jsonl`.
    Packages,
    /// `lcod-resolver/sources@1`, JSON.
    Sources,
    /// `lcod.sources.jsonl`.
    SourcesList,
}

/// Every form.
pub const FORMATS: [Format; 7] = [
    Format::Catalogues,
    Format::List,
    Format::Catalogue,
    Format::Array,
    Format::Packages,
    Format::Sources,
    Format::SourcesList,
];

impl Format {
    /// Returns its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Catalogues => "catalogues",
            Format::List => "list",
            Format::Catalogue => "catalogue",
            Format::Array => "array",
            Format::Packages => "packages",
            Format::Sources => "sources",
            Format::SourcesList => "sources-list",
        }
    }

    /// Returns the name that a file of this form usually has.
    pub fn file_name(self) -> &'static str {
        match self {
            Format::Catalogues => "catalogues.json",
            Format::List => "list.jsonl",
            Format::Catalogue => "catalogue.json",
            Format::Array => "components.json",
            Format::Packages => "packages.jsonl",
            Format::Sources => "sources.json",
            Format::SourcesList => "lcod.sources.jsonl",
        }
    }

    fn holds(self, kind: Kind) -> bool {
        match self {
            Format::Catalogues | Format::Sources | Format::SourcesList => kind == Kind::Pointers,
            Format::List => kind != Kind::Manifests,
            Format::Array => kind == Kind::Rows,
            Format::Catalogue | Format::Packages => kind == Kind::Manifests,
        }
    }
}

/// A converted document.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted {
    /// The document.
    pub text: String,
    /// What the form could not hold, in the order of the input.
    pub dropped: Vec<Dropped>,
}

/// Something that a form could not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The entry, by its id or place; `header` for the document itself.
    pub entry: String,
    /// The field; empty for the whole entry.
    pub field: String,
    /// Why.
    pub why: &'static str,
}

/// Writes the document `bytes` in the form `to`.
///
/// **Errors**: the document cannot be read (`input.json`, `input.schema`, `input.field`); `input.format` when the form
/// cannot hold what it says, with the forms that can.
pub fn convert(bytes: &[u8], to: Format) -> Result<Converted, ParseError> {
    let mut losses = Losses::default();
    let content = read::content(bytes, &mut losses)?;
    if let Some(kind) = content.kinds().find(|kind| !to.holds(*kind)) {
        let able: Vec<&str> = FORMATS
            .into_iter()
            .filter(|form| content.kinds().all(|kind| form.holds(kind)))
            .map(Format::name)
            .collect();
        let expected = format!("a form that holds {} ({})", kind.words(), able.join(", "));
        return Err(ParseError::new("input.format", expected, to.name()));
    }
    let text = write::text(content, to, &mut losses)?;
    Ok(Converted { text, dropped: losses.dropped })
}

/// What a document says, whichever form it had.
#[derive(Debug, Default)]
struct Content {
    /// The id that it gives itself, and everything else that it says of itself.
    head: Map<String, Value>,
    /// Pointers, as `catalogues@1` writes them; those of sources files have the operator's fields too.
    pointers: Vec<Entry>,
    /// Rows, as lists write them, without `type`.
    rows: Vec<Entry>,
    /// One version each, as `packages.jsonl` writes them, without `kind`.
    manifests: Vec<Entry>,
}

/// One entry and what reports call it.
#[derive(Debug)]
struct Entry {
    name: String,
    fields: Map<String, Value>,
}

/// A kind of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pointers,
    Rows,
    Manifests,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Kind::Pointers => "pointers to catalogues",
            Kind::Rows => "components without manifests",
            Kind::Manifests => "components with manifests",
        }
    }
}

impl Content {
    fn kinds(&self) -> impl Iterator<Item = Kind> {
        let there = [
            (Kind::Pointers, !self.pointers.is_empty()),
            (Kind::Rows, !self.rows.is_empty()),
            (Kind::Manifests, !self.manifests.is_empty()),
        ];
        there.into_iter().filter(|(_, there)| *there).map(|(kind, _)| kind)
    }
}

/// What is left behind.
#[derive(Debug, Default)]
struct Losses {
    dropped: Vec<Dropped>,
}

impl Losses {
    fn field(&mut self, entry: &str, field: &str, why: &'static str) {
        self.dropped.push(Dropped { entry: entry.to_owned(), field: field.to_owned(), why });
    }

    /// Takes `names` out of `fields` and reports those that were there.
    fn take(&mut self, entry: &str, fields: &mut Map<String, Value>, names: &[&str], why: &'static str) {
        for name in names {
            if fields.remove(*name).is_some_and(|value| !value.is_null()) {
                self.field(entry, name, why);
            }
        }
    }

    /// Takes everything but `names` out of `fields` and reports it.
    fn keep(&mut self, entry: &str, fields: &mut Map<String, Value>, names: &[&str], why: &'static str) {
        let others: Vec<String> =
            fields.keys().filter(|name| !names.contains(&name.as_str())).cloned().collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        self.take(entry, fields, &others, why);
    }
}

#[cfg(test)]
mod tests;
