//! What the index holds, in memory: which row of which id changed in which generation, and the digest of what it says.
//! Reads and plans rows; never touches the index itself.

use std::sync::{Arc, OnceLock};

use catalogue_schema::digest::Digest;
use catalogue_schema::generation::Generation;
use catalogue_schema::packed::Packed;

use crate::shelf::{Live, Run, Shelf};
use crate::store::index::{Value, Written};
use crate::store::row::{self, Root, Row, Seal};
use crate::store::{Snapshot, StoreError};

/// Every row of the index, without its payload.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// In the order of the ids.
    lines: Vec<Line>,
}

/// The rows of one id.
#[derive(Debug)]
struct Line {
    id: Arc<str>,
    /// By the generation in which it changed, oldest first; never empty.
    marks: Vec<(u64, Mark)>,
}

/// What is remembered of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// The digest of the row with a block in it.
    Inline(Digest),
    /// The digest of the block on the shelf.
    Shelved(Digest),
    /// The id is gone.
    Gone,
}

/// A row's place: its id and generation.
pub(super) type Place = (Arc<str>, u64);

/// The rows of the next generation, while they are collected.
#[derive(Debug)]
pub(super) struct Planning<'a> {
    ledger: &'a Ledger,
    number: u64,
    /// The first line that no id has reached yet.
    at: usize,
    plan: Plan,
    marks: Vec<(Place, Mark)>,
    /// Where a value is written before the engine takes it.
    value: Vec<u8>,
}

/// What a commit has to write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Rows for the index, in the order of their keys.
    pub(super) rows: Vec<Written>,
    /// Blocks for the shelf, which go first.
    pub(super) blocks: Vec<(Digest, Packed)>,
}

impl Line {
    fn is_here(&self) -> bool {
        self.marks.last().is_some_and(|(_, mark)| *mark != Mark::Gone)
    }
}

impl Ledger {
    /// Starts to collect the rows of generation `number`, which is higher than any in the ledger.
    pub(super) fn plan(&self, number: u64) -> Planning<'_> {
        Planning { ledger: self, number, at: 0, plan: Plan::default(), marks: Vec::new(), value: Vec::new() }
    }

    /// Tells whether the index holds no row at all.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Takes in the rows that were written, which come in the order of their ids.
    pub(super) fn apply(&mut self, marks: Vec<(Place, Mark)>) {
        let mut news = Vec::new();
        for ((id, number), mark) in marks {
            match self.lines.binary_search_by(|line| line.id.cmp(&id)).map(|at| self.lines.get_mut(at)) {
                Ok(Some(line)) => line.marks.push((number, mark)),
                _ => news.push(Line { id, marks: vec![(number, mark)] }),
            }
        }
        self.lines.append(&mut news);
        self.lines.sort_by(|one, other| one.id.cmp(&other.id));
    }

    /// Drops rows that were removed.
    pub(super) fn forget(&mut self, rows: &[Place]) {
        for (id, number) in rows {
            let at = self.lines.binary_search_by(|line| line.id.cmp(id));
            if let Some(line) = at.ok().and_then(|at| self.lines.get_mut(at)) {
                line.marks.retain(|(known, _)| known != number);
            }
        }
        self.lines.retain(|line| !line.marks.is_empty());
    }

    /// Returns the rows that belong to generations after `number`.
    pub(super) fn newer(&self, number: u64) -> Vec<Place> {
        let newer = |line: &Line| -> Vec<Place> {
            let numbers = line.marks.iter().map(|(n, _)| *n).filter(|n| *n > number);
            numbers.map(|n| (Arc::clone(&line.id), n)).collect()
        };
        self.lines.iter().flat_map(newer).collect()
    }

    /// Returns the rows that generation `oldest` and later ones do not read. The rows of an id come oldest first, so that
    /// a part of the removals never brings a removed id back.
    pub(super) fn superseded(&self, oldest: u64) -> Vec<Place> {
        let mut rows = Vec::new();
        for line in &self.lines {
            let reached = line.marks.partition_point(|(number, _)| *number <= oldest);
            let mut reached = line.marks.get(..reached).unwrap_or_default();
            if let Some(((_, mark), before)) = reached.split_last()
                && *mark != Mark::Gone
            {
                reached = before;
            }
            rows.extend(reached.iter().map(|(number, _)| (Arc::clone(&line.id), *number)));
        }
        rows
    }

    /// Returns what stands for the blocks on the shelf that rows need.
    pub(super) fn shelved(&self) -> Live {
        let marks = self.lines.iter().flat_map(|line| &line.marks);
        let digest = |(_, mark): &(u64, Mark)| match mark {
            Mark::Shelved(digest) => Some(digest.clone()),
            Mark::Inline(_) | Mark::Gone => None,
        };
        marks.filter_map(digest).collect()
    }
}

impl Planning<'_> {
    /// Takes a component, whose id stands behind those that were put before, and what stands for it; tells whether it differs from
    /// what the index holds.
    pub(super) fn put(&mut self, component: &Packed, seal: &Seal) -> bool {
        let id = component.id_text();
        self.pass(id);
        let row = Row::of(component, seal);
        let mark = match &row {
            Row::Shelved(digest) => Mark::Shelved(digest.clone()),
            Row::Inline(..) | Row::Gone => Mark::Inline(seal.digest.clone()),
        };
        if let Some(line) = self.ledger.lines.get(self.at).filter(|line| *line.id == *id) {
            self.at += 1;
            if line.marks.last().is_some_and(|(_, known)| *known == mark) {
                return false;
            }
        }
        let is_shelved = matches!(row, Row::Shelved(_));
        self.write(id, &row, mark);
        if is_shelved {
            self.plan.blocks.push((seal.digest.clone(), component.clone()));
        }
        true
    }

    /// Returns what is to be written so far where it is `enough` rows; what comes later is not in it.
    pub(super) fn take(&mut self, enough: usize) -> Option<Plan> {
        (self.plan.rows.len() >= enough).then(|| std::mem::take(&mut self.plan))
    }

    /// Adds the removal of every id that was not put, and returns what is to be written, and what the ledger will say of all
    /// rows.
    pub(super) fn finish(mut self) -> (Plan, Vec<(Place, Mark)>) {
        while self.at < self.ledger.lines.len() {
            self.remove();
        }
        (self.plan, self.marks)
    }

    /// Adds the removal of every id before `id`.
    fn pass(&mut self, id: &str) {
        while self.ledger.lines.get(self.at).is_some_and(|line| *line.id < *id) {
            self.remove();
        }
    }

    fn remove(&mut self) {
        let ledger = self.ledger;
        if let Some(line) = ledger.lines.get(self.at).filter(|line| line.is_here()) {
            self.write(&line.id, &Row::Gone, Mark::Gone);
        }
        self.at += 1;
    }

    fn write(&mut self, id: &str, row: &Row<'_>, mark: Mark) {
        row.write(&mut self.value);
        self.plan.rows.push((row::key(id, self.number), Some(Value::from(self.value.as_slice()))));
        self.marks.push(((id.into(), self.number), mark));
    }
}

/// One row as it stands in the index, its bytes checked.
#[derive(Debug)]
pub(super) struct Taken {
    id: Arc<str>,
    number: u64,
    says: Result<Says, String>,
}

/// What a row says.
#[derive(Debug)]
enum Says {
    Inline(Digest, Packed),
    /// The block comes from the shelf once it is needed.
    Shelved(Digest, OnceLock<Packed>),
    Gone,
}

/// A row, or the key that is none of ours.
pub(super) type Stored = Result<Taken, Vec<u8>>;

/// Reads a row. What is wrong with it is kept: it may be one of a generation that was never committed.
pub(super) fn take(key: &[u8], value: &[u8]) -> Stored {
    let Some((id, number)) = row::read_key(key) else { return Err(key.to_vec()) };
    let says = Row::decode(value).and_then(|row| match row {
        Row::Inline(block, sum) => {
            let packed = Packed::read(block).map_err(|error| error.to_string())?;
            Ok(Says::Inline(Seal::summed(&packed, sum).digest, packed))
        }
        Row::Shelved(digest) => Ok(Says::Shelved(digest, OnceLock::new())),
        Row::Gone => Ok(Says::Gone),
    });
    Ok(Taken { id: id.into(), number, says })
}

/// Returns the key of a row.
pub(super) fn key(row: &Stored) -> Vec<u8> {
    match row {
        Ok(taken) => row::key(&taken.id, taken.number),
        Err(key) => key.clone(),
    }
}

/// A block and what stands for it, `None` where there is none; the error says why it cannot be had.
type Block<'a> = Result<Option<(&'a Digest, &'a Packed)>, String>;

impl Taken {
    fn mark(&self) -> Mark {
        match &self.says {
            Ok(Says::Inline(digest, _)) => Mark::Inline(digest.clone()),
            Ok(Says::Shelved(digest, _)) => Mark::Shelved(digest.clone()),
            Ok(Says::Gone) | Err(_) => Mark::Gone,
        }
    }

    /// Returns the block and what stands for it; `None` where the id is gone. The inner error says why it cannot be had.
    fn block(&self, shelf: &mut Run<'_>) -> Result<Block<'_>, StoreError> {
        let id = &self.id;
        let (digest, packed) = match &self.says {
            Ok(Says::Gone) => return Ok(Ok(None)),
            Ok(Says::Inline(digest, packed)) => (digest, packed),
            Ok(Says::Shelved(digest, held)) => match held.get() {
                Some(packed) => (digest, packed),
                None => match shelf.block(digest, |block| sound(block, digest))? {
                    Some(packed) => (digest, held.get_or_init(|| packed)),
                    None => return Ok(Err(format!("{id}: {digest} is not on the shelf"))),
                },
            },
            Err(found) => return Ok(Err(format!("{id}: {found}"))),
        };
        Ok(match packed.id_text() == &**id {
            true => Ok(Some((digest, packed))),
            false => Err(format!("the row of {id} holds {}", packed.id_text())),
        })
    }
}

/// Reads a block from the shelf; `None` where it is not the one for which `digest` stands.
fn sound(block: &[u8], digest: &Digest) -> Option<Packed> {
    Packed::read(block).ok().filter(|packed| Seal::of(packed).digest == *digest)
}

/// A generation as it was read out of the index, and the rows that older ones may be read out of.
pub(super) struct Loaded<'a> {
    ledger: Ledger,
    components: Vec<Packed>,
    rows: &'a [Stored],
}

/// Reads a generation out of every row of the index: the newest row of each id that is not newer than the generation.
/// The inner error says why the rows are not those of the generation.
pub(super) fn load<'a>(
    rows: &'a [Stored],
    generation: &Generation,
    shelf: &Shelf,
) -> Result<Result<Loaded<'a>, String>, StoreError> {
    let mut ledger = Ledger::default();
    for row in rows {
        let taken = match row {
            Ok(taken) => taken,
            Err(key) => return Ok(Err(format!("a key of {} bytes that is none of ours", key.len()))),
        };
        // Rows of a generation that was never committed go, whatever they say.
        if let Err(found) = &taken.says
            && taken.number <= generation.number
        {
            return Ok(Err(format!("{}: {found}", taken.id)));
        }
        let mark = (taken.number, taken.mark());
        match ledger.lines.last_mut().filter(|line| line.id == taken.id) {
            Some(line) => line.marks.push(mark),
            None => ledger.lines.push(Line { id: Arc::clone(&taken.id), marks: vec![mark] }),
        }
    }
    fetch_shelved(rows, shelf);
    let components = components(rows, generation, shelf)?;
    Ok(components.map(|components| Loaded { ledger, components, rows }))
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
        let mut kept = vec![Arc::new(Snapshot::new(generation, self.components))];
        for generation in older {
            match components(self.rows, &generation, shelf)? {
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
        Ok((self.ledger, kept))
    }
}

/// Has two threads read the blocks that lie on the shelf. What cannot be read is told when it is needed.
fn fetch_shelved(rows: &[Stored], shelf: &Shelf) {
    let is_shelved = |taken: &&Taken| matches!(taken.says, Ok(Says::Shelved(..)));
    let shelved: Vec<&Taken> = rows.iter().filter_map(|row| row.as_ref().ok()).filter(is_shelved).collect();
    let (first, second) = shelved.split_at(shelved.len() / 2);
    let fetch = |some: &[&Taken]| {
        let mut run = shelf.run();
        some.iter().for_each(|taken| drop(taken.block(&mut run)));
    };
    std::thread::scope(|threads| {
        // Without a thread the blocks are read when they are needed.
        let _ =
            std::thread::Builder::new().name("index-fetch".into()).spawn_scoped(threads, || fetch(second));
        fetch(first);
    });
}

/// Returns the components of a generation. The inner error says why the rows are not those of the generation.
fn components(
    rows: &[Stored],
    generation: &Generation,
    shelf: &Shelf,
) -> Result<Result<Vec<Packed>, String>, StoreError> {
    let (mut root, mut shelf) = (Root::default(), shelf.run());
    let mut components = Vec::new();
    let taken: Vec<&Taken> = rows.iter().filter_map(|row| row.as_ref().ok()).collect();
    for rows in taken.chunk_by(|one, other| one.id == other.id) {
        let Some(row) = rows.iter().rfind(|row| row.number <= generation.number) else { continue };
        match row.block(&mut shelf)? {
            Ok(Some((digest, packed))) => {
                root.add(row.id.as_bytes(), digest);
                components.push(packed.clone());
            }
            Ok(None) => {}
            Err(found) => return Ok(Err(found)),
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
