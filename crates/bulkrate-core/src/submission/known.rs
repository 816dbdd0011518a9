//! By what a batch is known again whose create brought no answer, and what follows for creates and for proofs.
//!
//! What a provider can do is data: nothing here or above asks for its name.

use serde::{Deserialize, Serialize};

use super::state::State;
use crate::planted::{self, Bug};

/// How a batch is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    /// By the mark that its create carried; deleting its input file stops a create that is still on its way.
    #[default]
    Mark,
    /// By its input file, which was uploaded for this one create: the provider gave it an id that no other has, and that is kept before
    /// the create leaves. Deleting the file stops a create that is still on its way.
    Input,
    /// Nothing can be written on it, and nobody else makes batches in the account: by its size and its time.
    Looks,
    /// Nothing can be written on it, and others make batches in the account too: by the ids in its results, once it has ended.
    Results,
}

impl KnownBy {
    /// Whether something can be destroyed without which a create that is still on its way must fail.
    #[must_use]
    pub fn has_fence(self) -> bool {
        self.is_exact()
    }

    /// Whether one look at a list tells a batch from all others: nothing else is asked for, and creates need not wait for each other.
    #[must_use]
    pub fn is_exact(self) -> bool {
        matches!(self, Self::Mark | Self::Input)
    }

    /// Whether a list that does not show the batch can prove that there is none.
    #[must_use]
    pub fn shows_absence(self) -> bool {
        self != Self::Results || planted::has(Bug::AbsenceUnmarked)
    }

    /// Whether a create waits for another of the account that is in `state`: what one is known by must not fit two.
    #[must_use]
    pub fn waits_for(self, state: State) -> bool {
        match self {
            Self::Mark | Self::Input => false,
            Self::Looks => matches!(state, State::Sending | State::InDoubt | State::Fencing),
            Self::Results => state == State::Sending,
        }
    }

    /// As it is while other submissions of the account are undecided too: one as large looks the same, until results tell.
    #[must_use]
    pub fn beside(self, items: u32, undecided: impl IntoIterator<Item = u32>) -> Self {
        let ambiguous = self == Self::Looks && undecided.into_iter().any(|other| other == items);
        if ambiguous { Self::Results } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows() {
        use KnownBy::{Input, Looks, Mark, Results};
        let all = [Mark, Input, Looks, Results];
        assert_eq!(all.map(KnownBy::has_fence), [true, true, false, false]);
        assert_eq!(all.map(KnownBy::shows_absence), [true, true, true, false]);
        for (by, others, want) in [
            (Looks, vec![], Looks),
            (Looks, vec![3], Looks),
            (Looks, vec![3, 2], Results),
            (Mark, vec![2], Mark),
            (Input, vec![2], Input),
            (Results, vec![3], Results),
        ] {
            assert_eq!(by.beside(2, others.clone()), want, "{by:?} {others:?}");
        }
    }

    #[test]
    fn creates_without_marks_go_one_after_the_other() {
        for state in State::ALL {
            assert!(!KnownBy::Mark.waits_for(state) && !KnownBy::Input.waits_for(state), "{state:?}");
            let open = matches!(state, State::Sending | State::InDoubt | State::Fencing);
            assert_eq!(KnownBy::Looks.waits_for(state), open, "{state:?}");
            assert_eq!(KnownBy::Results.waits_for(state), state == State::Sending, "{state:?}");
        }
    }
}
