//! Fuzzes `targets::store_row`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::store_row(bytes));
