//! Routes: one table, and the reading of a call into a typed question. Behind this door no id, version or digest is a text.
//!
//! Reads nothing but the call. An id stands in a path percent-encoded as one segment (`lcod%3A%2F%2Fns%2Fname`), or in its
//! path form, which starts with the dialect (`lcod/ns/name`); `ns/name` alone is the flowctl form. Every read of a generation
//! takes `snapshot`: the digest of a kept one, or the start of it. A POST takes it in its query or in its body.

use std::borrow::Cow;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalogue_schema::dialect::estream;
use catalogue_schema::digest::Digest;
use catalogue_schema::direct::{DirectReference, PREFIX};
use catalogue_schema::error::{ParseError, escaped};
use catalogue_schema::id::{ComponentId, Dialect, Namespace, Reference, SourceId, parse_release_id};
use catalogue_schema::model::Warning;
use catalogue_schema::packed::search::folded;
use catalogue_schema::project::Allowed;
use catalogue_schema::version::{Grammar, VERSION_BYTES_MAX, Version, VersionReq};
use semver::Comparator;

use crate::api::discovery::ExplainRequest;
use crate::api::documents::DocumentsRequest;
use crate::api::files::{CollectRequest, LocateRequest, MaterializeRequest};
use crate::api::lock::{LockCheckRequest, LockRequest};
use crate::api::overlay::{Overlay, SpecText};
use crate::api::{
    BELOW_COMPONENTS, Call, Code, Failure, ForgetRequest, LookupRequest, NativeText, PAGE_ITEMS,
    PAGE_ITEMS_MAX, PolicyTestRequest, REASON_CHARS_MAX, REFERENCES_MAX, ReloadRequest, RequestText,
    ResetRequest, ResolveRequest, SyncRequest, encoded_path, read_body,
};
use crate::fetch::mirror::Mirrors;
use crate::fetch::progress::Progress;
use crate::order::{Accepted, CHANGES_MAX, Part, PartStart, Proposal};
use crate::resolve::overlay::Wishes;
use crate::resolve::{self, Brought, Native, Request};
use crate::server::direct::{At, DIRECTS_MAX, Direct, Named};
use crate::server::documents;
use crate::server::explain::Asked;
use crate::server::files::{self, Asking, Calls, DIRECT_HINT, Locate, Materialize};
use crate::server::lock::{self, AskedCheck, Wish};
use crate::server::search::{HITS_MAX, QUERY_BYTES_MAX, Search, WORDS_MAX};

/// One row of the table of routes.
#[derive(Debug)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, with `{…}` where a value stands, as the OpenAPI document writes it.
    pub pattern: &'static str,
    /// What it asks.
    pub operation: Operation,
}

/// What a route asks, before its values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The table says what each is.
pub enum Operation {
    Live,
    Ready,
    Health,
    Version,
    Stats,
    Sources,
    Catalogues,
    Components,
    Search,
    Component,
    Versions,
    Release,
    Manifest,
    Resolve,
    Lookup,
    Documents,
    Lock,
    LockCheck,
    Explain,
    Sync,
    Reload,
    Forget,
    Reset,
    Policy,
    PolicyTest,
    Revisions,
    RevisionLog,
    OpenApi,
    Snapshots,
    SnapshotsDiff,
    Metrics,
    Events,
    Materialize,
    Locate,
    Files,
    VerifyFiles,
    CollectFiles,
    ReleaseHolds,
}

/// The one table of routes; `docs/openapi.json` describes the same ones, which a test holds.
pub const ROUTES: &[Route] = &[
    Route { method: "GET", pattern: "/livez", operation: Operation::Live },
    Route { method: "GET", pattern: "/readyz", operation: Operation::Ready },
    Route { method: "GET", pattern: "/v1/health", operation: Operation::Health },
    Route { method: "GET", pattern: "/v1/version", operation: Operation::Version },
    Route { method: "GET", pattern: "/v1/stats", operation: Operation::Stats },
    Route { method: "GET", pattern: "/v1/sources", operation: Operation::Sources },
    Route { method: "GET", pattern: "/v1/catalogues", operation: Operation::Catalogues },
    Route { method: "GET", pattern: "/v1/components", operation: Operation::Components },
    Route { method: "GET", pattern: SEARCH, operation: Operation::Search },
    Route { method: "GET", pattern: "/v1/components/{id}", operation: Operation::Component },
    Route { method: "GET", pattern: "/v1/components/{id}/versions", operation: Operation::Versions },
    Route { method: "GET", pattern: "/v1/components/{id}/{version}", operation: Operation::Release },
    Route {
        method: "GET",
        pattern: "/v1/components/{id}/{version}/manifest",
        operation: Operation::Manifest,
    },
    Route { method: "POST", pattern: "/v1/resolve", operation: Operation::Resolve },
    Route { method: "POST", pattern: LOOKUP, operation: Operation::Lookup },
    Route { method: "POST", pattern: "/v1/documents", operation: Operation::Documents },
    Route { method: "POST", pattern: "/v1/lock", operation: Operation::Lock },
    Route { method: "POST", pattern: "/v1/lock/check", operation: Operation::LockCheck },
    Route { method: "POST", pattern: "/v1/explain", operation: Operation::Explain },
    Route { method: "POST", pattern: "/v1/sync", operation: Operation::Sync },
    Route { method: "POST", pattern: "/v1/reload", operation: Operation::Reload },
    Route { method: "POST", pattern: "/v1/trust/forget", operation: Operation::Forget },
    Route { method: "POST", pattern: "/v1/trust/reset", operation: Operation::Reset },
    Route { method: "GET", pattern: "/v1/policy", operation: Operation::Policy },
    Route { method: "POST", pattern: "/v1/policy/test", operation: Operation::PolicyTest },
    Route { method: "GET", pattern: "/v1/trust/revisions", operation: Operation::Revisions },
    Route { method: "GET", pattern: "/v1/trust/log", operation: Operation::RevisionLog },
    Route { method: "GET", pattern: "/openapi.json", operation: Operation::OpenApi },
    Route { method: "GET", pattern: "/v1/snapshots", operation: Operation::Snapshots },
    Route { method: "GET", pattern: "/v1/snapshots/diff", operation: Operation::SnapshotsDiff },
    Route { method: "GET", pattern: "/metrics", operation: Operation::Metrics },
    Route { method: "GET", pattern: "/v1/events", operation: Operation::Events },
    Route { method: "POST", pattern: "/v1/materialize", operation: Operation::Materialize },
    Route { method: "POST", pattern: "/v1/locate", operation: Operation::Locate },
    Route { method: "GET", pattern: "/v1/files", operation: Operation::Files },
    Route { method: "POST", pattern: "/v1/files/verify", operation: Operation::VerifyFiles },
    Route { method: "POST", pattern: "/v1/files/gc", operation: Operation::CollectFiles },
    Route { method: "POST", pattern: "/v1/files/release", operation: Operation::ReleaseHolds },
];

const SEARCH: &str = "/v1/components/search";

/// The route of a lookup.
pub(crate) const LOOKUP: &str = "/v1/lookup";

/// A question, its values read.
#[derive(Debug, Clone)]
pub enum Query {
    /// Is the process up?
    Live,
    /// Is a generation served?
    Ready,
    /// How does everything stand?
    Health,
    /// Which program is this?
    Version,
    /// How much is there, how much was asked?
    Stats,
    /// How do the sources stand?
    Sources,
    /// How do the catalogues stand?
    Catalogues,
    /// Which components are there?
    Components(Selection),
    /// Which components hold these words?
    Search(Box<Search>),
    /// What is known about a component?
    Component(ComponentId),
    /// Which versions has a component?
    Versions(ComponentId),
    /// What is known about a release?
    Release(Pointed),
    /// What does the manifest of a release say?
    Manifest(Pointed),
    /// Which releases answer a joint question?
    Resolve(Box<Question>),
    /// Which release answers each of these references?
    Lookup(Vec<Result<Reference, Failure>>),
    /// What do the documents of releases say, and by which keys are publishers known?
    Documents(Box<documents::Asked>),
    /// What is the lock of a joint question?
    Lock(Box<(Question, Wish)>),
    /// What of a lock no longer holds?
    LockCheck(Box<AskedCheck>),
    /// Why is a reference answered as it is?
    Explain(Box<Asked>),
    /// What is a directory of a commit, and what is it pinned by? With how it is fetched.
    ExplainDirect(Box<(DirectReference, Materialize)>),
    /// Read sources again; all of them where none is named.
    Sync(Vec<SourceId>),
    /// Read the configuration again, then the sources.
    Reload,
    /// Forget what was accepted of a source or catalogue, then read the source again.
    Forget(Forget),
    /// Which trust policies are in force, and what do they ask for?
    Policy,
    /// What would a policy change?
    PolicyTest(Box<(Proposal, Part)>),
    /// Which revisions are remembered?
    Revisions,
    /// What does the log of revisions say?
    RevisionLog {
        /// Only about this source.
        source: Option<SourceId>,
        /// How many lines, from 1 to [`PAGE_ITEMS_MAX`].
        limit: usize,
    },
    /// What are the routes?
    OpenApi,
    /// A question to one kept generation, not to the one in force.
    At(Wanted, Box<Query>),
    /// Which generations are kept?
    Snapshots,
    /// What changed from one kept generation to another?
    SnapshotsDiff(Diff),
    /// What has been counted, for Prometheus?
    Metrics,
    /// What happens from now on?
    Events,
    /// Put the files of releases on disk.
    Materialize(Box<(Materialize, Option<Question>)>),
    /// Where do the files of a component lie?
    Locate(Box<Locate>),
    /// Who needs which files?
    Files(Asking),
    /// Which files are not as they were published? Of these releases, all of them where none is named.
    VerifyFiles(Vec<String>),
    /// Remove what nobody needs.
    CollectFiles(CollectRequest, Asking),
    /// End the holds of these names.
    ReleaseHolds(Vec<String>, Asking),
}

impl Query {
    /// Returns the question itself, whichever generation it goes to.
    pub fn inner(&self) -> &Query {
        match self {
            Query::At(_, query) => query,
            query => query,
        }
    }

    /// Asks on hosts that have these versions, where the question itself does not say which.
    ///
    /// **Errors**: R011 `api.platforms` where a native of the question is another version of one of them.
    pub fn on(mut self, hosts: &[Native]) -> Result<Query, Failure> {
        if !hosts.is_empty() {
            self.take_hosts(hosts)?;
        }
        Ok(self)
    }

    fn take_hosts(&mut self, hosts: &[Native]) -> Result<(), Failure> {
        let question = match self {
            Query::At(_, query) => return query.take_hosts(hosts),
            Query::Resolve(question) => question,
            Query::Lock(asked) => &mut asked.0,
            Query::Materialize(asked) => match &mut asked.1 {
                Some(question) => question,
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        let natives = &mut question.request.natives;
        let is_said = |host: &Native, natives: &[Native]| {
            let Native::Host(id, _) = host else { return true };
            natives.iter().any(|known| matches!(known, Native::Host(own, _) if own == id))
        };
        let unsaid: Vec<Native> = hosts.iter().filter(|host| !is_said(host, natives)).cloned().collect();
        natives.extend(unsaid);
        settle_kernel(natives)
    }

    /// Asks the wanted generation, where one is wanted.
    pub fn at(self, wanted: Option<Wanted>) -> Query {
        match wanted {
            Some(wanted) => Query::At(wanted, Box::new(self)),
            None => self,
        }
    }

    /// Notes who asks, where that matters behind the door: nobody in particular, until this is called.
    pub fn asked_by(mut self, who: Asking) -> Query {
        self.note(who);
        self
    }

    fn note(&mut self, who: Asking) {
        match self {
            Query::At(_, query) => query.note(who),
            Query::Materialize(asked) => asked.0.asking = who,
            Query::LockCheck(asked) => asked.uid = who.uid,
            Query::Files(asking) | Query::CollectFiles(_, asking) | Query::ReleaseHolds(_, asking) => {
                *asking = who;
            }
            _ => {}
        }
    }

    /// Has a listener hear how far the files come that are asked for; a question for anything else is asked as it is.
    pub fn heard_by(mut self, progress: &Arc<Progress>) -> Query {
        if let Query::Materialize(asked) = &mut self {
            asked.0.progress = Some(Arc::clone(progress));
        }
        self
    }

    /// Returns the route that asks this.
    pub fn operation(&self) -> Operation {
        match self {
            Query::Live => Operation::Live,
            Query::Ready => Operation::Ready,
            Query::Health => Operation::Health,
            Query::Version => Operation::Version,
            Query::Stats => Operation::Stats,
            Query::Sources => Operation::Sources,
            Query::Catalogues => Operation::Catalogues,
            Query::Components(_) => Operation::Components,
            Query::Component(_) => Operation::Component,
            Query::Versions(_) => Operation::Versions,
            Query::Release(_) => Operation::Release,
            Query::Manifest(_) => Operation::Manifest,
            Query::Resolve(_) => Operation::Resolve,
            Query::Lookup(_) => Operation::Lookup,
            Query::Documents(_) => Operation::Documents,
            Query::Lock(_) => Operation::Lock,
            Query::LockCheck(_) => Operation::LockCheck,
            Query::Search(_) => Operation::Search,
            Query::Explain(_) | Query::ExplainDirect(_) => Operation::Explain,
            Query::Sync(_) => Operation::Sync,
            Query::Reload => Operation::Reload,
            Query::Forget(Forget { what: Accepted::Lost | Accepted::Clock, .. }) => Operation::Reset,
            Query::Forget(_) => Operation::Forget,
            Query::Policy => Operation::Policy,
            Query::PolicyTest(_) => Operation::PolicyTest,
            Query::Revisions => Operation::Revisions,
            Query::RevisionLog { .. } => Operation::RevisionLog,
            Query::OpenApi => Operation::OpenApi,
            Query::At(_, query) => query.operation(),
            Query::Snapshots => Operation::Snapshots,
            Query::SnapshotsDiff(_) => Operation::SnapshotsDiff,
            Query::Metrics => Operation::Metrics,
            Query::Events => Operation::Events,
            Query::Materialize(_) => Operation::Materialize,
            Query::Locate(_) => Operation::Locate,
            Query::Files(_) => Operation::Files,
            Query::VerifyFiles(_) => Operation::VerifyFiles,
            Query::CollectFiles(..) => Operation::CollectFiles,
            Query::ReleaseHolds(..) => Operation::ReleaseHolds,
        }
    }
}

/// The name of a kept snapshot: its digest, or the start of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted(String);

/// How many hexadecimal digits of a snapshot's digest name it at least.
pub const SNAPSHOT_DIGITS_MIN: usize = 12;

impl Wanted {
    /// Reads `sha256:` and 12 to 64 hexadecimal digits; `sha256:` may be left out.
    ///
    /// **Errors**: R011 `api.snapshot`.
    pub fn parse(text: &str) -> Result<Wanted, Failure> {
        let digits = text.strip_prefix(ALGORITHM).unwrap_or(text);
        let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        if (SNAPSHOT_DIGITS_MIN..=64).contains(&digits.len()) && digits.bytes().all(is_digit) {
            return Ok(Wanted(format!("{ALGORITHM}{digits}")));
        }
        let detail = format!(
            "snapshot: expected sha256: and {SNAPSHOT_DIGITS_MIN} to 64 lower-case hexadecimal digits, found \"{}\"",
            escaped(text)
        );
        Err(invalid("api.snapshot", detail)
            .with("field", "snapshot")
            .hint("resolverd snapshots lists what is kept"))
    }

    /// Returns the digest as far as it was given.
    pub fn as_text(&self) -> &str {
        &self.0
    }

    /// Tells whether `digest` is meant.
    pub fn fits(&self, digest: &Digest) -> bool {
        digest.to_string().starts_with(&self.0)
    }
}

const ALGORITHM: &str = "sha256:";

/// Which two generations are compared, and which page of what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// The generation before.
    pub from: Wanted,
    /// The generation after; `None` for the one in force.
    pub to: Option<Wanted>,
    /// How many components, from 1 to [`PAGE_ITEMS_MAX`].
    pub limit: usize,
    /// The last id of the page before.
    pub after: Option<ComponentId>,
}

/// What is to be forgotten, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    /// What.
    pub what: Accepted,
    /// Why, for the logs; empty where nothing was said.
    pub why: String,
}

/// Which components a list holds, and which page of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The start of the canonical ids.
    pub prefix: Option<String>,
    /// The source that owns them.
    pub source: Option<SourceId>,
    /// Their kind.
    pub kind: Option<String>,
    /// The category that their documents carry.
    pub category: Option<String>,
    /// How many, from 1 to [`PAGE_ITEMS_MAX`].
    pub limit: usize,
    /// The last id of the page before.
    pub after: Option<ComponentId>,
}

/// A release, as a path points to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointed {
    /// Which component, and which versions of it.
    pub reference: Reference,
    /// The id that the same path spells when its last word is not read as a version.
    pub longer: Option<ComponentId>,
}

/// A release as a path points to it plainly: the dialect in front, no escape but that of a caret, and behind it an exact version or
/// one comparator. Whether its ids are any is not known; those that a snapshot has are.
#[derive(Debug)]
pub struct Plain {
    ids: String,
    shorter: usize,
    /// Which version.
    pub version: PlainVersion,
}

/// Which version is pointed to plainly.
#[derive(Debug, PartialEq, Eq)]
pub enum PlainVersion {
    /// This one.
    Exact(Version),
    /// The newest that meets this: `^1.2` or `~1.2`.
    Newest(Comparator),
}

impl PlainVersion {
    /// Reads `1.2.3`, `^1.2` or `~1.2`, numbers only; `None` for everything else.
    pub fn of(text: &str) -> Option<PlainVersion> {
        let numbers = text.strip_prefix(['^', '~']).unwrap_or(text);
        if !numbers.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.')) {
            return None;
        }
        match numbers.len() == text.len() {
            true => Version::parse(text).ok().map(PlainVersion::Exact),
            false if text.len() > VERSION_BYTES_MAX => None,
            false => Comparator::parse(text).ok().map(PlainVersion::Newest),
        }
    }
}

impl Plain {
    /// Reads a target; `None` for one that asks anything else, or in another form.
    pub fn of(target: &str) -> Option<Plain> {
        let (dialect, path) = target.strip_prefix(BELOW_COMPONENTS)?.split_once('/')?;
        let prefix = match dialect {
            "lcod" => "lcod://",
            "estream" => "estream:",
            "flowctl" => "flowctl:",
            _ => return None,
        };
        let (id, version) = path.rsplit_once('/')?;
        if id.bytes().any(|byte| matches!(byte, b'%' | b'?' | b'#' | b':')) {
            return None;
        }
        let ids = match version.strip_prefix("%5E").or_else(|| version.strip_prefix("%5e")) {
            Some(version) => [prefix, id, "/^", version].concat(),
            None => [prefix, path].concat(),
        };
        let shorter = prefix.len() + id.len();
        let version = PlainVersion::of(&ids[shorter + 1..])?;
        Some(Plain { ids, shorter, version })
    }

    /// Returns the id before the version.
    pub fn shorter(&self) -> &str {
        &self.ids[..self.shorter]
    }

    /// Returns the id that the same path spells when its last word is not read as a version.
    pub fn longer(&self) -> &str {
        &self.ids
    }
}

/// Reads the body of a lookup that is written plainly: `{"ids": ["…", …]}` in printable ASCII without escapes, and at most `most`
/// references; `None` for every other.
pub fn plain_lookup(body: &[u8], most: usize) -> Option<Vec<&str>> {
    let mut rest = token(token(token(token(body, b"{")?, b"\"ids\"")?, b":")?, b"[")?;
    let mut texts = Vec::with_capacity(most.min(rest.len() / 16 + 1));
    while let Some(behind) = token(rest, b"\"") {
        let end = behind.iter().position(|byte| !matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~'))?;
        texts.push(str::from_utf8(&behind[..end]).ok()?);
        rest = behind[end..].strip_prefix(b"\"")?;
        match token(rest, b",") {
            Some(behind) if token(behind, b"\"").is_some() => rest = behind,
            Some(_) => return None,
            None => break,
        }
    }
    let rest = token(token(rest, b"]")?, b"}")?.trim_ascii_start();
    (rest.is_empty() && texts.len() <= most).then_some(texts)
}

/// Returns what stands behind `token`, which blanks may stand before.
fn token<'b>(bytes: &'b [u8], token: &[u8]) -> Option<&'b [u8]> {
    let blanks = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    bytes[blanks..].strip_prefix(token)
}

/// A joint question.
#[derive(Debug, Clone)]
pub struct Question {
    /// The request itself.
    pub request: Request,
    /// Sync first.
    pub refresh: bool,
    /// Put what is chosen on disk.
    pub materialize: bool,
    /// What becomes of calls.
    pub calls: Calls,
    /// Nothing is fetched for files and calls.
    pub is_offline: bool,
    /// What the caller should know about the request.
    pub warnings: Vec<Warning>,
    /// Where files are fetched from instead.
    pub mirrors: Mirrors,
    /// The directories of commits that take part; their places in `request` are still empty.
    pub direct: Option<Box<Direct>>,
}

impl Question {
    /// Returns the components that are asked for, sorted, each once.
    pub fn ids(&self) -> Vec<ComponentId> {
        let ids: BTreeSet<&ComponentId> = self.request.references.iter().map(|one| &one.id).collect();
        ids.into_iter().cloned().collect()
    }

    /// Tells whether only an admin may ask so: the daemon reads repositories of this machine for nobody else.
    pub fn is_local(&self) -> bool {
        self.direct.as_ref().is_some_and(|direct| direct.is_local())
    }
}

/// Reads a call.
///
/// **Errors**: R011 (route, method, parameter, body, field), R001 (a reference, id or version), R005 (too many references).
pub fn route(call: &Call) -> Result<Query, Failure> {
    read_parts(call.method, &call.target, &call.body)
}

/// Reads a call whose parts lie elsewhere.
///
/// **Errors**: those of [`route`].
pub fn read_parts(method: &str, target: &str, body: &[u8]) -> Result<Query, Failure> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let operation = operation(method, path)?;
    let (query, wanted) = match query {
        Some(query) if reads_kept(operation) => without_snapshot(query)?,
        query => (query.map(Cow::Borrowed), None),
    };
    let call = Parts { method, path, body };
    match read(call, operation, query.as_deref())? {
        Query::At(..) if wanted.is_some() => {
            Err(invalid("api.parameter", "snapshot stands in the query and in the body")
                .with("field", "snapshot")
                .hint("leave one of them out"))
        }
        query => Ok(query.at(wanted)),
    }
}

/// What a question is read from, apart from its query.
struct Parts<'a> {
    method: &'a str,
    path: &'a str,
    body: &'a [u8],
}

/// Tells whether a route reads a generation, so that `snapshot` says which.
fn reads_kept(operation: Operation) -> bool {
    use Operation::{
        Catalogues, Component, Components, Documents, Explain, Lock, LockCheck, Lookup, Manifest, Release,
        Resolve, Search, Sources, Versions,
    };
    matches!(
        operation,
        Sources
            | Catalogues
            | Components
            | Search
            | Component
            | Versions
            | Release
            | Manifest
            | Resolve
            | Lookup
            | Documents
            | Lock
            | LockCheck
            | Explain
    )
}

/// Takes `snapshot` out of a query; what is left is read by its route.
fn without_snapshot(query: &str) -> Result<(Option<Cow<'_, str>>, Option<Wanted>), Failure> {
    const NAME: &str = "snapshot=";
    let (mine, rest): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|pair| pair.starts_with(NAME) || *pair == "snapshot");
    match mine.as_slice() {
        [] => Ok((Some(Cow::Borrowed(query)), None)),
        [pair] => {
            let text = decoded(pair.strip_prefix(NAME).unwrap_or(""))
                .ok_or_else(|| invalid("api.encoding", "snapshot is not percent-encoded"))?;
            let left = (!rest.is_empty()).then(|| Cow::Owned(rest.join("&")));
            Ok((left, Some(Wanted::parse(&text)?)))
        }
        _ => Err(invalid("api.parameter", "snapshot stands twice")),
    }
}

/// Reads the values of a call to a known route.
fn read(call: Parts<'_>, operation: Operation, query: Option<&str>) -> Result<Query, Failure> {
    let Parts { method, path, body } = call;
    let takes_more = matches!(
        operation,
        Operation::Components | Operation::Search | Operation::SnapshotsDiff | Operation::RevisionLog
    );
    if !takes_more && query.is_some_and(|query| !query.is_empty()) {
        // A route that does not exist yet says so, whatever is asked of it.
        if let Some(below) = path.strip_prefix(BELOW_COMPONENTS) {
            component(below)?;
        }
        return Err(invalid("api.parameter", "this route takes no query parameters").hint(SEE_ROUTES));
    }
    if method == "GET" && !body.is_empty() {
        return Err(invalid("api.body", "a GET has no body"));
    }
    match operation {
        Operation::Live => Ok(Query::Live),
        Operation::Ready => Ok(Query::Ready),
        Operation::Health => Ok(Query::Health),
        Operation::Version => Ok(Query::Version),
        Operation::Stats => Ok(Query::Stats),
        Operation::Sources => Ok(Query::Sources),
        Operation::Catalogues => Ok(Query::Catalogues),
        Operation::Components => selection(query.unwrap_or("")).map(Query::Components),
        Operation::Search => search(query.unwrap_or("")).map(|search| Query::Search(search.into())),
        Operation::Component | Operation::Versions | Operation::Release | Operation::Manifest => {
            component(path.strip_prefix(BELOW_COMPONENTS).unwrap_or(""))
        }
        Operation::Resolve => {
            let wire: ResolveRequest = read_body(body)?;
            let wanted = wire.snapshot.as_deref().map(Wanted::parse).transpose()?;
            question(wire).map(|question| Query::Resolve(question.into()).at(wanted))
        }
        Operation::Lookup => lookup(read_body(body)?),
        Operation::Documents => {
            let wire: DocumentsRequest = read_body(body)?;
            let wanted = wire.snapshot.as_deref().map(Wanted::parse).transpose()?;
            Ok(Query::Documents(documents::Asked::read(&wire)?.into()).at(wanted))
        }
        Operation::Lock => {
            let wire: LockRequest = read_body(body)?;
            if let (Some(one), Some(other)) = (&wire.snapshot, &wire.resolve.snapshot)
                && one != other
            {
                let detail = format!(
                    "snapshot and resolve.snapshot name two: \"{}\" and \"{}\"",
                    escaped(one),
                    escaped(other)
                );
                return Err(invalid("api.snapshot", detail).with("field", "snapshot"));
            }
            let named = wire.snapshot.as_deref().or(wire.resolve.snapshot.as_deref());
            let wanted = named.map(Wanted::parse).transpose()?;
            if wire.resolve.materialize {
                let detail = "resolve.materialize: a lock puts nothing on disk";
                return Err(invalid("api.unsupported", detail).with("field", "resolve.materialize"));
            }
            let mut wish = lock::wish(&wire)?;
            // Direct references among them, which take their places later.
            let first = wire.resolve.requests.len();
            let mut question = question(wire.resolve)?;
            limited(wire.called.len(), "called")?;
            if question.calls == Calls::Off && !wire.called.is_empty() {
                let detail = "called: calls are off, so that nothing is locked as a call";
                return Err(invalid("api.calls", detail).with("field", "called"));
            }
            wish.calls = (question.calls != Calls::Off).then_some(first);
            let called = wire.called.iter().enumerate().map(|(index, text)| reference(text, "called", index));
            question.request.references.extend(called.collect::<Result<Vec<_>, _>>()?);
            Ok(Query::Lock(Box::new((question, wish))).at(wanted))
        }
        Operation::LockCheck => {
            let wire: LockCheckRequest = read_body(body)?;
            let wanted = wire.snapshot.as_deref().map(Wanted::parse).transpose()?;
            let asked = AskedCheck { text: wire.lock, watch: wire.watch, uid: 0 };
            Ok(Query::LockCheck(asked.into()).at(wanted))
        }
        Operation::Explain => explain(read_body(body)?),
        Operation::Sync if body.is_empty() => Ok(Query::Sync(Vec::new())),
        Operation::Sync => sync(&read_body(body)?),
        Operation::Reload if body.is_empty() => Ok(Query::Reload),
        Operation::Reload => read_body::<ReloadRequest>(body).map(|_| Query::Reload),
        Operation::Forget => forget(read_body(body)?),
        Operation::Reset => reset(read_body(body)?),
        Operation::Policy => Ok(Query::Policy),
        Operation::PolicyTest => policy_test(read_body(body)?),
        Operation::Revisions => Ok(Query::Revisions),
        Operation::RevisionLog => revision_log(query.unwrap_or("")),
        Operation::OpenApi => Ok(Query::OpenApi),
        Operation::Snapshots => Ok(Query::Snapshots),
        Operation::SnapshotsDiff => diff(query.unwrap_or("")).map(Query::SnapshotsDiff),
        Operation::Metrics => Ok(Query::Metrics),
        Operation::Events => Ok(Query::Events),
        Operation::Materialize => {
            let wire: MaterializeRequest = read_body(body)?;
            let wanted = wire.resolve.clone().map(closure).transpose()?;
            let asked = Materialize::read(wire)?;
            Ok(Query::Materialize(Box::new((asked, wanted))))
        }
        Operation::Locate => {
            Locate::read(&read_body::<LocateRequest>(body)?).map(|asked| Query::Locate(asked.into()))
        }
        Operation::Files => Ok(Query::Files(Asking::NOBODY)),
        Operation::VerifyFiles if body.is_empty() => Ok(Query::VerifyFiles(Vec::new())),
        Operation::VerifyFiles => files::verify(read_body(body)?).map(Query::VerifyFiles),
        Operation::CollectFiles => {
            let asked = if body.is_empty() { CollectRequest::default() } else { read_body(body)? };
            Ok(Query::CollectFiles(asked, Asking::NOBODY))
        }
        Operation::ReleaseHolds => Ok(Query::ReleaseHolds(files::release(read_body(body)?)?, Asking::NOBODY)),
    }
}

/// Returns the methods that `path` knows; none for an unknown path.
pub fn methods(path: &str) -> Vec<&'static str> {
    let below = is_component(path);
    let matches = |route: &&Route| match below {
        true => route.operation == Operation::Component,
        false => route.pattern == path,
    };
    ROUTES.iter().filter(matches).map(|route| route.method).collect()
}

/// Returns the route that a call which could not be read went to.
pub fn operation_of(method: &str, target: &str) -> Option<Operation> {
    operation(method, target.split('?').next().unwrap_or(target)).ok()
}

/// Tells whether a path names a component or something of it.
fn is_component(path: &str) -> bool {
    path.strip_prefix(BELOW_COMPONENTS).is_some_and(|rest| !rest.is_empty()) && path != SEARCH
}

fn operation(method: &str, path: &str) -> Result<Operation, Failure> {
    let is_asked = |route: &&Route| route.pattern == path && route.method == method;
    if is_component(path) {
        if method == "GET" {
            return Ok(Operation::Component);
        }
    } else if let Some(found) = ROUTES.iter().find(is_asked) {
        return Ok(found.operation);
    }
    let methods = methods(path);
    if methods.is_empty() {
        let detail = format!("there is no route {}", escaped(path));
        return Err(invalid("api.route", detail).status(404).hint(SEE_ROUTES));
    }
    let detail = format!("{} is for {}", escaped(path), methods.join(" and "));
    Err(invalid("api.method", detail).status(405).with("allow", methods))
}

const SEE_ROUTES: &str = "GET /openapi.json lists the routes";

fn invalid(reason: &'static str, detail: impl Into<String>) -> Failure {
    Failure::new(Code::RequestInvalid, reason, detail)
}

/// Reads what stands behind `/v1/components/`.
fn component(rest: &str) -> Result<Query, Failure> {
    let mut words = Vec::with_capacity(8);
    for segment in rest.split('/') {
        words.push(decoded(segment).ok_or_else(|| {
            invalid("api.encoding", format!("{} is not percent-encoded UTF-8", escaped(segment)))
        })?);
    }
    if words.first().is_some_and(|word| word.contains(':')) {
        let id = component_id(ComponentId::parse(&words[0]))?;
        return encoded_form(id, &words[1..]);
    }
    if let Some(word) = words.iter().find(|word| word.is_empty() || word.contains('/')) {
        let detail = format!("a path form has plain segments, found \"{}\"", escaped(word));
        return Err(invalid("api.path", detail).hint("percent-encode the whole id as one segment"));
    }
    path_form(&words)
}

fn encoded_form(id: ComponentId, words: &[Cow<'_, str>]) -> Result<Query, Failure> {
    match words {
        [] => Ok(Query::Component(id)),
        [word] if word == "versions" => Ok(Query::Versions(id)),
        [version] => Ok(Query::Release(Pointed { reference: pointed(id, version)?, longer: None })),
        [version, word] if word == "manifest" => {
            Ok(Query::Manifest(Pointed { reference: pointed(id, version)?, longer: None }))
        }
        [.., word] if word == "download" => Err(not_yet(word)),
        _ => Err(invalid("api.route", "behind an id stand versions, a version, or a version and manifest")
            .status(404)),
    }
}

/// Reads the path form. The last word is a version where it reads as one and an id is left before it; `versions`,
/// `manifest`, `search` and `download` are reserved there, so an id that ends in one of them needs the encoded form.
fn path_form(words: &[Cow<'_, str>]) -> Result<Query, Failure> {
    let (dialect, words) = match words {
        [first, rest @ ..] if first == "lcod" => (Dialect::Lcod, rest),
        [first, rest @ ..] if first == "estream" => (Dialect::Estream, rest),
        [first, rest @ ..] if first == "flowctl" => (Dialect::Flowctl, rest),
        all => (Dialect::Flowctl, all),
    };
    let id = |words: &[Cow<'_, str>]| ComponentId::from_path(dialect, &words.join("/"));
    let Some((last, before)) = words.split_last() else {
        return Err(invalid("api.path", "an id is missing behind the dialect"));
    };
    match &**last {
        "versions" => component_id(id(before)).map(Query::Versions),
        "manifest" => match before.split_last() {
            Some((version, before)) if looks_like_version(version) => {
                let reference = pointed(component_id(id(before))?, version)?;
                Ok(Query::Manifest(Pointed { reference, longer: None }))
            }
            _ => Err(ambiguous("manifest stands behind a version", id(words).ok().as_slice())),
        },
        "download" | "search" => Err(not_yet(last)),
        version => match id(before) {
            Ok(shorter) if looks_like_version(version) => {
                let reference = pointed(shorter, version)?;
                Ok(Query::Release(Pointed { reference, longer: id(words).ok() }))
            }
            _ => component_id(id(words)).map(Query::Component),
        },
    }
}

/// Returns the answer to a path that can be read in two ways; `ids` are the ids that it may mean.
pub fn ambiguous(detail: &str, ids: &[ComponentId]) -> Failure {
    let forms: Vec<String> = ids.iter().map(encoded_path).collect();
    let hint = match forms.as_slice() {
        [] => "percent-encode the whole id as one segment".to_owned(),
        forms => format!("use {}", forms.join(" or ")),
    };
    invalid("api.ambiguous", detail).hint(hint)
}

fn not_yet(word: &str) -> Failure {
    invalid("api.route", format!("{word} is not in this version")).status(404)
}

fn component_id(
    id: Result<ComponentId, catalogue_schema::error::ParseError>,
) -> Result<ComponentId, Failure> {
    id.map_err(|error| Failure::of_reference(&error))
}

fn pointed(id: ComponentId, version: &str) -> Result<Reference, Failure> {
    let requirement =
        VersionReq::parse(version, Grammar::Reference).map_err(|error| Failure::of_reference(&error))?;
    Ok(Reference { id, requirement })
}

fn looks_like_version(word: &str) -> bool {
    let digits = word.strip_prefix('v').unwrap_or(word);
    let starts =
        digits.starts_with(|c: char| c.is_ascii_digit()) || word.starts_with(['^', '~', '>', '<', '=', '*']);
    word == "latest"
        || (starts && (VersionReq::parse(word, Grammar::Reference).is_ok() || Version::parse(word).is_ok()))
}

/// Reads a query into its parameters, each of which may stand once; `type` is another word for `kind`.
fn parameters(query: &str) -> Result<Vec<(&str, String)>, Failure> {
    let mut parameters: Vec<(&str, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(&value.replace('+', " "))
            .map(Cow::into_owned)
            .ok_or_else(|| invalid("api.encoding", format!("{} is not percent-encoded", escaped(pair))))?;
        let name = if name == "type" { "kind" } else { name };
        if parameters.iter().any(|(known, _)| *known == name) {
            return Err(invalid("api.parameter", format!("{} stands twice", escaped(name))));
        }
        parameters.push((name, value));
    }
    Ok(parameters)
}

fn no_parameter(name: &str, known: &str) -> Failure {
    let detail = format!("there is no parameter {}", escaped(name));
    invalid("api.parameter", detail).hint(format!("known: {known}")).with("field", escaped(name))
}

fn selection(query: &str) -> Result<Selection, Failure> {
    let mut selection =
        Selection { prefix: None, source: None, kind: None, category: None, limit: PAGE_ITEMS, after: None };
    for (name, value) in parameters(query)? {
        match name {
            "namespace" => selection.prefix = Some(id_prefix(&value)?),
            "source" => selection.source = Some(source_id(&value, "source")?),
            "kind" => selection.kind = Some(value),
            "category" => selection.category = Some(value),
            "limit" => selection.limit = page_limit(&value, PAGE_ITEMS_MAX)?,
            "cursor" => selection.after = Some(cursor(&value)?),
            _ => {
                let known = "namespace, source, type (or kind), category, limit, cursor";
                return Err(no_parameter(name, known));
            }
        }
    }
    Ok(selection)
}

fn search(query: &str) -> Result<Search, Failure> {
    let mut search = Search::of(Vec::new());
    for (name, value) in parameters(query)? {
        match name {
            "q" => search.words = words(&value)?,
            "kind" => search.kind = Some(folded(&value)),
            "category" => search.category = Some(folded(&value)),
            "tag" => search.tag = Some(folded(&value)),
            "source" => search.source = Some(source_id(&value, "source")?),
            "verified" => search.verified = switch(name, &value)?,
            "official" => search.official = switch(name, &value)?,
            "limit" => search.limit = page_limit(&value, HITS_MAX)?,
            "cursor" => search.after = Some(hit_cursor(&value)?),
            _ => {
                let known = "q, type (or kind), category, tag, source, verified, official, limit, cursor";
                return Err(no_parameter(name, known));
            }
        }
    }
    Ok(search)
}

fn words(query: &str) -> Result<Vec<Box<str>>, Failure> {
    let too_long = |expected: String, found: usize| {
        let detail = format!("q: expected {expected}, found {found}");
        Failure::new(Code::LimitExceeded, "api.query", detail).with("field", "q").with("found", found)
    };
    if query.len() > QUERY_BYTES_MAX {
        return Err(too_long(format!("at most {QUERY_BYTES_MAX} bytes"), query.len())
            .with("limit", QUERY_BYTES_MAX)
            .hint("search for fewer words"));
    }
    let words = Search::words_of(query);
    if words.len() > WORDS_MAX {
        return Err(too_long(format!("at most {WORDS_MAX} words"), words.len())
            .with("limit", WORDS_MAX)
            .hint("search for fewer words"));
    }
    Ok(words)
}

fn switch(name: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "true" | "1" | "" => Ok(true),
        "false" | "0" => Ok(false),
        other => {
            let detail = format!("{name}: expected true or false, found \"{}\"", escaped(other));
            Err(invalid("api.parameter", detail).with("field", name))
        }
    }
}

fn diff(query: &str) -> Result<Diff, Failure> {
    let (mut from, mut to, mut limit, mut after) = (None, None, PAGE_ITEMS, None);
    for (name, value) in parameters(query)? {
        match name {
            "from" => from = Some(Wanted::parse(&value)?),
            "to" => to = Some(Wanted::parse(&value)?),
            "limit" => limit = page_limit(&value, PAGE_ITEMS_MAX)?,
            "cursor" => after = Some(cursor(&value)?),
            _ => return Err(no_parameter(name, "from, to, limit, cursor")),
        }
    }
    let missing = || {
        invalid("api.parameter", "from is missing: the snapshot to compare with")
            .with("field", "from")
            .hint("resolverd snapshots lists what is kept")
    };
    Ok(Diff { from: from.ok_or_else(missing)?, to, limit, after })
}

fn revision_log(query: &str) -> Result<Query, Failure> {
    let (mut source, mut limit) = (None, PAGE_ITEMS);
    for (name, value) in parameters(query)? {
        match name {
            "source" => source = Some(source_id(&value, "source")?),
            "limit" => limit = page_limit(&value, PAGE_ITEMS_MAX)?,
            _ => return Err(no_parameter(name, "source, limit")),
        }
    }
    Ok(Query::RevisionLog { source, limit })
}

fn forget(wire: ForgetRequest) -> Result<Query, Failure> {
    let what = match (&wire.source, &wire.release) {
        (Some(source), None) => {
            let catalogue = wire.catalogue.as_deref().map(|name| source_id(name, "catalogue")).transpose()?;
            Accepted::Revisions(source_id(source, "source")?, catalogue)
        }
        (None, Some(release)) if wire.catalogue.is_none() => released(release)?,
        _ => {
            let detail = "expected either source, with or without catalogue, or release";
            return Err(invalid("api.body", detail).with("field", "source"));
        }
    };
    if wire.reason.trim().is_empty() {
        let expected = match what {
            Accepted::Version(..) => "reason: expected why the bytes of a version may be others",
            Accepted::Revisions(..) | Accepted::Lost | Accepted::Clock => {
                "reason: expected why an older revision may be accepted"
            }
        };
        return Err(invalid("api.body", expected)
            .with("field", "reason")
            .hint("say why with --reason TEXT: the audit log keeps it"));
    }
    let why = said(wire.reason)?;
    Ok(Query::Forget(Forget { what, why }))
}

fn policy_test(wire: PolicyTestRequest) -> Result<Query, Failure> {
    let PolicyTestRequest { policy, keys, cursor, limit } = wire;
    let start = |text: String| {
        let wrong = || invalid("api.cursor", "cursor: expected the nextCursor of the answer before");
        PartStart::parse(&text).ok_or_else(|| wrong().with("field", "cursor"))
    };
    let part = Part { from: cursor.map(start).transpose()?, limit: limit.unwrap_or(CHANGES_MAX) };
    if !(1..=CHANGES_MAX).contains(&part.limit) {
        let detail = format!("limit: expected 1 to {CHANGES_MAX}");
        return Err(invalid("api.limit", detail).with("field", "limit"));
    }
    Ok(Query::PolicyTest(Box::new((Proposal { policy, keys }, part))))
}

fn reset(wire: ResetRequest) -> Result<Query, Failure> {
    if wire.reason.trim().is_empty() {
        let expected = match wire.clock {
            true => "reason: expected why the clock is right now",
            false => "reason: expected why nothing that was lost is needed",
        };
        return Err(invalid("api.body", expected)
            .with("field", "reason")
            .hint("say why with --reason TEXT: the audit log keeps it"));
    }
    let what = if wire.clock { Accepted::Clock } else { Accepted::Lost };
    Ok(Query::Forget(Forget { what, why: said(wire.reason)? }))
}

/// Checks what an operator says for the logs.
fn said(why: String) -> Result<String, Failure> {
    if why.chars().count() > REASON_CHARS_MAX || why.contains(char::is_control) {
        let detail = format!("reason: expected at most {REASON_CHARS_MAX} characters on one line");
        return Err(invalid("api.body", detail).with("field", "reason"));
    }
    Ok(why)
}

/// Reads an id with a version behind its last `@`.
fn released(text: &str) -> Result<Accepted, Failure> {
    let (id, version) = text.rsplit_once('@').unwrap_or((text, ""));
    let (id, version) = (ComponentId::parse(id), Version::parse(version));
    let refused = |error: &ParseError| Failure::of(Code::RequestInvalid, &error.clone().in_field("release"));
    let id = id.map_err(|error| refused(&error))?;
    Ok(Accepted::Version(id, version.map_err(|error| refused(&error))?))
}

fn id_prefix(text: &str) -> Result<String, Failure> {
    let prefix = text.strip_suffix("**").unwrap_or(text);
    let known = ["lcod://", "estream:", "flowctl:"].iter().any(|dialect| prefix.starts_with(dialect));
    let plain = prefix.len() <= 512 && prefix.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
    if !known || !plain {
        let detail = format!("expected a namespace such as lcod://tooling/**, found \"{}\"", escaped(text));
        return Err(invalid("input.namespace", detail)
            .with("field", "namespace")
            .hint("resolverd components lists the ids there are"));
    }
    Ok(prefix.to_owned())
}

fn page_limit(text: &str, most: usize) -> Result<usize, Failure> {
    text.parse().ok().filter(|limit| (1..=most).contains(limit)).ok_or_else(|| {
        let detail = format!("limit: expected 1 to {most}, found \"{}\"", escaped(text));
        invalid("api.parameter", detail)
            .with("field", "limit")
            .hint("ask page by page: the nextCursor of a page is the cursor of the next")
    })
}

/// Makes the cursor of the page behind `id`; opaque to callers.
pub fn cursor_after(id: &ComponentId) -> String {
    catalogue_schema::digest::hex(id.as_text().as_bytes())
}

fn cursor(text: &str) -> Result<ComponentId, Failure> {
    let id = unhexed(text);
    id.and_then(|id| ComponentId::parse(&id).ok()).ok_or_else(no_cursor)
}

fn unhexed(text: &str) -> Option<String> {
    catalogue_schema::digest::unhex(text).and_then(|bytes| String::from_utf8(bytes).ok())
}

fn no_cursor() -> Failure {
    invalid("api.parameter", "cursor: expected the nextCursor of a page")
        .with("field", "cursor")
        .hint("leave it out to begin with the first page")
}

/// Makes the cursor of the page behind a hit of a search; opaque to callers.
pub fn cursor_behind(rank: u32, id: &ComponentId) -> String {
    catalogue_schema::digest::hex(format!("{rank} {id}").as_bytes())
}

fn hit_cursor(text: &str) -> Result<(u32, ComponentId), Failure> {
    let read = |text: String| {
        let (rank, id) = text.split_once(' ')?;
        Some((rank.parse().ok()?, ComponentId::parse(id).ok()?))
    };
    unhexed(text).and_then(read).ok_or_else(no_cursor)
}

fn source_id(text: &str, field: &str) -> Result<SourceId, Failure> {
    SourceId::parse(text).map_err(|error| {
        Failure::of(Code::RequestInvalid, &error.in_field(field)).hint("resolverd sources lists them")
    })
}

fn question(wire: ResolveRequest) -> Result<Question, Failure> {
    if wire.materialize && wire.snapshot.is_some() {
        return Err(invalid("api.unsupported", "files are put on disk from the newest snapshot alone")
            .with("field", "snapshot")
            .hint("leave snapshot or materialize out"));
    }
    limited(wire.requests.len(), "requests")?;
    limited(wire.natives.len(), "natives")?;
    let mut warnings = Vec::new();
    if wire.target.as_ref().is_some_and(|target| !target.is_empty()) {
        let text = "target was given; nothing in the lcod dialect uses it, so it changed nothing";
        warnings.push(Warning::new("request.field_unused", text));
    }
    let (references, mut named) = requests(&wire.requests)?;
    let natives = wire.natives.iter().enumerate().map(|(index, text)| told_native(text, index));
    let natives = natives.collect::<Result<Vec<_>, Failure>>()?;
    let brought = natives.iter().filter_map(|(_, brought)| brought.clone()).collect();
    let natives = natives.into_iter().map(|(native, _)| Ok(native));
    let hosts = wire.platforms.iter().flatten().map(|(name, version)| host(name, version));
    let locked = wire.lock.unwrap_or_default();
    limited(locked.len(), "lock")?;
    let locked = locked.iter().enumerate().map(|(index, text)| {
        let fault = |error: ParseError| Failure::of_reference(&error.in_field(format!("lock[{index}]")));
        parse_release_id(text).map_err(fault)
    });
    let wishes = wishes(wire.overlay.unwrap_or_default(), &mut named)?;
    let request = Request {
        references,
        natives: hosted(natives.chain(hosts).collect::<Result<_, Failure>>()?)?,
        brought,
        prerelease: wire.prerelease,
        locked: locked.collect::<Result<_, _>>()?,
        overlay: resolve::overlay::Overlay::of(wishes.clone()).map_err(|error| of_overlay(&error))?,
        calls: None,
    };
    if named.len() > DIRECTS_MAX {
        let detail = format!("{} direct references; the limit is {DIRECTS_MAX}", named.len());
        return Err(Failure::new(Code::LimitExceeded, "api.directs", detail)
            .with("limit", DIRECTS_MAX)
            .with("found", named.len())
            .hint("publish a catalogue that lists them"));
    }
    let direct = (!named.is_empty()).then(|| Box::new(Direct { named, wishes }));
    let mirrors = files::mirrors(wire.mirrors.as_ref())?;
    let calls = Calls::parse(wire.calls.as_deref())?;
    let (refresh, materialize, is_offline) = (wire.refresh, wire.materialize, wire.offline);
    Ok(Question { request, refresh, materialize, calls, is_offline, warnings, mirrors, direct })
}

/// Reads what is asked for; direct references apart, with their positions.
fn requests(texts: &[RequestText]) -> Result<(Vec<Reference>, Vec<Named>), Failure> {
    let (mut references, mut named) = (Vec::with_capacity(texts.len()), Vec::new());
    for (position, text) in texts.iter().enumerate() {
        match text {
            RequestText::Reference(text) if text.starts_with(PREFIX) => {
                named.push(Named { at: At::Request(position), reference: files::direct(text)? });
            }
            text => references.push(reference(text, "requests", position)?),
        }
    }
    Ok((references, named))
}

/// Reads what is to be resolved and put on disk.
///
/// **Errors**: as for a resolve; R011 for what only a resolve can do.
fn closure(wire: ResolveRequest) -> Result<Question, Failure> {
    if wire.refresh || wire.snapshot.is_some() {
        let field = if wire.refresh { "resolve.refresh" } else { "resolve.snapshot" };
        return Err(invalid(
            "api.unsupported",
            format!("{field}: the newest snapshot says what is put on disk"),
        )
        .with("field", field)
        .hint("leave it out; POST /v1/resolve reads the sources again"));
    }
    question(wire)
}

/// Reads a project's wishes; the direct references among them are added to `named`.
///
/// **Errors**: R001 for an id, reference or pattern; R005 for too many of them.
fn wishes(wire: Overlay, named: &mut Vec<Named>) -> Result<Wishes, Failure> {
    let Overlay { replace, bindings, direct, allowlist, sources } = wire;
    for (id, spec) in fields(direct, "overlay.direct")? {
        let text = specified(&spec, "overlay.direct", &id)?;
        named.push(Named { reference: files::direct(&text)?, at: At::Own(id) });
    }
    let mut replaced = BTreeMap::new();
    for (id, spec) in fields(replace, "overlay.replace")? {
        let text = specified(&spec, "overlay.replace", &id)?;
        match text.starts_with(PREFIX) {
            true => named.push(Named { reference: files::direct(&text)?, at: At::Instead(id) }),
            false => drop(replaced.insert(id.clone(), spec_reference(&text, "overlay.replace", &id)?)),
        }
    }
    let mut bound = BTreeMap::new();
    for (id, spec) in fields(bindings, "overlay.bindings")? {
        let text = specified(&spec, "overlay.bindings", &id)?;
        bound.insert(id.clone(), spec_reference(&text, "overlay.bindings", &id)?);
    }
    let allowlist = allowlist.unwrap_or_default();
    limited(allowlist.len(), "overlay.allowlist")?;
    let allowed = allowlist.iter().map(|text| Allowed::parse(text).map_err(|error| of_overlay(&error)));
    let sources = sources.map(|sources| {
        limited(sources.len(), "overlay.sources")?;
        sources.iter().map(|text| source_id(text, "overlay.sources")).collect::<Result<_, _>>()
    });
    Ok(Wishes {
        replace: replaced,
        bindings: bound,
        allowed: allowed.collect::<Result<_, _>>()?,
        sources: sources.transpose()?,
    })
}

fn fields(
    specs: Option<BTreeMap<String, SpecText>>,
    field: &str,
) -> Result<Vec<(ComponentId, SpecText)>, Failure> {
    let specs = specs.unwrap_or_default();
    limited(specs.len(), field)?;
    let read = |(id, spec): (String, SpecText)| {
        let fault = |error: ParseError| Failure::of_reference(&error.in_field(format!("{field}.{id}")));
        Ok((ComponentId::parse(&id).map_err(fault)?, spec))
    };
    specs.into_iter().map(read).collect()
}

fn specified(spec: &SpecText, field: &str, id: &ComponentId) -> Result<String, Failure> {
    spec.text().map_err(|error| {
        Failure::of(Code::ReferenceInvalid, &error.in_field(format!("{field}.{id}"))).hint(DIRECT_HINT)
    })
}

fn spec_reference(text: &str, field: &str, id: &ComponentId) -> Result<Reference, Failure> {
    Reference::parse(text).map_err(|error| Failure::of_reference(&error.in_field(format!("{field}.{id}"))))
}

fn of_overlay(error: &ParseError) -> Failure {
    Failure::of(Code::ReferenceInvalid, error)
        .hint("correct the overlay, or the resolve.config.json that it comes from")
}

/// Reads what the host has: a name such as `estream`, or an id, and its version.
fn host(name: &str, version: &str) -> Result<Native, Failure> {
    let fault = |error: ParseError| Failure::of_reference(&error.in_field(format!("platforms.{name}")));
    let id = estream::platform(name).map_err(|error| match &*error.reason {
        "input.platform" => {
            fault(error).hint("{\"estream\": \"0.9.0\"} says which version of the kernel there is")
        }
        _ => fault(error),
    })?;
    let version = Version::parse(version)
        .map_err(|error| fault(error).hint("write the one version that there is, such as 0.9.0"))?;
    Ok(Native::Host(id, version))
}

/// Returns the one version of the kernel of eStream, which is the platform, that a native is; `None` for every other native.
fn kernel_version(native: &Reference) -> Option<Version> {
    let text = native.requirement.as_text();
    let version = || full(text).or_else(|| full(text.strip_prefix('=')?.trim_start()));
    if native.id.as_text() == estream::KERNEL { version() } else { None }
}

/// Reads a version that stands alone.
fn full(text: &str) -> Option<Version> {
    Version::parse(text).ok()
}

/// Leaves out natives of the kernel where its version is said: that one answers, and nothing else is taken for met.
///
/// **Errors**: R011 `api.platforms` where a native is a range that does not hold the version.
fn settle_kernel(natives: &mut Vec<Native>) -> Result<(), Failure> {
    let said = natives.iter().find_map(|native| match native {
        Native::Host(id, version) if id.as_text() == estream::KERNEL => Some(version.clone()),
        _ => None,
    });
    let Some(version) = said else { return Ok(()) };
    let is_range = |native: &Native| matches!(native, Native::Id(own) if own.id.as_text() == estream::KERNEL);
    for native in natives.iter() {
        if let Native::Id(own) = native
            && is_range(native)
            && !own.requirement.is_any()
            && !own.requirement.matches(&version)
        {
            let detail =
                format!("natives: expected {} to hold {version}, which platforms says, found {own}", own.id);
            return Err(Failure::new(Code::RequestInvalid, "api.platforms", detail)
                .with("field", "natives")
                .hint("leave the native out, or give the platform the version that the host has: in platforms, or below [platforms.estream] in config.toml"));
        }
    }
    natives.retain(|native| !is_range(native));
    Ok(())
}

/// Takes a native that is one version of the kernel for what the host has, and refuses two versions of one platform.
fn hosted(natives: Vec<Native>) -> Result<Vec<Native>, Failure> {
    let mut hosts: BTreeMap<ComponentId, Version> = BTreeMap::new();
    let mut all = Vec::with_capacity(natives.len());
    for native in natives {
        let native = match native {
            Native::Id(own) => match kernel_version(&own) {
                Some(version) => Native::Host(own.id, version),
                None => Native::Id(own),
            },
            native => native,
        };
        if let Native::Host(id, version) = &native
            && let Some(other) = hosts.insert(id.clone(), version.clone())
            && other != *version
        {
            let detail = format!("platforms: expected one version of {id}, found {other} and {version}");
            return Err(Failure::new(Code::RequestInvalid, "api.platforms", detail)
                .with("field", "platforms")
                .hint("estream and estream-kernel name one platform, and so does a native of that id: give it one version"));
        }
        all.push(native);
    }
    settle_kernel(&mut all)?;
    Ok(all)
}

fn limited(count: usize, field: &str) -> Result<(), Failure> {
    if count <= REFERENCES_MAX {
        return Ok(());
    }
    let detail = format!("{field} has {count} entries; the limit is {REFERENCES_MAX}");
    Err(Failure::new(Code::LimitExceeded, "api.references", detail)
        .with("limit", REFERENCES_MAX)
        .with("found", count))
}

fn reference(text: &RequestText, field: &str, index: usize) -> Result<Reference, Failure> {
    let parsed = match text {
        RequestText::Reference(text) => Reference::parse(text),
        RequestText::Parts(parts) => joined(&parts.id, parts.version.as_deref()),
    };
    parsed.map_err(|error| Failure::of_reference(&error.in_field(format!("{field}[{index}]"))))
}

/// Puts an id and the requirement on its version together.
fn joined(id: &str, version: Option<&str>) -> Result<Reference, ParseError> {
    let reference = Reference::parse(id)?;
    match (version, reference.requirement.is_any()) {
        (None, _) => Ok(reference),
        (Some(version), true) => VersionReq::parse(version, Grammar::Reference)
            .map(|requirement| Reference { id: reference.id, requirement })
            .map_err(|error| error.in_field("version")),
        (Some(_), false) => Err(ParseError::new(
            "input.reference",
            "one requirement: in the id or in version, not in both",
            id,
        )),
    }
}

/// Reads a native, and the schemas that come with it where that is said.
fn told_native(text: &NativeText, index: usize) -> Result<(Native, Option<Brought>), Failure> {
    let parts = match text {
        NativeText::Text(text) => return Ok((native(text, index)?, None)),
        NativeText::Parts(parts) => parts,
    };
    let field = format!("natives[{index}]");
    limited(parts.provides.len(), &format!("{field}.provides"))?;
    let reference = joined(&parts.id, parts.version.as_deref());
    let reference = reference.map_err(|error| Failure::of_reference(&error.in_field(field)))?;
    let brought = (!parts.provides.is_empty())
        .then(|| Brought { by: reference.clone(), schemas: parts.provides.clone() });
    Ok((Native::Id(reference), brought))
}

fn native(text: &str, index: usize) -> Result<Native, Failure> {
    let fault = |error: catalogue_schema::error::ParseError| {
        Failure::of_reference(&error.in_field(format!("natives[{index}]")))
    };
    if text.ends_with("/") || text.ends_with("/**") {
        Namespace::parse(text).map_err(fault)?;
        return Ok(Native::Prefix(text.trim_end_matches('*').to_owned()));
    }
    Reference::parse(text).map(Native::Id).map_err(fault)
}

fn explain(wire: ExplainRequest) -> Result<Query, Failure> {
    let ExplainRequest { id, natives, prerelease, snapshot, offline, mirrors } = wire;
    let mirrors = files::mirrors(mirrors.as_ref())?;
    let natives = natives.unwrap_or_default();
    limited(natives.len(), "natives")?;
    if id.starts_with(PREFIX) {
        let wanted = snapshot.as_deref().map(Wanted::parse).transpose()?;
        let fetched = Materialize { mirrors, ..Materialize::unheld(Vec::new(), offline.unwrap_or(false)) };
        return Ok(Query::ExplainDirect(Box::new((files::direct(&id)?, fetched))).at(wanted));
    }
    let reference = Reference::parse(&id).map_err(|error| Failure::of_reference(&error.in_field("id")))?;
    let natives = natives.iter().enumerate().map(|(index, text)| native(text, index));
    let wanted = snapshot.as_deref().map(Wanted::parse).transpose()?;
    let asked = Asked {
        reference,
        natives: natives.collect::<Result<_, _>>()?,
        prerelease: prerelease.unwrap_or(false),
    };
    Ok(Query::Explain(asked.into()).at(wanted))
}

fn lookup(wire: LookupRequest) -> Result<Query, Failure> {
    limited(wire.ids.len(), "ids")?;
    let wanted = wire.snapshot.as_deref().map(Wanted::parse).transpose()?;
    let read = |text: &String| Reference::parse(text).map_err(|error| Failure::of_reference(&error));
    Ok(Query::Lookup(wire.ids.iter().map(read).collect()).at(wanted))
}

fn sync(wire: &SyncRequest) -> Result<Query, Failure> {
    limited(wire.sources.len(), "sources")?;
    let read = |(index, text): (usize, &String)| source_id(text, &format!("sources[{index}]"));
    wire.sources.iter().enumerate().map(read).collect::<Result<_, _>>().map(Query::Sync)
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | 0)) {
        return Some(Cow::Borrowed(text));
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        match (first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                rest = behind;
            }
            (b'%', _) => return None,
            (byte, behind) => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn told(query: &Query) -> String {
        let release = |pointed: &Pointed| match &pointed.longer {
            None => format!("{}", pointed.reference),
            Some(longer) => format!("{} or {longer}", pointed.reference),
        };
        match query {
            Query::Component(id) => format!("component {id}"),
            Query::Versions(id) => format!("versions {id}"),
            Query::Release(pointed) => format!("release {}", release(pointed)),
            Query::Manifest(pointed) => format!("manifest {}", release(pointed)),
            Query::Components(selection) => format!(
                "{:?} {:?} {:?} {} {:?}",
                selection.prefix, selection.source, selection.kind, selection.limit, selection.after
            ),
            Query::Sync(sources) => format!("sync {}", sources.len()),
            Query::At(wanted, query) => format!("{} at {}", told(query), wanted.as_text()),
            Query::SnapshotsDiff(Diff { from, to, limit, after }) => {
                let to = to.as_ref().map_or("now", Wanted::as_text);
                format!("{} to {to} {limit} {}", from.as_text(), after.is_some())
            }
            other => format!("{other:?}"),
        }
    }

    fn check(target: &str, expected: &str) {
        let found = match route(&Call::get(target)) {
            Ok(query) => told(&query),
            Err(failure) => {
                format!("{} {} {}", failure.problem(None)["status"], failure.code.row().text, failure.reason)
            }
        };
        assert_eq!(found, expected, "{target}");
    }

    #[test]
    fn every_form_of_an_id_is_read() {
        check(
            "/v1/components/lcod%3A%2F%2Ftooling%2Farray%2Fappend",
            "component lcod://tooling/array/append",
        );
        check("/v1/components/lcod%3a%2f%2fa%2fb/versions", "versions lcod://a/b");
        check("/v1/components/lcod%3A%2F%2Fa%2Fb/latest", "release lcod://a/b");
        check("/v1/components/lcod%3A%2F%2Fa%2Fb/%5E0.1", "release lcod://a/b@^0.1");
        check("/v1/components/lcod%3A%2F%2Fa%2Fb/%3E%3D1%2C%3C2/manifest", "manifest lcod://a/b@>=1,<2");
        check("/v1/components/lcod%3A%2F%2Fa%2F1.0.0", "component lcod://a/1.0.0");
        check("/v1/components/lcod/tooling/array/append", "component lcod://tooling/array/append");
        check("/v1/components/lcod/tooling/array/versions", "versions lcod://tooling/array");
        check("/v1/components/lcod/a/b/1.0.0", "release lcod://a/b@1.0.0 or lcod://a/b/1.0.0");
        check("/v1/components/lcod/a/b/latest", "release lcod://a/b or lcod://a/b/latest");
        check("/v1/components/lcod/a/b/%5E0.1", "release lcod://a/b@^0.1");
        check("/v1/components/lcod/a/b/v2/manifest", "manifest lcod://a/b@v2");
        check("/v1/components/lcod/a/1.0.0", "component lcod://a/1.0.0");
        check("/v1/components/lcod/a/2d", "component lcod://a/2d");
        check("/v1/components/lcod/a/b/manifest", "400 R011 api.ambiguous");
        check("/v1/components/estream/esf-trading/1.0.0", "release estream:esf-trading@1.0.0");
        check("/v1/components/estream/@pub/name", "component estream:@pub/name");
        check("/v1/components/stellar/stellar-source", "component flowctl:stellar/stellar-source");
        check("/v1/components/stellar/stellar-source/1.2.0", "release flowctl:stellar/stellar-source@1.2.0");
    }

    #[test]
    fn what_no_route_means_is_refused() {
        check("/v1/nothing", "404 R011 api.route");
        check("/", "404 R011 api.route");
        check("/v1/components/", "404 R011 api.route");
        check("/v1/resolve", "405 R011 api.method");
        check("/v1/components/lcod/a/search", "404 R011 api.route");
        check("/v1/components/lcod/a/b/1.0.0/download", "404 R011 api.route");
        check("/v1/components/lcod%3A%2F%2Fa%2Fb/1.0.0/download", "404 R011 api.route");
        check("/v1/components/lcod%3A%2F%2Fa%2Fb/1.0.0/other", "404 R011 api.route");
        check("/v1/components/lcod", "400 R011 api.path");
        check("/v1/components/lcod/A/b", "400 R001 input.id");
        check("/v1/components/lcod//b", "400 R011 api.path");
        check("/v1/components/lcod/..%2F..%2Fetc/b", "400 R011 api.path");
        check("/v1/components/lcod%3A%2F%2F..%2Fb", "400 R001 input.id");
        check("/v1/components/lcod/%zz/b", "400 R011 api.encoding");
        check("/v1/components/lcod/%ff/b", "400 R011 api.encoding");
        check("/v1/components/lcod%3A%2F%2Fa%2Fb/1%20%7C%7C%202", "400 R001 input.requirement");
        check("/v1/sources?x=1", "400 R011 api.parameter");
    }

    #[test]
    fn lists_are_selected_by_known_parameters_only() {
        check("/v1/components", "None None None 100 None");
        check(
            "/v1/components?namespace=lcod%3A%2F%2Fa%2F**&type=contract&source=x&limit=5",
            "Some(\"lcod://a/\") Some(SourceId(\"x\")) Some(\"contract\") 5 None",
        );
        let cursor = cursor_after(&ComponentId::parse("lcod://a/b").unwrap());
        check(&format!("/v1/components?cursor={cursor}"), "None None None 100 Some(lcod://a/b)");
        check("/v1/components?limit=0", "400 R011 api.parameter");
        check("/v1/components?limit=1001", "400 R011 api.parameter");
        check("/v1/components?cursor=zz", "400 R011 api.parameter");
        check("/v1/components?colour=red", "400 R011 api.parameter");
        check("/v1/components?limit=1&limit=2", "400 R011 api.parameter");
        check("/v1/components?kind=a&type=b", "400 R011 api.parameter");
        check("/v1/components?namespace=tooling", "400 R011 input.namespace");
    }

    #[test]
    fn reads_say_which_snapshot_they_ask() {
        let digest = Digest::sha256(b"x").to_string();
        check(&format!("/v1/sources?snapshot={digest}"), &format!("Sources at {digest}"));
        check("/v1/components/lcod/a/b?snapshot=0123456789ab", "component lcod://a/b at sha256:0123456789ab");
        check(
            "/v1/components?limit=5&snapshot=sha256%3A0123456789ab&kind=x",
            "None None Some(\"x\") 5 None at sha256:0123456789ab",
        );
        check("/v1/components/lcod/a/b/1.0.0?snapshot=0123456789ab&x=1", "400 R011 api.parameter");
        check("/v1/components?snapshot=0123456789ab&snapshot=0123456789ab", "400 R011 api.parameter");
        for bad in
            ["", "0123456789a", "sha256:", "sha512:0123456789ab", "0123456789AB", "latest", "0123456789ag"]
        {
            check(&format!("/v1/catalogues?snapshot={bad}"), "400 R011 api.snapshot");
        }
        check(&format!("/v1/catalogues?snapshot={digest}0"), "400 R011 api.snapshot");
        check("/v1/catalogues?snapshot", "400 R011 api.snapshot");
        check("/v1/catalogues?snapshot=%zz", "400 R011 api.encoding");
        for process in ["/v1/health", "/v1/stats", "/metrics", "/v1/events", "/v1/snapshots", "/livez"] {
            check(&format!("{process}?snapshot={digest}"), "400 R011 api.parameter");
        }
        let post = |target: &str, body: Value| told(&route(&Call::post(target, &body)).unwrap());
        let lookup = post("/v1/lookup", json!({"ids": [], "snapshot": "0123456789ab"}));
        assert_eq!(lookup, "Lookup([]) at sha256:0123456789ab");
        let resolve = post("/v1/resolve", json!({"requests": [], "snapshot": digest}));
        assert!(resolve.ends_with(&format!(" at {digest}")), "{resolve}");
        let body = |route: &str| match route {
            "resolve" => json!({"requests": []}),
            "lookup" => json!({"ids": []}),
            _ => json!({"id": "lcod://a/b"}),
        };
        for name in ["resolve", "lookup", "explain"] {
            let target = format!("/v1/{name}?snapshot=0123456789ab");
            let asked = post(&target, body(name));
            assert!(asked.ends_with(" at sha256:0123456789ab"), "{asked}");
            let mut twice = body(name);
            twice["snapshot"] = json!("0123456789ab");
            let failure = route(&Call::post(&target, &twice)).unwrap_err();
            assert_eq!((failure.code, &*failure.reason), (Code::RequestInvalid, "api.parameter"), "{name}");
        }
    }

    #[test]
    fn a_comparison_names_one_or_two_snapshots() {
        let (one, two) = ("sha256:0123456789ab", "sha256:ba9876543210");
        check(&format!("/v1/snapshots/diff?from={one}"), &format!("{one} to now 100 false"));
        let cursor = cursor_after(&ComponentId::parse("lcod://a/b").unwrap());
        check(
            &format!("/v1/snapshots/diff?from={one}&to={two}&limit=7&cursor={cursor}"),
            &format!("{one} to {two} 7 true"),
        );
        check("/v1/snapshots/diff", "400 R011 api.parameter");
        check(&format!("/v1/snapshots/diff?to={one}"), "400 R011 api.parameter");
        check(&format!("/v1/snapshots/diff?from={one}&from={two}"), "400 R011 api.parameter");
        check(&format!("/v1/snapshots/diff?from={one}&x=1"), "400 R011 api.parameter");
        check("/v1/snapshots/diff?from=7", "400 R011 api.snapshot");
        check("/v1/snapshots/other", "404 R011 api.route");
    }

    #[test]
    fn every_question_knows_its_route() {
        for row in ROUTES {
            let one = "from=sha256:0123456789ab";
            let target = match row.operation {
                Operation::SnapshotsDiff => format!("{}?{one}", row.pattern),
                _ => row.pattern.replace("{id}", "lcod%3A%2F%2Fa%2Fb").replace("{version}", "1.0.0"),
            };
            let call = match row.method {
                "GET" => Call::get(target),
                _ if matches!(row.operation, Operation::Lookup) => Call::post(target, &json!({"ids": []})),
                _ if matches!(row.operation, Operation::Resolve) => {
                    Call::post(target, &json!({"requests": []}))
                }
                _ => Call { method: "POST", target, body: Vec::new() },
            };
            // Routes whose bodies are not known here are tried without one, and refuse it.
            if let Ok(query) = route(&call) {
                assert_eq!(query.operation(), row.operation, "{}", row.pattern);
            }
        }
    }

    #[test]
    fn configured_hosts_stand_in_where_a_question_names_none() {
        let host = |name: &str, version: &str| host(name, version).unwrap();
        let check = |body: Value, expected: &[&str]| {
            let query = route(&Call::post("/v1/resolve", &body)).unwrap();
            let query = query.on(&[host("estream", "0.9.0"), host("lcod://kernel/rs", "1.0.0")]).unwrap();
            let Query::Resolve(question) = query.inner() else { panic!("another question") };
            let told = question.request.natives.iter().map(|native| match native {
                Native::Host(id, version) => format!("{id} {version}"),
                other => format!("{other:?}"),
            });
            assert_eq!(told.collect::<Vec<String>>(), expected);
        };
        let requests = json!(["lcod://a/b"]);
        let (kernel, rust) = ("estream:estream-kernel 0.9.0", "lcod://kernel/rs 1.0.0");
        check(json!({ "requests": requests }), &[kernel, rust]);
        check(
            json!({ "requests": requests, "platforms": { "lcod://kernel/rs": "2.0.0" } }),
            &["lcod://kernel/rs 2.0.0", kernel],
        );
        check(
            json!({ "requests": requests, "platforms": { "estream-kernel": "1.0.0" } }),
            &["estream:estream-kernel 1.0.0", rust],
        );
        check(
            json!({ "requests": requests, "natives": ["estream:estream-kernel@0.1.0"] }),
            &["estream:estream-kernel 0.1.0", rust],
        );
        // A native of the kernel undoes no version that is said.
        let with = |native: &str| json!({ "requests": requests, "natives": [native] });
        check(with("estream:estream-kernel@=0.1.0"), &["estream:estream-kernel 0.1.0", rust]);
        for native in ["estream:estream-kernel", "estream:estream-kernel@^0.9"] {
            check(with(native), &[kernel, rust]);
            let mut body = with(native);
            body["platforms"] = json!({ "estream": "0.9.0" });
            check(body, &[kernel, rust]);
        }
        let query = |body: Value| {
            let query = route(&Call::post("/v1/resolve", &body))?;
            query.on(&[host("estream", "0.9.0")])
        };
        let native = "estream:estream-kernel@^0.7";
        let refused = query(json!({ "requests": requests, "natives": [native] })).unwrap_err();
        assert_eq!((refused.code, &*refused.reason), (Code::RequestInvalid, "api.platforms"), "{refused:?}");
        let body = json!({ "requests": requests, "natives": [native], "platforms": { "estream": "0.7.1" } });
        assert!(query(body).is_ok(), "what the question says of its platform counts");
        let body = json!({ "requests": requests, "natives": [native], "platforms": { "estream": "0.8.0" } });
        assert_eq!(query(body).unwrap_err().reason, "api.platforms");
    }

    #[test]
    fn what_a_resolve_is_asked_is_read_whole_or_refused() {
        let check = |body: Value, expected: &str| {
            let found = match route(&Call::post("/v1/resolve", &body)) {
                Ok(Query::Resolve(question)) => format!(
                    "{} {} {}",
                    question.request.references.len(),
                    question.request.natives.len(),
                    question.warnings.len()
                ),
                Ok(other) => format!("{other:?}"),
                Err(failure) => {
                    let field = failure.context.get("field").unwrap_or(&Value::Null);
                    format!("{} {field}", failure.code.row().text)
                }
            };
            assert_eq!(found, expected, "{body}");
        };
        let with = |field: &str, value: Value| {
            let mut body = json!({"requests": ["lcod://a/b@^1"]});
            body[field] = value;
            body
        };
        check(with("lock", Value::Null), "1 0 0");
        check(with("lock", json!({})), "R011 null");
        check(with("lock", json!(["lcod://a/b@1.0.0"])), "1 0 0");
        check(with("lock", json!(["lcod://a/b@^1"])), "R001 \"lock[0]\"");
        check(with("materialize", json!(true)), "1 0 0");
        let kept =
            json!({"requests": ["lcod://a/b"], "materialize": true, "snapshot": "sha256:0123456789ab"});
        check(kept, "R011 \"snapshot\"");
        check(
            with("overlay", json!({"replace": {}, "bindings": {}, "allowlist": [], "sources": null})),
            "1 0 0",
        );
        let overlay = |name: &str, value: Value| with("overlay", json!({name: value}));
        let two = json!({"lcod://a/b": "lcod://c/d@^2", "lcod://a/c": {"id": "lcod://c/d", "version": "1"}});
        check(overlay("replace", two.clone()), "1 0 0");
        check(overlay("bindings", two), "1 0 0");
        check(
            overlay("replace", json!({"lcod://a/b": "nothing at all"})),
            "R001 \"overlay.replace.lcod://a/b\"",
        );
        check(overlay("replace", json!({"lcod://a/b": {"type": "path"}})), "R011 null");
        check(overlay("bindings", json!({"lcod://a/b": "lcod://a/b"})), "R001 null");
        let direct = format!("git+https://e.org/r@{}#x", "0123456789abcdef".repeat(4).get(..40).unwrap());
        check(overlay("direct", json!({"lcod://a/b": direct})), "1 0 0");
        check(overlay("replace", json!({"lcod://a/b": direct})), "1 0 0");
        check(overlay("bindings", json!({"lcod://a/b": direct})), "R001 \"overlay.bindings.lcod://a/b\"");
        check(overlay("direct", json!({"lcod://a/b": "lcod://a/b"})), "R001 null");
        check(overlay("direct", json!({"a b": direct})), "R001 \"overlay.direct.a b\"");
        let table = json!({"type": "git", "url": "https://e.org/r", "rev": "main", "path": "x"});
        check(overlay("direct", json!({"lcod://a/b": table})), "R001 \"overlay.direct.lcod://a/b.commit\"");
        check(json!({"requests": ["lcod://a/b", direct]}), "1 0 0");
        check(json!({"requests": [{"id": direct}]}), "R001 \"requests[0]\"");
        check(json!({"requests": vec![direct; DIRECTS_MAX + 1]}), "R005 null");
        check(with("mirrors", json!({"https://a.example": "https://b.example"})), "1 0 0");
        check(with("mirrors", Value::Null), "1 0 0");
        check(with("mirrors", json!({"https://a.example": "http://b.example"})), "R011 \"mirrors\"");
        check(overlay("allowlist", json!(["lcod://a/", "lcod://a/b*"])), "1 0 0");
        check(overlay("allowlist", json!(["*a"])), "R001 null");
        check(overlay("sources", json!([])), "1 0 0");
        check(overlay("sources", json!(["a b"])), "R011 \"overlay.sources\"");
        check(with("platforms", json!({"estream": "0.9.0"})), "1 1 0");
        check(with("platforms", json!({"estream": "new"})), "R001 \"platforms.estream\"");
        check(with("platforms", json!({"estream": "0.9.0", "estream-kernel": "0.9.0"})), "1 2 0");
        let two = json!({"estream": "0.9.0", "estream-kernel": "1.0.0"});
        check(with("platforms", two), "R011 \"platforms\"");
        check(with("platforms", json!({"lcod://kernel/rs": "1.0.0"})), "1 1 0");
        for unknown in ["kernel", "esf-x", "estream-kernel@1", "lcod://kernel/rs@1"] {
            let expected = format!("R001 \"platforms.{unknown}\"");
            check(with("platforms", json!({ unknown: "1.0.0" })), &expected);
        }
        check(with("target", json!({"language": "go"})), "1 0 1");
        check(with("natives", json!(["lcod://contract/", "lcod://axiom/**", "lcod://a/b@1"])), "1 3 0");
        check(with("natives", json!(["contract/"])), "R001 \"natives[0]\"");
        check(with("snapshot", json!("sha256:12")), "R011 \"snapshot\"");
        check(with("snapshot", Value::Null), "1 0 0");
        check(json!({"requests": ["lcod://a/b", "lcod://A/b"]}), "R001 \"requests[1]\"");
        check(json!({"requests": [{"id": "lcod://a/b@1", "version": "2"}]}), "R001 \"requests[0]\"");
        check(
            json!({"requests": [{"id": "lcod://a/b", "version": "1 || 2"}]}),
            "R001 \"requests[0].version\"",
        );
    }

    #[test]
    fn methods_and_bodies_are_held_to_the_table() {
        assert_eq!(methods("/v1/sync"), ["POST"]);
        assert_eq!(methods("/v1/components/lcod/a/b"), ["GET"]);
        assert!(methods("/v2").is_empty());
        let post = |target: &str, body: &str| {
            route(&Call { method: "POST", target: target.into(), body: body.into() })
                .map(|query| told(&query))
        };
        assert_eq!(post("/v1/sync", "").unwrap(), "sync 0");
        assert_eq!(post("/v1/sync", r#"{"sources": ["a"]}"#).unwrap(), "sync 1");
        assert_eq!(post("/v1/sync", r#"{"sources": ["A"]}"#).unwrap_err().context["field"], "sources[0]");
        assert_eq!(post("/v1/reload", "").unwrap(), "Reload");
        assert!(post("/v1/reload", "[]").is_err());
        let many = json!({"ids": vec!["a/b"; REFERENCES_MAX + 1]});
        let failure = route(&Call::post("/v1/lookup", &many)).unwrap_err();
        assert_eq!(
            (failure.code, failure.problem(None)["status"].as_u64()),
            (Code::LimitExceeded, Some(413))
        );
        let get = Call { method: "GET", target: "/livez".into(), body: b"x".to_vec() };
        assert_eq!(route(&get).unwrap_err().reason, "api.body");
    }

    #[test]
    fn encoding_and_decoding_agree() {
        for text in ["lcod://tooling/array/append", "^0.1, <2", "é%2F", ""] {
            assert_eq!(decoded(&crate::api::encoded(text)).as_deref(), Some(text));
        }
        assert_eq!(decoded("%"), None);
        assert_eq!(decoded("%0"), None);
        assert_eq!(decoded("%00"), None);
    }
}
