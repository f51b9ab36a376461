//! The tests that need more than one module: the house rules, and the real binary on real sources over a real socket.
//!
//! One binary, so that everything is linked once. Every file here is a module of it; `tidy` holds that.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic and may say why it did not run"
)]

mod archives;
mod attack;
mod audit;
mod bundle;
mod calls;
mod catalogue_rows;
mod clock;
mod crash;
mod daemon;
mod damage;
mod doctor;
mod documents;
mod equal_forms;
mod estream;
mod estream_size;
mod events;
mod examples;
mod explain;
mod faults;
mod federation;
mod files;
mod foreign;
mod formats;
mod fuzz;
mod git_rows;
mod git_wire;
mod harness;
mod https;
mod install;
mod json_corpus;
mod key_rows;
mod keys;
mod keysets;
mod kill;
mod life;
mod limits;
mod live_registry;
mod locality;
mod lock;
mod materialize;
mod metrics;
mod name_rows;
mod network;
mod offline;
mod overlay;
mod owns;
mod pack;
mod parsers;
mod places;
mod power;
mod printed;
mod progress;
mod publish;
mod readme;
mod real_history;
mod registries;
mod rehearsal;
mod rewrite;
mod rollback;
mod rows;
mod search;
mod service;
mod seven;
mod snapshots;
mod soak;
mod socket;
mod solve;
mod stale;
mod sync_rows;
mod system;
mod tidy;
mod toxics;
mod transport;
mod trust;
mod vectors;
mod watch;
