//! `resolverd install`: resolved together with what the workspace has, verified by the daemon, written by this process with the
//! rights of its caller.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use catalogue_schema::dialect::estream::workspace::{Installed, WORKSPACE, requirement_text};
use catalogue_schema::dialect::estream::{KERNEL, MANIFEST};
use catalogue_schema::digest::Digest;
use catalogue_schema::id::{ComponentId, Reference};
use catalogue_schema::key::Fingerprint;
use catalogue_schema::path::DocPath;
use catalogue_schema::version::{Version, VersionReq};
use clap::Args;
use serde_json::{Value, json};

use crate::api::files::FilesRow;
use crate::api::{Call, Code, FOR_ADMINS, Failure, REFERENCES_MAX, encoded, encoded_path};
use crate::cli::ask::{Asker, is_for_admins};
use crate::cli::estream::bundle::{self, Compared};
use crate::cli::estream::workspace::{WorkspacePlace, component, hold, name, name_in};
use crate::cli::render::{Paint, field, list, plain, text, texts};
use crate::cli::terms::{Platforms, add_offline};
use crate::cli::{Ended, Terminal};
use crate::estream::bundle::Taken;
use crate::estream::inspect::changes;
use crate::estream::install::{Change, Fate, Force, Plan, Provided, Vouched, Wish, plan};
use crate::estream::publish::quoted;
use crate::estream::save::saved;
use crate::estream::workspace::Place;

/// The largest manifest into which a requirement is written, in bytes.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// How often everything is asked when the sources change meanwhile.
const TRIES: usize = 3;

/// What `install` takes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  resolverd install estream-wire-fix
  resolverd install estream-wire-fix@^1.0.0 @acme/impact-counter --save
  resolverd install esf-trading@1.2.0 --dry-run
  resolverd install      what estream-workspace.toml lists: brings back the files that are missing
  resolverd install --from ./offline-bundle --checksum sha256:DIGEST

A bundle brings the keys of its publishers along, so that --checksum says whether it is the one that was meant. A key that differs
from what the configured sources know of its publisher is refused in any case.")]
pub struct Install {
    /// Components, such as estream-wire-fix@^1.0.0: @1.0.0 is exactly that version, @latest the newest; without @ what is installed stays. Without any: what the workspace lists
    #[arg(value_name = "COMPONENT")]
    components: Vec<String>,
    /// The names are the word of a bundle, and nobody wrote them down.
    #[arg(skip)]
    is_filled: bool,
    /// Install from a directory that resolverd export has made, without any network: what was exported, where no component is named
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// The digest that export has printed: any other bundle is refused
    #[arg(long, value_name = "DIGEST", requires = "from")]
    checksum: Option<String>,
    #[command(flatten)]
    place: WorkspacePlace,
    /// Show what would be installed, every file included, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Read the sources and fetch the archives again, and replace the components' own files even where they were changed
    #[arg(long)]
    force: bool,
    /// Write the requirements into estream-component.toml of the workspace as well
    #[arg(long)]
    save: bool,
    /// Refused: exceptions are made in the trust policy
    #[arg(long, hide = true)]
    no_verify: bool,
    #[command(flatten)]
    platforms: Platforms,
}

/// Everything that is installed, and what is told of it, wherever it came from.
pub(super) struct Gathered {
    /// What a materialize is asked so that the cache keeps it; `None` where the cache has no part in it.
    pub(super) question: Option<Value>,
    /// The answer of a resolve, of which `snapshot`, `natives`, `warnings` and `stale` are told on.
    pub(super) answer: Value,
    /// What the registry says of every release, by its id, in the form of the release's own route.
    pub(super) facts: BTreeMap<String, Value>,
    /// The files as they lie in the cache.
    pub(super) rows: Vec<FilesRow>,
    /// The components with their verified files.
    pub(super) provided: Vec<Provided>,
}

impl Gathered {
    /// Everything is the workspace's own: there is nothing to ask, and nobody to be asked.
    fn nothing() -> Gathered {
        let answer =
            json!({ "snapshot": null, "components": [], "natives": [], "warnings": [], "stale": [] });
        Gathered { question: None, answer, facts: BTreeMap::new(), rows: Vec::new(), provided: Vec::new() }
    }

    /// Says of each component which registry it came from before it was in a bundle, and whose keys only the bundle knows. No cache but
    /// the bundle's own keeps it.
    fn come_from(&mut self, taken: &Taken, compared: &Compared) {
        self.question = None;
        for one in &mut self.provided {
            if compared.unknown.contains(one.id.as_text()) {
                one.vouched = Vouched::ByBundle;
            }
            let release = format!("{}@{}", one.id, one.version);
            let origin = taken.bundle.releases.iter().find(|known| known.release == release);
            one.registry = origin.map(|known| known.source.to_string());
        }
    }
}

/// Installs components.
///
/// **Errors**: those of the answers; why the workspace cannot be changed. Nothing is changed then.
pub fn run(arguments: &Install, asker: &mut Asker<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    let begun = Instant::now();
    if arguments.no_verify {
        return Err(unverified().into());
    }
    let Some(from) = &arguments.from else { return install(arguments, begun, (asker, None), terminal) };
    let (taken, settings) = bundle::open(from, arguments.checksum.as_deref(), asker)?;
    let mut arguments = arguments.clone();
    if arguments.components.is_empty() {
        arguments.is_filled = true;
        arguments.components = taken.bundle.requested.iter().map(|(id, _)| id.path().to_owned()).collect();
    }
    let mut inside = asker.aside(settings);
    install(&arguments, begun, (&mut inside, Some((&taken, asker))), terminal)
}

/// Installs by what `asker` answers; where that is a bundle, there is somebody else to ask which keys are known.
fn install(
    arguments: &Install,
    begun: Instant,
    (asker, carried): (&mut Asker<'_>, Option<(&Taken, &mut Asker<'_>)>),
    terminal: &Terminal,
) -> Result<u8, Ended> {
    let named = arguments.components.iter().map(|text| component(text)).collect::<Result<Vec<_>, _>>()?;
    once(&named)?;
    let root = arguments.place.or_here()?;
    let place = if arguments.dry_run { Place::look(&root) } else { Place::open(&root) }?;
    if place.was_unfinished {
        terminal.say("note: an interrupted install of this workspace was finished or taken back first");
    }
    let named = match arguments.components.is_empty() {
        true => listed(&place)?,
        false => remembered(arguments, named, &place),
    };
    let manifest = arguments.save.then(|| Manifest::read(&root)).transpose()?;
    let mut gathered = gathered(arguments, &named, &place, asker)?;
    let mut warnings = Vec::new();
    if let Some((taken, outside)) = carried {
        let compared = bundle::compare(&gathered.facts, &place.known, outside)?;
        gathered.come_from(taken, &compared);
        warnings = compared.warnings;
    }
    let force = if arguments.force { Force::Yes } else { Force::No };
    let asked: BTreeMap<_, _> = named.iter().map(|one| (one.id.clone(), one.requirement.clone())).collect();
    let is_said = !arguments.is_filled && !arguments.components.is_empty();
    let wish = Wish {
        named: asked.keys().filter(|_| is_said).cloned().collect(),
        said: said(arguments),
        asked,
        restores: !is_said,
        force,
        now_s: now_s(),
    };
    let mut plan = plan(&place, gathered.provided.clone(), &wish)?;
    if let Some(manifest) = &manifest {
        manifest.add_to(&mut plan, &wish)?;
    }
    if !arguments.dry_run {
        plan.carry_out(&place)?;
        if let Some(question) = &gathered.question {
            hold(&root, vec![json!({ "resolve": question })], asker, terminal);
        }
    }
    let mut told = told(&plan, &gathered, &named);
    warnings.extend_from_slice(&plan.warnings);
    if let Some(all) = told["warnings"].as_array_mut() {
        all.extend(warnings.iter().map(|warning| json!(warning)));
        all.extend(touched(&place, &plan, &gathered, arguments.from.as_deref()));
    }
    told["workspace"] = json!(root);
    told["dryRun"] = json!(arguments.dry_run);
    told["saved"] = json!(manifest.is_some().then_some(MANIFEST));
    told["elapsedMs"] = json!(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    terminal.print(&told, shown)?;
    Ok(0)
}

/// Returns by which arguments the same is asked again.
fn said(arguments: &Install) -> Vec<String> {
    let from = arguments.from.iter().flat_map(|from| ["--from".to_owned(), from.display().to_string()]);
    let checksum = arguments.checksum.iter().flat_map(|digest| ["--checksum".to_owned(), digest.clone()]);
    from.chain(checksum).chain(arguments.components.iter().cloned()).collect()
}

/// Warns of components that stay as they are although their files do not, and says what brings those back. What is not among
/// `gathered` is in no source that was asked, and in no bundle; `from` is where the bundle lies.
fn touched(place: &Place, plan: &Plan, gathered: &Gathered, from: Option<&Path>) -> Vec<Value> {
    let stays = |change: &&Change| matches!(change.fate, Fate::Kept | Fate::Restored(_));
    let warning = |change: &Change| {
        let one = place.known.components.get(&change.id)?;
        let mut changed = changes(place, one);
        if let Fate::Restored(paths) = &change.fate {
            changed.retain(|change| paths.iter().all(|path| path.as_text() != change.path));
        }
        if changed.is_empty() {
            return None;
        }
        let (files, name) = (counted(changed.len(), "file"), name(&change.id));
        let way = match (gathered.facts.contains_key(change.id.as_text()), from) {
            (true, None) => format!("resolverd install --force {name} restores them"),
            (true, Some(from)) => {
                let from = quoted(&from.display().to_string());
                format!("resolverd install --from {from} --force {name} restores them")
            }
            (false, None) => format!(
                "no source lists it: resolverd install --from DIR --force {name} restores them, from a bundle that has it"
            ),
            (false, Some(_)) => format!(
                "this bundle does not have it: resolverd install --force {name} restores them, or --from DIR with one that has it"
            ),
        };
        let text = format!("{files} of {name} no longer as installed; {way}");
        Some(json!({ "reason": "install.file_changed", "text": text }))
    };
    plan.changes.iter().filter(stays).filter_map(warning).collect()
}

/// Refuses a component that is asked for in two ways: only one of them could be noted.
fn once(named: &[Reference]) -> Result<(), Failure> {
    let mut known: BTreeMap<&ComponentId, &Reference> = BTreeMap::new();
    for one in named {
        let Some(before) = known.insert(&one.id, one).filter(|before| *before != one) else { continue };
        let detail = format!("{} is asked for twice: {before} and {one}", name(&one.id));
        return Err(Failure::new(Code::RequestInvalid, "arguments", detail)
            .hint("name it once; a comma joins requirements: NAME@\">=1.0.0, <2\""));
    }
    Ok(())
}

/// Returns what the workspace was asked for before, where nobody says what else is meant.
///
/// **Errors**: R011 where it lists nothing.
fn listed(place: &Place) -> Result<Vec<Reference>, Failure> {
    if place.known.components.is_empty() {
        let detail = format!(
            "nobody says what to install, and {} lists nothing",
            place.root.join(WORKSPACE).display()
        );
        return Err(Failure::new(Code::RequestInvalid, "arguments", detail)
            .hint("name a component: resolverd install estream-wire-fix; resolverd search lists them"));
    }
    let requested = |(id, one): (&ComponentId, &Installed)| {
        Some(Reference { id: id.clone(), requirement: one.requested.clone()? })
    };
    Ok(place.known.components.iter().filter_map(requested).collect())
}

/// Gives a component that is asked for by its name alone what was said of its version before.
fn remembered(arguments: &Install, named: Vec<Reference>, place: &Place) -> Vec<Reference> {
    let said = arguments.components.iter().map(|text| Reference::has_requirement(text));
    let before = |id: &ComponentId| place.known.components.get(id)?.requested.clone();
    let one = |(one, is_said): (Reference, bool)| match before(&one.id).filter(|_| !is_said) {
        Some(requirement) => Reference { requirement, ..one },
        None => one,
    };
    named.into_iter().zip(said).map(one).collect()
}

fn unverified() -> Failure {
    let detail = "there is no --no-verify: what nobody vouches for is not installed";
    Failure::new(Code::PermissionDenied, "policy", detail).hint(
        "an [[exceptions]] entry of the trust policy lets one version through, with a reason and an end; see resolverd policy lint",
    )
}

/// Seconds since 1970-01-01 UTC; a clock before that counts as that.
#[expect(clippy::disallowed_methods, reason = "a verb is where the clock is read")]
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Asks what is chosen and has its files put into the cache.
fn gathered(
    arguments: &Install,
    named: &[Reference],
    place: &Place,
    asker: &mut Asker<'_>,
) -> Result<Gathered, Ended> {
    let mut body = question(arguments, named, place, asker)?;
    arguments.platforms.add(&mut body)?;
    if list(&body, "requests").is_empty() && asker.settings().is_without_sources() {
        return Ok(Gathered::nothing());
    }
    add_offline(&mut body, asker.is_offline());
    // Between two answers a sync may have brought a new generation: then all is asked again.
    for _ in 0..TRIES {
        let doing = if body["refresh"] == true { "reading the sources" } else { "resolving" };
        let unforced = |ended| if arguments.force { unforced(ended) } else { ended };
        let answer = asker.ask_slowly(&Call::post("/v1/resolve", &body), doing).map_err(unforced);
        let answer = answer.map_err(|ended| advised(ended, named, place))?;
        body["refresh"] = json!(false);
        let facts = facts(&answer, asker)?;
        let request = json!({ "resolve": &body, "offline": asker.is_offline(), "refetch": arguments.force });
        let call = Call::post("/v1/materialize", &request);
        let files = asker.ask_for_files(&call, "fetching archives").map_err(unforced)?;
        if files["snapshot"] != answer["snapshot"] {
            continue;
        }
        let rows: Vec<FilesRow> =
            serde_json::from_value(files["items"].clone()).map_err(|error| unreadable(&error.to_string()))?;
        let provided =
            rows.iter().map(|row| provided(row, &answer, &facts)).collect::<Result<Vec<_>, Failure>>()?;
        return Ok(Gathered { question: Some(body), answer, facts, rows, provided });
    }
    let detail = format!("the sources changed {TRIES} times while the archives were fetched");
    Err(Failure::new(Code::SourceUnavailable, "install.unsettled", detail).hint("run it again").into())
}

/// Says what somebody can do who may not force.
fn unforced(ended: Ended) -> Ended {
    match ended {
        Ended::Refused(problem) if is_for_admins(&problem) => {
            let detail = "--force reads the sources and fetches the archives again, which is for the daemon's own user and root";
            let hint = "leave --force out: the archives at hand were verified; to have a component's own files written anew, resolverd uninstall it and install it again; else ask the user of the daemon, or somebody whom admin.sock lets in";
            Failure::new(Code::PermissionDenied, FOR_ADMINS, detail).hint(hint).into()
        }
        other => other,
    }
}

/// Where something is refused that was asked for before, and not now, the hint names what lets go of it.
fn advised(ended: Ended, named: &[Reference], place: &Place) -> Ended {
    let Ended::Refused(mut problem) = ended else { return ended };
    let detail = field(&problem, "detail");
    let is_refused = |id: &ComponentId| detail.starts_with(&format!("{id}@"));
    let known = place.known.components.iter().filter(|(_, one)| one.requested.is_some());
    let mut before = known.map(|(id, _)| id).filter(|id| named.iter().all(|one| one.id != **id));
    if let Some(id) = before.find(|id| is_refused(id)) {
        let hint = field(&problem, "hint");
        let end =
            format!("the workspace asked for it before; resolverd uninstall {} lets go of it", name(id));
        problem["hint"] = json!(if hint.is_empty() { end } else { format!("{hint}; {end}") });
    }
    Ended::Refused(problem)
}

/// Makes the one question: what is asked for now and what was asked for before, with what is installed preferred.
fn question(
    arguments: &Install,
    named: &[Reference],
    place: &Place,
    asker: &mut Asker<'_>,
) -> Result<Value, Ended> {
    let known = &place.known.components;
    let names: BTreeSet<&ComponentId> = named.iter().map(|one| &one.id).collect();
    let is_named = |id: &ComponentId| names.contains(id);
    // What is asked for and no source lists stays as it is where that is what is meant; by force it would have to come anew.
    let satisfies = |one: &Reference| {
        !arguments.force && known.get(&one.id).is_some_and(|before| one.requirement.matches(&before.version))
    };
    let others = known.keys().filter(|id| !is_named(id));
    let others: Vec<&ComponentId> =
        others.chain(named.iter().filter(|one| satisfies(one)).map(|one| &one.id)).collect();
    let own = unlisted(&others, asker)?;
    let mut requests: Vec<String> =
        named.iter().filter(|one| !own.contains(&one.id)).map(ToString::to_string).collect();
    let before = known.iter().filter(|(id, _)| !is_named(id) && !own.contains(*id));
    requests.extend(before.filter_map(|(id, one)| {
        let requirement = one.requested.clone()?;
        Some(Reference { id: id.clone(), requirement }.to_string())
    }));
    // Whoever writes @latest wants what is newest now.
    let texts = arguments.components.iter().zip(named);
    let renewed: BTreeSet<&ComponentId> =
        texts.filter(|(text, _)| text.ends_with("@latest")).map(|(_, one)| &one.id).collect();
    let kept = known.iter().filter(|(id, _)| !renewed.contains(id) && !own.contains(*id));
    let lock: Vec<String> = kept.map(|(id, one)| format!("{id}@{}", one.version)).collect();
    let natives: Vec<Value> = own.iter().map(|id| native(id, known.get(id))).collect();
    Ok(json!({ "requests": requests, "lock": lock, "natives": natives, "refresh": arguments.force }))
}

/// Returns how a resolve is told of a component that is the workspace's own: what requires a schema of it finds it, and what brings one
/// of its schemas does not go beside it.
pub(super) fn native(id: &ComponentId, known: Option<&Installed>) -> Value {
    match known {
        Some(one) if !one.provides.is_empty() => {
            json!({ "id": id, "version": one.version, "provides": one.provides })
        }
        Some(one) => json!(format!("{id}@{}", one.version)),
        None => json!(id),
    }
}

/// Makes the question whose answer is what is installed, also where that was withdrawn; `own` are those that no source lists.
pub(super) fn as_installed(known: &BTreeMap<ComponentId, Installed>, own: &BTreeSet<ComponentId>) -> Value {
    let listed = || known.iter().filter(|(id, _)| !own.contains(*id));
    let requests: Vec<String> = listed()
        .filter_map(|(id, one)| {
            Some(Reference { id: id.clone(), requirement: one.requested.clone()? }.to_string())
        })
        .collect();
    let lock: Vec<String> = listed().map(|(id, one)| format!("{id}@{}", one.version)).collect();
    let natives: Vec<Value> = own.iter().map(|id| native(id, known.get(id))).collect();
    json!({ "requests": requests, "lock": lock, "natives": natives })
}

/// Returns the installed components that no source lists, such as those that came from a bundle: the workspace has them itself.
pub(super) fn unlisted(ids: &[&ComponentId], asker: &mut Asker<'_>) -> Result<BTreeSet<ComponentId>, Ended> {
    let unknown = Code::ComponentNotFound.row().text;
    let is_unknown = |row: &Value| row["code"] == unknown;
    let mut found = BTreeSet::new();
    for part in ids.chunks(REFERENCES_MAX) {
        let texts: Vec<&str> = part.iter().map(|id| id.as_text()).collect();
        let call = Call::post("/v1/lookup", &json!({ "ids": texts }));
        // On a machine on which nobody has named a source, none lists anything; unless one did before.
        let answer = match asker.settings().is_without_sources() {
            true => bundle::kept(asker, &call)?,
            false => Some(asker.ask(&call)?),
        };
        let Some(answer) = answer else { return Ok(ids.iter().map(|id| (*id).clone()).collect()) };
        let rows = answer.as_array().map_or(&[][..], Vec::as_slice);
        found.extend(part.iter().zip(rows).filter(|(_, row)| is_unknown(row)).map(|(id, _)| (*id).clone()));
    }
    Ok(found)
}

/// Asks what the registry says of every chosen release, by its id.
fn facts(answer: &Value, asker: &mut Asker<'_>) -> Result<BTreeMap<String, Value>, Ended> {
    let mut facts = BTreeMap::new();
    for part in list(answer, "components").chunks(REFERENCES_MAX) {
        let exact = |one: &Value| format!("{}@={}", text(&one["id"]), text(&one["version"]));
        let ids: Vec<String> = part.iter().map(exact).collect();
        let call = Call::post("/v1/lookup", &json!({ "ids": ids, "snapshot": answer["snapshot"] }));
        let rows = asker.ask(&call)?;
        for (one, row) in part.iter().zip(rows.as_array().map_or(&[][..], Vec::as_slice)) {
            let id = text(&one["id"]);
            let row = match row["code"].is_null() {
                true => row.clone(),
                // Withdrawn versions are answered by their path alone.
                false => asker.ask(&release_call(&id, &text(&one["version"]))?)?,
            };
            facts.insert(id, row);
        }
    }
    Ok(facts)
}

/// Returns the question for one version, whatever has become of it.
///
/// **Errors**: R001.
pub(super) fn release_call(id: &str, version: &str) -> Result<Call, Failure> {
    let id = ComponentId::parse(id).map_err(|error| Failure::of_reference(&error))?;
    Ok(Call::get(format!("{}/{}", encoded_path(&id), encoded(version))))
}

/// Puts together what is known of a release.
fn provided(row: &FilesRow, answer: &Value, facts: &BTreeMap<String, Value>) -> Result<Provided, Failure> {
    let chosen = list(answer, "components")
        .iter()
        .find(|one| format!("{}@{}", text(&one["id"]), text(&one["version"])) == row.release)
        .ok_or_else(|| unreadable(&format!("files of {}, which was not chosen", plain(&row.release))))?;
    let id = text(&chosen["id"]);
    let fact = facts.get(&id).ok_or_else(|| unreadable(&format!("nothing about {}", plain(&id))))?;
    let extra = &fact["extra"];
    let archives = list(&fact["integrity"]["archive"], "digests").iter();
    let checksum = archives
        .filter_map(|one| Digest::parse(one.as_str()?).ok())
        .find(|digest| digest.algorithm() == catalogue_schema::digest::Algorithm::Sha3_256)
        .ok_or_else(|| unreadable(&format!("{} without the checksum of an archive", plain(&id))))?;
    let told = |value: &Value| value.as_str().map(str::to_owned);
    let dependencies = list(chosen, "dependencies").iter().filter_map(Value::as_str);
    let dependencies = dependencies.map(Reference::parse).collect::<Result<Vec<_>, _>>();
    let dependencies = dependencies.map_err(|error| unreadable(&error.to_string()))?;
    let verification = &extra["verification"];
    Ok(Provided {
        id: ComponentId::parse(&id).map_err(|error| unreadable(&error.to_string()))?,
        version: Version::parse(&text(&chosen["version"])).map_err(|error| unreadable(&error.to_string()))?,
        category: told(&fact["kind"]).or_else(|| told(&extra["category"])).unwrap_or_default(),
        publisher: told(&extra["publisher"]),
        key_id: told(&verification["keyId"]),
        key: verification["key"].as_str().and_then(|text| Fingerprint::parse(text).ok()),
        vouched: Vouched::BySource,
        signed_at: told(&verification["signedAt"]),
        checksum,
        registry: told(&fact["source"]["id"]),
        dependencies: dependencies
            .into_iter()
            .map(|one| one.id)
            .filter(|id| id.as_text() != KERNEL)
            .collect(),
        provides: list(&extra["schemas"], "provides")
            .iter()
            .filter_map(|schema| schema.as_str().map(str::to_owned))
            .collect(),
        directory: PathBuf::from(&row.directory),
        files: row.files.clone(),
    })
}

fn unreadable(found: &str) -> Failure {
    let detail = format!("cannot read the daemon's answer: {found}");
    Failure::new(Code::DaemonUnreachable, "answer", detail)
        .hint("restart the daemon: it may be another version")
}

/// The manifest of a workspace into which requirements are written.
struct Manifest {
    path: PathBuf,
    text: String,
}

impl Manifest {
    fn read(root: &Path) -> Result<Manifest, Failure> {
        let path = root.join(MANIFEST);
        let refused = |found: String| {
            let detail = format!("cannot save into {}: {found}", path.display());
            Failure::new(Code::ManifestInvalid, "install.manifest", detail)
        };
        let found = match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(refused("there is no such file".to_owned())
                    .hint("leave --save out, or make one with resolverd scaffold"));
            }
            found => found.map_err(|error| refused(error.to_string()))?,
        };
        if !found.is_file() || found.len() > MANIFEST_BYTES_MAX {
            let expected = format!("expected a regular file of at most {MANIFEST_BYTES_MAX} bytes");
            return Err(refused(expected).hint("leave --save out"));
        }
        let text = fs::read_to_string(&path).map_err(|error| refused(error.to_string()))?;
        Ok(Manifest { path, text })
    }

    /// Adds what was asked for to the change: a caret requirement on the chosen version where no other was given.
    fn add_to(&self, plan: &mut Plan, wish: &Wish) -> Result<(), Failure> {
        let written = |(id, requirement): (&ComponentId, &VersionReq)| {
            let chosen = plan.workspace.components.get(id).map(|one| one.version.to_string());
            let text = match chosen.filter(|_| requirement.is_any()) {
                Some(version) => format!("^{version}"),
                None => requirement_text(requirement),
            };
            (id.path().to_owned(), text)
        };
        let requirements: Vec<(String, String)> = wish.asked.iter().map(written).collect();
        let new = saved(&self.text, &requirements).map_err(|error| {
            let mut failure = Failure::of(Code::ManifestInvalid, &error);
            failure.detail = format!("cannot save into {}: {error}", self.path.display());
            failure.hint("correct the file, or leave --save out; nothing was changed")
        })?;
        let path = DocPath::parse(MANIFEST).map_err(|error| Failure::of(Code::Internal, &error))?;
        plan.add(path, self.text.as_bytes(), new.into_bytes());
        Ok(())
    }
}

/// Makes the answer of the verb.
fn told(plan: &Plan, gathered: &Gathered, named: &[Reference]) -> Value {
    let components: Vec<Value> = plan.changes.iter().map(|change| row(change, plan, gathered)).collect();
    let changed = plan.changes.iter().filter(|change| is_installed(&change.fate));
    let files: usize = changed.clone().map(|change| change.files.len()).sum();
    let restored = plan.changes.iter().filter(|change| matches!(change.fate, Fate::Restored(_)));
    let files_restored: usize = restored.clone().map(|change| change.files.len()).sum();
    let asked: Vec<&str> = named.iter().map(|one| one.id.as_text()).collect();
    json!({
        "snapshot": gathered.answer["snapshot"], "asked": asked, "components": components,
        "installed": changed.count(), "files": files, "file": WORKSPACE,
        "restored": restored.count(), "filesRestored": files_restored,
        "natives": gathered.answer["natives"], "warnings": gathered.answer["warnings"],
        "stale": gathered.answer["stale"],
    })
}

fn is_installed(fate: &Fate) -> bool {
    matches!(fate, Fate::New | Fate::Replaces(_) | Fate::Again)
}

/// Returns one component of the answer.
fn row(change: &Change, plan: &Plan, gathered: &Gathered) -> Value {
    let release = format!("{}@{}", change.id, change.version);
    let files: Vec<&str> = change.files.iter().map(DocPath::as_text).collect();
    let (fate, previous) = match &change.fate {
        Fate::New => ("installed", None),
        Fate::Replaces(version) => ("replaced", Some(version.to_string())),
        Fate::Again => ("reinstalled", None),
        Fate::Restored(_) => ("restored", None),
        Fate::Kept => ("kept", None),
        Fate::Removed => ("removed", None),
    };
    let mut row = json!({
        "id": change.id, "version": change.version, "fate": fate, "previous": previous, "files": files,
    });
    if let Some(entry) = plan.workspace.components.get(&change.id) {
        row["requested"] = json!(entry.requested.as_ref().map(requirement_text));
        row["dependencies"] = json!(entry.dependencies);
        row["provides"] = json!(entry.provides);
        row["checksum"] = json!(entry.checksum);
        for (field, value) in
            [("category", &entry.category), ("publisher", &entry.publisher), ("source", &entry.registry)]
        {
            row[field] = json!(value);
        }
    }
    if let Some(found) = gathered.rows.iter().find(|row| row.release == release) {
        row["from"] = json!(found.from);
        row["bytes"] = json!(found.files.iter().map(|file| file.size).sum::<u64>());
        row["archiveBytes"] = json!(found.archive_bytes);
    }
    if let Some(fact) = gathered.facts.get(change.id.as_text()) {
        row["verification"] = fact["extra"]["verification"].clone();
        row["trust"] = fact["trust"].clone();
        row["yanked"] = fact["yanked"].clone();
    }
    row
}

/// Returns the text of an install, as seed 002 section 5.2 has it.
fn shown(answer: &Value, paint: Paint) -> String {
    let all = list(answer, "components");
    let is_new = |one: &&Value| {
        ["installed", "replaced", "reinstalled", "restored"].iter().any(|fate| one["fate"] == *fate)
    };
    let changed: Vec<&Value> = all.iter().filter(is_new).collect();
    let mut out = String::from("Resolving dependencies...\n");
    out.push_str(&tree(answer));
    let title = |one: &Value| format!("{} v{}", name_in(one), field(one, "version"));
    let width = changed.iter().map(|one| title(one).chars().count()).max().unwrap_or(0) + 3;
    if !changed.is_empty() {
        out.push_str("\nDownloading...\n");
        for one in &changed {
            let from = if one["from"] == "cache" { "in the cache" } else { "done" };
            let title = title(one);
            let dots = ".".repeat(width.saturating_sub(title.chars().count()));
            // A daemon of an older version says only how large the files are.
            let size = size(one["archiveBytes"].as_u64().or(one["bytes"].as_u64()).unwrap_or_default());
            out.push_str(&format!("  {title} {dots} {from} ({size})\n"));
        }
        out.push_str("\nVerifying ML-DSA-87 signatures...\n");
        for one in &changed {
            let seal = &one["verification"];
            let line = match seal["result"] == "Valid" {
                true => format!("✓ (key: {})", field(seal, "keyId")),
                // Only an exception of the policy lets such a one through.
                false => {
                    let rule = field(&one["trust"], "rule");
                    paint.bad(&format!("✗ {} (let through by {rule})", field(seal, "result")))
                }
            };
            out.push_str(&format!("  {} {line}\n", title(one)));
        }
        out.push_str("\nInstalling...\n");
        for path in changed.iter().flat_map(|one| list(one, "files")) {
            out.push_str(&format!("  {}\n", text(path)));
        }
    }
    let removed: Vec<&Value> = all.iter().filter(|one| one["fate"] == "removed").collect();
    if !removed.is_empty() {
        out.push_str("\nRemoving what nobody needs any more...\n");
        for one in &removed {
            out.push_str(&format!("  {} ({} files)\n", title(one), list(one, "files").len()));
            for path in list(one, "files") {
                out.push_str(&format!("    {}\n", text(path)));
            }
        }
    }
    for warning in list(answer, "warnings") {
        out.push_str(&format!("\n{} {}\n", paint.note("warning:"), field(warning, "text")));
    }
    for stale in list(answer, "stale") {
        let source = text(stale);
        out.push_str(&format!("\n{} source {source}: last good documents answer\n", paint.note("stale:")));
    }
    out.push('\n');
    let is_dry = answer["dryRun"] == true;
    if changed.is_empty() && removed.is_empty() {
        let asked = texts(list(answer, "asked"));
        let named: Vec<String> =
            all.iter().filter(|one| asked.contains(&field(one, "id"))).map(title).collect();
        let verb = if named.len() == 1 { "is" } else { "are" };
        out.push_str(&format!("Nothing to install: {} {verb} installed already\n", named.join(", ")));
    } else {
        let number =
            |name: &str| usize::try_from(answer[name].as_u64().unwrap_or_default()).unwrap_or_default();
        let took = seconds(answer["elapsedMs"].as_u64().unwrap_or_default());
        let (installed, restored) = (number("installed"), number("restored"));
        if installed > 0 || restored == 0 {
            let verb = if is_dry { "Would install" } else { "Installed" };
            let (components, files) = (counted(installed, "component"), counted(number("files"), "file"));
            out.push_str(&format!("{verb} {components} ({files}) in {took}\n"));
        }
        if restored > 0 {
            let verb = if is_dry { "Would restore" } else { "Restored" };
            let (files, components) =
                (counted(number("filesRestored"), "file"), counted(restored, "component"));
            out.push_str(&format!("{verb} {files} of {components} in {took}\n"));
        }
    }
    if answer["saved"].is_string() {
        let verb = if is_dry { "Would save" } else { "Saved" };
        out.push_str(&format!("{verb} the requirement in {}\n", field(answer, "saved")));
    }
    out
}

/// Draws what was asked for, with what that requires and the schemas that come with it. A component is followed once.
fn tree(answer: &Value) -> String {
    let all = list(answer, "components");
    let by_id: BTreeMap<String, &Value> =
        all.iter().filter(|one| one["fate"] != "removed").map(|one| (text(&one["id"]), one)).collect();
    let mut out = String::new();
    let mut followed = BTreeSet::new();
    // Each entry: what stands before the line, before what is below it, and the component or the line itself.
    let mut left: Vec<(String, String, Result<String, String>)> = list(answer, "asked")
        .iter()
        .rev()
        .map(|id| ("  ".to_owned(), "  ".to_owned(), Ok(text(id))))
        .collect();
    while let Some((head, below, what)) = left.pop() {
        let id = match what {
            Ok(id) => id,
            Err(line) => {
                out.push_str(&format!("{head}{line}\n"));
                continue;
            }
        };
        let Some(one) = by_id.get(&id) else {
            out.push_str(&format!("{head}{} (the workspace's own)\n", ComponentId::path_in(&id)));
            continue;
        };
        let is_first = followed.insert(id);
        let note = match (is_first, one["fate"].as_str()) {
            (false, _) => " (above)".to_owned(),
            (_, Some("kept")) => " (installed)".to_owned(),
            (_, Some("replaced")) => format!(" (replaces v{})", field(one, "previous")),
            _ => String::new(),
        };
        out.push_str(&format!("{head}{} v{}{note}\n", name_in(one), field(one, "version")));
        if !is_first {
            continue;
        }
        let components = list(one, "dependencies").iter().map(|id| Ok(text(id)));
        let schemas = list(one, "provides").iter().map(|one| Err(format!("{} (schema)", text(one))));
        let children: Vec<Result<String, String>> = components.chain(schemas).collect();
        let last = children.len().saturating_sub(1);
        for (index, child) in children.into_iter().enumerate().rev() {
            let (branch, bar) = if index == last { ("└── ", "    ") } else { ("├── ", "│   ") };
            left.push((format!("{below}{branch}"), format!("{below}{bar}"), child));
        }
    }
    out
}

/// Returns a number of things in words.
pub(super) fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Returns a size in the decimal units of downloads.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} KB", bytes.div_ceil(1_000)),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{}s", milliseconds / 1_000, milliseconds % 1_000 / 100)
}

/// Returns `name vVERSION` of a component.
pub(super) fn title(id: &ComponentId, version: &Version) -> String {
    format!("{} v{version}", name(id))
}
