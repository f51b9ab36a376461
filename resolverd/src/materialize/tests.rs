//! The cache as its callers meet it: once for everybody, never half, never changed.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::LocalPath;
use catalogue_schema::pointer::{CommitId, Location, Repository, Revision};

use super::collect::Collection;
use super::plan::{Directory, Piece};
use super::*;
use crate::api::files::Changed;
use crate::fetch::limit::Budget;
use crate::fetch::reach::Reach;
use crate::fetch::{Answer, Ask, FetchError, Fetched};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// An origin that counts what it is asked for. Listings and files are those of one directory.
#[derive(Default)]
struct Counted {
    asked: AtomicUsize,
    /// Files that arrive otherwise than the listing says.
    is_lying: bool,
}

fn blob(name: &str) -> CommitId {
    let digits = Digest::sha256(name.as_bytes()).hex();
    CommitId::parse(&digits[..40]).expect("an id")
}

impl Fetch for Counted {
    fn fetch(&self, asks: &[Ask<'_>], budget: &Budget) -> Vec<Result<Answer, FetchError>> {
        self.asked.fetch_add(asks.len(), Ordering::Relaxed);
        let answer = |ask: &Ask<'_>| {
            let (bytes, id) = match ask.want {
                Want::Tree { location: Location::Git { path, .. }, .. } => {
                    let line = |name: &str| format!("100644 blob {} {path}/{name}\n", blob(name));
                    (["compose.yaml", "lcp.toml"].map(line).concat(), blob("tree"))
                }
                Want::Blob(Location::Git { path, .. }) => {
                    let name = path.segments().next_back().unwrap_or_default();
                    let id = if self.is_lying { blob("another") } else { blob(name) };
                    (format!("bytes of {name}"), id)
                }
                other => panic!("{other}"),
            };
            budget.take_bytes(bytes.len() as u64, ask.want)?;
            let (url, bytes) = (String::new(), bytes.into_bytes());
            Ok(Answer::Fetched(Fetched {
                bytes,
                url,
                commit: None,
                blob: Some(id),
                etag: None,
                modified: None,
            }))
        };
        asks.iter().map(answer).collect()
    }
}

fn plan(name: &str) -> Plan {
    let path = DocPath::parse(&format!("packages/{name}")).expect("a path");
    let location = Location::Git {
        repository: Repository::Local(LocalPath::parse("/repository").expect("a path")),
        revision: Revision::Commit(CommitId::parse(COMMIT).expect("an id")),
        path: path.clone(),
    };
    Plan {
        release: format!("lcod://a/{name}@1.0.0"),
        promise: Digest::sha256(name.as_bytes()),
        pieces: Vec::new(),
        is_recorded: false,
        tree: Some(Directory { location, path }),
        compose: None,
        descriptor: None,
        reach: Reach::default(),
        is_offline: false,
    }
}

fn tools<'a>(origins: &'a Counted, limits: &'a Limits, fetching: Fetching) -> Tools<'a> {
    Tools { origins, shelf: &|_| None, recorded: &|_| None, limits, fetching }
}

struct Place {
    directory: tempfile::TempDir,
    cache: Cache,
    limits: Limits,
    origins: Counted,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::below(directory.path(), Access::Owner);
        Place { directory, cache, limits: Limits::default(), origins: Counted::default() }
    }

    fn one(&self, plan: &Plan, fetching: Fetching) -> Outcome {
        let tools = tools(&self.origins, &self.limits, fetching);
        self.cache.provide(std::slice::from_ref(plan), &tools).pop().expect("an answer")
    }

    fn asked(&self) -> usize {
        self.origins.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nobody may write in what was published, so that it has to be opened first.
        let _ = stage::remove(&self.directory.path().join("files"));
    }
}

fn rewrite(directory: &str, name: &str) {
    let place = Path::new(directory).join(name);
    fs::set_permissions(&place, Permissions::from_mode(0o644)).expect("opened");
    fs::write(&place, b"something else").expect("written");
}

#[test]
fn whoever_asks_for_one_release_at_the_same_time_shares_one_piece_of_work() {
    let place = Place::new();
    let plan = plan("x");
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..50).map(|_| scope.spawn(|| place.one(&plan, Fetching::Allowed))).collect();
        let rows: Vec<FilesRow> =
            asking.into_iter().map(|one| one.join().expect("no panic").expect("a row")).collect();
        assert!(rows.iter().all(|row| row.directory == rows[0].directory && row.files == rows[0].files));
    });
    assert_eq!(place.asked(), 3, "one listing and two files");
    let again = place.one(&plan, Fetching::Forbidden).expect("in the cache");
    assert_eq!((again.from, place.asked()), (Found::Cache, 3));
    assert_eq!(
        again.files.iter().map(|file| file.path.as_text()).collect::<Vec<_>>(),
        ["compose.yaml", "lcp.toml"]
    );
    assert_eq!(again.tree, Some(blob("tree")));
}

#[test]
fn equal_files_of_two_releases_lie_in_one_directory_and_one_request_visits_once() {
    let place = Place::new();
    let plans = [plan("x"), plan("y"), plan("x")];
    let rows = place.cache.provide(&plans, &tools(&place.origins, &place.limits, Fetching::Allowed));
    let rows: Vec<FilesRow> = rows.into_iter().collect::<Result<_, _>>().expect("rows");
    assert_eq!(rows[0].directory, rows[1].directory);
    assert_eq!(
        (rows[0].release.as_str(), rows[1].release.as_str()),
        ("lcod://a/x@1.0.0", "lcod://a/y@1.0.0")
    );
    assert_eq!(place.asked(), 6);
}

#[test]
fn what_was_changed_on_disk_is_fetched_again_or_refused() {
    let place = Place::new();
    let plan = plan("x");
    let row = place.one(&plan, Fetching::Allowed).expect("a row");
    rewrite(&row.directory, "lcp.toml");
    let refused = place.one(&plan, Fetching::Forbidden).expect_err("changed");
    assert_eq!(refused.reason, CHANGED);
    assert!(refused.found.contains("lcp.toml"), "{refused}");
    let changes = place.cache.verify(&[]).expect("read").remove(0).changes;
    assert_eq!((changes.len(), changes[0].path.as_str(), changes[0].what), (1, "lcp.toml", Changed::Changed));
    let mended = place.one(&plan, Fetching::Allowed).expect("fetched again");
    assert_eq!((mended.from, mended.directory.as_str()), (Found::Fetched, row.directory.as_str()));
    assert_eq!(fs::read(Path::new(&row.directory).join("lcp.toml")).expect("read"), b"bytes of lcp.toml");
    assert!(place.cache.verify(&[]).expect("read")[0].changes.is_empty());
}

#[test]
fn a_copied_cache_is_good_and_a_deleted_one_is_filled_again() {
    let place = Place::new();
    let plan = plan("x");
    let row = place.one(&plan, Fetching::Allowed).expect("a row");
    // Another inode and other times, the same bytes.
    let file = Path::new(&row.directory).join("lcp.toml");
    let open = |mode| fs::set_permissions(&row.directory, Permissions::from_mode(mode)).expect("set");
    open(0o755);
    fs::remove_file(&file).expect("removed");
    fs::write(&file, b"bytes of lcp.toml").expect("written");
    fs::set_permissions(&file, Permissions::from_mode(0o444)).expect("set");
    open(0o555);
    assert_eq!(place.one(&plan, Fetching::Forbidden).expect("good").from, Found::Cache);
    stage::remove(&place.directory.path().join("files")).expect("deleted");
    assert_eq!(place.one(&plan, Fetching::Forbidden).expect_err("gone").reason, "offline");
    assert_eq!(place.one(&plan, Fetching::Allowed).expect("fetched").from, Found::Fetched);
}

#[test]
fn what_is_refused_leaves_nothing_in_sight() {
    let mut place = Place::new();
    let good = plan("x");
    let check = |place: &Place, plan: &Plan, reason: &str| {
        let refused = place.one(plan, Fetching::Allowed).expect_err("refused");
        assert_eq!(refused.reason, reason, "{refused}");
        assert_eq!(fs::read_dir(place.cache.trees()).expect("listed").count(), 0, "{reason}");
        assert_eq!(place.one(plan, Fetching::Forbidden).expect_err("still not there").reason, "offline");
    };
    place.origins.is_lying = true;
    check(&place, &good, "trust.digest_mismatch");
    place.origins.is_lying = false;
    let file = |digest: Option<Digest>, size: Option<u64>| Piece {
        path: DocPath::parse("compose.yaml").expect("a path"),
        digest,
        blob: None,
        size,
        executable: false,
        want: None,
    };
    check(
        &place,
        &Plan { pieces: vec![file(Some(Digest::sha256(b"others")), None)], ..good.clone() },
        "trust.digest_mismatch",
    );
    let offline = Plan { is_offline: true, ..good.clone() };
    assert_eq!(place.one(&offline, Fetching::Allowed).expect_err("never fetched").reason, "offline");
    for (reason, limits) in [
        ("limit.release_files", Limits { release_files: 1, ..Limits::default() }),
        ("limit.release_bytes", Limits { release_bytes: 30, ..Limits::default() }),
        ("limit.file_bytes", Limits { file_bytes: 5, ..Limits::default() }),
    ] {
        place.limits = limits;
        check(&place, &good, reason);
    }
}

#[test]
fn one_bad_release_spoils_only_itself_in_a_request_of_many() {
    let place = Place::new();
    let lost = Plan {
        tree: None,
        pieces: vec![Piece {
            path: DocPath::parse("x").expect("a path"),
            digest: Some(Digest::sha256(b"x")),
            blob: None,
            size: None,
            executable: false,
            want: None,
        }],
        ..plan("lost")
    };
    let answers =
        place.cache.provide(&[plan("x"), lost], &tools(&place.origins, &place.limits, Fetching::Allowed));
    assert!(answers[0].is_ok());
    assert_eq!(answers[1].as_ref().expect_err("refused").reason, "shelf.missing");
}

#[test]
fn gc_removes_what_nobody_holds_and_nobody_asked_for_lately() {
    let place = Place::new();
    let (held, free) = (plan("held"), plan("free"));
    for plan in [&held, &free] {
        place.one(plan, Fetching::Allowed).expect("a row");
    }
    place.cache.hold("a lock", &[(held.release.clone(), held.promise.clone())]).expect("held");
    let collection = Collection { unused_s: 3600, ..Collection::default() };
    #[expect(clippy::disallowed_methods, reason = "files are dated by the clock")]
    let now = SystemTime::now();
    let soon = place.cache.collect(&collection, now).expect("collected");
    assert_eq!((soon.removed.len(), soon.kept, soon.held), (0, 2, 1), "both were asked for just now");
    let later = now + Duration::from_secs(7200);
    let dry = Collection { dry_run: true, ..collection.clone() };
    for collection in [&dry, &collection] {
        let gone = place.cache.collect(collection, later).expect("collected");
        assert_eq!((gone.removed.as_slice(), gone.kept), (&[free.release.clone()][..], 1));
    }
    assert_eq!(place.one(&free, Fetching::Forbidden).expect_err("gone").reason, "offline");
    place.one(&held, Fetching::Forbidden).expect("two releases shared one directory, and one is held");
    let ended = Collection { ended: vec!["a lock".to_owned()], ..collection };
    let gone = place.cache.collect(&ended, later).expect("collected");
    assert_eq!((gone.removed.as_slice(), gone.kept), (&[held.release.clone()][..], 0));
    assert!(place.cache.all_holds().expect("listed").is_empty());
    assert_eq!(fs::read_dir(place.cache.trees()).expect("listed").count(), 0);
}

#[test]
fn a_cache_of_somebody_else_s_making_is_not_written_to() {
    let place = Place::new();
    let elsewhere = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(elsewhere.path(), place.directory.path().join("files")).expect("linked");
    let refused = place.one(&plan("x"), Fetching::Allowed).expect_err("a link");
    assert_eq!(refused.reason, "cache.unusable");
    assert_eq!(fs::read_dir(elsewhere.path()).expect("listed").count(), 0);
}
