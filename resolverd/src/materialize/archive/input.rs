//! The bytes of an archive, counted: what comes in, what comes out of it, and how much more that is. Tells the two forms apart by
//! their first bytes, and takes nothing behind the end of one.

use std::io::{self, BufRead, BufReader, Read};

use catalogue_schema::model::Refusal;
use flate2::bufread::GzDecoder;

use crate::materialize::archive::{Bounds, RATIO_FREE_BYTES};
use crate::materialize::tree::at_most;

/// The size of everything in an archive.
pub(super) const BLOCK_BYTES: usize = 512;
/// How much padding may follow the end: two records of the largest blocking factor that is in use.
const PADDING_BYTES_MAX: u64 = 2 << 20;

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How other forms begin that people send.
const OTHERS: [(&[u8], &str); 7] = [
    (b"PK", "a ZIP archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"Rar!", "a RAR archive"),
    (b"\x1f\x9d", "compress"),
];

/// The bytes of the tar archive.
pub(super) struct Input<'a, R: Read> {
    form: Form<R>,
    bounds: Bounds,
    subject: &'a str,
    /// How many bytes of the tar archive were read.
    out: u64,
}

enum Form<R: Read> {
    Plain(Counted<R>),
    Gzip(Box<GzDecoder<Counted<R>>>),
}

impl<R: Read> Form<R> {
    fn input(&self) -> &Counted<R> {
        match self {
            Form::Plain(input) => input,
            Form::Gzip(decoder) => decoder.get_ref(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Form::Plain(input) => input.read(buffer),
            Form::Gzip(decoder) => decoder.read(buffer),
        }
    }
}

impl<'a, R: Read> Input<'a, R> {
    /// Looks at the first bytes.
    ///
    /// **Errors**: `archive.format`, `archive.corrupt` for no bytes at all.
    pub(super) fn open(archive: R, bounds: &Bounds, subject: &'a str) -> Result<Input<'a, R>, Refusal> {
        let mut input = Counted::new(archive, bounds.archive_bytes);
        let corrupt = |error: io::Error| corrupt(subject, error);
        let begin = input.fill_buf().map_err(corrupt)?;
        if begin.is_empty() {
            return Err(Refusal::new("archive.corrupt", subject, "an archive", "no bytes"));
        }
        if let Some((_, found)) = OTHERS.iter().find(|(magic, _)| begin.starts_with(magic)) {
            return Err(Refusal::new("archive.format", subject, FORMS, found));
        }
        let form = match begin.starts_with(&GZIP) {
            true => Form::Gzip(Box::new(GzDecoder::new(input))),
            false => Form::Plain(input),
        };
        Ok(Input { form, bounds: *bounds, subject, out: 0 })
    }

    /// Reads as many bytes as `buffer` has room for.
    ///
    /// **Errors**: `archive.corrupt` where they end before, `archive.too_large`.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Refusal> {
        match self.some(buffer)? {
            read if read == buffer.len() => Ok(()),
            read => {
                let found = format!("an end {} bytes too early", buffer.len() - read);
                Err(Refusal::new("archive.corrupt", self.subject, "a whole archive", found))
            }
        }
    }

    /// Reads up to so many bytes; fewer only at the end.
    fn some(&mut self, buffer: &mut [u8]) -> Result<usize, Refusal> {
        let mut read = 0;
        while read < buffer.len() {
            match self.form.read(&mut buffer[read..]) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(error)),
            }
        }
        self.out = self.out.saturating_add(read as u64);
        self.weigh()?;
        Ok(read)
    }

    /// Refuses an archive whose content is too many times larger than itself.
    fn weigh(&self) -> Result<(), Refusal> {
        let taken = self.form.input().taken.max(1);
        let is_plain = matches!(self.form, Form::Plain(_));
        if is_plain || self.out <= RATIO_FREE_BYTES || self.out / taken <= self.bounds.ratio {
            return Ok(());
        }
        let expected = at_most(self.bounds.ratio, "times as much content as archive", "archive_ratio");
        let found = format!("{} bytes out of {taken}", self.out);
        Err(Refusal::new("archive.too_large", self.subject, expected, found))
    }

    fn unreadable(&self, error: io::Error) -> Refusal {
        if self.form.input().is_over {
            let limit = self.bounds.archive_bytes;
            let expected = at_most(limit, "bytes in an archive", "archive_bytes");
            return Refusal::new("archive.too_large", self.subject, expected, "more");
        }
        corrupt(self.subject, error)
    }

    /// Reads what follows the end of the archive: padding, and nothing else.
    ///
    /// **Errors**: `archive.trailing`, `archive.corrupt`.
    pub(super) fn finish(mut self) -> Result<(), Refusal> {
        let trailing = |subject: &str, found: &str| {
            Refusal::new("archive.trailing", subject, "nothing behind the end of the archive", found)
        };
        let (mut buffer, mut padding) = ([0; 16 * BLOCK_BYTES], 0);
        loop {
            let read = self.some(&mut buffer)?;
            if buffer[..read].iter().any(|byte| *byte != 0) {
                return Err(trailing(self.subject, "more than padding"));
            }
            padding += read as u64;
            if padding > PADDING_BYTES_MAX {
                return Err(trailing(self.subject, "more padding than any program writes"));
            }
            if read < buffer.len() {
                break;
            }
        }
        // Behind the one member that was read, in a compressed archive.
        let mut input = match self.form {
            Form::Plain(input) => input,
            Form::Gzip(decoder) => decoder.into_inner(),
        };
        let is_at_end = input.fill_buf().map(<[u8]>::is_empty);
        match is_at_end {
            Ok(true) => Ok(()),
            Ok(false) => Err(trailing(self.subject, "bytes behind the compressed archive")),
            Err(_) if input.is_over => Err(trailing(self.subject, "bytes behind the compressed archive")),
            Err(error) => Err(corrupt(self.subject, error)),
        }
    }
}

/// What is expected of the first bytes.
pub(super) const FORMS: &str = "a .tar.gz or .tar archive";

fn corrupt(subject: &str, error: io::Error) -> Refusal {
    Refusal::new("archive.corrupt", subject, "an archive that can be read", error)
}

/// Bytes as they come, of which no more are taken than allowed.
struct Counted<R> {
    inner: BufReader<R>,
    /// How many were taken.
    taken: u64,
    left: u64,
    /// There were more.
    is_over: bool,
}

impl<R: Read> Counted<R> {
    fn new(inner: R, limit: u64) -> Counted<R> {
        Counted { inner: BufReader::new(inner), taken: 0, left: limit, is_over: false }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let found = self.fill_buf()?;
        let read = found.len().min(buffer.len());
        buffer[..read].copy_from_slice(&found[..read]);
        self.consume(read);
        Ok(read)
    }
}

impl<R: Read> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let found = self.inner.fill_buf()?;
        if left == 0 && !found.is_empty() {
            self.is_over = true;
            return Err(io::Error::other("it is too long"));
        }
        Ok(&found[..found.len().min(left)])
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
        self.taken += amount as u64;
        self.left = self.left.saturating_sub(amount as u64);
    }
}
