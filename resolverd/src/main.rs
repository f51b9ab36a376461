//! The program: hands arguments and environment to the command line, and its status to the system.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Gives back what a sync no longer needs: an allocator that keeps a heap per thread holds on to it for good.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[expect(clippy::disallowed_methods, reason = "the environment enters here and is handed down")]
fn main() -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    ExitCode::from(resolverd::cli::run(std::env::args_os(), &env))
}
