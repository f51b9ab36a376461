//! Where the answer about a release stands, by its id and exact version: one look instead of one for the component, a search among its
//! versions, and a look at what it knows of them. Most of the time of a request that is not the system's is waiting for memory, and
//! here that is the table, where the block lies, and the answer. Holds no text: what is found says itself whose it is. Never changes.
//!
//! A key is what a path says of a release, `lcod/ns/name/1.0.0`: the id with a slash in place of what stands behind its dialect, and
//! the version. Only versions of three numbers are in the table, only those without a twin of other build metadata, none whose key is
//! the id of a component as well, and none with an answer that has a part of more than 64 KiB: whoever finds nothing here looks in
//! another way.
//!
//! An open table, at least a fifth of it empty. Keys come from outside, so that the hash has a key of its own.

use std::collections::HashSet;
use std::hash::BuildHasher;

use catalogue_schema::id::REFERENCE_BYTES_MAX;
use catalogue_schema::packed::{Listed, Packed, is_answer_of};
use foldhash::quality::RandomState;
use semver::{Comparator, Version};

use crate::store::places::{fetched, lines};

/// The table.
#[derive(Debug)]
pub struct Exact {
    keys: RandomState,
    /// A power of two of them.
    slots: Box<[Slot]>,
    /// The newest release of each component, at its place.
    newest: Box<[Newest]>,
}

/// The newest release that may be chosen where nothing is asked for, if its version is three numbers: whatever requirement without a
/// prerelease it meets, none that is newer does.
#[derive(Debug, Clone, Copy)]
struct Newest {
    triple: [u32; 3],
    /// Empty where there is none, or it does not fit.
    slot: Slot,
}

/// What is known of a release: sixteen bytes, so that four of them are fetched together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    /// The place of its component; [`NOWHERE`] in an empty slot.
    place: u32,
    /// A part of the hash, and the marks.
    tag: u32,
    /// Where in the block its answer begins.
    start: u32,
    /// How long its first and its last part are.
    front: u16,
    back: u16,
}

const NOWHERE: u32 = u32::MAX;
const EMPTY: Slot = Slot { place: NOWHERE, tag: 0, start: 0, front: 0, back: 0 };

/// Marks of a slot: the release is neither refused nor withdrawn; others list the component too.
const USABLE: u32 = 1;
const SHADOWING: u32 = 1 << 1;
const TAG: u32 = !(USABLE | SHADOWING);

impl Slot {
    /// Makes the slot of a release; `None` for one that does not fit.
    fn of(hash: u64, place: u32, component: &Packed, listed: &Listed<'_>) -> Option<Slot> {
        let [start, splice, end] = listed.answer_at();
        let mark = |is_so: bool, mark: u32| if is_so { mark } else { 0 };
        Some(Slot {
            place,
            tag: tag(hash) | mark(listed.is_usable(), USABLE) | mark(component.is_shadowing(), SHADOWING),
            start: u32::try_from(start).ok()?,
            front: u16::try_from(splice.checked_sub(start)?).ok()?,
            back: u16::try_from(end.checked_sub(splice)?).ok()?,
        })
    }

    fn is_usable(self) -> bool {
        self.tag & USABLE != 0
    }

    /// Returns bytes of the lines of memory that [`Slot::answer`] looks at, all in one: what is shadowed stands behind the head of the
    /// block.
    fn begin(self, components: &[Packed]) -> Option<u8> {
        let block = components.get(self.place as usize)?.as_bytes();
        let head = if self.tag & SHADOWING == 0 { 0 } else { *block.first()? };
        Some(head ^ block.get(self.start as usize)?)
    }

    /// Returns the answer that it leads to; `None` for an empty slot.
    fn answer(self, components: &[Packed]) -> Option<[&[u8]; 3]> {
        let component = components.get(self.place as usize)?;
        let (start, front, back) = (self.start as usize, usize::from(self.front), usize::from(self.back));
        let text = component.as_bytes().get(start..start + front + back)?;
        let shadows = if self.tag & SHADOWING == 0 { UNSHADOWED } else { component.shadows_text() };
        let (front, back) = text.split_at_checked(front)?;
        Some([front, shadows, back])
    }
}

impl Newest {
    fn of(place: u32, component: &Packed) -> Newest {
        let newest = component.latest().filter(Listed::is_plain).and_then(|listed| {
            let (major, minor, patch) = listed.triple();
            let [major, minor, patch] = [major, minor, patch].map(u32::try_from);
            Some(Newest {
                triple: [major.ok()?, minor.ok()?, patch.ok()?],
                slot: Slot::of(0, place, component, &listed)?,
            })
        });
        newest.unwrap_or(Newest { triple: [0; 3], slot: EMPTY })
    }
}

/// What stands in the answers of a component that nobody else lists.
const UNSHADOWED: &[u8] = b"[]";

/// Returns the part of a hash that a slot keeps: none of the bits that say where it stands.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32 & TAG
}

impl Exact {
    /// Learns the releases of `components`.
    pub fn of(components: &[Packed]) -> Exact {
        let count: usize = components.iter().map(Packed::count).sum();
        let size = (count + count / 4 + 1).next_power_of_two();
        let newest = components.iter().zip(0..NOWHERE).map(|(component, place)| Newest::of(place, component));
        let newest = newest.collect();
        let mut exact = Exact { keys: RandomState::default(), slots: vec![EMPTY; size].into(), newest };
        // Hardly any id ends with a version.
        let is_ambiguous = |id: &&str| is_version_last(id);
        let ids: HashSet<&[u8]> =
            components.iter().map(Packed::id_text).filter(is_ambiguous).map(str::as_bytes).collect();
        let (mut key, mut longer) = (Vec::new(), Vec::new());
        for (component, place) in components.iter().zip(0..NOWHERE) {
            let Some(parts) = Parts::of(component.id_text()) else { continue };
            parts.key("", &mut key);
            let before_version = key.len();
            for listed in component.all().filter(|listed| is_alone(component, listed)) {
                key.truncate(before_version);
                // Made of numbers that stand together, instead of read where the answer stands.
                listed.write_version(&mut key);
                if !ids.is_empty() {
                    longer.clear();
                    longer.extend(component.id_bytes());
                    longer.extend(key.get(before_version.saturating_sub(1)..).unwrap_or_default());
                    if ids.contains(longer.as_slice()) {
                        continue;
                    }
                }
                let hash = exact.keys.hash_one(key.as_slice());
                if let Some(slot) = Slot::of(hash, place, component, &listed) {
                    exact.put(hash, slot);
                }
            }
        }
        exact
    }

    /// Finds the answer about the release that a path says, `lcod/ns/name/1.0.0`, in its parts, among `components`, which are those
    /// that were learned.
    pub fn find<'s>(&self, path: &str, components: &'s [Packed]) -> Option<[&'s [u8]; 3]> {
        let (id, version) = path.rsplit_once('/').filter(|(_, word)| word.starts_with(is_digit))?;
        let (dialect, name) = id.split_once('/')?;
        let parts = Parts { dialect, name };
        let slots = self.likely(self.hash(path));
        let mut found = slots.filter_map(|slot| slot.answer(components));
        found.find(|answer| parts.is_in(answer, version))
    }

    /// Returns the answer about the newest release of the component at a place, where it meets `comparator`, which names no prerelease.
    pub fn newest<'s>(
        &self,
        place: usize,
        comparator: &Comparator,
        components: &'s [Packed],
    ) -> Option<[&'s [u8]; 3]> {
        let Newest { triple, slot } = self.newest.get(place)?;
        let [major, minor, patch] = triple.map(u64::from);
        let is_met = comparator.matches(&Version::new(major, minor, patch));
        slot.answer(components).filter(|_| is_met)
    }

    /// Finds the answers about ids and versions, `lcod://ns/name@1.0.0`; `None` where one of them is too long, not found, or may not
    /// be used.
    pub fn find_all<'s>(&self, texts: &[&str], components: &'s [Packed]) -> Option<Vec<[&'s [u8]; 3]>> {
        let mut key = Vec::new();
        let mut wanted = Vec::with_capacity(texts.len());
        for text in texts {
            let (id, version) = text.rsplit_once('@').filter(|_| text.len() <= REFERENCE_BYTES_MAX)?;
            Parts::of(id)?.key(version, &mut key);
            wanted.push((id, version, self.keys.hash_one(key.as_slice())));
        }
        self.fetch(wanted.iter().map(|(.., hash)| *hash), components);
        // Where another one has the same part of its hash, they are looked for one by one.
        let found = wanted.iter().map(|(id, version, hash)| {
            let slot = self.likely(*hash).next().filter(|slot| slot.is_usable())?;
            slot.answer(components).filter(|[front, ..]| is_answer_of(front, &[id], version))
        });
        found.collect()
    }

    /// Returns the hash of what a path says of a release, for [`Exact::fetch`].
    pub fn hash(&self, path: &str) -> u64 {
        self.keys.hash_one(path.as_bytes())
    }

    /// Has the processor fetch all that finding and copying the answers with these hashes takes, step by step for all of them, so that
    /// it waits for the memory of many at once instead of one after the other. Changes nothing, and may be left out.
    pub fn fetch(&self, hashes: impl Iterator<Item = u64> + Clone, components: &[Packed]) {
        let first = hashes.clone().filter_map(|hash| self.slots.get(self.around(hash).next()?));
        fetched(first.map(|slot| slot.tag as u8));
        let slots = hashes.filter_map(|hash| self.likely(hash).next());
        fetched(slots.clone().filter_map(|slot| slot.begin(components)));
        fetched(slots.filter_map(|slot| slot.answer(components)).map(|answer| lines(&answer)));
    }

    fn put(&mut self, hash: u64, slot: Slot) {
        let is_free = |at: &usize| self.slots.get(*at).is_some_and(|slot| slot.place == NOWHERE);
        let free = self.around(hash).find(is_free);
        if let Some(free) = free.and_then(|at| self.slots.get_mut(at)) {
            *free = slot;
        }
    }

    /// Returns the slots of keys with this hash, as far as the table tells.
    fn likely(&self, hash: u64) -> impl Iterator<Item = Slot> {
        let slots = self.around(hash).filter_map(|at| self.slots.get(at).copied());
        let taken = slots.take_while(|slot| slot.place != NOWHERE);
        taken.filter(move |slot| slot.tag & TAG == tag(hash))
    }

    fn around(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let (mask, start) = (self.slots.len().saturating_sub(1), hash as u32 as usize);
        (0..self.slots.len()).map(move |step| start.wrapping_add(step) & mask)
    }
}

/// The parts of an id that a path spells alike: its dialect, and what stands behind the colon and its slashes.
#[derive(Debug, Clone, Copy)]
struct Parts<'a> {
    dialect: &'a str,
    name: &'a str,
}

impl<'a> Parts<'a> {
    fn of(id: &'a str) -> Option<Parts<'a>> {
        let (dialect, rest) = id.split_once(':')?;
        Some(Parts { dialect, name: rest.strip_prefix("//").unwrap_or(rest) })
    }

    fn key(self, version: &str, key: &mut Vec<u8>) {
        key.clear();
        for part in [self.dialect, "/", self.name, "/", version] {
            key.extend(part.as_bytes());
        }
    }

    /// Tells whether an answer is that of such an id, in either form, and this version.
    fn is_in(self, answer: &[&[u8]; 3], version: &str) -> bool {
        let is_in = |colon| is_answer_of(answer[0], &[self.dialect, colon, self.name], version);
        is_in("://") || is_in(":")
    }
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// Tells whether an id ends as a version of three numbers does, behind a slash.
fn is_version_last(id: &str) -> bool {
    let last = id.rsplit_once('/').map_or(id, |(_, last)| last);
    last.bytes().filter(|byte| *byte == b'.').count() == 2
        && last.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit())
}

/// Tells whether its version is three numbers, and none in its component differs from it in build metadata alone.
fn is_alone(component: &Packed, listed: &Listed<'_>) -> bool {
    let is_twin = |next: Listed<'_>| next.triple() == listed.triple();
    listed.is_plain() && !component.listed(listed.at() + 1).is_some_and(is_twin)
}

#[cfg(test)]
mod tests {
    use catalogue_schema::model::{Component, Shadow};
    use catalogue_schema::version::Version as Semver;
    use serde_json::json;

    use super::*;

    fn packed(id: &str, versions: &[String]) -> Packed {
        let release = |version: &String| {
            let verdict = json!({"trusted": {"level": "pinned"}});
            json!({"id": id, "version": version, "origin": {}, "dependencies": [], "verdict": verdict, "extra": {}})
        };
        let releases: Vec<_> = versions.iter().map(release).collect();
        let owner = json!({"source": "s", "name": "c"});
        let read = json!({"id": id, "owner": owner, "releases": releases});
        let component: Component = serde_json::from_value(read).expect("a component");
        Packed::of(&component).expect("it can be packed")
    }

    fn texts(versions: &[&str]) -> Vec<String> {
        versions.iter().map(|version| (*version).to_owned()).collect()
    }

    fn path_and_text(component: &Packed, version: &str) -> (String, String) {
        let id = component.id_text();
        let path = id.replacen("://", "/", 1).replacen(':', "/", 1);
        (format!("{path}/{version}"), format!("{id}@{version}"))
    }

    /// An id may end as a version does, and its path then be that of another one's release.
    #[test]
    fn a_path_that_two_things_have_leads_nowhere() {
        let mut components: Vec<Packed> =
            ["lcod://n/x", "lcod://n/x/1.2.3", "lcod://n/x/1.3", "lcod://n/1.2.3.4", "lcod://n/17"]
                .map(|id| packed(id, &texts(&["1.2.3", "1.3.0"])))
                .into();
        components.sort_by(|one, other| one.id_text().cmp(other.id_text()));
        let exact = Exact::of(&components);
        let is_found = |path: &str| exact.find(path, &components).is_some();
        assert!(!is_found("lcod/n/x/1.2.3"));
        for path in ["x/1.3.0", "x/1.2.3/1.2.3", "x/1.3/1.3.0", "1.2.3.4/1.2.3", "17/1.3.0"] {
            assert!(is_found(&format!("lcod/n/{path}")), "{path}");
        }
    }

    #[test]
    fn every_plain_version_is_found_at_its_place_and_no_other_is() {
        let many: Vec<String> = (0..300).map(|minor| format!("1.{minor}.{}", minor % 7)).collect();
        let mut components: Vec<Packed> = (0..400)
            .map(|at| packed(&format!("lcod://n/x{at}"), &many[..at % 11 * 3]))
            .chain([packed("lcod://n/all", &many)])
            .chain([packed("estream:@p/name", &many[..5]), packed("estream:name", &many[..5])])
            .chain([packed("flowctl:p/name", &many[..5])])
            .collect();
        components.sort_by(|one, other| one.id_text().cmp(other.id_text()));
        let exact = Exact::of(&components);
        let (mut paths, mut names) = (Vec::new(), Vec::new());
        for component in &components {
            for version in &many {
                let expected = component.exact(&Semver::parse(version).expect("a version"));
                let (path, text) = path_and_text(component, version);
                let found = exact.find(&path, &components);
                let told = expected.map(|listed| listed.answer().concat());
                assert_eq!(found.map(|answer| answer.concat()), told, "{path}");
                if expected.is_some() {
                    names.push(text);
                } else {
                    let one: &[&str] = &[&text];
                    assert!(exact.find_all(one, &components).is_none(), "{text}");
                }
                paths.push(path);
            }
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = exact.find_all(&names, &components).expect("all of them are there");
        for (answer, name) in found.iter().zip(&names) {
            let (id, version) = name.split_once("@1").expect("a name");
            let expected = format!("\"id\":\"{id}\",\"version\":\"1{version}\",");
            assert!(answer.concat().starts_with(expected.as_bytes()), "{name}");
        }
        assert_eq!(found.len(), names.len());
        for path in paths {
            for wrong in
                [format!("{path}0x"), format!("x{path}"), path.replace('/', "//"), path.replace('/', ":")]
            {
                assert!(exact.find(&wrong, &components).is_none(), "{wrong}");
            }
        }
    }

    #[test]
    fn the_newest_is_the_answer_where_it_meets_what_is_asked() {
        let components = [
            packed("lcod://a/a", &texts(&["0.9.0", "1.0.0", "1.4.2", "2.0.0-rc.1"])),
            packed("lcod://a/b", &texts(&["1.0.0", "1.1.0+build"])),
            packed("lcod://a/c", &texts(&["5000000000.0.0"])),
            packed("lcod://a/d", &[]),
        ];
        let exact = Exact::of(&components);
        let newest = |place: usize, text: &str| {
            exact.newest(place, &Comparator::parse(text).expect("a comparator"), &components)
        };
        let expected = components[0].listed(2).expect("it is there").answer();
        for text in ["^1", "^1.4", "~1.4", "^1.4.2"] {
            assert_eq!(newest(0, text), Some(expected), "{text}");
        }
        for (place, text) in
            [(0, "^0.9"), (0, "^2"), (0, "~1.0"), (1, "^1"), (2, "^5000000000"), (3, "^0"), (4, "^1")]
        {
            assert_eq!(newest(place, text), None, "{place} {text}");
        }
    }

    #[test]
    fn what_could_mean_two_is_not_found() {
        let versions = texts(&["1.0.0-rc.1", "1.0.0", "1.1.0", "1.1.0+build", "1.2.0+build", "2.0.0"]);
        let components = [packed("lcod://a/b", &versions), packed("lcod://a/b/2.0.0", &texts(&["1.0.0"]))];
        let exact = Exact::of(&components);
        let found: Vec<&String> = versions
            .iter()
            .filter(|version| exact.find(&format!("lcod/a/b/{version}"), &components).is_some())
            .collect();
        assert_eq!(found, ["1.0.0"]);
        assert!(exact.find("lcod/a/b/2.0.0/1.0.0", &components).is_some());
    }

    #[test]
    fn answers_say_who_else_lists_the_component() {
        let catalogue = json!({"source": "t", "name": "c"});
        let shadow: Shadow =
            serde_json::from_value(json!({"catalogue": catalogue, "versions": ["1.0.0"]})).expect("a shadow");
        let alone = packed("lcod://a/b", &texts(&["1.0.0", "1.1.0"]));
        let components =
            [alone.with_shadows(&[shadow]).expect("it can be packed"), packed("lcod://a/c", &[])];
        let exact = Exact::of(&components);
        for (at, version) in ["1.0.0", "1.1.0"].into_iter().enumerate() {
            let answer = exact.find(&format!("lcod/a/b/{version}"), &components).expect("it is there");
            assert_eq!(answer, components[0].listed(at).expect("it is there").answer());
            assert!(answer[1].len() > 2, "{version}");
        }
    }

    #[test]
    fn an_id_is_found_as_it_is_written_only() {
        let components = [packed("lcod://a/b", &texts(&["1.0.0"]))];
        let exact = Exact::of(&components);
        let all = |text: &str| exact.find_all(&[text], &components).map(|found| found.len());
        assert_eq!(all("lcod://a/b@1.0.0"), Some(1));
        for text in
            ["lcod:a/b@1.0.0", "lcod/a/b@1.0.0", "lcod:///a/b@1.0.0", "lcod://a/b/1.0.0", "lcod://a/b@1.0"]
        {
            assert_eq!(all(text), None, "{text}");
        }
        assert!(Exact::of(&[]).find("lcod/a/b/1.0.0", &[]).is_none());
        // A reference has a length that it may have, and an id may have all of it.
        for (more, expected) in [(0, Some(1)), (1, None)] {
            let length = REFERENCE_BYTES_MAX - "lcod://a/@1.0.0".len() + more;
            let components = [packed(&format!("lcod://a/{}", "x".repeat(length)), &texts(&["1.0.0"]))];
            let text = format!("{}@1.0.0", components[0].id_text());
            let found = Exact::of(&components).find_all(&[&text], &components);
            assert_eq!(found.map(|found| found.len()), expected, "{}", text.len());
        }
    }
}
