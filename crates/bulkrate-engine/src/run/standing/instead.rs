//! In whose place an item is asked, and why.

use bulkrate_core::failover::Standing;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;

use super::By;
use crate::run::cascade::Cascade;
use crate::run::job::{Job, State};

/// Why an item goes to another deployment than the one that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Away,
    /// Its limits left no room.
    Capacity,
    /// It refused for good.
    Gone(FailureClass),
}

impl Why {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Capacity => "capacity",
            Self::Gone(class) => class.name(),
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let known = [Self::Away, Self::Capacity].into_iter().find(|why| why.name() == name);
        known.or_else(|| name.parse().ok().map(Self::Gone))
    }
}

/// A deployment in the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instead {
    /// The place of that one.
    pub of: u32,
    pub why: Why,
}

impl Job {
    /// Why an attempt at what `named` names goes to `asked`; `None`: it is asked for itself, in its own lane.
    pub(crate) fn instead(&self, state: &State, named: usize, asked: usize, lane: Lane) -> Option<Instead> {
        if self.may_stand_in.is_empty() || named == asked && !self.may_stand_in.mixed {
            return None;
        }
        let standings = &state.standings;
        // An item of a job of batches that is called for in another's place has come by way of its batches.
        let by = if self.calls_for_batches(state) { By::Batches } else { By::of(lane) };
        // Of a cascade's item one of its cheap models may have been meant.
        let cheap = self.cascade.iter().flat_map(Cascade::before);
        let meant = std::iter::once(named).chain(cheap.filter(|_| named == 0));
        // At its own place and in its own lane nothing stands in for it.
        let goes = |of: &usize| {
            let route = standings.active(by)[*of];
            route.place == asked && (*of != asked || route.lane == Some(lane))
        };
        meant.filter(goes).find_map(|of| {
            let place = &standings.places[of];
            let why = match (place.gone, place.stands(by)) {
                (Some(class), _) => Why::Gone(class),
                (None, Standing::Fit) => return None,
                (None, Standing::Full) => Why::Capacity,
                (None, _) => Why::Away,
            };
            Some(Instead { of: u32::try_from(of).ok()?, why })
        })
    }
}
