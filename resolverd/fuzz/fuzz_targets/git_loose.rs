//! Fuzzes `targets::git_loose`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::git_loose(bytes));
