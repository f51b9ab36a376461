//! The program: hands arguments and environment to the command line, and its status to the system.

use std::process::ExitCode;

use rustix::fs::Mode;
use rustix::process::umask;
use tikv_jemallocator::Jemalloc;

/// Gives back what a sync no longer needs: an allocator that keeps a heap per thread holds on to it for good.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[expect(clippy::disallowed_methods, reason = "the environment enters here and is handed down")]
fn main() -> ExitCode {
    keep_own_rights();
    let env = |name: &str| std::env::var(name).ok();
    ExitCode::from(resolverd::cli::run(std::env::args_os(), &env))
}

/// Lets the owner read and write what is made, whatever umask this process was given: the index engine makes its files with what the
/// umask leaves, and could not open them again. What others may do stays as the umask says. No other thread runs yet.
fn keep_own_rights() {
    const OTHERS: u32 = 0o077;
    let before = umask(Mode::from_raw_mode(OTHERS));
    umask(before & Mode::from_raw_mode(OTHERS));
}
