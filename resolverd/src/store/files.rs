//! The durable truth: generation files, the lists of their documents, and the pointer to the one in force. The index is only
//! a cache of them.
//!
//! - `generations/<n>.json`: a generation, written once, never changed.
//! - `generations/<sha256>.documents`: the list of the documents that generations rest on (see [`catalogue_schema::documents`]),
//!   by the digest that names it there. Written before the first of them, gone with the last; equal lists are one file.
//! - `current`: `{"schema", "number", "digest"}`; the digest is that of the generation file's bytes.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use catalogue_schema::digest::{Digest, Hashed};
use catalogue_schema::documents::{Documents, Listed};
use catalogue_schema::generation::{DocumentList, GENERATION_SCHEMA, Generation, NEWER_FORMAT, OLDER_FORMAT};
use catalogue_schema::model::Refusal;
use serde::{Deserialize, Serialize};

use crate::shelf::durable;
use crate::store::StoreError;

/// How the names of lists of documents end.
const DOCUMENTS: &str = ".documents";
const CURRENT: &str = "current";
const CURRENT_SCHEMA: &str = "resolverd/current@1";
/// How much of a file is compared at once, in bytes.
const COMPARED_BYTES: usize = 64 << 10;

/// The files of one state directory.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    generations: PathBuf,
}

/// What the files say.
#[derive(Debug)]
pub(super) struct Found {
    /// The generations that may be in force, best first. One only, where the pointer and its file are sound.
    pub(super) candidates: Vec<Generation>,
    /// The highest number that any file names; 0 for none.
    pub(super) last: u64,
    /// What is wrong with the pointer or its file.
    pub(super) damage: Option<String>,
    /// The newest generation, where another version of the program wrote it. There are no candidates then: what is older than it
    /// is not what was in force.
    pub(super) foreign: Option<Foreign>,
}

impl Found {
    fn foreign(found: Foreign, last: u64) -> Found {
        let damage = format!("generation file {} has schema {:?}", found.number, found.format);
        Found { candidates: Vec::new(), last, damage: Some(damage), foreign: Some(found) }
    }
}

/// A generation file of a format that this program does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    number: u64,
    format: String,
    is_newer: bool,
    /// The pointer names it with another digest, so that it may be a damaged file of this format.
    is_doubtful: bool,
}

impl Foreign {
    fn of(number: u64, format: &str) -> Option<Foreign> {
        let numbered = |format: &str| -> Option<(String, u64)> {
            let (kind, number) = format.rsplit_once('@')?;
            Some((kind.to_owned(), number.parse().ok()?))
        };
        let (own, found) = (numbered(GENERATION_SCHEMA)?, numbered(format)?);
        let is_other = own.0 == found.0 && own.1 != found.1;
        is_other.then(|| Foreign {
            number,
            format: format.to_owned(),
            is_newer: found.1 > own.1,
            is_doubtful: false,
        })
    }

    /// Says so, as a problem.
    pub fn problem(&self) -> Refusal {
        let reason = if self.is_newer { NEWER_FORMAT } else { OLDER_FORMAT };
        Refusal::new(reason, format!("generation {}", self.number), GENERATION_SCHEMA, self.to_string())
    }
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let age = if self.is_newer { "a newer" } else { "an older" };
        write!(out, "{}, which {age} version of the program wrote", self.format)?;
        if self.is_doubtful {
            out.write_str(" unless the file is damaged, since the file current names another digest")?;
        }
        out.write_str("; nothing was thrown away")
    }
}

/// Why a generation file cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It is of another format, and its bytes have this digest.
    Foreign(Foreign, Digest),
    /// Anything else.
    Damaged(String),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unusable::Foreign(Foreign { number, format, .. }, _) => {
                write!(out, "generation file {number} has schema {format:?}")
            }
            Unusable::Damaged(why) => out.write_str(why),
        }
    }
}

/// What decides which files are kept.
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// The snapshot of a generation.
    pub(super) snapshot: Digest,
    /// The list of its documents.
    pub(super) documents: DocumentList,
}

impl Named {
    pub(super) fn of(generation: &Generation) -> Named {
        Named { snapshot: generation.snapshot.clone(), documents: generation.documents.clone() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Current {
    schema: String,
    number: u64,
    digest: Digest,
}

/// What every generation file has, whatever its form.
#[derive(Debug, Deserialize)]
struct Schema {
    schema: String,
}

impl Files {
    /// Names the files of a directory, to be read only: nothing is prepared and nothing removed.
    pub(super) fn to_read(directory: &Path) -> Files {
        Files { directory: directory.into(), generations: directory.join("generations") }
    }

    /// Prepares the directories and removes what a killed process left.
    pub(super) fn open(directory: &Path) -> Result<Files, StoreError> {
        let files = Files::to_read(directory);
        durable::private_directory(&files.generations)?;
        durable::remove_temporaries(directory)?;
        durable::remove_temporaries(&files.generations)?;
        Ok(files)
    }

    /// Reads the pointer and the generation file that it names; falls back to the other files where either is damaged.
    pub(super) fn read(&self) -> Result<Found, StoreError> {
        self.read_from(0)
    }

    /// Reads like [`Files::read`]; a pointer to a generation before `committed`, which was in force, is an older copy.
    pub(super) fn read_from(&self, committed: u64) -> Result<Found, StoreError> {
        let numbers = self.numbers()?;
        let newest = numbers.last().copied().unwrap_or(0).max(committed);
        let (damage, distrusted, last) = match self.current()? {
            Ok(None) if numbers.is_empty() => {
                let damage = (committed > 0).then(|| format!("generation {committed} is gone"));
                return Ok(Found { candidates: Vec::new(), last: committed, damage, foreign: None });
            }
            Ok(Some(current)) if current.number < committed => {
                let why = format!(
                    "the file current names generation {}, and {committed} was in force",
                    current.number
                );
                (why, None, newest)
            }
            Ok(None) => {
                ("there are generations, and no file says which is in force".to_owned(), None, newest)
            }
            Err(why) => (why, None, newest),
            Ok(Some(current)) => match self.load(current.number)? {
                Ok((generation, digest)) if digest == current.digest => {
                    let (candidates, last) = (vec![generation], current.number);
                    return Ok(Found { candidates, last, damage: None, foreign: None });
                }
                Ok((_, digest)) => {
                    let (number, expected) = (current.number, current.digest);
                    let why = format!("generation file {number} has digest {digest}, expected {expected}");
                    (why, Some(number), newest.max(number))
                }
                Err(Unusable::Foreign(found, digest)) if digest == current.digest => {
                    return Ok(Found::foreign(found, newest.max(current.number)));
                }
                Err(why) => (why.to_string(), Some(current.number), newest.max(current.number)),
            },
        };
        let mut candidates = self.all()?;
        candidates.retain(|generation| Some(generation.number) != distrusted);
        let doubted = distrusted.or(numbers.last().copied());
        if let Some(Err(Unusable::Foreign(found, _))) = doubted.map(|number| self.load(number)).transpose()?
            && (distrusted.is_none() || candidates.is_empty())
        {
            return Ok(Found::foreign(Foreign { is_doubtful: distrusted.is_some(), ..found }, last));
        }
        Ok(Found { candidates, last, damage: Some(damage), foreign: None })
    }

    /// Returns every generation that can be read, newest first.
    pub(super) fn all(&self) -> Result<Vec<Generation>, StoreError> {
        let mut readable = Vec::new();
        for number in self.numbers()?.into_iter().rev() {
            if let Ok((generation, _)) = self.load(number)? {
                readable.push(generation);
            }
        }
        Ok(readable)
    }

    /// Writes a generation file, then the pointer to it; after a return both outlive a power cut. The list of its documents
    /// was kept before.
    pub(super) fn write(&self, generation: &Generation) -> Result<(), StoreError> {
        let name = format!("{}.json", generation.number);
        let bytes = encode(&format!("generation {}", generation.number), generation)?;
        durable::write(&self.generations, &name, &[&bytes])?;
        self.point(generation.number, Digest::sha256(&bytes))
    }

    /// Writes a list of documents unless it is there already; after a return it outlives a power cut.
    pub(super) fn keep_documents(&self, listed: &Listed) -> Result<(), StoreError> {
        if !self.holds(listed) {
            durable::write(&self.generations, &documents_name(&listed.list), &[listed.content.bytes()])?;
        }
        Ok(())
    }

    /// Tells whether a list of documents is there, byte for byte.
    fn holds(&self, listed: &Listed) -> bool {
        let bytes = listed.content.bytes();
        if bytes.is_empty() {
            return true;
        }
        let Ok(mut file) = File::open(self.generations.join(documents_name(&listed.list))) else {
            return false;
        };
        let mut held = [0; COMPARED_BYTES];
        let is_same = |part: &[u8]| {
            let held = held.get_mut(..part.len());
            held.is_some_and(|held| file.read_exact(held).is_ok() && held == part)
        };
        bytes.chunks(COMPARED_BYTES).all(is_same) && file.read(&mut [0]).is_ok_and(|more| more == 0)
    }

    /// Reads a list of documents; the error says why it cannot be used.
    pub(super) fn documents(&self, list: &DocumentList) -> Result<Documents, String> {
        let name = documents_name(list);
        match Documents::read(self.document_bytes(list)?) {
            Ok(found) if found.len() as u64 == list.count => Ok(found),
            Ok(found) => Err(format!("the list {name} names {} documents, not {}", found.len(), list.count)),
            Err(why) => Err(format!("the list {name} {why}")),
        }
    }

    /// Tells whether a list of documents is there, byte for byte; the error says why it cannot be used.
    pub(super) fn check_documents(&self, list: &DocumentList) -> Result<(), String> {
        self.document_bytes(list).map(drop)
    }

    fn document_bytes(&self, list: &DocumentList) -> Result<Hashed, String> {
        if *list == DocumentList::default() {
            return Ok(Hashed::of(Vec::new()));
        }
        let name = documents_name(list);
        // Whatever keeps it from being read, it is as good as lost: everything can go on without it.
        let bytes = match durable::read(&self.generations.join(&name)) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(format!("the list {name} is missing")),
            Err(error) => return Err(error.to_string()),
        };
        let content = Hashed::of(bytes);
        match *content.digest() == list.digest {
            true => Ok(content),
            false => Err(format!("the list {name} has digest {}", content.digest())),
        }
    }

    /// Makes the names of all files outlive a power cut, that of the directory among them.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        durable::sync_directory(&self.generations)?;
        durable::sync_directory(&self.directory)?;
        // Who may not read what lies above has not made the directory, nor has who finds it on a file system of its own.
        let device = |path: &Path| Some(path.metadata().ok()?.dev());
        let above = self
            .directory
            .parent()
            .filter(|above| device(above) == device(&self.directory) && File::open(above).is_ok());
        Ok(above.map_or(Ok(()), durable::sync_directory)?)
    }

    /// Points at a generation whose file is there, after the pointer was lost.
    pub(super) fn point_again(&self, number: u64) -> Result<(), StoreError> {
        match self.load(number)? {
            Ok((_, digest)) => self.point(number, digest),
            Err(found) => Err(StoreError::Encode {
                what: format!("the pointer to generation {number}"),
                found: found.to_string(),
            }),
        }
    }

    fn point(&self, number: u64, digest: Digest) -> Result<(), StoreError> {
        let current = Current { schema: CURRENT_SCHEMA.into(), number, digest };
        durable::write(&self.directory, CURRENT, &[&encode("the pointer", &current)?])?;
        Ok(())
    }

    /// Returns the newest `count` generations before `number` that can be read, newest first. One that cannot is left out,
    /// with a warning: the generation in force does not need it. One of another format is left out without: it is as it was written.
    pub(super) fn before(&self, number: u64, count: usize) -> Result<Vec<Generation>, StoreError> {
        let mut readable = Vec::new();
        let older = self.numbers()?.into_iter().rev().filter(|older| *older < number);
        for older in older.take(count) {
            match self.load(older)? {
                Ok((generation, _)) => readable.push(generation),
                Err(why @ Unusable::Foreign(..)) => {
                    tracing::debug!(generation = older, %why, "an older generation cannot be asked");
                }
                Err(why) => tracing::warn!(generation = older, %why, "an older generation cannot be asked"),
            }
        }
        Ok(readable)
    }

    /// Removes generation files newer than `number`, which were never in force, those whose snapshot the next newer one has
    /// too, and those too old to be among the `keep` that are kept, with the lists of documents that none of the others
    /// needs; returns the oldest that stays. A file that `named` does not name cannot be read.
    pub(super) fn tidy(
        &self,
        number: u64,
        keep: usize,
        named: &BTreeMap<u64, Named>,
    ) -> Result<u64, StoreError> {
        let (older, mut gone): (Vec<u64>, Vec<u64>) = self.numbers()?.into_iter().partition(|n| *n <= number);
        let mut kept: Vec<u64> = Vec::new();
        for one in older.into_iter().rev() {
            let later = kept.last().and_then(|later| named.get(later));
            let is_same =
                later.zip(named.get(&one)).is_some_and(|(later, one)| later.snapshot == one.snapshot);
            match is_same || kept.len() >= keep {
                true => gone.push(one),
                false => kept.push(one),
            }
        }
        for gone in gone {
            durable::remove(&self.path(gone))?;
        }
        // Nobody knows what a file needs that cannot be read.
        let needed: Option<Vec<&Named>> = kept.iter().map(|number| named.get(number)).collect();
        if let Some(needed) = needed {
            let needed: HashSet<String> = needed.iter().map(|one| documents_name(&one.documents)).collect();
            for (name, path) in durable::entries(&self.generations)? {
                if name.ends_with(DOCUMENTS) && !needed.contains(&name) {
                    durable::remove(&path)?;
                }
            }
        }
        durable::sync_directory(&self.generations)?;
        Ok(kept.last().copied().unwrap_or(number))
    }

    fn current(&self) -> Result<Result<Option<Current>, String>, StoreError> {
        let Some(bytes) = durable::read(&self.directory.join(CURRENT))? else { return Ok(Ok(None)) };
        Ok(match serde_json::from_slice::<Current>(&bytes) {
            Ok(current) if current.schema == CURRENT_SCHEMA => Ok(Some(current)),
            Ok(current) => Err(format!("the file current has schema {:?}", current.schema)),
            Err(error) => Err(format!("the file current cannot be read: {error}")),
        })
    }

    /// Reads one generation file; the inner error says why it cannot be used.
    pub(super) fn load(&self, number: u64) -> Result<Result<(Generation, Digest), Unusable>, StoreError> {
        let refused = |why: String| Ok(Err(Unusable::Damaged(format!("generation file {number} {why}"))));
        let Some(bytes) = durable::read(&self.path(number))? else { return refused("is missing".into()) };
        let other = |schema: &str| match Foreign::of(number, schema) {
            Some(found) => Ok(Err(Unusable::Foreign(found, Digest::sha256(&bytes)))),
            None => refused(format!("has schema {schema:?}")),
        };
        match serde_json::from_slice::<Generation>(&bytes) {
            Ok(found) if found.schema != GENERATION_SCHEMA => other(&found.schema),
            Ok(found) if found.number != number => {
                refused(format!("says that it is number {}", found.number))
            }
            Ok(found) => Ok(Ok((found, Digest::sha256(&bytes)))),
            Err(error) => match serde_json::from_slice::<Schema>(&bytes) {
                Ok(Schema { schema }) if schema != GENERATION_SCHEMA => other(&schema),
                _ => refused(format!("cannot be read: {error}")),
            },
        }
    }

    /// Returns the numbers of the generation files, ascending.
    pub(super) fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let named = durable::entries(&self.generations)?;
        let number = |(name, _): &(String, PathBuf)| {
            name.strip_suffix(".json")?.parse::<u64>().ok().filter(|n| format!("{n}.json") == *name)
        };
        let mut numbers: Vec<u64> = named.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.generations.join(format!("{number}.json"))
    }
}

fn documents_name(list: &DocumentList) -> String {
    format!("{}{DOCUMENTS}", list.digest.hex())
}

/// Writes a value as JSON; equal values give equal bytes.
pub(super) fn encode(what: &str, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value)
        .map_err(|error| StoreError::Encode { what: what.to_owned(), found: error.to_string() })
}
