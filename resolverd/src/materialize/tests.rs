//! The cache as its callers meet it: once for everybody, never half, never changed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
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

#[expect(clippy::disallowed_methods, reason = "files are dated by the clock")]
fn tomorrow() -> SystemTime {
    SystemTime::now() + Duration::from_secs(86400)
}

fn everything() -> Collection {
    Collection { unused_s: 0, views: true, ..Collection::default() }
}

#[test]
fn a_room_that_leads_elsewhere_is_neither_read_nor_cleared() {
    for room in ["", "trees", "about", "holds", "views"] {
        let place = Place::new();
        let plan = plan("x");
        place.one(&plan, Fetching::Allowed).expect("a row");
        let elsewhere = tempfile::tempdir().expect("a directory");
        let root = place.directory.path().join("files");
        let precious: Vec<PathBuf> = [&*"f".repeat(64), "precious", ".tmp-work", "trees", "views"]
            .map(|name| elsewhere.path().join(name).join("thesis.txt"))
            .into();
        for file in &precious {
            fs::create_dir_all(file.parent().expect("one")).expect("made");
            fs::write(file, b"years").expect("written");
        }
        let at = if room.is_empty() { root.clone() } else { root.join(room) };
        let away = place.directory.path().join("away");
        fs::rename(&at, &away).expect("moved");
        std::os::unix::fs::symlink(elsewhere.path(), &at).expect("linked");
        assert!(place.cache.sweep().is_err(), "{room}");
        assert!(place.cache.collect(&everything(), tomorrow()).is_err(), "{room}");
        assert!(place.cache.verify(&[]).is_err(), "{room}");
        assert!(place.cache.all_holds().is_err() && place.cache.all_views().is_err(), "{room}");
        for fetching in [Fetching::Allowed, Fetching::Forbidden] {
            assert_eq!(place.one(&plan, fetching).expect_err("a link").reason, "cache.unusable", "{room}");
        }
        assert!(precious.iter().all(|file| file.is_file()), "{room}");
        assert_eq!(fs::read_dir(elsewhere.path()).expect("listed").count(), precious.len(), "{room}");
        stage::remove(&away).expect("removed");
    }
}

#[test]
fn a_room_of_another_user_is_not_answered_from() {
    // Only root may give a directory away.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for room in ["", "trees", "about"] {
        let place = Place::new();
        let plan = plan("x");
        let row = place.one(&plan, Fetching::Allowed).expect("a row");
        let root = place.directory.path().join("files");
        std::os::unix::fs::chown(root.join(room), Some(65534), None).expect("given away");
        assert_eq!(
            place.one(&plan, Fetching::Forbidden).expect_err("planted").reason,
            "cache.unusable",
            "{room}"
        );
        std::os::unix::fs::chown(root.join(room), Some(0), None).expect("taken back");
        // What was planted in it counts as changed, or as not there.
        let file = Path::new(&row.directory).join("lcp.toml");
        std::os::unix::fs::chown(&file, Some(65534), None).expect("given away");
        assert_eq!(place.one(&plan, Fetching::Forbidden).expect_err("planted").reason, CHANGED, "{room}");
    }
}

#[test]
fn a_room_that_others_may_write_in_is_closed_again() {
    let place = Place::new();
    let plan = plan("x");
    place.one(&plan, Fetching::Allowed).expect("a row");
    let root = place.directory.path().join("files");
    for room in ["", "trees", "about", "holds", "views"] {
        fs::set_permissions(root.join(room), Permissions::from_mode(0o777)).expect("opened");
    }
    place.one(&plan, Fetching::Forbidden).expect("in the cache");
    for room in ["", "trees", "about", "holds", "views"] {
        let mode = fs::metadata(root.join(room)).expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o700, "{room}");
    }
}

#[test]
fn a_description_that_was_changed_with_its_files_is_not_believed() {
    type Act = fn(&mut About, &Path);
    let check = |what: &str, is_found_by_verify: bool, act: Act| {
        let place = Place::new();
        let piece = |name: &str| Piece {
            path: DocPath::parse(name).expect("a path"),
            digest: Some(Digest::sha256(format!("bytes of {name}").as_bytes())),
            blob: Some(blob(name)),
            size: Some(format!("bytes of {name}").len() as u64),
            executable: false,
            want: None,
        };
        let plan = Plan { pieces: vec![piece("compose.yaml"), piece("lcp.toml")], ..plan("x") };
        let row = place.one(&plan, Fetching::Allowed).expect("a row");
        let mut about = place.cache.about(&plan.promise).expect("described");
        act(&mut about, Path::new(&row.directory));
        about.stamps.clear();
        place.cache.describe(&about).expect("written");
        assert_eq!(place.one(&plan, Fetching::Forbidden).expect_err(what).reason, CHANGED, "{what}");
        let rows = place.cache.verify(&[]).expect("read");
        assert_eq!(!rows[0].changes.is_empty(), is_found_by_verify, "{what}");
        let mended = place.one(&plan, Fetching::Allowed).expect("fetched again");
        assert_eq!((mended.from, &mended.integrity), (Found::Fetched, &row.integrity), "{what}");
        assert_eq!(
            fs::read(Path::new(&mended.directory).join("lcp.toml")).expect("read"),
            b"bytes of lcp.toml"
        );
    };
    check("another file under the same name", true, |about, directory| {
        rewrite(&directory.display().to_string(), "lcp.toml");
        let file = directory.join("lcp.toml");
        fs::set_permissions(file, Permissions::from_mode(0o444)).expect("closed");
        about.files[1].digest = Digest::sha256(b"something else");
        about.files[1].size = 14;
    });
    check("another directory of good shape", false, |about, directory| {
        let trees = directory.parent().expect("one");
        about.files[1].digest = Digest::sha256(b"something else");
        about.files[1].size = 14;
        about.content = about::content(&about.files);
        let mut stage = stage::Stage::new(trees).expect("a stage");
        for (file, bytes) in about.files.iter().zip([&b"bytes of compose.yaml"[..], b"something else"]) {
            stage.put(&file.path, None, false, (bytes, file.digest.clone())).expect("written");
        }
        assert!(stage.publish(&trees.join(about.content.hex())).expect("published"));
    });
}

#[test]
fn what_is_no_file_of_ours_stops_nobody_and_is_named() {
    let place = Place::new();
    let plan = plan("x");
    place.one(&plan, Fetching::Allowed).expect("a row");
    place.cache.hold("a lock", &[(plan.release.clone(), plan.promise.clone())]).expect("held");
    let root = place.directory.path().join("files");
    let name = "f".repeat(64);
    for room in ["holds", "about"] {
        let fifo = root.join(room).join(&name);
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("made");
        fs::write(root.join(room).join("e".repeat(64)), b"").expect("written");
    }
    for room in ["trees", "views"] {
        fs::write(root.join(room).join("stray"), b"mine").expect("written");
        fs::create_dir(root.join(room).join("thesis")).expect("made");
        std::os::unix::fs::symlink("/", root.join(room).join(&name)).expect("linked");
    }
    assert_eq!(place.cache.verify(&[]).expect("read").len(), 1);
    assert_eq!(place.cache.all_holds().expect("listed").len(), 1);
    let told = place.cache.collect(&everything(), tomorrow()).expect("collected");
    assert_eq!((told.kept, told.held, told.views), (1, 1, 0));
    assert_eq!(told.skipped.len(), 10, "{:#?}", told.skipped);
    assert_eq!(told.skipped, place.cache.strangers().expect("listed"), "nothing of it went");
}

#[test]
fn a_link_or_a_file_in_the_place_of_a_release_heals() {
    type Plant = fn(&Path, &Path);
    let plants: [Plant; 2] = [
        |place, elsewhere| std::os::unix::fs::symlink(elsewhere, place).expect("linked"),
        |place, _| fs::write(place, b"x").expect("written"),
    ];
    for plant in plants {
        let place = Place::new();
        let plan = plan("x");
        let row = place.one(&plan, Fetching::Allowed).expect("a row");
        let elsewhere = tempfile::tempdir().expect("a directory");
        fs::write(elsewhere.path().join("canary"), b"stays").expect("written");
        stage::remove(Path::new(&row.directory)).expect("removed");
        plant(Path::new(&row.directory), elsewhere.path());
        assert_eq!(place.one(&plan, Fetching::Forbidden).expect_err("changed").reason, CHANGED);
        let mended = place.one(&plan, Fetching::Allowed).expect("fetched again");
        assert_eq!((mended.from, &mended.directory), (Found::Fetched, &row.directory));
        assert!(place.cache.verify(&[]).expect("read")[0].changes.is_empty());
        assert!(elsewhere.path().join("canary").is_file());
    }
}
