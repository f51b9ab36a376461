//! Fuzzes `targets::pointers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::pointers(bytes));
