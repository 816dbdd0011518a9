//! When to look at a batch again: soon at first, then ever less often.

/// The bounds of the wait between two looks, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollPace {
    pub min_ms: u64,
    pub max_ms: u64,
}

impl Default for PollPace {
    fn default() -> Self {
        Self { min_ms: 60_000, max_ms: 300_000 }
    }
}

/// Where nothing has to run first, the first wait is at most so long.
const SOON_MS: u64 = 60_000;

impl PollPace {
    /// The pace of what does not wait for a batch to run: an upload, a refused create, files that come late.
    #[must_use]
    pub fn soon(self) -> Self {
        Self { min_ms: self.min_ms.min(SOON_MS), ..self }
    }

    /// The wait after the `polls`-th look (from 0): grows by half each time. `random` spreads it by up to a tenth, so that
    /// many batches do not ask in step.
    #[must_use]
    pub fn wait_ms(&self, polls: u32, random: u64) -> u64 {
        let mut wait = self.min_ms;
        for _ in 0..polls.min(64) {
            wait = (wait + wait / 2 + 1).min(self.max_ms.max(self.min_ms));
        }
        wait + random % (wait / 10 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum() {
        let pace = PollPace::default();
        let waits: Vec<u64> = (0..7).map(|polls| pace.wait_ms(polls, 0) / 1_000).collect();
        assert_eq!(waits, [60, 90, 135, 202, 300, 300, 300]);
        assert!(pace.wait_ms(0, u64::MAX) <= 66_000);
        assert_eq!(
            PollPace { min_ms: 10, max_ms: 5 }.wait_ms(9, 0),
            10,
            "a maximum below the minimum is the minimum"
        );
    }
}
