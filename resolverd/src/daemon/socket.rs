//! The sockets: bound here with their modes from the first instant, or inherited from the service manager. Never accepts a
//! connection.
//!
//! The main socket is for everybody whom its mode lets in; `admin.sock` beside it makes everybody whom *its* mode lets in an
//! admin. An inherited socket belongs to the service manager: its file is neither changed nor removed.

use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use tracing::warn;

use crate::api::socket_path_too_long;
use crate::config::Settings;
use crate::daemon::error::DaemonError;
use crate::daemon::notify::Supervisor;
use crate::daemon::rights::Binds;

/// The name under which a service manager hands over the socket for admins.
const ADMIN: &str = "admin";
/// What a mode of 0600 and one of 0660 leave out.
const OWNER_ONLY: u32 = 0o177;
const OWNER_AND_GROUP: u32 = 0o117;

/// The sockets of a daemon.
#[derive(Debug)]
pub(super) struct Sockets {
    /// For everybody.
    pub(super) main: Socket,
    /// For admins, where there is one.
    pub(super) admin: Option<Socket>,
}

/// A listening socket. The file of one that was bound here goes when it is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    pub(super) is_inherited: bool,
}

impl Sockets {
    /// Takes the inherited sockets, or binds them where there are none. Only the holder of the state lock may call this: a
    /// socket file that is already there belongs to a process that is gone. No other thread may run yet.
    ///
    /// **Errors**: the main socket cannot be bound; the group is unknown.
    pub(super) fn open(settings: &Settings, handed: Handed) -> Result<Sockets, DaemonError> {
        let gid = settings.admin_gid()?;
        let Handed { main, admin } = handed;
        let Some(main) = main else {
            let umask = if settings.system { OWNER_AND_GROUP } else { OWNER_ONLY };
            let main = Socket::bind(&settings.socket, settings.system, umask)?;
            let admin = match admin {
                Some(admin) => Some(admin),
                None => bind_admin(settings, gid),
            };
            return Ok(Sockets { main, admin });
        };
        // Where the manager made the socket it also owns the directory; it hands over a second socket if it wants one.
        if gid.is_some() && admin.is_none() {
            warn!("admin_group has no effect: the service manager hands over no socket called admin");
        }
        Ok(Sockets { main, admin })
    }
}

/// What the service manager handed over.
#[derive(Debug)]
pub(super) struct Handed {
    main: Option<Socket>,
    admin: Option<Socket>,
}

impl Handed {
    /// Takes what the service manager handed over: the socket called `admin`, and the first other one.
    ///
    /// **Errors**: something inherited is no Unix stream socket.
    pub(super) fn take(settings: &Settings, supervisor: &Supervisor) -> Result<Handed, DaemonError> {
        let (main, admin) = inherited(settings, supervisor)?;
        Ok(Handed { main, admin })
    }

    /// Tells whether sockets are bound here: where the manager made the main one, none is.
    pub(super) fn binds(&self) -> Binds {
        if self.main.is_some() { Binds::Nothing } else { Binds::Itself }
    }
}

fn inherited(
    settings: &Settings,
    supervisor: &Supervisor,
) -> Result<(Option<Socket>, Option<Socket>), DaemonError> {
    let mut handed = ListenFd::from_env();
    let (mut main, mut admin) = (None, None);
    for index in 0..handed.len() {
        let error = |source| DaemonError::Socket {
            action: "take the inherited socket",
            path: format!("number {index}"),
            source,
        };
        let Some(listener) = handed.take_unix_listener(index).map_err(error)? else { continue };
        listener.set_nonblocking(true).map_err(error)?;
        let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
        let path = path.unwrap_or_else(|| settings.socket.clone());
        let place = if supervisor.socket_name(index) == ADMIN { &mut admin } else { &mut main };
        if place.is_some() {
            warn!(index, socket = %path.display(), "one inherited socket too many; nobody answers on it");
            continue;
        }
        *place = Some(Socket { listener, path, is_inherited: true });
    }
    Ok((main, admin))
}

/// Binds the socket for admins. Without it the daemon's own user and root are admins still, so it is never worth an end.
fn bind_admin(settings: &Settings, gid: Option<u32>) -> Option<Socket> {
    let path = settings.admin_socket()?;
    let bound = Socket::bind(&path, settings.system, OWNER_ONLY).and_then(|socket| match gid {
        None => Ok(socket),
        // The group first: at no instant may more people connect than at the end.
        Some(gid) => std::os::unix::fs::chown(&path, None, Some(gid))
            .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)))
            .map_err(|source| socket.error("hand to its group", source))
            .map(|()| socket),
    });
    bound.map_err(|error| warn!(%error, "there is no socket for admins")).ok()
}

impl Socket {
    /// Binds `path` with the mode that `umask` leaves from the first instant.
    fn bind(path: &Path, is_for_group: bool, umask: u32) -> Result<Socket, DaemonError> {
        let error = |action, source| DaemonError::Socket { action, path: path.display().to_string(), source };
        if let Some(found) = socket_path_too_long(path) {
            return Err(error("bind", std::io::Error::other(found)));
        }
        if path.symlink_metadata().is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(error("replace", std::io::Error::other("it is not a socket")));
        }
        // The umask belongs to the whole process, and no other thread runs yet.
        let masked = |umask| rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
        if let Some(directory) = path.parent() {
            // Directories above that one are ours as well where they are made here.
            let before = masked(if is_for_group { 0o027 } else { 0o077 });
            let made = make_directory(directory, is_for_group);
            masked(before.as_raw_mode());
            made.map_err(|source| error("make the directory of", source))?;
        }
        if is_dead(path) {
            std::fs::remove_file(path).map_err(|source| error("replace the socket", source))?;
        }
        let before = masked(umask);
        let listener = UnixListener::bind(path);
        masked(before.as_raw_mode());
        let listener = listener.map_err(|source| error("bind the socket", source))?;
        listener.set_nonblocking(true).map_err(|source| error("prepare the socket", source))?;
        Ok(Socket { listener, path: path.to_owned(), is_inherited: false })
    }

    /// Returns the listener for the runtime that this is called in.
    pub(super) fn for_runtime(&self) -> Result<tokio::net::UnixListener, DaemonError> {
        let listener = self.listener.try_clone().and_then(tokio::net::UnixListener::from_std);
        listener.map_err(|source| self.error("listen on", source))
    }

    pub(super) fn error(&self, action: &'static str, source: std::io::Error) -> DaemonError {
        DaemonError::Socket { action, path: self.path.display().to_string(), source }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.is_inherited {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Tells whether nobody answers on the socket file, which then is left over from a process that was killed.
pub(super) fn is_dead(path: &Path) -> bool {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
    }
}

/// Makes the socket's directory with its final mode. One that exists is left as its owner made it, after `daemon/rights` has looked
/// at it.
fn make_directory(directory: &Path, is_for_group: bool) -> std::io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let mode = if is_for_group { 0o750 } else { 0o700 };
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(directory)?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))
}
