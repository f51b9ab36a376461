//! What a run remembers beside revisions: the bytes of every version when it was first let in, and a line of the audit log for
//! whatever is refused, excepted or mutated that was not before. Compares the next generation with the last; never judges.

use std::collections::HashSet;

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::Generation;
use catalogue_schema::id::SourceId;
use catalogue_schema::model::{Release, Verdict, Warning};
use catalogue_schema::packed::write::Packer;
use catalogue_schema::packed::{Listed, Packed, PackedError};

use crate::merge::{VERSION_MUTATED, mutation};
use crate::store::audit::{Entry, Event};
use crate::store::first_seen::{FirstSeen, Sighting};
use crate::store::{Committed, Draft, Snapshot, Store, StoreError};
use crate::trust::verify::{Act, Done, EXCEPTION};

/// Why a release is refused that is let in later without being another one: only time is missing.
const TOO_SOON: [&str; 2] = ["trust.too_young", "trust.age_unknown"];

/// Warns on every release whose bytes are others than when it was first seen from its source, where the last generation does not
/// know it, and takes the warning from what an operator had forgotten.
///
/// **Errors**: the ledger or a component cannot be read.
pub(super) fn note_forerunners(
    components: &mut [Packed],
    last: Option<&Snapshot>,
    ledger: &FirstSeen,
) -> Result<(), StoreError> {
    let mut packer = Packer::default();
    for component in components {
        let earlier = last.and_then(|last| last.component_of(component.id_text()));
        let is_forgotten = ledger.forgotten().any(|(id, _)| id == component.id_text());
        if earlier.is_some_and(|earlier| earlier == component) && !is_forgotten {
            continue;
        }
        let mut noted: Vec<(usize, Option<Warning>)> = Vec::new();
        for listed in component.all() {
            if ledger.is_forgotten(component.id_text(), listed.version_text()) {
                noted.extend(listed.has_warnings().then_some((listed.at(), None)));
            } else if let Some(warning) = forerunner(component, &listed, earlier, ledger)? {
                noted.push((listed.at(), Some(warning)));
            }
        }
        if noted.is_empty() {
            continue;
        }
        let mut read = component.component()?;
        for (at, warning) in noted {
            let Some(release) = read.releases.get_mut(at) else { continue };
            match warning {
                Some(warning) => release.warnings.push(warning),
                None => release.warnings.retain(|warning| warning.reason != VERSION_MUTATED),
            }
        }
        *component = packer.pack(&read)?;
    }
    Ok(())
}

/// Returns the warning that a release gets because of what the ledger knows and the last generation does not.
fn forerunner(
    component: &Packed,
    listed: &Listed<'_>,
    earlier: Option<&Packed>,
    ledger: &FirstSeen,
) -> Result<Option<Warning>, StoreError> {
    let source = component.owner_texts().0;
    let is_own = |earlier: &&Packed| earlier.owner_texts().0 == source;
    let known = earlier.filter(is_own).zip(listed.version());
    let known = known.and_then(|(earlier, version)| earlier.exact(&version));
    if known.is_some_and(|known| known.content().is_ok_and(|content| content.is_some())) {
        return Ok(None);
    }
    let Some(content) = listed.content()? else { return Ok(None) };
    let other = ledger.other_than(source, component.id_text(), listed.version_text(), &content)?;
    Ok(other.map(|seen| mutation(&seen.digest, &content)))
}

/// Commits the next generation, after what outlives it: the lines of the audit log, then those of the ledger.
///
/// **Errors**: one of them cannot be written; the last generation stays in force then.
pub(super) fn commit(
    store: &mut Store,
    draft: Draft,
    acts: &[Act],
    previous: Option<&Snapshot>,
    now_s: i64,
) -> Result<Committed, StoreError> {
    let mut entries = changes(&draft.components, previous)?;
    entries.extend(would_be_denied(&draft, acts, previous));
    store.audit_next(entries, now_s)?;
    let forgotten: Vec<(String, String)> = store.first_seen().forgotten().cloned().collect();
    let fresh = |component| {
        let earlier = previous.and_then(|last| last.component_of(Packed::id_text(component)));
        sightings(component, earlier, &forgotten)
    };
    if draft.components.iter().any(|component| !fresh(component).is_empty()) {
        // It is read now in any case: what is lost of it is made up for before other bytes stand in its place.
        recall(store, previous.map(|last| &last.generation), previous, now_s)?;
    }
    store.note_first_seen(draft.components.iter().flat_map(fresh), now_s)?;
    store.commit(draft, previous)
}

/// Reads the ledger, and makes up for what it has lost by what the last generation holds: bytes that were let in before are not
/// new because a file is gone.
///
/// **Errors**: the ledger cannot be read or written; nothing may be judged then.
pub(super) fn recall(
    store: &mut Store,
    generation: Option<&Generation>,
    last: Option<&Snapshot>,
    now_s: i64,
) -> Result<(), StoreError> {
    let Some(generation) = generation else { return Ok(()) };
    let ledger = store.first_seen();
    ledger.read()?;
    let Some(gap) = ledger.gap()? else { return Ok(()) };
    let forgotten: HashSet<(String, String)> = ledger.forgotten().cloned().collect();
    let known = generation.policy.as_ref().map(|ruled| &ruled.seen);
    let components = last.map(Snapshot::components).unwrap_or_default();
    let sightings = components.iter().flat_map(|component| {
        let (source, id) = (component.owner_texts().0, component.id_text());
        component
            .all()
            .filter_map(|listed| {
                let version = listed.version_text();
                if forgotten.contains(&(id.to_owned(), version.to_owned())) {
                    return None;
                }
                // What policies knew is older than what the generation holds, and may be what refuses it.
                let seen = known.and_then(|known| known.get(&format!("{id}@{version}")).cloned());
                let (digest, at_s) = match seen {
                    Some(seen) => seen,
                    None if is_seen(&listed) => (listed.content().ok()??, generation.committed_s),
                    None => return None,
                };
                Some(Sighting { source, id, version, digest, signers: signers(&listed), at_s: Some(at_s) })
            })
            .collect::<Vec<_>>()
    });
    store.recall_first_seen(gap, sightings, now_s)
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
        let known = known.filter(|known| is_seen(known) && !is_forgotten(listed.version_text()));
        known.and_then(|known| known.content().ok()?).is_some_and(|known| known == *content)
    };
    let sighting = |listed: Listed<'a>| {
        let digest = listed.content().ok()?.filter(|content| !is_known(&listed, content))?;
        let (version, signers) = (listed.version_text(), signers(&listed));
        Some(Sighting { source, id, version, digest, signers, at_s: None })
    };
    component.all().filter(is_seen).filter_map(sighting).collect()
}

/// Tells whether a release counts as seen: it is let in, or will be without being another one.
fn is_seen(listed: &Listed<'_>) -> bool {
    let is_too_soon = || {
        let release = listed.release();
        let refusal = release.as_ref().ok().and_then(|release| release.verdict.refusal());
        refusal.is_some_and(|refusal| TOO_SOON.contains(&refusal.reason.as_ref()))
    };
    !listed.is_refused() || is_too_soon()
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

/// Returns what a policy would deny that warns or watches only, and did not say so of the same bytes before.
fn would_be_denied(draft: &Draft, acts: &[Act], previous: Option<&Snapshot>) -> Vec<Entry> {
    let policy = |generation: &Generation| generation.policy.as_ref().map(|ruled| ruled.digest.clone());
    let last = previous.filter(|last| policy(&last.generation) == policy(&draft.generation));
    let is_told = |id: &str| {
        let at = draft.components.binary_search_by(|component| component.id_text().cmp(id));
        let now = at.ok().and_then(|at| draft.components.get(at));
        now.is_some_and(|now| last.and_then(|last| last.component_of(id)) == Some(now))
    };
    let entry = |act: &Act| {
        let Done::WouldDeny(mode, refusal) = &act.done else { return None };
        let (id, version) = act.release.rsplit_once('@')?;
        (!is_told(id)).then(|| Entry {
            versions: vec![version.to_owned()],
            source: Some(act.source.clone()),
            ..Entry::new(Event::WouldDeny, id).because(&refusal.reason).saying(format!(
                "mode {} in {}: {refusal}",
                mode.name(),
                act.policy.display()
            ))
        })
    };
    acts.iter().filter_map(entry).collect()
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
        EXCEPTION => Some((Event::Excepted, warning.reason.to_string(), warning.text.clone())),
        _ => None,
    });
    refused.into_iter().chain(warned).collect()
}
