//! What each command does, from parsed flags to an exit code.
//!
//! Invariant: a command that needs no prices, no provider and no state touches none of them; the CLI starts in milliseconds.

mod error;
pub mod accounts;
mod runtime;
mod engine;
mod whose;
mod confirm;
mod signals;
mod batch;
mod run;
mod pilot;
mod reads;
mod doubt;
mod prices;
mod model;
mod cells;
mod waiting;
mod fields;
mod filter;
mod route;
mod doctor;
mod explain;
mod init;

use std::path::PathBuf;

use clap::{CommandFactory as _, Parser as _};

pub use batch::BatchView;
pub use error::AppError;
pub use route::RouteError;

use bulkrate_sim::Speaks;

use crate::cli::{Cli, Command, CostArgs, CostCommand, Shared, SimArgs, SimCommand, markdown};
use crate::config::Defaults;
use crate::report::out;

/// Exit code of a command line that cannot be understood.
const USAGE: u8 = 2;

/// Parses the process's arguments, does what they say, and answers the exit code.
#[must_use]
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print(); // a broken pipe is no error of ours
            return if error.use_stderr() { USAGE } else { 0 };
        }
    };
    log();
    let json = cli.shared.json;
    dispatch(cli).unwrap_or_else(|error| {
        error.tell(json);
        error.exit_code()
    })
}

/// Diagnostics for developers: only where `BULKRATE_LOG` asks for them.
fn log() {
    if let Ok(filter) = std::env::var("BULKRATE_LOG") {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}

fn dispatch(cli: Cli) -> Result<u8, AppError> {
    let shared = cli.shared;
    match cli.command {
        Command::Run(args) => run::run(&shared, *args),
        Command::Plan(args) => run::plan(&shared, *args),
        Command::Resume(args) => run::resume(&shared, *args, run::Again::Resume),
        Command::Retry(args) => run::resume(&shared, *args, run::Again::Retry),
        Command::Results(args) => reads::results(&shared, &args),
        Command::Status(args) => reads::status(&shared, &args),
        Command::Batch(command) => batch::batch(&shared, command),
        Command::Cancel(args) => reads::cancel(&shared, &args),
        Command::Dead(args) => reads::dead(&shared, &args),
        Command::Review(args) => reads::review(&shared, &args),
        Command::Verify(args) => reads::verify(&shared, &args),
        Command::Doubt(command) => doubt::doubt(&shared, command),
        Command::Cost(CostArgs { of: Some(CostCommand::Model(args)), .. }) => model::model(&shared, &args),
        Command::Cost(args) => reads::costs(&shared, &args),
        Command::Filter(command) => filter::filter(&shared, command),
        Command::Fields(args) => fields::fields(&shared, &args),
        Command::Route(command) => route::route(&shared, command),
        Command::Show(args) => reads::show(&shared, &args),
        Command::Rm(args) => reads::remove(&shared, &args),
        Command::Sim(SimArgs { provider: Some(provider), list_faults: false }) => match provider {
            SimCommand::OpenAi(args) => simulate(*args, Speaks::OpenAi),
            SimCommand::Anthropic(args) => simulate(*args, Speaks::Anthropic),
            SimCommand::Gemini(args) => simulate(*args, Speaks::Gemini),
            SimCommand::Vertex(args) => simulate(*args, Speaks::Vertex),
            SimCommand::Bedrock(args) => simulate(*args, Speaks::Bedrock),
            SimCommand::Azure(args) => {
                simulate(bulkrate_sim::cli::Args { like: Some("azure".to_owned()), ..*args }, Speaks::OpenAi)
            }
            SimCommand::Vllm(args) => Ok(bulkrate_sim::vllm::run(*args)?),
        },
        Command::Sim(_) => {
            out::data(&bulkrate_sim::fault_table());
            Ok(0)
        }
        Command::Prices(command) => prices::prices(&shared, command),
        Command::Doctor(args) => doctor::doctor(&shared, args),
        Command::Explain { code } => explain::explain(&shared, code.as_deref()),
        Command::Init(args) => init::init(&shared, &args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "bulkrate", &mut script);
            out::data(&String::from_utf8_lossy(&script));
            Ok(0)
        }
        Command::HelpMarkdown => {
            out::data(&markdown::reference());
            Ok(0)
        }
    }
}

fn simulate(args: bulkrate_sim::cli::Args, speaks: Speaks) -> Result<u8, AppError> {
    // The simulator shares the machine with the job it serves: two threads are enough, one would stall under files.
    runtime::threads(2)?.block_on(bulkrate_sim::cli::run(args, speaks))?;
    Ok(0)
}

/// The state folder: flag or variable, then `bulkrate.toml`, then `.bulkrate`.
fn state_dir(shared: &Shared, defaults: &Defaults) -> PathBuf {
    shared.state.clone().or_else(|| defaults.state.clone()).unwrap_or_else(|| PathBuf::from(".bulkrate"))
}
