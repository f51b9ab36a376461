//! The command line: arguments in, one call to the daemon (or in process when none runs), text or JSON out.
//!
//! Data goes to stdout, everything else to stderr. A verb decides nothing about components: the same answers come over the
//! socket. Asks nothing but whether to publish, and prints no colours and no progress where nobody looks.

pub mod ask;
pub mod audit;
mod bars;
pub mod calls;
mod configured;
pub mod convert;
pub mod doctor;
pub mod documents;
pub mod estream;
pub mod events;
pub mod explain;
pub mod files;
pub mod keys;
pub mod lock;
pub mod policy;
pub mod project;
pub mod render;
pub mod search;
pub mod snapshots;
pub mod solve;
pub mod terms;
pub mod verbs;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;

use crate::api::{Code, Failure};
use crate::cli::convert::Convert;
use crate::cli::estream::install::Install;
use crate::cli::estream::marketplace::Market;
use crate::cli::estream::uninstall::Uninstall;
use crate::cli::explain::Explain;
use crate::cli::render::Paint;
use crate::cli::search::Search;
use crate::cli::terms::{Platforms, Terms};
use crate::config::Overrides;

/// Resolves components of federated registries: pinned, verified, offline.
#[derive(Debug, Parser)]
#[command(name = "resolverd", version)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

/// The flags that every verb takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every verb")]
pub struct Globals {
    /// The socket to listen on or to ask
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The sources file
    #[arg(long, global = true, value_name = "FILE", id = "sources_file")]
    sources: Option<PathBuf>,
    /// The trust policy; the system's is in force as well
    #[arg(long, global = true, value_name = "FILE", id = "policy_file")]
    policy: Option<PathBuf>,
    /// Where store, shelf and generations are kept
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Fetch nothing: what is on the shelf answers
    #[arg(long, global = true)]
    offline: bool,
    /// Use the system's directories and a socket for a group
    #[arg(long, global = true)]
    system: bool,
    /// How long to wait for another process to let go of the store, in seconds [default: 10; serve: 3]
    #[arg(long, global = true, value_name = "SECONDS")]
    wait: Option<u64>,
    /// Ask a kept snapshot instead of the current one: its digest, or the first 12 digits of it or more
    #[arg(long, global = true, value_name = "DIGEST")]
    snapshot: Option<String>,
    /// How to print answers
    #[arg(short, long, global = true, value_parser = output_parser(), default_value = "text")]
    output: Output,
    /// Print answers and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// When to print colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
    /// Show no progress
    #[arg(long, global = true)]
    no_progress: bool,
    /// Start a daemon where none answers, and ask that [env: RESOLVERD_AUTO=1]
    #[arg(long, global = true)]
    auto: bool,
}

/// How answers are printed; or, for a verb that makes a directory, where to make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Aligned text, which eStream calls a table.
    Text,
    /// The answer's JSON.
    Json,
    /// A directory; never without [`output_or_directory`].
    Directory(PathBuf),
}

fn output_parser() -> impl TypedValueParser<Value = Output> {
    let text = PossibleValue::new("text").help("Aligned text").alias("table");
    let json = PossibleValue::new("json").help("The answer's JSON");
    PossibleValuesParser::new([text, json]).map(|name| output_of(&name).unwrap_or(Output::Text))
}

/// Reads `-o` of a verb that makes a directory: a form, or else that directory; `./json` is one. Such a verb has an argument of its
/// own with the id `output`, which takes the place of the one that every verb has.
pub fn output_or_directory() -> impl TypedValueParser<Value = Output> {
    NonEmptyStringValueParser::new()
        .map(|text| output_of(&text).unwrap_or_else(|| Output::Directory(text.into())))
}

fn output_of(text: &str) -> Option<Output> {
    match text {
        "text" | "table" => Some(Output::Text),
        "json" => Some(Output::Json),
        _ => None,
    }
}

/// When colours are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Run the daemon until it is told to stop
    Serve(Serve),
    /// Choose versions for references and for everything that they require, all or nothing
    #[command(
        after_help = "Example: resolverd resolve lcod://tooling/array/pluck@^0.1 --native lcod://contract/"
    )]
    Resolve(Resolve),
    /// Show what references require, and what that requires, as a tree
    #[command(
        after_help = "Example: resolverd tree lcod://tooling/array/pluck@^0.1 --native lcod://contract/"
    )]
    Tree(Resolve),
    /// Show which components of a solution have newer versions, and who keeps them from being chosen
    #[command(
        after_help = "Example: resolverd outdated lcod://tooling/array/pluck@^0.1 --native lcod://contract/"
    )]
    Outdated(Resolve),
    /// Show a component, or one release of it
    Info {
        /// An id, or an id with a version or requirement behind @
        #[arg(value_name = "REF")]
        reference: String,
    },
    /// List the versions of a component
    Versions {
        /// The id
        id: String,
    },
    /// List the sources and how they stand
    Sources,
    /// List the catalogues and how they stand
    Catalogues,
    /// List components
    Components(Components),
    /// Find components by words in id, keywords and description
    Search(Search),
    /// Show the whole chain from source to bytes for a reference, and what lost
    Explain(Explain),
    /// Lock what a project uses: writes lcp.lock beside lcp.toml, or resolverd.lock
    #[command(after_help = lock::LOCK_EXAMPLES)]
    Lock(lock::Lock),
    /// Say what of a lock no longer holds under today's facts and policy; the exit status is 4 where something does not
    #[command(after_help = lock::CHECK_EXAMPLES)]
    Check(lock::Check),
    /// Say in a few lines why a reference is answered as it is, or who requires it in the solution of others
    #[command(
        after_help = "Example: resolverd why lcod://tooling/text/slug --in lcod://acme/billing/invoice"
    )]
    Why(Why),
    /// Read the sources again; the exit status is 5 when none of them could be read
    Sync {
        /// Which sources; all of them where none is named
        #[arg(value_name = "SOURCE", id = "named")]
        sources: Vec<String>,
    },
    /// Show or forget what was accepted: revisions of sources and catalogues, and the bytes of versions
    Trust {
        /// Which of them
        #[command(subcommand)]
        act: TrustAct,
    },
    /// Show, try or check trust policies
    Policy {
        /// Which of them
        #[command(subcommand)]
        act: policy::PolicyAct,
    },
    /// Show or verify the log of denials, exceptions and acts of operators; needs no daemon
    Audit {
        /// Which of them
        #[command(subcommand)]
        act: audit::AuditAct,
    },
    /// Read the configuration again, then the sources
    Reload,
    /// Write a list, catalogue or sources file in another form that can hold it; needs no daemon
    Convert(Convert),
    /// Make keys, or show what lies in a key file; needs no daemon
    Keys {
        /// Which of them
        #[command(subcommand)]
        act: keys::KeysAct,
    },
    /// Sign a file with private keys; needs no daemon
    Sign(keys::Sign),
    /// Install components of eStream registries, and what they require, into the workspace
    Install(Install),
    /// Remove installed components from the workspace, and what nobody needs without them
    Uninstall(Uninstall),
    /// The verbs of eStream registries under the name that they have there
    #[command(visible_alias = "mp", after_help = "Example: resolverd mp install estream-wire-fix@^1.0.0")]
    Marketplace {
        /// Which of them
        #[command(subcommand)]
        act: Market,
    },
    /// Compare the files in the cache or of installed components with what was published, or verify a file's signatures with
    /// public keys
    Verify(files::Verify),
    /// Put the verified files of releases on disk, and say where
    Materialize(files::Materialize),
    /// Say where the compose file of a component lies, as kernels ask for it
    Locate(files::Locate),
    /// Write components of eStream, with everything that proves them, to a directory for a site without network
    Export(estream::export::Export),
    /// Remove files from the cache that no hold names and nobody has asked for lately
    Gc(files::Gc),
    /// End holds of your own, so that gc may remove what they kept
    Release(files::Release),
    /// Publish a component in a registry of eStream: validate, pack, sign, and push a branch; needs no daemon
    #[command(after_help = estream::publish::PUBLISH_EXAMPLES)]
    Publish(estream::publish::Publish),
    /// Withdraw a version in a registry of eStream: only locks that hold it choose it from then on
    #[command(after_help = estream::publish::YANK_EXAMPLES)]
    Yank(estream::publish::Withdraw),
    /// Bring a withdrawn version of a registry of eStream back
    #[command(after_help = "Example: resolverd unyank fix-order-router@0.3.0 --registry OWNER/REPO -y")]
    Unyank(estream::publish::Withdraw),
    /// Make, keep and verify a registry of eStream; needs no daemon
    Registry {
        /// Which of them
        #[command(subcommand)]
        act: estream::registry::RegistryAct,
    },
    /// Write a new component of an eStream registry, ready to be packed
    Scaffold(estream::scaffold::Scaffold),
    /// Check a component of an eStream registry and pack it: equal files give equal bytes
    Pack(estream::pack::Pack),
    /// Show what answers, from which generation, and what is wrong
    Status,
    /// Say what is wrong with this set-up and what mends it; the exit status is 1 when something is wrong
    Doctor(doctor::Doctor),
    /// Print the completions of a shell
    Completions(documents::Completions),
    /// Print the manual page
    Man(documents::Manual),
    /// Show the versions of this program and of the daemon
    Version,
    /// List the kept snapshots, or what differs between two of them
    Snapshots {
        /// What to do besides listing
        #[command(subcommand)]
        command: Option<snapshots::SnapshotsCommand>,
    },
    /// Print what happens in the daemon, one line an event, until interrupted
    Events {
        /// Print each event as one line of JSON, like -o json
        #[arg(long)]
        json: bool,
    },
}

/// What `serve` takes.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// End after so many seconds in which nobody asks [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    idle_exit: Option<u64>,
}

/// What `resolve` takes.
#[derive(Debug, Clone, Args)]
pub struct Resolve {
    /// References, such as lcod://tooling/array/pluck@^0.1 or git+https://host/repo.git@COMMIT#PATH; with --locked those of the
    /// project where none is named
    #[arg(value_name = "REF", required_unless_present = "locked")]
    references: Vec<String>,
    /// Answer what the lock in the current directory holds, and fail with exit status 4 where a new lock would differ
    #[arg(long)]
    locked: bool,
    /// An id, or a prefix that ends in /, which the caller implements itself; RESOLVERD_NATIVES names more, separated by commas
    #[arg(long = "native", value_name = "REF")]
    natives: Vec<String>,
    /// A file with one native a line; # starts a comment
    #[arg(long, value_name = "FILE")]
    natives_file: Option<PathBuf>,
    /// Choose prereleases like ordinary versions
    #[arg(long)]
    prerelease: bool,
    /// Read the sources again first
    #[arg(long)]
    refresh: bool,
    #[command(flatten)]
    place: project::Place,
    #[command(flatten)]
    terms: Terms,
}

/// What `why` takes.
#[derive(Debug, Clone, Args)]
pub struct Why {
    #[command(flatten)]
    explain: Explain,
    /// A reference whose solution is looked at: which ways lead from it to the component
    #[arg(long = "in", value_name = "REF")]
    within: Vec<String>,
    #[command(flatten)]
    platforms: Platforms,
}

/// What `trust` does.
#[derive(Debug, Clone, Subcommand)]
pub enum TrustAct {
    /// List the newest accepted revision of every source and catalogue
    State,
    /// Show the log of accepted and forgotten revisions, newest last
    Log {
        /// Only this source
        #[arg(value_name = "SOURCE")]
        source: Option<String>,
        /// How many lines at most, up to 1000
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Forget what was accepted, then look again: what is said now is accepted
    Forget {
        /// The source, or one of its catalogues; or a version whose bytes changed, such as lcod://ns/name@1.0.0
        #[arg(value_name = "SOURCE[/CATALOGUE]|ID@VERSION")]
        target: String,
        /// Why, for the logs
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Accept that the memory of what was accepted is lost, then look again: only what the last generation holds is known
    #[command(
        after_help = "Example: resolverd trust reset --clock --reason \"the clock stood at 2106, and is right now\""
    )]
    Reset {
        /// Keep the memory, and take the clock for right though a later one was seen (clock.backwards)
        #[arg(long)]
        clock: bool,
        /// Why, for the audit log
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// What `components` takes.
#[derive(Debug, Clone, Args)]
pub struct Components {
    /// Only ids that start so, such as lcod://tooling/
    #[arg(long)]
    namespace: Option<String>,
    /// Only components that this source owns
    #[arg(long)]
    source: Option<String>,
    /// Only components of this kind
    #[arg(long)]
    kind: Option<String>,
    /// How many at most, up to 1000
    #[arg(long)]
    limit: Option<usize>,
    /// Where the page starts: the cursor of the page before
    #[arg(long)]
    cursor: Option<String>,
}

/// Environment variables, as the process found them.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Runs the program and returns its exit status.
pub fn run(args: impl IntoIterator<Item = OsString>, env: Env<'_>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            refuse(&error);
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let terminal = Terminal::new(&cli.globals, env);
    start_log(&cli, env, &terminal);
    match verbs::run(&cli.verb, &cli.globals, env, &terminal) {
        Ok(status) => status,
        Err(Ended::Quietly) => 0,
        Err(Ended::Refused(problem)) => terminal.explain(&problem),
    }
}

/// Prints what is wrong with the arguments, which may be somebody else's text, or the help or version that was asked for. A
/// closed pipe is nobody's fault.
fn refuse(error: &clap::Error) {
    let text = error.render().to_string();
    let shown: String = text.lines().map(|line| render::plain(line) + "\n").collect();
    let _ = match shown.trim_end() == text.trim_end() || !error.use_stderr() {
        true => error.print(),
        false => io::stderr().write_all(shown.as_bytes()),
    };
}

/// Why a verb ended without its answer.
#[derive(Debug)]
pub enum Ended {
    /// Nobody reads stdout any more.
    Quietly,
    /// The problem document that says why.
    Refused(Value),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Ended {
        Ended::Refused(failure.problem(None))
    }
}

/// What the verb may print where.
#[derive(Debug)]
pub struct Terminal {
    output: Output,
    quiet: bool,
    progress: bool,
    /// How wide stdout is, where it is a terminal.
    columns: Option<usize>,
    data: Paint,
    talk: Paint,
}

impl Terminal {
    fn new(globals: &Globals, env: Env<'_>) -> Terminal {
        let plain = env("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env("TERM").is_some_and(|terminal| terminal == "dumb");
        let paint = |is_terminal: bool| match globals.color {
            Color::Always => Paint::Colours,
            Color::Auto if is_terminal && !plain => Paint::Colours,
            Color::Auto | Color::Never => Paint::Plain,
        };
        let talks = io::stderr().is_terminal();
        Terminal {
            // A directory says nothing about the form.
            output: if globals.output == Output::Json { Output::Json } else { Output::Text },
            quiet: globals.quiet,
            progress: talks && !globals.no_progress && !globals.quiet && globals.output != Output::Json,
            columns: columns(),
            data: paint(io::stdout().is_terminal()),
            talk: paint(talks),
        }
    }

    /// Tells whether answers are printed as text.
    fn prints_text(&self) -> bool {
        self.output == Output::Text
    }

    /// Prints an answer: its text, or its JSON.
    fn print(&self, answer: &Value, text: impl FnOnce(&Value, Paint) -> String) -> Result<(), Ended> {
        let mut text = match self.output {
            Output::Json => serde_json::to_string_pretty(answer).unwrap_or_default(),
            Output::Text | Output::Directory(_) => text(answer, self.data),
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.put(&text)
    }

    fn put(&self, text: &str) -> Result<(), Ended> {
        self.write(text.as_bytes())
    }

    /// Writes data to stdout as it is.
    fn write(&self, data: &[u8]) -> Result<(), Ended> {
        let mut out = io::stdout().lock();
        match out.write_all(data).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Ended::Quietly),
            Err(error) => {
                let detail = format!("cannot write to stdout: {error}");
                Err(Failure::new(Code::Internal, "stdout", detail).into())
            }
        }
    }

    /// Says something about the work on stderr, unless the caller wants quiet.
    fn say(&self, line: &str) {
        if !self.quiet {
            self.tell(&format!("{}\n", render::plain(line)));
        }
    }

    /// Prints an error with its hint and returns the exit status of its code.
    fn explain(&self, problem: &Value) -> u8 {
        self.tell(&render::problem(problem, self.talk));
        let code = problem["code"].as_str().and_then(Code::named);
        code.map_or(1, |row| row.exit)
    }

    fn tell(&self, text: &str) {
        // When even stderr is gone there is nobody left to tell.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Returns the width of the terminal that stdout is, where it is one.
fn columns() -> Option<usize> {
    let out = io::stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

impl Globals {
    /// Tells whether nothing may be fetched for this call.
    fn is_offline(&self) -> bool {
        self.offline
    }

    /// Returns how long to wait for another process, `otherwise` seconds where nothing was said.
    fn wait_or(&self, otherwise: u64) -> Duration {
        Duration::from_secs(self.wait.unwrap_or(otherwise))
    }

    /// Returns what the flags override.
    fn overrides(&self) -> Overrides {
        Overrides {
            config: self.config.clone(),
            sources: self.sources.clone(),
            policy: self.policy.clone(),
            socket: self.socket.clone(),
            state_dir: self.state_dir.clone(),
            system: self.system,
            offline: self.offline,
            idle_exit_s: None,
            alone: None,
            without_home: false,
        }
    }

    /// Tells whether a daemon is started where none answers.
    fn starts_a_daemon(&self, env: Env<'_>) -> bool {
        self.auto || env("RESOLVERD_AUTO").is_some_and(|value| value == "1")
    }

    /// Returns the flags that a running daemon does not hear: it has its own settings. What the body of a call says, it hears.
    fn unheard(&self, body: &Value) -> Vec<&'static str> {
        let says_offline = body["offline"] == true || body["resolve"]["offline"] == true;
        let given = [
            ("--sources", self.sources.is_some()),
            ("--state-dir", self.state_dir.is_some()),
            ("--offline", self.offline && !says_offline),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
    }
}

/// Starts the log on stderr. The daemon logs what it does, a verb only what is wrong; `RESOLVERD_LOG` overrides both.
fn start_log(cli: &Cli, env: Env<'_>, terminal: &Terminal) {
    use tracing::level_filters::LevelFilter;
    let usual = match (&cli.verb, cli.globals.verbose, cli.globals.quiet) {
        (_, _, true) => LevelFilter::ERROR,
        (_, 2.., _) => LevelFilter::TRACE,
        (_, 1, _) => LevelFilter::DEBUG,
        (Verb::Serve(_), 0, _) => LevelFilter::INFO,
        // Its answer is the report, which names every failure itself.
        (Verb::Sync { .. }, 0, _) => LevelFilter::ERROR,
        (_, 0, _) => LevelFilter::WARN,
    };
    let asked = env("RESOLVERD_LOG").and_then(|level| level.parse().ok());
    let log = tracing_subscriber::fmt()
        .with_max_level(asked.unwrap_or(usual))
        .with_ansi(terminal.talk == Paint::Colours)
        .with_target(false)
        // A line that cannot be written is lost. To say so on the same stderr would panic in whoever logs.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    // A second run in one process (a test) keeps the first log.
    let _ = log.try_init();
}

#[cfg(test)]
mod tests;
