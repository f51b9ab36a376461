//! Fuzzes `targets::sources_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::sources_file(bytes));
