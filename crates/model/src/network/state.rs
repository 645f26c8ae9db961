//! One state of a network: small integers in fixed places, so that tens of millions of states fit in memory.
//!
//! Invariant: a state is normal before it is compared: requests are sorted, and what no step can tell apart any more
//! (a lease that is over, the acceptance of a task that succeeded) is set to one value.

use crate::event::{Event, Events};
use crate::state::{Content, Entry, Method, Scope, Seq, Tick};

pub(crate) const EDGES: usize = 3;
pub(crate) const TASKS: usize = 4;
pub(crate) const REQUESTS: usize = 3;

/// The epoch of a process that follows no log yet.
pub(crate) const NO_EPOCH: u8 = u8::MAX;

/// A seq and the epoch it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) epoch: u8,
    pub(crate) seq: Seq,
}

impl Position {
    /// A seq of another epoch counts as 0.
    pub(crate) fn on(self, epoch: u8) -> Seq {
        if self.epoch == epoch { self.seq } else { 0 }
    }
}

/// A task that was committed once, also if the log has lost it since. Its place is its *moment*: how many were
/// committed before it, ever, as the promise counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Task {
    pub(crate) entry: Entry,
    pub(crate) accepted_at: Tick,
}

pub(crate) const NO_TASK: Task =
    Task { entry: Entry { scope: Scope::Url, method: Method::Delete }, accepted_at: 0 };

/// The newest seq of each method that purges an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Newest {
    pub(crate) deleted: Seq,
    pub(crate) invalidated: Seq,
}

impl Newest {
    pub(crate) fn with(self, other: Newest) -> Newest {
        Newest {
            deleted: self.deleted.max(other.deleted),
            invalidated: self.invalidated.max(other.invalidated),
        }
    }

    pub(crate) fn newest(self) -> Seq {
        self.deleted.max(self.invalidated)
    }
}

/// Marks: of the URL, and of the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Marks {
    pub(crate) url: Newest,
    pub(crate) tag: Newest,
}

impl Marks {
    pub(crate) fn add(&mut self, entry: Entry, seq: Seq) {
        let of = match entry.scope {
            Scope::Url => &mut self.url,
            Scope::Tag => &mut self.tag,
        };
        match entry.method {
            Method::Delete => of.deleted = seq,
            Method::Invalidate => of.invalidated = seq,
        }
    }

    /// Without those at or below a seq.
    pub(crate) fn above(self, seq: Seq) -> Marks {
        let keep = |mark: Seq| if mark > seq { mark } else { 0 };
        let of =
            |newest: Newest| Newest { deleted: keep(newest.deleted), invalidated: keep(newest.invalidated) };
        Marks { url: of(self.url), tag: of(self.tag) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Object {
    pub(crate) born: Position,
    /// Of the same epoch.
    pub(crate) checked: Seq,
    pub(crate) tagged: bool,
    /// The invalidate that a sweep or an admission found above born; 0 if none.
    pub(crate) stale: Seq,
    pub(crate) content: Content,
}

/// What a child tells with its request, and what the node it asks reads for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Told {
    pub(crate) floor: Position,
    pub(crate) lease: bool,
    /// What purged the child's own copy.
    pub(crate) hit: Newest,
}

/// How far a fetch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Under way to a parent, or waiting there for another's fetch to end.
    Sent { to: u8, told: Told },
    /// The parent has read its lease (either held: `told.lease`) and its `seen`.
    At { to: u8, told: Told, seen: Position },
    /// It takes part in the parent's fetch: sent it, or follows.
    On { to: u8, told: Told, seen: Position, follows: bool },
    /// The parent's fetch that it may not join is under way.
    Waits { to: u8, told: Told },
    /// The origin was asked at this moment.
    Origin { at: Seq },
    /// The answer's head and body are under way back.
    Answered { not_modified: bool, tagged: bool, content: Content },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    pub(crate) born: Position,
    /// The object whose validator was sent along.
    pub(crate) base: Option<Object>,
    /// Whether the stored object is still that one.
    pub(crate) current: bool,
    pub(crate) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Row {
    Absent,
    Member { acked: Seq },
    Leaving { acked: Seq, since: Tick },
}

/// What an edge keeps beside its objects, as one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Unit {
    pub(crate) epoch: u8,
    pub(crate) applied: Seq,
    pub(crate) horizon: Seq,
    /// The last durable sweep: what of this epoch was not removed by then, is clear up to there.
    pub(crate) swept: Seq,
    pub(crate) marks: Marks,
}

/// A file with an object in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct File {
    pub(crate) object: Object,
    /// It was unlinked, and no sync came since: after a power failure it may be there again.
    pub(crate) unlinked: bool,
    /// The invalidate that a sweep wrote into it, and no sync came since.
    pub(crate) noted: Seq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Disk {
    pub(crate) file: Option<File>,
    /// An object that was composed for a file and is not written yet.
    pub(crate) queued: Option<Object>,
    pub(crate) unit: Option<Unit>,
    /// What the next unit says of sweeps.
    pub(crate) swept: Seq,
    /// A durable sweep has walked the files at this seq.
    pub(crate) sweeping: Option<Seq>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Granted {
    pub(crate) t0: Tick,
    pub(crate) head: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Edge {
    pub(crate) lease_end: Tick,
    pub(crate) granted: Option<Granted>,
    pub(crate) row: Row,
    /// The row of the process before this one.
    pub(crate) old_row: Row,
    pub(crate) applied: Position,
    pub(crate) horizon: Seq,
    pub(crate) marks: Marks,
    pub(crate) object: Option<Object>,
    pub(crate) flight: Option<Flight>,
    pub(crate) disk: Disk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// No request.
    Free,
    /// It waited, and reads lease and `seen` anew.
    Again,
    /// Lease and `seen` are read.
    Read { lease: bool, seen: Position },
    /// It takes part in the edge's fetch: sent it, or follows.
    On { seen: Position, follows: bool },
    /// A fetch that it may not join is under way.
    Waits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) phase: Phase,
    pub(crate) edge: u8,
    /// The tasks, as bits by their moments, that read `success` when it began.
    pub(crate) obliged: u8,
}

pub(crate) const NO_REQUEST: Request = Request { phase: Phase::Free, edge: 0, obliged: 0 };

/// Content that was answered against a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Broken {
    pub(crate) edge: u8,
    pub(crate) moment: Seq,
    pub(crate) content: Content,
}

/// One state of edges, origin and control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) now: Tick,
    pub(crate) epoch: u8,
    /// Every task ever committed, by its moment less one.
    pub(crate) tasks: [Task; TASKS],
    pub(crate) moments: Seq,
    /// The moments of the log's entries, by their seq less one.
    pub(crate) log: [Seq; TASKS],
    pub(crate) head: Seq,
    pub(crate) first_retained: Seq,
    pub(crate) success: u8,
    /// The log was restored, and these edges, as bits, were not heard since.
    pub(crate) unheard: u8,
    /// An edge was heard that had applied more than the log holds.
    pub(crate) stopped: bool,
    pub(crate) edges: [Edge; EDGES],
    pub(crate) requests: [Request; REQUESTS],
    pub(crate) requests_left: u8,
    pub(crate) purges_left: u8,
    pub(crate) crashes_left: u8,
    pub(crate) sweeps_left: u8,
    pub(crate) truncations_left: u8,
    pub(crate) restores_left: u8,
    /// By edge: the newest content that was answered there with the tag, where the scenario counts by bytes.
    pub(crate) had: [Option<Content>; EDGES],
    pub(crate) broken: Option<Broken>,
    pub(crate) events: Events,
}

impl State {
    pub(crate) fn happened(&mut self, event: Event) {
        self.events.add(event);
    }

    pub(crate) fn lease_holds(&self, edge: usize) -> bool {
        self.now < self.edges[edge].lease_end
    }

    pub(crate) fn entry(&self, seq: Seq) -> Entry {
        self.tasks[usize::from(self.log[usize::from(seq) - 1]) - 1].entry
    }
}
