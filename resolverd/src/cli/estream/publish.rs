//! The verbs `publish`, `yank` and `unyank`: a version goes into a registry, or is withdrawn there. Needs no daemon.
//!
//! Asks whether it may go on where a person sits at a terminal, and nowhere else.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use catalogue_schema::dialect::estream::write::Withdrawal;
use clap::Args;
use serde_json::{Value, json};

use crate::api::{Code, Failure};
use crate::cli::estream::checks::{self, Checking};
use crate::cli::estream::registry;
use crate::cli::keys::now_s;
use crate::cli::render::plain;
use crate::cli::{Ended, Env, Output, Terminal};
use crate::config::Settings;
use crate::estream::forge::{API, Interface};
use crate::estream::package::command::TOKEN_ENV;
use crate::estream::publish::{self, Place, Prepared, Sealed, Submission, Submitted, Wish};
use crate::estream::registry::submit::Address;
use crate::estream::registry::view::Eyes;

/// The registry, unless something else is said.
const REGISTRY: &str = "estream-io/registry";
/// The status of somebody who said no.
const DECLINED: u8 = 1;

/// What the help of `publish` ends with.
pub const PUBLISH_EXAMPLES: &str = "\
Examples:
  resolverd publish --registry ./registry --key signing-key.key --dry-run
  resolverd publish --registry OWNER/REPO --key signing-key.key -y

Nothing is pushed before the registry's own check has looked at the commit: resolverd registry check.";
/// What the help of `yank` ends with.
pub const YANK_EXAMPLES: &str =
    "Example: resolverd yank fix-order-router@0.3.0 --registry OWNER/REPO --reason 'loses orders' -y";

/// How something is submitted to a registry.
#[derive(Debug, Clone, Args)]
pub struct Submit {
    /// The registry: OWNER/REPO, a URL that git can push to, or a path that starts with / or ./ [default: config key
    /// estream.registry, else estream-io/registry]
    #[arg(long, value_name = "REGISTRY")]
    registry: Option<String>,
    /// Show everything, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask; needed where nobody sits at a terminal
    #[arg(short, long)]
    yes: bool,
    /// The environment variable that holds a token for the interface of the registry's forge
    #[arg(long, value_name = "NAME", default_value = TOKEN_ENV)]
    token_env: String,
    /// Where that interface is
    #[arg(long, value_name = "URL", default_value = API)]
    api: String,
}

/// What `publish` takes.
#[derive(Debug, Clone, Args)]
pub struct Publish {
    /// The component's directory
    #[arg(value_name = "PATH", default_value = ".")]
    directory: PathBuf,
    /// The private ML-DSA-87 key [default: config key estream.default_key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Who publishes it, where neither its name nor its key says so
    #[arg(long, value_name = "NAME")]
    publisher: Option<String>,
    /// Where its archive lies: an https:// URL that works already, or a path in the registry
    #[arg(long, value_name = "URL|PATH")]
    archive_url: Option<String>,
    /// Do not run the configured command on circuits and test vectors; everything else is validated
    #[arg(long)]
    skip_tests: bool,
    #[command(flatten)]
    checking: Checking,
    #[command(flatten)]
    submit: Submit,
}

/// What `yank` and `unyank` take.
#[derive(Debug, Clone, Args)]
pub struct Withdraw {
    /// The version
    #[arg(value_name = "NAME@VERSION")]
    reference: String,
    /// Why, for whoever reads the registry
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    submit: Submit,
}

/// Publishes a component.
///
/// **Errors**: the registry or the key cannot be used, or something is refused. Failed validations are printed, and the status is
/// that of the first.
pub(in crate::cli) fn publish(
    arguments: &Publish,
    settings: &Settings,
    env: Env<'_>,
    terminal: &Terminal,
) -> Result<u8, Ended> {
    let Publish { directory, key, publisher, archive_url, skip_tests, checking, submit } = arguments;
    submit.may_go_on()?;
    let address = submit.address(settings)?;
    let key = key.clone().or_else(|| settings.default_key.clone()).ok_or_else(|| {
        Failure::new(Code::RequestInvalid, "keys.private", "no key is named".to_owned())
            .hint("name it with --key FILE, or as default_key below [estream] in config.toml")
    })?;
    let command = if *skip_tests { None } else { checking.command(settings, env)? };
    let command = command.map(|command| command.without(&submit.token_env));
    let token = submit.token(&address, env);
    let eyes = Eyes::new(settings.network.clone(), &settings.limits)?;
    let wish = Wish {
        directory,
        address: &address,
        key: &key,
        publisher: publisher.as_deref(),
        archive: archive_url.as_deref(),
        is_released: token.is_some(),
        is_dry: submit.dry_run,
        command: command.as_ref(),
        limits: &settings.limits,
        now_s: now_s(),
    };
    let Prepared { checks, sealed } = publish::prepare(&eyes, &wish)?;
    let told = checks::answer(&checks);
    let lines = checks::text(told.as_array().map_or(&[], Vec::as_slice), terminal.data);
    terminal.tell_text(&format!("  Validating estream-component.toml...\n{lines}"))?;
    let Some(sealed) = sealed else {
        terminal.tell_json(&json!({ "published": false, "checks": told }))?;
        let failure = checks::failed(&checks, "nothing was published");
        return Err(failure.map_or(Ended::Quietly, Ended::from));
    };
    let notes = registry::notes(&sealed.report);
    terminal.tell_text(&sealing(&sealed, &address, submit.dry_run))?;
    terminal.tell_text(&registry::noted(&notes))?;
    let question = format!("Publish {} v{} to {}?", sealed.name, sealed.version, address.url);
    if !submit.is_confirmed(&question)? {
        terminal.say("nothing was published");
        return Ok(DECLINED);
    }
    let mut answer = described(&sealed, &address);
    registry::add_notes(&mut answer, notes);
    answer["checks"] = told;
    answer["dryRun"] = submit.dry_run.into();
    answer["published"] = (!submit.dry_run).into();
    if submit.dry_run {
        terminal.tell_text("\n  Nothing was changed: this was a dry run.\n")?;
    } else {
        let interface = submit.interface(token, settings)?;
        let submitted = publish::submit(&sealed, interface.as_ref())?;
        terminal.tell_text(&done(&sealed.change, &submitted))?;
        warn(terminal, &submitted);
        add(&mut answer, &submitted);
    }
    terminal.tell_json(&answer)?;
    Ok(0)
}

/// Withdraws a version, or brings it back.
///
/// **Errors**: the registry cannot be used; it has no such version; something is refused.
pub(in crate::cli) fn withdraw(
    arguments: &Withdraw,
    change: Withdrawal,
    settings: &Settings,
    env: Env<'_>,
    terminal: &Terminal,
) -> Result<u8, Ended> {
    let Withdraw { reference, reason, submit } = arguments;
    submit.may_go_on()?;
    let address = submit.address(settings)?;
    let eyes = Eyes::new(settings.network.clone(), &settings.limits)?;
    let times = (&settings.limits, now_s());
    let made = publish::withdraw(&eyes, &address, reference, (change, reason.as_deref()), times)?;
    let files: Vec<String> = made.change.files.iter().map(ToString::to_string).collect();
    terminal.tell_text(&format!(
        "  {} in {}\n    {}\n",
        made.change.title,
        plain(&address.url),
        files.join("\n    ")
    ))?;
    let notes = registry::notes(&made.report);
    terminal.tell_text(&registry::noted(&notes))?;
    if !submit.is_confirmed(&format!("{} in {}?", made.change.title, address.url))? {
        terminal.say("nothing was changed");
        return Ok(DECLINED);
    }
    let mut answer = json!({
        "registry": address.url, "title": made.change.title, "branch": made.change.branch, "files": files,
        "dryRun": submit.dry_run,
    });
    registry::add_notes(&mut answer, notes);
    if submit.dry_run {
        terminal.tell_text("\n  Nothing was changed: this was a dry run.\n")?;
    } else {
        made.desk.has_no(&made.change.branch)?;
        let token = submit.token(&address, env);
        let interface = submit.interface(token, settings)?;
        let submitted = publish::pushed(&made.desk, &made.change, interface.as_ref())?;
        terminal.tell_text(&done(&made.change, &submitted))?;
        warn(terminal, &submitted);
        add(&mut answer, &submitted);
    }
    terminal.tell_json(&answer)?;
    Ok(0)
}

impl Submit {
    /// Refuses at once what would have to ask where nobody sits.
    fn may_go_on(&self) -> Result<(), Failure> {
        let is_asked = !self.yes && !self.dry_run;
        match is_asked && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            false => Ok(()),
            true => {
                let detail = "nobody sits at a terminal who could be asked";
                Err(Failure::new(Code::RequestInvalid, "arguments", detail)
                    .hint("say -y, or look at what would be done with --dry-run"))
            }
        }
    }

    /// Asks whether it may go on, where that has to be asked.
    fn is_confirmed(&self, question: &str) -> Result<bool, Failure> {
        if self.yes || self.dry_run {
            return Ok(true);
        }
        eprint(&format!("\n  {} [y/N] ", plain(question)));
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        read.map_err(|error| Failure::new(Code::RequestInvalid, "arguments", format!("no answer: {error}")))?;
        Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    fn address(&self, settings: &Settings) -> Result<Address, Failure> {
        let named = self.registry.as_deref().or(settings.registry.as_deref()).unwrap_or(REGISTRY);
        let current = std::path::absolute(Path::new(".")).unwrap_or_default();
        Address::parse(named, &current)
    }

    fn interface(&self, token: Option<String>, settings: &Settings) -> Result<Option<Interface>, Failure> {
        let prepared =
            token.map(|token| Interface::new(&settings.network, &settings.limits, &self.api, token));
        prepared.transpose()
    }

    /// Returns the token for the interface of a registry's forge, where both are there.
    fn token(&self, address: &Address, env: Env<'_>) -> Option<String> {
        address.forge.as_ref()?;
        env(&self.token_env).map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())
    }
}

/// Prints on stderr without a new line, for a question.
fn eprint(text: &str) {
    use std::io::Write as _;
    // When even stderr is gone nobody can be asked, and no answer is no.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

impl Terminal {
    /// Prints a part of an answer where answers are text.
    fn tell_text(&self, text: &str) -> Result<(), Ended> {
        match self.output {
            Output::Json => Ok(()),
            _ => self.put(text),
        }
    }

    /// Prints the whole answer where answers are JSON.
    fn tell_json(&self, answer: &Value) -> Result<(), Ended> {
        match self.output {
            Output::Json => self.print(answer, |_, _| String::new()),
            _ => Ok(()),
        }
    }
}

fn sealing(sealed: &Sealed, address: &Address, is_dry: bool) -> String {
    let Sealed { archive, archived, key_id, checksum, signature_bytes, place, change, .. } = sealed;
    let files: Vec<String> = change.files.iter().map(|path| format!("    {path}\n")).collect();
    let archive_word = match place {
        Place::Url(_) if is_dry => "not looked at in a dry run",
        Place::Url(_) => "fetched, and the same",
        Place::Registry(_) => "in the registry",
        Place::Release { .. } => "a release of the registry, made first",
    };
    format!(
        "\n  Building package archive...\n    Package size: {} ({archived} files)\n\n  Signing with ML-DSA-87...\n    Key: {}\n    \
         Checksum (SHA3-256): {}\n    Signature: {signature_bytes} bytes\n\n  Publishing to {}...\n    Archive: {} \
         ({archive_word})\n    Branch: {}\n{}",
        size(archive.len()),
        plain(key_id),
        checksum.hex(),
        plain(&address.url),
        plain(place.as_text()),
        change.branch,
        files.concat()
    )
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        _ => format!("{} KB", bytes.div_ceil(1024)),
    }
}

fn described(sealed: &Sealed, address: &Address) -> Value {
    json!({
        "registry": address.url,
        "name": sealed.name,
        "version": sealed.version.to_string(),
        "publisher": sealed.publisher,
        "keyId": sealed.key_id,
        "checksum": sealed.checksum,
        "archive": { "bytes": sealed.archive.len(), "files": sealed.archived, "url": sealed.place.as_text() },
        "branch": sealed.change.branch,
        "title": sealed.change.title,
        "files": sealed.change.files.iter().map(ToString::to_string).collect::<Vec<String>>(),
    })
}

fn add(answer: &mut Value, submitted: &Submitted) {
    answer["pullRequest"] =
        submitted.pull.as_ref().map_or(Value::Null, |pull| json!({ "number": pull.number, "url": pull.url }));
    if submitted.pull.is_none() {
        answer["next"] = submitted.next.as_str().into();
    }
    if let Some(failure) = &submitted.unasked {
        answer["warning"] = failure.problem(None);
    }
}

/// Says why nobody was asked to merge what was pushed.
fn warn(terminal: &Terminal, submitted: &Submitted) {
    if let Some(failure) = &submitted.unasked {
        let code = failure.code.row().text;
        terminal.say(&format!("warning: {code} {}: {}", failure.reason, failure.detail));
    }
}

fn done(change: &Submission, submitted: &Submitted) -> String {
    match &submitted.pull {
        Some(pull) => format!(
            "    Created PR #{}: \"{}\"\n    {}\n\n  Done! PR will be reviewed and merged by registry maintainers.\n",
            pull.number,
            change.title,
            plain(&pull.url)
        ),
        None => format!(
            "    Pushed: \"{}\"\n\n  Done! What comes next, in a checkout of the registry:\n    {}\n",
            change.title,
            plain(&submitted.next)
        ),
    }
}
