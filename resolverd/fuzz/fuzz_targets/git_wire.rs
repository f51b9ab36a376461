//! Fuzzes `targets::git_wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::git_wire(bytes));
