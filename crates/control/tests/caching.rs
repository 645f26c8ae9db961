//! Cache settings and rules over the API: what was set is told again, and what can't be is refused by name.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

#[expect(dead_code, reason = "shared with tests that need more of it")]
mod world;

use control::api::ApiOptions;
use purge::{PurgeSeq, Scope};
use serde_json::{Value, json};
use world::World;

fn unlimited() -> ApiOptions {
    ApiOptions { calls_per_sec: 0, ..ApiOptions::default() }
}

fn default_config() -> Value {
    json!({
        "Cache": {
            "FollowOrigin": {
                "Switch": "on", "DefaultCache": "on", "DefaultCacheStrategy": "on", "DefaultCacheTime": 0,
            },
            "NoCache": {"Switch": "off"},
            "CustomTime": {"Switch": "off"},
        },
        "MaxAge": {"FollowOrigin": "on", "CacheTime": 0},
        "CacheKey": {"FullURLCache": "on", "IgnoreCase": "off", "QueryString": {"Switch": "off"}},
        "CachePrefresh": {"Switch": "off"},
        "OfflineCache": {"Switch": "off"},
    })
}

async fn setting(world: &World, zone: &str) -> Value {
    let told = world.call_ok("DescribeL7AccSetting", json!({ "ZoneId": zone })).await;
    assert_eq!(told["ZoneSetting"]["ZoneName"], "a.test");
    told["ZoneSetting"]["ZoneConfig"].clone()
}

#[tokio::test]
async fn what_was_set_is_told_and_the_rest_stays() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let mut expected = default_config();
    assert_eq!(setting(&world, &zone).await, expected);
    let changes = [
        ("OfflineCache", json!({"Switch": "on"}), None),
        ("MaxAge", json!({"FollowOrigin": "off", "CacheTime": 600}), None),
        ("CachePrefresh", json!({"Switch": "on", "CacheTimePercent": 90}), None),
        (
            "Cache",
            json!({"CustomTime": {"Switch": "on", "CacheTime": 5}, "NoCache": {"Switch": "off"}}),
            Some(json!({
                "FollowOrigin": {"Switch": "off"}, "NoCache": {"Switch": "off"},
                "CustomTime": {"Switch": "on", "CacheTime": 5},
            })),
        ),
        (
            "CacheKey",
            json!({
                "FullURLCache": "off", "IgnoreCase": "on",
                "QueryString": {"Switch": "on", "Action": "excludeCustom", "Values": ["utm"]},
            }),
            None,
        ),
        (
            "CacheKey",
            json!({"IgnoreCase": "off"}),
            Some(json!({
                "FullURLCache": "off", "IgnoreCase": "off",
                "QueryString": {"Switch": "on", "Action": "excludeCustom", "Values": ["utm"]},
            })),
        ),
        ("Cache", json!({"NoCache": {"Switch": "off"}}), Some(default_config()["Cache"].clone())),
    ];
    for (part, change, told) in changes {
        let parameters = json!({ "ZoneId": zone, "ZoneConfig": { part: change } });
        world.call_ok("ModifyL7AccSetting", parameters).await;
        expected[part] = told.unwrap_or(change);
        assert_eq!(setting(&world, &zone).await, expected);
    }
}

#[tokio::test]
async fn settings_that_contradict_themselves_are_refused() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let on = json!({"Switch": "on"});
    let follow = |rest: Value| {
        let mut follow = json!({"Switch": "on"});
        follow.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        json!({"Cache": {"FollowOrigin": follow}})
    };
    let custom = json!({"Switch": "on", "Action": "includeCustom", "Values": ["a"]});
    let cases = [
        (json!({"Cache": {"NoCache": on, "CustomTime": {"Switch": "on", "CacheTime": 1}}}), "at most one of"),
        (json!({"Cache": {"CustomTime": on}}), "CustomTime.CacheTime is needed"),
        (json!({"Cache": {"CustomTime": {"Switch": "on", "CacheTime": -1}}}), "between 0 and 315360000"),
        (follow(json!({})), "DefaultCache is needed"),
        (follow(json!({"DefaultCache": "on"})), "DefaultCacheStrategy is needed"),
        (
            follow(json!({"DefaultCache": "on", "DefaultCacheStrategy": "on", "DefaultCacheTime": 1})),
            "DefaultCacheTime must be 0",
        ),
        (follow(json!({"DefaultCache": "on", "DefaultCacheStrategy": "off"})), "DefaultCacheTime is needed"),
        (json!({"CacheKey": {"FullURLCache": "off"}}), "QueryString is needed"),
        (json!({"CacheKey": {"QueryString": {"Switch": "off"}}}), "FullURLCache is needed"),
        (json!({"CacheKey": {"FullURLCache": "on", "QueryString": custom}}), "may not both be on"),
        (json!({"CacheKey": {"FullURLCache": "off", "QueryString": on}}), "Action is needed"),
        (
            json!({"CacheKey": {"FullURLCache": "off",
                "QueryString": {"Switch": "on", "Action": "includeCustom", "Values": []}}}),
            "at least one name",
        ),
        (json!({"MaxAge": {"FollowOrigin": "off"}}), "CacheTime is needed"),
        (json!({"CachePrefresh": on}), "CacheTimePercent is needed"),
        (json!({"CachePrefresh": {"Switch": "on", "CacheTimePercent": 0}}), "between 1 and 99"),
        (json!({"OfflineCache": {"Switch": "maybe"}}), "one of on, off"),
    ];
    for (config, says) in cases {
        let parameters = json!({ "ZoneId": zone, "ZoneConfig": config });
        let (code, message) = world.call_refused("ModifyL7AccSetting", parameters).await;
        assert_eq!(code, "InvalidParameter", "{config}: {message}");
        assert!(message.contains(says), "{config}: {message}");
    }
    assert_eq!(setting(&world, &zone).await, default_config(), "nothing was changed");
    let unknown = json!({ "ZoneId": "zone-000000000000", "ZoneConfig": { "OfflineCache": on } });
    let (code, _) = world.call_refused("ModifyL7AccSetting", unknown).await;
    assert_eq!(code, "InvalidParameter.ZoneNotFound");
}

fn rule(name: &str) -> Value {
    json!({
        "Status": "enable",
        "RuleName": name,
        "Description": ["a note"],
        "Branches": [{
            "Condition": "${http.request.host} in ['www.a.test']",
            "Actions": [
                {"Name": "Cache", "CacheParameters": {
                    "FollowOrigin": {"Switch": "off"}, "NoCache": {"Switch": "off"},
                    "CustomTime": {"Switch": "on", "IgnoreCacheControl": "on", "CacheTime": 60},
                }},
                {"Name": "CacheKey", "CacheKeyParameters": {
                    "FullURLCache": "off", "QueryString": {"Switch": "off"}, "IgnoreCase": "on", "Scheme": "on",
                    "Header": {"Switch": "on", "Values": ["X-Lang"]},
                    "Cookie": {"Switch": "on", "Action": "includeCustom", "Values": ["theme"]},
                }},
                {"Name": "StatusCodeCache", "StatusCodeCacheParameters": {
                    "StatusCodeCacheParams": [{"StatusCode": 404, "CacheTime": 0}, {"StatusCode": 502, "CacheTime": 3}],
                }},
                {"Name": "CachePrefresh", "CachePrefreshParameters": {"Switch": "on", "CacheTimePercent": 50}},
                {"Name": "OfflineCache", "OfflineCacheParameters": {"Switch": "on"}},
                {"Name": "Vary", "VaryParameters": {"Switch": "off"}},
            ],
            "SubRules": [{
                "Description": [],
                "Branches": [{
                    "Condition": "${http.request.file_extension} in ['jpg']",
                    "Actions": [{"Name": "MaxAge", "MaxAgeParameters": {"FollowOrigin": "off", "CacheTime": 7}}],
                }],
            }],
        }],
    })
}

async fn rules(world: &World, parameters: Value) -> (i64, Vec<Value>) {
    let told = world.call_ok("DescribeL7AccRules", parameters).await;
    (told["TotalCount"].as_i64().unwrap(), told["Rules"].as_array().unwrap().clone())
}

#[tokio::test]
async fn rules_are_made_told_changed_ordered_and_deleted() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let made = json!({ "ZoneId": zone, "Rules": [rule("one"), rule("two")] });
    let ids = world.call_ok("CreateL7AccRules", made).await["RuleIds"].clone();
    let ids: Vec<String> = serde_json::from_value(ids).unwrap();
    let (total, told) = rules(&world, json!({ "ZoneId": zone })).await;
    assert_eq!((total, told.len()), (2, 2));
    for (index, name) in ["one", "two"].into_iter().enumerate() {
        let mut expected = rule(name);
        expected["RuleId"] = ids[index].clone().into();
        expected["RulePriority"] = (index + 1).into();
        assert_eq!(told[index], expected);
    }
    let mut changed = rule("three");
    changed["RuleId"] = ids[0].clone().into();
    changed["Status"] = "disable".into();
    world.call_ok("ModifyL7AccRule", json!({ "ZoneId": zone, "Rule": changed })).await;
    let order = json!({ "ZoneId": zone, "RuleIds": [ids[1], ids[0]] });
    world.call_ok("ModifyL7AccRulePriority", order).await;
    let by_id = json!({ "ZoneId": zone, "Filters": [{"Name": "rule-id", "Values": [ids[0]]}] });
    let (total, told) = rules(&world, by_id).await;
    assert_eq!(total, 1);
    assert_eq!((&told[0]["RuleName"], &told[0]["RulePriority"]), (&json!("three"), &json!(2)));
    world.call_ok("DeleteL7AccRules", json!({ "ZoneId": zone, "RuleIds": [ids[1]] })).await;
    let (total, told) = rules(&world, json!({ "ZoneId": zone, "Offset": 1 })).await;
    assert_eq!((total, told.len()), (1, 0));
}

#[tokio::test]
async fn rules_that_can_not_be_are_refused_with_what_is_supported() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let with = |path: &str, value: Value| {
        let mut rule = rule("one");
        *rule.pointer_mut(path).unwrap() = value;
        rule
    };
    let condition = "/Branches/0/Condition";
    let action = "/Branches/0/Actions/0";
    let cases = [
        (
            with(condition, json!("${http.request.method} in ['GET']")),
            "InvalidParameter",
            "http.request.uri.path",
        ),
        (with(condition, json!("${http.request.host} is 'a'")), "InvalidParameter", "at byte 21"),
        (with(action, json!({"Name": "HSTS"})), "InvalidParameter", "one of Cache, CacheKey"),
        (with(action, json!({"Name": "Cache"})), "InvalidParameter", "CacheParameters is needed"),
        (
            with(action, json!({"Name": "Cache", "VaryParameters": {"Switch": "on"}})),
            "InvalidParameter",
            "VaryParameters does not belong",
        ),
        (
            with(action, json!({"Name": "Vary", "VaryParameters": {"Switch": "on"}})),
            "InvalidParameter",
            "the action Vary is given twice",
        ),
        (
            with(action, json!({"Name": "MaxAge", "HSTSParameters": {}})),
            "UnknownParameter",
            "HSTSParameters: is not defined",
        ),
        (
            with("/Branches/0/Actions/1/CacheKeyParameters", json!({})),
            "InvalidParameter",
            "at least one of FullURLCache",
        ),
        (
            with("/Branches/0/Actions/1/CacheKeyParameters/Header/Values", json!(["x y"])),
            "InvalidParameter",
            "no name of a header field",
        ),
        (
            with(
                "/Branches/0/Actions/2/StatusCodeCacheParameters/StatusCodeCacheParams/0/StatusCode",
                json!(200),
            ),
            "InvalidParameter",
            "200",
        ),
        (with("/Branches", json!([])), "InvalidParameter", "one branch is needed"),
        (
            with("/Branches", json!([{"Condition": "*"}])),
            "InvalidParameter",
            "at least one action or sub-rule",
        ),
        (with("/RuleName", json!("图".repeat(256))), "InvalidParameter", "at most 255 characters"),
    ];
    for (rule, code, says) in cases {
        let parameters = json!({ "ZoneId": zone, "Rules": [rule] });
        let (found, message) = world.call_refused("CreateL7AccRules", parameters).await;
        assert_eq!(found, code, "{message}");
        assert!(message.contains(says), "{says}: {message}");
    }
    let many = json!({ "ZoneId": zone, "Rules": vec![rule("many"); 100] });
    world.call_ok("CreateL7AccRules", many).await;
    let (code, message) =
        world.call_refused("CreateL7AccRules", json!({ "ZoneId": zone, "Rules": [rule("one")] })).await;
    assert_eq!(code, "LimitExceeded", "{message}");
    for (action, parameters) in [
        ("DeleteL7AccRules", json!({ "ZoneId": zone, "RuleIds": ["rule-0"] })),
        ("ModifyL7AccRulePriority", json!({ "ZoneId": zone, "RuleIds": [] })),
        ("ModifyL7AccRule", json!({ "ZoneId": zone, "Rule": rule("one") })),
    ] {
        let (code, message) = world.call_refused(action, parameters).await;
        assert!(code.starts_with("InvalidParameter"), "{action}: {code} {message}");
    }
}

/// The keys by which a purge is planned are those in force when it is recorded.
#[tokio::test]
async fn purges_are_planned_by_the_keys_in_force() {
    let (world, zone) = World::with_zone(unlimited()).await;
    let head = async || world.store.log_head().await.unwrap().head;
    let entries = async |after: PurgeSeq| {
        let range = world.store.entries_after(after, 10).await.unwrap();
        range.entries.into_iter().map(|entry| entry.entry.scope).collect::<Vec<_>>()
    };
    let before = head().await;
    let key = json!({"FullURLCache": "off", "IgnoreCase": "on", "QueryString": {"Switch": "off"}});
    world.call_ok("ModifyL7AccSetting", json!({ "ZoneId": zone, "ZoneConfig": { "CacheKey": key } })).await;
    let config_version = world.store.config_version().await.unwrap();
    assert_eq!(entries(before).await, [Scope::Keys { config_version }]);
    let before = head().await;
    let offline = json!({ "ZoneId": zone, "ZoneConfig": { "OfflineCache": {"Switch": "on"} } });
    world.call_ok("ModifyL7AccSetting", offline).await;
    assert_eq!(head().await, before, "keys are as they were");
    let targets = ["https://www.a.test/A?x=1", "http://www.a.test/a?y"];
    let purge = json!({ "ZoneId": zone, "Type": "purge_url", "Targets": targets });
    world.call_ok("CreatePurgeTask", purge).await;
    let [Scope::Url(url)] = &entries(before).await[..] else { panic!("one key") };
    assert_eq!(url.path_and_query(), "/a");
}
