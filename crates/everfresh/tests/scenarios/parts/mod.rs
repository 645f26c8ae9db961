//! The real parts that scenarios are made of: `everfresh` itself, nginx, the official clients, and an origin whose
//! answers a test holds in its hand. Every process ends with the value that stands for it.

pub(crate) mod control;
pub(crate) mod everfresh;
pub(crate) mod held_origin;
pub(crate) mod http;
pub(crate) mod nginx;
#[path = "../../../../store/tests/postgres_server/mod.rs"]
pub(crate) mod postgres_server;
pub(crate) mod process;
pub(crate) mod sdk;
pub(crate) mod tccli;

pub(crate) use everfresh::{Edge, Everfresh, Serve};
pub(crate) use held_origin::HeldOrigin;
pub(crate) use nginx::Nginx;
pub(crate) use process::until;
pub(crate) use sdk::Sdk;
