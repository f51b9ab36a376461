//! Archives of files, such that equal files give equal bytes whoever packs them, where, and when.
//!
//! **Shape** (seed 002 §7.2): ustar; paths in the order of their bytes, separated by `/`; files alone, since directories follow from
//! them; mode 0644, owner and group 0 without names, time 0. A path that fits in neither field of ustar stands in a record before its
//! header, whose only key is `path`. Two blocks of zeros, then zeros up to a record of 20 blocks. gzip: level 9, no name, no time, no
//! operating system (255).
//!
//! Only the digest of the tar archive is the same whatever program made it: two compressors need not agree. What is written here the
//! reader of this folder takes. Reads no file, no clock, no environment.

use std::collections::BTreeMap;
use std::io::Write as _;

use catalogue_schema::model::Refusal;
use catalogue_schema::path::DocPath;
use flate2::{Compression, GzBuilder};

use crate::materialize::archive::Bounds;
use crate::materialize::archive::input::BLOCK_BYTES;
use crate::materialize::names;
use crate::materialize::tree::at_most;

/// What a tar archive is a whole number of, as other programs write it.
const RECORD_BYTES: usize = 20 * BLOCK_BYTES;
const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;
/// The level of compression.
const LEVEL: u32 = 9;
/// The system that stands for none.
const UNKNOWN_SYSTEM: u8 = 255;

/// Packs files as `.tar.gz`; `subject` is what messages call the archive.
///
/// **Errors**: those of [`tar`]; `archive.too_large` for what it comes to.
pub fn tar_gz(
    files: &BTreeMap<DocPath, Vec<u8>>,
    bounds: &Bounds,
    subject: &str,
) -> Result<Vec<u8>, Refusal> {
    let tar = tar(files, bounds, subject)?;
    let writer = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM);
    let mut writer = writer.write(Vec::new(), Compression::new(LEVEL));
    let written = writer.write_all(&tar).and_then(|()| writer.finish());
    let packed = written.map_err(|error| Refusal::new("archive.corrupt", subject, "an archive", error))?;
    if packed.len() as u64 > bounds.archive_bytes {
        let expected = at_most(bounds.archive_bytes, "bytes in an archive", "archive_bytes");
        return Err(Refusal::new("archive.too_large", subject, expected, format!("{} bytes", packed.len())));
    }
    Ok(packed)
}

/// Packs files as `.tar`.
///
/// **Errors**: what the reader would refuse: `archive.too_many`, `archive.too_large`, `archive.too_deep`, `archive.duplicate`.
pub fn tar(files: &BTreeMap<DocPath, Vec<u8>>, bounds: &Bounds, subject: &str) -> Result<Vec<u8>, Refusal> {
    bounded(files, bounds, subject)?;
    let mut out = Vec::new();
    for (path, bytes) in files {
        let path = path.as_text();
        let (prefix, name) = split(path).unwrap_or_else(|| {
            let record = record(path);
            entry(&mut out, (b'x', "", RECORDS_NAME), &record);
            // The path is plain ASCII: any byte of it may be the last.
            ("", &path[..NAME_BYTES])
        });
        entry(&mut out, (b'0', prefix, name), bytes);
    }
    let end = out.len() + 2 * BLOCK_BYTES;
    out.resize(end.next_multiple_of(RECORD_BYTES), 0);
    Ok(out)
}

/// What the header before a record is called.
const RECORDS_NAME: &str = "PaxHeaders/path";

fn bounded(files: &BTreeMap<DocPath, Vec<u8>>, bounds: &Bounds, subject: &str) -> Result<(), Refusal> {
    let too_large =
        |expected: String, found: String| Err(Refusal::new("archive.too_large", subject, expected, found));
    if files.len() as u64 > bounds.entries {
        let expected = at_most(bounds.entries, "files and directories", "release_files");
        return Err(Refusal::new("archive.too_many", subject, expected, files.len()));
    }
    if let Some((path, bytes)) = files.iter().find(|(_, bytes)| bytes.len() as u64 > bounds.file_bytes) {
        let expected = at_most(bounds.file_bytes, "bytes in one file", "file_bytes");
        return too_large(expected, format!("{path} with {} bytes", bytes.len()));
    }
    let total: u64 = files.values().map(|bytes| bytes.len() as u64).sum();
    if total > bounds.unpacked_bytes {
        let expected = at_most(bounds.unpacked_bytes, "bytes in one release", "release_bytes");
        return too_large(expected, format!("{total} bytes"));
    }
    if let Some(path) = files.keys().find(|path| path.segments().count() as u64 > bounds.depth) {
        let expected = at_most(bounds.depth, "levels of directories", "release_depth");
        return Err(Refusal::new("archive.too_deep", subject, expected, path));
    }
    names::check(&subject, files.keys())
        .map_err(|refusal| Refusal { reason: "archive.duplicate".into(), ..refusal })
}

/// Returns the two fields in which a path stands; `None` where it fits in neither way.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME_BYTES {
        return Some(("", path));
    }
    // As other programs do: the last slash that leaves a prefix that fits.
    let at = path[..path.len().min(PREFIX_BYTES + 1)].rfind('/')?;
    let (prefix, name) = (&path[..at], &path[at + 1..]);
    (name.len() <= NAME_BYTES).then_some((prefix, name))
}

/// Returns the record that names a path; its length counts its own digits.
fn record(path: &str) -> Vec<u8> {
    let rest = " path=".len() + path.len() + "\n".len();
    let digits = |number: usize| number.to_string().len();
    let mut length = rest + digits(rest);
    if rest + digits(length) != length {
        length = rest + digits(length);
    }
    format!("{length} path={path}\n").into_bytes()
}

fn entry(out: &mut Vec<u8>, (kind, prefix, name): (u8, &str, &str), content: &[u8]) {
    let mut header = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    put(345, prefix.as_bytes());
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
}
