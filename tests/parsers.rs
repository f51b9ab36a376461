//! Parsers under attack: section H of the threat model, row by row. A case is named by its row; what other tests hold
//! already is named here and not doubled. No case asserts on time.
//!
//! | row | held by |
//! |---|---|
//! | H1 duplicate keys | `json::tests::duplicates_are_noticed_among_many_keys`, `…refusals_carry_reason_field_and_place`; every reader: here |
//! | H2 depth | `json::tests::documents_nest_64_levels_and_no_more`; every reader, and TOML: here |
//! | H3 numbers | `json::tests::refusals_carry_…`, `…what_every_reader_understands_is_accepted`; the pinned table: here, and `json_corpus` |
//! | H4 encodings | `json::tests::refusals_carry_…`; the pinned table: here |
//! | H5 trailing data | `json::tests::broken_json_is_told_in_words`; the pinned table: here |
//! | H6 linear work | here, counted in instructions by valgrind where `RESOLVERD_FULL=1` is set and valgrind is there; bytes walked for places: `error::tests::no_reader_walks_…` |
//! | H7 patterns | globs of files: `include::tests::many_steps_cost_no_more_than_their_number`, `…any_text_is_a_pattern_or_is_refused_…`; of ids: `policy::tests`; of forges, which are plain texts: `forge::tests` |
//! | H8 TOML bombs | here; YAML, which is read for its calls alone: `compose::tests`, `calls::a_compose_file_that_says_nothing_…`, and here |
//! | H9 sizes | here |
//! | H10 escaped output | `error::tests`, `cli::render::tests::nothing_foreign_reaches_…`, `attack::j14_…`; the verbs: here |
//! | H11 graphs | `resolve::tests::solving`: `what_requires_itself_in_a_circle_…`, `a_chain_of_any_length_…`, `a_search_ends_where_it_is_told_to`, `requirements_and_intervals_count_as_work`; `solve::h11_chains_fans_and_circles_…`, `…a_search_that_goes_on_for_too_long_…`, `…ends_when_its_client_goes_away`; `socket::ten_thousand_ids_…` |
//! | H12 fuzzing | `fuzz::no_seed_and_no_mutation_of_one_breaks_a_reader`, and `resolverd/fuzz/run.sh` |

use std::path::Path;
use std::process::{Command, Stdio};

use catalogue_schema::compose::{self, COMPOSE_BYTES_MAX};
use catalogue_schema::dialect::lcod::convert::{Format, convert};
use catalogue_schema::error::ParseError;
use catalogue_schema::forge::Forges;
use catalogue_schema::{json, sources};
use resolverd::api::{LookupRequest, read_body};
use serde_json::{Value, json};

use crate::attack::dangerous;
use crate::harness::daemon::Sandbox;
use crate::harness::place;
use crate::harness::repository::{Files, Repository};

/// Reads bytes and gives the reason of a refusal.
type Reader = fn(&[u8]) -> Option<String>;
/// Makes an input of about so many bytes.
type Growing = fn(usize) -> String;

/// Every reader of a whole JSON document from outside, by name.
const READERS: &[(&str, Reader)] = &[
    ("strict", |bytes| reason(json::check(bytes).map(drop))),
    ("sources", |bytes| reason(sources::read(bytes, Path::new("/srv"), &Forges::default()).map(drop))),
    ("catalogue", |bytes| reason(convert(bytes, Format::Catalogue).map(drop))),
    ("request", |bytes| Some(read_body::<LookupRequest>(bytes).err()?.reason.to_string())),
];

fn reason(read: Result<(), ParseError>) -> Option<String> {
    read.err().map(|error| error.reason.to_string())
}

/// Says that every reader refuses `bytes` for `expected`.
fn check_refused(bytes: impl AsRef<[u8]>, expected: &str) {
    let bytes = bytes.as_ref();
    let shown: String = String::from_utf8_lossy(bytes).chars().take(80).collect();
    for (name, read) in READERS {
        assert_eq!(read(bytes).as_deref(), Some(expected), "{name}: {shown}");
    }
}

#[test]
fn h1_no_reader_takes_a_key_twice() {
    for text in [
        r#"{"schema":"lcod-registry/catalogue@1","schema":"x"}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"sources":[],"\u0073ources":[]}"#,
        r#"{"a":{"b":[{"c":1,"d":2,"\u0063":3}]}}"#,
        r#"{"":0,"":0}"#,
        r#"{"é":0,"\u00e9":0}"#,
        r#"{"\ud83d\ude00":0,"😀":0}"#,
    ] {
        check_refused(text, "input.duplicate_key");
    }
    // A sixteenth key and a millionth are found alike.
    for count in [16, 17, 100_000] {
        let keys: String = (0..count).map(|n| format!("\"k{n}\":0,")).collect();
        check_refused(format!("{{{keys}\"k0\":1}}"), "input.duplicate_key");
    }
    // Alike is not the same: normal forms and cases are other keys.
    assert!(json::check("{\"é\":0,\"e\u{301}\":0,\"a\":0,\"A\":0}".as_bytes()).is_ok());
}

#[test]
fn h2_depth_ends_every_reader_before_its_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        for levels in [65, 128, 100_000, 1_000_000] {
            check_refused(open.repeat(levels) + "1" + &close.repeat(levels), "input.depth");
            check_refused(open.repeat(levels), "input.depth");
        }
    }
}

#[test]
fn h3_numbers_are_exact_or_refused() {
    let check = |number: &str, expected: Option<&str>| {
        for text in [number.to_owned(), format!("[{number}]"), format!("{{\"a\":{number}}}")] {
            assert_eq!(reason(json::check(text.as_bytes()).map(drop)).as_deref(), expected, "{text}");
        }
    };
    for number in
        ["0", "-0", "-0.0", "1.0", "0e1", "1E+2", "1e-400", "123e45", "9007199254740991", "-9007199254740991"]
    {
        check(number, None);
    }
    for number in [
        "9007199254740992",
        "-9007199254740992",
        "18446744073709551615",
        "18446744073709551616",
        "1e400",
        "-1e309",
    ] {
        check(number, Some("input.number"));
    }
    check(&"9".repeat(10_000), Some("input.number"));
    for number in [
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "1_000",
        "NaN",
        "Infinity",
        "-Infinity",
        "１",
        "--1",
        "1e1.5",
    ] {
        check(number, Some("input.json"));
    }
    // Where an integer is asked for, nothing else is taken, whatever its value.
    for number in ["1.0", "1e0", "-1", "4294967296", "1.5", "\"1\"", "null", "true"] {
        let file = format!(
            r#"{{"sources":[{{"id":"a","entrypoint":{{"type":"file","path":"c"}},"priority":{number}}}]}}"#
        );
        let read = sources::read(file.as_bytes(), Path::new("/srv"), &Forges::default());
        assert_eq!(read.is_ok(), number == "null", "{number}: {read:?}");
    }
}

#[test]
fn h4_text_is_utf8_without_nul_or_half_characters() {
    let utf16 =
        |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> { text.encode_utf16().flat_map(bytes).collect() };
    for bytes in [
        b"\"\xff\"".to_vec(),
        b"[\"\xc3\x28\"]".to_vec(),
        b"[\"\xed\xa0\x80\"]".to_vec(),
        b"[\"\xf8\x88\x80\x80\x80\"]".to_vec(),
        b"[\"\xc0\xaf\"]".to_vec(),
        b"{\"a\":\"\x00\"}".to_vec(),
        b"\x00".to_vec(),
        utf16("{\"a\":1}", u16::to_le_bytes),
        utf16("{\"a\":1}", u16::to_be_bytes),
        utf16("\u{feff}{}", u16::to_le_bytes),
        br#"["\u0000"]"#.to_vec(),
        br#"{"a\u0000b":1}"#.to_vec(),
        br#"["\ud800"]"#.to_vec(),
        br#"["\udc00\ud800"]"#.to_vec(),
        br#"["\ud800\u0041"]"#.to_vec(),
    ] {
        check_refused(bytes, "input.encoding");
    }
    // One mark is skipped, a second is no JSON.
    assert!(json::check("\u{feff}{}".as_bytes()).is_ok());
    assert!(json::check("\u{feff}\u{feff}{}".as_bytes()).is_err());
}

#[test]
fn h5_nothing_stands_behind_a_document() {
    for text in
        ["{}{}", "{} {}", "{},", "{}]", "{}\u{b}", "{}//", "{}/**/", "{}#", "{}\u{a0}", "{}x", "{}\u{feff}"]
    {
        check_refused(text, "input.json");
    }
    for text in [
        "[1,]",
        "{\"a\":1,}",
        "{'a':1}",
        "{a:1}",
        "[\"\t\"]",
        "[\"\\x\"]",
        "[\"\\u12\"]",
        "{\"a\"}",
        "{1:1}",
        "[1 2]",
        "tru",
        "nulll",
    ] {
        assert_eq!(reason(json::check(text.as_bytes()).map(drop)).as_deref(), Some("input.json"), "{text}");
    }
}

/// Returns a catalogue of about `bytes` bytes.
fn large(bytes: usize) -> String {
    let component = |n: usize| {
        format!(
            r#"{{"id":"lcod://large/part{n}","versions":[{{"version":"1.0.0","manifest":"m/{n}.json"}}]}}"#
        )
    };
    let rows: Vec<String> = (0..bytes / 85).map(component).collect();
    format!(r#"{{"schema":"lcod-registry/catalogue@1","id":"large/all","components":[{}]}}"#, rows.join(","))
}

/// Inputs whose work could grow faster than they do, each at a size.
const GROWING: &[(&str, Growing)] = &[
    ("components", large),
    ("keys of one object", |bytes| {
        let keys: Vec<String> = (0..bytes / 14).map(|n| format!("\"k{n:07}\":0")).collect();
        format!("{{{}}}", keys.join(","))
    }),
    ("keys that a fixed hash puts together", |bytes| {
        let keys: Vec<String> = (0..bytes as u64 / 21).map(|n| format!("\"{:016x}\":0", n << 44)).collect();
        format!("{{{}}}", keys.join(","))
    }),
    ("bad rows", |bytes| {
        let rows = vec![r#"{"id":"no id","versions":[]}"#; bytes / 30];
        format!(r#"{{"schema":"lcod-registry/catalogue@1","id":"a/b","components":[{}]}}"#, rows.join(","))
    }),
    ("one long string", |bytes| format!("[\"{}\"]", "x".repeat(bytes))),
    ("escapes", |bytes| format!("[\"{}\"]", "\\u0041".repeat(bytes / 6))),
    ("a bad end", |bytes| format!("[{}x", "1,\n".repeat(bytes / 3))),
    ("wide numbers", |bytes| format!("[{}18446744073709551616]", "1e20,".repeat(bytes / 5))),
];

/// Documents of other kinds whose work could grow faster than they do: the file, the verb that reads it, and it at a size.
const GROWING_ELSEWHERE: &[(&str, &str, &[&str], Growing)] = &[
    ("sources of a policy", "trust.toml", LINT, |bytes| {
        filled(bytes, POLICY, |n| {
            format!("\n[[sources]]\nid = \"large-{n:05}\"\nhosts = [\"h{n:05}.example\"]\n")
        })
    }),
    ("namespaces of a policy", "trust.toml", LINT, |bytes| {
        filled(bytes, POLICY, |n| {
            let source = format!("\n[[sources]]\nid = \"large-{n:05}\"\n");
            format!(
                "{source}\n[[namespaces]]\nmatch = \"lcod://large/part{n:05}/**\"\nsources = [\"large-{n:05}\"]\nrequire = \"digest\"\n"
            )
        })
    }),
    // None of the key files is there, which is looked for when the policy has been read.
    ("keys and sets of a policy", "trust.toml", LINT, |bytes| {
        filled(bytes, POLICY, |n| {
            let key = format!(
                "\n[[keys]]\nid = \"key-{n:05}\"\nalgorithm = \"ed25519\"\nfile = \"{n:05}.pem\"\nfingerprint = \"sha256:{n:064x}\"\nusage = [\"package\"]\n"
            );
            let set =
                format!("\n[[signers]]\nname = \"set-{n:05}\"\nkeys = [\"key-{n:05}\"]\nthreshold = 1\n");
            format!(
                "{key}{set}\n[[namespaces]]\nmatch = \"lcod://large/part{n:05}/**\"\nsources = [\"large\"]\nrequire = \"signature\"\nsigned_by = \"set-{n:05}\"\n"
            )
        })
    }),
    ("sources", "sources.json", &["convert", "--to", "sources", "sources.json"], |bytes| {
        let row =
            |n| format!(r#"{{"id":"large-{n:05}","entrypoint":{{"type":"file","path":"c{n:05}.json"}}}},"#);
        filled(bytes, r#"{"sources":["#, row)
            + r#"{"id":"last","entrypoint":{"type":"file","path":"c.json"}}]}"#
    }),
    ("a lock", "resolverd.lock", &["check", "resolverd.lock", "--sources", NOTHING], |bytes| {
        filled(bytes, "schema = \"resolverd/lock@1\"\n", |n| {
            format!(
                "\n[[components]]\nid = \"lcod://large/part{n:05}\"\nversion = \"1.0.0\"\nsource = \"large\"\ncatalogue = \"all\"\nrequested = [\"lcod://large/part{n:05}@^1.0\"]\n"
            )
        })
    }),
    ("a project", "lcp.toml", &["lock", "--native", "lcod://large/", "--sources", NOTHING], |bytes| {
        let head = "schemaVersion = \"2.0\"\nid = \"lcod://large/all@1.0.0\"\n[deps]\nrequires = [\n";
        filled(bytes, head, |n| format!("  \"lcod://large/part{n:05}@^1.0\",\n")) + "]\n"
    }),
];

const LINT: &[&str] = &["policy", "lint", "trust.toml"];
const POLICY: &str = "schema = \"resolverd/trust@1\"\nversion = 1\n";
/// A sources file without sources.
const NOTHING: &str = "nothing.json";

/// Returns a document of about `bytes` bytes: as many entries as they have room for, and one at least.
fn filled(bytes: usize, head: &str, entry: impl Fn(usize) -> String) -> String {
    let count = (bytes / entry(0).len()).max(1);
    head.to_owned() + &(0..count).map(entry).collect::<String>()
}

/// That they end is the case; how the work grows is counted below. `RESOLVERD_FULL=1` takes 4 MiB of each.
#[test]
fn h6_large_and_hostile_inputs_end() {
    let bytes = if place::variable("RESOLVERD_FULL").is_some() { 4 << 20 } else { 64 << 10 };
    for (name, make) in GROWING {
        let text = make(bytes);
        for (reader, read) in READERS {
            let refused = read(text.as_bytes());
            assert!(refused.is_some() || *reader != "sources", "{name} is no file of sources");
        }
    }
    // Keys that a fixed hash would put into one bucket: the hash has a key that nobody outside knows.
    let keys: Vec<String> = (0..50_000_u64).map(|n| format!("\"{:016x}\":0", n << 48)).collect();
    assert!(json::check(format!("{{{}}}", keys.join(",")).as_bytes()).is_ok());
}

/// Instructions of the whole verb, less those of a tiny input: what the bytes cost. Needs valgrind.
#[test]
fn h6_twice_the_size_is_at_most_2_3_times_the_instructions() {
    if place::variable("RESOLVERD_FULL").is_none() {
        return;
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        return place::skipped("valgrind is not there: nothing counts instructions");
    }
    let convert: &[&str] = &["convert", "--to", "catalogue", "document.json"];
    let converted = GROWING.iter().map(|(name, make)| (*name, "document.json", convert, *make));
    for (name, file, verb, make) in converted.chain(GROWING_ELSEWHERE.iter().copied()) {
        let cost = |bytes: usize| instructions(verb, file, &make(bytes));
        let (none, half, whole) = (cost(64), cost(16 << 10), cost(32 << 10));
        let ratio = (whole - none) as f64 / (half - none) as f64;
        eprintln!("{name}: {} and {} instructions, {ratio:.2} times", half - none, whole - none);
        assert!(ratio <= 2.3, "{name}: {ratio:.2}");
    }
}

/// Returns how many instructions a verb runs where nobody has run one before, beside a file.
fn instructions(verb: &[&str], file: &str, text: &str) -> u64 {
    let place = tempfile::tempdir().unwrap();
    let (directory, counts) = (place.path(), place.path().join("counts"));
    std::fs::write(directory.join(file), text).unwrap();
    std::fs::write(directory.join(NOTHING), "{\"sources\":[]}").unwrap();
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--log-file={}", counts.display()))
        .arg(env!("CARGO_BIN_EXE_resolverd"))
        .args(verb)
        .current_dir(directory)
        .env("HOME", directory)
        .output()
        .unwrap();
    let log = std::fs::read_to_string(&counts).unwrap();
    let collected = log
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .unwrap_or_else(|| panic!("{output:?} {log}"));
    collected.1.trim().parse().unwrap()
}

#[test]
fn h8_descriptors_are_bounded_toml() {
    let rows =
        |path: &str| format!(r#"[{{"id":"lcod://bomb/part@1.0.0","composePath":"{path}/compose.yaml"}}]"#);
    let good = "schemaVersion = \"2.0\"\nid = \"lcod://bomb/part@1.0.0\"\n";
    let laughs = "a: &a [lol,lol]\nb: &b [*a,*a]\nc: [*b,*b]\n";
    let cases = [
        ("arrays", format!("{good}x = {}", "[".repeat(100_000)), false),
        ("tables", format!("{good}{}", "[a.a.a.a.a.a.a.a]\n".repeat(2)), false),
        ("dotted", format!("{good}{} = 1", vec!["a"; 50_000].join(".")), false),
        ("inline", format!("{good}x = {}", "{a=".repeat(50_000)), false),
        ("twice", format!("{good}id = \"lcod://bomb/part@1.0.0\"\n"), false),
        ("yaml", laughs.to_owned(), false),
        ("good", good.to_owned(), true),
    ];
    let place = tempfile::tempdir().unwrap();
    for (name, lcp, is_taken) in cases {
        let repository = Repository::create(&place.path().join(name));
        repository.commit(&Files::from([
            ("c.json".to_owned(), rows("c").into_bytes()),
            ("c/lcp.toml".to_owned(), lcp.into_bytes()),
            ("c/compose.yaml".to_owned(), laughs.as_bytes().to_vec()),
        ]));
        let sandbox = Sandbox::with_sources(&json!({"sources": [{"id": "bomb", "entrypoint":
            {"type": "file", "path": repository.path.join("c.json")}}]}));
        let said = sandbox.run(&["sync", "-o", "json"]);
        assert!(said.status == 0, "{name}: {said:?}");
        let info = sandbox.run(&["info", "lcod://bomb/part@1.0.0", "-o", "json"]);
        let answer: Value = serde_json::from_str(&info.stdout).unwrap_or_default();
        let verdict = answer["trust"]["verdict"].as_str().unwrap_or_default();
        assert_eq!(info.status == 0 && verdict != "refused", is_taken, "{name}: {info:?}");
        assert!(!info.stderr.contains("panicked") && !said.stderr.contains("panicked"), "{name}: {info:?}");
    }
}

#[test]
fn h8_compose_files_are_bounded_yaml() {
    let bytes = if place::variable("RESOLVERD_FULL").is_some() { COMPOSE_BYTES_MAX } else { 32 << 10 };
    let pieces = [
        "[",
        "{a: ",
        "{",
        "- ",
        "? ",
        "&a ",
        "*a ",
        "!a ",
        "!!str ",
        "\t",
        "# a\n",
        "---\n",
        "...\n",
        "a ",
        "a: ",
        "a:\n",
        " >\n",
        "|\n ",
        "'' ",
        "'",
        "\"",
        "\"\\",
        ":",
        "-",
        ",",
        "%YAML 1.2\n",
        "%TAG ! a\n",
        "\r\n",
        "\0",
        "<<: *a\n",
        "- call: a\n",
        "[],",
        "{},",
        "é",
    ];
    for piece in pieces {
        for before in ["", "a: ", "compose:\n- ", "a: &a []\ncompose: ["] {
            let text = format!("{before}{}", piece.repeat((bytes - before.len()) / piece.len()));
            if let Err(error) = compose::calls(text.as_bytes()) {
                assert!(error.to_string().lines().count() == 1, "{before}{piece}: {error}");
            }
        }
    }
}

#[test]
fn h9_sizes_beyond_every_integer_are_refused() {
    for size in [
        "9223372036854775808",
        "18446744073709551615",
        "-1",
        "1e30",
        "99999999999999999999999999",
        "\"5\"",
        "1.5",
    ] {
        let text = format!(
            r#"{{"schema":"lcod-registry/catalogue@1","id":"a/b","components":[{{"id":"lcod://a/b","versions":[{{"version":"1.0.0","manifest":"m","size":{size}}}]}}]}}"#
        );
        // A field that nobody reads may hold what JSON allows; nothing may overflow.
        for (_, read) in READERS {
            let _ = read(text.as_bytes());
        }
        let file = format!(
            r#"{{"sources":[{{"id":"a","entrypoint":{{"type":"file","path":"c"}},"priority":{size},"max_stale_s":{size}}}]}}"#
        );
        assert!(sources::read(file.as_bytes(), Path::new("/srv"), &Forges::default()).is_err(), "{size}");
    }
}

/// Texts that an operator must not be fooled by.
const NAUGHTY: &[&str] = &[
    "x\u{1b}[2J\u{1b}]0;title\u{7}",
    "a\r\nerror: forged\n",
    "\u{202e}txt.exe\u{2066}\u{2069}\u{200b}\u{feff}",
    "\u{85}\u{2028}\u{2029}\u{9b}31m",
    "\u{7f}\u{8}\u{8}",
    "%s%n${x}`id`$(id)",
];

#[test]
fn h10_no_verb_prints_what_moves_the_cursor_or_reorders_text() {
    let place = tempfile::tempdir().unwrap();
    let repository = Repository::create(&place.path().join("r"));
    let rows: Vec<Value> = NAUGHTY
        .iter()
        .enumerate()
        .map(|(n, text)| {
            json!({"id": format!("lcod://naughty/part{n}"), "name": text, "summary": text, "description": text,
                "keywords": [text], "license": text, "category": text, "versions": [
                    {"version": "1.0.0", "manifest": format!("m{n}.json"), "yanked": true, "yankedReason": text},
                    {"version": "1.1.0", "manifest": text}, {"version": text, "manifest": "m.json"}]})
        })
        .chain(NAUGHTY.iter().map(|text| json!({"id": text, "versions": []})))
        .collect();
    let catalogue = json!({"schema": "lcod-registry/catalogue@1", "id": "naughty/all", "description": NAUGHTY[0], "components": rows});
    let mut files = Files::from([("c.json".to_owned(), catalogue.to_string().into_bytes())]);
    for (n, text) in NAUGHTY.iter().enumerate() {
        let manifest = json!({"schema": "lcod-registry/manifest@1", "id": format!("lcod://naughty/part{n}@1.0.0"),
            "version": "1.0.0", "summary": text, "description": text, "name": text, "tags": [text], "license": text, "kind": text});
        files.insert(format!("m{n}.json"), manifest.to_string().into_bytes());
    }
    repository.commit(&files);
    let list: Vec<Value> = NAUGHTY
        .iter()
        .map(|text| json!({"id": text, "kind": "file", "path": text}))
        .chain([
            json!({"id": "naughty/all", "kind": "file", "path": "c.json"}),
            json!({"id": "other", "kind": "file", "path": "gone\u{1b}.json"}),
        ])
        .collect();
    files.insert(
        "catalogues.json".to_owned(),
        json!({"schema": "lcod-registry/catalogues@1", "catalogues": list}).to_string().into_bytes(),
    );
    repository.commit(&files);
    for entry in ["c.json", "catalogues.json"] {
        let sandbox = Sandbox::with_sources(&json!({"sources": [{"id": "naughty", "entrypoint":
            {"type": "file", "path": repository.path.join(entry)}}]}));
        let said = sandbox.run(&["sync"]);
        let mut told = said.stdout + &said.stderr;
        let hostile = NAUGHTY[2];
        for verb in [
            &["components"][..],
            &["sources"],
            &["catalogues"],
            &["status"],
            &["search", "x"],
            &["doctor"],
            &["info", "lcod://naughty/part0"],
            &["info", "lcod://naughty/part1@1.0.0"],
            &["versions", "lcod://naughty/part2"],
            &["explain", "lcod://naughty/part0"],
            &["why", "lcod://naughty/part3"],
            &["resolve", "lcod://naughty/part0@1.0.0"],
            &["resolve", hostile],
            &["info", hostile],
            &["search", hostile],
            &["sync", hostile],
            &["components", "--source", hostile],
            &[hostile],
        ] {
            let said = sandbox.run(verb);
            assert!(!said.stderr.contains("panicked"), "{verb:?}: {}", said.stderr);
            for (stream, text) in [("stdout", &said.stdout), ("stderr", &said.stderr)] {
                assert_eq!(dangerous(text), None, "{entry} {verb:?} {stream}: {text:?}");
                assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{verb:?}: {text}");
            }
            told.push_str(&said.stdout);
        }
        assert_eq!(dangerous(&told), None, "{told:?}");
        assert!(told.contains("naughty"), "{told}");
    }
}
