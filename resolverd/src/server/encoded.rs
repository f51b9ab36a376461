//! Answers about single releases: the bytes stand in the snapshot as they are sent, and are copied.
//!
//! An answer begins with the digest of its snapshot, which the snapshot keeps once; what follows is what the component was packed
//! with: `{"snapshot":"sha256:…",` and `"id":"lcod://ns/name","version":"1.0.0",…}`. Never encodes anything.

use catalogue_schema::id::REFERENCE_BYTES_MAX;
use catalogue_schema::packed::Listed;
use catalogue_schema::version::Version;

use crate::resolve::range::Span;
use crate::server::route::{Plain, PlainVersion};
use crate::store::Snapshot;

/// Returns what is told of a release of `snapshot`.
pub fn body(release: &Listed<'_>, snapshot: &Snapshot) -> Vec<u8> {
    let [front, shadows, back] = release.answer();
    [snapshot.lead(), front, shadows, back].concat()
}

/// Writes what is told of a release of `snapshot` behind what is in `out`.
pub fn write(release: &Listed<'_>, snapshot: &Snapshot, out: &mut Vec<u8>) {
    out.extend_from_slice(snapshot.lead());
    release.answer().iter().for_each(|part| out.extend_from_slice(part));
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
    write(&release, snapshot, out);
    Some(())
}

/// Answers a lookup of references as they were written; `None` where one of them is not what [`pinned`] finds.
pub fn batch(texts: &[&str], snapshot: &Snapshot) -> Option<Vec<u8>> {
    let found: Option<Vec<Listed<'_>>> = texts.iter().map(|text| pinned(text, snapshot)).collect();
    let found = found?;
    let length = |one: &Listed<'_>| one.answer().iter().map(|part| part.len()).sum::<usize>();
    let bytes: usize = found.iter().map(|one| snapshot.lead().len() + length(one) + 1).sum();
    let mut body = Vec::with_capacity(bytes + 2);
    body.push(b'[');
    for (place, release) in found.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        write(release, snapshot, &mut body);
    }
    body.push(b']');
    Some(body)
}

/// Finds what a canonical id with an exact version behind it means; `None` for other texts, and where it is no release that may
/// be used, or not the only one of its version.
fn pinned<'a>(text: &str, snapshot: &'a Snapshot) -> Option<Listed<'a>> {
    let (id, version) = text.rsplit_once('@')?;
    let Some(PlainVersion::Exact(version)) = PlainVersion::of(version) else { return None };
    if text.len() > REFERENCE_BYTES_MAX {
        return None;
    }
    let component = snapshot.component_of(id)?;
    let release = component.exact(&version).filter(Listed::is_usable)?;
    let is_twin = |next: Listed<'_>| next.version().is_some_and(|next| next.is_twin_of(&version));
    (!component.listed(release.at() + 1).is_some_and(is_twin)).then_some(release)
}

#[cfg(test)]
pub(crate) mod tests;
