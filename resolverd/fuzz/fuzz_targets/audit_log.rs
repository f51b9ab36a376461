//! Fuzzes `targets::audit_log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::audit_log(bytes));
