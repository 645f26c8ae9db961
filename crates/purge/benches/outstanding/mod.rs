//! A zone with many purges outstanding or many objects cached: what the benchmark of the ledger measures, and a test
//! runs at a small size.

use purge::{
    CacheTag, Entry, Epoch, Judgement, Ledger, LogEntry, Method, PurgeSeq, Scope, Subject, Tags, UrlKey,
    UrlPrefix, ZoneClock,
};
use std::sync::Arc;
use zone::{HostName, ZoneId};

const EPOCH: Epoch = Epoch::new(1);
const HOST: &str = "www.example.com";
/// Cycled through by lookups, so that they don't find the same few marks in the processor's cache.
const OBJECTS_LOOKED_UP: usize = 4096;

/// What a cache holds of an object, as far as purges are concerned.
struct Object {
    /// Shared by all objects of the zone.
    clock: Arc<ZoneClock>,
    /// A path with four segments.
    url: UrlKey,
    /// Five tags.
    tags: Tags,
    /// When it was fetched.
    born: PurgeSeq,
}

/// One zone on one edge.
pub(crate) struct Outstanding {
    ledger: Ledger,
    zone: ZoneId,
    host: HostName,
    next_purge: usize,
    objects: Vec<Object>,
    next_object: usize,
}

impl Outstanding {
    /// A ledger with `marks` marks of every kind, and objects that none of them matches, all born before them.
    pub(crate) fn with_marks(marks: usize) -> Self {
        let mut this = Self::new();
        this.cache(OBJECTS_LOOKED_UP);
        // One of each kind, forgotten again: so that a walk looks for every kind, even with no mark there.
        this.purge(5);
        let forgotten = this.ledger.applied();
        assert_eq!(this.ledger.forget(EPOCH, forgotten), Ok(5));
        this.purge(marks);
        assert_eq!(this.ledger.mark_count(), marks);
        this
    }

    /// A ledger with no mark, and `objects` objects cached that hold its clock.
    pub(crate) fn with_objects(objects: usize) -> Self {
        let mut this = Self::new();
        this.cache(objects);
        this
    }

    fn new() -> Self {
        let ledger = Ledger::new([3; 16]);
        ledger.jump(EPOCH, PurgeSeq::ZERO).expect("an empty ledger jumps anywhere");
        let zone = ZoneId::from_random([1; 12]);
        let host = HostName::parse(HOST).expect("a host name");
        Self { ledger, zone, host, next_purge: 0, objects: Vec::new(), next_object: 0 }
    }

    fn cache(&mut self, objects: usize) {
        let (clock, born) = (self.ledger.clock(&self.zone), self.ledger.applied());
        let (tags, _) = Tags::read([b"news,sport,page-17,author-3,front".as_slice()]);
        self.objects.extend((0..objects).map(|n| {
            Object {
                clock: Arc::clone(&clock),
                url: UrlKey::of_request(self.host.clone(), &format!("/assets/images/{}/{n}.png", n % 100))
                    .expect("a path"),
                tags: tags.clone(),
                born,
            }
        }));
    }

    /// The next entry, which matches no object: one of five kinds in turn, of up to `different` different ones.
    pub(crate) fn next_entry(&mut self, different: usize) -> LogEntry {
        let n = self.next_purge % different;
        self.next_purge += 1;
        let path = format!("/assets/purged/{n}");
        let tag = || CacheTag::parse(&format!("purged-{n}")).expect("a tag");
        let scope = match n % 5 {
            0 => Scope::Url(UrlKey::of_request(self.host.clone(), &path).expect("a path")),
            1 => Scope::Prefix(UrlPrefix::new(self.host.clone(), &path).expect("a path")),
            2 => Scope::Tag { tag: tag(), host: None },
            3 => Scope::Tag { tag: tag(), host: Some(self.host.clone()) },
            _ => Scope::Host(HostName::parse(&format!("h{n}.example.com")).expect("a host name")),
        };
        let entry = Entry { zone: self.zone.clone(), scope, method: Method::Delete };
        LogEntry { seq: PurgeSeq::new(self.next_purge as u64), entry }
    }

    /// Applies an entry; they come in order.
    pub(crate) fn apply(&self, entry: &LogEntry) -> PurgeSeq {
        self.ledger.apply(EPOCH, std::slice::from_ref(entry)).expect("entries come in order")
    }

    fn purge(&mut self, count: usize) {
        for _ in 0..count {
            let entry = self.next_entry(usize::MAX);
            self.apply(&entry);
        }
    }

    /// Walks the marks for the next object.
    pub(crate) fn walk(&mut self) -> Judgement {
        let index = self.next_index();
        let Object { clock, url, tags, born } = &self.objects[index];
        self.ledger.judge(Subject { clock, url, tags }, *born, *born)
    }

    /// The whole check of a hit on the next object, which has passed a walk up to `checked`.
    pub(crate) fn hit(&mut self, checked: PurgeSeq) -> bool {
        let index = self.next_index();
        self.objects[index].clock.has_nothing_after(checked)
    }

    /// What is applied.
    pub(crate) fn applied(&self) -> PurgeSeq {
        self.ledger.applied()
    }

    fn next_index(&mut self) -> usize {
        self.next_object = (self.next_object + 1) % self.objects.len();
        self.next_object
    }
}
