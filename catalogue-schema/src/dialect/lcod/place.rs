//! Where the paths and URLs of LCOD documents lead: the same place as the document, its declared origin, or elsewhere.
//!
//! A relative path never leaves its root. `file:` URLs and absolute paths are accepted only from documents whose own bytes
//! came from this machine; every other scheme than `https:` is refused.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::ParseError;
use crate::forge::{ForgeFile, Forges};
use crate::model::Origin;
use crate::path::DocPath;
use crate::pointer::{CommitId, HttpsUrl, LocalPath, Locality, Location, Repository, Revision};

/// What a path or URL in a document names.
pub(super) enum Named {
    /// An https URL.
    Https(HttpsUrl),
    /// A file or directory on this machine.
    Local(LocalPath),
    /// A path below some root.
    Relative(DocPath),
}

/// Reads a path or URL out of a document of the given locality.
///
/// **Errors**: `input.url_scheme` for local files named by remote documents and for other schemes; `input.path`, `input.url`.
pub(super) fn named(text: &str, locality: Locality) -> Result<Named, ParseError> {
    if text.starts_with("https:") {
        return Ok(Named::Https(HttpsUrl::parse(text)?));
    }
    if text.starts_with("file:") || text.starts_with('/') {
        return match locality {
            Locality::Local => Ok(Named::Local(LocalPath::parse(text)?)),
            Locality::Remote => Err(ParseError::new(
                "input.url_scheme",
                "an https:// URL or a relative path; only documents on this machine may name local files",
                text,
            )),
        };
    }
    if text.bytes().take_while(|byte| *byte != b'/').any(|byte| byte == b':') {
        return Err(ParseError::new("input.url_scheme", "an https:// URL or a relative path", text));
    }
    Ok(Named::Relative(DocPath::parse(text)?))
}

/// Reads the URL of a repository.
///
/// **Errors**: `input.url_scheme`, `input.url`, `input.path`.
pub(super) fn repository(text: &str, locality: Locality) -> Result<Repository, ParseError> {
    match named(text, locality)? {
        Named::Https(url) => Ok(Repository::Https(url)),
        Named::Local(path) => Ok(Repository::Local(path)),
        Named::Relative(_) => {
            Err(ParseError::new("input.url_scheme", "the https:// URL of a repository", text))
        }
    }
}

/// Reads a directory prefix; nothing, the empty text and `.` mean the root itself.
///
/// **Errors**: `input.path`.
pub(super) fn prefix(text: Option<&str>) -> Result<Option<DocPath>, ParseError> {
    match text.map(|text| text.trim_end_matches('/')) {
        None | Some("" | ".") => Ok(None),
        Some(text) => DocPath::parse(text).map(Some),
    }
}

/// A repository and revision that a pointer to an https document names beside it: where the document's rows lead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Base {
    pub(super) repository: Repository,
    pub(super) revision: Revision,
}

impl Base {
    /// Returns what the operator says about the rows of an https document.
    pub(super) fn of_origin(origin: &Origin) -> Option<Base> {
        let revision = origin.commit.clone().map_or(Revision::Head, Revision::Commit);
        Some(Base { repository: origin.repository.clone()?, revision })
    }

    /// Returns what a forge's file URL says about its document.
    pub(super) fn of_url(url: &HttpsUrl, forges: &Forges) -> Option<Base> {
        let file = forges.file(url)?;
        Some(Base { repository: Repository::Https(file.repository), revision: file.revision })
    }
}

/// One file: where it lies, and its path as releases list it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Spot {
    pub(super) location: Location,
    pub(super) path: DocPath,
}

impl Spot {
    /// Returns the file `name` in the same directory.
    ///
    /// **Errors**: `input.path`, `input.url`.
    pub(super) fn sibling(&self, name: &str) -> Result<Spot, ParseError> {
        let name_path = DocPath::parse(name)?;
        let location = match &self.location {
            Location::Git { repository, revision, path } => Location::Git {
                repository: repository.clone(),
                revision: revision.clone(),
                path: path.sibling(name)?,
            },
            Location::File { path } => {
                Location::File { path: path.parent().unwrap_or_else(|| path.clone()).join(&name_path) }
            }
            Location::Https { url } => Location::Https { url: url.sibling(&name_path)? },
        };
        Ok(Spot { location, path: self.path.sibling(name)? })
    }

    /// Returns the repository and commit that hold it, and its directory.
    pub(super) fn origin(&self) -> Origin {
        Origin { path: self.path.parent(), ..self.tree() }
    }

    /// Returns the repository and commit that hold it.
    pub(super) fn tree(&self) -> Origin {
        let repository = match &self.location {
            Location::Git { repository, .. } => Some(repository.clone()),
            _ => None,
        };
        Origin { repository, commit: self.location.commit().cloned(), path: None }
    }

    /// Returns where it lies, and what holds it.
    pub(super) fn held(self) -> Held {
        Held { tree: Arc::new(self.tree()), location: self.location }
    }
}

/// Where a manifest lies, and the repository and commit that hold it, which a catalogue's releases share.
pub(super) struct Held {
    pub(super) location: Location,
    pub(super) tree: Arc<Origin>,
}

/// Where the relative paths of a document lead.
#[derive(Debug, Clone)]
pub(super) struct Root {
    pub(super) place: RootPlace,
    pub(super) prefix: Option<DocPath>,
}

/// The kinds of [`Root`].
#[derive(Debug, Clone)]
pub(super) enum RootPlace {
    /// The root of a repository.
    Git { repository: Repository, revision: Revision },
    /// The directory of an https document.
    Https { document: HttpsUrl },
    /// A local directory.
    File { directory: LocalPath },
}

impl Root {
    /// Returns where the rows of the document at `location` lead when it names no origin.
    ///
    /// In a repository that is its root, at the commit at which the document was read. For an https document it is what its
    /// pointer says (`base`), else its directory. For a local file it is its directory, or that directory's parent when it
    /// is called `registry`, which is what kernels do.
    pub(super) fn of(location: &Location, commit: Option<&CommitId>, base: Option<&Base>) -> Root {
        let place = match (location, base) {
            (Location::Git { repository, revision, .. }, _) => RootPlace::Git {
                repository: repository.clone(),
                revision: commit.cloned().map_or_else(|| revision.clone(), Revision::Commit),
            },
            (Location::Https { .. }, Some(base)) => {
                RootPlace::Git { repository: base.repository.clone(), revision: base.revision.clone() }
            }
            (Location::Https { url }, None) => RootPlace::Https { document: url.clone() },
            (Location::File { path }, _) => {
                let directory = path.parent().unwrap_or_else(|| path.clone());
                let above = directory.as_path().ends_with("registry").then(|| directory.parent()).flatten();
                RootPlace::File { directory: above.unwrap_or(directory) }
            }
        };
        Root { place, prefix: None }
    }

    /// Returns the file that `text` (a relative path, or a URL) names.
    ///
    /// **Errors**: `input.path`, `input.url`, `input.url_scheme`.
    pub(super) fn spot(&self, text: &str, locality: Locality, forges: &Forges) -> Result<Spot, ParseError> {
        match named(text, locality)? {
            Named::Relative(path) => self.below(path),
            Named::Local(path) => {
                let name = path.as_path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
                Ok(Spot { path: DocPath::parse(name)?, location: Location::File { path } })
            }
            Named::Https(url) => match forges.file(&url) {
                Some(ForgeFile { repository, revision, path }) => Ok(Spot {
                    path: path.clone(),
                    location: Location::Git { repository: Repository::Https(repository), revision, path },
                }),
                None => {
                    let path = DocPath::parse(&url.segments().join("/"))?;
                    Ok(Spot { path, location: Location::Https { url } })
                }
            },
        }
    }

    /// Returns the manifest that `text` names, as [`Root::spot`] does; `tree` is the one in which relative paths lie.
    ///
    /// **Errors**: as [`Root::spot`].
    pub(super) fn held(
        &self,
        text: &str,
        tree: &Arc<Origin>,
        locality: Locality,
        forges: &Forges,
    ) -> Result<Held, ParseError> {
        match named(text, locality)? {
            Named::Relative(path) => {
                Ok(Held { location: self.located(self.prefixed(path)?)?, tree: Arc::clone(tree) })
            }
            Named::Local(_) | Named::Https(_) => self.spot(text, locality, forges).map(Spot::held),
        }
    }

    /// Returns the repository and commit in which relative paths lie.
    pub(super) fn tree(&self) -> Origin {
        let (repository, commit) = match &self.place {
            RootPlace::Git { repository, revision: Revision::Commit(commit) } => {
                (Some(repository.clone()), Some(commit.clone()))
            }
            RootPlace::Git { repository, .. } => (Some(repository.clone()), None),
            RootPlace::Https { .. } | RootPlace::File { .. } => (None, None),
        };
        Origin { repository, commit, path: None }
    }

    fn below(&self, path: DocPath) -> Result<Spot, ParseError> {
        let path = self.prefixed(path)?;
        Ok(Spot { location: self.located(path.clone())?, path })
    }

    fn prefixed(&self, path: DocPath) -> Result<DocPath, ParseError> {
        match &self.prefix {
            Some(prefix) => prefix.join(&path),
            None => Ok(path),
        }
    }

    fn located(&self, path: DocPath) -> Result<Location, ParseError> {
        Ok(match &self.place {
            RootPlace::Git { repository, revision } => {
                Location::Git { repository: repository.clone(), revision: revision.clone(), path }
            }
            RootPlace::Https { document } => Location::Https { url: document.sibling(&path)? },
            RootPlace::File { directory } => Location::File { path: directory.join(&path) },
        })
    }
}
