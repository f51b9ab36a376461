//! Whether a sync has nothing to do: all that it would read, and all that decides what it makes of it, is what it was.
//!
//! Never answers yes where a full run could say anything else than the last generation; where it cannot tell, the answer is
//! no, and the run tells. Fetches nothing and parses nothing.

use catalogue_schema::dialect;
use catalogue_schema::dialect::{estream, lcod};
use catalogue_schema::digest::Digest;
use catalogue_schema::documents::{DOCUMENTS_MAGIC, Documents};
use catalogue_schema::generation::{
    CatalogueState, DocumentRefusal, GENERATION_SCHEMA, Generation, Health, Missing, SourceState,
};
use catalogue_schema::model::Source;
use catalogue_schema::packed::FORMAT;
use catalogue_schema::revision::{ORDER_UNKNOWN, RevisionKey};
use serde_json::json;

use crate::merge::SNAPSHOT_MAGIC;
use crate::shelf::ShelfError;
use crate::store::memory::Memory;
use crate::store::{Snapshot, Store};
use crate::sync::reading::{FILE_MISSING, UNFETCHED};
use crate::sync::{Past, Scope, Sync};
use crate::trust::memory::{Candidate, Standing, UnknownOrder, standing};

impl Sync<'_> {
    /// Tells whether a run would say what `last` says:
    /// 1. it asks origins, and for nothing in particular;
    /// 2. program, forges, limits and rules are those with which every source was read from its origin;
    /// 3. the sources are the same, in the same order, each pinned and in order;
    /// 4. each catalogue is in order, is what the memory says is the newest, has all its documents, and rests on nothing
    ///    that could be another when it is asked for again;
    /// 5. nothing that was refused would be asked for again;
    /// 6. no verdict of the policies is another one by now;
    /// 7. it is not from a future that an operator has taken back;
    /// 8. the shelf holds every document, byte for byte.
    ///
    /// **Errors**: the shelf cannot be read.
    pub(super) fn has_nothing_to_do(
        &self,
        last: &Snapshot,
        documents: &Documents,
        store: &Store,
        sources: &[Source],
        scope: Scope<'_>,
    ) -> Result<bool, ShelfError> {
        let generation = &last.generation;
        let (states, catalogues) = (&generation.sources, &generation.catalogues);
        let is_same = !self.offline
            && matches!(scope, Scope::All | Scope::Named(_))
            && *store.settings(generation) == self.settings()
            && states.len() == sources.len()
            && states.iter().zip(sources).all(|(state, source)| self.stands(state, source, catalogues))
            && catalogues.iter().all(|state| is_newest(state, store.memory()))
            && catalogues.iter().map(|state| state.releases).sum::<u64>() <= self.limits.releases
            && generation.refusals.iter().all(is_final)
            && !self.has_verdict_due(generation)
            && generation.committed_s <= self.now_s;
        Ok(is_same && self.shelf.confirm(documents.digests())?)
    }

    /// Tells whether a verdict of the policies changes by now.
    fn has_verdict_due(&self, last: &Generation) -> bool {
        let next_change_s = last.policy.as_ref().and_then(|ruled| ruled.next_change_s);
        next_change_s.is_some_and(|at_s| at_s <= self.now_s)
    }

    /// Tells whether a source is the one that was read, and can only be read as it was.
    fn stands(&self, state: &SourceState, source: &Source, catalogues: &[CatalogueState]) -> bool {
        let start = dialect::start(source, self.forges);
        state.source == *source
            && state.health == Health::Fresh
            && state.error.is_none()
            && source.is_pinned()
            && !source.offline
            // A source that was held while others were read may have been configured anew.
            && catalogues.iter().any(|catalogue| catalogue.errand == start)
    }

    /// Returns the digest over everything besides sources and documents that decides what a run makes of them.
    fn settings(&self) -> Digest {
        let unknown_order = match self.rules.unknown_order {
            UnknownOrder::Accept => "accept",
            UnknownOrder::Refuse => "refuse",
        };
        let settings = json!({
            "program": env!("CARGO_PKG_VERSION"),
            "generation": GENERATION_SCHEMA,
            "documents": DOCUMENTS_MAGIC,
            "blocks": FORMAT,
            "snapshot": SNAPSHOT_MAGIC,
            "reader": [lcod::READER_REVISION, estream::READER_REVISION],
            "forges": format!("{:?}", self.forges),
            "limits": self.limits,
            "unknownOrder": unknown_order,
            "maxStaleS": self.rules.max_stale_s,
            "policy": self.rules.policies.digest(),
        });
        Digest::sha256(settings.to_string().as_bytes())
    }

    /// Returns the settings of the generation that a run makes: those of today only where every source was read with them.
    pub(super) fn settings_after(&self, past: Past<'_>, store: &Store, scope: Scope<'_>) -> Digest {
        if !self.offline && matches!(scope, Scope::All | Scope::Wanting(_)) {
            return self.settings();
        }
        // A part that is read with other settings than the rest belongs to none.
        let last = past.generation().map(|last| store.settings(last));
        last.filter(|last| **last == self.settings()).cloned().unwrap_or_else(|| Digest::sha256(b""))
    }
}

/// Tells whether a catalogue would be read again as it was, and its revision accepted without a word.
fn is_newest(state: &CatalogueState, memory: &Memory) -> bool {
    let has = |reason: &str| state.warnings.iter().any(|warning| warning.reason == reason);
    let (Some(node), Some(digest)) = (state.errand.node(), &state.digest) else { return false };
    let candidate = Candidate { commit: state.commit.as_ref(), digest };
    let is_newest = match standing(memory.known(&RevisionKey::of(node)), candidate, |_| None) {
        Standing::Newest(newest) => {
            newest.commit == state.commit && newest.order_unknown == has(ORDER_UNKNOWN)
        }
        Standing::First | Standing::Forward | Standing::Back { .. } | Standing::Unknown(_) => false,
    };
    // What an operator had forgotten is not missed any more.
    let is_missed = |missing: &Missing| {
        let catalogue = Some(missing.catalogue.clone());
        !memory.known(&RevisionKey { source: node.id.source.clone(), catalogue }).is_empty()
    };
    let is_newest = is_newest && state.missing.iter().all(is_missed);
    is_newest && state.health == Health::Fresh && state.error.is_none() && state.settled && !has(UNFETCHED)
}

/// Tells whether what was refused will always be: what a pinned commit does not hold today it will never hold.
fn is_final(refused: &DocumentRefusal) -> bool {
    refused.want.is_pinned() && refused.refusal.reason == FILE_MISSING
}
