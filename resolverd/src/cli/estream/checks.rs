//! The validations of a component: the command that judges what this program cannot, and how outcomes are shown.

use clap::Args;
use serde_json::{Value, json};

use crate::api::{Code, Failure};
use crate::cli::Env;
use crate::cli::render::{Paint, field, list, plain};
use crate::config::Settings;
use crate::estream::package::against::{Check, Outcome};
use crate::estream::package::command::{CheckCommand, TIMEOUT_S};

/// What names the command that judges circuits and test vectors.
#[derive(Debug, Clone, Args)]
pub struct Checking {
    /// A program that judges circuits and test vectors, with its arguments, separated by spaces (quotes mean nothing: check_command in
    /// config.toml is a list, for arguments with spaces in them); it works in the component's directory, and status 0 means good
    /// [default: check_command of the table [estream] in config.toml]
    #[arg(long, value_name = "COMMAND")]
    check_command: Option<String>,
    /// How long that program may take
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT_S, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    check_timeout: u64,
}

impl Checking {
    /// Returns the command, where one is named.
    ///
    /// **Errors**: R008: there is no such program.
    pub fn command(&self, settings: &Settings, env: Env<'_>) -> Result<Option<CheckCommand>, Failure> {
        let path = env("PATH");
        let words: Vec<String> = match (&self.check_command, &settings.check_command) {
            // Who types a relative path means the directory that they are in, and never the component's.
            (Some(text), _) => from_here(text.split_whitespace().map(str::to_owned).collect()),
            (None, Some(words)) => words.clone(),
            (None, None) => return Ok(None),
        };
        CheckCommand::find(&words, path.as_deref(), self.check_timeout).map(Some)
    }
}

fn from_here(mut words: Vec<String>) -> Vec<String> {
    if let Some(program) = words.first_mut().filter(|program| program.contains('/'))
        && let Ok(absolute) = std::path::absolute(&*program)
    {
        *program = absolute.display().to_string();
    }
    words
}

/// Returns the outcomes as JSON: `name`, `outcome` (`passed`, `skipped`, `failed`), `detail`, and where there are any `why`,
/// `failures` (problem documents) and `output`.
pub fn answer(checks: &[Check]) -> Value {
    let rows = checks.iter().map(|check| {
        let mut row = json!({"name": check.name, "detail": check.detail});
        match &check.outcome {
            Outcome::Passed => row["outcome"] = "passed".into(),
            Outcome::Skipped(why) => {
                row["outcome"] = "skipped".into();
                row["why"] = why.as_str().into();
            }
            Outcome::Failed(failures) => {
                row["outcome"] = "failed".into();
                row["failures"] = failures.iter().map(|failure| failure.problem(None)).collect();
            }
        }
        if !check.output.is_empty() {
            row["output"] = check.output.as_str().into();
        }
        row
    });
    rows.collect()
}

/// Returns the outcomes as lines: what was looked at, what was not and why, and everything that is wrong with its hint.
pub fn text(checks: &[Value], paint: Paint) -> String {
    let width = checks.iter().map(|check| field(check, "name").len()).max().unwrap_or_default();
    let mut out = String::new();
    for check in checks {
        let name = format!("{:width$}", field(check, "name"));
        let detail = field(check, "detail");
        match check["outcome"].as_str() {
            Some("passed") => out.push_str(&format!("  ✓ {name}  {detail}\n")),
            Some("skipped") => {
                out.push_str(&format!(
                    "  {} {name}  {}\n",
                    paint.note("–"),
                    paint.note(&field(check, "why"))
                ));
            }
            _ => {
                out.push_str(format!("  {} {name}  {detail}", paint.bad("✗")).trim_end());
                out.push('\n');
                for failure in list(check, "failures") {
                    let (code, detail) = (field(failure, "code"), field(failure, "detail"));
                    out.push_str(&format!("      {detail} [{code} {}]\n", field(failure, "reason")));
                    out.push_str(&format!("      {} {}\n", paint.strong("hint:"), field(failure, "hint")));
                }
            }
        }
        let output = check["output"].as_str().unwrap_or_default();
        out.extend(output.lines().map(|line| format!("      | {}\n", plain(line))));
    }
    out
}

/// Returns the failure that ends a verb where a validation failed: the code is that of the first.
pub fn failed(checks: &[Check], left: &str) -> Option<Failure> {
    let failures: Vec<&Failure> = checks.iter().flat_map(Check::failures).collect();
    let code: Code = failures.first()?.code;
    let count = failures.len();
    let what = if count == 1 { "1 thing is wrong".to_owned() } else { format!("{count} things are wrong") };
    let all: Vec<Value> = failures.iter().map(|failure| failure.problem(None)).collect();
    Some(
        Failure::new(code, "package.checks", format!("{what}, and {left}"))
            .hint("each is listed with what mends it")
            .with("failures", all),
    )
}
