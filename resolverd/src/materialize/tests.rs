//! The cache as its callers meet it: once for everybody, never half, never changed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{CommitId, Location, Repository, Revision};
use catalogue_schema::pointer::{HttpsUrl, LocalPath};

use super::collect::{Collection, HoldLimits};
use super::plan::{Directory, Piece};
use super::*;
use crate::api::files::Changed;
use crate::fetch::git::object_id;
use crate::fetch::limit::Budget;
use crate::fetch::object::{Kind, ObjectId};
use crate::fetch::progress::Row;
use crate::fetch::reach::Reach;
use crate::fetch::{Answer, Ask, FetchError, Fetched};

/// The files of every directory.
const NAMES: [&str; 2] = ["compose.yaml", "lcp.toml"];

/// An origin that counts what it is asked for. Listings and files are those of one directory.
#[derive(Default)]
struct Counted {
    asked: AtomicUsize,
    /// Files that arrive otherwise than the listing says.
    is_lying: bool,
    /// What lies at any https address.
    archive: Vec<u8>,
}

fn object(kind: Kind, bytes: &[u8]) -> ObjectId {
    object_id(kind, bytes).expect("an id")
}

/// The object id of a file.
fn blob(name: &str) -> CommitId {
    object(Kind::Blob, format!("bytes of {name}").as_bytes()).to_commit_id()
}

/// A commit that has a directory `packages/<name>` with two files, the way to it, and its id.
fn committed(name: &str) -> (CommitId, Vec<Vec<u8>>, CommitId) {
    let entry = |mode: &str, name: &str, id: &ObjectId| {
        [format!("{mode} {name}\0").as_bytes(), id.as_bytes()].concat()
    };
    let file = |name: &str| entry("100644", name, &object(Kind::Blob, format!("bytes of {name}").as_bytes()));
    let directory = object(Kind::Tree, &NAMES.map(file).concat());
    let packages = entry("40000", name, &directory);
    let root = entry("40000", "packages", &object(Kind::Tree, &packages));
    let commit = format!("tree {}\n\nx\n", object(Kind::Tree, &root)).into_bytes();
    let id = object(Kind::Commit, &commit).to_commit_id();
    (id, vec![commit, root, packages], directory.to_commit_id())
}

impl Fetch for Counted {
    fn fetch(&self, asks: &[Ask<'_>], budget: &Budget) -> Vec<Result<Answer, FetchError>> {
        self.asked.fetch_add(asks.len(), Ordering::Relaxed);
        let answer = |ask: &Ask<'_>| {
            let mut way = Vec::new();
            let (bytes, id) = match ask.want {
                Want::Tree { location: Location::Git { path, .. }, .. } => {
                    let line = |name: &str| format!("100644 blob {} {path}/{name}\n", blob(name));
                    let committed = committed(path.segments().next_back().unwrap_or_default());
                    way = committed.1;
                    (NAMES.map(line).concat(), committed.2)
                }
                Want::Blob(Location::Git { path, .. }) => {
                    let name = path.segments().next_back().unwrap_or_default();
                    let id = if self.is_lying { blob("another") } else { blob(name) };
                    (format!("bytes of {name}"), id)
                }
                Want::Blob(Location::Https { .. }) => {
                    let bytes = self.archive.clone();
                    budget.take_bytes(bytes.len() as u64, ask.want)?;
                    let (url, way) = (String::new(), Vec::new());
                    let (commit, blob, etag, modified) = (None, None, None, None);
                    return Ok(Answer::Fetched(Fetched { bytes, url, commit, blob, etag, modified, way }));
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
                way,
            }))
        };
        asks.iter().map(answer).collect()
    }
}

fn plan(name: &str) -> Plan {
    let path = DocPath::parse(&format!("packages/{name}")).expect("a path");
    let location = Location::Git {
        repository: Repository::Local(LocalPath::parse("/repository").expect("a path")),
        revision: Revision::Commit(committed(name).0),
        path: path.clone(),
    };
    Plan {
        release: format!("lcod://a/{name}@1.0.0"),
        promise: Digest::sha256(name.as_bytes()),
        pieces: Vec::new(),
        is_recorded: false,
        tree: Some(Directory { location, path, descriptors: None }),
        archive: None,
        compose: None,
        descriptor: None,
        reach: Reach::default(),
        is_offline: false,
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn tools<'a>(origins: &'a Counted, limits: &'a Limits, fetching: Fetching) -> Tools<'a> {
    Tools {
        origins,
        shelf: &|_| None,
        recorded: &|_| None,
        limits,
        fetching,
        gone: None,
        progress: None,
        audience: None,
        together: None,
    }
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

    fn hold(&self, name: &str, plan: &Plan) {
        let releases = [(plan.release.clone(), plan.promise.clone())];
        self.cache.hold(own_uid(), name, &releases, HoldLimits::from(&self.limits)).expect("held");
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
    assert_eq!(again.tree, Some(committed("x").2));
}

#[test]
fn what_came_into_sight_between_a_look_and_a_claim_is_not_fetched_again() {
    let place = Place::new();
    let (plans, tools) = ([plan("x"), plan("y")], tools(&place.origins, &place.limits, Fetching::Allowed));
    // Whoever comes looks, finds neither, and is kept from its claim until somebody else has had one of them.
    assert!(plans.iter().all(|plan| place.cache.ready(plan, &tools).is_none()));
    let first = place.one(&plans[0], Fetching::Allowed).expect("a row");
    assert_eq!((first.from, place.asked()), (Found::Fetched, 3));
    let progress = Progress::new(|| ());
    plans.iter().for_each(|plan| progress.expect(&plan.claim(), &plan.release));
    let listening = Tools { progress: Some(&progress), ..tools };
    let (mut claims, others) = place.cache.claim(&plans, &[1, 0], &listening);
    assert!(others.is_empty());
    let outcomes = place.cache.worked(&plans, &claims, &listening);
    let rows: Vec<(usize, FilesRow)> =
        claims.finish(outcomes).into_iter().map(|(index, row)| (index, row.expect("a row"))).collect();
    // In the order of the claims, and one listing and two files for the one that was not there.
    let told: Vec<_> = rows.iter().map(|(index, row)| (*index, row.release.as_str(), row.from)).collect();
    assert_eq!(told, [(1, "lcod://a/y@1.0.0", Found::Fetched), (0, "lcod://a/x@1.0.0", Found::Cache)]);
    assert_eq!(place.asked(), 6);
    // Whoever waits hears that it is there, and nothing of files that nobody counted.
    let heard: Vec<Row> = progress.take();
    let of_x = |row: &&Row| row.release.as_deref() == Some("lcod://a/x@1.0.0");
    let of_x: Vec<Step> = heard
        .iter()
        .filter(of_x)
        .filter(|row| row.standing.files_received.is_none())
        .map(|row| row.standing.step)
        .collect();
    assert_eq!(of_x, [Step::Ready]);
    // Who wants it anew gets it anew, unless nothing may be fetched for it.
    let anew = Tools { fetching: Fetching::Anew, ..tools };
    let from = |plan: &Plan| {
        let (mut claims, _) = place.cache.claim(std::slice::from_ref(plan), &[0], &anew);
        let outcomes = place.cache.worked(std::slice::from_ref(plan), &claims, &anew);
        claims.finish(outcomes).pop().expect("an outcome").1.expect("a row").from
    };
    assert_eq!((from(&plans[0]), place.asked()), (Found::Fetched, 9));
    let offline = Plan { is_offline: true, ..plans[0].clone() };
    assert_eq!((from(&offline), place.asked()), (Found::Cache, 9));
}

#[test]
fn who_wants_it_anew_does_not_take_what_somebody_else_found_in_the_cache() {
    let place = Place::new();
    let (plans, tools) = ([plan("x")], tools(&place.origins, &place.limits, Fetching::Allowed));
    place.one(&plans[0], Fetching::Allowed).expect("a row");
    assert_eq!(place.asked(), 3);
    let (mut claims, _) = place.cache.claim(&plans, &[0], &tools);
    let row = std::thread::scope(|scope| {
        let anew = scope.spawn(|| place.one(&plans[0], Fetching::Anew));
        // It waits for whoever claimed first.
        while Arc::strong_count(&claims.held[0].2) < 3 {
            std::thread::yield_now();
        }
        let outcomes = place.cache.worked(&plans, &claims, &tools);
        // From here on it begins anew.
        assert_eq!(place.asked(), 3);
        let rows = claims.finish(outcomes).into_iter().filter_map(|(_, row)| row.ok());
        assert_eq!(rows.map(|row| row.from).collect::<Vec<_>>(), [Found::Cache]);
        anew.join().expect("no panic").expect("a row")
    });
    assert_eq!((row.from, place.asked()), (Found::Fetched, 6));
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
        is_optional: false,
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
            is_optional: false,
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
    place.hold("a lock", &held);
    let collection = Collection { unused_s: 3600, views: false, ..everything() };
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
    Collection {
        dry_run: false,
        uid: own_uid(),
        ended: Vec::new(),
        unused_s: 0,
        views: true,
        max_bytes: None,
    }
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
            is_optional: false,
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
    place.hold("a lock", &plan);
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

#[test]
fn a_hold_is_that_of_whoever_made_it() {
    const OTHER: u32 = 4_711;
    let place = Place::new();
    let (mine, theirs) = (plan("mine"), plan("theirs"));
    for plan in [&mine, &theirs] {
        place.one(plan, Fetching::Allowed).expect("a row");
    }
    let hold = |uid: u32, plan: &Plan, limits: HoldLimits| {
        let releases = [(plan.release.clone(), plan.promise.clone())];
        place.cache.hold(uid, "build", &releases, limits).map_err(|refusal| refusal.reason.into_owned())
    };
    let limits = HoldLimits { all: 3, per_uid: 1 };
    let (own, next) = (7, 8);
    assert_eq!(hold(own, &mine, limits), Ok(()));
    assert_eq!(hold(OTHER, &theirs, limits), Ok(()), "another user has a name of its own");
    let held = || -> Vec<(u32, String)> {
        let rows = place.cache.all_holds().expect("listed");
        rows.into_iter().map(|row| (row.uid, row.releases.join(" "))).collect()
    };
    let both = vec![(own, mine.release.clone()), (OTHER, theirs.release.clone())];
    assert_eq!(held(), both);
    assert_eq!(hold(own, &mine, limits), Ok(()), "the own one may be replaced, however many there may be");
    let more = |uid: u32, name: &str, limits: HoldLimits| {
        place.cache.hold(uid, name, &[], limits).map_err(|refusal| refusal.reason.into_owned())
    };
    assert_eq!(more(own, "second", limits), Err("limit.holds_per_uid".to_owned()));
    assert_eq!(more(next, "first", HoldLimits { all: 2, per_uid: 9 }), Err("limit.holds".to_owned()));

    let names = ["build".to_owned()];
    assert!(place.cache.release(next, &names).expect("released").is_empty(), "nobody ends another's");
    let ended = Collection { uid: next, ended: names.to_vec(), ..everything() };
    assert!(place.cache.collect(&ended, tomorrow()).expect("collected").removed.is_empty());
    assert_eq!(held(), both);
    assert_eq!(place.cache.release(own, &names).expect("released").len(), 1);
    assert_eq!(held(), both[1..]);
    assert_eq!(place.cache.release(0, &names).expect("released").len(), 1, "root ends everybody's");
    assert!(held().is_empty());
}

#[test]
fn a_hold_of_which_nobody_noted_who_made_it_is_that_of_the_daemon() {
    let place = Place::new();
    place.hold("new", &plan("x"));
    let old = place.cache.holds().join(Digest::sha256(b"old").hex());
    let text = r#"{"schema":"resolverd/hold@1","name":"old","releases":{}}"#;
    fs::write(&old, text).expect("written");
    let names = || -> Vec<(String, u32)> {
        place.cache.all_holds().expect("listed").into_iter().map(|row| (row.name, row.uid)).collect()
    };
    assert_eq!(names(), [("new".to_owned(), own_uid()), ("old".to_owned(), own_uid())]);
    place.hold("old", &plan("x"));
    assert_eq!(names().len(), 2, "it takes the place of the old one");
    assert!(!old.exists());
    assert_eq!(place.cache.release(own_uid(), &["old".to_owned()]).expect("released").len(), 1);
}

#[test]
fn a_copied_cache_is_held_against_its_commit_and_not_against_what_it_says_of_itself() {
    type Act = fn(&mut About, &mut Vec<u8>);
    let check = |what: &str, is_good: bool, act: Act| {
        let place = Place::new();
        let plan = plan("x");
        let row = place.one(&plan, Fetching::Allowed).expect("a row");
        let mut about = place.cache.about(&plan.promise).expect("described");
        let mut bytes = b"bytes of lcp.toml".to_vec();
        act(&mut about, &mut bytes);
        // Everything in the copy agrees with everything else in it.
        about.files[1].digest = Digest::sha256(&bytes);
        about.files[1].size = bytes.len() as u64;
        about.files[1].blob = Some(object(Kind::Blob, &bytes).to_commit_id());
        about.content = about::content(&about.files);
        about.stamps.clear();
        let trees = Path::new(&row.directory).parent().expect("one");
        let mut stage = stage::Stage::new(trees).expect("a stage");
        for (file, bytes) in about.files.iter().zip([&b"bytes of compose.yaml"[..], &bytes]) {
            stage.put(&file.path, None, file.executable, (bytes, file.digest.clone())).expect("written");
        }
        stage.publish(&trees.join(about.content.hex())).expect("published");
        place.cache.describe(&about).expect("written");
        let found = place.one(&plan, Fetching::Forbidden).map(|row| row.from);
        let found = found.map_err(|refusal| refusal.reason.into_owned());
        let expected = if is_good { Ok(Found::Cache) } else { Err(CHANGED.to_owned()) };
        assert_eq!(found, expected, "{what}");
        let mended = place.one(&plan, Fetching::Allowed).expect(what);
        assert_eq!(
            mended.integrity, row.integrity,
            "{what}: fetched again where that is not what was promised"
        );
    };
    check("an honest copy", true, |_, _| {});
    check("other bytes", false, |_, bytes| *bytes = b"something else".to_vec());
    check("a file that may be executed", false, |about, _| about.files[1].executable = true);
    check("a file of another name", false, |about, _| {
        about.files[1].path = DocPath::parse("lcp.tomL").expect("a path");
    });
    check("no way", false, |about, _| about.way.clear());
    check("the way of another commit", false, |about, bytes| {
        *bytes = b"something else".to_vec();
        about.way = committed("y").1.iter().map(|object| catalogue_schema::digest::hex(object)).collect();
    });
    check("no text of bytes", false, |about, _| about.way[0] = "xyz".to_owned());
}

/// A release that is one archive with these files.
fn packed(files: &[(&str, &str)]) -> (Plan, Vec<u8>) {
    let files = files
        .iter()
        .map(|(name, text)| (DocPath::parse(name).expect("a path"), text.as_bytes().to_vec()))
        .collect();
    let limits = Limits::default();
    let bytes = archive::write::tar_gz(&files, &archive::Bounds::from(&limits), "x").expect("packed");
    let url = HttpsUrl::parse("https://example.org/x-1.0.0.tar.gz").expect("a URL");
    let archive = Some(catalogue_schema::model::Archive {
        location: Location::Https { url },
        digests: vec![Digest::sha256(&bytes)],
        size: Some(bytes.len() as u64),
    });
    let promised = Piece {
        path: DocPath::parse("estream-component.toml").expect("a path"),
        digest: Some(Digest::sha256(b"[component]")),
        blob: None,
        size: None,
        executable: false,
        want: None,
        is_optional: false,
    };
    (Plan { archive, tree: None, pieces: vec![promised], ..plan("packed") }, bytes)
}

const GOOD: [(&str, &str); 2] = [("estream-component.toml", "[component]"), ("schemas/a.json", "{}")];

#[test]
fn a_release_that_is_one_archive_is_unpacked_and_held_against_it() {
    let mut place = Place::new();
    let (plan, bytes) = packed(&GOOD);
    place.origins.archive = bytes;
    let row = place.one(&plan, Fetching::Allowed).expect("a row");
    let names: Vec<&str> = row.files.iter().map(|file| file.path.as_text()).collect();
    assert_eq!(names, ["estream-component.toml", "schemas/a.json"]);
    assert_eq!(fs::read(Path::new(&row.directory).join("schemas/a.json")).expect("read"), b"{}");
    assert_eq!(place.one(&plan, Fetching::Forbidden).expect("there").from, Found::Cache);
    assert_eq!(place.asked(), 1);
    // A copied cache: everything in it agrees with everything else, and not with the archive.
    let touch = |place: &Place, act: &dyn Fn(&mut About)| {
        let mut about = place.cache.about(&plan.promise).expect("described");
        about.stamps.clear();
        act(&mut about);
        place.cache.describe(&about).expect("written");
    };
    touch(&place, &|_| {});
    assert_eq!(place.one(&plan, Fetching::Forbidden).expect("an honest copy").from, Found::Cache);
    touch(&place, &|about| {
        about.files.truncate(1);
        about.content = about::content(&about.files);
        let trees = place.cache.trees();
        let mut stage = stage::Stage::new(&trees).expect("a stage");
        let bytes: &[u8] = b"[component]";
        stage.put(&about.files[0].path, None, false, (bytes, Digest::sha256(bytes))).expect("written");
        assert!(stage.publish(&trees.join(about.content.hex())).expect("published"));
    });
    assert_eq!(place.one(&plan, Fetching::Forbidden).expect_err("a file less").reason, CHANGED);
    let mended = place.one(&plan, Fetching::Allowed).expect("unpacked again");
    assert_eq!((mended.integrity, place.asked()), (row.integrity, 1), "from the archive that is kept");
    let kept = place.cache.archives().join(plan.promise.hex());
    fs::write(&kept, b"something else").expect("written");
    touch(&place, &|_| {});
    assert_eq!(place.one(&plan, Fetching::Forbidden).expect_err("another archive").reason, CHANGED);
    place.one(&plan, Fetching::Allowed).expect("fetched again");
    assert_eq!(place.asked(), 2);
    // It goes with the release.
    let archive = fs::metadata(&kept).expect("kept").len();
    let files: u64 = mended.files.iter().map(|file| file.size).sum();
    let gone = place.cache.collect(&everything(), tomorrow()).expect("collected");
    assert_eq!(gone.bytes, files + archive);
    assert!(!kept.exists());
    assert_eq!(place.one(&plan, Fetching::Forbidden).expect_err("gone").reason, "offline");
}

#[test]
fn an_archive_that_is_not_what_is_promised_leaves_nothing_in_sight() {
    let check =
        |files: &[(&str, &str)], change: &dyn Fn(&mut Plan, &mut Vec<u8>, &mut Limits), reason: &str| {
            let mut place = Place::new();
            let (mut plan, mut bytes) = packed(files);
            change(&mut plan, &mut bytes, &mut place.limits);
            place.origins.archive = bytes;
            let refused = place.one(&plan, Fetching::Allowed).expect_err(reason);
            assert_eq!(refused.reason, reason, "{refused}");
            for room in [place.cache.trees(), place.cache.abouts(), place.cache.archives()] {
                assert_eq!(fs::read_dir(&room).expect("listed").count(), 0, "{reason}: {}", room.display());
            }
        };
    let promised = |plan: &mut Plan, bytes: &[u8]| {
        let archive = plan.archive.as_mut().expect("an archive");
        (archive.digests, archive.size) = (vec![Digest::sha256(bytes)], None);
    };
    check(&GOOD, &|_, bytes, _| bytes.push(0), "trust.size_mismatch");
    check(&GOOD, &|_, bytes, _| *bytes.last_mut().expect("one") ^= 1, "trust.digest_mismatch");
    check(&GOOD, &|_, _, limits| limits.archive_bytes = 10, "limit.archive_bytes");
    check(&GOOD, &|_, _, limits| limits.release_files = 1, "archive.too_many");
    check(&GOOD, &|_, _, limits| limits.release_bytes = 5, "archive.too_large");
    check(&GOOD[1..], &|_, _, _| {}, "archive.missing");
    check(&[("estream-component.toml", "[other]")], &|_, _, _| {}, "archive.digest");
    // One whose author has signed something that is no archive.
    check(
        &GOOD,
        &|plan, bytes, _| {
            bytes.push(7);
            promised(plan, bytes);
        },
        "archive.trailing",
    );
    check(
        &GOOD,
        &|plan, bytes, _| {
            *bytes = b"PK\x03\x04".to_vec();
            promised(plan, bytes);
        },
        "archive.format",
    );
}

#[test]
fn whoever_has_gone_waits_for_no_desk() {
    let desks = Desks { free: Mutex::new(0), left: Condvar::new() };
    let (origins, limits, gone) = (Counted::default(), Limits::default(), Gone::new(true.into()));
    let tools = Tools { gone: Some(&gone), ..tools(&origins, &limits, Fetching::Allowed) };
    assert!(desks.take(&tools).is_none());
}
