//! Fuzzes `targets::shelf_pack`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::shelf_pack(bytes));
