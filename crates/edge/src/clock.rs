//! The two clocks of an edge.

use std::time::{Duration, SystemTime};

/// The clocks an edge reads. Functions, so that tests can stand in for time.
#[derive(Clone, Copy)]
pub struct Clocks {
    /// The wall clock: HTTP freshness and dates.
    pub wall: fn() -> SystemTime,
    /// Time since boot, sleep included (`CLOCK_BOOTTIME`): leases. Never goes back.
    pub boot: fn() -> Duration,
}

impl Clocks {
    /// The kernel's boot clock beside a wall clock.
    pub fn with_wall(wall: fn() -> SystemTime) -> Self {
        Self { wall, boot: boot_time }
    }
}

/// Time since boot. Unlike `Instant`, it runs on in suspend.
fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
