//! Whom an edge asks: its parents in turn, and the origin when none of them answers.
//!
//! A parent that can't be reached, that refuses or that answers without the mark of one is passed over: an edge without
//! a parent is slower, not wrong. What can't be sent twice goes to a parent only if one is well, and to nobody else then.

use crate::flight::{FOLLOW_TIMEOUT, FetchFailure};
use crate::min_seq::MIN_SEQ;
use crate::object::Birth;
use crate::origin::{OriginClient, OriginRequest, ResponseBody};
use crate::state::{Counters, State};
use crate::tier::{self, Child, Hit, TierToken};
use http::{HeaderName, Response};
use purge::{Epoch, PurgeSeq, ZoneClock};
use std::time::Duration;
use zone::{HostName, HostNameError, Origin, OriginProtocol, Route};

/// What a parent says of its own doing. A child says its own.
const OF_PARENT: [HeaderName; 3] = [
    HeaderName::from_static("cache-status"),
    HeaderName::from_static("eo-cache-status"),
    HeaderName::from_static("eo-log-uuid"),
];

/// How long one parent may take for the head of a response: the origin is still to be asked within the time that those
/// who share the fetch wait.
const PARENT_TIMEOUT: Duration = Duration::from_secs(20);

const _: () = assert!(PARENT_TIMEOUT.as_secs() < FOLLOW_TIMEOUT.as_secs());

/// How many parents an edge may have.
pub(crate) const PARENTS_MAX: usize = 8;

/// An edge to ask instead of origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its address, or a name of it.
    pub address: HostName,
    /// Its port.
    pub port: u16,
    /// Whether it is asked over TLS. Its certificate must then be valid for the domains that are asked for.
    pub is_encrypted: bool,
}

/// Why a text names no parent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParentError {
    /// It is no URL of a host.
    #[error("{0:?} names no parent: write http://HOST[:PORT] or https://HOST[:PORT], and no path")]
    Malformed(String),
    /// The host is none.
    #[error("{0:?} names no parent: {1}")]
    Host(String, #[source] HostNameError),
}

/// The edges above this one.
#[derive(Clone, Default)]
pub struct Tiers {
    /// Which edges to ask, best first. None: origins are asked. At most 8.
    pub parents: Vec<Parent>,
    /// The network's edge token: presented to parents, and asked of children. Without one this edge has neither.
    pub token: Option<TierToken>,
}

impl std::fmt::Debug for Tiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tiers").field("parents", &self.parents).finish_non_exhaustive()
    }
}

impl Parent {
    /// Reads `http://HOST[:PORT]` or `https://HOST[:PORT]`, with the scheme's own port if none is given.
    pub fn parse(text: &str) -> Result<Self, ParentError> {
        let malformed = || ParentError::Malformed(text.chars().take(200).collect());
        let (is_encrypted, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return Err(malformed()),
        };
        let authority: http::uri::Authority =
            rest.strip_suffix('/').unwrap_or(rest).parse().map_err(|_| malformed())?;
        if authority.as_str().contains('@') {
            return Err(malformed());
        }
        let address =
            HostName::parse(authority.host()).map_err(|error| ParentError::Host(text.to_owned(), error))?;
        let port = match authority.port_u16() {
            Some(0) => return Err(malformed()),
            Some(port) => port,
            // What stands behind the host is no port.
            None if authority.as_str() != authority.host() => return Err(malformed()),
            None => {
                if is_encrypted {
                    443
                } else {
                    80
                }
            }
        };
        Ok(Self { address, port, is_encrypted })
    }

    /// Whether what is said to it, the token among it, can be read on the way: in the clear, beyond this machine.
    pub fn is_exposed(&self) -> bool {
        let address = self.address.as_str().trim_start_matches('[').trim_end_matches(']');
        let is_here = address == "localhost"
            || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        !self.is_encrypted && !is_here
    }

    /// The parent as where a host's content comes from.
    fn origin(&self, host: &HostName) -> Origin {
        Origin {
            address: self.address.clone(),
            backup: None,
            protocol: if self.is_encrypted { OriginProtocol::Https } else { OriginProtocol::Http },
            http_port: self.port,
            https_port: self.port,
            host_header: host.as_str().to_owned(),
        }
    }
}

/// A position with its log: `None` if the clock it was read with is of a log that is not followed any more.
pub(crate) fn place(state: &State, clock: &ZoneClock, seq: PurgeSeq) -> Option<(Epoch, PurgeSeq)> {
    // In this order: a clock that has not been retired after the epoch was read is of that epoch.
    let epoch = state.ledger.epoch()?;
    (!clock.is_retired()).then_some((epoch, seq))
}

/// What this edge tells a parent of the fetch whose birth this is.
pub(crate) fn child_of(state: &State, birth: &Birth, leased: bool, hit: Option<Hit>) -> Child {
    // A purge above the floor came after the request had read: what it asks for is not held against it.
    let hit = hit.map(|hit| Hit { seq: hit.seq.min(birth.born), ..hit });
    let floor = place(state, &birth.clock, birth.born);
    Child { floor, leased, hit: hit.filter(|_| floor.is_some()) }
}

/// What it tells of a request that the cache has no part in.
pub(crate) fn child_now(state: &State) -> Child {
    // The lease first, as in [`State::read`]: a grant in between must not vouch for the position from before it.
    let leased = state.lease.holds((state.clocks.boot)());
    Child { floor: state.ledger.position(), leased, hit: None }
}

/// Sends a request to a parent, or to the origin.
pub(crate) async fn ask(
    client: &OriginClient,
    state: &State,
    route: &Route,
    child: Child,
    request: OriginRequest,
) -> Result<Response<ResponseBody>, FetchFailure> {
    let domain = route.domain();
    let of_origin = |mut request: OriginRequest| {
        request.headers.remove(&MIN_SEQ);
        request
    };
    let Some(token) = state.config.tiers.token.as_ref().filter(|_| !request.upgrade) else {
        return client.send(&domain.origin, of_origin(request)).await;
    };
    for parent in &state.config.tiers.parents {
        let parent = parent.origin(&domain.name);
        if !client.is_well(&parent) {
            continue;
        }
        let Some(mut again) = request.again() else {
            let mut request = request;
            tier::tell_parent(&mut request.headers, child, token);
            let sent = client.send(&parent, request).await?;
            return of_parent(sent).ok_or(FetchFailure::ParentRefused);
        };
        tier::tell_parent(&mut again.headers, child, token);
        let asked = tokio::time::timeout(PARENT_TIMEOUT, client.send(&parent, again)).await;
        match asked.unwrap_or(Err(FetchFailure::TimedOut)).map(of_parent) {
            Ok(Some(response)) => return Ok(response),
            Ok(None) => tracing::debug!(parent = %parent.address, "the parent has no answer"),
            Err(failure) => {
                tracing::debug!(parent = %parent.address, reason = failure.name(), "the parent did not answer");
            }
        }
        Counters::count(&state.counters.parents_passed_over);
    }
    client.send(&domain.origin, of_origin(request)).await
}

/// The response, if it is what a parent has of the origin.
fn of_parent(mut response: Response<ResponseBody>) -> Option<Response<ResponseBody>> {
    if !tier::take_mark(response.headers_mut()) {
        return None;
    }
    for name in &OF_PARENT {
        response.headers_mut().remove(name);
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clocks, EdgeConfig, Surroundings};
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::time::SystemTime;

    thread_local! {
        /// The edge that gets entries and a lease while someone looks at the clock.
        static GRANTED: RefCell<Option<Arc<State>>> = const { RefCell::new(None) };
    }

    fn boot() -> Duration {
        if let Some(state) = GRANTED.take() {
            state.ledger.jump(Epoch::new(7), PurgeSeq::new(4)).unwrap();
            state.lease.extend(Duration::from_secs(9));
        }
        Duration::from_secs(1)
    }

    #[test]
    fn a_lease_never_vouches_for_a_position_from_before_its_grant() {
        let config = EdgeConfig::new("edge-1".into(), ([127, 0, 0, 1], 0).into());
        let clocks = Clocks { wall: || SystemTime::UNIX_EPOCH, boot };
        let state = Arc::new(State::new(config, &Surroundings::of_system(clocks), None).unwrap().0);
        state.ledger.jump(Epoch::new(7), PurgeSeq::new(3)).unwrap();
        GRANTED.set(Some(Arc::clone(&state)));
        let floor = Some((Epoch::new(7), PurgeSeq::new(4)));
        assert_eq!(child_now(&state), Child { floor, leased: true, hit: None });
    }

    #[test]
    fn parents_are_read_from_urls() {
        let cases = [
            ("http://10.0.0.1", Some(("10.0.0.1", 80, false, true))),
            ("https://parent.example.com/", Some(("parent.example.com", 443, true, false))),
            ("HTTP://[::1]:8080", Some(("[::1]", 8080, false, false))),
            ("http://localhost:1", Some(("localhost", 1, false, false))),
            ("http://127.0.0.9:8080", Some(("127.0.0.9", 8080, false, false))),
            ("parent:8080", None),
            ("ftp://parent", None),
            ("http://parent/path", None),
            ("http://user@parent", None),
            ("http://parent:", None),
            ("http://parent:0", None),
            ("http://parent:65536", None),
            ("http://", None),
        ];
        for (text, expected) in cases {
            let parent = Parent::parse(text);
            let read = parent.as_ref().ok().map(|parent| {
                (parent.address.as_str(), parent.port, parent.is_encrypted, parent.is_exposed())
            });
            assert_eq!(read, expected, "{text}: {parent:?}");
        }
    }
}
