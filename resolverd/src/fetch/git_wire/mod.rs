//! Git repositories on other machines: our own client of protocol v2, over https or the system's ssh.
//!
//! Everything that a batch wants of one repository comes level by level: the refs that it names, then all commits, then all
//! root trees, then the next trees along the wanted paths, then all blobs; many objects a request, and none that the cache
//! holds. Then each want is answered by the same [`Walk`] as for a repository on this machine, from memory, so that every check
//! and every refusal is the same. A batch whose commits are pinned and whose objects are cached makes no connection.
//!
//! Never a work tree, a checkout, a hook, a configuration, a full list of refs, an ancestor that was not asked for, or a pack
//! given to libgit2. What a server sends beside what was asked for makes the whole pack worthless.
//!
//! Off-spec: v2 serves any commit that the server holds, also one on no branch: a pin proves content, not membership.

mod line;
pub(super) mod link;
mod received;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use catalogue_schema::model::Refusal;
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{CommitId, Location, RefName, Revision, Want};

use crate::fetch::cache::Cache;
use crate::fetch::git::{SHA1_ONLY, object_id};
use crate::fetch::git_wire::line::{RemoteRef, WireError};
use crate::fetch::git_wire::link::{Link, LinkError, Remote};
use crate::fetch::git_wire::received::{Bounds, Received, ReceivedError, Unpacked, unpack};
use crate::fetch::limit::Budget;
use crate::fetch::loose;
use crate::fetch::object::{Kind, ObjectId, ReadError, Tree, parse_commit, parse_parents, parse_tag};
use crate::fetch::walk::{Errand, LISTING_LEVELS_MAX, Walk};
use crate::fetch::{FetchError, Fetched};

/// Takes `bytes` apart as a pack, for `fetch::probe`: every object that comes out has the name of its content.
pub(super) fn probe_pack(bytes: &[u8], objects_max: usize, bytes_max: u64) {
    let bounds = Bounds { objects_max, object_bytes_max: bytes_max, inflated_bytes_max: 4 * bytes_max };
    if let Ok(unpacked) = unpack(bytes, bounds) {
        for object in &unpacked.objects {
            assert_eq!(
                object_id(object.kind, &object.bytes),
                Some(object.id),
                "an object with another's name"
            );
        }
    }
}

/// Reads `bytes` as each answer of a remote, for `fetch::probe`.
pub(super) fn probe_answers(bytes: &[u8]) {
    let _ = (line::Capabilities::read(bytes), line::read_refs(bytes), line::read_fetch(bytes));
}

/// How many objects one request names.
const OBJECTS_PER_REQUEST: usize = 1000;
/// The largest answer to a request for several objects, in bytes; a larger one is asked for in halves.
const ANSWER_BYTES_MAX: u64 = 32 << 20;
/// How much the objects of one answer may be, inflated, in bytes; more is asked for in halves.
const INFLATED_BYTES_MAX: u64 = 256 << 20;
/// How much an answer has beside the content of its objects, in bytes.
const SLACK_BYTES: u64 = 64 << 10;
/// How often a batch asks again because the server holds one of the wanted objects not.
const ABSENT_MAX: usize = 64;

/// Answers wants about one remote repository, in order.
///
/// **Errors** of the repository: `git.protocol`, `git.no_filter`, `git.object_format`, `git.remote_error`, `git.bad_pack`, and
/// those of the way there; of a revision: `git.commit_missing`, `git.not_a_commit`, `git.ref_missing`; of a path: those of
/// [`Walk`]; and the limits.
pub(super) fn fetch(
    remote: &Remote<'_>,
    cache_dir: Option<&Path>,
    wants: &[&Want],
    budget: &Budget,
) -> Vec<Result<Fetched, FetchError>> {
    answered(Session::new(remote, opened(remote, cache_dir), budget), wants)
}

/// Answers wants about one remote repository like [`fetch`], by what the cache holds. Asks nobody, and is asked for pinned commits alone.
pub(super) fn cached(
    remote: &Remote<'_>,
    cache_dir: Option<&Path>,
    wants: &[&Want],
    budget: &Budget,
) -> Vec<Result<Fetched, FetchError>> {
    let mut session = Session::new(remote, opened(remote, cache_dir), budget);
    let found = "not all of it, and nobody else is asked";
    let refusal = Refusal::new("offline", remote, "the wanted objects in the cache", found);
    session.closed = Some(FetchError::Unreachable(refusal));
    answered(session, wants)
}

/// Without a cache everything works, only not twice as fast.
fn opened(remote: &Remote<'_>, cache_dir: Option<&Path>) -> Option<Cache> {
    cache_dir.and_then(|place| {
        Cache::open(place, &remote.to_string())
            .inspect_err(|error| tracing::warn!(%error, "Git objects are fetched without a cache"))
            .ok()
    })
}

fn answered(mut session: Session<'_>, wants: &[&Want]) -> Vec<Result<Fetched, FetchError>> {
    let (remote, budget) = (session.remote, session.budget);
    session.resolve_all(wants);
    let mut searches: Vec<Search<'_>> = wants.iter().map(|want| session.search(want)).collect();
    session.bring(&mut searches);
    let blocked: Vec<Option<FetchError>> = searches.into_iter().map(|search| search.blocked).collect();
    let others: Vec<_> = wants.iter().map(|want| session.answer_apart(want)).collect();
    if let Some(cache) = &session.cache {
        let _ = cache.trim(budget.limits().cache_bytes);
    }
    let Session { objects, resolved, .. } = session;
    let walk = Walk::new(|id: &ObjectId, kind, bytes_max| objects.read(id, kind, bytes_max));
    let mut answers = Answers { url: remote.to_string(), resolved, walk };
    let wants = wants.iter().zip(blocked).zip(others);
    wants
        .map(|((want, blocked), apart)| apart.unwrap_or_else(|| answers.answer(want, blocked, budget)))
        .collect()
}

/// What one batch knows of a repository.
struct Session<'a> {
    remote: &'a Remote<'a>,
    link: Link<'a>,
    budget: &'a Budget,
    cache: Option<Cache>,
    objects: Objects,
    resolved: HashMap<Revision, Result<ObjectId, FetchError>>,
    /// Why an object could not be fetched: one is a commit's, one any other object's, since a wrong pin may name a tree that
    /// is wanted as a tree elsewhere.
    failed: [HashMap<ObjectId, FetchError>; 2],
    /// Why nothing more is asked of this server.
    closed: Option<FetchError>,
    trees: HashMap<ObjectId, Option<Arc<Tree>>>,
    absent: usize,
    /// Bytes that came and were of no use.
    wasted: u64,
    /// Bytes of the objects at hand; the walk counts them when it reads them.
    brought: u64,
}

/// The objects at hand, each proven by its id.
#[derive(Default)]
struct Objects {
    held: HashMap<ObjectId, (Kind, Rc<[u8]>)>,
    /// Those that are too large to be held, and how large.
    oversized: HashMap<ObjectId, u64>,
}

impl Objects {
    fn read(&self, id: &ObjectId, kind: Kind, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
        match (self.held.get(id), self.oversized.get(id)) {
            (Some((held, _)), _) if *held != kind => Err(ReadError::OtherKind(*held)),
            (Some((_, bytes)), _) if bytes.len() as u64 > bytes_max => {
                Err(ReadError::TooLarge(bytes.len() as u64))
            }
            (Some((_, bytes)), _) => Ok(bytes.to_vec()),
            (None, Some(size)) => Err(ReadError::TooLarge(*size)),
            (None, None) => Err(ReadError::Missing),
        }
    }

    fn settled(&self, id: &ObjectId) -> bool {
        self.held.contains_key(id) || self.oversized.contains_key(id)
    }
}

/// How far the objects of one want have come.
struct Search<'a> {
    goal: Goal<'a>,
    step: Step,
    blocked: Option<FetchError>,
}

#[derive(Clone, Copy)]
enum Goal<'a> {
    Nothing,
    Blob(&'a DocPath),
    Listing(&'a DocPath, u8),
}

enum Step {
    Commit(ObjectId),
    /// A tree, and how many segments of the path led to it.
    Tree(ObjectId, usize),
    Listing(Vec<ObjectId>, u8),
    Blob(ObjectId),
    Done,
}

/// Why a request brought nothing.
enum Trouble {
    /// Fewer objects at once may come.
    TooLarge,
    /// The server does not hold this one.
    Absent(ObjectId),
    Failed(FetchError),
}

impl From<LinkError> for Trouble {
    fn from(error: LinkError) -> Trouble {
        match error {
            LinkError::TooLarge => Trouble::TooLarge,
            LinkError::Failed(error) => Trouble::Failed(error),
        }
    }
}

impl<'a> Session<'a> {
    fn new(remote: &'a Remote<'a>, cache: Option<Cache>, budget: &'a Budget) -> Session<'a> {
        Session {
            remote,
            link: Link::new(remote, budget),
            budget,
            cache,
            objects: Objects::default(),
            resolved: HashMap::new(),
            failed: Default::default(),
            closed: None,
            trees: HashMap::new(),
            absent: 0,
            wasted: 0,
            brought: 0,
        }
    }

    /// Finds the commit of every revision that the wants name: pins as they stand, names by one question.
    fn resolve_all(&mut self, wants: &[&Want]) {
        let revisions = wants.iter().filter_map(|want| match want {
            Want::Blob(Location::Git { revision, .. })
            | Want::Tree { location: Location::Git { revision, .. }, .. }
            | Want::Directories { location: Location::Git { revision, .. }, .. } => Some(revision),
            _ => None,
        });
        let mut named: BTreeSet<&Revision> = BTreeSet::new();
        for revision in revisions {
            match revision {
                Revision::Commit(commit) => {
                    let id = sha1(commit, self.remote);
                    self.resolved.insert(revision.clone(), id);
                }
                _ => {
                    named.insert(revision);
                }
            }
        }
        if named.is_empty() {
            return;
        }
        let prefixes: BTreeSet<String> = named.iter().flat_map(|revision| full_names(revision)).collect();
        let refs = self.list_refs(&prefixes.into_iter().collect::<Vec<_>>());
        for revision in named {
            let found = match &refs {
                Ok(refs) => self.pick(refs, revision),
                Err(error) => Err(error.clone()),
            };
            self.resolved.insert(revision.clone(), found);
        }
    }

    /// Takes the first of a revision's full names that the server has.
    fn pick(&self, refs: &[RemoteRef], revision: &Revision) -> Result<ObjectId, FetchError> {
        let names = full_names(revision);
        let find = |name: &String| refs.iter().find(|one| one.name.as_text() == name);
        names.iter().find_map(find).map(|found| found.id).ok_or_else(|| {
            let expected = "a branch or tag of this repository; look with git ls-remote";
            let found = format!("no {}", names.join(" and no "));
            FetchError::Unreachable(Refusal::new("git.ref_missing", self.remote, expected, found))
        })
    }

    fn list_refs(&mut self, prefixes: &[String]) -> Result<Vec<RemoteRef>, FetchError> {
        let capabilities = self.link.capabilities()?;
        let budget = self.budget.for_git_objects();
        let bytes_max = budget.readable_bytes();
        let answer = match self.link.exchange(line::ls_refs(&capabilities, prefixes), bytes_max) {
            Ok(answer) => answer,
            Err(LinkError::Failed(error)) => return Err(error),
            Err(LinkError::TooLarge) => return Err(over(&budget, bytes_max, self.remote)),
        };
        budget.take_bytes(answer.len() as u64, self.remote)?;
        line::read_refs(&answer).map_err(|error| self.said(error))
    }

    fn said(&self, error: WireError) -> FetchError {
        let refusal = match error {
            WireError::Protocol(found) => {
                Refusal::new("git.protocol", self.remote, "an answer in Git's protocol v2", found)
            }
            // It may offer filters and forbid this one, which is said only now.
            WireError::Said(said) if said.contains("filter 'tree") => {
                Refusal::new("git.no_filter", self.remote, line::FILTERS, format!("the server says: {said}"))
            }
            WireError::Said(said) => {
                Refusal::new("git.remote_error", self.remote, "the wanted objects", said)
            }
        };
        FetchError::Unreachable(refusal)
    }

    /// Starts looking for what a want needs; a want that needs no objects, or whose revision is unknown, is done at once.
    fn search<'w>(&self, want: &'w Want) -> Search<'w> {
        let (goal, revision) = match want {
            Want::Blob(Location::Git { revision, path, .. }) => (Goal::Blob(path), revision),
            // The walk refuses other depths.
            Want::Tree { location: Location::Git { revision, path, .. }, depth }
            | Want::Directories { location: Location::Git { revision, path, .. }, depth }
                if (1..=LISTING_LEVELS_MAX).contains(depth) =>
            {
                (Goal::Listing(path, *depth), revision)
            }
            Want::Tree { location: Location::Git { revision, path, .. }, .. }
            | Want::Directories { location: Location::Git { revision, path, .. }, .. } => {
                (Goal::Blob(path), revision)
            }
            _ => return Search { goal: Goal::Nothing, step: Step::Done, blocked: None },
        };
        match self.resolved.get(revision) {
            Some(Ok(commit)) => Search { goal, step: Step::Commit(*commit), blocked: None },
            Some(Err(error)) => Search { goal, step: Step::Done, blocked: Some(error.clone()) },
            None => Search { goal, step: Step::Done, blocked: None },
        }
    }

    /// Fetches, level by level, until no search needs anything that can be had.
    fn bring(&mut self, searches: &mut [Search<'_>]) {
        loop {
            let (mut commits, mut others) = (BTreeSet::new(), BTreeSet::new());
            for search in searches.iter_mut() {
                while !matches!(search.step, Step::Done) && self.advance(search, &mut commits, &mut others) {}
            }
            if commits.is_empty() && others.is_empty() {
                return;
            }
            self.fetch_objects(&commits.into_iter().collect::<Vec<_>>(), Some(1));
            self.fetch_objects(&others.into_iter().collect::<Vec<_>>(), None);
        }
    }

    /// Takes one step where its objects are at hand, or notes what is missing and returns false.
    fn advance(
        &mut self,
        search: &mut Search<'_>,
        commits: &mut BTreeSet<ObjectId>,
        others: &mut BTreeSet<ObjectId>,
    ) -> bool {
        let (ids, kind) = match &search.step {
            Step::Commit(id) => (vec![*id], Kind::Commit),
            Step::Tree(id, _) => (vec![*id], Kind::Tree),
            Step::Listing(ids, _) => (ids.clone(), Kind::Tree),
            Step::Blob(id) => (vec![*id], Kind::Blob),
            Step::Done => return false,
        };
        let mut is_whole = true;
        for id in ids {
            if let Some(error) = self.failed[role(kind)].get(&id) {
                search.blocked = Some(error.clone());
                search.step = Step::Done;
                return true;
            }
            if !self.at_hand(&id, kind) {
                is_whole = false;
                if kind == Kind::Commit {
                    commits.insert(id)
                } else {
                    others.insert(id)
                };
            }
        }
        if is_whole {
            search.step = self.next(search);
        }
        is_whole
    }

    /// Tells whether an object is in memory, or in the cache and now in memory, or known to be absent.
    fn at_hand(&mut self, id: &ObjectId, kind: Kind) -> bool {
        if self.objects.settled(id) || kind == Kind::Tree && self.budget.known_tree(id).is_some() {
            return true;
        }
        let Some(cache) = &self.cache else { return false };
        let (kind, read) = match cache.read(id, kind, self.object_bytes_max()) {
            Err(ReadError::OtherKind(other)) => (other, cache.read(id, other, self.object_bytes_max())),
            read => (kind, read),
        };
        match read {
            Ok(Some(bytes)) if self.brought <= self.budget.bytes_left() => {
                self.brought += bytes.len() as u64;
                self.objects.held.insert(*id, (kind, bytes.into()));
                true
            }
            _ => false,
        }
    }

    /// Returns where a search goes on from what is at hand. What is wrong there ends it: the walk will say why.
    fn next(&mut self, search: &Search<'_>) -> Step {
        match &search.step {
            Step::Commit(id) => match self.objects.held.get(id) {
                Some((Kind::Commit, bytes)) => {
                    parse_commit(bytes).map_or(Step::Done, |root| Step::Tree(root, 0))
                }
                _ => Step::Done,
            },
            Step::Tree(id, at) => self.below(search.goal, id, *at),
            Step::Listing(ids, levels) if *levels > 1 => {
                let trees: Vec<Arc<Tree>> = ids.iter().filter_map(|id| self.tree(id)).collect();
                let entries = trees.iter().flat_map(|tree| tree.entries());
                let below: BTreeSet<ObjectId> =
                    entries.filter(|entry| entry.is_directory()).map(|entry| entry.id).collect();
                match below.is_empty() {
                    true => Step::Done,
                    false => Step::Listing(below.into_iter().collect(), levels - 1),
                }
            }
            Step::Listing(..) | Step::Blob(_) | Step::Done => Step::Done,
        }
    }

    fn below(&mut self, goal: Goal<'_>, tree: &ObjectId, at: usize) -> Step {
        let (Goal::Blob(path) | Goal::Listing(path, _)) = goal else { return Step::Done };
        let Some(tree) = self.tree(tree) else { return Step::Done };
        let mut rest = path.segments().skip(at);
        let (Some(segment), last) = (rest.next(), rest.next().is_none()) else { return Step::Done };
        let Ok(Some(entry)) = tree.find(segment) else { return Step::Done };
        match goal {
            _ if !last && entry.is_directory() => Step::Tree(entry.id, at + 1),
            Goal::Blob(_) if last && entry.is_file() => Step::Blob(entry.id),
            Goal::Listing(_, levels) if last && entry.is_directory() => Step::Listing(vec![entry.id], levels),
            _ => Step::Done,
        }
    }

    fn tree(&mut self, id: &ObjectId) -> Option<Arc<Tree>> {
        if let Some(known) = self.trees.get(id) {
            return known.clone();
        }
        let tree = match self.objects.held.get(id) {
            Some((Kind::Tree, bytes)) => Tree::parse(bytes).ok().map(Arc::new),
            _ => self.budget.known_tree(id),
        };
        self.trees.insert(*id, tree.clone());
        tree
    }

    fn object_bytes_max(&self) -> u64 {
        self.budget.document_bytes().max(self.budget.for_git_objects().document_bytes())
    }

    /// Fetches objects; afterwards each one is held, or known to be absent, too large or out of reach.
    fn fetch_objects(&mut self, ids: &[ObjectId], deepen: Option<u32>) {
        let mut parts: Vec<Vec<ObjectId>> = ids.chunks(OBJECTS_PER_REQUEST).map(<[_]>::to_vec).collect();
        while let Some(mut part) = parts.pop() {
            if let Some(error) = self.closed.clone() {
                self.fail(&part, deepen, &error);
                continue;
            }
            match self.request(&part, deepen) {
                Ok(unpacked) => self.keep(&part, unpacked, deepen),
                Err(Trouble::TooLarge) if part.len() > 1 => {
                    let half = part.split_off(part.len() / 2);
                    parts.extend([half, part]);
                }
                Err(Trouble::TooLarge) => {
                    // More than may be read; how much more, nobody knows.
                    let size = self.object_bytes_max().max(self.budget.bytes_left()).saturating_add(1);
                    self.objects.oversized.extend(part.into_iter().map(|id| (id, size)));
                }
                Err(Trouble::Absent(absent)) => {
                    self.fail(&[absent], deepen, &self.missing(&absent, deepen));
                    part.retain(|id| *id != absent);
                    self.absent += 1;
                    match self.absent > ABSENT_MAX {
                        true => self.fail(
                            &part,
                            deepen,
                            &self.said(WireError::Said("not our ref, again and again".to_owned())),
                        ),
                        false if part.is_empty() => {}
                        false => parts.push(part),
                    }
                }
                Err(Trouble::Failed(error)) => {
                    self.fail(&part, deepen, &error);
                    // A pack or a refusal is about these objects; the rest is about the server.
                    if !matches!(&*error.refusal().reason, "git.bad_pack" | "git.remote_error") {
                        self.closed = Some(error);
                    }
                }
            }
        }
    }

    fn fail(&mut self, ids: &[ObjectId], deepen: Option<u32>, error: &FetchError) {
        self.failed[usize::from(deepen.is_some())].extend(ids.iter().map(|id| (*id, error.clone())));
    }

    fn missing(&self, id: &ObjectId, deepen: Option<u32>) -> FetchError {
        let (reason, expected, found) = match deepen {
            Some(_) => {
                let expected = "a commit that this repository holds; push it there, or correct the pin";
                ("git.commit_missing", expected, format!("no object {id}"))
            }
            None => {
                ("git.corrupt", "a whole repository", format!("no object {id}: a partial or damaged copy"))
            }
        };
        FetchError::Unreachable(Refusal::new(reason, self.remote, expected, found))
    }

    /// Asks once for `ids` and takes the pack apart.
    fn request(&mut self, ids: &[ObjectId], deepen: Option<u32>) -> Result<Unpacked, Trouble> {
        self.budget.check_deadline(self.remote).map_err(Trouble::Failed)?;
        let object_bytes_max = self.object_bytes_max();
        let bytes_max = match ids {
            [_] => {
                loose::stream_bytes_max(object_bytes_max).saturating_add(object_bytes_max / 16 + SLACK_BYTES)
            }
            _ => ANSWER_BYTES_MAX,
        };
        let left = self.budget.bytes_left().saturating_add(SLACK_BYTES);
        if self.wasted.saturating_add(self.brought) > left {
            let expected = format!("at most {} bytes in one run", self.budget.limits().total_bytes);
            let expected = format!("{expected} (config key limits.total_bytes)");
            let found = format!("{} bytes for this batch alone", self.wasted.saturating_add(self.brought));
            let refusal = Refusal::new("limit.total_bytes", self.remote, expected, found);
            return Err(Trouble::Failed(FetchError::Limit(refusal)));
        }
        let bytes_max = bytes_max.min(left);
        // What a tag leads to comes with it, where a tag stands in a commit's place.
        let objects_max = if deepen.is_some() { ids.len() * 2 } else { ids.len() };
        let bounds = Bounds { objects_max, object_bytes_max, inflated_bytes_max: INFLATED_BYTES_MAX };
        let delivered = self.delivery(ids, deepen, bytes_max)?;
        match unpack(&delivered.pack, bounds) {
            Ok(unpacked) => Ok(unpacked),
            Err(ReceivedError::Costly(_)) => {
                self.wasted += delivered.pack.len() as u64;
                Err(Trouble::TooLarge)
            }
            Err(ReceivedError::Bad(found)) => Err(Trouble::Failed(self.bad_pack(found))),
        }
    }

    fn delivery(
        &mut self,
        ids: &[ObjectId],
        deepen: Option<u32>,
        bytes_max: u64,
    ) -> Result<line::Delivery, Trouble> {
        let capabilities = self.link.capabilities().map_err(Trouble::Failed)?;
        let answer = self.link.exchange(line::fetch(&capabilities, ids, deepen), bytes_max);
        if let Err(LinkError::TooLarge) = answer {
            self.wasted += bytes_max;
        }
        line::read_fetch(&answer?).map_err(|error| match &error {
            WireError::Said(said) => match not_our_ref(said).filter(|id| ids.contains(id)) {
                Some(id) => Trouble::Absent(id),
                None => Trouble::Failed(self.said(error)),
            },
            WireError::Protocol(found) => Trouble::Failed(self.bad_pack(found.clone())),
        })
    }

    fn bad_pack(&self, found: String) -> FetchError {
        let expected = "a sound pack of exactly the objects that were asked for";
        FetchError::Refused(Refusal::new("git.bad_pack", self.remote, expected, found))
    }

    /// Keeps the objects of a pack, if they are those that were asked for and no others.
    fn keep(&mut self, asked: &[ObjectId], unpacked: Unpacked, deepen: Option<u32>) {
        let mut allowed: HashSet<ObjectId> = asked.iter().copied().collect();
        let tags = unpacked.objects.iter().filter(|object| object.kind == Kind::Tag);
        allowed.extend(tags.filter_map(|tag| parse_tag(&tag.bytes).ok()).map(|(id, _)| id));
        if let Some(other) = unpacked.objects.iter().find(|object| !allowed.contains(&object.id)) {
            let error = self.bad_pack(format!("{} {}, which nobody asked for", other.kind, other.id));
            return self.fail(asked, deepen, &error);
        }
        let came: HashSet<ObjectId> = unpacked.objects.iter().map(|object| object.id).collect();
        let lacking: Vec<ObjectId> = asked.iter().filter(|id| !came.contains(*id)).copied().collect();
        match (lacking.first(), unpacked.oversized.len()) {
            (_, oversized) if oversized == lacking.len() => {}
            // A server that holds such an object and counts levels of history sends commits and tags alone.
            (Some(_), 0) if deepen.is_some() => {
                for id in &lacking {
                    let found = format!("{id}, which the server holds and does not send as one");
                    let refusal = Refusal::new("git.not_a_commit", self.remote, "the id of a commit", found);
                    self.fail(&[*id], deepen, &FetchError::Refused(refusal));
                }
            }
            (first, _) => {
                let found = match first {
                    Some(id) => format!("a pack without {id}"),
                    None => "an object that nobody asked for".to_owned(),
                };
                let error = self.bad_pack(found);
                return self.fail(asked, deepen, &error);
            }
        }
        // One nameless object and one missing name belong together; of several, each is at least as large as the smallest.
        if let Some(size) = unpacked.oversized.iter().min() {
            self.objects.oversized.extend(lacking.into_iter().map(|id| (id, *size)));
        }
        for Received { id, kind, bytes } in unpacked.objects {
            if let Some(cache) = &mut self.cache {
                // A full disk costs the next run a request.
                let _ = cache.write(&id, kind, &bytes);
            }
            self.brought += bytes.len() as u64;
            self.objects.held.insert(id, (kind, bytes));
        }
    }

    /// Answers wants that need no path: refs and history; `None` for others.
    fn answer_apart(&mut self, want: &Want) -> Option<Result<Fetched, FetchError>> {
        let (commit, bytes) = match want {
            Want::Refs { prefix, .. } => (None, self.refs(prefix, want)),
            Want::History { commit, commits_max, .. } => {
                (Some(commit.clone()), self.history(commit, *commits_max, want))
            }
            _ => return None,
        };
        let url = self.remote.to_string();
        let fetched =
            |bytes| Fetched { bytes, url, commit, blob: None, etag: None, modified: None, way: Vec::new() };
        Some(bytes.map(fetched).map_err(|error| error.about(want)))
    }

    /// **Shape**: as for a repository on this machine. Off-spec: whether a ref leads to a commit is not checked, since that
    /// would fetch every one of them.
    fn refs(&mut self, prefix: &RefName, want: &Want) -> Result<Vec<u8>, FetchError> {
        self.budget.take_document(want)?;
        let mut refs = self.list_refs(&[prefix.to_string()])?;
        refs.retain(|one| one.name.as_text().starts_with(prefix.as_text()) && one.name.as_text() != "HEAD");
        refs.sort_by(|a, b| a.name.cmp(&b.name));
        self.budget.take_documents(refs.len() as u64, want)?;
        let lines: String = refs.iter().map(|one| format!("{} {}\n", one.id, one.name)).collect();
        self.budget.take_bytes(lines.len() as u64, want)?;
        Ok(lines.into_bytes())
    }

    fn history(&mut self, commit: &CommitId, commits_max: u32, want: &Want) -> Result<Vec<u8>, FetchError> {
        self.budget.take_document(want)?;
        let start = sha1(commit, self.remote)?;
        if commits_max == 0 {
            return Ok(Vec::new());
        }
        let bytes_max = ANSWER_BYTES_MAX.min(self.budget.bytes_left());
        let object_bytes_max = self.budget.for_git_objects().document_bytes();
        let bounds =
            Bounds { objects_max: usize::MAX, object_bytes_max, inflated_bytes_max: INFLATED_BYTES_MAX };
        let costly = |session: &Session<'_>| {
            let expected = format!("a history of at most {ANSWER_BYTES_MAX} bytes; ask for fewer commits");
            FetchError::Limit(Refusal::new("limit.git_object_bytes", session.remote, expected, "more"))
        };
        let delivery = match self.delivery(&[start], Some(commits_max), bytes_max) {
            Ok(delivery) => delivery,
            Err(Trouble::Failed(error)) => return Err(error),
            Err(Trouble::Absent(id)) => return Err(self.missing(&id, Some(1))),
            Err(Trouble::TooLarge) => return Err(costly(self)),
        };
        let unpacked = unpack(&delivery.pack, bounds).map_err(|error| match error {
            ReceivedError::Costly(_) => costly(self),
            ReceivedError::Bad(found) => self.bad_pack(found),
        })?;
        if !unpacked.oversized.is_empty() {
            return Err(costly(self));
        }
        let mut objects = Objects::default();
        for Received { id, kind, bytes } in unpacked.objects {
            objects.held.insert(id, (kind, bytes));
        }
        self.check_history(&start, &objects, &delivery.shallow)?;
        let mut walk = Walk::new(|id: &ObjectId, kind, bytes_max| objects.read(id, kind, bytes_max));
        walk.history(&start, commits_max, &delivery.shallow, Errand { subject: want, budget: self.budget })
    }

    /// Checks that a pack is a history: every commit leads from the start, and only at the boundary parents are missing.
    fn check_history(
        &self,
        start: &ObjectId,
        objects: &Objects,
        shallow: &HashSet<ObjectId>,
    ) -> Result<(), FetchError> {
        let (mut queue, mut seen) = (vec![*start], HashSet::from([*start]));
        while let Some(id) = queue.pop() {
            match objects.held.get(&id) {
                Some((Kind::Commit, _)) if shallow.contains(&id) => {}
                Some((Kind::Commit, bytes)) => {
                    let parents = parse_parents(bytes).map_err(|error| self.bad_pack(error.to_string()))?;
                    queue.extend(parents.into_iter().filter(|parent| seen.insert(*parent)));
                }
                // The walk says what stands in the commit's place.
                Some(_) if id == *start => return Ok(()),
                Some((kind, _)) => return Err(self.bad_pack(format!("{kind} {id} among commits"))),
                None => return Err(self.bad_pack(format!("a pack without {id}"))),
            }
        }
        match objects.held.len() == seen.len() {
            true => Ok(()),
            false => Err(self.bad_pack("objects that nobody asked for".to_owned())),
        }
    }
}

/// The end of a batch: everything is at hand that could be had.
struct Answers<R> {
    url: String,
    resolved: HashMap<Revision, Result<ObjectId, FetchError>>,
    walk: Walk<R>,
}

impl<R: FnMut(&ObjectId, Kind, u64) -> Result<Vec<u8>, ReadError>> Answers<R> {
    fn answer(
        &mut self,
        want: &Want,
        blocked: Option<FetchError>,
        budget: &Budget,
    ) -> Result<Fetched, FetchError> {
        let errand = Errand { subject: want, budget };
        budget.take_document(want)?;
        if let Some(error) = blocked {
            return Err(error.about(want));
        }
        let commit = match want {
            Want::Blob(Location::Git { revision, .. })
            | Want::Tree { location: Location::Git { revision, .. }, .. }
            | Want::Directories { location: Location::Git { revision, .. }, .. } => {
                self.resolved.get(revision)
            }
            _ => None,
        };
        let not_git = || {
            let found = "another place";
            let refusal = Refusal::new("git.not_git", want, "a place in a Git repository", found);
            FetchError::Refused(refusal)
        };
        let commit = match commit {
            Some(Ok(commit)) => *commit,
            Some(Err(error)) => return Err(error.about(want)),
            None => return Err(not_git()),
        };
        let (bytes, id) = match want {
            Want::Blob(Location::Git { path, .. }) => self.walk.blob(&commit, path, errand)?,
            Want::Tree { location: Location::Git { path, .. }, depth } => {
                self.walk.listing(&commit, path, *depth, errand)?
            }
            Want::Directories { location: Location::Git { path, .. }, depth } => {
                self.walk.directories(&commit, path, *depth, errand)?
            }
            _ => return Err(not_git()),
        };
        let way = match want {
            Want::Tree { location: Location::Git { path, .. }, .. } => self.walk.way(&commit, path),
            _ => Vec::new(),
        };
        let (commit, blob) = (Some(commit.to_commit_id()), Some(id.to_commit_id()));
        Ok(Fetched { bytes, url: self.url.clone(), commit, blob, etag: None, modified: None, way })
    }
}

/// Returns which of the two roles an object of this kind has been asked for in.
fn role(kind: Kind) -> usize {
    usize::from(kind == Kind::Commit)
}

/// Returns the full names that a revision may have, in the order in which they count.
fn full_names(revision: &Revision) -> Vec<String> {
    match revision {
        Revision::Commit(_) => Vec::new(),
        Revision::Head => vec!["HEAD".to_owned()],
        // Git allows no branch of this name.
        Revision::Ref(name) if name.as_text() == "HEAD" => vec!["HEAD".to_owned()],
        Revision::Ref(name) if name.as_text().starts_with("refs/") => vec![name.to_string()],
        Revision::Ref(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
    }
}

fn sha1(commit: &CommitId, remote: &Remote<'_>) -> Result<ObjectId, FetchError> {
    ObjectId::parse(commit.as_text())
        .ok_or_else(|| FetchError::Refused(Refusal::new("git.object_format", remote, SHA1_ONLY, commit)))
}

/// Finds the object that a server says it does not hold.
fn not_our_ref(said: &str) -> Option<ObjectId> {
    let (_, rest) = said.split_once("not our ref ")?;
    ObjectId::parse(rest.split_whitespace().next()?)
}

/// Returns the limit that an answer of more than `bytes_max` bytes has met.
fn over(budget: &Budget, bytes_max: u64, remote: &Remote<'_>) -> FetchError {
    match budget.take_bytes(bytes_max.saturating_add(1), remote) {
        Err(limit) => limit,
        Ok(()) => {
            let expected = format!("at most {bytes_max} bytes");
            FetchError::Limit(Refusal::new("limit.git_object_bytes", remote, expected, "more"))
        }
    }
}
