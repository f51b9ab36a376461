//! What the system says of processes and of itself: processor time, memory, load. Reads `/proc`; never writes anywhere.

use std::path::Path;
use std::process::Command;

use rustix::time::{ClockId, clock_gettime};

use crate::Trouble;

/// How many ticks of `/proc/PID/stat` make a second; Linux shows user space 100 whatever it counts itself.
const TICKS_PER_SECOND: f64 = 100.0;

/// Returns the processor time of a process in seconds, all of its threads together.
pub(crate) fn cpu_s(pid: u32) -> Result<f64, Trouble> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / TICKS_PER_SECOND)
}

/// Returns the processor time of this thread, in seconds.
pub(crate) fn thread_s() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Returns the processor time of the threads that a process has now, in seconds, to the nanosecond where the kernel tells it. Those
/// that ended are not in it.
pub(crate) fn busy_s(pid: u32) -> Result<f64, Trouble> {
    let mut nanoseconds = 0.0;
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = std::fs::read_to_string(entry?.path().join("schedstat")) else { return cpu_s(pid) };
        nanoseconds += text.split(' ').next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    }
    Ok(nanoseconds / 1e9)
}

/// A thread of a process.
#[derive(Debug, Clone)]
pub(crate) struct Thread {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// From -20 to 19, the least urgent.
    pub(crate) nice: i32,
    /// Processor time in seconds.
    pub(crate) cpu_s: f64,
}

/// Returns the threads of a process; one that ends meanwhile may be missing.
pub(crate) fn threads(pid: u32) -> Result<Vec<Thread>, Trouble> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
        let Some((head, tail)) = text.rsplit_once(')') else { continue };
        let (id, name) = head.split_once('(').unwrap_or((head, ""));
        let fields: Vec<f64> =
            tail.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0.0)).collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or(0.0);
        threads.push(Thread {
            id: id.trim().parse()?,
            name: name.to_owned(),
            nice: field(15) as i32,
            cpu_s: (field(10) + field(11)) / TICKS_PER_SECOND,
        });
    }
    Ok(threads)
}

/// What a process holds in memory, in bytes: now, and at its highest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

/// Returns what a process holds in memory.
pub(crate) fn memory(pid: u32) -> Result<Memory, Trouble> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim_matches([':', '\t', ' ', 'k', 'B']).parse::<u64>().ok());
        number.unwrap_or(0) << 10
    };
    Ok(Memory { now: field("VmRSS"), peak: field("VmHWM") })
}

/// Returns how many bytes of memory a process of this one may have before the kernel ends it: what the machine has, or less where the
/// control group says so.
pub(crate) fn memory_max() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // What a group may have its parents may forbid.
    let groups = Path::new("/sys/fs/cgroup").join(own);
    let groups = groups.ancestors().take_while(|group| group.starts_with("/sys/fs/cgroup"));
    let most = groups.filter_map(|group| {
        std::fs::read_to_string(group.join("memory.max")).ok()?.trim().parse::<u64>().ok()
    });
    most.chain(total.map(|kilobytes| kilobytes << 10)).min().unwrap_or(u64::MAX)
}

/// Returns how many bytes a process has caused to be written to disks.
pub(crate) fn bytes_written(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// Returns the load averages.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Describes the machine in one line.
pub(crate) fn described() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get());
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let model = model.trim_matches([':', '\t', ' ']);
    format!("{cpus} processors ({model}), Linux {}", kernel.trim())
}

/// Returns the revision that is measured; `+` behind it says that the work tree has changes.
pub(crate) fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let is_changed = !git(&["status", "--porcelain", "--untracked-files=no"]).is_empty();
    format!("{}{}", git(&["rev-parse", "--short=12", "HEAD"]), if is_changed { "+" } else { "" })
}

/// Makes a command that runs `program` on one processor, or anywhere where the machine has one only or no `taskset`.
pub(crate) fn pinned(program: &Path, cpu: Option<usize>) -> Command {
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get());
    match cpu.filter(|cpu| *cpu < cpus && can_pin()) {
        Some(cpu) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &cpu.to_string()]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Tells whether processes can be kept on one processor.
pub(crate) fn can_pin() -> bool {
    Command::new("taskset").args(["-c", "0", "true"]).status().is_ok_and(|status| status.success())
}
