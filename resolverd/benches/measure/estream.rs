//! Registries of eStream at size: the real graph as a registry beside the same graph as catalogues; archives held to their seals; an
//! index of 200,000 entries. Every version is signed by a real ML-DSA-87 key. Asserts nothing but that both answer alike.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use catalogue_schema::digest::{Algorithm, Digest, hex};
use catalogue_schema::key::{KeyAlgorithm, SEED_BYTES};
use resolverd::trust::evidence::Proofs;
use resolverd::trust::signature::Signer;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::Trouble;
use crate::data::{Federation, Import, Rows, Versions, acyclic, git, make_repository};
use crate::load::write_requests;
use crate::machine::{cpu_s, load};
use crate::requests::{Pairs, SERVER_CPU, at_rest, plan, settle, steady_memory};
use crate::servers::{Place, Server, load as run_load};
use crate::solve::post;
use crate::table::{Goal, Row};

/// How many archives are verified, and of how many bytes.
const ARCHIVES: usize = 1_000;
const ARCHIVE_BYTES: usize = 64 << 10;
/// How many publishers the entries of an index are of.
const PUBLISHERS: usize = 100;
const PUBLISHED: &str = "2026-02-10T12:00:00Z";

/// Measures every row. What needs the real graph is skipped with a word where `data` has none.
pub(crate) fn rows(
    place: &Path,
    data: Option<&Path>,
    (runs, seconds): (usize, f64),
) -> Result<Vec<Row>, Trouble> {
    let mut rows = archives(runs)?;
    let Some(graph) = data.map(acyclic).transpose()?.flatten() else {
        println!(
            "skipped: a registry of the real graph; RESOLVERD_DATA names no directory with graph-bcr.json.gz"
        );
        return Ok(rows);
    };
    let versions = graph.iter().map(|(_, versions)| versions.len()).sum::<usize>();
    let started = Instant::now();
    let sources = registry(&place.join("parts"), &graph, 1)?;
    println!(
        "{versions} versions of {} components signed in {:.1} s",
        graph.len(),
        started.elapsed().as_secs_f64()
    );
    let federation = Federation::of(&place.join("catalogues"), "real graph without circles", &graph)?;
    let parts = Place::new(place.join("reads-parts"))?;
    let mut catalogues = at_rest(&Place::new(place.join("reads-catalogues"))?, &federation)?;
    let mut parts = reading(&parts, &sources)?;
    let (mut times, mut sizes) = (Pairs::default(), Pairs::default());
    let (read_s, twin_s) = (cpu_s(parts.pid())?, cpu_s(catalogues.pid())?);
    times.push(read_s, twin_s);
    sizes.push(steady_memory(&parts)?.now as f64 / 1e6, steady_memory(&catalogues)?.now as f64 / 1e6);
    rows.push(times.row(
        format!("eStream, real graph without circles, {versions} versions: first sync, seals verified: CPU vs as catalogues"),
        "s",
        Goal::None,
    ));
    rows.push(alone("the same: CPU for each version", read_s * 1e6 / versions as f64, "us", Goal::None));
    rows.push(sizes.row("the same: memory vs as catalogues", "MB", Goal::None));
    let different = different(&mut parts, &mut catalogues, &graph)?;
    rows.push(alone(
        "the same: roots that are answered otherwise than as catalogues",
        different as f64,
        "",
        Goal::Zero,
    ));
    let roots = |prefix: &str, name: &str| {
        let root = |(name, versions): &(String, Vec<_>)| {
            post(&format!("{prefix}{name}@=1.{}.0", versions.len() - 1))
        };
        write_requests(&place.join(name), graph.iter().map(root))
    };
    let (own, twin) = (roots("estream:", "parts.roots")?, roots("lcod://bench/", "catalogues.roots")?);
    let (mut middles, mut tails) = (Pairs::default(), Pairs::default());
    for _ in 0..runs.max(1) {
        let round = |server: &Server, requests: &Path| {
            run_load(&plan(server, requests, 1, 1, seconds, None), Some(SERVER_CPU))
        };
        let (own, twin) = (round(&parts, &own)?, round(&catalogues, &twin)?);
        middles.push(own.p50_us, twin.p50_us);
        tails.push(own.p99_us, twin.p99_us);
    }
    rows.push(middles.row("the same: transitive solve: p50 vs as catalogues", "us", Goal::None));
    rows.push(tails.row("the same: p99", "us", Goal::None));
    Ok(rows)
}

/// Reads an index of so many entries, all in one category, under the built-in limits, and says what became of it.
pub(crate) fn limits(place: &Path, entries: usize) -> Result<(), Trouble> {
    let graph: Rows = (0..entries).map(|at| (entry(at), vec![Vec::new()])).collect();
    let bytes: usize = graph.iter().map(|(name, _)| name.len()).sum();
    let started = Instant::now();
    let sources = registry(&place.join("parts"), &graph, PUBLISHERS)?;
    println!(
        "{entries} entries of {PUBLISHERS} publishers, names of {:.0} bytes on the average, signed in {:.0} s",
        bytes as f64 / entries.max(1) as f64,
        started.elapsed().as_secs_f64()
    );
    let started = Instant::now();
    let home = Place::new(place.join("reads"))?;
    std::fs::write(home.directory.join("sources.json"), sources.to_string())?;
    let mut daemon = home.start(Some(SERVER_CPU))?;
    // As long as one source may take, and once more to merge and write it.
    let mut waited = daemon.wait_for_generation(1);
    for _ in 0..3 {
        waited = waited.or_else(|_| daemon.wait_for_generation(1));
    }
    waited?;
    let source = daemon.json("GET", "/v1/sources", "")?["items"][0].take();
    let (_, metrics) = daemon.ask("GET", "/metrics", "")?;
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    let fetched = metrics.lines().find_map(|line| line.strip_prefix("resolverd_sync_bytes_total "));
    let memory = steady_memory(&daemon)?;
    println!(
        "read after {:.0} s with {:.0} s of CPU: {} releases, {} refused, {}; error {}; {} bytes fetched; {} MB at most, {} MB at rest; load {}",
        started.elapsed().as_secs_f64(),
        cpu_s(daemon.pid())?,
        source["releases"],
        source["refused"],
        source["state"],
        source["error"],
        fetched.unwrap_or("no"),
        memory.peak / 1_000_000,
        memory.now / 1_000_000,
        load()
    );
    Ok(())
}

/// Returns the name of an entry: of ten, six like those that people give, two as long as may be, and two that their publisher scopes.
fn entry(at: usize) -> String {
    const WORDS: [&str; 8] = ["order", "ledger", "carbon", "trade", "sensor", "router", "custody", "impact"];
    let word = |of: usize| WORDS[of % WORDS.len()];
    match at % 10 {
        0..=5 => format!("{}-{}-{at:06}", word(at), word(at / 8)),
        6 | 7 => format!("{}-{at:06}", "a-rather-long-name-".repeat(6)[..93].trim_end_matches('-')),
        _ => format!("@publisher-{}/{}-{at:06}", at % PUBLISHERS, word(at)),
    }
}

/// Holds archives to their checksums and seals, in this process, against digesting them alone.
fn archives(runs: usize) -> Result<Vec<Row>, Trouble> {
    let signer = signer(0)?;
    let sealed = |at: usize| -> Result<(Vec<u8>, Digest, Vec<u8>), Trouble> {
        let archive: Vec<u8> =
            (0..ARCHIVE_BYTES).map(|byte| (byte * 31 + byte / 251 * at + at) as u8).collect();
        let checksum = Digest::of(Algorithm::Sha3_256, &archive);
        let signature = signer.sign(checksum.as_bytes(), &[0; SEED_BYTES])?;
        Ok((archive, checksum, signature))
    };
    let all = (0..ARCHIVES).map(sealed).collect::<Result<Vec<_>, _>>()?;
    let mut times = Pairs::default();
    for _ in 0..runs.max(1) {
        let began = process_s();
        let digested =
            all.iter().filter(|(archive, checksum, _)| Digest::of(Algorithm::Sha3_256, archive) == *checksum);
        let digested = (digested.count(), process_s() - began);
        // Whatever was verified once is remembered.
        let (proofs, began) = (Proofs::default(), process_s());
        let mut held = 0;
        for (archive, checksum, signature) in &all {
            let is_whole = Digest::of(Algorithm::Sha3_256, archive) == *checksum;
            held += usize::from(is_whole && proofs.holds(signer.public(), checksum.as_bytes(), signature)?);
        }
        let verified_s = process_s() - began;
        if (held, digested.0) != (ARCHIVES, ARCHIVES) {
            return Err(Trouble::say(format!("{held} of {ARCHIVES} archives are what was signed")));
        }
        times.push(verified_s * 1e3, digested.1 * 1e3);
    }
    let name = format!(
        "eStream: {ARCHIVES} archives of {} kB held to checksum and seal: CPU vs SHA3-256 alone",
        ARCHIVE_BYTES >> 10
    );
    Ok(vec![times.row(name, "ms", Goal::None)])
}

/// Returns the processor time of this process: a signature is verified by a thread of its own.
fn process_s() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Starts a daemon that reads these sources, and waits until it has.
fn reading(home: &Place, sources: &Value) -> Result<Server, Trouble> {
    std::fs::write(home.directory.join("sources.json"), sources.to_string())?;
    let mut daemon = home.start(Some(SERVER_CPU))?;
    daemon.wait_for_generation(1)?;
    settle(&daemon)?;
    Ok(daemon)
}

/// Asks both for every root, and counts those that are answered otherwise.
fn different(parts: &mut Server, catalogues: &mut Server, graph: &Rows) -> Result<usize, Trouble> {
    let mut count = 0;
    for (name, versions) in graph {
        let version = format!("1.{}.0", versions.len() - 1);
        let told = |server: &mut Server, root: String| -> Result<Vec<String>, Trouble> {
            let (_, body) = server.ask("POST", "/v1/resolve", &json!({ "requests": [root] }).to_string())?;
            let answer: Value = serde_json::from_slice(&body)?;
            let Some(all) = answer["components"].as_array() else {
                return Ok(vec![answer["code"].to_string()]);
            };
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let name = |one: &Value| {
                let id = text(&one["id"]);
                format!("{}@{}", id.rsplit(['/', ':']).next().unwrap_or_default(), text(&one["version"]))
            };
            let mut names: Vec<String> = all.iter().map(name).collect();
            names.sort_unstable();
            Ok(names)
        };
        let own = told(parts, format!("estream:{name}@={version}"))?;
        let twin = told(catalogues, format!("lcod://bench/{name}@={version}"))?;
        if own != twin {
            println!("{name}: {own:?} and {twin:?}");
            count += 1;
        }
    }
    Ok(count)
}

fn signer(number: usize) -> Result<Signer, Trouble> {
    let seed = [number as u8; SEED_BYTES];
    Ok(Signer::of(&Signer::seeded(KeyAlgorithm::MlDsa87, Zeroizing::new(seed)))?)
}

/// Writes a registry of components by so many publishers, and returns the sources file that reads it.
fn registry(directory: &Path, graph: &Rows, publishers: usize) -> Result<Value, Trouble> {
    let repository: PathBuf = make_repository(directory)?;
    let signers = (0..publishers).map(signer).collect::<Result<Vec<_>, _>>()?;
    let mut child = git(&repository)
        .args(["-c", "core.compression=1", "fast-import", "--quiet", "--depth=0"])
        .stdin(Stdio::piped())
        .spawn()?;
    let Some(stdin) = child.stdin.take() else { return Err(Trouble::say("git takes no input")) };
    let mut stream = BufWriter::with_capacity(1 << 20, stdin);
    let mut import = Import { out: &mut stream, raw: None, raw_bytes: 0 };
    import.begin(0)?;
    import.file("config.json", b"{\"schema_version\":1}\n")?;
    for (number, signer) in signers.iter().enumerate() {
        let record = json!({
            "name": format!("publisher-{number}"), "display_name": "A publisher", "url": "https://example.org", "verified": true,
            "signing_keys": [{
                "key_id": "first", "algorithm": "ML-DSA-87", "public_key_hex": signer.public().to_hex(),
                "created_at": "2026-01-01T00:00:00Z", "expires_at": "2028-01-01T00:00:00Z", "status": "active"
            }]
        });
        import.file(&format!("publishers/publisher-{number}.json"), record.to_string().as_bytes())?;
    }
    for (batch, some) in graph.chunks(SIGNED_AT_ONCE).enumerate() {
        let first = batch * SIGNED_AT_ONCE;
        let seals = seals(first, some, &signers)?;
        for (at, ((name, versions), seals)) in some.iter().zip(seals).enumerate() {
            component(&mut import, (first + at) % publishers, (name, versions), &seals)?;
        }
    }
    stream.flush()?;
    drop(stream);
    if !child.wait()?.success() {
        return Err(Trouble::say("git fast-import failed"));
    }
    let url = format!("file://{}", repository.display());
    Ok(json!({ "sources": [{ "id": "parts", "dialect": "estream", "url": url, "ref": "step-0" }] }))
}

/// The checksum of an archive, which is never fetched here, and its publisher's signature over it.
type Seal = (Digest, Vec<u8>);

/// How many components are signed before they are written, and by how many threads.
const SIGNED_AT_ONCE: usize = 1_024;
const SIGNING_THREADS: usize = 4;

/// Signs every version of some components, of which the first has the number `first`.
fn seals(first: usize, some: &[Versions], signers: &[Signer]) -> Result<Vec<Vec<Seal>>, Trouble> {
    let of_one = |number: usize, name: &str, count: usize| -> Result<Vec<Seal>, String> {
        let seal = |at: usize| {
            let checksum = Digest::of(Algorithm::Sha3_256, format!("{name}@1.{at}.0").as_bytes());
            let signer = &signers[number % signers.len()];
            let signature = signer.sign(checksum.as_bytes(), &[0; SEED_BYTES]);
            Ok((checksum, signature.map_err(|error| error.to_string())?))
        };
        (0..count).map(seal).collect()
    };
    let of_one = &of_one;
    let share = some.len().div_ceil(SIGNING_THREADS).max(1);
    let parts: Vec<Result<Vec<Vec<Seal>>, String>> = std::thread::scope(|threads| {
        let started: Vec<_> = some
            .chunks(share)
            .enumerate()
            .map(|(part, some)| {
                threads.spawn(move || {
                    let each = some.iter().enumerate();
                    each.map(|(at, (name, versions))| of_one(first + part * share + at, name, versions.len()))
                        .collect()
                })
            })
            .collect();
        let ended = started.into_iter().map(|thread| thread.join());
        ended.map(|end| end.unwrap_or_else(|_| Err("a signing thread ended".to_owned()))).collect()
    });
    let mut all = Vec::with_capacity(some.len());
    for part in parts {
        all.extend(part.map_err(Trouble::say)?);
    }
    Ok(all)
}

/// Writes a component with all of its versions.
fn component(
    import: &mut Import<'_>,
    publisher: usize,
    (name, versions): (&str, &[Vec<(String, String)>]),
    seals: &[Seal],
) -> Result<(), Trouble> {
    let directory = format!("index/integration/{name}");
    let mut rows = Vec::with_capacity(versions.len());
    for ((at, required), (checksum, signature)) in versions.iter().enumerate().zip(seals) {
        let version = format!("1.{at}.0");
        let required: String =
            required.iter().map(|(other, text)| format!("{other} = \"{text}\"\n")).collect();
        let manifest = format!(
            "[component]\nname = \"{name}\"\nversion = \"{version}\"\ncategory = \"integration\"\ndescription = \"The part {name}\"\nlicense = \"Apache-2.0\"\n\n[component.dependencies]\n{required}"
        );
        let seal = json!({
            "algorithm": "ML-DSA-87", "key_id": "first", "signed_at": PUBLISHED, "checksum_algorithm": "SHA3-256",
            "checksum": checksum.hex(), "signature_hex": hex(signature)
        });
        import.file(&format!("{directory}/{version}/estream-component.toml"), manifest.as_bytes())?;
        let line = format!("{}  package.tar.gz\n", checksum.hex());
        import.file(&format!("{directory}/{version}/checksum.sha3"), line.as_bytes())?;
        import.file(&format!("{directory}/{version}/SIGNATURE.ml-dsa"), seal.to_string().as_bytes())?;
        rows.push(json!({
            "version": version, "published_at": PUBLISHED, "checksum_sha3": checksum.hex(), "signature_pubkey_id": "first",
            "yanked": false, "estream_min_version": "0.8.0",
            "archive_url": format!("https://parts.example.org/{name}-{version}.tar.gz")
        }));
    }
    let metadata = json!({
        "name": name, "category": "integration", "publisher": format!("publisher-{publisher}"),
        "description": format!("The part {name}"), "versions": rows, "latest": format!("1.{}.0", versions.len() - 1),
        "keywords": ["parts"], "badges": [], "stats": { "downloads": 0, "stars": 0 }
    });
    Ok(import.file(&format!("{directory}/metadata.json"), metadata.to_string().as_bytes())?)
}

fn alone(name: &str, value: f64, unit: &'static str, goal: Goal) -> Row {
    Row { name: name.to_owned(), values: vec![value], baselines: Vec::new(), unit, goal }
}
