//! Completions and manual pages: made for every shell and verb, complete, and accepted by the programs that read them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::harness::daemon::{Said, Sandbox};

/// Returns the verbs that the program says it has.
pub(crate) fn verbs(sandbox: &Sandbox) -> Vec<String> {
    let help = sandbox.run(&["--help"]).stdout;
    let commands = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    // A description that needs a second line is set in further.
    let rows =
        commands.lines().filter_map(|line| line.strip_prefix("  ").filter(|row| !row.starts_with(' ')));
    let named = rows.filter_map(|row| row.split_whitespace().next());
    let verbs: Vec<String> = named.filter(|name| *name != "help").map(str::to_owned).collect();
    assert!(verbs.len() > 10 && verbs.contains(&"doctor".to_owned()), "{verbs:?}");
    verbs
}

/// Runs a program on a text; `None` where it is not installed.
fn fed(program: &str, arguments: &[&str], text: &str) -> Option<Said> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Said {
        status: output.status.code().unwrap_or(-1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    })
}

#[test]
fn every_shell_gets_completions_of_every_verb_without_a_configuration() {
    let sandbox = Sandbox::new();
    // Not even a broken configuration is in the way.
    std::fs::create_dir_all(sandbox.path("config/resolverd")).unwrap();
    std::fs::write(sandbox.path("config/resolverd/config.toml"), "[").unwrap();
    let verbs = verbs(&sandbox);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = sandbox.run(&["completions", shell]);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{shell}");
        for verb in verbs.iter().map(String::as_str).chain(["--state-dir"]) {
            let flag = verb.trim_start_matches("--");
            assert!(said.stdout.contains(flag), "{shell}: no {verb}");
        }
        for (reader, arguments) in [("bash", &["-n"][..]), ("zsh", &["-n"]), ("fish", &["--no-execute"])] {
            if reader != shell {
                continue;
            }
            match fed(reader, arguments, &said.stdout) {
                Some(read) => assert_eq!((read.status, read.stderr.as_str()), (0, ""), "{shell}"),
                None => eprintln!("{reader} is not installed: its completions were not read by it"),
            }
        }
    }
    assert_eq!(sandbox.run(&["completions", "tcsh"]).status, 2);
}

/// Holds a page against the structure of a manual page, and against `groff` where that is installed.
fn check(name: &str, page: &str) {
    let heads: Vec<&str> =
        page.lines().filter(|line| line.starts_with(".TH ") || line.starts_with(".SH ")).collect();
    assert!(heads[0].starts_with(&format!(".TH {name} 1 ")), "{name}: {heads:?}");
    assert_eq!(heads[1..4], [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"], "{name}");
    assert!(heads.iter().any(|head| head.starts_with(".SH OPTIONS")), "{name}: {heads:?}");
    let unknown: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with(['.', '\'']))
        .filter(|line| {
            let request = line[1..].split(' ').next().unwrap();
            !["TH", "SH", "TP", "PP", "RS", "RE", "IP", "br", "ie", "el", "ds", "nr", "nf", "fi"]
                .contains(&request)
        })
        .collect();
    assert!(unknown.is_empty(), "{name}: {unknown:?}");
    match fed("groff", &["-man", "-Tutf8", "-ww", "-z"], page) {
        Some(read) => assert_eq!((read.status, read.stderr.as_str()), (0, ""), "{name}"),
        None => eprintln!("groff is not installed: {name} was not read by it"),
    }
}

#[test]
fn the_manual_is_one_page_on_stdout_or_one_per_verb() {
    let sandbox = Sandbox::new();
    let said = sandbox.run(&["man"]);
    assert_eq!((said.status, said.stderr.as_str()), (0, ""));
    check("resolverd", &said.stdout);
    for head in [".SH \"EXIT STATUS\"", ".SH FILES", ".SH ENVIRONMENT"] {
        assert!(said.stdout.contains(head), "{head}");
    }
    let directory = sandbox.path("man");
    std::fs::create_dir(&directory).unwrap();
    let path = directory.to_str().unwrap();
    let written = sandbox.run(&["man", "--dir", path]);
    assert_eq!((written.status, written.stdout.as_str(), written.stderr.as_str()), (0, "", ""));
    let verbs = verbs(&sandbox);
    for verb in &verbs {
        assert!(said.stdout.contains(&format!("resolverd\\-{verb}(1)")), "the page names {verb}");
        let name = format!("resolverd-{verb}");
        check(&name, &std::fs::read_to_string(directory.join(format!("{name}.1"))).unwrap());
    }
    assert_eq!(std::fs::read_to_string(directory.join("resolverd.1")).unwrap(), said.stdout);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), verbs.len() + 1);

    let refused = sandbox.run(&["man", "--dir", sandbox.path("none").to_str().unwrap()]);
    assert!(refused.status == 1 && refused.stderr.contains("hint:"), "{refused:?}");
}
