//! The verb `search`: its call, and the table of its hits. Never filters or ranks: the answer's order stands.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use crate::api::{Call, encoded};
use crate::cli::render::{Paint, field, list, table, verdict, width};

/// The narrowest column into which a summary is still cut.
const SUMMARY_MIN: usize = 12;

/// What `search` takes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  resolverd search text slug
  resolverd search FIX adapter -c wire-adapter --verified

Where every hit of a page is of an eStream registry, the table names category, publisher and badges; else kind, source and trust.")]
pub struct Search {
    /// Words, all of which must be found in id, keywords or description; without any the filters alone decide
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// Only components of this kind
    #[arg(long, alias = "type")]
    kind: Option<String>,
    /// Only components that carry this category
    #[arg(short, long)]
    category: Option<String>,
    /// Only components that carry this keyword or tag
    #[arg(short, long)]
    tag: Option<String>,
    /// Only components that this source owns
    #[arg(long)]
    source: Option<String>,
    /// Only components whose publisher an eStream registry has verified; nothing of LCOD is
    #[arg(long)]
    verified: bool,
    /// Only official eStream components, of registries whose source owns their ids; nothing of LCOD is
    #[arg(long)]
    official: bool,
    /// How many at most, up to 100
    #[arg(long)]
    limit: Option<usize>,
    /// Where the page starts: the cursor of the page before
    #[arg(long)]
    cursor: Option<String>,
}

/// Returns the call.
pub fn call(arguments: &Search) -> Call {
    let Search { words, kind, category, tag, source, verified, official, limit, cursor } = arguments;
    let query = Some(words.join(" ")).filter(|query| !query.is_empty());
    let yes = |flag: &bool| flag.then(|| "true".to_owned());
    let parameters = [
        ("q", query),
        ("type", kind.clone()),
        ("category", category.clone()),
        ("tag", tag.clone()),
        ("source", source.clone()),
        ("verified", yes(verified)),
        ("official", yes(official)),
        ("limit", limit.map(|limit| limit.to_string())),
        ("cursor", cursor.clone()),
    ];
    let given: Vec<String> = parameters
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encoded(&value?))))
        .collect();
    let query = if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) };
    Call::get(format!("/v1/components/search{query}"))
}

/// Returns the table of hits; where a terminal has `columns`, summaries are cut to them.
pub fn text(answer: &Value, paint: Paint, columns: Option<usize>) -> String {
    let items = list(answer, "items");
    if items.is_empty() {
        return "nothing matches; resolverd components lists what there is\n".to_owned();
    }
    let row = |one: &Value| {
        let mut trust = verdict(one, paint);
        if one["stale"] == true {
            trust.push_str(&format!(", {}", paint.note("stale")));
        }
        let shadowed = list(one, "shadowed").len();
        if shadowed > 0 {
            trust.push_str(&format!(", shadows {shadowed}"));
        }
        let origin = format!("{}/{}", field(one, "source"), field(one, "catalogue"));
        vec![
            field(one, "id"),
            field(one, "version"),
            field(one, "kind"),
            origin,
            trust,
            field(one, "summary"),
        ]
    };
    let mut rows: Vec<Vec<String>> = items.iter().map(row).collect();
    let head = ["NAME", "VERSION", "KIND", "SOURCE", "TRUST", "SUMMARY"];
    if let Some(columns) = columns {
        cut(&head, &mut rows, columns);
    }
    let mut out = table(&head, rows);
    let total = answer["total"].as_u64().unwrap_or_default();
    let cursor = field(answer, "nextCursor");
    if !cursor.is_empty() {
        // A String takes what is written.
        let _ = writeln!(out, "{} of {total}; more: --cursor {cursor}", items.len());
    }
    out
}

/// Cuts the last cell of every row, so that lines fit into `columns`.
fn cut(head: &[&str], rows: &mut [Vec<String>], columns: usize) {
    let last = head.len() - 1;
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell));
        cells.chain([head[column].len()]).max().unwrap_or(0) + 2
    };
    let before: usize = (0..last).map(widest).sum();
    let room = columns.saturating_sub(before).max(SUMMARY_MIN);
    for cell in rows.iter_mut().filter_map(|row| row.get_mut(last)) {
        if cell.chars().count() > room {
            *cell = cell.chars().take(room - 1).chain(['…']).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Value {
        json!({"total": 3, "nextCursor": "0a", "items": [
            {"id": "lcod://a/b", "version": "1.0.0", "kind": "flow", "source": "x", "catalogue": "y", "verdict": "pinned",
             "stale": true, "shadowed": [{}], "summary": "a summary of many words that goes on"},
            {"id": "lcod://a/c", "version": null, "source": "x", "catalogue": "y", "verdict": "refused", "shadowed": []}]})
    }

    #[test]
    fn a_table_is_cut_only_where_a_terminal_has_columns() {
        let whole = text(&answer(), Paint::Plain, None);
        assert_eq!(
            whole,
            "NAME        VERSION  KIND  SOURCE  TRUST                     SUMMARY\n\
             lcod://a/b  1.0.0    flow  x/y     pinned, stale, shadows 1  a summary of many words that goes on\n\
             lcod://a/c  -        -     x/y     refused                   -\n\
             2 of 3; more: --cursor 0a\n"
        );
        let narrow = text(&answer(), Paint::Plain, Some(80));
        assert!(narrow.contains("a summary of many …\n"), "{narrow}");
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(text(&answer(), Paint::Plain, Some(10)).contains("a summary o…\n"));
        assert!(text(&json!({"items": []}), Paint::Plain, None).starts_with("nothing matches"));
    }

    #[test]
    fn every_argument_reaches_the_call() {
        let arguments = Search {
            words: vec!["a b".to_owned(), "c".to_owned()],
            kind: Some("flow".to_owned()),
            category: None,
            tag: Some("x&y".to_owned()),
            source: None,
            verified: true,
            official: false,
            limit: Some(5),
            cursor: None,
        };
        assert_eq!(
            call(&arguments).target,
            "/v1/components/search?q=a%20b%20c&type=flow&tag=x%26y&verified=true&limit=5"
        );
    }
}
