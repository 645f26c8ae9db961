//! `everfresh verify`: silent over a network that keeps its promise, and loud over one that does not.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::parts::process::Ran;
use crate::parts::{Everfresh, Serve};

fn verify(network: &Everfresh, edges: &[SocketAddr], more: &[&str]) -> (Ran, Value) {
    let edges: Vec<String> = edges.iter().map(|edge| format!("http://{edge}")).collect();
    let edges = edges.join(",");
    let arguments =
        [&["verify", "--json", "--edges", &edges, "--rate", "60", "--large", "200000"], more].concat();
    let ran = network.command(&arguments);
    let report = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    (ran, report)
}

#[test]
fn a_network_that_keeps_its_promise_has_no_violations_and_is_left_as_it_was() {
    let network = Serve::new("http://127.0.0.1:9").more(&["--feed-listen", "127.0.0.1:0"]).start();
    let far = network.start_edge("far");
    let edges = [network.edges[0], network.edges[1], far.address];
    let more = ["--duration", "8s", "--purges", "4", "--purge-all", "--slow", "30"];
    let (ran, report) = verify(&network, &edges, &more);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(report["ViolationCount"], 0);
    for name in ["Checks", "Hits", "OriginFetches"] {
        assert!(report[name].as_u64().unwrap() > 0, "{name}: {report}");
    }
    for edge in report["Edges"].as_array().unwrap() {
        assert!(edge["Checks"].as_u64().unwrap() > 0, "{edge}");
    }
    assert!(report["LatencyMs"]["P50"].as_f64().unwrap() > 0.0, "{report}");
    let domains = network.done(&["domain", "list"]);
    assert!(!domains.contains("verify-"), "{domains}");
}

#[test]
fn an_edge_that_ignores_purges_is_found_with_the_evidence() {
    let network = Serve::new("http://127.0.0.1:9").start();
    let deaf = DeafCache::start(network.edges[0]);
    let (ran, report) = verify(&network, &[network.edges[1], deaf], &["--duration", "6s", "--purges", "4"]);
    assert_eq!(ran.code, Some(8), "{ran:?}");
    assert!(ran.err.contains("break the promise"), "{ran:?}");
    let violations = report["Violations"].as_array().unwrap();
    assert_eq!(violations.len() as u64, report["ViolationCount"].as_u64().unwrap().min(1000));
    for violation in violations {
        assert_eq!(violation["Edge"], format!("http://{deaf}"), "{violation}");
        let at = |name: &str| violation[name].as_f64().unwrap_or(f64::NAN);
        let task = |name: &str| violation["Task"][name].as_f64().unwrap();
        assert!(task("SuccessMs") < at("StartedMs"), "{violation}");
        assert!(task("CalledMs") < task("SuccessMs"), "{violation}");
        assert!(violation["LogUuid"].is_string() && violation["Task"]["JobId"].is_string(), "{violation}");
        match violation["Breach"].as_str().unwrap() {
            "old-bytes" => assert!(at("FetchedMs") < task("CalledMs"), "{violation}"),
            "not-confirmed" => assert!(at("ConfirmedMs") < task("CalledMs"), "{violation}"),
            breach => assert_eq!(breach, "old-version"),
        }
    }
    let domains = network.done(&["domain", "list"]);
    assert!(!domains.contains("verify-"), "{domains}");
}

#[test]
fn what_cannot_be_verified_is_no_success() {
    let network = Serve::new("http://127.0.0.1:9").edges(1).start();
    // It belongs to nobody: the edge has another origin there.
    let edge = format!("http://{}", network.edges[0]);
    let ran = network.command(&["verify", "--edges", &edge, "--zone", "nobody.test"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let ran = network.command(&["verify", "--edges", "http://edge.example.com"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("with an IP address"), "{ran:?}");
}

/// A cache that keeps whole answers for ever, by request line and the fields that select.
struct DeafCache {
    edge: SocketAddr,
    kept: Mutex<HashMap<String, Vec<u8>>>,
}

impl DeafCache {
    /// Stands in front of an edge.
    fn start(edge: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let cache = Arc::new(Self { edge, kept: Mutex::default() });
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let cache = Arc::clone(&cache);
                std::thread::spawn(move || {
                    let _ = cache.answer(stream);
                });
            }
        });
        address
    }

    /// One request, answered with what an edge answered first.
    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut key, mut head) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            if head.is_empty() || ["range", "accept-language", "if-none-match"].contains(&name.as_str()) {
                key.push_str(&line);
            }
            if name != "connection" {
                head.push_str(&line);
            }
        }
        let kept = self.kept.lock().unwrap().get(&key).cloned();
        let answer = match kept {
            Some(answer) => answer,
            None => {
                let mut asked = TcpStream::connect(self.edge)?;
                asked.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
                let mut answer = Vec::new();
                asked.read_to_end(&mut answer)?;
                let is_content = answer.starts_with(b"HTTP/1.1 20") || answer.starts_with(b"HTTP/1.1 304");
                if is_content {
                    self.kept.lock().unwrap().insert(key, answer.clone());
                }
                answer
            }
        };
        (&stream).write_all(&answer)
    }
}
