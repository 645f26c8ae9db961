//! An origin that shows each request to the test and answers what, and when, the test says.

use super::PATIENCE;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

pub(crate) struct Origin {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    exchanges: mpsc::Receiver<Exchange>,
}

/// One request and the duty to answer it. Dropped early, it breaks the connection off.
pub(crate) struct Exchange {
    /// Which connection it came by, in the order in which they were opened.
    pub(crate) connection: usize,
    /// The request line and the fields, lower-case names.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    stream: TcpStream,
    give_back: oneshot::Sender<TcpStream>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        Self::try_start_at(([127, 0, 0, 1], 0).into()).await.unwrap()
    }

    /// At this address, unless someone else listens there.
    pub(crate) async fn try_start_at(address: SocketAddr) -> Option<Self> {
        let listener = TcpListener::bind(address).await.ok()?;
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let (show, exchanges) = mpsc::channel(1024);
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(converse(connection, stream, show.clone(), Arc::clone(&count)));
            }
        });
        Some(Self { address, asked, exchanges })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has got.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Exchange {
        let next = tokio::time::timeout(PATIENCE, self.exchanges.recv()).await;
        next.expect("the origin is asked").unwrap()
    }

    /// The next request, however long that takes.
    pub(crate) async fn any(&mut self) -> Option<Exchange> {
        self.exchanges.recv().await
    }

    /// The next request, if one came already.
    pub(crate) fn try_next(&mut self) -> Option<Exchange> {
        self.exchanges.try_recv().ok()
    }
}

async fn converse(
    connection: usize,
    mut stream: TcpStream,
    show: mpsc::Sender<Exchange>,
    asked: Arc<AtomicUsize>,
) {
    let mut unread = Vec::new();
    loop {
        let Some(head) = read_head(&mut stream, &mut unread).await else { return };
        let body = read_body(&mut stream, &mut unread, &head).await;
        let (give_back, again) = oneshot::channel();
        asked.fetch_add(1, Ordering::SeqCst);
        if show.send(Exchange { connection, head, body, stream, give_back }).await.is_err() {
            return;
        }
        let Ok(back) = again.await else { return };
        stream = back;
    }
}

/// The head up to its empty line, names of fields in lower case.
async fn read_head(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<String> {
    let end = loop {
        if let Some(end) = unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 2;
        }
        if stream.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(unread[..end].to_vec()).unwrap();
    unread.drain(..end + 2);
    let (first, fields) = head.split_once("\r\n").unwrap();
    let lower = fields.lines().map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        format!("{}:{value}\r\n", name.to_ascii_lowercase())
    });
    Some(format!("{first}\r\n{}", lower.collect::<String>()))
}

async fn read_body(stream: &mut TcpStream, unread: &mut Vec<u8>, head: &str) -> Vec<u8> {
    if field(head, "transfer-encoding") == Some("chunked") {
        let mut body = Vec::new();
        loop {
            let line = read_until(stream, unread, b"\r\n").await;
            let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap(), 16).unwrap();
            let chunk = read_exact(stream, unread, length + 2).await;
            body.extend_from_slice(&chunk[..chunk.len().min(length)]);
            if length == 0 || chunk.len() < length + 2 {
                return body;
            }
        }
    }
    let length = field(head, "content-length").map_or(0, |length| length.parse().unwrap());
    read_exact(stream, unread, length).await
}

async fn read_until(stream: &mut TcpStream, unread: &mut Vec<u8>, mark: &[u8]) -> Vec<u8> {
    loop {
        if let Some(at) = unread.windows(mark.len()).position(|bytes| bytes == mark) {
            let taken = unread[..at].to_vec();
            unread.drain(..at + mark.len());
            return taken;
        }
        if stream.read_buf(unread).await.unwrap_or(0) == 0 {
            return b"0".to_vec();
        }
    }
}

async fn read_exact(stream: &mut TcpStream, unread: &mut Vec<u8>, length: usize) -> Vec<u8> {
    while unread.len() < length {
        if stream.read_buf(unread).await.unwrap_or(0) == 0 {
            break;
        }
    }
    unread.drain(..length.min(unread.len())).collect()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

impl Exchange {
    pub(crate) fn first_line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// The value of a field of the request; empty if it is not there.
    pub(crate) fn field(&self, name: &str) -> &str {
        field(&self.head, name).unwrap_or("")
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        field(&self.head, name).is_some()
    }

    /// Writes bytes as they are.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Writes as much as the edge takes at once; returns how much that was.
    pub(crate) async fn write_all_it_takes(&mut self, bytes: &[u8], idle: std::time::Duration) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match tokio::time::timeout(idle, self.stream.write(&bytes[written..])).await {
                Ok(count) => written += count.unwrap(),
                Err(_) => break,
            }
        }
        written
    }

    /// Writes bytes; whether the edge still takes them.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Waits until the edge has closed the connection.
    pub(crate) async fn until_closed(mut self) {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "in vain: the edge to close a connection");
    }

    /// Reads as many bytes as they are.
    pub(crate) async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut bytes)).await.unwrap().unwrap();
        bytes
    }

    /// Breaks the connection off with a reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Writes the head of a response; `fields` are lines ended by CR LF.
    pub(crate) async fn head_of(&mut self, status: &str, fields: &str) {
        self.write(format!("HTTP/1.1 {status}\r\n{fields}\r\n").as_bytes()).await;
    }

    /// The response is complete: the connection takes another request.
    pub(crate) fn done(self) {
        let _ = self.give_back.send(self.stream);
    }

    /// A whole response.
    pub(crate) async fn reply(mut self, status: &str, fields: &str, body: &[u8]) {
        self.head_of(status, &format!("{fields}content-length: {}\r\n", body.len())).await;
        self.write(body).await;
        self.done();
    }

    /// A 304.
    pub(crate) async fn not_modified(mut self, fields: &str) {
        self.head_of("304 Not Modified", fields).await;
        self.done();
    }
}
