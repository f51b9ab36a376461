//! The tables of `trust.toml` as they are written, with the place of every value that is looked at again.

use schemars::JsonSchema;
use serde::Deserialize;
use toml::value::Datetime;

use crate::key::KeyAlgorithm;
use crate::policy::{DigestName, Direct, Mode, Removals, Require, Revocation, Waiver};
use crate::signature::Usage;

/// A value and where it stands.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct At<T>(#[schemars(with = "T")] toml::Spanned<T>);

impl<T> At<T> {
    /// Returns the value.
    pub fn value(&self) -> &T {
        self.0.get_ref()
    }

    /// Returns the byte that it starts at.
    pub fn offset(&self) -> usize {
        self.0.span().start
    }
}

/// An instant: a date and time with an offset, to the second.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Instant(#[schemars(with = "String")] pub Datetime);

/// The trust policy of an operator.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Policy", rename = "Policy")]
pub struct PolicyDocument {
    /// `resolverd/trust@1`.
    pub schema: At<String>,
    /// From 1; never goes down from one reading to the next.
    pub version: At<u64>,
    /// What holds where no rule says otherwise.
    #[serde(default)]
    pub defaults: DefaultsTable,
    /// Limits of one sync of one source.
    #[serde(default)]
    pub limits: LimitsTable,
    /// The roots of trust.
    #[serde(default)]
    pub keys: Vec<At<KeyTable>>,
    /// Who may sign together.
    #[serde(default)]
    pub signers: Vec<At<SignersTable>>,
    /// What holds for sources of sources.json.
    #[serde(default)]
    pub sources: Vec<At<SourceTable>>,
    /// What holds for components; the most specific match decides.
    #[serde(default)]
    pub namespaces: Vec<At<NamespaceTable>>,
    /// What is let through for a while.
    #[serde(default)]
    pub exceptions: Vec<At<ExceptionTable>>,
}

/// What holds where no rule says otherwise.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DefaultsTable {
    /// The digests that count; all three where it is not given.
    pub digests: Option<At<Vec<DigestName>>>,
    /// Every document on the way to a release must be pinned; true where it is not given.
    pub require_pin: Option<bool>,
    /// How far another clock may be ahead, such as `5m`, which it is where it is not given.
    pub max_clock_skew: Option<At<String>>,
    /// How long what a source said last is used while it cannot be checked, such as `30d`, which it is where it is not given.
    pub max_stale: Option<At<String>>,
    /// What becomes of a refusal; `enforce` where it is not given.
    pub mode: Option<Mode>,
    /// What becomes of a signed catalogue that leaves out what it listed; `warn` where it is not given.
    pub removals: Option<Removals>,
    /// What becomes of files that are named without any catalogue; `refuse` where it is not given.
    pub direct: Option<Direct>,
}

/// Limits of one sync of one source, by the names that config.toml has for them.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsTable {
    /// The largest list or catalogue, in bytes.
    pub catalogue_bytes: Option<At<u64>>,
    /// How many lists and catalogues one source may reach.
    pub catalogues: Option<At<u64>>,
    /// How many lists may lead to a catalogue.
    pub depth: Option<At<u64>>,
    /// How many documents one source may need.
    pub documents: Option<At<u64>>,
    /// The largest Git object on the way to a document, in bytes.
    pub git_object_bytes: Option<At<u64>>,
    /// The largest document of one release, in bytes.
    pub release_document_bytes: Option<At<u64>>,
    /// How many bytes one source may bring.
    pub total_bytes: Option<At<u64>>,
}

/// A root of trust.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyTable {
    /// Its label.
    pub id: At<String>,
    /// Its algorithm.
    pub algorithm: KeyAlgorithm,
    /// Its file, from the policy's directory.
    pub file: At<String>,
    /// `sha256:` and the hex digits over its SubjectPublicKeyInfo.
    pub fingerprint: At<String>,
    /// What it may sign.
    pub usage: At<Vec<Usage>>,
    /// From when on it counts.
    pub not_before: Option<At<Instant>>,
    /// From when on it counts no more.
    pub not_after: Option<At<Instant>>,
    /// That it was revoked.
    pub revoked: Option<RevokedTable>,
}

/// That and why a key was revoked.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokedTable {
    /// When.
    pub at: At<Instant>,
    /// Why.
    pub reason: Revocation,
}

/// Who may sign together.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignersTable {
    /// How rules call it.
    pub name: At<String>,
    /// The labels of its keys.
    pub keys: At<Vec<At<String>>>,
    /// How many distinct keys must have signed.
    pub threshold: At<u64>,
    /// Which algorithms they must have used; any of those of its keys where it is not given.
    pub algorithms: Option<At<AlgorithmsTable>>,
    /// Where the signers publish which keys they have from now on; without it only the operator changes the set.
    pub keysets: Option<KeysetsTable>,
}

/// Where the keyset documents of a set are found.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeysetsTable {
    /// The source of sources.json beside whose entry document they lie.
    pub source: At<String>,
    /// The directory beside that document, `keysets` where it is not given.
    pub directory: Option<At<String>>,
    /// Which version of the keyset this file holds itself, 1 where it is not given.
    pub version: Option<At<u64>>,
}

/// One of the two.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlgorithmsTable {
    /// Every one of these.
    pub all: Option<Vec<KeyAlgorithm>>,
    /// Any of these.
    pub any: Option<Vec<KeyAlgorithm>>,
}

/// What holds for a source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceTable {
    /// Its id in sources.json.
    pub id: At<String>,
    /// The hosts that may be asked for it; any where it is not given.
    pub hosts: Option<At<Vec<At<String>>>>,
    /// Its hosts may have private addresses.
    #[serde(default)]
    pub allow_private_addresses: bool,
    /// The set of signers of its catalogues.
    pub signed_by: Option<At<String>>,
}

/// What holds for components.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceTable {
    /// How answers call the rule; the match where it is not given.
    pub name: Option<At<String>>,
    /// Which components: an id, `lcod://acme/**`, `estream:esf-*` or `**`.
    #[serde(rename = "match")]
    pub pattern: At<String>,
    /// The sources that may supply them.
    pub sources: At<Vec<At<String>>>,
    /// What is asked of a release.
    pub require: At<Require>,
    /// The set of signers of its releases.
    pub signed_by: Option<At<String>>,
    /// How long a release must have been published, such as `7d`.
    pub min_age: Option<At<String>>,
    /// How many of the sources must carry the same bytes.
    pub agree: Option<At<u64>>,
    /// Where the dependencies of its releases may lead, as in `match`; anywhere where it is not given, nowhere where it is empty.
    pub allow_deps: Option<At<Vec<At<String>>>>,
    /// Other bytes under a known version are refused.
    #[serde(default)]
    pub immutable: bool,
    /// The digests that count, instead of those of the defaults.
    pub digests: Option<At<Vec<DigestName>>>,
    /// What becomes of a refusal, instead of what the defaults say.
    pub mode: Option<Mode>,
}

/// One rule that is waived for one component from one source, for a while.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExceptionTable {
    /// How answers call it.
    pub id: At<String>,
    /// Which component: one id.
    #[serde(rename = "match")]
    pub component: At<String>,
    /// Which versions.
    pub versions: At<String>,
    /// From which source.
    pub source: At<String>,
    /// The one thing that is waived.
    pub allow: At<Vec<Waiver>>,
    /// The bytes that it is for.
    pub digest: At<String>,
    /// When it was made.
    pub created: At<Instant>,
    /// From when on it holds no more: at most 90 days behind `created`.
    pub not_after: At<Instant>,
    /// Why it is there.
    pub reason: At<String>,
}
