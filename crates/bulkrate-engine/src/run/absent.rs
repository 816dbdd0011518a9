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

impl Absent {
    pub(crate) fn is_away(&self, place: usize) -> bool {
        self.away.contains(&place)
    }
}

impl Job {
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
