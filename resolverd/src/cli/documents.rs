//! Completions for shells and the manual pages, both made from the arguments themselves. Needs no configuration and asks
//! nobody.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::api::{Code, Failure, TABLE};
use crate::cli::{Cli, Ended, Terminal};

/// The program's name.
const NAME: &str = "resolverd";
/// Manual pages are for everybody.
const PAGE_MODE: u32 = 0o644;

/// What `completions` takes.
#[derive(Debug, Clone, Args)]
pub struct Completions {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// What `man` takes.
#[derive(Debug, Clone, Args)]
pub struct Manual {
    /// Write one page per verb into this directory instead of one page to stdout
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the completions of a shell.
///
/// **Errors**: stdout cannot be written.
pub fn completions(completions: &Completions, terminal: &Terminal) -> Result<(), Ended> {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Cli::command(), NAME, &mut script);
    terminal.write(&script)
}

/// Prints the manual page, or writes one page per verb.
///
/// **Errors**: stdout or the directory cannot be written.
pub fn manual(manual: &Manual, terminal: &Terminal) -> Result<(), Ended> {
    let Some(directory) = &manual.dir else {
        let page = page(command(), NAME).map_err(|error| unwritten("stdout", &error))?;
        return terminal.write(&page);
    };
    let command = command();
    let pages = command.get_subcommands().filter(|verb| verb.get_name() != "help").map(|verb| {
        let name = format!("{NAME}-{}", verb.get_name());
        (verb.clone(), name)
    });
    for (command, name) in pages.chain([(command.clone(), NAME.to_owned())]) {
        let path = directory.join(format!("{name}.1"));
        let written = page(command, &name).and_then(|page| write(directory, &path, &page));
        written.map_err(|error| unwritten(&path.display().to_string(), &error))?;
    }
    Ok(())
}

/// Returns the grammar with the flags of every verb spread over the verbs.
fn command() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

fn unwritten(path: &str, error: &io::Error) -> Failure {
    Failure::new(Code::Internal, "man", format!("cannot write {path}: {error}"))
        .hint("name a directory that exists and that you may write into")
}

/// Writes a page whole or not at all.
fn write(directory: &Path, path: &Path, page: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(page)?;
    file.as_file().set_permissions(Permissions::from_mode(PAGE_MODE))?;
    file.persist(path)?;
    Ok(())
}

fn page(command: Command, name: &str) -> io::Result<Vec<u8>> {
    let is_program = name == NAME;
    let mut page = Vec::new();
    let source = format!("{NAME} {}", env!("CARGO_PKG_VERSION"));
    Man::new(command).title(name).section("1").source(source).render(&mut page)?;
    if is_program {
        page.extend_from_slice(appendix().as_bytes());
    }
    Ok(page)
}

/// Returns what no argument says: the exit statuses, the files, the variables.
fn appendix() -> String {
    let mut out = String::from(".SH \"EXIT STATUS\"\n.TP\n0\nWhat was asked for.\n");
    let mut statuses: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for row in TABLE {
        statuses.entry(row.exit).or_default().push(format!("{} {}", row.text, row.name));
    }
    for (status, names) in statuses {
        out.push_str(&format!(".TP\n{status}\n{}\n", names.join(", ")));
    }
    out.push_str(".SH FILES\n");
    for (path, what) in FILES {
        out.push_str(&format!(".TP\n{path}\n{what}\n"));
    }
    out.push_str(".SH ENVIRONMENT\n");
    for (name, what) in VARIABLES {
        out.push_str(&format!(".TP\n{name}\n{what}\n"));
    }
    // A hyphen in a name is one that can be copied.
    out.replace("--", "\\-\\-")
}

const FILES: [(&str, &str); 5] = [
    ("$XDG_CONFIG_HOME/resolverd/config.toml, /etc/resolverd/config.toml", "The configuration."),
    ("$XDG_CONFIG_HOME/resolverd/sources.json, /etc/resolverd/sources.json", "The sources."),
    (
        "$XDG_STATE_HOME/resolverd/, /var/lib/resolverd/",
        "Generations, the shelf of documents, the index, the memory of accepted revisions.",
    ),
    ("$XDG_CACHE_HOME/resolverd/, /var/cache/resolverd/", "What can be fetched again."),
    ("$XDG_RUNTIME_DIR/resolverd/resolverd.sock, /run/resolverd/resolverd.sock", "The socket."),
];

const VARIABLES: [(&str, &str); 9] = [
    ("RESOLVERD_CONFIG", "The configuration file, as --config."),
    ("RESOLVERD_SOURCES", "The sources file, as --sources."),
    ("RESOLVERD_POLICY", "The trust policy, as --policy."),
    ("RESOLVERD_SOCKET", "The socket, as --socket."),
    ("RESOLVERD_STATE_DIR", "The state directory, as --state-dir."),
    ("RESOLVERD_CACHE_DIR", "The cache directory."),
    ("RESOLVERD_LOG", "The level of the log: error, warn, info, debug or trace."),
    ("NO_COLOR", "Where it is not empty, nothing is printed in colours."),
    ("HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE", "How other machines are reached."),
];
