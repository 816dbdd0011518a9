//! Starts one program and reports its CPU time, wall time and peak memory.
//!
//! A process of its own, because the system adds up the children of a process: here there is exactly one.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// What a program used, from start to end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Used {
    /// `None`: ended by a signal.
    pub(crate) exit: Option<i32>,
    pub(crate) wall_secs: f64,
    pub(crate) user_secs: f64,
    pub(crate) system_secs: f64,
    /// Peak resident set in bytes.
    pub(crate) peak_bytes: u64,
    /// When it was started, in Unix nanoseconds.
    pub(crate) started_unix_ns: u64,
}

impl Used {
    pub(crate) fn cpu_secs(&self) -> f64 {
        self.user_secs + self.system_secs
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct MeasureArgs {
    /// Where to write the JSON.
    #[arg(long)]
    pub(crate) into: PathBuf,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub(crate) command: Vec<String>,
}

pub(crate) fn run(args: &MeasureArgs) -> Result<()> {
    let (program, rest) = args.command.split_first().context("no program named")?;
    let (started_unix_ns, started) = (crate::stats::unix_ns(), Instant::now());
    let status =
        Command::new(program).args(rest).status().with_context(|| format!("could not start `{program}`"))?;
    let wall_secs = started.elapsed().as_secs_f64();
    let (user_secs, system_secs, peak_bytes) = children()?;
    let used = Used { exit: status.code(), wall_secs, user_secs, system_secs, peak_bytes, started_unix_ns };
    std::fs::write(&args.into, serde_json::to_vec(&used)?)
        .with_context(|| format!("could not write `{}`", args.into.display()))
}

#[cfg(unix)]
fn children() -> Result<(f64, f64, u64)> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::{TimeVal, TimeValLike as _};
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("could not read the CPU time of the program")?;
    #[allow(clippy::cast_precision_loss, reason = "microseconds of a benchmark are far below 2^53")]
    let secs = |time: TimeVal| time.num_microseconds() as f64 / 1e6;
    let unit = if cfg!(target_os = "macos") { 1 } else { 1_024 }; // bytes there, kibibytes elsewhere
    let peak = u64::try_from(usage.max_rss()).unwrap_or(0) * unit;
    Ok((secs(usage.user_time()), secs(usage.system_time()), peak))
}

#[cfg(not(unix))]
fn children() -> Result<(f64, f64, u64)> {
    anyhow::bail!(
        "CPU time of a program is read with getrusage, which this system does not have; run the benchmarks on Linux or macOS"
    )
}
