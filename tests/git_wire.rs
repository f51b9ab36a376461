//! Git over the wire: our client against the real `git http-backend` behind a real TLS server, and the real `git-upload-pack`
//! behind a stand-in for `ssh`. What it costs in requests and bytes, what it refuses, and what survives a kill.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{CommitId, HttpsUrl, Location, RefName, Repository as Place, Revision, Want};
use resolverd::fetch::limit::{Budget, Limits};
use resolverd::fetch::network::{Https, Network, Proxy, Token};
use resolverd::fetch::reach::Reach;
use resolverd::fetch::{Answer, Ask, Fetch as _, FetchError, Fetched, Origins};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::daemon::{Said, Sandbox};
use crate::harness::lcod::{self, Component};
use crate::harness::repository::{Files, Repository};
use crate::harness::tls::{GitMount, Logged, Route, TlsServer};
use crate::harness::{place, poll};

type Results = Vec<Result<Fetched, FetchError>>;

/// A server with one repository at `/git/r.git`, and a cache.
struct World {
    server: TlsServer,
    directory: TempDir,
    work: Repository,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let work = Repository::create(&directory.path().join("work"));
        let server = TlsServer::start();
        let world = World { server, directory, work };
        world.server.mount("/git", GitMount::of(&world.root()));
        world
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("served")
    }

    fn bare(&self) -> PathBuf {
        self.root().join("r.git")
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// Commits files and serves them.
    fn publish(&self, files: &Files) -> String {
        let commit = self.work.commit(files);
        self.push();
        commit
    }

    /// Serves what the work tree's repository holds now.
    fn push(&self) {
        if !self.bare().exists() {
            fs::create_dir_all(self.root()).unwrap();
            self.work.bare_clone(&self.bare());
            place::git(&self.bare(), &["config", "uploadpack.allowFilter", "true"]);
        }
        let to = self.bare();
        place::git(&self.work.path, &["push", "--quiet", "--force", to.to_str().unwrap(), "refs/*:refs/*"]);
    }

    fn url(&self) -> String {
        self.server.url("/git/r.git")
    }

    fn network(&self) -> Network {
        let https = Https { ca_file: Some(self.server.ca_file()), proxy: Proxy::None, ..Https::default() };
        Network { https, cache_dir: Some(self.cache()), ..Network::default() }
    }

    fn repository(&self) -> Place {
        Place::Https(HttpsUrl::parse(&self.url()).unwrap())
    }

    fn at(&self, revision: Revision, path: &str) -> Want {
        let path = DocPath::parse(path).unwrap();
        Want::Blob(Location::Git { repository: self.repository(), revision, path })
    }

    fn pinned(&self, commit: &str, path: &str) -> Want {
        self.at(pin(commit), path)
    }

    fn listing(&self, commit: &str, path: &str, depth: u8) -> Want {
        let location = Location::Git {
            repository: self.repository(),
            revision: pin(commit),
            path: DocPath::parse(path).unwrap(),
        };
        Want::Tree { location, depth }
    }

    fn directories(&self, commit: &str, path: &str, depth: u8) -> Want {
        match self.listing(commit, path, depth) {
            Want::Tree { location, depth } => Want::Directories { location, depth },
            other => other,
        }
    }

    fn history(&self, commit: &str, commits_max: u32) -> Want {
        let commit = CommitId::parse(commit).unwrap();
        Want::History { repository: self.repository(), commit, commits_max }
    }

    fn refs(&self, prefix: &str) -> Want {
        Want::Refs { repository: self.repository(), prefix: RefName::parse(prefix).unwrap() }
    }

    fn fetch(&self, wants: &[Want]) -> Results {
        fetch(self.network(), wants, &Limits::default())
    }

    fn one(&self, want: Want) -> Result<Fetched, FetchError> {
        self.fetch(&[want]).remove(0)
    }

    /// Fetches one want that must fail, and returns the reason with the whole text.
    #[track_caller]
    fn refusal(&self, want: Want) -> (String, String) {
        reason(&self.one(want))
    }

    /// Returns how many requests and bytes there were, and forgets them.
    fn cost(&self) -> (usize, u64) {
        let cost = (self.server.requests().len(), self.server.sent());
        self.server.forget();
        cost
    }

    /// Alters every pack from now on.
    fn alter(&self, alter: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static) {
        let alter = move |request: &Logged, body| match request.method.as_str() {
            "POST" => alter(body),
            _ => body,
        };
        self.server.mount("/git", GitMount::of(&self.root()).alter(alter));
    }

    /// Returns every object file of the cache.
    fn cached(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        below(&self.cache(), &mut files);
        files.retain(|file| file.components().any(|part| part.as_os_str() == "objects"));
        files
    }
}

fn below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => below(&entry.path(), files),
            false => files.push(entry.path()),
        }
    }
}

fn fetch(network: Network, wants: &[Want], limits: &Limits) -> Results {
    let asks: Vec<Ask<'_>> = wants.iter().map(Ask::from).collect();
    // Servers of tests are on loopback, which only an operator names.
    let reach = wants.iter().fold(Reach::default(), Reach::also);
    let budget = Budget::new(limits, Instant::now()).for_release_documents().reaching(reach);
    let answers = Origins::new(network).unwrap().fetch(&asks, &budget);
    let fetched = |answer| match answer {
        Answer::Fetched(fetched) => fetched,
        Answer::Unchanged => panic!("unchanged, and nothing was known"),
    };
    answers.into_iter().map(|answer| answer.map(fetched)).collect()
}

#[track_caller]
fn reason(answer: &Result<Fetched, FetchError>) -> (String, String) {
    let error = answer.as_ref().expect_err("it was fetched");
    (error.refusal().reason.to_string(), error.to_string())
}

fn pin(commit: &str) -> Revision {
    Revision::Commit(CommitId::parse(commit).unwrap())
}

fn named(name: &str) -> Revision {
    Revision::Ref(RefName::parse(name).unwrap())
}

fn files(rows: &[(&str, &str)]) -> Files {
    rows.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

/// A registry of some hundred manifests, two folders deep.
fn registry(revision: &str) -> Files {
    let mut files = files(&[("catalogue.json", revision), ("README.md", "x")]);
    for n in 0..300 {
        let text = format!("{{\"id\":\"lcod://acme/c{n}\",\"note\":\"the manifest number {n}\"}}\n");
        files.insert(format!("packages/acme.c{n}/manifest.json"), text.into_bytes());
        files.insert(format!("packages/acme.c{n}/ballast.bin"), vec![n as u8; 4000]);
    }
    files
}

#[test]
fn all_manifests_of_a_commit_come_in_a_handful_of_requests_and_the_next_pin_brings_only_what_changed() {
    let world = World::new();
    let first = world.publish(&registry("one"));
    let wants = |commit: &str| -> Vec<Want> {
        let paths = (0..300).map(|n| format!("packages/acme.c{n}/manifest.json"));
        paths.chain(["catalogue.json".to_owned()]).map(|path| world.pinned(commit, &path)).collect()
    };
    let check = |commit: &str, answers: Results| {
        for (n, answer) in answers.iter().enumerate() {
            let fetched = answer.as_ref().unwrap();
            assert_eq!(fetched.commit.as_ref().unwrap().as_text(), commit);
            let expected = if n == 300 { String::new() } else { format!("number {n}\"}}\n") };
            assert!(fetched.bytes.ends_with(expected.as_bytes()), "{n}");
        }
    };
    check(&first, world.fetch(&wants(&first)));
    // Capabilities, the commit, three levels of trees, the blobs.
    let (requests, bytes) = world.cost();
    assert!(requests <= 6, "{:?}", world.server.lines());
    assert!(bytes < 150_000, "{bytes} bytes, of 1.2 MB in the commit");

    check(&first, world.fetch(&wants(&first)));
    assert_eq!(world.cost(), (0, 0), "everything was cached");

    let mut next = registry("two");
    next.insert("packages/acme.c7/manifest.json".to_owned(), b"changed, number 7\"}\n".to_vec());
    let second = world.publish(&next);
    let answers = world.fetch(&wants(&second));
    assert_eq!(answers[7].as_ref().unwrap().bytes, b"changed, number 7\"}\n");
    assert_eq!(answers[300].as_ref().unwrap().bytes, b"two");
    check(&second, answers);
    let (requests, bytes) = world.cost();
    assert!(requests <= 6, "{requests}");
    assert!(bytes < 20_000, "{bytes} bytes");
}

#[test]
fn a_branch_costs_one_short_answer_among_thousands_of_refs() {
    let world = World::new();
    let commit = world.publish(&files(&[("c.json", "{}")]));
    let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted\n");
    for n in 0..2000 {
        packed.push_str(&format!("{commit} refs/heads/topic/{n:04}\n"));
    }
    fs::write(world.bare().join("packed-refs"), packed).unwrap();
    place::git(&world.bare(), &["update-ref", "refs/heads/main", &commit]);
    let longest = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&longest);
    let measure = move |request: &Logged, body: Vec<u8>| {
        if request.body.windows(7).any(|at| at == b"ls-refs") {
            seen.fetch_max(body.len(), Ordering::Relaxed);
        }
        body
    };
    world.server.mount("/git", GitMount::of(&world.root()).alter(measure));
    let fetched = world.one(world.at(named("main"), "c.json")).unwrap();
    assert_eq!(fetched.commit.unwrap().as_text(), commit);
    assert!((1..200).contains(&longest.load(Ordering::Relaxed)), "{longest:?} bytes");
    assert_eq!(world.one(world.at(named("topic/1999"), "c.json")).unwrap().bytes, b"{}");
}

#[test]
fn branches_tags_and_head_are_resolved_and_what_is_not_there_is_named() {
    let world = World::new();
    let first = world.work.commit(&files(&[("c.json", "one")]));
    let git = |arguments: &[&str]| place::git(&world.work.path, arguments);
    git(&["tag", "-a", "-m", "x", "v1"]);
    git(&["tag", "-a", "-m", "x", "outer", "v1"]);
    git(&["tag", "light"]);
    git(&["branch", "feature/x"]);
    let second = world.work.commit(&files(&[("c.json", "two")]));
    world.push();
    let rows = [
        (named("v1"), &first),
        (named("outer"), &first),
        (named("light"), &first),
        (named("refs/tags/v1"), &first),
        (named("feature/x"), &first),
        (named("main"), &second),
        (named("refs/heads/main"), &second),
        (Revision::Head, &second),
        (named("HEAD"), &second),
    ];
    let wants: Vec<Want> = rows.iter().map(|(revision, _)| world.at(revision.clone(), "c.json")).collect();
    for (answer, (revision, expected)) in world.fetch(&wants).into_iter().zip(&rows) {
        assert_eq!(answer.unwrap().commit.unwrap().as_text(), *expected, "{revision:?}");
    }
    assert!(world.cost().0 <= 5);
    for name in ["absent", "refs/heads/absent", "feature"] {
        let (reason, text) = world.refusal(world.at(named(name), "c.json"));
        assert_eq!(reason, "git.ref_missing", "{text}");
        assert!(text.contains(name), "{text}");
    }
    let listed = String::from_utf8(world.one(world.refs("refs/tags")).unwrap().bytes).unwrap();
    let expected: String =
        ["light", "outer", "v1"].map(|name| format!("{first} refs/tags/{name}\n")).concat();
    assert_eq!(listed, expected);
    let tag = git(&["rev-parse", "v1"]);
    let (reason, text) = world.refusal(world.pinned(tag.trim(), "c.json"));
    assert_eq!(reason, "git.not_a_commit", "{text}");
    assert!(text.contains(&first), "{text}");
}

#[test]
fn every_answer_is_the_one_that_the_same_repository_gives_on_this_machine() {
    let world = World::new();
    let git = |arguments: &[&str]| place::git(&world.work.path, arguments);
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    world.work.commit(&files(&[("a/b/c.json", "1"), ("a/d.json", "2"), ("lfs.json", lfs), ("A.json", "x")]));
    std::os::unix::fs::symlink("/etc/passwd", world.work.path.join("link.json")).unwrap();
    fs::write(world.work.path.join("a.json"), "twin").unwrap();
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "more"]);
    let commit = git(&["rev-parse", "HEAD"]).trim().to_owned();
    world.push();
    let tree = git(&["rev-parse", "HEAD^{tree}"]).trim().to_owned();
    let blob = git(&["rev-parse", "HEAD:a/d.json"]).trim().to_owned();
    let absent = "0123456789012345678901234567890123456789";
    let at = |commit: &str, path: &str| world.pinned(commit, path);
    let wants = vec![
        at(&commit, "a/b/c.json"),
        at(&commit, "a/d.json"),
        at(&commit, "a"),
        at(&commit, "a/absent.json"),
        at(&commit, "a/d.json/x"),
        at(&commit, "absent/x"),
        at(&commit, "lfs.json"),
        at(&commit, "link.json"),
        at(&commit, "a.json"),
        at(&tree, "a/d.json"),
        at(&blob, "a/d.json"),
        at(absent, "a/d.json"),
        at(&"0".repeat(64), "a/d.json"),
        world.listing(&commit, "a", 1),
        world.listing(&commit, "a", 9),
        world.listing(&commit, "a", 0),
        world.listing(&commit, "a/d.json", 1),
        world.directories(&commit, "a", 1),
        world.directories(&commit, "a", 9),
        world.directories(&commit, "a", 0),
        world.directories(&commit, "a/d.json", 1),
        world.listing(&commit, "absent", 1),
        world.history(&commit, 10),
        world.history(&commit, 1),
    ];
    let local: Vec<Want> = wants.iter().map(|want| moved(want, &world.bare())).collect();
    let here = fetch(Network::default(), &local, &Limits::default());
    // Twice: over the wire, then from the cache.
    for _ in 0..2 {
        for ((want, there), here) in wants.iter().zip(world.fetch(&wants)).zip(&here) {
            match (there, here) {
                (Ok(there), Ok(here)) => {
                    assert_eq!(
                        (&there.bytes, &there.commit, &there.blob),
                        (&here.bytes, &here.commit, &here.blob)
                    );
                }
                (Err(there), Err(here)) => {
                    assert_eq!(there.refusal().reason, here.refusal().reason, "{want}: {there} / {here}");
                    assert_eq!(std::mem::discriminant(&there), std::mem::discriminant(here), "{want}");
                }
                (there, here) => panic!("{want}: {there:?} there, {here:?} here"),
            }
        }
    }
}

/// The same want about a repository on this machine.
fn moved(want: &Want, to: &Path) -> Want {
    let mut want = want.clone();
    let place = Place::Local(catalogue_schema::pointer::LocalPath::from_path(to).unwrap());
    match &mut want {
        Want::Blob(Location::Git { repository, .. })
        | Want::Tree { location: Location::Git { repository, .. }, .. }
        | Want::Directories { location: Location::Git { repository, .. }, .. }
        | Want::Refs { repository, .. }
        | Want::History { repository, .. } => *repository = place,
        _ => {}
    }
    want
}

#[test]
fn one_absent_commit_spoils_only_its_own_wants() {
    let world = World::new();
    let commit = world.publish(&files(&[("c.json", "one")]));
    let absent: Vec<String> = (0..3).map(|n| format!("{n}").repeat(40)).collect();
    let mut wants: Vec<Want> = absent.iter().map(|id| world.pinned(id, "c.json")).collect();
    wants.push(world.pinned(&commit, "c.json"));
    let answers = world.fetch(&wants);
    for answer in &answers[..3] {
        assert_eq!(reason(answer).0, "git.commit_missing", "{answer:?}");
    }
    assert_eq!(answers[3].as_ref().unwrap().bytes, b"one");
}

#[test]
fn servers_that_cannot_serve_us_are_named_with_a_way_out() {
    let world = World::new();
    let commit = world.publish(&files(&[("c.json", "one")]));
    let want = || world.pinned(&commit, "c.json");
    let check = |expected: &str, hint: &str| {
        let (reason, text) = world.refusal(want());
        assert_eq!(reason, expected, "{text}");
        assert!(text.contains(hint), "{text}");
    };
    place::git(&world.bare(), &["config", "uploadpack.allowFilter", "false"]);
    check("git.no_filter", "uploadpack.allowFilter");
    check("git.no_filter", "[[rewrite]]");
    place::git(&world.bare(), &["config", "uploadpack.allowFilter", "true"]);
    // It offers filters and forbids this one.
    place::git(&world.bare(), &["config", "uploadpackfilter.tree.allow", "false"]);
    check("git.no_filter", "uploadpackfilter.tree.allow");
    check("git.no_filter", "[[rewrite]]");
    place::git(&world.bare(), &["config", "uploadpackfilter.tree.allow", "true"]);
    world.server.mount("/git", GitMount::of(&world.root()).version_0());
    check("git.protocol", "[[rewrite]]");
    let page =
        |_: &Logged| Some(Route::Answer(200, vec!["content-type: text/html".to_owned()], b"<html>".to_vec()));
    world.server.mount("/git", GitMount::of(&world.root()).before(page));
    check("git.protocol", "text/html");
    world.server.mount("/git", GitMount::of(&world.root().join("r.git/refs")));
    check("net.not_found", "404");
    let other = world.directory.path().join("sha256.git");
    place::git(&world.root(), &["init", "-q", "--bare", "--object-format=sha256", other.to_str().unwrap()]);
    place::git(&other, &["config", "uploadpack.allowFilter", "true"]);
    fs::rename(world.bare(), world.directory.path().join("old.git")).unwrap();
    fs::rename(&other, world.bare()).unwrap();
    world.server.mount("/git", GitMount::of(&world.root()));
    check("git.object_format", "sha256");
}

#[test]
fn a_redirect_of_the_first_request_moves_the_rest() {
    let world = World::new();
    let commit = world.publish(&files(&[("c.json", "one")]));
    let suffix = "/info/refs?service=git-upload-pack";
    world.server.route(&format!("/old/r{suffix}"), Route::redirect(301, &format!("{}{suffix}", world.url())));
    let old = Place::Https(HttpsUrl::parse(&world.server.url("/old/r")).unwrap());
    let path = DocPath::parse("c.json").unwrap();
    let want = Want::Blob(Location::Git { repository: old, revision: pin(&commit), path });
    assert_eq!(world.one(want.clone()).unwrap().bytes, b"one");
    let posts: Vec<Logged> = world.server.requests().into_iter().filter(|one| one.method == "POST").collect();
    assert!(posts.iter().all(|post| post.path() == "/git/r.git/git-upload-pack") && !posts.is_empty());
    fs::remove_dir_all(world.cache()).unwrap();
    world.server.route(&format!("/old/r{suffix}"), Route::redirect(301, &world.server.url("/login")));
    world.server.route("/login", Route::ok(b"<html>"));
    let (reason, text) = world.refusal(want);
    assert_eq!(reason, "git.protocol", "{text}");
}

#[test]
fn a_token_opens_what_is_closed_without_it() {
    let world = World::new();
    let commit = world.publish(&files(&[("c.json", "one")]));
    world.server.mount("/git", GitMount::of(&world.root()).requiring("Bearer s3cret"));
    let (reason, text) = world.refusal(world.pinned(&commit, "c.json"));
    assert_eq!(reason, "net.forbidden", "{text}");
    assert!(text.contains("[[https.tokens]]"), "{text}");
    let file = world.directory.path().join("token");
    fs::write(&file, "s3cret\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut network = world.network();
    network.https.tokens =
        vec![Token { url: world.server.url("/git/"), file: Some(file), env: None, user: None }];
    let answers = fetch(network, &[world.pinned(&commit, "c.json")], &Limits::default());
    assert_eq!(answers[0].as_ref().unwrap().bytes, b"one");
}

#[test]
fn what_is_too_large_spoils_only_itself() {
    let world = World::new();
    let mut many = registry("one");
    // Zeros pack to nothing: a small answer, a large object.
    many.insert("packages/acme.c5/manifest.json".to_owned(), vec![0; 9 << 20]);
    let noise: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    many.insert("packages/acme.c6/manifest.json".to_owned(), noise);
    let commit = world.publish(&many);
    let paths: Vec<String> = (0..20).map(|n| format!("packages/acme.c{n}/manifest.json")).collect();
    let wants: Vec<Want> = paths.iter().map(|path| world.pinned(&commit, path)).collect();
    for (n, answer) in world.fetch(&wants).iter().enumerate() {
        match n {
            5 | 6 => assert_eq!(reason(answer).0, "limit.release_document_bytes", "{answer:?}"),
            _ => assert!(answer.is_ok(), "{n}: {answer:?}"),
        }
    }
    fs::remove_dir_all(world.cache()).unwrap();
    let limits = Limits { total_bytes: 20_000, ..Limits::default() };
    let answers = fetch(world.network(), &wants, &limits);
    let reasons: Vec<String> = answers.iter().filter(|one| one.is_err()).map(|one| reason(one).0).collect();
    assert!(!reasons.is_empty() && reasons.iter().all(|one| one.starts_with("limit.")), "{reasons:?}");
    let limits = Limits { documents: 3, ..Limits::default() };
    let answers = fetch(world.network(), &wants, &limits);
    assert_eq!(reason(&answers[19]).0, "limit.documents");
    let limits = Limits { total_s: 0, ..Limits::default() };
    fs::remove_dir_all(world.cache()).unwrap();
    assert_eq!(reason(&fetch(world.network(), &wants, &limits)[0]).0, "limit.total_s");
}

#[test]
fn a_server_that_stalls_is_given_up() {
    let world = World::new();
    let commit = world.publish(&files(&[("c.json", "one")]));
    let start =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/x-git-upload-pack-result\r\n\r\n000dpackfile\n";
    let stall = |request: &Logged| (request.method == "POST").then(|| Route::Stall(start.to_vec()));
    world.server.mount("/git", GitMount::of(&world.root()).before(stall));
    let limits = Limits { stall_s: 1, tries: 1, ..Limits::default() };
    let answers = fetch(world.network(), &[world.pinned(&commit, "c.json")], &limits);
    assert_eq!(reason(&answers[0]).0, "net.timeout", "{answers:?}");
    assert_eq!(world.cached().len(), 0);
}

/// Returns the body with the bytes of the pack inside it replaced, as one band.
fn repacked(body: &[u8], change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut rest = body;
    let (mut head, mut pack) = (Vec::new(), Vec::new());
    let mut in_pack = false;
    while let Some(length) =
        rest.get(..4).and_then(|digits| usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
    {
        let end = length.max(4);
        let line = &rest[..end];
        rest = &rest[end..];
        match (in_pack, line.get(4)) {
            (true, Some(1)) => pack.extend_from_slice(&line[5..]),
            (true, _) => {}
            (false, _) => head.extend_from_slice(line),
        }
        in_pack |= line.ends_with(b"packfile\n");
    }
    if !in_pack {
        return body.to_vec();
    }
    for piece in change(pack).chunks(60_000) {
        head.extend(format!("{:04x}\x01", piece.len() + 5).bytes());
        head.extend_from_slice(piece);
    }
    head.extend(b"0000");
    head
}

#[test]
fn a_pack_that_lies_is_refused_and_nothing_of_it_is_kept() {
    let world = World::new();
    let first = world.publish(&files(&[("c.json", "one")]));
    let second = world.publish(&files(&[("c.json", "two")]));
    let path = world.work.path.clone();
    let packed = move |ids: &[&str]| -> Vec<u8> {
        let list = ids.join("\n") + "\n";
        let file = path.join(".git/wanted");
        fs::write(&file, list).unwrap();
        let name = place::git(&path, &["-c", "alias.p=!git pack-objects -q .git/made < .git/wanted", "p"]);
        fs::read(path.join(format!(".git/made-{}.pack", name.trim()))).unwrap()
    };
    let other = packed(&[&second]);
    let extra = packed(&[&first, &second]);
    let empty = { [b"PACK\0\0\0\x02\0\0\0\0".as_slice(), &[0; 20]].concat() };
    let bomb = {
        // One commit of 255 MB, as it says, in a stream of a few bytes.
        let mut pack = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
        pack.extend([0x9f, 0xff, 0xff, 0x7f, 0x78, 0x9c, 0x03, 0, 0, 0, 0, 1]);
        pack.extend([0; 20]);
        pack
    };
    let unknown = [b"PACK\0\0\0\x02\0\0\0\x01\x50x".as_slice(), &[0; 20]].concat();
    let based = [b"PACK\0\0\0\x02\0\0\0\x01\x61\x05x".as_slice(), &[0; 20]].concat();
    type Change = Box<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>;
    let whole = |pack: Vec<u8>| -> Change { Box::new(move |body| repacked(&body, |_| pack.clone())) };
    let rows: Vec<(&str, Change)> = vec![
        ("another commit", whole(other)),
        ("a commit more", whole(extra)),
        ("no object", whole(empty)),
        ("a bomb", whole(bomb)),
        ("an unknown type", whole(unknown)),
        ("a delta on nothing", whole(based)),
        ("no pack", whole(b"PUCK".to_vec())),
        ("cut", Box::new(|body| repacked(&body, |pack| pack[..pack.len() - 30].to_vec()))),
        (
            "flipped",
            Box::new(|body| {
                repacked(&body, |mut pack| {
                    let at = pack.len() - 40;
                    pack[at] ^= 1;
                    pack
                })
            }),
        ),
        (
            "more behind",
            Box::new(|body| repacked(&body, |pack| [&pack[..pack.len() - 20], &[1; 30]].concat())),
        ),
        ("cut answer", Box::new(|body| body[..body.len() - 4].to_vec())),
        ("empty answer", Box::new(|_| Vec::new())),
        ("uris", Box::new(|body| [b"0012packfile-uris\n0001".as_slice(), &body].concat())),
    ];
    for (name, change) in rows {
        world.alter(change);
        let (reason, text) = world.refusal(world.pinned(&first, "c.json"));
        let expected = if name == "no object" { "git.not_a_commit" } else { "git.bad_pack" };
        assert_eq!(reason, expected, "{name}: {text}");
        assert_eq!(world.cached(), Vec::<PathBuf>::new(), "{name}");
    }
    world.alter(|_| b"0030\x03disk quota exceeded \x1b[31m on this machine"[..].to_vec());
    let (reason, text) = world.refusal(world.pinned(&first, "c.json"));
    assert!(matches!(reason.as_str(), "git.bad_pack" | "git.remote_error"), "{text}");
    world.alter(|_| b"0022ERR the disk is full\x1b[31m here!".to_vec());
    let (reason, text) = world.refusal(world.pinned(&first, "c.json"));
    assert_eq!(reason, "git.remote_error", "{text}");
    assert!(text.contains("the disk is full") && !text.contains('\x1b'), "{text}");
    world.alter(|body| body);
    assert_eq!(world.one(world.pinned(&first, "c.json")).unwrap().bytes, b"one");
}

#[test]
fn a_cache_may_be_deleted_damaged_or_read_only_at_any_time() {
    let world = World::new();
    let commit = world.publish(&registry("one"));
    let want = || world.pinned(&commit, "packages/acme.c3/manifest.json");
    let expected = world.one(want()).unwrap().bytes;
    let objects = world.cached().len();
    assert!(objects >= 5, "commit, three trees, one blob");
    world.cost();
    for file in world.cached() {
        let mut bytes = fs::read(&file).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 4;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, bytes).unwrap();
    }
    assert_eq!(world.one(want()).unwrap().bytes, expected);
    assert!(world.cost().0 > 2);
    assert_eq!(world.one(want()).unwrap().bytes, expected);
    assert_eq!(world.cost(), (0, 0), "mended");
    for file in world.cached().iter().skip(1) {
        fs::write(file, b"").unwrap();
    }
    assert_eq!(world.one(want()).unwrap().bytes, expected);
    fs::remove_dir_all(world.cache()).unwrap();
    assert_eq!(world.one(want()).unwrap().bytes, expected);
    fs::remove_dir_all(world.cache()).unwrap();
    fs::write(world.cache(), b"a file stands there").unwrap();
    assert_eq!(world.one(want()).unwrap().bytes, expected);
    fs::remove_file(world.cache()).unwrap();
    let limits = Limits { cache_bytes: 0, ..Limits::default() };
    assert_eq!(fetch(world.network(), &[want()], &limits)[0].as_ref().unwrap().bytes, expected);
    assert_eq!(world.cached().len(), 0, "more than limits.cache_bytes");
}

#[test]
fn several_threads_share_a_cache() {
    let world = World::new();
    let commit = world.publish(&registry("one"));
    std::thread::scope(|scope| {
        for start in 0..4 {
            let (world, commit) = (&world, &commit);
            scope.spawn(move || {
                for n in (start..40).step_by(2) {
                    let path = format!("packages/acme.c{n}/manifest.json");
                    let fetched = world.one(world.pinned(commit, &path)).unwrap();
                    assert!(fetched.bytes.ends_with(format!("number {n}\"}}\n").as_bytes()));
                }
            });
        }
    });
}

#[test]
fn history_is_bounded_and_brings_commits_only() {
    let world = World::new();
    let mut commits: Vec<String> =
        (0..30).map(|n| world.work.commit(&files(&[("c.json", &n.to_string())]))).collect();
    world.push();
    commits.reverse();
    let lines = |answer: Result<Fetched, FetchError>| -> Vec<String> {
        String::from_utf8(answer.unwrap().bytes).unwrap().lines().map(str::to_owned).collect()
    };
    for count in [1u32, 5, 30, 1000] {
        let found = lines(world.one(world.history(&commits[0], count)));
        assert_eq!(found, commits[..30.min(count as usize)], "{count}");
        let here = fetch(
            Network::default(),
            &[moved(&world.history(&commits[0], count), &world.bare())],
            &Limits::default(),
        );
        assert_eq!(lines(here.into_iter().next().unwrap()), found);
    }
    assert_eq!(world.refusal(world.history(&"1".repeat(40), 5)).0, "git.commit_missing");
    let shallow = world.directory.path().join("shallow.git");
    let from = format!("file://{}", world.bare().display());
    place::git(&world.root(), &["clone", "-q", "--bare", "--depth", "4", &from, shallow.to_str().unwrap()]);
    let here =
        fetch(Network::default(), &[moved(&world.history(&commits[0], 30), &shallow)], &Limits::default());
    assert_eq!(lines(here.into_iter().next().unwrap()), commits[..4]);
    let path = world.work.path.clone();
    let git = |arguments: &[&str]| place::git(&path, arguments).trim().to_owned();
    git(&["checkout", "-q", "-b", "side", "HEAD~3"]);
    git(&["commit", "-q", "--allow-empty", "-m", "beside"]);
    git(&["merge", "-q", "--no-edit", "-s", "ours", "main"]);
    let merge = git(&["rev-parse", "HEAD"]);
    world.push();
    let found = lines(world.one(world.history(&merge, 4)));
    assert_eq!(found[0], merge);
    assert_eq!((found.len(), &found[2]), (4, &commits[0]), "both parents before any grandparent");
    let here =
        fetch(Network::default(), &[moved(&world.history(&merge, 4), &world.bare())], &Limits::default());
    assert_eq!(lines(here.into_iter().next().unwrap()), found);
}

/// A list with one catalogue of one component, all in one repository.
fn federation() -> Files {
    let components = [Component::new("lcod://acme/one", "1.0.0", &[])];
    let mut files = lcod::all_files(&components);
    files.insert("one.json".to_owned(), lcod::array(&components));
    let pointer = json!({ "id": "one", "kind": "file", "path": "one.json" });
    files.insert("catalogues.json".to_owned(), lcod::catalogues(&[pointer]));
    files
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_of_a_fetch_syncs_when_it_is_back() {
    let world = World::new();
    let commit = world.publish(&federation());
    let is_slow = Arc::new(AtomicBool::new(true));
    let slow = Arc::clone(&is_slow);
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&posts);
    // The ref, the commit, its tree and the list arrive; what the list names does not.
    let stall = move |request: &Logged| {
        let start =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-git-upload-pack-result\r\n\r\n000dpackfile\n";
        let is_late = request.method == "POST" && counted.fetch_add(1, Ordering::Relaxed) >= 4;
        (is_late && slow.load(Ordering::Relaxed)).then(|| Route::Stall(start.to_vec()))
    };
    world.server.mount("/git", GitMount::of(&world.root()).before(stall));
    let sandbox = Sandbox::with_sources(&lcod::sources("mine", &world.url(), "catalogues.json"));
    let ca_file = world.server.ca_file();
    fs::create_dir_all(sandbox.path("config/resolverd")).unwrap();
    let config = format!("[https]\nca_file = \"{}\"\nproxy = \"none\"\n", ca_file.display());
    fs::write(sandbox.path("config/resolverd/config.toml"), config).unwrap();

    let daemon = sandbox.spawn();
    poll::until("the fifth request", || (posts.load(Ordering::Relaxed) > 4).then_some(()));
    daemon.kill();
    let mut cached = Vec::new();
    below(&sandbox.path("cache"), &mut cached);
    assert!(cached.iter().any(|file| file.to_str().unwrap().contains("/objects/")), "{cached:?}");
    // What a kill between writing and renaming would have left.
    let tmp = cached.iter().find(|file| file.ends_with("lock")).unwrap().with_file_name("tmp");
    fs::write(tmp.join("half"), b"half an object").unwrap();

    is_slow.store(false, Ordering::Relaxed);
    let daemon = sandbox.start_synced();
    assert_eq!(daemon.ids(), ["lcod://acme/one"], "{:#}", daemon.get("/v1/catalogues").ok());
    let answer = daemon.resolve(&["lcod://acme/one@1"]).ok();
    assert_eq!(answer["components"][0]["source"]["commit"], json!(commit), "{answer:#}");
    assert_eq!(fs::read_dir(tmp).unwrap().count(), 0);
}

#[test]
fn ssh_carries_the_same_protocol_to_a_repository_that_the_operator_names() {
    let world = World::new();
    world.publish(&federation());
    let sandbox = Sandbox::new();
    let (bin, log) = (sandbox.path("bin"), sandbox.path("ssh.log"));
    fs::create_dir_all(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$GIT_PROTOCOL $*\" >>'{}'\nfor last; do :; done\nexec sh -c \"$last\"\n",
        log.display()
    );
    fs::write(bin.join("ssh"), script).unwrap();
    fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o700)).unwrap();
    let path = format!("{}:{}", bin.display(), place::variable("PATH").unwrap());
    let run = |url: &str, arguments: &[&str]| {
        sandbox.write_sources(&lcod::sources("mine", url, "catalogues.json"));
        Said::of(sandbox.command().env("PATH", &path).args(arguments))
    };
    let url = format!("ssh://git@forge.example:2222{}", world.bare().display());
    let said = run(&url, &["sync"]);
    assert_eq!(said.status, 0, "{said:?}");
    let said = run(&url, &["resolve", "lcod://acme/one@1"]);
    assert!(said.status == 0 && said.stdout.contains("lcod://acme/one"), "{said:?}");
    let logged = fs::read_to_string(&log).unwrap();
    let expected = format!(
        "version=2 -o BatchMode=yes -o SendEnv=GIT_PROTOCOL -p 2222 -- git@forge.example git-upload-pack '{}'",
        world.bare().display()
    );
    assert!(logged.lines().all(|line| line == expected) && !logged.is_empty(), "{logged}");

    let said = run(&format!("git@forge.example:{}/absent.git", world.root().display()), &["sync"]);
    let text = format!("{}{}", said.stdout, said.stderr);
    assert!(text.contains("git.remote_error") && text.contains("absent.git"), "{said:?}");
    let old = "#!/bin/sh\nunset GIT_PROTOCOL\nfor last; do :; done\nexec sh -c \"$last\"\n";
    fs::write(bin.join("ssh"), old).unwrap();
    let said = run(&url, &["sync"]);
    let text = format!("{}{}", said.stdout, said.stderr);
    assert!(text.contains("git.protocol") && text.contains("AcceptEnv GIT_PROTOCOL"), "{said:?}");
    fs::write(bin.join("ssh"), "#!/bin/sh\necho 'Host key verification failed.' >&2\nexit 255\n").unwrap();
    let said = run(&url, &["sync"]);
    let text = format!("{}{}", said.stdout, said.stderr);
    assert!(text.contains("Host key verification failed."), "{said:?}");
}
