//! An origin whose answers a test holds in its hand: each request comes out of a queue, and is answered when the test
//! says so, in pieces if it likes.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::process::PATIENCE;

/// How many requests may wait to be looked at.
const WAITING_MAX: usize = 256;

/// An origin.
#[derive(Debug)]
pub(crate) struct HeldOrigin {
    pub(crate) address: SocketAddr,
    requests: Receiver<Held>,
}

/// A request that waits for its answer. Dropped, it closes its connection.
#[derive(Debug)]
pub(crate) struct Held {
    fields: Vec<(String, String)>,
    answer: SyncSender<Vec<u8>>,
}

impl HeldOrigin {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = sync_channel(WAITING_MAX);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let sender = sender.clone();
                // A connection that breaks off is the edge's affair.
                std::thread::spawn(move || stream.map(|stream| serve(stream, &sender)));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request.
    pub(crate) fn next(&self) -> Held {
        self.requests.recv_timeout(PATIENCE).expect("the origin should be asked")
    }

    /// The next request, if one comes within `limit`.
    pub(crate) fn next_within(&self, limit: Duration) -> Option<Held> {
        match self.requests.recv_timeout(limit) {
            Ok(held) => Some(held),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the origin's listener ended"),
        }
    }

    /// Whether nobody asks at the moment.
    pub(crate) fn is_idle(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

impl Held {
    /// The value of a field of the request; empty if it is not there.
    pub(crate) fn field(&self, name: &str) -> String {
        let found = self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(String::new(), |(_, value)| value.clone())
    }

    /// Answers 200 with a body.
    pub(crate) fn answer(self, fields: &str, body: &str) {
        self.begin(fields, body.len());
        self.send(body);
    }

    /// Answers 304.
    pub(crate) fn not_modified(self, fields: &str) {
        self.send(&format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n"));
    }

    /// Sends the head of a 200.
    pub(crate) fn begin(&self, fields: &str, body_bytes: usize) {
        self.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {body_bytes}\r\n{fields}\r\n"));
    }

    /// Sends a piece of the answer.
    pub(crate) fn send(&self, bytes: &str) {
        // The edge may have gone.
        let _ = self.answer.send(bytes.as_bytes().to_vec());
    }
}

fn serve(stream: TcpStream, requests: &SyncSender<Held>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut fields = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => fields.push((name.to_owned(), value.trim().to_owned())),
                None => break,
            }
        }
        let (answer, pieces) = sync_channel(WAITING_MAX);
        if requests.send(Held { fields, answer }).is_err() {
            return Ok(());
        }
        let mut answered = false;
        for piece in pieces {
            stream.write_all(&piece)?;
            answered = true;
        }
        if !answered {
            return Ok(());
        }
    }
}
