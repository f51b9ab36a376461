//! Where the component of an id stands among the components of a snapshot. Holds no id again: what it finds is compared with the
//! block that stands there. Never orders, never changes.
//!
//! An open table of twice as many slots as components. Ids come from outside, so that the hash has a key of its own.

use std::hash::{BuildHasher, RandomState};

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
        for (component, place) in components.iter().zip(0..NOWHERE) {
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
        let (tag, start) = self.hash(id.as_bytes());
        for at in self.around(start) {
            let slot = self.slots.get(at)?;
            if slot.place == NOWHERE {
                return None;
            }
            let place = slot.place as usize;
            if slot.tag == tag && components.get(place)?.id_bytes() == id.as_bytes() {
                return Some(place);
            }
        }
        None
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
        }
    }
}
