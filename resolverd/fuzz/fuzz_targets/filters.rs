//! Fuzzes `targets::filters`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::filters(bytes));
