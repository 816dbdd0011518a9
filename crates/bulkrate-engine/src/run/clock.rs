//! Time as the engine sees it: wall time read once, then moved on by a monotonic clock, so that a clock that is set back
//! moves nothing back here.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Microseconds since the engine started.
    pub(crate) fn us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the epoch.
    pub(crate) fn unix_ms(&self) -> u64 {
        self.started_ms + self.us() / 1_000
    }

    pub(crate) fn row_ms(&self) -> i64 {
        i64::try_from(self.unix_ms()).unwrap_or(i64::MAX)
    }

    pub(crate) fn at(&self, us: u64) -> Instant {
        self.started + std::time::Duration::from_micros(us)
    }

    pub(crate) fn today(&self) -> jiff::civil::Date {
        jiff::Timestamp::from_millisecond(self.row_ms())
            .unwrap_or_default()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date()
    }
}
