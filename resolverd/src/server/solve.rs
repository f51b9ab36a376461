//! The answer to a resolve: the solution as JSON, or why there is none. Copies what the snapshot holds encoded; no file, no network.
//! The only clock is the one that ends a search.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use catalogue_schema::dialect::estream::KERNEL;
use catalogue_schema::generation::stale;
use catalogue_schema::id::{ComponentId, SourceId};
use catalogue_schema::model::Warning;
use catalogue_schema::packed::{Packed, PackedError};
use catalogue_schema::version::Version;
use serde_json::{Value, json};

use crate::api::{Code, Failure, HiddenRow, ResolvedHead, ResolvedTail, SubstitutionRow};
use crate::fetch::limit::Limits as Configured;
use crate::resolve::closure::CYCLE;
use crate::resolve::reason::{About, Because, Derivation, Fact, Unmet, What};
use crate::resolve::solver::Undecided;
use crate::resolve::{
    Absent, Asker, Candidates, Closed, Conflict, Limits, Link, Linked, Pick, Resolution, SchemaTwice,
    SchemaUnmet, resolve,
};
use crate::server::route::Question;
use crate::store::Snapshot;

/// How long a search may take, in milliseconds, where nobody says otherwise.
pub const SOLVE_MS: u64 = 2_000;
/// How many steps a search may take where nobody says otherwise.
pub const SOLVE_STEPS: u64 = 1_000_000;
/// How many steps a search may take on the thread that all connections share; what needs more is searched elsewhere,
/// from the start: of 1,247 roots of a real graph 179 needed more than 400 (2026-11).
pub const INLINE_STEPS: u64 = 1_000;
/// How many milliseconds it may take there, while everybody else waits: a step costs the more the harder the question is, so that
/// a thousand of them took 40 ms where a contradiction was far away (2026-11).
pub const INLINE_MS: u64 = 3;
/// How many searches may go on elsewhere at once.
pub const SOLVES_MAX: usize = 4;
/// The reason of a search that ended without an answer.
pub const UNDECIDED: &str = "resolve.undecided";

/// How many missing ids a sentence names.
const NAMED_MAX: usize = 5;
/// How many missing ids a problem document lists.
const MISSING_MAX: usize = 200;

/// How long a search may go on.
#[derive(Debug, Clone)]
pub struct Solving {
    /// For so many milliseconds.
    pub ms: u64,
    /// For so many steps.
    pub steps: u64,
    /// Answered anew because of calls so often at most.
    pub call_rounds: u64,
    /// For so many undeclared calls at most.
    pub calls: u64,
    /// Until nobody waits any more, where somebody tells.
    pub gone: Option<Arc<AtomicBool>>,
}

impl Default for Solving {
    fn default() -> Solving {
        Solving { ms: SOLVE_MS, steps: SOLVE_STEPS, ..Solving::within(&Configured::default()) }
    }
}

impl Solving {
    /// Returns what the configuration allows.
    pub fn within(limits: &Configured) -> Solving {
        Solving {
            ms: limits.solve_ms,
            steps: limits.solve_steps,
            call_rounds: limits.call_rounds,
            calls: limits.calls,
            gone: None,
        }
    }

    /// Returns the same with no more steps and no more time than the shared thread has.
    pub fn inline(&self) -> Solving {
        Solving { steps: self.steps.min(INLINE_STEPS), ms: self.ms.min(INLINE_MS), ..self.clone() }
    }

    /// Tells whether nobody waits any more.
    pub fn is_gone(&self) -> bool {
        self.gone.as_ref().is_some_and(|gone| gone.load(Ordering::Relaxed))
    }

    /// Returns the same, with as much less time as went by since `begun`: for a question that is answered in several searches.
    pub fn after(&self, begun: Instant) -> Solving {
        let spent = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Solving { ms: self.ms.saturating_sub(spent), ..self.clone() }
    }

    /// Tells whether more is allowed than the shared thread has time for.
    pub fn may_go_on(&self) -> bool {
        self.steps > INLINE_STEPS || self.ms > INLINE_MS
    }
}

/// Searches for the answer to a question.
///
/// **Errors**: why there is none.
pub fn solved<'a>(
    question: &'a Question,
    view: &'a dyn Candidates,
    solving: &Solving,
) -> Result<Resolution<'a>, Conflict> {
    let deadline = Deadline::in_time(Duration::from_millis(solving.ms));
    let is_over = || deadline.is_near() || solving.is_gone();
    resolve(view, &question.request, &Limits { steps: solving.steps, is_over: &is_over })
}

/// Which part of its time a search may leave unused, so as not to begin a turn that ends too late: one of so many.
const LEFT_PARTS: u32 = 20;

/// When a search has to end.
struct Deadline {
    /// `None` when it lies further ahead than the clock can count.
    end: Option<Instant>,
    looked: Cell<Instant>,
    /// The longest time between two looks so far, as far as that counts.
    longest: Cell<Duration>,
    longest_max: Duration,
}

impl Deadline {
    /// Begins now, and ends `after` that.
    fn in_time(after: Duration) -> Deadline {
        let now = Instant::now();
        let (end, longest_max) = (now.checked_add(after), after / LEFT_PARTS);
        Deadline { end, looked: Cell::new(now), longest: Cell::default(), longest_max }
    }

    /// Tells whether less time is left than went by between two looks before.
    fn is_near(&self) -> bool {
        let now = Instant::now();
        let since = now.saturating_duration_since(self.looked.replace(now));
        self.longest.set(self.longest.get().max(since).min(self.longest_max));
        self.end.is_some_and(|end| end.saturating_duration_since(now) <= self.longest.get())
    }
}

/// How many bytes of an answer one component takes beside what is told of its release, and one name of whoever requires it, about.
const COMPONENT_BYTES: usize = 256;
const NAME_BYTES: usize = 64;

/// Returns how many bytes an answer takes, about: room for all of it spares copies.
fn room_for(resolution: &Resolution<'_>) -> usize {
    let room = |pick: &Pick<'_>| {
        let [told, shadows, _] = pick.release.answer();
        COMPONENT_BYTES + told.len() + shadows.len() + NAME_BYTES * pick.required_by.len()
    };
    COMPONENT_BYTES + resolution.picks.iter().map(room).sum::<usize>()
}

/// Returns the JSON of an answer; `directories` are those of its components, or none are.
///
/// **Errors**: a component cannot be read.
pub fn body(
    resolution: &Resolution<'_>,
    question: &Question,
    snapshot: &Snapshot,
    directories: &[&str],
) -> Result<Vec<u8>, Failure> {
    let generation = &snapshot.generation;
    let names: Vec<[&str; 2]> =
        resolution.picks.iter().map(|pick| [pick.component.id_text(), pick.release.version_text()]).collect();
    let mut out = Vec::with_capacity(room_for(resolution));
    let head = ResolvedHead {
        snapshot: &generation.snapshot,
        generation: generation.number,
        stale: stale(&generation.sources, &generation.catalogues),
        roots: &resolution.roots,
    };
    serde_json::to_writer(&mut out, &head).map_err(unwritten)?;
    // The objects before and behind the components are one.
    out.pop();
    out.extend_from_slice(b",\"components\":[");
    for (place, (pick, name)) in resolution.picks.iter().zip(&names).enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_pick(pick, name, &names, &mut out);
        out.extend_from_slice(b",\"directory\":");
        serde_json::to_writer(&mut out, &directories.get(place)).map_err(unwritten)?;
        out.push(b'}');
    }
    out.extend_from_slice(b"],");
    let hidden = resolution.hidden_by_natives.iter().map(|component| Hidden::of(component));
    let hidden = hidden.collect::<Result<Vec<_>, _>>()?;
    let warnings = warnings(resolution, question);
    let substitutions = resolution.substitutions.iter();
    let tail = ResolvedTail {
        natives: &resolution.natives,
        shadowed: hidden.iter().map(Hidden::row).collect(),
        substitutions: substitutions
            .map(|one| SubstitutionRow { id: &one.id, to: &one.to, by: one.by.word() })
            .collect(),
        warnings,
    };
    let tail = serde_json::to_vec(&tail).map_err(unwritten)?;
    out.extend_from_slice(tail.get(1..).unwrap_or_default());
    Ok(out)
}

/// Returns what there is to say of a solution, sorted.
pub(super) fn warnings<'r>(resolution: &'r Resolution<'_>, question: &'r Question) -> Vec<&'r Warning> {
    let mut warnings: Vec<&Warning> = resolution.warnings.iter().chain(&question.warnings).collect();
    warnings.sort();
    warnings
}

/// Writes a chosen release, up to its directory. Ids, versions and requirements hold nothing that JSON escapes; what the snapshot holds is JSON.
fn write_pick(pick: &Pick<'_>, [id, version]: &[&str; 2], names: &[[&str; 2]], out: &mut Vec<u8>) {
    let mut put = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    put(&["{\"id\":\"", id, "\",\"version\":\"", version]);
    put(&["\",\"requested\":["]);
    for (place, text) in pick.requested.iter().enumerate() {
        let text = if text.is_empty() { "latest" } else { text };
        put(&[if place > 0 { ",\"" } else { "\"" }, text, "\""]);
    }
    put(&["],\"requiredBy\":["]);
    for (place, asker) in pick.required_by.iter().enumerate() {
        put(&[if place > 0 { ",\"" } else { "\"" }]);
        match asker {
            Asker::Request(position) => put(&["request ", &position.to_string()]),
            Asker::Pick(at) => {
                if let Some([id, version]) = names.get(*at) {
                    put(&[id, "@", version]);
                }
            }
        }
        put(&["\""]);
    }
    let (declared, provenance) = pick.release.dependencies_and_provenance();
    let mut called = pick.dependencies.iter().filter(|link| link.is_called).peekable();
    if called.peek().is_none() {
        put(&["],\"dependencies\":", declared]);
    } else {
        // What is called is required as well; which of it nobody declared stands beside it.
        let all = written(called);
        let joint = if declared == "[]" { "" } else { "," };
        put(&["],\"dependencies\":", declared.trim_end_matches(']'), joint, &all, "]"]);
        put(&[",\"called\":[", &all, "]"]);
    }
    let mut native = pick.dependencies.iter().filter(|link| link.to == Linked::Native).peekable();
    if native.peek().is_some() {
        put(&[",\"native\":[", &written(native), "]"]);
    }
    if let Some([id, version]) = pick.implementation.and_then(|at| names.get(at)) {
        put(&[",\"implementation\":\"", id, "@", version, "\""]);
    }
    provenance.iter().for_each(|part| out.extend_from_slice(part));
}

/// Returns requirements as the items of a list.
fn written<'l, 'a: 'l>(links: impl Iterator<Item = &'l Link<'a>>) -> String {
    let mut out = String::new();
    for Link { id, requirement, .. } in links {
        let joint = if requirement.is_empty() { "" } else { "@" };
        let comma = if out.is_empty() { "\"" } else { ",\"" };
        [comma, id, joint, requirement, "\""].iter().for_each(|part| out.push_str(part));
    }
    out
}

fn unwritten(error: serde_json::Error) -> Failure {
    Failure::new(Code::Internal, "api.answer", format!("cannot write the answer: {error}"))
}

/// A component that a native hides.
struct Hidden {
    id: ComponentId,
    source: SourceId,
    catalogue: SourceId,
    versions: Vec<Version>,
}

impl Hidden {
    fn of(component: &Packed) -> Result<Hidden, PackedError> {
        let versions = component.all().filter_map(|listed| listed.version()).collect();
        let head = component.head()?;
        Ok(Hidden { id: head.id, source: head.owner.source, catalogue: head.owner.name, versions })
    }

    fn row(&self) -> HiddenRow<'_> {
        HiddenRow {
            id: &self.id,
            source: &self.source,
            catalogue: &self.catalogue,
            versions: self.versions.iter().collect(),
            by: "native",
        }
    }
}

/// Returns why a component that there is may not be used.
pub fn closed(id: &ComponentId, closed: &Closed) -> Failure {
    let (reason, hint) = match closed {
        Closed::NotAllowed => ("resolve.not_allowed", "add it to the overlay's allowlist".to_owned()),
        Closed::OtherSource(source) => {
            ("resolve.source_excluded", format!("add {source} to the overlay's sources"))
        }
    };
    Failure::new(Code::PermissionDenied, reason, format!("{id} {closed}")).hint(hint)
}

/// Returns why a host does not do.
pub fn host(id: &ComponentId, version: &Version) -> Failure {
    let detail = format!("the host has {id} {version}, which does not meet what is asked of it");
    Failure::new(Code::VersionConflict, "resolve.host_version", detail)
        .with("host", version)
        .hint("ask for another version, or use another host")
}

/// Returns which ids nobody lists that releases require.
pub fn missing(absent: &[Absent], unread: &[String]) -> Failure {
    let named: Vec<String> = absent
        .iter()
        .take(NAMED_MAX)
        .map(|one| match one.required_by.first() {
            Some(asker) => format!("{} (for {asker})", one.references.join(", ")),
            None => one.references.join(", "),
        })
        .collect();
    let more = match absent.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let rows: Vec<Value> = absent.iter().take(MISSING_MAX).map(missing_row).collect();
    let (all, some) = (absent.iter().all(|one| one.is_called), absent.iter().any(|one| one.is_called));
    let act = match (all, some) {
        (true, _) => "called",
        (false, true) => "required or called",
        (false, false) => "required",
    };
    if let Some(blocked) = absent.iter().find_map(|one| one.blocked.as_ref()) {
        let detail = format!(
            "ids are {act} that nobody may answer for yet: {}{more}; {} waits for source {}",
            named.join(", "),
            blocked.namespace,
            blocked.source
        );
        return Failure::new(Code::SourceUnavailable, "source_unread", detail)
            .with("missing", rows)
            .with("source", &blocked.source)
            .hint(format!("resolverd sync {}", blocked.source));
    }
    let detail = match unread {
        [] => format!("ids are {act} that no source lists: {}{more}", named.join(", ")),
        unread => format!(
            "ids are {act} that nothing that has been read lists: {}{more}; never read: {}",
            named.join(", "),
            unread.join(", ")
        ),
    };
    Failure::new(Code::ComponentNotFound, "dependency_unknown", detail)
        .with("missing", rows)
        .hint(format!("where the kernel has them itself, say so: {}", natives_hint(absent)))
}

/// Returns the options that name the missing ids as natives: their namespaces, since kernels have whole ones.
fn natives_hint(absent: &[Absent]) -> String {
    let mut options: Vec<String> = Vec::new();
    for Absent { id, .. } in absent {
        let text = id.as_text();
        let path = text.len() - id.path().len();
        let is_kernels =
            ["contract/", "axiom/", "flow/", "impl/", "kernel/"].iter().any(|one| id.path().starts_with(one));
        let option = match id.path().find('/').filter(|_| is_kernels) {
            Some(slash) => format!("--native {}", &text[..=path + slash]),
            None => format!("--native {text}"),
        };
        if !options.contains(&option) {
            options.push(option);
        }
    }
    let left = options.len().saturating_sub(NAMED_MAX);
    options.truncate(NAMED_MAX);
    let more = if left > 0 { format!(" and {left} more, or --natives-file FILE") } else { String::new() };
    format!("{}{more}", options.join(" "))
}

fn missing_row(absent: &Absent) -> Value {
    let Absent { id, references, required_by, is_called: _, blocked } = absent;
    let reason = if blocked.is_some() { "source_unread" } else { "component_unknown" };
    json!({"id": id, "references": references, "requiredBy": required_by, "reason": reason})
}

/// Returns that releases require each other in a circle that their registry forbids.
pub fn circular(how: &str) -> Failure {
    Failure::new(Code::CircularDependency, CYCLE, how)
        .hint("ask for other versions, or ask the publishers: one of the requirements has to go")
}

/// Returns that two releases of one answer bring the same schema.
pub fn schema_twice(twice: &SchemaTwice) -> Failure {
    let SchemaTwice { schema, provided_by: [one, other] } = twice;
    Failure::new(
        Code::SchemaConflict,
        "schema_conflict",
        format!("{one} and {other} both provide the schema {schema}"),
    )
    .with("schema", schema)
    .with("providedBy", [one, other])
    .hint("leave one of them out: a workspace has one of each schema")
}

/// Returns which schemas nothing in an answer brings.
pub fn schemas_unmet(unmet: &[SchemaUnmet]) -> Failure {
    let named: Vec<String> = unmet
        .iter()
        .take(NAMED_MAX)
        .map(|SchemaUnmet { schema, required_by }| format!("{schema} (for {required_by})"))
        .collect();
    let more = match unmet.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let rows: Vec<Value> = unmet
        .iter()
        .map(|SchemaUnmet { schema, required_by }| json!({"schema": schema, "requiredBy": required_by}))
        .collect();
    let detail = format!("schemas are required that nothing provides: {}{more}", named.join(", "));
    Failure::new(Code::ManifestInvalid, "requires_unmet", detail).with("missing", rows).hint(
        "ask for a component that provides them as well; their publisher has to name it as a dependency",
    )
}

/// Returns which releases cannot be part of an answer before their documents are fetched.
pub fn unfetched(releases: &[String]) -> Failure {
    let detail = format!(
        "the documents of {} have not been fetched, so that nobody knows what is required there",
        releases.join(", ")
    );
    Failure::new(Code::SourceUnavailable, "manifest_unfetched", detail)
        .with("releases", releases)
        .hint(format!("resolverd resolve --refresh {} fetches them", releases.join(" ")))
}

/// Returns that a search ended without an answer.
pub fn undecided(undecided: Undecided) -> Failure {
    let (what, limit, value) = match undecided {
        Undecided::Steps(steps) => (format!("{steps} steps"), "solve_steps", Some(steps)),
        Undecided::Time => ("the time that it may take".to_owned(), "solve_ms", None),
    };
    let detail = format!("undecided: neither an answer nor a contradiction was found within {what}");
    Failure::new(Code::LimitExceeded, UNDECIDED, detail)
        .status(503)
        .with("limit", limit)
        .with("value", value)
        .hint(format!("name narrower versions, or raise {limit} below [limits] in config.toml"))
}

/// Returns why nothing meets every requirement: as text, and as facts and steps.
///
/// The tree is a list of steps that name facts and other steps by their places, since a tree inside a tree is deeper than readers
/// of JSON go.
pub fn impossible(derivation: &Derivation) -> Failure {
    let facts: Vec<Value> = derivation.facts.iter().map(fact_row).collect();
    let because = |because: &Because| match because {
        Because::Fact(at) => json!({"fact": at}),
        Because::Step(at) => json!({"step": at}),
        Because::Cut => Value::Null,
    };
    let steps: Vec<Value> =
        derivation.steps.iter().map(|[one, other]| json!([because(one), because(other)])).collect();
    let text = derivation.text();
    let is_platform = |fact: &Fact| {
        let What::Requires { references, unmet: Some(Unmet::Host(_)), .. } = &fact.what else { return false };
        references.iter().any(|reference| reference.starts_with(KERNEL))
    };
    let (code, reason) = match derivation.facts.iter().any(is_platform) {
        true => (Code::VersionNotFound, "platform"),
        false => (Code::VersionConflict, "version_conflict"),
    };
    Failure::new(code, reason, text.lines().next().unwrap_or_default().trim_end_matches(':'))
        .with("explanation", text)
        .with("derivation", json!({"facts": facts, "steps": steps, "cut": derivation.is_cut}))
        .hint("ask for other versions of what the lines name, or ask the owners of the components")
}

fn fact_row(fact: &Fact) -> Value {
    let mut row = json!({"text": fact.to_string()});
    if let Some(About { id, owner, releases, count, .. }) = &fact.about {
        row["id"] = json!(id);
        if let Some((source, catalogue)) = owner {
            row["source"] = json!(source);
            row["catalogue"] = json!(catalogue);
        }
        let told = releases
            .iter()
            .map(|one| json!({"version": one.version, "manifest": one.manifest, "because": one.because}));
        row["releases"] = told.collect();
        row["count"] = json!(count);
    }
    let what = match &fact.what {
        What::Requires { requests, references, called, unmet, .. } => {
            row["references"] = json!(references);
            if !called.is_empty() {
                row["called"] = json!(called);
            }
            if fact.about.is_none() {
                row["requests"] = json!(requests);
            }
            if let Some(Unmet::NoVersion(versions)) = unmet {
                row["available"] = json!(versions);
            }
            if let Some(Unmet::Host(version)) = unmet {
                row["host"] = json!(version);
            }
            if references.is_empty() && !called.is_empty() { "calls" } else { "requires" }
        }
        What::NoneUsable => "none_usable",
        What::Unlisted => "component_unknown",
        What::Blocked(blocked) => {
            row["source"] = json!(blocked.source);
            "source_unread"
        }
        What::Closed(Closed::NotAllowed) => "resolve.not_allowed",
        What::Closed(Closed::OtherSource(_)) => "resolve.source_excluded",
        What::Broken(_) => "broken",
    };
    row["what"] = json!(what);
    row
}
