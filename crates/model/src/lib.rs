//! The purge protocol as explicit-state models, each explored to its end in small worlds.
//!
//! The promise is the invariant: no request begun after a task reads `success` is answered with content that
//! the task matched and whose fetch from the origin began before the task was accepted (`invalidate`: that was
//! last validated by a fetch begun before). Each rule has a mutant without it, which must break the promise in its
//! scenario. `docs/model.md` says what is modelled, what was found, and what is left out.
//!
//! - [`Protocol`]: one edge, an origin, a control plane; the order of every read and write within the edge.
//! - [`network`]: up to three edges in tiers, disks, partitions, restored logs and epochs; coarser within an edge.
//! - [`control`]: several instances on one database; only when a task succeeds, and who holds a lease.
//! - [`content`]: what is stored of one URL: variants, head and slices, tags, a change of cache keys.
//!
//! **The model of one edge, reduced without loss**: acknowledgement, removal of a row that waited long enough, and
//! success happen as soon as they may, since each later one asks less. A request begins in the step that reads its
//! lease, since an earlier beginning asks less. Zone, host and prefix behave as the URL: known before the response.
//! A message lost or late is a step not taken; a grant of another nonce is no step at all.
//!
//! **What it adds to the page's words**, each held by a mutant: who waited for a next fetch may share its 200, but
//! shares its 304 only as a follower would, since the sender may have looked before a delete
//! ([`Mutant::WaitedSharesNotModified`]); a walk reads the horizon after the marks
//! ([`Mutant::HorizonBeforeWalk`]), and holds it against the `checked` it loaded with the header
//! ([`Mutant::CheckedReloaded`]); joining anew raises the horizon first ([`Mutant::JumpHorizonLast`]); a sweep
//! removes what lies below the horizon ([`Mutant::SweepVouchesBelowHorizon`]); a 304 that a delete keeps out takes
//! the object along ([`Mutant::NotModifiedRefusedKeepsObject`]).

pub mod content;
pub mod control;
mod event;
mod mutant;
pub mod network;
mod protocol;
mod request;
mod scenario;
mod search;
mod state;
pub mod suite;

pub use event::{Event, Events};
pub use mutant::{ContentMutant, ControlMutant, Mutant, NetworkMutant};
pub use protocol::{Action, Choice, Early, Protocol};
pub use scenario::Scenario;
pub use search::{Outcome, Told, explore};
pub use state::{Entry, Method, Scope, State};
