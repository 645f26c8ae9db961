//! See `invariants::condition`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::condition(bytes));
