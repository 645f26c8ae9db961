//! Members: the edge processes that hold or may hold a lease.

use crate::database::{Row, Session, commit};
use crate::edges::may_join;
use crate::{Store, StoreError};
use purge::{FencePolicy, MemberId, MemberTerms};

/// How many members there may be.
pub const MEMBERS_MAX: usize = 10_000;

/// What is known of the process behind a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberProcess {
    /// The key it has shown; `None` for one within a control plane's process.
    pub key_id: Option<String>,
    /// What it says of its version.
    pub version: String,
    /// Where it linked from; empty if that can't be told.
    pub address: String,
}

/// Whether a member is granted leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It is.
    Active,
    /// Nobody grants it any more; its row goes once its last lease has run out.
    Leaving {
        /// When it was marked, by the wall clock of who marked it: to show, not to count by.
        since_ms: i64,
    },
}

/// One edge process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// The name an operator gave the edge; restarts and clones share it.
    pub edge_name: String,
    /// What it declared.
    pub terms: MemberTerms,
    /// The process behind it.
    pub process: MemberProcess,
    /// When it joined, milliseconds since the Unix epoch.
    pub joined_ms: i64,
    /// Whether it is granted leases.
    pub state: MemberState,
}

/// What became of a wish to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The row is written; it may be granted a lease.
    New,
    /// It was an active member already.
    Already,
    /// It is leaving: it may join once its row is gone.
    StillLeaving,
    /// It is an active member under other terms: whoever changes them is another member.
    OtherTerms,
    /// Its edge is drained: it may join once the edge is resumed.
    Drained,
    /// Its key is gone: the edge was removed.
    Removed,
    /// There are [`MEMBERS_MAX`] members.
    Full,
}

impl Store {
    /// Writes the row of an active member, which must be there before its first lease.
    pub async fn join_member(
        &self,
        id: MemberId,
        edge_name: &str,
        terms: MemberTerms,
        process: &MemberProcess,
        now_ms: i64,
    ) -> Result<Joined, StoreError> {
        let mut tx = self.write().await?;
        if let Some(refused) = may_join(&mut tx, edge_name, process.key_id.as_deref()).await? {
            return Ok(refused);
        }
        let there = tx
            .query(
                "SELECT member_id, edge_name, fence_policy, acks_only, has_parent, joined_ms, \
                 state, leaving_since_ms, key_id, edge_version, address FROM members WHERE member_id = $1",
            )
            .bind(id.to_string())
            .optional()
            .await?
            .map(|row| member_of_row(&row))
            .transpose()?;
        let count: i64 = tx.query("SELECT count(*) FROM members").scalar().await?;
        let joined = match there {
            Some(there) if there.state == MemberState::Active => {
                if there.terms != terms {
                    return Ok(Joined::OtherTerms);
                }
                Joined::Already
            }
            Some(_) => return Ok(Joined::StillLeaving),
            None if usize::try_from(count).is_ok_and(|count| count >= MEMBERS_MAX) => {
                return Ok(Joined::Full);
            }
            None => Joined::New,
        };
        tx.query(
            "INSERT INTO members (member_id, edge_name, fence_policy, acks_only, has_parent, joined_ms, key_id, \
             edge_version, address, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'active') \
             ON CONFLICT (member_id) DO UPDATE SET edge_name = excluded.edge_name, key_id = excluded.key_id, \
             edge_version = excluded.edge_version, address = excluded.address",
        )
        .bind(id.to_string())
        .bind(edge_name)
        .bind(terms.policy.as_str())
        .bind(terms.acks_only)
        .bind(terms.has_parent)
        .bind(now_ms)
        .bind(process.key_id.as_deref())
        .bind(process.version.as_str())
        .bind(process.address.as_str())
        .execute()
        .await?;
        commit(tx).await?;
        Ok(joined)
    }

    /// Marks active members leaving; others are left alone.
    pub async fn mark_leaving(&self, ids: &[MemberId], now_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for id in ids {
            tx.query(
                "UPDATE members SET state = 'leaving', leaving_since_ms = $1 WHERE member_id = $2 \
             AND state = 'active'",
            )
            .bind(now_ms)
            .bind(id.to_string())
            .execute()
            .await?;
        }
        commit(tx).await
    }

    /// Removes members: they gave up their lease for good, or it has run out since they were marked leaving.
    pub async fn remove_member(&self, ids: &[MemberId]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for id in ids {
            tx.query("DELETE FROM members WHERE member_id = $1").bind(id.to_string()).execute().await?;
            if tx.is_shared() {
                tx.query("DELETE FROM heard WHERE member_id = $1").bind(id.to_string()).execute().await?;
            }
        }
        commit(tx).await
    }

    /// Every member, in the order in which they joined.
    pub async fn members(&self) -> Result<Vec<Member>, StoreError> {
        read_all(&mut self.glance().await?).await
    }
}

pub(crate) async fn read_all(db: &mut Session) -> Result<Vec<Member>, StoreError> {
    let rows = db
        .query(
            "SELECT member_id, edge_name, fence_policy, acks_only, has_parent, joined_ms, \
             state, leaving_since_ms, key_id, edge_version, address FROM members ORDER BY joined_ms, member_id",
        )
        .all()
        .await?;
    rows.iter().map(member_of_row).collect()
}

fn member_of_row(row: &Row) -> Result<Member, StoreError> {
    let id: &str = row.get("member_id")?;
    let policy: &str = row.get("fence_policy")?;
    let state: &str = row.get("state")?;
    let since_ms: Option<i64> = row.get("leaving_since_ms")?;
    Ok(Member {
        id: MemberId::parse(id).map_err(|_| StoreError::corrupt("member id", id))?,
        edge_name: row.get("edge_name")?,
        terms: MemberTerms {
            policy: FencePolicy::parse(policy).ok_or_else(|| StoreError::corrupt("fence policy", policy))?,
            acks_only: row.get("acks_only")?,
            has_parent: row.get("has_parent")?,
        },
        process: MemberProcess {
            key_id: row.get("key_id")?,
            version: row.get("edge_version")?,
            address: row.get("address")?,
        },
        joined_ms: row.get("joined_ms")?,
        state: match (state, since_ms) {
            ("active", _) => MemberState::Active,
            ("leaving", Some(since_ms)) => MemberState::Leaving { since_ms },
            _ => return Err(StoreError::corrupt("member state", state)),
        },
    })
}
