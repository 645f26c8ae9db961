//! Heads of requests whose framing is checked, and the check of one connection.

use httpcache::{HeadLimits, Requests};

/// One of a load generator.
pub(crate) const SHORT: &str = "GET /objects/1k HTTP/1.1\r\nHost: www.example.com\r\n\r\n";

/// One of a browser.
pub(crate) const BROWSER: &str = "GET /docs/guide/getting-started.html?lang=en HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://www.example.com/docs/\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nUpgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nPriority: u=0, i\r\n\r\n";

/// Checks one head after the other, as the guard of a connection does.
pub(crate) struct Connection(Requests);

impl Connection {
    pub(crate) fn open() -> Self {
        Self(Requests::new(HeadLimits { head_bytes: 64 * 1024, target_bytes: 8 * 1024, fields: 128 }))
    }

    /// How much of a head passes that came as a whole, where nothing is known of what follows.
    pub(crate) fn whole(&mut self, head: &str) -> usize {
        self.0.check_head(head.as_bytes()).passed
    }

    /// The same of all that there is.
    pub(crate) fn all(&mut self, heads: &str) -> usize {
        self.0.check(heads.as_bytes()).passed
    }

    /// The same of a head that came in pieces: what has come is shown again with each.
    pub(crate) fn pieces(&mut self, head: &str, bytes: usize) -> usize {
        let ends = (0..head.len()).skip(bytes).step_by(bytes).chain([head.len()]);
        ends.map(|end| self.0.check(&head.as_bytes()[..end]).passed).sum()
    }
}
