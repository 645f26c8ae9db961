//! See `invariants::cache_tag`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::cache_tag(bytes));
