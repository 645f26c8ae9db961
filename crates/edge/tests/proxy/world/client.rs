//! Clients: bytes out, a parsed answer back.

use super::PATIENCE;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// A connection to the edge.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its proper end.
    pub(crate) is_whole: bool,
}

/// An answer under way. The request is sent whether anyone waits or not.
pub(crate) struct Pending(JoinHandle<Answer>);

impl Pending {
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Future for Pending {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).unwrap())
    }
}

impl Answer {
    /// The value of a field, several lines joined; empty if it is not there.
    pub(crate) fn field(&self, name: &str) -> String {
        let lines: Vec<&str> =
            self.fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect();
        lines.join(", ")
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(found, _)| found == name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) async fn connect(edge: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(edge).await.unwrap(), unread: Vec::new() }
    }

    /// Connects from an address of the loopback network.
    pub(crate) async fn connect_from(address: [u8; 4], edge: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        Self { stream: socket.connect(edge).await.unwrap(), unread: Vec::new() }
    }

    /// The same with little room for what is not read yet.
    pub(crate) async fn connect_narrowly(edge: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        Self { stream: socket.connect(edge).await.unwrap(), unread: Vec::new() }
    }

    /// Sends a GET on a connection of its own.
    pub(crate) fn get(edge: SocketAddr, host: &str, path: &str, fields: &str) -> Pending {
        Self::request(edge, format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n").into_bytes())
    }

    /// Sends bytes on a connection of its own and reads one answer.
    pub(crate) fn request(edge: SocketAddr, bytes: Vec<u8>) -> Pending {
        Pending(tokio::spawn(async move {
            let mut client = Self::connect(edge).await;
            client.send(&bytes).await;
            client.answer(bytes.starts_with(b"HEAD ")).await
        }))
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // The edge may answer and close before it has read all.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Reads one answer.
    pub(crate) async fn answer(&mut self, to_head: bool) -> Answer {
        let answer = tokio::time::timeout(PATIENCE, async {
            let mut answer = self.answer_head().await;
            if !to_head {
                self.answer_body(&mut answer).await;
            }
            answer
        });
        answer.await.expect("the edge answers in time")
    }

    /// Reads one answer, without the interim ones before it; `None` if the edge closes the connection without a byte of
    /// it.
    pub(crate) async fn answer_or_nothing(&mut self) -> Option<Answer> {
        let answered = tokio::time::timeout(PATIENCE, async {
            loop {
                if self.unread.is_empty() && !self.more().await {
                    return None;
                }
                let mut answer = self.answer_head().await;
                if !(102..200).contains(&answer.status) {
                    self.answer_body(&mut answer).await;
                    return Some(answer);
                }
            }
        });
        answered.await.expect("the edge answers in time")
    }

    /// Reads the head of an answer.
    pub(crate) async fn answer_head(&mut self) -> Answer {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            assert!(self.more().await, "no answer, only {:?}", String::from_utf8_lossy(&self.unread));
        };
        let head = String::from_utf8(self.unread[..end].to_vec()).unwrap();
        self.unread.drain(..end + 4);
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let fields = lines.map(|line| line.split_once(": ").or(line.split_once(':')).unwrap());
        let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Answer { status, fields, body: Vec::new(), is_whole: true }
    }

    /// Reads the body that belongs to a head.
    pub(crate) async fn answer_body(&mut self, answer: &mut Answer) {
        if matches!(answer.status, 204 | 304) {
            return;
        }
        if answer.field("transfer-encoding") == "chunked" {
            answer.is_whole = self.chunked_body(&mut answer.body).await;
        } else if answer.has("content-length") {
            let length: usize = answer.field("content-length").parse().unwrap();
            answer.is_whole = self.take(length, &mut answer.body).await;
        } else {
            while self.more().await {}
            answer.body.append(&mut self.unread);
        }
    }

    /// Reads at least `length` bytes of a body, or less if it breaks off, and says whether they came.
    pub(crate) async fn take(&mut self, length: usize, body: &mut Vec<u8>) -> bool {
        while self.unread.len() < length {
            if !self.more().await {
                body.append(&mut self.unread);
                return false;
            }
        }
        body.extend(self.unread.drain(..length));
        true
    }

    async fn chunked_body(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let line_end = loop {
                if let Some(end) = self.unread.windows(2).position(|bytes| bytes == b"\r\n") {
                    break end;
                }
                if !self.more().await {
                    return false;
                }
            };
            let line: Vec<u8> = self.unread.drain(..line_end + 2).collect();
            let text = std::str::from_utf8(&line).unwrap().trim();
            let length = usize::from_str_radix(text, 16).unwrap();
            if !self.take(length, body).await || !self.take(2, &mut Vec::new()).await {
                return false;
            }
            if length == 0 {
                return true;
            }
        }
    }

    /// Whether anything comes back.
    pub(crate) async fn is_answered(&mut self) -> bool {
        tokio::time::timeout(PATIENCE, self.more()).await.is_ok_and(|more| more)
    }

    /// Whether the edge closes the connection without another byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let more = tokio::time::timeout(PATIENCE, self.more()).await;
        more.is_ok_and(|more| !more && self.unread.is_empty())
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.unread).await.unwrap_or(0) > 0
    }
}
