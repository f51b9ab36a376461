//! The servers that are measured, as processes: the daemon itself over a federation, and the baseline. Each lives in a directory
//! of its own and is killed when it is dropped. Never reads or writes outside of that directory.

use std::fs::{File, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use resolverd::config::ADMIN_SOCKET;
use serde_json::Value;

use crate::Trouble;
use crate::data::Federation;
use crate::load::{Plan, Seen, Slow};
use crate::machine::pinned;

/// How long a server may take to do what it was told.
const PATIENCE: Duration = Duration::from_secs(300);

/// A process that answers on a socket.
pub(crate) struct Server {
    child: Child,
    pub(crate) socket: PathBuf,
    /// Where this program asks by itself: one user has so many connections at the main socket of the daemon, and a load takes them all.
    beside: PathBuf,
    /// When it was started.
    pub(crate) started: Instant,
}

impl Server {
    /// Starts the baseline with bodies of `body_bytes`.
    pub(crate) fn hello(
        directory: &Path,
        kind: &str,
        body_bytes: usize,
        cpu: Option<usize>,
    ) -> Result<Server, Trouble> {
        let socket = directory.join(format!("{kind}.sock"));
        let _ = std::fs::remove_file(&socket);
        let mut command = pinned(&std::env::current_exe()?, cpu);
        command.args([kind]).arg(&socket).arg(body_bytes.to_string());
        Server::spawn(command, socket)
    }

    /// Starts `command`, which listens on `socket`.
    pub(crate) fn spawn(mut command: Command, socket: PathBuf) -> Result<Server, Trouble> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        Ok(Server { child: command.spawn()?, beside: socket.clone(), socket, started })
    }

    /// Returns the process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells whether the process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<bool, Trouble> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Asks once and returns status and body; a server that does not listen yet is asked again.
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: &str) -> Result<(u16, Vec<u8>), Trouble> {
        let started = Instant::now();
        loop {
            match ask(&self.beside, method, target, body) {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    if let Some(status) = self.child.try_wait()? {
                        return Err(Trouble::say(format!("the server ended: {status}")));
                    }
                    if started.elapsed() > PATIENCE {
                        return Err(error);
                    }
                    std::thread::sleep(Duration::from_micros(500));
                }
            }
        }
    }

    /// Asks for JSON.
    pub(crate) fn json(&mut self, method: &str, target: &str, body: &str) -> Result<Value, Trouble> {
        let (_, body) = self.ask(method, target, body)?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Waits until the daemon serves a generation of at least this number, and returns it.
    pub(crate) fn wait_for_generation(&mut self, number: u64) -> Result<u64, Trouble> {
        let started = Instant::now();
        loop {
            let found = self.generation()?;
            if found >= number {
                return Ok(found);
            }
            if started.elapsed() > PATIENCE {
                let ready = self.json("GET", "/v1/sources", "")?;
                return Err(Trouble::say(format!("generation {found} is still in force: {ready}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until something is so.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&mut Server) -> Result<bool, Trouble>,
    ) -> Result<(), Trouble> {
        let started = Instant::now();
        while !is_so(self)? {
            if started.elapsed() > PATIENCE {
                return Err(Trouble::say(format!("waited too long until {what}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Returns how many connections the daemon counts, this one included.
    pub(crate) fn connections(&mut self) -> Result<usize, Trouble> {
        let (_, body) = self.ask("GET", "/metrics", "")?;
        let text = String::from_utf8_lossy(&body);
        let count = text.lines().find_map(|line| line.strip_prefix("resolverd_connections ")?.parse().ok());
        count.ok_or_else(|| Trouble::say("the metrics count no connections"))
    }

    /// Lets every user reach the socket, whose way from `top` on is opened too.
    pub(crate) fn open_to_all(&self, top: &Path) -> Result<(), Trouble> {
        for directory in self.socket.ancestors().skip(1).take_while(|one| one.starts_with(top)) {
            std::fs::set_permissions(directory, Permissions::from_mode(0o755))?;
        }
        Ok(std::fs::set_permissions(&self.socket, Permissions::from_mode(0o666))?)
    }

    /// Returns the number of the generation that is served; 0 where there is none.
    pub(crate) fn generation(&mut self) -> Result<u64, Trouble> {
        let health = self.json("GET", "/v1/health", "")?;
        Ok(health["generation"].as_u64().unwrap_or(0))
    }

    /// Ends the process as a service manager would, and waits for it.
    pub(crate) fn stop(mut self) -> Result<(), Trouble> {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(std::io::Error::from)?;
        }
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file of the policy, in a place that has one.
const POLICY: &str = "trust.toml";

/// The file of the configuration, likewise.
const CONFIG: &str = "config.toml";

/// A place for one daemon.
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
}

impl Place {
    /// Makes an empty place.
    pub(crate) fn new(directory: PathBuf) -> Result<Place, Trouble> {
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        std::fs::create_dir_all(&directory)?;
        Ok(Place { directory })
    }

    /// Returns the state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Pins the sources to one commit of a federation, in one rename.
    pub(crate) fn pin(&self, federation: &Federation, step: usize) -> Result<(), Trouble> {
        let fresh = self.directory.join("sources.json.new");
        std::fs::write(&fresh, federation.sources_file(step).to_string())?;
        Ok(std::fs::rename(fresh, self.directory.join("sources.json"))?)
    }

    /// Lets the daemons of this place start with these lines as their configuration.
    pub(crate) fn configure(&self, text: &str) -> Result<(), Trouble> {
        Ok(std::fs::write(self.directory.join(CONFIG), text)?)
    }

    /// Returns where the policy lies.
    pub(crate) fn policy_file(&self) -> PathBuf {
        self.directory.join(POLICY)
    }

    /// Puts the federation's policy of this version into force, in one rename; nothing where it has none.
    pub(crate) fn rule(&self, federation: &Federation, version: u64) -> Result<(), Trouble> {
        let Some(text) = federation.policy(version) else { return Ok(()) };
        let fresh = self.directory.join("trust.toml.new");
        std::fs::write(&fresh, text)?;
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o644))?;
        Ok(std::fs::rename(fresh, self.policy_file())?)
    }

    /// Starts the daemon, under the policy that lies in the place, and does not wait for it.
    pub(crate) fn start(&self, cpu: Option<usize>) -> Result<Server, Trouble> {
        let mut command = pinned(Path::new(env!("CARGO_BIN_EXE_resolverd")), cpu);
        let inside = |name: &str| self.directory.join(name);
        let socket = inside("run/resolverd.sock");
        command.env_clear().env("HOME", inside("home")).env("RESOLVERD_LOG", "warn").env("NO_COLOR", "1");
        command.env("PATH", "/usr/bin:/bin").env("XDG_CACHE_HOME", inside("cache"));
        command.current_dir(&self.directory);
        command.arg("serve").arg("--sources").arg(inside("sources.json"));
        command.arg("--state-dir").arg(self.state()).arg("--socket").arg(&socket);
        if inside(CONFIG).exists() {
            command.arg("--config").arg(inside(CONFIG));
        }
        if self.policy_file().exists() {
            command.arg("--policy").arg(self.policy_file());
        }
        command.stderr(File::create(inside("daemon.log"))?);
        let mut server = Server::spawn(command, socket)?;
        server.beside = server.socket.with_file_name(ADMIN_SOCKET);
        Ok(server)
    }
}

fn ask(socket: &Path, method: &str, target: &str, body: &str) -> Result<(u16, Vec<u8>), Trouble> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{kind}content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or_else(|| Trouble::say("an answer without a head"))?;
    let status = String::from_utf8_lossy(&answer[..end]);
    let status = status.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok((status, answer.split_off(end + 4)))
}

/// Runs the load client as a process of its own, pinned to `cpu`.
pub(crate) fn load(plan: &Plan, cpu: Option<usize>) -> Result<Seen, Trouble> {
    let child = start_load(plan, cpu)?;
    finish_load(child)
}

/// Starts the load client.
pub(crate) fn start_load(plan: &Plan, cpu: Option<usize>) -> Result<Child, Trouble> {
    Ok(load_client(plan, cpu)?.spawn()?)
}

/// Starts the load client as another user, which takes root.
pub(crate) fn start_load_as(uid: u32, plan: &Plan, cpu: Option<usize>) -> Result<Child, Trouble> {
    Ok(load_client(plan, cpu)?.uid(uid).gid(uid).current_dir("/").spawn()?)
}

fn load_client(plan: &Plan, cpu: Option<usize>) -> Result<Command, Trouble> {
    let mut command = pinned(&std::env::current_exe()?, cpu);
    command.arg("load").arg(serde_json::to_string(plan)?).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// Slow connections of one user, as a process of its own; they end when it is dropped.
pub(crate) struct Crowd(Child);

impl Crowd {
    /// Opens slow connections as another user, which takes root, and waits until they are open.
    pub(crate) fn open(uid: u32, slow: &Slow, cpu: Option<usize>) -> Result<Crowd, Trouble> {
        let mut command = pinned(&std::env::current_exe()?, cpu);
        command.arg("slow").arg(serde_json::to_string(slow)?).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut crowd = Crowd(command.uid(uid).gid(uid).current_dir("/").spawn()?);
        let mut line = String::new();
        if let Some(out) = crowd.0.stdout.as_mut() {
            BufReader::new(out).read_line(&mut line)?;
        }
        match line.trim().parse() == Ok(slow.connections) {
            true => Ok(crowd),
            false => Err(Trouble::say(format!("user {uid} could not open {} connections", slow.connections))),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for what the load client saw.
pub(crate) fn finish_load(child: Child) -> Result<Seen, Trouble> {
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(Trouble::say("the load client failed"));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
