//! What an account is opened with.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Leading and trailing white space is dropped: keys read from files end in a newline.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The text itself, for the one header that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// Where the proxy comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProxyFrom {
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case.
    #[default]
    Environment,
    None,
    Url(Secret),
}

/// Which API serves chat requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChatEndpoint {
    #[default]
    ChatCompletions,
    Responses,
}

/// In whose words Bedrock is asked for chats, by calls and in jobs; the names are Amazon's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ModelInvocationType {
    /// The same words for all models.
    #[default]
    Converse,
    /// Those of the model's maker.
    InvokeModel,
}

/// What is behind the name of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deployed {
    /// The model that it serves, by the provider's name for it.
    pub model: String,
    /// The deployment that takes batches for it, where that is another one.
    pub batch: Option<String>,
}

/// How free calls are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first included.
    pub tries: u32,
    /// The wait before the second try; doubles, with jitter, up to `wait_max`.
    pub wait_min: Duration,
    /// The longest wait, also when the provider asks for more.
    pub wait_max: Duration,
    /// Time for one try without a file; a try that moves a file fails when this long passes without a byte.
    pub try_timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: 6,
            wait_min: Duration::from_millis(500),
            wait_max: Duration::from_secs(60),
            try_timeout: Duration::from_secs(60),
        }
    }
}

/// A program of this machine that runs batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program and the words before ours.
    pub command: Vec<String>,
    /// Words after ours.
    pub args: Vec<String>,
    /// The folder of its runs; `None`: nothing is run.
    pub folder: Option<PathBuf>,
}

impl Default for Program {
    fn default() -> Self {
        Self { command: vec!["vllm".to_owned()], args: Vec::new(), folder: None }
    }
}

/// One account at one provider.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `None`: the provider's public API. With the version: `http://127.0.0.1:8000/v1`.
    pub base_url: Option<String>,
    /// Empty: no `Authorization` header is sent (local servers).
    pub api_key: Secret,
    pub organization: Option<String>,
    pub project: Option<String>,
    /// The user's own headers; as they may hold keys, they are never printed.
    pub extra_headers: Vec<(String, Secret)>,
    /// The header that carries the key as it is; `None`: `Authorization: Bearer`.
    pub key_header: Option<&'static str>,
    /// Headers that the service wants of everybody; the user's win over them.
    pub usual_headers: Vec<(&'static str, String)>,
    pub connect_timeout: Duration,
    /// Time for a batch create, which is never sent twice.
    pub create_timeout: Duration,
    pub proxy: ProxyFrom,
    /// Certificates, as PEM, to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// A response header with the cost in US dollars, besides the ones always understood.
    pub cost_header: Option<String>,
    /// Whether `usage.cost` of an answer is the sum charged, in US dollars.
    pub trust_body_cost: bool,
    pub retry: RetryPolicy,
    /// Seed of the jitter between tries.
    pub jitter_seed: u64,
    /// Connections for paid calls, at most; more calls wait.
    pub connections_max: usize,
    pub chat_endpoint: ChatEndpoint,
    /// Custom endpoints only: whether `choices` and `output_schema` are sent as a `response_format`.
    pub structured_outputs: bool,
    /// Anthropic and OpenRouter: nobody but this state folder makes batches in the key's workspace, so that one may be known by its looks.
    pub exclusive_workspace: bool,
    /// Claude's models, at Anthropic and in their own words at AWS: features that are not general yet, named with every call.
    pub betas: Vec<String>,
    /// Azure: the dated version of the API to speak; `None`: the one without dates. Anthropic: `None` is the first.
    pub api_version: Option<String>,
    /// Azure only: what deployments serve, by their names.
    pub deployments: BTreeMap<String, Deployed>,
    /// The query of every call, without its `?`. Set by the provider, not by the user.
    pub query: Option<String>,
    /// Offline vLLM only: what is run.
    pub program: Program,
    /// Where the service is to run, where it runs in several places.
    pub region: Option<String>,
    /// AWS only: the profile of Amazon's files to take credentials from, before all others.
    pub profile: Option<String>,
    /// AWS only: the role in which batches are run.
    pub role_arn: Option<String>,
    /// AWS only.
    pub model_invocation_type: ModelInvocationType,
    /// Where files of batches lie that the service does not keep itself: `s3://bucket/prefix` or `gs://bucket/folder`.
    pub storage: Option<String>,
    /// Environment variables that the service's own tools look at, as far as they are set.
    pub variables: BTreeMap<String, Secret>,
    /// The base URL is that of a server of the user's own: it is given the key or the profile that they named for it, and nothing that is
    /// found on this machine.
    pub own_server: bool,
}

impl Settings {
    /// Of these what holds for addresses that are not the service's own: nothing that is the account's.
    pub(crate) fn keyless(&self) -> Self {
        Self {
            connect_timeout: self.connect_timeout,
            proxy: self.proxy.clone(),
            ca_file: self.ca_file.clone(),
            retry: self.retry,
            jitter_seed: self.jitter_seed,
            ..Self::default()
        }
    }

    /// Takes the version off the base URL, for a service whose paths begin with it: its own SDKs write the address without, ours
    /// elsewhere have it.
    pub(crate) fn without_version(&mut self, versions: &[&str]) {
        self.base_url = self.base_url.take().map(|url| {
            let url = url.trim().trim_end_matches('/');
            versions.iter().find_map(|version| url.strip_suffix(version)).unwrap_or(url).to_owned()
        });
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_url: None,
            api_key: Secret::default(),
            organization: None,
            project: None,
            extra_headers: Vec::new(),
            key_header: None,
            usual_headers: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            create_timeout: Duration::from_secs(120),
            proxy: ProxyFrom::default(),
            ca_file: None,
            cost_header: None,
            trust_body_cost: false,
            retry: RetryPolicy::default(),
            jitter_seed: 0,
            connections_max: 4_096,
            chat_endpoint: ChatEndpoint::default(),
            structured_outputs: true,
            exclusive_workspace: false,
            betas: Vec::new(),
            api_version: None,
            deployments: BTreeMap::new(),
            query: None,
            program: Program::default(),
            region: None,
            profile: None,
            role_arn: None,
            model_invocation_type: ModelInvocationType::default(),
            storage: None,
            variables: BTreeMap::new(),
            own_server: false,
        }
    }
}
