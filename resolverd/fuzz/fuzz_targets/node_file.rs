//! Fuzzes `targets::node_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::node_file(bytes));
