//! `resolverd verify COMPONENT`, `verify --all`: the installed components of a workspace. Three things are looked at, and the answer
//! says which of them could be: the files against the digests that the install noted, the registry's entry as the last sync judged
//! it (key, signature, checksum), and what the archive holds, which the cache keeps or is fetched again.

use std::collections::{BTreeMap, BTreeSet};

use catalogue_schema::dialect::estream::workspace::{Installed, InstalledFile, WORKSPACE};
use catalogue_schema::id::ComponentId;
use serde_json::{Value, json};

use crate::api::files::{Changed, FileChange, FilesRow};
use crate::api::{Call, Code, Failure};
use crate::cli::ask::Asker;
use crate::cli::estream::install::{as_installed, counted, native, release_call, title};
use crate::cli::estream::workspace::{WorkspacePlace, component};
use crate::cli::render::{Paint, field, list, plain, text};
use crate::cli::terms::add_offline;
use crate::cli::{Ended, Terminal};
use crate::estream::inspect::{brought, changes, is_of_archive};
use crate::estream::install::absent;
use crate::estream::workspace::Place;

/// The exit status where something is wrong.
const WRONG: u8 = 7;

/// What is verified: the components that are named, all of them where none is.
#[derive(Debug)]
pub struct Targets {
    /// Their names.
    pub names: Vec<String>,
    /// Where they are installed.
    pub place: WorkspacePlace,
}

/// Verifies installed components; the exit status is 7 where something is wrong with one.
///
/// **Errors**: there is no workspace, or a component is not installed in it.
pub fn run(targets: &Targets, asker: &mut Asker<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    let Some(root) = targets.place.found()? else {
        let detail = format!("no {WORKSPACE} here or above");
        return Err(Failure::new(Code::ComponentNotFound, "install.no_workspace", detail)
            .hint("name the workspace with --workspace; id@VERSION verifies a release in the cache")
            .into());
    };
    let place = Place::look(&root)?;
    let ids = match targets.names.is_empty() {
        true => place.known.components.keys().cloned().collect(),
        false => targets
            .names
            .iter()
            .map(|text| component(text).map(|one| one.id))
            .collect::<Result<Vec<ComponentId>, Failure>>()?,
    };
    let mut rows = Vec::with_capacity(ids.len());
    for id in &ids {
        let one = place.known.components.get(id).ok_or_else(|| absent(id))?;
        rows.push(verified(id, one, &place, asker)?);
    }
    let wrong = rows.iter().filter(|row| row["wrong"] == true).count();
    let answer = json!({ "workspace": root, "components": rows, "wrong": wrong });
    terminal.print(&answer, shown)?;
    Ok(if wrong == 0 { 0 } else { WRONG })
}

/// Asks, and returns the reason where there is no answer: that something cannot be looked at is a finding, not an end.
fn asked(asker: &mut Asker<'_>, call: &Call, doing: &'static str) -> Result<Result<Value, String>, Ended> {
    match asker.ask_for_files(call, doing) {
        Ok(answer) => Ok(Ok(answer)),
        Err(Ended::Refused(problem)) => Ok(Err(field(&problem, "detail"))),
        Err(ended) => Err(ended),
    }
}

fn verified(id: &ComponentId, one: &Installed, place: &Place, asker: &mut Asker<'_>) -> Result<Value, Ended> {
    let mut notes: Vec<String> = Vec::new();
    let mut checked: Vec<&str> = Vec::new();
    let mut changed = changes(place, one);
    match one.files.is_empty() {
        true => notes.push(format!("files: none are noted; resolverd install {} does", id.path())),
        false => checked.push("files"),
    }
    let call = release_call(id.as_text(), &one.version.to_string())?;
    let (entry, mut result) = match asker.ask_slowly(&call, "asking the registry") {
        Ok(entry) => (Some(entry), None),
        Err(Ended::Refused(problem)) => {
            let (result, note) = unlisted(one, &problem, asker)?;
            notes.push(note);
            (None, result.map(str::to_owned))
        }
        Err(ended) => return Err(ended),
    };
    let stated = entry.as_ref().and_then(|entry| checksum(entry, one));
    let mut is_refused = false;
    if let Some(entry) = &entry {
        checked.push("registry");
        let seal = &entry["extra"]["verification"];
        result = seal["result"].as_str().map(str::to_owned);
        is_refused = entry["trust"]["verdict"] == "refused";
        if is_refused {
            notes.push(format!("refused today: {}", field(&entry["trust"]["refusal"], "reason")));
        }
        if stated == Some(false) {
            notes.push(
                "checksum: the registry has another archive than the one that was installed".to_owned(),
            );
        }
        if entry["yanked"] == true {
            notes.push("withdrawn by its publisher".to_owned());
        }
        if one.registry.as_deref().is_some_and(|before| entry["source"]["id"] != before) {
            let now = field(&entry["source"], "id");
            notes
                .push(format!("the source is {now} now, and was {}", one.registry.as_deref().unwrap_or("-")));
        }
    }
    let (mut is_archive_other, mut is_absent) = (false, false);
    if entry.is_some() && stated.is_none() {
        notes.push("checksum: none is noted".to_owned());
    }
    if let Some(entry) = entry.as_ref().filter(|_| !is_refused && stated != Some(false)) {
        let category = one.category.clone().unwrap_or_else(|| field(entry, "kind"));
        match archive(id, (one, &category, entry["yanked"] == true), place, asker)? {
            Ok(held) => {
                checked.push("archive");
                match one.files.is_empty() {
                    false => is_archive_other = !is_of_archive(one, &held),
                    // Whoever changes a file and takes the notes away is found out all the same.
                    true => {
                        is_absent = !held.is_empty() && is_nothing_there(place, one, &held);
                        // A noted checksum says that it was installed; whoever wrote the entry by hand need not have done that.
                        if !is_absent || one.checksum.is_some() {
                            changed = changes(place, &Installed { files: held, ..one.clone() });
                        }
                    }
                }
            }
            Err(why) => notes.push(format!("archive: not checked, {why}")),
        }
    }
    if is_archive_other {
        notes.push(format!("{WORKSPACE} notes other files than the archive holds"));
    }
    let is_other = !changed.is_empty() || stated == Some(false) || is_archive_other;
    if is_other && result.as_deref().is_none_or(|result| result == "Valid") {
        result = Some("ChecksumMismatch".to_owned());
    }
    if is_absent {
        notes.push(format!("no file of it is there; resolverd install {} brings them", id.path()));
    }
    // What nobody has looked at is not called valid, and what is not there neither.
    if is_absent || checked.iter().all(|looked| !["files", "archive"].contains(looked)) {
        result = result.filter(|result| result != "Valid");
    }
    let is_wrong = result.as_deref().is_some_and(|result| result != "Valid") || is_refused;
    Ok(row(id, one, entry.as_ref(), &Outcome { result, is_wrong, stated, changed, checked, notes }))
}

struct Outcome<'a> {
    result: Option<String>,
    is_wrong: bool,
    /// The registry states the checksum of the archive that was installed.
    stated: Option<bool>,
    changed: Vec<FileChange>,
    checked: Vec<&'a str>,
    notes: Vec<String>,
}

/// Tells whether the registry states the checksum of the archive that was installed; `None` where none was noted.
fn checksum(entry: &Value, one: &Installed) -> Option<bool> {
    let installed = one.checksum.as_ref()?.to_string();
    let mut stated = list(&entry["integrity"]["archive"], "digests").iter();
    Some(stated.any(|digest| digest.as_str() == Some(&installed)))
}

/// Judges a version that the sources do not answer for, and says why. It is wrong where its key is refused today, and where a source
/// that was read should have it: whoever edits the workspace's file could otherwise invent a version. Only where nobody can tell
/// there is no result.
fn unlisted(
    one: &Installed,
    problem: &Value,
    asker: &mut Asker<'_>,
) -> Result<(Option<&'static str>, String), Ended> {
    let why = field(problem, "detail");
    let is = |code: Code| problem["code"] == code.row().text;
    if !is(Code::ComponentNotFound) && !is(Code::VersionNotFound) {
        return Ok((None, format!("signature: not checked, {why}")));
    }
    let key = refused_key(one, asker)?;
    if let Some((result @ "RevokedKey", note)) = key {
        return Ok((Some(result), note));
    }
    if is(Code::VersionNotFound) {
        return Ok((Some("UnknownKey"), format!("the registry has no such version: {why}")));
    }
    if let Some(source) = &one.registry {
        let sources = asked(asker, &Call::get("/v1/sources"), "asking the registry")?;
        let rows = sources.as_ref().map_or(&[][..], |answer| list(answer, "items"));
        if rows.iter().any(|row| row["id"] == **source && row["state"] == "fresh") {
            return Ok((Some("UnknownKey"), format!("the registry has no such version: {why}")));
        }
    }
    Ok(match key {
        Some((result, note)) => (Some(result), note),
        None => (None, format!("signature: not checked, {why}")),
    })
}

/// Asks what is said of the key that was noted: by the source that the component came from, else by the best-placed one that knows the
/// publisher. `None` where that key is good, or nobody knows.
fn refused_key(one: &Installed, asker: &mut Asker<'_>) -> Result<Option<(&'static str, String)>, Ended> {
    let (Some(publisher), Some(key)) = (&one.publisher, &one.key_id) else { return Ok(None) };
    let call = Call::post("/v1/documents", &json!({ "publishers": [publisher] }));
    let Ok(answer) = asked(asker, &call, "asking the registry")? else { return Ok(None) };
    let rows = list(&answer, "publishers");
    let own = rows.iter().find(|row| one.registry.as_deref().is_some_and(|source| row["source"] == *source));
    let Some(row) = own.or(rows.first()) else { return Ok(None) };
    let source = field(row, "source");
    // An id may be given to any key; entries of older versions note nothing else.
    let is_it = |line: &&Value| match &one.key {
        Some(noted) => line["key"] == *noted.to_string(),
        None => line["id"] == **key,
    };
    let known = list(row, "keys").iter().find(is_it);
    Ok(match known {
        Some(line) if line["status"] == "revoked" => Some((
            "RevokedKey",
            format!("{source} says that the key {} of {} is revoked", plain(key), plain(publisher)),
        )),
        Some(_) => None,
        None => {
            Some(("UnknownKey", format!("{source} knows {} and no key {}", plain(publisher), plain(key))))
        }
    })
}

/// Returns the files that the archive brings to a workspace, which the daemon has verified; the reason where they cannot be had.
fn archive(
    id: &ComponentId,
    (one, category, is_withdrawn): (&Installed, &str, bool),
    place: &Place,
    asker: &mut Asker<'_>,
) -> Result<Result<Vec<InstalledFile>, String>, Ended> {
    let mut body = match is_withdrawn {
        false => json!({ "releases": [format!("{id}@={}", one.version)] }),
        // What was withdrawn is chosen where it is installed; what it requires is the workspace's own.
        true => {
            let known = BTreeMap::from([(id.clone(), one.clone())]);
            let mut resolve = as_installed(&known, &BTreeSet::new());
            let own = one.dependencies.iter().map(|id| native(id, place.known.components.get(id)));
            resolve["natives"] = own.collect();
            resolve["requests"] = json!([format!("{id}@={}", one.version)]);
            add_offline(&mut resolve, asker.is_offline());
            json!({ "resolve": resolve })
        }
    };
    body["offline"] = json!(asker.is_offline());
    let answer = match asked(asker, &Call::post("/v1/materialize", &body), "reading the archive")? {
        Ok(answer) => answer,
        Err(why) => return Ok(Err(why)),
    };
    let rows = serde_json::from_value::<Vec<FilesRow>>(answer["items"].clone());
    match rows.as_deref() {
        Ok([row]) => Ok(brought(id, category, &row.files).map_err(|failure| failure.detail)),
        _ => Ok(Err("the daemon's answer cannot be read".to_owned())),
    }
}

/// Tells that nothing lies in any place of an archive's files.
fn is_nothing_there(place: &Place, one: &Installed, held: &[InstalledFile]) -> bool {
    let found = changes(place, &Installed { files: held.to_vec(), ..one.clone() });
    found.len() == held.len() && found.iter().all(|change| change.what == Changed::Missing)
}

fn row(id: &ComponentId, one: &Installed, entry: Option<&Value>, found: &Outcome<'_>) -> Value {
    let extra = entry.map_or(&Value::Null, |entry| &entry["extra"]);
    let seal = &extra["verification"];
    // The workspace's own word counts only where the registry has none: anybody may edit it.
    let first = |stated: &Value, noted: &Option<String>| match stated {
        Value::Null => json!(noted),
        stated => stated.clone(),
    };
    json!({
        "id": id, "version": one.version, "title": title(id, &one.version),
        "result": found.result, "wrong": found.is_wrong, "signature": seal["result"],
        "keyId": first(&seal["keyId"], &one.key_id), "signedAt": first(&seal["signedAt"], &one.signed_at),
        "publisher": first(&extra["publisher"], &one.publisher),
        "publisherVerified": extra["publisherVerified"],
        "checksum": one.checksum, "checksumMatches": found.stated,
        "files": one.files.len(), "changes": found.changed, "checked": found.checked, "notes": found.notes,
    })
}

/// Returns the text, as seed 002 section 5.4 has it, with what was looked at.
fn shown(answer: &Value, paint: Paint) -> String {
    let components = list(answer, "components");
    let mut out = String::new();
    for one in components {
        out.push_str(&format!("{}\n", field(one, "title")));
        let mut line = |name: &str, value: String| {
            if !value.is_empty() {
                out.push_str(&format!("  {:<11} {value}\n", format!("{name}:")));
            }
        };
        line(
            "Signature",
            match one["signature"].as_str() {
                Some("Valid") => "✓ Valid (ML-DSA-87)".to_owned(),
                // What is signed is the checksum: where that is in doubt, nobody has come to the signature.
                Some("ChecksumMismatch") => paint.note("not checked: the registry's checksum does not hold"),
                Some(_) => paint.bad(&format!("✗ {}", field(one, "signature"))),
                None => paint.note("not checked"),
            },
        );
        line("Key ID", field(one, "keyId"));
        line("Signed at", field(one, "signedAt"));
        let verified = match one["publisherVerified"].as_bool() {
            Some(true) => " (verified)",
            Some(false) => " (not verified)",
            None => "",
        };
        line("Publisher", format!("{}{verified}", field(one, "publisher")));
        line(
            "Checksum",
            match one["checksumMatches"].as_bool() {
                _ if one["signature"] == "ChecksumMismatch" => {
                    paint.bad("✗ checksum.sha3 of the registry is not what its metadata says")
                }
                Some(true) => "✓ SHA3-256 matches".to_owned(),
                Some(false) => paint.bad("✗ SHA3-256 differs from the registry's"),
                None if one["checksum"].is_null() => paint.note("none noted"),
                None => paint.note("not checked"),
            },
        );
        let (files, changed) = (text(&one["files"]), list(one, "changes"));
        line(
            "Files",
            match changed.len() {
                0 if one["files"] == 0 => paint.note("none noted"),
                0 => format!("✓ {files} as installed"),
                number if one["files"] == 0 => paint.bad(&format!("✗ {number} are not as in the archive")),
                number => paint.bad(&format!("✗ {number} of {files} differ")),
            },
        );
        line("Checked", list(one, "checked").iter().map(text).collect::<Vec<_>>().join(", "));
        for change in changed {
            out.push_str(&format!("    {} {}\n", paint.bad(&field(change, "what")), field(change, "path")));
        }
        for note in list(one, "notes") {
            out.push_str(&format!("    {} {}\n", paint.note("note:"), text(note)));
        }
        out.push_str(&format!(
            "  {:<11} {}\n\n",
            "Result:",
            match one["result"].as_str() {
                Some("Valid") if one["wrong"] == false => "Valid".to_owned(),
                Some(_) => paint.bad(&field(one, "result")),
                None if one["wrong"] == true => paint.bad("refused"),
                None if one["signature"] == "Valid" => paint.note("it is not there"),
                None => paint.note("the signature was not checked"),
            }
        ));
    }
    out + &format!("{}, {} wrong\n", counted(components.len(), "component"), text(&answer["wrong"]))
}
