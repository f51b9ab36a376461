//! `resolverd uninstall`: removes components from a workspace, with what nobody needs without them.

use std::collections::BTreeSet;

use catalogue_schema::id::{ComponentId, Reference};
use catalogue_schema::path::DocPath;
use clap::Args;
use serde_json::{Value, json};

use crate::api::{Code, Failure};
use crate::cli::ask::Asker;
use crate::cli::estream::install::{as_installed, counted, unlisted};
use crate::cli::estream::workspace::{WorkspacePlace, component, hold, name, name_in};
use crate::cli::render::{Paint, field, list, text};
use crate::cli::{Ended, Terminal};
use crate::estream::install::{Change, Fate, Force, removal};
use crate::estream::workspace::Place;

/// What `uninstall` takes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:
  resolverd uninstall estream-wire-fix")]
pub struct Uninstall {
    /// Components of the workspace, such as estream-wire-fix
    #[arg(value_name = "COMPONENT", required = true)]
    components: Vec<String>,
    #[command(flatten)]
    place: WorkspacePlace,
    /// Show what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove also those of their files that were changed
    #[arg(long)]
    force: bool,
}

/// Removes components.
///
/// **Errors**: E001, E002, E003, E014; why the workspace cannot be changed. Nothing is changed then.
pub fn run(arguments: &Uninstall, asker: &mut Asker<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    let named = arguments
        .components
        .iter()
        .map(|text| component(text))
        .collect::<Result<Vec<Reference>, Failure>>()?;
    let root = arguments.place.or_here()?;
    let place = if arguments.dry_run { Place::look(&root) } else { Place::open(&root) }?;
    let force = if arguments.force { Force::Yes } else { Force::No };
    named.iter().try_for_each(|one| meant(one, &place))?;
    let ids: BTreeSet<ComponentId> = named.into_iter().map(|one| one.id).collect();
    let plan = removal(&place, &ids, force)?;
    if !arguments.dry_run {
        plan.carry_out(&place)?;
        let left = &plan.workspace.components;
        // The cache has no part in what no source lists. Where nobody can tell, the hold itself says so.
        let own = unlisted(&left.keys().collect::<Vec<_>>(), asker).unwrap_or_default();
        let listed = left.iter().filter(|(id, _)| !own.contains(*id));
        let releases: Vec<String> = listed.map(|(id, one)| format!("{id}@={}", one.version)).collect();
        let kept = match releases.is_empty() {
            true => Vec::new(),
            // A version that was withdrawn meets no requirement, and is had by a question that says what is installed.
            false => vec![json!({ "releases": releases }), json!({ "resolve": as_installed(left, &own) })],
        };
        hold(&root, kept, asker, terminal);
    }
    let removed = plan.changes.iter().filter(|change| change.fate == Fate::Removed);
    let removed: Vec<Value> = removed.map(|change| row(change, &place)).collect();
    let answer = json!({ "workspace": root, "dryRun": arguments.dry_run, "components": removed });
    terminal.print(&answer, shown)?;
    Ok(0)
}

/// Tells that the version that is installed is one that was meant.
///
/// **Errors**: E002 `install.other_version`.
fn meant(one: &Reference, place: &Place) -> Result<(), Failure> {
    let Some(found) = place.known.components.get(&one.id) else { return Ok(()) };
    // A prerelease is installed as what it is: `foo` alone means it too.
    if one.requirement.is_any() || one.requirement.matches(&found.version) {
        return Ok(());
    }
    let (name, version) = (name(&one.id), &found.version);
    let detail = format!("{name} is installed as {version}, not as {}", one.requirement);
    Err(Failure::new(Code::VersionNotFound, "install.other_version", detail)
        .with("expected", one.requirement.to_string())
        .with("found", version)
        .hint(format!("resolverd uninstall {name} removes what is installed; nothing was changed")))
}

fn row(change: &Change, place: &Place) -> Value {
    let files: Vec<&str> = change.files.iter().map(DocPath::as_text).collect();
    let noted = place.known.components.get(&change.id).map_or(&[][..], |one| one.files.as_slice());
    let adopted: Vec<&str> =
        noted.iter().filter(|file| file.adopted).map(|file| file.path.as_text()).collect();
    json!({ "id": change.id, "version": change.version, "fate": "removed", "files": files, "left": adopted })
}

fn shown(answer: &Value, _paint: Paint) -> String {
    let (mut out, mut files) = (String::new(), 0);
    for one in list(answer, "components") {
        out.push_str(&format!("{} v{}\n", name_in(one), field(one, "version")));
        for path in list(one, "files") {
            out.push_str(&format!("  {}\n", text(path)));
            files += 1;
        }
        for path in list(one, "left") {
            out.push_str(&format!("  {} stays: it was there before\n", text(path)));
        }
    }
    let verb = if answer["dryRun"] == true { "Would remove" } else { "Removed" };
    let components = list(answer, "components").len();
    out + &format!("{verb} {} ({})\n", counted(components, "component"), counted(files, "file"))
}
