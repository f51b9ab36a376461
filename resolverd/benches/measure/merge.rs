//! What a sync costs, what it leaves in memory, and how soon a restarted daemon answers.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde::Deserialize;

use crate::Trouble;
use crate::data::Federation;
use crate::load::framed_file;
use crate::machine::{bytes_written, cpu_s, load, thread_s};
use crate::requests::{Pairs, steady_memory};
use crate::servers::{Place, Server};
use crate::table::{Goal, Row};
use crate::trust;

/// How many cold merges there are in a run, each beside a parse.
const COLD_MERGES: u8 = 3;

/// The figures of one run after the other.
#[derive(Default)]
struct Figures {
    cold: Pairs,
    shelf: Pairs,
    hundredth: Pairs,
    documents: Vec<f64>,
    bytes: Vec<f64>,
    rows: Vec<f64>,
    written: Vec<f64>,
    unchanged: Pairs,
    resident: Pairs,
    restarted: Pairs,
    peak: Pairs,
    warm: Pairs,
    /// Only where a policy is in force.
    reload: Pairs,
}

/// Measures every row about syncs.
pub(crate) fn rows(place: &Path, federation: &Federation, runs: usize) -> Result<Vec<Row>, Trouble> {
    let mut figures = Figures::default();
    for run in 0..runs {
        figures.run(&place.join("merge"), federation)?;
        println!("run {run}: cold sync {:.2} s of CPU; load {}", figures.cold.middle(), load());
    }
    let alone = |name: &str, values: Vec<f64>, unit, goal| Row {
        name: name.to_owned(),
        values,
        baselines: Vec::new(),
        unit,
        goal,
    };
    let mut rows = vec![
        figures.shelf.row(
            "cold merge: verify, parse, index, persist: CPU vs one typed parse",
            "s",
            Goal::AtMost(4.0, 2.5),
        ),
        figures.cold.row("the same with fetching every document from Git and shelving it", "s", Goal::None),
        figures.hundredth.row(
            "1 % of components changed: CPU vs the cold sync",
            "s",
            Goal::AtMost(1.0 / 3.0, 0.2),
        ),
        alone("unchanged pinned sources: documents fetched", figures.documents, "", Goal::Zero),
        alone("unchanged pinned sources: bytes fetched", figures.bytes, "", Goal::Zero),
        alone("unchanged pinned sources: rows written", figures.rows, "", Goal::Zero),
        alone(
            "unchanged pinned sources: bytes written to disk, notes of checks included",
            figures.written,
            "",
            Goal::None,
        ),
        figures.unchanged.row("unchanged pinned sources: CPU vs the cold sync", "s", Goal::None),
        figures.resident.row(
            "memory after two syncs, two generations kept, vs raw bytes",
            "MB",
            Goal::AtMost(2.5, 1.5),
        ),
        figures.restarted.row(
            "memory after a restart, two generations kept, vs raw bytes",
            "MB",
            Goal::AtMost(2.5, 1.5),
        ),
        figures.peak.row("highest memory during the second sync vs afterwards", "MB", Goal::AtMost(2.5, 1.8)),
        figures.warm.row(
            "warm start to first correct answer vs opening and reading sled",
            "ms",
            Goal::AtMost(3.0, 2.0),
        ),
    ];
    if federation.signer.is_some() {
        rows.push(figures.reload.row(
            "the policy edited, everything judged again: CPU vs the cold merge",
            "s",
            Goal::AtMost(2.0, 1.0),
        ));
        rows.extend(trust::rows(place, federation)?);
    }
    Ok(rows)
}

impl Figures {
    fn run(&mut self, directory: &Path, federation: &Federation) -> Result<(), Trouble> {
        let home = Place::new(directory.to_owned())?;
        home.pin(federation, 0)?;
        home.rule(federation, 1)?;
        let mut daemon = home.start(None)?;
        daemon.wait_for_generation(1)?;
        // With what it takes to give memory back.
        steady_memory(&daemon)?;
        let cold = cpu_s(daemon.pid())?;
        let parse = typed_parse(federation)?;
        self.cold.push(cold, parse);

        home.pin(federation, 1)?;
        daemon.wait_for_generation(2)?;
        let held = steady_memory(&daemon)?;
        let second = cpu_s(daemon.pid())?;
        self.hundredth.push(second - cold, cold);
        let raw = federation.raw_bytes as f64 / 1e6;
        self.resident.push(held.now as f64 / 1e6, raw);
        self.peak.push(held.peak as f64 / 1e6, held.now as f64 / 1e6);
        self.unchanged(&mut daemon, cold)?;
        let reload = trust::reload(&home, federation, &mut daemon)?;
        daemon.stop()?;

        self.warm_start(&home, federation)?;
        let merge = self.read_shelf(&home, federation)?;
        if let Some(reload) = reload {
            self.reload.push(reload, merge);
        }
        Ok(())
    }

    fn unchanged(&mut self, daemon: &mut Server, cold: f64) -> Result<(), Trouble> {
        let (cpu, written) = (cpu_s(daemon.pid())?, bytes_written(daemon.pid()));
        let report = daemon.json("POST", "/v1/sync", "")?;
        let number = |field: &str| report[field].as_f64().unwrap_or(f64::NAN);
        // Connections have no row: nobody dials a repository on this machine. `tests/network.rs` counts those of remote sources.
        self.documents.push(number("documentsFetched"));
        self.bytes.push(number("bytesFetched"));
        self.rows.push(number("rowsWritten"));
        self.written.push(bytes_written(daemon.pid()).saturating_sub(written) as f64);
        self.unchanged.push(cpu_s(daemon.pid())? - cpu, cold);
        Ok(())
    }

    fn warm_start(&mut self, home: &Place, federation: &Federation) -> Result<(), Trouble> {
        let (daemon, elapsed_ms, read_ms) = warm_start(home, federation)?;
        self.warm.push(elapsed_ms, read_ms);
        let held = steady_memory(&daemon)?;
        self.restarted.push(held.now as f64 / 1e6, federation.raw_bytes as f64 / 1e6);
        daemon.stop()
    }

    /// The index is lost: everything is read from the shelf, verified, parsed, merged and written again, and nothing fetched.
    /// Several times, each beside a baseline of its own: a machine that others share may be half as fast a minute later.
    /// Returns the processor time of a cold merge, in seconds.
    fn read_shelf(&mut self, home: &Place, federation: &Federation) -> Result<f64, Trouble> {
        let (mut merges, mut parses) = (0.0, 0.0);
        for _ in 0..COLD_MERGES {
            parses += typed_parse(federation)? / f64::from(COLD_MERGES);
            std::fs::remove_dir_all(home.state().join("index"))?;
            let mut daemon = home.start(None)?;
            daemon.wait_for_generation(2)?;
            merges += cpu_s(daemon.pid())? / f64::from(COLD_MERGES);
            daemon.stop()?;
        }
        self.shelf.push(merges, parses);
        Ok(merges)
    }
}

/// Starts a daemon over what is kept in `home`; returns it, how long its first right answer took since the start, and how long it takes
/// to open a copy of its index and read every row, both in milliseconds.
pub(crate) fn warm_start(home: &Place, federation: &Federation) -> Result<(Server, f64, f64), Trouble> {
    let index = home.state().join("index");
    let copy = home.directory.join("index-copy");
    let status = Command::new("cp").arg("-r").arg(&index).arg(&copy).status()?;
    if !status.success() {
        return Err(Trouble::say("cannot copy the index"));
    }
    let output = Command::new(std::env::current_exe()?).arg("read-index").arg(&copy).output()?;
    std::fs::remove_dir_all(&copy)?;
    let read_ms: f64 = String::from_utf8_lossy(&output.stdout).trim().parse()?;
    let (id, _) = &federation.ids[federation.ids.len() / 2];
    let target = format!("/v1/components/{}/1.0.0", id.replacen("://", "/", 1));
    let mut daemon = home.start(None)?;
    let (status, body) = daemon.ask("GET", &target, "")?;
    let elapsed_ms = daemon.started.elapsed().as_secs_f64() * 1e3;
    match status {
        200 => Ok((daemon, elapsed_ms, read_ms)),
        _ => Err(Trouble::say(format!("{target}: {status} {}", String::from_utf8_lossy(&body)))),
    }
}

/// Returns the processor time of one owned, typed parse of every document, in seconds.
fn typed_parse(federation: &Federation) -> Result<f64, Trouble> {
    let bytes = std::fs::read(&federation.raw)?;
    let documents: Vec<&[u8]> = framed_file(&bytes).collect();
    let (took, versions) = parse_typed(&documents)?;
    match versions < federation.versions() {
        true => Err(Trouble::say(format!("the baseline parsed {versions} versions only"))),
        false => Ok(took),
    }
}

/// Parses documents; returns the processor time in seconds, and how many versions they list.
pub(crate) fn parse_typed(documents: &[&[u8]]) -> Result<(f64, usize), Trouble> {
    let mut parsed = Vec::with_capacity(documents.len());
    let started = thread_s();
    for document in documents {
        parsed.push(serde_json::from_slice::<Document>(document)?);
    }
    let took = thread_s() - started;
    Ok((took, parsed.iter().map(Document::versions).sum()))
}

/// What the baseline parses: list, catalogue and manifest, with every field that the documents have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what is parsed is not looked at")]
struct Document {
    schema: String,
    id: Option<String>,
    origin: Option<Source>,
    #[serde(default)]
    components: Vec<Component>,
    #[serde(default)]
    catalogues: Vec<Pointer>,
    #[serde(rename = "publishedAt")]
    published_at: Option<String>,
    source: Option<Source>,
    #[serde(default)]
    files: Vec<Part>,
    #[serde(default)]
    dependencies: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is parsed is not looked at")]
struct Pointer {
    id: String,
    kind: String,
    url: String,
    checksum: String,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is parsed is not looked at")]
struct Component {
    id: String,
    versions: Vec<Version>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is parsed is not looked at")]
struct Version {
    version: String,
    manifest: String,
    sha256: String,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is parsed is not looked at")]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    url: String,
    commit: Option<String>,
    path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is parsed is not looked at")]
struct Part {
    path: String,
    sha256: String,
    size: u64,
}

impl Document {
    fn versions(&self) -> usize {
        self.components.iter().map(|component| component.versions.len()).sum()
    }
}

/// Opens an index and reads all of it, as a process of its own, and prints how many milliseconds that took.
pub(crate) fn read_index(path: &Path) -> Result<(), Trouble> {
    let started = Instant::now();
    let db = sled::Config::new().path(path).cache_capacity(64 << 20).flush_every_ms(None).open()?;
    let mut bytes = 0;
    for row in db.iter() {
        let (key, value) = row?;
        bytes += key.len() + value.len();
    }
    if bytes == 0 {
        return Err(Trouble::say("the index is empty"));
    }
    println!("{}", started.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
