//! Fuzzes `targets::git_pack`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::git_pack(bytes));
