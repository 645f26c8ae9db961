//! Plain hits: what a request gets that asks for nothing in particular, if memory has it and it is fresh beyond doubt.
//!
//! The readings are those of [`Proxy::handle`], by the same functions and in the same order: lease, clock and `seen`, then
//! the object, then marks and freshness. Whatever is anything else than a clear hit is a [`Detour`]: nothing was done yet,
//! and the request takes the long way from its beginning.

use super::Proxy;
use crate::body::Pieces;
use crate::listen::{Fields, PlainRequest};
use crate::object::{Object, Standing};
use crate::routes::Decided;
use crate::shelf::InMemory;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httpcache::{Acceptance, Policy, RequestDirectives, Storing};
use purge::{PurgeSeq, UrlKey};
use std::sync::Arc;
use std::time::SystemTime;

/// The fields that select among responses as the client wrote them: neither the edge nor a hop changes them.
const SELECTING_AS_WRITTEN: [&str; 12] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "cookie",
    "origin",
    "referer",
    "user-agent",
    "x-requested-with",
];

/// Why a request is not answered as a plain hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detour {
    /// It is no GET.
    Method,
    /// It is no HTTP/1.1.
    Version,
    /// Its target is in absolute form, or holds what only a parser of URLs can judge.
    Target,
    /// It has a body.
    Body,
    /// One of its fields may change the answer, or what becomes of the connection.
    Field,
    /// The worker doesn't remember the host, or it is none of this connection's.
    Host,
    /// The zone's settings ask for more than a look: nothing is to be used, fields are in the key, or clients are told
    /// another lifetime.
    Policy,
    /// The cache may not be used: there is no lease, or the log has just changed.
    Fenced,
    /// Memory has nothing that answers.
    Absent,
    /// The URL's responses vary by fields that are not taken as the client wrote them.
    Varies,
    /// A purge, or an unsafe request, has something to say about the object.
    Marked,
    /// It isn't fresh, or is due to be validated in advance.
    Stale,
    /// Its content isn't in one place, isn't whole yet, or is empty.
    Content,
}

impl Detour {
    /// All of them.
    pub(crate) const ALL: [Self; 13] = [
        Self::Method,
        Self::Version,
        Self::Target,
        Self::Body,
        Self::Field,
        Self::Host,
        Self::Policy,
        Self::Fenced,
        Self::Absent,
        Self::Varies,
        Self::Marked,
        Self::Stale,
        Self::Content,
    ];

    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Version => "version",
            Self::Target => "target",
            Self::Body => "body",
            Self::Field => "field",
            Self::Host => "host",
            Self::Policy => "policy",
            Self::Fenced => "fenced",
            Self::Absent => "absent",
            Self::Varies => "varies",
            Self::Marked => "marked",
            Self::Stale => "stale",
            Self::Content => "content",
        }
    }
}

/// An object that answers as it is.
pub(crate) struct PlainHit {
    pub(crate) object: Arc<Object>,
    pub(crate) seen: PurgeSeq,
    pub(crate) now: SystemTime,
}

impl PlainHit {
    /// Its content.
    pub(crate) fn pieces(&self) -> Option<&Pieces> {
        self.object.content.whole()
    }
}

impl Proxy {
    /// Looks for what answers a request. Leaves nothing behind but what any look at the cache leaves.
    pub(crate) fn plain_hit(&self, request: &PlainRequest<'_>) -> Result<PlainHit, Detour> {
        let state = &*self.state;
        let PlainRequest { host, target, fields } = request;
        let routed = self.routes.recall(state, host).ok_or(Detour::Host)?;
        self.check_direction(&routed.host).map_err(|_| Detour::Host)?;
        let asked_url = UrlKey::of_request(routed.host.clone(), target).map_err(|_| Detour::Target)?;
        let Decided { policy, key: url } = routed.decide(&asked_url, self.peer.scheme());
        if !is_plain(&policy) {
            return Err(Detour::Policy);
        }
        let zone = routed.route.zone();
        let url_key = state.shelf.url_key(zone, &url);
        let (leased, seen) = state.read_only(&routed.clock, zone).ok_or(Detour::Fenced)?;
        if !leased {
            return Err(Detour::Fenced);
        }
        let object = match state.shelf.find_in_memory(url_key, &url, |names| selecting(fields, names)) {
            InMemory::Object(object) => object,
            InMemory::Varies => return Err(Detour::Varies),
            InMemory::Nothing => return Err(Detour::Absent),
        };
        let now = (state.clocks.wall)();
        if object.standing(&state.ledger) != Standing::Clear || object.is_outdated() {
            return Err(Detour::Marked);
        }
        let freshness = &object.freshness;
        let is_fresh = RequestDirectives::NONE.accept(freshness, now) == Acceptance::Fresh;
        if !is_fresh || policy.refresh_percent.is_some_and(|percent| freshness.has_used(percent, now)) {
            return Err(Detour::Stale);
        }
        if !has_plain_content(&object) {
            return Err(Detour::Content);
        }
        Ok(PlainHit { object, seen, now })
    }
}

/// The request's fields of these names, if all of them select as they were written.
fn selecting(fields: &Fields<'_>, names: &[HeaderName]) -> Option<HeaderMap> {
    if !names.iter().all(|name| SELECTING_AS_WRITTEN.contains(&name.as_str())) {
        return None;
    }
    let mut selecting = HeaderMap::with_capacity(names.len());
    for (written, value) in fields.clone() {
        if let Some(name) = names.iter().find(|name| written.eq_ignore_ascii_case(name.as_str().as_bytes())) {
            selecting.append(name, HeaderValue::from_bytes(value).ok()?);
        }
    }
    Some(selecting)
}

/// Whether a policy asks nothing more of a request than its URL and what responses vary by, and has nothing to be told but what is stored.
fn is_plain(policy: &Policy) -> bool {
    policy.storing != Storing::Never && policy.key_parts.is_empty() && policy.client_lifetime.is_none()
}

/// Whether the content is there, and goes with the status.
fn has_plain_content(object: &Object) -> bool {
    let may_have_content = !matches!(object.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    may_have_content
        && object.content.slices().is_none()
        && object.content.whole().is_some_and(|pieces| pieces.length() > 0)
}
