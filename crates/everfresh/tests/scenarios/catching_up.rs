//! An edge that was stopped for so long that it lacks a hundred thousand entries, all on their real way: from the database
//! over the feed to the edge.

use std::time::Duration;

use tokio::time::Instant;

use crate::parts::http::get_meanwhile;
use crate::parts::process::PATIENCE;
use crate::parts::{HeldOrigin, Serve, everfresh::HOST, until};

/// URLs of one call, and calls: as many as a zone may have in a day.
const TARGETS: usize = 5_000;
const CALLS: usize = 20;

const KEPT: &str = "Cache-Control: max-age=3600\r\nETag: \"1\"\r\n";

#[test]
fn an_edge_a_hundred_thousand_entries_behind_serves_nothing_old_while_it_catches_up() {
    let origin = HeldOrigin::start();
    let network =
        Serve::new(&origin.url()).edges(1).more(&["--lease", "1s", "--feed-listen", "127.0.0.1:0"]).start();
    let edge = network.start_edge("behind");
    let get = |body: &str| {
        let request = get_meanwhile(edge.address, HOST, "/a");
        while !request.is_finished() {
            if let Some(held) = origin.next_within(Duration::from_millis(1)) {
                held.answer(KEPT, body);
            }
        }
        request.join().unwrap()
    };
    until(PATIENCE, "the edge should serve from its cache", || (get("old").eo() == "HIT").then_some(()));
    edge.sleep();
    for call in 0..CALLS {
        // The page that the edge has is the last of all.
        let url = |number| match (call + 1, number + 1) {
            (CALLS, TARGETS) => format!("http://{HOST}/a"),
            _ => format!("http://{HOST}/other/{call}/{number}"),
        };
        let urls: Vec<String> = (0..TARGETS).map(url).collect();
        let mut arguments = vec!["purge", "url"];
        arguments.extend(urls.iter().map(String::as_str));
        if call + 1 == CALLS {
            arguments.push("--wait");
        }
        network.done(&arguments);
    }
    edge.wake_up();
    let start = Instant::now();
    let mut meanwhile = 0;
    let caught_up = loop {
        let answer = get("new");
        assert_eq!(answer.text(), "new", "{answer:?}");
        if answer.eo() == "HIT" {
            break start.elapsed();
        }
        meanwhile += 1;
    };
    eprintln!(
        "{} entries behind: served from its cache again after {} ms, {meanwhile} requests meanwhile",
        TARGETS * CALLS,
        caught_up.as_millis()
    );
}
