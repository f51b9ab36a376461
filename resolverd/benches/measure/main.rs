//! The benchmarks: `cargo bench -p resolverd`. The real daemon over real repositories on a real socket, beside a baseline in the
//! same run, as one table. Never asserts, and never touches the network.
//!
//! | command | what it measures |
//! |---|---|
//! | `cargo bench -p resolverd` | the core goals over 200,000 versions; solving too, and eStream where `RESOLVERD_DATA` is set |
//! | `… -- --versions 10000` | the same over another size |
//! | `… -- --real` | the same over the graph in `RESOLVERD_DATA` |
//! | `… -- --policy` | the same with every catalogue signed and a policy in force |
//! | `… -- limits` | whether 2,000,000 versions are served or refused by a limit, and served where the limits are raised |
//! | `… -- estream-limits` | the same of 200,000 entries of an eStream registry |
//! | `… -- peers` | the same question to what else there is: Redis, nginx, Verdaccio |
//!
//! `--seconds` says how long one load lasts, `--runs` how often everything is measured, `--keep` leaves the files behind,
//! `--only merge` (`requests`, `solve`, `estream`) measures one part; the last two want the graph in `RESOLVERD_DATA` too; `--markdown FILE` writes the table there too.
//!
//! The same program is the load client, the baseline and the reader of indexes, each in a process of its own.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints what it found")]
#![allow(unreachable_pub, reason = "nothing here is a library")]

mod data;
mod estream;
mod hello;
mod limits;
mod load;
mod machine;
mod merge;
mod peers;
mod requests;
mod servers;
mod solve;
mod table;
mod trust;
mod witness;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use crate::data::{Federation, Signer, Spread};
use crate::table::Row;

/// The daemon's own: what is measured in this process, and the baselines beside it, get their memory as the daemon does.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Why something could not be measured.
#[derive(Debug)]
pub(crate) struct Trouble(String);

impl Trouble {
    /// Makes one of a text.
    pub(crate) fn say(text: impl Into<String>) -> Trouble {
        Trouble(text.into())
    }
}

impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Trouble {
        Trouble(error.to_string())
    }
}

/// How many versions there are where nobody says it.
const VERSIONS: usize = 200_000;

/// What the command line says.
struct Options {
    command: String,
    versions: Option<usize>,
    real: bool,
    policy: bool,
    seconds: f64,
    runs: usize,
    keep: bool,
    only: Option<String>,
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["load", plan] => client(plan),
        ["slow", plan] => {
            serde_json::from_str(plan).map_err(Trouble::from).and_then(|plan| load::hold(&plan))
        }
        ["hello", socket, bytes] => {
            hello::serve(Path::new(socket), bytes.parse().unwrap_or(512), hello::Stream::Watched)
        }
        ["plain", socket, bytes] => {
            hello::serve(Path::new(socket), bytes.parse().unwrap_or(512), hello::Stream::Plain)
        }
        ["pubgrub", plan] => solve::baseline(plan),
        ["read-index", path] => merge::read_index(Path::new(path)),
        ref words => options(words).and_then(|options| measure(&options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Trouble(text)) => {
            eprintln!("cannot measure: {text}");
            ExitCode::FAILURE
        }
    }
}

fn client(plan: &str) -> Result<(), Trouble> {
    let seen = load::run(&serde_json::from_str(plan)?)?;
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

fn options(words: &[&str]) -> Result<Options, Trouble> {
    let mut options = Options {
        command: "core".to_owned(),
        versions: None,
        real: false,
        policy: false,
        seconds: 2.0,
        runs: 3,
        keep: false,
        only: None,
        markdown: None,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().copied().ok_or_else(|| Trouble::say(format!("{word} needs a value")));
        match *word {
            "--versions" => options.versions = Some(value()?.parse()?),
            "--seconds" => options.seconds = value()?.parse()?,
            "--runs" => options.runs = value()?.parse()?,
            "--only" => options.only = Some(value()?.to_owned()),
            "--markdown" => options.markdown = Some(value()?.into()),
            "--real" => options.real = true,
            "--policy" => options.policy = true,
            "--keep" => options.keep = true,
            "core" | "limits" | "estream-limits" | "peers" => options.command = (*word).to_owned(),
            other => return Err(Trouble::say(format!("{other} is no option of the benchmarks"))),
        }
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<(), Trouble> {
    let started = Instant::now();
    let place =
        tempfile::Builder::new().prefix("resolverd-bench-").disable_cleanup(options.keep).tempdir()?;
    let place = place.path();
    println!("{}; load {}; revision {}", machine::described(), machine::load(), machine::revision());
    if !machine::can_pin() {
        println!("taskset is not installed: nothing is pinned");
    }
    if options.keep {
        println!("files stay in {}", place.display());
    }
    let signer = options.policy.then(|| Signer::new(place.join("keys"))).transpose()?;
    let federation = match (options.command.as_str(), options.real) {
        ("limits", _) => return limits::measure(place, options.versions, options.markdown.as_deref()),
        ("estream-limits", _) => return estream::limits(place, options.versions.unwrap_or(VERSIONS)),
        (_, true) => real(place)?,
        _ => Some(Federation::synthetic(
            &place.join("data"),
            options.versions.unwrap_or(VERSIONS),
            Spread::Shadowed(2),
            signer,
        )?),
    };
    let Some(federation) = federation else { return Ok(()) };
    println!("{}\n", federation.described());
    let mut rows = Vec::new();
    let is_wanted = |half: &str| options.only.as_deref().is_none_or(|only| only == half);
    if options.command == "peers" {
        rows.extend(peers::rows(place, &federation, options.runs, options.seconds)?);
    } else {
        if is_wanted("merge") {
            rows.extend(merge::rows(place, &federation, options.runs)?);
        }
        if is_wanted("requests") {
            rows.extend(requests::rows(place, &federation, options.runs, options.seconds)?);
        }
        if is_wanted("solve") {
            rows.extend(solve::rows(
                place,
                data_directory().as_deref(),
                &federation,
                (options.runs, options.seconds),
            )?);
        }
        if is_wanted("estream") {
            rows.extend(estream::rows(
                &place.join("estream"),
                data_directory().as_deref(),
                (options.runs, options.seconds),
            )?);
        }
    }
    print(&rows, &federation, options)?;
    println!("it took {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark has no configuration that could name it")]
fn data_directory() -> Option<PathBuf> {
    std::env::var_os("RESOLVERD_DATA").map(PathBuf::from)
}

fn real(place: &Path) -> Result<Option<Federation>, Trouble> {
    let data = data_directory();
    let found = data
        .map(|data| Federation::real(&place.join("data"), &data, Spread::Shadowed(2)))
        .transpose()?
        .flatten();
    if found.is_none() {
        println!("skipped: RESOLVERD_DATA names no directory with graph-bcr.json.gz");
    }
    Ok(found)
}

fn print(rows: &[Row], federation: &Federation, options: &Options) -> Result<(), Trouble> {
    println!("\n{}", table::text(rows));
    println!("load at the end {}", machine::load());
    let text = format!(
        "{}; {} sources, {} ids, {} of them in two sources, {} versions, {:.1} MB of documents; load at the end {}; revision {}; {} runs, the middle one counts\n\n{}",
        federation.name,
        federation.sources(),
        federation.ids.len(),
        federation.shadowed.len(),
        federation.versions(),
        federation.raw_bytes as f64 / 1e6,
        machine::load(),
        machine::revision(),
        options.runs,
        table::markdown(rows)
    );
    if let Some(path) = &options.markdown {
        std::fs::write(path, text)?;
    }
    Ok(())
}
