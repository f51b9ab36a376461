//! What a resolve may be asked besides references: a project's wishes (`resolve.config.json` as values). Types only, for server and
//! client.

use std::collections::BTreeMap;

use catalogue_schema::direct::DirectTable;
use catalogue_schema::error::ParseError;
use serde::{Deserialize, Serialize};

/// A project's wishes. `null` and the empty value of a field mean the same as leaving it out, but for `sources`.
///
/// **Shape**: `{"replace": {"lcod://a/b": "lcod://c/d@^2"}, "bindings": {"lcod://contract/x": "lcod://impl/x"},
/// "allowlist": ["lcod://acme/", "lcod://tooling/array/*"], "sources": ["lcod-default"]}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Which reference stands for an id, whoever requires it. Without a version of its own it has to meet what was required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<BTreeMap<String, SpecText>>,
    /// Which reference implements a contract. Its version has nothing to do with that of the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bindings: Option<BTreeMap<String, SpecText>>,
    /// From which directory of a commit a component comes; its descriptor has to say that it is that component. What requires it has
    /// to be met by its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<BTreeMap<String, SpecText>>,
    /// The ids that may be used: one and what lies below it, a prefix that ends in `/`, or one that ends in `*`; all where it is
    /// empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowlist: Option<Vec<String>>,
    /// The configured sources whose components may be used; `null` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<String>>,
}

/// Who stands for an id: a reference, an id with its requirement, or a directory of a commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a reference such as lcod://ns/name@^1, {\"id\": …, \"version\": …}, or {\"type\": \"git\", \"url\": …, \"commit\": …, \"path\": …}"
)]
pub enum SpecText {
    /// `lcod://tooling/array/pluck@^0.1`, or `git+https://host/repository.git@COMMIT#PATH`.
    Reference(String),
    /// `{"id": "lcod://tooling/array/pluck", "version": "^0.1"}`.
    Parts(SpecParts),
    /// `{"type": "git", "url": "https://host/repository.git", "commit": …, "path": …}`.
    Direct(DirectTable),
}

/// An id and the requirement on its version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecParts {
    /// The id.
    pub id: String,
    /// The requirement; what was required of the replaced id where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl SpecText {
    /// Returns the text of the reference.
    ///
    /// **Errors**: those of [`DirectTable::reference`].
    pub fn text(&self) -> Result<String, ParseError> {
        Ok(match self {
            SpecText::Reference(text) => text.clone(),
            SpecText::Parts(SpecParts { id, version: Some(version) }) => format!("{id}@{version}"),
            SpecText::Parts(SpecParts { id, version: None }) => id.clone(),
            SpecText::Direct(table) => table.reference()?.to_string(),
        })
    }
}
