//! The program: hands arguments and environment to the command line, and its status to the system.

use std::process::ExitCode;

#[expect(clippy::disallowed_methods, reason = "the environment enters here and is handed down")]
fn main() -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    ExitCode::from(resolverd::cli::run(std::env::args_os(), &env))
}
