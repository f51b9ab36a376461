//! Where the component of an id stands among the components of a snapshot. Holds no id again: what it finds is compared with the
//! block that stands there. Never orders, never changes.
//!
//! An open table of twice as many slots as components. Ids come from outside, so that the hash has a key of its own.

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;

use catalogue_schema::pace;
use catalogue_schema::packed::Packed;

/// The table.
#[derive(Debug, Default)]
pub(super) struct Places {
    keys: RandomState,
    /// A power of two of them, at least one of which is empty.
    slots: Box<[Slot]>,
}

/// A part of the hash, and the place; [`NOWHERE`] in an empty slot.
#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    place: u32,
}

const NOWHERE: u32 = u32::MAX;

impl Places {
    /// Learns the places of `components`. More than four thousand million of them are not found.
    pub(super) fn of(components: &[Packed]) -> Places {
        let size = (2 * components.len()).next_power_of_two();
        let mut places =
            Places { keys: RandomState::new(), slots: vec![Slot { tag: 0, place: NOWHERE }; size].into() };
        for (component, place) in pace::each(components, pace::COMPONENT_NS).zip(0..NOWHERE) {
            let (tag, start) = places.hash(component.id_bytes());
            let free = places
                .around(start)
                .find(|at| places.slots.get(*at).is_some_and(|slot| slot.place == NOWHERE));
            if let Some(slot) = free.and_then(|at| places.slots.get_mut(at)) {
                *slot = Slot { tag, place };
            }
        }
        places
    }

    /// Returns the place of `id` among `components`, which are those that were learned.
    pub(super) fn find(&self, id: &str, components: &[Packed]) -> Option<usize> {
        self.likely(self.hash(id.as_bytes())).find(|place| is_of(components, *place, id))
    }

    /// Returns the first place whose id has the same hash as `id`, which nearly always is the place of `id`.
    pub(super) fn guess(&self, id: &str) -> Option<usize> {
        self.likely(self.hash(id.as_bytes())).next()
    }

    /// Finds each of `ids` as [`Places::find`] does, all of them step by step, so that a processor waits for the memory of many at
    /// once instead of one after the other.
    pub(super) fn find_all(&self, ids: &[&str], components: &[Packed]) -> Vec<Option<usize>> {
        let hashes: Vec<_> = ids.iter().map(|id| self.hash(id.as_bytes())).collect();
        let likely: Vec<_> = hashes.into_iter().map(|hash| self.likely(hash).next()).collect();
        let blocks = || likely.iter().filter_map(|place| components.get((*place)?));
        fetched(blocks().filter_map(|block| block.as_bytes().first().copied()));
        fetched(blocks().filter_map(|block| block.id_bytes().first().copied()));
        let found = |(id, place): (&&str, Option<usize>)| match place {
            Some(place) if is_of(components, place, id) => Some(place),
            Some(_) => self.find(id, components),
            None => None,
        };
        ids.iter().zip(likely).map(found).collect()
    }

    /// Returns the places of components whose ids have this hash, as far as the table tells.
    fn likely(&self, (tag, start): (u32, usize)) -> impl Iterator<Item = usize> {
        let slots = self.around(start).map_while(|at| self.slots.get(at));
        let taken = slots.take_while(|slot| slot.place != NOWHERE);
        taken.filter(move |slot| slot.tag == tag).map(|slot| slot.place as usize)
    }

    /// Returns the part of the hash that is kept, and the slot to begin at.
    fn hash(&self, id: &[u8]) -> (u32, usize) {
        let hash = self.keys.hash_one(id);
        // Two halves that share no bit below four thousand million slots.
        ((hash >> 32) as u32, (hash & u64::from(u32::MAX)) as usize & self.slots.len().saturating_sub(1))
    }

    fn around(&self, start: usize) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len().saturating_sub(1);
        (0..self.slots.len()).map(move |step| (start + step) & mask)
    }
}

fn is_of(components: &[Packed], place: usize, id: &str) -> bool {
    components.get(place).is_some_and(|component| component.id_bytes() == id.as_bytes())
}

/// How many bytes a processor fetches at once.
const MEMORY_LINE: usize = 64;

/// Returns bytes of all lines of memory that an answer stands in, all in one.
pub fn lines(answer: &[&[u8]; 3]) -> u8 {
    let bytes = answer.iter().flat_map(|part| part.iter().step_by(MEMORY_LINE));
    bytes.fold(0, |sum, byte| sum ^ byte)
}

/// Has the processor fetch memory: one byte of each part. None of the loads waits for another, so that they wait together.
pub fn fetched(bytes: impl Iterator<Item = u8>) {
    black_box(bytes.fold(0_u8, |sum, byte| sum ^ byte));
}

#[cfg(test)]
mod tests {
    use catalogue_schema::model::Component;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_id_is_found_at_its_place_and_no_other_is() {
        for count in [0_usize, 1, 2, 3, 64, 1000] {
            let component = |at: usize| -> Component {
                let owner = json!({"source": "s", "name": "c"});
                let read = json!({"id": format!("lcod://n/x{at}"), "owner": owner, "releases": []});
                serde_json::from_value(read).expect("a component")
            };
            let packed: Vec<Packed> =
                (0..count).map(|at| Packed::of(&component(at)).expect("it can be packed")).collect();
            let places = Places::of(&packed);
            for at in 0..count + 10 {
                let expected = (at < count).then_some(at);
                assert_eq!(places.find(&format!("lcod://n/x{at}"), &packed), expected, "{at} of {count}");
            }
            let ids: Vec<String> = (0..count + 10).map(|at| format!("lcod://n/x{at}")).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let expected: Vec<_> = (0..count + 10).map(|at| (at < count).then_some(at)).collect();
            assert_eq!(places.find_all(&ids, &packed), expected, "all of {count}");
        }
    }
}
