//! `scaffold`: writes a new component. Needs no daemon and no configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::estream::destination::Destination;
use crate::cli::render::{Paint, field, list, plain};
use crate::cli::{Ended, Terminal};
use crate::estream::scaffold::{CATEGORIES, Wish, scaffold};

/// What `scaffold` takes.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Categories: esf-schema, wire-adapter, smart-circuit, fpga-circuit, integration, console-widget. Another one \
gets a component without anything of its own.

What is there already is never written over.

Examples:
  resolverd scaffold wire-adapter estream-wire-amqp
  resolverd scaffold smart-circuit @acme/order-router --author 'Acme Finance' -o ./order-router"
)]
pub struct Scaffold {
    /// The category
    #[arg(value_name = "CATEGORY")]
    category: String,
    /// The name, such as order-router or @acme/order-router
    #[arg(value_name = "NAME")]
    name: String,
    /// Who writes it
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// The licence, as SPDX writes it
    #[arg(long, value_name = "SPDX", default_value = "Apache-2.0")]
    license: String,
    #[command(flatten)]
    destination: Destination,
}

/// Writes a component and shows its files.
///
/// **Errors**: R011: the name, category, author or licence cannot be meant, or something is there already.
pub(in crate::cli) fn run(arguments: &Scaffold, terminal: &Terminal) -> Result<(), Ended> {
    let Scaffold { category, name, author, license, destination } = arguments;
    let directory = destination.directory()?.unwrap_or_else(|| PathBuf::from(name));
    let wish = Wish { category, name, author: author.as_deref(), license };
    let made = scaffold(&wish, &directory)?;
    if !CATEGORIES.contains(&category.as_str()) {
        let known = CATEGORIES.join(", ");
        terminal.say(&format!("note: {category} is none of the categories that have a template ({known})"));
    }
    let files: Vec<Value> = made.iter().map(|file| json!({"path": file.path, "note": file.note})).collect();
    let shown = directory.display().to_string();
    let answer = json!({"name": name, "category": category, "directory": shown, "files": files});
    terminal.print(&answer, text)?;
    terminal.say(&format!("next: resolverd pack --dry-run {}", directory.display()));
    Ok(())
}

/// A directory of the tree: what is in it, in the order in which it was made.
#[derive(Default)]
struct Level {
    names: Vec<String>,
    below: BTreeMap<String, Level>,
}

fn text(answer: &Value, _: Paint) -> String {
    let mut top = Level::default();
    for file in list(answer, "files") {
        let path = field(file, "path");
        let mut names: Vec<&str> = path.split('/').collect();
        let last = names.pop().unwrap_or_default();
        let mut level = &mut top;
        for name in names {
            let name = format!("{name}/");
            if !level.names.contains(&name) {
                level.names.push(name.clone());
            }
            level = level.below.entry(name).or_default();
        }
        let note = file["note"].as_str().map(|note| format!(" ({})", plain(note))).unwrap_or_default();
        level.names.push(format!("{last}{note}"));
    }
    let directory = field(answer, "directory");
    let mut out = format!("Created {}/\n", directory.trim_end_matches('/'));
    draw(&top, "", &mut out);
    out
}

fn draw(level: &Level, before: &str, out: &mut String) {
    for (at, name) in level.names.iter().enumerate() {
        let is_last = at + 1 == level.names.len();
        let (branch, next) = if is_last { ("└── ", "    ") } else { ("├── ", "│   ") };
        out.push_str(&format!("{before}{branch}{name}\n"));
        if let Some(below) = level.below.get(name) {
            draw(below, &format!("{before}{next}"), out);
        }
    }
}
