//! The shape of a job file, and of everything laid over or under it. Every key is optional; unknown keys are refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bulkrate_engine::spec::DeploymentSpec;
use bulkrate_provider::ModelInvocationType;
use serde::Deserialize;

use super::ConfigError;
use super::router::AUTO;
use super::toml_error;
use super::value::{
    AcceptRule, BadLineChoice, BatchDoubtChoice, CacheChoice, DoubtChoice, Effort, FallbackChoice,
    KindChoice, LaneChoice, Millis, OrderChoice, PerMillion, Percent, PriorityChoice, PromptCacheChoice,
    SinkFormat, SourceFormat, Usd,
};

/// A section whose fields are all optional: what is set above wins over what is set below.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$fdoc])* pub $field: Option<$type>),* }

        impl $name {
            /// `self` where it says something, else `below`.
            #[must_use]
            pub fn over(self, below: Self) -> Self {
                Self { $($field: self.$field.or(below.$field)),* }
            }
        }
    };
}

section! {
    /// `[source]`: where items are read.
    Source {
        path: PathBuf,
        format: SourceFormat,
        id: String,
        on_bad_line: BadLineChoice,
        limit: u64,
    }
}

section! {
    /// `[request]`: what is asked of every item. Texts that begin with `@` name a file.
    Request {
        model: String,
        kind: KindChoice,
        system: String,
        user: String,
        examples: Vec<Example>,
        image: String,
        /// Whether URLs of images and documents are fetched for models that take bytes alone, and from which hosts of one's own.
        fetch_urls: bool,
        fetch_from: Vec<String>,
        choices: Vec<String>,
        /// A path, or the schema itself as a table.
        schema: serde_json::Value,
        temperature: f64,
        top_p: f64,
        seed: i64,
        reasoning: Effort,
        max_output_tokens: u32,
        dimensions: u32,
        stop: Vec<String>,
        provider_kwargs: serde_json::Map<String, serde_json::Value>,
        sample: u32,
        rules: Vec<RuleLine>,
        fallback: Vec<String>,
        /// A file of `bulkrate route train`, for `model = "auto"`.
        router: PathBuf,
        model_weak: String,
        model_strong: String,
        /// All models of the router, the cheapest first.
        models: Vec<String>,
        /// A file of `bulkrate filter train`.
        filter: PathBuf,
        /// So many items in one request.
        bundle: u32,
        /// Whether prompts are marked for the provider's prompt cache. It does not make another job.
        prompt_cache: PromptCacheChoice,
    }
}

section! {
    /// `[cascade]`: cheap models that are asked before the job's own.
    Cascade {
        models: Vec<String>,
        /// By what an answer of theirs is accepted.
        accept: AcceptRule,
    }
}

section! {
    /// `[semantic_cache]`: similar items may be given one answer.
    SemanticCache {
        /// Of the requests, so many may be answered wrongly by it.
        error: Percent,
        /// A model whose embeddings say how alike prompts are, and how many numbers each has.
        embed: String,
        embed_dimensions: u32,
    }
}

section! {
    /// `[pilot]`: what `plan --pilot` compares. It is no part of the job.
    Pilot {
        candidates: Vec<String>,
        /// The column with the right answers.
        labels: String,
        quality_loss: Percent,
    }
}

section! {
    /// `[run]`: how the job runs. Changing any of it does not make another job.
    Run {
        lane: LaneChoice,
        priority: PriorityChoice,
        deadline: Millis,
        budget: Usd,
        budget_per_request: Usd,
        budget_daily: Usd,
        budget_monthly: Usd,
        budget_tags: BTreeMap<String, Usd>,
        max_in_doubt: Usd,
        strict: bool,
        spend_all: bool,
        rpm: u64,
        tpm: u64,
        concurrency_max: u32,
        poll_min: Millis,
        poll_max: Millis,
        timeout: Millis,
        cache: CacheChoice,
        distinct: bool,
        order: OrderChoice,
        canary: bool,
        hedge: bool,
        fallback_when: FallbackChoice,
        fail_above: Percent,
        review_sample: Percent,
        max_error_rate: Percent,
        sync_doubt: DoubtChoice,
        batch_doubt: BatchDoubtChoice,
        t_lag: Millis,
        t_q: Millis,
        keep_remote: bool,
        batch_items_max: u32,
        batch_bytes_max: u64,
        batches_max: u32,
        enqueued_tokens_max: u64,
        webhook: String,
        price_in: PerMillion,
        price_out: PerMillion,
    }
}

section! {
    /// `[sink]`: where results are written.
    Sink {
        path: PathBuf,
        format: SinkFormat,
        stream: bool,
        raw_csv: bool,
        force: bool,
        answers_only: bool,
    }
}

section! {
    /// `[provider]`, `[accounts.NAME]`: how a provider is reached. Keys stand in environment variables, never here.
    Provider {
        /// Of an account: whose API it is.
        provider: String,
        base_url: String,
        /// The variable that said `base_url`, where it is one that is not ours. No key of a file.
        #[serde(skip)]
        base_url_by: String,
        /// The environment variable that holds the key.
        key_env: String,
        organization: String,
        project: String,
        headers: BTreeMap<String, String>,
        ca_file: PathBuf,
        proxy: String,
        cost_header: String,
        trust_body_cost: bool,
        /// Chat goes to `/responses` instead of `/chat/completions`.
        responses_api: bool,
        structured_outputs: bool,
        /// Nobody but this state folder makes batches in the workspace of the key.
        exclusive_workspace: bool,
        betas: Vec<String>,
        /// Azure, Anthropic: the dated version of the API.
        api_version: String,
        /// Azure: what deployments serve, by their names.
        deployments: BTreeMap<String, DeploymentSpec>,
        /// Offline vLLM: the program, and the words after ours.
        vllm_command: Vec<String>,
        vllm_args: Vec<String>,
        /// AWS: the region, the profile of its files, the role and the place of batches. Vertex: the location and the bucket. Azure:
        /// the container.
        region: String,
        profile: String,
        role_arn: String,
        storage: String,
        /// AWS: whether Claude is asked in its maker's own words.
        model_invocation_type: ModelInvocationType,
    }
}

/// One worked example: a user's turn and the assistant's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    pub user: String,
    pub assistant: String,
}

/// One routing rule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleLine {
    pub when: String,
    pub model: String,
}

/// One layer of configuration: a job file, or the flags and variables laid over it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layer {
    pub name: Option<String>,
    pub source: Source,
    pub request: Request,
    pub cascade: Cascade,
    pub semantic_cache: SemanticCache,
    pub pilot: Pilot,
    pub tags: BTreeMap<String, String>,
    pub run: Run,
    pub sink: Sink,
    pub provider: Provider,
    /// Accounts with names of the user's own, for models such as `NAME/gpt-6-luna`.
    pub accounts: BTreeMap<String, Provider>,
}

/// `bulkrate.toml` of the working directory: what all jobs started there share. It may have come with somebody's folder, so it
/// cannot name where anything is sent: no base URL, as a key must not go to an origin that nobody typed, and no webhook.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    pub state: Option<PathBuf>,
    /// A price table laid over the bundled one.
    pub prices: Option<PathBuf>,
    pub tags: BTreeMap<String, String>,
    pub run: Run,
}

/// Whether a path is that of a job file, by its name.
#[must_use]
pub fn is_job_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

impl Layer {
    /// `self` where it says something, else `below`. Tags, tag budgets and headers are united key by key.
    #[must_use]
    pub fn over(mut self, mut below: Self) -> Self {
        below.tags.append(&mut self.tags);
        Self {
            name: self.name.or(below.name),
            request: self.request.over(below.request),
            cascade: self.cascade.over(below.cascade),
            semantic_cache: self.semantic_cache.over(below.semantic_cache),
            pilot: self.pilot.over(below.pilot),
            source: self.source.over(below.source),
            tags: below.tags,
            sink: self.sink.over(below.sink),
            run: Run {
                budget_tags: united(self.run.budget_tags.take(), below.run.budget_tags.take()),
                ..self.run.over(below.run)
            },
            accounts: united(Some(self.accounts), Some(below.accounts)).unwrap_or_default(),
            provider: Provider {
                headers: united(self.provider.headers.take(), below.provider.headers.take()),
                ..self.provider.over(below.provider)
            },
        }
    }

    /// The models that the job names, each once; one that a router chooses is among them as the router's.
    #[must_use]
    pub fn models(&self) -> Vec<String> {
        let request = &self.request;
        let one = [&request.model, &request.model_weak, &request.model_strong, &self.semantic_cache.embed];
        let lists = [&request.models, &request.fallback, &self.cascade.models];
        let rules = request.rules.iter().flatten().map(|rule| &rule.model);
        let named = one.into_iter().flatten().chain(lists.into_iter().flatten().flatten()).chain(rules);
        let mut models: Vec<String> = Vec::new();
        for model in named.filter(|model| model.as_str() != AUTO) {
            if !models.contains(model) {
                models.push(model.clone());
            }
        }
        models
    }

    /// Lets the job's own model be asked at another account, which has a name of the user's own or is called as its provider.
    /// `None`: there is no such account.
    pub fn move_to(&mut self, account: &str) -> Option<()> {
        let own = self.accounts.get(account);
        let serves = own.and_then(|own| own.provider.as_deref());
        if own.is_none() && !bulkrate_provider::names().contains(&account) {
            return None;
        }
        if let Some(model) = &mut self.request.model {
            let bare = [Some(account), serves]
                .into_iter()
                .flatten()
                .find_map(|name| model.strip_prefix(name)?.strip_prefix('/').map(str::to_owned));
            *model = format!("{account}/{}", bare.as_ref().unwrap_or(model));
        }
        Some(())
    }

    /// Reads a job file; its paths become relative to the working directory.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            what: "the job file",
            path: path.to_owned(),
            source,
        })?;
        let mut layer = Self::parse(&path.display().to_string(), &text)?;
        layer.relative_to(path.parent().unwrap_or(Path::new("")));
        if layer.name.is_none() {
            layer.name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        }
        Ok(layer)
    }

    /// Reads the text of a job file; `file` is its name in messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| toml_error::explain(file, text, &error))
    }

    fn relative_to(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| {
            if path.as_os_str() != "-" {
                *path = folder.join(&*path);
            }
        };
        let join_text = |text: &mut String| {
            if let Some(path) = text.strip_prefix('@') {
                *text = format!("@{}", folder.join(path).display());
            }
        };
        self.source
            .path
            .iter_mut()
            .chain(&mut self.sink.path)
            .chain(&mut self.provider.ca_file)
            .chain(&mut self.request.router)
            .chain(&mut self.request.filter)
            .chain(self.accounts.values_mut().filter_map(|account| account.ca_file.as_mut()))
            .for_each(join);
        self.request.system.iter_mut().chain(&mut self.request.user).for_each(join_text);
        if let Some(serde_json::Value::String(path)) = &mut self.request.schema {
            *path = folder.join(&*path).display().to_string();
        }
    }
}

impl Defaults {
    pub const FILE: &str = "bulkrate.toml";

    /// The file of the working directory, where there is one.
    pub fn load() -> Result<Self, ConfigError> {
        match std::fs::read_to_string(Self::FILE) {
            Ok(text) => Self::parse(Self::FILE, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => {
                Err(ConfigError::Read { what: "the configuration", path: Self::FILE.into(), source })
            }
        }
    }

    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let found: Self = toml::from_str(text).map_err(|error| toml_error::explain(file, text, &error))?;
        if found.run.webhook.is_none() {
            return Ok(found);
        }
        let peek: Peek = toml::from_str(text).map_err(|error| toml_error::explain(file, text, &error))?;
        let at = peek.run.webhook.map_or(0, |url| url.span().start);
        Err(ConfigError::JobFile {
            place: toml_error::place(file, text, at),
            message: "`webhook` cannot stand here: this file is picked up unasked, and would send what becomes of every job elsewhere".to_owned(),
            hint: Some("set it in the job file, or pass `--webhook`".to_owned()),
        })
    }
}

/// Where a key stands that may not stand there.
#[derive(Deserialize)]
struct Peek {
    run: PeekRun,
}

#[derive(Deserialize)]
struct PeekRun {
    webhook: Option<toml::Spanned<String>>,
}

fn united<T>(
    above: Option<BTreeMap<String, T>>,
    below: Option<BTreeMap<String, T>>,
) -> Option<BTreeMap<String, T>> {
    match (above, below) {
        (Some(mut above), Some(mut below)) => {
            below.append(&mut above);
            Some(below)
        }
        (above, below) => above.or(below),
    }
}
