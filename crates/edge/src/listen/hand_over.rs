//! Handing the listening sockets over to the next process, so that an upgrade loses no connection.
//!
//! The sockets themselves change hands, over a Unix socket, and with them the queues of connections that nobody has
//! accepted yet: closing a socket of one's own would reset those. The next edge accepts only once it has its
//! configuration and a lease, and says so; until then, and if it never does, this one serves on.
//!
//! A cache directory changes hands in between: the next edge asks for it, this one makes its state durable, lets go of it
//! and serves on from memory.

use super::sockets::{Entrance, Socket};
use super::{StartError, ended};
use crate::disk::Disk;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tracing::{info, warn};

/// How long the other process may take to give or take the sockets.
const SOCKETS_TIMEOUT: Duration = Duration::from_secs(5);

/// How many sockets are taken over at most: two for each of the most workers.
const SOCKETS_MAX: usize = 512;

/// How long the edge before may take to write what is queued for its disk and to let go of it.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long to wait after a failure to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Words of the conversation, a byte each. A socket comes with its word.
const PLAIN: u8 = b'p';
const TLS: u8 = b't';
const END: u8 = b'e';
const DISK: u8 = b'd';
const RELEASED: u8 = b'r';
const SERVING: u8 = b's';

/// What an edge before this one handed over.
pub(super) struct Handed {
    pub(super) sockets: Vec<Socket>,
    /// Where it waits to hear that this one serves.
    link: UnixStream,
}

impl Handed {
    /// Has the edge before let go of its cache directory. Blocks until it has.
    pub(super) fn ask_for_disk(&mut self, path: &Path) -> Result<(), StartError> {
        self.wait_for_disk().map_err(|source| StartError::HandOver { path: path.to_owned(), source })
    }

    fn wait_for_disk(&mut self) -> io::Result<()> {
        self.link.write_all(&[DISK])?;
        // Longer than the other may take: it says by itself that it could not.
        self.link.set_read_timeout(Some(RELEASE_TIMEOUT + SOCKETS_TIMEOUT))?;
        let mut word = [0];
        match self.link.read_exact(&mut word) {
            Ok(()) if word == [RELEASED] => Ok(()),
            Ok(()) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "it says what this one does not understand"))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(io::Error::other("the edge before does not let go of its cache directory"))
            }
            Err(error) => Err(error),
        }
    }

    /// Tells the edge before that it is no longer needed.
    pub(super) fn serving(mut self) {
        if let Err(error) = self.link.write_all(&[SERVING]) {
            warn!(%error, "the edge before this one did not hear that it is no longer needed");
        }
    }
}

/// Asks the edge that listens at `path`, if there is one, for its sockets. Blocks for a moment.
pub(super) fn ask(path: &Path) -> Result<Option<Handed>, StartError> {
    let failed = |source| StartError::HandOver { path: path.to_owned(), source };
    let link = match UnixStream::connect(path) {
        Ok(link) => link,
        // Nobody is there, or nobody any more.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    link.set_read_timeout(Some(SOCKETS_TIMEOUT)).map_err(failed)?;
    let mut sockets = Vec::new();
    while let Some(socket) = take(&link).map_err(failed)? {
        if sockets.len() == SOCKETS_MAX {
            return Err(failed(io::Error::other(format!("more than {SOCKETS_MAX} sockets"))));
        }
        sockets.push(socket);
    }
    info!(sockets = sockets.len(), "taken over from the edge before");
    Ok(Some(Handed { sockets, link }))
}

/// The next socket; `None` after the last.
fn take(link: &UnixStream) -> io::Result<Option<Socket>> {
    let mut word = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(&mut word)];
    let received = rustix::net::recvmsg(link, parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut handed = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    let odd = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    match (received.bytes, word[0], handed.next()) {
        (0, ..) => odd("the edge before broke off"),
        (_, END, None) => Ok(None),
        (_, PLAIN, Some(socket)) => {
            Ok(Some(Socket { listener: TcpListener::from(socket), entrance: Entrance::Plain }))
        }
        (_, TLS, Some(socket)) => {
            Ok(Some(Socket { listener: TcpListener::from(socket), entrance: Entrance::Tls }))
        }
        _ => odd("the edge before says what this one does not understand"),
    }
}

/// Gives the sockets.
fn give(link: &UnixStream, sockets: &[Socket]) -> io::Result<()> {
    for socket in sockets {
        let word = match socket.entrance {
            Entrance::Plain => PLAIN,
            Entrance::Tls => TLS,
        };
        let handed = [socket.listener.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&handed)) {
            return Err(io::Error::other("no room for a socket"));
        }
        rustix::net::sendmsg(link, &[IoSlice::new(&[word])], &mut control, SendFlags::NOSIGNAL)?;
    }
    let mut none = SendAncillaryBuffer::default();
    rustix::net::sendmsg(link, &[IoSlice::new(&[END])], &mut none, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Where the next edge asks.
pub(super) struct Heir {
    path: PathBuf,
    sockets: Vec<Socket>,
}

impl Heir {
    /// Keeps the sockets for whoever asks at `path`. They stay open for as long as this lives.
    pub(super) fn new(path: PathBuf, sockets: &[Socket]) -> io::Result<Self> {
        let copy = |socket: &Socket| {
            Ok(Socket { listener: socket.listener.try_clone()?, entrance: socket.entrance })
        };
        Ok(Self { path, sockets: sockets.iter().map(copy).collect::<io::Result<_>>()? })
    }

    /// Waits for the next edge. Completes once it serves, or once this edge is told to end. `disk` is what it may ask for.
    pub(super) async fn wait(
        self,
        disk: Option<&Arc<Disk>>,
        mut down: watch::Receiver<bool>,
    ) -> io::Result<Outcome> {
        let listener = self.listen()?;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ended(&mut down) => break,
            };
            let link = match accepted {
                Ok((link, _)) => link,
                Err(error) => {
                    warn!(%error, "the next edge could not ask for the sockets");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            tokio::select! {
                serves = self.hand_over(link, disk) => match serves {
                    // The file is the next one's by now.
                    Ok(()) => return Ok(Outcome::HandedOver),
                    Err(error) => warn!(%error, "the next edge did not take over: this one serves on"),
                },
                () = ended(&mut down) => break,
            }
        }
        let _ = std::fs::remove_file(&self.path);
        Ok(Outcome::Ended)
    }

    /// Listens where nobody but this user may ask, in the place of whoever listened there before.
    fn listen(&self) -> io::Result<UnixListener> {
        let mut own = self.path.clone().into_os_string();
        own.push(format!(".{}", std::process::id()));
        let _ = std::fs::remove_file(&own);
        let listener = UnixListener::bind(&own)?;
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&own, &self.path)?;
        Ok(listener)
    }

    async fn hand_over(&self, link: tokio::net::UnixStream, disk: Option<&Arc<Disk>>) -> io::Result<()> {
        let link = link.into_std()?;
        // In this thread nothing else happens.
        link.set_nonblocking(false)?;
        link.set_write_timeout(Some(SOCKETS_TIMEOUT))?;
        give(&link, &self.sockets)?;
        link.set_nonblocking(true)?;
        let mut link = tokio::net::UnixStream::from_std(link)?;
        loop {
            match link.read_u8().await? {
                SERVING => return Ok(()),
                DISK => {
                    if let Some(disk) = disk {
                        release(disk).await?;
                    }
                    link.write_all(&[RELEASED]).await?;
                }
                _ => {
                    let odd = "it says what this one does not understand";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, odd));
                }
            }
        }
    }
}

/// Lets go of the cache directory, for good: if the next edge never serves, this one goes on from memory.
async fn release(disk: &Arc<Disk>) -> io::Result<()> {
    match tokio::time::timeout(RELEASE_TIMEOUT, disk.close()).await {
        Ok(()) => {
            info!("let go of the cache directory: from here on this edge serves from memory");
            Ok(())
        }
        Err(_) => Err(io::Error::other("the disk of this one does not come to an end")),
    }
}

/// How the wait for the next edge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The next edge serves.
    HandedOver,
    /// This edge was told to end.
    Ended,
}
