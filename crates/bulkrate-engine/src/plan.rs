//! What a job would cost and how long it would take, before anything is sent.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::Forecast;
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub job: String,
    pub name: String,
    /// `provider/model` as pinned; several when lines or rules name their own.
    pub models: Vec<ModelPlan>,
    pub records: u64,
    /// Records that `--limit` leaves for another run.
    pub beyond_limit: u64,
    /// Items that will be asked: neither duplicates, nor answered already, nor invalid.
    pub requests: u64,
    pub duplicates: u64,
    pub cached: u64,
    /// Answered by a filter.
    pub filtered: u64,
    pub invalid: u64,
    pub skipped_lines: u64,
    /// Every lane, chosen or not.
    pub lanes: Vec<LanePlan>,
    pub lane: Lane,
    pub why: String,
    /// What all items would cost one by one in the sync lane.
    pub naive: UsdNanos,
    /// The model that all of them would have gone to: the strong one where a router, a cascade, rules or a pilot's plan choose, or the only one;
    /// absent where each goes to its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub naive_model: Option<String>,
    /// The hard cap the job will run under.
    pub cap: Option<UsdNanos>,
    pub cap_is_default: bool,
    /// Already spent by this job, when it is resumed.
    pub spent: UsdNanos,
    /// What its own answers say of its cost, when it is resumed and enough of them are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// Where another order of sending than the source's was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderPlan>,
    /// Whether prompts are marked for the provider's prompt cache, model by model; empty where no provider takes marks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prompt_cache: Vec<PromptCachePlan>,
    /// Where items are asked several in one request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundlePlan>,
    /// What is embedded before anything is asked, where prompts are compared by embeddings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<EmbeddingPlan>,
    pub warnings: Vec<String>,
    /// How items were read: `csv table`, `unified requests`, `openai batch lines`...
    pub shape: String,
    /// A price is known for every model that may be asked.
    pub priced: bool,
    /// The models without one.
    pub unpriced_models: Vec<String>,
}

impl Plan {
    /// The lane that was chosen.
    #[must_use]
    pub(crate) fn chosen(&self) -> Option<&LanePlan> {
        self.lanes.iter().find(|lane| lane.lane == self.lane)
    }

    /// What the lane that was chosen is expected to cost and what it will hardly exceed, with what is embedded before.
    #[must_use]
    pub fn price(&self) -> (UsdNanos, UsdNanos) {
        let (expected, p95) = self.chosen().map_or_else(Default::default, |lane| (lane.expected, lane.p95));
        self.embedding
            .as_ref()
            .map_or((expected, p95), |of| (expected.saturating_add(of.expected), p95.saturating_add(of.p95)))
    }

    /// A price is known for everything that may be asked.
    #[must_use]
    pub fn is_priced(&self) -> bool {
        self.priced && self.embedding.as_ref().is_none_or(|of| of.priced || of.requests == 0)
    }
}

/// The embeddings of a job's prompts: a job of its own that runs before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EmbeddingPlan {
    pub model: String,
    /// Texts to be embedded; 0: all that can be are.
    pub requests: u64,
    pub lane: Lane,
    pub expected: UsdNanos,
    pub p95: UsdNanos,
    pub worst: UsdNanos,
    /// What was spent on them so far. It counts against the budget of the job.
    pub spent: UsdNanos,
    /// They pay for themselves where more than so many thousandths of the requests are served; `None` where no price is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pays_from_permille: Option<u64>,
    pub priced: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelPlan {
    pub model: String,
    pub requests: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub max_output_tokens: u32,
    /// How `input_tokens` were counted; absent where they are estimated because nobody asked for more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_count: Option<InputCount>,
}

/// What a plan with exact counts says of one model's input tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputCount {
    /// Every request was counted as its provider will count it.
    pub exact: bool,
    /// The tables; `None` if none are known and the number is an estimate.
    pub encoding: Option<&'static str>,
    /// Why it is not exact.
    pub why: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LanePlan {
    pub lane: Lane,
    /// Why the lane cannot be used; `None` when it can.
    pub unavailable: Option<String>,
    pub expected: UsdNanos,
    pub p95: UsdNanos,
    pub worst: UsdNanos,
    /// The P95 rests on enough measured answers to be a promise; else it counts each at its maximum.
    pub learned: bool,
    /// How long it would take, roughly; `None` when nothing is known.
    pub seconds: Option<u64>,
    /// Batches: 95 of 100 like these were over within this; `None` while too few have run in this state folder.
    pub seconds_p95: Option<u64>,
    pub batches: Option<u64>,
}

/// What marking prompts for the provider's prompt cache makes of one model's input.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PromptCachePlan {
    pub model: String,
    /// `5m` or `1h`: how long the provider is asked to keep what all prompts begin with. `None`: nothing is marked.
    pub mark: Option<&'static str>,
    /// Why nothing is.
    pub why: Option<String>,
    /// About how many tokens all requests begin with; `None` where the source holds whole requests.
    pub prefix_tokens: Option<u64>,
    /// What the input costs as a share of its price without a cache, at each of `hit_rates`.
    pub factors: Option<[f64; 3]>,
    pub hit_rates: [f64; 3],
}

/// What asking several items in one request makes of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BundlePlan {
    /// Items in one request, as they were asked for.
    pub asked: u32,
    /// As they will be; `None`: each item goes by itself, as bundles would cost more.
    pub size: Option<u32>,
    /// Requests that go out if every item gets its answer at once.
    pub requests: u64,
    /// What the chosen lane is expected to cost less than with each item by itself.
    pub saved: UsdNanos,
    /// Why they are off, or that nobody can tell whether they pay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// In which order items are sent, and what that makes of the input's price.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OrderPlan {
    pub by_prefix: bool,
    /// Why items are sent as the source has them.
    pub why: Option<String>,
    pub models: Vec<OrderShare>,
}

/// What the prompts of one model share with the one sent before, from 0 to 1 of their bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OrderShare {
    pub model: String,
    pub as_is: f64,
    pub ordered: f64,
    /// The input's cost in this order, 1 without a prompt cache, for each of `hit_rates`; absent where nothing is known of
    /// its prices.
    pub costs: Option<[f64; 3]>,
    pub hit_rates: [f64; 3],
    /// What rows share behind a column, where calls mark that for a provider that keeps nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marked: Option<MarkedShare>,
}

/// Rows that share the beginning of their prompts with others, and how many such beginnings there are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MarkedShare {
    pub rows: u64,
    pub beginnings: u64,
}
