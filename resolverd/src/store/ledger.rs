//! What the index holds, in memory: which row of which id changed in which generation, and the digest of what it says.
//! Reads and plans rows; never touches the index itself.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::Generation;
use catalogue_schema::model::{Component, Pool};

use crate::shelf::Shelf;
use crate::store::row::{self, Root, Row};
use crate::store::{Snapshot, StoreError};

/// Every row of the index, without its payload.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Per id the generations in which it changed.
    marks: BTreeMap<Arc<str>, BTreeMap<u64, Mark>>,
}

/// What is remembered of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// The digest of the JSON in the row.
    Inline(Digest),
    /// The digest of the JSON on the shelf.
    Shelved(Digest),
    /// The id is gone.
    Gone,
}

impl Mark {
    fn of(row: &Row<'_>) -> Mark {
        match row {
            Row::Inline(json) => Mark::Inline(Digest::sha256(json)),
            Row::Shelved(digest) => Mark::Shelved(digest.clone()),
            Row::Gone => Mark::Gone,
        }
    }
}

/// A row's place: its id and generation.
pub(super) type Place = (Arc<str>, u64);

/// The rows of the next generation, while they are collected.
#[derive(Debug)]
pub(super) struct Planning<'a> {
    ledger: &'a Ledger,
    number: u64,
    seen: BTreeSet<String>,
    plan: Plan,
}

/// What a commit has to write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Keys and values for the index.
    pub(super) rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Documents for the shelf, which go first.
    pub(super) documents: Vec<(Digest, Vec<u8>)>,
    /// What the ledger will say of the rows.
    pub(super) marks: Vec<(Place, Mark)>,
}

impl Ledger {
    /// Starts to collect the rows of generation `number`, which is higher than any in the ledger.
    pub(super) fn plan(&self, number: u64) -> Planning<'_> {
        Planning { ledger: self, number, seen: BTreeSet::new(), plan: Plan::default() }
    }

    /// Takes in the rows that were written.
    pub(super) fn apply(&mut self, marks: Vec<(Place, Mark)>) {
        for ((id, number), mark) in marks {
            self.marks.entry(id).or_default().insert(number, mark);
        }
    }

    /// Drops rows that were removed.
    pub(super) fn forget(&mut self, rows: &[Place]) {
        for (id, number) in rows {
            if let Some(marks) = self.marks.get_mut(id) {
                marks.remove(number);
                if marks.is_empty() {
                    self.marks.remove(id);
                }
            }
        }
    }

    /// Returns the rows that belong to generations after `number`.
    pub(super) fn newer(&self, number: u64) -> Vec<Place> {
        let newer = |(id, marks): (&Arc<str>, &BTreeMap<u64, Mark>)| -> Vec<Place> {
            marks.keys().filter(|n| **n > number).map(|n| (Arc::clone(id), *n)).collect()
        };
        self.marks.iter().flat_map(newer).collect()
    }

    /// Returns the rows that generation `oldest` and later ones do not read. The rows of an id come oldest first, so that
    /// a part of the removals never brings a removed id back.
    pub(super) fn superseded(&self, oldest: u64) -> Vec<Place> {
        let mut rows = Vec::new();
        for (id, marks) in &self.marks {
            let mut reached: Vec<(u64, &Mark)> = marks.range(..=oldest).map(|(n, mark)| (*n, mark)).collect();
            if reached.last().is_some_and(|(_, mark)| **mark != Mark::Gone) {
                reached.pop();
            }
            rows.extend(reached.into_iter().map(|(number, _)| (Arc::clone(id), number)));
        }
        rows
    }

    /// Returns the digests of the documents on the shelf that rows need.
    pub(super) fn shelved(&self) -> HashSet<Digest> {
        let marks = self.marks.values().flat_map(BTreeMap::values);
        let digest = |mark: &Mark| match mark {
            Mark::Shelved(digest) => Some(digest.clone()),
            Mark::Inline(_) | Mark::Gone => None,
        };
        marks.filter_map(digest).collect()
    }

    fn newest(&self, id: &str) -> Option<&Mark> {
        self.marks.get(id)?.values().next_back()
    }
}

impl Planning<'_> {
    /// Takes a component's JSON; tells whether it differs from what the index holds.
    pub(super) fn put(&mut self, id: &str, json: Vec<u8>) -> bool {
        let digest = Digest::sha256(&json);
        self.seen.insert(id.to_owned());
        let row = Row::of(&json, &digest);
        let mark = match &row {
            Row::Shelved(digest) => Mark::Shelved(digest.clone()),
            Row::Inline(_) | Row::Gone => Mark::Inline(digest.clone()),
        };
        if self.ledger.newest(id) == Some(&mark) {
            return false;
        }
        let is_shelved = matches!(row, Row::Shelved(_));
        self.write(id, &row, mark);
        if is_shelved {
            self.plan.documents.push((digest, json));
        }
        true
    }

    /// Adds the removal of every id that was not put, and returns what is to be written.
    pub(super) fn finish(mut self) -> Plan {
        let ledger = self.ledger;
        for (id, marks) in &ledger.marks {
            let here = marks.values().next_back().is_some_and(|mark| *mark != Mark::Gone);
            if here && !self.seen.contains(&**id) {
                self.write(id, &Row::Gone, Mark::Gone);
            }
        }
        self.plan
    }

    fn write(&mut self, id: &str, row: &Row<'_>, mark: Mark) {
        self.plan.rows.push((row::key(id, self.number), Some(row.encode())));
        self.plan.marks.push(((id.into(), self.number), mark));
    }
}

/// A generation as it was read out of the index, and the rows that older ones may be read out of.
pub(super) struct Loaded<'a> {
    ledger: Ledger,
    components: Vec<Arc<Component>>,
    /// Every row that is not newer than the generation, in the order of the ids, oldest first.
    rows: Vec<Read<'a>>,
    pool: Pool,
}

/// One row, and what it was read as once it was needed.
struct Read<'a> {
    id: &'a str,
    number: u64,
    row: Row<'a>,
    component: OnceCell<Arc<Component>>,
}

/// Reads a generation out of every row of the index: the newest row of each id that is not newer than the generation.
/// The inner error says why the rows are not those of the generation.
pub(super) fn load<'a>(
    rows: &'a [(impl AsRef<[u8]>, impl AsRef<[u8]>)],
    generation: &Generation,
    shelf: &Shelf,
) -> Result<Result<Loaded<'a>, String>, StoreError> {
    let mut ledger = Ledger::default();
    let mut read = Vec::with_capacity(rows.len());
    for (key, value) in rows {
        let Some((id, number)) = row::read_key(key.as_ref()) else {
            return Ok(Err(format!("a key of {} bytes that is none of ours", key.as_ref().len())));
        };
        let row = match Row::decode(value.as_ref()) {
            Ok(row) => row,
            // Rows of a generation that was never committed go without being read.
            Err(_) if number > generation.number => Row::Gone,
            Err(found) => return Ok(Err(format!("{id}: {found}"))),
        };
        match ledger.marks.get_mut(id) {
            Some(marks) => drop(marks.insert(number, Mark::of(&row))),
            None => drop(ledger.marks.insert(id.into(), BTreeMap::from([(number, Mark::of(&row))]))),
        }
        if number <= generation.number {
            read.push(Read { id, number, row, component: OnceCell::new() });
        }
    }
    let mut pool = Pool::default();
    let components = components(&read, generation, shelf, &mut pool)?;
    Ok(components.map(|components| Loaded { ledger, components, rows: read, pool }))
}

impl Loaded<'_> {
    /// Returns `generation`, which is the one that was read.
    pub(super) fn snapshot(self, generation: Generation) -> Arc<Snapshot> {
        Arc::new(Snapshot::new(generation, self.components))
    }

    /// Returns the ledger, and `generation`, which is the one that was read, with those of `older` (newest first) that can be
    /// read whole out of the same rows. What did not change is shared; what cannot be read is left out, with a warning.
    pub(super) fn with_older(
        self,
        generation: Generation,
        older: Vec<Generation>,
        shelf: &Shelf,
    ) -> Result<(Ledger, Vec<Arc<Snapshot>>), StoreError> {
        let Loaded { ledger, components: newest, rows, mut pool } = self;
        let mut kept = vec![Arc::new(Snapshot::new(generation, newest))];
        for generation in older {
            match components(&rows, &generation, shelf, &mut pool)? {
                Ok(components) => {
                    let newer = kept.last().map(Arc::as_ref);
                    kept.push(Arc::new(Snapshot::beside(generation, components, newer)));
                }
                Err(why) => {
                    tracing::warn!(
                        generation = generation.number,
                        why,
                        "an older generation cannot be asked"
                    );
                }
            }
        }
        Ok((ledger, kept))
    }
}

/// Returns the components of a generation, and reads what no generation before has needed. The inner error says why the
/// rows are not those of the generation.
fn components(
    rows: &[Read<'_>],
    generation: &Generation,
    shelf: &Shelf,
    pool: &mut Pool,
) -> Result<Result<Vec<Arc<Component>>, String>, StoreError> {
    let mut root = Root::default();
    let mut components = Vec::new();
    for rows in rows.chunk_by(|one, other| one.id == other.id) {
        let Some(row) = rows.iter().rfind(|row| row.number <= generation.number) else { continue };
        let id = row.id;
        let json = match &row.row {
            Row::Gone => continue,
            Row::Inline(json) => Cow::Borrowed(*json),
            Row::Shelved(digest) => match shelf.read(digest)? {
                Some(json) => Cow::Owned(json),
                None => return Ok(Err(format!("{id}: {digest} is not on the shelf"))),
            },
        };
        root.add(id, &json);
        if let Some(component) = row.component.get() {
            components.push(Arc::clone(component));
            continue;
        }
        match serde_json::from_slice::<Component>(&json) {
            Ok(mut component) if component.id.as_text() == id => {
                pool.share(&mut component);
                components.push(Arc::clone(row.component.get_or_init(|| Arc::new(component))));
            }
            Ok(component) => return Ok(Err(format!("the row of {id} holds {}", component.id))),
            Err(error) => return Ok(Err(format!("the row of {id} cannot be read: {error}"))),
        }
    }
    let (count, root) = (components.len() as u64, root.finish());
    if count != generation.components || root != generation.root {
        let (expected, promised) = (generation.components, &generation.root);
        return Ok(Err(format!(
            "the index holds {count} components with root {root}, expected {expected} with root {promised}"
        )));
    }
    Ok(Ok(components))
}
