//! Whether documents are on the shelf, byte for byte, without reading them again and again.
//!
//! A document is read and digested once; then it counts as sound for as long as its file looks as it did before (same inode,
//! length and time of change, which only the system sets). Never repairs: what is damaged is forgotten, as by a reading.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use catalogue_schema::digest::Digest;

use crate::shelf::{Index, Kind, Shelf, ShelfError, Spot};

/// How a file looks: inode, length, and when it was changed last, in seconds and nanoseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64, u64, i64, i64);

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let found = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(Stamp(found.ino(), found.len(), found.ctime(), found.ctime_nsec()))
    }
}

impl Shelf {
    /// Tells whether all of these documents are here, byte for byte. Those that were read already, and whose files have not
    /// changed since they were confirmed, are not read again.
    ///
    /// **Errors**: a file cannot be read.
    pub fn confirm(&self, digests: impl Iterator<Item = Digest>) -> Result<bool, ShelfError> {
        self.distrust();
        let mut run = self.run();
        for digest in digests {
            let is_sound = self.index().is_sound(Kind::Documents, &digest);
            if !is_sound && run.read(&digest)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Notes how a file looks that was just written whole.
    pub(super) fn stamp(&self, file: &Arc<Path>) {
        if let Some(stamp) = Stamp::of(file) {
            self.index().stamps.insert(Arc::clone(file), stamp);
        }
    }

    /// Trusts no document any more whose file looks otherwise than when it was written or looked at last: it is read again before
    /// it counts as here.
    pub fn distrust(&self) {
        let files: Vec<Arc<Path>> = self.index().files.keys().cloned().collect();
        let stamps: Vec<_> = files.into_iter().map(|file| (Stamp::of(&file), file)).collect();
        let mut index = self.index();
        let known = std::mem::take(&mut index.stamps);
        let mut changed = std::collections::HashSet::new();
        for (stamp, file) in stamps {
            if stamp.is_none() || known.get(&file) != stamp.as_ref() {
                changed.insert(Arc::clone(&file));
            }
            index.stamps.extend(stamp.map(|stamp| (file, stamp)));
        }
        // Nothing to look through where nothing counts as sound yet.
        if !changed.is_empty() && index.has_sound {
            let Index { spots, paths, .. } = &mut *index;
            let changed: Vec<bool> = paths.iter().map(|path| changed.contains(path)).collect();
            let is_changed = |spot: &&mut Spot| changed.get(spot.file as usize).copied().unwrap_or(true);
            spots.iter_mut().filter(is_changed).for_each(|spot| spot.is_sound = false);
        }
    }
}
