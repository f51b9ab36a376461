//! What a run remembers beside revisions: the bytes of every version when it was first let in, and a line of the audit log for
//! whatever is refused, excepted or mutated that was not before. Compares the next generation with the last; never judges.

use catalogue_schema::digest::Digest;
use catalogue_schema::id::SourceId;
use catalogue_schema::model::{Component, Release, Verdict};
use catalogue_schema::packed::{Listed, Packed, PackedError};

use crate::merge::{VERSION_MUTATED, mutation};
use crate::store::audit::{Entry, Event};
use crate::store::first_seen::{FirstSeen, Sighting};
use crate::store::{Committed, Draft, Snapshot, Store, StoreError};

/// The reason of the warning on a release that an exception of the policy let in. Its text starts with the id of the exception.
pub const EXCEPTED: &str = "trust.exception";

/// Warns on every release whose bytes are others than when it was first seen from its source, where the last generation does not
/// know it, and takes the warning from what an operator had forgotten.
///
/// **Errors**: the ledger cannot be read.
pub(super) fn note_forerunners(
    components: &mut [Component],
    last: Option<&Snapshot>,
    ledger: &FirstSeen,
) -> Result<(), StoreError> {
    for component in components {
        let source = component.owner.source.as_text();
        let is_own = |earlier: &&Packed| earlier.owner_texts().0 == source;
        let earlier = last.and_then(|last| last.component(&component.id)).filter(is_own);
        for release in &mut component.releases {
            let version = release.version.to_string();
            if ledger.is_forgotten(component.id.as_text(), &version) {
                release.warnings.retain(|warning| warning.reason != VERSION_MUTATED);
                continue;
            }
            let known = earlier.and_then(|earlier| earlier.exact(&release.version));
            if known.is_some_and(|known| known.content().is_ok_and(|content| content.is_some())) {
                continue;
            }
            let Some(content) = release.content() else { continue };
            let other = ledger.other_than(source, component.id.as_text(), &version, &content)?;
            release.warnings.extend(other.map(|seen| mutation(&seen.digest, &content)));
        }
    }
    Ok(())
}

/// Commits the next generation, after what outlives it: the lines of the audit log, then those of the ledger.
///
/// **Errors**: one of them cannot be written; the last generation stays in force then.
pub(super) fn commit(
    store: &mut Store,
    draft: Draft,
    previous: Option<&Snapshot>,
    now_s: i64,
) -> Result<Committed, StoreError> {
    store.audit_next(changes(&draft.components, previous)?, now_s)?;
    let ledger = store.first_seen();
    let forgotten: Vec<(String, String)> = ledger.forgotten().cloned().collect();
    // A ledger that was lost learns all that is known.
    let last = previous.filter(|_| !ledger.is_new());
    let sightings = draft.components.iter().flat_map(|component| {
        let earlier = last.and_then(|last| last.component_of(component.id_text()));
        sightings(component, earlier, &forgotten)
    });
    store.note_first_seen(sightings, now_s)?;
    store.commit(draft, previous)
}

/// Returns what the ledger may not know yet: what is let in and was not with the same bytes in the last generation.
fn sightings<'a>(
    component: &'a Packed,
    earlier: Option<&Packed>,
    forgotten: &[(String, String)],
) -> Vec<Sighting<'a>> {
    let (source, id) = (component.owner_texts().0, component.id_text());
    let is_forgotten = |version: &str| forgotten.iter().any(|gone| gone.0 == id && gone.1 == version);
    if earlier == Some(component) && forgotten.iter().all(|gone| gone.0 != id) {
        return Vec::new();
    }
    let earlier = earlier.filter(|earlier| earlier.owner_texts().0 == source);
    let is_known = |listed: &Listed<'_>, content: &Digest| {
        let known = earlier.zip(listed.version()).and_then(|(earlier, version)| earlier.exact(&version));
        let known = known.filter(|known| !known.is_refused() && !is_forgotten(listed.version_text()));
        known.and_then(|known| known.content().ok()?).is_some_and(|known| known == *content)
    };
    let sighting = |listed: Listed<'a>| {
        let digest = listed.content().ok()?.filter(|content| !is_known(&listed, content))?;
        let (version, signers) = (listed.version_text(), signers(&listed));
        Some(Sighting { source, id, version, digest, signers })
    };
    component.all().filter(|listed| !listed.is_refused()).filter_map(sighting).collect()
}

/// Returns whose signatures counted; only a policy asks for any.
fn signers(listed: &Listed<'_>) -> Vec<String> {
    if matches!(listed.verdict_word(), "pinned" | "unpinned") {
        return Vec::new();
    }
    match listed.release().map(|release| release.verdict) {
        Ok(Verdict::Trusted(trust)) => trust.signers().to_vec(),
        _ => Vec::new(),
    }
}

/// Returns what the audit log is told of the next generation: what is refused, let in by an exception, or mutated, and was not
/// for the same reason in the last one.
///
/// **Errors**: a component cannot be read.
pub(super) fn changes(components: &[Packed], last: Option<&Snapshot>) -> Result<Vec<Entry>, PackedError> {
    let mut entries = Vec::new();
    for component in components {
        let earlier = last.and_then(|last| last.component_of(component.id_text()));
        if earlier.is_some_and(|earlier| earlier == component) {
            continue;
        }
        let mut own: Vec<Entry> = Vec::new();
        for listed in component.all().filter(|listed| listed.is_refused() || listed.has_warnings()) {
            let release = listed.release()?;
            let earlier = earlier.and_then(|earlier| earlier.exact(&release.version));
            let before = earlier.map(|earlier| earlier.release()).transpose()?;
            let known: Vec<Told> = before.as_ref().map(told).unwrap_or_default();
            // A version may change again and again; what is refused is refused for one reason.
            let is_known = |one: &Told| {
                let is_same = |known: &&Told| (known.0, &known.1) == (one.0, &one.1);
                known.iter().filter(is_same).any(|known| one.0 != Event::Mutated || known.2 == one.2)
            };
            for (event, reason, text) in told(&release).into_iter().filter(|one| !is_known(one)) {
                let version = release.version.to_string();
                let is_same =
                    |entry: &&mut Entry| entry.event == event && entry.reason.as_ref() == Some(&reason);
                match own.iter_mut().find(is_same) {
                    Some(entry) => entry.versions.push(version),
                    None => own.push(Entry {
                        versions: vec![version],
                        source: SourceId::parse(component.owner_texts().0).ok(),
                        ..Entry::new(event, component.id_text()).because(reason).saying(text)
                    }),
                }
            }
        }
        entries.append(&mut own);
    }
    Ok(entries)
}

/// What happened to a release, why, and in a sentence.
type Told = (Event, String, String);

fn told(release: &Release) -> Vec<Told> {
    let refused = match &release.verdict {
        Verdict::Refused(refusal) => Some((Event::Denied, refusal.reason.to_string(), refusal.to_string())),
        Verdict::Trusted(_) => None,
    };
    let warned = release.warnings.iter().filter_map(|warning| match warning.reason.as_ref() {
        VERSION_MUTATED => Some((Event::Mutated, warning.reason.to_string(), warning.text.clone())),
        EXCEPTED => {
            let id = warning.text.split([' ', ':']).next().unwrap_or_default();
            Some((Event::Excepted, id.to_owned(), warning.text.clone()))
        }
        _ => None,
    });
    refused.into_iter().chain(warned).collect()
}
