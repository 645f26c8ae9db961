//! Machines: each has a runtime of its own, whose time is paused and moves with that of all others.
//!
//! All machines of a simulation run on one thread, one after the other, each up to the end of the same step. A step is as
//! long as the quickest message takes, so that nothing one machine does in a step can reach another in the same one.
//! A process that is killed is a runtime that is dropped, with every task it had spawned; one that is stopped
//! (`SIGSTOP`) is a runtime that is not run, whose timers are all late afterwards.

use crate::chance::Chance;
use std::cell::{Cell, RefCell};
use std::time::{Duration, SystemTime};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::Instant;

/// How long a step is, and the least that a message takes.
pub(crate) const STEP: Duration = Duration::from_millis(5);

/// Where machines stand in lists.
pub(crate) type MachineId = usize;

/// What a process sees of its machine while it runs.
#[derive(Clone, Copy)]
struct Running {
    machine: MachineId,
    /// The simulation's time at `began`.
    base: Duration,
    began: Instant,
    clock: ClockRate,
}

impl Running {
    /// In logs, whose line it is.
    fn span(self) -> tracing::span::EnteredSpan {
        tracing::error_span!("machine", number = self.machine).entered()
    }
}

/// How a machine's clocks go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClockRate {
    /// How much faster than time, in millionths.
    pub(crate) drift_ppm: i64,
    /// What the boot clock said when the simulation began.
    pub(crate) up_since: Duration,
    /// How far the wall clock is ahead, in milliseconds.
    pub(crate) wall_ahead_ms: i64,
}

thread_local! {
    static RUNNING: Cell<Option<Running>> = const { Cell::new(None) };
    /// The simulation's time between steps.
    static TIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static PANICS: Cell<u64> = const { Cell::new(0) };
    static RANDOM: RefCell<Vec<Chance>> = const { RefCell::new(Vec::new()) };
    /// Whether what ends now ends without a word to its peers: the machine lost its power.
    static IS_SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Counts panics from here on, of tasks too, which their runtimes keep to themselves.
fn watch_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            told(panic);
        }));
    });
    PANICS.set(0);
}

/// How many there were on this thread.
pub(crate) fn panics() -> u64 {
    PANICS.get()
}

/// The simulation's time, seen from whichever process runs.
pub(crate) fn now() -> Duration {
    match RUNNING.get() {
        Some(running) => running.base + (Instant::now() - running.began),
        None => TIME.get(),
    }
}

/// The moment of a runtime's clock at which the simulation's time will be `at`.
pub(crate) fn instant(at: Duration) -> Instant {
    match RUNNING.get() {
        Some(running) => running.began + at.saturating_sub(running.base),
        None => Instant::now(),
    }
}

/// Whether streams that are dropped now say so to the other end.
pub(crate) fn is_silent() -> bool {
    IS_SILENT.get()
}

/// The boot clock of the machine whose process runs.
pub(crate) fn boot_clock() -> Duration {
    let Some(running) = RUNNING.get() else { return TIME.get() };
    let ClockRate { drift_ppm, up_since, .. } = running.clock;
    let time = i64::try_from(now().as_nanos()).unwrap_or(i64::MAX);
    let drifted = time + time / 1_000_000 * drift_ppm;
    up_since + Duration::from_nanos(drifted.unsigned_abs())
}

/// The wall clock of the machine whose process runs.
pub(crate) fn wall_clock() -> SystemTime {
    // 2023-11-14T22:13:20Z, and a while more, so that a clock may be behind.
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let ahead_ms = RUNNING.get().map_or(0, |running| running.clock.wall_ahead_ms);
    let ahead = Duration::from_millis((ahead_ms + 100_000).unsigned_abs());
    start + ahead + now()
}

/// Random bytes for the process that runs.
pub(crate) fn randomness(bytes: &mut [u8]) -> Result<(), edge::NoRandomness> {
    let machine = RUNNING.get().ok_or(edge::NoRandomness)?.machine;
    RANDOM.with_borrow_mut(|all| {
        let chance = all.get_mut(machine).ok_or(edge::NoRandomness)?;
        for byte in bytes {
            *byte = chance.number().to_be_bytes()[0];
        }
        Ok(())
    })
}

/// Begins another simulation on this thread.
pub(crate) fn begin(seed: u64, machines: usize) {
    watch_panics();
    TIME.set(Duration::ZERO);
    let chances = (0..machines).map(|machine| Chance::new(seed, "bytes", machine as u64)).collect();
    RANDOM.with_borrow_mut(|all| *all = chances);
}

/// A step has ended for all machines.
pub(crate) fn set_time(time: Duration) {
    TIME.set(time);
}

/// A process and the machine it runs on.
pub(crate) struct Process {
    runtime: Option<Runtime>,
    running: Running,
    /// How far it has come.
    at: Duration,
}

impl Process {
    /// Starts one now, and lets it do `first`.
    pub(crate) fn start<T>(
        machine: MachineId,
        clock: ClockRate,
        first: impl Future<Output = T>,
    ) -> (Self, T) {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O takes nothing of the system");
        let base = TIME.get();
        let began = runtime.block_on(async { Instant::now() });
        let running = Running { machine, base, began, clock };
        RUNNING.set(Some(running));
        let named = running.span();
        let done = runtime.block_on(first);
        drop(named);
        let at = now_of(running, &runtime);
        RUNNING.set(None);
        (Self { runtime: Some(runtime), running, at }, done)
    }

    /// Runs it up to this time. If it was not run for a while, all its timers of that while are due at once.
    pub(crate) fn run(&mut self, from: Duration, to: Duration) {
        let Some(runtime) = &self.runtime else { return };
        RUNNING.set(Some(self.running));
        let _named = self.running.span();
        let (slept, end) = (from.saturating_sub(self.at), self.running.began + (to - self.running.base));
        runtime.block_on(async {
            if !slept.is_zero() {
                tokio::time::advance(slept).await;
            }
            tokio::time::sleep_until(end).await;
        });
        self.at = now_of(self.running, runtime);
        RUNNING.set(None);
    }

    /// Lets it do something at this very moment.
    pub(crate) fn now<T>(&self, something: impl Future<Output = T>) -> Option<T> {
        let runtime = self.runtime.as_ref()?;
        RUNNING.set(Some(self.running));
        let done = runtime.block_on(something);
        RUNNING.set(None);
        Some(done)
    }

    pub(crate) fn handle(&self) -> Option<Handle> {
        self.runtime.as_ref().map(|runtime| runtime.handle().clone())
    }

    /// Ends it at once. `is_silent`: its machine loses its power, and peers hear nothing.
    pub(crate) fn kill(mut self, is_silent: bool) {
        IS_SILENT.set(is_silent);
        drop(self.runtime.take());
        IS_SILENT.set(false);
    }
}

fn now_of(running: Running, runtime: &Runtime) -> Duration {
    let _entered = runtime.enter();
    running.base + (Instant::now() - running.began)
}
