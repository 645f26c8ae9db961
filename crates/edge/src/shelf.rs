//! What is stored: objects by key, in memory within a budget of bytes, and on disk if the edge has a disk tier.
//!
//! Memory's eviction policy is the library's (of the S3-FIFO and Clock-PRO kind). What memory does not have,
//! [`Shelf::find`] asks of the disk ([`crate::disk`]), and takes into memory again. Whatever leaves the shelf for another
//! reason than room leaves both.

use crate::body::Content;
use crate::disk::{Disk, Recalled, Stored, StoredKind};
use crate::object::{Birth, Object, Standing, place};
use crate::slices::SliceOf;
use crate::variants::Variants;
use httpcache::{KeyParts, VaryRule};
use purge::{Ledger, PurgeSeq, Tags, UrlKey};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;
use zone::{Scheme, Zone};

/// What an entry that holds no object weighs, in bytes.
const MARKER_BYTES: u64 = 256;

/// The size of objects for which the store's tables are laid out at first.
const TYPICAL_OBJECT_BYTES: u64 = 16 * 1024;

/// Where an object is stored: a keyed hash of zone, URL and, where the response varies, of the request's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(u128);

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl ObjectKey {
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Which of `count` shards it belongs to.
    pub(crate) fn shard(self, count: usize) -> usize {
        usize::try_from(self.0 % count as u128).unwrap_or(0)
    }
}

/// What is stored under a key.
#[derive(Clone)]
pub(crate) enum Entry {
    /// A response.
    Object(Arc<Object>),
    /// The responses of this URL vary: they are under keys of their own. The generation makes those keys, so that
    /// forgetting this entry forgets them all.
    Varies(Arc<Selector>, u64),
    /// The last response could not be shared: until then requests don't wait for each other.
    Unshared(SystemTime),
}

/// What selects among the responses of one URL: the fields that the operator has in the key, then those that the
/// responses vary by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) parts: KeyParts,
    pub(crate) rule: VaryRule,
}

impl Selector {
    /// What a request selects; `None` if it can select nothing.
    fn selects(&self, request: &http::HeaderMap) -> Option<Vec<u8>> {
        let varies = self.rule.selects(request)?;
        if self.parts.is_empty() {
            return Some(varies);
        }
        let mut selected = self.parts.select(request)?;
        // No field value holds a zero byte.
        selected.push(0);
        selected.extend_from_slice(&varies);
        Some(selected)
    }
}

/// What a lookup found.
#[derive(Clone)]
pub(crate) struct Found {
    /// The key of the variant that the request selects, as far as is known.
    pub(crate) key: ObjectKey,
    pub(crate) object: Option<Arc<Object>>,
    /// Whether other variants may be there.
    pub(crate) varies: bool,
    /// Until when requests for this key don't wait for each other.
    pub(crate) unshared_until: Option<SystemTime>,
    /// What was stored is gone by a purge: its position, where it is known.
    pub(crate) purged: Option<Option<PurgeSeq>>,
}

/// What memory has for a request.
pub(crate) enum InMemory {
    Object(Arc<Object>),
    /// Responses vary, and the request's fields don't tell which it selects.
    Varies,
    Nothing,
}

/// What became of an object that a 304, or the answer to a HEAD, was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Renewal {
    /// What the 304 made of it is stored.
    Renewed,
    /// Nothing of it is stored.
    Dropped,
    /// The same, and a file went that must not come back: wait for [`Shelf::settle`] before anyone sees what the 304 brought.
    DroppedFromDisk,
}

/// What became of the tags that a part brought; see [`Shelf::add_tags`].
pub(crate) enum Tagged {
    /// The head has them all, and no file of one that doesn't can come back.
    Head(Arc<Object>),
    /// Wait for [`Shelf::settle`], then ask again: a file of the head that does not know them may come back until then.
    Unsettled,
    /// The head is not stored, or can't have them all and went.
    Gone,
    /// The same, and wait for [`Shelf::settle`].
    GoneUnsettled,
}

pub(crate) struct Shelf {
    cache: Cache<ObjectKey, Entry, ByWeight, BuildHasherDefault<KeyIsHash>>,
    hasher: SipHasher13,
    variants: Variants,
    disk: Option<Arc<Disk>>,
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<ObjectKey, Entry> for ByWeight {
    fn weight(&self, _key: &ObjectKey, entry: &Entry) -> u64 {
        match entry {
            Entry::Object(object) => object.weight(),
            Entry::Varies(..) | Entry::Unshared(_) => MARKER_BYTES,
        }
    }
}

/// The keys are hashes already.
#[derive(Default)]
pub(crate) struct KeyIsHash(u64);

impl Hasher for KeyIsHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = (key >> 64) as u64 ^ key as u64;
    }
}

impl Shelf {
    /// A store of at most `memory_bytes`, whose largest object has `object_bytes_max`. `hash_key` should be random; on disk
    /// it is the same as long as the files are.
    pub(crate) fn new(
        memory_bytes: u64,
        object_bytes_max: u64,
        hash_key: [u8; 16],
        disk: Option<Arc<Disk>>,
    ) -> Self {
        // The largest object must fit into one shard, twice; the library rounds the number of shards as it likes.
        let shards = usize::try_from(memory_bytes / object_bytes_max.max(1) / 2).unwrap_or(1).clamp(1, 64);
        let items = usize::try_from(memory_bytes / TYPICAL_OBJECT_BYTES).unwrap_or(usize::MAX).max(64);
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(items)
            .weight_capacity(memory_bytes)
            .build()
            .expect("both capacities are given");
        let cache = Cache::with_options(
            options,
            ByWeight,
            BuildHasherDefault::default(),
            DefaultLifecycle::default(),
        );
        let hasher = SipHasher13::new_with_key(&hash_key);
        Self { cache, hasher, variants: Variants::default(), disk }
    }

    /// The key of a URL before it is known whether its responses vary. It holds the version of the zone's cache keys:
    /// what was stored by other settings is found no more, and no fetch that was sent by them is joined.
    pub(crate) fn url_key(&self, zone: &Zone, url: &UrlKey) -> ObjectKey {
        let mut hasher = self.hasher;
        hasher.write(zone.id.as_str().as_bytes());
        hasher.write_u64(zone.caching.keys_version);
        hasher.write(url.scheme().map_or("", Scheme::as_str).as_bytes());
        hasher.write(b":");
        hasher.write(url.host().as_str().as_bytes());
        hasher.write(url.path_and_query().as_bytes());
        ObjectKey(hasher.finish128().as_u128())
    }

    fn variant_key(&self, url_key: ObjectKey, generation: u64, selected: &[u8]) -> ObjectKey {
        let mut hasher = self.hasher;
        hasher.write_u8(1);
        hasher.write_u128(url_key.0);
        hasher.write_u64(generation);
        hasher.write(selected);
        ObjectKey(hasher.finish128().as_u128())
    }

    /// Where a slice of the response under `head_key` belongs. Generation 0 is no response's: under it those wait who ask
    /// for a part of what is not known yet.
    pub(crate) fn slice_key(&self, head_key: ObjectKey, generation: u64, index: u64) -> ObjectKey {
        let mut hasher = self.hasher;
        hasher.write_u8(2);
        hasher.write_u128(head_key.0);
        hasher.write_u64(generation);
        hasher.write_u64(index);
        ObjectKey(hasher.finish128().as_u128())
    }

    /// Whether an object is stored there, in memory or on disk. Says nothing about whether it may be used, and is no use of it.
    pub(crate) fn holds(&self, key: ObjectKey) -> bool {
        matches!(self.cache.peek(&key), Some(Entry::Object(_)))
            || self.disk.as_ref().is_some_and(|disk| disk.holds(key))
    }

    /// The object that memory has there, without the use of it being noted.
    pub(crate) fn peek(&self, key: ObjectKey) -> Option<Arc<Object>> {
        match self.cache.peek(&key) {
            Some(Entry::Object(object)) => Some(object),
            Some(Entry::Varies(..) | Entry::Unshared(_)) | None => None,
        }
    }

    /// The object at a key that is known, of this URL, in memory or from disk.
    pub(crate) async fn at(&self, key: ObjectKey, url: &UrlKey) -> Option<Arc<Object>> {
        match (self.cache.get(&key), &self.disk) {
            (Some(Entry::Object(object)), _) if object.url == *url => {
                self.was_asked_again(key, &object);
                Some(object)
            }
            (Some(_), _) | (None, None) => None,
            (None, Some(disk)) => match disk.recall(key, url).await {
                Recalled::Object(object) => Some(self.promote(disk, key, url, object)),
                Recalled::Nothing | Recalled::Gone(_) => None,
            },
        }
    }

    /// Whether the head of a response is stored, in memory or on disk, or on its way there.
    pub(crate) fn holds_head(&self, of: SliceOf) -> bool {
        match (self.peek(of.head), &self.disk) {
            (Some(head), _) => of.is_of(&head),
            (None, disk) => disk.as_ref().is_some_and(|disk| disk.has_or_gets_head(of)),
        }
    }

    /// What purges leave of the head of a response, if it is stored.
    pub(crate) fn head_standing(&self, of: SliceOf, ledger: &Ledger) -> Option<Standing> {
        match (self.peek(of.head), &self.disk) {
            (Some(head), _) => of.is_of(&head).then(|| head.standing(ledger)),
            (None, disk) => disk.as_ref().and_then(|disk| disk.head_standing(of)),
        }
    }

    /// Drops the head of a response, if it is stored: nothing joins its slices any more, and a sweep gives them back.
    pub(crate) fn forget_head(&self, of: SliceOf) {
        let in_memory = self.peek(of.head);
        if in_memory.as_ref().is_some_and(|head| !of.is_of(head)) {
            return;
        }
        if let Some(disk) = self.disk.as_ref().filter(|disk| in_memory.is_some() || disk.has_head(of)) {
            disk.condemn(of.head);
        }
        if let Some(head) = in_memory {
            self.remove_from_memory(of.head, &head);
            if let Some(disk) = &self.disk {
                disk.condemn(of.head);
            }
        }
    }

    /// Drops a slice that can't be used, wherever it is, whatever purges leave of it.
    pub(crate) fn forget_slice(&self, key: ObjectKey, slice: &Arc<Object>) {
        if let Some(disk) = &self.disk {
            disk.condemn(key);
        }
        self.remove_from_memory(key, slice);
        if let Some(disk) = &self.disk {
            disk.condemn(key);
        }
    }

    /// Adds the tags that a part names to the stored head of its response: a purge of any must find all that belongs to it.
    /// Whoever calls holds the head's slot of flights. `ignored`: how many of them can't count.
    ///
    /// A file can't learn a tag, and one of before must not come back after a crash, vouching for slices. So the head's file
    /// goes first, durably, and nobody sees the new head before: `is_settled` says that the caller has waited for that.
    pub(crate) fn add_tags(&self, of: SliceOf, tags: &Tags, ignored: usize, is_settled: bool) -> Tagged {
        let key = of.head;
        let Some(head) = self.peek(key) else {
            // Memory has forgotten it: what the disk has of it does not know these tags.
            let has_head = self.disk.as_ref().is_some_and(|disk| disk.has_head(of) && disk.condemn(key));
            return if has_head { Tagged::GoneUnsettled } else { Tagged::Gone };
        };
        if !of.is_of(&head) {
            return Tagged::Gone;
        }
        let all = head.tags.union(tags).ok().filter(|_| ignored == 0);
        if all.as_ref() == Some(&head.tags) {
            return Tagged::Head(head);
        }
        if let Some(disk) = &self.disk {
            head.keep_off_disk();
            let was_on_disk = disk.condemn(key);
            if all.is_some() && (was_on_disk || !is_settled) {
                return Tagged::Unsettled;
            }
        }
        let Some(all) = all else {
            self.remove_from_memory(key, &head);
            return if self.disk.is_some() { Tagged::GoneUnsettled } else { Tagged::Gone };
        };
        let tagged = head.with_tags(all);
        self.cache.insert(key, Entry::Object(Arc::clone(&tagged)));
        if let Some(disk) = &self.disk {
            disk.offer_new(key, &tagged);
        }
        Tagged::Head(tagged)
    }

    /// Finds what a request selects, in memory or on disk. `url` guards against two URLs with one key; `parts` are the fields
    /// in the key; `request`, the request's fields, is only called where responses vary or there are such parts. What comes
    /// from disk was read after this was called: the ledger has yet to judge it.
    pub(crate) async fn find<'a>(
        &self,
        url_key: ObjectKey,
        url: &UrlKey,
        parts: &KeyParts,
        request: impl FnOnce() -> &'a http::HeaderMap,
    ) -> Found {
        let mut found = self.select(url_key, url, parts, request);
        let is_whole_key = found.varies || parts.is_empty();
        if found.object.is_none()
            && found.unshared_until.is_none()
            && is_whole_key
            && let Some(disk) = &self.disk
        {
            match disk.recall(found.key, url).await {
                Recalled::Nothing => {}
                Recalled::Gone(purge) => found.purged = Some(purge),
                Recalled::Object(object) => found.object = Some(self.promote(disk, found.key, url, object)),
            }
        }
        found
    }

    /// The same in memory only: what is on disk is not read, but tells whether responses vary.
    pub(crate) fn select<'a>(
        &self,
        url_key: ObjectKey,
        url: &UrlKey,
        parts: &KeyParts,
        request: impl FnOnce() -> &'a http::HeaderMap,
    ) -> Found {
        let mut found =
            Found { key: url_key, object: None, varies: false, unshared_until: None, purged: None };
        let mut entry = self.cache.get(&url_key).or_else(|| self.recall_selector(url_key));
        if let Some(Entry::Varies(selector, generation)) = &entry {
            found.varies = true;
            // Two URLs that share a key may have rules of their own, with other parts.
            let selected = Some(selector).filter(|selector| selector.parts == *parts);
            let Some(selected) = selected.and_then(|selector| selector.selects(request())) else {
                return found;
            };
            found.key = self.variant_key(url_key, *generation, &selected);
            entry = self.cache.get(&found.key);
        } else if !parts.is_empty() && matches!(entry, Some(Entry::Object(_))) {
            return found;
        }
        match entry {
            Some(Entry::Object(object)) if object.url == *url => {
                self.was_asked_again(found.key, &object);
                found.object = Some(object);
            }
            Some(Entry::Unshared(until)) => found.unshared_until = Some(until),
            Some(Entry::Object(_) | Entry::Varies(..)) | None => {}
        }
        found
    }

    /// What a request finds in memory of a URL with no fields in its key. `fields` gives the request's fields of these names; it
    /// may give none, where it can't tell.
    pub(crate) fn find_in_memory(
        &self,
        url_key: ObjectKey,
        url: &UrlKey,
        fields: impl FnOnce(&[http::HeaderName]) -> Option<http::HeaderMap>,
    ) -> InMemory {
        let (key, entry) = match self.cache.get(&url_key) {
            Some(Entry::Varies(selector, generation)) => {
                let selected = match &selector.rule {
                    VaryRule::Fields(names) if selector.parts.is_empty() => {
                        fields(names).and_then(|request| selector.selects(&request))
                    }
                    _ => None,
                };
                let Some(selected) = selected else { return InMemory::Varies };
                let key = self.variant_key(url_key, generation, &selected);
                (key, self.cache.get(&key))
            }
            entry => (url_key, entry),
        };
        match entry {
            Some(Entry::Object(object)) if object.url == *url => {
                self.was_asked_again(key, &object);
                InMemory::Object(object)
            }
            Some(Entry::Object(_) | Entry::Unshared(_) | Entry::Varies(..)) | None => InMemory::Nothing,
        }
    }

    /// Puts what was read from disk into memory, unless something is there by now.
    fn promote(&self, disk: &Disk, key: ObjectKey, url: &UrlKey, object: Arc<Object>) -> Arc<Object> {
        let recalled = || Ok::<_, std::convert::Infallible>(Entry::Object(Arc::clone(&object)));
        let Ok(there) = self.cache.get_or_insert_with(&key, recalled);
        let Entry::Object(there) = there else { return object };
        if there.url != *url {
            return object;
        }
        // Removed while it was being read: whoever removes takes it off the disk before off memory.
        let serial = object.place.load(Ordering::Acquire);
        if Arc::ptr_eq(&there, &object) && disk.peek(key).is_none_or(|stored| stored.serial != serial) {
            self.remove_from_memory(key, &object);
        }
        there
    }

    /// An object was found in memory a second time: then it may go to disk, if it isn't there. One load when it is.
    fn was_asked_again(&self, key: ObjectKey, object: &Arc<Object>) {
        if let Some(disk) = &self.disk
            && object.place.load(Ordering::Relaxed) == place::MEMORY
        {
            disk.offer(key, object);
            self.withdraw_if_replaced(disk, key, object);
        }
    }

    /// An offer may come late, of an object that is no longer the one under its key. Whoever takes it out of memory
    /// condemns the key afterwards, so that one of the two sees the other.
    fn withdraw_if_replaced(&self, disk: &Disk, key: ObjectKey, object: &Arc<Object>) {
        let there = self.cache.peek(&key);
        if !there.is_some_and(|there| matches!(there, Entry::Object(there) if Arc::ptr_eq(&there, object))) {
            disk.condemn(key);
        }
    }

    fn recall_selector(&self, url_key: ObjectKey) -> Option<Entry> {
        let disk = self.disk.as_ref()?;
        let (selector, generation) = disk.selector(url_key)?;
        self.keep_selector(disk, url_key, selector, generation)
    }

    /// Puts what was found on disk into memory, unless something is there by now, or it has been removed meanwhile.
    pub(crate) fn keep_selector(
        &self,
        disk: &Disk,
        url_key: ObjectKey,
        selector: Arc<Selector>,
        generation: u64,
    ) -> Option<Entry> {
        let recalled = || Ok::<_, std::convert::Infallible>(Entry::Varies(selector, generation));
        let Ok(entry) = self.cache.get_or_insert_with(&url_key, recalled);
        // Whoever removes takes it off the disk before off memory: either is seen here, or takes this away.
        let is_recalled = |entry: &Entry| matches!(entry, Entry::Varies(_, there) if *there == generation);
        if is_recalled(&entry) && disk.selector(url_key).is_none_or(|(_, there)| there != generation) {
            self.cache.remove_if(&url_key, is_recalled);
            return None;
        }
        Some(entry)
    }

    /// The key under which a response with this selector belongs, for a request with these fields. Remembers it.
    /// `None` if no request can select it.
    pub(crate) fn place(
        &self,
        url_key: ObjectKey,
        selector: Selector,
        request: &http::HeaderMap,
        fresh_generation: u64,
    ) -> Option<ObjectKey> {
        let selected = selector.selects(request)?;
        if selector.rule == VaryRule::None && selector.parts.is_empty() {
            return Some(url_key);
        }
        let generation = match self.cache.peek(&url_key).or_else(|| self.recall_selector(url_key)) {
            Some(Entry::Varies(known, generation)) if *known == selector => generation,
            _ => {
                let selector = Arc::new(selector);
                if let Some(disk) = &self.disk {
                    disk.condemn(url_key);
                    disk.offer_selector(url_key, &selector, fresh_generation);
                }
                self.cache.insert(url_key, Entry::Varies(selector, fresh_generation));
                fresh_generation
            }
        };
        let key = self.variant_key(url_key, generation, &selected);
        if let Some(oldest) = self.variants.note(generation, key) {
            self.remove(oldest);
        }
        Some(key)
    }

    /// Stores a new response, unless one is there that was born later. Whoever calls holds the key's slot of flights.
    pub(crate) fn insert(&self, key: ObjectKey, object: Arc<Object>) {
        self.put(key, object, |disk, object| disk.offer_new(key, object));
    }

    /// The same for a slice, whose head is stored.
    pub(crate) fn insert_slice(&self, key: ObjectKey, slice: Arc<Object>, of: SliceOf) {
        let head = self.peek(of.head).filter(|head| of.is_of(head));
        self.put(key, slice, |disk, slice| disk.offer_slice(key, slice, of, head.as_ref()));
    }

    fn put(&self, key: ObjectKey, object: Arc<Object>, offer: impl FnOnce(&Disk, &Arc<Object>)) {
        if let Some(Entry::Object(there)) = self.cache.peek(&key)
            && is_later(&there.birth, &object.birth)
        {
            return;
        }
        let Some(disk) = &self.disk else {
            self.cache.insert(key, Entry::Object(object));
            return;
        };
        if let Some(stored) = disk.peek(key)
            && let StoredKind::Object(header) = &stored.kind
            && is_later(&header.birth, &object.birth)
        {
            return;
        }
        // Off the disk before and after: what was read of it meanwhile, and what was offered, goes too.
        disk.condemn(key);
        self.cache.insert(key, Entry::Object(Arc::clone(&object)));
        disk.condemn(key);
        offer(disk, &object);
    }

    /// Puts what a 304 made of `asked` in its place; `None` if that may not be kept, and then `asked` goes.
    ///
    /// Another 304 may have made something else of the same content meanwhile. Each knows tags that the content has
    /// had, and a purge of any of them must find it: unless they agree, or if one may not be kept, neither stays. If
    /// the content is not stored any more, it stays away, since whatever removed it may have known such a tag.
    ///
    /// A file can't learn a tag at the moment at which memory does, and must not come back after a crash without it. So
    /// when a 304 brings a tag and the content is on disk, or on its way there, it stays in neither.
    pub(crate) fn renew(&self, key: ObjectKey, asked: &Arc<Object>, renewed: Option<Arc<Object>>) -> Renewal {
        let there = match self.cache.peek(&key) {
            Some(Entry::Object(there)) => there,
            // Memory has forgotten it, the disk has not.
            None if self.is_on_disk(key, asked) => Arc::clone(asked),
            Some(Entry::Varies(..) | Entry::Unshared(_)) | None => return Renewal::Dropped,
        };
        if !Content::is_same(&there.content, &asked.content) {
            return Renewal::Dropped;
        }
        // Tags that can't count are tags that are not known: no file knows of them.
        let knows_no_more =
            |renewed: &Object| renewed.tags == there.tags && renewed.tags_ignored == there.tags_ignored;
        let knows_no_less = |renewed: &Object| {
            there.tags == renewed.tags && (there.tags_ignored == 0 || renewed.tags_ignored > 0)
        };
        let agreed = renewed.filter(|renewed| Arc::ptr_eq(&there, asked) || knows_no_less(renewed));
        match (agreed, &self.disk) {
            // A 304 to an earlier fetch came late.
            (Some(renewed), _) if is_later(&there.birth, &renewed.birth) && knows_no_more(&renewed) => {
                Renewal::Renewed
            }
            (Some(renewed), None) => {
                self.cache.insert(key, Entry::Object(renewed));
                Renewal::Renewed
            }
            (Some(renewed), Some(disk)) if knows_no_more(&renewed) => {
                self.cache.insert(key, Entry::Object(Arc::clone(&renewed)));
                if there.place.load(Ordering::Acquire) != place::MEMORY {
                    disk.offer(key, &renewed);
                }
                Renewal::Renewed
            }
            (agreed, Some(disk)) => {
                // No file of it is written any more, and one that went for want of room may still come back.
                let had_file = there.keep_off_disk() >= place::FIRST_SERIAL;
                let was_on_disk = disk.condemn(key) || had_file;
                self.remove_from_memory(key, &there);
                if disk.condemn(key) || was_on_disk {
                    return Renewal::DroppedFromDisk;
                }
                match agreed {
                    Some(renewed) => {
                        self.cache.insert(key, Entry::Object(Arc::clone(&renewed)));
                        disk.offer_new(key, &renewed);
                        Renewal::Renewed
                    }
                    None => Renewal::Dropped,
                }
            }
            (None, None) => {
                self.remove_from_memory(key, &there);
                Renewal::Dropped
            }
        }
    }

    fn is_on_disk(&self, key: ObjectKey, object: &Object) -> bool {
        let Some(disk) = &self.disk else { return false };
        match object.place.load(Ordering::Acquire) {
            place::QUEUED => disk.is_queued(key, object),
            place => disk.peek(key).is_some_and(|stored| stored.serial == place),
        }
    }

    /// Waits until what [`Shelf::renew`] or [`Shelf::add_tags`] took off the disk can't come back. Whether that is certain.
    pub(crate) async fn settle(&self, key: ObjectKey) -> bool {
        match &self.disk {
            Some(disk) => disk.settle(key).await,
            None => true,
        }
    }

    /// Forgets what memory has under a key, as for want of room.
    #[cfg(test)]
    pub(crate) fn evict(&self, key: ObjectKey) {
        self.cache.remove(&key);
    }

    /// Remembers that responses under this key can't be shared, unless some that can are stored there: what one
    /// client got for itself must not take them from the others.
    pub(crate) fn insert_unshared(&self, key: ObjectKey, until: SystemTime) {
        let is_on_disk = || self.disk.as_ref().is_some_and(|disk| disk.peek(key).is_some());
        if matches!(self.cache.peek(&key), None | Some(Entry::Unshared(_))) && !is_on_disk() {
            self.cache.insert(key, Entry::Unshared(until));
        }
    }

    /// Drops `object`, of which purges leave nothing, if it is still the one stored there.
    pub(crate) fn remove_object(&self, key: ObjectKey, object: &Arc<Object>) {
        if let Some(disk) = &self.disk {
            disk.condemn_if_gone(key);
        }
        self.remove_from_memory(key, object);
    }

    fn remove_from_memory(&self, key: ObjectKey, object: &Arc<Object>) {
        self.cache
            .remove_if(&key, |entry| matches!(entry, Entry::Object(there) if Arc::ptr_eq(there, object)));
    }

    /// Drops whatever is stored for a URL, all variants.
    pub(crate) fn remove(&self, url_key: ObjectKey) {
        if let Some(disk) = &self.disk {
            disk.remove(url_key);
        }
        self.cache.remove(&url_key);
        if let Some(disk) = &self.disk {
            disk.remove(url_key);
        }
    }

    /// What is stored of a URL: its response, or its variants, for which the whole store is walked.
    pub(crate) fn stored_of(&self, url_key: ObjectKey, url: &UrlKey, most: usize) -> Vec<Arc<Object>> {
        match self.cache.peek(&url_key) {
            Some(Entry::Object(object)) if object.url == *url => vec![object],
            Some(Entry::Varies(..)) => {
                let objects = self.objects().map(|(_, object)| object);
                let is_of_url = |object: &Arc<Object>| object.url == *url && object.content.slice().is_none();
                objects.filter(is_of_url).take(most).collect()
            }
            Some(Entry::Object(_) | Entry::Unshared(_)) | None => Vec::new(),
        }
    }

    /// What is on disk of a URL and not in memory, too.
    pub(crate) fn stored_on_disk(&self, url_key: ObjectKey, url: &UrlKey, most: usize) -> Vec<Arc<Stored>> {
        let found = self.disk.iter().flat_map(|disk| disk.stored_of(url_key, url, most));
        found
            .filter(|(key, _)| !matches!(self.cache.peek(key), Some(Entry::Object(_))))
            .map(|(_, stored)| stored)
            .collect()
    }

    /// The disk tier, if there is one.
    pub(crate) fn disk(&self) -> Option<&Arc<Disk>> {
        self.disk.as_ref()
    }

    /// Every object in memory.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (ObjectKey, Arc<Object>)> + '_ {
        self.cache.iter().filter_map(|(key, entry)| match entry {
            Entry::Object(object) => Some((key, object)),
            Entry::Varies(..) | Entry::Unshared(_) => None,
        })
    }

    /// How many entries memory holds.
    pub(crate) fn entry_count(&self) -> usize {
        self.cache.len()
    }

    /// How much they weigh, in bytes.
    pub(crate) fn weight_bytes(&self) -> u64 {
        self.cache.weight()
    }
}

/// Whether what is stored was born later than what is to be stored, by the same log.
fn is_later(stored: &Birth, new: &Birth) -> bool {
    Arc::ptr_eq(&stored.clock, &new.clock) && stored.born > new.born
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{Content, Writer};
    use crate::object::NewObject;
    use crate::variants::VARIANTS_PER_URL_MAX;
    use http::{HeaderMap, StatusCode};
    use httpcache::{Freshness, Policy};
    use purge::{Ledger, PurgeSeq, Tags};
    use zone::{HostName, ZoneCaching, ZoneId};

    /// One URL, one key, one content.
    struct World {
        shelf: Shelf,
        ledger: Ledger,
        url: UrlKey,
        key: ObjectKey,
    }

    impl World {
        fn new() -> Self {
            let shelf = Shelf::new(1 << 20, 1 << 16, [1; 16], None);
            let url = UrlKey::of_request(HostName::parse("a.test").unwrap(), "/").unwrap();
            let zone = Zone {
                id: ZoneId::parse("zone-aaaaaaaaaaaa").unwrap(),
                name: HostName::parse("a.test").unwrap(),
                paused: false,
                domains: Vec::new(),
                caching: ZoneCaching::default(),
            };
            let key = shelf.url_key(&zone, &url);
            Self { shelf, ledger: Ledger::new([1; 16]), url, key }
        }

        fn object(&self, born: u64, tags: &str, content: &Arc<Content>) -> Arc<Object> {
            let (tags, tags_ignored) = Tags::read([tags.as_bytes()]);
            let zone = ZoneId::parse("zone-aaaaaaaaaaaa").unwrap();
            let (headers, policy, now) = (HeaderMap::new(), Policy::default(), SystemTime::UNIX_EPOCH);
            Object::new(NewObject {
                url: self.url.clone(),
                birth: Birth { clock: self.ledger.clock(&zone), born: PurgeSeq::new(born) },
                tags,
                tags_ignored,
                grouping: None,
                status: StatusCode::OK,
                freshness: Freshness::of_response(StatusCode::OK, &headers, now, now, &policy),
                headers,
                declared_length: None,
                content: Arc::clone(content),
            })
        }

        fn stored(&self) -> Option<Arc<Object>> {
            match self.shelf.cache.peek(&self.key) {
                Some(Entry::Object(object)) => Some(object),
                _ => None,
            }
        }
    }

    #[test]
    fn a_304_never_takes_away_a_tag_that_another_304_brought() {
        // Tags and born of a first 304, then of a second that was asked about the same object; whether it stays.
        let cases = [
            ((0, "news"), Some((0, "")), false),
            ((1, "news"), Some((0, "")), false),
            ((0, ""), Some((1, "news")), false),
            ((1, ""), Some((0, "news")), false),
            ((1, "news"), Some((2, "news")), true),
            ((1, "news"), None, false),
            // A tag that can't count is one, too.
            ((1, "no tag"), Some((2, "")), false),
            ((1, "no tag"), Some((2, "not this")), true),
        ];
        for ((born, tags), second, stays) in cases {
            let world = World::new();
            let (_writer, content) = Writer::new(1 << 16);
            let asked = world.object(0, "", &content);
            world.shelf.insert(world.key, Arc::clone(&asked));
            let first = world.object(born, tags, &content);
            let renewal = world.shelf.renew(world.key, &asked, Some(Arc::clone(&first)));
            assert_eq!(renewal, Renewal::Renewed);
            assert!(Arc::ptr_eq(&world.stored().unwrap(), &first));
            let second = second.map(|(born, tags)| world.object(born, tags, &content));
            let renewal = world.shelf.renew(world.key, &asked, second);
            assert_eq!(renewal, if stays { Renewal::Renewed } else { Renewal::Dropped }, "{born} {tags}");
            assert_eq!(world.stored().is_some(), stays, "{born} {tags}");
        }
    }

    #[test]
    fn a_304_renews_nothing_but_the_content_it_was_asked_about() {
        let world = World::new();
        let ((_writer, old), (_other, new)) = (Writer::new(1 << 16), Writer::new(1 << 16));
        let asked = world.object(0, "", &old);
        world.shelf.insert(world.key, world.object(0, "", &new));
        let renew = |renewed| assert_eq!(world.shelf.renew(world.key, &asked, renewed), Renewal::Dropped);
        renew(Some(world.object(3, "", &old)));
        assert!(Arc::ptr_eq(&world.stored().unwrap().content, &new));
        renew(None);
        assert!(world.stored().is_some());
        world.shelf.remove(world.key);
        renew(Some(world.object(3, "", &old)));
        assert!(world.stored().is_none(), "what was removed stays away");
    }

    #[test]
    fn a_url_has_so_many_variants_and_the_oldest_goes_first() {
        let world = World::new();
        let (_writer, content) = Writer::new(1 << 16);
        let selector = || Selector {
            parts: KeyParts::default(),
            rule: VaryRule::Fields([http::HeaderName::from_static("x-a")].into()),
        };
        let place = |number: usize| {
            let mut request = HeaderMap::new();
            request.insert("x-a", number.into());
            world.shelf.place(world.key, selector(), &request, 1).unwrap()
        };
        let keys: Vec<ObjectKey> = (0..=VARIANTS_PER_URL_MAX)
            .map(|number| {
                let key = place(number);
                world.shelf.insert(key, world.object(0, "", &content));
                // To be there already takes no further place.
                assert_eq!(place(number), key);
                key
            })
            .collect();
        let stored = |key: &ObjectKey| matches!(world.shelf.cache.peek(key), Some(Entry::Object(_)));
        assert!(!stored(&keys[0]));
        assert!(keys[1..].iter().all(stored));
    }
}
