//! Small networks, each explored to its end or to a cap.

use crate::state::{Entry, Method, Scope};

pub(crate) const INVALIDATE_URL: Entry = Entry { scope: Scope::Url, method: Method::Invalidate };
pub(crate) const DELETE_URL: Entry = Entry { scope: Scope::Url, method: Method::Delete };
pub(crate) const INVALIDATE_TAG: Entry = Entry { scope: Scope::Tag, method: Method::Invalidate };
pub(crate) const DELETE_TAG: Entry = Entry { scope: Scope::Tag, method: Method::Delete };

/// When leases hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leases {
    /// Always: tasks succeed by acknowledgements alone.
    Held,
    /// As granted, on a clock.
    Granted {
        /// The clock's last tick.
        ticks: u8,
        /// `L`, in ticks.
        length: u8,
        /// The edges, as bits, that start as members with a lease from tick 0.
        at_start: u8,
        /// Members may leave, or be marked leaving.
        leaving: bool,
    },
}

/// What may become of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restores {
    /// Nothing.
    None,
    /// A copy that lacks the last commit is promoted, with a new epoch.
    Renewed,
    /// The same, and the epoch is changed only later. No task commits before every edge was heard.
    Late,
}

/// What an edge keeps over a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// Nothing.
    None,
    /// A file and the unit beside it; a process dies.
    Process,
    /// The same, and the power may fail: what was not synced may be undone.
    Power,
}

/// A bounded network. Every number is a limit on how often something may happen in one behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Printed with the results.
    pub name: &'static str,
    /// Each edge's parent; the origin for those without.
    pub parents: &'static [Option<u8>],
    /// The edges that clients ask.
    pub asked: &'static [u8],
    /// Client requests.
    pub requests: u8,
    /// Tasks accepted.
    pub purges: u8,
    /// The kinds of entries that a task may be.
    pub entries: &'static [Entry],
    /// The tasks are these entries, in their order.
    pub in_order: bool,
    /// The edges, as bits, that start with an object of before the first purge.
    pub warm: u8,
    /// The warm edges, as bits, whose object has the tag.
    pub warm_tagged: u8,
    /// When leases hold.
    pub leases: Leases,
    /// Crashes, of any edge.
    pub crashes: u8,
    /// What outlives them.
    pub durable: Durable,
    /// Sweeps, of memory or of files.
    pub sweeps: u8,
    /// Times the log is cut to its head.
    pub truncations: u8,
    /// What may become of the log.
    pub restores: Restores,
    /// Responses may name the tag.
    pub tags: bool,
    /// An object may be past its freshness.
    pub expiry: bool,
    /// The origin may answer 304.
    pub validates: bool,
    /// A parent may be away, or its answer be lost, so that its child asks the origin.
    pub partition: bool,
    /// A copy older than one that had the tag at the edge counts as matched by the tag, whoever gave it.
    pub by_bytes: bool,
}

const HELD: Network = Network {
    name: "",
    parents: &[Some(1), None],
    asked: &[0],
    requests: 2,
    purges: 1,
    entries: &[INVALIDATE_URL, DELETE_URL],
    in_order: false,
    warm: 0,
    warm_tagged: 0,
    leases: Leases::Held,
    crashes: 0,
    durable: Durable::None,
    sweeps: 0,
    truncations: 0,
    restores: Restores::None,
    tags: false,
    expiry: false,
    validates: true,
    partition: false,
    by_bytes: false,
};

const GRANTED: Leases = Leases::Granted { ticks: 2, length: 1, at_start: 0b111, leaving: false };

impl Network {
    /// What `make model` explores beside those, to a cap.
    pub fn large() -> Vec<Network> {
        let granted = |ticks, length, leaving| Leases::Granted { ticks, length, at_start: 0b111, leaving };
        vec![
            Network { name: "pair, 3 requests", requests: 3, ..Network::pair() },
            Network {
                name: "pair, fenced, all entries, a crash",
                entries: &[INVALIDATE_URL, DELETE_URL, INVALIDATE_TAG, DELETE_TAG],
                tags: true,
                expiry: true,
                crashes: 1,
                leases: granted(2, 1, true),
                ..Network::pair_fenced()
            },
            Network {
                name: "three tiers, 2 purges",
                purges: 2,
                entries: &[INVALIDATE_URL, DELETE_URL],
                partition: true,
                ..Network::three_tiers()
            },
            Network { name: "two children, 2 purges", purges: 2, partition: true, ..Network::two_children() },
            Network::region(),
            Network {
                name: "disk, 2 purges, 2 requests",
                purges: 2,
                requests: 2,
                entries: &[INVALIDATE_URL, DELETE_TAG],
                tags: true,
                expiry: true,
                ..Network::disk()
            },
            Network {
                name: "failover, a disk, 2 purges, 2 requests",
                crashes: 1,
                durable: Durable::Process,
                ..Network::failover()
            },
        ]
    }

    /// Two edges and their parent, and nearly everything at once.
    pub fn region() -> Network {
        Network {
            name: "region",
            parents: &[Some(2), Some(2), None],
            asked: &[0, 1],
            entries: &[INVALIDATE_URL, DELETE_TAG],
            warm: 0b101,
            tags: true,
            expiry: true,
            partition: true,
            crashes: 1,
            durable: Durable::Process,
            sweeps: 1,
            truncations: 1,
            leases: Leases::Granted { ticks: 2, length: 1, at_start: 0b11, leaving: true },
            ..HELD
        }
    }

    /// The scenarios of `make test`.
    pub fn all() -> Vec<Network> {
        vec![
            Network::pair(),
            Network::pair_fenced(),
            Network::pair_tags(),
            Network::tags_apart(),
            Network::three_tiers(),
            Network::two_children(),
            Network::disk(),
            Network::disk_tags(),
            Network::truncated(),
            Network::disk_truncated(),
            Network::failover(),
            Network::disk_failover(),
            Network::shorter_log(),
            Network::late_epoch(),
            Network::tiers_failover(),
        ]
    }

    /// A child and its parent, both with a copy, success by acknowledgements.
    pub fn pair() -> Network {
        Network { name: "pair", purges: 2, warm: 0b11, expiry: true, partition: true, ..HELD }
    }

    /// A child and its parent, leases on a clock.
    pub fn pair_fenced() -> Network {
        Network { name: "pair_fenced", requests: 2, partition: true, leases: GRANTED, ..HELD }
    }

    /// Tags that come with any response, and the parent away at times; the child tells what hit its copy.
    pub fn pair_tags() -> Network {
        Network {
            name: "pair_tags",
            entries: &[INVALIDATE_TAG, DELETE_TAG],
            tags: true,
            expiry: true,
            partition: true,
            ..HELD
        }
    }

    /// The child knows the tag, its parent has the same content without it.
    pub fn tags_apart() -> Network {
        Network {
            name: "tags_apart",
            entries: &[INVALIDATE_TAG, DELETE_TAG],
            warm: 0b11,
            warm_tagged: 0b01,
            sweeps: 1,
            expiry: true,
            ..HELD
        }
    }

    /// The same as `tags_apart`, held to more than the promise: what a parent answers is not to be older than what the child has had
    /// with the tag, also when the child has forgotten it. The protocol does not keep that.
    pub fn tags_forgotten() -> Network {
        Network { name: "tags_forgotten", by_bytes: true, ..Network::tags_apart() }
    }

    /// Child, parent, grandparent.
    pub fn three_tiers() -> Network {
        Network {
            name: "three_tiers",
            parents: &[Some(1), Some(2), None],
            asked: &[0, 1],
            warm: 0b100,
            entries: &[INVALIDATE_URL],
            leases: Leases::Granted { ticks: 1, length: 1, at_start: 0b111, leaving: false },
            ..HELD
        }
    }

    /// Two children of one parent.
    pub fn two_children() -> Network {
        Network {
            name: "two_children",
            parents: &[Some(2), Some(2), None],
            asked: &[0, 1],
            requests: 3,
            warm: 0b100,
            expiry: true,
            ..HELD
        }
    }

    /// One edge with a disk whose process dies or whose power fails, sweeps of files.
    pub fn disk() -> Network {
        Network {
            name: "disk",
            parents: &[None],
            requests: 1,
            warm: 0b1,
            crashes: 1,
            durable: Durable::Power,
            sweeps: 2,
            leases: GRANTED,
            ..HELD
        }
    }

    /// The same, and 304s bring a tag.
    pub fn disk_tags() -> Network {
        Network {
            name: "disk_tags",
            parents: &[None],
            entries: &[INVALIDATE_TAG],
            warm: 0b1,
            crashes: 1,
            durable: Durable::Power,
            tags: true,
            expiry: true,
            leases: GRANTED,
            ..HELD
        }
    }

    /// The log is cut while an edge is cut off.
    pub fn truncated() -> Network {
        Network {
            name: "truncated",
            parents: &[None],
            purges: 2,
            requests: 2,
            warm: 0b1,
            truncations: 1,
            leases: GRANTED,
            ..HELD
        }
    }

    /// The log is cut while an edge with a disk is down.
    pub fn disk_truncated() -> Network {
        Network {
            name: "disk_truncated",
            parents: &[None],
            requests: 1,
            purges: 2,
            entries: &[INVALIDATE_URL],
            warm: 0b1,
            truncations: 1,
            crashes: 1,
            durable: Durable::Process,
            leases: GRANTED,
            ..HELD
        }
    }

    /// A failover loses commits, and the epoch changes with it.
    pub fn failover() -> Network {
        Network {
            name: "failover",
            parents: &[None],
            purges: 2,
            warm: 0b1,
            restores: Restores::Renewed,
            leases: GRANTED,
            ..HELD
        }
    }

    /// A new log is shorter than what the edge has applied of the old one.
    pub fn shorter_log() -> Network {
        Network {
            name: "shorter_log",
            parents: &[None],
            purges: 3,
            entries: &[DELETE_TAG, DELETE_TAG, INVALIDATE_URL],
            in_order: true,
            warm: 0b1,
            expiry: true,
            restores: Restores::Renewed,
            leases: Leases::Granted { ticks: 1, length: 1, at_start: 0b1, leaving: false },
            ..HELD
        }
    }

    /// A failover, and an edge that keeps its copies over a crash.
    pub fn disk_failover() -> Network {
        Network {
            name: "disk_failover",
            parents: &[None],
            requests: 1,
            warm: 0b1,
            crashes: 1,
            durable: Durable::Process,
            restores: Restores::Renewed,
            leases: GRANTED,
            ..HELD
        }
    }

    /// A failover loses commits, and the epoch changes late.
    pub fn late_epoch() -> Network {
        Network {
            name: "late_epoch",
            parents: &[None],
            requests: 1,
            purges: 2,
            entries: &[INVALIDATE_URL, DELETE_TAG],
            warm: 0b1,
            restores: Restores::Late,
            leases: Leases::Granted { ticks: 3, length: 2, at_start: 0b1, leaving: false },
            ..HELD
        }
    }

    /// A failover loses commits, and child and parent learn of it at different times.
    pub fn tiers_failover() -> Network {
        Network {
            name: "tiers_failover",
            requests: 1,
            purges: 3,
            entries: &[DELETE_TAG, DELETE_TAG, INVALIDATE_URL],
            in_order: true,
            warm: 0b10,
            restores: Restores::Renewed,
            leases: Leases::Granted { ticks: 1, length: 1, at_start: 0b11, leaving: false },
            ..HELD
        }
    }
}
