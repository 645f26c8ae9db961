//! The head of a plain hit in HTTP/1.1, as bytes.
//!
//! It is what [`super::compose`] and [`super::answer`] make of an object for a request that asks for nothing in particular,
//! as the library's server writes it: the same fields in the same order. A test holds the two against each other.

use super::{CACHE_STATUS, EO_CACHE_STATUS, EO_LOG_UUID, Told};
use crate::object::Object;
use crate::state::State;
use http::{HeaderName, StatusCode, header};
use std::time::SystemTime;

/// A field that the edge adds, in the order in which it adds them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Date,
    Age,
    AcceptRanges,
    ContentLength,
    CacheStatus,
    EoCacheStatus,
    EoLogUuid,
    Via,
    Server,
}

/// What becomes of stored fields of the same name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// They stay, and the edge adds none.
    Yield,
    /// They stay, and the edge's comes after them.
    Append,
    /// The edge's takes the place of the first, and the others go.
    Replace,
}

impl Own {
    const ALL: [Self; 9] = [
        Self::Date,
        Self::Age,
        Self::AcceptRanges,
        Self::ContentLength,
        Self::CacheStatus,
        Self::EoCacheStatus,
        Self::EoLogUuid,
        Self::Via,
        Self::Server,
    ];

    fn of(name: &HeaderName) -> Option<Self> {
        Some(match *name {
            header::DATE => Self::Date,
            header::AGE => Self::Age,
            header::ACCEPT_RANGES => Self::AcceptRanges,
            header::CONTENT_LENGTH => Self::ContentLength,
            header::VIA => Self::Via,
            header::SERVER => Self::Server,
            _ if *name == CACHE_STATUS => Self::CacheStatus,
            _ if *name == EO_CACHE_STATUS => Self::EoCacheStatus,
            _ if *name == EO_LOG_UUID => Self::EoLogUuid,
            _ => return None,
        })
    }

    fn rule(self) -> Rule {
        match self {
            Self::Date | Self::Server => Rule::Yield,
            Self::CacheStatus | Self::Via => Rule::Append,
            Self::Age | Self::AcceptRanges | Self::ContentLength | Self::EoCacheStatus | Self::EoLogUuid => {
                Rule::Replace
            }
        }
    }
}

/// The values of an answer that are its own.
struct Answer<'a> {
    state: &'a State,
    object: &'a Object,
    length: u64,
    told: &'a Told,
    request_id: u64,
    now: SystemTime,
}

impl Answer<'_> {
    fn has(&self, own: Own) -> bool {
        own != Own::AcceptRanges || self.object.status == StatusCode::OK
    }

    fn write(&self, own: Own, into: &mut Vec<u8>) {
        match own {
            Own::Date => {
                let date = httpdate::fmt_http_date(self.object.freshness.response_time);
                line(into, b"date", date.as_bytes());
            }
            Own::Age => number(into, b"age", httpcache::age_secs(self.object.freshness.age(self.now))),
            Own::AcceptRanges => line(into, b"accept-ranges", b"bytes"),
            Own::ContentLength => number(into, b"content-length", self.length),
            Own::CacheStatus => line(into, b"cache-status", self.told.status.as_str().as_bytes()),
            Own::EoCacheStatus => line(into, b"eo-cache-status", self.told.eo.as_bytes()),
            Own::EoLogUuid => number(into, b"eo-log-uuid", self.request_id),
            Own::Via => line(into, b"via", self.state.via_value.as_bytes()),
            Own::Server => line(into, b"server", b"Everfresh"),
        }
    }
}

/// Writes the head of an answer with an object whose content is whole.
pub(crate) fn write_plain_head(
    into: &mut Vec<u8>,
    state: &State,
    object: &Object,
    told: &Told,
    request_id: u64,
    now: SystemTime,
) {
    let length = object.content.whole().map_or(0, crate::body::Pieces::length);
    let answer = Answer { state, object, length, told, request_id, now };
    status_line(into, object.status);
    let mut is_there = [false; Own::ALL.len()];
    let mut due: Option<Own> = None;
    for (name, value) in object.head.fields() {
        let own = Own::of(name).filter(|own| answer.has(*own));
        if let Some(ended) = due.filter(|due| own != Some(*due)) {
            answer.write(ended, into);
            due = None;
        }
        let Some(own) = own else {
            line(into, name.as_str().as_bytes(), value);
            continue;
        };
        let is_first = !std::mem::replace(&mut is_there[own as usize], true);
        match own.rule() {
            Rule::Replace if is_first => answer.write(own, into),
            Rule::Replace => {}
            Rule::Append => {
                line(into, name.as_str().as_bytes(), value);
                due = Some(own);
            }
            Rule::Yield => line(into, name.as_str().as_bytes(), value),
        }
    }
    if let Some(ended) = due {
        answer.write(ended, into);
    }
    for own in Own::ALL.into_iter().filter(|own| answer.has(*own) && !is_there[*own as usize]) {
        answer.write(own, into);
    }
    into.extend_from_slice(b"\r\n");
}

fn status_line(into: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        into.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    into.extend_from_slice(b"HTTP/1.1 ");
    into.extend_from_slice(status.as_str().as_bytes());
    into.push(b' ');
    into.extend_from_slice(status.canonical_reason().unwrap_or("<none>").as_bytes());
    into.extend_from_slice(b"\r\n");
}

fn line(into: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    into.reserve(name.len() + value.len() + 4);
    into.extend_from_slice(name);
    into.extend_from_slice(b": ");
    into.extend_from_slice(value);
    into.extend_from_slice(b"\r\n");
}

fn number(into: &mut Vec<u8>, name: &[u8], number: u64) {
    line(into, name, itoa::Buffer::new().format(number).as_bytes());
}
