//! Quotas: how many targets a zone may purge per call and per day.

use crate::database::{Session, commit};
use crate::log::to_column;
use crate::{ConfigError, Store, StoreError};
use purge::PurgeType;
use std::collections::HashMap;
use zone::ZoneId;

/// A quota's day begins at 00:00 UTC+8 by default.
pub const QUOTA_DAY_OFFSET_SECS: i32 = 8 * 3600;

const DAY_SECS: i64 = 86_400;

/// What a quota counts (API field `Quota.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuotaKind {
    /// Targets of a purge type.
    Purge(PurgeType),
    /// URLs to prefetch.
    PrefetchUrl,
}

impl QuotaKind {
    /// Every kind, in the order the API lists them.
    pub const EVERY: [Self; 6] = [
        Self::Purge(PurgeType::Url),
        Self::Purge(PurgeType::Prefix),
        Self::Purge(PurgeType::Host),
        Self::Purge(PurgeType::All),
        Self::Purge(PurgeType::CacheTag),
        Self::PrefetchUrl,
    ];

    /// The kind as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Purge(kind) => kind.as_str(),
            Self::PrefetchUrl => "prefetch_url",
        }
    }

    /// What a zone has unless it was given something else.
    pub const fn default_limits(self) -> QuotaLimits {
        let (batch, daily) = match self {
            Self::Purge(PurgeType::Url) | Self::PrefetchUrl => (5000, 100_000),
            Self::Purge(PurgeType::Prefix | PurgeType::Host) => (1000, 10_000),
            Self::Purge(PurgeType::CacheTag) => (100, 10_000),
            Self::Purge(PurgeType::All) => (1, 1000),
        };
        QuotaLimits { batch, daily }
    }
}

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Most targets in one call (API field `Batch`).
    pub batch: u32,
    /// Most targets in one day (API field `Daily`).
    pub daily: u32,
}

/// A zone's quota of one kind as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaLine {
    /// What it counts.
    pub kind: QuotaKind,
    /// How much is allowed.
    pub limits: QuotaLimits,
    /// How much of the day's is left (API field `DailyAvailable`).
    pub available: u32,
}

impl Store {
    /// A zone's quotas of every kind; `None` when there is no such zone.
    pub async fn content_quota(
        &self,
        zone: &ZoneId,
        now_ms: i64,
    ) -> Result<Option<Vec<QuotaLine>>, StoreError> {
        let mut tx = self.read().await?;
        let day = quota_day(now_ms, self.quota_day_offset_secs);
        let mut lines = Vec::with_capacity(QuotaKind::EVERY.len());
        for kind in QuotaKind::EVERY {
            let Some(account) = read_account(&mut tx, zone, kind, day).await? else { return Ok(None) };
            lines.push(QuotaLine { kind, limits: account.limits, available: account.left() });
        }
        Ok(Some(lines))
    }

    /// Gives a zone limits of its own, or takes them back (`None`).
    pub async fn set_quota_override(
        &self,
        zone: &ZoneId,
        kind: QuotaKind,
        limits: Option<QuotaLimits>,
    ) -> Result<(), ConfigError> {
        let mut tx = self.write().await?;
        let known: bool = tx
            .query("SELECT EXISTS (SELECT 1 FROM zones WHERE zone_id = $1)")
            .bind(zone.as_str())
            .scalar()
            .await?;
        if !known {
            return Err(ConfigError::ZoneNotFound(zone.clone()));
        }
        match limits {
            Some(limits) => {
                tx.query(
                    "INSERT INTO quota_overrides (zone_id, kind, batch, daily) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (zone_id, kind) DO UPDATE SET batch = excluded.batch, daily = \
             excluded.daily",
                )
                .bind(zone.as_str())
                .bind(kind.as_str())
                .bind(limits.batch)
                .bind(limits.daily)
                .execute()
                .await?;
            }
            None => {
                tx.query("DELETE FROM quota_overrides WHERE zone_id = $1 AND kind = $2")
                    .bind(zone.as_str())
                    .bind(kind.as_str())
                    .execute()
                    .await?;
            }
        }
        Ok(commit(tx).await?)
    }

    /// Forgets what was spent before the day of `now_ms`.
    pub async fn forget_quota_use(&self, now_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        // Yesterday stays: the clock may be set back a little.
        tx.query("DELETE FROM quota_used WHERE day < $1")
            .bind(quota_day(now_ms, self.quota_day_offset_secs) - 1)
            .execute()
            .await?;
        commit(tx).await
    }
}

/// Which day `now_ms` lies in, counted from the epoch, where days begin `offset_secs` before UTC's.
pub(crate) fn quota_day(now_ms: i64, offset_secs: i32) -> i64 {
    (now_ms.div_euclid(1000) + i64::from(offset_secs)).div_euclid(DAY_SECS)
}

/// What a zone has spent of one kind in one day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) limits: QuotaLimits,
    pub(crate) used: u32,
}

/// Why a charge was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChargeRefusal {
    Batch,
    Daily { left: u32 },
}

impl Account {
    pub(crate) fn left(self) -> u32 {
        self.limits.daily.saturating_sub(self.used)
    }

    pub(crate) fn check(self, asked: u32) -> Result<(), ChargeRefusal> {
        if asked > self.limits.batch {
            Err(ChargeRefusal::Batch)
        } else if asked > self.left() {
            Err(ChargeRefusal::Daily { left: self.left() })
        } else {
            Ok(())
        }
    }
}

/// Every account that one group of jobs touches, read once and written once.
pub(crate) type Accounts = HashMap<(ZoneId, QuotaKind, i64), Account>;

/// `None` when there is no such zone.
pub(crate) async fn read_account(
    db: &mut Session,
    zone: &ZoneId,
    kind: QuotaKind,
    day: i64,
) -> Result<Option<Account>, StoreError> {
    let row = db
        .query(
            "SELECT o.batch, o.daily, u.used FROM zones z LEFT JOIN quota_overrides o ON \
             o.zone_id = z.zone_id AND o.kind = $2 LEFT JOIN quota_used u ON u.zone_id = \
             z.zone_id AND u.kind = $2 AND u.day = $3 WHERE z.zone_id = $1",
        )
        .bind(zone.as_str())
        .bind(kind.as_str())
        .bind(day)
        .optional()
        .await?;
    let Some(row) = row else { return Ok(None) };
    let default = kind.default_limits();
    Ok(Some(Account {
        limits: QuotaLimits {
            batch: row.optional_number("batch")?.unwrap_or(default.batch),
            daily: row.optional_number("daily")?.unwrap_or(default.daily),
        },
        used: row.optional_number("used")?.unwrap_or(0),
    }))
}

pub(crate) async fn write_accounts(db: &mut Session, accounts: &Accounts) -> Result<(), StoreError> {
    for ((zone, kind, day), account) in accounts {
        db.query(
            "INSERT INTO quota_used (zone_id, kind, day, used) VALUES ($1, $2, $3, $4) ON \
             CONFLICT (zone_id, kind, day) DO UPDATE SET used = excluded.used",
        )
        .bind(zone.as_str())
        .bind(kind.as_str())
        .bind(*day)
        .bind(to_column(account.used.into()))
        .execute()
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_the_offset() {
        let midnight_utc_ms = 1_700_006_400_000; // 2023-11-15T00:00:00Z
        let day = quota_day(midnight_utc_ms, 0);
        for (offset, now_ms, expected) in [
            (0, midnight_utc_ms - 1, day - 1),
            (0, midnight_utc_ms, day),
            (QUOTA_DAY_OFFSET_SECS, midnight_utc_ms, day),
            (QUOTA_DAY_OFFSET_SECS, midnight_utc_ms - 8 * 3_600_000, day),
            (QUOTA_DAY_OFFSET_SECS, midnight_utc_ms - 8 * 3_600_000 - 1, day - 1),
            (-3600, midnight_utc_ms, day - 1),
        ] {
            assert_eq!(quota_day(now_ms, offset), expected, "{offset} {now_ms}");
        }
    }

    #[test]
    fn a_charge_passes_up_to_its_limits() {
        let account = Account { limits: QuotaLimits { batch: 3, daily: 10 }, used: 8 };
        assert_eq!(account.check(2), Ok(()));
        assert_eq!(account.check(3), Err(ChargeRefusal::Daily { left: 2 }));
        assert_eq!(account.check(4), Err(ChargeRefusal::Batch));
        let lowered = Account { limits: QuotaLimits { batch: 3, daily: 5 }, used: 8 };
        assert_eq!(lowered.check(1), Err(ChargeRefusal::Daily { left: 0 }));
    }
}
