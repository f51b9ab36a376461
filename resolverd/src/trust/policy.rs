//! The operator's policy in force: its file with the keys that it names, and what it says about one release.
//!
//! [`load`] reads files that nobody else can have written; [`decide::decide`] is pure: the same policy, facts and instant give the same
//! decision, step by step, and the steps are the explanation. Never fetches, and never verifies a signature itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalogue_schema::digest::Digest;
use catalogue_schema::direct::{DirectReference, owner};
use catalogue_schema::error::{ParseError, Position};
use catalogue_schema::id::{ComponentId, SourceId};
use catalogue_schema::key::{Fingerprint, PublicKey};
use catalogue_schema::model::{Refusal, Warning};
use catalogue_schema::policy::{
    Direct, Key, Mode, NamespaceRule, POLICY_BYTES_MAX, Policy, Removals, Require, Revocation,
};
use catalogue_schema::signature::Usage;

use crate::trust::keys::{self, KeyError, read_guarded};
use crate::trust::policy::decide::{CatalogueFacts, Decision, Facts, decide};
use crate::trust::signature::KeyRing;

pub mod decide;

/// The reason of a refusal: a policy of a higher version was in force here before.
pub const VERSION_ROLLBACK: &str = "policy.version_rollback";

/// Where a trust policy may lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// The file.
    pub path: PathBuf,
    /// Somebody named it: that it is missing is an error then.
    pub is_named: bool,
}

/// A policy with its keys, as it is in force.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The file that it was read from.
    pub path: PathBuf,
    /// The digest of the file's bytes.
    pub digest: Digest,
    /// The policy.
    pub policy: Policy,
    /// Its keys, each of which is the one that the policy names, and those of the keysets in force.
    pub ring: KeyRing,
    /// The keysets that its signers have put in the place of the keys that the file names, sorted by set.
    pub keysets: Vec<InForceKeyset>,
    /// What the file itself says, where keysets are in force.
    pub written: Option<Arc<InForce>>,
}

/// A keyset in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForceKeyset {
    /// Whose, as a position in [`Policy::signers`].
    pub set: usize,
    /// Its version.
    pub version: u64,
    /// The digest of its document.
    pub digest: Digest,
}

impl InForce {
    /// Puts a policy in force that was read from `path`.
    pub fn new(path: PathBuf, digest: Digest, policy: Policy, ring: KeyRing) -> InForce {
        InForce { path, digest, policy, ring, keysets: Vec::new(), written: None }
    }

    /// Returns the policy with the keys that its file names.
    pub fn written(&self) -> &InForce {
        self.written.as_deref().unwrap_or(self)
    }

    /// Returns the version of the keyset in force of a set; `None` where its signers publish none.
    pub fn keyset_version(&self, set: usize) -> Option<u64> {
        let reached = self.keysets.iter().find(|one| one.set == set).map(|one| one.version);
        reached.or_else(|| Some(self.policy.signers.get(set)?.keysets.as_ref()?.version))
    }
}

/// Why a policy is not used. The whole file is refused.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read, or somebody else could have written it.
    #[error("{source}")]
    File {
        /// Why.
        #[from]
        source: KeyError,
    },
    /// It is no policy.
    #[error("{}: {error}", path.display())]
    Policy {
        /// Which file.
        path: PathBuf,
        /// What was expected and found, with line and column.
        error: ParseError,
    },
    /// A key that it names cannot be used.
    #[error("{}: the key {id}: {source} (line {}, column {})", path.display(), place.line, place.column)]
    Key {
        /// The policy's file.
        path: PathBuf,
        /// The label of the key.
        id: String,
        /// Where the key's file is named.
        place: Position,
        /// Why.
        source: KeyError,
    },
}

impl PolicyError {
    /// Returns the dotted reason that programs read.
    pub fn reason(&self) -> &str {
        match self {
            PolicyError::File { source } | PolicyError::Key { source, .. } => source.reason(),
            PolicyError::Policy { error, .. } => &error.reason,
        }
    }

    /// Returns why the policy at `path` is not used, which names that path once.
    pub fn refusal(&self, path: &Path) -> Refusal {
        if let PolicyError::Policy { error, .. } = self {
            return Refusal::of(path.display(), error);
        }
        let found = match self {
            PolicyError::Key { id, place, source, .. } => {
                format!("the key {id}: {source} (line {}, column {})", place.line, place.column)
            }
            other => other.to_string(),
        };
        Refusal { reason: self.reason().to_owned().into(), ..Refusal::new("", path.display(), "", found) }
    }

    /// Returns the file or directory that is at fault beside the policy's own.
    pub fn culprit(&self) -> Option<&Path> {
        match self {
            PolicyError::File { source } | PolicyError::Key { source, .. } => Some(source.path()),
            PolicyError::Policy { .. } => None,
        }
    }

    /// Returns where in the policy the fault is, where it is in its text.
    pub fn place(&self) -> Option<Position> {
        match self {
            PolicyError::File { .. } => None,
            PolicyError::Policy { error, .. } => error.position,
            PolicyError::Key { place, .. } => Some(*place),
        }
    }
}

/// What a policy makes of a direct reference that it does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectRuling {
    /// What becomes of it.
    pub mode: Mode,
    /// Why it is not allowed.
    pub refusal: Refusal,
}

impl DirectRuling {
    /// Tells whether it is refused, and not only warned of or written down.
    pub fn is_enforced(&self) -> bool {
        self.mode == Mode::Enforce
    }

    /// Returns what a reader is told of it where it is used all the same: under `audit` nothing, as of releases.
    pub fn warning(&self) -> Option<Warning> {
        let DirectRuling { mode, refusal } = self;
        let text = format!("the policy would refuse it, and warns only: {refusal}");
        (*mode == Mode::Warn).then(|| Warning { reason: refusal.reason.clone(), text })
    }
}

/// Every policy in force; a release must pass all of them.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    all: Vec<InForce>,
    ring: KeyRing,
    digest: Option<Digest>,
}

impl Policies {
    /// Puts policies in force together.
    pub fn of(all: Vec<InForce>) -> Policies {
        let ring = all.iter().flat_map(|one| one.ring.keys()).cloned().collect();
        let keysets = |one: &InForce| -> String {
            one.keysets.iter().map(|keyset| format!(" {} {}", keyset.set, keyset.digest)).collect()
        };
        let lines: Vec<String> = all.iter().map(|one| format!("{}{}\n", one.digest, keysets(one))).collect();
        let digest = format!("resolverd/policies@1\n{}", lines.concat());
        let digest = (!all.is_empty()).then(|| Digest::sha256(digest.as_bytes()));
        Policies { all, ring, digest }
    }

    /// Tells whether none is set.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns them, in the order in which they are asked.
    pub fn all(&self) -> &[InForce] {
        &self.all
    }

    /// Returns the keys of all of them.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Returns the digest over all of them, which names their keys as well; `None` where none is set.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the rule by which `source` may not supply `id`, where that is enforced: what such a source lists of it does not
    /// exist for anybody.
    pub fn excluding(&self, id: &ComponentId, source: &SourceId) -> Option<&NamespaceRule> {
        let rules = self.all.iter().filter_map(|one| one.policy.rule(id));
        let excludes = |rule: &&NamespaceRule| rule.mode == Mode::Enforce && !rule.sources.contains(source);
        rules.into_iter().find(excludes)
    }

    /// Returns why a component that no catalogue lists, and that lies beside a release of `source`, may not be used although direct
    /// references may: what a rule that is enforced asks for beyond a pin, nobody can show for it. `None` where no policy objects.
    pub fn beside(&self, id: &ComponentId, source: &SourceId) -> Option<Refusal> {
        let objects = |one: &InForce| {
            let Some(rule) = one.policy.rule(id) else {
                // Whoever names a directory brings what no rule is about; what a catalogue leads to needs one, as all that it lists.
                let is_refused = *source != owner().source && one.policy.defaults.mode == Mode::Enforce;
                let expected = "a rule of [[namespaces]] that matches it";
                return is_refused.then(|| Refusal::new("trust.no_rule", id, expected, "none"));
            };
            let is_met = rule.sources.contains(source)
                && rule.require == Require::Pin
                && rule.min_age_s == 0
                && rule.agree <= 1
                && rule.allow_deps.is_none();
            let expected = format!("a catalogue that lists it, as rule {} asks", rule.name);
            let found = format!("a directory beside a release of {source}");
            (rule.mode == Mode::Enforce && !is_met)
                .then(|| Refusal::new("trust.source_not_allowed", id, expected, found))
        };
        self.all.iter().find_map(objects)
    }

    /// Tells whether somebody must have signed the catalogues of a source.
    pub fn asks_catalogue(&self, source: &SourceId) -> bool {
        let asks = |one: &InForce| one.policy.source(source).is_some_and(|rule| rule.signed_by.is_some());
        self.all.iter().any(asks)
    }

    /// Tells whether a catalogue without signatures that count, or one that goes back, is refused as a whole, before it is read.
    /// Where one of them does not enforce, each decides release by release.
    pub fn enforces(&self) -> bool {
        self.all.iter().all(|one| one.policy.defaults.mode == Mode::Enforce)
    }

    /// Returns the refusal of a direct reference by the first policy that does not allow it and is enforced; `None` where every one
    /// does, and where none is set. [`Policies::rule_direct`] says what the others make of it.
    pub fn direct(&self, reference: &DirectReference) -> Option<Refusal> {
        self.rule_direct(reference).into_iter().find(DirectRuling::is_enforced).map(|ruling| ruling.refusal)
    }

    /// Returns what every policy says that does not allow a direct reference, each by its own mode: no rule for components covers it,
    /// and so none has a mode of its own for it.
    pub fn rule_direct(&self, reference: &DirectReference) -> Vec<DirectRuling> {
        let refusing = self.all.iter().filter(|one| one.policy.defaults.direct == Direct::Refuse);
        let ruling = |one: &InForce| {
            let expected = "direct = \"allow\" under [defaults] of the policy, or a catalogue that lists it";
            let found = format!("a direct reference under {}", one.path.display());
            let refusal = Refusal::new("policy.direct", reference, expected, found);
            DirectRuling { mode: one.policy.defaults.mode, refusal }
        };
        refusing.map(ruling).collect()
    }

    /// Returns what becomes of a signed catalogue that leaves out what it listed: what the strictest says, where all of them enforce.
    pub fn removals(&self) -> Removals {
        let strictest = self.all.iter().map(|one| one.policy.defaults.removals).max();
        strictest.filter(|_| self.enforces()).unwrap_or(Removals::Warn)
    }

    /// Tells whether somebody must have signed the releases of a component.
    pub fn asks_release(&self, id: &ComponentId) -> bool {
        self.all.iter().any(|one| one.policy.rule(id).is_some_and(|rule| rule.signed_by.is_some()))
    }

    /// Tells whether it matters when the releases of a component were first seen: they must be of some age, or a key that signed
    /// them was retired.
    pub fn looks_back(&self, id: &ComponentId) -> bool {
        let is_retired = |key: &Key| key.revoked.is_some_and(|how| how.reason == Revocation::Retired);
        let looks = |one: &InForce| {
            one.policy.rule(id).is_some_and(|rule| {
                rule.min_age_s > 0 || rule.signed_by.is_some() && one.policy.keys.iter().any(is_retired)
            })
        };
        self.all.iter().any(looks)
    }

    /// Returns how many sources must carry the same bytes of a component.
    pub fn agree(&self, id: &ComponentId) -> usize {
        let agree = |one: &InForce| one.policy.rule(id).map_or(0, |rule| rule.agree);
        self.all.iter().map(agree).max().unwrap_or_default()
    }

    /// Returns the keys that may have signed something of a source by one of them: those of the sets that must sign its catalogues, or
    /// the releases that it may supply.
    pub fn likely(&self, source: &SourceId, usage: Usage) -> BTreeSet<Fingerprint> {
        let of_policy = |policy: &Policy| -> Vec<Fingerprint> {
            let of_source = policy.source(source).and_then(|rule| rule.signed_by);
            let rules = policy.namespaces.iter().filter(|rule| rule.sources.contains(source));
            let sets: Vec<usize> = match usage {
                Usage::Package => rules.filter_map(|rule| rule.signed_by).collect(),
                _ => of_source.into_iter().collect(),
            };
            let keys = sets.iter().filter_map(|set| policy.signers.get(*set)).flat_map(|set| &set.keys);
            keys.filter_map(|at| policy.keys.get(*at)).map(|key| key.fingerprint).collect()
        };
        self.all.iter().flat_map(|one| of_policy(&one.policy)).collect()
    }

    /// Asks every policy whether a catalogue is signed as it says. Returns the labels of the keys that count.
    ///
    /// **Errors**: the refusal of the first policy for which it is not.
    pub fn catalogue<'a>(
        &'a self,
        source: &SourceId,
        facts: &CatalogueFacts<'_>,
        now_s: i64,
    ) -> Result<Vec<&'a Key>, Refusal> {
        let mut keys = Vec::new();
        for one in &self.all {
            keys.extend(decide::catalogue(&one.policy, source, facts, now_s)?);
        }
        Ok(keys)
    }

    /// Returns the keys by which a catalogue is signed for those policies that ask for it, whatever the others say.
    pub fn signers<'a>(&'a self, source: &SourceId, facts: &CatalogueFacts<'_>, now_s: i64) -> Vec<&'a Key> {
        let of = |one: &'a InForce| decide::catalogue(&one.policy, source, facts, now_s).unwrap_or_default();
        self.all.iter().flat_map(of).collect()
    }

    /// Returns the files of the keys that policies name.
    pub fn key_files(&self) -> impl Iterator<Item = PathBuf> {
        self.all.iter().flat_map(|one| key_files(&one.path, &one.written().policy))
    }

    /// Returns the limits of a sync that policies set, by their names; the lowest of each counts.
    pub fn limits(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.all.iter().flat_map(|one| one.policy.limits.iter().copied())
    }
}

/// Reads a policy and its keys. Nobody but root and `user` may be able to write any of these files, or a directory above them.
/// `path` must be absolute; key files are found from its directory.
///
/// **Errors**: the policy or one of its keys cannot be used; nothing of either is kept then.
pub fn load(path: &Path, user: u32) -> Result<InForce, PolicyError> {
    let bytes = read_guarded(path, user, POLICY_BYTES_MAX)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    read(path, &bytes, |file| keys::read_public(&directory.join(file), user))
}

/// Returns the files and directories that decide whether a policy can be used, beside its own, as far as it can be read: the keys
/// that it names, and what is at fault.
pub fn rests_on(path: &Path, user: u32) -> Vec<PathBuf> {
    let bytes = read_guarded(path, user, POLICY_BYTES_MAX).ok();
    let policy = bytes.and_then(|bytes| Policy::parse(&bytes).ok());
    let mut files = policy.map(|policy| key_files(path, &policy)).unwrap_or_default();
    files.extend(load(path, user).err().and_then(|error| error.culprit().map(Path::to_owned)));
    files
}

fn key_files(path: &Path, policy: &Policy) -> Vec<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    policy.keys.iter().map(|key| directory.join(&key.file)).collect()
}

/// Reads a policy that is not in force, out of its text and those of its keys: `key` gives one by the name that the policy has for
/// its file. `path` is what it is called.
///
/// **Errors**: as [`load`].
pub fn given<'a>(
    path: &Path,
    text: &str,
    key: impl Fn(&Path) -> Option<&'a str>,
) -> Result<InForce, PolicyError> {
    read(path, text.as_bytes(), |file| keys::given_public(file, key(file)))
}

fn read(
    path: &Path,
    bytes: &[u8],
    key_of: impl Fn(&Path) -> Result<PublicKey, KeyError>,
) -> Result<InForce, PolicyError> {
    let refused = |error: ParseError| PolicyError::Policy { path: path.to_owned(), error };
    let policy = Policy::parse(bytes).map_err(refused)?;
    let mut ring = Vec::with_capacity(policy.keys.len());
    for (position, key) in policy.keys.iter().enumerate() {
        let read = key_of(Path::new(&key.file)).map_err(|source| PolicyError::Key {
            path: path.to_owned(),
            id: key.id.to_string(),
            place: key.file_place,
            source,
        })?;
        is_named(key, &read)
            .map_err(|error| refused(error.in_field(format!("keys[{position}]")).at(key.file_place)))?;
        ring.push(read);
    }
    Ok(InForce::new(path.to_owned(), Digest::sha256(bytes), policy, ring.into_iter().collect()))
}

/// Checks that the key in the file is the one that the policy names.
fn is_named(key: &Key, read: &PublicKey) -> Result<(), ParseError> {
    if read.algorithm() != key.algorithm {
        let found = read.algorithm().name();
        return Err(ParseError::new("policy.algorithm", key.algorithm.name(), found).in_field("algorithm"));
    }
    let found = read.fingerprint();
    match found == key.fingerprint {
        true => Ok(()),
        false => {
            let error = ParseError::new("policy.fingerprint", key.fingerprint.to_string(), found.to_string());
            Err(error.in_field("fingerprint"))
        }
    }
}

/// Refuses a policy whose version is lower than the highest that was in force here.
pub fn succeeds(policy: &Policy, path: &Path, highest: u64) -> Result<(), Refusal> {
    match policy.version >= highest {
        true => Ok(()),
        false => Err(Refusal::new(
            VERSION_ROLLBACK,
            path.display(),
            format!("version = {highest} or higher, since that was in force here"),
            format!(
                "version = {}; write version = {} into the file, so that it comes into force",
                policy.version,
                highest.saturating_add(1)
            ),
        )),
    }
}

/// What every policy in force says about a release. It must pass all of them.
#[derive(Debug, Clone)]
pub struct Judgement<'a> {
    /// The decision of each policy, in the order in which they were given.
    pub decisions: Vec<(&'a InForce, Decision<'a>)>,
}

/// Asks every policy in force about a release, at an instant in seconds since 1970-01-01 UTC.
pub fn judge<'a>(policies: &'a [InForce], facts: &Facts<'a>, now_s: i64) -> Judgement<'a> {
    let decide = |one: &'a InForce| (one, decide(&one.policy, facts, now_s));
    Judgement { decisions: policies.iter().map(decide).collect() }
}

impl Judgement<'_> {
    /// Tells whether the release may be used.
    pub fn is_allowed(&self) -> bool {
        self.decisions.iter().all(|(_, decision)| decision.is_allowed())
    }

    /// Returns why it may not be used: what the first policy says that refuses it.
    pub fn refusal(&self) -> Option<&Refusal> {
        let refusing = self.decisions.iter().find(|(_, decision)| !decision.is_allowed());
        refusing.and_then(|(_, decision)| decision.refusal.as_ref())
    }

    /// Returns the earliest instant at which it may be another one.
    pub fn next_change_s(&self) -> Option<i64> {
        self.decisions.iter().filter_map(|(_, decision)| decision.next_change_s).min()
    }

    /// Returns the steps of every policy as lines, each policy's below its file's name.
    pub fn lines(&self) -> Vec<String> {
        let of = |(one, decision): &(&InForce, Decision<'_>)| {
            let file = one.path.display();
            let head = format!("policy: {file}, version {}", one.policy.version);
            std::iter::once(head).chain(decision.lines(&file)).collect::<Vec<String>>()
        };
        self.decisions.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests;
