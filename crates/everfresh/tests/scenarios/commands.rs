//! The command line client against a running network: what it prints, and its exit codes.

use serde_json::Value;

use crate::parts::{Everfresh, Nginx, Sdk, Serve};

#[test]
fn a_purge_by_tag_waits_until_every_edge_has_it() {
    let nginx = Nginx::start();
    let network = Serve::new(&nginx.url()).start();
    nginx.write("/tagged/news/a", "news\n");
    network.get_everywhere("/tagged/news/a");

    let out = network.done(&["purge", "tag", "news", "sports", "--method", "invalidate", "--wait"]);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    let job_id = lines[0].strip_prefix("accepted 2 targets as job ").unwrap_or_else(|| panic!("{out}"));
    assert_eq!(job_id.len(), 12, "{out}");
    let (took, seq) = lines[1]
        .strip_prefix("purged on every edge in ")
        .and_then(|rest| rest.split_once(" ms, up to seq "))
        .unwrap_or_else(|| panic!("{out}"));
    assert!(took.parse::<u64>().is_ok() && seq.parse::<u64>().is_ok(), "{out}");
    for answer in network.get_everywhere("/tagged/news/a") {
        assert_eq!(answer.eo(), "RefreshHit");
        assert!(
            answer.says(&format!("detail=\"seq={seq} purged-by={}\"", seq.parse::<u64>().unwrap() - 1)),
            "{answer:?}"
        );
    }
    assert!(network.done(&["task", "show", job_id]).contains("success"));
}

#[test]
fn answers_for_programs_are_json() {
    let network = network();
    let json = |arguments: &[&str]| -> Value {
        let out = network.done(arguments);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    };
    let zones = json(&["zone", "list", "--json"]);
    assert_eq!(zones["TotalCount"], 1, "{zones}");
    assert_eq!(zones["Zones"][0]["ZoneId"], network.zone_id.as_str());
    assert_eq!(zones["Zones"][0]["ZoneName"], "example.com");
    let edges = json(&["edges", "--json"]);
    assert_eq!(edges["Edges"].as_array().unwrap().len(), 2, "{edges}");
    let purge = json(&["purge", "all", "--wait", "--json"]);
    assert_eq!(purge["Progress"]["Status"], "success", "{purge}");
    assert_eq!(purge["Progress"]["Edges"].as_array().unwrap().len(), 2, "{purge}");
}

#[test]
fn exit_codes_tell_scripts_what_happened() {
    let network = network();
    for (arguments, code, says) in [
        (&["purge", "url", "http://www.example.com/a", "--wait"][..], 0, ""),
        (
            &["purge", "url", "http://www.elsewhere.test/a", "--zone", "example.com"],
            1,
            "InvalidParameter.DomainNotFound: ",
        ),
        (&["purge", "tag", "a,b"], 1, "InvalidParameter.Target: "),
        (&["purge", "url"], 2, "required"),
        (&["purge", "tag", "a", "--method", "forget"], 2, "invalidate"),
        (&["zone", "list", "--endpoint", "http://127.0.0.1:1"], 3, "127.0.0.1:1"),
        (
            &[
                "purge",
                "url",
                "http://www.example.com/a",
                "http://www.elsewhere.test/b",
                "--zone",
                "example.com",
            ],
            6,
            "http://www.elsewhere.test/b",
        ),
    ] {
        let ran = network.command(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        assert!(ran.err.contains(says), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn a_key_works_from_its_making_until_it_is_disabled() {
    let network = network();
    let out = network.done(&["key", "create", "--comment", "deploys"]);
    let value = |name: &str| {
        let line = out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{out}")).to_owned()
    };
    let (secret_id, secret_key) = (value("EVERFRESH_SECRET_ID"), value("EVERFRESH_SECRET_KEY"));
    let listed = network.done(&["key", "list"]);
    assert!(listed.contains(&secret_id) && listed.contains("deploys"), "{listed}");
    assert!(!listed.contains(&secret_key), "{listed}");

    let mut sdk = Sdk::start(&network);
    sdk.set("secret_id", secret_id.as_str());
    sdk.set("secret_key", secret_key);
    sdk.accepted("DescribeZones", serde_json::json!({}));
    network.done(&["key", "disable", &secret_id]);
    assert_eq!(sdk.refused("DescribeZones", serde_json::json!({})).code, "AuthFailure.InvalidSecretId");
    network.done(&["key", "delete", &secret_id]);
    assert_eq!(sdk.refused("DescribeZones", serde_json::json!({})).code, "AuthFailure.SecretIdNotFound");
}

/// A network whose origin nobody asks.
fn network() -> Everfresh {
    Serve::new("http://127.0.0.1:1").start()
}
