//! Where a daemon lives: directories that are planted, of somebody else or open to others are refused by name before anything is
//! touched, and so are file systems of other machines. A running daemon under every umask and with few descriptors.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::faults::Mount;
use crate::harness::daemon::{Daemon, Said, Sandbox, mode};
use crate::harness::fuse::Fuse;
use crate::harness::lcod::{self, Component};
use crate::harness::repository::{Files, Repository, write};
use crate::harness::tls::{GitMount, TlsServer};
use crate::harness::world::{Served, World, named, served};
use crate::harness::{http, place, poll, trace};
use crate::system::SOMEBODY;

/// Another user, of whom nobody has heard.
const OTHER: u32 = 65_531;
/// What is asked for: one component of a repository on this machine, one of a repository behind TLS.
const IDS: [&str; 2] = ["lcod://far/one", "lcod://near/one"];

/// A federation of a repository on this machine and one on a server, which change in rounds.
struct Living {
    sandbox: Sandbox,
    near: Repository,
    far: Repository,
    _server: TlsServer,
}

impl Living {
    fn new() -> Living {
        let (sandbox, server) = (Sandbox::new(), TlsServer::start());
        let [near, far] = ["near", "far"].map(|name| Repository::create(&sandbox.path(name)));
        let ca_file = sandbox.path("ca.pem");
        fs::copy(server.ca_file(), &ca_file).unwrap();
        let config = format!(
            "cache_dir = {:?}\n[https]\nca_file = {ca_file:?}\nproxy = \"none\"\n",
            sandbox.path("cache/resolverd")
        );
        write(&sandbox.path("config/resolverd"), &Files::from([("config.toml".into(), config.into_bytes())]));
        let source = |id: &str, url: String| lcod::sources(id, &url, "list.json")["sources"][0].clone();
        let far_url = server.url("/git/far.git");
        sandbox.write_sources(&json!({ "sources": [source("near", near.url()), source("far", far_url)] }));
        server.mount("/git", GitMount::of(&sandbox.path("served")));
        let living = Living { sandbox, near, far, _server: server };
        living.publish(1);
        living
    }

    fn publish(&self, round: u64) {
        for (id, repository) in IDS.into_iter().zip([&self.far, &self.near]) {
            let one = [Component::new(id, &format!("0.{round}.0"), &[])];
            let mut files = lcod::all_files(&one);
            files.insert("list.json".to_owned(), lcod::array(&one));
            repository.commit(&files);
        }
        let bare = self.sandbox.path("served/far.git");
        if !bare.exists() {
            fs::create_dir_all(self.sandbox.path("served")).unwrap();
            self.far.bare_clone(&bare);
            place::git(&bare, &["config", "uploadpack.allowFilter", "true"]);
        }
        let to = bare.to_str().unwrap();
        place::git(&self.far.path, &["push", "--quiet", "--force", to, "refs/*:refs/*"]);
    }

    /// Gives everything to a user.
    fn give(&self, user: u32) {
        let apart = ["served", "far"].map(|name| self.sandbox.path(name));
        let all = below(&self.sandbox.path("")).into_iter();
        // Git serves those, as the user of this process.
        all.filter(|path| apart.iter().all(|apart| !path.starts_with(apart)))
            .for_each(|path| chown(path, Some(user), Some(group_of(user))).unwrap());
        fs::set_permissions(self.sandbox.path(""), Permissions::from_mode(0o755)).unwrap();
    }

    fn cache(&self) -> PathBuf {
        self.sandbox.path("cache/resolverd")
    }

    fn run_dir(&self) -> PathBuf {
        self.sandbox.socket().parent().unwrap().to_owned()
    }

    /// Syncs and puts files on disk, so that every directory is there.
    fn furnished() -> Living {
        let living = Living::new();
        let daemon = living.sandbox.start_synced();
        assert_eq!(round(&daemon), 1);
        materialize(&daemon).ok();
        assert!(daemon.stop().success());
        living
    }
}

/// Returns a path and everything below it, without following a link.
fn below(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.symlink_metadata().unwrap().is_dir() {
        found.extend(fs::read_dir(path).unwrap().flat_map(|entry| below(&entry.unwrap().path())));
    }
    found
}

/// Returns the round that is answered; both components are of one.
fn round(daemon: &Daemon) -> u64 {
    let answer = daemon.resolve(&IDS).ok();
    let version = |id: &str| {
        let chosen = answer["components"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap();
        chosen["version"].as_str().unwrap().split('.').nth(1).unwrap().parse::<u64>().unwrap()
    };
    version(IDS[1])
}

fn materialize(daemon: &Daemon) -> http::Answer {
    daemon.post("/v1/materialize", &json!({ "releases": IDS }))
}

/// Returns the group that a user's files get: no other can be given by whoever is not root.
fn group_of(user: u32) -> u32 {
    if is_root() { user } else { rustix::process::getegid().as_raw() }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What lies below a path: kind and mode, owner, bytes or the target of a link. A socket or lock is there, and that is all.
fn picture(path: &Path) -> BTreeMap<PathBuf, (u32, u32, Vec<u8>)> {
    let one = |path: PathBuf| {
        let found = path.symlink_metadata().unwrap();
        let bytes = match found.file_type() {
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            kind if kind.is_file() => fs::read(&path).unwrap(),
            _ => Vec::new(),
        };
        (path, (found.mode(), found.uid(), bytes))
    };
    below(path).into_iter().map(one).collect()
}

/// Asks a verb, or a daemon to start, and tells what it said when it was refused; nothing may have been touched.
fn refused(living: &Living, arguments: &[&str], user: Option<u32>) -> String {
    let before = picture(&living.sandbox.path(""));
    let mut command = living.sandbox.command();
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let said = Said::of(command.args(arguments));
    let why = named(&said);
    assert!(why.contains("hint: "), "{arguments:?}: {why}");
    assert!(picture(&living.sandbox.path("")) == before, "{arguments:?}: something was touched: {why}");
    why
}

/// Says that the directory is told of by `doctor` in the same words.
fn told_by_doctor(living: &Living, check: &str, word: &str) {
    let said = living.sandbox.run(&["doctor", "-o", "json"]);
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    let is_told = |one: &Value| {
        one["check"] == check && one["state"] == "wrong" && one["found"].as_str().unwrap().contains(word)
    };
    assert!(answer["findings"].as_array().unwrap().iter().any(is_told), "{check} {word}: {answer:#}");
}

/// The directories that hold others, with what `doctor` calls them.
fn roots(living: &Living) -> [(&'static str, PathBuf); 3] {
    [("state", living.sandbox.state()), ("cache", living.cache()), ("socket.directory", living.run_dir())]
}

/// The directories in the cache that are written into.
fn rooms(living: &Living) -> Vec<PathBuf> {
    let cache = living.cache();
    let mut all: Vec<PathBuf> =
        ["files", "files/trees", "files/about", "git"].iter().map(|name| cache.join(name)).collect();
    all.extend(fs::read_dir(cache.join("files")).unwrap().map(|entry| entry.unwrap().path()));
    for remote in fs::read_dir(cache.join("git")).unwrap().map(|entry| entry.unwrap().path()) {
        all.extend(["objects", "tmp", "lock", "url"].map(|name| remote.join(name)));
        all.push(remote);
    }
    all.retain(|path| path.exists());
    all.sort();
    all.dedup();
    assert!(all.len() >= 10, "{all:?}");
    all
}

/// The verbs that write into a directory.
fn writing(check: &str) -> Vec<&'static [&'static str]> {
    match check {
        "socket.directory" => vec![&["serve"], &["resolve", "--auto", "lcod://near/one"]],
        "cache" => vec![&["serve"], &["sync"]],
        _ => vec![&["serve"], &["sync"], &["materialize", "lcod://near/one"]],
    }
}

#[test]
fn a_planted_link_in_the_place_of_any_directory_is_refused_and_never_followed() {
    let living = Living::furnished();
    // A link of one's own in the place of a whole directory is no plant; only root can make one of somebody else.
    let whole = roots(&living).into_iter().filter(|_| is_root()).map(|(check, path)| (check, path, true));
    let all = whole.chain(rooms(&living).into_iter().map(|path| ("cache", path, false)));
    for (check, path, is_foreign) in all {
        let outside = living.sandbox.path("outside");
        fs::rename(&path, &outside).unwrap();
        symlink(&outside, &path).unwrap();
        if is_foreign {
            lchown(&path, Some(SOMEBODY), None).unwrap();
        }
        for arguments in writing(check) {
            let why = refused(&living, arguments, None);
            assert!(
                ["symbolic link", "store.unsafe_dir", path.to_str().unwrap()]
                    .iter()
                    .all(|word| why.contains(word)),
                "{path:?}: {why}"
            );
        }
        told_by_doctor(&living, check, "symbolic link");
        fs::remove_file(&path).unwrap();
        fs::rename(&outside, &path).unwrap();
    }
    // A link that leads nowhere would be made into a directory there.
    for (check, path) in roots(&living) {
        let away = living.sandbox.path("away");
        fs::rename(&path, &away).unwrap();
        symlink(living.sandbox.path("nowhere"), &path).unwrap();
        for arguments in writing(check) {
            assert!(refused(&living, arguments, None).contains("symbolic link"), "{path:?}");
        }
        fs::remove_file(&path).unwrap();
        // Nor is anything else a directory.
        fs::write(&path, "").unwrap();
        assert!(refused(&living, &["serve"], None).contains("a file"), "{path:?}");
        fs::remove_file(&path).unwrap();
        fs::rename(&away, &path).unwrap();
    }
    let daemon = living.sandbox.start_synced();
    materialize(&daemon).ok();
}

#[test]
fn a_link_of_ones_own_is_followed_however_its_path_is_written() {
    let living = Living::furnished();
    let there = living.sandbox.path("elsewhere");
    fs::create_dir(&there).unwrap();
    fs::set_permissions(&there, Permissions::from_mode(0o700)).unwrap();
    for (_, path) in roots(&living) {
        let moved = there.join(path.file_name().unwrap());
        fs::rename(&path, &moved).unwrap();
        symlink(moved, &path).unwrap();
    }
    let slashed = |path: PathBuf| format!("{}/", path.display());
    for is_slashed in [false, true] {
        let mut command = living.sandbox.command();
        if is_slashed {
            command.env("RESOLVERD_CACHE_DIR", slashed(living.cache()));
            command.env("RESOLVERD_STATE_DIR", slashed(living.sandbox.state()));
        }
        let mut daemon = living.sandbox.spawn_as(command);
        daemon.wait_for("/readyz");
        daemon.sync();
        assert_eq!(round(&daemon), 1);
        materialize(&daemon).ok();
        assert!(daemon.stop().success());
    }
    if !is_root() {
        return place::skipped("only root can make links of another user");
    }
    // A slash at its end hides no link of somebody else.
    for (variable, path) in
        [("RESOLVERD_STATE_DIR", living.sandbox.state()), ("RESOLVERD_CACHE_DIR", living.cache())]
    {
        lchown(&path, Some(SOMEBODY), None).unwrap();
        let said = Said::of(living.sandbox.command().env(variable, slashed(path.clone())).arg("sync"));
        assert!(said.status != 0 && said.stderr.contains("symbolic link of user"), "{path:?}: {said:?}");
        lchown(&path, Some(0), None).unwrap();
    }
}

#[test]
fn an_object_directory_that_is_a_link_is_not_written_through() {
    let living = Living::furnished();
    let outside = living.sandbox.path("outside");
    fs::create_dir(&outside).unwrap();
    let remote = fs::read_dir(living.cache().join("git")).unwrap().next().unwrap().unwrap().path();
    // Wherever an object of the next round goes to.
    for first in 0..=255u8 {
        let path = remote.join(format!("objects/{first:02x}"));
        let _ = fs::remove_dir_all(&path);
        symlink(&outside, &path).unwrap();
    }
    living.publish(2);
    let daemon = living.sandbox.start_synced();
    assert_eq!(round(&daemon), 2);
    materialize(&daemon).ok();
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0, "something was written behind a link");
}

#[test]
fn directories_that_others_may_write_are_refused_by_name() {
    let living = Living::furnished();
    for (check, path) in roots(&living) {
        for bad in [0o777, 0o770, 0o722, 0o2775] {
            fs::set_permissions(&path, Permissions::from_mode(bad)).unwrap();
            for arguments in writing(check) {
                let why = refused(&living, arguments, None);
                let words = [&format!("mode {bad:04o}"), "chmod 7", "store.unsafe_dir"];
                assert!(words.iter().all(|word| why.contains(word)), "{path:?}: {why}");
            }
            told_by_doctor(&living, check, &format!("mode {bad:04o}"));
        }
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    }
    // In a directory like /tmp nobody takes the socket of another user away; one of a service is for its group.
    for good in [0o1777, 0o750, 0o755] {
        fs::set_permissions(living.run_dir(), Permissions::from_mode(good)).unwrap();
        assert!(living.sandbox.start().stop().success());
        assert_eq!(mode(&living.run_dir()), good, "it is left as it is");
    }
    // What only we have looked into is made good again.
    for room in ["files", "files/trees", "git"] {
        fs::set_permissions(living.cache().join(room), Permissions::from_mode(0o777)).unwrap();
    }
    living.publish(2);
    let daemon = living.sandbox.start_synced();
    materialize(&daemon).ok();
    assert_eq!(open_to_others(&living.cache()), Vec::<PathBuf>::new());
}

#[test]
fn directories_of_somebody_else_are_refused_by_name() {
    if !is_root() {
        return place::skipped("only root can make files of another user");
    }
    let living = Living::furnished();
    let all = || roots(&living).into_iter().chain(rooms(&living).into_iter().map(|path| ("cache", path)));
    // Root's daemon in a place of somebody's, somebody's in a place of another's, and in one of root's where that is not meant.
    for (user, owner) in [(0, SOMEBODY), (SOMEBODY, OTHER), (SOMEBODY, 0)] {
        living.give(user);
        for (check, path) in all() {
            let is_root_of_all = roots(&living).iter().any(|(_, root)| *root == path);
            if owner == 0 && is_root_of_all && check != "state" {
                continue;
            }
            chown(&path, Some(owner), None).unwrap();
            for arguments in writing(check) {
                let why = refused(&living, arguments, Some(user));
                // A verb asks first who serves there, and may not even look.
                let is_shut = check == "socket.directory" && why.contains("Permission denied");
                assert!(
                    is_shut || why.contains(&format!("user {owner}")) && why.contains("store.unsafe_dir"),
                    "{path:?} {arguments:?}: {why}"
                );
            }
            if user == 0 {
                told_by_doctor(&living, check, &format!("user {owner}"));
            }
            chown(&path, Some(user), None).unwrap();
        }
    }
    // What is root's is nobody's plan: links of a service manager, a directory like /tmp.
    let sandbox = &living.sandbox;
    let there = sandbox.path("private");
    fs::create_dir(&there).unwrap();
    for (_, path) in &roots(&living)[..2] {
        let moved = there.join(path.file_name().unwrap());
        fs::rename(path, &moved).unwrap();
        symlink(moved, path).unwrap();
    }
    chown(living.run_dir(), Some(0), Some(0)).unwrap();
    fs::set_permissions(living.run_dir(), Permissions::from_mode(0o1777)).unwrap();
    let mut command = sandbox.command();
    command.uid(SOMEBODY).gid(SOMEBODY);
    let mut daemon = sandbox.spawn_as(command);
    daemon.wait_for("/readyz");
    daemon.sync();
    materialize(&daemon).ok();
    // A link of the user's own is as good as root's, one of somebody else is not.
    assert!(daemon.stop().success());
    lchown(sandbox.state(), Some(OTHER), None).unwrap();
    assert!(refused(&living, &["serve"], Some(SOMEBODY)).contains("symbolic link"));
}

/// Returns what others may write, a socket apart, whose mode is told by name.
fn open_to_others(path: &Path) -> Vec<PathBuf> {
    let is_open = |path: &PathBuf| {
        let found = path.symlink_metadata().unwrap();
        !found.is_symlink() && found.mode() & 0o022 != 0
    };
    below(path).into_iter().filter(is_open).collect()
}

#[test]
fn a_daemon_under_any_umask_keeps_what_is_its_own() {
    for umask in ["0000", "0077", "0777"] {
        for is_system in [false, true] {
            let living = Living::new();
            let sandbox = &living.sandbox;
            let user = if is_root() { SOMEBODY } else { rustix::process::geteuid().as_raw() };
            living.give(user);
            let mut command = Command::new("sh");
            sandbox.furnish(&mut command);
            command.arg("-c").arg(format!("umask {umask}; exec \"$0\" \"$@\"")).arg(place::binary());
            command.uid(user).gid(group_of(user));
            if is_system {
                command.env("RESOLVERD_CONFIG", sandbox.path("config/resolverd/config.toml"));
            }
            let mut daemon = match is_system {
                true => sandbox.spawn_of(command, &["--system"]),
                false => sandbox.spawn_as(command),
            };
            daemon.wait_for("/readyz");
            daemon.sync();
            assert_eq!(round(&daemon), 1, "{umask}");
            for round_of_all in [1, 2] {
                living.publish(round_of_all);
                below(&living.near.path).into_iter().for_each(|path| chown(path, Some(user), None).unwrap());
                daemon.sync();
                assert_eq!(round(&daemon), round_of_all, "{umask}: {}", daemon.log());
                materialize(&daemon).ok();
            }
            let what = format!("{umask} {is_system}");
            for path in below(&sandbox.state()) {
                let expected = if path.is_dir() { 0o700 } else { 0o600 };
                assert_eq!(mode(&path), expected, "{what}: {}", path.display());
            }
            let (socket, directory) = if is_system { (0o660, 0o750) } else { (0o600, 0o700) };
            assert_eq!((mode(&sandbox.socket()), mode(&living.run_dir())), (socket, directory), "{what}");
            assert_eq!(open_to_others(&living.cache()), Vec::<PathBuf>::new(), "{what}");
            for path in below(&living.cache()) {
                let wanted = if path.is_dir() { 0o500 } else { 0o400 };
                assert_eq!(mode(&path) & wanted, wanted, "{what}: {}", path.display());
            }
            let cached = fs::read_dir(living.cache().join("git")).unwrap().count();
            assert_eq!(cached, 1, "{what}: objects are cached: {}", daemon.log());
            assert!(!daemon.log().contains("without a cache"), "{what}: {}", daemon.log());
            assert!(daemon.stop().success());
        }
    }
}

#[test]
fn a_daemon_with_few_descriptors_serves_or_says_why_and_recovers_by_itself() {
    let living = Living::furnished();
    let sandbox = &living.sandbox;
    let mut last = 1;
    for files in [64, 40, 28, 16] {
        let mut command = Command::new("prlimit");
        sandbox.furnish(&mut command);
        command.arg(format!("--nofile={files}:1024")).arg("--").arg(place::binary());
        let mut daemon = sandbox.spawn_as(command);
        let serves = poll::until("an answer or an end", || match daemon.has_ended() {
            true => Some(false),
            false => (daemon.try_ask("GET", "/readyz", None).ok()?.status == 200).then_some(true),
        });
        if !serves {
            let log = daemon.log();
            assert!(files < 64 && log.contains("error: ") && !log.contains("panicked"), "{files}: {log}");
            eprintln!("{files} descriptors: it says that they are too few");
            continue;
        }
        living.publish(last + 1);
        // As many clients as it lets in, and more, keep their connections.
        let taken: Vec<UnixStream> =
            (0..files).filter_map(|_| UnixStream::connect(sandbox.socket()).ok()).collect();
        let said = daemon.try_ask("POST", "/v1/sync", Some(&json!({})));
        assert!(!daemon.has_ended(), "{files}: {}", daemon.log());
        drop(taken);
        let found = poll::until("an answer", || daemon.try_ask("GET", "/readyz", None).ok());
        assert_eq!(found.status, 200, "{files}: {found}");
        if files == 64 {
            daemon.sync();
            assert_eq!(round(&daemon), last + 1, "64 descriptors are enough: {said:?} {}", daemon.log());
            materialize(&daemon).ok();
        }
        let answered = round(&daemon);
        assert!([last, last + 1].contains(&answered), "{files}: {answered}");
        let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(1024), maximum: Some(1024) }).unwrap();
        daemon.sync();
        last += 1;
        assert_eq!(round(&daemon), last, "{files}: {}", daemon.log());
        materialize(&daemon).ok();
        assert!(!daemon.log().contains("panicked"), "{files}: {}", daemon.log());
        assert!(daemon.stop().success());
    }
    let names = fs::read_dir(sandbox.state()).unwrap().map(|entry| entry.unwrap().file_name());
    let bad: Vec<_> = names.filter(|name| name.to_string_lossy().contains(".bad-")).collect();
    assert!(bad.is_empty(), "a sound index is not set aside: {bad:?}");
}

/// Says that the state directory is refused for its file system, and that nothing was written there.
fn refused_for(sandbox: &Sandbox, said: &Said, name: &str) {
    let why = named(said);
    let words = [name, "locks", "allow_network_fs = true"];
    assert!(words.iter().all(|word| why.contains(word)), "{why}");
    assert!(!sandbox.state().join("lock").exists(), "{why}");
}

#[test]
fn a_network_file_system_is_refused_by_name_unless_it_is_allowed() {
    if !trace::is_here() {
        return;
    }
    // NFS, CIFS, 9p, Ceph: the numbers as they lie in memory.
    for (name, bytes) in [("NFS", "69690000"), ("CIFS", "424d53ff"), ("9p", "97190201"), ("Ceph", "0064c300")]
    {
        let world = World::new();
        let lie = format!("inject=statfs:poke_exit=@arg2={bytes}00000000");
        let flags = ["-e", "trace=statfs", "-e", &lie];
        for arguments in [&["sync"][..], &["serve"]] {
            let (said, log) = trace::run(&world.sandbox, &flags, arguments);
            if log.is_empty() && said.stderr.contains("strace: ") {
                return place::skipped(&format!("strace cannot change an answer: {}", said.stderr));
            }
            assert!(said.stderr.contains("store.network_fs"), "{said:?}");
            refused_for(&world.sandbox, &said, name);
        }
        let home = world.sandbox.path("config/resolverd");
        write(&home, &Files::from([("config.toml".into(), b"allow_network_fs = true\n".to_vec())]));
        let (said, _) = trace::run(&world.sandbox, &flags, &["sync"]);
        assert_eq!(said.status, 0, "{name}: {said:?}");
        assert_eq!(served(&world.sandbox), Served::Round(1));
        let (said, _) = trace::run(&world.sandbox, &flags, &["doctor", "-o", "json"]);
        assert!(said.status == 0 && said.stdout.contains("allow_network_fs allows"), "{name}: {said:?}");
        fs::remove_file(home.join("config.toml")).unwrap();
        let (said, _) = trace::run(&world.sandbox, &flags, &["doctor"]);
        assert!(said.status == 1 && said.stdout.contains(name), "{name}: {said:?}");
    }
}

#[test]
fn what_a_program_serves_from_another_machine_is_refused_by_name() {
    let world = World::new();
    let sandbox = &world.sandbox;
    let Some(mount) = Fuse::mount(&sandbox.state(), "sshfs") else { return };
    for verb in ["sync", "serve"] {
        refused_for(sandbox, &sandbox.run(&[verb]), "fuse.sshfs");
    }
    assert!(mount.asked() > 0, "the file system was asked");
    let said = sandbox.run(&["doctor"]);
    assert!(said.status == 1 && said.stdout.contains("fuse.sshfs"), "{said:?}");
}

#[test]
fn an_overlay_is_a_file_system_like_any_other() {
    let world = World::new();
    let sandbox = &world.sandbox;
    let Some(_mount) = Mount::overlay(&sandbox.path("merged"), &sandbox.path("layers")) else { return };
    let run = |arguments: &[&str]| {
        let state = sandbox.path("merged/state");
        let mut command = sandbox.command();
        Said::of(command.env("RESOLVERD_STATE_DIR", state).args(arguments))
    };
    for round in [1, 2] {
        world.publish(round);
        let said = run(&["sync"]);
        assert!(said.status == 0 && said.stdout.contains(&format!("generation {round}")), "{said:?}");
    }
    let said = run(&["resolve", "--offline", "lcod://crash/part00"]);
    assert!(said.status == 0 && said.stdout.contains("0.2.0"), "{said:?}");
    let said = run(&["doctor", "--deep"]);
    assert!(said.status == 0 && said.stdout.contains("overlay"), "{said:?}");
}
