//! The API as the official clients see it: configuration, quotas, lists, errors, and each way of signing.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::parts::process::PATIENCE;
use crate::parts::tccli::Tccli;
use crate::parts::{Everfresh, Nginx, Sdk, Serve, http, until};

/// How many calls are made at most until one must have been one too many in its second.
const CALLS_MAX: usize = 400;

fn network() -> Everfresh {
    Serve::new("http://127.0.0.1:1").start()
}

#[test]
fn every_signature_and_http_method_of_the_sdk_is_understood() {
    let network = network();
    let mut sdk = Sdk::start(&network);
    for sign_method in ["TC3-HMAC-SHA256", "HmacSHA1", "HmacSHA256"] {
        for http_method in ["POST", "GET"] {
            sdk.set("sign_method", sign_method);
            sdk.set("http_method", http_method);
            let what = format!("{sign_method} {http_method}");
            let target = format!("http://www.example.com/图片/{sign_method} {http_method}+*~/?q=1&r=%2F");
            let purge = json!({"ZoneId": network.zone_id, "Type": "purge_url", "Targets": [target, "http://www.example.com/"],
                "EncodeUrl": true});
            let created = sdk.accepted("CreatePurgeTask", purge);
            let tasks = sdk.wait(&network.zone_id, created["JobId"].as_str().unwrap());
            let targets: BTreeSet<_> = tasks.iter().map(|task| task["Target"].as_str().unwrap()).collect();
            assert_eq!(targets, BTreeSet::from([target.as_str(), "http://www.example.com/"]), "{what}");
            assert!(tasks.iter().all(|task| task["Status"] == "success"), "{what}: {tasks:?}");

            sdk.set("secret_key", "another-key");
            let refused = sdk.refused("DescribeZones", json!({"Limit": 10}));
            assert_eq!(refused.code, "AuthFailure.SignatureFailure", "{what}");
            sdk.set("secret_key", network.secret_key.as_str());
        }
    }
}

/// A call that is refused: its action and parameters, the code, and a part of the message.
type Refusal<'r> = (&'r str, Value, &'r str, &'r str);

fn check_refusals(sdk: &mut Sdk, refusals: &[Refusal<'_>]) {
    for (action, parameters, code, says) in refusals {
        let refused = sdk.refused(action, parameters.clone());
        assert_eq!(refused.code, *code, "{action} {parameters}: {refused:?}");
        assert!(refused.message.contains(says), "{action} {parameters}: {refused:?}");
        assert_eq!(refused.request_id.len(), 36, "{refused:?}");
    }
}

#[test]
fn refused_purges_surface_with_their_code_in_the_sdk() {
    let network = network();
    let zone_id = network.zone_id.as_str();
    let many_tags: Vec<_> = (0..101).map(|number| format!("tag-{number}")).collect();
    let long = format!("http://www.example.com/{}", "a".repeat(4096));
    let refusals = [
        ("purge_url", json!(["www.example.com/a"]), "InvalidParameter.Target", "www.example.com/a"),
        ("purge_url", json!(["http://www.example.com/a#b"]), "InvalidParameter.Target", "#"),
        ("purge_prefix", json!(["http://www.example.com/a/?b"]), "InvalidParameter.Target", "query"),
        ("purge_host", json!(["*.example.com"]), "InvalidParameter.Target", "*.example.com"),
        ("purge_url", json!([]), "InvalidParameter.Target", "purge_url"),
        ("purge_url", json!([long]), "InvalidParameter.LengthExceedsLimit", "4096"),
        ("purge_url", json!(["http://www.elsewhere.test/a"]), "InvalidParameter.DomainNotFound", "elsewhere"),
        ("purge_cache_tag", json!(many_tags), "LimitExceeded.BatchQuota", "100"),
        ("purge_some", json!([]), "InvalidParameter", "purge_all"),
    ];
    let call = |(kind, targets, code, says)| {
        ("CreatePurgeTask", json!({"ZoneId": zone_id, "Type": kind, "Targets": targets}), code, says)
    };
    check_refusals(&mut Sdk::start(&network), &refusals.map(call));
}

#[test]
fn other_refusals_surface_with_their_code_in_the_sdk() {
    let network = network();
    let mut sdk = Sdk::start(&network);
    let (zone_id, unknown) = (network.zone_id.as_str(), "zone-000000000000");
    let no_zone = "InvalidParameter.ZoneNotFound";
    let (start, end) = ("2026-01-01T00:00:00Z", "2026-01-09T00:00:00+08:00");
    let far = json!({"ZoneId": zone_id, "StartTime": start, "EndTime": end});
    let colour = json!({"Filters": [{"Name": "colour", "Values": ["red"]}]});
    check_refusals(
        &mut sdk,
        &[
            ("CreatePurgeTask", json!({"ZoneId": unknown, "Type": "purge_all"}), no_zone, unknown),
            ("CreatePurgeTask", json!({"Type": "purge_all"}), "MissingParameter", "ZoneId"),
            ("DescribePurgeTasks", json!({"ZoneId": zone_id}), "InvalidParameter.ParameterError", "job-id"),
            ("DescribePurgeTasks", far, "InvalidParameter.ParameterError", "7 days"),
            ("DescribePurgeTasks", colour, "InvalidParameter.InvalidFilterName", "colour"),
            ("DescribeZones", json!({"Limit": 101}), "InvalidParameter", "100"),
            ("DescribeContentQuota", json!({"ZoneId": unknown}), no_zone, unknown),
            ("DescribeSecurityPolicy", json!({"ZoneId": zone_id}), "InvalidAction", "DescribeSecurityPolicy"),
        ],
    );
    sdk.set("version", "v20220106");
    assert_eq!(sdk.refused("DescribeZones", json!({})).code, "NoSuchVersion");
    sdk.set("version", "v20220901");
    sdk.set("secret_id", "AKIDnobody");
    assert_eq!(sdk.refused("DescribeZones", json!({})).code, "AuthFailure.SecretIdNotFound");
}

#[test]
fn too_many_calls_in_a_second_are_refused_each_action_for_itself() {
    let network = network();
    let mut sdk = Sdk::start(&network);
    let refused = (0..CALLS_MAX).find_map(|_| sdk.call("DescribeZones", json!({})).err());
    assert_eq!(refused.expect("a call too many").code, "RequestLimitExceeded");
    sdk.accepted("DescribeContentQuota", json!({"ZoneId": network.zone_id}));
}

#[test]
fn tccli_prints_refusals_and_ends_with_its_exit_code() {
    let network = network();
    let tccli = Tccli::new(&network);
    let ran = tccli.run(&[
        "CreatePurgeTask",
        "--ZoneId",
        &network.zone_id,
        "--Type",
        "purge_host",
        "--Targets",
        "[\"www.elsewhere.test\"]",
    ]);
    assert_eq!(ran.code, Some(255), "{ran:?}");
    let shown = format!("{}{}", ran.out, ran.err);
    assert!(
        shown.contains("[TencentCloudSDKException] code:InvalidParameter.DomainNotFound message:"),
        "{shown}"
    );
    assert!(shown.contains("requestId:"), "{shown}");
}

#[test]
fn targets_of_foreign_hosts_are_listed_and_cost_nothing() {
    let network = network();
    let mut sdk = Sdk::start(&network);
    let foreign = json!(["http://www.elsewhere.test/b", "http://example.com.elsewhere.test/c"]);
    let created = sdk.accepted(
        "CreatePurgeTask",
        json!({"ZoneId": network.zone_id, "Type": "purge_url",
            "Targets": ["http://www.example.com/a", foreign[0], foreign[1], "http://WWW.example.com:80/a"]}),
    );
    assert_eq!(created["FailedList"].as_array().unwrap().len(), 1, "{created}");
    assert_eq!(created["FailedList"][0]["Targets"], foreign, "{created}");
    let tasks = sdk.wait(&network.zone_id, created["JobId"].as_str().unwrap());
    assert_eq!(tasks.len(), 1, "the same URL twice is one task: {tasks:?}");
    assert_eq!(left_of(&mut sdk, &network, "purge_url"), (100_000, 99_999));
}

/// Of a type's quota: how much a day, and how much is left of it.
fn left_of(sdk: &mut Sdk, network: &Everfresh, kind: &str) -> (i64, i64) {
    let quotas = sdk.accepted("DescribeContentQuota", json!({"ZoneId": network.zone_id}));
    let quotas = quotas["PurgeQuota"].as_array().unwrap();
    let quota = quotas.iter().find(|quota| quota["Type"] == kind).unwrap();
    (quota["Daily"].as_i64().unwrap(), quota["DailyAvailable"].as_i64().unwrap())
}

#[test]
fn quotas_are_told_spent_and_enforced() {
    let network = network();
    let mut sdk = Sdk::start(&network);
    let zone_id = network.zone_id.as_str();
    let quotas = sdk.accepted("DescribeContentQuota", json!({"ZoneId": zone_id}));
    let told: Vec<_> = quotas["PurgeQuota"]
        .as_array()
        .unwrap()
        .iter()
        .map(|quota| (quota["Type"].as_str().unwrap(), quota["Batch"].as_i64().unwrap()))
        .collect();
    for expected in [
        ("purge_url", 5000),
        ("purge_prefix", 1000),
        ("purge_host", 1000),
        ("purge_all", 1),
        ("purge_cache_tag", 100),
    ] {
        assert!(told.contains(&expected), "{quotas}");
    }
    assert_eq!(quotas["PrefetchQuota"][0]["Type"], "prefetch_url", "{quotas}");

    network.done(&["zone", "quota", "example.com", "--type", "purge_host", "--daily", "3"]);
    let purge = |hosts: &[&str]| json!({"ZoneId": zone_id, "Type": "purge_host", "Targets": hosts});
    sdk.accepted("CreatePurgeTask", purge(&["www.example.com", "a.example.com"]));
    let refused = sdk.refused("CreatePurgeTask", purge(&["www.example.com", "a.example.com"]));
    assert_eq!(refused.code, "LimitExceeded.DailyQuota", "{refused:?}");
    assert_eq!(left_of(&mut sdk, &network, "purge_host"), (3, 1), "a refused call consumes nothing");
    sdk.accepted("CreatePurgeTask", purge(&["www.example.com"]));
    assert_eq!(left_of(&mut sdk, &network, "purge_host"), (3, 0));
}

#[test]
fn tasks_are_listed_by_filter_and_page() {
    let network = network();
    let (mut sdk, tccli) = (Sdk::start(&network), Tccli::new(&network));
    let zone_id = network.zone_id.as_str();
    let mut last = Value::Null;
    for (kind, targets) in [
        (
            "purge_url",
            json!(["http://www.example.com/a", "http://www.example.com/b", "http://m.example.com/a"]),
        ),
        ("purge_cache_tag", json!(["news"])),
        ("purge_all", json!([])),
    ] {
        let parameters = json!({"ZoneId": zone_id, "Type": kind, "Targets": targets});
        last = sdk.accepted("CreatePurgeTask", parameters);
        sdk.wait(zone_id, last["JobId"].as_str().unwrap());
    }
    let last = sdk.wait(zone_id, last["JobId"].as_str().unwrap())[0].clone();
    // The last task's own time is within any range that ends with it; the others are at most seconds older.
    let end = last["UpdateTime"].as_str().unwrap();
    let start = format!("{}T00:00:00+14:00", &end[..10]);
    let range =
        |filters: Value| json!({"ZoneId": zone_id, "StartTime": start, "EndTime": end, "Filters": filters});
    for (filters, expected) in [
        (json!([]), 5),
        (json!([{"Name": "type", "Values": ["purge_url"]}]), 3),
        (json!([{"Name": "target", "Values": ["http://www.example.com/a"]}]), 1),
        (json!([{"Name": "target", "Values": ["example.com/"], "Fuzzy": true}]), 3),
        (json!([{"Name": "domains", "Values": ["m.example.com", "example.com"]}]), 2),
        (json!([{"Name": "statuses", "Values": ["success", "failed"]}]), 5),
        (json!([{"Name": "statuses", "Values": ["processing"]}]), 0),
        (
            json!([{"Name": "type", "Values": ["purge_url"]}, {"Name": "domains", "Values": ["m.example.com"]}]),
            1,
        ),
    ] {
        let answer = sdk.accepted("DescribePurgeTasks", range(filters.clone()));
        assert_eq!(answer["TotalCount"], expected, "{filters}: {answer}");
        assert_eq!(answer["Tasks"].as_array().unwrap().len(), expected, "{filters}");
    }
    let page = tccli.accepted(&[
        "DescribePurgeTasks",
        "--ZoneId",
        zone_id,
        "--StartTime",
        &start,
        "--EndTime",
        end,
        "--Limit",
        "2",
        "--Offset",
        "4",
    ]);
    assert_eq!(page["TotalCount"], 5, "{page}");
    assert_eq!(page["Tasks"].as_array().unwrap().len(), 1, "{page}");
}

#[test]
fn zones_and_domains_are_made_changed_switched_and_deleted_by_the_sdk() {
    let nginx = Nginx::start();
    nginx.write("/a", "content\n");
    let network = Serve::new(&nginx.url()).start();
    let mut sdk = Sdk::start(&network);
    let created =
        sdk.accepted("CreateZone", json!({"ZoneName": "Shop.Test", "Type": "partial", "Area": "global"}));
    let zone = created["ZoneId"].as_str().unwrap().to_owned();
    assert_eq!(sdk.refused("CreateZone", json!({"ZoneName": "shop.test"})).code, "ResourceInUse.Cname");
    let by_name = json!({"Filters": [{"Name": "zone-name", "Values": ["shop.test"]}]});
    let found = sdk.accepted("DescribeZones", by_name);
    assert_eq!((found["TotalCount"].clone(), found["Zones"][0]["ZoneId"].clone()), (json!(1), json!(zone)));
    assert_eq!(sdk.accepted("DescribeZones", json!({}))["TotalCount"], 2);
    sdk.accepted("ModifyZone", json!({"ZoneId": zone, "AliasZoneName": "the-shop"}));

    let (host, port) = ("www.shop.test", nginx.address.port());
    let origin = json!({"OriginType": "IP_DOMAIN", "Origin": "127.0.0.1"});
    let domain = json!({"ZoneId": zone, "DomainName": host, "OriginInfo": origin, "OriginProtocol": "HTTP", "HttpOriginPort": port});
    assert_eq!(edge_status(&network, host), 404);
    sdk.accepted("CreateAccelerationDomain", domain.clone());
    comes_to(&network, host, 200);
    assert_eq!(
        sdk.refused("CreateAccelerationDomain", domain).code,
        "ResourceInUse.AlreadyExistsAsAnAccelerationDomain"
    );
    let foreign = json!({"ZoneId": zone, "DomainName": "www.other.test", "OriginInfo": origin});
    assert_eq!(
        sdk.refused("CreateAccelerationDomain", foreign).code,
        "InvalidParameterValue.DomainNotMatchZone"
    );
    let listed = sdk.accepted("DescribeAccelerationDomains", json!({"ZoneId": zone}));
    assert_eq!(
        (listed["TotalCount"].clone(), listed["AccelerationDomains"][0]["DomainStatus"].clone()),
        (json!(1), json!("online"))
    );

    sdk.accepted("ModifyZoneStatus", json!({"ZoneId": zone, "Paused": true}));
    comes_to(&network, host, 503);
    sdk.accepted("ModifyZoneStatus", json!({"ZoneId": zone, "Paused": false}));
    comes_to(&network, host, 200);
    // Nobody listens at the new port. What is cached stays: whose content it is has not changed.
    let port_of = |port: u16| json!({"ZoneId": zone, "DomainName": host, "HttpOriginPort": port});
    sdk.accepted("ModifyAccelerationDomain", port_of(1));
    let mut number = 0;
    until(PATIENCE, "the edge should ask the new origin", || {
        number += 1;
        let status = http::get(network.edges[0], host, &format!("/a?not-cached-{number}")).status;
        (status == 502).then_some(())
    });
    assert_eq!(edge_status(&network, host), 200);
    sdk.accepted("ModifyAccelerationDomain", port_of(port));
    let refused = sdk.refused("DeleteZone", json!({"ZoneId": zone}));
    assert_eq!(refused.code, "OperationDenied.DeleteZonePreCheckFailed");
    let switch = json!({"ZoneId": zone, "DomainNames": [host], "Status": "offline"});
    sdk.accepted("ModifyAccelerationDomainStatuses", switch);
    comes_to(&network, host, 503);
    let unknown = json!({"ZoneId": zone, "DomainNames": [host, "m.shop.test"]});
    assert_eq!(sdk.refused("DeleteAccelerationDomains", unknown).code, "ResourceUnavailable.DomainNotFound");
    sdk.accepted("DeleteAccelerationDomains", json!({"ZoneId": zone, "DomainNames": [host]}));
    comes_to(&network, host, 404);
    sdk.accepted("DeleteZone", json!({"ZoneId": zone}));
    assert_eq!(sdk.accepted("DescribeZones", json!({}))["TotalCount"], 1);
}

fn edge_status(network: &Everfresh, host: &str) -> u16 {
    http::get(network.edges[0], host, "/a").status
}

/// Waits until every edge answers with a status, as configuration takes a moment to reach them.
fn comes_to(network: &Everfresh, host: &str, status: u16) {
    for edge in &network.edges {
        until(PATIENCE, &format!("{host} should come to answer {status}"), || {
            (http::get(*edge, host, "/a").status == status).then_some(())
        });
    }
}
