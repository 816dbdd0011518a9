//! Who may go of requests that begin alike: the first call of each beginning goes alone until it is answered, as all that leave
//! beside it would pay for writing the same again. Other beginnings go on.
//!
//! Invariants
//! - Of a beginning one first call at most is out, and only as long as it is do others wait for it. It is a lease: whatever ends the
//!   lease ends the wait.
//! - Nobody waits for ever: a first call that is out for long has begun to answer, or does not warm anything, and after some that
//!   brought no answer all go.

use std::collections::{HashMap, VecDeque};

use crate::ids::Ordinal;

/// A first call is waited for no longer: what it writes can be read as soon as its answer begins.
const PATIENCE_US: u64 = 60_000_000;
/// So many first calls of a beginning that end without an answer, and none is waited for any more.
const TRIES_MAX: u8 = 3;
/// A beginning is kept for so long after an answer.
const KEPT_US: u64 = 300_000_000;
/// So many requests may wait: 4 MB.
const WAITING_MAX: usize = 1 << 18;
/// From so many beginnings on those are forgotten that nobody keeps any more.
const STAGES_MIN: usize = 4_096;

/// A beginning at a deployment: each has a cache of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Beginning {
    pub deployment: usize,
    pub id: u32,
}

/// An item and its attempt.
pub type LeaseOf = (Ordinal, u8);

/// The beginnings of a run.
#[derive(Debug)]
pub struct Firsts<W> {
    stages: HashMap<Beginning, Stage<W>>,
    /// First calls by the time until which they are waited for; those that have ended stand there too.
    due: VecDeque<(u64, Beginning, LeaseOf)>,
    waiting: usize,
    /// So many beginnings, and it is time to forget some.
    stages_max: usize,
}

#[derive(Debug)]
enum Stage<W> {
    /// Nobody has read it yet, and so many have tried in vain.
    Cold { tries: u8 },
    /// Its first call is out.
    Out { lease: LeaseOf, until_us: u64, tries: u8, waiting: Vec<W> },
    /// It was answered, and is kept until then.
    Warm { until_us: u64 },
}

impl<W> Default for Firsts<W> {
    fn default() -> Self {
        Self { stages: HashMap::new(), due: VecDeque::new(), waiting: 0, stages_max: STAGES_MIN }
    }
}

impl<W> Firsts<W> {
    /// Whether a request has to wait for the first call of its beginning. Then it is kept here until that has ended.
    pub fn waits(&mut self, beginning: Beginning, now_us: u64, row: impl FnOnce() -> W) -> bool {
        match self.stages.get_mut(&beginning) {
            Some(Stage::Out { until_us, waiting, .. }) if now_us < *until_us => {
                waiting.push(row());
                self.waiting += 1;
                true
            }
            _ => false,
        }
    }

    /// A request was leased. Whether the others of its beginning wait for it.
    pub fn leased(&mut self, beginning: Beginning, lease: LeaseOf, now_us: u64) -> bool {
        let tries = match self.stages.get(&beginning) {
            None => 0,
            Some(Stage::Cold { tries }) if *tries < TRIES_MAX => *tries,
            Some(Stage::Warm { until_us }) if *until_us <= now_us => 0,
            Some(_) => return false,
        };
        self.forget(now_us);
        let until_us = now_us.saturating_add(PATIENCE_US);
        self.stages.insert(beginning, Stage::Out { lease, until_us, tries, waiting: Vec::new() });
        self.due.push_back((until_us, beginning, lease));
        true
    }

    /// A lease has ended, in whatever way. Who waits no longer.
    pub fn ended(&mut self, beginning: Beginning, lease: LeaseOf, answered: bool, now_us: u64) -> Vec<W> {
        let Some(stage) = self.stages.get_mut(&beginning) else { return Vec::new() };
        let next = match stage {
            _ if answered => Stage::Warm { until_us: now_us.saturating_add(KEPT_US) },
            Stage::Out { lease: first, tries, .. } if *first == lease => Stage::Cold { tries: *tries + 1 },
            _ => return Vec::new(),
        };
        match std::mem::replace(stage, next) {
            Stage::Out { waiting, .. } => self.released(waiting),
            Stage::Cold { .. } | Stage::Warm { .. } => Vec::new(),
        }
    }

    /// Who waits no longer, as the call that they wait for has been out for long.
    pub fn overdue(&mut self, now_us: u64) -> Vec<W> {
        let mut all = Vec::new();
        while let Some((_, beginning, lease)) = self.due.pop_front_if(|(until_us, ..)| *until_us <= now_us) {
            if let Some(Stage::Out { lease: first, waiting, .. }) = self.stages.get_mut(&beginning)
                && *first == lease
            {
                let waiting = std::mem::take(waiting);
                all.extend(self.released(waiting));
            }
        }
        all
    }

    /// When to look again for such calls.
    #[must_use]
    pub fn due_us(&self) -> Option<u64> {
        self.due.front().map(|(until_us, ..)| *until_us)
    }

    /// Whether so many wait that no further one is to be looked at.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.waiting >= WAITING_MAX
    }

    /// The run ends: whoever waits is left to the next one.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn released(&mut self, waiting: Vec<W>) -> Vec<W> {
        self.waiting -= waiting.len();
        waiting
    }

    /// Drops what says nothing any more once there is much of it.
    fn forget(&mut self, now_us: u64) {
        if self.stages.len() < self.stages_max {
            return;
        }
        self.stages.retain(|_, stage| match stage {
            Stage::Warm { until_us } => now_us < *until_us,
            Stage::Cold { .. } | Stage::Out { .. } => true,
        });
        self.stages_max = (self.stages.len() * 2).max(STAGES_MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: Beginning = Beginning { deployment: 0, id: 1 };

    #[test]
    fn the_first_of_each_beginning_goes_alone_and_an_answer_lets_the_others_go() {
        let mut firsts: Firsts<u32> = Firsts::default();
        let other = Beginning { deployment: 1, ..ONE };
        assert!(!firsts.waits(ONE, 0, || 1) && firsts.leased(ONE, (1, 1), 0));
        assert!(firsts.waits(ONE, 1, || 2) && firsts.waits(ONE, 1, || 3));
        assert!(!firsts.waits(other, 1, || 4) && firsts.leased(other, (4, 1), 1), "another cache");
        assert_eq!(firsts.ended(ONE, (9, 1), false, 2), [0_u32; 0], "what is not the first says nothing");
        assert_eq!(firsts.ended(ONE, (1, 1), true, 2), [2, 3]);
        assert!(!firsts.waits(ONE, 3, || 2) && !firsts.leased(ONE, (2, 1), 3));
        assert!(!firsts.leased(ONE, (3, 1), KEPT_US + 1), "kept since its answer");
        assert_eq!(firsts.ended(ONE, (2, 1), true, 50), [0_u32; 0]);
        assert!(!firsts.leased(ONE, (5, 1), KEPT_US + 49), "and since the last one");
        assert!(firsts.leased(ONE, (5, 1), KEPT_US + 50), "written anew");
    }

    #[test]
    fn a_first_call_without_an_answer_lets_another_try_three_times() {
        let mut firsts: Firsts<u32> = Firsts::default();
        for attempt in 1..=TRIES_MAX {
            assert!(!firsts.waits(ONE, 0, || 7) && firsts.leased(ONE, (1, attempt), 0));
            assert!(firsts.waits(ONE, 0, || 7));
            assert_eq!(firsts.ended(ONE, (1, attempt), false, 0), [7]);
        }
        assert!(!firsts.leased(ONE, (2, 1), 0) && !firsts.waits(ONE, 0, || 7), "nobody waits any more");
        assert_eq!(firsts.ended(ONE, (2, 1), true, 0), [0_u32; 0]);
        assert!(firsts.leased(ONE, (3, 1), KEPT_US), "an answer counts whenever it comes");
    }

    #[test]
    fn one_that_is_slow_is_waited_for_no_longer() {
        let mut firsts: Firsts<u32> = Firsts::default();
        assert!(firsts.leased(ONE, (1, 1), 5) && firsts.waits(ONE, 5, || 7));
        assert_eq!((firsts.due_us(), firsts.overdue(PATIENCE_US + 4)), (Some(PATIENCE_US + 5), vec![]));
        assert_eq!(firsts.overdue(PATIENCE_US + 5), [7]);
        assert!(!firsts.waits(ONE, PATIENCE_US + 5, || 7) && !firsts.leased(ONE, (7, 1), PATIENCE_US + 5));
        assert_eq!(firsts.due_us(), None, "a time that has passed wakes nobody");
        firsts.ended(ONE, (1, 1), false, PATIENCE_US + 6);
        assert!(firsts.leased(ONE, (8, 1), PATIENCE_US + 7), "it is known to be cold");
    }

    #[test]
    fn beginnings_that_nobody_keeps_are_forgotten() {
        let mut firsts: Firsts<u32> = Firsts::default();
        for id in 0..50_000 {
            let (beginning, at_us) = (Beginning { deployment: 0, id }, u64::from(id) * 1_000_000);
            assert!(firsts.leased(beginning, (id, 1), at_us));
            firsts.ended(beginning, (id, 1), true, at_us);
            firsts.overdue(at_us);
        }
        assert!(firsts.stages.len() <= STAGES_MIN && firsts.due.len() < 100);
    }

    /// Requests of a few beginnings in a run: those that are to be looked at, those that are out, and those that are done.
    #[derive(Default)]
    struct Run {
        firsts: Firsts<(Beginning, u32)>,
        now_us: u64,
        coming: VecDeque<(Beginning, u32)>,
        /// With whether others wait for it.
        out: Vec<(Beginning, u32, bool, u64)>,
        waiting: usize,
        done: usize,
    }

    impl Run {
        /// Looks at the next request.
        fn look(&mut self) {
            let Some((beginning, row)) = self.coming.pop_front() else { return };
            if self.firsts.waits(beginning, self.now_us, || (beginning, row)) {
                self.waiting += 1;
                let first = self.out.iter().any(|(of, _, first, _)| *of == beginning && *first);
                assert!(first, "it waits for a call that is out");
                return;
            }
            let first = self.firsts.leased(beginning, (row, 1), self.now_us);
            let since = |(of, _, first, at_us): &(Beginning, u32, bool, u64)| {
                *of == beginning && *first && self.now_us < at_us + PATIENCE_US
            };
            assert!(!first || !self.out.iter().any(since), "one first call of a beginning");
            self.out.push((beginning, row, first, self.now_us));
        }

        fn end(&mut self, at: usize, answered: bool, again: bool) {
            let (beginning, row, ..) = self.out.swap_remove(at);
            let free = self.firsts.ended(beginning, (row, 1), answered, self.now_us);
            self.free(free);
            match again && !answered {
                true => self.coming.push_back((beginning, row)),
                false => self.done += 1,
            }
        }

        fn free(&mut self, free: Vec<(Beginning, u32)>) {
            self.waiting -= free.len();
            self.coming.extend(free);
        }
    }

    proptest! {
        /// However first calls end, and in whatever order, every request goes.
        #[test]
        fn no_request_waits_for_ever(
            rows in prop::collection::vec((0..2_usize, 0..3_u32), 1..60),
            acts in prop::collection::vec((0..5_u8, any::<prop::sample::Index>(), any::<bool>(), any::<bool>()), 0..200),
        ) {
            let mut run = Run::default();
            let all = rows.len();
            for (row, (deployment, id)) in (0..).zip(rows) {
                run.coming.push_back((Beginning { deployment, id }, row));
            }
            for (act, index, answered, again) in acts {
                match act {
                    0..=1 => run.look(),
                    2 if !run.out.is_empty() => run.end(index.index(run.out.len()), answered, again),
                    3 => run.now_us += 25_000_000,
                    _ => {
                        let free = run.firsts.overdue(run.now_us);
                        run.free(free);
                    }
                }
                prop_assert_eq!(run.firsts.waiting, run.waiting);
            }
            while !run.coming.is_empty() || !run.out.is_empty() {
                match run.coming.is_empty() {
                    false => run.look(),
                    true => run.end(0, false, false),
                }
            }
            prop_assert_eq!((run.done, run.waiting, run.firsts.waiting), (all, 0, 0));
        }
    }
}
