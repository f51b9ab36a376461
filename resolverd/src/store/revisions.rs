//! The log of revisions: `revisions.jsonl` beside the store, one line per accepted or forgotten revision, only ever appended to.
//!
//! It is for people and audits, and it is a witness: a memory or a `current` that knows less than a line says is an older copy.
//! A line is written after the generation is; a process that is killed between the two writes it at the next start. A last line
//! that was torn by a kill is cut off. Other lines are never changed.
//!
//! **Shape**: a line starts with `{"crc32":"xxxxxxxx",`, the checksum of the line as it would be without that member. A line
//! whose checksum is another is passed over.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::Generation;
use catalogue_schema::id::SourceId;
use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::CommitId;
use catalogue_schema::revision::{Event, LogLine, Revision, RevisionKey, rfc3339};
use tracing::warn;

use crate::shelf::durable::{Failed, failed};
use crate::store::appended::Tail;
use crate::store::memory::{Memory, revision_of};

const FILE: &str = "revisions.jsonl";
/// How much of the end of the log is looked at to answer a question, in bytes.
const TAIL_BYTES: u64 = 8 << 20;
/// The longest line that is read, in bytes; longer ones are none of ours.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// The log of one state directory.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    tail: Tail,
    /// What the last line of each document says; `None` where it was forgotten.
    last: BTreeMap<RevisionKey, Option<(Option<CommitId>, Digest)>>,
    /// The highest generation that a line names; 0 for none.
    generation: u64,
    /// How many whole lines are none of ours any more.
    damaged: usize,
}

impl Log {
    /// Cuts off what a failed append has left.
    pub(super) fn settle(&mut self) -> Result<(), Failed> {
        self.tail.settle(&self.path)
    }

    /// Reads the log below `directory` and cuts off a torn last line.
    pub(super) fn open(directory: &Path) -> Result<Log, Failed> {
        let path = directory.join(FILE);
        let mut log = Log {
            path: path.clone(),
            tail: Tail::default(),
            last: BTreeMap::new(),
            generation: 0,
            damaged: 0,
        };
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(log),
            other => other.map_err(failed("open", &path))?,
        };
        let whole = lines(&file, 0, |line| match line {
            Ok(line) => log.note(&line),
            Err(_) => log.damaged += 1,
        });
        let whole = whole.map_err(failed("read", &path))?;
        if file.metadata().map_err(failed("read", &path))?.len() > whole {
            warn!(path = %path.display(), "a torn last line is cut off");
            file.set_len(whole).and_then(|()| file.sync_all()).map_err(failed("cut", &path))?;
        }
        Ok(log)
    }

    /// Returns the revision that the last line of a document says was accepted; `None` where it was forgotten.
    pub(super) fn newest(&self, key: &RevisionKey) -> Option<&(Option<CommitId>, Digest)> {
        self.last.get(key)?.as_ref()
    }

    /// Returns the highest generation that a line names; 0 for none. It was committed.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns what is wrong with the log.
    pub(super) fn problem(&self) -> Option<Refusal> {
        let found = format!("{} damaged lines, which are passed over", self.damaged);
        (self.damaged > 0).then(|| {
            Refusal::new("trust.log_damaged", self.path.display(), "lines with their checksums", found)
        })
    }

    /// Appends the revisions that a committed generation rests on and that no line tells yet. What the memory does not hold as
    /// the newest (an older generation in force after damage, a forgotten document) is left out.
    pub(super) fn accepted(&mut self, generation: &Generation, memory: &Memory) -> Result<(), Failed> {
        let states = generation.catalogues.iter();
        let lines: Vec<LogLine> = states
            .filter_map(|state| revision_of(state, 0))
            .filter_map(|(key, served)| {
                let newest = memory.known(&key).last()?;
                let is_told = self.last.get(&key).is_some_and(|last| {
                    last.as_ref()
                        .is_some_and(|(commit, digest)| *commit == newest.commit && *digest == newest.digest)
                });
                let is_newest = newest.is(served.commit.as_ref(), &served.digest);
                (is_newest && !is_told).then(|| LogLine {
                    time: rfc3339(newest.accepted_s),
                    key,
                    commit: newest.commit.clone(),
                    digest: newest.digest.clone(),
                    generation: generation.number,
                    event: Event::Accepted,
                    reason: None,
                })
            })
            .collect();
        self.append(&lines)
    }

    /// Appends that an operator had revisions forgotten.
    pub(super) fn forgotten(
        &mut self,
        gone: &[(RevisionKey, Revision)],
        generation: u64,
        reason: &str,
        now_s: i64,
    ) -> Result<(), Failed> {
        let line = |(key, newest): &(RevisionKey, Revision)| LogLine {
            time: rfc3339(now_s),
            key: key.clone(),
            commit: newest.commit.clone(),
            digest: newest.digest.clone(),
            generation,
            event: Event::Forgotten,
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
        };
        self.append(&gone.iter().map(line).collect::<Vec<_>>())
    }

    fn append(&mut self, lines: &[LogLine]) -> Result<(), Failed> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for line in lines {
            text.extend(written(line));
            text.push(b'\n');
        }
        self.tail.append(&self.path, &text)?;
        for line in lines {
            self.note(line);
        }
        Ok(())
    }

    fn note(&mut self, line: &LogLine) {
        self.generation = self.generation.max(line.generation);
        let says = match line.event {
            Event::Accepted => Some((line.commit.clone(), line.digest.clone())),
            Event::Forgotten => None,
        };
        self.last.insert(line.key.clone(), says);
    }
}

/// Returns the newest `limit` lines of the log in `directory`, oldest first: all of them, or those of one source. Looks at the
/// last 8 MiB only.
///
/// **Errors**: the file cannot be read; that it is missing is no error.
pub fn tail(directory: &Path, source: Option<&SourceId>, limit: usize) -> Result<Vec<LogLine>, Failed> {
    let path = directory.join(FILE);
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("open", &path))?,
    };
    let length = file.metadata().map_err(failed("read", &path))?.len();
    let mut newest = VecDeque::with_capacity(limit.min(1_024));
    lines(&file, length.saturating_sub(TAIL_BYTES), |line| {
        let Ok(line) = line else { return };
        if source.is_none_or(|source| line.key.source == *source) {
            newest.push_back(line);
            if newest.len() > limit {
                newest.pop_front();
            }
        }
    })
    .map_err(failed("read", &path))?;
    Ok(newest.into())
}

/// Returns how many whole lines of the log in `directory` are none of ours any more, without changing anything.
///
/// **Errors**: the file cannot be read; that it is missing is no error.
pub fn damaged(directory: &Path) -> Result<usize, Failed> {
    let path = directory.join(FILE);
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        other => other.map_err(failed("open", &path))?,
    };
    let mut damaged = 0;
    lines(&file, 0, |line| damaged += usize::from(line.is_err())).map_err(failed("read", &path))?;
    Ok(damaged)
}

/// Writes a line with its checksum.
fn written(line: &LogLine) -> Vec<u8> {
    // A line of plain texts and numbers always has a JSON form.
    let plain = serde_json::to_vec(line).unwrap_or_default();
    let head = format!("{{\"crc32\":\"{:08x}\",", crc32fast::hash(&plain));
    [head.as_bytes(), plain.get(1..).unwrap_or_default()].concat()
}

/// Reads a line: the error says what is wrong with it.
fn read(line: &[u8]) -> Result<LogLine, String> {
    let rest = line.strip_prefix(b"{\"crc32\":\"").and_then(|rest| rest.split_first_chunk::<8>());
    let (sum, rest) = rest.ok_or("no checksum")?;
    let plain = [b"{", rest.strip_prefix(b"\",").ok_or("no checksum")?].concat();
    if *sum != *format!("{:08x}", crc32fast::hash(&plain)).as_bytes() {
        return Err("another checksum".to_owned());
    }
    serde_json::from_slice(&plain).map_err(|error| error.to_string())
}

/// Reads whole lines from `start` on, which may lie within one, and returns where the last of them ends.
fn lines(file: &File, start: u64, mut take: impl FnMut(Result<LogLine, String>)) -> std::io::Result<u64> {
    let mut reader = BufReader::new(file);
    let mut end = reader.seek(SeekFrom::Start(start))?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut length = 0;
        loop {
            let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
            length += read;
            if read == 0 || line.last() == Some(&b'\n') {
                break;
            }
            line.clear();
        }
        if line.last() != Some(&b'\n') {
            return Ok(end);
        }
        end += length;
        line.pop();
        take(read(&line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(source: &str) -> RevisionKey {
        RevisionKey { source: SourceId::parse(source).expect("an id"), catalogue: None }
    }

    fn forget(log: &mut Log, source: &str, text: &str) {
        let revision = Revision {
            commit: None,
            digest: Digest::sha256(text.as_bytes()),
            accepted_s: 0,
            order_unknown: false,
            signed: None,
        };
        log.forgotten(&[(key(source), revision)], 1, "a reason", 60).expect("appended");
    }

    fn told(directory: &Path, source: Option<&str>, limit: usize) -> Vec<String> {
        let source = source.map(|source| SourceId::parse(source).expect("an id"));
        let lines = tail(directory, source.as_ref(), limit).expect("read");
        lines.iter().map(|line| format!("{} {}", line.key, &line.digest.hex()[..4])).collect()
    }

    #[test]
    fn lines_are_appended_and_a_torn_one_is_cut_off() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE);
        let mut log = Log::open(directory.path()).expect("opened");
        assert!(told(directory.path(), None, 9).is_empty());
        for (source, text) in [("a", "1"), ("b", "1"), ("a", "2")] {
            forget(&mut log, source, text);
        }
        let before = std::fs::read(&path).expect("read");
        let all = ["a 6b86", "b 6b86", "a d473"];
        for torn in [&b"{\"time\":"[..], &[b'x'; 200_000], b""] {
            std::fs::write(&path, [&before, torn].concat()).expect("written");
            assert_eq!(told(directory.path(), None, 9), all, "a reader passes over it");
            let log = Log::open(directory.path()).expect("opened");
            assert_eq!(log.last.len(), 2);
            assert_eq!(std::fs::read(&path).expect("read"), before);
        }
        assert_eq!(told(directory.path(), Some("a"), 9), ["a 6b86", "a d473"]);
        assert_eq!(told(directory.path(), None, 1), ["a d473"]);

        // A line that says something else than what was written is passed over, and said.
        let edited = String::from_utf8(before.clone()).expect("text").replacen("6b86", "6b87", 1);
        std::fs::write(&path, edited).expect("written");
        assert_eq!(told(directory.path(), None, 9), &all[1..]);
        let log = Log::open(directory.path()).expect("opened");
        assert_eq!((log.damaged, log.problem().is_some()), (1, true));

        // A whole line that is none of ours stays and disturbs nobody.
        let strange = [&before, &b"no line of ours\n"[..]].concat();
        std::fs::write(&path, &strange).expect("written");
        let mut log = Log::open(directory.path()).expect("opened");
        forget(&mut log, "c", "1");
        assert_eq!(told(directory.path(), None, 9).len(), 4);
        assert!(std::fs::read(&path).expect("read").starts_with(&strange));
    }
}
