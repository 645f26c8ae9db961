//! One real edge between a control plane, an origin and clients that do what the tests say.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod caching;
mod fencing;
mod framing;
mod limits;
mod prefetching;
mod promise;
mod purging;
mod storing;
mod world;
