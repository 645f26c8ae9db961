//! How long leases are: one time for all control planes of a database.
//!
//! It is kept here, since a task has to wait as long as any lease runs that any of them granted. A longer time counts from
//! its commit on: whoever sees a task's commit and then reads this row reads the time of every lease that was granted
//! without the task's entries. A shorter one is granted at once, and counted with only after the leases of the longer
//! time have run out, which a control plane says that has waited for it since it saw the row.

use crate::database::{Session, commit};
use crate::{Store, StoreError};
use std::time::Duration;

/// The length `L` of leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTime {
    /// Of those that are granted now.
    pub granted: Duration,
    /// Of the longest that may hold; at least `granted`.
    pub counted: Duration,
    /// Another with each change.
    pub version: u64,
}

impl Store {
    /// Has leases be of this length, whole milliseconds of it, from the commit on.
    pub async fn set_lease(&self, lease: Duration) -> Result<(), StoreError> {
        let wanted = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        let mut tx = self.write().await?;
        tx.query(
            "UPDATE lease SET granted_ms = $1, version = version + 1, \
             counted_ms = CASE WHEN counted_ms > $1 THEN counted_ms ELSE $1 END WHERE granted_ms <> $1",
        )
        .bind(wanted)
        .execute()
        .await?;
        commit(tx).await
    }

    /// Counts with what is granted: all leases from before have run out since `version` was seen. Does nothing if the time was
    /// changed again since.
    pub async fn settle_lease(&self, version: u64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        tx.query("UPDATE lease SET counted_ms = granted_ms, version = version + 1 WHERE version = $1")
            .bind(version.cast_signed())
            .execute()
            .await?;
        commit(tx).await
    }
}

pub(crate) async fn read(db: &mut Session) -> Result<LeaseTime, StoreError> {
    let row = db.query("SELECT granted_ms, counted_ms, version FROM lease").one().await?;
    let time = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let version: i64 = row.get("version")?;
    Ok(LeaseTime {
        granted: time(row.get("granted_ms")?),
        counted: time(row.get("counted_ms")?),
        version: version.cast_unsigned(),
    })
}
