//! Answers about single releases, encoded once when a generation is published: a question for one is then a look into a map
//! and a copy of bytes.
//!
//! Made by the thread that publishes, immutable afterwards, and shared from one generation to the next where a component did
//! not change; only the generation in force has them. The bytes are those that [`release_row`] gives: whatever is not found
//! here is answered from the snapshot, in the same words. Never keyed by a path or URL, never filled by a question.
//!
//! An answer begins with the digest of its snapshot, which is kept once; what is kept of a release is the rest:
//! `{"snapshot":"sha256:…"` and `,"id":"lcod://ns/name","version":"1.0.0",…}`.

use std::io::Write as _;
use std::sync::Arc;

use catalogue_schema::id::{ComponentId, REFERENCE_BYTES_MAX, Reference};
use catalogue_schema::model::Component;
use catalogue_schema::version::{Version, VersionReq};

use crate::api::Failure;
use crate::resolve::range::Span;
use crate::server::answer::{View, looked_up, release_row};
use crate::server::route::{Plain, PlainVersion, Pointed, Query};
use crate::store::Snapshot;

/// The encoded answers of one generation.
#[derive(Debug)]
pub struct Encoded {
    /// What every answer begins with.
    lead: Box<[u8]>,
    /// In the order of the snapshot's components; `None` where one could not be encoded.
    rows: Box<[Option<Arc<Rows>>]>,
}

/// The releases of one component, oldest first.
#[derive(Debug)]
struct Rows {
    places: Box<[Place]>,
    /// The rest of each answer, one behind the other.
    bytes: Box<[u8]>,
}

/// One release.
#[derive(Debug)]
struct Place {
    version: Version,
    /// Where its bytes end; they begin where those before it end.
    end: u32,
    /// Neither refused nor withdrawn.
    is_usable: bool,
}

impl Encoded {
    /// Encodes the answers of `snapshot`. Components that are the same memory in the one `before` share their answers.
    pub fn of(snapshot: &Snapshot, before: Option<(&Snapshot, &Encoded)>) -> Encoded {
        let lead = lead(snapshot);
        let mut buffer = Vec::new();
        let rows = snapshot.components().iter().map(|component| {
            let known = before.and_then(|(old, encoded)| encoded.known(component, old));
            known.or_else(|| Rows::of(component, snapshot, &lead, &mut buffer).map(Arc::new))
        });
        Encoded { rows: rows.collect(), lead }
    }

    /// Answers a question about single releases of the generation, which is `snapshot`; `None` for what is not encoded and for
    /// every question that is not answered by a release.
    pub fn answer(&self, query: &Query, snapshot: &Snapshot) -> Option<Vec<u8>> {
        match query {
            Query::Release(pointed) => self.release(pointed, snapshot),
            Query::Lookup(references) => self.lookup(references, snapshot),
            _ => None,
        }
    }

    /// Appends the answer to a plainly written question for one release to `body`; `None` for what [`Encoded::answer`] has to find.
    pub fn plain(&self, plain: &Plain, snapshot: &Snapshot, body: &mut Vec<u8>) -> Option<()> {
        // Only a word that is a version may be the end of an id.
        let may_be_longer = matches!(plain.version, PlainVersion::Exact(_));
        if may_be_longer && place(plain.longer(), snapshot).is_some() {
            return None;
        }
        let rows = self.rows.get(place(plain.shorter(), snapshot)?)?.as_deref()?;
        let rest = match &plain.version {
            PlainVersion::Exact(version) => rows.exact(version),
            PlainVersion::Newest(comparator) => {
                rows.newest_in(&Span::of_one(comparator), |version| comparator.matches(version.semver()))
            }
        };
        body.extend_from_slice(&self.lead);
        body.extend_from_slice(rest?);
        Some(())
    }

    /// Answers a lookup of references as they were written, as [`Encoded::answer`] does.
    pub fn batch(&self, texts: &[&str], snapshot: &Snapshot) -> Option<Vec<u8>> {
        let found: Vec<Option<&[u8]>> = texts.iter().map(|text| self.pinned(text, snapshot)).collect();
        if found.iter().any(Option::is_none) {
            let read = |text: &&str| Reference::parse(text).map_err(|error| Failure::of_reference(&error));
            return self.lookup(&texts.iter().map(read).collect::<Vec<_>>(), snapshot);
        }
        let bytes: usize = found.iter().flatten().map(|rest| self.lead.len() + rest.len() + 1).sum();
        let mut body = Vec::with_capacity(bytes + 2);
        body.push(b'[');
        for (place, rest) in found.into_iter().flatten().enumerate() {
            if place > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&self.lead);
            body.extend_from_slice(rest);
        }
        body.push(b']');
        Some(body)
    }

    /// Finds what a canonical id with an exact version behind it means; `None` for other texts, and where it is no release that may
    /// be used, or not the only one of its version.
    fn pinned(&self, text: &str, snapshot: &Snapshot) -> Option<&[u8]> {
        let (id, version) = text.rsplit_once('@')?;
        let Some(PlainVersion::Exact(version)) = PlainVersion::of(version) else { return None };
        if text.len() > REFERENCE_BYTES_MAX {
            return None;
        }
        self.rows.get(place(id, snapshot)?)?.as_deref()?.only(&version)
    }

    fn known(&self, component: &Arc<Component>, snapshot: &Snapshot) -> Option<Arc<Rows>> {
        let place = snapshot.place(&component.id)?;
        let is_same = Arc::ptr_eq(component, snapshot.components().get(place)?);
        self.rows.get(place).filter(|_| is_same)?.clone()
    }

    fn rows(&self, id: &ComponentId, snapshot: &Snapshot) -> Option<&Rows> {
        self.rows.get(snapshot.place(id)?)?.as_deref()
    }

    fn release(&self, pointed: &Pointed, snapshot: &Snapshot) -> Option<Vec<u8>> {
        if pointed.longer.as_ref().is_some_and(|longer| snapshot.place(longer).is_some()) {
            return None;
        }
        let Reference { id, requirement } = &pointed.reference;
        let rows = self.rows(id, snapshot)?;
        // An exact version is shown even where it may not be used.
        let exact = requirement.named().and_then(|version| rows.exact(&version));
        let rest = exact.or_else(|| rows.newest(requirement))?;
        Some([&*self.lead, rest].concat())
    }

    fn lookup(&self, references: &[Result<Reference, Failure>], snapshot: &Snapshot) -> Option<Vec<u8>> {
        let rest = |reference: &Result<Reference, Failure>| {
            let Reference { id, requirement } = reference.as_ref().ok()?;
            self.rows(id, snapshot)?.newest(requirement)
        };
        let found: Vec<Option<&[u8]>> = references.iter().map(rest).collect();
        let bytes = |rest: &Option<&[u8]>| rest.map_or(0, |rest| self.lead.len() + rest.len()) + 1;
        let mut body = Vec::with_capacity(found.iter().map(bytes).sum::<usize>() + 2);
        let view = View::new(snapshot);
        for (reference, rest) in references.iter().zip(found) {
            body.push(if body.is_empty() { b'[' } else { b',' });
            match rest {
                Some(rest) => {
                    body.extend_from_slice(&self.lead);
                    body.extend_from_slice(rest);
                }
                None => told(reference, &view, &mut body)?,
            }
        }
        if body.is_empty() {
            body.push(b'[');
        }
        body.push(b']');
        Some(body)
    }
}

/// Writes what is told of one reference of a lookup that was not found here: a problem mostly.
fn told(reference: &Result<Reference, Failure>, view: &View<'_>, body: &mut Vec<u8>) -> Option<()> {
    match looked_up(reference, view) {
        Ok((component, release)) => {
            serde_json::to_writer(body, &release_row(component, release, view.snapshot())).ok()
        }
        Err(failure) => serde_json::to_writer(body, &failure.problem(None)).ok(),
    }
}

impl Rows {
    /// Encodes a component; `lead` is what all answers of `snapshot` begin with.
    fn of(component: &Component, snapshot: &Snapshot, lead: &[u8], buffer: &mut Vec<u8>) -> Option<Rows> {
        let mut places = Vec::with_capacity(component.releases.len());
        buffer.clear();
        let mut answer = Vec::new();
        for release in &component.releases {
            answer.clear();
            serde_json::to_writer(&mut answer, &release_row(component, release, snapshot)).ok()?;
            buffer.extend_from_slice(answer.strip_prefix(lead)?);
            places.push(Place {
                version: release.version.clone(),
                end: u32::try_from(buffer.len()).ok()?,
                is_usable: !release.yanked && release.verdict.refusal().is_none(),
            });
        }
        Some(Rows { places: places.into(), bytes: buffer.as_slice().into() })
    }

    fn exact(&self, version: &Version) -> Option<&[u8]> {
        let place = self.places.binary_search_by(|place| place.version.cmp(version)).ok()?;
        self.rest(place)
    }

    /// Returns the newest that meets `requirement` and may be used.
    fn newest(&self, requirement: &VersionReq) -> Option<&[u8]> {
        self.newest_in(&Span::of(requirement), |version| requirement.matches(version))
    }

    /// Returns the newest of `span` that is wanted and may be used.
    fn newest_in(&self, span: &Span, is_wanted: impl Fn(&Version) -> bool) -> Option<&[u8]> {
        let fitting = span.among(&self.places, |place| &place.version);
        let is_wanted = |place: &Place| place.is_usable && is_wanted(&place.version);
        let place = self.places.get(fitting.clone())?.iter().rposition(is_wanted)?;
        self.rest(fitting.start + place)
    }

    /// Returns the release of `version`, which has no build metadata, if it may be used and no other differs in that alone.
    fn only(&self, version: &Version) -> Option<&[u8]> {
        let place = self.places.binary_search_by(|place| place.version.cmp(version)).ok()?;
        let has_twin = self.places.get(place + 1).is_some_and(|next| next.version.is_twin_of(version));
        let may_be_used = self.places.get(place).is_some_and(|place| place.is_usable);
        (may_be_used && !has_twin).then(|| self.rest(place))?
    }

    fn rest(&self, place: usize) -> Option<&[u8]> {
        let start = match place.checked_sub(1) {
            Some(before) => self.places.get(before)?.end,
            None => 0,
        };
        self.bytes.get(start as usize..self.places.get(place)?.end as usize)
    }
}

/// Returns where the component with the canonical id `text` stands; no other text is that of a component.
fn place(text: &str, snapshot: &Snapshot) -> Option<usize> {
    snapshot.place(&ComponentId::parse(text).ok()?)
}

/// Returns what the answers of `snapshot` begin with: serde writes the digest first, as the first field of a row.
fn lead(snapshot: &Snapshot) -> Box<[u8]> {
    let mut lead = Vec::with_capacity(96);
    // Writing into memory cannot fail.
    let _ = write!(lead, "{{\"snapshot\":\"{}\"", snapshot.generation.snapshot);
    lead.into()
}

#[cfg(test)]
pub(crate) mod tests;
