//! The master key, under which secret keys are sealed in the database.

use base64::Engine;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of a master key.
pub const MASTER_KEY_BYTES: usize = 32;

/// A 256-bit key. It seals with AES-256-GCM under a random nonce, bound to the id of what it seals.
pub struct MasterKey(LessSafeKey);

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The text is no key.
    #[error("a master key is 32 bytes, written as 64 hexadecimal digits or in base64")]
    Malformed,
    /// The file cannot be read or made.
    #[error("cannot read or make the master key file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error(
        "the master key file {0} does not hold a key: 32 bytes, written as 64 hexadecimal digits or in base64"
    )]
    FileMalformed(PathBuf),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

impl MasterKey {
    /// The key of these bytes.
    pub fn new(bytes: &[u8; MASTER_KEY_BYTES]) -> Result<Self, MasterKeyError> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| MasterKeyError::Malformed)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Parses 64 hexadecimal digits or base64, as an environment variable holds them.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let text = text.trim();
        let bytes = hex(text)
            .or_else(|| base64::engine::general_purpose::STANDARD.decode(text).ok())
            .ok_or(MasterKeyError::Malformed)?;
        Self::new(&bytes.try_into().map_err(|_| MasterKeyError::Malformed)?)
    }

    /// Reads the key from a file, or makes one there that only its owner can read.
    pub fn load_or_create(path: &Path) -> Result<Self, MasterKeyError> {
        let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|_| MasterKeyError::FileMalformed(path.to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let bytes: [u8; MASTER_KEY_BYTES] =
                    crate::random().map_err(|_| MasterKeyError::NoRandomness)?;
                let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                if let Some(dir) = path.parent() {
                    std::fs::create_dir_all(dir).map_err(failed)?;
                }
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(failed)?;
                // On disk before anything is sealed under it.
                file.write_all(format!("{text}\n").as_bytes()).map_err(failed)?;
                file.sync_all().map_err(failed)?;
                Self::new(&bytes)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Seals `text`, which only opens again for the same `id`.
    pub(crate) fn seal(&self, id: &str, text: &[u8]) -> Result<Vec<u8>, crate::StoreError> {
        let nonce: [u8; NONCE_LEN] = crate::random()?;
        let mut body = text.to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(id.as_bytes()),
                &mut body,
            )
            .map_err(|_| crate::StoreError::NoRandomness)?;
        let mut sealed = nonce.to_vec();
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// Opens what [`Self::seal`] sealed for `id`; `None` when it is damaged, or of another key or id.
    pub(crate) fn unseal(&self, id: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut body = body.to_vec();
        let aad = Aad::from(id.as_bytes());
        let text = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut body).ok()?;
        Some(text.to_vec())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * MASTER_KEY_BYTES || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..MASTER_KEY_BYTES).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_texts_open_only_for_their_key_and_id() {
        let key = MasterKey::new(&[7; 32]).unwrap();
        let sealed = key.seal("id", b"secret").unwrap();
        assert_ne!(sealed, key.seal("id", b"secret").unwrap(), "the nonce is fresh");
        assert_eq!(key.unseal("id", &sealed).as_deref(), Some(&b"secret"[..]));
        assert_eq!(key.unseal("other", &sealed), None);
        assert_eq!(MasterKey::new(&[8; 32]).unwrap().unseal("id", &sealed), None);
        let mut damaged = sealed.clone();
        damaged[NONCE_LEN] ^= 1;
        assert_eq!(key.unseal("id", &damaged), None);
        assert_eq!(key.unseal("id", &sealed[..5]), None);
    }

    #[test]
    fn master_keys_are_written_in_hex_or_base64() {
        assert!(MasterKey::parse(&"0f".repeat(32)).is_ok());
        assert!(MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").is_ok());
        for bad in ["", "0f", "zz", "AAAA", &"0g".repeat(32)] {
            assert!(matches!(MasterKey::parse(bad), Err(MasterKeyError::Malformed)), "{bad}");
        }
    }

    #[test]
    fn a_master_key_file_is_made_once_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/master.key");
        let sealed = MasterKey::load_or_create(&path).unwrap().seal("id", b"x").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(MasterKey::load_or_create(&path).unwrap().unseal("id", &sealed).is_some());
        std::fs::write(&path, "nonsense").unwrap();
        assert!(matches!(MasterKey::load_or_create(&path), Err(MasterKeyError::FileMalformed(_))));
    }
}
