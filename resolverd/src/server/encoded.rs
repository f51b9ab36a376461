//! Answers about single releases: the bytes stand in the snapshot as they are sent, and are copied.
//!
//! An answer begins with the digest of its snapshot, which the snapshot keeps once; what follows is what the component was packed
//! with: `{"snapshot":"sha256:…",` and `"id":"lcod://ns/name","version":"1.0.0",…}`. Never encodes anything.

use catalogue_schema::id::REFERENCE_BYTES_MAX;
use catalogue_schema::packed::{Listed, Packed, is_answer_about};
use catalogue_schema::range::Span;
use catalogue_schema::version::Version;

use crate::server::route::{Plain, PlainVersion};
use crate::store::Snapshot;
use crate::store::exact::Exact;
use crate::store::places::{fetched, lines};

/// An answer as it is sent.
#[derive(Debug)]
pub enum Encoded<'s> {
    /// Parts that follow each other, as they stand in the snapshot.
    Parts([&'s [u8]; 4]),
    /// One that was put together.
    Whole(Vec<u8>),
}

impl Encoded<'_> {
    /// Returns it in one piece.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Encoded::Parts(parts) => parts.concat(),
            Encoded::Whole(body) => body,
        }
    }
}

/// Returns what is told of a release of `snapshot`.
pub fn body(release: &Listed<'_>, snapshot: &Snapshot) -> Vec<u8> {
    let [front, shadows, back] = release.answer();
    [snapshot.lead(), front, shadows, back].concat()
}

/// Writes what is told of a release of `snapshot`, the parts of its answer, behind what is in `out`.
pub fn write(answer: &[&[u8]; 3], snapshot: &Snapshot, out: &mut Vec<u8>) {
    out.extend_from_slice(snapshot.lead());
    answer.iter().for_each(|part| out.extend_from_slice(part));
}

/// Answers the question for one release that a path asks, `lcod/ns/name/1.0.0` or `lcod/ns/name/^1`; `None` where it is looked for in
/// another way.
pub fn exact<'s>(path: &str, snapshot: &'s Snapshot, table: &Exact) -> Option<[&'s [u8]; 4]> {
    let [front, shadows, back] = table.find(path, snapshot.components())?;
    Some([snapshot.lead(), front, shadows, back])
}

/// Answers a plainly written question for one release; `None` for what has to be looked for in another way.
pub fn plain<'s>(plain: &Plain, snapshot: &'s Snapshot) -> Option<[&'s [u8]; 4]> {
    // Only a word that is a version may be the end of an id.
    let may_be_longer = matches!(plain.version, PlainVersion::Exact(_));
    if may_be_longer && snapshot.component_of(plain.longer()).is_some() {
        return None;
    }
    let place = snapshot.likely_place(plain.shorter())?;
    let found = of_version(snapshot.components().get(place)?, &plain.version)?;
    let [front, shadows, back] = found.answer();
    // The answer is read anyway, and says whose it is.
    is_answer_about(front, &[plain.shorter()], None).then_some([snapshot.lead(), front, shadows, back])
}

/// Finds the release of a component that is pointed to plainly.
fn of_version<'s>(component: &'s Packed, version: &PlainVersion) -> Option<Listed<'s>> {
    match version {
        PlainVersion::Exact(version) => component.exact(version),
        PlainVersion::Newest(comparator) => {
            let triple = |at| component.listed(at).map_or((0, 0, 0), |listed| listed.triple());
            let fitting = Span::of_one(comparator).newest_first(component.count(), triple);
            let mut newest_first = fitting.filter_map(|at| component.listed(at));
            newest_first.find(|listed| listed.is_usable() && listed.meets(comparator))
        }
    }
}

/// Answers a lookup of references as they were written; `None` where one of them is not what [`pinned`] finds.
pub fn batch(texts: &[&str], snapshot: &Snapshot, table: Option<&Exact>) -> Option<Vec<u8>> {
    let answers = match table.and_then(|table| table.find_all(texts, snapshot.components())) {
        Some(answers) => answers,
        None => searched(texts, snapshot)?,
    };
    let length = |answer: &[&[u8]; 3]| answer.iter().map(|part| part.len()).sum::<usize>();
    let bytes: usize = answers.iter().map(|answer| snapshot.lead().len() + length(answer) + 1).sum();
    let mut body = Vec::with_capacity(bytes + 2);
    body.push(b'[');
    for (place, answer) in answers.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        write(answer, snapshot, &mut body);
    }
    body.push(b']');
    Some(body)
}

/// Finds answers in steps over all of them: nearly all of the time is waiting for memory, which is shorter for many at once.
fn searched<'s>(texts: &[&str], snapshot: &'s Snapshot) -> Option<Vec<[&'s [u8]; 3]>> {
    let wanted: Vec<(&str, Version)> =
        texts.iter().map(|text| plain_reference(text)).collect::<Option<_>>()?;
    let ids: Vec<&str> = wanted.iter().map(|(id, _)| *id).collect();
    let components: Vec<&Packed> = snapshot.components_of(&ids).into_iter().collect::<Option<_>>()?;
    fetched(components.iter().filter_map(|one| Some(one.listed(one.count() / 2)?.triple().1 as u8)));
    let found: Option<Vec<Listed<'_>>> =
        components.iter().zip(&wanted).map(|(component, (_, version))| pinned(component, version)).collect();
    let answers: Vec<[&[u8]; 3]> = found?.iter().map(Listed::answer).collect();
    fetched(answers.iter().map(lines));
    Some(answers)
}

/// Reads a canonical id with an exact version behind it; `None` for other texts.
fn plain_reference(text: &str) -> Option<(&str, Version)> {
    let (id, version) = text.rsplit_once('@')?;
    match PlainVersion::of(version) {
        Some(PlainVersion::Exact(version)) if text.len() <= REFERENCE_BYTES_MAX => Some((id, version)),
        _ => None,
    }
}

/// Finds the release of a version; `None` where it may not be used, or is not the only one of its version.
fn pinned<'a>(component: &'a Packed, version: &Version) -> Option<Listed<'a>> {
    let release = component.exact(version).filter(Listed::is_usable)?;
    (!component.listed(release.at() + 1).is_some_and(|next| next.is_twin_of(version))).then_some(release)
}

#[cfg(test)]
pub(crate) mod tests;
