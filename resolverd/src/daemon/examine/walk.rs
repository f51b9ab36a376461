//! Walks over directories without following a symbolic link. Reads names, kinds and lengths; opens no file.

use std::path::{Path, PathBuf};

use crate::daemon::rights::kind;

/// How many entries are walked over; what lies behind is not counted.
const ENTRIES_MAX: u64 = 1_000_000;

/// What lies below a directory.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Census {
    /// How many regular files.
    pub(in crate::daemon) files: u64,
    /// Their lengths in bytes.
    pub(in crate::daemon) bytes: u64,
    /// What is neither a file nor a directory, with what it is.
    pub(in crate::daemon) strange: Vec<(PathBuf, &'static str)>,
    /// Directories that could not be listed, and what the system said.
    pub(in crate::daemon) unreadable: Vec<(PathBuf, String)>,
    /// The leftovers of writers that were killed.
    pub(in crate::daemon) temporary: Vec<PathBuf>,
}

/// Walks over `directory`; one that is missing holds nothing.
pub(in crate::daemon) fn census(directory: &Path) -> Census {
    let mut census = Census::default();
    let (mut waiting, mut entries) = (vec![directory.to_owned()], 0u64);
    while let Some(at) = waiting.pop() {
        let listing = match std::fs::read_dir(&at) {
            Ok(listing) => listing,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                census.unreadable.push((at, error.to_string()));
                continue;
            }
        };
        for entry in listing.flatten() {
            entries += 1;
            if entries > ENTRIES_MAX {
                return census;
            }
            census.count(&entry.path(), &mut waiting);
        }
    }
    census
}

impl Census {
    fn count(&mut self, path: &Path, waiting: &mut Vec<PathBuf>) {
        // What vanishes meanwhile is not there.
        let Ok(found) = path.symlink_metadata() else { return };
        if found.is_dir() {
            waiting.push(path.to_owned());
        } else if found.is_file() {
            self.files += 1;
            self.bytes = self.bytes.saturating_add(found.len());
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(crate::shelf::durable::TEMPORARY_PREFIX) {
                self.temporary.push(path.to_owned());
            }
        } else {
            self.strange.push((path.to_owned(), kind(found.file_type())));
        }
    }
}

/// Returns a number of bytes for people.
pub(in crate::daemon) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
