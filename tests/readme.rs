//! The README's console examples are run against a daemon on the sample federation and print what the README shows.
//!
//! A fenced block of the kind `console` holds commands (`$ …`) and below each what it prints on stdout. `[..]` stands for
//! anything inside a line or a JSON text, a line `...` for any number of lines. JSON is compared as JSON, so that the README
//! may lay it out for people. Only `curl` and `resolverd` examples are run; `cargo` and `git` are for the reader.
//!
//! A block of the kind `console operator` is a part of one story, in a home directory of its own: all of its commands are run, with
//! real repositories and OpenSSL, and `resolverd serve` starts the daemon that the later ones ask. One of the kind `console project`
//! is a part of another story, in the directory of a project, with a daemon on the sample federation. `console estream` is that of a
//! registry, in a home directory of its own like the first.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::daemon::sample;
use crate::harness::daemon::{Said, Sandbox};
use crate::harness::place;

const EXAMPLES: &str = "```console";
const STORY: &str = "```console operator";
const PROJECT: &str = "```console project";
const REGISTRY: &str = "```console estream";

/// One command and what it prints.
#[derive(Debug, PartialEq, Eq)]
struct Example {
    line: usize,
    command: String,
    output: String,
}

impl Example {
    /// Runs it as a part of a story, and compares what it prints; what goes wrong on purpose is shown.
    fn play(&self, shell: &mut Command) {
        let Example { line, command, output } = self;
        let said = Said::of(shell.args(["-c", command]));
        assert!(
            agrees(output, &said.stdout),
            "README line {line}: $ {command}\n--- shown\n{output}--- printed\n{}--- said\n{}",
            said.stdout,
            said.stderr
        );
        assert!(said.status == 0 || !output.is_empty(), "README line {line}: {said:?}");
    }
}

/// Returns where a shell finds programs, the one under test first.
fn path() -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_resolverd")).parent().unwrap().display().to_string();
    format!("{binary}:{}", place::variable("PATH").unwrap_or_default())
}

fn examples(text: &str, fence: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        match line.trim_end() {
            line if line == fence => inside = true,
            fence if fence.starts_with("```") => inside = false,
            line if inside => match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => {
                    let (command, output) = (command.to_owned(), String::new());
                    found.push(Example { line: number + 1, command, output });
                }
                (None, Some(last)) if last.output.is_empty() && last.command.ends_with('\\') => {
                    last.command.truncate(last.command.len() - 1);
                    last.command.push_str(line.trim_start_matches("> ").trim_start());
                }
                // A shell asks so for the rest of a command.
                (None, Some(last)) if last.output.is_empty() && line.starts_with("> ") => {
                    last.command.push_str(&format!("\n{}", &line[2..]));
                }
                (None, Some(last)) => last.output.push_str(&format!("{line}\n")),
                (None, None) => panic!("README line {}: output before any command", number + 1),
            },
            _ => {}
        }
    }
    found
}

fn is_run(command: &str) -> bool {
    command.starts_with("curl ")
        || (command.starts_with("resolverd ") && !command.starts_with("resolverd serve"))
}

/// Tells whether `found` is what `shown` shows.
fn agrees(shown: &str, found: &str) -> bool {
    match (serde_json::from_str::<Value>(shown), serde_json::from_str::<Value>(found)) {
        (Ok(shown), Ok(found)) => agrees_json(&shown, &found),
        _ => agrees_lines(&shown.lines().collect::<Vec<_>>(), &found.lines().collect::<Vec<_>>()),
    }
}

fn agrees_json(shown: &Value, found: &Value) -> bool {
    match (shown, found) {
        (Value::String(shown), _) if shown == "[..]" => true,
        (Value::String(shown), Value::String(found)) => agrees_line(shown, found),
        (Value::Array(shown), Value::Array(found)) => {
            shown.len() == found.len()
                && shown.iter().zip(found).all(|(shown, found)| agrees_json(shown, found))
        }
        (Value::Object(shown), Value::Object(found)) => {
            shown.len() == found.len()
                && shown
                    .iter()
                    .all(|(name, shown)| found.get(name).is_some_and(|found| agrees_json(shown, found)))
        }
        _ => shown == found,
    }
}

fn agrees_lines(shown: &[&str], found: &[&str]) -> bool {
    match shown {
        [] => found.is_empty(),
        ["...", rest @ ..] => (0..=found.len()).any(|skip| agrees_lines(rest, &found[skip..])),
        [first, rest @ ..] => {
            found.first().is_some_and(|line| agrees_line(first.trim_end(), line.trim_end()))
                && agrees_lines(rest, &found[1..])
        }
    }
}

fn agrees_line(shown: &str, found: &str) -> bool {
    match shown.split_once("[..]") {
        None => shown == found,
        Some((before, after)) => found.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| agrees_line(after, &rest[at..]))
        }),
    }
}

#[test]
fn the_readme_shows_what_is_printed() {
    let text = std::fs::read_to_string(place::root().join("README.md")).unwrap();
    let examples: Vec<Example> =
        examples(&text, EXAMPLES).into_iter().filter(|one| is_run(&one.command)).collect();
    assert!(!examples.is_empty(), "the README shows no example");
    let curls = examples.iter().filter(|one| one.command.starts_with("curl ")).count();
    if curls > 0 && Command::new("curl").arg("--version").output().is_err() {
        return place::skipped("curl is not installed");
    }
    let sandbox = Sandbox::with_sources(&sample());
    let _daemon = sandbox.start_synced();
    let path = path();
    let mut wrong = Vec::new();
    for Example { line, command, output } in &examples {
        let mut shell = Command::new("sh");
        sandbox.furnish(&mut shell);
        // A reader has named no natives but those that are shown.
        shell.env_remove("RESOLVERD_NATIVES");
        let ran = shell.args(["-c", command]).current_dir(place::root()).env("PATH", &path).output().unwrap();
        let found = String::from_utf8_lossy(&ran.stdout);
        if !agrees(output, &found) {
            let said = String::from_utf8_lossy(&ran.stderr);
            wrong.push(format!(
                "README line {line}: $ {command}\n--- shown\n{output}--- printed\n{found}--- said\n{said}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} examples differ:\n{}", wrong.len(), examples.len(), wrong.join("\n"));
}

/// Plays a story in the directory that `place_of` makes of a sandbox, which is at home there as well, up to the end of its daemon.
fn played_at_home(fence: &str, place_of: impl Fn(&Sandbox) -> PathBuf) {
    let text = std::fs::read_to_string(place::root().join("README.md")).unwrap();
    let story = examples(&text, fence);
    assert!(story.len() > 10, "the README tells no story");
    let sandbox = Sandbox::new();
    let (path, directory) = (path(), place_of(&sandbox));
    let furnish = |command: &mut Command| {
        sandbox.furnish(command);
        command.env("HOME", sandbox.path("")).env("XDG_CONFIG_HOME", sandbox.path(".config"));
        command.env("PATH", &path).env("GIT_CONFIG_NOSYSTEM", "1").current_dir(&directory);
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "An Operator");
            command.env(format!("GIT_{who}_EMAIL"), "operator@example.org");
        }
    };
    let mut daemon = None;
    for example in &story {
        if example.command.starts_with("resolverd serve") {
            let mut served = sandbox.command();
            furnish(&mut served);
            let mut started = sandbox.spawn_as(served);
            started.wait_for("/readyz");
            daemon = Some(started);
            continue;
        }
        let mut shell = Command::new("sh");
        furnish(&mut shell);
        example.play(&mut shell);
    }
    let daemon = daemon.expect("the story starts a daemon");
    assert!(daemon.stop().success());
}

#[test]
fn the_story_of_an_operator_goes_as_the_readme_tells_it() {
    played_at_home(STORY, |_| place::root());
}

#[test]
fn the_story_of_a_registry_goes_as_the_readme_tells_it() {
    let alone = Command::new("unshare").args(["-rn", "true"]).status();
    if !alone.is_ok_and(|status| status.success()) {
        return place::skipped("unshare cannot take the network away here");
    }
    played_at_home(REGISTRY, |sandbox| {
        // The daemon of a sandbox is always given a sources file.
        sandbox.write_sources(&json!({ "sources": [] }));
        let directory = sandbox.path("work");
        std::fs::create_dir_all(&directory).unwrap();
        directory
    });
}

#[test]
fn the_story_of_a_project_goes_as_the_readme_tells_it() {
    let text = std::fs::read_to_string(place::root().join("README.md")).unwrap();
    let story = examples(&text, PROJECT);
    assert!(story.len() > 10, "the README tells no story");
    if Command::new("python3").arg("--version").output().is_err() {
        return place::skipped("python3 is not installed");
    }
    let sandbox = Sandbox::with_sources(&sample());
    let _daemon = sandbox.start_synced();
    let path = path();
    let project = sandbox.path("shop");
    std::fs::create_dir_all(&project).unwrap();
    std::os::unix::fs::symlink(place::root().join("resolverd"), project.join("resolverd")).unwrap();
    for example in &story {
        let mut shell = Command::new("sh");
        sandbox.furnish(&mut shell);
        // A reader has named no natives but those that are shown.
        shell.env("PATH", &path).env_remove("RESOLVERD_NATIVES").current_dir(&project);
        example.play(&mut shell);
    }
}

#[test]
fn examples_are_read_and_compared() {
    let text = "x\n```console\n$ resolverd version\nresolverd [..]\n$ curl \\\n> -s x\n{\"a\": 1}\n```\n```sh\n$ no\n```\n";
    let found = examples(text, EXAMPLES);
    let texts: Vec<(&str, &str)> =
        found.iter().map(|one| (one.command.as_str(), one.output.as_str())).collect();
    assert_eq!(texts, [("resolverd version", "resolverd [..]\n"), ("curl -s x", "{\"a\": 1}\n")]);
    let told = examples("```console operator\n$ cat <<END\n> a\n> END\na\n```\n", STORY);
    assert_eq!((told[0].command.as_str(), told[0].output.as_str()), ("cat <<END\na\nEND", "a\n"));
    let check = |shown: &str, found: &str, expected: bool| {
        assert_eq!(agrees(shown, found), expected, "{shown} / {found}")
    };
    check("resolverd [..]\n", "resolverd 0.1.0\n", true);
    check("a\n...\nz\n", "a\nb\nc\nz\n", true);
    check("a\n...\nz\n", "a\nb\n", false);
    check("{\"a\": \"sha256:[..]\", \"b\": [1]}", "{\"b\":[1],\"a\":\"sha256:00\"}", true);
    check("{\"a\": 1}", "{\"a\":1,\"b\":2}", false);
    check("{\"a\": \"[..]\"}", "{\"a\":null}", true);
    check("", "", true);
    check("", "x\n", false);
}
