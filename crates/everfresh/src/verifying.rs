//! `everfresh verify`: gives the run its clock, and ends it early on an interrupt, so that it cleans up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs until its time is over, or until SIGINT or SIGTERM.
pub(crate) fn run(args: &verify::VerifyArgs, world: &mut cli::World<'_>) -> cli::Exit {
    let interrupted = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&interrupted);
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            // Without signals the run ends by its time.
            if let Ok(signals) = crate::control_plane::Signals::listen() {
                signals.wait().await;
                told.store(true, Ordering::Relaxed);
            }
        });
    });
    let clock = edge::Clocks::with_wall(crate::wall_clock).boot;
    verify::run(args, world, &verify::Instruments { clock, interrupted })
}
