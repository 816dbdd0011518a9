//! What a simulator can be told: speed, limits, latency, faults, prices.

use crate::faults::FaultRule;
use crate::like::Like;
use crate::weak::Weak;

/// Whose API is pretended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speaks {
    /// OpenAI's, or that of a service like it.
    #[default]
    OpenAi,
    /// Anthropic's Messages API.
    Anthropic,
    /// Google's Gemini API.
    Gemini,
    /// Google's Vertex AI, with the parts of Google Cloud that it needs.
    Vertex,
    /// AWS Bedrock, with its S3.
    Bedrock,
}

/// Settings of one simulated account. `Default` is a fast, fault-free account without limits.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Virtual seconds per real second, for batches and every timestamp. Sync latency and rate limits stay in real time.
    pub speed: f64,
    /// Seeds ids, latencies and line order. The same seed and the same calls give the same answers.
    pub seed: u64,
    /// Seeds which calls and lines a fault hits.
    pub fault_seed: u64,
    /// Median of the sync latency in real milliseconds; 0 = none.
    pub latency_ms: f64,
    /// Spread of the log-normal latency; 0 = always the median.
    pub latency_sigma: f64,
    /// Requests per minute and model, enforced as limit/60 each second; `None` = no limit and no `x-ratelimit-*` headers.
    pub rpm: Option<u64>,
    /// Tokens per minute and model, enforced as limit/60 each second.
    pub tpm: Option<u64>,
    /// The one accepted key; `None` = any bearer token.
    pub api_key: Option<String>,
    /// Enqueued prompt tokens per model over all batches that have not ended.
    pub enqueued_tokens: Option<u64>,
    /// Requests that may wait in all message batches (Anthropic).
    pub queued_requests: Option<u64>,
    /// Batch creations per virtual hour.
    pub batches_per_hour: Option<u64>,
    /// Virtual seconds in `validating`.
    pub validating_secs: f64,
    /// Virtual seconds in `in_progress`. More than 86,400 makes the batch expire with partial output.
    pub run_secs: f64,
    /// Virtual seconds in `finalizing`.
    pub finalizing_secs: f64,
    /// Virtual seconds in `cancelling`.
    pub cancel_secs: f64,
    /// Virtual seconds until a new batch shows up in the list.
    pub list_lag_secs: f64,
    /// Virtual seconds after which a create delayed by the fault `create-late` is carried out.
    pub late_secs: f64,
    /// Real milliseconds that the fault `slow` adds.
    pub slow_ms: u64,
    /// Share of prompts of 1,024 tokens or more whose first three quarters count as cached.
    pub cached_share: f64,
    /// Share of marked prefixes that are found again while they are kept (Anthropic): nobody promises all of them.
    pub marked_hits: f64,
    /// Models that know less.
    pub weak: Vec<Weak>,
    /// Models that the account may not use.
    pub denied: Vec<String>,
    /// Models that are asked several items at once leave some out, exchange some, and fail over some.
    pub bundle_faults: bool,
    /// What goes wrong.
    pub faults: Vec<FaultRule>,
    /// Text of a price list; `None` = the built-in catalogue.
    pub prices: Option<String>,
    /// Name of a response header that carries the cost of a sync call in USD.
    pub cost_header: Option<String>,
    /// Accept every model id; unknown ones cost nothing.
    pub any_model: bool,
    /// Virtual start, Unix seconds; `None` = now. Decides which models are retired and which prices hold.
    pub start_unix: Option<u64>,
    /// Whose API.
    pub speaks: Speaks,
    /// A service that is nearly OpenAI, by name, to be instead of it.
    pub like: Option<String>,
    /// Deployments besides those of each model's name (Azure): `NAME=MODEL`, or `NAME=MODEL,batch` for one that takes batches.
    pub deployments: Vec<String>,
    /// AWS: the one region; `None` = any.
    pub region: Option<String>,
    /// AWS, Vertex: the one bucket; `None` = any.
    pub bucket: Option<String>,
    /// AWS: the region in which that bucket lies; `None` = the one of the calls.
    pub bucket_region: Option<String>,
    /// AWS: the one role that jobs may run in; `None` = any.
    pub role: Option<String>,
    /// AWS: records that a job must have.
    pub records_min: u64,
    /// AWS: jobs that may run at once.
    pub jobs_max: Option<u64>,
    /// The one project there is (Vertex), or the key's (OpenAI); `None` = any.
    pub project: Option<String>,
    /// The one dataset of BigQuery (Vertex); `None` = any.
    pub dataset: Option<String>,
    /// Where it is.
    pub dataset_location: String,
    /// Days that its tables live; `None` = for ever.
    pub table_days: Option<u64>,
    /// Rows of a page of a table, at most.
    pub page_rows: usize,
    /// The one location that it answers at (Vertex); `None` = any.
    pub location: Option<String>,
    /// Real seconds that an access token holds (Vertex, Entra).
    pub token_secs: u64,
    /// Keep the bill of each `X-Client-Request-Id` (memory grows with the number of calls).
    pub bill_by_client: bool,
}

impl SimConfig {
    /// Path of the API, as its SDKs want it in a base URL: some add the version themselves.
    pub(crate) fn base(&self) -> &'static str {
        match (self.speaks, self.like.as_deref().and_then(Like::find)) {
            (Speaks::Anthropic | Speaks::Gemini | Speaks::Vertex | Speaks::Bedrock, _) => "",
            (Speaks::OpenAi, Some(like)) => like.base,
            (Speaks::OpenAi, None) => "/v1",
        }
    }
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            speed: 3_600.0,
            seed: 1,
            fault_seed: 1,
            latency_ms: 0.0,
            latency_sigma: 0.3,
            rpm: None,
            tpm: None,
            api_key: None,
            enqueued_tokens: None,
            queued_requests: None,
            batches_per_hour: Some(2_000),
            validating_secs: 5.0,
            run_secs: 600.0,
            finalizing_secs: 5.0,
            cancel_secs: 60.0,
            list_lag_secs: 0.0,
            late_secs: 60.0,
            slow_ms: 2_000,
            cached_share: 0.0,
            marked_hits: 1.0,
            weak: Vec::new(),
            denied: Vec::new(),
            bundle_faults: false,
            faults: Vec::new(),
            prices: None,
            cost_header: None,
            any_model: false,
            start_unix: None,
            speaks: Speaks::OpenAi,
            like: None,
            deployments: Vec::new(),
            region: None,
            bucket: None,
            bucket_region: None,
            role: None,
            records_min: crate::bedrock::jobs::RECORDS_MIN,
            jobs_max: None,
            project: None,
            dataset: None,
            dataset_location: "US".to_owned(),
            table_days: None,
            page_rows: 10_000,
            location: None,
            token_secs: 3_599,
            bill_by_client: false,
        }
    }
}

impl SimConfig {
    /// Adds one fault written as on the command line, such as `429=0.1` or `create-lost@1`.
    pub fn with_fault(mut self, rule: &str) -> Result<Self, SimError> {
        self.faults.push(rule.parse()?);
        Ok(self)
    }
}

/// Why a simulator could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The port is taken, or the socket failed.
    #[error("could not listen on `{addr}`")]
    Listen {
        /// Address asked for.
        addr: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A `--fault` that nobody knows, or with a bad number.
    #[error("fault `{rule}` {why}; `bulkrate sim --list-faults` says what each does")]
    Fault {
        /// As given.
        rule: String,
        /// What is wrong with it.
        why: String,
    },
    /// The price list cannot be read.
    #[error("price list {why}; it needs the columns of `catalogue/prices.csv`")]
    Prices {
        /// What is wrong with it.
        why: String,
    },
    /// A service that the simulator cannot be.
    #[error("`{name}` is none of the services that can be simulated: {}", .known.join(", "))]
    Service {
        /// As given.
        name: String,
        /// Those that can.
        known: Vec<&'static str>,
    },
    /// A setting out of range.
    #[error("`{name}` is {value}, it must be {needs}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// As given.
        value: String,
        /// The allowed range.
        needs: &'static str,
    },
    /// A file named on the command line cannot be read.
    #[error("could not read `{path}`")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl SimError {
    /// What to do about it, where that is not said already.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                Some("another program has that port: take another `--port`, or `--port 0` for a free one")
            }
            Self::Listen { .. } => Some("take another `--port` or `--host`"),
            _ => None,
        }
    }
}
