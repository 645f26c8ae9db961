//! An edge that is stopped while it holds a lease, and goes on after the purge it slept through reads success: whatever it
//! answers to a request that came since is new. What came before may be answered with what was there then, in one piece.

use std::time::Duration;

use crate::parts::http::{Open, Stream, get_meanwhile};
use crate::parts::process::PATIENCE;
use crate::parts::{Edge, Everfresh, HeldOrigin, Serve, everfresh::HOST, http, until};

/// A lease as short as these tests want it.
const LEASE: &str = "1s";

const OLD: &str = "Cache-Control: max-age=3600\r\nETag: \"old\"\r\nCache-Tag: news\r\n";
const NEW: &str = "Cache-Control: max-age=3600\r\nETag: \"new\"\r\nCache-Tag: news\r\n";

/// More than all buffers between an edge and a client that does not read.
const LARGE_BYTES: usize = 16 << 20;

struct Paused {
    origin: HeldOrigin,
    network: Everfresh,
    edge: Edge,
}

impl Paused {
    fn start() -> Self {
        let origin = HeldOrigin::start();
        let more = ["--lease", LEASE, "--feed-listen", "127.0.0.1:0"];
        let network = Serve::new(&origin.url()).edges(1).more(&more).start();
        let edge = network.start_edge("sleeper");
        Self { origin, network, edge }
    }

    /// Has the edge keep `body`, and waits until it answers with it from its cache.
    fn keep(&self, path: &str, body: &str) {
        until(PATIENCE, "the edge should serve from its cache", || {
            let request = get_meanwhile(self.edge.address, HOST, path);
            self.answer_until(&mut || request.is_finished(), OLD, body);
            (request.join().unwrap().eo() == "HIT").then_some(())
        });
    }

    /// Answers whatever the origin is asked until this is so.
    fn answer_until(&self, is_so: &mut dyn FnMut() -> bool, fields: &str, body: &str) {
        while !is_so() {
            if let Some(held) = self.origin.next_within(Duration::from_millis(5)) {
                held.answer(fields, body);
            }
        }
    }

    /// Purges while the edge sleeps. Returns once the task reads success, which the edge, asleep, has not acknowledged.
    fn purge_meanwhile(&self, arguments: &[&str]) {
        let out = self.network.done(&[&["purge"], arguments, &["--wait"]].concat());
        assert!(out.contains("purged on every edge in "), "{out}");
    }
}

const DELETE_ALL: &[&str] = &["all", "--method", "delete"];

#[test]
fn requests_that_came_while_the_edge_was_stopped_get_nothing_old() {
    let paused = Paused::start();
    for round in 0..3 {
        let path = format!("/{round}");
        paused.keep(&path, "old");
        // Connections that were there before, one with a request behind it, beside new ones.
        let mut kept: Vec<_> = (0..4).map(|_| Stream::connect(paused.edge.address)).collect();
        for stream in &mut kept[..2] {
            stream.get(HOST, &path);
            assert_eq!(stream.answer().text(), "old");
        }
        paused.edge.sleep();
        paused.purge_meanwhile(DELETE_ALL);
        for stream in &mut kept {
            stream.get(HOST, &path);
        }
        let new: Vec<_> = (0..8).map(|_| get_meanwhile(paused.edge.address, HOST, &path)).collect();
        paused.edge.wake_up();
        let answers: Vec<_> = kept
            .into_iter()
            .map(|mut stream| std::thread::spawn(move || stream.answer()))
            .chain(new)
            .collect();
        paused.answer_until(&mut || answers.iter().all(|answer| answer.is_finished()), NEW, "new");
        for answer in answers {
            let answer = answer.join().unwrap();
            assert_eq!(answer.text(), "new", "round {round}: {answer:?}");
        }
    }
}

/// The first request was past its look at the lease, and at all else, when the edge was stopped: the answer that it began may
/// go on as it is. The second one, sent on the same connection after the purge, begins with the lease.
#[test]
fn an_answer_under_way_goes_on_as_it_was_and_the_next_one_on_its_connection_is_new() {
    let paused = Paused::start();
    let old = "o".repeat(LARGE_BYTES);
    paused.keep("/large", &old);
    let mut stream = Stream::connect(paused.edge.address);
    stream.get(HOST, "/large");
    stream.wait_for_head();
    paused.edge.sleep();
    paused.purge_meanwhile(DELETE_ALL);
    stream.get(HOST, "/large");
    paused.edge.wake_up();
    let reading = std::thread::spawn(move || (stream.answer(), stream.answer()));
    paused.answer_until(&mut || reading.is_finished(), NEW, "new");
    let (first, second) = reading.join().unwrap();
    assert_eq!((first.eo().as_str(), first.body.len()), ("HIT", LARGE_BYTES));
    assert!(first.text() == old, "of one version");
    assert_eq!(second.text(), "new", "{:?}", second.fields);
}

#[test]
fn nobody_who_came_later_joins_a_fetch_from_before_the_edge_was_stopped() {
    let paused = Paused::start();
    paused.keep("/a", "old");
    for (number, streams) in [false, true].into_iter().enumerate() {
        let path = format!("/slow-{number}");
        let early = Open::get(paused.edge.address, HOST, &path);
        let first = paused.origin.next();
        let mut early = Some(early);
        if streams {
            first.begin(OLD, 6);
            first.send("old");
            early = early.map(Open::wait_for_head);
        }
        paused.edge.sleep();
        paused.purge_meanwhile(&["url", &format!("http://{HOST}{path}")]);
        let late: Vec<_> = (0..4).map(|_| get_meanwhile(paused.edge.address, HOST, &path)).collect();
        paused.edge.wake_up();
        if streams {
            first.send("old");
            // The connection is free for the next request.
            drop(first);
        } else {
            first.answer(OLD, "oldold");
        }
        let early = early.unwrap().finish();
        assert_eq!(early.text(), "oldold", "it came before the purge");
        paused.answer_until(&mut || late.iter().all(|late| late.is_finished()), NEW, "new");
        for late in late {
            let answer = late.join().unwrap();
            assert_eq!(answer.text(), "new", "{answer:?}");
        }
        let again = get_meanwhile(paused.edge.address, HOST, &path);
        paused.answer_until(&mut || again.is_finished(), NEW, "new");
        assert_eq!(again.join().unwrap().text(), "new", "what the first fetch brought is nowhere");
    }
}

/// A control plane that is stopped over its edges' leases fences them, and what it then grants is of its present head.
#[test]
fn edges_of_a_control_plane_that_was_stopped_are_fenced_and_trust_their_copies_again_when_it_goes_on() {
    let paused = Paused::start();
    paused.keep("/a", "old");
    paused.network.sleep();
    let fenced = until(PATIENCE, "the edge's lease should run out", || {
        let request = get_meanwhile(paused.edge.address, HOST, "/a");
        paused.answer_until(&mut || request.is_finished(), OLD, "old");
        let answer = request.join().unwrap();
        (answer.eo() != "HIT").then_some(answer)
    });
    assert!(fenced.cache_status().last().unwrap().contains("fenced"), "{fenced:?}");
    paused.network.wake_up();
    paused.keep("/a", "old");
    let out = paused.network.done(&["purge", "all", "--method", "delete", "--wait"]);
    assert!(out.contains("purged on every edge in "), "{out}");
    let answer = get_meanwhile(paused.edge.address, HOST, "/a");
    paused.answer_until(&mut || answer.is_finished(), NEW, "new");
    assert_eq!(answer.join().unwrap().text(), "new");
    assert_eq!(http::get(paused.edge.address, HOST, "/a").eo(), "HIT");
}
