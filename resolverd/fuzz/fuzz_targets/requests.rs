//! Fuzzes `targets::requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::requests(bytes));
