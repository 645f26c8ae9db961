//! A run: readers that never stop, purges in between, and reads of every edge after each success.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cli::{Client, Failure, World};
use parking_lot::Mutex;
use teo::edgeone::{CacheTag, CreatePurgeTaskRequest, PurgeMethod, PurgeType};
use teo::everfresh::{DescribeJobProgressRequest, JobStatus};

use crate::edges::{Answer, Ask, Reader};
use crate::judge::{Breach, Finished, Judge};
use crate::objects::{Objects, Planned};
use crate::random::Random;
use crate::site::Site;
use crate::{Clock, VerifyArgs};

/// How many violations are kept with all their evidence; more are counted.
pub(crate) const VIOLATIONS_MAX: usize = 1000;

/// How many tasks are kept with their times; of later ones no time is told.
pub(crate) const LATENCIES_MAX: usize = 1_000_000;

/// Readers of each edge.
const READERS_PER_EDGE: usize = 2;

/// How many of the objects that a purge matched are read from each edge once it has succeeded.
const READS_AFTER_PURGE_MAX: usize = 4;

/// How many purges are under way at once.
const PURGES_AT_ONCE: usize = 3;

/// How long edges may take to know the domain.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How the codes begin by which the API says that it failed, and not the caller.
const FAILED_CODE: &str = "InternalError";

/// How long one request may ask the API to wait.
const POLL_MILLISECONDS: i64 = 10_000;

/// How long a thread sleeps at a time, so that it notices the end.
const NAP: Duration = Duration::from_millis(50);

/// What a run needs to be carried out.
pub(crate) struct Run<'r> {
    args: &'r VerifyArgs,
    pub(crate) objects: Arc<Objects>,
    pub(crate) readers: Vec<Reader>,
    site: &'r Site,
    clock: Clock,
    pub(crate) seed: u64,
    interrupted: &'r AtomicBool,
    is_over: AtomicBool,
    judge: Judge,
    pub(crate) tallies: Vec<Tally>,
    violations: Mutex<Vec<Violation>>,
    violation_count: AtomicU64,
}

/// What was read from one edge.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) reads: AtomicU64,
    pub(crate) hits: AtomicU64,
    /// Answers held against a finished purge, once for each such purge.
    pub(crate) checks: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) last_failure: Mutex<Option<String>>,
}

/// An answer that breaks the promise, with the evidence.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) breach: Breach,
    pub(crate) edge: String,
    pub(crate) url: String,
    pub(crate) answer: Answer,
    /// `None` for a mixture, which breaks it without any purge.
    pub(crate) purge: Option<Arc<Finished>>,
}

/// What a run found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) took: Duration,
    /// From acceptance to success, which the last edge makes; by the control plane's clock.
    pub(crate) latencies: Vec<Duration>,
    pub(crate) purges: Vec<(PurgeType, PurgeMethod)>,
    /// Purges that the API did not take, with `--outages`.
    pub(crate) not_taken: u64,
    /// Jobs that did not read success in time, or ended otherwise.
    pub(crate) unfinished: Vec<String>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) violation_count: u64,
}

/// A purge whose call was answered.
struct Sent {
    planned: Planned,
    method: PurgeMethod,
    job: String,
    called: Duration,
    accepted: Duration,
    /// The version of each matched object when the call was sent.
    versions: Vec<(usize, u64)>,
}

impl<'r> Run<'r> {
    pub(crate) fn new(
        args: &'r VerifyArgs,
        objects: Arc<Objects>,
        readers: Vec<Reader>,
        site: &'r Site,
        clock: Clock,
        seed: u64,
        interrupted: &'r AtomicBool,
    ) -> Self {
        Self {
            judge: Judge::new(objects.all.len()),
            tallies: readers.iter().map(|_| Tally::default()).collect(),
            args,
            objects,
            readers,
            site,
            clock,
            seed,
            interrupted,
            is_over: AtomicBool::new(false),
            violations: Mutex::default(),
            violation_count: AtomicU64::new(0),
        }
    }

    /// Reads and purges until the time is over.
    pub(crate) fn carry_out(&self, client: &Client<'_>, world: &mut World<'_>) -> Result<Findings, Failure> {
        self.wait_for_edges()?;
        let began = self.clock.now();
        if !self.args.common.is_json() {
            let edges = self.readers.len();
            writeln!(
                world.out,
                "reading {} objects of {} from {edges} edges, seed {}",
                self.objects.all.len(),
                self.site.host,
                self.seed
            )?;
            world.out.flush()?;
        }
        let mut findings = thread::scope(|scope| {
            for edge in 0..self.readers.len() {
                for number in 0..READERS_PER_EDGE {
                    scope.spawn(move || self.keep_reading(edge, (edge * READERS_PER_EDGE + number) as u64));
                }
            }
            let findings = self.keep_purging(began + self.args.duration, client);
            self.is_over.store(true, Ordering::Relaxed);
            findings
        })?;
        findings.took = self.clock.now().saturating_sub(began);
        findings.violations = std::mem::take(&mut *self.violations.lock());
        findings.violation_count = self.violation_count.load(Ordering::Relaxed);
        Ok(findings)
    }

    /// Waits until every edge answers for the domain, from our origin.
    fn wait_for_edges(&self) -> Result<(), Failure> {
        let deadline = self.clock.now() + READY_TIMEOUT;
        for reader in &self.readers {
            loop {
                let read = reader.read(&self.objects, 0, &Ask::default());
                let why = match read {
                    Ok(answer) if answer.stamp.is_some() => break,
                    Ok(_) => "it answered, but not from this command's origin".to_owned(),
                    Err(why) => why,
                };
                if self.interrupted.load(Ordering::Relaxed) || self.clock.now() > deadline {
                    let (edge, host) = (&reader.url, &self.site.host);
                    return Err(Failure::Unreachable(format!(
                        "the edge {edge} does not serve {host}: {why}"
                    )));
                }
                thread::sleep(NAP);
            }
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.interrupted.load(Ordering::Relaxed)
    }

    fn keep_reading(&self, edge: usize, number: u64) {
        let mut random = Random::new(self.seed, number);
        let mut etags: Vec<Option<String>> = vec![None; self.objects.all.len()];
        let readers = (self.readers.len() * READERS_PER_EDGE) as u32;
        let interval = Duration::from_secs(1) * readers / self.args.rate;
        let mut next = self.clock.now();
        while !self.has_ended() {
            let object = random.below(self.objects.all.len());
            let ask = Ask::draw(&self.objects, object, etags[object].as_deref(), &mut random);
            if let Some(answer) = self.read(edge, object, &ask) {
                etags[object] = answer.etag;
            }
            // A slow answer is not made up for: the load stays bounded.
            next = (next + interval).max(self.clock.now());
            while !self.has_ended() && self.clock.now() < next {
                thread::sleep(next.saturating_sub(self.clock.now()).min(NAP));
            }
        }
    }

    /// Reads once, and judges.
    fn read(&self, edge: usize, object: usize, ask: &Ask) -> Option<Answer> {
        let (reader, tally) = (&self.readers[edge], &self.tallies[edge]);
        tally.reads.fetch_add(1, Ordering::Relaxed);
        let answer = match reader.read(&self.objects, object, ask) {
            Ok(answer) => answer,
            Err(why) => {
                tally.failures.fetch_add(1, Ordering::Relaxed);
                *tally.last_failure.lock() = Some(why);
                return None;
            }
        };
        tally.hits.fetch_add(u64::from(answer.is_hit), Ordering::Relaxed);
        let broken = match &answer.seen {
            Some(seen) => {
                let (checks, broken) = self.judge.check(object, seen);
                tally.checks.fetch_add(checks as u64, Ordering::Relaxed);
                broken.map(|(breach, purge)| (breach, Some(purge)))
            }
            None => Some((Breach::Mixed, None)),
        };
        if let Some((breach, purge)) = broken {
            self.violation_count.fetch_add(1, Ordering::Relaxed);
            let mut violations = self.violations.lock();
            if violations.len() < VIOLATIONS_MAX {
                let url = format!("http://{}{}", self.site.host, self.objects.all[object].path_and_query);
                let edge = reader.url.to_string();
                violations.push(Violation { breach, edge, url, answer: answer.clone(), purge });
            }
        }
        Some(answer)
    }

    fn keep_purging(&self, until: Duration, client: &Client<'_>) -> Result<Findings, Failure> {
        let mut random = Random::new(self.seed, u64::MAX);
        let mut findings = Findings::default();
        let interval = Duration::from_secs(1) / self.args.purges;
        let mut next = self.clock.now() + interval;
        while self.clock.now() < until && !self.has_ended() {
            let count = 1 + random.below(PURGES_AT_ONCE);
            let mut under_way = Vec::with_capacity(count);
            for _ in 0..count {
                match self.purge(client, &mut random) {
                    Ok(sent) => under_way.push(sent),
                    Err(failure) if self.is_outage(&failure) => findings.not_taken += 1,
                    Err(failure) => return Err(failure),
                }
            }
            for sent in under_way {
                findings.purges.push((sent.planned.kind, sent.method));
                match self.wait_for_success(&sent, client)? {
                    Some((succeeded, latency)) => {
                        if findings.latencies.len() < LATENCIES_MAX {
                            findings.latencies.push(latency);
                        }
                        self.succeeded(&sent, succeeded, &mut random);
                    }
                    None => findings.unfinished.push(sent.job),
                }
            }
            next = (next + interval * count as u32).max(self.clock.now());
            while !self.has_ended() && self.clock.now() < next.min(until) {
                thread::sleep(next.saturating_sub(self.clock.now()).min(NAP));
            }
        }
        Ok(findings)
    }

    /// Whether the run goes on after this.
    fn is_outage(&self, failure: &Failure) -> bool {
        self.args.outages
            && match failure {
                Failure::Unreachable(_) => true,
                Failure::Refused { code, .. } => code.starts_with(FAILED_CODE),
                Failure::Usage(_) | Failure::Output(_) => false,
            }
    }

    /// Publishes new versions of some of what it matches, and sends a purge.
    fn purge(&self, client: &Client<'_>, random: &mut Random) -> Result<Sent, Failure> {
        let planned = self.objects.draw(random, &self.site.host, self.args.purge_all);
        let asked = if random.percent(50) { PurgeMethod::Delete } else { PurgeMethod::Invalidate };
        // A purge of URLs deletes, whatever its method.
        let method = if planned.kind == PurgeType::PurgeUrl { PurgeMethod::Delete } else { asked };
        // What stays as it is, the origin confirms with a 304 after an invalidate; after a delete it must send it anew.
        for object in &planned.matched {
            if random.percent(60) {
                self.objects.all[*object].publish();
            }
        }
        let versions =
            planned.matched.iter().map(|&object| (object, self.objects.all[object].version())).collect();
        let is_for_host = planned.kind == PurgeType::PurgeCacheTag && random.percent(50);
        let request = CreatePurgeTaskRequest {
            zone_id: self.site.zone_id.clone(),
            purge_type: planned.kind,
            method: Some(asked),
            targets: planned.target.clone().map(|target| vec![target]),
            cache_tag: is_for_host.then(|| CacheTag { domains: vec![self.site.host.clone()] }),
            encode_url: false,
        };
        let called = self.clock.now();
        let created = client.call(&request)?;
        let accepted = self.clock.now();
        if let Some(failed) = created.answer.failed_list.first() {
            return Err(Failure::Usage(format!("a purge was not accepted: {}", failed.reason)));
        }
        Ok(Sent { planned, method, job: created.answer.job_id, called, accepted, versions })
    }

    /// When success was read, and how long after the acceptance it came by the control plane's clock; `None` if it wasn't in time.
    fn wait_for_success(
        &self,
        sent: &Sent,
        client: &Client<'_>,
    ) -> Result<Option<(Duration, Duration)>, Failure> {
        let deadline = sent.called + self.args.timeout;
        loop {
            let left = deadline.saturating_sub(self.clock.now());
            let wait = i64::try_from(left.as_millis()).unwrap_or(POLL_MILLISECONDS).min(POLL_MILLISECONDS);
            let request = DescribeJobProgressRequest { job_id: sent.job.clone(), wait_milliseconds: wait };
            match client.call_waiting(&request, Duration::from_millis(wait.unsigned_abs())) {
                Ok(told) => match told.answer.status {
                    JobStatus::Success => {
                        let took = u64::try_from(told.answer.elapsed_milliseconds).unwrap_or(0);
                        return Ok(Some((self.clock.now(), Duration::from_millis(took))));
                    }
                    JobStatus::Processing if !left.is_zero() => {}
                    _ => return Ok(None),
                },
                // A control plane that restarts finishes what it accepted.
                Err(Failure::Unreachable(_)) if !left.is_zero() => {}
                Err(failure) if self.is_outage(&failure) => {
                    if left.is_zero() {
                        return Ok(None);
                    }
                }
                Err(failure) => return Err(failure),
            }
            thread::sleep(NAP);
        }
    }

    /// Tells the judge, and reads from every edge what the purge matched.
    fn succeeded(&self, sent: &Sent, succeeded: Duration, random: &mut Random) {
        let Planned { kind, target, matched } = &sent.planned;
        let finished = Arc::new(Finished {
            job: sent.job.clone(),
            kind: *kind,
            method: sent.method,
            target: target.clone().unwrap_or_default(),
            called: sent.called,
            accepted: sent.accepted,
            succeeded,
        });
        for (object, version) in &sent.versions {
            self.judge.finished(*object, &finished, *version);
        }
        let first = random.below(matched.len());
        let chosen: Vec<usize> = matched
            .iter()
            .cycle()
            .skip(first)
            .take(matched.len().min(READS_AFTER_PURGE_MAX))
            .copied()
            .collect();
        let chosen = &chosen;
        thread::scope(|scope| {
            for edge in 0..self.readers.len() {
                let mut random = Random::new(random.next(), edge as u64);
                scope.spawn(move || {
                    for &object in chosen {
                        let ask = Ask::draw(&self.objects, object, None, &mut random);
                        self.read(edge, object, &ask);
                    }
                });
            }
        });
    }
}
