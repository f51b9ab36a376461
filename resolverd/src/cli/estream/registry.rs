//! The verbs below `registry`: what those do who keep one. Needs no daemon.

use std::path::{Path, PathBuf};

use catalogue_schema::dialect::estream::write::{NewKey, NewPublisher};
use catalogue_schema::error::ParseError;
use catalogue_schema::instant;
use catalogue_schema::key::PublicKey;
use catalogue_schema::revision::rfc3339;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::api::{Code, Failure};
use crate::cli::estream::checks::Checking;
use crate::cli::keys::now_s;
use crate::cli::render::{Paint, field, list, plain};
use crate::cli::{Ended, Env, Terminal};
use crate::config::Settings;
use crate::estream::publish::quoted;
use crate::estream::registry::check::{self, Change, Question, Report};
use crate::estream::registry::keep::{self, Act, Checkout};
use crate::estream::registry::view::{Eyes, Home};
use crate::signing;

/// How many digits of a commit are shown.
const COMMIT_DIGITS: usize = 12;
/// How long a comment may be, in bytes, without the word that it was cut: forges take 65,536 characters.
const COMMENT_BYTES_MAX: usize = 65_000;
/// How many files are named that are not committed.
const NAMED_MAX: usize = 5;

/// What the help of `registry check` ends with.
const CHECK_EXAMPLES: &str = "\
Examples:
  resolverd registry check                                   every version of the registry here, as it is committed
  resolverd registry check . --base main                     what differs from a branch
  resolverd registry check . --base HEAD^1 --comment FILE    in continuous integration, on the merge that it makes

The exit status is 0 where everything is right, else that of the first finding: 7 for a seal, a checksum or a key, 4 for a name or a
version, 2 for a document, 5 where an archive could not be fetched.";

/// What `registry` does.
#[derive(Debug, Clone, Subcommand)]
pub enum RegistryAct {
    /// Make an empty registry: a Git repository with one commit
    #[command(after_help = "Example: resolverd registry init ./registry --archives archives")]
    Init {
        /// A directory that does not exist yet, or an empty one
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Keep archives in the registry, in this directory of it
        #[arg(long, value_name = "PATH")]
        archives: Option<String>,
    },
    /// Register publishers, replace and revoke their keys, in a checkout; commit what they change
    Publisher {
        /// Which of them
        #[command(subcommand)]
        act: PublisherAct,
    },
    /// Verify what a registry holds, or what differs from a base, as its continuous integration does
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckOf),
}

/// What `registry publisher` does.
#[derive(Debug, Clone, Subcommand)]
pub enum PublisherAct {
    /// Register a publisher with a first key
    #[command(
        after_help = "Example: resolverd registry publisher add acme-fin --key acme.pem --display-name 'Acme Finance' --verified"
    )]
    Add {
        /// The name, which is also that of the file below publishers
        #[arg(value_name = "NAME")]
        name: String,
        /// The name that people read
        #[arg(long, value_name = "TEXT")]
        display_name: Option<String>,
        /// Where they are found
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// The registry has verified who they are
        #[arg(long)]
        verified: bool,
        /// The key
        #[command(flatten)]
        key: KeyOf,
        /// The checkout
        #[command(flatten)]
        place: PlaceOf,
    },
    /// Replace a key: what was published before stays signed by it
    #[command(
        after_help = "Example: resolverd registry publisher rotate acme-fin acme-fin-signing-key-01 --key new.pem"
    )]
    Rotate {
        /// The publisher
        #[arg(value_name = "NAME")]
        name: String,
        /// The key that is replaced
        #[arg(value_name = "KEY_ID")]
        old: String,
        /// The key
        #[command(flatten)]
        key: KeyOf,
        /// The checkout
        #[command(flatten)]
        place: PlaceOf,
    },
    /// Revoke a key: nothing that it signed counts any more
    #[command(after_help = "Example: resolverd registry publisher revoke acme-fin acme-fin-signing-key-01")]
    Revoke {
        /// The publisher
        #[arg(value_name = "NAME")]
        name: String,
        /// The key
        #[arg(value_name = "KEY_ID")]
        old: String,
        /// The checkout
        #[command(flatten)]
        place: PlaceOf,
    },
}

/// A key that is given to a publisher.
#[derive(Debug, Clone, Args)]
pub struct KeyOf {
    /// The public ML-DSA-87 key: its PEM file, or its hexadecimal digits
    #[arg(long, value_name = "PUBLIC|HEX")]
    key: String,
    /// The id of the key [default: NAME-signing-key-NN]
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// Until when it signs, such as 2028-01-01 or 2028-01-01T12:00:00Z
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,
}

/// Where the checkout is.
#[derive(Debug, Clone, Args)]
pub struct PlaceOf {
    /// The checkout of the registry
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// What `registry check` takes.
#[derive(Debug, Clone, Args)]
pub struct CheckOf {
    /// The registry: its checkout, of which the newest commit is looked at, or a plain directory
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Look only at what differs from this revision; nothing else that was published may have changed
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// A directory of archives, called NAME-VERSION.tar.gz, that are not fetched
    #[arg(long, value_name = "DIR")]
    archives: Option<PathBuf>,
    /// Write the findings to a file too, as Markdown
    #[arg(long, value_name = "FILE")]
    comment: Option<PathBuf>,
    /// Do not run the configured command on circuits and test vectors
    #[arg(long)]
    skip_tests: bool,
    #[command(flatten)]
    checking: Checking,
}

/// Does what keepers of a registry do.
///
/// **Errors**: the registry cannot be used. What a check finds is printed, and the status is that of the first finding.
pub(in crate::cli) fn run(
    act: &RegistryAct,
    settings: &Settings,
    env: Env<'_>,
    terminal: &Terminal,
) -> Result<u8, Ended> {
    match act {
        RegistryAct::Init { directory, archives } => {
            keep::init(directory, archives.as_deref())?;
            let answer = json!({ "registry": directory.display().to_string() });
            terminal.print(&answer, |answer, _| {
                format!("made an empty registry in {}\n", plain(&field(answer, "registry")))
            })?;
            Ok(0)
        }
        RegistryAct::Publisher { act } => publisher(act, terminal),
        RegistryAct::Check(arguments) => checked(arguments, settings, env, terminal),
    }
}

fn publisher(act: &PublisherAct, terminal: &Terminal) -> Result<u8, Ended> {
    let now = rfc3339(now_s());
    let (file, name, word) = match act {
        PublisherAct::Add { name, display_name, url, verified, key, place } => {
            let public = keep::public_key(&key.key)?;
            let publisher = NewPublisher {
                name,
                display_name: display_name.as_deref(),
                url: url.as_deref(),
                is_verified: *verified,
            };
            let expires_at = key.expires_at()?;
            let act = Act::Add(publisher, key.of(&public, &now, expires_at.as_deref()));
            (keep::record(&place.dir, name, &act)?, name, "Register")
        }
        PublisherAct::Rotate { name, old, key, place } => {
            let public = keep::public_key(&key.key)?;
            let expires_at = key.expires_at()?;
            let act = Act::Rotate(old, key.of(&public, &now, expires_at.as_deref()));
            (keep::record(&place.dir, name, &act)?, name, "Replace a key of")
        }
        PublisherAct::Revoke { name, old, place } => {
            (keep::record(&place.dir, name, &Act::Revoke(old, &now))?, name, "Revoke a key of")
        }
    };
    let place = match act {
        PublisherAct::Add { place, .. }
        | PublisherAct::Rotate { place, .. }
        | PublisherAct::Revoke { place, .. } => quoted(&place.dir.display().to_string()),
    };
    let record = quoted(&format!("publishers/{name}.json"));
    let next = format!(
        "git -C {place} add -- {record} && git -C {place} commit -m {} -- {record}",
        quoted(&format!("{word} {name}"))
    );
    let answer = json!({ "file": file.display().to_string(), "next": next });
    terminal.print(&answer, |answer, _| {
        format!("wrote {}\nnext: {}\n", plain(&field(answer, "file")), plain(&field(answer, "next")))
    })?;
    Ok(0)
}

impl KeyOf {
    /// Returns the key with its times, which are those that [`KeyOf::expires_at`] returns.
    fn of<'a>(&'a self, key: &'a PublicKey, now: &'a str, expires_at: Option<&'a str>) -> NewKey<'a> {
        NewKey { id: self.key_id.as_deref(), key, created_at: now, expires_at }
    }

    /// Returns until when it signs; a day without a time ends when it begins.
    fn expires_at(&self) -> Result<Option<String>, Failure> {
        let read = |text: &String| {
            let whole = if text.contains('T') { text.clone() } else { format!("{text}T00:00:00Z") };
            let past = || ParseError::new("input.field", "an instant that is to come", &*whole);
            let read = instant::parse(&whole).and_then(|at| if at > now_s() { Ok(()) } else { Err(past()) });
            read.map(|()| whole.clone()).map_err(|error| {
                Failure::of(Code::RequestInvalid, &error.in_field("--expires"))
                    .hint("write a date to come, such as 2028-01-01")
            })
        };
        self.expires.as_ref().map(read).transpose()
    }
}

/// What is said where Git is not asked for what is not committed.
const UNTOLD: &str = "whether something is not committed is not known: the repository's own configuration names filters, or Git cannot tell";

/// What is looked at.
struct Place {
    home: Home,
    commit: Option<String>,
    base: Option<(Home, Vec<Change>, String)>,
    /// What is not committed; `None` where nobody can tell.
    uncommitted: Option<Vec<String>>,
}

impl Place {
    fn of(arguments: &CheckOf) -> Result<Place, Failure> {
        let CheckOf { directory, base, .. } = arguments;
        let Some(checkout) = Checkout::at(directory)? else {
            if base.is_some() {
                let detail =
                    format!("{} lies in no Git repository, and has no revisions", directory.display());
                return Err(
                    Failure::new(Code::RequestInvalid, "registry.base", detail).hint("leave --base away")
                );
            }
            let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
            let home = Home::directory(&absolute)?;
            return Ok(Place { home, commit: None, base: None, uncommitted: Some(Vec::new()) });
        };
        let head = checkout.commit("HEAD")?;
        let at = |commit: &str| Home::commit(&checkout.repository, &checkout.root, commit);
        let base = match base {
            None => None,
            Some(revision) => {
                let base = checkout.commit(revision)?;
                if !checkout.follows(&base, &head) {
                    let detail = format!(
                        "HEAD does not follow {revision}, so that what differs is not this change alone"
                    );
                    return Err(Failure::new(Code::RequestInvalid, "registry.base", detail)
                        .hint(format!("merge {revision} first, or rebase onto it")));
                }
                let changes = check::changes(&checkout.git, (&base, &head), &checkout.root)?;
                Some((at(&base)?, changes, base))
            }
        };
        Ok(Place { home: at(&head)?, base, uncommitted: checkout.uncommitted(), commit: Some(head) })
    }
}

fn checked(arguments: &CheckOf, settings: &Settings, env: Env<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    let place = Place::of(arguments)?;
    let command = if arguments.skip_tests { None } else { arguments.checking.command(settings, env)? };
    let archives = arguments.archives.as_deref().map(|path| std::path::absolute(path).unwrap_or_default());
    let eyes = Eyes::new(settings.network.clone(), &settings.limits)?;
    let question = Question {
        home: &place.home,
        base: place.base.as_ref().map(|(home, changes, _)| (home, changes.as_slice())),
        archives: archives.as_deref(),
        command: command.as_ref(),
        limits: &settings.limits,
        now_s: now_s(),
    };
    let mut report = check::check(&eyes, &question)?;
    match place.uncommitted.as_deref() {
        None => report.warnings.push(UNTOLD.to_owned()),
        Some([]) => {}
        Some(uncommitted) => {
            let named: Vec<&str> = uncommitted.iter().take(NAMED_MAX).map(String::as_str).collect();
            let more = if uncommitted.len() > NAMED_MAX { ", …" } else { "" };
            report
                .warnings
                .push(format!("what is not committed was not looked at: {}{more}", named.join(", ")));
        }
    }
    let answer = told(&place, &report);
    if let Some(file) = &arguments.comment {
        comment(file, &answer)?;
    }
    terminal.print(&answer, text)?;
    Ok(report.findings.first().map_or(0, |first| first.code.row().exit))
}

fn told(place: &Place, report: &Report) -> Value {
    let base = place.base.as_ref().map(|(_, _, commit)| commit);
    let versions = report.versions.iter().map(|one| {
        json!({ "version": one.version, "publisher": one.publisher, "keyId": one.key_id, "good": one.is_good })
    });
    let is_publication = report.versions.iter().any(|one| one.is_good);
    let mut answer = json!({
        "commit": place.commit,
        "base": base,
        "good": report.findings.is_empty(),
        "automatic": base.is_some() && is_publication && report.findings.is_empty() && report.attention.is_empty(),
        "versions": versions.collect::<Vec<Value>>(),
        "findings": report.findings.iter().map(|one| one.problem(None)).collect::<Vec<Value>>(),
    });
    add_notes(&mut answer, notes(report));
    answer
}

/// The lists of what a check says and finds nothing wrong with, by their names, each with its title.
const NOTES: [(&str, &str); 3] =
    [("changes", "changes"), ("attention", "look at this before you merge"), ("warnings", "warnings")];

/// Returns what a check says and finds nothing wrong with.
pub(super) fn notes(report: &Report) -> Value {
    json!({ "changes": report.changes, "attention": report.attention, "warnings": report.warnings })
}

/// Adds it to an answer.
pub(super) fn add_notes(answer: &mut Value, mut notes: Value) {
    for (name, _) in NOTES {
        answer[name] = notes[name].take();
    }
}

/// Returns it as text.
pub(super) fn noted(notes: &Value) -> String {
    let mut out = String::new();
    for (name, title) in NOTES {
        let lines = list(notes, name);
        if !lines.is_empty() {
            out.push_str(&format!("{title}:\n"));
        }
        for line in lines {
            out.push_str(&format!("  {}\n", plain(line.as_str().unwrap_or_default())));
        }
    }
    out
}

fn heading(answer: &Value) -> String {
    let short = |name: &str| field(answer, name).chars().take(COMMIT_DIGITS).collect::<String>();
    let count = list(answer, "versions").len();
    let looked = if count == 1 { "1 version".to_owned() } else { format!("{count} versions") };
    match (answer["commit"].is_string(), answer["base"].is_string()) {
        (true, true) => {
            format!("registry at {}, against {}: {looked} looked at", short("commit"), short("base"))
        }
        (true, false) => format!("registry at {}: {looked} looked at", short("commit")),
        _ => format!("registry in a plain directory: {looked} looked at"),
    }
}

fn verdict(answer: &Value) -> String {
    match list(answer, "findings").len() {
        0 => "everything is right".to_owned(),
        1 => "1 finding".to_owned(),
        several => format!("{several} findings"),
    }
}

fn text(answer: &Value, paint: Paint) -> String {
    let mut out = format!("{}\n", heading(answer));
    for one in list(answer, "versions") {
        let mark = if one["good"] == true { "✓".to_owned() } else { paint.bad("✗") };
        let key = field(one, "keyId");
        let key = if key.is_empty() { key } else { format!(" (key {key})") };
        out.push_str(&format!("  {mark} {}{}\n", plain(&field(one, "version")), plain(&key)));
    }
    out.push_str(&noted(answer));
    for one in list(answer, "findings") {
        let (code, reason) = (field(one, "code"), field(one, "reason"));
        out.push_str(&format!("{} {reason}: {}\n", paint.bad(&code), plain(&field(one, "detail"))));
        let hint = field(one, "hint");
        if !hint.is_empty() {
            out.push_str(&format!("  hint: {}\n", plain(&hint)));
        }
    }
    out.push_str(&format!("{}\n", verdict(answer)));
    out
}

/// Writes the answer as Markdown.
fn comment(file: &Path, answer: &Value) -> Result<(), Failure> {
    let mut out = format!("### Registry check: {}\n\n{}\n\n", verdict(answer), heading(answer));
    let lines = |title: &str, name: &str| {
        let lines = list(answer, name).iter().filter_map(Value::as_str);
        let lines: String = lines.map(|line| format!("- {}\n", marked(line))).collect();
        if lines.is_empty() { lines } else { format!("**{title}**\n\n{lines}\n") }
    };
    if !list(answer, "versions").is_empty() {
        out.push_str("| version | publisher | key | |\n|---|---|---|---|\n");
        for one in list(answer, "versions") {
            let [version, publisher, key] =
                ["version", "publisher", "keyId"].map(|name| marked(&field(one, name)));
            let mark = if one["good"] == true { "✓" } else { "✗" };
            out.push_str(&format!("| {version} | {publisher} | {key} | {mark} |\n"));
        }
        out.push('\n');
    }
    if !list(answer, "findings").is_empty() {
        out.push_str("| code | reason | what |\n|---|---|---|\n");
        for one in list(answer, "findings") {
            let [code, reason, detail] = ["code", "reason", "detail"].map(|name| marked(&field(one, name)));
            out.push_str(&format!("| {code} | {reason} | {detail} |\n"));
        }
        out.push('\n');
    }
    out.push_str(&lines("What changes", "changes"));
    out.push_str(&lines("Look at this before you merge", "attention"));
    out.push_str(&lines("Warnings", "warnings"));
    cut(&mut out);
    signing::publish(file, out.as_bytes(), &[]).map_err(|error| {
        Failure::new(Code::RequestInvalid, "registry.comment", error.to_string())
            .hint("name a file in a directory that exists")
    })
}

/// Cuts a comment that no forge would take, between two lines.
fn cut(out: &mut String) {
    if out.len() > COMMENT_BYTES_MAX {
        let end = (0..COMMENT_BYTES_MAX).rfind(|at| out.as_bytes()[*at] == b'\n').unwrap_or_default();
        out.truncate(end);
        out.push_str("\n\nThis is not all: `resolverd registry check` prints the rest.\n");
    }
}

/// Returns text of somebody else's so that Markdown takes it as it is.
fn marked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        if "\\`*_{}[]<>()#+!|~@&".contains(c) {
            out.push('\\');
        }
        out.push(if c == '\n' { ' ' } else { c });
    }
    out
}
