//! The model of the naive plan where something chose another for an item: the strong one of a router or a cascade, the job's own where
//! its rules choose, and that of the pilot whose plan the job is.

use bulkrate_core::money::UsdNanos;
use bulkrate_core::usage::Usage;
use jiff::civil::Date;

use crate::EngineError;
use crate::deployment::Deployment;
use crate::settings::Settings;
use crate::spec::JobSpec;

/// What every item would have gone to.
#[derive(Debug, Clone)]
pub(crate) struct Strong {
    /// A plan may have left it out: then it is none of the job's, and is never asked.
    pub deployment: Deployment,
    /// Places that are asked instead, each of whose answers is compared with it. A cascade compares its own.
    instead: Vec<usize>,
}

impl Strong {
    /// `deployments`: those of the job. `None`: nothing chose, and each item is compared with the model that it was made for.
    pub(crate) fn of(
        settings: &Settings,
        spec: &JobSpec,
        today: Date,
        deployments: &[Deployment],
    ) -> Result<Option<Self>, EngineError> {
        let (request, planned) = (&spec.request, spec.run.instead_of.as_ref());
        let first = deployments.first().filter(|_| request.model.is_some() && request.chooses());
        let deployment = match planned {
            // One that cannot be had any more has no price to compare with.
            Some(name) => Deployment::resolve(settings, spec.asks(), name, today).ok(),
            None => first.cloned(),
        };
        let Some(deployment) = deployment else { return Ok(None) };
        let weak = request.router.iter().flat_map(|router| router.weak.iter());
        let names = weak.chain(request.ruled()).chain(request.model.as_ref().filter(|_| planned.is_some()));
        let mut instead = Deployment::places(settings, spec, today, deployments, names)?;
        instead.retain(|place| deployments[*place].pinned != deployment.pinned);
        Ok(Some(Self { deployment, instead }))
    }

    /// Whether an item that goes to this place would have gone to the strong model.
    #[must_use]
    pub(crate) fn is_spared(&self, place: usize) -> bool {
        self.instead.contains(&place)
    }

    /// What it would have cost more for the same usage, at the standard price; nothing where it was to be asked itself. `naive`: the
    /// standard price of the one at `place`.
    #[must_use]
    pub(crate) fn more(&self, place: usize, usage: &Usage, naive: UsdNanos) -> UsdNanos {
        // Without usage nothing is known of what the other would have cost.
        if !self.is_spared(place) || *usage == Usage::default() {
            return UsdNanos::ZERO;
        }
        self.deployment.naive(usage).map_or(UsdNanos::ZERO, |strong| strong - naive)
    }
}

/// Whom the naive plan asks what goes to `place`.
#[must_use]
pub(crate) fn naive_at<'a>(
    strong: Option<&'a Strong>,
    deployments: &'a [Deployment],
    place: usize,
) -> &'a Deployment {
    let strong = strong.filter(|strong| strong.is_spared(place));
    strong.map_or(&deployments[place], |strong| &strong.deployment)
}

/// Whom the naive plan asks, by name; `None`: several, each item the one that it was made for.
#[must_use]
pub(crate) fn naive_model(strong: Option<&Strong>, deployments: &[Deployment]) -> Option<String> {
    let only = if let [only] = deployments { Some(only) } else { None };
    strong.map(|strong| &strong.deployment).or(only).map(|found| found.pinned.clone())
}
