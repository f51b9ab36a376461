//! The way from a commit to a directory in it, as the objects that prove it: whoever keeps them can tell later, without a
//! repository, that files are those of the commit. Pure. [`Walk::way`](crate::fetch::walk::Walk::way) reads such a way.
//!
//! **Shape**: the commit, its root tree, and each tree on the way, without the directory's own; every one hashes to the id that the
//! one before it names. The directory's own id is that of its files, folded: [`fold`].

use std::collections::BTreeMap;

use catalogue_schema::path::DocPath;

use crate::fetch::git::object_id;
use crate::fetch::object::{Kind, ObjectId, Tree, parse_commit};

/// Returns the id of the directory at `path` that `commit` has by these objects; `None` where they prove nothing.
pub fn leads(way: &[Vec<u8>], commit: &ObjectId, path: &DocPath) -> Option<ObjectId> {
    let (bytes, trees) = way.split_first()?;
    let is_proven = |kind, bytes: &[u8], id: &ObjectId| object_id(kind, bytes).as_ref() == Some(id);
    if !is_proven(Kind::Commit, bytes, commit) || trees.len() != path.segments().count() {
        return None;
    }
    let mut next = parse_commit(bytes).ok()?;
    for (bytes, segment) in trees.iter().zip(path.segments()) {
        if !is_proven(Kind::Tree, bytes, &next) {
            return None;
        }
        next = below(bytes, segment)?;
    }
    Some(next)
}

fn below(tree: &[u8], segment: &str) -> Option<ObjectId> {
    Tree::parse(tree).ok()?.directory(segment)
}

/// Returns the id of the directory that holds exactly these files, each with its object id and whether it may be executed; `None`
/// where they cannot stand in one directory.
pub fn fold<'a>(files: impl IntoIterator<Item = (&'a DocPath, ObjectId, bool)>) -> Option<ObjectId> {
    let mut root = Node::default();
    for (path, id, executable) in files {
        root.put(path, Leaf { id, executable })?;
    }
    root.id()
}

#[derive(Clone, Copy)]
struct Leaf {
    id: ObjectId,
    executable: bool,
}

/// A directory while it is folded. Git sorts a directory's name as if it ended in a slash, and so it stands here.
#[derive(Default)]
struct Node {
    files: BTreeMap<String, Leaf>,
    directories: BTreeMap<String, Node>,
}

impl Node {
    fn put(&mut self, path: &DocPath, leaf: Leaf) -> Option<()> {
        let mut node = self;
        let mut segments = path.segments().peekable();
        while let Some(segment) = segments.next() {
            if segments.peek().is_none() {
                let is_free = !node.directories.contains_key(segment);
                return (is_free && node.files.insert(segment.to_owned(), leaf).is_none()).then_some(());
            }
            if node.files.contains_key(segment) {
                return None;
            }
            node = node.directories.entry(segment.to_owned()).or_default();
        }
        None
    }

    /// Returns its id. A path has few segments, and so this goes no deeper.
    fn id(&self) -> Option<ObjectId> {
        let mut entries: Vec<(Vec<u8>, &str, &str, ObjectId)> = Vec::new();
        for (name, leaf) in &self.files {
            let mode = if leaf.executable { "100755" } else { "100644" };
            entries.push((name.clone().into_bytes(), mode, name, leaf.id));
        }
        for (name, node) in &self.directories {
            entries.push((format!("{name}/").into_bytes(), "40000", name, node.id()?));
        }
        entries.sort_unstable();
        let mut bytes = Vec::new();
        for (_, mode, name, id) in entries {
            bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            bytes.extend_from_slice(id.as_bytes());
        }
        object_id(Kind::Tree, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::object::ReadError;
    use crate::fetch::walk::Walk;

    fn path(text: &str) -> DocPath {
        DocPath::parse(text).expect("a path")
    }

    fn blob(bytes: &[u8]) -> ObjectId {
        object_id(Kind::Blob, bytes).expect("an id")
    }

    #[test]
    fn files_fold_into_the_tree_that_git_names() {
        let check = |files: &[(&str, &[u8], bool)], expected: Option<&str>| {
            let paths: Vec<DocPath> = files.iter().map(|(name, ..)| path(name)).collect();
            let rows = paths.iter().zip(files).map(|(path, (_, bytes, run))| (path, blob(bytes), *run));
            assert_eq!(fold(rows).map(|id| id.to_string()).as_deref(), expected, "{files:?}");
        };
        // `git write-tree` over the same files. A file `a-b` sorts before the directory `a`, and `a0` behind it.
        check(&[("a", b"one\n", false)], Some("b1ea253509c6004817f83cd7659ab4e6c38b2981"));
        check(
            &[("a0", b"3", false), ("a/run.sh", b"#!", true), ("a/c/x", b"1", false), ("a-b", b"2", false)],
            Some("b3af955aed1a65679c3565d86cc529291051291e"),
        );
        check(&[("a", b"", false), ("a/b", b"", false)], None);
        check(&[("a/b", b"", false), ("a", b"", false)], None);
        check(&[("a", b"", false), ("a", b"", false)], None);
    }
    type Object = (ObjectId, Kind, Vec<u8>);

    /// A repository with one commit that has one file at `a/b/x`.
    fn one() -> (ObjectId, ObjectId, Vec<Object>) {
        let mut held = Vec::new();
        let mut put = |kind, bytes: Vec<u8>| {
            let id = object_id(kind, &bytes).expect("an id");
            held.push((id, kind, bytes));
            id
        };
        let row = |mode: &str, name: &str, id: ObjectId| {
            [format!("{mode} {name}\0").as_bytes(), id.as_bytes()].concat()
        };
        let inner = put(Kind::Tree, row("100644", "x", blob(b"x")));
        let outer = put(Kind::Tree, row("40000", "b", inner));
        let root = put(Kind::Tree, [row("40000", "a", outer), row("100644", "z", blob(b"z"))].concat());
        let commit = put(Kind::Commit, format!("tree {root}\n\nx\n").into_bytes());
        (commit, inner, held)
    }

    #[test]
    fn a_way_leads_where_its_objects_say_and_nowhere_else() {
        let (commit, inner, held) = one();
        let read = |id: &ObjectId, kind, bytes_max| {
            let found = held.iter().find(|(known, known_kind, _)| known == id && *known_kind == kind);
            let (_, _, bytes) = found.ok_or(ReadError::Missing)?;
            match bytes.len() as u64 > bytes_max {
                true => Err(ReadError::TooLarge(bytes.len() as u64)),
                false => Ok(bytes.clone()),
            }
        };
        let way = Walk::new(read).way(&commit, &path("a/b"));
        assert_eq!((way.len(), leads(&way, &commit, &path("a/b"))), (3, Some(inner)));
        for elsewhere in ["a", "a/b/x", "b/a", "z", "nobody"] {
            assert_eq!(leads(&way, &commit, &path(elsewhere)), None, "{elsewhere}");
        }
        assert_eq!(leads(&way, &inner, &path("a/b")), None, "another commit");
        assert_eq!(leads(&way[..2], &commit, &path("a/b")), None);
        assert_eq!(leads(&[], &commit, &path("a/b")), None);
        for (object, byte) in [(0, 7), (1, 9), (2, 9)] {
            let mut forged = way.clone();
            forged[object][byte] ^= 1;
            assert_eq!(leads(&forged, &commit, &path("a/b")), None, "object {object}");
        }
        assert!(Walk::new(read).way(&commit, &path("a/b/x")).is_empty(), "a file is no directory");
        let nothing = |_: &ObjectId, _, _| Err(ReadError::Missing);
        assert!(Walk::new(nothing).way(&commit, &path("a/b")).is_empty());
        let endless = |_: &ObjectId, _, bytes_max| Err(ReadError::TooLarge(bytes_max + 1));
        assert!(Walk::new(endless).way(&commit, &path("a/b")).is_empty());
    }
}
