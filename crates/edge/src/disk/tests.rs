//! The tier on volumes that lose what was not synced, on volumes that fail, and with files that are damaged.

mod damage;
mod failing;
mod power_loss;
mod selector;
mod simulated;
mod slices;

use super::{Disk, DiskCounts, Keeper, Opened};
use crate::body::Content;
use crate::clock::Clocks;
use crate::groups::GroupMarks;
use crate::object::{Birth, NewObject, Object};
use crate::shelf::{ObjectKey, Shelf};
use crate::surroundings::Randomness;
use http::{HeaderMap, StatusCode};
use httpcache::{Freshness, Policy};
use purge::{Entry, Epoch, Ledger, LogEntry, Method, PurgeSeq, Scope, Tags, UrlKey};
use simulated::Simulated;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use zone::{HostName, Zone, ZoneCaching, ZoneId};

const EPOCH: Epoch = Epoch::new(7);

fn zone_id() -> ZoneId {
    ZoneId::parse("zone-aaaaaaaaaaaa").unwrap()
}

fn url(number: u8) -> UrlKey {
    UrlKey::of_request(HostName::parse("a.test").unwrap(), &format!("/{number}")).unwrap()
}

thread_local! {
    /// The boot clock of a test: nothing here happens because real time goes by.
    static BOOT: Cell<Duration> = const { Cell::new(Duration::from_secs(1)) };
}

fn boot() -> Duration {
    BOOT.get()
}

fn advance(time: Duration) {
    BOOT.set(boot() + time);
}

/// A tier on a volume, with memory in front of it, whose thread takes its turns when it is told to.
struct Running {
    disk: Arc<Disk>,
    keeper: Keeper,
    shelf: Shelf,
    ledger: Arc<Ledger>,
}

impl Running {
    fn start(volume: &Arc<Simulated>) -> Self {
        let volume = Arc::clone(volume);
        let opened = Opened::read(&*volume, Randomness::system()).unwrap();
        let (ledger, shelf_key) = (Arc::clone(&opened.ledger), opened.tier.shelf_key);
        let groups = GroupMarks::new([1; 16]);
        let clocks = Clocks { wall: || SystemTime::UNIX_EPOCH, boot };
        let (disk, keeper) = Disk::new(volume, opened, groups, 1 << 20, 1 << 16, clocks);
        let shelf = Shelf::new(1 << 20, 1 << 16, shelf_key, Some(Arc::clone(&disk)));
        Self { disk, keeper, shelf, ledger }
    }

    fn counts(&self) -> &DiskCounts {
        self.disk.counts()
    }

    /// Takes turns until nothing is left to do.
    fn work(&mut self) {
        while !self.keeper.turn() {}
    }

    fn key(&self, number: u8) -> ObjectKey {
        let zone = Zone {
            id: zone_id(),
            name: HostName::parse("a.test").unwrap(),
            paused: false,
            domains: Vec::new(),
            caching: ZoneCaching::default(),
        };
        self.shelf.url_key(&zone, &url(number))
    }

    /// Stores a response in memory, whose fetch began at `born`; it is queued for the disk.
    fn store(&self, number: u8, born: PurgeSeq, tags: &str, content: &[u8]) {
        self.shelf.insert(self.key(number), object(&self.ledger, number, born, tags, content));
    }

    /// What the disk has of a URL.
    fn recall(&self, runtime: &tokio::runtime::Runtime, number: u8) -> Option<Arc<Object>> {
        match runtime.block_on(self.disk.recall(self.key(number), &url(number))) {
            super::Recalled::Object(object) => Some(object),
            super::Recalled::Nothing | super::Recalled::Gone(_) => None,
        }
    }
}

fn object(ledger: &Ledger, number: u8, born: PurgeSeq, tags: &str, content: &[u8]) -> Arc<Object> {
    let (headers, policy, now) = (HeaderMap::new(), Policy::default(), SystemTime::UNIX_EPOCH);
    Object::new(NewObject {
        url: url(number),
        birth: Birth { clock: ledger.clock(&zone_id()), born },
        tags: Tags::read([tags.as_bytes()]).0,
        tags_ignored: 0,
        grouping: None,
        status: StatusCode::OK,
        freshness: Freshness::of_response(StatusCode::OK, &headers, now, now, &policy),
        headers,
        declared_length: None,
        content: Content::of_whole(content.to_vec().into()),
    })
}

fn entry(seq: u64, scope: Scope, method: Method) -> LogEntry {
    LogEntry { seq: PurgeSeq::new(seq), entry: Entry { zone: zone_id(), scope, method } }
}

fn count(counter: &crate::counter::Counter) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}
