//! What control planes that share a database tell each other: what they heard of the edges that are linked to them, and
//! that there is something to look at.
//!
//! None of it is truth: an edge says it again, and whoever is not woken looks after a while by itself. SQLite is open in
//! one process only, so that there is nobody to tell.

use crate::database::{Sql, Value};
use crate::log::{seq_of_column, to_column};
use crate::{Store, StoreError};
use purge::{Epoch, MemberId, PurgeSeq};
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::time::Duration;

/// How long nothing may be heard from the database before it is asked whether it is there.
const LISTEN_CHECK: Duration = Duration::from_secs(10);

/// How long that may take, and connecting.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(3);

/// The pause before connecting again.
const LISTEN_PAUSE: Duration = Duration::from_millis(500);

/// What an instance heard of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The member: one process.
    pub member: MemberId,
    /// Changes with each sign of life that is told. What is told carries none.
    pub beat: i64,
    /// What it acknowledged, of which log.
    pub acknowledged: Option<(Epoch, PurgeSeq)>,
}

impl Store {
    /// Whether other control planes may have the same database open.
    pub fn is_shared(&self) -> bool {
        self.database.is_shared()
    }

    /// Tells the other instances of signs of life, each with what the member has acknowledged if that is known. With
    /// `hurry` they are woken for it. Does nothing where there are no others.
    pub async fn tell_heard(
        &self,
        heard: &[(MemberId, Option<(Epoch, PurgeSeq)>)],
        hurry: bool,
    ) -> Result<(), StoreError> {
        if !self.is_shared() || heard.is_empty() {
            return Ok(());
        }
        let mut heard: Vec<(String, Option<(Epoch, PurgeSeq)>)> =
            heard.iter().map(|(member, acknowledged)| (member.to_string(), *acknowledged)).collect();
        // In one order, so that two instances that tell of the same members wait in one direction only.
        heard.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut sql =
            Sql::new("WITH told AS (INSERT INTO heard (member_id, beat, epoch, acknowledged) VALUES ");
        for (index, (member, acknowledged)) in heard.iter().enumerate() {
            let number = |number: Option<i64>| Value::Int(number);
            sql.push(if index == 0 { "(" } else { ", (" }).bind(member.as_str()).push(", 1, ");
            sql.bind(number(acknowledged.map(|(epoch, _)| epoch.number().cast_signed()))).push(", ");
            sql.bind(number(acknowledged.map(|(_, seq)| to_column(seq.number())))).push(")");
        }
        sql.push(
            " ON CONFLICT (member_id) DO UPDATE SET beat = heard.beat + 1, \
             epoch = coalesce(excluded.epoch, heard.epoch), \
             acknowledged = CASE WHEN excluded.epoch IS NULL \
             OR (heard.epoch = excluded.epoch AND heard.acknowledged > excluded.acknowledged) \
             THEN heard.acknowledged ELSE excluded.acknowledged END RETURNING 1) ",
        );
        sql.push(match hurry {
            true => "SELECT pg_notify('everfresh', current_setting('application_name')) FROM (SELECT count(*) FROM told) AS all_told",
            false => "SELECT count(*) FROM told",
        });
        self.glance().await?.run(sql).all().await?;
        Ok(())
    }

    /// What was told of every member, by whichever instance. Empty where there are no others.
    pub async fn heard_elsewhere(&self) -> Result<Vec<Told>, StoreError> {
        if !self.is_shared() {
            return Ok(Vec::new());
        }
        let rows = self
            .glance()
            .await?
            .query("SELECT member_id, beat, epoch, acknowledged FROM heard")
            .all()
            .await?;
        rows.iter()
            .map(|row| {
                let member: &str = row.get("member_id")?;
                let epoch: Option<i64> = row.get("epoch")?;
                let acknowledged: Option<i64> = row.get("acknowledged")?;
                Ok(Told {
                    member: MemberId::parse(member).map_err(|_| StoreError::corrupt("member id", member))?,
                    beat: row.get("beat")?,
                    acknowledged: epoch
                        .zip(acknowledged)
                        .map(|(epoch, seq)| (Epoch::new(epoch.cast_unsigned()), seq_of_column(seq))),
                })
            })
            .collect()
    }

    /// Tells when other instances have changed something.
    pub fn changes(&self) -> Changes {
        Changes { store: self.clone(), listener: None }
    }
}

/// See [`Store::changes`].
pub struct Changes {
    store: Store,
    listener: Option<PgListener>,
}

impl Changes {
    /// Waits until another instance may have changed the log, the configuration, members or what was heard of them. It
    /// may tell once too often, and when the database is away it may not tell at all. Never where there are no others.
    pub async fn next(&mut self) {
        let Some(options) = self.store.database.server() else { return std::future::pending().await };
        loop {
            let listener = match &mut self.listener {
                Some(listener) => listener,
                None => {
                    let pool = PgPoolOptions::new()
                        .max_connections(1)
                        .idle_timeout(None)
                        .max_lifetime(None)
                        .acquire_timeout(LISTEN_TIMEOUT)
                        .connect_lazy_with(options.clone());
                    if let Ok(mut listener) = PgListener::connect_with(&pool).await
                        && let Ok(Ok(())) =
                            tokio::time::timeout(LISTEN_TIMEOUT, listener.listen("everfresh")).await
                    {
                        listener.eager_reconnect(false);
                        self.listener = Some(listener);
                        // Whatever happened until now was not heard.
                        return;
                    }
                    tokio::time::sleep(LISTEN_PAUSE).await;
                    continue;
                }
            };
            match tokio::time::timeout(LISTEN_CHECK, listener.try_recv()).await {
                Ok(Ok(Some(notice))) if notice.payload() == &*self.store.instance => {}
                Ok(Ok(Some(_))) => return,
                Ok(Ok(None) | Err(_)) => self.listener = None,
                Err(_) => {
                    let asked = sqlx::query("SELECT 1").execute(&mut *listener);
                    if !matches!(tokio::time::timeout(LISTEN_TIMEOUT, asked).await, Ok(Ok(_))) {
                        self.listener = None;
                    }
                }
            }
        }
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("listening", &self.listener.is_some()).finish_non_exhaustive()
    }
}
