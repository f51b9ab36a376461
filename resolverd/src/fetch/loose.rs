//! One loose Git object: a zlib stream of `<kind> <size>\0<content>`, inflated never past the size that it declares.
//!
//! Taken apart here and not by libgit2, because libgit2 1.9.7 spins without end on a stream that is cut off (2026-11-21:
//! `git_zstream_get_output` takes "no progress" for success), and a power cut leaves such files behind. Knows no files and no
//! hashes: whoever calls compares the content with its id.
//! **Source**: git's `Documentation/gitformat-loose.adoc`, RFC 1950.

use catalogue_schema::pace;
use flate2::{Decompress, FlushDecompress, Status};

use crate::fetch::object::Kind;

/// How much of an object's file is read to find its header, in bytes.
pub(crate) const START_BYTES: u64 = 4096;
/// What is inflated in one go, in bytes; most objects are shorter.
const WHOLE_BYTES_MAX: usize = 128 << 10;
/// How much of a longer one is inflated in one go: the window of the format (RFC 1951), since the library may stop short where a piece is
/// longer, which would pass for the end of the stream.
const PIECE_BYTES: usize = 32 << 10;
/// How much work a byte is that is inflated, roughly.
const INFLATED_NS: usize = 3;
/// The longest header, in bytes; the longest real one is `commit 4294967295` and its NUL.
const HEAD_BYTES_MAX: usize = 32;

/// Why an object cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LooseError {
    /// The file ends before the stream does.
    #[error("its compressed stream is cut off")]
    Cut,
    /// The file holds no zlib stream, its checksum does not match, or something follows it.
    #[error("its compressed stream is damaged")]
    Damaged,
    /// There is no NUL where a header could end.
    #[error("it has no header")]
    NoHead,
    /// The header is not a kind and a size.
    #[error("its header is malformed")]
    BadHead,
    /// The stream holds more or fewer bytes than the header says.
    #[error("its size is not what its header says")]
    OtherSize,
}

/// What an object says about itself, unproven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The type.
    pub kind: Kind,
    /// The size of the content, in bytes, below 4 GiB.
    pub size: u32,
    /// How long the header is, with its NUL.
    length: usize,
}

/// Returns how long the stream of `size` bytes may be: what cannot be compressed grows by a few bytes in a thousand.
pub(crate) fn stream_bytes_max(size: u64) -> u64 {
    size + size / 64 + START_BYTES
}

/// Reads the header from the first [`START_BYTES`] of an object's file; inflates only as much as a header may have.
pub(crate) fn head(start: &[u8]) -> Result<Head, LooseError> {
    let inflated = inflate(start, HEAD_BYTES_MAX)?;
    let nul = inflated.bytes.iter().position(|byte| *byte == 0).ok_or(LooseError::NoHead)?;
    let (kind, size) = str::from_utf8(&inflated.bytes[..nul])
        .ok()
        .and_then(|head| head.split_once(' '))
        .ok_or(LooseError::BadHead)?;
    let kinds = [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag];
    let kind = kinds.into_iter().find(|known| known.to_string() == kind).ok_or(LooseError::BadHead)?;
    let size = size.parse().map_err(|_| LooseError::BadHead)?;
    Ok(Head { kind, size, length: nul + 1 })
}

/// Returns the content of a whole file, which must hold exactly what its header declares and end with the stream.
pub(crate) fn content(stream: &[u8], head: &Head) -> Result<Vec<u8>, LooseError> {
    let length = head.length + head.size as usize;
    // One byte more, so that a stream that is too long shows.
    let mut inflated = inflate(stream, length + 1)?;
    if inflated.bytes.len() > length {
        return Err(LooseError::OtherSize);
    }
    match inflated.ended_at {
        None => Err(LooseError::Cut),
        Some(_) if inflated.bytes.len() < length => Err(LooseError::OtherSize),
        Some(end) if end == stream.len() => Ok(inflated.bytes.split_off(head.length)),
        Some(_) => Err(LooseError::Damaged),
    }
}

/// What came out of a stream.
pub(crate) struct Inflated {
    /// Its first bytes.
    pub bytes: Vec<u8>,
    /// Where the stream ends in its input, its checksum included and checked; `None` where it does not end within the bound.
    pub ended_at: Option<usize>,
}

/// Inflates the first `bytes_max` bytes of a stream, or all where it is shorter.
///
/// A long stream is inflated piece by piece, so that others may go first between two of them. What is wrong behind `bytes_max` may show
/// then ([`LooseError::Damaged`]), and a reference to before the first byte reads zeros: the bytes are compared with their id in any case.
///
/// **Errors**: [`LooseError::Damaged`].
pub(crate) fn inflate(stream: &[u8], bytes_max: usize) -> Result<Inflated, LooseError> {
    let mut bytes = Vec::with_capacity(bytes_max);
    let mut zlib = Decompress::new(true);
    loop {
        let (read, written) = (zlib.total_in() as usize, bytes.len());
        let room =
            if bytes_max <= WHOLE_BYTES_MAX { bytes_max } else { bytes_max.min(written + PIECE_BYTES) };
        bytes.resize(room, 0);
        // What comes out in one piece needs no window to look back into.
        let flush = if room == bytes_max { FlushDecompress::Finish } else { FlushDecompress::None };
        let status = zlib.decompress(&stream[read..], &mut bytes[written..], flush);
        let ended = status.map_err(|_| LooseError::Damaged)? == Status::StreamEnd;
        bytes.truncate(zlib.total_out() as usize);
        pace::spent((bytes.len() - written) * INFLATED_NS);
        // A piece that is not full is where the stream or its input ends, so that nothing can be tried again without end.
        if ended || bytes.len() < room || room == bytes_max {
            return Ok(Inflated { bytes, ended_at: ended.then_some(zlib.total_in() as usize) });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn deflated(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut out = ZlibEncoder::new(Vec::new(), Compression::new(level));
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn read(stream: &[u8]) -> Result<Vec<u8>, LooseError> {
        content(stream, &head(stream)?)
    }

    #[test]
    fn objects_arrive_whole_at_every_level() {
        let noise: Vec<u8> = (0..50_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for level in 0..=9 {
            for body in [&b""[..], b"x", &[0; 50_000], &noise] {
                let object = [format!("blob {}\0", body.len()).as_bytes(), body].concat();
                let stream = deflated(&object, level);
                let head = head(&stream).unwrap();
                assert_eq!((head.kind, head.size as usize), (Kind::Blob, body.len()));
                assert!(stream.len() as u64 <= stream_bytes_max(head.size.into()));
                assert_eq!(content(&stream, &head).unwrap(), body);
            }
        }
    }

    #[test]
    fn in_pieces_as_in_one_go() {
        let noise: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let in_one_go = |stream: &[u8], bytes_max| {
            let (mut bytes, mut zlib) = (Vec::with_capacity(bytes_max), Decompress::new(true));
            let status = zlib.decompress_vec(stream, &mut bytes, FlushDecompress::Finish).ok()?;
            bytes.truncate(bytes_max);
            Some((bytes, (status == Status::StreamEnd).then_some(zlib.total_in() as usize)))
        };
        let borders =
            [0, PIECE_BYTES, WHOLE_BYTES_MAX, WHOLE_BYTES_MAX + PIECE_BYTES, 5 * PIECE_BYTES, 250_000];
        for border in borders {
            for length in [border.saturating_sub(1), border, border + 1] {
                for level in [0, 1, 9] {
                    let whole = deflated(&noise[..length], level);
                    let mut longer = whole.clone();
                    longer.push(b'x');
                    for stream in [&whole[..], &whole[..whole.len() - 5], &whole[..whole.len() / 2], &longer]
                    {
                        for bytes_max in [length.saturating_sub(1), length, length + 1, length + PIECE_BYTES]
                        {
                            let found = inflate(stream, bytes_max).ok().map(|all| (all.bytes, all.ended_at));
                            let case = (length, level, stream.len(), bytes_max);
                            assert!(found == in_one_go(stream, bytes_max), "{case:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn only_a_kind_and_a_size_are_a_header() {
        let rows: [(&[u8], LooseError); 9] = [
            (b"", LooseError::NoHead),
            (b"blob 3", LooseError::NoHead),
            (&[b'b'; 100], LooseError::NoHead),
            (b"\0", LooseError::BadHead),
            (b"blob\0", LooseError::BadHead),
            (b"bulb 3\0abc", LooseError::BadHead),
            (b"blob -3\0abc", LooseError::BadHead),
            (b"blob 4294967296\0abc", LooseError::BadHead),
            (b"bl\xffb 3\0abc", LooseError::BadHead),
        ];
        for (object, expected) in rows {
            assert_eq!(head(&deflated(object, 6)), Err(expected), "{}", object.escape_ascii());
        }
    }

    #[test]
    fn cut_damaged_and_long_streams_are_refused() {
        let good = deflated(b"blob 10\0aaaaaaaaaa", 6);
        assert_eq!(read(&good).unwrap(), b"aaaaaaaaaa");
        let known = head(&good).unwrap();
        for length in 0..good.len() {
            assert_eq!(content(&good[..length], &known), Err(LooseError::Cut), "{length}");
        }
        let mut other_sum = good.clone();
        *other_sum.last_mut().unwrap() ^= 1;
        let dictionary = [0x78, 0xbb, 0, 0, 0, 1, 3, 0, 0, 0, 0, 1];
        let rows: [(&[u8], LooseError); 6] = [
            (&[&good[..], b"x"].concat(), LooseError::Damaged),
            (&other_sum, LooseError::Damaged),
            (b"plain text", LooseError::Damaged),
            (&dictionary, LooseError::Damaged),
            (&deflated(b"blob 9\0aaaaaaaaaa", 6), LooseError::OtherSize),
            (&deflated(b"blob 11\0aaaaaaaaaa", 6), LooseError::OtherSize),
        ];
        for (stream, expected) in rows {
            assert_eq!(read(stream), Err(expected), "{}", stream.escape_ascii());
        }
    }

    #[test]
    fn a_bomb_is_inflated_to_its_declared_size_only() {
        let bomb = deflated(&[&b"blob 5\0"[..], &vec![0; 1 << 20]].concat(), 9);
        assert_eq!(inflate(&bomb, 13).unwrap().bytes.len(), 13);
        assert_eq!(read(&bomb), Err(LooseError::OtherSize));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_grow(mut bytes: Vec<u8>, bytes_max in 0usize..300) {
            let _ = read(&bytes);
            bytes.splice(0..0, [0x78, 0x9c]);
            if let Ok(inflated) = inflate(&bytes, bytes_max) {
                proptest::prop_assert!(inflated.bytes.len() <= bytes_max);
            }
            let _ = read(&bytes);
        }

        #[test]
        fn a_garbled_object_is_its_content_or_refused(at in 0usize..40, flip in 1u8..) {
            let mut stream = deflated(b"blob 26\0abcdefghijklmnopqrstuvwxyz", 6);
            let at = at % stream.len();
            stream[at] ^= flip;
            if let Ok(bytes) = read(&stream) {
                proptest::prop_assert_eq!(bytes, b"abcdefghijklmnopqrstuvwxyz");
            }
        }
    }
}
