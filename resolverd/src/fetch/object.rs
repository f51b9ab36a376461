//! Git objects as bytes: commits, tags and trees taken apart.
//!
//! What a tree must be: entries in Git's order, no name twice, no name that could leave or hide in a directory
//! (`git.bad_tree`). Names that are only unusual (spaces, letters outside ASCII) stay: they cannot be asked for, because a
//! wanted path has the grammar of `catalogue_schema::path`.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

use catalogue_schema::digest::{hex, unhex};
use catalogue_schema::error::escaped;
use catalogue_schema::model::Refusal;
use catalogue_schema::pointer::CommitId;

use crate::fetch::FetchError;

/// A SHA-1 object id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; 20]);

impl ObjectId {
    /// Reads 40 lower-case hex digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<ObjectId> {
        Some(ObjectId(unhex(text)?.try_into().ok()?))
    }

    /// Takes the 20 bytes of an id.
    pub fn from_bytes(bytes: [u8; 20]) -> ObjectId {
        ObjectId(bytes)
    }

    /// Returns the 20 bytes.
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Returns the id in the form that pointers use.
    pub fn to_commit_id(self) -> CommitId {
        CommitId::parse(&hex(&self.0)).expect("20 bytes print as 40 lower-case hex digits")
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The type of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A commit.
    Commit,
    /// A directory.
    Tree,
    /// The content of a file or symlink.
    Blob,
    /// An annotated tag.
    Tag,
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Kind::Commit => "commit",
            Kind::Tree => "tree",
            Kind::Blob => "blob",
            Kind::Tag => "tag",
        })
    }
}

/// What is wrong with an object or a path in it; becomes a refusal when the subject is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: expected {expected}, found {found}")]
pub struct Fault {
    reason: &'static str,
    expected: &'static str,
    pub(super) found: String,
}

impl Fault {
    pub(super) fn new(reason: &'static str, expected: &'static str, found: impl Into<String>) -> Fault {
        Fault { reason, expected, found: found.into() }
    }

    pub(super) fn refuse(self, subject: &dyn fmt::Display) -> FetchError {
        FetchError::Refused(Refusal::new(self.reason, subject, self.expected, self.found))
    }
}

/// Reads a commit's tree id: its first line, `tree <40 hex>`.
///
/// **Errors**: `git.corrupt`.
pub fn parse_commit(bytes: &[u8]) -> Result<ObjectId, Fault> {
    header_id(bytes, "tree ")
        .map(|(id, _)| id)
        .ok_or_else(|| Fault::new("git.corrupt", "a commit that begins with its tree", "another first line"))
}

/// Reads a commit's parents: the lines `parent <40 hex>` behind the first line.
///
/// **Errors**: `git.corrupt`.
pub fn parse_parents(bytes: &[u8]) -> Result<Vec<ObjectId>, Fault> {
    let fault = |what| Fault::new("git.corrupt", "a commit that begins with its tree and parents", what);
    let (_, mut rest) = header_id(bytes, "tree ").ok_or_else(|| fault("another first line"))?;
    let mut parents = Vec::new();
    while rest.starts_with(b"parent ") {
        let (id, after) = header_id(rest, "parent ").ok_or_else(|| fault("a parent that is no id"))?;
        parents.push(id);
        rest = after;
    }
    Ok(parents)
}

/// Reads what an annotated tag points to: its first lines, `object <40 hex>` and `type <kind>`.
///
/// **Errors**: `git.corrupt`.
pub fn parse_tag(bytes: &[u8]) -> Result<(ObjectId, Kind), Fault> {
    let fault = || Fault::new("git.corrupt", "a tag that begins with its object and type", "other lines");
    let (id, rest) = header_id(bytes, "object ").ok_or_else(fault)?;
    let kinds = [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag];
    let kind = kinds.into_iter().find(|kind| rest.starts_with(format!("type {kind}\n").as_bytes()));
    Ok((id, kind.ok_or_else(fault)?))
}

fn header_id<'a>(bytes: &'a [u8], label: &str) -> Option<(ObjectId, &'a [u8])> {
    let (digits, rest) = bytes.strip_prefix(label.as_bytes())?.split_at_checked(40)?;
    Some((ObjectId::parse(str::from_utf8(digits).ok()?)?, rest.strip_prefix(b"\n")?))
}

/// One line of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The mode as Git writes it, such as `0o100644`.
    pub mode: u32,
    /// The name, as bytes: never empty, without slash, backslash and control bytes.
    pub name: Box<[u8]>,
    /// The object.
    pub id: ObjectId,
}

impl Entry {
    /// Tells whether this is a file, executable or not.
    pub fn is_file(&self) -> bool {
        matches!(self.mode, 0o100644 | 0o100755)
    }

    /// Tells whether this is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode == 0o040000
    }

    /// Returns the kind of the object that the mode promises.
    pub fn kind(&self) -> Kind {
        match self.mode {
            0o040000 => Kind::Tree,
            0o160000 => Kind::Commit,
            _ => Kind::Blob,
        }
    }

    /// Returns what the mode says, for messages.
    pub fn describe(&self) -> String {
        match self.mode {
            0o100644 | 0o100755 => "a file".to_owned(),
            0o040000 => "a directory".to_owned(),
            0o120000 => "a symlink".to_owned(),
            0o160000 => "a submodule".to_owned(),
            mode => format!("an entry of mode {mode:06o}"),
        }
    }

    /// Returns the name escaped, for messages.
    pub(super) fn label(&self) -> String {
        escaped(&String::from_utf8_lossy(&self.name))
    }
}

/// A directory whose entries have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<Entry>,
    /// Where its directories stand, by the bytes of their names.
    directories: Box<[u32]>,
    /// Where its entries stand, by their names whatever the case of their letters; empty for a small one, which is looked through.
    folded: Box<[u32]>,
}

/// A directory with more entries is not looked through for each name that is asked for.
const LOOKED_THROUGH_MAX: usize = 64;

impl Tree {
    /// Reads a tree object and checks every entry.
    ///
    /// **Shape**: entries of `<octal mode> <name>\0<20 bytes of id>`, sorted by name, a directory's name as if it ended
    /// in `/`. Leading zeros of a mode are accepted, since old tools wrote them.
    /// **Errors**: `git.bad_tree`.
    /// **Source**: gitformat(5) and the checks of `git fsck`.
    pub fn parse(bytes: &[u8]) -> Result<Tree, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (entry, after) = split_entry(rest).ok_or_else(|| bad_tree("a cut or malformed entry"))?;
            if let Some(what) = name_fault(&entry.name) {
                return Err(bad_tree(format!("{what}: \"{}\"", entry.label())));
            }
            if entries.last().is_some_and(|last| !in_order(last, &entry)) {
                return Err(bad_tree(format!("an entry out of order: \"{}\"", entry.label())));
            }
            entries.push(entry);
            rest = after;
        }
        // A file and a directory of one name are not neighbours where another name sorts between them.
        let mut names = HashSet::with_capacity(entries.len());
        match entries.iter().find(|entry| !names.insert(&entry.name)) {
            Some(twice) => Err(bad_tree(format!("a name that stands twice: \"{}\"", twice.label()))),
            None => Ok(Tree::of(entries)),
        }
    }

    fn of(entries: Vec<Entry>) -> Tree {
        // A tree has less than 4 GiB, and an entry more than 22 bytes.
        let places = || (0..entries.len() as u32).collect::<Vec<u32>>();
        let name = |at: &u32| &*entries[*at as usize].name;
        let mut directories = places();
        directories.retain(|at| entries[*at as usize].is_directory());
        // Git sorts them as if their names ended in a slash.
        directories.sort_by(|one, other| name(one).cmp(name(other)));
        let mut folded = Vec::new();
        if entries.len() > LOOKED_THROUGH_MAX {
            folded = places();
            folded.sort_by(|one, other| folded_order(name(one), name(other)));
        }
        Tree { directories: directories.into(), folded: folded.into(), entries }
    }

    /// Returns the entries in Git's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns its directories, by the bytes of their names.
    pub fn directories(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.directories.iter().map(|at| &self.entries[*at as usize])
    }

    /// Returns the id of the directory of exactly this name.
    pub fn directory(&self, segment: &str) -> Option<ObjectId> {
        let entry = self.find(segment).ok()??;
        entry.is_directory().then_some(entry.id)
    }

    /// Finds the entry of exactly this name; `None` when there is none.
    ///
    /// **Errors**: `git.ambiguous_path` when another entry differs in the case of ASCII letters only.
    pub fn find(&self, segment: &str) -> Result<Option<&Entry>, Fault> {
        let alike = |entry: &&Entry| entry.name.eq_ignore_ascii_case(segment.as_bytes());
        let found: Vec<&Entry> = match &*self.folded {
            [] => self.entries.iter().filter(alike).collect(),
            folded => {
                let entry = |at: &u32| &self.entries[*at as usize];
                let first = folded.partition_point(|at| {
                    folded_order(&entry(at).name, segment.as_bytes()) == Ordering::Less
                });
                folded[first..].iter().map(entry).take_while(alike).take(2).collect()
            }
        };
        match found.as_slice() {
            [first, second, ..] => {
                let names = format!("\"{}\" and \"{}\"", first.label(), second.label());
                Err(Fault::new("git.ambiguous_path", "one entry, whatever the case of its letters", names))
            }
            [one] if &*one.name == segment.as_bytes() => Ok(Some(one)),
            _ => Ok(None),
        }
    }
}

/// Compares names whatever the case of their ASCII letters.
fn folded_order(one: &[u8], other: &[u8]) -> Ordering {
    one.iter().map(u8::to_ascii_lowercase).cmp(other.iter().map(u8::to_ascii_lowercase))
}

fn bad_tree(found: impl Into<String>) -> Fault {
    Fault::new("git.bad_tree", "a tree of sorted, unique, plain names", found)
}

fn split_entry(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let space = bytes.iter().take(8).position(|byte| *byte == b' ')?;
    let mode = bytes[..space].iter().try_fold(0u32, |mode, digit| {
        matches!(digit, b'0'..=b'7').then(|| mode << 3 | u32::from(digit - b'0'))
    })?;
    let rest = &bytes[space + 1..];
    let nul = rest.iter().position(|byte| *byte == 0)?;
    let (id, after) = rest[nul + 1..].split_first_chunk::<20>()?;
    (space > 0).then(|| (Entry { mode, name: rest[..nul].into(), id: ObjectId(*id) }, after))
}

/// Git compares directory names as if they ended in a slash.
fn in_order(first: &Entry, second: &Entry) -> bool {
    let key = |entry: &Entry| [&*entry.name, if entry.is_directory() { b"/" } else { b"" }].concat();
    key(first) <= key(second)
}

/// Tells why a name may not stand in any tree that we read, also away from the wanted path.
fn name_fault(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() {
        return Some("an empty name");
    }
    if name == b"." || name == b".." {
        return Some("a name that means another directory");
    }
    if name.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
        return Some("a name with a slash or backslash");
    }
    if name.iter().any(|byte| *byte < 0x20 || *byte == 0x7f) {
        return Some("a name with control bytes");
    }
    means_dot_git(name).then_some("a name that some file system reads as .git")
}

/// Tells whether NTFS (`git~1`, `.git.`, `.git::$INDEX`) or HFS+ (ignored code points) would read a name as `.git`.
fn means_dot_git(name: &[u8]) -> bool {
    let ignored = |c: &char| matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let text = String::from_utf8_lossy(name);
    let folded: String = text.chars().filter(|c| !ignored(c)).collect::<String>().to_ascii_lowercase();
    let stem = folded.split(':').next().unwrap_or(&folded).trim_end_matches([' ', '.']);
    matches!(stem, ".git" | "git~1")
}

/// Why a reader has no object for a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// The repository does not hold it.
    Missing,
    /// It is of another kind.
    OtherKind(Kind),
    /// It is larger than asked for; its size in bytes.
    TooLarge(u64),
    /// Its bytes are not what its name promises.
    Corrupt(String),
}
