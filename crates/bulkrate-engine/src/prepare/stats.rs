//! What a finished pass leaves in the job's row: where it ended, and what it counted.

use std::collections::BTreeMap;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::{Tokens, UsdNanos};
use bulkrate_core::order::Shared;
use bulkrate_core::price::bound::input_max;
use bulkrate_core::price::{JobShape, RequestShape};
use bulkrate_io::{Position, Stamp};
use serde::{Deserialize, Serialize};

use super::order::Ordered;
use super::shape::{Drawn, Shape};
use super::takes::Refusal;
use crate::deployment::Deployment;

/// What a finished pass leaves in the job's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub shape: Shape,
    pub position: Position,
    /// The source was read to its end.
    pub exhausted: bool,
    /// The header, or the keys seen in a table of JSON lines.
    pub columns: Vec<String>,
    pub request_bytes: u64,
    pub results_bytes: u64,
    /// Of the source that was hashed and read: while it bears it, it need not be hashed again.
    #[serde(default)]
    pub stamp: Option<Stamp>,
    /// Where another order of sending than the source's was asked for.
    #[serde(default)]
    pub ordered: Option<Ordered>,
    pub stats: Stats,
    /// The same of the records before the limit that the pass was made with, where it was less than all.
    #[serde(default)]
    pub limited: Option<Limited>,
    /// What models cannot be sent in one lane or another, or in the place of others.
    #[serde(default)]
    pub refusals: Vec<Refusal>,
    /// What chose a model stands in the sealed lines. Not so in jobs of older versions, unless it was a router.
    #[serde(default)]
    pub chosen_told: bool,
}

impl Checkpoint {
    /// What of the records before `limit` cannot be sent in a lane.
    pub(crate) fn refusals_in(&self, lane: Lane, limit: Option<u64>) -> impl Iterator<Item = &Refusal> {
        self.refusals.iter().filter(move |refusal| refusal.lane == lane && refusal.is_before(limit))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Limited {
    pub limit: u64,
    pub stats: Stats,
}

/// What the pass counted; a plan is made from it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Stats {
    pub records: u64,
    pub duplicates: u64,
    pub invalid: u64,
    pub skipped: u64,
    /// Leaders that earlier jobs have answered.
    #[serde(default)]
    pub cached: u64,
    /// The same by the model that they name.
    #[serde(default)]
    pub cached_of: BTreeMap<String, u64>,
    /// Leaders that a filter has answered.
    #[serde(default)]
    pub filtered: u64,
    /// What they and their followers are expected to have cost by the naive plan.
    #[serde(default)]
    pub filter_saves: UsdNanos,
    pub models: Vec<ModelStats>,
}

/// Leaders that no filter answers, by model, and by whether they go to the sync lane in any case.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct ModelStats {
    pub model: String,
    #[serde(default)]
    pub urgent: bool,
    pub items: u64,
    /// Followers of these leaders.
    pub followers: u64,
    /// Leaders beside these that a filter has answered.
    #[serde(default)]
    pub filtered: u64,
    pub bytes: u64,
    pub bytes_largest: u64,
    /// Of their canonical forms, whole.
    #[serde(default)]
    pub sealed_bytes: u64,
    #[serde(default)]
    pub messages: u64,
    pub input_max: u64,
    pub input_max_largest: u64,
    pub output_max: u32,
    pub choice_bytes: Option<u64>,
    /// What prompts share, where an order of sending was asked for.
    #[serde(default)]
    pub shared: Shared,
}

impl ModelStats {
    /// What one leader counts, whose canonical form has so many bytes.
    #[must_use]
    pub(super) fn of(drawn: &Drawn, bytes: u64, deployment: &Deployment) -> Self {
        let shape = RequestShape {
            documents: drawn.documents,
            ..request_shape_of(bytes - drawn.data, drawn.messages, drawn.images, drawn.max_tokens)
        };
        let input_max = input_max(&deployment.row, &shape).map_or(bytes, |tokens| tokens.0);
        let text = bytes.saturating_sub(drawn.structure);
        Self {
            items: 1,
            bytes: text,
            bytes_largest: text,
            sealed_bytes: bytes,
            messages: drawn.messages,
            input_max,
            input_max_largest: input_max,
            output_max: drawn.max_tokens,
            choice_bytes: drawn.choice_bytes,
            ..Self::default()
        }
    }

    /// Counts more leaders.
    pub(super) fn add(&mut self, more: &Self) {
        self.items += more.items;
        self.bytes += more.bytes;
        self.bytes_largest = self.bytes_largest.max(more.bytes_largest);
        self.sealed_bytes += more.sealed_bytes;
        self.messages += more.messages;
        self.input_max += more.input_max;
        self.input_max_largest = self.input_max_largest.max(more.input_max_largest);
        self.output_max = self.output_max.max(more.output_max);
    }

    #[must_use]
    pub(crate) fn shape(&self, reasoning: bool) -> JobShape {
        JobShape {
            items: self.items,
            bytes: self.bytes,
            bytes_largest: self.bytes_largest,
            messages: self.messages,
            input_max: Tokens(self.input_max),
            input_max_largest: Tokens(self.input_max_largest),
            output_max: Tokens(u64::from(self.output_max)),
            choice_bytes: self.choice_bytes,
            reasoning,
            lengths: Some(self.sealed_bytes),
            ..JobShape::default()
        }
    }
}

/// The shape that bounds a request's price; `bytes` of the canonical form, but for images and documents, bound its prompt text.
pub(crate) fn request_shape_of(bytes: u64, messages: u64, images: u64, max_tokens: u32) -> RequestShape {
    RequestShape {
        text_bytes: bytes,
        messages,
        images,
        output_max: Tokens(u64::from(max_tokens)),
        answers: 1,
        ..RequestShape::default()
    }
}
