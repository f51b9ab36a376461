//! `doctor` names what is wrong and changes nothing; `doctor --repair` gives the same answers back, offline, whatever
//! happened to the index, and touches nothing that is remembered.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use catalogue_schema::digest::Digest;
use serde_json::{Value, json};

use crate::daemon::sample;
use crate::harness::daemon::{Said, Sandbox};
use crate::harness::poll;

/// Runs `doctor` and returns its exit status and its JSON.
fn doctor(sandbox: &Sandbox, flags: &[&str]) -> (i32, Value) {
    let said = sandbox.run(&[&["doctor", "-o", "json"], flags].concat());
    let answer =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{flags:?}: {error}: {said:?}"));
    (said.status, answer)
}

/// Returns the findings of a kind.
fn findings<'a>(answer: &'a Value, state: &str) -> Vec<&'a Value> {
    answer["findings"].as_array().unwrap().iter().filter(|finding| finding["state"] == state).collect()
}

/// Makes a sandbox whose state was synced in process.
fn synced() -> Sandbox {
    let sandbox = Sandbox::with_sources(&sample());
    let said = sandbox.run(&["sync"]);
    assert_eq!(said.status, 0, "{said:?}");
    sandbox
}

/// What lies below a directory: per path its mode, its modification time and its bytes.
fn contents(directory: &Path) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(at) = waiting.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let bytes = if metadata.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            if metadata.is_dir() {
                waiting.push(path.clone());
            }
            found.insert(path, (metadata.mode(), metadata.mtime_nsec(), bytes));
        }
    }
    found
}

/// The bytes of everything that is kept and is no index.
fn remembered(sandbox: &Sandbox) -> BTreeMap<PathBuf, Vec<u8>> {
    let state = sandbox.state();
    let mut all = contents(&state);
    all.retain(|path, (mode, ..)| {
        let name = path.strip_prefix(&state).unwrap().to_string_lossy().into_owned();
        mode_is_file(*mode) && !name.starts_with("index") && name != "lock" && !name.contains(".bad-")
    });
    let sources = std::fs::read(sandbox.sources()).unwrap();
    let kept = all.into_iter().map(|(path, (_, _, bytes))| match path.ends_with("trust-state.json") {
        true => (path, without_the_clock(&bytes)),
        false => (path, bytes),
    });
    kept.chain([(sandbox.sources(), sources)]).collect()
}

/// Any process that opens the store notes the time once it has moved on by a minute; that is not what a repair may touch.
fn without_the_clock(memory: &[u8]) -> Vec<u8> {
    let Ok(mut memory) = serde_json::from_slice::<Value>(memory) else { return memory.to_vec() };
    memory["checksum"] = Value::Null;
    memory["content"]["highest_s"] = Value::Null;
    serde_json::to_vec(&memory).unwrap()
}

fn mode_is_file(mode: u32) -> bool {
    mode & 0o170_000 == 0o100_000
}

/// Everything that is answered, byte for byte.
fn answers(sandbox: &Sandbox) -> Vec<String> {
    let mut all = Vec::new();
    for arguments in [
        &["components", "--limit", "1000"][..],
        &["catalogues"],
        &["resolve", "lcod://acme/billing/invoice@1", "lcod://tooling/text/slug"],
        &["resolve", "lcod://community/demo/hello"],
        &["info", "lcod://acme/billing/invoice"],
        &["info", "lcod://acme/billing/tax@1.0.0"],
    ] {
        let said = sandbox.run(&[arguments, &["--offline", "-o", "json"]].concat());
        assert_eq!(said.status, 0, "{arguments:?}: {said:?}");
        // Time passes between two answers.
        all.extend(said.stdout.lines().filter(|line| !line.contains("ageSeconds")).map(str::to_owned));
    }
    all
}

#[test]
fn a_sound_set_up_has_nothing_wrong_and_is_not_touched() {
    let sandbox = synced();
    let before = contents(&sandbox.path(""));
    for flags in [&[][..], &["--deep"], &["-q"]] {
        let (status, answer) = doctor(&sandbox, flags);
        assert_eq!((status, &answer["wrong"]), (0, &json!(0)), "{answer:#}");
        assert!(answer.to_string().contains("agrees with generation 1"), "{answer:#}");
    }
    assert!(contents(&sandbox.path("")) == before, "an examination changed something");

    let daemon = sandbox.start();
    let (status, answer) = doctor(&sandbox, &[]);
    assert_eq!((status, &answer["wrong"]), (0, &json!(0)), "{answer:#}");
    let said = answer.to_string();
    assert!(said.contains(&format!("held by process {}", daemon.pid())), "{said}");
    assert!(said.contains("serves generation 1"), "{said}");
    let text = sandbox.run(&["doctor"]);
    assert!(text.status == 0 && text.stdout.ends_with("0 wrong\n"), "{text:?}");
}

#[test]
fn a_machine_without_anything_is_told_what_to_write() {
    let sandbox = Sandbox::new();
    let (status, answer) = doctor(&sandbox, &[]);
    let wrong = findings(&answer, "wrong");
    assert_eq!((status, wrong.len()), (1, 1), "{answer:#}");
    assert_eq!((&wrong[0]["check"], &wrong[0]["found"]), (&json!("sources"), &json!("not there")));
    assert!(!sandbox.state().exists() && !sandbox.socket().exists(), "nothing is made");
}

/// Breaks something.
type Break = fn(&Sandbox);

fn replace_by_directory(path: &Path) {
    std::fs::remove_file(path).unwrap();
    std::fs::create_dir(path).unwrap();
}

fn garble(directory: &Path) {
    for (path, (mode, _, bytes)) in contents(directory) {
        if mode_is_file(mode) {
            let garbled: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x5a).collect();
            std::fs::write(path, garbled).unwrap();
        }
    }
}

fn cut(directory: &Path) {
    for (path, (mode, _, bytes)) in contents(directory) {
        if mode_is_file(mode) {
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
}

fn write_config(sandbox: &Sandbox, text: &str) {
    let directory = sandbox.path("config/resolverd");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("config.toml"), text).unwrap();
}

#[test]
fn whatever_is_broken_is_named_with_its_next_step() {
    let cases: &[(&str, &str, &str, Break)] = &[
        ("config", "unknown field `sorces`", "edit ", |s| {
            write_config(s, "offline = true\nsorces = \"x\"\n")
        }),
        ("config", "line 2", "edit ", |s| write_config(s, "offline = true\n[limits\n")),
        ("config", "line 3", ".estream/config.toml", |s| {
            std::fs::create_dir_all(s.path("home/.estream")).unwrap();
            std::fs::write(s.path("home/.estream/config.toml"), "[registry]\n\ndefault = 7\n").unwrap();
        }),
        ("sources", "line 1", "edit ", |s| s.write_sources_text("{\"sources\": 7}")),
        ("sources", "not there", "--sources", |s| std::fs::remove_file(s.sources()).unwrap()),
        ("store.index", "", "doctor --repair", |s| garble(&s.state().join("index"))),
        ("store.index", "", "doctor --repair", |s| cut(&s.state().join("index"))),
        ("store.index", "not there", "doctor --repair", |s| {
            std::fs::remove_dir_all(s.state().join("index")).unwrap()
        }),
        ("store.generation", "", "doctor --repair", |s| {
            std::fs::write(s.state().join("current"), "{").unwrap()
        }),
        ("store.generation", "no generation file", "sync", |s| {
            std::fs::write(s.state().join("generations/1.json"), "{}").unwrap()
        }),
        ("state.entry", "a directory", "doctor --repair", |s| {
            replace_by_directory(&s.state().join("current"))
        }),
        ("state.entry", "a directory", "doctor --repair", |s| {
            replace_by_directory(&s.state().join("generations/1.json"))
        }),
        ("state.entry", "a directory", "mv ", |s| replace_by_directory(&s.state().join("lock"))),
        ("state.entry", "a symbolic link", "mv ", |s| {
            std::fs::rename(s.state().join("shelf"), s.path("elsewhere")).unwrap();
            symlink(s.path("elsewhere"), s.state().join("shelf")).unwrap();
        }),
        ("shelf", "27 of 27 documents", "sync", |s| {
            std::fs::remove_dir_all(s.state().join("shelf")).unwrap()
        }),
        ("shelf", "damaged", "sync", |s| garble_tails(&s.state().join("shelf/packs"))),
        ("state", "lets others write", "chmod 700", |s| {
            std::fs::set_permissions(s.state(), Permissions::from_mode(0o777)).unwrap()
        }),
        ("state", "a file", "--state-dir", |s| {
            std::fs::remove_dir_all(s.state()).unwrap();
            std::fs::write(s.state(), "").unwrap();
        }),
        ("socket", "a file", "--socket", |s| {
            std::fs::create_dir(s.path("run")).unwrap();
            std::fs::write(s.socket(), "").unwrap();
        }),
        ("socket.directory", "mode 0777", "chmod 700", |s| {
            std::fs::create_dir(s.path("run")).unwrap();
            std::fs::set_permissions(s.path("run"), Permissions::from_mode(0o777)).unwrap();
        }),
        ("store.memory", "", "backup", |s| std::fs::write(s.state().join("trust-state.json"), "{").unwrap()),
        ("clock", "trust-state.json", "set the clock", |s| {
            let text = sealed("resolverd/trust-state@1", "{\"highest_s\":99999999999,\"documents\":[]}");
            std::fs::write(s.state().join("trust-state.json"), text).unwrap();
        }),
        ("store.memory", "digest", "backup", |s| {
            let text = sealed("resolverd/trust-state@1", "{\"highest_s\":1,\"documents\":[]}");
            std::fs::write(s.state().join("trust-state.json"), text.replace(":1,", ":2,")).unwrap();
        }),
        ("socket.admin_group", "nobody-s-group", "group", |s| {
            std::fs::create_dir_all(s.path("config/resolverd")).unwrap();
            let config = "admin_group = \"nobody-s-group\"\n";
            std::fs::write(s.path("config/resolverd/config.toml"), config).unwrap();
        }),
        ("clock", "checks.json", "set the clock", |s| {
            std::fs::write(s.state().join("checks.json"), checks_sealed("{\"acme\":99999999999}")).unwrap()
        }),
    ];
    let pristine = synced();
    for (check, found, hint, strike) in cases {
        let sandbox = copy_of(&pristine);
        strike(&sandbox);
        let (status, answer) = doctor(&sandbox, &[]);
        let wrong = findings(&answer, "wrong");
        let has = |one: &&&Value| {
            let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            text("check") == *check && text("found").contains(found) && text("hint").contains(hint)
        };
        assert!(status == 1 && wrong.iter().any(|one| has(&one)), "{check} {found}: {status} {answer:#}");
        assert!(wrong.iter().all(|one| one["hint"].is_string()), "{check} {found}: {wrong:#?}");
    }
}

/// Changes the last byte of every document's file, which no head of a frame shows.
fn garble_tails(directory: &Path) {
    for (path, (_, _, mut bytes)) in contents(directory) {
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
}

/// Returns a sandbox with the same sources file and a copy of the state.
fn copy_of(pristine: &Sandbox) -> Sandbox {
    let sandbox = Sandbox::new();
    std::fs::copy(pristine.sources(), sandbox.sources()).unwrap();
    let state = pristine.state();
    std::fs::create_dir(sandbox.state()).unwrap();
    std::fs::set_permissions(sandbox.state(), Permissions::from_mode(0o700)).unwrap();
    for (path, (mode, _, bytes)) in contents(&state) {
        let there = sandbox.state().join(path.strip_prefix(&state).unwrap());
        // Paths are sorted, so that a directory comes before what is in it.
        if mode_is_file(mode) {
            std::fs::write(&there, bytes).unwrap();
        } else {
            std::fs::create_dir(&there).unwrap();
        }
        std::fs::set_permissions(there, Permissions::from_mode(mode & 0o7777)).unwrap();
    }
    sandbox
}

#[test]
fn warnings_alone_leave_the_exit_status_at_0() {
    let sandbox = synced();
    let mut sources = sample();
    let mut rows = sources["sources"].as_array().unwrap().clone();
    let mut twin = rows[0].clone();
    (twin["id"], rows[1]["priority"]) = (json!("ac-me"), rows[0]["priority"].clone());
    rows.push(twin);
    sources["sources"] = rows.into();
    sandbox.write_sources(&sources);
    let (status, answer) = doctor(&sandbox, &[]);
    let warnings =
        Value::from(findings(&answer, "warning").into_iter().cloned().collect::<Vec<Value>>()).to_string();
    assert_eq!((status, &answer["status"]), (0, &json!("warning")), "{answer:#}");
    for word in ["all have priority", "the same document", "mistaken for one another"] {
        assert!(warnings.contains(word), "{word}: {warnings}");
    }
}

#[test]
fn a_catalogue_that_was_never_read_is_named_below_its_source() {
    let sandbox = Sandbox::new();
    std::fs::write(
        sandbox.path("list.json"),
        r#"{"schema": "lcod-registry/catalogues@1", "catalogues": [{"id": "std", "path": "none.json"}]}"#,
    )
    .unwrap();
    sandbox.write_sources(&json!({ "sources": [{ "id": "acme", "path": sandbox.path("list.json") }] }));
    assert_eq!(sandbox.run(&["sync"]).status, 0);
    let (status, answer) = doctor(&sandbox, &[]);
    assert_eq!((status, &answer["status"]), (0, &json!("warning")), "{answer:#}");
    let warnings = findings(&answer, "warning");
    // Where the sandbox lies may be worth another one.
    let found: Vec<&Value> = warnings.iter().filter(|one| one["check"] == "catalogue").copied().collect();
    assert_eq!(found.len(), 1, "{answer:#}");
    let text = |name: &str| found[0][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("subject"), "acme/std", "{answer:#}");
    assert!(
        text("found").starts_with("never read: ") && text("found").contains("file_missing"),
        "{answer:#}"
    );
    assert!(text("hint").contains("resolverd sync acme"), "{answer:#}");
}

#[test]
fn a_repaired_store_answers_as_before() {
    let pristine = synced();
    let expected = (answers(&pristine), remembered_names(&pristine));
    let cases: &[(&str, Break)] = &[
        ("removed", |s| std::fs::remove_dir_all(s.state().join("index")).unwrap()),
        ("garbled", |s| garble(&s.state().join("index"))),
        ("cut", |s| cut(&s.state().join("index"))),
        ("emptied", |s| {
            for (path, (mode, ..)) in contents(&s.state().join("index")) {
                if mode_is_file(mode) {
                    std::fs::write(path, "").unwrap();
                }
            }
        }),
        ("a file", |s| {
            std::fs::remove_dir_all(s.state().join("index")).unwrap();
            std::fs::write(s.state().join("index"), "x").unwrap();
        }),
        ("half made", |s| {
            std::fs::rename(s.state().join("index"), s.state().join("index.new")).unwrap();
            std::fs::write(s.state().join("generations/.tmp-x"), "x").unwrap();
        }),
    ];
    for (name, strike) in cases {
        let sandbox = copy_of(&pristine);
        strike(&sandbox);
        std::fs::remove_file(sandbox.state().join("generations/.tmp-x")).ok();
        let before = remembered(&sandbox);
        let (status, answer) = doctor(&sandbox, &["--repair"]);
        let rebuilt = &answer["repair"]["rebuilt"];
        assert_eq!((status, &rebuilt["isSame"]), (0, &json!(true)), "{name}: {answer:#}");
        assert_eq!(answer["repair"]["left"], json!([]), "{name}");
        assert!(remembered(&sandbox) == before, "{name}: something that is remembered changed");
        assert_eq!((answers(&sandbox), remembered_names(&sandbox)), expected, "{name}");
    }
}

#[test]
fn a_sound_index_stays_where_it_is() {
    let pristine = synced();
    let expected = (answers(&pristine), remembered_names(&pristine));
    let stale = "index/snap.0000000000000010.generating";
    // What is done, how much is said to be removed, and what to be mended.
    let cases: &[(&str, Break, usize, &str)] = &[
        ("nothing", |_| {}, 0, "[]"),
        (
            "a kill",
            |s| std::fs::write(s.state().join("index/snap.0000000000000010.generating"), "").unwrap(),
            1,
            "[]",
        ),
        (
            "no pointer",
            |s| std::fs::remove_file(s.state().join("current")).unwrap(),
            0,
            "no file says which is in force",
        ),
        ("another pointer", |s| std::fs::write(s.state().join("current"), "{").unwrap(), 0, "cannot be read"),
        ("an empty conf", |s| std::fs::write(s.state().join("index/conf"), "").unwrap(), 0, "[]"),
        ("a short conf", |s| std::fs::write(s.state().join("index/conf"), "segmen").unwrap(), 0, "[]"),
    ];
    for (name, strike, removed, mended) in cases {
        let sandbox = copy_of(&pristine);
        strike(&sandbox);
        let mut before = contents(&sandbox.state().join("index"));
        let (status, answer) = doctor(&sandbox, &["--repair"]);
        let repair = &answer["repair"];
        assert_eq!(
            (status, &repair["rebuilt"], &repair["setAside"]),
            (0, &Value::Null, &json!([])),
            "{name}: {answer:#}"
        );
        assert_eq!(
            (&repair["sound"]["generation"], &repair["left"]),
            (&json!(1), &json!([])),
            "{name}: {answer:#}"
        );
        assert_eq!(repair["removed"].as_array().unwrap().len(), *removed, "{name}: {answer:#}");
        assert!(repair["mended"].to_string().contains(mended), "{name}: {answer:#}");
        assert!(
            findings(&answer, "warning").iter().all(|one| one["check"] != "state.leftover"),
            "{name}: {answer:#}"
        );
        // Where nothing is wrong beside the index, its files are not written to.
        if *mended == "[]" {
            let mut after = contents(&sandbox.state().join("index"));
            for all in [&mut before, &mut after] {
                all.retain(|path, (mode, ..)| mode_is_file(*mode) && !path.ends_with(stale));
            }
            assert!(before == after, "{name}: the index was written to");
        }
        assert_eq!((answers(&sandbox), remembered_names(&sandbox)), expected, "{name}");
    }
    let text = copy_of(&pristine).run(&["doctor", "--repair"]);
    assert!(text.stdout.starts_with("kept: the index, which agrees with generation 1"), "{text:?}");
    assert!(!text.stderr.contains("WARN"), "{text:?}");
}

#[test]
fn what_was_set_aside_is_said_truly() {
    let sandbox = synced();
    garble(&sandbox.state().join("index"));
    let (status, answer) = doctor(&sandbox, &["--repair"]);
    assert_eq!((status, &answer["repair"]["sound"]), (0, &Value::Null), "{answer:#}");
    let aside = answer["repair"]["setAside"].as_array().unwrap();
    assert!(aside.len() == 1 && aside[0].as_str().unwrap().ends_with("index.bad-1"), "{answer:#}");
    let left = findings(&answer, "warning").into_iter().find(|one| one["check"] == "state.leftover").unwrap();
    assert!(left["found"].as_str().unwrap().contains("could not be read, or did not agree"), "{left:#}");
}

fn remembered_names(sandbox: &Sandbox) -> Vec<String> {
    let state = sandbox.state();
    let inside = |path: &PathBuf| Some(path.strip_prefix(&state).ok()?.display().to_string());
    remembered(sandbox).keys().filter_map(inside).collect()
}

#[test]
fn what_stands_in_the_way_of_a_file_is_set_aside() {
    let sandbox = synced();
    let expected = answers(&sandbox);
    replace_by_directory(&sandbox.state().join("current"));
    std::fs::create_dir(sandbox.state().join("generations/7.json")).unwrap();
    assert_ne!(sandbox.run(&["components", "--offline"]).status, 0, "it is a real obstacle");
    let (status, answer) = doctor(&sandbox, &["--repair"]);
    assert_eq!(status, 0, "{answer:#}");
    let aside = answer["repair"]["setAside"].to_string();
    assert!(aside.contains("current.bad-1") && aside.contains("7.json.bad-1"), "{aside}");
    assert_eq!(answers(&sandbox), expected);
}

#[test]
fn a_repair_beside_a_daemon_says_which_process_to_stop() {
    let sandbox = synced();
    let daemon = sandbox.start();
    let said = sandbox.run(&["doctor", "--repair", "--wait", "0"]);
    assert_eq!((said.status, said.stdout.as_str()), (9, ""), "{said:?}");
    assert!(said.stderr.contains(&format!("hint: kill {}", daemon.pid())), "{said:?}");
    assert_eq!(daemon.get("/livez").status, 200);
}

#[test]
fn a_daemon_that_says_nothing_is_named() {
    let sandbox = synced();
    std::fs::create_dir(sandbox.path("run")).unwrap();
    std::fs::set_permissions(sandbox.path("run"), Permissions::from_mode(0o700)).unwrap();
    // Whoever connects is let in, and never hears a word.
    let _silent = UnixListener::bind(sandbox.socket()).unwrap();
    let (answer, version) = std::thread::scope(|scope| {
        let version = scope.spawn(|| sandbox.run(&["version", "-o", "json"]));
        (doctor(&sandbox, &[]).1, version.join().unwrap())
    });
    let wrong = findings(&answer, "wrong");
    let [one] = &wrong[..] else { panic!("{answer:#}") };
    assert_eq!(one["check"], "daemon", "{one}");
    assert!(one["found"].as_str().unwrap().contains("it said nothing for 10 s"), "{one}");
    assert!(one["hint"].as_str().unwrap().contains("log"), "{one}");
    assert!(version.status == 0 && version.stdout.contains("\"daemon\": null"), "{version:?}");
}

#[test]
fn a_dead_socket_is_named_and_removed() {
    let sandbox = synced();
    sandbox.start().kill();
    let (status, answer) = doctor(&sandbox, &[]);
    assert_eq!(status, 0, "{answer:#}");
    let named = findings(&answer, "warning").iter().any(|one| one["check"] == "socket");
    assert!(named && sandbox.socket().exists(), "{answer:#}");
    let (status, answer) = doctor(&sandbox, &["--repair"]);
    assert_eq!((status, answer["repair"]["removed"].as_array().unwrap().len()), (0, 2), "{answer:#}");
    assert!(!sandbox.socket().exists());
}

#[test]
fn a_sound_index_is_kept_where_the_shelf_gives_back_less() {
    let sandbox = synced();
    let expected = answers(&sandbox);
    std::fs::remove_dir_all(sandbox.state().join("shelf")).unwrap();
    let (status, answer) = doctor(&sandbox, &["--repair"]);
    assert_eq!((status, &answer["repair"]["rebuilt"]), (1, &Value::Null), "{answer:#}");
    assert!(answer["repair"]["left"].to_string().contains("resolverd sync"), "{answer:#}");
    assert_eq!(answers(&sandbox), expected);
    assert_eq!(sandbox.run(&["sync"]).status, 0);
    let (status, answer) = doctor(&sandbox, &["--deep"]);
    assert_eq!(status, 0, "the named step helps: {answer:#}");
}

#[test]
fn nothing_outside_the_state_directory_is_touched_through_a_link() {
    for name in ["index", "shelf", "generations"] {
        let sandbox = synced();
        let outside = sandbox.path("outside");
        std::fs::rename(sandbox.state().join(name), &outside).unwrap();
        garble(&outside);
        symlink(&outside, sandbox.state().join(name)).unwrap();
        let before = contents(&outside);
        let (status, answer) = doctor(&sandbox, &["--repair", "--deep"]);
        assert_eq!((status, &answer["repair"]["rebuilt"]), (1, &Value::Null), "{name}: {answer:#}");
        assert!(contents(&outside) == before, "{name}: {answer:#}");
    }
}

/// Returns the file of checks with `content`, as the daemon writes it.
fn checks_sealed(content: &str) -> String {
    sealed("resolverd/checks@1", content)
}

fn sealed(schema: &str, content: &str) -> String {
    let checksum = Digest::sha256(content.as_bytes());
    format!("{{\"schema\":\"{schema}\",\"checksum\":\"{checksum}\",\"content\":{content}}}")
}

#[test]
fn times_of_checks_that_were_tampered_with_are_not_believed() {
    let sandbox = synced();
    let path = sandbox.state().join("checks.json");
    let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    file["content"]["acme"] = Value::from(4_102_444_800_i64);
    std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    let (status, answer) = doctor(&sandbox, &[]);
    assert_eq!(status, 0, "{answer:#}");
    let clocks = findings(&answer, "wrong");
    assert!(clocks.is_empty(), "the year 2100 is no time of a check: {answer:#}");
    let said = findings(&answer, "warning").into_iter().any(|one| one["check"] == "store.checks");
    assert!(said, "that the times are lost is said: {answer:#}");
    assert!(answer.to_string().contains("never checked"), "{answer:#}");
}

#[test]
fn a_killed_repair_is_repaired_by_the_next() {
    let sandbox = synced();
    let expected = (answers(&sandbox), remembered(&sandbox));
    for round in 0..12 {
        garble(&sandbox.state().join("index"));
        let mut command = sandbox.command();
        command.args(["doctor", "--repair"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        poll::pause(Duration::from_millis(round * 8));
        child.kill().unwrap();
        child.wait().unwrap();
        let (status, answer) = doctor(&sandbox, &["--repair"]);
        assert_eq!(status, 0, "{round}: {answer:#}");
        assert_eq!((answers(&sandbox), remembered(&sandbox)), expected, "{round}");
    }
}

#[test]
fn a_repair_needs_to_know_which_store_is_meant() {
    let sandbox = synced();
    write_config(&sandbox, "state_dir = 7\n");
    let Said { status, stdout, stderr } = sandbox.run(&["doctor", "--repair"]);
    assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
    assert!(stderr.contains("config.toml") && stderr.contains("hint:"), "{stderr}");
}

/// A user and group of no account.
const SOMEBODY: u32 = 65_533;

#[test]
fn a_state_directory_that_cannot_be_written_is_read() {
    let sandbox = synced();
    let expected = sandbox.run(&["resolve", "lcod://tooling/text/slug", "-o", "json"]);
    let all = contents(&sandbox.path(""));
    // Nothing is forbidden to root, so that another user has to be refused.
    let is_root = rustix::process::geteuid().is_root();
    let binary = sandbox.path("resolverd");
    std::fs::copy(env!("CARGO_BIN_EXE_resolverd"), &binary).unwrap();
    let paths = all.keys().chain([&binary]).cloned().chain([sandbox.path("")]);
    for path in paths.filter(|_| is_root) {
        chown(&path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    let set_modes = |strip: u32, add: u32| {
        for (path, (mode, ..)) in all.iter().filter(|(path, _)| path.starts_with(sandbox.state())) {
            std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 & !strip | add)).unwrap();
        }
    };
    set_modes(0o222, 0);
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&binary);
        sandbox.furnish(&mut command);
        if is_root {
            command.uid(SOMEBODY).gid(SOMEBODY);
        }
        Said::of(command.args(arguments))
    };
    let said = run(&["resolve", "lcod://tooling/text/slug", "-o", "json"]);
    assert_eq!((said.status, &said.stdout), (0, &expected.stdout), "{said:?}");
    let status = run(&["status"]);
    assert!(status.status == 0 && status.stdout.contains("degraded"), "{status:?}");
    assert!(status.stdout.contains("store.read_only"), "{status:?}");
    // Nothing is wrong with the configuration.
    assert!(!status.stdout.contains("configuration") && !status.stdout.contains("reload"), "{status:?}");
    for word in [
        "degraded: the state directory cannot be written",
        "answers come from",
        "make the state directory writable",
    ] {
        assert!(status.stdout.contains(word), "{word}: {status:?}");
    }
    let told = run(&["status", "-o", "json"]);
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(told["health"]["configuration"], Value::Null, "{told:#}");
    let degraded = &told["health"]["degraded"][0];
    assert_eq!(
        (&degraded["what"], &degraded["reason"]),
        (&json!("store"), &json!("store.read_only")),
        "{told:#}"
    );
    let sync = run(&["sync"]);
    assert_eq!((sync.status, sync.stdout.as_str()), (1, ""), "nothing can be written: {sync:?}");
    let examined = run(&["doctor", "-o", "json"]);
    assert!(examined.status == 1 && examined.stdout.contains("chmod"), "{examined:?}");
    set_modes(0, 0o600);
}

#[test]
fn an_index_that_nobody_could_compare_is_not_called_sound() {
    let pristine = synced();
    for is_policy_broken in [false, true] {
        let sandbox = copy_of(&pristine);
        for path in contents(&sandbox.state().join("index")).into_keys() {
            if path.is_file() {
                std::fs::remove_file(path).unwrap();
            }
        }
        if is_policy_broken {
            std::fs::create_dir_all(sandbox.path("config/resolverd")).unwrap();
            std::fs::write(sandbox.path("config/resolverd/trust.toml"), "version = \n").unwrap();
        }
        // A copy of the index, in which it is looked at, can be made nowhere.
        let mut command = sandbox.command();
        let said = Said::of(command.env("TMPDIR", "/nonexistent").args(["doctor", "--repair", "-o", "json"]));
        let answer: Value = serde_json::from_str(&said.stdout).unwrap();
        let repair = &answer["repair"];
        assert_eq!(repair["sound"], Value::Null, "{answer:#}");
        assert_eq!(repair["rebuilt"]["isSame"] == true, !is_policy_broken, "{answer:#}");
        assert_eq!(repair["left"] == json!([]), !is_policy_broken, "{answer:#}");
    }
}
