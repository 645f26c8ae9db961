//! What an edge holds: of one URL, and in all. Only looks; nothing that is looked at counts as used.

use crate::disk::{Stored, StoredKind};
use crate::object::{Object, Standing};
use crate::routes::{Decided, Routes};
use crate::state::State;
use purge::{MarkedScope, PurgeSeq, Subject, UrlTarget};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// How many variants of a URL are shown.
const VARIANTS_SHOWN_MAX: usize = 100;

/// The totals.
pub(super) fn store(state: &State) -> Value {
    let ledger = &state.ledger;
    json!({
        "entries": state.shelf.entry_count(),
        "bytes": state.shelf.weight_bytes(),
        "bytes_max": state.config.memory_bytes,
        "storing_bytes": state.storing_bytes.load(Ordering::Relaxed),
        "marks": ledger.mark_count(),
        "marks_bytes": ledger.memory_bytes(),
        "applied": ledger.applied().number(),
        "horizon": ledger.horizon().number(),
        "lease": lease(state),
    })
}

/// What is stored of the URL in a query, `url=…`. The error says what is wrong with it.
pub(super) fn url(state: &State, query: &str) -> Result<Value, String> {
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "url");
    let (_, asked) = asked.ok_or("say which URL: /inspect?url=https%3A%2F%2Fwww.example.com%2F")?;
    let target = UrlTarget::parse(&asked).map_err(|error| error.to_string())?;
    let lease = lease(state);
    let host = target.url.host();
    // Nothing is remembered of it: no client asked.
    let routed = match Routes::default().find(state, host.as_str(), host) {
        Ok(routed) => routed,
        Err(refusal) => {
            return Ok(json!({ "url": asked, "served": false, "why": refusal.to_string(), "lease": lease }));
        }
    };
    let Decided { policy, key: url } = routed.decide(&target.url, target.scheme);
    let zone = routed.route.zone();
    let key = state.shelf.url_key(zone, &url);
    let now = (state.clocks.wall)();
    let stored = state.shelf.stored_of(key, &url, VARIANTS_SHOWN_MAX);
    let mut stored: Vec<Value> = stored.iter().map(|object| shown_object(state, object, now)).collect();
    let on_disk = state.shelf.stored_on_disk(key, &url, VARIANTS_SHOWN_MAX - stored.len());
    stored.extend(on_disk.iter().filter_map(|file| shown_file(state, file)));
    Ok(json!({
        "url": asked,
        "served": true,
        "key": key.to_string(),
        "key_url": format!("{}{}", url.host(), url.path_and_query()),
        "zone": zone.id.as_str(),
        "domain": routed.route.domain().name.as_str(),
        "policy": format!("{policy:?}"),
        "lease": lease,
        "applied": state.ledger.applied().number(),
        "horizon": state.ledger.horizon().number(),
        "stored": stored,
    }))
}

fn lease(state: &State) -> Value {
    let left = state.lease.left((state.clocks.boot)());
    json!({ "holds": !left.is_zero(), "left_ms": u64::try_from(left.as_millis()).unwrap_or(u64::MAX) })
}

fn shown_object(state: &State, object: &Object, now: SystemTime) -> Value {
    let (standing, checked) = object.look(&state.ledger);
    let (standing, purged_by) = shown_standing(standing);
    let headers = object.head.unpack();
    let field = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    json!({
        "in": "memory",
        "status": object.status.as_u16(),
        "bytes": object.content.whole().map(crate::body::Pieces::length),
        "stored_at_ms": millis(object.freshness.response_time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
        "age_secs": object.freshness.age(now).as_secs(),
        "ttl_secs": object.freshness.ttl_secs(now),
        "fresh": object.freshness.is_fresh(now),
        "standing": standing,
        "purged_by": purged_by,
        "marks": shown_marks(state, &object.subject(), object.birth.born),
        "group_marked": object.is_outdated(),
        "born": object.birth.born.number(),
        "checked": checked.number(),
        "tags": object.tags.iter().collect::<Vec<_>>(),
        "tags_ignored": object.tags_ignored,
        "vary": field(http::header::VARY),
        "etag": field(http::header::ETAG),
        "last_modified": field(http::header::LAST_MODIFIED),
        "content_type": field(http::header::CONTENT_TYPE),
        "content_encoding": field(http::header::CONTENT_ENCODING),
    })
}

/// An object on disk, by what is known of it without reading its file: a disk that hangs must not hold up who looks for
/// the reason.
fn shown_file(state: &State, stored: &Stored) -> Option<Value> {
    let StoredKind::Object(header) = &stored.kind else { return None };
    let (standing, checked) = header.look(&state.ledger);
    let (standing, purged_by) = shown_standing(standing);
    Some(json!({
        "in": "disk",
        "file_bytes": stored.file_bytes,
        "standing": standing,
        "purged_by": purged_by,
        "marks": shown_marks(state, &header.subject(), header.birth.born),
        "born": header.birth.born.number(),
        "checked": checked.number(),
        "tags": header.tags.iter().collect::<Vec<_>>(),
    }))
}

/// Which purges since its fetch hit it, and by what of it; newest first.
fn shown_marks(state: &State, subject: &Subject<'_>, born: PurgeSeq) -> Vec<Value> {
    let marks = state.ledger.marks_of(subject, born);
    let shown = marks.iter().map(|mark| {
        let named = match mark.scope {
            MarkedScope::Zone | MarkedScope::Url => None,
            MarkedScope::Host(name)
            | MarkedScope::Prefix(name)
            | MarkedScope::Tag(name)
            | MarkedScope::HostTag(name) => Some(name),
        };
        json!({
            "seq": mark.seq.number(), "method": mark.method.as_str(), "scope": mark.scope.name(), "name": named,
        })
    });
    shown.collect()
}

/// Its name, and the position of the purge.
fn shown_standing(standing: Standing) -> (&'static str, Option<u64>) {
    match standing {
        Standing::Clear => ("clear", None),
        Standing::Invalidated(seq) => ("invalidated", Some(seq.number())),
        Standing::Deleted(seq) => ("deleted", Some(seq.number())),
        Standing::BeyondHorizon => ("beyond-horizon", None),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
