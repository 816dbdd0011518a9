//! How each deployment stands, in calls and in batches, and who is asked of what names it.

use bulkrate_core::failover::{Candidate, Standing};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;

use crate::deployment::Route;

/// What has shown how a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Calls,
    Batches,
}

impl By {
    pub(super) fn of(lane: Lane) -> Self {
        if lane == Lane::Batch { Self::Batches } else { Self::Calls }
    }
}

/// One of the two ways to a deployment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Way {
    pub away: bool,
    /// Its limits leave no room, and have not for long.
    pub full: bool,
    /// It has been so in this run: what does not fit need not wait any more to show it.
    pub small: bool,
    /// It has been away or full in this run.
    pub left: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    calls: Way,
    batches: Way,
    pub gone: Option<FailureClass>,
    /// A person knows that it is away, and that it was full.
    pub told: bool,
    pub full_told: bool,
}

impl Place {
    pub(super) fn way(&self, by: By) -> Way {
        match by {
            By::Calls => self.calls,
            By::Batches => self.batches,
        }
    }

    pub(super) fn way_mut(&mut self, by: By) -> &mut Way {
        match by {
            By::Calls => &mut self.calls,
            By::Batches => &mut self.batches,
        }
    }

    pub(super) fn stands(&self, by: By) -> Standing {
        let way = self.way(by);
        match (self.gone, way.away, way.full) {
            (Some(_), _, _) => Standing::Gone,
            (None, true, _) => Standing::Away,
            (None, false, true) => Standing::Full,
            (None, false, false) => Standing::Fit,
        }
    }
}

/// How each deployment stands, and who is asked of what names it.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    pub(super) places: Vec<Place>,
    calls: Vec<Route>,
    batches: Vec<Route>,
    /// How often items were sent elsewhere: whoever holds some looks again.
    pub moves: u64,
}

impl Standings {
    pub(crate) fn new(deployments: usize) -> Self {
        let own: Vec<Route> = (0..deployments).map(|place| Route { place, lane: None }).collect();
        Self { places: vec![Place::default(); deployments], calls: own.clone(), batches: own, moves: 0 }
    }

    /// Who is asked of what names this deployment, for an item that is in this lane.
    pub(crate) fn asked(&self, named: usize, lane: Lane) -> Route {
        self.active(By::of(lane))[named]
    }

    /// The deployment that cannot serve, for this reason.
    pub(crate) fn gone_by(&self, class: FailureClass) -> Option<usize> {
        self.places.iter().position(|place| place.gone == Some(class))
    }

    pub(super) fn active(&self, by: By) -> &[Route] {
        match by {
            By::Calls => &self.calls,
            By::Batches => &self.batches,
        }
    }

    /// What names this deployment goes to another one from now on.
    pub(super) fn send(&mut self, named: usize, by: By, to: Route) {
        match by {
            By::Calls => self.calls[named] = to,
            By::Batches => self.batches[named] = to,
        }
        self.moves += 1;
    }

    /// How it stands for items that come this way.
    pub(super) fn stands(&self, route: Route, by: By) -> Candidate {
        let by = route.lane.map_or(by, By::of);
        let place = &self.places[route.place];
        Candidate { standing: place.stands(by), left: place.way(by).left, cost: None }
    }
}
