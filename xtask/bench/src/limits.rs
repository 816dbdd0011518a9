//! Requests and tokens per minute, enforced per second, as a provider does it, and the best span that they allow.

use std::time::{Duration, Instant};

/// One leaky bucket that holds one second's worth.
#[derive(Debug)]
struct Bucket {
    per_minute: u64,
    level: f64,
    filled: Instant,
}

#[allow(clippy::cast_precision_loss, reason = "limits are far below 2^53")]
fn per_second(per_minute: u64) -> f64 {
    per_minute as f64 / 60.0
}

impl Bucket {
    fn new(per_minute: u64, now: Instant) -> Self {
        Self { per_minute, level: per_second(per_minute), filled: now }
    }

    fn fill(&mut self, now: Instant) {
        let rate = per_second(self.per_minute);
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * rate;
        self.level = (self.level + gained).min(rate);
        self.filled = now;
    }

    /// Seconds until `amount` fits. What is larger than the bucket goes when that is full, and is paid off afterwards.
    fn wait(&self, amount: f64) -> f64 {
        let rate = per_second(self.per_minute);
        (amount.min(rate) - self.level).max(0.0) / rate
    }
}

/// The limits of the one account that calls.
#[derive(Debug)]
pub(crate) struct Limits {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

impl Limits {
    pub(crate) fn new(rpm: Option<u64>, tpm: Option<u64>, now: Instant) -> Self {
        Self {
            requests: rpm.map(|limit| Bucket::new(limit, now)),
            tokens: tpm.map(|limit| Bucket::new(limit, now)),
        }
    }

    /// Takes one request of `tokens`, or says how long to wait; a refusal takes nothing.
    pub(crate) fn admit(&mut self, tokens: u64, now: Instant) -> Result<(), Duration> {
        let amounts = [(&mut self.requests, 1.0), (&mut self.tokens, tokens_f64(tokens))];
        let mut wait = 0.0_f64;
        for (bucket, amount) in amounts {
            if let Some(bucket) = bucket {
                bucket.fill(now);
                wait = wait.max(bucket.wait(amount));
            }
        }
        if wait > 1e-9 {
            return Err(Duration::from_secs_f64(wait));
        }
        if let Some(bucket) = &mut self.requests {
            bucket.level -= 1.0;
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.level -= tokens_f64(tokens);
        }
        Ok(())
    }

    /// The `x-ratelimit-*` headers as one block of name and value.
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        const NAMES: [[&str; 3]; 2] = [
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
            ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
        ];
        let mut headers = Vec::new();
        for (bucket, names) in [&self.requests, &self.tokens].into_iter().zip(NAMES) {
            let Some(bucket) = bucket else { continue };
            let rate = per_second(bucket.per_minute);
            let reset_ms = ((rate - bucket.level) / rate * 1e3).max(0.0);
            headers.push((names[0], bucket.per_minute.to_string()));
            headers.push((names[1], format!("{:.0}", bucket.level.max(0.0).floor())));
            headers.push((names[2], format!("{reset_ms:.0}ms")));
        }
        headers
    }
}

#[allow(clippy::cast_precision_loss, reason = "a request's tokens are far below 2^53")]
fn tokens_f64(tokens: u64) -> f64 {
    tokens as f64
}

/// The shortest span in which `requests` calls of `tokens` together fit, the first second's worth being there at once.
pub(crate) fn best_span(requests: u64, tokens: u64, rpm: Option<u64>, tpm: Option<u64>) -> f64 {
    let span = |amount: u64, limit: Option<u64>| {
        limit.map_or(0.0, |limit| (tokens_f64(amount) / per_second(limit) - 1.0).max(0.0))
    };
    span(requests, rpm).max(span(tokens, tpm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_a_sixtieth_and_a_refusal_says_how_long() {
        let start = Instant::now();
        let mut limits = Limits::new(Some(600), Some(60_000), start);
        assert_eq!((0..20).filter(|_| limits.admit(10, start).is_ok()).count(), 10);
        let wait = limits.admit(10, start).unwrap_err();
        assert!((wait.as_secs_f64() - 0.1).abs() < 1e-6, "{wait:?}");
        assert!(limits.admit(10, start + Duration::from_millis(101)).is_ok());
    }

    #[test]
    fn a_large_call_passes_when_the_bucket_is_full_and_is_paid_off() {
        let start = Instant::now();
        let mut limits = Limits::new(None, Some(60_000), start);
        let after = |secs: f64| start + Duration::from_secs_f64(secs);
        assert!(limits.admit(3_000, start).is_ok());
        assert!(limits.admit(10, after(1.9)).is_err());
        assert!(limits.admit(10, after(2.1)).is_ok());
    }

    #[test]
    fn the_tighter_limit_sets_the_best_span() {
        assert!((best_span(3_000, 300_000, Some(6_000), Some(600_000)) - 29.0).abs() < 1e-9);
        assert!((best_span(3_000, 600_000, Some(6_000), Some(600_000)) - 59.0).abs() < 1e-9);
        assert!(best_span(10, 10, None, None).abs() < 1e-9);
    }
}
