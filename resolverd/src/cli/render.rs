//! Text for people: aligned tables and sentences made from an answer's JSON.
//!
//! Prints nothing itself. Everything in an answer is foreign, so control and bidirectional characters are escaped.

use catalogue_schema::generation::{NEWER_FORMAT, OLDER_FORMAT, is_of_another_format};
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
    let explanation = problem["explanation"].as_str().unwrap_or_default();
    for line in explanation.lines().skip(1) {
        out.push_str(&format!("  {}\n", plain(line)));
    }
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
    for one in list(answer, "components").iter().filter(|one| one["implementation"].is_string()) {
        let (by, full) =
            (field(one, "implementation"), format!("{}@{}", field(one, "id"), field(one, "version")));
        out.push_str(&format!("implementation: {by} implements {full}\n"));
    }
    for native in list(answer, "natives") {
        out.push_str(&format!("native: {}\n", text(native)));
    }
    for one in list(answer, "substitutions") {
        let (id, to, by) = (field(one, "id"), field(one, "to"), field(one, "by"));
        out.push_str(&format!("{by}: {to} stands for {id}\n"));
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
        ("refusal", refusal_of(&trust["refusal"], &field(answer, "version"))),
        ("yanked", if answer["yanked"] == true { "yes".to_owned() } else { String::new() }),
        ("requires", texts(list(answer, "dependencies")).join(", ")),
        ("implements", texts(list(answer, "implements")).join(", ")),
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
            marks.push(refusal_of(&one["refusal"], &field(one, "version")));
        }
        vec![field(one, "version"), verdict(one, paint), short(&field(one, "manifest")), marks.join(", ")]
    });
    table(&["VERSION", "VERDICT", "MANIFEST", "NOTES"], rows.collect())
}

/// Returns the text of a list of sources.
pub fn sources(answer: &Value, paint: Paint) -> String {
    source_table(list(answer, "items"), paint)
}

/// Returns the text of what is remembered of sources and catalogues.
pub fn revisions(answer: &Value, paint: Paint) -> String {
    let rows = list(answer, "items").iter().map(|one| {
        let order = if one["orderUnknown"] == true { paint.note("unknown") } else { String::new() };
        vec![key(one), revision(one), field(one, "accepted"), text(&one["revisions"]), order]
    });
    table(&["SOURCE", "NEWEST", "ACCEPTED", "REVISIONS", "ORDER"], rows.collect())
}

/// Returns the text of the log of revisions.
pub fn revision_log(answer: &Value, paint: Paint) -> String {
    let rows = list(answer, "items").iter().map(|one| {
        let event = match field(one, "event") {
            word if word == "forgotten" => paint.note(&word),
            word => word,
        };
        vec![
            field(one, "time"),
            event,
            key(one),
            revision(one),
            text(&one["generation"]),
            field(one, "reason"),
        ]
    });
    table(&["TIME", "EVENT", "SOURCE", "REVISION", "GENERATION", "REASON"], rows.collect())
}

fn key(row: &Value) -> String {
    match field(row, "catalogue") {
        catalogue if catalogue.is_empty() => field(row, "source"),
        catalogue => format!("{}/{catalogue}", field(row, "source")),
    }
}

/// Returns the commit of a revision, or the start of its digest where it has none.
fn revision(row: &Value) -> String {
    match short_commit(row) {
        commit if commit.is_empty() => short(&field(row, "digest")),
        commit => commit,
    }
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
        errors(items.iter().filter(|one| one["health"] != "fresh"), paint),
        text(&answer["generation"]),
        short(&field(answer, "snapshot")),
        text(&answer["documentsFetched"]),
        text(&answer["bytesFetched"]),
        text(&answer["rowsWritten"]),
    )
}

/// What says why releases are refused.
const WHY_REFUSED: &str = "resolverd versions ID or resolverd explain ID says why";

/// The reason of a good configuration that a running daemon cannot take whole.
pub const NEEDS_RESTART: &str = "config.restart";

/// Returns what is wrong with the configuration; `None` where nothing is.
pub fn configuration(health: &Value) -> Option<String> {
    (!health["configuration"].is_null()).then(|| refusal(&health["configuration"]))
}

/// Returns the text of a status: the verdict first, then who answers from what, then a line for each source with what is wrong
/// and what helps.
pub fn status(answer: &Value, paint: Paint) -> String {
    let health = &answer["health"];
    let answers = match answer["answers"].as_str() {
        Some("daemon") => {
            let up = duration(health["uptimeSeconds"].as_u64().unwrap_or_default());
            format!("a daemon, version {}, up {up}", field(health, "version"))
        }
        _ => "no daemon runs; this command answers in process".to_owned(),
    };
    let mut out = facts(&[
        ("status", verdict_line(answer, paint)),
        ("answers", answers),
        ("generation", served(answer)),
        ("socket", field(answer, "socket")),
        ("policy", policy(health)),
        ("estream", estream(&answer["estream"])),
        ("next change", field(health, "nextChange")),
    ]);
    if let Some(problem) = configuration(health) {
        out.push_str(&format!("{} {problem}\n", paint.bad("configuration:")));
        // An edit is noticed without a word; the verb is for files on which the system tells nothing.
        let helps = match health["configuration"]["reason"] == NEEDS_RESTART {
            true => "restart the daemon, or take the edit back",
            false => "correct the file, then resolverd reload; what was in force stays until then",
        };
        out.push_str(&format!("              {helps}\n"));
    }
    let sources = list(answer, "sources");
    if !sources.is_empty() {
        out.push('\n');
        out.push_str(&standing(sources, paint));
        // What failed below a source is told further down, catalogue by catalogue.
        let own = sources.iter().filter(|one| one["failed"].is_null());
        out.extend(own.filter_map(|one| trouble(&field(one, "id"), one, paint)));
    }
    let is_whole = |one: &&Value| ["trust", "policy", "store"].iter().any(|what| one["what"] == *what);
    for one in list(health, "degraded").iter().filter(is_whole) {
        out.push_str(&format!("{} {}\n", paint.note("warning:"), field(one, "text")));
        out.push_str(&hint(&one["hint"]));
    }
    out.push_str(&catalogues_not_fresh(health, sources, |_| true, paint));
    out
}

/// Returns which configuration of eStream's own is read, and what it names.
fn estream(home: &Value) -> String {
    let registries = texts(list(home, "registries"));
    match (home["files"].is_array(), registries.is_empty()) {
        (false, _) => String::new(),
        (true, true) => texts(list(home, "files")).join(", "),
        (true, false) => {
            format!("{}; registries: {}", texts(list(home, "files")).join(", "), registries.join(", "))
        }
    }
}

/// Returns which trust policies are in force, or that none is.
fn policy(health: &Value) -> String {
    let policy = &health["policy"];
    let keyset = |one: &Value| format!(", {} at keyset {}", field(one, "signers"), text(&one["version"]));
    let files = list(policy, "files").iter().map(|one| {
        let mode = match field(one, "mode") {
            mode if mode == "enforce" => String::new(),
            mode => format!(", which refuses nothing where its mode is {mode}"),
        };
        let keysets: String = list(one, "keysets").iter().map(keyset).collect();
        format!("{} version {}{keysets}{mode}", field(one, "file"), text(&one["version"]))
    });
    let files: Vec<String> = files.collect();
    match (policy["state"].as_str(), files.is_empty()) {
        (Some("locked"), _) => "none can be used, so that nothing is served".to_owned(),
        (_, true) => NO_POLICY.to_owned(),
        (Some("kept"), false) => format!("{}; what was found since cannot be used", files.join(", ")),
        _ => files.join(", "),
    }
}

/// Tells whether nothing is served since the trust policy cannot be used.
pub(super) fn is_locked(health: &Value) -> bool {
    health["policy"]["state"] == "locked"
}

/// Returns which generation is served and how much it holds.
fn served(answer: &Value) -> String {
    let (health, stats) = (&answer["health"], &answer["stats"]);
    if is_locked(health) {
        return "none is served before the trust policy can be used".to_owned();
    }
    if health["generation"].is_null() {
        return match foreign(health) {
            Some(_) => "none that this version of the program reads".to_owned(),
            None => "none yet: run resolverd sync".to_owned(),
        };
    }
    let counts = match stats.is_null() {
        true => String::new(),
        false => {
            format!(", {} components, {} releases", text(&stats["components"]), text(&stats["releases"]))
        }
    };
    format!("{}, snapshot {}{counts}", text(&health["generation"]), short(&field(health, "snapshot")))
}

/// Returns the lists and catalogues that are not fresh, of those sources that are `shown`, each with what helps. What concerns
/// an entry document is told with its source.
fn catalogues_not_fresh(
    health: &Value,
    sources: &[Value],
    shown: impl Fn(&Value) -> bool,
    paint: Paint,
) -> String {
    let below = list(health, "degraded").iter().filter(|one| one["what"] == "catalogue");
    let mut out = String::new();
    for one in below {
        let id = field(one, "id");
        let owns = |source: &&Value| id.starts_with(&format!("{}/", field(source, "id")));
        let owner = sources.iter().filter(owns).max_by_key(|source| field(source, "id").len());
        let Some(owner) = owner.filter(|source| shown(source)) else { continue };
        let source = field(owner, "id");
        if id != format!("{source}/{source}") {
            let (state, why) = (field(one, "state"), cut(&field(one, "text")));
            out.push_str(&format!("{} catalogue {id} is {state}: {why}\n", paint.note("warning:")));
            out.push_str(&hint(&one["hint"]));
        }
    }
    out
}

/// Returns what says that another version of the program wrote the newest generation.
fn foreign(health: &Value) -> Option<&Value> {
    list(health, "degraded")
        .iter()
        .find(|one| is_of_another_format(one["reason"].as_str().unwrap_or_default()))
}

/// Returns what is wrong with the store, in a few words.
fn store_trouble(one: &Value) -> String {
    match one["reason"].as_str() {
        Some("store.read_only") => "the state directory cannot be written".to_owned(),
        Some(NEWER_FORMAT) => "a newer version of the program wrote the last generation".to_owned(),
        Some(OLDER_FORMAT) => "an older version of the program wrote the last generation".to_owned(),
        _ => field(one, "reason"),
    }
}

/// Returns the verdict, and what is not as it should be.
fn verdict_line(answer: &Value, paint: Paint) -> String {
    let health = &answer["health"];
    let word = field(health, "status");
    let mut why = Vec::new();
    if configuration(health).is_some() {
        why.push(match health["configuration"]["reason"] == NEEDS_RESTART {
            true => "the configuration needs a restart".to_owned(),
            false => "the configuration is broken".to_owned(),
        });
    }
    if !health["policy"]["problem"].is_null() {
        why.push("the trust policy cannot be used".to_owned());
    }
    let of_store: Vec<String> =
        list(health, "degraded").iter().filter(|one| one["what"] == "store").map(store_trouble).collect();
    if health["generation"].is_null() && !is_locked(health) && foreign(health).is_none() {
        why.push("nothing has been synced yet".to_owned());
    }
    why.extend(of_store);
    let not_fresh = list(answer, "sources").iter().filter(|one| one["state"] != "fresh");
    why.extend(not_fresh.map(|one| format!("source {} is {}", field(one, "id"), field(one, "state"))));
    let lost = list(health, "degraded").iter().filter(|one| one["what"] == "trust");
    why.extend(lost.map(|one| field(one, "reason")));
    let below = list(health, "degraded").iter().filter(|one| one["what"] == "catalogue").count();
    if why.is_empty() && below > 0 {
        why.push(format!(
            "{below} {}",
            if below == 1 { "catalogue is not fresh" } else { "catalogues are not fresh" }
        ));
    }
    let refused: u64 = list(answer, "sources").iter().filter_map(|one| one["refused"].as_u64()).sum();
    match word.as_str() {
        "ok" if refused == 0 => word,
        "ok" if refused == 1 => format!("{word}, and 1 release is refused: {WHY_REFUSED}"),
        "ok" => format!("{word}, and {refused} releases are refused: {WHY_REFUSED}"),
        _ if why.is_empty() => paint.note(&word),
        _ => format!("{}: {}", paint.note(&word), why.join(", ")),
    }
}

/// Returns a line for each source: mark, place, kind of origin, pin, age and counts.
fn standing(sources: &[Value], paint: Paint) -> String {
    let count = sources.len();
    let rows = sources.iter().enumerate().map(|(at, one)| {
        let state = field(one, "state");
        let mark = match state.as_str() {
            "fresh" => "+".to_owned(),
            "stale" => paint.note("!"),
            _ => paint.bad("x"),
        };
        vec![
            mark,
            field(one, "id"),
            self::state(one, "state", paint),
            format!("{}/{count}", at + 1),
            field(one, "origin"),
            pin(one),
            checked(one),
            text(&one["catalogues"]),
            text(&one["releases"]),
            text(&one["refused"]),
            text(&one["skipped"]),
            field(one, "location"),
        ]
    });
    let head = [
        " ",
        "SOURCE",
        "STATE",
        "PLACE",
        "KIND",
        "PIN",
        "CHECKED",
        "CATALOGUES",
        "RELEASES",
        "REFUSED",
        "SKIPPED",
        "LOCATION",
    ];
    table(&head, rows.collect())
}

/// Returns what pins a source, else what was found when it was read.
fn pin(one: &Value) -> String {
    let pinned = match field(&one["pin"], "commit") {
        commit if commit.is_empty() => {
            texts(list(&one["pin"], "digests")).into_iter().next().unwrap_or_default()
        }
        commit => commit,
    };
    let found = match field(one, "commit") {
        commit if commit.is_empty() => field(one, "digest"),
        commit => commit,
    };
    match (pinned.is_empty(), found.is_empty()) {
        (false, _) => format!("pinned {}", short(&pinned)),
        (true, false) => format!("at {}", short(&found)),
        (true, true) => String::new(),
    }
}

fn checked(one: &Value) -> String {
    let is_pinned = !one["pin"]["commit"].is_null() || !list(&one["pin"], "digests").is_empty();
    match (is_pinned, one["offline"] == true) {
        (true, _) => "never changes".to_owned(),
        (false, true) => "offline".to_owned(),
        (false, false) => age(&one["ageSeconds"]),
    }
}

/// Returns what is wrong with a source or catalogue, and what helps; nothing where nothing is wrong.
fn trouble(source: &str, one: &Value, paint: Paint) -> Option<String> {
    let error = &one["error"];
    (!error.is_null()).then(|| {
        let what = cut(&refusal(error));
        format!("{} {source}: {what}\n{}", paint.note("warning:"), hint(&error["hint"]))
    })
}

/// The longest error in one line.
const ERROR_CHARS_MAX: usize = 240;

/// Returns what helps, on a line of its own; nothing where nobody knows.
fn hint(said: &Value) -> String {
    said.as_str().map(|said| format!("         {said}\n")).unwrap_or_default()
}

fn cut(text: &str) -> String {
    match text.chars().count() > ERROR_CHARS_MAX {
        true => text.chars().take(ERROR_CHARS_MAX).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// Returns the lists and catalogues that are not fresh though a sync reports that their source is, each with what helps.
pub fn stale_catalogues(health: &Value, report: &Value, paint: Paint) -> String {
    let sources = list(report, "sources");
    catalogues_not_fresh(health, sources, |source| source["health"] == "fresh", paint)
}

/// Returns the text of the versions.
pub fn version(answer: &Value, _paint: Paint) -> String {
    let daemon = match field(answer, "daemon") {
        version if version.is_empty() => "no daemon runs".to_owned(),
        version => format!("daemon {version}"),
    };
    format!("{} {} ({daemon})\n", field(answer, "name"), field(answer, "version"))
}

fn errors<'a>(items: impl IntoIterator<Item = &'a Value>, paint: Paint) -> String {
    let failing = items.into_iter().filter(|one| !one["error"].is_null());
    failing
        .map(|one| {
            let (what, help) = (refusal(&one["error"]), hint(&one["error"]["hint"]));
            format!("{} {}: {what}\n{help}", paint.note("warning:"), origin_of_node(one))
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

/// Returns why a release of this version is refused; what is told beside it does not name it again.
pub(super) fn refusal_of(one: &Value, version: &str) -> String {
    let text = refusal(one);
    let subject = field(one, "subject");
    match subject.ends_with(&format!("@{version}")) {
        true => text.strip_prefix(&format!("{subject}: ")).map(str::to_owned).unwrap_or(text),
        false => text,
    }
}

pub(super) fn refusal(refusal: &Value) -> String {
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
    seconds.as_u64().map(|seconds| format!("{} ago", duration(seconds))).unwrap_or_default()
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

pub(super) fn verdict(one: &Value, paint: Paint) -> String {
    let claimed = match field(one, "signature") {
        word if word.is_empty() => word,
        word => format!(", signature {word}"),
    };
    let (rule, signers) = (field(one, "rule"), texts(list(one, "signers")).join(", "));
    let by = match (rule.is_empty(), signers.is_empty()) {
        (true, _) => String::new(),
        (false, true) => format!(" by rule {rule}"),
        (false, false) => format!(" by rule {rule}, signed by {signers}"),
    };
    let claimed = by + &claimed;
    match field(one, "verdict") {
        word if word == "refused" => paint.bad(&(word + &claimed)),
        word if word == "unpinned" || claimed.contains(", signature ") => paint.note(&(word + &claimed)),
        word => word + &claimed,
    }
}

fn origin(source: &Value) -> String {
    origin_of(source, "id")
}

fn origin_of(row: &Value, source: &str) -> String {
    format!("{}/{}", field(row, source), field(row, "catalogue"))
}

fn origin_of_node(one: &Value) -> String {
    match (field(one, "source"), field(one, "failed")) {
        (source, failed) if source.is_empty() && failed.is_empty() => field(one, "id"),
        (source, failed) if source.is_empty() => format!("{}/{failed}", field(one, "id")),
        (source, _) => format!("{source}/{}", field(one, "id")),
    }
}

fn short_commit(row: &Value) -> String {
    field(row, "commit").chars().take(12).collect()
}

/// Returns the start of a digest or commit, enough to compare by eye; JSON has it whole.
pub(super) fn short(digest: &str) -> String {
    let kind = digest.find(':').map_or(0, |colon| colon + 1);
    digest.chars().take(kind + 12).collect()
}

pub(super) fn field(value: &Value, name: &str) -> String {
    text(&value[name])
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    }
}

pub(super) fn texts(values: &[Value]) -> Vec<String> {
    values.iter().map(text).collect()
}

pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn facts(facts: &[(&str, String)]) -> String {
    let given = facts.iter().filter(|(_, value)| !value.is_empty());
    given.map(|(name, value)| format!("{name:<12}{value}\n")).collect()
}

/// Returns rows in aligned columns, without spaces at the end of a line. Colours have no width.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
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

pub(super) fn width(cell: &str) -> usize {
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
    fn a_verdict_names_its_rule_and_its_signers() {
        let check = |trust: Value, expected: &str| assert_eq!(verdict(&trust, Paint::Plain), expected);
        check(json!({"verdict": "pinned", "rule": null, "signers": []}), "pinned");
        check(json!({"verdict": "pinned", "rule": "std", "signers": []}), "pinned by rule std");
        let signed = json!({"verdict": "trusted", "rule": "acme", "signers": ["ci", "root"]});
        check(signed, "trusted by rule acme, signed by ci, root");
        let claimed = json!({"verdict": "pinned", "rule": "std", "signers": [], "signature": "unchecked"});
        check(claimed, "pinned by rule std, signature unchecked");
    }

    #[test]
    fn a_status_says_that_no_policy_is_set() {
        let answer = json!({
            "socket": "/run/s", "answers": "in-process",
            "health": {"status": "degraded", "generation": 3, "snapshot": "sha256:00", "degraded": []},
            "sources": [{"id": "a", "state": "stale", "error": {"subject": "a", "reason": "git.missing", "expected": "", "found": "nothing", "hint": "resolverd sync a, once it can be reached"}}]
        });
        let text = status(&answer, Paint::Plain);
        assert!(text.starts_with("status      degraded: source a is stale\n"), "{text}");
        assert!(text.contains("REFUSED  SKIPPED"), "what was skipped is not wrong, and seen: {text}");
        assert!(text.contains(NO_POLICY) && text.contains("generation  3, snapshot sha256:00"), "{text}");
        let error =
            "warning: a: a: git.missing: found nothing\n         resolverd sync a, once it can be reached\n";
        assert!(text.ends_with(error), "{text}");
    }
}
