//! The control plane: the API server and the network of edges.
//!
//! Owns what happens between a signed request and a committed record ([`api`], [`recorder`]), and between a committed
//! record and a task that reads `success` ([`Network`]). Never holds SQL text, and knows no feed's subjects.

mod admin;
pub mod api;
pub mod listen;
mod metrics;
mod network;
pub mod rate;
pub mod recorder;
pub mod tls;

pub use admin::{AdminExposed, admin_router, check_admin_address};
pub use network::{EdgeGate, EdgeProgress, LEASE_RANGE, Network, NetworkSettings};
