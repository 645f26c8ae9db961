//! What lies between machines: delays, partitions, connections, and who listens.

use crate::chance::{Chance, mix};
use crate::feed_link::FeedEnd;
use crate::lane::{Care, Lane, Waits};
use crate::machine::{MachineId, STEP};
use crate::stream::SimulatedStream;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Faults of the network.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) lost: Count,
    pub(crate) doubled: Count,
    pub(crate) overtaken: Count,
    pub(crate) delayed: Count,
    pub(crate) partitions: Count,
    pub(crate) refused: Count,
}

/// How quick the network of a simulation is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed {
    /// The least and the most that a message takes, in milliseconds.
    pub(crate) delay_ms: (u64, u64),
    /// How many in a thousand take much longer, and how long at most, in milliseconds.
    pub(crate) late: (u64, u64),
}

/// One direction between two machines.
#[derive(Clone)]
pub(crate) struct Path {
    pub(crate) net: Arc<Network>,
    pub(crate) from: MachineId,
    pub(crate) to: MachineId,
}

/// What comes to a machine that listens.
#[derive(Clone)]
pub(crate) enum Incoming {
    Stream(Arc<Mutex<Option<SimulatedStream>>>),
    Feed(Arc<Mutex<Option<FeedEnd>>>),
}

/// The network.
pub(crate) struct Network {
    pub(crate) seed: u64,
    speed: Speed,
    pub(crate) counts: Counts,
    lanes_made: Mutex<BTreeMap<(MachineId, MachineId), u64>>,
    lanes: Mutex<Vec<Weak<dyn Waits>>>,
    cuts: Mutex<BTreeSet<(MachineId, MachineId)>>,
    listening: Mutex<BTreeMap<MachineId, Arc<Lane<Incoming>>>>,
    /// No more faults: all is to become well.
    is_calm: Mutex<bool>,
}

impl Network {
    pub(crate) fn new(seed: u64, speed: Speed) -> Arc<Self> {
        Arc::new(Self {
            seed,
            speed,
            counts: Counts::default(),
            lanes_made: Mutex::default(),
            lanes: Mutex::default(),
            cuts: Mutex::default(),
            listening: Mutex::default(),
            is_calm: Mutex::new(false),
        })
    }

    pub(crate) fn next_lane(&self, from: MachineId, to: MachineId) -> u64 {
        let mut made = self.lanes_made.lock();
        let count = made.entry((from, to)).or_default();
        *count += 1;
        mix(mix((from as u64) << 32 | to as u64).wrapping_add(*count))
    }

    pub(crate) fn note_lane<T: Send + Clone + 'static>(&self, lane: &Arc<Lane<T>>) {
        let lane: Arc<dyn Waits> = Arc::clone(lane) as Arc<dyn Waits>;
        let mut lanes = self.lanes.lock();
        if lanes.len() % 64 == 63 {
            lanes.retain(|lane| lane.strong_count() > 0);
        }
        lanes.push(Arc::downgrade(&lane));
    }

    /// How long a message takes.
    pub(crate) fn delay(&self, chance: &mut Chance, _from: MachineId, _to: MachineId) -> Duration {
        let (least, most) = self.speed.delay_ms;
        let delay = chance.millis(least, most + 1).max(STEP);
        if !*self.is_calm.lock() && chance.permille(self.speed.late.0) {
            self.counts.delayed.add();
            return delay + chance.millis(1, self.speed.late.1);
        }
        delay
    }

    /// What is sent on a careless lane while its path is cut is lost, or waits.
    pub(crate) fn is_lost(&self, from: MachineId, to: MachineId, chance: &mut Chance) -> bool {
        self.is_cut(from, to) && chance.permille(500)
    }

    pub(crate) fn is_calm(&self) -> bool {
        *self.is_calm.lock()
    }

    pub(crate) fn is_cut(&self, from: MachineId, to: MachineId) -> bool {
        self.cuts.lock().contains(&(from, to))
    }

    /// Cuts two machines off from each other, or in one direction only.
    pub(crate) fn cut(&self, from: MachineId, to: MachineId) {
        self.counts.partitions.add();
        self.cuts.lock().insert((from, to));
    }

    pub(crate) fn mend(&self, from: MachineId, to: MachineId) {
        self.cuts.lock().remove(&(from, to));
        self.wake_all();
    }

    /// From here on there are no faults.
    pub(crate) fn calm(&self) {
        *self.is_calm.lock() = true;
        self.cuts.lock().clear();
        self.wake_all();
    }

    fn wake_all(&self) {
        let lanes: Vec<_> = self.lanes.lock().iter().filter_map(Weak::upgrade).collect();
        for lane in lanes {
            lane.wake();
        }
    }

    /// Where connections to a machine arrive from now on.
    pub(crate) fn listen(self: &Arc<Self>, machine: MachineId) -> Arc<Lane<Incoming>> {
        let path = Path { net: Arc::clone(self), from: machine, to: machine };
        let lane = Lane::new(&path, Care::Ordered, usize::MAX);
        self.listening.lock().insert(machine, Arc::clone(&lane));
        lane
    }

    /// Nobody listens there any more.
    pub(crate) fn close(&self, machine: MachineId) {
        self.listening.lock().remove(&machine);
    }

    /// Waits for a message there and back, and for the path to be mended. Whether somebody listens then.
    pub(crate) async fn reach(
        self: &Arc<Self>,
        from: MachineId,
        to: MachineId,
    ) -> io::Result<Arc<Lane<Incoming>>> {
        let number = self.next_lane(from, to);
        let mut chance = Chance::new(self.seed, "reach", number);
        let trip = self.delay(&mut chance, from, to) + self.delay(&mut chance, to, from);
        tokio::time::sleep(trip).await;
        while self.is_cut(from, to) || self.is_cut(to, from) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let listening = self.listening.lock().get(&to).cloned();
        listening.ok_or_else(|| {
            self.counts.refused.add();
            io::ErrorKind::ConnectionRefused.into()
        })
    }

    /// Opens a stream of bytes.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        from: MachineId,
        to: MachineId,
    ) -> io::Result<SimulatedStream> {
        let listening = self.reach(from, to).await?;
        let (near, far) = SimulatedStream::pair(self, from, to);
        let incoming = Incoming::Stream(Arc::new(Mutex::new(Some(far))));
        listening.send(None, incoming, 0).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(near)
    }
}

/// How long ago, for texts.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}
