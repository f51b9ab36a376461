//! Compares the files of an installed component with what was installed. Reads only, and follows no link.

use std::collections::BTreeMap;

use catalogue_schema::dialect::estream::workspace::Installed;
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
    let look = |path: &DocPath| match look(&place.root.join(path.as_text())) {
        _ if blocked(&place.root, path).is_some() => Some(Changed::Mode),
        Err(_) => Some(Changed::Unreadable),
        Ok(There::Nothing) => Some(Changed::Missing),
        Ok(There::Other(_)) => Some(Changed::Mode),
        Ok(There::File(digest)) => {
            let recorded = one.files.iter().find(|file| file.path == *path).map(|file| &file.sha256);
            (recorded != Some(&digest)).then_some(Changed::Changed)
        }
    };
    one.files.iter().filter_map(|file| Some(changed(look(&file.path)?, &file.path))).collect()
}

/// Tells whether a workspace's file records what an archive holds.
///
/// **Errors**: E008 for a path in the archive that has no place in a workspace.
pub fn is_of_archive(id: &ComponentId, one: &Installed, archive: &[FileLine]) -> Result<bool, Failure> {
    let category = one.category.as_deref().unwrap_or_default();
    let held = archive
        .iter()
        .map(|file| Ok((target(id, category, &file.path)?, file.digest.clone())))
        .collect::<Result<BTreeMap<DocPath, Digest>, Failure>>()?;
    let recorded: BTreeMap<DocPath, Digest> =
        one.files.iter().map(|file| (file.path.clone(), file.sha256.clone())).collect();
    Ok(held == recorded)
}
