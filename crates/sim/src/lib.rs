//! A deterministic simulation of the real code: control plane, edges in tiers, feed, store, origin and clients in one
//! thread, from one seed, with time, network, disks and clocks simulated.
//!
//! What is real: everything of `control`, `edge`, `store` (on SQLite) and the ends of `feed`. What is simulated is what
//! they stand on: see [`machine`] for time and processes, [`network`] for what lies between them, `disk` for disks. A
//! [`plan`] of faults comes from the seed; [`checker`] holds every answer of a client against the promise.

mod chance;
mod checker;
mod clients;
mod control_plane;
mod disk;
mod feed_link;
mod lane;
mod machine;
mod network;
mod origin;
mod plan;
mod report;
mod stream;
mod sweep;
mod world;

pub use report::{EdgeCounts, Outcome, Report};
pub use sweep::{Sweep, Swept, Until, some_seed};

/// Runs one seed.
pub fn run(seed: u64) -> Outcome {
    world::World::new(seed).run()
}

/// Shows on the standard error what processes log, as far as this filter takes it, in simulated time.
pub fn show_log(filter: &str) {
    struct Simulated;
    impl tracing_subscriber::fmt::time::FormatTime for Simulated {
        fn format_time(&self, out: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
            write!(out, "{:9.3}", machine::now().as_secs_f64())
        }
    }
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_timer(Simulated)
        .with_writer(std::io::stderr)
        .init();
}

/// The command that runs a seed again.
pub fn replay(seed: u64) -> String {
    format!("cargo run -p sim -- --seed {seed}")
}
