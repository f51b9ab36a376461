//! The heads of a pack once more, in a file beside it: a pack of many small documents is opened without reading all of them. Only a
//! help: nothing is known by it that the pack does not say, and a document is checked whenever it is read.
//!
//! **Shape**: the line [`MAGIC`], CRC-32 of what follows (u32), length of the pack (u64), then the heads of its frames in their order:
//! 32 bytes and the length (u64). Numbers are big endian.

use std::path::Path;

use crate::shelf::durable;
use crate::shelf::{Frame, HEAD_BYTES, Kind, head};

/// How such a file starts.
const MAGIC: &[u8] = b"resolverd/heads@1\n";

/// Packs of fewer documents are read themselves.
const FRAMES_MIN: usize = 64;

/// Writes the heads of a pack that lies at `pack` and has `length` bytes. Where that fails, the pack is read itself.
pub(super) fn write(pack: &Path, length: u64, frames: &[Frame]) {
    let (Some(directory), Some(name)) = (pack.parent(), beside(pack)) else { return };
    if frames.len() < FRAMES_MIN {
        return;
    }
    let mut heads = Vec::with_capacity(8 + frames.len() * HEAD_BYTES as usize);
    heads.extend(length.to_be_bytes());
    frames.iter().for_each(|frame| heads.extend(head(&frame.name, frame.length)));
    let sum = crc32fast::hash(&heads).to_be_bytes();
    if let Err(error) = durable::write(directory, &name, &[MAGIC, &sum, &heads]) {
        tracing::debug!(%error, "a pack will be read whole when it is opened");
    }
}

/// Reads the heads of the pack at `pack`, which has `length` bytes; `None` where they are not there or not those of such a pack.
pub(super) fn read(pack: &Path, kind: Kind, length: u64) -> Option<Vec<Frame>> {
    let path = pack.with_file_name(beside(pack)?);
    // All of it but a few bytes is a part of the pack. What is a link, a pipe or longer was not written here.
    let length_max = length.saturating_add(MAGIC.len() as u64 + 12);
    path.symlink_metadata().ok().filter(|found| found.is_file() && found.len() <= length_max)?;
    let bytes = durable::read(&path).ok()??;
    let (sum, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
    let (said, heads) = rest.split_first_chunk()?;
    if crc32fast::hash(rest) != u32::from_be_bytes(*sum) || u64::from_be_bytes(*said) != length {
        return None;
    }
    let (heads, []) = heads.as_chunks::<{ HEAD_BYTES as usize }>() else { return None };
    let mut frames = Vec::with_capacity(heads.len());
    let mut at = kind.magic().len() as u64;
    for head in heads {
        let (name, size) = head.split_first_chunk()?;
        let (offset, size) = (at.checked_add(HEAD_BYTES)?, u64::from_be_bytes(size.try_into().ok()?));
        frames.push(Frame { name: *name, offset, length: size });
        at = offset.checked_add(size)?;
    }
    (at == length).then_some(frames)
}

/// Removes the heads of a pack, where there are any.
pub(super) fn remove(pack: &Path) {
    if let Some(name) = beside(pack) {
        put_away(&pack.with_file_name(name));
    }
}

/// Removes the heads of packs that are gone, which a killed process left in `packs`.
pub(super) fn tidy(packs: &Path) {
    for (name, path) in durable::entries(packs).unwrap_or_default() {
        let is_of = |extension: &&str| path.with_extension(extension).exists();
        if name.ends_with(".heads") && !["pack", "blocks"].iter().any(is_of) {
            put_away(&path);
        }
    }
}

/// Removes a file that nobody reads. What cannot be removed disturbs nobody.
fn put_away(path: &Path) {
    if let Err(error) = durable::remove(path) {
        tracing::debug!(%error, "heads of a pack that is gone stay");
    }
}

/// Returns the name of the file with the heads of a pack; `None` for what is none.
fn beside(pack: &Path) -> Option<String> {
    let name = pack.file_name()?.to_str()?;
    let kind = Kind::of_pack(name)?;
    Some(format!("{}.heads", name.strip_suffix(kind.suffix())?))
}
