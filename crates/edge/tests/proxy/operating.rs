//! What an edge tells its operator: metrics, health, what is stored, what is logged, and the access log.

use crate::world::{Answer, Client, HOST, World, tag, until, url};
use edge::{AccessLogConfig, AccessLogFormat, AdminConfig, DiskConfig, EdgeConfig, LogLevel};
use purge::Method;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const MINUTE: &str = "cache-control: max-age=60\r\n";

fn with_admin(config: &mut EdgeConfig) {
    let listen = ([127, 0, 0, 1], 0).into();
    config.admin = Some(AdminConfig { listen, allow_remote: false, log_level: None });
}

fn logs_to(file: &Path, format: AccessLogFormat, one_in: u64) -> impl FnOnce(&mut EdgeConfig) {
    let log = AccessLogConfig { file: Some(file.to_owned()), format, one_in };
    |config| {
        with_admin(config);
        config.access_log = Some(log);
    }
}

async fn ask(world: &World, request_line: &str, fields: &str, body: &str) -> Answer {
    let admin = world.edge.admin_address().unwrap();
    let fields =
        if fields.contains("host:") { fields.to_owned() } else { format!("host: {admin}\r\n{fields}") };
    let request = format!("{request_line} HTTP/1.1\r\n{fields}content-length: {}\r\n\r\n{body}", body.len());
    Client::request(admin, request.into_bytes()).await
}

async fn get(world: &World, path: &str) -> Answer {
    ask(world, &format!("GET {path}"), "", "").await
}

async fn get_json(world: &World, path: &str) -> Value {
    let answer = get(world, path).await;
    assert_eq!((answer.status, answer.field("content-type").as_str()), (200, "application/json"), "{path}");
    serde_json::from_str(answer.text()).unwrap()
}

async fn inspect(world: &World, path: &str) -> Value {
    get_json(world, &format!("/inspect?url=http%3A%2F%2F{HOST}{path}")).await
}

/// The page of metrics, held against the rules of its format: each sample after the type of its family, each series once.
async fn metrics(world: &World) -> BTreeMap<String, f64> {
    let answer = get(world, "/metrics").await;
    assert_eq!(answer.field("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let mut family = (String::new(), String::new());
    let mut samples = BTreeMap::new();
    for line in answer.text().lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family.0 = help.split_once(' ').unwrap().0.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family.0, "help and type of one family");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            family.1 = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let within = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let of = if family.1 == "histogram" { within.unwrap_or(name) } else { name };
            assert_eq!(of, family.0, "{line}");
            assert_eq!(family.1 == "counter", name.ends_with("_total"), "{line}");
            let value: f64 = value.parse().unwrap();
            assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    samples
}

fn value(samples: &BTreeMap<String, f64>, series: &str) -> u64 {
    let value = samples.get(&format!("everfresh_edge_{series}"));
    value.map_or(0, |value| {
        assert!(value.fract() == 0.0, "{series} is {value}");
        *value as u64
    })
}

#[tokio::test]
async fn metrics_count_what_happens() {
    let mut world = World::start_with(with_admin).await;
    let before = metrics(&world).await;
    world.fetch("/a", &format!("{MINUTE}etag: \"1\"\r\n"), "content").await;
    world.hit("/a").await;
    world.hit("/a").await;
    world.purge(url("/a"), Method::Invalidate).await;
    let pending = world.get("/a");
    world.origin.next().await.not_modified("").await;
    pending.await;
    assert_eq!(Client::get(world.edge.address(), "nobody.test", "/", "").await.status, 404);
    let passed = Client::request(
        world.edge.address(),
        format!("POST /form HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 2\r\n\r\nhi").into_bytes(),
    );
    world.origin.next().await.reply("200 OK", "", b"ok").await;
    passed.await;
    let after = metrics(&world).await;
    let grew = |series: &str| value(&after, series) - value(&before, series);
    for (series, expected) in [
        ("requests_total", 6),
        ("answers_total{outcome=\"hit\"}", 2),
        ("answers_total{outcome=\"miss\"}", 1),
        ("answers_total{outcome=\"revalidated\"}", 1),
        ("answers_total{outcome=\"refused\"}", 1),
        ("answers_total{outcome=\"passed\"}", 1),
        ("answers_total{outcome=\"failed\"}", 0),
        ("not_hit_total{reason=\"uri-miss\"}", 1),
        ("not_hit_total{reason=\"stale\"}", 1),
        ("not_hit_total{reason=\"unknown-host\"}", 1),
        ("not_hit_total{reason=\"method\"}", 1),
        ("fetches_total", 3),
        ("origin_head_seconds_count", 3),
        ("origin_head_seconds_bucket{le=\"+Inf\"}", 3),
        ("purge_applied_seq", 1),
        ("purge_entries_total", 1),
        ("purge_marks", 1),
        ("stored_objects", 1),
    ] {
        assert_eq!(grew(series), expected, "{series}");
    }
    assert_eq!(value(&after, "info{name=\"e\",version=\"0.1.0\"}"), 1);
    assert_eq!(value(&after, "configuration_version"), 1);
    assert!(after["everfresh_edge_lease_seconds"] > 0.0);
    assert!(value(&after, "connections") <= 1, "each client has closed its connection: {after:?}");
    assert!(value(&after, "stored_bytes") > 7);
}

#[tokio::test]
async fn bodies_are_counted_to_where_they_end() {
    let mut world = World::start_with(with_admin).await;
    world.fetch("/a", MINUTE, "seven b").await;
    world.hit("/a").await;
    let sent = async |world: &World| value(&metrics(world).await, "sent_bytes_total");
    for _ in 0..1000 {
        if sent(&world).await >= 14 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = sent(&world).await;
    assert!(before >= 14);
    let pending = world.get("/broken");
    let mut asked = world.origin.next().await;
    asked.head_of("200 OK", "cache-control: no-store\r\ncontent-length: 100\r\n").await;
    asked.write(b"some").await;
    drop(asked);
    assert!(!pending.await.is_whole);
    let broken = async |world: &World| value(&metrics(world).await, "broken_off_total");
    for _ in 0..2000 {
        if broken(&world).await == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("in vain: a broken answer to be counted");
}

#[tokio::test]
async fn failures_are_counted_by_name() {
    let world = World::start_with(with_admin).await;
    let answer = Client::get(world.edge.address(), crate::world::DEAD_HOST, "/", "").await;
    assert_eq!(answer.status, 502);
    let after = metrics(&world).await;
    assert_eq!(value(&after, "not_hit_total{reason=\"origin-unreachable\"}"), 1);
    assert_eq!(value(&after, "answers_total{outcome=\"failed\"}"), 1);
}

#[tokio::test]
async fn every_metric_is_explained() {
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("log");
    let logs = logs_to(&log, AccessLogFormat::Json, 1);
    let world = World::start_with(|config| {
        logs(config);
        config.disk = Some(DiskConfig { directory: directory.path().join("cache"), bytes: 64 << 20 });
    })
    .await;
    let page = include_str!("../../../../docs/operating.md");
    let explained: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `everfresh_edge_")).collect();
    let answer = get(&world, "/metrics").await;
    let told: Vec<&str> =
        answer.text().lines().filter_map(|line| line.strip_prefix("# TYPE everfresh_edge_")).collect();
    let told: Vec<&str> = told.iter().map(|line| line.split(' ').next().unwrap()).collect();
    // The table of alerts holds expressions.
    let is_name =
        |text: &&str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let explained = explained.iter().map(|line| line.split('`').next().unwrap());
    let explained: Vec<&str> = explained.filter(is_name).collect();
    assert_eq!(told, explained, "docs/operating.md lists every metric, in the order of the page");
}

#[tokio::test]
async fn readiness_has_a_reason() {
    let world = World::fenced_with(with_admin).await;
    assert_eq!(get(&world, "/healthz").await.text(), "ok\n");
    let unready = get(&world, "/readyz").await;
    assert_eq!(unready.status, 503);
    assert!(unready.text().starts_with("503 fenced: this edge has no lease"), "{}", unready.text());
    world.control.grant(Duration::from_secs(60));
    until("a lease", || world.edge.is_ready()).await;
    assert_eq!(get(&world, "/readyz").await.text(), "ok\n");
    world.edge.shut_down();
    let draining = get(&world, "/readyz").await;
    assert_eq!((draining.status, draining.text()), (503, "503 draining: this edge is about to end\n"));
    assert_eq!(get(&world, "/healthz").await.status, 200, "it is alive until it has ended");
    world.stop().await;
}

#[tokio::test]
async fn what_is_stored_of_a_url_is_told() {
    let mut world = World::start_with(with_admin).await;
    let nothing = inspect(&world, "/a").await;
    assert_eq!((&nothing["served"], &nothing["stored"]), (&Value::Bool(true), &serde_json::json!([])));
    let fields = format!("{MINUTE}cache-tag: red,blue\r\netag: \"1\"\r\n");
    world.fetch("/a", &fields, "content").await;
    let found = inspect(&world, "/a").await;
    let object = &found["stored"][0];
    for (key, expected) in [
        ("in", Value::from("memory")),
        ("status", 200.into()),
        ("bytes", 7.into()),
        ("fresh", true.into()),
        ("standing", "clear".into()),
        ("purged_by", Value::Null),
        ("born", 0.into()),
        ("tags", serde_json::json!(["red", "blue"])),
        ("etag", "\"1\"".into()),
    ] {
        assert_eq!(object[key], expected, "{key}");
    }
    assert_eq!(found["zone"], "zone-aaaaaaaaaaaa");
    assert_eq!(found["lease"]["holds"], true);
    assert_eq!(found["key"], nothing["key"]);
    let seq = world.purge(tag("blue"), Method::Invalidate).await;
    let object = &inspect(&world, "/a").await["stored"][0];
    assert_eq!((&object["standing"], &object["purged_by"]), (&"invalidated".into(), &seq.into()));
    assert_eq!(object["checked"], 0, "looking leaves no trace");
    let seq = world.purge(url("/a"), Method::Delete).await;
    let object = &inspect(&world, "/a").await["stored"][0];
    assert_eq!((&object["standing"], &object["purged_by"]), (&"deleted".into(), &seq.into()));
    assert_eq!(
        object["marks"],
        serde_json::json!([
            { "seq": 2, "method": "delete", "scope": "url", "name": null },
            { "seq": 1, "method": "invalidate", "scope": "tag", "name": "blue" },
        ])
    );
    let store = get_json(&world, "/store").await;
    assert_eq!((&store["entries"], &store["marks"], &store["applied"]), (&1.into(), &2.into(), &2.into()));
}

#[tokio::test]
async fn what_is_only_on_disk_is_told_and_counted() {
    let directory = TempDir::new().unwrap();
    let on_disk = |config: &mut EdgeConfig| {
        with_admin(config);
        config.disk = Some(DiskConfig { directory: directory.path().join("cache"), bytes: 64 << 20 });
    };
    let mut world = World::start_with(on_disk).await;
    world.fetch("/a", &format!("{MINUTE}cache-tag: red\r\n"), "content").await;
    for language in ["de", "fr"] {
        let pending = world.get_with("/v", &format!("accept-language: {language}\r\n"));
        let fields = format!("{MINUTE}vary: accept-language\r\n");
        world.origin.next().await.reply("200 OK", &fields, language.as_bytes()).await;
        pending.await;
    }
    let written = |world: &World| world.edge.disk().unwrap().1.written.load(Ordering::Relaxed);
    until("all on disk", || written(&world) == 4).await;
    assert_eq!(value(&metrics(&world).await, "disk_written_total"), 4);
    let seq = world.purge(tag("red"), Method::Invalidate).await;

    let world = world.restarted(|_, _| {}).await;
    until("the files of the last run", || world.edge.disk().unwrap().0.is_recovered).await;
    let told = inspect(&world, "/a").await;
    let [object] = &told["stored"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!((&object["in"], &object["tags"]), (&"disk".into(), &serde_json::json!(["red"])));
    assert_eq!((&object["standing"], &object["purged_by"]), (&"invalidated".into(), &seq.into()));
    let variants = inspect(&world, "/v").await;
    assert_eq!(variants["stored"].as_array().unwrap().len(), 2);
    let counted = metrics(&world).await;
    assert_eq!((value(&counted, "disk_files"), value(&counted, "disk_recovered")), (4, 1));
    assert_eq!((value(&counted, "disk_hits_total"), value(&counted, "disk_failing")), (0, 0));

    let pending = world.get_with("/v", "accept-language: fr\r\n");
    assert_eq!(pending.await.text(), "fr");
    assert_eq!(value(&metrics(&world).await, "disk_hits_total"), 1);
    let variants = inspect(&world, "/v").await;
    let mut places: Vec<_> =
        variants["stored"].as_array().unwrap().iter().map(|object| object["in"].as_str().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, ["disk", "memory"]);
    world.stop().await;
}

#[tokio::test]
async fn variants_are_told_apart() {
    let mut world = World::start_with(with_admin).await;
    for language in ["de", "fr"] {
        let pending = world.get_with("/a", &format!("accept-language: {language}\r\n"));
        let fields = format!("{MINUTE}vary: accept-language\r\netag: \"{language}\"\r\n");
        world.origin.next().await.reply("200 OK", &fields, language.as_bytes()).await;
        pending.await;
    }
    world.fetch("/b", MINUTE, "another").await;
    let found = inspect(&world, "/a").await;
    let stored = found["stored"].as_array().unwrap();
    let mut tags: Vec<&str> = stored.iter().map(|object| object["etag"].as_str().unwrap()).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["\"de\"", "\"fr\""]);
}

#[tokio::test]
async fn the_admin_server_refuses_what_it_does_not_know() {
    let world = World::start_with(with_admin).await;
    for (line, fields, status, text) in [
        ("GET /", "", 404, "404 no-such-path: GET /healthz, /inspect?url=URL,"),
        ("POST /metrics", "", 405, "405 method: "),
        ("GET /inspect", "", 400, "400 bad-url: say which URL"),
        ("GET /inspect?url=nonsense", "", 400, "400 bad-url: "),
        ("GET /log-level", "", 501, "501 log-level: "),
        ("PUT /log-level", "", 501, "501 log-level: "),
        ("GET /metrics", "host: evil.test\r\n", 421, "421 foreign-host: "),
        ("GET /metrics", "host: localhost:1\r\n", 200, "# HELP "),
        ("GET /healthz", "host: [::1]:1\r\n", 200, "ok\n"),
    ] {
        let answer = ask(&world, line, fields, "").await;
        assert_eq!(answer.status, status, "{line} {fields}");
        assert!(answer.text().starts_with(text), "{line}: {}", answer.text());
    }
    let unknown = get_json(&world, "/inspect?url=http%3A%2F%2Fnobody.test%2F").await;
    assert_eq!(unknown["served"], false);
}

#[test]
fn the_admin_server_stays_on_loopback_unless_it_is_allowed_out() {
    let mut config = EdgeConfig::new("e".into(), ([127, 0, 0, 1], 0).into());
    for (listen, allow_remote, fits) in [
        ("127.0.0.1:0", false, true),
        ("[::1]:0", false, true),
        ("[::ffff:127.0.0.1]:0", false, true),
        ("0.0.0.0:0", false, false),
        ("192.0.2.1:0", false, false),
        ("0.0.0.0:0", true, true),
    ] {
        config.admin = Some(AdminConfig { listen: listen.parse().unwrap(), allow_remote, log_level: None });
        let checked = config.check();
        assert_eq!(checked.is_ok(), fits, "{listen}");
        if let Err(error) = checked {
            assert!(error.to_string().contains("allow it in words (admin.allow_remote"), "{error}");
        }
    }
}

#[tokio::test]
async fn what_is_logged_changes_while_the_edge_runs() {
    let holds = Arc::new(Mutex::new("info".to_owned()));
    let (set, get_level) = (Arc::clone(&holds), Arc::clone(&holds));
    let log_level = LogLevel {
        set: Arc::new(move |text| {
            if text.contains("loud") {
                return Err(format!("{text:?} is no level"));
            }
            *set.lock().unwrap() = text.to_owned();
            Ok(())
        }),
        get: Arc::new(move || get_level.lock().unwrap().clone()),
    };
    let world = World::start_with(|config| {
        with_admin(config);
        config.admin.as_mut().unwrap().log_level = Some(log_level);
    })
    .await;
    assert_eq!(get(&world, "/log-level").await.text(), "info\n");
    let changed = ask(&world, "PUT /log-level", "", "debug\n").await;
    assert_eq!((changed.status, changed.text()), (200, "debug\n"));
    let refused = ask(&world, "PUT /log-level", "", "loud").await;
    assert_eq!((refused.status, refused.text()), (400, "400 bad-log-level: \"loud\" is no level\n"));
    let long = ask(&world, "PUT /log-level", "", &"x".repeat(4097)).await;
    assert_eq!(long.status, 413);
    assert!(long.text().contains("at most 4096 bytes"), "{}", long.text());
    assert_eq!(*holds.lock().unwrap(), "debug");
}

#[tokio::test]
async fn every_request_is_a_line_of_the_log() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("access.log");
    let mut world = World::start_with(logs_to(&file, AccessLogFormat::Json, 1)).await;
    let agent = "user-agent: a\"b\\c\treferer\r\nreferer: http://x.test/\r\n";
    let pending = world.get_with("/a?b=1", agent);
    world.origin.next().await.reply("200 OK", MINUTE, b"content").await;
    let answer = pending.await;
    world.hit("/a?b=1").await;
    // Others are of the requests by which the world found out that its edge is configured, and may come late.
    let own = || -> Vec<Value> {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let own = text.lines().filter(|line| line.contains("/a?b=1") && line.ends_with('}'));
        own.map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    until("both lines of the log", || own().len() == 2).await;
    let lines = own();
    for (key, expected) in [
        ("edge", Value::from("e")),
        ("client", "127.0.0.1".into()),
        ("method", "GET".into()),
        ("host", HOST.into()),
        ("url", format!("http://{HOST}/a?b=1").into()),
        ("protocol", "HTTP/1.1".into()),
        ("tls", false.into()),
        ("status", 200.into()),
        ("bytes", 7.into()),
        ("whole", true.into()),
        ("cache", "miss".into()),
        ("reason", "uri-miss".into()),
        ("stored", true.into()),
        ("user_agent", "a\"b\\c\treferer".into()),
        ("referer", "http://x.test/".into()),
    ] {
        assert_eq!(lines[0][key], expected, "{key}");
    }
    assert_eq!(lines[0]["request_id"].to_string(), answer.field("eo-log-uuid"));
    assert!(lines[0]["origin_ms"].as_f64().unwrap() <= lines[0]["duration_ms"].as_f64().unwrap());
    assert_eq!((&lines[1]["cache"], &lines[1]["reason"]), (&"hit".into(), &"".into()));
    assert_eq!(lines[1]["origin_ms"], Value::Null);
    assert_eq!(value(&metrics(&world).await, "access_log_dropped_total"), 0);
}

#[tokio::test]
async fn a_sampled_log_has_its_share_and_every_error() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("access.log");
    let mut world = World::start_with(logs_to(&file, AccessLogFormat::Json, 10)).await;
    world.fetch("/a", MINUTE, "content").await;
    for _ in 0..40 {
        world.hit("/a").await;
    }
    for _ in 0..5 {
        Client::get(world.edge.address(), crate::world::DEAD_HOST, "/", "").await;
    }
    world.stop().await;
    let lines: Vec<Value> = std::fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let hits = lines.iter().filter(|line| line["cache"] == "hit").count();
    assert!((2..=6).contains(&hits), "one of ten requests by their numbers: {hits}");
    assert_eq!(lines.iter().filter(|line| line["status"] == 502).count(), 5);
}

#[tokio::test]
async fn the_log_follows_its_file_when_that_is_moved_away() {
    let directory = TempDir::new().unwrap();
    let (file, moved) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
    let mut world = World::start_with(logs_to(&file, AccessLogFormat::Combined, 1)).await;
    world.fetch("/before", MINUTE, "content").await;
    until("a line", || std::fs::read_to_string(&file).unwrap().contains("GET /before HTTP/1.1\" 200 7 "))
        .await;
    std::fs::rename(&file, &moved).unwrap();
    world.edge.reopen_access_log();
    until("a new file", || file.exists()).await;
    world.hit("/before").await;
    world.fetch("/after", MINUTE, "content").await;
    until("a line", || std::fs::read_to_string(&file).unwrap().contains("GET /after HTTP/1.1\" 200 7 "))
        .await;
    assert!(!std::fs::read_to_string(&moved).unwrap().contains("/after"));
    // Without being told, too.
    std::fs::remove_file(&file).unwrap();
    until("a new file", || file.exists()).await;
}

#[tokio::test]
async fn a_log_that_cannot_be_written_harms_nobody() {
    let mut world = World::start_with(logs_to(Path::new("/dev/full"), AccessLogFormat::Json, 1)).await;
    world.fetch("/a", MINUTE, "content").await;
    world.hit("/a").await;
    for _ in 0..2000 {
        if value(&metrics(&world).await, "access_log_failed_total") >= 2 {
            world.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("in vain: lost lines to be counted");
}
