//! The purge protocol as an explicit-state model, for one machine: an edge, an origin, a control plane.
//!
//! The promise is the invariant: no request begun after a task reads `success` is answered with content that
//! the task matched and whose fetch from the origin began before the task was accepted (`invalidate`: that was
//! last validated by a fetch begun before). Each [`Scenario`] is explored to its end; each rule has a
//! [`Mutant`] without it, which must break the promise in its scenario.
//!
//! **Modelled**: purges by URL and tag, `delete` and `invalidate`; the order of a request's reads; collapsing
//! before the head and during the body, and waiting for a next fetch; 200 and 304, heads and bodies apart,
//! tags that come and go; admission; the `checked` shortcut and walks in steps; marks, `last_seq`, `applied`
//! as steps; sweep and horizon; pings, grants, leases on a small clock; members that join, leave, are marked
//! leaving; success by acknowledgements and by time; crash and restart with an empty memory; joining anew.
//!
//! **Reduced, without loss**: acknowledgement, removal of a row that waited long enough, and success happen as
//! soon as they may, since each later one asks less. A request begins in the step that reads its lease, since
//! an earlier beginning asks less. Zone, host and prefix behave as the URL: known before the response.
//! A message lost or late is a step not taken; a grant of another nonce is no step at all.
//!
//! **What it adds to the page's words**, each held by a mutant: who waited for a next fetch may share its 200, but
//! shares its 304 only as a follower would, since the sender may have looked before a delete
//! ([`Mutant::WaitedSharesNotModified`]); a walk reads the horizon after the marks
//! ([`Mutant::HorizonBeforeWalk`]), and holds it against the `checked` it loaded with the header
//! ([`Mutant::CheckedReloaded`]); joining anew raises the horizon first ([`Mutant::JumpHorizonLast`]); a sweep
//! removes what lies below the horizon ([`Mutant::SweepVouchesBelowHorizon`]); a 304 that a delete keeps out takes
//! the object along ([`Mutant::NotModifiedRefusedKeepsObject`]).
//!
//! **Argued on the protocol page, not modelled**: epochs, failover of the database, tiers, pieces, HEAD and
//! 206, durable edges (disk, torn state), clones of a process, drift of clocks, memory ordering within a
//! step, several zones (`last_seq` of one is `applied` of all its entries), stale-while-revalidate and
//! stale-if-error, prefetch.

mod check;
mod mutant;
mod protocol;
mod request;
mod scenario;
mod state;

pub use check::{Outcome, explore};
pub use mutant::Mutant;
pub use protocol::{Action, Choice, Early, Protocol};
pub use scenario::Scenario;
pub use state::{Entry, Method, Scope, State};
