//! Fuzzes `targets::config_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::config_file(bytes));
