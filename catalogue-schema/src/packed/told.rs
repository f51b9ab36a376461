//! Reading a release back from its answer and from what is hidden beside it. Never reads an entry.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::extra::Extra;
use crate::id::{ComponentId, Reference};
use crate::model::{Archive, File, Level, Origin, Refusal, Release, Trust, Verdict, Warning};
use crate::path::DocPath;
use crate::pointer::{CommitId, HttpsUrl, LocalPath, Location, Repository};
use crate::references::References;
use crate::row::UNFETCHED;
use crate::version::Version;

/// What a [`Release`] holds and its answer does not tell.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Hidden {
    /// The repository, where its text does not say which it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repository: Option<Repository>,
    /// The digest of the manifest of a release whose documents have not been fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<Digest>,
    /// Where the archive lies that no URL leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    archive: Option<Location>,
}

impl Hidden {
    /// Returns what the answer about `release` does not tell.
    pub(super) fn of(release: &Release) -> Hidden {
        // Every field is named, so that a new one is told or hidden and never lost.
        let Release {
            id: _,
            version: _,
            origin: Origin { repository, commit: _, path: _ },
            manifest,
            unfetched,
            files: _,
            archive,
            kind: _,
            summary: _,
            dependencies: _,
            implements: _,
            yanked: _,
            // Among the marks.
            promised: _,
            verdict: _,
            warnings: _,
            extra: _,
            // In its entry.
            basis: _,
        } = release;
        Hidden {
            repository: repository.clone().filter(|repository| !is_told(repository)),
            manifest: manifest.clone().filter(|_| *unfetched),
            archive: archive
                .as_ref()
                .map(|archive| archive.location.clone())
                .filter(|location| !matches!(location, Location::Https { .. })),
        }
    }
}

/// Tells whether [`repository_of`] finds `repository` in its text.
fn is_told(repository: &Repository) -> bool {
    match repository {
        // The text of a URL is what it was read from.
        Repository::Https(_) => true,
        Repository::Ssh(_) => false,
        Repository::Local(path) => {
            path.as_path().to_str().is_some_and(|text| LocalPath::parse(text).is_ok_and(|read| read == *path))
        }
    }
}

/// Reads the text of a repository.
fn repository_of(text: &str) -> Result<Repository, String> {
    let read = match text.strip_prefix("file://") {
        Some(path) => LocalPath::parse(path).map(Repository::Local),
        None => HttpsUrl::parse(text).map(Repository::Https),
    };
    read.map_err(|error| error.to_string())
}

/// An answer, read back.
#[derive(Deserialize)]
pub(super) struct Told<'a> {
    id: Cow<'a, str>,
    version: Version,
    kind: Option<String>,
    summary: Option<String>,
    dependencies: References,
    #[serde(default)]
    implements: Vec<Reference>,
    #[serde(borrow)]
    source: ToldSource<'a>,
    #[serde(borrow)]
    integrity: ToldIntegrity<'a>,
    trust: ToldTrust,
    yanked: bool,
    warnings: Vec<Warning>,
    extra: Extra,
}

#[derive(Deserialize)]
struct ToldSource<'a> {
    #[serde(borrow)]
    repository: Option<Cow<'a, str>>,
    commit: Option<CommitId>,
    path: Option<DocPath>,
}

#[derive(Deserialize)]
struct ToldIntegrity<'a> {
    #[serde(borrow)]
    manifest: Option<Cow<'a, str>>,
    files: Vec<File>,
    archive: Option<ToldArchive>,
}

#[derive(Deserialize)]
struct ToldArchive {
    url: Option<HttpsUrl>,
    digests: Vec<Digest>,
    size: Option<u64>,
}

impl ToldArchive {
    fn archive(self, hidden: Option<Location>) -> Result<Archive, String> {
        let ToldArchive { url, digests, size } = self;
        let location = hidden.or(url.map(|url| Location::Https { url }));
        let location = location.ok_or("an archive that lies nowhere")?;
        Ok(Archive { location, digests, size })
    }
}

#[derive(Deserialize)]
struct ToldTrust {
    verdict: Word,
    rule: Option<String>,
    signers: Vec<String>,
    signature: Option<String>,
    refusal: Option<Refusal>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Trusted,
    Pinned,
    Unpinned,
    Refused,
}

impl Told<'_> {
    /// Returns the release that was told and hidden, of the component `id`; where a policy asked for more than a pin, the
    /// answer does not tell whether it is pinned.
    pub(super) fn release(
        self,
        hidden: Hidden,
        id: &ComponentId,
        is_unpinned: bool,
    ) -> Result<Release, String> {
        if self.id != id.as_text() {
            return Err(format!("an answer about {}", self.id));
        }
        let repository = match (hidden.repository, self.source.repository) {
            (Some(repository), _) => Some(repository),
            (None, Some(text)) => Some(repository_of(&text)?),
            (None, None) => None,
        };
        let unfetched = self.integrity.manifest.as_deref() == Some(UNFETCHED);
        let manifest = match self.integrity.manifest {
            Some(text) if !unfetched => Some(Digest::parse(&text).map_err(|error| error.to_string())?),
            _ => hidden.manifest,
        };
        let archive = self.integrity.archive.map(|told| told.archive(hidden.archive)).transpose()?;
        Ok(Release {
            id: id.clone(),
            version: self.version,
            origin: Origin { repository, commit: self.source.commit, path: self.source.path },
            manifest,
            unfetched,
            files: self.integrity.files,
            archive,
            kind: self.kind,
            summary: self.summary,
            dependencies: self.dependencies,
            implements: self.implements,
            promised: false,
            yanked: self.yanked,
            verdict: self.trust.verdict(is_unpinned)?,
            warnings: self.warnings,
            extra: self.extra,
            basis: None,
        })
    }
}

impl ToldTrust {
    fn verdict(self, is_unpinned: bool) -> Result<Verdict, String> {
        let asked = matches!(self.verdict, Word::Trusted);
        let level = match (self.verdict, self.refusal) {
            (Word::Refused, Some(refusal)) => return Ok(Verdict::Refused(refusal)),
            (Word::Trusted, None) if is_unpinned => Level::Unpinned,
            (Word::Trusted | Word::Pinned, None) => Level::Pinned,
            (Word::Unpinned, None) => Level::Unpinned,
            _ => return Err("a verdict without its refusal".to_owned()),
        };
        let is_unchecked = self.signature.is_some();
        Ok(Verdict::Trusted(Trust::packed(level, (self.rule, asked), self.signers, is_unchecked)))
    }
}
