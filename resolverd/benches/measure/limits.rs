//! Whether very many versions are served, or refused by a limit that is named, and never by the kernel: with the built-in limits, and
//! with limits under which all of them have room. Says what was served and what was not, source by source.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use catalogue_schema::model::Refusal;
use serde_json::Value;

use crate::Trouble;
use crate::data::{Federation, Spread};
use crate::machine::{cpu_s, load, memory, memory_max, revision};
use crate::merge::warm_start;
use crate::requests::{mean_body, path_form, steady_memory};
use crate::servers::{Place, Server};
use crate::table::{Goal, Row, markdown, text};

/// How many versions there are where nobody says it.
const MANY: usize = 2_000_000;
/// Over how many sources they are spread at least.
const SOURCES: usize = 4;
/// How many of the sources are started with for the row about half of them: 1,000,000 versions of [`MANY`].
const HALF: usize = SOURCES / 2;
/// How many releases all sources together may list, by the built-in limits.
const RELEASES: usize = 1_000_000;
/// How much of an answer is shown that is no 200.
const SAID_CHARS_MAX: usize = 300;
/// How long a first generation is waited for, in seconds; then the run ends and says so.
const WAIT_S: u64 = 3_600;

/// Goes through the steps one after the other, each in a place of its own that is removed behind it.
pub(crate) fn measure(
    place: &Path,
    versions: Option<usize>,
    markdown_file: Option<&Path>,
) -> Result<(), Trouble> {
    let many = versions.unwrap_or(MANY);
    let data = place.join("data");
    let federation = Federation::synthetic(&data, many, Spread::Shadowed(SOURCES), None)?;
    println!("{}", federation.described());
    // Nothing parses them here, and they have as many bytes as the repository.
    std::fs::remove_file(&federation.raw)?;
    let may_have = memory_max();
    println!("a process may have {} MB of memory\n", may_have / 1_000_000);
    let mut rows = Vec::new();

    let releases = RELEASES * many / MANY;
    let config = match releases == RELEASES {
        true => String::new(),
        // In proportion, so that the same happens with fewer.
        false => format!("[limits]\nreleases = {releases}\n"),
    };
    let title = match config.is_empty() {
        true => "the built-in limits".to_owned(),
        false => format!("limits.releases = {releases}, the built-in ones else"),
    };
    let run = Run { place: place.join("built-in"), title, federation: &federation, config: &config };
    let (home, started) = run.start()?;
    let served = run.tell(started)?;
    println!("{served} of {many} versions are served\n");
    drop(home);
    std::fs::remove_dir_all(&run.place)?;

    // Twice as many as there are, since what is shadowed counts as well.
    let raised =
        format!("[limits]\nreleases = {}\ntotal_bytes = {}\ntotal_s = {WAIT_S}\n", many * 2, 16_u64 << 30);
    for sources in [HALF, federation.sources()] {
        let part = federation.first(sources);
        let title = format!("raised limits, {sources} sources, {} versions", part.versions());
        let run =
            Run { place: place.join(format!("raised-{sources}")), title, federation: &part, config: &raised };
        let (home, mut started) = run.start()?;
        mean_body(&mut started.daemon, &part)?;
        let (peak, steady) = (started.peak as f64 / 1e6, started.now as f64 / 1e6);
        let served = run.tell(started)?;
        if served < part.versions() {
            println!("not all of them: {served} of {}", part.versions());
        }
        let (mut daemon, elapsed_ms, read_ms) = warm_start(&home, &part)?;
        mean_body(&mut daemon, &part)?;
        let held = steady_memory(&daemon)?;
        println!(
            "after a restart: the first right answer within {:.2} s; memory {} MB, at its highest {} MB; load {}\n",
            elapsed_ms / 1e3,
            held.now / 1_000_000,
            held.peak / 1_000_000,
            load()
        );
        daemon.stop()?;
        rows.extend([
            row(
                format!("{served} releases: start to the first right answer vs opening and reading sled"),
                "ms",
                (elapsed_ms, Some(read_ms)),
                Goal::AtMost(3.0, 2.0),
            ),
            // At 1,000,000 it has to be five seconds at most.
            row(
                "the same, in seconds".to_owned(),
                "s",
                (elapsed_ms / 1e3, None),
                if sources == HALF { Goal::AtMost(5.0, 2.5) } else { Goal::None },
            ),
            row(
                "the same: highest memory until the first generation vs afterwards",
                "MB",
                (peak, Some(steady)),
                Goal::AtMost(2.5, 1.8),
            ),
            row(
                "the same: highest memory vs what the process may have".to_owned(),
                "MB",
                (peak, Some(may_have as f64 / 1e6)),
                Goal::AtMost(1.0, 0.5),
            ),
        ]);
        drop(home);
        std::fs::remove_dir_all(&run.place)?;
    }
    println!("{}\nload at the end {}", text(&rows), load());
    if let Some(path) = markdown_file {
        let head = format!("{}; revision {}; load at the end {}", federation.described(), revision(), load());
        std::fs::write(path, format!("{head}\n\n{}", markdown(&rows)))?;
    }
    Ok(())
}

fn row(
    name: impl Into<String>,
    unit: &'static str,
    (value, baseline): (f64, Option<f64>),
    goal: Goal,
) -> Row {
    Row { name: name.into(), values: vec![value], baselines: baseline.into_iter().collect(), unit, goal }
}

/// One daemon over one federation.
struct Run<'a> {
    place: PathBuf,
    title: String,
    federation: &'a Federation,
    config: &'a str,
}

/// A daemon that serves its first generation and rests.
struct Started {
    daemon: Server,
    now: u64,
    peak: u64,
}

impl Run<'_> {
    /// Starts a daemon and waits for its first generation, [`WAIT_S`] at most.
    fn start(&self) -> Result<(Place, Started), Trouble> {
        println!("{}:", self.title);
        let home = Place::new(self.place.clone())?;
        home.configure(self.config)?;
        home.pin(self.federation, 0)?;
        let started = Instant::now();
        let mut daemon = home.start(None)?;
        let mut told = 0;
        while daemon.generation()? == 0 {
            let elapsed_s = started.elapsed().as_secs();
            if elapsed_s > WAIT_S {
                return Err(Trouble::say(format!("{}: no generation within {WAIT_S} s", self.title)));
            }
            if elapsed_s >= told + 10 {
                told = elapsed_s;
                println!("{elapsed_s} s: {} MB", memory(daemon.pid())?.now / 1_000_000);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_s(daemon.pid())?);
        let held = steady_memory(&daemon)?;
        println!(
            "first generation after {wall:.1} s, {cpu:.1} s of CPU; memory {} MB, at its highest {} MB; load {}",
            held.now / 1_000_000,
            held.peak / 1_000_000,
            load()
        );
        Ok((home, Started { daemon, now: held.now, peak: held.peak }))
    }

    /// Says what of each source is served and what is refused by which limit, asks for an id of each, and ends the daemon; returns how
    /// many releases are served.
    fn tell(&self, mut started: Started) -> Result<usize, Trouble> {
        let daemon = &mut started.daemon;
        let sources = daemon.json("GET", "/v1/sources", "")?;
        for (source, ids) in rows_of(&sources).iter().zip(self.federation.by_source()) {
            let owned: usize = ids.iter().map(|(_, versions)| versions).sum();
            println!(
                "{}: owns {owned} versions; {}; {} releases listed, {} of them refused, {}",
                source["id"],
                source["state"],
                source["releases"],
                source["refused"],
                refusal(source)
            );
            if let Some((id, _)) = ids.get(ids.len() / 2) {
                let target = format!("{}/1.0.0", path_form(id));
                let (status, body) = daemon.ask("GET", &target, "")?;
                let said: String = String::from_utf8_lossy(&body).chars().take(SAID_CHARS_MAX).collect();
                println!("  {target}: {status} {}", if status == 200 { "" } else { &said });
            }
        }
        // A source may be read, and catalogues of it left out: which, and by which limit.
        for one in rows_of(&daemon.json("GET", "/v1/catalogues", "")?) {
            if !one["error"].is_null() {
                println!("{} of {} is {}: {}", one["id"], one["source"], one["state"], refusal(&one));
            }
        }
        let served = self.served(daemon)?;
        started.daemon.stop()?;
        Ok(served)
    }

    /// Goes through everything that is served, and counts the versions of it. Each id has to have as many as its owner lists.
    fn served(&self, daemon: &mut Server) -> Result<usize, Trouble> {
        let expected: HashMap<&str, usize> =
            self.federation.ids.iter().map(|(id, versions)| (id.as_str(), *versions)).collect();
        let (mut served, mut cursor) = (0, String::new());
        loop {
            let page = daemon.json("GET", &format!("/v1/components?limit=1000{cursor}"), "")?;
            for one in rows_of(&page) {
                let id = one["id"].as_str().unwrap_or_default();
                let versions = one["versions"].as_u64().unwrap_or_default() as usize;
                if expected.get(id) != Some(&versions) || one["verdict"] == "refused" {
                    return Err(Trouble::say(format!("not what its owner lists: {one}")));
                }
                served += versions;
            }
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={}", escaped(next)),
                None => return Ok(served),
            }
        }
    }
}

/// Escapes what may not stand in the query of a target.
fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

fn rows_of(page: &Value) -> Vec<Value> {
    page["items"].as_array().cloned().unwrap_or_default()
}

fn refusal(row: &Value) -> String {
    let error: Option<Refusal> = serde_json::from_value(row["error"].clone()).unwrap_or(None);
    error.map_or("no error".to_owned(), |error| error.to_string())
}
