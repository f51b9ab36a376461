//! The work at releases that are not on disk yet: listings, then files, each verified before it is written, then the one step
//! into sight. Releases of one request are asked for together, so that one commit costs one visit.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use catalogue_schema::digest::{Hashed, hex};
use catalogue_schema::model::{Refusal, Verdict};
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{CommitId, Want};

use crate::api::files::Found;
use crate::fetch::audience::Tally;
use crate::fetch::limit::{Budget, Limits};
use crate::fetch::progress::Step;
use crate::fetch::reach::Reach;
use crate::fetch::{Answer, Ask, FetchError, Fetched};
use crate::materialize::about::{About, SCHEMA, changes, content, stamps};
use crate::materialize::plan::{DESCRIPTOR, Piece, Plan, named};
use crate::materialize::stage::{Stage, retire};
use crate::materialize::tree::{self, at_most};
use crate::materialize::{Cache, Fetching, Outcome, Tools, names, packed};
use crate::shelf::durable::Failed;
use crate::trust::verify::{Evidence, judge};

/// How many files are asked for at once: what is in memory besides.
const FILES_AT_ONCE: usize = 32;
/// The reason of a file that its commit does not have.
const FILE_MISSING: &str = "file_missing";
/// What commits and trees may cost beside the files of a release, in bytes.
const WAY_BYTES: u64 = 64 << 20;
/// What a walk counts beside the files of a release.
const WAY_DOCUMENTS: u64 = 1024;

/// A release that is being worked at.
struct Job<'a> {
    plan: &'a Plan,
    stage: Result<Stage, Refusal>,
    pieces: Vec<Piece>,
    tree: Option<CommitId>,
    /// What proves that the commit has that tree.
    way: Vec<Vec<u8>>,
    /// The archive that it was unpacked from, where that is not kept yet.
    archive: Option<Hashed>,
    /// Who counts what comes of it.
    tally: Option<Arc<Tally>>,
}

impl Job<'_> {
    fn is_good(&self) -> bool {
        self.stage.is_ok()
    }

    fn fail(&mut self, refusal: Refusal) {
        self.stage = Err(refusal);
    }

    fn tell(&self, tell: impl FnOnce(&Tally)) {
        if let Some(tally) = &self.tally {
            tell(tally);
        }
    }
}

/// Does the work; answers in the order of `plans`.
pub(super) fn all(cache: &Cache, plans: &[&Plan], tools: &Tools<'_>) -> Vec<Outcome> {
    let mut jobs: Vec<Job<'_>> = plans.iter().map(|plan| begin(cache, plan, tools)).collect();
    unpack(cache, &mut jobs, tools);
    list(&mut jobs, tools);
    take_from_shelf(cache, &mut jobs, tools);
    fetch_files(cache, &mut jobs, tools);
    jobs.into_iter().map(|job| finished(cache, job)).collect()
}

/// Brings a release into sight and says what became of it.
fn finished(cache: &Cache, job: Job<'_>) -> Outcome {
    let tally = job.tally.clone();
    let outcome = finish(cache, job);
    if let Some(tally) = tally {
        tally.step(if outcome.is_ok() { Step::Ready } else { Step::Failed });
    }
    outcome
}

fn begin<'a>(cache: &Cache, plan: &'a Plan, tools: &Tools<'_>) -> Job<'a> {
    let stage = Stage::new(&cache.trees()).map_err(|error| cache.unusable(&plan.release, error));
    // What is known by name is in the archive, where there is one.
    let pieces = if plan.archive.is_some() { Vec::new() } else { plan.pieces.clone() };
    let tally = |audience| match &plan.archive {
        Some(promised) => Tally::of_archive(audience, &plan.claim(), promised.size),
        None => Tally::of_files(audience, &plan.claim()),
    };
    let tally = tools.audience.map(|audience| Arc::new(tally(audience)));
    Job { plan, stage, pieces, tree: None, way: Vec::new(), archive: None, tally }
}

/// Unpacks the releases that are one archive: the one that is kept, else the one that is fetched. One of them is in memory at a time.
fn unpack(cache: &Cache, jobs: &mut [Job<'_>], tools: &Tools<'_>) {
    for index in 0..jobs.len() {
        let job = &jobs[index];
        let (plan, Some(promised)) = (job.plan, &job.plan.archive) else { continue };
        if !job.is_good() {
            continue;
        }
        let is_anew = tools.is_anew(plan);
        let kept = cache.kept_archive(plan, promised, tools.limits).filter(|_| !is_anew);
        let is_kept = kept.is_some();
        let archive = match kept {
            Some(archive) => Ok(archive),
            None => refuse_offline(plan, tools, &promised.location).and_then(|()| {
                let wants = vec![(index, Want::Blob(promised.location.clone()))];
                job.tell(|tally| tally.step(Step::Fetching));
                let answer = fetched(jobs, wants, tools, Budget::for_archives).pop();
                let none = || Refusal::new("net.connect", &promised.location, "an answer", "none");
                let fetched = answer.map_or_else(|| Err(none()), |(_, answer)| answer)?;
                jobs[index].tell(|tally| tally.whole(fetched.bytes.len() as u64));
                packed::verified(plan, promised, fetched.bytes)
            }),
        };
        let job = &mut jobs[index];
        if archive.is_ok() {
            job.tell(|tally| tally.step(Step::Verified));
        }
        // The empty directory goes before the full one comes.
        match archive.and_then(|archive| Ok((cache.unpacked(plan, &archive, tools.limits)?, archive))) {
            Ok((stage, archive)) => {
                job.tell(|tally| tally.step(Step::Unpacked));
                (job.stage, job.archive) = (Ok(stage), Some(archive).filter(|_| !is_kept))
            }
            Err(refusal) => job.fail(refusal),
        }
    }
}

/// Asks for the listings of directories, and adds their files.
fn list(jobs: &mut [Job<'_>], tools: &Tools<'_>) {
    let mut wants = Vec::new();
    for (index, job) in jobs.iter_mut().enumerate().filter(|(_, job)| job.is_good()) {
        let Some(directory) = &job.plan.tree else { continue };
        match refuse_offline(job.plan, tools, &directory.location) {
            Err(refusal) => job.fail(refusal),
            Ok(()) => {
                job.tell(|tally| tally.step(Step::Fetching));
                wants.push((index, directory.want(tools.limits)));
            }
        }
    }
    for (index, answer) in fetched(jobs, wants, tools, Budget::for_catalogues) {
        let job = &mut jobs[index];
        if let Err(refusal) = answer.and_then(|fetched| listed(job, &fetched, tools.limits)) {
            job.fail(refusal);
        }
    }
}

fn listed(job: &mut Job<'_>, fetched: &Fetched, limits: &Limits) -> Result<(), Refusal> {
    let Some(directory) = &job.plan.tree else { return Ok(()) };
    let subject = &job.plan.release;
    let entries = match directory.descriptors {
        Some(most) => tree::descriptors(&fetched.bytes, &directory.path, (DESCRIPTOR, most), subject)?,
        None => tree::read(&fetched.bytes, &directory.path, limits, subject)?,
    };
    (job.tree, job.way) = (fetched.blob.clone(), fetched.way.clone());
    for entry in entries {
        match job.pieces.iter_mut().find(|piece| piece.path == entry.path) {
            Some(piece) => {
                let is_same = piece.blob.as_ref().is_none_or(|blob| *blob == entry.blob);
                if !is_same {
                    let (expected, found) = (piece.blob.as_ref(), &entry.blob);
                    let expected = expected.map(ToString::to_string).unwrap_or_default();
                    let subject = format!("{} of {}", piece.path, job.plan.release);
                    return Err(Refusal::new("trust.digest_mismatch", subject, expected, found));
                }
                if piece.want.is_none() {
                    piece.want = Some(directory.file(&entry.path)?);
                }
                (piece.executable, piece.blob) = (entry.executable, Some(entry.blob));
            }
            None => job.pieces.push(Piece {
                want: Some(directory.file(&entry.path)?),
                path: entry.path,
                digest: None,
                blob: Some(entry.blob),
                size: None,
                executable: entry.executable,
                is_optional: false,
            }),
        }
    }
    names::check(&job.plan.release, job.pieces.iter().map(|piece| &piece.path))
}

/// Writes what the shelf has already.
fn take_from_shelf(cache: &Cache, jobs: &mut [Job<'_>], tools: &Tools<'_>) {
    for job in jobs.iter_mut().filter(|job| job.is_good()) {
        let pieces = std::mem::take(&mut job.pieces);
        // The pieces of an archive came out of it.
        if job.plan.archive.is_none() {
            job.tell(|tally| tally.files(pieces.len()));
        }
        for piece in pieces {
            let known = piece.digest.as_ref().and_then(|digest| (tools.shelf)(digest));
            match known {
                // What the shelf has under another algorithm's digest is never found there.
                Some(bytes) => put(cache, job, &piece, bytes, tools.limits),
                None => job.pieces.push(piece),
            }
        }
    }
}

/// Asks for the files that are still missing, so many at a time.
fn fetch_files(cache: &Cache, jobs: &mut [Job<'_>], tools: &Tools<'_>) {
    let mut open: Vec<(usize, Piece, Want)> = Vec::new();
    for (index, job) in jobs.iter_mut().enumerate().filter(|(_, job)| job.is_good()) {
        for piece in std::mem::take(&mut job.pieces) {
            let digest = piece.digest.as_ref().filter(|_| job.plan.is_recorded);
            let recorded = digest.and_then(|digest| (tools.recorded)(digest));
            let Some(want) = recorded.or_else(|| piece.want.clone()) else {
                let expected = "a place where the file lies";
                let subject = format!("{} of {}", piece.path, job.plan.release);
                job.fail(Refusal::new("shelf.missing", subject, expected, "none; a sync reads it again"));
                break;
            };
            if let Err(refusal) = refuse_offline(job.plan, tools, &want) {
                job.fail(refusal);
                break;
            }
            job.tell(|tally| tally.step(Step::Fetching));
            open.push((index, piece, want));
        }
    }
    for chunk in open.chunks(FILES_AT_ONCE) {
        let chunk: Vec<&(usize, Piece, Want)> =
            chunk.iter().filter(|(index, ..)| jobs[*index].is_good()).collect();
        let wants = chunk.iter().map(|(index, _, want)| (*index, want.clone())).collect();
        let answers = fetched(jobs, wants, tools, Budget::for_files);
        for ((index, answer), (_, piece, _)) in answers.into_iter().zip(chunk) {
            match answer {
                Ok(fetched) => arrived(cache, &mut jobs[index], piece, fetched, tools.limits),
                // That it is not there is known as surely as what is.
                Err(refusal) if piece.is_optional && refusal.reason == FILE_MISSING => {
                    jobs[index].tell(Tally::one_fewer);
                }
                Err(refusal) => jobs[index].fail(refusal),
            }
        }
    }
    // Each file was held against what is promised before it was written.
    for job in jobs.iter().filter(|job| job.is_good() && job.plan.archive.is_none()) {
        job.tell(|tally| tally.step(Step::Verified));
    }
}

fn arrived(cache: &Cache, job: &mut Job<'_>, piece: &Piece, fetched: Fetched, limits: &Limits) {
    // The fetcher has computed the id of what it hands over; the listing said which one it has to be.
    if let (Some(expected), Some(found)) = (&piece.blob, &fetched.blob)
        && expected != found
    {
        let subject = format!("{} of {}", piece.path, job.plan.release);
        let found = format!("{found}{}", by_mirror(job.plan, &fetched));
        return job.fail(Refusal::new("trust.digest_mismatch", subject, expected, found));
    }
    let (was_good, blame) = (job.is_good(), by_mirror(job.plan, &fetched));
    put(cache, job, piece, fetched.bytes, limits);
    if let (true, Err(refusal)) = (was_good, &mut job.stage) {
        refusal.found.push_str(&blame);
    }
}

/// Says where bytes came from that a mirror may have sent.
fn by_mirror(plan: &Plan, fetched: &Fetched) -> String {
    match plan.reach.mirrors().is_empty() {
        true => String::new(),
        false => format!(" in what {} sent, and mirrors were asked for", fetched.url),
    }
}

/// Verifies a file and writes it aside.
fn put(cache: &Cache, job: &mut Job<'_>, piece: &Piece, bytes: Vec<u8>, limits: &Limits) {
    let subject = format!("{} of {}", piece.path, job.plan.release);
    let Ok(stage) = &mut job.stage else { return };
    let total = stage.bytes().saturating_add(bytes.len() as u64);
    if total > limits.release_bytes {
        let expected = at_most(limits.release_bytes, "bytes in one release", "release_bytes");
        return job.fail(Refusal::new(
            "limit.release_bytes",
            subject,
            expected,
            format!("{total} bytes or more"),
        ));
    }
    let content = Hashed::of(bytes);
    let evidence = Evidence {
        subject: &subject,
        digests: piece.digest.as_slice(),
        size: piece.size,
        commit_pinned: piece.blob.is_some(),
        signature: None,
        named_by: None,
    };
    if let Verdict::Refused(refusal) = judge(&evidence, &content) {
        return job.fail(refusal);
    }
    let digest = content.digest().clone();
    let written = stage.put(&piece.path, piece.blob.clone(), piece.executable, (content.bytes(), digest));
    match written {
        Ok(()) => job.tell(Tally::file),
        Err(error) => job.fail(cache.unusable(&subject, error)),
    }
}

/// Brings a release into sight.
fn finish(cache: &Cache, job: Job<'_>) -> Outcome {
    let Job { plan, stage, tree, way, archive, .. } = job;
    let mut stage = stage?;
    let files = stage.files();
    let content = content(&files);
    let place = cache.tree(&content);
    let unusable = |error: Failed| cache.unusable(&plan.release, error);
    if !stage.publish(&place).map_err(unusable)? {
        // Equal files are there already, of this or another release; they have to be equal still.
        let is_good = changes(&place, &files).is_empty();
        if !is_good {
            retire(&place).map_err(unusable)?;
            if !stage.publish(&place).map_err(unusable)? {
                let found =
                    io::Error::other(format!("{} comes back whenever it is removed", place.display()));
                return Err(cache.unusable(&plan.release, found));
            }
        }
    }
    if let Some(archive) = archive {
        cache.keep_archive(&plan.promise, archive.bytes()).map_err(unusable)?;
    }
    let by_name = named(files.iter().map(|file| &file.path));
    let known = |path: &Option<DocPath>, otherwise: Option<DocPath>| {
        let paths: BTreeSet<&DocPath> = files.iter().map(|file| &file.path).collect();
        path.clone().filter(|path| paths.contains(path)).or(otherwise)
    };
    let about = About {
        schema: SCHEMA.to_owned(),
        release: plan.release.clone(),
        promise: plan.promise.clone(),
        content,
        tree,
        way: way.iter().map(|object| hex(object)).collect(),
        compose: known(&plan.compose, by_name.0),
        descriptor: known(&plan.descriptor, by_name.1),
        stamps: stamps(&place, &files).map_err(|error| cache.unusable(&plan.release, error))?,
        files,
    };
    cache.describe(&about).map_err(unusable)?;
    Ok(cache.with_archive(about.row(&place, Found::Fetched), plan))
}

fn refuse_offline(plan: &Plan, tools: &Tools<'_>, want: &dyn std::fmt::Display) -> Result<(), Refusal> {
    if tools.fetching != Fetching::Forbidden && !plan.is_offline {
        return Ok(());
    }
    let subject = format!("{}: {want}", plan.release);
    let found = "nothing, and fetching is forbidden";
    Err(Refusal::new("offline", subject, "the files in the cache or on the shelf", found))
}

/// Asks for wants, those of releases that may reach the same machines together. A limit that a group has met is tried again for
/// each release alone, so that one of them spoils only itself.
fn fetched(
    jobs: &[Job<'_>],
    wants: Vec<(usize, Want)>,
    tools: &Tools<'_>,
    cap: fn(&Budget) -> Budget,
) -> Vec<(usize, Result<Fetched, Refusal>)> {
    let mut answers: Vec<Option<Result<Fetched, Refusal>>> = wants.iter().map(|_| None).collect();
    let mut groups: Vec<(&Reach, Vec<usize>)> = Vec::new();
    for (at, (index, _)) in wants.iter().enumerate() {
        let reach = &jobs[*index].plan.reach;
        match groups.iter_mut().find(|(known, _)| *known == reach) {
            Some((_, members)) => members.push(at),
            None => groups.push((reach, vec![at])),
        }
    }
    for (reach, members) in groups {
        let releases = |members: &[usize]| members.iter().map(|at| wants[*at].0).collect::<BTreeSet<usize>>();
        let several = releases(&members).len();
        // What comes for one release is its own; what comes for several at once is nobody's alone.
        let counted = |members: &[usize]| {
            let first = wants[*members.first()?].0;
            match members.iter().all(|at| wants[*at].0 == first) {
                true => jobs[first].tally.as_ref(),
                false => tools.together,
            }
        };
        let mut ask = |members: &[usize], releases: usize| -> Vec<usize> {
            let budget = cap(&budget(tools.limits, releases, reach));
            let budget = match tools.audience {
                Some(audience) => budget.heard_by(Arc::clone(audience)),
                None => budget,
            };
            let budget = match counted(members) {
                Some(tally) => budget.counted_by(Arc::clone(tally)),
                None => budget,
            };
            let asks: Vec<Ask<'_>> = members.iter().map(|at| Ask::from(&wants[*at].1)).collect();
            let mut again = Vec::new();
            for (at, answer) in members.iter().zip(tools.origins.fetch(&asks, &budget)) {
                match answer {
                    Err(FetchError::Limit(_)) if releases > 1 => again.push(*at),
                    answer => answers[*at] = Some(bytes(answer, tools.limits)),
                }
            }
            again
        };
        let again = ask(&members, several);
        for release in releases(&again) {
            let alone: Vec<usize> = again.iter().copied().filter(|at| wants[*at].0 == release).collect();
            ask(&alone, 1);
        }
    }
    let unanswered = |want: &Want| Refusal::new("net.connect", want, "an answer", "none");
    wants
        .into_iter()
        .zip(answers)
        .map(|((index, want), answer)| (index, answer.unwrap_or_else(|| Err(unanswered(&want)))))
        .collect()
}

fn budget(limits: &Limits, releases: usize, reach: &Reach) -> Budget {
    let releases = releases as u64;
    let bytes =
        limits.release_bytes.max(limits.archive_bytes).saturating_add(WAY_BYTES).saturating_mul(releases);
    let own = Limits {
        documents: limits.release_files.saturating_add(WAY_DOCUMENTS).saturating_mul(releases),
        total_bytes: limits.total_bytes.min(bytes),
        ..limits.clone()
    };
    Budget::new(&own, Instant::now()).reaching(reach.clone())
}

/// Names the limits of a release as the operator knows them.
fn bytes(answer: Result<Answer, FetchError>, limits: &Limits) -> Result<Fetched, Refusal> {
    let refusal = match answer {
        Ok(Answer::Fetched(fetched)) => return Ok(fetched),
        Ok(Answer::Unchanged) => {
            Refusal::new("net.unchanged", "an origin", "bytes", "the word that nothing changed")
        }
        Err(error) => error.refusal().clone(),
    };
    Err(match refusal.reason.as_ref() {
        "limit.documents" => {
            let expected = at_most(limits.release_files, "files in one release", "release_files");
            Refusal::new("limit.release_files", &refusal.subject, expected, &refusal.found)
        }
        "limit.total_bytes" => {
            let expected = at_most(limits.release_bytes, "bytes in one release", "release_bytes");
            Refusal::new("limit.release_bytes", &refusal.subject, expected, &refusal.found)
        }
        _ => refusal,
    })
}
