//! What a seed decides before anything runs: who there is, how quick things are, and which faults come when.

use crate::chance::Chance;
use crate::lane::Care;
use crate::machine::ClockRate;
use crate::network::Speed;
use std::time::Duration;

/// For how long there are faults.
pub(crate) const STORMY: Duration = Duration::from_secs(10);

/// For how long at most a network without faults may take until all is well.
pub(crate) const CALM_MAX: Duration = Duration::from_secs(40);

/// An edge.
#[derive(Clone, Debug)]
pub(crate) struct EdgePlan {
    /// Which edges it asks instead of the origin, by their place among the edges.
    pub(crate) parents: Vec<usize>,
    pub(crate) clock: ClockRate,
    pub(crate) sweep: Duration,
    pub(crate) tier_wait: Duration,
    pub(crate) honours_directives: bool,
    /// How slow its disk is, if it has one: between steps, and for a read, in milliseconds.
    pub(crate) disk: Option<((u64, u64), (u64, u64))>,
}

/// A fault. Edges are meant by their place among the edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An edge and the control plane are cut off from each other, both ways or one way.
    CutFeed(usize, Direction),
    CutOrigin(usize),
    CutTier(usize, usize),
    BreakLink(usize),
    /// Stopped, as by `SIGSTOP`, and continued.
    Freeze(usize),
    /// Killed; with its machine, if the power fails.
    Kill(usize, Power),
    /// Told to end.
    Stop(usize),
    FailDisk(usize),
    FreezeControl,
    KillControl,
    /// The log forgets what edges may still want: all but so many entries.
    TrimLog(u64),
    RenewEpoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Both,
    ToEdge,
    ToControl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    On,
    Fails,
}

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) lease: Duration,
    pub(crate) edges: Vec<EdgePlan>,
    pub(crate) control_clock: ClockRate,
    pub(crate) speed: Speed,
    pub(crate) care: Care,
    pub(crate) clients: u64,
    pub(crate) client_pause_ms: (u64, u64),
    pub(crate) purge_pause_ms: (u64, u64),
    /// When each begins, and how long it lasts.
    pub(crate) faults: Vec<(Duration, Fault, Duration)>,
}

/// Who asks whom, by the places of the edges.
const SHAPES: [&[&[usize]]; 7] = [
    &[&[]],
    &[&[], &[]],
    &[&[1], &[]],
    &[&[2], &[2], &[]],
    &[&[1], &[2], &[]],
    &[&[2, 1], &[], &[]],
    &[&[3], &[3], &[], &[2]],
];

fn clock(chance: &mut Chance) -> ClockRate {
    // Any two differ by less than 1 %.
    let drift_ppm = i64::try_from(chance.below(9_900)).unwrap_or(0) - 4_950;
    ClockRate {
        drift_ppm,
        up_since: Duration::from_secs(chance.below(1_000_000)),
        wall_ahead_ms: i64::try_from(chance.below(3000)).unwrap_or(0) - 1500,
    }
}

impl Plan {
    /// What this seed decides.
    pub(crate) fn of(seed: u64) -> Self {
        let chance = &mut Chance::new(seed, "plan", 0);
        let shape = *chance.of(&SHAPES);
        let lease = *chance.of(&[Duration::from_millis(600), Duration::from_secs(1), Duration::from_secs(2)]);
        let edges: Vec<EdgePlan> = shape
            .iter()
            .map(|parents| EdgePlan {
                parents: parents.to_vec(),
                clock: clock(chance),
                sweep: chance.millis(200, 4000),
                tier_wait: chance.millis(0, 400),
                honours_directives: chance.permille(200),
                disk: chance.permille(600).then(|| {
                    let (pause, read) = if chance.permille(250) { (12, 400) } else { (2, 10) };
                    ((1, 1 + pause), (0, 1 + read))
                }),
            })
            .collect();
        let most = chance.within(10, 60);
        let speed = Speed { delay_ms: (5, most), late: (chance.below(40), chance.within(50, 900)) };
        let care = match chance.below(3) {
            0 => Care::Careless { lost: 0, doubled: 0, late: 0 },
            _ => Care::Careless { lost: chance.below(60), doubled: chance.below(60), late: chance.below(60) },
        };
        let intensity = *chance.of(&[0, 400, 1000, 2000]);
        let faults = faults(chance, &edges, lease, intensity);
        let pause = chance.within(20, 120);
        let purge_pause = chance.within(100, 900);
        Self {
            lease,
            edges,
            control_clock: clock(chance),
            speed,
            care,
            clients: chance.within(2, 6),
            client_pause_ms: (0, pause),
            purge_pause_ms: (0, purge_pause),
            faults,
        }
    }
}

/// Faults over time, so many in a thousand seconds.
fn faults(
    chance: &mut Chance,
    edges: &[EdgePlan],
    lease: Duration,
    intensity: u64,
) -> Vec<(Duration, Fault, Duration)> {
    let mut faults = Vec::new();
    let stormy_ms = u64::try_from(STORMY.as_millis()).unwrap_or(0);
    let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(0);
    let count = stormy_ms * intensity / 1_000_000;
    for _ in 0..count + chance.below(2) * u64::from(intensity > 0) {
        let at = chance.millis(500, stormy_ms);
        let edge = chance.index(edges.len());
        let (fault, least, most) = match chance.below(100) {
            0..18 => {
                let direction = *chance.of(&[Direction::Both, Direction::ToEdge, Direction::ToControl]);
                (Fault::CutFeed(edge, direction), 50, 3 * lease_ms)
            }
            18..24 => (Fault::CutOrigin(edge), 50, 3000),
            24..30 => match edges[edge].parents.first() {
                Some(parent) => (Fault::CutTier(edge, *parent), 50, 3000),
                None => continue,
            },
            30..37 => (Fault::BreakLink(edge), 0, 1),
            37..52 => (Fault::Freeze(edge), 20, 3 * lease_ms),
            52..62 => (Fault::Kill(edge, Power::On), 20, 2 * lease_ms),
            62..70 => (Fault::Kill(edge, Power::Fails), 20, 2 * lease_ms),
            70..75 => (Fault::Stop(edge), 1500, 2500),
            75..79 => (Fault::FailDisk(edge), 100, 2000),
            79..85 => (Fault::FreezeControl, 20, lease_ms),
            85..93 => (Fault::KillControl, 20, 2 * lease_ms),
            93..97 => (Fault::TrimLog(chance.below(3)), 0, 1),
            _ => (Fault::RenewEpoch, 0, 1),
        };
        faults.push((at, fault, chance.millis(least, most.max(least + 1))));
    }
    faults.sort_by_key(|(at, _, _)| *at);
    faults
}
