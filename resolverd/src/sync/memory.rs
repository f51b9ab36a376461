//! What a run remembers beside revisions: the bytes of every version when it was first let in, and a line of the audit log for
//! whatever is refused, excepted or mutated that was not before. Compares the next generation with the last; never judges.

use std::collections::{BTreeMap, HashMap, HashSet};

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::{CatalogueState, Generation, SourceState};
use catalogue_schema::id::SourceId;
use catalogue_schema::model::{Refusal, Release, Verdict, Warning};
use catalogue_schema::pace;
use catalogue_schema::packed::write::Packer;
use catalogue_schema::packed::{Listed, Packed, PackedError};

use crate::merge::{VERSION_MUTATED, is_seen, mutation, was_let_in};
use crate::store::audit::{Entry, Event};
use crate::store::first_seen::{FirstSeen, Own, Sighting};
use crate::store::{Committed, Draft, Snapshot, Store, StoreError};
use crate::sync::policy::NOT_ALLOWED;
use crate::sync::removed::REMOVED;
use crate::trust::policy::decide::{DELEGATION_SCOPE, DEP_NOT_ALLOWED};
use crate::trust::verify::{Act, Done, EXCEPTION};

/// How many lines of one kind one run writes about one source.
const LINES_PER_SOURCE_MAX: usize = 1_000;

/// Warns on every release whose bytes are others than when it was first seen from its source, where the last generation does not
/// know it, and takes the warning from what an operator had forgotten.
///
/// **Errors**: the ledger or a component cannot be read.
pub(super) fn note_forerunners(
    components: &mut [Packed],
    last: Option<&Snapshot>,
    ledger: &FirstSeen,
) -> Result<Ledgered, StoreError> {
    let mut packer = Packer::default();
    let mut ledgered = Ledgered::default();
    let mut version = Vec::new();
    for component in pace::each(components, pace::COMPONENT_NS) {
        let earlier = last.and_then(|last| last.component_of(component.id_text()));
        let is_forgotten = ledger.forgotten().any(|(id, _)| id == component.id_text());
        let is_same = earlier.is_some_and(|earlier| earlier == component);
        ledgered.0.push(false);
        if is_same && !is_forgotten {
            continue;
        }
        let (source, id) = (component.owner_texts().0, component.id_text());
        // What the last generation knows is not asked of the ledger.
        let mut seen: Option<Own<'_>> = None;
        let earlier = earlier.filter(|earlier| earlier.owner_texts().0 == source);
        let mut noted: Vec<(usize, Option<Warning>)> = Vec::new();
        let mut is_ledgered = last.is_none();
        for listed in component.all() {
            if is_forgotten && ledger.is_forgotten(id, listed.version_text()) {
                noted.extend(listed.has_warnings().then_some((listed.at(), None)));
                is_ledgered = false;
                continue;
            }
            match forerunner(component, &listed, earlier, (ledger, &mut seen), &mut version)? {
                Forerunner::None => is_ledgered = false,
                Forerunner::Same => {}
                Forerunner::Other(warning) => noted.push((listed.at(), Some(warning))),
            }
        }
        if let Some(last) = ledgered.0.last_mut() {
            *last = is_ledgered;
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
    Ok(ledgered)
}

/// Which components, by their places, are of nothing but versions that the ledger knows; only told where no last generation knows
/// any.
#[derive(Debug, Default)]
pub(super) struct Ledgered(Vec<bool>);

/// What the ledger knows of a release.
enum Forerunner {
    /// Nothing, or the last generation knows it.
    None,
    /// It was the same.
    Same,
    /// It was another, which is a warning.
    Other(Warning),
}

/// Returns what the ledger knows of a release, where the last generation does not know it; `earlier` is what its source said of the
/// component there, `version` room for a text.
fn forerunner<'a>(
    component: &Packed,
    listed: &Listed<'_>,
    earlier: Option<&Packed>,
    (ledger, seen): (&'a FirstSeen, &mut Option<Own<'a>>),
    version: &mut Vec<u8>,
) -> Result<Forerunner, StoreError> {
    let known = earlier.and_then(|earlier| earlier.exact(&listed.version()?));
    // Bytes that were refused say nothing about those that were let in before them.
    let known = known.filter(was_let_in);
    if known.is_some_and(|known| known.content().is_ok_and(|content| content.is_some())) {
        return Ok(Forerunner::None);
    }
    let Some(content) = listed.content()? else { return Ok(Forerunner::None) };
    let seen = match seen {
        Some(seen) => seen,
        None => seen.insert(ledger.of(component.owner_texts().0, component.id_text())?),
    };
    version.clear();
    listed.write_version(version);
    Ok(match seen.version(std::str::from_utf8(version).unwrap_or_default()) {
        None => Forerunner::None,
        Some(seen) if seen.is_of(&content) => Forerunner::Same,
        Some(seen) => Forerunner::Other(mutation(&seen.digest, &content)),
    })
}

/// Commits the next generation, after what outlives it: the lines of the audit log, then those of the ledger, in which nothing is
/// looked for that `ledgered` says is there.
///
/// **Errors**: one of them cannot be written; the last generation stays in force then.
pub(super) fn commit(
    store: &mut Store,
    (draft, ledgered): (Draft, &Ledgered),
    acts: &[Act],
    previous: Option<&Snapshot>,
    now_s: i64,
) -> Result<Committed, StoreError> {
    let mut entries = changes(&draft.components, previous)?;
    entries.extend(refused_whole(&draft.generation, previous.map(|last| &last.generation)));
    entries.extend(removed(&draft.generation, previous.map(|last| &last.generation)));
    entries.extend(would_be_denied(&draft, acts, previous)?);
    store.audit_next(bounded(entries), now_s)?;
    let forgotten: Vec<(String, String)> = store.first_seen().forgotten().cloned().collect();
    let fresh = |component| {
        pace::spent(pace::COMPONENT_NS);
        let earlier = previous.and_then(|last| last.component_of(Packed::id_text(component)));
        sightings(component, earlier, &forgotten)
    };
    let places = ledgered.0.iter().copied().chain(std::iter::repeat(false));
    let components: Vec<&Packed> =
        draft.components.iter().zip(places).filter(|(_, is)| !is).map(|(one, _)| one).collect();
    if components.iter().any(|component| !fresh(component).is_empty()) {
        // It is read now in any case: what is lost of it is made up for before other bytes stand in its place.
        recall(store, previous.map(|last| &last.generation), previous, now_s)?;
    }
    store.note_first_seen(components.into_iter().flat_map(fresh), now_s)?;
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
                    None if was_let_in(&listed) => (listed.content().ok()??, generation.committed_s),
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
        let known = earlier.and_then(|earlier| earlier.exact(&listed.version()?));
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
    for component in pace::each(components, pace::COMPONENT_NS) {
        let earlier = last.and_then(|last| last.component_of(component.id_text()));
        if earlier.is_some_and(|earlier| earlier == component) {
            continue;
        }
        let mut own = Lines::of(component);
        for listed in component.all().filter(|listed| listed.is_refused() || listed.has_warnings()) {
            let release = listed.release()?;
            let earlier = earlier.and_then(|earlier| earlier.exact(&release.version));
            let before = earlier.map(|earlier| earlier.release()).transpose()?;
            let known: Vec<Told> = before.as_ref().map(told).unwrap_or_default();
            for one in told(&release).into_iter().filter(|one| !known.iter().any(|known| is_one(known, one)))
            {
                own.add(one, release.version.to_string());
            }
        }
        entries.append(&mut own.entries);
    }
    Ok(entries)
}

/// Returns what is refused as a whole, sources and catalogues, and was not for the same reason in the last generation. That
/// nobody answers is no refusal.
fn refused_whole(next: &Generation, last: Option<&Generation>) -> Vec<Entry> {
    let whole = |generation: &Generation| -> Vec<(SourceId, String, String, String)> {
        let of_source = |state: &SourceState| {
            let id = &state.source.id;
            let error = state.error.as_ref().filter(|error| is_denial(&error.reason))?;
            Some((id.clone(), id.to_string(), error.reason.to_string(), error.to_string()))
        };
        let of_catalogue = |state: &CatalogueState| {
            let Some(node) = state.errand.node() else { return Vec::new() };
            let error = state.error.iter().map(|error| (error.reason.to_string(), error.to_string()));
            let is_hidden = |warning: &&Warning| [NOT_ALLOWED, DELEGATION_SCOPE].contains(&&*warning.reason);
            let warned = state.warnings.iter().filter(is_hidden);
            let warned = warned.map(|warning| (warning.reason.to_string(), warning.text.clone()));
            let all = error.chain(warned).filter(|(reason, _)| is_denial(reason));
            all.map(|(reason, text)| (node.id.source.clone(), node.id.to_string(), reason, text)).collect()
        };
        let sources = generation.sources.iter().filter_map(of_source);
        sources.chain(generation.catalogues.iter().flat_map(of_catalogue)).collect()
    };
    let known = last.map(whole).unwrap_or_default();
    let is_known = |one: &(SourceId, String, String, String)| {
        known.iter().any(|known| (&known.1, &known.2) == (&one.1, &one.2))
    };
    let fresh = whole(next).into_iter().filter(|one| !is_known(one));
    fresh
        .map(|(source, subject, reason, text)| Entry {
            source: Some(source),
            ..Entry::new(Event::Denied, subject).because(reason).saying(text)
        })
        .collect()
}

/// Returns the catalogues that leave out what they listed, where the last generation did not say the same.
fn removed(next: &Generation, last: Option<&Generation>) -> Vec<Entry> {
    let told = |generation: &Generation| -> Vec<(SourceId, String, String)> {
        // A list may leave out releases of its own and whole catalogues.
        let of = |state: &CatalogueState| -> Vec<(SourceId, String, String)> {
            let Some(id) = state.errand.node().map(|node| &node.id) else { return Vec::new() };
            let warned = state.warnings.iter().filter(|warning| warning.reason == REMOVED);
            warned.map(|warning| (id.source.clone(), id.to_string(), warning.text.clone())).collect()
        };
        generation.catalogues.iter().flat_map(of).collect()
    };
    let known = last.map(told).unwrap_or_default();
    let fresh = told(next).into_iter().filter(|one| !known.contains(one));
    let entry = |(source, subject, text)| Entry {
        source: Some(source),
        ..Entry::new(Event::Removed, subject).because(REMOVED).saying(text)
    };
    fresh.map(entry).collect()
}

/// Tells whether a reason says that somebody decided against something, and not that it could not be had.
fn is_denial(reason: &str) -> bool {
    let others = ["net.host_not_allowed", "net.address_denied", DEP_NOT_ALLOWED];
    reason.starts_with("trust.") || others.contains(&reason)
}

/// Returns what a policy would deny that warns or watches only, and did not say so of the same release before: the lines that
/// are written as denials where it is enforced.
///
/// **Errors**: a component cannot be read.
fn would_be_denied(
    draft: &Draft,
    acts: &[Act],
    previous: Option<&Snapshot>,
) -> Result<Vec<Entry>, PackedError> {
    let policy = |generation: &Generation| generation.policy.as_ref().map(|ruled| ruled.digest.clone());
    let last = previous.filter(|last| policy(&last.generation) == policy(&draft.generation));
    let mut refused: HashMap<&str, &Refusal> = HashMap::new();
    for act in acts {
        // Of several policies the first decides what is said.
        if let Done::WouldDeny(_, refusal) = &act.done {
            refused.entry(&act.release).or_insert(refusal);
        }
    }
    let mut entries = Vec::new();
    for component in draft.components.iter().filter(|_| !refused.is_empty()) {
        let earlier = last.and_then(|last| last.component_of(component.id_text()));
        if earlier == Some(component) {
            continue;
        }
        let mut own = Lines::of(component);
        for listed in component.all() {
            let release = format!("{}@{}", component.id_text(), listed.version_text());
            let Some(refusal) = refused.get(release.as_str()) else { continue };
            let known = listed.version().and_then(|version| earlier?.exact(&version));
            if known.is_some_and(|known| known.release().ok() == listed.release().ok()) {
                continue;
            }
            let told = (Event::WouldDeny, refusal.reason.to_string(), refusal.to_string());
            own.add(told, listed.version_text().to_owned());
        }
        entries.append(&mut own.entries);
    }
    Ok(entries)
}

/// Bounds what one run writes about one source: what is beyond becomes one line that counts it.
fn bounded(entries: Vec<Entry>) -> Vec<Entry> {
    let mut counts: BTreeMap<(Option<SourceId>, Event), usize> = BTreeMap::new();
    let mut kept = Vec::with_capacity(entries.len().min(LINES_PER_SOURCE_MAX));
    for entry in entries {
        let count = counts.entry((entry.source.clone(), entry.event)).or_default();
        *count += 1;
        if *count <= LINES_PER_SOURCE_MAX {
            kept.push(entry);
        }
    }
    for ((source, event), count) in counts.into_iter().filter(|(_, count)| *count > LINES_PER_SOURCE_MAX) {
        let more = count - LINES_PER_SOURCE_MAX;
        let subject = source.as_ref().map_or_else(String::new, ToString::to_string);
        let text = format!("and {more} more of this run, which are not written one by one");
        kept.push(Entry { source, ..Entry::new(event, subject).saying(text) });
    }
    kept
}

/// The lines about one component: what happened to several of its versions for one reason is one.
struct Lines<'a> {
    source: &'a str,
    id: &'a str,
    entries: Vec<Entry>,
}

impl Lines<'_> {
    fn of(component: &Packed) -> Lines<'_> {
        Lines { source: component.owner_texts().0, id: component.id_text(), entries: Vec::new() }
    }

    fn add(&mut self, told: Told, version: String) {
        let known = self.entries.iter_mut().find(|entry| {
            let known = (
                entry.event,
                entry.reason.clone().unwrap_or_default(),
                entry.text.clone().unwrap_or_default(),
            );
            is_one(&known, &told)
        });
        let (event, reason, text) = told;
        match known {
            Some(entry) => entry.versions.push(version),
            None => self.entries.push(Entry {
                versions: vec![version],
                source: SourceId::parse(self.source).ok(),
                ..Entry::new(event, self.id).because(reason).saying(text)
            }),
        }
    }
}

/// Tells whether two are told as one: what is refused is refused for one reason, while every exception and every change of bytes
/// is one of its own.
fn is_one(one: &Told, other: &Told) -> bool {
    let is_denied = matches!(one.0, Event::Denied | Event::WouldDeny);
    (one.0, &one.1) == (other.0, &other.1) && (is_denied || one.2 == other.2)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(source: &str, number: usize) -> Entry {
        let source = Some(SourceId::parse(source).expect("an id"));
        Entry { source, ..Entry::new(Event::Denied, format!("lcod://a/{number}")) }
    }

    #[test]
    fn one_run_writes_so_many_lines_about_one_source_and_counts_the_rest() {
        let mut many: Vec<Entry> = (0..LINES_PER_SOURCE_MAX + 7).map(|number| entry("s", number)).collect();
        many.push(entry("t", 0));
        let kept = bounded(many);
        assert_eq!(kept.len(), LINES_PER_SOURCE_MAX + 2);
        assert_eq!(kept[LINES_PER_SOURCE_MAX], entry("t", 0));
        let last = kept.last().expect("a line");
        assert_eq!((last.event, last.subject.as_str()), (Event::Denied, "s"));
        assert!(last.text.as_ref().is_some_and(|text| text.starts_with("and 7 more")), "{last:?}");
        let few = vec![entry("s", 1), entry("t", 2)];
        assert_eq!(bounded(few.clone()), few);
    }

    #[test]
    fn denials_for_one_reason_are_one_line_and_every_other_text_is_one_of_its_own() {
        let check = |event: Event, expected: &[&[&str]]| {
            let mut lines = Lines { source: "s", id: "lcod://a/x", entries: Vec::new() };
            for (version, text) in [("1.0.0", "a"), ("2.0.0", "b"), ("3.0.0", "a")] {
                lines.add((event, "trust.x".to_owned(), text.to_owned()), version.to_owned());
            }
            let found: Vec<&[String]> = lines.entries.iter().map(|entry| &entry.versions[..]).collect();
            assert_eq!(found, expected, "{event:?}");
        };
        check(Event::Denied, &[&["1.0.0", "2.0.0", "3.0.0"]]);
        check(Event::WouldDeny, &[&["1.0.0", "2.0.0", "3.0.0"]]);
        check(Event::Excepted, &[&["1.0.0", "3.0.0"], &["2.0.0"]]);
        check(Event::Mutated, &[&["1.0.0", "3.0.0"], &["2.0.0"]]);
    }

    #[test]
    fn that_nobody_answers_is_no_denial() {
        for reason in ["trust.rollback", "trust.unsigned", "trust.source_not_allowed", "net.host_not_allowed"]
        {
            assert!(is_denial(reason), "{reason}");
        }
        for reason in ["net.dns", "net.timeout", "input.json", "source.expired"] {
            assert!(!is_denial(reason), "{reason}");
        }
    }
}
