//! Holds the floors and the invariants of the house by reading the source text. Never compiles or runs what it reads.
//!
//! Every rule is a function from files to findings, so each one is shown here to fail on a snippet that breaks it.

mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::harness::place;
use crate::tidy::scan::{File, Token, paths};

/// Which rooms of `resolverd` may import which. What is not listed here is not a room yet.
const FLOORS: &[(u8, &str, &[&str])] = &[
    (6, "main", &["cli"]),
    (5, "cli", &["daemon", "estream", "client", "config", "mirror", "signing", "api"]),
    (
        4,
        "daemon",
        &[
            "config",
            "sync",
            "server",
            "materialize",
            "watch",
            "order",
            "store",
            "shelf",
            "fetch",
            "trust",
            "api",
        ],
    ),
    (4, "estream", &["config", "materialize", "signing", "fetch", "trust", "api"]),
    (3, "sync", FLOOR_2),
    (3, "server", FLOOR_2),
    (3, "config", FLOOR_2),
    (3, "client", FLOOR_2),
    (3, "mirror", FLOOR_2),
    (3, "materialize", FLOOR_2),
    (3, "signing", FLOOR_2),
    (3, "watch", FLOOR_2),
    (2, "fetch", &[]),
    (2, "trust", &[]),
    (2, "store", &["shelf"]),
    (2, "shelf", &[]),
    (2, "resolve", &[]),
    (2, "merge", &[]),
    (2, "api", &[]),
    (2, "order", &[]),
];

const FLOOR_2: &[&str] = &["fetch", "trust", "store", "shelf", "resolve", "merge", "api", "order"];

/// A name, where it may stand outside tests, and why. A place that ends in `/` is a folder.
const NAMED_IN: &[(&[&str], &[&str], &str)] = &[
    (
        &["sled"],
        &["resolverd/src/store/index.rs", "resolverd/benches/measure/merge.rs"],
        "sled is named in store/index only, and where it is measured",
    ),
    (&["git2"], &["resolverd/src/fetch/git.rs"], "git2 is named in fetch/git only"),
    (&["libgit2_sys"], &["resolverd/src/fetch/git.rs"], "git2 is named in fetch/git only"),
    (
        &["pubgrub"],
        &["resolverd/src/resolve/", "resolverd/benches/measure/solve.rs"],
        "the solver is named in resolve only, and where it is measured",
    ),
    (&["ed25519_dalek"], &["resolverd/src/trust/signature.rs"], "keys are computed with in one file"),
    (&["fips204"], &["resolverd/src/trust/signature.rs"], "keys are computed with in one file"),
    (&["async"], ASYNC, "async stands in server, daemon and fetch/https only"),
    (&["await"], ASYNC, "async stands in server, daemon and fetch/https only"),
    (
        &["SystemTime", "now"],
        &["resolverd/src/daemon/", "resolverd/src/cli/"],
        "time comes in as a parameter",
    ),
    (&["Trust", "grant"], &["resolverd/src/trust/verify.rs"], "only the verify function grants trust"),
    (
        &["grant_by"],
        // Where it is defined, and where it is called.
        &["catalogue-schema/src/model.rs", "resolverd/src/trust/verify.rs"],
        "only the verify function grants trust",
    ),
    (&["fs", "write"], &["resolverd/benches/"], "files are written whole, by the atomic writer"),
];

const ASYNC: &[&str] = &[
    "resolverd/src/server/",
    "resolverd/src/daemon/",
    "resolverd/src/fetch/https/",
    "resolverd/benches/measure/hello.rs",
    // What resolvo asks of whoever provides its graph.
    "resolverd/benches/measure/witness.rs",
];

/// What `catalogue-schema` may not name: it has no file, socket, clock, thread or future.
const NO_IO: &[&[&str]] = &[
    &["std", "env"],
    &["std", "fs"],
    &["std", "future"],
    &["std", "io"],
    &["std", "net"],
    &["std", "os"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time"],
    &["thread_local"],
    &["async"],
    &["await"],
    &["git2"],
    &["rustix"],
    &["sled"],
    &["tokio"],
    &["tracing"],
];

/// The one file of `catalogue-schema` that keeps something for a thread: what it calls between two stretches of its work.
const PACE: &str = "catalogue-schema/src/pace.rs";

/// The one file in which a test may sleep, between two tries of a bounded poll.
const POLL: &str = "tests/harness/poll.rs";

/// Reads files and says what breaks the house.
type Rule = fn(&[File]) -> Vec<String>;

#[test]
fn the_source_keeps_the_rules_of_the_house() {
    let files = scan::tree(&["catalogue-schema", "resolverd", "tests"]);
    let rules: &[Rule] = &[
        floors,
        circles,
        names,
        one_file_names_sled,
        no_input_or_output_in_the_schema,
        drafts,
        unwraps,
        sleeps,
        attributes,
        re_exports,
        heads,
        mapped,
        listed,
    ];
    let findings: Vec<String> = rules.iter().flat_map(|rule| rule(&files)).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    assert!(files.len() > 30, "the scan saw only {} files", files.len());
}

#[test]
fn no_tracked_file_names_a_place_on_somebody_s_machine() {
    let root = place::root();
    let listed = place::git(&root, &["ls-files", "-z"]);
    let mut findings = Vec::new();
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        let Ok(text) = std::fs::read_to_string(root.join(name)) else { continue };
        findings.extend(machine_paths(name, &text));
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

fn floors(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        let Some(room) = file.room("resolverd") else { continue };
        let Some((floor, _, allowed)) = FLOORS.iter().find(|(_, name, _)| *name == room) else {
            findings.push(format!("{}: {room} is on no floor; give it one in tests/tidy.rs", file.path));
            continue;
        };
        for (target, line) in file.imports("resolverd") {
            if target != room && !allowed.contains(&target.as_str()) {
                findings
                    .push(format!("{}:{line}: {room} (floor {floor}) may not import {target}", file.path));
            }
        }
    }
    findings
}

/// Finds circles between the rooms of a crate, and between the modules inside one room.
fn circles(files: &[File]) -> Vec<String> {
    let mut graphs: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for file in files {
        for krate in ["catalogue-schema", "resolverd"] {
            let Some(room) = file.room(krate) else { continue };
            let edges = graphs.entry(krate.to_owned()).or_default().entry(room.clone()).or_default();
            edges.extend(file.imports(krate).into_iter().map(|(target, _)| target).filter(|to| *to != room));
            let Some(module) = file.module(krate) else { continue };
            if let [_, child, ..] = module.as_slice() {
                let inner = graphs.entry(format!("{krate}/{room}")).or_default();
                let edges = inner.entry(child.clone()).or_default();
                edges.extend(file.siblings(krate).into_iter().filter(|to| to != child));
            }
        }
    }
    graphs
        .iter()
        .flat_map(|(name, graph)| circle(graph).map(|at| format!("{name}: a circle: {}", at.join(" -> "))))
        .collect()
}

/// Returns a circle of `graph`: what is left after every node without edges into the rest has been taken away.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut left: BTreeSet<&String> = graph.keys().collect();
    loop {
        let before = left.len();
        let kept = left.clone();
        left.retain(|node| graph[*node].iter().any(|to| kept.contains(to)));
        if left.len() == before {
            break;
        }
    }
    let start = left.first()?;
    let (mut path, mut at) = (vec![(*start).clone()], *start);
    while let Some(next) = graph[at].iter().find(|to| left.contains(to)) {
        let seen = path.contains(next);
        path.push(next.clone());
        if seen {
            break;
        }
        at = left.get(next)?;
    }
    Some(path)
}

fn names(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| !file.path.starts_with("tests/")) {
        for path in paths(&file.code) {
            for (name, places, why) in NAMED_IN {
                let here = places.iter().any(|place| {
                    if place.ends_with('/') { file.path.starts_with(place) } else { file.path == *place }
                });
                if !here && holds(&path.segments, name) {
                    findings.push(format!("{}:{}: {}: {why}", file.path, path.line, name.join("::")));
                }
            }
        }
    }
    findings
}

/// Tells whether `path` holds `name`: a single name anywhere but at the end of a longer path, several at its end.
fn holds(path: &[String], name: &[&str]) -> bool {
    match name {
        [single] => path.first().is_some_and(|first| first == single),
        several => {
            path.len() >= several.len() && path[path.len() - several.len()..].iter().eq(several.iter())
        }
    }
}

fn one_file_names_sled(files: &[File]) -> Vec<String> {
    let named: Vec<&str> = files
        .iter()
        .filter(|file| file.path.contains("/src/"))
        .filter(|file| paths(&file.code).iter().any(|path| holds(&path.segments, &["sled"])))
        .map(|file| file.path.as_str())
        .collect();
    if named.len() > 1 { vec![format!("sled is named in {}", named.join(" and "))] } else { Vec::new() }
}

fn no_input_or_output_in_the_schema(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("catalogue-schema/src/")) {
        for path in paths(&file.code) {
            let bad = NO_IO
                .iter()
                .find(|bad| path.segments.iter().zip(**bad).filter(|(a, b)| a == b).count() == bad.len());
            let bad = bad.filter(|bad| !(file.path == PACE && **bad == ["thread_local"]));
            if let Some(bad) = bad {
                findings.push(format!(
                    "{}:{}: {}: the schema does no I/O",
                    file.path,
                    path.line,
                    bad.join("::")
                ));
            }
        }
    }
    findings
}

/// `Draft { … }` is written in `sync.rs` only. Definitions, result types and patterns after `let` are not that.
fn drafts(files: &[File]) -> Vec<String> {
    let elsewhere = ["struct", "impl", "for", "let", "->"];
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| {
        !(file.path == "resolverd/src/sync.rs" || file.path.starts_with("resolverd/src/sync/"))
    }) {
        for at in file.code.windows(3) {
            if at[1].text == "Draft" && at[2].text == "{" && !elsewhere.contains(&at[0].text.as_str()) {
                findings.push(format!("{}:{}: only sync makes a draft", file.path, at[1].line));
            }
        }
    }
    findings
}

fn unwraps(files: &[File]) -> Vec<String> {
    let bad = |at: &[Token]| at[0].text == "." && at[1].text == "unwrap" && at[2].text == "(";
    found(files, |file| &file.code, bad, "unwrap outside tests")
}

fn sleeps(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path != POLL) {
        for path in paths(&file.tests) {
            if path.segments.last().is_some_and(|last| last == "sleep") {
                findings.push(format!("{}:{}: a test sleeps; use the polling helper", file.path, path.line));
            }
        }
    }
    findings
}

fn attributes(files: &[File]) -> Vec<String> {
    let bad = |at: &[Token]| {
        at[0].text == "["
            && ["ignore", "should_panic"].contains(&at[1].text.as_str())
            && ["]", "=", "("].contains(&at[2].text.as_str())
    };
    let mut findings = found(files, |file| &file.tests, bad, "a test that is ignored or expects a panic");
    findings.extend(found(files, |file| &file.code, bad, "a test that is ignored or expects a panic"));
    findings
}

fn re_exports(files: &[File]) -> Vec<String> {
    let plain = |at: &[Token]| at[0].text == "pub" && at[1].text == "use";
    let narrow = |at: &[Token]| at[0].text == "pub" && at[1].text == "(" && at[4].text == "use";
    let mut findings = found_in(files, 2, |file| &file.code, plain, "a re-export");
    findings.extend(found_in(files, 5, |file| &file.code, narrow, "a re-export"));
    findings
}

fn heads(files: &[File]) -> Vec<String> {
    let good = |file: &&File| {
        let first = file.text.lines().next().unwrap_or_default();
        // A file that is still empty has nothing to say.
        first == "fn main() {}" || (first.starts_with("//! ") && first.len() > 12)
    };
    let bad = files.iter().filter(|file| !good(file));
    bad.map(|file| format!("{}: its first line does not say what it is for", file.path)).collect()
}

/// Every room that a crate shows stands in the map at the head of its `lib.rs`.
fn mapped(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with("src/lib.rs")) {
        let map: String = file.text.lines().take_while(|line| line.starts_with("//!")).collect();
        for at in file.code.windows(4) {
            let is_room = at[0].text == "pub" && at[1].text == "mod" && at[3].text == ";";
            if is_room && !map.contains(&format!("[`{}`]", at[2].text)) {
                findings.push(format!("{}:{}: the map does not name {}", file.path, at[2].line, at[2].text));
            }
        }
    }
    findings
}

/// Every file below `tests/` is declared as a module by the file above it, or nobody runs it.
fn listed(files: &[File]) -> Vec<String> {
    let tests: Vec<&File> = files.iter().filter(|file| file.path.starts_with("tests/")).collect();
    let mut findings = Vec::new();
    for file in &tests {
        if file.path == "tests/main.rs" {
            continue;
        }
        let path = Path::new(&file.path);
        let (stem, folder) = (path.file_stem().unwrap().to_str().unwrap(), path.parent().unwrap());
        let (name, folder) = match stem {
            "mod" => (folder.file_name().unwrap().to_str().unwrap(), folder.parent().unwrap()),
            _ => (stem, folder),
        };
        let above = if folder == Path::new("tests") {
            vec!["tests/main.rs".to_owned()]
        } else {
            vec![format!("{}.rs", folder.display()), format!("{}/mod.rs", folder.display())]
        };
        let declared = tests.iter().filter(|file| above.contains(&file.path)).any(|file| {
            file.tests.windows(3).any(|at| at[0].text == "mod" && at[1].text == name && at[2].text == ";")
        });
        if !declared {
            findings.push(format!("{}: no `mod {name};` in {}", file.path, above.join(" or ")));
        }
    }
    findings
}

fn machine_paths(name: &str, text: &str) -> Vec<String> {
    // Spelled in two halves, so that this file may be read by its own rule.
    let bad = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    let lines = text.lines().enumerate().filter(|(_, line)| bad.iter().any(|bad| line.contains(bad)));
    lines.map(|(line, _)| format!("{name}:{}: a place on somebody's machine", line + 1)).collect()
}

fn found(
    files: &[File],
    part: fn(&File) -> &Vec<Token>,
    bad: impl Fn(&[Token]) -> bool,
    what: &str,
) -> Vec<String> {
    found_in(files, 3, part, bad, what)
}

fn found_in(
    files: &[File],
    width: usize,
    part: fn(&File) -> &Vec<Token>,
    bad: impl Fn(&[Token]) -> bool,
    what: &str,
) -> Vec<String> {
    let in_file = |file: &File| -> Vec<String> {
        let hits = part(file).windows(width).filter(|at| bad(at));
        hits.map(|at| format!("{}:{}: {what}", file.path, at[0].line)).collect()
    };
    files.iter().flat_map(in_file).collect()
}

/// Runs a rule on snippets and compares how many findings it has.
fn check(rule: Rule, files: &[(&str, &str)], expected: usize) {
    let read: Vec<File> = files.iter().map(|(path, text)| File::read(path, text)).collect();
    let findings = rule(&read);
    assert_eq!(findings.len(), expected, "{files:?}: {findings:?}");
}

#[test]
fn the_floors_can_be_broken() {
    let file = |path: &'static str, text: &'static str, expected| check(floors, &[(path, text)], expected);
    file(
        "resolverd/src/fetch/git.rs",
        "use crate::fetch::limit::Budget; use catalogue_schema::id::SourceId;",
        0,
    );
    file("resolverd/src/fetch/git.rs", "use crate::trust::verify::judge;", 1);
    file("resolverd/src/fetch/git.rs", "fn f() { crate::store::open(); }", 1);
    file("resolverd/src/fetch/git.rs", "use super::super::store::Store;", 1);
    file("resolverd/src/fetch/git.rs", "use super::limit::Budget;", 0);
    file("resolverd/src/merge.rs", "use super::trust;", 1);
    file("resolverd/src/store.rs", "use crate::shelf::Shelf;", 0);
    file("resolverd/src/store.rs", "use crate::{shelf, fetch::{self, limit}, resolve};", 3);
    file("resolverd/src/server/route.rs", "use crate::sync::run;", 1);
    file("resolverd/src/server/route.rs", "// use crate::sync::run;\nconst A: &str = \"crate::sync\";", 0);
    file("resolverd/src/server/route.rs", "#[cfg(test)] mod tests { use crate::sync::run; }", 0);
    file("resolverd/src/main.rs", "fn main() { resolverd::cli::main() }", 0);
    file("resolverd/src/main.rs", "fn main() { resolverd::daemon::serve() }", 1);
    file("resolverd/src/attic.rs", "", 1);
}

#[test]
fn the_circles_can_be_found() {
    let (a, b) = ("catalogue-schema/src/a.rs", "catalogue-schema/src/b.rs");
    check(circles, &[(a, "use crate::b::B;"), (b, "use std::fmt;")], 0);
    check(circles, &[(a, "use crate::b::B;"), (b, "use crate::a::A;")], 1);
    check(circles, &[(a, "crate::forms!(A);"), (b, "use crate::a::A;")], 0);
    let (c, d) = ("resolverd/src/fetch/file.rs", "resolverd/src/fetch/git.rs");
    check(circles, &[(c, "use crate::fetch::git::x;"), (d, "use crate::fetch::Fetch;")], 0);
    check(circles, &[(c, "use crate::fetch::git::x;"), (d, "use super::file::y;")], 1);
}

#[test]
fn the_names_can_be_misplaced() {
    let file = |path: &'static str, text: &'static str, expected| check(names, &[(path, text)], expected);
    file("resolverd/src/store/index.rs", "use sled::Db;", 0);
    file("resolverd/src/shelf.rs", "use sled::Db;", 1);
    file("resolverd/src/shelf.rs", "/// As sled does. \nfn x() {}", 0);
    file("resolverd/src/fetch/mod.rs", "fn x(r: &git2::Repository) {}", 1);
    file("resolverd/src/fetch/git.rs", "use git2::Repository;", 0);
    file("resolverd/src/sync.rs", "async fn x() {}", 1);
    file("resolverd/src/sync.rs", "fn x() { y().await }", 1);
    file("resolverd/src/server/mod.rs", "async fn x() {}", 0);
    file("resolverd/src/sync.rs", "let now = std::time::SystemTime::now();", 1);
    file("resolverd/src/daemon/", "let now = SystemTime::now();", 0);
    file("resolverd/src/sync.rs", "let t = Trust::grant(level, false);", 1);
    file("resolverd/src/sync.rs", "#[cfg(test)] mod tests { fn t() { Trust::grant(l, false); } }", 0);
    file("resolverd/src/sync.rs", "let t = leave.grant_by(ruling);", 1);
    file("resolverd/src/trust/verify.rs", "let t = leave.grant_by(ruling);", 0);
    file("resolverd/src/trust/verify.rs", "let t = Trust::grant(level, false);", 0);
    file("resolverd/src/shelf.rs", "std::fs::write(path, bytes)", 1);
    let two = [
        ("resolverd/src/store/index.rs", "use sled::Db;"),
        ("resolverd/src/store/mod.rs", "use sled::Tree;"),
    ];
    check(one_file_names_sled, &two, 1);
    check(one_file_names_sled, &two[..1], 0);
}

#[test]
fn the_schema_can_be_caught_at_input_and_output() {
    let file = |text: &'static str, expected| {
        check(no_input_or_output_in_the_schema, &[("catalogue-schema/src/id.rs", text)], expected);
    };
    file("use std::path::Path;", 0);
    file("use std::fs;", 1);
    file("use std::{fmt, fs::File, net::TcpStream};", 2);
    file("let x = std::time::Instant::now();", 1);
    file("#[cfg(test)]\nmod tests { use std::fs; }\nuse std::thread;", 1);
    file("async fn x() {}", 1);
    file("thread_local! { static X: u8 = 0; }", 1);
    check(no_input_or_output_in_the_schema, &[(PACE, "thread_local! { static X: u8 = 0; }")], 0);
    check(no_input_or_output_in_the_schema, &[(PACE, "use std::thread;")], 1);
    file("use tokio::net::UnixStream;", 1);
    file(
        "let x = \"std::fs\"; // std::fs\n/* std::fs /* tokio */ */ let c = '\"'; let r = r#\"std::net\"#;",
        0,
    );
}

#[test]
fn the_small_rules_can_be_broken() {
    check(drafts, &[("resolverd/src/server/mod.rs", "let d = Draft { generation };")], 1);
    check(
        drafts,
        &[("resolverd/src/store.rs", "pub struct Draft { a: u8 } impl Draft { } let Draft { a } = d;")],
        0,
    );
    check(drafts, &[("resolverd/src/sync.rs", "let d = Draft { generation };")], 0);
    check(drafts, &[("resolverd/src/store.rs", "#[cfg(test)]\nfn d() { x(Draft { a }) }")], 0);
    check(unwraps, &[("resolverd/src/sync.rs", "x.unwrap();")], 1);
    check(
        unwraps,
        &[("resolverd/src/sync.rs", "x.unwrap_or(1); #[cfg(test)] mod tests { fn t() { x.unwrap(); } }")],
        0,
    );
    check(unwraps, &[("resolverd/src/store/tests.rs", "x.unwrap();")], 0);
    check(sleeps, &[("tests/a.rs", "std::thread::sleep(second);")], 1);
    check(sleeps, &[("tests/harness/poll.rs", "std::thread::sleep(second);")], 0);
    check(
        sleeps,
        &[("resolverd/src/store.rs", "thread::sleep(s); #[cfg(test)] mod tests { fn t() { sleep(s); } }")],
        1,
    );
    check(attributes, &[("tests/a.rs", "#[test]\n#[ignore]\nfn a() {}")], 1);
    check(
        attributes,
        &[("resolverd/src/a.rs", "#[cfg(test)] mod tests { #[ignore = \"slow\"] fn a() {} }")],
        1,
    );
    check(attributes, &[("tests/a.rs", "#[should_panic(expected = \"x\")] fn a() {}")], 1);
    check(attributes, &[("tests/a.rs", "#[test]\nfn a() { let ignore = [ignore]; }")], 1);
    check(re_exports, &[("resolverd/src/lib.rs", "pub use crate::api::Call;")], 1);
    check(re_exports, &[("resolverd/src/lib.rs", "pub(crate) use crate::api::Call;")], 1);
    check(re_exports, &[("resolverd/src/lib.rs", "pub mod api; use crate::api::Call;")], 0);
    check(heads, &[("resolverd/src/lib.rs", "use std::fmt;")], 1);
    check(heads, &[("resolverd/src/lib.rs", "//! The map of the whole crate.")], 0);
    check(mapped, &[("resolverd/src/lib.rs", "//! | where? | [`a`] |\npub mod a; pub mod b; mod c;")], 1);
    check(
        listed,
        &[
            ("tests/main.rs", "mod a; mod b;"),
            ("tests/a.rs", ""),
            ("tests/b/mod.rs", "mod c;"),
            ("tests/b/c.rs", ""),
        ],
        0,
    );
    check(
        listed,
        &[("tests/main.rs", "mod b;"), ("tests/a.rs", ""), ("tests/b.rs", ""), ("tests/b/c.rs", "")],
        2,
    );
    assert_eq!(machine_paths("x", concat!("see /wo", "rk/x\nsee /usr/bin")).len(), 1);
}
