//! The tables of lockfiles as they are written, with the place of every value that is looked at again.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::document::At;

/// `resolverd.lock`: which release of every component a project uses, from where, and which bytes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(title = "Lock", rename = "Lock")]
pub struct LockDocument {
    /// `resolverd/lock@1`.
    pub schema: At<String>,
    /// `follow` where what components call is locked as well; left out where only what they require is.
    pub calls: Option<At<String>>,
    /// What the project asks for because its own `compose.yaml` calls it.
    #[serde(default)]
    pub called: Vec<At<String>>,
    /// What the project asks for and the host implements itself.
    #[serde(default)]
    pub natives: Vec<At<String>>,
    /// The releases, sorted by id.
    #[serde(default)]
    pub components: Vec<At<LockedTable>>,
}

/// One release of a [`LockDocument`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "Component")]
pub struct LockedTable {
    /// The component, such as `lcod://ns/name`.
    pub id: At<String>,
    /// The version.
    pub version: At<String>,
    /// The source that owns the id.
    pub source: At<String>,
    /// The catalogue of it.
    pub catalogue: At<String>,
    /// The author's repository, under its own name: never a mirror, never a path of a machine.
    pub repository: Option<At<String>>,
    /// The commit; left out where there is an archive.
    pub commit: Option<At<String>>,
    /// The component's directory.
    pub path: Option<At<String>>,
    /// The digest of its manifest.
    pub manifest: Option<At<String>>,
    /// The digests of the one file that holds all of it.
    #[serde(default)]
    pub archive: Vec<At<String>>,
    /// The digest and the path of each file.
    #[serde(default)]
    pub files: Vec<At<String>>,
    /// What the project itself asks for that this release answers.
    #[serde(default)]
    pub requested: Vec<At<String>>,
    /// What it requires; behind `->` what answers that, where it is not the component that is named.
    #[serde(default)]
    pub dependencies: Vec<At<String>>,
    /// Which of its dependencies its `compose.yaml` calls without the release declaring them.
    #[serde(default)]
    pub called: Vec<At<String>>,
    /// The components that require it.
    #[serde(default)]
    pub required_by: Vec<At<String>>,
}

/// `lcp.lock`, schema version 1.0.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct LcpDocument {
    pub(super) schema_version: At<String>,
    pub(super) resolver_version: Option<At<String>>,
    pub(super) project_id: Option<At<String>>,
    #[serde(default)]
    pub(super) components: Vec<At<LcpTable>>,
}

/// One component of an `lcp.lock`; the first is the project.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct LcpTable {
    pub(super) id: At<String>,
    pub(super) resolved: At<String>,
    pub(super) integrity: Option<At<String>>,
    pub(super) source: LcpSource,
    #[serde(default)]
    pub(super) dependencies: Vec<At<LcpDependency>>,
}

/// Where a component of an `lcp.lock` comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct LcpSource {
    #[serde(rename = "type")]
    pub(super) kind: At<String>,
    pub(super) path: Option<At<String>>,
    pub(super) url: Option<At<String>>,
    pub(super) rev: Option<At<String>>,
    pub(super) subdir: Option<At<String>>,
    pub(super) name: Option<At<String>>,
    pub(super) catalogue: Option<At<String>>,
    pub(super) manifest: Option<At<String>>,
    #[serde(default)]
    pub(super) archive: Vec<At<String>>,
    #[serde(default)]
    pub(super) files: Vec<At<String>>,
    pub(super) calls: Option<At<String>>,
    #[serde(default)]
    pub(super) called: Vec<At<String>>,
    #[serde(default)]
    pub(super) required_by: Vec<At<String>>,
}

/// What a component of an `lcp.lock` requires.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct LcpDependency {
    pub(super) id: At<String>,
    pub(super) requested: Option<At<String>>,
    pub(super) resolved: Option<At<String>>,
    pub(super) source: Option<LcpNative>,
}

/// Who answers what no release answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LcpNative {
    #[serde(rename = "type")]
    pub(super) kind: At<String>,
    pub(super) name: Option<At<String>>,
}
