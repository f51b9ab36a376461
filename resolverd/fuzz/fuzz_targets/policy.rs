//! Fuzzes `targets::policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::policy(bytes));
