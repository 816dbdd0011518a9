//! Layers to a `JobSpec`: files are read, names are filled in, contradictions are refused.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bulkrate_core::bundle::SIZE_MAX;
use bulkrate_core::collect::Expectation;
use bulkrate_core::lane::Lane;
use bulkrate_core::request::{Kind, Role};
use bulkrate_core::route::nearest;
use bulkrate_engine::spec::{
    AccountSpec, FetchSpec, FilterSpec, JobSpec, RequestSpec, RuleSpec, RunSpec, SinkSpec, SourceSpec,
    TurnSpec,
};
use bulkrate_provider::http::egress::Hosts;

use super::job_file::{Example, Layer, Request, Run, Sink, Source};
use super::value::PriorityChoice;
use super::{ConfigError, account};

/// The job that a complete layer describes. Reads the files named by `@file` and `schema`, not the source.
pub fn job(layer: Layer) -> Result<JobSpec, ConfigError> {
    let source = source(layer.source)?;
    let name = match (layer.name, &source.path) {
        (Some(name), _) => name,
        (None, Some(path)) => stem(path),
        (None, None) => {
            let hint = Some("a name tells the job apart when it is run again");
            return Err(ConfigError::option("--name", "standard input needs a name", hint));
        }
    };
    let prompt_cache = layer.request.prompt_cache.map(Into::into).unwrap_or_default();
    let run = RunSpec { prompt_cache, ..run(layer.run)? };
    let sink = sink(layer.sink);
    if sink.stream
        && sink.path.as_ref().is_none_or(|path| path.extension().is_some_and(|ext| ext == "parquet"))
    {
        let hint = Some("name a `.jsonl` or `.csv` file with `--out`, or `-` for standard output");
        return Err(ConfigError::option("--stream", "rows cannot be written as they land here", hint));
    }
    if layer.provider.provider.is_some() {
        let hint =
            Some("the model says it: `openai/gpt-6-luna`; further accounts stand in `[accounts.NAME]`");
        return Err(ConfigError::option("provider.provider", "this section names no provider", hint));
    }
    let named = layer.accounts.into_iter().map(|(name, of)| (name, account::kept(of))).collect();
    let account = AccountSpec { named, ..account::kept(layer.provider) };
    let mut request = request(layer.request)?;
    request.cascade = super::cascade::cascade(layer.cascade, &request)?;
    request.semantic = super::semantic::semantic(&layer.semantic_cache, &request, &run)?;
    Ok(JobSpec { name, source, request, tags: layer.tags, run, sink, account })
}

fn source(from: Source) -> Result<SourceSpec, ConfigError> {
    let Some(path) = from.path else {
        let hint = Some("pass a data file, or set `path` in `[source]` of the job file");
        return Err(ConfigError::option("source", "no data to read", hint));
    };
    Ok(SourceSpec {
        path: (path.as_os_str() != "-").then_some(path),
        format: from.format.map(|format| format.name().to_owned()),
        id: from.id,
        on_bad_line: from.on_bad_line.map(Into::into).unwrap_or_default(),
        limit: from.limit,
    })
}

/// `reviews` for `data/reviews.csv.gz`.
fn stem(path: &Path) -> String {
    let name = path.file_name().map_or_else(|| "job".to_owned(), |name| name.to_string_lossy().into_owned());
    let known = [".gz", ".zst", ".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".txt"];
    let mut stem = name.as_str();
    while let Some(shorter) =
        known.iter().find_map(|ext| stem.strip_suffix(ext)).filter(|rest| !rest.is_empty())
    {
        stem = shorter;
    }
    stem.to_owned()
}

fn request(from: Request) -> Result<RequestSpec, ConfigError> {
    let turns = from.examples.unwrap_or_default().into_iter().flat_map(turns).collect();
    let rules = from.rules.unwrap_or_default();
    let choices = from.choices.unwrap_or_default();
    let schema = from.schema.map(schema).transpose()?;
    if schema.is_some() && !choices.is_empty() {
        let hint = Some("use `choices` for one word out of a list, a schema for fields");
        return Err(ConfigError::option("--choices", "cannot go together with a schema", hint));
    }
    check_choices(&choices)?;
    // No provider takes more; nothing is sent to be refused there.
    for (option, number, most) in [("--temperature", from.temperature, 2.0), ("--top-p", from.top_p, 1.0)] {
        if number.is_some_and(|number| !(0.0..=most).contains(&number)) {
            return Err(ConfigError::option(option, format!("must be a number from 0 to {most}"), None));
        }
    }
    if from.max_output_tokens == Some(0) {
        return Err(ConfigError::option("--max-output-tokens", "must be more than 0", None));
    }
    let fallback = from.fallback.unwrap_or_default();
    super::router::no_auto("--fallback", &fallback)?;
    check_lanes(&fallback)?;
    super::router::no_auto("request.rules", rules.iter().map(|rule| &rule.model))?;
    let keys = super::router::Keys {
        router: from.router,
        weak: from.model_weak,
        strong: from.model_strong,
        models: from.models,
    };
    let (model, router) = super::router::models(from.model, keys)?;
    let kind: Kind = from.kind.map(Into::into).unwrap_or_default();
    check_decision(kind, from.user.is_some(), &choices, from.system.as_deref())?;
    Ok(RequestSpec {
        model,
        kind,
        system: from.system.map(text).transpose()?,
        turns,
        user: from.user.map(text).transpose()?,
        image: from.image,
        fetch: fetch(from.fetch_urls, from.fetch_from)?,
        choices,
        schema,
        temperature: from.temperature,
        top_p: from.top_p,
        seed: from.seed,
        reasoning: from.reasoning.map(|effort| effort.0),
        max_output_tokens: from.max_output_tokens,
        dimensions: from.dimensions,
        stop: from.stop.unwrap_or_default(),
        provider_kwargs: from.provider_kwargs.map(|table| serde_json::Value::Object(table).to_string()),
        sample: from.sample.unwrap_or(0),
        rules: rules.into_iter().map(|rule| RuleSpec { when: rule.when, model: rule.model }).collect(),
        fallback,
        router: router.map(Box::new),
        filter: from.filter.map(|path| super::filter::load(&path)).transpose()?.map(FilterSpec::new),
        cascade: None, // sections of their own, which are judged by all of this
        semantic: None,
        logprobs: None,
        bundle: bundle(from.bundle, kind == Kind::Chat)?,
        bundles: std::collections::BTreeMap::new(), // a plan of a pilot sets them
    })
}

/// What stands behind a model's last `@` is its lane, or part of its name: not a lane's name with a slip in it.
fn check_lanes(fallback: &[String]) -> Result<(), ConfigError> {
    for name in fallback {
        let Some((model, lane)) = name.rsplit_once('@') else { continue };
        let lanes = Lane::ALL.map(Lane::name);
        if lanes.contains(&lane) {
            continue;
        }
        if let Some(near) = nearest(lane, lanes.into_iter()) {
            let message = format!("`{name}`: no lane is called `{lane}` (did you mean `{model}@{near}`?)");
            return Err(ConfigError::option("--fallback", message, Some("lanes are batch, flex and sync")));
        }
    }
    Ok(())
}

/// From where images and documents are fetched, where they are.
fn fetch(wanted: Option<bool>, from: Option<Vec<String>>) -> Result<Option<FetchSpec>, ConfigError> {
    let hosts: Vec<String> = from.into_iter().flatten().map(|host| host.trim().to_owned()).collect();
    if wanted != Some(true) {
        let hint = Some("pass `--fetch-urls` as well, or leave it out");
        return if hosts.is_empty() {
            Ok(None)
        } else {
            Err(ConfigError::option("--fetch-from", "nothing is fetched without `fetch_urls`", hint))
        };
    }
    Hosts::parse(&hosts).map_err(|why| ConfigError::option("--fetch-from", why, None))?;
    Ok(Some(FetchSpec { hosts }))
}

/// How many items go in one request; one is what there is without.
fn bundle(size: Option<u32>, chat: bool) -> Result<Option<u32>, ConfigError> {
    let Some(size) = size.filter(|size| *size != 1) else { return Ok(None) };
    if !(2..=SIZE_MAX).contains(&size) {
        let hint = Some("most of the gain is there at 20; beyond 100 models lose count");
        return Err(ConfigError::option(
            "--bundle",
            format!("must be a number from 1, which is none, to {SIZE_MAX}"),
            hint,
        ));
    }
    if !chat {
        let hint = Some(
            "leave it out: there is nothing in them that items could share, or they are priced by their input alone",
        );
        return Err(ConfigError::option("--bundle", "asks several items in one chat", hint));
    }
    Ok(Some(size))
}

/// A decision has choices and a question; lines of whole requests, which come without a user prompt, have their own.
fn check_decision(
    kind: Kind,
    of_table: bool,
    choices: &[String],
    system: Option<&str>,
) -> Result<(), ConfigError> {
    if kind != Kind::Decision || !of_table {
        return Ok(());
    }
    let lacks =
        |what: &str, hint| Err(ConfigError::option("--kind decision", format!("needs {what}"), Some(hint)));
    if choices.is_empty() {
        return lacks(
            "`--choices`",
            "name what is decided between, such as `--choices billing,delivery,other`",
        );
    }
    match system {
        None => lacks(
            "`--system`",
            "it is the question that is asked of each row, such as `Sort the ticket by its subject.`",
        ),
        Some(_) => Ok(()),
    }
}

/// An answer is matched trimmed and without regard to case, so that two choices must differ by more.
fn check_choices(choices: &[String]) -> Result<(), ConfigError> {
    let bad = |message: String| {
        let hint = Some("name each answer once, separated by commas, such as `--choices positive,negative`");
        Err(ConfigError::option("--choices", message, hint))
    };
    let mut seen = std::collections::BTreeSet::new();
    for (at, choice) in choices.iter().enumerate() {
        let word = choice.trim().to_lowercase();
        if word.is_empty() {
            return bad(format!("choice {} of {} is empty", at + 1, choices.len()));
        }
        if !seen.insert(word) {
            return bad(format!("`{}` is there twice", choice.trim()));
        }
    }
    Ok(())
}

fn turns(example: Example) -> [TurnSpec; 2] {
    [
        TurnSpec { role: Role::User, content: example.user },
        TurnSpec { role: Role::Assistant, content: example.assistant },
    ]
}

/// A text as it is, or the file that `@file` names, without the line break at its end.
fn text(written: String) -> Result<String, ConfigError> {
    let Some(path) = written.strip_prefix('@') else { return Ok(written) };
    let read = bounded(path).map_err(|source| ConfigError::Read {
        what: "the prompt file",
        path: path.into(),
        source,
    })?;
    Ok(read.trim_end_matches(['\n', '\r']).to_owned())
}

/// A device never ends, and no prompt is longer.
fn bounded(path: &str) -> std::io::Result<String> {
    const BYTES_MAX: u64 = 32 << 20;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > BYTES_MAX {
        return Err(std::io::Error::other("it is longer than 32 MiB"));
    }
    Ok(text)
}

fn schema(written: serde_json::Value) -> Result<String, ConfigError> {
    let (path, value) = match written {
        serde_json::Value::String(path) => {
            let path = PathBuf::from(path.strip_prefix('@').unwrap_or(&path));
            let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read {
                what: "the schema",
                path: path.clone(),
                source,
            })?;
            let bad = |error: serde_json::Error| ConfigError::Schema {
                path: path.display().to_string(),
                why: error.to_string(),
            };
            (path.display().to_string(), serde_json::from_str(&text).map_err(bad)?)
        }
        inline => ("[request] schema".to_owned(), inline),
    };
    let value: serde_json::Value = value;
    if !value.is_object() {
        return Err(ConfigError::Schema { path, why: "it is not a JSON object".to_owned() });
    }
    let text = value.to_string();
    match Expectation::schema(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(ConfigError::Schema { path, why: error.0 }),
    }
}

fn run(from: Run) -> Result<RunSpec, ConfigError> {
    let usual = RunSpec::default();
    let (poll_min_ms, poll_max_ms) = polls(&from, (usual.poll_min_ms, usual.poll_max_ms))?;
    let budgets = from.budget_tags.unwrap_or_default();
    if let Some(key) = budgets.keys().find(|key| !key.contains('=')) {
        let hint = Some(
            "write `\"feature=triage\" = \"2\"` under `[run.budget_tags]`, or `--budget-tag feature=triage=2`",
        );
        return Err(ConfigError::option("budget_tags", format!("`{key}` is not `key=value`"), hint));
    }
    let spec = RunSpec {
        lane: from.lane.and_then(super::value::LaneChoice::lane),
        high_priority: from.priority == Some(PriorityChoice::High),
        deadline_ms: from.deadline.map(|time| time.0),
        budget: from.budget.map(|usd| usd.0),
        budget_per_request: from.budget_per_request.map(|usd| usd.0),
        budget_daily: from.budget_daily.map(|usd| usd.0),
        budget_monthly: from.budget_monthly.map(|usd| usd.0),
        max_in_doubt: from.max_in_doubt.map(|usd| usd.0),
        budget_tags: budgets.into_iter().map(|(tag, usd)| (tag, usd.0)).collect(),
        strict: from.strict.unwrap_or(usual.strict),
        spend_all: from.spend_all.unwrap_or(usual.spend_all),
        rpm: from.rpm,
        tpm: from.tpm,
        concurrency_max: from.concurrency_max.unwrap_or(usual.concurrency_max),
        poll_min_ms,
        poll_max_ms,
        timeout_ms: from.timeout.map(|time| time.0),
        cache: from.cache.map_or(usual.cache, Into::into),
        distinct: from.distinct.unwrap_or(usual.distinct),
        order: from.order.map_or(usual.order, Into::into),
        prompt_cache: usual.prompt_cache, // stands with the request
        canary: from.canary.unwrap_or(usual.canary),
        hedge: from.hedge.unwrap_or(usual.hedge),
        fallback_when: from.fallback_when.map_or(usual.fallback_when, Into::into),
        fail_above_permille: from.fail_above.map_or(usual.fail_above_permille, |share| share.permille),
        review_permille: from.review_sample.map_or(usual.review_permille, |share| share.permille),
        max_error_permille: from.max_error_rate.map(|share| share.permille),
        sync_doubt: from.sync_doubt.map_or(usual.sync_doubt, Into::into),
        batch_doubt: from.batch_doubt.map_or(usual.batch_doubt, Into::into),
        t_lag_ms: from.t_lag.map_or(usual.t_lag_ms, |time| time.0),
        t_q_ms: from.t_q.map_or(usual.t_q_ms, |time| time.0),
        keep_remote: from.keep_remote.unwrap_or(usual.keep_remote),
        batch_items_max: from.batch_items_max.unwrap_or(usual.batch_items_max),
        batch_bytes_max: from.batch_bytes_max.unwrap_or(usual.batch_bytes_max),
        batches_max: from.batches_max.unwrap_or(usual.batches_max),
        enqueued_tokens_max: from.enqueued_tokens_max,
        webhook: from.webhook,
        price_in: from.price_in.map(|price| price.0),
        price_out: from.price_out.map(|price| price.0),
        learned: None,
        instead_of: None,
    };
    checked(spec)
}

/// What flags say about a run, without anything that they may change.
pub(crate) fn check_run(from: &Run) -> Result<(), ConfigError> {
    run(from.clone()).map(drop)
}

/// The waits between two looks at batches. Where only one of them is given, the usual other one gives way.
pub(crate) fn polls(from: &Run, usual: (u64, u64)) -> Result<(u64, u64), ConfigError> {
    match (from.poll_min.map(|time| time.0), from.poll_max.map(|time| time.0)) {
        (Some(min), Some(max)) if min > max => {
            Err(ConfigError::option("--poll-min", "is longer than `--poll-max`", None))
        }
        (Some(min), max) => Ok((min, max.unwrap_or(usual.1.max(min)))),
        (None, Some(max)) => Ok((usual.0.min(max), max)),
        (None, None) => Ok(usual),
    }
}

/// Numbers that would make a job stand still, and an address that cannot be told anything.
fn checked(spec: RunSpec) -> Result<RunSpec, ConfigError> {
    let zeros = [
        ("--concurrency-max", u64::from(spec.concurrency_max)),
        ("--rpm", spec.rpm.unwrap_or(1)),
        ("--tpm", spec.tpm.unwrap_or(1)),
        ("--poll-min", spec.poll_min_ms),
        ("--deadline", spec.deadline_ms.unwrap_or(1)),
        ("--timeout", spec.timeout_ms.unwrap_or(1)),
        ("batch_items_max", u64::from(spec.batch_items_max)),
        ("batch_bytes_max", spec.batch_bytes_max),
        ("batches_max", u64::from(spec.batches_max)),
    ];
    if let Some((option, _)) = zeros.iter().find(|(_, value)| *value == 0) {
        return Err(ConfigError::option(option, "must be more than 0", None));
    }
    if spec.price_in.is_some() != spec.price_out.is_some() {
        let hint = Some("a price of 0 is fine; embeddings have no output");
        return Err(ConfigError::option("--price-in", "goes together with `--price-out`", hint));
    }
    if let Some(url) = spec.webhook.as_deref().filter(|url| !is_http(url)) {
        let hint = Some("write it with its scheme, such as `--webhook https://example.org/hook`");
        return Err(ConfigError::option("--webhook", format!("`{}` is not a URL", shown(url)), hint));
    }
    Ok(spec)
}

/// `http://HOST...` or `https://HOST...`.
fn is_http(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !host.is_empty() && !url.contains(char::is_whitespace)
    })
}

/// A URL as messages may hold it: what stands before an `@` may be a password.
fn shown(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, rest)| rest)
}

pub(crate) fn sink(from: Sink) -> SinkSpec {
    SinkSpec {
        path: from.path,
        format: from.format.map(|format| format.name().to_owned()),
        stream: from.stream.unwrap_or(false),
        raw_csv: from.raw_csv.unwrap_or(false),
        force: from.force.unwrap_or(false),
        answers_only: from.answers_only.unwrap_or(false),
    }
}
