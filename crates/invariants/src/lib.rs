//! What must hold of everything that reads bytes from outside, whatever the bytes.
//!
//! Owns one function for each such reader. It takes any bytes, shows them to the reader and panics where an invariant
//! does not hold: what was read and is written again reads as the same; a normal form is its own normal form; the strict
//! check of framing and hyper see the same requests. Two things call them: the fuzzers in `fuzz/`, which search for bytes
//! by what they reach in the code, and the test of this crate, with bytes that were found before and seeded random ones.
//! Never part of what ships.

mod api;
mod configuration;
mod fields;
mod framing;
mod links;
mod urls;

pub use api::{parameters, signature};
pub use configuration::{cache_config, condition};
pub use fields::{cache_control, cache_tag, content_range, range, structured};
pub use framing::framing;
pub use links::feed;
pub use urls::url;

/// One reader of bytes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its fuzzer, of its words in `fuzz/words` and of its bytes in `fuzz/seeds`.
    pub name: &'static str,
    /// Panics if these bytes show that an invariant does not hold.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 12] = [
    Target { name: "cache_config", check: cache_config },
    Target { name: "cache_control", check: cache_control },
    Target { name: "cache_tag", check: cache_tag },
    Target { name: "condition", check: condition },
    Target { name: "content_range", check: content_range },
    Target { name: "feed", check: feed },
    Target { name: "framing", check: framing },
    Target { name: "parameters", check: parameters },
    Target { name: "range", check: range },
    Target { name: "signature", check: signature },
    Target { name: "structured", check: structured },
    Target { name: "url", check: url },
];
