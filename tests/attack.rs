//! The socket under attack: section J of the threat model, row by row, over the real socket of the real daemon. A case is
//! named by its row. `RESOLVERD_FULL=1` makes the counts large; no case asserts on time.
//!
//! | row | held by |
//! |---|---|
//! | J1 modes | also `daemon::the_socket_is_for_its_owner_alone`, `system::a_system_socket_is_for_its_group` |
//! | J3 the socket for admins | `service::a_member_of_the_admin_group_orders_through_the_socket_for_admins` |
//! | J3 who may order | also `system::another_user_reads_and_starts_no_work` |
//! | J7 with other patience | `server::tests::slow_peers_are_cut_off`, `…a_listener_that_reads_nothing_is_cut_off_…` |
//! | J9 seats by descriptors | `server::connection::tests::a_low_limit_of_descriptors_leaves_room_for_the_store` |
//! | J10 cut orders | `server::tests::orders_of_callers_who_have_gone_are_counted_until_the_writer_answers` |
//! | J13 panics | `server::tests::a_panic_is_contained_and_counted`, `server::connection::tests::a_panic_…_is_caught` |
//! | J15 the sandbox of the unit | `service::the_shipped_units_keep_what_they_promise` |
//! | J13 each route | `server::tests::a_panic_in_any_route_is_a_500_with_an_id_and_counted` |

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::sample;
use crate::harness::chance::Chance;
use crate::harness::daemon::{Daemon, NATIVES, Said, Sandbox};
use crate::harness::http::encoded;
use crate::harness::peers::Peers;
use crate::harness::{place, poll, prometheus};

/// A user of no account; not the overflow uid.
const SOMEBODY: u32 = 65_533;
/// Behind this uid anybody may stand.
const OVERFLOW: u32 = 65_534;
/// The first of the uids of a crowd.
const CROWD: u32 = 60_001;
/// The most connections of a user, and of all.
const PER_UID: usize = 32;
const ALL: usize = 256;
/// How much memory may stay with the allocator when a crowd has gone, and how much a crowd may take, in KiB.
const KEPT_KIB: u64 = 32 << 10;
const TAKEN_KIB: u64 = 96 << 10;

const LIVE: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
const CLOSING: &str = "Host: localhost\r\nConnection: close\r\n";
const GOOD: &str = "GET /v1/components/lcod/tooling/text/slug HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Tells whether the counts are the full ones.
fn is_full() -> bool {
    place::variable("RESOLVERD_FULL").is_some()
}

/// Returns whether peers of other users can be had; says so where they cannot.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        place::skipped("only root can call as other users");
    }
    is_root
}

/// Starts a daemon whose socket everybody can reach.
fn open_to_all(sandbox: &Sandbox) -> Daemon {
    let daemon = sandbox.start_synced();
    let open = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    open(&sandbox.path(""), 0o755);
    open(sandbox.socket().parent().unwrap(), 0o755);
    open(&sandbox.socket(), 0o666);
    daemon
}

/// What a daemon has: descriptors and memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Footprint {
    /// Open file descriptors.
    pub(crate) descriptors: usize,
    /// Resident memory in KiB.
    pub(crate) rss_kib: u64,
    /// The most that was ever resident, in KiB.
    pub(crate) peak_kib: u64,
}

impl Footprint {
    /// Reads it from `/proc`.
    pub(crate) fn of(daemon: &Daemon) -> Footprint {
        let proc = Path::new("/proc").join(daemon.pid().to_string());
        let status = std::fs::read_to_string(proc.join("status")).unwrap();
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let descriptors = std::fs::read_dir(proc.join("fd")).unwrap().count();
        Footprint { descriptors, rss_kib: line("VmRSS:"), peak_kib: line("VmHWM:") }
    }

    /// Waits until the descriptors are back, and checks that the memory is.
    fn is_back(self, daemon: &Daemon, what: &str) {
        poll::until(&format!("the descriptors after {what}"), || {
            (Footprint::of(daemon).descriptors <= self.descriptors).then_some(())
        });
        poll::until(&format!("the connections after {what}"), || {
            (connections(&daemon.get("/metrics").body) == 1).then_some(())
        });
        let now = Footprint::of(daemon);
        eprintln!("{what}: before {self:?}, after {now:?}");
        assert!(now.rss_kib <= self.rss_kib + KEPT_KIB, "{what}: {self:?}, {now:?}");
        assert!(now.peak_kib <= self.peak_kib + TAKEN_KIB, "{what}: {self:?}, {now:?}");
        assert_eq!(daemon.get("/v1/stats").ok()["panics"], 0, "{what}");
    }
}

/// Returns how many connections the metrics count.
fn connections(metrics: &[u8]) -> usize {
    let metrics = prometheus::parse(std::str::from_utf8(metrics).unwrap()).unwrap();
    metrics.value("resolverd_connections", &[]).unwrap() as usize
}

/// Sends `request` on a connection of its own and returns everything that comes back.
fn raw(sandbox: &Sandbox, request: &[u8]) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(sandbox.socket()).unwrap();
    // The other side may have seen enough before the end.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends a request in small pieces, all of it or an error, and only then looks at what comes back.
fn stubborn(sandbox: &Sandbox, request: &[u8]) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(sandbox.socket()).unwrap();
    let whole = request.chunks(4_000).try_for_each(|piece| stream.write_all(piece));
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // On a busy machine the far side may lose its patience with the rest; the answer must be there all the same.
    drop((whole, read));
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[test]
fn j1_nobody_else_gets_in_at_any_moment_of_a_restart() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::with_sources(&sample());
    // The directory lets everybody through, so that the socket's own mode is all that keeps somebody out.
    std::fs::create_dir(sandbox.socket().parent().unwrap()).unwrap();
    for path in [sandbox.path(""), sandbox.socket().parent().unwrap().to_owned()] {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let mut stranger = Peers::start(&sandbox.socket(), Some(SOMEBODY));
    let stop = sandbox.path("stop");
    stranger.order(&json!({"do": "hammer", "text": stop}));
    for _ in 0..if is_full() { 20 } else { 3 } {
        assert!(sandbox.start().stop().success());
    }
    std::fs::write(&stop, "").unwrap();
    let (tries, let_in): (u64, u64) = serde_json::from_value(stranger.outcome()).unwrap();
    assert!(tries >= 1_000 && let_in == 0, "{let_in} of {tries}");
}

#[test]
fn j2_what_a_caller_says_of_itself_gives_no_rights() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::with_sources(&sample());
    let _daemon = open_to_all(&sandbox);
    let mut stranger = Peers::start(&sandbox.socket(), Some(SOMEBODY));
    for header in [
        "X-Uid: 0",
        "X-Remote-User: root",
        "X-Forwarded-User: root",
        "Forwarded: for=root",
        "Authorization: Basic cm9vdDo=",
        "Cookie: uid=0",
        "From: root@localhost",
    ] {
        stranger.open(1);
        stranger.send(&format!(
            "POST /v1/sync HTTP/1.1\r\nHost: localhost\r\n{header}\r\nContent-Length: 2\r\n\r\n{{}}"
        ));
        let (status, body) = stranger.answers().remove(0);
        stranger.close();
        assert!(status.contains(" 403 ") && body.contains("E015"), "{header}: {status} {body}");
    }
}

#[test]
fn j2_an_address_that_looks_like_a_user_gives_no_rights() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::with_sources(&sample());
    let _daemon = open_to_all(&sandbox);
    // Its own end of the connection has an abstract address of its choice, as a forged user once had.
    let script = r#"use Socket; use POSIX; POSIX::setuid(65533);
        for my $name ("\0uid=0;", "\0;uid=0;pid=1;socket=;", "\0root", "\0\n0") {
            socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die $!;
            bind($s, pack("S a*", AF_UNIX, $name)) or die "bind: $!";
            connect($s, pack_sockaddr_un($ARGV[0])) or die "connect: $!";
            syswrite($s, "POST /v1/sync HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}");
            my $line = <$s>; print $line;
        }"#;
    let said = Said::of(Command::new("perl").args(["-e", script]).arg(sandbox.socket()));
    if said.status != 0 {
        return place::skipped(&format!("no perl that can bind abstract addresses: {}", said.stderr));
    }
    let statuses: Vec<&str> = said.stdout.lines().map(status).collect();
    assert_eq!(statuses, ["403"; 4], "{said:?}");
}

/// Every route of the document, with a call that is well formed.
fn calls(daemon: &Daemon) -> Vec<(String, String)> {
    let document = daemon.get("/openapi.json").ok();
    let mut calls = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", &encoded("lcod://tooling/text/slug")).replace("{version}", "0.1.0");
        for method in ["get", "post"].into_iter().filter(|method| methods[*method].is_object()) {
            let body = match path.as_str() {
                "/v1/resolve" => json!({"requests": ["lcod://tooling/text/slug"], "natives": NATIVES}),
                "/v1/lookup" => json!({"ids": []}),
                "/v1/lock" => {
                    json!({"resolve": {"requests": ["lcod://tooling/text/slug"], "natives": NATIVES}})
                }
                "/v1/lock/check" => json!({"lock": "schema = \"resolverd/lock@1\""}),
                "/v1/explain" | "/v1/locate" => json!({"id": "lcod://tooling/text/slug"}),
                "/v1/documents" => json!({"publishers": ["nobody"]}),
                "/v1/materialize" => json!({"releases": ["lcod://tooling/text/slug"]}),
                "/v1/trust/forget" => json!({"source": "nobody", "reason": "a case"}),
                "/v1/policy/test" => json!({"policy": ""}),
                _ => json!({}),
            };
            let (method, body) = (method.to_uppercase(), body.to_string());
            let head = format!("{method} {path} HTTP/1.1\r\n{CLOSING}Content-Length: {}\r\n\r\n", body.len());
            calls.push((format!("{method} {path}"), head + &body));
        }
    }
    assert!(calls.len() > 20, "{calls:?}");
    calls
}

#[test]
fn j3_each_identity_may_ask_and_only_an_admin_may_order() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = open_to_all(&sandbox);
    let generation = || daemon.get("/v1/health").ok()["generation"].clone();
    let before = generation();
    for uid in [SOMEBODY, 1_000, 0] {
        let mut peers = Peers::start(&sandbox.socket(), Some(uid));
        for (name, call) in calls(&daemon) {
            let ordering = ["/v1/sync", "/v1/reload", "/v1/trust/forget", "/v1/policy/test", "/v1/files/gc"];
            let orders = ordering.iter().any(|path| name.ends_with(path));
            peers.open(1);
            peers.send(&call);
            let (status, body) = peers.answers().remove(0);
            peers.close();
            let is_refused = status.contains(" 403 ");
            assert_eq!(is_refused, orders && uid != 0, "{uid} {name}: {status} {body}");
            assert!(!status.is_empty() && !status.contains(" 500 "), "{uid} {name}: {status} {body}");
        }
        assert_eq!(generation(), before, "a sync of what did not change makes no generation");
    }
}

#[test]
fn j3_only_an_admin_has_everything_fetched_again() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = open_to_all(&sandbox);
    let body = r#"{"releases":["lcod://tooling/text/slug@0.2.0"],"refetch":true}"#;
    let call =
        format!("POST /v1/materialize HTTP/1.1\r\n{CLOSING}Content-Length: {}\r\n\r\n{body}", body.len());
    for uid in [SOMEBODY, 0] {
        let mut peers = Peers::start(&sandbox.socket(), Some(uid));
        peers.open(1);
        peers.send(&call);
        let (status, answer) = peers.answers().remove(0);
        peers.close();
        assert_eq!(status.contains(" 403 "), uid != 0, "{uid}: {status} {answer}");
        assert_eq!(answer.contains("E015"), uid != 0, "{uid}: {status} {answer}");
    }
    let workspace = sandbox.path("workspace");
    std::fs::create_dir_all(&workspace).unwrap();
    for path in [&sandbox.path(""), &workspace] {
        std::fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    }
    let mut client = Command::new(place::binary());
    sandbox.furnish(client.uid(SOMEBODY).gid(SOMEBODY).current_dir(&workspace));
    let said = Said::of(client.args(["install", "hub", "--force"]));
    for part in ["E015", "--force reads the sources", "leave --force out", "admin.sock"] {
        assert!(said.status != 0 && said.stderr.contains(part), "{said:?}");
    }
    drop(daemon);
}

#[test]
fn j4_whoever_stands_behind_the_overflow_uid_is_turned_away() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = open_to_all(&sandbox);
    let mut peers = Peers::start(&sandbox.socket(), Some(OVERFLOW));
    peers.open(20);
    for (status, body) in peers.answers() {
        assert!(status.contains(" 403") && body.contains("user namespace"), "{status} {body}");
    }
    peers.close();
    assert_eq!(daemon.get("/livez").status, 200);
}

#[test]
fn j4_root_of_a_user_namespace_is_who_made_it() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = open_to_all(&sandbox);
    let inside = |program: &mut Command| {
        program.args(["--user", "--map-root-user", "--"]).arg(place::binary());
        sandbox.furnish(program.uid(SOMEBODY).gid(SOMEBODY));
    };
    let mut client = Command::new("unshare");
    inside(&mut client);
    let said = Said::of(client.args(["sync"]));
    if said.stderr.contains("unshare") {
        return place::skipped(&format!("no user namespace can be made: {}", said.stderr));
    }
    assert!(said.status != 0 && said.stderr.contains("E015"), "{said:?}");
    drop(daemon);

    // The other way round: to a daemon in a namespace everybody outside is the overflow uid, root too.
    std::fs::set_permissions(sandbox.path(""), Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::chown(sandbox.socket().parent().unwrap(), Some(SOMEBODY), None).unwrap();
    std::fs::remove_dir_all(sandbox.state()).unwrap();
    let mut command = Command::new("unshare");
    inside(&mut command);
    let mut daemon = sandbox.spawn_as(command);
    poll::until("a daemon in a namespace", || {
        assert!(!daemon.has_ended(), "{}", daemon.log());
        daemon.log().contains("serving").then_some(())
    });
    let answer = raw(&sandbox, LIVE.as_bytes());
    assert!(status(&answer) == "403" && answer.contains("user namespace"), "{answer}");
}

#[test]
fn j5_no_process_id_of_a_peer_is_asked_for() {
    let mut seen = 0;
    for folder in ["resolverd/src/server", "resolverd/src/daemon"] {
        for entry in std::fs::read_dir(place::root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            seen += text.matches("peer_cred").count();
            assert!(!text.contains(".pid()"), "{} asks for a process id", path.display());
        }
    }
    assert_eq!(seen, 1, "who calls is asked in one place");
}

#[test]
fn j6_what_a_browser_sends_is_refused() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let check = |headers: &str, expected: &str| {
        let answer = raw(
            &sandbox,
            format!("GET /livez HTTP/1.1\r\nConnection: close\r\n{headers}\r\n\r\n").as_bytes(),
        );
        assert_eq!(status(&answer), expected, "{headers}: {answer}");
        assert_eq!(expected == "403", answer.contains("api.bad_origin"), "{headers}: {answer}");
    };
    for host in ["localhost", "localhost:8080", "resolverd", "LOCALHOST", ""] {
        check(&format!("Host: {host}"), "200");
    }
    for host in [
        "evil.example",
        "127.0.0.1",
        "127.1",
        "[::1]",
        "0x7f000001",
        "2130706433",
        "localhost.",
        "localhost.evil.example",
        "evil.example:80",
        "a@localhost",
        "localhost@evil.example",
        "localhost:80:80",
        "localhost,evil.example",
        "%6c",
        "local host",
        "\u{e9}",
    ] {
        check(&format!("Host: {host}"), "403");
    }
    for header in [
        "Origin: null",
        "Origin: http://localhost",
        "oRiGiN:",
        "Referer: http://localhost/",
        "Referer:",
        "Sec-Fetch-Site: none",
        "Sec-Fetch-Site: same-origin",
        "sec-fetch-mode: no-cors",
        "Sec-Fetch-Dest: image",
        "Sec-Fetch-User: ?1",
    ] {
        check(&format!("Host: localhost\r\n{header}"), "403");
    }
    check("Host: localhost\r\nAccept: text/html\r\nUser-Agent: curl/8", "200");
    assert_eq!(daemon.get("/livez").status, 200);
}

#[test]
fn j7_good_clients_are_served_beside_slow_ones_and_the_slow_are_cut_off() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = open_to_all(&sandbox);
    let before = Footprint::of(&daemon);
    let big = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let slow = [
        ("half a head", "GET /livez HT".to_owned()),
        ("a head that does not end", "GET /livez HTTP/1.1\r\nHost: localhost\r\n".to_owned()),
        ("nothing", String::new()),
        (
            "half a body",
            "POST /v1/lookup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{".to_owned(),
        ),
        (
            "half a chunk",
            "POST /v1/lookup HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"
                .to_owned(),
        ),
        ("never reading", big.repeat(400)),
        ("idle", LIVE.to_owned()),
    ];
    // 203 slow ones of seven users, and 50 good ones of two: less than all the places there are.
    let mut crowds: Vec<Peers> = slow
        .iter()
        .enumerate()
        .map(|(index, (what, text))| {
            let mut peers = Peers::start(&sandbox.socket(), Some(CROWD + index as u32));
            assert_eq!(peers.open(29), 29, "{what}");
            peers.send(text);
            peers
        })
        .collect();
    let mut good: Vec<Peers> = (0..2)
        .map(|index| {
            let mut peers = Peers::start(&sandbox.socket(), Some(CROWD + 100 + index));
            assert_eq!(peers.open(25), 25);
            peers
        })
        .collect();
    for round in 0..if is_full() { 500 } else { 20 } {
        good.iter_mut().for_each(|peers| peers.send(GOOD));
        for (status, body) in good.iter_mut().flat_map(Peers::answers) {
            assert!(status.contains(" 200 ") && body.contains("text/slug"), "round {round}: {status} {body}");
        }
    }
    good.iter_mut().for_each(Peers::close);
    let whole = daemon.get("/openapi.json").body.len() * 400;
    // The idle ones have a minute: they are closed from this side.
    crowds.pop().unwrap().close();
    // Reading what the daemon still tries to send would be progress, so it gives up first.
    poll::until("the end of every slow connection", || {
        (connections(&daemon.get("/metrics").body) == 1).then_some(())
    });
    for (peers, (what, _)) in crowds.iter_mut().zip(&slow) {
        for (bytes, start) in peers.ends() {
            match *what {
                "half a body" | "half a chunk" => assert_eq!(status(&start), "408", "{what}: {start}"),
                "never reading" => assert!(bytes < whole, "{what}: {bytes} of {whole}"),
                _ => assert_eq!(bytes, 0, "{what}: {start}"),
            }
        }
    }
    drop((crowds, good));
    before.is_back(&daemon, "slow clients");
    assert!(daemon.stop().success());
}

#[test]
fn j7_a_head_that_comes_byte_by_byte_is_cut_off() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let mut peers = Peers::start(&sandbox.socket(), None);
    peers.open(10);
    // Each byte is progress and none moves the end: a minute of them is never waited for.
    let mut sent = 0;
    for byte in "GET /".chars().chain(std::iter::repeat_n('x', 600)) {
        let taken = peers.told(&json!({"do": "send", "text": byte.to_string()}));
        if taken == 0 {
            break;
        }
        sent += 1;
        poll::pause(Duration::from_millis(100));
    }
    assert!(sent < 600, "{sent} bytes were waited for");
    assert!(peers.ends().iter().all(|(bytes, _)| *bytes == 0));
    assert_eq!(daemon.get("/livez").status, 200);
}

#[test]
fn j8_huge_heads_and_bodies_are_refused_and_not_kept() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let before = Footprint::of(&daemon);
    let check = |request: String, expected: &str, reason: &str| {
        let shown: String = request.chars().take(60).collect();
        // Also a caller who tries hard to send all of a head that nobody wants hears why.
        for answer in [raw(&sandbox, request.as_bytes()), stubborn(&sandbox, request.as_bytes())] {
            assert!(status(&answer) == expected, "{shown:?}: {answer:?}");
            assert!(answer.contains(reason), "{shown:?}: {answer}");
        }
    };
    let get = |target: &str, headers: &str| format!("GET {target} HTTP/1.1\r\n{CLOSING}{headers}\r\n");
    check(get(&format!("/{}", "x".repeat(15 << 10)), ""), "404", "api.route");
    check(get(&format!("/{}", "x".repeat(20 << 10)), ""), "431", "api.head_bytes");
    check(get(&format!("/{}", "x".repeat(1 << 20)), ""), "431", "");
    check(get("/livez", &"A: b\r\n".repeat(30)), "200", "ok");
    check(get("/livez", &"A: b\r\n".repeat(31)), "431", "api.headers");
    check(get("/livez", &"A: b\r\n".repeat(100_000)), "431", "");
    check(get("/livez", &format!("A: {}\r\n", "b".repeat(20 << 10))), "431", "api.head_bytes");
    check(get("/livez", &format!("A: {}\r\n", "b".repeat(1 << 20))), "431", "");
    check(get("/livez", &format!("{}: b\r\n", "A".repeat(1 << 20))), "431", "");
    let post = |headers: &str| format!("POST /v1/lookup HTTP/1.1\r\n{CLOSING}{headers}\r\n\r\n");
    check(post("Content-Length: 1073741824"), "413", "api.body_bytes");
    check(post("Content-Length: 18446744073709551615"), "431", "");
    check(post("Content-Length: 99999999999999999999999999"), "400", "");

    // A body that says no length and never ends, on many connections: the far side stops taking it.
    let mut peers = Peers::start(&sandbox.socket(), None);
    let count = 8;
    assert_eq!(peers.open(count), count);
    peers.send(&post("Transfer-Encoding: chunked"));
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let bytes: u64 = if is_full() { 1 << 30 } else { 64 << 20 };
    let taken = peers.told(&json!({"do": "flood", "text": chunk, "bytes": bytes}));
    let taken: Vec<u64> = serde_json::from_value(taken).unwrap();
    assert!(taken.iter().all(|taken| *taken < 4 << 20), "{taken:?}");
    assert!(peers.ends().iter().all(|(_, start)| status(start) == "413"), "each is told");
    drop(peers);
    before.is_back(&daemon, "huge requests");
}

#[test]
fn j9_two_thousand_idle_connections_leave_room_for_others() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = open_to_all(&sandbox);
    let before = Footprint::of(&daemon);
    let mut crowd = Peers::start(&sandbox.socket(), Some(CROWD));
    let made = crowd.open(2_000);
    if made < 2_000 {
        eprintln!("only {made} connections could be made with the descriptors that a process may have here");
    }
    assert!(made > PER_UID);
    crowd.send(LIVE);
    let answers = crowd.answers();
    let count = |word: &str| answers.iter().filter(|(status, _)| status.contains(word)).count();
    assert_eq!((count(" 200 "), count(" 503")), (PER_UID, made - PER_UID), "of {made}");
    let refused = answers.iter().find(|(status, _)| status.contains(" 503")).unwrap();
    assert!(refused.1.contains("api.busy") && refused.1.contains("\"limit\":32"), "{refused:?}");

    // Each user has a share, and all together have a bound.
    let mut others: Vec<Peers> = (1..8)
        .map(|index| {
            let mut peers = Peers::start(&sandbox.socket(), Some(CROWD + index));
            peers.open(PER_UID);
            peers.send(LIVE);
            assert!(peers.answers().iter().all(|(status, _)| status.contains(" 200 ")), "user {index}");
            peers
        })
        .collect();
    assert_eq!(connections(&raw_metrics(&mut others[0])), ALL);
    let mut late = Peers::start(&sandbox.socket(), Some(CROWD + 8));
    late.open(1);
    let (status, body) = late.answers().remove(0);
    assert!(status.contains(" 503") && body.contains("256 connections"), "{status} {body}");
    // A verb is told the same, with what to do; the socket for admins has places of its own.
    let said = sandbox.run(&["sources"]);
    assert!(said.status != 0 && said.stderr.contains("256 connections are open"), "{said:?}");
    assert!(said.stderr.contains("hint: "), "{said:?}");
    let admin = sandbox.socket().with_file_name("admin.sock");
    let said = sandbox.run(&["sources", "--socket", admin.to_str().unwrap()]);
    assert_eq!(said.status, 0, "{said:?}");

    drop((crowd, others, late));
    before.is_back(&daemon, "idle connections");
    assert_eq!(sandbox.run(&["sources"]).status, 0);
}

/// Asks for the metrics on the first connection of `peers`, since there is no place for another.
fn raw_metrics(peers: &mut Peers) -> Vec<u8> {
    peers.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    peers.answers().remove(0).1.into_bytes()
}

#[test]
fn j9_without_descriptors_it_waits_and_recovers() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = open_to_all(&sandbox);
    let before = Footprint::of(&daemon);
    let most = Some(before.descriptors as u64 + 20);
    let pid = Pid::from_raw(daemon.pid() as i32);
    prlimit(pid, Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    let mut crowds: Vec<Peers> = (0..3)
        .map(|index| {
            let mut peers = Peers::start(&sandbox.socket(), Some(CROWD + index));
            assert_eq!(peers.open(PER_UID), PER_UID);
            peers
        })
        .collect();
    let warned = || daemon.log().matches("cannot accept connections").count();
    poll::until("a word about the descriptors", || (warned() > 0).then_some(()));
    poll::pause(Duration::from_secs(1));
    assert_eq!(warned(), 1, "it is said once, not at every try");
    crowds.iter_mut().for_each(Peers::close);
    before.is_back(&daemon, "no descriptors");
    assert!(daemon.stop().success());
}

#[test]
fn j10_requests_that_are_cut_off_leave_nothing_behind() {
    use std::io::{Read as _, Write as _};
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let ids: Vec<String> = (0..2_000).map(|n| format!("lcod://tooling/text/slug{n}")).collect();
    let post = |path: &str, body: Value| {
        let body = body.to_string();
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let requests = [
        GOOD.to_owned(),
        post("/v1/lookup", json!({ "ids": ids })),
        post(
            "/v1/resolve",
            json!({"requests": ["lcod://tooling/text/slug", "lcod://acme/billing/invoice"], "natives": NATIVES}),
        ),
        post("/v1/sync", json!({})),
        post(
            "/v1/resolve",
            json!({"requests": ["lcod://tooling/text/slug"], "natives": NATIVES, "refresh": true}),
        ),
        "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /v1/components/search?q=text HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20),
    ];
    let before = Footprint::of(&daemon);
    let mut chance = Chance(0x5eed);
    for _ in 0..if is_full() { 10_000 } else { 400 } {
        let request = requests[chance.index(requests.len())].as_bytes();
        let sent = if chance.index(2) == 0 { request.len() } else { chance.index(request.len()) };
        let mut stream = std::os::unix::net::UnixStream::connect(sandbox.socket()).unwrap();
        let _ = stream.write_all(&request[..sent]);
        if sent == request.len() && chance.index(2) == 0 {
            let _ = stream.read(&mut vec![0; 1 + chance.index(200)]);
        }
    }
    let report = poll::until("a sync that finds a place", || {
        let answer = daemon.post("/v1/sync", &json!({}));
        (answer.status != 503).then_some(answer)
    });
    assert_eq!(report.status, 200, "{report}");
    // Every place of this user is free again.
    before.is_back(&daemon, "cut requests");
    let mut peers = Peers::start(&sandbox.socket(), None);
    peers.open(PER_UID);
    peers.send(LIVE);
    assert!(peers.answers().iter().all(|(status, _)| status.contains(" 200 ")));
}

/// How much memory two rounds of requests may add, in KiB: a hundred bytes a request are more.
const GROWTH_KIB: u64 = 96;

#[test]
fn j8_j10_nothing_is_kept_of_a_request_that_has_been_answered_refused_or_cut_off() {
    use std::io::Write as _;
    let sandbox = Sandbox::with_sources(&sample());
    // What is freed goes back at once, so that what is resident is what is in use.
    let mut command = sandbox.command();
    command.env("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0,narenas:1");
    command.env("RESOLVERD_LOG", "warn");
    let mut daemon = sandbox.spawn_as(command);
    daemon.wait_for("/readyz");
    daemon.sync();
    let post = |path: &str, body: Value| {
        let body = body.to_string();
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let ids: Vec<String> = (0..200).map(|n| format!("lcod://tooling/text/slug{n}")).collect();
    let wanted = json!({"requests": ["lcod://tooling/text/slug"], "natives": NATIVES});
    let calls = [
        GOOD.to_owned(),
        "GET /v1/components/search?q=text HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        post("/v1/resolve", wanted.clone()),
        post("/v1/explain", json!({"id": "lcod://tooling/text/slug"})),
        post("/v1/lookup", json!({ "ids": ids })),
    ];
    let last = format!("GET /livez HTTP/1.1\r\n{CLOSING}\r\n");
    let train = calls.concat().repeat(10) + &last;
    let huge = format!(
        "POST /v1/lookup HTTP/1.1\r\n{CLOSING}Content-Length: 3000000\r\n\r\n{}",
        "x".repeat(1 << 20)
    );
    let long = format!("GET /livez HTTP/1.1\r\n{CLOSING}A: {}\r\n\r\n", "b".repeat(20 << 10));
    let (trains, cuts, refusals) = if is_full() { (400, 4_000, 400) } else { (20, 200, 20) };
    let mut chance = Chance(0x5eed);
    let is_alone = || {
        let told = daemon.try_ask("GET", "/metrics", None).ok().filter(|answer| answer.status == 200);
        told.is_some_and(|told| connections(&told.body) == 1).then_some(())
    };
    let mut round = || {
        for _ in 0..trains {
            let answers = raw(&sandbox, train.as_bytes());
            assert_eq!(answers.matches("HTTP/1.1 ").count(), 61, "{answers}");
        }
        for _ in 0..cuts {
            let request = calls[chance.index(calls.len())].as_bytes();
            let mut stream = std::os::unix::net::UnixStream::connect(sandbox.socket()).unwrap();
            let _ = stream.write_all(&request[..chance.index(request.len())]);
        }
        poll::until("the end of what was cut off", is_alone);
        for _ in 0..refusals {
            assert_eq!(status(&raw(&sandbox, huge.as_bytes())), "413");
            assert_eq!(status(&raw(&sandbox, long.as_bytes())), "431");
        }
        poll::until("the end of every connection", is_alone);
        Footprint::of(&daemon)
    };
    let rounds: Vec<Footprint> = (0..6).map(|_| round()).collect();
    let requests = trains * 61 + cuts + 2 * refusals;
    let resident: Vec<u64> = rounds.iter().map(|round| round.rss_kib).collect();
    eprintln!("{requests} requests a round; resident KiB after each: {resident:?}");
    // The first rounds warm it up. What leaks leaks in every round; what the allocator does is not in every one.
    let growth = resident[1..].windows(3).map(|some| some[2].saturating_sub(some[0])).min().unwrap();
    assert!(growth <= GROWTH_KIB, "{growth} KiB in any two rounds: {rounds:?}");
    let descriptors: Vec<usize> = rounds.iter().map(|round| round.descriptors).collect();
    assert!(descriptors[1..].iter().all(|now| *now <= descriptors[0] + 1), "{descriptors:?}");
    assert_eq!(daemon.get("/v1/stats").ok()["panics"], 0);
}

#[test]
fn j11_no_request_is_smuggled_in_another() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    // What would be a request of its own if a body ended where it should not.
    let inner = "GET /v1/version HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let check = |head: &str, body: &str, expected: &str| {
        let answer = raw(&sandbox, format!("{head}\r\n\r\n{body}{inner}").as_bytes());
        assert!(!answer.contains("\"api\""), "{head:?}: the inner request was answered: {answer}");
        assert_eq!(status(&answer), expected, "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:?}: {answer}");
    };
    let post = |headers: &str| format!("POST /v1/lookup HTTP/1.1\r\nHost: localhost\r\n{headers}");
    SMUGGLING.iter().for_each(|(headers, body, expected)| check(&post(headers), body, expected));
    for (head, expected) in [
        ("GET /livez HTTP/2.0\r\nHost: localhost", "400"),
        ("PRI * HTTP/2.0", "400"),
        ("GET /livez", "400"),
        ("GET  /livez HTTP/1.1\r\nHost: localhost", "400"),
        ("GET /li vez HTTP/1.1\r\nHost: localhost", "400"),
        ("GET /livez HTTP/1.1\r\nHost : localhost", "400"),
        ("GET /livez HTTP/1.1\r\n Host: localhost", "400"),
        ("GET /livez HTTP/1.1\r\nHost: local\0host", "400"),
        ("GET /livez HTTP/1.1\r\nNo colon", "400"),
        ("\u{0}\u{1}\u{2}", "400"),
    ] {
        check(head, "", expected);
    }
    assert_eq!(daemon.get("/livez").status, 200);
}

#[test]
fn j11_no_request_is_smuggled_behind_a_body_that_is_complete() {
    let sandbox = Sandbox::with_sources(&sample());
    let _daemon = sandbox.start_synced();
    let body = r#"{"ids":[]}"#;
    let inner = "GET /v1/version HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let exact = format!("Content-Length: {}", body.len());
    let whole = format!("Content-Length: {}", body.len() + inner.len());
    // Two framings of which one would hide the inner request in the body, or make a request of the body's end.
    for (headers, body, is_one) in [
        (format!("{exact}\r\nTransfer-Encoding: chunked"), chunked.clone(), true),
        (format!("Transfer-Encoding: chunked\r\n{exact}"), chunked.clone(), true),
        (format!("{whole}\r\nTransfer-Encoding: chunked"), chunked.clone(), true),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0".to_owned(), chunked.clone(), true),
        (format!("{exact}\r\n{whole}"), body.to_owned(), true),
        (format!("{whole}\r\n{exact}"), body.to_owned(), true),
        (format!("{exact}\r\nTransfer-Encoding: identity"), body.to_owned(), true),
        (format!("{exact}\r\nTransfer-Encoding: chunked, chunked"), chunked.clone(), true),
        // What is framed once and well is answered, and so is what follows it.
        (exact.clone(), body.to_owned(), false),
        ("Transfer-Encoding: chunked".to_owned(), chunked.clone(), false),
        ("Transfer-Encoding: CHUNKED".to_owned(), chunked.clone(), false),
    ] {
        let head = format!("POST /v1/lookup HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n");
        let answer = raw(&sandbox, format!("{head}{body}{inner}").as_bytes());
        let count = answer.matches("HTTP/1.1 ").count();
        assert_eq!(count, if is_one { 1 } else { 2 }, "{headers:?}: {answer}");
        assert_eq!(answer.contains("\"api\""), !is_one, "{headers:?}: {answer}");
        assert!(is_one || status(&answer) == "200", "{headers:?}: {answer}");
    }
}

/// Headers that frame a body in two ways or in none, the body, and what is answered: one answer, and never to what follows.
const SMUGGLING: &[(&str, &str, &str)] = &[
    ("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n", "400"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 4", "0\r\n\r\n", "400"),
    ("Content-Length: 1\r\nContent-Length: 2", "{}", "400"),
    ("Content-Length: 1, 2", "{}", "400"),
    ("Content-Length: +2", "{}", "400"),
    ("Content-Length: -2", "{}", "400"),
    ("Content-Length: 0x2", "{}", "400"),
    ("Content-Length: 2 2", "{}", "400"),
    ("Content-Length: 2a", "{}", "400"),
    ("Content-Length:", "", "400"),
    ("Transfer-Encoding: identity", "", "400"),
    ("Transfer-Encoding: xchunked", "0\r\n\r\n", "400"),
    ("Transfer-Encoding: chunked, identity", "0\r\n\r\n", "400"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n", "400"),
    ("Transfer-Encoding : chunked", "0\r\n\r\n", "400"),
    ("Transfer-Encoding: \u{b}chunked", "0\r\n\r\n", "400"),
    ("Transfer-Encoding:\r\n chunked", "0\r\n\r\n", "400"),
    ("Transfer-Encoding: chunked", "0x2\r\n{}\r\n0\r\n\r\n", "400"),
    ("Transfer-Encoding: chunked", "-2\r\n{}\r\n0\r\n\r\n", "400"),
    ("Transfer-Encoding: chunked", "10000000000000002\r\n{}\r\n0\r\n\r\n", "400"),
    ("Transfer-Encoding: chunked", "2\r\n{}X\r\n0\r\n\r\n", "400"),
];

#[test]
fn j12_no_request_makes_the_daemon_open_a_path() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let document = daemon.get("/openapi.json").ok();
    for method in document["paths"].as_object().unwrap().values().filter_map(|path| path.get("post")) {
        let schema = method["requestBody"].to_string();
        for word in ["\"path\"", "\"file\"", "\"dest\"", "\"bundle\"", "\"directory\"", "\"output\""] {
            assert!(!schema.contains(word), "{word} in {schema}");
        }
    }
    for field in ["path", "file", "dest", "bundle", "directory", "output"] {
        for target in [
            "/v1/resolve",
            "/v1/lookup",
            "/v1/lock",
            "/v1/lock/check",
            "/v1/explain",
            "/v1/sync",
            "/v1/reload",
            "/v1/materialize",
            "/v1/locate",
            "/v1/documents",
            "/v1/files/verify",
            "/v1/files/gc",
            "/v1/files/release",
        ] {
            let answer = daemon.post(target, &json!({ field: "/etc/shadow" }));
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (400, "api.body"),
                "{target} {field}: {answer}"
            );
            assert!(!answer.to_string().contains("root:"), "{answer}");
        }
    }
    for target in ["/../../etc/shadow", "/v1/components/..%2f..%2fetc%2fshadow", "/%2e%2e/%2e%2e/etc/passwd"]
    {
        let answer = daemon.get(target);
        assert!(matches!(answer.status, 400 | 404), "{target}: {answer}");
    }
}

/// Text that would move a cursor, start a line, hide or reorder what stands around it.
const HOSTILE: &str = "x\u{1b}[2J\r\nforged line \u{202e}\u{2066}\u{200b}\u{7f}\u{85}\u{2028}\u{0}";

/// Returns what in `text` could do so; line ends are its own.
pub(crate) fn dangerous(text: &str) -> Option<char> {
    let marks = ['\u{61c}', '\u{200b}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{feff}'];
    let is_bidi =
        |c: &char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') || marks.contains(c);
    text.chars().find(|c| (c.is_control() && *c != '\n') || is_bidi(c))
}

#[test]
fn j14_the_log_keeps_no_secret_and_no_line_is_forged() {
    let sandbox = Sandbox::with_sources(&sample());
    let mut daemon = sandbox.spawn_at("trace");
    daemon.wait_for("/readyz");
    let secret = "s3cr3t-sentinel";
    let headers =
        format!("Authorization: Bearer {secret}\r\nCookie: token={secret}\r\nX-Token: {secret}\r\n");
    raw(&sandbox, format!("GET /v1/health HTTP/1.1\r\n{CLOSING}{headers}\r\n").as_bytes());
    raw(&sandbox, format!("GET /v1/nothing HTTP/1.1\r\n{CLOSING}{headers}\r\n").as_bytes());
    let body =
        json!({"requests": ["lcod://tooling/text/slug"], "natives": [], "password": secret}).to_string();
    let head =
        format!("POST /v1/resolve HTTP/1.1\r\n{CLOSING}{headers}Content-Length: {}\r\n\r\n", body.len());
    assert_eq!(status(&raw(&sandbox, (head + &body).as_bytes())), "400");
    for target in [
        format!("/v1/{}", encoded(HOSTILE)),
        format!("/v1/components/{}", encoded(HOSTILE)),
        format!("/v1/components?cursor={}", encoded(HOSTILE)),
        format!("/v1/components/search?q={}", encoded(HOSTILE)),
        format!("/v1/trust/log?source={}", encoded(HOSTILE)),
    ] {
        let answer = daemon.get(&target);
        assert!(matches!(answer.status, 200 | 400 | 404), "{target}: {answer}");
    }
    for body in [json!({"requests": [HOSTILE]}), json!({ HOSTILE: 1 }), json!({"sources": [HOSTILE]})] {
        for target in ["/v1/resolve", "/v1/lookup", "/v1/sync", "/v1/explain", "/v1/trust/forget"] {
            let answer = daemon.post(target, &body);
            assert!(matches!(answer.status, 200 | 400 | 404), "{target}: {answer}");
        }
    }
    raw(
        &sandbox,
        format!("GET /v1/\u{1b}[2J HTTP/1.1\r\n{CLOSING}Last-Event-ID: \u{202e}\r\n\r\n").as_bytes(),
    );
    let log = daemon.log();
    assert!(log.contains("refused"), "the requests were logged: {log}");
    assert!(!log.contains(secret), "{log}");
    for line in log.lines() {
        assert!(line.starts_with("20") && dangerous(line).is_none(), "{line:?}");
    }
}
