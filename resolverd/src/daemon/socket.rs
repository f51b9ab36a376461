//! The bound socket: its directory, its mode from the first instant, and its end. Never accepts a connection.

use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use tracing::warn;

use crate::api::socket_path_too_long;
use crate::config::Settings;
use crate::daemon::error::DaemonError;

/// The bound socket; its file goes when it is dropped.
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: std::path::PathBuf,
}

impl Socket {
    /// Binds the socket with its final mode from the first instant. Only the holder of the state lock may call this: a
    /// socket file that is already there belongs to a process that is gone.
    pub(super) fn bind(settings: &Settings) -> Result<Socket, DaemonError> {
        let path = settings.socket.clone();
        let error = |action, source| DaemonError::Socket { action, path: path.display().to_string(), source };
        if let Some(found) = socket_path_too_long(&path) {
            return Err(error("bind", std::io::Error::other(found)));
        }
        if path.symlink_metadata().is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(error("replace", std::io::Error::other("it is not a socket")));
        }
        if let Some(directory) = path.parent() {
            make_directory(directory, settings.system)
                .map_err(|source| error("make the directory of", source))?;
        }
        if is_dead(&path) {
            std::fs::remove_file(&path).map_err(|source| error("replace the socket", source))?;
        }
        // The umask belongs to the whole process, and no other thread runs yet.
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(if settings.system {
            0o117
        } else {
            0o177
        }));
        let listener = UnixListener::bind(&path);
        rustix::process::umask(before);
        let listener = listener.map_err(|source| error("bind the socket", source))?;
        listener.set_nonblocking(true).map_err(|source| error("prepare the socket", source))?;
        Ok(Socket { listener, path })
    }

    pub(super) fn error(&self, action: &'static str, source: std::io::Error) -> DaemonError {
        DaemonError::Socket { action, path: self.path.display().to_string(), source }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Tells whether nobody answers on the socket file, which then is left over from a process that was killed.
pub(super) fn is_dead(path: &Path) -> bool {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
    }
}

/// Makes the socket's directory with its final mode. One that exists is left as its owner made it; where others may write,
/// the log says so, since they could put a socket of their own in this one's place.
fn make_directory(directory: &Path, system: bool) -> std::io::Result<()> {
    const OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    if directory.is_dir() {
        let mode = directory.metadata()?.permissions().mode();
        if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
            warn!(directory = %directory.display(), mode = format!("{:o}", mode & 0o7777), "others may replace the socket");
        }
        return Ok(());
    }
    let mode = if system { 0o750 } else { 0o700 };
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(directory)?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))
}
