//! What an edge gets from its surroundings: time, randomness, connections, files.
//!
//! Normally all of it is the system's. Whoever embeds an edge ([`crate::Embedded`]) may stand in for each part: a
//! simulation that is to be replayed stands in for all.

use crate::clock::Clocks;
use crate::disk::Volume;
use ring::rand::SecureRandom;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use zone::HostName;

/// The system's randomness failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// Where random bytes come from: ids of processes, keys of hashes.
#[derive(Clone, Copy)]
pub struct Randomness(pub fn(&mut [u8]) -> Result<(), NoRandomness>);

impl Randomness {
    /// The system's.
    pub const fn system() -> Self {
        Self(|bytes| ring::rand::SystemRandom::new().fill(bytes).map_err(|_| NoRandomness))
    }

    pub(crate) fn bytes<const N: usize>(self) -> Result<[u8; N], NoRandomness> {
        let mut bytes = [0; N];
        self.0(&mut bytes)?;
        Ok(bytes)
    }
}

/// A connection's two directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection that is being opened.
pub type Dialling = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Opens connections to origins and parents, by address and port. They are not encrypted.
pub type Dial = Arc<dyn Fn(&HostName, u16) -> Dialling + Send + Sync>;

/// All of it.
#[derive(Clone)]
pub struct Surroundings {
    /// Time.
    pub clocks: Clocks,
    /// Randomness.
    pub randomness: Randomness,
    /// How origins and parents are reached; `None`: by TCP.
    pub dial: Option<Dial>,
    /// Where the disk tier keeps its files, if the edge has one; `None`: in the directory of its settings.
    pub volume: Option<Arc<dyn Volume>>,
}

impl Surroundings {
    /// The system's, but for the clocks.
    pub fn of_system(clocks: Clocks) -> Self {
        Self { clocks, randomness: Randomness::system(), dial: None, volume: None }
    }
}
