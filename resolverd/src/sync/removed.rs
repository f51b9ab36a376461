//! What a signed catalogue listed and lists no more, or a signed list with a whole catalogue of it: whoever signs it says so, or it is
//! noticed.
//!
//! TUF 1.0.34, section 5.5.5: what was listed before is still listed. Here a catalogue may take a release back with an entry of
//! `withdrawn`; what is gone without one is a warning, or by `removals = "refuse"` of a policy a refusal of the whole catalogue.
//! What is compared are the entries of the last snapshot; where they are lost, nothing is. Never looks at a catalogue that nobody
//! has to sign: who may write it may leave out what he likes. One that a signed list pins is signed with it. What another catalogue
//! below the same list lists is not gone.

use std::collections::{BTreeSet, HashMap, HashSet};

use catalogue_schema::dialect::{Errand, Node, Withdrawn};
use catalogue_schema::generation::{CatalogueState, Health, Missing};
use catalogue_schema::id::{CatalogueId, SourceId};
use catalogue_schema::model::{Refusal, Warning};
use catalogue_schema::packed::Packed;
use catalogue_schema::policy::Removals;
use catalogue_schema::revision::{RevisionKey, SignedBy};
use catalogue_schema::version::Version;

use crate::sync::reading::{Mode, Reader};
use crate::sync::{NodeKey, key};

/// The reason for what a signed catalogue lists no more.
pub(super) const REMOVED: &str = "trust.removed";

/// How many releases are named that are gone.
const NAMED_MAX: usize = 5;

impl Reader<'_> {
    /// Looks for what a catalogue leaves out that it listed.
    ///
    /// **Errors**: why it may not be used, where a policy asks for that.
    pub(super) fn removals(
        &self,
        (errand, node, mode): (&Errand, &Node, Mode),
        state: &CatalogueState,
        signed: Option<&SignedBy>,
        (components, withdrawn): (&[Packed], &[Withdrawn]),
    ) -> Result<Option<Warning>, Refusal> {
        let before = self.known.nodes.get(&key(node));
        // Signed, or pinned by a list that is.
        let Some(before) = before.filter(|_| !state.signers.is_empty()) else { return Ok(None) };
        if before.digest == state.digest {
            // What it left out then it leaves out still; whole catalogues are looked for behind what is below it.
            let of_catalogues = told_missing(&before.missing).map(|told| warning(&told));
            let is_own = |one: &&Warning| one.reason == REMOVED && of_catalogues.as_ref() != Some(*one);
            return Ok(before.warnings.iter().find(is_own).cloned());
        }
        let memory_key = RevisionKey::of(node);
        // What an operator had forgotten promises nothing.
        let mut known = self.memory.known(&memory_key).iter();
        let was_promised = known.any(|known| known.signed.is_some() || signed.is_none());
        if mode == Mode::Recorded || !was_promised {
            return Ok(None);
        }
        let texts = (node.id.source.as_text(), node.id.name.as_text());
        let owned = self.known.owned.as_ref().and_then(|owned| owned.get(&texts));
        let most = usize::try_from(self.sync.limits.releases).unwrap_or(usize::MAX);
        let listed = listing(components.iter());
        let gone = gone(owned.into_iter().flatten().copied(), &listed, &told_of(withdrawn, most));
        told(&gone).map_or(Ok(None), |told| self.noticed(errand, &told, &memory_key))
    }

    /// Looks for the catalogues that a list leaves out with everything that they listed. `reached` is what it leads to today, and
    /// `listed` what lies below it; `components` and `catalogues` are what it says that it has taken back. One that was noticed before is told of until it is back, is taken back, or was forgotten.
    ///
    /// **Errors**: why it may not be used, where a policy asks for that.
    pub(super) fn dropped<'c>(
        &self,
        (errand, node, mode): (&Errand, &Node, Mode),
        state: &CatalogueState,
        (reached, listed): (&BTreeSet<NodeKey>, impl Iterator<Item = &'c Packed>),
        (components, catalogues): (&[Withdrawn], &[SourceId]),
    ) -> Result<Vec<Missing>, Refusal> {
        let before = self.known.nodes.get(&key(node)).filter(|_| !state.signers.is_empty());
        let Some(before) = before else { return Ok(Vec::new()) };
        let taken: HashSet<&SourceId> = catalogues.iter().collect();
        // What an operator had forgotten promises nothing: the list, or what it leaves out.
        let is_promised = |key: &RevisionKey| !self.memory.known(key).is_empty();
        let is_list_promised = is_promised(&RevisionKey::of(node));
        let is_missed = |name: &SourceId| {
            let child = CatalogueId { source: node.id.source.clone(), name: name.clone() };
            let memory_key = below(node, name);
            let is_here = reached.contains(&(child, false));
            !is_here && !taken.contains(name) && is_list_promised && is_promised(&memory_key)
        };
        let known: Vec<&Missing> = before.missing.iter().filter(|one| is_missed(&one.catalogue)).collect();
        let is_news = mode == Mode::Live && before.digest != state.digest;
        let dropped = if is_news { self.dropped_nodes(node, &is_missed) } else { Vec::new() };
        if known.is_empty() && dropped.is_empty() {
            return Ok(Vec::new());
        }
        let listed = listing(listed);
        let most = usize::try_from(self.sync.limits.releases).unwrap_or(usize::MAX);
        let withdrawn = told_of(components, most);
        let mut missing: Vec<Missing> =
            known.into_iter().filter_map(|one| still(one, &listed, &withdrawn)).collect();
        let news = self.missing(&dropped, &listed, &withdrawn);
        if !news.is_empty() && self.sync.rules.policies.removals() == Removals::Refuse {
            return Err(refused(errand, node, &news));
        }
        missing.extend(news);
        Ok(missing)
    }

    /// Notes in a list's state what it leaves out, and says so.
    pub(super) fn note_missing(&self, own: &mut CatalogueState, missing: &[Missing]) {
        own.warnings.extend(told_missing(missing).map(|told| warning(&told)));
        own.missing = missing.to_vec();
    }

    /// Returns what was below a list in the last generation and is missed, each with the name of what the list led to.
    fn dropped_nodes(&self, node: &Node, is_missed: &dyn Fn(&SourceId) -> bool) -> Vec<(SourceId, &Node)> {
        let depth = node.via.len();
        let promised = |state: &&CatalogueState| state.health != Health::Unread && !state.signers.is_empty();
        let nodes = self.known.nodes.values().copied().filter(promised);
        let below = nodes.filter_map(|state| state.errand.node());
        let below = below.filter(|found| found.via.get(depth) == Some(&node.id));
        let child = |found: &Node| found.via.get(depth + 1).unwrap_or(&found.id).name.clone();
        let mut dropped: Vec<(SourceId, &Node)> = below.map(|found| (child(found), found)).collect();
        dropped.retain(|(child, found)| {
            is_missed(child) && !self.memory.known(&RevisionKey::of(found)).is_empty()
        });
        dropped.sort_by(|(_, one), (_, other)| one.rank.cmp(&other.rank));
        dropped
    }

    /// Says what is gone with each of the catalogues that `dropped` names.
    fn missing(
        &self,
        dropped: &[(SourceId, &Node)],
        listed: &ListedBy<'_>,
        withdrawn: &HashMap<&str, Vec<&Withdrawn>>,
    ) -> Vec<Missing> {
        let Some(owned) = self.known.owned.as_ref() else { return Vec::new() };
        let mut missing: Vec<Missing> = Vec::new();
        for (name, found) in dropped {
            let texts = (found.id.source.as_text(), found.id.name.as_text());
            let before = owned.get(&texts).into_iter().flatten().copied();
            let releases = gone(before, listed, withdrawn);
            match missing.iter_mut().find(|one| one.catalogue == *name) {
                Some(known) => known.releases.extend(releases),
                None => missing.push(Missing { catalogue: name.clone(), releases, more: 0 }),
            }
        }
        missing.retain(|one| !one.releases.is_empty());
        for one in &mut missing {
            one.more = one.releases.len().saturating_sub(NAMED_MAX) as u64;
            one.releases.truncate(NAMED_MAX);
        }
        missing
    }

    /// Says what is gone as the policies ask for it.
    fn noticed(
        &self,
        errand: &Errand,
        told: &str,
        memory_key: &RevisionKey,
    ) -> Result<Option<Warning>, Refusal> {
        match self.sync.rules.policies.removals() {
            Removals::Refuse => {
                let expected = "everything that it listed, or a word of what was withdrawn";
                let found = format!(
                    "no word of {told}; to accept it: resolverd trust forget {memory_key} --reason TEXT"
                );
                Err(Refusal::new(REMOVED, &errand.want, expected, found))
            }
            Removals::Warn => Ok(Some(warning(told))),
        }
    }
}

/// Sorts what was withdrawn by component. Of more than `most` different words, as many as a run may list releases, the rest says nothing.
fn told_of(withdrawn: &[Withdrawn], most: usize) -> HashMap<&str, Vec<&Withdrawn>> {
    let mut told: HashMap<&str, Vec<&Withdrawn>> = HashMap::new();
    let mut seen: HashSet<(&str, Option<String>)> = HashSet::new();
    let mut left = most;
    for one in withdrawn {
        if left == 0 {
            break;
        }
        let id = one.id.as_text();
        if seen.insert((id, one.version.as_ref().map(Version::to_string))) {
            told.entry(id).or_default().push(one);
            left = left.saturating_sub(1);
        }
    }
    told
}

/// Returns the key of the memory of what a list leads to.
fn below(list: &Node, name: &SourceId) -> RevisionKey {
    RevisionKey { source: list.id.source.clone(), catalogue: Some(name.clone()) }
}

fn warning(told: &str) -> Warning {
    Warning::new(
        REMOVED,
        format!("its signers list no more, and do not say that they have withdrawn: {told}"),
    )
}

/// Names the first releases that are gone with whole catalogues, and those.
fn told_missing(missing: &[Missing]) -> Option<String> {
    let names = match missing {
        [] => return None,
        [one] => format!("catalogue {}", one.catalogue),
        [first, ..] => format!("{} catalogues, such as {}", missing.len(), first.catalogue),
    };
    let releases: Vec<String> = missing.iter().flat_map(|one| one.releases.iter().cloned()).collect();
    let unnamed = missing.iter().map(|one| one.more).fold(0, u64::saturating_add);
    Some(format!("{}, with the whole of {names}", told_with(&releases, unnamed)?))
}

/// Returns the refusal of a list: what to say in it, or the commands that accept it, one for each catalogue.
fn refused(errand: &Errand, list: &Node, missing: &[Missing]) -> Refusal {
    let named = missing.get(..NAMED_MAX.min(missing.len())).unwrap_or_default();
    let ids: Vec<String> = named.iter().map(|one| format!("{:?}", one.catalogue.as_text())).collect();
    let command =
        |one: &Missing| format!("resolverd trust forget {} --reason TEXT", below(list, &one.catalogue));
    let commands: Vec<String> = named.iter().map(command).collect();
    let more = match missing.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(", and so for {more} more"),
    };
    let expected =
        format!("everything that it listed, or \"withdrawn\": [{}] in the list{more}", ids.join(", "));
    let told = told_missing(missing).unwrap_or_default();
    let found = format!("no word of {told}; to accept it: {}{more}", commands.join("; "));
    Refusal::new(REMOVED, &errand.want, expected, found)
}

/// Returns what is still missing of a catalogue that was noticed before; nothing where nothing is.
fn still(
    known: &Missing,
    listed: &ListedBy<'_>,
    withdrawn: &HashMap<&str, Vec<&Withdrawn>>,
) -> Option<Missing> {
    let is_missing = |text: &&String| {
        let Some((id, version)) = text.rsplit_once('@') else { return true };
        let is_listed = listed.get(id).is_some_and(|versions| versions.contains(version));
        let own = withdrawn.get(id).map_or(&[][..], Vec::as_slice);
        let is_meant =
            |one: &&Withdrawn| one.version.as_ref().is_none_or(|meant| meant.to_string() == version);
        !is_listed && !own.iter().any(is_meant)
    };
    let releases: Vec<String> = known.releases.iter().filter(is_missing).cloned().collect();
    let is_over = releases.is_empty() && known.more == 0;
    (!is_over).then(|| Missing { releases, ..known.clone() })
}

/// The versions that are listed, by the id of the component.
type ListedBy<'a> = HashMap<&'a str, HashSet<&'a str>>;

fn listing<'a>(components: impl Iterator<Item = &'a Packed>) -> ListedBy<'a> {
    let mut listed = ListedBy::new();
    for one in components {
        listed.entry(one.id_text()).or_default().extend(one.all().map(|listed| listed.version_text()));
    }
    listed
}

/// Returns what was listed, is not, and was not withdrawn: ids of components, and versions of those that are still there.
fn gone<'a>(
    before: impl Iterator<Item = &'a Packed>,
    listed: &ListedBy<'_>,
    withdrawn: &HashMap<&str, Vec<&Withdrawn>>,
) -> Vec<String> {
    let mut gone = Vec::new();
    for component in before {
        let id = component.id_text();
        let own = withdrawn.get(id).map_or(&[][..], Vec::as_slice);
        if own.iter().any(|one| one.version.is_none()) {
            continue;
        }
        let named: HashSet<String> =
            own.iter().filter_map(|one| one.version.as_ref().map(Version::to_string)).collect();
        let is_gone = |version: &&str| {
            let is_listed = listed.get(id).is_some_and(|versions| versions.contains(version));
            !is_listed && !named.contains(*version)
        };
        gone.extend(
            component
                .all()
                .map(|listed| listed.version_text())
                .filter(is_gone)
                .map(|version| format!("{id}@{version}")),
        );
    }
    gone
}

/// Names the first of what is gone, and counts the rest; nothing where nothing is.
fn told(gone: &[String]) -> Option<String> {
    told_with(gone, 0)
}

/// Does what [`told`] does, where there are `unnamed` more than these.
fn told_with(gone: &[String], unnamed: u64) -> Option<String> {
    let named = gone.get(..NAMED_MAX.min(gone.len())).unwrap_or_default().join(", ");
    let more = unnamed.saturating_add(gone.len().saturating_sub(NAMED_MAX) as u64);
    match (named.is_empty(), more) {
        (true, 0) => None,
        (true, more) => Some(format!("{more} releases")),
        (false, 0) => Some(named),
        (false, more) => Some(format!("{named} and {more} more")),
    }
}

#[cfg(test)]
mod tests {
    use catalogue_schema::id::ComponentId;

    use super::*;

    #[test]
    fn what_was_withdrawn_is_looked_up_by_its_id_and_bounded() {
        let one = |id: &str, version: Option<&str>| Withdrawn {
            id: ComponentId::parse(id).expect("an id"),
            version: version.map(|text| Version::parse(text).expect("a version")),
        };
        let all = [
            one("lcod://acme/a", Some("1.0.0")),
            one("lcod://acme/b", None),
            one("lcod://acme/a", Some("1.0.0")),
            one("lcod://acme/c", None),
        ];
        let check = |most: usize, expected: [usize; 3]| {
            let told = told_of(&all, most);
            let count = |id: &str| told.get(id).map_or(0, Vec::len);
            assert_eq!(["lcod://acme/a", "lcod://acme/b", "lcod://acme/c"].map(count), expected, "{most}");
        };
        check(usize::MAX, [1, 1, 1]);
        check(3, [1, 1, 1]);
        check(2, [1, 1, 0]);
        check(0, [0, 0, 0]);
    }
}
