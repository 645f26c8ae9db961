//! What is switched on in a run: small worlds, each explored to its end.

use crate::state::{Entry, Method, Scope};

const INVALIDATE_URL: Entry = Entry { scope: Scope::Url, method: Method::Invalidate };
const DELETE_URL: Entry = Entry { scope: Scope::Url, method: Method::Delete };
const INVALIDATE_TAG: Entry = Entry { scope: Scope::Tag, method: Method::Invalidate };
const DELETE_TAG: Entry = Entry { scope: Scope::Tag, method: Method::Delete };

/// A bounded world. Every number is a limit on how often something may happen in one behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Printed with the results.
    pub name: &'static str,
    /// Client requests.
    pub requests: u8,
    /// Tasks accepted.
    pub purges: u8,
    /// The kinds of entries that a task may be.
    pub entries: &'static [Entry],
    /// The edge starts with an untagged object of before the first purge.
    pub warm: bool,
    /// The edge starts as a member, with a lease from tick 0.
    pub leased: bool,
    /// Pings, grants, members. Without it, and `leased`, the lease holds for ever.
    pub leases: bool,
    /// The clock's last tick.
    pub ticks: u8,
    /// `L`, in ticks.
    pub lease_ticks: u8,
    /// Processes of the edge: one more than the crashes.
    pub processes: u8,
    /// Members may leave, or be marked leaving at any time.
    pub leaving: bool,
    /// Sweeps begun.
    pub sweeps: u8,
    /// Times the edge joins anew at a granted head.
    pub jumps: u8,
    /// Responses may name the tag.
    pub tags: bool,
    /// An object may be past its freshness, so that it is validated without a purge.
    pub expiry: bool,
    /// A 200's body arrives after its head, and can be joined.
    pub body: bool,
    /// Fetches under way at once.
    pub flights: u8,
    /// Marks, `last_seq` and `applied` are steps of their own.
    pub apply_steps: bool,
    /// Header, marks and horizon are read in steps of their own.
    pub walk_steps: bool,
    /// `seen` is read in a step of its own.
    pub seen_steps: bool,
    /// Deciding to fetch and sending are steps of their own.
    pub send_steps: bool,
}

const LEDGER: Scenario = Scenario {
    name: "",
    requests: 3,
    purges: 1,
    entries: &[INVALIDATE_URL, DELETE_URL],
    warm: false,
    leased: true,
    leases: false,
    ticks: 0,
    lease_ticks: 1,
    processes: 1,
    leaving: false,
    sweeps: 0,
    jumps: 0,
    tags: false,
    expiry: false,
    body: false,
    flights: 1,
    apply_steps: false,
    walk_steps: false,
    seen_steps: false,
    send_steps: false,
};

impl Scenario {
    /// Every scenario, each run without a mutant too.
    pub fn all() -> Vec<Scenario> {
        vec![
            Scenario::collapse(),
            Scenario::tags(),
            Scenario::parallel(),
            Scenario::applying(),
            Scenario::sweeping(),
            Scenario::walking(),
            Scenario::headers(),
            Scenario::lease(),
            Scenario::members(),
            Scenario::restart(),
            Scenario::jumping(),
            Scenario::together(),
        ]
    }

    /// What `make model` explores beside those, to a cap.
    pub fn large() -> Vec<Scenario> {
        vec![
            Scenario { name: "together, 3 requests", requests: 3, ..Scenario::together() },
            Scenario { name: "parallel, leases", leases: true, ticks: 2, ..Scenario::parallel() },
            Scenario { name: "collapse, 5 requests", requests: 5, ..Scenario::collapse() },
            Scenario { name: "members, 3 processes", processes: 3, ..Scenario::members() },
        ]
    }

    /// Two purges of the URL, three requests that collapse, head and body apart.
    pub fn collapse() -> Scenario {
        Scenario {
            name: "collapse",
            purges: 2,
            body: true,
            apply_steps: true,
            seen_steps: true,
            send_steps: true,
            expiry: true,
            requests: 4,
            ..LEDGER
        }
    }

    /// Purges by tag and by URL; tags come with heads and with 304s.
    pub fn tags() -> Scenario {
        Scenario {
            name: "tags",
            purges: 2,
            entries: &[INVALIDATE_URL, INVALIDATE_TAG, DELETE_TAG],
            warm: true,
            tags: true,
            expiry: true,
            body: true,
            send_steps: true,
            ..LEDGER
        }
    }

    /// Two fetches under way at once, as when a follower gave up waiting.
    pub fn parallel() -> Scenario {
        Scenario {
            name: "parallel",
            purges: 2,
            entries: &[INVALIDATE_URL, DELETE_URL, INVALIDATE_TAG, DELETE_TAG],
            warm: true,
            tags: true,
            expiry: true,
            body: true,
            flights: 2,
            sweeps: 1,
            ..LEDGER
        }
    }

    /// The steps of applying against the steps of a request.
    pub fn applying() -> Scenario {
        Scenario {
            name: "applying",
            purges: 2,
            entries: &[INVALIDATE_URL, DELETE_URL],
            warm: true,
            requests: 2,
            apply_steps: true,
            walk_steps: true,
            seen_steps: true,
            send_steps: true,
            expiry: true,
            body: true,
            ..LEDGER
        }
    }

    /// Sweeps with fetches under way.
    pub fn sweeping() -> Scenario {
        Scenario {
            name: "sweeping",
            purges: 2,
            warm: true,
            sweeps: 2,
            expiry: true,
            body: true,
            requests: 4,
            ..LEDGER
        }
    }

    /// Walks in steps, against sweeps, 304s that add a tag, and purges by tag.
    pub fn walking() -> Scenario {
        Scenario {
            name: "walking",
            purges: 2,
            requests: 2,
            entries: &[INVALIDATE_URL, DELETE_URL, INVALIDATE_TAG, DELETE_TAG],
            warm: true,
            tags: true,
            expiry: true,
            sweeps: 1,
            apply_steps: true,
            walk_steps: true,
            ..LEDGER
        }
    }

    /// Walks in steps, against 304s that replace the header.
    pub fn headers() -> Scenario {
        Scenario {
            name: "headers",
            entries: &[INVALIDATE_TAG, DELETE_TAG],
            warm: true,
            tags: true,
            expiry: true,
            walk_steps: true,
            purges: 2,
            ..LEDGER
        }
    }

    /// Leases and time: the edge starts fenced, no member.
    pub fn lease() -> Scenario {
        Scenario {
            name: "lease",
            leased: false,
            leases: true,
            ticks: 3,
            lease_ticks: 1,
            expiry: true,
            body: true,
            seen_steps: true,
            send_steps: true,
            ..LEDGER
        }
    }

    /// Members that leave and are marked leaving, with longer leases.
    pub fn members() -> Scenario {
        Scenario {
            name: "members",
            leased: false,
            leases: true,
            ticks: 4,
            lease_ticks: 2,
            leaving: true,
            processes: 2,
            requests: 2,
            body: true,
            ..LEDGER
        }
    }

    /// Crashes: the memory is lost, another process is another member.
    pub fn restart() -> Scenario {
        Scenario {
            name: "restart",
            warm: true,
            leases: true,
            ticks: 3,
            lease_ticks: 1,
            processes: 3,
            expiry: true,
            ..LEDGER
        }
    }

    /// The edge joins anew at a granted head instead of reading the log.
    pub fn jumping() -> Scenario {
        Scenario {
            name: "jumping",
            warm: true,
            leased: false,
            leases: true,
            ticks: 2,
            lease_ticks: 1,
            jumps: 1,
            sweeps: 1,
            requests: 2,
            purges: 2,
            expiry: true,
            apply_steps: true,
            ..LEDGER
        }
    }

    /// Nearly everything at once, for fewer requests.
    pub fn together() -> Scenario {
        Scenario {
            name: "together",
            requests: 2,
            purges: 2,
            entries: &[DELETE_URL, INVALIDATE_TAG],
            warm: true,
            leases: true,
            ticks: 2,
            lease_ticks: 1,
            processes: 2,
            sweeps: 1,
            jumps: 1,
            tags: true,
            expiry: true,
            body: true,
            ..LEDGER
        }
    }
}
