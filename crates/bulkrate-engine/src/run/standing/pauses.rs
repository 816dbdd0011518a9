//! The time in which no call reached anybody.

use super::By;
use crate::run::job::Job;

/// Deployments that no call reaches now, and the time of this run in which none of those in use could be.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    pub away: Vec<usize>,
    since_us: Option<u64>,
    pub sum_us: u64,
}

impl Pauses {
    /// Who is away now, and whether that is all.
    fn note(&mut self, away: Vec<usize>, all: bool, now_us: u64) {
        self.away = away;
        if let Some(since_us) = self.since_us.take() {
            self.sum_us += now_us.saturating_sub(since_us);
        }
        self.since_us = all.then_some(now_us);
    }
}

impl Job {
    /// Takes note of who is away now.
    pub(crate) fn note_away(&self, away: impl Iterator<Item = usize>) {
        let mut state = self.state.borrow_mut();
        let in_use: Vec<usize> = self.places_in_use(&state, By::Calls).collect();
        let away: Vec<usize> = away.filter(|place| in_use.contains(place)).collect();
        let all = !in_use.is_empty() && in_use.iter().all(|place| away.contains(place));
        state.pauses.note(away, all, self.clock.us());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_in_which_nobody_could_be_reached_is_a_pause() {
        let mut pauses = Pauses::default();
        for (now_us, away, all, sum_us) in [
            (10, vec![0], false, 0),
            (20, vec![0, 1], true, 0),
            (30, vec![0, 1], true, 10),
            (45, vec![0], false, 25),
            (60, vec![], false, 25),
            (70, vec![0, 1], true, 25),
            (71, vec![], false, 26),
        ] {
            pauses.note(away.clone(), all, now_us);
            assert_eq!((&pauses.away, pauses.sum_us), (&away, sum_us), "{now_us}");
        }
    }
}
