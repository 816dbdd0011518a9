//! When a job leaves its batches, so that what they have not done is called for before the deadline.

use super::deadline::switch_at;

/// What is known of a job with open batches and a deadline.
#[derive(Debug, Clone, Copy)]
pub struct Nearing {
    pub now_us: u64,
    /// The deadline, less the time that a cancel may take (`cancel_us`).
    pub deadline_us: u64,
    /// Items not yet answered.
    pub open: u64,
    /// Those of them that running batches told to be done at their last look, and hand out if they are cancelled.
    pub done: u64,
    /// Paced rate of calls.
    pub items_per_s: f64,
    /// 99th percentile of the latency of one call.
    pub latency_p99_us: u64,
    /// The shortest wait between two looks at a batch.
    pub look_us: u64,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// There is time.
    Wait,
    /// Batches are looked at as often as may be: what they have done decides.
    Look,
    /// They are cancelled now, and the rest is called for.
    Now,
}

/// Batches are left at the latest time at which what they have not done can still be called for. Two looks before it would come
/// if they had done nothing they are watched closely, as only what was told lately makes it later.
#[must_use]
pub fn leave(nearing: &Nearing) -> Leave {
    let switch_us =
        |items| switch_at(nearing.deadline_us, items, nearing.items_per_s, nearing.latency_p99_us);
    let rest = nearing.open.saturating_sub(nearing.done);
    if nearing.now_us >= switch_us(rest) {
        Leave::Now
    } else if nearing.now_us.saturating_add(nearing.look_us.saturating_mul(2)) >= switch_us(nearing.open) {
        Leave::Look
    } else {
        Leave::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN_US: u64 = 60_000_000;

    #[test]
    fn what_batches_have_done_makes_it_later() {
        // A hundred items at one a minute, the slowest in one: 111 minutes and a tenth are needed before minute 300.
        for (now_min, done, want) in [
            (0, 0, Leave::Wait),
            (184, 0, Leave::Wait),
            (187, 0, Leave::Look),
            (189, 0, Leave::Now),
            (189, 1, Leave::Look),
            (189, 60, Leave::Look),
            (254, 60, Leave::Look),
            (255, 60, Leave::Now),
            (299, 100, Leave::Look),
            (300, 100, Leave::Now), // nothing is left to call for; what they have is asked for
            (300, 101, Leave::Now), // whoever counts more than there is
        ] {
            let nearing = Nearing {
                now_us: now_min * MIN_US,
                deadline_us: 300 * MIN_US,
                open: 100,
                done,
                items_per_s: 1.0 / 60.0,
                latency_p99_us: MIN_US,
                look_us: MIN_US,
            };
            assert_eq!(leave(&nearing), want, "minute {now_min}, {done} done");
        }
    }

    #[test]
    fn at_no_known_rate_it_is_at_once() {
        let nearing = Nearing {
            now_us: 0,
            deadline_us: 300 * MIN_US,
            open: 2,
            done: 1,
            items_per_s: 0.0,
            latency_p99_us: MIN_US,
            look_us: MIN_US,
        };
        assert_eq!(leave(&nearing), Leave::Now);
    }
}
