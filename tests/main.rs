//! The tests that need more than one module: the house rules, and the real binary on real sources over a real socket.
//!
//! One binary, so that everything is linked once. Every file here is a module of it; `tidy` holds that.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic and may say why it did not run"
)]

mod daemon;
mod equal_forms;
mod federation;
mod formats;
mod harness;
mod kill;
mod limits;
mod locality;
mod offline;
mod owns;
mod printed;
mod readme;
mod real_history;
mod socket;
mod system;
mod tidy;
