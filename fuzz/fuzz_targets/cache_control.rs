//! See `invariants::cache_control`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::cache_control(bytes));
