//! Who is who: component ids, source ids, catalogue ids, namespaces, and references (`id@requirement`).
//!
//! Identity of a component is (dialect, scope, name) and is never guessed across dialects. Canonical texts:
//! `lcod://ns/path`, `estream:name`, `estream:@pub/name`, `flowctl:ns/name`. ASCII only, at most 512 bytes, no empty,
//! `.` or `..` segment. A reference is split at the *last* `@` whose index is above 0.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::ParseError;
use crate::version::{Grammar, Version, VersionReq};

/// The longest reference in bytes.
pub const REFERENCE_BYTES_MAX: usize = 512;
/// The longest source id in bytes.
pub const SOURCE_ID_BYTES_MAX: usize = 100;

/// A registry dialect: which documents a source speaks, and part of every component's identity.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Federated LCOD registries.
    Lcod,
    /// eStream index repositories.
    Estream,
    /// flowctl components and bundles.
    Flowctl,
}

impl Dialect {
    /// Returns the word used in ids and routes.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Lcod => "lcod",
            Dialect::Estream => "estream",
            Dialect::Flowctl => "flowctl",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Dialect::Lcod => "lcod://",
            Dialect::Estream => "estream:",
            Dialect::Flowctl => "flowctl:",
        }
    }
}

/// The identity of a component, without a version; printed in its canonical text. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId {
    dialect: Dialect,
    text: Arc<str>,
}

impl ComponentId {
    /// Reads a canonical id, such as `lcod://tooling/array/append`.
    ///
    /// **Errors**: `input.id`.
    pub fn parse(text: &str) -> Result<ComponentId, ParseError> {
        if text.len() > REFERENCE_BYTES_MAX {
            return Err(ParseError::new("input.id", "an id of at most 512 bytes", text));
        }
        for dialect in [Dialect::Lcod, Dialect::Estream, Dialect::Flowctl] {
            if let Some(rest) = text.strip_prefix(dialect.prefix()) {
                return match local_fault(dialect, rest) {
                    None => Ok(ComponentId { dialect, text: text.into() }),
                    Some(expected) => Err(ParseError::new("input.id", expected, text)),
                };
            }
        }
        Err(ParseError::new("input.id", "an id that starts with lcod://, estream: or flowctl:", text))
    }

    /// Makes the id from the dialect and the text behind its prefix, as routes spell it (`tooling/array/append`).
    ///
    /// **Errors**: `input.id`.
    pub fn from_path(dialect: Dialect, path: &str) -> Result<ComponentId, ParseError> {
        ComponentId::parse(&format!("{}{path}", dialect.prefix()))
    }

    /// Returns the dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Returns the canonical text.
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// Returns the text behind the dialect's prefix, such as `tooling/array/append`.
    pub fn path(&self) -> &str {
        &self.text[self.dialect.prefix().len()..]
    }

    /// Returns the text behind the dialect's prefix in the canonical text of an id; all of it where there is no such prefix.
    pub fn path_in(text: &str) -> &str {
        let dialects = [Dialect::Lcod, Dialect::Estream, Dialect::Flowctl];
        dialects.iter().find_map(|dialect| text.strip_prefix(dialect.prefix())).unwrap_or(text)
    }

    /// Returns everything before the last segment; empty where there is no scope.
    pub fn scope(&self) -> &str {
        self.path().rsplit_once('/').map_or("", |(scope, _)| scope)
    }

    /// Returns the last segment.
    pub fn name(&self) -> &str {
        self.path().rsplit_once('/').map_or(self.path(), |(_, name)| name)
    }
}

fn local_fault(dialect: Dialect, path: &str) -> Option<&'static str> {
    match dialect {
        Dialect::Lcod => {
            let good = |segment: &str| {
                segment.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                    && segment.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'))
            };
            (!path.contains('/') || !path.split('/').all(good)).then_some(
                "lcod://<namespace>/<name> with segments of a-z, 0-9, _, . or -, at least two of them",
            )
        }
        Dialect::Estream => {
            let fine = match path.split_once('/') {
                None => is_dashed(path),
                Some((publisher, name)) => {
                    publisher.strip_prefix('@').is_some_and(is_dashed) && is_dashed(name)
                }
            };
            (!fine).then_some("estream:<name> or estream:@<publisher>/<name> with a-z, 0-9 or -")
        }
        Dialect::Flowctl => {
            let fine = path.split_once('/').is_some_and(|(scope, name)| is_dashed(scope) && is_dashed(name));
            (!fine).then_some("flowctl:<namespace>/<name> with a-z, 0-9 or -")
        }
    }
}

fn is_dashed(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// A component id with the requirement on its version, as people and kernels write it.
///
/// **Shape**: `lcod://tooling/array/pluck@^0.1`; printed canonically.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Which component.
    pub id: ComponentId,
    /// Which versions of it; any stable version where the text names none.
    pub requirement: VersionReq,
}

impl Reference {
    fn text(&self) -> String {
        let (id, requirement) = (self.id.as_text(), self.requirement.as_text());
        let mut text = String::with_capacity(id.len() + 1 + requirement.len());
        text.push_str(id);
        if !requirement.is_empty() {
            text.push('@');
            text.push_str(requirement);
        }
        text
    }

    /// Reads a reference in the decision order of the grammar: scheme, leading `@`, direct reference, OCI, one `/` means
    /// flowctl, none means eStream.
    ///
    /// **Errors**: `input.reference` (form), `input.id`, `input.requirement`.
    pub fn parse(text: &str) -> Result<Reference, ParseError> {
        let refused = |expected: &str| Err(ParseError::new("input.reference", expected, text));
        if text.len() > REFERENCE_BYTES_MAX {
            return refused("a reference of at most 512 bytes");
        }
        if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return refused("a reference in printable ASCII");
        }
        let (id, requirement) = split(text);
        let id = component_id(id, text)?;
        let requirement = match requirement {
            Some(requirement) if requirement.trim_matches(' ').is_empty() => {
                return refused("a version requirement behind @");
            }
            Some(requirement) => VersionReq::parse(requirement, Grammar::Reference)?,
            None => VersionReq::any(),
        };
        Reference::of(id, requirement)
    }

    /// Puts a reference together.
    ///
    /// **Errors**: `input.reference` where its canonical text, which must be readable itself, would be too long.
    pub fn of(id: ComponentId, requirement: VersionReq) -> Result<Reference, ParseError> {
        let reference = Reference { id, requirement };
        let requirement = reference.requirement.as_text();
        let behind = if requirement.is_empty() { 0 } else { 1 + requirement.len() };
        if reference.id.as_text().len() + behind > REFERENCE_BYTES_MAX {
            let expected = "a reference of at most 512 bytes in its canonical form";
            return Err(ParseError::new("input.reference", expected, reference.text()));
        }
        Ok(reference)
    }

    /// Tells whether a text says anything of the version: whether a requirement stands behind its id.
    pub fn has_requirement(text: &str) -> bool {
        split(text).1.is_some()
    }
}

/// Splits at the last `@` that does not start a scope, be it at the start of the text or behind `estream:`.
fn split(text: &str) -> (&str, Option<&str>) {
    let prefix = Dialect::Estream.prefix();
    let first = if text.starts_with(prefix) { prefix.len() } else { 0 };
    match text.rfind('@') {
        Some(at) if at > first => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    }
}

fn component_id(id: &str, whole: &str) -> Result<ComponentId, ParseError> {
    let refused = |expected: &str| Err(ParseError::new("input.reference", expected, whole));
    if id.trim_matches(' ').is_empty() {
        return refused("an id, such as lcod://namespace/name");
    }
    if ["lcod:", "estream:", "flowctl:"].iter().any(|scheme| id.starts_with(scheme)) {
        return ComponentId::parse(id);
    }
    let is_bundle = id.starts_with('{') || (id.contains('/') && id.contains(['#', ':']) && !is_oci(id));
    if id.starts_with("flowctl-bundle:") || (is_bundle && !id.starts_with('@') && !is_direct(id)) {
        return refused("a component; flowctl bundles are not read by this version");
    }
    if id.starts_with('@') {
        return ComponentId::from_path(Dialect::Estream, id);
    }
    if is_direct(id) {
        return refused("the id of a catalogued component; direct references are not read here");
    }
    if is_oci(id) {
        return refused("a component reference; this is an OCI reference, which is not resolved");
    }
    match id.matches('/').count() {
        0 => ComponentId::from_path(Dialect::Estream, id),
        1 => ComponentId::from_path(Dialect::Flowctl, id),
        _ => refused("lcod://…, name, @publisher/name or namespace/name"),
    }
}

fn is_direct(id: &str) -> bool {
    ["./", "/", "git+"].iter().any(|start| id.starts_with(start))
}

fn is_oci(id: &str) -> bool {
    let first = id.split('/').next().unwrap_or(id);
    first.contains(['.', ':']) || first == "localhost"
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text())
    }
}

/// Reads `id@version`, as catalogue rows and manifests write it.
///
/// **Errors**: `input.id`, `input.version`; `version_missing` when there is no `@`.
pub fn parse_release_id(text: &str) -> Result<(ComponentId, Version), ParseError> {
    match split(text) {
        (id, Some(version)) => Ok((ComponentId::parse(id)?, Version::parse(version)?)),
        (_, None) => Err(ParseError::new(
            "version_missing",
            "an id with its version, such as lcod://ns/name@1.0.0",
            text,
        )),
    }
}

/// A namespace: every id below a prefix that ends at a segment border; in eStream, where names have no segments, also every id that
/// starts with a prefix.
///
/// **Shape**: `lcod://acme/` or `lcod://acme/**`, printed as `lcod://acme/**`; `estream:@acme/**`, `estream:acme-*`, printed as
/// `estream:acme-**`, and `estream:**` for all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Box<str>);

impl Namespace {
    /// Reads a namespace.
    ///
    /// **Errors**: `input.namespace`.
    pub fn parse(text: &str) -> Result<Namespace, ParseError> {
        let refused = || ParseError::new("input.namespace", "a namespace such as lcod://acme/**", text);
        let flat = Dialect::Estream.prefix();
        let stem =
            text.strip_suffix("**").or_else(|| text.strip_suffix('*').filter(|_| text.starts_with(flat)));
        let prefix = stem.unwrap_or(text);
        // What may follow the prefix is one segment or more, depending on the dialect and on how long the prefix is.
        let holds_ids =
            ["x", "x/x"].iter().any(|rest| ComponentId::parse(&format!("{prefix}{rest}")).is_ok());
        let is_open = stem.is_some() && prefix.starts_with(flat);
        if !(prefix.ends_with('/') || is_open) || !holds_ids {
            return Err(refused());
        }
        Ok(Namespace(prefix.into()))
    }

    /// Returns what every id in it starts with.
    pub fn prefix(&self) -> &str {
        &self.0
    }

    /// Tells whether every id in it lies in `other` as well.
    pub fn is_within(&self, other: &Namespace) -> bool {
        self.0.starts_with(&*other.0)
    }

    /// Tells whether `id` lies in the namespace.
    pub fn contains(&self, id: &ComponentId) -> bool {
        id.as_text().starts_with(&*self.0)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}**", self.0)
    }
}

/// The id of a source, as the operator named it; also the form of the id of a catalogue within a source.
///
/// **Shape**: `^[a-z0-9](?:[a-z0-9._/-]*[a-z0-9])?$`, at most 100 bytes, no empty, `.` or `..` segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(Arc<str>);

impl SourceId {
    /// Reads a source id.
    ///
    /// **Errors**: `input.source_id`.
    pub fn parse(text: &str) -> Result<SourceId, ParseError> {
        let edge = |byte: Option<&u8>| matches!(byte, Some(b'a'..=b'z' | b'0'..=b'9'));
        let bytes = text.as_bytes();
        let inner = bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'/' | b'-'));
        let climbs = text.split('/').any(|segment| matches!(segment, "" | "." | ".."));
        if text.len() > SOURCE_ID_BYTES_MAX || !edge(bytes.first()) || !edge(bytes.last()) || !inner || climbs
        {
            let expected =
                "an id of a-z, 0-9, . _ / or -, with a letter or digit at both ends, at most 100 bytes";
            return Err(ParseError::new("input.source_id", expected, text));
        }
        Ok(SourceId(text.into()))
    }

    /// Returns the text.
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The id of a catalogue: the source that lists it and the id inside that source, which no other source can take over.
///
/// **Shape**: `<source>/<id>` when printed; `{source, name}` in code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CatalogueId {
    /// The source.
    pub source: SourceId,
    /// The id that the list or the catalogue itself gives, such as `tooling/std`.
    pub name: SourceId,
}

impl fmt::Display for CatalogueId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.source, self.name)
    }
}

crate::text_forms!(Namespace);
crate::text_forms!(ComponentId, SourceId; as_text);
crate::text_forms!(Reference; text);

impl fmt::Display for ComponentId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Debug for ComponentId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
