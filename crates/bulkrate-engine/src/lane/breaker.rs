//! Whether the batches of a deployment get through: uploads and looks that fail, creates that are refused for now.
//!
//! None of that costs anything, so that nobody is in a hurry. Where another deployment may stand in, one that fails for long is
//! left (open), asked by free calls, and given one batch when it answers (half open), whose create decides. All others stay where
//! they are meanwhile: an upload that fails may take minutes.

use std::rc::Rc;

use bulkrate_core::ids::Sub;
use bulkrate_provider::{ApiError, Health};
use bulkrate_store::fold::State as ItemState;
use tokio::task::JoinSet;

use super::away::{Away, is_there};
use crate::run::job::{Job, State};
use crate::run::standing::By;

/// So many failures in a row, and it may be away; one may be a hiccup, however long ago.
const FAILURES_MIN: u32 = 2;

/// What a deployment is asked for its batches. Who takes a later one takes those before it as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Ask {
    /// After a batch, or for the list of them.
    #[default]
    Look,
    Upload,
    Create,
}

/// What the batches of one deployment have met with.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    away: Away,
    /// In a row.
    failures: u32,
    /// The last of what failed among them: only an answer to the like shows that it is over. Batches that are there already may be
    /// told of all the while in which no other is taken.
    worst: Ask,
    /// The one batch that tries whether it is back.
    trial: Option<Sub>,
}

impl Breaker {
    /// A call failed, or a create was not taken.
    fn failed(&mut self, ask: Ask, now_us: u64, random: u64) {
        self.failures = self.failures.saturating_add(1);
        self.worst = self.worst.max(ask);
        self.trial = None;
        self.away.not_sent(now_us, random);
    }

    /// A call was answered, or a create taken. True: it had been left, and is back.
    fn answered(&mut self, ask: Ask, now_us: u64) -> bool {
        if ask < self.worst {
            return false;
        }
        let was_left = self.away.is_left();
        self.away.back(now_us);
        (self.failures, self.worst, self.trial) = (0, Ask::default(), None);
        was_left
    }

    /// How long nothing has got through.
    fn away_us(&self, now_us: u64) -> u64 {
        if self.failures < FAILURES_MIN { 0 } else { self.away.for_us(now_us) }
    }

    /// Items go elsewhere, or would until it has shown that it is back.
    pub(super) fn is_left(&self) -> bool {
        self.away.is_left()
    }

    /// Whether a batch has to wait: it is left, or another batch tries it.
    pub(super) fn holds(&self, now_us: u64) -> bool {
        self.away.is_left() && (self.away.shuts(now_us) || self.trial.is_some())
    }

    /// A batch begins there. True: it is the one that tries whether it is back.
    pub(super) fn begins(&mut self, sub: Sub) -> bool {
        let tries = self.away.is_left();
        if tries {
            self.trial = Some(sub);
        }
        tries
    }

    /// Whether it is the batch that tries.
    pub(super) fn is_trial(&self, sub: Sub) -> bool {
        self.trial == Some(sub)
    }

    /// Nothing drives the batch any more. One that tried and has shown nothing leaves it to another look.
    pub(super) fn ends(&mut self, sub: Sub, now_us: u64) {
        if self.is_trial(sub) {
            self.trial = None;
            if self.away.is_left() {
                self.away.leave(now_us);
            }
        }
    }

    /// Whether it is time for a free look; the caller then takes it.
    fn takes_look(&mut self, now_us: u64) -> bool {
        self.away.is_left() && self.away.takes_look(now_us)
    }

    /// When to look again.
    pub(super) fn opens_at(&self, now_us: u64) -> Option<u64> {
        self.away.opens_at(now_us).filter(|_| self.away.is_left())
    }
}

/// A free look at the deployment at this place.
pub(super) type Looked = (usize, Result<Health, ApiError>);

/// Leaves deployments whose batches have not got through for long, and looks whether they are back.
pub(super) fn stand_in(job: &Rc<Job>, looks: &mut JoinSet<Looked>) {
    if job.may_stand_in.is_empty() || job.is_closing() {
        return;
    }
    let (now_us, patience_us) = (job.clock.us(), job.pulse.absent_us());
    for place in 0..job.deployments.len() {
        let away_us = job.state.borrow().batch_queues[place].breaker.away_us(now_us);
        if away_us >= patience_us.max(1) && job.replace_absent(place, By::Batches) {
            job.state.borrow_mut().batch_queues[place].breaker.away.leave(now_us);
        }
        note_room(job, place, now_us, patience_us);
        let takes_look = job.state.borrow_mut().batch_queues[place].breaker.takes_look(now_us);
        if takes_look {
            let api = job.deployments[place].account.api.clone();
            looks.spawn_local(async move { (place, api.probe().await) });
        }
    }
}

/// Looks whether the limits of a deployment keep batches back, where others may have what does not fit.
fn note_room(job: &Job, place: usize, now_us: u64, patience_us: u64) {
    if !job.may_stand_in.when_full {
        return;
    }
    let known = job.is_small(place, By::Batches);
    let full = {
        let mut state = job.state.borrow_mut();
        let shut = state.batch_queues[place].is_full(now_us, job.runs_enough(&state, place));
        let waits = shut && waits_for(job, &state, place, now_us);
        let crowd = &mut state.batch_queues[place].crowd;
        if shut && waits {
            crowd.refused(now_us, None);
        } else {
            crowd.cleared();
        }
        shut && crowd.is_full(now_us, shut, known, patience_us)
    };
    job.note_room(place, By::Batches, full);
}

/// Whether something waits for this deployment. While another takes batches, whose items come by is known: those of this one wait beside
/// the queue. Else nobody has looked, and what waits may be its own.
fn waits_for(job: &Job, state: &State, place: usize, now_us: u64) -> bool {
    let asked = state.items.asked();
    let in_use = || job.places_in_use(state, By::Batches);
    let known =
        in_use().any(|used| used == place) && in_use().any(|used| job.takes_batch(state, used, now_us));
    let own = || state.batch_queues[place].has_waiting();
    asked.of(ItemState::Queued) + asked.of(ItemState::Retry) > 0 && (!known || own())
}

/// A free look has ended. Who asked for patience when it refused is not tried before.
pub(super) fn looked(job: &Job, (place, result): &Looked) {
    let (now_us, random) = (job.clock.us(), job.random());
    let opens = {
        let queue = &mut job.state.borrow_mut().batch_queues[*place];
        queue.breaker.away.looked(now_us, is_there(result) && now_us >= queue.not_before_us, random)
    };
    if opens {
        job.try_again(*place, By::Batches);
    }
}

/// A call of a batch at this place failed, or its create was not taken.
pub(super) fn failed(job: &Job, place: Option<usize>, ask: Ask) {
    let (now_us, random) = (job.clock.us(), job.random());
    if let Some(place) = place {
        job.state.borrow_mut().batch_queues[place].breaker.failed(ask, now_us, random);
    }
}

/// A call of a batch at this place was answered, or its create taken.
pub(super) fn answered(job: &Job, place: Option<usize>, ask: Ask) {
    let Some(place) = place else { return };
    let was_left = job.state.borrow_mut().batch_queues[place].breaker.answered(ask, job.clock.us());
    if was_left {
        job.is_back(place, By::Batches);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    /// Creates that are refused for a minute: the deployment is left.
    fn open() -> Breaker {
        let mut breaker = Breaker::default();
        (0..2).for_each(|at| breaker.failed(Ask::Create, at * 60 * S, 0));
        breaker.away.leave(60 * S);
        breaker
    }

    /// A free look is answered as soon as there may be one after `now_us`; answers when.
    fn looks(breaker: &mut Breaker, now_us: u64) -> u64 {
        let at = breaker.opens_at(now_us).unwrap_or(now_us);
        assert!(breaker.takes_look(at) && breaker.away.looked(at, true, 0));
        at
    }

    #[test]
    fn one_failure_is_a_hiccup_and_a_second_one_an_outage() {
        let mut breaker = Breaker::default();
        breaker.failed(Ask::Look, 0, 0);
        assert_eq!(breaker.away_us(100 * S), 0);
        breaker.failed(Ask::Look, 60 * S, 0);
        assert_eq!(breaker.away_us(100 * S), 100 * S);
        assert!(!breaker.holds(100 * S), "where nobody stands in batches are tried as ever");
        assert!(!breaker.answered(Ask::Upload, 110 * S), "it was not left");
        assert_eq!(breaker.away_us(120 * S), 0);
    }

    #[test]
    fn what_creates_have_closed_only_a_create_opens() {
        let mut breaker = open();
        assert!(breaker.holds(60 * S), "open");
        assert!(!breaker.answered(Ask::Upload, 61 * S), "its files are taken, its batches are not");
        let at = looks(&mut breaker, 61 * S);
        assert!(!breaker.holds(at), "half open");
        assert!(breaker.begins(Sub(7)) && breaker.is_trial(Sub(7)));
        assert!(breaker.holds(at), "for one batch");
        breaker.ends(Sub(8), at);
        assert!(breaker.holds(at));
        breaker.failed(Ask::Create, at + S, 0);
        assert!(breaker.holds(at + S) && breaker.away_us(at + S) >= 60 * S, "open again, at once");
        let later = looks(&mut breaker, at + S);
        breaker.begins(Sub(9));
        assert!(breaker.answered(Ask::Create, later + S), "taken: it is back");
        assert!(!breaker.holds(later + S) && breaker.away_us(later + S) == 0);
    }

    #[test]
    fn what_is_told_of_older_batches_does_not_say_that_files_are_taken() {
        for (failed, says_nothing, ends) in [
            (Ask::Look, None, Ask::Look),
            (Ask::Look, None, Ask::Upload),
            (Ask::Upload, Some(Ask::Look), Ask::Upload),
            (Ask::Upload, Some(Ask::Look), Ask::Create),
            (Ask::Create, Some(Ask::Upload), Ask::Create),
        ] {
            let mut breaker = Breaker::default();
            breaker.failed(failed, 0, 0);
            breaker.failed(Ask::Look, S, 0);
            if let Some(ask) = says_nothing {
                assert!(!breaker.answered(ask, 2 * S));
                assert_eq!(breaker.away_us(3 * S), 3 * S, "{failed:?}, then {ask:?}");
            }
            breaker.away.leave(3 * S);
            assert!(breaker.answered(ends, 4 * S), "{failed:?}, then {ends:?}");
            assert_eq!(breaker.away_us(5 * S), 0);
        }
    }

    #[test]
    fn after_a_trial_that_has_shown_nothing_comes_another_look() {
        let mut breaker = open();
        let at = looks(&mut breaker, 60 * S);
        assert!(breaker.begins(Sub(7)));
        breaker.ends(Sub(7), at + S);
        assert!(breaker.holds(at + S), "nobody has tried it");
        assert_eq!(looks(&mut breaker, at + S), at + S);
        assert!(breaker.begins(Sub(8)), "the next one does");
    }
}
