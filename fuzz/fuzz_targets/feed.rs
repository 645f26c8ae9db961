//! See `invariants::feed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::feed(bytes));
