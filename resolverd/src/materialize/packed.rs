//! Releases that are one archive: it is kept as it came, beside what was unpacked of it, and stands between a copied cache and the
//! promise, which is of the archive alone. Never believes a list of its files that is not its own.

use std::collections::BTreeMap;
use std::fs::{Metadata, Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;

use catalogue_schema::digest::{Digest, Hashed};
use catalogue_schema::model::{Archive, Refusal, Verdict};
use catalogue_schema::path::DocPath;

use crate::api::files::{FileLine, FilesRow};
use crate::fetch::limit::Limits;
use crate::materialize::about::read;
use crate::materialize::archive::{self, ArchiveError, Bounds, Unpacked};
use crate::materialize::plan::Plan;
use crate::materialize::stage::Stage;
use crate::materialize::{Access, Cache};
use crate::shelf::durable::{self, Failed};
use crate::trust::verify::{Evidence, judge};

/// The mode of an archive that the group may read.
const SHARED: u32 = 0o640;

/// Tells whether bytes are the archive that is promised.
///
/// **Errors**: `trust.digest_mismatch`, `trust.size_mismatch`.
pub(super) fn verified(plan: &Plan, promised: &Archive, bytes: Vec<u8>) -> Result<Hashed, Refusal> {
    let subject = format!("the archive of {}", plan.release);
    let content = Hashed::of(bytes);
    match judge(&Evidence::promised(&subject, &promised.digests, promised.size), &content) {
        Verdict::Trusted(_) => Ok(content),
        Verdict::Refused(refusal) => Err(refusal),
    }
}

/// Refuses an archive without the files that are known by name, or with others under their names.
///
/// **Errors**: `archive.missing`, `archive.digest`.
pub(super) fn holds(plan: &Plan, files: &[FileLine]) -> Result<(), Refusal> {
    for piece in &plan.pieces {
        let Some(file) = files.iter().find(|file| file.path == piece.path) else {
            let expected = format!("{} in its archive", piece.path);
            return Err(Refusal::new("archive.missing", &plan.release, expected, "none"));
        };
        let size = piece.size.filter(|size| *size != file.size);
        let digest = piece
            .digest
            .as_ref()
            .filter(|digest| digest.algorithm() == file.digest.algorithm() && **digest != file.digest);
        let subject = || format!("{} of {}", piece.path, plan.release);
        if let Some(size) = size {
            let found = format!("{} bytes", file.size);
            return Err(Refusal::new("archive.digest", subject(), format!("{size} bytes"), found));
        }
        if let Some(digest) = digest {
            return Err(Refusal::new("archive.digest", subject(), digest, &file.digest));
        }
    }
    Ok(())
}

impl Cache {
    /// Keeps the archive of a release.
    pub(super) fn keep_archive(&self, promise: &Digest, bytes: &[u8]) -> Result<(), Failed> {
        let path = durable::write(&self.archives(), &promise.hex(), &[bytes])?;
        match self.access {
            Access::Owner => Ok(()),
            Access::Group => {
                let shared = Permissions::from_mode(SHARED);
                set_permissions(&path, shared).map_err(durable::failed("set the mode of", &path))
            }
        }
    }

    /// Adds where the archive of a release lies, where it has one and that is kept. Whoever takes it compares its digest.
    pub(super) fn with_archive(&self, row: FilesRow, plan: &Plan) -> FilesRow {
        let place = plan.archive.as_ref().map(|_| self.archives().join(plan.promise.hex()));
        let kept =
            place.and_then(|place| Some((place.metadata().ok().filter(Metadata::is_file)?.len(), place)));
        let (archive_bytes, archive) =
            kept.map(|(bytes, place)| (bytes, place.display().to_string())).unzip();
        FilesRow { archive, archive_bytes, ..row }
    }

    /// Returns the archive of a release as it is promised; `None` where it is not here, or is another one.
    pub(super) fn kept_archive(&self, plan: &Plan, promised: &Archive, limits: &Limits) -> Option<Hashed> {
        let bytes = read(&self.archives().join(plan.promise.hex()), limits.archive_bytes).ok()?;
        verified(plan, promised, bytes).ok()
    }

    /// Unpacks an archive aside.
    ///
    /// **Errors**: those of the archive; the disk's.
    pub(super) fn unpacked(&self, plan: &Plan, archive: &Hashed, limits: &Limits) -> Result<Stage, Refusal> {
        let bounds = Bounds::from(limits);
        // Read once for its bounds alone: files cost much more than bytes in memory, and the last of very many may be one too many.
        let read = archive::read(archive.bytes(), &bounds, None, &plan.release, &mut |_| Ok(()));
        let unpacked =
            read.and_then(|()| archive::unpack(archive.bytes(), &self.trees(), &bounds, None, &plan.release));
        let mut stage = unpacked.map_err(|error| match error {
            ArchiveError::Refused(refusal) => refusal,
            ArchiveError::Taken(error) => self.unusable(&plan.release, error),
        })?;
        let files = stage.files();
        if files.is_empty() {
            return Err(Refusal::new("files.none", &plan.release, "an archive with files", "none"));
        }
        holds(plan, &files).map(|()| stage)
    }

    /// Tells whether files are those of the archive that is promised; the error says what they are instead.
    pub(super) fn is_of_archive(
        &self,
        plan: &Plan,
        files: &[FileLine],
        limits: &Limits,
    ) -> Result<(), String> {
        let Some(promised) = &plan.archive else { return Ok(()) };
        let Some(archive) = self.kept_archive(plan, promised, limits) else {
            return Err("files without the archive that is promised".to_owned());
        };
        let mut found: BTreeMap<DocPath, (bool, Digest)> = BTreeMap::new();
        let mut take = |file: Unpacked| {
            let digest = file.content.digest().clone();
            found.insert(file.path, (file.executable, digest));
            Ok(())
        };
        let bounds = Bounds::from(limits);
        archive::read(archive.bytes(), &bounds, None, &plan.release, &mut take)
            .map_err(|error| error.to_string())?;
        let is_same = |file: &FileLine| {
            found
                .get(&file.path)
                .is_some_and(|(executable, digest)| *executable == file.executable && *digest == file.digest)
        };
        match found.len() == files.len() && files.iter().all(is_same) {
            true => Ok(()),
            false => Err("other files than those of the archive that is promised".to_owned()),
        }
    }
}
