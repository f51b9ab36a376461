//! The command line's grammar, and asking a daemon.
#![allow(clippy::unwrap_used)]
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::thread;

use clap::CommandFactory;
use serde_json::{Value, json};

use super::*;
use crate::api::Call;
use crate::cli::ask::Asker;
use crate::config::{Overrides, Settings};

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn verbs_take_global_flags_before_and_behind() {
    let cli = parsed("resolverd --socket /s resolve a/b@^1 c/d --native lcod://contract/ -o json --wait 3")
        .unwrap();
    assert_eq!(cli.globals.socket.as_deref(), Some("/s".as_ref()));
    assert_eq!((cli.globals.output, cli.globals.wait), (Output::Json, Some(3)));
    let Verb::Resolve(resolve) = cli.verb else { panic!("another verb") };
    assert_eq!((resolve.references.len(), resolve.natives.len()), (2, 1));
    let cli = parsed("resolverd sync one two --sources /f").unwrap();
    assert_eq!(cli.globals.sources.as_deref(), Some("/f".as_ref()));
    assert_eq!(cli.globals.unheard(&Value::Null), ["--sources"]);
    let cli = parsed("resolverd --offline resolve one").unwrap();
    for (body, expected) in [
        (Value::Null, &["--offline"][..]),
        (json!({"offline": false}), &["--offline"]),
        (json!({"offline": true}), &[]),
        (json!({"resolve": {"offline": true}}), &[]),
    ] {
        assert_eq!(cli.globals.unheard(&body), expected, "{body}");
    }
    let cli = parsed("resolverd sync one two --sources /f").unwrap();
    let Verb::Sync { sources } = cli.verb else { panic!("another verb") };
    assert_eq!(sources, ["one", "two"]);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for line in [
        "resolverd",
        "resolverd resolve",
        "resolverd info",
        "resolverd frobnicate",
        "resolverd status -q -v",
        "resolverd status -o xml",
        "resolverd sources --color sometimes",
        "resolverd convert",
        "resolverd convert a.json",
        "resolverd convert a.json --to yaml",
    ] {
        assert!(parsed(line).is_err(), "{line}");
    }
}

#[test]
fn a_catalogue_is_named_behind_its_source() {
    let known = serde_json::json!({"items": [{"source": "a"}, {"source": "a/b"}, {"source": "c"}]});
    let check = |target, expected| assert_eq!(verbs::named(target, &known), expected);
    check("a", ("a", None));
    check("a/x", ("a", Some("x")));
    check("a/b", ("a/b", None));
    check("a/b/x", ("a/b", Some("x")));
    check("c/x/y", ("c", Some("x/y")));
    check("unknown/x", ("unknown/x", None));
}

#[test]
fn natives_are_read_a_line_each() {
    let text = "# kernel\nlcod://contract/\n\n  lcod://tooling/script@1  # v1\nlcod://a/b#c\n";
    assert_eq!(verbs::natives_in(text), ["lcod://contract/", "lcod://tooling/script@1", "lcod://a/b#c"]);
    assert_eq!(verbs::natives_in("\u{feff}lcod://contract/\r\n"), ["lcod://contract/"]);
}

#[test]
fn a_problem_of_the_daemon_becomes_an_exit_status() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let failure =
            Failure::new(Code::ComponentNotFound, "component_unknown", "no source lists lcod://a/b");
        for reply in [failure.reply(None), Failure::new(Code::LockDrift, "x", "y").reply(None)] {
            let _ = stream.read(&mut [0; 1024]).unwrap();
            let length = reply.body.len();
            write!(stream, "HTTP/1.1 {} x\r\nContent-Length: {length}\r\n\r\n", reply.status).unwrap();
            stream.write_all(&reply.body).unwrap();
        }
    });
    let cli = parsed("resolverd status --quiet --color never").unwrap();
    let terminal = Terminal::new(&cli.globals, &|_| None);
    let overrides = Overrides {
        sources: Some(directory.path().join("sources.json")),
        socket: Some(socket),
        state_dir: Some(directory.path().into()),
        offline: true,
        ..Overrides::default()
    };
    let settings = Settings::load(&overrides, &|_| None).unwrap();
    let mut asker = Asker::new(settings, &cli.globals, &terminal).unwrap();
    assert!(asker.has_daemon());
    for (code, exit) in [("E001", 10), ("R006", 4)] {
        let Err(Ended::Refused(problem)) = asker.ask(&Call::get("/v1/health")) else { panic!("an answer") };
        assert_eq!(problem["code"], code);
        assert_eq!(terminal.explain(&problem), exit);
    }
    server.join().unwrap();
}
