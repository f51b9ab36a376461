//! One block of a tar archive that says what follows: the fields of ustar (POSIX.1-1988), of what came before it, and of GNU tar,
//! read so that no two readers can disagree. Pure.
//!
//! | bytes | field | here |
//! |---|---|---|
//! | 0..100 | name | text, zeros behind it |
//! | 100..108 | mode | octal; who may execute |
//! | 108..124 | owner | any number |
//! | 124..136 | size | octal; GNU's binary form is for what is too large anyway |
//! | 136..148 | time | any number |
//! | 148..156 | checksum | the sum of all bytes, itself as spaces |
//! | 156 | type | |
//! | 157..257 | link | not looked at: no link is taken |
//! | 257..265 | `ustar\0` `00`, `ustar  \0` (GNU), or nothing | |
//! | 345..500 | directory of the name | text; with GNU's mark and without a mark it has to be empty |

use crate::materialize::archive::input::BLOCK_BYTES;

/// A block as it was read.
pub(super) struct Header<'a>(&'a [u8; BLOCK_BYTES]);

/// What a header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// Records about the next entry (POSIX.1-2001).
    Records,
    /// Records about all entries that follow.
    GlobalRecords,
    /// The name of the next entry (GNU).
    LongName,
    /// Anything else, with what people call it.
    Other(&'static str),
}

/// Why a header is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its sum is another one.
    Sum,
    /// A number is none.
    Number(&'static str),
    /// It can be read in two ways.
    Ambiguous(&'static str),
}

impl<'a> Header<'a> {
    /// Takes a block whose sum is right.
    pub(super) fn of(block: &'a [u8; BLOCK_BYTES]) -> Result<Header<'a>, Fault> {
        let header = Header(block);
        let stated = octal(&block[148..156]).ok_or(Fault::Sum)?;
        let spaces = 8 * u64::from(b' ');
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        if stated != sum(&block[..148]) + spaces + sum(&block[156..]) {
            return Err(Fault::Sum);
        }
        // Nobody here looks at these, and others end an archive where they are no numbers.
        let others = [(100..108, "mode"), (108..116, "owner"), (116..124, "group"), (136..148, "time")];
        let devices = [(329..337, "device"), (337..345, "device")];
        match others.into_iter().chain(devices).find(|(field, _)| !is_number(&block[field.clone()])) {
            None => Ok(header),
            Some((_, field)) => Err(Fault::Number(field)),
        }
    }

    /// Tells whether a block says itself that it is a header.
    pub(super) fn is_marked(block: &[u8; BLOCK_BYTES]) -> bool {
        block[257..].starts_with(b"ustar")
    }

    pub(super) fn kind(&self) -> Kind {
        match self.0[156] {
            b'0' | 0 => Kind::File,
            b'5' => Kind::Directory,
            b'x' => Kind::Records,
            b'g' => Kind::GlobalRecords,
            b'L' => Kind::LongName,
            b'1' => Kind::Other("a hard link"),
            b'2' => Kind::Other("a symbolic link"),
            b'3' => Kind::Other("a character device"),
            b'4' => Kind::Other("a block device"),
            b'6' => Kind::Other("a fifo"),
            b'7' => Kind::Other("a contiguous file"),
            b'S' => Kind::Other("a sparse file"),
            b'K' => Kind::Other("the target of a link"),
            b'X' => Kind::Other("records of another system"),
            _ => Kind::Other("an entry of an unknown type"),
        }
    }

    /// Tells whether its owner may execute it.
    pub(super) fn is_executable(&self) -> Result<bool, Fault> {
        let mode = octal(&self.0[100..108]).ok_or(Fault::Number("mode"))?;
        Ok(mode & 0o100 != 0)
    }

    /// Returns how many bytes follow; the largest number there is for one in GNU's binary form, which stands for what is larger
    /// than 8 GiB, or has no reason to be there.
    pub(super) fn size(&self) -> Result<u64, Fault> {
        let field = &self.0[124..136];
        if field[0] & 0x80 != 0 {
            let is_large = field[0] == 0x80 && field[1..8].iter().any(|byte| *byte != 0);
            return if is_large { Ok(u64::MAX) } else { Err(Fault::Ambiguous("a size in an unusual form")) };
        }
        octal(field).ok_or(Fault::Number("size"))
    }

    /// Returns the name in the block.
    pub(super) fn name(&self) -> Result<Vec<u8>, Fault> {
        let name = text(&self.0[..100]).ok_or(Fault::Ambiguous("bytes behind the end of a name"))?;
        let prefix = &self.0[345..500];
        if self.0[257..265] != *b"ustar\x0000" {
            // GNU tar keeps times there, and who came before it nothing at all.
            let is_empty = prefix.iter().all(|byte| *byte == 0);
            return if is_empty {
                Ok(name.to_vec())
            } else {
                Err(Fault::Ambiguous("a directory of the name"))
            };
        }
        let prefix = text(prefix).ok_or(Fault::Ambiguous("bytes behind the end of a directory"))?;
        match prefix {
            [] => Ok(name.to_vec()),
            prefix => Ok([prefix, b"/", name].concat()),
        }
    }
}

/// Returns the text of a field: up to a zero, behind which only zeros stand.
fn text(field: &[u8]) -> Option<&[u8]> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    field[end..].iter().all(|byte| *byte == 0).then_some(&field[..end])
}

/// Tells whether a field is a number in any form, or nothing.
fn is_number(field: &[u8]) -> bool {
    let is_blank = field.iter().all(|byte| matches!(byte, b' ' | 0));
    is_blank || matches!(field[0], 0x80 | 0xff) || octal(field).is_some()
}

/// Reads a number: spaces before it, octal digits, spaces or zeros behind it.
fn octal(field: &[u8]) -> Option<u64> {
    let start = field.iter().position(|byte| *byte != b' ')?;
    let digits = &field[start..];
    let end = digits.iter().position(|byte| !matches!(byte, b'0'..=b'7')).unwrap_or(digits.len());
    if end == 0 || !digits[end..].iter().all(|byte| matches!(byte, b' ' | 0)) {
        return None;
    }
    // Twelve digits are less than 64 bits.
    digits[..end]
        .iter()
        .try_fold(0u64, |number, digit| number.checked_mul(8)?.checked_add(u64::from(digit - b'0')))
}
