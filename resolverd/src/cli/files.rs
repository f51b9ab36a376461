//! `resolverd materialize`, `locate`, `verify` and `gc`: files of releases on disk. The daemon writes below its own cache only; a
//! directory elsewhere is built here, from there, with the rights of whoever calls.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf, absolute};

use catalogue_schema::direct::PREFIX;
use catalogue_schema::id::{Dialect, Reference};
use catalogue_schema::model::Refusal;
use clap::Args;
use serde_json::{Value, json};

use crate::api::files::{FilesRow, HOLD_BYTES_MAX, Layout};
use crate::api::{Call, Code, Failure};
use crate::cli::ask::Asker;
use crate::cli::project::{Place, note_text};
use crate::cli::render::{Paint, field, list, short, table, text};
use crate::cli::terms::Terms;
use crate::cli::{Ended, Env, Terminal, keys, lock};
use crate::daemon::files;

/// How the hold of a directory begins; its path follows.
const VIEW: &str = "view:";
/// How the hold of a lock begins; its path follows.
const LOCK: &str = "lock:";
/// How the hold of an eStream workspace begins; the path of its file follows.
pub(super) const WORKSPACE: &str = "workspace:";
/// The exit status of a reference that was not found.
const NOT_FOUND: u8 = 10;
/// The exit status of files that were changed.
const CHANGED: u8 = 7;

/// What `materialize` takes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  resolverd materialize lcod://tooling/array/pluck@0.1.0
  resolverd materialize lcod://tooling/array/pluck --with-dependencies --native lcod://contract/ --layout lcod-view ./view
  resolverd materialize --locked --layout lcod-view ./view
  LCOD_COMPONENTS_PATH=./view lcod_run -c lcod://tooling/array/pluck@0.1.0")]
pub struct Materialize {
    /// References, such as lcod://tooling/array/pluck@0.1.0 or git+https://host/repo.git@COMMIT#PATH
    #[arg(value_name = "REF", required_unless_present = "locked")]
    references: Vec<String>,
    /// Everything that they require as well, chosen together as resolve chooses
    #[arg(long)]
    with_dependencies: bool,
    /// What the lock in the current directory holds; fails with exit status 4 where a new lock would differ
    #[arg(long, conflicts_with = "with_dependencies")]
    locked: bool,
    /// An id, or a prefix that ends in /, which the caller implements itself; RESOLVERD_NATIVES names more, separated by commas
    #[arg(long = "native", value_name = "REF")]
    pub(super) natives: Vec<String>,
    /// A file with one native a line; # starts a comment
    #[arg(long, value_name = "FILE")]
    pub(super) natives_file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Copy them to DIR/<path>/<version>/; DIR is new, empty, or was made so and not changed; what was copied there before stays
    #[arg(long, value_name = "DIR", conflicts_with = "layout")]
    to: Option<PathBuf>,
    /// Lay a workspace of copies out in DIR; the one layout is lcod-view, for LCOD_COMPONENTS_PATH
    #[arg(long, num_args = 2, value_names = ["LAYOUT", "DIR"])]
    layout: Option<Vec<String>>,
    /// Keep them in the cache under this name, until gc --end NAME
    #[arg(long, value_name = "NAME", conflicts_with_all = ["to", "layout"])]
    hold: Option<String>,
    #[command(flatten)]
    terms: Terms,
}

/// What `locate` takes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:
  resolverd locate lcod://tooling/array/pluck@^0.1")]
pub struct Locate {
    /// A reference
    #[arg(value_name = "REF")]
    reference: String,
    #[command(flatten)]
    place: Place,
}

/// What `verify` takes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  resolverd verify                                    the whole cache
  resolverd verify estream-wire-fix                   an installed component: files, archive, signature
  resolverd verify --all                              every installed component of the workspace
  resolverd verify lcod://tooling/array/pluck@0.1.0   one release in it
  resolverd verify catalogue.json --key team.pem      the signatures of a file; needs no daemon")]
pub struct Verify {
    /// Releases in the cache, as id@version, all of them where none is named; names of installed eStream components; with --key the
    /// file that was signed
    #[arg(value_name = "REF|COMPONENT|FILE")]
    targets: Vec<String>,
    /// Every installed component of the workspace
    #[arg(long, conflicts_with_all = ["targets", "keys"])]
    all: bool,
    /// The workspace [default: the nearest directory upwards with estream-workspace.toml]
    #[arg(long, value_name = "DIR", conflicts_with = "keys")]
    pub(super) workspace: Option<PathBuf>,
    /// A public key that must have signed the file; all of them must
    #[arg(long = "key", value_name = "PUBLIC")]
    keys: Vec<PathBuf>,
    /// The signature [default: FILE.sig]
    #[arg(long, value_name = "FILE", id = "signature_file", requires = "keys")]
    signature: Option<PathBuf>,
}

/// What `gc` takes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  resolverd gc --dry-run
  resolverd gc --unused 0
  resolverd gc --max-size 500")]
pub struct Gc {
    /// Remove nothing, only say what would go
    #[arg(long)]
    dry_run: bool,
    /// How long a release must not have been asked for, in seconds [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    unused: Option<u64>,
    /// Remove only as much as brings the files and archives of all releases to so many MB (1,000,000 bytes): what was asked for longest
    /// ago goes first
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    max_size: Option<u64>,
    /// End the hold of this name; root ends those of everybody
    #[arg(long, value_name = "NAME")]
    end: Vec<String>,
    /// Remove the workspaces in the cache as well; kernels may be using them
    #[arg(long)]
    views: bool,
}

/// What `release` takes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  resolverd materialize lcod://tooling/array/pluck --hold build
  resolverd release build")]
pub struct Release {
    /// The names of holds; those of other users stay, unless root asks
    #[arg(value_name = "NAME", required = true)]
    holds: Vec<String>,
}

impl Verify {
    /// Returns the installed components that are meant, none meaning all of them; `None` where the cache is meant.
    ///
    /// **Errors**: R011 where both are.
    pub(super) fn of_workspace(&self) -> Result<Option<Vec<String>>, Failure> {
        let is_installed = |text: &&String| {
            Reference::parse(text)
                .is_ok_and(|read| read.id.dialect() == Dialect::Estream && read.requirement.is_any())
        };
        let named: Vec<String> = self.targets.iter().filter(is_installed).cloned().collect();
        let is_meant = self.all || self.workspace.is_some() || !named.is_empty();
        match is_meant && named.len() < self.targets.len() {
            true => {
                let detail =
                    "installed components and releases in the cache are verified one after the other";
                Err(Failure::new(Code::RequestInvalid, "arguments", detail)
                    .hint("name components without a version, or releases as id@version, but not both"))
            }
            false => Ok(is_meant.then_some(named)),
        }
    }

    /// Returns the file whose signatures are meant; `None` where the cache is.
    ///
    /// **Errors**: there is not exactly one file beside the keys.
    pub(super) fn of_file(&self) -> Result<Option<keys::Verify>, Failure> {
        match (self.keys.is_empty(), self.targets.as_slice()) {
            (true, _) => Ok(None),
            (false, [file]) => Ok(Some(keys::Verify {
                file: PathBuf::from(file),
                keys: self.keys.clone(),
                signature: self.signature.clone(),
            })),
            (false, targets) => {
                let detail = format!("--key verifies one file, and {} are named", targets.len());
                Err(Failure::new(Code::RequestInvalid, "arguments", detail)
                    .hint("resolverd verify FILE --key PUBLIC"))
            }
        }
    }
}

/// Puts files on disk and says where.
///
/// **Errors**: those of the answer; the directory cannot be made.
pub(super) fn materialize(
    arguments: &Materialize,
    natives: Vec<String>,
    offline: bool,
    asker: &mut Asker<'_>,
    env: Env<'_>,
    terminal: &Terminal,
) -> Result<u8, Ended> {
    let destination = destination(arguments)?;
    let mut body = json!({"offline": offline, "hold": arguments.hold});
    let mut counted = None;
    if arguments.locked {
        let place = arguments.place.directory()?;
        let wish = lock::Wish::kept(&arguments.references, place, natives, &arguments.terms);
        let (question, path) = lock::question(&wish, asker, env, terminal)?;
        body["resolve"] = question;
        if arguments.hold.is_none() {
            body["hold"] = json!(hold_of(LOCK, &path)?);
        }
    } else if arguments.with_dependencies {
        let mut question = json!({"requests": arguments.references, "natives": natives});
        arguments.terms.add(&mut question, offline)?;
        counted = arguments.place.wishes(env)?;
        if let Some(wishes) = &counted {
            wishes.add_to(&mut question, terminal);
        }
        body["resolve"] = question;
    } else {
        if arguments.terms.follows_calls() || !arguments.terms.platforms.is_empty() {
            let detail = "--platform, --calls and --strict count for a solution, and none is asked for";
            return Err(Failure::new(Code::RequestInvalid, "arguments", detail)
                .hint("say --with-dependencies or --locked as well")
                .into());
        }
        body["releases"] = json!(arguments.references);
        // Which releases are meant is said exactly; the project says only from where their files come.
        let wishes = arguments.place.wishes(env)?;
        body["mirrors"] = wishes.map_or_else(|| json!({}), |wishes| wishes.mirrors());
    }
    let mut answer = asker.ask_for_files(&Call::post("/v1/materialize", &body), "fetching files")?;
    if let Some((place, layout)) = destination {
        let rows: Vec<FilesRow> = serde_json::from_value(answer["items"].clone()).map_err(|error| {
            Failure::new(
                Code::DaemonUnreachable,
                "answer",
                format!("cannot read the daemon's answer: {error}"),
            )
        })?;
        files::put(&place, layout, &rows).map_err(|refusal| failure(&refusal))?;
        // Nothing is held for a directory that could not be made; what is in the cache by now is all that is asked for.
        body["hold"] = json!(hold_of(VIEW, &place)?);
        asker.ask_slowly(&Call::post("/v1/materialize", &body), "noting who needs them")?;
        let releases: BTreeSet<&str> = rows.iter().map(|row| row.release.as_str()).collect();
        answer["view"] = json!({"directory": place, "components": releases.len()});
    }
    if let Some(wishes) = &counted {
        wishes.note(&mut answer);
    }
    terminal.print(&answer, materialized)?;
    Ok(0)
}

/// Returns the name of the hold for a path.
pub(super) fn hold_of(prefix: &str, place: &Path) -> Result<String, Failure> {
    let name = place.to_str().map(|text| format!("{prefix}{text}"));
    let is_good = |name: &String| name.len() <= HOLD_BYTES_MAX && !name.chars().any(char::is_control);
    name.filter(is_good).ok_or_else(|| {
        let longest = HOLD_BYTES_MAX - VIEW.len();
        let expected = format!("a path of printable UTF-8 of at most {longest} bytes");
        let detail = format!(
            "{:?}: expected {expected}, since gc asks by it whether it is still there",
            place.display()
        );
        Failure::new(Code::RequestInvalid, "arguments", detail).hint("name another directory")
    })
}

/// Returns the directory to build, absolute, and how; nothing has been asked for yet where that is refused.
fn destination(arguments: &Materialize) -> Result<Option<(PathBuf, Option<Layout>)>, Failure> {
    let named = |place: &Path| {
        let place = absolute(place).map_err(|error| {
            Failure::new(Code::RequestInvalid, "arguments", format!("{}: {error}", place.display()))
        })?;
        hold_of(VIEW, &place).map(|_| place)
    };
    let is_described = arguments.with_dependencies || arguments.locked;
    if let Some(direct) = arguments.references.iter().find(|one| one.starts_with(PREFIX))
        && (arguments.to.is_some() || arguments.layout.is_some())
        && !is_described
    {
        let detail =
            format!("{direct} is a direct reference, which has no id and no version to name a directory by");
        return Err(Failure::new(Code::RequestInvalid, "arguments", detail).hint(
            "ask with --with-dependencies, which reads its lcp.toml; or copy the directory that is answered",
        ));
    }
    match (&arguments.to, arguments.layout.as_deref()) {
        (Some(to), _) => Ok(Some((named(to)?, None))),
        (None, Some([layout, place])) if layout == "lcod-view" => {
            Ok(Some((named(Path::new(place))?, Some(Layout::LcodView))))
        }
        (None, Some([layout, ..])) => {
            let detail = format!("there is no layout {layout:?}");
            Err(Failure::new(Code::RequestInvalid, "arguments", detail).hint("the one layout is lcod-view"))
        }
        (None, _) => Ok(None),
    }
}

fn failure(refusal: &Refusal) -> Failure {
    let code = match refusal.reason.split('.').next() {
        Some("cache") => Code::CacheCorrupted,
        Some("no_space") => Code::StoreUnavailable,
        _ => Code::RequestInvalid,
    };
    Failure::new(code, refusal.reason.clone(), refusal.to_string())
        .with("expected", &refusal.expected)
        .with("found", &refusal.found)
        .hint("nothing was changed there; name another directory, or resolverd verify the cache")
}

fn materialized(answer: &Value, paint: Paint) -> String {
    let rows = list(answer, "items").iter().map(|one| {
        let files = list(one, "files").len().to_string();
        vec![
            field(one, "release"),
            files,
            field(one, "from"),
            short(&field(one, "integrity")),
            field(one, "directory"),
        ]
    });
    let mut out = table(&["RELEASE", "FILES", "FROM", "INTEGRITY", "DIRECTORY"], rows.collect());
    for warning in list(answer, "items").iter().flat_map(|one| list(one, "warnings")) {
        out.push_str(&format!("{} {}\n", paint.bad("warning:"), field(warning, "text")));
    }
    if answer["view"].is_object() {
        let view = &answer["view"];
        out.push_str(&format!("{} components in {}\n", text(&view["components"]), field(view, "directory")));
    }
    out + &note_text(answer)
}

/// Says where the files of a component lie.
///
/// **Errors**: those of the answer.
pub(super) fn locate(
    arguments: &Locate,
    offline: bool,
    asker: &mut Asker<'_>,
    env: Env<'_>,
    terminal: &Terminal,
) -> Result<u8, Ended> {
    let mut body = json!({"id": arguments.reference, "offline": offline});
    if let Some(wishes) = arguments.place.wishes(env)? {
        body["mirrors"] = wishes.mirrors();
    }
    let answer = asker.ask_slowly(&Call::post("/v1/locate", &body), "fetching files")?;
    terminal.print(&answer, |answer, paint| match answer["found"] == true {
        true => format!("{}\n", field(&answer["result"], "composePath")),
        false => format!(
            "{}: {}\n",
            paint.bad("not found"),
            list(answer, "warnings").iter().map(text).collect::<Vec<_>>().join("; ")
        ),
    })?;
    Ok(if answer["found"] == true { 0 } else { NOT_FOUND })
}

/// Compares the cache with what was published; the exit status is 7 where something was changed.
///
/// **Errors**: those of the answer.
pub(super) fn verify(arguments: &Verify, asker: &mut Asker<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    let body = json!({"releases": arguments.targets});
    let answer = asker.ask_slowly(&Call::post("/v1/files/verify", &body), "reading files")?;
    let is_there = |target: &String| list(&answer, "items").iter().any(|row| row["release"] == *target);
    if let Some(absent) = arguments.targets.iter().find(|target| !is_there(target)) {
        let detail = format!("{absent} is not in the cache");
        return Err(Failure::new(Code::ComponentNotFound, "files.absent", detail)
            .hint(format!("resolverd materialize {absent}; resolverd verify alone names what is there"))
            .into());
    }
    terminal.print(&answer, verified)?;
    Ok(if answer["changed"] == 0 { 0 } else { CHANGED })
}

fn verified(answer: &Value, paint: Paint) -> String {
    let items = list(answer, "items");
    let mut out = String::new();
    for one in items {
        for change in list(one, "changes") {
            let what = paint.bad(&field(change, "what"));
            out.push_str(&format!(
                "{}: {what} {}/{}\n",
                field(one, "release"),
                field(one, "directory"),
                field(change, "path")
            ));
        }
    }
    out.push_str(&skipped(answer, paint));
    out + &format!("{} releases in the cache, {} changed\n", items.len(), text(&answer["changed"]))
}

/// Ends holds of the caller; the exit status is 10 where one of the names is none of them.
///
/// **Errors**: those of the answer.
pub(super) fn release(arguments: &Release, asker: &mut Asker<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    let answer = asker.ask(&Call::post("/v1/files/release", &json!({"holds": arguments.holds})))?;
    let is_there = |name: &&String| list(&answer, "released").iter().any(|hold| hold["name"] == **name);
    let absent: Vec<&String> = arguments.holds.iter().filter(|name| !is_there(name)).collect();
    terminal.print(&answer, |answer, paint| {
        let ended = list(answer, "released").iter().map(|hold| {
            format!(
                "released {}, which kept {} releases\n",
                field(hold, "name"),
                list(hold, "releases").len()
            )
        });
        let absent = absent
            .iter()
            .map(|name| format!("{} {name}: you have no hold of this name\n", paint.bad("absent")));
        ended.chain(absent).collect()
    })?;
    Ok(if absent.is_empty() { 0 } else { NOT_FOUND })
}

/// Removes what nobody needs any more. The holds of directories that are gone end, as far as the caller can see them and may end
/// them.
///
/// **Errors**: those of the answer.
pub(super) fn gc(arguments: &Gc, asker: &mut Asker<'_>, terminal: &Terminal) -> Result<u8, Ended> {
    let known = asker.ask(&Call::get("/v1/files"))?;
    // To root a directory that another user cannot show anybody is gone or not; to others it may only be out of sight.
    let own = rustix::process::geteuid();
    let is_own = |hold: &&Value| own.is_root() || hold["uid"] == own.as_raw();
    let names = list(&known, "holds").iter().filter(is_own).map(|hold| field(hold, "name"));
    let is_over = |name: &String| {
        let view = name.strip_prefix(VIEW).and_then(|place| files::is_gone(Path::new(place)));
        let of_file = name.strip_prefix(LOCK).or_else(|| name.strip_prefix(WORKSPACE));
        let lock = of_file.and_then(|place| files::is_absent(Path::new(place)));
        view.or(lock) == Some(true)
    };
    let ended: Vec<String> = names.filter(is_over).chain(arguments.end.iter().cloned()).collect();
    let body = json!({
        "dryRun": arguments.dry_run, "ended": ended, "unusedS": arguments.unused, "views": arguments.views,
        "maxBytes": arguments.max_size.map(|size| size * 1_000_000),
    });
    let answer = asker.ask_slowly(&Call::post("/v1/files/gc", &body), "removing files")?;
    terminal.print(&answer, collected)?;
    Ok(0)
}

/// Names what lies in the cache and is none of ours.
fn skipped(answer: &Value, paint: Paint) -> String {
    let skipped = list(answer, "skipped").iter();
    skipped.map(|one| format!("{} {}\n", paint.bad("skipped"), text(one))).collect()
}

fn collected(answer: &Value, paint: Paint) -> String {
    let verb = if answer["dryRun"] == true { "would remove" } else { "removed" };
    let removed = list(answer, "removed");
    let mut out: String = removed.iter().map(|one| format!("{verb} {}\n", text(one))).collect();
    out.push_str(&skipped(answer, paint));
    out.push_str(&format!(
        "{verb} {} releases, {} bytes, {} workspaces; {} stay, {} of them held\n",
        removed.len(),
        text(&answer["bytes"]),
        text(&answer["views"]),
        text(&answer["kept"]),
        text(&answer["held"]),
    ));
    out
}
