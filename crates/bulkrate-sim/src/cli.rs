//! The commands `bulkrate sim openai`, `anthropic`, `gemini`, `vertex` and `bedrock`; the binary only mounts them.

use crate::config::{SimConfig, SimError, Speaks};
use crate::faults::{FaultRule, fault_table, mixed_faults};
use crate::server::serve;
use crate::weak::Weak;
use clap::Args as ClapArgs;
use std::io::Write;
use std::path::PathBuf;
use tokio::net::TcpListener;

/// A provider on this machine: limits, failures and a bill, no money.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: std::net::IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 9000)]
    pub port: u16,
    /// Virtual seconds per real second, for batches and timestamps
    #[arg(long, default_value_t = 3600.0)]
    pub speed: f64,
    /// Median latency of sync calls, real milliseconds
    #[arg(long, default_value_t = 0.0)]
    pub latency_ms: f64,
    /// Spread of the log-normal latency
    #[arg(long, default_value_t = 0.3)]
    pub latency_sigma: f64,
    /// Requests per minute and model, enforced each second
    #[arg(long)]
    pub rpm: Option<u64>,
    /// Tokens per minute and model, enforced each second
    #[arg(long)]
    pub tpm: Option<u64>,
    /// Prompt tokens per model that unfinished batches may hold
    #[arg(long)]
    pub enqueued_tokens: Option<u64>,
    /// Requests that unfinished message batches may hold (Anthropic)
    #[arg(long)]
    pub queued_requests: Option<u64>,
    /// Batch creations per virtual hour
    #[arg(long, default_value_t = 2000)]
    pub batches_per_hour: u64,
    /// Virtual seconds that a batch spends validating
    #[arg(long, default_value_t = 5.0)]
    pub validating_secs: f64,
    /// Virtual seconds that a batch runs
    #[arg(long, default_value_t = 600.0)]
    pub run_secs: f64,
    /// Virtual seconds that a batch spends finalizing
    #[arg(long, default_value_t = 5.0)]
    pub finalizing_secs: f64,
    /// Virtual seconds that a cancellation takes
    #[arg(long, default_value_t = 60.0)]
    pub cancel_secs: f64,
    /// Virtual seconds until a new batch is listed
    #[arg(long, default_value_t = 0.0)]
    pub list_lag: f64,
    /// Virtual seconds by which the fault `create-late` delays a create
    #[arg(long, default_value_t = 60.0)]
    pub late_secs: f64,
    /// Real milliseconds that the fault `slow` adds
    #[arg(long, default_value_t = 2000)]
    pub slow_ms: u64,
    /// Share of long prompts that hit the prompt cache
    #[arg(long, default_value_t = 0.0)]
    pub cached_share: f64,
    /// Share of marked prefixes that the prompt cache finds again (Anthropic)
    #[arg(long, default_value_t = 1.0)]
    pub marked_hits: f64,
    /// A model that answers a share of the prompts as if it had not read them, such as gpt-6-luna=0.2, or of those prompts whose last
    /// user text a regular expression matches, and no other, such as 'gpt-6-luna=0.8@(?i)mortgage', or, of ten items or more asked at once,
    /// that share of the items: 'gpt-6-luna x10=0.2'; repeatable
    #[arg(long, value_name = "MODEL[ xN]=SHARE[@PATTERN]")]
    pub weak: Vec<Weak>,
    /// A model that the account may not use; repeatable
    #[arg(long, value_name = "MODEL")]
    pub denied: Vec<String>,
    /// Asked several items at once, leave out 2 % of the answers, exchange the ids of 1 %, shift 1 % of the replies by one, cut
    /// 0.5 % of them short, and fail over one item in 500 as long as it has company
    #[arg(long)]
    pub bundle_faults: bool,
    /// Faults to play, as `--list-faults` lists them.
    #[arg(
        long = "fault",
        value_name = "FAULT",
        help = "What goes wrong: CODE or NAME, then [:PLACE][:SHARE][=VALUE][@N[-M]], repeatable; --list-faults lists them"
    )]
    pub faults: Vec<String>,
    /// Print every fault and exit
    #[arg(long, visible_alias = "faults")]
    pub list_faults: bool,
    /// Seed of the faults; without `--fault` it also draws a mix of them, which is printed
    #[arg(long, value_name = "N")]
    pub fault_seed: Option<u64>,
    /// Seed of ids, latencies and orders
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The one accepted API key; any key without it
    #[arg(long)]
    pub api_key: Option<String>,
    /// A price list instead of the built-in one
    #[arg(long, value_name = "CSV")]
    pub prices: Option<PathBuf>,
    /// Accept every model; unknown ones are free
    #[arg(long)]
    pub any_model: bool,
    /// Response header that carries the cost of a sync call in USD
    #[arg(long, value_name = "NAME")]
    pub cost_header: Option<String>,
    /// Be another service that speaks OpenAI's language, such as groq or openrouter
    #[arg(long, value_name = "SERVICE")]
    pub like: Option<String>,
    /// A deployment, as NAME=MODEL, or NAME=MODEL,batch for one that takes batches (Azure); repeatable
    #[arg(long = "deployment", value_name = "NAME=MODEL")]
    pub deployments: Vec<String>,
    /// The one region that there is (AWS)
    #[arg(long)]
    pub region: Option<String>,
    /// The one bucket that there is (AWS, Vertex), or container (Azure)
    #[arg(long)]
    pub bucket: Option<String>,
    /// Where that bucket lies, if not in the region of the calls (AWS)
    #[arg(long, value_name = "REGION")]
    pub bucket_region: Option<String>,
    /// The one role that jobs may run in (AWS)
    #[arg(long, value_name = "ARN")]
    pub role: Option<String>,
    /// Records that a job must have (AWS)
    #[arg(long, default_value_t = 100)]
    pub records_min: u64,
    /// Jobs that may run at once (AWS)
    #[arg(long)]
    pub jobs_max: Option<u64>,
    /// The one project there is (Vertex), or the key's (OpenAI)
    #[arg(long)]
    pub project: Option<String>,
    /// The one dataset of BigQuery that there is (Vertex)
    #[arg(long)]
    pub dataset: Option<String>,
    /// Where datasets are (Vertex)
    #[arg(long, value_name = "LOCATION", default_value = "US")]
    pub dataset_location: String,
    /// Days after which tables of a dataset are said to be deleted (Vertex)
    #[arg(long, value_name = "DAYS")]
    pub table_days: Option<u64>,
    /// Rows of a page of a table, at most (Vertex)
    #[arg(long, value_name = "ROWS", default_value_t = 10_000)]
    pub page_rows: usize,
    /// The one location that it answers at (Vertex)
    #[arg(long)]
    pub location: Option<String>,
    /// Real seconds that an access token holds (Vertex, Entra)
    #[arg(long, default_value_t = 3599)]
    pub token_secs: u64,
    /// Virtual date to start at, as 2026-11-20 or 2026-11-20T12:00:00Z
    #[arg(long, value_name = "DATE")]
    pub now: Option<String>,
    /// Keep a bill per X-Client-Request-Id
    #[arg(long)]
    pub bill_by_client: bool,
    /// Do not print the address
    #[arg(long)]
    pub quiet: bool,
}

impl Args {
    /// The faults asked for: those named, or else the mix of a seed.
    fn rules(&self) -> Vec<String> {
        match self.fault_seed {
            Some(seed) if self.faults.is_empty() => mixed_faults(seed),
            _ => self.faults.clone(),
        }
    }

    /// The settings these arguments stand for.
    pub fn config(&self) -> Result<SimConfig, SimError> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|source| SimError::Read { path: path.clone(), source })
        };
        Ok(SimConfig {
            speed: self.speed,
            seed: self.seed,
            fault_seed: self.fault_seed.unwrap_or(1),
            latency_ms: self.latency_ms,
            latency_sigma: self.latency_sigma,
            rpm: self.rpm,
            tpm: self.tpm,
            api_key: self.api_key.clone(),
            enqueued_tokens: self.enqueued_tokens,
            queued_requests: self.queued_requests,
            batches_per_hour: Some(self.batches_per_hour),
            validating_secs: self.validating_secs,
            run_secs: self.run_secs,
            finalizing_secs: self.finalizing_secs,
            cancel_secs: self.cancel_secs,
            list_lag_secs: self.list_lag,
            late_secs: self.late_secs,
            slow_ms: self.slow_ms,
            cached_share: self.cached_share,
            marked_hits: self.marked_hits,
            weak: self.weak.clone(),
            denied: self.denied.clone(),
            bundle_faults: self.bundle_faults,
            faults: self.rules().iter().map(|rule| rule.parse::<FaultRule>()).collect::<Result<_, _>>()?,
            prices: self.prices.as_ref().map(read).transpose()?,
            cost_header: self.cost_header.clone(),
            any_model: self.any_model,
            speaks: Speaks::OpenAi,
            like: self.like.clone(),
            deployments: self.deployments.clone(),
            region: self.region.clone(),
            bucket: self.bucket.clone(),
            bucket_region: self.bucket_region.clone(),
            role: self.role.clone(),
            records_min: self.records_min,
            jobs_max: self.jobs_max,
            project: self.project.clone(),
            dataset: self.dataset.clone(),
            dataset_location: self.dataset_location.clone(),
            table_days: self.table_days,
            page_rows: self.page_rows,
            location: self.location.clone(),
            token_secs: self.token_secs,
            start_unix: self.now.as_deref().map(unix).transpose()?,
            bill_by_client: self.bill_by_client,
        })
    }
}

fn unix(date: &str) -> Result<u64, SimError> {
    let whole_day =
        date.parse::<jiff::civil::Date>().ok().and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok());
    let at = date.parse::<jiff::Timestamp>().ok().or_else(|| whole_day.map(|day| day.timestamp()));
    let secs = at.and_then(|at| u64::try_from(at.as_second()).ok());
    secs.ok_or_else(|| SimError::Setting {
        name: "now",
        value: date.to_owned(),
        needs: "a date such as 2026-11-20, not before 1970",
    })
}

/// Serves until the process ends. Prints `listening on http://HOST:PORT/v1` when ready.
pub async fn run(args: Args, speaks: Speaks) -> Result<(), SimError> {
    let mut stdout = std::io::stdout();
    if args.list_faults {
        let _ = stdout.write_all(fault_table().as_bytes());
        return Ok(());
    }
    let config = SimConfig { speaks, ..args.config()? };
    let addr = std::net::SocketAddr::new(args.host, args.port);
    let failed = |source| SimError::Listen { addr: addr.to_string(), source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    if !args.quiet {
        // Whoever started us may have closed our output; that is no reason to stop.
        let _ = writeln!(stdout, "listening on http://{bound}{}", config.base());
        if let (Some(seed), true) = (args.fault_seed, args.faults.is_empty()) {
            let rules: Vec<String> = args.rules().iter().map(|rule| format!("--fault {rule}")).collect();
            let _ = writeln!(stdout, "faults of seed {seed}: {}", rules.join(" "));
        }
        let _ = stdout.flush();
    }
    serve(config, listener).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn config(line: &str) -> Result<SimConfig, SimError> {
        Cli::try_parse_from(line.split(' ')).unwrap().args.config()
    }

    #[test]
    fn arguments_become_settings() {
        let config =
            config("sim --speed 60 --rpm 600 --fault 429=0.1 --fault F21@2 --now 2026-11-20 --any-model")
                .unwrap();
        assert_eq!(
            (config.rpm, config.faults.len(), config.start_unix, config.any_model),
            (Some(600), 2, Some(1_795_132_800), true)
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert!(config("sim --fault nonsense").unwrap_err().to_string().contains("`nonsense`"));
        assert!(config("sim --now yesterday").unwrap_err().to_string().contains("yesterday"));
        assert!(config("sim --prices /nonexistent.csv").is_err());
    }

    #[test]
    fn a_seed_alone_draws_a_mix() {
        let faults = |line| config(line).unwrap().faults.len();
        assert!(faults("sim --fault-seed 7") >= 3);
        assert_eq!((faults("sim --fault-seed 7 --fault F21@3"), faults("sim")), (1, 0));
        assert_eq!(config("sim --fault-seed 7").unwrap().fault_seed, 7);
    }
}
