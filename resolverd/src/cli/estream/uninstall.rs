//! `resolverd uninstall`: removes components from a workspace, with what nobody needs without them.

use catalogue_schema::path::DocPath;
use clap::Args;
use serde_json::{Value, json};

use crate::api::Failure;
use crate::cli::ask::Asker;
use crate::cli::estream::install::counted;
use crate::cli::estream::workspace::{WorkspacePlace, component, hold, name_in};
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
/// **Errors**: E001, E003, E014; why the workspace cannot be changed. Nothing is changed then.
pub fn run(arguments: &Uninstall, asker: &mut Asker<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    let ids = arguments
        .components
        .iter()
        .map(|text| component(text).map(|one| one.id))
        .collect::<Result<Vec<_>, Failure>>()?;
    let root = arguments.place.or_here()?;
    let place = if arguments.dry_run { Place::look(&root) } else { Place::open(&root) }?;
    let force = if arguments.force { Force::Yes } else { Force::No };
    let plan = removal(&place, &ids, force)?;
    if !arguments.dry_run {
        plan.carry_out(&place)?;
        let releases: Vec<String> =
            plan.workspace.components.iter().map(|(id, one)| format!("{id}@={}", one.version)).collect();
        let kept = (!releases.is_empty()).then(|| json!({ "releases": releases }));
        hold(&root, kept, asker, terminal);
    }
    let removed: Vec<Value> =
        plan.changes.iter().filter(|change| change.fate == Fate::Removed).map(row).collect();
    let answer = json!({ "workspace": root, "dryRun": arguments.dry_run, "components": removed });
    terminal.print(&answer, shown)?;
    Ok(0)
}

fn row(change: &Change) -> Value {
    let files: Vec<&str> = change.files.iter().map(DocPath::as_text).collect();
    json!({ "id": change.id, "version": change.version, "fate": "removed", "files": files })
}

fn shown(answer: &Value, _paint: Paint) -> String {
    let (mut out, mut files) = (String::new(), 0);
    for one in list(answer, "components") {
        out.push_str(&format!("{} v{}\n", name_in(one), field(one, "version")));
        for path in list(one, "files") {
            out.push_str(&format!("  {}\n", text(path)));
            files += 1;
        }
    }
    let verb = if answer["dryRun"] == true { "Would remove" } else { "Removed" };
    let components = list(answer, "components").len();
    out + &format!("{verb} {} ({})\n", counted(components, "component"), counted(files, "file"))
}
