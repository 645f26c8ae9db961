//! Edges that miss a purge, because they sleep or because their control plane is gone, stop trusting their cache.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use crate::parts::process::PATIENCE;
use crate::parts::{Edge, Everfresh, Nginx, Serve, everfresh::HOST, http, until};

/// A lease as short as these tests want it, and its length with the drift on top.
const LEASE: &str = "1s";
const LEASE_AND_DRIFT: Duration = Duration::from_millis(1010);

/// What a loaded machine may add to the time a purge takes.
const LOAD: Duration = Duration::from_secs(5);

fn serve(nginx: &Nginx, feed: &str) -> Serve {
    Serve::new(&nginx.url()).edges(1).more(&["--lease", LEASE, "--feed-listen", feed])
}

/// Waits until an edge serves `/a` from its cache.
fn comes_to_hit(edge: &Edge) {
    until(PATIENCE, "the edge should serve from its cache", || {
        (http::get(edge.address, HOST, "/a").eo() == "HIT").then_some(())
    });
}

fn purge(network: &Everfresh) -> Duration {
    let out = network.done(&["purge", "url", "http://www.example.com/a", "--wait", "--json"]);
    let purged: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(purged["Progress"]["Status"], "success", "{out}");
    Duration::from_millis(purged["Progress"]["ElapsedMilliseconds"].as_u64().unwrap())
}

#[test]
fn an_edge_that_slept_through_a_purge_serves_nothing_of_what_it_matched() {
    let nginx = Nginx::start();
    let network = serve(&nginx, "127.0.0.1:0").start();
    let edge = network.start_edge("sleeper");
    for round in 0..3 {
        let (old, new) = (format!("old {round}\n"), format!("new, {round}\n"));
        nginx.write("/a", &old);
        // Whatever the round before left behind goes first.
        purge(&network);
        comes_to_hit(&edge);
        assert_eq!(http::get(edge.address, HOST, "/a").text(), old);
        nginx.write("/a", &new);
        edge.sleep();
        let took = purge(&network);
        assert!(took <= LEASE_AND_DRIFT + LOAD, "{took:?}");
        // The request waits for the edge to wake up, which may not even know yet that it was asleep.
        let request = http::get_meanwhile(edge.address, HOST, "/a");
        edge.wake_up();
        assert_eq!(request.join().unwrap().text(), new);
        comes_to_hit(&edge);
        assert_eq!(http::get(edge.address, HOST, "/a").text(), new);
    }
}

#[test]
fn an_edge_without_its_control_plane_asks_the_origin_until_it_is_back() {
    let nginx = Nginx::start();
    nginx.write("/a", "content\n");
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let mut network = serve(&nginx, "127.0.0.1:0").data(&data).start();
    let edge = network.start_edge("left-alone");
    comes_to_hit(&edge);
    let feed = network.ready["feed"].as_str().unwrap().to_owned();
    network.kill();
    nginx.asked();
    let fenced = until(PATIENCE, "the edge's lease should run out", || {
        let answer = http::get(edge.address, HOST, "/a");
        (answer.eo() != "HIT").then_some(answer)
    });
    assert!(fenced.says("fwd=bypass"), "{fenced:?}");
    assert!(fenced.cache_status().last().unwrap().contains(" fenced"), "{fenced:?}");
    let asked = nginx.asked();
    assert!(
        asked.iter().all(|asked| asked.if_none_match.is_empty()),
        "what was missed may be a delete: {asked:?}"
    );
    assert!(!asked.is_empty());

    let _network = serve(&nginx, &feed).data(&data).start();
    comes_to_hit(&edge);
}

/// Pings go out every quarter of a lease: whatever is back within the other three costs no edge its lease.
#[test]
fn a_control_plane_that_is_back_within_three_quarters_of_a_lease_fences_nobody() {
    const LEASE: Duration = Duration::from_secs(8);
    let nginx = Nginx::start();
    nginx.write("/a", "content\n");
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let start = |feed: &str| {
        Serve::new(&nginx.url()).edges(1).more(&["--lease", "8s", "--feed-listen", feed]).data(&data).start()
    };
    let mut network = start("127.0.0.1:0");
    let edge = network.start_edge("steady");
    comes_to_hit(&edge);
    let feed = network.ready["feed"].as_str().unwrap().to_owned();
    network.kill();
    let killed = Instant::now();
    let _network = start(&feed);
    let was_away = killed.elapsed();
    let mut answers = Vec::new();
    // Past the end of every lease from before.
    while killed.elapsed() < LEASE + Duration::from_secs(1) {
        answers.push(http::get(edge.address, HOST, "/a").eo());
        std::thread::sleep(Duration::from_millis(20));
    }
    // On a machine so loaded that it took longer to start, the edge may be fenced.
    if was_away < LEASE / 2 {
        assert!(answers.iter().all(|answer| answer == "HIT"), "{was_away:?}: {answers:?}");
    }
}
