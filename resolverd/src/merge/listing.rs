//! What one catalogue lists, packed component by component while it is read, so that few releases are values at a time.
//!
//! Of versions that resolution cannot tell apart one stays. Never compares catalogues.

use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;

use catalogue_schema::id::{CatalogueId, ComponentId};
use catalogue_schema::model::{Component, Release};
use catalogue_schema::packed::write::Packer;
use catalogue_schema::packed::{Packed, PackedError};

/// How many releases are held as values before they are packed, where ids come back: each takes several times the room of its
/// part of a block.
const WAITING_MAX: usize = 2048;
/// How many are held as long as no id came back: what was just read is still at hand for the processor.
const WAITING_FEW: usize = 48;

/// For how many releases a list may have room that is kept for the next ones.
const SPARE_ROOM_MAX: usize = 4 * WAITING_FEW;

/// What a catalogue has listed so far.
#[derive(Debug)]
pub struct Listing {
    owner: CatalogueId,
    packer: Packer,
    /// Releases that follow each other and have one id, in lists that are never empty.
    waiting: Vec<Vec<Release>>,
    /// How many releases wait.
    waiting_count: usize,
    /// Empty lists that have room.
    spare: Vec<Vec<Release>>,
    components: Vec<Packed>,
    places: HashMap<ComponentId, usize>,
    /// What came later of an id, by the place of what came first. Most catalogues list the versions of an id one after the other.
    later: BTreeMap<usize, Vec<Packed>>,
    count: u64,
    refused: u64,
    /// Why it cannot be finished.
    fault: Option<PackedError>,
}

impl Listing {
    /// Begins with nothing that `owner` lists.
    pub fn of(owner: CatalogueId) -> Listing {
        Listing {
            owner,
            packer: Packer::default(),
            waiting: Vec::new(),
            waiting_count: 0,
            spare: Vec::new(),
            components: Vec::new(),
            places: HashMap::new(),
            later: BTreeMap::new(),
            count: 0,
            refused: 0,
            fault: None,
        }
    }

    /// Returns how many releases were added, each time that it was listed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns how many of them may not be used.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Adds releases.
    pub fn add(&mut self, releases: impl IntoIterator<Item = Release>) {
        for release in releases {
            self.count += 1;
            self.refused += u64::from(release.verdict.refusal().is_some());
            self.wait(release);
        }
        if self.waiting_count > WAITING_MAX {
            self.pack();
        } else if self.waiting_count > WAITING_FEW && self.later.is_empty() {
            // The last component may not be whole yet.
            let last = self.waiting.pop();
            self.pack();
            self.waiting_count = last.as_ref().map_or(0, Vec::len);
            self.waiting.extend(last);
        }
    }

    fn wait(&mut self, release: Release) {
        self.waiting_count += 1;
        match self.waiting.last_mut() {
            Some(run) if run.last().is_some_and(|last| last.id == release.id) => run.push(release),
            _ => {
                let mut run = self.spare.pop().unwrap_or_default();
                run.push(release);
                self.waiting.push(run);
            }
        }
    }

    /// Adds a component that is packed already, of the same owner; its shadows are left behind.
    pub fn take_over(&mut self, component: &Packed) {
        self.count += component.count() as u64;
        self.refused += component.all().filter(|listed| listed.is_refused()).count() as u64;
        // What is listed twice counts where it stands first.
        self.pack();
        match component.id().and_then(|id| Ok((id, component.with_shadows(&[])?))) {
            Ok((id, packed)) => self.place(id, packed),
            Err(fault) => self.fault = Some(fault),
        }
    }

    /// Refuses releases of the components `ids`, also those that are packed already.
    pub fn refuse(&mut self, ids: &BTreeSet<ComponentId>, refuse: impl Fn(&mut Release) -> bool) {
        self.pack();
        let Listing { packer, components, places, later, refused, fault, .. } = self;
        for at in ids.iter().filter_map(|id| places.get(id).copied()) {
            let parts = components.get_mut(at).into_iter().chain(later.get_mut(&at).into_iter().flatten());
            for part in parts {
                let repacked = part.component().and_then(|mut component| {
                    let count =
                        component.releases.iter_mut().filter_map(|one| refuse(one).then_some(1)).sum::<u64>();
                    Ok((packer.pack(&component)?, count))
                });
                match repacked {
                    Ok((packed, count)) => {
                        *part = packed;
                        *refused += count;
                    }
                    Err(found) => *fault = Some(found),
                }
            }
        }
    }

    /// Returns the components, each id once.
    ///
    /// **Errors**: a component cannot be read or packed.
    pub fn finish(mut self) -> Result<Vec<Packed>, PackedError> {
        self.pack();
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        for (place, later) in take(&mut self.later) {
            let Some(first) = self.components.get_mut(place) else { continue };
            let mut component = first.component()?;
            for part in later {
                component.releases.extend(part.component()?.releases);
            }
            in_order(&mut component.releases);
            *first = self.packer.pack(&component)?;
        }
        Ok(self.components)
    }

    fn pack(&mut self) {
        self.waiting_count = 0;
        for releases in by_id(take(&mut self.waiting)) {
            let Some(id) = releases.first().map(|first| first.id.clone()) else { continue };
            let owner = self.owner.clone();
            let mut component = Component { id, owner, releases, shadowed: Vec::new() };
            let packed = self.packer.pack(&component);
            if self.spare.len() < WAITING_FEW && component.releases.capacity() <= SPARE_ROOM_MAX {
                component.releases.clear();
                self.spare.push(component.releases);
            }
            match packed {
                Ok(packed) => self.place(component.id, packed),
                Err(fault) => self.fault = Some(fault),
            }
        }
    }

    fn place(&mut self, id: ComponentId, packed: Packed) {
        match self.places.entry(id) {
            Entry::Vacant(place) => {
                place.insert(self.components.len());
                self.components.push(packed);
            }
            Entry::Occupied(place) => self.later.entry(*place.get()).or_default().push(packed),
        }
    }
}

/// Groups lists of releases by id, each group in order. Each list has one id.
fn by_id(lists: Vec<Vec<Release>>) -> Vec<Vec<Release>> {
    let mut places: HashMap<ComponentId, usize> = HashMap::with_capacity(lists.len());
    let mut groups: Vec<Vec<Release>> = Vec::with_capacity(lists.len());
    for list in lists {
        let Some(id) = list.first().map(|first| first.id.clone()) else { continue };
        let place = *places.entry(id).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.extend(list),
            None => groups.push(list),
        }
    }
    groups.iter_mut().for_each(in_order);
    groups
}

/// Sorts releases of an id, oldest version first; of twins (versions that resolution cannot tell apart) the first stays.
fn in_order(releases: &mut Vec<Release>) {
    releases.sort_by(|one, other| one.version.cmp(&other.version));
    releases.dedup_by(|later, earlier| later.version.is_twin_of(&earlier.version));
}

#[cfg(test)]
mod tests {
    use catalogue_schema::model::{Refusal, Verdict};
    use proptest::prelude::*;

    use super::*;
    use crate::merge::tests::{owner, release};

    /// What is listed in one piece: the meaning of a listing, however its releases arrive.
    fn at_once(releases: Vec<Release>) -> Vec<Packed> {
        let pack = |releases: Vec<Release>| {
            let id = releases[0].id.clone();
            let component = Component { id, owner: owner("s", "a"), releases, shadowed: Vec::new() };
            Packed::of(&component).expect("it can be packed")
        };
        by_id(releases.into_iter().map(|one| vec![one]).collect()).into_iter().map(pack).collect()
    }

    fn sorted(mut components: Vec<Packed>) -> Vec<Packed> {
        components.sort_by(|one, other| one.id_bytes().cmp(other.id_bytes()));
        components
    }

    proptest! {
        /// Ids come back after others have come, in releases and in whole components, and twins stand far apart.
        #[test]
        fn it_does_not_matter_how_releases_arrive(
            rounds in prop::collection::vec(
                (prop::collection::vec((0usize..4, 0u64..4, 0usize..3), 0..6), 0usize..4),
                0..6,
            ),
        ) {
            let mut listing = Listing::of(owner("s", "a"));
            let mut all = Vec::new();
            for (round, way) in rounds {
                let releases = round.into_iter().map(|(id, major, build)| {
                    release(&format!("n/{id}"), &format!("{major}.0.0{}", ["", "+a", "+b"][build]))
                });
                let releases: Vec<Release> = releases.collect();
                match way {
                    0 => at_once(releases.clone()).iter().for_each(|one| listing.take_over(one)),
                    1 => {
                        listing.add(releases.clone());
                        listing.pack();
                    }
                    _ => listing.add(releases.clone()),
                }
                all.extend(releases);
            }
            prop_assert_eq!(sorted(listing.finish().expect("packed")), sorted(at_once(all)));
        }
    }

    #[test]
    fn many_releases_of_many_ids_are_all_there() {
        let mut listing = Listing::of(owner("s", "a"));
        let count = 3 * WAITING_MAX;
        // Each id comes back in every round.
        for at in 0..count {
            let listed = release(&format!("n/{}", at % 500), &format!("{}.0.0", at / 500));
            listing.add([listed]);
        }
        assert_eq!((listing.count(), listing.refused()), (count as u64, 0));
        let components = listing.finish().expect("packed");
        assert_eq!(components.len(), 500);
        assert_eq!(components.iter().map(Packed::count).sum::<usize>(), count);
    }

    #[test]
    fn releases_are_refused_wherever_they_wait() {
        let mut listing = Listing::of(owner("s", "a"));
        for version in ["1.0.0", "2.0.0"] {
            listing.add([release("n/a", version), release("n/b", version)]);
            listing.pack();
        }
        listing.add([release("n/a", "3.0.0")]);
        let ids = BTreeSet::from([release("n/a", "1.0.0").id]);
        listing.refuse(&ids, |one| {
            let is_old = one.version.to_string() != "1.0.0";
            if is_old {
                one.verdict = Verdict::Refused(Refusal::new("x.y", "a", "b", "c"));
            }
            is_old
        });
        assert_eq!((listing.count(), listing.refused()), (5, 2));
        let refused = |one: &Packed| one.all().filter(|listed| listed.is_refused()).count();
        let found = sorted(listing.finish().expect("packed"));
        assert_eq!(found.iter().map(refused).collect::<Vec<_>>(), [2, 0]);
    }
}
