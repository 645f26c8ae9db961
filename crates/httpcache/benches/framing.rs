//! What the check of framing costs: a head of a browser, and one of a load generator.

use divan::{Bencher, counter::BytesCount};
use httpcache::{HeadLimits, Requests};

const SHORT: &str = "GET /objects/1k HTTP/1.1\r\nHost: www.example.com\r\n\r\n";

const BROWSER: &str = "GET /docs/guide/getting-started.html?lang=en HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://www.example.com/docs/\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nUpgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nPriority: u=0, i\r\n\r\n";

fn main() {
    divan::main();
}

#[divan::bench(args = [SHORT, BROWSER])]
fn head(bencher: Bencher<'_, '_>, head: &str) {
    let limits = HeadLimits { head_bytes: 64 * 1024, target_bytes: 8 * 1024, fields: 128 };
    let mut requests = Requests::new(limits);
    bencher.counter(BytesCount::of_str(head)).bench_local(move || {
        let checked = requests.check(divan::black_box(head.as_bytes()));
        assert_eq!(checked.passed, head.len());
    });
}
