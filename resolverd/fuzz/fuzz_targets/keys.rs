//! Fuzzes `targets::keys`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::keys(bytes));
