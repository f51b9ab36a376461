//! Answers about single releases: the bytes stand in the snapshot as they are sent, and are copied.
//!
//! An answer begins with the digest of its snapshot, which the snapshot keeps once; what follows is what the component was packed
//! with: `{"snapshot":"sha256:…",` and `"id":"lcod://ns/name","version":"1.0.0",…}`. Never encodes anything.

use catalogue_schema::packed::Listed;

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

#[cfg(test)]
mod tests;
