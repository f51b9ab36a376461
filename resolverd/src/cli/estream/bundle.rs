//! `resolverd install --from`: a bundle becomes the one source of a process of its own, which no other machine and no other state
//! answers. It is judged like any registry, by the same code and under the operator's policies; what it says of names, archives and
//! keys is compared with what is known here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, absolute};
use std::time::{SystemTime, UNIX_EPOCH};

use catalogue_schema::dialect::estream::instant;
use catalogue_schema::dialect::estream::workspace::{Installed, Workspace};
use catalogue_schema::digest::Digest;
use catalogue_schema::generation::SOURCE_EXPIRED;
use catalogue_schema::id::{ComponentId, Namespace};
use catalogue_schema::model::{Refusal, Warning};
use catalogue_schema::seal::{KEY_EXPIRED, KEY_REVOKED, KEY_ROTATED, SCOPE_OWNED};
use serde_json::{Value, json};

use crate::api::documents::{Documents, KeyLine, PublisherRow};
use crate::api::{Call, Code, Failure, encoded_path};
use crate::cli::Ended;
use crate::cli::ask::Asker;
use crate::cli::estream::export::read;
use crate::cli::estream::install::release_call;
use crate::cli::render::{field, list};
use crate::config::Settings;
use crate::estream::bundle::{self, Taken};

/// The reason of a bundle that brings another key for a publisher who is known here.
const OTHER_KEY: &str = "bundle.other_key";
/// The reason of a bundle in which a component that is known here is another publisher's.
const OTHER_PUBLISHER: &str = "bundle.other_publisher";
/// The reason of a bundle in which a version that is known here has another archive.
const OTHER_ARCHIVE: &str = "bundle.other_archive";
/// The reason of a bundle with a component whose name is a source's here, which does not list it.
const OWNED: &str = "bundle.owned";
/// The reason of a store in which nothing has been read yet.
const EMPTY: &str = "empty";
/// The reason of a bundle with a version that was withdrawn here.
const YANKED: &str = "bundle.yanked";
/// What every refusal says at its end.
const NOTHING: &str = "nothing was installed";

/// Takes a bundle over, and returns the settings of the process that answers from it.
///
/// **Errors**: those of [`bundle::take`]; R011 for a checksum that is none.
pub(super) fn open(
    from: &Path,
    checksum: Option<&str>,
    asker: &Asker<'_>,
) -> Result<(Taken, Settings), Failure> {
    let refused = |detail: String| Failure::new(Code::RequestInvalid, "arguments", detail);
    let pinned = checksum.map(Digest::parse).transpose().map_err(|error| {
        refused(format!("--checksum: {error}"))
            .hint("resolverd export prints it: sha256: and 64 hexadecimal digits")
    })?;
    let place = absolute(from).map_err(|error| refused(format!("{}: {error}", from.display())))?;
    let taken = bundle::take(&place, pinned.as_ref(), &asker.settings().limits)?;
    let settings = asker.settings().alone(taken.alone()).map_err(|error| error.failure())?;
    Ok((taken, settings))
}

/// What is known here of a component of a bundle. Where it is known, with one of its releases as its own route shows it.
enum Known {
    Nowhere,
    /// Other versions are.
    Component(Value),
    /// This version is.
    Version(Value),
}

/// What was found beside the bundle.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// The components by their ids of which no configured source knows the publisher.
    pub(super) unknown: BTreeSet<String>,
    /// What somebody should know.
    pub(super) warnings: Vec<Warning>,
}

/// Compares what a bundle says with what the configured sources say, so that nobody gets round them with a directory: whose a name is,
/// which archive a version has, whether it may be used, which keys a publisher has and for which time. The keys of a component that is
/// listed here are those that its own source knows; of any other the best-placed source that knows the publisher decides. `facts` say
/// what was found of each release, by its id, and `installed` what the workspace has. Nothing is fetched; where nothing has been read
/// yet, `owns` of the sources file alone is known.
///
/// **Errors**: E015 `bundle.other_publisher`, `bundle.owned`, `estream.scope_owned`; E006 `bundle.other_archive`; E007
/// `bundle.other_key`; E005 `estream.key_revoked`, `estream.key_rotated`, `estream.key_expired`; E002 `bundle.yanked`; what refuses a
/// version here; R002 for what a source owns that was never read; why nobody can tell what is known here.
pub(super) fn compare(
    facts: &BTreeMap<String, Value>,
    installed: &Workspace,
    asker: &mut Asker<'_>,
) -> Result<Compared, Ended> {
    let known = known(facts, asker)?;
    let owned = owned(asker)?;
    for ((id, fact), known) in facts.iter().zip(&known) {
        match known {
            Known::Nowhere => free(id, &owned, asker)?,
            Known::Component(entry) => alike(id, fact, entry)?,
            Known::Version(entry) => {
                alike(id, fact, entry)?;
                same_archive(id, fact, entry)?;
            }
        }
    }
    let mut publishers: Vec<String> = facts.values().map(publisher).collect();
    publishers.sort_unstable();
    publishers.dedup();
    let call = Call::post("/v1/documents", &json!({ "publishers": publishers }));
    let rows = match kept(asker, &call)? {
        Some(answer) => read::<Documents>(&answer)?.publishers,
        None => Vec::new(),
    };
    let mut compared = Compared::default();
    for ((id, fact), known) in facts.iter().zip(&known) {
        let publisher = publisher(fact);
        let mut rows = rows.iter().filter(|row| row.publisher == publisher);
        let is_valid = fact["extra"]["verification"]["result"] == "Valid";
        match known {
            Known::Nowhere => match rows.next() {
                Some(row) if is_valid => same_key(id, row, fact, known)?,
                Some(_) => {}
                None => drop(compared.unknown.insert(id.clone())),
            },
            Known::Component(entry) | Known::Version(entry) => {
                let source = field(&entry["source"], "id");
                // Another source may have a publisher of this name, whose component this is not.
                match rows.find(|row| row.source.as_text() == source) {
                    Some(row) if is_valid => same_key(id, row, fact, known)?,
                    None if is_valid => return Err(unrecorded(id, &publisher, &source).into()),
                    _ => {}
                }
            }
        }
        if let Known::Version(entry) = known {
            compared.warnings.extend(usable(id, entry, installed)?);
        }
    }
    Ok(compared)
}

fn unrecorded(id: &str, publisher: &str, source: &str) -> Failure {
    let detail = format!(
        "{source} lists {id} and has no record of {publisher} that can be read: nothing here tells whose the key in the bundle is"
    );
    Failure::new(Code::UnknownPublisher, OTHER_KEY, detail)
        .with("source", source)
        .hint(format!("resolverd sync {source} reads it, once its owner has corrected it; {NOTHING}"))
}

/// Tells that a version that is listed here may be used here. What was withdrawn is kept where it is installed, as everywhere.
fn usable(id: &str, entry: &Value, installed: &Workspace) -> Result<Option<Warning>, Failure> {
    let (version, source) = (field(entry, "version"), field(&entry["source"], "id"));
    // What a source said counts also where it was not checked for too long: that says nothing of the version.
    let is_expired = entry["trust"]["refusal"]["reason"] == SOURCE_EXPIRED;
    if entry["trust"]["verdict"] == "refused" && !is_expired {
        let refusal: Refusal = read(&entry["trust"]["refusal"])?;
        let mut failure = Failure::of_refusal(&refusal);
        failure.detail = format!("{id}@{version} may not be used here, says {source}: {refusal}");
        return Err(failure
            .with("source", &source)
            .hint(format!("resolverd explain {id}@{version} says why; {NOTHING}")));
    }
    if entry["yanked"] != true {
        return Ok(None);
    }
    let has = |(known, one): (&ComponentId, &Installed)| {
        known.as_text() == id && one.version.to_string() == version
    };
    let text = format!("{id}@{version} was withdrawn by its publisher, says {source}");
    match installed.components.iter().any(has) {
        true => Ok(Some(Warning::new("resolve.yanked", text))),
        false => Err(Failure::new(Code::VersionNotFound, YANKED, text).with("source", source).hint(format!(
            "ask for a bundle with another version; what is installed already stays; {NOTHING}"
        ))),
    }
}

fn publisher(fact: &Value) -> String {
    field(&fact["extra"], "publisher")
}

/// Asks about what has been read; `None` where nothing has been.
pub(super) fn kept(asker: &mut Asker<'_>, call: &Call) -> Result<Option<Value>, Ended> {
    match asker.ask_what_is_kept(call) {
        Ok(answer) => Ok(Some(answer)),
        Err(Ended::Refused(problem)) if problem["reason"] == EMPTY => Ok(None),
        Err(other) => Err(other),
    }
}

/// Asks what is known of each component, in their order.
fn known(facts: &BTreeMap<String, Value>, asker: &mut Asker<'_>) -> Result<Vec<Known>, Ended> {
    let exact: Vec<String> =
        facts.iter().map(|(id, fact)| format!("{id}@={}", field(fact, "version"))).collect();
    let Some(answer) = kept(asker, &Call::post("/v1/lookup", &json!({ "ids": exact })))? else {
        return Ok(facts.iter().map(|_| Known::Nowhere).collect());
    };
    let rows: Vec<Value> = read(&answer)?;
    let mut all = Vec::with_capacity(rows.len());
    for ((id, fact), row) in facts.iter().zip(rows) {
        let version = field(fact, "version");
        all.push(match row["code"].as_str() {
            None => Known::Version(row),
            Some(code) if code == Code::ComponentNotFound.row().text => Known::Nowhere,
            // What is withdrawn or refused is answered by its path alone.
            Some(_) => match kept(asker, &release_call(id, &version)?) {
                Ok(Some(row)) if row["version"] == version.as_str() => Known::Version(row),
                Ok(_) => other_version(id, asker)?,
                Err(Ended::Refused(problem)) if problem["code"] == Code::VersionNotFound.row().text => {
                    other_version(id, asker)?
                }
                Err(other) => return Err(other),
            },
        });
    }
    Ok(all)
}

/// Looks for the newest version of a component of which the publisher is known.
fn other_version(id: &str, asker: &mut Asker<'_>) -> Result<Known, Ended> {
    let component = ComponentId::parse(id).map_err(|error| Failure::of_reference(&error))?;
    let versions = Call::get(format!("{}/versions", encoded_path(&component)));
    let versions = kept(asker, &versions)?.unwrap_or_default();
    let mut found = Value::Null;
    for one in list(&versions, "items") {
        found = kept(asker, &release_call(id, &field(one, "version"))?)?.unwrap_or_default();
        if found["extra"]["publisher"].is_string() {
            break;
        }
    }
    Ok(Known::Component(found))
}

/// Returns which namespaces the configured sources own.
fn owned(asker: &mut Asker<'_>) -> Result<Vec<(Namespace, String)>, Ended> {
    let mut owned = Vec::new();
    match kept(asker, &Call::get("/v1/sources"))? {
        Some(answer) => {
            for source in list(&answer, "items") {
                let namespaces: Vec<Namespace> = match &source["owns"] {
                    Value::Null => Vec::new(),
                    told => read(told)?,
                };
                owned.extend(namespaces.into_iter().map(|one| (one, field(source, "id"))));
            }
        }
        // Where nobody has named a source, none owns anything.
        None if asker.settings().is_without_sources() => {}
        None => {
            for source in asker.settings().sources().map_err(|error| error.failure())? {
                owned.extend(source.owns.iter().map(|one| (one.clone(), source.id.to_string())));
            }
        }
    }
    Ok(owned)
}

/// Tells that the name of a component that no source here lists is no source's either.
///
/// **Errors**: E015 `bundle.owned`, `estream.scope_owned`.
fn free(id: &str, owned: &[(Namespace, String)], asker: &mut Asker<'_>) -> Result<(), Ended> {
    let component = ComponentId::parse(id).map_err(|error| Failure::of_reference(&error))?;
    let refused = |reason, source: &str, why: String| {
        let detail = format!("the bundle has {id}, and {source} does not list it, {why}");
        Failure::new(Code::PermissionDenied, reason, detail)
            .with("source", source)
            .hint(format!("resolverd sync {source} reads what it lists by now; {NOTHING}"))
    };
    if let Some((namespace, source)) = owned.iter().find(|(namespace, _)| namespace.contains(&component)) {
        return Err(refused(OWNED, source, format!("which owns {namespace}")).into());
    }
    let call = Call::get(encoded_path(&component));
    let registered = match kept(asker, &call) {
        Err(Ended::Refused(problem)) => problem["registeredBy"].as_str().map(str::to_owned),
        _ => None,
    };
    if let Some(source) = registered {
        let why = format!("where the names of {} are registered", component.scope());
        return Err(refused(SCOPE_OWNED, &source, why).into());
    }
    Ok(())
}

/// Tells that a component is the same publisher's in the bundle and here.
fn alike(id: &str, fact: &Value, entry: &Value) -> Result<(), Failure> {
    let source = field(&entry["source"], "id");
    let refusal = &entry["trust"]["refusal"];
    if refusal["reason"] == SCOPE_OWNED {
        let detail =
            format!("{id} is refused here: {}, {}", field(refusal, "expected"), field(refusal, "found"));
        return Err(Failure::new(Code::PermissionDenied, SCOPE_OWNED, detail)
            .with("source", &source)
            .hint(format!("resolverd explain {id} says why; {NOTHING}")));
    }
    let (expected, found) = (publisher(entry), publisher(fact));
    if !entry["extra"]["publisher"].is_string() {
        let detail =
            format!("{source} lists {id} and does not say whose it is: what it has of it cannot be read");
        return Err(Failure::new(Code::PermissionDenied, OTHER_PUBLISHER, detail)
            .with("found", found)
            .with("source", &source)
            .hint(format!("resolverd explain {id} says why; {NOTHING}")));
    }
    if expected == found {
        return Ok(());
    }
    let detail = format!("{id} is by {found} in the bundle, and by {expected} in {source}");
    Err(Failure::new(Code::PermissionDenied, OTHER_PUBLISHER, detail)
        .with("expected", expected)
        .with("found", found)
        .with("source", &source)
        .hint(format!("the bundle is not what {source} published, or the component has a new publisher: resolverd sync {source} reads it; {NOTHING}")))
}

/// Tells that a version is the same archive in the bundle and here.
fn same_archive(id: &str, fact: &Value, entry: &Value) -> Result<(), Failure> {
    let digests = |row: &Value| -> Vec<String> {
        let digests = list(&row["integrity"]["archive"], "digests").iter();
        digests.filter_map(|digest| digest.as_str().map(str::to_owned)).collect()
    };
    let (expected, found) = (digests(entry), digests(fact));
    let (version, source) = (field(fact, "version"), field(&entry["source"], "id"));
    if expected.is_empty() {
        let detail = format!(
            "{source} lists {id}@{version} and names no archive of it: nothing here tells which one it is"
        );
        return Err(Failure::new(Code::ChecksumMismatch, OTHER_ARCHIVE, detail)
            .with("found", found.join(", "))
            .with("source", &source)
            .hint(format!("resolverd explain {id}@{version} says why; {NOTHING}")));
    }
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (expected.join(", "), found.join(", "));
    let detail = format!("{id}@{version} is the archive {found} in the bundle, and {expected} in {source}");
    Err(Failure::new(Code::ChecksumMismatch, OTHER_ARCHIVE, detail)
        .with("expected", expected)
        .with("found", found)
        .with("source", &source)
        .hint(format!("a version never changes: the bundle is not what {source} published; {NOTHING}")))
}

/// Compares the key that seals a release with those that a source knows its publisher by.
fn same_key(id: &str, row: &PublisherRow, fact: &Value, known: &Known) -> Result<(), Failure> {
    let seal = &fact["extra"]["verification"];
    let (key, key_id) = (field(seal, "key"), field(seal, "keyId"));
    let PublisherRow { publisher, source, keys } = row;
    let Some(line) = keys.iter().find(|line| line.key.to_string() == key) else {
        let told = |line: &KeyLine| format!("{} {}", line.id, line.key);
        let expected = keys.iter().map(told).collect::<Vec<_>>().join(", ");
        let detail = format!(
            "the bundle has the key {key_id} {key} for {publisher}, whom {source} knows by others: {expected}"
        );
        return Err(Failure::new(Code::UnknownPublisher, OTHER_KEY, detail)
            .with("found", &key)
            .with("expected", expected)
            .with("source", source)
            .hint(format!(
                "the bundle is not what {source} published, or {publisher} has a new key: resolverd sync {source} reads it; {NOTHING}"
            )));
    };
    let Some((reason, why)) = standing(line, fact, known) else { return Ok(()) };
    let version = field(fact, "version");
    let detail = format!(
        "the key {key_id} of {publisher} seals {id}@{version} in this bundle, and {source} says that {why}"
    );
    Err(Failure::new(Code::SignatureInvalid, reason, detail).with("found", &key).with("source", source).hint(
        format!("resolverd sync {source} reads what it says today, or export again from a registry of today; {NOTHING}"),
    ))
}

/// Says why a key may not have sealed a release, by the word of a source here. When a version was published is believed of that source
/// alone: a bundle says what it likes, so that a key that is no longer in use seals nothing that is new here.
fn standing(line: &KeyLine, fact: &Value, known: &Known) -> Option<(&'static str, String)> {
    let at = |text: &Option<String>| text.as_deref().and_then(|text| instant(text).ok());
    let (entry, is_known) = match known {
        Known::Version(entry) => (entry, true),
        Known::Component(_) | Known::Nowhere => (fact, false),
    };
    let published = entry["extra"]["publishedAt"].as_str();
    let published_s = published.and_then(|text| instant(text).ok());
    let is_before = |end_s: i64| published_s.is_some_and(|at_s| at_s <= end_s);
    if line.status == "revoked" {
        return Some((KEY_REVOKED, "it is revoked".to_owned()));
    }
    let ends = || line.expires_at.as_deref().unwrap_or("-");
    if at(&line.created_at).is_some_and(|from_s| published_s.is_none_or(|at_s| at_s < from_s)) {
        let from = line.created_at.as_deref().unwrap_or("-");
        return Some((KEY_EXPIRED, format!("it signs what was published from {from} on")));
    }
    if at(&line.expires_at).is_some_and(|end_s| !is_before(end_s) || (!is_known && end_s < now_s())) {
        return Some((KEY_EXPIRED, format!("it has expired, {}", ends())));
    }
    if line.status == "rotated" {
        let end_s = at(&line.rotated_at).or_else(|| at(&line.expires_at));
        if !is_known || !end_s.is_some_and(is_before) {
            let since = line.rotated_at.as_deref().unwrap_or_else(ends);
            return Some((KEY_ROTATED, format!("it was replaced, {since}")));
        }
    }
    None
}

/// Seconds since 1970-01-01 UTC; a clock before that counts as that.
#[expect(clippy::disallowed_methods, reason = "a verb is where the clock is read")]
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
