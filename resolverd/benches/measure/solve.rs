//! What following requirements costs: the daemon over the real graph against PubGrub over numbers in a process of its own and one
//! hello; searches that would never end against their deadline; the graph itself. Never asserts what a solution holds.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use catalogue_schema::graph::{Graph, place_of};
use catalogue_schema::model::Component;
use catalogue_schema::packed::Packed;
use pubgrub::{
    DefaultStringReporter, Dependencies, DependencyProvider, PackageResolutionStatistics, PubGrubError,
    Ranges, Reporter,
};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Trouble;
use crate::data::{Federation, Random, Spread};
use crate::load::{Seen, framed_file, write_requests};
use crate::machine::{cpu_s, load, pinned};
use crate::requests::{CLIENT_CPU, CONNECTIONS, Pairs, SERVER_CPU, at_rest, plan, settle, sustained};
use crate::servers::{Place, Server, finish_load, load as run_load, start_load};
use crate::table::{Goal, Row};

/// How many random graphs are asked that are hard to search.
const HARD: usize = 20;
/// How long one search may take there, in milliseconds.
const DEADLINE_MS: u64 = 500;
/// How many warm questions are asked while syncs run: 1,000 for each of 64 clients.
const WARM: f64 = 64_000.0;
/// How long they may take at most, in seconds.
const WARM_S_MAX: f64 = 300.0;
/// The body of a hello that is as small as an answer about one release.
const SMALL_BYTES: usize = 512;

/// Measures every row about solving. What needs the real graph is skipped with a word where `data` has none.
pub(crate) fn rows(
    place: &Path,
    data: Option<&Path>,
    federation: &Federation,
    (runs, seconds): (usize, f64),
) -> Result<Vec<Row>, Trouble> {
    let mut rows = graph_rows(place, federation, runs)?;
    rows.push(deadline(place, runs)?);
    let real = |narrow: bool| -> Result<Option<Federation>, Trouble> {
        let Some(data) = data else { return Ok(None) };
        match narrow {
            false => Federation::real(&place.join("solve-real"), data, Spread::Plain),
            true => Federation::narrow(&place.join("solve-narrow"), data),
        }
    };
    let (Some(wide), Some(narrow)) = (real(false)?, real(true)?) else {
        println!(
            "skipped: solving over the real graph; RESOLVERD_DATA names no directory with graph-bcr.json.gz"
        );
        return Ok(rows);
    };
    let figures = Figures::of(&place.join("solve"), &wide, (runs, seconds))?;
    rows.push(figures.middles.row(
        "transitive solve, real graph, >= roots: p50 vs PubGrub in process + a hello of that size",
        "us",
        Goal::AtMost(1.5, 1.2),
    ));
    rows.push(figures.tails.row("the same: p99", "us", Goal::AtMost(1.5, 1.2)));
    rows.push(figures.small.row("the same: p50 vs PubGrub + a hello of 512 bytes", "us", Goal::None));
    rows.push(crate::witness::row(components(&wide.raw)?, &roots(&wide), runs)?);
    let figures = Figures::of(&place.join("proofs"), &narrow, (runs, seconds))?;
    rows.push(figures.middles.row(
        "conflict proofs, real graph, ~ roots: p50 vs PubGrub with its report + a hello",
        "us",
        Goal::None,
    ));
    rows.push(figures.tails.row("the same: p99", "us", Goal::None));
    rows.extend(during_refresh(&place.join("refresh"), &wide, seconds)?);
    Ok(rows)
}

/// Figures over one real graph.
#[derive(Default)]
struct Figures {
    middles: Pairs,
    tails: Pairs,
    /// Against a small hello.
    small: Pairs,
}

impl Figures {
    /// Client, server and baseline take turns on one processor.
    fn of(
        directory: &Path,
        federation: &Federation,
        (runs, seconds): (usize, f64),
    ) -> Result<Figures, Trouble> {
        let home = Place::new(directory.to_owned())?;
        let mut daemon = at_rest(&home, federation)?;
        let roots = roots(federation);
        let (body_bytes, answered) = mean_body(&mut daemon, &roots)?;
        println!(
            "{}: {answered} of {} roots have a solution; an answer has {body_bytes} bytes on the average",
            federation.name,
            roots.len()
        );
        let requests = write_requests(&directory.join("roots"), roots.iter().map(|root| post(root)))?;
        let small = directory.join("small");
        std::fs::create_dir_all(&small)?;
        let hello = Server::hello(directory, "hello", body_bytes, Some(SERVER_CPU))?;
        let small = Server::hello(&small, "hello", SMALL_BYTES, Some(SERVER_CPU))?;
        let asked = Asked { documents: federation.raw.clone(), roots, seconds };
        let asked = serde_json::to_string(&asked)?;
        let round = |server: &Server| -> Result<Seen, Trouble> {
            run_load(&plan(server, &requests, 1, 1, seconds, None), Some(SERVER_CPU))
        };
        let mut figures = Figures::default();
        for run in 0..runs {
            let alone = baseline_seen(&asked)?;
            let (hello, small, own) = (round(&hello)?, round(&small)?, round(&daemon)?);
            println!(
                "run {run}: {:.0} us and {:.0} us at p99 over {} questions; PubGrub {:.0} and {:.0} over {}, hello {:.1} and {:.1}; load {}",
                own.p50_us,
                own.p99_us,
                own.requests,
                alone.p50_us,
                alone.p99_us,
                alone.requests,
                hello.p50_us,
                hello.p99_us,
                load()
            );
            figures.middles.push(own.p50_us, alone.p50_us + hello.p50_us);
            figures.tails.push(own.p99_us, alone.p99_us + hello.p99_us);
            figures.small.push(own.p50_us, alone.p50_us + small.p50_us);
        }
        Ok(figures)
    }
}

/// Returns the newest version of every component, in an order that is none of theirs.
fn roots(federation: &Federation) -> Vec<String> {
    let mut roots: Vec<String> =
        federation.ids.iter().map(|(id, versions)| format!("{id}@1.{}.0", versions - 1)).collect();
    let mut random = Random(13);
    for at in (1..roots.len()).rev() {
        roots.swap(at, random.below(at + 1));
    }
    roots
}

fn question(root: &str) -> String {
    json!({ "requests": [root] }).to_string()
}

/// Returns the request that asks for one root.
pub(crate) fn post(root: &str) -> String {
    let body = question(root);
    format!(
        "POST /v1/resolve HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Asks for every root once; returns the mean length of the answers, and how many were solutions.
fn mean_body(daemon: &mut Server, roots: &[String]) -> Result<(usize, usize), Trouble> {
    let (mut bytes, mut answered) = (0, 0);
    for root in roots {
        let (status, body) = daemon.ask("POST", "/v1/resolve", &question(root))?;
        bytes += body.len();
        answered += usize::from(status == 200);
    }
    Ok((bytes / roots.len().max(1), answered))
}

/// Asks as 64 clients would that ask 1,000 times each, over as many connections as one user may have, while the daemon syncs: first
/// the commits of the federation, each of which moves every document, then the last of them again and again.
fn during_refresh(directory: &Path, federation: &Federation, seconds: f64) -> Result<Vec<Row>, Trouble> {
    let home = Place::new(directory.to_owned())?;
    home.pin(federation, 0)?;
    let mut daemon = home.start(None)?;
    let mut generation = daemon.wait_for_generation(1)?;
    settle(&daemon)?;
    let roots = roots(federation);
    mean_body(&mut daemon, &roots)?;
    let requests = write_requests(&directory.join("roots"), roots.iter().map(|root| post(root)))?;
    let full = run_load(&plan(&daemon, &requests, CONNECTIONS, 1, seconds, None), Some(CLIENT_CPU))?;
    let rate = sustained(&daemon, &requests, full.rate())? / 2.0;
    let mut paced = plan(&daemon, &requests, CONNECTIONS, 1, WARM_S_MAX, Some(rate));
    // A short run is a look at whether everything works.
    paced.count = Some(if seconds < 1.0 { rate * seconds * 10.0 } else { WARM } as u64);
    let mut client = start_load(&paced, Some(CLIENT_CPU))?;
    let mut refreshes = 0;
    while client.try_wait()?.is_none() {
        refreshes += 1;
        if refreshes <= crate::data::STEPS {
            home.pin(federation, refreshes)?;
            generation = daemon.wait_for_generation(generation + 1)?;
        } else {
            daemon.json("POST", "/v1/sync", "")?;
        }
    }
    let busy = finish_load(client)?;
    settle(&daemon)?;
    let quiet = run_load(&paced, Some(CLIENT_CPU))?;
    println!(
        "{} questions at {rate:.0}/s beside {refreshes} syncs: p99 {:.0} us, {:.0} us without them; load {}",
        busy.requests,
        busy.p99_us,
        quiet.p99_us,
        load()
    );
    daemon.stop()?;
    let mut tails = Pairs::default();
    tails.push(busy.p99_us, quiet.p99_us);
    let failures = (busy.failures + quiet.failures) as f64;
    Ok(vec![
        tails.row(
            format!("{} warm resolves at half load beside syncs: p99 vs as many without", busy.requests),
            "us",
            Goal::AtMost(10.0, 3.0),
        ),
        alone("the same: answers that were none", vec![failures], "", Goal::Zero),
        alone("the same: syncs meanwhile", vec![refreshes as f64], "", Goal::None),
    ])
}

/// Asks what nobody can answer in time: the slowest answer against the deadline.
fn deadline(place: &Path, runs: usize) -> Result<Row, Trouble> {
    let federation = Federation::hard(&place.join("hard-data"), HARD)?;
    let home = Place::new(place.join("hard"))?;
    let settings = home.directory.join("home/.config/resolverd");
    std::fs::create_dir_all(&settings)?;
    std::fs::write(
        settings.join("config.toml"),
        format!("[limits]\nsolve_ms = {DEADLINE_MS}\nsolve_steps = 1_000_000_000\n"),
    )?;
    home.pin(&federation, 0)?;
    let mut daemon = home.start(None)?;
    daemon.wait_for_generation(1)?;
    settle(&daemon)?;
    let mut worst = Pairs::default();
    for run in 0..runs {
        let (mut slowest, mut undecided) = (0.0_f64, 0);
        for world in 0..HARD {
            let root = format!("lcod://hard/world-{world:02}/component-00");
            let started = Instant::now();
            let (status, _) = daemon.ask("POST", "/v1/resolve", &question(&root))?;
            slowest = slowest.max(started.elapsed().as_secs_f64() * 1e3);
            undecided += usize::from(status == 503);
        }
        println!("run {run}: {undecided} of {HARD} hard questions ended undecided; load {}", load());
        worst.push(slowest, DEADLINE_MS as f64);
    }
    Ok(worst.row(
        "hard random graphs: the slowest answer vs the deadline of a search",
        "ms",
        Goal::AtMost(1.2, 1.05),
    ))
}

/// Measures the graph of a whole generation, in this process.
fn graph_rows(place: &Path, federation: &Federation, runs: usize) -> Result<Vec<Row>, Trouble> {
    let home = Place::new(place.join("graph"))?;
    home.pin(federation, 0)?;
    home.rule(federation, 1)?;
    let mut daemon = home.start(None)?;
    daemon.wait_for_generation(1)?;
    settle(&daemon)?;
    let sync_s = cpu_s(daemon.pid())?;
    daemon.stop()?;
    let components = components(&federation.raw)?;
    let (mut times, mut sizes) = (Pairs::default(), Pairs::default());
    for _ in 0..runs.max(1) {
        let started = clock_gettime(ClockId::ThreadCPUTime);
        let graph = Graph::of(&components);
        let ended = clock_gettime(ClockId::ThreadCPUTime);
        let took = (ended.tv_sec - started.tv_sec) as f64 + (ended.tv_nsec - started.tv_nsec) as f64 / 1e9;
        times.push(took, sync_s);
        sizes.push(graph.bytes() as f64 / 1e6, federation.raw_bytes as f64 / 1e6);
    }
    Ok(vec![
        times.row("the graph of what is required: CPU to make it vs the cold sync", "s", Goal::None),
        sizes.row("the graph of what is required: memory vs raw bytes", "MB", Goal::None),
    ])
}

/// Reads the manifests of a federation, as a generation has them: what an owner says of a version comes first, and counts.
fn components(documents: &Path) -> Result<Vec<Packed>, Trouble> {
    #[derive(Deserialize)]
    struct Document {
        schema: String,
        #[serde(default)]
        id: String,
        #[serde(default)]
        dependencies: Vec<String>,
    }
    let bytes = std::fs::read(documents)?;
    let mut releases: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
    for document in framed_file(&bytes) {
        let document: Document = serde_json::from_slice(document)?;
        let Some((id, version)) = document.id.split_once('@') else { continue };
        if document.schema == "lcod-registry/manifest@1" {
            let known = releases.entry(id.to_owned()).or_default();
            if known.iter().any(|one| one["version"] == version) {
                continue;
            }
            known.push(json!({
                "id": id, "version": version, "origin": {}, "dependencies": document.dependencies,
                "verdict": {"trusted": {"level": "pinned"}},
            }));
        }
    }
    let component = |(id, releases): (String, Vec<serde_json::Value>)| -> Result<Packed, Trouble> {
        let owner = json!({"source": "bench", "name": "bench"});
        let mut component: Component =
            serde_json::from_value(json!({"id": id, "owner": owner, "releases": releases}))?;
        component.releases.sort_by(|one, other| one.version.cmp(&other.version));
        Ok(Packed::of(&component)?)
    };
    let mut components = releases.into_iter().map(component).collect::<Result<Vec<_>, _>>()?;
    components.sort_by(|one, other| one.id_bytes().cmp(other.id_bytes()));
    Ok(components)
}

/// What the baseline is asked.
#[derive(Serialize, Deserialize)]
struct Asked {
    documents: PathBuf,
    roots: Vec<String>,
    seconds: f64,
}

/// Runs the baseline where the server runs.
fn baseline_seen(asked: &str) -> Result<Seen, Trouble> {
    let mut command: Command = pinned(&std::env::current_exe()?, Some(SERVER_CPU));
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), asked)?;
    let output = command.arg("pubgrub").arg(file.path()).output()?;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout)?),
        false => Err(Trouble::say(String::from_utf8_lossy(&output.stderr))),
    }
}

/// The baseline: PubGrub alone over numbers, with every requirement mapped to versions beforehand. A contradiction is reported as
/// PubGrub reports it.
pub(crate) fn baseline(asked: &str) -> Result<(), Trouble> {
    let asked: Asked = serde_json::from_slice(&std::fs::read(asked)?)?;
    let components = components(&asked.documents)?;
    let plain = Plain::of(&components);
    let root = |text: &String| -> Result<(u32, u32), Trouble> {
        let found = text.split_once('@').and_then(|(id, version)| {
            let node = place_of(id, &components)?;
            let listed = components[node as usize].all().position(|one| one.version_text() == version)?;
            Some((node, u32::try_from(listed).ok()?))
        });
        found.ok_or_else(|| Trouble::say(format!("{text} is no release")))
    };
    let roots = asked.roots.iter().map(root).collect::<Result<Vec<_>, _>>()?;
    let mut nanoseconds: Vec<u64> = Vec::new();
    let (started, mut report_bytes) = (Instant::now(), 0);
    let length = Duration::from_secs_f64(asked.seconds);
    while started.elapsed() < length || nanoseconds.len() < roots.len() {
        let (package, version) = roots[nanoseconds.len() % roots.len()];
        let before = Instant::now();
        match pubgrub::resolve(&plain, package, version) {
            Ok(solution) => report_bytes += solution.into_iter().count(),
            Err(PubGrubError::NoSolution(mut tree)) => {
                tree.collapse_no_versions();
                report_bytes += DefaultStringReporter::report(&tree).len();
            }
            Err(_) => return Err(Trouble::say("PubGrub stopped")),
        }
        nanoseconds.push(before.elapsed().as_nanos() as u64);
    }
    nanoseconds.sort_unstable();
    let at = |share: f64| nanoseconds[((nanoseconds.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    let seen = Seen {
        requests: nanoseconds.len() as u64,
        seconds: started.elapsed().as_secs_f64(),
        body_bytes: report_bytes as u64,
        p50_us: at(0.5),
        p99_us: at(0.99),
        max_us: at(1.0),
        ..Seen::default()
    };
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

/// What one release requires: components, and which of their versions.
type Required = Vec<(u32, Ranges<u32>)>;

/// Versions and requirements by component.
struct Plain {
    releases: Vec<Vec<Required>>,
}

impl Plain {
    fn of(components: &[Packed]) -> Plain {
        let graph = Graph::of(components);
        let release = |node: u32, version: u32| {
            let required = graph.required(node, version).into_iter().flatten();
            let range = |(from, to): &(u32, u32)| Ranges::between(*from, *to);
            let edge = |edge| {
                let met = graph.met_by(edge).iter().map(range);
                (edge.target, met.fold(Ranges::empty(), |all, one| all.union(&one)))
            };
            required.map(edge).filter(|(target, _)| *target != node).collect()
        };
        let releases = |node| (0..graph.versions(node)).map(|version| release(node, version)).collect();
        Plain { releases: (0..graph.components()).map(releases).collect() }
    }

    fn versions(&self, node: u32) -> u32 {
        self.releases.get(node as usize).map_or(0, |releases| releases.len() as u32)
    }
}

impl DependencyProvider for Plain {
    type P = u32;
    type V = u32;
    type VS = Ranges<u32>;
    type Priority = (u32, Reverse<usize>);
    type M = String;
    type Err = Infallible;

    fn prioritize(
        &self,
        node: &u32,
        range: &Ranges<u32>,
        conflicts: &PackageResolutionStatistics,
    ) -> Self::Priority {
        let left = (0..self.versions(*node)).filter(|version| range.contains(version)).count();
        (conflicts.conflict_count(), Reverse(left))
    }

    fn choose_version(&self, node: &u32, range: &Ranges<u32>) -> Result<Option<u32>, Infallible> {
        Ok((0..self.versions(*node)).rev().find(|version| range.contains(version)))
    }

    fn get_dependencies(
        &self,
        node: &u32,
        version: &u32,
    ) -> Result<Dependencies<u32, Ranges<u32>, String>, Infallible> {
        let required = &self.releases[*node as usize][*version as usize];
        Ok(Dependencies::Available(required.iter().cloned().collect()))
    }
}

fn alone(name: &str, values: Vec<f64>, unit: &'static str, goal: Goal) -> Row {
    Row { name: name.to_owned(), values, baselines: Vec::new(), unit, goal }
}
