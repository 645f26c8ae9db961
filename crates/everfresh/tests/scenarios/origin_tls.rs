//! nginx as an origin over TLS and HTTP/2, from the first command to a purge that holds.

use tempfile::TempDir;

use crate::parts::everfresh::HOST;
use crate::parts::{Nginx, Serve};
use crate::tls::make_for;

#[test]
fn nginx_over_tls_and_http2_is_served_and_purged() {
    let directory = TempDir::new().unwrap();
    let files = make_for(directory.path(), &[HOST]);
    let nginx = Nginx::start_with_tls(&files.certificate, &files.key);
    nginx.write("/tagged/news/a.txt", "one");
    let ca = files.authority.to_str().unwrap();
    let network =
        Serve::new(&format!("https://{}", nginx.tls_address.unwrap())).more(&["--origin-ca", ca]).start();
    for answer in network.get_everywhere("/tagged/news/a.txt") {
        assert_eq!((answer.status, answer.text()), (200, "one".into()), "{answer:?}");
    }
    let asked = nginx.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.host == HOST && asked.protocol == "HTTP/2.0"), "{asked:?}");
    nginx.write("/tagged/news/a.txt", "two");
    network.done(&["purge", "tag", "news", "--method", "delete", "--wait"]);
    for answer in network.get_everywhere("/tagged/news/a.txt") {
        assert_eq!(answer.text(), "two");
    }
}
