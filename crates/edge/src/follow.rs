//! Following the purge log on one edge, and renewing its lease.
//!
//! Owns the position applied so far; nothing else writes the ledger. Invariants: an acknowledgement leaves, and a
//! lease is taken, only after every lookup can see the entries; a lease runs from the moment its ping was sent.
//! Does not know HTTP or the store.

use crate::configuration::Configuration;
use crate::kept_configuration::{self, Keeper};
use crate::listen::ended;
use crate::prefetch::{Batch, Orders};
use crate::state::State;
use crate::surroundings::NoRandomness;
use feed::{
    EdgeLink, EdgeToControl, Feed, Grant, Hello, LinkBroken, PREFETCHES_PER_MESSAGE_MAX, Ping, ToEdge,
};
use purge::{ApplyError, Epoch, LogEntry, MemberId, PurgeSeq};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tracing::{debug, info, warn};

/// How many entries that came too early are kept; more are dropped and asked for again.
const EARLY_ENTRIES_MAX: usize = 4096;

/// How many pings may be without an answer; older ones are given up.
const PINGS_MAX: usize = 8;

/// How long the edge waits between pings before it knows the length of a lease.
const FIRST_PING_INTERVAL: Duration = Duration::from_millis(500);

/// The first and the longest wait before a broken link is opened again. The wait itself is random, from half of that up:
/// edges that lost one control plane together do not come to the next one together.
const REOPEN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long a drained edge waits until it asks again whether it still is.
const DRAINED_REST: Duration = Duration::from_secs(5);

/// How long a link may take no message before it counts as broken. Both ends could otherwise wait for room at the other
/// without end.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the edge tries to say that it leaves.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(200);

/// A link on which nothing arrives for this part of a lease is given up: a lease from it, of a ping sent right before,
/// then still runs long enough to have another from the next control plane.
const SILENT_PART_OF_LEASE: u32 = 2;

/// That time doubles whenever so many links in a row were given up without a lease on any: about one for each control
/// plane, so that one that answers is found before.
const SILENT_LINKS_PER_DOUBLING: u32 = 3;

/// How often it doubles.
const SILENT_DOUBLINGS_MAX: u32 = 3;

/// The same while there is much but no lease, in as many of those parts: the control plane lacks its database, and
/// another one may, too.
const UNGRANTED_PARTS: u32 = 4;

/// The shortest interval between pings, however short the leases.
const PING_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Why a link ended.
enum Ended {
    Broken,
    /// The control plane grants nothing: another one might.
    Silent,
    /// The process must join anew under another id.
    NotMember,
    /// There is to be no lease until an operator says otherwise.
    Drained,
    Shutdown,
}

struct Follower {
    state: Arc<State>,
    member: MemberId,
    /// Pings without an answer: nonce and when each was sent, on the boot clock.
    pings: VecDeque<(u64, Duration)>,
    next_nonce: u64,
    /// How long leases are, once one was granted.
    lease: Option<Duration>,
    /// When this link was opened or last granted, on the boot clock.
    granted_at: Duration,
    /// When it was last found to have moved on, and how far it was then.
    moved_at: Duration,
    progress: u64,
    /// Whether this link has granted a lease.
    was_granted: bool,
    /// A grant whose head is not applied yet: the head, and until when the lease would run.
    waiting: Option<(Epoch, PurgeSeq, Duration)>,
    /// Which configuration there is, and what of it requests see.
    configuration: Configuration,
    /// Keeps configurations for the next process.
    keeper: Keeper,
    /// Whether the configuration that is shown is an earlier process's.
    shows_kept: bool,
    /// A grant that makes the edge jump, and that waits for the configuration it names, or any grant that came before the
    /// first configuration while an earlier process's is shown; and when its ping was sent.
    held: Option<(Grant, Duration)>,
    /// How many pings this link has seen before its first configuration.
    pings_without_configuration: usize,
    /// Entries that came before those they follow, before their configuration, or before the first lease; all of one
    /// log.
    early: BTreeMap<PurgeSeq, LogEntry>,
    early_epoch: Option<Epoch>,
    ping_interval: Duration,
    /// How many links in a row were given up for their silence, without a lease since.
    silent_links: u32,
    /// Where the last request for missing entries began, so that one gap is asked for once a link and ping.
    wanted: Option<PurgeSeq>,
    orders: Orders,
}

/// Follows for as long as the edge lives: opens a link, and another when it breaks. Gives up the lease at the end.
pub(crate) async fn run<F: Feed>(
    state: Arc<State>,
    feed: F,
    orders: Orders,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), NoRandomness> {
    let mut follower = Follower {
        member: MemberId::from_random(state.random()?),
        pings: VecDeque::new(),
        next_nonce: u64::from_be_bytes(state.random()?),
        lease: None,
        granted_at: Duration::ZERO,
        moved_at: Duration::ZERO,
        progress: 0,
        was_granted: false,
        waiting: None,
        configuration: Configuration::default(),
        keeper: Keeper::start(state.config.configuration_file.clone()),
        shows_kept: false,
        held: None,
        pings_without_configuration: 0,
        early: BTreeMap::new(),
        early_epoch: None,
        ping_interval: FIRST_PING_INTERVAL,
        silent_links: 0,
        wanted: None,
        orders,
        state,
    };
    let kept = follower.state.config.configuration_file.as_deref().and_then(kept_configuration::read);
    if let Some((version, zones)) = kept {
        Configuration::show_kept(&follower.state, version, zones);
        follower.shows_kept = true;
    }
    let mut wait = REOPEN.0;
    while !*shutdown.borrow() {
        // A control plane that takes no links must not keep the edge from its end.
        let opened = tokio::select! {
            biased;
            () = ended(&mut shutdown) => break,
            opened = feed.open() => opened,
        };
        match opened {
            Ok(mut link) => {
                let how = tokio::select! {
                    biased;
                    () = ended(&mut shutdown) => Ended::Shutdown,
                    how = follower.follow(&mut link) => how,
                };
                if follower.was_granted {
                    wait = REOPEN.0;
                    follower.silent_links = 0;
                }
                match how {
                    Ended::Shutdown => {
                        follower.state.lease.give_up();
                        let leave = link.send(EdgeToControl::Leave);
                        let _ = tokio::time::timeout(LEAVE_TIMEOUT, leave).await;
                        break;
                    }
                    Ended::NotMember => {
                        info!(member = %follower.member, "no member any more, joining anew");
                        follower.expelled(&link).await;
                        follower.member = MemberId::from_random(follower.state.random()?);
                    }
                    Ended::Drained => {
                        wait = DRAINED_REST;
                        info!("this edge is drained: it serves nothing from its cache");
                    }
                    Ended::Broken => warn!("feed broke, opening it again"),
                    Ended::Silent => {
                        follower.silent_links = follower.silent_links.saturating_add(1);
                        warn!("no lease from this control plane, opening another link");
                    }
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "no feed");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(wait, u32::from_be_bytes(follower.state.random()?))) => {}
            () = ended(&mut shutdown) => {}
        }
        wait = (wait.min(REOPEN.1) * 2).min(REOPEN.1);
    }
    follower.state.lease.give_up();
    Ok(())
}

/// From half of `wait` to all of it, as `random` says.
fn jittered(wait: Duration, random: u32) -> Duration {
    wait / 2 + (wait / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

async fn send(link: &EdgeLink, message: EdgeToControl) -> Result<(), LinkBroken> {
    tokio::time::timeout(SEND_TIMEOUT, link.send(message)).await.unwrap_or(Err(LinkBroken))
}

impl Follower {
    async fn follow(&mut self, link: &mut EdgeLink) -> Ended {
        self.wanted = None;
        self.pings.clear();
        self.granted_at = (self.state.clocks.boot)();
        self.moved_at = self.granted_at;
        self.progress = link.progress();
        self.was_granted = false;
        self.configuration.forget();
        self.held = None;
        self.pings_without_configuration = 0;
        let (epoch, applied) = self.position();
        let edge_name = self.state.config.name.clone();
        let terms = self.state.config.terms();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = Hello { member: self.member, edge_name, epoch, applied, terms, version };
        if send(link, EdgeToControl::Hello(hello)).await.is_err() {
            return Ended::Broken;
        }
        let mut next_ping = tokio::time::Instant::now();
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(next_ping) => {
                    next_ping = tokio::time::Instant::now() + self.ping_interval;
                    if self.is_silent(link) {
                        return Ended::Silent;
                    }
                    if self.ping(link).await.is_err() {
                        return Ended::Broken;
                    }
                }
                outcomes = self.orders.outcomes(PREFETCHES_PER_MESSAGE_MAX) => {
                    // Lost with a link, they are asked for again on the next.
                    if send(link, EdgeToControl::Prefetched { outcomes }).await.is_err() {
                        return Ended::Broken;
                    }
                }
                message = link.receive() => {
                    let Some(message) = message else { return Ended::Broken };
                    match self.receive(link, message).await {
                        Ok(None) => {}
                        Ok(Some(ended)) => return ended,
                        Err(LinkBroken) => return Ended::Broken,
                    }
                }
            }
        }
    }

    /// The row of this member is leaving or gone. Under terms by which a row does not go by itself, what they allow ends here
    /// for good, and the control plane is told: nothing waits for this member then.
    async fn expelled(&mut self, link: &EdgeLink) {
        self.state.fence.expelled();
        if !self.state.config.terms().may_lapse() {
            self.give_up();
            // Lost, it leaves a row that an operator has to remove.
            let _ = tokio::time::timeout(LEAVE_TIMEOUT, link.send(EdgeToControl::Leave)).await;
        }
    }

    fn position(&self) -> (Option<Epoch>, PurgeSeq) {
        match self.state.ledger.position() {
            Some((epoch, applied)) => (Some(epoch), applied),
            None => (None, PurgeSeq::ZERO),
        }
    }

    /// Gives the lease up for good, and every grant that could still become one: nobody waits for this member any more.
    fn give_up(&mut self) {
        self.waiting = None;
        self.held = None;
        self.state.lease.give_up();
    }

    /// Whether this link is to be given up: nothing arrives on it, or much, but no lease.
    fn is_silent(&mut self, link: &EdgeLink) -> bool {
        let now = (self.state.clocks.boot)();
        let progress = link.progress();
        if progress != self.progress {
            self.progress = progress;
            self.moved_at = now;
        }
        let bound = self.lease.map_or(2 * FIRST_PING_INTERVAL, |lease| lease / SILENT_PART_OF_LEASE);
        // Where none grants in time, it is rather the network or the machines that are slow; new links would make it worse.
        let doublings = (self.silent_links / SILENT_LINKS_PER_DOUBLING).min(SILENT_DOUBLINGS_MAX);
        let bound = bound * (1 << doublings);
        let [still, ungranted] = [self.moved_at, self.granted_at].map(|since| now.saturating_sub(since));
        ungranted >= bound && (still >= bound || ungranted >= bound * UNGRANTED_PARTS)
    }

    async fn ping(&mut self, link: &EdgeLink) -> Result<(), LinkBroken> {
        // A whole interval has passed since the last ping: a gap still open is asked for again.
        self.wanted = None;
        if self.configuration.version() == 0 {
            // The first thing that a control plane sends: it was lost.
            self.pings_without_configuration += 1;
            if self.pings_without_configuration > PINGS_MAX {
                return Err(LinkBroken);
            }
        }
        if self.waiting.is_some() || !self.early.is_empty() {
            self.want(link).await?;
        }
        let nonce = self.next_nonce;
        self.next_nonce = self.next_nonce.wrapping_add(1);
        let (epoch, applied) = self.position();
        if self.pings.len() == PINGS_MAX {
            self.pings.pop_front();
        }
        // Before it leaves: the lease counts from here.
        self.pings.push_back((nonce, (self.state.clocks.boot)()));
        send(link, EdgeToControl::Ping(Ping { nonce, epoch, applied })).await
    }

    async fn want(&mut self, link: &EdgeLink) -> Result<(), LinkBroken> {
        let (epoch, applied) = self.position();
        if epoch.is_none() || self.wanted == Some(applied) {
            return Ok(());
        }
        self.wanted = Some(applied);
        debug!(after = %applied, "asking for missing entries");
        send(link, EdgeToControl::Want { after: applied }).await
    }

    async fn receive(&mut self, link: &EdgeLink, message: ToEdge) -> Result<Option<Ended>, LinkBroken> {
        match message {
            ToEdge::Entries { epoch, entries } => self.apply(link, epoch, entries).await?,
            ToEdge::Grant(grant) => self.grant(link, grant).await?,
            ToEdge::Prefetch { epoch, head, headers, urls } => {
                let outcomes = self.orders.place(Batch { epoch, head, headers, urls });
                if !outcomes.is_empty() {
                    send(link, EdgeToControl::Prefetched { outcomes }).await?;
                }
            }
            ToEdge::GiveUp => {
                self.give_up();
                send(link, EdgeToControl::Leave).await?;
                return Ok(Some(Ended::NotMember));
            }
            ToEdge::Drained => {
                self.give_up();
                return Ok(Some(Ended::Drained));
            }
            ToEdge::NotMember { nonce } => {
                if self.pings.iter().any(|(sent, _)| *sent == nonce) {
                    return Ok(Some(Ended::NotMember));
                }
            }
            ToEdge::Zones { version, zones } => {
                debug!(version, zones = zones.len(), "configuration");
                self.keeper.keep(version, &zones);
                self.configuration.take(&self.state, version, zones);
                self.shows_kept = false;
                self.pings_without_configuration = 0;
                if let Some((grant, sent_at)) = self.held.take() {
                    self.take_grant(link, grant, sent_at).await?;
                } else {
                    self.applied(link, self.state.ledger.applied()).await?;
                }
            }
        }
        Ok(None)
    }

    async fn apply(
        &mut self,
        link: &EdgeLink,
        epoch: Epoch,
        entries: Vec<LogEntry>,
    ) -> Result<(), LinkBroken> {
        let before = self.state.ledger.applied();
        match self.configuration.apply(&self.state, epoch, &entries) {
            Ok(waiting) => self.keep_early(epoch, waiting),
            Err(ApplyError::Gap { .. } | ApplyError::WrongEpoch { followed: None, .. }) => {
                self.keep_early(epoch, &entries);
                self.want(link).await?;
            }
            // Of a log that is not followed any more, or not yet: the next grant tells which.
            Err(ApplyError::WrongEpoch { followed: Some(_), .. }) => return Ok(()),
        }
        self.applied(link, before).await
    }

    fn keep_early(&mut self, epoch: Epoch, entries: &[LogEntry]) {
        if self.early_epoch != Some(epoch) {
            self.early.clear();
            self.early_epoch = Some(epoch);
        }
        self.early.extend(entries.iter().map(|entry| (entry.seq, entry.clone())));
        while self.early.len() > EARLY_ENTRIES_MAX {
            self.early.pop_last();
        }
    }

    /// Applies what came early and fits now, acknowledges, and takes the lease that waited for it.
    async fn applied(&mut self, link: &EdgeLink, before: PurgeSeq) -> Result<(), LinkBroken> {
        let Some((epoch, _)) = self.state.ledger.position() else { return Ok(()) };
        while let Some((seq, entry)) = self.early.pop_first() {
            if seq > self.state.ledger.applied().next() {
                self.early.insert(seq, entry);
                break;
            }
            match self.configuration.apply(&self.state, epoch, std::slice::from_ref(&entry)) {
                Ok([]) => {}
                Ok(_) => {
                    self.early.insert(seq, entry);
                    break;
                }
                Err(error) => debug!(%error, "early entry not applied"),
            }
        }
        let applied = self.state.ledger.applied();
        self.state.applied.notify_waiters();
        if let Some((of, head, until)) = self.waiting
            && of == epoch
            && head <= applied
        {
            self.waiting = None;
            self.state.lease.extend(until);
        }
        if applied > before {
            let count = applied.number() - before.number();
            self.state.counters.entries_applied.add(count);
            self.wanted = None;
            send(link, EdgeToControl::Acknowledge { epoch, applied }).await?;
        }
        Ok(())
    }

    async fn grant(&mut self, link: &EdgeLink, grant: Grant) -> Result<(), LinkBroken> {
        let Some(index) = self.pings.iter().position(|(nonce, _)| *nonce == grant.nonce) else {
            debug!(nonce = grant.nonce, "grant for no ping of this process");
            return Ok(());
        };
        let Some((_, sent_at)) = self.pings.remove(index) else { return Ok(()) };
        self.state.fence.granted();
        self.granted_at = (self.state.clocks.boot)();
        self.was_granted = true;
        self.lease = Some(grant.lease);
        self.state.granted_head.store(grant.head.number(), Ordering::Relaxed);
        let interval = grant.lease / self.state.config.pings_per_lease.max(1);
        self.ping_interval = interval.max(PING_INTERVAL_MIN);
        self.take_grant(link, grant, sent_at).await
    }

    async fn take_grant(
        &mut self,
        link: &EdgeLink,
        grant: Grant,
        sent_at: Duration,
    ) -> Result<(), LinkBroken> {
        if self.shows_kept {
            self.held = Some((grant, sent_at));
            return Ok(());
        }
        let (epoch, applied) = self.position();
        if epoch != Some(grant.epoch) || applied.next() < grant.first_retained {
            if self.configuration.version() < grant.config_version {
                // Among the entries passed over may be changes of cache keys, which go with a configuration.
                self.held = Some((grant, sent_at));
                return Ok(());
            }
            // Not every entry can be had: a comparison with the head, not a clearing.
            self.configuration.show_all(&self.state);
            match self.state.ledger.jump(grant.epoch, grant.head) {
                Ok(()) => info!(epoch = %grant.epoch, head = %grant.head, "jumped to the log's head"),
                Err(error) => {
                    warn!(%error, "grant refused");
                    return Ok(());
                }
            }
            if self.early_epoch != Some(grant.epoch) {
                self.early.clear();
            }
            self.early.retain(|seq, _| *seq > grant.head);
            self.waiting = None;
        }
        let until = sent_at + grant.lease;
        self.waiting = Some((grant.epoch, grant.head, until));
        let before = if epoch == Some(grant.epoch) { applied } else { PurgeSeq::ZERO };
        self.applied(link, before).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_differ_and_keep_their_bounds() {
        let wait = Duration::from_secs(1);
        assert_eq!(jittered(wait, 0), wait / 2);
        assert_eq!(jittered(wait, u32::MAX), wait);
        assert!(jittered(wait, 1 << 31) > wait / 2 && jittered(wait, 1 << 31) < wait);
    }
}
