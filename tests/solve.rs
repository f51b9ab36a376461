//! Following requirements: the real components over a real socket, a real dependency graph against another solver, and what a
//! project wishes, what is contradictory, and what goes on for too long, through the real binary.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;

use catalogue_schema::graph::Graph;
use catalogue_schema::id::{ComponentId, Reference};
use catalogue_schema::model::Component as Merged;
use catalogue_schema::packed::Packed;
use catalogue_schema::version::{Version, VersionReq};
use resolverd::resolve::{Candidates, Cause, Limits, Pick, Request, Standing, resolve};
use resolverd::server::solve::{INLINE_STEPS, SOLVES_MAX};
use resolvo::{
    Condition, ConditionId, DenseIndex, Dependencies, DependencyProvider, Interner, KnownDependencies,
    NameId, Problem, SolvableId, Solver, SolverCache, StringId, UnsolvableOrCancelled, VersionSetId,
    VersionSetUnionId,
};
use serde_json::{Value, json};

use crate::attack::Footprint;
use crate::harness::chance::{self, Chance};
use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::lcod::{Component, Federation, Form, all_files, array, published};
use crate::harness::{place, poll, repository};

fn ask(daemon: &Daemon, body: &Value) -> crate::harness::http::Answer {
    daemon.post("/v1/resolve", body)
}

fn names(answer: &Value) -> Vec<String> {
    let components = answer["components"].as_array().cloned().unwrap_or_default();
    let name = |one: &Value| format!("{}@{}", one["id"].as_str().unwrap(), one["version"].as_str().unwrap());
    components.iter().map(name).collect()
}

/// Every requirement of an answer is met by one of its components or by a native, and who is required stands first, circles aside.
fn check_closed(answer: &Value) {
    let components = answer["components"].as_array().unwrap();
    let version_of = |id: &str| {
        let found = components.iter().find(|one| one["id"] == id)?;
        Version::parse(found["version"].as_str()?).ok()
    };
    let natives: Vec<&str> = answer["natives"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for one in components {
        for required in one["dependencies"].as_array().unwrap() {
            let text = required.as_str().unwrap();
            let Reference { id, requirement } = Reference::parse(text).unwrap();
            match version_of(id.as_text()) {
                Some(version) => assert!(requirement.matches(&version), "{text} of {}", one["id"]),
                None => assert!(natives.contains(&text), "{text} of {}", one["id"]),
            }
        }
        let askers = one["requiredBy"].as_array().unwrap();
        assert!(!askers.is_empty(), "{one:#}");
    }
}

#[test]
fn every_published_component_resolves_with_what_kernels_have() {
    let Some(components) = published() else { return };
    let place = tempfile::tempdir().unwrap();
    let federation = Federation::build(place.path(), components);
    let sandbox = Sandbox::with_sources(&federation.sources(Form::Lines));
    let daemon = sandbox.start_synced();
    let listed: BTreeSet<&str> = federation.components.iter().map(|one| one.id.as_str()).collect();
    let mut unlisted = BTreeSet::new();
    for one in &federation.components {
        for required in &one.requires {
            let id = Reference::parse(required).unwrap().id;
            if !listed.contains(id.as_text()) {
                unlisted.insert(id.as_text().to_owned());
            }
        }
    }
    assert_eq!(unlisted.len(), 33, "{unlisted:?}");
    let natives: Vec<&str> = unlisted.iter().map(String::as_str).collect();
    let mut followed = 0;
    for one in &federation.components {
        let body = json!({"requests": [one.full()], "natives": natives});
        let answer = ask(&daemon, &body).ok();
        assert_eq!(answer["roots"], json!([one.full()]));
        assert!(names(&answer).contains(&one.full()), "{answer:#}");
        check_closed(&answer);
        followed += names(&answer).len() - 1;
        assert_eq!(ask(&daemon, &body).ok(), answer, "the same again");
    }
    assert!(followed > federation.components.len(), "{followed}");
    let all: Vec<String> = federation.components.iter().map(Component::full).collect();
    let joint = ask(&daemon, &json!({"requests": all, "natives": natives})).ok();
    check_closed(&joint);
    assert_eq!(names(&joint).len(), all.len());

    // Without natives exactly those are missing that are listed nowhere, each with who requires it.
    let mut missing = BTreeSet::new();
    for one in &federation.components {
        let answer = ask(&daemon, &json!({"requests": [one.full()]}));
        if answer.status == 200 {
            continue;
        }
        let problem = answer.json();
        assert_eq!(
            (&problem["code"], &problem["reason"]),
            (&json!("E001"), &json!("dependency_unknown")),
            "{problem:#}"
        );
        assert!(problem["hint"].as_str().unwrap().contains("--native "), "{problem:#}");
        for row in problem["missing"].as_array().unwrap() {
            assert_eq!(row["reason"], "component_unknown");
            assert!(!row["requiredBy"].as_array().unwrap().is_empty(), "{row:#}");
            missing.insert(row["id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(missing, unlisted);
}

/// A release of the real graph: its version, whether it is yanked, and what it requires.
type Row = (Version, bool, Vec<Reference>);

/// Names, versions and requirements of the real graph.
type Rows = BTreeMap<String, Vec<Row>>;

fn real_graph() -> Option<Rows> {
    let mut text = String::new();
    let file = std::fs::File::open(place::data("graph-bcr.json.gz")?).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let document: BTreeMap<String, Vec<Value>> = serde_json::from_str(&text).unwrap();
    let release = |one: Value| {
        let required = one["requires"].as_array().unwrap().iter();
        let required = required.map(|one| {
            Reference::parse(&format!("{}@{}", one["id"].as_str().unwrap(), one["version"].as_str().unwrap()))
                .unwrap()
        });
        let version = Version::parse(one["version"].as_str().unwrap()).unwrap();
        (version, one["yanked"] == true, required.collect())
    };
    Some(document.into_iter().map(|(id, all)| (id, all.into_iter().map(release).collect())).collect())
}

/// The real graph as a generation has it.
struct World {
    components: Vec<Packed>,
    graph: Graph,
}

impl World {
    fn of(rows: &Rows) -> World {
        let pack = |(id, releases): (&String, &Vec<Row>)| {
            let mut releases: Vec<Value> = releases
                .iter()
                .map(|(version, yanked, required)| {
                    let required: Vec<String> = required.iter().map(ToString::to_string).collect();
                    json!({"id": id, "version": version.to_string(), "origin": {}, "yanked": yanked,
                        "dependencies": required, "verdict": {"trusted": {"level": "pinned"}}})
                })
                .collect();
            releases.sort_by_key(|one| Version::parse(one["version"].as_str().unwrap()).unwrap());
            let component: Merged = serde_json::from_value(json!({
                "id": id, "owner": {"source": "bcr", "name": "modules"}, "releases": releases,
            }))
            .unwrap();
            Packed::of(&component).unwrap()
        };
        let mut components: Vec<Packed> = rows.iter().map(pack).collect();
        components.sort_by(|one, other| one.id_bytes().cmp(other.id_bytes()));
        let graph = Graph::of(&components);
        World { components, graph }
    }
}

impl Candidates for World {
    fn standing(&self, id: &ComponentId) -> Standing<'_> {
        let place = catalogue_schema::graph::place_of(id.as_text(), &self.components);
        place.map_or(Standing::Unknown, |place| Standing::Known(&self.components[place as usize]))
    }

    fn nearest(&self, _id: &ComponentId) -> Vec<ComponentId> {
        Vec::new()
    }

    fn all(&self) -> (&[Packed], &Graph) {
        (&self.components, &self.graph)
    }
}

/// The real graph as the other solver sees it: which versions meet a requirement is tried one by one.
#[derive(Default)]
struct Other {
    names: Vec<String>,
    name_ids: BTreeMap<String, usize>,
    /// Name, version, requirements.
    solvables: Vec<(usize, Version, Vec<VersionSetId>)>,
    by_name: Vec<Vec<SolvableId>>,
    sets: Vec<(usize, VersionReq)>,
    set_ids: BTreeMap<String, VersionSetId>,
}

impl Other {
    fn of(rows: &Rows) -> Other {
        let mut other = Other::default();
        for (id, releases) in rows {
            let name = other.name(id);
            for (version, _, required) in releases.iter().filter(|(_, yanked, _)| !yanked) {
                let required = required.iter().map(|one| other.set(one)).collect();
                let solvable = SolvableId::from_index(other.solvables.len());
                other.solvables.push((name, version.clone(), required));
                other.by_name[name].push(solvable);
            }
        }
        other
    }

    fn name(&mut self, id: &str) -> usize {
        if let Some(known) = self.name_ids.get(id) {
            return *known;
        }
        self.names.push(id.to_owned());
        self.by_name.push(Vec::new());
        self.name_ids.insert(id.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }

    fn set(&mut self, wanted: &Reference) -> VersionSetId {
        let name = self.name(wanted.id.as_text());
        let sets = &mut self.sets;
        *self.set_ids.entry(wanted.to_string()).or_insert_with(|| {
            sets.push((name, wanted.requirement.clone()));
            VersionSetId::from_index(sets.len() - 1)
        })
    }
}

impl Interner for &Other {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        let (name, version, _) = &self.solvables[solvable.to_index()];
        format!("{}@{version}", self.names[*name])
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        &self.names[name.to_index()]
    }

    fn display_version_set(&self, set: VersionSetId) -> impl Display + '_ {
        &self.sets[set.to_index()].1
    }

    fn display_string(&self, _: StringId) -> impl Display + '_ {
        "no text"
    }

    fn version_set_name(&self, set: VersionSetId) -> NameId {
        NameId::from_index(self.sets[set.to_index()].0)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        NameId::from_index(self.solvables[solvable.to_index()].0)
    }

    fn version_sets_in_union(&self, _: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        std::iter::empty()
    }

    fn resolve_condition(&self, _: ConditionId) -> Condition {
        unreachable!("nothing here has a condition")
    }
}

impl DependencyProvider for &Other {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let requirement = &self.sets[set.to_index()].1;
        let meets = |one: &&SolvableId| requirement.matches(&self.solvables[one.to_index()].1) != inverse;
        candidates.iter().filter(meets).copied().collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<resolvo::Candidates<SolvableId>> {
        let candidates = self.by_name.get(name.to_index())?.clone();
        Some(resolvo::Candidates { candidates, ..resolvo::Candidates::default() })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        solvables
            .sort_by(|one, other| self.solvables[other.to_index()].1.cmp(&self.solvables[one.to_index()].1));
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let required = self.solvables[solvable.to_index()].2.iter().map(|set| (*set).into()).collect();
        Dependencies::Known(KnownDependencies { requirements: required, constrains: Vec::new() })
    }
}

fn never() -> bool {
    false
}

/// How often the other solver is asked about a root that has a solution: one that was checked needs no witness.
const WITNESSED: usize = 100;

/// Compares the verdicts on the newest version of every `step`th component; returns how many have a solution, and how many have none.
fn compared(rows: &Rows, step: usize) -> (usize, usize) {
    let world = World::of(rows);
    let mut other = Other::of(rows);
    let (mut solved, mut unsolved) = (0, 0);
    for (at, (id, releases)) in rows.iter().enumerate().step_by(step) {
        let usable = releases.iter().filter(|(_, yanked, _)| !yanked).map(|(version, ..)| version).max();
        let Some(newest) = usable else { continue };
        let root = Reference::parse(&format!("{id}@{newest}")).unwrap();
        let asked = Request { references: vec![root.clone()], ..Request::default() };
        let found = resolve(&world, &asked, &Limits { steps: 1_000_000, is_over: &never });
        match &found {
            Ok(resolution) => {
                solved += 1;
                let version = |pick: &Pick<'_>| pick.release.version().unwrap();
                let chosen: BTreeMap<&str, Version> =
                    resolution.picks.iter().map(|pick| (pick.component.id_text(), version(pick))).collect();
                for pick in &resolution.picks {
                    assert!(pick.release.is_usable(), "{root}");
                    for wanted in pick.release.release().unwrap().dependencies.iter() {
                        assert!(wanted.requirement.matches(&chosen[wanted.id.as_text()]), "{root}: {wanted}");
                    }
                }
            }
            Err(conflict) => {
                unsolved += 1;
                let Cause::Impossible(derivation) = &conflict.cause else { panic!("{root}: {conflict:?}") };
                assert!(derivation.text().lines().count() <= 25, "{root}: {}", derivation.text());
            }
        }
        if found.is_err() || at % WITNESSED == 0 {
            let set = other.set(&root);
            let is_solved = match Solver::new(&other).solve(Problem::new().requirements(vec![set.into()])) {
                Ok(_) => true,
                Err(UnsolvableOrCancelled::Unsolvable(_)) => false,
                Err(UnsolvableOrCancelled::Cancelled(_)) => panic!("{root}: nobody cancelled"),
            };
            assert_eq!(found.is_ok(), is_solved, "{root}");
        }
    }
    (solved, unsolved)
}

#[test]
fn every_root_of_a_real_graph_has_the_verdict_of_another_solver() {
    let Some(mut rows) = real_graph() else { return };
    assert_eq!(compared(&rows, 1), (1242, 0));
    // The same with requirements that meet nothing newer, which most roots contradict themselves over.
    for (_, _, required) in rows.values_mut().flatten() {
        for one in required {
            let text = one.to_string().replace("@>=", "@~");
            *one = Reference::parse(&text).unwrap();
        }
    }
    let (solved, unsolved) = compared(&rows, 4);
    assert!(solved > 10 && unsolved > 100, "{solved} {unsolved}");
}

fn small() -> Vec<Component> {
    let one = |name: &str, version: &str, requires: &[&str]| {
        let mut made = Component::new(&format!("lcod://{name}"), version, requires);
        made.directory = format!("{}-{version}", made.directory);
        made
    };
    vec![
        one("n/app", "1.0.0", &["lcod://n/lib@^1", "lcod://c/map@1"]),
        one("n/lib", "1.0.0", &["lcod://n/app@1"]),
        one("n/lone", "1.0.0", &["lcod://n/lib@^2"]),
        one("n/other", "2.0.0", &[]),
        one("i/map", "0.3.0", &[]),
    ]
}

#[test]
fn wishes_contradictions_and_verbs_through_the_real_binary() {
    let place = tempfile::tempdir().unwrap();
    let federation = Federation::build(place.path(), small());
    let sandbox = Sandbox::with_sources(&federation.sources(Form::Seed));
    let daemon = sandbox.start_synced();
    let app = |more: Value| {
        let mut body = json!({"requests": ["lcod://n/app"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(&daemon, &body)
    };
    let answer = app(json!({"overlay": {"bindings": {"lcod://c/map": "lcod://i/map"}}})).ok();
    assert_eq!(names(&answer), ["lcod://i/map@0.3.0", "lcod://n/app@1.0.0", "lcod://n/lib@1.0.0"]);
    assert_eq!(
        answer["substitutions"],
        json!([{"id": "lcod://c/map", "to": "lcod://i/map", "by": "binding"}])
    );
    // What stands for the contract does not say that it implements it.
    assert_eq!(answer["warnings"][0]["reason"], "binding.not_implementing", "{answer:#}");
    assert_eq!(answer["warnings"][1]["reason"], "resolve.cycle", "{answer:#}");
    assert_eq!(answer["components"][0]["requiredBy"], json!(["lcod://n/app@1.0.0"]));
    let replaced = app(json!({"natives": ["lcod://c/"], "overlay": {"replace": {"lcod://n/lib": {"id": "lcod://n/other", "version": "2"}}}})).ok();
    assert_eq!(names(&replaced), ["lcod://n/other@2.0.0", "lcod://n/app@1.0.0"]);
    let check = |more: Value, status: u16, reason: &str| {
        let refused = app(more);
        assert_eq!((refused.status, refused.reason()), (status, reason.to_owned()), "{:#}", refused.json());
    };
    check(json!({}), 404, "dependency_unknown");
    check(json!({"overlay": {"allowlist": ["lcod://i/"]}}), 403, "resolve.not_allowed");
    check(json!({"overlay": {"sources": []}}), 403, "resolve.source_excluded");
    check(json!({"overlay": {"sources": ["nobody"]}}), 400, "api.source");
    check(json!({"overlay": {"replace": {"lcod://n/app": "lcod://n/app"}}}), 400, "input.overlay");
    let told = ask(&daemon, &json!({"requests": ["lcod://n/lone"]})).json();
    assert_eq!((&told["code"], &told["reason"]), (&json!("E003"), &json!("version_conflict")));
    let facts = told["derivation"]["facts"].as_array().unwrap();
    let leaf = facts.iter().find(|fact| fact["id"] == "lcod://n/lone").unwrap();
    assert_eq!((&leaf["source"], &leaf["catalogue"]), (&json!("lcod-default"), &json!("tooling/std")));
    assert!(leaf["releases"][0]["manifest"].as_str().unwrap().starts_with("sha256:"), "{told:#}");
    assert!(
        told["explanation"].as_str().unwrap().contains("requires lcod://n/lib@^2, which no version meets")
    );

    let said = sandbox.run(&["resolve", "lcod://n/lone"]);
    assert_eq!(
        (said.status, said.stderr.contains("- lcod://n/lone@1.0.0 (lcod-default/tooling/std) requires")),
        (3, true),
        "{}",
        said.stderr
    );
    let natives = ["--native", "lcod://c/"];
    let run = |verb: &[&str]| {
        let said = sandbox.run(&[verb, &natives].concat());
        assert_eq!(said.status, 0, "{}", said.stderr);
        said.stdout
    };
    let tree = run(&["tree", "lcod://n/app"]);
    assert!(
        tree.starts_with("lcod://n/app@1.0.0\n  lcod://c/map@1 native\n  lcod://n/lib@1.0.0\n    lcod://n/app@1.0.0 (above)\n"),
        "{tree}"
    );
    let why = run(&["why", "lcod://n/lib", "--in", "lcod://n/app"]);
    assert!(why.contains("request 0 -> lcod://n/app@1.0.0 -> lcod://n/lib@1.0.0"), "{why}");
    let json_of =
        |verb: &[&str]| serde_json::from_str::<Value>(&run(&[verb, &["-o", "json"]].concat())).unwrap();
    assert_eq!(json_of(&["tree", "lcod://n/app"])["rows"][0]["followed"], true);
    assert_eq!(
        json_of(&["why", "lcod://c/map", "--in", "lcod://n/app"])["natives"],
        json!(["lcod://c/map@1"])
    );
    assert_eq!(json_of(&["outdated", "lcod://n/app"])["items"], json!([]));
    assert!(run(&["outdated", "lcod://n/app"]).contains("newest"));
}

#[test]
fn a_search_that_goes_on_for_too_long_is_undecided() {
    let place = tempfile::tempdir().unwrap();
    let link = |at: usize| {
        let next = format!("lcod://n/c{}@1", at + 1);
        let required: Vec<&str> = if at < CHAIN { vec![next.as_str()] } else { Vec::new() };
        Component::new(&format!("lcod://n/c{at}"), "1.0.0", &required)
    };
    let federation = Federation::build(place.path(), (0..=CHAIN).map(link).collect());
    for (key, limit, value) in [("solve_steps", 5, json!(5)), ("solve_ms", 0, Value::Null)] {
        let sandbox = Sandbox::with_sources(&federation.sources(Form::Seed));
        std::fs::write(sandbox.path("config.toml"), format!("[limits]\n{key} = {limit}\n")).unwrap();
        let mut daemon = sandbox.spawn_with(&["--config", sandbox.path("config.toml").to_str().unwrap()]);
        daemon.wait_for("/readyz");
        daemon.sync();
        let last = ask(&daemon, &json!({"requests": [format!("lcod://n/c{CHAIN}")]}));
        // Where no time is given, whatever is asked is late.
        let expected = if key == "solve_steps" { 200 } else { 503 };
        assert_eq!(last.status, expected, "nothing has to be searched: {:#}", last.json());
        let answer = ask(&daemon, &json!({"requests": ["lcod://n/c0"]}));
        let problem = answer.json();
        assert_eq!((answer.status, answer.reason()), (503, "resolve.undecided".to_owned()), "{problem:#}");
        assert_eq!((&problem["limit"], &problem["value"]), (&json!(key), &value));
        assert!(problem["hint"].as_str().unwrap().contains(key), "{problem:#}");
        daemon.stop();
    }
}

/// Longer than what is searched between two looks at the clock.
const CHAIN: usize = 30;

/// How many components a hard question has, and how many versions each.
const HARD: (usize, usize) = (40, 10);
/// How many others each of their releases requires, and how many versions meet each requirement.
const EDGES: (usize, usize) = (4, 5);

/// Longer than what the thread of all connections searches through by itself.
const LONG_CHAIN: usize = INLINE_STEPS as usize + 20;

/// Components whose requirements nearly contradict each other, which a search takes apart for longer than anybody waits.
fn hard() -> Vec<Component> {
    let (names, versions) = HARD;
    let mut chance = Chance(7);
    let mut release = |name: usize, version: usize| {
        let mut required = BTreeMap::new();
        while required.len() < EDGES.0 {
            let (other, from) = (chance.index(names), chance.index(versions - EDGES.1 + 1));
            if other != name {
                required.insert(other, from);
            }
        }
        let required: Vec<String> = required
            .iter()
            .map(|(other, from)| format!("lcod://n/h{other}@>=1.{from}.0, <1.{}.0", from + EDGES.1))
            .collect();
        let required: Vec<&str> = required.iter().map(String::as_str).collect();
        let mut made = Component::new(&format!("lcod://n/h{name}"), &format!("1.{version}.0"), &required);
        made.directory = format!("{}-{version}", made.directory);
        made
    };
    (0..names)
        .flat_map(|name| (0..versions).map(move |version| (name, version)))
        .map(|(name, version)| release(name, version))
        .collect()
}

/// Starts a daemon over hard questions and over a chain that is longer than what the shared thread has time for.
fn hard_daemon(sandbox: &Sandbox, limits: &str) -> Daemon {
    std::fs::write(sandbox.path("config.toml"), format!("[limits]\n{limits}\n")).unwrap();
    let mut daemon = sandbox.spawn_with(&["--config", sandbox.path("config.toml").to_str().unwrap()]);
    daemon.wait_for("/readyz");
    daemon.sync();
    daemon
}

fn hard_sandbox() -> Sandbox {
    let link = |at: usize| {
        let next = format!("lcod://n/c{}@1", at + 1);
        let required: Vec<&str> = if at < LONG_CHAIN { vec![next.as_str()] } else { Vec::new() };
        Component::new(&format!("lcod://n/c{at}"), "1.0.0", &required)
    };
    let all: Vec<Component> = hard().into_iter().chain((0..=LONG_CHAIN).map(link)).collect();
    let sandbox = Sandbox::new();
    sandbox.write_sources(&json!({"sources": [{
        "id": "hard", "priority": 10,
        "entrypoint": {"type": "file", "path": sandbox.path("published/catalogue.json")},
    }]}));
    let mut files = all_files(&all);
    files.insert("catalogue.json".to_owned(), array(&all));
    repository::write(&sandbox.path("published"), &files);
    sandbox
}

/// Asks and does not wait for the answer.
fn put(daemon: &Daemon, body: &Value) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let body = body.to_string();
    let head = "POST /v1/resolve HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
    write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream
}

/// Counts the threads of a daemon that compute.
fn working(daemon: &Daemon) -> usize {
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let computes = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
        stat.rsplit(')').next()?.trim_start().starts_with('R').then_some(())
    };
    threads.filter_map(computes).count()
}

#[test]
fn a_search_ends_when_its_client_goes_away() {
    let sandbox = hard_sandbox();
    let chain = json!({"requests": ["lcod://n/c0"]});
    let hard = json!({"requests": ["lcod://n/h0"]});
    let steps = INLINE_STEPS + 50;
    let daemon = hard_daemon(&sandbox, &format!("solve_ms = 600_000\nsolve_steps = {steps}"));
    let problem = ask(&daemon, &hard);
    assert_eq!((problem.status, problem.reason()), (503, "resolve.undecided".to_owned()), "{problem}");
    assert_eq!(problem.json()["value"], json!(steps), "which is more than the shared thread takes");
    daemon.stop();

    let daemon = hard_daemon(&sandbox, "solve_ms = 86_400_000\nsolve_steps = 1_000_000_000_000");
    let expected = ask(&daemon, &chain);
    assert_eq!(names(&expected.ok()).len(), LONG_CHAIN + 1);
    // Two more than may search at once: they wait for their turn.
    let clients: Vec<UnixStream> = (0..SOLVES_MAX + 2).map(|_| put(&daemon, &hard)).collect();
    poll::until("as many searches as may go on", || (working(&daemon) >= SOLVES_MAX).then_some(()));
    assert_eq!(daemon.get("/livez").status, 200, "searches keep nobody else waiting");
    drop(clients);
    poll::until("the end of all searches", || (working(&daemon) == 0).then_some(()));
    for _ in 0..SOLVES_MAX {
        assert_eq!(ask(&daemon, &chain).body, expected.body);
    }
    daemon.stop();
}

/// A chain, a fan and a circle, of each as many as `RESOLVERD_GRAPH` says.
#[test]
fn h11_chains_fans_and_circles_of_any_length_are_answered_within_little_memory() {
    let length = usize::try_from(chance::count("RESOLVERD_GRAPH", 1_500, 10_000)).unwrap();
    let id = |shape: &str, at: usize| format!("lcod://n/{shape}{at}");
    let release = |shape: &str, at: usize, required: &[String]| {
        let required: Vec<&str> = required.iter().map(String::as_str).collect();
        Component::new(&id(shape, at), "1.0.0", &required)
    };
    let mut all = Vec::new();
    for at in 0..length {
        let next = if at + 1 < length { vec![id("chain", at + 1) + "@1"] } else { Vec::new() };
        all.push(release("chain", at, &next));
        all.push(release("circle", at, &[id("circle", (at + 1) % length) + "@1"]));
        all.push(release("leaf", at, &[]));
    }
    let leaves: Vec<String> = (0..length).map(|at| id("leaf", at) + "@1").collect();
    all.push(release("fan", 0, &leaves));
    let sandbox = Sandbox::new();
    sandbox.write_sources(&json!({"sources": [{
        "id": "shapes", "priority": 10,
        "entrypoint": {"type": "file", "path": sandbox.path("published/catalogue.json")},
    }]}));
    let mut files = all_files(&all);
    files.insert("catalogue.json".to_owned(), array(&all));
    repository::write(&sandbox.path("published"), &files);
    let daemon = hard_daemon(&sandbox, "solve_ms = 600_000");
    let before = Footprint::of(&daemon);
    for (shape, count) in [("chain", length), ("circle", length), ("fan", length + 1)] {
        let first = ask(&daemon, &json!({"requests": [id(shape, 0)]}));
        assert_eq!(names(&first.ok()).len(), count, "{shape}");
        let again = ask(&daemon, &json!({"requests": [id(shape, 0)]}));
        assert_eq!(again.body, first.body, "{shape}: equal questions have equal answers");
    }
    let after = Footprint::of(&daemon);
    eprintln!("{length} each: before {before:?}, after {after:?}");
    let taken = after.peak_kib - before.rss_kib.min(after.peak_kib);
    assert!(taken <= 128 << 10, "{taken} KiB");
    daemon.stop();
    // Where a search may not take as long, that is what is said.
    let daemon = hard_daemon(&sandbox, "solve_steps = 100");
    for shape in ["chain", "circle", "fan"] {
        let problem = ask(&daemon, &json!({"requests": [id(shape, 0)]}));
        assert_eq!((problem.status, problem.reason()), (503, "resolve.undecided".to_owned()), "{shape}");
    }
    daemon.stop();
}
