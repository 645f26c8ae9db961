//! Starting, ending and starting again.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::parts::process::PATIENCE;
use crate::parts::{Nginx, Sdk, Serve, http, until};

/// How long an idle process may take to end.
const STOP: Duration = Duration::from_secs(1);

#[test]
fn sigterm_ends_an_idle_process_within_a_second() {
    let nginx = Nginx::start();
    nginx.write("/a", "content\n");
    let mut network = Serve::new(&nginx.url()).start();
    network.get_everywhere("/a");
    // Clients that keep their connections are idle too.
    let mut kept = TcpStream::connect(network.edges[0]).unwrap();
    kept.write_all(b"GET /a HTTP/1.1\r\nHost: www.example.com\r\n\r\n").unwrap();
    let mut first = [0];
    kept.read_exact(&mut first).unwrap();
    network.terminate();
    let status = network.ends_within(STOP);
    assert!(status.success(), "{status}");
}

#[test]
fn healthz_answers_once_both_sides_serve() {
    let network = Serve::new("http://127.0.0.1:1").start();
    let api = network.api.strip_prefix("http://").unwrap().parse().unwrap();
    let answer = http::get(api, "anything", "/healthz");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"));
}

#[test]
fn a_restart_keeps_key_zone_domain_and_tasks() {
    let nginx = Nginx::start();
    nginx.write("/a", "content\n");
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let mut first = Serve::new(&nginx.url()).data(&data).without_key().start();
    assert!(!first.secret_key.is_empty(), "the first start makes a key: {}", first.ready);
    let job_id = {
        let purge = json!({"ZoneId": first.zone_id, "Type": "purge_all"});
        Sdk::start(&first).accepted("CreatePurgeTask", purge)["JobId"].as_str().unwrap().to_owned()
    };
    first.terminate();
    first.ends_within(PATIENCE);

    let mut second = Serve::new(&nginx.url()).data(&data).without_key().start();
    assert_eq!(second.ready["secret_id"], first.secret_id.as_str());
    assert_eq!(second.ready["secret_key"], json!(null), "a secret is shown once");
    assert_eq!(second.zone_id, first.zone_id);
    second.secret_key.clone_from(&first.secret_key);
    let mut sdk = Sdk::start(&second);
    assert_eq!(sdk.accepted("DescribeZones", json!({}))["TotalCount"], 1);
    assert_eq!(sdk.wait(&second.zone_id, &job_id)[0]["Status"], "success");
    assert_eq!(second.get(0, "/a").status, 200);

    // The first process's key in the environment changes nothing either.
    drop(second);
    let third = Serve::new(&nginx.url()).data(&data).start();
    assert_eq!(third.zone_id, first.zone_id);
    let mut sdk = Sdk::start(&third);
    assert_eq!(sdk.accepted("DescribeZones", json!({}))["TotalCount"], 1);
    sdk.set("secret_id", first.secret_id.as_str());
    sdk.set("secret_key", first.secret_key.as_str());
    assert_eq!(sdk.accepted("DescribeZones", json!({}))["TotalCount"], 1, "the key made first still works");
}

#[test]
fn one_data_directory_serves_one_process() {
    let network = Serve::new("http://127.0.0.1:1").start();
    let refused = Serve::new("http://127.0.0.1:1").data(&network.data).try_start().unwrap_err();
    assert_ne!(refused.code, Some(0));
    assert!(refused.err.contains(network.data.to_str().unwrap()), "{refused:?}");
    assert!(refused.err.contains("another"), "it says what is in the way: {refused:?}");
    // The first one goes on.
    let out = network.done(&["zone", "list"]);
    assert!(out.contains("example.com"), "{out}");
}

#[test]
fn the_edge_answers_what_it_cannot_serve() {
    let network = Serve::new("http://127.0.0.1:1").start();
    let edge = network.edges[0];
    let unknown = http::get(edge, "unknown.test", "/");
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains("unknown.test"), "a hint: {}", unknown.text());
    assert_eq!(network.get(0, "/").status, 502, "nobody listens at the origin");
    for malformed in [
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "NONSENSE\r\n\r\n",
    ] {
        assert_eq!(http::send(edge, malformed).status, 400, "{malformed:?}");
    }
}

#[test]
fn an_edge_in_another_process_follows_and_purges_wait_for_it() {
    let nginx = Nginx::start();
    nginx.write("/a", "content\n");
    let network = Serve::new(&nginx.url()).edges(1).more(&["--feed-listen", "127.0.0.1:0"]).start();
    let edge = network.start_edge("far-edge");
    let get = || http::get(edge.address, "www.example.com", "/a");
    until(PATIENCE, "the far edge should serve from its cache", || (get().eo() == "HIT").then_some(()));
    nginx.asked();
    let out = network.done(&["purge", "url", "http://www.example.com/a", "--wait", "--json"]);
    assert!(out.contains("far-edge"), "{out}");
    assert_eq!(get().eo(), "MISS");
    assert_eq!(nginx.asked().len(), 1);
    assert_eq!(get().eo(), "HIT");
}

#[test]
fn a_start_that_fails_does_not_keep_the_first_secret_to_itself() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let serve = |origin| Serve::new(origin).data(&data).without_key();
    let good_origin = "http://127.0.0.1:1";
    let failing = [
        serve(good_origin).api_listen(&taken),
        serve(good_origin).more(&["--listen", &taken]),
        serve("ftp://127.0.0.1:1"),
    ];
    for attempt in failing {
        let ended = attempt.try_start().unwrap_err();
        assert_eq!(ended.code, Some(1), "{ended:?}");
    }
    let network = serve(good_origin).start();
    assert!(
        network.ready["secret_key"].is_string(),
        "shown by the first start that works: {}",
        network.ready
    );
}
