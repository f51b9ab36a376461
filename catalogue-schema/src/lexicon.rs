//! What texts mean that were read before: thousands of releases write the same ids, requirements and repositories.
//!
//! Reads exactly what [`Reference::parse`] and [`HttpsUrl::parse`] read, and nothing else: it remembers their answers, as values
//! that share memory. Refused texts are not remembered. The record of a publisher is read once as well, right or wrong, for all
//! components that he has. Never grows past [`ENTRIES_MAX`] texts of a kind.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;

use crate::basis::Begun;
use crate::digest::Digest;
use crate::error::ParseError;
use crate::id::{ComponentId, REFERENCE_BYTES_MAX, Reference};
use crate::pointer::{CommitId, HttpsUrl};
use crate::seal::PublisherRecord;
use crate::version::VersionReq;

/// The most texts of a kind that are remembered; those beyond are read anew each time.
pub const ENTRIES_MAX: usize = 1 << 20;

/// The texts that one run has read.
#[derive(Debug)]
pub struct Lexicon {
    ids: Texts<ComponentId>,
    requirements: Texts<(Box<str>, VersionReq)>,
    urls: HashMap<Box<str>, HttpsUrl>,
    /// By name and digest. A record is kept by those who use it.
    publishers: HashMap<(Box<str>, Digest), Result<Weak<PublisherRecord>, ParseError>>,
    /// The last one: what follows in a document mostly stands at the same.
    commit: Option<CommitId>,
    /// The last one.
    url: Option<HttpsUrl>,
    /// What the last bases began with.
    begun: Begun,
}

impl Default for Lexicon {
    fn default() -> Lexicon {
        Lexicon {
            ids: Texts::by(ComponentId::as_text),
            requirements: Texts::by(|(text, _)| text),
            urls: HashMap::new(),
            publishers: HashMap::new(),
            commit: None,
            url: None,
            begun: Begun::default(),
        }
    }
}

impl Lexicon {
    /// Returns what the last bases began with.
    pub(crate) fn begun(&mut self) -> &mut Begun {
        &mut self.begun
    }

    /// Reads a canonical id, as [`ComponentId::parse`] does.
    ///
    /// **Errors**: `input.id`.
    pub fn id(&mut self, text: &str) -> Result<ComponentId, ParseError> {
        match self.ids.get(text) {
            Some(id) => Ok(id.clone()),
            // An id is the text that it was read from.
            None => ComponentId::parse(text).map(|id| self.first(id)),
        }
    }

    /// Reads a reference, as [`Reference::parse`] does.
    ///
    /// **Errors**: `input.reference`, `input.id`, `input.requirement`.
    pub fn reference(&mut self, text: &str) -> Result<Reference, ParseError> {
        // Both parts have passed before, so that nothing is left to check but how long they are together.
        if let Some((id, written)) = text.rsplit_once('@')
            && let (Some(id), Some((_, requirement))) = (self.ids.get(id), self.requirements.get(written))
            && text.len() <= REFERENCE_BYTES_MAX
            && id.as_text().len() + 1 + requirement.as_text().len() <= REFERENCE_BYTES_MAX
        {
            return Ok(Reference { id: id.clone(), requirement: requirement.clone() });
        }
        self.read_reference(text)
    }

    fn read_reference(&mut self, text: &str) -> Result<Reference, ParseError> {
        let Reference { id, requirement } = Reference::parse(text)?;
        let Some((_, written)) = text.rsplit_once('@').filter(|(written, _)| *written == id.as_text()) else {
            return Ok(Reference { id, requirement });
        };
        let id = self.same_id(id);
        let requirement = match self.requirements.get(written) {
            Some((_, same)) => same.clone(),
            None => {
                self.requirements.add((written.into(), requirement.clone()));
                requirement
            }
        };
        Ok(Reference { id, requirement })
    }

    /// Reads an https URL, as [`HttpsUrl::parse`] does.
    ///
    /// **Errors**: `input.url_scheme`, `input.url`.
    pub fn url(&mut self, text: &str) -> Result<HttpsUrl, ParseError> {
        // Read again, a URL is the text that it was written as.
        if let Some(same) = self.url.as_ref().filter(|last| last.as_text() == text) {
            return Ok(same.clone());
        }
        if let Some(url) = self.urls.get(text) {
            self.url = Some(url.clone());
            return Ok(url.clone());
        }
        let url = HttpsUrl::parse(text)?;
        if self.urls.len() < ENTRIES_MAX {
            self.urls.insert(text.into(), url.clone());
        }
        Ok(url)
    }

    /// Reads a commit id, as [`CommitId::parse`] does.
    ///
    /// **Errors**: `input.commit`.
    pub fn commit(&mut self, text: &str) -> Result<CommitId, ParseError> {
        if let Some(same) = self.commit.as_ref().filter(|last| last.as_text() == text) {
            return Ok(same.clone());
        }
        let commit = CommitId::parse(text)?;
        self.commit = Some(commit.clone());
        Ok(commit)
    }

    /// Reads the record of the publisher `name` whose bytes have this digest, as `read` does.
    ///
    /// **Errors**: those of `read`.
    pub(crate) fn publisher(
        &mut self,
        name: &str,
        digest: &Digest,
        read: impl FnOnce() -> Result<PublisherRecord, ParseError>,
    ) -> Result<Arc<PublisherRecord>, ParseError> {
        let known = (Box::from(name), digest.clone());
        match self.publishers.get(&known) {
            Some(Err(error)) => return Err(error.clone()),
            Some(Ok(record)) => {
                if let Some(record) = record.upgrade() {
                    return Ok(record);
                }
            }
            None => {}
        }
        let record = read().map(Arc::new);
        if self.publishers.len() < ENTRIES_MAX {
            self.publishers.insert(known, record.as_ref().map(Arc::downgrade).map_err(ParseError::clone));
        }
        record
    }

    fn same_id(&mut self, id: ComponentId) -> ComponentId {
        match self.ids.get(id.as_text()) {
            Some(same) => same.clone(),
            None => self.first(id),
        }
    }

    fn first(&mut self, id: ComponentId) -> ComponentId {
        self.ids.add(id.clone());
        id
    }
}

/// Values by the texts that they were read from: a table of places that is small enough to stay close to the processor, hashed by a
/// random key, since the texts come from outside.
#[derive(Debug)]
struct Texts<T> {
    keys: RandomState,
    /// Returns the text that a value was read from.
    written: fn(&T) -> &str,
    /// Twice as many as there are values, or more: a power of two.
    slots: Vec<Slot>,
    values: Vec<T>,
}

/// A part of a text's hash, and the place of its value.
#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    place: u32,
}

/// The place in a slot that holds nothing.
const NOWHERE: u32 = u32::MAX;
const FREE: Slot = Slot { tag: 0, place: NOWHERE };

impl<T> Texts<T> {
    fn by(written: fn(&T) -> &str) -> Texts<T> {
        Texts { keys: RandomState::default(), written, slots: vec![FREE; 64], values: Vec::new() }
    }

    fn get(&self, text: &str) -> Option<&T> {
        self.alike(self.keys.hash_one(text)).find(|value| (self.written)(value) == text)
    }

    /// Adds a value whose text is not there yet, as long as there are not too many.
    fn add(&mut self, value: T) {
        let place = match u32::try_from(self.values.len()) {
            Ok(place) if self.values.len() < ENTRIES_MAX => place,
            _ => return,
        };
        if self.slots.len() < 2 * (self.values.len() + 1) {
            self.slots = vec![FREE; 2 * self.slots.len()];
            for (place, known) in (0..).zip(&self.values) {
                put(&mut self.slots, self.keys.hash_one((self.written)(known)), place);
            }
        }
        put(&mut self.slots, self.keys.hash_one((self.written)(&value)), place);
        self.values.push(value);
    }

    fn alike(&self, hash: u64) -> impl Iterator<Item = &T> {
        self.places(hash).filter_map(|place| self.values.get(place as usize))
    }

    /// Returns the places of the values whose texts may have this hash.
    fn places(&self, hash: u64) -> impl Iterator<Item = u32> {
        let (tag, start) = halves(hash);
        let slots = (start..).map_while(move |at| {
            let slot = self.slots.get(at & (self.slots.len() - 1))?;
            (slot.place != NOWHERE).then_some(*slot)
        });
        slots.filter(move |slot| slot.tag == tag).map(|slot| slot.place)
    }
}

fn put(slots: &mut [Slot], hash: u64, place: u32) {
    let (tag, start) = halves(hash);
    let mask = slots.len() - 1;
    // One in two is free.
    let free =
        (start..).map(|at| at & mask).find(|at| slots.get(*at).is_none_or(|slot| slot.place == NOWHERE));
    if let Some(slot) = free.and_then(|at| slots.get_mut(at)) {
        *slot = Slot { tag, place };
    }
}

/// Returns the part of a hash that a slot holds, and the part by which it is found.
fn halves(hash: u64) -> (u32, usize) {
    let [a, b, c, d, rest @ ..] = hash.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes(rest) as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_and_a_commit_are_read_again_as_they_were() {
        let mut lexicon = Lexicon::default();
        for text in
            ["https://h.example/r", "https://H.example/r", "http://h.example/r", "https://h.example/r"]
        {
            assert_eq!(lexicon.url(text), HttpsUrl::parse(text), "{text}");
        }
        for text in ["a".repeat(40), "b".repeat(40), "b".repeat(40), "b".repeat(39), "A".repeat(40)] {
            assert_eq!(lexicon.commit(&text), CommitId::parse(&text), "{text}");
        }
    }

    #[test]
    fn a_publisher_s_record_is_read_once_while_somebody_uses_it() {
        let (mut lexicon, one, other) = (Lexicon::default(), Digest::sha256(b"1"), Digest::sha256(b"2"));
        let named =
            |name: &str| Ok(PublisherRecord { display_name: Some(name.into()), ..Default::default() });
        let unread = || -> Result<PublisherRecord, ParseError> { panic!("read again") };
        let first = lexicon.publisher("acme", &one, || named("a")).unwrap();
        assert!(Arc::ptr_eq(&first, &lexicon.publisher("acme", &one, unread).unwrap()));
        // The record of another publisher, or other bytes, is another one.
        assert_ne!(first, lexicon.publisher("zed", &one, || named("z")).unwrap());
        assert_ne!(first, lexicon.publisher("acme", &other, || named("b")).unwrap());
        drop(first);
        assert_eq!(lexicon.publisher("acme", &one, || named("c")).unwrap().display_name, Some("c".into()));
        let wrong = ParseError::new("estream.publisher_malformed", "a record", "none");
        for read in [true, false] {
            let again = || if read { Err(wrong.clone()) } else { unread() };
            assert_eq!(lexicon.publisher("bad", &one, again), Err(wrong.clone()));
        }
    }

    #[test]
    fn thousands_of_texts_are_told_apart() {
        let mut lexicon = Lexicon::default();
        let texts: Vec<String> =
            (0..5000).map(|at| format!("lcod://n/x{}@>={}.0.0", at / 3, at % 7)).collect();
        for _ in 0..2 {
            for text in &texts {
                assert_eq!(lexicon.reference(text), Reference::parse(text), "{text}");
            }
        }
        assert_eq!((lexicon.ids.values.len(), lexicon.requirements.values.len()), (1667, 7));
    }

    fn any_reference() -> impl Strategy<Value = String> {
        let long = format!("lcod://n/{}", "x".repeat(495));
        let ids = [
            "lcod://n/x",
            "lcod://n/y",
            "lcod://N/x",
            "lcod://n",
            "estream:x",
            "x",
            "n/x",
            "@p/x",
            "lcod://n/x@",
            "",
        ];
        let requirements =
            ["^1.2", "1", "1.0.0", "v1.0.0", ">=1.0.0, <2.0.0", "*", "latest", "", " ", "||", "1@2", " 1"];
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).chain([long]).collect();
        (prop::sample::select(ids), prop::option::of(prop::sample::select(requirements.to_vec()))).prop_map(
            |(id, requirement)| match requirement {
                Some(requirement) => format!("{id}@{requirement}"),
                None => id,
            },
        )
    }

    proptest! {
        #[test]
        fn every_reference_is_read_as_if_it_were_the_first(texts in prop::collection::vec(any_reference(), 1..40)) {
            let mut lexicon = Lexicon::default();
            for text in texts {
                let (found, expected) = (lexicon.reference(&text), Reference::parse(&text));
                let written = |read: &Reference| read.requirement.as_text().to_owned();
                prop_assert_eq!(found.as_ref().map(written).ok(), expected.as_ref().map(written).ok());
                prop_assert_eq!(found, expected);
                prop_assert_eq!(lexicon.id(&text), ComponentId::parse(&text));
            }
        }
    }
}
