//! Answers about single releases: the bytes stand in the snapshot as they are sent, and are copied.
//!
//! An answer begins with the digest of its snapshot, which the snapshot keeps once; what follows is what the component was packed
//! with: `{"snapshot":"sha256:…",` and `"id":"lcod://ns/name","version":"1.0.0",…}`. Never encodes anything.

use catalogue_schema::id::REFERENCE_BYTES_MAX;
use catalogue_schema::packed::{Listed, Packed};
use catalogue_schema::range::Span;
use catalogue_schema::version::Version;

use crate::server::route::{Plain, PlainVersion};
use crate::store::Snapshot;
use crate::store::places::fetched;

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

/// Writes the answer to a plainly written question for one release behind what is in `out`; `None`, and nothing written, for what
/// has to be looked for in another way.
pub fn plain(plain: &Plain, snapshot: &Snapshot, out: &mut Vec<u8>) -> Option<()> {
    // Only a word that is a version may be the end of an id.
    let may_be_longer = matches!(plain.version, PlainVersion::Exact(_));
    if may_be_longer && snapshot.component_of(plain.longer()).is_some() {
        return None;
    }
    let component = snapshot.component_of(plain.shorter())?;
    let release = match &plain.version {
        PlainVersion::Exact(version) => component.exact(version)?,
        PlainVersion::Newest(comparator) => {
            let triple = |at| component.listed(at).map_or((0, 0, 0), |listed| listed.triple());
            let fitting = Span::of_one(comparator).among(component.count(), triple);
            let mut newest_first = fitting.rev().filter_map(|at| component.listed(at));
            newest_first.find(|listed| {
                let is_wanted = |version: Version| comparator.matches(version.semver());
                listed.is_usable() && listed.version().is_some_and(is_wanted)
            })?
        }
    };
    write(&release.answer(), snapshot, out);
    Some(())
}

/// Answers a lookup of references as they were written; `None` where one of them is not what [`pinned`] finds.
pub fn batch(texts: &[&str], snapshot: &Snapshot) -> Option<Vec<u8>> {
    // In steps over all of them: nearly all of the time is waiting for memory, which is shorter for many at once.
    let wanted: Vec<(&str, Version)> =
        texts.iter().map(|text| plain_reference(text)).collect::<Option<_>>()?;
    let ids: Vec<&str> = wanted.iter().map(|(id, _)| *id).collect();
    let components: Vec<&Packed> = snapshot.components_of(&ids).into_iter().collect::<Option<_>>()?;
    fetched(components.iter().filter_map(|one| Some(one.listed(one.count() / 2)?.triple().1 as u8)));
    let found: Option<Vec<Listed<'_>>> =
        components.iter().zip(&wanted).map(|(component, (_, version))| pinned(component, version)).collect();
    let answers: Vec<[&[u8]; 3]> = found?.iter().map(Listed::answer).collect();
    fetched(answers.iter().flat_map(|[front, ..]| front.iter().step_by(MEMORY_LINES).copied()));
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

/// Every how many bytes of an answer memory is asked for: a processor that sees a line wanted fetches its neighbours by itself.
const MEMORY_LINES: usize = 256;

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
