//! What is in the cache directory, before anything there is believed: whose the rooms are, and which names are none of ours.
//!
//! A link, a directory of another user, or something that is no directory in the place of a room ends every piece of work: neither
//! read, nor written, nor cleared. Never follows a link, never waits for a fifo, and never changes what belongs to somebody else.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use catalogue_schema::digest::Digest;
use rustix::fs::OFlags;

use crate::materialize::{Access, Cache, is_temporary};
use crate::shelf::durable::{self, Kind, foreign};

/// The longest description or hold that is read, in bytes.
const NOTE_BYTES_MAX: u64 = 64 << 20;
/// How many names that are none of ours are told.
const STRANGERS_MAX: usize = 100;

impl Cache {
    /// Looks at the root and at every room of the cache, and mends their modes; `false` where there is no cache yet.
    ///
    /// **Errors**: one of them is a link, is no directory, or belongs to another user; nothing was touched behind it.
    pub(super) fn check(&self) -> io::Result<bool> {
        let shared = match self.access {
            Access::Owner => 0o700,
            Access::Group => 0o750,
        };
        let own = [self.abouts(), self.holds()].map(|room| (room, 0o700));
        let rooms = [(self.trees(), shared), (self.views(), shared), (self.archives(), shared)]
            .into_iter()
            .chain(own);
        for (place, mode) in [(self.root.clone(), shared)].into_iter().chain(rooms) {
            let found = match place.symlink_metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound && place == self.root => {
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => found?,
            };
            if let Some(found) = foreign(&found, Kind::Directory) {
                return Err(io::Error::other(format!("{}: {found}; remove it by hand", place.display())));
            }
            if found.permissions().mode() & 0o7777 != mode {
                fs::set_permissions(&place, Permissions::from_mode(mode))?;
            }
        }
        Ok(true)
    }

    /// Returns what lies in the rooms and is none of ours, in the words of a person.
    ///
    /// **Errors**: the system's.
    pub fn strangers(&self) -> io::Result<Vec<String>> {
        let mut told = Vec::new();
        if !self.check()? {
            return Ok(told);
        }
        let rooms = [
            (self.trees(), Kind::Directory),
            (self.views(), Kind::Directory),
            (self.abouts(), Kind::File),
            (self.holds(), Kind::File),
            (self.archives(), Kind::File),
        ];
        for (room, kind) in rooms {
            for (name, place) in durable::entries(&room)? {
                if is_temporary(&name) {
                    continue;
                }
                let wrong = match place.symlink_metadata() {
                    Err(error) => Some(error.to_string()),
                    Ok(_) if !is_name(&name) => Some("it has no name of this program".to_owned()),
                    Ok(found) => foreign(&found, kind),
                };
                let is_unreadable = || match kind {
                    Kind::Directory => false,
                    // What an archive is worth is found out where it is used.
                    Kind::File if room == self.archives() => false,
                    Kind::File if room == self.holds() => self.hold_at(&name).is_none(),
                    Kind::File => Digest::parse(&format!("sha256:{name}"))
                        .is_ok_and(|promise| self.about(&promise).is_none()),
                };
                let wrong = wrong.or_else(|| is_unreadable().then(|| "it cannot be read".to_owned()));
                told.extend(wrong.map(|wrong| format!("{}: {wrong}", place.display())));
            }
        }
        told.truncate(STRANGERS_MAX);
        Ok(told)
    }
}

/// Tells whether a name is one that this program gives: 64 hexadecimal digits.
pub(super) fn is_name(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns the directories of ours in a room: real ones, of this user, with a name of ours.
///
/// **Errors**: the system's.
pub(super) fn directories(room: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = durable::entries(room)?;
    found.retain(|(name, place)| {
        is_name(name)
            && place.symlink_metadata().is_ok_and(|found| foreign(&found, Kind::Directory).is_none())
    });
    Ok(found)
}

/// Reads a description or a hold; `None` where it is missing, no regular file of this user, or too long.
pub(super) fn note(place: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(place).ok()?;
    if foreign(&file.metadata().ok()?, Kind::File).is_some() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(NOTE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= NOTE_BYTES_MAX).then_some(bytes)
}
