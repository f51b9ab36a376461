//! What texts mean that were read before: thousands of releases write the same ids, requirements and repositories.
//!
//! Reads exactly what [`Reference::parse`] and [`HttpsUrl::parse`] read, and nothing else: it remembers their answers, as values
//! that share memory. Refused texts are not remembered. The record of a publisher is read once as well, right or wrong, for all
//! components that he has. Never grows past [`ENTRIES_MAX`] texts of a kind.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::digest::Digest;
use crate::error::ParseError;
use crate::id::{ComponentId, REFERENCE_BYTES_MAX, Reference};
use crate::pointer::{CommitId, HttpsUrl};
use crate::seal::PublisherRecord;
use crate::version::VersionReq;

/// The most texts of a kind that are remembered; those beyond are read anew each time.
pub const ENTRIES_MAX: usize = 1 << 20;

/// The texts that one run has read.
#[derive(Debug, Default)]
pub struct Lexicon {
    ids: HashMap<Arc<str>, ComponentId>,
    requirements: HashMap<Box<str>, VersionReq>,
    urls: HashMap<Box<str>, HttpsUrl>,
    /// By name and digest. A record is kept by those who use it.
    publishers: HashMap<(Box<str>, Digest), Result<Weak<PublisherRecord>, ParseError>>,
    /// The last one: what follows in a document mostly stands at the same.
    commit: Option<CommitId>,
}

impl Lexicon {
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
        let split = text.rsplit_once('@');
        if let Some((id, requirement)) = split
            && let (Some(id), Some(requirement)) = (self.ids.get(id), self.requirements.get(requirement))
            && text.len() <= REFERENCE_BYTES_MAX
            && id.as_text().len() + 1 + requirement.as_text().len() <= REFERENCE_BYTES_MAX
        {
            return Ok(Reference { id: id.clone(), requirement: requirement.clone() });
        }
        let Reference { id, requirement } = Reference::parse(text)?;
        let Some((_, written)) = split.filter(|(written, _)| *written == id.as_text()) else {
            return Ok(Reference { id, requirement });
        };
        let id = self.same_id(id);
        let requirement = match self.requirements.get(written) {
            Some(same) => same.clone(),
            None => {
                if self.requirements.len() < ENTRIES_MAX {
                    self.requirements.insert(written.into(), requirement.clone());
                }
                requirement
            }
        };
        Ok(Reference { id, requirement })
    }

    /// Reads an https URL, as [`HttpsUrl::parse`] does.
    ///
    /// **Errors**: `input.url_scheme`, `input.url`.
    pub fn url(&mut self, text: &str) -> Result<HttpsUrl, ParseError> {
        if let Some(url) = self.urls.get(text) {
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
        if self.ids.len() < ENTRIES_MAX {
            self.ids.insert(id.shared_text(), id.clone());
        }
        id
    }
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
