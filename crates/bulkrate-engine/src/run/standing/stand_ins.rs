//! Who may stand in in a job, in the user's order, and what items cost there.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;

use crate::deployment::{Deployment, Route};
use crate::planning::{cost_at, no_way};
use crate::prepare::{Checkpoint, Shape};
use crate::spec::{FallbackWhen, JobSpec};

/// Those that may stand in.
#[derive(Debug)]
pub(crate) struct StandIns {
    /// In the user's order, without those that cannot.
    able: Vec<Route>,
    /// Why the others cannot, to be said behind what is told of a move.
    pub(super) passed_over: String,
    /// What the items that name a deployment are expected to cost there, and then by each of `able`.
    costs: Vec<Vec<Option<UsdNanos>>>,
    /// Bodies of the source name their models themselves.
    raw: bool,
    /// Some are asked in another lane than the job's.
    pub mixed: bool,
    /// They have what the limits of those before them leave no room for as well.
    pub when_full: bool,
}

impl StandIns {
    pub(crate) fn new(
        spec: &JobSpec,
        checkpoint: &Checkpoint,
        deployments: &[Deployment],
        (fallbacks, home): (&[Route], Lane),
    ) -> Self {
        let (mut able, mut passed_over) = (Vec::new(), String::new());
        for route in fallbacks {
            match unable(spec, checkpoint, deployments, (*route, home)) {
                None => able.push(Route { lane: route.lane.filter(|lane| *lane != home), ..*route }),
                Some(why) => {
                    let pinned = &deployments[route.place].pinned;
                    passed_over.push_str(&format!("; `{pinned}` cannot stand in: {why}"));
                }
            }
        }
        let cost = |named: &Deployment, route: Route| {
            cost_at(spec, checkpoint, named, &deployments[route.place], route.lane.unwrap_or(home))
        };
        let of = |(place, named): (usize, &Deployment)| {
            let own = Route { place, lane: None };
            std::iter::once(own).chain(able.iter().copied()).map(|route| cost(named, route)).collect()
        };
        let costs =
            if able.is_empty() { Vec::new() } else { deployments.iter().enumerate().map(of).collect() };
        let mixed = able.iter().any(|route| route.lane.is_some());
        let when_full = spec.run.fallback_when == FallbackWhen::Capacity && !able.is_empty();
        Self { able, passed_over, costs, raw: checkpoint.shape == Shape::OpenAi, mixed, when_full }
    }

    /// Whether the job has any.
    pub(crate) fn is_empty(&self) -> bool {
        self.able.is_empty()
    }

    /// Whom the items that name this one may go to, itself first, and what they cost there.
    pub(super) fn of(&self, named: usize) -> impl Iterator<Item = (Route, Option<UsdNanos>)> {
        let own = Route { place: named, lane: None };
        let others = self.able.iter().copied();
        let all = std::iter::once(own).chain(others).enumerate();
        all.filter(move |(at, route)| *at == 0 || *route != own && (!self.raw || route.place == named))
            .map(move |(at, route)| (route, self.costs.get(named).and_then(|costs| costs[at])))
    }
}

/// Why a deployment cannot stand in in a lane.
fn unable(
    spec: &JobSpec,
    checkpoint: &Checkpoint,
    deployments: &[Deployment],
    (route, home): (Route, Lane),
) -> Option<String> {
    let (found, lane) = (&deployments[route.place], route.lane.unwrap_or(home));
    let elsewhere = lane != home;
    if checkpoint.shape == Shape::OpenAi && !elsewhere {
        return Some("OpenAI batch lines go to the model that they name".to_owned());
    }
    let mut refusals = checkpoint.refusals_in(lane, spec.source.limit);
    let refused = refusals.find(|refusal| refusal.model == found.pinned && (refusal.instead || elsewhere));
    no_way(found, lane, home).or_else(|| refused.map(ToString::to_string))
}
