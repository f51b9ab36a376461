//! Fuzzes `targets::project_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::project_files(bytes));
