//! Files that trust rests on, read so that nobody else can have put them there: the policy, its public keys, a signer's private
//! key.
//!
//! A guarded file is opened step by step from the root, every step by the directory that was opened before and none through a
//! link; what was looked at is what is read. Nobody but root and the reader's own user may be able to write the file or any
//! directory above it. A directory of root's in which only owners may remove their files (`/tmp`) counts as safe.
//!
//! Never writes a file, and never says what stood in one that holds a secret.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use catalogue_schema::error::ParseError;
use catalogue_schema::key::{KEY_FILE_BYTES_MAX, PrivateKey, PublicKey};
use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, openat};
use zeroize::Zeroizing;

use crate::trust::signature::is_weak;

/// Others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;
/// Others than the owner may do anything.
const OTHERS: u32 = 0o077;
/// Only owners may remove their files from a directory.
const STICKY: u32 = 0o1000;

/// The reason of a refusal: somebody else could have written it, or it is no plain file.
pub const PERMISSIONS: &str = "policy.permissions";
/// The reason of a refusal: anybody could sign for the key.
pub const KEY_WEAK: &str = "policy.key_weak";

/// Why a file that trust rests on is not used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could have written it, or it is no plain file.
    #[error("cannot trust {path}: {found}; {remedy}")]
    Unguarded {
        /// The file, or the directory above it that is open to others.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
        /// The command that mends it.
        remedy: String,
    },
    /// The file is larger than anything that belongs there.
    #[error("cannot read {path}: it has more than {bytes_max} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The most that is read.
        bytes_max: u64,
    },
    /// What stands in it is no key.
    #[error("cannot use the key {path}: {error}")]
    Key {
        /// Which.
        path: PathBuf,
        /// What was expected and found.
        error: ParseError,
    },
}

impl KeyError {
    /// Returns the file or directory that is at fault.
    pub fn path(&self) -> &Path {
        match self {
            KeyError::Unreadable { path, .. }
            | KeyError::Unguarded { path, .. }
            | KeyError::TooLarge { path, .. }
            | KeyError::Key { path, .. } => path,
        }
    }

    /// Returns the dotted reason that programs read.
    pub fn reason(&self) -> &'static str {
        match self {
            KeyError::Unreadable { .. } => "policy.unreadable",
            KeyError::Unguarded { .. } => PERMISSIONS,
            KeyError::TooLarge { .. } => "policy.too_large",
            KeyError::Key { error, .. } => match error.reason.as_ref() {
                catalogue_schema::key::PRIVATE_KEY => "policy.private_key",
                KEY_WEAK => KEY_WEAK,
                _ => "policy.key",
            },
        }
    }
}

/// Reads a file that only root and `user` can have written, at most `bytes_max` of it. `path` must be absolute.
///
/// **Errors**: it cannot be read; a link on the way; a file or directory that others may write or own; too large.
pub fn read_guarded(path: &Path, user: u32, bytes_max: u64) -> Result<Vec<u8>, KeyError> {
    let (file, stat) = open_guarded(path, user)?;
    check_mode(path, &stat, user, OTHERS_WRITE, "go-w")?;
    read(path, file, bytes_max)
}

/// Reads a public key that only root and `user` can have written.
///
/// **Errors**: those of [`read_guarded`]; a private key lies there; it is no key, or a weak one.
pub fn read_public(path: &Path, user: u32) -> Result<PublicKey, KeyError> {
    public(path, &read_guarded(path, user, KEY_FILE_BYTES_MAX)?)
}

/// Reads a public key that the caller names for one use, whoever wrote it.
///
/// **Errors**: it cannot be read; a private key lies there; it is no key, or a weak one.
pub fn read_named_public(path: &Path) -> Result<PublicKey, KeyError> {
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    public(path, &read(path, file, KEY_FILE_BYTES_MAX)?)
}

/// Reads the text of a public key that somebody hands over instead of its file.
///
/// **Errors**: nobody did; it is no key, or a weak one.
pub fn given_public(path: &Path, text: Option<&str>) -> Result<PublicKey, KeyError> {
    let missing = || unreadable(path, std::io::Error::other("its text was not handed over with the policy"));
    public(path, text.ok_or_else(missing)?.as_bytes())
}

fn public(path: &Path, bytes: &[u8]) -> Result<PublicKey, KeyError> {
    let refused = |error: ParseError| KeyError::Key { path: path.to_owned(), error };
    let key = PublicKey::parse(bytes).map_err(refused)?;
    match is_weak(&key) {
        true => Err(refused(ParseError::new(
            KEY_WEAK,
            "a key that only its owner can sign for",
            format!("{} {}", key.algorithm(), key.fingerprint()),
        ))),
        false => Ok(key),
    }
}

/// Reads a private key, which nobody but its owner may be able to read: root or `user`. The directories above it are not looked
/// at.
///
/// **Errors**: it cannot be read; it is a link; others may read it; it is no private key.
pub fn read_private(path: &Path, user: u32) -> Result<PrivateKey, KeyError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(|errno| unopened(path, errno))?;
    let stat = plain(path, &file)?;
    check_mode(path, &stat, user, OTHERS, "go-rwx")?;
    let bytes = Zeroizing::new(read(path, File::from(file), KEY_FILE_BYTES_MAX)?);
    PrivateKey::parse(&bytes).map_err(|error| KeyError::Key { path: path.to_owned(), error })
}

/// Opens a file from the root on, one directory after the other.
fn open_guarded(path: &Path, user: u32) -> Result<(File, Stat), KeyError> {
    let refused = |found: &str| KeyError::Unguarded {
        path: path.to_owned(),
        found: found.to_owned(),
        remedy: "name it by its absolute path without . and ..".to_owned(),
    };
    let mut parts = path.components();
    if parts.next() != Some(Component::RootDir) {
        return Err(refused("its path is not absolute"));
    }
    let names: Option<Vec<_>> = parts
        .map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let names = names.ok_or_else(|| refused("its path climbs"))?;
    let Some((name, above)) = names.split_last() else { return Err(refused("it is the root")) };
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let directory = flags | OFlags::DIRECTORY | OFlags::PATH;
    let mut walked = PathBuf::from("/");
    let mut at = openat(CWD, "/", directory, Mode::empty()).map_err(|errno| unopened(&walked, errno))?;
    check_directory(&walked, &at, user)?;
    for name in above {
        walked.push(name);
        at = openat(&at, *name, directory, Mode::empty()).map_err(|errno| unopened(&walked, errno))?;
        check_directory(&walked, &at, user)?;
    }
    let file = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat(&at, *name, file, Mode::empty()).map_err(|errno| unopened(path, errno))?;
    let stat = plain(path, &file)?;
    Ok((File::from(file), stat))
}

fn check_directory(path: &Path, directory: &OwnedFd, user: u32) -> Result<(), KeyError> {
    let stat = fstat(directory).map_err(|errno| unreadable(path, errno.into()))?;
    if stat.st_uid == 0 && stat.st_mode & STICKY != 0 {
        return Ok(());
    }
    check_mode(path, &stat, user, OTHERS_WRITE, "go-w")
}

/// Checks that the file is a plain one, and returns what is known about it.
fn plain(path: &Path, file: &OwnedFd) -> Result<Stat, KeyError> {
    let stat = fstat(file).map_err(|errno| unreadable(path, errno.into()))?;
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::RegularFile => Ok(stat),
        _ => Err(KeyError::Unguarded {
            path: path.to_owned(),
            found: "it is no plain file".to_owned(),
            remedy: "name a file".to_owned(),
        }),
    }
}

fn check_mode(path: &Path, stat: &Stat, user: u32, denied: u32, change: &str) -> Result<(), KeyError> {
    let refused =
        |found: String, remedy: String| Err(KeyError::Unguarded { path: path.to_owned(), found, remedy });
    if stat.st_uid != 0 && stat.st_uid != user {
        let found = format!("it belongs to user {}, not to root or user {user}", stat.st_uid);
        return refused(found, format!("chown {user} '{}'", path.display()));
    }
    let mode = stat.st_mode & 0o7777;
    if mode & denied != 0 {
        let what = if denied == OTHERS { "read or write" } else { "write" };
        let found = format!("others than its owner may {what} it (mode {mode:04o})");
        return refused(found, format!("chmod {change} '{}'", path.display()));
    }
    Ok(())
}

fn read(path: &Path, file: File, bytes_max: u64) -> Result<Vec<u8>, KeyError> {
    // Room for all of it from the start: a buffer that grows leaves copies of a secret behind.
    let mut bytes = Vec::with_capacity(usize::try_from(bytes_max.min(KEY_FILE_BYTES_MAX)).unwrap_or(0) + 64);
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|source| unreadable(path, source))?;
    match bytes.len() as u64 > bytes_max {
        true => Err(KeyError::TooLarge { path: path.to_owned(), bytes_max }),
        false => Ok(bytes),
    }
}

fn unreadable(path: &Path, source: io::Error) -> KeyError {
    KeyError::Unreadable { path: path.to_owned(), source }
}

fn unopened(path: &Path, errno: rustix::io::Errno) -> KeyError {
    // A link at the end gives ELOOP; where a directory is wanted Linux says ENOTDIR, for a plain file too.
    let is_link = path.symlink_metadata().is_ok_and(|found| found.file_type().is_symlink());
    match is_link {
        true => KeyError::Unguarded {
            path: path.to_owned(),
            found: "it is a symbolic link".to_owned(),
            remedy: "name the file that it leads to".to_owned(),
        },
        false => unreadable(path, errno.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use tempfile::TempDir;

    use super::*;
    use crate::trust::signature::Signer;

    /// A directory with `keys/a.pem` in it, which is a good public key.
    struct Place {
        root: TempDir,
        file: PathBuf,
        user: u32,
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn place() -> Place {
        let root = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let keys = root.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        mode(&keys, 0o755);
        let file = keys.join("a.pem");
        let pem = Signer::of(&seeded()).unwrap().public().to_pem();
        std::fs::write(&file, pem).unwrap();
        mode(&file, 0o644);
        Place { user: rustix::process::getuid().as_raw(), root, file }
    }

    fn seeded() -> PrivateKey {
        Signer::seeded(catalogue_schema::key::KeyAlgorithm::Ed25519, Zeroizing::new([1; 32]))
    }

    fn reason(read: Result<PublicKey, KeyError>) -> &'static str {
        read.map_or_else(|error| error.reason(), |_| "read")
    }

    #[test]
    fn a_key_that_others_could_have_written_is_refused() {
        let check = |change: fn(&Place), expected: &str| {
            let place = place();
            change(&place);
            assert_eq!(reason(read_public(&place.file, place.user)), expected);
        };
        check(|_| {}, "read");
        check(|place| mode(&place.file, 0o400), "read");
        check(|place| mode(&place.file, 0o664), PERMISSIONS);
        check(|place| mode(&place.file, 0o646), PERMISSIONS);
        check(|place| mode(place.file.parent().unwrap(), 0o775), PERMISSIONS);
        check(|place| mode(place.file.parent().unwrap(), 0o757), PERMISSIONS);
        check(|place| mode(place.root.path(), 0o777), PERMISSIONS);
        check(
            |place| {
                std::fs::rename(&place.file, place.root.path().join("b.pem")).unwrap();
                symlink("../b.pem", &place.file).unwrap();
            },
            PERMISSIONS,
        );
        check(
            |place| {
                std::fs::rename(place.file.parent().unwrap(), place.root.path().join("b")).unwrap();
                symlink("b", place.file.parent().unwrap()).unwrap();
            },
            PERMISSIONS,
        );
        check(
            |place| {
                std::fs::remove_file(&place.file).unwrap();
                std::fs::create_dir(&place.file).unwrap();
            },
            PERMISSIONS,
        );
        check(|place| std::fs::remove_file(&place.file).unwrap(), "policy.unreadable");
        check(|place| std::fs::write(&place.file, "a".repeat(17 << 10)).unwrap(), "policy.too_large");
        check(|place| std::fs::write(&place.file, "").unwrap(), "policy.key");
        check(|place| std::fs::write(&place.file, "00".repeat(32)).unwrap(), KEY_WEAK);
        check(|place| std::fs::write(&place.file, seeded().to_pem().as_str()).unwrap(), "policy.private_key");
    }

    #[test]
    fn only_root_and_the_user_may_own_it() {
        let place = place();
        if place.user != 0 {
            // Another user's file cannot be made by a test that is not root's; a reader of another id is the same.
            assert_eq!(reason(read_public(&place.file, place.user + 1)), PERMISSIONS);
            return;
        }
        for path in [place.file.as_path(), place.file.parent().unwrap(), place.root.path()] {
            chown(path, Some(4242), None).unwrap();
            assert_eq!(reason(read_public(&place.file, 0)), PERMISSIONS);
            assert_eq!(reason(read_public(&place.file, 4242)), "read");
            chown(path, Some(0), None).unwrap();
        }
    }

    #[test]
    fn a_path_that_is_not_plain_is_refused() {
        let place = place();
        let keys = place.file.parent().unwrap();
        for path in [Path::new("keys/a.pem"), Path::new("/"), Path::new(""), &keys.join("../keys/a.pem")] {
            assert_eq!(reason(read_public(path, place.user)), PERMISSIONS, "{}", path.display());
        }
        // A device would be read for ever, a pipe waited for.
        assert_eq!(reason(read_public(Path::new("/dev/zero"), place.user)), PERMISSIONS);
    }

    #[test]
    fn a_private_key_that_others_may_read_is_refused() {
        let place = place();
        std::fs::write(&place.file, seeded().to_pem().as_str()).unwrap();
        let check = |bits: u32, expected: &str| {
            mode(&place.file, bits);
            let read = read_private(&place.file, place.user);
            assert_eq!(read.map_or_else(|error| error.reason(), |_| "read"), expected, "{bits:o}");
        };
        check(0o600, "read");
        check(0o400, "read");
        for bits in [0o640, 0o604, 0o620, 0o610, 0o666] {
            check(bits, PERMISSIONS);
        }
        mode(&place.file, 0o600);
        let link = place.root.path().join("link");
        symlink(&place.file, &link).unwrap();
        let error = read_private(&link, place.user).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
}
