//! Fuzzes `targets::forges`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::forges(bytes));
