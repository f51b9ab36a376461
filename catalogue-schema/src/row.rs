//! The parts of a release as answers tell them: where it comes from, what its bytes must be, how far it is vouched for.
//! Only the shapes; never decides which release is told.

use serde::{Serialize, Serializer};

use crate::digest::Digest;
use crate::id::{CatalogueId, SourceId};
use crate::model::{Archive, Refusal, Release, Shadow, Verdict};
use crate::path::DocPath;
use crate::pointer::{CommitId, HttpsUrl, Location, Repository};
use crate::version::Version;

/// Where a release comes from.
#[derive(Debug, Serialize)]
pub struct SourceRow<'a> {
    /// The source.
    pub id: &'a SourceId,
    /// The catalogue within the source.
    pub catalogue: &'a SourceId,
    /// The repository; `null` for plain files.
    #[serde(serialize_with = "as_text")]
    pub repository: Option<&'a Repository>,
    /// The commit.
    pub commit: Option<&'a CommitId>,
    /// The component's directory.
    pub path: Option<&'a DocPath>,
}

impl<'a> SourceRow<'a> {
    /// Returns where `release` comes from, which `owner` lists.
    pub fn of(owner: &'a CatalogueId, release: &'a Release) -> SourceRow<'a> {
        SourceRow {
            id: &owner.source,
            catalogue: &owner.name,
            repository: release.origin.repository.as_ref(),
            commit: release.origin.commit.as_ref(),
            path: release.origin.path.as_ref(),
        }
    }
}

fn as_text<S: Serializer>(repository: &Option<&Repository>, out: S) -> Result<S::Ok, S::Error> {
    match repository {
        Some(repository) => out.collect_str(repository),
        None => out.serialize_none(),
    }
}

/// What the bytes of a release must be.
#[derive(Debug, Serialize)]
pub struct IntegrityRow<'a> {
    /// The digest of its manifest; `null` for rows without one, `unfetched` where its documents have not been fetched.
    pub manifest: ManifestRow<'a>,
    /// Its files, as far as they are known.
    pub files: Vec<FileRow<'a>>,
    /// The file that holds all of it, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveRow<'a>>,
}

impl<'a> IntegrityRow<'a> {
    /// Returns what the bytes of `release` must be.
    pub fn of(release: &'a Release) -> IntegrityRow<'a> {
        let files = release.files.iter().map(|file| FileRow {
            path: &file.path,
            digest: file.digest.as_ref(),
            blob: file.blob.as_ref(),
            size: file.size,
        });
        let archive = release.archive.as_ref().map(ArchiveRow::of);
        IntegrityRow { manifest: ManifestRow::of(release), files: files.collect(), archive }
    }
}

/// The file that holds all of a release.
#[derive(Debug, Serialize)]
pub struct ArchiveRow<'a> {
    /// Its URL; `null` where it lies beside its index: in a repository, or on this machine.
    pub url: Option<&'a HttpsUrl>,
    /// The digests of its bytes.
    pub digests: &'a [Digest],
    /// Its size in bytes, where somebody says so.
    pub size: Option<u64>,
}

impl<'a> ArchiveRow<'a> {
    /// Returns the row of an archive.
    pub fn of(archive: &'a Archive) -> ArchiveRow<'a> {
        let url = match &archive.location {
            Location::Https { url } => Some(url),
            Location::Git { .. } | Location::File { .. } => None,
        };
        ArchiveRow { url, digests: &archive.digests, size: archive.size }
    }
}

/// What is known of a release's manifest.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum ManifestRow<'a> {
    /// Its digest; `null` where there is none.
    Known(Option<&'a Digest>),
    /// The word `unfetched`.
    Unfetched(&'static str),
}

/// What stands for the manifest of a release whose documents have not been fetched.
pub const UNFETCHED: &str = "unfetched";

impl<'a> ManifestRow<'a> {
    /// Returns what is known of the manifest of `release`.
    pub fn of(release: &'a Release) -> ManifestRow<'a> {
        match release.unfetched {
            true => ManifestRow::Unfetched(UNFETCHED),
            false => ManifestRow::Known(release.manifest.as_ref()),
        }
    }
}

/// One file of a release.
#[derive(Debug, Serialize)]
pub struct FileRow<'a> {
    /// Its path.
    pub path: &'a DocPath,
    /// The digest of its bytes.
    pub digest: Option<&'a Digest>,
    /// Its Git object id.
    pub blob: Option<&'a CommitId>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

/// How far a release is vouched for.
#[derive(Debug, Serialize)]
pub struct TrustRow<'a> {
    /// `pinned`, `unpinned` or `refused`.
    pub verdict: &'static str,
    /// The policy rule that granted it; `null` without a policy.
    pub rule: Option<&'a str>,
    /// The signers whose signatures were checked.
    pub signers: &'a [String],
    /// `unchecked` where a signature is claimed that nobody has checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<&'static str>,
    /// Why it may not be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'a Refusal>,
}

impl<'a> TrustRow<'a> {
    /// Returns how far a release with this verdict is vouched for.
    pub fn of(verdict: &'a Verdict) -> TrustRow<'a> {
        let leave = match verdict {
            Verdict::Trusted(leave) => Some(leave),
            Verdict::Refused(_) => None,
        };
        TrustRow {
            verdict: verdict.word(),
            rule: leave.and_then(|leave| leave.rule()),
            signers: leave.map_or(&[], |leave| leave.signers()),
            signature: unchecked(verdict),
            refusal: verdict.refusal(),
        }
    }
}

/// What is said of a signature that is claimed and that nobody has checked.
pub const UNCHECKED: &str = "unchecked";

/// Returns `unchecked` where a signature is claimed that nobody has checked.
pub fn unchecked(verdict: &Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Trusted(leave) if leave.has_unchecked_signature() => Some(UNCHECKED),
        Verdict::Trusted(_) | Verdict::Refused(_) => None,
    }
}

/// A catalogue that lists an id and is not used.
#[derive(Debug, Serialize)]
pub struct ShadowRow<'a> {
    /// Its source.
    pub source: &'a SourceId,
    /// The catalogue.
    pub catalogue: &'a SourceId,
    /// The versions that it lists.
    pub versions: &'a [Version],
}

impl<'a> ShadowRow<'a> {
    /// Returns the row of a shadow.
    pub fn of(shadow: &'a Shadow) -> ShadowRow<'a> {
        let Shadow { catalogue, versions } = shadow;
        ShadowRow { source: &catalogue.source, catalogue: &catalogue.name, versions }
    }

    /// Returns the rows of several.
    pub fn all(shadows: &'a [Shadow]) -> Vec<ShadowRow<'a>> {
        shadows.iter().map(ShadowRow::of).collect()
    }
}
