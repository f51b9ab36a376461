//! Fuzzes `targets::ids`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::ids(bytes));
