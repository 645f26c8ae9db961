//! Edges in tiers: what a child tells its parent, and what the parent may answer it with.
//!
//! A child that asks a parent instead of the origin names its *floor*, the very born it will store, and whether its
//! lease held. The parent answers from its cache, or lets the child join a fetch, only if its own `seen` is at or above
//! that floor and one of the two leases held; it waits a short time for the first. Otherwise it passes the request on
//! without its cache having a part in it. Why that is enough: what a parent with `seen >= floor` finds clear has no mark
//! above its own born up to the floor, and the child stores it as born at the floor.
//!
//! Marks by a tag are another matter: a child may know a tag that its parent does not, when it got the content past it
//! (the parent was away, or passed the request on and kept an older copy). So a child whose own copy a purge has hit
//! tells which: the parent takes its own copy, if it was born below that, for hit as well.
//!
//! Both sides authenticate by the network's edge token. The parent marks every answer to a child ([`TIER`]), also its
//! own refusals: an answer without the mark is none of a parent's, and is not used, since it might lack tags.
//! Knows neither sockets nor objects.

use http::{HeaderMap, HeaderName, HeaderValue};
use purge::{Epoch, Method, PurgeSeq};
use ring::hmac;

/// What a child asks under, and what marks a parent's answer.
pub(crate) const TIER: HeaderName = HeaderName::from_static("everfresh-tier");

/// The edge token of a child.
pub(crate) const TIER_TOKEN: HeaderName = HeaderName::from_static("everfresh-tier-token");

/// The parent's mark on what the origin, or its cache, answered.
const ANSWERED: HeaderValue = HeaderValue::from_static("answered");

/// The parent's mark on an answer of its own: it has none of the origin's.
const REFUSED: HeaderValue = HeaderValue::from_static("refused");

/// What a child tells of the reading under which it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    /// The log that the child follows and the born that it will store; `None` before it follows one.
    pub(crate) floor: Option<(Epoch, PurgeSeq)>,
    /// Whether its lease held.
    pub(crate) leased: bool,
    /// What has purged the child's own copy, in the floor's log and not above it.
    pub(crate) hit: Option<Hit>,
}

/// The purge that a copy was found to be hit by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Whether the bytes must be fetched anew.
    pub(crate) method: Method,
    /// Its position.
    pub(crate) seq: PurgeSeq,
}

impl Hit {
    /// Whether a copy with this born is to be taken for hit.
    pub(crate) fn covers(self, born: PurgeSeq) -> bool {
        born < self.seq
    }

    /// What covers all that either does.
    pub(crate) fn with(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        let method = if self.method == other.method { self.method } else { Method::Delete };
        Self { method, seq: self.seq.max(other.seq) }
    }
}

/// Whether a request comes from a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A client, or whoever doesn't say that it is an edge.
    Client,
    /// An edge of this network.
    Child(Child),
}

impl Asker {
    /// The purge by which a copy with this born is taken for hit, because the asking child's copy was.
    pub(crate) fn hit(&self, born: PurgeSeq) -> Option<Hit> {
        match self {
            Self::Client => None,
            Self::Child(child) => child.hit.filter(|hit| hit.covers(born)),
        }
    }

    /// What a fetch for this asker tells a parent: what hit this edge's own copy, and what the asking child's.
    pub(crate) fn hit_with(&self, own: Option<Hit>) -> Option<Hit> {
        match (self, own) {
            (Self::Child(child), Some(own)) => Some(own.with(child.hit)),
            (Self::Child(child), None) => child.hit,
            (Self::Client, own) => own,
        }
    }
}

/// Why what a child says can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChildError {
    /// It has no token, or another network's.
    #[error("the edge token of the child is not this network's; give both edges the same token")]
    Token,
    /// It can't be read.
    #[error("the child's Everfresh-Tier field is malformed; both edges should run one version")]
    Malformed,
}

/// What a parent may do for a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Answer from the cache and let it join fetches.
    Cache,
    /// Wait until more is applied, then ask again.
    Wait,
    /// Pass the request on; the cache has no part in it.
    PassOn,
}

impl Part {
    /// What may be done where two conditions have to hold.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::PassOn, _) | (_, Self::PassOn) => Self::PassOn,
            (Self::Wait, _) | (_, Self::Wait) => Self::Wait,
            (Self::Cache, Self::Cache) => Self::Cache,
        }
    }
}

impl Child {
    /// The value of [`TIER`] in a request.
    pub(crate) fn to_value(self) -> HeaderValue {
        let leased = if self.leased { "leased" } else { "fenced" };
        let text = match (self.floor, self.hit) {
            (Some((epoch, floor)), Some(Hit { method, seq })) => {
                format!("{epoch} {floor} {leased} {} {seq}", method.as_str())
            }
            (Some((epoch, floor)), None) => format!("{epoch} {floor} {leased}"),
            (None, _) => format!("- 0 {leased}"),
        };
        HeaderValue::from_str(&text).unwrap_or(REFUSED)
    }

    fn parse(value: &HeaderValue) -> Option<Self> {
        let mut words = value.to_str().ok()?.split(' ');
        let (epoch, floor, leased) = (words.next()?, words.next()?, words.next()?);
        let floor = match (epoch, floor) {
            ("-", "0") => None,
            _ if epoch.len() == 16 => {
                Some((Epoch::new(u64::from_str_radix(epoch, 16).ok()?), parse_seq(floor)?))
            }
            _ => return None,
        };
        let leased = match leased {
            "leased" => true,
            "fenced" => false,
            _ => return None,
        };
        let hit = match words.next() {
            None => None,
            Some(method) => {
                let (method, (_, floor)) = (Method::parse(method)?, floor?);
                let seq = parse_seq(words.next()?).filter(|seq| *seq <= floor)?;
                Some(Hit { method, seq })
            }
        };
        words.next().is_none().then_some(Self { floor, leased, hit })
    }

    /// What a parent with this reading may do: `position` is the log that it follows and its `seen`.
    pub(crate) fn part(&self, position: Option<(Epoch, PurgeSeq)>, leased: bool) -> Part {
        if !(self.leased || leased) {
            return Part::PassOn;
        }
        match (self.floor, position) {
            (Some((of, floor)), Some((epoch, seen))) if of == epoch => {
                if seen >= floor {
                    Part::Cache
                } else {
                    Part::Wait
                }
            }
            // A floor of another log is out of reach; so is one that this edge doesn't follow yet.
            (Some(_), _) => Part::PassOn,
            // The child follows no log yet, or not any more the one of its fetch: what it has seen can't be compared.
            (None, _) => Part::PassOn,
        }
    }

    /// What this edge tells a parent of its own when it passes the child's request on: the higher floor, and a lease if
    /// either holds one.
    pub(crate) fn passed_on(&self, position: Option<(Epoch, PurgeSeq)>, leased: bool) -> Self {
        let floor = match (self.floor, position) {
            (Some((of, floor)), Some((epoch, seen))) if of == epoch => Some((of, floor.max(seen))),
            // Whose log is the newer one can't be told: the child's floor is what has to hold.
            (Some(floor), _) => Some(floor),
            (None, position) => position,
        };
        Self { floor, leased: self.leased || leased, hit: self.hit }
    }
}

fn parse_seq(text: &str) -> Option<PurgeSeq> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok().map(PurgeSeq::new))?
}

/// The network's edge token, to be presented to a parent and asked of children. Has no `Debug`.
#[derive(Clone)]
pub struct TierToken {
    presented: HeaderValue,
    key: hmac::Key,
    tag: hmac::Tag,
}

/// A token that HTTP does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the edge token holds characters that HTTP does not allow")]
pub struct TierTokenError;

impl TierToken {
    /// Takes a token of visible ASCII.
    pub fn new(token: &str) -> Result<Self, TierTokenError> {
        let mut presented = HeaderValue::from_str(token).map_err(|_| TierTokenError)?;
        presented.set_sensitive(true);
        // Any key does: comparing two MACs says nothing about where two tokens differ.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"everfresh tier");
        let tag = hmac::sign(&key, token.as_bytes());
        Ok(Self { presented, key, tag })
    }

    fn fits(&self, presented: Option<&HeaderValue>) -> bool {
        presented.is_some_and(|token| hmac::verify(&self.key, token.as_bytes(), self.tag.as_ref()).is_ok())
    }
}

/// Takes what a request says of tiers out of its fields, so that nothing of it goes further.
pub(crate) fn take_asker(headers: &mut HeaderMap, token: Option<&TierToken>) -> Result<Asker, ChildError> {
    let Some(told) = headers.remove(&TIER) else {
        headers.remove(&TIER_TOKEN);
        return Ok(Asker::Client);
    };
    let presented = headers.remove(&TIER_TOKEN);
    if !token.is_some_and(|token| token.fits(presented.as_ref())) {
        return Err(ChildError::Token);
    }
    Child::parse(&told).map(Asker::Child).ok_or(ChildError::Malformed)
}

/// Puts what a child tells into a request to its parent.
pub(crate) fn tell_parent(headers: &mut HeaderMap, child: Child, token: &TierToken) {
    headers.insert(TIER, child.to_value());
    headers.insert(TIER_TOKEN, token.presented.clone());
}

/// Marks an answer to a child: of the origin's, or of this edge's own.
pub(crate) fn mark(headers: &mut HeaderMap, is_own: bool) {
    headers.insert(TIER, if is_own { REFUSED } else { ANSWERED });
}

/// Whether an answer is what a parent has of the origin. Takes the mark away.
pub(crate) fn take_mark(headers: &mut HeaderMap) -> bool {
    headers.remove(&TIER).is_some_and(|mark| mark == ANSWERED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, seq: u64) -> Option<(Epoch, PurgeSeq)> {
        Some((Epoch::new(epoch), PurgeSeq::new(seq)))
    }

    fn hit(method: Method, seq: u64) -> Option<Hit> {
        Some(Hit { method, seq: PurgeSeq::new(seq) })
    }

    fn told(text: &str) -> Option<Child> {
        Child::parse(&HeaderValue::from_str(text).unwrap())
    }

    #[test]
    fn what_a_child_tells_is_read_back_and_nothing_else_is_taken() {
        for child in [
            Child { floor: at(7, 12), leased: true, hit: None },
            Child { floor: at(7, 12), leased: true, hit: hit(Method::Invalidate, 12) },
            Child { floor: at(7, 12), leased: false, hit: hit(Method::Delete, 3) },
            Child { floor: at(u64::MAX, u64::MAX), leased: false, hit: None },
            Child { floor: None, leased: false, hit: None },
        ] {
            assert_eq!(Child::parse(&child.to_value()), Some(child));
        }
        for bad in [
            "",
            "0000000000000007 12",
            "0000000000000007 12 leased more",
            "0000000000000007 12 LEASED",
            "7 12 leased",
            "0000000000000007 +12 leased",
            "0000000000000007  leased",
            "000000000000000g 12 leased",
            "0000000000000007 99999999999999999999 leased",
            "- 1 leased",
            "- 0 leased delete 0",
            "0000000000000007 12 leased delete",
            "0000000000000007 12 leased delete 13",
            "0000000000000007 12 leased refresh 3",
            "0000000000000007 12 leased delete 3 more",
        ] {
            assert_eq!(told(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_cache_has_a_part_only_at_or_above_the_floor_and_under_a_lease() {
        use Part::*;
        let cases = [
            // The child's floor and lease; the parent's position and lease; what it may do.
            (at(1, 5), true, at(1, 5), true, Cache),
            (at(1, 5), true, at(1, 9), false, Cache),
            (at(1, 5), false, at(1, 5), true, Cache),
            (at(1, 5), false, at(1, 9), false, PassOn),
            (at(1, 5), true, at(1, 4), true, Wait),
            (at(1, 5), false, at(1, 4), false, PassOn),
            (at(1, 5), true, at(2, 9), true, PassOn),
            (at(1, 5), true, None, true, PassOn),
            (None, false, at(1, 9), true, PassOn),
            (None, false, None, false, PassOn),
        ];
        for (floor, child_leased, position, leased, part) in cases {
            let child = Child { floor, leased: child_leased, hit: None };
            assert_eq!(child.part(position, leased), part, "{child:?} {position:?} {leased}");
        }
    }

    #[test]
    fn a_request_that_is_passed_on_carries_the_higher_floor() {
        let cases = [
            (at(1, 5), at(1, 9), at(1, 9)),
            (at(1, 9), at(1, 5), at(1, 9)),
            (at(2, 1), at(1, 5), at(2, 1)),
            (at(1, 5), None, at(1, 5)),
            (None, at(1, 5), at(1, 5)),
        ];
        for (floor, position, expected) in cases {
            let hit = hit(Method::Delete, 1).filter(|_| floor.is_some());
            let passed = Child { floor, leased: false, hit }.passed_on(position, true);
            assert_eq!(passed, Child { floor: expected, leased: true, hit });
        }
    }

    #[test]
    fn of_two_hits_nothing_is_lost() {
        let invalidated = Hit { method: Method::Invalidate, seq: PurgeSeq::new(5) };
        let deleted = Hit { method: Method::Delete, seq: PurgeSeq::new(3) };
        assert_eq!(invalidated.with(None), invalidated);
        assert_eq!(invalidated.with(Some(deleted)), Hit { method: Method::Delete, ..invalidated });
        assert!(invalidated.covers(PurgeSeq::new(4)) && !invalidated.covers(PurgeSeq::new(5)));
    }

    #[test]
    fn only_the_networks_own_token_makes_a_child() {
        let token = TierToken::new("secret").unwrap();
        let child = Child { floor: at(1, 2), leased: true, hit: None };
        let asked = |presented: Option<&str>, expected: Option<&TierToken>| {
            let mut headers = HeaderMap::new();
            headers.insert(TIER, child.to_value());
            if let Some(presented) = presented {
                headers.insert(TIER_TOKEN, HeaderValue::from_str(presented).unwrap());
            }
            let asker = take_asker(&mut headers, expected);
            assert!(headers.is_empty(), "nothing of it goes further");
            asker
        };
        assert_eq!(asked(Some("secret"), Some(&token)), Ok(Asker::Child(child)));
        assert_eq!(asked(Some("secre"), Some(&token)), Err(ChildError::Token));
        assert_eq!(asked(None, Some(&token)), Err(ChildError::Token));
        assert_eq!(asked(Some("secret"), None), Err(ChildError::Token));
        let mut headers = HeaderMap::new();
        tell_parent(&mut headers, child, &token);
        headers.insert(TIER, HeaderValue::from_static("x"));
        assert_eq!(take_asker(&mut headers, Some(&token)), Err(ChildError::Malformed));
        assert_eq!(take_asker(&mut HeaderMap::new(), Some(&token)), Ok(Asker::Client));
        assert!(TierToken::new("a\nb").is_err());
    }

    #[test]
    fn only_a_marked_answer_is_a_parents() {
        let mut headers = HeaderMap::new();
        assert!(!take_mark(&mut headers));
        mark(&mut headers, true);
        assert!(!take_mark(&mut headers));
        mark(&mut headers, false);
        assert!(take_mark(&mut headers) && headers.is_empty());
    }
}
