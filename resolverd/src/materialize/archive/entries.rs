//! The entries of a tar archive, one after the other, each with the one name and size that all places give it.
//!
//! 1. A block of zeros, twice, ends the archive; one alone does not.
//! 2. Records (`x`) and long names (`L`) are about the next entry, and one of them at most: two are two opinions.
//! 3. A name that stands in records or as a long name has to begin as the header's does, which has room for 100 bytes; a size in
//!    records has to be the header's.
//! 4. Records about everything (`g`) may say nothing about names and sizes.

use std::collections::BTreeSet;
use std::io::Read;

use catalogue_schema::error::escaped;
use catalogue_schema::model::Refusal;
use catalogue_schema::path::DocPath;

use crate::materialize::archive::Bounds;
use crate::materialize::archive::header::{Fault, Header, Kind};
use crate::materialize::archive::input::{BLOCK_BYTES, FORMS, Input};
use crate::materialize::archive::names::{self, Places};
use crate::materialize::tree::at_most;

/// The most bytes of records or of a long name: what a path may have, many times over.
const RECORDS_BYTES_MAX: u64 = 64 << 10;
/// How many bytes of a name a header has room for.
const NAME_BYTES: usize = 100;
/// How many blocks about entries there may be for each entry: one.
const ABOUT_EACH: u64 = 2;

/// An entry whose content comes next.
pub(super) struct Entry {
    pub(super) path: DocPath,
    pub(super) executable: bool,
    pub(super) size: u64,
}

/// The entries that are still to come.
pub(super) struct Entries<'a, R: Read> {
    input: Input<'a, R>,
    bounds: Bounds,
    subject: &'a str,
    places: Places,
    /// How many headers of any kind were read.
    headers: u64,
    entries: u64,
    unpacked: u64,
}

/// What is said of the next entry before its header.
#[derive(Default)]
struct Ahead {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    is_any: bool,
}

impl<'a, R: Read> Entries<'a, R> {
    pub(super) fn new(input: Input<'a, R>, bounds: &Bounds, subject: &'a str) -> Entries<'a, R> {
        let places = Places::default();
        Entries { input, bounds: *bounds, subject, places, headers: 0, entries: 0, unpacked: 0 }
    }

    /// Returns the next file; its content has to be read before the one after it.
    ///
    /// **Errors**: whatever is wrong with the archive up to there.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Refusal> {
        let mut ahead = Ahead::default();
        loop {
            let Some(block) = self.block(&ahead)? else { return Ok(None) };
            let header = Header::of(&block).map_err(|fault| self.fault(fault, &block))?;
            let size = header.size().map_err(|fault| self.fault(fault, &block))?;
            match header.kind() {
                Kind::Records | Kind::LongName | Kind::GlobalRecords if ahead.is_any => {
                    return Err(self.ambiguous("two that say something of one entry"));
                }
                Kind::Records => {
                    ahead.is_any = true;
                    let records = self.about(size)?;
                    self.records(&records, &mut ahead)?;
                }
                Kind::GlobalRecords => {
                    let (records, mut all) = (self.about(size)?, Ahead::default());
                    self.records(&records, &mut all)?;
                    if all.name.is_some() || all.size.is_some() {
                        return Err(self.ambiguous("a name or a size for all entries"));
                    }
                }
                Kind::LongName => {
                    ahead.is_any = true;
                    ahead.name = Some(self.long_name(size)?);
                }
                Kind::File => return self.file(&header, size, &ahead, &block).map(Some),
                Kind::Directory => {
                    self.directory(&header, size, &ahead, &block)?;
                    ahead = Ahead::default();
                }
                Kind::Other(what) => {
                    let name = header.name().unwrap_or_default();
                    let found = format!("{}, {what}", escaped(&String::from_utf8_lossy(&name)));
                    let expected = "regular files and directories only";
                    return Err(Refusal::new("archive.entry_type", self.subject, expected, found));
                }
            }
        }
    }

    /// Reads the next header's block; `None` at the end of the archive.
    fn block(&mut self, ahead: &Ahead) -> Result<Option<[u8; BLOCK_BYTES]>, Refusal> {
        let mut block = [0; BLOCK_BYTES];
        self.input.fill(&mut block)?;
        if block.iter().any(|byte| *byte != 0) {
            self.headers += 1;
            if self.headers / ABOUT_EACH > self.bounds.entries {
                return Err(self.too_many());
            }
            return Ok(Some(block));
        }
        if ahead.is_any {
            return Err(self.corrupt("an end where an entry was announced"));
        }
        self.input.fill(&mut block)?;
        match block.iter().all(|byte| *byte == 0) {
            true => Ok(None),
            false => {
                let expected = "nothing behind the end of the archive";
                Err(Refusal::new("archive.trailing", self.subject, expected, "a block behind one of zeros"))
            }
        }
    }

    fn file(
        &mut self,
        header: &Header<'_>,
        size: u64,
        ahead: &Ahead,
        block: &[u8; BLOCK_BYTES],
    ) -> Result<Entry, Refusal> {
        let name = self.name(header, ahead, block)?;
        let path = names::path(&name, self.bounds.depth, self.subject)?;
        self.entries += 1;
        self.places.file(&path, self.subject)?;
        self.counted()?;
        self.agreed(size, ahead)?;
        if size > self.bounds.file_bytes {
            let expected = at_most(self.bounds.file_bytes, "bytes in one file", "file_bytes");
            return Err(self.too_large(expected, format!("{path} with {size} bytes")));
        }
        self.unpacked = self.unpacked.saturating_add(size);
        if self.unpacked > self.bounds.unpacked_bytes {
            let expected = at_most(self.bounds.unpacked_bytes, "bytes in one release", "release_bytes");
            return Err(self.too_large(expected, format!("{} bytes or more", self.unpacked)));
        }
        let executable = header.is_executable().map_err(|fault| self.fault(fault, block))?;
        Ok(Entry { path, executable, size })
    }

    fn directory(
        &mut self,
        header: &Header<'_>,
        size: u64,
        ahead: &Ahead,
        block: &[u8; BLOCK_BYTES],
    ) -> Result<(), Refusal> {
        let name = self.name(header, ahead, block)?;
        self.entries += 1;
        self.counted()?;
        self.agreed(size, ahead)?;
        if size != 0 {
            return Err(self.ambiguous("a directory with content"));
        }
        // What was packed whole names its own top.
        if matches!(&name[..], b"." | b"./") && self.entries == 1 {
            return Ok(());
        }
        let name = name.strip_suffix(b"/").unwrap_or(&name);
        let path = names::path(name, self.bounds.depth, self.subject)?;
        self.places.directory(&path, self.subject)?;
        self.counted()
    }

    /// Bounds what there is: every entry, and every directory that only the names below it tell of.
    fn counted(&self) -> Result<(), Refusal> {
        match self.entries.max(self.places.count()) > self.bounds.entries {
            true => Err(self.too_many()),
            false => Ok(()),
        }
    }

    /// Returns the content of the file that came last.
    ///
    /// **Errors**: `archive.corrupt` where it ends early, `archive.too_large`.
    pub(super) fn content(&mut self, entry: &Entry) -> Result<Vec<u8>, Refusal> {
        self.bytes(entry.size)
    }

    /// Reads so many bytes and what fills their last block up. Their number is within its bound.
    fn bytes(&mut self, size: u64) -> Result<Vec<u8>, Refusal> {
        const STEP: u64 = 256 << 10;
        let mut content = Vec::new();
        // Memory is taken as bytes arrive: a header alone may say anything.
        while (content.len() as u64) < size {
            let start = content.len();
            let step = STEP.min(size - start as u64);
            content.resize(start + usize::try_from(step).unwrap_or(0), 0);
            self.input.fill(&mut content[start..])?;
        }
        let rest = content.len() % BLOCK_BYTES;
        if rest > 0 {
            self.input.fill(&mut [0; BLOCK_BYTES][rest..])?;
        }
        Ok(content)
    }

    /// Reads what is said of entries.
    fn about(&mut self, size: u64) -> Result<Vec<u8>, Refusal> {
        if size > RECORDS_BYTES_MAX {
            let expected = format!("at most {RECORDS_BYTES_MAX} bytes about an entry");
            return Err(self.too_large(expected, format!("{size} bytes")));
        }
        self.bytes(size)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, Refusal> {
        let mut name = self.about(size)?;
        let is_ended = name.pop() == Some(0);
        match is_ended && !name.contains(&0) {
            true => Ok(name),
            false => Err(self.ambiguous("a long name with zeros in it, or none at its end")),
        }
    }

    /// Reads records `LENGTH KEY=VALUE\n`.
    fn records(&self, bytes: &[u8], ahead: &mut Ahead) -> Result<(), Refusal> {
        let (mut rest, mut seen) = (bytes, BTreeSet::new());
        while !rest.is_empty() {
            let (key, value, after) = record(rest).ok_or_else(|| self.corrupt("a record of another form"))?;
            rest = after;
            if !seen.insert(key) {
                return Err(self.ambiguous("a record that stands twice"));
            }
            match key {
                b"path" => ahead.name = Some(value.to_vec()),
                b"size" => {
                    ahead.size = Some(decimal(value).ok_or_else(|| self.corrupt("a size that is none"))?)
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    let expected = "regular files and directories only";
                    return Err(Refusal::new("archive.entry_type", self.subject, expected, "a sparse file"));
                }
                // Others name owners, times and attributes, which are not looked at.
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the one name of an entry.
    fn name(
        &self,
        header: &Header<'_>,
        ahead: &Ahead,
        block: &[u8; BLOCK_BYTES],
    ) -> Result<Vec<u8>, Refusal> {
        let own = header.name().map_err(|fault| self.fault(fault, block))?;
        let Some(name) = &ahead.name else { return Ok(own) };
        let cut = |length: usize| &name[..name.len().min(length)];
        // Old GNU tar keeps room for a zero. Cutting may have met the slash that ends the name of a directory, which some leave away.
        let bare = cut(NAME_BYTES);
        let bare = bare.strip_suffix(b"/").unwrap_or(bare);
        let is_same = own == *name
            || own == cut(NAME_BYTES)
            || own == cut(NAME_BYTES - 1)
            || own.strip_suffix(b"/").unwrap_or(&own) == bare;
        if is_same {
            return Ok(name.clone());
        }
        let told = |name: &[u8]| escaped(&String::from_utf8_lossy(&name[..name.len().min(2 * NAME_BYTES)]));
        let found = format!("{} and {}", told(&own), told(name));
        Err(Refusal::new("archive.ambiguous", self.subject, "one name for each entry", found))
    }

    /// Refuses a size that records say otherwise than the header.
    fn agreed(&self, size: u64, ahead: &Ahead) -> Result<(), Refusal> {
        match ahead.size.filter(|other| *other != size) {
            None => Ok(()),
            Some(other) => {
                let found = format!("{size} and {other} bytes");
                Err(Refusal::new("archive.ambiguous", self.subject, "one size for each entry", found))
            }
        }
    }

    fn fault(&self, fault: Fault, block: &[u8; BLOCK_BYTES]) -> Refusal {
        match fault {
            // The first block tells what it is; one behind it is damaged.
            Fault::Sum if self.headers <= 1 && !Header::is_marked(block) => {
                Refusal::new("archive.format", self.subject, FORMS, "something else")
            }
            Fault::Sum => self.corrupt("a header with a wrong sum"),
            Fault::Number(field) => self.corrupt(&format!("a header whose {field} is no number")),
            Fault::Ambiguous(found) => self.ambiguous(found),
        }
    }

    fn corrupt(&self, found: &str) -> Refusal {
        Refusal::new("archive.corrupt", self.subject, "a whole archive", found)
    }

    fn ambiguous(&self, found: &str) -> Refusal {
        let expected = "an archive that every program reads in the same way";
        Refusal::new("archive.ambiguous", self.subject, expected, found)
    }

    fn too_large(&self, expected: String, found: String) -> Refusal {
        Refusal::new("archive.too_large", self.subject, expected, found)
    }

    fn too_many(&self) -> Refusal {
        let expected = at_most(self.bounds.entries, "files and directories", "release_files");
        Refusal::new("archive.too_many", self.subject, expected, "more")
    }

    /// Reads what follows the end.
    ///
    /// **Errors**: `archive.trailing`, `archive.corrupt`.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        self.input.finish()
    }
}

/// Takes the first record.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(8).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let pair = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    (equals > 0).then_some((&pair[..equals], &pair[equals + 1..], rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
