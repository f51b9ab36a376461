//! Answers: a typed question, an immutable snapshot, and the facts about this process in; a body or a failure out.
//!
//! The only place where refusals and conflicts get codes. No lock, no file, no network; a resolve reads no clock, so equal
//! questions to equal snapshots give equal bytes.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use catalogue_schema::dialect::Stage;
use catalogue_schema::digest::Digest;
use catalogue_schema::documents::Documents;
use catalogue_schema::generation::{
    CatalogueState, Generation, Health, Holder, SOURCE_EXPIRED, SourceState, is_of_another_format, stale,
};
use catalogue_schema::graph::Graph;
use catalogue_schema::id::{CatalogueId, ComponentId, Reference, SourceId};
use catalogue_schema::model::{Refusal, Release};
use catalogue_schema::packed::{Head, Listed, Packed, PackedError};
use catalogue_schema::pointer::{CommitId, Location};
use catalogue_schema::revision::{LogLine, Revision, RevisionKey, rfc3339};
use catalogue_schema::row::{ManifestRow, ShadowRow, UNFETCHED};
use catalogue_schema::version::{Version, VersionReq};
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::discovery::{HitPage, HitRow, MatchRow};
use crate::api::{
    ANOTHER_FORMAT, Code, ComponentRow, Failure, NodeRow, Page, PinRow, TroubleRow, VersionRow, is_of_policy,
    remedy, remedy_of_store,
};
use crate::order::{OrderError, Outcome, Rehearsed, SyncReport};
use crate::resolve::reason::Derivation;
use crate::resolve::{Candidates, Cause, Conflict, Resolution, Standing, select};
use crate::server::encoded;
use crate::server::explain::{Asked, Ground, LookUp, explain};
use crate::server::lock::{self, Wish};
use crate::server::policy::{self, PolicyState};
use crate::server::route::{Pointed, Query, Question, Selection, ambiguous, cursor_after, cursor_behind};
use crate::server::search::{Hit, Search};
use crate::server::snapshots;
use crate::server::solve::{self, Solving};
use crate::store::Snapshot;
use crate::store::memory::RESET;

/// The OpenAPI document.
pub const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// What is known about the process that answers.
#[derive(Debug, Clone)]
pub struct Facts {
    /// How long it has been up, in seconds.
    pub uptime_s: u64,
    /// How many requests it has taken.
    pub requests: u64,
    /// How many of those were answered with an error.
    pub failures: u64,
    /// How many panics were contained.
    pub panics: u64,
    /// What is wrong with the configuration, where the last reload could not use it.
    pub problem: Option<Arc<Refusal>>,
    /// The trust policies in force.
    pub policies: Arc<PolicyState>,
    /// How long ago sources were checked.
    pub ages: Arc<Ages>,
    /// When sources expire, and what is remembered of them.
    pub times: Arc<Times>,
    /// Reads the list of the documents that a generation rests on; `None` where nothing is kept.
    pub records: Option<Records>,
    /// Reads documents from the shelf.
    pub documents: Shelved,
    /// How long the search for a solution may go on.
    pub solving: Solving,
}

/// Reads documents from the shelf. Cheap to clone.
#[derive(Clone)]
pub struct Shelved(pub Arc<ReadDocument>);

/// Reads a document: `None` when it is not there as it was accepted.
pub type ReadDocument = dyn Fn(&Digest) -> Option<Vec<u8>> + Send + Sync;

impl std::fmt::Debug for Shelved {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Shelved")
    }
}

impl Default for Shelved {
    /// Reads nothing.
    fn default() -> Shelved {
        Shelved(Arc::new(|_| None))
    }
}

/// Reads the list of the documents that a generation rests on, or says why it cannot be read; and looks up when releases were
/// first seen. Cheap to clone.
#[derive(Clone)]
pub struct Records {
    documents: Arc<ReadRecords>,
    ledger: Option<Arc<LookUp>>,
}

type ReadRecords = dyn Fn(&Generation) -> Result<Arc<Documents>, String> + Send + Sync;

impl Records {
    /// Reads lists through `read`.
    pub fn new(
        read: impl Fn(&Generation) -> Result<Arc<Documents>, String> + Send + Sync + 'static,
    ) -> Records {
        Records { documents: Arc::new(read), ledger: None }
    }

    /// Looks releases up through `look_up`.
    pub fn with_ledger(
        self,
        look_up: impl Fn(&SourceId, &Release) -> Option<(Digest, i64)> + Send + Sync + 'static,
    ) -> Records {
        Records { ledger: Some(Arc::new(look_up)), ..self }
    }
}

impl Records {
    /// Reads the list of a generation.
    ///
    /// **Errors**: it cannot be read.
    pub fn read(&self, generation: &Generation) -> Result<Arc<Documents>, String> {
        (self.documents)(generation)
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Records")
    }
}

/// When sources expire, what is remembered of them, and what is wrong with the memory or the clock.
#[derive(Debug, Default)]
pub struct Times {
    /// Up to which instant the writer has told what ended by itself, in seconds since 1970-01-01 UTC.
    pub seen_s: i64,
    /// When each source becomes unavailable unless it is checked before, in seconds since 1970-01-01 UTC.
    pub expires: BTreeMap<SourceId, i64>,
    /// What is remembered of each list and catalogue.
    pub known: Vec<Known>,
    /// What is wrong.
    pub problems: Vec<Refusal>,
}

/// What is remembered of one list or catalogue.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// The source.
    pub source: SourceId,
    /// The catalogue; `null` for the source's entry document.
    pub catalogue: Option<SourceId>,
    /// How many revisions are remembered.
    pub revisions: usize,
    /// The commit of the newest, for Git.
    pub commit: Option<CommitId>,
    /// The digest of the newest.
    pub digest: Digest,
    /// When the newest was accepted, in RFC 3339.
    pub accepted: String,
    /// Nobody could tell whether the newest follows the one before.
    pub order_unknown: bool,
}

impl Known {
    /// Describes what is remembered under `key`, newest last; `None` where it is nothing.
    pub fn of((key, revisions): (&RevisionKey, &[Revision])) -> Option<Known> {
        let newest = revisions.last()?;
        Some(Known {
            source: key.source.clone(),
            catalogue: key.catalogue.clone(),
            revisions: revisions.len(),
            commit: newest.commit.clone(),
            digest: newest.digest.clone(),
            accepted: rfc3339(newest.accepted_s),
            order_unknown: newest.order_unknown,
        })
    }
}

/// How long ago each source was last checked at its origin. Pinned and offline sources have no age.
#[derive(Debug)]
pub struct Ages {
    /// The ages, in seconds, at one instant.
    pub known: BTreeMap<SourceId, u64>,
    /// That instant.
    pub since: Instant,
}

impl Ages {
    /// Returns the age of a source's last check; `None` where it has none.
    pub fn seconds(&self, source: &SourceId) -> Option<u64> {
        Some(self.known.get(source)? + self.since.elapsed().as_secs())
    }
}

/// What a question is answered with.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// A JSON body under an HTTP status.
    Body(u16, Vec<u8>),
    /// The document with this digest, verbatim, from the shelf.
    Document(Digest),
    /// The newest lines of the log of revisions.
    Log {
        /// Only about this source.
        source: Option<SourceId>,
        /// How many.
        limit: usize,
    },
}

/// Answers a question. Sync and reload are not answered here: they are carried out, then [`report`]ed.
///
/// **Errors**: what the table of codes says; R010 while no generation is served.
pub fn answer(query: &Query, snapshot: Option<&Snapshot>, facts: &Facts) -> Result<Answer, Failure> {
    match query {
        Query::Live => ok(&json!({"status": "ok"})),
        Query::Ready => ready(snapshot, facts),
        Query::Health => health(snapshot, facts),
        Query::Version => {
            ok(&json!({"name": "resolverd", "version": env!("CARGO_PKG_VERSION"), "api": "v1"}))
        }
        Query::Stats => stats(snapshot, facts),
        Query::OpenApi => Ok(Answer::Body(200, OPENAPI.as_bytes().to_vec())),
        Query::Sync(_) | Query::Reload | Query::Forget(_) | Query::PolicyTest(_) => Err(Failure::new(
            Code::StoreUnavailable,
            "read_only",
            "nobody here can carry out a sync or a reload",
        )),
        Query::Policy => ok(&facts.policies.whole()),
        Query::Revisions => ok(&json!({"items": facts.times.known})),
        Query::RevisionLog { source, limit } => Ok(Answer::Log { source: source.clone(), limit: *limit }),
        Query::Sources => sources(served(snapshot)?, facts),
        Query::Catalogues => catalogues(served(snapshot)?, &facts.ages),
        Query::Components(selection) => components(selection, served(snapshot)?),
        Query::Search(search) => found_page(search, served(snapshot)?),
        Query::Component(id) => component(id, served(snapshot)?),
        Query::Versions(id) => versions(id, served(snapshot)?),
        Query::Release(pointed) => release(pointed, served(snapshot)?),
        Query::Manifest(pointed) => manifest(pointed, served(snapshot)?),
        Query::Resolve(question) => resolved(question, served(snapshot)?, facts),
        Query::Lookup(references) => lookup(references, served(snapshot)?),
        Query::Lock(asked) => locked(asked, served(snapshot)?, facts),
        Query::LockCheck(asked) => {
            let (given, snapshot) = (lock::given(asked)?, served(snapshot)?);
            let findings = lock::check(&given.lock, &View::new(snapshot), &facts.policies.in_force)?;
            ok(&lock::checked(asked, given, findings, snapshot))
        }
        Query::Explain(asked) => explained(asked, served(snapshot)?, facts),
        Query::At(..) | Query::Snapshots | Query::SnapshotsDiff(_) => {
            answer_from(query, snapshot.as_slice(), facts)
        }
        Query::Materialize(_)
        | Query::Documents(_)
        | Query::ExplainDirect(_)
        | Query::Locate(_)
        | Query::Files(_)
        | Query::VerifyFiles(_)
        | Query::CollectFiles(..)
        | Query::ReleaseHolds(..) => {
            Err(Failure::new(Code::StoreUnavailable, "read_only", "nobody here puts files on disk"))
        }
        Query::Metrics | Query::Events => Err(Failure::new(
            Code::DaemonUnreachable,
            "daemon_unreachable",
            "only a daemon counts requests and tells events",
        )
        .status(503)
        .hint("start one with: resolverd serve")),
    }
}

/// Answers a question out of the kept snapshots, newest first: from the one that the question names, or about them all.
///
/// **Errors**: as [`answer`]; R004 when the snapshot is not kept.
pub fn answer_from(query: &Query, kept: &[&Snapshot], facts: &Facts) -> Result<Answer, Failure> {
    match query {
        Query::At(wanted, query) => {
            served(kept.first().copied())?;
            answer(query, Some(snapshots::answering(wanted, kept, facts.times.seen_s)?), facts)
        }
        Query::Snapshots => ok(&snapshots::list(kept, facts.times.seen_s)),
        Query::SnapshotsDiff(asked) => {
            served(kept.first().copied())?;
            ok(&snapshots::diff(asked, kept)?)
        }
        query => answer(query, kept.first().copied(), facts),
    }
}

/// Returns a report's JSON; each failure says what helps.
fn with_hints(report: &SyncReport) -> Value {
    let mut value = serde_json::to_value(report).unwrap_or_default();
    let rows = value["sources"].as_array_mut().into_iter().flatten();
    for (row, source) in rows.zip(&report.sources) {
        if let Some(error) = &source.error {
            row["error"]["hint"] = remedy(&error.reason, &source.id, source.failed.as_ref()).into();
        }
    }
    value
}

/// Answers how a sync or reload ended.
///
/// **Errors**: R008 (configuration), R010 (store), R011 (an unknown source).
pub fn report(outcome: &Outcome) -> Result<Answer, Failure> {
    match outcome {
        Ok(report) => ok(&with_hints(report)),
        Err(error) => Err(order_failure(error)),
    }
}

/// Answers with what a policy would change.
///
/// **Errors**: why nobody can tell.
pub fn rehearsal(rehearsed: &Rehearsed) -> Result<Answer, Failure> {
    match rehearsed {
        Ok(rehearsal) => ok(rehearsal),
        Err(error) => Err(order_failure(error)),
    }
}

/// Returns what people are told when an order failed.
pub fn order_failure(error: &OrderError) -> Failure {
    match error {
        OrderError::Config(refusal) => Failure { code: Code::ConfigInvalid, ..Failure::of_refusal(refusal) }
            .hint("correct the file; the configuration in force stays until then"),
        OrderError::Locked(problem) => policy::locked(problem),
        OrderError::Lost(lost) => Failure { code: Code::StoreUnavailable, ..Failure::of_refusal(lost) }.hint(format!(
            "find out what became of it, and bring it back from a backup while no daemon runs; or accept what the last generation says, whatever was accepted before: {RESET}"
        )),
        OrderError::Moved { .. } => Failure::new(Code::SnapshotGone, "snapshot_gone", error.to_string())
            .hint("ask again without the cursor"),
        OrderError::NothingLost => {
            Failure::new(Code::RequestInvalid, "api.reset", "nothing of what was accepted so far is lost")
                .hint("resolverd trust state shows it; resolverd trust forget gives up a part of it")
        }
        OrderError::ClockNotBehind | OrderError::ClockNotSet => {
            Failure::new(Code::RequestInvalid, "api.reset", error.to_string())
                .hint("resolverd doctor says how the clock stands; set it, such as with: timedatectl set-ntp true")
        }
        OrderError::Store(text) => {
            Failure::new(Code::StoreUnavailable, "write", format!("cannot keep the result: {text}"))
        }
        OrderError::NoSuchSource(id) => {
            Failure::new(Code::RequestInvalid, "api.source", format!("no source is called {id}"))
                .with("source", id)
                .hint("resolverd sources lists them")
        }
        OrderError::NoSuchVersion(id, version) => {
            let detail = format!("nothing is remembered of {id}@{version} from a configured source");
            Failure::new(Code::RequestInvalid, "api.release", detail)
                .with("release", format!("{id}@{version}"))
                .hint(format!("resolverd versions {id} lists those there are"))
        }
        OrderError::NoSuchCatalogue(id) => {
            let detail = format!("no accepted revision of a catalogue {id} is remembered");
            Failure::new(Code::RequestInvalid, "api.catalogue", detail)
                .with("source", &id.source)
                .with("catalogue", &id.name)
                .hint("resolverd trust state lists what is remembered")
        }
    }
}

/// Answers with lines of the log of revisions, oldest first.
pub fn log_page(lines: &[LogLine]) -> Result<Answer, Failure> {
    ok(&json!({"items": lines}))
}

/// Returns the failure of a log that cannot be read.
pub fn log_unreadable(found: &str) -> Failure {
    Failure::new(Code::StoreUnavailable, "log", format!("cannot read the log of revisions: {found}"))
        .hint("look at the rights of the state directory")
}

/// A snapshot as the resolver sees it.
pub struct View<'a> {
    snapshot: &'a Snapshot,
    /// How many more misses of this question get suggestions: each costs a scan.
    suggestions: Cell<usize>,
}

/// How many misses of one question get suggestions.
const SUGGESTIONS_MAX: usize = 8;
/// How many ids of each kind are compared for the suggestions of one miss. A miss is answered on the thread that all
/// connections share, and an id costs about a microsecond.
const COMPARED_MAX: usize = 1_000;
/// How many suggestions a miss gets.
const NEAREST: usize = 5;

impl<'a> View<'a> {
    /// Returns the view of `snapshot` for one question.
    pub fn new(snapshot: &'a Snapshot) -> View<'a> {
        View { snapshot, suggestions: Cell::new(SUGGESTIONS_MAX) }
    }

    /// Returns the snapshot.
    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }
}

impl Candidates for View<'_> {
    fn standing(&self, id: &ComponentId) -> Standing<'_> {
        if let Some(component) = self.snapshot.component(id) {
            // The merge has already left out what a better-placed blocked namespace covers.
            return Standing::Known(component);
        }
        let blocked = self.snapshot.generation.blocked.iter().filter(|one| one.namespace.contains(id));
        blocked.min_by_key(|one| one.place).map_or(Standing::Unknown, Standing::Blocked)
    }

    fn nearest(&self, id: &ComponentId) -> Vec<ComponentId> {
        match self.suggestions.get().checked_sub(1) {
            Some(left) => {
                self.suggestions.set(left);
                nearest(self.snapshot.components(), id)
            }
            None => Vec::new(),
        }
    }

    fn all(&self) -> (&[Packed], &Graph) {
        (self.snapshot.components(), self.snapshot.graph())
    }
}

/// Looks among the ids before and behind the place where the wanted one would stand, among those of the same first segment,
/// and among all; compares a bounded number of each.
fn nearest(components: &[Packed], wanted: &ComponentId) -> Vec<ComponentId> {
    let text = wanted.as_text();
    let head = text.len() - wanted.path().len();
    let dialect = &text[..head];
    let family = wanted.path().find('/').map_or(text, |slash| &text[..=head + slash]);
    let place = |id: &str| components.partition_point(|one| one.id_text() < id);
    let around = |from: usize, to: usize| components.get(from..to.min(components.len())).unwrap_or_default();
    let (start, here) = (place(family), place(text));
    let relatives = around(start, start.saturating_add(COMPARED_MAX)).iter();
    let relatives = relatives.take_while(|one| one.id_text().starts_with(family));
    let neighbours = around(here.saturating_sub(COMPARED_MAX), here.saturating_add(COMPARED_MAX));
    let mut found = BTreeSet::new();
    for id in neighbours.iter().chain(relatives).chain(around(0, COMPARED_MAX)).map(Packed::id_text) {
        let mut distance = distance(id.as_bytes(), text.as_bytes(), far(text));
        if id.rsplit('/').next() == Some(wanted.name()) && id.starts_with(dialect) {
            distance = Some(distance.map_or(SAME_NAME, |distance| distance.min(SAME_NAME)));
        }
        if let Some(distance) = distance {
            found.insert((distance, id));
        }
        if found.len() > NEAREST {
            found.pop_last();
        }
    }
    found.into_iter().filter_map(|(_, id)| ComponentId::parse(id).ok()).collect()
}

/// What an equal last segment counts as: a component in another namespace.
const SAME_NAME: usize = 3;

/// Returns how many edits still count as resembling.
fn far(text: &str) -> usize {
    (text.len() / 5).clamp(2, 5)
}

/// Returns the edit distance, where it is at most `most`. Bytes: ids are ASCII. Ids share long starts and ends, which no
/// edit touches, and of the rest only the band counts in which at most `most` edits are possible.
fn distance(one: &[u8], other: &[u8], most: usize) -> Option<usize> {
    if one.len().abs_diff(other.len()) > most {
        return None;
    }
    let start = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[start..], &other[start..]);
    let end = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[..one.len() - end], &other[..other.len() - end]);
    let out = most + 1;
    let mut row: Vec<usize> = (0..=other.len()).map(|column| column.min(out)).collect();
    for (i, a) in one.iter().enumerate() {
        let (from, to) = (i.saturating_sub(most).min(other.len()), (i + out).min(other.len()));
        let mut corner = std::mem::replace(&mut row[from], if from == 0 { i + 1 } else { out });
        let mut least = row[from];
        for (j, b) in other.iter().enumerate().take(to).skip(from) {
            let edit = corner + usize::from(a != b);
            corner = row[j + 1];
            row[j + 1] = edit.min(row[j] + 1).min(corner + 1).min(out);
            least = least.min(row[j + 1]);
        }
        if least > most {
            return None;
        }
    }
    row.last().copied().filter(|distance| *distance <= most)
}

fn ok(body: &impl Serialize) -> Result<Answer, Failure> {
    status(200, body)
}

fn status(status: u16, body: &impl Serialize) -> Result<Answer, Failure> {
    Ok(Answer::Body(status, serde_json::to_vec(body).map_err(unwritten)?))
}

fn unwritten(error: serde_json::Error) -> Failure {
    Failure::new(Code::Internal, "api.answer", format!("cannot write the answer: {error}"))
}

/// Returns the generation that answers.
///
/// **Errors**: R010 while none is served.
pub fn served(snapshot: Option<&Snapshot>) -> Result<&Snapshot, Failure> {
    snapshot.ok_or_else(|| {
        Failure::new(Code::StoreUnavailable, "empty", "no generation is served yet: nothing has been synced")
            .hint("run resolverd sync, and look at resolverd status")
    })
}

/// Returns what is answered instead of everything while the newest generation is one of another version of the program.
pub(super) fn foreign(problems: &[Refusal]) -> Option<Failure> {
    let problem = problems.iter().find(|problem| is_of_another_format(&problem.reason))?;
    let failure = Failure::new(Code::StoreUnavailable, problem.reason.clone(), problem.to_string());
    let failure = failure.with("expected", &problem.expected).with("found", &problem.found);
    Some(failure.hint(ANOTHER_FORMAT))
}

fn ready(snapshot: Option<&Snapshot>, facts: &Facts) -> Result<Answer, Failure> {
    let degraded = degraded(snapshot, facts);
    let code = if snapshot.is_some() { 200 } else { 503 };
    status(code, &json!({"ready": snapshot.is_some(), "degraded": degraded}))
}

fn health(snapshot: Option<&Snapshot>, facts: &Facts) -> Result<Answer, Failure> {
    let degraded = degraded(snapshot, facts);
    let word = match (snapshot, degraded.is_empty()) {
        (None, _) => "unavailable",
        (Some(_), true) => "ok",
        (Some(_), false) => "degraded",
    };
    ok(&json!({
        "status": word,
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeSeconds": facts.uptime_s,
        "generation": snapshot.map(|snapshot| snapshot.generation.number),
        "snapshot": snapshot.map(|snapshot| &snapshot.generation.snapshot),
        "degraded": degraded,
        "nextChange": next_change_s(snapshot, facts).map(rfc3339),
        "configuration": facts.problem.as_deref(),
        "policy": facts.policies.short(snapshot.map(|snapshot| &snapshot.generation)),
    }))
}

/// Returns when something that is served changes by itself: a source expires, or a verdict of the policies is another one.
fn next_change_s(snapshot: Option<&Snapshot>, facts: &Facts) -> Option<i64> {
    let ruled = snapshot.and_then(|snapshot| snapshot.generation.policy.as_ref());
    let verdict_s = ruled.and_then(|ruled| ruled.next_change_s);
    let sources = snapshot.map_or(&[][..], |snapshot| &snapshot.generation.sources);
    sources.iter().filter_map(|state| expires_s(state, facts)).chain(verdict_s).min()
}

/// Returns when the source of `state` expires. What has expired in the snapshot does so no more, also in the moment in which the
/// times beside the snapshot are still those from before.
fn expires_s(state: &SourceState, facts: &Facts) -> Option<i64> {
    let due_s = facts.times.expires.get(&state.source.id)?;
    (state.health != Health::Expired).then_some(*due_s)
}

/// Returns what is not as it should be: sources and catalogues that are not fresh, and a broken configuration.
fn degraded(snapshot: Option<&Snapshot>, facts: &Facts) -> Vec<Value> {
    let mut out = Vec::new();
    if let Some(problem) = &facts.problem {
        out.push(json!({"what": "configuration", "reason": problem.reason, "text": problem.to_string()}));
    }
    if let Some(problem) = &facts.policies.problem {
        out.push(json!({"what": "policy", "reason": problem.reason, "text": problem.to_string()}));
    }
    let generation = snapshot.map(|snapshot| &snapshot.generation);
    let (sources, catalogues) = generation
        .map_or((&[][..], &[][..]), |generation| (&generation.sources[..], &generation.catalogues[..]));
    let entry = |what: &str, id: String, state: Health, trouble: Option<TroubleRow<'_>>| {
        json!({
            "what": what, "id": id, "state": state,
            "reason": trouble.as_ref().map(|trouble| trouble.refusal.reason.as_ref()),
            "text": trouble.as_ref().map(|trouble| trouble.refusal.to_string()),
            "hint": trouble.map(|trouble| trouble.hint),
        })
    };
    for one in sources.iter().filter(|one| one.health != Health::Fresh) {
        let id = &one.source.id;
        let trouble = trouble(one, catalogues);
        out.push(entry("source", id.to_string(), one.health, trouble));
    }
    for one in catalogues.iter().filter(|one| one.health != Health::Fresh) {
        if let Some(id) = catalogue_id(one) {
            let below = (!is_entry(one)).then_some(&id.name);
            let trouble = one.error.as_ref().map(|error| TroubleRow::of(error, &id.source, below));
            out.push(entry("catalogue", id.to_string(), one.health, trouble));
        }
    }
    out.extend(facts.times.problems.iter().map(|one| {
        let what = if one.reason.starts_with("store.") { "store" } else { "trust" };
        let mut row = json!({"what": what, "reason": one.reason, "text": one.to_string()});
        if let Some(hint) = remedy_of_store(&one.reason) {
            row["hint"] = json!(hint);
        }
        row
    }));
    out
}

fn stats(snapshot: Option<&Snapshot>, facts: &Facts) -> Result<Answer, Failure> {
    let generation = snapshot.map(|snapshot| &snapshot.generation);
    let sum = |count: fn(&CatalogueState) -> u64| -> u64 {
        generation.map_or(0, |generation| generation.catalogues.iter().map(count).sum())
    };
    ok(&json!({
        "generation": generation.map(|generation| generation.number),
        "components": snapshot.map_or(0, Snapshot::count),
        "releases": sum(|one| one.releases),
        "refused": sum(|one| one.refused),
        "skipped": sum(|one| one.skipped_count),
        "sources": generation.map_or(0, |generation| generation.sources.len()),
        "catalogues": generation.map_or(0, |generation| generation.catalogues.len()),
        "documents": generation.map_or(0, |generation| generation.documents.count),
        "requests": facts.requests,
        "failures": facts.failures,
        "panics": facts.panics,
        "uptimeSeconds": facts.uptime_s,
    }))
}

fn catalogue_id(state: &CatalogueState) -> Option<&CatalogueId> {
    match &state.errand.stage {
        Stage::Node(node) => Some(&node.id),
        Stage::Release => None,
    }
}

fn sources(snapshot: &Snapshot, facts: &Facts) -> Result<Answer, Failure> {
    let generation = &snapshot.generation;
    let row = |state| source_row(state, &generation.catalogues, facts);
    let items = generation.sources.iter().map(row).collect();
    ok(&Page { items, next_cursor: None, snapshot: &generation.snapshot })
}

fn source_row<'a>(state: &'a SourceState, catalogues: &'a [CatalogueState], facts: &Facts) -> NodeRow<'a> {
    let source = &state.source;
    let own: Vec<&'a CatalogueState> =
        catalogues.iter().filter(|one| catalogue_id(one).is_some_and(|id| id.source == source.id)).collect();
    let read = state.digest.is_some();
    let entry = own.iter().find(|one| is_entry(one));
    let claimed = source.signature.is_some() || entry.is_some_and(|one| one.signature.is_some());
    let is_checked = entry.is_some_and(|one| !one.signers.is_empty());
    let failed = own.iter().find_map(|one| failed_below(one)).filter(|_| state.error.is_none());
    NodeRow {
        id: &source.id,
        signers: &[],
        source: None,
        named: None,
        via: None,
        dialect: Some(source.dialect.name()),
        origin: Some(match source.entry {
            Location::Git { .. } => "git",
            Location::File { .. } => "file",
            Location::Https { .. } => "https",
        }),
        priority: Some(source.place.priority),
        owns: Some(&source.owns),
        offline: Some(source.offline),
        state: state.health,
        location: source.entry.to_string(),
        declared_in: source.declared_in.as_deref(),
        pin: PinRow { commit: source.entry.commit(), digests: &source.digests },
        commit: state.commit.as_ref(),
        digest: state.digest.as_ref(),
        age_seconds: facts.ages.seconds(&source.id),
        next_change: Some(expires_s(state, facts).map(rfc3339)),
        catalogues: Some(own.len()),
        releases: own.iter().map(|one| one.releases).sum(),
        refused: own.iter().map(|one| one.refused).sum(),
        skipped: own.iter().map(|one| one.skipped_count).sum(),
        skipped_entries: None,
        warnings: None,
        error: trouble(state, catalogues)
            .or_else(|| failed.map(|(name, error)| TroubleRow::of(error, &source.id, Some(name)))),
        failed: failed.map(|(name, _)| name),
        verdict: verdict_word(read, source.is_pinned(), state.error.as_ref()),
        signature: (claimed && !is_checked).then_some("unchecked"),
    }
}

fn catalogues(snapshot: &Snapshot, ages: &Ages) -> Result<Answer, Failure> {
    let generation = &snapshot.generation;
    let below = generation.catalogues.iter().filter(|one| !is_entry(one));
    let unpinned: BTreeSet<&CatalogueId> =
        below.filter(|one| !is_pinned(one)).filter_map(catalogue_id).collect();
    let row = |state| catalogue_row(state, &unpinned, ages);
    let items = generation.catalogues.iter().filter_map(row).collect();
    ok(&Page { items, next_cursor: None, snapshot: &generation.snapshot })
}

/// Returns the row of a catalogue, which is pinned where it and every list that leads to it are. The entry document is left out
/// of account for what lies below it, since the operator named it.
fn catalogue_row<'a>(
    state: &'a CatalogueState,
    unpinned: &BTreeSet<&CatalogueId>,
    ages: &Ages,
) -> Option<NodeRow<'a>> {
    let Stage::Node(node) = &state.errand.stage else { return None };
    let below = (!is_entry(state)).then_some(&node.id.name);
    let via = node.via.iter();
    let pinned = is_pinned(state) && via.clone().all(|id| !unpinned.contains(id));
    let commit = match &state.errand.want {
        catalogue_schema::pointer::Want::Blob(location) => location.commit(),
        _ => None,
    };
    Some(NodeRow {
        id: &node.id.name,
        signers: &state.signers,
        source: Some(&node.id.source),
        named: state.named.as_ref().filter(|named| **named != node.id.name),
        via: Some(via.map(ToString::to_string).collect()),
        dialect: None,
        origin: None,
        priority: None,
        owns: None,
        offline: None,
        state: state.health,
        location: state.errand.want.to_string(),
        declared_in: None,
        pin: PinRow { commit, digests: &state.errand.digests },
        commit: state.commit.as_ref(),
        digest: state.digest.as_ref(),
        age_seconds: ages.seconds(&node.id.source),
        next_change: None,
        catalogues: None,
        releases: state.releases,
        refused: state.refused,
        skipped: state.skipped_count,
        skipped_entries: Some(&state.skipped),
        warnings: Some(&state.warnings),
        error: state.error.as_ref().map(|error| TroubleRow::of(error, &node.id.source, below)),
        failed: None,
        verdict: verdict_word(state.digest.is_some(), pinned, state.error.as_ref()),
        signature: state
            .errand
            .signature
            .as_deref()
            .or(state.signature.as_ref())
            .filter(|_| state.signers.is_empty())
            .map(|_| "unchecked"),
    })
}

/// Tells whether a state is that of a source's entry document.
fn is_entry(state: &CatalogueState) -> bool {
    state.errand.node().is_some_and(|node| node.via.is_empty())
}

/// Returns name and error of a catalogue below a source's entry that could not be used.
fn failed_below(state: &CatalogueState) -> Option<(&SourceId, &Refusal)> {
    let id = catalogue_id(state).filter(|_| !is_entry(state))?;
    Some((&id.name, state.error.as_ref()?))
}

/// Returns why a source is not what it should be. Where it has expired, what its entry was refused for says what helps.
fn trouble<'a>(state: &'a SourceState, catalogues: &[CatalogueState]) -> Option<TroubleRow<'a>> {
    let (refusal, id) = (state.error.as_ref()?, &state.source.id);
    let is_own =
        |one: &&CatalogueState| is_entry(one) && catalogue_id(one).is_some_and(|own| own.source == *id);
    let last = catalogues.iter().find(is_own).and_then(|entry| entry.error.as_ref());
    let cause = last.filter(|_| refusal.reason == SOURCE_EXPIRED).unwrap_or(refusal);
    Some(TroubleRow { refusal, hint: remedy(&cause.reason, id, None) })
}

/// Tells whether something pins a list or catalogue.
fn is_pinned(state: &CatalogueState) -> bool {
    state.errand.want.is_pinned() || !state.errand.digests.is_empty()
}

fn verdict_word(read: bool, pinned: bool, error: Option<&Refusal>) -> Option<&'static str> {
    match (error.is_some_and(|error| error.reason.starts_with("trust.")), read, pinned) {
        (true, _, _) => Some("refused"),
        (false, false, _) => None,
        (false, true, true) => Some("pinned"),
        (false, true, false) => Some("unpinned"),
    }
}

/// Refuses a filter by a source that nobody has configured: an empty list would hide the slip.
fn is_configured(source: Option<&SourceId>, snapshot: &Snapshot) -> Result<(), Failure> {
    let configured = &snapshot.generation.sources;
    match source.filter(|source| configured.iter().all(|state| state.source.id != **source)) {
        Some(source) => Err(order_failure(&OrderError::NoSuchSource(source.clone()))),
        None => Ok(()),
    }
}

fn found_page(search: &Search, snapshot: &Snapshot) -> Result<Answer, Failure> {
    is_configured(search.source.as_ref(), snapshot)?;
    let generation = &snapshot.generation;
    let stale = stale(&generation.sources, &generation.catalogues);
    let hits = search.run(snapshot);
    let shown = hits.page.iter().map(|hit| Shown::of(hit.component)).collect::<Result<Vec<_>, _>>()?;
    let last = hits.page.iter().zip(&shown).next_back().filter(|_| hits.more);
    let rows = hits.page.iter().zip(&shown).map(|(hit, shown)| hit_row(hit, shown, search, &stale));
    ok(&HitPage {
        page: Page {
            items: rows.collect(),
            next_cursor: last.map(|(hit, shown)| cursor_behind(hit.rank, &shown.head.id)),
            snapshot: &generation.snapshot,
        },
        total: hits.total,
    })
}

fn hit_row<'a>(
    hit: &Hit<'_>,
    shown: &'a Shown,
    search: &'a Search,
    stale: &BTreeSet<SourceId>,
) -> HitRow<'a> {
    let row = shown.row();
    let matched = search.words.iter().zip(&hit.found);
    HitRow {
        id: row.id,
        version: row.latest,
        kind: row.kind,
        summary: row.summary,
        source: row.source,
        catalogue: row.catalogue,
        verdict: row.verdict,
        signature: row.signature,
        stale: stale.contains(row.source),
        shadowed: row.shadowed,
        matched: matched.map(|(word, place)| MatchRow { word, place: place.word() }).collect(),
    }
}

/// Answers with the lock of a solution.
fn locked(asked: &(Question, Wish), snapshot: &Snapshot, facts: &Facts) -> Result<Answer, Failure> {
    let (question, wish) = asked;
    let view = View::new(snapshot);
    let resolution = solution(question, &view, &facts.solving)?;
    let ground = lock::Ground { snapshot, warnings: &question.warnings, policies: &facts.policies.in_force };
    Ok(Answer::Body(200, lock::made(wish, &question.request, &resolution, &ground)?))
}

/// Explains, with what is remembered of documents: whoever asks this waits for a disk.
fn explained(asked: &Asked, snapshot: &Snapshot, facts: &Facts) -> Result<Answer, Failure> {
    let view = View::new(snapshot);
    let component = snapshot.component(&asked.reference.id).map(Packed::component).transpose()?;
    let problem = |found: &Conflict| conflict(found, &snapshot.generation).problem(None);
    let records = match &facts.records {
        Some(Records { documents, .. }) => {
            documents(&snapshot.generation).map_err(|found| records_unreadable(&found))?
        }
        None => Arc::default(),
    };
    let ground = Ground {
        snapshot,
        component: component.as_ref(),
        records: &records,
        policies: &facts.policies.in_force,
        read: &*facts.documents.0,
        ledger: facts.records.as_ref().and_then(|records| records.ledger.as_deref()),
    };
    ok(&explain(asked, ground, &view, problem))
}

fn records_unreadable(found: &str) -> Failure {
    let detail = format!("cannot read which documents the generation rests on: {found}");
    Failure::new(Code::StoreUnavailable, "documents", detail)
        .hint("resolverd sync reads all sources again; an older snapshot may be gone by now")
}

fn components(selection: &Selection, snapshot: &Snapshot) -> Result<Answer, Failure> {
    is_configured(selection.source.as_ref(), snapshot)?;
    let all = snapshot.components();
    let prefix = selection.prefix.as_deref().unwrap_or("");
    let from_prefix = all.partition_point(|one| one.id_text() < prefix);
    let is_before = |after: &ComponentId| all.partition_point(|one| one.id_text() <= after.as_text());
    let start = from_prefix.max(selection.after.as_ref().map_or(0, is_before));
    let of_source =
        |one: &Packed| selection.source.as_ref().is_none_or(|source| one.owner_texts().0 == source.as_text());
    let of_kind = |one: &Packed| {
        let kind = |kind: &str| one.shown().and_then(|shown| shown.kind()).as_deref() == Some(kind);
        selection.kind.as_deref().is_none_or(kind)
    };
    let of_category = |one: &Packed| {
        selection.category.as_deref().is_none_or(|wanted| category_of(one).as_deref() == Some(wanted))
    };
    let candidates = all.get(start..).unwrap_or_default().iter();
    let mut matching = candidates
        .take_while(|one| one.id_text().starts_with(prefix))
        .filter(|one| of_source(one) && of_kind(one) && of_category(one));
    let shown = matching.by_ref().take(selection.limit).map(Shown::of).collect::<Result<Vec<_>, _>>()?;
    let more = matching.next().is_some();
    let next_cursor = shown.last().filter(|_| more).map(|last| cursor_after(&last.head.id));
    let items = shown.iter().map(Shown::row).collect();
    ok(&Page { items, next_cursor, snapshot: &snapshot.generation.snapshot })
}

/// The category is carried, not interpreted: LCOD has none of its own.
fn category_of(component: &Packed) -> Option<String> {
    let extra = component.shown()?.extra().ok()?;
    extra.get("category")?.as_str().map(str::to_owned)
}

/// A component as lists show it: of its releases only the latest is read, or the newest where none may be used.
struct Shown {
    head: Head,
    latest: Option<Version>,
    versions: usize,
    kind: Option<String>,
    summary: Option<String>,
    verdict: &'static str,
    signature: Option<&'static str>,
}

impl Shown {
    fn of(component: &Packed) -> Result<Shown, PackedError> {
        let shown = component.shown();
        Ok(Shown {
            head: component.head()?,
            latest: component.latest().and_then(|latest| latest.version()),
            versions: component.count(),
            kind: shown.and_then(|shown| shown.kind()).map(Into::into),
            summary: shown.and_then(|shown| shown.summary()).map(Into::into),
            verdict: shown.map_or("refused", |shown| shown.verdict_word()),
            signature: shown.and_then(|shown| shown.unchecked()),
        })
    }

    fn row(&self) -> ComponentRow<'_> {
        ComponentRow {
            id: &self.head.id,
            latest: self.latest.as_ref(),
            versions: self.versions,
            kind: self.kind.as_deref(),
            summary: self.summary.as_deref(),
            source: &self.head.owner.source,
            catalogue: &self.head.owner.name,
            verdict: self.verdict,
            signature: self.signature,
            shadowed: ShadowRow::all(&self.head.shadowed),
        }
    }
}

/// A version as lists show it; its text is read only where it is refused.
struct Line {
    version: Version,
    is_yanked: bool,
    verdict: &'static str,
    signature: Option<&'static str>,
    refusal: Option<Refusal>,
    /// `None` where its documents have not been fetched.
    manifest: Option<Option<Digest>>,
}

impl Line {
    /// Returns the versions of a component, newest first.
    fn all(component: &Packed) -> Result<Vec<Line>, PackedError> {
        component.all().rev().filter_map(|listed| Line::of(&listed).transpose()).collect()
    }

    fn of(listed: &Listed<'_>) -> Result<Option<Line>, PackedError> {
        let Some(version) = listed.version() else { return Ok(None) };
        let refusal = match listed.is_refused() {
            true => listed.release()?.verdict.refusal().cloned(),
            false => None,
        };
        let manifest = if listed.is_unfetched() { None } else { Some(listed.manifest()?) };
        Ok(Some(Line {
            version,
            is_yanked: listed.is_yanked(),
            verdict: listed.verdict_word(),
            signature: listed.unchecked(),
            refusal,
            manifest,
        }))
    }

    fn row(&self) -> VersionRow<'_> {
        VersionRow {
            version: &self.version,
            yanked: self.is_yanked,
            prerelease: self.version.is_prerelease(),
            verdict: self.verdict,
            signature: self.signature,
            refusal: self.refusal.as_ref(),
            manifest: match &self.manifest {
                Some(manifest) => ManifestRow::Known(manifest.as_ref()),
                None => ManifestRow::Unfetched(UNFETCHED),
            },
        }
    }
}

fn known<'a>(id: &ComponentId, snapshot: &'a Snapshot) -> Result<&'a Packed, Failure> {
    if let Some(component) = snapshot.component(id) {
        return Ok(component);
    }
    let view = View::new(snapshot);
    let cause = match view.standing(id) {
        Standing::Blocked(blocked) => Cause::Blocked(blocked.clone()),
        _ => Cause::Unknown { nearest: view.nearest(id) },
    };
    let reference = Reference { id: id.clone(), requirement: VersionReq::any() };
    Err(conflict(&Conflict::of(&reference, cause), &snapshot.generation))
}

fn component(id: &ComponentId, snapshot: &Snapshot) -> Result<Answer, Failure> {
    let component = known(id, snapshot)?;
    #[derive(Serialize)]
    struct Body<'a> {
        snapshot: &'a Digest,
        #[serde(flatten)]
        row: ComponentRow<'a>,
        releases: Vec<VersionRow<'a>>,
    }
    let (shown, lines) = (Shown::of(component)?, Line::all(component)?);
    let releases = lines.iter().map(Line::row).collect();
    ok(&Body { snapshot: &snapshot.generation.snapshot, row: shown.row(), releases })
}

fn versions(id: &ComponentId, snapshot: &Snapshot) -> Result<Answer, Failure> {
    let lines = Line::all(known(id, snapshot)?)?;
    let items = lines.iter().map(Line::row).collect();
    ok(&Page { items, next_cursor: None, snapshot: &snapshot.generation.snapshot })
}

/// Finds the release that a path points to. An exact version is shown even where it may not be used: the row says why.
fn found<'a>(pointed: &Pointed, snapshot: &'a Snapshot) -> Result<Listed<'a>, Failure> {
    if let Some(longer) = pointed.longer.as_ref().filter(|longer| snapshot.component(longer).is_some()) {
        let detail = format!("this path is a version of {} and the id {longer}", pointed.reference.id);
        return Err(ambiguous(&detail, &[pointed.reference.id.clone(), longer.clone()]));
    }
    let component = known(&pointed.reference.id, snapshot)?;
    let requirement = &pointed.reference.requirement;
    if let Some(release) = requirement.named().and_then(|version| component.exact(&version)) {
        return Ok(release);
    }
    select(component, requirement, false)
        .map_err(|cause| Conflict::of(&pointed.reference, cause))
        .map_err(|found| conflict(&found, &snapshot.generation))
}

fn release(pointed: &Pointed, snapshot: &Snapshot) -> Result<Answer, Failure> {
    Ok(Answer::Body(200, encoded::body(&found(pointed, snapshot)?, snapshot)))
}

fn manifest(pointed: &Pointed, snapshot: &Snapshot) -> Result<Answer, Failure> {
    let release = found(pointed, snapshot)?;
    if let Some(digest) = release.manifest()? {
        return Ok(Answer::Document(digest));
    }
    let full = format!("{}@{}", pointed.reference.id, release.version_text());
    Err(match release.is_unfetched() {
        true => {
            let detail = format!("the documents of {full} have not been fetched");
            Failure::new(Code::SourceUnavailable, "manifest_unfetched", detail)
                .hint(format!("resolverd resolve --refresh {full} fetches them"))
        }
        false => {
            let detail = format!("{full} has no manifest of its own");
            Failure::new(Code::ComponentNotFound, "manifest_absent", detail)
                .hint("ask for the release without /manifest: its catalogue row says what is known")
        }
    })
}

/// What is in memory is what was confirmed at the start, so that only a mistake of this program leads here.
impl From<PackedError> for Failure {
    fn from(error: PackedError) -> Failure {
        unreadable(&error.to_string())
    }
}

fn unreadable(found: &str) -> Failure {
    Failure::new(Code::CacheCorrupted, "component_unreadable", found)
        .hint("restart the daemon; if that does not help, run resolverd doctor --repair")
}

/// Returns the failure of a manifest that the shelf no longer holds as it was accepted.
pub fn document_missing(digest: &Digest) -> Failure {
    let detail = format!("the document {digest} is not on the shelf, or its bytes no longer match");
    Failure::new(Code::CacheCorrupted, "document_missing", detail)
        .with("expected", digest)
        .hint("run resolverd sync: it fetches what is missing")
}

fn resolved(question: &Question, snapshot: &Snapshot, facts: &Facts) -> Result<Answer, Failure> {
    let view = View::new(snapshot);
    let resolution = solution(question, &view, &facts.solving)?;
    Ok(Answer::Body(200, solve::body(&resolution, question, snapshot, &[])?))
}

/// Searches for the answer to a question.
///
/// **Errors**: why there is none, as it is told; R011 for a source that nobody configured.
pub fn solution<'a>(
    question: &'a Question,
    view: &'a View<'_>,
    solving: &Solving,
) -> Result<Resolution<'a>, Failure> {
    let snapshot = view.snapshot();
    are_configured(question, snapshot)?;
    let found = solve::solved(question, view, solving);
    found.map_err(|found| conflict(&found, &snapshot.generation))
}

/// Refuses sources that nobody configured.
///
/// **Errors**: R011.
pub(super) fn are_configured(question: &Question, snapshot: &Snapshot) -> Result<(), Failure> {
    question.request.overlay.sources().try_for_each(|source| is_configured(Some(source), snapshot))
}

/// How many answers of how many bytes a lookup makes room for; more is made as it is needed.
const BATCH: usize = 100;
const ANSWER_BYTES: usize = 1024;

/// Answers references one by one: a release or a problem each.
fn lookup(references: &[Result<Reference, Failure>], snapshot: &Snapshot) -> Result<Answer, Failure> {
    let view = View::new(snapshot);
    let mut body = Vec::with_capacity(references.len().min(BATCH) * ANSWER_BYTES);
    body.push(b'[');
    for (place, reference) in references.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        match looked_up(reference, &view) {
            Ok(release) => encoded::write(&release.answer(), snapshot, &mut body),
            Err(failure) => serde_json::to_writer(&mut body, &failure.problem(None)).map_err(unwritten)?,
        }
    }
    body.push(b']');
    Ok(Answer::Body(200, body))
}

/// Returns the release that answers one reference of a lookup.
pub(super) fn looked_up<'v>(
    reference: &Result<Reference, Failure>,
    view: &'v View<'_>,
) -> Result<Listed<'v>, Failure> {
    let reference = reference.as_ref().map_err(Clone::clone)?;
    let cause = match view.standing(&reference.id) {
        Standing::Known(component) => match select(component, &reference.requirement, false) {
            Ok(release) => return Ok(release),
            Err(cause) => cause,
        },
        Standing::Blocked(blocked) => Cause::Blocked(blocked.clone()),
        Standing::Unknown => Cause::Unknown { nearest: view.nearest(&reference.id) },
    };
    Err(conflict(&Conflict::of(reference, cause), &view.snapshot().generation))
}

/// Answers what is answered by copying releases; `None` for every other question, and where there is something else to say.
pub fn at_once(query: &Query, snapshot: &Snapshot) -> Option<Vec<u8>> {
    match query {
        Query::Release(pointed) => {
            found_at_once(pointed, snapshot).map(|found| encoded::body(&found, snapshot))
        }
        Query::Lookup(references) => match lookup(references, snapshot) {
            Ok(Answer::Body(200, body)) => Some(body),
            _ => None,
        },
        _ => None,
    }
}

fn found_at_once<'a>(pointed: &Pointed, snapshot: &'a Snapshot) -> Option<Listed<'a>> {
    if pointed.longer.as_ref().is_some_and(|longer| snapshot.component(longer).is_some()) {
        return None;
    }
    let Reference { id, requirement } = &pointed.reference;
    let component = snapshot.component(id)?;
    let exact = requirement.named().and_then(|version| component.exact(&version));
    exact.or_else(|| select(component, requirement, false).ok())
}

/// Gives a conflict its code: the one place where the resolver's causes meet the table.
pub(super) fn conflict(conflict: &Conflict, generation: &Generation) -> Failure {
    let Conflict { reference, instead_of, cause } = conflict;
    let mut failure = match cause {
        Cause::Unknown { nearest } => unknown(&reference.id, nearest, generation),
        Cause::Blocked(blocked) => {
            let detail = format!(
                "{} belongs to {}, which waits for source {}: it, or a catalogue that it lists, has never been read",
                reference.id, blocked.namespace, blocked.source
            );
            Failure::new(Code::SourceUnavailable, "source_unread", detail)
                .with("source", &blocked.source)
                .with("namespace", &blocked.namespace)
                .hint(format!("resolverd sync {}", blocked.source))
        }
        Cause::NoVersion { available, yanked, prerelease } => {
            no_version(reference, available, yanked.as_ref(), prerelease.as_ref())
        }
        Cause::Refused { version, refusal } => refused(reference, version, refusal),
        Cause::Unreadable { found } => unreadable(found),
        Cause::Disjoint { requirements } => {
            let asked: Vec<String> = requirements.iter().map(ToString::to_string).collect();
            let detail = format!("no single version of {} meets {}", reference.id, asked.join(" and "));
            Failure::new(Code::VersionConflict, "requirements_disjoint", detail)
                .with("requirements", asked)
                .hint("ask for one range that all of them share")
        }
        Cause::Closed(closed) => solve::closed(&reference.id, closed),
        Cause::Host(version) => solve::host(&reference.id, version),
        Cause::Missing(absent) => solve::missing(absent, &unread(generation)),
        Cause::Circular(how) => solve::circular(how),
        Cause::SchemaTwice(twice) => solve::schema_twice(twice),
        Cause::SchemasUnmet(unmet) => solve::schemas_unmet(unmet),
        Cause::Unfetched { releases } => solve::unfetched(releases),
        Cause::Impossible(derivation) => impossible(derivation),
        Cause::Undecided(undecided) => solve::undecided(*undecided),
    };
    if let Some((asked, by)) = instead_of {
        let by = by.word();
        failure.detail.push_str(&format!("; the overlay's {by} puts {} in place of {asked}", reference.id));
    }
    failure.with("id", &reference.id).with("requirement", reference.requirement.to_string())
}

/// How many unread sources and catalogues a problem document names.
const UNREAD_MAX: usize = 5;

fn unknown(id: &ComponentId, nearest: &[ComponentId], generation: &Generation) -> Failure {
    let unread = unread(generation);
    let detail = match unread.is_empty() {
        true => format!("no source lists {id}"),
        false => format!("nothing that has been read lists {id}; never read: {}", unread.join(", ")),
    };
    let failure = Failure::new(Code::ComponentNotFound, "component_unknown", detail).with("nearest", nearest);
    let failure = if unread.is_empty() { failure } else { failure.with("unread", &unread) };
    if let Some(Holder { source, namespace, owns }) = generation.holder(id, |_| true) {
        let whose = match owns {
            true => format!("{source} owns {namespace}, and does not list it"),
            false => format!("its namespace is registered in {source}, which does not list it"),
        };
        let hint = format!("{whose}; resolverd sync {source} reads what it lists by now");
        return failure.with("registeredBy", source).hint(hint);
    }
    match nearest.first() {
        Some(first) => failure.hint(format!("did you mean {first}?")),
        None => {
            failure.hint("resolverd components lists what there is; resolverd sync reads the sources again")
        }
    }
}

/// Returns the sources, and below the sources that were read the catalogues, whose lists nobody knows: any id may be in them.
fn unread(generation: &Generation) -> Vec<String> {
    let sources = generation.sources.iter().filter(|state| state.health == Health::Unread);
    let catalogues = generation.catalogues.iter().filter(|state| state.health == Health::Unread);
    let below = catalogues
        .filter_map(|state| state.errand.node())
        .filter(|node| !node.via.is_empty())
        .map(|node| node.id.to_string());
    sources.map(|state| state.source.id.to_string()).chain(below).take(UNREAD_MAX).collect()
}

fn no_version(
    reference: &Reference,
    available: &[Version],
    yanked: Option<&Version>,
    prerelease: Option<&Version>,
) -> Failure {
    let names: Vec<String> = available.iter().map(ToString::to_string).collect();
    let mut detail = format!("no version of {} meets {}", reference.id, reference.requirement);
    let (reason, hint) = match (prerelease, yanked) {
        (Some(version), _) => {
            detail.push_str(&format!("; the prerelease {version} would"));
            ("only_prerelease", "ask with --prerelease, or name the prerelease".to_owned())
        }
        (None, Some(version)) => {
            detail.push_str(&format!("; {version} would, but its author has withdrawn it"));
            ("only_yanked", "ask for another range".to_owned())
        }
        (None, None) => {
            ("version_unknown", format!("resolverd versions {} lists every version", reference.id))
        }
    };
    Failure::new(Code::VersionNotFound, reason, detail)
        .with("available", names)
        .with("yanked", yanked)
        .with("prerelease", prerelease)
        .hint(hint)
}

fn refused(reference: &Reference, version: &Version, refusal: &Refusal) -> Failure {
    if refusal.reason == SOURCE_EXPIRED {
        let detail = format!("{} is unavailable: {refusal}", reference.id);
        let failure = Failure { detail, code: Code::SourceUnavailable, ..Failure::of_refusal(refusal) };
        return failure.with("source", &refusal.subject).hint(format!("resolverd sync {}", refusal.subject));
    }
    let mut failure = Failure::of_refusal(refusal);
    let release = format!("{}@{version}", reference.id);
    failure.detail = match refusal.subject == release {
        true => format!("{release} may not be used: {}", refusal.why()),
        false => format!("{release} may not be used: {refusal}"),
    };
    if let [known, other] = &refusal.sources[..] {
        return failure.with("version", version).with("source", other).hint(format!(
            "a registered namespace is one source's: the one that owns it in the sources file, else the one with the lowest priority that registers it; let {other} own it if {other} is meant rather than {known}; resolverd explain {} shows both",
            reference.id
        ));
    }
    let hint = match failure.code {
        _ if refusal.reason.starts_with("estream.") => {
            "its publisher, or whoever keeps the registry, has to correct it there"
        }
        Code::ChecksumMismatch => {
            "the bytes changed under their pin: the catalogue's owner has to publish a new pin"
        }
        Code::SourceUnavailable | Code::NetworkError => "resolverd sync reads the source again",
        _ if is_of_policy(&refusal.reason) => {
            "the trust policy refuses it; resolverd explain says which line would change that"
        }
        _ => "the catalogue's owner has to correct the document",
    };
    let every = format!("resolverd versions {} shows the verdict of every version", reference.id);
    failure.hint(format!("{hint}; {every}")).with("version", version)
}

/// Returns why nothing meets every requirement. Where a requirement leads to what is refused and to nothing else, that is told under
/// the code of the refusal, as if it had been asked for.
fn impossible(derivation: &Derivation) -> Failure {
    let failure = solve::impossible(derivation);
    let Some((id, release, refusal)) = derivation.refusal() else { return failure };
    let Ok(version) = Version::parse(&release.version) else { return failure };
    let blamed = refused(&Reference { id: id.clone(), requirement: VersionReq::any() }, &version, refusal);
    let mut context = failure.context;
    context.extend(blamed.context);
    context.remove("version");
    Failure { context, ..blamed }.with("release", format!("{id}@{version}"))
}

#[cfg(test)]
pub(crate) mod tests;
