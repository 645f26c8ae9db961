//! One state of the model: small integers and short vectors, so that millions of states fit in memory.
//!
//! Invariant: a state is normal (see [`State::sort`]) before it is compared. Requests are alike but for what
//! they hold, so they are kept sorted; that is the model's symmetry.

use crate::event::{Event, Events};

/// A position in the purge log: 0 is before the first entry.
pub(crate) type Seq = u8;
/// A time on the model's one clock.
pub(crate) type Tick = u8;

/// What an entry purges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The one URL there is. Stands for zone, host and prefix too: all are known before the response.
    Url,
    /// The one tag there is, known only from a response's head.
    Tag,
}

/// What a purge asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// The content must be validated by a fetch begun after the task was accepted.
    Invalidate,
    /// The bytes must be fetched anew.
    Delete,
}

/// A purge entry. A task is one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// What it purges.
    pub scope: Scope,
    /// What it asks for.
    pub method: Method,
}

/// A committed task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Task {
    pub(crate) entry: Entry,
    /// The instance's clock, read after it saw the commit. 0 once the task succeeded: nobody asks again.
    pub(crate) accepted_at: Tick,
}

/// What is known of bytes, for the promise alone: no rule of the protocol reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Content {
    /// The log's head when the fetch of the bytes began.
    pub(crate) fetched: Seq,
    /// The log's head when the fetch that last validated them began.
    pub(crate) validated: Seq,
    /// The lowest head at which a fetch began whose response named the tag; `UNTAGGED` if none did.
    pub(crate) tag_since: Seq,
}

pub(crate) const UNTAGGED: Seq = Seq::MAX;

impl Content {
    /// For people.
    pub(crate) fn told(&self) -> String {
        let Content { fetched, validated, tag_since } = *self;
        let tag = if tag_since == UNTAGGED { String::new() } else { format!(", tagged since {tag_since}") };
        format!("fetched at {fetched}, validated at {validated}{tag}")
    }
}

/// A stored object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Object {
    pub(crate) born: Seq,
    pub(crate) checked: Seq,
    pub(crate) tagged: bool,
    /// Set by admission or sweep, read by hits.
    pub(crate) stale: bool,
    pub(crate) content: Content,
}

/// A request to the origin that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    pub(crate) born: Seq,
    /// The log's head when it was sent: when the fetch began, as the promise counts.
    pub(crate) sent_at: Seq,
    /// The object whose validator was sent along.
    pub(crate) conditional: Option<Object>,
    /// Whether the stored object is still the variant that the validator names.
    pub(crate) current: bool,
    /// The head of a 200 has arrived, with or without the tag; the body is under way.
    pub(crate) head: Option<bool>,
}

/// How a request came to wait for a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    Sender,
    /// It waited for a next fetch, and this one was sent after it came. Its `seen`, if its lease held.
    Waited(Option<Seq>),
    /// It joined a fetch already sent.
    Follower(Seq),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Gone,
    Stale,
    Passes,
}

/// A header that a request loaded, and what it read with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Loaded {
    pub(crate) header: Object,
    /// Whether the header is still the stored object's.
    pub(crate) current: bool,
    pub(crate) last_seq: Seq,
    /// Read here only by a mutant.
    pub(crate) horizon: Seq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Clock and lease are read.
    Arrived { lease: bool },
    /// `seen` is read.
    Ready { lease: bool, seen: Seq },
    /// The object's header is read.
    Loaded { seen: Seq, loaded: Loaded },
    /// The zone's last seq is read, and is above the header's `checked`.
    Doubted { seen: Seq, loaded: Loaded },
    /// The marks are read.
    Walked { seen: Seq, loaded: Loaded, marks: Marks },
    /// A mutant's: the verdict stands before the lease is read.
    Judged { seen: Seq, loaded: Option<Loaded>, verdict: Verdict },
    /// It was decided to fetch.
    ToSend { lease: bool, seen: Seq, conditional: Option<Object>, current: bool },
    /// Waits for the flight at that index.
    On { flight: u8, role: Role },
    /// Waits for a next fetch. Its `seen`, if its lease held.
    Waiting { seen: Option<Seq> },
}

/// The newest marks of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Marks {
    pub(crate) deleted: Seq,
    pub(crate) invalidated: Seq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Request {
    /// The tasks, as bits, that read `success` when it began.
    pub(crate) obliged: u8,
    pub(crate) phase: Phase,
}

/// A member row. One per process of the edge, dead ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Row {
    Absent,
    Member { acked: Seq },
    Leaving { acked: Seq, since: Tick },
    Removed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ping {
    None,
    Sent { t0: Tick },
    Granted { t0: Tick, head: Seq },
}

/// The edge's process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Edge {
    /// The first tick at which the lease no longer holds; 0 when it is over.
    pub(crate) lease_end: Tick,
    pub(crate) ping: Ping,
    /// Marks up to here are visible, except those dropped.
    pub(crate) marks_to: Seq,
    pub(crate) last_seq: Seq,
    pub(crate) applied: Seq,
    /// Marks up to here are dropped, or were never had.
    pub(crate) dropped: Seq,
    pub(crate) horizon: Seq,
    /// A sweep has walked the objects up to this seq, and not ended.
    pub(crate) sweeping: Option<Seq>,
    pub(crate) object: Option<Object>,
    pub(crate) flights: Vec<Flight>,
}

impl Edge {
    pub(crate) fn new() -> Edge {
        Edge {
            lease_end: 0,
            ping: Ping::None,
            marks_to: 0,
            last_seq: 0,
            applied: 0,
            dropped: 0,
            horizon: 0,
            sweeping: None,
            object: None,
            flights: Vec::new(),
        }
    }
}

/// What was read too early; only mutants read it so.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct ReadEarly {
    pub(crate) began: Option<Tick>,
    pub(crate) members: Option<u8>,
    pub(crate) head: Option<Seq>,
    /// The head in a grant for an earlier ping.
    pub(crate) grant: Option<Seq>,
}

/// The promise, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Broken {
    pub(crate) task: Seq,
    pub(crate) content: Content,
}

/// One state of edge, origin and control plane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) now: Tick,
    pub(crate) log: Vec<Task>,
    /// The tasks, as bits, that read `success`.
    pub(crate) success: u8,
    pub(crate) rows: Vec<Row>,
    pub(crate) edge: Edge,
    pub(crate) requests: Vec<Request>,
    pub(crate) requests_left: u8,
    pub(crate) sweeps_left: u8,
    pub(crate) jumps_left: u8,
    pub(crate) early: ReadEarly,
    pub(crate) broken: Option<Broken>,
    pub(crate) events: Events,
}

impl State {
    pub(crate) fn happened(&mut self, event: Event) {
        self.events.add(event);
    }

    pub(crate) fn head(&self) -> Seq {
        self.log.len() as Seq
    }

    pub(crate) fn lease_holds(&self) -> bool {
        self.now < self.edge.lease_end
    }

    /// The newest marks that an object of the URL has at the edge.
    pub(crate) fn marks(&self, tagged: bool) -> Marks {
        let mut newest = Marks::default();
        for seq in self.edge.dropped + 1..=self.edge.marks_to {
            let entry = self.log[usize::from(seq) - 1].entry;
            if entry.scope == Scope::Tag && !tagged {
                continue;
            }
            match entry.method {
                Method::Delete => newest.deleted = seq,
                Method::Invalidate => newest.invalidated = seq,
            }
        }
        newest
    }

    /// Requests that hold the stored header hold an old one from now on.
    pub(crate) fn replace_header(&mut self) {
        for request in &mut self.requests {
            if let Phase::Loaded { loaded, .. }
            | Phase::Doubted { loaded, .. }
            | Phase::Walked { loaded, .. } = &mut request.phase
            {
                loaded.current = false;
            }
        }
    }

    /// The stored variant goes, or another takes its place.
    pub(crate) fn replace_variant(&mut self, object: Option<Object>) {
        self.edge.object = object;
        self.replace_header();
        for flight in &mut self.edge.flights {
            flight.current = false;
        }
        for request in &mut self.requests {
            if let Phase::ToSend { current, .. } = &mut request.phase {
                *current = false;
            }
        }
    }

    /// Answers a request with content, and holds that against the promise.
    pub(crate) fn answer(&mut self, obliged: u8, content: Content) {
        if obliged != 0 {
            self.happened(Event::Checked);
        }
        for (index, task) in self.log.iter().enumerate() {
            let seq = index as Seq + 1;
            let matched = task.entry.scope == Scope::Url || content.tag_since < seq;
            let newest_fetch = match task.entry.method {
                Method::Invalidate => content.validated,
                Method::Delete => content.fetched,
            };
            if obliged & 1 << index != 0 && matched && newest_fetch < seq {
                self.broken = Some(Broken { task: seq, content });
            }
        }
    }

    pub(crate) fn sort(&mut self) {
        self.requests.sort_unstable();
    }
}
