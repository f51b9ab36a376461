//! Archives of releases: `.tar.gz` and `.tar`, taken apart strictly, and put together so that equal files give equal bytes.
//!
//! A reader of archives that helps itself where something is unusual gives an attacker two readers that see two things. This one
//! takes what means one thing to everybody, and refuses the whole archive for anything else:
//! - regular files and directories, and nothing else: no link of any kind, no device, no sparse file (`archive.entry_type`);
//! - names by the one grammar of paths (`archive.entry_path`; `archive.reserved_name` for those that Git and this program use), none
//!   twice, none that differs from another in the case of letters only, no file where another name needs a directory
//!   (`archive.duplicate`);
//! - names and sizes that all places agree on in which they may stand (`archive.ambiguous`);
//! - one archive, behind which nothing follows (`archive.trailing`), whole (`archive.corrupt`), in one of the two forms
//!   (`archive.format`);
//! - within [`Bounds`], which are met while it streams (`archive.too_large`, `archive.too_many`, `archive.too_deep`);
//! - where a list of its files is given, exactly these (`archive.unlisted`, `archive.missing`, `archive.digest`).
//!
//! Owners, times, modes but for "may be executed", extended attributes and empty directories are not looked at. [`unpack`] writes
//! into a fresh directory aside, of which nothing is left where the archive is refused; [`read`] touches no disk at all. Neither
//! follows a link, since no link is ever made, and both read nothing but the reader that they are given.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use catalogue_schema::digest::{Digest, Hashed};
use catalogue_schema::model::{Refusal, Verdict};
use catalogue_schema::path::DocPath;

use crate::fetch::limit::Limits;
use crate::materialize::archive::entries::Entries;
use crate::materialize::archive::input::Input;
use crate::materialize::stage::Stage;
use crate::shelf::durable::Failed;
use crate::trust::verify::{Evidence, judge};

mod entries;
mod header;
mod input;
mod names;
pub mod write;

/// What an archive may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The largest archive as it comes, in bytes.
    pub archive_bytes: u64,
    /// The most bytes of all files together.
    pub unpacked_bytes: u64,
    /// The largest file, in bytes.
    pub file_bytes: u64,
    /// The most files and directories.
    pub entries: u64,
    /// The most levels of directories, a file in none being on the first.
    pub depth: u64,
    /// How many times larger than the archive its content may be, once that is more than [`RATIO_FREE_BYTES`].
    pub ratio: u64,
}

/// The content that no ratio is asked of, in bytes: a short file and the blocks around it are mostly zeros.
pub const RATIO_FREE_BYTES: u64 = 1 << 20;

impl From<&Limits> for Bounds {
    fn from(limits: &Limits) -> Bounds {
        Bounds {
            archive_bytes: limits.archive_bytes,
            unpacked_bytes: limits.release_bytes,
            file_bytes: limits.file_bytes,
            entries: limits.release_files,
            depth: limits.release_depth,
            ratio: limits.archive_ratio,
        }
    }
}

/// A file that an archive has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its path.
    pub path: DocPath,
    /// The digests that its bytes must have, every one of them.
    pub digests: Vec<Digest>,
    /// The size that it must have.
    pub size: Option<u64>,
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Its path.
    pub path: DocPath,
    /// It may be executed.
    pub executable: bool,
    /// Its bytes.
    pub content: Hashed,
}

/// Why an archive is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is not one that may be used; the reason is one of those in the head of this module.
    #[error("{0}")]
    Refused(Refusal),
    /// What it holds could not be taken: the disk is full, or forbids it.
    #[error("{0}")]
    Taken(#[from] Failed),
}

impl From<Refusal> for ArchiveError {
    fn from(refusal: Refusal) -> ArchiveError {
        ArchiveError::Refused(refusal)
    }
}

/// Unpacks an archive into a fresh directory in `trees`, which its caller publishes; `subject` is what messages call it.
///
/// **Errors**: the archive is refused, or the disk is at fault; the directory is gone then.
pub fn unpack(
    archive: impl Read,
    trees: &Path,
    bounds: &Bounds,
    expected: Option<&[Expected]>,
    subject: &str,
) -> Result<Stage, ArchiveError> {
    let mut stage = Stage::new(trees)?;
    read(archive, bounds, expected, subject, &mut |file| {
        let (bytes, digest) = (file.content.bytes(), file.content.digest().clone());
        stage.put(&file.path, None, file.executable, (bytes, digest))
    })?;
    Ok(stage)
}

/// Reads an archive and hands each file to `take`, in its order, one in memory at a time. What was taken counts only where this
/// ends well.
///
/// **Errors**: the archive is refused, or `take` fails.
pub fn read(
    archive: impl Read,
    bounds: &Bounds,
    expected: Option<&[Expected]>,
    subject: &str,
    take: &mut dyn FnMut(Unpacked) -> Result<(), Failed>,
) -> Result<(), ArchiveError> {
    let mut list = expected.map(List::new);
    let mut entries = Entries::new(Input::open(archive, bounds, subject)?, bounds, subject);
    while let Some(entry) = entries.next()? {
        let promised = match &mut list {
            Some(list) => Some(list.take(&entry.path, entry.size, subject)?),
            None => None,
        };
        let content = Hashed::of(entries.content(&entry)?);
        if let Some(promised) = promised {
            held_against(promised, &content, subject)?;
        }
        take(Unpacked { path: entry.path, executable: entry.executable, content })?;
    }
    entries.finish()?;
    list.map_or(Ok(()), |list| list.finish(subject)).map_err(ArchiveError::from)
}

/// The files that have not come yet.
struct List<'a>(BTreeMap<&'a DocPath, &'a Expected>);

impl<'a> List<'a> {
    fn new(expected: &'a [Expected]) -> List<'a> {
        List(expected.iter().map(|one| (&one.path, one)).collect())
    }

    fn take(&mut self, path: &DocPath, size: u64, subject: &str) -> Result<&'a Expected, Refusal> {
        let expected = "files that are listed, and no others";
        let promised = self.0.remove(path);
        let promised = promised.ok_or_else(|| Refusal::new("archive.unlisted", subject, expected, path))?;
        match promised.size.filter(|promised| *promised != size) {
            None => Ok(promised),
            Some(promised) => {
                let expected = format!("{promised} bytes of {path}");
                Err(Refusal::new("archive.digest", subject, expected, format!("{size} bytes")))
            }
        }
    }

    fn finish(&self, subject: &str) -> Result<(), Refusal> {
        let Some(first) = self.0.keys().next() else { return Ok(()) };
        let found = match self.0.len() - 1 {
            0 => format!("no {first}"),
            more => format!("no {first} (and {more} more)"),
        };
        Err(Refusal::new("archive.missing", subject, "every file that is listed", found))
    }
}

/// Compares a file with what is promised of it, by the one function that does.
fn held_against(promised: &Expected, content: &Hashed, subject: &str) -> Result<(), Refusal> {
    let subject = format!("{} of {subject}", promised.path);
    match judge(&Evidence::promised(&subject, &promised.digests, promised.size), content) {
        Verdict::Trusted(_) => Ok(()),
        Verdict::Refused(Refusal { expected, found, .. }) => {
            Err(Refusal::new("archive.digest", subject, expected, found))
        }
    }
}

#[cfg(test)]
mod tests;
