//! Answers about files on disk: which releases are meant is looked up in the snapshot, without network; the rest is the desk's.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use catalogue_schema::digest::Hashed;
use catalogue_schema::direct::DirectReference;
use catalogue_schema::documents::Documents;
use catalogue_schema::generation::SourceState;
use catalogue_schema::id::{ComponentId, SourceId};
use catalogue_schema::model::{File, Release};
use catalogue_schema::packed::Packed;
use catalogue_schema::path::DocPath;
use catalogue_schema::project::ProjectFile;
use catalogue_schema::row::{SourceRow, TrustRow};
use serde_json::{Value, json};

use crate::api::files::{CollectRequest, FilesRow, HoldRow};
use crate::api::{Code, Failure, JSON, Reply};
use crate::fetch::mirror::Mirrors;
use crate::resolve::overlay::Wishes;
use crate::resolve::{Candidates, Conflict, Pick, Request, Resolution};
use crate::server::State;
use crate::server::answer::{Facts, View, are_configured, conflict, looked_up, served, solution};
use crate::server::beside::{Hands, Packages, Scene};
use crate::server::calls::{Called, rounds};
use crate::server::direct::{At, Described, Direct, Named, World, refuse_twins};
use crate::server::documents;
use crate::server::errand::{choices, composed, desk, is_denied, told};
use crate::server::explain::{Asked, Ground, explain};
use crate::server::files::{Asking, Calls, Choice, Desk, Errand, Locate, Materialize, Provided, Target};
use crate::server::lock::{self, Wish};
use crate::server::received;
use crate::server::route::{Query, Question};
use crate::server::snapshots::answering;
use crate::server::solve::{self, Solving};
use crate::store::Snapshot;
use crate::trust::policy::{DirectRuling, Policies};
use crate::trust::verify::{Evidence, judge};

/// Answers a question about files, or one that needs some first; `None` for every other question.
pub(super) fn answer(
    state: &State,
    query: &Query,
    kept: &[Arc<Snapshot>],
    solving: &Solving,
) -> Option<Result<Reply, Failure>> {
    let current = kept.first().map(Arc::as_ref);
    let snapshot = match query {
        Query::At(wanted, inner) if needs_files(inner) => {
            let kept: Vec<&Snapshot> = kept.iter().map(Arc::as_ref).collect();
            match served(current).and_then(|_| answering(wanted, &kept, state.facts().times.seen_s)) {
                Ok(snapshot) => Some(snapshot),
                Err(failure) => return Some(Err(failure)),
            }
        }
        // Of another snapshot nothing is put on disk.
        Query::At(..) => return None,
        _ => current,
    };
    let text = |answered: Result<Value, Failure>| answered.map(|body| body.to_string().into_bytes());
    let body = match query.inner() {
        Query::Materialize(asked) => text(match &**asked {
            (asked, Some(question)) => closure(state, asked, question, snapshot, solving),
            (asked, None) => {
                let asked = Materialize { gone: solving.gone.clone(), ..asked.clone() };
                materialized(state, &asked, snapshot)
            }
        }),
        Query::Resolve(question) if question.materialize || needs_files(query.inner()) => {
            resolved(state, question, snapshot, solving)
        }
        Query::Lock(asked) if needs_files(query.inner()) => locked(state, asked, snapshot, solving),
        Query::ExplainDirect(asked) => text(explained(state, asked, snapshot, solving)),
        Query::Documents(asked) => text(as_received(state, asked, snapshot)),
        Query::Locate(asked) => text(located(state, asked, snapshot, solving)),
        Query::Files(asking) => text(listed(state, *asking)),
        Query::VerifyFiles(releases) => text(verified(state, releases)),
        Query::CollectFiles(collect, asking) => text(collected(state, collect, *asking)),
        Query::ReleaseHolds(names, asking) => text(released(state, names, *asking)),
        _ => return None,
    };
    Some(body.map(|body| Reply { status: 200, content_type: JSON, body }))
}

/// Tells whether a question names directories of commits, follows calls, or wants documents: files are read before it is answered.
fn needs_files(query: &Query) -> bool {
    let reads = |question: &Question| question.direct.is_some() || question.calls != Calls::Off;
    match query {
        Query::Resolve(question) => reads(question),
        Query::Lock(asked) => reads(&asked.0),
        Query::ExplainDirect(_) | Query::Documents(_) => true,
        _ => false,
    }
}

/// Tells whether a question is one about files or what they say, which may take as long as it takes to fetch them.
pub(super) fn is_slow(query: &Query) -> bool {
    match query.inner() {
        Query::Resolve(question) if question.materialize => true,
        Query::Materialize(_)
        | Query::Locate(_)
        | Query::Files(_)
        | Query::VerifyFiles(_)
        | Query::CollectFiles(..)
        | Query::ReleaseHolds(..) => true,
        query => needs_files(query),
    }
}

fn materialized(state: &State, asked: &Materialize, snapshot: Option<&Snapshot>) -> Result<Value, Failure> {
    let facts = state.facts();
    let choices = chosen(state, &asked.targets, snapshot, &facts)?;
    let provided = provided(state, asked, &choices, snapshot, &facts)?;
    Ok(told_of(&provided, &choices, snapshot, &facts.policies.in_force))
}

/// Puts everything on disk that a question leads to: what is required stands before whoever requires it.
fn closure(
    state: &State,
    asked: &Materialize,
    question: &Question,
    snapshot: Option<&Snapshot>,
    solving: &Solving,
) -> Result<Value, Failure> {
    let mirrors = if question.mirrors.is_empty() { &asked.mirrors } else { &question.mirrors };
    let offline = asked.offline || question.is_offline;
    let gone = solving.gone.clone();
    let asked = Materialize { mirrors: mirrors.clone(), offline, gone, ..asked.clone() };
    solved(state, (question, &asked), snapshot, solving, |question, resolution, described| {
        let choices = picked(resolution, described)?;
        let provided = provided(state, &asked, &choices, snapshot, &state.facts())?;
        let mut answer = told_of(&provided, &choices, snapshot, &state.facts().policies.in_force);
        answer["roots"] = json!(resolution.roots);
        answer["warnings"] = json!(solve::warnings(resolution, question));
        Ok(answer)
    })
}

/// Answers a resolve; where that is asked for, with the directory of each component.
fn resolved(
    state: &State,
    question: &Question,
    snapshot: Option<&Snapshot>,
    solving: &Solving,
) -> Result<Vec<u8>, Failure> {
    let gone = solving.gone.clone();
    let asked = Materialize { offline: question.is_offline, gone, ..plainly(&question.mirrors) };
    solved(state, (question, &asked), snapshot, solving, |question, resolution, described| {
        let rows = match question.materialize {
            false => Vec::new(),
            true => {
                let choices = picked(resolution, described)?;
                provided(state, &asked, &choices, snapshot, &state.facts())?.rows
            }
        };
        let directories: Vec<&str> = rows.iter().map(|row| row.directory.as_str()).collect();
        solve::body(resolution, question, served(snapshot)?, &directories)
    })
}

/// Answers with the lock of a question that names directories of commits, or follows calls.
fn locked(
    state: &State,
    (question, wish): &(Question, Wish),
    snapshot: Option<&Snapshot>,
    solving: &Solving,
) -> Result<Vec<u8>, Failure> {
    let gone = solving.gone.clone();
    let asked = Materialize { offline: question.is_offline, gone, ..plainly(&question.mirrors) };
    solved(state, (question, &asked), snapshot, solving, |question, resolution, _| {
        let (facts, warnings) = (state.facts(), &question.warnings);
        let policies = &facts.policies.in_force;
        let ground = lock::Ground { snapshot: served(snapshot)?, warnings, policies };
        lock::made(wish, &question.request, resolution, &ground)
    })
}

/// Hands out the documents of releases as they were received.
fn as_received(
    state: &State,
    asked: &documents::Asked,
    snapshot: Option<&Snapshot>,
) -> Result<Value, Failure> {
    received::answer(asked, served(snapshot)?, &state.facts()).map(|found| json!(found))
}

/// Explains a directory of a commit: what it is, what pins it, and what it hides.
fn explained(
    state: &State,
    (reference, asked): &(DirectReference, Materialize),
    snapshot: Option<&Snapshot>,
    solving: &Solving,
) -> Result<Value, Failure> {
    let asked = &Materialize { gone: solving.gone.clone(), ..asked.clone() };
    let current = served(snapshot)?;
    let named = vec![Named { at: At::Request(0), reference: reference.clone() }];
    let direct = Direct { named, wishes: Wishes::default() };
    let described = described(state, &direct, asked, snapshot)?;
    let request = direct.settled(&Request::default(), &described)?;
    let view = View::new(current);
    let world = World::new(&view, &request, &described, [])?;
    let Some(wanted) = request.references.into_iter().next() else {
        return Err(Failure::new(Code::Internal, "direct.lost", format!("{reference} has no release")));
    };
    let component = world.component(&wanted.id).map(Packed::component).transpose()?;
    let (facts, records) = (state.facts(), Documents::default());
    let ground = Ground {
        snapshot: current,
        component: component.as_ref(),
        records: &records,
        policies: &facts.policies.in_force,
        read: &*facts.documents.0,
        ledger: None,
    };
    let asked = Asked { reference: wanted, natives: Vec::new(), prerelease: false };
    let problem = |found: &Conflict| conflict(found, &current.generation).problem(None);
    let mut answer = json!(explain(&asked, ground, &world, problem));
    answer["whySource"] = json!("it is named by its commit: no catalogue was asked");
    answer["direct"] = json!(reference.to_string());
    Ok(answer)
}

/// Returns what is put on disk by the way for the same caller: from the same machines, and held for nobody.
fn alike(asked: &Materialize) -> Materialize {
    let (gone, progress) = (asked.gone.clone(), asked.progress.clone());
    Materialize { offline: asked.offline, gone, progress, ..plainly(&asked.mirrors) }
}

/// Returns what a question puts on disk by the way, and holds for nobody.
fn plainly(mirrors: &Mirrors) -> Materialize {
    Materialize { mirrors: mirrors.clone(), ..Materialize::unheld(Vec::new(), false) }
}

/// Solves a question, once the directories of commits that it names are on disk and described, and, where calls are followed, what
/// is called is known; `asked` says how all that is fetched.
fn solved<T>(
    state: &State,
    (question, asked): (&Question, &Materialize),
    snapshot: Option<&Snapshot>,
    solving: &Solving,
    then: impl FnOnce(&Question, &Resolution<'_>, &[Described]) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let current = served(snapshot)?;
    if question.direct.is_none() && question.calls == Calls::Off {
        return then(question, &solution(question, &View::new(current), solving)?, &[]);
    }
    are_configured(question, current)?;
    let (mut question, mut described) = (question.clone(), Vec::new());
    if let Some(direct) = &question.direct {
        described = self::described(state, direct, asked, snapshot)?;
        question.request = direct.settled(&question.request, &described)?;
    }
    let mut called = Called::default();
    let packages = RefCell::new(Packages::default());
    let mut left = solving.clone();
    for _ in 0..rounds(question.calls, solving) {
        let (view, begun) = (View::new(current), Instant::now());
        let world = match described.is_empty() {
            false => Some(World::new(&view, &question.request, &described, called.ids())?),
            true => None,
        };
        let candidates: &dyn Candidates = match &world {
            Some(world) => world,
            None => &view,
        };
        question.request.calls = called.additions(candidates);
        let found = solve::solved(&question, candidates, &left.after(begun));
        // All searches of one question have together what one has; what files take is not theirs.
        left = left.after(begun);
        let found = found.map_err(|found| conflict(&found, &current.generation));
        let resolution = found.map_err(|failure| called.without_solution(failure, question.calls))?;
        let read = |picks: &[&Pick<'_>]| {
            let choices = choices(picks.iter().copied(), &described)?;
            let composed = composed(state, &choices, current, asked)?;
            Ok(choices.into_iter().zip(composed).collect())
        };
        let facts = state.facts();
        let policies = &facts.policies.in_force;
        let plain = alike(asked);
        let provide = |choice: Choice| {
            let mut rows = provided(state, &plain, &[choice], snapshot, &facts)?.rows;
            rows.pop().ok_or_else(|| Failure::new(Code::Internal, "api.answer", "a directory has no row"))
        };
        let scene = Scene {
            request: &question.request,
            candidates,
            described: &described,
            hands: Hands {
                provide: &provide,
                read: &|row, path| {
                    (desk(state)?.read)((row.clone(), path.clone())).map_err(|refusal| told(&refusal))
                },
                describe: &|reference, row| describe(desk(state)?, row, reference, policies),
                allow: &|reference| allowed(state, reference, &facts).map(drop),
                owner: &|id, source| owned_by_another(current, id, source),
                supply: &|id, source| policies.beside(id, source).map_or(Ok(()), Err),
            },
        };
        let meaning = |caller: &Choice, text: &str| packages.borrow_mut().meaning(caller, text, &scene);
        if question.calls != Calls::Off
            && called.learn(&resolution, &described, solving, (&read, &meaning))?
        {
            described.extend(packages.borrow_mut().take());
            refuse_twins(&described)?;
            continue;
        }
        let mut told = question.clone();
        told.warnings.extend(called.told(question.calls, &resolution)?);
        return then(&told, &resolution, &described);
    }
    Err(Called::endless(rounds(question.calls, solving)))
}

/// Returns a source other than `own` that owns an id by its configuration.
fn owned_by_another(current: &Snapshot, id: &ComponentId, own: &SourceId) -> Option<SourceId> {
    let owns = |state: &&SourceState| {
        state.source.id != *own && state.source.owns.iter().any(|namespace| namespace.contains(id))
    };
    current.generation.sources.iter().find(owns).map(|state| state.source.id.clone())
}

/// Puts the directories of commits that a question names on disk, where every policy lets it, and reads what they say they are.
fn described(
    state: &State,
    direct: &Direct,
    asked: &Materialize,
    snapshot: Option<&Snapshot>,
) -> Result<Vec<Described>, Failure> {
    let facts = state.facts();
    let references = direct.references();
    let choices = references.iter().map(|reference| allowed(state, reference, &facts));
    let choices = choices.collect::<Result<Vec<Choice>, Failure>>()?;
    let plain = alike(asked);
    let Provided { rows, .. } = provided(state, &plain, &choices, snapshot, &facts)?;
    let desk = desk(state)?;
    let policies = &facts.policies.in_force;
    rows.iter().zip(references).map(|(row, reference)| describe(desk, row, reference, policies)).collect()
}

/// Returns a directory of a commit as something that may be put on disk.
///
/// **Errors**: E015 where a policy does not allow it; R008 where nobody knows what the policies allow.
fn allowed(state: &State, reference: &DirectReference, facts: &Facts) -> Result<Choice, Failure> {
    if let Some(failure) = facts.policies.locked() {
        return Err(failure);
    }
    state.decide(&facts.policies.in_force, reference).map_err(|refusal| told(&refusal))?;
    Ok(Choice::Direct(reference.clone()))
}

/// Reads the descriptor of a directory; what the policies would say if they were enforced is one of its warnings.
///
/// **Errors**: E008 where it has none of its own, or one that does not say which release it is; E013 where it was changed on disk.
fn describe(
    desk: &Desk,
    row: &FilesRow,
    reference: &DirectReference,
    policies: &Policies,
) -> Result<Described, Failure> {
    let wrong = |reason: &'static str, found: String| {
        Failure::new(Code::ManifestInvalid, reason, format!("{reference}: {found}"))
            .hint("name the directory of a component: its lcp.toml says id, version and what it requires")
    };
    // One that lies deeper describes something else.
    let own = |path: &&DocPath| path.segments().count() == 1;
    let Some(path) = row.descriptor.as_ref().filter(own) else {
        return Err(wrong("direct.descriptor", "it has no lcp.toml of its own".to_owned()));
    };
    let bytes =
        (desk.read)((row.clone(), path.clone())).map_err(|refusal| told(&refusal))?.unwrap_or_default();
    let read = ProjectFile::parse(&bytes);
    let ProjectFile { project, requires, package, kind, implements, mut warnings, .. } =
        read.map_err(|error| {
            let failure = Failure::of(Code::ManifestInvalid, &error);
            Failure { detail: format!("{reference}: lcp.toml: {error}"), ..failure }
                .hint("its author has to correct it; another commit may be right")
        })?;
    let Some(project) = project else {
        return Err(wrong("direct.nameless", "its lcp.toml gives no id with a version".to_owned()));
    };
    let verdict = judge(&Evidence::committed(reference), &Hashed::of(bytes));
    let files = row.compose.iter().filter(own).chain([path]).filter_map(|path| {
        let line = row.files.iter().find(|line| line.path == *path)?;
        let (digest, blob) = (Some(line.digest.clone()), line.blob.clone());
        Some(File { path: line.path.clone(), digest, blob, size: Some(line.size) })
    });
    let release = reference.release((project.id, project.version), requires, files.collect(), verdict);
    let release = release.map_err(|error| Failure::of(Code::ManifestInvalid, &error))?;
    warnings.extend(policies.rule_direct(reference).iter().filter_map(DirectRuling::warning));
    let release = Release { kind, implements, warnings, ..release };
    Ok(Described { reference: reference.clone(), release, package, beside: None })
}

fn picked(resolution: &Resolution<'_>, described: &[Described]) -> Result<Vec<Choice>, Failure> {
    choices(resolution.picks.iter(), described)
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
        refetch: asked.refetch,
        layout: asked.layout,
        hold: asked.hold.as_deref(),
        mirrors: &asked.mirrors,
        uid: asked.asking.uid,
        gone: asked.gone.as_ref(),
        progress: asked.progress.as_ref(),
    });
    provided.map_err(|refusal| {
        let failure = told(&refusal);
        let may_be_its_fault = matches!(failure.code, Code::SourceUnavailable | Code::ChecksumMismatch)
            || is_denied(&refusal.reason);
        match may_be_its_fault && !asked.mirrors.is_empty() {
            true => failure.hint(
                "correct the mirrors of the request, which resolve.config.json names, or leave them out",
            ),
            false => failure,
        }
    })
}

fn told_of(
    provided: &Provided,
    choices: &[Choice],
    snapshot: Option<&Snapshot>,
    policies: &Policies,
) -> Value {
    let items = provided.rows.iter().zip(choices).map(|(row, choice)| item(row, choice, policies));
    json!({
        "snapshot": snapshot.map(|snapshot| &snapshot.generation.snapshot),
        "items": items.collect::<Vec<Value>>(),
        "view": provided.view,
    })
}

/// Returns the row of a release, with where it comes from and how far it is vouched for.
fn item(row: &FilesRow, choice: &Choice, policies: &Policies) -> Value {
    let mut value = serde_json::to_value(row).unwrap_or_default();
    match choice {
        Choice::Listed(listed) => {
            let (release, owner) = &**listed;
            value["source"] = json!(SourceRow::of(owner, release));
            value["trust"] = json!(TrustRow::of(&release.verdict));
        }
        Choice::Direct(_) | Choice::Described(..) | Choice::Beside(_) => {
            let Some(direct) = choice.direct() else { return value };
            let DirectReference { repository, commit, path } = direct;
            let rulings = policies.rule_direct(direct);
            value["warnings"] =
                rulings.iter().filter_map(DirectRuling::warning).map(|one| json!(one)).collect();
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
fn located(
    state: &State,
    asked: &Locate,
    snapshot: Option<&Snapshot>,
    solving: &Solving,
) -> Result<Value, Failure> {
    let targets = vec![asked.target.clone()];
    let (mirrors, gone) = (asked.mirrors.clone(), solving.gone.clone());
    let request = Materialize { mirrors, gone, ..Materialize::unheld(targets, asked.offline) };
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
    let warnings: Vec<&Value> =
        row["warnings"].as_array().into_iter().flatten().map(|warning| &warning["text"]).collect();
    Ok(json!({
        "found": true,
        "result": {
            "id": row["release"], "composePath": format!("{directory}/{compose}"), "repoRoot": directory,
            "descriptorPath": row["descriptor"].as_str().map(|path| format!("{directory}/{path}")),
            "integrity": row["integrity"], "source": row["source"], "trust": row["trust"],
        },
        "warnings": warnings,
    }))
}

/// Finds what is meant, and refuses what may not be used.
fn chosen(
    state: &State,
    targets: &[Target],
    snapshot: Option<&Snapshot>,
    facts: &Facts,
) -> Result<Vec<Choice>, Failure> {
    let mut view = None;
    targets
        .iter()
        .map(|target| match target {
            Target::Direct(direct) => allowed(state, direct, facts),
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

/// Lists what is there; of holds, whose names may be those of directories, everybody sees the own ones, and admins all.
fn listed(state: &State, asking: Asking) -> Result<Value, Failure> {
    let found = (desk(state)?.list)(()).map_err(|refusal| told(&refusal))?;
    let holds: Vec<&HoldRow> = found.holds.iter().filter(|hold| asking.sees(hold.uid)).collect();
    Ok(json!({"holds": holds, "views": found.views, "skipped": found.skipped}))
}

fn verified(state: &State, releases: &[String]) -> Result<Value, Failure> {
    let found = (desk(state)?.verify)(releases.to_vec()).map_err(|refusal| told(&refusal))?;
    let changed = found.rows.iter().filter(|row| !row.changes.is_empty()).count();
    Ok(json!({"items": found.rows, "changed": changed, "skipped": found.skipped}))
}

fn collected(state: &State, collect: &CollectRequest, asking: Asking) -> Result<Value, Failure> {
    let told_of = (desk(state)?.collect)((collect.clone(), asking.uid)).map_err(|refusal| told(&refusal))?;
    Ok(json!(told_of))
}

/// Ends holds; one that is not there, or is that of another user, ends nothing and is an answer.
fn released(state: &State, names: &[String], asking: Asking) -> Result<Value, Failure> {
    let ended = (desk(state)?.release)((names.to_vec(), asking.uid)).map_err(|refusal| told(&refusal))?;
    Ok(json!({"released": ended}))
}
