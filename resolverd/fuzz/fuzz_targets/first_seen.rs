//! Fuzzes `targets::first_seen`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::first_seen(bytes));
