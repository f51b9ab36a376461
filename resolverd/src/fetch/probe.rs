//! The readers of what Git remotes and repositories hold, as functions of bytes: for fuzzing and its tests.
//!
//! Nothing else calls them. They fetch and keep nothing; a broken promise of a reader is a panic here.

use std::path::Path;

use crate::fetch::object::ObjectId;
use crate::fetch::pack::Packs;
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

/// Looks objects up in the packs of a directory, `objects/pack` of a repository, by their indexes: what is found has the size
/// that was said before it was read.
pub fn packed(directory: &Path, ids: &[[u8; 20]]) {
    let mut packs = Packs::new(directory.to_owned());
    for id in ids {
        if let Ok(Some(found)) = packs.find(&ObjectId::from_bytes(*id))
            && found.size <= u64::from(BYTES_MAX)
        {
            let size = found.size;
            if let Ok(content) = found.read() {
                assert_eq!(content.len() as u64, size, "the content has the size that was said");
            }
        }
    }
}
