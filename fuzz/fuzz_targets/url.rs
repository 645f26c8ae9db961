//! See `invariants::url`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::url(bytes));
