//! Certificates from files: which one answers a name, and their renewal while the edge runs.
//!
//! A set is loaded as a whole or not at all, so that a file that is being written never takes a working set away.

use crate::config::EdgeConfigError;
use parking_lot::RwLock;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tracing::{info, warn};
use zone::HostName;

/// How many certificates an edge has at most.
const CERTIFICATES_MAX: usize = 10_000;

/// The file name, without its ending, of a directory's default certificate.
const DEFAULT_NAME: &str = "default";

/// Where an edge speaks TLS, and as whom.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Where clients connect. Port 0 takes a free one.
    pub listen: std::net::SocketAddr,
    /// Certificates by their files. The first one is the default: it answers names that no certificate holds, and
    /// clients that send none.
    pub files: Vec<CertificateFiles>,
    /// A directory of certificates: `NAME.crt` or `NAME.pem` with `NAME.key`, or with the key in the same file, and
    /// `NAME/fullchain.pem` with `NAME/privkey.pem`. The names that count are those in the certificates; one that is
    /// called `default` is the default.
    pub directory: Option<PathBuf>,
    /// How often it is looked whether the files have changed.
    pub reload_interval: Duration,
    /// How long a handshake may take, the wait for a place included.
    pub handshake_timeout: Duration,
    /// How many handshakes may be under way on each worker.
    pub handshakes_max: usize,
}

impl TlsSettings {
    /// The defaults, for TLS at `listen`, without certificates yet.
    pub fn new(listen: std::net::SocketAddr) -> Self {
        Self {
            listen,
            files: Vec::new(),
            directory: None,
            reload_interval: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 256,
        }
    }

    /// Everything that lies outside its range.
    pub fn errors(&self) -> Vec<EdgeConfigError> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let ranges = [
            ("tls.reload_interval, in milliseconds,", millis(self.reload_interval), 10, 3_600_000),
            ("tls.handshake_timeout, in milliseconds,", millis(self.handshake_timeout), 1, 3_600_000),
            ("tls.handshakes_max", self.handshakes_max as u64, 1, 1 << 16),
        ];
        let wrong = ranges.into_iter().filter(|(_, given, least, most)| !(least..=most).contains(&given));
        wrong
            .map(|(what, given, least, most)| EdgeConfigError::OutOfRange { what, given, least, most })
            .collect()
    }
}

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateFiles {
    /// The chain, PEM, the server's own certificate first.
    pub chain: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// Why certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read, or is no PEM file.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The directory can't be read.
    #[error("cannot read the directory {path}: {source}")]
    Directory {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds no certificate.
    #[error(
        "{0} holds no certificate: it needs one or more \"BEGIN CERTIFICATE\" sections, the server's own first"
    )]
    NoCertificate(PathBuf),
    /// The file holds no private key.
    #[error("{0} holds no private key: it needs a \"BEGIN PRIVATE KEY\" section")]
    NoKey(PathBuf),
    /// The key is another certificate's.
    #[error("the private key in {key} does not belong to the certificate in {chain}")]
    Mismatch {
        /// The certificate's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Of a kind that is not supported, or broken.
    #[error("the certificate in {chain} and the private key in {key} cannot be used: {source}")]
    Unusable {
        /// The certificate's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The certificate is for no host name, so that only a default can be it.
    #[error("the certificate in {0} holds no DNS name (subjectAltName), and is not the default")]
    NoNames(PathBuf),
    /// None at all.
    #[error("there is no certificate: name files, or put NAME.crt and NAME.key into {0}")]
    None(PathBuf),
    /// Too many.
    #[error("there are {0} certificates; at most {CERTIFICATES_MAX} can be used")]
    TooMany(usize),
    /// TLS itself can't be set up.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// One certificate that can be used.
#[derive(Debug)]
pub(crate) struct Certificate {
    key: Arc<CertifiedKey>,
    /// Lower-case; those that begin with `*.` stand for one label more.
    names: Vec<String>,
}

impl Certificate {
    /// Whether it is for this host.
    pub(crate) fn covers(&self, host: &HostName) -> bool {
        let wild = host.as_str().split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| {
            name == host.as_str() || name.strip_prefix("*.").is_some_and(|parent| wild == Some(parent))
        })
    }
}

/// All certificates of an edge.
#[derive(Debug, Default)]
struct CertificateSet {
    by_name: HashMap<String, Arc<Certificate>>,
    default: Option<Arc<Certificate>>,
}

impl CertificateSet {
    fn load(settings: &TlsSettings, provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let (files, default) = listed(settings)?;
        if files.len() > CERTIFICATES_MAX {
            return Err(CertificateError::TooMany(files.len()));
        }
        let mut set = Self::default();
        for files in files {
            let certificate = Arc::new(read(&files, provider)?);
            let is_default = default.as_ref() == Some(&files);
            if certificate.names.is_empty() && !is_default {
                return Err(CertificateError::NoNames(files.chain));
            }
            for name in &certificate.names {
                // Of two for one name the first one listed answers.
                set.by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&certificate));
            }
            if is_default {
                set.default = Some(certificate);
            }
        }
        if set.by_name.is_empty() && set.default.is_none() {
            return Err(CertificateError::None(settings.directory.clone().unwrap_or_default()));
        }
        Ok(set)
    }

    /// The certificate for a name, by itself or by a wildcard, or else the default.
    fn find(&self, name: Option<&str>) -> Option<&Arc<Certificate>> {
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wild =
                || name.split_once('.').and_then(|(_, parent)| self.by_name.get(&format!("*.{parent}")));
            self.by_name.get(&name).or_else(wild)
        });
        named.or(self.default.as_ref())
    }
}

/// The files of all certificates, and which of them are the default's.
fn listed(
    settings: &TlsSettings,
) -> Result<(Vec<CertificateFiles>, Option<CertificateFiles>), CertificateError> {
    let mut files = settings.files.clone();
    let mut default = files.first().cloned();
    let Some(directory) = &settings.directory else { return Ok((files, default)) };
    let unreadable = |source| CertificateError::Directory { path: directory.clone(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let in_directory =
            CertificateFiles { chain: path.join("fullchain.pem"), key: path.join("privkey.pem") };
        let is_chain = path.extension().is_some_and(|ending| ending == "crt" || ending == "pem");
        let files = if in_directory.chain.is_file() {
            in_directory
        } else if is_chain && path.is_file() {
            let key = path.with_extension("key");
            let key = if key.is_file() { key } else { path.clone() };
            CertificateFiles { chain: path.clone(), key }
        } else {
            continue;
        };
        if default.is_none() && path.file_stem().is_some_and(|name| name == DEFAULT_NAME) {
            default = Some(files.clone());
        }
        found.push(files);
    }
    found.sort();
    files.extend(found);
    Ok((files, default))
}

fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Certificate, CertificateError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::File { path, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect)
        .map_err(unreadable(&files.chain))?;
    let Some(own) = chain.first().cloned() else {
        return Err(CertificateError::NoCertificate(files.chain.clone()));
    };
    let key = match PrivateKeyDer::from_pem_file(&files.key) {
        Ok(key) => key,
        Err(pem::Error::NoItemsFound) => return Err(CertificateError::NoKey(files.key.clone())),
        Err(source) => return Err(unreadable(&files.key)(source)),
    };
    let CertificateFiles { chain: chain_path, key: key_path } = files.clone();
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|source| match source {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            CertificateError::Mismatch { chain: chain_path.clone(), key: key_path.clone() }
        }
        source => CertificateError::Unusable { chain: chain_path.clone(), key: key_path.clone(), source },
    })?;
    let parsed = webpki::EndEntityCert::try_from(&own).map_err(|error| CertificateError::Unusable {
        chain: chain_path.clone(),
        key: key_path.clone(),
        source: rustls::Error::General(error.to_string()),
    })?;
    let names = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
    Ok(Certificate { key: Arc::new(key), names })
}

/// When the files were last changed, and how long they are: what differs has changed.
type Stamp = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

fn stamp(settings: &TlsSettings) -> Stamp {
    let Ok((files, _)) = listed(settings) else { return Vec::new() };
    let paths = files.into_iter().flat_map(|files| [files.chain, files.key]);
    paths
        .map(|path| {
            let changed = std::fs::metadata(&path).and_then(|data| Ok((data.modified()?, data.len()))).ok();
            (path, changed)
        })
        .collect()
}

#[derive(Debug)]
struct Resolver(RwLock<Arc<CertificateSet>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().find(hello.server_name()).map(|certificate| Arc::clone(&certificate.key))
    }
}

/// TLS for an edge's clients.
pub(crate) struct Tls {
    pub(super) settings: TlsSettings,
    pub(super) config: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    provider: Arc<CryptoProvider>,
    reload: Notify,
}

impl Tls {
    /// Loads the certificates for the first time.
    pub(super) fn load(settings: TlsSettings) -> Result<Self, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let resolver = Arc::new(Resolver(RwLock::new(Arc::new(CertificateSet::load(&settings, &provider)?))));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Resolver>::clone(&resolver));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Ticketer::new().map_err(CertificateError::Setup)?;
        Ok(Self { settings, config: Arc::new(config), resolver, provider, reload: Notify::new() })
    }

    /// The certificate by which a client that asked for this name was answered.
    pub(super) fn certificate(&self, name: Option<&str>) -> Option<Arc<Certificate>> {
        self.resolver.0.read().find(name).cloned()
    }

    /// Looks at the files now, changed or not.
    pub(super) fn reload(&self) {
        self.reload.notify_one();
    }

    /// Follows the files for as long as the edge runs.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut last = stamp(&self.settings);
        loop {
            let asked = tokio::select! {
                () = self.reload.notified() => true,
                () = tokio::time::sleep(self.settings.reload_interval) => false,
            };
            let (tls, known) = (Arc::clone(&self), last.clone());
            // Reading files takes as long as it takes, and other tasks of this thread hold the lease.
            let looked = tokio::task::spawn_blocking(move || {
                let now = stamp(&tls.settings);
                let loaded =
                    (asked || now != known).then(|| CertificateSet::load(&tls.settings, &tls.provider));
                (now, loaded)
            });
            let Ok((now, loaded)) = looked.await else { continue };
            last = now;
            match loaded {
                Some(Ok(set)) => {
                    info!(names = set.by_name.len(), "certificates loaded");
                    *self.resolver.0.write() = Arc::new(set);
                }
                Some(Err(error)) => warn!(%error, "certificates not loaded: those from before stay in use"),
                None => {}
            }
        }
    }
}
