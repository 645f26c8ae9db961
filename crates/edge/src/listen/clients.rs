//! How many connections come from one address.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// The bits of an IPv6 address that make one client: a network gives each of its hosts more addresses than can be
/// counted.
const IPV6_CLIENT_BITS: u32 = 64;

/// The clients that hold connections open.
pub(super) struct Clients {
    connections_max: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of a client. Counted until it is dropped.
pub(super) struct Entered {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    /// Lets each client hold so many connections open.
    pub(super) fn new(connections_max: usize) -> Self {
        Self { connections_max, open: Mutex::default() }
    }

    /// Counts a connection, unless its client has too many.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Entered> {
        let client = client(address);
        let mut open = self.open.lock();
        let count = open.entry(client).or_default();
        if *count >= self.connections_max {
            return None;
        }
        *count += 1;
        Some(Entered { clients: Arc::clone(self), client })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut open = self.clients.open.lock();
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> (128 - IPV6_CLIENT_BITS) << (128 - IPV6_CLIENT_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_client_are_counted_while_they_are_open() {
        let clients = Arc::new(Clients::new(2));
        let enter = |address: &str| clients.enter(address.parse().unwrap());
        let first = enter("192.0.2.1");
        let second = enter("::ffff:192.0.2.1");
        assert!(first.is_some() && second.is_some() && enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_some());
        let network = [enter("2001:db8::1"), enter("2001:db8::2")];
        assert!(network.iter().all(Option::is_some) && enter("2001:db8::3").is_none());
        assert!(enter("2001:db8:0:1::1").is_some());
        drop((second, network));
        assert!(clients.open.lock().is_empty(), "nothing is kept of clients that are gone");
    }
}
