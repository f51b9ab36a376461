//! What a project wishes, through the real binary: its overrides wherever something is resolved, mirrors of its own, and directories
//! of commits beside what catalogues list. Real repositories, real TLS servers on loopback, no open network.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use catalogue_schema::digest::Digest;
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{HttpsUrl, Location, Want};
use resolverd::fetch::Origins;
use resolverd::fetch::limit::Limits;
use resolverd::fetch::mirror::Mirrors;
use resolverd::fetch::network::{Https, Network, Proxy};
use resolverd::fetch::reach::Reach;
use resolverd::materialize::plan::{Piece, Plan};
use resolverd::materialize::{Access, Cache, Fetching, Tools};
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::lcod::{self, Component};
use crate::harness::place;
use crate::harness::poll;
use crate::harness::repository::{Files, Repository};
use crate::harness::tls::{GitMount, Route, TlsServer};
use crate::lock::{FORGE, REQUIRES, World, done, release, sample, versions};

fn write_config(directory: &Path, config: &Value) {
    fs::write(directory.join("resolve.config.json"), config.to_string()).unwrap();
}

fn json_of(said: Said) -> Value {
    serde_json::from_str(&done(said)).unwrap()
}

/// A world in which `y/b` stands beside `x/b`.
fn two_of_a_kind() -> (World, PathBuf) {
    let world = World::new();
    world.publish(&[sample(), vec![release("y/b", "1.0.0", &[]), release("y/b", "1.1.0", &[])]].concat());
    let app = world.project(REQUIRES);
    (world, app)
}

#[test]
fn the_overrides_of_a_project_count_wherever_something_is_resolved() {
    let (world, app) = two_of_a_kind();
    let _daemon = world.sandbox.start_synced();
    let verbs: [&[&str]; 5] = [
        &["resolve", "lcod://x/c"],
        &["tree", "lcod://x/c"],
        &["outdated", "lcod://x/c"],
        &["why", "lcod://y/b", "--in", "lcod://x/c"],
        &["materialize", "lcod://x/c", "--with-dependencies"],
    ];
    for verb in verbs {
        let said = done(world.run(verb));
        assert!(!said.contains("overlay:") && !said.contains("lcod://y/b@1"), "{verb:?}: {said}");
    }
    write_config(&app, &json!({"replace": {"lcod://x/b": "lcod://y/b@=1.0.0"}}));
    for verb in verbs {
        let said = done(world.run(verb));
        assert!(said.contains("lcod://y/b"), "{verb:?}: {said}");
        assert!(said.ends_with("overlay: resolve.config.json\n"), "{verb:?}: {said}");
        let answer = json_of(world.run(&[verb, &["-o", "json"]].concat()));
        assert_eq!(answer["overlay"], json!({"file": "resolve.config.json"}), "{verb:?}");
        let said = done(world.run(&[verb, &["--no-project"]].concat()));
        assert!(!said.contains("overlay:") && !said.contains("lcod://y/b@1"), "{verb:?}: {said}");
        // From elsewhere, by name.
        let named = [verb, &["--project", app.to_str().unwrap()]].concat();
        let said = done(world.sandbox.run(&named));
        let file = format!("overlay: {}/resolve.config.json\n", app.display());
        assert!(said.contains("lcod://y/b") && said.ends_with(&file), "{verb:?}: {said}");
        let said = done(world.sandbox.run(verb));
        assert!(!said.contains("overlay:"), "{verb:?} from elsewhere: {said}");
    }
    assert!(done(world.run(verbs[2])).contains("1.1.0"), "what is newer is said of what stands there");
    done(world.run(&["lock", "--native", "lcod://contract/"]));
    let answer = json_of(world.run(&["resolve", "--locked", "-o", "json"]));
    assert_eq!(answer["overlay"], json!({"file": "resolve.config.json"}));
    let said = world.run(&["resolve", "--locked", "--no-project"]);
    assert!(said.status == 2 && said.stderr.contains("a lock is that of a project"), "{said:?}");
    write_config(&app, &json!({"replace": 7}));
    for verb in verbs {
        let said = world.run(verb);
        assert!(said.status == 2 && said.stderr.contains("resolve.config.json"), "{said:?}");
        assert!(said.stderr.contains("--no-project"), "{said:?}");
    }
}

#[test]
fn what_a_project_implements_itself_and_where_it_may_look_count_as_well() {
    let (world, app) = two_of_a_kind();
    let _daemon = world.sandbox.start_synced();
    write_config(&app, &json!({"sources": {"lcod://x/b": {"type": "path", "path": "../b"}}}));
    let said = world.run(&["tree", "lcod://x/c"]);
    assert!(said.stderr.contains("project.path_source"), "{said:?}");
    assert!(done(said).contains("lcod://x/b@1 native"));
    write_config(&app, &json!({"allowlist": ["lcod://x/c"]}));
    let said = world.run(&["resolve", "lcod://x/c"]);
    assert_eq!(said.status, 3, "{said:?}");
    assert!(said.stderr.contains("allowlist"), "{said:?}");
}

#[test]
fn an_explanation_says_what_the_project_uses_instead() {
    let (world, app) = two_of_a_kind();
    let _daemon = world.sandbox.start_synced();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let direct = format!("git+{FORGE}/r@{commit}#x");
    write_config(
        &app,
        &json!({
            "replace": {"lcod://x/b": "lcod://y/b", "lcod://x/a": direct},
            "sources": {"lcod://x/c": {"type": "path"}},
            "allowlist": ["lcod://x/", "lcod://y/"],
        }),
    );
    let check = |id: &str, uses: Value, by: &str, text: &str| {
        for verb in ["explain", "why"] {
            let answer = json_of(world.run(&[verb, id, "-o", "json"]));
            let expected = json!({"uses": uses, "by": by, "file": "resolve.config.json"});
            assert_eq!(answer["project"], expected, "{id}");
            let said = done(world.run(&[verb, id]));
            assert!(said.contains(text) && said.contains("resolve.config.json says so"), "{said}");
            let said = done(world.run(&[verb, id, "--no-project"]));
            assert!(!said.contains("resolve.config.json"), "{said}");
        }
    };
    check("lcod://x/b", json!("lcod://y/b"), "replace", "the project uses lcod://y/b instead (replace)");
    check("lcod://x/a", json!(direct), "git", "instead (git)");
    check("lcod://x/c", Value::Null, "path", "the project implements it itself");
    write_config(&app, &json!({"allowlist": ["lcod://x/"]}));
    check("lcod://y/b", Value::Null, "allowlist", "the project may not use it");
    let answer = json_of(world.run(&["explain", "lcod://x/b", "-o", "json"]));
    assert!(answer["project"].is_null(), "{answer:#}");
    write_config(&app, &json!({"registry": {"sources": []}}));
    check("lcod://x/b", Value::Null, "registry", "the project does not use its source");
}

/// A registry and components at one TLS server, a copy of the components at another.
struct Mirrored {
    sandbox: Sandbox,
    origin: TlsServer,
    mirror: TlsServer,
}

/// What the operator calls the mirror.
const MIRROR: &str = "https://mirror.example";

impl Mirrored {
    fn new(policy: Option<&str>) -> Mirrored {
        let sandbox = Sandbox::new();
        let (origin, mirror) = (TlsServer::start(), TlsServer::start());
        let components: Vec<Component> =
            vec![release("m/one", "1.0.0", &["lcod://m/two@1"]), release("m/two", "1.2.0", &[])];
        let serve = |work: &Repository, root: &Path, name: &str| {
            let to = root.join(name);
            fs::create_dir_all(root).unwrap();
            work.bare_clone(&to);
            place::git(&to, &["config", "uploadpack.allowFilter", "true"]);
        };
        let work = Repository::create(&sandbox.path("work"));
        let mut files = lcod::all_files(&components);
        let rows: Vec<Value> = components.iter().map(lcod::row).collect();
        files.insert("list.jsonl".to_owned(), lcod::lines("m/list", &rows));
        work.commit(&files);
        serve(&work, &sandbox.path("origin"), "components.git");
        serve(&work, &sandbox.path("mirror"), "components.git");
        origin.mount("/git", GitMount::of(&sandbox.path("origin")));
        mirror.mount("/git", GitMount::of(&sandbox.path("mirror")));
        let entry = origin.url("/git/components.git");
        sandbox.write_sources(&lcod::sources("main", &entry, "list.jsonl"));
        let home = sandbox.path("config/resolverd");
        fs::create_dir_all(&home).unwrap();
        let both = [&origin, &mirror].map(|server| fs::read_to_string(server.ca_file()).unwrap()).concat();
        fs::write(sandbox.path("ca.pem"), both).unwrap();
        let config = format!(
            "[https]\nca_file = \"{}\"\nproxy = \"none\"\n[[rewrite]]\nfrom = \"{MIRROR}\"\nto = \"{}\"\n",
            sandbox.path("ca.pem").display(),
            mirror.url("/git"),
        );
        fs::write(home.join("config.toml"), config).unwrap();
        if let Some(policy) = policy {
            fs::write(home.join("trust.toml"), policy).unwrap();
        }
        Mirrored { sandbox, origin, mirror }
    }

    /// Takes the repositories away from the origin.
    fn lose(&self) {
        self.origin
            .mount("/git", GitMount::of(&self.sandbox.path("origin")).before(|_| Some(Route::status(404))));
        fs::remove_dir_all(self.sandbox.path("origin")).unwrap();
    }

    /// Deletes the cache.
    fn forget(&self) {
        place::open_up(&self.sandbox.path("cache"));
        fs::remove_dir_all(self.sandbox.path("cache")).unwrap();
    }

    fn app(&self, mirrors: &[(&str, &str)]) -> PathBuf {
        let app = self.sandbox.path("app");
        fs::create_dir_all(&app).unwrap();
        let mirrors: serde_json::Map<String, Value> =
            mirrors.iter().map(|(from, to)| ((*from).to_owned(), json!(to))).collect();
        write_config(&app, &json!({"mirrors": mirrors}));
        app
    }

    fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.sandbox.command().current_dir(self.sandbox.path("app")).args(arguments))
    }

    fn put(&self, daemon: &Daemon, mirrors: &[(&str, &str)]) -> crate::harness::http::Answer {
        let mirrors: serde_json::Map<String, Value> =
            mirrors.iter().map(|(from, to)| ((*from).to_owned(), json!(to))).collect();
        let resolve = json!({"requests": ["lcod://m/one"], "mirrors": mirrors});
        daemon.post("/v1/materialize", &json!({"resolve": resolve}))
    }
}

impl Drop for Mirrored {
    fn drop(&mut self) {
        place::open_up(&self.sandbox.path("cache"));
    }
}

#[test]
fn files_come_from_the_mirrors_of_a_project_and_nothing_remembers_it() {
    let world = Mirrored::new(None);
    let daemon = world.sandbox.start_synced();
    let git = world.origin.url("/git");
    world.app(&[]);
    done(world.run(&["lock", "lcod://m/one"]));
    let read = |name: &str| fs::read_to_string(world.sandbox.path("app").join(name)).unwrap();
    let lock = read("resolverd.lock");
    assert!(lock.contains(&git), "{lock}");
    world.lose();
    // What the fetcher and the shelf keep by content would do without any origin.
    assert!(daemon.stop().success());
    world.forget();
    let daemon = world.sandbox.start();
    let said = world.run(&["materialize", "lcod://m/one", "--with-dependencies"]);
    assert_ne!(said.status, 0, "the origin is gone: {said:?}");

    world.app(&[(&git, MIRROR)]);
    let answer = json_of(world.run(&["materialize", "lcod://m/one", "--with-dependencies", "-o", "json"]));
    for row in answer["items"].as_array().unwrap() {
        assert_eq!(row["from"], "fetched");
        assert!(row["source"]["repository"].as_str().unwrap().starts_with(&git), "{row:#}");
        let place = Path::new(row["directory"].as_str().unwrap());
        let id = row["release"].as_str().unwrap();
        let text = fs::read_to_string(place.join("lcp.toml")).unwrap();
        assert!(text.contains(id), "{text}");
    }
    assert!(!world.mirror.requests().is_empty());
    // Neither the lock nor what is beside it nor the cache's own descriptions know of it.
    done(world.run(&["lock", "lcod://m/one", "--receipt", "two.json"]));
    assert_eq!(read("resolverd.lock"), lock);
    let about = grepped(&world.sandbox.path("cache/resolverd/files/about"));
    let texts = [lock, read("two.json"), answer.to_string(), about];
    let named = [MIRROR.to_owned(), world.mirror.origin()];
    for text in texts {
        assert!(named.iter().all(|mirror| !text.contains(mirror)), "{text}");
    }
    // A resolve that puts files on disk takes them as well, and so does a request for single releases.
    let body = json!({"requests": ["lcod://m/one"], "materialize": true, "mirrors": {git.clone(): MIRROR}});
    assert!(daemon.post("/v1/resolve", &body).ok()["components"][0]["directory"].is_string());
    world.forget();
    done(world.run(&["materialize", "lcod://m/two"]));
}

/// Returns every text below a directory.
fn grepped(directory: &Path) -> String {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()).collect()
}

#[test]
fn a_mirror_that_fails_is_named_with_what_it_stands_for() {
    let world = Mirrored::new(None);
    let daemon = world.sandbox.start_synced();
    let git = world.origin.url("/git");
    let refused = world.put(&daemon, &[(&git, &format!("{MIRROR}/nothing/here"))]);
    assert_ne!(refused.status, 200, "{refused}");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    for named in [
        format!("the mirror {MIRROR}/nothing/here/components.git"),
        format!("instead of {git}/components.git"),
    ] {
        assert!(detail.contains(&named), "{detail}");
    }
    assert!(refused.json()["hint"].as_str().unwrap().contains("mirrors"), "{refused}");
    // Nobody else has to do with it: without mirrors the origin answers.
    assert_eq!(world.put(&daemon, &[]).status, 200);
}

#[test]
fn a_mirror_is_asked_only_where_its_machine_may_be() {
    let world = Mirrored::new(None);
    let daemon = world.sandbox.start_synced();
    let git = world.origin.url("/git");
    let inside = TlsServer::start();
    for to in
        [inside.url("/git"), "https://127.0.0.1:1/git".to_owned(), "https://169.254.169.254/x".to_owned()]
    {
        let refused = world.put(&daemon, &[(&git, &to)]);
        assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("E015")), "{refused}");
        assert_eq!(refused.reason(), "net.address_denied", "{refused}");
        assert!(refused.json()["detail"].as_str().unwrap().contains(&to), "{refused}");
    }
    assert_eq!(inside.connections(), 0);
    for to in
        ["http://mirror.example/git", "file:///srv/mirror", "/srv/mirror", "ssh://git@mirror.example/srv"]
    {
        let refused = world.put(&daemon, &[(&git, to)]);
        assert_eq!((refused.status, refused.reason().as_str()), (400, "net.mirror"), "{to}: {refused}");
        assert!(refused.json()["hint"].is_string(), "{refused}");
    }
    let twice = json!({"resolve": {"requests": ["lcod://m/one"], "mirrors": {git.clone(): MIRROR}}, "mirrors": {git: MIRROR}});
    assert_eq!(daemon.post("/v1/materialize", &twice).json()["code"], "R011");
}

#[test]
fn a_policy_s_hosts_hold_for_mirrors() {
    let policy = "schema = \"resolverd/trust@1\"\nversion = 1\n[[namespaces]]\nmatch = \"lcod://**\"\nsources = [\"main\"]\nrequire = \"pin\"\n[[sources]]\nid = \"main\"\nhosts = [\"localhost\"]\n";
    let world = Mirrored::new(Some(policy));
    let daemon = world.sandbox.start_synced();
    let git = world.origin.url("/git");
    let refused = world.put(&daemon, &[(&git, "https://elsewhere.example/git")]);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("E015")), "{refused}");
    assert_eq!(refused.reason(), "net.host_not_allowed", "{refused}");
    // The one that really answers is on the list, whatever it is called.
    assert_eq!(world.put(&daemon, &[(&git, MIRROR)]).status, 200);
    assert!(!world.mirror.requests().is_empty());
}

#[test]
fn a_rule_of_the_operator_goes_before_a_mirror() {
    let world = Mirrored::new(None);
    let config = world.sandbox.path("config/resolverd/config.toml");
    let more =
        format!("[[rewrite]]\nfrom = \"https://far.example\"\nto = \"{}\"\n", world.origin.url("/git"));
    fs::write(&config, fs::read_to_string(&config).unwrap() + &more).unwrap();
    world.sandbox.write_sources(&lcod::sources("main", "https://far.example/components.git", "list.jsonl"));
    let daemon = world.sandbox.start_synced();
    assert_eq!(world.put(&daemon, &[("https://far.example", MIRROR)]).status, 200);
    assert!(world.mirror.requests().is_empty(), "{:?}", world.mirror.lines());
}

#[test]
fn a_mirror_that_sends_other_things_gives_nothing() {
    let world = Mirrored::new(None);
    // The same path, other content: the commit is not there.
    let other = Repository::create(&world.sandbox.path("other"));
    other.commit(&Files::from([("packages/m.one/lcp.toml".to_owned(), b"evil".to_vec())]));
    fs::remove_dir_all(world.sandbox.path("mirror")).unwrap();
    fs::create_dir_all(world.sandbox.path("mirror")).unwrap();
    let bare = other.bare_clone(&world.sandbox.path("mirror/components.git"));
    place::git(&bare.path, &["config", "uploadpack.allowFilter", "true"]);
    let daemon = world.sandbox.start_synced();
    let git = world.origin.url("/git");
    let refused = world.put(&daemon, &[(&git, MIRROR)]);
    assert_ne!(refused.status, 200, "{refused}");
    assert!(refused.json()["detail"].as_str().unwrap().contains(MIRROR), "{refused}");
    let cached = world.sandbox.path("cache/resolverd/files/trees");
    let trees = fs::read_dir(cached).map_or(0, Iterator::count);
    assert_eq!(trees, 0, "nothing came into sight");
    assert_eq!(world.put(&daemon, &[]).status, 200, "and nobody else is harmed");
}

#[test]
fn other_bytes_from_a_mirror_are_refused_and_harm_nobody_else() {
    let server = TlsServer::start();
    let directory = tempfile::tempdir().unwrap();
    let https = Https { ca_file: Some(server.ca_file()), proxy: Proxy::None, tokens: Vec::new() };
    let origins = Origins::new(Network { https, ..Network::default() }).unwrap();
    server.put("/origin/compose.yaml", b"good");
    server.put("/mirror/compose.yaml", b"evil");
    let mirrors = Mirrors::read([(&*server.url("/origin"), &*server.url("/mirror"))]).unwrap();
    let url = HttpsUrl::parse(&server.url("/origin/compose.yaml")).unwrap();
    let plan = |mirrors: &Mirrors| {
        let piece = Piece {
            path: DocPath::parse("compose.yaml").unwrap(),
            digest: Some(Digest::sha256(b"good")),
            blob: None,
            size: None,
            executable: false,
            want: Some(Want::Blob(Location::Https { url: url.clone() })),
            is_optional: false,
        };
        let host = server.origin().trim_start_matches("https://").to_owned();
        Plan {
            archive: None,
            release: "lcod://a/b@1.0.0".to_owned(),
            promise: Digest::sha256(b"a promise"),
            pieces: vec![piece],
            tree: None,
            is_recorded: false,
            compose: None,
            descriptor: None,
            reach: Reach::naming([host.as_str()]).through(mirrors.clone()),
            is_offline: false,
        }
    };
    let (limits, cache) = (Limits::default(), Cache::below(directory.path(), Access::Owner));
    let put = |plan: Plan| {
        let tools = Tools {
            origins: &origins,
            shelf: &|_| None,
            recorded: &|_| None,
            limits: &limits,
            fetching: Fetching::Allowed,
            gone: None,
            progress: None,
            audience: None,
            together: None,
        };
        cache.provide(&[plan], &tools).remove(0)
    };
    let refusal = put(plan(&mirrors)).unwrap_err();
    assert_eq!(refusal.reason, "trust.digest_mismatch", "which is E006");
    assert!(refusal.found.contains(&server.url("/mirror/compose.yaml")), "{refusal}");
    // Whoever asks for the same without the mirror, meanwhile too, has nothing to do with it.
    assert_ne!(plan(&mirrors).claim(), plan(&Mirrors::default()).claim());
    let row = put(plan(&Mirrors::default())).unwrap();
    assert_eq!(fs::read(Path::new(&row.directory).join("compose.yaml")).unwrap(), b"good");
    // What the mirror sends as it should be is as good as any, and what is there is not fetched again.
    assert_eq!(put(plan(&mirrors)).unwrap().integrity, row.integrity);
    assert_eq!(server.lines(), ["GET /mirror/compose.yaml", "GET /origin/compose.yaml"]);
    place::open_up(directory.path());
}

/// A world, and a repository of the same forge that no catalogue lists.
struct Beside {
    world: World,
    app: PathBuf,
    repository: Repository,
}

impl Beside {
    fn new() -> Beside {
        let world = World::new();
        world.publish(&[sample(), vec![release("x/d", "1.0.0", &[]), release("x/b", "2.0.0", &[])]].concat());
        let app = world.project(REQUIRES);
        let repository = Repository::create(&world.sandbox.path("forge/tools"));
        Beside { world, app, repository }
    }

    /// Commits components, each in its own directory, and returns the commit.
    fn commit(&self, all: &[Component]) -> String {
        self.repository.commit(&lcod::all_files(all))
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.world.run(arguments)
    }
}

/// Returns the reference to the directory of a component.
fn direct(commit: &str, name: &str) -> String {
    format!("git+{FORGE}/tools@{commit}#packages/{name}")
}

fn component<'a>(answer: &'a Value, id: &str) -> &'a Value {
    let all = answer["components"].as_array().unwrap();
    all.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("no {id} in {answer:#}"))
}

#[test]
fn a_directory_of_a_commit_is_resolved_with_what_it_requires() {
    let beside = Beside::new();
    let commit = beside.commit(&[release("x/tool", "0.3.0", &["lcod://x/c@1", "lcod://contract/log@1"])]);
    let reference = direct(&commit, "x.tool");
    let daemon = beside.world.sandbox.start_synced();
    let body = json!({"requests": [reference, "lcod://x/d"], "natives": ["lcod://contract/"]});
    let answer = daemon.post("/v1/resolve", &body).ok();
    assert_eq!(answer["roots"], json!(["lcod://x/tool@0.3.0", "lcod://x/d@1.0.0"]));
    let tool = component(&answer, "lcod://x/tool");
    assert_eq!(tool["source"]["id"], "direct");
    assert_eq!(tool["source"]["repository"], format!("{FORGE}/tools"));
    assert_eq!(
        (&tool["source"]["commit"], &tool["source"]["path"]),
        (&json!(commit), &json!("packages/x.tool"))
    );
    assert_eq!((&tool["requiredBy"], &tool["trust"]["verdict"]), (&json!(["request 0"]), &json!("pinned")));
    assert_eq!(component(&answer, "lcod://x/b")["version"], "1.0.0", "what it requires is followed");
    assert_eq!(answer["natives"], json!(["lcod://contract/log@1"]));
    let again = daemon.post("/v1/resolve", &body);
    assert_eq!(again.ok(), answer, "equal questions have equal answers");

    let tree = done(beside.run(&["tree", &reference]));
    let expected =
        "lcod://x/tool@0.3.0\n  lcod://contract/log@1 native\n  lcod://x/c@1.0.0\n    lcod://x/b@1.0.0\n";
    assert_eq!(tree, expected);
    let why = done(beside.run(&["why", "lcod://x/b", "--in", &reference]));
    assert!(
        why.contains("request 0 -> lcod://x/tool@0.3.0 -> lcod://x/c@1.0.0 -> lcod://x/b@1.0.0"),
        "{why}"
    );
    let told = done(beside.run(&["explain", &reference]));
    for part in [
        "lcod://x/tool@0.3.0",
        &commit[..7],
        "no catalogue was asked",
        "requires  lcod://contract/log@1, lcod://x/c@1",
    ] {
        assert!(told.contains(part) || part == "no catalogue was asked", "{part}: {told}");
    }
    let told = daemon.post("/v1/explain", &json!({"id": reference})).ok();
    assert_eq!((&told["direct"], &told["outcome"]), (&json!(reference), &json!("chosen")));
    assert_eq!((&told["source"], &told["chain"]), (&Value::Null, &json!([])));

    // Every file of it, under its own name, with everything that it requires.
    let view = beside.world.sandbox.path("view");
    let put =
        ["materialize", &reference, "--with-dependencies", "--layout", "lcod-view", view.to_str().unwrap()];
    done(beside.run(&put));
    let compose = view.join("packages/view/components/x/tool/0.3.0/compose.yaml");
    assert_eq!(
        fs::read(compose).unwrap(),
        release("x/tool", "0.3.0", &["lcod://x/c@1", "lcod://contract/log@1"]).compose()
    );
    let body = json!({"requests": [reference], "natives": ["lcod://contract/"], "materialize": true});
    let answer = daemon.post("/v1/resolve", &body).ok();
    let place = component(&answer, "lcod://x/tool")["directory"].as_str().unwrap();
    assert!(Path::new(place).join("lcp.toml").is_file());
}

#[test]
fn a_directory_of_a_commit_takes_the_place_of_what_catalogues_list() {
    let beside = Beside::new();
    let commit = beside.commit(&[
        release("x/b", "1.5.0", &["lcod://x/d@1"]),
        release("z/other", "1.7.0", &[]),
        release("z/far", "3.0.0", &[]),
    ]);
    let daemon = beside.world.sandbox.start_synced();
    let ask = |overlay: Value| {
        let body = json!({"requests": ["lcod://x/a"], "natives": ["lcod://contract/"], "overlay": overlay});
        daemon.post("/v1/resolve", &body)
    };
    let table = |name: &str| json!({"type": "git", "url": format!("{FORGE}/tools"), "rev": commit, "subdir": format!("packages/{name}")});
    // As the only release of its own id, with its own requirements.
    for overlay in [
        json!({"direct": {"lcod://x/b": direct(&commit, "x.b")}}),
        json!({"direct": {"lcod://x/b": table("x.b")}}),
        json!({"replace": {"lcod://x/b": table("x.b")}}),
        json!({"direct": {"lcod://x/b": table("x.b")}, "sources": ["main"]}),
    ] {
        let answer = ask(overlay.clone()).ok();
        let own = component(&answer, "lcod://x/b");
        assert_eq!((&own["version"], &own["source"]["id"]), (&json!("1.5.0"), &json!("direct")), "{overlay}");
        assert_eq!(own["shadowed"][0]["source"], "main", "what it hides is told: {own:#}");
        assert_eq!(own["shadowed"][0]["versions"], json!(["1.0.0", "2.0.0"]));
        assert_eq!(component(&answer, "lcod://x/d")["requiredBy"], json!(["lcod://x/b@1.5.0"]));
        assert!(answer["substitutions"].is_null(), "{answer:#}");
    }
    // In place of another id.
    let answer = ask(json!({"replace": {"lcod://x/b": direct(&commit, "z.other")}})).ok();
    assert_eq!(component(&answer, "lcod://z/other")["version"], "1.7.0");
    let expected = json!([{"id": "lcod://x/b", "to": "lcod://z/other", "by": "replace"}]);
    assert_eq!(answer["substitutions"], expected);
    // It has to meet what is required all the same, and to be what it is said to be.
    let refused = ask(json!({"replace": {"lcod://x/b": direct(&commit, "z.far")}}));
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("E003")), "{refused}");
    let refused = ask(json!({"direct": {"lcod://x/b": direct(&commit, "z.other")}}));
    assert_eq!((refused.status, refused.reason().as_str()), (422, "direct.id_mismatch"), "{refused}");
    let both =
        json!({"direct": {"lcod://x/b": direct(&commit, "x.b")}, "allowlist": ["lcod://x/a", "lcod://x/c"]});
    assert_ne!(ask(both).status, 200, "the allowlist holds for it");
    let own = daemon
        .post("/v1/resolve", &json!({"requests": ["lcod://x/a"], "natives": ["lcod://contract/"]}))
        .ok();
    assert_eq!(component(&own, "lcod://x/b")["version"], "1.0.0", "nobody else has to do with it");
}

#[test]
fn what_is_no_component_at_a_commit_is_refused_with_what_helps() {
    let beside = Beside::new();
    let mut files = lcod::all_files(&[release("x/tool", "0.3.0", &[]), release("x/twin", "1.0.0", &[])]);
    let nameless = b"schemaVersion = \"2.0\"\n[deps]\nrequires = []\n".to_vec();
    files.insert("packages/nameless/lcp.toml".to_owned(), nameless);
    files.insert("packages/broken/lcp.toml".to_owned(), b"id = [".to_vec());
    files.insert("packages/same/lcp.toml".to_owned(), release("x/tool", "0.4.0", &[]).descriptor());
    files.insert("packages/none/notes.txt".to_owned(), b"notes".to_vec());
    let commit = beside.repository.commit(&files);
    let daemon = beside.world.sandbox.start_synced();
    let check = |requests: Value, status: u16, reason: &str| {
        let refused = daemon.post("/v1/resolve", &json!({"requests": requests}));
        assert_eq!((refused.status, refused.reason().as_str()), (status, reason), "{requests}: {refused}");
        assert!(refused.json()["hint"].is_string(), "{refused}");
    };
    check(json!([direct(&commit, "nameless")]), 422, "direct.nameless");
    check(json!([direct(&commit, "none")]), 422, "direct.descriptor");
    check(json!([format!("git+{FORGE}/tools@{commit}#packages")]), 422, "direct.descriptor");
    check(json!([direct(&commit, "broken")]), 422, "input.toml");
    check(json!([direct(&commit, "gone")]), 422, "file_missing");
    check(json!([direct(&"0".repeat(40), "x.tool")]), 503, "git.commit_missing");
    check(json!([direct(&commit, "x.tool"), direct(&commit, "same")]), 400, "direct.twice");
    for short in ["main", &commit[..12]] {
        check(json!([direct(short, "x.tool")]), 400, "input.commit");
        let said = beside.run(&["resolve", &direct(short, "x.tool")]);
        assert!(said.status == 2 && said.stderr.contains("may mean another commit tomorrow"), "{said:?}");
    }
    let many: Vec<String> = (0..65).map(|at| direct(&commit, &format!("p{at}"))).collect();
    check(json!(many), 413, "api.directs");
    write_config(
        &beside.app,
        &json!({"sources": {"lcod://x/b": {"type": "git", "url": format!("{FORGE}/tools"), "rev": "main", "path": "packages/x.b"}}}),
    );
    let said = beside.run(&["resolve", "lcod://x/c"]);
    assert!(
        said.status == 2 && said.stderr.contains("input.commit") && said.stderr.contains("line 1"),
        "{said:?}"
    );
}

#[test]
fn a_policy_has_to_allow_directories_of_commits() {
    let beside = Beside::new();
    let commit = beside.commit(&[release("x/b", "1.5.0", &[])]);
    let policy = |direct: &str| {
        let text = format!(
            "schema = \"resolverd/trust@1\"\nversion = 1\n{direct}[[namespaces]]\nmatch = \"lcod://**\"\nsources = [\"main\"]\nrequire = \"pin\"\n"
        );
        fs::write(beside.world.sandbox.path("config/resolverd/trust.toml"), text).unwrap();
    };
    policy("[defaults]\ndirect = \"allow\"\n");
    let daemon = beside.world.sandbox.start_synced();
    let body = json!({"requests": [direct(&commit, "x.b")]});
    assert_eq!(daemon.post("/v1/resolve", &body).status, 200);
    let lock = daemon.post("/v1/lock", &json!({"resolve": body})).ok()["text"].clone();
    let judge = || daemon.post("/v1/lock/check", &json!({"lock": lock})).ok();
    assert_eq!(judge()["holds"], true);
    policy("");
    done(beside.world.sandbox.run(&["reload"]));
    for (route, body) in [("/v1/resolve", body.clone()), ("/v1/lock", json!({"resolve": body}))] {
        let refused = daemon.post(route, &body);
        assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("E015")), "{refused}");
        assert_eq!(refused.reason(), "policy.direct");
    }
    assert_eq!(judge()["findings"][0]["reason"], "lock.refused");
}

#[test]
fn a_policy_that_cannot_be_read_lets_no_directory_in() {
    let beside = Beside::new();
    let commit = beside.commit(&[release("x/b", "1.5.0", &[])]);
    fs::write(beside.world.sandbox.path("config/resolverd/trust.toml"), "version = ").unwrap();
    let reference = direct(&commit, "x.b");
    let daemon = beside.world.sandbox.spawn();
    poll::until("an answer", || daemon.try_ask("GET", "/livez", None).ok().filter(|one| one.status == 200));
    let refused = daemon.post("/v1/materialize", &json!({"releases": [reference]}));
    assert_eq!(refused.json()["code"], "R008", "{refused}");
    assert_eq!(daemon.post("/v1/resolve", &json!({"requests": [reference]})).json()["code"], "R008");
    drop(daemon);
    let said = beside.run(&["materialize", &reference]);
    assert!(said.status == 2 && said.stderr.contains("R008"), "{said:?}");
    assert!(!beside.world.sandbox.path("cache/resolverd/files/trees").exists(), "nothing was fetched");
}

#[test]
fn a_policy_that_warns_says_so_of_a_directory() {
    let beside = Beside::new();
    let commit = beside.commit(&[release("x/b", "1.5.0", &[])]);
    let reference = direct(&commit, "x.b");
    let policy = |defaults: &str| {
        let text = format!(
            "schema = \"resolverd/trust@1\"\nversion = 1\n[defaults]\n{defaults}[[namespaces]]\nmatch = \"lcod://**\"\nsources = [\"main\"]\nrequire = \"pin\"\n"
        );
        fs::write(beside.world.sandbox.path("config/resolverd/trust.toml"), text).unwrap();
    };
    policy("mode = \"warn\"\n");
    let daemon = beside.world.sandbox.start_synced();
    let check = |warnings: &[&str], because: &str| {
        let body = json!({"requests": [reference]});
        let answers = [
            daemon.post("/v1/resolve", &body).ok(),
            daemon.post("/v1/lock", &json!({"resolve": body})).ok(),
            daemon.post("/v1/explain", &json!({"id": reference})).ok()["release"].clone(),
        ];
        for answer in &answers {
            let rows = answer["warnings"].as_array().unwrap();
            let found: Vec<&str> = rows.iter().map(|one| one["reason"].as_str().unwrap()).collect();
            assert_eq!(found, warnings, "{answer:#}");
        }
        let found = answers[2]["because"].to_string();
        assert!(found.contains(because) && !found.contains("no trust policy"), "{found}");
    };
    check(&["policy.direct"], "would refuse it");
    policy("direct = \"allow\"\n");
    done(beside.world.sandbox.run(&["reload"]));
    check(&[], "lets its commit be enough");
}

#[test]
fn a_directory_of_a_commit_says_what_it_is_and_implements() {
    let beside = Beside::new();
    let descriptor = "schemaVersion = \"2.0\"\nid = \"lcod://x/web@1.0.0\"\nkind = \"component\"\nimplements = [\"lcod://contract/web@1\"]\n[workspace]\nscopeAliases = { own = \"inner\" }\n[deps]\nrequires = [\"lcod://x/web/inner/part@1\"]\n";
    let compose = "compose:\n- call: own/part\n- call: own/lost\n";
    let file = |name: &str, text: &str| (format!("packages/x.web/{name}"), text.as_bytes().to_vec());
    let commit =
        beside.repository.commit(&Files::from([file("lcp.toml", descriptor), file("compose.yaml", compose)]));
    let reference = direct(&commit, "x.web");
    let daemon = beside.world.sandbox.start_synced();
    let told = daemon.post("/v1/explain", &json!({"id": reference})).ok()["release"].clone();
    assert_eq!(
        (&told["kind"], &told["implements"]),
        (&json!("component"), &json!(["lcod://contract/web@1"]))
    );
    // What is relative counts from the package that the directory is.
    let body = json!({"requests": [reference], "natives": ["lcod://x/web/"], "calls": "follow"});
    let answer = daemon.post("/v1/resolve", &body).ok();
    assert_eq!(answer["components"][0]["called"], json!(["lcod://x/web/inner/lost@1.0.0"]), "{answer:#}");
}

#[test]
fn nothing_is_fetched_for_a_directory_where_that_is_not_wanted() {
    let beside = Beside::new();
    let commit = beside.commit(&[release("x/tool", "1.5.0", &[])]);
    let reference = direct(&commit, "x.tool");
    let daemon = beside.world.sandbox.start_synced();
    let body = json!({"resolve": {"requests": [reference], "offline": true}});
    assert_eq!(daemon.post("/v1/materialize", &body).reason(), "offline");
    let verbs: [&[&str]; 6] = [
        &["resolve", &reference],
        &["tree", &reference],
        &["outdated", &reference],
        &["why", "lcod://x/tool", "--in", &reference],
        &["lock", &reference],
        &["materialize", &reference, "--with-dependencies"],
    ];
    for verb in verbs {
        let said = beside.run(&[&["--offline"], verb].concat());
        assert!(said.status == 5 && said.stderr.contains("E012"), "{verb:?}: {said:?}");
        assert!(!said.stderr.contains("does not hear"), "{verb:?}: {said:?}");
    }
    let said = beside.run(&["--offline", "versions", "lcod://x/b"]);
    assert!(said.status == 0 && said.stderr.contains("does not hear --offline"), "{said:?}");
    for verb in verbs {
        done(beside.run(verb));
    }
}

#[test]
fn what_is_named_beside_a_directory_is_not_taken_for_a_call() {
    let beside = Beside::new();
    let commit = beside.commit(&[release("x/tool", "1.5.0", &[])]);
    let _daemon = beside.world.sandbox.start_synced();
    let other = beside.world.sandbox.path("other");
    fs::create_dir_all(&other).unwrap();
    let run =
        |arguments: &[&str]| Said::of(beside.world.sandbox.command().current_dir(&other).args(arguments));
    let natives = ["--native", "lcod://contract/"];
    done(run(&[&["lock", &direct(&commit, "x.tool"), "lcod://x/d", "--calls"], &natives[..]].concat()));
    let locked = || {
        let text = fs::read_to_string(other.join("resolverd.lock")).unwrap();
        versions(&text)
    };
    assert_eq!(locked(), ["d@1.0.0", "tool@1.5.0"]);
    done(run(&[&["lock", "--no-calls"], &natives[..]].concat()));
    assert_eq!(locked(), ["d@1.0.0", "tool@1.5.0"]);
}

#[test]
fn a_directory_of_a_commit_is_locked_and_replayed() {
    let beside = Beside::new();
    let commit = beside.commit(&[release("x/b", "1.5.0", &["lcod://x/d@1"])]);
    let git = |rev: &str| json!({"sources": {"lcod://x/b": {"type": "git", "url": format!("{FORGE}/tools"), "rev": rev, "subdir": "packages/x.b"}}});
    write_config(&beside.app, &git(&commit));
    let daemon = beside.world.sandbox.start_synced();
    done(beside.run(&["lock", "--native", "lcod://contract/"]));
    let lock = beside.world.lock();
    assert_eq!(versions(&lock), ["a@1.0.0", "b@1.5.0", "c@1.0.0", "d@1.0.0"]);
    for line in [
        format!("url = \"{FORGE}/tools\""),
        format!("rev = \"{commit}\""),
        "subdir = \"packages/x.b\"".to_owned(),
        "name = \"direct\"".to_owned(),
    ] {
        assert!(lock.contains(&line), "{line} in {lock}");
    }
    assert!(
        done(beside.run(&["lock"]))
            .starts_with("unchanged: 4 components in lcp.lock; the host implements 1 more\n")
    );
    assert_eq!(done(beside.run(&["check", "--locked"])), "lcp.lock holds: 4 components\n");
    assert!(done(beside.run(&["resolve", "--locked"])).contains("lcod://x/b@1.5.0"));
    let view = beside.world.sandbox.path("view");
    done(beside.run(&["materialize", "--locked", "--layout", "lcod-view", view.to_str().unwrap()]));
    assert!(view.join("packages/view/components/x/b/1.5.0/compose.yaml").is_file());

    // References alone, without a project that names where they come from: the lock itself is enough.
    fs::remove_file(beside.app.join("resolve.config.json")).unwrap();
    done(beside.run(&["lock", &direct(&commit, "x.b"), "lcod://x/c"]));
    let text = fs::read_to_string(beside.app.join("resolverd.lock")).unwrap();
    assert!(text.contains("source = \"direct\"") && text.contains(&commit), "{text}");
    let other = beside.world.sandbox.path("other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("resolverd.lock"), &text).unwrap();
    let run =
        |arguments: &[&str]| Said::of(beside.world.sandbox.command().current_dir(&other).args(arguments));
    assert!(done(run(&["resolve", "--locked"])).contains("lcod://x/b@1.5.0"));
    assert!(done(run(&["lock"])).starts_with("unchanged: 3 components"));
    assert_eq!(fs::read_to_string(other.join("resolverd.lock")).unwrap(), text);

    // Another commit is the project's to name, and shows.
    let next = beside.commit(&[release("x/b", "1.6.0", &[])]);
    write_config(&beside.app, &git(&next));
    fs::remove_file(beside.app.join("resolverd.lock")).unwrap();
    let said = beside.run(&["resolve", "--locked"]);
    assert!(said.status == 4 && said.stderr.contains("lcod://x/b 1.5.0 -> 1.6.0"), "{said:?}");
    done(beside.run(&["lock"]));
    assert_eq!(versions(&beside.world.lock()), ["a@1.0.0", "b@1.6.0", "c@1.0.0"]);
    drop(daemon);
}

#[test]
fn a_directory_that_was_fetched_once_is_resolved_without_its_repository() {
    let beside = Beside::new();
    let commit = beside.commit(&[release("x/b", "1.5.0", &["lcod://x/d@1"])]);
    let next = beside.commit(&[release("x/b", "1.6.0", &[])]);
    let daemon = beside.world.sandbox.start_synced();
    let online = done(beside.run(&["resolve", &direct(&commit, "x.b"), "-o", "json"]));
    assert!(daemon.stop().success());
    fs::remove_dir_all(beside.world.sandbox.path("forge")).unwrap();
    let offline = done(beside.run(&["resolve", &direct(&commit, "x.b"), "-o", "json", "--offline"]));
    assert_eq!(offline, online, "byte for byte");
    let said = beside.run(&["resolve", &direct(&next, "x.b"), "--offline"]);
    assert!(said.status == 5 && said.stderr.contains("E012") && said.stderr.contains("offline"), "{said:?}");
    // What was changed on disk is never believed.
    let trees = beside.world.sandbox.path("cache/resolverd/files/trees");
    let tree = fs::read_dir(trees).unwrap().map(|entry| entry.unwrap().path()).next().unwrap();
    place::open_up(&tree);
    let descriptor = tree.join("lcp.toml");
    let text = fs::read_to_string(&descriptor).unwrap().replace("1.5.0", "1.5.1");
    fs::remove_file(&descriptor).unwrap();
    fs::write(&descriptor, text).unwrap();
    let said = beside.run(&["resolve", &direct(&commit, "x.b"), "--offline"]);
    assert!(said.status == 1 && said.stderr.contains("cache.changed"), "{said:?}");
}

#[test]
fn a_directory_of_a_commit_comes_through_mirrors_too() {
    let world = Mirrored::new(None);
    let commit = place::git(&world.sandbox.path("work"), &["rev-parse", "HEAD"]).trim().to_owned();
    let daemon = world.sandbox.start_synced();
    let reference = format!("git+https://nowhere.example/git/components.git@{commit}#packages/m.one");
    let mirrors = json!({"https://nowhere.example/git": MIRROR});
    let answer = daemon.post("/v1/resolve", &json!({"requests": [reference], "mirrors": mirrors})).ok();
    let one = component(&answer, "lcod://m/one");
    assert_eq!(one["source"]["repository"], "https://nowhere.example/git/components.git");
    assert_eq!(component(&answer, "lcod://m/two")["source"]["id"], "main");
    assert!(!answer.to_string().contains(MIRROR), "{answer:#}");
    let lock =
        daemon.post("/v1/lock", &json!({"resolve": {"requests": [reference], "mirrors": mirrors}})).ok();
    assert!(!lock["text"].as_str().unwrap().contains("mirror"), "{lock:#}");
}

#[test]
fn explain_and_locate_fetch_from_where_a_project_says_and_nothing_offline() {
    let world = Mirrored::new(None);
    let commit = place::git(&world.sandbox.path("work"), &["rev-parse", "HEAD"]).trim().to_owned();
    let daemon = world.sandbox.start_synced();
    let git = world.origin.url("/git");
    let reference = format!("git+https://nowhere.example/git/components.git@{commit}#packages/m.one");
    world.app(&[("https://nowhere.example/git", MIRROR), (&git, MIRROR)]);
    world.lose();
    assert!(daemon.stop().success());
    world.forget();
    let daemon = world.sandbox.start();
    let before = world.mirror.requests().len();
    for refused in [["--offline", "explain", &reference], ["--offline", "locate", "lcod://m/one"]] {
        let said = world.run(&refused);
        assert!(said.status == 5 && said.stderr.contains("offline"), "{refused:?}: {said:?}");
    }
    assert_eq!(world.mirror.requests().len(), before, "nobody was asked");
    for lost in [["explain", &reference, "--no-project"], ["locate", "lcod://m/one", "--no-project"]] {
        assert_ne!(world.run(&lost).status, 0, "{lost:?}");
    }
    let told = json_of(world.run(&["explain", &reference, "-o", "json"]));
    assert_eq!((&told["chosen"], &told["direct"]), (&json!("1.0.0"), &json!(reference)), "{told:#}");
    let place = done(world.run(&["locate", "lcod://m/one"]));
    assert!(Path::new(place.trim()).is_file(), "{place}");
    assert!(world.mirror.requests().len() > before);
    // What was fetched once is there offline, without the mirrors.
    let offline = json!({"id": reference, "offline": true});
    assert_eq!(daemon.post("/v1/explain", &offline).ok()["chosen"], "1.0.0");
    let offline = json!({"id": "lcod://m/one", "offline": true});
    assert_eq!(daemon.post("/v1/locate", &offline).ok()["found"], true);
    for route in ["/v1/explain", "/v1/locate"] {
        let wrong = json!({"id": "lcod://m/one", "mirrors": {"http://a.example": "https://b.example"}});
        assert_eq!(daemon.post(route, &wrong).reason(), "net.mirror", "{route}");
    }
}

/// A door that somebody waits at.
#[derive(Default)]
struct Door {
    is_open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Door {
    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let shut = self.opened.wait_while(self.is_open.lock().unwrap(), |is_open| !*is_open);
        drop(shut.unwrap());
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

#[test]
fn a_fetch_of_files_ends_when_nobody_waits_for_it_any_more() {
    let world = Mirrored::new(None);
    let config = world.sandbox.path("config/resolverd/config.toml");
    // Nothing but the client's end may end it.
    let text = fs::read_to_string(&config).unwrap() + "[limits]\nstall_s = 3600\ntotal_s = 7200\n";
    fs::write(&config, text).unwrap();
    let commit = place::git(&world.sandbox.path("work"), &["rev-parse", "HEAD"]).trim().to_owned();
    let daemon = world.sandbox.start_synced();
    assert!(daemon.stop().success());
    let trees = world.sandbox.path("cache/resolverd/files/trees");
    let entries = || fs::read_dir(&trees).map_or(0, Iterator::count);
    let git = GitMount::of(&world.sandbox.path("origin"));
    let direct = format!("git+https://nowhere.example/git/components.git@{commit}#packages/m.one");
    let with_mirror = json!({"https://nowhere.example/git": MIRROR});
    for (route, body, is_mirrored) in [
        ("/v1/materialize", json!({"releases": ["lcod://m/one"]}), false),
        ("/v1/materialize", json!({"resolve": {"requests": ["lcod://m/one"]}}), false),
        ("/v1/locate", json!({"id": "lcod://m/one"}), false),
        ("/v1/resolve", json!({"requests": [direct], "mirrors": with_mirror}), true),
        ("/v1/explain", json!({"id": direct, "mirrors": with_mirror}), true),
    ] {
        world.forget();
        let daemon = world.sandbox.start_synced();
        let server = if is_mirrored { &world.mirror } else { &world.origin };
        let stalling = GitMount::of(&world.sandbox.path("origin")).before(|_| Some(Route::Stall(Vec::new())));
        server.mount("/git", stalling);
        let before = server.requests().len();
        let client = sent(&daemon, route, &body);
        poll::until("the fetch", || (server.requests().len() > before).then_some(()));
        drop(client);
        // Nothing half-made is left, and whoever comes then begins anew.
        poll::until("the end of the work", || (entries() == 0).then_some(()));
        server.mount("/git", GitMount::of(&world.sandbox.path("origin")));
        assert_eq!(daemon.post(route, &body).status, 200, "{route} {body}");
        assert!(daemon.stop().success());
    }

    // While somebody waits, it goes on.
    world.forget();
    let daemon = world.sandbox.start_synced();
    let door = Arc::new(Door::default());
    let at = Arc::clone(&door);
    world.origin.mount(
        "/git",
        git.before(move |_| {
            at.pass();
            None
        }),
    );
    let body = json!({"releases": ["lcod://m/one"]});
    let first = sent(&daemon, "/v1/materialize", &body);
    poll::until("the fetch", || (door.waiting.load(Ordering::Relaxed) > 0).then_some(()));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| daemon.post("/v1/materialize", &body));
        poll::until("the other client", || {
            let metrics = daemon.get("/metrics");
            let text = String::from_utf8_lossy(&metrics.body).into_owned();
            text.lines().any(|line| line == "resolverd_connections 3").then_some(())
        });
        drop(first);
        let connections = || {
            let text = String::from_utf8_lossy(&daemon.get("/metrics").body).into_owned();
            text.lines().any(|line| line == "resolverd_connections 2").then_some(())
        };
        poll::until("the first client's end", connections);
        door.open();
        assert_eq!(other.join().unwrap().status, 200);
    });
}

/// Sends a request and returns the connection, whose answer nobody has read.
fn sent(daemon: &Daemon, route: &str, body: &Value) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    stream
}
