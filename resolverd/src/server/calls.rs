//! Calls as requirements: what the `compose.yaml` of a chosen release calls and its descriptor does not require.
//!
//! A question is answered; the compose files of what was chosen are read, from the cache, the shelf or their origins; what they call
//! undeclared is required as well, and the question is answered anew, until nothing comes to it. What a release calls its bytes
//! decide, so that the outcome hangs on the snapshot and the question alone once every file can be had. Never changes what is
//! chosen where everything is declared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use catalogue_schema::compose::{self, Target};
use catalogue_schema::direct::DirectReference;
use catalogue_schema::error::Position;
use catalogue_schema::graph::more::Additions;
use catalogue_schema::graph::place_of;
use catalogue_schema::id::{ComponentId, Dialect, Reference};
use catalogue_schema::model::{Refusal, Release, Warning};
use catalogue_schema::version::{Version, VersionReq};
use serde_json::{Value, json};

use crate::api::{Code, Failure};
use crate::resolve::solver::Undecided;
use crate::resolve::{Candidates, Pick, Resolution};
use crate::server::beside::{Meant, Why};
use crate::server::direct::Described;
use crate::server::errand::told as told_refusal;
use crate::server::files::{Calls, Choice, Composed};
use crate::server::solve::{Solving, undecided};

/// How many calls the warnings and the problem document of one answer name.
pub const TOLD_MAX: usize = 1_000;
/// How many compose files are asked for at once: what lies between two looks at whether anybody still waits.
const READ_AT_ONCE: usize = 64;
/// How many of a list a sentence names.
const NAMED: usize = 5;

/// The reason of a call that its release does not declare.
pub const UNDECLARED: &str = "call.undeclared";
/// The reason of a call that asks for another version than the one that is chosen.
pub const VERSION: &str = "call.version";
/// The reason of a relative call of which nobody can say what it means.
pub const RELATIVE: &str = "call.relative";
/// The reason of a call that names no component.
pub const UNREADABLE: &str = "call.unreadable";
/// The reason of a compose file that cannot be had or read.
pub const UNREAD: &str = "call.compose_unread";

/// What is known of the calls of one release.
#[derive(Debug, Default)]
struct Known {
    /// What it calls and does not require, each once.
    undeclared: Vec<(Reference, Position)>,
    /// What it calls and requires, with another requirement, each once: whether that is met hangs on what is chosen.
    versioned: Vec<(Reference, Position)>,
    /// What it calls that leads nowhere: why, in a word and in a sentence, as written, where.
    unclear: Vec<(&'static str, Why, String, Position)>,
    /// Why its compose file says nothing.
    unread: Option<Refusal>,
}

impl Known {
    /// Returns what it calls in another version than the one that is chosen.
    fn unmet<'k>(
        &'k self,
        versions: &'k HashMap<String, Version>,
    ) -> Vec<(&'k Reference, Position, &'k Version)> {
        let chosen = |(call, at): &'k (Reference, Position)| {
            let chosen = versions.get(call.id.as_text())?;
            // Where a prerelease was chosen, somebody asked for it.
            (!call.requirement.matches_prerelease(chosen)).then_some((call, *at, chosen))
        };
        self.versioned.iter().filter_map(chosen).collect()
    }
}

/// What is known of the calls of the releases that were chosen so far.
#[derive(Debug, Default)]
pub(super) struct Called {
    /// By release.
    known: BTreeMap<String, Known>,
    /// What is required besides, by the id of the release and the place of its version.
    lists: BTreeMap<(String, u32), Vec<Reference>>,
    /// How many those are.
    undeclared: usize,
}

/// What there is to say of the calls of one release.
struct Told<'k> {
    /// Which release.
    release: &'k str,
    known: &'k Known,
    /// What it calls in another version than the one that is chosen, and which that is.
    unmet: Vec<(&'k Reference, Position, &'k Version)>,
}

/// Returns how often a question may be answered.
pub(super) fn rounds(calls: Calls, solving: &Solving) -> u64 {
    if calls == Calls::Off { 1 } else { solving.call_rounds.max(1) }
}

/// What a relative call of a release means, or why nobody can say; an error is why that cannot be found out now.
type Meaning<'m> = dyn Fn(&Choice, &str) -> Result<Meant, Failure> + 'm;

/// Releases with their compose files.
type Read<'r> = dyn Fn(&[&Pick<'_>]) -> Result<Vec<(Choice, Composed)>, Failure> + 'r;

impl Called {
    /// Returns the components that are called.
    pub(super) fn ids(&self) -> impl Iterator<Item = &ComponentId> {
        self.lists.values().flatten().map(|reference| &reference.id)
    }

    /// Returns what is called as requirements beside those of the graph; `None` where nothing is.
    pub(super) fn additions(&self, candidates: &dyn Candidates) -> Option<Arc<Additions>> {
        let (components, graph) = candidates.all();
        let required = self.lists.iter().filter_map(|((id, version), wanted)| {
            Some(((place_of(id, components)?, *version), wanted.as_slice()))
        });
        (!self.lists.is_empty()).then(|| Arc::new(Additions::of(graph, components, required)))
    }

    /// Reads the compose files of what was chosen and is not known yet. Tells whether something is required that was not.
    ///
    /// **Errors**: those of `read` and `meaning`; R005 `limit.calls` where too much is called undeclared, and `resolve.undecided` where nobody waits
    /// any more.
    pub(super) fn learn(
        &mut self,
        resolution: &Resolution<'_>,
        described: &[Described],
        solving: &Solving,
        (read, meaning): (&Read<'_>, &Meaning<'_>),
    ) -> Result<bool, Failure> {
        let is_news = |pick: &&Pick<'_>| {
            pick.component.id().is_ok_and(|id| id.dialect() == Dialect::Lcod)
                && !self.known.contains_key(&pick.name())
        };
        let news: Vec<&Pick<'_>> = resolution.picks.iter().filter(is_news).collect();
        let before = self.lists.len();
        for chunk in news.chunks(READ_AT_ONCE) {
            here(solving)?;
            for (pick, (choice, composed)) in chunk.iter().zip(read(chunk)?) {
                here(solving)?;
                let found = known(&choice, composed, described, meaning)?;
                self.undeclared += found.undeclared.len();
                if self.undeclared as u64 > solving.calls {
                    return Err(too_many(solving.calls));
                }
                if let Ok(version) = u32::try_from(pick.release.at())
                    && !found.undeclared.is_empty()
                {
                    let wanted = found.undeclared.iter().map(|(reference, _)| reference.clone());
                    self.lists.insert((pick.component.id_text().to_owned(), version), wanted.collect());
                }
                self.known.insert(pick.name(), found);
            }
        }
        Ok(self.lists.len() > before)
    }

    /// Tells what the chosen releases call: as warnings, or as the error that a strict question ends with.
    ///
    /// **Errors**: E003 `call.undeclared`, `call.version` and `call.relative`, and why a compose file cannot be had, where calls are
    /// strict.
    pub(super) fn told(&self, calls: Calls, resolution: &Resolution<'_>) -> Result<Vec<Warning>, Failure> {
        let version = |pick: &Pick<'_>| Some((pick.component.id_text().to_owned(), pick.release.version()?));
        let versions: HashMap<String, Version> = resolution.picks.iter().filter_map(version).collect();
        let told_of = |pick: &Pick<'_>| {
            let (release, known) = self.known.get_key_value(&pick.name())?;
            Some(Told { release, known, unmet: known.unmet(&versions) })
        };
        told(calls, &resolution.picks.iter().filter_map(told_of).collect::<Vec<Told<'_>>>())
    }

    /// Tells why there is no solution once calls are required: they may be the cause.
    pub(super) fn without_solution(&self, failure: Failure, calls: Calls) -> Failure {
        without_solution(failure, calls, &self.known)
    }

    /// Tells that calls lead on and on.
    pub(super) fn endless(limit: u64) -> Failure {
        let detail =
            format!("calls led to new releases {limit} times, and still do (config key limits.call_rounds)");
        Failure::new(Code::LimitExceeded, "limit.call_rounds", detail)
            .status(503)
            .with("limit", limit)
            .hint("declare what is called in the lcp.toml of the components, or ask without calls, or raise call_rounds below [limits] in config.toml")
    }
}

/// Looks whether somebody still waits.
///
/// **Errors**: R005 `resolve.undecided`.
fn here(solving: &Solving) -> Result<(), Failure> {
    if solving.is_gone() { Err(undecided(Undecided::Time)) } else { Ok(()) }
}

fn too_many(limit: u64) -> Failure {
    let detail = format!("more than {limit} calls that are not declared (config key limits.calls)");
    Failure::new(Code::LimitExceeded, "limit.calls", detail)
        .status(503)
        .with("limit", limit)
        .hint("declare what is called in the lcp.toml of the components, or ask for fewer at once, or raise calls below [limits] in config.toml")
}

/// Reads what one choice calls.
fn known(
    choice: &Choice,
    composed: Composed,
    described: &[Described],
    meaning: &Meaning<'_>,
) -> Result<Known, Failure> {
    let release = match choice {
        Choice::Listed(listed) => Some(&listed.0),
        Choice::Direct(direct) | Choice::Described(direct, _) => release_of(direct, described),
        Choice::Beside(beside) => release_of(&beside.reference, described),
    };
    match (release, composed) {
        (Some(release), Ok(Some(bytes))) => called(release, &bytes, &|text| meaning(choice, text)),
        (_, Err(refusal)) => Ok(Known { unread: Some(refusal), ..Known::default() }),
        _ => Ok(Known::default()),
    }
}

fn release_of<'d>(reference: &DirectReference, described: &'d [Described]) -> Option<&'d Release> {
    described.iter().find(|one| one.reference == *reference).map(|one| &one.release)
}

/// Reads what one release calls; `meaning` says what is meant by something relative.
fn called(
    release: &Release,
    bytes: &[u8],
    meaning: &dyn Fn(&str) -> Result<Meant, Failure>,
) -> Result<Known, Failure> {
    let mut known = Known::default();
    let calls = match compose::calls(bytes) {
        Ok(calls) => calls,
        Err(error) => {
            let subject = format!("compose.yaml of {}@{}", release.id, release.version);
            known.unread = Some(Refusal::of(subject, &error));
            return Ok(known);
        }
    };
    let own = Reference { id: release.id.clone(), requirement: VersionReq::exact(&release.version) };
    let declared: HashMap<ComponentId, VersionReq> =
        release.dependencies.iter().chain([own]).map(|one| (one.id, one.requirement)).collect();
    let mut taken = BTreeSet::new();
    for call in calls {
        let reference = match call.target {
            Target::Component(reference) => reference,
            Target::Relative(text) => match meaning(&text)? {
                Ok(reference) => reference,
                Err(why) => {
                    known.unclear.push((RELATIVE, why, text, call.position));
                    continue;
                }
            },
            Target::Unreadable(error) => {
                let why = "which names no component".to_owned();
                known.unclear.push((UNREADABLE, why, error.found, call.position));
                continue;
            }
        };
        let is_as_declared = declared
            .get(&reference.id)
            .map(|requirement| reference.requirement.is_any() || reference.requirement == *requirement);
        if is_as_declared == Some(true) || !taken.insert(reference.to_string()) {
            continue;
        }
        match is_as_declared {
            None => known.undeclared.push((reference, call.position)),
            Some(_) => known.versioned.push((reference, call.position)),
        }
    }
    Ok(known)
}

/// Tells what releases call: as warnings, or as the error that a strict question ends with.
fn told(calls: Calls, chosen: &[Told<'_>]) -> Result<Vec<Warning>, Failure> {
    if calls == Calls::Strict {
        if !chosen.iter().all(Told::is_clear) {
            return Err(strict(chosen));
        }
        if let Some((release, refusal)) =
            chosen.iter().find_map(|one| Some((one.release, one.known.unread.as_ref()?)))
        {
            let failure = told_refusal(refusal);
            let detail = format!("nobody can tell what {release} calls: {}", failure.detail);
            return Err(Failure { detail, ..failure }.with("release", release));
        }
    }
    let mut warnings = Vec::new();
    let mut left_out = Vec::new();
    for (reason, text) in chosen.iter().flat_map(Told::sentences) {
        match warnings.len() < TOLD_MAX {
            true => warnings.push(Warning::new(reason, text)),
            false => left_out.push(reason),
        }
    }
    if let Some(first) = left_out.first() {
        let is_one = left_out.iter().all(|reason| reason == first);
        let text = format!("{} more calls are not told one by one", left_out.len());
        warnings.push(Warning::new(if is_one { first } else { UNDECLARED }, text));
    }
    Ok(warnings)
}

impl Told<'_> {
    /// Tells whether everything that is called is declared, as far as that is known.
    fn is_clear(&self) -> bool {
        self.known.undeclared.is_empty() && self.unmet.is_empty() && self.known.unclear.is_empty()
    }

    fn sentences(&self) -> Vec<(&'static str, String)> {
        let Told { release, known, unmet } = self;
        let undeclared = known.undeclared.iter().map(|(reference, at)| {
            let text = format!("{release} calls {reference} ({}) and does not require it", place(*at));
            (UNDECLARED, text)
        });
        let unmet = unmet.iter().map(|(reference, at, chosen)| {
            let text = format!("{release} calls {reference} ({}), and {chosen} is chosen", place(*at));
            (VERSION, text)
        });
        let unclear = known.unclear.iter().map(|(reason, why, text, at)| {
            (*reason, format!("{release} calls {text} ({}), {why}", place(*at)))
        });
        let unread = known
            .unread
            .iter()
            .map(|refusal| (UNREAD, format!("nobody can tell what {release} calls: {refusal}")));
        undeclared.chain(unmet).chain(unclear).chain(unread).collect()
    }

    fn rows(&self) -> Vec<Value> {
        let Told { release, known, unmet } = self;
        let row = |reason: &str, call: String, at: Position| json!({"reason": reason, "release": release, "call": call, "line": at.line, "column": at.column});
        let undeclared = known.undeclared.iter().map(|(one, at)| row(UNDECLARED, one.to_string(), *at));
        let unmet = unmet.iter().map(|(one, at, _)| row(VERSION, one.to_string(), *at));
        let unclear = known.unclear.iter().map(|(reason, _, text, at)| row(reason, text.clone(), *at));
        undeclared.chain(unmet).chain(unclear).collect()
    }
}

fn place(at: Position) -> String {
    format!("compose.yaml, line {}, column {}", at.line, at.column)
}

/// Names every call that is not declared, or not in the version that is chosen, or whose meaning nobody knows.
fn strict(chosen: &[Told<'_>]) -> Failure {
    let is_told = |(reason, _): &(&str, String)| *reason != UNREAD;
    let all: Vec<(&str, String)> = chosen.iter().flat_map(Told::sentences).filter(is_told).collect();
    let rows: Vec<Value> = chosen.iter().flat_map(Told::rows).take(TOLD_MAX).collect();
    let has = |wanted: &&str| all.iter().any(|(reason, _)| reason == wanted);
    let reason = [UNDECLARED, VERSION].into_iter().find(has).unwrap_or(RELATIVE);
    let mut named: Vec<&str> = all.iter().take(NAMED).map(|(_, text)| text.as_str()).collect();
    let more = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("and {more} more"),
    };
    named.extend((!more.is_empty()).then_some(more.as_str()));
    let as_what = if reason == VERSION { "declared as they are made" } else { "declared" };
    let detail = format!("{} calls are not {as_what}: {}", all.len(), named.join("; "));
    Failure::new(Code::VersionConflict, reason, detail)
        .with("calls", rows)
        .hint("add them to requires in the lcp.toml of these components, with the versions that are called; with calls that are followed instead of strict they are required all the same")
}

/// Tells why there is no solution once calls are required: they may be the cause.
fn without_solution(failure: Failure, calls: Calls, known: &BTreeMap<String, Known>) -> Failure {
    let calling: Vec<Told<'_>> = known
        .iter()
        .filter(|(_, one)| !one.undeclared.is_empty())
        .map(|(release, known)| Told { release, known, unmet: Vec::new() })
        .collect();
    if calling.is_empty() {
        return failure;
    }
    if calls == Calls::Strict {
        return strict(&calling);
    }
    let rows: Vec<Value> = calling.iter().flat_map(Told::rows).take(TOLD_MAX).collect();
    failure.with("calls", rows)
}
