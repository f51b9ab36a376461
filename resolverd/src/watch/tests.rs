//! Ways, debouncing, and real edits as real editors make them.

#![allow(clippy::unwrap_used)]
use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// Builds a tree from words (`dir/`, `file`, `link>target`) and returns the way to `path` below it.
fn check_way(tree: &str, path: &str, expected: &str) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    for word in tree.split_whitespace() {
        match (word.split_once('>'), word.strip_suffix('/')) {
            (Some((link, target)), _) => symlink(target, root.join(link)).unwrap(),
            (None, Some(directory)) => fs::create_dir_all(root.join(directory)).unwrap(),
            (None, None) => fs::write(root.join(word), word).unwrap(),
        }
    }
    let found: Vec<String> = way(&root.join(path))
        .iter()
        .map(|step| step.strip_prefix(&root).unwrap_or(step).display().to_string())
        .collect();
    assert_eq!(found.join(" "), expected, "{tree}: {path}");
}

#[test]
fn a_way_names_each_place_at_which_a_change_may_lead_elsewhere() {
    check_way("file", "file", "file");
    check_way("d/ d/file", "d/file", "d/file");
    check_way("", "file", "file");
    check_way("", "a/b/c", "a");
    check_way("a/", "a/b/c", "a/b");
    check_way("file", "file/x", "file");
    check_way("real link>real", "link", "link real");
    check_way("link>gone", "link", "link gone");
    check_way("a/ a/up>../file file", "a/up", "a/up file");
    // The way in which a mounted configuration map is replaced.
    check_way("v1/ v1/s ..data>v1 s>..data/s", "s", "s ..data v1/s");
    check_way("x>x", "x", &["x"; LINKS_MAX + 1].join(" "));
}

#[test]
fn edits_are_gathered_until_it_is_quiet() {
    let start = Instant::now();
    let ms = Duration::from_millis;
    let check = |hints: &[u64], expected: Option<u64>| {
        let mut gathering = Gathering::default();
        for at in hints {
            gathering.hint(start + ms(*at));
        }
        assert_eq!(gathering.done(), expected.map(|at| start + ms(at)), "{hints:?}");
    };
    check(&[], None);
    check(&[0], Some(250));
    check(&[0, 200, 400], Some(650));
    check(&[100, 1_000, 1_900, 2_050], Some(2_100));
}

fn source(id: &str) -> SourceId {
    SourceId::parse(id).unwrap()
}

/// Starts to watch the file `sources.json` as configuration and `c.json` for a source; returns what becomes of edits.
struct Edits {
    directory: tempfile::TempDir,
    orders: Receiver<Order>,
    _watch: Watch,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Edits {
    fn watching(prepare: impl FnOnce(&Path)) -> Edits {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("c.json"), "1").unwrap();
        prepare(directory.path());
        let (sender, orders) = channel();
        let watch = Watch::start(sender).unwrap();
        let mut watched = Watched::default();
        watched.add_configuration(&directory.path().join("conf/sources.json"));
        watched.add(directory.path().join("c.json"), Reader::Source(source("a")));
        // Everything that is there counts as edited, so that the first order tells when the watch has begun.
        watch.set(watched, UNIX_EPOCH);
        let edits = Edits { directory, orders, _watch: watch };
        edits.order();
        edits
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Waits for one order and says what it is.
    fn order(&self) -> String {
        match self.orders.recv_timeout(PATIENCE).unwrap() {
            Order::Reload { .. } => "reload".to_owned(),
            Order::Sync { sources, .. } => format!("sync {}", sources[0]),
            other => format!("{other:?}"),
        }
    }
}

fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

#[test]
fn a_file_that_is_written_replaced_or_removed_was_edited() {
    let edits = Edits::watching(|root| {
        fs::create_dir(root.join("conf")).unwrap();
        fs::write(root.join("conf/sources.json"), "1").unwrap();
    });
    fs::write(edits.path("conf/sources.json"), "2 in place").unwrap();
    assert_eq!(edits.order(), "reload");
    replace(&edits.path("conf/sources.json"), "3");
    assert_eq!(edits.order(), "reload");
    replace(&edits.path("c.json"), "2");
    assert_eq!(edits.order(), "sync a");
    fs::remove_file(edits.path("c.json")).unwrap();
    assert_eq!(edits.order(), "sync a");
}

#[test]
fn a_directory_that_appears_later_or_is_replaced_is_noticed() {
    let edits = Edits::watching(|_| {});
    fs::create_dir(edits.path("conf")).unwrap();
    fs::write(edits.path("conf/sources.json"), "1").unwrap();
    assert_eq!(edits.order(), "reload");
    fs::create_dir(edits.path("conf.new")).unwrap();
    fs::write(edits.path("conf.new/sources.json"), "2").unwrap();
    fs::rename(edits.path("conf"), edits.path("conf.old")).unwrap();
    fs::rename(edits.path("conf.new"), edits.path("conf")).unwrap();
    assert_eq!(edits.order(), "reload");
    fs::write(edits.path("conf/sources.json"), "3 after that").unwrap();
    assert_eq!(edits.order(), "reload");
}

#[test]
fn a_link_that_is_swapped_was_an_edit() {
    let edits = Edits::watching(|root| {
        for version in ["v1", "v2"] {
            fs::create_dir_all(root.join("conf").join(version)).unwrap();
            fs::write(root.join("conf").join(version).join("sources.json"), version).unwrap();
        }
        symlink("v1", root.join("conf/..data")).unwrap();
        symlink("..data/sources.json", root.join("conf/sources.json")).unwrap();
    });
    symlink("v2", edits.path("conf/..fresh")).unwrap();
    fs::rename(edits.path("conf/..fresh"), edits.path("conf/..data")).unwrap();
    assert_eq!(edits.order(), "reload");
    fs::write(edits.path("conf/v2/sources.json"), "edited behind the links").unwrap();
    assert_eq!(edits.order(), "reload");
}

#[test]
fn reading_and_writing_elsewhere_start_nothing() {
    let edits = Edits::watching(|root| {
        fs::create_dir(root.join("conf")).unwrap();
        fs::write(root.join("conf/sources.json"), "1").unwrap();
    });
    for _ in 0..50 {
        fs::read(edits.path("conf/sources.json")).unwrap();
        fs::write(edits.path("conf/other"), "x").unwrap();
    }
    // The edit behind all that is the first order.
    replace(&edits.path("c.json"), "2");
    assert_eq!(edits.order(), "sync a");
    assert!(edits.orders.try_recv().is_err());
}

#[test]
fn a_file_that_changed_while_it_was_read_counts_as_edited() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.json");
    fs::write(&file, "1").unwrap();
    let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(file.metadata().unwrap().ctime()).unwrap());
    let check = |since: SystemTime, expected: bool| {
        let (sender, _orders) = channel();
        let mut watching = Watching::new(None, sender);
        let mut watched = Watched::default();
        watched.add_configuration(&file);
        assert_eq!(watching.set(watched.clone(), since), expected, "{since:?}");
        assert!(!watching.set(watched, since), "once");
    };
    check(changed - Duration::from_secs(9), true);
    check(changed + Duration::from_secs(9), false);
}

#[test]
fn a_repository_is_watched_where_its_branch_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let check = |revision: &Revision, expected: &[&str]| {
        let found = ref_files(root, revision);
        let expected: Vec<PathBuf> = expected.iter().map(|name| root.join(name)).collect();
        assert_eq!(found, expected, "{revision:?}");
    };
    check(&Revision::Head, &[".git", "HEAD"]);
    fs::write(root.join("HEAD"), "ref: refs/heads/trunk\n").unwrap();
    check(&Revision::Head, &["HEAD", "refs/heads/trunk", "packed-refs"]);
    fs::write(root.join("HEAD"), "ref: refs/../../outside\n").unwrap();
    check(&Revision::Head, &["HEAD", "packed-refs"]);
    fs::create_dir(root.join(".git")).unwrap();
    let main = Revision::Ref(catalogue_schema::pointer::RefName::parse("main").unwrap());
    check(&main, &[".git/refs/heads/main", ".git/refs/tags/main", ".git/packed-refs"]);
}
