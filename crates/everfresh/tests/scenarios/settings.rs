//! Cache settings and rules by the official SDK, in a network with two edges.

use serde_json::{Value, json};

use crate::parts::process::PATIENCE;
use crate::parts::{Everfresh, Nginx, Sdk, Serve, until};

const ORIGIN: &str = "/a.txt";

/// Asks both edges until each answers as it should.
#[track_caller]
fn until_everywhere(network: &Everfresh, path: &str, what: &str, is_so: impl Fn(&str, &str) -> bool) {
    until(PATIENCE, what, || {
        let answers = network.get_everywhere(path);
        answers.iter().all(|answer| is_so(&answer.text(), &answer.eo())).then_some(())
    });
}

#[test]
fn settings_of_the_sdk_reach_every_edge_and_purges_match_the_keys_in_force() {
    let nginx = Nginx::start();
    nginx.write(ORIGIN, "one");
    let network = Serve::new(&nginx.url()).edges(2).start();
    let mut sdk = Sdk::start(&network);
    let zone_id = network.zone_id.clone();
    let config = json!({
        "CacheKey": {"FullURLCache": "off", "IgnoreCase": "off",
            "QueryString": {"Switch": "on", "Action": "includeCustom", "Values": ["v"]}},
        "Cache": {"CustomTime": {"Switch": "on", "CacheTime": 3600}},
        "MaxAge": {"FollowOrigin": "off", "CacheTime": 7},
        "OfflineCache": {"Switch": "on"},
    });
    sdk.accepted("ModifyL7AccSetting", json!({"ZoneId": zone_id, "ZoneConfig": config}));
    let told = sdk.accepted("DescribeL7AccSetting", json!({"ZoneId": zone_id}));
    let told = &told["ZoneSetting"]["ZoneConfig"];
    assert_eq!(told["CacheKey"], config["CacheKey"]);
    assert_eq!((&told["MaxAge"], &told["OfflineCache"]), (&config["MaxAge"], &config["OfflineCache"]));
    assert_eq!(told["Cache"]["CustomTime"]["CacheTime"], 3600);

    // Under the new keys what is asked for with another parameter is a hit.
    until(PATIENCE, "the new keys should be in force", || {
        let _ = network.get_everywhere("/a.txt?v=1&first");
        let hits = network.get_everywhere("/a.txt?second&v=1");
        hits.iter().all(|answer| answer.eo() == "HIT").then_some(())
    });
    for answer in network.get_everywhere("/a.txt?v=1") {
        assert_eq!((answer.text(), answer.eo()), ("one".to_owned(), "HIT".to_owned()));
        assert_eq!(answer.field("cache-control"), "max-age=7");
    }
    nginx.write(ORIGIN, "two");
    let purge = json!({"ZoneId": zone_id, "Type": "purge_url",
        "Targets": ["https://www.example.com/a.txt?utm=x&v=1"]});
    let created = sdk.accepted("CreatePurgeTask", purge);
    let tasks = sdk.wait(&zone_id, created["JobId"].as_str().unwrap());
    assert!(tasks.iter().all(|task| task["Status"] == "success"), "{tasks:?}");
    for answer in network.get_everywhere("/a.txt?v=1") {
        assert_eq!(answer.text(), "two", "the purge matched what is asked for with other parameters");
    }
}

#[test]
fn rules_of_the_sdk_count_for_their_urls_and_go_when_they_are_deleted() {
    let nginx = Nginx::start();
    nginx.write(ORIGIN, "one");
    let network = Serve::new(&nginx.url()).edges(2).start();
    let mut sdk = Sdk::start(&network);
    let zone_id = network.zone_id.clone();
    let no_cache = json!({"Name": "Cache", "CacheParameters": {"NoCache": {"Switch": "on"}}});
    let rule = json!({"RuleName": "texts", "Status": "enable", "Branches": [{
        "Condition": "${http.request.host} in ['www.example.com'] and ${http.request.file_extension} in ['txt']",
        "Actions": [no_cache]}]});
    let made = sdk.accepted("CreateL7AccRules", json!({"ZoneId": zone_id, "Rules": [rule]}));
    let told = sdk.accepted("DescribeL7AccRules", json!({"ZoneId": zone_id}));
    assert_eq!((&told["TotalCount"], &told["Rules"][0]["RuleId"]), (&json!(1), &made["RuleIds"][0]));
    let parts = |rule: &Value| (rule["RuleName"].clone(), rule["Branches"][0]["Condition"].clone());
    assert_eq!(parts(&told["Rules"][0]), parts(&rule));
    until(PATIENCE, "the rule should count", || {
        let _ = network.get_everywhere(ORIGIN);
        let again = network.get_everywhere(ORIGIN);
        again.iter().all(|answer| answer.field("cache-status").contains("fwd=bypass")).then_some(())
    });
    nginx.write(ORIGIN, "two");
    until_everywhere(&network, ORIGIN, "nothing is cached", |text, eo| (text, eo) == ("two", "MISS"));
    sdk.accepted("DeleteL7AccRules", json!({"ZoneId": zone_id, "RuleIds": made["RuleIds"]}));
    until_everywhere(&network, ORIGIN, "it should be cached again", |text, eo| (text, eo) == ("two", "HIT"));

    let unsupported = json!({"ZoneId": zone_id, "Rules": [{"Branches": [{
        "Condition": "${http.request.ip} in ['1.2.3.4']", "Actions": [no_cache]}]}]});
    let refused = sdk.refused("CreateL7AccRules", unsupported);
    assert_eq!(refused.code, "InvalidParameter");
    assert!(refused.message.contains("http.request.uri.path"), "{refused:?}");
}
