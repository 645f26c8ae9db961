//! How long a response is fresh, and how old it is (RFC 9111 §4.2).
//!
//! Ages are counted from when the response arrived, by the caller's wall clock. Should that clock be set back, a response
//! seems younger than it is; [`CLOCK_BACK_MAX`] bounds what that can win it.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{AGE, DATE, EXPIRES, HeaderMap, LAST_MODIFIED};

use crate::cache_control::{CacheControl, DELTA_SECONDS_MAX, delta_seconds};
use crate::field;
use crate::policy::{OtherStatuses, Policy, Storing, WithoutFreshness};
use crate::storing;

/// How far before a response's arrival the clock may stand while the response still counts as fresh. Beyond, the clock was
/// set back and nothing is known about the age, so the response is stale until it is validated.
pub const CLOCK_BACK_MAX: Duration = Duration::from_secs(5);

/// Where a lifetime comes from, best first (RFC 9111 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LifetimeSource {
    /// `s-maxage`.
    SMaxage,
    /// `max-age`.
    MaxAge,
    /// `Expires` less `Date`.
    Expires,
    /// The policy, since the origin gave none: a share of the age, a default, or the lifetime of a status.
    Policy,
    /// Nothing: the lifetime is zero.
    Nothing,
}

/// The freshness of one stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// The freshness lifetime (RFC 9111 §4.2.1).
    pub lifetime: Duration,
    /// Where the lifetime comes from.
    pub source: LifetimeSource,
    /// The corrected initial age: how old it was when it arrived (§4.2.3).
    pub initial_age: Duration,
    /// When it arrived.
    pub response_time: SystemTime,
    /// `no-cache`: it is never used without asking the origin.
    pub no_cache: bool,
    /// Once stale it must not be served without asking: `must-revalidate`, `proxy-revalidate`, `s-maxage` or `no-cache`.
    pub must_revalidate: bool,
    /// `stale-while-revalidate` (RFC 5861 §3), for the caller to weigh; see [`Freshness::may_serve_stale_while_revalidating`].
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4), or as long as can be where the policy has it so.
    pub stale_if_error: Option<Duration>,
}

impl Freshness {
    /// The freshness of a response whose request left at `request_time` and whose head arrived at `response_time`.
    ///
    /// After a 304 it is computed anew from the freshened headers, with the times of the validation (§4.3.4).
    pub fn of_response(
        status: StatusCode,
        headers: &HeaderMap,
        request_time: SystemTime,
        response_time: SystemTime,
        policy: &Policy,
    ) -> Self {
        let control = policy.control_of(headers);
        // RFC 9110 §6.6.1: a response without a date was made when it arrived.
        let date = field::first_date(headers, &DATE).unwrap_or(response_time);
        let (lifetime, source) = lifetime(status, &control, headers, date, policy);
        // RFC 9111 §4.2.3, by its own names. A later clock at the origin, or ours set back meanwhile, counts as zero.
        let apparent_age = since(response_time, date);
        let response_delay = since(response_time, request_time);
        let corrected_age_value = bounded(age_of(headers).saturating_add(response_delay));
        Self {
            lifetime,
            source,
            initial_age: bounded(apparent_age.max(corrected_age_value)),
            response_time,
            no_cache: control.no_cache,
            must_revalidate: control.forbids_stale(),
            stale_while_revalidate: control.stale_while_revalidate,
            stale_if_error: if policy.stale_when_origin_fails {
                Some(Duration::from_secs(DELTA_SECONDS_MAX))
            } else {
                control.stale_if_error
            },
        }
    }

    /// The same, but fresh for no longer than `rest` after its arrival, and never served stale.
    #[must_use]
    pub fn at_most(self, rest: Duration) -> Self {
        let lifetime = self.lifetime.min(self.initial_age.saturating_add(rest));
        Self { lifetime, stale_while_revalidate: None, stale_if_error: None, ..self }
    }

    /// How old it is (RFC 9111 §4.2.3). Never less at a later time; before its arrival it is the age it arrived with.
    pub fn age(&self, now: SystemTime) -> Duration {
        bounded(self.initial_age.saturating_add(since(now, self.response_time)))
    }

    /// May it be used without asking the origin? Never with `no-cache`, nor when the clock was set back beyond
    /// [`CLOCK_BACK_MAX`].
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        !self.no_cache && since(self.response_time, now) <= CLOCK_BACK_MAX && self.age(now) < self.lifetime
    }

    /// Has it used up at least this share of its lifetime, in percent?
    pub fn has_used(&self, percent: u8, now: SystemTime) -> bool {
        self.age(now).as_millis() * 100 >= self.lifetime.as_millis() * u128::from(percent)
    }

    /// From when on it is stale. Not later than its arrival when it was stale then or says `no-cache`.
    pub fn fresh_until(&self) -> SystemTime {
        let left =
            if self.no_cache { Duration::ZERO } else { self.lifetime.saturating_sub(self.initial_age) };
        self.response_time.checked_add(left).unwrap_or(self.response_time)
    }

    /// How long it stays fresh: the `ttl` of `Cache-Status`. Negative, in seconds, for how long it has been stale.
    pub fn ttl_secs(&self, now: SystemTime) -> i64 {
        let secs = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let lifetime = if self.no_cache { 0 } else { secs(self.lifetime) };
        lifetime.saturating_sub(secs(self.age(now)))
    }

    /// Has it been stale for no longer than `stale-while-revalidate` allows, with nothing that forbids it?
    pub fn may_serve_stale_while_revalidating(&self, now: SystemTime) -> bool {
        self.may_serve_stale_for(self.stale_while_revalidate, now)
    }

    /// Has it been stale for no longer than `stale-if-error` allows, with nothing that forbids it?
    pub fn may_serve_stale_on_error(&self, now: SystemTime) -> bool {
        self.may_serve_stale_for(self.stale_if_error, now)
    }

    pub(crate) fn may_serve_stale_for(&self, window: Option<Duration>, now: SystemTime) -> bool {
        // RFC 9111 §4.2.4: must-revalidate and its kin forbid it whatever RFC 5861 would allow.
        let Some(window) = window.filter(|_| !self.must_revalidate) else { return false };
        since(self.response_time, now) <= CLOCK_BACK_MAX
            && self.age(now) < self.lifetime.saturating_add(window)
    }
}

/// Is this one of the statuses on which a stale response may answer instead (RFC 5861 §4)? So it is with an origin that gives
/// no answer at all.
pub fn is_stale_if_error(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502..=504)
}

/// The number of the `Age` field (RFC 9111 §5.1): whole seconds, at most 2^31.
pub fn age_secs(age: Duration) -> u64 {
    age.as_secs().min(DELTA_SECONDS_MAX)
}

/// Will a response with these headers be fresh for a while (`Some(true)`), stale at once (`Some(false)`), or does neither
/// the origin nor the policy say anything (`None`)? Without `Date`, an `Expires` that is a date may lie ahead.
pub(crate) fn may_be_fresh(
    status: StatusCode,
    control: &CacheControl,
    headers: &HeaderMap,
    policy: &Policy,
) -> Option<bool> {
    let date = field::first_date(headers, &DATE).unwrap_or(SystemTime::UNIX_EPOCH);
    match lifetime(status, control, headers, date, policy) {
        _ if control.no_cache => Some(false),
        (_, LifetimeSource::Nothing) => None,
        (lifetime, _) => Some(!lifetime.is_zero()),
    }
}

fn lifetime(
    status: StatusCode,
    control: &CacheControl,
    headers: &HeaderMap,
    date: SystemTime,
    policy: &Policy,
) -> (Duration, LifetimeSource) {
    let explicit = explicit_lifetime(control, headers, date).filter(|_| !policy.is_despite_origin());
    if status != StatusCode::OK {
        return match (explicit, policy.status_lifetime(status)) {
            (Some((lifetime, source)), Some(limit)) if lifetime <= limit => (lifetime, source),
            (_, Some(limit)) => (bounded(limit), LifetimeSource::Policy),
            (explicit, None) => other_status_lifetime(status, control, headers, date, policy, explicit)
                .unwrap_or((Duration::ZERO, LifetimeSource::Nothing)),
        };
    }
    let decided = match policy.storing {
        Storing::FollowOrigin(without) => explicit.or_else(|| without_freshness(headers, date, without)),
        Storing::Never => None,
        // An origin that wants each use validated is obeyed; otherwise its lifetime gives way.
        Storing::For { lifetime, .. } => Some(match explicit {
            Some((Duration::ZERO, source)) => (Duration::ZERO, source),
            Some(_) | None => (bounded(lifetime), LifetimeSource::Policy),
        }),
    };
    decided.unwrap_or((Duration::ZERO, LifetimeSource::Nothing))
}

/// The lifetime of a status that the policy does not list.
fn other_status_lifetime(
    status: StatusCode,
    control: &CacheControl,
    headers: &HeaderMap,
    date: SystemTime,
    policy: &Policy,
    explicit: Option<(Duration, LifetimeSource)>,
) -> Option<(Duration, LifetimeSource)> {
    match (policy.other_statuses, policy.storing) {
        (OtherStatuses::Never, _) | (_, Storing::Never) => None,
        (OtherStatuses::Rfc9111, Storing::FollowOrigin(without @ WithoutFreshness::Heuristic { .. }))
            if control.public || storing::is_heuristically_cacheable(status) =>
        {
            explicit.or_else(|| without_freshness(headers, date, without))
        }
        (OtherStatuses::WithLifetime | OtherStatuses::Rfc9111, _) => explicit,
    }
}

fn explicit_lifetime(
    control: &CacheControl,
    headers: &HeaderMap,
    date: SystemTime,
) -> Option<(Duration, LifetimeSource)> {
    if let Some(lifetime) = control.s_maxage {
        return Some((lifetime, LifetimeSource::SMaxage));
    }
    if let Some(lifetime) = control.max_age {
        return Some((lifetime, LifetimeSource::MaxAge));
    }
    if control.is_targeted {
        return None;
    }
    // RFC 9111 §5.3: what is no date, above all "0", lies in the past. Of several lines the first counts.
    let expires = headers.get(EXPIRES)?;
    let lifetime =
        field::date(expires.as_bytes()).map_or(Duration::ZERO, |expires| bounded(since(expires, date)));
    Some((lifetime, LifetimeSource::Expires))
}

fn without_freshness(
    headers: &HeaderMap,
    date: SystemTime,
    without: WithoutFreshness,
) -> Option<(Duration, LifetimeSource)> {
    let lifetime = match without {
        WithoutFreshness::DontStore => return None,
        WithoutFreshness::For(lifetime) => lifetime,
        WithoutFreshness::Heuristic { percent, lifetime_max } => {
            let modified = field::first_date(headers, &LAST_MODIFIED)?;
            let share = bounded(since(date, modified)) * u32::from(percent.min(100)) / 100;
            // Whole seconds, as everything else here.
            Duration::from_secs(share.as_secs()).min(lifetime_max)
        }
    };
    Some((bounded(lifetime), LifetimeSource::Policy))
}

/// The `Age` field: its first line and element; what is no number counts as absent (RFC 9111 §5.1).
fn age_of(headers: &HeaderMap) -> Duration {
    field::elements(headers, &AGE).next().and_then(delta_seconds).unwrap_or_default()
}

fn since(later: SystemTime, earlier: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or(Duration::ZERO)
}

fn bounded(duration: Duration) -> Duration {
    duration.min(Duration::from_secs(DELTA_SECONDS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const ARRIVAL_SECS: u64 = 784_111_777;

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    fn of(status: u16, lines: &str, delay_secs: u64) -> Freshness {
        let status = StatusCode::from_u16(status).unwrap();
        let (sent, arrived) = (at(ARRIVAL_SECS - delay_secs), at(ARRIVAL_SECS));
        Freshness::of_response(status, &headers(lines), sent, arrived, &Policy::default())
    }

    #[test]
    fn lifetimes() {
        use LifetimeSource::*;
        let date = "date: Sun, 06 Nov 1994 08:49:37 GMT\n";
        let hour_later = "expires: Sun, 06 Nov 1994 09:49:37 GMT\n";
        let cases = [
            (200, "cache-control: s-maxage=5, max-age=60".to_owned(), 5, SMaxage),
            (200, format!("cache-control: max-age=60\n{hour_later}"), 60, MaxAge),
            (200, format!("{date}{hour_later}"), 3600, Expires),
            (200, hour_later.to_owned(), 3600, Expires),
            (200, "expires: 0".to_owned(), 0, Expires),
            (200, "expires: Sat, 05 Nov 1994 09:49:37 GMT".to_owned(), 0, Expires),
            (200, "last-modified: Sun, 06 Nov 1994 07:49:37 GMT".to_owned(), 360, Policy),
            (200, "last-modified: Sun, 06 Nov 1983 07:49:37 GMT".to_owned(), 7200, Policy),
            (200, "last-modified: Sun, 06 Nov 2005 07:49:37 GMT".to_owned(), 0, Policy),
            (200, String::new(), 0, Nothing),
            (404, String::new(), 10, Policy),
            (404, "cache-control: max-age=3".to_owned(), 3, MaxAge),
            (404, "cache-control: max-age=60".to_owned(), 10, Policy),
            (500, "cache-control: max-age=60".to_owned(), 60, MaxAge),
        ];
        for (status, lines, lifetime_secs, source) in cases {
            let found = of(status, &lines, 0);
            assert_eq!(
                (found.lifetime.as_secs(), found.source),
                (lifetime_secs, source),
                "{status} {lines:?}"
            );
        }
    }

    #[test]
    fn a_targeted_field_alone_decides() {
        use LifetimeSource::*;
        let cases = [
            ("cdn-cache-control: max-age=5\ncache-control: max-age=9\nexpires: 0", 5, MaxAge),
            ("cdn-cache-control: max-age=5, s-maxage=7", 7, SMaxage),
            (
                "cdn-cache-control: none\ncache-control: max-age=9\nexpires: Sun, 06 Nov 2094 08:49:37 GMT",
                0,
                Nothing,
            ),
            ("cdn-cache-control: max-age=\"5\"\ncache-control: max-age=9", 0, MaxAge),
            ("cdn-cache-control: Max-Age=5\ncache-control: max-age=9", 9, MaxAge),
        ];
        for (lines, lifetime_secs, source) in cases {
            let found = of(200, lines, 0);
            assert_eq!((found.lifetime.as_secs(), found.source), (lifetime_secs, source), "{lines:?}");
        }
    }

    #[test]
    fn statuses_that_are_not_listed() {
        use LifetimeSource::*;
        let modified = "last-modified: Sun, 06 Nov 1994 07:49:37 GMT\ndate: Sun, 06 Nov 1994 08:49:37 GMT";
        let cases = [
            (301, "cache-control: max-age=5".to_owned(), 5, MaxAge),
            (
                599,
                "expires: Sun, 06 Nov 1994 08:50:37 GMT\ndate: Sun, 06 Nov 1994 08:49:37 GMT".to_owned(),
                60,
                Expires,
            ),
            (410, modified.to_owned(), 360, Policy),
            (302, modified.to_owned(), 0, Nothing),
            (302, format!("cache-control: public\n{modified}"), 360, Policy),
        ];
        for (status, lines, lifetime_secs, source) in cases {
            let found = of(status, &lines, 0);
            assert_eq!(
                (found.lifetime.as_secs(), found.source),
                (lifetime_secs, source),
                "{status} {lines:?}"
            );
        }
    }

    #[test]
    fn lifetimes_by_policy() {
        use LifetimeSource::*;
        let follow = |without| Storing::FollowOrigin(without);
        let custom = |despite_origin| Storing::For { lifetime: Duration::from_secs(900), despite_origin };
        let cases = [
            (follow(WithoutFreshness::For(Duration::from_secs(70))), 200, "", 70, Policy),
            (
                follow(WithoutFreshness::For(Duration::from_secs(70))),
                200,
                "cache-control: max-age=5",
                5,
                MaxAge,
            ),
            (
                follow(WithoutFreshness::DontStore),
                200,
                "last-modified: Sun, 06 Nov 1994 07:49:37 GMT",
                0,
                Nothing,
            ),
            (Storing::Never, 200, "cache-control: max-age=5", 0, Nothing),
            (custom(false), 200, "cache-control: max-age=5", 900, Policy),
            (custom(false), 200, "cache-control: max-age=5000", 900, Policy),
            (custom(false), 200, "cache-control: max-age=0", 0, MaxAge),
            (custom(false), 200, "expires: 0", 0, Expires),
            (custom(false), 200, "", 900, Policy),
            (custom(true), 200, "cache-control: no-cache, max-age=0", 900, Policy),
            (custom(true), 404, "cache-control: max-age=3", 10, Policy),
        ];
        for (storing, status, lines, lifetime_secs, source) in cases {
            let policy = crate::Policy { storing, ..crate::Policy::default() };
            let status = StatusCode::from_u16(status).unwrap();
            let (sent, arrived) = (at(ARRIVAL_SECS), at(ARRIVAL_SECS));
            let found = Freshness::of_response(status, &headers(lines), sent, arrived, &policy);
            let expected = (lifetime_secs, source, false);
            assert_eq!(
                (found.lifetime.as_secs(), found.source, found.no_cache),
                expected,
                "{storing:?} {lines:?}"
            );
        }
    }

    #[test]
    fn initial_ages() {
        let cases = [
            ("", 0, 0),
            ("", 3, 3),
            ("age: 10", 3, 13),
            ("age: 10, 20", 0, 10),
            ("age: ten", 0, 0),
            ("age: -1", 0, 0),
            ("age: 99999999999999", 9, DELTA_SECONDS_MAX),
            ("date: Sun, 06 Nov 1994 08:49:17 GMT", 3, 20),
            ("date: Sun, 06 Nov 1994 08:49:17 GMT\nage: 30", 3, 33),
            ("date: Sun, 06 Nov 1994 09:49:17 GMT", 3, 3),
            ("date: never", 3, 3),
        ];
        for (lines, delay_secs, age_secs) in cases {
            assert_eq!(of(200, lines, delay_secs).initial_age.as_secs(), age_secs, "{lines:?}");
        }
    }

    #[test]
    fn fresh_until_the_lifetime_is_over() {
        let found = of(200, "cache-control: max-age=60\nage: 10", 0);
        assert_eq!(found.fresh_until(), at(ARRIVAL_SECS + 50));
        assert!(found.is_fresh(at(ARRIVAL_SECS + 49)));
        assert!(!found.is_fresh(at(ARRIVAL_SECS + 50)));
        assert_eq!(found.ttl_secs(at(ARRIVAL_SECS + 49)), 1);
        assert!(found.has_used(90, at(ARRIVAL_SECS + 44)) && !found.has_used(90, at(ARRIVAL_SECS + 43)));
        assert_eq!(found.ttl_secs(at(ARRIVAL_SECS + 60)), -10);
        let no_cache = of(200, "cache-control: max-age=60, no-cache", 0);
        assert!(!no_cache.is_fresh(at(ARRIVAL_SECS)));
        assert_eq!(no_cache.fresh_until(), at(ARRIVAL_SECS));
    }

    #[test]
    fn a_clock_set_back_makes_stale_not_eternal() {
        let found = of(200, "cache-control: max-age=60", 0);
        assert!(found.is_fresh(at(ARRIVAL_SECS - 5)));
        assert!(!found.is_fresh(at(ARRIVAL_SECS - 6)));
        assert!(!found.is_fresh(SystemTime::UNIX_EPOCH));
        // The clock ran back while the request was under way.
        let headers = headers("cache-control: max-age=60");
        let sent = at(ARRIVAL_SECS + 1000);
        let found =
            Freshness::of_response(StatusCode::OK, &headers, sent, at(ARRIVAL_SECS), &Policy::default());
        assert_eq!(found.initial_age, Duration::ZERO);
    }

    #[test]
    fn a_bounded_rest_is_all_there_is() {
        let found = of(200, "cache-control: max-age=60, stale-if-error=60\nage: 10", 0)
            .at_most(Duration::from_secs(5));
        assert_eq!(found.fresh_until(), at(ARRIVAL_SECS + 5));
        assert!(!found.may_serve_stale_on_error(at(ARRIVAL_SECS + 5)));
        let found = of(200, "cache-control: max-age=60\nage: 58", 0).at_most(Duration::from_secs(5));
        assert_eq!(found.fresh_until(), at(ARRIVAL_SECS + 2));
    }

    #[test]
    fn stale_windows() {
        let found = of(200, "cache-control: max-age=60, stale-while-revalidate=30, stale-if-error=300", 0);
        assert!(found.may_serve_stale_while_revalidating(at(ARRIVAL_SECS + 89)));
        assert!(!found.may_serve_stale_while_revalidating(at(ARRIVAL_SECS + 90)));
        assert!(found.may_serve_stale_on_error(at(ARRIVAL_SECS + 359)));
        for strict in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=60"] {
            let fields = format!(
                "cache-control: max-age=60, {strict}, stale-if-error=300, stale-while-revalidate=300"
            );
            let found = of(200, &fields, 0);
            assert!(!found.may_serve_stale_on_error(at(ARRIVAL_SECS + 61)), "{strict}");
            assert!(!found.may_serve_stale_while_revalidating(at(ARRIVAL_SECS + 61)), "{strict}");
        }
        let offline = Policy { stale_when_origin_fails: true, ..Policy::default() };
        for (control, expected) in [("max-age=60", true), ("max-age=60, must-revalidate", false)] {
            let arrived = at(ARRIVAL_SECS);
            let fields = headers(&format!("cache-control: {control}"));
            let found = Freshness::of_response(StatusCode::OK, &fields, arrived, arrived, &offline);
            assert_eq!(found.may_serve_stale_on_error(at(ARRIVAL_SECS + 86_400)), expected);
        }
    }

    #[test]
    fn age_field_is_bounded() {
        assert_eq!(age_secs(Duration::from_millis(1999)), 1);
        assert_eq!(age_secs(Duration::from_secs(u64::MAX)), 2_147_483_648);
    }
}
