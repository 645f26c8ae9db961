//! See `invariants::cache_config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::cache_config(bytes));
