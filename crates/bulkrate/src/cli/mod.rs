//! The command line: every command and flag. What they do is in `app`.

pub mod batch_args;
pub mod job_args;
pub mod parse;
pub mod provider_args;
pub mod route_args;
pub mod filter_args;
pub mod pilot_args;
pub mod markdown;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::mix::{Count, MixPart};
use crate::config::value::{LaneChoice, Millis, Percent, Usd, When};
use batch_args::BatchCommand;
use filter_args::FilterCommand;
use job_args::{JobArgs, OverrideArgs, ProviderArgs, SinkArgs};
use pilot_args::{Pick, PilotArgs};
use route_args::RouteCommand;

/// Run millions of LLM requests at the lowest price, pay for each answer once, and never lose a row.
#[derive(Debug, Parser)]
#[command(
    name = "bulkrate",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(flatten)]
    pub shared: Shared,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Shared {
    /// Folder that holds jobs, results and the ledger [default: .bulkrate]
    #[arg(long, global = true, value_name = "DIR", env = "BULKRATE_STATE", hide_env_values = true)]
    pub state: Option<PathBuf>,
    /// A price table laid over the bundled one
    #[arg(long, global = true, value_name = "CSV", env = "BULKRATE_PRICES", hide_env_values = true)]
    pub prices: Option<PathBuf>,
    /// Print one JSON document on standard output at the end, and no tables
    #[arg(long, global = true)]
    pub json: bool,
    /// Print what happens as it happens, one JSON object a line: on standard output, or on standard error where `--json` or
    /// `--out -` needs standard output
    #[arg(long, global = true, value_name = "FORMAT")]
    pub events: Option<EventFormat>,
    /// Say nothing but errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EventFormat {
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a job: a data file with flags, or a job file. Run again, it resumes
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Show what a job would cost and how long it would take, lane by lane; sends nothing without `--pilot`
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(Box<PlanArgs>),
    /// Show jobs, or one job
    Status(StatusArgs),
    /// Write the results of a job, finished or not
    Results(ResultsArgs),
    /// Go on with a job that was interrupted
    Resume(Box<ResumeArgs>),
    /// Cancel a job: its batches are cancelled, what is answered is kept
    Cancel(JobName),
    /// Use a provider's batch API by hand: submit, status, results, cancel, list
    #[command(subcommand)]
    Batch(BatchCommand),
    /// Try the dead letters of a job again, after the cause is mended
    Retry(Box<ResumeArgs>),
    /// List the dead letters of a job: class, attempts, evidence, how to replay
    Dead(JobName),
    /// Judge a job's answers: write a sample of them, or read it back with verdicts
    Review(ReviewArgs),
    /// Prove a job: one outcome an item, ledger equal to receipts, files equal to their digests
    Verify(VerifyArgs),
    /// List what is in doubt, and decide what evidence cannot
    #[command(subcommand)]
    Doubt(DoubtCommand),
    /// Show what was spent and saved, or work out what would be
    Cost(CostArgs),
    /// Learn which rows need the strong model, and what that is worth
    #[command(subcommand)]
    Route(RouteCommand),
    /// Prove on labelled rows which ones need no model: by rules of your own, and by a small classifier
    #[command(subcommand)]
    Filter(FilterCommand),
    /// Find the order of a table's columns in a prompt in which rows share the most with the one before; changes nothing
    #[command(after_help = FIELDS_EXAMPLES)]
    Fields(FieldsArgs),
    /// Show one item: its request, attempts and answer
    Show(ShowArgs),
    /// Delete a job with its results
    Rm(RemoveArgs),
    /// Pretend to be a provider on this machine
    #[command(arg_required_else_help = true)]
    Sim(SimArgs),
    /// Look up and import prices
    #[command(subcommand)]
    Prices(PricesCommand),
    /// Check the set-up: state folder, key, reach, clock, models; costs nothing
    Doctor(DoctorArgs),
    /// Say what an error or an alert means and what to do about it, by the code in its brackets
    Explain {
        /// As in `error[budget-too-small]`; without it, all codes are listed
        code: Option<String>,
    },
    /// Write a commented job file to start from
    Init(InitArgs),
    /// Print shell completions
    Completions { shell: clap_complete::Shell },
    /// Print this reference as Markdown
    #[command(hide = true)]
    HelpMarkdown,
}

const RUN_EXAMPLES: &str = "Examples:
  bulkrate run reviews.csv --model fast --user 'Sentiment of: {{ text }}' --choices positive,negative,neutral --out labels.csv
  bulkrate run job.toml --budget 5
  cat items.jsonl | bulkrate run - --name nightly --model fast --user '{{ text }}' --budget 1 --out answers.jsonl";

const PLAN_EXAMPLES: &str = "Examples:
  bulkrate plan job.toml
  bulkrate plan job.toml --pilot 300 --candidate openai/gpt-6-luna --quality-loss 2% --budget 5
  bulkrate run job.toml --plan cheapest --budget 5";

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub job: JobArgs,
    /// Run a plan that `plan --pilot` has found, with its models and its lane: `cheapest`, `fastest`, its name there, or its number
    #[arg(long, value_name = "PLAN")]
    pub plan: Option<Pick>,
    /// With `--plan`: quality that may be lost against the strong model; kept with 95 % confidence [default: that of the pilot]
    #[arg(long, value_name = "PERCENT", requires = "plan")]
    pub quality_loss: Option<Percent>,
    /// Do not ask before spending
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub job: JobArgs,
    /// Count the input tokens of every request instead of estimating them from bytes; reads all requests once more
    #[arg(long)]
    pub exact: bool,
    #[command(flatten)]
    pub pilot: PilotArgs,
}

#[derive(Debug, Args)]
pub struct JobName {
    /// Name or id of the job; the beginning of an id is enough
    pub job: String,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Name or id of a job; all jobs without it
    pub job: Option<String>,
    /// Show it again and again until every job shown has ended
    #[arg(long, short)]
    pub watch: bool,
    /// Time between two looks with `--watch`
    #[arg(long, value_name = "DUR", default_value = "2s")]
    pub every: Millis,
}

#[derive(Debug, Args)]
pub struct ResultsArgs {
    #[command(flatten)]
    pub name: JobName,
    #[command(flatten)]
    pub sink: SinkArgs,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    pub name: JobName,
    /// Only the first N items [default: as in the last run]
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// All items, although the last run had a limit
    #[arg(long, conflicts_with = "limit")]
    pub no_limit: bool,
    #[command(flatten)]
    pub changes: OverrideArgs,
    #[command(flatten)]
    pub sink: SinkArgs,
    #[command(flatten)]
    pub provider: ProviderArgs,
}

#[derive(Debug, Args)]
pub struct ReviewArgs {
    #[command(flatten)]
    pub name: JobName,
    /// A sample with verdicts: `yes` or `no` in `_ok`, nothing where an answer was not judged. Without it, and without
    /// `--out`, what was found so far is shown
    pub file: Option<PathBuf>,
    /// Write a sample to this CSV file
    #[arg(long, short, value_name = "FILE", conflicts_with = "file")]
    pub out: Option<PathBuf>,
    /// Share of the answers that the sample holds [default: the job's `--review-sample`]
    #[arg(long, value_name = "PERCENT", requires = "out")]
    pub share: Option<Percent>,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub name: JobName,
    /// Compare the ledger with a bill: the simulator's JSON; once for each provider of the job
    #[arg(long, value_name = "FILE")]
    pub bill: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum DoubtCommand {
    /// Show what may have been paid and is not known to be: since when, what was tried, what happens next
    List {
        /// A job; all jobs without it
        job: Option<String>,
    },
    /// Say that a batch at the provider is the one that a submission in doubt created; it must carry our mark
    Adopt(AdoptArgs),
    /// Say that a submission in doubt was not run, or that it was paid
    Release(ReleaseArgs),
}

#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// The submission, or the beginning of its id
    pub sub: String,
    /// The provider's id of the batch
    pub batch: String,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("word").required(true))]
pub struct ReleaseArgs {
    /// The submission, or the beginning of its id
    pub sub: String,
    /// It was not run: nothing is paid, what waits for it is asked again
    #[arg(long, group = "word")]
    pub absent: bool,
    /// It was paid: what waits for it becomes dead letters; its price at most stays booked, or `--cost` is
    #[arg(long, group = "word")]
    pub paid: bool,
    /// What it cost
    #[arg(long, value_name = "USD", requires = "paid")]
    pub cost: Option<Usd>,
    /// Ask again what waits for it, instead of giving it up
    #[arg(long, requires = "paid")]
    pub again: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CostArgs {
    #[command(subcommand)]
    pub of: Option<CostCommand>,
    /// A job; all jobs without it
    pub job: Option<String>,
    /// Group by `model`, `lane`, `job`, `day`, `tag.NAME`, or `tag.*` for all tags at once
    #[arg(long, value_name = "KEY", default_value = "job", value_parser = grouping)]
    pub by: String,
    /// Only what was booked from then on: a day (UTC) such as `2026-11-01`, or so long ago, such as `7d`
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Only what was booked before then
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// What each group spent from day to day, or by `week` or `month`
    #[arg(long, value_name = "STEP", num_args = 0..=1, default_missing_value = "day", require_equals = true)]
    pub trend: Option<TrendStep>,
    /// What each lever saved in each group
    #[arg(long, conflicts_with_all = ["trend", "plot"])]
    pub levers: bool,
    /// Draw a bar for each group
    #[arg(long)]
    pub plot: bool,
    /// Print CSV instead of a table
    #[arg(long, conflicts_with_all = ["json", "levers", "plot"])]
    pub csv: bool,
    /// The way from what this job would have cost, one by one in the sync lane, to what was paid: lever by lever
    #[arg(long, value_name = "JOB", conflicts_with_all = ["job", "by", "since", "until", "trend", "levers", "plot", "csv"])]
    pub savings: Option<String>,
}

/// How long a step of a trend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TrendStep {
    Day,
    /// From Monday on
    Week,
    Month,
}

#[derive(Debug, Subcommand)]
pub enum CostCommand {
    /// Work out what so many items would cost: lanes, a mix of models, equal items, answers of earlier jobs. From prices alone
    #[command(after_help = MODEL_EXAMPLES)]
    Model(CostModelArgs),
}

const MODEL_EXAMPLES: &str = "Examples:
  bulkrate cost model --items 5M --input 500 --output 200 --mix openai/gpt-6-luna=80,openai/gpt-6.1-sol=20 --dup 25%
  bulkrate cost model --items 100k --input 900 --output 50 --mix fast=100,strong=0   # naive is the dearest that is named";

#[derive(Debug, Args)]
pub struct CostModelArgs {
    /// How many: `250000`, `100k`, `1.5M`
    #[arg(long, value_name = "N")]
    pub items: Count,
    /// Input tokens of one item
    #[arg(long, value_name = "TOKENS")]
    pub input: Count,
    /// Output tokens of one item
    #[arg(long, value_name = "TOKENS")]
    pub output: Count,
    /// Models and their shares: `MODEL=SHARE`, or `NAME=SHARE@IN/OUT[/BATCH_IN/BATCH_OUT]` with prices in USD per million tokens
    #[arg(long, value_name = "PARTS", value_delimiter = ',', required = true)]
    pub mix: Vec<MixPart>,
    /// Items that are equal to another: sent once
    #[arg(long, value_name = "PERCENT", default_value = "0")]
    pub dup: Percent,
    /// Of the rest, items that an earlier job has answered
    #[arg(long, value_name = "PERCENT", default_value = "0")]
    pub cache: Percent,
    /// Where they run; `auto` takes the cheapest lane that every model of the mix has
    #[arg(long, default_value = "auto")]
    pub lane: LaneChoice,
}

const FIELDS_EXAMPLES: &str = "Examples:
  bulkrate fields complaints.csv --model openai/gpt-6-luna
  bulkrate fields complaints.csv --columns Product,Issue,Company,State";

#[derive(Debug, Args)]
pub struct FieldsArgs {
    /// A table: CSV, TSV, JSONL or Parquet, plain or compressed
    pub file: PathBuf,
    /// Only these columns: the ones that the prompt uses, in its order
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Characters that stand before the fields in every prompt: system prompt, instructions, examples
    #[arg(long, value_name = "N", default_value = "0")]
    pub before: Count,
    /// Read only the first N rows, and no more than 20 million cells: the different ones are held in memory
    #[arg(long, value_name = "N", default_value = "100k")]
    pub rows: Count,
    /// Show what the order would cost with this model's prompt cache
    #[arg(long, env = "BULKRATE_MODEL", hide_env_values = true)]
    pub model: Option<String>,
    /// Lane whose prices are shown; `auto` is taken as `sync`
    #[arg(long, default_value = "sync")]
    pub lane: LaneChoice,
}

fn grouping(text: &str) -> Result<String, String> {
    let fixed = ["model", "lane", "job", "day"];
    if fixed.contains(&text) || text.strip_prefix("tag.").is_some_and(|name| !name.is_empty()) {
        return Ok(text.to_owned());
    }
    Err("groups are `model`, `lane`, `job`, `day`, `tag.NAME` and `tag.*`".to_owned())
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    pub name: JobName,
    /// The item's id, as `--id` named it
    pub item: String,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    pub name: JobName,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct SimArgs {
    /// Print every fault that can be rehearsed and exit
    #[arg(long)]
    pub list_faults: bool,
    #[command(subcommand)]
    pub provider: Option<SimCommand>,
}

#[derive(Debug, Subcommand)]
pub enum SimCommand {
    /// Pretend to be OpenAI: limits, failures and a bill, no money
    #[command(name = "openai")]
    OpenAi(Box<bulkrate_sim::cli::Args>),
    /// Pretend to be Anthropic: limits, failures and a bill, no money
    Anthropic(Box<bulkrate_sim::cli::Args>),
    /// Pretend to be Google's Gemini API: limits, failures and a bill, no money
    Gemini(Box<bulkrate_sim::cli::Args>),
    /// Pretend to be a project of Google's Vertex AI: tokens, a bucket, jobs, limits, failures and a bill, no money
    Vertex(Box<bulkrate_sim::cli::Args>),
    /// Pretend to be AWS Bedrock with its S3: limits, failures and a bill, no money
    Bedrock(Box<bulkrate_sim::cli::Args>),
    /// Pretend to be a resource of Azure OpenAI: deployments, limits, failures and a bill, no money
    Azure(Box<bulkrate_sim::cli::Args>),
    /// Stand in for the command `vllm`: `bulkrate sim vllm run-batch -i FILE -o FILE --model MODEL`
    Vllm(Box<bulkrate_sim::vllm::Args>),
}

#[derive(Debug, Subcommand)]
pub enum PricesCommand {
    /// List models and prices in USD per million tokens
    List {
        /// Only models whose name holds this
        filter: Option<String>,
        /// Only this provider
        #[arg(long)]
        provider: Option<String>,
        /// Past and future prices too
        #[arg(long)]
        all: bool,
        /// Print the table as CSV, in the columns that `--prices` reads
        #[arg(long)]
        csv: bool,
    },
    /// Show all that is known about one model
    Show {
        /// `provider/model`, a model only one provider has, or an alias
        model: String,
    },
    /// Turn LiteLLM's or genai-prices' list into a table for `--prices`
    Import {
        file: PathBuf,
        /// Where the table is written
        #[arg(long, value_name = "CSV", default_value = "prices.csv")]
        out: PathBuf,
        /// Only models whose `provider/model` holds this
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// Replace the file
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A job file, or a job of this folder: its accounts and models are checked, each by its name
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
    /// Check that this model is known, priced and not retired
    #[arg(long, env = "BULKRATE_MODEL", hide_env_values = true)]
    pub model: Option<String>,
    #[command(flatten)]
    pub provider: ProviderArgs,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    #[arg(default_value = "job.toml")]
    pub file: PathBuf,
}

/// `KEY=USD`, the last `=` apart.
pub(crate) fn tag_budget(text: &str) -> Result<(String, Usd), String> {
    let (tag, amount) = text
        .rsplit_once('=')
        .filter(|(tag, _)| tag.contains('='))
        .ok_or("write `key=value=USD`, such as `feature=triage=2`")?;
    Ok((tag.to_owned(), amount.parse()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn tag_budgets_and_groups() {
        let (tag, usd) = tag_budget("feature=triage=2.5").unwrap();
        assert_eq!((tag.as_str(), usd.0.0), ("feature=triage", 2_500_000_000));
        assert!(tag_budget("triage=2").is_err());
        for (text, ok) in [("model", true), ("tag.feature", true), ("tag.", false), ("colour", false)] {
            assert_eq!(grouping(text).is_ok(), ok, "{text}");
        }
    }
}
