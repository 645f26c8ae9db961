//! How often a key may call an operation: a token bucket for each (SecretId, action).

use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;
use teo::Action;
use tokio::time::Instant;

/// Calls a second, and calls at once, of one key and action by default (teo-api §11).
pub const CALLS_PER_SEC: u32 = 20;

/// Buckets kept at most. Only signed calls reach them, so this is more keys times actions than a store has.
pub const BUCKETS_MAX: usize = 32_768;

/// The buckets of every key and action.
#[derive(Debug)]
pub struct RateLimits {
    calls_per_sec: u32,
    buckets: Mutex<HashMap<(String, Action), Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl RateLimits {
    /// Allows `calls_per_sec`, and as many at once. 0 allows everything.
    pub fn new(calls_per_sec: u32) -> Self {
        Self { calls_per_sec, buckets: Mutex::new(HashMap::new()) }
    }

    /// Takes a token for one call. If there is none, says in how long there will be one.
    pub fn take(&self, secret_id: &str, action: Action, now: Instant) -> Result<(), Duration> {
        if self.calls_per_sec == 0 {
            return Ok(());
        }
        let rate = f64::from(self.calls_per_sec);
        let refill = |bucket: &Bucket| {
            (bucket.tokens + now.saturating_duration_since(bucket.filled).as_secs_f64() * rate).min(rate)
        };
        let mut buckets = self.buckets.lock();
        let key = (secret_id.to_owned(), action);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&key) {
            // A full bucket is the same as none.
            buckets.retain(|_, bucket| refill(bucket) < rate);
            if buckets.len() >= BUCKETS_MAX {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { tokens: rate, filled: now });
        *bucket = Bucket { tokens: refill(bucket), filled: now.max(bucket.filled) };
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / rate));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONES: Action = Action::Teo(teo::edgeone::Action::DescribeZones);
    const QUOTA: Action = Action::Teo(teo::edgeone::Action::DescribeContentQuota);

    #[test]
    fn a_burst_is_followed_by_the_rate() {
        let limits = RateLimits::new(20);
        let start = Instant::now();
        let passed = |after_ms: u64| {
            let now = start + Duration::from_millis(after_ms);
            (0..100).filter(|_| limits.take("a", ZONES, now).is_ok()).count()
        };
        assert_eq!(passed(0), 20);
        assert_eq!(passed(49), 0);
        assert_eq!(passed(50), 1);
        assert_eq!(passed(1050), 20);
        assert_eq!(passed(60_000), 20, "it never holds more than the burst");
    }

    #[test]
    fn keys_and_actions_do_not_share() {
        let limits = RateLimits::new(1);
        let now = Instant::now();
        assert!(limits.take("a", ZONES, now).is_ok());
        assert_eq!(limits.take("a", ZONES, now), Err(Duration::from_secs(1)));
        assert!(limits.take("a", QUOTA, now).is_ok());
        assert!(limits.take("b", ZONES, now).is_ok());
    }

    #[test]
    fn zero_switches_it_off() {
        let limits = RateLimits::new(0);
        let now = Instant::now();
        assert!((0..1000).all(|_| limits.take("a", ZONES, now).is_ok()));
    }

    #[test]
    fn the_table_is_bounded() {
        let limits = RateLimits::new(1);
        let now = Instant::now();
        for i in 0..BUCKETS_MAX {
            assert!(limits.take(&i.to_string(), ZONES, now).is_ok());
        }
        assert!(limits.take("one more", ZONES, now).is_err());
        assert!(limits.take("one more", ZONES, now + Duration::from_secs(1)).is_ok());
    }
}
