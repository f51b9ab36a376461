#![allow(clippy::unwrap_used)]
use clap::CommandFactory;

use super::*;

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
    assert_eq!((cli.globals.output, cli.globals.wait), (Output::Json, 3));
    let Verb::Resolve(resolve) = cli.verb else { panic!("another verb") };
    assert_eq!((resolve.references.len(), resolve.natives.len()), (2, 1));
    let cli = parsed("resolverd sync one two --sources /f").unwrap();
    assert_eq!(cli.globals.sources.as_deref(), Some("/f".as_ref()));
    assert_eq!(cli.globals.unheard(), ["--sources"]);
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
    ] {
        assert!(parsed(line).is_err(), "{line}");
    }
}

#[test]
fn natives_are_read_a_line_each() {
    let text = "# kernel\nlcod://contract/\n\n  lcod://tooling/script@1  # v1\nlcod://a/b#c\n";
    assert_eq!(verbs::natives_in(text), ["lcod://contract/", "lcod://tooling/script@1", "lcod://a/b#c"]);
}
