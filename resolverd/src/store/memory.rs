//! Memory that outlives the store: which revisions of each list and catalogue were accepted, which keysets of signers, and the
//! highest clock seen.
//!
//! One small file beside the store, written whole and atomically. It is no cache: shelf and sources cannot rebuild it, so that
//! nothing removes it, and a damaged one is set aside. It is written before the generation that rests on it; a process that is
//! killed between the two finds the same revision remembered as the newest, and accepts it again.
//!
//! Format 1 knew of no loss: what wrote it would take one back, and its files are read still. What is written by a program that knows
//! a higher format is no damage, and is left alone, as long as its seal holds.
//!
//! **The highest clock** guards against a clock that is set back: what is signed until a day, keys, windows of policies and ages are
//! judged by it, so that nothing that has ended is valid again. No sync takes it back, since an attacker who sets the clock back and
//! shows an old document that is signed well would have just that. A clock that stood too far ahead once therefore stays until an
//! operator says that the clock is right now ([`RESET_CLOCK`]), and the audit log keeps his reason. Meanwhile everything signed
//! until a day before it has ended, and that a source was checked is measured by what the clock says: see `checks.rs`.
//!
//! **Shape** of `trust-state.json`, format `resolverd/trust-state@2`; `checksum` covers schema and content (see `sealed.rs`):
//!
//! ```json
//! {"schema": "resolverd/trust-state@2", "checksum": "sha256:…", "content": {"highest_s": 1777896000, "documents": [
//!   {"source": "official", "catalogue": "tooling", "revisions": [{"digest": "sha256:…", "accepted_s": 1777896000}]}]}}
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::{CatalogueState, Generation};
use catalogue_schema::id::SourceId;
use catalogue_schema::keyset::Accepted;
use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::CommitId;
use catalogue_schema::revision::{ORDER_UNKNOWN, REVISIONS_MAX, Revision, RevisionKey};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::shelf::durable;
use crate::store::{StoreError, sealed};

/// How many lists and catalogues of one source are remembered; those that it no longer lists go first.
pub const DOCUMENTS_PER_SOURCE_MAX: usize = 1_024;
/// How far a clock may step back unnoticed, in seconds.
pub const CLOCK_SLACK_S: i64 = 300;
/// 2024-01-01: this program is younger. A clock before it is not set, and says nothing.
pub const CLOCK_MIN_S: i64 = 1_704_067_200;
/// How much the highest clock grows before it is written again, in seconds.
const CLOCK_STEP_S: i64 = 60;
/// How many damaged files are kept for a look.
const BAD_KEPT: usize = 2;

/// The last second of the year 9999. No clock is believed beyond it: ages that counted from there would never end.
const CLOCK_MAX_S: i64 = 253_402_300_799;

/// The reason of a refusal: what was accepted so far is not known any more.
pub const STATE_LOST: &str = "trust.state_lost";
/// The command that accepts that.
pub const RESET: &str = "resolverd trust reset --reason TEXT";

/// The command that takes the clock of today for right, though a later one was seen.
pub const RESET_CLOCK: &str = "resolverd trust reset --clock --reason TEXT";
/// The reason of a problem: the clock stands behind the highest one seen.
pub const CLOCK_BACKWARDS: &str = "clock.backwards";

/// What else is lost: said before an operator accepts that, and kept with his reason.
pub(super) const KEYSETS_FORGOTTEN: &str =
    "keysets accepted from signers are forgotten too, and keys of the policy count that they gave up";

const FILE: &str = "trust-state.json";
const BAD: &str = "trust-state.bad-";
const SCHEMA: &str = "resolverd/trust-state@2";
const SCHEMA_BEFORE: &str = "resolverd/trust-state@1";

/// What becomes of the memory of revisions and of their log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Records {
    /// They are kept: read, written, and mended where they are damaged.
    #[default]
    Kept,
    /// They are read at most: a repair of the index is no reason to change what was promised.
    Untouched,
}

/// What else tells that there must be a memory, beside a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remains {
    /// Nothing.
    Nothing,
    /// A file, by its name, that is written only where there is a memory.
    File(&'static str),
}

/// The time in both ways that it is told, in seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// What the system's clock says.
    pub now_s: i64,
    /// The latest that it ever said, which ages count from.
    pub latest_s: i64,
}

impl Clock {
    /// Returns how far the clock stands behind the highest one seen, in seconds; 0 within what is passed over.
    pub fn behind_s(self) -> i64 {
        let behind_s = self.latest_s.saturating_sub(self.now_s);
        if behind_s > CLOCK_SLACK_S { behind_s } else { 0 }
    }

    /// Tells whether the clock can be right at all.
    pub fn is_set(self) -> bool {
        self.now_s >= CLOCK_MIN_S
    }
}

/// The accepted revisions of every list and catalogue.
#[derive(Debug, Default)]
pub struct Memory {
    directory: PathBuf,
    content: Content,
    /// There is a file.
    is_written: bool,
    records: Records,
    /// What a file says that is only read, where it is whole and as new as the generation: all that a repair may write again.
    sound: Option<Content>,
}

/// Says which revision of a document the log names last.
pub(super) type Witness<'a> = &'a dyn Fn(&RevisionKey) -> Option<&'a (Option<CommitId>, Digest)>;

#[derive(Debug, Clone, Default, PartialEq)]
struct Content {
    highest_s: i64,
    documents: BTreeMap<RevisionKey, Vec<Revision>>,
    /// The highest version that was in force of each policy, by its file.
    policies: BTreeMap<String, u64>,
    /// The newest keyset of every set of signers, in the order of policies and sets.
    keysets: Vec<Accepted>,
    marks: Marks,
    /// What was found instead of what had been written, until an operator accepts that.
    lost: Option<String>,
    /// The audit log says so.
    is_loss_told: bool,
}

/// How far the other files reach that nothing can rebuild, so that a part of one that is missing is noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The number and the digest of the newest line of the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<(u64, Digest)>,
    /// How long the first-seen ledger is, in bytes.
    #[serde(default)]
    pub ledger_bytes: u64,
    /// The highest generation that was committed or was about to be; 0 where an older program wrote this.
    #[serde(default)]
    pub generation: u64,
}

#[derive(Serialize, Deserialize)]
struct ContentForm {
    highest_s: i64,
    documents: Vec<DocumentForm>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    policies: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keysets: Vec<Accepted>,
    #[serde(default)]
    marks: Marks,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_loss_told: bool,
}

#[derive(Serialize, Deserialize)]
struct DocumentForm {
    #[serde(flatten)]
    key: RevisionKey,
    /// Newest last.
    revisions: Vec<Revision>,
}

impl Memory {
    /// Reads the file in `directory`. Where it is missing or damaged, what `generation` says is remembered instead, and the loss
    /// with it, until an operator accepts that: see [`Memory::lost`]. `written` is the highest generation that another file
    /// names; where there is one, or a generation itself, the file must be there, and know of both. Where anything else `remains`,
    /// it must be there.
    ///
    /// **Errors**: the file cannot be read, set aside or written, or a newer program wrote it. Damage is no error: it is one of
    /// [`Memory::problems`].
    pub(super) fn load(
        directory: &Path,
        generation: Option<&Generation>,
        (written, remains): (u64, Remains),
        records: Records,
    ) -> Result<Memory, StoreError> {
        let path = directory.join(FILE);
        let mut memory = Memory {
            directory: directory.into(),
            content: Content::default(),
            is_written: false,
            records,
            sound: None,
        };
        let newest = generation.map_or(0, |generation| generation.number).max(written);
        let bytes = durable::read(&path)?;
        if let Some(format) = bytes.as_ref().and_then(|bytes| sealed::newer(SCHEMA, bytes)) {
            return Err(StoreError::Newer { path: path.display().to_string(), format });
        }
        memory.is_written = bytes.is_some();
        let found = match bytes.map(|bytes| decoded(&bytes)) {
            Some(Ok(content)) => {
                memory.content = content;
                let found = older(memory.content.marks.generation, newest);
                memory.sound = found.is_none().then(|| memory.content.clone());
                if let Some(found) = found.filter(|_| records == Records::Kept) {
                    let mut content = memory.content.clone();
                    content.marks.generation = newest;
                    memory.lose(content, found)?;
                }
                return Ok(memory);
            }
            _ if records == Records::Untouched => return Ok(memory),
            None => match (newest, remains) {
                (0, Remains::Nothing) => return Ok(memory),
                (0, Remains::File(name)) => format!("no such file beside {name}"),
                _ => "no such file".to_owned(),
            },
            Some(Err(found)) => format!("{found}; it was set aside as {}", set_aside(directory)?.display()),
        };
        let found = format!("{found}; only what the last generation holds is remembered");
        memory.lose(generation.map(seed).unwrap_or_default(), found)?;
        Ok(memory)
    }

    /// Remembers that what was accepted so far is not what `content` says, durably.
    fn lose(&mut self, content: Content, found: String) -> Result<(), StoreError> {
        // What was found first tells most.
        let is_loss_told = content.lost.is_some() && content.is_loss_told;
        let lost = content.lost.clone().unwrap_or(found);
        self.keep(Content { lost: Some(lost), is_loss_told, ..content })?;
        if let Some(lost) = self.lost() {
            warn!(%lost, "the memory of accepted revisions is lost");
        }
        Ok(())
    }

    /// Returns why nothing may be accepted: what was accepted before is not known, and nobody has accepted that.
    pub fn lost(&self) -> Option<Refusal> {
        let found = self.content.lost.as_ref()?;
        Some(Refusal::new(
            STATE_LOST,
            self.directory.join(FILE).display(),
            "the revisions accepted so far",
            format!(
                "{found}; {KEYSETS_FORGOTTEN}; nothing is synced until an operator accepts that: {RESET}"
            ),
        ))
    }

    /// Returns the loss where the audit log may not say so yet.
    pub(super) fn news(&self) -> Option<Refusal> {
        self.lost().filter(|_| !self.content.is_loss_told)
    }

    /// Remembers that the audit log tells of the loss, durably: a process that ends before that leaves it to the next one.
    pub(super) fn note_told(&mut self) -> Result<(), StoreError> {
        match self.news() {
            Some(_) => self.keep(Content { is_loss_told: true, ..self.content.clone() }),
            None => Ok(()),
        }
    }

    /// Writes the file where there is none, before another one is written that has to find it at the next start.
    pub(super) fn exist(&mut self) -> Result<(), StoreError> {
        if self.is_written || self.records == Records::Untouched {
            return Ok(());
        }
        durable::write(&self.directory, FILE, &[&encoded(&self.content)?])?;
        self.is_written = true;
        Ok(())
    }

    /// Takes what is remembered for all that there is, durably: an operator accepts the loss. Tells whether there was one.
    pub(super) fn reset(&mut self) -> Result<bool, StoreError> {
        let was_lost = self.content.lost.is_some();
        self.keep(Content { lost: None, is_loss_told: false, ..self.content.clone() })?;
        Ok(was_lost)
    }

    /// Remembers that the generation `number` is about to be committed, durably. What another program wrote without knowing of
    /// it is older than that generation.
    pub(super) fn promise(&mut self, number: u64) -> Result<(), StoreError> {
        if number <= self.content.marks.generation {
            return Ok(());
        }
        let promised = |content: &Content| {
            let marks = Marks { generation: number, ..content.marks.clone() };
            Content { marks, ..content.clone() }
        };
        // A repair makes a generation as well, and touches no more of a file that is sound than this. One that is lost stays so.
        if let Some(sound) = self.sound.as_ref().filter(|_| self.records == Records::Untouched) {
            durable::write(&self.directory, FILE, &[&encoded(&promised(sound))?])?;
        }
        self.keep(promised(&self.content))
    }

    /// Reads the file in `directory` and changes nothing: what was lost of it, by what it says itself and by the number of the
    /// newest generation.
    pub fn look_at_loss(directory: &Path, newest: u64) -> Option<String> {
        let bytes = durable::read(&directory.join(FILE)).ok()??;
        let content = decoded(&bytes).ok()?;
        content.lost.or_else(|| older(content.marks.generation, newest))
    }

    /// Reads the file in `directory` and changes nothing: its format, where a newer program wrote it.
    pub fn look_at_format(directory: &Path) -> Option<String> {
        let bytes = durable::read(&directory.join(FILE)).ok()??;
        sealed::newer(SCHEMA, &bytes)
    }

    /// Reads the file in `directory` and changes nothing: the highest clock that it has seen, `None` where there is no file.
    ///
    /// **Errors**: what is wrong with the file, its digest among it.
    pub fn look(directory: &Path) -> Result<Option<i64>, String> {
        let bytes = durable::read(&directory.join(FILE)).map_err(|error| error.to_string())?;
        bytes.map(|bytes| decoded(&bytes).map(|content| content.highest_s)).transpose()
    }

    /// Reads the file in `directory` and changes nothing. What cannot be read remembers nothing.
    pub fn to_read(directory: &Path) -> Memory {
        let bytes = durable::read(&directory.join(FILE)).ok().flatten();
        let content = bytes.and_then(|bytes| decoded(&bytes).ok()).unwrap_or_default();
        Memory {
            directory: directory.into(),
            content,
            is_written: true,
            records: Records::Untouched,
            sound: None,
        }
    }

    /// Reads the file in `directory` and changes nothing: how far the audit log reaches by it. What cannot be read says nothing.
    pub(super) fn look_at_marks(directory: &Path) -> Marks {
        let bytes = durable::read(&directory.join(FILE)).ok().flatten();
        bytes.and_then(|bytes| decoded(&bytes).ok()).map(|content| content.marks).unwrap_or_default()
    }

    /// Remembers what `log` says was accepted of the documents of `generation`, where the memory does not hold it: then an
    /// older copy of the file was put in its place, since the log is written last.
    ///
    /// **Errors**: the file cannot be written.
    pub(super) fn catch_up(&mut self, generation: &Generation, log: Witness<'_>) -> Result<(), StoreError> {
        let listed =
            generation.catalogues.iter().filter_map(|state| state.errand.node()).map(RevisionKey::of);
        let mut content = self.content.clone();
        for key in listed.collect::<BTreeSet<_>>() {
            let Some((commit, digest)) = log(&key) else { continue };
            if self.known(&key).iter().any(|known| known.is(commit.as_ref(), digest)) {
                continue;
            }
            let (commit, digest) = (commit.clone(), digest.clone());
            let accepted_s = generation.committed_s;
            let revision = Revision { commit, digest, accepted_s, order_unknown: false, signed: None };
            content.documents.entry(key).or_default().push(revision);
        }
        if content == self.content {
            return Ok(());
        }
        content.highest_s = content.highest_s.max(generation.committed_s);
        let found = "an older copy of them; what the log of revisions says is remembered besides";
        self.lose(content, found.to_owned())
    }

    /// Returns what was accepted of a list or catalogue, newest last.
    pub fn known(&self, key: &RevisionKey) -> &[Revision] {
        self.content.documents.get(key).map_or(&[], Vec::as_slice)
    }

    /// Returns the highest version of the policy in `file` that was in force here; `None` where none was.
    pub fn policy_version(&self, file: &Path) -> Option<u64> {
        self.content.policies.get(&file.display().to_string()).copied()
    }

    /// Remembers that these versions of policies are in force, durably.
    pub(super) fn remember_policies<'a>(
        &mut self,
        versions: impl Iterator<Item = (&'a Path, u64)>,
    ) -> Result<(), StoreError> {
        let mut content = self.content.clone();
        for (file, version) in versions {
            let known = content.policies.entry(file.display().to_string()).or_default();
            *known = version.max(*known);
        }
        self.keep(content)
    }

    /// Returns the newest keyset that was accepted of every set of signers.
    pub fn keysets(&self) -> &[Accepted] {
        &self.content.keysets
    }

    /// Remembers that these keysets were accepted, durably. None of a set goes back to one that was accepted before it.
    pub(super) fn remember_keysets(&mut self, accepted: Vec<Accepted>) -> Result<(), StoreError> {
        let mut content = self.content.clone();
        for one in accepted {
            let is_same =
                |known: &&mut Accepted| (&known.policy, &known.signers) == (&one.policy, &one.signers);
            match content.keysets.iter_mut().find(is_same) {
                Some(known) if known.is_of(&one.base, &one.named) && known.version >= one.version => {}
                Some(known) => *known = one,
                None => content.keysets.push(one),
            }
        }
        content
            .keysets
            .sort_by(|one, other| (&one.policy, &one.signers).cmp(&(&other.policy, &other.signers)));
        self.keep(content)
    }

    /// Returns how far the other files reached when that was written last.
    pub(super) fn marks(&self) -> &Marks {
        &self.content.marks
    }

    /// Remembers how far the other files reach, durably.
    pub(super) fn mark(&mut self, marks: Marks) -> Result<(), StoreError> {
        let content = Content { marks, ..self.content.clone() };
        self.keep(content)
    }

    /// Returns everything that is remembered, by source and catalogue.
    pub fn all(&self) -> impl Iterator<Item = (&RevisionKey, &[Revision])> {
        self.content.documents.iter().map(|(key, revisions)| (key, revisions.as_slice()))
    }

    /// Remembers what was accepted, durably. `current` are the documents that sources list today: they are never given up.
    pub(super) fn remember(
        &mut self,
        accepted: Vec<(RevisionKey, Revision)>,
        current: &BTreeSet<RevisionKey>,
    ) -> Result<(), StoreError> {
        if accepted.is_empty() {
            return Ok(());
        }
        let mut content = self.content.clone();
        for (key, revision) in accepted {
            content.highest_s = content.highest_s.max(revision.accepted_s);
            let known = content.documents.entry(key).or_default();
            // A revision that is learnt again, such as by its commit, moves to the end.
            known.retain(|other| !other.is(revision.commit.as_ref(), &revision.digest));
            known.push(revision);
            known.drain(..known.len().saturating_sub(REVISIONS_MAX));
        }
        content.bound(current);
        self.keep(content)
    }

    /// Returns the newest revision of every list and catalogue of a source, or of one of its catalogues.
    pub(super) fn newest(
        &self,
        source: &SourceId,
        catalogue: Option<&SourceId>,
    ) -> Vec<(RevisionKey, Revision)> {
        let is_meant = |key: &RevisionKey| {
            key.source == *source && (catalogue.is_none() || key.catalogue.as_ref() == catalogue)
        };
        let meant = self.content.documents.iter().filter(|(key, _)| is_meant(key));
        meant.filter_map(|(key, revisions)| Some((key.clone(), revisions.last()?.clone()))).collect()
    }

    /// Forgets what was accepted of a source, or of one of its catalogues, durably. Returns the newest revision of each.
    pub(super) fn forget(
        &mut self,
        source: &SourceId,
        catalogue: Option<&SourceId>,
    ) -> Result<Vec<(RevisionKey, Revision)>, StoreError> {
        let mut content = self.content.clone();
        let is_meant = |key: &RevisionKey| {
            key.source == *source && (catalogue.is_none() || key.catalogue.as_ref() == catalogue)
        };
        let (gone, kept) = content.documents.into_iter().partition(|(key, _)| is_meant(key));
        content.documents = kept;
        self.keep(content)?;
        let gone: BTreeMap<RevisionKey, Vec<Revision>> = gone;
        Ok(gone.into_iter().filter_map(|(key, mut revisions)| Some((key, revisions.pop()?))).collect())
    }

    /// Takes notice of the clock and returns the time that ages count from: a clock that steps back makes nothing younger.
    /// The highest one is written once it has grown by a minute; a failure to write is logged only.
    pub(super) fn see(&mut self, now_s: i64) -> i64 {
        let highest_s = self.latest(now_s);
        if highest_s >= self.content.highest_s.saturating_add(CLOCK_STEP_S) {
            let content = Content { highest_s, ..self.content.clone() };
            if let Err(error) = self.keep(content) {
                warn!(%error, "the clock is not written");
            }
        }
        highest_s
    }

    /// Returns when a process that starts now began, in milliseconds: later than every start before it. Where the clock stands
    /// far behind the highest one seen, that one goes on by a second, so that no two starts are the same.
    pub(super) fn begin(&mut self, now_ms: i64) -> i64 {
        let highest_s = self.content.highest_s;
        if now_ms / 1000 >= highest_s.saturating_sub(CLOCK_SLACK_S) {
            return now_ms;
        }
        let highest_s = highest_s.saturating_add(1).min(CLOCK_MAX_S);
        if let Err(error) = self.keep(Content { highest_s, ..self.content.clone() }) {
            warn!(%error, "the clock is not written");
        }
        highest_s.saturating_mul(1000)
    }

    /// Returns the time that ages count from while the clock says `now_s`.
    pub fn latest(&self, now_s: i64) -> i64 {
        self.content.highest_s.max(now_s.min(CLOCK_MAX_S))
    }

    /// Returns the time in both ways while the clock says `now_s`.
    pub fn clock(&self, now_s: i64) -> Clock {
        Clock { now_s, latest_s: self.latest(now_s) }
    }

    /// Takes the clock, which says `now_s`, for right, though a later one was seen, durably: an operator says so.
    pub(super) fn trust_clock(&mut self, now_s: i64) -> Result<(), StoreError> {
        self.keep(Content { highest_s: now_s.min(CLOCK_MAX_S), ..self.content.clone() })
    }

    /// Returns what is wrong with the clock, which says `now_s`.
    pub(super) fn backwards(&self, now_s: i64) -> Option<Refusal> {
        let highest_s = self.content.highest_s;
        (now_s < highest_s.saturating_sub(CLOCK_SLACK_S)).then(|| {
            let expected = format!("a clock not behind {}", catalogue_schema::revision::rfc3339(highest_s));
            let found = format!(
                "{}; syncs go on, and what is signed until a day is judged by the later time; set the clock, or where it is \
                 right now and was wrong then: {RESET_CLOCK}",
                catalogue_schema::revision::rfc3339(now_s)
            );
            Refusal::new(CLOCK_BACKWARDS, "the system clock", expected, found)
        })
    }

    /// Returns what is wrong with the memory or the clock.
    pub fn problems(&self, now_s: i64) -> Vec<Refusal> {
        self.lost().into_iter().chain(self.backwards(now_s)).collect()
    }

    /// Writes `content` where it differs, and only then takes it over.
    fn keep(&mut self, content: Content) -> Result<(), StoreError> {
        if content != self.content && self.records == Records::Kept {
            durable::write(&self.directory, FILE, &[&encoded(&content)?])?;
            self.is_written = true;
        }
        self.content = content;
        Ok(())
    }
}

impl Content {
    /// Gives up documents that no source lists, those that moved longest ago first, where a source has too many: a list that
    /// names new catalogues every day must not grow the memory without bound.
    fn bound(&mut self, current: &BTreeSet<RevisionKey>) {
        let mut per_source: BTreeMap<SourceId, Vec<(i64, RevisionKey)>> = BTreeMap::new();
        for (key, revisions) in &self.documents {
            let moved_s = revisions.last().map_or(i64::MIN, |revision| revision.accepted_s);
            per_source.entry(key.source.clone()).or_default().push((moved_s, key.clone()));
        }
        for mut documents in per_source.into_values() {
            let surplus = documents.len().saturating_sub(DOCUMENTS_PER_SOURCE_MAX);
            documents.retain(|(_, key)| !current.contains(key));
            documents.sort();
            for (_, key) in documents.into_iter().take(surplus) {
                self.documents.remove(&key);
            }
        }
    }
}

/// Says that a file that knows of the generation `known` is older than `newest`; one that knows of none was written by an older
/// program.
fn older(known: u64, newest: u64) -> Option<String> {
    let is_older = known > 0 && known < newest;
    is_older.then(|| format!("a copy that ends with generation {known}, and {newest} was committed"))
}

/// Returns the revision that a state of a generation rests on.
pub(super) fn revision_of(state: &CatalogueState, accepted_s: i64) -> Option<(RevisionKey, Revision)> {
    let order_unknown = state.warnings.iter().any(|warning| warning.reason == ORDER_UNKNOWN);
    let (commit, digest) = (state.commit.clone(), state.digest.clone()?);
    Some((
        RevisionKey::of(state.errand.node()?),
        Revision { commit, digest, accepted_s, order_unknown, signed: None },
    ))
}

fn seed(generation: &Generation) -> Content {
    let accepted_s = generation.committed_s;
    let known = generation.catalogues.iter().filter_map(|state| revision_of(state, accepted_s));
    Content {
        highest_s: accepted_s,
        documents: known.map(|(key, revision)| (key, vec![revision])).collect(),
        marks: Marks { generation: generation.number, ..Marks::default() },
        ..Content::default()
    }
}

fn encoded(content: &Content) -> Result<Vec<u8>, StoreError> {
    let documents = content.documents.iter();
    let form = ContentForm {
        highest_s: content.highest_s,
        documents: documents
            .map(|(key, revisions)| DocumentForm { key: key.clone(), revisions: revisions.clone() })
            .collect(),
        policies: content.policies.clone(),
        keysets: content.keysets.clone(),
        marks: content.marks.clone(),
        lost: content.lost.clone(),
        is_loss_told: content.is_loss_told,
    };
    sealed::seal(FILE, SCHEMA, &form)
}

fn decoded(bytes: &[u8]) -> Result<Content, String> {
    let schema = if sealed::is_of(SCHEMA_BEFORE, bytes) { SCHEMA_BEFORE } else { SCHEMA };
    let form: ContentForm = sealed::unseal(schema, bytes)?;
    Ok(Content {
        highest_s: form.highest_s.min(CLOCK_MAX_S),
        documents: form.documents.into_iter().map(|document| (document.key, document.revisions)).collect(),
        policies: form.policies,
        keysets: form.keysets,
        marks: form.marks,
        lost: form.lost,
        is_loss_told: form.is_loss_told,
    })
}

fn set_aside(directory: &Path) -> Result<PathBuf, StoreError> {
    let mut old: Vec<(u64, PathBuf)> = durable::entries(directory)?
        .into_iter()
        .filter_map(|(name, path)| Some((name.strip_prefix(BAD)?.parse().ok()?, path)))
        .collect();
    old.sort();
    let number = old.last().map_or(1, |(number, _)| number.saturating_add(1));
    while old.len() >= BAD_KEPT {
        durable::remove(&old.remove(0).1)?;
    }
    let (path, aside) = (directory.join(FILE), directory.join(format!("{BAD}{number}")));
    std::fs::rename(&path, &aside).map_err(durable::failed("set aside", &path))?;
    durable::sync_directory(directory)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(source: &str, catalogue: Option<&str>) -> RevisionKey {
        let id = |text: &str| SourceId::parse(text).expect("an id");
        RevisionKey { source: id(source), catalogue: catalogue.map(id) }
    }

    fn revision(text: &str, accepted_s: i64) -> Revision {
        Revision {
            commit: None,
            digest: Digest::sha256(text.as_bytes()),
            accepted_s,
            order_unknown: false,
            signed: None,
        }
    }

    fn load(directory: &Path) -> Memory {
        Memory::load(directory, None, (0, Remains::Nothing), Records::Kept).expect("loaded")
    }

    #[test]
    fn what_is_remembered_survives_and_forgetting_is_exact() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut memory = load(directory.path());
        let all = [key("s", None), key("s", Some("s")), key("s", Some("c")), key("t", None)];
        for round in ["1", "2"] {
            let accepted = all.iter().map(|key| (key.clone(), revision(round, 7))).collect();
            memory.remember(accepted, &BTreeSet::new()).expect("remembered");
        }
        let memory = &mut load(directory.path());
        assert!(all.iter().all(|key| memory.known(key) == [revision("1", 7), revision("2", 7)]));

        let source = &all[0].source;
        let gone = memory.forget(source, all[2].catalogue.as_ref()).expect("forgotten");
        assert_eq!(gone, [(all[2].clone(), revision("2", 7))]);
        let left = |memory: &Memory| memory.all().map(|(key, _)| key.to_string()).collect::<Vec<_>>();
        assert_eq!(left(memory), ["s", "s/s", "t"]);
        memory.forget(source, None).expect("forgotten");
        assert_eq!(left(&load(directory.path())), ["t"]);
    }

    #[test]
    fn memory_is_bounded_and_what_is_listed_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut memory = load(directory.path());
        let one = key("s", None);
        let many = (0..=REVISIONS_MAX).map(|n| (one.clone(), revision(&n.to_string(), 7)));
        memory.remember(many.collect(), &BTreeSet::new()).expect("remembered");
        assert_eq!(memory.known(&one).len(), REVISIONS_MAX);
        assert_eq!(memory.known(&one)[0], revision("1", 7), "the oldest has gone");

        let current = BTreeSet::from([one.clone()]);
        let spread = (0..DOCUMENTS_PER_SOURCE_MAX)
            .map(|n| (key("s", Some(&format!("c{n}"))), revision("x", 100 + n as i64)));
        memory.remember(spread.collect(), &current).expect("remembered");
        assert_eq!(memory.all().count(), DOCUMENTS_PER_SOURCE_MAX);
        assert_eq!(memory.known(&one).len(), REVISIONS_MAX, "listed today, though it moved longest ago");
        assert!(memory.known(&key("s", Some("c0"))).is_empty());
    }

    #[test]
    fn damage_is_found_set_aside_and_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE);
        for round in 1..=4 {
            let mut memory = load(directory.path());
            memory.remember(vec![(key("s", None), revision("1", 7))], &BTreeSet::new()).expect("remembered");
            let text = std::fs::read_to_string(&path).expect("written");
            std::fs::write(&path, text.replace("\"accepted_s\":7", "\"accepted_s\":8")).expect("written");
            let memory = load(directory.path());
            assert_eq!(memory.all().count(), 0);
            let problems = memory.problems(7);
            assert_eq!((problems.len(), problems[0].reason.as_ref()), (1, "trust.state_lost"));
            assert!(problems[0].found.contains(&format!("trust-state.bad-{round}")), "{}", problems[0]);
            assert!(problems[0].found.contains(KEYSETS_FORGOTTEN), "{}", problems[0]);
            assert!(memory.news().is_some());
            // Until somebody has been told, whoever finds it tells.
            let mut memory = load(directory.path());
            assert!(memory.news().is_some());
            memory.note_told().expect("written");
            let mut memory = load(directory.path());
            assert_eq!((memory.problems(7), memory.news()), (problems, None), "until it is accepted");
            assert!(memory.reset().expect("written") && !memory.reset().expect("written"));
            assert_eq!((load(directory.path()).problems(7), memory.lost()), (Vec::new(), None));
        }
        let all = durable::entries(directory.path()).expect("listed").into_iter().map(|(name, _)| name);
        let bad = all.filter(|name| name.starts_with(BAD));
        assert_eq!(bad.collect::<Vec<_>>(), ["trust-state.bad-3", "trust-state.bad-4"]);
    }

    #[test]
    fn a_file_that_is_missing_or_older_than_what_was_committed_is_lost() {
        let check = |known: Option<u64>, written: u64, expected: bool| {
            let directory = tempfile::tempdir().expect("a directory");
            if let Some(known) = known {
                let mut memory = load(directory.path());
                memory.see(7_000);
                memory.promise(known).expect("written");
            }
            let written_there = (written, Remains::Nothing);
            let memory = Memory::load(directory.path(), None, written_there, Records::Kept).expect("loaded");
            assert_eq!(memory.lost().is_some(), expected, "{known:?} {written}");
            let looked = Memory::look_at_loss(directory.path(), written);
            assert_eq!(looked.is_some(), expected, "{known:?} {written}");
            // A repair writes again what is sound, and makes nothing sound of what is lost.
            let read = Memory::load(directory.path(), None, written_there, Records::Untouched);
            let mut repairing = read.expect("loaded");
            repairing.see(9_000);
            repairing.promise(written + 1).expect("written");
            let looked = Memory::look_at_loss(directory.path(), written + 1);
            assert!(!expected || looked.is_some(), "{known:?} {written}: a repair");
            assert!(load(directory.path()).lost().is_some() == expected, "kept until it is accepted");
        };
        check(None, 0, false);
        check(None, 1, true);
        check(Some(0), 5, false);
        check(Some(5), 5, false);
        check(Some(6), 5, false);
        check(Some(5), 6, true);
    }

    #[test]
    fn a_file_of_the_format_before_is_read_and_one_that_is_newer_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE);
        let mut memory = load(directory.path());
        memory.remember(vec![(key("s", None), revision("1", 7))], &BTreeSet::new()).expect("remembered");
        let text = std::fs::read_to_string(&path).expect("written");
        assert!(text.contains(SCHEMA), "{text}");
        let content: serde_json::Value =
            sealed::unseal(SCHEMA, text.as_bytes()).expect("the content as it is written");
        let sealed_as = |schema: &'static str| {
            String::from_utf8(sealed::seal(FILE, schema, &content).expect("sealed")).expect("text")
        };
        std::fs::write(&path, sealed_as(SCHEMA_BEFORE)).expect("written");
        let memory = load(directory.path());
        assert_eq!((memory.known(&key("s", None)), memory.lost()), (&[revision("1", 7)][..], None));
        let newer = sealed_as("resolverd/trust-state@3");
        std::fs::write(&path, &newer).expect("written");
        for records in [Records::Kept, Records::Untouched] {
            let found = Memory::load(directory.path(), None, (5, Remains::Nothing), records);
            let error = found.expect_err("a newer format").to_string();
            assert!(error.contains("resolverd/trust-state@3, which a newer program wrote"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).expect("there"), newer);
        }
        // What is no format at all is damage, and so is another number than that under the seal: one bit is enough for that.
        for other in ["@x", "@3", "@1"] {
            let other = text.replace(SCHEMA, &format!("resolverd/trust-state{other}"));
            std::fs::write(&path, &other).expect("written");
            assert!(load(directory.path()).lost().is_some(), "{other}");
        }
    }

    #[test]
    fn keysets_are_remembered_and_never_go_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut memory = load(directory.path());
        let one = |signers: &str, base: &str, version: u64| Accepted {
            policy: "/etc/trust.toml".to_owned(),
            signers: signers.to_owned(),
            base: Digest::sha256(base.as_bytes()),
            named: Vec::new(),
            version,
            document: format!("{signers} {version}"),
        };
        let shown = |memory: &Memory| {
            memory.keysets().iter().map(|one| one.document.clone()).collect::<Vec<String>>()
        };
        memory.remember_keysets(vec![one("b", "x", 2), one("a", "x", 5)]).expect("remembered");
        memory.remember_keysets(vec![one("b", "x", 3), one("a", "x", 4)]).expect("remembered");
        assert_eq!(shown(&memory), ["a 5", "b 3"]);
        assert_eq!(shown(&load(directory.path())), ["a 5", "b 3"], "durably");
        assert_eq!(shown(&Memory::to_read(directory.path())), ["a 5", "b 3"]);
        // The operator has named other keys since, and the set begins anew.
        memory.remember_keysets(vec![one("a", "y", 2)]).expect("remembered");
        assert_eq!(shown(&load(directory.path())), ["a 2", "b 3"]);
        // Revisions and keysets are forgotten apart.
        let source = SourceId::parse("s").expect("an id");
        memory.forget(&source, None).expect("forgotten");
        assert_eq!(shown(&memory), ["a 2", "b 3"]);
    }

    #[test]
    fn no_start_is_before_another_whatever_the_clock_says() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut last_ms = 0;
        for now_s in [1_000_000, 1_000_400, 500_000, 500_000, 0, i64::from(u32::MAX), 1_000_500, -7] {
            let mut memory = load(directory.path());
            let began_ms = memory.begin(now_s * 1000 + 7);
            assert!(began_ms > last_ms, "{now_s}: {began_ms} after {last_ms}");
            memory.see(now_s);
            last_ms = began_ms;
        }
    }

    #[test]
    fn a_clock_that_steps_back_makes_nothing_younger() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut memory = load(directory.path());
        assert_eq!(memory.see(1_000), 1_000);
        assert_eq!(memory.see(900), 1_000);
        assert!(memory.problems(700).is_empty());
        assert_eq!(memory.problems(699)[0].reason, "clock.backwards");
        let mut memory = load(directory.path());
        for clock in [i64::MIN, -1, 0, 999, 2_147_483_648, 999, i64::MAX, 0] {
            let highest = memory.see(clock);
            assert!(highest >= clock.min(CLOCK_MAX_S) && (1_000..=CLOCK_MAX_S).contains(&highest), "{clock}");
        }
        assert_eq!(memory.problems(0).len(), 1);
    }

    #[test]
    fn only_an_operator_takes_the_highest_clock_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let (right_s, far_s) = (CLOCK_MIN_S + 7, i64::from(u32::MAX));
        let mut memory = load(directory.path());
        memory.see(far_s);
        assert_eq!(memory.see(right_s), far_s);
        assert_eq!(memory.clock(right_s), Clock { now_s: right_s, latest_s: far_s });
        assert_eq!((memory.clock(right_s).behind_s(), memory.clock(far_s).behind_s()), (far_s - right_s, 0));
        assert!(memory.problems(right_s)[0].found.contains(RESET_CLOCK));
        memory.trust_clock(right_s).expect("written");
        let mut memory = load(directory.path());
        assert_eq!((memory.problems(right_s), memory.see(right_s)), (Vec::new(), right_s));
        assert_eq!(memory.problems(right_s - 301)[0].reason, CLOCK_BACKWARDS, "the guard goes on from there");
    }
}
