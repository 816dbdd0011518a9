//! What a download may be: how slow, how long, and in no encoding that grows when it is read.

use std::time::Duration;

use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use tokio::time::Instant;

/// A download that brings fewer bytes within one window has stalled: 16 KiB a minute is a hundredth of what an old modem brings.
pub(super) const WINDOW_BYTES_MIN: u64 = 16 << 10;
/// An upload is given the time that its bytes take at this rate, besides the time of a try.
const UPLOAD_BYTES_PER_S_MIN: u64 = 64 << 10;

/// Watches one download.
#[derive(Debug)]
pub(super) struct Flow {
    window: Duration,
    window_ends: Instant,
    in_window: u64,
    total: u64,
    total_max: u64,
}

/// Why a download is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Fewer than [`WINDOW_BYTES_MIN`] within a window: another try may find a quicker way.
    Stalled,
    /// Longer than the file can be.
    TooLong,
}

impl Flow {
    pub(super) fn new(window: Duration, total_max: u64, now: Instant) -> Self {
        Self { window, window_ends: now + window, in_window: 0, total: 0, total_max }
    }

    /// Until when the next bytes must be there.
    pub(super) fn deadline(&self) -> Instant {
        self.window_ends
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Takes note of bytes that came.
    pub(super) fn brought(&mut self, bytes: usize, now: Instant) -> Result<(), Stop> {
        self.in_window += bytes as u64;
        self.total += bytes as u64;
        if self.total > self.total_max {
            return Err(Stop::TooLong);
        }
        self.look(now)
    }

    /// Closes the window once it has ended.
    pub(super) fn look(&mut self, now: Instant) -> Result<(), Stop> {
        if now < self.window_ends {
            return Ok(());
        }
        if self.in_window < WINDOW_BYTES_MIN {
            return Err(Stop::Stalled);
        }
        self.in_window = 0;
        self.window_ends = now + self.window;
        Ok(())
    }
}

/// The time for an upload of so many bytes.
pub(super) fn upload_time(bytes: u64, try_timeout: Duration) -> Duration {
    try_timeout + Duration::from_secs(bytes / UPLOAD_BYTES_PER_S_MIN)
}

/// The encoding of a body that came encoded although `identity` was asked for: a few bytes of it may stand for any number.
pub(super) fn encoding(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(CONTENT_ENCODING).iter();
    let strange = all.find(|value| {
        !matches!(value.to_str().map(|text| text.trim().to_ascii_lowercase()).as_deref(), Ok("" | "identity"))
    })?;
    Some(String::from_utf8_lossy(strange.as_bytes()).chars().take(40).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    #[test]
    fn a_slow_download_stalls_and_a_quick_one_does_not() {
        for (bytes_per_s, ends) in
            [(1, Some(Stop::Stalled)), (200, Some(Stop::Stalled)), (300, None), (1_000_000, None)]
        {
            let start = Instant::now();
            let mut flow = Flow::new(WINDOW, u64::MAX, start);
            let end = (1..600)
                .find_map(|second| flow.brought(bytes_per_s, start + Duration::from_secs(second)).err());
            assert_eq!(end, ends, "{bytes_per_s} B/s");
        }
    }

    #[test]
    fn a_body_longer_than_it_can_be_ends_there() {
        let now = Instant::now();
        let mut flow = Flow::new(WINDOW, 100, now);
        assert_eq!((flow.brought(100, now), flow.total()), (Ok(()), 100));
        assert_eq!(flow.brought(1, now), Err(Stop::TooLong));
    }

    #[test]
    fn encodings() {
        for (value, want) in
            [(None, None), (Some("identity"), None), (Some(" Identity"), None), (Some("gzip"), Some("gzip"))]
        {
            let mut headers = HeaderMap::new();
            headers.extend(value.map(|value| (CONTENT_ENCODING, http::HeaderValue::from_static(value))));
            assert_eq!(encoding(&headers).as_deref(), want);
        }
    }

    #[test]
    fn an_upload_has_time_for_its_bytes() {
        assert_eq!(upload_time(190_000_000, WINDOW).as_secs(), 60 + 2_899);
        assert_eq!(upload_time(0, WINDOW), WINDOW);
    }
}
