//! See `invariants::range`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::range(bytes));
