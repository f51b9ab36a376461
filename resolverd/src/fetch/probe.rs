//! The readers of what Git remotes and repositories hold, as functions of bytes: for fuzzing and its tests.
//!
//! Nothing else calls them. They fetch and keep nothing; a broken promise of a reader is a panic here.

use crate::fetch::{git_wire, loose};

/// The bounds of what is read here, so that a large bound is not what a fuzzer finds.
const OBJECTS_MAX: usize = 64;
const BYTES_MAX: u32 = 1 << 16;

/// Takes apart a pack that a remote sent.
pub fn pack(bytes: &[u8]) {
    git_wire::probe_pack(bytes, OBJECTS_MAX, u64::from(BYTES_MAX));
}

/// Reads a loose object's file: its content has the size that its header declares.
pub fn loose(bytes: &[u8]) {
    let Ok(head) = loose::head(bytes) else { return };
    if head.size <= BYTES_MAX
        && let Ok(content) = loose::content(bytes, &head)
    {
        assert_eq!(content.len(), head.size as usize, "the content has the declared size");
    }
}

/// Reads what a remote answers: capabilities, refs, a fetch.
pub fn wire(bytes: &[u8]) {
    git_wire::probe_answers(bytes);
}
