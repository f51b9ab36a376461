//! The description that stands beside every published directory: which release it is, which files it has, and how the file system
//! knew them when they were published.
//!
//! Two checks go by it. The cheap one compares what the file system says of every file and directory (inode, size, mode, times of
//! change) with what it said then: whatever was changed, added or taken away shows in it, also where a time was set back, since
//! nobody can choose the time of the last change of state. Where that differs, as it does in a copied cache, the whole
//! content is read and compared with the digests; and since the list of a Git directory is nobody's promise, its files are folded
//! back to the id of their tree, and the objects that lead from the promised commit to that tree are looked at again: the
//! description stands between files and commit and is believed by neither. Never changes a file that it looks at.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use catalogue_schema::digest::{Digest, unhex};
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{CommitId, Location, Revision};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::api::files::{Changed, FileChange, FileLine, FilesRow, Found};
use crate::fetch::git::object_id;
use crate::fetch::object::{Kind, ObjectId};
use crate::fetch::way;
use crate::materialize::plan::{Piece, Plan};
use crate::materialize::stage::{DIRECTORY, EXECUTABLE, FILE};

/// The schema of a description.
pub const SCHEMA: &str = "resolverd/files@1";

/// What is remembered of a published directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// [`SCHEMA`].
    pub schema: String,
    /// The release, as `id@version`.
    pub release: String,
    /// What the generation promised about it.
    pub promise: Digest,
    /// The digest over its files, which names the directory.
    pub content: Digest,
    /// The Git object id of the directory, where it is one.
    pub tree: Option<CommitId>,
    /// The objects that prove that its commit has that directory, in hexadecimal digits, see [`way`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub way: Vec<String>,
    /// Its files, by path.
    pub files: Vec<FileLine>,
    /// Its `compose.yaml`.
    pub compose: Option<DocPath>,
    /// Its `lcp.toml`.
    pub descriptor: Option<DocPath>,
    /// How the file system knew all that.
    pub stamps: Vec<Stamp>,
}

/// How the file system knows one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Its path in the directory, empty for the directory itself.
    path: String,
    inode: u64,
    size: u64,
    mode: u32,
    /// Seconds and nanoseconds of the last change of the content.
    modified: (i64, i64),
    /// Seconds and nanoseconds of the last change of the state.
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &str, found: &Metadata) -> Stamp {
        Stamp {
            path: path.to_owned(),
            inode: found.ino(),
            size: found.size(),
            mode: found.mode(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// Returns the digest over files, which names a directory that holds exactly these.
///
/// **Shape**: SHA-256 over lines `100644 sha256:… path`, sorted by path; `100755` where the file may be executed.
pub fn content(files: &[FileLine]) -> Digest {
    let mode = |file: &FileLine| if file.executable { "100755" } else { "100644" };
    let lines = files.iter().map(|file| format!("{} {} {}\n", mode(file), file.digest, file.path));
    Digest::sha256(lines.collect::<String>().as_bytes())
}

impl About {
    /// Returns the answer about it.
    pub fn row(&self, directory: &Path, from: Found) -> FilesRow {
        FilesRow {
            release: self.release.clone(),
            directory: directory.display().to_string(),
            integrity: self.content.clone(),
            tree: self.tree.clone(),
            files: self.files.clone(),
            compose: self.compose.clone(),
            descriptor: self.descriptor.clone(),
            archive: None,
            archive_bytes: None,
            from,
        }
    }

    /// Tells whether it describes the directory that it names.
    pub fn is_sound(&self) -> bool {
        content(&self.files) == self.content
    }

    /// Tells whether it describes what `plan` promises, file by file; the error says what it describes instead.
    pub fn keeps(&self, plan: &Plan) -> Result<(), String> {
        if !self.is_sound() {
            return Err(format!("a list of files that is not the one of {}", self.content));
        }
        let known: BTreeMap<&str, &FileLine> =
            self.files.iter().map(|file| (file.path.as_text(), file)).collect();
        let mut absent = 0;
        for piece in &plan.pieces {
            let Some(file) = known.get(piece.path.as_text()) else {
                if piece.is_optional {
                    absent += 1;
                    continue;
                }
                return Err(format!("a list without {}", piece.path));
            };
            let is_same = piece.digest.as_ref().is_none_or(|digest| is_met(digest, file))
                && piece.blob.as_ref().is_none_or(|blob| file.blob.as_ref() == Some(blob))
                && piece.size.is_none_or(|size| size == file.size);
            if !is_same {
                return Err(format!("{} with {}, which is not what is promised", piece.path, file.digest));
            }
        }
        // A directory and an archive may hold more than was known before.
        let is_whole_list = plan.tree.is_none() && plan.archive.is_none();
        match is_whole_list && known.len() + absent != plan.pieces.len() {
            true => Err(format!("{} files instead of {}", known.len(), plan.pieces.len() - absent)),
            false => Ok(()),
        }
    }

    /// Tells whether the files in `directory` are those of the Git directory that `plan` promises, by nothing but the promise, the
    /// bytes, and objects that hash to their ids; the error says what they are instead.
    pub fn is_proven(&self, directory: &Path, plan: &Plan) -> Result<(), String> {
        // A few files of a directory fold into no tree; what they say is only where to look.
        let Some(promised) = plan.tree.as_ref().filter(|tree| tree.descriptors.is_none()) else {
            return Ok(());
        };
        let Location::Git { revision: Revision::Commit(commit), path, .. } = &promised.location else {
            return Err("no commit to hold them against".to_owned());
        };
        let way: Option<Vec<Vec<u8>>> = self.way.iter().map(|object| unhex(object)).collect();
        let led = ObjectId::parse(commit.as_text())
            .zip(way)
            .and_then(|(commit, way)| way::leads(&way, &commit, path))
            .ok_or_else(|| format!("no objects that lead from commit {commit} to {path}"))?;
        let blob = |file: &FileLine| {
            let bytes = read(&directory.join(file.path.as_text()), file.size).ok()?;
            object_id(Kind::Blob, &bytes)
        };
        // A document that lies elsewhere in the repository is promised by its own digest, and is no part of the tree.
        let is_apart = |file: &&FileLine| {
            let is_it = |piece: &Piece| piece.path == file.path && piece.digest.is_some();
            file.blob.is_none() && plan.pieces.iter().any(is_it)
        };
        let files = self.files.iter().filter(|file| !is_apart(file));
        let files = files.map(|file| Some((&file.path, blob(file)?, file.executable)));
        let folded = files.collect::<Option<Vec<_>>>().and_then(way::fold);
        match folded {
            Some(found) if found == led => Ok(()),
            Some(found) => Err(format!("files of tree {found}, where commit {commit} has {led}")),
            None => Err("files that are no tree".to_owned()),
        }
    }

    /// Tells whether the file system knows every entry of `directory` as it did when it was published.
    pub fn is_untouched(&self, directory: &Path) -> bool {
        !self.stamps.is_empty() && stamps(directory, &self.files).is_ok_and(|found| found == self.stamps)
    }
}

/// Returns how the file system knows a directory that holds `files`: itself, every directory below it, every file.
///
/// **Errors**: the system's; one of them is missing.
pub fn stamps(directory: &Path, files: &[FileLine]) -> io::Result<Vec<Stamp>> {
    let mut paths: BTreeMap<&str, ()> = BTreeMap::from([("", ())]);
    for file in files {
        let text = file.path.as_text();
        paths.extend(text.match_indices('/').map(|(at, _)| (&text[..at], ())));
        paths.insert(text, ());
    }
    paths.into_keys().map(|path| Ok(Stamp::of(path, &fs::symlink_metadata(directory.join(path))?))).collect()
}

/// Tells whether a file has the digest that is promised; one of another algorithm was compared when the file was written.
fn is_met(digest: &Digest, file: &FileLine) -> bool {
    digest.algorithm() != file.digest.algorithm() || *digest == file.digest
}

/// Reads everything below `directory` and returns what is not as `files` say, sorted; nothing where all is well. What is there and
/// cannot be read is one of these.
pub fn changes(directory: &Path, files: &[FileLine]) -> Vec<FileChange> {
    let mut expected: BTreeMap<&str, &FileLine> =
        files.iter().map(|file| (file.path.as_text(), file)).collect();
    let mut directories: BTreeMap<&str, ()> = BTreeMap::new();
    for file in files {
        let text = file.path.as_text();
        directories.extend(text.match_indices('/').map(|(at, _)| (&text[..at], ())));
    }
    let mut found = Vec::new();
    match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return vec![FileChange { path: String::new(), what: Changed::Missing }];
        }
        Err(_) => return vec![FileChange { path: String::new(), what: Changed::Unreadable }],
        Ok(metadata) if !metadata.is_dir() => {
            return vec![FileChange { path: String::new(), what: Changed::Mode }];
        }
        Ok(metadata) if !is_closed(&metadata, DIRECTORY) => {
            found.push(FileChange { path: String::new(), what: Changed::Mode });
        }
        Ok(_) => {}
    }
    let mut open = vec![String::new()];
    while let Some(below) = open.pop() {
        let Ok(entries) = fs::read_dir(directory.join(&below)) else {
            expected.retain(|path, _| !is_below(path, &below));
            found.push(FileChange { path: below, what: Changed::Unreadable });
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            let Ok(metadata) = entry.metadata() else { continue };
            let what = if metadata.is_dir() {
                let is_ours = directories.contains_key(path.as_str());
                if is_ours {
                    open.push(path.clone());
                }
                match (is_ours, is_closed(&metadata, DIRECTORY)) {
                    (false, _) => Some(Changed::Added),
                    (true, false) => Some(Changed::Mode),
                    (true, true) => None,
                }
            } else {
                match expected.remove(path.as_str()) {
                    None => Some(Changed::Added),
                    Some(file) => difference(&entry.path(), &metadata, file),
                }
            };
            found.extend(what.map(|what| FileChange { path, what }));
        }
    }
    let missing = expected.into_keys();
    found.extend(missing.map(|path| FileChange { path: path.to_owned(), what: Changed::Missing }));
    found.sort();
    found
}

fn is_below(path: &str, directory: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// Tells whether an entry has the mode with which it was published, and is this user's: another owner may give it another mode.
fn is_closed(found: &Metadata, mode: u32) -> bool {
    found.mode() & 0o7777 == mode && found.uid() == rustix::process::geteuid().as_raw()
}

fn difference(place: &Path, found: &Metadata, file: &FileLine) -> Option<Changed> {
    let mode = if file.executable { EXECUTABLE } else { FILE };
    if !found.is_file() {
        return Some(Changed::Mode);
    }
    let Ok(bytes) = read(place, file.size) else { return Some(Changed::Unreadable) };
    if found.size() != file.size || Digest::sha256(&bytes) != file.digest {
        return Some(Changed::Changed);
    }
    (!is_closed(found, mode)).then_some(Changed::Mode)
}

/// Reads a regular file of at most `bytes_max` bytes and one more; never follows a link and never waits for a fifo.
///
/// **Errors**: the system's.
pub fn read(place: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file: File = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(place)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;
    use crate::materialize::stage::{Stage, remove};

    /// A published directory with three files.
    fn published(trees: &Path) -> (PathBuf, About) {
        let mut stage = Stage::new(trees).expect("a stage");
        for name in ["compose.yaml", "lib/run.sh", "lib/note.txt"] {
            let path = DocPath::parse(name).expect("a path");
            let digest = Digest::sha256(name.as_bytes());
            stage.put(&path, None, name.ends_with(".sh"), (name.as_bytes(), digest)).expect("written");
        }
        let files = stage.files();
        let place = trees.join("one");
        assert!(stage.publish(&place).expect("published"));
        let about = About {
            schema: SCHEMA.to_owned(),
            release: "lcod://a/b@1.0.0".to_owned(),
            promise: Digest::sha256(b"promise"),
            content: content(&files),
            tree: None,
            way: Vec::new(),
            stamps: stamps(&place, &files).expect("stamps"),
            files,
            compose: None,
            descriptor: None,
        };
        (place, about)
    }

    fn opened(place: &Path) {
        for entry in ["", "lib"] {
            fs::set_permissions(place.join(entry), Permissions::from_mode(0o755)).expect("opened");
        }
    }

    fn closed(place: &Path) {
        for entry in ["lib", ""] {
            fs::set_permissions(place.join(entry), Permissions::from_mode(0o555)).expect("closed");
        }
    }

    #[test]
    fn whatever_is_done_to_a_directory_is_seen_by_both_checks() {
        type Act = fn(&Path);
        let check = |what: &str, act: Act, expected: &[(&str, Changed)]| {
            let trees = tempfile::tempdir().expect("a directory");
            let (place, about) = published(trees.path());
            assert!(about.is_untouched(&place), "{what}");
            assert_eq!(changes(&place, &about.files), [], "{what}");
            opened(&place);
            act(&place);
            closed(&place);
            assert!(!about.is_untouched(&place), "{what}: the cheap check sees it");
            let found = changes(&place, &about.files);
            let expected: Vec<FileChange> = expected
                .iter()
                .map(|(path, what)| FileChange { path: (*path).to_owned(), what: *what })
                .collect();
            assert_eq!(found, expected, "{what}");
            remove(&place).expect("removed");
        };
        fn rewrite(place: &Path, bytes: &[u8]) {
            let _ = fs::set_permissions(place, Permissions::from_mode(0o644));
            fs::write(place, bytes).expect("written");
            fs::set_permissions(place, Permissions::from_mode(0o444)).expect("closed");
        }
        check(
            "another byte",
            |place| rewrite(&place.join("compose.yaml"), b"compose.yamL"),
            &[("compose.yaml", Changed::Changed)],
        );
        check(
            "a byte more",
            |place| rewrite(&place.join("lib/note.txt"), b"lib/note.txt!"),
            &[("lib/note.txt", Changed::Changed)],
        );
        check(
            "the time set back",
            |place| {
                let file = place.join("compose.yaml");
                let time = fs::metadata(&file).and_then(|found| found.modified()).expect("a time");
                rewrite(&file, b"compose.yamL");
                File::open(&file).and_then(|file| file.set_modified(time)).expect("set back");
            },
            &[("compose.yaml", Changed::Changed)],
        );
        check(
            "a file more",
            |place| rewrite(&place.join("lib/lcp.lock"), b""),
            &[("lib/lcp.lock", Changed::Added)],
        );
        check(
            "a directory more",
            |place| fs::create_dir(place.join("x")).expect("made"),
            &[("x", Changed::Added)],
        );
        check(
            "a file less",
            |place| fs::remove_file(place.join("lib/note.txt")).expect("gone"),
            &[("lib/note.txt", Changed::Missing)],
        );
        check(
            "a link in its place",
            |place| {
                let file = place.join("compose.yaml");
                fs::rename(&file, place.join("moved")).expect("moved");
                std::os::unix::fs::symlink("moved", &file).expect("linked");
            },
            &[("compose.yaml", Changed::Mode), ("moved", Changed::Added)],
        );
        check(
            "a mode",
            |place| {
                fs::set_permissions(place.join("lib/run.sh"), Permissions::from_mode(0o4755)).expect("set");
            },
            &[("lib/run.sh", Changed::Mode)],
        );
        check("nothing but its times", |place| rewrite(&place.join("compose.yaml"), b"compose.yaml"), &[]);
    }

    #[test]
    fn a_directory_that_is_gone_is_missing() {
        let trees = tempfile::tempdir().expect("a directory");
        let (place, about) = published(trees.path());
        remove(&place).expect("removed");
        assert!(!about.is_untouched(&place));
        let found = changes(&place, &about.files);
        assert_eq!(found, [FileChange { path: String::new(), what: Changed::Missing }]);
    }

    #[test]
    fn the_digest_names_paths_modes_and_bytes() {
        let line = |path: &str, bytes: &[u8], executable: bool| FileLine {
            path: DocPath::parse(path).expect("a path"),
            digest: Digest::sha256(bytes),
            blob: None,
            size: bytes.len() as u64,
            executable,
        };
        let all = [
            content(&[line("a", b"x", false)]),
            content(&[line("b", b"x", false)]),
            content(&[line("a", b"y", false)]),
            content(&[line("a", b"x", true)]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(one), "{at}");
        }
    }
}
