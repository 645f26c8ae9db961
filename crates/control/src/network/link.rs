//! One edge's link: hands on the tail and the configuration, takes pings and acknowledgements.

use super::Shared;
use super::grant::PendingPing;
use super::prefetch::Handing;
use feed::{
    ControlLink, EDGE_NAME_BYTES_MAX, ENTRIES_PER_MESSAGE_MAX, EdgeToControl, Hello, LinkBroken, Peer, ToEdge,
};
use purge::{MemberId, MemberTerms, PurgeSeq};
use std::sync::Arc;
use std::time::Duration;
use store::{Joined, MemberProcess};
use tracing::{debug, error, info, warn};

/// How long an edge may take to present itself.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest text on its version that an edge may tell, in bytes.
const VERSION_BYTES_MAX: usize = 64;

/// Speaks with one edge until its link breaks.
pub(super) async fn run(shared: Arc<Shared>, mut link: ControlLink) {
    let hello = match tokio::time::timeout(HELLO_TIMEOUT, link.receive()).await {
        Ok(Some(EdgeToControl::Hello(hello))) if is_proper(&hello, link.peer()) => hello,
        Ok(first) => {
            warn!(?first, "a link that does not begin with a proper hello");
            return;
        }
        Err(_) => {
            warn!("a link without a hello");
            return;
        }
    };
    let Hello { member, edge_name, epoch, applied, terms, version } = hello;
    shared.hear(member, epoch.map(|epoch| (epoch, applied)));
    let process = process_of(link.peer(), version);
    match join(&shared, member, &edge_name, terms, &process).await {
        Some(Joined::Drained) => {
            // An edge that is gone already needs no telling.
            let _ = link.send(ToEdge::Drained).await;
            // It breaks the link once it has read that.
            let _ =
                tokio::time::timeout(HELLO_TIMEOUT, async { while link.receive().await.is_some() {} }).await;
            return;
        }
        Some(_) => {}
        None => return,
    }
    let (policy, acks_only) = (terms.policy.as_str(), terms.acks_only);
    info!(%member, edge = edge_name, %applied, policy, acks_only, "edge joined");
    let known = shared.tail.head.borrow().filter(|(of, _)| Some(*of) == epoch).map(|_| applied);
    let prefetch = Handing::new(&shared, member);
    let Err(LinkBroken) = speak(&shared, &mut link, member, known, prefetch).await else { return };
    debug!(%member, edge = edge_name, "edge's link ended");
}

/// Writes the member's row with its terms, which must be there before its first lease: that lease is what tells the edge
/// that its terms hold. A leaving member's pings are answered by [`super::grant`] with the word that it is none.
async fn join(
    shared: &Shared,
    member: MemberId,
    edge_name: &str,
    terms: MemberTerms,
    process: &MemberProcess,
) -> Option<Joined> {
    match shared.store.join_member(member, edge_name, terms, process, shared.now_ms()).await {
        Ok(joined @ (Joined::New | Joined::Already | Joined::StillLeaving | Joined::Drained)) => Some(joined),
        Ok(Joined::OtherTerms) => {
            warn!(%member, edge = edge_name, "edge refused: a member can't change its terms, it joins anew");
            None
        }
        Ok(Joined::Removed) => {
            warn!(%member, edge = edge_name, "edge refused: it was removed");
            None
        }
        Ok(Joined::Full) => {
            error!(%member, edge = edge_name, "edge refused: too many members");
            None
        }
        Err(error) => {
            error!(error = &error as &dyn std::error::Error, edge = edge_name, "edge not joined");
            None
        }
    }
}

/// Whether an edge says of itself what it may say: above all, the name that its key was made for.
fn is_proper(hello: &Hello, peer: &Peer) -> bool {
    let is_its_name = match peer {
        Peer::SameProcess => true,
        Peer::Known { edge_name, .. } => *edge_name == hello.edge_name,
    };
    is_its_name && hello.edge_name.len() <= EDGE_NAME_BYTES_MAX && hello.version.len() <= VERSION_BYTES_MAX
}

fn process_of(peer: &Peer, version: String) -> MemberProcess {
    match peer {
        Peer::SameProcess => MemberProcess { version, ..MemberProcess::default() },
        Peer::Known { key_id, address, .. } => MemberProcess {
            key_id: Some(key_id.clone()),
            version,
            address: address.map(|address| address.to_string()).unwrap_or_default(),
        },
    }
}

/// `known`: what the edge has applied of the log that is published; `None` if it follows another, or none yet.
async fn speak(
    shared: &Shared,
    link: &mut ControlLink,
    member: MemberId,
    known: Option<PurgeSeq>,
    mut prefetch: Handing,
) -> Result<(), LinkBroken> {
    let mut head = shared.tail.head.subscribe();
    let mut config = shared.tail.config.subscribe();
    let mut leaving = shared.leaving.subscribe();
    let mut epoch = None;
    let mut handed_on = known;
    config.mark_changed();
    head.mark_changed();
    loop {
        tokio::select! {
            // What the edge says first: it says little but in answer to what it was sent.
            biased;
            message = link.receive() => {
                match message.ok_or(LinkBroken)? {
                    EdgeToControl::Hello(_) => {
                        warn!(%member, "a second hello");
                        return Err(LinkBroken);
                    }
                    EdgeToControl::Ping(ping) => {
                        shared.hear(member, ping.epoch.map(|epoch| (epoch, ping.applied)));
                        let pending = PendingPing { member, ping, answer: link.sender() };
                        shared.pings.send(pending).await.map_err(|_| LinkBroken)?;
                    }
                    EdgeToControl::Acknowledge { epoch, applied } => {
                        shared.hear(member, Some((epoch, applied)));
                        shared.wake();
                    }
                    EdgeToControl::Want { after } => {
                        handed_on = Some(after);
                        head.mark_changed();
                    }
                    EdgeToControl::Prefetched { outcomes } => {
                        prefetch.told(outcomes);
                        prefetch.hand_on(link).await?;
                    }
                    EdgeToControl::Leave => return leave(shared, member).await,
                }
            }
            _ = config.changed() => {
                let snapshot = config.borrow_and_update().clone();
                if let Some(snapshot) = snapshot {
                    let (version, zones) = (snapshot.version, snapshot.zones.clone());
                    link.send(ToEdge::Zones { version, zones }).await?;
                }
            }
            _ = head.changed() => {
                let published = *head.borrow_and_update();
                let Some((of, last)) = published else { continue };
                if epoch != Some(of) {
                    // Another log: the edge will jump to a head at or above this one.
                    handed_on = if epoch.is_none() { handed_on.or(Some(last)) } else { Some(last) };
                    epoch = Some(of);
                }
                let from = handed_on.unwrap_or(last);
                if let Some(reached) = hand_on(shared, link, of, from, last).await? {
                    handed_on = Some(reached);
                    if reached < last {
                        head.mark_changed();
                    }
                }
            }
            _ = leaving.changed() => {
                if leaving.borrow_and_update().contains(&member) {
                    link.send(ToEdge::GiveUp).await?;
                }
            }
            () = prefetch.changed() => prefetch.hand_on(link).await?,
        }
    }
}

/// Sends one message of entries after `from`. Returns how far the edge has been told then.
async fn hand_on(
    shared: &Shared,
    link: &ControlLink,
    epoch: purge::Epoch,
    from: PurgeSeq,
    last: PurgeSeq,
) -> Result<Option<PurgeSeq>, LinkBroken> {
    if from >= last {
        return Ok(None);
    }
    let entries = match shared.tail.after(from, ENTRIES_PER_MESSAGE_MAX) {
        Some(entries) => entries,
        None => match shared.store.entries_after(from, ENTRIES_PER_MESSAGE_MAX).await {
            // Entries that are gone for good: the edge learns from its next grant that it must jump.
            Ok(range) if range.head.epoch != epoch || range.head.first_retained > from.next() => {
                return Ok(None);
            }
            Ok(range) => range.entries,
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "entries were not read");
                return Ok(None);
            }
        },
    };
    let Some(reached) = entries.last().map(|entry| entry.seq) else { return Ok(None) };
    link.send(ToEdge::Entries { epoch, entries }).await?;
    Ok(Some(reached))
}

/// The edge gave up its lease for good: its row goes at once, and nothing waits for it.
async fn leave(shared: &Shared, member: MemberId) -> Result<(), LinkBroken> {
    if let Err(error) = shared.store.remove_member(&[member]).await {
        error!(error = &error as &dyn std::error::Error, %member, "member not removed");
    }
    info!(%member, "edge left");
    shared.heard.lock().remove(&member);
    shared.wake();
    Err(LinkBroken)
}
