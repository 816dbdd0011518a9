//! Flags of `filter train` and `filter show`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::value::Percent;

#[derive(Debug, Subcommand)]
pub enum FilterCommand {
    /// Measure rules, and teach a small classifier, on labelled rows; write what is proved as a filter
    #[command(after_help = TRAIN_EXAMPLES)]
    Train(FilterTrainArgs),
    /// Show what a filter answers and how sure that is
    Show {
        /// A file that `filter train` wrote
        filter: PathBuf,
    },
}

const TRAIN_EXAMPLES: &str = "Examples:
  bulkrate filter train labelled.csv --text message --label class --error 2% --out spam.filter
  bulkrate filter train --pilot reviews --text review --out reviews.filter
  bulkrate filter train vectors.jsonl --embedding embedding --out spam.filter   # of `bulkrate run labelled.csv --kind embedding ...`
  bulkrate filter train labelled.csv --rules rules.toml --out spam.filter     # [[rule]] words = [\"prize\"]  answer = \"spam\"";

#[derive(Debug, Args)]
pub struct FilterTrainArgs {
    /// Labelled rows: CSV, TSV, JSONL or Parquet, plain or compressed
    #[arg(required_unless_present = "pilot", conflicts_with = "pilot")]
    pub file: Option<PathBuf>,
    /// Take the answers of this job's last pilot as labels: what the strong model said, or the pilot's `--labels`
    #[arg(long, value_name = "JOB", conflicts_with = "label")]
    pub pilot: Option<String>,
    /// Column with the text that decides
    #[arg(long, value_name = "COLUMN", default_value = "text")]
    pub text: String,
    /// Column with the right answer; empty where nobody judged
    #[arg(long, value_name = "COLUMN", default_value = "label")]
    pub label: String,
    /// Column with the embedding of each text, a list of numbers, as `run --kind embedding` writes it: rows are answered by it where
    /// that is proved, before words are looked at
    #[arg(long, value_name = "COLUMN", conflicts_with = "pilot")]
    pub embedding: Option<String>,
    /// Rules of your own: `[[rule]]` with `pattern` or `words`, and `answer`; the first that holds answers
    #[arg(long, value_name = "TOML")]
    pub rules: Option<PathBuf>,
    /// Of what the filter answers, so much may be wrong; kept with 95 % confidence
    #[arg(long, value_name = "PERCENT", default_value = "2%")]
    pub error: Percent,
    /// Decides which rows teach and which prove
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Where the filter is written
    #[arg(long, short, value_name = "FILTER")]
    pub out: PathBuf,
    /// Replace the file
    #[arg(long)]
    pub force: bool,
}
