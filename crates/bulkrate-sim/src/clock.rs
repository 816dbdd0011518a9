//! Virtual time: starts at a date and runs `speed` times as fast as the real clock.

use std::time::Duration;
use tokio::time::Instant;

/// Milliseconds since the Unix epoch, in virtual time.
pub(crate) type VirtualMs = u64;

#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    epoch_ms: u64,
    speed: f64,
}

impl Clock {
    /// `speed` must be positive and finite (checked when the simulator starts).
    pub(crate) fn new(start_unix: Option<u64>, speed: f64) -> Self {
        let real = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(0));
        Self {
            origin: Instant::now(),
            epoch_ms: start_unix.map_or(real, |secs| secs.saturating_mul(1_000)),
            speed,
        }
    }

    pub(crate) fn now_ms(&self) -> VirtualMs {
        self.epoch_ms.saturating_add(ms(self.origin.elapsed().as_secs_f64() * self.speed))
    }

    /// Unix seconds, as the wire carries them.
    pub(crate) fn now(&self) -> u64 {
        self.now_ms() / 1_000
    }

    /// How long a virtual span takes for real.
    pub(crate) fn real(&self, virtual_ms: u64) -> Duration {
        Duration::from_secs_f64((virtual_ms as f64 / 1_000.0 / self.speed).min(1e9))
    }

    pub(crate) async fn sleep_until(&self, at: VirtualMs) {
        let wait = self.real(at.saturating_sub(self.epoch_ms));
        tokio::time::sleep_until(self.origin + wait).await;
    }
}

/// As wires write it: `2026-11-20T12:00:00Z`.
pub(crate) fn instant(at: VirtualMs) -> String {
    let at = i64::try_from(at).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// Seconds to whole milliseconds, never negative.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate, which is wanted"
)]
pub(crate) fn ms(secs: f64) -> u64 {
    (secs.max(0.0) * 1_000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_hour_passes_in_a_second_at_speed_3600() {
        let clock = Clock::new(Some(1_800_000_000), 3_600.0);
        assert_eq!(clock.now(), 1_800_000_000);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), 1_800_003_600);
        clock.sleep_until(1_800_007_200_000).await;
        assert!(clock.now() >= 1_800_007_199);
    }
}
