//! Measures bulkrate as a process, next to a bare HTTP loop and an ideal schedule. `cargo xtask bench` builds and starts it.
//!
//! Every part is a process of its own, so that each one's CPU time and memory can be read apart: the `server` answers, the
//! `bare` loop does nothing but call, `measure` starts one program and reports what it used, `run` conducts and prints.

mod dice;
mod input;
mod limits;
mod stats;
mod server;
mod bare;
mod measure;
mod process;
mod product;
mod rows;
mod simulators;
mod table;
mod conduct;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", version, about = "Benchmarks of docs/benchmarks.md")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measure rows of the table and print them.
    Run(conduct::RunArgs),
    /// Only the OpenAI-compatible server that the rows are measured against.
    Server(server::ServerArgs),
    /// Only the bare client loop.
    Bare(bare::BareArgs),
    /// Start a program and write what it used as JSON.
    #[command(hide = true)]
    Measure(measure::MeasureArgs),
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Run(args) => conduct::run(&args),
        Task::Server(args) => server::run(&args),
        Task::Bare(args) => bare::run(&args),
        Task::Measure(args) => measure::run(&args),
    }
}
