//! When a stored response that no purge matches may answer: fresh, or stale with leave (RFC 9111 §4.2.4, RFC 5861).
//!
//! Leave to be stale is about age alone. Whoever answers with a stale response has read lease, `seen`, object and marks as for
//! a fresh one, so that it holds against purges and leases as a hit does. An answer that is decided on only after a fetch
//! failed reads all of them again: what was found before may be purged by then, or the lease gone.

use super::{Asked, InSlices, Passed, Proxy, send};
use crate::fetch::Base;
use crate::flight::Reading;
use crate::object::{Object, Standing};
use crate::outcome::{Outcome, OutcomeKind, ToldBody};
use crate::respond::{Forwarded, Told, answer_object, given_up, told_fenced_hit, told_hit, told_partly};
use crate::shelf::ObjectKey;
use crate::state::Counters;
use http::{Response, StatusCode};
use httpcache::{Acceptance, CacheStatus, ForwardReason, RequestDirectives};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// For how long the origin is not asked in the background again about a response for which it just failed: one fetch at a time
/// would still be one for each request, where an origin fails at once.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What lets a stale response answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// RFC 5861 §3.
    WhileRevalidating,
    /// RFC 5861 §4, or the operator.
    OnError,
    /// The request (RFC 9111 §5.2.1.2).
    Asked,
}

impl Leave {
    const fn name(self) -> &'static str {
        match self {
            Self::WhileRevalidating => "stale-while-revalidate",
            Self::OnError => "stale-if-error",
            Self::Asked => "max-stale",
        }
    }
}

impl Proxy {
    /// Answers with a stored response that stands clear of purges, if its age lets it; else the reason to go forward. What is
    /// to be validated without anyone waiting for it is sent on its way.
    pub(super) fn use_clear(
        &self,
        asked: &Asked,
        key: ObjectKey,
        object: &Arc<Object>,
        reading: &Reading,
        now: SystemTime,
    ) -> Result<Passed, ForwardReason> {
        if object.is_outdated() {
            return Err(ForwardReason::Stale);
        }
        let freshness = &object.freshness;
        let directives = self.directives(asked);
        match directives.accept(freshness, now) {
            Acceptance::Fresh => {
                if asked.policy.refresh_percent.is_some_and(|percent| freshness.has_used(percent, now)) {
                    self.revalidate(asked, key, object, reading, now);
                }
                let told = match reading.fenced() {
                    None => told_hit(&self.state, object, reading.seen, now),
                    Some(policy) => told_fenced_hit(&self.state, object, reading.seen, policy, now),
                };
                return Ok(self.answer_stored(asked, key, object, reading, told, now));
            }
            Acceptance::Stale => {
                return Ok(self.answer_stale(asked, key, object, reading, now, Leave::Asked));
            }
            Acceptance::Refused if freshness.is_fresh(now) => return Err(ForwardReason::Request),
            // Whoever asks for anything special is not given what is stale by another's leave.
            Acceptance::Refused if directives != RequestDirectives::NONE => return Err(ForwardReason::Stale),
            Acceptance::Refused => {}
        }
        let leave = if freshness.may_serve_stale_while_revalidating(now) {
            Leave::WhileRevalidating
        } else if object.has_failed() && freshness.may_serve_stale_on_error(now) {
            // The origin failed when it was last asked, and may let others wait as long: they need not find out anew.
            Leave::OnError
        } else {
            return Err(ForwardReason::Stale);
        };
        self.revalidate(asked, key, object, reading, now);
        Ok(self.answer_stale(asked, key, object, reading, now, leave))
    }

    /// Answers with what is stored instead of an error of the origin's or of the way there. `status` is the origin's.
    pub(super) async fn stale_instead(
        &self,
        asked: &Asked,
        forwarded: Forwarded,
        status: Option<StatusCode>,
    ) -> Option<Response<ToldBody>> {
        let state = &self.state;
        let reading = self.reading(asked).await?;
        if !reading.may_serve() {
            return None;
        }
        let found = self.find(asked).await;
        let object = found.object.filter(|object| {
            object.standing(&state.ledger) == Standing::Clear && asked.asker.hit(object.birth.born).is_none()
        })?;
        let now = (state.clocks.wall)();
        let may_answer = object.freshness.is_fresh(now) || object.freshness.may_serve_stale_on_error(now);
        if object.is_outdated() || !may_answer {
            return None;
        }
        let mut told = CacheStatus::forwarded(&state.config.name, forwarded.reason);
        if let Some(status) = status {
            told = told.forward_status(status);
        }
        let told = told.ttl_secs(object.freshness.ttl_secs(now)).detail(&detail(&reading, Leave::OnError));
        let outcome = outcome(&reading, Leave::OnError);
        let told = Told { status: told, eo: "HIT", outcome };
        let response = if object.content.slices().is_some() {
            let in_slices = InSlices {
                key: found.key,
                head: Arc::clone(&object),
                run: None,
                told,
                told_partly: None,
                now,
            };
            match self.serve_slices(asked, in_slices).await {
                Passed::Answered(response) if response.status() != StatusCode::BAD_GATEWAY => response,
                _ => return None,
            }
        } else {
            answer_object(state, &asked.request, &asked.policy, &object, None, told, now)?
        };
        Counters::count(&state.counters.stale);
        self.count_given_up(&reading);
        Some(self.for_asker(asked, &object, response))
    }

    fn directives(&self, asked: &Asked) -> RequestDirectives {
        if self.state.config.honour_request_directives {
            RequestDirectives::of(asked.request.headers())
        } else {
            RequestDirectives::NONE
        }
    }

    fn answer_stored(
        &self,
        asked: &Asked,
        key: ObjectKey,
        object: &Arc<Object>,
        reading: &Reading,
        told: Told,
        now: SystemTime,
    ) -> Passed {
        if object.content.slices().is_some() {
            let told_partly = Some(told_partly(&self.state, object, reading.seen, reading.fenced(), now));
            let head = Arc::clone(object);
            return Passed::InSlices(Box::new(InSlices { key, head, run: None, told, told_partly, now }));
        }
        match answer_object(&self.state, &asked.request, &asked.policy, object, None, told, now) {
            Some(response) => {
                Counters::count(&self.state.counters.hits);
                Passed::Answered(self.for_asker(asked, object, response))
            }
            None => Passed::LookAgain,
        }
    }

    fn answer_stale(
        &self,
        asked: &Asked,
        key: ObjectKey,
        object: &Arc<Object>,
        reading: &Reading,
        now: SystemTime,
        leave: Leave,
    ) -> Passed {
        let status = CacheStatus::hit(&self.state.config.name)
            .ttl_secs(object.freshness.ttl_secs(now))
            .detail(&detail(reading, leave));
        let told = Told { status, eo: "HIT", outcome: outcome(reading, leave) };
        let answered = self.answer_stored(asked, key, object, reading, told, now);
        if matches!(answered, Passed::Answered(_) | Passed::InSlices(_)) {
            Counters::count(&self.state.counters.stale);
            self.count_given_up(reading);
        }
        answered
    }

    /// Counts an answer from the cache without a lease.
    fn count_given_up(&self, reading: &Reading) {
        if reading.fenced().is_some() {
            Counters::count(&self.state.counters.promise_given_up);
        }
    }

    /// Has the origin asked about a stored response without anyone waiting for it, unless that is under way.
    fn revalidate(
        &self,
        asked: &Asked,
        key: ObjectKey,
        object: &Arc<Object>,
        reading: &Reading,
        now: SystemTime,
    ) {
        if object.failed_within(REST_AFTER_FAILURE, now) {
            return;
        }
        let landing = self.state.flights.board_idle(asked.url_key, key, &asked.url, reading);
        if let Some(landing) = landing {
            Counters::count(&self.state.counters.background_fetches);
            let base = Base { key, object: Arc::clone(object) };
            send(self.job(asked, key), landing, Some(base), Some(reading.leased));
        }
    }
}

fn outcome(reading: &Reading, leave: Leave) -> Outcome {
    let fenced = reading.fenced().is_some();
    Outcome { seen: reading.seen, fenced, ..Outcome::new(OutcomeKind::Stale, leave.name()) }
}

fn detail(reading: &Reading, leave: Leave) -> String {
    let fenced = reading.fenced().map_or_else(String::new, given_up);
    format!("seq={}{fenced} {}", reading.seen, leave.name())
}
