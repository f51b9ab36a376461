//! A rehearsal: what a run without network would say by other policies, and how that differs from what is said. Changes nothing:
//! it is the same run as any other, up to where it would be committed.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use catalogue_schema::model::Source;
use catalogue_schema::packed::{Listed, Packed, PackedError};

use crate::order::{Change, Standing};
use crate::store::{Snapshot, Store};
use crate::sync::{Known, Past, Scope, Sync, SyncError, Tally};

impl Sync<'_> {
    /// Returns the components of the generation that would be made of what is on the shelf. Signatures that nobody asked for so
    /// far were never fetched, and count as missing.
    ///
    /// **Errors**: the shelf or the ledger cannot be read; which documents `last` rests on is not known.
    pub fn rehearse(
        &self,
        store: &Store,
        last: &Snapshot,
        sources: &[Source],
    ) -> Result<Vec<Packed>, SyncError> {
        let documents = store.documents(&last.generation).map_err(|found| {
            crate::store::StoreError::Damaged { what: "what the last generation rests on".to_owned(), found }
        })?;
        let (past, tally) = (Past::Snapshot(last), Tally::default());
        let known = Known::of(past, documents);
        let mut readings =
            self.read_all(&known, store.memory(), sources, (Scope::Rebuild, &BTreeMap::new()), &tally)?;
        self.expire(&mut readings, past, Scope::Rebuild)?;
        let (draft, ..) =
            self.draft((past, Scope::Rebuild), &known.documents, readings, store.first_seen())?;
        Ok(draft.components)
    }
}

/// Returns every release that stands otherwise in `after`, by id and version; both are sorted by the text of the id.
///
/// **Errors**: a component cannot be read.
pub fn differences(before: &[Packed], after: &[Packed]) -> Result<Vec<Change>, PackedError> {
    let mut changes = Vec::new();
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(changes),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one.id_bytes().cmp(other.id_bytes()),
        };
        let one = if order.is_le() { old.next() } else { None };
        let other = if order.is_ge() { new.next() } else { None };
        compare(one, other, &mut changes)?;
    }
}

fn compare(
    before: Option<&Packed>,
    after: Option<&Packed>,
    changes: &mut Vec<Change>,
) -> Result<(), PackedError> {
    if before == after {
        return Ok(());
    }
    let of = |component: Option<&Packed>| -> Result<Vec<(String, Standing)>, PackedError> {
        component.iter().flat_map(|one| one.all().map(move |listed| standing(one, &listed))).collect()
    };
    let Some(id) = before.or(after).map(|one| one.id_text().to_owned()) else { return Ok(()) };
    let (before, after) = (of(before)?, of(after)?);
    let mut by_version: HashMap<&str, &Standing> =
        after.iter().map(|(version, to)| (version.as_str(), to)).collect();
    for (version, from) in before {
        let to = by_version.remove(version.as_str()).cloned();
        if to.as_ref() != Some(&from) {
            changes.push(Change { id: id.clone(), version, from: Some(from), to });
        }
    }
    let new = after.iter().filter(|(version, _)| by_version.contains_key(version.as_str()));
    changes.extend(new.map(|(version, to)| {
        let (version, to) = (version.clone(), Some(to.clone()));
        Change { id: id.clone(), version, from: None, to }
    }));
    Ok(())
}

fn standing(component: &Packed, listed: &Listed<'_>) -> Result<(String, Standing), PackedError> {
    let refusal = match listed.is_refused() {
        true => listed.release()?.verdict.refusal().cloned(),
        false => None,
    };
    let (source, verdict) = (component.owner_texts().0.to_owned(), listed.verdict_word().to_owned());
    Ok((listed.version_text().to_owned(), Standing { source, verdict, refusal }))
}
