//! `resolverd export`: components, with everything that proves them, as a directory that can be carried to where no network is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{PathBuf, absolute};

use catalogue_schema::dialect::estream::bundle::{ARCHIVES, Origin, PackedRelease, archive};
use catalogue_schema::id::{ComponentId, Dialect, parse_release_id};
use catalogue_schema::path::DocPath;
use catalogue_schema::version::Version;
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::documents::{Documents, DocumentsRow};
use crate::api::files::FilesRow;
use crate::api::{Call, Code, Failure};
use crate::cli::ask::{Asker, is_for_admins};
use crate::cli::estream::destination::Destination;
use crate::cli::render::{field, list, text};
use crate::cli::terms::{Platforms, add_offline};
use crate::cli::{Ended, Terminal};
use crate::estream::bundle::{self, Content};

/// What `export` takes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  resolverd export estream-wire-fix --output-dir ./offline-bundle
  resolverd install --from ./offline-bundle --checksum sha256:DIGEST      on the other side; needs no network

DIR is a registry of its own: index, publishers and archives byte for byte, and bundle.json with the digest of every
file; it may be a new name, an empty directory, or an earlier bundle, which is replaced. The digest that is printed pins bundle.json, and with it the rest: carry it across by another way.")]
pub struct Export {
    /// Components of eStream, such as estream-wire-fix or @acme/x@^1.2; everything that they require comes along
    #[arg(value_name = "COMPONENT", required = true)]
    components: Vec<String>,
    #[command(flatten)]
    destination: Destination,
    #[command(flatten)]
    platforms: Platforms,
}

/// Writes a bundle.
///
/// **Errors**: those of the answers; R011 `bundle.dialect` for a component of another dialect; E003 `bundle.sources` where two sources
/// have different documents of one path; those of [`bundle::write`].
pub(in crate::cli) fn run(
    arguments: &Export,
    asker: &mut Asker<'_>,
    terminal: &Terminal,
) -> Result<u8, Ended> {
    let mut mended = BTreeSet::new();
    loop {
        match exported(arguments, asker, terminal) {
            // What is damaged in the cache is fetched again, once.
            Err(Ended::Refused(problem)) if is_damaged(&problem) && !asker.is_offline() => {
                let release = field(&problem, "release");
                if !mended.insert(release.clone()) {
                    return Err(Ended::Refused(problem));
                }
                terminal.say(&format!("note: {}; it is fetched again", field(&problem, "detail")));
                let body = json!({"releases": [release], "refetch": true});
                asker
                    .ask_slowly(&Call::post("/v1/materialize", &body), "fetching archives")
                    .map_err(|ended| unfetched(ended, problem))?;
            }
            ended => return ended,
        }
    }
}

/// Tells whether an archive in the cache is gone or no longer what it was.
fn is_damaged(problem: &Value) -> bool {
    problem["release"].is_string()
        && [bundle::DAMAGED, bundle::LOST].iter().any(|reason| problem["reason"] == *reason)
}

/// Says what somebody can do who may not have archives fetched again: the first refusal is what is wrong.
fn unfetched(ended: Ended, mut first: Value) -> Ended {
    match ended {
        Ended::Refused(problem) if is_for_admins(&problem) => {
            first["hint"] = json!(
                "ask the user of the daemon, or somebody whom admin.sock lets in, to run this export: it fetches the archive again"
            );
            Ended::Refused(first)
        }
        other => other,
    }
}

/// Gathers what is asked for, and writes the bundle.
fn exported(arguments: &Export, asker: &mut Asker<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    let directory = arguments.destination.directory()?.ok_or_else(|| {
        Failure::new(Code::RequestInvalid, "arguments", "nobody says where the bundle is to lie")
            .hint("name the directory: --output-dir DIR")
    })?;
    let mut question = json!({"requests": arguments.components});
    arguments.platforms.add(&mut question)?;
    let offline = asker.is_offline();
    add_offline(&mut question, offline);
    let body = json!({"resolve": question, "offline": offline});
    let files = asker.ask_for_files(&Call::post("/v1/materialize", &body), "fetching archives")?;
    let rows: Vec<FilesRow> = read(&files["items"])?;
    let releases: Vec<&str> = rows.iter().map(|row| row.release.as_str()).collect();
    let names = releases.iter().map(|release| named(release)).collect::<Result<Vec<_>, _>>()?;
    let wanted = json!({"releases": releases, "snapshot": files["snapshot"]});
    let found: Documents =
        read(&asker.ask_slowly(&Call::post("/v1/documents", &wanted), "reading documents")?)?;
    let mut content = Content::default();
    for ((row, (id, version)), documents) in rows.iter().zip(names).zip(&found.items) {
        add_documents(&mut content.documents, documents, &found)?;
        let DocumentsRow { source, repository, commit, archive: digest, .. } = documents;
        content.sources.insert(Origin {
            id: source.clone(),
            origin: repository.clone(),
            commit: commit.clone(),
        });
        let place = archive(ARCHIVES, &id, &version).map_err(|error| Failure::of(Code::Internal, &error))?;
        let lost = || {
            let detail = format!("the archive of {} is not in the cache", row.release);
            Failure::new(Code::CacheCorrupted, bundle::LOST, detail)
                .with("release", &row.release)
                .hint(bundle::FETCH)
        };
        let release = PackedRelease {
            release: row.release.clone(),
            source: source.clone(),
            archive: place,
            digest: digest.clone().ok_or_else(lost)?,
        };
        content.releases.push((release, row.archive.as_ref().map(PathBuf::from).ok_or_else(lost)?));
    }
    content.requested = list(&files, "roots")
        .iter()
        .map(|root| named(root.as_str().unwrap_or_default()))
        .collect::<Result<_, _>>()?;
    let place = absolute(&directory).map_err(|error| {
        let detail = format!("{}: {error}", directory.display());
        Failure::new(Code::RequestInvalid, "arguments", detail)
    })?;
    let written = bundle::write(&place, &content, &asker.settings().limits)?;
    let answer = json!({
        "directory": place, "checksum": written.digest, "files": written.files, "bytes": written.bytes,
        "requested": files["roots"], "releases": releases,
    });
    terminal.print(&answer, |answer, _| told(answer))?;
    Ok(0)
}

fn told(answer: &Value) -> String {
    let releases = list(answer, "releases");
    let mut out: String = releases.iter().map(|release| format!("  {}\n", text(release))).collect();
    out.push_str(&format!(
        "{} components in {}: {} files, {} bytes\n{}\n",
        releases.len(),
        field(answer, "directory"),
        text(&answer["files"]),
        text(&answer["bytes"]),
        field(answer, "checksum")
    ));
    out + &format!(
        "install them with: resolverd install --from DIR --checksum {}\n",
        field(answer, "checksum")
    )
}

/// Reads a release of eStream by its name.
fn named(release: &str) -> Result<(ComponentId, Version), Failure> {
    match parse_release_id(release) {
        Ok((id, version)) if id.dialect() == Dialect::Estream => Ok((id, version)),
        _ => {
            let detail = format!("{release} is no component of eStream, and a bundle carries no others");
            Err(Failure::new(Code::RequestInvalid, "bundle.dialect", detail)
                .hint("resolverd materialize --to DIR copies the files of others"))
        }
    }
}

/// Adds the documents of a release; two releases may share some.
fn add_documents(
    all: &mut BTreeMap<DocPath, String>,
    row: &DocumentsRow,
    found: &Documents,
) -> Result<(), Failure> {
    for line in &row.documents {
        let text = found.contents.get(&line.digest).cloned().unwrap_or_default();
        match all.get(&line.path) {
            Some(known) if *known != text => {
                let detail = format!(
                    "{} of {} in {} is not what another source has, and a bundle is one registry",
                    line.path, row.release, row.source
                );
                return Err(Failure::new(Code::VersionConflict, "bundle.sources", detail)
                    .with("path", &line.path)
                    .hint("export the components of each source by themselves"));
            }
            _ => drop(all.insert(line.path.clone(), text)),
        }
    }
    Ok(())
}

/// Reads a part of an answer.
pub(super) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    serde_json::from_value(value.clone()).map_err(|error| {
        let detail = format!("cannot read the daemon's answer: {error}");
        Failure::new(Code::DaemonUnreachable, "answer", detail).hint("is it a daemon of another version?")
    })
}
