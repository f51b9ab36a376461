//! The audit log: one line for every denial that is new, every exception that was used, every version whose bytes changed, and
//! every act of an operator. It is only ever appended to, and a line names the digest of the line before, so that no line can be
//! changed, moved or taken away without the rest showing it. Never read to decide anything.
//!
//! **Files**, beside the store: `audit.jsonl`, which is written; `audit-<n>.jsonl`, which are full, named by their first line; and
//! `audit.head`, which says how far the log reached when it was last written, so that lines missing at its end are noticed too.
//! All files together are bounded: the oldest goes, and a line says so.
//!
//! **Shape** of a line: `{"seq": 7, "prev": "sha256:…", "time": "2026-05-04T12:00:00Z", "event": "denied", "subject": …}`; `prev`
//! is the digest of the bytes of line 6, and of `resolverd/audit@1` for line 1. Of `audit.head` (see `sealed.rs`), format
//! `resolverd/audit-head@1`: `{"first", "first_prev", "last", "digest"}`.
//!
//! **Order**: a head without lines before the first one; the lines of a run, fsync; the head, atomically; then the generation that they
//! are about. What a power cut left of a line that nobody was promised is cut off, and a line says that. Lines that were promised and
//! are gone cannot come back: the log goes on behind the last promised one, so that the gap stays where it is, and says so in `status`
//! until the next start.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use catalogue_schema::digest::Digest;
use catalogue_schema::id::SourceId;
use catalogue_schema::model::Refusal;
use catalogue_schema::revision::rfc3339;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::shelf::durable::{self, Failed, failed};
use crate::store::appended::{self, Tail};
use crate::store::{StoreError, sealed};

pub mod verify;

/// How many bytes all files of the log may take together. Config key `audit_bytes`.
pub const AUDIT_BYTES_MAX: u64 = 64 << 20;
/// How many files the log is spread over at most.
const FILES_MAX: u64 = 16;
/// The longest line, in bytes; texts are cut before they make one longer.
const LINE_BYTES_MAX: usize = 40 << 10;
/// The longest text in a line, in characters.
const TEXT_MAX: usize = 1_000;
/// How many versions one line names.
const VERSIONS_MAX: usize = 64;
/// How much of the end of a file is looked at to find its last line, in bytes.
const TAIL_BYTES: u64 = 2 * LINE_BYTES_MAX as u64;

const FILE: &str = "audit.jsonl";
const HEAD: &str = "audit.head";
const HEAD_SCHEMA: &str = "resolverd/audit-head@1";

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Releases are refused that were not, or for another reason.
    Denied,
    /// Releases would be refused if a policy were enforced that warns or watches only.
    WouldDeny,
    /// An exception of the policy let releases in.
    Excepted,
    /// A signed catalogue leaves out what it listed, and does not say that it was withdrawn.
    Removed,
    /// The bytes of a version are others than when it was first seen.
    Mutated,
    /// An operator had something forgotten.
    Forgotten,
    /// An operator accepted that what was accepted before is lost.
    Reset,
    /// A policy came into force.
    PolicyLoaded,
    /// A policy was refused; the one before stays in force.
    PolicyRejected,
    /// Signers have put other keys in the place of their own.
    Rotated,
    /// The oldest lines were removed, since the log may take no more room.
    Dropped,
    /// What a power cut left of a line was cut off.
    Mended,
    /// The log, its head, the first-seen ledger or the memory of revisions is not what was written.
    Damaged,
}

/// What is to be written down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// What happened.
    pub event: Event,
    /// To what: a component, a source, a file.
    pub subject: String,
    /// Which versions of a component.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// The source that supplies it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceId>,
    /// The dotted reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was expected and found, or what an operator said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Entry {
    /// Makes an entry that names no versions, source, reason or text.
    pub fn new(event: Event, subject: impl ToString) -> Entry {
        let subject = subject.to_string();
        Entry { event, subject, versions: Vec::new(), source: None, reason: None, text: None }
    }

    /// Adds the dotted reason.
    pub fn because(self, reason: impl ToString) -> Entry {
        Entry { reason: Some(reason.to_string()), ..self }
    }

    /// Adds what was expected and found, or what an operator said.
    pub fn saying(self, text: impl ToString) -> Entry {
        Entry { text: Some(text.to_string()).filter(|text| !text.is_empty()), ..self }
    }

    /// Tells whether `line`, as it was read, says what became of the same policy.
    pub fn is_about(&self, line: &Entry) -> bool {
        let of_policy = [Event::PolicyLoaded, Event::PolicyRejected];
        cut(self).last().is_some_and(|own| own.subject == line.subject) && of_policy.contains(&line.event)
    }

    /// Tells whether `line`, as it was read, is what this entry was written as.
    pub fn is_told_by(&self, line: &Entry) -> bool {
        cut(self).last() == Some(line)
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number, from 1.
    pub seq: u64,
    /// The digest of the line before.
    pub prev: Digest,
    /// When it was written, as `2026-05-04T12:00:00Z`.
    pub time: String,
    /// What happened.
    #[serde(flatten)]
    pub entry: Entry,
}

/// How far the log reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of the oldest line that is kept.
    pub first: u64,
    /// The digest of the line before that.
    pub first_prev: Digest,
    /// The number of the newest line.
    pub last: u64,
    /// Its digest.
    pub digest: Digest,
}

impl Head {
    /// The head of a log that has no line.
    fn empty() -> Head {
        let digest = Digest::sha256(b"resolverd/audit@1");
        Head { first: 1, first_prev: digest.clone(), last: 0, digest }
    }
}

/// The audit log of one state directory.
#[derive(Debug, Default)]
pub(super) struct Audit {
    directory: PathBuf,
    /// `None` before the log is opened, and for a store that only looks.
    head: Option<Head>,
    tail: Tail,
    /// How long the file is that is written.
    length: u64,
    /// What is to be said about the log itself with the next line.
    pending: Vec<Entry>,
    /// What was found wrong with it.
    damage: Option<Refusal>,
    /// The newest line as it was remembered elsewhere, where that is.
    mark: Option<(u64, Digest)>,
    /// There may be more files than the log may have.
    is_surplus_due: bool,
    /// The head on disk is older than the log.
    is_head_due: bool,
    /// The entries about a generation that were written last: a commit that failed is tried again.
    noted: Vec<Entry>,
    bytes_max: u64,
}

impl Audit {
    /// Looks how far the log in `directory` reaches, and cuts off what a power cut left of a line.
    ///
    /// `mark` is the newest line as it was remembered elsewhere.
    pub(super) fn open(directory: &Path, mark: Option<(u64, Digest)>) -> Result<Audit, Failed> {
        let mut audit =
            Audit { directory: directory.into(), bytes_max: AUDIT_BYTES_MAX, mark, ..Audit::default() };
        audit.look()?;
        Ok(audit)
    }

    /// Bounds the log: what is beyond goes with the next line.
    pub(super) fn bound(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// Returns the number and the digest of the newest line; `None` where there is none.
    pub(super) fn reached(&self) -> Option<(u64, Digest)> {
        let head = self.head.as_ref().filter(|head| head.last > 0)?;
        Some((head.last, head.digest.clone()))
    }

    /// Tells whether everything is written that is to be said.
    pub(super) fn is_settled(&self) -> bool {
        self.head.is_some() && self.pending.is_empty()
    }

    /// Returns what is wrong with the log.
    pub(super) fn problem(&self) -> Option<Refusal> {
        self.damage.clone()
    }

    /// Takes an entry that is written with the next ones: what was found before anybody knew the time.
    pub(super) fn tell(&mut self, entry: Entry) {
        self.pending.extend(cut(&entry));
    }

    /// Writes what is to be said about the log itself, if anything is.
    pub(super) fn settle(&mut self, now_s: i64) -> Result<(), StoreError> {
        match self.pending.is_empty() && !self.is_head_due {
            true => Ok(()),
            false => self.append(&[], now_s),
        }
    }

    /// Appends what a generation that is about to be committed brings. Where the commit fails and is tried again, the same
    /// entries are not written twice.
    pub(super) fn note(&mut self, mut entries: Vec<Entry>, now_s: i64) -> Result<(), StoreError> {
        let known = std::mem::take(&mut self.noted);
        let fresh: Vec<Entry> = entries.iter().filter(|entry| !known.contains(entry)).cloned().collect();
        if fresh.is_empty() && self.pending.is_empty() {
            self.noted = entries;
            return Ok(());
        }
        self.append(&fresh, now_s)?;
        // What is kept is bounded by what one failed commit may bring; more of it is written again.
        entries.truncate(VERSIONS_MAX);
        self.noted = entries;
        Ok(())
    }

    /// Says that what was noted is committed.
    pub(super) fn committed(&mut self) {
        self.noted.clear();
    }

    /// Appends entries; durable on return.
    ///
    /// **Errors**: the log cannot be written. Of entries that fill more than one file the first may be in it then.
    pub(super) fn append(&mut self, entries: &[Entry], now_s: i64) -> Result<(), StoreError> {
        self.tail.settle(&self.directory.join(FILE))?;
        if self.head.is_none() || appended::length(&self.directory.join(FILE))? != self.length {
            self.look()?;
        }
        self.begin()?;
        let time = rfc3339(now_s);
        if self.is_surplus_due {
            self.trim(&time)?;
        }
        let own = self.pending.len();
        let mut told: Vec<Entry> = self.pending.clone();
        told.extend(entries.iter().flat_map(cut));
        let mut at = 0;
        while let Some(rest) = told.get(at..).filter(|rest| !rest.is_empty()) {
            at += self.append_some(rest, &time)?;
            let left = own - at.min(own);
            self.pending.drain(..self.pending.len().saturating_sub(left));
        }
        self.write_head();
        Ok(())
    }

    /// Appends as many entries as the file has room for, to the next file where it is full, and returns how many they are.
    fn append_some(&mut self, entries: &[Entry], time: &str) -> Result<usize, StoreError> {
        let room = self.bytes_max / FILES_MAX;
        loop {
            let mut head = self.head.clone().unwrap_or_else(Head::empty);
            let (mut bytes, mut count) = (Vec::new(), 0);
            for entry in entries {
                let mut next = head.clone();
                let line = line(entry, &mut next, time)?;
                let is_first = self.length == 0 && count == 0;
                if !is_first && self.length + (bytes.len() + line.len()) as u64 > room {
                    break;
                }
                bytes.extend(line);
                head = next;
                count += 1;
            }
            if count > 0 {
                self.length = self.tail.append(&self.directory.join(FILE), &bytes)?;
                self.head = Some(head);
                return Ok(count);
            }
            self.rotate()?;
            self.trim(time)?;
        }
    }

    /// Writes a head that says that there is no line, before there is one: lines without a head look as if it had been taken away.
    fn begin(&self) -> Result<(), StoreError> {
        let is_new = self.reached().is_none() && !self.directory.join(HEAD).exists();
        if is_new { self.keep_head() } else { Ok(()) }
    }

    fn keep_head(&self) -> Result<(), StoreError> {
        let Some(head) = &self.head else { return Ok(()) };
        let bytes = sealed::seal(HEAD, HEAD_SCHEMA, head)?;
        durable::write(&self.directory, HEAD, &[&bytes])?;
        Ok(())
    }

    /// Writes how far the log reaches. The lines are there: a head that cannot be written is written with the next ones.
    fn write_head(&mut self) {
        let written = self.keep_head();
        self.is_head_due = written.is_err();
        if let Err(error) = written {
            warn!(%error, "how far the audit log reaches is not written");
        }
    }

    /// Gives the full file its number.
    fn rotate(&mut self) -> Result<(), StoreError> {
        let path = self.directory.join(FILE);
        let last = self.head.as_ref().map_or(0, |head| head.last);
        let number = first_line(&path)?.map_or(last, |line| line.seq);
        let full = self.directory.join(format!("audit-{number}.jsonl"));
        std::fs::rename(&path, &full).map_err(failed("rename", &path))?;
        (self.length, self.is_surplus_due) = (0, true);
        Ok(durable::sync_directory(&self.directory)?)
    }

    /// Removes the oldest files where there are too many: the line that says so, then the head, and only then they go. Where the
    /// process ends in between the log is longer than its head says, which is no fault, and the next line takes it up again.
    fn trim(&mut self, time: &str) -> Result<(), StoreError> {
        let files = full_files(&self.directory)?;
        let surplus = (files.len() + 1).saturating_sub(FILES_MAX as usize);
        let (gone, kept) = files.split_at(surplus.min(files.len()));
        let oldest = kept.first().filter(|_| !gone.is_empty());
        let first = oldest.map(|(_, path)| first_line(path)).transpose()?.flatten();
        if let (Some(first), Some(mut head)) = (first, self.head.clone()) {
            if head.first < first.seq {
                let text = format!("the lines before {} were removed: the log is full", first.seq);
                let bytes = line(&Entry::new(Event::Dropped, FILE).saying(text), &mut head, time)?;
                self.length = self.tail.append(&self.directory.join(FILE), &bytes)?;
                (head.first, head.first_prev) = (first.seq, first.prev);
                self.head = Some(head);
            }
            self.write_head();
            if self.is_head_due {
                return Ok(());
            }
            for (_, path) in gone {
                durable::remove(path)?;
            }
        }
        self.is_surplus_due = false;
        Ok(())
    }

    /// Finds out how far the log reaches.
    fn look(&mut self) -> Result<(), Failed> {
        let path = self.directory.join(FILE);
        // What this process has written it knows better than any file.
        let (known, mut damage) = match self.head.take() {
            Some(head) => (Some(head), None),
            None => remembered(&self.directory, self.mark.take())?,
        };
        let mut last = last_line(&path)?;
        let is_at = |found: &Last, head: &Head| found.line == Some((Some(head.last), head.digest.clone()));
        if let (Some(head), Some(found)) = (&known, &mut last)
            && !is_at(found, head)
        {
            let place = continued(&path, head)?;
            let is_behind = matches!(found.line, Some((Some(seq), _)) if seq > head.last);
            if is_behind && place.is_none() {
                damage = Some(format!("what follows line {} does not continue it", head.last));
            }
            let (line, end) = place.unwrap_or_else(|| (found.line.clone(), found.whole));
            // What is behind lines that continue each other nobody was promised.
            let rest = found.whole - end + found.torn.as_ref().map_or(0, |torn| torn.1);
            if end < found.whole {
                found.torn = Some((digest_from(&path, end)?, rest));
            }
            (found.line, found.whole) = (line, end);
        }
        if let Some(found) = &last
            && let Some(torn) = &found.torn
            && let Some(file) = appended::open(&path)?
        {
            warn!(path = %path.display(), bytes = torn.1, "a torn last line of the audit log is cut off");
            appended::cut(&file, &path, found.whole)?;
            let text = format!("{} bytes of an unfinished line were cut off ({})", torn.1, torn.0);
            self.pending.push(Entry::new(Event::Mended, FILE).saying(text));
        }
        self.length = last.as_ref().map_or(0, |found| found.whole);
        if last.as_ref().is_none_or(|found| found.line.is_none()) {
            // It was renamed, and nothing is behind it yet.
            last = match full_files(&self.directory)?.last() {
                Some((_, path)) => last_line(path)?,
                None => last,
            };
        }
        let line = last.and_then(|found| found.line);
        let (head, lines) = reach(known, line);
        damage = lines.or(damage);
        if let Some(found) = damage {
            let expected = "the lines that were written, and no others";
            let hint = format!("{found}; resolverd audit verify says where");
            let damage = Refusal::new("trust.audit_damaged", path.display(), expected, hint);
            warn!(%damage, "the audit log is not what was written");
            let told = self.damage.replace(damage);
            if told.is_none() {
                let entry = Entry::new(Event::Damaged, FILE).because("trust.audit_damaged").saying(found);
                self.pending.push(entry);
            }
        }
        self.head = Some(head);
        self.is_surplus_due = true;
        Ok(())
    }
}

/// Returns the name of a file of the log in `directory` that holds something; `None` where no line was ever written.
///
/// **Errors**: the directory cannot be read.
pub(super) fn begun(directory: &Path) -> Result<Option<&'static str>, Failed> {
    if directory.join(HEAD).exists() {
        return Ok(Some(HEAD));
    }
    let has_lines = appended::length(&directory.join(FILE))? > 0 || !full_files(directory)?.is_empty();
    Ok(has_lines.then_some(FILE))
}

/// The last line of a file.
struct Last {
    /// Its number where it can be read, and its digest; `None` where the file has no whole line.
    line: Option<(Option<u64>, Digest)>,
    /// Where the last whole line ends.
    whole: u64,
    /// What is behind that: its digest, and how many bytes it is.
    torn: Option<(Digest, u64)>,
}

/// Decides how the log goes on, from how far it is known to reach and its last line; the text says what is wrong.
fn reach(known: Option<Head>, line: Option<(Option<u64>, Digest)>) -> (Head, Option<String>) {
    let Some(head) = known else { return (Head::empty(), None) };
    match line {
        // They were written, and the process ended before the head was.
        Some((Some(seq), digest)) if seq > head.last => (Head { last: seq, digest, ..head }, None),
        Some((Some(seq), digest)) if seq == head.last && digest == head.digest => (head, None),
        None if head.last == 0 => (head, None),
        line => {
            let found = match line {
                Some((Some(seq), _)) if seq == head.last => format!("line {seq} has other bytes"),
                Some((Some(seq), _)) => {
                    format!("the log ends with line {seq}, and {} was written", head.last)
                }
                Some((None, _)) => "its last line cannot be read".to_owned(),
                None => format!("the log is gone, and line {} was written", head.last),
            };
            (head, Some(found))
        }
    }
}

/// Returns how far the log reached by what was written beside it and by `mark`, which was remembered elsewhere; `None` for a log
/// that never had a line. The text says what is wrong with what lies beside it.
fn remembered(
    directory: &Path,
    mark: Option<(u64, Digest)>,
) -> Result<(Option<Head>, Option<String>), Failed> {
    let found = match head_of(directory) {
        Ok(Some(head)) => {
            let newer = mark.filter(|(seq, _)| *seq > head.last);
            let head = match newer {
                Some((last, digest)) => Head { last, digest, ..head },
                None => head,
            };
            return Ok((Some(head), None));
        }
        Ok(None) => format!("{HEAD} is gone"),
        Err(found) => format!("{HEAD} cannot be read: {found}"),
    };
    let (mut first, mut last) = (None, None);
    for path in files(directory)? {
        first = first.or(first_line(&path)?);
        last = last_line(&path)?.and_then(|found| found.line).or(last);
    }
    let adopted = last.map(|(seq, digest)| (seq.unwrap_or_default(), digest));
    let Some((last, digest)) = mark.or(adopted) else {
        let is_gone = directory.join(HEAD).exists();
        return Ok((None, is_gone.then_some(found)));
    };
    let head = match first {
        Some(line) => Head { first: line.seq, first_prev: line.prev, last, digest },
        None => Head { last, digest, ..Head::empty() },
    };
    Ok((Some(head), Some(found)))
}

fn head_of(directory: &Path) -> Result<Option<Head>, String> {
    let bytes = durable::read(&directory.join(HEAD)).map_err(|error| error.to_string())?;
    bytes.map(|bytes| sealed::unseal(HEAD_SCHEMA, &bytes)).transpose()
}

/// Returns the full files, oldest first, each with the number of its first line.
fn full_files(directory: &Path) -> Result<Vec<(u64, PathBuf)>, Failed> {
    let number = |name: &str| name.strip_prefix("audit-")?.strip_suffix(".jsonl")?.parse::<u64>().ok();
    let named = durable::entries(directory)?.into_iter();
    let mut files: Vec<(u64, PathBuf)> =
        named.filter_map(|(name, path)| Some((number(&name)?, path))).collect();
    files.sort();
    Ok(files)
}

/// Returns every file of the log, oldest first.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Failed> {
    let full = full_files(directory)?.into_iter().map(|(_, path)| path);
    Ok(full.chain([directory.join(FILE)]).collect())
}

fn opened(path: &Path) -> Result<Option<File>, Failed> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => Ok(Some(other.map_err(failed("open", path))?)),
    }
}

fn first_line(path: &Path) -> Result<Option<Line>, Failed> {
    let Some(file) = opened(path)? else { return Ok(None) };
    let mut start = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut start).map_err(failed("read", path))?;
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(serde_json::from_slice(line).ok())
}

fn last_line(path: &Path) -> Result<Option<Last>, Failed> {
    let Some(mut file) = opened(path)? else { return Ok(None) };
    let length = file.metadata().map_err(failed("read", path))?.len();
    let whole = appended::last_newline(&mut file, length).map_err(failed("read", path))?;
    let torn = (whole < length).then(|| Ok((digest_from(path, whole)?, length - whole))).transpose()?;
    if whole == 0 {
        return Ok(Some(Last { line: None, whole, torn }));
    }
    let mut end = Vec::new();
    let start = whole.saturating_sub(TAIL_BYTES);
    let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.take(whole - start).read_to_end(&mut end));
    read.map_err(failed("read", path))?;
    let lines = end.strip_suffix(b"\n").unwrap_or(&end);
    let line = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let seq = serde_json::from_slice::<Line>(line).ok().map(|line| line.seq);
    Ok(Some(Last { line: Some((seq, Digest::sha256(line))), whole, torn }))
}

/// Returns the digest of what a file holds from `start` on, as far as a line could reach.
fn digest_from(path: &Path, start: u64) -> Result<Digest, Failed> {
    let mut bytes = Vec::new();
    if let Some(mut file) = opened(path)? {
        let read =
            file.seek(SeekFrom::Start(start)).and_then(|_| file.take(TAIL_BYTES).read_to_end(&mut bytes));
        read.map_err(failed("read", path))?;
    }
    Ok(Digest::sha256(&bytes))
}

/// The number and digest of a line, and where it ends.
type Place = (Option<(Option<u64>, Digest)>, u64);

/// Returns the last of the lines behind the one that `head` names that continue each other, and where it ends; `None` where that
/// one is not in the file. Nothing stands for a line before the file.
fn continued(path: &Path, head: &Head) -> Result<Option<Place>, Failed> {
    let Some(file) = opened(path)? else { return Ok(None) };
    let mut reader = BufReader::new(file);
    let (mut before, mut end, mut met) = ((head.last, head.digest.clone()), 0, None);
    let mut raw = Vec::new();
    loop {
        raw.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut raw);
        read.map_err(failed("read", path))?;
        if raw.pop_if(|last| *last == b'\n').is_none() {
            return Ok(met);
        }
        let (start, digest) = (end, Digest::sha256(&raw));
        end += raw.len() as u64 + 1;
        let line = serde_json::from_slice::<Line>(&raw).ok();
        let is_next = line.as_ref().is_some_and(|line| line.seq == before.0 + 1 && line.prev == before.1);
        if is_next {
            before = (before.0 + 1, digest.clone());
            met = Some((Some((Some(before.0), digest)), end));
        } else if met.is_some() {
            return Ok(met);
        } else if digest == head.digest {
            met = Some((Some((Some(head.last), digest)), end));
        } else if start == 0 && head.last == 0 {
            return Ok(Some((None, 0)));
        }
    }
}

/// Writes an entry as the line behind `head`, which then is at it.
fn line(entry: &Entry, head: &mut Head, time: &str) -> Result<Vec<u8>, StoreError> {
    let seq = head.last.saturating_add(1);
    let line = Line { seq, prev: head.digest.clone(), time: time.to_owned(), entry: entry.clone() };
    let mut text = serde_json::to_vec(&line).map_err(|error| StoreError::Encode {
        what: "a line of the audit log".to_owned(),
        found: error.to_string(),
    })?;
    (head.last, head.digest) = (seq, Digest::sha256(&text));
    text.push(b'\n');
    Ok(text)
}

/// Returns an entry as ones that fit into lines: long texts are cut, many versions are several entries. What came from outside
/// is escaped, so that no reader's terminal can be told anything by it.
fn cut(entry: &Entry) -> Vec<Entry> {
    let short = |text: &str| -> String { plain(text).chars().take(TEXT_MAX).collect() };
    let one = Entry {
        subject: short(&entry.subject),
        reason: entry.reason.as_deref().map(short),
        text: entry.text.as_deref().map(short),
        versions: Vec::new(),
        ..entry.clone()
    };
    if entry.versions.is_empty() {
        return vec![one];
    }
    let some = |versions: &[String]| Entry { versions: versions.to_vec(), ..one.clone() };
    entry.versions.chunks(VERSIONS_MAX).map(some).collect()
}

/// Returns `text` with everything escaped that could mean something to a terminal.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => out.push(c),
            c if c.is_alphanumeric() => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}

#[cfg(test)]
mod tests;
