//! Fuzzes `targets::documents_list`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::documents_list(bytes));
