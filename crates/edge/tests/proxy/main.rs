//! One real edge between a control plane, an origin and clients that do what the tests say.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod caching;
mod catching_up;
mod connections;
mod disk;
mod fast_lane;
mod fencing;
mod forwarding;
mod framing;
mod groups;
mod hand_over;
mod head_requests;
mod http2;
mod interim;
mod limits;
mod links;
mod memory;
mod min_seq;
mod operating;
mod origin_backup;
mod origin_bad;
mod origin_tls;
mod policies;
mod prefetching;
mod promise;
mod purging;
mod settings;
mod slices_model;
mod slices_on_disk;
mod slicing;
mod stale;
mod storing;
mod tiers;
mod tls;
mod unsafe_requests;
mod upgrades;
mod world;
