//! A file system that this process serves by the protocol of FUSE: one empty directory of this user. It says what it is called, so
//! that a program finds it in the table of mounts as it would find one of another machine. Holds nothing and takes nothing.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::harness::daemon::Said;
use crate::harness::place;

/// The kinds of requests that are answered; the others are not known here.
const GETATTR: u32 = 3;
const STATFS: u32 = 17;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const DESTROY: u32 = 38;
/// No such entry, and no such call.
const ENOENT: i32 = 2;
const ENOSYS: i32 = 38;
const LOOKUP: u32 = 1;

/// A mounted file system, gone when dropped.
pub(crate) struct Fuse {
    path: PathBuf,
    asked: Arc<AtomicUsize>,
    server: Option<JoinHandle<()>>,
}

impl Fuse {
    /// Mounts an empty directory at `path`, of the kind `fuse.NAME`; `None` where that is not allowed.
    pub(crate) fn mount(path: &Path, name: &str) -> Option<Fuse> {
        if !rustix::process::geteuid().is_root() {
            place::skipped("only root can mount a file system");
            return None;
        }
        let device = match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
            Ok(device) => device,
            Err(error) => {
                place::absent(&format!("/dev/fuse cannot be opened: {error}"));
                return None;
            }
        };
        std::fs::create_dir_all(path).unwrap();
        rustix::io::fcntl_setfd(&device, rustix::io::FdFlags::empty()).unwrap();
        let number = device.as_raw_fd();
        let options = format!("fd={number},rootmode=40000,user_id=0,group_id=0");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let serving = device.try_clone().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let server = std::thread::spawn(move || serve(serving, &counted, &over));
        let mut command = Command::new("mount");
        command.args(["-i", "-t", &format!("fuse.{name}"), "-o", &options, name]).arg(path);
        let said = Said::of(&mut command);
        is_over.store(true, Ordering::Relaxed);
        if said.status != 0 {
            place::absent(&format!("no FUSE can be mounted: {}", said.stderr.trim()));
            return None;
        }
        drop(device);
        Some(Fuse { path: path.to_owned(), asked, server: Some(server) })
    }

    /// Returns how many requests there were.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.path).status();
        if status.is_ok_and(|status| status.success())
            && let Some(server) = self.server.take()
        {
            let _ = server.join();
        }
    }
}

/// Answers until the file system is unmounted, or was never mounted.
fn serve(mut device: File, asked: &AtomicUsize, is_over: &AtomicBool) {
    let mut request = vec![0; 1 << 20];
    loop {
        let length = match device.read(&mut request) {
            Ok(length) if length >= 40 => length,
            // Nobody has mounted it yet.
            Err(error) if error.raw_os_error() == Some(1) && !is_over.load(Ordering::Relaxed) => {
                std::thread::yield_now();
                continue;
            }
            _ => return,
        };
        let word = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        let (kind, unique) = (word(4), &request[8..16]);
        assert!(length >= 40);
        asked.fetch_add(1, Ordering::Relaxed);
        let (error, body) = match kind {
            INIT => (0, init()),
            GETATTR => (0, attributes()),
            STATFS => (0, vec![0; 80]),
            OPENDIR => (0, vec![0; 16]),
            DESTROY => return,
            LOOKUP => (-ENOENT, Vec::new()),
            _ => (-ENOSYS, Vec::new()),
        };
        let total = u32::try_from(16 + body.len()).unwrap();
        let answer = [&total.to_le_bytes()[..], &i32::to_le_bytes(error), unique, &body].concat();
        if device.write_all(&answer).is_err() {
            return;
        }
    }
}

/// Version 7.31 of the protocol, and no more than that.
fn init() -> Vec<u8> {
    let mut body = vec![0; 64];
    body[..4].copy_from_slice(&7u32.to_le_bytes());
    body[4..8].copy_from_slice(&31u32.to_le_bytes());
    // The most that is written at once.
    body[20..24].copy_from_slice(&4096u32.to_le_bytes());
    body
}

/// A directory for root alone.
fn attributes() -> Vec<u8> {
    let mut body = vec![0; 104];
    body[16..24].copy_from_slice(&1u64.to_le_bytes());
    body[76..80].copy_from_slice(&0o40700u32.to_le_bytes());
    body[80..84].copy_from_slice(&2u32.to_le_bytes());
    body
}
