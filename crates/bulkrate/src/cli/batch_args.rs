//! `bulkrate batch`: the batch API by hand.

use clap::{Args, Subcommand};

use super::job_args::{JobArgs, ProviderArgs};
use super::{JobName, ResumeArgs};
use crate::config::value::Millis;

#[derive(Debug, Subcommand)]
pub enum BatchCommand {
    /// Hand items over as batches, and come back once the provider has accepted all of them
    #[command(after_help = EXAMPLES)]
    Submit(Box<SubmitArgs>),
    /// Ask the provider where a job's batches stand; changes nothing
    Status(BatchStatusArgs),
    /// Wait for a job's batches, collect them, and write the results
    Results(Box<ResumeArgs>),
    /// Cancel a job's batches, and keep what they have answered
    Cancel(Box<BatchCancelArgs>),
    /// List the batches at all accounts that are set up, whoever made them
    List(BatchListArgs),
}

const EXAMPLES: &str = "Examples:
  bulkrate batch submit requests.jsonl --model anthropic/claude-haiku-5-5 --budget 5
  bulkrate batch status requests
  bulkrate batch results requests --out answers.jsonl";

#[derive(Debug, Args)]
pub struct SubmitArgs {
    #[command(flatten)]
    pub job: JobArgs,
    /// Whose batch API, where the model's name does not say it
    #[arg(long = "provider", value_name = "NAME")]
    pub at: Option<String>,
    /// The account that takes the batches, as `[accounts.NAME]` of the job file names it; also a provider's name
    #[arg(long, value_name = "NAME", conflicts_with = "at")]
    pub account: Option<String>,
    /// Do not ask before spending
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct BatchStatusArgs {
    #[command(flatten)]
    pub name: JobName,
    #[command(flatten)]
    pub provider: ProviderArgs,
}

#[derive(Debug, Args)]
pub struct BatchCancelArgs {
    #[command(flatten)]
    pub name: JobName,
    #[command(flatten)]
    pub provider: ProviderArgs,
}

#[derive(Debug, Args)]
pub struct BatchListArgs {
    /// A job file, or a job of this folder: its accounts are asked as well
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
    /// Only this account's, by its own name or the provider's [default: all that are set up]
    #[arg(long = "account", visible_alias = "provider", value_name = "NAME")]
    pub of: Option<String>,
    /// How far back
    #[arg(long, value_name = "DUR", default_value = "7d")]
    pub since: Millis,
    /// At most so many, the newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    #[command(flatten)]
    pub provider: ProviderArgs,
}
