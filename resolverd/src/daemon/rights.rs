//! Which directories may be used: what they are, whose, who else may write there, and on which file system. Said once: a daemon or
//! verb refuses by it before it touches anything, and `daemon/examine` tells it.
//!
//! | directory | has to be |
//! |---|---|
//! | state | a directory of this user, which nobody else may write, on a file system of this machine |
//! | cache | a directory of this user or of root, which nobody else may write; the directories in it of this user, and no links |
//! | socket | a directory of this user or of root, which nobody else may write unless its sticky bit is set |
//!
//! Root may do anything here anyhow: what belongs to root is no plan of somebody else's. That is how a service manager makes
//! `RuntimeDirectory`, and the links of `DynamicUser`. In a directory like `/tmp` nobody takes the socket of another user away, for
//! which the sticky bit stands. What is missing is made by us. The directories above are not judged: whoever may rename these from
//! there still cannot make theirs pass for ours. A link in the place of one of the three is followed where it is this user's own or
//! root's, since nobody else can have made it, and what it leads to is judged; within them no link is. Never changes anything.

use std::fs::{FileType, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor, statfs};

use crate::config::Settings;
use crate::shelf::durable;

/// The reason of a refused directory.
pub(super) const UNSAFE_DIR: &str = "store.unsafe_dir";
/// The reason of a refused file system.
pub(super) const NETWORK_FS: &str = "store.network_fs";

/// Others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;
/// Only owners may remove their files from a directory.
const STICKY: u32 = 0o1000;
/// Where the kernel tells what is mounted.
const MOUNTS: &str = "/proc/self/mountinfo";

/// Why a directory may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {} as the {role}: {found}; expected {expected}", .path.display())]
pub struct Danger {
    /// [`UNSAFE_DIR`] or [`NETWORK_FS`].
    pub(super) reason: &'static str,
    /// What it is for.
    pub(super) role: &'static str,
    /// Which.
    pub(super) path: PathBuf,
    /// What was found there.
    pub(super) found: String,
    /// What was expected.
    pub(super) expected: String,
    /// What mends it.
    pub(super) hint: String,
}

/// Whether this process binds the socket itself, or was handed one, whose directory is the service manager's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binds {
    /// It does.
    Itself,
    /// It does not.
    Nothing,
}

/// Refuses settings that name a directory which may not be used.
///
/// **Errors**: the first [`Danger`] that was found.
pub(super) fn refuse(settings: &Settings, binds: Binds) -> Result<(), Box<Danger>> {
    let socket = match binds {
        Binds::Itself => of_socket(settings),
        Binds::Nothing => None,
    };
    let cache = || settings.network.cache_dir.as_deref().and_then(of_cache);
    match socket.or_else(|| of_state(settings)).or_else(cache) {
        None => Ok(()),
        Some(danger) => Err(Box::new(danger)),
    }
}

/// Judges the state directory; what lies in it is looked at by the store.
pub(super) fn of_state(settings: &Settings) -> Option<Danger> {
    let directory = &settings.state_dir;
    let elsewhere = "name another directory with --state-dir";
    let place = Place { role: "state directory", path: directory, elsewhere };
    of_owner(&place, Owner::User)
        .or_else(|| place.writable(0, "700", " lets others write into it"))
        .or_else(|| of_file_system(settings))
}

/// Judges the directory of the socket.
pub(super) fn of_socket(settings: &Settings) -> Option<Danger> {
    let directory = settings.socket.parent().unwrap_or(Path::new("/"));
    let elsewhere = "name a socket in another directory with --socket";
    let place = Place { role: "directory of the socket", path: directory, elsewhere };
    let wanted = if settings.system { "750" } else { "700" };
    of_owner(&place, Owner::UserOrRoot)
        .or_else(|| place.writable(STICKY, wanted, ": others may put a socket of theirs in its place"))
}

/// Judges the directory of what can be fetched again, with the directories in it.
pub(super) fn of_cache(directory: &Path) -> Option<Danger> {
    let elsewhere = "name another directory with RESOLVERD_CACHE_DIR";
    let place = Place { role: "cache directory", path: directory, elsewhere };
    of_owner(&place, Owner::UserOrRoot)
        .or_else(|| place.writable(0, "700", " lets others write into it"))
        .or_else(|| of_rooms(directory))
}

/// A directory, and what to do where it cannot be used.
struct Place<'a> {
    role: &'static str,
    path: &'a Path,
    elsewhere: &'static str,
}

/// Whose a directory has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    User,
    UserOrRoot,
}

impl Place<'_> {
    fn danger(&self, found: String, expected: impl Into<String>, hint: impl Into<String>) -> Option<Danger> {
        let (reason, role, path) = (UNSAFE_DIR, self.role, self.path.to_owned());
        Some(Danger { reason, role, path, found, expected: expected.into(), hint: hint.into() })
    }

    /// Judges who may write, unless the mode has one of the bits `but`.
    fn writable(&self, but: u32, wanted: &str, consequence: &str) -> Option<Danger> {
        let found = self.path.metadata().ok()?;
        let (mode, owner, user) = (found.mode() & 0o7777, found.uid(), user());
        let is_open = mode & OTHERS_WRITE != 0 && mode & but == 0;
        let (found, expected) = (format!("mode {mode:04o}{consequence}"), format!("mode 0{wanted}"));
        let below = format!("{}, such as one below it, which is made", self.elsewhere);
        // What is for all, or for everybody's programs, is not shut for this one.
        let hint = match owner == user && mode & STICKY == 0 {
            true => format!("chmod {wanted} {} where nobody else needs it; or {below}", quoted(self.path)),
            false => below,
        };
        is_open.then(|| self.danger(found, expected, hint))?
    }
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Judges what a directory is and whose. What cannot be looked at is named by whoever uses it.
fn of_owner(place: &Place<'_>, wanted: Owner) -> Option<Danger> {
    let found = place.path.symlink_metadata().ok()?;
    let user = user();
    let found = match found.is_symlink() {
        false => found,
        // Nobody else can have made it.
        true if [0, user].contains(&found.uid()) => match place.path.metadata() {
            Ok(found) => found,
            Err(error) => {
                let target = place.path.read_link().unwrap_or_default();
                let found = format!("it is a symbolic link to {}: {error}", target.display());
                let hint = match error.kind() {
                    // From the place of the link, where it is no whole path.
                    ErrorKind::NotFound => {
                        let target = place.path.parent().unwrap_or(Path::new("/")).join(target);
                        format!("mkdir -p -m 700 {}; or {}", quoted(&target), place.elsewhere)
                    }
                    _ => place.elsewhere.to_owned(),
                };
                return place.danger(found, "a directory", hint);
            }
        },
        true => {
            let target = place.path.read_link().unwrap_or_default();
            let hint = format!("{}; the link leads to {}", place.elsewhere, target.display());
            let found = format!("it is a symbolic link of user {}, which is not followed", found.uid());
            return place.danger(found, "a directory", hint);
        }
    };
    if !found.is_dir() {
        let found = format!("it is no directory but {}", kind(found.file_type()));
        return place.danger(found, "a directory", place.elsewhere);
    }
    let is_ours = found.uid() == user || wanted == Owner::UserOrRoot && found.uid() == 0;
    (!is_ours).then(|| {
        let (found, expected) = (foreign(&found, user), format!("a directory of user {user}"));
        let hint = format!(
            "run as that user, have whoever made it by mistake give it and all in it to this one, or {}",
            place.elsewhere
        );
        place.danger(found, expected, hint)
    })?
}

fn foreign(found: &Metadata, user: u32) -> String {
    format!("it belongs to user {}, this process runs as user {user}", found.uid())
}

/// Judges what lies in the cache, as deep as something is written there without a look at it first.
fn of_rooms(directory: &Path) -> Option<Danger> {
    [("files", 1), ("git", 2)].into_iter().find_map(|(name, depth)| of_room(&directory.join(name), depth))
}

fn of_room(path: &Path, depth: u8) -> Option<Danger> {
    let found = path.symlink_metadata().ok()?;
    let elsewhere = "name another directory with RESOLVERD_CACHE_DIR";
    let place = Place { role: "directory in the cache", path, elsewhere };
    let away = format!("what is cached may go at any time: mv {0} {0}.away", quoted(path));
    if found.is_symlink() {
        let found = "it is a symbolic link, which is never followed".to_owned();
        return place.danger(found, "a directory or file of its own", away);
    }
    if !found.is_dir() && !found.is_file() {
        let found = format!("it is {}", kind(found.file_type()));
        return place.danger(found, "a directory or file", away);
    }
    if found.uid() != user() {
        let expected = format!("what belongs to user {}", user());
        return place.danger(foreign(&found, user()), expected, away);
    }
    if depth == 0 || !found.is_dir() {
        return None;
    }
    // What cannot be listed is named by whoever uses it.
    let below = durable::entries(path).unwrap_or_default();
    below.into_iter().find_map(|(_, path)| of_room(&path, depth - 1))
}

/// What is known of a kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileSystem {
    /// Of this machine, or nothing is known of it.
    Own,
    /// Of this machine, but somebody should know: which, and why.
    Doubtful(&'static str),
    /// Of another machine: its name.
    Network(&'static str),
}

/// File systems by the number that `statfs` tells. Where the network lies between, a lock may keep nobody out and a rename or an
/// fsync may not be what it promises: two daemons could write one store.
const FILE_SYSTEMS: [(u32, FileSystem); 28] = [
    (0x0000_6969, FileSystem::Network("NFS")),
    (0x6e66_7364, FileSystem::Network("NFS")),
    (0x0000_517b, FileSystem::Network("SMB")),
    (0xfe53_4d42, FileSystem::Network("SMB")),
    (0xff53_4d42, FileSystem::Network("CIFS")),
    (0x0102_1997, FileSystem::Network("9p")),
    (0x5346_414f, FileSystem::Network("AFS")),
    (0x6b41_4653, FileSystem::Network("AFS")),
    (0x00c3_6400, FileSystem::Network("Ceph")),
    (0x0bd0_0bd0, FileSystem::Network("Lustre")),
    (0x4750_4653, FileSystem::Network("GPFS")),
    (0x0116_1970, FileSystem::Network("GFS2")),
    (0x7461_636f, FileSystem::Network("OCFS2")),
    (0x1983_0326, FileSystem::Network("BeeGFS")),
    (0x2003_0528, FileSystem::Network("OrangeFS")),
    (0xaad7_aaea, FileSystem::Network("PanFS")),
    (0xbeef_dead, FileSystem::Network("StorNext")),
    (0x6163_6673, FileSystem::Network("ACFS")),
    (0x7375_7245, FileSystem::Network("Coda")),
    (0x0000_564c, FileSystem::Network("NCP")),
    // Folders that a virtual machine shares with its host: neither knows of the other's locks.
    (0x786f_4256, FileSystem::Network("vboxsf")),
    (0xbacb_acbc, FileSystem::Network("vmhgfs")),
    (0x7c7c_6673, FileSystem::Network("prl_fs")),
    (0x0131_11a8, FileSystem::Network("IBRIX")),
    (0x6573_5546, FUSE),
    (0x794c_7630, FileSystem::Doubtful("overlay, which ends with its container")),
    (0x0102_1994, FileSystem::Doubtful("tmpfs, which ends with the machine")),
    (0x8584_58f6, FileSystem::Doubtful("ramfs, which ends with the machine")),
];

/// One number for whatever a program serves: the table of mounts names the program.
const FUSE: FileSystem = FileSystem::Doubtful("FUSE, where a sync may not be one");

/// What programs serve that reach another machine, as the table of mounts names them.
const NETWORK_FUSE: [&str; 22] = [
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.rclone",
    "fuse.davfs",
    "fuse.glusterfs",
    "fuse.ceph",
    "fuse.ceph-fuse",
    "fuse.juicefs",
    "fuse.JuiceFS",
    "fuse.gcsfuse",
    "fuse.goofys",
    "fuse.curlftpfs",
    "fuse.mfs",
    "fuse.moosefs",
    "fuse.lizardfs",
    "fuse.saunafs",
    "fuse.seaweedfs",
    "fuse.blobfuse",
    "fuse.blobfuse2",
    "fuse.mount-s3",
    "fuse.fuse-nfs",
    "fuse.smbnetfs",
];

/// Returns what is known of the file system of a directory, or of what is above one that is not there yet.
///
/// **Errors**: the system's.
pub(super) fn file_system(directory: &Path) -> std::io::Result<FileSystem> {
    let here = directory.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    let number = statfs(here)?.f_type;
    // The width of the type differs between machines; the numbers have 32 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::unnecessary_cast)]
    let number = number as u32;
    let mounted = || {
        let device = here.metadata().ok()?.dev();
        let table = std::fs::read_to_string(MOUNTS).ok()?;
        mounted_on(&table, &format!("{}:{}", major(device), minor(device)))
    };
    Ok(known(number, mounted))
}

/// Looks a number up; `mounted` is asked for the word of the table of mounts where the number does not say enough.
fn known(number: u32, mounted: impl FnOnce() -> Option<String>) -> FileSystem {
    let found = FILE_SYSTEMS.iter().find(|(known, _)| *known == number).map(|(_, found)| *found);
    match found {
        Some(FUSE) => {
            let word = mounted().unwrap_or_default();
            let network = NETWORK_FUSE.into_iter().find(|known| *known == word);
            network.map_or(FUSE, FileSystem::Network)
        }
        found => found.unwrap_or(FileSystem::Own),
    }
}

/// Returns the kind of file system that the table of mounts gives for a device: the word behind the hyphen.
fn mounted_on(table: &str, device: &str) -> Option<String> {
    let line = table.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    line.split_once(" - ")?.1.split(' ').next().map(str::to_owned)
}

fn of_file_system(settings: &Settings) -> Option<Danger> {
    let path = settings.state_dir.clone();
    let Ok(FileSystem::Network(name)) = file_system(&path) else { return None };
    let hint = "name a directory on a disk of this machine with --state-dir, or say allow_network_fs = true in config.toml: \
                then no other machine may use that directory";
    (!settings.allow_network_fs).then(|| Danger {
        reason: NETWORK_FS,
        role: "state directory",
        path,
        found: network(name),
        expected: "a file system of this machine".to_owned(),
        hint: hint.to_owned(),
    })
}

/// Says why a network file system is none for a store.
pub(super) fn network(name: &str) -> String {
    format!("it lies on {name}, where locks may not hold and a sync may not be one")
}

/// Returns the word for what an entry of a directory is.
pub(super) fn kind(found: FileType) -> &'static str {
    match found {
        found if found.is_symlink() => "a symbolic link",
        found if found.is_dir() => "a directory",
        found if found.is_file() => "a file",
        found if found.is_socket() => "a socket",
        found if found.is_fifo() => "a named pipe",
        _ => "a device",
    }
}

/// Returns a path as it is typed in a shell.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_those_of_this_machine() {
        let network = |name| FileSystem::Network(name);
        let rows: [(u32, &str, FileSystem); 20] = [
            (0x6969, "nfs4", network("NFS")),
            (0x517b, "smbfs", network("SMB")),
            (0xff53_4d42, "cifs", network("CIFS")),
            (0xfe53_4d42, "smb3", network("SMB")),
            (0x0102_1997, "9p", network("9p")),
            (0x5346_414f, "afs", network("AFS")),
            (0x00c3_6400, "ceph", network("Ceph")),
            (0x0bd0_0bd0, "lustre", network("Lustre")),
            (0x6573_5546, "fuse.sshfs", network("fuse.sshfs")),
            (0x6573_5546, "fuse.glusterfs", network("fuse.glusterfs")),
            (0x6573_5546, "fuse.fuse-overlayfs", FUSE),
            (0x6573_5546, "virtiofs", FUSE),
            (0x6573_5546, "fuseblk", FUSE),
            (0x0000_ef53, "ext4", FileSystem::Own),
            (0x5846_5342, "xfs", FileSystem::Own),
            (0x9123_683e, "btrfs", FileSystem::Own),
            (0x2fc1_2fc1, "zfs", FileSystem::Own),
            (0x1234_5678, "of tomorrow", FileSystem::Own),
            (0x794c_7630, "overlay", FileSystem::Doubtful("overlay, which ends with its container")),
            (0x0102_1994, "tmpfs", FileSystem::Doubtful("tmpfs, which ends with the machine")),
        ];
        for (number, word, expected) in rows {
            assert_eq!(known(number, || Some(word.to_owned())), expected, "{word}");
        }
        assert_eq!(known(0x6573_5546, || None), FUSE, "nobody knows which");
        let mut numbers: Vec<u32> = FILE_SYSTEMS.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), FILE_SYSTEMS.len(), "each number once");
    }

    #[test]
    fn the_table_of_mounts_names_what_a_program_serves() {
        let table = "22 28 0:21 / /proc rw,relatime - proc proc rw\n\
                     90 28 0:47 / /mnt/a\\040b/far rw shared:9 master:2 - fuse.sshfs host:/x rw,user_id=0\n\
                     91 28 0:48 / /c rw -\n";
        assert_eq!(mounted_on(table, "0:47").as_deref(), Some("fuse.sshfs"));
        assert_eq!(mounted_on(table, "0:21").as_deref(), Some("proc"));
        assert_eq!((mounted_on(table, "0:48"), mounted_on(table, "0:4")), (None, None));
        let real = std::fs::read_to_string(MOUNTS).unwrap();
        let device = Path::new("/proc").metadata().unwrap().dev();
        let device = format!("{}:{}", major(device), minor(device));
        assert_eq!(mounted_on(&real, &device).as_deref(), Some("proc"), "{device} in {real}");
    }

    #[test]
    fn a_link_of_ones_own_is_followed_and_a_directory_of_roots_may_hold_a_socket() {
        let place = Place { role: "", path: Path::new("/proc/self/root"), elsewhere: "" };
        // The kernel makes this link, for the user of the process; it leads to a directory of root's.
        assert_eq!(of_owner(&place, Owner::UserOrRoot), None);
        assert_eq!(of_owner(&place, Owner::User).is_none(), user() == 0);
        let place = Place { path: Path::new("/"), ..place };
        assert_eq!(of_owner(&place, Owner::UserOrRoot), None);
        let place = Place { path: Path::new("/nowhere/at/all"), ..place };
        assert_eq!(of_owner(&place, Owner::User), None, "what is missing is made");
    }
}
