//! New components, one template for each category of seed 002 (§1.2, §5.5) and a plain one for any other. What is written can be
//! checked and packed as it is. All of it comes into sight in one step, and never in the place of anything.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use catalogue_schema::dialect::estream::component::publishable;
use catalogue_schema::error::ParseError;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::api::{Code, Failure};
use crate::estream::package::against::kebab;

/// The categories that have a template of their own.
pub const CATEGORIES: [&str; 6] =
    ["esf-schema", "wire-adapter", "smart-circuit", "fpga-circuit", "integration", "console-widget"];

/// The longest part of a component's name in the names of its files, in bytes; those have to be shorter than 100.
const BASE_BYTES_MAX: usize = 60;
/// The longest author or licence, in characters.
const TEXT_CHARS_MAX: usize = 200;
/// The file that keeps an empty directory in Git.
const KEEP: &str = ".gitkeep";

/// What a new component is to be.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The category.
    pub category: &'a str,
    /// The name, `name` or `@publisher/name`.
    pub name: &'a str,
    /// Who writes it.
    pub author: Option<&'a str>,
    /// The licence, as SPDX writes it.
    pub license: &'a str,
}

/// A file of a new component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Its path from the component's directory.
    pub path: String,
    /// What it is, where its name does not say it.
    pub note: Option<&'static str>,
    /// Its text.
    pub text: String,
}

/// Writes a new component into `directory`, which it makes, and returns the files in the order in which they are shown.
///
/// **Errors**: R011 `scaffold.…`: the wish cannot be meant, something is there already, or the system says no; nothing is left then.
pub fn scaffold(wish: &Wish<'_>, directory: &Path) -> Result<Vec<NewFile>, Failure> {
    check(wish)?;
    let files = files(wish);
    write(directory, &files).map_err(|error| {
        let (reason, hint) = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                ("scaffold.exists", "name another directory with --output-dir; nothing is written over")
            }
            _ => ("scaffold.write", "name a directory that may be made with --output-dir"),
        };
        let detail = format!("cannot make {}: {error}", directory.display());
        Failure::new(Code::RequestInvalid, reason, detail).hint(hint)
    })?;
    Ok(files)
}

fn check(wish: &Wish<'_>) -> Result<(), Failure> {
    let wrong = |error: ParseError, hint: &str| Err(Failure::of(Code::RequestInvalid, &error).hint(hint));
    if let Err(error) = publishable(wish.name) {
        return wrong(error, "name it such as order-router, or @publisher/order-router");
    }
    if wish.category.starts_with('@') || publishable(wish.category).is_err() {
        let error = ParseError::new("estream.category", "a category of a-z, 0-9 and -", wish.category);
        return wrong(error, "name one of those that resolverd help scaffold lists");
    }
    let is_text = |text: &str| {
        !text.trim().is_empty()
            && text.chars().count() <= TEXT_CHARS_MAX
            && !text.chars().any(char::is_control)
    };
    if let Some(author) = wish.author.filter(|author| !is_text(author)) {
        let expected = format!("one line of at most {TEXT_CHARS_MAX} characters");
        return wrong(ParseError::new("scaffold.author", expected, author), "name the author on one line");
    }
    let is_spdx = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '(' | ')' | ' ' | ':');
    if !is_text(wish.license) || !wish.license.chars().all(is_spdx) {
        let error =
            ParseError::new("scaffold.license", "an SPDX expression such as Apache-2.0", wish.license);
        return wrong(error, "name a licence by its SPDX id, such as MIT or Apache-2.0");
    }
    Ok(())
}

/// Writes aside and renames: who looks finds everything or nothing.
fn write(directory: &Path, files: &[NewFile]) -> io::Result<()> {
    let taken = || io::Error::new(io::ErrorKind::AlreadyExists, "something is there already");
    if directory.symlink_metadata().is_ok() {
        return Err(taken());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let aside = tempfile::Builder::new().prefix(".resolverd-new-").tempdir_in(parent)?;
    // The directory itself has the modes that the caller's umask leaves.
    let made = aside.path().join("component");
    DirBuilder::new().create(&made)?;
    for file in files {
        let place = made.join(&file.path);
        if let Some(parent) = place.parent() {
            DirBuilder::new().recursive(true).create(parent)?;
        }
        let mut written = OpenOptions::new().write(true).create_new(true).open(&place)?;
        written.write_all(file.text.as_bytes())?;
        written.sync_all()?;
    }
    match renameat_with(CWD, &made, CWD, directory, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST | Errno::NOTEMPTY) => Err(taken()),
        // A file system that cannot promise it: a directory never takes the place of a file or of one that holds anything.
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(&made, directory),
        renamed => Ok(renamed?),
    }
}

/// The names that follow from that of a component.
struct Names {
    /// The name without what all of its kind begin with: `amqp` of `estream-wire-amqp`.
    base: String,
    /// `amqp_router`.
    snake: String,
    /// `AmqpRouter`.
    pascal: String,
}

impl Names {
    fn of(name: &str) -> Names {
        let own = name.rsplit('/').next().unwrap_or(name);
        let base = ["estream-wire-", "estream-", "esf-"]
            .iter()
            .find_map(|prefix| own.strip_prefix(prefix))
            .filter(|rest| !rest.is_empty())
            .unwrap_or(own);
        // What is published is plain ASCII: any byte of it may be the last.
        let base = base.get(..BASE_BYTES_MAX).unwrap_or(base).trim_end_matches('-');
        let words = base.split('-').filter(|word| !word.is_empty());
        let capital = |word: &str| {
            let mut chars = word.chars();
            chars
                .next()
                .map(|first| first.to_ascii_uppercase().to_string() + chars.as_str())
                .unwrap_or_default()
        };
        let pascal: String = words.clone().map(capital).collect();
        // Neither an identifier nor a type begins with a digit.
        let lead = |text: String, with: &str| match text.starts_with(|c: char| c.is_ascii_digit()) {
            true => format!("{with}{text}"),
            false => text,
        };
        Names {
            base: base.to_owned(),
            snake: lead(words.collect::<Vec<_>>().join("_"), "c_"),
            pascal: lead(pascal, "C"),
        }
    }
}

/// A template: the tables of the manifest behind the common ones, and the files besides manifest and readme.
struct Template {
    description: String,
    tables: String,
    include: Vec<(&'static str, &'static str)>,
    files: Vec<NewFile>,
}

/// Returns the files of a new component.
fn files(wish: &Wish<'_>) -> Vec<NewFile> {
    let names = Names::of(wish.name);
    let template = match wish.category {
        "esf-schema" | "data-schema" => schema(&names),
        "wire-adapter" => wire_adapter(&names),
        "smart-circuit" => smart_circuit(&names),
        "fpga-circuit" => fpga_circuit(&names),
        "integration" => integration(&names),
        "console-widget" => console_widget(&names),
        _ => plain(wish.category),
    };
    let mut files = vec![
        NewFile { path: "estream-component.toml".to_owned(), note: None, text: manifest(wish, &template) },
        NewFile { path: "README.md".to_owned(), note: None, text: readme(wish, &template) },
    ];
    files.extend(template.files);
    files
}

fn manifest(wish: &Wish<'_>, template: &Template) -> String {
    let author = wish.author.map(|author| format!("\n[component.author]\nname = {}\n", quoted(author)));
    let include: String =
        template.include.iter().map(|(what, pattern)| format!("{what} = [{}]\n", quoted(pattern))).collect();
    format!(
        "[component]\n\
         name = {}\n\
         version = \"0.1.0\"\n\
         category = {}\n\
         description = {}\n\
         license = {}\n\
         readme = \"README.md\"\n\
         keywords = []\n\
         {}\n\
         # The versions of eStream that it runs on:\n\
         # [component.estream]\n\
         # min_version = \"0.8.0\"\n\
         \n\
         # Other components, such as esf-trading = \"^1.0.0\"; estream-kernel is always there.\n\
         [component.dependencies]\n\
         {}\n\
         # What is published, besides this file, the readme and the licence files.\n\
         [component.include]\n\
         {include}",
        quoted(wish.name),
        quoted(wish.category),
        quoted(&template.description),
        quoted(wish.license),
        author.unwrap_or_default(),
        template.tables,
    )
}

/// Returns a text as TOML writes it: the escapes of JSON are among those of TOML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn readme(wish: &Wish<'_>, template: &Template) -> String {
    let Wish { name, license, .. } = wish;
    format!(
        "# {name}\n\n{}.\n\n## Publish\n\n```sh\nresolverd pack --dry-run   # the checks, and what would be in the archive\n\
         resolverd publish --dry-run\n```\n\nNeither knows ESF or ESCIR: name the program that does with `--check-command`.\n\n\
         ## Licence\n\n{license}\n",
        template.description
    )
}

fn kept(directory: &str) -> NewFile {
    NewFile { path: format!("{directory}/{KEEP}"), note: None, text: String::new() }
}

fn file(path: String, note: Option<&'static str>, text: String) -> NewFile {
    NewFile { path, note, text }
}

const SCHEMAS: (&str, &str) = ("schemas", "schemas/*.esf.yaml");
const CIRCUITS: (&str, &str) = ("circuits", "circuits/*.circuit.yaml");
const TESTS: (&str, &str) = ("tests", "tests/golden/**");

fn schemas_table(provides: &[&str]) -> String {
    format!("\n[component.schemas]\nprovides = [{}]\nrequires = []\n", list(provides))
}

fn circuits_table(provides: &str, target: &str) -> String {
    format!("\n[component.circuits]\nprovides = [{}]\ntarget = [{}]\n", quoted(provides), quoted(target))
}

fn list(texts: &[&str]) -> String {
    texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")
}

fn circuit(name: &str, description: &str, target: &str) -> String {
    format!(
        "# A circuit in ESCIR: it passes on what comes in.\n\
         escir_version: \"0.8.0\"\n\
         name: {name}\n\
         version: \"0.1.0\"\n\
         description: {}\n\
         \n\
         inputs:\n  - name: input\n    type: bytes\n\
         \n\
         outputs:\n  - name: output\n    type: bytes\n\
         \n\
         annotations:\n  hardware_target: [{target}]\n\
         \n\
         compute:\n  - id: pass\n    type: transform\n\
         \n\
         flows:\n  - input -> pass -> output\n",
        quoted(description)
    )
}

fn vector(name: &str, circuit: &str) -> String {
    let vector = serde_json::json!({
        "test_vector": {"name": name, "circuit": circuit, "version": "0.1.0"},
        "input": {"input": "00"},
        "expected_output": {"output": "00"}
    });
    format!("{vector:#}\n")
}

fn schema(names: &Names) -> Template {
    let name = format!("{}Record", names.pascal);
    let description = format!("ESF schemas of {}", names.base);
    let text = format!(
        "# A schema in ESF. Other files of this directory may hold more of them.\n\
         name: {name}\n\
         version: \"0.1.0\"\n\
         description: {}\n\
         fields:\n  id: {{ type: string }}\n  recorded_at: {{ type: timestamp }}\n",
        quoted(&format!("One record of {}", names.base))
    );
    Template {
        tables: schemas_table(&[&name]),
        include: vec![SCHEMAS, TESTS],
        files: vec![file(format!("schemas/{}.esf.yaml", kebab(&name)), None, text), kept("tests/golden")],
        description,
    }
}

fn wire_adapter(names: &Names) -> Template {
    let Names { base, snake, pascal } = names;
    let description = format!("Wire adapter between {base} and eStream");
    let skeleton = format!(
        "//! A wire adapter for {base}: a skeleton.\n\
         //!\n\
         //! The trait `WireAdapter` is eStream's. Make its crate a dependency, implement the trait for [`{pascal}Adapter`], and take\n\
         //! the names and types of its functions from the version of eStream that the manifest names.\n\
         \n\
         /// Translates between {base} and ESF.\n\
         #[derive(Debug, Default)]\n\
         pub struct {pascal}Adapter {{}}\n"
    );
    let circuit_text =
        circuit(&format!("{snake}_adapter"), &format!("Takes {base} messages into eStream"), "cpu");
    Template {
        tables: format!(
            "{}{}\n[component.wire_adapter]\nprotocol_family = \"general\"\ntransports = [\"tcp\"]\nbidirectional = true\nrequest_response = false\n",
            schemas_table(&[]),
            circuits_table(&format!("{snake}_adapter"), "cpu"),
        ),
        include: vec![SCHEMAS, CIRCUITS, TESTS, ("source", "src/**")],
        files: vec![
            kept("schemas"),
            file(format!("circuits/{base}-adapter.circuit.yaml"), None, circuit_text),
            kept("tests/golden"),
            file("src/lib.rs".to_owned(), Some("WireAdapter implementation skeleton"), skeleton),
        ],
        description,
    }
}

fn smart_circuit(names: &Names) -> Template {
    let Names { base, snake, .. } = names;
    let description = format!("Smart circuit {base}");
    Template {
        tables: format!("{}{}", schemas_table(&[]), circuits_table(snake, "cpu")),
        include: vec![SCHEMAS, CIRCUITS, TESTS],
        files: vec![
            kept("schemas"),
            file(format!("circuits/{base}.circuit.yaml"), None, circuit(snake, &description, "cpu")),
            file(format!("tests/golden/{base}-basic.json"), None, vector(&format!("{base}-basic"), snake)),
        ],
        description,
    }
}

fn fpga_circuit(names: &Names) -> Template {
    let Names { base, snake, .. } = names;
    let description = format!("FPGA circuit {base}");
    Template {
        tables: format!(
            "{}\n[component.fpga]\ndevice_family = []\nresource_estimate = {{ luts = 0, brams = 0, dsps = 0 }}\n",
            circuits_table(snake, "fpga")
        ),
        include: vec![CIRCUITS, ("fpga", "fpga/*.bit"), TESTS],
        files: vec![
            file(format!("circuits/{base}.circuit.yaml"), None, circuit(snake, &description, "fpga")),
            kept("fpga"),
            file(format!("tests/golden/{base}-basic.json"), None, vector(&format!("{base}-basic"), snake)),
        ],
        description,
    }
}

fn integration(names: &Names) -> Template {
    let description = format!("Integration {}", names.base);
    let overview = format!(
        "# {}\n\nWhat it connects, what it needs, and how it is set up.\n\n## Components\n\nThose that it requires stand in \
         `[component.dependencies]`.\n",
        description
    );
    Template {
        tables: schemas_table(&[]),
        include: vec![SCHEMAS, CIRCUITS, ("docs", "docs/**"), TESTS],
        files: vec![
            kept("schemas"),
            kept("circuits"),
            file("docs/overview.md".to_owned(), None, overview),
            kept("tests/golden"),
        ],
        description,
    }
}

fn console_widget(names: &Names) -> Template {
    let Names { base, pascal, .. } = names;
    let description = format!("Console widget {base}");
    let widget = format!(
        "// A widget of the console: it shows the newest value that it is given.\n\
         export const name = {};\n\
         \n\
         export function {pascal}(element) {{\n  return {{\n    update(value) {{\n      element.textContent = String(value);\n    }},\n  }};\n}}\n",
        quoted(base)
    );
    Template {
        tables: "\n[component.widget]\nwidget_category = \"monitoring\"\nroles = [\"operator\"]\nsizes = [\"medium\"]\ndata_sources = [\"eslite\"]\n"
            .to_owned(),
        include: vec![("widgets", "widgets/**"), SCHEMAS, TESTS],
        files: vec![
            file(format!("widgets/{base}.js"), Some("widget skeleton"), widget),
            kept("schemas"),
            kept("tests/golden"),
        ],
        description,
    }
}

fn plain(category: &str) -> Template {
    Template {
        description: format!("Component of the category {category}"),
        tables: schemas_table(&[]),
        include: vec![SCHEMAS, CIRCUITS, ("docs", "docs/**"), TESTS],
        files: vec![kept("schemas"), kept("circuits"), kept("docs"), kept("tests/golden")],
    }
}
