//! Requests as a plain client sends them, on a connection of their own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;

use super::process::PATIENCE;

/// An answer as it came off the wire.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a field, several lines joined; empty if it is not there.
    pub(crate) fn field(&self, name: &str) -> String {
        let lines = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// EdgeOne's word for what the cache did.
    pub(crate) fn eo(&self) -> String {
        self.field("EO-Cache-Status")
    }

    /// The parameters of `Cache-Status` (RFC 9211), without the cache's name.
    pub(crate) fn cache_status(&self) -> Vec<String> {
        self.field("Cache-Status").split(';').skip(1).map(|part| part.trim().to_owned()).collect()
    }

    pub(crate) fn says(&self, parameter: &str) -> bool {
        self.cache_status().iter().any(|known| known == parameter)
    }
}

/// GETs a target.
pub(crate) fn get(address: SocketAddr, host: &str, target: &str) -> Answer {
    send(address, &request(host, target))
}

/// Sends a GET at once, and reads its answer on a thread of its own.
pub(crate) fn get_meanwhile(address: SocketAddr, host: &str, target: &str) -> JoinHandle<Answer> {
    let open = Open::get(address, host, target);
    std::thread::spawn(move || open.finish())
}

/// A request whose answer is read in two steps.
pub(crate) struct Open {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Open {
    pub(crate) fn get(address: SocketAddr, host: &str, target: &str) -> Self {
        Self { stream: connect(address, &request(host, target)), bytes: Vec::new() }
    }

    /// Waits until the answer's head has come.
    pub(crate) fn wait_for_head(mut self) -> Self {
        while !self.bytes.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut piece = [0; 4096];
            let read = self.stream.read(&mut piece).unwrap();
            assert_ne!(read, 0, "the answer broke off: {}", String::from_utf8_lossy(&self.bytes));
            self.bytes.extend_from_slice(&piece[..read]);
        }
        self
    }

    /// Reads the rest.
    pub(crate) fn finish(mut self) -> Answer {
        let read = self.stream.read_to_end(&mut self.bytes);
        read.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&self.bytes)));
        parse(&self.bytes)
    }
}

/// A connection that is kept for several requests.
pub(crate) struct Stream {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Stream {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self { stream: connect(address, ""), bytes: Vec::new() }
    }

    /// Sends a GET, whatever is still to be read.
    pub(crate) fn get(&mut self, host: &str, target: &str) {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).unwrap();
    }

    /// Waits until the head of the next answer has come. Returns where it ends.
    pub(crate) fn wait_for_head(&mut self) -> usize {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                return end + 4;
            }
            self.read();
        }
    }

    /// Reads the next answer, which has a `Content-Length`.
    pub(crate) fn answer(&mut self) -> Answer {
        let head = self.wait_for_head();
        let text = String::from_utf8_lossy(&self.bytes[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.unwrap_or_else(|| panic!("no length: {text}")).trim().parse().unwrap();
        while self.bytes.len() < head + length {
            self.read();
        }
        let rest = self.bytes.split_off(head + length);
        parse(&std::mem::replace(&mut self.bytes, rest))
    }

    fn read(&mut self) {
        let mut piece = [0; 64 * 1024];
        let read = self.stream.read(&mut piece).unwrap();
        assert_ne!(read, 0, "the answer broke off after {} bytes", self.bytes.len());
        self.bytes.extend_from_slice(&piece[..read]);
    }
}

fn connect(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn request(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// Sends bytes, and reads what comes until the other side closes.
pub(crate) fn send(address: SocketAddr, request: &str) -> Answer {
    Open { stream: connect(address, request), bytes: Vec::new() }.finish()
}

fn parse(bytes: &[u8]) -> Answer {
    let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no whole answer: {}", shown()));
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let fields: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer { status: status.unwrap(), fields, body: bytes[end + 4..].to_vec() };
    if answer.field("Transfer-Encoding").eq_ignore_ascii_case("chunked") {
        answer.body = unchunk(&answer.body);
    }
    let length = answer.field("Content-Length");
    assert!(length.is_empty() || length == answer.body.len().to_string(), "cut short: {}", shown());
    answer
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").expect("a chunk begins with its size");
        let size = std::str::from_utf8(&rest[..line]).unwrap().split(';').next().unwrap().trim();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        let start = line + 2;
        body.extend_from_slice(&rest[start..start + size]);
        rest = &rest[start + size + 2..];
    }
}
