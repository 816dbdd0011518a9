//! Flags of `route train`, `route eval` and `route show`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::value::Percent;

#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// Learn from labelled rows which ones need the strong model, and write a router
    #[command(after_help = TRAIN_EXAMPLES)]
    Train(TrainArgs),
    /// Measure a router on labelled rows, beside prompt length and chance. Rows that it learnt from are left out
    Eval(EvalArgs),
    /// Show what a router was made of and what it does
    Show {
        /// A file that `route train` wrote
        router: PathBuf,
    },
}

const TRAIN_EXAMPLES: &str = "Examples:
  bulkrate route train pilot.csv --text question --weak luna_ok --strong sol_ok --quality-loss 2% --out shop.router
  bulkrate route train pilot.csv --text question --models luna_ok,terra_ok,sol_ok --price-ratio 20,4 --out shop.router
  bulkrate route train --pilot reviews --text review --quality-loss 2% --out reviews.router
  bulkrate route eval more.csv --text question --weak luna_ok --strong sol_ok --router shop.router";

/// Where the labels stand.
#[derive(Debug, Args)]
pub struct LabelArgs {
    /// Labelled rows: CSV, TSV, JSONL or Parquet, plain or compressed
    #[arg(required_unless_present = "pilot", conflicts_with = "pilot")]
    pub file: Option<PathBuf>,
    /// Take the answers of this job's last pilot as labels: the cheap model is right where it says what the strong one says, or by the
    /// pilot's `--labels`
    #[arg(long, value_name = "JOB", conflicts_with_all = ["weak", "strong", "category"])]
    pub pilot: Option<String>,
    /// With `--pilot`: the cheap model, where not all that it asked are wanted
    #[arg(long, value_name = "MODEL", requires = "pilot")]
    pub model_weak: Option<String>,
    /// Column with the text: what differs from row to row, without the instructions
    #[arg(long, value_name = "COLUMN", default_value = "text")]
    pub text: String,
    /// Column that says how well the cheap model answered: 0 or 1, or a number from 0 up; empty where nobody judged
    #[arg(long, value_name = "COLUMN", default_value = "weak")]
    pub weak: String,
    /// The same for the dear model
    #[arg(long, value_name = "COLUMN", default_value = "strong")]
    pub strong: String,
    /// More than two models, the cheapest first: the columns with their labels, in place of `--weak` and `--strong`; with `--pilot` the models
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', conflicts_with_all = ["weak", "strong", "model_weak"])]
    pub models: Vec<String>,
    /// Column with a category: its mean is shown beside the router as a bound
    #[arg(long, value_name = "COLUMN")]
    pub category: Option<String>,
}

#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    pub labels: LabelArgs,
    /// Quality that may be lost against the strong model alone, of the highest label; kept with 95 % confidence
    #[arg(long, value_name = "PERCENT", default_value = "2%")]
    pub quality_loss: Percent,
    /// The strong model's price over the weak one's; of more models over each cheaper one's, as in `20,4` [default: as the pilot has paid
    /// them; else the weak one of two counts as free]
    #[arg(long, value_name = "RATIO,...", value_parser = ratio, value_delimiter = ',')]
    pub price_ratio: Vec<f64>,
    /// Decides which rows teach and which prove
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Where the router is written
    #[arg(long, short, value_name = "ROUTER")]
    pub out: PathBuf,
    /// Replace the file
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(flatten)]
    pub labels: LabelArgs,
    /// A file that `route train` wrote
    #[arg(long, short, value_name = "ROUTER")]
    pub router: PathBuf,
    /// The strong model's price over the weak one's, or over each cheaper one's [default: the router's]
    #[arg(long, value_name = "RATIO,...", value_parser = ratio, value_delimiter = ',')]
    pub price_ratio: Vec<f64>,
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.trim().parse::<f64>().ok().filter(|ratio| ratio.is_finite() && *ratio >= 1.0);
    ratio.ok_or_else(|| format!("`{text}` is not a ratio of 1 or more, such as `20` or `12.5`"))
}
