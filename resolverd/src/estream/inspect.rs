//! Compares the files of an installed component with what was installed. Reads only, and follows no link.

use std::collections::BTreeMap;

use catalogue_schema::dialect::estream::workspace::{Installed, InstalledFile};
use catalogue_schema::digest::Digest;
use catalogue_schema::id::ComponentId;
use catalogue_schema::path::DocPath;

use crate::api::Failure;
use crate::api::files::{Changed, FileChange, FileLine};
use crate::estream::install::target;
use crate::estream::journal::{There, blocked, look};
use crate::estream::workspace::Place;

/// Returns which files of a component are not as they were installed.
pub fn changes(place: &Place, one: &Installed) -> Vec<FileChange> {
    let changed = |what: Changed, path: &DocPath| FileChange { path: path.as_text().to_owned(), what };
    let look = |path: &DocPath, recorded: &Digest| match look(&place.root.join(path.as_text())) {
        _ if blocked(&place.root, path).is_some() => Some(Changed::Mode),
        Err(_) => Some(Changed::Unreadable),
        Ok(There::Nothing) => Some(Changed::Missing),
        Ok(There::Other(_)) => Some(Changed::Mode),
        Ok(There::File(digest)) => (digest != *recorded).then_some(Changed::Changed),
    };
    one.files.iter().filter_map(|file| Some(changed(look(&file.path, &file.sha256)?, &file.path))).collect()
}

/// Returns where the files of an archive lie in a workspace.
///
/// **Errors**: E008 for a path in the archive that has no place in a workspace.
pub fn brought(
    id: &ComponentId,
    category: &str,
    archive: &[FileLine],
) -> Result<Vec<InstalledFile>, Failure> {
    let brought = |file: &FileLine| {
        Ok(InstalledFile {
            path: target(id, category, &file.path)?,
            sha256: file.digest.clone(),
            adopted: false,
        })
    };
    archive.iter().map(brought).collect()
}

/// Tells whether a workspace's file records what an archive brings.
pub fn is_of_archive(one: &Installed, brought: &[InstalledFile]) -> bool {
    let by_path = |files: &[InstalledFile]| -> BTreeMap<DocPath, Digest> {
        files.iter().map(|file| (file.path.clone(), file.sha256.clone())).collect()
    };
    by_path(brought) == by_path(&one.files)
}
