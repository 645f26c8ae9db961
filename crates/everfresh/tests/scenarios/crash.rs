//! `kill -9` at random moments. Whatever was answered with a `JobId` is there afterwards, once.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::parts::process::PATIENCE;
use crate::parts::{Everfresh, Sdk, Serve, until};

const ROUNDS: usize = 6;
const CLIENTS: usize = 3;
const TARGETS: usize = 3;
/// At most so many answers are waited for before the process is killed.
const ANSWERS_MAX: u64 = 30;
/// And at most so long after the last of them, so that any point between two answers is hit.
const DELAY_MICROSECONDS_MAX: u64 = 20_000;
/// Far above what a lease and a loaded machine take: 5 seconds by default.
const SUCCESS: Duration = Duration::from_secs(30);

#[test]
fn answered_tasks_outlive_kill_9_and_cost_once() {
    let directory = TempDir::new().unwrap();
    let reset = midday_offset(directory.path());
    let serve = || {
        let data = directory.path().join("data");
        Serve::new("http://127.0.0.1:1").data(&data).more(&["--rate-limit", "0", "--quota-reset", &reset])
    };
    let mut network = serve().start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Sdk::start(&network)).collect();
    let start = created_at(&mut clients[0], &network);
    let random = Random(RandomState::new().hash_one(0));
    let mut answered: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let answers = 1 + random.below(ANSWERS_MAX, 2 * round);
        let delay = Duration::from_micros(random.below(DELAY_MICROSECONDS_MAX, 2 * round + 1));
        eprintln!("round {round}: kill {delay:?} after {answers} answers ({random:?})");
        let jobs = stream_until_killed(&mut network, &mut clients, round, answers, delay);
        network = serve().start();
        for client in &mut clients {
            client.set("endpoint", network.api.strip_prefix("http://").unwrap());
        }
        check_answered(&mut clients[0], &network, &jobs);
        answered.extend(jobs);
    }
    let end = created_at(&mut clients[0], &network);
    let recorded = all_jobs(&mut clients[0], &network, &start, &end);
    for job_id in &answered {
        assert!(recorded.contains_key(job_id), "{job_id} was answered and is not there");
    }
    assert!(recorded.values().all(|tasks| *tasks == TARGETS), "no job is there in part: {recorded:?}");
    // What was recorded without being answered is spent as well; nothing is spent twice.
    let spent = quota_spent(&mut clients[0], &network);
    assert_eq!(spent, recorded.values().sum::<usize>(), "of {} answered jobs", answered.len());
    assert!(answered.len() >= ROUNDS, "{answered:?}");
}

/// Sends purges from every client until the process, killed at a moment of its own, answers no more. Returns the jobs
/// that were answered.
fn stream_until_killed(
    network: &mut Everfresh,
    clients: &mut [Sdk],
    round: usize,
    answers: u64,
    delay: Duration,
) -> Vec<String> {
    let zone_id = network.zone_id.clone();
    let jobs = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (number, client) in clients.iter_mut().enumerate() {
            let (jobs, zone_id) = (&jobs, &zone_id);
            scope.spawn(move || {
                for call in 0.. {
                    let target = |of| format!("http://www.example.com/{round}/{number}/{call}/{of}");
                    let targets: Vec<_> = (0..TARGETS).map(target).collect();
                    let purge = json!({"ZoneId": zone_id, "Type": "purge_url", "Targets": targets});
                    match client.call("CreatePurgeTask", purge) {
                        Ok(created) => {
                            jobs.lock().unwrap().push(created["JobId"].as_str().unwrap().to_owned())
                        }
                        Err(refused) if refused.code == "ClientNetworkError" => break,
                        Err(refused) => panic!("{refused:?}"),
                    }
                }
            });
        }
        until(PATIENCE, "purges should be answered", || {
            (jobs.lock().unwrap().len() as u64 >= answers).then_some(())
        });
        std::thread::sleep(delay);
        network.kill();
    });
    jobs.into_inner().unwrap()
}

/// Every answered job is there with each of its targets, and reaches success.
fn check_answered(sdk: &mut Sdk, network: &Everfresh, jobs: &[String]) {
    until(SUCCESS, "every answered job should reach success", || {
        let done = jobs.iter().all(|job_id| {
            let filter = json!([{"Name": "job-id", "Values": [job_id]}]);
            let parameters = json!({"ZoneId": network.zone_id, "Filters": filter});
            let tasks = sdk.accepted("DescribePurgeTasks", parameters)["Tasks"].as_array().unwrap().clone();
            assert_eq!(tasks.len(), TARGETS, "{job_id}: {tasks:?}");
            tasks.iter().all(|task| task["Status"] == "success")
        });
        done.then_some(())
    });
}

/// The time of a purge that is made now, and that counts against another quota.
fn created_at(sdk: &mut Sdk, network: &Everfresh) -> String {
    let created = sdk.accepted("CreatePurgeTask", json!({"ZoneId": network.zone_id, "Type": "purge_all"}));
    let tasks = sdk.wait(&network.zone_id, created["JobId"].as_str().unwrap());
    tasks[0]["CreateTime"].as_str().unwrap().to_owned()
}

/// All jobs that purge URLs, and how many tasks each has.
fn all_jobs(sdk: &mut Sdk, network: &Everfresh, start: &str, end: &str) -> BTreeMap<String, usize> {
    let mut jobs = BTreeMap::new();
    let mut offset = 0;
    loop {
        let parameters = json!({"ZoneId": network.zone_id, "StartTime": start, "EndTime": end, "Offset": offset,
            "Limit": 1000, "Filters": [{"Name": "type", "Values": ["purge_url"]}]});
        let page = sdk.accepted("DescribePurgeTasks", parameters);
        let tasks = page["Tasks"].as_array().unwrap();
        if tasks.is_empty() {
            assert_eq!(page["TotalCount"], jobs.values().sum::<usize>());
            return jobs;
        }
        offset += tasks.len();
        for task in tasks {
            *jobs.entry(task["JobId"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
}

fn quota_spent(sdk: &mut Sdk, network: &Everfresh) -> usize {
    let quotas = sdk.accepted("DescribeContentQuota", json!({"ZoneId": network.zone_id}));
    let quotas = quotas["PurgeQuota"].as_array().unwrap();
    let quota = quotas.iter().find(|quota| quota["Type"] == "purge_url").unwrap();
    let number = |name: &str| quota[name].as_u64().unwrap();
    usize::try_from(number("Daily") - number("DailyAvailable")).unwrap()
}

/// The offset from UTC at which it is midday now: so no quota is renewed during the test.
fn midday_offset(directory: &Path) -> String {
    let now = std::fs::metadata(directory).unwrap().modified().unwrap();
    let hour = now.duration_since(UNIX_EPOCH).unwrap().as_secs() / 3600 % 24;
    let ahead = 12 - i64::try_from(hour).unwrap();
    format!("{}{:02}:00", if ahead < 0 { '-' } else { '+' }, ahead.abs())
}

/// Numbers that differ from run to run, and are the same for the same seed.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&self, limit: u64, nth: usize) -> u64 {
        // The finaliser of splitmix64: every bit of the seed and of the place matters.
        let mut mixed = self.0.wrapping_add((nth as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[test]
fn what_was_invalidated_before_a_crash_is_not_served_after_it() {
    let nginx = crate::parts::Nginx::start();
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    nginx.write("/a", "first\n");
    let mut network = Serve::new(&nginx.url()).data(&data).start();
    network.get_everywhere("/a");
    nginx.write("/a", "and second\n");
    let created: Value = serde_json::from_str(&network.done(&["purge", "all", "--json"])).unwrap();
    network.kill();
    let network = Serve::new(&nginx.url()).data(&data).start();
    let tasks = Sdk::start(&network).wait(&network.zone_id, created["JobId"].as_str().unwrap());
    assert_eq!(tasks[0]["Status"], "success");
    for answer in network.get_everywhere("/a") {
        assert_eq!(answer.text(), "and second\n");
    }
}
