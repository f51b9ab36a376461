//! The verbs `explain` and `why`: their call, the chain as an indented text, and its short form. Decides nothing itself.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::project::{Place, other_text};
use crate::cli::render::{Paint, field, list, refusal, refusal_of, short, text, texts, verdict};

/// How many candidates the text names one by one.
const CANDIDATES_SHOWN: usize = 6;
/// How many other rows of one kind the text names.
const SHOWN: usize = 3;
/// How many dependents the text names.
const DEPENDENTS_SHOWN: usize = 5;

/// What `explain` and `why` take.
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// A reference, such as lcod://tooling/array/pluck@^0.1 or git+https://host/repo.git@COMMIT#PATH
    #[arg(value_name = "REF")]
    pub(super) reference: String,
    /// An id, or a prefix that ends in /, which the caller implements itself
    #[arg(long = "native", value_name = "REF")]
    pub(super) natives: Vec<String>,
    /// A file with one native a line; # starts a comment
    #[arg(long, value_name = "FILE")]
    pub(super) natives_file: Option<PathBuf>,
    /// Choose prereleases like ordinary versions
    #[arg(long)]
    pub(super) prerelease: bool,
    #[command(flatten)]
    pub(super) place: Place,
}

/// Returns the body of the call; `natives` are those of the arguments and of the file.
pub fn body(arguments: &Explain, natives: &[String]) -> Value {
    json!({"id": arguments.reference, "natives": natives, "prerelease": arguments.prerelease})
}

/// Returns the short form: what, from where, why, who requires it, what lost, what is wrong.
pub fn short_text(answer: &Value, paint: Paint) -> String {
    let mut lines = vec![headline(answer, paint)];
    let release = &answer["release"];
    if !release.is_null() {
        lines.push(line("from", &from(answer)));
        lines.push(line("trust", &trust(release, paint)));
    }
    for (name, field_name) in [("source", "whySource"), ("version", "whyVersion")] {
        let why = field(answer, field_name);
        if !why.is_empty() {
            lines.push(line(name, &why));
        }
    }
    if let Some(required) = required_by(answer, SHOWN) {
        lines.push(line("needed by", &required));
    }
    let losers = list(answer, "shadowed");
    if let Some(first) = losers.first() {
        let more = if losers.len() > 1 { format!(" (+{} more)", losers.len() - 1) } else { String::new() };
        lines.push(line("lost", &format!("{}{more}", loser(first))));
    }
    lines.extend(wrong(answer, paint).into_iter().take(2));
    lines.extend(other_text(answer, paint));
    lines.extend(next(answer, paint));
    lines.join("\n") + "\n"
}

/// Returns the whole chain.
pub fn whole_text(answer: &Value, paint: Paint) -> String {
    let mut lines = vec![headline(answer, paint)];
    lines.extend(wrong(answer, paint));
    lines.extend(chain(answer, paint));
    if !answer["release"].is_null() {
        lines.extend(release(&answer["release"], paint));
    }
    lines.extend(candidates(answer, paint));
    let losers = list(answer, "shadowed");
    if !losers.is_empty() {
        lines.push("shadowed".to_owned());
        lines.extend(losers.iter().take(SHOWN).map(|one| format!("  {}", loser(one))));
        lines.extend(more(losers.len(), SHOWN));
    }
    for one in list(answer, "blocked") {
        let (namespace, source) = (field(one, "namespace"), field(one, "source"));
        lines.push(format!("blocked     {namespace} waits for {source}: {}", field(one, "effect")));
    }
    if let Some(required) = required_by(answer, DEPENDENTS_SHOWN) {
        lines.push(line("needed by", &required));
    }
    lines.extend(list(answer, "notes").iter().map(|note| line("note", &text(note))));
    lines.extend(other_text(answer, paint));
    let (generation, snapshot) = (text(&answer["generation"]), short(&field(answer, "snapshot")));
    lines.push(line("snapshot", &format!("{snapshot}, generation {generation}")));
    lines.extend(next(answer, paint));
    lines.join("\n") + "\n"
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<12}{value}").trim_end().to_owned()
}

/// Returns the lines from the source to the catalogue, and why they are used.
fn chain(answer: &Value, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    let source = &answer["source"];
    if !source.is_null() {
        let (place, of) = (text(&source["place"]), text(&source["of"]));
        let what =
            format!("{} ({place} of {of}, priority {})", field(source, "id"), text(&source["priority"]));
        lines.push(line("source", &format!("{what}{}", state(source, paint))));
    }
    lines.extend(list(answer, "chain").iter().flat_map(|one| step(one, paint)));
    let why = field(answer, "whySource");
    if !why.is_empty() {
        lines.push(line("why", &why));
    }
    lines
}

/// Returns the first line: the reference and how it ends.
fn headline(answer: &Value, paint: Paint) -> String {
    let reference = &answer["reference"];
    let (id, requirement) = (field(reference, "id"), field(reference, "requirement"));
    let chosen = format!("{id}@{}", field(answer, "chosen"));
    match field(answer, "outcome").as_str() {
        "chosen" => format!("{} (asked: {requirement})", paint.strong(&chosen)),
        "native" => {
            let native = field(answer, "native");
            format!(
                "{} is implemented by the caller ({native})",
                paint.strong(&format!("{id}@{requirement}"))
            )
        }
        other => {
            let word = match other {
                "no_version" => "no version fits",
                "unknown" => "nobody lists it",
                "blocked" => "blocked: its source has not been read",
                word => word,
            };
            format!("{} {}", paint.strong(&format!("{id}@{requirement}")), paint.bad(word))
        }
    }
}

/// Returns what is wrong: the problem, with the nearest names, and what stands in the way of a fresh answer.
fn wrong(answer: &Value, paint: Paint) -> Vec<String> {
    let problem = &answer["problem"];
    let mut lines = Vec::new();
    if !problem.is_null() {
        lines.push(format!("{}     {}", paint.bad("problem"), field(problem, "detail")));
        let nearest = texts(list(problem, "nearest"));
        if !nearest.is_empty() {
            lines.push(line("resembling", &nearest.join(", ")));
        }
    }
    let steps = list(answer, "chain").iter().filter(|one| one["state"] != "fresh");
    for one in steps.filter(|one| !one["error"].is_null()) {
        let word = field(one, "state");
        let pad = " ".repeat(12_usize.saturating_sub(word.chars().count()));
        lines.push(format!("{}{pad}{}", paint.note(&word), refusal(&one["error"])));
    }
    lines
}

fn next(answer: &Value, paint: Paint) -> Option<String> {
    let next = field(answer, "next");
    (!next.is_empty()).then(|| format!("{}        {next}", paint.strong("next")))
}

fn state(one: &Value, paint: Paint) -> String {
    match field(one, "state") {
        word if word == "fresh" => String::new(),
        word => format!(" {}", paint.note(&word)),
    }
}

/// Returns the lines of one document: where it lies, what pins it, and where its bytes came from if that differs.
fn step(one: &Value, paint: Paint) -> Vec<String> {
    let priority = text(&one["priority"]);
    let priority = match field(one, "role").as_str() {
        "entry" => String::new(),
        _ => format!(" (priority {priority})"),
    };
    let mut lines =
        vec![format!("  {:<10}{}{priority}{}", field(one, "role"), field(one, "id"), state(one, paint))];
    lines.push(format!("    at      {}", field(one, "location")));
    lines.extend(real_url(one).map(|url| format!("    from    {url}")));
    let pins = match (field(&one["pin"], "commit"), texts(list(&one["pin"], "digests"))) {
        (commit, digests) if commit.is_empty() && digests.is_empty() => match field(one, "branch") {
            _ if field(one, "role") == "entry" => "none needed: the operator named it".to_owned(),
            branch if branch.is_empty() => "none".to_owned(),
            branch => format!("none: read through {branch}"),
        },
        (commit, digests) => {
            let commit = (!commit.is_empty()).then(|| format!("commit {}", short(&commit)));
            let digests = digests.iter().map(|digest| short(digest));
            commit.into_iter().chain(digests).collect::<Vec<_>>().join(" and ")
        }
    };
    let found = match (field(one, "commit"), field(one, "digest")) {
        (_, digest) if digest.is_empty() => "never read".to_owned(),
        (commit, digest) if commit.is_empty() => format!("found {}", short(&digest)),
        (commit, digest) => format!("found {} at {}", short(&digest), short(&commit)),
    };
    let signature = if one["signature"].is_null() { "" } else { "; a signature is claimed, unchecked" };
    lines.push(format!("    pin     {pins}; {found}{signature}"));
    lines
}

/// Returns where the bytes really came from, where that is not the place that was asked for.
fn real_url(one: &Value) -> Option<String> {
    let (url, location) = (field(one, "url"), field(one, "location"));
    // A local path and its file: URL are the same place, and so are a repository and its commit and path.
    let plain = url.strip_prefix("file://").unwrap_or(&url);
    let same = plain.is_empty() || location.contains(plain) || location.starts_with(&url);
    (!same).then_some(url)
}

/// Returns `source -> catalogue -> repository@commit:path`.
fn from(answer: &Value) -> String {
    if let Some(direct) = answer["direct"].as_str() {
        return direct.to_owned();
    }
    let source = field(&answer["source"], "id");
    let owner = list(answer, "chain").last().map(|one| field(one, "id")).unwrap_or_default();
    let owner = owner.strip_prefix(&format!("{source}/")).unwrap_or(&owner).to_owned();
    format!("{source} -> {owner} -> {}", place(&answer["release"]))
}

/// Returns where the author keeps a release: its directory in the repository, or beside its catalogue its first document.
fn place(release: &Value) -> String {
    let (repository, commit) = (field(release, "repository"), field(release, "commit"));
    let path = field(release, "path");
    match (repository.is_empty(), commit.is_empty()) {
        (true, _) => match list(release, "documents").first() {
            Some(document) => field(document, "location"),
            None => path,
        },
        (false, true) => format!("{repository}:{path}"),
        (false, false) => format!("{repository}@{}:{path}", short(&commit)),
    }
}

fn trust(release: &Value, paint: Paint) -> String {
    let reasons = texts(list(release, "because"));
    let first = reasons.first().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let yanked = if release["yanked"] == true { ", yanked" } else { "" };
    format!("{}{yanked}{first}", verdict(&release["trust"], paint))
}

/// Tells what was found of a publisher's signature: it says which archive, and the index says of which release.
fn seal(verification: &Value) -> Option<String> {
    let result = verification["result"].as_str()?;
    let key = field(verification, "keyId");
    Some(match key.is_empty() {
        true => format!("  seal      {result}"),
        false => {
            let publisher = field(verification, "publisher");
            let verified = if verification["publisherVerified"] == true { " (verified)" } else { "" };
            format!(
                "  seal      {result}, ML-DSA-87, key {key} of {publisher}{verified}, on the archive alone"
            )
        }
    })
}

fn release(one: &Value, paint: Paint) -> Vec<String> {
    let kind = field(one, "kind");
    let kind = if kind.is_empty() { kind } else { format!(" ({kind})") };
    let mut lines =
        vec![line("release", &format!("{}{kind}  {}", field(one, "version"), field(one, "summary")))];
    let place = place(one);
    if !place.is_empty() {
        lines.push(format!("  at        {place}"));
    }
    for document in list(one, "documents") {
        let found = match short(&field(document, "digest")) {
            digest if digest.is_empty() => paint.bad("not used"),
            digest => digest,
        };
        lines.push(format!("  document  {found}  {}", field(document, "location")));
        lines.extend(real_url(document).map(|url| format!("    from    {url}")));
    }
    let files = list(&one["integrity"], "files");
    for file in files.iter().take(SHOWN) {
        lines.push(format!("  file      {}  {}", short(&field(file, "digest")), field(file, "path")));
    }
    lines.extend(more(files.len(), SHOWN));
    lines.push(format!("  trust     {}", verdict(&one["trust"], paint)));
    lines.extend(seal(&one["verification"]));
    lines.extend(list(one, "because").iter().map(|reason| format!("    because {}", text(reason))));
    lines.extend(list(one, "why").iter().map(|step| format!("    {}", text(step))));
    let requires = texts(list(one, "dependencies"));
    if !requires.is_empty() {
        lines.push(format!("  requires  {}", requires.join(", ")));
    }
    let implements = texts(list(one, "implements"));
    if !implements.is_empty() {
        lines.push(format!("  implements {}", implements.join(", ")));
    }
    for warning in list(one, "warnings") {
        lines.push(format!("  {} {}", paint.note("warning"), field(warning, "text")));
    }
    lines
}

fn candidates(answer: &Value, paint: Paint) -> Vec<String> {
    let all = list(answer, "candidates");
    if all.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![line("versions", &field(answer, "whyVersion"))];
    let shown = || all.iter().take(CANDIDATES_SHOWN);
    let wide = shown().map(|one| field(one, "version").chars().count()).max().unwrap_or(0);
    for one in shown() {
        let fate = field(one, "fate");
        let word = match fate.as_str() {
            "refused" => paint.bad(&fate),
            "chosen" => paint.strong(&fate),
            "outside" => "outside the requirement".to_owned(),
            _ => fate,
        };
        let why = match refusal_of(&one["refusal"], &field(one, "version")) {
            why if why.is_empty() => why,
            why => format!(" ({why})"),
        };
        lines.push(format!("  {:<wide$}  {word}{why}", field(one, "version")));
    }
    let count = answer["candidatesCount"].as_u64().and_then(|count| usize::try_from(count).ok());
    lines.extend(more(count.unwrap_or(all.len()), CANDIDATES_SHOWN));
    lines
}

fn more(count: usize, shown: usize) -> Option<String> {
    (count > shown).then(|| format!("  … {} more (-o json has all)", count - shown))
}

fn loser(one: &Value) -> String {
    let versions = texts(list(one, "versions")).join(", ");
    format!("{}/{} ({versions}): {}", field(one, "source"), field(one, "catalogue"), field(one, "why"))
}

fn required_by(answer: &Value, shown: usize) -> Option<String> {
    let required = &answer["requiredBy"];
    let count = required["count"].as_u64().filter(|count| *count > 0)?;
    let row = |one: &Value| {
        format!("{}@{} ({})", field(one, "id"), field(one, "version"), field(one, "requirement"))
    };
    let items: Vec<String> = list(required, "items").iter().take(shown).map(row).collect();
    let left = count.saturating_sub(items.len() as u64);
    let rest = if left > 0 { format!(", … {left} more") } else { String::new() };
    Some(format!("{count}: {}{rest}", items.join(", ")))
}
