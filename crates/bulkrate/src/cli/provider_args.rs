//! The flags that say how a provider is reached.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bulkrate_engine::spec::DeploymentSpec;
use clap::Args;

use super::job_args::given;
use super::parse::header;
use crate::config::job_file::Provider;

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Provider")]
pub struct ProviderArgs {
    /// Base URL of an API that speaks OpenAI's language, such as `http://127.0.0.1:8000/v1`; it stands for every service without an address of its own
    /// [env: OPENAI_BASE_URL too, for `openai/` models]
    #[arg(long, value_name = "URL", env = "BULKRATE_BASE_URL", hide_env_values = true)]
    pub base_url: Option<String>,
    /// Environment variable that holds the key for `openai/` models and for `--base-url` [default: OPENAI_API_KEY]; other
    /// services have their own, such as GROQ_API_KEY
    #[arg(long, value_name = "NAME", env = "BULKRATE_KEY_ENV", hide_env_values = true)]
    pub key_env: Option<String>,
    /// Header sent with every call; repeatable
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// Certificates to trust besides the system's (PEM)
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Proxy, or `none` [default: HTTPS_PROXY and its kin]
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// Response header with the cost in USD; it wins over the price table
    #[arg(long, value_name = "NAME")]
    pub cost_header: Option<String>,
    /// Take `usage.cost` of an answer for its cost in USD
    #[arg(long)]
    pub trust_body_cost: bool,
    /// Send chat requests to `/responses`
    #[arg(long)]
    pub responses_api: bool,
    /// Nobody but this state folder makes batches in the workspace of the key (Anthropic, OpenRouter)
    #[arg(long)]
    pub exclusive_workspace: bool,
    /// Which model a deployment serves, and which deployment takes its batches if that is another; repeatable (Azure)
    #[arg(long = "deployment", value_name = "NAME=MODEL[,BATCH]", value_parser = deployment)]
    pub deployments: Vec<(String, DeploymentSpec)>,
    /// Where it runs (AWS) [default: AWS_REGION and the profile's]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Profile of Amazon's files to take credentials from (AWS)
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Role that batches run in (AWS)
    #[arg(long, value_name = "ARN")]
    pub role_arn: Option<String>,
    /// Where files of batches lie, as `s3://bucket/prefix` (AWS), `gs://bucket/folder` or `bq://project.dataset` (Vertex AI), or
    /// `https://ACCOUNT.blob.core.windows.net/CONTAINER` (Azure)
    #[arg(long, value_name = "PLACE")]
    pub storage: Option<String>,
}

impl ProviderArgs {
    /// What the flags say about the provider.
    #[must_use]
    pub fn layer(self) -> Provider {
        let headers: BTreeMap<_, _> = self.headers.into_iter().collect();
        Provider {
            base_url: self.base_url,
            key_env: self.key_env,
            headers: (!headers.is_empty()).then_some(headers),
            ca_file: self.ca_file,
            proxy: self.proxy,
            cost_header: self.cost_header,
            trust_body_cost: given(self.trust_body_cost),
            responses_api: given(self.responses_api),
            exclusive_workspace: given(self.exclusive_workspace),
            deployments: Some(self.deployments.into_iter().collect())
                .filter(|all: &BTreeMap<_, _>| !all.is_empty()),
            region: self.region,
            profile: self.profile,
            role_arn: self.role_arn,
            storage: self.storage,
            ..Provider::default()
        }
    }
}

fn deployment(text: &str) -> Result<(String, DeploymentSpec), String> {
    let (name, of) = text
        .split_once('=')
        .filter(|(name, of)| !name.is_empty() && !of.is_empty())
        .ok_or("write `NAME=MODEL`, or `NAME=MODEL,BATCH` with the deployment that takes batches")?;
    let of = match of.split_once(',') {
        Some((model, batch)) => DeploymentSpec::Lanes { model: model.to_owned(), batch: batch.to_owned() },
        None => DeploymentSpec::Model(of.to_owned()),
    };
    Ok((name.to_owned(), of))
}
