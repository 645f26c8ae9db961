//! See `invariants::parameters`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::parameters(bytes));
