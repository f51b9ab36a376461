//! Text for people: aligned tables and sentences made from an answer's JSON.
//!
//! Prints nothing itself. Everything in an answer is foreign, so control and bidirectional characters are escaped.

use serde_json::Value;

/// Whether text carries colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Terminal colours.
    Colours,
    /// Plain text.
    Plain,
}

impl Paint {
    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Paint::Colours => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Paint::Plain => text.to_owned(),
        }
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    pub(super) fn note(self, text: &str) -> String {
        self.wrap("33", text)
    }

    pub(super) fn strong(self, text: &str) -> String {
        self.wrap("1", text)
    }
}

/// The sentence that stands where no trust policy is set.
pub const NO_POLICY: &str =
    "no trust policy is set: documents must satisfy their pins, nothing must be signed";

/// Returns `text` with everything escaped that could move the cursor, hide or reorder text.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let shown = matches!(c, ' '..='~' | '…' | '—') || c.is_alphanumeric();
        if shown { out.push(c) } else { out.extend(c.escape_unicode()) }
    }
    out
}

/// Returns `error: …` and `hint: …` lines for a problem document.
pub fn problem(problem: &Value, paint: Paint) -> String {
    let code = field(problem, "code");
    let detail = match problem["detail"].as_str() {
        None | Some("") => "the answer is an error without a description".to_owned(),
        // Some parsers point at the place with lines of their own.
        Some(detail) => detail.lines().map(plain).collect::<Vec<String>>().join("\n    "),
    };
    let mut out = format!("{} {detail}", paint.bad("error:"));
    if !code.is_empty() {
        out.push_str(&format!(" [{code} {}]", field(problem, "reason")));
    }
    out.push('\n');
    let nearest = list(problem, "nearest");
    if nearest.len() > 1 {
        out.push_str(&format!("  resembling: {}\n", texts(nearest).join(", ")));
    }
    let available = list(problem, "available");
    if !available.is_empty() {
        out.push_str(&format!("  available: {}\n", texts(available).join(", ")));
    }
    let hint = field(problem, "hint");
    if !hint.is_empty() {
        out.push_str(&format!("{} {hint}\n", paint.strong("hint:")));
    }
    out
}

/// Returns the text of a resolution.
pub fn resolution(answer: &Value, paint: Paint) -> String {
    let rows = list(answer, "components").iter().map(|one| {
        vec![
            format!("{}@{}", field(one, "id"), field(one, "version")),
            origin(&one["source"]),
            short_commit(&one["source"]),
            verdict(&one["trust"], paint),
            short(&field(&one["integrity"], "manifest")),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let mut out = match rows.is_empty() {
        true => String::new(),
        false => table(&["COMPONENT", "CATALOGUE", "COMMIT", "VERDICT", "MANIFEST"], rows),
    };
    for one in list(answer, "components") {
        for shadow in list(one, "shadowed") {
            out.push_str(&format!(
                "shadowed: {} in {} ({})\n",
                field(one, "id"),
                origin_of(shadow, "source"),
                texts(list(shadow, "versions")).join(", ")
            ));
        }
    }
    for native in list(answer, "natives") {
        out.push_str(&format!("native: {}\n", text(native)));
    }
    for stale in list(answer, "stale") {
        out.push_str(&format!(
            "{} source {} is stale, at least in part: last good documents answer (see resolverd catalogues)\n",
            paint.note("stale:"),
            text(stale)
        ));
    }
    for warning in list(answer, "warnings") {
        out.push_str(&format!("{} {}\n", paint.note("warning:"), field(warning, "text")));
    }
    out.push_str(&format!(
        "generation {}, snapshot {}\n",
        text(&answer["generation"]),
        short(&field(answer, "snapshot"))
    ));
    out
}

/// Returns the text of a component.
pub fn component(answer: &Value, paint: Paint) -> String {
    let mut out = facts(&[
        ("id", field(answer, "id")),
        ("latest", field(answer, "latest")),
        ("kind", field(answer, "kind")),
        ("summary", field(answer, "summary")),
        ("source", field(answer, "source")),
        ("catalogue", field(answer, "catalogue")),
    ]);
    out.push_str(&shadows(answer));
    out.push('\n');
    out.push_str(&version_table(list(answer, "releases"), paint));
    out
}

/// Returns the text of a release.
pub fn release(answer: &Value, paint: Paint) -> String {
    let trust = &answer["trust"];
    let source = &answer["source"];
    let mut out = facts(&[
        ("id", field(answer, "id")),
        ("version", field(answer, "version")),
        ("kind", field(answer, "kind")),
        ("summary", field(answer, "summary")),
        ("catalogue", origin(source)),
        ("repository", field(source, "repository")),
        ("commit", field(source, "commit")),
        ("path", field(source, "path")),
        ("manifest", field(&answer["integrity"], "manifest")),
        ("verdict", verdict(trust, paint)),
        ("refusal", refusal(&trust["refusal"])),
        ("yanked", if answer["yanked"] == true { "yes".to_owned() } else { String::new() }),
        ("requires", texts(list(answer, "dependencies")).join(", ")),
    ]);
    out.push_str(&shadows(answer));
    let files = list(&answer["integrity"], "files");
    let wide = files.iter().map(|file| field(file, "path").chars().count()).max().unwrap_or(0);
    for file in files {
        let line = format!("file        {:<wide$}  {}", field(file, "path"), short(&field(file, "digest")));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for warning in list(answer, "warnings") {
        out.push_str(&format!("{} {}\n", paint.note("warning:"), field(warning, "text")));
    }
    out
}

/// Returns the text of a list of versions.
pub fn versions(answer: &Value, paint: Paint) -> String {
    version_table(list(answer, "items"), paint)
}

fn version_table(versions: &[Value], paint: Paint) -> String {
    let rows = versions.iter().map(|one| {
        let mut marks = Vec::new();
        if one["yanked"] == true {
            marks.push("yanked".to_owned());
        }
        if one["prerelease"] == true {
            marks.push("prerelease".to_owned());
        }
        if !one["refusal"].is_null() {
            marks.push(refusal(&one["refusal"]));
        }
        vec![field(one, "version"), verdict(one, paint), short(&field(one, "manifest")), marks.join(", ")]
    });
    table(&["VERSION", "VERDICT", "MANIFEST", "NOTES"], rows.collect())
}

/// Returns the text of a list of sources.
pub fn sources(answer: &Value, paint: Paint) -> String {
    source_table(list(answer, "items"), paint)
}

fn source_table(items: &[Value], paint: Paint) -> String {
    let rows = items.iter().map(|one| {
        vec![
            field(one, "id"),
            state(one, "state", paint),
            age(&one["ageSeconds"]),
            text(&one["priority"]),
            text(&one["catalogues"]),
            text(&one["releases"]),
            text(&one["refused"]),
            text(&one["skipped"]),
            field(one, "location"),
        ]
    });
    let head = [
        "SOURCE",
        "STATE",
        "CHECKED",
        "PRIORITY",
        "CATALOGUES",
        "RELEASES",
        "REFUSED",
        "SKIPPED",
        "LOCATION",
    ];
    format!("{}{}", table(&head, rows.collect()), errors(items, paint))
}

/// Returns the text of a list of catalogues.
pub fn catalogues(answer: &Value, paint: Paint) -> String {
    let items = list(answer, "items");
    let rows = items.iter().map(|one| {
        vec![
            origin_of_node(one),
            state(one, "state", paint),
            verdict(one, paint),
            short_commit(one),
            text(&one["releases"]),
            text(&one["refused"]),
            text(&one["skipped"]),
        ]
    });
    let head = ["CATALOGUE", "STATE", "VERDICT", "COMMIT", "RELEASES", "REFUSED", "SKIPPED"];
    format!("{}{}", table(&head, rows.collect()), errors(items, paint))
}

/// Returns the text of a list of components.
pub fn components(answer: &Value, paint: Paint) -> String {
    let rows = list(answer, "items").iter().map(|one| {
        vec![
            field(one, "id"),
            field(one, "latest"),
            field(one, "kind"),
            verdict(one, paint),
            format!("{}/{}", field(one, "source"), field(one, "catalogue")),
            field(one, "summary"),
        ]
    });
    let mut out = table(&["COMPONENT", "LATEST", "KIND", "VERDICT", "CATALOGUE", "SUMMARY"], rows.collect());
    let cursor = field(answer, "nextCursor");
    if !cursor.is_empty() {
        out.push_str(&format!("more: --cursor {cursor}\n"));
    }
    out
}

/// Returns the text of a sync's report.
pub fn report(answer: &Value, paint: Paint) -> String {
    let items = list(answer, "sources");
    let rows = items.iter().map(|one| {
        vec![
            field(one, "id"),
            state(one, "health", paint),
            text(&one["releases"]),
            text(&one["refused"]),
            text(&one["skipped"]),
        ]
    });
    let changed = if answer["changed"] == true { "new" } else { "unchanged" };
    format!(
        "{}{}generation {} ({changed}), snapshot {}; {} documents and {} bytes fetched, {} rows written\n",
        table(&["SOURCE", "STATE", "RELEASES", "REFUSED", "SKIPPED"], rows.collect()),
        errors(items, paint),
        text(&answer["generation"]),
        short(&field(answer, "snapshot")),
        text(&answer["documentsFetched"]),
        text(&answer["bytesFetched"]),
        text(&answer["rowsWritten"]),
    )
}

/// Returns what is wrong with the configuration; `None` where nothing is.
pub fn configuration(health: &Value) -> Option<String> {
    (!health["configuration"].is_null()).then(|| refusal(&health["configuration"]))
}

/// Returns the text of a status.
pub fn status(answer: &Value, paint: Paint) -> String {
    let health = &answer["health"];
    let answers = match answer["answers"].as_str() {
        Some("daemon") => {
            format!("a daemon, version {}, up {} s", field(health, "version"), text(&health["uptimeSeconds"]))
        }
        _ => "no daemon runs; this command answers in process".to_owned(),
    };
    let generation = match health["generation"].is_null() {
        true => "none yet: run resolverd sync".to_owned(),
        false => format!("{}, snapshot {}", text(&health["generation"]), field(health, "snapshot")),
    };
    let word = field(health, "status");
    let word = if word == "ok" { word } else { paint.note(&word) };
    let mut out = facts(&[
        ("status", word),
        ("socket", field(answer, "socket")),
        ("answers", answers),
        ("generation", generation),
        ("policy", NO_POLICY.to_owned()),
    ]);
    if let Some(problem) = configuration(health) {
        out.push_str(&format!("{} {problem}\n", paint.bad("configuration:")));
    }
    let sources = list(answer, "sources");
    if !sources.is_empty() {
        out.push('\n');
        out.push_str(&source_table(sources, paint));
    }
    // Sources say their own errors above; what is left concerns single catalogues.
    for one in list(health, "degraded").iter().filter(|one| one["what"] == "catalogue") {
        out.push_str(&format!(
            "{} catalogue {}: {}\n",
            paint.note("warning:"),
            field(one, "id"),
            field(one, "text")
        ));
    }
    out
}

/// Returns the text of the versions.
pub fn version(answer: &Value, _paint: Paint) -> String {
    let daemon = match field(answer, "daemon") {
        version if version.is_empty() => "no daemon runs".to_owned(),
        version => format!("daemon {version}"),
    };
    format!("{} {} ({daemon})\n", field(answer, "name"), field(answer, "version"))
}

fn errors(items: &[Value], paint: Paint) -> String {
    let failing = items.iter().filter(|one| !one["error"].is_null());
    failing
        .map(|one| {
            format!("{} {}: {}\n", paint.note("warning:"), origin_of_node(one), refusal(&one["error"]))
        })
        .collect()
}

fn shadows(answer: &Value) -> String {
    let line = |shadow: &Value| {
        let versions = texts(list(shadow, "versions")).join(", ");
        format!("shadows     {} ({versions})\n", origin_of(shadow, "source"))
    };
    list(answer, "shadowed").iter().map(line).collect()
}

fn refusal(refusal: &Value) -> String {
    if refusal.is_null() {
        return String::new();
    }
    let mut out = format!("{}: {}", field(refusal, "subject"), field(refusal, "reason"));
    let (expected, found) = (field(refusal, "expected"), field(refusal, "found"));
    if !expected.is_empty() {
        out.push_str(&format!(": expected {expected}"));
    }
    if !found.is_empty() {
        out.push_str(&format!("{} found {found}", if expected.is_empty() { ":" } else { "," }));
    }
    out
}

fn state(one: &Value, name: &str, paint: Paint) -> String {
    match field(one, name) {
        word if word == "fresh" => word,
        word => paint.note(&word),
    }
}

/// Returns how long ago something was, in its largest unit; nothing where it is not known.
fn age(seconds: &Value) -> String {
    match seconds.as_u64() {
        None => String::new(),
        Some(seconds @ 0..60) => format!("{seconds} s ago"),
        Some(seconds @ 60..3_600) => format!("{} min ago", seconds / 60),
        Some(seconds @ 3_600..172_800) => format!("{} h ago", seconds / 3_600),
        Some(seconds) => format!("{} days ago", seconds / 86_400),
    }
}

fn verdict(one: &Value, paint: Paint) -> String {
    let claimed = match field(one, "signature") {
        word if word.is_empty() => word,
        word => format!(", signature {word}"),
    };
    match field(one, "verdict") {
        word if word == "refused" => paint.bad(&(word + &claimed)),
        word if word == "unpinned" || !claimed.is_empty() => paint.note(&(word + &claimed)),
        word => word,
    }
}

fn origin(source: &Value) -> String {
    origin_of(source, "id")
}

fn origin_of(row: &Value, source: &str) -> String {
    format!("{}/{}", field(row, source), field(row, "catalogue"))
}

fn origin_of_node(one: &Value) -> String {
    match field(one, "source") {
        source if source.is_empty() => field(one, "id"),
        source => format!("{source}/{}", field(one, "id")),
    }
}

fn short_commit(row: &Value) -> String {
    field(row, "commit").chars().take(12).collect()
}

/// Returns the start of a digest, enough to compare by eye; JSON has it whole.
fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

fn field(value: &Value, name: &str) -> String {
    text(&value[name])
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    }
}

fn texts(values: &[Value]) -> Vec<String> {
    values.iter().map(text).collect()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn facts(facts: &[(&str, String)]) -> String {
    let given = facts.iter().filter(|(_, value)| !value.is_empty());
    given.map(|(name, value)| format!("{name:<12}{value}\n")).collect()
}

/// Returns rows in aligned columns, without spaces at the end of a line. Colours have no width.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut lines = vec![head.iter().map(ToString::to_string).collect::<Vec<String>>()];
    let dashed = |cell: String| if cell.is_empty() { "-".to_owned() } else { cell };
    lines.extend(rows.into_iter().map(|row| row.into_iter().map(dashed).collect()));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for line in lines {
        let mut text = String::new();
        for (cell, wide) in line.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', wide - width(cell) + 2));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

fn width(cell: &str) -> usize {
    let mut wide = 0;
    let mut colour = false;
    for c in cell.chars() {
        match (colour, c) {
            (_, '\u{1b}') => colour = true,
            (true, 'm') => colour = false,
            (true, _) => {}
            (false, _) => wide += 1,
        }
    }
    wide
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_aligned_and_colours_have_no_width() {
        let rows = vec![
            vec!["a".to_owned(), Paint::Colours.bad("refused"), "x".to_owned()],
            vec!["longer".to_owned(), "ok".to_owned(), String::new()],
        ];
        let text = table(&["A", "B", "C"], rows);
        assert_eq!(text, "A       B        C\na       \u{1b}[1;31mrefused\u{1b}[0m  x\nlonger  ok       -\n");
    }

    #[test]
    fn nothing_foreign_reaches_the_terminal_unescaped() {
        let answer =
            json!({"items": [{"id": "x\u{1b}[2J", "summary": "\u{202e}evil\r\n", "verdict": "pinned"}]});
        let text = components(&answer, Paint::Plain);
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\r']), "{text:?}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn a_problem_ends_with_its_hint() {
        let found = problem(
            &json!({"code": "E002", "reason": "version_unknown", "detail": "no version", "hint": "ask for 1", "available": ["1.0.0", "0.9.0"]}),
            Paint::Plain,
        );
        assert_eq!(
            found,
            "error: no version [E002 version_unknown]\n  available: 1.0.0, 0.9.0\nhint: ask for 1\n"
        );
        assert!(problem(&json!(7), Paint::Plain).starts_with("error: "));
    }

    #[test]
    fn a_detail_of_several_lines_stays_readable_and_says_no_hint_of_its_own() {
        let found = problem(
            &json!({"code": "R008", "detail": "a.toml: line 1\n1 | x = [\nhint: \u{1b}[2J"}),
            Paint::Plain,
        );
        assert_eq!(found, "error: a.toml: line 1\n    1 | x = [\n    hint: \\u{1b}[2J [R008 ]\n");
    }

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        let check = |seconds: Value, expected: &str| assert_eq!(age(&seconds), expected);
        check(json!(null), "");
        check(json!(59), "59 s ago");
        check(json!(60), "1 min ago");
        check(json!(3_600), "1 h ago");
        check(json!(172_799), "47 h ago");
        check(json!(172_800), "2 days ago");
    }

    #[test]
    fn an_answer_of_natives_alone_has_no_empty_table() {
        let answer = json!({"natives": ["lcod://contract/a@1"], "generation": 1, "snapshot": "sha256:00"});
        assert_eq!(
            resolution(&answer, Paint::Plain),
            "native: lcod://contract/a@1\ngeneration 1, snapshot sha256:00\n"
        );
    }

    #[test]
    fn a_status_says_that_no_policy_is_set() {
        let answer = json!({
            "socket": "/run/s", "answers": "in-process",
            "health": {"status": "degraded", "generation": 3, "snapshot": "sha256:00", "degraded": []},
            "sources": [{"id": "a", "state": "stale", "error": {"subject": "a", "reason": "git.missing", "expected": "", "found": "nothing"}}]
        });
        let text = status(&answer, Paint::Plain);
        assert!(text.contains(NO_POLICY) && text.contains("generation  3, snapshot sha256:00"), "{text}");
        assert!(text.ends_with("warning: a: a: git.missing: found nothing\n"), "{text}");
    }
}
