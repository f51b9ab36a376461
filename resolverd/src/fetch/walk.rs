//! The walk from a commit to a path, and the listings of directories.
//!
//! Knows nothing about where objects come from: a [`Walk`] asks a closure for them, so that every transport gives the same
//! answers and the same refusals. Never follows a symlink, enters a submodule, runs a filter or reads `.gitattributes`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use catalogue_schema::model::Refusal;
use catalogue_schema::path::{DocPath, SEGMENTS_MAX};

use crate::fetch::FetchError;
use crate::fetch::limit::Budget;
use crate::fetch::object::{
    Entry, Fault, Kind, ObjectId, ReadError, Tree, parse_commit, parse_parents, parse_tag,
};

/// The deepest listing, in levels.
pub const LISTING_LEVELS_MAX: u8 = SEGMENTS_MAX as u8;
/// How much raw tree data one walk remembers, in bytes; beyond it trees are read again.
const REMEMBERED_BYTES_MAX: usize = 64 << 20;
/// The most bytes that the objects may have which prove where a directory is; a longer way is not kept.
pub const WAY_BYTES_MAX: u64 = 4 << 20;
/// What a file that Git LFS keeps elsewhere begins with.
const LFS_HEAD: &[u8] = b"version https://git-lfs";

/// Walks from commits to documents, remembering trees: many wants at one commit read each tree once.
///
/// The reader gets an id, the kind that it must have and the most bytes to return; it checks kind, size and hash.
pub struct Walk<R> {
    read: R,
    commits: HashMap<ObjectId, ObjectId>,
    trees: HashMap<ObjectId, Result<Arc<Tree>, Fault>>,
    remembered_bytes: usize,
}

/// A wanted place: what messages call it, and what it may cost.
#[derive(Clone, Copy)]
pub struct Errand<'a> {
    /// The want, as messages name it.
    pub subject: &'a dyn fmt::Display,
    /// What is left.
    pub budget: &'a Budget,
}

impl<R: FnMut(&ObjectId, Kind, u64) -> Result<Vec<u8>, ReadError>> Walk<R> {
    /// Starts with nothing remembered.
    pub fn new(read: R) -> Walk<R> {
        Walk { read, commits: HashMap::new(), trees: HashMap::new(), remembered_bytes: 0 }
    }

    /// Returns the tree of a commit.
    ///
    /// **Errors**: `git.commit_missing` (unreachable: another copy may hold it), `git.not_a_commit`, `git.corrupt`.
    pub fn commit_tree(&mut self, commit: &ObjectId, errand: Errand<'_>) -> Result<ObjectId, FetchError> {
        if let Some(tree) = self.commits.get(commit) {
            return Ok(*tree);
        }
        errand.budget.check_deadline(errand.subject)?;
        let bytes = match (self.read)(commit, Kind::Commit, errand.budget.for_git_objects().readable_bytes())
        {
            Err(ReadError::OtherKind(kind)) => return Err(self.no_commit(commit, kind, errand)),
            read => {
                self.accept(commit, Kind::Commit, read, &errand.budget.for_git_objects(), errand.subject)?
            }
        };
        let tree = parse_commit(&bytes).map_err(|fault| fault.refuse(errand.subject))?;
        self.commits.insert(*commit, tree);
        Ok(tree)
    }

    /// Refuses an object in a commit's place; says what a tag there points to, one level down.
    fn no_commit(&mut self, id: &ObjectId, kind: Kind, errand: Errand<'_>) -> FetchError {
        let mut fault = not_a_commit(id, kind);
        let bytes_max = errand.budget.for_git_objects().readable_bytes();
        if kind == Kind::Tag
            && let Ok(bytes) = (self.read)(id, Kind::Tag, bytes_max)
            && let Ok((target, kind)) = parse_tag(&bytes)
        {
            let advice = if kind == Kind::Commit { "; pin that" } else { "" };
            fault.found = format!("{} of {kind} {target}{advice}", fault.found);
        }
        fault.refuse(errand.subject)
    }

    /// Returns the commit that an object leads to, through at most `levels` annotated tags.
    ///
    /// **Errors**: as [`Walk::commit_tree`].
    pub fn peel(&mut self, id: &ObjectId, levels: u8, errand: Errand<'_>) -> Result<ObjectId, FetchError> {
        let mut id = *id;
        for _ in 0..levels {
            let bytes = match (self.read)(&id, Kind::Tag, errand.budget.for_git_objects().readable_bytes()) {
                Err(ReadError::OtherKind(Kind::Commit)) => return Ok(id),
                Err(ReadError::OtherKind(kind)) => return Err(not_a_commit(&id, kind).refuse(errand.subject)),
                read => {
                    self.accept(&id, Kind::Tag, read, &errand.budget.for_git_objects(), errand.subject)?
                }
            };
            id = parse_tag(&bytes).map_err(|fault| fault.refuse(errand.subject))?.0;
        }
        self.commit_tree(&id, errand)?;
        Ok(id)
    }

    /// Returns the ids of a commit and its ancestors, nearest first, one a line, at most `commits_max`.
    ///
    /// Nearest means by steps: a commit's parents come in its own order, and before any grandparent. Commits in `shallow` have
    /// no parents here. Each commit counts as a document, and its bytes count as bytes.
    /// **Errors**: as [`Walk::commit_tree`] for the first one; `git.corrupt` for an ancestor that is not here.
    pub fn history(
        &mut self,
        commit: &ObjectId,
        commits_max: u32,
        shallow: &HashSet<ObjectId>,
        errand: Errand<'_>,
    ) -> Result<Vec<u8>, FetchError> {
        // What is wrong with the start is said as for any pin.
        self.commit_tree(commit, errand)?;
        let budget = errand.budget.for_git_objects();
        let (mut text, mut listed) = (String::new(), 0);
        let (mut queue, mut seen) = (VecDeque::from([*commit]), HashSet::from([*commit]));
        while let Some(id) = queue.pop_front().filter(|_| listed < commits_max) {
            errand.budget.take_documents(1, errand.subject)?;
            text.push_str(&format!("{id}\n"));
            listed += 1;
            if shallow.contains(&id) {
                continue;
            }
            // An ancestor that is missing is damage, not an absent pin.
            let bytes = match (self.read)(&id, Kind::Commit, budget.readable_bytes()) {
                Err(ReadError::Missing) => Err(ReadError::Corrupt("it is not here".to_owned())),
                read => read,
            };
            errand.budget.check_deadline(errand.subject)?;
            let bytes = self.accept(&id, Kind::Commit, bytes, &budget, errand.subject)?;
            let parents = parse_parents(&bytes).map_err(|fault| fault.refuse(errand.subject))?;
            queue.extend(parents.into_iter().filter(|parent| seen.insert(*parent)));
        }
        Ok(text.into_bytes())
    }

    /// Returns the entry at `path` below a root tree.
    ///
    /// **Errors**: `file_missing`, `git.bad_tree`, `git.ambiguous_path`, `git.corrupt`; `git.not_a_blob` where a symlink
    /// or submodule stands in the way.
    pub fn entry(
        &mut self,
        root: &ObjectId,
        path: &DocPath,
        errand: Errand<'_>,
    ) -> Result<Entry, FetchError> {
        let missing = |found: String| {
            FetchError::Missing(Refusal::new(
                "file_missing",
                errand.subject,
                "a file or directory there",
                found,
            ))
        };
        let mut tree = *root;
        let mut segments = path.segments().peekable();
        while let Some(segment) = segments.next() {
            let directory = self.tree(&tree, errand)?;
            let found = directory.find(segment).map_err(|fault| fault.refuse(errand.subject))?;
            let Some(entry) = found else { return Err(missing(format!("no \"{segment}\" in tree {tree}"))) };
            if segments.peek().is_none() {
                return Ok(entry.clone());
            }
            match entry {
                entry if entry.is_directory() => tree = entry.id,
                entry if entry.is_file() => return Err(missing(format!("\"{segment}\" is a file"))),
                entry => return Err(in_the_way(entry).refuse(errand.subject)),
            }
        }
        Err(missing("an empty path".to_owned()))
    }

    /// Returns the bytes of the file at `path` in a commit, and its object id.
    ///
    /// **Errors**: those of [`Walk::commit_tree`] and [`Walk::entry`], `git.not_a_blob`, `git.lfs_pointer`, and the limits.
    pub fn blob(
        &mut self,
        commit: &ObjectId,
        path: &DocPath,
        errand: Errand<'_>,
    ) -> Result<(Vec<u8>, ObjectId), FetchError> {
        let root = self.commit_tree(commit, errand)?;
        let entry = self.entry(&root, path, errand)?;
        if !entry.is_file() {
            return Err(in_the_way(&entry).refuse(errand.subject));
        }
        let bytes = self.object(&entry.id, Kind::Blob, errand.budget, errand.subject)?;
        if bytes.starts_with(LFS_HEAD) {
            let expected = "the document itself, committed to Git";
            let found = "a Git LFS pointer; the content lies on an LFS server";
            return Err(Fault::new("git.lfs_pointer", expected, found).refuse(errand.subject));
        }
        Ok((bytes, entry.id))
    }

    /// Returns the listing of the directory at `path` in a commit, `levels` deep, and the directory's id.
    ///
    /// **Shape**: lines `mode type oid path\n` as `git ls-tree` writes them (six octal digits, `blob`, `tree` or
    /// `commit`), the path from the repository's root, sorted by the bytes of the path. A path with bytes outside printable
    /// ASCII or with `"` stands in double quotes with octal escapes, so that no line can be mistaken.
    /// **Errors**: as [`Walk::entry`], `git.not_a_tree`, `limit.listing_levels`; eight lines count as a
    /// document and their bytes as bytes.
    pub fn listing(
        &mut self,
        commit: &ObjectId,
        path: &DocPath,
        levels: u8,
        errand: Errand<'_>,
    ) -> Result<(Vec<u8>, ObjectId), FetchError> {
        let top = self.top(commit, path, levels, errand)?;
        let mut lines = Lines { lines: Vec::new(), counted: 0, bytes: 0 };
        self.list(&top.id, path.as_text().as_bytes(), levels, &mut lines, errand)?;
        errand.budget.take_bytes(lines.bytes, errand.subject)?;
        Ok((lines.sorted(), top.id))
    }

    /// Returns the names of the directories below the one at `path` in a commit, `levels` deep, and the directory's id.
    ///
    /// **Shape**: a line `oid path\n` of the directory itself, whose id stands for everything below it; then a line for each
    /// directory in it, by the bytes of the names: as many tabs as levels lie between, and its name, written as in a listing.
    /// Behind it, before the next of the same level, come those in it.
    /// **Errors**: as [`Walk::listing`].
    pub fn directories(
        &mut self,
        commit: &ObjectId,
        path: &DocPath,
        levels: u8,
        errand: Errand<'_>,
    ) -> Result<(Vec<u8>, ObjectId), FetchError> {
        let top = self.top(commit, path, levels, errand)?;
        let mut names = Names { text: format!("{} {path}\n", top.id).into_bytes(), counted: 1 };
        errand.budget.take_lines(0, 1, errand.subject)?;
        self.name(&top.id, (0, levels), &mut names, errand)?;
        errand.budget.take_bytes(names.text.len() as u64, errand.subject)?;
        Ok((names.text, top.id))
    }

    fn name(
        &mut self,
        tree: &ObjectId,
        (level, levels): (u8, u8),
        names: &mut Names,
        errand: Errand<'_>,
    ) -> Result<(), FetchError> {
        let tree = self.tree(tree, errand)?;
        let more = tree.directories().len() as u64;
        errand.budget.take_lines(names.counted, more, errand.subject)?;
        names.counted += more;
        for entry in tree.directories() {
            names.text.extend(std::iter::repeat_n(b'\t', usize::from(level)));
            names.text.extend(printable(&entry.name));
            names.text.push(b'\n');
            // Refused while it grows, as a listing is.
            if names.text.len() as u64 > errand.budget.readable_bytes() {
                errand.budget.take_bytes(names.text.len() as u64, errand.subject)?;
            }
            if level + 1 < levels {
                self.name(&entry.id, (level + 1, levels), names, errand)?;
            }
        }
        Ok(())
    }

    /// Returns the directory that is to be listed.
    fn top(
        &mut self,
        commit: &ObjectId,
        path: &DocPath,
        levels: u8,
        errand: Errand<'_>,
    ) -> Result<Entry, FetchError> {
        if !(1..=LISTING_LEVELS_MAX).contains(&levels) {
            let expected = format!("a listing of 1 to {LISTING_LEVELS_MAX} levels");
            let refusal = Refusal::new("limit.listing_levels", errand.subject, expected, levels);
            return Err(FetchError::Limit(refusal));
        }
        let root = self.commit_tree(commit, errand)?;
        let top = self.entry(&root, path, errand)?;
        if !top.is_directory() {
            let fault = Fault::new("git.not_a_tree", "a directory", top.describe());
            return Err(fault.refuse(errand.subject));
        }
        Ok(top)
    }

    /// Returns the objects that prove that a commit has a directory: the commit, its root tree, and each tree on the way, without
    /// the directory's own; none where they are longer than [`WAY_BYTES_MAX`]. What is read here was read, and paid for, by the
    /// listing of that directory.
    pub fn way(&mut self, commit: &ObjectId, path: &DocPath) -> Vec<Vec<u8>> {
        self.proof(commit, path).unwrap_or_default()
    }

    fn proof(&mut self, commit: &ObjectId, path: &DocPath) -> Option<Vec<Vec<u8>>> {
        let mut left = WAY_BYTES_MAX;
        let mut object = |id: &ObjectId, kind| {
            let bytes = (self.read)(id, kind, left).ok()?;
            left = left.checked_sub(bytes.len() as u64)?;
            Some(bytes)
        };
        let bytes = object(commit, Kind::Commit)?;
        let mut next = parse_commit(&bytes).ok()?;
        let mut way = vec![bytes];
        for segment in path.segments() {
            let bytes = object(&next, Kind::Tree)?;
            next = Tree::parse(&bytes).ok()?.directory(segment)?;
            way.push(bytes);
        }
        Some(way)
    }

    fn list(
        &mut self,
        tree: &ObjectId,
        prefix: &[u8],
        levels: u8,
        lines: &mut Lines,
        errand: Errand<'_>,
    ) -> Result<(), FetchError> {
        let tree = self.tree(tree, errand)?;
        let more = tree.entries().len() as u64;
        errand.budget.take_lines(lines.counted, more, errand.subject)?;
        lines.counted += more;
        for entry in tree.entries() {
            let path = [prefix, b"/", &entry.name].concat();
            if levels > 1 && entry.is_directory() {
                self.list(&entry.id, &path, levels - 1, lines, errand)?;
            }
            lines.push(entry, path);
            // Refused while it grows: a tree that holds itself many times over is small, its listing is not.
            if lines.bytes > errand.budget.readable_bytes() {
                errand.budget.take_bytes(lines.bytes, errand.subject)?;
            }
        }
        Ok(())
    }

    fn tree(&mut self, id: &ObjectId, errand: Errand<'_>) -> Result<Arc<Tree>, FetchError> {
        if let Some(known) = self.trees.get(id) {
            return known.clone().map_err(|fault| fault.refuse(errand.subject));
        }
        if let Some(known) = errand.budget.known_tree(id) {
            return Ok(known);
        }
        let bytes = self.object(id, Kind::Tree, &errand.budget.for_git_objects(), errand.subject)?;
        let parsed = Tree::parse(&bytes).map(Arc::new).map_err(|mut fault| {
            fault.found = format!("{} in tree {id}", fault.found);
            fault
        });
        if let Ok(tree) = &parsed {
            errand.budget.note_tree(id, tree, bytes.len());
        }
        self.remembered_bytes += bytes.len();
        if self.remembered_bytes > REMEMBERED_BYTES_MAX {
            self.trees.clear();
            self.remembered_bytes = bytes.len();
        }
        self.trees.insert(*id, parsed.clone());
        parsed.map_err(|fault| fault.refuse(errand.subject))
    }

    fn object(
        &mut self,
        id: &ObjectId,
        kind: Kind,
        budget: &Budget,
        subject: &dyn fmt::Display,
    ) -> Result<Vec<u8>, FetchError> {
        budget.check_deadline(subject)?;
        let read = (self.read)(id, kind, budget.readable_bytes());
        self.accept(id, kind, read, budget, subject)
    }

    fn accept(
        &self,
        id: &ObjectId,
        kind: Kind,
        read: Result<Vec<u8>, ReadError>,
        budget: &Budget,
        subject: &dyn fmt::Display,
    ) -> Result<Vec<u8>, FetchError> {
        let corrupt = |found| Fault::new("git.corrupt", "a whole repository", found).refuse(subject);
        match read {
            Ok(bytes) => budget.take_bytes(bytes.len() as u64, subject).map(|()| bytes),
            Err(ReadError::TooLarge(size)) => match budget.take_bytes(size, subject) {
                Err(limit) => Err(limit),
                Ok(()) => Err(corrupt(format!("{kind} {id} of {size} bytes, which its reader refused"))),
            },
            Err(ReadError::Missing) if kind == Kind::Commit => {
                let expected = "a commit that this repository holds";
                let found = format!("no object {id}; fetch it there, or correct the pin");
                Err(FetchError::Unreachable(Refusal::new("git.commit_missing", subject, expected, found)))
            }
            Err(ReadError::Missing) => Err(corrupt(format!("no {kind} {id}: a partial or damaged copy"))),
            Err(ReadError::OtherKind(other)) => Err(corrupt(format!("{id} is a {other}, not a {kind}"))),
            Err(ReadError::Corrupt(why)) => Err(corrupt(format!("{kind} {id} is damaged: {why}"))),
        }
    }
}

fn not_a_commit(id: &ObjectId, kind: Kind) -> Fault {
    Fault::new("git.not_a_commit", "the id of a commit", format!("{id}, a {kind}"))
}

fn in_the_way(entry: &Entry) -> Fault {
    let advice = match entry.mode {
        0o040000 => "; name a file in it",
        0o120000 => "; name the file that it leads to",
        0o160000 => "; name the repository that it leads to",
        _ => "",
    };
    let found = format!("\"{}\" is {}{advice}", entry.label(), entry.describe());
    Fault::new("git.not_a_blob", "a file, kept in this repository", found)
}

/// The names of directories while they grow.
struct Names {
    text: Vec<u8>,
    /// How many lines were paid for; some of them are still to come.
    counted: u64,
}

/// The lines of a listing while it grows.
struct Lines {
    lines: Vec<(Vec<u8>, Vec<u8>)>,
    /// How many were paid for; some of them are still to come.
    counted: u64,
    bytes: u64,
}

impl Lines {
    fn push(&mut self, entry: &Entry, path: Vec<u8>) {
        let mut line = format!("{:06o} {} {} ", entry.mode, entry.kind(), entry.id).into_bytes();
        line.extend(printable(&path));
        line.push(b'\n');
        self.bytes += line.len() as u64;
        self.lines.push((path, line));
    }

    fn sorted(mut self) -> Vec<u8> {
        self.lines.sort_unstable();
        self.lines.into_iter().flat_map(|(_, line)| line).collect()
    }
}

fn printable(path: &[u8]) -> Vec<u8> {
    if path.iter().all(|byte| matches!(byte, 0x20..=0x7e) && *byte != b'"') {
        return path.to_vec();
    }
    let mut out = vec![b'"'];
    for byte in path {
        match byte {
            b'"' => out.extend(b"\\\""),
            0x20..=0x7e => out.push(*byte),
            other => out.extend(format!("\\{other:03o}").bytes()),
        }
    }
    out.push(b'"');
    out
}
