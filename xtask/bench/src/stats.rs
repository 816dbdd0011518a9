//! What the server saw since it was last reset. `GET /stats` returns it, `POST /reset` starts over.

use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

/// Counts and times of one measured run, as the server saw it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// Calls answered with 200.
    pub(crate) answered: u64,
    /// Calls answered with 429.
    pub(crate) refused: u64,
    /// Tokens charged against the limits for answered calls.
    pub(crate) tokens: u64,
    /// Sum of the latencies drawn for answered calls, in seconds.
    pub(crate) latency_secs: f64,
    /// Most calls in flight at once.
    pub(crate) in_flight_max: u64,
    /// Calls in flight now.
    pub(crate) in_flight: u64,
    /// Connections accepted.
    pub(crate) connections: u64,
    /// When the first call's head was read, in Unix nanoseconds; 0 = none yet.
    pub(crate) first_unix_ns: u64,
    /// When the latest answered call passed the limits, in Unix nanoseconds.
    pub(crate) last_admitted_unix_ns: u64,
    /// When the latest answer was handed to the connection, in Unix nanoseconds.
    pub(crate) last_unix_ns: u64,
}

impl Stats {
    /// First call to last answer, in seconds.
    pub(crate) fn span_secs(&self) -> f64 {
        secs(self.last_unix_ns.saturating_sub(self.first_unix_ns))
    }
}

/// Nanoseconds as seconds.
#[allow(clippy::cast_precision_loss, reason = "spans of a benchmark are far below 2^53 ns")]
pub(crate) fn secs(ns: u64) -> f64 {
    ns as f64 / 1e9
}

pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
