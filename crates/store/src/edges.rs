//! Edges by their names: the join tokens that let them in, the keys that these become, and which of them are drained.

use crate::database::{Row, Session, commit};
use crate::{Store, StoreError};
use ring::digest;

/// How many join tokens there may be, revoked ones among them.
pub const JOIN_TOKENS_MAX: usize = 64;

/// How many keys of edges there may be.
pub const EDGE_KEYS_MAX: usize = 20_000;

/// The length of what is kept of a token or a key, in bytes.
pub const EDGE_SECRET_BYTES: usize = 32;

/// What may be shown of a join token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTokenInfo {
    /// What it is called. Follows from the token.
    pub token_id: String,
    /// What it is for, in its owner's words.
    pub comment: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// From when on it lets nobody in.
    pub expires_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_ms: Option<i64>,
}

impl JoinTokenInfo {
    /// Whether it lets edges in.
    pub fn is_active(&self, now_ms: i64) -> bool {
        self.revoked_ms.is_none() && self.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms)
    }
}

/// The key of one edge. Has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredEdgeKey {
    /// What it is called.
    pub key_id: String,
    /// The edge.
    pub edge_name: String,
    /// Whether the edge keeps it over restarts.
    pub keeps: bool,
    /// Which token let the edge in.
    pub token_id: String,
    /// When, milliseconds since the Unix epoch.
    pub joined_ms: i64,
    /// The secret half.
    pub secret: [u8; EDGE_SECRET_BYTES],
}

/// An edge that has a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownEdge {
    /// Its name.
    pub edge_name: String,
    /// When it first joined, of the keys it has; milliseconds since the Unix epoch.
    pub joined_ms: i64,
}

/// Why a token or an edge was not made, found or changed.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// No edge has this name.
    #[error("there is no edge {0:?}: neither a process of that name nor a key")]
    EdgeNotFound(String),
    /// No token has this id.
    #[error("there is no join token {0:?}")]
    TokenNotFound(String),
    /// There are as many of them as allowed.
    #[error("there are {max} {what} already")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        max: usize,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Store {
    /// Takes in a join token, of which `hash` is kept, sealed. Taking it in again changes nothing, also when it was
    /// revoked meanwhile.
    pub async fn add_join_token(
        &self,
        hash: &[u8; EDGE_SECRET_BYTES],
        comment: &str,
        expires_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<JoinTokenInfo, EdgeError> {
        let token_id = token_id_of(hash);
        let mut tx = self.write().await?;
        let known = tx
            .query("SELECT * FROM join_tokens WHERE token_id = $1")
            .bind(token_id.as_str())
            .optional()
            .await?;
        if let Some(known) = known {
            return Ok(token_of_row(&known)?);
        }
        let count: i64 = tx.query("SELECT count(*) FROM join_tokens").scalar().await?;
        if usize::try_from(count).is_ok_and(|count| count >= JOIN_TOKENS_MAX) {
            // What lets nobody in any more makes room.
            tx.query("DELETE FROM join_tokens WHERE expires_ms <= $1 OR revoked_ms < $1 - 2592000000")
                .bind(now_ms)
                .execute()
                .await?;
            let left: i64 = tx.query("SELECT count(*) FROM join_tokens").scalar().await?;
            if left >= count {
                return Err(EdgeError::TooMany { what: "join tokens", max: JOIN_TOKENS_MAX });
            }
        }
        tx.query(
            "INSERT INTO join_tokens (token_id, sealed, comment, created_ms, expires_ms) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(token_id.as_str())
        .bind(self.master_key.seal(&token_id, hash)?)
        .bind(comment)
        .bind(now_ms)
        .bind(crate::database::Value::Int(expires_ms))
        .execute()
        .await?;
        commit(tx).await?;
        Ok(JoinTokenInfo {
            token_id,
            comment: comment.into(),
            created_ms: now_ms,
            expires_ms,
            revoked_ms: None,
        })
    }

    /// Every join token, oldest first.
    pub async fn join_tokens(&self) -> Result<Vec<JoinTokenInfo>, StoreError> {
        let rows = self
            .glance()
            .await?
            .query("SELECT * FROM join_tokens ORDER BY created_ms, token_id")
            .all()
            .await?;
        rows.iter().map(token_of_row).collect()
    }

    /// The tokens that let edges in at `now_ms`: id, and what is kept of each.
    pub async fn active_join_tokens(
        &self,
        now_ms: i64,
    ) -> Result<Vec<(String, [u8; EDGE_SECRET_BYTES])>, StoreError> {
        let rows = self
            .glance()
            .await?
            .query("SELECT * FROM join_tokens ORDER BY created_ms, token_id")
            .all()
            .await?;
        let mut active = Vec::new();
        for row in &rows {
            let token = token_of_row(row)?;
            if token.is_active(now_ms) {
                let hash = self.unsealed(row, &token.token_id)?;
                active.push((token.token_id, hash));
            }
        }
        Ok(active)
    }

    /// From now on the token lets nobody in. Keys that it became stay.
    pub async fn revoke_join_token(&self, token_id: &str, now_ms: i64) -> Result<(), EdgeError> {
        let mut tx = self.write().await?;
        let done = tx
            .query("UPDATE join_tokens SET revoked_ms = coalesce(revoked_ms, $1) WHERE token_id = $2")
            .bind(now_ms)
            .bind(token_id)
            .execute()
            .await?;
        if done == 0 {
            return Err(EdgeError::TokenNotFound(token_id.into()));
        }
        Ok(commit(tx).await?)
    }

    /// Keeps a key.
    pub async fn keep_edge_key(&self, key: &StoredEdgeKey) -> Result<(), EdgeError> {
        let mut tx = self.write().await?;
        let count: i64 = tx.query("SELECT count(*) FROM edge_keys").scalar().await?;
        if usize::try_from(count).is_ok_and(|count| count >= EDGE_KEYS_MAX) {
            return Err(EdgeError::TooMany { what: "keys of edges", max: EDGE_KEYS_MAX });
        }
        tx.query(
            "INSERT INTO edge_keys (key_id, edge_name, sealed, keeps, token_id, joined_ms) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(key.key_id.as_str())
        .bind(key.edge_name.as_str())
        .bind(self.master_key.seal(&key.key_id, &key.secret)?)
        .bind(key.keeps)
        .bind(key.token_id.as_str())
        .bind(key.joined_ms)
        .execute()
        .await?;
        Ok(commit(tx).await?)
    }

    /// The key of this id; `None` if there is none, or not any more.
    pub async fn edge_key(&self, key_id: &str) -> Result<Option<StoredEdgeKey>, StoreError> {
        let mut tx = self.glance().await?;
        let row = tx.query("SELECT * FROM edge_keys WHERE key_id = $1").bind(key_id).optional().await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(StoredEdgeKey {
            key_id: key_id.to_owned(),
            edge_name: row.get("edge_name")?,
            keeps: row.get("keeps")?,
            token_id: row.get("token_id")?,
            joined_ms: row.get("joined_ms")?,
            secret: self.unsealed(&row, key_id)?,
        }))
    }

    /// The edges that keep a key over restarts, by name.
    pub async fn known_edges(&self) -> Result<Vec<KnownEdge>, StoreError> {
        let mut tx = self.glance().await?;
        let rows = tx
            .query(
                "SELECT edge_name, min(joined_ms) AS joined_ms FROM edge_keys WHERE keeps GROUP BY edge_name \
                 ORDER BY edge_name",
            )
            .all()
            .await?;
        rows.iter()
            .map(|row| Ok(KnownEdge { edge_name: row.get("edge_name")?, joined_ms: row.get("joined_ms")? }))
            .collect()
    }

    /// The names of drained edges.
    pub async fn drained_edges(&self) -> Result<Vec<String>, StoreError> {
        self.glance().await?.query("SELECT edge_name FROM drained_edges ORDER BY edge_name").scalars().await
    }

    /// Lets an edge have no lease any more: its processes are leaving, and no other is let in until it is resumed.
    pub async fn drain_edge(&self, edge_name: &str, now_ms: i64) -> Result<(), EdgeError> {
        let mut tx = self.write().await?;
        require_edge(&mut tx, edge_name).await?;
        tx.query("INSERT INTO drained_edges (edge_name, since_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(edge_name)
            .bind(now_ms)
            .execute()
            .await?;
        mark_leaving(&mut tx, edge_name, now_ms).await?;
        Ok(commit(tx).await?)
    }

    /// Lets a drained edge join again. Not being drained is fine, too.
    pub async fn resume_edge(&self, edge_name: &str) -> Result<(), EdgeError> {
        let mut tx = self.write().await?;
        let done =
            tx.query("DELETE FROM drained_edges WHERE edge_name = $1").bind(edge_name).execute().await?;
        if done == 0 {
            require_edge(&mut tx, edge_name).await?;
        }
        Ok(commit(tx).await?)
    }

    /// Takes an edge's keys away and lets its processes leave. Their rows go once their leases have run out.
    pub async fn remove_edge(&self, edge_name: &str, now_ms: i64) -> Result<(), EdgeError> {
        let mut tx = self.write().await?;
        require_edge(&mut tx, edge_name).await?;
        tx.query("DELETE FROM edge_keys WHERE edge_name = $1").bind(edge_name).execute().await?;
        tx.query("DELETE FROM drained_edges WHERE edge_name = $1").bind(edge_name).execute().await?;
        mark_leaving(&mut tx, edge_name, now_ms).await?;
        Ok(commit(tx).await?)
    }

    /// Forgets keys from before `before_ms` that only a process had which is no member any more.
    pub async fn forget_edge_keys(&self, before_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        tx.query(
            "DELETE FROM edge_keys WHERE NOT keeps AND joined_ms < $1 \
             AND NOT EXISTS (SELECT 1 FROM members WHERE members.key_id = edge_keys.key_id)",
        )
        .bind(before_ms)
        .execute()
        .await?;
        commit(tx).await
    }

    fn unsealed(&self, row: &Row, id: &str) -> Result<[u8; EDGE_SECRET_BYTES], StoreError> {
        let sealed: &[u8] = row.get("sealed")?;
        let opened = self.master_key.unseal(id, sealed).and_then(|bytes| bytes.try_into().ok());
        opened.ok_or_else(|| StoreError::corrupt("sealed secret of edges", id))
    }
}

/// Whether a process with this key and name may join at all.
pub(crate) async fn may_join(
    db: &mut Session,
    edge_name: &str,
    key_id: Option<&str>,
) -> Result<Option<crate::Joined>, StoreError> {
    if let Some(key_id) = key_id {
        let is_known: i64 =
            db.query("SELECT count(*) FROM edge_keys WHERE key_id = $1").bind(key_id).scalar().await?;
        if is_known == 0 {
            return Ok(Some(crate::Joined::Removed));
        }
    }
    let is_drained: i64 =
        db.query("SELECT count(*) FROM drained_edges WHERE edge_name = $1").bind(edge_name).scalar().await?;
    Ok((is_drained > 0).then_some(crate::Joined::Drained))
}

async fn require_edge(db: &mut Session, edge_name: &str) -> Result<(), EdgeError> {
    let count: i64 = db
        .query(
            "SELECT (SELECT count(*) FROM members WHERE edge_name = $1) \
             + (SELECT count(*) FROM edge_keys WHERE edge_name = $1)",
        )
        .bind(edge_name)
        .scalar()
        .await?;
    if count == 0 { Err(EdgeError::EdgeNotFound(edge_name.into())) } else { Ok(()) }
}

async fn mark_leaving(db: &mut Session, edge_name: &str, now_ms: i64) -> Result<(), StoreError> {
    db.query(
        "UPDATE members SET state = 'leaving', leaving_since_ms = $1 WHERE edge_name = $2 AND state = 'active'",
    )
    .bind(now_ms)
    .bind(edge_name)
    .execute()
    .await?;
    Ok(())
}

fn token_of_row(row: &Row) -> Result<JoinTokenInfo, StoreError> {
    Ok(JoinTokenInfo {
        token_id: row.get("token_id")?,
        comment: row.get("comment")?,
        created_ms: row.get("created_ms")?,
        expires_ms: row.get("expires_ms")?,
        revoked_ms: row.get("revoked_ms")?,
    })
}

fn token_id_of(hash: &[u8; EDGE_SECRET_BYTES]) -> String {
    let digest = digest::digest(&digest::SHA256, hash);
    let hex: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("jt-{hex}")
}
