//! Commands against an API of the test's own on loopback, which checks each signature as a server does.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use clap::Parser as _;
use cli::{Command, World};
use serde_json::{Value, json};
use teo::{ApiError, Credentials, ErrorCode, RawRequest, Request, RequestId, SecretKey, envelope};

const NOW: u64 = 1_700_000_000;
const SECRET_ID: &str = "AKIDTEST";
const SECRET_KEY: &str = "testkey";
const REQUEST_ID: RequestId = RequestId::from_random([1; 16]);

/// Of the test.
#[derive(clap::Parser)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

/// What an operation answers, each time it is called: the last one again and again. What is no object hangs up.
type Answers = BTreeMap<&'static str, Vec<Result<Value, ErrorCode>>>;

/// An API that answers from a list, and remembers what it was asked.
struct Api {
    endpoint: String,
    calls: Arc<Mutex<Vec<(&'static str, Value)>>>,
}

impl Api {
    fn start(answers: Answers) -> Self {
        Self::start_with("http", answers, Some)
    }

    /// The same behind TLS.
    fn start_tls(answers: Answers, config: Arc<rustls::ServerConfig>) -> Self {
        Self::start_with("https", answers, move |stream| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            // A client that does not trust us ends here.
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock).ok()?;
            }
            Some(stream)
        })
    }

    fn start_with<S: Read + Write>(
        scheme: &str,
        answers: Answers,
        accept: impl Fn(TcpStream) -> Option<S> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("{scheme}://{}", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&calls);
        let shared = Arc::new((accept, Mutex::new(answers)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, shared) = (Arc::clone(&seen), Arc::clone(&shared));
                thread::spawn(move || {
                    if let Some(stream) = shared.0(stream.unwrap()) {
                        serve(stream, &seen, &shared.1);
                    }
                });
            }
        });
        Self { endpoint, calls }
    }

    fn calls(&self) -> Vec<(&'static str, Value)> {
        self.calls.lock().unwrap().clone()
    }
}

fn serve<S: Read + Write>(stream: S, seen: &Mutex<Vec<(&'static str, Value)>>, answers: &Mutex<Answers>) {
    let mut reader = BufReader::new(stream);
    while let Some(received) = Received::read(&mut reader) {
        let answer = match decode(&received.raw()).and_then(|request| pick(&request, seen, answers)) {
            Ok(Value::Object(fields)) => envelope::success(fields, REQUEST_ID),
            // Hangs up, as a server that is killed does.
            Ok(_) => return,
            Err(error) => envelope::failure(&error, REQUEST_ID),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            envelope::CONTENT_TYPE,
            answer.len()
        );
        reader.get_mut().write_all(&[head.as_bytes(), &answer].concat()).unwrap();
        reader.get_mut().flush().unwrap();
    }
}

/// A request off the wire.
struct Received {
    request_line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Received {
    /// Nothing at the end of the connection.
    fn read(reader: &mut BufReader<impl Read>) -> Option<Self> {
        let mut request_line = String::new();
        if reader.read_line(&mut request_line).unwrap_or(0) == 0 {
            return None;
        }
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        Some(Self { request_line, headers, body })
    }

    fn raw(&self) -> RawRequest<'_> {
        let mut parts = self.request_line.split(' ');
        RawRequest {
            method: parts.next().unwrap(),
            target: parts.next().unwrap().as_bytes(),
            headers: self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect(),
            body: &self.body,
        }
    }
}

fn decode(raw: &RawRequest<'_>) -> Result<Request, ApiError> {
    let claim = Credentials::read(raw)?;
    if claim.secret_id() != SECRET_ID {
        return Err(ApiError::new(ErrorCode::AuthSecretIdNotFound, "there is no such SecretId"));
    }
    claim.verify(&SecretKey::new(SECRET_KEY), NOW as i64, None)?.decode()
}

fn pick(
    request: &Request,
    seen: &Mutex<Vec<(&'static str, Value)>>,
    answers: &Mutex<Answers>,
) -> Result<Value, ApiError> {
    let name = request.action().name();
    seen.lock().unwrap().push((name, Value::Object(request.encode_fields())));
    let mut answers = answers.lock().unwrap();
    let queue = answers.get_mut(name).unwrap_or_else(|| panic!("{name} was not expected"));
    let answer = if queue.len() > 1 { queue.remove(0) } else { queue[0].clone() };
    answer.map_err(|code| ApiError::new(code, "because"))
}

/// What a command did.
#[derive(Debug)]
struct Outcome {
    exit: u8,
    out: String,
    err: String,
}

impl Outcome {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn run_in(environment: &BTreeMap<&str, String>, arguments: &[&str]) -> Outcome {
    run_with_input(environment, arguments, "")
}

fn run_with_input(environment: &BTreeMap<&str, String>, arguments: &[&str], input: &str) -> Outcome {
    let program = Program::try_parse_from([&["everfresh"], arguments].concat()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    // Time passes only while the client pauses.
    let paused = Cell::new(Duration::ZERO);
    let exit = cli::run(
        program.command,
        &mut World {
            input: &mut input.as_bytes(),
            out: &mut out,
            err: &mut err,
            environment: &|name| environment.get(name).cloned(),
            now: &|| UNIX_EPOCH + Duration::from_secs(NOW) + paused.get(),
            pause: &|span| paused.set(paused.get() + span),
        },
    );
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { exit: exit.code(), out: text(out), err: text(err) }
}

fn run(api: &Api, arguments: &[&str]) -> Outcome {
    run_piped(api, arguments, "")
}

fn run_piped(api: &Api, arguments: &[&str], input: &str) -> Outcome {
    let environment = BTreeMap::from([
        ("EVERFRESH_ENDPOINT", api.endpoint.clone()),
        ("EVERFRESH_SECRET_ID", SECRET_ID.to_owned()),
        ("EVERFRESH_SECRET_KEY", SECRET_KEY.to_owned()),
    ]);
    run_with_input(&environment, arguments, input)
}

fn zone(id: &str, name: &str) -> Value {
    json!({
        "ZoneId": id, "ZoneName": name, "AliasZoneName": "", "Area": "global", "Type": "partial", "Tags": [],
        "Resources": [], "CNAMEDetail": null, "CreatedOn": "2023-11-14T00:00:00Z",
        "ModifiedOn": "2023-11-14T00:00:00Z", "Status": "active", "CnameStatus": "finished",
        "ActiveStatus": "active", "LockStatus": "enable", "Paused": false, "IsFake": 0, "CnameSpeedUp": "disabled",
        "OwnershipVerification": null, "OriginalNameServers": [], "NameServers": [], "VanityNameServers": null,
        "VanityNameServersIps": null, "WorkModeInfos": []
    })
}

fn zones(zones: &[(&str, &str)]) -> Result<Value, ErrorCode> {
    let zones: Vec<Value> = zones.iter().map(|(id, name)| zone(id, name)).collect();
    Ok(json!({ "TotalCount": zones.len(), "Zones": zones }))
}

fn progress(status: &str) -> Result<Value, ErrorCode> {
    Ok(json!({
        "JobId": "2job", "Status": status, "FirstSeq": 6, "LastSeq": 7, "ElapsedMilliseconds": 12,
        "DeadlineMilliseconds": (status == "processing").then_some(5_038), "MinSeq": "00000000000000a1:7",
        "Edges": [edge_at(7, "applied", "acknowledged")]
    }))
}

fn edge_at(applied: u64, state: &str, reason: &str) -> Value {
    json!({
        "EdgeName": "edge-1", "MemberId": "m1", "AppliedSeq": applied, "LagEntries": 7 - applied, "State": state,
        "WaitedFor": matches!(reason, "silent" | "not-acknowledged" | "acks-only"), "Reason": reason,
        "FencePolicy": if reason == "promise-given-up" { "serve" } else { "fetch" },
        "AcksOnly": reason == "acks-only", "SilentMilliseconds": 2_600
    })
}

fn created() -> Result<Value, ErrorCode> {
    Ok(json!({ "JobId": "2job", "FailedList": [] }))
}

const ONE: &[(&str, &str)] = &[("zone-aaaaaaaaaaaa", "example.com")];
const TWO: &[(&str, &str)] =
    &[("zone-aaaaaaaaaaaa", "example.com"), ("zone-bbbbbbbbbbbb", "shop.example.com")];

fn purging(known: &[(&str, &str)], jobs: &[Result<Value, ErrorCode>]) -> Api {
    let mut answers =
        Answers::from([("DescribeZones", vec![zones(known)]), ("CreatePurgeTask", vec![created()])]);
    if !jobs.is_empty() {
        answers.insert("DescribeJobProgress", jobs.to_vec());
    }
    Api::start(answers)
}

#[test]
fn a_purge_is_sent_to_the_only_zone_and_waited_for() {
    let api = purging(ONE, &[progress("processing"), progress("success")]);
    let outcome = run(&api, &["purge", "tag", "news", "sports", "--method", "invalidate", "--wait"]);
    assert_eq!(
        (outcome.exit, outcome.out.as_str(), outcome.err.as_str()),
        (0, "accepted 2 targets as job 2job\npurged on every edge in 12 ms, up to seq 7\n", "")
    );
    let calls = api.calls();
    assert_eq!(
        calls[1],
        (
            "CreatePurgeTask",
            json!({
                "ZoneId": "zone-aaaaaaaaaaaa", "Type": "purge_cache_tag", "Method": "invalidate",
                "Targets": ["news", "sports"], "EncodeUrl": false
            })
        )
    );
    assert_eq!(calls[2], ("DescribeJobProgress", json!({ "JobId": "2job", "WaitMilliseconds": 20_000 })));
    assert_eq!(calls.len(), 4);
}

#[test]
fn a_wait_outlasts_a_control_plane_that_restarts_but_not_its_own_time() {
    let gone = || Ok(Value::Null);
    let wait = &["purge", "all", "--wait", "--timeout", "5"];
    let api = purging(ONE, &[gone(), gone(), progress("success")]);
    let outcome = run(&api, wait);
    assert_eq!(outcome.exit, 0, "{outcome:?}");
    // It never asks for a second purge.
    let purges = api.calls().iter().filter(|(name, _)| *name == "CreatePurgeTask").count();
    assert_eq!(purges, 1);
    let outcome = run(&purging(ONE, &[gone()]), wait);
    assert_eq!(outcome.exit, 3, "{outcome:?}");
}

#[test]
fn a_purge_whose_answer_is_lost_is_not_sent_twice() {
    let answers =
        Answers::from([("DescribeZones", vec![zones(ONE)]), ("CreatePurgeTask", vec![Ok(Value::Null)])]);
    let api = Api::start(answers);
    let outcome = run(&api, &["purge", "all"]);
    assert_eq!((outcome.exit, api.calls().len()), (3, 2), "{outcome:?}");
}

#[test]
fn the_zone_is_found_by_the_longest_name_that_covers_the_host() {
    let check = |arguments: &[&str], expected: Result<&str, &str>| {
        let api = purging(TWO, &[]);
        let outcome = run(&api, arguments);
        match expected {
            Ok(zone_id) => {
                assert_eq!(outcome.exit, 0, "{outcome:?}");
                assert_eq!(api.calls().pop().unwrap().1["ZoneId"], zone_id, "{arguments:?}");
            }
            Err(text) => {
                assert_eq!(outcome.exit, 2, "{outcome:?}");
                assert!(outcome.err.contains(text), "{arguments:?}: {}", outcome.err);
            }
        }
    };
    check(&["purge", "url", "http://WWW.example.com:80/a"], Ok("zone-aaaaaaaaaaaa"));
    check(&["purge", "prefix", "https://www.shop.example.com/a/"], Ok("zone-bbbbbbbbbbbb"));
    check(&["purge", "host", "shop.example.com"], Ok("zone-bbbbbbbbbbbb"));
    check(&["purge", "host", "myexample.com"], Err("no zone has the host \"myexample.com\""));
    check(&["purge", "host", "www.example.com", "shop.example.com"], Err("several zones"));
    check(&["purge", "all"], Err("zone-aaaaaaaaaaaa (example.com), zone-bbbbbbbbbbbb (shop.example.com)"));
    check(&["purge", "tag", "a"], Err("say which zone"));
    check(&["purge", "tag", "a", "--domain", "www.example.com"], Ok("zone-aaaaaaaaaaaa"));
    check(&["purge", "url", "www.example.com/a"], Err("\"www.example.com/a\" is no URL"));
    check(&["purge", "all", "--zone", "shop.example.com"], Ok("zone-bbbbbbbbbbbb"));
    check(&["purge", "all", "--zone", "zone-cccccccccccc"], Ok("zone-cccccccccccc"));
    check(&["purge", "url", "http://a.test/", "--zone", "*"], Ok("*"));
    check(&["purge", "all", "--zone", "other.com"], Err("there is no zone \"other.com\""));
}

#[test]
fn each_way_to_end_has_its_exit_code() {
    let check = |api: &Api, arguments: &[&str], exit: u8, text: &str| {
        let outcome = run(api, arguments);
        assert_eq!(outcome.exit, exit, "{outcome:?}");
        assert!((outcome.err.clone() + &outcome.out).contains(text), "{outcome:?}");
    };
    let wait = &["purge", "all", "--wait", "--timeout", "5"];
    check(&purging(ONE, &[progress("success")]), wait, 0, "accepted 1 target as job 2job");
    check(&purging(ONE, &[progress("processing")]), wait, 4, "error: the task had not ended");
    check(&purging(ONE, &[progress("failed")]), wait, 5, "error: the task ended as failed");
    check(&purging(ONE, &[Err(ErrorCode::ServiceUnavailable)]), wait, 1, "ServiceUnavailable");

    let mut answers = Answers::from([("DescribeZones", vec![zones(ONE)])]);
    answers.insert("CreatePurgeTask", vec![Err(ErrorCode::DailyQuota)]);
    let refusal = format!("error: LimitExceeded.DailyQuota: because ({REQUEST_ID})\n");
    check(&Api::start(answers.clone()), &["purge", "all"], 1, &refusal);

    let failed = json!([{ "Reason": "host outside the zone", "Targets": ["http://b.test/"] }]);
    answers.insert("CreatePurgeTask", vec![Ok(json!({ "JobId": "2job", "FailedList": failed }))]);
    answers.insert("DescribeJobProgress", vec![progress("success")]);
    let arguments = &["purge", "url", "http://a.example.com/", "http://b.test/", "--wait"];
    let api = Api::start(answers);
    check(&api, arguments, 6, "not accepted: http://b.test/ (host outside the zone)");
    check(&api, arguments, 6, "accepted 1 target as job");
}

#[test]
fn targets_are_counted_once_and_not_less_for_a_failed_domain_of_tags() {
    let failed = json!([{ "Reason": "domain not valid", "Targets": ["b.test"] }]);
    let api = Api::start(Answers::from([
        ("DescribeZones", vec![zones(ONE)]),
        ("CreatePurgeTask", vec![Ok(json!({ "JobId": "2job", "FailedList": failed }))]),
    ]));
    let arguments = ["purge", "tag", "news", "news", "--domain", "a.example.com", "--domain", "b.test"];
    let outcome = run(&api, &arguments);
    assert_eq!((outcome.exit, outcome.out.as_str()), (6, "accepted 1 target as job 2job\n"));
}

#[test]
fn an_empty_list_of_tasks_is_said_to_be_empty() {
    let api = Api::start(Answers::from([(
        "DescribePurgeTasks",
        vec![Ok(json!({ "TotalCount": 0, "Tasks": [] }))],
    )]));
    let outcome = run(&api, &["task", "list", "--job", "2job"]);
    assert_eq!(outcome.exit, 0, "{outcome:?}");
    assert!(outcome.err.starts_with("no such tasks"), "{outcome:?}");
}

#[test]
fn an_endpoint_that_is_gone_or_something_else_is_told_apart_from_a_refusal() {
    let key =
        [("EVERFRESH_SECRET_ID", SECRET_ID.to_owned()), ("EVERFRESH_SECRET_KEY", SECRET_KEY.to_owned())];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut environment = BTreeMap::from(key);
    environment.insert("EVERFRESH_ENDPOINT", endpoint.clone());
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        Received::read(&mut BufReader::new(stream.try_clone().unwrap())).unwrap();
        stream
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
    });
    let outcome = run_in(&environment, &["zone", "list"]);
    assert_eq!(outcome.exit, 3, "{outcome:?}");
    assert!(outcome.err.contains("502"), "{outcome:?}");
    answering.join().unwrap();
    // The listener is gone now.
    let outcome = run_in(&environment, &["zone", "list"]);
    assert_eq!(outcome.exit, 3, "{outcome:?}");
    assert!(outcome.err.contains(&endpoint), "{outcome:?}");
}

#[test]
fn a_private_authority_is_trusted_only_when_named() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let api = Api::start_tls(Answers::from([("DescribeZones", vec![zones(ONE)])]), Arc::new(config));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    let outcome = run(&api, &["zone", "list", "--ca-cert", file.to_str().unwrap()]);
    assert_eq!(outcome.exit, 0, "{outcome:?}");
    let outcome = run(&api, &["zone", "list"]);
    assert_eq!(outcome.exit, 3, "{outcome:?}");
    assert!(outcome.err.contains("certificate"), "{outcome:?}");
}

#[test]
fn json_is_the_answer_and_nothing_else() {
    let api = purging(ONE, &[progress("success")]);
    let outcome = run(&api, &["purge", "all", "--json"]);
    let expected = json!({ "JobId": "2job", "FailedList": [], "RequestId": REQUEST_ID.to_string() });
    assert_eq!((outcome.exit, outcome.json(), outcome.err.as_str()), (0, expected, ""));
    let outcome = run(&api, &["purge", "all", "--json", "--wait"]);
    assert_eq!(outcome.json()["Progress"]["LastSeq"], 7);
    let outcome = run(&api, &["zone", "list", "--json"]);
    assert_eq!(outcome.json()["Zones"][0]["ZoneName"], "example.com");
    let outcome = run(&api, &["zone", "--json", "list"]);
    assert_eq!(outcome.json()["TotalCount"], 1);
}

#[test]
fn lists_are_aligned_tables() {
    let task = json!({
        "JobId": "2job", "Target": "http://www.example.com/\u{1b}[2J", "Type": "purge_url", "Method": "delete",
        "Status": "success", "CreateTime": "2023-11-14T22:13:20Z", "UpdateTime": "2023-11-14T22:13:20Z"
    });
    let api = Api::start(Answers::from([
        ("DescribeZones", vec![zones(TWO)]),
        ("DescribePurgeTasks", vec![Ok(json!({ "TotalCount": 3, "Tasks": [task] }))]),
        ("DescribeJobProgress", vec![progress("success")]),
        (
            "DescribeEdges",
            vec![Ok(json!({ "Edges": [{
            "EdgeName": "edge-1", "MemberId": "m1", "AppliedSeq": 7, "State": "pending",
            "JoinTime": "2023-11-14T22:13:20Z"
        }] }))],
        ),
    ]));
    let out = |arguments: &[&str]| {
        let outcome = run(&api, arguments);
        assert_eq!(outcome.exit, 0, "{outcome:?}");
        outcome.out
    };
    assert_eq!(
        out(&["zone", "list"]),
        "ZONE               NAME              STATUS  AREA    CREATED\n\
         zone-aaaaaaaaaaaa  example.com       active  global  2023-11-14T00:00:00Z\n\
         zone-bbbbbbbbbbbb  shop.example.com  active  global  2023-11-14T00:00:00Z\n"
    );
    let row = "JOB   ACCEPTED              TYPE       METHOD  STATUS   TARGET\n\
               2job  2023-11-14T22:13:20Z  purge_url  delete  success  http://www.example.com/\u{fffd}[2J\n";
    assert_eq!(out(&["task", "list", "--since", "2h", "--status", "success", "--target", "www"]), row);
    assert_eq!(
        api.calls().pop().unwrap().1,
        json!({
            "StartTime": "2023-11-14T20:13:20Z", "EndTime": "2023-11-14T22:13:20Z", "Offset": 0, "Limit": 20,
            "Filters": [
                { "Name": "statuses", "Values": ["success"] },
                { "Name": "target", "Values": ["www"], "Fuzzy": true },
            ]
        })
    );
    assert_eq!(run(&api, &["task", "list"]).err, "2 more; see --limit and --offset\n");
    assert_eq!(
        out(&["task", "show", "2job"]),
        format!(
            "job 2job: purged on every edge in 12 ms, up to seq 7\n\n\
             EDGE    MEMBER  APPLIED  LAG  STATE    WAITED FOR  WHY\n\
             edge-1  m1      7        0    applied  no          acknowledged\n\n{row}"
        )
    );
    assert_eq!(
        out(&["edges"]),
        "EDGE    MEMBER  APPLIED  LAG  STATE    ADDRESS  VERSION  JOINED\n\
         edge-1  m1      7        -    pending  -        -        2023-11-14T22:13:20Z\n"
    );
}

#[test]
fn a_job_under_way_is_shown_with_whom_it_waits_for_and_until_when() {
    for (status, deadline, edge, expected) in [
        (
            "processing",
            json!(5_038),
            edge_at(5, "pending", "not-acknowledged"),
            "processing for 12 ms, seq 6 to 7; it ends in 5038 ms at the latest, whichever edge is silent",
        ),
        ("processing", json!(0), edge_at(5, "pending", "silent"), "silent, heard of 2600 ms ago"),
        ("processing", json!(0), edge_at(5, "pending", "silent"), "; it ends now\n"),
        (
            "processing",
            json!(9),
            edge_at(5, "pending", "acks-only"),
            "it waits without bound for 1 edge with acks-only: until it acknowledges, or is removed",
        ),
        ("timeout", json!(null), edge_at(0, "leaving", "promise-given-up"), "promise-given-up: policy serve"),
        (
            "timeout",
            json!(null),
            edge_at(0, "leaving", "promise-given-up"),
            "timeout for 12 ms, seq 6 to 7\n",
        ),
    ] {
        let mut told = progress(status).unwrap();
        told["DeadlineMilliseconds"] = deadline;
        told["Edges"] = json!([edge]);
        let api = Api::start(Answers::from([
            ("DescribePurgeTasks", vec![Ok(json!({ "TotalCount": 0, "Tasks": [] }))]),
            ("DescribeJobProgress", vec![Ok(told)]),
        ]));
        let outcome = run(&api, &["task", "show", "2job"]);
        assert!(outcome.exit == 0 && outcome.out.contains(expected), "{expected}: {outcome:?}");
    }
}

/// An API that does whatever it is told.
fn obliging() -> Api {
    let done = || vec![Ok(json!({}))];
    let made = json!({ "SecretId": "AKIDNEW", "SecretKey": "newsecret" });
    let quota = json!({ "Batch": 100, "Daily": 10000, "DailyAvailable": 9999, "Type": "purge_cache_tag" });
    Api::start(Answers::from([
        ("DescribeZones", vec![zones(TWO)]),
        ("CreateZone", vec![Ok(json!({ "ZoneId": "zone-cccccccccccc", "OwnershipVerification": null }))]),
        ("ModifyZoneStatus", done()),
        ("DeleteZone", done()),
        ("DescribeContentQuota", vec![Ok(json!({ "PurgeQuota": [quota], "PrefetchQuota": null }))]),
        ("ModifyContentQuota", done()),
        ("CreateAccelerationDomain", vec![Ok(json!({ "OwnershipVerification": null }))]),
        ("DescribeAccelerationDomains", vec![Ok(json!({ "TotalCount": 0, "AccelerationDomains": [] }))]),
        ("ModifyAccelerationDomain", done()),
        ("ModifyAccelerationDomainStatuses", done()),
        ("DeleteAccelerationDomains", done()),
        ("CreateKey", vec![Ok(made)]),
        ("DescribeKeys", vec![Ok(json!({ "Keys": [] }))]),
        ("ModifyKeyStatus", done()),
        ("DeleteKey", done()),
    ]))
}

/// The command prints this, having called this operation last with (at least) these parameters.
fn check_call(arguments: &[&str], out: &str, action: &str, parameters: Value) {
    let api = obliging();
    let outcome = run(&api, arguments);
    assert_eq!((outcome.exit, outcome.out.as_str()), (0, out), "{outcome:?}");
    let (called, given) = api.calls().pop().unwrap();
    assert_eq!(called, action);
    for (name, value) in parameters.as_object().unwrap() {
        assert_eq!(given[name], *value, "{arguments:?} {name}");
    }
}

const A: &str = ONE[0].0;
const B: &str = TWO[1].0;

#[test]
fn zones_are_configured() {
    check_call(
        &["zone", "create", "new.test", "--area", "global"],
        "made zone new.test (zone-cccccccccccc)\n",
        "CreateZone",
        json!({ "ZoneName": "new.test", "Area": "global" }),
    );
    let pause = json!({ "ZoneId": A, "Paused": true });
    check_call(
        &["zone", "pause", "example.com"],
        "paused zone zone-aaaaaaaaaaaa\n",
        "ModifyZoneStatus",
        pause,
    );
    let resume = json!({ "ZoneId": B, "Paused": false });
    check_call(&["zone", "resume", B], "resumed zone zone-bbbbbbbbbbbb\n", "ModifyZoneStatus", resume);
    check_call(
        &["zone", "delete", B],
        "deleted zone zone-bbbbbbbbbbbb\n",
        "DeleteZone",
        json!({ "ZoneId": B }),
    );
    check_call(
        &["zone", "quota", A],
        "TYPE             PER CALL  PER DAY  LEFT TODAY\npurge_cache_tag  100       10000    9999\n",
        "DescribeContentQuota",
        json!({ "ZoneId": A }),
    );
    check_call(
        &["zone", "quota", A, "--type", "purge_url", "--daily", "5"],
        "changed the quota for purge_url of zone zone-aaaaaaaaaaaa\n",
        "ModifyContentQuota",
        json!({ "Type": "purge_url", "Daily": 5 }),
    );
}

#[test]
fn domains_are_configured() {
    check_call(
        &["domain", "create", "a.shop.example.com", "--origin", "http://127.0.0.1:9000"],
        "added domain a.shop.example.com\n",
        "CreateAccelerationDomain",
        json!({
            "ZoneId": B, "DomainName": "a.shop.example.com", "OriginProtocol": "HTTP", "HttpOriginPort": 9000,
            "HttpsOriginPort": 443, "OriginInfo": { "OriginType": "IP_DOMAIN", "Origin": "127.0.0.1" }
        }),
    );
    check_call(
        &[
            "domain",
            "modify",
            "www.example.com",
            "--origin",
            "https://[::1]:8443",
            "--backup-origin",
            "127.0.0.1",
            "--host-header",
            "h.test",
        ],
        "changed domain www.example.com\n",
        "ModifyAccelerationDomain",
        json!({
            "ZoneId": A, "HttpsOriginPort": 8443,
            "OriginInfo": {
                "OriginType": "IP_DOMAIN", "Origin": "::1", "BackupOrigin": "127.0.0.1", "HostHeader": "h.test"
            }
        }),
    );
    check_call(
        &["domain", "offline", "www.example.com"],
        "www.example.com now offline\n",
        "ModifyAccelerationDomainStatuses",
        json!({ "ZoneId": A, "DomainNames": ["www.example.com"], "Status": "offline" }),
    );
    let two = json!({ "DomainNames": ["www.example.com", "m.example.com"], "Force": false });
    check_call(
        &["domain", "delete", "www.example.com", "m.example.com"],
        "deleted www.example.com, m.example.com\n",
        "DeleteAccelerationDomains",
        two,
    );
    check_call(
        &["domain", "list", "--zone", A],
        "DOMAIN  STATUS  ORIGIN  PROTOCOL  HTTP  HTTPS  CHANGED\n",
        "DescribeAccelerationDomains",
        json!({ "ZoneId": A, "Limit": 200 }),
    );
}

#[test]
fn keys_are_configured() {
    check_call(
        &["key", "create", "--comment", "ci"],
        "EVERFRESH_SECRET_ID=AKIDNEW\nEVERFRESH_SECRET_KEY=newsecret\n",
        "CreateKey",
        json!({ "Comment": "ci" }),
    );
    check_call(&["key", "list"], "SECRET ID  STATUS  CREATED  COMMENT\n", "DescribeKeys", json!({}));
    let disabled = json!({ "SecretId": "AKIDNEW", "Status": "disabled" });
    check_call(&["key", "disable", "AKIDNEW"], "disabled key AKIDNEW\n", "ModifyKeyStatus", disabled);
    check_call(
        &["key", "delete", "AKIDNEW"],
        "deleted key AKIDNEW\n",
        "DeleteKey",
        json!({ "SecretId": "AKIDNEW" }),
    );
}

#[test]
fn all_pages_of_zones_are_read() {
    let names: Vec<(String, String)> =
        (0..130).map(|n| (format!("zone-{n:012}"), format!("z{n:03}.test"))).collect();
    let page = |range: std::ops::Range<usize>| {
        let zones: Vec<Value> = names[range].iter().map(|(id, name)| zone(id, name)).collect();
        Ok(json!({ "TotalCount": 130, "Zones": zones }))
    };
    let api = Api::start(Answers::from([("DescribeZones", vec![page(0..100), page(100..130)])]));
    let outcome = run(&api, &["zone", "list"]);
    assert_eq!(outcome.out.lines().count(), 131);
    assert_eq!(api.calls()[1].1["Offset"], 100);
}

#[test]
fn lists_too_long_to_be_whole_are_refused() {
    let hundred: Vec<Value> = (0..100).map(|_| zone("zone-aaaaaaaaaaaa", "example.com")).collect();
    let domains: Vec<Value> = (0..200)
        .map(|n| {
            json!({
                "ZoneId": A, "DomainName": format!("d{n}.example.com"), "DomainStatus": "online", "Cname": "",
                "CreatedOn": "", "ModifiedOn": "", "ComplianceRestrictions": []
            })
        })
        .collect();
    let api = Api::start(Answers::from([
        ("DescribeZones", vec![Ok(json!({ "TotalCount": 10_001, "Zones": hundred }))]),
        (
            "DescribeAccelerationDomains",
            vec![Ok(json!({ "TotalCount": 10_001, "AccelerationDomains": domains }))],
        ),
    ]));
    let outcome = run(&api, &["zone", "list"]);
    assert_eq!((outcome.exit, outcome.out.as_str()), (2, ""));
    assert!(outcome.err.contains("more than 10000 zones"), "{outcome:?}");
    let outcome = run(&api, &["domain", "list", "--zone", A]);
    assert_eq!((outcome.exit, outcome.out.as_str()), (2, ""));
    assert!(outcome.err.contains("more than 10000 domains"), "{outcome:?}");
}

#[test]
fn the_key_comes_from_the_environment_or_a_profile_and_never_half() {
    let api = purging(ONE, &[]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("profiles.json");
    let profile = json!({ "endpoint": api.endpoint, "secret_id": SECRET_ID, "secret_key": SECRET_KEY });
    let write = |profiles: Value, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(&file, profiles.to_string()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let check = |variables: &[(&'static str, &str)], arguments: &[&str], exit: u8, text: &str| {
        let mut environment: BTreeMap<&str, String> =
            variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        environment.insert("EVERFRESH_PROFILE_FILE", file.to_str().unwrap().to_owned());
        let outcome = run_in(&environment, arguments);
        assert_eq!(outcome.exit, exit, "{outcome:?}");
        assert!(
            if text.is_empty() { outcome.err.is_empty() } else { outcome.err.contains(text) },
            "{outcome:?}"
        );
    };
    let list = &["zone", "list"];
    check(&[], list, 2, "there is no key");
    check(&[("EVERFRESH_SECRET_ID", "a")], list, 2, "set both");
    check(&[], &["zone", "list", "--profile", "prod"], 2, "cannot read the profile file");
    write(json!({ "default": profile, "prod": { "endpoint": api.endpoint, "secret_id": "a" } }), 0o600);
    check(&[], list, 0, "");
    check(&[], &["zone", "list", "--profile", "prod"], 2, "both secret_id and secret_key");
    check(&[], &["zone", "list", "--profile", "test"], 2, "no profile \"test\"; it has: default, prod");
    let wrong = [("EVERFRESH_SECRET_ID", SECRET_ID), ("EVERFRESH_SECRET_KEY", "wrong")];
    let elsewhere = &["zone", "list", "--endpoint", api.endpoint.as_str()];
    check(&wrong, elsewhere, 1, "AuthFailure.SignatureFailure");
    // A profile that is named counts for more than the environment.
    check(&wrong, &["zone", "list", "--profile", "default"], 0, "");
    write(json!({ "default": profile }), 0o644);
    check(&[], list, 0, "warning: others may read the keys");
    write(json!({ "default": { "secret": "x" } }), 0o600);
    check(&[], list, 2, "unknown field");
    // With a key in the environment the file is not even read.
    check(&wrong, elsewhere, 1, "AuthFailure.SignatureFailure");
    check(&wrong, &["zone", "list", "--endpoint", "127.0.0.1:80"], 2, "must read http://");
    check(&wrong, &["zone", "list", "--ca-cert", file.to_str().unwrap()], 2, "no PEM certificate");
    // Sparse: only the length is looked at.
    std::fs::File::create(&file).unwrap().set_len(5 * 1024 * 1024).unwrap();
    check(&[], list, 2, "larger than 1048576 bytes");
    check(&wrong, &["zone", "list", "--ca-cert", file.to_str().unwrap()], 2, "larger than 4194304 bytes");
}

#[test]
fn help_texts_have_examples_and_exit_codes() {
    use clap::CommandFactory as _;
    let mut program = Program::command();
    program.build();
    assert_eq!(program.get_about().unwrap().to_string(), "Of the test", "a binary's own text must win");
    for command in program.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        let help = command.render_long_help().to_string();
        for part in ["Examples:", "Exit codes:", "EVERFRESH_ENDPOINT", "--json", "--ca-cert"] {
            assert!(help.contains(part), "{} --help lacks {part}:\n{help}", command.get_name());
        }
    }
    Program::command().debug_assert();
}

/// A zone's settings as the API tells them.
fn settings() -> Value {
    json!({
        "Cache": {
            "FollowOrigin": {
                "Switch": "on", "DefaultCache": "on", "DefaultCacheStrategy": "on", "DefaultCacheTime": 0
            },
            "NoCache": { "Switch": "off" }, "CustomTime": { "Switch": "off" }
        },
        "MaxAge": { "FollowOrigin": "off", "CacheTime": 600 },
        "CacheKey": {
            "FullURLCache": "off", "IgnoreCase": "off",
            "QueryString": { "Switch": "on", "Action": "excludeCustom", "Values": ["utm"] }
        },
        "CachePrefresh": { "Switch": "on", "CacheTimePercent": 90 }, "OfflineCache": { "Switch": "off" }
    })
}

fn rule() -> Value {
    json!({
        "Status": "enable", "RuleId": "rule-1", "RuleName": "images", "Description": [], "RulePriority": 1,
        "Branches": [{
            "Condition": "${http.request.file_extension} in ['jpg']", "SubRules": [],
            "Actions": [
                { "Name": "Cache", "CacheParameters": {
                    "FollowOrigin": null, "NoCache": null,
                    "CustomTime": { "Switch": "on", "IgnoreCacheControl": "on", "CacheTime": 3600 } } },
                { "Name": "CacheKey", "CacheKeyParameters": {
                    "QueryString": null, "IgnoreCase": "on", "Header": null, "Scheme": "on", "Cookie": null } }
            ]
        }]
    })
}

fn configurable() -> Api {
    Api::start(Answers::from([
        ("DescribeZones", vec![zones(ONE)]),
        (
            "DescribeL7AccSetting",
            vec![Ok(json!({ "ZoneSetting": { "ZoneName": "example.com", "ZoneConfig": settings() } }))],
        ),
        ("ModifyL7AccSetting", vec![Ok(json!({}))]),
        ("DescribeL7AccRules", vec![Ok(json!({ "TotalCount": 1, "Rules": [rule()] }))]),
        ("CreateL7AccRules", vec![Ok(json!({ "RuleIds": ["rule-2"] }))]),
        ("ModifyL7AccRule", vec![Ok(json!({}))]),
        ("ModifyL7AccRulePriority", vec![Ok(json!({}))]),
        ("DeleteL7AccRules", vec![Ok(json!({}))]),
    ]))
}

/// The last call's parameter of this name.
fn sent(api: &Api, action: &str, parameter: &str) -> Value {
    let (called, given) = api.calls().pop().unwrap();
    assert_eq!(called, action);
    given[parameter].clone()
}

#[test]
fn cache_settings_are_shown_in_the_words_that_change_them() {
    let api = configurable();
    let outcome = run(&api, &["settings", "show"]);
    assert_eq!(
        (outcome.exit, outcome.out.as_str()),
        (
            0,
            "SETTING        VALUE\n\
             cache          follow-origin\n\
             default-cache  auto\n\
             max-age        10m\n\
             query          except:utm\n\
             ignore-case    off\n\
             prefresh       90%\n\
             offline-cache  off\n"
        )
    );
    let outcome = run(&api, &["settings", "set", "--cache", "10m", "--query", "only:a,b"]);
    assert_eq!(
        (outcome.exit, outcome.out.as_str()),
        (0, "changed the cache settings of zone-aaaaaaaaaaaa\n")
    );
    assert_eq!(
        sent(&api, "ModifyL7AccSetting", "ZoneConfig"),
        json!({
            "Cache": {
                "FollowOrigin": { "Switch": "off" }, "NoCache": { "Switch": "off" },
                "CustomTime": { "Switch": "on", "CacheTime": 600 }
            },
            "MaxAge": null,
            "CacheKey": {
                "FullURLCache": "off",
                "QueryString": { "Switch": "on", "Action": "includeCustom", "Values": ["a", "b"] }
            },
            "CachePrefresh": null, "OfflineCache": null
        })
    );
    // What was printed as JSON can be given as it is, or only the settings in it.
    let printed = run(&api, &["settings", "show", "--json"]).out;
    for input in [printed, settings().to_string()] {
        let outcome = run_piped(&api, &["settings", "set", "--file", "-"], &input);
        assert_eq!(outcome.exit, 0, "{outcome:?}");
        assert_eq!(sent(&api, "ModifyL7AccSetting", "ZoneConfig"), settings());
    }
}

#[test]
fn rules_are_made_changed_and_listed() {
    let api = configurable();
    let outcome = run(&api, &["rules", "list"]);
    assert_eq!(
        (outcome.exit, outcome.out.as_str()),
        (
            0,
            "RULE    STATUS  NAME    WHERE                                      WHAT\n\
             rule-1  enable  images  ${http.request.file_extension} in ['jpg']  cache=1h ignore-cache-control \
             ignore-case=on key-scheme=on\n"
        )
    );
    let made =
        &["rules", "create", "--name", "api", "--host", "a.example.com,b.example.com", "--path", "/api/*"];
    let outcome = run(&api, &[made.as_slice(), &["--cache", "no-cache", "--status-ttl", "404=10s"]].concat());
    assert_eq!((outcome.exit, outcome.out.as_str()), (0, "made rule-2\n"), "{outcome:?}");
    let rules = sent(&api, "CreateL7AccRules", "Rules");
    assert_eq!(rules[0]["RuleName"], "api");
    let branch = &rules[0]["Branches"][0];
    assert_eq!(
        branch["Condition"],
        "${http.request.host} in ['a.example.com', 'b.example.com'] and ${http.request.uri.path} in ['/api/*']"
    );
    assert_eq!(branch["Actions"][0]["CacheParameters"]["NoCache"], json!({ "Switch": "on" }));
    assert_eq!(
        branch["Actions"][1]["StatusCodeCacheParameters"]["StatusCodeCacheParams"],
        json!([{ "StatusCode": 404, "CacheTime": 10 }])
    );
    // A change by flags keeps what they do not name.
    let outcome = run(&api, &["rules", "modify", "rule-1", "--query", "none", "--status", "disable"]);
    assert_eq!((outcome.exit, outcome.out.as_str()), (0, "changed rule-1\n"), "{outcome:?}");
    let changed = sent(&api, "ModifyL7AccRule", "Rule");
    let mut expected = rule();
    expected["Status"] = "disable".into();
    let key = &mut expected["Branches"][0]["Actions"][1]["CacheKeyParameters"];
    (key["FullURLCache"], key["QueryString"]) = ("off".into(), json!({ "Switch": "off" }));
    assert_eq!(changed, expected);
    let outcome = run(&api, &["rules", "order", "rule-2", "rule-1"]);
    assert_eq!(outcome.exit, 0, "{outcome:?}");
    assert_eq!(sent(&api, "ModifyL7AccRulePriority", "RuleIds"), json!(["rule-2", "rule-1"]));
    let outcome = run(&api, &["rules", "delete", "rule-1"]);
    assert_eq!((outcome.exit, outcome.out.as_str()), (0, "deleted rule-1\n"));
}

#[test]
fn rules_and_settings_that_say_nothing_or_too_much_are_refused_before_they_are_sent() {
    let api = configurable();
    let check = |arguments: &[&str], input: &str, text: &str| {
        let before = api.calls().len();
        let outcome = run_piped(&api, arguments, input);
        assert_eq!(outcome.exit, 2, "{outcome:?}");
        assert!(outcome.err.contains(text), "{arguments:?}: {}", outcome.err);
        let changes = api.calls()[before..].iter().filter(|(name, _)| !name.starts_with("Describe")).count();
        assert_eq!(changes, 0, "{arguments:?}");
    };
    check(&["settings", "set"], "", "nothing to change");
    check(&["settings", "set", "--cache", "1h", "--file", "-"], "{}", "not both");
    check(&["settings", "set", "--file", "-"], "", "it is empty");
    check(&["settings", "set", "--file", "-"], "[1]", "must be one JSON object");
    check(&["settings", "set", "--file", "-"], r#"{"Cache": 1}"#, "Cache");
    check(&["settings", "set", "--file", "-"], r#"{"Cash": {}}"#, "Cash");
    check(&["settings", "set", "--file", "/nowhere/zone.json"], "", "cannot use /nowhere/zone.json");
    check(&["settings", "set", "--cache", "no-cache", "--default-cache", "1h"], "", "--cache follow-origin");
    check(&["rules", "create", "--cache", "1h"], "", "say where the rule counts");
    check(&["rules", "create", "--host", "a.example.com"], "", "say what the rule decides");
    check(&["rules", "create", "--path", "/it's", "--cache", "1h"], "", "--condition");
    check(&["rules", "create", "--cache", "1h", "--file", "-"], "{}", "not both");
    check(&["rules", "create", "--file", "-"], r#"{"Rules": [{"Branch": []}]}"#, "Branch");
    check(&["rules", "modify", "rule-1"], "", "nothing to change");
    check(
        &["rules", "modify", "rule-1", "--file", "-"],
        r#"{"RuleId": "rule-9"}"#,
        "another rule than rule-1",
    );
}

#[test]
fn several_rules_come_from_one_file_as_they_were_listed() {
    let api = configurable();
    let printed = run(&api, &["rules", "list", "--json"]).out;
    let outcome = run_piped(&api, &["rules", "create", "--file", "-"], &printed);
    assert_eq!(outcome.exit, 0, "{outcome:?}");
    assert_eq!(sent(&api, "CreateL7AccRules", "Rules"), json!([rule()]));
    let outcome = run_piped(&api, &["rules", "modify", "rule-1", "--file", "-"], &rule().to_string());
    assert_eq!(outcome.exit, 0, "{outcome:?}");
    assert_eq!(sent(&api, "ModifyL7AccRule", "Rule"), rule());
}

fn prefetch_task(target: &str, status: &str, why: Option<&str>) -> Value {
    json!({
        "JobId": "2job", "Target": target, "Type": "prefetch_url", "Status": status, "FailMessage": why,
        "CreateTime": "2023-11-14T22:13:20Z", "UpdateTime": "2023-11-14T22:13:20Z"
    })
}

fn prefetching(told: &[&[(&str, Option<&str>)]]) -> Api {
    let told = told.iter().map(|tasks| {
        let tasks: Vec<Value> = tasks
            .iter()
            .enumerate()
            .map(|(n, (status, why))| prefetch_task(&format!("http://a.example.com/{n}"), status, *why))
            .collect();
        Ok(json!({ "TotalCount": tasks.len(), "Tasks": tasks }))
    });
    Api::start(Answers::from([
        ("DescribeZones", vec![zones(ONE)]),
        ("CreatePrefetchTask", vec![created()]),
        ("DescribePrefetchTasks", told.collect()),
    ]))
}

#[test]
fn a_prefetch_is_sent_and_waited_for() {
    let api = prefetching(&[&[("processing", None)], &[("success", None)]]);
    let outcome = run(
        &api,
        &[
            "prefetch",
            "http://a.example.com/0",
            "--mode",
            "edge",
            "--header",
            "Accept-Encoding: gzip",
            "--wait",
        ],
    );
    assert_eq!(
        (outcome.exit, outcome.out.as_str(), outcome.err.as_str()),
        (0, "accepted 1 target as job 2job\nfetched 1 of 1 URL\n", "")
    );
    assert_eq!(
        api.calls()[1].1,
        json!({
            "ZoneId": A, "Targets": ["http://a.example.com/0"], "Mode": "edge", "EncodeUrl": false,
            "Headers": [{ "Name": "Accept-Encoding", "Value": "gzip" }], "PrefetchMediaSegments": "off"
        })
    );
    assert_eq!(api.calls().len(), 4);
    let api = prefetching(&[&[("success", None), ("failed", Some("1 of 2 edges: origin answered 500"))]]);
    let arguments = ["prefetch", "http://a.example.com/0", "http://a.example.com/1", "--wait"];
    let outcome = run(&api, &arguments);
    assert_eq!(outcome.exit, 5, "{outcome:?}");
    assert!(outcome.out.ends_with("fetched 1 of 2 URLs\n"), "{outcome:?}");
    assert_eq!(outcome.err, "not fetched: http://a.example.com/1 (1 of 2 edges: origin answered 500)\n");
    let outcome = run(&api, &[arguments.as_slice(), &["--json"]].concat());
    assert_eq!(outcome.json()["Tasks"][1]["Status"], "failed");
    let outcome = run(
        &prefetching(&[&[("processing", None)]]),
        &[&arguments[..2], &["--wait", "--timeout", "5"]].concat(),
    );
    assert_eq!(outcome.exit, 4, "{outcome:?}");
    let outcome = run(&api, &["prefetch", "a.example.com/0"]);
    assert_eq!(outcome.exit, 2, "{outcome:?}");
    let outcome = run(&api, &["prefetch", "list", "--job", "2job"]);
    assert_eq!(outcome.exit, 0, "{outcome:?}");
    assert!(outcome.out.contains("failed (1 of 2 edges: origin answered 500)"), "{outcome:?}");
    let parse = |arguments: &[&str]| Program::try_parse_from([&["everfresh"], arguments].concat()).is_ok();
    assert!(!parse(&["prefetch"]));
    assert!(!parse(&["prefetch", "http://a.example.com/", "--header", "no field"]));
}
