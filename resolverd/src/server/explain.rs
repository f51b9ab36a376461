//! Explaining: the whole chain from source to bytes for one reference, every candidate that lost, and what to do next.
//!
//! A function of (snapshot, the list of its documents, question): no clock, no age. Which steps the policies took is computed again
//! from what the generation remembers, the documents on the shelf and the first-seen ledger, and left out where that does not
//! give the verdict that the snapshot has. A reference that has no answer is explained as well. Never decides anything itself:
//! which release is chosen is asked of the resolver.

use std::borrow::Cow;
use std::sync::Arc;

use catalogue_schema::dialect::Node;
use catalogue_schema::digest::Digest;
use catalogue_schema::direct::DIRECT_SOURCE;
use catalogue_schema::documents::Documents;
use catalogue_schema::generation::{CatalogueState, DocumentRecord, Generation, Health, Holder, SourceState};
use catalogue_schema::id::{CatalogueId, ComponentId, Dialect, Reference, SourceId};
use catalogue_schema::model::{Component, Level, Rank, Refusal, Release, Shadow, Verdict};
use catalogue_schema::packed::{Listed, Packed};
use catalogue_schema::pointer::{Location, Revision, Want};
use catalogue_schema::policy::{Direct, Mode, NamespaceRule};
use catalogue_schema::revision::RevisionKey;
use catalogue_schema::row::{IntegrityRow, TrustRow};
use catalogue_schema::seal::VERIFICATION;
use catalogue_schema::signature::Usage;
use catalogue_schema::version::Version;
use serde_json::Value;

use crate::api::discovery::{
    BlockedRow, CANDIDATES_MAX, CandidateRow, DEPENDENTS_MAX, DependentRow, Dependents, DocumentRow,
    Explained, ExplainedRelease, Fate, LoserRow, OriginRow, Outcome, ReferenceRow, StepRow,
};
use crate::api::{PinRow, is_out_of_order, repository_text};
use crate::resolve::{Candidates, Cause, Conflict, Native, Standing, native_for, select};
use crate::store::Snapshot;
use crate::trust::evidence::{Case as Evidence, Delegation, Proofs, Voucher, beside, missing_before, stated};
use crate::trust::memory::ROLLBACK;
use crate::trust::policy::decide::{DELEGATION_SCOPE, VERSION_MUTATED};
use crate::trust::policy::{InForce, Policies, judge};

mod likeness;

/// What is to be explained.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The reference.
    pub reference: Reference,
    /// What the caller implements itself.
    pub natives: Vec<Native>,
    /// Prereleases count as ordinary versions.
    pub prerelease: bool,
}

/// Returns what a release of a source was when it was first seen here, and when.
pub type LookUp = dyn Fn(&SourceId, &Release) -> Option<(Digest, i64)> + Send + Sync;

/// What an explanation rests on.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// What it holds under the id that is asked for.
    pub component: Option<&'a Component>,
    /// The documents that its generation rests on.
    pub records: &'a Documents,
    /// The trust policies in force.
    pub policies: &'a Policies,
    /// Reads a document from the shelf.
    pub read: &'a dyn Fn(&Digest) -> Option<Vec<u8>>,
    /// Looks up when a release was first seen, which the generation remembers of so many only.
    pub ledger: Option<&'a LookUp>,
}

impl std::fmt::Debug for Ground<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Ground of generation {}", self.snapshot.generation.number)
    }
}

/// Explains how a reference is answered; `problem` gives a conflict the document that a resolve would answer.
pub fn explain<'a>(
    asked: &'a Asked,
    ground: Ground<'a>,
    candidates: &'a impl Candidates,
    problem: impl Fn(&Conflict) -> Value,
) -> Explained<'a> {
    let Ground { snapshot, component, records, .. } = ground;
    let generation = &snapshot.generation;
    let id = &asked.reference.id;
    let case = Case::of(asked, component, candidates, generation);
    let Case { component, native, outcome, chosen, shown, owner, steps, .. } = &case;
    // Where the caller's native answers, nobody's entries are used.
    let used = component.filter(|_| native.is_none());
    let blocked = blocked(id, component.is_some(), generation);
    let problem = case.conflict(asked).map(|conflict| problem(&conflict));
    Explained {
        snapshot: &generation.snapshot,
        generation: generation.number,
        reference: ReferenceRow {
            id,
            requirement: asked.reference.requirement.to_string(),
            prerelease: asked.prerelease,
        },
        outcome: *outcome,
        chosen: chosen.map(|release| &release.version),
        native: native.map(native_text),
        why_source: used.map(|component| why_source(component, holder(component, ground))),
        why_version: used.map(|component| why_version(component, asked, *outcome)),
        source: owner.and_then(|source| origin(source, ground)),
        chain: steps.iter().filter_map(|state| step(state, steps, records)).collect(),
        release: shown.map(|release| explained(release, steps, *owner, ground)),
        candidates: component.map_or_else(Vec::new, |one| fates(one, asked, *chosen)),
        candidates_count: component.map_or(0, |one| one.releases.len()),
        shadowed: component.map_or_else(Vec::new, |one| losers(one, native.is_some(), ground)),
        required_by: dependents(id, snapshot),
        notes: notes(&case, generation).into_iter().chain(alike(id, native.is_some(), snapshot)).collect(),
        next: next(asked, &case, problem.as_ref()),
        blocked,
        problem,
    }
}

/// How a reference stands in a generation.
struct Case<'a> {
    /// The component that the id names.
    component: Option<&'a Component>,
    /// The caller's native that answers instead.
    native: Option<&'a Native>,
    outcome: Outcome,
    /// Why there is no answer.
    cause: Option<Cause>,
    /// The answer.
    chosen: Option<&'a Release>,
    /// The answer, else the newest that was refused.
    shown: Option<&'a Release>,
    /// The source that owns the id, or for which it waits.
    owner: Option<&'a SourceId>,
    /// The documents from the source's entry to the catalogue; of a blocked id those that were never read.
    steps: Vec<&'a CatalogueState>,
}

impl<'a> Case<'a> {
    fn of(
        asked: &'a Asked,
        component: Option<&'a Component>,
        candidates: &'a impl Candidates,
        generation: &'a Generation,
    ) -> Case<'a> {
        let reference = &asked.reference;
        let native = native_for(reference, &asked.natives);
        let (owner, choice) = match candidates.standing(&reference.id) {
            Standing::Known(packed) => {
                let choice = select(packed, &reference.requirement, asked.prerelease);
                let release = |listed: Listed<'_>| component?.releases.get(listed.at());
                let missing = || Cause::Unreadable { found: format!("{packed:?}") };
                let choice = choice.and_then(|listed| release(listed).ok_or_else(missing));
                (component.map(|component| &component.owner.source), choice)
            }
            Standing::Blocked(blocked) => (Some(&blocked.source), Err(Cause::Blocked(blocked.clone()))),
            Standing::Unknown => (None, Err(Cause::Unknown { nearest: candidates.nearest(&reference.id) })),
        };
        let outcome = outcome(native, &choice);
        let steps = match (component, owner, native) {
            (Some(component), _, None) => way(&component.owner, generation),
            (None, Some(source), None) => unread(source, generation),
            _ => Vec::new(),
        };
        let owner = owner.filter(|_| native.is_none());
        let (chosen, cause) = match choice {
            _ if native.is_some() => (None, None),
            Ok(release) => (Some(release), None),
            Err(cause) => (None, Some(cause)),
        };
        let shown = chosen.or_else(|| refused(component?, cause.as_ref()?));
        Case { component, native, outcome, cause, chosen, shown, owner, steps }
    }

    /// Returns the answer where only its catalogue's word for it is here.
    fn unfetched(&self) -> Option<&'a Release> {
        self.chosen.filter(|release| release.unfetched)
    }

    fn conflict(&self, asked: &Asked) -> Option<Conflict> {
        Some(Conflict::of(&asked.reference, self.cause.clone()?))
    }
}

fn outcome(native: Option<&Native>, choice: &Result<&Release, Cause>) -> Outcome {
    match (native, choice) {
        (Some(_), _) => Outcome::Native,
        (None, Ok(_)) => Outcome::Chosen,
        (None, Err(Cause::Refused { .. })) => Outcome::Refused,
        (None, Err(Cause::Blocked(_))) => Outcome::Blocked,
        (None, Err(Cause::Unknown { .. })) => Outcome::Unknown,
        // One reference alone leads to no other cause.
        (None, Err(_)) => Outcome::NoVersion,
    }
}

fn native_text(native: &Native) -> String {
    match native {
        Native::Prefix(prefix) => prefix.clone(),
        Native::Id(reference) => reference.to_string(),
        Native::Host(id, version) => format!("{id}@{version}"),
    }
}

/// Returns the release that a conflict names as refused.
fn refused<'a>(component: &'a Component, cause: &Cause) -> Option<&'a Release> {
    let Cause::Refused { version, .. } = cause else { return None };
    component.releases.iter().find(|release| release.version == *version)
}

/// Returns the states from the entry document of a catalogue's source down to the catalogue.
fn way<'a>(owner: &CatalogueId, generation: &'a Generation) -> Vec<&'a CatalogueState> {
    let named = |state: &&CatalogueState| state.errand.node().is_some_and(|node| node.id == *owner);
    let same: Vec<&CatalogueState> = generation.catalogues.iter().filter(named).collect();
    // A list may name a catalogue like the source itself; the one that lists releases is meant.
    let Some(end) = same.iter().find(|state| state.releases > 0).or(same.first()).copied() else {
        return Vec::new();
    };
    let Some(node) = end.errand.node() else { return Vec::new() };
    let above = node.via.iter().enumerate().filter_map(|(depth, id)| {
        generation
            .catalogues
            .iter()
            .find(|state| state.errand.node().is_some_and(|node| node.id == *id && node.via.len() == depth))
    });
    above.chain([end]).collect()
}

/// Returns the documents of a source that have never been read.
fn unread<'a>(source: &SourceId, generation: &'a Generation) -> Vec<&'a CatalogueState> {
    let of_source = |state: &&CatalogueState| {
        state.health == Health::Unread && state.errand.node().is_some_and(|node| node.id.source == *source)
    };
    generation.catalogues.iter().filter(of_source).collect()
}

fn place_of(source: &SourceId, generation: &Generation) -> Option<usize> {
    generation.sources.iter().position(|state| state.source.id == *source).map(|at| at + 1)
}

fn origin<'a>(id: &SourceId, ground: Ground<'a>) -> Option<OriginRow<'a>> {
    let generation = &ground.snapshot.generation;
    let place = place_of(id, generation)?;
    let SourceState { source, health, commit, digest, error } = generation.sources.get(place - 1)?;
    let entry = Want::Blob(source.entry.clone());
    Some(OriginRow {
        id: &source.id,
        place,
        of: generation.sources.len(),
        priority: source.place.priority,
        state: *health,
        offline: source.offline,
        location: source.entry.to_string(),
        url: ground.records.document(&entry).map(|record| record.url),
        pin: PinRow { commit: source.entry.commit(), digests: &source.digests },
        commit: commit.as_ref(),
        digest: digest.as_ref(),
        error: error.as_ref(),
    })
}

fn step<'a>(
    state: &'a CatalogueState,
    steps: &[&CatalogueState],
    records: &Documents,
) -> Option<StepRow<'a>> {
    let node = state.errand.node()?;
    let leads_on = steps.iter().any(|other| {
        other.errand.node().is_some_and(|other| other.via.get(node.via.len()) == Some(&node.id))
    });
    let role = match (node.via.is_empty(), leads_on) {
        (true, _) => "entry",
        (false, true) => "list",
        (false, false) => "catalogue",
    };
    let location = state.errand.want.location();
    let record = records.document(&state.errand.want);
    let record = record.filter(|record| Some(&record.digest) == state.digest.as_ref());
    Some(StepRow {
        role,
        id: node.id.to_string(),
        priority: node.rank.0.last().map(|place| place.priority),
        state: state.health,
        location: state.errand.want.to_string(),
        size: record.as_ref().map(|record| record.size),
        url: record.map(|record| record.url),
        pin: PinRow { commit: location.and_then(Location::commit), digests: &state.errand.digests },
        commit: state.commit.as_ref(),
        digest: state.digest.as_ref(),
        branch: location.and_then(branch),
        signature: match state.signers.is_empty() {
            true => claims(state).then_some("unchecked"),
            false => Some("checked"),
        },
        error: state.error.as_ref(),
    })
}

fn branch(location: &Location) -> Option<&str> {
    match location {
        Location::Git { revision: Revision::Ref(name), .. } => Some(name.as_text()),
        Location::Git { revision: Revision::Head, .. } => Some("HEAD"),
        _ => None,
    }
}

fn claims(state: &CatalogueState) -> bool {
    state.errand.signature.is_some() || state.signature.is_some()
}

fn explained<'a>(
    release: &'a Release,
    steps: &[&CatalogueState],
    owner: Option<&SourceId>,
    ground: Ground<'a>,
) -> ExplainedRelease<'a> {
    let Ground { snapshot, records, .. } = ground;
    let records = read_for(release, records);
    let mut documents: Vec<DocumentRow<'_>> = records.iter().map(document).collect();
    let direct =
        if owner.is_some_and(|owner| owner.as_text() == DIRECT_SOURCE) { ground.policies.all() } else { &[] };
    let failed =
        snapshot.generation.refusals.iter().filter(|one| Some(&one.refusal) == release.verdict.refusal());
    documents.extend(failed.map(|one| DocumentRow {
        location: one.want.to_string(),
        url: None,
        commit: None,
        blob: None,
        digest: None,
        size: None,
        refusal: Some(&one.refusal),
    }));
    ExplainedRelease {
        version: &release.version,
        kind: release.kind.as_deref(),
        summary: release.summary.as_deref(),
        repository: repository_text(release.origin.repository.as_ref()),
        commit: release.origin.commit.as_ref(),
        path: release.origin.path.as_ref(),
        dependencies: release.dependencies.texts().map(str::to_owned).collect(),
        implements: release.implements.iter().map(ToString::to_string).collect(),
        integrity: IntegrityRow::of(release),
        documents,
        trust: TrustRow::of(&release.verdict),
        // In other dialects anybody could write it.
        verification: release.extra.get(VERIFICATION).filter(|_| release.id.dialect() == Dialect::Estream),
        because: because(release, steps, &records, direct),
        why: owner.map_or_else(Vec::new, |owner| why(release, owner, steps, ground)),
        yanked: release.yanked,
        warnings: &release.warnings,
    }
}

/// Returns the steps by which the policies in force decided about a release, as they decided when it was judged: none where others
/// judged it, and none where its documents refused it before.
fn why(release: &Release, owner: &SourceId, steps: &[&CatalogueState], ground: Ground<'_>) -> Vec<String> {
    let generation = &ground.snapshot.generation;
    let Some(ruled) = generation.policy.as_ref().filter(|one| Some(&one.digest) == ground.policies.digest())
    else {
        return Vec::new();
    };
    let shelved = |want: &Want| (ground.read)(&ground.records.document(want)?.digest);
    let proofs = Proofs::default();
    let Some(mut voucher) = vouching(steps, owner, ruled.judged_s, &shelved, (&proofs, ground)) else {
        return Vec::new();
    };
    let looked = release.manifest.as_ref().and_then(|manifest| {
        let stated = release.extra.get("signature").and_then(|value| value.as_str().map(str::to_owned));
        let beside = || {
            let places = ground.records.all_with(manifest).map(|record| record.want.clone());
            places.filter_map(|want| shelved(&beside(&want)?)).next()
        };
        let bytes = stated.map(String::into_bytes).or_else(beside)?;
        let content = || (ground.read)(manifest).map(Cow::Owned);
        Some(proofs.look((ground.policies, owner), Usage::Package, (manifest, &content), &bytes))
    });
    voucher.rollback = release.verdict.refusal().filter(|refusal| is_of_catalogue(refusal, release)).cloned();
    let missing = missing_before(owner, &generation.sources, &generation.catalogues);
    let carriers = ruled.carried.get(&format!("{}@{}", release.id, release.version));
    let mut case = Evidence::of(release, owner, &voucher, looked.as_deref());
    case.pinned = match &release.verdict {
        Verdict::Trusted(leave) => leave.level() == Level::Pinned,
        // It would have been refused for that before anything that comes behind it.
        Verdict::Refused(refusal) => refusal.reason != UNPINNED,
    };
    case.missing = &missing;
    case.checked_s = ruled.checked.get(owner).copied();
    case.carriers = carriers.map_or(&[], Vec::as_slice);
    let looked_up = || {
        let look_up = ground.ledger.filter(|_| ground.policies.looks_back(&release.id))?;
        look_up(owner, release)
    };
    case.first_seen =
        ruled.seen.get(&format!("{}@{}", release.id, release.version)).cloned().or_else(looked_up);
    let facts = case.facts();
    let judgement = judge(ground.policies.all(), &facts, ruled.judged_s);
    match judgement.is_allowed() == release.verdict.refusal().is_none() {
        true => judgement.lines(),
        false => Vec::new(),
    }
}

/// Tells whether a release is refused because its catalogue goes back: nobody here knows what was accepted before.
fn is_of_catalogue(refusal: &Refusal, release: &Release) -> bool {
    [ROLLBACK, UNSIGNED, VERSION_MUTATED].contains(&refusal.reason.as_ref())
        && refusal.subject != format!("{}@{}", release.id, release.version)
}

/// Returns who vouches for the last of `steps`, which lead from a source's entry to a catalogue.
fn vouching(
    steps: &[&CatalogueState],
    owner: &SourceId,
    judged_s: i64,
    shelved: &dyn Fn(&Want) -> Option<Vec<u8>>,
    (proofs, ground): (&Proofs, Ground<'_>),
) -> Option<Voucher> {
    let policies = ground.policies;
    let sources = &ground.snapshot.generation.sources;
    let source = sources.iter().find(|state| state.source.id == *owner);
    let owns = source.map_or(&[][..], |state| &state.source.owns);
    let mut above: Option<Voucher> = None;
    for state in steps {
        let (node, digest) = (state.errand.node()?, state.digest.clone()?);
        let signature = || match stated(state.errand.signature.as_deref()) {
            Some(bytes) => Some(bytes.to_vec()),
            None => shelved(&beside(&state.errand.want)?),
        };
        let content = || (ground.read)(&digest).map(Cow::Owned);
        let counts = |one: &&Voucher| policies.catalogue(owner, &one.facts(None), judged_s).is_ok();
        let given = |by: &Voucher| Delegation::of(state.errand.signature.as_deref(), by, owns, policies);
        let delegation = above.as_ref().filter(counts).and_then(given).map(Arc::new);
        let looked = match (policies.asks_catalogue(owner).then(signature).flatten(), &delegation) {
            (Some(bytes), None) => {
                proofs.look((policies, owner), Usage::Catalogue, (&digest, &content), &bytes)
            }
            (Some(bytes), Some(given)) => {
                proofs.look_delegated((policies, owner), given, (&digest, &content), &bytes)
            }
            (None, _) => Arc::default(),
        };
        let (name, digest) = (node.id.name.clone(), digest.clone());
        let own = Voucher { name, digest, looked, delegation, rollback: None };
        let is_pinned = state.errand.want.is_pinned() || !state.errand.digests.is_empty();
        above = Some(Voucher::of(own, above.as_ref(), is_pinned));
    }
    above
}

/// The reason of a refusal: something on the way is not pinned.
const UNPINNED: &str = "trust.unpinned";
/// The reason of a refusal: nobody has signed it who must have.
const UNSIGNED: &str = "trust.unsigned";

fn document(record: &DocumentRecord) -> DocumentRow<'static> {
    DocumentRow {
        location: record.want.to_string(),
        url: Some(record.url.clone()),
        commit: record.commit.clone(),
        blob: record.blob.clone(),
        digest: Some(record.digest.clone()),
        size: Some(record.size),
        refusal: None,
    }
}

/// Returns the records of the documents that were read for a release. Equal bytes may lie in many places: of the records with
/// the digest of a file, the one whose path ends like the file's is meant, and of those the one at the release's commit.
fn read_for(release: &Release, records: &Documents) -> Vec<DocumentRecord> {
    let manifest = release.manifest.iter().map(|digest| (digest, None));
    let files = release.files.iter().filter_map(|file| Some((file.digest.as_ref()?, Some(&file.path))));
    let mut found: Vec<DocumentRecord> = Vec::new();
    for (digest, path) in manifest.chain(files) {
        let fits = |record: &DocumentRecord| {
            let text = record.want.to_string();
            let ends = path.is_none_or(|path| text.ends_with(path.as_text()));
            (!ends, release.origin.commit.is_some() && record.commit != release.origin.commit)
        };
        let best = records.all_with(digest).min_by_key(fits);
        // A manifest names its files and nobody has read them; bytes of the same digest elsewhere say nothing about them.
        let best = best.filter(|record| !fits(record).0);
        found.extend(best.filter(|record| !found.contains(record)));
    }
    found
}

/// Returns every reason why a release is not vouched for better than it is; `direct` are the policies where no catalogue lists it, so
/// that no rule for components covers it.
fn because(
    release: &Release,
    steps: &[&CatalogueState],
    records: &[DocumentRecord],
    direct: &[InForce],
) -> Vec<String> {
    let leave = match &release.verdict {
        // What is refused is the release itself, or something on the way to it.
        Verdict::Refused(refusal) => {
            let is_own = refusal.subject == format!("{}@{}", release.id, release.version);
            return vec![if is_own { refusal.why().to_string() } else { refusal.to_string() }];
        }
        Verdict::Trusted(leave) => leave,
    };
    let mut reasons = Vec::new();
    let open = steps.iter().filter_map(|state| Some((*state, state.errand.node()?)));
    for (state, node) in open.filter(|(_, node)| !node.via.is_empty()) {
        if !state.errand.want.is_pinned() && state.errand.digests.is_empty() {
            let above = node.via.last().map(ToString::to_string).unwrap_or_default();
            let how = match state.errand.want.location().and_then(branch) {
                Some(branch) => format!("through {branch}, without a commit or checksum"),
                None => "without a commit or checksum".to_owned(),
            };
            reasons.push(format!("unpinned: {above} points to {} {how}", node.id));
        }
    }
    if leave.level() == Level::Unpinned && reasons.is_empty() {
        let open = records.iter().filter(|record| !record.want.is_pinned());
        let open: Vec<String> = open.map(|record| record.want.to_string()).collect();
        reasons.push(match open.as_slice() {
            [] => "unpinned: not every document of the release has a commit or checksum".to_owned(),
            [one] => format!("unpinned: {one} has neither commit nor checksum"),
            all => {
                format!("unpinned: no commit pins {}, and not each of them has a checksum", all.join(" and "))
            }
        });
    }
    for state in steps.iter().filter(|state| claims(state) && state.signers.is_empty()) {
        if let Some(node) = state.errand.node() {
            reasons.push(format!(
                "unchecked: a signature is claimed for {}, and nobody has checked it",
                node.id
            ));
        }
    }
    if leave.has_unchecked_signature() && !steps.iter().any(|state| claims(state)) {
        reasons
            .push("unchecked: a signature is claimed for the release, and nobody has checked it".to_owned());
    }
    for InForce { path, policy, .. } in direct {
        let (word, mode) = (policy.defaults.direct.name(), policy.defaults.mode.name());
        reasons.push(match policy.defaults.direct {
            Direct::Allow => format!(
                "[defaults] direct = \"{word}\" of {} lets its commit be enough: nothing must be signed",
                path.display()
            ),
            Direct::Refuse => format!(
                "[defaults] direct = \"{word}\" of {} would refuse it, and mode = \"{mode}\" does not",
                path.display()
            ),
        });
    }
    if leave.rule().is_none() && direct.is_empty() {
        reasons.push("no trust policy is set: pins must hold, and nothing must be signed".to_owned());
    }
    reasons
}

/// Returns the source whose the name of a component is, where it lies in a registered namespace.
fn holder<'a>(component: &Component, ground: Ground<'a>) -> Option<Holder<'a>> {
    let may_supply = |source: &SourceId| ground.policies.excluding(&component.id, source).is_none();
    ground.snapshot.generation.holder(&component.id, may_supply)
}

/// Says whose the names of a registered namespace are.
fn whose(holder: &Holder<'_>) -> String {
    let Holder { source, namespace, owns } = holder;
    match owns {
        true => format!("{source} owns {namespace}"),
        false => format!("{namespace} is registered in {source}"),
    }
}

fn why_source(component: &Component, holder: Option<Holder<'_>>) -> String {
    let owner = &component.owner;
    match (component.shadowed.len(), holder) {
        (listed, Some(holder)) if *holder.source != owner.source => {
            let whose = whose(&holder);
            let others = if listed == 0 { "only".to_owned() } else { format!("first of {}", listed + 1) };
            return format!("{whose}, which does not list it; {others} {owner} lists it");
        }
        (1.., Some(holder)) => return whose(&holder),
        _ => {}
    }
    match component.shadowed.len() {
        0 => format!("only {} lists it", component.owner),
        1 => format!("{} is the best-placed of 2 catalogues that list it", component.owner),
        more => format!("{} is the best-placed of {} catalogues that list it", component.owner, more + 1),
    }
}

fn why_version(component: &Component, asked: &Asked, outcome: Outcome) -> String {
    let requirement = &asked.reference.requirement;
    let (all, fitting) =
        (component.releases.len(), component.releases.iter().filter(|one| fits(&one.version, asked)));
    let count = fitting.count();
    let fitting = match (requirement.is_any(), asked.prerelease) {
        (true, false) => format!("{count} stable (of {all})"),
        (true, true) => format!("{count}"),
        (false, _) => format!("{count} (of {all}) that meet {requirement}"),
    };
    match outcome {
        Outcome::Chosen => format!("the newest that may be used of {fitting}"),
        Outcome::Refused => format!("none may be used of {fitting}"),
        _ => format!("none can be chosen: {fitting}"),
    }
}

fn fits(version: &Version, asked: &Asked) -> bool {
    let requirement = &asked.reference.requirement;
    requirement.matches(version) || (asked.prerelease && requirement.matches_prerelease(version))
}

fn fates<'a>(component: &'a Component, asked: &Asked, chosen: Option<&Release>) -> Vec<CandidateRow<'a>> {
    let is_native = native_for(&asked.reference, &asked.natives).is_some();
    let row = |release: &'a Release| CandidateRow {
        version: &release.version,
        fate: if is_native { Fate::Hidden } else { fate(release, asked, chosen) },
        refusal: release.verdict.refusal(),
    };
    component.releases.iter().rev().take(CANDIDATES_MAX).map(row).collect()
}

fn fate(release: &Release, asked: &Asked, chosen: Option<&Release>) -> Fate {
    let version = &release.version;
    let would_fit = fits(version, asked) || asked.reference.requirement.matches_prerelease(version);
    match release {
        _ if chosen.is_some_and(|chosen| chosen.version == *version) => Fate::Chosen,
        _ if !would_fit => Fate::Outside,
        release if release.yanked => Fate::Yanked,
        _ if !fits(version, asked) => Fate::Prerelease,
        release if release.verdict.refusal().is_some() => Fate::Refused,
        _ => Fate::Lower,
    }
}

/// Returns the catalogues that list the component and are not used; where a native answers, its owner is the first of them.
fn losers<'a>(component: &'a Component, is_native: bool, ground: Ground<'a>) -> Vec<LoserRow<'a>> {
    let generation = &ground.snapshot.generation;
    let listed =
        |rule: &NamespaceRule| rule.sources.iter().map(SourceId::as_text).collect::<Vec<&str>>().join(", ");
    let hidden = is_native.then(|| LoserRow {
        source: &component.owner.source,
        catalogue: &component.owner.name,
        versions: component.releases.iter().map(|release| &release.version).collect(),
        place: place_of(&component.owner.source, generation),
        why: "the caller implements it itself".to_owned(),
    });
    let row = |shadow: &'a Shadow| LoserRow {
        source: &shadow.catalogue.source,
        catalogue: &shadow.catalogue.name,
        versions: shadow.versions.iter().collect(),
        place: place_of(&shadow.catalogue.source, generation),
        why: match ground.policies.excluding(&component.id, &shadow.catalogue.source) {
            Some(rule) => {
                format!("trust.source_not_allowed: rule {} lets only {} supply it", rule.name, listed(rule))
            }
            None => beside_right(&component.id, &shadow.catalogue, ground)
                .or_else(|| not_holder(component, &shadow.catalogue.source, ground))
                .unwrap_or_else(|| why_lost(&component.owner, &shadow.catalogue, generation)),
        },
    };
    hidden.into_iter().chain(component.shadowed.iter().map(row)).collect()
}

/// Says that a catalogue which another key may sign lists what its source does not own, where that is why it is not used.
fn beside_right(id: &ComponentId, catalogue: &CatalogueId, ground: Ground<'_>) -> Option<String> {
    let generation = &ground.snapshot.generation;
    let warned = |state: &CatalogueState| {
        let is_own = state.errand.node().is_some_and(|node| node.id == *catalogue);
        is_own && state.warnings.iter().any(|warning| warning.reason == DELEGATION_SCOPE)
    };
    let enforces = |one: &InForce| one.policy.rule(id).is_some_and(|rule| rule.mode == Mode::Enforce);
    let source = &generation.sources.iter().find(|state| state.source.id == catalogue.source)?.source;
    let is_beside = !source.owns.iter().any(|namespace| namespace.contains(id))
        && ground.policies.all().iter().any(enforces)
        && generation.catalogues.iter().any(warned);
    is_beside.then(|| {
        format!(
            "{DELEGATION_SCOPE}: another key may sign it for what {} owns, and this is beside it",
            source.id
        )
    })
}

/// Says whose the name is where another source does not count for that, wherever it is placed. Of those that register it the best-placed
/// counts.
fn not_holder(component: &Component, loser: &SourceId, ground: Ground<'_>) -> Option<String> {
    let holder = holder(component, ground)?;
    let is_another = *holder.source == component.owner.source && *loser != component.owner.source;
    let is_registered = || ground.snapshot.generation.is_registered(&component.id, loser);
    match (is_another, holder.owns) {
        (false, _) => None,
        (true, true) => Some(whose(&holder)),
        (true, false) if is_registered() => None,
        (true, false) => Some(format!("{}; {loser} does not register it", whose(&holder))),
    }
}

fn why_lost(owner: &CatalogueId, loser: &CatalogueId, generation: &Generation) -> String {
    let node = |id: &CatalogueId| way(id, generation).last().and_then(|state| state.errand.node());
    let (Some(best), Some(worse)) = (node(owner), node(loser)) else {
        return format!("{owner} stands before it");
    };
    let (Rank(ours), Rank(theirs)) = (&best.rank, &worse.rank);
    let differs = ours.iter().zip(theirs).position(|(one, other)| one != other);
    let Some((at, one, other)) = differs.and_then(|at| Some((at, ours.get(at)?, theirs.get(at)?))) else {
        return format!("{owner} stands above it in the same source");
    };
    let (what, name) = match at {
        0 => ("source", best.id.source.to_string()),
        _ => ("catalogue", step_name(best, at)),
    };
    if one.priority != other.priority {
        return format!("{what} {name} has priority {}, this one {}", one.priority, other.priority);
    }
    let place = if at == 0 { "the sources file" } else { "its list" };
    format!("{what} {name} stands before it in {place}; both have priority {}", one.priority)
}

/// Returns the name of the list or catalogue that has the place `at` in a node's rank.
fn step_name(node: &Node, at: usize) -> String {
    node.via.get(at).unwrap_or(&node.id).to_string()
}

fn dependents(id: &ComponentId, snapshot: &Snapshot) -> Dependents {
    let mut found = Dependents { count: 0, items: Vec::new() };
    let text = format!("\"{id}");
    for component in snapshot.components() {
        let Some((release, wanted)) = newest_that_requires(component, &text) else { continue };
        found.count += 1;
        if found.items.len() < DEPENDENTS_MAX
            && let (Ok(id), Some(version)) = (component.id(), release.version())
        {
            found.items.push(DependentRow { id, version, requirement: wanted.requirement.to_string() });
        }
    }
    found
}

/// Returns the newest release of a component that requires an id, and what it requires; `text` is the id behind a quote, as
/// dependencies are written. They are searched as they stand: every release of a snapshot is.
fn newest_that_requires<'a>(component: &'a Packed, text: &str) -> Option<(Listed<'a>, Reference)> {
    let mut before = "";
    for release in component.all().rev() {
        let dependencies = release.dependencies_text();
        // Most releases require what the one before them does.
        if dependencies == before {
            continue;
        }
        before = dependencies;
        let wanted = dependencies.match_indices(text).find_map(|(at, _)| {
            let written = dependencies.get(at + 1..)?.split('"').next()?;
            let behind = written.as_bytes().get(text.len() - 1);
            behind.is_none_or(|byte| *byte == b'@').then(|| Reference::parse(written).ok())?
        });
        if let Some(wanted) = wanted {
            return Some((release, wanted));
        }
    }
    None
}

fn blocked<'a>(id: &ComponentId, is_owned: bool, generation: &'a Generation) -> Vec<BlockedRow<'a>> {
    let holding = generation.blocked.iter().filter(|block| block.namespace.contains(id));
    let effect = match is_owned {
        true => "its owner is placed no worse than this source, and may answer",
        false => "nobody placed below this source may answer until it has been read",
    };
    holding.map(|block| BlockedRow { namespace: &block.namespace, source: &block.source, effect }).collect()
}

fn notes(case: &Case<'_>, generation: &Generation) -> Vec<String> {
    let mut notes = Vec::new();
    let nodes = || case.steps.iter().filter_map(|state| Some((*state, state.errand.node()?)));
    for (state, node) in nodes().filter(|(state, _)| state.health == Health::Stale) {
        let why = state.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        notes.push(format!("{} is stale: its last good document answers{why}", node.id));
    }
    for (state, node) in nodes() {
        if let (Some(branch), Some(commit)) = (state.errand.want.location().and_then(branch), &state.commit) {
            let what = format!("{} was read through {branch}, which named {commit}", node.id);
            notes.push(format!("{what}: a branch is not a pin"));
        }
    }
    let by_commit = case.steps.iter().any(|state| state.errand.want.is_pinned());
    if by_commit || case.shown.is_some_and(|release| release.origin.commit.is_some()) {
        notes.push("a pinned id proves content, not membership of a branch".to_owned());
    }
    if let Some(release) = case.unfetched() {
        let what = "its documents have not been fetched, so that only what its catalogue says of it is known";
        notes.push(format!("{id}@{}: {what}", release.version, id = release.id));
    }
    if case.outcome == Outcome::Blocked {
        notes.push("catalogues placed below may list it; what they list was left out".to_owned());
    }
    if case.outcome == Outcome::Unknown {
        for state in generation.sources.iter().filter(|state| state.health != Health::Fresh) {
            let what = match state.health {
                Health::Unread => "has never been read, so what it lists is not known",
                _ => "is not fresh, so what it lists today is not known",
            };
            notes.push(format!("source {} {what}", state.source.id));
        }
    }
    notes
}

/// Returns what could be taken for the component that answers.
fn alike(id: &ComponentId, is_native: bool, snapshot: &Snapshot) -> Vec<String> {
    let own = snapshot.component(id).filter(|_| !is_native);
    own.map_or_else(Vec::new, |own| likeness::notes(own, snapshot.components()))
}

/// Returns the command that helps on; none where nothing is wrong.
fn next(asked: &Asked, case: &Case<'_>, problem: Option<&Value>) -> Option<String> {
    let id = &asked.reference.id;
    let sync = || {
        let wrong = case.steps.iter().find(|state| state.health != Health::Fresh);
        let accept = wrong.and_then(|state| acceptance(state));
        accept.or_else(|| case.owner.map(|source| format!("resolverd sync {source}")))
    };
    let is = |field: &str, value: &str| problem.is_some_and(|problem| problem[field] == value);
    match case.outcome {
        Outcome::Native => None,
        Outcome::Chosen => match case.unfetched() {
            Some(release) => Some(format!("resolverd resolve --refresh {id}@{}", release.version)),
            None => case.steps.iter().any(|state| state.health != Health::Fresh).then(sync).flatten(),
        },
        Outcome::Blocked => sync(),
        Outcome::Unknown => Some(match problem.and_then(|problem| problem["nearest"][0].as_str()) {
            Some(nearest) => format!("resolverd explain {nearest}"),
            None => format!("resolverd search {}", id.name()),
        }),
        Outcome::NoVersion if is("reason", "only_prerelease") => {
            Some(format!("resolverd explain {} --prerelease", quoted(&asked.reference.to_string())))
        }
        Outcome::Refused if is("code", "R002") || is("code", "E012") => sync(),
        Outcome::NoVersion | Outcome::Refused => Some(format!("resolverd versions {id}")),
    }
}

/// Returns the command that accepts what was refused as going back: reading it again would refuse it again.
fn acceptance(state: &CatalogueState) -> Option<String> {
    let error = state.error.as_ref()?;
    let node = state.errand.node().filter(|_| is_out_of_order(&error.reason))?;
    Some(format!("resolverd trust forget {} --reason TEXT", RevisionKey::of(node)))
}

/// Returns a reference as a shell takes it. Requirements hold no single quote.
fn quoted(text: &str) -> String {
    match text.contains(['<', '>', '*', ' ', '~']) {
        true => format!("'{text}'"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
