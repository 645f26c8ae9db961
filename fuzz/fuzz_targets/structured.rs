//! See `invariants::structured`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::structured(bytes));
