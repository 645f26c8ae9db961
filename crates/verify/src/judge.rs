//! The promise, held against one answer. Pure: times and stamps come in as arguments.
//!
//! All times are of one clock, that of this process, in which purges are sent, the origin stands and answers are read.
//! A purge was accepted after its call was sent, and a fetch began before the origin read it: so whatever the origin read
//! before the call was sent began before the task was accepted, for certain. What lies between the call and its answer
//! can't be told, and is not held against anyone. So there is no false alarm, and a purge that is ignored is found.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use teo::edgeone::{PurgeMethod, PurgeType};

/// How many finished purges are remembered for each object. Later ones ask for more than earlier ones.
pub(crate) const PURGES_PER_OBJECT_MAX: usize = 64;

/// A purge that has read `success`.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) job: String,
    pub(crate) kind: PurgeType,
    pub(crate) method: PurgeMethod,
    pub(crate) target: String,
    /// When its call was sent.
    pub(crate) called: Duration,
    /// When the answer to the call was there.
    pub(crate) accepted: Duration,
    /// When success was read.
    pub(crate) succeeded: Duration,
}

/// What an answer was made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// When its request was sent.
    pub(crate) started: Duration,
    /// The version.
    pub(crate) version: u64,
    /// When the fetch that brought its bytes reached the origin; `None` where the bytes don't tell.
    pub(crate) bytes_fetched: Option<Duration>,
    /// When the last exchange with the origin about it, perhaps a 304, reached the origin; `None` where it does not tell.
    pub(crate) confirmed: Option<Duration>,
}

/// Why an answer breaks the promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// Its version was no more the newest when the purge was sent.
    OldVersion,
    /// A delete was finished, and its bytes were fetched before that was accepted.
    OldBytes,
    /// An invalidate was finished, and the origin was not asked about it since that was accepted.
    NotConfirmed,
    /// It is made of two versions, or of two fetches, or is nothing that the origin sent.
    Mixed,
}

impl Breach {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OldVersion => "old-version",
            Self::OldBytes => "old-bytes",
            Self::NotConfirmed => "not-confirmed",
            Self::Mixed => "mixed-content",
        }
    }
}

/// The finished purges of each object.
#[derive(Debug)]
pub(crate) struct Judge {
    purges: Vec<RwLock<VecDeque<OfObject>>>,
}

/// A finished purge that matched an object, and the object's version when it was sent.
type OfObject = (Arc<Finished>, u64);

impl Judge {
    pub(crate) fn new(objects: usize) -> Self {
        Self { purges: (0..objects).map(|_| RwLock::default()).collect() }
    }

    /// Takes note of a finished purge that matched an object, and of the object's version when it was sent.
    pub(crate) fn finished(&self, object: usize, purge: &Arc<Finished>, version: u64) {
        let mut purges = self.purges[object].write();
        if purges.len() == PURGES_PER_OBJECT_MAX {
            purges.pop_front();
        }
        purges.push_back((Arc::clone(purge), version));
    }

    /// Holds an answer against every purge that was finished before its request was sent: how many those are, and the
    /// first that it breaks.
    pub(crate) fn check(&self, object: usize, seen: &Seen) -> (usize, Option<(Breach, Arc<Finished>)>) {
        let purges = self.purges[object].read();
        let finished = purges.iter().filter(|(purge, _)| purge.succeeded < seen.started);
        let mut count = 0;
        let mut broken = None;
        for (purge, version) in finished {
            count += 1;
            let breach = breach(seen, purge, *version);
            broken = broken.or_else(|| breach.map(|breach| (breach, Arc::clone(purge))));
        }
        (count, broken)
    }
}

fn breach(seen: &Seen, purge: &Finished, version: u64) -> Option<Breach> {
    if seen.version < version {
        return Some(Breach::OldVersion);
    }
    let is_before = |time: Duration| time < purge.called;
    match purge.method {
        PurgeMethod::Delete => seen.bytes_fetched.is_some_and(is_before).then_some(Breach::OldBytes),
        PurgeMethod::Invalidate => {
            let last = seen.confirmed.into_iter().chain(seen.bytes_fetched).max();
            // Bytes alone say nothing: they may have been confirmed since.
            let tells = seen.confirmed.is_some();
            (tells && last.is_some_and(is_before)).then_some(Breach::NotConfirmed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn check(method: PurgeMethod, seen: Seen, expected: Option<Breach>) {
        let judge = Judge::new(1);
        let purge = Finished {
            job: "j".into(),
            kind: PurgeType::PurgeUrl,
            method,
            target: String::new(),
            called: at(100),
            accepted: at(110),
            succeeded: at(120),
        };
        judge.finished(0, &Arc::new(purge), 5);
        let (count, broken) = judge.check(0, &seen);
        assert_eq!(broken.map(|(breach, _)| breach), expected, "{method:?} {seen:?}");
        assert_eq!(count, usize::from(seen.started > at(120)));
    }

    #[test]
    fn what_was_fetched_before_the_call_breaks_the_promise_once_success_was_read() {
        use PurgeMethod::{Delete, Invalidate};
        let seen = |started, version, bytes: u64, confirmed: u64| Seen {
            started: at(started),
            version,
            bytes_fetched: Some(at(bytes)),
            confirmed: Some(at(confirmed)),
        };
        for method in [Delete, Invalidate] {
            check(method, seen(130, 5, 101, 101), None);
            check(method, seen(130, 4, 101, 101), Some(Breach::OldVersion));
            // Before success nothing is promised.
            check(method, seen(120, 4, 50, 50), None);
            // Whether this began before the task was accepted can't be told.
            check(method, seen(130, 5, 100, 100), None);
        }
        check(Delete, seen(130, 5, 99, 99), Some(Breach::OldBytes));
        check(Delete, seen(130, 5, 99, 115), Some(Breach::OldBytes));
        check(Invalidate, seen(130, 5, 99, 115), None);
        check(Invalidate, seen(130, 5, 99, 99), Some(Breach::NotConfirmed));
        // What does not tell is judged by its version.
        let silent = Seen { started: at(130), version: 5, bytes_fetched: None, confirmed: None };
        check(Delete, silent, None);
        check(Invalidate, silent, None);
        check(Invalidate, Seen { bytes_fetched: Some(at(1)), ..silent }, None);
        check(Invalidate, Seen { version: 4, ..silent }, Some(Breach::OldVersion));
    }
}
