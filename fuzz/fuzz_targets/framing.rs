//! See `invariants::framing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::framing(bytes));
