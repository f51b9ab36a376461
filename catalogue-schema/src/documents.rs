//! The documents of a generation as one block of bytes: what was asked for, and which bytes on the shelf answer it.
//!
//! Never touches a file. Whoever reads a block has checked its digest; damage that gets through all the same is an error or
//! a record that is not there, never a panic and never another record.
//!
//! # The form
//! A generation rests on very many documents that have nearly everything in common: repository, commit, time. That stands
//! once, and what is left of a record takes some hundred bytes. A list without records has no bytes at all; any other is:
//!
//! 1. the line [`DOCUMENTS_MAGIC`];
//! 2. one line of JSON: `{"places":[[PLACE,COUNT],…],"heads":[HEAD,…]}`. A place says where keys lie: `{"git":{"repository":…,
//!    "revision":…}}` (keys are paths in that tree), `"file"` (absolute paths), `"https"` (URLs) or `"other"` (keys are wants
//!    as JSON). A head is what records share besides: `{"url":…,"commit":…,"fetchedS":…}`. Both are sorted by their JSON;
//! 3. per record, sorted by place and key, [`ENTRY_BYTES`] bytes: SHA-256, size (u64), end of its text (u64, from the end
//!    of these entries), head (u32), all big-endian;
//! 4. the texts, one behind the other: key, object id, URL, entity tag, modification time, with a zero byte between; what is
//!    not there is empty, what is there starts with `=` (but key and object id), and empty fields at the end are left out.
//!
//! Where the URL of a record is not written it is that of its head, or else what its key says. Equal lists are equal bytes.
//! Readers ignore unknown fields of places and heads; another form of entries or texts needs another magic line.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use serde::{Deserialize, Serialize};

use crate::digest::{Algorithm, Digest, Hashed};
use crate::generation::{DocumentList, DocumentRecord};
use crate::pace;
use crate::path::DocPath;
use crate::pointer::{CommitId, HttpsUrl, LocalPath, Location, Repository, Revision, Want};

/// How a block starts.
pub const DOCUMENTS_MAGIC: &[u8] = b"resolverd/documents@1\n";
/// How many bytes an entry has.
pub const ENTRY_BYTES: usize = 52;

/// How much work it is to look at one record, roughly: it lies anywhere in memory.
const ROW_NS: usize = 40;

/// Where the keys of some records lie.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    /// In a tree of a repository.
    Git { repository: Repository, revision: Revision },
    /// On this machine.
    File,
    /// Behind a URL.
    Https,
    /// Anywhere: the key is the whole want.
    Other,
}

impl Place {
    fn of(want: &Want) -> Place {
        match want {
            Want::Blob(Location::Git { repository, revision, .. }) => {
                Place::Git { repository: repository.clone(), revision: revision.clone() }
            }
            Want::Blob(Location::File { .. }) => Place::File,
            Want::Blob(Location::Https { .. }) => Place::Https,
            Want::Tree { .. } | Want::Directories { .. } | Want::Refs { .. } | Want::History { .. } => {
                Place::Other
            }
        }
    }

    fn holds(&self, want: &Want) -> bool {
        match (self, want) {
            (
                Place::Git { repository, revision },
                Want::Blob(Location::Git { repository: other, revision: at, .. }),
            ) => repository == other && revision == at,
            (Place::File, Want::Blob(Location::File { .. }))
            | (Place::Https, Want::Blob(Location::Https { .. }))
            | (
                Place::Other,
                Want::Tree { .. } | Want::Directories { .. } | Want::Refs { .. } | Want::History { .. },
            ) => true,
            _ => false,
        }
    }

    fn want(&self, key: &str) -> Option<Want> {
        Some(match self {
            Place::Git { repository, revision } => {
                let (repository, revision) = (repository.clone(), revision.clone());
                Want::Blob(Location::Git { repository, revision, path: DocPath::parse(key).ok()? })
            }
            Place::File => Want::Blob(Location::File { path: LocalPath::parse(key).ok()? }),
            Place::Https => Want::Blob(Location::Https { url: HttpsUrl::parse(key).ok()? }),
            Place::Other => serde_json::from_str(key).ok()?,
        })
    }

    /// Returns the URL that a record most likely has whose head and text name none.
    fn url(&self, key: &str) -> String {
        match self {
            Place::File => format!("file://{key}"),
            Place::Git { .. } | Place::Https | Place::Other => key.to_owned(),
        }
    }
}

/// Tells whether a text starts with this key.
fn is_key(text: &[u8], key: &str) -> bool {
    text.strip_prefix(key.as_bytes()).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == 0))
}

/// Tells whether two wants lie in one tree of a repository. Quick where they share what names it, as those of one catalogue do.
fn is_beside(one: &Want, other: &Want) -> bool {
    match (one, other) {
        (
            Want::Blob(Location::Git { repository, revision, .. }),
            Want::Blob(Location::Git { repository: other, revision: at, .. }),
        ) => repository == other && revision == at,
        _ => false,
    }
}

/// Calls `take` with the key of a want in its place.
fn with_key<T>(want: &Want, take: impl FnOnce(&str) -> T) -> T {
    match want {
        Want::Blob(Location::Git { path, .. }) => take(path.as_text()),
        // A path that has no text was never read from one: it finds nothing.
        Want::Blob(Location::File { path }) => take(path.as_path().to_str().unwrap_or_default()),
        Want::Blob(Location::Https { url }) => take(url.as_text()),
        other => take(&serde_json::to_string(other).unwrap_or_default()),
    }
}

/// What records share besides their place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commit: Option<CommitId>,
    fetched_s: i64,
}

impl Head {
    fn of(record: &DocumentRecord) -> Head {
        let url = is_shared(&record.want).then(|| record.url.clone());
        Head { url, commit: record.commit.clone(), fetched_s: record.fetched_s }
    }

    fn is_of(&self, record: &DocumentRecord) -> bool {
        self.fetched_s == record.fetched_s
            && self.commit == record.commit
            && self.url.as_deref() == is_shared(&record.want).then_some(&*record.url)
    }
}

/// Tells whether all documents of the place of `want` came from one URL: that of their repository.
fn is_shared(want: &Want) -> bool {
    matches!(want, Want::Blob(Location::Git { .. }))
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    places: Vec<(Place, u32)>,
    heads: Vec<Head>,
}

/// A list of documents, ready to be kept, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub list: DocumentList,
    /// Its bytes.
    pub content: Hashed,
}

/// Documents that are gathered for a list, in little more room than the list takes.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    places: Numbered<Place>,
    heads: Numbered<Head>,
    rows: Vec<Row>,
    texts: Vec<u8>,
    /// The list in which some of them stand already.
    base: Arc<Documents>,
    /// Those that stand there.
    kept: Vec<Kept>,
}

/// A document that stands in a list already.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// Its place there.
    at: u32,
    /// How many rows were gathered before it.
    after: usize,
}

/// One record while a list is put together.
#[derive(Debug, Clone)]
struct Row {
    sha256: [u8; 32],
    size: u64,
    place: u32,
    head: u32,
    /// Where its text lies, and how much of that is the key.
    text: Range<usize>,
    key_bytes: usize,
}

impl Gathered {
    /// Begins with nothing, beside a list in which documents stand already.
    pub fn beside(base: &Arc<Documents>) -> Gathered {
        Gathered { base: Arc::clone(base), ..Gathered::default() }
    }

    /// Adds the record at a place of the list that this was begun beside.
    pub fn add_kept(&mut self, at: u32) {
        self.kept.push(Kept { at, after: self.rows.len() });
    }

    /// Adds a record. One that is named by anything but SHA-256 is left out: the shelf holds nothing under such a name.
    pub fn add(&mut self, record: &DocumentRecord) {
        let Some(sha256) = record.digest.as_bytes().first_chunk::<32>() else { return };
        if record.digest.algorithm() != Algorithm::Sha256 {
            return;
        }
        let number = self.places.number(|place| place.holds(&record.want), || Place::of(&record.want));
        let head = self.heads.number(|head| head.is_of(record), || Head::of(record));
        let start = self.texts.len();
        let key_bytes = with_key(&record.want, |key| {
            if let Some(place) = self.places.values.get(number as usize) {
                text(&mut self.texts, key, record, place);
            }
            key.len()
        });
        let text = start..self.texts.len();
        let (sha256, size) = (*sha256, record.size);
        self.rows.push(Row { sha256, size, place: number, head, text, key_bytes });
    }

    /// Adds what was gathered elsewhere, behind what is here.
    pub fn append(&mut self, other: Gathered) {
        if self.rows.is_empty() && self.kept.is_empty() {
            *self = other;
            return;
        }
        // Each stands in its own list only.
        let other = match Arc::ptr_eq(&self.base, &other.base) || other.kept.is_empty() {
            true => other,
            false => other.spelled_out(),
        };
        let places: Vec<u32> = other.places.values.into_iter().map(|place| self.places.of(place)).collect();
        let heads: Vec<u32> = other.heads.values.into_iter().map(|head| self.heads.of(head)).collect();
        let (start, rows) = (self.texts.len(), self.rows.len());
        pace::pieces(&other.texts).for_each(|piece| self.texts.extend_from_slice(piece));
        self.rows.extend(pace::each(other.rows, ROW_NS).map(|row| Row {
            place: places[row.place as usize],
            head: heads[row.head as usize],
            text: start + row.text.start..start + row.text.end,
            ..row
        }));
        self.kept.extend(pace::each(other.kept, ROW_NS).map(|one| Kept { after: rows + one.after, ..one }));
    }

    /// Tells whether it is what the list says that it was begun beside, neither more nor less.
    fn is_base(&self) -> bool {
        let mut is_there = vec![false; self.base.len()];
        for one in pace::each(&self.kept, ROW_NS) {
            if let Some(is) = is_there.get_mut(one.at as usize) {
                *is = true;
            }
        }
        self.rows.is_empty() && is_there.iter().all(|is| *is)
    }

    /// Returns the same with every record as a row of its own.
    fn spelled_out(self) -> Gathered {
        let Gathered { places, heads, rows, texts, base, kept } = self;
        let mut all = Gathered { places, heads, texts, ..Gathered::default() };
        let (mut rows, mut taken) = (rows.into_iter(), 0);
        for Kept { at, after } in pace::each(kept, ROW_NS) {
            all.rows.extend(rows.by_ref().take(after - taken));
            taken = after;
            all.copy(&base, at);
        }
        all.rows.extend(rows);
        all
    }

    /// Adds the record at a place of a list as it stands there.
    fn copy(&mut self, list: &Documents, at: u32) {
        let at = at as usize;
        let (Some((place, _)), Some(head)) = (list.place(at), list.head(at)) else { return };
        let number = self.places.number(|known| known == place, || place.clone());
        let head = self.heads.number(|known| known == head, || head.clone());
        let start = self.texts.len();
        self.texts.extend_from_slice(list.text_bytes(at));
        let (text, key_bytes) = (start..self.texts.len(), list.key(at).len());
        let (sha256, size) = (list.sha256(at), list.size(at));
        self.rows.push(Row { sha256, size, place: number, head, text, key_bytes });
    }

    /// Puts the list together. Of several records for one want the last counts; the order of the others is of no account.
    ///
    /// **Errors**: a path on this machine has no text.
    pub fn list(self) -> Result<Listed, serde_json::Error> {
        if let Some(same) = self.base.listed().filter(|_| self.is_base()) {
            return Ok(same);
        }
        let Gathered { places, heads, mut rows, texts, .. } =
            if self.kept.is_empty() { self } else { self.spelled_out() };
        let places = places.sorted(|_| true)?;
        rows.iter_mut().for_each(|row| row.place = places.ranks[row.place as usize]);
        let at = |row: &Row| (row.place, &texts[row.text.start..row.text.start + row.key_bytes]);
        // Stable: of those for one want the last one given comes last, and takes the place of those before it.
        rows.sort_by(|one, other| {
            pace::spent(ROW_NS);
            at(one).cmp(&at(other))
        });
        rows.dedup_by(|later, first| {
            pace::spent(ROW_NS);
            let is_same = at(later) == at(first);
            if is_same {
                std::mem::swap(later, first);
            }
            is_same
        });
        let (mut counts, mut used) = (vec![0u32; places.values.len()], vec![false; heads.values.len()]);
        for row in &rows {
            counts[row.place as usize] += 1;
            used[row.head as usize] = true;
        }
        let heads = heads.sorted(|head| used[head])?;
        rows.iter_mut().for_each(|row| row.head = heads.ranks[row.head as usize]);
        let header = Header { places: places.values.into_iter().zip(counts).collect(), heads: heads.values };
        Listed::put(&header, &rows, &texts)
    }
}

impl Default for Listed {
    fn default() -> Listed {
        Listed { list: DocumentList::default(), content: Hashed::of(Vec::new()) }
    }
}

impl Listed {
    /// Puts a list of records together, as [`Gathered::list`].
    ///
    /// **Errors**: a path on this machine has no text.
    pub fn of(records: &[DocumentRecord]) -> Result<Listed, serde_json::Error> {
        let mut gathered = Gathered::default();
        records.iter().for_each(|record| gathered.add(record));
        gathered.list()
    }

    fn put(header: &Header, rows: &[Row], texts: &[u8]) -> Result<Listed, serde_json::Error> {
        if rows.is_empty() {
            return Ok(Listed::default());
        }
        let mut bytes = DOCUMENTS_MAGIC.to_vec();
        serde_json::to_writer(&mut bytes, header)?;
        bytes.push(b'\n');
        bytes.reserve_exact(rows.len() * ENTRY_BYTES + texts.len());
        let mut end = 0;
        for row in pace::each(rows, ROW_NS) {
            end += row.text.len() as u64;
            bytes.extend_from_slice(&row.sha256);
            bytes.extend_from_slice(&row.size.to_be_bytes());
            bytes.extend_from_slice(&end.to_be_bytes());
            bytes.extend_from_slice(&row.head.to_be_bytes());
        }
        pace::each(rows, ROW_NS).for_each(|row| bytes.extend_from_slice(&texts[row.text.clone()]));
        let content = Hashed::of(bytes);
        let list = DocumentList { count: rows.len() as u64, digest: content.digest().clone() };
        Ok(Listed { list, content })
    }
}

/// Writes the text of a record.
fn text(texts: &mut Vec<u8>, key: &str, record: &DocumentRecord, place: &Place) {
    let start = texts.len() + key.len();
    texts.extend_from_slice(key.as_bytes());
    texts.push(0);
    texts.extend_from_slice(record.blob.as_ref().map_or("", CommitId::as_text).as_bytes());
    let is_told = is_shared(&record.want) || record.url == place.url(key);
    let url = Some(&record.url).filter(|_| !is_told);
    for field in [url, record.etag.as_ref(), record.modified.as_ref()] {
        texts.push(0);
        // Nothing that came over the network holds a zero byte; if it did, it would be left out.
        if let Some(field) = field.filter(|field| !field.contains('\0')) {
            texts.push(b'=');
            texts.extend_from_slice(field.as_bytes());
        }
    }
    while texts.len() > start && texts.last() == Some(&0) {
        texts.pop();
    }
}

/// Values that occur again and again, numbered in the order of their first occurrence.
#[derive(Debug, Clone)]
struct Numbered<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
    last: u32,
}

impl<T> Default for Numbered<T> {
    fn default() -> Numbered<T> {
        Numbered { values: Vec::new(), numbers: HashMap::new(), last: 0 }
    }
}

impl<T: Clone + Eq + std::hash::Hash + Serialize> Numbered<T> {
    /// Returns the number of the value that `make` makes; mostly it is the one of the call before, which `is` tells.
    fn number(&mut self, is: impl FnOnce(&T) -> bool, make: impl FnOnce() -> T) -> u32 {
        if self.values.get(self.last as usize).is_some_and(is) {
            return self.last;
        }
        self.last = self.of(make());
        self.last
    }

    /// Returns the number of a value.
    fn of(&mut self, value: T) -> u32 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    /// Sorts the values whose numbers are `wanted` by their JSON.
    fn sorted(self, wanted: impl Fn(usize) -> bool) -> Result<Ranked<T>, serde_json::Error> {
        let mut ranks = vec![0; self.values.len()];
        let mut named = Vec::with_capacity(self.values.len());
        for (number, value) in self.values.into_iter().enumerate().filter(|(number, _)| wanted(*number)) {
            named.push((serde_json::to_string(&value)?, number, value));
        }
        named.sort_by(|one, other| one.0.cmp(&other.0));
        for (rank, (_, number, _)) in (0..).zip(&named) {
            ranks[*number] = rank;
        }
        Ok(Ranked { values: named.into_iter().map(|(_, _, value)| value).collect(), ranks })
    }
}

/// Values in their order, and the place of each number in it.
struct Ranked<T> {
    values: Vec<T>,
    ranks: Vec<u32>,
}

/// A list of documents, as it was read. A record is made when it is asked for.
#[derive(Debug, Default)]
pub struct Documents {
    /// `None` for the list without records.
    content: Option<Hashed>,
    places: Vec<(Place, Range<usize>)>,
    heads: Vec<Head>,
    /// Where the entries start, and where the texts do.
    entries: usize,
    texts: usize,
    count: usize,
    by_place: HashMap<Place, usize>,
    by_digest: OnceLock<Alike>,
    by_key: OnceLock<Keys>,
}

/// The places of records by the hashes of their keys.
#[derive(Debug, Default)]
struct Keys {
    hasher: RandomState,
    table: HashTable<u32>,
}

impl Keys {
    fn hash(&self, place: usize, key: &[u8]) -> u64 {
        self.hasher.hash_one((place, key))
    }
}

/// The places of records by their digests. Very many may have the same one, so that each is found behind the one before it.
#[derive(Debug, Default)]
struct Alike {
    hasher: RandomState,
    /// The first record with each digest.
    first: HashTable<u32>,
    /// The next one with the same digest behind each, [`NOWHERE`] behind the last.
    next: Box<[u32]>,
}

/// The place of no record.
const NOWHERE: u32 = u32::MAX;

impl Alike {
    fn of(list: &Documents) -> Alike {
        let hasher = RandomState::default();
        let hash = |at: u32| hasher.hash_one(list.sha256(at as usize));
        let (mut first, mut next) = (HashTable::with_capacity(list.count), vec![NOWHERE; list.count]);
        // From the last to the first, so that each knows who follows it.
        for at in pace::each((0..NOWHERE).take(list.count).rev(), ROW_NS) {
            let digest = list.sha256(at as usize);
            let is_same = |other: &u32| list.sha256(*other as usize) == digest;
            match first.entry(hasher.hash_one(digest), is_same, |other| hash(*other)) {
                Entry::Occupied(mut known) => next[at as usize] = std::mem::replace(known.get_mut(), at),
                Entry::Vacant(free) => drop(free.insert(at)),
            }
        }
        Alike { hasher, first, next: next.into() }
    }

    /// Returns the places of all records with a digest, in their order.
    fn with(&self, digest: &[u8; 32], list: &Documents) -> impl Iterator<Item = usize> + use<'_> {
        let is_same = |at: &u32| list.sha256(*at as usize) == *digest;
        let first = self.first.find(self.hasher.hash_one(digest), is_same).copied();
        let next = |at: &u32| self.next.get(*at as usize).copied().filter(|next| *next != NOWHERE);
        std::iter::successors(first, next).map(|at| at as usize)
    }
}

/// What whoever reads a document goes by.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The place of its record in the list.
    pub at: u32,
    /// The digest of its bytes.
    pub digest: Digest,
    /// The commit at which it was read.
    pub commit: Option<CommitId>,
    /// Its Git object id.
    pub blob: Option<CommitId>,
}

impl Documents {
    /// Reads a list.
    ///
    /// **Errors**: what is wrong with the bytes, as a text that follows "the list of documents". Texts of single records are
    /// looked at only when they are asked for.
    pub fn read(content: Hashed) -> Result<Documents, String> {
        let bytes = content.bytes();
        if bytes.is_empty() {
            return Ok(Documents::default());
        }
        let rest = bytes.strip_prefix(DOCUMENTS_MAGIC).ok_or("does not start like one")?;
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("has no header")?;
        let header: Header =
            serde_json::from_slice(&rest[..end]).map_err(|error| format!("has no header: {error}"))?;
        let entries = DOCUMENTS_MAGIC.len() + end + 1;
        let (mut places, mut count) = (Vec::with_capacity(header.places.len()), 0usize);
        for (place, many) in header.places {
            let start = count;
            count += many as usize;
            places.push((place, start..count));
        }
        let texts = count.checked_mul(ENTRY_BYTES).and_then(|bytes| bytes.checked_add(entries));
        let texts = texts.filter(|texts| *texts <= bytes.len()).ok_or("is cut short")?;
        let by_place = places.iter().zip(0..).map(|((place, _), at)| (place.clone(), at)).collect();
        let heads = header.heads;
        let content = Some(content);
        let found =
            Documents { content, places, heads, entries, texts, count, by_place, ..Documents::default() };
        found.check()?;
        Ok(found)
    }

    /// Checks what looking something up rests on: every text lies where it should, and keys ascend.
    fn check(&self) -> Result<(), String> {
        let texts = &self.bytes()[self.texts..];
        let mut end = 0;
        for (_, range) in &self.places {
            let mut before = None;
            for at in pace::each(range.clone(), ROW_NS) {
                let start = std::mem::replace(&mut end, self.end(at));
                let text = texts.get(start..end).ok_or("has a text outside of itself")?;
                let text = std::str::from_utf8(text)
                    .map_err(|error| format!("holds something that is no text: {error}"))?;
                let key = text.split('\0').next().unwrap_or_default();
                if before.replace(key).is_some_and(|before| before >= key) {
                    return Err(format!("is out of order at {key}"));
                }
            }
        }
        if end != texts.len() {
            return Err("has something behind its end".to_owned());
        }
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.content.as_ref().map_or(&[], Hashed::bytes)
    }

    /// Returns it as it is kept.
    fn listed(&self) -> Option<Listed> {
        let content = self.content.clone()?;
        Some(Listed {
            list: DocumentList { count: self.count as u64, digest: content.digest().clone() },
            content,
        })
    }

    /// Returns how many documents there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the record of what answered `want`.
    pub fn document(&self, want: &Want) -> Option<DocumentRecord> {
        self.record(self.find(want)?)
    }

    /// Tells whether there is a record of what answered `want`.
    pub fn contains(&self, want: &Want) -> bool {
        self.find(want).is_some()
    }

    /// Returns a record of a document with these bytes, if there is any.
    pub fn by_digest(&self, digest: &Digest) -> Option<DocumentRecord> {
        self.all_with(digest).next()
    }

    /// Returns the records of all documents with these bytes.
    pub fn all_with(&self, digest: &Digest) -> impl Iterator<Item = DocumentRecord> + use<'_> {
        let wanted = <&[u8; 32]>::try_from(digest.as_bytes()).ok();
        let alike = wanted.map(|wanted| self.by_digest.get_or_init(|| Alike::of(self)).with(wanted, self));
        alike.into_iter().flatten().filter_map(|at| self.record(at))
    }

    /// Returns every record, sorted by place and key; one whose text cannot be read is left out.
    pub fn iter(&self) -> impl Iterator<Item = DocumentRecord> + '_ {
        (0..self.count).filter_map(|at| self.record(at))
    }

    /// Returns the digest of every document, in the order of [`Documents::iter`].
    pub fn digests(&self) -> impl Iterator<Item = Digest> + '_ {
        pace::each(0..self.count, ROW_NS).map(|at| Digest::from_sha256(self.sha256(at)))
    }

    /// Returns when the youngest document arrived, in seconds since 1970-01-01 UTC.
    pub fn newest_s(&self) -> Option<i64> {
        self.heads.iter().map(|head| head.fetched_s).max()
    }

    /// Returns what is recorded of what answered each of these.
    pub fn recorded<'w>(&self, wants: impl Iterator<Item = &'w Want>) -> Vec<Option<Recorded>> {
        let keys = self.keys();
        // Those of one round lie in one place mostly.
        let mut last: Option<(&Want, Option<usize>)> = None;
        let mut place = |want: &'w Want| {
            let same = last.filter(|(known, _)| is_beside(known, want));
            let (_, place) = *last.insert((want, same.map_or_else(|| self.number(want), |(_, place)| place)));
            place
        };
        // Each step for all of them before the next one: what they wait for in memory arrives at the same time.
        let mut alike = |want: &'w Want| {
            let place = place(want)?;
            let hash = with_key(want, |key| keys.hash(place, key.as_bytes()));
            Some((place, *keys.table.iter_hash(hash).next()?))
        };
        let alike: Vec<_> = wants.map(|want| (want, alike(want))).collect();
        let text = |(place, at): (usize, u32)| (place, at as usize, self.range(at as usize));
        let texts: Vec<_> = alike.into_iter().map(|(want, at)| (want, at.map(text))).collect();
        let found = texts.into_iter().map(|(want, likely)| {
            let (place, at, range) = likely?;
            let text = self.bytes().get(range).unwrap_or_default();
            let is_it = with_key(want, |key| is_key(text, key)) && self.places.get(place)?.1.contains(&at);
            self.recorded_at(if is_it { at } else { self.find(want)? })
        });
        found.collect()
    }

    fn recorded_at(&self, at: usize) -> Option<Recorded> {
        let commit = self.head(at)?.commit.clone();
        let blob = match self.text(at).split('\0').nth(1).unwrap_or_default() {
            "" => None,
            hex => Some(CommitId::parse(hex).ok()?),
        };
        Some(Recorded {
            at: u32::try_from(at).ok()?,
            digest: Digest::from_sha256(self.sha256(at)),
            commit,
            blob,
        })
    }

    /// Returns where keys are found, made when it is asked for first.
    fn keys(&self) -> &Keys {
        self.by_key.get_or_init(|| {
            let mut keys = Keys { table: HashTable::with_capacity(self.count), ..Keys::default() };
            for (place, (_, range)) in self.places.iter().enumerate() {
                for at in pace::each(range.clone(), ROW_NS) {
                    let (hash, Ok(number)) = (keys.hash(place, self.key(at)), u32::try_from(at)) else {
                        break;
                    };
                    // There is room for all of them, so that none is hashed again.
                    keys.table.insert_unique(hash, number, |_| 0);
                }
            }
            keys
        })
    }

    /// Returns the number of the place in which a want lies.
    fn number(&self, want: &Want) -> Option<usize> {
        self.by_place.get(&Place::of(want)).copied()
    }

    fn find(&self, want: &Want) -> Option<usize> {
        let (keys, place) = (self.keys(), self.number(want)?);
        let (_, range) = self.places.get(place)?;
        with_key(want, |key| {
            let alike = keys.table.iter_hash(keys.hash(place, key.as_bytes())).map(|at| *at as usize);
            alike.into_iter().find(|at| range.contains(at) && is_key(self.text_bytes(*at), key))
        })
    }

    /// Returns the place of the record at a place of the list.
    fn place(&self, at: usize) -> Option<&(Place, Range<usize>)> {
        self.places.get(self.places.partition_point(|(_, range)| range.end <= at))
    }

    /// Makes the record at a place of the list.
    fn record(&self, at: usize) -> Option<DocumentRecord> {
        let (place, _) = self.place(at)?;
        let head = self.head(at)?;
        let mut fields = self.text(at).split('\0');
        let key = fields.next()?;
        let blob = match fields.next().unwrap_or_default() {
            "" => None,
            hex => Some(CommitId::parse(hex).ok()?),
        };
        let mut optional = || fields.next().and_then(|field| field.strip_prefix('=')).map(str::to_owned);
        let url = optional();
        Some(DocumentRecord {
            want: place.want(key)?,
            url: url.or_else(|| head.url.clone()).unwrap_or_else(|| place.url(key)),
            commit: head.commit.clone(),
            blob,
            digest: Digest::from_sha256(self.sha256(at)),
            size: self.size(at),
            etag: optional(),
            modified: optional(),
            fetched_s: head.fetched_s,
        })
    }

    fn head(&self, at: usize) -> Option<&Head> {
        self.heads.get(u32::from_be_bytes(*self.entry(at)[48..].first_chunk()?) as usize)
    }

    fn size(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.entry(at)[32..].first_chunk().copied().unwrap_or_default())
    }

    fn key(&self, at: usize) -> &[u8] {
        self.text_bytes(at).split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn text(&self, at: usize) -> &str {
        // `check` has seen that the texts are text, and that they end between characters.
        std::str::from_utf8(self.text_bytes(at)).unwrap_or_default()
    }

    fn text_bytes(&self, at: usize) -> &[u8] {
        self.bytes().get(self.range(at)).unwrap_or_default()
    }

    /// Returns where a text lies.
    fn range(&self, at: usize) -> Range<usize> {
        let start = if at == 0 { 0 } else { self.end(at - 1) };
        self.texts + start..self.texts + self.end(at)
    }

    /// Returns where a text ends; beyond everything for an end that no memory has.
    fn end(&self, at: usize) -> usize {
        let bytes = self.entry(at)[40..].first_chunk().copied().unwrap_or([0xff; 8]);
        let all = self.bytes().len();
        usize::try_from(u64::from_be_bytes(bytes)).map_or(all, |end| end.min(all))
    }

    fn sha256(&self, at: usize) -> [u8; 32] {
        self.entry(at).first_chunk().copied().unwrap_or_default()
    }

    fn entry(&self, at: usize) -> &[u8] {
        let start = self.entries + at * ENTRY_BYTES;
        &self.bytes()[start..start + ENTRY_BYTES]
    }
}

#[cfg(test)]
mod tests;
