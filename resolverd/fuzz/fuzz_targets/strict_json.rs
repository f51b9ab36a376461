//! Fuzzes `targets::strict_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::strict_json(bytes));
