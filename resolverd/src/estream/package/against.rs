//! Whether a component may be published: the eight validations of seed 002 §7.1, each with its outcome.
//!
//! Everything that is wrong is told at once. What cannot be judged here is said to be skipped, with the reason: without a registry
//! nobody knows which versions are published and what dependencies provide, and without the toolchain of eStream nobody knows whether
//! a circuit is good ESCIR or a test vector passes. That toolchain may be named as a command ([`command`]), by the operator alone.

use std::collections::{BTreeMap, BTreeSet};

use catalogue_schema::dialect::estream::component::{Written, publishable};
use catalogue_schema::dialect::estream::document::ConfigDocument;
use catalogue_schema::dialect::estream::outline::{self, Outline};
use catalogue_schema::dialect::estream::{KERNEL, OFFICIAL, RESERVED_PREFIXES};
use catalogue_schema::error::{ParseError, Position, escaped};
use catalogue_schema::id::ComponentId;
use catalogue_schema::path::DocPath;
use catalogue_schema::seal::NAME_RESERVED;
use catalogue_schema::version::Version;

use crate::api::{Code, Failure};
use crate::estream::package::command::{self, CheckCommand};
use crate::estream::package::{Package, of_files, of_manifest};
use crate::materialize::archive::Bounds;

/// The size that an archive stays below unless a registry says otherwise, in MB of 1,048,576 bytes.
pub const PACKAGE_MB: u64 = 50;
/// One MB in bytes, here and in `limits.archive_bytes`.
const MB: u64 = 1 << 20;
/// Where schemas lie.
const SCHEMAS: &str = "schemas/";
/// How files of schemas end; `.data.yaml` is what later versions of eStream call them.
const SCHEMA_ENDS: [&str; 4] = [".esf.yaml", ".esf.yml", ".data.yaml", ".data.yml"];
/// How files of circuits end.
const CIRCUIT_ENDS: [&str; 2] = [".circuit.yaml", ".circuit.yml"];
/// Where test vectors lie.
const VECTORS: &str = "tests/golden/";

/// What a component is held against.
#[derive(Debug, Clone, Copy)]
pub struct Against<'a> {
    /// Who publishes it; `None` where that is not known yet.
    pub publisher: Option<&'a str>,
    /// Every version of it that was ever published, those that were withdrawn among them; `None` where no registry is asked.
    pub published: Option<&'a [Version]>,
    /// Which of them a new version has to be higher than.
    pub increment: Increment,
    /// Prefixes of names that are reserved besides `estream-` and `esf-`.
    pub reserved_prefixes: &'a [String],
    /// The size in bytes that the archive stays below.
    pub package_bytes: u64,
    /// The schemas that each of its dependencies provides, in the version that would be chosen; `None` where no registry is asked.
    pub provided: Option<&'a BTreeMap<ComponentId, Vec<String>>>,
    /// What judges circuits and test vectors.
    pub command: Option<&'a CheckCommand>,
    /// The archive, where it was packed already.
    pub archive: Option<&'a [u8]>,
    /// What an archive may bring; its size is [`Against::package_bytes`].
    pub bounds: &'a Bounds,
}

/// Which published versions a new one has to be higher than.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Increment {
    /// All of them.
    Any,
    /// Those of its own major version, so that corrections of an older one go on.
    PerMajor,
}

/// One validation.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Its name, one of [`NAMES`].
    pub name: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// What was looked at, for people; one line, empty where the outcome says it.
    pub detail: String,
    /// What the configured command printed.
    pub output: String,
}

/// How a validation went.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// What was looked at is good; the detail says what was not.
    Passed,
    /// Nobody looked, and why.
    Skipped(String),
    /// Everything that is wrong; at least one.
    Failed(Vec<Failure>),
}

/// The names of the validations, in their order: the eight of the seed, the files themselves, and the configured command.
pub const NAMES: [&str; 10] =
    ["manifest", "name", "version", "files", "schemas", "requires", "circuits", "vectors", "command", "size"];

impl<'a> Against<'a> {
    /// Holds a component against what is known without a registry.
    pub fn nothing(bounds: &'a Bounds) -> Against<'a> {
        Against {
            publisher: None,
            published: None,
            increment: Increment::Any,
            reserved_prefixes: &[],
            package_bytes: PACKAGE_MB * MB,
            provided: None,
            command: None,
            archive: None,
            bounds,
        }
    }

    /// Takes what the `config.json` of a registry says.
    pub fn rules(self, config: &'a ConfigDocument) -> Against<'a> {
        Against {
            increment: if config.increment_per_major { Increment::PerMajor } else { Increment::Any },
            reserved_prefixes: &config.reserved_prefixes,
            package_bytes: config.max_package_mb.unwrap_or(PACKAGE_MB).saturating_mul(MB),
            ..self
        }
    }

    /// Returns what an archive may bring.
    pub fn archive_bounds(&self) -> Bounds {
        Bounds { archive_bytes: self.package_bytes, ..*self.bounds }
    }
}

impl Check {
    fn new(name: &'static str, failures: Vec<Failure>, detail: impl Into<String>) -> Check {
        let outcome = if failures.is_empty() { Outcome::Passed } else { Outcome::Failed(failures) };
        Check { name, outcome, detail: detail.into(), output: String::new() }
    }

    fn skipped(name: &'static str, why: impl Into<String>) -> Check {
        Check { name, outcome: Outcome::Skipped(why.into()), detail: String::new(), output: String::new() }
    }

    /// Returns what is wrong.
    pub fn failures(&self) -> &[Failure] {
        match &self.outcome {
            Outcome::Failed(failures) => failures,
            Outcome::Passed | Outcome::Skipped(_) => &[],
        }
    }
}

impl Package {
    /// Holds the component against what is known; every validation is there, in the order of [`NAMES`]. Runs the configured command,
    /// where there is one, and nothing else.
    pub fn validate(&self, against: &Against<'_>) -> Vec<Check> {
        let outlines = Outlines::of(self);
        vec![
            self.manifest_check(),
            self.name_check(against),
            self.version_check(against),
            self.files_check(),
            self.schemas_check(&outlines),
            self.requires_check(against),
            self.circuits_check(&outlines, against.command.is_some()),
            self.vectors_check(against.command.is_some()),
            self.command_check(against.command),
            self.size_check(against),
        ]
    }

    /// 1. Manifest completeness.
    fn manifest_check(&self) -> Check {
        // What is wrong with the name alone is told once, by the next.
        let faults = self.faults.iter().filter(|error| error.field != "component.name" || !is_name(error));
        let mut failures: Vec<Failure> = faults.map(of_manifest).collect();
        if let Some(readme) = &self.declared.readme
            && !DocPath::parse(&readme.text).is_ok_and(|path| self.files.contains_key(&path))
        {
            failures.push(missing(readme, "estream.readme", "the name of a file that is there"));
        }
        let detail = match self.component() {
            Ok(component) => format!("{} {}, {}", component.id.path(), component.version, component.category),
            Err(_) => String::new(),
        };
        Check::new(NAMES[0], failures, detail)
    }

    /// 2. Name format, and who may use the name.
    fn name_check(&self, against: &Against<'_>) -> Check {
        let Some(name) = &self.declared.name else { return Check::skipped(NAMES[1], "there is no name") };
        if let Err(error) = publishable(&name.text) {
            let error = error.in_field(&name.field).at(name.position);
            return Check::new(NAMES[1], vec![of_manifest(&error)], "");
        }
        let own = against.reserved_prefixes.iter().map(String::as_str);
        let prefix = RESERVED_PREFIXES.into_iter().chain(own).find(|prefix| name.text.starts_with(*prefix));
        let scope = name.text.strip_prefix('@').and_then(|scoped| scoped.split('/').next());
        let failure = match (against.publisher, scope, prefix) {
            (Some(publisher), Some(scope), _) if scope != publisher => {
                let error =
                    name.wrong("estream.scope", format!("a name of {publisher}, such as @{publisher}/name"));
                let hint = format!("only the publisher {scope} has names that start with @{scope}/");
                Some(Failure::of(Code::PermissionDenied, &error).hint(hint))
            }
            (Some(publisher), _, Some(prefix)) if publisher != OFFICIAL => {
                let expected = format!("names that start with {prefix} published by {OFFICIAL} alone");
                let hint = format!("rename the component, for instance to @{publisher}/NAME");
                Some(Failure::of(Code::NameReserved, &name.wrong(NAME_RESERVED, expected)).hint(hint))
            }
            _ => None,
        };
        let detail = match (against.publisher, scope, prefix) {
            (None, Some(scope), _) => format!("{}; to be published by {scope} alone", name.text),
            (None, None, Some(prefix)) => {
                format!("{}; {prefix} is reserved for the publisher {OFFICIAL}", name.text)
            }
            _ => name.text.clone(),
        };
        Check::new(NAMES[1], failure.into_iter().collect(), detail)
    }

    /// 3. Version increment.
    fn version_check(&self, against: &Against<'_>) -> Check {
        let Some(written) = &self.declared.version else {
            return Check::skipped(NAMES[2], "there is no version");
        };
        let Ok(version) = Version::parse(&written.text) else {
            return Check::skipped(NAMES[2], "the version cannot be read");
        };
        let Some(published) = against.published else {
            return Check::skipped(
                NAMES[2],
                "which versions are published is known with a registry: publish asks it",
            );
        };
        let counts = |other: &&Version| {
            against.increment == Increment::Any || other.semver().major == version.semver().major
        };
        // Build metadata makes no version higher: two that differ in nothing else are one to who resolves.
        let highest =
            published.iter().filter(counts).max_by(|one, other| one.semver().cmp_precedence(other.semver()));
        match highest {
            Some(highest) if version.semver().cmp_precedence(highest.semver()).is_le() => {
                let of = match against.increment {
                    Increment::Any => "any that was published".to_owned(),
                    Increment::PerMajor => format!("any {}.x that was published", version.semver().major),
                };
                let error = written
                    .wrong("estream.version_increment", format!("a version higher than {of}, {highest}"));
                let hint = "raise the version; one that was withdrawn counts, since nobody may get other bytes under its name";
                Check::new(NAMES[2], vec![Failure::of(Code::VersionNotIncremented, &error).hint(hint)], "")
            }
            Some(highest) => Check::new(NAMES[2], Vec::new(), format!("{version}, higher than {highest}")),
            None => Check::new(NAMES[2], Vec::new(), format!("{version}, the first")),
        }
    }

    /// The files can be packed.
    fn files_check(&self) -> Check {
        let failures = self.refused.iter().map(of_files).collect();
        let mut detail = format!("{} files", self.files.len());
        if !self.unmatched.is_empty() {
            detail.push_str(&format!("; no file matches {}", self.unmatched.join(", ")));
        }
        Check::new(NAMES[3], failures, detail)
    }

    /// 4. Every schema that is declared exists in `schemas/`.
    fn schemas_check(&self, outlines: &Outlines<'_>) -> Check {
        let schemas = outlines.ending(&SCHEMA_ENDS);
        let mut failures: Vec<Failure> = schemas.iter().filter_map(|file| file.fault()).collect();
        let placed = || schemas.iter().filter(|file| file.path.starts_with(SCHEMAS));
        let stems: BTreeSet<String> = placed().map(|file| squashed(file.stem)).collect();
        let told: BTreeSet<&str> = placed().flat_map(|file| file.all_names()).collect();
        for name in &self.declared.provides {
            if !(stems.contains(&squashed(&name.text)) || told.contains(name.text.as_str())) {
                let path = format!("{SCHEMAS}{}.esf.yaml", kebab(&name.text));
                let expected =
                    format!("the schema in {}, or in a file of schemas/ that names it", escaped(&path));
                failures.push(self.missing_file(name, "estream.schema_missing", &expected, &path));
            }
        }
        let (provided, required) = (self.declared.provides.len(), self.declared.requires.len());
        Check::new(NAMES[4], failures, format!("provides {provided}, requires {required}"))
    }

    /// 5. Every schema that is required comes from the component itself or a declared dependency.
    fn requires_check(&self, against: &Against<'_>) -> Check {
        let own: BTreeSet<&str> = self.declared.provides.iter().map(|name| name.text.as_str()).collect();
        let open: Vec<&Written> =
            self.declared.requires.iter().filter(|name| !own.contains(name.text.as_str())).collect();
        if open.is_empty() {
            let detail = if self.declared.requires.is_empty() { "none" } else { "all of them its own" };
            return Check::new(NAMES[5], Vec::new(), detail);
        }
        let Ok(component) = self.component() else {
            return Check::skipped(NAMES[5], "the manifest has to be right first");
        };
        let dependencies: Vec<&ComponentId> = component
            .dependencies
            .iter()
            .map(|reference| &reference.id)
            .filter(|id| id.as_text() != KERNEL)
            .collect();
        let provided: BTreeSet<&str> = match against.provided {
            Some(provided) => {
                let declared = provided.iter().filter(|(id, _)| dependencies.contains(id));
                declared.flat_map(|(_, names)| names).map(String::as_str).collect()
            }
            None if dependencies.is_empty() => BTreeSet::new(),
            None => {
                let why = "what dependencies provide is known with a registry: publish asks it";
                return Check::skipped(NAMES[5], why);
            }
        };
        let failures = open.iter().filter(|name| !provided.contains(name.text.as_str())).map(|name| {
            let asked = match dependencies.is_empty() {
                true => "and there are none".to_owned(),
                false => dependencies.iter().map(|id| id.path()).collect::<Vec<_>>().join(", "),
            };
            let expected = format!("a schema of one of its dependencies ({asked})");
            Failure::of(Code::ManifestInvalid, &name.wrong("requires_unmet", expected)).hint(
                "add the component that provides it to [component.dependencies]; resolverd search finds it",
            )
        });
        Check::new(NAMES[5], failures.collect(), format!("{} from dependencies", open.len()))
    }

    /// 6. Every circuit that is declared has a file that can be read and names it.
    fn circuits_check(&self, outlines: &Outlines<'_>, has_command: bool) -> Check {
        let circuits = outlines.ending(&CIRCUIT_ENDS);
        let mut failures: Vec<Failure> = circuits.iter().filter_map(|file| file.fault()).collect();
        let told: BTreeSet<String> =
            circuits.iter().flat_map(|file| file.all_names()).map(circuit_name).collect();
        let files: BTreeMap<String, &FileOutline<'_>> =
            circuits.iter().map(|file| (circuit_name(file.stem), *file)).collect();
        for name in &self.declared.circuits {
            let wanted = circuit_name(&name.text);
            if told.contains(&wanted) {
                continue;
            }
            match files.get(&wanted) {
                Some(file) => match (&file.read, file.own_names().next()) {
                    // What cannot be read is told already.
                    (Err(_), _) | (Ok(_), None) => {}
                    (Ok(_), Some(other)) => {
                        let expected = format!(
                            "the name of the circuit in {}, which says {}",
                            file.path,
                            escaped(other)
                        );
                        failures.push(
                            Failure::of(Code::ManifestInvalid, &name.wrong("estream.circuit_name", expected))
                                .hint("give the circuit one name in both places"),
                        );
                    }
                },
                None => {
                    let stem = kebab(&name.text);
                    let stem = stem.strip_suffix("-circuit").unwrap_or(&stem);
                    let path = format!("circuits/{stem}.circuit.yaml");
                    let expected = format!(
                        "the circuit in {}, or in a file *.circuit.yaml that names it",
                        escaped(&path)
                    );
                    failures.push(self.missing_file(name, "estream.circuit_missing", &expected, &path));
                }
            }
        }
        if self.declared.circuits.is_empty() && circuits.is_empty() {
            return Check::new(NAMES[6], failures, "none");
        }
        let judged =
            if has_command { "ESCIR is judged by the command" } else { "ESCIR itself was not judged" };
        Check::new(
            NAMES[6],
            failures,
            format!("{} declared, {} files are YAML; {judged}", self.declared.circuits.len(), circuits.len()),
        )
    }

    /// 7. Test vectors can be read; whether they pass the configured command says.
    fn vectors_check(&self, has_command: bool) -> Check {
        let vectors: Vec<_> =
            self.files.iter().filter(|(path, _)| path.as_text().starts_with(VECTORS)).collect();
        let (mut failures, mut read) = (Vec::new(), 0usize);
        for (path, bytes) in &vectors {
            let found = match path.as_text().rsplit_once('.').map(|(_, end)| end) {
                Some("json") => json(bytes),
                Some("yaml" | "yml") => outline::check(bytes),
                _ => continue,
            };
            read += 1;
            failures.extend(found.err().map(|error| of_file(path.as_text(), &error)));
        }
        if vectors.is_empty() {
            return Check::new(NAMES[7], failures, "none");
        }
        let ran = if has_command { "the command runs them" } else { "none was run" };
        Check::new(
            NAMES[7],
            failures,
            format!("{read} of {} files are JSON or YAML and can be read; {ran}", vectors.len()),
        )
    }

    /// 6 and 7, by the toolchain of eStream: runs the configured command, where there is one.
    pub fn command_check(&self, command: Option<&CheckCommand>) -> Check {
        let Some(command) = command else {
            let why = "no check command is configured ([estream] check_command): circuits and test vectors were not run";
            return Check::skipped(NAMES[8], why);
        };
        let ran = command::run(command, &self.directory);
        let detail = command.to_string();
        Check { output: ran.output, ..Check::new(NAMES[8], ran.failure.into_iter().collect(), detail) }
    }

    /// 8. The archive is not too large.
    fn size_check(&self, against: &Against<'_>) -> Check {
        if !self.refused.is_empty() {
            return Check::skipped(NAMES[9], "the files have to be right first");
        }
        let packed = match against.archive {
            Some(archive) => Ok(archive.len()),
            None => self.archive(&against.archive_bounds()).map(|archive| archive.len()),
        };
        let size = match packed {
            Ok(size) => size as u64,
            Err(failure) => return Check::new(NAMES[9], vec![failure], ""),
        };
        let detail = format!("{size} bytes, {} files", self.files.len());
        if size < against.package_bytes {
            return Check::new(NAMES[9], Vec::new(), detail);
        }
        let limit = against.package_bytes;
        let text = format!("expected an archive of less than {limit} bytes, found {size} bytes");
        let failure = Failure::new(Code::PackageTooLarge, "archive.too_large", text)
            .with("expected", format!("less than {limit} bytes"))
            .with("found", format!("{size} bytes"))
            .hint("leave files out by [component.include]; config.json of a registry may set max_package_mb");
        Check::new(NAMES[9], vec![failure], "")
    }

    /// Says that a file is missing, or that it is there and left out.
    fn missing_file(&self, name: &Written, reason: &'static str, expected: &str, path: &str) -> Failure {
        let failure = missing(name, reason, expected);
        let above = path.split('/').next().unwrap_or(path);
        let is_left_out = |left: &String| left == path || left.trim_end_matches('/') == above;
        match self.left_out.iter().any(is_left_out) {
            true => failure.hint(format!(
                "{above}/ or what is in it is left out: name its files in [component.include]"
            )),
            false => failure.hint("write the file, or take the name out of provides"),
        }
    }
}

/// Tells whether an error is about the form of a name, which has its own validation.
fn is_name(error: &ParseError) -> bool {
    error.reason == "estream.name"
}

/// Says that what a name stands for is not there.
fn missing(name: &Written, reason: &'static str, expected: &str) -> Failure {
    let found = format!("{}, for which there is no file", name.text);
    let error = ParseError::new(reason, expected, found).in_field(&name.field).at(name.position);
    of_manifest(&error)
}

/// Says what is wrong with a file of the component.
fn of_file(path: &str, error: &ParseError) -> Failure {
    let mut failure = Failure::of(Code::ManifestInvalid, error).with("file", path);
    failure.detail = format!("{path}: {error}");
    failure.hint("correct the file")
}

/// Reads a file of JSON, of which only the form counts: a vector may hold numbers that no document here has room for.
fn json(bytes: &[u8]) -> Result<(), ParseError> {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map(drop).map_err(|error| {
        let at = Position { line: error.line(), column: error.column() };
        ParseError::new("input.json", "JSON that can be read", error.to_string()).at(at)
    })
}

/// The YAML files of a component, each read once.
struct Outlines<'p>(Vec<FileOutline<'p>>);

struct FileOutline<'p> {
    path: &'p str,
    /// The name of the file without its ending.
    stem: &'p str,
    end: &'static str,
    read: Result<Outline, ParseError>,
}

impl<'p> Outlines<'p> {
    fn of(package: &'p Package) -> Outlines<'p> {
        let ends = SCHEMA_ENDS.into_iter().chain(CIRCUIT_ENDS);
        let files = package.files.iter().filter_map(|(path, bytes)| {
            let path = path.as_text();
            let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
            let end = ends.clone().find(|end| name.ends_with(end))?;
            let stem = name.strip_suffix(end)?;
            Some(FileOutline { path, stem, end, read: outline::read(bytes) })
        });
        Outlines(files.collect())
    }

    fn ending(&self, ends: &[&str]) -> Vec<&FileOutline<'p>> {
        self.0.iter().filter(|file| ends.contains(&file.end)).collect()
    }
}

impl FileOutline<'_> {
    fn fault(&self) -> Option<Failure> {
        self.read.as_ref().err().map(|error| of_file(self.path, error))
    }

    /// Returns what the file says that it is.
    fn own_names(&self) -> impl Iterator<Item = &str> {
        self.read.iter().flat_map(|outline| &outline.names).map(String::as_str)
    }

    fn all_names(&self) -> impl Iterator<Item = &str> {
        let inner = self.read.iter().flat_map(|outline| &outline.inner).map(String::as_str);
        self.own_names().chain(inner)
    }
}

/// Returns a name without what differs between its spellings: `FixNewOrder`, `fix-new-order` and `fix_new_order` are one.
fn squashed(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Returns the name of a circuit, which may say that it is one: `fix_parser_circuit` lies in `fix-parser.circuit.yaml`.
fn circuit_name(name: &str) -> String {
    let name = squashed(name);
    match name.strip_suffix("circuit") {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => name,
    }
}

/// Returns a name as a file is called after it: `FixNewOrderSingle` gives `fix-new-order-single`, `EStreamOrder` gives
/// `estream-order`.
pub fn kebab(name: &str) -> String {
    let name = name.replacen("EStream", "Estream", 1);
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        let behind = chars.get(at + 1);
        let starts = c.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_uppercase() && behind.is_some_and(|behind| behind.is_lowercase()))
            });
        if starts && !out.ends_with('-') {
            out.push('-');
        }
        match c {
            '_' | ' ' | '.' | '-' => {
                if !out.ends_with('-') {
                    out.push('-');
                }
            }
            c => out.extend(c.to_lowercase()),
        }
    }
    out.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_and_circuits_have_files_called_after_them() {
        for (name, file) in [
            ("FixNewOrderSingle", "fix-new-order-single"),
            ("EStreamOrder", "estream-order"),
            ("fix_order_router", "fix-order-router"),
            ("HTTPServer", "http-server"),
            ("Sha3Pipeline", "sha3-pipeline"),
            ("order", "order"),
        ] {
            assert_eq!(kebab(name), file);
            assert_eq!(squashed(name), squashed(file));
        }
        assert_eq!(circuit_name("fix_parser_circuit"), circuit_name("fix-parser"));
        assert_eq!(circuit_name("circuit"), "circuit");
    }
}
