//! `pack`: checks a component and writes its archive. Asks no registry and signs nothing.

use std::path::{Path, PathBuf};

use catalogue_schema::digest::{Algorithm, Digest};
use clap::Args;
use serde_json::{Value, json};

use crate::api::{Code, Failure};
use crate::cli::estream::checks::{self, Checking};
use crate::cli::render::{Paint, field, list, texts};
use crate::cli::{Ended, Env, Terminal};
use crate::config::Settings;
use crate::estream::package::against::Against;
use crate::estream::package::{Package, bounds};
use crate::signing::replace;

/// What `pack` takes.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "In the archive are estream-component.toml, the readme, the licence files at the top (LICENSE*, LICENCE*, \
COPYING*, NOTICE*) and what the patterns of [component.include] name: names separated by /, with *, ? and [..] in a name and ** for \
directories. Without that table everything is, but for what begins with a dot, target, node_modules, __pycache__, Thumbs.db, \
desktop.ini, *~, *.bak, *.orig, *.pyc, *.rej, *.swp, *.tmp, and archives of the component itself. What begins with a dot is only \
there when a pattern spells the dot out. Links, devices and names that differ in case alone are refused.

Equal files give equal bytes, whoever packs them, where, and when: sorted paths, mode 0644, owner 0, time 0.

Examples:
  resolverd pack --dry-run
  resolverd pack ./estream-wire-fix --out dist/estream-wire-fix.tar.gz
  resolverd pack --check-command 'escir check --all'"
)]
pub struct Pack {
    /// The component's directory
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// The file to write [default: NAME-VERSION.tar.gz beside the component's directory]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show the checks and the files, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Who is going to publish it: whether the name may be theirs is checked
    #[arg(long, value_name = "NAME")]
    publisher: Option<String>,
    #[command(flatten)]
    checking: Checking,
}

/// Checks, packs and says what is in the archive.
///
/// **Errors**: whatever is wrong with the component, all of it; the archive cannot be written.
pub(in crate::cli) fn run(
    arguments: &Pack,
    settings: &Settings,
    env: Env<'_>,
    terminal: &Terminal,
) -> Result<(), Ended> {
    if arguments.out.as_deref() == Some(Path::new("-")) {
        let detail = "an archive is not written to stdout, where its facts are printed";
        return Err(Failure::new(Code::RequestInvalid, "pack.out", detail)
            .hint("name a file behind --out")
            .into());
    }
    let bounds = bounds(&settings.limits);
    let command = arguments.checking.command(settings, env)?;
    let package = Package::read(&arguments.path, &bounds)?;
    let against = Against { publisher: arguments.publisher.as_deref(), ..Against::nothing(&bounds) };
    // Packed once: the archive is what its size is taken from, and what is written.
    let within = against.archive_bounds();
    let packed = package.archive(&within);
    let against = Against { archive: packed.as_deref().ok(), command: command.as_ref(), ..against };
    let checks = package.validate(&against);
    let mut answer = described(&package, &checks::answer(&checks));
    answer["dryRun"] = arguments.dry_run.into();
    if let Some(failure) = checks::failed(&checks, "nothing was packed") {
        terminal.print(&answer, text)?;
        return Err(failure.into());
    }
    let archive = packed?;
    let tar = package.tar(&within)?;
    answer["bytes"] = archive.len().into();
    answer["sha3_256"] = Digest::of(Algorithm::Sha3_256, &archive).hex().into();
    answer["tar"] = Digest::sha256(&tar).to_string().into();
    let place = place(arguments, &package)?;
    answer["replaced"] = (!arguments.dry_run && place.is_file()).into();
    if !arguments.dry_run {
        replace(&place, &archive).map_err(|error| {
            let detail = format!("cannot write {}: {error}", place.display());
            Failure::new(Code::RequestInvalid, "pack.out", detail)
                .hint("name a file in a directory that exists and may be written behind --out")
        })?;
    }
    answer["archive"] = place.display().to_string().into();
    terminal.print(&answer, text)
}

/// Returns where the archive is written.
///
/// **Errors**: R011 `pack.out`: a directory, or a file of the component.
fn place(arguments: &Pack, package: &Package) -> Result<PathBuf, Failure> {
    let wrong = |detail: String| {
        Err(Failure::new(Code::RequestInvalid, "pack.out", detail).hint("name another file behind --out"))
    };
    let directory = arguments.path.canonicalize().unwrap_or_else(|_| arguments.path.clone());
    let place = match &arguments.out {
        Some(file) => file.clone(),
        None => directory.parent().unwrap_or(Path::new("/")).join(package.file_name()?),
    };
    if place.is_dir() {
        return wrong(format!("{} is a directory", place.display()));
    }
    let real = place.canonicalize().ok();
    let own = real.as_deref().and_then(|real| real.strip_prefix(&directory).ok()).and_then(Path::to_str);
    match own.filter(|own| package.files.keys().any(|path| path.as_text() == *own)) {
        Some(own) => wrong(format!("{own} is a file of the component, which the archive would replace")),
        None => Ok(place),
    }
}

/// Returns what is in a component.
fn described(package: &Package, checks: &Value) -> Value {
    let files: Vec<Value> = package
        .files
        .iter()
        .map(|(path, bytes)| json!({"path": path.as_text(), "size": bytes.len()}))
        .collect();
    let mut answer = json!({"checks": checks, "files": files, "leftOut": package.left_out});
    if let Ok(component) = package.component() {
        answer["name"] = component.id.path().into();
        answer["version"] = component.version.to_string().into();
        answer["category"] = component.category.as_str().into();
    }
    answer
}

fn text(answer: &Value, paint: Paint) -> String {
    let mut out = format!("Validating {}...\n", field(answer, "name")).replace(" ...", "...");
    out.push_str(&checks::text(list(answer, "checks"), paint));
    let files = list(answer, "files");
    out.push_str(&format!("\nFiles ({}):\n", files.len()));
    let width = files.iter().map(|file| field(file, "size").len()).max().unwrap_or_default();
    for file in files {
        out.push_str(&format!("  {:>width$}  {}\n", field(file, "size"), field(file, "path")));
    }
    let left_out = texts(list(answer, "leftOut"));
    if !left_out.is_empty() {
        out.push_str(&format!("Left out: {}\n", left_out.join(", ")));
    }
    if answer["archive"].is_string() {
        let verb = if answer["dryRun"] == true { "Would write" } else { "Wrote" };
        out.push_str(&format!(
            "\nChecksum (SHA3-256): {}\nTar archive: {}\n{verb} {} ({} bytes{})\n",
            field(answer, "sha3_256"),
            field(answer, "tar"),
            field(answer, "archive"),
            field(answer, "bytes"),
            if answer["replaced"] == true { ", in place of the file that was there" } else { "" },
        ));
    }
    out
}
