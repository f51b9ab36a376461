//! Fuzzes `targets::escapes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::escapes(bytes));
