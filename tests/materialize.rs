//! Files of releases on disk, through the real binary, real repositories and a real TLS server: verified, read-only, once for
//! everybody, never half, never outside the cache; workspaces that kernels read; what `verify`, `gc` and `locate` say.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::harness::chance::{Chance, number};
use crate::harness::daemon::{Daemon, Said, Sandbox, mode};
use crate::harness::lcod::{self, Component, Federation, Form};
use crate::harness::repository::{Files, Repository};
use crate::harness::tls::{GitMount, Route, TlsServer};
use crate::harness::{http, place, poll};

/// A sandbox whose read-only directories can be removed at the end.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) components: Vec<Component>,
}

impl Drop for World {
    fn drop(&mut self) {
        place::open_up(&self.sandbox.path("cache"));
    }
}

impl World {
    /// Publishes components in one form.
    pub(crate) fn new(components: Vec<Component>, form: Form) -> World {
        let sandbox = Sandbox::new();
        let federation = Federation::build(&sandbox.path("world"), components);
        sandbox.write_sources(&federation.sources(form));
        World { sandbox, components: federation.components }
    }

    /// Publishes two components in one form.
    pub(crate) fn few(form: Form) -> World {
        let one = Component::new("lcod://acme/tools/one", "1.0.0", &["lcod://acme/tools/two@1"]);
        World::new(vec![one, Component::new("lcod://acme/tools/two", "1.2.0", &[])], form)
    }

    /// Publishes a catalogue of one row over a repository whose last commit holds `files`, made by `more` as well.
    pub(crate) fn of_files(files: &Files, more: impl FnOnce(&Path)) -> World {
        let sandbox = Sandbox::new();
        let component = Component::new("lcod://acme/x", "1.0.0", &[]);
        let home = Repository::create(&sandbox.path("home"));
        let mut all = lcod::all_files(std::slice::from_ref(&component));
        all.extend(files.clone());
        all.insert("list.jsonl".to_owned(), lcod::lines("acme/list", &[lcod::row(&component)]));
        home.commit(&all);
        more(&home.path);
        sandbox.write_sources(&lcod::sources("acme", &home.url(), "list.jsonl"));
        World { sandbox, components: vec![component] }
    }

    /// Returns the cache of files.
    pub(crate) fn cache(&self) -> PathBuf {
        self.sandbox.path("cache/resolverd/files")
    }

    /// Returns the names in a directory of the cache, but for what is half-made.
    pub(crate) fn kept(&self, name: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.cache().join(name)) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with(".tmp-")).collect()
    }
}

/// Asks for releases.
pub(crate) fn ask(daemon: &Daemon, releases: &[&str]) -> http::Answer {
    daemon.post("/v1/materialize", &json!({"releases": releases}))
}

/// Returns where a row says that the files lie.
pub(crate) fn directory(row: &Value) -> &Path {
    Path::new(row["directory"].as_str().unwrap())
}

/// Returns every file below a directory with its bytes.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(place) = open.pop() {
        for entry in fs::read_dir(&place).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false => {
                    let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    found.insert(name, fs::read(entry.path()).unwrap());
                }
            }
        }
    }
    found
}

fn rewrite(file: &Path, bytes: &[u8]) {
    fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
    fs::write(file, bytes).unwrap();
}

#[test]
fn every_form_of_catalogue_gives_the_same_read_only_files() {
    let mut seen = Vec::new();
    for form in lcod::FORMS {
        let world = World::few(form);
        let daemon = world.sandbox.start_synced();
        let answer = ask(&daemon, &["lcod://acme/tools/one@1", "lcod://acme/tools/two"]).ok();
        let rows = answer["items"].as_array().unwrap();
        for (row, component) in rows.iter().zip(&world.components) {
            assert_eq!(row["release"], component.full(), "{form:?}");
            assert_eq!(
                (&row["from"], row["source"]["id"].as_str()),
                (&json!("fetched"), Some("lcod-default"))
            );
            let place = directory(row);
            assert!(place.starts_with(world.cache()), "{row:#}");
            let found = tree(place);
            // The directory of a row holds the manifest of the other forms as well.
            assert_eq!(found["compose.yaml"], component.compose(), "{form:?}");
            assert_eq!(found["lcp.toml"], component.descriptor(), "{form:?}");
            for line in row["files"].as_array().unwrap() {
                let bytes = &found[line["path"].as_str().unwrap()];
                assert_eq!(line["digest"], Digest::sha256(bytes).to_string());
                assert_eq!(mode(&place.join(line["path"].as_str().unwrap())), 0o444);
            }
            assert_eq!((mode(place), found.len()), (0o555, row["files"].as_array().unwrap().len()));
            assert_eq!((&row["compose"], &row["descriptor"]), (&json!("compose.yaml"), &json!("lcp.toml")));
            assert_eq!(row["tree"].is_string(), matches!(form, Form::Lines | Form::Array), "{row:#}");
        }
        let again = ask(&daemon, &["lcod://acme/tools/one@1.0.0"]).ok();
        assert_eq!(
            (&again["items"][0]["from"], &again["items"][0]["directory"]),
            (&json!("cache"), &rows[0]["directory"])
        );
        seen.push(rows[0]["integrity"].clone());
    }
    assert_eq!(seen[0], seen[3], "one content, one digest, whatever lists it");
}

#[test]
fn everything_that_is_required_is_put_on_disk_at_once() {
    let world = World::few(Form::Lines);
    let daemon = world.sandbox.start_synced();
    let question = json!({"requests": ["lcod://acme/tools/one"], "materialize": true});
    let resolved = daemon.post("/v1/resolve", &question).ok();
    let listed: Vec<(&str, &Value)> = resolved["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["id"].as_str().unwrap(), &one["directory"]))
        .collect();
    let [("lcod://acme/tools/two", two), ("lcod://acme/tools/one", one)] = listed[..] else {
        panic!("{resolved:#}")
    };
    for (place, component) in [(one, &world.components[0]), (two, &world.components[1])] {
        assert_eq!(
            fs::read(Path::new(place.as_str().unwrap()).join("compose.yaml")).unwrap(),
            component.compose()
        );
    }
    let plain = daemon.post("/v1/resolve", &json!({"requests": ["lcod://acme/tools/one"]})).ok();
    assert!(plain["components"][0]["directory"].is_null(), "{plain:#}");
    let body = json!({"resolve": {"requests": ["lcod://acme/tools/one"]}});
    let answer = daemon.post("/v1/materialize", &body).ok();
    assert_eq!(
        (&answer["roots"], &answer["items"][1]["directory"]),
        (&json!(["lcod://acme/tools/one@1.0.0"]), one)
    );
    // What cannot be chosen is refused as by a resolve, and a lock that is kept is laid out as it is.
    let absent = json!({"resolve": {"requests": ["lcod://no/body"]}});
    assert_eq!(daemon.post("/v1/materialize", &absent).json()["code"], "E001");
    let view = world.sandbox.path("view");
    let run = |arguments: &[&str]| {
        let mut command = world.sandbox.command();
        Said::of(command.args(arguments).current_dir(world.sandbox.path("")))
    };
    let put = ["materialize", "--locked", "--layout", "lcod-view", view.to_str().unwrap()];
    let said = run(&put);
    assert!(said.status == 4 && said.stderr.contains("lock.absent"), "{said:?}");
    assert_eq!(run(&["lock", "lcod://acme/tools/one"]).status, 0);
    let said = run(&put);
    assert!(said.status == 0 && said.stdout.contains("2 components in"), "{said:?}");
    assert!(view.join("packages/view/components/acme/tools/two/1.2.0/compose.yaml").is_file());
    let said = run(&["materialize", "lcod://acme/tools/one", "--with-dependencies"]);
    assert!(said.status == 0 && said.stdout.contains("lcod://acme/tools/two@1.2.0"), "{said:?}");
}

#[test]
fn what_was_fetched_once_is_there_without_any_origin() {
    let world = World::few(Form::Lines);
    let daemon = world.sandbox.start_synced();
    let before = ask(&daemon, &["lcod://acme/tools/one"]).ok();
    assert!(daemon.stop().success());
    fs::rename(world.sandbox.path("world"), world.sandbox.path("gone")).unwrap();
    let said = world.sandbox.run(&["materialize", "lcod://acme/tools/one", "--offline", "-o", "json"]);
    assert_eq!(said.status, 0, "{said:?}");
    let after: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(after["items"][0]["directory"], before["items"][0]["directory"]);
    let said = world.sandbox.run(&["materialize", "lcod://acme/tools/two", "--offline", "-o", "json"]);
    assert!(said.status == 5 && said.stderr.contains("offline") && said.stderr.contains("hint:"), "{said:?}");
    let daemon = world.sandbox.start();
    let refused =
        daemon.post("/v1/materialize", &json!({"releases": ["lcod://acme/tools/two"], "offline": true}));
    assert_eq!(
        (refused.status, refused.json()["code"].as_str(), refused.reason().as_str()),
        (503, Some("E012"), "offline")
    );
    assert_eq!(ask(&daemon, &["lcod://acme/tools/one"]).ok()["items"][0]["from"], "cache");
}

#[test]
fn a_changed_file_is_named_refused_and_made_good() {
    let world = World::few(Form::Lines);
    let daemon = world.sandbox.start_synced();
    let row = ask(&daemon, &["lcod://acme/tools/one"]).ok()["items"][0].clone();
    assert_eq!(world.sandbox.run(&["verify"]).status, 0);
    rewrite(&directory(&row).join("compose.yaml"), b"compose: []\n");
    let said = world.sandbox.run(&["verify", "lcod://acme/tools/one@1.0.0"]);
    assert!(
        said.status == 7 && said.stdout.contains("changed") && said.stdout.contains("compose.yaml"),
        "{said:?}"
    );
    let offline = json!({"releases": ["lcod://acme/tools/one"], "offline": true});
    let refused = daemon.post("/v1/materialize", &offline);
    assert_eq!((refused.status, refused.reason().as_str()), (500, "cache.changed"), "{refused}");
    let row = ask(&daemon, &["lcod://acme/tools/one"]).ok()["items"][0].clone();
    assert_eq!(row["from"], "fetched");
    assert_eq!(fs::read(directory(&row).join("compose.yaml")).unwrap(), world.components[0].compose());
    assert_eq!(world.sandbox.run(&["verify"]).status, 0);
    let said = world.sandbox.run(&["verify", "lcod://acme/tools/two@1.2.0"]);
    assert!(said.status == 10 && said.stderr.contains("files.absent"), "{said:?}");
}

#[test]
fn trees_that_mean_something_else_elsewhere_are_refused_whole() {
    let file = |name: &str| Files::from([(format!("packages/acme.x/{name}"), b"x".to_vec())]);
    let none = Files::new();
    type More<'a> = &'a dyn Fn(&Path);
    let commit = |home: &Path| {
        place::git(home, &["add", "--all", "--force", "."]);
        place::git(home, &["commit", "--quiet", "--message", "more"]);
    };
    let nothing: More<'_> = &|_| {};
    let link: More<'_> = &|home| {
        std::os::unix::fs::symlink("/etc/passwd", home.join("packages/acme.x/notes.txt")).unwrap();
        commit(home);
    };
    let module: More<'_> = &|home| {
        let id = place::git(home, &["rev-parse", "HEAD"]);
        let info = format!("160000,{},packages/acme.x/module", id.trim());
        place::git(home, &["update-index", "--add", "--cacheinfo", &info]);
        place::git(home, &["commit", "--quiet", "--message", "more"]);
    };
    let twins = [file("Readme"), file("README")].concat_files();
    let cases: [(&str, &Files, More<'_>, &str); 7] = [
        ("symlink", &none, link, "files.entry_type"),
        ("submodule", &none, module, "files.entry_type"),
        ("case twins", &twins, nothing, "files.duplicate"),
        ("device", &file("nul.txt"), nothing, "files.path"),
        ("space", &file("a b"), nothing, "files.path"),
        ("reserved", &file(".resolverd-ok"), nothing, "files.path"),
        ("attributes", &file(".gitattributes"), nothing, "files.path"),
    ];
    for (name, files, more, reason) in cases {
        let world = World::of_files(files, more);
        let daemon = world.sandbox.start_synced();
        let refused = ask(&daemon, &["lcod://acme/x@1.0.0"]);
        assert_eq!((refused.status, refused.reason().as_str()), (422, reason), "{name}: {refused}");
        assert!(
            refused.json()["hint"].is_string() && refused.to_string().contains("lcod://acme/x@1.0.0"),
            "{refused}"
        );
        assert!(world.kept("trees").is_empty() && world.kept("about").is_empty(), "{name}");
    }
}

/// Joins maps of files.
trait ConcatFiles {
    fn concat_files(self) -> Files;
}

impl<const N: usize> ConcatFiles for [Files; N] {
    fn concat_files(self) -> Files {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn limits_bound_what_one_release_may_bring() {
    let deep = Files::from([("packages/acme.x/a/b/c/d.txt".to_owned(), vec![b'x'; 5000])]);
    for (key, value) in
        [("release_files", 2), ("release_depth", 3), ("release_bytes", 4000), ("file_bytes", 4000)]
    {
        let world = World::of_files(&deep, |_| {});
        fs::write(world.sandbox.path("limits.toml"), format!("[limits]\n{key} = {value}\n")).unwrap();
        let config = world.sandbox.path("limits.toml");
        let said = world.sandbox.run(&["materialize", "lcod://acme/x", "--config", config.to_str().unwrap()]);
        assert!(said.status == 1 && said.stderr.contains(&format!("limit.{key}")), "{key}: {said:?}");
        assert!(said.stderr.contains(&format!("limits.{key}")), "{key}: {said:?}");
        let said = world.sandbox.run(&["materialize", "lcod://acme/x"]);
        assert_eq!(said.status, 0, "{said:?}");
    }
}

#[test]
fn bytes_other_than_the_manifest_s_are_never_seen() {
    let world = World::few(Form::Seed);
    // The commit that the manifest names holds another file now: the repository was rewritten behind it.
    let sandbox = Sandbox::new();
    let component = Component::new("lcod://acme/x", "1.0.0", &[]);
    let home = Repository::create(&sandbox.path("home"));
    let mut files = lcod::all_files(std::slice::from_ref(&component));
    let commit = home.commit(&files);
    let mut manifest: Value = serde_json::from_slice(&component.manifest(&home.url(), &commit)).unwrap();
    manifest["files"][0]["sha256"] =
        json!(Digest::sha256(b"others").to_string().trim_start_matches("sha256:"));
    files.insert("m.json".to_owned(), manifest.to_string().into_bytes());
    let catalogue = json!({"schema": "lcod-registry/catalogue@1", "id": "acme", "components": [
        {"id": "lcod://acme/x", "versions": [{"version": "1.0.0", "manifest": "m.json"}]}]});
    files.insert("catalogue.json".to_owned(), catalogue.to_string().into_bytes());
    home.commit(&files);
    sandbox.write_sources(&lcod::sources("acme", &home.url(), "catalogue.json"));
    drop(world);
    let world = World { sandbox, components: vec![component] };
    let daemon = world.sandbox.start_synced();
    let refused = ask(&daemon, &["lcod://acme/x"]);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (502, Some("E006")), "{refused}");
    assert_eq!(refused.reason(), "trust.digest_mismatch");
    assert!(world.kept("trees").is_empty());
    assert_eq!(ask(&daemon, &["lcod://acme/nobody"]).json()["code"], "E001");
}

#[test]
fn fifty_requests_at_once_fetch_once() {
    let asked = |requests: usize| -> (usize, Vec<Value>) {
        let server = TlsServer::start();
        let sandbox = Sandbox::new();
        let root = sandbox.path("served");
        fs::create_dir_all(&root).unwrap();
        let component = Component::new("lcod://acme/x", "1.0.0", &[]);
        let work = Repository::create(&sandbox.path("work"));
        let mut files = lcod::all_files(std::slice::from_ref(&component));
        files.insert("packages/acme.x/more/notes.txt".to_owned(), b"notes".to_vec());
        files.insert("list.jsonl".to_owned(), lcod::lines("acme/list", &[lcod::row(&component)]));
        work.commit(&files);
        work.bare_clone(&root.join("r.git"));
        place::git(&root.join("r.git"), &["config", "uploadpack.allowFilter", "true"]);
        server.mount("/git", GitMount::of(&root));
        sandbox.write_sources(&lcod::sources("acme", &server.url("/git/r.git"), "list.jsonl"));
        fs::create_dir_all(sandbox.path("config/resolverd")).unwrap();
        let config = format!("[https]\nca_file = \"{}\"\nproxy = \"none\"\n", server.ca_file().display());
        fs::write(sandbox.path("config/resolverd/config.toml"), config).unwrap();
        let world = World { sandbox, components: vec![component] };
        let daemon = world.sandbox.start_synced();
        server.forget();
        let body = json!({"releases": ["lcod://acme/x"]});
        let rows = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..requests)
                .map(|_| {
                    scope.spawn(|| {
                        // So many connections of one user are let in; the others try again.
                        poll::until("an answer", || {
                            let answer =
                                http::ask(daemon.socket(), "POST", "/v1/materialize", Some(&body)).ok()?;
                            (answer.status != 503).then(|| answer.ok()["items"][0].clone())
                        })
                    })
                })
                .collect();
            asking.into_iter().map(|one| one.join().unwrap()).collect::<Vec<Value>>()
        });
        assert!(tree(directory(&rows[0])).contains_key("more/notes.txt"));
        (server.requests().len(), rows)
    };
    let (once, _) = asked(1);
    let (fifty, rows) = asked(50);
    assert!(once > 0);
    assert_eq!(fifty, once, "fifty callers cost as many requests as one");
    assert!(rows.iter().all(|row| row["directory"] == rows[0]["directory"]));
}

#[test]
fn a_killed_daemon_leaves_nothing_half_visible() {
    let components: Vec<Component> =
        (0..40).map(|n| Component::new(&format!("lcod://kill/part{n:02}"), "1.0.0", &[])).collect();
    let world = World::new(components, Form::Lines);
    let (kills, mut chance) = (number("RESOLVERD_FILE_KILLS", 8), Chance::told());
    let releases: Vec<String> = world.components.iter().map(Component::full).collect();
    let mut inside = 0;
    let mut daemon = world.sandbox.start_synced();
    for _ in 0..kills {
        place::open_up(&world.cache());
        let _ = fs::remove_dir_all(world.cache());
        let (socket, body) = (world.sandbox.socket(), json!({"releases": releases}));
        let asking = std::thread::spawn(move || http::ask(&socket, "POST", "/v1/materialize", Some(&body)));
        let after = usize::try_from(chance.below(40)).unwrap();
        poll::until("work that has begun", || {
            let begun = fs::read_dir(world.cache().join("trees")).map_or(0, Iterator::count);
            (begun > after || asking.is_finished()).then_some(())
        });
        daemon.kill();
        inside += u64::from(asking.join().unwrap().is_err());
        for directory in world.kept("trees") {
            let found = tree(&directory);
            assert_eq!(mode(&directory), 0o555);
            let whole = world.components.iter().any(|one| found.get("compose.yaml") == Some(&one.compose()));
            assert!(whole && found.contains_key("lcp.toml"), "{directory:?} is half: {:?}", found.keys());
        }
        daemon = world.sandbox.start();
        let half: Vec<_> = fs::read_dir(world.cache().join("trees"))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(half.iter().all(|name| !name.to_str().unwrap().starts_with(".tmp-")), "swept: {half:?}");
        let texts: Vec<&str> = releases.iter().map(String::as_str).collect();
        let rows = ask(&daemon, &texts).ok();
        for (row, one) in rows["items"].as_array().unwrap().iter().zip(&world.components) {
            assert_eq!(fs::read(directory(row).join("lcp.toml")).unwrap(), one.descriptor());
        }
        assert_eq!(daemon.post("/v1/files/verify", &json!({})).ok()["changed"], 0);
    }
    eprintln!("{inside} of {kills} kills fell inside the work");
    assert!(inside > 0);
}

#[test]
fn a_sync_that_takes_its_time_is_in_nobody_s_way() {
    let world = World::few(Form::Lines);
    let daemon = world.sandbox.start_synced();
    ask(&daemon, &["lcod://acme/tools/one"]).ok();
    let server = TlsServer::start();
    server.route("/slow.json", Route::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec()));
    let text = fs::read_to_string(world.sandbox.sources()).unwrap();
    let mut sources: Value = serde_json::from_str(&text).unwrap();
    let entry = json!({ "type": "https", "url": server.url("/slow.json") });
    sources["sources"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "id": "slow", "priority": 90, "entrypoint": entry }));
    fs::create_dir_all(world.sandbox.path("config/resolverd")).unwrap();
    let config = format!("[https]\nca_file = \"{}\"\nproxy = \"none\"\n", server.ca_file().display());
    fs::write(world.sandbox.path("config/resolverd/config.toml"), config).unwrap();
    world.sandbox.write_sources(&sources);
    daemon.signal(rustix::process::Signal::HUP);
    poll::until("a sync that waits", || (!server.requests().is_empty()).then_some(()));
    let log = daemon.log();
    assert!(log.rfind("sync started") > log.rfind("synced"), "the sync is under way: {log}");
    assert_eq!(ask(&daemon, &["lcod://acme/tools/one"]).ok()["items"][0]["from"], "cache");
    assert_eq!(ask(&daemon, &["lcod://acme/tools/two"]).ok()["items"][0]["from"], "fetched");
    let log = daemon.log();
    assert!(log.rfind("sync started") > log.rfind("synced"), "it is under way still: {log}");
    server.hang_up();
}

#[test]
fn modes_do_not_hang_on_the_umask_and_nothing_is_written_outside_the_cache() {
    for (umask, form) in [("000", Form::Lines), ("077", Form::Seed)] {
        let world = World::few(form);
        assert_eq!(world.sandbox.run(&["sync"]).status, 0);
        let view = world.sandbox.path("view");
        let run = |arguments: &str| {
            let mut command = Command::new("sh");
            world.sandbox.furnish(&mut command);
            let line = format!("umask {umask}; exec '{}' {arguments}", place::binary().display());
            Said::of(command.arg("-c").arg(line))
        };
        let outside = || -> Vec<String> {
            let names = fs::read_dir(world.sandbox.path("")).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> = names.map(|name| name.to_str().unwrap().to_owned()).collect();
            names.retain(|name| !["cache", "state"].contains(&name.as_str()));
            names.sort();
            names
        };
        let before = (outside(), tree(&world.sandbox.path("world")));
        let said = run("materialize lcod://acme/tools/one lcod://acme/tools/two -o json");
        assert_eq!(said.status, 0, "{said:?}");
        assert!((outside(), tree(&world.sandbox.path("world"))) == before, "nothing outside");
        let row: Value = serde_json::from_str(&said.stdout).unwrap();
        let place = directory(&row["items"][0]).to_owned();
        assert_eq!((mode(&place), mode(&place.join("lcp.toml"))), (0o555, 0o444), "{umask}");
        assert_eq!(mode(&world.cache()), 0o700);
        let said = run(&format!("materialize lcod://acme/tools/one --layout lcod-view '{}'", view.display()));
        assert_eq!(said.status, 0, "{said:?}");
        let component = view.join("packages/view/components/acme/tools/one/1.0.0");
        let modes = [mode(&view), mode(&component), mode(&component.join("compose.yaml"))];
        assert_eq!(modes, [0o755, 0o755, 0o644], "{umask}");
    }
}

/// What a kernel does with `LCOD_COMPONENTS_PATH`: it reads the list in `registry`, compares whole ids, and takes the paths from
/// the directory above the list; beside the compose file lies the descriptor. For nested calls it scans the workspace.
struct Kernel {
    listed: BTreeMap<String, (PathBuf, PathBuf)>,
    scanned: BTreeMap<String, PathBuf>,
}

impl Kernel {
    fn start(components_path: &Path) -> Kernel {
        let list = components_path.join("registry/components.std.jsonl");
        let text = fs::read_to_string(&list).unwrap();
        let base = list.parent().unwrap().parent().unwrap();
        let mut rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let header = rows.next().unwrap();
        assert_eq!(
            (&header["type"], &header["schema"]),
            (&json!("manifest"), &json!("lcod-manifest/list@1"))
        );
        let listed = rows.map(|row| {
            assert_eq!(row["type"], "component");
            let at = |field: &str| base.join(row[field].as_str().unwrap());
            (row["id"].as_str().unwrap().to_owned(), (at("compose"), at("lcp")))
        });
        Kernel { listed: listed.collect(), scanned: Kernel::scan(components_path) }
    }

    fn scan(root: &Path) -> BTreeMap<String, PathBuf> {
        let toml = |path: PathBuf| fs::read_to_string(path).unwrap().parse::<toml::Table>().unwrap();
        let workspace = toml(root.join("workspace.lcp.toml"));
        let mut found = BTreeMap::new();
        for package in workspace["workspace"]["packages"].as_array().unwrap() {
            let package = root.join("packages").join(package.as_str().unwrap());
            let descriptor = toml(package.join("lcp.toml"));
            assert_eq!(descriptor["id"].as_str(), Some("lcod://pkg/view@0.1.0"));
            assert_eq!(descriptor["kind"].as_str(), Some("workspace-package"));
            let below = package.join(descriptor["workspace"]["componentsDir"].as_str().unwrap());
            for (path, bytes) in tree(&below).into_iter().filter(|(path, _)| path.ends_with("/lcp.toml")) {
                let described: toml::Table = String::from_utf8(bytes).unwrap().parse().unwrap();
                let id = described["id"].as_str().unwrap().to_owned();
                found.insert(id, below.join(path).with_file_name("compose.yaml"));
            }
        }
        found
    }
}

#[test]
fn the_published_components_are_laid_out_as_a_kernel_reads_them() {
    let Some(components) = lcod::published() else { return };
    let world = World::new(components, Form::Lines);
    let daemon = world.sandbox.start_synced();
    let view = world.sandbox.path("view");
    let releases: Vec<String> = world.components.iter().map(Component::full).collect();
    let lay_out = || {
        let mut arguments: Vec<&str> = vec!["materialize"];
        arguments.extend(releases.iter().map(String::as_str));
        arguments.extend(["--layout", "lcod-view", view.to_str().unwrap()]);
        world.sandbox.run(&arguments)
    };
    let said = lay_out();
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stdout.contains("79 components in"), "{said:?}");
    let check = |view: &Path| {
        let kernel = Kernel::start(view);
        assert_eq!((kernel.listed.len(), kernel.scanned.len()), (79, 79));
        for one in &world.components {
            let (compose, descriptor) = &kernel.listed[&one.full()];
            assert_eq!(fs::read(compose).unwrap(), one.compose(), "{}", one.full());
            assert_eq!(fs::read(descriptor).unwrap(), one.descriptor(), "{}", one.full());
            assert_eq!(compose.parent(), descriptor.parent(), "both lie side by side");
            let (name, version) = one
                .full()
                .split_once("://")
                .map(|(_, rest)| rest.to_owned())
                .unwrap()
                .rsplit_once('@')
                .map(|(name, version)| (name.to_owned(), version.to_owned()))
                .unwrap();
            let place = view.join("packages/view/components").join(name).join(version);
            assert_eq!(compose.parent(), Some(place.as_path()));
            assert_eq!(&kernel.scanned[&one.full()], compose, "a nested call finds the same file");
        }
    };
    check(&view);

    // A kernel writes beside components: the cache never sees it, and the workspace can be laid out again.
    let first = view
        .join("packages/view/components")
        .join(world.components[0].id.trim_start_matches("lcod://"))
        .join(&world.components[0].version);
    fs::create_dir_all(first.join(".lcod/cache")).unwrap();
    fs::write(first.join("lcp.lock"), b"").unwrap();
    fs::write(first.join("compose.yaml"), b"compose: []\n").unwrap();
    assert_eq!(daemon.post("/v1/files/verify", &json!({})).ok()["changed"], 0);
    let said = lay_out();
    assert!(said.status == 2 && said.stderr.contains("compose.yaml"), "an edit is not thrown away: {said:?}");
    assert_eq!(fs::read(first.join("compose.yaml")).unwrap(), b"compose: []\n");
    fs::remove_file(first.join("compose.yaml")).unwrap();
    let said = lay_out();
    assert_eq!(said.status, 0, "{said:?}");
    check(&view);
    assert!(
        first.join("lcp.lock").exists() && first.join(".lcod/cache").is_dir(),
        "a kernel's own files stay"
    );

    // The daemon's own, in the cache: what a kernel wrote stays, what it changed is made good.
    let body = json!({"releases": releases, "layout": "lcod-view"});
    let answer = daemon.post("/v1/materialize", &body).ok();
    let own = Path::new(answer["view"]["directory"].as_str().unwrap()).to_owned();
    assert!(own.starts_with(world.cache()));
    check(&own);
    let beside = own.join(first.strip_prefix(&view).unwrap()).join("lcp.lock");
    fs::write(&beside, b"kept").unwrap();
    fs::write(own.join("lcp.lock"), b"").unwrap();
    assert_eq!(daemon.post("/v1/materialize", &body).ok()["view"], answer["view"]);
    assert!(own.join("lcp.lock").exists());
    fs::write(own.join("workspace.lcp.toml"), b"[workspace]\n").unwrap();
    assert_eq!(daemon.post("/v1/materialize", &body).ok()["view"], answer["view"]);
    check(&own);
    assert_eq!(fs::read(beside).unwrap(), b"kept", "one file was mended, and nothing else was touched");
    assert!(own.join("lcp.lock").exists());
}

#[test]
fn a_directory_of_somebody_else_is_never_replaced() {
    let world = World::few(Form::Lines);
    let daemon = world.sandbox.start_synced();
    let at = |name: &str| world.sandbox.path(name);
    fs::create_dir_all(at("theirs")).unwrap();
    fs::write(at("theirs/canary"), b"stays").unwrap();
    fs::create_dir_all(at("empty")).unwrap();
    std::os::unix::fs::symlink(at("empty"), at("link")).unwrap();
    fs::write(at("file"), b"stays").unwrap();
    let put = |flag: &[&str], place: &str| {
        let to = at(place);
        let arguments = [&["materialize", "lcod://acme/tools/one"], flag, &[to.to_str().unwrap()]].concat();
        world.sandbox.run(&arguments)
    };
    for place in ["theirs", "link", "file"] {
        for flag in [&["--to"][..], &["--layout", "lcod-view"]] {
            let said = put(flag, place);
            assert!(said.status == 2 && said.stderr.contains("files.unsafe_dest"), "{place}: {said:?}");
        }
    }
    assert_eq!(fs::read(at("theirs/canary")).unwrap(), b"stays");
    assert_eq!(
        (fs::read_dir(at("empty")).unwrap().count(), fs::read(at("file")).unwrap()),
        (0, b"stays".to_vec())
    );
    for place in ["empty", "fresh", "fresh"] {
        let said = put(&["--to"], place);
        assert_eq!(said.status, 0, "{said:?}");
        let component = at(place).join("acme/tools/one/1.0.0");
        assert_eq!(fs::read(component.join("compose.yaml")).unwrap(), world.components[0].compose());
    }
    assert_eq!(put(&["--layout", "nix"], "x").status, 2);
    let left = fs::read_dir(at("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_str().unwrap().starts_with(".tmp-")));
    drop(daemon);
}

#[test]
fn gc_keeps_what_a_view_holds_and_removes_the_rest() {
    let world = World::few(Form::Lines);
    let daemon = world.sandbox.start_synced();
    let view = world.sandbox.path("view");
    let said = world.sandbox.run(&[
        "materialize",
        "lcod://acme/tools/one",
        "--layout",
        "lcod-view",
        view.to_str().unwrap(),
    ]);
    assert_eq!(said.status, 0, "{said:?}");
    ask(&daemon, &["lcod://acme/tools/two"]).ok();
    let gc = |flags: &[&str]| -> Value {
        let said = world.sandbox.run(&[&["gc", "-o", "json"], flags].concat());
        assert_eq!(said.status, 0, "{said:?}");
        serde_json::from_str(&said.stdout).unwrap()
    };
    assert_eq!(gc(&[])["removed"], json!([]), "what was asked for just now stays");
    for flags in [&["--unused", "0", "--dry-run"][..], &["--unused", "0"]] {
        let told = gc(flags);
        assert_eq!(
            (&told["removed"], &told["kept"], &told["held"]),
            (&json!(["lcod://acme/tools/two@1.2.0"]), &json!(1), &json!(1))
        );
    }
    assert_eq!(world.kept("trees").len(), 1);
    let offline = json!({"releases": ["lcod://acme/tools/one"], "offline": true});
    assert_eq!(daemon.post("/v1/materialize", &offline).ok()["items"][0]["from"], "cache");
    fs::remove_dir_all(&view).unwrap();
    assert_eq!(gc(&["--unused", "0"])["removed"], json!(["lcod://acme/tools/one@1.0.0"]));
    assert!(
        world.kept("trees").is_empty() && world.kept("holds").is_empty() && world.kept("about").is_empty()
    );
}

#[test]
fn locate_answers_as_kernels_expect() {
    let world = World::few(Form::Array);
    let daemon = world.sandbox.start_synced();
    let found = daemon.post("/v1/locate", &json!({"id": "lcod://acme/tools/one@1"})).ok();
    assert_eq!(
        (&found["found"], &found["result"]["id"]),
        (&json!(true), &json!("lcod://acme/tools/one@1.0.0"))
    );
    let compose = Path::new(found["result"]["composePath"].as_str().unwrap());
    assert!(compose.is_absolute() && compose.is_file() && compose.with_file_name("lcp.toml").is_file());
    assert_eq!(compose.parent().unwrap().to_str(), found["result"]["repoRoot"].as_str());
    let absent = daemon.post("/v1/locate", &json!({"id": "lcod://acme/tools/nobody@1"})).ok();
    assert_eq!((&absent["found"], &absent["result"]), (&json!(false), &Value::Null));
    assert!(absent["warnings"][0].as_str().unwrap().contains("lcod://acme/tools/nobody"), "{absent}");
    let said = world.sandbox.run(&["locate", "lcod://acme/tools/one"]);
    assert_eq!((said.status, said.stdout.trim()), (0, compose.to_str().unwrap()));
    assert_eq!(world.sandbox.run(&["locate", "lcod://acme/tools/nobody"]).status, 10);
}

#[test]
fn a_direct_reference_needs_no_catalogue_and_the_leave_of_every_policy() {
    let world = World::few(Form::Lines);
    let home = world.sandbox.path("world/components");
    let commit = place::git(&home, &["rev-parse", "HEAD"]).trim().to_owned();
    let direct = format!("git+file://{}@{commit}#packages/acme.tools.one", home.display());
    let said = world.sandbox.run(&["materialize", &direct, "-o", "json"]);
    assert_eq!(said.status, 0, "{said:?}");
    let row = serde_json::from_str::<Value>(&said.stdout).unwrap()["items"][0].clone();
    assert_eq!(
        (&row["release"], &row["source"]["kind"], &row["trust"]["verdict"]),
        (&json!(direct), &json!("direct"), &json!("pinned"))
    );
    assert_eq!(fs::read(directory(&row).join("compose.yaml")).unwrap(), world.components[0].compose());

    let denied = world.sandbox.run(&["materialize", &format!("git+https://localhost:1/r.git@{commit}#x")]);
    assert!(denied.status != 0 && denied.stderr.contains("net.address_denied"), "{denied:?}");
    let absent = world.sandbox.run(&["materialize", &direct.replace("tools.one", "tools.nobody")]);
    assert!(absent.status == 2 && absent.stderr.contains("file_missing"), "{absent:?}");

    let policy = |more: &str| {
        let text = format!(
            "schema = \"resolverd/trust@1\"\nversion = 1\n{more}\n[[namespaces]]\nmatch = \"lcod://**\"\nsources = [\"lcod-default\"]\nrequire = \"pin\"\n"
        );
        let file = world.sandbox.path("trust.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        world.sandbox.run(&["--policy", file.to_str().unwrap(), "materialize", &direct])
    };
    let refused = policy("");
    assert!(refused.status == 6 && refused.stderr.contains("policy.direct"), "{refused:?}");
    let allowed = policy("[defaults]\ndirect = \"allow\"");
    assert_eq!(allowed.status, 0, "{allowed:?}");
}

#[test]
fn what_the_policy_refuses_never_reaches_the_disk() {
    let world = World::few(Form::Lines);
    let file = world.sandbox.path("trust.toml");
    let text = "schema = \"resolverd/trust@1\"\nversion = 1\n[[namespaces]]\nmatch = \"lcod://other/**\"\nsources = [\"lcod-default\"]\nrequire = \"pin\"\n";
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let policy = ["--policy", file.to_str().unwrap()];
    assert_eq!(world.sandbox.run(&[&policy[..], &["sync"]].concat()).status, 0);
    let said = world.sandbox.run(&[&policy[..], &["materialize", "lcod://acme/tools/one"]].concat());
    assert!(said.status == 6 && said.stderr.contains("trust.no_rule"), "{said:?}");
    assert!(world.kept("trees").is_empty());
}

#[test]
fn what_a_user_has_in_a_directory_is_never_lost() {
    let world = World::few(Form::Lines);
    let _daemon = world.sandbox.start_synced();
    let to = world.sandbox.path("vendor");
    let put = |release: &str| world.sandbox.run(&["materialize", release, "--to", to.to_str().unwrap()]);
    let refused = |name: &str| {
        for release in ["lcod://acme/tools/one", "lcod://acme/tools/two"] {
            let before = tree(&to);
            let said = put(release);
            assert!(said.status == 2 && said.stderr.contains("files.unsafe_dest"), "{said:?}");
            assert!(said.stderr.contains(name), "{said:?}");
            assert!(tree(&to) == before, "{name}: nothing was changed there");
        }
    };
    let (one, two) = (to.join("acme/tools/one/1.0.0"), to.join("acme/tools/two/1.2.0"));
    assert_eq!(put("lcod://acme/tools/one").status, 0);
    let said = put("lcod://acme/tools/two");
    assert_eq!(said.status, 0, "{said:?}");
    assert!(one.join("compose.yaml").is_file(), "what was put there before stays");
    assert_eq!(fs::read(two.join("compose.yaml")).unwrap(), world.components[1].compose());

    fs::write(to.join("mine.txt"), b"mine").unwrap();
    refused("mine.txt");
    fs::remove_file(to.join("mine.txt")).unwrap();
    fs::write(one.join("compose.yaml"), b"my edit").unwrap();
    refused("acme/tools/one/1.0.0/compose.yaml");
    fs::remove_file(one.join("compose.yaml")).unwrap();
    // A link in the way is never written through.
    let elsewhere = world.sandbox.path("elsewhere");
    fs::rename(to.join("acme"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, to.join("acme")).unwrap();
    let before = tree(&elsewhere);
    let said = put("lcod://acme/tools/one");
    assert!(said.status == 2 && said.stderr.contains("files.unsafe_dest"), "{said:?}");
    assert!(tree(&elsewhere) == before, "nothing was written through it");
    fs::remove_file(to.join("acme")).unwrap();
    fs::rename(&elsewhere, to.join("acme")).unwrap();
    assert_eq!(put("lcod://acme/tools/one").status, 0);
    assert_eq!(fs::read(one.join("compose.yaml")).unwrap(), world.components[0].compose());

    // A workspace holds what is asked for, and gives up only what was its own.
    let view = world.sandbox.path("view");
    let lay_out = |release: &str| {
        let layout = ["--layout", "lcod-view", view.to_str().unwrap()];
        world.sandbox.run(&[&["materialize", release], &layout[..]].concat())
    };
    let components = view.join("packages/view/components/acme/tools");
    assert_eq!(lay_out("lcod://acme/tools/one").status, 0);
    fs::write(components.join("one/1.0.0/lcp.lock"), b"mine").unwrap();
    let said = lay_out("lcod://acme/tools/two");
    assert_eq!(said.status, 0, "{said:?}");
    assert!(components.join("two/1.2.0/compose.yaml").is_file());
    assert!(!components.join("one/1.0.0/compose.yaml").exists());
    assert_eq!(fs::read(components.join("one/1.0.0/lcp.lock")).unwrap(), b"mine");
}

#[test]
fn a_directory_that_cannot_be_named_is_refused_before_anything_is_fetched() {
    let world = World::few(Form::Lines);
    let daemon = world.sandbox.start_synced();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let long = format!("{}/x", "d".repeat(2000));
    let direct = format!("git+https://localhost:1/r.git@{commit}#x");
    for (release, to, named) in [
        ("lcod://acme/tools/one", "a\nb", "printable"),
        ("lcod://acme/tools/one", &long, "bytes"),
        (&direct, "x", "direct reference"),
    ] {
        for flags in [&["--to"][..], &["--layout", "lcod-view"]] {
            let place = world.sandbox.path(to);
            let said =
                world.sandbox.run(&[&["materialize", release], flags, &[place.to_str().unwrap()]].concat());
            assert!(said.status == 2 && said.stderr.contains(named), "{said:?}");
        }
    }
    let body = json!({"releases": [direct], "layout": "lcod-view"});
    assert_eq!(daemon.post("/v1/materialize", &body).json()["code"], "R011");
    // What could not be made holds nothing.
    let absent = world.sandbox.path("no/such/directory");
    let said = world.sandbox.run(&["materialize", "lcod://acme/tools/one", "--to", absent.to_str().unwrap()]);
    assert!(said.status == 2 && said.stderr.contains("files.write"), "{said:?}");
    assert_eq!(daemon.get("/v1/files").ok()["holds"], json!([]));
    let twice =
        json!({"releases": ["lcod://acme/tools/one", "lcod://acme/tools/one@1"], "layout": "lcod-view"});
    assert_eq!(daemon.post("/v1/materialize", &twice).ok()["view"]["components"], 1);
}

#[test]
fn a_lock_holds_until_it_is_gone() {
    let world = World::few(Form::Lines);
    let daemon = world.sandbox.start_synced();
    let run = |arguments: &[&str]| {
        let mut command = world.sandbox.command();
        let said = Said::of(command.args(arguments).current_dir(world.sandbox.path("")));
        assert_eq!(said.status, 0, "{arguments:?}: {said:?}");
        said
    };
    run(&["lock", "lcod://acme/tools/one"]);
    run(&["materialize", "--locked"]);
    let hold = daemon.get("/v1/files").ok()["holds"][0].clone();
    let lock = world.sandbox.path("resolverd.lock");
    assert_eq!(hold["name"], format!("lock:{}", lock.display()));
    assert_eq!(hold["releases"].as_array().unwrap().len(), 2);
    run(&["gc", "--unused", "0"]);
    assert_eq!(world.kept("trees").len(), 2);
    fs::remove_file(lock).unwrap();
    run(&["gc", "--unused", "0"]);
    assert!(world.kept("trees").is_empty() && world.kept("holds").is_empty());
}
