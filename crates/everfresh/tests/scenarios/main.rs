//! The whole path with real parts: `everfresh serve` with two edges, nginx as origin, and purges by the official
//! clients. What an origin was asked is read from its own log.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod parts;

mod api;
mod catching_up;
mod commands;
mod configuration;
mod crash;
mod cut_off;
mod disk;
mod instances;
mod joining;
mod large_files;
mod origin_tls;
mod paused;
mod prefetching;
mod process;
mod purging;
mod races;
mod settings;
mod tiers;
mod tls;
mod verifying;
