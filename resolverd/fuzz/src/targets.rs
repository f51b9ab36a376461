//! What the fuzzing targets do with bytes: each reader of foreign bytes is given them, and what it takes must hold its promises.
//!
//! cargo-fuzz drives these functions with chosen bytes, and `tests/fuzz.rs` with mutated samples in every run of the tests, so
//! that they are known to work where no fuzzer is at hand. A function panics where a promise is broken; it never touches the
//! network, and the disk only in a temporary directory, where a reader reads files or a socket.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::io::Write as _;
use std::net::Shutdown;
use std::ops::ControlFlow;
use std::os::unix::net::UnixListener;
use std::path::Path;

use catalogue_schema::compose::{Target as CallTarget, calls};
use catalogue_schema::dialect::estream::component::{Reading, Written, read as read_component};
use catalogue_schema::dialect::estream::outline;
use catalogue_schema::dialect::lcod::convert::{FORMATS, convert};
use catalogue_schema::dialect::{self, Errand, Received};
use catalogue_schema::digest::{Digest, Hashed};
use catalogue_schema::documents::Documents;
use catalogue_schema::error::{FOUND_CHARS_MAX, ParseError, Position, escaped};
use catalogue_schema::filter::Filter;
use catalogue_schema::forge::{ForgePattern, Forges};
use catalogue_schema::generation::{DocumentRecord, Generation};
use catalogue_schema::id::{ComponentId, Namespace, Reference, SourceId, parse_release_id};
use catalogue_schema::json;
use catalogue_schema::key::{PrivateKey, PublicKey};
use catalogue_schema::keyset::Keyset;
use catalogue_schema::lockfile::Lock;
use catalogue_schema::model::Trust;
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::{CommitId, HttpsUrl, LocalPath, RefName, SshUrl};
use catalogue_schema::policy::Policy;
use catalogue_schema::project::{Overrides as ProjectOverrides, ProjectFile};
use catalogue_schema::signature::{SignatureFile, Statement, Usage};
use catalogue_schema::sources;
use catalogue_schema::version::{Grammar, Version, VersionReq};
use resolverd::api::Call;
use resolverd::client::Client;
use resolverd::config::{Overrides, Settings};
use resolverd::estream::package::include::{Glob, Globs};
use resolverd::fetch::{object, probe};
use resolverd::materialize::archive::write::tar_gz;
use resolverd::materialize::archive::{self, Bounds};
use resolverd::server::route::route;
use resolverd::shelf::Shelf;
use resolverd::store;
use resolverd::store::audit::verify;
use resolverd::store::first_seen::FirstSeen;
use resolverd::trust::signature::{KeyRing, check, is_weak};

/// A target: takes any bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also its file in `fuzz_targets/` and its folder of seeds.
pub const TARGETS: &[(&str, Target)] = &[
    ("strict_json", strict_json),
    ("node_https", node_https),
    ("node_git", node_git),
    ("node_file", node_file),
    ("manifest", manifest),
    ("descriptor", descriptor),
    ("conversion", conversion),
    ("sources_file", sources_file),
    ("generation", generation),
    ("ids", ids),
    ("versions", versions),
    ("pointers", pointers),
    ("forges", forges),
    ("filters", filters),
    ("requests", requests),
    ("git_objects", git_objects),
    ("git_pack", git_pack),
    ("git_loose", git_loose),
    ("git_wire", git_wire),
    ("escapes", escapes),
    ("keys", keys),
    ("signatures", signatures),
    ("policy", policy),
    ("keysets", keysets),
    ("config_file", config_file),
    ("shelf_pack", shelf_pack),
    ("pack_heads", pack_heads),
    ("pack_index", pack_index),
    ("answers", answers),
    ("digests", digests),
    ("store_row", store_row),
    ("first_seen", first_seen),
    ("audit_log", audit_log),
    ("documents_list", documents_list),
    ("lockfile", lockfile),
    ("project_files", project_files),
    ("archives", archives),
    ("compose", compose),
    ("component", component),
];

const COMMIT: &str = "4a569e82930c784d2b4f2a40a39e85daea774a80";

/// What the strict reader takes, serde_json takes, and it is the same text again.
pub fn strict_json(bytes: &[u8]) {
    match json::check(bytes) {
        Ok(text) => {
            let value: serde_json::Value = serde_json::from_str(text).expect("what was checked is JSON");
            assert!(json::check(value.to_string().as_bytes()).is_ok(), "what was checked is written well");
        }
        Err(error) => one_line(&error),
    }
}

/// An entry document that is served over https.
pub fn node_https(bytes: &[u8]) {
    node(bytes, r#"{"type":"https","url":"https://raw.githubusercontent.com/o/r/main/catalogues.json"}"#);
}

/// An entry document in a Git repository.
pub fn node_git(bytes: &[u8]) {
    let entry =
        format!(r#"{{"type":"git","url":"https://example.org/r","subpath":"c.json","commit":"{COMMIT}"}}"#);
    node(bytes, &entry);
}

/// An entry document in a local file.
pub fn node_file(bytes: &[u8]) {
    node(bytes, r#"{"type":"file","path":"/srv/registry/catalogues.json"}"#);
}

/// The manifest of a release.
pub fn manifest(bytes: &[u8]) {
    let catalogue = r#"{"schema":"lcod-registry/catalogue@1","id":"a/b","components":[{"id":"lcod://acme/billing/invoice","versions":[{"version":"0.1.0","manifest":"m.json"}]}]}"#;
    below(catalogue, bytes);
}

/// The descriptor of a release, `lcp.toml`.
pub fn descriptor(bytes: &[u8]) {
    below(r#"[{"id":"lcod://tooling/text/slug@0.1.0","composePath":"c/compose.yaml"}]"#, bytes);
}

/// A document in every other form: what comes out is read again.
pub fn conversion(bytes: &[u8]) {
    for format in FORMATS {
        match convert(bytes, format) {
            Ok(_) => {}
            Err(error) => one_line(&error),
        }
    }
}

/// The operator's list of sources.
pub fn sources_file(bytes: &[u8]) {
    match sources::read(bytes, Path::new("/srv"), &Forges::default()) {
        Ok(read) => read.iter().for_each(written_and_read),
        Err(error) => one_line(&error),
    }
}

/// The file of a generation.
pub fn generation(bytes: &[u8]) {
    if let Ok(found) = serde_json::from_slice::<Generation>(bytes) {
        let _ = serde_json::to_string(&found).expect("what was read is written");
    }
}

/// References, component ids, release ids, namespaces and source ids.
pub fn ids(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    printed(text, ComponentId::parse);
    printed(text, Reference::parse);
    printed(text, Namespace::parse);
    printed(text, SourceId::parse);
    if let Ok((id, version)) = parse_release_id(text) {
        assert_eq!(parse_release_id(&format!("{id}@{version}")), Ok((id, version)));
    }
}

/// Versions and requirements: a requirement is never undecided, and its text means the same again.
pub fn versions(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (first, second) = text.split_once('\n').unwrap_or((text, "1.2.3"));
    printed(first, Version::parse);
    let Ok(version) = Version::parse(second) else { return };
    for grammar in [Grammar::Reference, Grammar::Caret] {
        if let Ok(requirement) = VersionReq::parse(first, grammar) {
            let again = VersionReq::parse(&requirement.to_string(), grammar).expect("its own text");
            assert_eq!(requirement.matches(&version), again.matches(&version), "{first:?}");
        }
    }
}

/// URLs, paths, refs, commits and digests.
pub fn pointers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    printed(text, HttpsUrl::parse);
    printed(text, SshUrl::parse);
    printed(text, LocalPath::parse);
    printed(text, RefName::parse);
    printed(text, CommitId::parse);
    printed(text, Digest::parse);
    printed(text, DocPath::parse);
    if let Ok(path) = DocPath::parse(text) {
        let climbs = path.to_string().split('/').any(|segment| matches!(segment, "" | "." | ".."));
        assert!(!climbs, "{text:?} leaves its tree");
    }
}

/// File URLs of forges, and the operator's patterns: `file`, `repository` and `url` on a line each.
pub fn forges(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.lines();
    let [file, repository, url] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let patterns = ForgePattern::parse(file, repository).into_iter().collect();
    for forges in [Forges::default(), Forges::new(patterns)] {
        for url in [file, url].into_iter().filter_map(|url| HttpsUrl::parse(url).ok()) {
            let _ = forges.file(&url);
            let commit = CommitId::parse(COMMIT).expect("a commit id");
            let _ = forges.at_commit(&url, &commit);
        }
    }
}

/// Filters: namespace, package, version, an id and a version on a line each.
pub fn filters(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.lines().map(|line| Some(line).filter(|line| !line.is_empty()));
    let [namespace, package, version, id, release] = [(); 5].map(|()| lines.next().flatten());
    let Ok(filter) = Filter::parse(namespace, package, version) else { return };
    let id = id.and_then(|id| ComponentId::parse(id).ok());
    let release = release.and_then(|release| Version::parse(release).ok());
    if let (Some(id), Some(release)) = (id, release) {
        let both = filter.and(&filter);
        assert_eq!(filter.admits(&id, &release, package), both.admits(&id, &release, package));
    }
}

/// A request of the socket: the target on the first line, the body behind it.
pub fn requests(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (target, body) = bytes.split_at(end);
    let Ok(target) = std::str::from_utf8(target) else { return };
    for method in ["GET", "POST", ""] {
        let body = body.get(1..).unwrap_or_default().to_vec();
        if let Err(failure) = route(&Call { method, target: target.to_owned(), body }) {
            assert!((400..500).contains(&failure.reply(None).status), "{target:?}: {failure}");
        }
    }
}

/// Trees, commits and tags of Git.
pub fn git_objects(bytes: &[u8]) {
    let _ = (object::parse_commit(bytes), object::parse_parents(bytes), object::parse_tag(bytes));
    if let Ok(tree) = object::Tree::parse(bytes) {
        for entry in tree.entries() {
            let _ = (entry.describe(), entry.kind());
        }
        let _ = (tree.find("catalogues.json"), tree.find(".git"));
    }
}

/// A pack that a remote sent.
pub fn git_pack(bytes: &[u8]) {
    probe::pack(bytes);
}

/// A loose object's file.
pub fn git_loose(bytes: &[u8]) {
    probe::loose(bytes);
}

/// What a remote answers in protocol v2: capabilities, refs, and a fetch.
pub fn git_wire(bytes: &[u8]) {
    probe::wire(bytes);
}

/// Foreign text as it is shown: one line, short, with nothing that moves a cursor or reorders.
pub fn escapes(bytes: &[u8]) {
    let shown = escaped(&String::from_utf8_lossy(bytes));
    // The longest escape is of six digits: `\u{10ffff}`.
    assert!(shown.len() <= FOUND_CHARS_MAX * 10 + 3, "{} bytes", shown.len());
    assert!(shown.chars().all(|c| matches!(c, ' '..='~' | '…') || c.is_alphanumeric()), "{shown:?}");
}

/// The operator's configuration: what is wrong is said without a character that moves a cursor.
pub fn config_file(bytes: &[u8]) {
    let place = tempfile::tempdir().expect("a directory");
    let config = place.path().join("config.toml");
    put(&config, bytes);
    let overrides = Overrides { config: Some(config), ..Overrides::default() };
    let home = |name: &str| (name == "HOME").then(|| "/h".to_owned());
    match Settings::load(&overrides, &home) {
        Ok(settings) => drop(settings.admin_gid()),
        Err(error) => assert!(!error.to_string().is_empty(), "an error says something"),
    }
}

/// A pack of the shelf in which `bytes` stand at a place that the first two of them name: nothing but the document that was kept
/// ever comes out under its digest.
pub fn shelf_pack(bytes: &[u8]) {
    let documents = [b"one document".to_vec(), b"{}".to_vec(), vec![b'x'; 300]];
    shelf_with(documents.into(), "pack", |content| put_into(content, 0, bytes));
}

/// The heads beside a pack, in which `bytes` stand like that behind their checksum, which is right: as above.
pub fn pack_heads(bytes: &[u8]) {
    let documents = (0..80).map(|at| format!("document {at}").into_bytes());
    shelf_with(documents.collect(), "heads", |content| {
        let behind = content.iter().position(|byte| *byte == b'\n').expect("heads begin with a line") + 5;
        put_into(content, behind, bytes);
        let sum = crc32fast::hash(&content[behind..]).to_be_bytes();
        content[behind - 4..behind].copy_from_slice(&sum);
    });
}

/// Puts `bytes` in the place of others, at a place behind `start` that the first two of them name.
fn put_into(content: &mut Vec<u8>, start: usize, bytes: &[u8]) {
    let [high, low, rest @ ..] = bytes else { return };
    let at = start + usize::from(u16::from_be_bytes([*high, *low])) % (content.len() - start + 1);
    let end = content.len().min(at + rest.len());
    content.splice(at..end, rest.iter().copied());
}

/// Keeps documents, changes what lies in the files whose names end so, and reads all of them.
fn shelf_with(documents: Vec<Vec<u8>>, extension: &str, change: impl Fn(&mut Vec<u8>)) {
    let place = tempfile::tempdir().expect("a directory");
    let kept: Vec<(Digest, Vec<u8>)> = documents.into_iter().map(|one| (Digest::sha256(&one), one)).collect();
    Shelf::open(place.path()).and_then(|shelf| shelf.keep(&kept)).expect("kept");
    let packs = std::fs::read_dir(place.path().join("shelf/packs")).expect("a shelf has packs");
    let files = packs.map(|entry| entry.expect("an entry").path());
    let mut files = files.filter(|path| path.extension().is_some_and(|one| one == extension)).peekable();
    assert!(files.peek().is_some(), "no file of that kind was written");
    for file in files {
        let mut content = std::fs::read(&file).expect("read");
        change(&mut content);
        put(&file, content);
    }
    for shelf in [Shelf::to_read(place.path()), Shelf::open(place.path())].into_iter().flatten() {
        for (digest, document) in &kept {
            if let Ok(Some(found)) = shelf.read(digest) {
                assert_eq!(&found, document, "another document under its digest");
            }
        }
    }
}

/// A pack and its index, as a local repository has them: the length of the index as eight hexadecimal digits, the index, the pack.
pub fn pack_index(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return };
    let length = std::str::from_utf8(length).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
    let (index, pack) = rest.split_at(length.unwrap_or(rest.len() / 2).min(rest.len()));
    let place = tempfile::tempdir().expect("a directory");
    put(place.path().join("pack-0.idx"), index);
    put(place.path().join("pack-0.pack"), pack);
    // Names stand behind the magic and a table of 256 numbers.
    let names = index.get(8 + 256 * 4..).unwrap_or_default().chunks_exact(20).take(4);
    let mut ids: Vec<[u8; 20]> = names.filter_map(|name| name.try_into().ok()).collect();
    ids.extend([[0; 20], [0xff; 20]]);
    probe::packed(place.path(), &ids);
}

/// Puts a file where a reader finds it.
fn put(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let mut file = std::fs::File::create(path).expect("made");
    file.write_all(bytes.as_ref()).expect("written");
}

/// What a daemon answers, as the client reads it: one reply, and a stream of events.
pub fn answers(bytes: &[u8]) {
    // More than a socket holds would have to be written by somebody else while the client reads.
    let bytes = &bytes[..bytes.len().min(1 << 15)];
    let place = tempfile::tempdir().expect("a directory");
    let socket = place.path().join("s");
    let listener = UnixListener::bind(&socket).expect("bound");
    let connected = || {
        let client = Client::connect(&socket).expect("connected");
        let (mut daemon, _) = listener.accept().expect("accepted");
        daemon.write_all(bytes).expect("written");
        daemon.shutdown(Shutdown::Write).expect("shut down");
        (client, daemon)
    };
    let (mut client, _daemon) = connected();
    match client.call(&Call::get("/v1/health")) {
        Ok(reply) => assert!(reply.body.len() <= bytes.len(), "more than was sent"),
        Err(error) => assert!(!error.failure().detail.is_empty(), "an error says something"),
    }
    let (mut client, _daemon) = connected();
    let _ = client.follow(&Call::get("/v1/events"), &mut |_: &str| ControlFlow::Continue(()));
}

/// Digests in every spelling: what is taken has the bytes of its algorithm, and is printed as the same.
pub fn digests(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    printed(text, Digest::parse);
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(digest.as_bytes().len(), digest.algorithm().bytes(), "{text:?}");
        assert!(digest.to_string().starts_with(digest.algorithm().name()), "{digest}");
        // Without its algorithm it is taken for another digest of the same bytes, if for any.
        let again = Digest::parse(&digest.hex());
        assert!(
            again.is_ok_and(|again| again.as_bytes() == digest.as_bytes()) || digest.as_bytes().len() != 32,
            "{text:?}"
        );
    }
}

/// A row of the index, with the checksum that it has and the one that it should have.
pub fn store_row(bytes: &[u8]) {
    store::probe::row(bytes);
}

/// Lines of the first-seen ledger: each with the right checksum, and all of them as a file.
pub fn first_seen(bytes: &[u8]) {
    bytes.split(|byte| *byte == b'\n').for_each(store::probe::ledger_line);
    let place = tempfile::tempdir().expect("a directory");
    put(place.path().join("first-seen.log"), bytes);
    let digest = Digest::sha256(b"");
    let _ = FirstSeen::look_up(place.path(), ["acme", "lcod://acme/x", "1.0.0"], &digest);
    assert!(FirstSeen::look(place.path()).is_ok(), "it can be read, whatever stands in it");
}

/// The audit log: what is shown is what is there, and looking changes nothing.
pub fn audit_log(bytes: &[u8]) {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("audit.jsonl");
    put(&file, bytes);
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    if let Ok(shown) = verify::tail(place.path(), 10) {
        assert!(shown.lines.len() <= lines.min(10), "{} lines of {lines}", shown.lines.len());
    }
    let _ = verify::verify(place.path(), &[]);
    assert_eq!(std::fs::read(&file).expect("read"), bytes, "who looks changes nothing");
}

/// The list of the documents that a generation rests on: what is taken can be asked, and every record is found again.
pub fn documents_list(bytes: &[u8]) {
    match Documents::read(Hashed::of(bytes.to_vec())) {
        Ok(documents) => {
            let records: Vec<DocumentRecord> = documents.iter().collect();
            assert!(records.len() <= documents.len(), "no more than it says");
            for record in &records {
                let _ = (documents.document(&record.want), documents.by_digest(&record.digest));
                assert!(documents.all_with(&record.digest).count() <= documents.len());
            }
            let _ = (documents.digests().count(), documents.newest_s());
        }
        Err(found) => assert!(!found.is_empty(), "an error says something"),
    }
}

/// Reads an entry document at `entry`, and says that whatever it leads to can be written down and read again.
fn node(bytes: &[u8], entry: &str) {
    let errand = entry_errand(entry);
    match dialect::read(&errand, bytes, &received(bytes), &Forges::default()) {
        Ok(found) => found.errands.iter().for_each(written_and_read),
        Err(error) => one_line(&error),
    }
}

/// Reads `bytes` as the document that the first entry of `catalogue` leads to.
fn below(catalogue: &str, bytes: &[u8]) {
    let top = entry_errand(r#"{"type":"git","url":"https://example.org/r","subpath":"c.json"}"#);
    let found =
        dialect::read(&top, catalogue.as_bytes(), &received(catalogue.as_bytes()), &Forges::default());
    let errand: Errand = found.expect("the sample is good").errands.remove(0);
    if let Err(error) = dialect::read(&errand, bytes, &received(bytes), &Forges::default()) {
        one_line(&error);
    }
}

fn entry_errand(entry: &str) -> Errand {
    let file = format!(r#"{{"sources":[{{"id":"s","entrypoint":{entry}}}]}}"#);
    let read = sources::read(file.as_bytes(), Path::new("/srv"), &Forges::default());
    dialect::start(&read.expect("the sample is good")[0], &Forges::default())
}

fn received(bytes: &[u8]) -> Received {
    let trust: Trust = serde_json::from_str(r#"{"level":"pinned"}"#).expect("a level");
    let commit = CommitId::parse(COMMIT).expect("a commit id");
    Received {
        trust,
        digest: Digest::sha256(bytes),
        size: bytes.len() as u64,
        commit: Some(commit),
        blob: None,
    }
}

/// Says that what `parse` takes is printed as a text that it takes as the same.
fn printed<T: Display + Debug + PartialEq>(text: &str, parse: fn(&str) -> Result<T, ParseError>) {
    match parse(text) {
        Ok(value) => assert_eq!(parse(&value.to_string()).expect("its own text"), value, "{text:?}"),
        Err(error) => one_line(&error),
    }
}

fn written_and_read<T>(value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + Debug + PartialEq,
{
    let written = serde_json::to_string(value).expect("it is written");
    assert_eq!(&serde_json::from_str::<T>(&written).expect("it is read again"), value);
}

/// Says that an error is one short line without control and bidirectional characters.
/// Key files of either kind: what is read is written as one file, and read as the same key.
pub fn keys(bytes: &[u8]) {
    let public = [PublicKey::parse(bytes), PublicKey::from_spki(bytes)];
    for key in public.iter().flatten() {
        let again = PublicKey::parse(key.to_pem().as_bytes()).expect("what is written is a key");
        assert_eq!((again.fingerprint(), &again), (key.fingerprint(), key));
        assert_eq!(is_weak(key), is_weak(&again));
    }
    public.iter().filter_map(|read| read.as_ref().err()).for_each(one_line);
    let private = [PrivateKey::parse(bytes), PrivateKey::from_pkcs8(bytes)];
    for key in private.iter().flatten() {
        let again = PrivateKey::parse(key.to_pem().as_bytes()).expect("what is written is a key");
        assert_eq!((again.pkcs8(), again.form()), (key.pkcs8(), key.form()));
    }
    private.iter().filter_map(|read| read.as_ref().err()).for_each(one_line);
}

/// Signature files, envelopes and the statements in them; nothing holds for a ring without keys.
pub fn signatures(bytes: &[u8]) {
    match SignatureFile::parse(bytes) {
        Ok(SignatureFile::Envelope(envelope)) => {
            let again = SignatureFile::parse(envelope.to_json().as_bytes());
            assert_eq!(again, Ok(SignatureFile::Envelope(envelope.clone())));
            let proofs = check(&envelope, Usage::Catalogue, &KeyRing::default());
            assert_eq!(proofs.map(|proofs| proofs.len()).ok(), Some(envelope.signatures().len()));
        }
        Ok(SignatureFile::Detached { algorithm, bytes }) => {
            assert_eq!(bytes.len(), algorithm.signature_bytes());
        }
        Err(error) => one_line(&error),
    }
    match Statement::parse(bytes) {
        Ok(statement) => assert_eq!(Statement::parse(&statement.to_bytes()), Ok(statement)),
        Err(error) => one_line(&error),
    }
}

/// The operator's policy: what it names is there, and every refusal has its place.
pub fn policy(bytes: &[u8]) {
    match Policy::parse(bytes) {
        Ok(policy) => {
            let sets = policy.sources.iter().map(|rule| rule.signed_by);
            let sets = sets.chain(policy.namespaces.iter().map(|rule| rule.signed_by));
            assert!(sets.flatten().all(|set| set < policy.signers.len()));
            for set in &policy.signers {
                assert!(set.keys.iter().all(|key| *key < policy.keys.len()));
                assert!((1..=set.keys.len()).contains(&set.threshold));
            }
            for rule in &policy.namespaces {
                assert!((1..=rule.sources.len()).contains(&rule.agree));
            }
        }
        Err(error) => {
            one_line(&error);
            assert!(error.position.is_some() || bytes.len() > 1 << 20, "{error}");
        }
    }
}

/// Locks: what is written is what was read, and nothing in it is a place on a machine.
pub fn lockfile(bytes: &[u8]) {
    match Lock::parse(bytes) {
        Ok((lock, form)) => {
            let text = lock.text(form).expect("it was read in this form");
            let (again, found) = Lock::parse(text.as_bytes()).expect("what is written can be read");
            assert!(found == form && again == lock, "{text}");
            assert_eq!(again.text(form).expect("as before"), text);
            assert!(!text.contains("\"file:"), "{text}");
        }
        Err(error) => one_line(&error),
    }
}

/// A project's own files.
pub fn project_files(bytes: &[u8]) {
    if let Err(error) = ProjectFile::parse(bytes) {
        one_line(&error);
    }
    if let Err(error) = ProjectOverrides::parse(bytes) {
        one_line(&error);
    }
}

/// Compose files: every call stands where the text says that it does.
pub fn compose(bytes: &[u8]) {
    match calls(bytes) {
        Ok(calls) => {
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
            assert!(calls.iter().all(|call| (1..=lines).contains(&call.position.line)));
            for call in calls {
                if let CallTarget::Unreadable(error) = &call.target {
                    one_line(error);
                }
            }
        }
        Err(error) => one_line(&error),
    }
}

/// What a component is published with: its manifest, its YAML files and its patterns.
pub fn component(bytes: &[u8]) {
    if let Err(error) = outline::read(bytes) {
        one_line(&error);
    }
    match read_component(bytes) {
        Err(error) => one_line(&error),
        Ok(Reading { component, declared, faults }) => {
            faults.iter().for_each(one_line);
            assert_eq!(component.is_some(), faults.is_empty());
            for written in declared.include.into_iter().flatten().flat_map(|(_, written)| written) {
                if let Err(error) = Glob::parse(&written) {
                    one_line(&error);
                }
            }
        }
    }
    // A pattern, and a path that it may name.
    let text = String::from_utf8_lossy(bytes);
    let (pattern, path) = text.split_once('\n').unwrap_or((&text, "a/b.c"));
    let position = Position { line: 1, column: 1 };
    let written = Written { text: pattern.to_owned(), field: "component.include.x[0]".to_owned(), position };
    match Glob::parse(&written) {
        Err(error) => one_line(&error),
        Ok(glob) => {
            let globs = Globs::new(vec![glob]);
            let mut progress = globs.start();
            for name in path.split('/').take(40) {
                progress = globs.step(&progress, name);
            }
            assert!(globs.that_end(&progress).count() <= globs.count());
        }
    }
}

/// Keysets: what is written is what was read.
pub fn keysets(bytes: &[u8]) {
    match Keyset::parse(bytes) {
        Ok(keyset) => {
            assert!((1..=keyset.keys.len()).contains(&keyset.threshold));
            assert_eq!(Keyset::parse(keyset.to_json().as_bytes()), Ok(keyset));
        }
        Err(error) => one_line(&error),
    }
}

/// Archives: nothing is taken that is not within its bounds and has a name of its own, and what was taken can be packed and taken
/// again. Sums are made right a second time, so that what lies behind them is reached.
pub fn archives(bytes: &[u8]) {
    taken_and_packed(bytes);
    let mut summed = bytes.to_vec();
    for block in summed.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    taken_and_packed(&summed);
}

fn taken_and_packed(bytes: &[u8]) {
    let bounds = Bounds {
        archive_bytes: 1 << 20,
        unpacked_bytes: 1 << 18,
        file_bytes: 1 << 17,
        entries: 100,
        depth: 8,
        ratio: 50,
    };
    let mut files = BTreeMap::new();
    let mut take = |file: archive::Unpacked| {
        assert!(file.path.segments().count() <= 8);
        assert!(files.insert(file.path, file.content.into_bytes()).is_none());
        Ok(())
    };
    match archive::read(bytes, &bounds, None, "an archive", &mut take) {
        Ok(()) => {
            assert!(files.len() <= 100 && files.values().map(Vec::len).sum::<usize>() <= 1 << 18);
            let roomy = Bounds { archive_bytes: 1 << 24, ratio: u64::MAX, ..bounds };
            let packed = tar_gz(&files, &roomy, "an archive").expect("what was taken can be packed");
            let mut again = BTreeMap::new();
            let mut take = |file: archive::Unpacked| {
                again.insert(file.path, file.content.into_bytes());
                Ok(())
            };
            archive::read(&packed[..], &roomy, None, "an archive", &mut take).expect("and taken again");
            assert!(again == files);
        }
        Err(error) => {
            let told = error.to_string();
            assert!(!told.chars().any(char::is_control) && told.chars().count() < 4_000, "{told:?}");
        }
    }
}

fn one_line(error: &ParseError) {
    let told = error.to_string();
    assert!(
        !told
            .chars()
            .any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')),
        "{told:?}"
    );
    assert!(told.chars().count() < 4_000, "{} characters", told.chars().count());
}
