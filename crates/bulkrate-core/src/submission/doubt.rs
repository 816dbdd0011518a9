//! Settles a batch create whose answer never came: FOUND, ABSENT, or still UNKNOWN.
//!
//! Invariants
//! - Pure: listings and times come in, the next step goes out.
//! - ABSENT needs all of: complete listings, two of them at least 30 s apart after the fence (or the quarantine), and none
//!   showing the marker. It is the only verdict that lets the items be paid for again.
//! - UNKNOWN never frees anything: after the deadline it is handed to the operator.

use serde::{Deserialize, Serialize};

/// Times of the protocol, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoubtTimes {
    /// After a confirmed fence: the longest time a provider's list may lag.
    pub t_lag_ms: u64,
    /// Without a fence: the longest time a request may be under way.
    pub t_q_ms: u64,
    /// Between the two listings that must agree.
    pub agree_ms: u64,
    /// After which the operator decides.
    pub deadline_ms: u64,
}

impl Default for DoubtTimes {
    fn default() -> Self {
        Self { t_lag_ms: 120_000, t_q_ms: 900_000, agree_ms: 30_000, deadline_ms: 24 * 3_600_000 }
    }
}

impl DoubtTimes {
    /// How long a proof of absence takes at most, if the provider can be asked.
    fn proof_ms(&self) -> u64 {
        self.t_q_ms.max(self.t_lag_ms).saturating_add(self.agree_ms.saturating_mul(4))
    }

    /// Between two listings that decide nothing; short where the times are short, as in rehearsals.
    fn pause_ms(&self) -> u64 {
        (self.t_lag_ms / 8).clamp(20, 15_000)
    }
}

/// What is known so far about one create in doubt. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Doubt {
    /// The last moment at which a byte of the request could have left this host.
    pub sent_ms: u64,
    pub since_ms: u64,
    /// When the process that looks for it now began to.
    #[serde(default)]
    pub up_ms: u64,
    pub probes: u32,
    pub fenced_ms: Option<u64>,
    pub fence_tries: u32,
    /// Complete listings without the marker since the doubt could have been settled: first and last.
    pub clean_first_ms: Option<u64>,
    pub clean_last_ms: Option<u64>,
    pub last_ms: u64,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoubtStep {
    Probe,
    /// Destroy what the request needs: delete the input file.
    Fence,
    WaitUntil(u64),
    /// Proved: the batch does not exist and cannot come to exist.
    Absent,
    /// The operator's now; the items stay leased and the money reserved.
    Unresolved,
}

const FIRST_PROBES_MS: [u64; 3] = [0, 15_000, 60_000];
const BACKOFF_MAX_MS: u64 = 15 * 60_000;

impl Doubt {
    #[must_use]
    pub fn new(sent_ms: u64, now_ms: u64) -> Self {
        Self {
            sent_ms,
            since_ms: now_ms,
            up_ms: now_ms,
            probes: 0,
            fenced_ms: None,
            fence_tries: 0,
            clean_first_ms: None,
            clean_last_ms: None,
            last_ms: now_ms,
        }
    }

    /// Another process goes on. Its clock may stand elsewhere than that of the one before, and time does not pass by being
    /// read: what must have passed is counted anew.
    pub fn taken_up(&mut self, now_ms: u64) {
        self.sent_ms = now_ms;
        self.since_ms = self.since_ms.min(now_ms);
        self.up_ms = now_ms;
        self.fenced_ms = self.fenced_ms.map(|_| now_ms);
        (self.clean_first_ms, self.clean_last_ms) = (None, None);
        self.last_ms = now_ms;
    }

    /// The earliest moment at which an absent marker proves anything.
    fn proof_from_ms(&self, times: &DoubtTimes) -> u64 {
        match self.fenced_ms {
            Some(fenced) => fenced + times.t_lag_ms,
            None => self.sent_ms + times.t_q_ms,
        }
    }

    /// `has_fence`: whether there is something to destroy.
    #[must_use]
    pub fn step(&self, times: &DoubtTimes, has_fence: bool, now_ms: u64) -> DoubtStep {
        if let (Some(first), Some(last)) = (self.clean_first_ms, self.clean_last_ms)
            && last.saturating_sub(first) >= times.agree_ms
        {
            return DoubtStep::Absent;
        }
        // A machine that was off for a day has not looked for a day: a proof is given its time first.
        let looked_ms = now_ms.saturating_sub(self.up_ms);
        let is_late = now_ms.saturating_sub(self.since_ms) >= times.deadline_ms;
        if is_late && looked_ms >= times.proof_ms().min(times.deadline_ms) {
            return DoubtStep::Unresolved;
        }
        let wait = |at: u64, then: DoubtStep| if now_ms >= at { then } else { DoubtStep::WaitUntil(at) };
        // One look before the fence: a batch that is already running keeps its input file.
        if self.probes == 0 {
            return DoubtStep::Probe;
        }
        if has_fence && self.fenced_ms.is_none() && self.fence_tries < 5 {
            return wait(self.last_ms + 1_000 * u64::from(self.fence_tries), DoubtStep::Fence);
        }
        let proof_from = self.proof_from_ms(times);
        if let Some(first) = self.clean_first_ms {
            // A listing that failed in between is asked again, but not at once.
            let again = if self.clean_last_ms == Some(self.last_ms) {
                self.last_ms + 1
            } else {
                self.last_ms + times.pause_ms()
            };
            return wait((first + times.agree_ms).max(again), DoubtStep::Probe);
        }
        let early = FIRST_PROBES_MS
            .get(usize::try_from(self.probes).unwrap_or(usize::MAX))
            .map(|after| self.since_ms + after);
        let backoff = self.last_ms + (times.pause_ms() << self.probes.min(6)).min(BACKOFF_MAX_MS);
        let next = early.filter(|early| *early > self.last_ms).unwrap_or(backoff);
        // The first listing that can prove anything is not missed by a long wait.
        wait(if proof_from > self.last_ms { next.min(proof_from) } else { next }, DoubtStep::Probe)
    }

    /// A listing that did not show the marker. `complete`: every page was read without an error.
    pub fn listed(&mut self, times: &DoubtTimes, started_ms: u64, complete: bool) {
        self.probes = self.probes.saturating_add(1);
        self.last_ms = self.last_ms.max(started_ms);
        if !complete {
            return;
        }
        if started_ms >= self.proof_from_ms(times) {
            self.clean_first_ms.get_or_insert(started_ms);
            self.clean_last_ms = Some(started_ms);
        }
    }

    /// The fence was tried; `confirmed`: the input is surely gone.
    pub fn fenced(&mut self, now_ms: u64, confirmed: bool) {
        self.fence_tries = self.fence_tries.saturating_add(1);
        self.last_ms = self.last_ms.max(now_ms);
        if confirmed {
            self.fenced_ms.get_or_insert(now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    /// Walks the protocol with scripted answers; returns the verdict and when it came.
    fn walk(
        mut doubt: Doubt,
        times: &DoubtTimes,
        list: impl Fn(u64) -> bool,
        fence: impl Fn(u64) -> Option<bool>,
    ) -> (DoubtStep, u64, Doubt) {
        let mut now = doubt.since_ms;
        // A pause and a listing until the deadline, and what comes before.
        for _ in 0..2 * times.deadline_ms / times.pause_ms() + 10_000 {
            match doubt.step(times, fence(now).is_some(), now) {
                DoubtStep::Probe => doubt.listed(times, now, list(now)),
                DoubtStep::Fence => doubt.fenced(now, fence(now) == Some(true)),
                DoubtStep::WaitUntil(at) => {
                    assert!(at > now, "a wait moves time on");
                    now = at;
                }
                verdict => return (verdict, now, doubt),
            }
        }
        panic!("the protocol does not end: {doubt:?}");
    }

    #[test]
    fn a_fenced_create_is_absent_after_the_lag_and_two_listings() {
        let times = DoubtTimes::default();
        let (verdict, at, doubt) = walk(Doubt::new(1_000, 2_000), &times, |_| true, |_| Some(true));
        assert_eq!(verdict, DoubtStep::Absent);
        let fenced = doubt.fenced_ms.unwrap_or_default();
        assert!(
            at >= fenced + times.t_lag_ms + times.agree_ms
                && at < fenced + times.t_lag_ms + times.agree_ms + 60_000,
            "{at}"
        );
    }

    #[test]
    fn without_a_fence_the_quarantine_runs() {
        let times = DoubtTimes::default();
        for fence in [None, Some(false)] {
            let (verdict, at, doubt) = walk(Doubt::new(1_000, 2_000), &times, |_| true, |_| fence);
            assert_eq!(verdict, DoubtStep::Absent);
            assert!(at >= 1_000 + times.t_q_ms + times.agree_ms);
            assert_eq!(doubt.fence_tries > 0, fence.is_some(), "what is not there is not asked for");
        }
    }

    #[test]
    fn a_provider_that_cannot_be_asked_leaves_it_to_the_operator() {
        let times = DoubtTimes::default();
        let (verdict, at, _) = walk(Doubt::new(0, 0), &times, |_| false, |_| Some(false));
        assert_eq!((verdict, at >= times.deadline_ms), (DoubtStep::Unresolved, true));
    }

    proptest! {
        /// Absent is never said before every condition holds, whatever the listings did.
        #[test]
        fn absent_is_never_early(answers in proptest::collection::vec(any::<(bool, bool)>(), 1..40), sent in 0_u64..10_000, lag in 0_u64..200_000, quarantine in 0_u64..900_000) {
            let times = DoubtTimes { t_lag_ms: lag, t_q_ms: quarantine, ..DoubtTimes::default() };
            let pick = |now: u64| answers[usize::try_from(now / 7_919).unwrap_or(0) % answers.len()];
            let (verdict, at, doubt) = walk(Doubt::new(sent, sent + 5), &times, |now| pick(now).0, |now| Some(pick(now).1));
            if verdict == DoubtStep::Absent {
                let from = doubt.fenced_ms.map_or(sent + quarantine, |fenced| fenced + lag);
                prop_assert!(at >= from + times.agree_ms);
            }
        }
    }
}
