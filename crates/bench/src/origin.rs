//! The origin: answers `/<bytes>/<key>` with that many bytes, cacheable for a day.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// The longest body, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Starts it. It ends with the process.
pub(crate) fn start() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let bytes: Arc<[u8]> = vec![b'x'; BODY_BYTES_MAX].into();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let bytes = Arc::clone(&bytes);
            std::thread::spawn(move || serve(stream, &bytes));
        }
    });
    Ok(address)
}

/// Answers until the connection ends.
fn serve(stream: TcpStream, bytes: &[u8]) {
    let _ = stream.set_nodelay(true);
    let Ok(mut out) = stream.try_clone() else { return };
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(first)) = lines.next() {
        let is_conditional = lines
            .by_ref()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .fold(false, |found, line| found | line.to_ascii_lowercase().starts_with("if-none-match:"));
        let (head, body) = answer(&first, is_conditional, bytes);
        if out.write_all(&[head.as_bytes(), body].concat()).is_err() {
            return;
        }
    }
}

fn answer<'a>(first: &str, is_conditional: bool, bytes: &'a [u8]) -> (String, &'a [u8]) {
    let path = first.split(' ').nth(1).unwrap_or_default();
    let mut parts = path.trim_start_matches('/').split('/');
    let length = parts.next().and_then(|text| text.parse().ok()).unwrap_or(0).min(bytes.len());
    let key: u64 = parts.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let tag = key % 100;
    let fields = format!(
        "Cache-Control: public, max-age=86400\r\nETag: \"{key}\"\r\n\
         Content-Type: application/octet-stream\r\nCache-Tag: t{tag}\r\nxkey: t{tag}\r\n"
    );
    if is_conditional {
        (format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n"), &[])
    } else {
        (format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n"), &bytes[..length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_says_how_long_the_body_is() {
        let (head, body) = answer("GET /16/205 HTTP/1.1", false, &[0; 64]);
        assert!(head.contains("Content-Length: 16\r\n") && head.contains("Cache-Tag: t5\r\n"));
        assert_eq!(body.len(), 16);
        assert!(answer("GET /16/205 HTTP/1.1", true, &[0; 64]).0.starts_with("HTTP/1.1 304"));
    }
}
