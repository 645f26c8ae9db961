//! The control plane: the API server and the network of edges.
//!
//! Owns what happens between a signed request and a committed record, and between a committed record and a task that
//! reads `success`. Never holds SQL text, and knows no feed's subjects.

mod network;

pub use network::{EdgeProgress, LEASE_RANGE, Network, NetworkSettings};
