//! One source, read as a tree of documents: entry, lists, catalogues, and the documents of their releases.
//!
//! A list or catalogue that cannot be had or is refused falls back, with everything below it, to what the last generation
//! knows, read again from the shelf; where the shelf is damaged, to the components of the last snapshot. A document of a
//! release that is missing or refused concerns that release only.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::mem::take;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use catalogue_schema::dialect::lcod::SKIPPED_MAX;
use catalogue_schema::dialect::{self, Errand, Finding, Node, Received, Stage, Unusable, Withdrawn};
use catalogue_schema::digest::{Algorithm, Digest, Hashed};
use catalogue_schema::documents::{Gathered, Recorded};
use catalogue_schema::error::ParseError;
use catalogue_schema::generation::{
    CatalogueState, DocumentRecord, Health, Missing, SKIPPED_NAMED_MAX, SourceState,
};
use catalogue_schema::id::{CatalogueId, ComponentId, SourceId};
use catalogue_schema::lexicon::Lexicon;
use catalogue_schema::model::{Rank, Refusal, Release, Skipped, Source, Trust, Verdict, Warning};
use catalogue_schema::pace;
use catalogue_schema::packed::{Listed, Packed};
use catalogue_schema::pointer::{CommitId, Location, Repository, Revision as RevisionOf, Want};
use catalogue_schema::revision::{ORDER_UNKNOWN, Revision, RevisionKey, SignedBy};
use catalogue_schema::seal::Checksums;

use crate::fetch::git::object_id;
use crate::fetch::limit::Budget;
use crate::fetch::object::Kind;
use crate::fetch::reach::Reach;
use crate::fetch::{Answer, Ask, FetchError};
use crate::merge::Contribution;
use crate::merge::listing::Listing;
use crate::shelf::Run;
use crate::store::memory::Memory;
use crate::sync::checksums::refuse_twice;
use crate::sync::reach::reach;
use crate::sync::scopes;
use crate::sync::turns::Turns;
use crate::sync::{Known, LOST, NodeKey, Scope, Sync, SyncError, Tally, is_lost, key};
use crate::trust::evidence::{Signatures, Voucher};
use crate::trust::memory::{Candidate, Standing, UnknownOrder, order_unknown, rollback, standing, unordered};
use crate::trust::verify::{Evidence, judge};

/// How many documents of releases are asked for at once: what is in memory besides the releases themselves.
pub(super) const WANTS_AT_ONCE: usize = 2048;

/// How many are read at once where all of them come from the shelf: so few that what was read of them, and then made of it, is
/// still at hand for the processor.
const SHELVED_AT_ONCE: usize = 64;
/// How much work it is to read the document of a release, roughly, in nanoseconds.
const DOCUMENT_NS: usize = 4_000;

/// How many bytes of documents of one catalogue wait in memory for the shelf.
const FRESH_BYTES_MAX: usize = 256 << 20;

/// What one source says.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) state: SourceState,
    pub(super) catalogues: Vec<CatalogueState>,
    pub(super) contributions: Vec<Contribution>,
    pub(super) documents: Gathered,
    pub(super) refusals: BTreeMap<Want, Refusal>,
    /// The catalogues that were taken from the last snapshot, without the documents that they rest on.
    pub(super) salvaged: BTreeSet<CatalogueId>,
    /// The revisions that were accepted and are not the newest in the memory yet.
    pub(super) accepted: Vec<(RevisionKey, Revision)>,
    /// Who signed what.
    pub(super) signatures: Signatures,
    /// How many releases its documents name, as they were counted before they were read.
    pub(super) named: u64,
}

impl Reading {
    /// Returns how many releases it lists.
    pub(super) fn listed(&self) -> u64 {
        let components = self.contributions.iter().flat_map(|listed| &listed.components);
        self.named.max(components.map(|component| component.count() as u64).sum())
    }
}

/// Where documents come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// From their origins; what is pinned and on the shelf already is not asked for again.
    Live,
    /// From the shelf alone, exactly as the last generation recorded them.
    Recorded,
}

/// Reads one source.
pub(super) struct Reader<'a> {
    pub(super) sync: &'a Sync<'a>,
    pub(super) known: &'a Known<'a>,
    pub(super) memory: &'a Memory,
    pub(super) source: &'a Source,
    tally: &'a Tally,
    turns: &'a Turns,
    budget: Budget,
    /// Which machines may be asked; grows by what local documents name.
    reach: RefCell<Reach>,
    /// What texts mean that its documents have in common.
    lexicon: RefCell<Lexicon>,
    pub(super) signatures: RefCell<Signatures>,
    seat: Seat<'a>,
    /// The components of which every document is fetched.
    wanted: Option<&'a BTreeSet<ComponentId>>,
    /// Nobody on another machine answers.
    is_at_hand: bool,
    /// Documents that several releases ask for.
    shared: RefCell<Shared>,
}

/// A node and everything below it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The node itself comes first.
    catalogues: Vec<CatalogueState>,
    contributions: Vec<Contribution>,
    documents: Gathered,
    pub(super) refusals: BTreeMap<Want, Refusal>,
    reached: BTreeSet<NodeKey>,
    /// A document of a release of the node may be another one the next time it is asked for.
    pub(super) open: bool,
    /// A document of a release could not be reached: the tree is not the whole truth.
    pub(super) incomplete: Option<Refusal>,
    /// The catalogues that were taken from the last snapshot.
    salvaged: BTreeSet<CatalogueId>,
    /// The revisions that were accepted and are not the newest in the memory yet.
    accepted: Vec<(RevisionKey, Revision)>,
}

/// A document that passed, and how it is remembered.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) content: Hashed,
    pub(super) received: Received,
    record: Record,
    /// It came from the shelf, which has read it whole, so that nothing has to be kept.
    is_kept: bool,
    /// It was handed out before, and is remembered already.
    is_repeated: bool,
}

impl Document {
    /// Tells whether no origin was asked for it.
    fn was_at_hand(answer: &Result<Document, Trouble>) -> bool {
        matches!(answer, Ok(Document { is_kept: true, .. } | Document { is_repeated: true, .. }))
    }

    fn kept(self) -> Document {
        Document { is_kept: true, ..self }
    }
}

/// How a document is remembered.
#[derive(Debug, Clone)]
enum Record {
    /// As the list of the last generation has it, at this place.
    Kept(u32),
    /// Anew.
    New(Box<DocumentRecord>),
}

/// A release as the last generation has it, and the record of its document.
struct Taken {
    release: Release,
    record: Record,
}

/// What was found about the signatures of a list or catalogue.
#[derive(Default)]
pub(super) struct Vouching {
    /// The document that holds them.
    pub(super) document: Option<Document>,
    /// What was asked for and is not there, and never will be.
    pub(super) absent: Option<(Want, Refusal)>,
    /// Another signature may lie there the next time.
    pub(super) is_open: bool,
    /// What is remembered of it.
    pub(super) signed: Option<SignedBy>,
    /// The labels of the keys that count.
    pub(super) signers: Vec<String>,
    /// It was signed by a key to which the entry that names it gives the right: what that entry claims was checked.
    pub(super) is_delegated: bool,
    /// Why it may not be used if it lists releases.
    pub(super) lacking: Option<Refusal>,
    /// What it is called where it may not list a release twice in other words, since somebody signed it.
    pub(super) strict: Option<String>,
    /// Who vouches for it once it is accepted.
    pub(super) voucher: Option<Voucher>,
}

/// What is to be remembered and said of a document that is in order.
struct Accepted {
    revision: Option<Revision>,
    warning: Option<Warning>,
}

/// Why a document is not there.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// It was reached, and is missing, wrong or refused.
    Refused(Refusal),
    /// Nobody could find out.
    Unreachable(Refusal),
}

impl Trouble {
    fn of(error: FetchError) -> Trouble {
        match error {
            FetchError::Missing(refusal) | FetchError::Refused(refusal) => Trouble::Refused(refusal),
            // One document that is too large spoils itself; a run that is out of documents, bytes or time spoils its node.
            FetchError::Limit(refusal) if refusal.reason.ends_with(PER_DOCUMENT) => Trouble::Refused(refusal),
            FetchError::Unreachable(refusal) | FetchError::Limit(refusal) => Trouble::Unreachable(refusal),
        }
    }

    fn refusal(self) -> Refusal {
        match self {
            Trouble::Refused(refusal) | Trouble::Unreachable(refusal) => refusal,
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        sync: &'a Sync<'a>,
        (known, memory): (&'a Known<'a>, &'a Memory),
        source: &'a Source,
        (tally, room, turns): (&'a Tally, &'a Room, &'a Turns),
        started: Instant,
    ) -> Reader<'a> {
        let (budget, lexicon) = (Budget::new(sync.limits, started).remembering_trees(), RefCell::default());
        let reach = RefCell::new(reach(&sync.rules.policies, source));
        let seat = Seat::in_room(room);
        let signatures = RefCell::default();
        let shared = RefCell::default();
        Reader {
            sync,
            known,
            memory,
            source,
            tally,
            turns,
            budget,
            reach,
            lexicon,
            signatures,
            seat,
            wanted: None,
            is_at_hand: false,
            shared,
        }
    }

    /// Reads as `scope` says: with every document of some components, however many their catalogues have, or only what is at hand.
    pub(super) fn within(self, scope: Scope<'a>) -> Reader<'a> {
        Reader { wanted: scope.wanted(), is_at_hand: matches!(scope, Scope::AtHand(_)), ..self }
    }

    /// Tells whether nothing may be fetched for the source.
    pub(super) fn is_offline(&self) -> bool {
        self.sync.offline || self.source.offline
    }

    /// Reads the source from its origins; where its releases do not fit into the room, how many it lists.
    ///
    /// **Errors**: the shelf cannot be read or written.
    pub(super) fn read(&self) -> Result<Result<Reading, u64>, SyncError> {
        let reading = self.reading(Mode::Live)?;
        Ok(if self.seat.is_crowded() { Err(reading.named) } else { Ok(reading) })
    }

    /// Refuses the source because of `error`: it keeps its last good entries.
    ///
    /// **Errors**: the shelf cannot be read.
    pub(super) fn refuse(&self, error: Refusal) -> Result<Reading, SyncError> {
        let entry = dialect::start(self.source, self.sync.forges);
        let tree = match entry.node() {
            None => Tree::default(),
            Some(node) => match self.last_good(node, None, &BTreeSet::new())? {
                Some(mut last) => {
                    last.mark(Health::Stale, error);
                    last
                }
                None => self.unread(&entry, node, Mode::Live, error),
            },
        };
        Ok(self.told(tree))
    }

    /// Reads the source as the last generation recorded it.
    ///
    /// **Errors**: the shelf cannot be read.
    pub(super) fn hold(&self) -> Result<Reading, SyncError> {
        self.reading(Mode::Recorded)
    }

    fn reading(&self, mode: Mode) -> Result<Reading, SyncError> {
        let entry = dialect::start(self.source, self.sync.forges);
        let mut tree = Tree::default();
        self.node(entry, mode, None, &mut tree)?;
        Ok(self.told(tree))
    }

    fn told(&self, tree: Tree) -> Reading {
        let root = tree.catalogues.first();
        let state = SourceState {
            source: self.source.clone(),
            health: root.map_or(Health::Unread, |root| root.health),
            commit: root.and_then(|root| root.commit.clone()),
            digest: root.and_then(|root| root.digest.clone()),
            error: root.and_then(|root| root.error.clone()),
        };
        let Tree { mut catalogues, contributions, documents, refusals, salvaged, accepted, .. } = tree;
        scopes::note(&mut catalogues, &contributions);
        let named = self.seat.listed.load(Ordering::Relaxed);
        let signatures = self.signatures.take();
        Reading {
            state,
            catalogues,
            contributions,
            documents,
            refusals,
            salvaged,
            accepted,
            signatures,
            named,
        }
    }

    /// Returns the errand by which the last generation read `node`, at the node's place of today.
    fn recorded(&self, node: &Node) -> Option<Errand> {
        let state = self.known.nodes.get(&key(node)).filter(|state| state.health != Health::Unread)?;
        Some(Errand { stage: Stage::Node(Box::new(node.clone())), ..state.errand.clone() })
    }

    /// Reads a node and what lies below it into `out`; falls back to the last good copy.
    fn node(
        &self,
        listed: Errand,
        mode: Mode,
        above: Option<&Trust>,
        out: &mut Tree,
    ) -> Result<(), SyncError> {
        let Some(node) = listed.node() else { return Ok(()) };
        // What a list says today and what was last accepted differ while a catalogue is stale; the record is what was accepted.
        let recorded = self.recorded(node).filter(|_| mode == Mode::Recorded);
        let errand = recorded.as_ref().unwrap_or(&listed);
        let (partial, error) = match self.tree(errand, node, mode, above, &out.reached)? {
            Ok(mut tree) => match tree.incomplete.take() {
                None => {
                    out.absorb(tree);
                    return Ok(());
                }
                Some(error) => (Some(tree), error),
            },
            Err(error) => (None, error),
        };
        // The whole source is left, and nothing of it is needed any more.
        if self.seat.is_crowded() {
            return Ok(());
        }
        let last = match mode {
            Mode::Live => self.last_good(node, above, &out.reached)?,
            Mode::Recorded => self.salvaged(node, &out.reached),
        };
        // Where nothing better is known, the ids are listed, and refused where their documents are missing.
        let Some(mut tree) = last.or(partial) else {
            out.absorb(self.unread(errand, node, mode, error));
            return Ok(());
        };
        tree.mark(Health::Stale, error);
        out.absorb(tree);
        Ok(())
    }

    /// Returns a node and what lies below it as the last generation knew them.
    fn last_good(
        &self,
        node: &Node,
        above: Option<&Trust>,
        reached: &BTreeSet<NodeKey>,
    ) -> Result<Option<Tree>, SyncError> {
        let Some(errand) = self.recorded(node) else { return Ok(None) };
        let recorded = self.tree(&errand, node, Mode::Recorded, above, reached)?;
        let (whole, partial) = match recorded {
            Ok(tree) if tree.incomplete.is_none() => (Some(tree), None),
            Ok(tree) => (None, Some(tree)),
            Err(_) => (None, None),
        };
        Ok(whole.or_else(|| self.salvaged(node, reached)).or(partial))
    }

    /// Returns a node and what lay below it as the last snapshot holds them, for when the shelf has lost their documents.
    fn salvaged(&self, node: &Node, reached: &BTreeSet<NodeKey>) -> Option<Tree> {
        let owned = self.known.owned.as_ref()?;
        let top = self.recorded(node)?;
        let depth = top.node()?.via.len();
        let is_below = |state: &CatalogueState| {
            let below =
                |found: &Node| found.via.get(depth) == Some(&node.id) && !reached.contains(&key(found));
            state.errand.node().is_some_and(below)
        };
        let mut states = vec![*self.known.nodes.get(&key(node))?];
        states.extend(self.known.nodes.values().filter(|state| is_below(state)));
        let mut tree = Tree { reached: reached.clone(), ..Tree::default() };
        for state in states {
            let mut errand = state.errand.clone();
            let Stage::Node(found) = &mut errand.stage else { continue };
            let own = found.rank.0.get(node.rank.0.len()..).unwrap_or_default();
            found.rank = Rank(node.rank.0.iter().chain(own).copied().collect());
            if state.releases > 0 {
                let texts = (found.id.source.as_text(), found.id.name.as_text());
                let components = owned.get(&texts).into_iter().flatten();
                let components = components.map(|component| component.with_shadows(&[]));
                tree.contributions.push(Contribution {
                    catalogue: found.id.clone(),
                    rank: found.rank.clone(),
                    components: components.collect::<Result<_, _>>().ok()?,
                });
            }
            // Nobody has looked at what these entries rest on.
            self.vouch(found, None);
            tree.reached.insert(key(found));
            tree.salvaged.insert(found.id.clone());
            tree.catalogues.push(CatalogueState { errand, ..state.clone() });
        }
        Some(tree)
    }

    /// Describes a node that has never been read.
    fn unread(&self, errand: &Errand, node: &Node, mode: Mode, error: Refusal) -> Tree {
        let remembered = self.known.nodes.get(&key(node)).filter(|_| mode == Mode::Recorded);
        let error = remembered.and_then(|state| state.error.clone()).unwrap_or(error);
        let mut state = CatalogueState { health: Health::Unread, error: Some(error), ..blank(errand) };
        let before = self.known.nodes.get(&key(node));
        if before.is_some_and(|before| before.health != Health::Unread || is_lost(before)) {
            let text = format!(
                "the entries of {} are lost, and with them which ids it owned: nobody placed below it answers until it is read again",
                node.id
            );
            state.warnings.push(Warning::new(LOST, text));
        }
        Tree { catalogues: vec![state], reached: BTreeSet::from([key(node)]), ..Tree::default() }
    }

    /// Reads a node and what lies below it, without falling back for the node itself.
    fn tree(
        &self,
        errand: &Errand,
        node: &Node,
        mode: Mode,
        above: Option<&Trust>,
        reached: &BTreeSet<NodeKey>,
    ) -> Result<Result<Tree, Refusal>, SyncError> {
        if let Err(refusal) = self.may_descend(errand, node, reached) {
            return Ok(Err(refusal));
        }
        let document = match self.obtain(std::slice::from_ref(errand), mode, above)?.pop() {
            Some(Ok(document)) => document,
            Some(Err(trouble)) => return Ok(Err(trouble.refusal())),
            None => return Ok(Err(Refusal::new("sync.no_answer", &errand.want, "a document", "nothing"))),
        };
        let vouching = match self.vouched((errand, node, mode), &document, above)? {
            Ok(vouching) => vouching,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let accepted = match self.in_order(errand, node, mode, &document.received, &vouching) {
            Ok(accepted) => accepted,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut finding = match self.read_document(errand, &document) {
            Ok(finding) => finding,
            Err(error) => return Ok(Err(Refusal::of(&errand.want, &error))),
        };
        if let Err(refusal) = vouching.permits(&finding) {
            return Ok(Err(refusal));
        }
        // What lies below a list is counted to its end, also where there is no room for it.
        if mode == Mode::Live && !self.seat.take(listed(&finding)) && !leads_on(&finding) {
            let left = self.seat.room.limit.load(Ordering::Relaxed);
            return Ok(Err(too_many(self.source, listed(&finding), (left, self.sync.limits.releases))));
        }
        let mut state = blank(errand);
        let digest = &document.received.digest;
        // Where nothing may be fetched nobody has looked either: what was stale or refused stays so.
        let is_held = |recorded: &&&CatalogueState| {
            mode == Mode::Recorded || self.is_offline() && recorded.digest.as_ref() == Some(digest)
        };
        if let Some(recorded) = self.known.nodes.get(&key(node)).filter(is_held) {
            (state.health, state.error) = (recorded.health, recorded.error.clone());
        }
        state.commit.clone_from(&document.received.commit);
        state.digest = Some(document.received.digest.clone());
        state.named = finding.named.take();

        let documents = Gathered::beside(&self.known.documents);
        let mut tree = Tree { reached: reached.clone(), documents, ..Tree::default() };
        tree.reached.insert(key(node));
        tree.accepted.extend(accepted.revision.map(|revision| (RevisionKey::of(node), revision)));
        finding.warnings.extend(accepted.warning);
        state.signature = finding.signature.take();
        let received = document.received.trust.clone();
        let received = if vouching.is_delegated { received.checked_below(above) } else { received };
        let trust = received.noting(state.signature.as_ref());
        let mut fresh = Vec::new();
        state.signers.clone_from(&vouching.signers);
        let signed = vouching.signed.clone();
        let is_settled_here = is_settled(errand) && !vouching.is_open;
        self.vouch(node, vouching.remembered(&mut tree, &mut fresh));
        tree.remember(document, &mut fresh);
        let mut of_releases = take(&mut finding.errands);
        // Most documents name either lists and catalogues or releases: moving very many errands takes its time.
        let children = match of_releases.iter().any(|child| child.node().is_some()) {
            true => of_releases.extract_if(.., |child| child.node().is_some()).collect(),
            false => Vec::new(),
        };
        let of_releases = self.eager(of_releases, node, mode, &trust, &mut finding);
        tree.open = !of_releases.iter().all(is_settled);
        let listing =
            self.releases(of_releases, (node, mode, &trust), &mut finding, &mut tree, &mut fresh)?;
        self.sync.shelf.keep(&fresh)?;
        self.package_signatures((errand, node, mode, &trust), &mut tree)?;

        state.settled = is_settled_here && !tree.open;
        let unusable = take(&mut finding.unusable);
        let withdrawn = take(&mut finding.withdrawn);
        let withdrawn_catalogues = take(&mut finding.withdrawn_catalogues);
        describe(&mut state, &listing, finding);
        let components = match listing.finish() {
            Ok(components) => components,
            Err(error) => {
                let expected = "components of at most 4 GiB each";
                return Ok(Err(Refusal::new("catalogue.unpackable", &errand.want, expected, error)));
            }
        };
        match self.removals((errand, node, mode), &state, signed.as_ref(), (&components, &withdrawn)) {
            Ok(warning) => state.warnings.extend(warning),
            Err(refusal) => return Ok(Err(refusal)),
        }
        tree.catalogues.push(state);
        if !components.is_empty() {
            let (catalogue, rank) = (node.id.clone(), node.rank.clone());
            tree.contributions.push(Contribution { catalogue, rank, components });
        }
        self.children(children, mode, &trust, &mut tree)?;
        for Unusable { node, error } in unusable {
            let listed = Errand { stage: Stage::Node(Box::new(node)), ..errand.clone() };
            self.unusable(listed, &error, mode, &trust, &mut tree)?;
        }
        let taken_back = (&withdrawn[..], &withdrawn_catalogues[..]);
        match self.dropped_below((errand, node, mode), &tree, taken_back) {
            Ok(missing) => {
                tree.catalogues.iter_mut().take(1).for_each(|own| self.note_missing(own, &missing))
            }
            Err(refusal) => return Ok(Err(refusal)),
        }
        Ok(Ok(tree))
    }

    /// Looks for the catalogues that a list leads to no more, behind everything that it leads to.
    ///
    /// **Errors**: why it may not be used, where a policy asks for that.
    fn dropped_below(
        &self,
        found: (&Errand, &Node, Mode),
        tree: &Tree,
        taken_back: (&[Withdrawn], &[SourceId]),
    ) -> Result<Vec<Missing>, Refusal> {
        let Some(own) = tree.catalogues.first() else { return Ok(Vec::new()) };
        let listed = tree.contributions.iter().flat_map(|one| &one.components);
        self.dropped(found, own, (&tree.reached, listed), taken_back)
    }

    /// Holds a list or catalogue to the revisions that were accepted before. What comes from the shelf as it was recorded, and
    /// what may not be fetched, is not judged again.
    fn in_order(
        &self,
        errand: &Errand,
        node: &Node,
        mode: Mode,
        received: &Received,
        vouching: &Vouching,
    ) -> Result<Accepted, Refusal> {
        let candidate = Candidate { commit: received.commit.as_ref(), digest: &received.digest };
        let warned = |is_unknown: bool| is_unknown.then(|| order_unknown(candidate));
        if mode == Mode::Recorded || self.is_offline() {
            let before = self.known.nodes.get(&key(node));
            let is_same = |state: &&&CatalogueState| {
                state.commit == received.commit && state.digest.as_ref() == Some(&received.digest)
            };
            let warnings = before.filter(is_same).map_or(&[][..], |state| &state.warnings);
            let is_unknown = warnings.iter().any(|warning| warning.reason == ORDER_UNKNOWN);
            return Ok(Accepted { revision: None, warning: warned(is_unknown) });
        }
        let memory_key = RevisionKey::of(node);
        let revision = |order_unknown: bool| {
            let (commit, digest) = (received.commit.clone(), received.digest.clone());
            let signed = vouching.signed.clone();
            Some(Revision { commit, digest, accepted_s: self.sync.now_s, order_unknown, signed })
        };
        let known = self.memory.known(&memory_key);
        match standing(known, candidate, |commit| self.history(errand, commit)) {
            Standing::First | Standing::Forward => Ok(Accepted { revision: revision(false), warning: None }),
            Standing::Newest(newest) => {
                let warning = warned(newest.order_unknown);
                let is_newly_signed = vouching.signed.is_some() && vouching.signed != newest.signed;
                let learnt = newest.commit.is_none() && received.commit.is_some() || is_newly_signed;
                let revision = learnt.then(|| revision(newest.order_unknown)).flatten();
                Ok(Accepted { revision, warning })
            }
            Standing::Back { newest, proof } => {
                Err(rollback(&errand.want, &memory_key, candidate, newest, proof))
            }
            Standing::Unknown(newest) => match self.sync.rules.unknown_order {
                UnknownOrder::Accept => Ok(Accepted { revision: revision(true), warning: warned(true) }),
                UnknownOrder::Refuse => Err(unordered(&errand.want, &memory_key, candidate, newest)),
            },
        }
    }

    /// Returns what the repository of an errand tells of a commit's ancestors; nothing where nobody can be asked.
    fn history(&self, errand: &Errand, commit: &CommitId) -> Option<Vec<u8>> {
        let Some(Location::Git { repository, .. }) = errand.want.location() else { return None };
        let want = Want::History {
            repository: repository.clone(),
            commit: commit.clone(),
            commits_max: self.sync.limits.history_commits,
        };
        let answers = self.fetch(&[Ask::from(&want)], &self.reaching(self.budget.for_git_objects()));
        match answers.into_iter().next() {
            Some(Ok(Answer::Fetched(fetched))) => Some(fetched.bytes),
            _ => None,
        }
    }

    /// Reads the nodes below a node, best place first: a catalogue that is reached twice is read at its better place.
    fn children(
        &self,
        mut children: Vec<Errand>,
        mode: Mode,
        trust: &Trust,
        tree: &mut Tree,
    ) -> Result<(), SyncError> {
        children.sort_by(|one, other| {
            one.node().map(|node| &node.rank).cmp(&other.node().map(|node| &node.rank))
        });
        for child in children {
            let Some(node) = child.node() else { continue };
            if tree.reached.contains(&key(node)) {
                let text =
                    format!("{} is listed again by {}; its better place counts", node.id, Via(&node.via));
                tree.catalogues[0].warnings.push(Warning::new("catalogue.listed_twice", text));
                continue;
            }
            self.node(child, mode, Some(trust), tree)?;
        }
        Ok(())
    }

    /// Deals with a node whose pointer cannot be used: it failed, whoever lists it, and keeps what it was.
    fn unusable(
        &self,
        listed: Errand,
        error: &ParseError,
        mode: Mode,
        trust: &Trust,
        tree: &mut Tree,
    ) -> Result<(), SyncError> {
        let Some(node) = listed.node().filter(|node| !tree.reached.contains(&key(node))) else {
            return Ok(());
        };
        let error = Refusal::of(format!("the pointer to {} in {}", node.id, listed.want), error);
        let last = match mode {
            Mode::Recorded if self.recorded(node).is_some() => {
                return self.node(listed, mode, Some(trust), tree);
            }
            Mode::Recorded => None,
            Mode::Live => self.last_good(node, Some(trust), &tree.reached)?,
        };
        let found = match last {
            Some(mut last) => {
                last.mark(Health::Stale, error);
                last
            }
            None => self.unread(&listed, node, mode, error),
        };
        tree.absorb(found);
        Ok(())
    }

    fn may_descend(&self, errand: &Errand, node: &Node, reached: &BTreeSet<NodeKey>) -> Result<(), Refusal> {
        let limits = self.sync.limits;
        if node.via.len() > limits.depth as usize {
            let expected = format!("at most {} lists above a catalogue (limits.depth)", limits.depth);
            return Err(Refusal::new("limit.depth", &errand.want, expected, node.via.len()));
        }
        if reached.len() >= limits.catalogues as usize {
            let expected =
                format!("at most {} lists and catalogues in a source (limits.catalogues)", limits.catalogues);
            return Err(Refusal::new("limit.catalogues", &errand.want, expected, "one more"));
        }
        Ok(())
    }

    /// Returns the errands that are run now; the releases of the others are listed without their documents.
    ///
    /// Documents that are fetched one by one over https wait beyond the first `limits.eager_max` of a catalogue, in the order
    /// in which it lists them, so that the same catalogue always has the same ones. Whatever is known stays known.
    fn eager(
        &self,
        errands: Vec<Errand>,
        node: &Node,
        mode: Mode,
        trust: &Trust,
        finding: &mut Finding,
    ) -> Vec<Errand> {
        if errands.iter().all(|errand| !matches!(errand.want, Want::Blob(Location::Https { .. }))) {
            return errands;
        }
        let before = self.known.nodes.get(&key(node));
        let had_unfetched =
            before.is_some_and(|state| state.warnings.iter().any(|one| one.reason == UNFETCHED));
        let (mut run, mut count, mut unfetched) = (Vec::with_capacity(errands.len()), 0u64, 0u64);
        for errand in errands {
            if !matches!(errand.want, Want::Blob(Location::Https { .. })) {
                run.push(errand);
                continue;
            }
            let is_shelved = content_pin(&errand).is_some_and(|digest| self.sync.shelf.contains(digest));
            let is_recorded =
                self.known.is_recorded(&errand.want) || self.known.refusals.contains_key(&errand.want);
            if is_recorded || !is_shelved {
                count = count.saturating_add(errand.documents());
            }
            let may_wait = match mode {
                Mode::Recorded => had_unfetched,
                // Which of so many were fetched before nobody knows without a record: all of them have to be at hand.
                Mode::Live => !self.is_at_hand && count > self.sync.limits.eager_max && !self.wants(&errand),
            };
            match dialect::defer(&errand, trust).filter(|_| may_wait && !is_shelved && !is_recorded) {
                Some(mut listed) => {
                    promised(&mut listed.releases, &errand);
                    unfetched += 1;
                    finding.releases.append(&mut listed.releases);
                }
                None => run.push(errand),
            }
        }
        if unfetched > 0 {
            let text = format!(
                "releases whose documents have not been fetched, since one catalogue may have {} of them (limits.eager_max): {unfetched}; resolverd resolve --refresh REF fetches those of one component",
                self.sync.limits.eager_max
            );
            finding.warnings.push(Warning::new(UNFETCHED, text));
        }
        run
    }

    /// Tells whether somebody asks for this document now, and it may be fetched.
    fn wants(&self, errand: &Errand) -> bool {
        let is_wanted = self.wanted.zip(errand.component()).is_some_and(|(ids, id)| ids.contains(id));
        is_wanted && !self.is_offline()
    }

    /// Obtains the documents of a node's releases, round by round, until every release is complete or refused.
    fn releases(
        &self,
        errands: Vec<Errand>,
        (node, mode, trust): (&Node, Mode, &Trust),
        finding: &mut Finding,
        tree: &mut Tree,
        fresh: &mut Vec<(Digest, Vec<u8>)>,
    ) -> Result<Listing, SyncError> {
        // What was not known when it was recorded is no gap in the record.
        let recorded = self.known.nodes.get(&key(node)).filter(|_| mode == Mode::Recorded);
        let was_unknown = recorded.is_some_and(|state| state.registers.is_none());
        let mut listing = Listing::of(node.id.clone());
        let mut checksums = Checksums::default();
        listing.add(take(&mut finding.releases));
        let mut errands = VecDeque::from(errands);
        // What is left of a component that cannot be taken over whole.
        let mut singly = VecDeque::new();
        // How many of the fresh documents are counted, and their bytes.
        let (mut counted, mut fresh_bytes) = (0, 0);
        let is_from_shelf = mode == Mode::Recorded || self.is_offline();
        let mut at_once = if is_from_shelf { SHELVED_AT_ONCE } else { WANTS_AT_ONCE };
        let (mut shelf, mut obtained) = (self.sync.shelf.run(), 0);
        while !(errands.is_empty() && singly.is_empty()) {
            let mut round: Vec<Errand> = Vec::with_capacity(at_once);
            while round.len() < at_once {
                let Some(errand) = singly.pop_front() else {
                    let Some(run) = next_run(&mut errands) else { break };
                    match self.taken_whole(&run, mode, node, trust) {
                        Some((component, records)) => {
                            self.want_signatures_of(component, &run);
                            listing.take_over(component);
                            records.iter().for_each(|record| tree.note(record));
                            pace::spent(run.len() * pace::RELEASE_NS);
                        }
                        None => singly = run.into(),
                    }
                    continue;
                };
                match self.taken_over(&errand, mode, node, trust) {
                    Some(Taken { release, record }) => {
                        self.want_signatures([&release], |_| Some(errand.want.clone()));
                        listing.add([release]);
                        tree.note(&record);
                    }
                    None => round.push(errand),
                }
            }
            obtained += round.len();
            if obtained > WANTS_AT_ONCE {
                shelf.renew();
                obtained = round.len();
            }
            let documents = self.obtain_by(&mut shelf, &round, mode, Some(trust))?;
            // Who asks an origin asks for many at once.
            let is_at_hand = is_from_shelf || documents.iter().all(Document::was_at_hand);
            at_once = if is_at_hand { SHELVED_AT_ONCE } else { WANTS_AT_ONCE };
            for (errand, document) in pace::each(&round, DOCUMENT_NS).zip(documents) {
                let mut found = match document {
                    Ok(document) => match self.read_document(errand, &document) {
                        Ok(mut found) => {
                            promised(&mut found.releases, errand);
                            based(&mut found, errand, &document, trust, &mut self.lexicon.borrow_mut());
                            tree.remember(document, fresh);
                            found
                        }
                        Err(error) => {
                            tree.remember(document, fresh);
                            dialect::refuse(errand, Refusal::of(&errand.want, &error))
                        }
                    },
                    Err(trouble) => {
                        let before = tree.incomplete.clone();
                        let found = tree.refuse(errand, trouble);
                        if found.gap.is_some() && was_unknown {
                            tree.incomplete = before;
                        }
                        found
                    }
                };
                if let Some(gap) = found.gap.take().filter(|_| !was_unknown) {
                    tree.incomplete.get_or_insert(gap);
                }
                if let Some(registers) = found.registers.take() {
                    finding.registers.get_or_insert_default().extend(registers);
                }
                let unsealed = self.unsealed(take(&mut found.sealed), tree);
                checksums.note(&unsealed);
                found.releases.extend(unsealed);
                tree.open |= !found.errands.iter().all(is_settled);
                errands.extend(found.errands.drain(..));
                self.want_signatures(&found.releases, |_| Some(errand.want.clone()));
                listing.add(take(&mut found.releases));
                // Each document may have some, and there may be very many documents.
                let room = SKIPPED_MAX.saturating_sub(finding.skipped.len());
                finding.skipped.extend(found.skipped.into_iter().take(room));
                finding.warnings.append(&mut found.warnings);
            }
            // Signatures take much more room than manifests: what passed need not wait in memory for the rest.
            let news = fresh.get(counted..).unwrap_or_default();
            fresh_bytes += news.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
            counted = fresh.len();
            if fresh_bytes > FRESH_BYTES_MAX {
                self.sync.shelf.keep(&take(fresh))?;
                (counted, fresh_bytes) = (0, 0);
            }
        }
        refuse_twice(checksums, &mut listing);
        Ok(listing)
    }

    /// Takes a component over as it is, where `run` names exactly its releases and each of them can be taken over.
    fn taken_whole(
        &self,
        run: &[Errand],
        mode: Mode,
        node: &Node,
        trust: &Trust,
    ) -> Option<(&'a Packed, Vec<Record>)> {
        let (id, _) = dialect::described(run.first()?)?;
        let component = self.known.component(&node.id, id)?;
        // The sync notes mutations anew.
        if component.count() != run.len() || component.all().any(|listed| listed.has_warnings()) {
            return None;
        }
        let (mut records, mut is_met) = (Vec::with_capacity(run.len()), vec![false; run.len()]);
        let recorded = self.known.documents.recorded(run.iter().map(|errand| &errand.want));
        for (errand, recorded) in run.iter().zip(recorded) {
            let (listed, record) = self.known_release((errand, recorded), component, mode, trust)?;
            // Errands that name one release twice leave out another.
            if std::mem::replace(is_met.get_mut(listed.at())?, true) {
                return None;
            }
            records.push(record);
        }
        Some((component, records))
    }

    /// Finds the release that an errand describes in the component of the last generation: the document is the one whose digest is
    /// promised, it is on the shelf, and whatever else makes the release is what it was then. `recorded` is what the last list says
    /// of the document.
    fn known_release<'p>(
        &self,
        (errand, recorded): (&Errand, Option<Recorded>),
        component: &'p Packed,
        mode: Mode,
        trust: &Trust,
    ) -> Option<(Listed<'p>, Record)> {
        let (_, version) = dialect::described(errand)?;
        let listed = component.exact(version)?;
        let digest = errand.digests.iter().find(|digest| digest.algorithm() == Algorithm::Sha256)?;
        let known = listed.basis()?;
        if dialect::basis(errand, digest, trust, &mut self.lexicon.borrow_mut())? != known
            || !self.sync.shelf.has_read(digest)
        {
            return None;
        }
        let record = match recorded {
            Some(known) if known.digest == *digest && self.answers(&known.digest, errand, mode) => {
                Record::Kept(known.at)
            }
            Some(_) => return None,
            None => Record::New(Box::new(self.record_elsewhere(errand, mode)?)),
        };
        Some((listed, record))
    }

    /// Takes a release over from the last generation instead of reading its document again.
    fn taken_over(&self, errand: &Errand, mode: Mode, node: &Node, trust: &Trust) -> Option<Taken> {
        let (id, _) = dialect::described(errand)?;
        let component = self.known.component(&node.id, id)?;
        let recorded = self.known.documents.recorded(std::iter::once(&errand.want)).pop().flatten();
        let (listed, record) = self.known_release((errand, recorded), component, mode, trust)?;
        // What cannot be read is read anew.
        let release = as_read(listed.release().ok()?);
        Some(Taken { release, record })
    }

    /// Tells whether the shelf may answer an errand with the document that is recorded with this digest.
    fn answers(&self, recorded: &Digest, errand: &Errand, mode: Mode) -> bool {
        let as_recorded = mode == Mode::Recorded || self.is_offline() || errand.want.is_pinned();
        as_recorded || content_pin(errand) == Some(recorded)
    }

    /// Returns the record of a document in Git as it stands at the commit of today, made from that of the same bytes.
    fn record_elsewhere(&self, errand: &Errand, mode: Mode) -> Option<DocumentRecord> {
        let (digest, repository, commit) = self.git_pin(errand).filter(|_| mode == Mode::Live)?;
        let known = self.known.by_digest(digest)?;
        let (size, fetched_s) = (known.size, self.sync.now_s);
        let PlaceInGit { url, blob } = place_in_git(repository, Some(known), None)?;
        let (want, digest) = (errand.want.clone(), digest.clone());
        let (commit, blob) = (Some(commit.clone()), Some(blob));
        Some(DocumentRecord { want, url, commit, blob, digest, size, etag: None, modified: None, fetched_s })
    }

    fn read_document(&self, errand: &Errand, document: &Document) -> Result<Finding, ParseError> {
        let (bytes, received) = (document.content.bytes(), &document.received);
        let found =
            dialect::read_with(errand, bytes, received, self.sync.forges, &mut self.lexicon.borrow_mut())?;
        if let Want::Blob(location) = &errand.want
            && matches!(location, Location::File { .. })
        {
            // Whoever writes a local file was let in by the operator; a local repository may be a copy of anybody's.
            let reach = self.reach.take();
            self.reach.replace(found.errands.iter().fold(reach, |reach, next| reach.noting(&next.want)));
        }
        Ok(found)
    }

    /// Asks origins, and lets other sources work while another machine is waited for. What lies here is work like any other.
    fn fetch(&self, asks: &[Ask<'_>], budget: &Budget) -> Vec<Result<Answer, FetchError>> {
        let ask = || self.sync.origins.fetch(asks, budget);
        match asks.iter().all(|ask| is_on_this_machine(ask.want)) {
            true => ask(),
            false => {
                let (answers, waited) = self.turns.lend(ask);
                // It was ready; others were at work.
                budget.give_time(waited);
                answers
            }
        }
    }

    fn reaching(&self, budget: Budget) -> Budget {
        budget.reaching(self.reach.borrow().clone())
    }

    /// Obtains documents. One that several errands share, in one call or in several, is asked for once, whatever comes of it.
    pub(super) fn obtain(
        &self,
        errands: &[Errand],
        mode: Mode,
        above: Option<&Trust>,
    ) -> Result<Vec<Result<Document, Trouble>>, SyncError> {
        self.obtain_by(&mut self.sync.shelf.run(), errands, mode, above)
    }

    /// Does what [`Reader::obtain`] does, and goes on with a run over the shelf.
    fn obtain_by(
        &self,
        shelf: &mut Run<'_>,
        errands: &[Errand],
        mode: Mode,
        above: Option<&Trust>,
    ) -> Result<Vec<Result<Document, Trouble>>, SyncError> {
        // Also where none is shared: what was shared in another mode is forgotten.
        self.shared.borrow_mut().begin(mode);
        if !errands.iter().any(dialect::is_shared) {
            return self.obtained(shelf, &errands.iter().collect::<Vec<_>>(), mode, above);
        }
        let mut shared = self.shared.borrow_mut();
        let (mut asked, mut first) = (Vec::with_capacity(errands.len()), HashSet::new());
        for errand in errands {
            let is_known = dialect::is_shared(errand)
                && (shared.documents.contains_key(&errand.want) || !first.insert(&errand.want));
            if !is_known {
                asked.push(errand);
            }
        }
        let mut answers = asked.iter().zip(self.obtained(shelf, &asked, mode, above)?).peekable();
        let mut all = Vec::with_capacity(errands.len());
        for errand in errands {
            match answers.next_if(|(next, _)| std::ptr::eq(**next, errand)) {
                Some((_, answer)) if dialect::is_shared(errand) => {
                    shared.note(&errand.want, &answer);
                    all.push(answer);
                }
                Some((_, answer)) => all.push(answer),
                None => all.push(shared.again(&errand.want)),
            }
        }
        Ok(all)
    }

    /// Obtains documents: from the shelf where that is enough, the rest in one call to the origins. Every byte is judged here.
    fn obtained(
        &self,
        shelf: &mut Run<'_>,
        errands: &[&Errand],
        mode: Mode,
        above: Option<&Trust>,
    ) -> Result<Vec<Result<Document, Trouble>>, SyncError> {
        let mut answers: Vec<Option<Result<Document, Trouble>>> = Vec::with_capacity(errands.len());
        let recorded = self.known.documents.recorded(errands.iter().map(|errand| &errand.want));
        for (errand, recorded) in pace::each(errands, pace::RELEASE_NS).zip(recorded) {
            answers.push(self.shelved(errand, recorded, (mode, above), shelf)?);
        }
        let open: Vec<usize> = (0..errands.len()).filter(|at| answers[*at].is_none()).collect();
        // What has to be smaller than the rest is asked for apart.
        type Caps = (bool, Option<(&'static str, u64)>);
        let mut by_cap: BTreeMap<Caps, Vec<usize>> = BTreeMap::new();
        for at in open {
            let caps = (errands[at].is_long(), dialect::bytes_max(errands[at]));
            by_cap.entry(caps).or_default().push(at);
        }
        for ((is_long, cap), open) in by_cap {
            let known =
                open.iter().map(|at| self.conditional(errands[*at])).collect::<Result<Vec<_>, _>>()?;
            let wants = open.iter().map(|at| &errands[*at].want).zip(&known);
            let asks: Vec<Ask<'_>> = wants.map(|(want, known)| Ask { want, known: known.as_ref() }).collect();
            let budget = match is_long {
                true => self.budget.for_catalogues(),
                false => self.budget.for_release_documents(),
            };
            let budget = cap.map_or(budget.clone(), |(reason, bytes_max)| budget.at_most(reason, bytes_max));
            self.tally.documents.fetch_add(asks.len() as u64, Ordering::Relaxed);
            let fetched = self.fetch(&asks, &self.reaching(budget));
            for (at, fetched) in open.into_iter().zip(fetched) {
                answers[at] = Some(self.received(errands[at], fetched, above)?);
            }
        }
        let answers = answers.into_iter().zip(errands);
        Ok(answers.map(|(answer, errand)| answer.unwrap_or_else(|| Err(lost(&errand.want)))).collect())
    }

    /// Answers an errand from the shelf, by what is recorded of it; `None` when its origin has to be asked.
    fn shelved(
        &self,
        errand: &Errand,
        recorded: Option<Recorded>,
        (mode, above): (Mode, Option<&Trust>),
        shelf: &mut Run<'_>,
    ) -> Result<Option<Result<Document, Trouble>>, SyncError> {
        let offline = self.is_offline();
        let as_recorded = mode == Mode::Recorded || offline || errand.want.is_pinned();
        let pin = content_pin(errand);
        let recorded = recorded.filter(|known| self.answers(&known.digest, errand, mode));
        if let Some(Recorded { at, digest, commit, blob }) = recorded {
            if let Some(content) = shelf.read(&digest)? {
                let found = judged(errand, content, (Record::Kept(at), commit, blob), above);
                return Ok(Some(found.map(Document::kept)));
            }
        } else if let Some(content) = pin.map(|digest| shelf.read(digest)).transpose()?.flatten() {
            let record = self.record(errand, &content, errand.want.to_string());
            return Ok(Some(admit(errand, content, record, above).map(Document::kept)));
        } else if mode == Mode::Live
            && let Some((digest, repository, commit)) = self.git_pin(errand)
            && let Some(content) = shelf.read(digest)?
            && let Some(place) = place_in_git(repository, self.known.by_digest(digest), Some(&content))
        {
            let record = DocumentRecord {
                commit: Some(commit.clone()),
                blob: Some(place.blob),
                ..self.record(errand, &content, place.url)
            };
            return Ok(Some(admit(errand, content, record, above).map(Document::kept)));
        }
        // What a pinned commit does not hold today it will never hold.
        let final_word = |refusal: &Refusal| {
            mode == Mode::Recorded || (errand.want.is_pinned() && refusal.reason == FILE_MISSING)
        };
        if as_recorded
            && let Some(refusal) = self.known.refusals.get(&errand.want).filter(|refusal| final_word(refusal))
        {
            let refusal = (*refusal).clone();
            return Ok(Some(Err(Trouble::Refused(refusal))));
        }
        if mode == Mode::Recorded {
            let refusal = Refusal::new("shelf.missing", &errand.want, "the document on the shelf", "nothing");
            return Ok(Some(Err(Trouble::Unreachable(refusal))));
        }
        if offline {
            let refusal = Refusal::new(
                "offline",
                &errand.want,
                "the document on the shelf",
                "nothing, and fetching is forbidden",
            );
            return Ok(Some(Err(Trouble::Unreachable(refusal))));
        }
        Ok(None)
    }

    /// Returns the digest by which the shelf may answer for a repository: the catalogue states the digest of what a pinned commit
    /// holds, and nobody has said that the commit does not hold it.
    fn git_pin<'e>(&self, errand: &'e Errand) -> Option<(&'e Digest, &'e Repository, &'e CommitId)> {
        let Want::Blob(Location::Git { repository, revision: RevisionOf::Commit(commit), .. }) = &errand.want
        else {
            return None;
        };
        let is_open = errand.stage == Stage::Release && !self.known.refusals.contains_key(&errand.want);
        let digest = errand.digests.iter().find(|digest| digest.algorithm() == Algorithm::Sha256)?;
        (is_open && commit.as_text().len() == SHA1_DIGITS).then_some((digest, repository, commit))
    }

    /// Returns the document that an origin need not send again. It hears of it only while the shelf still has its bytes.
    fn conditional(&self, errand: &Errand) -> Result<Option<DocumentRecord>, SyncError> {
        let known = self.known.document(&errand.want);
        let known = known.filter(|record| record.etag.is_some() || record.modified.is_some());
        match known {
            Some(record) if self.sync.shelf.read(&record.digest)?.is_some() => Ok(Some(record)),
            _ => Ok(None),
        }
    }

    fn received(
        &self,
        errand: &Errand,
        answer: Result<Answer, FetchError>,
        above: Option<&Trust>,
    ) -> Result<Result<Document, Trouble>, SyncError> {
        let fetched = match answer {
            Ok(Answer::Fetched(fetched)) => fetched,
            Ok(Answer::Unchanged) => return self.unchanged(errand, above),
            Err(error) => return Ok(Err(Trouble::of(error))),
        };
        let bytes = fetched.bytes.len() as u64;
        self.tally.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.budget.give_back(dialect::redundant_bytes(errand, bytes));
        let content = Hashed::of(fetched.bytes);
        let mut record = self.record(errand, &content, fetched.url);
        (record.commit, record.blob) = (fetched.commit, fetched.blob);
        (record.etag, record.modified) = (fetched.etag, fetched.modified);
        // An unchanged document keeps its record, so that an unchanged sync changes nothing.
        if let Some(known) = self.known.document(&errand.want) {
            let fetched_s = std::mem::replace(&mut record.fetched_s, known.fetched_s);
            record.fetched_s = if record == known { known.fetched_s } else { fetched_s };
        }
        Ok(admit(errand, content, record, above))
    }

    /// Takes the document that the origin says is still the one.
    fn unchanged(
        &self,
        errand: &Errand,
        above: Option<&Trust>,
    ) -> Result<Result<Document, Trouble>, SyncError> {
        if let Some(record) = self.known.document(&errand.want)
            && let Some(content) = self.sync.shelf.run().read(&record.digest)?
        {
            return Ok(admit(errand, content, record, above).map(Document::kept));
        }
        let expected = "a document, since none is known";
        let refusal = Refusal::new("net.unchanged", &errand.want, expected, "the word that nothing changed");
        Ok(Err(Trouble::Unreachable(refusal)))
    }

    fn record(&self, errand: &Errand, content: &Hashed, url: String) -> DocumentRecord {
        DocumentRecord {
            want: errand.want.clone(),
            url,
            commit: None,
            blob: None,
            digest: content.digest().clone(),
            size: content.bytes().len() as u64,
            etag: None,
            modified: None,
            fetched_s: self.sync.now_s,
        }
    }
}

fn lost(want: &Want) -> Trouble {
    Trouble::Unreachable(Refusal::new("sync.no_answer", want, "an answer from its origin", "none"))
}

/// How many bytes of documents that several releases ask for wait in memory for the next of them.
const SHARED_BYTES_MAX: usize = 64 << 20;
/// What one takes besides its bytes, about.
const SHARED_BYTES: usize = 1 << 10;

/// Documents that several releases of a source ask for, and what became of those that are not there.
#[derive(Debug, Default)]
struct Shared {
    /// How they were obtained.
    mode: Option<Mode>,
    documents: HashMap<Want, Result<Document, Trouble>>,
    bytes: usize,
}

impl Shared {
    /// Forgets what was obtained otherwise, and what has become too much.
    fn begin(&mut self, mode: Mode) {
        if self.mode != Some(mode) || self.bytes > SHARED_BYTES_MAX {
            *self = Shared { mode: Some(mode), ..Shared::default() };
        }
    }

    fn note(&mut self, want: &Want, answer: &Result<Document, Trouble>) {
        // What lies around it would stay in memory with it.
        let alone = |document: Document| Document {
            is_repeated: true,
            content: document.content.clone().alone(),
            ..document
        };
        let again = answer.clone().map(alone);
        self.bytes += SHARED_BYTES + again.as_ref().map_or(0, |document| document.content.bytes().len());
        self.documents.insert(want.clone(), again);
    }

    fn again(&self, want: &Want) -> Result<Document, Trouble> {
        self.documents.get(want).cloned().unwrap_or_else(|| Err(lost(want)))
    }
}

/// The reason of the warning on a catalogue some of whose releases wait for their documents.
pub(super) const UNFETCHED: &str = "catalogue.unfetched";

/// The reason of a document that a tree or directory does not hold.
pub(super) const FILE_MISSING: &str = "file_missing";

/// How the reason of a limit on one document of a release ends.
const PER_DOCUMENT: &str = "document_bytes";

/// How many releases sources that are read at the same time may list together.
#[derive(Debug)]
pub(super) struct Room {
    limit: AtomicU64,
    taken: AtomicU64,
}

impl Room {
    pub(super) fn new(limit: u64) -> Room {
        Room { limit: limit.into(), taken: AtomicU64::new(0) }
    }

    /// Makes it an empty room for `limit` releases.
    pub(super) fn clear(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
        self.taken.store(0, Ordering::Relaxed);
    }
}

/// Tells whether what is wanted lies in a file or repository of this machine.
fn is_on_this_machine(want: &Want) -> bool {
    match (want.location(), want) {
        (Some(Location::File { .. }), _) => true,
        (Some(Location::Git { repository, .. }), _)
        | (None, Want::Refs { repository, .. } | Want::History { repository, .. }) => {
            matches!(repository, Repository::Local(_))
        }
        (Some(Location::Https { .. }) | None, _) => false,
    }
}

/// What one source takes of a room; it is given back where it is not enough, so that others may have it.
#[derive(Debug)]
struct Seat<'a> {
    room: &'a Room,
    taken: AtomicU64,
    /// How many it asked for, whether there was room or not.
    listed: AtomicU64,
    is_crowded: AtomicBool,
}

impl<'a> Seat<'a> {
    fn in_room(room: &'a Room) -> Seat<'a> {
        Seat { room, taken: AtomicU64::new(0), listed: AtomicU64::new(0), is_crowded: AtomicBool::new(false) }
    }

    /// Takes room for `count` releases more; `false` where there is none left, from then on.
    fn take(&self, count: u64) -> bool {
        self.listed.fetch_add(count, Ordering::Relaxed);
        if self.is_crowded() {
            return false;
        }
        self.taken.fetch_add(count, Ordering::Relaxed);
        let before = self.room.taken.fetch_add(count, Ordering::Relaxed);
        if before.saturating_add(count) <= self.room.limit.load(Ordering::Relaxed) {
            return true;
        }
        self.room.taken.fetch_sub(self.taken.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        self.is_crowded.store(true, Ordering::Relaxed);
        false
    }

    fn is_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Relaxed)
    }
}

/// Returns how many releases a list or catalogue names itself, before their documents are read.
pub(super) fn listed(finding: &Finding) -> u64 {
    let begun = finding.errands.iter().filter(|errand| errand.node().is_none()).map(Errand::releases);
    begun.sum::<u64>() + finding.releases.len() as u64
}

/// Tells whether a document names lists and catalogues alone.
fn leads_on(finding: &Finding) -> bool {
    finding.releases.is_empty() && finding.errands.iter().all(|errand| errand.node().is_some())
}

/// Takes the next errands off the front that describe releases of one component; one errand where it describes none.
fn next_run(errands: &mut VecDeque<Errand>) -> Option<Vec<Errand>> {
    let first = errands.pop_front()?;
    let id = dialect::described(&first).map(|(id, _)| id.clone());
    let mut run = vec![first];
    while let Some(id) = &id
        && errands.front().and_then(dialect::described).is_some_and(|(next, _)| next == id)
    {
        run.extend(errands.pop_front());
    }
    Some(run)
}

/// Refuses a source that lists `count` releases, more than the `left` of `limit` that better-placed sources leave.
pub(super) fn too_many(source: &Source, count: u64, (left, limit): (u64, u64)) -> Refusal {
    let expected = format!("at most {limit} releases of all sources together (limits.releases)");
    let found = format!(
        "{count} in this source, and {left} left by better-placed ones; raise limits.releases, or leave a source out"
    );
    Refusal::new("limit.releases", &source.id, expected, found)
}

/// Judges bytes that are recorded anew.
fn admit(
    errand: &Errand,
    content: Hashed,
    record: DocumentRecord,
    above: Option<&Trust>,
) -> Result<Document, Trouble> {
    let (commit, blob) = (record.commit.clone(), record.blob.clone());
    judged(errand, content, (Record::New(Box::new(record)), commit, blob), above)
}

/// Judges bytes: the one door by which a document enters.
fn judged(
    errand: &Errand,
    content: Hashed,
    (record, commit, blob): (Record, Option<CommitId>, Option<CommitId>),
    above: Option<&Trust>,
) -> Result<Document, Trouble> {
    let evidence = Evidence {
        subject: &errand.want,
        digests: &errand.digests,
        size: errand.size,
        commit_pinned: errand.want.is_pinned(),
        signature: errand.signature.as_deref(),
        named_by: above,
    };
    match judge(&evidence, &content) {
        Verdict::Refused(refusal) => Err(Trouble::Refused(refusal)),
        Verdict::Trusted(trust) => {
            let (digest, size) = (content.digest().clone(), content.bytes().len() as u64);
            let received = Received { trust, digest, size, commit, blob };
            Ok(Document { content, received, record, is_kept: false, is_repeated: false })
        }
    }
}

/// What a repository says of a document beside its bytes.
struct PlaceInGit {
    url: String,
    blob: CommitId,
}

/// Returns what a repository would have said of a document beside its bytes, by a record of the same bytes or the bytes
/// themselves; `None` where neither tells it.
fn place_in_git(
    repository: &Repository,
    known: Option<DocumentRecord>,
    content: Option<&Hashed>,
) -> Option<PlaceInGit> {
    let known_blob = known.as_ref().and_then(|record| record.blob.clone());
    let blob = match known_blob.filter(|blob| blob.as_text().len() == SHA1_DIGITS) {
        Some(blob) => blob,
        None => object_id(Kind::Blob, content?.bytes())?.to_commit_id(),
    };
    let same_place = known.filter(|record| match &record.want {
        Want::Blob(Location::Git { repository: other, .. }) => other == repository,
        _ => false,
    });
    let url = same_place.map_or_else(|| repository.to_string(), |record| record.url);
    Some(PlaceInGit { url, blob })
}

/// Notes that the document which lists these releases states the digest of what they are.
fn promised(releases: &mut [Release], errand: &Errand) {
    releases.iter_mut().for_each(|release| release.promised |= !errand.digests.is_empty());
}

/// Notes what made the release of a document that was read, where a later sync may take it over.
fn based(found: &mut Finding, errand: &Errand, document: &Document, trust: &Trust, lexicon: &mut Lexicon) {
    let is_promised = errand.digests.contains(&document.received.digest);
    if let ([release], []) = (found.releases.as_mut_slice(), found.errands.as_slice())
        && is_promised
        && !dialect::tells_commit(errand, release)
    {
        release.basis = dialect::basis(errand, &document.received.digest, trust, lexicon);
    }
}

/// How many digits a SHA-1 id has; the ids of other repositories cannot be computed here.
const SHA1_DIGITS: usize = 40;

/// The digest by which the shelf may answer for an origin. Documents in Git are known by their commit first, see
/// [`Reader::git_pin`].
fn content_pin(errand: &Errand) -> Option<&Digest> {
    match &errand.want {
        Want::Blob(Location::Git { .. })
        | Want::Tree { .. }
        | Want::Directories { .. }
        | Want::Refs { .. }
        | Want::History { .. } => None,
        Want::Blob(_) => errand.digests.iter().find(|digest| digest.algorithm() == Algorithm::Sha256),
    }
}

/// Tells whether the document of an errand can never be another: a commit pins it, or a digest by which the shelf answers.
pub(super) fn is_settled(errand: &Errand) -> bool {
    errand.want.is_pinned() || content_pin(errand).is_some()
}

/// Takes away what the sync says anew: mutations, and what policies say.
fn as_read(mut release: Release) -> Release {
    let is_said_anew =
        |reason: &str| ["trust.", "sync.", "resolve."].iter().any(|family| reason.starts_with(family));
    release.warnings.retain(|warning| !is_said_anew(&warning.reason));
    if let Verdict::Trusted(leave) = release.verdict {
        release.verdict = Verdict::Trusted(leave.without_ruling());
    }
    release
}

fn blank(errand: &Errand) -> CatalogueState {
    CatalogueState {
        errand: errand.clone(),
        health: Health::Fresh,
        commit: None,
        digest: None,
        named: None,
        signature: None,
        signers: Vec::new(),
        settled: false,
        releases: 0,
        refused: 0,
        skipped_count: 0,
        skipped: Vec::new(),
        warnings: Vec::new(),
        missing: Vec::new(),
        registers: None,
        scopes: Vec::new(),
        error: None,
    }
}

fn describe(state: &mut CatalogueState, listing: &Listing, finding: Finding) {
    (state.releases, state.refused) = (listing.count(), listing.refused());
    state.skipped_count = finding.skipped.len() as u64;
    state.skipped = finding.skipped.into_iter().take(SKIPPED_NAMED_MAX).collect::<Vec<Skipped>>();
    state.warnings = finding.warnings;
    state.registers = finding.registers;
    if let Some(registers) = &mut state.registers {
        registers.sort_unstable();
        registers.dedup();
    }
}

impl Tree {
    fn absorb(&mut self, tree: Tree) {
        self.catalogues.extend(tree.catalogues);
        self.contributions.extend(tree.contributions);
        self.documents.append(tree.documents);
        self.refusals.extend(tree.refusals);
        self.reached.extend(tree.reached);
        self.salvaged.extend(tree.salvaged);
        self.accepted.extend(tree.accepted);
    }

    fn mark(&mut self, health: Health, error: Refusal) {
        if let Some(state) = self.catalogues.first_mut() {
            (state.health, state.error) = (health, Some(error));
        }
    }

    pub(super) fn remember(&mut self, document: Document, fresh: &mut Vec<(Digest, Vec<u8>)>) {
        if document.is_repeated {
            return;
        }
        self.note(&document.record);
        if !document.is_kept {
            fresh.push((document.received.digest, document.content.into_bytes()));
        }
    }

    fn note(&mut self, record: &Record) {
        match record {
            Record::Kept(at) => self.documents.add_kept(*at),
            Record::New(record) => self.documents.add(record),
        }
    }

    fn refuse(&mut self, errand: &Errand, trouble: Trouble) -> Finding {
        let refusal = match trouble {
            Trouble::Refused(refusal) => {
                self.refusals.insert(errand.want.clone(), refusal.clone());
                refusal
            }
            Trouble::Unreachable(refusal) => {
                self.incomplete.get_or_insert(refusal.clone());
                refusal
            }
        };
        dialect::refuse(errand, refusal)
    }
}

struct Via<'a>(&'a [CatalogueId]);

impl std::fmt::Display for Via<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.last() {
            Some(list) => write!(out, "{list}"),
            None => out.write_str("the source"),
        }
    }
}
