//! The operator's trust policy, `trust.toml`: what is asked of whom before a release may be used.
//!
//! ```toml
//! schema  = "resolverd/trust@1"
//! version = 17                        # never goes down from one reading to the next
//!
//! [defaults]
//! digests        = ["sha256", "sha512", "sha3-256"]
//! require_pin    = true
//! max_clock_skew = "5m"
//! max_stale      = "30d"
//! mode           = "enforce"          # or "warn", "audit"
//! removals       = "warn"             # or "refuse": a signed catalogue that leaves out what it listed
//! direct         = "refuse"           # or "allow": files that are named without any catalogue
//!
//! [limits]                            # of one sync of one source, as in config.toml
//! catalogue_bytes = 67_108_864
//!
//! [[keys]]                            # the only roots of trust
//! id          = "acme-root-ed-1"      # a label; identity is the fingerprint
//! algorithm   = "ed25519"             # or "ml-dsa-87"
//! file        = "keys/acme/root-ed-1.pem"
//! fingerprint = "sha256:8f0c…"
//! usage       = ["catalogue", "keyset", "package"]
//! not_before  = 2026-01-01T00:00:00Z
//! not_after   = 2028-01-01T00:00:00Z
//! # revoked   = { at = 2026-05-04T00:00:00Z, reason = "compromised" }   # or "retired"
//!
//! [[signers]]
//! name       = "acme-hybrid"
//! keys       = ["acme-root-ed-1", "acme-root-pq-1"]
//! threshold  = 2                      # of distinct keys
//! algorithms = { all = ["ed25519", "ml-dsa-87"] }                       # or { any = [...] }
//! keysets    = { source = "acme-internal", directory = "keysets", version = 1 }   # its signers may replace the keys
//!
//! [[sources]]                         # what holds for a source of sources.json
//! id        = "acme-internal"
//! hosts     = ["git.acme.example"]
//! allow_private_addresses = true
//! signed_by = "acme-hybrid"
//!
//! [[namespaces]]                      # the most specific match decides, and no other
//! name      = "acme"                  # how answers call the rule; otherwise the match
//! match     = "lcod://acme/**"
//! sources   = ["acme-internal"]
//! require   = "signature"             # "pin" | "digest" | "signature"
//! signed_by = "acme-hybrid"
//! min_age   = "7d"
//! agree     = 1
//! allow_deps = ["lcod://acme/**", "lcod://contract/**"]                 # where dependencies may lead; anywhere without it
//! immutable = true                    # other bytes under a known version are refused, whatever `require` says
//! digests   = ["sha512"]              # instead of those of [defaults]
//! mode      = "warn"                  # instead of that of [defaults]
//!
//! [[exceptions]]                      # narrow, dated, explained
//! id        = "EX-2026-014"
//! match     = "lcod://lab/probe"      # one id
//! versions  = ">=0.1.0, <0.2.0"
//! source    = "lab-usb"
//! allow     = ["unsigned"]            # one of: unsigned, unpinned, too_young, no_agreement
//! digest    = "sha256:0f34…"
//! created   = 2026-10-15T00:00:00Z
//! not_after = 2026-12-31T00:00:00Z    # at most 90 days behind it
//! reason    = "vendor probe, signed build due in December"
//! ```
//!
//! A match is one id, everything below a prefix (`lcod://acme/**`, `estream:@acme/**`, `lcod://**`, `estream:**`), everything that
//! starts so and has no further `/` (`estream:esf-*`, `lcod://acme/*`), or everything (`**`). Of two that match, the one with
//! the longer prefix is the more specific; an id is more specific than any prefix, and `*` than `**` behind the same one.
//!
//! Strict: an unknown field, a key twice, a name that is not defined, a threshold that cannot be met refuses the whole file, with
//! line and column. It grows by fields under a new schema. Never looks at a file: keys are read, and their fingerprints compared,
//! by the trust pillar; and never decides.

use std::fmt;

use crate::digest::{Algorithm, Digest};
use crate::error::{ParseError, Position};
use crate::id::{ComponentId, SourceId};
use crate::key::{Fingerprint, KeyAlgorithm};
use crate::path::DocPath;
use crate::signature::Usage;
use crate::version::{Version, VersionReq};

mod check;
pub mod document;
pub mod lint;
mod pattern;

/// The schema of a policy.
pub const POLICY_SCHEMA: &str = "resolverd/trust@1";
/// The largest policy, in bytes.
pub const POLICY_BYTES_MAX: u64 = 1 << 20;
/// How many entries of one kind a policy may have.
pub const ENTRIES_MAX: usize = 4096;
/// The limits of a sync that a policy may set, by the names that the configuration has for them, each with its hard ceiling.
pub const LIMITS: [(&str, u64); 7] = [
    ("catalogue_bytes", 256 << 20),
    ("catalogues", 4096),
    ("depth", 32),
    ("documents", 10_000_000),
    ("git_object_bytes", 64 << 20),
    ("release_document_bytes", 16 << 20),
    ("total_bytes", 16 << 30),
];
/// The most that one exception may last, in seconds: 90 days.
pub const EXCEPTION_S_MAX: i64 = 90 * 86_400;
/// How far another clock may be ahead of ours unless the policy says otherwise, in seconds.
pub const CLOCK_SKEW_S: u64 = 300;
/// The directory of keyset documents unless the policy says otherwise.
pub const KEYSETS_DIRECTORY: &str = "keysets";
/// How long a source that cannot be reached is served unless the policy says otherwise, in seconds.
pub const MAX_STALE_S: u64 = 30 * 86_400;
/// The longest name or label of the operator's, in bytes.
pub const NAME_BYTES_MAX: usize = 100;

/// A policy as the operator wrote it; every name in it is defined in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Which version it is; the next one has the same or a higher one.
    pub version: u64,
    /// What holds where no rule says otherwise.
    pub defaults: Defaults,
    /// Limits of a sync by their names, sorted.
    pub limits: Vec<(&'static str, u64)>,
    /// The roots of trust, in the order of the file.
    pub keys: Vec<Key>,
    /// Who may sign together, in the order of the file.
    pub signers: Vec<SignerSet>,
    /// What holds for sources, in the order of the file.
    pub sources: Vec<SourceRule>,
    /// What holds for components, the most specific first.
    pub namespaces: Vec<NamespaceRule>,
    /// What is let through for a while, in the order of the file.
    pub exceptions: Vec<Exception>,
}

/// What holds where no rule says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// The digests that count.
    pub digests: Vec<DigestName>,
    /// Every document on the way to a release must be pinned.
    pub require_pin: bool,
    /// How far another clock may be ahead of ours, in seconds.
    pub max_clock_skew_s: u64,
    /// How long what a source said last is used while it cannot be checked, in seconds.
    pub max_stale_s: u64,
    /// Where that is said; `None` where it is not.
    pub max_stale_place: Option<Position>,
    /// What becomes of a refusal.
    pub mode: Mode,
    /// What becomes of a signed catalogue that leaves out what it listed.
    pub removals: Removals,
    /// What becomes of files that are named without any catalogue.
    pub direct: Direct,
}

/// What becomes of a direct reference: no catalogue lists what it names, and no rule for components covers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direct {
    /// Its commit is enough.
    Allow,
    /// It is not used.
    Refuse,
}

impl Direct {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Direct::Allow => "allow",
            Direct::Refuse => "refuse",
        }
    }
}

/// What becomes of a signed catalogue that leaves out a release which it listed, and does not say that it was withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Removals {
    /// It is used, with a warning.
    Warn,
    /// It is refused: what it said last stays.
    Refuse,
}

impl Removals {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Removals::Warn => "warn",
            Removals::Refuse => "refuse",
        }
    }
}

/// What becomes of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is written down, and the release is used.
    Audit,
    /// It is shown in every answer, and the release is used.
    Warn,
    /// The release is not used.
    Enforce,
}

impl Mode {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Audit => "audit",
            Mode::Warn => "warn",
            Mode::Enforce => "enforce",
        }
    }
}

/// A digest algorithm that a policy may accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, schemars::JsonSchema)]
pub enum DigestName {
    /// SHA-256.
    #[serde(rename = "sha256")]
    Sha256,
    /// SHA3-256.
    #[serde(rename = "sha3-256")]
    Sha3_256,
    /// SHA-512.
    #[serde(rename = "sha512")]
    Sha512,
}

impl DigestName {
    /// Every name.
    pub const ALL: [DigestName; 3] = [DigestName::Sha256, DigestName::Sha3_256, DigestName::Sha512];

    /// Returns the text of it.
    pub fn name(self) -> &'static str {
        match self {
            DigestName::Sha256 => "sha256",
            DigestName::Sha3_256 => "sha3-256",
            DigestName::Sha512 => "sha512",
        }
    }
}

impl From<Algorithm> for DigestName {
    fn from(algorithm: Algorithm) -> DigestName {
        match algorithm {
            Algorithm::Sha256 => DigestName::Sha256,
            Algorithm::Sha512 => DigestName::Sha512,
            Algorithm::Sha3_256 => DigestName::Sha3_256,
        }
    }
}

/// A name that the operator gives: of a key, a set of signers, a rule or an exception.
///
/// **Shape**: 1 to 100 letters, digits and `.` `_` `-` `/` `:` `*` `@`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// Reads a name.
    ///
    /// **Errors**: `policy.name`.
    pub fn parse(text: &str) -> Result<Name, ParseError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:*@".contains(&byte);
        match !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(fits) {
            true => Ok(Name(text.into())),
            false => {
                let expected = format!("a name of 1 to {NAME_BYTES_MAX} letters, digits and ._-/:*@");
                Err(ParseError::new("policy.name", expected, text))
            }
        }
    }

    /// Returns the text.
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A root of trust.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its label.
    pub id: Name,
    /// Its algorithm, which no document can change.
    pub algorithm: KeyAlgorithm,
    /// Its file, from the policy's directory unless it is absolute.
    pub file: String,
    /// What the key in the file must be.
    pub fingerprint: Fingerprint,
    /// What it may sign.
    pub usage: Vec<Usage>,
    /// From when on it counts, in seconds since 1970-01-01 UTC; without it since ever.
    pub not_before_s: Option<i64>,
    /// From when on it counts no more.
    pub not_after_s: Option<i64>,
    /// Why it counts no more.
    pub revoked: Option<Revoked>,
    /// Signers said so in a keyset; what the policy itself says of the same key is another entry.
    pub published: bool,
    /// Where its entry stands in the policy.
    pub place: Position,
    /// Where its file is named in the policy.
    pub file_place: Position,
}

/// That and why a key was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// When, in seconds since 1970-01-01 UTC.
    pub at_s: i64,
    /// Why.
    pub reason: Revocation,
}

/// Why a key was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Revocation {
    /// Somebody else may have it: nothing that it ever signed counts.
    Compromised,
    /// It is not used any more: what was seen here before counts, nothing new does.
    Retired,
}

/// Who may sign together.
#[derive(Debug, Clone, PartialEq)]
pub struct SignerSet {
    /// How rules call it.
    pub name: Name,
    /// Its keys, as positions in [`Policy::keys`].
    pub keys: Vec<usize>,
    /// How many distinct keys must have signed.
    pub threshold: usize,
    /// Which algorithms they must have used; every key of the set has one of them.
    pub algorithms: Algorithms,
    /// Where its signers publish which keys they have from now on.
    pub keysets: Option<Keysets>,
    /// Where its entry stands in the policy.
    pub place: Position,
}

/// Where the keyset documents of a set are found, and which of them the policy's own keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keysets {
    /// The source beside whose entry document they lie.
    pub source: SourceId,
    /// The directory beside that document.
    pub directory: DocPath,
    /// The version of the keyset that the policy holds itself.
    pub version: u64,
}

/// Which algorithms signatures must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Algorithms {
    /// Every one of these, each by a key of its own.
    All(Vec<KeyAlgorithm>),
    /// Any of these.
    Any(Vec<KeyAlgorithm>),
}

impl Algorithms {
    /// Returns those that are named.
    pub fn named(&self) -> &[KeyAlgorithm] {
        match self {
            Algorithms::All(named) | Algorithms::Any(named) => named,
        }
    }
}

/// What holds for a source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRule {
    /// Which source.
    pub id: SourceId,
    /// The hosts that may be asked for it, in lower case; `None` for any.
    pub hosts: Option<Vec<String>>,
    /// Its hosts may have private addresses.
    pub allow_private_addresses: bool,
    /// Who must have signed its catalogues, as a position in [`Policy::signers`].
    pub signed_by: Option<usize>,
    /// Where its entry stands in the policy.
    pub place: Position,
}

/// What holds for components.
#[derive(Debug, Clone, PartialEq)]
pub struct NamespaceRule {
    /// How answers call it.
    pub name: Name,
    /// Which components.
    pub pattern: Pattern,
    /// The sources that may supply them; never empty.
    pub sources: Vec<SourceId>,
    /// What is asked of a release.
    pub require: Require,
    /// Who must have signed it, as a position in [`Policy::signers`]; there exactly where a signature is asked for.
    pub signed_by: Option<usize>,
    /// How long a release must have been published, in seconds.
    pub min_age_s: u64,
    /// How many of the sources must carry the same bytes.
    pub agree: usize,
    /// Where dependencies may lead; `None` for anywhere.
    pub allow_deps: Option<Vec<Pattern>>,
    /// Other bytes under a known version are refused even where only a pin is asked for.
    pub immutable: bool,
    /// The digests that count.
    pub digests: Vec<DigestName>,
    /// What becomes of a refusal.
    pub mode: Mode,
    /// Where its entry stands in the policy.
    pub place: Position,
}

/// What is asked of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// It is pinned by a commit or a digest.
    Pin,
    /// It has a digest that counts.
    Digest,
    /// It has a digest that counts, and signatures over it.
    Signature,
}

impl Require {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Require::Pin => "pin",
            Require::Digest => "digest",
            Require::Signature => "signature",
        }
    }
}

/// Which components a rule is about.
///
/// **Shape**: an id, a prefix with `/**` or `*` behind it, or `**`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// One component.
    Id(ComponentId),
    /// What starts so, and what comes behind it in the same segment.
    Segment(Box<str>),
    /// What starts so.
    Below(Box<str>),
}

/// One rule that is waived for one component from one source, for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Exception {
    /// How answers call it.
    pub id: Name,
    /// Which component.
    pub component: ComponentId,
    /// Which versions.
    pub versions: VersionReq,
    /// From which source.
    pub source: SourceId,
    /// What is waived.
    pub waiver: Waiver,
    /// The bytes that it is for: one of the digests of the release.
    pub digest: Digest,
    /// When it was made, in seconds since 1970-01-01 UTC; it does not hold before.
    pub created_s: i64,
    /// From when on it holds no more.
    pub not_after_s: i64,
    /// Why it is there.
    pub reason: String,
    /// Where its entry stands in the policy.
    pub place: Position,
}

impl Exception {
    /// Tells whether it is about this release, whatever time it is and whatever is waived.
    pub fn is_about(&self, id: &ComponentId, version: &Version, source: &SourceId) -> bool {
        self.component == *id && self.source == *source && self.versions.matches(version)
    }
}

/// What an exception waives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Waiver {
    /// That signatures are asked for, whichever are there.
    Unsigned,
    /// That every document on the way is pinned.
    Unpinned,
    /// That it must have been published for a while.
    TooYoung,
    /// That several sources carry it.
    NoAgreement,
}

impl Waiver {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Waiver::Unsigned => "unsigned",
            Waiver::Unpinned => "unpinned",
            Waiver::TooYoung => "too_young",
            Waiver::NoAgreement => "no_agreement",
        }
    }
}

impl Policy {
    /// Reads a policy.
    ///
    /// **Errors**: the whole file is refused, with line and column: `policy.syntax` for TOML and for fields; otherwise the rule
    /// that is broken, such as `policy.threshold`.
    pub fn parse(bytes: &[u8]) -> Result<Policy, ParseError> {
        check::read(bytes)
    }

    /// Returns the rule that decides about a component: the most specific one that matches.
    pub fn rule(&self, id: &ComponentId) -> Option<&NamespaceRule> {
        self.namespaces.iter().find(|rule| rule.pattern.matches(id))
    }

    /// Returns what holds for a source, where the policy says something.
    pub fn source(&self, id: &SourceId) -> Option<&SourceRule> {
        self.sources.iter().find(|rule| rule.id == *id)
    }
}

#[cfg(test)]
mod tests;
