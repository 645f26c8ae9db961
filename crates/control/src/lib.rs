//! The control plane: the API server and the network of edges.
//!
//! Owns what happens between a signed request and a committed record ([`api`], [`recorder`]), and between a committed
//! record and a task that reads `success` ([`Network`]). Never holds SQL text, and knows no feed's subjects.

pub mod api;
pub mod listen;
mod network;
pub mod rate;
pub mod recorder;
pub mod tls;

pub use network::{EdgeProgress, LEASE_RANGE, Network, NetworkSettings};
