//! Fuzzes `targets::node_git`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::node_git(bytes));
