//! The PROXY protocol, versions 1 and 2: what a balancer before the edge says of its client.
//!
//! It is read only from addresses that are trusted, and there it must be there: what could be left out could be forged.
//! Source: haproxy's `doc/proxy-protocol.txt`, sections 2.1 and 2.2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use tokio::io::{AsyncRead, AsyncReadExt};

/// With what version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, in bytes, its end included.
const LINE_BYTES_MAX: usize = 107;

/// How much version 2 may say about a connection, in bytes: addresses and fields of types and values.
const V2_BYTES_MAX: usize = 4096;

/// Addresses with a common beginning, such as `10.0.0.0/8`, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no network: write an address, or an address and a length, for example 10.0.0.0/8 or 2001:db8::/32"
)]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.chars().take(64).collect());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > most { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl Network {
    /// Whether an address lies in it.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Why a connection from a trusted address is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyHeaderError {
    #[error("the connection does not begin with a header of the PROXY protocol")]
    Missing,
    #[error("the header of the PROXY protocol is malformed")]
    Malformed,
    #[error("the connection broke off")]
    Io(#[from] io::Error),
}

/// Reads the header, and not a byte more. The client's address; `None` when the balancer speaks for itself.
pub(super) async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    // No line of version 1 is shorter than the signature of version 2.
    let mut begin = [0; SIGNATURE.len()];
    stream.read_exact(&mut begin).await?;
    if begin == SIGNATURE {
        return read_v2(stream).await;
    }
    if !begin.starts_with(b"PROXY ") {
        return Err(ProxyHeaderError::Missing);
    }
    let mut line = begin.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE_BYTES_MAX {
            return Err(ProxyHeaderError::Malformed);
        }
        line.push(stream.read_u8().await?);
    }
    line_v1(&line[..line.len() - 2]).ok_or(ProxyHeaderError::Malformed)
}

/// `PROXY TCP4 source destination source-port destination-port`, or `PROXY UNKNOWN …`.
fn line_v1(line: &[u8]) -> Option<Option<SocketAddr>> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (source, destination): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let is_family = |address: IpAddr| match family {
        "TCP4" => address.is_ipv4(),
        "TCP6" => address.is_ipv6(),
        _ => false,
    };
    let port =
        |word: &str| word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse::<u16>().ok())?;
    let (from, _) = (port(words.next()?)?, port(words.next()?)?);
    (is_family(source) && is_family(destination) && words.next().is_none())
        .then_some(Some(SocketAddr::new(source, from)))
}

async fn read_v2<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version_and_command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_BYTES_MAX {
        return Err(ProxyHeaderError::Malformed);
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match version_and_command {
        // LOCAL: a health check of the balancer's own.
        0x20 => Ok(None),
        0x21 => addresses_v2(family, &rest).ok_or(ProxyHeaderError::Malformed),
        _ => Err(ProxyHeaderError::Malformed),
    }
}

fn addresses_v2(family: u8, rest: &[u8]) -> Option<Option<SocketAddr>> {
    let (address, port) = match family {
        0x11 => {
            let source: [u8; 4] = rest.get(..4)?.try_into().ok()?;
            (IpAddr::V4(Ipv4Addr::from(source)), rest.get(8..12)?)
        }
        0x21 => {
            let source: [u8; 16] = rest.get(..16)?.try_into().ok()?;
            (IpAddr::V6(Ipv6Addr::from(source)), rest.get(32..36)?)
        }
        // Unspecified, datagrams and sockets of the balancer's machine: no address of a TCP client.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => return Some(None),
        _ => return None,
    };
    Some(Some(SocketAddr::new(address, u16::from_be_bytes([port[0], port[1]]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(mut bytes: &[u8]) -> Result<(Option<SocketAddr>, usize), String> {
        let read = read(&mut bytes).await.map_err(|error| error.to_string())?;
        Ok((read, bytes.len()))
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest, b"GET"].concat()
    }

    #[tokio::test]
    async fn headers_are_read_and_nothing_after_them() {
        let ipv4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x1f, 0x90, 0, 80, 3, 0, 1, 9];
        let ipv6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0x1f, 0x90, 0, 80]].concat();
        for (bytes, address) in [
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 8080 80\r\nGET".to_vec(), Some("192.0.2.1:8080")),
            (b"PROXY TCP6 2001:db8::1 ::1 8080 80\r\nGET".to_vec(), Some("[2001:db8::1]:8080")),
            (b"PROXY UNKNOWN\r\nGET".to_vec(), None),
            (b"PROXY UNKNOWN a b c d\r\nGET".to_vec(), None),
            (v2(0x21, 0x11, &ipv4), Some("192.0.2.1:8080")),
            (v2(0x21, 0x21, &ipv6), Some("[2001:db8::1]:8080")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let expected = address.map(|address| address.parse().unwrap());
            assert_eq!(check(&bytes).await, Ok((expected, 3)), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[tokio::test]
    async fn other_beginnings_are_refused() {
        let (missing, malformed) =
            (ProxyHeaderError::Missing.to_string(), ProxyHeaderError::Malformed.to_string());
        for (bytes, error) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), &missing),
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 8080\r\n".to_vec(), &malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 8080 80 1\r\n".to_vec(), &malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 80\r\n".to_vec(), &malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 70000 80\r\n".to_vec(), &malformed),
            (b"PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n".to_vec(), &malformed),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), &malformed),
            (b"PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n".to_vec(), &malformed),
            ([&b"PROXY TCP4 "[..], &[b' '; 200]].concat(), &malformed),
            (v2(0x11, 0x11, &[0; 12]), &malformed),
            (v2(0x22, 0x11, &[0; 12]), &malformed),
            (v2(0x21, 0x11, &[0; 11]), &malformed),
            (v2(0x21, 0x21, &[0; 35]), &malformed),
            (v2(0x21, 0x99, &[0; 12]), &malformed),
            (v2(0x21, 0x11, &[0; V2_BYTES_MAX + 1]), &malformed),
        ] {
            assert_eq!(check(&bytes).await.as_ref(), Err(error), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn networks_hold_addresses() {
        for (network, address, holds) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "::1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "192.0.2.2", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.holds(address.parse().unwrap()), holds, "{network} {address}");
        }
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "a"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
