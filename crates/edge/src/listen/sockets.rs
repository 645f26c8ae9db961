//! The listening sockets of an edge: one for each worker and address, so that the kernel spreads connections.

use super::StartError;
use crate::config::EdgeConfig;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// How many connections wait to be accepted at one socket.
const BACKLOG: i32 = 4096;

/// What is spoken where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entrance {
    Plain,
    Tls,
}

/// One listening socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: TcpListener,
    pub(super) entrance: Entrance,
}

/// Where an edge can be reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) plain: SocketAddr,
    pub(super) tls: Option<SocketAddr>,
}

/// Binds what `config` asks for, beside the sockets that an edge before this one handed over.
pub(super) fn bind(
    config: &EdgeConfig,
    mut sockets: Vec<Socket>,
) -> Result<(Vec<Socket>, Addresses), StartError> {
    let plain = bind_entrance(config, &mut sockets, Entrance::Plain, config.listen)?;
    let tls = config
        .tls
        .as_ref()
        .map(|tls| bind_entrance(config, &mut sockets, Entrance::Tls, tls.listen))
        .transpose()?;
    sockets.retain(|socket| socket.entrance == Entrance::Plain || tls.is_some());
    Ok((sockets, Addresses { plain, tls }))
}

fn bind_entrance(
    config: &EdgeConfig,
    sockets: &mut Vec<Socket>,
    entrance: Entrance,
    mut address: SocketAddr,
) -> Result<SocketAddr, StartError> {
    let refused = |source| StartError::Listen { address, source };
    let given = sockets.iter().filter(|socket| socket.entrance == entrance);
    let given = given.filter_map(|socket| socket.listener.local_addr().ok()).collect::<Vec<_>>();
    match given.iter().find(|given| is_at(**given, address)) {
        Some(given) => address = *given,
        // Workers share the address, which would let a second edge share it too: this finds out whether one is there.
        None => drop(TcpListener::bind(address).map_err(refused)?),
    }
    // What was handed over for another address is of no use here, and closed.
    sockets.retain(|socket| {
        socket.entrance != entrance || socket.listener.local_addr().is_ok_and(|given| is_at(given, address))
    });
    let there = sockets.iter().filter(|socket| socket.entrance == entrance).count();
    for _ in there..config.workers {
        let refused = |source| StartError::Listen { address, source };
        let listener = listen(address).map_err(refused)?;
        // The first one may have chosen the port.
        address = listener.local_addr().map_err(refused)?;
        sockets.push(Socket { listener, entrance });
    }
    Ok(address)
}

/// Whether a socket's address is one that was asked for; port 0 asks for any.
fn is_at(given: SocketAddr, asked: SocketAddr) -> bool {
    given.ip() == asked.ip() && (given.port() == asked.port() || asked.port() == 0)
}

/// A listener that shares its address with those of the other workers.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Spreads sockets over as many workers. Each gets at least one of each entrance.
pub(super) fn spread(sockets: Vec<Socket>, workers: usize) -> Vec<Vec<Socket>> {
    let mut spread: Vec<Vec<Socket>> = (0..workers).map(|_| Vec::new()).collect();
    let (mut plain, mut tls) = (0, 0);
    for socket in sockets {
        let next = match socket.entrance {
            Entrance::Plain => &mut plain,
            Entrance::Tls => &mut tls,
        };
        spread[*next % workers].push(socket);
        *next += 1;
    }
    spread
}
