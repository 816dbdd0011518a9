//! Requests and tokens per minute, enforced per second as leaky buckets, with the headers that describe them.

use crate::errors::ApiError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Level of one bucket. It holds one second's worth; a request larger than that empties it below zero and is paid off later.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    filled: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    per_minute: u64,
}

impl Rate {
    fn per_second(self) -> f64 {
        self.per_minute as f64 / 60.0
    }

    fn burst(self) -> f64 {
        self.per_second().max(1.0)
    }

    fn fill(self, bucket: &mut Bucket, now: Instant) {
        let gained = now.saturating_duration_since(bucket.filled).as_secs_f64() * self.per_second();
        bucket.level = (bucket.level + gained).min(self.burst());
        bucket.filled = now;
    }

    /// How long until `amount` fits; zero when it fits now.
    fn wait(self, bucket: &Bucket, amount: f64) -> Duration {
        let missing = amount.min(self.burst()) - bucket.level;
        if missing <= 1e-9 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64((missing / self.per_second()).min(3_600.0))
        }
    }
}

/// What the `x-ratelimit-*` headers say, for requests and tokens.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Headroom {
    pub(crate) requests: Option<Left>,
    pub(crate) tokens: Option<Left>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    /// Until the bucket is full again.
    pub(crate) reset: Duration,
}

/// A refused call and what is left.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: ApiError,
    pub(crate) left: Headroom,
}

/// Limits of every model of the account.
#[derive(Debug)]
pub(crate) struct Limits {
    requests: Option<Rate>,
    tokens: Option<Rate>,
    models: Vec<Mutex<(Bucket, Bucket)>>,
}

impl Limits {
    pub(crate) fn new(rpm: Option<u64>, tpm: Option<u64>, models: usize) -> Self {
        let now = Instant::now();
        let rate = |limit: Option<u64>| limit.map(|per_minute| Rate { per_minute: per_minute.max(1) });
        let (requests, tokens) = (rate(rpm), rate(tpm));
        let full = |rate: Option<Rate>| Bucket { level: rate.map_or(0.0, Rate::burst), filled: now };
        let models = (0..models).map(|_| Mutex::new((full(requests), full(tokens)))).collect();
        Self { requests, tokens, models }
    }

    /// Takes one request and `tokens` from the model's buckets, or says how long to wait. Refusals take nothing.
    pub(crate) fn admit(&self, model: usize, name: &str, tokens: u64) -> Result<Headroom, Box<Refusal>> {
        if self.requests.is_none() && self.tokens.is_none() {
            return Ok(Headroom::default());
        }
        let Some(slot) = self.models.get(model) else { return Ok(Headroom::default()) };
        let mut buckets = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut refused = None;
        if let Some(rate) = self.requests {
            rate.fill(&mut buckets.0, now);
            let wait = rate.wait(&buckets.0, 1.0);
            if !wait.is_zero() {
                refused =
                    Some(too_many(name, "requests", "requests per min (RPM)", rate.per_minute, 1, wait));
            }
        }
        if let Some(rate) = self.tokens {
            rate.fill(&mut buckets.1, now);
            let wait = rate.wait(&buckets.1, tokens as f64);
            if tokens > rate.per_minute {
                refused = Some(too_large(name, rate.per_minute, tokens));
            } else if !wait.is_zero() && refused.is_none() {
                refused =
                    Some(too_many(name, "tokens", "tokens per min (TPM)", rate.per_minute, tokens, wait));
            }
        }
        if refused.is_none() {
            buckets.0.level -= 1.0;
            buckets.1.level -= tokens as f64;
        }
        let left = Headroom {
            requests: self.requests.map(|rate| left(rate, &buckets.0)),
            tokens: self.tokens.map(|rate| left(rate, &buckets.1)),
        };
        refused.map_or(Ok(left), |error| Err(Box::new(Refusal { error, left })))
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bucket levels are small and clamped at zero"
)]
fn left(rate: Rate, bucket: &Bucket) -> Left {
    let reset = ((rate.burst() - bucket.level) / rate.per_second()).clamp(0.0, 86_400.0);
    Left {
        limit: rate.per_minute,
        remaining: bucket.level.max(0.0) as u64,
        reset: Duration::from_secs_f64(reset),
    }
}

fn too_many(
    name: &str,
    kind: &'static str,
    what: &str,
    limit: u64,
    requested: u64,
    wait: Duration,
) -> ApiError {
    let wait =
        Duration::from_millis(u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX).max(1));
    let message = format!(
        "Rate limit reached for {name} in organization org-sim on {what}: Limit {limit}, Used {limit}, Requested {requested}. \
         Please try again in {}.",
        go_duration(wait)
    );
    let mut error = ApiError::new(429, kind, Some("rate_limit_exceeded"), message);
    error.retry_after = Some(wait);
    error
}

fn too_large(name: &str, limit: u64, requested: u64) -> ApiError {
    let message = format!(
        "Request too large for {name} in organization org-sim on tokens per min (TPM): Limit {limit}, Requested {requested}. \
         The input or output tokens must be reduced in order to run successfully."
    );
    ApiError::new(429, "tokens", Some("rate_limit_exceeded"), message)
}

/// Durations as Go prints them: `120ms`, `8.64s`, `6m0s`, `1h2m3.5s`.
pub(crate) fn go_duration(span: Duration) -> String {
    let ms = span.as_millis();
    if ms == 0 {
        return "0s".to_owned();
    }
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let (hours, minutes, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms % 60_000);
    let mut secs = format!("{}.{:03}", rest / 1_000, rest % 1_000);
    secs.truncate(secs.trim_end_matches('0').trim_end_matches('.').len());
    match (hours, minutes) {
        (0, 0) => format!("{secs}s"),
        (0, _) => format!("{minutes}m{secs}s"),
        _ => format!("{hours}h{minutes}m{secs}s"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn durations_as_go_prints_them() {
        for (ms, text) in [
            (0, "0s"),
            (120, "120ms"),
            (8_640, "8.64s"),
            (360_000, "6m0s"),
            (3_723_500, "1h2m3.5s"),
            (60_000, "1m0s"),
            (1_000, "1s"),
            (20_000, "20s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(ms)), text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_second_holds_a_sixtieth_of_the_minute() {
        let limits = Limits::new(Some(600), None, 1);
        let admitted = (0..50).filter(|_| limits.admit(0, "m", 1).is_ok()).count();
        assert_eq!(admitted, 10);
        let Refusal { error, left } = *limits.admit(0, "m", 1).unwrap_err();
        assert_eq!((error.status, error.kind, left.requests.unwrap().remaining), (429, "requests", 0));
        assert_eq!(error.retry_after, Some(Duration::from_millis(100)));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(limits.admit(0, "m", 1).is_ok());
        assert!(limits.admit(0, "m", 1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_request_passes_and_is_paid_off_later() {
        let limits = Limits::new(None, Some(6_000), 1);
        let headroom = limits.admit(0, "m", 1_000).unwrap();
        assert_eq!(headroom.tokens.unwrap().remaining, 0);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(limits.admit(0, "m", 100).is_err());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(limits.admit(0, "m", 100).is_ok());
        assert!(limits.admit(0, "m", 6_001).unwrap_err().error.message.starts_with("Request too large"));
    }
}
