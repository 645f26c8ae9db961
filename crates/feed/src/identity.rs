//! Who an edge is: a join token lets it in once, and becomes a key of its own.
//!
//! Edge and control plane agree on the key by X25519 with throw-away keys; both sides prove with the join token that
//! they are who they say. Neither token nor key ever travels: whoever overhears a join, or even has the token, learns
//! no key by it. Later the edge proves that it has its key, by a MAC over what the control plane asks it with.
//!
//! Join tokens must not be guessable: whoever overhears a join can try guesses at leisure.

use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The length of secrets, public keys and MACs, in bytes.
pub const SECRET_BYTES: usize = 32;

/// The longest name of an edge, in bytes.
pub const EDGE_NAME_BYTES_MAX: usize = 64;

/// The longest message of a join, in bytes.
pub(crate) const JOIN_BYTES_MAX: usize = 4096;

/// Why a join, or a link with a key, came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The control plane knows no such token, or it has expired or was revoked; or the edge does not know the answer's.
    #[error("the join token does not fit: it is wrong, has expired or was revoked")]
    Token,
    /// The key is not accepted.
    #[error("the key of this edge is not accepted: the edge was removed, or the key is another network's")]
    Key,
    /// The edge has neither.
    #[error("there is no key in {0} and no join token to get one with")]
    Nothing(PathBuf),
    /// The bytes are no message of a join.
    #[error("a message of the join is malformed")]
    Malformed,
    /// The control plane can't say at the moment.
    #[error("the control plane can't check identities at the moment")]
    Unavailable,
    /// There are as many edges as allowed.
    #[error("the control plane takes no more edges")]
    Full,
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// The key's file can't be used.
    #[error("the edge's key file {path} can't be used")]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What the control plane keeps of a join token. As good as the token for a join, and so to be sealed; has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; SECRET_BYTES]);

impl TokenHash {
    /// Of a token's text.
    pub fn of(token: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"everfresh join token 1\0");
        context.update(token.as_bytes());
        let mut bytes = [0; SECRET_BYTES];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }

    /// Of bytes that [`Self::bytes`] gave.
    pub const fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be sealed.
    pub const fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }
}

/// The secret that one edge shares with the control plane. Has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct EdgeSecret([u8; SECRET_BYTES]);

impl EdgeSecret {
    /// Of bytes that [`Self::bytes`] gave.
    pub const fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be sealed.
    pub const fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// A MAC over `parts` for one purpose.
    pub(crate) fn mac(&self, purpose: &str, parts: &[&[u8]]) -> hmac::Tag {
        mac(&self.0, purpose, parts)
    }

    /// Whether `tag` is that MAC.
    pub(crate) fn fits(&self, purpose: &str, parts: &[&[u8]], tag: &[u8]) -> bool {
        fits(&self.0, purpose, parts, tag)
    }
}

/// An edge's key.
#[derive(Clone)]
pub struct EdgeKey {
    /// What the control plane calls it.
    pub key_id: String,
    /// The edge it was made for.
    pub edge_name: String,
    /// The secret half.
    pub secret: EdgeSecret,
}

/// Length before each part, so that no two lists of parts are the same bytes.
fn signed(purpose: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum::<usize>() + 64);
    for part in [purpose.as_bytes()].iter().chain(parts) {
        bytes.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

fn mac(key: &[u8], purpose: &str, parts: &[&[u8]]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &signed(purpose, parts))
}

/// Whether `tag` is that MAC, in constant time.
fn fits(key: &[u8], purpose: &str, parts: &[&[u8]], tag: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), &signed(purpose, parts), tag).is_ok()
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| IdentityError::NoRandomness)?;
    Ok(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn secret_of_hex(text: &str) -> Option<[u8; SECRET_BYTES]> {
    unhex(text)?.try_into().ok()
}

/// What an edge says to be let in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinRequest {
    edge_name: String,
    /// Whether the edge keeps the key, or only for as long as its process lives.
    keeps: bool,
    public_key: String,
    mac: String,
}

/// What the control plane answers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinAnswer {
    key_id: String,
    public_key: String,
    mac: String,
}

const JOIN: &str = "everfresh join 1";
const WELCOME: &str = "everfresh welcome 1";
const EDGE_SECRET: &str = "everfresh edge secret 1";
const LINK: &str = "everfresh link 1";

/// A join under way at the edge.
pub(crate) struct Joining {
    token: TokenHash,
    edge_name: String,
    private: EphemeralPrivateKey,
    public: Vec<u8>,
    mac: Vec<u8>,
}

impl Joining {
    /// Begins one, asked with `challenge`. Returns what to send.
    pub(crate) fn begin(
        token: &str,
        edge_name: &str,
        keeps: bool,
        challenge: &[u8],
    ) -> Result<(Self, Vec<u8>), IdentityError> {
        let token = TokenHash::of(token);
        let random = SystemRandom::new();
        let private =
            EphemeralPrivateKey::generate(&X25519, &random).map_err(|_| IdentityError::NoRandomness)?;
        let public = private.compute_public_key().map_err(|_| IdentityError::NoRandomness)?.as_ref().to_vec();
        let mac = mac(&token.0, JOIN, &[challenge, edge_name.as_bytes(), &[u8::from(keeps)], &public]);
        let mac = mac.as_ref().to_vec();
        let request =
            JoinRequest { edge_name: edge_name.to_owned(), keeps, public_key: hex(&public), mac: hex(&mac) };
        let bytes = serde_json::to_vec(&request).map_err(|_| IdentityError::Malformed)?;
        Ok((Self { token, edge_name: edge_name.to_owned(), private, public, mac }, bytes))
    }

    /// The key, once the control plane has answered.
    pub(crate) fn end(self, answer: &[u8]) -> Result<EdgeKey, IdentityError> {
        let JoinAnswer { key_id, public_key, mac } =
            serde_json::from_slice(answer).map_err(|_| IdentityError::Malformed)?;
        let public = unhex(&public_key).ok_or(IdentityError::Malformed)?;
        let tag = unhex(&mac).ok_or(IdentityError::Malformed)?;
        if !fits(&self.token.0, WELCOME, &[&self.mac, key_id.as_bytes(), &public], &tag) {
            return Err(IdentityError::Token);
        }
        let secret = agree(&self.token, self.private, &public, &self.public, &public)?;
        Ok(EdgeKey { key_id, edge_name: self.edge_name, secret })
    }
}

/// The secret of two halves, one of them another's; the public keys in the order edge, control plane.
fn agree(
    token: &TokenHash,
    own: EphemeralPrivateKey,
    others: &[u8],
    edge: &[u8],
    control: &[u8],
) -> Result<EdgeSecret, IdentityError> {
    agree_ephemeral(own, &UnparsedPublicKey::new(&X25519, others), |shared| {
        let tag = mac(&token.0, EDGE_SECRET, &[shared, edge, control]);
        let mut bytes = [0; SECRET_BYTES];
        bytes.copy_from_slice(tag.as_ref());
        EdgeSecret(bytes)
    })
    .map_err(|_| IdentityError::Malformed)
}

/// A key that an edge is to have, for the control plane to keep.
pub struct NewEdgeKey {
    /// What it is called: a random id.
    pub key_id: String,
    /// The edge.
    pub edge_name: String,
    /// Whether the edge keeps it over restarts.
    pub keeps: bool,
    /// The join token that let it in.
    pub token_id: String,
    /// The secret half.
    pub secret: EdgeSecret,
}

/// What the control plane knows of edges: the way from a feed to its database.
pub trait Gate: Send + Sync + 'static {
    /// Every join token that lets edges in now, with its id.
    fn tokens(&self) -> impl Future<Output = Result<Vec<(String, TokenHash)>, IdentityError>> + Send;

    /// Keeps a key, durably.
    fn keep(&self, key: NewEdgeKey) -> impl Future<Output = Result<(), IdentityError>> + Send;

    /// The key of this id; `None` if there is none, or if its edge was removed.
    fn key(&self, key_id: &str) -> impl Future<Output = Result<Option<EdgeKey>, IdentityError>> + Send;
}

/// Answers an edge that wants to join and was asked with `challenge`.
pub(crate) async fn welcome(
    gate: &impl Gate,
    request: &[u8],
    challenge: &[u8],
) -> Result<Vec<u8>, IdentityError> {
    let JoinRequest { edge_name, keeps, public_key, mac: tag } =
        serde_json::from_slice(request).map_err(|_| IdentityError::Malformed)?;
    let is_name = (1..=EDGE_NAME_BYTES_MAX).contains(&edge_name.len())
        && edge_name.bytes().all(|byte| byte.is_ascii_graphic());
    let (Some(public), Some(tag), true) = (unhex(&public_key), unhex(&tag), is_name) else {
        return Err(IdentityError::Malformed);
    };
    let parts: [&[u8]; 4] = [challenge, edge_name.as_bytes(), &[u8::from(keeps)], &public];
    let tokens = gate.tokens().await?;
    let token = tokens.into_iter().find(|(_, token)| fits(&token.0, JOIN, &parts, &tag));
    let (token_id, token) = token.ok_or(IdentityError::Token)?;
    let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new())
        .map_err(|_| IdentityError::NoRandomness)?;
    let own = private.compute_public_key().map_err(|_| IdentityError::NoRandomness)?.as_ref().to_vec();
    let secret = agree(&token, private, &public, &public, &own)?;
    let key_id = hex(&random::<16>()?);
    let mac = mac(&token.0, WELCOME, &[&tag, key_id.as_bytes(), &own]);
    let answer = JoinAnswer { key_id: key_id.clone(), public_key: hex(&own), mac: hex(mac.as_ref()) };
    gate.keep(NewEdgeKey { key_id, edge_name, keeps, token_id, secret }).await?;
    serde_json::to_vec(&answer).map_err(|_| IdentityError::Malformed)
}

/// The proof that an edge has its key, asked with `challenge`: `KEY_ID:PROOF`.
pub(crate) fn proof(key: &EdgeKey, challenge: &[u8]) -> String {
    format!("{}:{}", key.key_id, hex(key.secret.mac(LINK, &[challenge]).as_ref()))
}

/// The key that a proof is of, if it holds.
pub(crate) async fn proven(
    gate: &impl Gate,
    proof: &str,
    challenge: &[u8],
) -> Result<EdgeKey, IdentityError> {
    let (key_id, tag) = proof.split_once(':').ok_or(IdentityError::Malformed)?;
    let tag = unhex(tag).ok_or(IdentityError::Malformed)?;
    let key = gate.key(key_id).await?.ok_or(IdentityError::Key)?;
    if key.secret.fits(LINK, &[challenge], &tag) { Ok(key) } else { Err(IdentityError::Key) }
}

/// What an edge has to show: its key, or a join token to get one with.
pub struct Credentials {
    edge_name: String,
    token: Option<String>,
    /// Where the key is kept.
    file: Option<PathBuf>,
    key: tokio::sync::Mutex<Option<EdgeKey>>,
}

/// The file of an edge's key, in the directory where the edge keeps what it must not lose.
pub const KEY_FILE: &str = "edge.key";

impl Credentials {
    /// Those of an edge that has no place for a key: it joins with its token at each start.
    pub fn in_memory(edge_name: &str, token: String) -> Self {
        Self {
            edge_name: edge_name.to_owned(),
            token: Some(token),
            file: None,
            key: tokio::sync::Mutex::default(),
        }
    }

    /// Those of an edge that keeps its key in `directory`. Once it has one there, `token` is not used any more.
    pub fn kept(edge_name: &str, token: Option<String>, directory: &Path) -> Result<Self, IdentityError> {
        let file = directory.join(KEY_FILE);
        let key = read_key(&file)?;
        if key.is_none() && token.is_none() {
            return Err(IdentityError::Nothing(file));
        }
        if let Some(key) = &key
            && key.edge_name != edge_name
        {
            let wrong = format!("it is the key of {:?}, and this edge is {edge_name:?}", key.edge_name);
            return Err(IdentityError::File { path: file, source: std::io::Error::other(wrong) });
        }
        Ok(Self {
            edge_name: edge_name.to_owned(),
            token,
            file: Some(file),
            key: tokio::sync::Mutex::new(key),
        })
    }

    /// The key, if there is one already.
    pub(crate) async fn key(&self) -> Option<EdgeKey> {
        self.key.lock().await.clone()
    }

    /// Begins a join, asked with `challenge`.
    pub(crate) fn join(&self, challenge: &[u8]) -> Result<(Joining, Vec<u8>), IdentityError> {
        let token = self.token.as_ref().ok_or(IdentityError::Token)?;
        Joining::begin(token, &self.edge_name, self.file.is_some(), challenge)
    }

    /// Keeps the key that a join brought.
    pub(crate) async fn keep(&self, key: EdgeKey) -> Result<(), IdentityError> {
        if let Some(file) = &self.file {
            write_key(file, &key).map_err(|source| IdentityError::File { path: file.clone(), source })?;
        }
        *self.key.lock().await = Some(key);
        Ok(())
    }

    /// The key was refused. A kept one stays: whoever removed the edge does not want it to join anew by itself. One in
    /// memory is forgotten, since the control plane forgets those whose process it takes for gone.
    pub(crate) async fn refused(&self) {
        if self.file.is_none() {
            *self.key.lock().await = None;
        }
    }
}

const KEY_FILE_BYTES_MAX: u64 = 4096;

fn read_key(path: &Path) -> Result<Option<EdgeKey>, IdentityError> {
    let failed = |source| IdentityError::File { path: path.to_owned(), source };
    let text = match std::fs::metadata(path).and_then(|metadata| {
        if metadata.len() > KEY_FILE_BYTES_MAX {
            return Err(std::io::Error::other("it is too long for a key"));
        }
        std::fs::read_to_string(path)
    }) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut words = text.split_whitespace();
    let key = match (words.next(), words.next(), words.next().map(secret_of_hex), words.next()) {
        (Some(key_id), Some(edge_name), Some(Some(secret)), None) => {
            EdgeKey { key_id: key_id.to_owned(), edge_name: edge_name.to_owned(), secret: EdgeSecret(secret) }
        }
        _ => return Err(failed(std::io::Error::other("it holds something else than an edge's key"))),
    };
    Ok(Some(key))
}

/// Writes the key for its owner alone, in one step.
fn write_key(path: &Path, key: &EdgeKey) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let unfinished = path.with_extension("key.new");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{} {} {}", key.key_id, key.edge_name, hex(key.secret.bytes()))?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(directory) => std::fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Kept {
        tokens: Vec<(String, TokenHash)>,
        keys: Mutex<Vec<NewEdgeKey>>,
    }

    impl Gate for Kept {
        async fn tokens(&self) -> Result<Vec<(String, TokenHash)>, IdentityError> {
            Ok(self.tokens.clone())
        }

        async fn keep(&self, key: NewEdgeKey) -> Result<(), IdentityError> {
            self.keys.lock().push(key);
            Ok(())
        }

        async fn key(&self, key_id: &str) -> Result<Option<EdgeKey>, IdentityError> {
            let keys = self.keys.lock();
            let known = keys.iter().find(|key| key.key_id == key_id);
            Ok(known.map(|key| EdgeKey {
                key_id: key.key_id.clone(),
                edge_name: key.edge_name.clone(),
                secret: key.secret.clone(),
            }))
        }
    }

    fn gate() -> Kept {
        let tokens = ["one", "two"].map(|token| (format!("id of {token}"), TokenHash::of(token)));
        Kept { tokens: tokens.to_vec(), ..Kept::default() }
    }

    #[tokio::test]
    async fn a_token_becomes_a_key_that_both_sides_have() {
        let gate = gate();
        let (joining, request) = Joining::begin("two", "e", true, b"asked").unwrap();
        let answer = welcome(&gate, &request, b"asked").await.unwrap();
        let key = joining.end(&answer).unwrap();
        {
            let kept = gate.keys.lock();
            assert!(kept[0].secret == key.secret && kept[0].keeps);
            assert_eq!((kept[0].edge_name.as_str(), kept[0].token_id.as_str()), ("e", "id of two"));
        }
        let proof = proof(&key, b"asked again");
        assert_eq!(proven(&gate, &proof, b"asked again").await.unwrap().edge_name, "e");
        assert!(matches!(proven(&gate, &proof, b"asked later").await, Err(IdentityError::Key)));
        assert!(matches!(proven(&gate, "x:00", b"asked").await, Err(IdentityError::Key)));
        assert!(matches!(proven(&gate, "x", b"asked").await, Err(IdentityError::Malformed)));
    }

    #[tokio::test]
    async fn joins_that_do_not_fit_are_refused() {
        let gate = gate();
        for (token, asked) in [("three", b"asked".as_slice()), ("one", b"earlier")] {
            let (_, request) = Joining::begin(token, "e", true, asked).unwrap();
            assert!(matches!(welcome(&gate, &request, b"asked").await, Err(IdentityError::Token)), "{token}");
        }
        let (_, request) = Joining::begin("one", "e", true, b"asked").unwrap();
        let other = String::from_utf8(request.clone()).unwrap().replace("\"e\"", "\"f\"");
        assert!(matches!(welcome(&gate, other.as_bytes(), b"asked").await, Err(IdentityError::Token)));
        for name in ["", "a b", &"e".repeat(EDGE_NAME_BYTES_MAX + 1)] {
            let (_, request) = Joining::begin("one", name, true, b"asked").unwrap();
            assert!(
                matches!(welcome(&gate, &request, b"asked").await, Err(IdentityError::Malformed)),
                "{name}"
            );
        }
        assert!(gate.keys.lock().is_empty());
        // The answer of somebody who does not have the token.
        let (joining, _) = Joining::begin("another", "e", true, b"asked").unwrap();
        let answer = welcome(&gate, &request, b"asked").await.unwrap();
        assert!(matches!(joining.end(&answer), Err(IdentityError::Token)));
        let (joining, _) = Joining::begin("one", "e", true, b"asked").unwrap();
        assert!(matches!(joining.end(b"{}"), Err(IdentityError::Malformed)));
    }

    #[tokio::test]
    async fn a_key_is_kept_for_its_owner_and_its_edge_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("new");
        assert!(matches!(Credentials::kept("e", None, &data), Err(IdentityError::Nothing(_))));
        let credentials = Credentials::kept("e", Some("one".into()), &data).unwrap();
        let key =
            EdgeKey { key_id: "k".into(), edge_name: "e".into(), secret: EdgeSecret([7; SECRET_BYTES]) };
        credentials.keep(key).await.unwrap();
        let file = data.join(KEY_FILE);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Credentials::kept("e", None, &data).unwrap();
        assert!(again.key().await.unwrap().secret == EdgeSecret([7; SECRET_BYTES]));
        again.refused().await;
        assert!(again.key().await.is_some(), "a removed edge does not join anew by itself");
        assert!(matches!(Credentials::kept("f", None, &data), Err(IdentityError::File { .. })));
        for text in ["", "k e", "k e 07", "k e 07 more"] {
            std::fs::write(&file, text).unwrap();
            assert!(matches!(Credentials::kept("e", None, &data), Err(IdentityError::File { .. })), "{text}");
        }
        let in_memory = Credentials::in_memory("e", "one".into());
        let key =
            EdgeKey { key_id: "k".into(), edge_name: "e".into(), secret: EdgeSecret([7; SECRET_BYTES]) };
        in_memory.keep(key).await.unwrap();
        in_memory.refused().await;
        assert!(in_memory.key().await.is_none(), "it joins anew");
    }
}
