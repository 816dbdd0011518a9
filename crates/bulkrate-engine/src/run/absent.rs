//! Deployments that are away, and those that stand in for them meanwhile.
//!
//! One that cannot serve any more is replaced for good (`land::next`); one that is away is given its items back.

use bulkrate_core::lane::Lane;

use super::job::{Job, State};
use crate::event::Event;

/// Who is away, and whose items went elsewhere because of it.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    /// The deployment that is away, and the entries of `State::active` that named it.
    moved: Vec<(usize, Vec<usize>)>,
    /// Who is away, whether or not anybody stands in.
    away: Vec<usize>,
    /// Of which a person knows.
    told: Vec<usize>,
}

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

impl Absent {
    pub(crate) fn is_away(&self, place: usize) -> bool {
        self.away.contains(&place)
    }
}

impl Job {
    /// Takes note of who is away now.
    pub(crate) fn note_away(&self, away: impl Iterator<Item = usize>) {
        let mut state = self.state.borrow_mut();
        let in_use: Vec<usize> = self.places_in_use(&state).collect();
        let away: Vec<usize> = away.filter(|place| in_use.contains(place)).collect();
        let all = !in_use.is_empty() && in_use.iter().all(|place| away.contains(place));
        state.pauses.note(away, all, self.clock.us());
    }

    /// A deployment has been away for long. True: its items go elsewhere from now on, or have gone.
    pub(crate) fn replace_absent(&self, place: usize) -> bool {
        // Batches are no calls: that of a provider whose calls are lost may be well.
        if self.home == Lane::Batch {
            return false;
        }
        let mut state = self.state.borrow_mut();
        if state.absent.moved.iter().any(|(away, _)| *away == place) {
            return true;
        }
        if !state.absent.is_away(place) {
            state.absent.away.push(place);
        }
        let named = named_by(&state, place);
        let (Some(next), passed_over) = self.stand_in(&state, place) else { return false };
        for at in &named {
            state.active[*at] = next;
        }
        state.absent.moved.push((place, named));
        let told = state.absent.told.contains(&place);
        if !told {
            state.absent.told.push(place);
        }
        drop(state);
        if !told {
            let (away, other) = (&self.deployments[place].pinned, &self.deployments[next].pinned);
            let text = format!("`{away}` is away; `{other}` stands in until it is back{passed_over}");
            self.tell(&Event::Alert { code: "failover", message: &text });
        }
        true
    }

    /// Somebody answers at a deployment again: its items try it, one alone.
    pub(crate) fn try_again(&self, place: usize) {
        let mut state = self.state.borrow_mut();
        state.absent.away.retain(|away| *away != place);
        let Some(at) = state.absent.moved.iter().position(|(away, _)| *away == place) else { return };
        let (_, named) = state.absent.moved.remove(at);
        for at in &named {
            state.active[*at] = place;
        }
        // One that stood in for it and is away itself has no claim to them.
        for (_, others) in &mut state.absent.moved {
            others.retain(|at| !named.contains(at));
        }
    }

    /// A deployment has given a good answer.
    pub(crate) fn is_back(&self, place: usize) {
        self.try_again(place);
        let mut state = self.state.borrow_mut();
        let known = state.absent.told.len();
        state.absent.told.retain(|told| *told != place);
        let stood_in = known > state.absent.told.len();
        drop(state);
        let name = &self.deployments[place].pinned;
        let items = if stood_in { " and takes its items back" } else { "" };
        self.tell(&Event::Note { message: &format!("`{name}` answers again{items}") });
    }
}

fn named_by(state: &State, place: usize) -> Vec<usize> {
    (0..state.active.len()).filter(|at| state.active[*at] == place).collect()
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
