//! Locks: made of a solution, and judged by the facts and policies of a generation; those that are watched, after each one.
//!
//! A lock is judged release by release, in the order of ids: `lock.missing` (nobody lists it any more), `lock.unavailable` (its
//! source has never been read, or not for too long), `lock.refused` (the policy refuses it), `lock.mutated` (other bytes under the
//! same version), `lock.drifted` (another catalogue owns it, or its place or requirements are others) and `lock.yanked`. A release
//! may have several. Never writes a lock to disk, never fetches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use catalogue_schema::digest::Digest;
use catalogue_schema::direct::{DirectReference, is_direct};
use catalogue_schema::error::{ParseError, escaped};
use catalogue_schema::generation::{SOURCE_EXPIRED, stale};
use catalogue_schema::id::{CatalogueId, ComponentId, Reference, parse_release_id};
use catalogue_schema::lockfile::{Calls, Edge, Form, Lock, Locked, LockedFile, Project, To};
use catalogue_schema::model::{Refusal, Release, Warning};
use catalogue_schema::packed::{Packed, PackedError};
use catalogue_schema::version::{Grammar, VersionReq};
use serde_json::{Value, json};

use crate::api::lock::{
    ExceptionRow, FINDINGS_TOLD, FindingRow, LockChecked, LockMade, LockRequest, LockedRow, RECEIPT_SCHEMA,
    Receipt, WATCH_S, WATCHED_BYTES_MAX, WATCHED_BYTES_PER_UID_MAX, WATCHES_MAX, WATCHES_PER_UID_MAX,
};
use crate::api::{Code, Failure};
use crate::resolve::{Asker, Candidates, Link, Linked, Pick, Request, Resolution, Standing};
use crate::server::events::Event;
use crate::store::Snapshot;
use crate::trust::policy::{InForce, Policies};
use crate::trust::verify::EXCEPTION;

/// How many of a list a sentence names.
const NAMED: usize = 3;

/// How a solution is written down.
#[derive(Debug, Clone)]
pub struct Wish {
    /// In which form.
    pub form: Form,
    /// Whose lock it is.
    pub project: Option<Project>,
    /// Calls are followed, and the requests from this place on are those of the project's own compose file; `None` where calls are
    /// off.
    pub calls: Option<usize>,
}

/// The question what of a lock no longer holds.
#[derive(Debug, Clone)]
pub struct AskedCheck {
    /// The text of the lock. It is read where there is time for it.
    pub text: String,
    /// Whoever listens wants to know when it ceases to hold.
    pub watch: bool,
    /// Whose watch it is.
    pub uid: u32,
}

/// A lock that was given.
#[derive(Debug)]
pub struct Given {
    /// The lock.
    pub lock: Arc<Lock>,
    /// The digest of its text.
    pub digest: Digest,
    /// How long its text is.
    pub bytes: usize,
}

/// Reads what a request for a lock has beside what is resolved.
///
/// **Errors**: R011 `api.form`, `api.project`.
pub fn wish(wire: &LockRequest) -> Result<Wish, Failure> {
    let word = wire.form.as_deref().unwrap_or_else(|| Form::Resolverd.name());
    let form = Form::named(word).ok_or_else(|| {
        let detail = format!("form: expected resolverd or lcp, found \"{}\"", escaped(word));
        Failure::new(Code::RequestInvalid, "api.form", detail).with("field", "form")
    })?;
    let read = |text: &str| {
        let read = parse_release_id(text).map_err(|error| {
            Failure::of(Code::RequestInvalid, &error.in_field("project"))
                .hint("write the project as id@version, such as lcod://demo/app@0.1.0")
        });
        read.map(|(id, version)| Project { id, version })
    };
    let project = wire.project.as_deref().map(read).transpose()?;
    if form == Form::Lcp && project.is_none() {
        let detail = "project: expected whose lock it is, since lcp.lock names its project";
        return Err(Failure::new(Code::RequestInvalid, "api.project", detail)
            .with("field", "project")
            .hint("give lcp.toml an id with a version, such as lcod://demo/app@0.1.0"));
    }
    Ok(Wish { form, project, calls: None })
}

/// Reads a lock that is to be judged.
///
/// **Errors**: E008 with what the reader says.
pub fn given(asked: &AskedCheck) -> Result<Given, Failure> {
    let (lock, _) = Lock::parse(asked.text.as_bytes()).map_err(|error| {
        Failure::of(Code::ManifestInvalid, &error.in_field("lock"))
            .hint("resolverd lock writes a lock anew; a merge that went wrong is mended the same way")
    })?;
    let digest = Digest::sha256(asked.text.as_bytes());
    Ok(Given { lock: Arc::new(lock), digest, bytes: asked.text.len() })
}

/// A chosen release, read.
struct Chosen {
    owner: CatalogueId,
    release: Release,
}

impl Chosen {
    fn of(pick: &Pick<'_>) -> Result<Chosen, PackedError> {
        Ok(Chosen { owner: pick.component.head()?.owner, release: pick.release.release()? })
    }
}

/// Makes the lock of a solution.
///
/// **Errors**: R009 `lock.incomplete`: the solution does not hold together.
fn lock_of(
    chosen: &[Chosen],
    resolution: &Resolution<'_>,
    request: &Request,
    wish: &Wish,
) -> Result<Lock, Failure> {
    let incomplete = |error: ParseError| {
        let detail = format!("the solution does not hold together: {error}");
        Failure::new(Code::Internal, "lock.incomplete", detail)
    };
    let native = |wanted: &Reference| match request.overlay.substitute(&wanted.id) {
        None => To::Native,
        Some(one) => To::Hosted(Reference {
            id: one.id.clone(),
            requirement: one.requirement.clone().unwrap_or_else(|| wanted.requirement.clone()),
        }),
    };
    let to = |place: Option<usize>, wanted: &Reference| {
        let component = place.and_then(|place| chosen.get(place));
        component.map_or_else(|| native(wanted), |one| To::Component(one.release.id.clone()))
    };
    let root = |(position, wanted): (usize, &Reference)| {
        let asked = |pick: &Pick<'_>| pick.required_by.contains(&Asker::Request(position));
        Edge { wanted: wanted.clone(), to: to(resolution.picks.iter().position(asked), wanted) }
    };
    let edge = |link: &Link<'_>| -> Result<Edge, ParseError> {
        let place = match link.to {
            Linked::Pick(place) => Some(place),
            Linked::Native => None,
        };
        let requirement = match link.requirement {
            "" => VersionReq::any(),
            text => VersionReq::parse(text, Grammar::Reference)?,
        };
        let wanted = Reference { id: ComponentId::parse(link.id)?, requirement };
        Ok(Edge { to: to(place, &wanted), wanted })
    };
    let locked = |(pick, one): (&Pick<'_>, &Chosen)| -> Result<Locked, ParseError> {
        let dependencies = pick.dependencies.iter().map(edge).collect::<Result<_, _>>()?;
        Ok(Locked::of(&one.owner, &one.release, dependencies))
    };
    let roots = request.references.iter().enumerate().map(root).collect();
    let components = resolution.picks.iter().zip(chosen).map(locked).collect::<Result<_, _>>();
    let lock = Lock::new(wish.project.clone(), roots, components.map_err(incomplete)?).map_err(incomplete)?;
    match wish.calls {
        None => Ok(lock),
        Some(first) => lock.with_calls(calls_of(chosen, resolution, request, first)).map_err(incomplete),
    }
}

/// Returns what is in a solution because it is called; the requests from `first` on are calls.
fn calls_of(chosen: &[Chosen], resolution: &Resolution<'_>, request: &Request, first: usize) -> Calls {
    let text = |link: &Link<'_>| match link.requirement {
        "" => link.id.to_owned(),
        requirement => format!("{}@{requirement}", link.id),
    };
    let called = |(pick, one): (&Pick<'_>, &Chosen)| {
        let called = pick.dependencies.iter().filter(|link| link.is_called).map(text);
        (one.release.id.clone(), called.collect::<BTreeSet<String>>())
    };
    let releases = resolution.picks.iter().zip(chosen).map(called);
    Calls {
        project: request.references.iter().skip(first).map(ToString::to_string).collect(),
        releases: releases.filter(|(_, called)| !called.is_empty()).collect(),
    }
}

/// What an answer with a lock is made from, beside the solution.
pub struct Ground<'a> {
    /// The generation that answered.
    pub snapshot: &'a Snapshot,
    /// What the caller should know about the request.
    pub warnings: &'a [Warning],
    /// The trust policies in force.
    pub policies: &'a Policies,
}

/// Answers with the lock of a solution.
///
/// **Errors**: E013 (a release cannot be read), R009 `lock.incomplete`.
pub fn made(
    wish: &Wish,
    request: &Request,
    resolution: &Resolution<'_>,
    ground: &Ground<'_>,
) -> Result<Vec<u8>, Failure> {
    let generation = &ground.snapshot.generation;
    let chosen = resolution.picks.iter().map(Chosen::of).collect::<Result<Vec<_>, _>>()?;
    let lock = lock_of(&chosen, resolution, request, wish)?;
    let text = lock.text(wish.form).map_err(|error| Failure::of(Code::RequestInvalid, &error))?;
    let digest = Digest::sha256(text.as_bytes());
    let mut components: Vec<LockedRow<'_>> = chosen
        .iter()
        .map(|Chosen { release, .. }| LockedRow {
            id: &release.id,
            version: &release.version,
            yanked: release.yanked,
        })
        .collect();
    components.sort_by(|one, other| one.id.cmp(other.id));
    let mut warnings: Vec<_> = resolution.warnings.iter().chain(ground.warnings).collect();
    warnings.sort();
    let made = LockMade {
        snapshot: &generation.snapshot,
        generation: generation.number,
        stale: stale(&generation.sources, &generation.catalogues),
        form: wish.form.name(),
        file: wish.form.file_name(),
        components,
        natives: natives(&lock),
        warnings,
        receipt: Receipt {
            schema: RECEIPT_SCHEMA,
            lock: digest.clone(),
            snapshot: &generation.snapshot,
            generation: generation.number,
            policy: policy(ground.policies),
            exceptions: exceptions(&chosen),
        },
        text,
        digest,
    };
    serde_json::to_vec(&made).map_err(|error| {
        Failure::new(Code::Internal, "api.answer", format!("cannot write the answer: {error}"))
    })
}

/// Returns what the host answers itself.
fn natives(lock: &Lock) -> BTreeSet<String> {
    let below = lock.components().iter().flat_map(|one| &one.dependencies);
    lock.roots().iter().chain(below).filter_map(Edge::native).map(ToString::to_string).collect()
}

fn policy(in_force: &Policies) -> Value {
    if in_force.is_empty() {
        return Value::Null;
    }
    let one = |one: &InForce| json!({"version": one.policy.version, "digest": one.digest});
    json!({"digest": in_force.digest(), "policies": in_force.all().iter().map(one).collect::<Vec<Value>>()})
}

fn exceptions(chosen: &[Chosen]) -> Vec<ExceptionRow> {
    let row = |release: &Release| {
        let full = format!("{}@{}", release.id, release.version);
        let used = release.warnings.iter().filter(|warning| warning.reason == EXCEPTION);
        used.map(|warning| ExceptionRow { release: full.clone(), text: warning.text.clone() })
            .collect::<Vec<_>>()
    };
    chosen.iter().flat_map(|one| row(&one.release)).collect()
}

/// Judges a lock by what may be chosen today. What a direct reference brought is what its commit says, whoever lists it: the policies
/// alone may have something against it.
///
/// **Errors**: a release cannot be read.
pub fn check(
    lock: &Lock,
    candidates: &impl Candidates,
    policies: &Policies,
) -> Result<Vec<FindingRow>, PackedError> {
    let mut findings = Vec::new();
    for one in lock.components() {
        match is_direct(&one.owner) {
            true => findings.extend(judge_direct(one, policies)),
            false => judge(lock, one, candidates, &mut findings)?,
        }
    }
    Ok(findings)
}

/// Judges a release that a direct reference brought.
fn judge_direct(one: &Locked, policies: &Policies) -> Option<FindingRow> {
    // A repository of a machine is left out of locks; whether it may be named does not hang on which it is.
    let (Some(repository), Some(commit), Some(path)) = (&one.repository, &one.commit, &one.path) else {
        return None;
    };
    let (repository, commit, path) = (repository.clone(), commit.clone(), path.clone());
    let refusal = policies.direct(&DirectReference { repository, commit, path })?;
    let hint = format!("resolverd explain {} says who lists it, where somebody does", one.id);
    let found = refusal.to_string();
    let row = finding(one, "lock.refused", "direct references that the policy allows", found, hint);
    Some(FindingRow { refusal: Some(refusal), ..row })
}

/// Answers what of a lock no longer holds: `findings`.
pub fn checked<'a>(
    asked: &AskedCheck,
    given: Given,
    findings: Vec<FindingRow>,
    snapshot: &'a Snapshot,
) -> LockChecked<'a> {
    let generation = &snapshot.generation;
    LockChecked {
        snapshot: &generation.snapshot,
        generation: generation.number,
        stale: stale(&generation.sources, &generation.catalogues),
        lock: given.digest,
        holds: findings.is_empty(),
        components: given.lock.components().len(),
        findings,
        watched_seconds: asked.watch.then_some(WATCH_S),
    }
}

/// Judges one release.
fn judge(
    lock: &Lock,
    one: &Locked,
    candidates: &impl Candidates,
    findings: &mut Vec<FindingRow>,
) -> Result<(), PackedError> {
    let component = match candidates.standing(&one.id) {
        Standing::Known(component) => component,
        Standing::Unknown => {
            let hint = format!(
                "resolverd explain {} says who listed it; resolverd lock --update {} does without it",
                one.id, one.id
            );
            findings.push(finding(
                one,
                "lock.missing",
                format!("a source that lists {}", one.id),
                "none",
                hint,
            ));
            return Ok(());
        }
        Standing::Blocked(blocked) => {
            let found =
                format!("source {}, which owns {}, has never been read", blocked.source, blocked.namespace);
            let hint = format!("resolverd sync {}", blocked.source);
            findings.push(finding(one, "lock.unavailable", "a source that has been read", found, hint));
            return Ok(());
        }
    };
    let owner = component.head()?.owner;
    if owner != one.owner {
        let hint =
            format!("resolverd explain {} says why; resolverd lock --update {} accepts it", one.id, one.id);
        findings.push(finding(
            one,
            "lock.drifted",
            format!("catalogue {}", one.owner),
            format!("catalogue {owner}"),
            hint,
        ));
    }
    let Some(listed) = component.exact(&one.version) else {
        findings.push(missing(one, component));
        return Ok(());
    };
    let release = listed.release()?;
    if let Some(refusal) = release.verdict.refusal() {
        findings.push(refused(one, refusal));
    }
    compare(lock, one, &owner, &release, findings);
    if release.yanked {
        let hint = format!(
            "resolverd lock --update {} chooses another version; this one stays usable where it is locked",
            one.id
        );
        findings.push(finding(
            one,
            "lock.yanked",
            "a release that its author stands by",
            "a withdrawn one",
            hint,
        ));
    }
    Ok(())
}

fn finding(
    one: &Locked,
    reason: &'static str,
    expected: impl Into<String>,
    found: impl Into<String>,
    hint: String,
) -> FindingRow {
    FindingRow {
        id: one.id.clone(),
        version: one.version.clone(),
        reason,
        expected: expected.into(),
        found: found.into(),
        hint,
        refusal: None,
    }
}

fn missing(one: &Locked, component: &Packed) -> FindingRow {
    let newest = component.all().rev().filter_map(|listed| listed.version()).take(NAMED);
    let newest: Vec<String> = newest.map(|version| version.to_string()).collect();
    let found = format!("{} versions, the newest {}", component.count(), newest.join(", "));
    let hint = format!("resolverd lock --update {} chooses one of them", one.id);
    finding(one, "lock.missing", format!("version {}", one.version), found, hint)
}

fn refused(one: &Locked, refusal: &Refusal) -> FindingRow {
    let is_expired = refusal.reason == SOURCE_EXPIRED;
    let (reason, expected) = match is_expired {
        true => ("lock.unavailable", "a source that was read lately"),
        false => ("lock.refused", "a release that may be used"),
    };
    let hint = match is_expired {
        true => format!("resolverd sync {}", refusal.subject),
        false => format!(
            "resolverd explain {} says why and what would change it; resolverd lock --update {} chooses another version",
            one.full(),
            one.id
        ),
    };
    FindingRow { refusal: Some(refusal.clone()), ..finding(one, reason, expected, refusal.to_string(), hint) }
}

/// Compares bytes, place and requirements with those of today.
fn compare(
    lock: &Lock,
    one: &Locked,
    owner: &CatalogueId,
    release: &Release,
    findings: &mut Vec<FindingRow>,
) {
    let now = Locked::of(owner, release, release.dependencies.iter().map(Edge::plain).collect());
    let update = || {
        format!(
            "resolverd explain {} says what is known; resolverd lock --update {} accepts it",
            one.full(),
            one.id
        )
    };
    if let Some((expected, found)) = mutation(one, &now, release.unfetched) {
        findings.push(finding(one, "lock.mutated", expected, found, update()));
    }
    let place = |one: &Locked| {
        let text = |part: Option<String>| part.unwrap_or_else(|| "-".to_owned());
        let parts = [
            one.repository.as_ref().map(ToString::to_string),
            one.commit.as_ref().map(ToString::to_string),
            one.path.as_ref().map(ToString::to_string),
        ];
        parts.map(text).join(" ")
    };
    if place(one) != place(&now) {
        findings.push(finding(one, "lock.drifted", place(one), place(&now), update()));
    }
    let texts = |edges: &mut dyn Iterator<Item = &Edge>| {
        edges.map(|edge| edge.wanted.to_string()).collect::<BTreeSet<String>>()
    };
    // What is called is no word of the release; the bytes that call it are compared above.
    let declared = |edge: &&Edge| !lock.is_call(&one.id, &edge.wanted);
    let locked = texts(&mut one.dependencies.iter().filter(declared));
    let today = texts(&mut now.dependencies.iter());
    if !release.unfetched && locked != today {
        let text = |all: BTreeSet<String>| match all.len() {
            0 => "requires nothing".to_owned(),
            _ => format!("requires {}", all.into_iter().collect::<Vec<_>>().join(", ")),
        };
        findings.push(finding(one, "lock.drifted", text(locked), text(today), update()));
    }
}

/// Returns what the bytes were and are, where they are others.
fn mutation(one: &Locked, now: &Locked, unfetched: bool) -> Option<(String, String)> {
    let text = |digest: Option<&Digest>| digest.map_or_else(|| "none".to_owned(), ToString::to_string);
    if one.manifest != now.manifest {
        let told = |digest| format!("manifest {}", text(digest));
        return Some((told(one.manifest.as_ref()), told(now.manifest.as_ref())));
    }
    if one.archive != now.archive {
        let told = |archive: &[Digest]| match archive {
            [] => "no archive".to_owned(),
            all => format!("archive {}", all.iter().map(Digest::to_string).collect::<Vec<_>>().join(" ")),
        };
        return Some((told(&one.archive), told(&now.archive)));
    }
    if unfetched {
        return None;
    }
    let files = |one: &Locked| -> BTreeSet<LockedFile> { one.files.iter().cloned().collect() };
    let (before, after) = (files(one), files(now));
    let changed = before.symmetric_difference(&after).next()?;
    let of = |all: &BTreeSet<LockedFile>| {
        let file = all.iter().find(|file| file.path == changed.path);
        format!("{} {}", text(file.map(|file| &file.digest)), changed.path)
    };
    Some((of(&before), of(&after)))
}

/// The locks of which somebody wants to know when they cease to hold. Bounded in number and time, in all and for each user; nothing
/// on the path of a resolve looks here.
#[derive(Debug, Default)]
pub struct Watches {
    all: Mutex<BTreeMap<Digest, Watch>>,
}

#[derive(Debug)]
struct Watch {
    lock: Arc<Lock>,
    /// How long its text is.
    bytes: usize,
    /// Until when each user wants to know.
    until: BTreeMap<u32, Instant>,
    /// What was found last, by id and reason.
    known: BTreeSet<(ComponentId, &'static str)>,
}

impl Watches {
    /// Watches a lock for a user from now on, or longer; `findings` is what is known of it.
    ///
    /// **Errors**: R005 when so many others are watched, or such long ones, for this user or for all.
    pub fn watch(&self, given: &Given, findings: &[FindingRow], uid: u32) -> Result<(), Failure> {
        let now = Instant::now();
        let mut all = self.locked();
        lapse(&mut all, now);
        let is_own = |watch: &&Watch| watch.until.contains_key(&uid);
        let watched = all.get(&given.digest);
        if !watched.is_some_and(|watch| is_own(&watch)) {
            let bounds = (WATCHES_PER_UID_MAX, WATCHED_BYTES_PER_UID_MAX);
            has_room(all.values().filter(is_own), given, bounds, "this user")?;
        }
        if watched.is_none() {
            has_room(all.values(), given, (WATCHES_MAX, WATCHED_BYTES_MAX), "all users")?;
        }
        let watch = all.entry(given.digest.clone()).or_insert_with(|| Watch {
            lock: Arc::clone(&given.lock),
            bytes: given.bytes,
            until: BTreeMap::new(),
            known: BTreeSet::new(),
        });
        watch.until.insert(uid, now + Duration::from_secs(WATCH_S));
        watch.known = known(findings);
        Ok(())
    }

    /// Judges the watched locks by a generation that has just been published, and returns what there is to tell.
    pub fn changed(
        &self,
        snapshot: &Snapshot,
        candidates: &impl Candidates,
        policies: &Policies,
    ) -> Vec<Event> {
        let now = Instant::now();
        let open: Vec<(Digest, Arc<Lock>)> = {
            let mut all = self.locked();
            lapse(&mut all, now);
            all.iter().map(|(digest, watch)| (digest.clone(), Arc::clone(&watch.lock))).collect()
        };
        let mut events = Vec::new();
        for (digest, lock) in open {
            // What cannot be read is a mistake of this program, which every question to it tells.
            let Ok(findings) = check(&lock, candidates, policies) else { continue };
            let mut all = self.locked();
            let Some(watch) = all.get_mut(&digest) else { continue };
            let is_news = |one: &FindingRow| !watch.known.contains(&(one.id.clone(), one.reason));
            if findings.iter().any(is_news) {
                events.push(invalidated(&digest, &findings, snapshot));
            }
            watch.known = known(&findings);
        }
        events
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<Digest, Watch>> {
        // Every change of the map is one call.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets what nobody wants to know any more.
fn lapse(all: &mut BTreeMap<Digest, Watch>, now: Instant) {
    all.retain(|_, watch| {
        watch.until.retain(|_, until| *until > now);
        !watch.until.is_empty()
    });
}

/// Checks that one more lock can be watched beside `others`, within so many of them and of their bytes.
fn has_room<'a>(
    others: impl Iterator<Item = &'a Watch>,
    given: &Given,
    (count_max, bytes_max): (usize, usize),
    who: &str,
) -> Result<(), Failure> {
    let (count, bytes) =
        others.fold((0, given.bytes), |(count, bytes), one| (count + 1, bytes.saturating_add(one.bytes)));
    let (detail, limit) = match (count >= count_max, bytes > bytes_max) {
        (false, false) => return Ok(()),
        (true, _) => (format!("{count_max} locks are watched for {who}"), count_max),
        (false, true) => (format!("the locks that are watched for {who} have {bytes_max} bytes"), bytes_max),
    };
    Err(Failure::new(Code::LimitExceeded, "api.watches", detail)
        .status(429)
        .with("limit", limit)
        .hint("ask without watch, or wait until one of them lapses"))
}

fn known(findings: &[FindingRow]) -> BTreeSet<(ComponentId, &'static str)> {
    findings.iter().map(|one| (one.id.clone(), one.reason)).collect()
}

fn invalidated(digest: &Digest, findings: &[FindingRow], snapshot: &Snapshot) -> Event {
    let row = |one: &FindingRow| json!({"id": one.id, "version": one.version, "reason": one.reason});
    let data = json!({
        "lock": digest,
        "generation": snapshot.generation.number,
        "snapshot": snapshot.generation.snapshot,
        "count": findings.len(),
        "findings": findings.iter().take(FINDINGS_TOLD).map(row).collect::<Vec<Value>>(),
    });
    Event { name: "lock.invalidated", data }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn asked(number: usize) -> Given {
        let asked = AskedCheck {
            text: format!("schema = \"resolverd/lock@1\"\nnatives = [\"lcod://contract/n{number}@1\"]\n"),
            watch: true,
            uid: 0,
        };
        given(&asked).unwrap()
    }

    #[test]
    fn so_many_locks_are_watched_and_no_more() {
        let watches = Watches::default();
        let watch = |number: usize, uid: u32| {
            watches.watch(&asked(number), &[], uid).map_err(|failure| {
                assert!(failure.hint.is_some());
                (failure.code, failure.status, failure.reason.into_owned(), failure.detail)
            })
        };
        let refused = |who: &str, limit: usize| {
            let detail = format!("{limit} locks are watched for {who}");
            Err((Code::LimitExceeded, Some(429), "api.watches".to_owned(), detail))
        };
        (0..WATCHES_PER_UID_MAX).for_each(|number| watch(number, 7).unwrap());
        assert_eq!(watch(WATCHES_PER_UID_MAX, 7), refused("this user", WATCHES_PER_UID_MAX));
        assert_eq!(watch(0, 7), Ok(()), "again");
        // Others have places of their own, up to those of all; a lock that is watched already takes none.
        let mut uid = 8;
        for number in WATCHES_PER_UID_MAX..WATCHES_MAX {
            if number % WATCHES_PER_UID_MAX == 0 {
                uid += 1;
            }
            assert_eq!(watch(number, uid), Ok(()), "{number}");
        }
        assert_eq!(watch(WATCHES_MAX, 1000), refused("all users", WATCHES_MAX));
        assert_eq!(watch(0, 1000), Ok(()));
        // What has lapsed makes room; what somebody else wants to know stays.
        for watch in watches.locked().values_mut() {
            watch.until.values_mut().for_each(|until| *until = Instant::now());
        }
        assert_eq!(watch(0, 1000), Ok(()));
        assert_eq!(watch(WATCHES_MAX, 7), Ok(()));
        assert_eq!(watches.locked().len(), 2);
    }

    #[test]
    fn so_many_bytes_of_locks_are_watched_and_no_more() {
        let watches = Watches::default();
        let watch = |number: usize, bytes: usize, uid: u32| {
            let found = watches.watch(&Given { bytes, ..asked(number) }, &[], uid);
            found.map_err(|failure| failure.detail)
        };
        assert_eq!(watch(0, WATCHED_BYTES_PER_UID_MAX, 1), Ok(()), "the largest lock can be watched");
        let refused =
            |who: &str, bytes: usize| Err(format!("the locks that are watched for {who} have {bytes} bytes"));
        assert_eq!(watch(1, 1, 1), refused("this user", WATCHED_BYTES_PER_UID_MAX));
        for uid in 2..=4 {
            assert_eq!(watch(uid as usize, WATCHED_BYTES_PER_UID_MAX, uid), Ok(()));
        }
        assert_eq!(watch(5, 1, 5), refused("all users", WATCHED_BYTES_MAX));
        assert_eq!(watch(2, WATCHED_BYTES_PER_UID_MAX, 5), Ok(()), "what is kept already costs nothing more");
    }

    #[test]
    fn a_wish_names_its_form_and_its_project() {
        let check = |form: Option<&str>, project: Option<&str>, expected: &str| {
            let wire = LockRequest {
                resolve: serde_json::from_value(json!({"requests": []})).unwrap(),
                form: form.map(str::to_owned),
                project: project.map(str::to_owned),
                called: Vec::new(),
                snapshot: None,
            };
            let found = match wish(&wire) {
                Ok(Wish { form, project, .. }) => format!("{} {}", form.name(), project.is_some()),
                Err(failure) => failure.reason.into_owned(),
            };
            assert_eq!(found, expected);
        };
        check(None, None, "resolverd false");
        check(Some("resolverd"), Some("lcod://demo/app@0.1.0"), "resolverd true");
        check(Some("lcp"), Some("lcod://demo/app@0.1.0"), "lcp true");
        check(Some("lcp"), None, "api.project");
        check(Some("lcp"), Some("lcod://demo/app"), "version_missing");
        check(Some("npm"), None, "api.form");
    }
}
