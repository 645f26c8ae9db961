//! API keys: who may sign requests.

use crate::database::{Row, Session, commit};
use crate::{Store, StoreError, random};
use std::fmt;

/// How many keys there may be.
pub const KEYS_MAX: usize = 1000;

/// What the sealed check text is bound to; no secret id looks like it.
const CHECK_ID: &str = "master key check";
const CHECK_TEXT: &[u8] = b"everfresh";

/// The secret half of a key. Has no `Debug` that shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(String);

impl SecretKey {
    /// The text clients sign with.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// What may be shown of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its public half (API field `SecretId`).
    pub secret_id: String,
    /// What it is for, in its owner's words.
    pub comment: String,
    /// Whether requests signed with it are taken.
    pub enabled: bool,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// A key with its secret half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// What may be shown.
    pub info: KeyInfo,
    /// What may not.
    pub secret_key: SecretKey,
}

/// Why a key was not made, found or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key has this id.
    #[error("there is no key {0}")]
    NotFound(String),
    /// It is the only enabled key: without it nobody could sign a request any more.
    #[error("{0} is the last enabled key; make another one first")]
    LastEnabled(String),
    /// A key of this id exists, with another secret.
    #[error("there already is a key {0} with another secret")]
    Exists(String),
    /// The texts to import are no key.
    #[error(
        "a secret id and a secret key have 1 to 128 printable ASCII characters, the id none of \"/\", \",\" and \"=\""
    )]
    Malformed,
    /// There are as many keys as allowed.
    #[error("there are {KEYS_MAX} keys already; delete one first")]
    TooMany,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes a key of random letters and digits.
    pub async fn create_key(&self, comment: &str, now_ms: i64) -> Result<StoredKey, KeyError> {
        let (secret_id, secret_key) = new_key()?;
        self.import_key(&secret_id, &secret_key, comment, now_ms).await
    }

    /// The same, unless there is an enabled key already: then that one.
    pub async fn create_first_key(
        &self,
        comment: &str,
        now_ms: i64,
    ) -> Result<Result<StoredKey, KeyInfo>, KeyError> {
        let mut tx = self.write().await?;
        let known =
            tx.query("SELECT * FROM api_keys WHERE enabled ORDER BY created_ms LIMIT 1").optional().await?;
        if let Some(known) = known {
            return Ok(Err(info_of_row(&known)?));
        }
        let (secret_id, secret_key) = new_key()?;
        let key = self.insert_key(&mut tx, &secret_id, &secret_key, comment, now_ms).await?;
        commit(tx).await?;
        Ok(Ok(key))
    }

    /// Stores a key made elsewhere. Storing it again changes nothing.
    pub async fn import_key(
        &self,
        secret_id: &str,
        secret_key: &str,
        comment: &str,
        now_ms: i64,
    ) -> Result<StoredKey, KeyError> {
        let printable =
            |text: &str| (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if !printable(secret_id) || !printable(secret_key) || secret_id.contains(['/', ',', '=']) {
            return Err(KeyError::Malformed);
        }
        let mut tx = self.write().await?;
        if let Some(known) = self.read_key(&mut tx, secret_id).await? {
            let same = known.secret_key.0 == secret_key;
            return if same { Ok(known) } else { Err(KeyError::Exists(secret_id.into())) };
        }
        let key = self.insert_key(&mut tx, secret_id, secret_key, comment, now_ms).await?;
        commit(tx).await?;
        Ok(key)
    }

    async fn insert_key(
        &self,
        db: &mut Session,
        secret_id: &str,
        secret_key: &str,
        comment: &str,
        now_ms: i64,
    ) -> Result<StoredKey, KeyError> {
        let count: i64 = db.query("SELECT count(*) FROM api_keys").scalar().await?;
        if usize::try_from(count).is_ok_and(|count| count >= KEYS_MAX) {
            return Err(KeyError::TooMany);
        }
        db.query(
            "INSERT INTO api_keys (secret_id, sealed, comment, enabled, created_ms) VALUES ($1, \
             $2, $3, TRUE, $4)",
        )
        .bind(secret_id)
        .bind(self.master_key.seal(secret_id, secret_key.as_bytes())?)
        .bind(comment)
        .bind(now_ms)
        .execute()
        .await?;
        let info = KeyInfo {
            secret_id: secret_id.into(),
            comment: comment.into(),
            enabled: true,
            created_ms: now_ms,
        };
        Ok(StoredKey { info, secret_key: SecretKey(secret_key.into()) })
    }

    /// The key of this id, enabled or not.
    pub async fn find_key(&self, secret_id: &str) -> Result<Option<StoredKey>, StoreError> {
        let mut tx = self.glance().await?;
        self.read_key(&mut tx, secret_id).await
    }

    /// Every key, oldest first, without the secrets.
    pub async fn keys(&self) -> Result<Vec<KeyInfo>, StoreError> {
        let mut tx = self.glance().await?;
        let rows = tx.query("SELECT * FROM api_keys ORDER BY created_ms, secret_id").all().await?;
        rows.iter().map(info_of_row).collect()
    }

    /// Enables or disables a key, except the last enabled one.
    pub async fn set_key_enabled(&self, secret_id: &str, enabled: bool) -> Result<(), KeyError> {
        let mut tx = self.write().await?;
        if !enabled {
            refuse_last(&mut tx, secret_id).await?;
        }
        let done = tx
            .query("UPDATE api_keys SET enabled = $1 WHERE secret_id = $2")
            .bind(enabled)
            .bind(secret_id)
            .execute()
            .await?;
        if done == 0 {
            return Err(KeyError::NotFound(secret_id.into()));
        }
        Ok(commit(tx).await?)
    }

    /// Deletes a key, except the last enabled one.
    pub async fn delete_key(&self, secret_id: &str) -> Result<(), KeyError> {
        let mut tx = self.write().await?;
        refuse_last(&mut tx, secret_id).await?;
        let done = tx.query("DELETE FROM api_keys WHERE secret_id = $1").bind(secret_id).execute().await?;
        if done == 0 {
            return Err(KeyError::NotFound(secret_id.into()));
        }
        Ok(commit(tx).await?)
    }

    async fn read_key(&self, db: &mut Session, secret_id: &str) -> Result<Option<StoredKey>, StoreError> {
        let row = db.query("SELECT * FROM api_keys WHERE secret_id = $1").bind(secret_id).optional().await?;
        let Some(row) = row else { return Ok(None) };
        let sealed: &[u8] = row.get("sealed")?;
        let secret =
            self.master_key.unseal(secret_id, sealed).and_then(|bytes| String::from_utf8(bytes).ok());
        let secret = secret.ok_or_else(|| StoreError::corrupt("sealed key", secret_id))?;
        Ok(Some(StoredKey { info: info_of_row(&row)?, secret_key: SecretKey(secret) }))
    }
}

/// Whether the store's master key is the one its keys are sealed under. A new database takes the key it is given.
pub(crate) async fn master_key_fits(store: &Store) -> Result<bool, StoreError> {
    let mut tx = store.write().await?;
    let sealed: Option<Vec<u8>> = tx.query("SELECT sealed FROM master_key_check").optional_scalar().await?;
    if let Some(sealed) = sealed {
        return Ok(store.master_key.unseal(CHECK_ID, &sealed).is_some_and(|text| text == CHECK_TEXT));
    }
    tx.query("INSERT INTO master_key_check (id, sealed) VALUES (1, $1)")
        .bind(store.master_key.seal(CHECK_ID, CHECK_TEXT)?)
        .execute()
        .await?;
    commit(tx).await?;
    Ok(true)
}

async fn refuse_last(db: &mut Session, secret_id: &str) -> Result<(), KeyError> {
    let enabled: Vec<String> =
        db.query("SELECT secret_id FROM api_keys WHERE enabled LIMIT 2").scalars().await?;
    if enabled == [secret_id] { Err(KeyError::LastEnabled(secret_id.into())) } else { Ok(()) }
}

fn info_of_row(row: &Row) -> Result<KeyInfo, StoreError> {
    Ok(KeyInfo {
        secret_id: row.get("secret_id")?,
        comment: row.get("comment")?,
        enabled: row.get("enabled")?,
        created_ms: row.get("created_ms")?,
    })
}

/// The two halves of a new key.
fn new_key() -> Result<(String, String), StoreError> {
    Ok((format!("AKID{}", random_alphanumeric(32)?), random_alphanumeric(32)?))
}

fn random_alphanumeric(chars: usize) -> Result<String, StoreError> {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(chars);
    while text.len() < chars {
        for byte in random::<64>()? {
            // 62 does not divide 256: bytes that would favour the first letters are thrown away.
            if text.len() < chars && byte < 248 {
                text.push(char::from(ALPHABET[usize::from(byte % 62)]));
            }
        }
    }
    Ok(text)
}
