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
use catalogue_schema::generation::{CatalogueState, Health};
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
            // What it left out then it leaves out still.
            return Ok(before.warnings.iter().find(|warning| warning.reason == REMOVED).cloned());
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
        let gone = gone(owned.into_iter().flatten().copied(), components.iter(), &told_of(withdrawn, most));
        told(&gone).map_or(Ok(None), |told| self.noticed(errand, &told, &memory_key))
    }

    /// Looks for the catalogues that a list leaves out with everything that they listed. `reached` is what it leads to today, and
    /// `listed` what lies below it.
    ///
    /// **Errors**: why it may not be used, where a policy asks for that.
    pub(super) fn dropped<'c>(
        &self,
        (errand, node, mode): (&Errand, &Node, Mode),
        state: &CatalogueState,
        reached: &BTreeSet<NodeKey>,
        listed: impl Iterator<Item = &'c Packed>,
    ) -> Result<Option<Warning>, Refusal> {
        let is_signed = !state.signers.is_empty() && mode == Mode::Live;
        let before = self.known.nodes.get(&key(node)).filter(|before| before.digest != state.digest);
        if !is_signed || before.is_none() {
            // What it left out then was said when that was noticed.
            return Ok(None);
        }
        let depth = node.via.len();
        let is_dropped = |found: &Node| {
            let child = found.via.get(depth + 1).unwrap_or(&found.id);
            found.via.get(depth) == Some(&node.id) && !reached.contains(&(child.clone(), false))
        };
        let promised = |state: &&CatalogueState| state.health != Health::Unread && !state.signers.is_empty();
        let nodes = self.known.nodes.values().copied().filter(promised);
        let mut dropped: Vec<&Node> =
            nodes.filter_map(|state| state.errand.node()).filter(|found| is_dropped(found)).collect();
        // What an operator had forgotten promises nothing: the list, or what it leaves out.
        let memory_key = RevisionKey::of(node);
        let is_promised = |key: &RevisionKey| !self.memory.known(key).is_empty();
        dropped.retain(|found| is_promised(&memory_key) && is_promised(&RevisionKey::of(found)));
        dropped.sort_by(|one, other| one.rank.cmp(&other.rank));
        let texts = |found: &Node| (found.id.source.as_text().to_owned(), found.id.name.as_text().to_owned());
        let texts: Vec<(String, String)> = dropped.iter().map(|found| texts(found)).collect();
        let Some(owned) = self.known.owned.as_ref().filter(|_| !dropped.is_empty()) else { return Ok(None) };
        let owned = texts.iter().filter_map(|(source, name)| owned.get(&(source.as_str(), name.as_str())));
        let gone = gone(owned.flatten().copied(), listed, &HashMap::new());
        let Some(told) = told(&gone) else { return Ok(None) };
        let names = match dropped.as_slice() {
            [one] => format!("catalogue {}", one.id.name),
            all => format!("{} catalogues, such as {}", all.len(), all[0].id.name),
        };
        self.noticed(errand, &format!("{told}, with the whole of {names}"), &memory_key)
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
            Removals::Warn => {
                let text =
                    format!("its signers list no more, and do not say that they have withdrawn: {told}");
                Ok(Some(Warning::new(REMOVED, text)))
            }
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

/// Returns what was listed, is not, and was not withdrawn: ids of components, and versions of those that are still there.
fn gone<'a, 'b>(
    before: impl Iterator<Item = &'a Packed>,
    components: impl Iterator<Item = &'b Packed>,
    withdrawn: &HashMap<&str, Vec<&Withdrawn>>,
) -> Vec<String> {
    let mut listed: HashMap<&str, HashSet<&str>> = HashMap::new();
    for one in components {
        listed.entry(one.id_text()).or_default().extend(one.all().map(|listed| listed.version_text()));
    }
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
    let named = gone.get(..NAMED_MAX.min(gone.len())).filter(|named| !named.is_empty())?.join(", ");
    Some(match gone.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    })
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
