//! eStream registries at size: what an index of 200,000 entries would count, and a registry with the shape of a real graph beside the
//! same graph as catalogues.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use catalogue_schema::version::Version;
use resolverd::fetch::limit::Limits;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Sandbox};
use crate::harness::estream::{Part, Registry};
use crate::harness::lcod::{Component, Federation, Form};
use crate::harness::place;
use crate::harness::repository::Repository;

/// What has to be within the built-in limits.
const ENTRIES: u64 = 200_000;

fn reading(registry: &Registry, sandbox: &Sandbox) {
    let repository = Repository::create(&sandbox.path("registry"));
    repository.commit(&registry.files);
    let source = json!({ "id": "parts", "dialect": "estream", "url": repository.url() });
    sandbox.write_sources(&json!({ "sources": [source] }));
}

/// How many bytes a signature has; it is written in twice as many digits.
const SIGNATURE_BYTES: u64 = 4_627;

/// Reads a registry of so many entries of four publishers within this share of the built-in limits, and returns its state and the
/// report of the sync.
fn read_within(entries: u64, share: impl Fn(u64) -> u64) -> (Value, Value) {
    let mut registry = Registry::new();
    let publishers = ["acme", "bolt", "cask", "dune"];
    publishers.iter().for_each(|name| registry.publisher(name));
    for at in 0..entries {
        let publisher = publishers[at as usize % publishers.len()];
        let more = "license = \"Apache-2.0\"\nrepository = \"https://example.org/parts\"\nkeywords = [\"orders\", \"wire\"]\n\n[component.dependencies]\nentry-0 = \">=1.0.0\"\n";
        let more = if at == 0 { "" } else { more };
        let (name, category) = (format!("entry-{at}"), ["wire-adapter", "esf-schema"][at as usize % 2]);
        registry.publish(&Part { category, name: &name, publisher, version: "1.0.0", more });
    }
    let sandbox = Sandbox::new();
    reading(&registry, &sandbox);
    let limits = Limits::default();
    let scaled = [
        ("documents", limits.documents),
        // Those of 2,048 signatures are taken at once, and the half of them that says nothing is given back behind that.
        ("total_bytes", limits.total_bytes + SIGNATURE_BYTES * ENTRIES),
        ("catalogue_bytes", limits.catalogue_bytes),
        ("releases", limits.releases),
    ];
    let lines: Vec<String> = scaled.iter().map(|(key, limit)| format!("{key} = {}", share(*limit))).collect();
    let config = sandbox.path("limits.toml");
    std::fs::write(&config, format!("[limits]\n{}\n", lines.join("\n"))).unwrap();
    let said = |verb: &str| {
        let said = sandbox.run(&[verb, "-o", "json", "--config", config.to_str().unwrap()]).stdout;
        serde_json::from_str::<Value>(&said).unwrap()
    };
    let report = said("sync");
    (said("sources")["items"][0].take(), report)
}

#[test]
fn an_index_of_200_000_entries_would_be_within_the_limits() {
    let entries = 48;
    let (source, report) = read_within(entries, |limit| limit * entries / ENTRIES);
    assert_eq!((&source["state"], &source["releases"]), (&json!("fresh"), &json!(entries)), "{source:#}");
    assert_eq!(source["refused"], 0, "{source:#}");
    // The names of the index, config.json, the listing of publishers and their four records; metadata, manifest, checksum and signature of each entry.
    let counted = |field: &str| report[field].as_u64().unwrap();
    assert_eq!(counted("documentsFetched"), 3 + 4 + 4 * entries);
    // The trees on the way to the documents of an entry count beside them.
    let trees = 600;
    let bytes = counted("bytesFetched") / entries + trees - SIGNATURE_BYTES;
    let all = Limits::default().total_bytes;
    assert!(bytes * ENTRIES < all * 3 / 4, "{bytes} bytes for each entry");
    assert!((bytes + SIGNATURE_BYTES) * ENTRIES > all * 3 / 4, "digits count as bytes");
    // It is counted: four fifths of that are not enough.
    let (source, _) = read_within(entries, |limit| limit * entries * 4 / 5 / ENTRIES);
    assert_eq!(source["error"]["reason"], "limit.documents", "{source:#}");
}

#[test]
fn a_record_of_a_publisher_that_is_too_large_is_not_fetched() {
    const PAD: usize = 300_000;
    let mut registry = Registry::new();
    for publisher in ["acme", "bolt"] {
        registry.publisher(publisher);
        for at in 0..3 {
            let name = format!("{publisher}-{at}");
            let part = Part { category: "wire-adapter", name: &name, publisher, version: "1.0.0", more: "" };
            registry.publish(&part);
        }
    }
    registry.change("publishers/acme.json", |record| record["url"] = json!("x".repeat(PAD)));
    let sandbox = Sandbox::new();
    reading(&registry, &sandbox);
    let said = |arguments: &[&str]| serde_json::from_str::<Value>(&sandbox.run(arguments).stdout).unwrap();
    let report = said(&["sync", "-o", "json"]);
    assert!(report["bytesFetched"].as_u64().unwrap() < PAD as u64 / 2, "{report:#}");
    // The registry is read all the same, and so it is the next time.
    for _ in 0..2 {
        let source = said(&["sources", "-o", "json"])["items"][0].take();
        let counted = json!([source["state"], source["releases"], source["refused"]]);
        assert_eq!(counted, json!(["fresh", 6, 3]), "{source:#}");
        said(&["sync", "-o", "json"]);
    }
    let found = sandbox.run(&["resolve", "estream:acme-0"]);
    for part in ["estream.publisher_malformed", "at most 262144 bytes"] {
        assert!(found.status != 0 && found.stderr.contains(part), "{found:?}");
    }
}

/// A release of a graph: its version, and what it requires of which name.
type Release = (Version, Vec<(String, String)>);

/// A part of the real graph that holds what it requires, the newest versions of each component, as many as `most` in all. A registry
/// of eStream may have no circles: what would close one is not required. Every fifth requirement is one on a single minor version,
/// so that there are contradictions.
fn part_of_real_graph(most: usize) -> Option<BTreeMap<String, Vec<Release>>> {
    const NEWEST: usize = 3;
    let mut text = String::new();
    let file = std::fs::File::open(place::data("graph-bcr.json.gz")?).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let document: BTreeMap<String, Vec<Value>> = serde_json::from_str(&text).unwrap();
    let newest = |id: &str| -> Vec<(Version, Vec<(String, String)>)> {
        let release = |one: &Value| {
            let required = one["requires"].as_array().unwrap().iter();
            let required = required.map(|one| {
                (one["id"].as_str().unwrap().to_owned(), one["version"].as_str().unwrap().to_owned())
            });
            (Version::parse(one["version"].as_str().unwrap()).unwrap(), required.collect())
        };
        let all = document[id].iter().filter(|one| one["yanked"] != true).map(release);
        let mut all: Vec<_> = all.collect();
        all.sort_by(|one: &Release, other| other.0.cmp(&one.0));
        all.dedup_by(|one, other| one.0.is_twin_of(&other.0));
        all.truncate(NEWEST);
        all
    };
    let mut taken: BTreeMap<String, Vec<Release>> = BTreeMap::new();
    let mut count = 0;
    for root in document.keys() {
        let (mut open, mut added) = (vec![root.clone()], BTreeMap::new());
        while let Some(id) = open.pop() {
            if taken.contains_key(&id) || added.contains_key(&id) || !document.contains_key(&id) {
                continue;
            }
            let releases = newest(&id);
            open.extend(releases.iter().flat_map(|(_, required)| required).map(|(id, _)| id.clone()));
            added.insert(id, releases);
        }
        let more = added.values().map(Vec::len).sum::<usize>();
        if count + more <= most {
            count += more;
            taken.append(&mut added);
        }
    }
    // Whoever is reached from a component stands before it.
    let mut order: Vec<&str> = Vec::new();
    let mut seen = BTreeSet::new();
    for root in taken.keys() {
        let mut path = vec![(root.as_str(), false)];
        while let Some((id, is_left)) = path.pop() {
            if is_left {
                order.push(id);
            } else if seen.insert(id) {
                path.push((id, true));
                let required = taken[id].iter().flat_map(|(_, required)| required);
                path.extend(
                    required.filter_map(|(id, _)| Some((taken.get_key_value(id)?.0.as_str(), false))),
                );
            }
        }
    }
    let place: BTreeMap<String, usize> =
        order.into_iter().enumerate().map(|(at, id)| (id.to_owned(), at)).collect();
    let named = |id: &str| format!("part-{:04}", place[id]);
    let mut at = 0;
    let graph = taken.iter().map(|(id, releases)| {
        let release = |(version, required): &Release| {
            let kept =
                required.iter().filter(|(other, _)| place.get(other).is_some_and(|to| *to < place[id]));
            let required = kept.map(|(other, requirement)| {
                at += 1;
                let requirement =
                    if at % 5 == 0 { requirement.replace(">=", "~") } else { requirement.clone() };
                (named(other), requirement)
            });
            (version.clone(), required.collect())
        };
        (named(id), releases.iter().map(release).collect())
    });
    Some(graph.collect())
}

/// Returns names and versions of an answer, or the code of the refusal.
fn told(daemon: &Daemon, root: &str) -> String {
    let answer = daemon.resolve(&[root]).json();
    let Some(all) = answer["components"].as_array() else {
        return answer["code"].as_str().unwrap().to_owned();
    };
    let name = |one: &Value| {
        let id = one["id"].as_str().unwrap();
        format!("{}@{}", id.rsplit(['/', ':']).next().unwrap(), one["version"].as_str().unwrap())
    };
    let mut names: Vec<String> = all.iter().map(name).collect();
    names.sort_unstable();
    names.join(" ")
}

#[test]
fn a_registry_with_the_shape_of_a_real_graph_resolves_like_catalogues() {
    let Some(graph) = part_of_real_graph(180) else { return };
    let (mut registry, mut components) = (Registry::new(), Vec::new());
    registry.publisher("acme");
    for (name, releases) in &graph {
        // Oldest first, as they would be published.
        for (version, required) in releases.iter().rev() {
            let (id, version) = (format!("lcod://bcr/{name}"), version.to_string());
            let lines: String = required
                .iter()
                .map(|(other, requirement)| format!("{other} = \"{requirement}\"\n"))
                .collect();
            let more = format!("[component.dependencies]\n{lines}");
            registry.publish(&Part {
                category: "integration",
                name,
                publisher: "acme",
                version: &version,
                more: &more,
            });
            let texts: Vec<String> = required
                .iter()
                .map(|(other, requirement)| format!("lcod://bcr/{other}@{requirement}"))
                .collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut component = Component::new(&id, &version, &texts);
            component.calls.clear();
            component.directory = format!("{}-{version}", component.directory);
            components.push(component);
        }
    }
    let versions = components.len();
    assert!(graph.len() > 40 && versions > 120, "{} components, {versions} versions", graph.len());
    let parts = Sandbox::new();
    reading(&registry, &parts);
    let federated = tempfile::tempdir().unwrap();
    let federation = Federation::build(federated.path(), components);
    let catalogues = Sandbox::with_sources(&federation.sources(Form::Lines));
    // In process, for as long as that takes: without optimizations signatures are slow.
    [&parts, &catalogues].iter().for_each(|sandbox| assert_eq!(sandbox.run(&["sync"]).status, 0));
    let (parts, catalogues) = (parts.start(), catalogues.start());
    for daemon in [&parts, &catalogues] {
        let source = daemon.get("/v1/sources").ok()["items"][0].take();
        assert_eq!((&source["releases"], &source["refused"]), (&json!(versions), &json!(0)), "{source:#}");
    }
    let (mut solved, mut contradicted) = (0, 0);
    for (name, releases) in &graph {
        for (version, _) in releases {
            let found = told(&parts, &format!("estream:{name}@={version}"));
            assert_eq!(
                found,
                told(&catalogues, &format!("lcod://bcr/{name}@={version}")),
                "{name}@{version}"
            );
            *(if found == "E003" { &mut contradicted } else { &mut solved }) += 1;
        }
    }
    assert!(solved > 50 && contradicted > 5, "{solved} solved, {contradicted} contradicted");
}
