//! The last configuration in a file, so that an edge starts and serves while no control plane can be reached.
//!
//! It is only ever shown: such an edge is fenced, and takes no lease before a control plane has sent it a configuration
//! ([`crate::follow`]). So it does not matter whether the file is older or newer than the position in the log that the
//! disk tier recovers: what is stored meanwhile carries the version of its keys, and where the keys' entry is still to
//! come the zone stays fenced up to it.

use feed::{configuration_of_bytes, configuration_to_bytes};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tokio::sync::watch;
use tracing::{info, warn};
use zone::Zone;

/// What the file begins with: a name and the version of the layout. Then the CRC-32 of the rest, and the rest.
const MAGIC: [u8; 8] = *b"EVFCONF\x01";

/// The longest file, in bytes: as long as a message of the feed.
const CONFIGURATION_BYTES_MAX: u64 = 16 * 1024 * 1024 + 64;

/// The configuration of the last run; `None` if there is none, or none that can be used.
pub(crate) fn read(path: &Path) -> Option<(u64, Vec<Zone>)> {
    let unusable = |error: &(dyn std::error::Error + 'static)| {
        warn!(error, path = %path.display(), "the configuration of the last run can't be used");
    };
    let bytes = match std::fs::metadata(path).and_then(|metadata| {
        if metadata.len() > CONFIGURATION_BYTES_MAX {
            return Err(io::Error::other("it is too long"));
        }
        std::fs::read(path)
    }) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            unusable(&error);
            return None;
        }
    };
    let content = bytes
        .strip_prefix(&MAGIC)
        .and_then(|rest| rest.split_first_chunk::<4>())
        .filter(|(sum, content)| crc32fast::hash(content) == u32::from_be_bytes(**sum))
        .map(|(_, content)| content);
    let Some(content) = content else {
        unusable(&io::Error::other("it is damaged, or something else"));
        return None;
    };
    match configuration_of_bytes(content) {
        Ok((version, zones)) => {
            info!(version, zones = zones.len(), "configuration of the last run");
            Some((version, zones))
        }
        Err(error) => {
            unusable(&error);
            None
        }
    }
}

/// A configuration with its version.
type Versioned = (u64, Vec<Zone>);

/// Keeps each configuration that comes, the newest last.
#[derive(Default)]
pub(crate) struct Keeper {
    newest: Option<watch::Sender<Option<Versioned>>>,
}

impl Keeper {
    /// Keeps them at `path`, if there is one. Must be called on a runtime.
    pub(crate) fn start(path: Option<PathBuf>) -> Self {
        let Some(path) = path else { return Self::default() };
        let (newest, mut coming) = watch::channel(None::<Versioned>);
        tokio::spawn(async move {
            while coming.changed().await.is_ok() {
                let Some((version, zones)) = coming.borrow_and_update().clone() else { continue };
                let path = path.clone();
                let written = tokio::task::spawn_blocking(move || {
                    let written = write(&path, version, &zones);
                    written.inspect_err(|error| {
                        warn!(error = error as &dyn std::error::Error, path = %path.display(), "configuration not kept");
                    })
                });
                // What went wrong is said already.
                drop(written.await);
            }
        });
        Self { newest: Some(newest) }
    }

    /// Keeps this one.
    pub(crate) fn keep(&self, version: u64, zones: &[Zone]) {
        if let Some(newest) = &self.newest {
            newest.send_replace(Some((version, zones.to_vec())));
        }
    }
}

fn write(path: &Path, version: u64, zones: &[Zone]) -> io::Result<()> {
    let content = configuration_to_bytes(version, zones).map_err(io::Error::other)?;
    let directory = path.parent().ok_or_else(|| io::Error::other("it has no directory"))?;
    std::fs::create_dir_all(directory)?;
    let unfinished = path.with_extension("new");
    // Origins and rules are nobody else's business.
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&MAGIC)?;
    file.write_all(&crc32fast::hash(&content).to_be_bytes())?;
    file.write_all(&content)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zone::{HostName, ZoneCaching, ZoneId};

    #[test]
    fn a_configuration_comes_back_as_it_was_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/configuration");
        assert!(read(&path).is_none());
        let zone = Zone {
            id: ZoneId::parse("zone-aaaaaaaaaaaa").unwrap(),
            name: HostName::parse("a.test").unwrap(),
            paused: false,
            domains: Vec::new(),
            caching: ZoneCaching::default(),
        };
        for version in [3, 4] {
            write(&path, version, std::slice::from_ref(&zone)).unwrap();
            assert_eq!(read(&path), Some((version, vec![zone.clone()])));
        }
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(read(&path).is_none(), "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(read(&path).is_none(), "the first {at} bytes");
        }
    }
}
