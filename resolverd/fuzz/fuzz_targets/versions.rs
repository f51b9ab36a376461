//! Fuzzes `targets::versions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::versions(bytes));
