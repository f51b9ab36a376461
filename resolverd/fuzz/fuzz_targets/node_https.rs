//! Fuzzes `targets::node_https`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::node_https(bytes));
