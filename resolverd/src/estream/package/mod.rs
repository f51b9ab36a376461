//! A component's directory: what of it is published, whether it may be, and the archive of it (seed 002 §7).
//!
//! ```no_run
//! use resolverd::estream::package::{Package, against::Against, bounds};
//! use resolverd::fetch::limit::Limits;
//!
//! let bounds = bounds(&Limits::default());
//! let package = Package::read("estream-wire-fix".as_ref(), &bounds)?;
//! let checks = package.validate(&Against::nothing(&bounds));
//! if checks.iter().all(|check| check.failures().is_empty()) {
//!     let archive = package.archive(&bounds)?;
//! }
//! # Ok::<(), resolverd::api::Failure>(())
//! ```
//! # What is in the archive
//! `estream-component.toml`; the file that `readme` names, or `README.md`; the licence files at the top (`LICENSE*`, `LICENCE*`,
//! `COPYING*`, `NOTICE*`); and what the patterns of `[component.include]` name ([`include`]). Without that table: everything but what
//! begins with a dot, [`NOISE`], and archives of the component itself.
//!
//! A file that would be in it and that no reader of archives takes (a link, a device, a name outside the grammar of paths, two names
//! that differ in case alone), or that holds a private key ([`secret`]), is told by name, and nothing is packed. What is left out is not
//! looked at.
//!
//! The directory is opened once, and everything below it from there without following a link: whoever swaps a directory for a link
//! meanwhile changes nothing but an error. Never writes, never runs anything that the component names.

pub mod against;
pub mod command;
pub mod include;
pub mod secret;
mod walk;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use catalogue_schema::dialect::estream::MANIFEST;
use catalogue_schema::dialect::estream::component::{self, Component, Declared, Reading};
use catalogue_schema::error::ParseError;
use catalogue_schema::model::Refusal;
use catalogue_schema::path::DocPath;

use crate::api::{Code, Failure};
use crate::estream::package::secret::{Traces, Unpacking};
use crate::estream::package::walk::Found;
use crate::fetch::limit::Limits;
use crate::materialize::archive::{ArchiveError, Bounds, read, write};

/// What is left out of a component without `[component.include]`, besides what begins with a dot.
pub const NOISE: [&str; 12] = [
    "target",
    "node_modules",
    "__pycache__",
    "Thumbs.db",
    "desktop.ini",
    "*~",
    "*.bak",
    "*.orig",
    "*.pyc",
    "*.rej",
    "*.swp",
    "*.tmp",
];

/// The reason of a private key among the files that are published.
pub const PRIVATE_KEY: &str = "package.private_key";

/// A component's directory as it was read.
#[derive(Debug, Clone)]
pub struct Package {
    /// The directory.
    pub directory: PathBuf,
    /// The manifest's bytes, as they go into archive and index.
    pub manifest: Vec<u8>,
    /// What the manifest says of files, schemas and circuits.
    pub declared: Declared,
    /// The files of the archive, by path.
    pub files: BTreeMap<DocPath, Vec<u8>>,
    /// Files and directories that are left out, by path from the component's directory; those in a directory that is left out are not
    /// named.
    pub left_out: Vec<String>,
    /// Patterns of `[component.include]` that name no file.
    pub unmatched: Vec<String>,
    component: Option<Component>,
    /// What is wrong with the manifest.
    faults: Vec<ParseError>,
    /// What is wrong with the files.
    refused: Vec<Refusal>,
}

impl Package {
    /// Reads a component's directory: the manifest, and the files that are published. What is wrong with them is kept, and told by
    /// [`Package::validate`].
    ///
    /// **Errors**: E008 where there is no directory or no manifest that can be read at all; E011 where there is more than `bounds`
    /// allow.
    pub fn read(directory: &Path, bounds: &Bounds) -> Result<Package, Failure> {
        Package::read_while(directory, bounds, &|| Ok(()))
    }

    /// Reads a component's directory as [`Package::read`] does, and asks before each file whether there is time for it.
    ///
    /// **Errors**: as [`Package::read`]; what `goes_on` returns.
    pub fn read_while(
        directory: &Path,
        bounds: &Bounds,
        goes_on: &dyn Fn() -> Result<(), Failure>,
    ) -> Result<Package, Failure> {
        let root = walk::Root::open(directory)?;
        let manifest = root.manifest()?;
        let reading = component::read(&manifest).map_err(|error| of_manifest(&error))?;
        let Reading { component, declared, mut faults } = reading;
        let found = walk::walk(&root, &declared, own_archives(component.as_ref()), (bounds, goes_on))?;
        let Found { mut files, left_out, unmatched, refused, patterns } = found;
        faults.extend(patterns);
        // What was read first is what was judged.
        if let Ok(path) = DocPath::parse(MANIFEST) {
            files.insert(path, manifest.clone());
        }
        Ok(Package {
            directory: directory.to_owned(),
            manifest,
            declared,
            files,
            left_out,
            unmatched,
            component,
            faults,
            refused,
        })
    }

    /// Returns what the component is.
    ///
    /// **Errors**: E008: the manifest is wrong; the first fault of it.
    pub fn component(&self) -> Result<&Component, Failure> {
        match (self.faults.first(), &self.component) {
            (None, Some(component)) => Ok(component),
            (Some(error), _) => Err(of_manifest(error)),
            (None, None) => {
                Err(Failure::new(Code::ManifestInvalid, "estream.manifest", "the manifest cannot be read"))
            }
        }
    }

    /// Packs the files; equal files give equal bytes.
    ///
    /// **Errors**: E008: files that cannot be packed; E011: more than `bounds` allow, or an archive that those who install it with
    /// these bounds would refuse.
    pub fn archive(&self, bounds: &Bounds) -> Result<Vec<u8>, Failure> {
        if let Some(refusal) = self.refused.first() {
            return Err(of_files(refusal));
        }
        let subject = self.subject();
        let packed = write::tar_gz(&self.files, bounds, &subject).map_err(|refusal| of_files(&refusal))?;
        // Whoever installs it reads it so; a file of zeros, for one, is too good to be taken.
        let taken = read(packed.as_slice(), bounds, None, &subject, &mut |_| Ok(()));
        taken.map_err(|error| match error {
            ArchiveError::Refused(refusal) => of_files(&refusal),
            ArchiveError::Taken(error) => Failure::new(Code::Internal, "archive", error.to_string()),
        })?;
        Ok(packed)
    }

    /// Returns the archive before it is compressed: only its digest is the same whatever program packs it.
    ///
    /// **Errors**: as [`Package::archive`].
    pub fn tar(&self, bounds: &Bounds) -> Result<Vec<u8>, Failure> {
        write::tar(&self.files, bounds, &self.subject()).map_err(|refusal| of_files(&refusal))
    }

    /// Returns the path of a file of the archive that is the very file at `other`, by whatever name.
    pub fn holds(&self, other: &Path) -> Option<&DocPath> {
        let place = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
        let own = place(other)?;
        self.files.keys().find(|path| place(&self.directory.join(path.as_text())) == Some(own))
    }

    /// Returns the path of a file of the archive that holds a key, in the forms that keys are copied in.
    pub fn holds_key(&self, key: &Traces) -> Option<&DocPath> {
        let mut unpacking = Unpacking::start();
        self.files.iter().find(|(_, bytes)| key.are_in(bytes, &mut unpacking)).map(|(path, _)| path)
    }

    /// Returns the name of the archive's file, such as `estream-wire-fix-1.0.0.tar.gz` or `acme-counter-0.1.0.tar.gz`.
    ///
    /// **Errors**: as [`Package::component`].
    pub fn file_name(&self) -> Result<String, Failure> {
        let component = self.component()?;
        Ok(format!("{}-{}.tar.gz", plain_name(component), component.version))
    }

    /// Returns what messages call the archive.
    fn subject(&self) -> String {
        match &self.component {
            Some(component) => format!("the archive of {} {}", component.id.path(), component.version),
            None => "the archive".to_owned(),
        }
    }
}

/// Returns what an archive may bring by the limits of the configuration, which are those of who installs it.
pub fn bounds(limits: &Limits) -> Bounds {
    Bounds::from(limits)
}

/// Returns a name as one name of a file.
fn plain_name(component: &Component) -> String {
    component.id.path().trim_start_matches('@').replace('/', "-")
}

/// Returns how the names of archives of this component begin, which earlier runs left in its directory.
fn own_archives(component: Option<&Component>) -> Option<String> {
    component.map(|component| format!("{}-", plain_name(component)))
}

/// Says what is wrong with a manifest.
fn of_manifest(error: &ParseError) -> Failure {
    let mut failure = Failure::of(Code::ManifestInvalid, error);
    failure.detail = format!("{MANIFEST}: {error}");
    failure.hint(match &*error.reason {
        "estream.include" => "name files by patterns such as schemas/*.esf.yaml or docs/**",
        "estream.name" => "a name is lower-case letters, digits and hyphens, alone or behind @publisher/",
        _ => "correct the field in estream-component.toml; resolverd scaffold writes a whole one",
    })
}

/// Says why files cannot be packed.
fn of_files(refusal: &Refusal) -> Failure {
    let (code, hint) = match &*refusal.reason {
        "archive.too_large" | "archive.too_many" => (
            Code::PackageTooLarge,
            "leave files out by [component.include], or raise the limit that is named",
        ),
        "package.entry_type" => (
            Code::ManifestInvalid,
            "put the file itself in its place, or leave it out by [component.include]",
        ),
        PRIVATE_KEY => (
            Code::ManifestInvalid,
            "move the key out of the component's directory; one that was published has to be revoked",
        ),
        "archive.duplicate" => {
            (Code::ManifestInvalid, "rename one of them: on some systems both names mean one file")
        }
        _ => (Code::ManifestInvalid, "rename the file, or leave it out by [component.include]"),
    };
    let failure = Failure::new(code, refusal.reason.clone(), refusal.to_string())
        .with("subject", &refusal.subject)
        .with("found", &refusal.found)
        .hint(hint);
    if refusal.expected.is_empty() { failure } else { failure.with("expected", &refusal.expected) }
}

#[cfg(test)]
mod tests;
