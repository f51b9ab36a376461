//! A daemon for a whole machine: its socket is for a group, and what a caller may do hangs on who calls.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::daemon::sample;
use crate::harness::daemon::{Daemon, Said, Sandbox, mode};
use crate::harness::place;

/// A user and group of no account; not the overflow uid, behind which the daemon expects anybody.
pub(crate) const SOMEBODY: u32 = 65_533;

fn start(sandbox: &Sandbox) -> Daemon {
    let mut daemon = sandbox.spawn_with(&["--system"]);
    daemon.wait_for("/readyz");
    daemon.sync();
    daemon
}

#[test]
fn a_system_socket_is_for_its_group() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = start(&sandbox);
    assert_eq!(mode(&sandbox.socket()), 0o660);
    assert_eq!(mode(sandbox.socket().parent().unwrap()), 0o750);
    assert_eq!(mode(&sandbox.state()) & 0o077, 0, "the state is the daemon's alone");
    assert!(daemon.stop().success());
}

/// Asks as somebody else and returns the status and the body.
pub(crate) fn ask(sandbox: &Sandbox, target: &str, body: Option<&str>) -> (String, Value) {
    let mut command = Command::new("curl");
    command.args(["-q", "--silent", "--show-error", "--write-out", "\n%{http_code}", "--unix-socket"]);
    command.arg(sandbox.socket()).arg(format!("http://localhost{target}"));
    if let Some(body) = body {
        command.args(["--header", "content-type: application/json", "--data", body]);
    }
    sandbox.furnish(&mut command);
    // With the uid, the groups of the user who runs the tests go too.
    let said = Said::of(command.current_dir("/").uid(SOMEBODY).gid(SOMEBODY));
    assert_eq!(said.status, 0, "{target}: {}", said.stderr);
    let (answer, status) = said.stdout.rsplit_once('\n').unwrap();
    (status.to_owned(), serde_json::from_str(answer).unwrap())
}

#[test]
fn another_user_reads_and_starts_no_work() {
    if !rustix::process::geteuid().is_root() {
        return place::skipped("only root can call as another user");
    }
    let sandbox = Sandbox::with_sources(&sample());
    let _daemon = start(&sandbox);
    let open = |path: &Path, mode: u32| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    open(&sandbox.path(""), 0o755);
    open(sandbox.socket().parent().unwrap(), 0o755);
    open(&sandbox.socket(), 0o666);

    let id = "/v1/components/lcod/tooling/text/slug";
    for target in ["/livez", "/readyz", "/v1/health", "/v1/sources", "/v1/components", id] {
        assert_eq!(ask(&sandbox, target, None).0, "200", "{target}");
    }
    let resolve = r#"{"requests": ["lcod://tooling/text/slug"], "natives": ["lcod://contract/"]}"#;
    assert_eq!(ask(&sandbox, "/v1/resolve", Some(resolve)).0, "200");
    let refresh =
        r#"{"requests": ["lcod://tooling/text/slug"], "natives": ["lcod://contract/"], "refresh": true}"#;
    let generation = |sandbox: &Sandbox| ask(sandbox, "/v1/health", None).1["generation"].clone();
    let before = generation(&sandbox);
    for (target, body) in [("/v1/sync", "{}"), ("/v1/reload", "{}"), ("/v1/resolve", refresh)] {
        let (status, problem) = ask(&sandbox, target, Some(body));
        assert_eq!(
            (status.as_str(), &problem["code"]),
            ("403", &Value::from("E015")),
            "{target}: {problem:#}"
        );
        assert!(problem["reason"].is_string(), "{target}: {problem:#}");
    }
    assert_eq!(generation(&sandbox), before);
}
