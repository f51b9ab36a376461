//! The daemon under a service manager, and started by its clients: inherited sockets, `sd_notify`, the watchdog, idle-exit,
//! `--auto`, `admin.sock`, the shipped units.

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::daemon::sample;
use crate::harness::daemon::{Said, Sandbox, mode};
use crate::harness::{http, place, poll};

/// A user and group of no account.
const SOMEBODY: u32 = 65_533;
/// How long a message of the daemon is waited for.
const SILENCE: Duration = Duration::from_secs(60);

/// A daemon that was started by hand; killed when dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Started {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn ended_well(&mut self) -> bool {
        poll::until("the daemon's end", || self.0.try_wait().unwrap()).success()
    }
}

/// The end of the service manager.
struct Manager(UnixDatagram);

impl Manager {
    fn at(sandbox: &Sandbox) -> Manager {
        let end = UnixDatagram::bind(sandbox.path("notify")).unwrap();
        end.set_read_timeout(Some(SILENCE)).unwrap();
        Manager(end)
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 4_096];
        let length = self.0.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// Waits for a message that holds `word`.
    fn hear_of(&self, word: &str) -> String {
        self.hear_all(&[word]).remove(0)
    }

    /// Waits for messages that hold each of `words`, in whatever order they come.
    fn hear_all(&self, words: &[&str]) -> Vec<String> {
        let mut heard: Vec<String> = Vec::new();
        loop {
            let found = words.iter().map(|word| heard.iter().find(|message| message.contains(word)).cloned());
            if let Some(all) = found.collect::<Option<Vec<String>>>() {
                return all;
            }
            assert!(heard.len() < 1_000, "never heard of {words:?}: {heard:?}");
            heard.push(self.hear());
        }
    }
}

fn served(sandbox: &Sandbox, flags: &[&str]) -> Command {
    let mut command = sandbox.command();
    command.arg("serve").args(flags).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn the_service_manager_hears_of_readiness_reloads_life_and_the_end() {
    let sandbox = Sandbox::with_sources(&sample());
    let manager = Manager::at(&sandbox);
    let mut command = served(&sandbox, &[]);
    command.env("NOTIFY_SOCKET", sandbox.path("notify")).env("WATCHDOG_USEC", "200000");
    let mut daemon = Started(command.spawn().unwrap());
    manager.hear_all(&["READY=1", "STATUS=nothing has been read yet of 2 sources", "STATUS=generation 1"]);
    assert_eq!(http::ask(&sandbox.socket(), "GET", "/livez", None).unwrap().status, 200, "ready means ready");
    for _ in 0..3 {
        manager.hear_of("WATCHDOG=1");
    }
    daemon.signal(Signal::HUP);
    let reloading = manager.hear_of("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    let again = manager.hear_of("READY=1");
    assert!(again.contains("2 sources"), "{again}");
    daemon.signal(Signal::TERM);
    manager.hear_of("STOPPING=1");
    assert!(daemon.ended_well());
}

#[test]
fn a_reload_that_fails_is_over_all_the_same() {
    let sandbox = Sandbox::with_sources(&sample());
    let manager = Manager::at(&sandbox);
    let mut command = served(&sandbox, &[]);
    let daemon = Started(command.env("NOTIFY_SOCKET", sandbox.path("notify")).spawn().unwrap());
    manager.hear_of("STATUS=generation 1");
    sandbox.write_sources_text("{");
    daemon.signal(Signal::HUP);
    manager.hear_of("RELOADING=1");
    manager.hear_of("READY=1");
}

/// Starts the daemon with `listeners` as its descriptors 3 and 4, called `names`. They come in as standard input and output,
/// since a child gets no others without unsafe code.
fn inheriting(
    sandbox: &Sandbox,
    flags: &[&str],
    listeners: [Option<&UnixListener>; 2],
    names: &str,
) -> Started {
    let own = |listener: &UnixListener| Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
    let count = listeners.iter().flatten().count();
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$@\"", "sh"]);
    command.arg(sandbox.command().get_program()).arg("serve").args(flags);
    sandbox.furnish(&mut command);
    command.env("LISTEN_FDS", count.to_string()).env("LISTEN_FDNAMES", names);
    command.stdin(listeners[0].map_or(Stdio::null(), own));
    command.stdout(listeners[1].map_or(Stdio::null(), own)).stderr(Stdio::null());
    Started(command.spawn().unwrap())
}

#[test]
fn inherited_sockets_are_served_and_stay() {
    let sandbox = Sandbox::with_sources(&sample());
    let (main, admin) = (sandbox.path("given.sock"), sandbox.path("given-admin.sock"));
    let listeners = [UnixListener::bind(&main).unwrap(), UnixListener::bind(&admin).unwrap()];
    std::fs::set_permissions(&main, Permissions::from_mode(0o612)).unwrap();
    let mut daemon =
        inheriting(&sandbox, &[], [Some(&listeners[0]), Some(&listeners[1])], "resolverd.socket:admin");
    for socket in [&main, &admin] {
        poll::until("an answer", || {
            let answer = http::ask(socket, "GET", "/readyz", None).ok()?;
            (answer.status == 200).then_some(())
        });
    }
    assert!(!sandbox.socket().exists(), "nothing else is bound");
    assert_eq!(mode(&main), 0o612, "the service manager's mode stays");
    daemon.signal(Signal::TERM);
    assert!(daemon.ended_well());
    assert!(main.exists() && admin.exists(), "the sockets are the service manager's");
    // What waits in the queue meanwhile is for the next one.
    let mut early = UnixStream::connect(&main).unwrap();
    early.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let _next = inheriting(&sandbox, &[], [Some(&listeners[0]), None], "");
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn the_directory_of_an_inherited_socket_is_its_manager_s() {
    let sandbox = Sandbox::with_sources(&sample());
    let directory = sandbox.socket().parent().unwrap().to_owned();
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
    let said = sandbox.run(&["serve"]);
    assert!(said.status != 0 && said.stderr.contains("mode 0777"), "{said:?}");
    let listener = UnixListener::bind(sandbox.socket()).unwrap();
    let _daemon = inheriting(&sandbox, &[], [Some(&listener), None], "resolverd.socket");
    poll::until("an answer", || http::ask(&sandbox.socket(), "GET", "/livez", None).ok());
}

#[test]
fn what_is_inherited_and_no_socket_is_refused() {
    let sandbox = Sandbox::with_sources(&sample());
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve"]);
    command.arg(sandbox.command().get_program());
    sandbox.furnish(&mut command);
    let said = Said::of(&mut command);
    assert!(said.status == 1 && said.stderr.contains("inherited socket"), "{said:?}");
    // Sockets for another process are not ours.
    let mut daemon = sandbox.command();
    daemon.arg("serve").env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let mut daemon = Started(daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    poll::until("an answer", || http::ask(&sandbox.socket(), "GET", "/livez", None).ok());
    daemon.signal(Signal::TERM);
    assert!(daemon.ended_well());
}

#[test]
fn an_idle_daemon_ends_and_one_with_a_connection_does_not() {
    let sandbox = Sandbox::with_sources(&sample());
    let mut daemon = sandbox.spawn_with(&["--idle-exit", "1"]);
    let open = poll::until("a connection", || UnixStream::connect(sandbox.socket()).ok());
    poll::pause(Duration::from_millis(1_500));
    // The connection says nothing and is cut off in the end, long after a second.
    assert!(!daemon.has_ended(), "{}", daemon.log());
    drop(open);
    assert!(daemon.wait().success());
    assert!(daemon.log().contains("nobody has asked"), "{}", daemon.log());
    assert!(!sandbox.socket().exists());
    let said = sandbox.run(&["serve", "--idle-exit", "0"]);
    assert_eq!(said.status, 2, "{said:?}");
}

/// Ends the daemon of a sandbox that a verb has started, by the process id that its lock names.
struct Detached<'a>(&'a Sandbox);

impl Detached<'_> {
    fn pid(&self) -> Pid {
        let text = std::fs::read_to_string(self.0.state().join("lock")).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        let _ = kill_process(self.pid(), Signal::TERM);
        poll::until("the end of the socket", || (!self.0.socket().exists()).then_some(()));
    }
}

#[test]
fn a_verb_starts_a_daemon_and_the_next_one_finds_it() {
    let sandbox = Sandbox::with_sources(&sample());
    let arguments = ["--auto", "--wait", "60", "resolve", "lcod://acme/billing/invoice@1", "-o", "json"];
    let said = sandbox.run(&arguments);
    assert_eq!(said.status, 0, "{said:?}");
    let _daemon = Detached(&sandbox);
    assert!(said.stderr.contains("starting a daemon"), "{said:?}");
    assert_eq!(mode(&sandbox.state().join("daemon.log")), 0o600);
    let again = sandbox.run(&arguments);
    assert_eq!((again.status, &again.stdout, again.stderr.as_str()), (0, &said.stdout, ""));
    assert!(sandbox.run(&["status"]).stdout.contains("a daemon, version"));
}

#[test]
fn many_verbs_that_start_a_daemon_at_once_end_with_one() {
    let sandbox = Sandbox::with_sources(&sample());
    let ask = || {
        let mut command = sandbox.command();
        command.env("RESOLVERD_AUTO", "1").args(["resolve", "lcod://acme/billing/invoice", "--wait", "120"]);
        Said::of(&mut command)
    };
    let answers: Vec<Said> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let daemon = Detached(&sandbox);
    assert!(answers.iter().all(|said| said.status == 0), "{answers:?}");
    assert!(answers.iter().all(|said| said.stdout == answers[0].stdout), "{answers:?}");
    let pid = daemon.pid();
    let status = sandbox.run(&["resolve", "lcod://acme/billing/invoice"]);
    assert_eq!((status.status, daemon.pid()), (0, pid));
}

#[test]
fn a_daemon_that_cannot_start_is_told_with_the_reason() {
    let sandbox = Sandbox::new();
    sandbox.write_sources_text("{");
    let said = sandbox.run(&["--auto", "--wait", "60", "components"]);
    assert_eq!(said.status, 9, "{said:?}");
    assert!(said.stderr.contains("sources.json") && said.stderr.contains("daemon.log"), "{said:?}");
}

#[test]
fn the_socket_for_admins_is_for_its_owner_or_a_group() {
    let sandbox = Sandbox::with_sources(&sample());
    let admin = sandbox.path("run/admin.sock");
    let daemon = sandbox.start();
    assert_eq!(mode(&admin), 0o600);
    assert_eq!(http::ask(&admin, "POST", "/v1/reload", Some(&json!({}))).unwrap().status, 200);
    assert_eq!(http::ask(&admin, "GET", "/v1/sources", None).unwrap().status, 200);
    daemon.kill();
    assert!(admin.exists(), "a killed daemon leaves it behind");

    let gid = rustix::process::getegid().as_raw();
    let config = sandbox.path("config.toml");
    std::fs::write(&config, format!("admin_group = \"{gid}\"\n")).unwrap();
    let mut daemon = sandbox.spawn_with(&["--config", config.to_str().unwrap()]);
    daemon.wait_for("/readyz");
    assert_eq!((mode(&admin), std::fs::metadata(&admin).unwrap().gid()), (0o660, gid));
    assert_eq!(mode(&sandbox.socket()), 0o600, "the main socket is as it was");
    assert!(daemon.stop().success());
    assert!(!admin.exists());

    std::fs::write(&config, "admin_group = \"no-such-group-here\"\n").unwrap();
    let said = sandbox.run(&["serve", "--config", config.to_str().unwrap()]);
    assert!(said.status == 2 && said.stderr.contains("no-such-group-here"), "{said:?}");
}

#[test]
fn a_member_of_the_admin_group_orders_through_the_socket_for_admins() {
    if !rustix::process::geteuid().is_root() {
        return place::skipped("only root can call as another user");
    }
    let sandbox = Sandbox::with_sources(&sample());
    let config = sandbox.path("config.toml");
    std::fs::write(&config, format!("admin_group = \"{SOMEBODY}\"\n")).unwrap();
    let mut daemon = sandbox.spawn_with(&["--config", config.to_str().unwrap()]);
    daemon.wait_for("/readyz");
    let open = |name: &str, mode: u32| {
        std::fs::set_permissions(sandbox.path(name), Permissions::from_mode(mode)).unwrap();
    };
    open("", 0o755);
    open("run", 0o755);
    open("run/resolverd.sock", 0o666);
    // The binary may lie where other users cannot go, so that one is copied to where they can.
    let program = sandbox.path("resolverd");
    std::fs::copy(sandbox.command().get_program(), &program).unwrap();
    let run = |gid: u32, verb: &[&str]| {
        let mut command = Command::new(&program);
        sandbox.furnish(&mut command);
        Said::of(command.args(verb).current_dir("/").uid(SOMEBODY).gid(gid))
    };
    for verb in [&["sync"][..], &["reload"], &["resolve", "lcod://tooling/text/slug", "--refresh"]] {
        let member = run(SOMEBODY, verb);
        assert_eq!(member.status, 0, "{verb:?}: {member:?}");
        let other = run(SOMEBODY - 1, verb);
        assert!(other.status == 6 && other.stderr.contains("E015"), "{verb:?}: {other:?}");
    }
}

#[test]
fn reload_takes_what_the_file_says_now() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let good = sandbox.run(&["reload"]);
    assert!(good.status == 0 && good.stdout.contains("acme"), "{good:?}");
    sandbox.write_sources_text("{");
    let broken = sandbox.run(&["reload"]);
    assert!(broken.status == 2 && broken.stderr.contains("sources.json"), "{broken:?}");
    assert_eq!(daemon.resolve(&["lcod://acme/billing/invoice"]).status, 200);
}

/// Every route that reads and ends, with arguments that the sample answers.
fn reads() -> Vec<String> {
    let text = std::fs::read_to_string(place::root().join("resolverd/docs/openapi.json")).unwrap();
    let described: Value = serde_json::from_str(&text).unwrap();
    let paths = described["paths"].as_object().unwrap().iter().filter(|(_, path)| path["get"].is_object());
    let targets = paths.map(|(path, _)| match path.as_str() {
        "/v1/components/search" => format!("{path}?q=tax"),
        "/v1/snapshots/diff" => format!("{path}?from=SNAPSHOT"),
        "/v1/trust/log" => format!("{path}?source=acme"),
        _ => path.replace("{id}", "lcod/acme/billing/invoice").replace("{version}", "1.0.0"),
    });
    targets.filter(|target| target != "/v1/events").collect()
}

#[test]
fn everything_that_reads_answers_while_a_sync_is_running() {
    // A server that takes connections and says nothing: whoever reads this source waits, here for longer than any test.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sources = sample();
    let entry = format!("https://localhost:{}/catalogues.json", silent.local_addr().unwrap().port());
    sources["sources"].as_array_mut().unwrap().push(json!({"id": "slow", "url": entry, "priority": 99}));
    let sandbox = Sandbox::with_sources(&sample());
    let config = sandbox.path("config.toml");
    std::fs::write(&config, "[limits]\nstall_s = 80000\ntotal_s = 80000\n").unwrap();
    let mut daemon = sandbox.spawn_with(&["--config", config.to_str().unwrap()]);
    daemon.wait_for("/readyz");
    daemon.sync();
    let snapshot = daemon.resolve(&["lcod://acme/billing/invoice@1"]).ok()["snapshot"].clone();
    sandbox.write_sources(&sources);
    let mut reloading = UnixStream::connect(sandbox.socket()).unwrap();
    let order = b"POST /v1/reload HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    reloading.write_all(order).unwrap();
    let _held = silent.accept().unwrap();
    let reads = reads();
    assert!(reads.len() > 15, "{reads:?}");
    for _ in 0..5 {
        for target in &reads {
            let target = target.replace("SNAPSHOT", snapshot.as_str().unwrap());
            let answer = daemon.get(&target);
            assert_eq!(answer.status, 200, "{target}: {answer}");
        }
        let answer = daemon.resolve(&["lcod://acme/billing/invoice@1"]).ok();
        assert_eq!(answer["snapshot"], snapshot, "the generation of before answers");
        assert_eq!(daemon.post("/v1/lookup", &json!({"ids": ["lcod://acme/billing/invoice"]})).status, 200);
        let explain = json!({"id": "lcod://acme/billing/invoice"});
        assert_eq!(daemon.post("/v1/explain", &explain).status, 200);
    }
    for verb in [&["status"][..], &["doctor"], &["search", "tax"], &["snapshots"], &["trust", "state"]] {
        let said = sandbox.run(verb);
        assert_eq!(said.status, 0, "{verb:?}: {said:?}");
    }
    reloading.set_nonblocking(true).unwrap();
    let nothing = reloading.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(nothing, Err(std::io::ErrorKind::WouldBlock), "the sync was over: {}", daemon.log());
    daemon.kill();
}

#[test]
fn open_keep_alive_connections_do_not_hold_up_the_end() {
    let sandbox = Sandbox::with_sources(&sample());
    let daemon = sandbox.start_synced();
    let connections: Vec<UnixStream> = (0..5)
        .map(|_| {
            let mut stream = UnixStream::connect(sandbox.socket()).unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
            let mut bytes = [0; 16];
            stream.read_exact(&mut bytes).unwrap();
            stream
        })
        .collect();
    assert!(daemon.stop().success());
    drop(connections);
}

#[test]
fn the_shipped_units_keep_what_they_promise() {
    let units = place::root().join("resolverd/packaging/systemd");
    let text = |name: &str| std::fs::read_to_string(units.join(name)).unwrap();
    let service = text("resolverd.service");
    for line in [
        "Type=notify",
        "ExecStart=/usr/bin/resolverd serve --system",
        "User=resolverd",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        // It would turn the uid of every caller into the overflow uid, which is refused.
        "PrivateUsers=no",
        "SystemCallFilter=@system-service",
    ] {
        assert!(service.lines().any(|found| found == line), "{line}");
    }
    assert!(text("resolverd.socket").contains("ListenStream=/run/resolverd/resolverd.sock\n"));
    let admin = text("resolverd-admin.socket");
    assert!(admin.contains("FileDescriptorName=admin\n") && admin.contains("SocketMode=0600\n"));
    assert!(text("user/resolverd.socket").contains("ListenStream=%t/resolverd/resolverd.sock\n"));

    // Where the tool is there it has the last word; the lines above hold everywhere.
    let mut command = Command::new("systemd-analyze");
    command
        .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
        .arg(units.join("resolverd.service"));
    if let Ok(output) = command.output() {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
    }
}

/// Values that are read above only in part.
#[test]
fn the_socket_of_the_unit_is_the_one_of_the_program() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command();
    command.env_remove("RESOLVERD_SOCKET").args(["--system", "status", "-o", "json", "--sources"]);
    let said = Said::of(command.arg(sandbox.sources()));
    let status: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert_eq!(status["socket"], "/run/resolverd/resolverd.sock");
}
