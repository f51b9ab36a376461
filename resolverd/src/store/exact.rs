//! Where the answer about a release stands, by its id and exact version, and where that about the newest of a component, by its id:
//! one look instead of one for the component, a search among its versions, and a look at what it knows of them. Most of the time of a
//! request that is not the system's is waiting for memory, and here that is the table, where the block lies, and the answer. Holds no
//! text: what is found says itself whose it is. Never changes.
//!
//! A key is what a path says of a release, `lcod/ns/name/1.0.0`: the id with a slash in place of what stands behind its dialect, and
//! the version; of the newest, all before the last slash. Only versions of three numbers are in the tables, only those without a twin of
//! other build metadata, none whose key is the id of a component as well, and none with an answer that has a part of more than 64 KiB:
//! whoever finds nothing here looks in another way.
//!
//! Open tables, at least a fifth of them empty. Keys come from outside: the hash has a key of its own, and whatever that is worth, no
//! walk through a table is longer than [`WALK_MAX`]. What would stand farther away is looked for in another way too.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::iter::repeat_n;

use catalogue_schema::id::REFERENCE_BYTES_MAX;
use catalogue_schema::pace;
use catalogue_schema::packed::{Listed, Packed, is_answer_about};
use catalogue_schema::version::VERSION_BYTES_MAX;
use foldhash::quality::RandomState;
use semver::{Comparator, Version};

use crate::store::places::{fetched, lines};

/// The tables.
#[derive(Debug)]
pub struct Exact {
    keys: RandomState,
    releases: Table,
    /// The newest release of each component that may be chosen where nothing is asked for, if its version is three numbers: whatever
    /// requirement without a prerelease it meets, none that is newer does.
    newest: Table,
    /// The versions of the newest, each at the place of its slot.
    versions: Box<[[u32; 3]]>,
}

/// Slots in an open table; a power of two of them.
#[derive(Debug)]
struct Table(Box<[Slot]>);

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

/// What a path looks for: the hash, and in which table. A slot's tag has the marks where this has that, so that it says nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(u64);

const OF_NEWEST: u64 = 1 << 32;

/// How many slots are looked at for one key. A table that is as full as may be, with keys by chance, needs a third of it.
const WALK_MAX: usize = 256;

const NOWHERE: u32 = u32::MAX;
/// How much work it is to learn a release, roughly.
const LEARN_NS: usize = 100;
/// How much work it is to fill a slot for the first time, roughly.
const SLOT_NS: usize = 5;
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

/// What stands in the answers of a component that nobody else lists.
const UNSHADOWED: &[u8] = b"[]";

/// Returns the part of a hash that a slot keeps: none of the bits that say where it stands.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32 & TAG
}

impl Table {
    /// Makes an empty table for so many.
    fn for_all(count: usize) -> Table {
        let size = (count + count / 4 + 1).next_power_of_two();
        let mut slots = Vec::with_capacity(size);
        // Memory that nobody has touched yet comes page by page.
        slots.extend(pace::each(repeat_n(EMPTY, size), SLOT_NS));
        Table(slots.into())
    }

    /// Puts a slot in and returns its place; `None` where all within reach are taken.
    fn put(&mut self, hash: u64, slot: Slot) -> Option<usize> {
        let is_free = |at: &usize| self.0.get(*at).is_some_and(|slot| slot.place == NOWHERE);
        let free = self.around(hash).find(is_free)?;
        *self.0.get_mut(free)? = slot;
        Some(free)
    }

    /// Returns the slots of keys with this hash, as far as the table tells, and their places.
    fn likely(&self, hash: u64) -> impl Iterator<Item = (usize, Slot)> {
        let slots = self.around(hash).filter_map(|at| Some((at, *self.0.get(at)?)));
        let taken = slots.take_while(|(_, slot)| slot.place != NOWHERE);
        taken.filter(move |(_, slot)| slot.tag & TAG == tag(hash))
    }

    /// Returns the slot that is looked at first.
    fn first(&self, hash: u64) -> Option<&Slot> {
        self.0.get(self.around(hash).next()?)
    }

    fn around(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let (mask, start) = (self.0.len().saturating_sub(1), hash as u32 as usize);
        (0..self.0.len().min(WALK_MAX)).map(move |step| start.wrapping_add(step) & mask)
    }
}

impl Exact {
    /// Learns the releases of `components`.
    pub fn of(components: &[Packed]) -> Exact {
        let all = || pace::each(components, pace::COMPONENT_NS);
        let (releases, newest) = (all().map(Packed::count).sum(), Table::for_all(components.len()));
        let versions = vec![[0; 3]; newest.0.len()].into();
        let releases = Table::for_all(releases);
        let mut exact = Exact { keys: RandomState::default(), releases, newest, versions };
        // Hardly any id ends with a version.
        let is_ambiguous = |id: &&str| is_version_last(id);
        let ids: HashSet<&[u8]> =
            all().map(Packed::id_text).filter(is_ambiguous).map(str::as_bytes).collect();
        let (mut key, mut longer) = (Vec::new(), Vec::new());
        for (component, place) in all().zip(0..NOWHERE) {
            let Some(parts) = Parts::of(component.id_text()) else { continue };
            parts.key("", &mut key);
            let before_version = key.len();
            exact.learn_newest(key.get(..before_version.saturating_sub(1)), place, component);
            for listed in pace::each(component.all(), LEARN_NS).filter(|listed| is_alone(component, listed)) {
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
                    exact.releases.put(hash, slot);
                }
            }
        }
        exact
    }

    fn learn_newest(&mut self, id: Option<&[u8]>, place: u32, component: &Packed) {
        let newest = component.latest().filter(Listed::is_plain);
        let Some((id, newest)) = id.zip(newest) else { return };
        let (major, minor, patch) = newest.triple();
        let [Ok(major), Ok(minor), Ok(patch)] = [major, minor, patch].map(u32::try_from) else { return };
        let hash = self.keys.hash_one(id);
        let put = Slot::of(hash, place, component, &newest).and_then(|slot| self.newest.put(hash, slot));
        if let Some(version) = put.and_then(|at| self.versions.get_mut(at)) {
            *version = [major, minor, patch];
        }
    }

    /// Returns what a path looks for, `lcod/ns/name/1.0.0` or `lcod/ns/name/^1`; `None` for one that looks for anything else.
    pub fn key(&self, path: &str) -> Option<Key> {
        let (id, version) = path.rsplit_once('/')?;
        match version.starts_with(is_digit) {
            true => Some(Key(self.keys.hash_one(path.as_bytes()) & !OF_NEWEST)),
            false => comparator(version).map(|_| Key(self.keys.hash_one(id.as_bytes()) | OF_NEWEST)),
        }
    }

    /// Finds the answer about the release that a path says, in its parts, among `components`, which are those that were learned.
    pub fn find<'s>(&self, path: &str, components: &'s [Packed]) -> Option<[&'s [u8]; 3]> {
        let (id, version) = path.rsplit_once('/')?;
        let (dialect, name) = id.split_once('/')?;
        let parts = Parts { dialect, name };
        if version.starts_with(is_digit) {
            let slots = self.releases.likely(self.keys.hash_one(path.as_bytes()));
            let mut found = slots.filter_map(|(_, slot)| slot.answer(components));
            return found.find(|answer| parts.is_in(answer, Some(version)));
        }
        let wanted = comparator(version)?;
        let slots = self.newest.likely(self.keys.hash_one(id.as_bytes()));
        let mut found =
            slots.filter_map(|(at, slot)| Some((slot.answer(components)?, self.versions.get(at)?)));
        let (answer, version) = found.find(|(answer, _)| parts.is_in(answer, None))?;
        let [major, minor, patch] = version.map(u64::from);
        wanted.matches(&Version::new(major, minor, patch)).then_some(answer)
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
        self.fetch(wanted.iter().map(|(.., hash)| Key(hash & !OF_NEWEST)), components);
        // Where another one has the same part of its hash, they are looked for one by one.
        let found = wanted.iter().map(|(id, version, hash)| {
            let (_, slot) = self.releases.likely(*hash).next().filter(|(_, slot)| slot.is_usable())?;
            slot.answer(components).filter(|[front, ..]| is_answer_about(front, &[id], Some(version)))
        });
        found.collect()
    }

    /// Has the processor fetch all that finding and copying the answers to these keys takes, step by step for all of them, so that it
    /// waits for the memory of many at once instead of one after the other. Changes nothing, and may be left out.
    pub fn fetch(&self, keys: impl Iterator<Item = Key> + Clone, components: &[Packed]) {
        let first = keys.clone().filter_map(|key| self.table_of(key).first(key.0));
        fetched(first.map(|slot| slot.tag as u8));
        let slots = keys.filter_map(|key| Some(self.table_of(key).likely(key.0).next()?.1));
        fetched(slots.clone().filter_map(|slot| slot.begin(components)));
        fetched(slots.filter_map(|slot| slot.answer(components)).map(|answer| lines(&answer)));
    }

    fn table_of(&self, key: Key) -> &Table {
        if key.0 & OF_NEWEST == 0 { &self.releases } else { &self.newest }
    }
}

impl Key {
    /// Returns it as a number, for [`Key::from_number`].
    pub fn number(self) -> u64 {
        self.0
    }

    /// Makes a key of any number: one that no path has leads nowhere.
    pub fn from_number(number: u64) -> Key {
        Key(number)
    }
}

/// Reads `^1.2` or `~1.2`, also with the first of the two escaped, numbers only; `None` for everything else.
fn comparator(text: &str) -> Option<Comparator> {
    let caret = ["^", "%5E", "%5e"].into_iter().find_map(|operator| text.strip_prefix(operator));
    let numbers = caret.or_else(|| text.strip_prefix('~'))?;
    let is_plain =
        text.len() <= VERSION_BYTES_MAX && numbers.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.'));
    // A caret is what no operator means.
    is_plain.then(|| Comparator::parse(caret.unwrap_or(text)).ok())?
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

    /// Tells whether an answer is that of such an id, in either form, and this version, or any.
    fn is_in(self, answer: &[&[u8]; 3], version: Option<&str>) -> bool {
        let is_in = |colon| is_answer_about(answer[0], &[self.dialect, colon, self.name], version);
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
            packed("estream:@p/name", &texts(&["1.0.0", "1.1.0"])),
            packed("lcod://a/a", &texts(&["0.9.0", "1.0.0", "1.4.2", "2.0.0-rc.1"])),
            packed("lcod://a/b", &texts(&["1.0.0", "1.1.0+build"])),
            packed("lcod://a/c", &texts(&["5000000000.0.0"])),
            packed("lcod://a/d", &[]),
        ];
        let exact = Exact::of(&components);
        let newest = |path: &str| exact.find(path, &components);
        let answer =
            |component: usize, at: usize| components[component].listed(at).map(|listed| listed.answer());
        for version in ["^1", "^1.4", "~1.4", "^1.4.2", "%5E1", "%5e1.0"] {
            assert_eq!(newest(&format!("lcod/a/a/{version}")), answer(1, 2), "{version}");
        }
        assert_eq!(newest("estream/@p/name/~1.1"), answer(0, 1));
        for path in [
            "lcod/a/a/^0.9",
            "lcod/a/a/^2",
            "lcod/a/a/~1.0",
            "lcod/a/a/^",
            "lcod/a/a/^x",
            "lcod/a/a/^1.x",
            "lcod/a/a/^1-a",
            "lcod/a/a/^^1",
            "lcod/a/a/%5E^1",
            "lcod/a/a/%7E1",
            "lcod/a/a/>1",
            "lcod/a/a/1",
            "lcod/a/a/*",
            "lcod/a/^1",
            "a/^1",
            "^1",
            "",
            "lcod://a/a/^1",
            "lcod/a/A/^1",
            "lcod/a/b/^1",
            "lcod/a/c/^5000000000",
            "lcod/a/d/^0",
            "lcod/a/e/^1",
        ] {
            assert_eq!(newest(path), None, "{path}");
        }
    }

    /// What is fetched ahead is what the answer is found by, and any other key does no harm.
    #[test]
    fn keys_lead_to_the_slots_that_answers_are_found_by() {
        let components = [
            packed("lcod://a/a", &texts(&["1.0.0", "1.4.2", "1.5.0-a"])),
            packed("lcod://a/b", &texts(&["1.0.0"])),
        ];
        let exact = Exact::of(&components);
        let place = |path: &str| {
            let key = exact.key(path)?;
            exact.fetch([key, Key::from_number(key.number() ^ 1 << 40)].into_iter(), &components);
            let (_, slot) = exact.table_of(key).likely(key.0).next()?;
            Some((slot.place, slot.start))
        };
        let start = |component: usize, at: usize| {
            let listed = components[component].listed(at).expect("it is there");
            Some((component as u32, listed.answer_at()[0] as u32))
        };
        assert_eq!(place("lcod/a/a/1.0.0"), start(0, 0));
        assert_eq!(place("lcod/a/a/^1"), start(0, 1));
        assert_eq!(place("lcod/a/b/%5E1"), start(1, 0));
        for path in ["lcod/a/a/1.5.0-a", "lcod/a/c/^1", "lcod/a/a/latest", "lcod", ""] {
            assert_eq!(place(path), None, "{path}");
        }
        for number in [0, 1, u64::MAX, OF_NEWEST] {
            exact.fetch(std::iter::once(Key::from_number(number)), &components);
            Exact::of(&[]).fetch(std::iter::once(Key::from_number(number)), &[]);
        }
    }

    #[test]
    fn a_table_that_is_full_has_room_within_reach_and_one_hash_does_not_take_it_all() {
        let slot = |hash: u64| Slot { place: 0, tag: tag(hash), ..EMPTY };
        // As full as a table may be: a fifth of it is empty.
        let count = (1 << 18) * 4 / 5 - 2;
        let mut table = Table::for_all(count);
        assert_eq!(table.0.len(), 1 << 18);
        let keys = RandomState::default();
        let hash = |number: usize| keys.hash_one(number.to_le_bytes());
        assert!((0..count).all(|number| table.put(hash(number), slot(hash(number))).is_some()));
        assert!((0..count).all(|number| table.likely(hash(number)).next().is_some()));
        let mut struck = Table::for_all(4 * WALK_MAX);
        let put = (0..4 * WALK_MAX).filter(|_| struck.put(7, slot(7)).is_some()).count();
        assert_eq!(put, WALK_MAX);
        assert_eq!(struck.likely(7).count(), WALK_MAX);
        assert_eq!(struck.likely(7 | 1 << 40).count(), 0);
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
