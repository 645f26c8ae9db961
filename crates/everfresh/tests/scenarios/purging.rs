//! Purges of every type and method by each client, and what the next requests make of them.

use serde_json::{Value, json};

use crate::parts::http::Answer;
use crate::parts::nginx::Asked;
use crate::parts::process::PATIENCE;
use crate::parts::tccli::Tccli;
use crate::parts::{Everfresh, Nginx, Sdk, Serve, everfresh::HOST, http, until};

/// Who sends a purge.
#[derive(Clone, Copy, Debug)]
enum Client {
    Sdk,
    Tccli,
    Everfresh,
}

/// What the next request must make the origin see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// A GET without any condition.
    FetchesAnew,
    /// A GET with both validators of what is stored.
    AsksWhetherItChanged,
}

struct Case {
    kind: &'static str,
    method: &'static str,
    client: Client,
    then: Then,
    /// Whether `/untouched/a` is purged along with it.
    reaches_everything: bool,
}

const fn case(kind: &'static str, method: &'static str, client: Client, then: Then, all: bool) -> Case {
    Case { kind, method, client, then, reaches_everything: all }
}

const CASES: [Case; 10] = [
    case("purge_url", "delete", Client::Tccli, Then::FetchesAnew, false),
    // A purge of URLs deletes, whatever the method.
    case("purge_url", "invalidate", Client::Sdk, Then::FetchesAnew, false),
    case("purge_prefix", "delete", Client::Sdk, Then::FetchesAnew, false),
    case("purge_prefix", "invalidate", Client::Tccli, Then::AsksWhetherItChanged, false),
    case("purge_cache_tag", "delete", Client::Everfresh, Then::FetchesAnew, false),
    case("purge_cache_tag", "invalidate", Client::Sdk, Then::AsksWhetherItChanged, false),
    case("purge_host", "delete", Client::Tccli, Then::FetchesAnew, true),
    case("purge_host", "invalidate", Client::Everfresh, Then::AsksWhetherItChanged, true),
    case("purge_all", "delete", Client::Sdk, Then::FetchesAnew, true),
    case("purge_all", "invalidate", Client::Tccli, Then::AsksWhetherItChanged, true),
];

#[test]
fn every_type_and_method_reaches_both_edges_and_asks_the_origin_as_it_should() {
    let nginx = Nginx::start();
    let network = Serve::new(&nginx.url()).start();
    let clients = Clients { sdk: Sdk::start(&network), tccli: Tccli::new(&network), network: &network };
    let mut world = World { nginx: &nginx, network: &network, clients };
    for (number, case) in CASES.iter().enumerate() {
        eprintln!("{} {} by {:?}", case.kind, case.method, case.client);
        world.check(number, case);
    }
}

struct World<'w> {
    nginx: &'w Nginx,
    network: &'w Everfresh,
    clients: Clients<'w>,
}

impl World<'_> {
    fn check(&mut self, number: usize, case: &Case) {
        let directory = format!("/tagged/case-{number}/");
        let (path, untouched) = (format!("{directory}a.html"), "/untouched/a");
        self.nginx.write(&path, &format!("first content of case {number}\n"));
        self.nginx.write(untouched, "content that only large purges match\n");
        let first = self.fill(&path);
        self.fill(untouched);

        let target = match case.kind {
            "purge_url" => format!("https://{HOST}{path}"),
            "purge_prefix" => format!("http://{HOST}{directory}"),
            "purge_host" => HOST.to_owned(),
            "purge_cache_tag" => format!("case-{number}"),
            _ => String::new(),
        };
        self.clients.purge(case, &target);

        // The origin still has the same content.
        for edge in 0..self.network.edges.len() {
            let answer = self.network.get(edge, &path);
            assert_eq!(answer.text(), first.text());
            let asked = self.nginx.asked();
            self.check_asked(case, &asked, &path, &first);
            check_told(case.then, &answer);
            assert_eq!(self.network.get(edge, &path).eo(), "HIT", "it is fresh again");
        }
        // And once more, when the content changed.
        let changed = format!("content of case {number} that changed\n");
        self.nginx.write(&path, &changed);
        assert!(self.nginx.asked().is_empty());
        self.clients.purge(case, &target);
        for edge in 0..self.network.edges.len() {
            let answer = self.network.get(edge, &path);
            assert_eq!((answer.eo().as_str(), answer.text()), ("MISS", changed.clone()));
            let asked = self.nginx.asked();
            self.check_asked(case, &asked, &path, &first);
            assert_eq!(asked[0].status, 200);
        }

        for answer in self.network.get_everywhere(untouched) {
            assert_eq!(answer.eo() != "HIT", case.reaches_everything, "{untouched}: {answer:?}");
        }
        assert_eq!(self.nginx.asked().is_empty(), !case.reaches_everything);
    }

    /// Has both edges store a path, and returns what they answer.
    fn fill(&self, path: &str) -> Answer {
        for edge in 0..self.network.edges.len() {
            self.network.get(edge, path);
            let answer = self.network.get(edge, path);
            assert_eq!((answer.status, answer.eo().as_str()), (200, "HIT"), "{answer:?}");
            assert!(answer.says("hit"), "{answer:?}");
            assert_eq!(answer.field("Cache-Tag"), "", "tags are for the cache alone");
        }
        self.nginx.asked();
        self.network.get(0, path)
    }

    fn check_asked(&self, case: &Case, asked: &[Asked], path: &str, stored: &Answer) {
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!((asked[0].uri.as_str(), asked[0].host.as_str()), (path, HOST));
        let conditions = (asked[0].if_none_match.as_str(), asked[0].if_modified_since.as_str());
        let (etag, last_modified) = (stored.field("ETag"), stored.field("Last-Modified"));
        match case.then {
            Then::FetchesAnew => assert_eq!(conditions, ("", ""), "after {}", case.method),
            Then::AsksWhetherItChanged => {
                assert_eq!(conditions, (etag.as_str(), last_modified.as_str()), "after {}", case.method);
            }
        }
    }
}

fn check_told(then: Then, answer: &Answer) {
    let told = answer.cache_status();
    let names_purge = told.last().is_some_and(|detail| detail.contains(" purged-by="));
    match then {
        Then::FetchesAnew => {
            assert_eq!(answer.eo(), "MISS");
            // The sweep may have removed what the purge matched by now: then nothing was stored.
            assert!(answer.says("fwd=miss") && names_purge || answer.says("fwd=uri-miss"), "{told:?}");
            assert!(answer.says("fwd-status=200"), "{told:?}");
        }
        Then::AsksWhetherItChanged => {
            assert_eq!(answer.eo(), "RefreshHit");
            assert!(answer.says("fwd=stale") && answer.says("fwd-status=304") && names_purge, "{told:?}");
        }
    }
}

struct Clients<'w> {
    sdk: Sdk,
    tccli: Tccli,
    network: &'w Everfresh,
}

impl Clients<'_> {
    /// Sends a purge, waits until its task reads success, and looks at the task.
    fn purge(&mut self, case: &Case, target: &str) {
        let zone_id = self.network.zone_id.as_str();
        match case.client {
            Client::Sdk => {
                let mut parameters = json!({"ZoneId": zone_id, "Type": case.kind, "Method": case.method});
                if !target.is_empty() {
                    parameters["Targets"] = json!([target]);
                }
                let created = self.sdk.accepted("CreatePurgeTask", parameters);
                assert_eq!(created["FailedList"], json!([]));
                let tasks = self.sdk.wait(zone_id, created["JobId"].as_str().unwrap());
                check_task(case, target, &tasks);
            }
            Client::Tccli => {
                let targets = json!([target]).to_string();
                let mut arguments = vec![
                    "CreatePurgeTask",
                    "--ZoneId",
                    zone_id,
                    "--Type",
                    case.kind,
                    "--Method",
                    case.method,
                ];
                if !target.is_empty() {
                    arguments.extend(["--Targets", &targets]);
                }
                let created = self.tccli.accepted(&arguments);
                let filters = json!([{"Name": "job-id", "Values": [created["JobId"]]}]).to_string();
                let waiter = "{'expr':'Tasks[0].Status','to':'success','timeout':60,'interval':1}";
                let described = self.tccli.accepted(&[
                    "DescribePurgeTasks",
                    "--ZoneId",
                    zone_id,
                    "--Filters",
                    &filters,
                    "--waiter",
                    waiter,
                ]);
                check_task(case, target, described["Tasks"].as_array().unwrap());
            }
            Client::Everfresh => {
                let scope = match case.kind {
                    "purge_cache_tag" => "tag",
                    "purge_host" => "host",
                    _ => unreachable!("no case"),
                };
                let out = self.network.done(&["purge", scope, target, "--method", case.method, "--wait"]);
                assert!(out.contains("purged on every edge in "), "{out}");
            }
        }
    }
}

fn check_task(case: &Case, target: &str, tasks: &[Value]) {
    assert_eq!(tasks.len(), 1);
    let (task, method) = (&tasks[0], if case.kind == "purge_url" { "delete" } else { case.method });
    assert_eq!(task["Status"], "success", "{task}");
    assert_eq!(task["Type"], case.kind, "{task}");
    assert_eq!(task["Method"], method, "{task}");
    // A purge of everything shows the zone's name.
    assert_eq!(task["Target"], if target.is_empty() { "example.com" } else { target }, "{task}");
}

#[test]
fn a_purge_by_tag_on_one_host_spares_the_other() {
    let nginx = Nginx::start();
    let network = Serve::new(&nginx.url()).start();
    let mut sdk = Sdk::start(&network);
    let other = "static.example.com";
    network.done(&["domain", "create", other, "--origin", &nginx.url()]);
    nginx.write("/tagged/both/a", "on both hosts\n");
    let hosts = [HOST, other];
    let get = |host: &str| http::get(network.edges[0], host, "/tagged/both/a");
    for host in hosts {
        until(PATIENCE, "the domain should reach the edge", || (get(host).eo() == "HIT").then_some(()));
    }
    let created = sdk.accepted(
        "CreatePurgeTask",
        json!({"ZoneId": network.zone_id, "Type": "purge_cache_tag", "Method": "delete", "Targets": ["both"],
            "CacheTag": {"Domains": [other]}}),
    );
    sdk.wait(&network.zone_id, created["JobId"].as_str().unwrap());
    assert_eq!(hosts.map(|host| get(host).eo()), ["HIT", "MISS"]);
}

#[test]
fn a_purged_url_is_found_however_it_is_written() {
    let nginx = Nginx::start();
    let network = Serve::new(&nginx.url()).edges(1).start();
    let mut sdk = Sdk::start(&network);
    nginx.write("/图片/a b.html", "a picture\n");
    let asked_as = "/%E5%9B%BE%e7%89%87/a%20b.html?x=%2f&y";
    for (target, matches) in [
        ("http://www.example.com/图片/a b.html?x=%2F&y", true),
        ("https://WWW.Example.com:8443/%e5%9b%be%E7%89%87/%61%20b.html?x=%2f&y", true),
        ("http://www.example.com/图片/a b.html?x=/&y", false),
        ("http://www.example.com/图片/a b.html", false),
        ("http://www.example.com/图片/a b.html?y&x=%2f", false),
    ] {
        network.get(0, asked_as);
        assert_eq!(network.get(0, asked_as).eo(), "HIT");
        let created = sdk.accepted(
            "CreatePurgeTask",
            json!({"ZoneId": network.zone_id, "Type": "purge_url", "Targets": [target], "EncodeUrl": true}),
        );
        sdk.wait(&network.zone_id, created["JobId"].as_str().unwrap());
        assert_eq!(network.get(0, asked_as).eo(), if matches { "MISS" } else { "HIT" }, "{target}");
    }
}

#[test]
fn one_call_may_purge_in_several_zones() {
    let nginx = Nginx::start();
    let network = Serve::new(&nginx.url()).start();
    let mut sdk = Sdk::start(&network);
    let other = "www.other.test";
    network.done(&["zone", "create", "other.test"]);
    network.done(&["domain", "create", other, "--origin", &nginx.url()]);
    nginx.write("/a", "in both zones\n");
    let hosts = [HOST, other];
    let get = |host: &str| http::get(network.edges[1], host, "/a");
    for host in hosts {
        until(PATIENCE, "the domain should reach the edge", || (get(host).eo() == "HIT").then_some(()));
    }
    let targets = hosts.map(|host| format!("http://{host}/a"));
    let purge = json!({"ZoneId": "*", "Type": "purge_url", "Targets": targets});
    let created = sdk.accepted("CreatePurgeTask", purge);
    let tasks = sdk.wait("*", created["JobId"].as_str().unwrap());
    assert_eq!(tasks.len(), 2, "{tasks:?}");
    assert_eq!(hosts.map(|host| get(host).eo()), ["MISS", "MISS"]);
    let refused = sdk.refused("CreatePurgeTask", json!({"ZoneId": "*", "Type": "purge_all"}));
    assert!(refused.code.starts_with("InvalidParameter"), "{refused:?}");
}

#[test]
fn without_a_method_each_type_has_its_own() {
    let network = Serve::new("http://127.0.0.1:1").edges(1).start();
    let mut sdk = Sdk::start(&network);
    for (kind, target, method) in [
        ("purge_url", "http://www.example.com/a", "delete"),
        ("purge_prefix", "http://www.example.com/a/", "invalidate"),
        ("purge_host", "www.example.com", "invalidate"),
        ("purge_cache_tag", "news", "invalidate"),
        ("purge_all", "", "invalidate"),
    ] {
        let targets: Vec<_> = Some(target).into_iter().filter(|target| !target.is_empty()).collect();
        let purge = json!({"ZoneId": network.zone_id, "Type": kind, "Targets": targets});
        let created = sdk.accepted("CreatePurgeTask", purge);
        let tasks = sdk.wait(&network.zone_id, created["JobId"].as_str().unwrap());
        assert_eq!(tasks[0]["Method"], method, "{kind}: {tasks:?}");
    }
}
