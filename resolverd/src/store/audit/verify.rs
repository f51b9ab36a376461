//! Verifies an audit log, and returns its newest lines. Reads only; needs no lock, so that a daemon may write meanwhile.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use catalogue_schema::digest::Digest;
use serde::Serialize;

use crate::shelf::durable::{Failed, failed};
use crate::store::audit::{Event, FILE, HEAD, Head, LINE_BYTES_MAX, Line, files, head_of, opened};
use crate::store::memory::Memory;

/// How many faults are told.
const FAULTS_MAX: usize = 20;
/// How often a log is read that grows or is bounded meanwhile.
const LOOKS_MAX: usize = 5;

/// What no verification of these files can see.
pub const UNSEEN: &str = "whoever may write these files can write all of them anew, audit.head included: note LINE:DIGEST \
                          elsewhere now and then, and compare with --seen";

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// How many lines were read.
    pub lines: u64,
    /// The number of the oldest line that is kept; 0 where there is none.
    pub first: u64,
    /// The number of the newest line; 0 where there is none.
    pub last: u64,
    /// The digest of the newest line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Every place where the log is not what was written, oldest first; the first 20 of them.
    pub faults: Vec<Fault>,
    /// What is no fault and should be known.
    pub notes: Vec<String>,
}

/// A place where the log is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Which file.
    pub file: String,
    /// Which line of it, from 1; 0 where the file is not about one.
    pub line: u64,
    /// What is wrong.
    pub found: String,
}

/// A line and its digest that somebody noted elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The number of the line.
    pub seq: u64,
    /// Its digest.
    pub digest: Digest,
}

impl Seen {
    /// Reads `LINE:DIGEST`, such as `7:sha256:…`.
    pub fn parse(text: &str) -> Option<Seen> {
        let (seq, digest) = text.split_once(':')?;
        Some(Seen { seq: seq.parse().ok()?, digest: Digest::parse(digest).ok()? })
    }
}

/// Verifies the log in `directory`: every line continues the one before, and the last one is the one that was written last; lines
/// that were noted elsewhere are the same.
///
/// **Errors**: a file cannot be read. Faults are no error.
pub fn verify(directory: &Path, seen: &[Seen]) -> Result<Verified, Failed> {
    for _ in 1..LOOKS_MAX {
        // Written last, and so read first.
        let mark = Memory::look_at_marks(directory).audit;
        let before = head_of(directory);
        let found = look(directory, (mark, before.clone()), seen)?;
        if found.faults.is_empty() || head_of(directory) == before {
            return Ok(found);
        }
    }
    let mark = Memory::look_at_marks(directory).audit;
    look(directory, (mark, head_of(directory)), seen)
}

/// The newest lines of a log, and whether they continue each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    /// Those that can be read, oldest first.
    pub lines: Vec<Line>,
    /// Every place among them where the log is not what was written; the first 20 of them.
    pub faults: Vec<Fault>,
}

/// A line as it lies there.
struct Raw {
    /// The name of its file.
    file: String,
    /// Which line of that, from 1.
    number: u64,
    digest: Digest,
    line: Option<Line>,
}

/// Returns the newest `limit` lines of the log in `directory`. A line that cannot be read is left out, and is a fault; what lies
/// before these lines is not looked at, but for the one that the first of them continues.
///
/// **Errors**: a file cannot be read; that there is none is no error.
pub fn tail(directory: &Path, limit: usize) -> Result<Tail, Failed> {
    for _ in 1..LOOKS_MAX {
        let before = head_of(directory);
        let found = looked_at(directory, limit, before.as_ref().ok().and_then(Option::as_ref))?;
        if found.faults.is_empty() || head_of(directory) == before {
            return Ok(found);
        }
    }
    looked_at(directory, limit, head_of(directory).ok().flatten().as_ref())
}

fn looked_at(directory: &Path, limit: usize, head: Option<&Head>) -> Result<Tail, Failed> {
    let newest = raw(directory, limit.saturating_add(1))?;
    let mut found = Verified::default();
    let surplus = newest.len().saturating_sub(limit);
    for (at, one) in newest.iter().enumerate() {
        match (&one.line, at.checked_sub(1).and_then(|before| newest.get(before))) {
            (None, _) if at >= surplus => found.fault(&one.file, one.number, "it is no line of this log"),
            (Some(line), Some(Raw { digest, line: Some(before), .. }))
                if line.seq != before.seq + 1 || line.prev != *digest =>
            {
                let text = format!(
                    "line {} does not continue line {}: one of them was changed, or others are gone",
                    line.seq, before.seq
                );
                found.fault(&one.file, one.number, text);
            }
            _ => {}
        }
    }
    let last = newest.back().and_then(|one| Some((one, one.line.as_ref()?.seq)));
    match (head, last) {
        (Some(head), last) if head.last > last.map_or(0, |(_, seq)| seq) => {
            let text = format!("line {} was written, and the log ends before it", head.last);
            found.fault(HEAD, 0, text);
        }
        (Some(head), Some((one, seq))) if head.last == seq && head.digest != one.digest => {
            found.fault(&one.file, one.number, format!("line {seq} is not the one that {HEAD} names"));
        }
        _ => {}
    }
    let lines = newest.into_iter().skip(surplus).filter_map(|one| one.line).collect();
    Ok(Tail { lines, faults: found.faults })
}

/// Returns the newest `limit` lines as they lie there, oldest first.
fn raw(directory: &Path, limit: usize) -> Result<VecDeque<Raw>, Failed> {
    let mut newest = VecDeque::new();
    for path in files(directory)?.into_iter().rev() {
        let Some(opened) = opened(&path)? else { continue };
        let (mut own, mut number) = (VecDeque::new(), 0);
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let each = |raw: &[u8]| {
            number += 1;
            own.push_back((number, raw.to_vec()));
            if own.len() > limit.saturating_sub(newest.len()) {
                own.pop_front();
            }
        };
        each_line(opened, each).map_err(failed("read", &path))?;
        while let Some((number, raw)) = own.pop_back() {
            let (digest, line) = (Digest::sha256(&raw), serde_json::from_slice(&raw).ok());
            newest.push_front(Raw { file: file.clone(), number, digest, line });
        }
        if newest.len() >= limit {
            break;
        }
    }
    Ok(newest)
}

/// Where a verification stands.
struct Walk<'a> {
    found: Verified,
    /// The number and digest of the line before.
    before: (u64, Digest),
    head: Head,
    has_head: bool,
    seen: &'a [Seen],
    /// Which of them have been met.
    met: Vec<bool>,
    /// The newest line as the memory of revisions has it.
    mark: Option<(u64, Digest)>,
    /// The lines that say themselves that the log was not what was written.
    damaged: Vec<(u64, Fault)>,
    /// Up to which line an operator has noted the log elsewhere.
    known: u64,
}

/// What says how far the log reaches: the memory of revisions, and the head.
type Reached = (Option<(u64, Digest)>, Result<Option<Head>, String>);

fn look(directory: &Path, (mark, head): Reached, seen: &[Seen]) -> Result<Verified, Failed> {
    let mut found = Verified::default();
    let (has_head, head) = match head {
        Ok(Some(head)) => (true, head),
        Ok(None) => (false, Head::empty()),
        Err(error) => {
            found.fault(HEAD, 0, format!("it cannot be read: {error}"));
            (false, Head::empty())
        }
    };
    let before = (head.first.saturating_sub(1), head.first_prev.clone());
    let (met, damaged) = (vec![false; seen.len()], Vec::new());
    let mut walk = Walk { found, before, head, has_head, seen, met, mark, damaged, known: 0 };
    for path in files(directory)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(file) = opened(&path)? else { continue };
        let mut number = 0;
        let rest = each_line(file, |raw| {
            number += 1;
            walk.line(&name, number, raw);
        });
        if rest.map_err(failed("read", &path))? > 0 {
            let note =
                format!("{name} ends in the middle of a line: it is being written, or a power cut tore it");
            walk.found.notes.push(note);
        }
    }
    Ok(walk.end())
}

impl Walk<'_> {
    /// Takes the next line.
    fn line(&mut self, file: &str, number: u64, raw: &[u8]) {
        self.found.lines += 1;
        let digest = Digest::sha256(raw);
        let Ok(line) = serde_json::from_slice::<Line>(raw) else {
            self.found.fault(file, number, "it is no line of this log");
            self.before = (self.before.0 + 1, digest);
            return;
        };
        let is_start = self.found.lines == 1;
        if is_start && line.seq < self.head.first && self.has_head {
            // A file that was about to be removed: it says itself where it starts.
            self.before = (line.seq.saturating_sub(1), line.prev.clone());
            self.found.notes.push(format!("lines before {} wait for their removal", self.head.first));
        } else if is_start && !self.has_head && line.seq > 1 {
            self.found.fault(
                file,
                number,
                format!("the log starts at line {}, and no {HEAD} says why", line.seq),
            );
            self.before = (line.seq - 1, line.prev.clone());
        }
        let (seq, prev) = &self.before;
        if line.seq != seq + 1 {
            let found =
                format!("line {} follows line {seq}: lines are gone, doubled or in another order", line.seq);
            self.found.fault(file, number, found);
        } else if line.prev != *prev {
            let found = format!("line {} does not continue line {seq}, one of which was changed", line.seq);
            self.found.fault(file, number, found);
        }
        if self.has_head && line.seq == self.head.last && digest != self.head.digest {
            self.found.fault(file, number, format!("line {} is not the one that {HEAD} names", line.seq));
        }
        for (one, met) in self.seen.iter().zip(&mut self.met) {
            if one.seq == line.seq {
                *met = true;
                if one.digest != digest {
                    let found = format!("line {} has digest {digest}, and {} was noted", one.seq, one.digest);
                    self.found.fault(file, number, found);
                } else {
                    self.known = self.known.max(one.seq);
                }
            }
        }
        if self.mark.as_ref().is_some_and(|(seq, known)| *seq == line.seq && *known != digest) {
            let found = format!("line {} is not the one that was remembered beside the revisions", line.seq);
            self.found.fault(file, number, found);
        }
        if line.entry.event == Event::Damaged && line.entry.subject == FILE {
            let text = line.entry.text.unwrap_or_default();
            let found = format!(
                "line {} says that the log was not what was written ({text}); once that is looked into, --seen with this or a \
                 later line acknowledges it",
                line.seq
            );
            self.damaged.push((line.seq, Fault { file: file.to_owned(), line: number, found }));
        }
        if self.found.first == 0 {
            self.found.first = line.seq;
        }
        self.before = (line.seq, digest);
    }

    fn end(mut self) -> Verified {
        let (last, digest) = self.before;
        if self.found.lines > 0 {
            (self.found.last, self.found.digest) = (last, Some(digest));
        }
        if self.has_head && self.found.last < self.head.last {
            let found = format!(
                "the log ends with line {}, and line {} was written",
                self.found.last, self.head.last
            );
            self.found.fault(HEAD, 0, found);
        } else if self.has_head && self.found.last > self.head.last {
            let more = self.found.last - self.head.last;
            self.found.notes.push(format!(
                "{more} lines behind the last that {HEAD} names: a process ended before it said so"
            ));
        } else if !self.has_head && self.found.lines > 0 && self.found.faults.is_empty() {
            self.found.fault(HEAD, 0, "it is gone: lines missing at the end cannot be noticed");
        }
        if let Some((seq, _)) = self.mark.filter(|(seq, _)| *seq > self.found.last.max(self.head.last)) {
            let found = format!(
                "the log ends with line {}, and line {seq} was remembered beside the revisions",
                self.found.last
            );
            self.found.fault(FILE, 0, found);
        }
        for (_, Fault { file, line, found }) in self.damaged.into_iter().filter(|(seq, _)| *seq > self.known)
        {
            self.found.fault(&file, line, found);
        }
        for (one, _) in self.seen.iter().zip(&self.met).filter(|(_, met)| !**met) {
            match one.seq < self.found.first {
                true => self.found.notes.push(format!("line {} was noted and is no longer kept", one.seq)),
                false => self.found.fault(HEAD, 0, format!("line {} was noted and is gone", one.seq)),
            }
        }
        self.found
    }
}

impl Verified {
    fn fault(&mut self, file: &str, line: u64, found: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { file: file.to_owned(), line, found: found.into() });
        }
    }
}

/// Hands each whole line to `each`, and returns how many bytes are behind the last. Of a line that is too long only its start is
/// handed over.
fn each_line(file: File, mut each: impl FnMut(&[u8])) -> std::io::Result<usize> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
        if line.pop_if(|last| *last == b'\n').is_some() {
            each(&line);
            continue;
        }
        if read <= LINE_BYTES_MAX {
            return Ok(read);
        }
        // It is none of ours; the next one may be.
        each(&line);
        reader.skip_until(b'\n')?;
    }
}
