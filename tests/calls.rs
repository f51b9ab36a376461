//! What components call as what they require, through the real binary and real repositories: reported, required, locked and replayed;
//! contracts and who implements them; versions of the host on the command line.

use std::collections::BTreeSet;
use std::path::PathBuf;

use catalogue_schema::id::Reference;
use resolverd::fetch::limit::Limits;
use serde_json::{Value, json};

use crate::harness::chance::Chance;
use crate::harness::daemon::{Daemon, Said, Sandbox};
use crate::harness::lcod::{self, Component, Federation, Form};
use crate::harness::place::{self, open_up};
use crate::harness::repository::{self, Files, Repository};

/// A sandbox whose read-only directories can be removed at the end.
struct World {
    sandbox: Sandbox,
    home: Repository,
}

impl Drop for World {
    fn drop(&mut self) {
        open_up(&self.sandbox.path("cache"));
    }
}

/// A component that calls `calls` and requires `requires`.
fn calling(id: &str, version: &str, requires: &[&str], calls: &[&str]) -> Component {
    Component {
        calls: calls.iter().map(|one| (*one).to_owned()).collect(),
        ..Component::new(id, version, requires)
    }
}

impl World {
    /// Publishes rows of components; each release lies in a directory of its own.
    fn new(components: &[Component]) -> World {
        World::with(components, &Files::new())
    }

    /// Publishes them with other files in place of those that are made for them.
    fn with(components: &[Component], files: &Files) -> World {
        let sandbox = Sandbox::new();
        let home = Repository::create(&sandbox.path("home"));
        let world = World { sandbox, home };
        world.publish(components, files);
        world.sandbox.write_sources(&lcod::sources("acme", &world.home.url(), "list.jsonl"));
        world
    }

    fn publish(&self, components: &[Component], files: &Files) {
        let placed: Vec<Component> = components.iter().map(placed).collect();
        let mut all = lcod::all_files(&placed);
        all.extend(files.clone());
        let rows: Vec<Value> = placed.iter().map(lcod::row).collect();
        all.insert("list.jsonl".to_owned(), lcod::lines("acme/list", &rows));
        self.home.commit(&all);
    }

    /// Makes a project in `app`, whose files these are.
    fn project(&self, files: &[(&str, &str)]) -> PathBuf {
        let app = self.sandbox.path("app");
        std::fs::create_dir_all(&app).unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(app.join(name), text).unwrap());
        app
    }

    /// Runs a verb in the project.
    fn run(&self, arguments: &[&str]) -> Said {
        let app = self.project(&[]);
        let mut command = self.sandbox.command();
        Said::of(command.env_remove("RESOLVERD_NATIVES").args(arguments).current_dir(app))
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.sandbox.path("app").join(name)).unwrap()
    }
}

fn placed(one: &Component) -> Component {
    Component { directory: format!("{}/{}", one.directory, one.version), ..one.clone() }
}

fn ids(answer: &Value) -> Vec<String> {
    let name = |one: &Value| format!("{}@{}", one["id"].as_str().unwrap(), one["version"].as_str().unwrap());
    answer["components"].as_array().unwrap().iter().map(name).collect()
}

fn reasons(answer: &Value) -> Vec<&str> {
    answer["warnings"].as_array().unwrap().iter().map(|one| one["reason"].as_str().unwrap()).collect()
}

fn resolve(
    daemon: &Daemon,
    calls: &str,
    requests: &[&str],
    natives: &[&str],
) -> crate::harness::http::Answer {
    daemon.post("/v1/resolve", &json!({"requests": requests, "natives": natives, "calls": calls}))
}

/// One component that calls another without requiring it, and a chain of such calls behind that.
fn chain() -> Vec<Component> {
    vec![
        calling("lcod://n/app", "1.0.0", &["lcod://n/a@1"], &["lcod://n/a@1", "lcod://n/b@^1.1"]),
        calling("lcod://n/a", "1.0.0", &[], &[]),
        calling("lcod://n/b", "1.0.0", &[], &["lcod://n/never"]),
        calling("lcod://n/b", "1.1.0", &[], &["lcod://n/c", "lcod://k/map@1", "lcod://n/b@1"]),
        calling("lcod://n/c", "2.0.0", &[], &["lcod://n/a@1.0.0"]),
    ]
}

#[test]
fn what_is_called_undeclared_is_required_as_well_and_said() {
    let world = World::new(&chain());
    let daemon = world.sandbox.start_synced();
    let off = resolve(&daemon, "off", &["lcod://n/app"], &[]).ok();
    assert_eq!(ids(&off), ["lcod://n/a@1.0.0", "lcod://n/app@1.0.0"]);
    let natives = ["lcod://k/"];
    let answer = resolve(&daemon, "follow", &["lcod://n/app"], &natives).ok();
    assert_eq!(
        ids(&answer),
        ["lcod://n/a@1.0.0", "lcod://n/c@2.0.0", "lcod://n/b@1.1.0", "lcod://n/app@1.0.0"]
    );
    assert_eq!(reasons(&answer), ["call.undeclared"; 4]);
    assert_eq!(
        answer["warnings"][0]["text"],
        "lcod://n/app@1.0.0 calls lcod://n/b@^1.1 (compose.yaml, line 5, column 11) and does not require it"
    );
    let [_, c, b, app] = answer["components"].as_array().unwrap().as_slice() else { panic!() };
    assert_eq!(app["dependencies"], json!(["lcod://n/a@1", "lcod://n/b@^1.1"]));
    assert_eq!(app["called"], json!(["lcod://n/b@^1.1"]));
    assert_eq!(b["requiredBy"], json!(["lcod://n/app@1.0.0"]));
    assert_eq!(
        (&b["called"], &b["native"]),
        (&json!(["lcod://n/c", "lcod://k/map@1"]), &json!(["lcod://k/map@1"]))
    );
    assert_eq!(c["requiredBy"], json!(["lcod://n/b@1.1.0"]));
    assert_eq!(answer["natives"], json!(["lcod://k/map@1"]));
    // The same question to the same snapshot has the same bytes.
    let again = resolve(&daemon, "follow", &["lcod://n/app"], &natives);
    assert_eq!(again.body, resolve(&daemon, "follow", &["lcod://n/app"], &natives).body);
    // A kept snapshot answers as the one in force does.
    let body = json!({"requests": ["lcod://n/app"], "natives": natives, "calls": "follow", "snapshot": answer["snapshot"]});
    assert_eq!(ids(&daemon.post("/v1/resolve", &body).ok()), ids(&answer));
    // Files are put on disk for what is called as well.
    let body = json!({"resolve": {"requests": ["lcod://n/app"], "natives": natives, "calls": "follow"}});
    let put = daemon.post("/v1/materialize", &body).ok();
    assert_eq!((put["items"].as_array().unwrap().len(), reasons(&put).len()), (4, 4));
    // Where calls are not followed, what is to be known of contracts is told all the same.
    let put = |overlay: Value| {
        let body = json!({"resolve": {"requests": ["lcod://n/app"], "overlay": overlay}});
        daemon.post("/v1/materialize", &body).ok()
    };
    assert_eq!(put(json!({}))["warnings"], json!([]));
    assert_eq!(
        reasons(&put(json!({"bindings": {"lcod://n/a": "lcod://n/c"}}))),
        ["binding.not_implementing"]
    );
    let body =
        json!({"requests": ["lcod://n/app"], "natives": natives, "calls": "follow", "materialize": true});
    let put = daemon.post("/v1/resolve", &body).ok();
    assert!(put["components"].as_array().unwrap().iter().all(|one| one["directory"].is_string()), "{put:#}");
}

#[test]
fn what_cannot_be_solved_with_calls_names_them() {
    let world = World::new(&chain());
    let daemon = world.sandbox.start_synced();
    // The call that nobody answers is one of a component that is only called itself.
    let failed = resolve(&daemon, "follow", &["lcod://n/app"], &[]).json();
    assert_eq!((&failed["code"], &failed["reason"]), (&json!("E001"), &json!("dependency_unknown")));
    assert_eq!(failed["missing"][0]["requiredBy"], json!(["lcod://n/b@1.1.0"]), "{failed:#}");
    assert_eq!(failed["calls"][0]["call"], "lcod://n/b@^1.1", "{failed:#}");
    // Strict names every call, those of components that are only called themselves as well.
    let strict = resolve(&daemon, "strict", &["lcod://n/app"], &["lcod://k/"]).json();
    assert_eq!((&strict["code"], &strict["reason"]), (&json!("E003"), &json!("call.undeclared")));
    let row = |one: &Value| format!("{} {} {}", one["release"], one["call"], one["line"]).replace('"', "");
    let rows: Vec<String> = strict["calls"].as_array().unwrap().iter().map(row).collect();
    assert_eq!(
        rows,
        [
            "lcod://n/c@2.0.0 lcod://n/a@1.0.0 3",
            "lcod://n/b@1.1.0 lcod://n/c 3",
            "lcod://n/b@1.1.0 lcod://k/map@1 5",
            "lcod://n/app@1.0.0 lcod://n/b@^1.1 5",
        ]
    );
    assert!(strict["hint"].as_str().unwrap().contains("requires"), "{strict:#}");
    let clean = resolve(&daemon, "strict", &["lcod://n/a"], &[]).ok();
    assert_eq!((ids(&clean), reasons(&clean).len()), (vec!["lcod://n/a@1.0.0".to_owned()], 0));
    let wrong = resolve(&daemon, "sometimes", &["lcod://n/a"], &[]).json();
    assert_eq!((&wrong["code"], &wrong["reason"]), (&json!("R011"), &json!("api.calls")));
}

#[test]
fn a_call_counts_for_the_release_that_makes_it_alone() {
    // The newest x calls what only an old y meets; the search may take an older x instead.
    let world = World::new(&[
        calling("lcod://n/app", "1.0.0", &["lcod://n/x@1", "lcod://n/y@2"], &[]),
        calling("lcod://n/x", "1.0.0", &[], &[]),
        calling("lcod://n/x", "1.1.0", &[], &["lcod://n/y@1"]),
        calling("lcod://n/y", "1.0.0", &[], &[]),
        calling("lcod://n/y", "2.0.0", &[], &[]),
    ]);
    let daemon = world.sandbox.start_synced();
    let off = resolve(&daemon, "off", &["lcod://n/app"], &[]).ok();
    assert!(ids(&off).contains(&"lcod://n/x@1.1.0".to_owned()), "{off:#}");
    let answer = resolve(&daemon, "follow", &["lcod://n/app"], &[]).ok();
    assert_eq!(ids(&answer), ["lcod://n/x@1.0.0", "lcod://n/y@2.0.0", "lcod://n/app@1.0.0"]);
    assert!(reasons(&answer).is_empty(), "{answer:#}");
    let conflict = resolve(&daemon, "follow", &["lcod://n/x@1.1.0", "lcod://n/y@2"], &[]).json();
    assert_eq!(conflict["code"], "E003", "{conflict:#}");
    let told = conflict["explanation"].as_str().unwrap();
    assert!(told.contains("lcod://n/x@1.1.0 (acme/acme) calls lcod://n/y@1"), "{told}");
    let facts = conflict["derivation"]["facts"].as_array().unwrap();
    let leaf = facts.iter().find(|fact| fact["id"] == "lcod://n/x").unwrap();
    assert_eq!((&leaf["what"], &leaf["called"]), (&json!("calls"), &json!(["lcod://n/y@1"])), "{leaf:#}");
    assert_eq!(leaf["references"], json!([]));
    assert!(leaf["text"].as_str().unwrap().contains(" calls "), "{leaf:#}");
}

#[test]
fn calls_that_lead_on_and_on_end_at_a_limit() {
    let one =
        |at: usize| calling(&format!("lcod://n/c{at}"), "1.0.0", &[], &[&format!("lcod://n/c{}", at + 1)]);
    let count = usize::try_from(Limits::default().call_rounds).unwrap() + 1;
    let mut components: Vec<Component> = (0..count).map(one).collect();
    components.push(calling(&format!("lcod://n/c{count}"), "1.0.0", &[], &[]));
    let world = World::new(&components);
    let daemon = world.sandbox.start_synced();
    let failed = resolve(&daemon, "follow", &["lcod://n/c0"], &[]).json();
    assert_eq!(
        (&failed["code"], &failed["reason"]),
        (&json!("R005"), &json!("limit.call_rounds")),
        "{failed:#}"
    );
    let answer = resolve(&daemon, "follow", &["lcod://n/c3"], &[]).ok();
    assert_eq!((ids(&answer).len(), reasons(&answer).len()), (count - 2, count - 3), "{answer:#}");
}

#[test]
fn a_question_leads_to_so_many_undeclared_calls_and_no_more() {
    let half = usize::try_from(Limits::default().calls).unwrap() / 2 + 1;
    let many = |id: &str| {
        let calls: Vec<String> = (0..half).map(|at| format!("lcod://k/{id}{at}")).collect();
        calling(
            &format!("lcod://n/{id}"),
            "1.0.0",
            &[],
            &calls.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    };
    let world = World::new(&[many("a"), many("b")]);
    let daemon = world.sandbox.start_synced();
    let one = resolve(&daemon, "follow", &["lcod://n/a"], &["lcod://k/"]).ok();
    assert_eq!(one["components"][0]["called"].as_array().map(Vec::len), Some(half));
    let both = resolve(&daemon, "follow", &["lcod://n/a", "lcod://n/b"], &["lcod://k/"]).json();
    assert_eq!((&both["code"], &both["reason"]), (&json!("R005"), &json!("limit.calls")), "{both:#}");
    assert_eq!(both["limit"], json!(Limits::default().calls));
}

#[test]
fn a_call_of_another_version_than_the_chosen_one_is_said() {
    let components = [
        calling(
            "lcod://n/app",
            "1.0.0",
            &["lcod://n/b@1", "lcod://n/c@1"],
            &["lcod://n/b@^2", "lcod://n/b", "lcod://n/c@1.0"],
        ),
        calling("lcod://n/b", "1.1.0", &[], &[]),
        calling("lcod://n/c", "1.0.3", &[], &[]),
    ];
    let world = World::new(&components);
    let daemon = world.sandbox.start_synced();
    let answer = resolve(&daemon, "follow", &["lcod://n/app"], &[]).ok();
    assert_eq!(reasons(&answer), ["call.version"]);
    let text = answer["warnings"][0]["text"].as_str().unwrap();
    assert!(text.contains("calls lcod://n/b@^2") && text.ends_with("and 1.1.0 is chosen"), "{text}");
    let strict = resolve(&daemon, "strict", &["lcod://n/app"], &[]).json();
    assert_eq!((&strict["code"], &strict["reason"]), (&json!("E003"), &json!("call.version")), "{strict:#}");
    assert_eq!(strict["calls"][0]["call"], "lcod://n/b@^2");
    assert_eq!(strict["calls"].as_array().map(Vec::len), Some(1));

    // The project's own calls are compared with what is locked.
    let toml =
        "schemaVersion = \"2.0\"\nid = \"lcod://demo/app@0.1.0\"\n[deps]\nrequires = [\"lcod://n/b@1\"]\n";
    world.project(&[("lcp.toml", toml), ("compose.yaml", "compose:\n- call: lcod://n/b@^2\n")]);
    let said = world.run(&["lock", "--strict"]);
    assert!(said.status == 3 && said.stderr.contains("call.version"), "{said:?}");
    let said = world.run(&["lock", "--calls"]);
    assert!(said.status == 0 && said.stderr.contains("and 1.1.0 is chosen"), "{said:?}");
}

#[test]
fn declared_calls_change_nothing() {
    let mut chance = Chance(7);
    for round in 0..6 {
        // Whatever is required is called as well; whom it is required of never calls anything else.
        let count = 8;
        let mut components = Vec::new();
        for at in 0..count {
            let requires: BTreeSet<usize> =
                (0..2).map(|_| at + 1 + chance.index(count)).filter(|to| *to < count).collect();
            let requires: Vec<String> = requires.into_iter().map(|to| format!("lcod://n/c{to}@1")).collect();
            let requires: Vec<&str> = requires.iter().map(String::as_str).collect();
            let version = format!("1.{}.0", chance.index(3));
            components.push(calling(&format!("lcod://n/c{at}"), &version, &requires, &requires));
        }
        let world = World::new(&components);
        let daemon = world.sandbox.start_synced();
        let off = resolve(&daemon, "off", &["lcod://n/c0", "lcod://n/c1"], &[]);
        for calls in ["follow", "strict"] {
            let on = resolve(&daemon, calls, &["lcod://n/c0", "lcod://n/c1"], &[]);
            assert_eq!(on.ok(), off.ok(), "round {round}, {calls}");
        }
    }
}

#[test]
fn the_published_components_call_what_the_data_says() {
    let Some(components) = lcod::published() else { return };
    let id = |text: &str| Reference::parse(text).unwrap().id.to_string();
    let mut expected = BTreeSet::new();
    for one in &components {
        let declared: BTreeSet<String> = one.requires.iter().map(|text| id(text)).collect();
        let undeclared = one.calls.iter().filter(|call| !declared.contains(&id(call)));
        expected.extend(undeclared.map(|call| (one.full(), call.clone())));
    }
    let natives: BTreeSet<String> = components
        .iter()
        .flat_map(|one| one.requires.iter().chain(&one.calls))
        .filter(|text| components.iter().all(|one| one.id != id(text)))
        .cloned()
        .collect();
    let sandbox = Sandbox::new();
    let federation = Federation::build(&sandbox.path("world"), components);
    for form in [Form::Lines, Form::Seed] {
        sandbox.write_sources(&federation.sources(form));
        let daemon = sandbox.start_synced();
        let requests: Vec<String> = federation.components.iter().map(|one| one.id.clone()).collect();
        let body = json!({"requests": requests, "natives": natives, "calls": "strict"});
        let strict = daemon.post("/v1/resolve", &body).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let found: Vec<(String, String)> = strict["calls"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (text(&one["release"]), text(&one["call"])))
            .collect();
        assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), expected, "{form:?}");
        assert_eq!(found.len(), expected.len(), "{form:?}: each once");
        let body = json!({"requests": requests, "natives": natives, "calls": "follow"});
        let answer = daemon.post("/v1/resolve", &body).ok();
        let calls = reasons(&answer).into_iter().filter(|reason| reason.starts_with("call.")).count();
        assert_eq!((ids(&answer).len(), calls), (79, expected.len()), "{form:?}");
        assert!(daemon.stop().success());
    }
    open_up(&sandbox.path("cache"));
}

#[test]
fn a_compose_file_that_says_nothing_is_a_warning_or_an_error() {
    let components = [
        calling("lcod://n/good", "1.0.0", &[], &[]),
        calling("lcod://n/bad", "1.0.0", &[], &[]),
        calling("lcod://n/bomb", "1.0.0", &[], &[]),
        calling("lcod://n/relative", "1.0.0", &[], &["internal/x", "$.f"]),
    ];
    let file =
        |at: usize, text: &str| (placed(&components[at]).file("compose.yaml"), text.as_bytes().to_vec());
    let files = Files::from([file(1, "compose:\n- call: [lcod://n/x]\n"), file(2, &"[".repeat(5_000))]);
    let world = World::with(&components, &files);
    let daemon = world.sandbox.start_synced();
    let check = |id: &str, warnings: &[&str], strict: &str| {
        let answer = resolve(&daemon, "follow", &[id], &[]).ok();
        assert_eq!(reasons(&answer), warnings, "{id}");
        let failed = resolve(&daemon, "strict", &[id], &[]);
        let found = if failed.status == 200 { String::new() } else { failed.reason() };
        assert_eq!(found, strict, "{id}");
    };
    check("lcod://n/good", &[], "");
    check("lcod://n/bad", &["call.compose_unread"], "compose.call");
    check("lcod://n/bomb", &["call.compose_unread"], "input.yaml");
    check("lcod://n/relative", &["call.relative", "call.unreadable"], "call.relative");
}

#[test]
fn offline_only_what_is_here_is_read() {
    // Manifests list compose files that no sync has read.
    let sandbox = Sandbox::new();
    let components = vec![
        calling("lcod://n/app", "1.0.0", &[], &["lcod://n/a"]),
        calling("lcod://n/a", "1.0.0", &[], &[]),
    ];
    let federation = Federation::build(&sandbox.path("world"), components);
    sandbox.write_sources(&federation.sources(Form::Seed));
    let daemon = sandbox.start_synced();
    let ask = |offline: bool, calls: &str| {
        daemon.post("/v1/resolve", &json!({"requests": ["lcod://n/app"], "calls": calls, "offline": offline}))
    };
    let before = ask(true, "follow").ok();
    assert_eq!((ids(&before).len(), reasons(&before)), (1, vec!["call.compose_unread"]));
    let refused = ask(true, "strict").json();
    assert_eq!((&refused["code"], &refused["reason"]), (&json!("E012"), &json!("offline")), "{refused:#}");
    assert!(refused["detail"].as_str().unwrap().contains("lcod://n/app@1.0.0"), "{refused:#}");
    let online = ask(false, "follow");
    assert_eq!(ids(&online.ok()).len(), 2);
    assert_eq!(ask(true, "follow").body, online.body, "what was fetched once is there");
    drop(daemon);
    open_up(&sandbox.path("cache"));
}

const APP: &str =
    "schemaVersion = \"2.0\"\nid = \"lcod://demo/app@0.1.0\"\n[deps]\nrequires = [\"lcod://n/app@1\"]\n";
const COMPOSE: &str = "compose:\n- call: lcod://n/app@1\n- call: lcod://n/own@1\n- call: internal/x\n";

#[test]
fn a_lock_with_calls_holds_and_is_replayed() {
    let mut components = chain();
    components.push(calling("lcod://n/own", "1.0.0", &[], &[]));
    let world = World::new(&components);
    world.project(&[("lcp.toml", APP), ("compose.yaml", COMPOSE)]);
    let natives = ["--native", "lcod://k/map@1"];
    let with = |more: &[&'static str]| [more, &natives[..]].concat();
    // Without calls nothing of it is there.
    assert_eq!(world.run(&with(&["lock"])).status, 0);
    let plain = world.read("lcp.lock");
    assert!(!plain.contains("call") && !plain.contains("lcod://n/own"), "{plain}");
    let said = world.run(&with(&["lock", "--calls"]));
    assert!(said.status == 0 && said.stdout.contains("added    lcod://n/own@1.0.0"), "{said:?}");
    assert!(
        said.stderr.contains(
            "the project calls lcod://n/own@1 (compose.yaml, line 3, column 9) and does not require it"
        ),
        "{said:?}"
    );
    assert!(said.stderr.contains("call.relative"), "{said:?}");
    let locked = world.read("lcp.lock");
    for part in ["calls = \"follow\"", "called = [\n    \"lcod://n/own@1\",\n]", "lcod://n/c@2.0.0"] {
        assert!(locked.contains(part), "{part} in {locked}");
    }
    // It holds, it is kept to without a word, and it is the same offline.
    assert_eq!(world.run(&["check"]).status, 0);
    let tree = world.run(&["tree", "--locked"]);
    assert!(tree.status == 0 && tree.stdout.contains("lcod://n/own@1.0.0"), "{tree:?}");
    assert!(tree.stdout.contains("lcod://n/b@1.1.0 (called, not declared)"), "{tree:?}");
    assert_eq!(world.run(&["resolve", "--locked"]).status, 0);
    assert_eq!(world.run(&["lock"]).status, 0);
    assert_eq!(world.read("lcp.lock"), locked);
    assert_eq!(world.run(&["--offline", "lock"]).status, 0);
    assert_eq!(world.read("lcp.lock"), locked);
    let put = world.run(&["materialize", "--locked", "--to", "out"]);
    assert!(put.status == 0 && world.sandbox.path("app/out/n/own/1.0.0/compose.yaml").is_file(), "{put:?}");
    // A call that comes to the project is noticed, and one that is declared by now is none any more.
    world.project(&[("compose.yaml", &format!("{COMPOSE}- call: lcod://n/c\n"))]);
    let said = world.run(&["check"]);
    assert!(said.status == 4 && said.stdout.contains("lcod://n/c"), "{said:?}");
    assert_eq!(world.run(&["resolve", "--locked"]).status, 4);
    // Strict names what the project itself calls, with the place.
    let said = world.run(&with(&["lock", "--strict"]));
    assert!(said.status == 3 && said.stderr.contains("3 calls of the project are not declared"), "{said:?}");
    let said = world.run(&["lock", "--no-calls"]);
    assert!(said.status == 0 && world.read("lcp.lock") == plain, "{said:?}");
}

#[test]
fn references_are_locked_with_calls_as_well() {
    let world = World::new(&chain());
    let said = world.run(&["lock", "lcod://n/app", "--native", "lcod://k/", "--calls"]);
    assert_eq!(said.status, 0, "{said:?}");
    let locked = world.read("resolverd.lock");
    assert!(locked.contains("schema = \"resolverd/lock@1\"\ncalls = \"follow\"\n"), "{locked}");
    assert!(locked.contains("called = [\n    \"lcod://k/map@1\",\n    \"lcod://n/c\",\n]"), "{locked}");
    assert_eq!(world.run(&["check"]).status, 0);
    assert_eq!(world.run(&["resolve", "--locked"]).status, 0);
    assert_eq!(world.run(&["lock"]).status, 0);
    assert_eq!(world.read("resolverd.lock"), locked);
    // Who claims that something declared is called, or the other way round, does not hold.
    let check = |from: &str, to: &str, status: u8| {
        std::fs::write(world.sandbox.path("app/resolverd.lock"), locked.replacen(from, to, 1)).unwrap();
        let said = world.run(&["check"]);
        assert_eq!(said.status, i32::from(status), "{from}: {said:?}");
    };
    check(
        "    \"lcod://k/map@1\",\n    \"lcod://n/c\",\n]\nrequiredBy",
        "    \"lcod://n/c\",\n]\nrequiredBy",
        4,
    );
    check("called = [\n    \"lcod://k/map@1\",", "called = [\n    \"lcod://n/strange\",", 2);
    check("calls = \"follow\"\n", "", 2);
    check("calls = \"follow\"", "calls = \"sometimes\"", 2);
    check("nothing of this", "", 0);
}

#[test]
fn the_package_of_a_project_says_what_its_relative_calls_mean() {
    let world = World::new(&[
        calling("lcod://n/app", "1.0.0", &[], &[]),
        calling("lcod://demo/app/private/x", "0.1.0", &[], &[]),
    ]);
    let lcp = format!("{APP}[workspace]\nscopeAliases = {{ internal = \"private\" }}\n");
    world.project(&[("lcp.toml", &lcp), ("compose.yaml", "compose:\n- call: internal/x\n")]);
    let said = world.run(&["lock", "--calls"]);
    assert!(said.status == 0 && said.stdout.contains("lcod://demo/app/private/x@0.1.0"), "{said:?}");
}

/// Adds lines to the descriptor of a component.
fn described(one: &Component, kind: &str, implements: &str) -> (String, Vec<u8>) {
    let one = placed(&Component { kind: kind.to_owned(), ..one.clone() });
    let text = String::from_utf8(one.descriptor()).unwrap();
    let text = text.replacen("\n\n[deps]", &format!("\n{implements}\n[deps]"), 1);
    (one.file("lcp.toml"), text.into_bytes())
}

/// A contract, two components that implement it, and one that does not.
fn contracts(more: &[Component]) -> World {
    let mut all = vec![
        calling("lcod://contract/net/fetch", "1.2.0", &[], &[]),
        calling("lcod://impl/a", "1.0.0", &[], &[]),
        calling("lcod://impl/b", "2.0.0", &[], &[]),
        calling("lcod://impl/other", "1.0.0", &[], &[]),
        calling("lcod://n/one", "1.0.0", &["lcod://contract/net/fetch@1", "lcod://impl/a"], &[]),
        calling("lcod://n/none", "1.0.0", &["lcod://contract/net/fetch@1"], &[]),
        calling(
            "lcod://n/both",
            "1.0.0",
            &["lcod://contract/net/fetch@1", "lcod://impl/a", "lcod://impl/b"],
            &[],
        ),
    ];
    let files = Files::from([
        described(&all[0], "contract", ""),
        described(&all[1], "component", "implements = \"lcod://contract/net/fetch@1\""),
        described(
            &all[2],
            "component",
            "implements = [\"lcod://contract/net/fetch@^1.1\", \"lcod://contract/net/other\"]",
        ),
        described(&all[3], "component", "implements = [7]"),
    ]);
    all.extend(more.to_vec());
    World::with(&all, &files)
}

#[test]
fn a_contract_is_answered_by_the_one_component_of_the_solution_that_implements_it() {
    let world = contracts(&[]);
    let daemon = world.sandbox.start_synced();
    let ask = |id: &str, overlay: Value| {
        daemon.post("/v1/resolve", &json!({"requests": [id], "overlay": overlay})).ok()
    };
    let contract = |answer: &Value| -> Value {
        let all = answer["components"].as_array().unwrap();
        all.iter().find(|one| one["id"] == "lcod://contract/net/fetch").unwrap()["implementation"].clone()
    };
    let one = ask("lcod://n/one", json!(null));
    assert_eq!((contract(&one), reasons(&one).len()), (json!("lcod://impl/a@1.0.0"), 0));
    let none = ask("lcod://n/none", json!(null));
    assert_eq!((contract(&none), reasons(&none)), (Value::Null, vec!["contract.unbound"]));
    let text = none["warnings"][0]["text"].as_str().unwrap();
    for part in [
        "lcod://impl/a, lcod://impl/b would",
        "\"bindings\": {\"lcod://contract/net/fetch\": \"lcod://impl/a\"}",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let both = ask("lcod://n/both", json!(null));
    assert_eq!((contract(&both), reasons(&both)), (Value::Null, vec!["contract.unbound"]));
    assert!(
        both["warnings"][0]["text"].as_str().unwrap().contains("2 components of the solution"),
        "{both:#}"
    );
    // A binding chooses, and is told where it chooses what does not implement the contract.
    let bound = |to: &str| ask("lcod://n/none", json!({"bindings": {"lcod://contract/net/fetch": to}}));
    let good = bound("lcod://impl/b");
    assert_eq!(
        (ids(&good), reasons(&good).len()),
        (vec!["lcod://impl/b@2.0.0".to_owned(), "lcod://n/none@1.0.0".to_owned()], 0)
    );
    let bad = bound("lcod://impl/other");
    let warned: Vec<&str> = reasons(&bad);
    assert_eq!(warned, ["binding.not_implementing", "descriptor.implements"], "{bad:#}");
    assert!(
        bad["warnings"][0]["text"].as_str().unwrap().contains("these do: lcod://impl/a, lcod://impl/b"),
        "{bad:#}"
    );
    // Whoever has the files put on disk is told the same, whether calls are followed or not.
    let put = |id: &str, overlay: Value, calls: &str| {
        let resolve = json!({"requests": [id], "overlay": overlay, "calls": calls});
        daemon.post("/v1/materialize", &json!({"resolve": resolve})).ok()["warnings"].clone()
    };
    let binding = json!({"bindings": {"lcod://contract/net/fetch": "lcod://impl/other"}});
    for calls in ["off", "follow"] {
        assert_eq!(put("lcod://n/one", json!(null), calls), json!([]), "{calls}");
        assert_eq!(put("lcod://n/none", json!(null), calls), none["warnings"], "{calls}");
        assert_eq!(put("lcod://n/none", binding.clone(), calls), bad["warnings"], "{calls}");
    }
    // What a release implements is told, and survives a restart.
    let release = daemon.get("/v1/components/lcod/impl/b/2.0.0").ok();
    let expected = json!(["lcod://contract/net/fetch@^1.1", "lcod://contract/net/other"]);
    assert_eq!(release["implements"], expected);
    let explained = daemon.post("/v1/explain", &json!({"id": "lcod://impl/b"})).ok();
    assert_eq!(explained["release"]["implements"], expected);
    let said = world.run(&["resolve", "lcod://n/one"]);
    assert!(
        said.stdout
            .contains("implementation: lcod://impl/a@1.0.0 implements lcod://contract/net/fetch@1.2.0"),
        "{said:?}"
    );
    assert!(daemon.stop().success());
    let daemon = world.sandbox.start();
    assert_eq!(daemon.get("/v1/components/lcod/impl/b/2.0.0").ok()["implements"], expected);
}

#[test]
fn what_is_not_in_the_solution_changes_no_implementation() {
    let (one, other) = (contracts(&[]), contracts(&[calling("lcod://impl/zz", "1.0.0", &[], &[])]));
    let ask = |world: &World| {
        let daemon = world.sandbox.start_synced();
        let answer = daemon.post("/v1/resolve", &json!({"requests": ["lcod://n/one"]})).ok();
        answer["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["implementation"].clone())
            .collect::<Vec<Value>>()
    };
    assert_eq!(ask(&one), ask(&other));
}

#[test]
fn versions_of_the_host_are_said_on_the_command_line() {
    let world = World::new(&[
        calling("lcod://n/app", "1.0.0", &["lcod://host/kernel@^1.2"], &[]),
        calling("lcod://n/old", "1.0.0", &["lcod://host/kernel@1.0"], &[]),
    ]);
    let with = |verb: &[&str], host: &str| world.run(&[verb, &["--platform", host][..]].concat());
    let good = "lcod://host/kernel=1.3.0";
    for verb in [
        &["resolve", "lcod://n/app"][..],
        &["tree", "lcod://n/app"],
        &["outdated", "lcod://n/app"],
        &["why", "lcod://host/kernel", "--in", "lcod://n/app"],
        &["materialize", "lcod://n/app", "--with-dependencies"],
        &["lock", "lcod://n/app"],
        &["check"],
        &["resolve", "--locked"],
    ] {
        let said = with(verb, good);
        assert_eq!(said.status, 0, "{verb:?}: {said:?}");
    }
    let said = with(&["resolve", "lcod://n/app"], "lcod://host/kernel=1.0.0");
    assert!(said.status == 3 && said.stderr.contains("lcod://host/kernel"), "{said:?}");
    let said = with(&["check"], "lcod://host/kernel=1.0.0");
    assert!(said.status == 4 && said.stdout.contains("lock.host_version"), "{said:?}");
    for (wrong, told) in [("kernel", "NAME=VERSION"), ("lcod://host/kernel=new", "version")] {
        let said = with(&["resolve", "lcod://n/app"], wrong);
        assert!(said.status == 2 && said.stderr.contains(told) && said.stderr.contains("found"), "{said:?}");
    }
    let said = with(&["why", "lcod://n/app"], good);
    assert!(said.status == 2 && said.stderr.contains("--in"), "{said:?}");
    let said = with(&["materialize", "lcod://n/app"], good);
    assert!(said.status == 2 && said.stderr.contains("--with-dependencies"), "{said:?}");
}

/// A package in a workspace: `app` is listed, what lies beside it is not.
struct Package {
    world: World,
    commit: String,
}

impl Package {
    /// Publishes `lcod://p/std/app` with these calls, `lcod://p/std/private/x` and what that calls beside it, and, where it is to be listed,
    /// more; the alias `internal` is one of the workspace.
    fn new(calls: &[&str], listed: &[Component], policy: Option<&str>) -> Package {
        let sandbox = Sandbox::new();
        let home = Repository::create(&sandbox.path("home"));
        let placed = |id: &str, version: &str, calls: &[&str], name: &str| Component {
            directory: format!("packages/std/components/{name}"),
            ..calling(id, version, &[], calls)
        };
        let app = placed("lcod://p/std/app", "1.0.0", calls, "app");
        let beside = [
            placed("lcod://p/std/private/x", "0.2.0", &["lcod://n/a@1", "./own/y"], "private.x"),
            placed("lcod://p/std/own/y", "0.2.0", &["internal/x"], "deep/y"),
            placed("lcod://p/std/own/old", "0.1.0", &[], "old"),
            placed("lcod://p/std/own/twice", "0.2.0", &[], "twice.1"),
            placed("lcod://p/std/own/twice", "0.2.0", &[], "twice.2"),
        ];
        let mut files = lcod::all_files(&[std::slice::from_ref(&app), &beside[..], listed].concat());
        let package = "schemaVersion = \"2.0\"\nid = \"lcod://p/std@0.2.0\"\nkind = \"workspace-package\"\n[workspace]\ncomponentsDir = \"components\"\n";
        files.insert("packages/std/lcp.toml".to_owned(), package.into());
        let workspace =
            "[workspace]\npackages = [\"std\"]\n[workspace.scopeAliases]\ninternal = \"private\"\n";
        files.insert("workspace.lcp.toml".to_owned(), workspace.into());
        let rows: Vec<Value> = [&[app], listed].concat().iter().map(lcod::row).collect();
        files.insert("list.jsonl".to_owned(), lcod::lines("acme/list", &rows));
        let commit = home.commit(&files);
        let world = World { sandbox, home };
        world.sandbox.write_sources(&lcod::sources("acme", &world.home.url(), "list.jsonl"));
        if let Some(policy) = policy {
            let place = world.sandbox.path("config/resolverd");
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join("trust.toml"), policy).unwrap();
        }
        Package { world, commit }
    }
}

#[test]
fn relative_calls_lead_to_the_components_beside_at_the_same_commit() {
    let listed = [calling("lcod://n/a", "1.3.0", &[], &[])];
    let package = Package::new(&["internal/x", "own/y"], &listed, None);
    let world = &package.world;
    let daemon = world.sandbox.start_synced();
    let asked = resolve(&daemon, "follow", &["lcod://p/std/app"], &[]);
    let answer = asked.ok();
    let expected = [
        "lcod://n/a@1.3.0",
        "lcod://p/std/own/y@0.2.0",
        "lcod://p/std/private/x@0.2.0",
        "lcod://p/std/app@1.0.0",
    ];
    assert_eq!(ids(&answer), expected);
    let all = answer["components"].as_array().unwrap();
    let (app, x) = (&all[3], &all[2]);
    assert_eq!(app["called"], json!(["lcod://p/std/private/x@0.2.0", "lcod://p/std/own/y@0.2.0"]));
    assert_eq!((&x["source"]["id"], &x["source"]["commit"]), (&json!("direct"), &json!(package.commit)));
    assert_eq!(x["source"]["path"], "packages/std/components/private.x");
    assert_eq!(app["source"]["commit"], x["source"]["commit"], "inside one commit");
    assert!(
        reasons(&answer).iter().all(|one| ["call.undeclared", "resolve.cycle"].contains(one)),
        "{answer:#}"
    );
    // Another question to the same snapshot has the same bytes, also with a cache alone.
    assert_eq!(resolve(&daemon, "follow", &["lcod://p/std/app"], &[]).body, asked.body);
    let offline = json!({"requests": ["lcod://p/std/app"], "calls": "follow", "offline": true});
    assert_eq!(daemon.post("/v1/resolve", &offline).body, asked.body);
    // Their files are put on disk as those of the others, and a kernel finds them by their ids.
    let body =
        json!({"resolve": {"requests": ["lcod://p/std/app"], "calls": "follow"}, "layout": "lcod-view"});
    let put = daemon.post("/v1/materialize", &body).ok();
    let view = std::path::Path::new(put["view"]["directory"].as_str().unwrap()).to_path_buf();
    let manifest = std::fs::read_to_string(view.join("registry/components.std.jsonl")).unwrap();
    assert!(expected.iter().all(|id| manifest.contains(id)), "{manifest}");
    // Strict names what is not declared, nothing else.
    let strict = resolve(&daemon, "strict", &["lcod://p/std/app"], &[]).json();
    assert_eq!(strict["reason"], "call.undeclared", "{strict:#}");
    // A lock holds them, and is replayed.
    let run = |arguments: &[&str]| world.run(arguments);
    let said = run(&["lock", "lcod://p/std/app", "--calls"]);
    assert!(said.status == 0, "{said:?}");
    let locked = world.read("resolverd.lock");
    assert!(locked.contains("path = \"packages/std/components/private.x\""), "{locked}");
    for arguments in [&["check"][..], &["resolve", "--locked"], &["lock"], &["--offline", "lock"]] {
        let said = run(arguments);
        assert!(said.status == 0, "{arguments:?}: {said:?}");
        assert_eq!(world.read("resolverd.lock"), locked, "{arguments:?}");
    }
}

#[test]
fn whatever_else_a_package_has_leaves_its_relative_calls_alone() {
    let package = Package::new(&["internal/x"], &[calling("lcod://n/a", "1.0.0", &[], &[])], None);
    let world = &package.world;
    let home = &world.home.path;
    let lfs = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 5\n", "a".repeat(64));
    let mut more = Files::new();
    for path in ["a:b?.txt", "CON", "Twin/f", "twin/f", "assets/large"] {
        more.insert(format!("packages/std/{path}"), vec![b'['; 4096]);
    }
    more.insert("packages/std/components/bad/lcp.toml".to_owned(), b"[[[".to_vec());
    more.insert("packages/std/pointer".to_owned(), lfs.into_bytes());
    more.insert(format!("packages/std/{}f", "d/".repeat(40)), b"deep".to_vec());
    more.extend((0..40).map(|at| (format!("packages/std/many/{at}"), Vec::new())));
    repository::write(home, &more);
    std::os::unix::fs::symlink("../../../etc/passwd", home.join("packages/std/link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", home.join("packages/std/components/bad/link")).unwrap();
    place::git(home, &["add", "--all", "--force", "."]);
    place::git(home, &["commit", "--quiet", "--message", "more"]);
    let config = world.sandbox.path("config/resolverd");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), "[limits]\nrelease_files = 20\nfile_bytes = 2000\n").unwrap();

    let daemon = world.sandbox.start_synced();
    let answer = resolve(&daemon, "follow", &["lcod://p/std/app"], &[]).ok();
    assert_eq!(ids(&answer).len(), 4, "{answer:#}");
    // A directory beside that is too large is a reason, and nobody's failure.
    let x = home.join("packages/std/components/private.x");
    std::fs::write(x.join("large"), vec![b'x'; 4096]).unwrap();
    place::git(home, &["add", "--all", "."]);
    place::git(home, &["commit", "--quiet", "--message", "large"]);
    daemon.sync();
    let answer = resolve(&daemon, "follow", &["lcod://p/std/app"], &[]).ok();
    assert_eq!((ids(&answer).len(), reasons(&answer)), (1, vec!["call.relative"]), "{answer:#}");
    let text = answer["warnings"][0]["text"].as_str().unwrap();
    assert!(text.contains("file_bytes") && text.contains("may not be used"), "{text}");
}

#[test]
fn a_relative_call_of_which_nothing_can_be_said_is_a_warning_and_strict_an_error() {
    let check = |calls: &[&str], listed: &[Component], policy: Option<&str>, parts: &[&str]| {
        let package = Package::new(calls, listed, policy);
        let daemon = package.world.sandbox.start_synced();
        let answer = resolve(&daemon, "follow", &["lcod://p/std/app"], &[]).ok();
        assert_eq!(
            (ids(&answer).len(), reasons(&answer)),
            (1, vec!["call.relative"; calls.len()]),
            "{answer:#}"
        );
        let text = answer["warnings"][0]["text"].as_str().unwrap();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(
            text.contains(&format!("lcod://p/std/app@1.0.0 calls {} (compose.yaml, line 3", calls[0])),
            "{text}"
        );
        let strict = resolve(&daemon, "strict", &["lcod://p/std/app"], &[]).json();
        assert_eq!(
            (&strict["code"], &strict["reason"]),
            (&json!("E003"), &json!("call.relative")),
            "{strict:#}"
        );
        assert_eq!(strict["calls"][0]["call"], calls[0]);
    };
    check(&["internal/gone"], &[], None, &["lcod://p/std/private/gone@0.2.0", "nobody lists that"]);
    check(&["own/old"], &[], None, &["no lcp.toml of its package has this id and version"]);
    check(&["own/twice"], &[], None, &["two directories"]);
    // A list that has other versions only does not answer, and stays the owner.
    check(
        &["own/other"],
        &[calling("lcod://p/std/own/other", "9.0.0", &[], &[])],
        None,
        &["nobody lists that"],
    );
    let policy = "schema = \"resolverd/trust@1\"\nversion = 1\n[[namespaces]]\nmatch = \"lcod://**\"\nsources = [\"acme\"]\nrequire = \"pin\"\n";
    check(&["internal/x"], &[], Some(policy), &["may not be used", "policy"]);
}

#[test]
fn what_a_catalogue_lists_answers_a_relative_call_before_what_lies_beside() {
    let other = calling("lcod://p/std/private/x", "0.2.0", &[], &[]);
    let package = Package::new(&["internal/x"], &[other], None);
    let daemon = package.world.sandbox.start_synced();
    let answer = resolve(&daemon, "follow", &["lcod://p/std/app"], &[]).ok();
    assert_eq!(ids(&answer), ["lcod://p/std/private/x@0.2.0", "lcod://p/std/app@1.0.0"]);
    assert_eq!(answer["components"][0]["source"]["id"], "acme");
    // So does what the caller has itself.
    let answer = resolve(&daemon, "follow", &["lcod://p/std/app"], &["lcod://p/std/private/"]).ok();
    assert_eq!((ids(&answer).len(), &answer["natives"]), (1, &json!(["lcod://p/std/private/x@0.2.0"])));
}

/// Two sources: `acme`, the first, and `community`, each with a repository of its own.
struct Rivals {
    sandbox: Sandbox,
    acme: String,
    community: String,
}

impl Drop for Rivals {
    fn drop(&mut self) {
        open_up(&self.sandbox.path("cache"));
    }
}

/// The descriptor of a package at `directory`.
fn package_file(directory: &str, full: &str) -> (String, Vec<u8>) {
    let text = format!(
        "schemaVersion = \"2.0\"\nid = \"{full}\"\nkind = \"workspace-package\"\n[workspace]\ncomponentsDir = \"components\"\n"
    );
    (format!("{directory}/lcp.toml"), text.into_bytes())
}

/// A component at `directory`.
fn lying(directory: &str, one: Component) -> Component {
    Component { directory: directory.to_owned(), ..one }
}

impl Rivals {
    /// Each side has what it lists, what lies beside that, and the id of the package in `packages/x`.
    fn new(sides: [(&[Component], &[Component], &str); 2], is_owned: bool, policy: Option<&str>) -> Rivals {
        let sandbox = Sandbox::new();
        let publish = |name: &str, (listed, beside, package): (&[Component], &[Component], &str)| {
            let home = Repository::create(&sandbox.path(name));
            let mut files = lcod::all_files(&[listed, beside].concat());
            files.extend([package_file("packages/x", package)]);
            let rows: Vec<Value> = listed.iter().map(lcod::row).collect();
            files.insert("list.jsonl".to_owned(), lcod::lines(&format!("{name}/list"), &rows));
            let commit = home.commit(&files);
            (home.url(), commit)
        };
        let [first, second] = sides;
        let (acme, community) = (publish("acme", first), publish("community", second));
        let source = |id: &str, priority: u32, url: &str, owns: &[&str]| {
            let entry = json!({"type": "git", "url": url, "ref": "main", "subpath": "list.jsonl"});
            json!({"id": id, "priority": priority, "owns": owns, "entrypoint": entry})
        };
        let owns: &[&str] = if is_owned { &["lcod://acme/**"] } else { &[] };
        let sources = [source("acme", 10, &acme.0, owns), source("community", 50, &community.0, &[])];
        sandbox.write_sources(&json!({"schema": "lcod-resolver/sources@1", "sources": sources}));
        if let Some(policy) = policy {
            let place = sandbox.path("config/resolverd");
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join("trust.toml"), policy).unwrap();
        }
        Rivals { sandbox, acme: acme.1, community: community.1 }
    }
}

const NAMESPACES: &str = "schema = \"resolverd/trust@1\"\nversion = 1\n[defaults]\ndirect = \"allow\"\n[[namespaces]]\nmatch = \"lcod://acme/**\"\nsources = [\"acme\"]\nrequire = \"pin\"\n[[namespaces]]\nmatch = \"lcod://evil/**\"\nsources = [\"community\"]\nrequire = \"pin\"\n";

#[test]
fn a_package_takes_no_component_over_by_what_it_calls_itself() {
    let app = lying(
        "c/app",
        calling("lcod://acme/app", "1.0.0", &["lcod://acme/billing/invoice", "lcod://evil/tool@1"], &[]),
    );
    let invoice = lying("c/invoice", calling("lcod://acme/billing/invoice", "1.0.0", &[], &[]));
    let check = |call: &str, is_owned: bool, policy: Option<&str>, part: &str| {
        let tool = lying("packages/x/components/tool", calling("lcod://evil/tool", "1.0.0", &[], &[call]));
        let beside = ["invoice", "secret"].map(|name| {
            let id = format!("lcod://acme/billing/{name}");
            lying(&format!("packages/x/components/{name}"), calling(&id, "9.9.9", &[], &[]))
        });
        let listed = [app.clone(), invoice.clone()];
        let sides = [
            (&listed[..], &[][..], "lcod://acme/x@1.0.0"),
            (&[tool][..], &beside, "lcod://acme/billing@9.9.9"),
        ];
        let rivals = Rivals::new(sides, is_owned, policy);
        let daemon = rivals.sandbox.start_synced();
        let answer = resolve(&daemon, "follow", &["lcod://acme/app"], &[]).ok();
        let expected =
            ["lcod://acme/billing/invoice@1.0.0", "lcod://evil/tool@1.0.0", "lcod://acme/app@1.0.0"];
        assert_eq!(
            (ids(&answer), reasons(&answer)),
            (expected.map(str::to_owned).to_vec(), vec!["call.relative"]),
            "{answer:#}"
        );
        assert_eq!(answer["components"][0]["source"]["commit"], rivals.acme, "{answer:#}");
        assert_eq!(answer["components"][0]["shadowed"], json!([]), "{answer:#}");
        let text = answer["warnings"][0]["text"].as_str().unwrap();
        assert!(text.contains(part), "{text}");
        let strict = resolve(&daemon, "strict", &["lcod://acme/app"], &[]).json();
        assert_eq!((&strict["code"], &strict["reason"]), (&json!("E003"), &json!("call.relative")));
    };
    for (is_owned, policy) in [(true, None), (false, None), (false, Some(NAMESPACES))] {
        check("./invoice", is_owned, policy, "acme/acme lists it in other versions");
        check("./secret", is_owned, policy, "none of what the caller belongs to");
    }
}

#[test]
fn a_namespace_of_another_source_is_nobody_else_s() {
    let check = |is_owned: bool, policy: Option<&str>, part: &str| {
        let other = lying("c/other", calling("lcod://acme/other", "1.0.0", &[], &[]));
        let tool =
            lying("packages/x/components/tool", calling("lcod://acme/z/tool", "1.0.0", &[], &["./own"]));
        let own = lying("packages/x/components/own", calling("lcod://acme/z/own", "1.0.0", &[], &[]));
        let sides = [
            (&[other][..], &[][..], "lcod://acme/x@1.0.0"),
            (&[tool][..], &[own][..], "lcod://acme/z@1.0.0"),
        ];
        let rivals = Rivals::new(sides, is_owned, policy);
        let daemon = rivals.sandbox.start_synced();
        let answer = resolve(&daemon, "follow", &["lcod://acme/z/tool"], &[]).ok();
        if part.is_empty() {
            assert_eq!((ids(&answer).len(), reasons(&answer)), (2, vec!["call.undeclared"]), "{answer:#}");
            assert_eq!(answer["components"][0]["source"]["commit"], rivals.community);
            return;
        }
        assert_eq!((ids(&answer).len(), reasons(&answer)), (1, vec!["call.relative"]), "{answer:#}");
        let text = answer["warnings"][0]["text"].as_str().unwrap();
        assert!(text.contains(part), "{text}");
    };
    check(true, None, "owned by source acme");
    check(false, None, "");
    // A rule may let a source supply what it lists, and no more: this one asks for signatures of what is beside.
    let narrow = "schema = \"resolverd/trust@1\"\nversion = 1\n[defaults]\ndirect = \"allow\"\n[[namespaces]]\nmatch = \"lcod://acme/**\"\nsources = [\"acme\", \"community\"]\nrequire = \"pin\"\n[[namespaces]]\nmatch = \"lcod://acme/z/own\"\nsources = [\"acme\"]\nrequire = \"pin\"\n";
    check(false, Some(narrow), "community may not supply it under the policy");
}

#[test]
fn two_packages_of_one_name_keep_their_private_components() {
    let app = lying(
        "packages/x/components/app",
        calling("lcod://acme/billing/app", "1.0.0", &["lcod://acme/billing/tool@1"], &["./private"]),
    );
    let tool = lying(
        "packages/x/components/tool",
        calling("lcod://acme/billing/tool", "1.0.0", &[], &["./private"]),
    );
    let private =
        lying("packages/x/components/private", calling("lcod://acme/billing/private", "1.0.0", &[], &[]));
    let (listed, beside, name) = ([app], [private.clone()], "lcod://acme/billing@1.0.0");
    let rivals = Rivals::new([(&listed, &beside, name), (&[tool], &[private], name)], false, None);
    let daemon = rivals.sandbox.start_synced();
    let answer = resolve(&daemon, "follow", &["lcod://acme/billing/app"], &[]).ok();
    // The first that is chosen has it; the other does not get it from there, and both places are named.
    let told: Vec<&str> = answer["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["reason"] == "call.relative")
        .map(|one| one["text"].as_str().unwrap())
        .collect();
    assert_eq!((ids(&answer).len(), told.len()), (3, 1), "{answer:#}");
    assert!(told[0].contains(&rivals.acme) && told[0].contains(&rivals.community), "{told:?}");
    let all = answer["components"].as_array().unwrap();
    let private = all.iter().find(|one| one["id"] == "lcod://acme/billing/private").unwrap();
    for one in all.iter().filter(|one| one["called"].as_array().is_some_and(|called| !called.is_empty())) {
        assert_eq!(one["source"]["commit"], private["source"]["commit"], "{answer:#}");
    }
    assert_eq!(resolve(&daemon, "follow", &["lcod://acme/billing/app"], &[]).ok(), answer);
}

/// Returns the descriptions in the cache, by what they are of.
fn descriptions(sandbox: &Sandbox) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut open = vec![sandbox.path("cache")];
    while let Some(place) = open.pop() {
        for entry in std::fs::read_dir(place).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(about) =
                serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap_or_default())
                && let (Some(release), true) = (about["release"].as_str(), about["promise"].is_string())
            {
                found.push((release.to_owned(), path));
            }
        }
    }
    found
}

#[test]
fn what_cannot_be_reached_takes_nothing_out_of_answers_and_locks() {
    let package = Package::new(&["internal/x"], &[calling("lcod://n/a", "1.3.0", &[], &[])], None);
    let world = &package.world;
    let said = world.run(&["sync"]);
    assert!(said.status == 0, "{said:?}");
    let lock = ["lock", "lcod://p/std/app", "--calls"];
    assert_eq!(world.run(&lock).status, 0);
    let locked = world.read("resolverd.lock");
    assert!(locked.contains("lcod://p/std/private/x"), "{locked}");
    // One file that says what the names stand for is gone from the cache: another meaning is not guessed.
    let gone = descriptions(&world.sandbox);
    let gone: Vec<&PathBuf> =
        gone.iter().filter(|(release, _)| release.ends_with("(descriptors)")).map(|(_, path)| path).collect();
    assert_eq!(gone.len(), 1, "both files are one entry: {gone:?}");
    open_up(&world.sandbox.path("cache"));
    std::fs::remove_file(gone[0]).unwrap();
    let said = world.run(&["--offline", "resolve", "lcod://p/std/app", "--calls"]);
    assert!(said.status != 0 && said.stderr.contains("offline"), "{said:?}");
    // The repository and the cache are gone.
    std::fs::rename(world.sandbox.path("home"), world.sandbox.path("away")).unwrap();
    for offline in [&[][..], &["--offline"]] {
        open_up(&world.sandbox.path("cache"));
        std::fs::remove_dir_all(world.sandbox.path("cache/resolverd/files")).ok();
        let said = world.run(&[offline, &lock].concat());
        assert!(said.status != 0, "{said:?}");
        assert_eq!(world.read("resolverd.lock"), locked, "{said:?}");
    }
    std::fs::rename(world.sandbox.path("away"), world.sandbox.path("home")).unwrap();
    assert_eq!(world.run(&lock).status, 0);
    assert_eq!(world.read("resolverd.lock"), locked);
}

#[test]
fn that_a_workspace_has_no_file_is_kept_as_well() {
    let tool = lying("packages/x/components/tool", calling("lcod://acme/z/tool", "1.0.0", &[], &["./own"]));
    let own = lying("packages/x/components/own", calling("lcod://acme/z/own", "1.0.0", &[], &[]));
    let side = (&[tool][..], &[own][..], "lcod://acme/z@1.0.0");
    let rivals = Rivals::new([side, (&[], &[], "lcod://n/x@1.0.0")], false, None);
    let daemon = rivals.sandbox.start_synced();
    let online = resolve(&daemon, "follow", &["lcod://acme/z/tool"], &[]);
    assert_eq!(ids(&online.ok()).len(), 2);
    let offline = json!({"requests": ["lcod://acme/z/tool"], "calls": "follow", "offline": true});
    assert_eq!(daemon.post("/v1/resolve", &offline).body, online.body);
}

#[test]
fn no_package_is_fetched_before_the_policy_is_asked() {
    let policy = "schema = \"resolverd/trust@1\"\nversion = 1\n[[namespaces]]\nmatch = \"lcod://**\"\nsources = [\"acme\"]\nrequire = \"pin\"\n";
    let package = Package::new(&["internal/x"], &[], Some(policy));
    let daemon = package.world.sandbox.start_synced();
    let answer = resolve(&daemon, "follow", &["lcod://p/std/app"], &[]).ok();
    assert_eq!(reasons(&answer), ["call.relative"]);
    let found = descriptions(&package.world.sandbox);
    let beside: Vec<&str> = found
        .iter()
        .map(|(release, _)| release.as_str())
        .filter(|release| release.starts_with("git+"))
        .collect();
    assert!(matches!(beside[..], [one] if one.ends_with("(descriptors)")), "{found:?}");
}

#[test]
fn the_limits_of_calls_are_the_operator_s() {
    let world = World::new(&chain());
    let config = world.sandbox.path("config.toml");
    let check = |limit: &str, reason: &str| {
        std::fs::write(&config, format!("[limits]\n{limit}\n")).unwrap();
        let place = config.to_str().unwrap();
        let ask =
            ["resolve", "lcod://n/app", "--calls", "--native", "lcod://k/", "-o", "json", "--config", place];
        let said = world.sandbox.run(&ask);
        let key = limit.split(' ').next().unwrap();
        let told = format!("{}{}", said.stdout, said.stderr);
        assert!(told.contains(reason) && told.contains(&format!("limits.{key}")), "{limit}: {said:?}");
    };
    check("calls = 2", "limit.calls");
    check("call_rounds = 2", "limit.call_rounds");
    check("compose_bytes = 30", "call.compose_unread");
}
