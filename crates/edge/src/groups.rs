//! Groups of an origin's responses, and what made them stale (RFC 9875).
//!
//! The answer to an unsafe request may say that all responses of a group are stale. As with purges that is a mark and a
//! comparison: a grouped response remembers when its fetch was sent, in events of this edge, and is stale once any of its
//! groups has a later one. So what was under way is caught, too, and nothing is searched. Unlike a purge it is an event of
//! this edge alone: the RFC asks for no more. The marks are of this process; what is recovered from disk and has groups
//! counts as stale, since nobody knows what the process before it had marked.

use parking_lot::RwLock;
use purge::UrlKey;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many groups are remembered as stale. With more all are forgotten, and every grouped response is stale.
const GROUP_MARKS_MAX: usize = 65_536;

/// When something happened to groups: the number of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupEvent(u64);

impl GroupEvent {
    /// Before all events of this process: of what an earlier one stored.
    pub(crate) const FIRST: Self = Self(0);
}

/// The groups that were made stale, of all origins.
pub(crate) struct GroupMarks {
    /// The number of the last event.
    last: AtomicU64,
    marks: RwLock<Marks>,
    hasher: SipHasher13,
}

/// The start of this process.
const START: u64 = 1;

struct Marks {
    /// The last event of each group.
    events: HashMap<u128, u64>,
    /// Up to this event nothing is remembered.
    forgotten: u64,
}

/// The groups of one response.
#[derive(Clone)]
pub(crate) struct Grouping {
    marks: Arc<GroupMarks>,
    groups: Box<[u128]>,
    /// The last event before its fetch was sent.
    since: GroupEvent,
}

impl GroupMarks {
    /// None marked yet; the start itself is the first event, which makes stale whatever was fetched before it. `hash_key` should be random, so that nobody can make two groups one.
    pub(crate) fn new(hash_key: [u8; 16]) -> Arc<Self> {
        Arc::new(Self {
            last: AtomicU64::new(START),
            marks: RwLock::new(Marks { events: HashMap::new(), forgotten: START }),
            hasher: SipHasher13::new_with_key(&hash_key),
        })
    }

    /// The last event: read before a fetch is sent.
    pub(crate) fn last(&self) -> GroupEvent {
        GroupEvent(self.last.load(Ordering::Acquire))
    }

    /// What a response for `url` has to remember whose fetch was sent after `since`, if it names groups.
    pub(crate) fn grouping(
        self: &Arc<Self>,
        url: &UrlKey,
        groups: &[String],
        since: GroupEvent,
    ) -> Option<Box<Grouping>> {
        if groups.is_empty() {
            return None;
        }
        let groups = groups.iter().map(|group| self.key(url, group)).collect();
        Some(Box::new(Grouping { marks: Arc::clone(self), groups, since }))
    }

    /// Makes all responses of these groups stale that have the origin of `url` and whose fetch was sent before now.
    pub(crate) fn outdate(&self, url: &UrlKey, groups: &[String]) {
        if groups.is_empty() {
            return;
        }
        let mut marks = self.marks.write();
        let event = self.last.load(Ordering::Relaxed) + 1;
        if marks.events.len() + groups.len() > GROUP_MARKS_MAX {
            *marks = Marks { events: HashMap::new(), forgotten: event };
        }
        marks.events.extend(groups.iter().map(|group| (self.key(url, group), event)));
        // Only now, so that whoever reads this event finds its marks.
        self.last.store(event, Ordering::Release);
    }

    /// A group of one origin: the same name elsewhere is another group. The host stands for the origin, since an edge keeps
    /// one response for a URL whatever its scheme and port.
    fn key(&self, url: &UrlKey, group: &str) -> u128 {
        let mut hasher = self.hasher;
        // No host has a zero byte, so that host and group can't be cut otherwise.
        hasher.write(url.host().as_str().as_bytes());
        hasher.write_u8(0);
        hasher.write(group.as_bytes());
        hasher.finish128().as_u128()
    }
}

impl Grouping {
    /// The last event before the fetch was sent.
    pub(crate) fn since(&self) -> GroupEvent {
        self.since
    }

    /// Whether any of the groups was made stale since the fetch was sent. One atomic load while nothing was.
    pub(crate) fn is_outdated(&self) -> bool {
        if self.marks.last() <= self.since {
            return false;
        }
        let marks = self.marks.marks.read();
        let is_later = |event: u64| event > self.since.0;
        is_later(marks.forgotten)
            || self.groups.iter().any(|group| marks.events.get(group).copied().is_some_and(is_later))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zone::HostName;

    fn url(host: &str) -> UrlKey {
        UrlKey::of_request(HostName::parse(host).unwrap(), "/").unwrap()
    }

    fn groups(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_was_sent_before_an_event_of_one_of_its_groups_is_stale() {
        let marks = GroupMarks::new([1; 16]);
        let of =
            |host: &str, names: &[&str]| marks.grouping(&url(host), &groups(names), marks.last()).unwrap();
        assert!(marks.grouping(&url("a.test"), &[], marks.last()).is_none());
        let of_the_last_run = marks.grouping(&url("a.test"), &groups(&["x"]), GroupEvent::FIRST).unwrap();
        assert!(of_the_last_run.is_outdated());
        let (both, other, elsewhere) =
            (of("a.test", &["x", "y"]), of("a.test", &["z"]), of("b.test", &["x"]));
        assert!(!both.is_outdated());
        marks.outdate(&url("a.test"), &groups(&["y", "unknown"]));
        assert!(both.is_outdated());
        assert!(!other.is_outdated() && !elsewhere.is_outdated());
        let later = of("a.test", &["x", "y"]);
        marks.outdate(&url("a.test"), &[]);
        assert!(!later.is_outdated());
        marks.outdate(&url("a.test"), &groups(&["x"]));
        assert!(later.is_outdated());
    }

    #[test]
    fn too_many_marks_make_all_stale_that_was_sent_before() {
        let marks = GroupMarks::new([1; 16]);
        let other = marks.grouping(&url("a.test"), &groups(&["other"]), marks.last()).unwrap();
        for number in 0..GROUP_MARKS_MAX {
            marks.outdate(&url("a.test"), &[number.to_string()]);
        }
        assert!(!other.is_outdated());
        marks.outdate(&url("a.test"), &groups(&["one more"]));
        assert!(other.is_outdated());
        assert_eq!(marks.marks.read().events.len(), 1);
        assert!(!marks.grouping(&url("a.test"), &groups(&["other"]), marks.last()).unwrap().is_outdated());
    }
}
