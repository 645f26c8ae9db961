//! See `invariants::content_range`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::content_range(bytes));
