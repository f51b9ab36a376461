//! `resolverd snapshots`: which generations are kept, and what differs between two of them; and which verbs take `--snapshot`.
//! Never keeps or drops a generation.

use clap::Subcommand;
use serde_json::Value;

use crate::api::{Call, Code, Failure, encoded};
use crate::cli::ask::Asker;
use crate::cli::render::{Paint, field, list, short, table, text, texts};
use crate::cli::{Ended, Globals, Terminal, Verb};

/// What `snapshots` can do besides listing.
#[derive(Debug, Clone, Subcommand)]
pub enum SnapshotsCommand {
    /// Show which components and sources differ between two kept snapshots
    Diff {
        /// The earlier snapshot: its digest, or the first 12 digits of it or more
        #[arg(value_name = "A")]
        from: String,
        /// The later snapshot; the current one where it is left out
        #[arg(value_name = "B")]
        to: Option<String>,
        /// How many components at most, up to 1000
        #[arg(long)]
        limit: Option<usize>,
        /// Where the page starts: the cursor of the page before
        #[arg(long)]
        cursor: Option<String>,
    },
}

/// Runs the verb.
///
/// **Errors**: what the caller is told instead of an answer.
pub fn run(
    command: Option<&SnapshotsCommand>,
    asker: &mut Asker<'_>,
    terminal: &Terminal,
) -> Result<(), Ended> {
    match command {
        None => terminal.print(&asker.ask(&Call::get("/v1/snapshots"))?, snapshots),
        Some(SnapshotsCommand::Diff { from, to, limit, cursor }) => {
            let limit = limit.map(|limit| limit.to_string());
            let given = [("to", to), ("limit", &limit), ("cursor", cursor)];
            let mut target = format!("/v1/snapshots/diff?from={}", encoded(from));
            for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
                target.push_str(&format!("&{name}={}", encoded(value)));
            }
            terminal.print(&asker.ask(&Call::get(target))?, diff)
        }
    }
}

/// Refuses `--snapshot` on a verb that does not answer from one generation.
///
/// **Errors**: R011 `api.snapshot`.
pub fn refuse_where_unheard(verb: &Verb, globals: &Globals) -> Result<(), Failure> {
    let heard = matches!(
        verb,
        Verb::Resolve(_)
            | Verb::Tree(_)
            | Verb::Outdated(_)
            | Verb::Info { .. }
            | Verb::Versions { .. }
            | Verb::Sources
            | Verb::Catalogues
            | Verb::Components(_)
            | Verb::Search(_)
            | Verb::Explain(_)
            | Verb::Lock(_)
            | Verb::Check(_)
            | Verb::Why(_)
    );
    if heard || globals.snapshot.is_none() {
        return Ok(());
    }
    let detail = "this verb asks no single snapshot, so it takes no --snapshot";
    Err(Failure::new(Code::RequestInvalid, "api.snapshot", detail).hint("leave --snapshot out"))
}

/// Returns the text of the list.
fn snapshots(answer: &Value, paint: Paint) -> String {
    let rows = list(answer, "items").iter().map(|one| {
        let stale = texts(list(one, "stale")).join(", ");
        vec![
            text(&one["generation"]),
            field(one, "snapshot"),
            field(one, "committedAt"),
            text(&one["components"]),
            text(&one["sources"]),
            if stale.is_empty() { stale } else { paint.note(&stale) },
            match (&one["current"], &one["answers"]) {
                (Value::Bool(true), _) => "current".to_owned(),
                (_, Value::Bool(false)) => paint.note("judged by an earlier policy: not answered"),
                _ => String::new(),
            },
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return "no snapshot is kept yet: run resolverd sync\n".to_owned();
    }
    table(&["GENERATION", "SNAPSHOT", "COMMITTED", "COMPONENTS", "SOURCES", "STALE", "NOTES"], rows)
}

/// Returns the text of a comparison: `+` came, `-` went, `~` changed.
fn diff(answer: &Value, paint: Paint) -> String {
    let name = |side: &Value| {
        format!("generation {} ({})", text(&side["generation"]), short(&field(side, "snapshot")))
    };
    let mut out = format!("from {} to {}\n", name(&answer["from"]), name(&answer["to"]));
    for one in list(answer, "sources") {
        let notes = [moved(one, "state"), moved(one, "revision")];
        out.push_str(&line(one, &format!("source {}", field(one, "id")), &notes, paint));
    }
    for one in list(answer, "items") {
        let releases: Vec<String> = list(one, "releases").iter().map(release).collect();
        let notes = [moved(one, "owner"), releases.join(", ")];
        out.push_str(&line(one, &field(one, "id"), &notes, paint));
    }
    let cursor = field(answer, "nextCursor");
    if !cursor.is_empty() {
        out.push_str(&format!("more: --cursor {cursor}\n"));
    }
    let counts = &answer["counts"];
    let count = |name: &str| text(&counts[name]);
    out + &format!(
        "components: {} added, {} removed, {} changed\n",
        count("added"),
        count("removed"),
        count("changed")
    )
}

fn line(one: &Value, what: &str, notes: &[String], paint: Paint) -> String {
    let notes: Vec<&str> = notes.iter().map(String::as_str).filter(|note| !note.is_empty()).collect();
    let sign = match sign(one) {
        "-" => paint.bad("-"),
        "~" => paint.note("~"),
        sign => sign.to_owned(),
    };
    let separator = if notes.is_empty() { "" } else { ": " };
    format!("{sign} {what}{separator}{}\n", notes.join("; "))
}

fn release(one: &Value) -> String {
    let notes: Vec<String> = ["manifest", "verdict", "yanked"]
        .map(|name| moved(one, name))
        .into_iter()
        .filter(|note| !note.is_empty())
        .collect();
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
    format!("{}{}{notes}", sign(one), field(one, "version"))
}

fn sign(one: &Value) -> &'static str {
    match one["change"].as_str() {
        Some("added") => "+",
        Some("removed") => "-",
        _ => "~",
    }
}

/// Returns what a value was and is, where it differs.
fn moved(one: &Value, name: &str) -> String {
    let pair = &one[name];
    if pair.is_null() {
        return String::new();
    }
    let told = |side: &str| match text(&pair[side]) {
        none if none.is_empty() => "nothing".to_owned(),
        digest if digest.starts_with("sha") => short(&digest),
        word => word,
    };
    format!("{name} {} to {}", told("from"), told("to"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_comparison_reads_as_lines() {
        let name = |number: u64| json!({"generation": number, "snapshot": "sha256:00"});
        let answer = json!({
            "from": name(1), "to": name(2), "counts": {"added": 1, "removed": 0, "changed": 1},
            "sources": [{"id": "a", "change": "changed", "state": {"from": "fresh", "to": "stale"}}],
            "items": [
                {"id": "lcod://a/b", "change": "added", "releases": [{"version": "1.0.0", "change": "added"}]},
                {"id": "lcod://a/c", "change": "changed", "releases": [
                    {"version": "1.0.0", "change": "changed", "yanked": {"from": false, "to": true}},
                    {"version": "1.1.0\u{1b}", "change": "removed"},
                ]},
            ],
            "nextCursor": "7a",
        });
        let text = diff(&answer, Paint::Plain);
        let expected = "from generation 1 (sha256:00) to generation 2 (sha256:00)\n\
                        ~ source a: state fresh to stale\n\
                        + lcod://a/b: +1.0.0\n\
                        ~ lcod://a/c: ~1.0.0 (yanked false to true), -1.1.0\\u{1b}\n\
                        more: --cursor 7a\n\
                        components: 1 added, 0 removed, 1 changed\n";
        assert_eq!(text, expected);
    }
}
