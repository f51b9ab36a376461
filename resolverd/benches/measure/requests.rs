//! What a request costs: the daemon and the baseline in turn, with the same client and the same number of bytes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Trouble;
use crate::data::{Federation, Random};
use crate::load::{Framing, Plan, Seen, Slow, write_requests};
use crate::machine::{Memory, Thread, busy_s, cpu_s, load, memory, threads};
use crate::servers::{Crowd, Place, Server, finish_load, load as run_load, start_load, start_load_as};
use crate::table::{Goal, Row, median};

/// How many different requests there are.
pub(crate) const REQUESTS: usize = 100_000;
/// As many as one user may have.
pub(crate) const CONNECTIONS: usize = 32;
/// How many references one batch asks for.
const BATCH: usize = 100;
/// How many pairs a run makes of the sequential rows.
const SEQUENTIAL_PAIRS: usize = 5;
/// Where the servers run, and where the client.
pub(crate) const SERVER_CPU: usize = 1;
pub(crate) const CLIENT_CPU: usize = 0;

/// One round of load and what it cost the server.
struct Round {
    seen: Seen,
    /// Processor time of the server per request, in microseconds.
    cpu_us: f64,
}

struct Bench<'a> {
    daemon: Server,
    hello: Server,
    plain: Server,
    place: &'a Path,
    seconds: f64,
    runs: usize,
}

/// Measures every row about requests.
pub(crate) fn rows(
    place: &Path,
    federation: &Federation,
    runs: usize,
    seconds: f64,
) -> Result<Vec<Row>, Trouble> {
    let home = Place::new(place.join("requests"))?;
    let mut daemon = at_rest(&home, federation)?;
    let body_bytes = mean_body(&mut daemon, federation)?;
    println!("an answer has {body_bytes} bytes on the average");
    let hello = Server::hello(place, "hello", body_bytes, Some(SERVER_CPU))?;
    let plain = Server::hello(place, "plain", body_bytes, Some(SERVER_CPU))?;
    let mut bench = Bench { daemon, hello, plain, place, seconds, runs };
    let mut rows = Vec::new();
    let one = by_id(&place.join("by-id"), federation)?;
    bench.by_id(&one, &mut rows)?;
    bench.sequential(&one, &mut rows)?;
    bench.select(&one, federation, &mut rows)?;
    bench.batch(&one, federation, &mut rows)?;
    drop(bench);
    rows.extend(unpinned(place, &home, federation, &one, seconds)?);
    Ok(rows)
}

/// What is measured of a daemon that may run on both processors, at half of the rate that it keeps up with.
fn unpinned(
    place: &Path,
    home: &Place,
    federation: &Federation,
    one: &Path,
    seconds: f64,
) -> Result<Vec<Row>, Trouble> {
    home.pin(federation, 0)?;
    let mut daemon = home.start(None)?;
    daemon.wait_for_generation(1)?;
    settle(&daemon)?;
    let full = run_load(&plan(&daemon, one, CONNECTIONS, 1, seconds, None), Some(CLIENT_CPU))?;
    let rate = sustained(&daemon, one, full.rate())? / 2.0;
    let mut rows = Vec::new();
    rows.extend(beside_slow(place, &mut daemon, one, rate)?);
    rows.extend(during_merge(home, daemon, federation, one, rate)?);
    Ok(rows)
}

/// Starts a daemon over `federation` and waits until it has nothing to do: it syncs once more by itself, on the processor where
/// it is measured.
pub(crate) fn at_rest(home: &Place, federation: &Federation) -> Result<Server, Trouble> {
    home.pin(federation, 0)?;
    home.rule(federation, 1)?;
    let mut daemon = home.start(Some(SERVER_CPU))?;
    daemon.wait_for_generation(1)?;
    settle(&daemon)?;
    Ok(daemon)
}

impl Bench<'_> {
    fn by_id(&mut self, one: &Path, rows: &mut Vec<Row>) -> Result<(), Trouble> {
        let (mut rates, mut costs) = (Pairs::default(), Pairs::default());
        let (mut plain_rates, mut plain_costs) = (Pairs::default(), Pairs::default());
        let mut clients = Vec::new();
        for run in 0..self.runs {
            let hello = self.round(&self.hello, one, CONNECTIONS, 1, CLIENT_CPU)?;
            let daemon = self.round(&self.daemon, one, CONNECTIONS, 1, CLIENT_CPU)?;
            let plain = self.round(&self.plain, one, CONNECTIONS, 1, CLIENT_CPU)?;
            println!(
                "run {run}: by id {:.0}/s {:.2} us, hello {:.0}/s {:.2} us; client busy {:.2} and {:.2}; load {}",
                daemon.seen.rate(),
                daemon.cpu_us,
                hello.seen.rate(),
                hello.cpu_us,
                daemon.seen.busy(),
                hello.seen.busy(),
                load()
            );
            clients.push(hello.seen.busy());
            rates.push(daemon.seen.rate(), hello.seen.rate());
            costs.push(daemon.cpu_us, hello.cpu_us);
            plain_rates.push(daemon.seen.rate(), plain.seen.rate());
            plain_costs.push(daemon.cpu_us, plain.cpu_us);
        }
        rows.push(rates.row(
            "resolve by id, 32 connections, random ids: throughput vs hello",
            "/s",
            Goal::AtLeast(0.8, 0.9),
        ));
        rows.push(costs.row("resolve by id: server CPU per request vs hello", "us", Goal::AtMost(1.25, 1.1)));
        rows.push(Row {
            name: "the client's part of a processor beside hello".to_owned(),
            values: clients,
            baselines: Vec::new(),
            unit: "",
            goal: Goal::None,
        });
        rows.push(plain_rates.row("the same throughput vs a hello with hyper's own timer", "/s", Goal::None));
        rows.push(plain_costs.row("the same CPU vs a hello with hyper's own timer", "us", Goal::None));
        let mut pipelined = Pairs::default();
        for _ in 0..self.runs {
            let hello = self.round(&self.hello, one, 1, 32, CLIENT_CPU)?;
            let daemon = self.round(&self.daemon, one, 1, 32, CLIENT_CPU)?;
            pipelined.push(daemon.seen.rate(), hello.seen.rate());
        }
        rows.push(pipelined.row("1 connection, 32 requests in flight (pipelining)", "/s", Goal::None));
        Ok(())
    }

    /// Client and server share a processor: elsewhere the hypervisor's wake-ups are all that is seen.
    fn sequential(&mut self, one: &Path, rows: &mut Vec<Row>) -> Result<(), Trouble> {
        let (mut middles, mut tails) = (Pairs::default(), Pairs::default());
        // In the time of one pair: what a machine does for a second or two moves both figures of a pair, but not of all.
        let whole = self.seconds;
        self.seconds /= SEQUENTIAL_PAIRS as f64;
        for _ in 0..self.runs * SEQUENTIAL_PAIRS {
            let hello = self.round(&self.hello, one, 1, 1, SERVER_CPU)?;
            let daemon = self.round(&self.daemon, one, 1, 1, SERVER_CPU)?;
            middles.push(daemon.seen.p50_us, hello.seen.p50_us);
            tails.push(daemon.seen.p99_us, hello.seen.p99_us);
        }
        self.seconds = whole;
        rows.push(middles.row("sequential, same processor: p50 vs hello", "us", Goal::AtMost(1.15, 1.1)));
        rows.push(tails.row("sequential, same processor: p99 vs hello", "us", Goal::AtMost(1.5, 1.1)));
        Ok(())
    }

    fn select(&mut self, one: &Path, federation: &Federation, rows: &mut Vec<Row>) -> Result<(), Trouble> {
        let mut random = Random(7);
        let ranges = (0..REQUESTS).map(|_| {
            let (id, _) = &federation.ids[random.below(federation.ids.len())];
            get(&format!("{}/%5E1", path_form(id)))
        });
        let ranges = write_requests(&self.place.join("ranges"), ranges)?;
        let mut costs = Pairs::default();
        for _ in 0..self.runs {
            let exact = self.round(&self.daemon, one, CONNECTIONS, 1, CLIENT_CPU)?;
            let range = self.round(&self.daemon, &ranges, CONNECTIONS, 1, CLIENT_CPU)?;
            costs.push(range.cpu_us, exact.cpu_us);
        }
        rows.push(costs.row(
            "highest version in ^1 vs one version by id: CPU",
            "us",
            Goal::AtMost(1.1, 1.05),
        ));
        Ok(())
    }

    fn batch(&mut self, one: &Path, federation: &Federation, rows: &mut Vec<Row>) -> Result<(), Trouble> {
        let mut random = Random(11);
        let batches = (0..2_000).map(|_| {
            let ids: Vec<String> = (0..BATCH)
                .map(|_| {
                    let (id, versions) = random_of(&mut random, federation);
                    format!("\"{id}@1.{}.0\"", random.below(versions))
                })
                .collect();
            let body = format!("{{\"ids\":[{}]}}", ids.join(","));
            format!(
                "POST /v1/lookup HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        });
        let batches = write_requests(&self.place.join("batches"), batches)?;
        let (mut rates, mut costs) = (Pairs::default(), Pairs::default());
        for _ in 0..self.runs {
            let single = self.round(&self.daemon, one, CONNECTIONS, 1, CLIENT_CPU)?;
            let batch = self.round(&self.daemon, &batches, CONNECTIONS, 1, CLIENT_CPU)?;
            rates.push(batch.seen.rate() * BATCH as f64, single.seen.rate());
            costs.push(batch.cpu_us / BATCH as f64, single.cpu_us);
        }
        rows.push(rates.row("batch of 100 ids: lookups/s vs one by one", "/s", Goal::AtLeast(5.0, 8.0)));
        rows.push(costs.row("batch of 100 ids: CPU per lookup vs one by one", "us", Goal::None));
        Ok(())
    }

    fn round(
        &self,
        server: &Server,
        requests: &Path,
        connections: usize,
        pipeline: usize,
        client_cpu: usize,
    ) -> Result<Round, Trouble> {
        let plan = plan(server, requests, connections, pipeline, self.seconds, None);
        let before = busy_s(server.pid())?;
        let seen = run_load(&plan, Some(client_cpu))?;
        let cpu_us = (busy_s(server.pid())? - before) * 1e6 / seen.requests.max(1) as f64;
        if seen.failures > 0 {
            return Err(Trouble::say(format!("{} of {} answers were no 200", seen.failures, seen.requests)));
        }
        Ok(Round { seen, cpu_us })
    }
}

/// The tail of a paced load while a merge runs beside it, against as many requests of the same load without one.
///
/// The rate is half of what the same daemon and client keep up with just before. Each of the merges takes in a commit that
/// changed a hundredth of the ids and moved every document. The load begins when the threads of the sync begin to work and ends
/// after [`LOAD_S_MAX`] or with the new generation, so that every request counted was answered beside a merge.
fn during_merge(
    home: &Place,
    mut daemon: Server,
    federation: &Federation,
    one: &Path,
    rate: f64,
) -> Result<Vec<Row>, Trouble> {
    let mut generation = daemon.generation()?;
    let over = home.directory.join("merged");
    let (mut tails, mut shares, mut lengths) = (Pairs::default(), Vec::new(), Vec::new());
    for step in 1..=crate::data::STEPS {
        let mut paced = plan(&daemon, one, CONNECTIONS, 1, LOAD_S_MAX, Some(rate));
        paced.until = Some(over.clone());
        let _ = std::fs::remove_file(&over);
        let before = threads(daemon.pid())?;
        home.pin(federation, step)?;
        wait_for_sync(&daemon, &before)?;
        let started = Instant::now();
        let client = start_load(&paced, Some(CLIENT_CPU))?;
        generation = daemon.wait_for_generation(generation + 1)?;
        let length = started.elapsed();
        let share = background_share(&before, &threads(daemon.pid())?, daemon.pid());
        std::fs::write(&over, "")?;
        let busy = finish_load(client)?;
        settle(&daemon)?;
        (paced.until, paced.count) = (None, Some(busy.requests));
        let quiet = run_load(&paced, Some(CLIENT_CPU))?;
        println!(
            "merge {step}: {:.2} s, {} requests at {rate:.0}/s: p99 {:.0} us, {:.0} us without it; {:.0} % of its CPU at nice 19; load {}",
            length.as_secs_f64(),
            busy.requests,
            busy.p99_us,
            quiet.p99_us,
            share * 100.0,
            load()
        );
        tails.push(busy.p99_us, quiet.p99_us);
        shares.push(share);
        lengths.push(length.as_secs_f64());
    }
    daemon.stop()?;
    let alone = |name: &str, values, unit| Row {
        name: name.to_owned(),
        values,
        baselines: Vec::new(),
        unit,
        goal: Goal::None,
    };
    Ok(vec![
        tails.row(
            "by id at half load, during a merge of 1 %: p99 vs as many without one",
            "us",
            Goal::AtMost(10.0, 3.0),
        ),
        alone("the same: until the merge that was loaded ended", lengths, "s"),
        alone("the same: share of the merge's CPU at nice 19", shares, ""),
    ])
}

/// The tail of 50 good connections beside 200 slow ones, against the same load without them, in turn.
///
/// One user may have 32 connections, so that the good ones are two users' and the slow ones eight users', which only root can be: without
/// it there is no row. The load is half of `rate`, since two clients wake the daemon more often than one; the worse of
/// both tails counts. The slow ones are opened anew for each pair, and have to be there still when its load has ended, which is sooner than
/// the daemon loses its patience with them.
fn beside_slow(place: &Path, daemon: &mut Server, one: &Path, rate: f64) -> Result<Option<Row>, Trouble> {
    let all = SLOW_USERS * SLOW_EACH;
    let what = format!("{} good clients beside {all} slow ones", GOOD_USERS * GOOD_EACH);
    if !rustix::process::geteuid().is_root() {
        println!("skipped: {what}: only root can connect as so many users");
        return Ok(None);
    }
    daemon.open_to_all(place)?;
    // Such as where the directory of this program is its owner's alone.
    let trial = Slow { socket: daemon.socket.clone(), connections: 1, text: String::new() };
    if let Err(Trouble(why)) = Crowd::open(SLOW_UID, &trial, None) {
        println!("skipped: {what}: {why}");
        return Ok(None);
    }
    let mut tails = Pairs::default();
    for pair in 0..SLOW_PAIRS {
        let quiet = good_tail(daemon, one, rate / 2.0)?;
        let crowds = slow_ones(&daemon.socket)?;
        // What counts is that they are there, not that they come.
        settle(daemon)?;
        let busy = good_tail(daemon, one, rate / 2.0)?;
        let left = daemon.connections()?;
        println!(
            "pair {pair}: p99 {busy:.0} us beside {} slow clients, {quiet:.0} us without; load {}",
            left.saturating_sub(1),
            load()
        );
        match left > all {
            true => tails.push(busy, quiet),
            false => {
                println!("pair {pair} does not count: the daemon lost its patience before its load had ended")
            }
        }
        drop(crowds);
        daemon.wait_until("the slow clients are gone", |daemon| Ok(daemon.connections()? <= 1))?;
    }
    let is_measured = tails.middle() > 0.0;
    Ok(is_measured.then(|| {
        tails.row(
            format!("by id at a quarter of the load, {what}: p99 vs without them"),
            "us",
            Goal::AtMost(2.0, 1.2),
        )
    }))
}

/// How many users are good, and how many connections each of them has.
const GOOD_USERS: usize = 2;
const GOOD_EACH: usize = 25;
/// The same of the slow ones.
const SLOW_USERS: usize = 8;
const SLOW_EACH: usize = 25;
/// How often both are measured, and for how many seconds: shorter than the five that a head may take.
const SLOW_PAIRS: usize = 15;
const SLOW_S: f64 = 0.8;
/// The first uid of the good clients, and of the slow ones: nobody's, and not the one behind which anybody may stand.
const GOOD_UID: u32 = 60_101;
const SLOW_UID: u32 = 60_001;

/// Returns the worse 99th percentile of the good users' loads, which together have this rate, in microseconds.
fn good_tail(daemon: &Server, one: &Path, rate: f64) -> Result<f64, Trouble> {
    let paced = plan(daemon, one, GOOD_EACH, 1, SLOW_S, Some(rate / GOOD_USERS as f64));
    let clients: Vec<_> = (GOOD_UID..)
        .take(GOOD_USERS)
        .map(|uid| start_load_as(uid, &paced, Some(CLIENT_CPU)))
        .collect::<Result<_, _>>()?;
    let mut worst = 0.0;
    for client in clients {
        let seen = finish_load(client)?;
        if seen.failures > 0 {
            return Err(Trouble::say(format!("{} of {} answers were no 200", seen.failures, seen.requests)));
        }
        worst = f64::max(worst, seen.p99_us);
    }
    Ok(worst)
}

/// Opens the slow connections: each user is slow in a way of its own, those of `tests/attack.rs`.
fn slow_ones(socket: &Path) -> Result<Vec<Crowd>, Trouble> {
    let post = "POST /v1/lookup HTTP/1.1\r\nhost: localhost\r\n";
    let never_read = get("/openapi.json").repeat(400);
    let ways: [String; SLOW_USERS] = [
        "GET /livez HT".to_owned(),
        "GET /livez HTTP/1.1\r\nhost: localhost\r\n".to_owned(),
        String::new(),
        format!("{post}content-length: 9\r\n\r\n{{"),
        format!("{post}transfer-encoding: chunked\r\n\r\n9\r\n{{"),
        never_read.clone(),
        never_read,
        get("/livez"),
    ];
    let open = |(text, uid): (String, u32)| {
        let slow = Slow { socket: socket.to_owned(), connections: SLOW_EACH, text };
        Crowd::open(uid, &slow, Some(CLIENT_CPU))
    };
    ways.into_iter().zip(SLOW_UID..).map(open).collect()
}

/// Returns a rate that the daemon and the paced client keep up with, at most `full`. A client that waits between its requests
/// wakes both sides more often than one that never does, so that the latter's rate is too much for it.
pub(crate) fn sustained(server: &Server, one: &Path, full: f64) -> Result<f64, Trouble> {
    let mut rate = full;
    // Each burst asks once over each connection, so that the last answer of one waits for all the others.
    let burst_us = CONNECTIONS as f64 / full.max(1.0) * 1e6;
    while rate > full / 50.0 {
        let seen = run_load(&plan(server, one, CONNECTIONS, 1, 2.0, Some(rate)), Some(CLIENT_CPU))?;
        if seen.p99_us < SUSTAINED_P99_US + BURSTS * burst_us {
            return Ok(rate);
        }
        rate *= 0.7;
    }
    Ok(rate)
}

/// What is late by more than this, and by the time that a few bursts take, is waiting in a line that grows.
const SUSTAINED_P99_US: f64 = 10_000.0;
const BURSTS: f64 = 3.0;

/// How long a merge is loaded at most. Beside a load it gets what is left of the machine, and could take minutes.
const LOAD_S_MAX: f64 = 15.0;

/// Tells whether a thread is none of the allocator's, which return memory at any time.
fn is_own(thread: &Thread) -> bool {
    thread.name != "jemalloc_bg_thd"
}

/// Waits until a thread at nice 19 works: those of a sync have to be.
pub(crate) fn wait_for_sync(server: &Server, before: &[Thread]) -> Result<(), Trouble> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        let syncs = |thread: &Thread| thread.nice == 19 && is_own(thread);
        if behind(before, &threads(server.pid())?, server.pid(), syncs) > 0.0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(Trouble::say("no thread at nice 19 began to sync"))
}

/// Returns which part of the processor time that threads beside the server's took was at nice 19.
fn background_share(before: &[Thread], now: &[Thread], pid: u32) -> f64 {
    let all = behind(before, now, pid, is_own);
    behind(before, now, pid, |thread| thread.nice == 19 && is_own(thread)) / all.max(1e-9)
}

/// Sums the processor time of some threads since `before`, apart from the server's, which is the process's first.
fn behind(before: &[Thread], now: &[Thread], pid: u32, is_meant: impl Fn(&Thread) -> bool) -> f64 {
    let spent = |thread: &Thread| {
        let past = before.iter().find(|one| one.id == thread.id).map_or(0.0, |one| one.cpu_s);
        thread.cpu_s - past
    };
    now.iter().filter(|one| one.id != pid && is_meant(one)).map(spent).sum()
}

/// Waits until a server does nothing any more.
pub(crate) fn settle(server: &Server) -> Result<(), Trouble> {
    let mut before = cpu_s(server.pid())?;
    let mut quiet = 0;
    while quiet < 3 {
        std::thread::sleep(Duration::from_millis(200));
        let now = cpu_s(server.pid())?;
        quiet = if now - before < 0.015 { quiet + 1 } else { 0 };
        before = now;
    }
    Ok(())
}

/// Waits until a server does nothing any more and gives no memory back, and returns what it holds then: the allocator keeps what was freed
/// for some seconds, and returns it step by step.
pub(crate) fn steady_memory(server: &Server) -> Result<Memory, Trouble> {
    settle(server)?;
    let (mut before, mut quiet) = (memory(server.pid())?, 0);
    while quiet < 5 {
        std::thread::sleep(Duration::from_millis(200));
        let now = memory(server.pid())?;
        quiet = if now.now + now.now / 500 < before.now { 0 } else { quiet + 1 };
        before = now;
    }
    Ok(before)
}

/// Figures and their baselines, run by run.
#[derive(Default)]
pub(crate) struct Pairs {
    values: Vec<f64>,
    baselines: Vec<f64>,
}

impl Pairs {
    /// Takes one run in.
    pub(crate) fn push(&mut self, value: f64, baseline: f64) {
        self.values.push(value);
        self.baselines.push(baseline);
    }

    /// Returns the middle figure.
    pub(crate) fn middle(&self) -> f64 {
        median(&self.values)
    }

    /// Makes a row of them.
    pub(crate) fn row(self, name: impl Into<String>, unit: &'static str, goal: Goal) -> Row {
        Row { name: name.into(), values: self.values, baselines: self.baselines, unit, goal }
    }
}

pub(crate) fn plan(
    server: &Server,
    requests: &Path,
    connections: usize,
    pipeline: usize,
    seconds: f64,
    rate: Option<f64>,
) -> Plan {
    Plan {
        socket: server.socket.clone(),
        requests: requests.to_owned(),
        connections,
        pipeline,
        seconds,
        rate,
        count: None,
        until: None,
        framing: Framing::Http,
    }
}

/// Writes requests for one version each, random over all versions.
pub(crate) fn by_id(path: &Path, federation: &Federation) -> Result<PathBuf, Trouble> {
    let mut random = Random(3);
    let requests = (0..REQUESTS).map(|_| {
        let (id, versions) = random_of(&mut random, federation);
        get(&format!("{}/1.{}.0", path_form(id), random.below(versions)))
    });
    write_requests(path, requests)
}

/// Returns a random id with the number of its versions; ids with many come up as often as they have versions.
pub(crate) fn random_of<'f>(random: &mut Random, federation: &'f Federation) -> (&'f str, usize) {
    let most = federation.ids.iter().map(|(_, versions)| *versions).max().unwrap_or(1);
    loop {
        let (id, versions) = &federation.ids[random.below(federation.ids.len())];
        if random.below(most) < *versions {
            return (id, *versions);
        }
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

pub(crate) fn path_form(id: &str) -> String {
    format!("/v1/components/{}", id.replacen("://", "/", 1))
}

/// Asks for some versions and returns the mean length of the answers. Each has to say that its id is shadowing another source's where
/// it is, and nowhere else.
pub(crate) fn mean_body(daemon: &mut Server, federation: &Federation) -> Result<usize, Trouble> {
    const ASKED: usize = 200;
    let mut random = Random(5);
    let (mut sum, mut shadowing) = (0, 0);
    for _ in 0..ASKED {
        let (id, versions) = random_of(&mut random, federation);
        let target = format!("{}/1.{}.0", path_form(id), random.below(versions));
        let (status, body) = daemon.ask("GET", &target, "")?;
        if status != 200 {
            return Err(Trouble::say(format!("{target}: {status} {}", String::from_utf8_lossy(&body))));
        }
        let answer: Value = serde_json::from_slice(&body)?;
        let is_shadowing = answer["shadowed"].as_array().is_some_and(|others| !others.is_empty());
        if is_shadowing != federation.shadowed.contains(id) {
            return Err(Trouble::say(format!("{target}: a wrong `shadowed`: {answer}")));
        }
        shadowing += usize::from(is_shadowing);
        sum += body.len();
    }
    println!("{shadowing} of {ASKED} random answers have something shadowed");
    Ok(sum / ASKED)
}
