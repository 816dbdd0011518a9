//! What a pilot has learned, as it goes with a job.

use std::collections::BTreeMap;

use bulkrate_core::lane::Lane;
use bulkrate_core::price::Ratios;
use serde::{Deserialize, Serialize};

/// What a pilot has learned of a job's models.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Learned {
    /// What answers used, by the pinned model.
    pub models: BTreeMap<String, Ratios>,
    /// Of a cascade's items: how many went on to the strong model, and how many there were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<(u64, u64)>,
    /// What answers used that came in bundles, what was asked again included, by the pinned model: each of the size that the job asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bundles: BTreeMap<String, Ratios>,
    /// What the strong model used on those that went on: the harder ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_on: Option<Ratios>,
}

impl Learned {
    /// What is known of a model's answers in a lane: what the prompt cache held in calls, a batch need not find.
    pub(crate) fn of(&self, pinned: &str, lane: Lane) -> Ratios {
        in_lane(self.models.get(pinned).copied().unwrap_or_default(), lane)
    }

    /// The same of its answers in bundles; `None`: it was asked in none.
    pub(crate) fn in_bundles(&self, pinned: &str, lane: Lane) -> Option<Ratios> {
        self.bundles.get(pinned).filter(|known| known.items > 0).map(|known| in_lane(*known, lane))
    }

    /// The same of a job whose items are all like those that went on to `strong`.
    pub(crate) fn of_harder(&self, strong: &str) -> Option<Self> {
        let few = self.gone_on.filter(|few| few.items > 0)?;
        let mut like = self.clone();
        // In bundles it used what it used in bundles.
        let known = if like.bundles.contains_key(strong) { &mut like.bundles } else { &mut like.models };
        let all = known.get_mut(strong)?;
        *all = few.stretched(all);
        Some(like)
    }
}

fn in_lane(known: Ratios, lane: Lane) -> Ratios {
    if lane == Lane::Batch { known.uncached() } else { known }
}
