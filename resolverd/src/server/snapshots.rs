//! The kept generations as readers see them: which there are, which one is meant, and what differs between two.
//!
//! Pure: snapshots in, rows out. Never loads a generation, never decides how many are kept.

use std::cmp::Ordering;

use catalogue_schema::generation::{SourceState, stale};
use catalogue_schema::model::Release;
use catalogue_schema::packed::{Listed, Packed, PackedError};
use catalogue_schema::revision::rfc3339;
use catalogue_schema::version::Version;
use serde_json::{Value, json};

use crate::api::{
    Change, Code, ComponentChange, DiffCounts, DiffPage, Failure, Pair, ReleaseChange, SnapshotName,
    SnapshotRow, SourceChange,
};
use crate::server::route::{Diff, Wanted, cursor_after};
use crate::store::Snapshot;

/// Returns the kept snapshot that is meant: of several with one digest the newest, since they answer alike.
///
/// **Errors**: R004 when no kept snapshot fits, with those that are kept; R011 `api.snapshot` when more than one does.
pub fn chosen<'a>(wanted: &Wanted, kept: &[&'a Snapshot]) -> Result<&'a Snapshot, Failure> {
    let mut fitting = kept.iter().filter(|snapshot| wanted.fits(&snapshot.generation.snapshot));
    let Some(first) = fitting.next() else { return Err(gone(wanted, kept)) };
    match fitting.find(|other| other.generation.snapshot != first.generation.snapshot) {
        None => Ok(first),
        Some(other) => {
            let detail = format!("more than one kept snapshot starts with {}", wanted.as_text());
            let both = [&first.generation.snapshot, &other.generation.snapshot];
            Err(Failure::new(Code::RequestInvalid, "api.snapshot", detail)
                .with("found", both)
                .hint("give more digits of the one that is meant"))
        }
    }
}

/// Returns the kept snapshot that is meant, where it may be answered from: what the policies of its time let in, or what they let
/// in at its time, may be refused today, and a reader of an older snapshot must not get it.
///
/// **Errors**: as [`chosen`]; R004 `policy.superseded` where other policies have judged the current one, or where a verdict has
/// changed by itself meanwhile.
pub fn answering<'a>(wanted: &Wanted, kept: &[&'a Snapshot], seen_s: i64) -> Result<&'a Snapshot, Failure> {
    let meant = chosen(wanted, kept)?;
    match kept.first().filter(|current| is_superseded(meant, current, seen_s)) {
        None => Ok(meant),
        Some(current) => {
            let Snapshot { generation, .. } = meant;
            let detail = format!(
                "the snapshot {} was judged by the trust policy of its time, and some of that may be refused today",
                generation.snapshot
            );
            Err(Failure::new(Code::SnapshotGone, "policy.superseded", detail)
                .with("expected", &current.generation.snapshot)
                .with("found", &generation.snapshot)
                .hint("leave the snapshot out to ask the current one; resolverd snapshots diff shows what has changed"))
        }
    }
}

/// Tells whether the verdicts of a snapshot are no longer those of the policies in force, by what judged the current one and by
/// the instant up to which the writer has told what ended by itself.
fn is_superseded(older: &Snapshot, current: &Snapshot, seen_s: i64) -> bool {
    let digest = |snapshot: &Snapshot| snapshot.generation.policy.as_ref().map(|ruled| ruled.digest.clone());
    let changes_s = older.generation.policy.as_ref().and_then(|ruled| ruled.next_change_s);
    let is_over = changes_s.is_some_and(|at_s| at_s <= current.generation.committed_s.max(seen_s));
    older.generation.number != current.generation.number && (digest(older) != digest(current) || is_over)
}

fn gone(wanted: &Wanted, kept: &[&Snapshot]) -> Failure {
    let mut digests: Vec<_> = kept.iter().map(|snapshot| &snapshot.generation.snapshot).collect();
    digests.dedup();
    let detail = format!("the snapshot {} is not kept", wanted.as_text());
    Failure::new(Code::SnapshotGone, "snapshot_gone", detail)
        .with("expected", wanted.as_text())
        .with("kept", digests)
        .hint(
            "resolverd snapshots lists what is kept; leave snapshot out to ask the current one; generations in \
             config.toml says how many are kept",
        )
}

/// Returns the answer that lists the kept snapshots, newest first.
pub fn list(kept: &[&Snapshot], seen_s: i64) -> Value {
    let row = |(index, snapshot): (usize, &&Snapshot)| {
        let generation = &snapshot.generation;
        json!(SnapshotRow {
            generation: generation.number,
            snapshot: &generation.snapshot,
            committed_at: rfc3339(generation.committed_s),
            components: snapshot.count(),
            catalogues: generation.catalogues.len(),
            sources: generation.sources.len(),
            stale: stale(&generation.sources, &generation.catalogues),
            current: index == 0,
            answers: kept.first().is_none_or(|current| !is_superseded(snapshot, current, seen_s)),
        })
    };
    let items: Vec<Value> = kept.iter().enumerate().map(row).collect();
    let current = kept.first().map(|snapshot| &snapshot.generation.snapshot);
    json!({ "items": items, "nextCursor": null, "snapshot": current })
}

/// Returns one page of what differs between two kept snapshots.
///
/// **Errors**: as [`chosen`].
pub fn diff<'a>(asked: &Diff, kept: &[&'a Snapshot]) -> Result<DiffPage<'a>, Failure> {
    let from = chosen(&asked.from, kept)?;
    let to = match (&asked.to, kept.first()) {
        (Some(wanted), _) => chosen(wanted, kept)?,
        (None, Some(current)) => *current,
        (None, None) => return Err(gone(&asked.from, kept)),
    };
    let (mut counts, mut items, mut next_cursor) = (DiffCounts::default(), Vec::new(), None);
    for (old, new) in differing(from, to) {
        let (shown, count) = match (old, new) {
            (Some(old), None) => (old, &mut counts.removed),
            (Some(old), Some(new)) if differ(old, new)? => (old, &mut counts.changed),
            (None, Some(new)) => (new, &mut counts.added),
            _ => continue,
        };
        *count += 1;
        let is_before = asked.after.as_ref().is_some_and(|after| shown.id_text() <= after.as_text());
        match items.len() < asked.limit {
            _ if is_before => {}
            true => items.push(component_change(shown, old, new)?),
            false if next_cursor.is_none() => {
                next_cursor = items.last().map(|last: &ComponentChange| cursor_after(&last.id));
            }
            false => {}
        }
    }
    let sources = source_changes(&from.generation.sources, &to.generation.sources);
    Ok(DiffPage { from: name(from), to: name(to), counts, sources, items, next_cursor })
}

fn name(snapshot: &Snapshot) -> SnapshotName<'_> {
    SnapshotName { generation: snapshot.generation.number, snapshot: &snapshot.generation.snapshot }
}

type Sides<'a> = (Option<&'a Packed>, Option<&'a Packed>);

/// Returns the components that are not the same block in both, in the order of their ids.
fn differing<'a>(from: &'a Snapshot, to: &'a Snapshot) -> impl Iterator<Item = Sides<'a>> {
    let (mut old, mut new) = (from.components().iter().peekable(), to.components().iter().peekable());
    let pairs = std::iter::from_fn(move || {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.id_bytes().cmp(new.id_bytes()),
        };
        let old = if order.is_le() { old.next() } else { None };
        let new = if order.is_ge() { new.next() } else { None };
        Some((old, new))
    });
    pairs.filter(|(old, new)| old != new)
}

/// Tells whether two blocks say something different: requirements that mean the same may be written differently.
fn differ(old: &Packed, new: &Packed) -> Result<bool, PackedError> {
    if old.owner_texts() != new.owner_texts()
        || old.count() != new.count()
        || old.shadowed()? != new.shadowed()?
    {
        return Ok(true);
    }
    for (old, new) in old.all().zip(new.all()) {
        if !old.is_same(&new) && old.release()? != new.release()? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn component_change(
    shown: &Packed,
    old: Option<&Packed>,
    new: Option<&Packed>,
) -> Result<ComponentChange, PackedError> {
    let owner = |component: &Packed| component.head().map(|head| head.owner.to_string());
    Ok(ComponentChange {
        id: shown.id()?,
        change: change(old, new),
        owner: pair(old.map(owner).transpose()?, new.map(owner).transpose()?),
        releases: release_changes(&releases(old), &releases(new))?,
    })
}

fn releases(component: Option<&Packed>) -> Vec<(Listed<'_>, Version)> {
    let listed = component.into_iter().flat_map(Packed::all);
    listed.filter_map(|listed| Some((listed, listed.version()?))).collect()
}

fn change<T>(old: Option<T>, new: Option<T>) -> Change {
    match (old, new) {
        (None, _) => Change::Added,
        (_, None) => Change::Removed,
        _ => Change::Changed,
    }
}

/// Returns two values that are both there and differ.
fn pair<T: PartialEq>(from: Option<T>, to: Option<T>) -> Option<Pair<T>> {
    let (from, to) = (from?, to?);
    (from != to).then_some(Pair { from, to })
}

/// Compares releases, which both components list oldest first.
fn release_changes(
    old: &[(Listed<'_>, Version)],
    new: &[(Listed<'_>, Version)],
) -> Result<Vec<ReleaseChange>, PackedError> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(changes),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((_, old)), Some((_, new))) => old.cmp(new),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        if before.zip(after).is_some_and(|((old, _), (new, _))| old.is_same(new)) {
            continue;
        }
        let read =
            |side: Option<&(Listed<'_>, Version)>| side.map(|(listed, _)| listed.release()).transpose();
        changes.extend(release_change(read(before)?, read(after)?));
    }
}

fn release_change(before: Option<Release>, after: Option<Release>) -> Option<ReleaseChange> {
    if before == after {
        return None;
    }
    let (old, new) = (before.as_ref(), after.as_ref());
    Some(ReleaseChange {
        version: new.or(old)?.version.clone(),
        change: change(old, new),
        manifest: pair(old.map(|one| one.manifest.clone()), new.map(|one| one.manifest.clone())),
        verdict: pair(old.map(|one| one.verdict.word()), new.map(|one| one.verdict.word())),
        yanked: pair(old.map(|one| one.yanked), new.map(|one| one.yanked)),
    })
}

/// Returns the sources that differ: those of the later snapshot in its order, then those that are gone.
fn source_changes<'a>(old: &'a [SourceState], new: &'a [SourceState]) -> Vec<SourceChange<'a>> {
    let find = |states: &'a [SourceState], state: &SourceState| {
        states.iter().find(|other| other.source.id == state.source.id)
    };
    let added_or_changed = new.iter().map(|state| (find(old, state), Some(state)));
    let removed = old.iter().filter(|state| find(new, state).is_none()).map(|state| (Some(state), None));
    let row = |(before, after): (Option<&'a SourceState>, Option<&'a SourceState>)| {
        let row = SourceChange {
            id: &after.or(before)?.source.id,
            change: change(before, after),
            state: pair(before.map(|one| one.health), after.map(|one| one.health)),
            revision: pair(before.map(|one| one.digest.as_ref()), after.map(|one| one.digest.as_ref())),
        };
        let says_something = row.change != Change::Changed || row.state.is_some() || row.revision.is_some();
        says_something.then_some(row)
    };
    added_or_changed.chain(removed).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use catalogue_schema::digest::Digest;
    use catalogue_schema::generation::Generation;
    use catalogue_schema::model::Component;

    use super::*;

    /// `a@1.0.0 b@1.0.0,2.0.0!` lists components with their versions, `!` yanked, `?` refused, `=` another manifest,
    /// `^` by another owner.
    fn snapshot(number: u64, text: &str, sources: &str) -> Snapshot {
        let component = |word: &str| {
            let (name, versions) = word.split_once('@').unwrap();
            let id = format!("lcod://{}", name.trim_end_matches('^'));
            let release = |text: &str| {
                let version = text.trim_end_matches(['!', '?', '=']);
                let refused = json!({"refused": {"reason": "x", "subject": "s", "found": "f"}});
                let trusted = json!({"trusted": {"level": "pinned"}});
                json!({
                    "id": id, "version": version, "origin": {}, "yanked": text.ends_with('!'),
                    "verdict": if text.ends_with('?') { refused } else { trusted },
                    "manifest": Digest::sha256(if text.ends_with('=') { b"2" } else { b"1" }),
                })
            };
            let releases: Vec<Value> = versions.split(',').map(release).collect();
            let owner = json!({"source": "main", "name": if name.ends_with('^') { "two" } else { "one" }});
            let component = json!({"id": id, "owner": owner, "releases": releases});
            serde_json::from_value::<Component>(component).unwrap()
        };
        let source = |word: &str| {
            let (id, health) = word.split_once('=').unwrap();
            let (health, revision) = health.split_once(':').unwrap();
            json!({
                "source": {
                    "id": id, "dialect": "lcod", "place": {"priority": 0, "position": 0},
                    "entry": {"file": {"path": "/srv/x.json"}}, "digests": [], "owns": [], "offline": false,
                },
                "health": health, "digest": Digest::sha256(revision.as_bytes()),
            })
        };
        let sources: Vec<Value> = sources.split_whitespace().map(source).collect();
        let generation = json!({
            "schema": "", "number": number, "committedS": 0, "components": 0, "root": Digest::sha256(b""),
            "snapshot": Digest::sha256(text.as_bytes()), "sources": sources, "catalogues": [], "documents": catalogue_schema::generation::DocumentList::default(),
            "settings": Digest::sha256(b""),
        });
        let generation: Generation = serde_json::from_value(generation).unwrap();
        Snapshot::of(generation, text.split_whitespace().map(component))
    }

    fn wanted(snapshot: &Snapshot) -> Wanted {
        Wanted::parse(&snapshot.generation.snapshot.to_string()).unwrap()
    }

    fn check(from: &str, to: &str, expected: &str) {
        let (old, new) = (snapshot(1, from, ""), snapshot(2, to, ""));
        let asked = Diff { from: wanted(&old), to: None, limit: 9, after: None };
        let page = diff(&asked, &[&new, &old]).unwrap();
        let said = |change: Change| match change {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Changed => '~',
        };
        let release = |one: &ReleaseChange| {
            let what = [
                one.manifest.as_ref().map(|_| " manifest".to_owned()),
                one.verdict.as_ref().map(|pair| format!(" {}>{}", pair.from, pair.to)),
                one.yanked.as_ref().map(|pair| format!(" yanked>{}", pair.to)),
            ];
            format!("{}{}{}", said(one.change), one.version, what.into_iter().flatten().collect::<String>())
        };
        let item = |one: &ComponentChange| {
            let owner = one.owner.as_ref().map(|pair| format!(" {}>{}", pair.from, pair.to));
            let releases: Vec<String> = one.releases.iter().map(release).collect();
            let owner = owner.unwrap_or_default();
            format!("{}{}{owner} [{}]", said(one.change), one.id.path(), releases.join(", "))
        };
        let items: Vec<String> = page.items.iter().map(item).collect();
        assert_eq!(items.join(" "), expected, "{from} to {to}");
        let count = |sign: char| items.iter().filter(|item| item.starts_with(sign)).count();
        let DiffCounts { added, removed, changed } = page.counts;
        assert_eq!((added, removed, changed), (count('+'), count('-'), count('~')));
    }

    #[test]
    fn what_differs_is_told_release_by_release() {
        check("n/a@1.0.0", "n/a@1.0.0", "");
        check("", "n/a@1.0.0", "+n/a [+1.0.0]");
        check("n/a@1.0.0,2.0.0", "", "-n/a [-1.0.0, -2.0.0]");
        check("n/a@1.0.0", "n/b@1.0.0", "-n/a [-1.0.0] +n/b [+1.0.0]");
        check("n/a@1.0.0,2.0.0", "n/a@2.0.0,10.0.0", "~n/a [-1.0.0, +10.0.0]");
        check("n/a@1.0.0", "n/a@1.0.0=", "~n/a [~1.0.0 manifest]");
        check("n/a@1.0.0", "n/a@1.0.0!", "~n/a [~1.0.0 yanked>true]");
        check("n/a@1.0.0?", "n/a@1.0.0", "~n/a [~1.0.0 refused>pinned]");
        check("n/a@1.0.0", "n/a^@1.0.0", "~n/a main/one>main/two []");
        check(
            "n/a@1.0.0 n/b@1.0.0 n/c@1.0.0",
            "n/b@1.0.0 n/d@1.0.0",
            "-n/a [-1.0.0] -n/c [-1.0.0] +n/d [+1.0.0]",
        );
    }

    #[test]
    fn pages_follow_each_other_and_count_everything() {
        let (old, new) = (snapshot(1, "", ""), snapshot(2, "n/a@1.0.0 n/b@1.0.0 n/c@1.0.0", ""));
        let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
        loop {
            let asked = Diff { from: wanted(&old), to: Some(wanted(&new)), limit: 2, after };
            let page = diff(&asked, &[&new, &old]).unwrap();
            assert_eq!(page.counts.added, 3);
            pages += 1;
            seen.extend(page.items.iter().map(|item| item.id.to_string()));
            match page.next_cursor {
                Some(_) => after = page.items.last().map(|item| item.id.clone()),
                None => break,
            }
        }
        assert_eq!((pages, seen.join(" ").as_str()), (2, "lcod://n/a lcod://n/b lcod://n/c"));
    }

    #[test]
    fn sources_differ_by_state_and_revision() {
        let old = snapshot(1, "", "a=fresh:1 b=fresh:1 c=fresh:1 d=fresh:1");
        let new = snapshot(2, "n/a@1.0.0", "a=fresh:1 b=stale:1 c=fresh:2 e=fresh:1");
        let asked = Diff { from: wanted(&old), to: None, limit: 9, after: None };
        let page = diff(&asked, &[&new, &old]).unwrap();
        let told = |one: &SourceChange<'_>| {
            format!("{}{:?}{}{}", one.id, one.change, one.state.is_some(), one.revision.is_some())
        };
        let told: Vec<String> = page.sources.iter().map(told).collect();
        assert_eq!(
            told,
            ["bChangedtruefalse", "cChangedfalsetrue", "eAddedfalsefalse", "dRemovedfalsefalse"]
        );
    }

    #[test]
    fn a_snapshot_is_meant_by_its_digest_or_an_unambiguous_start() {
        let (one, two) = (snapshot(1, "", ""), snapshot(2, "n/a@1.0.0", ""));
        let again = snapshot(3, "", "");
        let kept = [&again, &two, &one];
        let check = |text: &str, expected: Result<u64, &str>| {
            let found = chosen(&Wanted::parse(text).unwrap(), &kept);
            let found = found.map(|snapshot| snapshot.generation.number);
            assert_eq!(
                found.as_ref().map_err(|failure| failure.code.row().text),
                expected.as_ref().map_err(|e| *e)
            );
        };
        let digest = two.generation.snapshot.to_string();
        check(&digest, Ok(2));
        check(&digest[..7 + 12], Ok(2));
        check(&digest[7..7 + 12], Ok(2));
        check(&one.generation.snapshot.to_string(), Ok(3));
        check(&"0".repeat(64), Err("R004"));
        let failure = chosen(&Wanted::parse(&"0".repeat(12)).unwrap(), &kept).unwrap_err();
        assert_eq!(failure.context["kept"].as_array().unwrap().len(), 3);
        assert!(failure.hint.unwrap().starts_with("resolverd snapshots"));
    }

    #[test]
    fn a_start_that_fits_two_snapshots_is_refused() {
        let mut one = snapshot(1, "", "");
        let mut two = snapshot(2, "", "");
        one.generation.snapshot = Digest::from_sha256([7; 32]);
        let mut bytes = [7; 32];
        bytes[31] = 8;
        two.generation.snapshot = Digest::from_sha256(bytes);
        let failure = chosen(&Wanted::parse("070707070707").unwrap(), &[&two, &one]).unwrap_err();
        assert_eq!((failure.code, failure.reason.as_ref()), (Code::RequestInvalid, "api.snapshot"));
    }

    #[test]
    fn the_list_says_what_is_in_force() {
        let (old, new) = (snapshot(1, "", "b=stale:1"), snapshot(2, "n/a@1.0.0", ""));
        let page = list(&[&new, &old], 0);
        assert_eq!(page["items"][0]["current"], true);
        assert_eq!(page["items"][1]["current"], false);
        assert_eq!(page["items"][1]["stale"], json!(["b"]));
        assert_eq!(page["items"][1]["committedAt"], "1970-01-01T00:00:00Z");
        assert_eq!(page["snapshot"], json!(new.generation.snapshot));
        assert_eq!(list(&[], 0)["items"], json!([]));
    }
}
