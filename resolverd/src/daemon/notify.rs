//! What the service manager tells this process, and what it is told: the `sd_notify` protocol over a datagram socket.
//!
//! The socket is named by `NOTIFY_SOCKET`: an absolute path, or `@` and a name in the abstract namespace. A message is lines
//! `KEY=value`. Without that variable nothing is sent. Never reads the environment by itself, never waits for an answer,
//! and never fails: a manager that does not listen is no reason to stop serving.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::{debug, warn};

/// How long a full queue of the manager is waited for.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// What a service manager says through the environment.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    /// `NOTIFY_SOCKET`.
    notify_socket: Option<String>,
    /// `WATCHDOG_USEC`, where `WATCHDOG_PID` is this process or nobody.
    watchdog: Option<Duration>,
    /// `LISTEN_FDNAMES`, one name for each inherited socket.
    socket_names: Vec<String>,
}

impl Supervisor {
    /// Reads what the environment says; `env` gives variables.
    pub fn of(env: &dyn Fn(&str) -> Option<String>) -> Supervisor {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let is_ours = set("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let usec = set("WATCHDOG_USEC").filter(|_| is_ours).and_then(|usec| usec.parse().ok());
        Supervisor {
            notify_socket: set("NOTIFY_SOCKET"),
            watchdog: usec.filter(|usec| *usec > 0).map(Duration::from_micros),
            socket_names: set("LISTEN_FDNAMES")
                .map(|names| names.split(':').map(str::to_owned).collect())
                .unwrap_or_default(),
        }
    }

    /// Returns the name of the inherited socket at `index`.
    pub(super) fn socket_name(&self, index: usize) -> &str {
        self.socket_names.get(index).map_or("", String::as_str)
    }
}

/// The way to the service manager.
#[derive(Debug)]
pub(super) struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Opens the way that `supervisor` names, if it names one.
    pub(super) fn new(supervisor: &Supervisor) -> Notifier {
        let to = supervisor.notify_socket.as_deref().and_then(|name| match open(name) {
            Ok(to) => Some(to),
            Err(error) => {
                warn!(socket = name, %error, "the service manager cannot be told anything");
                None
            }
        });
        Notifier { watchdog: supervisor.watchdog.filter(|_| to.is_some()), to }
    }

    /// Returns how often [`Notifier::alive`] must be said: twice in the time after which the manager gives up.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Says that requests are answered from now on.
    pub(super) fn serving(&self) {
        self.send("READY=1");
    }

    /// Says that a reload is over, and what is served now.
    pub(super) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// Says what is served now.
    pub(super) fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// Says that the configuration is read again; [`Notifier::ready`] follows.
    pub(super) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let usec = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// Says that the end has begun.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// Says that the server and the writer answer.
    pub(super) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            debug!(%error, "the service manager does not listen");
        }
    }
}

fn open(name: &str) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(hidden) => SocketAddr::from_abstract_name(hidden)?,
        None if name.starts_with('/') => SocketAddr::from_pathname(name)?,
        None => return Err(std::io::Error::other("expected an absolute path or @ and a name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok((socket, address))
}

/// A line break would begin another key.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor(variables: &[(&str, &str)]) -> Supervisor {
        Supervisor::of(&|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_says_who_listens() {
        let own = std::process::id().to_string();
        let check = |variables: &[(&str, &str)], expected: Option<u64>| {
            let found = supervisor(variables).watchdog;
            assert_eq!(found, expected.map(Duration::from_secs), "{variables:?}");
        };
        check(&[], None);
        check(&[("WATCHDOG_USEC", "")], None);
        check(&[("WATCHDOG_USEC", "0")], None);
        check(&[("WATCHDOG_USEC", "soon")], None);
        check(&[("WATCHDOG_USEC", "30000000")], Some(30));
        check(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", &own)], Some(30));
        check(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "1")], None);
        let names = supervisor(&[("LISTEN_FDNAMES", "resolverd.socket:admin")]);
        assert_eq!([0, 1, 2].map(|at| names.socket_name(at)), ["resolverd.socket", "admin", ""]);
    }

    #[test]
    fn messages_arrive_at_a_path_and_at_an_abstract_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let hidden = format!("resolverd-test-{}", std::process::id());
        let abstracted = SocketAddr::from_abstract_name(&hidden).expect("an address");
        let ends = [
            (UnixDatagram::bind(&path).expect("bound"), path.display().to_string()),
            (UnixDatagram::bind_addr(&abstracted).expect("bound"), format!("@{hidden}")),
        ];
        for (end, name) in ends {
            let notifier = Notifier::new(&supervisor(&[("NOTIFY_SOCKET", &name)]));
            let heard = || {
                let mut bytes = [0; 256];
                let length = end.recv(&mut bytes).expect("a message");
                String::from_utf8_lossy(&bytes[..length]).into_owned()
            };
            notifier.ready("two\nlines");
            assert_eq!(heard(), "READY=1\nSTATUS=two lines");
            notifier.reloading();
            let text = heard();
            let usec = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("a time");
            assert!(usec.parse::<u64>().expect("a number") > 0);
            notifier.alive();
            assert_eq!(heard(), "WATCHDOG=1");
        }
        for nowhere in ["", "relative", "vsock:2:1"] {
            Notifier::new(&supervisor(&[("NOTIFY_SOCKET", nowhere)])).ready("nobody hears it");
        }
    }
}
