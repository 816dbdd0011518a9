//! A job as the engine takes it: everything resolved, nothing secret.

mod fallback;
mod learned;
mod router;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bulkrate_core::cascade::{Accept, Measure};
use bulkrate_core::filter::Filter;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::prompt_cache::Wish;
use bulkrate_core::request::{CacheMode, Kind, Role};
use bulkrate_core::submission::{PollPace, Unresolved};
use bulkrate_provider::ModelInvocationType;
use serde::{Deserialize, Serialize};

pub use fallback::FallbackWhen;
pub use learned::Learned;
pub use router::{OneOrMore, RouterSpec};

/// One job: one source, one request, one sink, one budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    pub name: String,
    pub source: SourceSpec,
    pub request: RequestSpec,
    /// Tags of every item; an item's own tags win.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    pub run: RunSpec,
    pub sink: SinkSpec,
    /// Which account serves the job, so that a resumed job finds it again. Never a credential.
    #[serde(default)]
    pub account: AccountSpec,
}

impl JobSpec {
    /// What decides who is asked, and at which price.
    pub(crate) fn asks(&self) -> (&RunSpec, Kind) {
        (&self.run, self.request.kind)
    }
}

/// Where the job's provider is, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AccountSpec {
    pub provider: Option<String>,
    pub base_url: Option<String>,
    /// The environment variable that holds the key.
    pub key_env: Option<String>,
    /// Nobody but this state folder makes batches where the key belongs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive_workspace: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub betas: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_body_cost: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responses_api: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured_outputs: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// What deployments serve, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deployments: BTreeMap<String, DeploymentSpec>,
    /// Offline vLLM: the program that is run, and further words for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vllm_command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vllm_args: Option<Vec<String>>,
    /// Where it runs; AWS: whose credentials, and in which role; and where the files of its batches lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_invocation_type: Option<ModelInvocationType>,
    /// Further accounts, by the name before the slash in `name/model`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named: BTreeMap<String, AccountSpec>,
}

/// What is behind the name of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "write the model that the deployment serves, or `{ model = ..., batch = ... }`"
)]
pub enum DeploymentSpec {
    /// The model it serves, in every lane.
    Model(String),
    /// The model, and the deployment that takes its batches.
    Lanes { model: String, batch: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceSpec {
    /// `None`: standard input.
    pub path: Option<PathBuf>,
    /// `csv`, `tsv`, `jsonl` or `parquet`; guessed from the name or the first byte when absent.
    pub format: Option<String>,
    /// The column that holds the user's id of an item; the item's number from 1 when absent.
    pub id: Option<String>,
    pub on_bad_line: OnBadLine,
    /// Only the first so many records run and are delivered; all are read and checked.
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadLine {
    /// The job does not start.
    #[default]
    Fail,
    /// The line is left out, and counted.
    Skip,
    /// The line becomes a dead letter.
    Dead,
}

/// What is asked of every record. For unified requests and OpenAI batch lines only what a line does not say itself counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RequestSpec {
    /// `provider/model`, a model only one provider has, or an alias. Absent only if every line names its own.
    pub model: Option<String>,
    pub kind: Kind,
    pub system: Option<String>,
    pub turns: Vec<TurnSpec>,
    /// The user's turn: a template over the columns. Absent for sources that hold whole requests.
    pub user: Option<String>,
    pub image: Option<String>,
    pub choices: Vec<String>,
    /// JSON Schema text.
    pub schema: Option<String>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub seed: Option<i64>,
    pub reasoning: Option<String>,
    pub max_output_tokens: Option<u32>,
    pub dimensions: Option<u32>,
    pub stop: Vec<String>,
    /// JSON object text, merged into the provider's body last.
    pub provider_kwargs: Option<String>,
    /// Which of several answers to one prompt: part of the key.
    pub sample: u32,
    /// First rule that holds decides the model.
    pub rules: Vec<RuleSpec>,
    /// Models to turn to, in order, when the first is unavailable; `MODEL@LANE` in that lane alone.
    pub fallback: Vec<String>,
    /// A learned router, for the items that no rule decides; `model` is its strongest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Box<RouterSpec>>,
    /// Answers the items that need no model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterSpec>,
    /// Cheap models that are asked before `model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cascade: Option<CascadeSpec>,
    /// Similar items may be given one answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticSpec>,
    /// A pilot's job: the log-probabilities of each answer are asked for, as far as this measure needs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Measure>,
    /// What lies at the addresses of images and documents is brought here, for models that take bytes alone; `None`: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<FetchSpec>,
    /// So many items are asked in one request at most; `None`: each by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<u32>,
    /// Where a plan asks its models in bundles of several sizes: that of each, by the pinned model, 1 for none. Another model is asked alone then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bundles: BTreeMap<String, u32>,
}

/// From where images and documents are fetched besides public addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FetchSpec {
    /// `HOST` or `HOST:PORT`, wherever they are.
    pub hosts: Vec<String>,
}

/// A cascade: cheap models in the order in which they are asked, and by what an answer of theirs is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CascadeSpec {
    pub models: Vec<String>,
    pub accept: Accept,
}

/// A semantic cache: an item may be given the answer of a similar one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SemanticSpec {
    /// Of the job's requests, so many may be answered wrongly by it, in thousandths.
    pub error_permille: u32,
    /// Prompts are compared by embeddings; `None`: by their letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed: Option<EmbedSpec>,
}

/// Whose embeddings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbedSpec {
    /// A model of kind embedding, at any account.
    pub model: String,
    /// Numbers of a vector; `None`: as many as the model gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
}

impl SemanticSpec {
    /// What a plan says of it.
    pub(crate) fn warning(&self) -> String {
        let share = f64::from(self.error_permille) / 10.0;
        format!(
            "up to {share} % of the rows may be answered wrongly by the semantic cache, on average; what it saves is not in this plan"
        )
    }
}

impl CascadeSpec {
    /// All that are asked before the job's own model: the cheap ones, and a judge.
    pub(crate) fn asked(&self) -> impl Iterator<Item = &String> {
        let judge = if let Accept::Judge { model } = &self.accept { Some(model) } else { None };
        self.models.iter().chain(judge)
    }
}

impl RequestSpec {
    /// Every model that an item may be made for: the job's own, the router's others, the rules', those of a cascade.
    pub fn models(&self) -> impl Iterator<Item = &String> {
        let routed = self.router.iter().flat_map(|router| router.weak.iter());
        let cheap = self.cascade.iter().flat_map(CascadeSpec::asked);
        self.model.iter().chain(routed).chain(self.rules.iter().map(|rule| &rule.model)).chain(cheap)
    }

    /// The models of `fallback`, and the lanes that they are to be asked in.
    pub(crate) fn stand_ins(&self) -> impl Iterator<Item = (&str, Option<Lane>)> {
        self.fallback.iter().map(|name| fallback::split_lane(name))
    }

    /// So many items go to a model in one request at most; `None`: each by itself.
    pub(crate) fn bundle_at(&self, pinned: &str) -> Option<u32> {
        if self.bundles.is_empty() {
            return self.bundle;
        }
        self.bundles.get(pinned).copied().filter(|size| *size > 1)
    }

    /// Whether hidden reasoning is asked for.
    pub(crate) fn reasons(&self) -> bool {
        self.reasoning.as_deref().is_some_and(|effort| effort != "none")
    }

    /// The models that rules send items to; lines that are whole requests name their own.
    pub(crate) fn ruled(&self) -> impl Iterator<Item = &String> {
        self.rules.iter().filter(|_| self.user.is_some()).map(|rule| &rule.model)
    }

    /// Whether a router, a cascade or rules may ask another model than the job's own.
    pub(crate) fn chooses(&self) -> bool {
        self.router.is_some() || self.cascade.is_some() || self.ruled().next().is_some()
    }
}

/// A router or a filter in memory: none in a spec that was read back. Its version says which it is, so it is not compared.
#[derive(Debug, Clone)]
pub struct Loaded<T>(pub Option<Arc<T>>);

impl<T> Default for Loaded<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> PartialEq for Loaded<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Loaded<T> {}

/// A filter as a job knows it. It is needed while the source is read and not kept: its version, and what stands with each
/// answer, tell what it decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterSpec {
    pub version: String,
    /// Of what it answers, so much may be wrong, in thousandths.
    pub error_permille: u32,
    #[serde(skip)]
    pub filter: Loaded<Filter>,
}

impl FilterSpec {
    #[must_use]
    pub fn new(filter: Filter) -> Self {
        Self {
            version: filter.version().to_owned(),
            error_permille: filter.facts.options.error_permille,
            filter: Loaded(Some(Arc::new(filter))),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnSpec {
    pub role: Role,
    pub content: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSpec {
    pub when: String,
    pub model: String,
}

/// How the job runs; changing any of these does not make it another job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// `None`: chosen from deadline, price and item count.
    pub lane: Option<Lane>,
    pub high_priority: bool,
    /// Counted from the job's first start; `None` is a day. A missed deadline warns, it never kills items.
    pub deadline_ms: Option<u64>,
    pub budget: Option<UsdNanos>,
    pub budget_per_request: Option<UsdNanos>,
    pub budget_daily: Option<UsdNanos>,
    pub budget_monthly: Option<UsdNanos>,
    /// Above so much in doubt nothing new is sent; `None` is a quarter of the cap, or one largest submission.
    #[serde(default)]
    pub max_in_doubt: Option<UsdNanos>,
    /// Caps by `key=value` tag.
    pub budget_tags: BTreeMap<String, UsdNanos>,
    /// Admission compares the worst case, not the P95, with the budget.
    pub strict: bool,
    /// A job that will pass its cap goes on until the cap stops it.
    #[serde(default)]
    pub spend_all: bool,
    pub rpm: Option<u64>,
    pub tpm: Option<u64>,
    pub concurrency_max: u32,
    pub poll_min_ms: u64,
    pub poll_max_ms: u64,
    /// Longest wait for one call; `None`: by lane, [`RunSpec::timeout`].
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    pub cache: CacheMode,
    /// Dedup off: equal requests run each for themselves.
    pub distinct: bool,
    /// In which order items are sent; decided when the source is read.
    #[serde(default, skip_serializing_if = "SendBy::is_usual")]
    pub order: SendBy,
    /// Whether prompts are marked for the provider's prompt cache, and for how long.
    #[serde(default, skip_serializing_if = "Wish::is_usual")]
    pub prompt_cache: Wish,
    pub canary: bool,
    /// Slow sync calls have a copy sent beside them, which may be billed as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hedge: bool,
    /// When a model of `fallback` has items.
    #[serde(default, skip_serializing_if = "FallbackWhen::is_outage")]
    pub fallback_when: FallbackWhen,
    /// Failed items in thousandths above which the job alerts and exits 1.
    pub fail_above_permille: u32,
    /// Items in thousandths whose answers are written out for a reviewer; 0 is none.
    #[serde(default = "review_permille")]
    pub review_permille: u32,
    /// Wrong or unusable answers in thousandths above which the job halts, once that is proved.
    #[serde(default)]
    pub max_error_permille: Option<u32>,
    pub sync_doubt: SyncDoubt,
    /// What becomes of a batch create that no evidence has settled within a day.
    #[serde(default)]
    pub batch_doubt: Unresolved,
    pub t_lag_ms: u64,
    pub t_q_ms: u64,
    /// Remote input and output files stay after settling.
    pub keep_remote: bool,
    pub batch_items_max: u32,
    pub batch_bytes_max: u64,
    /// Batches open at once.
    pub batches_max: u32,
    pub enqueued_tokens_max: Option<u64>,
    /// Told when the failure threshold is passed and when the job ends.
    pub webhook: Option<String>,
    /// Prices in USD per million tokens for a model the catalogue does not know, as decimal text.
    pub price_in: Option<String>,
    pub price_out: Option<String>,
    /// What a pilot has learned; plans and admission count with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<Box<Learned>>,
    /// The strong model of the pilot, where the plan that was taken asks another: what the job's savings are compared with. Its books are
    /// kept so from the first answer on, whatever later runs say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<String>,
}

/// In which order items are sent. Results are written in the order of the source either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SendBy {
    #[default]
    Source,
    /// Prompts that begin alike one after the other, where that pays.
    Prefix,
}

impl SendBy {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    fn is_usual(&self) -> bool {
        *self == Self::Source
    }
}

/// What becomes of a sync call that was sent and never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncDoubt {
    #[default]
    Resend,
    Dead,
}

/// One item of a hundred.
fn review_permille() -> u32 {
    10
}

/// Batches of a job that has a deadline, and the fewest items of one.
const SHARDS: u64 = 8;
const SHARD_MIN: u64 = 10;

impl RunSpec {
    /// How often batches are looked at.
    pub(crate) fn pace(&self) -> PollPace {
        PollPace { min_ms: self.poll_min_ms, max_ms: self.poll_max_ms }
    }

    /// Items of one batch at most. With a deadline an eighth of the job, so that some batches are done when the others must be left;
    /// not so few that a rest of them, which may be below the `least` that a provider takes, weighs much.
    pub(crate) fn shard(&self, items: u64, least: u64) -> u64 {
        let most = u64::from(self.batch_items_max).max(1);
        match self.deadline_ms {
            Some(_) => most.min(items.div_ceil(SHARDS).max(least.max(1).saturating_mul(SHARD_MIN))),
            None => most,
        }
    }

    /// How long a call in `lane` is waited for: as asked, else ten minutes, and fifteen in the flex lane, which may queue.
    #[must_use]
    pub fn timeout(&self, lane: Lane) -> Duration {
        Duration::from_millis(self.timeout_ms.unwrap_or(if lane == Lane::Flex { 900_000 } else { 600_000 }))
    }
}

impl Default for RunSpec {
    fn default() -> Self {
        Self {
            lane: None,
            high_priority: false,
            deadline_ms: None,
            budget: None,
            budget_per_request: None,
            budget_daily: None,
            budget_monthly: None,
            max_in_doubt: None,
            budget_tags: BTreeMap::new(),
            strict: false,
            spend_all: false,
            rpm: None,
            tpm: None,
            concurrency_max: 2_000,
            poll_min_ms: 60_000,
            poll_max_ms: 300_000,
            timeout_ms: None,
            cache: CacheMode::Default,
            distinct: false,
            order: SendBy::Source,
            prompt_cache: Wish::Auto,
            canary: true,
            hedge: false,
            fallback_when: FallbackWhen::default(),
            fail_above_permille: 50,
            review_permille: review_permille(),
            max_error_permille: None,
            sync_doubt: SyncDoubt::Resend,
            batch_doubt: Unresolved::Hold,
            t_lag_ms: 120_000,
            t_q_ms: 900_000,
            keep_remote: false,
            batch_items_max: 20_000,
            batch_bytes_max: 190_000_000,
            batches_max: 50,
            enqueued_tokens_max: None,
            webhook: None,
            price_in: None,
            price_out: None,
            learned: None,
            instead_of: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SinkSpec {
    /// `None`: results stay in the state directory until `bulkrate results`. `-` is standard output.
    pub path: Option<PathBuf>,
    pub format: Option<String>,
    /// Rows as they land, in no order.
    pub stream: bool,
    pub raw_csv: bool,
    /// Replace a file that this job did not write.
    pub force: bool,
    /// Leave the input columns out.
    pub answers_only: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_deadline_a_batch_is_an_eighth_of_the_job_and_no_crumb() {
        let run = |deadline_ms| RunSpec { deadline_ms, ..RunSpec::default() };
        for (deadline_ms, items, least, shard) in [
            (None, 1_000, 1, 20_000),
            (Some(1), 1_000_000, 1, 20_000),
            (Some(1), 100_000, 1, 12_500),
            (Some(1), 801, 1, 101),
            (Some(1), 30, 1, 10),
            (Some(1), 1, 0, 10),
            (Some(1), 2_000, 100, 1_000),
            (Some(1), 80_000, 100, 10_000),
        ] {
            assert_eq!(run(deadline_ms).shard(items, least), shard, "{deadline_ms:?} {items} {least}");
        }
    }

    #[test]
    fn a_flex_time_out_that_was_asked_for_is_kept() {
        for (asked_ms, lane, want_s) in [
            (None, Lane::Sync, 600),
            (None, Lane::Flex, 900),
            (Some(30_000), Lane::Sync, 30),
            (Some(30_000), Lane::Flex, 30),
            (Some(600_000), Lane::Flex, 600),
            (Some(1_200_000), Lane::Flex, 1_200),
        ] {
            let run = RunSpec { timeout_ms: asked_ms, ..RunSpec::default() };
            assert_eq!(run.timeout(lane), Duration::from_secs(want_s), "{asked_ms:?} {lane}");
        }
    }
}
