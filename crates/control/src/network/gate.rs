//! Which edges are let in: what a feed asks, answered by the database.

use super::{Network, unix_ms};
use feed::{EdgeKey, EdgeSecret, Gate, IdentityError, NewEdgeKey, TokenHash};
use std::time::SystemTime;
use store::{EdgeError, Store, StoredEdgeKey};
use tracing::{error, info};

/// The database's word on edges.
#[derive(Clone)]
pub struct EdgeGate {
    store: Store,
    wall_clock: fn() -> SystemTime,
}

impl Network {
    /// What feeds ask before they let an edge in.
    pub fn gate(&self) -> EdgeGate {
        EdgeGate { store: self.shared.store.clone(), wall_clock: self.shared.settings.wall_clock }
    }
}

impl Gate for EdgeGate {
    async fn tokens(&self) -> Result<Vec<(String, TokenHash)>, IdentityError> {
        let now_ms = unix_ms((self.wall_clock)());
        let tokens =
            self.store.active_join_tokens(now_ms).await.map_err(EdgeError::Store).map_err(refusal)?;
        Ok(tokens.into_iter().map(|(id, hash)| (id, TokenHash::from_bytes(hash))).collect())
    }

    async fn keep(&self, key: NewEdgeKey) -> Result<(), IdentityError> {
        let NewEdgeKey { key_id, edge_name, keeps, token_id, secret } = key;
        info!(edge = edge_name, key_id, token_id, "a join token became a key");
        let joined_ms = unix_ms((self.wall_clock)());
        let secret = *secret.bytes();
        let key = StoredEdgeKey { key_id, edge_name, keeps, token_id, joined_ms, secret };
        self.store.keep_edge_key(&key).await.map_err(refusal)
    }

    async fn key(&self, key_id: &str) -> Result<Option<EdgeKey>, IdentityError> {
        let key = self.store.edge_key(key_id).await.map_err(EdgeError::Store).map_err(refusal)?;
        Ok(key.map(|key| EdgeKey {
            key_id: key.key_id,
            edge_name: key.edge_name,
            secret: EdgeSecret::from_bytes(key.secret),
        }))
    }
}

fn refusal(failure: EdgeError) -> IdentityError {
    error!(error = &failure as &dyn std::error::Error, "edges can't be checked");
    match failure {
        EdgeError::TooMany { .. } => IdentityError::Full,
        EdgeError::Store(_) | EdgeError::EdgeNotFound(_) | EdgeError::TokenNotFound(_) => {
            IdentityError::Unavailable
        }
    }
}
