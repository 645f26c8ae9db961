//! Prefetches by the official SDK: fetched on every edge before anybody asks, with the failures told for each URL.

use crate::parts::process::PATIENCE;
use crate::parts::{Nginx, Sdk, Serve, until};
use serde_json::{Value, json};

#[test]
fn what_the_sdk_prefetched_is_a_hit_on_every_edge() {
    let nginx = Nginx::start();
    nginx.write("/a.txt", "one");
    let network = Serve::new(&nginx.url()).edges(2).start();
    let mut sdk = Sdk::start(&network);
    let target = |path: &str| format!("http://www.example.com{path}");
    let parameters = json!({"ZoneId": network.zone_id, "Mode": "edge", "Targets": [target("/a.txt"), target("/none.txt")],
        "Headers": [{"Name": "X-Reason", "Value": "warm"}]});
    let created = sdk.accepted("CreatePrefetchTask", parameters);
    let filters = json!([{"Name": "job-id", "Values": [created["JobId"]]}]);
    let tasks: Vec<Value> = until(PATIENCE, "the prefetch should end", || {
        let query = json!({"ZoneId": network.zone_id, "Filters": filters});
        let answer = match sdk.call("DescribePrefetchTasks", query) {
            Ok(answer) => answer,
            Err(refused) if refused.code == "RequestLimitExceeded" => return None,
            Err(refused) => panic!("{refused:?}"),
        };
        let tasks = answer["Tasks"].as_array().unwrap().clone();
        tasks.iter().all(|task| task["Status"] != "processing").then_some(tasks)
    });
    assert_eq!((tasks.len(), &tasks[0]["Status"]), (2, &json!("success")), "{tasks:?}");
    assert_eq!((&tasks[1]["Status"], &tasks[1]["FailType"]), (&json!("failed"), &json!("originPullFailed")));
    let why = tasks[1]["FailMessage"].as_str().unwrap();
    assert_eq!(why, "edge-1: the answer was 404 Not Found; edge-2: the answer was 404 Not Found");
    let asked = nginx.asked();
    assert_eq!(asked.len(), 4, "each URL by each edge: {asked:?}");
    for answer in network.get_everywhere("/a.txt") {
        assert_eq!((answer.text(), answer.eo()), ("one".to_owned(), "HIT".to_owned()));
    }
    assert!(nginx.asked().is_empty(), "each edge had it already");
}
