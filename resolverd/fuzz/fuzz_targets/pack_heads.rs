//! Fuzzes `targets::pack_heads`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::pack_heads(bytes));
