//! Fuzzes `targets::pack_index`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::pack_index(bytes));
