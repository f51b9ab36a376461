//! Federations to measure with, written as one local Git repository: synthetic ones of a given size with the measured shape of a
//! real registry and a fixed seed, and the real graph itself. Never touches the network.
//!
//! A federation is a list of catalogues per source and one manifest per version, all in one tree. A synthetic one has several
//! sources, and one id in ten stands in two of them: the better-placed source owns it, and what the lower one lists of it, from a
//! repository of its own, is shadowed. The first commit is the cold state; every further one adds a version to another hundredth of the
//! components, spread over all catalogues. Beside a catalogue lies its signature where the federation has a key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io::{BufWriter, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use catalogue_schema::digest::Digest;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Trouble;

/// How many versions one catalogue lists at most, so that its document stays below the limit of 64 MiB.
const VERSIONS_PER_CATALOGUE: usize = 50_000;
/// How many versions one source owns at most, so that its documents stay below the limit of 1,000,000.
const VERSIONS_PER_SOURCE: usize = 500_000;
/// Which part of the ids stands in a lower source as well.
const COPIED: f64 = 0.1;
/// How many commits follow the first.
pub(crate) const STEPS: usize = 8;
/// Versions per component of the Bazel Central Registry, at these shares of its components.
const VERSIONS: &[(f64, f64)] = &[
    (0.0, 1.0),
    (0.25, 1.0),
    (0.5, 3.0),
    (0.6, 5.0),
    (0.75, 9.0),
    (0.9, 14.0),
    (0.95, 22.0),
    (0.97, 32.0),
    (0.99, 62.0),
    (0.999, 139.0),
    (1.0, 155.0),
];
/// Requirements per version, likewise.
const EDGES: &[(f64, f64)] = &[
    (0.0, 0.0),
    (0.1, 1.0),
    (0.25, 3.0),
    (0.5, 5.0),
    (0.75, 8.0),
    (0.9, 12.0),
    (0.95, 17.0),
    (0.97, 22.0),
    (0.99, 30.0),
    (0.999, 120.0),
    (1.0, 140.0),
];
/// One component is wanted by this share of the versions of all others.
const POPULAR: f64 = 0.7;

/// One component and what each of its versions requires, oldest first.
struct Component {
    id: String,
    versions: Vec<Vec<String>>,
}

/// Over how many sources a federation is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// One, or more where there is too much for one; no id stands twice.
    Plain,
    /// So many at least, with ids that stand in two of them.
    Shadowed(usize),
}

/// What a lower source lists of a component that another one owns: the versions of the first commit.
struct Copied {
    component: usize,
    place: (usize, usize),
    digests: Vec<String>,
}

/// Who publishes a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Publisher {
    Owner,
    Other,
}

/// A federation on disk.
#[derive(Debug, Clone)]
pub(crate) struct Federation {
    /// What it is called in the table.
    pub(crate) name: String,
    /// The repository.
    repository: PathBuf,
    /// The commits, oldest first.
    pub(crate) commits: Vec<String>,
    /// How many ids the first source has, the first two, and so on up to all of them.
    sources: Vec<usize>,
    /// Every id with the number of its versions at the first commit, those of a lower source left out where another one owns it.
    pub(crate) ids: Vec<(String, usize)>,
    /// The ids that a lower source lists as well.
    pub(crate) shadowed: BTreeSet<String>,
    /// Catalogues and manifests of the first commit, shadowed ones too, one behind the other; what an owner says of a version stands
    /// before what another source says of it.
    pub(crate) raw: PathBuf,
    /// How many bytes those documents have.
    pub(crate) raw_bytes: u64,
    /// Who signed its catalogues.
    pub(crate) signer: Option<Signer>,
}

/// An Ed25519 key that the program has made.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    directory: PathBuf,
    fingerprint: String,
}

impl Signer {
    /// Makes a key in `directory`.
    pub(crate) fn new(directory: PathBuf) -> Result<Signer, Trouble> {
        std::fs::create_dir_all(&directory)?;
        let mut signer = Signer { directory, fingerprint: String::new() };
        signer.program(&["keys", "generate", "ed25519", "key"])?;
        // Nobody else may be able to change a key; everybody may read a public one.
        std::fs::set_permissions(signer.public(), Permissions::from_mode(0o644))?;
        signer.fingerprint = signer.program(&["keys", "fingerprint", "key.pem"])?.trim().to_owned();
        Ok(signer)
    }

    /// Returns the file of the public key.
    pub(crate) fn public(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// Signs bytes; returns the bytes of the signature file.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, Trouble> {
        std::fs::write(self.directory.join("signed"), bytes)?;
        self.program(&["sign", "signed", "--key", "key.key", "--raw", "--write", "signature"])?;
        let signature = std::fs::read(self.directory.join("signature"))?;
        std::fs::remove_file(self.directory.join("signature"))?;
        Ok(signature)
    }

    /// Returns a policy of this version: every catalogue is signed by the key, every release is pinned and has a digest.
    pub(crate) fn policy(&self, version: u64, sources: usize) -> String {
        let mut text = format!(
            "schema = \"resolverd/trust@1\"\nversion = {version}\n[[keys]]\nid = \"key\"\nalgorithm = \"ed25519\"\nfile = \"{}\"\nfingerprint = \"{}\"\nusage = [\"catalogue\"]\n[[signers]]\nname = \"bench\"\nkeys = [\"key\"]\nthreshold = 1\nalgorithms = {{ any = [\"ed25519\"] }}\n",
            self.public().display(),
            self.fingerprint,
        );
        let names: Vec<String> = (0..sources).map(|number| format!("\"source-{number}\"")).collect();
        for name in &names {
            let _ = write!(text, "[[sources]]\nid = {name}\nsigned_by = \"bench\"\n");
        }
        let names = names.join(", ");
        let _ = write!(
            text,
            "[[namespaces]]\nname = \"bench\"\nmatch = \"lcod://bench/**\"\nsources = [{names}]\nrequire = \"digest\"\n"
        );
        text
    }

    fn program(&self, words: &[&str]) -> Result<String, Trouble> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_resolverd"));
        let output = command.current_dir(&self.directory).args(words).output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(Trouble::say(String::from_utf8_lossy(&output.stderr))),
        }
    }
}

impl Federation {
    /// Returns how many versions the first commit lists.
    pub(crate) fn versions(&self) -> usize {
        self.ids.iter().map(|(_, versions)| versions).sum()
    }

    /// Returns how many sources it has.
    pub(crate) fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Returns the ids of each source, the best-placed first.
    pub(crate) fn by_source(&self) -> impl Iterator<Item = &[(String, usize)]> {
        let begins = std::iter::once(0).chain(self.sources.iter().copied());
        begins.zip(&self.sources).map(|(begin, end)| self.ids.get(begin..*end).unwrap_or_default())
    }

    /// Returns the same federation as a daemon sees it that reads its first `count` sources only; the bytes stay those of all.
    pub(crate) fn first(&self, count: usize) -> Federation {
        let mut part = self.clone();
        part.sources.truncate(count);
        part.ids.truncate(part.sources.last().copied().unwrap_or_default());
        // What the last of them owns nobody below lists any more.
        let above = count.checked_sub(2).and_then(|last| self.sources.get(last)).copied().unwrap_or_default();
        part.shadowed = BTreeSet::new();
        for (id, _) in self.ids.iter().take(above).filter(|(id, _)| self.shadowed.contains(id)) {
            part.shadowed.insert(id.clone());
        }
        part
    }

    /// Returns a line that says what it is.
    pub(crate) fn described(&self) -> String {
        format!(
            "{}: {} sources, {} ids, {} of them in two sources, {} versions, {} bytes of documents",
            self.name,
            self.sources(),
            self.ids.len(),
            self.shadowed.len(),
            self.versions(),
            self.raw_bytes
        )
    }

    /// Returns the sources file that pins everything to a commit.
    pub(crate) fn sources_file(&self, step: usize) -> Value {
        let commit = self.commits.get(step).map(String::as_str).unwrap_or_default();
        let source = |number: usize| {
            json!({
                "id": format!("source-{number}"),
                "priority": number,
                "entrypoint": {
                    "type": "git",
                    "url": format!("file://{}", self.repository.display()),
                    "commit": commit,
                    "subpath": format!("source-{number}/catalogues.json"),
                },
            })
        };
        let sources: Vec<Value> = (0..self.sources()).map(source).collect();
        json!({ "schema": "lcod-resolver/sources@1", "sources": sources })
    }

    /// Returns the policy of this version, where its catalogues are signed.
    pub(crate) fn policy(&self, version: u64) -> Option<String> {
        self.signer.as_ref().map(|signer| signer.policy(version, self.sources()))
    }

    /// Makes a synthetic federation of at least `versions` versions below `directory`.
    pub(crate) fn synthetic(
        directory: &Path,
        versions: usize,
        spread: Spread,
        signer: Option<Signer>,
    ) -> Result<Federation, Trouble> {
        let mut random = Random(0x5eed_0001 ^ versions as u64);
        let mut counts = Vec::new();
        let mut left = versions;
        while left > 0 {
            let count = (at(VERSIONS, random.unit()).round() as usize).clamp(1, left);
            counts.push(count);
            left -= count;
        }
        let id = |number: usize| format!("lcod://bench/area-{:02}/component-{number:06}", number % 64);
        let mut components = Vec::with_capacity(counts.len());
        for (number, count) in counts.iter().enumerate() {
            let versions = (0..*count).map(|_| {
                let edges = at(EDGES, random.unit()).round() as usize;
                let mut wanted = BTreeMap::new();
                if edges > 0 && number != 0 && random.unit() < POPULAR {
                    wanted.insert(0, random.below(counts[0]));
                }
                for _ in wanted.len()..edges {
                    let other = (random.unit().powi(3) * counts.len() as f64) as usize;
                    if other != number && other < counts.len() {
                        wanted.insert(other, random.below(counts[other]));
                    }
                }
                wanted.into_iter().map(|(other, at)| format!("{}@>=1.{at}.0", id(other))).collect()
            });
            components.push(Component { id: id(number), versions: versions.collect() });
        }
        write(directory, format!("synthetic {versions}"), components, spread, signer)
    }

    /// Makes a federation of the real graph in `data`; `None` where the file is not there.
    pub(crate) fn real(directory: &Path, data: &Path, spread: Spread) -> Result<Option<Federation>, Trouble> {
        Federation::rewritten(directory, data, ">=", spread)
    }

    /// Makes a federation of the same graph that requires no version newer than the one it names, so that most of it contradicts
    /// itself.
    pub(crate) fn narrow(directory: &Path, data: &Path) -> Result<Option<Federation>, Trouble> {
        Federation::rewritten(directory, data, "~", Spread::Plain)
    }

    /// Makes a federation of `worlds` small graphs whose requirements nearly contradict each other: 40 components with 10
    /// versions, each of which requires 4 others at one of 5 neighbouring versions.
    pub(crate) fn hard(directory: &Path, worlds: usize) -> Result<Federation, Trouble> {
        const NAMES: usize = 40;
        const VERSIONS: usize = 10;
        const EDGES: usize = 4;
        const WIDTH: usize = 5;
        let mut random = Random(0x5eed_0002);
        let id = |world: usize, name: usize| format!("lcod://hard/world-{world:02}/component-{name:02}");
        let mut components = Vec::new();
        for (world, name) in (0..worlds * NAMES).map(|at| (at / NAMES, at % NAMES)) {
            let versions = (0..VERSIONS).map(|_| {
                let mut wanted = BTreeMap::new();
                while wanted.len() < EDGES {
                    let (other, from) = (random.below(NAMES), random.below(VERSIONS - WIDTH + 1));
                    if other != name {
                        wanted.insert(other, from);
                    }
                }
                let wanted = wanted.into_iter();
                wanted
                    .map(|(other, at)| format!("{}@>=1.{at}.0, <1.{}.0", id(world, other), at + WIDTH))
                    .collect()
            });
            components.push(Component { id: id(world, name), versions: versions.collect() });
        }
        write(directory, "hard random graphs".to_owned(), components, Spread::Plain, None)
    }

    /// Makes a federation of such rows, below `lcod://bench/`.
    pub(crate) fn of(directory: &Path, name: &str, rows: &Rows) -> Result<Federation, Trouble> {
        let text = |(other, requirement): &(String, String)| format!("lcod://bench/{other}@{requirement}");
        let component = |(name, versions): &(String, Vec<Vec<(String, String)>>)| Component {
            id: format!("lcod://bench/{name}"),
            versions: versions.iter().map(|required| required.iter().map(text).collect()).collect(),
        };
        write(directory, name.to_owned(), rows.iter().map(component).collect(), Spread::Plain, None)
    }

    fn rewritten(
        directory: &Path,
        data: &Path,
        operator: &str,
        spread: Spread,
    ) -> Result<Option<Federation>, Trouble> {
        let Some(graph) = graph(data)? else { return Ok(None) };
        let requires = |version: Version| {
            let text = |one: Requirement| format!("{}@{}", one.id, one.version.replace(">=", operator));
            version.requires.into_iter().map(text).collect()
        };
        let component = |(id, versions): (String, Vec<Version>)| Component {
            id,
            versions: versions.into_iter().map(requires).collect(),
        };
        let components = graph.into_iter().map(component).collect();
        write(directory, "real graph (BCR)".to_owned(), components, spread, None).map(Some)
    }
}

/// A version of the real graph.
#[derive(Deserialize)]
struct Version {
    requires: Vec<Requirement>,
}

#[derive(Deserialize)]
struct Requirement {
    id: String,
    version: String,
}

/// Reads the real graph; `None` where the file is not there.
fn graph(data: &Path) -> Result<Option<BTreeMap<String, Vec<Version>>>, Trouble> {
    let Ok(file) = File::open(data.join("graph-bcr.json.gz")) else { return Ok(None) };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text)?;
    Ok(Some(serde_json::from_str(&text)?))
}

/// A component by a name that every registry takes, and what each of its versions, oldest first, requires of which name.
pub(crate) type Versions = (String, Vec<Vec<(String, String)>>);
/// Components, each with its versions.
pub(crate) type Rows = Vec<Versions>;

/// Reads the real graph without what closes a circle, which a registry of eStream may not have.
pub(crate) fn acyclic(data: &Path) -> Result<Option<Rows>, Trouble> {
    let Some(graph) = graph(data)? else { return Ok(None) };
    // Whoever is reached from a component stands before it.
    let (mut places, mut seen) = (BTreeMap::new(), BTreeSet::new());
    for root in graph.keys() {
        let mut path = vec![(root, false)];
        while let Some((id, is_left)) = path.pop() {
            if is_left {
                places.insert(id, places.len());
            } else if seen.insert(id) {
                path.push((id, true));
                let required = graph[id].iter().flat_map(|version| &version.requires);
                path.extend(required.filter_map(|one| Some((graph.get_key_value(&one.id)?.0, false))));
            }
        }
    }
    let named = |id: &String| format!("part-{:04}", places[id]);
    let component = |(id, versions): (&String, &Vec<Version>)| {
        let is_kept = |one: &&Requirement| places.get(&one.id).is_some_and(|to| *to < places[id]);
        let text = |one: &Requirement| (named(&one.id), one.version.clone());
        let required = |version: &Version| version.requires.iter().filter(is_kept).map(text).collect();
        (named(id), versions.iter().map(required).collect())
    };
    Ok(Some(graph.iter().map(component).collect()))
}

/// Returns the value of a distribution that is given at some of its shares.
fn at(points: &[(f64, f64)], share: f64) -> f64 {
    for pair in points.windows(2) {
        if let [(from, low), (to, high)] = pair
            && share <= *to
        {
            return low + (high - low) * (share - from) / (to - from);
        }
    }
    points.last().map_or(0.0, |(_, value)| *value)
}

/// SplitMix64: the same numbers on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a number below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// What `git fast-import` is told, and the documents of the first commit beside it.
pub(crate) struct Import<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) raw: Option<BufWriter<File>>,
    pub(crate) raw_bytes: u64,
}

impl Import<'_> {
    /// Begins the commit of a step.
    pub(crate) fn begin(&mut self, step: usize) -> std::io::Result<()> {
        let from = if step > 0 { format!("from refs/heads/step-{}\n", step - 1) } else { String::new() };
        let name = format!("step {step}");
        write!(
            self.out,
            "commit refs/heads/step-{step}\ncommitter A Bench <bench@example.org> {} +0000\ndata {}\n{name}\n{from}",
            1_735_689_600 + step,
            name.len()
        )
    }

    /// Writes a file of the commit.
    pub(crate) fn file(&mut self, path: &str, bytes: &[u8]) -> std::io::Result<()> {
        write!(self.out, "M 100644 inline {path}\ndata {}\n", bytes.len())?;
        self.out.write_all(bytes)?;
        self.out.write_all(b"\n")?;
        if let Some(raw) = &mut self.raw {
            raw.write_all(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes())?;
            raw.write_all(bytes)?;
            self.raw_bytes += bytes.len() as u64;
        }
        Ok(())
    }
}

fn write(
    directory: &Path,
    name: String,
    mut components: Vec<Component>,
    spread: Spread,
    signer: Option<Signer>,
) -> Result<Federation, Trouble> {
    let (repository, raw) = (make_repository(directory)?, directory.join("documents"));
    let mut child = git(&repository)
        .args(["-c", "core.compression=1", "fast-import", "--quiet", "--depth=0"])
        .stdin(Stdio::piped())
        .spawn()?;
    let Some(stdin) = child.stdin.take() else { return Err(Trouble::say("git takes no input")) };
    let mut stream = BufWriter::with_capacity(1 << 20, stdin);
    let raw_file = Some(BufWriter::with_capacity(1 << 20, File::create(&raw)?));
    let mut import = Import { out: &mut stream, raw: raw_file, raw_bytes: 0 };
    let ids: Vec<(String, usize)> =
        components.iter().map(|one| (one.id.clone(), one.versions.len())).collect();
    // What lies where is decided once, by the first commit.
    let places = places(&ids, spread);
    let mut copies = if spread == Spread::Plain { Vec::new() } else { copies(&places) };
    let mut digests: Vec<Vec<String>> = vec![Vec::new(); components.len()];
    for step in 0..=STEPS {
        import.begin(step)?;
        for (number, component) in components.iter_mut().enumerate() {
            if step > 0 && number % 100 == step {
                let last = component.versions.last().cloned().unwrap_or_default();
                component.versions.push(last);
            }
            for at in digests[number].len()..component.versions.len() {
                let manifest = manifest(component, at, Publisher::Owner);
                digests[number].push(hex(manifest.as_bytes()));
                import.file(&manifest_path(&component.id, at, Publisher::Owner), manifest.as_bytes())?;
            }
        }
        // What is shadowed stays as it is: what changes is a hundredth of what is served.
        for copy in copies.iter_mut().filter(|_| step == 0) {
            let component = &components[copy.component];
            for at in 0..component.versions.len() {
                let manifest = manifest(component, at, Publisher::Other);
                copy.digests.push(hex(manifest.as_bytes()));
                import.file(&manifest_path(&component.id, at, Publisher::Other), manifest.as_bytes())?;
            }
        }
        let own = components.iter().zip(&digests).zip(&places);
        let own = own.map(|((one, digests), place)| (*place, &one.id, digests, Publisher::Owner));
        let other = |copy| {
            let Copied { component, place, digests }: &Copied = copy;
            (*place, &components[*component].id, digests, Publisher::Other)
        };
        lists(&mut import, own.chain(copies.iter().map(other)), signer.as_ref())?;
        import.raw = None;
    }
    let raw_bytes = import.raw_bytes;
    stream.flush()?;
    drop(stream);
    if !child.wait()?.success() {
        return Err(Trouble::say("git fast-import failed"));
    }
    let commit = |step: usize| -> Result<String, Trouble> {
        let found = git(&repository).args(["rev-parse", &format!("refs/heads/step-{step}")]).output()?;
        Ok(String::from_utf8_lossy(&found.stdout).trim().to_owned())
    };
    let commits = (0..=STEPS).map(commit).collect::<Result<_, _>>()?;
    let last = places.last().map_or(0, |(source, _)| source + 1);
    let sources = (0..last).map(|one| places.partition_point(|(source, _)| *source <= one)).collect();
    let shadowed = copies.iter().map(|copy| ids[copy.component].0.clone()).collect();
    Ok(Federation { name, repository, commits, sources, ids, shadowed, raw, raw_bytes, signer })
}

/// Returns source and catalogue of every component.
fn places(ids: &[(String, usize)], spread: Spread) -> Vec<(usize, usize)> {
    let per_source = match spread {
        Spread::Plain => VERSIONS_PER_SOURCE,
        Spread::Shadowed(least) => {
            let all: usize = ids.iter().map(|(_, versions)| versions).sum();
            all.div_ceil(least).clamp(1, VERSIONS_PER_SOURCE)
        }
    };
    let mut seen = 0;
    let place = |(_, versions): &(String, usize)| {
        let place = (seen / per_source, seen / VERSIONS_PER_CATALOGUE);
        seen += versions;
        place
    };
    ids.iter().map(place).collect()
}

/// Chooses the components that the next lower source lists as well, in one catalogue after the other of those that it has.
fn copies(places: &[(usize, usize)]) -> Vec<Copied> {
    let mut catalogues: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (source, catalogue) in places {
        catalogues.entry(*source).or_default().insert(*catalogue);
    }
    let lowest = catalogues.len().saturating_sub(1);
    // Nothing stands below the lowest source, so that the others have more of them.
    let share = COPIED * catalogues.len() as f64 / lowest.max(1) as f64;
    let mut random = Random(0x5eed_0003);
    let mut copies: Vec<Copied> = Vec::new();
    for (component, (source, _)) in places.iter().enumerate() {
        if *source == lowest || random.unit() >= share {
            continue;
        }
        let Some(lower) = catalogues.get(&(source + 1)) else { continue };
        let catalogue = lower.iter().nth(copies.len() % lower.len()).copied().unwrap_or_default();
        copies.push(Copied { component, place: (source + 1, catalogue), digests: Vec::new() });
    }
    copies
}

/// A component in a catalogue: where that lies, the id, the digests of its manifests, and who published them.
type Entry<'a> = ((usize, usize), &'a String, &'a Vec<String>, Publisher);

fn lists<'a>(
    import: &mut Import<'_>,
    entries: impl Iterator<Item = Entry<'a>>,
    signer: Option<&Signer>,
) -> Result<(), Trouble> {
    let mut catalogues: BTreeMap<(usize, usize), String> = BTreeMap::new();
    for (place, component, digests, publisher) in entries {
        let text = catalogues.entry(place).or_insert_with(|| {
            let id = format!("bench/catalogue-{}", place.1);
            format!("{{\"schema\":\"lcod-registry/catalogue@1\",\"id\":\"{id}\",\"components\":[")
        });
        let comma = if text.ends_with('[') { "" } else { "," };
        let _ = write!(text, "{comma}\n{{\"id\":\"{component}\",\"versions\":[");
        for (at, digest) in digests.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let path = manifest_path(component, at, publisher);
            let _ = write!(
                text,
                "{comma}{{\"version\":\"1.{at}.0\",\"manifest\":\"{path}\",\"sha256\":\"{digest}\"}}"
            );
        }
        text.push_str("]}");
    }
    let mut pointers: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    for ((source, catalogue), mut text) in catalogues {
        text.push_str("]}\n");
        let path = format!("source-{source}/catalogue-{catalogue}.json");
        pointers.entry(source).or_default().push(json!({
            "id": format!("bench/catalogue-{catalogue}"),
            "kind": "file",
            "url": path,
            "checksum": format!("sha256-{}", hex(text.as_bytes())),
        }));
        import.file(&path, text.as_bytes())?;
        if let Some(signer) = signer {
            // What the baseline parses are documents.
            let raw = import.raw.take();
            import.file(&format!("{path}.sig"), &signer.sign(text.as_bytes())?)?;
            import.raw = raw;
        }
    }
    for (source, pointers) in pointers {
        let list = json!({ "schema": "lcod-registry/catalogues@1", "catalogues": pointers });
        import.file(&format!("source-{source}/catalogues.json"), list.to_string().as_bytes())?;
    }
    Ok(())
}

fn manifest_path(id: &str, at: usize, publisher: Publisher) -> String {
    let directory = match publisher {
        Publisher::Owner => "packages",
        Publisher::Other => "copies",
    };
    format!("{directory}/{}/1.{at}.0.json", id.trim_start_matches("lcod://"))
}

fn manifest(component: &Component, at: usize, publisher: Publisher) -> String {
    let id = &component.id;
    let name = id.trim_start_matches("lcod://");
    let (repository, file) = match publisher {
        Publisher::Owner => ("bench", hex(format!("{id} {at}").as_bytes())),
        Publisher::Other => ("other", hex(format!("{id} {at} copied").as_bytes())),
    };
    let required: Vec<String> =
        component.versions[at].iter().map(|reference| format!("\"{reference}\"")).collect();
    format!(
        "{{\"schema\":\"lcod-registry/manifest@1\",\"id\":\"{id}@1.{at}.0\",\"publishedAt\":\"2025-10-14T19:11:24+02:00\",\
         \"source\":{{\"type\":\"git\",\"url\":\"https://git.example.org/{repository}/components\",\"commit\":\"{}\",\"path\":\"components/{name}\"}},\
         \"files\":[{{\"path\":\"components/{name}/compose.yaml\",\"sha256\":\"{file}\",\"size\":399}}],\"dependencies\":[{}]}}",
        &file[..40],
        required.join(",")
    )
}

fn hex(bytes: &[u8]) -> String {
    let digest = Digest::sha256(bytes).to_string();
    digest.trim_start_matches("sha256:").to_owned()
}

/// Makes an empty repository in `directory`.
pub(crate) fn make_repository(directory: &Path) -> Result<PathBuf, Trouble> {
    std::fs::create_dir_all(directory)?;
    let repository = directory.join("catalogues.git");
    run(Command::new("git").args(["init", "--quiet", "--bare"]).arg(&repository))?;
    Ok(repository)
}

/// Returns the command that works on a repository with nobody's configuration.
pub(crate) fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.args(["-c", "safe.directory=*"]).arg("--git-dir").arg(repository);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

fn run(command: &mut Command) -> Result<(), Trouble> {
    match command.status()?.success() {
        true => Ok(()),
        false => Err(Trouble::say(format!("{command:?} failed"))),
    }
}
