//! A control plane whose log, grants and members the test decides.

use super::{PATIENCE, zone_id};
use feed::{ControlLink, EdgeToControl, Grant, Prefetched, ToEdge};
use purge::{Entry, Epoch, LogEntry, MemberId, Method, PurgeSeq, Scope};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use zone::{CacheConfig, Zone};

#[derive(Clone)]
pub(crate) struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    plan: Mutex<Plan>,
    /// Counts up with everything that the edge said.
    heard: watch::Sender<u64>,
    /// Messages that the test wants sent on the link that is open.
    outgoing: mpsc::Sender<ToEdge>,
    /// The configuration with its version.
    zones: Mutex<(u64, Vec<Zone>)>,
    /// Told to break the link that is open.
    breaks: Notify,
    /// Whether links are taken.
    listens: watch::Sender<bool>,
    links: AtomicUsize,
    sends_zones: AtomicBool,
}

struct Plan {
    epoch: Epoch,
    /// The position before the first entry in `log`.
    log_starts_after: u64,
    log: Vec<LogEntry>,
    first_retained: u64,
    lease: Option<Duration>,
    is_member: bool,
    answers_wants: bool,
    acknowledged: Option<(Epoch, u64)>,
    wants: Vec<u64>,
    members: Vec<MemberId>,
    has_left: bool,
    grants: u64,
    prefetched: Vec<Prefetched>,
}

impl Plan {
    fn head(&self) -> u64 {
        self.log_starts_after + self.log.len() as u64
    }
}

impl Control {
    pub(crate) fn start(
        mut links: mpsc::Receiver<ControlLink>,
        zones: Vec<Zone>,
        lease: Option<Duration>,
    ) -> Self {
        let (outgoing, mut wanted) = mpsc::channel(256);
        let plan = Plan {
            epoch: Epoch::new(1),
            log_starts_after: 0,
            log: Vec::new(),
            first_retained: 1,
            lease,
            is_member: true,
            answers_wants: true,
            acknowledged: None,
            wants: Vec::new(),
            members: Vec::new(),
            has_left: false,
            grants: 0,
            prefetched: Vec::new(),
        };
        let shared = Arc::new(Shared {
            plan: Mutex::new(plan),
            heard: watch::Sender::new(0),
            outgoing,
            zones: Mutex::new((1, zones)),
            breaks: Notify::new(),
            listens: watch::Sender::new(true),
            links: AtomicUsize::new(0),
            sends_zones: AtomicBool::new(true),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                let mut listens = serving.listens.subscribe();
                let _ = listens.wait_for(|listens| *listens).await;
                let Some(mut link) = links.recv().await else { return };
                serving.links.store(1, Ordering::SeqCst);
                loop {
                    tokio::select! {
                        message = link.receive() => {
                            let Some(message) = message else { break };
                            serving.hear(&link, message).await;
                        }
                        Some(message) = wanted.recv() => {
                            let _ = link.send(message).await;
                        }
                        () = serving.breaks.notified() => break,
                    }
                }
                serving.links.store(0, Ordering::SeqCst);
            }
        });
        Self { shared }
    }

    /// Answers pings from now on with a lease of this length.
    pub(crate) fn grant(&self, lease: Duration) {
        self.shared.plan.lock().unwrap().lease = Some(lease);
    }

    /// Whether pings are answered with leases.
    pub(crate) fn grants_leases(&self) -> bool {
        self.shared.plan.lock().unwrap().lease.is_some()
    }

    /// The position of the last entry of the log.
    pub(crate) fn head(&self) -> u64 {
        self.shared.plan.lock().unwrap().head()
    }

    /// Answers no pings from now on.
    pub(crate) fn refuse_grants(&self) {
        self.shared.plan.lock().unwrap().lease = None;
    }

    /// Answers pings of the present member with "no member". A new one is welcome.
    pub(crate) fn expel(&self) {
        self.shared.plan.lock().unwrap().is_member = false;
    }

    /// Breaks the link that is open.
    pub(crate) fn break_link(&self) {
        self.shared.breaks.notify_one();
    }

    /// Takes no more links.
    pub(crate) fn fall_silent(&self) {
        self.shared.listens.send_replace(false);
    }

    pub(crate) fn is_unlinked(&self) -> bool {
        self.shared.links.load(Ordering::SeqCst) == 0
    }

    /// Who opened a link, in order.
    pub(crate) fn members(&self) -> Vec<MemberId> {
        self.shared.plan.lock().unwrap().members.clone()
    }

    pub(crate) fn grants(&self) -> u64 {
        self.shared.plan.lock().unwrap().grants
    }

    pub(crate) fn has_left(&self) -> bool {
        self.shared.plan.lock().unwrap().has_left
    }

    /// What the edge asked for, in order: the positions after which entries were missing.
    pub(crate) fn wants(&self) -> Vec<u64> {
        self.shared.plan.lock().unwrap().wants.clone()
    }

    pub(crate) fn answer_wants(&self, answers: bool) {
        self.shared.plan.lock().unwrap().answers_wants = answers;
    }

    /// Begins another log whose head is `head`; its entries up to there can't be had.
    pub(crate) fn change_epoch(&self, epoch: u64, head: u64) {
        let mut plan = self.shared.plan.lock().unwrap();
        plan.epoch = Epoch::new(epoch);
        plan.log.clear();
        plan.log_starts_after = head;
        plan.first_retained = head + 1;
    }

    /// Drops the log up to its head: who has not applied it must jump.
    pub(crate) fn truncate(&self) {
        let mut plan = self.shared.plan.lock().unwrap();
        plan.log_starts_after = plan.head();
        plan.log.clear();
        plan.first_retained = plan.log_starts_after + 1;
    }

    /// Records a purge in the log without telling the edge.
    pub(crate) fn append(&self, scope: Scope, method: Method) -> u64 {
        let mut plan = self.shared.plan.lock().unwrap();
        let seq = PurgeSeq::new(plan.head() + 1);
        plan.log.push(LogEntry { seq, entry: Entry { zone: zone_id(), scope, method } });
        seq.number()
    }

    /// Decides about caching in the first zone without telling the edge, as the store does: what alters keys is an
    /// entry too. Returns the position of that entry, or the log's head.
    pub(crate) fn decide(&self, change: impl FnOnce(&mut CacheConfig)) -> u64 {
        let mut zones = self.shared.zones.lock().unwrap();
        let (version, zones) = &mut *zones;
        *version += 1;
        let caching = &mut zones[0].caching;
        let old = CacheConfig::clone(&caching.config);
        change(Arc::make_mut(&mut caching.config));
        if caching.config.keys_differ(&old) {
            let scope = Scope::Keys { config_version: *version };
            caching.keys_seq = self.append(scope, Method::Delete);
            caching.keys_version = *version;
        }
        self.head()
    }

    /// Whether links begin with the configuration.
    pub(crate) fn send_zones(&self, sends: bool) {
        self.shared.sends_zones.store(sends, Ordering::SeqCst);
    }

    /// Sends the configuration.
    pub(crate) fn push_zones(&self) {
        self.send(self.shared.zones_message());
    }

    /// Sends the last entry of the log.
    pub(crate) fn push(&self) {
        let head = self.shared.plan.lock().unwrap().head();
        self.push_after(head - 1);
    }

    /// Sends the entries after `after`.
    pub(crate) fn push_after(&self, after: u64) {
        let message = self.shared.entries_after(after);
        self.shared.outgoing.try_send(message).unwrap();
    }

    /// Sends the entries from `first` to `last`.
    pub(crate) fn push_range(&self, first: u64, last: u64) {
        let message = self.shared.entries_after(first - 1);
        let ToEdge::Entries { epoch, mut entries } = message else { return };
        entries.retain(|entry| entry.seq.number() <= last);
        self.send(ToEdge::Entries { epoch, entries });
    }

    /// Sends the whole log, in messages as a control plane does, as fast as the edge takes them.
    pub(crate) async fn push_all(&self) {
        let head = self.head();
        let mut after = 0;
        while after < head {
            let message = self.shared.entries_after(after);
            let ToEdge::Entries { entries, .. } = &message else { return };
            after = entries.last().unwrap().seq.number();
            let _ = self.shared.outgoing.send(message).await;
        }
    }

    /// Sends any message.
    pub(crate) fn send(&self, message: ToEdge) {
        self.shared.outgoing.try_send(message).unwrap();
    }

    /// Waits until the edge has acknowledged `seq` of the present log.
    pub(crate) async fn until_acknowledged(&self, seq: u64) {
        self.until("an acknowledgement", |plan| {
            plan.acknowledged.is_some_and(|(epoch, applied)| epoch == plan.epoch && applied >= seq)
        })
        .await;
    }

    /// Waits until the edge has told of `count` prefetches, and returns task and failure of each, by task.
    pub(crate) async fn until_prefetched(&self, count: usize) -> Vec<(u64, Option<String>)> {
        self.until("outcomes of prefetches", |plan| plan.prefetched.len() >= count).await;
        let plan = self.shared.plan.lock().unwrap();
        let mut outcomes: Vec<_> =
            plan.prefetched.iter().map(|one| (one.task, one.failure.clone())).collect();
        outcomes.sort();
        outcomes
    }

    async fn until(&self, what: &str, condition: impl Fn(&Plan) -> bool) {
        let mut heard = self.shared.heard.subscribe();
        let waited = tokio::time::timeout(PATIENCE, async {
            while !condition(&self.shared.plan.lock().unwrap()) {
                heard.changed().await.unwrap();
            }
        });
        assert!(waited.await.is_ok(), "in vain: {what}");
    }
}

impl Shared {
    fn zones_message(&self) -> ToEdge {
        let (version, zones) = self.zones.lock().unwrap().clone();
        ToEdge::Zones { version, zones }
    }

    fn entries_after(&self, after: u64) -> ToEdge {
        let plan = self.plan.lock().unwrap();
        let had = usize::try_from(after.saturating_sub(plan.log_starts_after)).unwrap();
        let entries = plan.log.iter().skip(had).take(256).cloned().collect();
        ToEdge::Entries { epoch: plan.epoch, entries }
    }

    async fn hear(&self, link: &ControlLink, message: EdgeToControl) {
        let answer = match message {
            EdgeToControl::Hello(hello) => {
                let mut plan = self.plan.lock().unwrap();
                plan.members.push(hello.member);
                plan.is_member = true;
                self.sends_zones.load(Ordering::SeqCst).then(|| self.zones_message())
            }
            EdgeToControl::Ping(ping) => self.answer_ping(ping.nonce),
            EdgeToControl::Acknowledge { epoch, applied } => {
                self.plan.lock().unwrap().acknowledged = Some((epoch, applied.number()));
                None
            }
            EdgeToControl::Want { after } => {
                let answers = {
                    let mut plan = self.plan.lock().unwrap();
                    plan.wants.push(after.number());
                    plan.answers_wants
                };
                answers.then(|| self.entries_after(after.number()))
            }
            EdgeToControl::Prefetched { outcomes } => {
                self.plan.lock().unwrap().prefetched.extend(outcomes);
                None
            }
            EdgeToControl::Leave => {
                self.plan.lock().unwrap().has_left = true;
                None
            }
        };
        if let Some(answer) = answer {
            let _ = link.send(answer).await;
        }
        self.heard.send_modify(|count| *count += 1);
    }

    fn answer_ping(&self, nonce: u64) -> Option<ToEdge> {
        let mut plan = self.plan.lock().unwrap();
        if !plan.is_member {
            return Some(ToEdge::NotMember { nonce });
        }
        let lease = plan.lease?;
        plan.grants += 1;
        Some(ToEdge::Grant(Grant {
            nonce,
            epoch: plan.epoch,
            head: PurgeSeq::new(plan.head()),
            first_retained: PurgeSeq::new(plan.first_retained),
            config_version: self.zones.lock().unwrap().0,
            lease,
        }))
    }
}
