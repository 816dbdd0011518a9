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
    /// What the strong model used on those that went on: the harder ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_on: Option<Ratios>,
}

impl Learned {
    /// What is known of a model's answers in a lane: what the prompt cache held in calls, a batch need not find.
    pub(crate) fn of(&self, pinned: &str, lane: Lane) -> Ratios {
        let known = self.models.get(pinned).copied().unwrap_or_default();
        if lane == Lane::Batch { known.uncached() } else { known }
    }

    /// The same of a job whose items are all like those that went on to `strong`.
    pub(crate) fn of_harder(&self, strong: &str) -> Option<Self> {
        let (few, all) = (self.gone_on.filter(|few| few.items > 0)?, self.models.get(strong)?);
        let mut like = self.clone();
        like.models.insert(strong.to_owned(), few.stretched(all));
        Some(like)
    }
}
