//! `resolverd audit`: the newest lines of the audit log, and whether it is what was written. Reads files; needs no daemon, and
//! writes nothing.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::api::{Code, Failure};
use crate::cli::render::{Paint, field, list, plain, table, text, texts};
use crate::cli::{Ended, Terminal};
use crate::config::Settings;
use crate::daemon::audit;

/// The most lines that are shown at once.
const LINES_MAX: u64 = 10_000;

/// What `audit` does.
#[derive(Debug, Clone, Subcommand)]
pub enum AuditAct {
    /// Verify that no line was changed, moved or taken away; the exit status is 7 when one was
    Verify {
        /// A line that was noted elsewhere, as an earlier verification printed it; may be given several times
        #[arg(long, value_name = "LINE:DIGEST")]
        seen: Vec<String>,
    },
    /// Show the newest lines, newest last, and say where they do not continue each other
    Tail {
        /// How many at most
        #[arg(short = 'n', long, value_name = "LINES", default_value_t = 20,
              value_parser = clap::value_parser!(u64).range(1..=LINES_MAX))]
        lines: u64,
    },
}

/// Runs the verb.
///
/// **Errors**: a file cannot be read; the log is not what was written.
pub(super) fn run(act: &AuditAct, settings: &Settings, terminal: &Terminal) -> Result<u8, Ended> {
    match act {
        AuditAct::Tail { lines } => {
            let found = audit::tail(settings, usize::try_from(*lines).unwrap_or(usize::MAX))?;
            terminal.print(&json!({"items": found.lines, "faults": found.faults}), tail)?;
        }
        AuditAct::Verify { seen } => {
            let found = audit::verified(settings, seen)?;
            let mut answer = serde_json::to_value(&found).unwrap_or_default();
            answer["unseen"] = json!(audit::UNSEEN);
            if let Some(refusal) = audit::refused(settings, &found) {
                // What was found goes to whoever reads on, then why the verb fails.
                terminal.print(&answer, verified)?;
                let failure =
                    Failure::new(Code::SignatureInvalid, "trust.audit_damaged", refusal.to_string());
                let hint = "look who could write there; keep a copy before anything is changed";
                return Err(failure.hint(hint).into());
            }
            terminal.print(&answer, verified)?;
        }
    }
    Ok(0)
}

fn tail(answer: &Value, paint: Paint) -> String {
    let rows = list(answer, "items").iter().map(|one| {
        let event = field(one, "event");
        let event = match event.as_str() {
            "denied" | "damaged" | "policy-rejected" => paint.bad(&event),
            "mutated" | "removed" | "excepted" | "rotated" => paint.note(&event),
            _ => event,
        };
        let versions = texts(list(one, "versions")).join(" ");
        let subject = match versions.is_empty() {
            true => field(one, "subject"),
            false => format!("{} {versions}", field(one, "subject")),
        };
        vec![text(&one["seq"]), field(one, "time"), event, subject, field(one, "reason"), field(one, "text")]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let faults = faults(answer, paint);
    if rows.is_empty() && faults.is_empty() {
        return "nothing has been written yet\n".to_owned();
    }
    let more = match faults.is_empty() {
        true => "",
        false => "this is not what was written: resolverd audit verify looks at the whole log\n",
    };
    table(&["LINE", "TIME", "EVENT", "SUBJECT", "REASON", "TEXT"], rows) + &faults + more
}

fn faults(answer: &Value, paint: Paint) -> String {
    let one = |fault: &Value| {
        let place = format!("{}, line {}", field(fault, "file"), text(&fault["line"]));
        format!("{} {place}: {}\n", paint.bad("-"), field(fault, "found"))
    };
    list(answer, "faults").iter().map(one).collect()
}

fn verified(answer: &Value, paint: Paint) -> String {
    let mut out = match answer["digest"].as_str() {
        None => "nothing has been written yet\n".to_owned(),
        Some(digest) => format!(
            "lines {} to {}: {}\nlast: {}:{digest}\n",
            text(&answer["first"]),
            text(&answer["last"]),
            if list(answer, "faults").is_empty() {
                "as they were written".to_owned()
            } else {
                paint.bad("damaged")
            },
            text(&answer["last"]),
        ),
    };
    out.push_str(&faults(answer, paint));
    for note in texts(list(answer, "notes")) {
        out.push_str(&format!("note: {}\n", plain(&note)));
    }
    out + &format!("not seen: {}\n", field(answer, "unseen"))
}
