//! Purges that come while the origin is still answering. What the origin sent before is never served to a request
//! that came after.

use std::time::Duration;

use crate::parts::held_origin::Held;
use crate::parts::http::{Answer, Open, get_meanwhile};
use crate::parts::{Everfresh, HeldOrigin, Serve, everfresh::HOST};

const OLD: &str = "Cache-Control: max-age=3600\r\nETag: \"old\"\r\nCache-Tag: news\r\n";
const NEW: &str = "Cache-Control: max-age=3600\r\nETag: \"new\"\r\nCache-Tag: news\r\n";

/// How long a request that may wait at the edge, or may ask the origin, is given to do either.
const SETTLE: Duration = Duration::from_millis(300);

/// A purge of `path`, as a command.
fn purge(scope: &str, method: &str, path: &str) -> Vec<String> {
    let target = match scope {
        "url" | "prefix" => Some(format!("http://{HOST}{path}")),
        "host" => Some(HOST.to_owned()),
        "tag" => Some("news".to_owned()),
        _ => None,
    };
    let mut arguments = vec!["purge".to_owned(), scope.to_owned()];
    arguments.extend(target);
    arguments.extend(["--method", method, "--wait"].map(str::to_owned));
    arguments
}

const PURGES: [(&str, &str); 8] = [
    ("url", "delete"),
    ("prefix", "delete"),
    ("prefix", "invalidate"),
    ("host", "invalidate"),
    ("tag", "delete"),
    ("tag", "invalidate"),
    ("all", "delete"),
    ("all", "invalidate"),
];

struct Race {
    origin: HeldOrigin,
    network: Everfresh,
}

impl Race {
    fn start() -> Self {
        let origin = HeldOrigin::start();
        let network = Serve::new(&origin.url()).start();
        Self { origin, network }
    }

    fn get_meanwhile(&self, edge: usize, path: &str) -> std::thread::JoinHandle<Answer> {
        get_meanwhile(self.network.edges[edge], HOST, path)
    }

    /// Purges, and returns once the task reads success.
    fn purge(&self, scope: &str, method: &str, path: &str) {
        let arguments = purge(scope, method, path);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let out = self.network.done(&arguments);
        assert!(out.contains("purged on every edge in "), "{out}");
    }

    /// GETs while the origin answers whatever it is asked with `body`. Returns how often it was asked, too.
    fn get(&self, edge: usize, path: &str, fields: &str, body: &str) -> (Answer, usize) {
        let request = self.get_meanwhile(edge, path);
        let mut asked = 0;
        while !request.is_finished() {
            if let Some(held) = self.origin.next_within(Duration::from_millis(5)) {
                asked += 1;
                held.answer(fields, body);
            }
        }
        (request.join().unwrap(), asked)
    }

    /// The old content is nowhere: neither where it was under way, nor on the other edge, nor later.
    fn old_is_gone(&self, path: &str) {
        for round in 0..10 {
            for edge in 0..self.network.edges.len() {
                let (answer, _) = self.get(edge, path, NEW, "new");
                assert_eq!(answer.text(), "new", "edge {edge}, round {round}: {answer:?}");
            }
        }
        assert!(self.origin.is_idle());
    }
}

fn check_conditions(held: &Held, method: &str) {
    let expected = if method == "delete" { "" } else { "\"old\"" };
    assert_eq!(held.field("If-None-Match"), expected, "after {method}");
}

#[test]
fn a_response_under_way_when_the_purge_comes_is_not_served_to_the_next_request() {
    let race = Race::start();
    for (number, (scope, method)) in PURGES.into_iter().enumerate() {
        eprintln!("{scope} {method}");
        let path = format!("/slow-{number}/");
        let early = race.get_meanwhile(0, &path);
        let first = race.origin.next();
        race.purge(scope, method, &path);
        first.answer(OLD, "old");
        assert_eq!(early.join().unwrap().text(), "old", "it came before the purge");

        let later = race.get_meanwhile(0, &path);
        let second = race.origin.next();
        check_conditions(&second, method);
        second.answer(NEW, "new");
        assert_eq!(later.join().unwrap().text(), "new");
        race.old_is_gone(&path);
    }
}

#[test]
fn a_body_under_way_when_the_purge_comes_is_not_served_to_the_next_request() {
    let race = Race::start();
    for (number, (scope, method)) in PURGES.into_iter().enumerate() {
        eprintln!("{scope} {method}");
        let path = format!("/streamed-{number}/");
        let early = Open::get(race.network.edges[0], HOST, &path);
        let first = race.origin.next();
        first.begin(OLD, 6);
        first.send("old");
        let early = early.wait_for_head();
        race.purge(scope, method, &path);

        let later = race.get_meanwhile(0, &path);
        let second = race.origin.next();
        first.send("old");
        assert_eq!(early.finish().text(), "oldold", "it came before the purge");
        second.answer(NEW, "new");
        assert_eq!(later.join().unwrap().text(), "new");
        race.old_is_gone(&path);
    }
}

#[test]
fn a_304_under_way_when_a_delete_comes_does_not_bring_the_content_back() {
    let race = Race::start();
    for (number, (scope, _)) in PURGES.into_iter().filter(|(_, method)| *method == "delete").enumerate() {
        eprintln!("{scope}");
        let path = format!("/validated-{number}/");
        assert_eq!(race.get(0, &path, OLD, "old").0.text(), "old");
        race.purge("prefix", "invalidate", &path);
        let early = race.get_meanwhile(0, &path);
        let asked_whether = race.origin.next();
        check_conditions(&asked_whether, "invalidate");
        race.purge(scope, "delete", &path);
        asked_whether.not_modified(OLD);
        // The edge may answer with what it was about, or fetch anew at once; the request came before the purge.
        let mut asked_anew = 0;
        while !early.is_finished() {
            if let Some(held) = race.origin.next_within(Duration::from_millis(5)) {
                check_conditions(&held, "delete");
                held.answer(NEW, "new");
                asked_anew += 1;
            }
        }
        let early = early.join().unwrap().text();
        assert_eq!(early, if asked_anew == 0 { "old" } else { "new" });
        if asked_anew == 0 {
            let later = race.get_meanwhile(0, &path);
            let second = race.origin.next();
            check_conditions(&second, "delete");
            second.answer(NEW, "new");
            assert_eq!(later.join().unwrap().text(), "new");
        }
        race.old_is_gone(&path);
    }
}

#[test]
fn a_request_after_the_purge_never_gets_the_body_of_an_earlier_flight() {
    let race = Race::start();
    for (number, (scope, method)) in PURGES.into_iter().enumerate() {
        eprintln!("{scope} {method}");
        let path = format!("/collapsed-{number}/");
        let early: Vec<_> = (0..3).map(|_| race.get_meanwhile(0, &path)).collect();
        let first = race.origin.next();
        // Whoever waits with the first request waits for this very fetch.
        assert!(race.origin.next_within(SETTLE).is_none());
        race.purge(scope, method, &path);

        let late: Vec<_> = (0..5).map(|_| race.get_meanwhile(0, &path)).collect();
        // They wait for the head of the first fetch, or ask for themselves: either is right.
        let second = race.origin.next_within(SETTLE);
        first.answer(OLD, "old");
        for request in early {
            assert_eq!(request.join().unwrap().text(), "old", "they came before the purge");
        }
        let mut asked = 0;
        if let Some(second) = second {
            second.answer(NEW, "new");
            asked += 1;
        }
        while !late.iter().all(std::thread::JoinHandle::is_finished) {
            if let Some(held) = race.origin.next_within(Duration::from_millis(5)) {
                held.answer(NEW, "new");
                asked += 1;
            }
        }
        for request in late {
            let answer = request.join().unwrap();
            assert_eq!(answer.text(), "new", "{answer:?}");
        }
        assert_eq!(asked, 1, "those who came after share one fetch too");
        race.old_is_gone(&path);
    }
}

#[test]
fn requests_for_one_object_share_one_fetch() {
    let race = Race::start();
    let requests: Vec<_> = (0..8).map(|_| race.get_meanwhile(0, "/shared")).collect();
    let first = race.origin.next();
    assert!(race.origin.next_within(SETTLE).is_none(), "the others wait");
    first.answer(NEW, "new");
    let answers: Vec<_> = requests.into_iter().map(|request| request.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.text() == "new"), "{answers:?}");
    // On a loaded machine some may come after the answer: those are hits.
    let shared = |answer: &&Answer| answer.says("collapsed") || answer.eo() == "HIT";
    assert_eq!(answers.iter().filter(shared).count(), 7, "{answers:?}");
    assert!(answers.iter().any(|answer| answer.says("collapsed")), "{answers:?}");
    assert!(race.origin.is_idle());
}
