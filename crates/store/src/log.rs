//! The purge log: its head, its entries, and the basis on which leases are granted.

use crate::database::{Column, Row, Session, Value, commit};
use crate::lease::{self, LeaseTime};
use crate::members::{self, Member};
use crate::{Store, StoreError, random};
use purge::{CacheTag, Entry, Epoch, JobId, LogEntry, Method, PurgeSeq, Scope, UrlKey, UrlPrefix};
use std::borrow::Cow;
use zone::{HostName, Scheme, ZoneId};

/// Entries that one call of [`Store::trim_log`] removes at most, so that no writer waits long.
pub const TRIM_ENTRIES_MAX: u64 = 20_000;

const ENTRY_COLUMNS: [(&str, Column); 8] = [
    ("seq", Column::Int),
    ("zone_id", Column::Text),
    ("scope", Column::Text),
    ("host", Column::Text),
    ("value", Column::Text),
    ("method", Column::Text),
    ("job_id", Column::Text),
    ("recorded_ms", Column::Int),
];

/// Where the log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHead {
    /// Which log this is.
    pub epoch: Epoch,
    /// The last entry.
    pub head: PurgeSeq,
    /// The first entry that is still there, or the next one to come when none is.
    pub first_retained: PurgeSeq,
}

/// A piece of the log, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// Where the log stood at that moment. When `head.first_retained` is above the position right after the one asked
    /// for, entries in between are gone for good.
    pub head: LogHead,
    /// Consecutive entries, the first right after the position asked for (or at `first_retained`).
    pub entries: Vec<LogEntry>,
}

/// What a lease is granted on: one fresh read of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantBasis {
    /// Which log this is.
    pub epoch: Epoch,
    /// The last entry.
    pub head: PurgeSeq,
    /// The first entry that is still there, or the next one to come when none is.
    pub first_retained: PurgeSeq,
    /// The version of the configuration.
    pub config_version: u64,
    /// The highest position that an edge had applied and the log lacked ([`Store::note_lost`]). While there is one, no
    /// lease may be granted.
    pub lost: Option<PurgeSeq>,
    /// How long leases are.
    pub lease: LeaseTime,
    /// Every member, leaving ones too.
    pub members: Vec<Member>,
}

impl Store {
    /// Where the log stands now.
    pub async fn log_head(&self) -> Result<LogHead, StoreError> {
        read_head(&mut self.glance().await?).await
    }

    /// Up to `limit` entries after `seq`, in order.
    pub async fn entries_after(&self, seq: PurgeSeq, limit: usize) -> Result<LogRange, StoreError> {
        let mut tx = self.read().await?;
        let head = read_head(&mut tx).await?;
        let rows = tx
            .query(
                "SELECT seq, zone_id, scope, host, value, method FROM entries WHERE seq > $1 ORDER \
             BY seq LIMIT $2",
            )
            .bind(to_column(seq.number()))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .all()
            .await?;
        let entries = rows.iter().map(entry_of_row).collect::<Result<_, _>>()?;
        Ok(LogRange { head, entries })
    }

    /// Reads what leases may be granted on. The read begins after the call, so it sees every commit made before.
    ///
    /// Where the server can be replaced by another, it is confirmed after the read, by the commit of a small write, that
    /// it has not been: what one that was replaced says is an error, not a basis. By one task at a time.
    pub async fn grant_basis(&self) -> Result<GrantBasis, StoreError> {
        let mut tx = self.read().await?;
        if !tx.is_shared() {
            return read_basis(&mut tx).await;
        }
        tx.query(
            "INSERT INTO instances (instance_id, beat, seen_at) VALUES ($1, 1, now()) ON \
             CONFLICT (instance_id) DO UPDATE SET beat = instances.beat + 1, seen_at = now()",
        )
        .bind(&*self.instance)
        .execute()
        .await?;
        let basis = read_basis(&mut tx).await?;
        commit(tx).await?;
        Ok(basis)
    }

    /// Reads the same for whoever grants nothing.
    pub async fn basis(&self) -> Result<GrantBasis, StoreError> {
        read_basis(&mut self.read().await?).await
    }

    /// Notes that an edge has applied entries of `epoch` up to `applied` which the log lacks: it was restored from a copy.
    /// From then on nothing is granted, on any instance, until the epoch is renewed. Does nothing when the log has them.
    pub async fn note_lost(&self, epoch: Epoch, applied: PurgeSeq) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        tx.query(
            "UPDATE log SET lost_seq = $2 WHERE epoch = $1 AND head < $2 AND (lost_seq IS NULL \
             OR lost_seq < $2)",
        )
        .bind(epoch.number().cast_signed())
        .bind(to_column(applied.number()))
        .execute()
        .await?;
        commit(tx).await
    }

    /// The first entry recorded at `since_ms` or later; the next one to come when there is none.
    pub async fn first_seq_since(&self, since_ms: i64) -> Result<PurgeSeq, StoreError> {
        let mut tx = self.read().await?;
        let found: Option<i64> =
            tx.query("SELECT min(seq) FROM entries WHERE recorded_ms >= $1").bind(since_ms).scalar().await?;
        match found {
            Some(seq) => Ok(seq_of_column(seq)),
            None => Ok(read_head(&mut tx).await?.head.next()),
        }
    }

    /// Forgets entries below `keep_from`, except those at or after the first one of a job still processing; at most
    /// [`TRIM_ENTRIES_MAX`] a call. Returns the first entry that is still there.
    pub async fn trim_log(&self, keep_from: PurgeSeq) -> Result<PurgeSeq, StoreError> {
        let mut tx = self.write().await?;
        let head = read_head(&mut tx).await?;
        let pending: Option<i64> =
            tx.query("SELECT min(first_seq) FROM jobs WHERE status = 'processing'").scalar().await?;
        let keep_from = keep_from
            .min(head.head.next())
            .min(PurgeSeq::new(head.first_retained.number().saturating_add(TRIM_ENTRIES_MAX)))
            .min(pending.map_or(PurgeSeq::new(u64::MAX), seq_of_column))
            .max(head.first_retained);
        tx.query("DELETE FROM entries WHERE seq < $1").bind(to_column(keep_from.number())).execute().await?;
        tx.query("UPDATE log SET first_retained = $1").bind(to_column(keep_from.number())).execute().await?;
        commit(tx).await?;
        Ok(keep_from)
    }

    /// Begins another epoch, for a database that was restored from a copy and may lack commits it once answered: every
    /// edge then counts all it holds as deleted. Writes a `delete` of each zone, so that the head moves too.
    pub async fn renew_epoch(&self, now_ms: i64) -> Result<LogHead, StoreError> {
        let mut tx = self.write().await?;
        let zones: Vec<String> = tx.query("SELECT zone_id FROM zones ORDER BY zone_id").scalars().await?;
        let entries = zones
            .iter()
            .map(|zone| Ok(Entry { zone: parse_zone(zone)?, scope: Scope::All, method: Method::Delete }))
            .collect::<Result<Vec<_>, StoreError>>()?;
        tx.query("UPDATE log SET epoch = $1, lost_seq = NULL")
            .bind(i64::from_ne_bytes(random()?))
            .execute()
            .await?;
        append(&mut tx, &without_job(&entries), now_ms).await?;
        let head = read_head(&mut tx).await?;
        commit(tx).await?;
        Ok(head)
    }
}

/// Makes the log's row when the database is new.
pub(crate) async fn ensure_row(store: &Store) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    tx.query(
        "INSERT INTO log (id, epoch, head, first_retained, config_version) VALUES (1, $1, \
             0, 1, 1) ON CONFLICT DO NOTHING",
    )
    .bind(i64::from_ne_bytes(random()?))
    .execute()
    .await?;
    commit(tx).await
}

pub(crate) async fn read_head(db: &mut Session) -> Result<LogHead, StoreError> {
    let row = db.query("SELECT epoch, head, first_retained FROM log").one().await?;
    head_of_row(&row)
}

async fn read_basis(db: &mut Session) -> Result<GrantBasis, StoreError> {
    let row = db.query("SELECT epoch, head, first_retained, config_version, lost_seq FROM log").one().await?;
    let LogHead { epoch, head, first_retained } = head_of_row(&row)?;
    let version: i64 = row.get("config_version")?;
    let lost: Option<i64> = row.get("lost_seq")?;
    Ok(GrantBasis {
        epoch,
        head,
        first_retained,
        config_version: version.cast_unsigned(),
        lost: lost.map(seq_of_column),
        lease: lease::read(db).await?,
        members: members::read_all(db).await?,
    })
}

fn head_of_row(row: &Row) -> Result<LogHead, StoreError> {
    let epoch: i64 = row.get("epoch")?;
    Ok(LogHead {
        epoch: Epoch::new(epoch.cast_unsigned()),
        head: seq_of_column(row.get("head")?),
        first_retained: seq_of_column(row.get("first_retained")?),
    })
}

/// Appends entries within the caller's transaction and returns the seq before the first of them. Only the log's one
/// row gives out seqs, and it is locked by that transaction: so they have no gap and follow commit order.
pub(crate) async fn append(
    db: &mut Session,
    entries: &[(&Entry, Option<&JobId>)],
    now_ms: i64,
) -> Result<PurgeSeq, StoreError> {
    let before = read_head(db).await?.head;
    let mut seq = before;
    let rows: Vec<Vec<Value<'_>>> = entries
        .iter()
        .map(|(entry, job)| {
            seq = seq.next();
            let (scope, host, value) = scope_columns(&entry.scope);
            vec![
                to_column(seq.number()).into(),
                entry.zone.as_str().into(),
                scope.into(),
                host.into(),
                value.into(),
                entry.method.as_str().into(),
                job.map(JobId::as_str).into(),
                now_ms.into(),
            ]
        })
        .collect();
    db.insert("entries", &ENTRY_COLUMNS, &rows).await?;
    db.query("UPDATE log SET head = $1").bind(to_column(seq.number())).execute().await?;
    Ok(before)
}

/// Entries of no call: the store's own.
pub(crate) fn without_job(entries: &[Entry]) -> Vec<(&Entry, Option<&JobId>)> {
    entries.iter().map(|entry| (entry, None)).collect()
}

fn scope_columns(scope: &Scope) -> (&'static str, Option<&str>, Option<Cow<'_, str>>) {
    match scope {
        Scope::All => ("all", None, None),
        Scope::Keys { config_version } => ("keys", None, Some(config_version.to_string().into())),
        Scope::Host(host) => ("host", Some(host.as_str()), None),
        Scope::Prefix(prefix) => ("prefix", Some(prefix.host().as_str()), Some(prefix.path().into())),
        Scope::Url(url) => {
            let column = match url.scheme() {
                None => "url",
                Some(Scheme::Http) => "http-url",
                Some(Scheme::Https) => "https-url",
            };
            (column, Some(url.host().as_str()), Some(url.path_and_query().into()))
        }
        Scope::Tag { tag, host } => ("tag", host.as_ref().map(HostName::as_str), Some(tag.as_str().into())),
    }
}

fn entry_of_row(row: &Row) -> Result<LogEntry, StoreError> {
    let scope: &str = row.get("scope")?;
    let host: Option<&str> = row.get("host")?;
    let value: Option<&str> = row.get("value")?;
    let host = host.map(parse_host).transpose()?;
    let corrupt = || StoreError::corrupt("purge entry", format!("{scope} {host:?} {value:?}"));
    let scope = match (scope, host.clone(), value) {
        ("all", None, None) => Scope::All,
        ("keys", None, Some(version)) => {
            Scope::Keys { config_version: version.parse().map_err(|_| corrupt())? }
        }
        ("host", Some(host), None) => Scope::Host(host),
        ("prefix", Some(host), Some(path)) => {
            Scope::Prefix(UrlPrefix::from_normalised(host, path).map_err(|_| corrupt())?)
        }
        ("url" | "http-url" | "https-url", Some(host), Some(path)) => {
            let in_key = Scheme::EVERY.into_iter().find(|known| scope == format!("{}-url", known.as_str()));
            let url = UrlKey::from_normalised(host, path).map_err(|_| corrupt())?;
            Scope::Url(url.with_scheme(in_key))
        }
        ("tag", host, Some(tag)) => Scope::Tag { tag: CacheTag::parse(tag).map_err(|_| corrupt())?, host },
        _ => return Err(corrupt()),
    };
    Ok(LogEntry {
        seq: seq_of_column(row.get("seq")?),
        entry: Entry {
            zone: parse_zone(row.get("zone_id")?)?,
            scope,
            method: parse_method(row.get("method")?)?,
        },
    })
}

pub(crate) fn parse_method(text: &str) -> Result<Method, StoreError> {
    Method::parse(text).ok_or_else(|| StoreError::corrupt("purge method", text))
}

pub(crate) fn parse_zone(text: &str) -> Result<ZoneId, StoreError> {
    ZoneId::parse(text).map_err(|_| StoreError::corrupt("zone id", text))
}

pub(crate) fn parse_host(text: &str) -> Result<HostName, StoreError> {
    HostName::parse(text).map_err(|_| StoreError::corrupt("host name", text))
}

/// The databases' integers are signed; a log does not reach 2^63 entries.
pub(crate) fn to_column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn seq_of_column(column: i64) -> PurgeSeq {
    PurgeSeq::new(u64::try_from(column).unwrap_or(0))
}
