//! The flags that describe a job, and what they say as a layer over a job file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bulkrate_engine::spec::SinkSpec;
use clap::Args;

use super::parse::{JsonObject, example, object, pair, rule};
pub use super::provider_args::ProviderArgs;
use super::tag_budget;
use crate::config::job_file::{
    Cascade, Example, Layer, Request, RuleLine, Run, SemanticCache, Sink, Source, is_job_file,
};
use crate::config::value::{
    AcceptRule, BadLineChoice, BatchDoubtChoice, CacheChoice, DoubtChoice, Effort, FallbackChoice,
    KindChoice, LaneChoice, Millis, OrderChoice, PerMillion, Percent, PriorityChoice, PromptCacheChoice,
    SinkFormat, SourceFormat, Usd,
};

#[derive(Debug, Clone, Args)]
pub struct JobArgs {
    /// A data file (CSV, TSV, JSONL, Parquet; `.gz` and `.zst` too), `-` for standard input, or a job file (`.toml`)
    pub input: PathBuf,
    /// Name of the job [default: that of the file]
    #[arg(long)]
    pub name: Option<String>,
    /// Tag of every item; spend is reported by tags
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    pub tags: Vec<(String, String)>,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub request: RequestArgs,
    #[command(flatten)]
    pub run: RunFlags,
    #[command(flatten)]
    pub sink: SinkArgs,
    #[command(flatten)]
    pub provider: ProviderArgs,
    /// The account that the job's own model is asked at, where another option has named one.
    #[arg(skip)]
    pub at: Option<String>,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Source")]
pub struct SourceArgs {
    /// Format of the data [default: told from the name or the first bytes]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<SourceFormat>,
    /// Column that holds each item's id [default: the item's number]
    #[arg(long, value_name = "COL")]
    pub id: Option<String>,
    /// What becomes of a line that cannot be read [default: fail]
    #[arg(long, value_name = "WHAT", env = "BULKRATE_ON_BAD_LINE", hide_env_values = true)]
    pub on_bad_line: Option<BadLineChoice>,
    /// Only the first N items
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Request")]
pub struct RequestArgs {
    /// `provider/model`, a model only one provider has, or an alias such as `fast`; `auto` asks a router
    #[arg(long, env = "BULKRATE_MODEL", hide_env_values = true)]
    pub model: Option<String>,
    /// What is asked for [default: chat]
    #[arg(long)]
    pub kind: Option<KindChoice>,
    /// System prompt: a text, or `@FILE`
    #[arg(long, value_name = "TEXT|@FILE")]
    pub system: Option<String>,
    /// User prompt: a template over the columns such as `Sentiment of: {{ text }}`, or `@FILE`
    #[arg(long, value_name = "TEXT|@FILE")]
    pub user: Option<String>,
    /// A worked example, shown to the model before each item; repeatable
    #[arg(long = "example", value_name = "USER=>ASSISTANT", value_parser = example)]
    pub examples: Vec<Example>,
    /// Column with an image: a URL, a `data:` URL or base64
    #[arg(long, value_name = "COL")]
    pub image: Option<String>,
    /// Fetch images and documents from their URLs where the model takes bytes alone; public addresses only
    #[arg(long)]
    pub fetch_urls: bool,
    /// With `--fetch-urls`: a host of your own to fetch from wherever it is, as `images.internal` or `10.0.0.7:8080`; repeatable
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub fetch_from: Vec<String>,
    /// Closed list of answers, separated by commas
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    pub choices: Vec<String>,
    /// JSON Schema that each answer must match; its properties become columns
    #[arg(long, value_name = "FILE", conflicts_with = "choices")]
    pub schema: Option<PathBuf>,
    #[arg(long, value_name = "T", help = "Randomness of answers [default: the model's own]")]
    pub temperature: Option<f64>,
    #[arg(long, value_name = "P", help = "Nucleus sampling")]
    pub top_p: Option<f64>,
    /// Seed sent to the provider
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub seed: Option<i64>,
    /// How much the model may think: `none`, `low`, `medium`, `high` or tokens
    #[arg(long, value_name = "EFFORT")]
    pub reasoning: Option<Effort>,
    /// Output maximum of each answer [default: longest choice + 16, else 1024; plus room for reasoning]
    #[arg(long, value_name = "N")]
    pub max_output_tokens: Option<u32>,
    /// Length of embedding vectors
    #[arg(long, value_name = "N")]
    pub dimensions: Option<u32>,
    /// Text at which an answer ends; repeatable
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// JSON object merged into the provider's body as it is
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub provider_kwargs: Option<JsonObject>,
    /// Ask again what was asked before: which of several answers to one prompt this is
    #[arg(long, value_name = "K")]
    pub sample: Option<u32>,
    /// Model for the items where a condition holds, such as `tokens < 200=>fast`; repeatable, the first wins
    #[arg(long = "rule", value_name = "WHEN=>MODEL", value_parser = rule)]
    pub rules: Vec<RuleLine>,
    /// With `--model auto`: a router that `bulkrate route train` made, which decides where no rule does
    #[arg(long, value_name = "FILE")]
    pub router: Option<PathBuf>,
    /// With `--model auto`: the model for the items that need no better one
    #[arg(long, value_name = "MODEL")]
    pub model_weak: Option<String>,
    /// With `--model auto`: the model for the others
    #[arg(long, value_name = "MODEL")]
    pub model_strong: Option<String>,
    /// With `--model auto`, in place of these two: all models that the router chooses among, the cheapest first
    #[arg(long, value_name = "MODEL,...", value_delimiter = ',')]
    pub models: Vec<String>,
    /// A filter that `bulkrate filter train` made: it answers the rows that need no model, for nothing
    #[arg(long, value_name = "FILE")]
    pub filter: Option<PathBuf>,
    /// Cheap models that are asked first, in this order; what is not accepted goes to `--model`
    #[arg(long, value_name = "MODEL,...", value_delimiter = ',')]
    pub cascade: Vec<String>,
    /// With `--cascade`: accept what is `valid`, what two models `agree` on (`agree:FIELD,...`), what another says is right
    /// (`judge:MODEL`), by the answer's log-probabilities (`logprob>=0.9`; of choices also `margin>=0.5`), or by a field of it in
    /// which the model says how sure it is, such as `confidence>=0.8` [default: valid]
    #[arg(long, value_name = "RULE")]
    pub accept: Option<AcceptRule>,
    /// Give an item the answer of a similar one, so that of the job's rows on average at most this share is answered wrongly by it,
    /// whatever the order of the rows. Needs `--choices` or `--schema` [default: off]
    #[arg(long, value_name = "PERCENT")]
    pub semantic_cache: Option<Percent>,
    /// With `--semantic-cache`: prompts are compared by the embeddings of this model, not by their letters. They are made first, by a job
    /// of their own whose cost counts against `--budget`
    #[arg(long, value_name = "MODEL")]
    pub semantic_embed: Option<String>,
    /// How many numbers each embedding has, where the model lets one choose; 256 are enough for most texts [default: all]
    #[arg(long, value_name = "N")]
    pub semantic_dimensions: Option<u32>,
    /// Ask so many items in one request (2 to 100): instructions are paid for once for all of them. An item without a good answer of
    /// its own is asked again with fewer, in the end alone
    #[arg(long, value_name = "N")]
    pub bundle: Option<u32>,
    /// Mark what all prompts begin with for the provider's prompt cache, where it caches only what is marked [default: auto]
    #[arg(long, value_name = "TTL")]
    pub prompt_cache: Option<PromptCacheChoice>,
    /// Model to turn to when the first cannot be asked; repeatable, in order; `@LANE` behind it: in that lane
    #[arg(long, value_name = "MODEL[@LANE]")]
    pub fallback: Vec<String>,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Run")]
pub struct RunFlags {
    #[command(flatten)]
    pub changes: OverrideArgs,
    /// `high` sends every item over the sync lane
    #[arg(long)]
    pub priority: Option<PriorityChoice>,
    /// Most that one request may cost
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    pub budget_per_request: Option<Usd>,
    /// Most that items with a tag may cost, such as `feature=triage=2`; repeatable
    #[arg(long = "budget-tag", value_name = "KEY=VALUE=USD", value_parser = tag_budget)]
    pub budget_tags: Vec<(String, Usd)>,
    /// Start only if the budget covers the worst case, not the 95th percentile
    #[arg(long)]
    pub strict: bool,
    /// Response cache: answers of earlier jobs [default: default]
    #[arg(long, value_name = "MODE", env = "BULKRATE_CACHE", hide_env_values = true)]
    pub cache: Option<CacheChoice>,
    /// Run equal requests each for itself
    #[arg(long)]
    pub distinct: bool,
    /// In which order items are sent; results are written in the order of the source either way [default: source]
    #[arg(long, value_name = "ORDER")]
    pub order: Option<OrderChoice>,
    /// Do not try the first item alone before the first batch
    #[arg(long)]
    pub no_canary: bool,
    /// Share of the answers that are written to `OUT.review.csv` for a reviewer; 0 is none [default: 1%]
    #[arg(long, value_name = "PERCENT")]
    pub review_sample: Option<Percent>,
    /// What becomes of a batch create that no evidence has settled within a day [default: hold]
    #[arg(long, value_name = "WHAT")]
    pub batch_doubt: Option<BatchDoubtChoice>,
    /// Leave input and output files at the provider
    #[arg(long)]
    pub keep_remote: bool,
    /// Most items in one batch [default: 20000]
    #[arg(long, value_name = "N")]
    pub batch_items_max: Option<u32>,
    /// Most bytes in one batch file [default: 190000000]
    #[arg(long, value_name = "N")]
    pub batch_bytes_max: Option<u64>,
    /// Most batches open at once [default: 50]
    #[arg(long, value_name = "N")]
    pub batches_max: Option<u32>,
    /// Most input tokens in batches of one model at one account that have not ended
    #[arg(long, value_name = "N")]
    pub enqueued_tokens_max: Option<u64>,
    /// URL that is told when failures pass the threshold and when the job ends
    #[arg(long, value_name = "URL", env = "BULKRATE_WEBHOOK", hide_env_values = true)]
    pub webhook: Option<String>,
    /// Input price of a model that the catalogue does not know, per million tokens
    #[arg(long, value_name = "USD")]
    pub price_in: Option<PerMillion>,
    /// Output price of a model that the catalogue does not know, per million tokens
    #[arg(long, value_name = "USD")]
    pub price_out: Option<PerMillion>,
}

/// What may still be changed when a job goes on.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Run")]
pub struct OverrideArgs {
    /// How requests are sent [default: auto]
    #[arg(long, env = "BULKRATE_LANE", hide_env_values = true)]
    pub lane: Option<LaneChoice>,
    /// Time until the results are needed, such as `6h` [default: 24h]
    #[arg(long, value_name = "DUR", env = "BULKRATE_DEADLINE", hide_env_values = true)]
    pub deadline: Option<Millis>,
    /// Most that the job may cost [default: 1.5 times the planned P95]
    #[arg(
        long,
        value_name = "USD",
        allow_negative_numbers = true,
        env = "BULKRATE_BUDGET",
        hide_env_values = true
    )]
    pub budget: Option<Usd>,
    /// Go on until the budget stops the job, also where its answers say that it will not do
    #[arg(long)]
    pub spend_all: bool,
    /// Most that may have been paid without an answer before nothing new is sent [default: a quarter of the budget]
    #[arg(
        long,
        value_name = "USD",
        allow_negative_numbers = true,
        env = "BULKRATE_MAX_IN_DOUBT",
        hide_env_values = true
    )]
    pub max_in_doubt: Option<Usd>,
    /// Share of wrong answers above which the job halts: answers that fail their checks, or that a reviewer found wrong;
    /// it halts once more than that is proved
    #[arg(long, value_name = "PERCENT", env = "BULKRATE_MAX_ERROR_RATE", hide_env_values = true)]
    pub max_error_rate: Option<Percent>,
    /// Known limit: requests a minute
    #[arg(long, value_name = "N", env = "BULKRATE_RPM", hide_env_values = true)]
    pub rpm: Option<u64>,
    /// Known limit: tokens a minute
    #[arg(long, value_name = "N", env = "BULKRATE_TPM", hide_env_values = true)]
    pub tpm: Option<u64>,
    /// Most sync calls in flight [default: 2000]
    #[arg(long, value_name = "N", env = "BULKRATE_CONCURRENCY_MAX", hide_env_values = true)]
    pub concurrency_max: Option<u32>,
    /// Most that all jobs of this state folder may cost a day (UTC)
    #[arg(
        long,
        value_name = "USD",
        allow_negative_numbers = true,
        env = "BULKRATE_BUDGET_DAILY",
        hide_env_values = true
    )]
    pub budget_daily: Option<Usd>,
    /// Most that all jobs of this state folder may cost a month (UTC)
    #[arg(
        long,
        value_name = "USD",
        allow_negative_numbers = true,
        env = "BULKRATE_BUDGET_MONTHLY",
        hide_env_values = true
    )]
    pub budget_monthly: Option<Usd>,
    /// Wait between two looks at batches, at first [default: 60s]
    #[arg(long, value_name = "DUR", env = "BULKRATE_POLL_MIN", hide_env_values = true)]
    pub poll_min: Option<Millis>,
    /// Wait between two looks at batches, at most [default: 300s]
    #[arg(long, value_name = "DUR", env = "BULKRATE_POLL_MAX", hide_env_values = true)]
    pub poll_max: Option<Millis>,
    /// Longest wait for one sync or flex call [default: 600s, flex 900s]
    #[arg(long, value_name = "DUR")]
    pub timeout: Option<Millis>,
    /// Send a second copy of sync calls that are slower than 95 of 100, of 2% of the calls at most; both may be billed
    #[arg(long)]
    pub hedge: bool,
    /// When models of `--fallback` have rows [default: outage]
    #[arg(long, value_name = "WHEN")]
    pub fallback_when: Option<FallbackChoice>,
    /// Share of failed items above which the job alerts and exits 1 [default: 5%]
    #[arg(long, value_name = "PERCENT")]
    pub fail_above: Option<Percent>,
    /// What becomes of a sync call that was sent and never answered [default: resend]
    #[arg(long, value_name = "WHAT")]
    pub sync_doubt: Option<DoubtChoice>,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct SinkArgs {
    /// File for the results (`.jsonl`, `.csv`, `.parquet`), or `-` for standard output
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Format of the results [default: told from the name]
    #[arg(long, value_name = "FORMAT")]
    pub out_format: Option<SinkFormat>,
    /// Write rows as they land, in no order: item, id and answer, without the input columns
    #[arg(long)]
    pub stream: bool,
    /// CSV cells as they are, also where a spreadsheet would take them for formulas
    #[arg(long)]
    pub raw_csv: bool,
    /// Leave the input columns out
    #[arg(long)]
    pub answers_only: bool,
    /// Replace a file that this job did not write, or that was edited since
    #[arg(long)]
    pub force: bool,
}

/// A flag that was not given says nothing.
pub(super) fn given(flag: bool) -> Option<bool> {
    flag.then_some(true)
}

fn listed<T>(values: Vec<T>) -> Option<Vec<T>> {
    (!values.is_empty()).then_some(values)
}

impl JobArgs {
    /// Whether the input is a job file.
    #[must_use]
    pub fn is_job_file(&self) -> bool {
        is_job_file(&self.input)
    }

    /// What the flags say, with the input where it is a data file.
    #[must_use]
    pub fn layer(self) -> Layer {
        let path = (!self.is_job_file()).then(|| self.input.clone());
        Layer {
            name: self.name,
            source: self.source.layer(path),
            cascade: self.request.cascade(),
            semantic_cache: SemanticCache {
                error: self.request.semantic_cache,
                embed: self.request.semantic_embed.clone(),
                embed_dimensions: self.request.semantic_dimensions,
            },
            request: self.request.layer(),
            tags: self.tags.into_iter().collect(),
            run: self.run.layer(),
            sink: self.sink.layer(),
            provider: self.provider.layer(),
            ..Layer::default()
        }
    }
}

impl SourceArgs {
    fn layer(self, path: Option<PathBuf>) -> Source {
        Source { path, format: self.format, id: self.id, on_bad_line: self.on_bad_line, limit: self.limit }
    }
}

impl RequestArgs {
    fn cascade(&self) -> Cascade {
        let models = self.cascade.iter().map(|model| model.trim().to_owned()).collect();
        Cascade { models: listed(models), accept: self.accept.clone() }
    }

    fn layer(self) -> Request {
        Request {
            model: self.model,
            kind: self.kind,
            system: self.system,
            user: self.user,
            examples: listed(self.examples),
            image: self.image,
            fetch_urls: given(self.fetch_urls),
            fetch_from: listed(self.fetch_from),
            choices: listed(self.choices.into_iter().map(|choice| choice.trim().to_owned()).collect()),
            schema: self.schema.map(|path| serde_json::Value::String(path.display().to_string())),
            temperature: self.temperature,
            top_p: self.top_p,
            seed: self.seed,
            reasoning: self.reasoning,
            max_output_tokens: self.max_output_tokens,
            dimensions: self.dimensions,
            stop: listed(self.stop),
            provider_kwargs: self.provider_kwargs.map(|object| object.0),
            sample: self.sample,
            rules: listed(self.rules),
            fallback: listed(self.fallback),
            router: self.router,
            model_weak: self.model_weak,
            model_strong: self.model_strong,
            models: listed(self.models.into_iter().map(|model| model.trim().to_owned()).collect()),
            filter: self.filter,
            bundle: self.bundle,
            prompt_cache: self.prompt_cache,
        }
    }
}

impl RunFlags {
    fn layer(self) -> Run {
        let budget_tags: BTreeMap<_, _> = self.budget_tags.into_iter().collect();
        Run {
            priority: self.priority,
            budget_per_request: self.budget_per_request,
            budget_tags: (!budget_tags.is_empty()).then_some(budget_tags),
            strict: given(self.strict),
            cache: self.cache,
            distinct: given(self.distinct),
            order: self.order,
            canary: self.no_canary.then_some(false),
            review_sample: self.review_sample,
            batch_doubt: self.batch_doubt,
            keep_remote: given(self.keep_remote),
            batch_items_max: self.batch_items_max,
            batch_bytes_max: self.batch_bytes_max,
            batches_max: self.batches_max,
            enqueued_tokens_max: self.enqueued_tokens_max,
            webhook: self.webhook,
            price_in: self.price_in,
            price_out: self.price_out,
            ..self.changes.layer()
        }
    }
}

impl OverrideArgs {
    /// What the flags say about how the job runs.
    #[must_use]
    pub fn layer(self) -> Run {
        Run {
            lane: self.lane,
            deadline: self.deadline,
            budget: self.budget,
            spend_all: given(self.spend_all),
            max_in_doubt: self.max_in_doubt,
            max_error_rate: self.max_error_rate,
            rpm: self.rpm,
            tpm: self.tpm,
            concurrency_max: self.concurrency_max,
            budget_daily: self.budget_daily,
            budget_monthly: self.budget_monthly,
            poll_min: self.poll_min,
            poll_max: self.poll_max,
            timeout: self.timeout,
            hedge: given(self.hedge),
            fallback_when: self.fallback_when,
            fail_above: self.fail_above,
            sync_doubt: self.sync_doubt,
            ..Run::default()
        }
    }
}

impl SinkArgs {
    fn layer(self) -> Sink {
        Sink {
            path: self.out,
            format: self.out_format,
            stream: given(self.stream),
            raw_csv: given(self.raw_csv),
            force: given(self.force),
            answers_only: given(self.answers_only),
        }
    }

    /// The sink these flags name; `None` where they name none.
    #[must_use]
    pub fn spec(self) -> Option<SinkSpec> {
        self.out.as_deref().map(Path::to_owned)?;
        Some(crate::config::resolve::sink(self.layer()))
    }
}
