//! Fuzzes `targets::keysets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::keysets(bytes));
