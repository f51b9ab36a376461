//! A component published (seed 002 §§4.1, 7): validated, packed, signed, and submitted as a commit on a branch of the registry, with
//! exactly the files of §7.3.
//!
//! What is submitted passes the registry's own check first: the commit is made in a temporary clone and looked at there, as the
//! registry's continuous integration will look at it. Nothing leaves this machine before that. An archive that does not lie in the
//! registry is there before the commit is: its address has to work when the commit is looked at.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use catalogue_schema::dialect::estream::component::Component;
use catalogue_schema::dialect::estream::document::ConfigDocument;
use catalogue_schema::dialect::estream::write::{self, ARCHIVE, Published, Withdrawal};
use catalogue_schema::dialect::estream::{INDEX, MANIFEST};
use catalogue_schema::digest::{Algorithm, Digest};
use catalogue_schema::error::{ParseError, escaped};
use catalogue_schema::id::{ComponentId, Reference};
use catalogue_schema::json;
use catalogue_schema::key::PublicKey;
use catalogue_schema::path::DocPath;
use catalogue_schema::pointer::HttpsUrl;
use catalogue_schema::revision::rfc3339;
use catalogue_schema::seal::{KEY_UNKNOWN, PUBLISHER_UNKNOWN};
use catalogue_schema::version::Version;
use serde_json::{Map, Value};

use crate::api::{Code, Failure};
use crate::estream::forge::{Interface, Pull, Unseen};
use crate::estream::package::against::{Against, Check};
use crate::estream::package::command::CheckCommand;
use crate::estream::package::secret::Traces;
use crate::estream::package::{PRIVATE_KEY, Package};
use crate::estream::registry::check::{self, Change, Question, Report, told, unfit};
use crate::estream::registry::keep::for_archives;
use crate::estream::registry::submit::{Address, Desk, Forge};
use crate::estream::registry::view::{Eyes, Home};
use crate::fetch::limit::Limits;
use crate::materialize::archive::Bounds;
use crate::signing;

/// What is published, and how.
pub struct Wish<'a> {
    /// The component's directory.
    pub directory: &'a Path,
    /// The registry.
    pub address: &'a Address,
    /// The private key's file.
    pub key: &'a Path,
    /// Who publishes it, where neither its name nor its key says so.
    pub publisher: Option<&'a str>,
    /// Where its archive lies: an https URL, or a path in the registry.
    pub archive: Option<&'a str>,
    /// It is added to a release of the registry's forge.
    pub is_released: bool,
    /// Nothing leaves this machine.
    pub is_dry: bool,
    /// What judges circuits and test vectors.
    pub command: Option<&'a CheckCommand>,
    /// The limits of what is read.
    pub limits: &'a Limits,
    /// What time it is, in seconds since 1970-01-01 UTC.
    pub now_s: i64,
}

/// A component that was looked at.
pub struct Prepared {
    /// Its validations.
    pub checks: Vec<Check>,
    /// What can be submitted; `None` where a validation failed.
    pub sealed: Option<Sealed>,
}

/// A version that is ready to be submitted.
pub struct Sealed {
    /// The clone that the commit lies in.
    pub desk: Desk,
    /// The component.
    pub name: String,
    /// The version.
    pub version: Version,
    /// The publisher.
    pub publisher: String,
    /// The key, by its id in the publisher's record.
    pub key_id: String,
    /// SHA3-256 of the archive.
    pub checksum: Digest,
    /// The archive.
    pub archive: Vec<u8>,
    /// How many files it has.
    pub archived: usize,
    /// How long the signature is, in bytes.
    pub signature_bytes: usize,
    /// Where the archive will be, as `metadata.json` says it.
    pub place: Place,
    /// What the commit changes.
    pub change: Submission,
    /// What the registry's check says of it.
    pub report: Report,
}

/// A commit that is ready to be pushed.
pub struct Submission {
    /// Its id in the clone.
    pub commit: String,
    /// The branch that it is pushed as.
    pub branch: String,
    /// What it is called.
    pub title: String,
    /// The files that it changes.
    pub files: Vec<DocPath>,
}

/// Where an archive lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At an address.
    Url(HttpsUrl),
    /// In the registry.
    Registry(DocPath),
    /// In a release of the registry's forge, under a tag.
    Release {
        /// The repository.
        forge: Forge,
        /// The tag.
        tag: String,
        /// The address that it has there.
        url: HttpsUrl,
    },
}

impl Place {
    /// Returns it as `metadata.json` has it.
    pub fn as_text(&self) -> &str {
        match self {
            Place::Url(url) | Place::Release { url, .. } => url.as_text(),
            Place::Registry(path) => path.as_text(),
        }
    }
}

/// Validates, packs and signs a component, and makes the commit that publishes it.
///
/// **Errors**: E007, E015: the key is none that publishes it; E012: the registry cannot be read; what the registry's check refuses.
/// Failed validations are no error.
pub fn prepare(eyes: &Eyes, wish: &Wish<'_>) -> Result<Prepared, Failure> {
    let bounds = Bounds::from(wish.limits);
    let package = Package::read(wish.directory, &bounds)?;
    // A key that cannot be read is told where it is used.
    let traces = signing::private(wish.key).ok().map(|(key, file)| Traces::of(&key, &file));
    let copied = || package.holds_key(traces.as_ref()?);
    if let Some(path) = package.holds(wish.key).or_else(copied) {
        let detail =
            format!("the key {} is in {path} of the component, and would be published", wish.key.display());
        return Err(Failure::new(Code::ManifestInvalid, PRIVATE_KEY, detail)
            .hint("move the key out of the component's directory, or leave it out by [component.include]"));
    }
    let Ok(component) = package.component().cloned() else {
        let mut against = Against::nothing(&bounds);
        against.command = wish.command;
        return Ok(Prepared { checks: package.validate(&against), sealed: None });
    };
    let desk = Desk::clone(wish.address)?;
    let home = registry(eyes, &desk)?;
    let config = eyes.config(&home)?;
    let known = Known::of(eyes, &home, &component)?;
    let public = public_key(wish.key)?;
    let publisher =
        publisher(eyes, &home, &component, (known.publisher.as_deref(), wish.publisher), &public)?;
    let view = eyes.view(&home)?;
    let given = view.given(&component.dependencies);
    let against = Against {
        publisher: Some(&publisher),
        published: Some(&known.versions),
        provided: Some(&given),
        command: wish.command,
        ..Against::nothing(&bounds).rules(&config)
    };
    let checks = package.validate(&against);
    if checks.iter().any(|check| !check.failures().is_empty()) {
        return Ok(Prepared { checks, sealed: None });
    }
    let key_id = active_key(eyes, &home, &publisher, &public, wish.now_s)?;
    let archive = package.archive(&against.archive_bounds())?;
    let place = place(wish, &config, &component)?;
    let published_s = check::dated(&view, &config, (&component.id, &component.version), wish.now_s);
    let ready = Ready { package: &package, component, publisher, key_id, archive, place, published_s };
    let sealed = sealed(eyes, wish, desk, &known, ready)?;
    Ok(Prepared { checks, sealed: Some(sealed) })
}

/// Returns the registry that was cloned.
fn registry(eyes: &Eyes, desk: &Desk) -> Result<Home, Failure> {
    let home = desk.home(&desk.head)?;
    match eyes.is_empty(&home)? {
        false => Ok(home),
        true => {
            let detail =
                format!("{} is no registry: it has no directory {INDEX} at its top", desk.address.url);
            Err(Failure::new(Code::RequestInvalid, "registry.none", detail)
                .hint("name a registry's repository; one that lies in a directory of a larger repository is changed by hand"))
        }
    }
}

/// What a registry knows of a component.
struct Known {
    metadata: Option<Vec<u8>>,
    publisher: Option<String>,
    versions: Vec<Version>,
}

impl Known {
    fn of(eyes: &Eyes, home: &Home, component: &Component) -> Result<Known, Failure> {
        let path = format!("{INDEX}/{}/{}/metadata.json", component.category, component.id.path());
        let metadata = eyes.read(home, &path)?;
        let Some(bytes) = &metadata else {
            return Ok(Known { metadata: None, publisher: None, versions: Vec::new() });
        };
        let wrong = |error: ParseError| {
            let failure = Failure::of(Code::ManifestInvalid, &error);
            Failure { detail: format!("{path} of the registry: {error}"), ..failure }
                .hint("whoever keeps the registry has to correct it first")
        };
        let fields: Map<String, Value> = json::check(bytes).and_then(json::document).map_err(wrong)?;
        let rows = fields.get("versions").and_then(Value::as_array).into_iter().flatten();
        let versions = rows.filter_map(|row| Version::parse(row.get("version")?.as_str()?).ok()).collect();
        let publisher = fields.get("publisher").and_then(Value::as_str).map(str::to_owned);
        Ok(Known { publisher, versions, metadata })
    }
}

fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    let found = signing::inspect(path).map_err(|error| {
        Failure::new(Code::RequestInvalid, "keys.private", error.to_string())
            .hint("name a private ML-DSA-87 key that nobody else may read: --key FILE")
    })?;
    match found.private_form {
        Some(_) => Ok(found.public),
        None => {
            let detail = format!("cannot sign with {}: it is a public key", path.display());
            Err(Failure::new(Code::RequestInvalid, "keys.private", detail)
                .hint("name the private half, NAME.key as resolverd keys generate calls it"))
        }
    }
}

/// Says who publishes a component: whom its name or its metadata names, else whom the caller names, else whose key it is.
fn publisher(
    eyes: &Eyes,
    home: &Home,
    component: &Component,
    (known, named): (Option<&str>, Option<&str>),
    key: &PublicKey,
) -> Result<String, Failure> {
    let own = component.id.scope().strip_prefix('@').filter(|scope| !scope.is_empty()).or(known);
    match (own, named) {
        (Some(own), Some(named)) if own != named => {
            let detail =
                format!("{} belongs to the publisher {own}, not to {}", component.id.path(), escaped(named));
            return Err(Failure::new(Code::PermissionDenied, "registry.publisher", detail)
                .hint("leave --publisher away, or publish under another name"));
        }
        (Some(own), _) => return Ok(own.to_owned()),
        (None, Some(named)) => return Ok(named.to_owned()),
        (None, None) => {}
    }
    let holders = holders(eyes, home, key)?;
    match holders.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(unknown_key(None, key)),
        several => {
            let detail = format!("the key is registered for {}", several.join(", "));
            Err(Failure::new(Code::RequestInvalid, "registry.publisher", detail)
                .hint("say which: --publisher NAME"))
        }
    }
}

/// Returns whose keys in the registry this one is among.
fn holders(eyes: &Eyes, home: &Home, key: &PublicKey) -> Result<Vec<String>, Failure> {
    let mut holders = Vec::new();
    for name in eyes.publishers(home)? {
        // A record that cannot be read is nobody's here; its publisher is told by name.
        let Ok(Some(record)) = eyes.publisher(home, &name) else { continue };
        if record.keys.iter().any(|(_, held)| held.as_ref().is_ok_and(|held| held.key == *key)) {
            holders.push(name);
        }
    }
    Ok(holders)
}

fn unknown_key(publisher: Option<&str>, key: &PublicKey) -> Failure {
    let who = publisher.map_or_else(|| "no publisher".to_owned(), |name| format!("no publisher {name}"));
    let detail = format!("the registry knows {who} with the key {}", key.fingerprint());
    Failure::new(Code::UnknownPublisher, KEY_UNKNOWN, detail)
        .hint("whoever keeps the registry adds it: resolverd registry publisher add NAME --key NAME.pem")
}

/// Returns the id of a key that its publisher may sign with now.
fn active_key(
    eyes: &Eyes,
    home: &Home,
    publisher: &str,
    key: &PublicKey,
    now_s: i64,
) -> Result<String, Failure> {
    let record = eyes.publisher(home, publisher)?.ok_or_else(|| {
        let detail = format!("the registry has no publisher {}", escaped(publisher));
        Failure::new(Code::UnknownPublisher, PUBLISHER_UNKNOWN, detail)
            .hint("whoever keeps the registry adds one: resolverd registry publisher add NAME --key NAME.pem")
    })?;
    let mut own =
        record.keys.iter().filter_map(|(_, held)| held.as_ref().ok()).filter(|held| held.key == *key);
    let Some(held) = own.next() else {
        let others = holders(eyes, home, key)?;
        if others.is_empty() {
            return Err(unknown_key(Some(publisher), key));
        }
        let detail = format!(
            "the key {} is registered for {}, not for {publisher}",
            key.fingerprint(),
            others.join(", ")
        );
        return Err(Failure::new(Code::PermissionDenied, "registry.key_other", detail)
            .with("expected", publisher)
            .with("found", others)
            .hint(format!("sign with a key of {publisher}: --key FILE; a key belongs to one publisher")));
    };
    match unfit(held, now_s) {
        None => Ok(held.id.clone()),
        Some(reason) => {
            let detail = format!("the key {} of {publisher} signs nothing now: {}", held.id, told(held));
            Err(Failure::new(Code::PermissionDenied, reason, detail)
                .hint("sign with the publisher's active key, or have a new one registered"))
        }
    }
}

/// Says where the archive will lie.
fn place(wish: &Wish<'_>, config: &ConfigDocument, component: &Component) -> Result<Place, Failure> {
    let wrong = |error: ParseError| {
        Failure::of(Code::RequestInvalid, &error)
            .hint("name an https:// URL, or a path in the registry: --archive-url")
    };
    let (name, version) = (component.id.path(), &component.version);
    match (wish.archive, &config.archives, &wish.address.forge) {
        (Some(url), Some(archives), _) => {
            let detail = format!("the registry keeps its archives in {archives} (config.json), not at {url}");
            Err(Failure::new(Code::RequestInvalid, "registry.archive_place", detail)
                .hint("leave --archive-url away: the archive becomes part of the commit"))
        }
        (Some(url), _, _) if url.contains(':') => HttpsUrl::parse(url).map(Place::Url).map_err(wrong),
        (Some(path), _, _) => {
            let read = DocPath::parse(path).and_then(|path| for_archives(&path).map(|()| path));
            read.map(Place::Registry).map_err(wrong)
        }
        (None, Some(archives), _) => {
            let path = format!("{}/{name}/{version}/{ARCHIVE}", archives.trim_end_matches('/'));
            DocPath::parse(&path)
                .map(Place::Registry)
                .map_err(|error| Failure::of(Code::ManifestInvalid, &error))
        }
        (None, None, Some(forge)) if wish.is_released => {
            // A point is in no name, so that no two components have one tag.
            let tag = format!("{}-{version}", name.trim_start_matches('@').replace('/', "."));
            let Forge { host, owner, repository } = forge;
            let url = format!("https://{host}/{owner}/{repository}/releases/download/{tag}/{ARCHIVE}");
            let url = HttpsUrl::parse(&url).map_err(wrong)?;
            Ok(Place::Release { forge: forge.clone(), tag, url })
        }
        _ => {
            let detail = format!("nobody says where the archive of {name} {version} will lie");
            Err(Failure::new(Code::RequestInvalid, "registry.archive_place", detail).hint(
                "upload what resolverd pack writes and name its address with --archive-url; or give a token for the registry's \
                 forge (--token-env); or have the registry keep archives (\"archives\" in its config.json)",
            ))
        }
    }
}

/// What is sealed.
struct Ready<'a> {
    package: &'a Package,
    component: Component,
    publisher: String,
    key_id: String,
    archive: Vec<u8>,
    place: Place,
    /// In seconds since 1970-01-01 UTC.
    published_s: i64,
}

/// Signs an archive, and makes the commit that publishes it.
fn sealed(
    eyes: &Eyes,
    wish: &Wish<'_>,
    desk: Desk,
    known: &Known,
    ready: Ready<'_>,
) -> Result<Sealed, Failure> {
    let Ready { package, component, publisher, key_id, archive, place, published_s } = ready;
    let Component { id, version, category, description, keywords, min_version, .. } = &component;
    let checksum = Digest::of(Algorithm::Sha3_256, &archive);
    // The raw bytes of the checksum are what is signed; whoever signs verifies it, and the check below does so again.
    let (_, signature) = signing::sign_message(wish.key, checksum.as_bytes())
        .map_err(|error| Failure::new(Code::SignatureInvalid, "keys.private", error.to_string()))?;
    let min_version = min_version.as_ref().map(ToString::to_string);
    let published_at = rfc3339(published_s);
    let published = Published {
        name: id.path(),
        category,
        publisher: &publisher,
        description,
        keywords,
        version,
        published_at: &published_at,
        checksum: &checksum,
        key_id: &key_id,
        min_version: min_version.as_deref(),
        archive: place.as_text(),
    };
    let unwritten = |error: ParseError| Failure::of(Code::ManifestInvalid, &error);
    let metadata = write::published(known.metadata.as_deref(), &published).map_err(unwritten)?;
    let component_directory = format!("{INDEX}/{category}/{}", id.path());
    let own = format!("{component_directory}/{version}");
    let mut files = BTreeMap::new();
    let mut add = |path: String, bytes: Vec<u8>| -> Result<(), Failure> {
        files.insert(DocPath::parse(&path).map_err(unwritten)?, bytes);
        Ok(())
    };
    add(format!("{own}/{MANIFEST}"), package.manifest.clone())?;
    add(
        format!("{own}/SIGNATURE.ml-dsa"),
        write::signature(&key_id, &published_at, &checksum, &signature).into_bytes(),
    )?;
    add(format!("{own}/checksum.sha3"), write::checksum(&checksum).into_bytes())?;
    add(format!("{component_directory}/metadata.json"), metadata.into_bytes())?;
    if let Place::Registry(path) = &place {
        if desk.has(path) {
            let detail = format!("the registry has {path} already, and the archive would replace it");
            return Err(Failure::new(Code::RequestInvalid, "registry.archive_place", detail)
                .hint("name another path with --archive-url; where the registry keeps archives, its keepers have to take that file away"));
        }
        let leading = path.as_text().match_indices('/').map(|(at, _)| &path.as_text()[..at]);
        if let Some(file) = leading.into_iter().find(|leading| desk.has_file(leading)) {
            let detail =
                format!("the archive cannot lie at {path}: {} is a file of the registry", escaped(file));
            return Err(Failure::new(Code::RequestInvalid, "registry.archive_place", detail).hint(
                "name a path below a directory with --archive-url, such as archives/NAME/VERSION.tar.gz",
            ));
        }
        add(path.to_string(), archive.clone())?;
    }
    let title = format!("Publish {} v{version}", id.path());
    let branch = format!("publish/{}-{version}", id.path());
    let commit = desk.commit(&files, &format!("{title}\n"))?;
    let aside = desk.aside().join("archives");
    let name = format!("{}-{version}.tar.gz", id.path().trim_start_matches('@').replace('/', "-"));
    set_aside(&aside, &name, &archive)?;
    // What an address holds that somebody else filled is looked at there, and what the commit holds in the commit.
    let archives = match (&place, wish.is_dry) {
        (Place::Url(_), false) | (Place::Registry(_), _) => None,
        _ => Some(aside.as_path()),
    };
    let change = Submission { commit, branch, title, files: files.into_keys().collect() };
    let report = checked(eyes, &desk, &change, (archives, wish.limits, wish.now_s))?;
    Ok(Sealed {
        report,
        name: id.path().to_owned(),
        version: version.clone(),
        publisher,
        key_id,
        checksum,
        archived: package.files.len(),
        archive,
        signature_bytes: signature.len(),
        place,
        change,
        desk,
    })
}

fn set_aside(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::File::create_new(directory.join(name)))
        .and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| {
        let detail = format!("cannot write the archive aside: {error}");
        Failure::new(Code::StoreUnavailable, "registry.temporary", detail)
            .hint("set TMPDIR to a place with room")
    })
}

/// Has the registry's check look at a commit.
fn checked(
    eyes: &Eyes,
    desk: &Desk,
    change: &Submission,
    (archives, limits, now_s): (Option<&Path>, &Limits, i64),
) -> Result<Report, Failure> {
    desk.can_have(&change.branch)?;
    let (base, home) = (desk.home(&desk.head)?, desk.home(&change.commit)?);
    let changes: Vec<Change> = check::changes(desk.git(), (&desk.head, &change.commit), "")?;
    let question =
        Question { home: &home, base: Some((&base, &changes)), archives, command: None, limits, now_s };
    let mut report = check::check(eyes, &question)?;
    match report.findings.is_empty() {
        true => Ok(report),
        false => {
            let others: Vec<Value> = report.findings.iter().map(|one| one.problem(None)).collect();
            let first = report.findings.swap_remove(0);
            let detail = format!("the registry would refuse it: {}", first.detail);
            let hint = (first.reason == "estream.two_categories")
                .then(|| "publish it in the category that it is in, or under another name".to_owned());
            Err(Failure { detail, hint: first.hint.or(hint), ..first }.with("findings", others))
        }
    }
}

/// What became of a submission.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The request to merge it, where one was made.
    pub pull: Option<Pull>,
    /// Why none was made although it was asked for: the branch is there all the same.
    pub unasked: Option<Failure>,
    /// What whoever keeps the registry does next, as a command.
    pub next: String,
}

/// Puts the archive where it will lie, pushes the commit, and asks for it to be merged where `interface` can.
///
/// **Errors**: E015: something is refused; E012: something cannot be reached. A release that was begun and a branch that was pushed
/// are taken away again. That nobody could be asked to merge the branch is no error.
pub fn submit(sealed: &Sealed, interface: Option<&Interface>) -> Result<Submitted, Failure> {
    let Sealed { desk, change, place, archive, .. } = sealed;
    desk.has_no(&change.branch)?;
    let Place::Release { forge, tag, url } = place else { return pushed(desk, change, interface) };
    let interface = interface.ok_or_else(|| {
        Failure::new(Code::RequestInvalid, "forge.token", "a release needs a token".to_owned())
            .hint("name the variable that holds it: --token-env NAME")
    })?;
    let draft = interface.draft(forge, tag, (&change.title, &desk.branch))?;
    let done = released(sealed, interface, (forge, &draft, url), archive.clone());
    if done.is_err() && interface.discard(forge, &draft).is_err() {
        tracing::warn!(tag, "the release that was begun could not be taken away");
    }
    done?;
    Ok(pulled(desk, change, Some(interface)))
}

/// Fills a release, pushes the commit, and lets everybody see the release.
fn released(
    sealed: &Sealed,
    interface: &Interface,
    (forge, draft, url): (&Forge, &Unseen, &HttpsUrl),
    archive: Vec<u8>,
) -> Result<(), Failure> {
    interface.upload(draft, ARCHIVE, archive)?;
    sealed.desk.push(&sealed.change.commit, &sealed.change.branch)?;
    let shown = interface.publish(forge, draft, ARCHIVE).and_then(|shown| match shown == url.as_text() {
        true => Ok(()),
        false => {
            let detail = format!("the archive is at {}, and the commit says {url}", escaped(&shown));
            Err(Failure::new(Code::NetworkError, "forge.answer", detail).hint("publish with --archive-url"))
        }
    });
    let Submission { commit, branch, .. } = &sealed.change;
    // Without its archive nobody could use what the branch publishes.
    if shown.is_err() && sealed.desk.retract(commit, branch).is_err() {
        tracing::warn!(branch, "the branch that was pushed could not be taken away");
    }
    shown
}

/// Pushes a commit, and asks for it to be merged where `interface` can.
///
/// **Errors**: E015: it is refused; E012: the registry cannot be reached.
pub fn pushed(desk: &Desk, change: &Submission, interface: Option<&Interface>) -> Result<Submitted, Failure> {
    desk.push(&change.commit, &change.branch)?;
    Ok(pulled(desk, change, interface))
}

fn pulled(desk: &Desk, change: &Submission, interface: Option<&Interface>) -> Submitted {
    let Submission { branch, title, .. } = change;
    let pull = match (interface, &desk.address.forge) {
        (Some(interface), Some(forge)) => {
            let body = "Made by resolverd. `resolverd registry check` verifies it.";
            Some(interface.pull(forge, (title, body), (branch, &desk.branch)))
        }
        _ => None,
    };
    let (pull, unasked) = match pull.transpose() {
        Ok(pull) => (pull, None),
        Err(failure) => (None, Some(failure)),
    };
    Submitted { pull, unasked, next: next(desk, change) }
}

/// Returns the command that comes next where nobody was asked to merge.
fn next(desk: &Desk, change: &Submission) -> String {
    let Submission { branch, title, .. } = change;
    match &desk.address.forge {
        Some(Forge { owner, repository, .. }) => format!(
            "gh pr create --repo {owner}/{repository} --base {} --head {} --title {} --body ''",
            quoted(&desk.branch),
            quoted(branch),
            quoted(title)
        ),
        None => format!("git pull --no-rebase --no-ff {} {}", quoted(&desk.address.url), quoted(branch)),
    }
}

/// Returns a word as a shell reads it.
pub fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@+=,".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// A version that is withdrawn, or no longer.
pub struct Withdrawn {
    /// The clone that the commit lies in.
    pub desk: Desk,
    /// What the commit changes.
    pub change: Submission,
    /// What the registry's check says of it.
    pub report: Report,
}

/// Makes the commit that withdraws a version, or brings it back: exactly that flag and `latest` change.
///
/// **Errors**: E001, E002: there is no such version; R011: it is so already; E012: the registry cannot be read.
pub fn withdraw(
    eyes: &Eyes,
    address: &Address,
    reference: &str,
    (change, reason): (Withdrawal, Option<&str>),
    (limits, now_s): (&Limits, i64),
) -> Result<Withdrawn, Failure> {
    let (id, version) = named(reference)?;
    let desk = Desk::clone(address)?;
    let home = registry(eyes, &desk)?;
    let view = eyes.view(&home)?;
    let known = view.versions(&id);
    let Some(release) = view.release(&id, &version) else {
        let listed = known.iter().map(ToString::to_string).collect::<Vec<String>>().join(", ");
        return Err(match known.is_empty() {
            true => Failure::new(
                Code::ComponentNotFound,
                "component_unknown",
                format!("the registry has no {}", id.path()),
            ),
            false => {
                let detail = format!("{} has no version {version}; it has {listed}", id.path());
                Failure::new(Code::VersionNotFound, "version_unknown", detail)
            }
        });
    };
    let category = release.kind.clone().unwrap_or_default();
    let path = format!("{INDEX}/{category}/{}/metadata.json", id.path());
    let metadata = eyes.read(&home, &path)?.unwrap_or_default();
    let text = write::withdrawn(&metadata, &version, change, reason).map_err(|error| {
        let code =
            if error.reason == "estream.yanked" { Code::RequestInvalid } else { Code::ManifestInvalid };
        Failure { detail: format!("{}@{version}: {error}", id.path()), ..Failure::of(code, &error) }
    })?;
    let wrong = |error: ParseError| Failure::of(Code::ManifestInvalid, &error);
    let files = BTreeMap::from([(DocPath::parse(&path).map_err(wrong)?, text.into_bytes())]);
    let (word, act) = match change {
        Withdrawal::Yank => ("yank", "Yank"),
        Withdrawal::Unyank => ("unyank", "Unyank"),
    };
    let title = format!("{act} {} v{version}", id.path());
    let message = reason.map_or_else(|| format!("{title}\n"), |reason| format!("{title}\n\n{reason}\n"));
    let commit = desk.commit(&files, &message)?;
    let branch = format!("{word}/{}-{version}", id.path());
    let change = Submission { commit, branch, title, files: files.into_keys().collect() };
    let report = checked(eyes, &desk, &change, (None, limits, now_s))?;
    Ok(Withdrawn { desk, change, report })
}

/// Reads `NAME@VERSION`, with or without the dialect before it.
fn named(reference: &str) -> Result<(ComponentId, Version), Failure> {
    let full = match reference.starts_with("estream:") {
        true => reference.to_owned(),
        false => format!("estream:{reference}"),
    };
    let read = Reference::parse(&full).map_err(|error| Failure::of_reference(&error))?;
    let version = read.requirement.named().ok_or_else(|| {
        let detail = format!("{} names no version", escaped(reference));
        Failure::new(Code::ReferenceInvalid, "input.reference", detail).hint("write NAME@1.2.3")
    })?;
    Ok((read.id, version))
}
