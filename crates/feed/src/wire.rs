//! Messages as bytes: a length of four bytes, big-endian, then that many bytes of JSON.

use crate::{EdgeToControl, Grant, Hello, Ping, Prefetch, Prefetched, ToEdge};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use purge::{
    CacheTag, Entry, Epoch, FencePolicy, LogEntry, MemberId, MemberTerms, Method, PurgeSeq, Scope, UrlKey,
    UrlPrefix,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use zone::{CacheConfig, Domain, HostName, Origin, OriginProtocol, Scheme, Zone, ZoneCaching, ZoneId};

/// The longest message, in bytes.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The length in front says more than [`FRAME_BYTES_MAX`].
    #[error("a message of {0} bytes; at most {FRAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Not the JSON of a message.
    #[error("the message is malformed")]
    Malformed(#[source] serde_json::Error),
    /// A name or position in it is not well-formed.
    #[error("the message holds a bad {what}: {why}")]
    BadValue {
        /// Which one.
        what: &'static str,
        /// The reason.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum WireEdgeToControl {
    Hello {
        member: String,
        edge_name: String,
        epoch: Option<u64>,
        applied: u64,
        has_parent: bool,
        fence_policy: String,
        acks_only: bool,
        version: String,
    },
    Ping {
        nonce: u64,
        epoch: Option<u64>,
        applied: u64,
    },
    Acknowledge {
        epoch: u64,
        applied: u64,
    },
    Want {
        after: u64,
    },
    Prefetched {
        outcomes: Vec<WirePrefetched>,
    },
    Leave,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum WireToEdge {
    Entries { epoch: u64, entries: Vec<WireEntry> },
    Grant { nonce: u64, epoch: u64, head: u64, first_retained: u64, config_version: u64, lease_ms: u64 },
    NotMember { nonce: u64 },
    GiveUp,
    Drained,
    Prefetch { epoch: u64, head: u64, headers: Vec<(String, String)>, urls: Vec<WirePrefetch> },
    Zones { version: u64, zones: Vec<WireZone> },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePrefetch {
    task: u64,
    url: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePrefetched {
    task: u64,
    failure: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEntry {
    seq: u64,
    zone: String,
    delete: bool,
    scope: WireScope,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum WireScope {
    All,
    Keys { config_version: u64 },
    Host(String),
    Prefix { host: String, path: String },
    Url { scheme: Option<WireScheme>, host: String, path_and_query: String },
    Tag { tag: String, host: Option<String> },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireScheme {
    Http,
    Https,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireZone {
    id: String,
    name: String,
    paused: bool,
    domains: Vec<WireDomain>,
    caching: Option<WireCaching>,
}

/// Left out where nothing was ever decided.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCaching {
    /// [`CacheConfig::to_document`].
    document: String,
    keys_version: u64,
    keys_seq: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDomain {
    name: String,
    online: bool,
    origin: String,
    backup_origin: Option<String>,
    protocol: WireProtocol,
    http_port: u16,
    https_port: u16,
    host_header: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireProtocol {
    Follow,
    Http,
    Https,
}

/// A message that can be framed.
pub(crate) trait Message: Sized {
    fn to_json(&self) -> Result<Vec<u8>, WireError>;
    fn of_json(bytes: &[u8]) -> Result<Self, WireError>;
}

/// Puts the length in front.
pub(crate) fn frame<M: Message>(message: &M) -> Result<Bytes, WireError> {
    let json = message.to_json()?;
    if json.len() > FRAME_BYTES_MAX {
        return Err(WireError::TooLong(json.len()));
    }
    let mut framed = BytesMut::with_capacity(4 + json.len());
    framed.put_u32(u32::try_from(json.len()).map_err(|_| WireError::TooLong(json.len()))?);
    framed.extend_from_slice(&json);
    Ok(framed.freeze())
}

/// Takes the first whole message off the front of `buffer`; `None` while it is not all there.
pub(crate) fn unframe<M: Message>(buffer: &mut BytesMut) -> Result<Option<M>, WireError> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(WireError::TooLong(length));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    let json = buffer.split_to(length);
    M::of_json(&json).map(Some)
}

fn bad(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> WireError {
    move |why| WireError::BadValue { what, why: why.to_string() }
}

fn host(text: &str) -> Result<HostName, WireError> {
    HostName::parse(text).map_err(|error| bad("host name")(&error))
}

impl Message for EdgeToControl {
    fn to_json(&self) -> Result<Vec<u8>, WireError> {
        let wire = match self {
            Self::Hello(hello) => WireEdgeToControl::Hello {
                member: hello.member.to_string(),
                edge_name: hello.edge_name.clone(),
                epoch: hello.epoch.map(Epoch::number),
                applied: hello.applied.number(),
                has_parent: hello.terms.has_parent,
                fence_policy: hello.terms.policy.as_str().to_owned(),
                acks_only: hello.terms.acks_only,
                version: hello.version.clone(),
            },
            Self::Ping(ping) => WireEdgeToControl::Ping {
                nonce: ping.nonce,
                epoch: ping.epoch.map(Epoch::number),
                applied: ping.applied.number(),
            },
            Self::Acknowledge { epoch, applied } => {
                WireEdgeToControl::Acknowledge { epoch: epoch.number(), applied: applied.number() }
            }
            Self::Want { after } => WireEdgeToControl::Want { after: after.number() },
            Self::Prefetched { outcomes } => WireEdgeToControl::Prefetched {
                outcomes: outcomes
                    .iter()
                    .map(|one| WirePrefetched { task: one.task, failure: one.failure.clone() })
                    .collect(),
            },
            Self::Leave => WireEdgeToControl::Leave,
        };
        serde_json::to_vec(&wire).map_err(WireError::Malformed)
    }

    fn of_json(bytes: &[u8]) -> Result<Self, WireError> {
        Ok(match serde_json::from_slice(bytes).map_err(WireError::Malformed)? {
            WireEdgeToControl::Hello {
                member,
                edge_name,
                epoch,
                applied,
                has_parent,
                fence_policy,
                acks_only,
                version,
            } => {
                let policy = FencePolicy::parse(&fence_policy)
                    .ok_or_else(|| bad("fence policy")(&"it is fetch, revalidate, refuse or serve"))?;
                Self::Hello(Hello {
                    member: MemberId::parse(&member).map_err(|error| bad("member id")(&error))?,
                    edge_name,
                    epoch: epoch.map(Epoch::new),
                    applied: PurgeSeq::new(applied),
                    terms: MemberTerms { policy, acks_only, has_parent },
                    version,
                })
            }
            WireEdgeToControl::Ping { nonce, epoch, applied } => {
                Self::Ping(Ping { nonce, epoch: epoch.map(Epoch::new), applied: PurgeSeq::new(applied) })
            }
            WireEdgeToControl::Acknowledge { epoch, applied } => {
                Self::Acknowledge { epoch: Epoch::new(epoch), applied: PurgeSeq::new(applied) }
            }
            WireEdgeToControl::Want { after } => Self::Want { after: PurgeSeq::new(after) },
            WireEdgeToControl::Prefetched { outcomes } => Self::Prefetched {
                outcomes: outcomes
                    .into_iter()
                    .map(|one| Prefetched { task: one.task, failure: one.failure })
                    .collect(),
            },
            WireEdgeToControl::Leave => Self::Leave,
        })
    }
}

impl Message for ToEdge {
    fn to_json(&self) -> Result<Vec<u8>, WireError> {
        let wire = match self {
            Self::Entries { epoch, entries } => WireToEdge::Entries {
                epoch: epoch.number(),
                entries: entries.iter().map(entry_to_wire).collect(),
            },
            Self::Grant(grant) => WireToEdge::Grant {
                nonce: grant.nonce,
                epoch: grant.epoch.number(),
                head: grant.head.number(),
                first_retained: grant.first_retained.number(),
                config_version: grant.config_version,
                lease_ms: u64::try_from(grant.lease.as_millis()).unwrap_or(u64::MAX),
            },
            Self::NotMember { nonce } => WireToEdge::NotMember { nonce: *nonce },
            Self::GiveUp => WireToEdge::GiveUp,
            Self::Drained => WireToEdge::Drained,
            Self::Prefetch { epoch, head, headers, urls } => WireToEdge::Prefetch {
                epoch: epoch.number(),
                head: head.number(),
                headers: headers.clone(),
                urls: urls.iter().map(|one| WirePrefetch { task: one.task, url: one.url.clone() }).collect(),
            },
            Self::Zones { version, zones } => {
                let zones = zones.iter().map(zone_to_wire).collect::<Result<_, _>>()?;
                WireToEdge::Zones { version: *version, zones }
            }
        };
        serde_json::to_vec(&wire).map_err(WireError::Malformed)
    }

    fn of_json(bytes: &[u8]) -> Result<Self, WireError> {
        Ok(match serde_json::from_slice(bytes).map_err(WireError::Malformed)? {
            WireToEdge::Entries { epoch, entries } => Self::Entries {
                epoch: Epoch::new(epoch),
                entries: entries.into_iter().map(entry_of_wire).collect::<Result<_, _>>()?,
            },
            WireToEdge::Grant { nonce, epoch, head, first_retained, config_version, lease_ms } => {
                Self::Grant(Grant {
                    nonce,
                    epoch: Epoch::new(epoch),
                    head: PurgeSeq::new(head),
                    first_retained: PurgeSeq::new(first_retained),
                    config_version,
                    lease: Duration::from_millis(lease_ms),
                })
            }
            WireToEdge::NotMember { nonce } => Self::NotMember { nonce },
            WireToEdge::GiveUp => Self::GiveUp,
            WireToEdge::Drained => Self::Drained,
            WireToEdge::Prefetch { epoch, head, headers, urls } => Self::Prefetch {
                epoch: Epoch::new(epoch),
                head: PurgeSeq::new(head),
                headers,
                urls: urls.into_iter().map(|one| Prefetch { task: one.task, url: one.url }).collect(),
            },
            WireToEdge::Zones { version, zones } => {
                Self::Zones { version, zones: zones.into_iter().map(zone_of_wire).collect::<Result<_, _>>()? }
            }
        })
    }
}

/// A configuration as bytes, for an edge to keep.
pub fn configuration_to_bytes(version: u64, zones: &[Zone]) -> Result<Vec<u8>, WireError> {
    let zones = zones.iter().map(zone_to_wire).collect::<Result<_, _>>()?;
    serde_json::to_vec(&WireToEdge::Zones { version, zones }).map_err(WireError::Malformed)
}

/// What [`configuration_to_bytes`] wrote.
pub fn configuration_of_bytes(bytes: &[u8]) -> Result<(u64, Vec<Zone>), WireError> {
    match ToEdge::of_json(bytes)? {
        ToEdge::Zones { version, zones } => Ok((version, zones)),
        _ => Err(WireError::BadValue { what: "configuration", why: "it is another message".into() }),
    }
}

fn entry_to_wire(entry: &LogEntry) -> WireEntry {
    let scope = match &entry.entry.scope {
        Scope::All => WireScope::All,
        Scope::Keys { config_version } => WireScope::Keys { config_version: *config_version },
        Scope::Host(host) => WireScope::Host(host.to_string()),
        Scope::Prefix(prefix) => {
            WireScope::Prefix { host: prefix.host().to_string(), path: prefix.path().to_owned() }
        }
        Scope::Url(url) => {
            let scheme = url.scheme().map(|scheme| match scheme {
                Scheme::Http => WireScheme::Http,
                Scheme::Https => WireScheme::Https,
            });
            let (host, path_and_query) = (url.host().to_string(), url.path_and_query().to_owned());
            WireScope::Url { scheme, host, path_and_query }
        }
        Scope::Tag { tag, host } => {
            WireScope::Tag { tag: tag.as_str().to_owned(), host: host.as_ref().map(ToString::to_string) }
        }
    };
    WireEntry {
        seq: entry.seq.number(),
        zone: entry.entry.zone.to_string(),
        delete: entry.entry.method == Method::Delete,
        scope,
    }
}

fn entry_of_wire(wire: WireEntry) -> Result<LogEntry, WireError> {
    let scope = match wire.scope {
        WireScope::All => Scope::All,
        WireScope::Keys { config_version } => Scope::Keys { config_version },
        WireScope::Host(name) => Scope::Host(host(&name)?),
        WireScope::Prefix { host: name, path } => Scope::Prefix(
            UrlPrefix::from_normalised(host(&name)?, &path).map_err(|error| bad("prefix")(&error))?,
        ),
        WireScope::Url { scheme, host: name, path_and_query } => {
            let url = UrlKey::from_normalised(host(&name)?, &path_and_query);
            let scheme = scheme.map(|scheme| match scheme {
                WireScheme::Http => Scheme::Http,
                WireScheme::Https => Scheme::Https,
            });
            Scope::Url(url.map_err(|error| bad("URL")(&error))?.with_scheme(scheme))
        }
        WireScope::Tag { tag, host: name } => Scope::Tag {
            tag: CacheTag::parse(&tag).map_err(|error| bad("cache tag")(&error))?,
            host: name.as_deref().map(host).transpose()?,
        },
    };
    let zone = ZoneId::parse(&wire.zone).map_err(|error| bad("zone id")(&error))?;
    let method = if wire.delete { Method::Delete } else { Method::Invalidate };
    Ok(LogEntry { seq: PurgeSeq::new(wire.seq), entry: Entry { zone, scope, method } })
}

fn zone_to_wire(zone: &Zone) -> Result<WireZone, WireError> {
    let domains = zone.domains.iter().map(|domain| WireDomain {
        name: domain.name.to_string(),
        online: domain.online,
        origin: domain.origin.address.to_string(),
        backup_origin: domain.origin.backup.as_ref().map(ToString::to_string),
        protocol: match domain.origin.protocol {
            OriginProtocol::Follow => WireProtocol::Follow,
            OriginProtocol::Http => WireProtocol::Http,
            OriginProtocol::Https => WireProtocol::Https,
        },
        http_port: domain.origin.http_port,
        https_port: domain.origin.https_port,
        host_header: domain.origin.host_header.clone(),
    });
    let caching = (zone.caching != ZoneCaching::default())
        .then(|| {
            let document =
                zone.caching.config.to_document().map_err(|error| bad("cache settings")(&error))?;
            let ZoneCaching { keys_version, keys_seq, .. } = zone.caching;
            Ok::<_, WireError>(WireCaching { document, keys_version, keys_seq })
        })
        .transpose()?;
    Ok(WireZone {
        id: zone.id.to_string(),
        name: zone.name.to_string(),
        paused: zone.paused,
        domains: domains.collect(),
        caching,
    })
}

fn zone_of_wire(wire: WireZone) -> Result<Zone, WireError> {
    let domain = |domain: WireDomain| {
        Ok(Domain {
            name: host(&domain.name)?,
            online: domain.online,
            origin: Origin {
                address: host(&domain.origin)?,
                backup: domain.backup_origin.as_deref().map(host).transpose()?,
                protocol: match domain.protocol {
                    WireProtocol::Follow => OriginProtocol::Follow,
                    WireProtocol::Http => OriginProtocol::Http,
                    WireProtocol::Https => OriginProtocol::Https,
                },
                http_port: domain.http_port,
                https_port: domain.https_port,
                host_header: domain.host_header,
            },
        })
    };
    Ok(Zone {
        id: ZoneId::parse(&wire.id).map_err(|error| bad("zone id")(&error))?,
        name: host(&wire.name)?,
        paused: wire.paused,
        domains: wire.domains.into_iter().map(domain).collect::<Result<_, WireError>>()?,
        caching: match wire.caching {
            None => ZoneCaching::default(),
            Some(WireCaching { document, keys_version, keys_seq }) => {
                let config =
                    CacheConfig::from_document(&document).map_err(|error| bad("cache settings")(&error))?;
                ZoneCaching { config: Arc::new(config), keys_version, keys_seq }
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<M: Message + PartialEq + std::fmt::Debug>(message: M) {
        let framed = frame(&message).unwrap();
        let mut buffer = BytesMut::new();
        for byte in &framed[..framed.len() - 1] {
            buffer.put_u8(*byte);
            assert_eq!(unframe::<M>(&mut buffer).unwrap(), None, "nothing before the last byte");
        }
        buffer.put_u8(framed[framed.len() - 1]);
        assert_eq!(unframe(&mut buffer).unwrap(), Some(message));
        assert!(buffer.is_empty());
    }

    #[test]
    fn every_message_survives_the_wire() {
        let name = |text: &str| HostName::parse(text).unwrap();
        let zone = ZoneId::parse("zone-2noz78a8ev6k").unwrap();
        let scopes = [
            Scope::All,
            Scope::Keys { config_version: 4 },
            Scope::Host(name("www.a.test")),
            Scope::Prefix(UrlPrefix::new(name("www.a.test"), "/img/").unwrap()),
            Scope::Url(UrlKey::of_request(name("www.a.test"), "/a?b=c").unwrap()),
            Scope::Url(
                UrlKey::of_request(name("www.a.test"), "/a").unwrap().with_scheme(Some(Scheme::Https)),
            ),
            Scope::Tag { tag: CacheTag::parse("news").unwrap(), host: None },
            Scope::Tag { tag: CacheTag::parse("news").unwrap(), host: Some(name("www.a.test")) },
        ];
        let entries = scopes.into_iter().zip(1..).map(|(scope, number)| LogEntry {
            seq: PurgeSeq::new(number),
            entry: Entry {
                zone: zone.clone(),
                scope,
                method: if number % 2 == 0 { Method::Delete } else { Method::Invalidate },
            },
        });
        round_trip(ToEdge::Entries { epoch: Epoch::new(u64::MAX), entries: entries.collect() });
        round_trip(ToEdge::Grant(Grant {
            nonce: 9,
            epoch: Epoch::new(1),
            head: PurgeSeq::new(6),
            first_retained: PurgeSeq::new(1),
            config_version: 3,
            lease: Duration::from_secs(5),
        }));
        round_trip(ToEdge::NotMember { nonce: 9 });
        let origin = Origin {
            address: name("127.0.0.1"),
            backup: Some(name("[::1]")),
            protocol: OriginProtocol::Follow,
            http_port: 1,
            https_port: 2,
            host_header: "www.a.test:81".into(),
        };
        let domains = vec![Domain { name: name("www.a.test"), origin, online: true }];
        let mut config = CacheConfig::default();
        config.site.keying.ignores_case = true;
        let caching = ZoneCaching { config: Arc::new(config), keys_version: 3, keys_seq: 6 };
        round_trip(ToEdge::Zones {
            version: 3,
            zones: vec![
                Zone {
                    id: zone.clone(),
                    name: name("a.test"),
                    paused: true,
                    domains,
                    caching: ZoneCaching::default(),
                },
                Zone { id: zone, name: name("b.test"), paused: false, domains: Vec::new(), caching },
            ],
        });
        round_trip(EdgeToControl::Hello(Hello {
            member: MemberId::from_random([7; 16]),
            edge_name: "edge-1".into(),
            epoch: None,
            applied: PurgeSeq::ZERO,
            terms: MemberTerms { policy: FencePolicy::Revalidate, acks_only: true, has_parent: true },
            version: "0.1.0".into(),
        }));
        round_trip(ToEdge::GiveUp);
        round_trip(ToEdge::Drained);
        round_trip(EdgeToControl::Ping(Ping {
            nonce: 3,
            epoch: Some(Epoch::new(4)),
            applied: PurgeSeq::new(2),
        }));
        round_trip(EdgeToControl::Acknowledge { epoch: Epoch::new(4), applied: PurgeSeq::new(2) });
        round_trip(EdgeToControl::Want { after: PurgeSeq::new(2) });
        let told = |task, failure: Option<&str>| Prefetched { task, failure: failure.map(Into::into) };
        round_trip(EdgeToControl::Prefetched { outcomes: vec![told(1, None), told(2, Some("404"))] });
        round_trip(EdgeToControl::Leave);
        round_trip(ToEdge::Prefetch {
            epoch: Epoch::new(4),
            head: PurgeSeq::new(2),
            headers: vec![("Accept".into(), "*/*".into())],
            urls: vec![Prefetch { task: 1, url: "http://www.a.test/".into() }],
        });
    }

    #[test]
    fn bad_bytes_are_refused_by_name() {
        let refuse = |bytes: &[u8]| match unframe::<ToEdge>(&mut BytesMut::from(bytes)) {
            Err(error) => error.to_string(),
            Ok(message) => format!("{message:?}"),
        };
        assert!(refuse(&[0xff; 8]).contains("at most"), "a length over the limit");
        assert!(refuse(b"\0\0\0\x02{}").contains("malformed"));
        let zones =
            br#"{"zones":{"version":1,"zones":[{"id":"x","name":"a.test","paused":false,"domains":[]}]}}"#;
        let mut framed = BytesMut::new();
        framed.put_u32(u32::try_from(zones.len()).unwrap());
        framed.extend_from_slice(zones);
        assert!(refuse(&framed).contains("zone id"));
    }
}
