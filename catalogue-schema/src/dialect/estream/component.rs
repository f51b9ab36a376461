//! `estream-component.toml` as whoever publishes it wants it read: every fault at once, each with its field and line.
//!
//! The reader of a registry ends at the first fault, since the release is refused either way. An author corrects a file, so all of
//! its faults are told. What is taken here that reader takes as well: it has the last word. Stricter than it only for what is
//! published: the version is written as it is printed, the types of the known fields are right, nothing is listed twice.
//!
//! **Source**: seed 002, sections 2.1 and 7.1.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::dialect::estream::document::{self, ManifestDocument};
use crate::dialect::estream::{KERNEL, manifest};
use crate::error::{ParseError, Places, Position, escaped};
use crate::id::{ComponentId, Dialect, Reference};
use crate::path::{DocPath, SEGMENT_BYTES_MAX};
use crate::version::{Grammar, Version, VersionReq};

/// The largest manifest in bytes: what a sync reads of one release at most.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// The most faults of one manifest that are told.
pub const FAULTS_MAX: usize = 100;

/// What a manifest says, as far as it can be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What the component is; `None` where there is a fault.
    pub component: Option<Component>,
    /// What it says of files, schemas and circuits, without what is wrong.
    pub declared: Declared,
    /// Everything that is wrong, the required fields first; at most [`FAULTS_MAX`].
    pub faults: Vec<ParseError>,
}

/// What a component is.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// The id.
    pub id: ComponentId,
    /// The version.
    pub version: Version,
    /// The category, which is also its directory in an index.
    pub category: String,
    /// One line that describes it.
    pub description: String,
    /// Words to find it by.
    pub keywords: Vec<String>,
    /// The oldest version of the platform that it runs on.
    pub min_version: Option<Version>,
    /// What it requires, sorted by id; the platform is [`KERNEL`].
    pub dependencies: Vec<Reference>,
}

/// What a component says of its files, its schemas and its circuits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Declared {
    /// The name.
    pub name: Option<Written>,
    /// The version.
    pub version: Option<Written>,
    /// The file that people read first.
    pub readme: Option<Written>,
    /// The schemas that it brings.
    pub provides: Vec<Written>,
    /// The schemas that it needs.
    pub requires: Vec<Written>,
    /// The circuits that it brings.
    pub circuits: Vec<Written>,
    /// The patterns of files by what they are; `None` where there is no such table.
    pub include: Option<BTreeMap<String, Vec<Written>>>,
}

/// A text, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The text.
    pub text: String,
    /// The field, such as `component.schemas.provides[0]`.
    pub field: String,
    /// The place of it.
    pub position: Position,
}

impl Written {
    /// Makes an error about this text at its place.
    pub fn wrong(&self, reason: &'static str, expected: impl Into<String>) -> ParseError {
        ParseError::new(reason, expected, &self.text).in_field(&self.field).at(self.position)
    }
}

/// Reads a manifest.
///
/// **Errors**: `limit.document_bytes`, `input.encoding`, `input.toml`: nothing of it can be read.
pub fn read(bytes: &[u8]) -> Result<Reading, ParseError> {
    if bytes.len() > MANIFEST_BYTES_MAX {
        let expected = format!("an estream-component.toml of at most {MANIFEST_BYTES_MAX} bytes");
        return Err(ParseError::new("limit.document_bytes", expected, format!("{} bytes", bytes.len())));
    }
    let text = document::manifest_text(bytes)?;
    let root = DeTable::parse(text).map_err(|error| document::unread(text, &error))?;
    let mut walk = Walk { places: Places::of(text.as_bytes()), faults: Vec::new() };
    let declared = walk.all(&root);
    let Walk { mut faults, .. } = walk;
    faults.truncate(FAULTS_MAX);
    let component = match faults.is_empty() {
        false => None,
        true => match component(bytes) {
            Ok(component) => Some(component),
            Err(error) => {
                faults.push(error);
                None
            }
        },
    };
    Ok(Reading { component, declared, faults })
}

/// Reads what a component is, by the reader that registries are read with.
fn component(bytes: &[u8]) -> Result<Component, ParseError> {
    let (ManifestDocument { component }, fields, text) = document::manifest(bytes)?;
    let at = |span: Range<usize>| Position::of(text.as_bytes(), span.start);
    let id = ComponentId::from_path(Dialect::Estream, component.name.get_ref())
        .map_err(|error| error.in_field("component.name").at(at(component.name.span())))?;
    let version = Version::parse(component.version.get_ref())
        .map_err(|error| error.in_field("component.version").at(at(component.version.span())))?;
    let min_version = component.estream.min_version.as_ref();
    let min_version = min_version.map(|text| Version::parse(text.get_ref())).transpose()?;
    let platform = manifest::platform(&component.estream, &at)?;
    let dependencies = manifest::dependencies(component.dependencies, platform, &at)?;
    let keywords = fields.get("component").and_then(|fields| fields["keywords"].as_array());
    let keywords = keywords.into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned));
    Ok(Component {
        id,
        version,
        category: component.category.into_inner(),
        description: component.description,
        keywords: keywords.collect(),
        min_version,
        dependencies,
    })
}

/// Refuses a name that may be read and not be published: each part of it is `a-z`, `0-9` and `-`, neither begins nor ends with `-`, and
/// is a directory of every registry, so that it has at most 100 bytes and is none that some system reserves (`nul`).
///
/// Off-spec: seed 002 says nothing of the length, and later versions of eStream take 128 bytes; no registry that is read here has
/// room for them.
///
/// **Errors**: `estream.name`, `estream.platform_listed`.
pub fn publishable(name: &str) -> Result<(), ParseError> {
    let is_part = |part: &str| {
        let is_edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
        let bytes = part.as_bytes();
        bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && is_edge(bytes.first())
            && is_edge(bytes.last())
    };
    let is_good = match name.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| is_part(scope) && is_part(name)),
        None => is_part(name),
    };
    let expected = "a name or @publisher/name of a-z, 0-9 and -, at most 100 bytes a part, no - at an end";
    match is_good {
        true if format!("estream:{name}") == KERNEL => {
            let expected = "another name: this is the platform's, which no registry lists";
            Err(ParseError::new("estream.platform_listed", expected, name))
        }
        true => match DocPath::parse(name) {
            Ok(_) => Ok(()),
            Err(_) if name.split('/').any(|part| part.len() > SEGMENT_BYTES_MAX) => {
                let expected = format!(
                    "a shorter name: at most {SEGMENT_BYTES_MAX} bytes a part, for which registries and archives have room, also where eStream allows 128"
                );
                Err(ParseError::new("estream.name", expected, name))
            }
            Err(error) => {
                let expected = format!("a name that is a directory of a registry: {}", error.expected);
                Err(ParseError::new("estream.name", expected, name))
            }
        },
        false => Err(ParseError::new("estream.name", expected, name)),
    }
}

/// What a field has to be.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Texts,
    Truth,
}

/// The optional fields whose types are known, by table.
const OPTIONAL: &[(&str, &[(&str, Kind)])] = &[
    (
        "",
        &[
            ("license", Kind::Text),
            ("repository", Kind::Text),
            ("homepage", Kind::Text),
            ("keywords", Kind::Texts),
        ],
    ),
    ("author", &[("name", Kind::Text), ("email", Kind::Text), ("url", Kind::Text)]),
    ("marketplace", &[("pricing", Kind::Text), ("visibility", Kind::Text)]),
    ("circuits", &[("target", Kind::Texts)]),
    (
        "wire_adapter",
        &[
            ("protocol_family", Kind::Text),
            ("transports", Kind::Texts),
            ("bidirectional", Kind::Truth),
            ("request_response", Kind::Truth),
        ],
    ),
    (
        "widget",
        &[
            ("widget_category", Kind::Text),
            ("roles", Kind::Texts),
            ("sizes", Kind::Texts),
            ("data_sources", Kind::Texts),
        ],
    ),
    ("fpga", &[("device_family", Kind::Texts)]),
];

/// Goes through a manifest and keeps what is wrong.
struct Walk<'a> {
    places: Places<'a>,
    faults: Vec<ParseError>,
}

impl Walk<'_> {
    fn at(&self, span: Range<usize>) -> Position {
        self.places.at(span.start)
    }

    fn fault(&mut self, field: &str, span: Range<usize>, error: ParseError) {
        let at = self.at(span);
        self.faults.push(error.in_field(field).at(at));
    }

    fn all(&mut self, root: &Spanned<DeTable<'_>>) -> Declared {
        let Some(value) = root.get_ref().get("component") else {
            let error = ParseError::new("input.field", "the table [component]", "none");
            self.fault("component", 0..0, error);
            return Declared::default();
        };
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type("component", value, "a table");
            return Declared::default();
        };
        let span = value.span();
        let name = self.required(table, &span, "name");
        if let Some(name) = &name
            && let Err(error) = ComponentId::from_path(Dialect::Estream, &name.text)
        {
            let expected = format!("a name such as wire-fix or @acme/wire-fix: {}", error.expected);
            self.faults.push(name.wrong("estream.name", expected));
        }
        let version = self.required(table, &span, "version");
        if let Some(version) = &version {
            let read = Version::parse(&version.text).map(|read| read.to_string());
            // It is a directory of every registry.
            if read.ok().as_deref() != Some(version.text.as_str()) || DocPath::parse(&version.text).is_err() {
                self.faults.push(version.wrong("input.version", "major.minor.patch, such as 1.0.0"));
            }
        }
        if let Some(category) = self.required(table, &span, "category")
            && (category.text.starts_with('@')
                || ComponentId::from_path(Dialect::Estream, &category.text).is_err())
        {
            let expected = "a category of a-z, 0-9 and -, such as wire-adapter";
            self.faults.push(category.wrong("estream.category", expected));
        }
        if let Some(description) = self.required(table, &span, "description")
            && description.text.chars().any(char::is_control)
        {
            self.faults.push(description.wrong("input.field", "one line"));
        }
        self.optional(table);
        self.platform(table);
        self.dependencies(table);
        Declared { name, version, ..self.declared(table) }
    }

    /// Reads a text that has to be there and to say something.
    fn required(&mut self, table: &DeTable<'_>, span: &Range<usize>, name: &str) -> Option<Written> {
        let field = format!("component.{name}");
        match table.get(name) {
            None => {
                self.fault(&field, span.clone(), ParseError::new("input.field", "a text", "nothing"));
                None
            }
            Some(value) => {
                let written = self.written(&field, value)?;
                match written.text.trim().is_empty() {
                    true => {
                        self.faults.push(written.wrong("input.field", "a text that is not empty"));
                        None
                    }
                    false => Some(written),
                }
            }
        }
    }

    fn written(&mut self, field: &str, value: &Spanned<DeValue<'_>>) -> Option<Written> {
        match value.get_ref().as_str() {
            Some(text) => {
                let position = self.at(value.span());
                Some(Written { text: text.to_owned(), field: field.to_owned(), position })
            }
            None => {
                self.wrong_type(field, value, "a text");
                None
            }
        }
    }

    fn wrong_type(&mut self, field: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        let error = ParseError::new("input.field", expected, value.get_ref().type_str());
        self.fault(field, value.span(), error);
    }

    /// Reads a list of texts; nothing where there is none.
    fn texts(&mut self, field: &str, value: Option<&Spanned<DeValue<'_>>>) -> Vec<Written> {
        let Some(value) = value else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(field, value, "a list of texts");
            return Vec::new();
        };
        let items = items.iter().enumerate();
        items.filter_map(|(index, item)| self.written(&format!("{field}[{index}]"), item)).collect()
    }

    /// Reads a list of names, each of which stands there once.
    fn names(&mut self, field: &str, value: Option<&Spanned<DeValue<'_>>>) -> Vec<Written> {
        let written = self.texts(field, value);
        let mut names: Vec<Written> = Vec::with_capacity(written.len());
        let mut known = std::collections::BTreeSet::new();
        for name in written {
            match (name.text.trim().is_empty(), known.insert(name.text.clone())) {
                (true, _) => self.faults.push(name.wrong("input.field", "a name")),
                (_, false) => self.faults.push(name.wrong("input.field", "every name once")),
                (false, true) => names.push(name),
            }
        }
        names
    }

    /// Returns a table in `[component]`.
    fn table<'v, 'i>(&mut self, table: &'v DeTable<'i>, name: &str) -> Option<&'v DeTable<'i>> {
        let value = table.get(name)?;
        if value.get_ref().as_table().is_none() {
            self.wrong_type(&format!("component.{name}"), value, "a table");
        }
        value.get_ref().as_table()
    }

    fn optional(&mut self, component: &DeTable<'_>) {
        for (name, fields) in OPTIONAL {
            let table = if name.is_empty() { Some(component) } else { self.table(component, name) };
            let Some(table) = table else { continue };
            for (key, kind) in *fields {
                let field = match name.is_empty() {
                    true => format!("component.{key}"),
                    false => format!("component.{name}.{key}"),
                };
                let Some(value) = table.get(*key) else { continue };
                match kind {
                    Kind::Text => drop(self.written(&field, value)),
                    Kind::Texts => drop(self.texts(&field, Some(value))),
                    Kind::Truth if value.get_ref().is_bool() => {}
                    Kind::Truth => self.wrong_type(&field, value, "true or false"),
                }
            }
        }
    }

    fn platform(&mut self, component: &DeTable<'_>) {
        let Some(table) = self.table(component, "estream") else { return };
        for name in ["min_version", "max_version"] {
            let Some(value) = table.get(name) else { continue };
            let field = format!("component.estream.{name}");
            if let Some(written) = self.written(&field, value)
                && Version::parse(&written.text).is_err()
            {
                self.faults.push(written.wrong("input.version", "a version such as 0.8.0"));
            }
        }
    }

    fn dependencies(&mut self, component: &DeTable<'_>) {
        let Some(table) = self.table(component, "dependencies") else { return };
        for (name, value) in table {
            let field = format!("component.dependencies.{}", escaped(name.get_ref()));
            if let Err(error) = ComponentId::from_path(Dialect::Estream, name.get_ref()) {
                self.fault(&field, name.span(), error);
            }
            let requirement = match value.get_ref() {
                DeValue::Table(table) => table.get("version").unwrap_or(value),
                _ => value,
            };
            match requirement.get_ref().as_str() {
                None => self.wrong_type(&field, value, "a requirement, or a table with version"),
                Some(text) => {
                    if let Err(error) = VersionReq::parse(text, Grammar::Caret) {
                        self.fault(&field, requirement.span(), error);
                    }
                }
            }
        }
    }

    fn declared(&mut self, component: &DeTable<'_>) -> Declared {
        let mut declared = Declared::default();
        if let Some(value) = component.get("readme")
            && let Some(written) = self.written("component.readme", value)
        {
            match DocPath::parse(&written.text) {
                Ok(_) => declared.readme = Some(written),
                Err(error) => self.fault("component.readme", value.span(), error),
            }
        }
        if let Some(schemas) = self.table(component, "schemas") {
            declared.provides = self.names("component.schemas.provides", schemas.get("provides"));
            declared.requires = self.names("component.schemas.requires", schemas.get("requires"));
        }
        if let Some(circuits) = self.table(component, "circuits") {
            declared.circuits = self.names("component.circuits.provides", circuits.get("provides"));
        }
        if let Some(include) = self.table(component, "include") {
            let patterns = include.iter().map(|(name, value)| {
                let field = format!("component.include.{}", escaped(name.get_ref()));
                (name.get_ref().to_string(), self.texts(&field, Some(value)))
            });
            declared.include = Some(patterns.collect());
        }
        declared
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Every table of seed 002, section 2.1.
    const WHOLE: &str = r#"[component]
name = "estream-wire-fix"
version = "1.0.0"
category = "wire-adapter"
description = "FIX protocol adapter for eStream"
license = "Apache-2.0"
repository = "https://example.org/estream-wire-fix"
homepage = "https://example.org/components/wire-fix"
readme = "README.md"
keywords = ["fix", "trading"]

[component.author]
name = "eStream Contributors"
email = "components@example.org"
url = "https://example.org"

[component.marketplace]
pricing = "free"
visibility = "open"

[component.estream]
min_version = "0.8.0"
max_version = "1.0.0"

[component.dependencies]
esf-trading = "^1.0.0"
estream-kernel = ">=0.8.0"

[component.schemas]
provides = ["FixNewOrderSingle", "FixExecutionReport"]
requires = ["EStreamOrder", "EStreamFill"]

[component.circuits]
provides = ["fix_parser_circuit", "fix_order_router"]
target = ["cpu", "fpga"]

[component.wire_adapter]
protocol_family = "financial"
transports = ["tcp", "tls"]
bidirectional = true
request_response = true

[component.widget]
widget_category = "analytics"
roles = ["operator", "admin"]
sizes = ["small", "medium", "large"]
data_sources = ["eslite"]

[component.fpga]
device_family = ["xcvu9p", "xcvu13p"]
resource_estimate = { luts = 50000, brams = 100, dsps = 0 }

[component.include]
schemas = ["schemas/*.esf.yaml"]
tests = ["tests/golden/**"]
"#;

    #[test]
    fn the_whole_manifest_of_the_seed_has_no_fault() {
        let Reading { component, declared, faults } = read(WHOLE.as_bytes()).unwrap();
        assert_eq!(faults, []);
        let component = component.unwrap();
        assert_eq!((component.id.path(), component.category.as_str()), ("estream-wire-fix", "wire-adapter"));
        assert_eq!(component.keywords, ["fix", "trading"]);
        assert_eq!(component.min_version.unwrap().to_string(), "0.8.0");
        let dependencies: Vec<String> = component.dependencies.iter().map(|one| one.id.to_string()).collect();
        assert_eq!(dependencies, ["estream:esf-trading", KERNEL]);
        let circuit = &declared.circuits[1];
        assert_eq!((circuit.field.as_str(), circuit.position.line), ("component.circuits.provides[1]", 34));
        assert_eq!(declared.include.unwrap().len(), 2);
    }

    #[test]
    fn one_wrong_field_is_one_fault_at_its_line() {
        let check = |from: &str, to: &str, expected: &str| {
            assert!(WHOLE.contains(from), "{from}");
            let Reading { component, faults, .. } = read(WHOLE.replacen(from, to, 1).as_bytes()).unwrap();
            let told = faults.iter().map(|fault| {
                let line = fault.position.map(|at| at.line).unwrap_or_default();
                format!("{} {} {line}", fault.reason, fault.field)
            });
            assert_eq!(told.collect::<Vec<_>>().join(", "), expected, "{to}");
            assert_eq!(component.is_none(), !expected.is_empty());
        };
        check("name = \"estream-wire-fix\"\n", "", "input.field component.name 1");
        check("\"estream-wire-fix\"", "\"Wire\"", "estream.name component.name 2");
        check("\"1.0.0\"", "\"v1.0.0\"", "input.version component.version 3");
        check("\"1.0.0\"", "\"1.0\"", "input.version component.version 3");
        check("\"1.0.0\"", "1.0", "input.field component.version 3");
        check("\"1.0.0\"", "\"1.0.0-rc.1+b\"", "");
        check("\"wire-adapter\"", "\"../x\"", "estream.category component.category 4");
        check("\"wire-adapter\"", "\"@a/b\"", "estream.category component.category 4");
        check("\"wire-adapter\"", "\"payment-protocol\"", "");
        check("\"FIX protocol adapter for eStream\"", "\" \"", "input.field component.description 5");
        check("\"FIX protocol adapter for eStream\"", "\"a\\nb\"", "input.field component.description 5");
        check("\"README.md\"", "\"../README.md\"", "input.path component.readme 9");
        check("\"README.md\"", "[]", "input.field component.readme 9");
        check("[\"fix\", \"trading\"]", "[\"fix\", 1]", "input.field component.keywords[1] 10");
        check("\"free\"", "0", "input.field component.marketplace.pricing 18");
        check("\"0.8.0\"", "\"new\"", "input.version component.estream.min_version 22");
        check("esf-trading =", "ESF =", "input.id component.dependencies.ESF 26");
        check("\"^1.0.0\"", "\">=1 <2\"", "input.requirement component.dependencies.esf-trading 26");
        check("\"^1.0.0\"", "{ version = \"^1\", optional = true }", "");
        check("\"^1.0.0\"", "{ path = \"x\" }", "input.field component.dependencies.esf-trading 26");
        check("\"EStreamFill\"", "\"EStreamOrder\"", "input.field component.schemas.requires[1] 31");
        check("\"EStreamFill\"", "\"\"", "input.field component.schemas.requires[1] 31");
        check(
            "bidirectional = true",
            "bidirectional = 1",
            "input.field component.wire_adapter.bidirectional 40",
        );
        check("[\"tests/golden/**\"]", "\"tests\"", "input.field component.include.tests 55");
        check("[component.fpga]", "[component.fpga2]", "");
        let none = read(b"component = 1").unwrap();
        assert_eq!(
            none.faults[0].to_string(),
            "component: expected a table, found \"integer\" (line 1, column 13)"
        );
        assert_eq!(read(b"").unwrap().faults.len(), 1);
        assert_eq!(read(b"a = \n").unwrap_err().position.unwrap().line, 1);
        // As long as a manifest may be, and nothing but names: each is looked at once.
        let many: String = (0..100_000).map(|at| format!("\"{at}\",\n")).collect();
        let many =
            read(format!("[component]\nkeywords = 1\n[component.schemas]\nprovides = [\n{many}]").as_bytes())
                .unwrap();
        assert_eq!(
            (many.declared.provides.len(), many.declared.provides[99_999].position.line),
            (100_000, 100_004)
        );
        let wrong = format!("[component]\nkeywords = [{}]", "1,".repeat(100_000));
        assert_eq!(read(wrong.as_bytes()).unwrap().faults.len(), FAULTS_MAX);
        assert_eq!(read(&[0xff]).unwrap_err().reason, "input.encoding");
        assert_eq!(read(&vec![b'#'; MANIFEST_BYTES_MAX + 1]).unwrap_err().reason, "limit.document_bytes");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic_and_what_has_no_fault_the_reader_of_registries_takes(
            at in 0..WHOLE.len(), length in 0usize..40, with in "[a-z0-9=\"\\[\\]{}. \n#']{0,12}",
        ) {
            let mut bytes = WHOLE.as_bytes().to_vec();
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, with.bytes());
            if let Ok(Reading { component, faults, .. }) = read(&bytes) {
                proptest::prop_assert_eq!(component.is_some(), faults.is_empty());
                proptest::prop_assert!(!faults.is_empty() || document::manifest(&bytes).is_ok());
            }
        }
    }
}
