//! Time as the engine sees it: wall time read once, then moved on by a monotonic clock, so that a clock that is set back
//! moves nothing back here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bulkrate_core::pace::HedgeRule;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::started_at(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    /// Now is `unix_ms`; how time goes on is the runtime's affair.
    pub(crate) fn started_at(unix_ms: u64) -> Self {
        Self { started: Instant::now(), started_ms: unix_ms }
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
        self.started + Duration::from_micros(us)
    }

    /// The instant of a time in milliseconds since the epoch; at once if it is past.
    pub(crate) fn at_unix_ms(&self, unix_ms: u64) -> Instant {
        self.at(unix_ms.saturating_sub(self.started_ms).saturating_mul(1_000))
    }

    pub(crate) fn today(&self) -> jiff::civil::Date {
        jiff::Timestamp::from_millisecond(self.row_ms())
            .unwrap_or_default()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date()
    }
}

/// How often an engine looks up when nothing calls it. A simulation over weeks looks less often.
#[derive(Debug, Clone, Copy)]
pub struct Pulse {
    /// Between two looks at what nobody announces: a wish to stop, a run that is stuck.
    pub tick: Duration,
    /// Between two looks for orders of other processes, and at the deadline.
    pub orders: Duration,
    /// Between two progress events.
    pub progress: Duration,
    /// The longest sleep of a lane that waits for nothing in particular.
    pub idle: Duration,
    /// How long a deployment is away before another one stands in for it.
    pub absent: Duration,
    /// When copies of slow calls go out, where a job wants them.
    pub hedge: HedgeRule,
}

impl Pulse {
    /// [`Self::absent`], in the unit of the job's clock.
    pub(crate) fn absent_us(&self) -> u64 {
        u64::try_from(self.absent.as_micros()).unwrap_or(u64::MAX)
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(100),
            orders: Duration::from_secs(1),
            progress: Duration::from_millis(250),
            idle: Duration::from_millis(200),
            absent: Duration::from_secs(60),
            hedge: HedgeRule::default(),
        }
    }
}
