//! The API over real sockets: what each call answers, and what every call is refused for.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod world;

use control::api::ApiOptions;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::QuotaKind;
use teo::{Action, Answer, SecretKey, Signer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use world::{NOW_SECS, World, http_request, named};

fn unlimited() -> ApiOptions {
    ApiOptions { calls_per_sec: 0, ..ApiOptions::default() }
}

fn refusal_code(answer: &Answer) -> &str {
    match answer {
        Answer::Failure { code, message, request_id } => {
            assert!(!message.is_empty() && request_id.len() == 36);
            code
        }
        Answer::Success { .. } => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn whatever_comes_in_the_answer_has_its_form() {
    let world = World::start(unlimited()).await;
    let host = ("Host", world.address.to_string());
    let action = ("X-TC-Action", "DescribeZones".to_owned());
    let skip = ("Authorization", "SKIP".to_owned());
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (http_request("GET / HTTP/1.1", std::slice::from_ref(&host), b""), "MissingParameter"),
        (http_request("GET /nowhere HTTP/1.1", std::slice::from_ref(&host), b""), "InvalidRequest"),
        (http_request("PUT / HTTP/1.1", std::slice::from_ref(&host), b"{}"), "UnsupportedProtocol"),
        (http_request("DELETE /x HTTP/1.1", std::slice::from_ref(&host), b""), "UnsupportedProtocol"),
        (http_request("PUT /healthz HTTP/1.1", std::slice::from_ref(&host), b""), "UnsupportedProtocol"),
        (http_request("POST / HTTP/1.1", &[host.clone(), action.clone()], b"{}"), "MissingParameter"),
        (
            http_request("POST / HTTP/1.1", &[host.clone(), action, skip], b"{}"),
            "AuthFailure.InvalidAuthorization",
        ),
        (
            http_request(&format!("GET /?{} HTTP/1.1", "a".repeat(40_000)), std::slice::from_ref(&host), b""),
            "RequestSizeLimitExceeded",
        ),
        (
            http_request(
                "POST / HTTP/1.1",
                std::slice::from_ref(&host),
                &vec![b'x'; teo::POST_BODY_BYTES_MAX + 1],
            ),
            "RequestSizeLimitExceeded",
        ),
    ];
    for (request, expected) in cases {
        let line = String::from_utf8_lossy(&request[..40]).into_owned();
        let raw = world.exchange(&request).await;
        assert_eq!(refusal_code(&raw.answer()), expected, "{line}");
    }
    // Beyond what HTTP itself is read up to, the answer is HTTP's own.
    let headers: Vec<_> = (0..200).map(|_| ("X-Many", "x".to_owned())).collect();
    assert_eq!(world.exchange(&http_request("GET / HTTP/1.1", &headers, b"")).await.status, 431);
}

#[tokio::test]
async fn connect_is_not_told_that_its_tunnel_stands() {
    let world = World::start(unlimited()).await;
    let host = ("Host", "a.test:443".to_owned());
    let raw = world.exchange(&http_request("CONNECT a.test:443 HTTP/1.1", &[host], b"")).await;
    assert_eq!(raw.status, 405);
    assert_eq!(raw.header("content-type"), Some("application/json"));
    assert!(
        matches!(Answer::read(&raw.body), Ok(Answer::Failure { code, .. }) if code == "UnsupportedProtocol")
    );
}

#[tokio::test]
async fn a_panic_is_an_answer_too() {
    let clock: control::api::WallClock = Arc::new(|| panic!("the clock broke"));
    let clock_ms = Arc::new((NOW_SECS * 1000).into());
    let world = World::with_clock(unlimited(), clock_ms, clock, None).await;
    let answer = world.call("DescribeZones", json!({})).await;
    assert_eq!(refusal_code(&answer), "InternalError");
    let Answer::Failure { message, .. } = answer else { unreachable!() };
    assert!(!message.contains("clock"), "no internal detail: {message}");
}

#[tokio::test]
async fn every_action_refuses_a_bad_signature() {
    let world = World::start(unlimited()).await;
    let wrong = Signer { secret_key: SecretKey::new("wrong"), ..world.signer() };
    let unknown = Signer { secret_id: "AKIDnobody".into(), ..world.signer() };
    let mut count = 0;
    for action in Action::all() {
        for (signer, code) in
            [(&wrong, "AuthFailure.SignatureFailure"), (&unknown, "AuthFailure.SecretIdNotFound")]
        {
            let answer = world.call_with(signer, action.name(), b"{}").await;
            assert_eq!(refusal_code(&answer), code, "{}", action.name());
        }
        count += 1;
    }
    assert_eq!(count, Action::all().count());
    assert!(count >= 22, "{count}");
    // Once it is known who asks, an unknown action may be told from a known one.
    world.clock_ms.fetch_add(301_000, Ordering::Relaxed);
    let late = world.request(&world.signer(), "x", named("DescribeZones"), b"{}");
    world.clock_ms.fetch_sub(301_000, Ordering::Relaxed);
    assert_eq!(refusal_code(&world.exchange(&late).await.answer()), "AuthFailure.SignatureExpire");
}

#[tokio::test]
async fn hosts_are_signed_as_they_were_sent() {
    let world = World::start(unlimited()).await;
    let bare = world.address.to_string();
    for host in [bare.clone(), format!("http://{bare}"), format!("http://{bare}/"), "example.com".into()] {
        let request = world.request(&world.signer(), &host, named("DescribeZones"), b"{}");
        let answer = world.exchange(&request).await.answer();
        assert!(matches!(answer, Answer::Success { .. }), "{host}: {answer:?}");
    }
    // A client that drops the port from what it signs.
    let mut headers =
        teo::sign_request(&world.signer(), "127.0.0.1", named("DescribeZones"), b"{}", NOW_SECS);
    headers.iter_mut().filter(|(name, _)| *name == "Host").for_each(|(_, value)| *value = bare.clone());
    headers.push(("X-TC-TraceId", "trace-1".into()));
    let raw = world.exchange(&http_request("POST // HTTP/1.1", &headers, b"{}")).await;
    assert_eq!(refusal_code(&raw.answer()), "AuthFailure.SignatureFailure", "the path is signed too");
    let raw = world.exchange(&http_request("POST / HTTP/1.1", &headers, b"{}")).await;
    assert!(matches!(raw.answer(), Answer::Success { .. }));
    assert_eq!(raw.header("x-tc-traceid"), Some("trace-1"));
}

#[tokio::test]
async fn disabled_keys_are_refused() {
    let world = World::start(unlimited()).await;
    let made = world.call_ok("CreateKey", json!({ "Comment": "second" })).await;
    let id = made["SecretId"].as_str().unwrap();
    let second = Signer {
        secret_id: id.into(),
        secret_key: SecretKey::new(made["SecretKey"].as_str().unwrap()),
        token: None,
    };
    assert!(matches!(world.call_with(&second, "DescribeZones", b"").await, Answer::Success { .. }));
    world.call_ok("ModifyKeyStatus", json!({ "SecretId": id, "Status": "disabled" })).await;
    let answer = world.call_with(&second, "DescribeZones", b"").await;
    assert_eq!(refusal_code(&answer), "AuthFailure.InvalidSecretId");
    let keys = world.call_ok("DescribeKeys", json!({})).await;
    let statuses: Vec<_> = keys["Keys"].as_array().unwrap().iter().map(|key| &key["Status"]).collect();
    assert_eq!(statuses, ["enabled", "disabled"]);
    assert!(!Value::from(keys).to_string().contains("SecretKey"));
    let last = json!({ "SecretId": "AKIDtest" });
    assert_eq!(world.call_refused("DeleteKey", last).await.0, "ResourceInUse");
    world.call_ok("DeleteKey", json!({ "SecretId": id })).await;
    assert_eq!(world.call_refused("DeleteKey", json!({ "SecretId": id })).await.0, "ResourceNotFound");
}

/// One row per way to go wrong: operation, parameters (`ZONE` stands for the zone's id), code, and a part of the
/// message.
async fn check_refusals(world: &World, zone: &str, cases: &[(&str, Value, &str, &str)]) {
    for (action, parameters, code, part) in cases {
        let parameters = parameters.to_string().replace("\"ZONE\"", &format!("\"{zone}\""));
        let answer = world.call_with(&world.signer(), action, parameters.as_bytes()).await;
        let Answer::Failure { code: found, message, .. } = &answer else {
            panic!("{action} {parameters}: {answer:?}")
        };
        assert_eq!(found, code, "{action} {parameters}: {message}");
        assert!(message.contains(part), "{action} {parameters}: {message}");
    }
}

#[tokio::test]
async fn malformed_calls_are_told_what_is_wrong() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let purge = "CreatePurgeTask";
    let tasks = "DescribePurgeTasks";
    let long = format!("http://www.a.test/{}", "x".repeat(4096));
    let filter = |name: &str, values: &[&str]| json!([{ "Name": name, "Values": values }]);
    let many: Vec<String> = (0..21).map(|i| i.to_string()).collect();
    let targets: Vec<String> = (0..101).map(|i| format!("tag{i}")).collect();
    #[rustfmt::skip]
    let cases = [
        (purge, json!({ "Type": "purge_all" }), "MissingParameter", "ZoneId"),
        (purge, json!({ "ZoneId": "ZONE" }), "MissingParameter", "Type"),
        (purge, json!({ "ZoneId": "ZONE", "Type": "purge_everything" }), "InvalidParameter", "purge_all"),
        (purge, json!({ "ZoneId": "ZONE", "Type": "purge_all", "Method": "remove" }), "InvalidParameter", "invalidate"),
        (purge, json!({ "ZoneId": "ZONE", "Type": "purge_all", "Scope": 1 }), "UnknownParameter", "Scope"),
        (purge, json!({ "ZoneId": 5, "Type": "purge_all" }), "InvalidParameter", "ZoneId"),
        (purge, json!({ "ZoneId": "zone-000000000000", "Type": "purge_all" }), "InvalidParameter.ZoneNotFound", "DescribeZones"),
        (purge, json!({ "ZoneId": "a.test", "Type": "purge_all" }), "InvalidParameter.ZoneNotFound", "a.test"),
        (purge, json!({ "ZoneId": "ZONE", "Type": "purge_url" }), "InvalidParameter.Target", "at least one"),
        (purge, json!({ "ZoneId": "ZONE", "Type": "purge_url", "Targets": ["www.a.test/x"] }), "InvalidParameter.Target", "www.a.test/x"),
        (purge, json!({ "ZoneId": "ZONE", "Type": "purge_url", "Targets": ["http://www.a.test/#x"] }), "InvalidParameter.Target", "#"),
        (purge, json!({ "ZoneId": "ZONE", "Type": "purge_url", "Targets": [long] }), "InvalidParameter.LengthExceedsLimit", "4096"),
        (purge, json!({ "ZoneId": "ZONE", "Type": "purge_prefix", "Targets": ["http://www.a.test/?a"] }), "InvalidParameter.Target", "query"),
        (purge, json!({ "ZoneId": "ZONE", "Type": "purge_host", "Targets": ["*.a.test"] }), "InvalidParameter.Target", "wildcard"),
        (purge, json!({ "ZoneId": "ZONE", "Type": "purge_host", "Targets": ["http://www.a.test"] }), "InvalidParameter.Target", "scheme"),
        (purge, json!({ "ZoneId": "ZONE", "Type": "purge_host", "Targets": ["www.b.test"] }), "InvalidParameter.DomainNotFound", "www.b.test"),
        (purge, json!({ "ZoneId": "ZONE", "Type": "purge_cache_tag", "Targets": ["a b"] }), "InvalidParameter.Target", "128"),
        (purge, json!({ "ZoneId": "ZONE", "Type": "purge_cache_tag", "Targets": targets }), "LimitExceeded.BatchQuota", "100"),
        (purge, json!({ "ZoneId": "*", "Type": "purge_all" }), "InvalidParameter", "one zone"),
        (purge, json!({ "ZoneId": "*", "Type": "purge_cache_tag", "Targets": ["a"] }), "InvalidParameter", "CacheTag.Domains"),
        (tasks, json!({}), "InvalidParameter.ParameterError", "job-id"),
        (tasks, json!({ "StartTime": "2023-11-14T00:00:00Z" }), "InvalidParameter.ParameterError", "EndTime"),
        (tasks, json!({ "EndTime": "2023-11-14T00:00:00Z" }), "InvalidParameter.ParameterError", "StartTime"),
        (tasks, json!({ "StartTime": "2023-11-14T00:00:01Z", "EndTime": "2023-11-14T00:00:00Z" }), "InvalidParameter.ParameterError", "after"),
        (tasks, json!({ "StartTime": "2023-11-01T00:00:00Z", "EndTime": "2023-11-08T00:00:01Z" }), "InvalidParameter.ParameterError", "7 days"),
        (tasks, json!({ "StartTime": "yesterday", "EndTime": "today" }), "InvalidParameter", "ISO 8601"),
        (tasks, json!({ "Filters": filter("job", &["x"]) }), "InvalidParameter.InvalidFilterName", "job-id"),
        (tasks, json!({ "Filters": filter("job-id", &["x", "y"]) }), "InvalidParameter", "one value"),
        (tasks, json!({ "Filters": [{ "Name": "statuses", "Values": many }] }), "InvalidParameter.TooManyFilterValues", "20"),
        (tasks, json!({ "Filters": [{ "Name": "job-id", "Values": ["x"] }, { "Name": "statuses", "Values": ["done"] }] }), "InvalidParameterValue", "processing"),
        (tasks, json!({ "Limit": 1001 }), "InvalidParameter", "Limit"),
        (tasks, json!({ "Offset": -1 }), "InvalidParameter", "Offset"),
        (tasks, json!({ "ZoneId": "zone-000000000000", "Filters": filter("job-id", &["x"]) }), "InvalidParameter.ZoneNotFound", "zone-000000000000"),
        ("DescribeContentQuota", json!({ "ZoneId": "zone-000000000000" }), "InvalidParameter.ZoneNotFound", "zone-000000000000"),
        ("DescribeJobProgress", json!({ "JobId": "000000000000" }), "ResourceNotFound", "000000000000"),
        ("DescribeJobProgress", json!({ "JobId": "x", "WaitMilliseconds": 60001 }), "InvalidParameter", "WaitMilliseconds"),
        ("ModifyContentQuota", json!({ "ZoneId": "ZONE", "Type": "purge_url" }), "MissingParameter", "Batch"),
    ];
    check_refusals(&world, &zone, &cases).await;
    for (body, code) in
        [("[]", "InvalidParameter"), ("{", "InvalidParameter"), ("\u{fffd}", "InvalidParameter")]
    {
        let answer = world.call_with(&world.signer(), purge, body.as_bytes()).await;
        assert_eq!(refusal_code(&answer), code, "{body}");
    }
    assert_eq!(world.store.log_head().await.unwrap().head, purge::PurgeSeq::ZERO, "nothing was recorded");
}

#[tokio::test]
async fn malformed_configuration_is_told_what_is_wrong() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let domain = "CreateAccelerationDomain";
    let origin = || json!({ "OriginType": "IP_DOMAIN", "Origin": "127.0.0.1" });
    let filter = |name: &str, values: &[&str]| json!([{ "Name": name, "Values": values }]);
    #[rustfmt::skip]
    let cases = [
        ("CreateZone", json!({ "ZoneName": "a.test" }), "ResourceInUse.Cname", "a.test"),
        ("CreateZone", json!({ "ZoneName": "test" }), "InvalidParameterValue.ZoneNameInvalid", "label"),
        ("CreateZone", json!({ "ZoneName": "127.0.0.1" }), "InvalidParameterValue.ZoneNameInvalid", "address"),
        ("CreateZone", json!({ "ZoneName": "b.test", "Type": "full" }), "InvalidParameterValue", "partial"),
        ("CreateZone", json!({ "ZoneName": "b.test", "AliasZoneName": "a b" }), "InvalidParameterValue", "AliasZoneName"),
        ("DescribeZones", json!({ "Limit": 101 }), "InvalidParameter", "Limit"),
        ("DescribeZones", json!({ "Filters": filter("name", &["x"]) }), "InvalidParameter.InvalidFilterName", "zone-name"),
        ("ModifyZoneStatus", json!({ "ZoneId": "ZONE" }), "MissingParameter", "Paused"),
        ("ModifyZone", json!({ "ZoneId": "ZONE", "ZoneName": "b.test" }), "InvalidParameterValue.DomainNotMatchZone", "b.test"),
        ("ModifyZone", json!({ "ZoneId": "ZONE", "VanityNameServers": { "Switch": "on" } }), "InvalidParameterValue", "use off"),
        ("DeleteZone", json!({ "ZoneId": "ZONE" }), "OperationDenied.DeleteZonePreCheckFailed", "img.a.test"),
        (domain, json!({ "ZoneId": "ZONE", "DomainName": "www.b.test", "OriginInfo": origin() }), "InvalidParameterValue.DomainNotMatchZone", "a.test"),
        (domain, json!({ "ZoneId": "ZONE", "DomainName": "w w.a.test", "OriginInfo": origin() }), "InvalidParameterValue.InvalidDomainName", "w w"),
        (domain, json!({ "ZoneId": "ZONE", "DomainName": "www.a.test", "OriginInfo": origin() }), "ResourceInUse.AlreadyExistsAsAnAccelerationDomain", "www.a.test"),
        (domain, json!({ "ZoneId": "ZONE", "DomainName": "x.a.test" }), "MissingParameter", "OriginInfo"),
        (domain, json!({ "ZoneId": "ZONE", "DomainName": "x.a.test", "OriginInfo": { "OriginType": "COS", "Origin": "x" } }), "InvalidParameterValue", "IP_DOMAIN"),
        (domain, json!({ "ZoneId": "ZONE", "DomainName": "x.a.test", "OriginInfo": { "OriginType": "IP_DOMAIN", "Origin": "127.0.0.1:90" } }), "InvalidParameterValue", "HttpOriginPort"),
        (domain, json!({ "ZoneId": "ZONE", "DomainName": "x.a.test", "OriginInfo": { "OriginType": "IP_DOMAIN", "Origin": "http://x" } }), "InvalidParameterValue", "Origin"),
        (domain, json!({ "ZoneId": "ZONE", "DomainName": "x.a.test", "OriginInfo": { "OriginType": "IP_DOMAIN", "Origin": "256.0.0.1" } }), "InvalidParameterValue", "no IPv4 address"),
        (domain, json!({ "ZoneId": "ZONE", "DomainName": "x.a.test", "OriginInfo": { "OriginType": "IP_DOMAIN", "Origin": "127.0.0.1", "HostHeader": "http://x" } }), "InvalidParameterValue", "without scheme"),
        (domain, json!({ "ZoneId": "ZONE", "DomainName": "x.a.test", "OriginInfo": origin(), "HttpOriginPort": 0 }), "InvalidParameter", "HttpOriginPort"),
        (domain, json!({ "ZoneId": "ZONE", "DomainName": "x.a.test", "OriginInfo": origin(), "OriginProtocol": "HTTPS", "HttpsOriginPort": 0 }), "InvalidParameter", "HttpsOriginPort"),
        ("ModifyAccelerationDomain", json!({ "ZoneId": "ZONE", "DomainName": "x.a.test" }), "ResourceUnavailable.DomainNotFound", "x.a.test"),
        ("DeleteAccelerationDomains", json!({ "ZoneId": "ZONE", "DomainNames": ["www.a.test", "x.a.test"] }), "ResourceUnavailable.DomainNotFound", "x.a.test"),
        ("DeleteAccelerationDomains", json!({ "ZoneId": "ZONE", "DomainNames": [] }), "MissingParameter", "DomainNames"),
    ];
    check_refusals(&world, &zone, &cases).await;
}

#[tokio::test]
async fn each_type_of_purge_becomes_a_job_with_its_tasks() {
    let (world, zone) = World::with_zone(unlimited()).await;
    world.silence().await;
    let cases = [
        (
            json!({ "Type": "purge_url", "Method": "invalidate", "Targets": ["http://www.a.test/图", "https://www.a.test/%e5%9b%be"], "EncodeUrl": true }),
            "delete",
            vec!["http://www.a.test/图"],
        ),
        (
            json!({ "Type": "purge_prefix", "Targets": ["http://www.a.test/x/", "http://img.a.test/"] }),
            "invalidate",
            vec!["http://www.a.test/x/", "http://img.a.test/"],
        ),
        (
            json!({ "Type": "purge_host", "Method": "delete", "Targets": ["www.a.test", "other.a.test"] }),
            "delete",
            vec!["www.a.test", "other.a.test"],
        ),
        (json!({ "Type": "purge_all" }), "invalidate", vec!["a.test"]),
        (json!({ "Type": "purge_cache_tag", "Targets": ["news"] }), "invalidate", vec!["news"]),
        (
            json!({ "Type": "purge_cache_tag", "Method": "delete", "Targets": ["news"], "CacheTag": { "Domains": ["www.a.test", "img.a.test"] } }),
            "delete",
            vec!["news"],
        ),
    ];
    for (mut parameters, method, targets) in cases {
        parameters["ZoneId"] = zone.clone().into();
        let answer = world.call_ok("CreatePurgeTask", parameters.clone()).await;
        assert_eq!(answer["FailedList"], json!([]));
        let filters = json!([{ "Name": "job-id", "Values": [answer["JobId"]] }]);
        let found = world.call_ok("DescribePurgeTasks", json!({ "Filters": filters })).await;
        assert_eq!(found["TotalCount"], targets.len(), "{parameters}");
        for (task, target) in found["Tasks"].as_array().unwrap().iter().zip(&targets) {
            let expected = json!({
                "JobId": answer["JobId"], "Target": target, "Type": parameters["Type"], "Method": method,
                "Status": "processing",
                "CreateTime": "2023-11-14T22:13:20Z", "UpdateTime": "2023-11-14T22:13:20Z",
            });
            assert_eq!(task, &expected);
        }
    }
    assert_eq!(world.store.log_head().await.unwrap().head.number(), 9, "a tag on two hosts is two entries");
}

#[tokio::test]
async fn what_is_partly_foreign_is_partly_done_and_charged() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let targets = ["http://www.a.test/1", "http://www.b.test/2", "http://www.a.test/1"];
    let parameters = json!({ "ZoneId": zone, "Type": "purge_url", "Targets": targets });
    let answer = world.call_ok("CreatePurgeTask", parameters).await;
    assert_eq!(answer["FailedList"][0]["Targets"], json!(["http://www.b.test/2"]));
    assert!(answer["FailedList"][0]["Reason"].as_str().unwrap().starts_with("domain not valid"));
    let quota = world.call_ok("DescribeContentQuota", json!({ "ZoneId": zone })).await;
    let urls = quota["PurgeQuota"].as_array().unwrap().iter().find(|q| q["Type"] == "purge_url").unwrap();
    let expected = json!({ "Batch": 5000, "Daily": 100_000, "DailyAvailable": 99_999, "Type": "purge_url" });
    assert_eq!(urls, &expected);
    assert_eq!(quota["PurgeQuota"].as_array().unwrap().len(), 5);
    assert_eq!(quota["PrefetchQuota"][0]["Type"], "prefetch_url");
}

#[tokio::test]
async fn a_quota_is_spent_once_by_calls_that_come_together() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let change = json!({ "ZoneId": zone, "Type": "purge_host", "Batch": 2, "Daily": 7 });
    world.call_ok("ModifyContentQuota", change).await;
    let parameters = json!({ "ZoneId": zone, "Type": "purge_host", "Targets": ["www.a.test", "img.a.test"] });
    let calls = (0..8).map(|_| world.call("CreatePurgeTask", parameters.clone()));
    let answers = futures_util::future::join_all(calls).await;
    let (accepted, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| matches!(answer, Answer::Success { .. }));
    assert_eq!((accepted.len(), refused.len()), (3, 5));
    assert!(refused.iter().all(|answer| refusal_code(answer) == "LimitExceeded.DailyQuota"));
    let one = json!({ "ZoneId": zone, "Type": "purge_host", "Targets": ["www.a.test"] });
    world.call_ok("CreatePurgeTask", one.clone()).await;
    let (code, message) = world.call_refused("CreatePurgeTask", one.clone()).await;
    assert_eq!(code, "LimitExceeded.DailyQuota");
    assert!(message.contains("0 of 7 left"), "{message}");
    assert_eq!(world.store.log_head().await.unwrap().head.number(), 7, "refused calls leave no entry");
    // Midnight at UTC+8 is 16:00 UTC.
    world.clock_ms.fetch_add(18 * 3_600_000, Ordering::Relaxed);
    world.call_ok("CreatePurgeTask", one).await;
    let (id, now_ms) = (zone::ZoneId::parse(&zone).unwrap(), world.clock_ms.load(Ordering::Relaxed));
    let lines = world.store.content_quota(&id, now_ms);
    let lines = lines.await.unwrap().unwrap();
    let host = lines.iter().find(|line| line.kind == QuotaKind::Purge(purge::PurgeType::Host)).unwrap();
    assert_eq!((host.limits.batch, host.limits.daily, host.available), (2, 7, 6));
}

#[tokio::test]
async fn a_type_of_purge_that_is_switched_off_is_told_so() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let purge = json!({ "ZoneId": zone, "Type": "purge_host", "Targets": ["www.a.test"] });
    for (batch, daily) in [(0, 7), (2, 0), (0, 0)] {
        let off = json!({ "ZoneId": zone, "Type": "purge_host", "Batch": batch, "Daily": daily });
        world.call_ok("ModifyContentQuota", off).await;
        let (code, message) = world.call_refused("CreatePurgeTask", purge.clone()).await;
        assert_eq!(code, "LimitExceeded.PackNotAllow", "{batch} {daily}");
        assert!(message.contains("purge_host is switched off"), "{message}");
    }
}

#[tokio::test]
async fn targets_of_every_zone_are_sorted_into_their_zones() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let other = world.call_ok("CreateZone", json!({ "ZoneName": "b.test" })).await;
    let targets = ["www.a.test", "x.b.test", "x.c.test"];
    let parameters = json!({ "ZoneId": "*", "Type": "purge_host", "Targets": targets });
    let answer = world.call_ok("CreatePurgeTask", parameters).await;
    assert_eq!(answer["FailedList"][0]["Targets"], json!(["x.c.test"]));
    for (zone, target) in [(json!(zone), "www.a.test"), (other["ZoneId"].clone(), "x.b.test")] {
        let filters = json!([{ "Name": "job-id", "Values": [answer["JobId"]] }]);
        let found = world.call_ok("DescribePurgeTasks", json!({ "ZoneId": zone, "Filters": filters })).await;
        assert_eq!((&found["TotalCount"], &found["Tasks"][0]["Target"]), (&json!(1), &json!(target)));
    }
}

#[tokio::test]
async fn tasks_are_described_by_time_filter_and_page() {
    let (world, zone) = World::with_zone(unlimited()).await;
    for target in ["http://www.a.test/1", "http://img.a.test/2"] {
        let parameters = json!({ "ZoneId": zone, "Type": "purge_url", "Targets": [target] });
        world.call_ok("CreatePurgeTask", parameters).await;
        world.clock_ms.fetch_add(1000, Ordering::Relaxed);
    }
    let check = async |mut parameters: Value, total: u64, targets: &[&str]| {
        parameters["ZoneId"] = zone.clone().into();
        if parameters.get("StartTime").is_none() {
            parameters["StartTime"] = "2023-11-14T00:00:00Z".into();
            parameters["EndTime"] = "2023-11-15T00:00:00Z".into();
        }
        let found = world.call_ok("DescribePurgeTasks", parameters.clone()).await;
        let names: Vec<_> =
            found["Tasks"].as_array().unwrap().iter().map(|task| task["Target"].as_str().unwrap()).collect();
        assert_eq!(
            (found["TotalCount"].as_u64().unwrap(), names.as_slice()),
            (total, targets),
            "{parameters}"
        );
    };
    let (one, two) = ("http://www.a.test/1", "http://img.a.test/2");
    let filter =
        |name: &str, value: &str| json!({ "Filters": [{ "Name": name, "Values": [value], "Fuzzy": true }] });
    check(json!({}), 2, &[two, one]).await;
    check(json!({ "Limit": 1, "Offset": 1 }), 2, &[one]).await;
    check(json!({ "Limit": 0 }), 2, &[]).await;
    let at = |time: &str| json!({ "StartTime": time, "EndTime": time });
    check(at("2023-11-14T22:13:20Z"), 1, &[one]).await;
    check(at("2023-11-15T06:13:21+08:00"), 1, &[two]).await;
    check(filter("target", "img"), 1, &[two]).await;
    check(filter("domains", "www.a.test"), 1, &[one]).await;
    check(filter("domains", "no host!"), 0, &[]).await;
    check(filter("type", "purge_url"), 2, &[two, one]).await;
    check(filter("type", "purge_host"), 0, &[]).await;
    check(filter("job-id", "1379afjk91u32h"), 0, &[]).await;
    check(filter("statuses", "failed"), 0, &[]).await;
}

#[tokio::test]
async fn zones_and_domains_are_kept_listed_and_deleted() {
    let (world, zone) = World::with_zone(unlimited()).await;
    for i in 0..3 {
        let tags = json!([{ "TagKey": "team", "TagValue": i.to_string() }]);
        let parameters = json!({ "ZoneName": format!("z{i}.test"), "AliasZoneName": "al", "Tags": tags });
        world.call_ok("CreateZone", parameters).await;
    }
    let names = async |parameters: Value| {
        let found = world.call_ok("DescribeZones", parameters).await;
        let zones = found["Zones"].as_array().unwrap();
        let names: Vec<String> =
            zones.iter().map(|zone| zone["ZoneName"].as_str().unwrap().to_owned()).collect();
        (found["TotalCount"].as_u64().unwrap(), names.join(" "))
    };
    let by_name = |direction: &str| json!({ "Order": "zone-name", "Direction": direction });
    assert_eq!(names(by_name("asc")).await, (4, "a.test z0.test z1.test z2.test".into()));
    assert_eq!(names(by_name("desc")).await, (4, "z2.test z1.test z0.test a.test".into()));
    let tagged = json!({ "Filters": [{ "Name": "tag-value", "Values": ["1", "2"] }, { "Name": "zone-name", "Values": ["z"], "Fuzzy": true }], "Limit": 1, "Order": "zone-name" });
    assert_eq!(names(tagged).await, (2, "z2.test".into()));
    world.call_ok("ModifyZoneStatus", json!({ "ZoneId": zone, "Paused": true })).await;
    let own_servers_off = json!({ "Switch": "off" });
    let change = json!({ "ZoneId": zone, "AliasZoneName": "new", "Area": "global", "VanityNameServers": own_servers_off });
    world.call_ok("ModifyZone", change).await;
    let only = json!({ "Filters": [{ "Name": "zone-id", "Values": [zone] }] });
    let found = world.call_ok("DescribeZones", only.clone()).await;
    let kept = &found["Zones"][0];
    assert_eq!(
        (&kept["Paused"], &kept["ActiveStatus"], &kept["AliasZoneName"], &kept["Area"]),
        (&json!(true), &json!("paused"), &json!("new"), &json!("global"))
    );

    let change = json!({ "ZoneId": zone, "DomainName": "www.a.test", "OriginInfo": { "OriginType": "IP_DOMAIN", "Origin": "::1" }, "HttpOriginPort": 9000 });
    world.call_ok("ModifyAccelerationDomain", change).await;
    let list = json!({ "ZoneId": zone, "Filters": [{ "Name": "origin", "Values": ["::1"] }] });
    let found = world.call_ok("DescribeAccelerationDomains", list).await;
    assert_eq!(found["TotalCount"], 1);
    let part = json!([{ "Name": "domain-name", "Values": ["www"], "Fuzzy": true }]);
    let none = world.call_ok("DescribeAccelerationDomains", json!({ "ZoneId": zone, "Filters": part })).await;
    assert_eq!(none["TotalCount"], 0, "no filter of this operation heeds Fuzzy");
    let domain = &found["AccelerationDomains"][0];
    assert_eq!((&domain["DomainName"], &domain["HttpOriginPort"]), (&json!("www.a.test"), &json!(9000)));
    assert_eq!(domain["OriginDetail"]["HostHeader"], "www.a.test");
    let both = ["www.a.test", "img.a.test"];
    let offline = json!({ "ZoneId": zone, "DomainNames": both, "Status": "offline" });
    world.call_ok("ModifyAccelerationDomainStatuses", offline).await;
    world
        .call_ok("DeleteAccelerationDomains", json!({ "ZoneId": zone, "DomainNames": ["img.a.test"] }))
        .await;
    world.call_ok("DeleteZone", json!({ "ZoneId": zone })).await;
    assert_eq!(names(only).await, (0, String::new()));
    let entries = world.store.entries_after(purge::PurgeSeq::ZERO, 10).await.unwrap().entries;
    assert_eq!(entries.len(), 2, "the host's and the zone's content go too");
}

#[tokio::test]
async fn private_origins_are_refused_where_an_operator_says_so() {
    let world = World::start(ApiOptions { refuse_private_origins: true, ..unlimited() }).await;
    let zone = world.call_ok("CreateZone", json!({ "ZoneName": "a.test" })).await;
    for (origin, allowed) in [
        ("127.0.0.1", false),
        ("10.1.2.3", false),
        ("::1", false),
        ("[::ffff:192.168.0.1]", false),
        ("localhost", false),
        ("192.0.2.1", true),
        ("2001:db8::1", true),
        ("origin.example.com", true),
    ] {
        let info = json!({ "OriginType": "IP_DOMAIN", "Origin": origin });
        let parameters = json!({ "ZoneId": zone["ZoneId"], "DomainName": "www.a.test", "OriginInfo": info });
        match world.call("CreateAccelerationDomain", parameters).await {
            Answer::Failure { code, .. } if !allowed => {
                assert_eq!(code, "InvalidParameter.InvalidOriginIp", "{origin}");
            }
            Answer::Success { .. } if allowed => {
                let name = json!({ "ZoneId": zone["ZoneId"], "DomainNames": ["www.a.test"] });
                world.call_ok("DeleteAccelerationDomains", name).await;
            }
            other => panic!("{origin}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_key_that_calls_too_often_is_told_to_wait() {
    let world = World::start(ApiOptions { calls_per_sec: 2, ..ApiOptions::default() }).await;
    let calls = (0..20).map(|_| world.call("DescribeZones", json!({})));
    let answers = futures_util::future::join_all(calls).await;
    let refused: Vec<_> = answers.iter().filter(|answer| matches!(answer, Answer::Failure { .. })).collect();
    assert!(refused.len() > 10, "{}", refused.len());
    assert!(refused.iter().all(|answer| refusal_code(answer) == "RequestLimitExceeded"));
    // Another operation has a bucket of its own; a bad signature takes nothing from it.
    let wrong = Signer { secret_key: SecretKey::new("wrong"), ..world.signer() };
    for _ in 0..5 {
        let answer = world.call_with(&wrong, "DescribeKeys", b"{}").await;
        assert_eq!(refusal_code(&answer), "AuthFailure.SignatureFailure");
    }
    world.call_ok("DescribeKeys", json!({})).await;
}

#[tokio::test]
async fn waiting_for_a_job_ends_when_the_job_does() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let silent = world.silence().await;
    let job = world.call_ok("CreatePurgeTask", json!({ "ZoneId": zone, "Type": "purge_all" })).await;
    let ask = |wait: i64| json!({ "JobId": job["JobId"], "WaitMilliseconds": wait });
    let now = world.call_ok("DescribeJobProgress", ask(50)).await;
    assert_eq!(
        (&now["Status"], &now["FirstSeq"], &now["LastSeq"]),
        (&json!("processing"), &json!(1), &json!(1))
    );
    assert_eq!(
        (&now["Edges"][0]["EdgeName"], &now["Edges"][0]["State"]),
        (&json!("silent"), &json!("pending"))
    );
    let edges = world.call_ok("DescribeEdges", json!({})).await;
    assert_eq!(
        (&edges["Edges"][0]["AppliedSeq"], &edges["Edges"][0]["JoinTime"]),
        (&json!(0), &json!("2023-11-14T22:13:20Z"))
    );
    let (answer, ()) = tokio::join!(world.call_ok("DescribeJobProgress", ask(60_000)), async {
        world.store.remove_member(&[silent]).await.unwrap();
        world.network.wake();
    });
    assert_eq!((&answer["Status"], &answer["Edges"]), (&json!("success"), &json!([])));
    let tasks = json!({ "Filters": [{ "Name": "job-id", "Values": [job["JobId"]] }] });
    let tasks = world.call_ok("DescribePurgeTasks", tasks).await;
    assert_eq!(tasks["Tasks"][0]["Status"], "success");
}

#[tokio::test]
async fn health_is_told_in_the_status() {
    let world = World::start(unlimited()).await;
    let request = http_request("GET /healthz HTTP/1.1", &[("Host", "x".into())], b"");
    let raw = world.exchange(&request).await;
    assert_eq!((raw.status, raw.body.as_slice()), (503, &b"the edge does not listen yet\n"[..]));
}

/// A world that speaks TLS, and a client that trusts it and offers these protocols.
async fn over_tls(protocols: &[&str]) -> (World, tokio_rustls::client::TlsStream<TcpStream>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = control::tls::load(&cert, &key).unwrap();
    let now_ms: control::api::WallClock = Arc::new(|| NOW_SECS * 1000);
    let clock_ms = Arc::new((NOW_SECS * 1000).into());
    let world = World::with_clock(unlimited(), clock_ms, now_ms, Some(tls)).await;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = TcpStream::connect(world.address).await.unwrap();
    let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    (world, stream)
}

#[tokio::test]
async fn the_api_speaks_tls() {
    let (world, stream) = over_tls(&[]).await;
    let request = world.request(&world.signer(), "localhost", named("DescribeZones"), b"{}");
    let raw = world::exchange(stream, &request).await;
    assert!(matches!(raw.answer(), Answer::Success { .. }));
}

#[tokio::test]
async fn over_http2_the_authority_is_the_signed_host() {
    use http_body_util::{BodyExt, Full};
    let (world, stream) = over_tls(&["h2"]).await;
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::post("https://localhost:8443/");
    let action = named("DescribeZones");
    for (name, value) in teo::sign_request(&world.signer(), "localhost:8443", action, b"{}", NOW_SECS) {
        if name != "Host" {
            request = request.header(name, value);
        }
    }
    let request = request.body(Full::new(bytes::Bytes::from_static(b"{}"))).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(
        (answer.status(), answer.headers()["content-type"].to_str().unwrap()),
        (http::StatusCode::OK, "application/json")
    );
    let frame = answer.into_body().frame().await.unwrap().unwrap();
    let body = frame.into_data().unwrap();
    assert!(matches!(Answer::read(&body).unwrap(), Answer::Success { .. }));
}

/// From the pause on, time only passes where everybody waits: so the half-sent body is waited for as long as allowed.
#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_long() {
    let world = World::start(unlimited()).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    tokio::time::pause();
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{")
        .await
        .unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(600), stream.read_to_string(&mut answer));
    read.await.unwrap().unwrap();
    assert!(answer.contains("InvalidRequest") && answer.contains("30 seconds"), "{answer}");
}

#[tokio::test]
async fn a_prefetch_becomes_tasks_with_its_own_quota_and_malformed_ones_are_told() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let targets = ["http://www.a.test/1", "http://www.b.test/2", "https://www.a.test/3"];
    let parameters = json!({ "ZoneId": zone, "Targets": targets, "Mode": "edge" });
    let answer = world.call_ok("CreatePrefetchTask", parameters).await;
    assert_eq!(answer["FailedList"][0]["Targets"], json!(["http://www.b.test/2"]));
    let filters = json!([{ "Name": "job-id", "Values": [answer["JobId"]] }]);
    let found = world.call_ok("DescribePrefetchTasks", json!({ "Filters": filters })).await;
    assert_eq!(found["TotalCount"], 2);
    let expected = json!({
        "JobId": answer["JobId"], "Target": "http://www.a.test/1", "Type": "prefetch_url",
        "Status": "processing",
        "CreateTime": "2023-11-14T22:13:20Z", "UpdateTime": "2023-11-14T22:13:20Z",
    });
    assert_eq!(found["Tasks"][0], expected);
    let invalid = json!([filters[0], { "Name": "statuses", "Values": ["invalid"] }]);
    let found = world.call_ok("DescribePrefetchTasks", json!({ "Filters": invalid })).await;
    assert_eq!(found["TotalCount"], 0);
    let quota = world.call_ok("DescribeContentQuota", json!({ "ZoneId": zone })).await;
    assert_eq!(quota["PrefetchQuota"][0]["DailyAvailable"], 99_998);
    // Not a purge: nothing of it is in the log or among the purge tasks.
    let found = world.call_ok("DescribePurgeTasks", json!({ "Filters": filters })).await;
    assert_eq!(found["TotalCount"], 0);

    let url = "http://www.a.test/";
    let header = |name: &str| json!([{ "Name": name, "Value": "a" }]);
    let cases = [
        (json!({ "ZoneId": zone }), "MissingParameter", "Targets"),
        (json!({ "ZoneId": zone, "Targets": ["a.test"] }), "InvalidParameter.Target", "a.test"),
        (
            json!({ "ZoneId": zone, "Targets": ["http://b.test/"] }),
            "InvalidParameter.DomainNotFound",
            "b.test",
        ),
        (
            json!({ "ZoneId": zone, "Targets": [url], "PrefetchMediaSegments": "on" }),
            "InvalidParameterValue",
            "PrefetchMediaSegments",
        ),
        (
            json!({ "ZoneId": zone, "Targets": [url], "Headers": header("Host") }),
            "InvalidParameterValue",
            "Host",
        ),
        (
            json!({ "ZoneId": zone, "Targets": [url], "Headers": header("a b") }),
            "InvalidParameterValue",
            "a b",
        ),
    ];
    for (parameters, code, says) in cases {
        let answer = world.call("CreatePrefetchTask", parameters.clone()).await;
        assert_eq!(refusal_code(&answer), code, "{parameters}");
        let Answer::Failure { message, .. } = &answer else { panic!("{parameters}") };
        assert!(message.contains(says), "{parameters}: {message}");
    }
}

/// Reads on until this is there.
async fn read_until(stream: &mut TcpStream, read: &mut String, text: &str) {
    let reading = async {
        while !read.contains(text) {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).await.unwrap();
            assert_ne!(length, 0, "ended after {read}");
            read.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap();
}

#[tokio::test]
async fn the_progress_of_a_job_comes_as_events_until_it_has_ended() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let silent = world.silence().await;
    let purge = json!({ "ZoneId": zone, "Type": "purge_all" });
    let job = world.call_ok("CreatePurgeTask", purge).await["JobId"].as_str().unwrap().to_owned();
    let ask = |job: &str| {
        let body = json!({ "JobId": job }).to_string();
        let host = world.address.to_string();
        let request = world.request(&world.signer(), &host, named("DescribeJobProgress"), body.as_bytes());
        let request = String::from_utf8(request).unwrap();
        request.replacen("Connection: close", "Accept: text/event-stream\r\nConnection: close", 1)
    };
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(ask(&job).as_bytes()).await.unwrap();
    let mut began = String::new();
    read_until(&mut stream, &mut began, "}\n\n").await;
    assert!(began.contains("content-type: text/event-stream"), "{began}");
    for part in ["event: progress\ndata: {\"Response\":", "\"Status\":\"processing\"", "\"WaitedFor\":true"] {
        assert!(began.contains(part), "{began}");
    }
    world.store.remove_member(&[silent]).await.unwrap();
    world.network.wake();
    let mut ended = String::new();
    read_until(&mut stream, &mut ended, "\r\n0\r\n\r\n").await;
    assert!(ended.contains("event: ended\n"), "{ended}");
    assert!(ended.contains("\"Status\":\"success\""), "{ended}");
    // One that has ended, and one that never was, which is refused as ever.
    let raw = world.exchange(ask(&job).as_bytes()).await;
    let text = String::from_utf8(raw.body).unwrap();
    assert!(text.contains("event: ended\n") && !text.contains("event: progress"), "{text}");
    let refused = world.exchange(ask("2zzzzzzzzzzz").as_bytes()).await;
    assert_eq!(refusal_code(&refused.answer()), "ResourceNotFound");
}
