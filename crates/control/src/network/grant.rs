//! Leases: answers to pings.
//!
//! The order is the protocol's: the pings that have arrived are taken, **then** the log's head, the epoch and the
//! member rows are read, one fresh read for all of them, and only members are granted.
//!
//! An edge that is ahead of the log shows that the log lost commits: from then on nobody is granted, until the epoch is
//! another.
//!
//! Why a grant may be late without harm, however long this process, the edge or the link stands still in between:
//!
//! - A grant answers pings that were taken before its read began, and no others: `recv_many` comes first, and what arrives
//!   during the read, or while the process is stopped in it, waits for the next one. So a ping that was sent after an entry
//!   was committed is never answered with a head below it.
//! - Stopped between the read and the sending, it grants with a head that is old by then. Entries it does not have were
//!   committed after the read, so after the ping was sent at `t0`; whoever completes a task by the lease rule reads its
//!   clock after it saw the commit, and waits for `L` and the drift from there. The lease runs to `t0 + L` by the edge's own
//!   clock, wherever the grant was meanwhile, and has ended by then. The same holds of a member that was marked leaving after
//!   the read: its row goes `L` and the drift after the mark.
//! - An edge that is stopped before it takes the grant reads its clock when a request comes, not when the grant does: a
//!   lease that ended meanwhile never held.
//! - A task that is done by acknowledgements waits for no lease at all: who has acknowledged an entry judges by it.

use super::Shared;
use feed::{Grant, Ping, ToEdge};
use purge::{Epoch, MemberId, PurgeSeq};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::{GrantBasis, MemberState};
use tokio::sync::mpsc;
use tracing::{error, warn};

/// A ping that has arrived, and where its answer goes.
pub(super) struct PendingPing {
    pub(super) member: MemberId,
    pub(super) ping: Ping,
    pub(super) answer: mpsc::Sender<ToEdge>,
}

/// Grants for as long as the control plane runs.
pub(super) async fn run(shared: Arc<Shared>, mut pending: mpsc::Receiver<PendingPing>) {
    shared.set_lease().await;
    let mut pings = Vec::new();
    let mut stopped: Option<Epoch> = None;
    while pending.recv_many(&mut pings, super::PINGS_MAX).await > 0 {
        let basis = match shared.store.grant_basis().await {
            Ok(basis) => basis,
            Err(error) => {
                error!(
                    error = &error as &dyn std::error::Error,
                    "no leases granted: the database was not read"
                );
                pings.clear();
                continue;
            }
        };
        if let Some(lost) = lost(&pings, &basis) {
            stop(&shared, lost, &basis, &mut stopped).await;
        }
        let may_grant = stopped != Some(basis.epoch);
        for pending in pings.drain(..).filter(|_| may_grant) {
            let message = answer(&basis, &pending);
            shared.metrics.pings.fetch_add(1, Ordering::Relaxed);
            let is_grant = matches!(message, ToEdge::Grant(_));
            let counter = if is_grant { &shared.metrics.grants } else { &shared.metrics.not_members };
            counter.fetch_add(1, Ordering::Relaxed);
            // A full queue means an edge that does not read: it may as well miss this lease.
            if pending.answer.try_send(message).is_err() {
                warn!(member = %pending.member, "lease not delivered");
            }
        }
    }
}

/// How far edges have applied entries that the log lacks, if any has.
fn lost(pings: &[PendingPing], basis: &GrantBasis) -> Option<PurgeSeq> {
    let ahead = |ping: &Ping| ping.epoch == Some(basis.epoch) && ping.applied > basis.head;
    let ahead = pings.iter().map(|pending| &pending.ping).filter(|ping| ahead(ping));
    ahead.map(|ping| ping.applied).max().max(basis.lost)
}

/// Lets no instance grant in this epoch any more: here at once, elsewhere and after a restart by a note in the database.
async fn stop(shared: &Shared, lost: PurgeSeq, basis: &GrantBasis, stopped: &mut Option<Epoch>) {
    if *stopped != Some(basis.epoch) {
        error!(
            applied = %lost, head = %basis.head,
            "an edge has applied entries that the log lacks, which was restored from a copy: no leases until \
             \"everfresh control new-epoch\" was run"
        );
    }
    *stopped = Some(basis.epoch);
    if basis.lost != Some(lost)
        && let Err(error) = shared.store.note_lost(basis.epoch, lost).await
    {
        error!(
            error = &error as &dyn std::error::Error,
            "other control planes were not told to grant no leases"
        );
    }
}

fn answer(basis: &GrantBasis, pending: &PendingPing) -> ToEdge {
    let is_member =
        basis.members.iter().any(|member| member.id == pending.member && member.state == MemberState::Active);
    let nonce = pending.ping.nonce;
    if !is_member {
        return ToEdge::NotMember { nonce };
    }
    ToEdge::Grant(Grant {
        nonce,
        epoch: basis.epoch,
        head: basis.head,
        first_retained: basis.first_retained,
        config_version: basis.config_version,
        lease: basis.lease.granted,
    })
}
