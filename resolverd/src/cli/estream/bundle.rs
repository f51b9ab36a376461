//! `resolverd install --from`: a bundle becomes the one source of a process of its own, which no other machine and no other state
//! answers. It is judged like any registry, by the same code and under the operator's policies; the keys that it brings are compared
//! with those that are known here.

use std::collections::BTreeMap;
use std::path::{Path, absolute};

use catalogue_schema::digest::Digest;
use catalogue_schema::seal::KEY_REVOKED;
use serde_json::{Value, json};

use crate::api::documents::{Documents, KeyLine, PublisherRow};
use crate::api::{Call, Code, Failure};
use crate::cli::Ended;
use crate::cli::ask::Asker;
use crate::cli::estream::export::read;
use crate::cli::render::field;
use crate::config::Settings;
use crate::estream::bundle::{self, Taken};

/// The reason of a bundle that brings another key for a publisher who is known here.
const OTHER_KEY: &str = "bundle.other_key";
/// The reason of a store in which nothing has been read yet.
const EMPTY: &str = "empty";

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

/// Compares the keys that seal the releases of a bundle with those by which the configured sources know their publishers: the
/// best-placed source that knows one decides. Where nothing has been read yet nobody is known. `facts` say what was found of each
/// release, by its id.
///
/// **Errors**: E007 `bundle.other_key`; E005 `estream.key_revoked`; why nobody can tell what is known here.
pub(super) fn compare_keys(facts: &BTreeMap<String, Value>, asker: &mut Asker<'_>) -> Result<(), Ended> {
    let sealed = facts.values().filter(|fact| fact["extra"]["verification"]["result"] == "Valid");
    let keys: Vec<(String, &Value)> =
        sealed.map(|fact| (field(&fact["extra"], "publisher"), &fact["extra"]["verification"])).collect();
    let mut publishers: Vec<&str> = keys.iter().map(|(publisher, _)| publisher.as_str()).collect();
    publishers.sort_unstable();
    publishers.dedup();
    let known = match asker.ask_what_is_kept(&Call::post("/v1/documents", &json!({"publishers": publishers})))
    {
        Ok(answer) => read::<Documents>(&answer)?.publishers,
        Err(Ended::Refused(problem)) if problem["reason"] == EMPTY => Vec::new(),
        Err(other) => return Err(other),
    };
    for (publisher, seal) in keys {
        if let Some(row) = known.iter().find(|row| row.publisher == publisher) {
            compare(row, seal)?;
        }
    }
    Ok(())
}

fn compare(known: &PublisherRow, seal: &Value) -> Result<(), Failure> {
    let (key, id) = (field(seal, "key"), field(seal, "keyId"));
    let PublisherRow { publisher, source, keys } = known;
    let told = |line: &KeyLine| format!("{} {}", line.id, line.key);
    match keys.iter().find(|line| line.key.to_string() == key) {
        Some(line) if line.status == "revoked" => {
            let detail = format!(
                "the key {id} of {publisher} seals this bundle, and {source} says that it is revoked"
            );
            Err(Failure::new(Code::SignatureInvalid, KEY_REVOKED, detail)
                .with("found", &key)
                .hint("export again from a registry of today; nothing was installed"))
        }
        Some(_) => Ok(()),
        None => {
            let expected = keys.iter().map(told).collect::<Vec<_>>().join(", ");
            let detail = format!(
                "the bundle has the key {id} {key} for {publisher}, whom {source} knows by others: {expected}"
            );
            Err(Failure::new(Code::UnknownPublisher, OTHER_KEY, detail)
                .with("found", &key)
                .with("expected", expected)
                .with("source", source)
                .hint(format!(
                    "the bundle is not what {source} published, or {publisher} has a new key: resolverd sync {source} reads it; nothing was installed"
                )))
        }
    }
}
