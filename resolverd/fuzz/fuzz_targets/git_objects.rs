//! Fuzzes `targets::git_objects`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::git_objects(bytes));
