//! What the pillars hand to each other: sources, catalogues, releases, verdicts, and what a generation remembers of them.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::basis::Basis;
use crate::digest::Digest;
use crate::error::ParseError;
use crate::extra::Extra;
use crate::filter::Filter;
use crate::id::{CatalogueId, ComponentId, Dialect, Namespace, Reference, SourceId};
use crate::path::DocPath;
use crate::pointer::{CommitId, Location, Repository};
use crate::references::References;
use crate::version::Version;

/// A source as the operator configured it: where its entry document lies and how much it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Its id.
    pub id: SourceId,
    /// Which documents it speaks.
    pub dialect: Dialect,
    /// Its place among the sources.
    pub place: Place,
    /// Where its entry document lies.
    pub entry: Location,
    /// Digests that the entry document must have; mostly none, since the operator named it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<Digest>,
    /// Namespaces that no source placed below this one answers for until this one, with every catalogue that it lists, has
    /// been read once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owns: Vec<Namespace>,
    /// Never fetched: only what the shelf holds is used.
    #[serde(default)]
    pub offline: bool,
    /// How often it is checked, in seconds, where the operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_s: Option<u64>,
    /// How long its last good entries are used while it cannot be checked, in seconds, where the operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stale_s: Option<u64>,
    /// Which of its releases are taken.
    #[serde(default, skip_serializing_if = "Filter::is_empty")]
    pub filter: Filter,
    /// Where the paths of its rows lead when its entry is an https document that lies elsewhere than they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// A signature that the operator expects on the entry document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureClaim>,
    /// The file that names it, where that is not the sources file, as people call it: `~/.estream/config.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared_in: Option<String>,
}

impl Source {
    /// Tells whether the entry document can never change: it is pinned by commit or digest.
    pub fn is_pinned(&self) -> bool {
        self.entry.commit().is_some() || !self.digests.is_empty()
    }
}

/// A place in an order: priority first (lower wins), then the position in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Lower wins.
    pub priority: i64,
    /// The position in the document, from 0.
    pub position: u32,
}

/// The place of a catalogue in the whole federation: the places of its source, the lists that lead to it, and itself.
/// The lower rank owns an id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Rank(pub Vec<Place>);

impl Rank {
    /// Returns the rank of something at `place` below this.
    pub fn below(&self, place: Place) -> Rank {
        let mut places = self.0.clone();
        places.push(place);
        Rank(places)
    }
}

/// A `publicKey` or `signature` that a document or the operator gives. It is reported; until signatures are checked it counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignatureClaim {
    /// The `publicKey` as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// The `signature` as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl SignatureClaim {
    /// Returns the claim that a document's own fields make; `None` when they make none. A value that is no text claims too.
    pub fn of(public_key: Option<&Value>, signature: Option<&Value>) -> Option<SignatureClaim> {
        let written = |value: &Value| {
            (!value.is_null()).then(|| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        let claim = SignatureClaim {
            public_key: public_key.and_then(written),
            signature: signature.and_then(written),
        };
        (claim.public_key.is_some() || claim.signature.is_some()).then_some(claim)
    }

    /// Returns the claim among the fields that an entry carries.
    pub fn among(fields: &Map<String, Value>) -> Option<SignatureClaim> {
        SignatureClaim::of(fields.get("publicKey"), fields.get("signature"))
    }
}

/// How far a document or release is vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Somewhere between the entry document and these bytes nothing pins the content.
    Unpinned,
    /// Every document below the entry is pinned by commit or digest; no policy asked for more.
    Pinned,
}

impl Level {
    /// Returns the word that answers print.
    pub fn word(self) -> &'static str {
        match self {
            Level::Pinned => "pinned",
            Level::Unpinned => "unpinned",
        }
    }
}

/// The leave to use some bytes, granted by the one verify function after it has checked them.
///
/// Only `trust/verify.rs` calls [`Trust::grant`]; a generation's entries demand one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    level: Level,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signers: Vec<String>,
    /// A policy asked for more than a pin, and it is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    asked: bool,
    /// A signature was claimed on the way to these bytes and nobody has checked it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unchecked: bool,
}

impl Trust {
    /// Grants the leave. For `trust/verify.rs` only; a test holds that.
    pub fn grant(level: Level, unchecked: bool) -> Trust {
        Trust { level, rule: None, signers: Vec::new(), asked: false, unchecked }
    }

    /// Grants the leave by what a policy says on top of it. For `trust/verify.rs` only, as [`Trust::grant`].
    pub fn grant_by(self, ruling: Ruling) -> Trust {
        let Ruling { rule, signers, asked } = ruling;
        let unchecked = self.unchecked && signers.is_empty();
        Trust { rule: Some(rule), signers, asked, unchecked, ..self }
    }

    /// Returns the leave as the documents alone give it, without what a policy said.
    pub fn without_ruling(self) -> Trust {
        Trust { rule: None, signers: Vec::new(), asked: false, ..self }
    }

    /// Returns the leave that was packed: it was granted before.
    pub(crate) fn packed(
        level: Level,
        (rule, asked): (Option<String>, bool),
        signers: Vec<String>,
        unchecked: bool,
    ) -> Trust {
        Trust { level, rule, signers, asked, unchecked }
    }

    /// Tells whether a policy asked for more than a pin, and it is there.
    pub fn is_asked_for(&self) -> bool {
        self.asked
    }

    /// Returns the word that answers print: `trusted` where a policy asked for more than a pin, else that of the level.
    pub fn word(&self) -> &'static str {
        if self.asked { TRUSTED } else { self.level.word() }
    }

    /// Returns how far the bytes are vouched for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Returns the policy rule that granted it; `None` without a policy.
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// Returns the signers whose signatures were checked.
    pub fn signers(&self) -> &[String] {
        &self.signers
    }

    /// Tells whether a signature was claimed on the way that nobody has checked.
    pub fn has_unchecked_signature(&self) -> bool {
        self.unchecked
    }

    /// Returns the same leave; where a signature is claimed, with the note that nobody has checked it.
    pub fn noting(self, claim: Option<&SignatureClaim>) -> Trust {
        Trust { unchecked: self.unchecked || claim.is_some(), ..self }
    }

    /// Returns the same leave where what was claimed behind `above`, the leave of the document that names this one, was checked.
    pub fn checked_below(self, above: Option<&Trust>) -> Trust {
        Trust { unchecked: above.is_some_and(|above| above.unchecked), ..self }
    }

    /// Returns the leave for something that is named and has not been read: pinned only where a digest
    /// waits for it.
    pub fn unread(&self, pin: Option<&Digest>) -> Trust {
        Trust { level: if pin.is_some() { self.level } else { Level::Unpinned }, ..self.clone() }
    }

    /// Returns the weaker of the two, for a release that rests on several documents.
    pub fn and(&self, other: &Trust) -> Trust {
        Trust {
            level: self.level.min(other.level),
            rule: self.rule.clone(),
            signers: self.signers.iter().filter(|signer| other.signers.contains(signer)).cloned().collect(),
            asked: self.asked && other.asked,
            unchecked: self.unchecked || other.unchecked,
        }
    }
}

/// The word for what a policy asked for more than a pin of, and got.
pub const TRUSTED: &str = "trusted";

/// What a policy adds to a leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// The rule that decided.
    pub rule: String,
    /// The labels of the keys whose signatures counted.
    pub signers: Vec<String>,
    /// The rule asks for more than a pin.
    pub asked: bool,
}

/// What the trust pillar says about some bytes, or the daemon about a release: a value, not an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// They may be used.
    Trusted(Trust),
    /// They may not, and why.
    Refused(Refusal),
}

impl Verdict {
    /// Returns the word that answers print: `trusted`, `pinned`, `unpinned` or `refused`.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Trusted(trust) => trust.word(),
            Verdict::Refused(_) => "refused",
        }
    }

    /// Returns the refusal, where this is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Verdict::Trusted(_) => None,
            Verdict::Refused(refusal) => Some(refusal),
        }
    }
}

/// Why a document or release is not used: what was read, what was found, what was expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The dotted reason that programs read, such as `trust.digest_mismatch`.
    pub reason: Cow<'static, str>,
    /// What was read: a location or an id.
    pub subject: String,
    /// What was expected; empty where that says nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expected: String,
    /// What was found.
    pub found: String,
    /// The sources that it is between, where it is: the one that may, then the one that may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceId>,
}

impl Refusal {
    /// Makes a refusal.
    pub fn new(
        reason: &'static str,
        subject: impl fmt::Display,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Refusal {
        Refusal {
            reason: Cow::Borrowed(reason),
            subject: subject.to_string(),
            expected: expected.to_string(),
            found: found.to_string(),
            sources: Vec::new(),
        }
    }

    /// Returns the refusal with the sources that it is between.
    pub fn between(self, may: &SourceId, may_not: &SourceId) -> Refusal {
        Refusal { sources: vec![may.clone(), may_not.clone()], ..self }
    }

    /// Makes a refusal of `subject` from what its reader said.
    pub fn of(subject: impl fmt::Display, error: &ParseError) -> Refusal {
        let place =
            error.position.map(|at| format!(" (line {}, column {})", at.line, at.column)).unwrap_or_default();
        let field = if error.field.is_empty() { String::new() } else { format!(" in {}", error.field) };
        Refusal {
            reason: error.reason.clone(),
            subject: subject.to_string(),
            expected: error.expected.clone(),
            found: format!("{}{field}{place}", error.found),
            sources: Vec::new(),
        }
    }

    /// Returns what is wrong without what it is wrong with.
    pub fn why(&self) -> Why<'_> {
        Why(self)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.subject, self.why())
    }
}

/// A refusal without its subject, for a sentence that has named it.
#[derive(Debug, Clone, Copy)]
pub struct Why<'a>(&'a Refusal);

impl fmt::Display for Why<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Why(Refusal { reason, expected, found, .. }) = self;
        out.write_str(reason)?;
        if !expected.is_empty() {
            write!(out, ": expected {expected}")?;
        }
        if !found.is_empty() {
            write!(out, "{} found {found}", if expected.is_empty() { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// A repository at a commit: where relative paths of a catalogue's rows lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The Git repository; `None` for plain files and https documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// The component's directory, from the repository's root or the catalogue's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<DocPath>,
}

/// One file of a release, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its path, as the manifest or row names it.
    pub path: DocPath,
    /// The digest of its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Its Git object id, where it was read from Git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<CommitId>,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// The one file that holds everything of a release, as its author packed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Where it lies.
    pub location: Location,
    /// Digests that its bytes must have, all of them; never empty.
    pub digests: Vec<Digest>,
    /// The size that its bytes must have, where somebody says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// One version of one component, read, verified and described.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Which component.
    pub id: ComponentId,
    /// Which version.
    pub version: Version,
    /// Where its author keeps it.
    pub origin: Origin,
    /// The digest of its manifest; `None` for catalogue rows that have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// It has documents that have not been fetched: there were too many to fetch them all. Version and pins are those of the
    /// catalogue, files are not known, dependencies only where the catalogue states them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfetched: bool,
    /// Its files, in the order of the document that lists them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// The file that holds all of it; `None` where its files lie one by one in a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
    /// `component`, `contract`, `axiom`, `flow`, … where a descriptor says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// One line that describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What it requires, sorted by id.
    #[serde(default, skip_serializing_if = "References::is_empty")]
    pub dependencies: References,
    /// The contracts that it says it implements, sorted by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub implements: Vec<Reference>,
    /// The document that lists it states the digest of what its content is. No answer shows it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub promised: bool,
    /// Withdrawn by its author: chosen only where a lock already holds it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub yanked: bool,
    /// Whether it may be used.
    pub verdict: Verdict,
    /// What a reader of this release should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// What made it, where a later sync may take it over instead of reading its document again. No answer shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// Fields that the documents carry and this program does not interpret (`artifact`, `publishedAt`, tags, …).
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

impl Release {
    /// Returns a digest over everything that its bytes decide, to notice other bytes under the same id and version.
    ///
    /// The manifest's digest where there is one, else the digest over the files' digests; `None` while nothing is known. Where
    /// there is an archive, the digest over its digests and the manifest's.
    pub fn content(&self) -> Option<Digest> {
        if let Some(Archive { digests, .. }) = &self.archive {
            let lines = self.manifest.iter().chain(digests).map(|digest| format!("{digest}\n"));
            return Some(Digest::sha256(lines.collect::<String>().as_bytes()));
        }
        if let Some(manifest) = &self.manifest {
            return Some(manifest.clone());
        }
        let lines: Vec<String> = self
            .files
            .iter()
            .filter_map(|file| Some(format!("{} {}\n", file.path, file.digest.as_ref()?)))
            .collect();
        (!lines.is_empty()).then(|| Digest::sha256(lines.concat().as_bytes()))
    }
}

/// Something that a reader should know and that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Warning {
    /// The dotted reason that programs read, such as `trust.version_mutated`.
    pub reason: Cow<'static, str>,
    /// One sentence for people.
    pub text: String,
}

impl Warning {
    /// Makes a warning.
    pub fn new(reason: &'static str, text: impl Into<String>) -> Warning {
        Warning { reason: Cow::Borrowed(reason), text: text.into() }
    }
}

/// A component after the merge: its owner, all of the owner's releases, and who else lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// Which component.
    pub id: ComponentId,
    /// The catalogue that owns it.
    pub owner: CatalogueId,
    /// The owner's releases, oldest version first; never empty.
    pub releases: Vec<Release>,
    /// The catalogues that list it too and are not used, best place first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadowed: Vec<Shadow>,
}

/// A catalogue's listing of an id that another catalogue owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// The catalogue that is not used.
    pub catalogue: CatalogueId,
    /// The versions that it lists, oldest first.
    pub versions: Vec<Version>,
}

/// An entry that was left out: the document stays, its neighbours stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Which entry: its id as written, or its place (`components[3]`, `line 7`).
    pub entry: String,
    /// Why.
    pub error: ParseError,
}
