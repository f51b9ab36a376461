//! Answers about files on disk: which releases are meant is looked up in the snapshot, without network; the rest is the desk's.

use std::cell::OnceCell;

use catalogue_schema::direct::DirectReference;
use catalogue_schema::model::Refusal;
use catalogue_schema::row::{SourceRow, TrustRow};
use serde_json::{Value, json};

use crate::api::files::{CollectRequest, FilesRow};
use crate::api::{Code, Failure, JSON, Reply};
use crate::resolve::{Pick, Resolution};
use crate::server::State;
use crate::server::answer::{Facts, View, looked_up, of_refusal, served, solution};
use crate::server::files::{Choice, Desk, Errand, Locate, Materialize, Provided, Target};
use crate::server::route::{Query, Question};
use crate::server::solve::{self, Solving};
use crate::store::Snapshot;

/// Answers a question about files; `None` for every other question.
pub(super) fn answer(
    state: &State,
    query: &Query,
    snapshot: Option<&Snapshot>,
    solving: &Solving,
) -> Option<Result<Reply, Failure>> {
    let answered = match query {
        Query::Materialize(asked) => match &**asked {
            (asked, Some(question)) => closure(state, asked, question, snapshot, solving),
            (asked, None) => materialized(state, asked, snapshot),
        },
        Query::Resolve(question) if question.materialize => {
            let body = resolved(state, question, snapshot, solving);
            return Some(body.map(|body| Reply { status: 200, content_type: JSON, body }));
        }
        Query::Locate(asked) => located(state, asked, snapshot),
        Query::Files => listed(state),
        Query::VerifyFiles(releases) => verified(state, releases),
        Query::CollectFiles(collect) => collected(state, collect),
        _ => return None,
    };
    Some(answered.map(|body| Reply { status: 200, content_type: JSON, body: body.to_string().into_bytes() }))
}

/// Tells whether a question is one about files, which may take as long as it takes to fetch them.
pub(super) fn is_slow(query: &Query) -> bool {
    match query.inner() {
        Query::Resolve(question) => question.materialize,
        Query::Materialize(_)
        | Query::Locate(_)
        | Query::Files
        | Query::VerifyFiles(_)
        | Query::CollectFiles(_) => true,
        _ => false,
    }
}

fn desk(state: &State) -> Result<&Desk, Failure> {
    state.desk.as_ref().ok_or_else(|| {
        Failure::new(Code::StoreUnavailable, "read_only", "nobody here puts files on disk")
            .hint("name a cache directory with cache_dir or RESOLVERD_CACHE_DIR")
    })
}

fn materialized(state: &State, asked: &Materialize, snapshot: Option<&Snapshot>) -> Result<Value, Failure> {
    let facts = state.facts();
    let choices = chosen(&asked.targets, snapshot, &facts)?;
    let provided = provided(state, asked, &choices, snapshot, &facts)?;
    Ok(told_of(&provided, &choices, snapshot))
}

/// Puts everything on disk that a question leads to: what is required stands before whoever requires it.
fn closure(
    state: &State,
    asked: &Materialize,
    question: &Question,
    snapshot: Option<&Snapshot>,
    solving: &Solving,
) -> Result<Value, Failure> {
    let view = View::new(served(snapshot)?);
    let resolution = solution(question, &view, solving)?;
    let choices = picked(&resolution)?;
    let provided = provided(state, asked, &choices, snapshot, &state.facts())?;
    let mut answer = told_of(&provided, &choices, snapshot);
    answer["roots"] = json!(resolution.roots);
    Ok(answer)
}

/// Answers a resolve, with the directory of each component.
fn resolved(
    state: &State,
    question: &Question,
    snapshot: Option<&Snapshot>,
    solving: &Solving,
) -> Result<Vec<u8>, Failure> {
    let current = served(snapshot)?;
    let view = View::new(current);
    let resolution = solution(question, &view, solving)?;
    let asked = Materialize { targets: Vec::new(), layout: None, offline: false, hold: None };
    let provided = provided(state, &asked, &picked(&resolution)?, snapshot, &state.facts())?;
    let directories: Vec<&str> = provided.rows.iter().map(|row| row.directory.as_str()).collect();
    solve::body(&resolution, question, current, &directories)
}

fn picked(resolution: &Resolution<'_>) -> Result<Vec<Choice>, Failure> {
    let choice = |pick: &Pick<'_>| {
        let owner = pick.component.head()?.owner;
        Ok(Choice::Listed(Box::new((pick.release.release()?, owner))))
    };
    resolution.picks.iter().map(choice).collect()
}

fn provided(
    state: &State,
    asked: &Materialize,
    choices: &[Choice],
    snapshot: Option<&Snapshot>,
    facts: &Facts,
) -> Result<Provided, Failure> {
    // The list is long: it is read once, and only where somebody wants to know.
    let list = OnceCell::new();
    let read = || facts.records.as_ref()?.read(&snapshot?.generation).ok();
    let documents = || list.get_or_init(read).clone();
    let provided = (desk(state)?.provide)(&Errand {
        choices,
        snapshot,
        policies: &facts.policies.in_force,
        documents: &documents,
        offline: asked.offline,
        layout: asked.layout,
        hold: asked.hold.as_deref(),
    });
    provided.map_err(|refusal| told(&refusal))
}

fn told_of(provided: &Provided, choices: &[Choice], snapshot: Option<&Snapshot>) -> Value {
    let items = provided.rows.iter().zip(choices).map(|(row, choice)| item(row, choice));
    json!({
        "snapshot": snapshot.map(|snapshot| &snapshot.generation.snapshot),
        "items": items.collect::<Vec<Value>>(),
        "view": provided.view,
    })
}

/// Returns the row of a release, with where it comes from and how far it is vouched for.
fn item(row: &FilesRow, choice: &Choice) -> Value {
    let mut value = serde_json::to_value(row).unwrap_or_default();
    match choice {
        Choice::Listed(listed) => {
            let (release, owner) = &**listed;
            value["source"] = json!(SourceRow::of(owner, release));
            value["trust"] = json!(TrustRow::of(&release.verdict));
        }
        Choice::Direct(DirectReference { repository, commit, path }) => {
            let repository = repository.to_string();
            let source = json!({
                "id": null, "catalogue": null, "repository": repository, "commit": commit, "path": path, "kind": "direct",
            });
            value["source"] = source;
            value["trust"] = json!({"verdict": "pinned", "rule": null, "signers": []});
        }
    }
    value
}

/// Answers as the `locate_component` of LCOD kernels does.
///
/// **Shape**: `{"found": true, "result": {"id", "composePath", "repoRoot"}, "warnings": []}`. What nobody lists is not found, which
/// is an answer; everything else that stands in the way is a problem.
fn located(state: &State, asked: &Locate, snapshot: Option<&Snapshot>) -> Result<Value, Failure> {
    let request =
        Materialize { targets: vec![asked.target.clone()], layout: None, offline: asked.offline, hold: None };
    let absent = |warning: &str| json!({"found": false, "result": null, "warnings": [warning]});
    let answer = match materialized(state, &request, snapshot) {
        Err(failure) if matches!(failure.code, Code::ComponentNotFound | Code::VersionNotFound) => {
            return Ok(absent(&failure.detail));
        }
        answer => answer?,
    };
    let row = &answer["items"][0];
    let Some(compose) = row["compose"].as_str() else {
        let release = row["release"].as_str().unwrap_or_default();
        return Ok(absent(&format!("{release} has no compose.yaml")));
    };
    let directory = row["directory"].as_str().unwrap_or_default();
    Ok(json!({
        "found": true,
        "result": {
            "id": row["release"], "composePath": format!("{directory}/{compose}"), "repoRoot": directory,
            "descriptorPath": row["descriptor"].as_str().map(|path| format!("{directory}/{path}")),
            "integrity": row["integrity"], "source": row["source"], "trust": row["trust"],
        },
        "warnings": [],
    }))
}

/// Finds what is meant, and refuses what may not be used.
fn chosen(targets: &[Target], snapshot: Option<&Snapshot>, facts: &Facts) -> Result<Vec<Choice>, Failure> {
    let mut view = None;
    targets
        .iter()
        .map(|target| match target {
            Target::Direct(direct) => match facts.policies.in_force.direct(direct) {
                Some(refusal) => Err(told(&refusal)),
                None => Ok(Choice::Direct(direct.clone())),
            },
            Target::Listed(reference) => {
                let snapshot = served(snapshot)?;
                let view = view.get_or_insert_with(|| View::new(snapshot));
                let listed = looked_up(&Ok(reference.clone()), view)?;
                if listed.is_unfetched() {
                    let full = format!("{}@{}", reference.id, listed.version_text());
                    let detail = format!("the documents of {full} have not been fetched");
                    return Err(Failure::new(Code::SourceUnavailable, "manifest_unfetched", detail)
                        .hint(format!("resolverd resolve --refresh {full} fetches them")));
                }
                let owner =
                    snapshot.component(&reference.id).map(|component| component.head()).transpose()?;
                let owner = owner.map(|head| head.owner).ok_or_else(|| {
                    Failure::new(Code::Internal, "api.owner", format!("{} has no owner", reference.id))
                })?;
                Ok(Choice::Listed(Box::new((listed.release()?, owner))))
            }
        })
        .collect()
}

fn listed(state: &State) -> Result<Value, Failure> {
    let found = (desk(state)?.list)(()).map_err(|refusal| told(&refusal))?;
    Ok(json!({"holds": found.holds, "views": found.views, "skipped": found.skipped}))
}

fn verified(state: &State, releases: &[String]) -> Result<Value, Failure> {
    let found = (desk(state)?.verify)(releases.to_vec()).map_err(|refusal| told(&refusal))?;
    let changed = found.rows.iter().filter(|row| !row.changes.is_empty()).count();
    Ok(json!({"items": found.rows, "changed": changed, "skipped": found.skipped}))
}

fn collected(state: &State, collect: &CollectRequest) -> Result<Value, Failure> {
    let told_of = (desk(state)?.collect)(collect.clone()).map_err(|refusal| told(&refusal))?;
    Ok(json!(told_of))
}

/// Gives a refusal its code and its next step.
fn told(refusal: &Refusal) -> Failure {
    let hint = match refusal.reason.as_ref() {
        "offline" => "ask again where fetching is allowed; what was fetched once stays in the cache",
        "cache.changed" => {
            "resolverd verify names every change; asked for where fetching is allowed, they are fetched again"
        }
        "trust.digest_mismatch" | "trust.size_mismatch" => {
            "the bytes changed under their pin: the catalogue's owner has to publish a new pin"
        }
        "policy.direct" => "the policy has to allow it; resolverd policy show names its file",
        reason if reason.starts_with("limit.") => "raise the limit in config.toml where that is meant",
        reason if reason.starts_with("files.") => "the component's author has to mend its files",
        "no_space" => "make room there; resolverd gc removes what nobody needs",
        reason if reason.starts_with("cache.") => {
            "look at the cache directory; it may be deleted at any time"
        }
        _ => "resolverd sync reads the sources again",
    };
    of_refusal(refusal).hint(hint)
}
