//! The product's command line as the rows use it: a user's flags, nothing hidden.

use crate::conduct::Setup;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tokens that the server's answers report for a prompt, plus the maximum that the job asks for: what a provider charges.
pub(crate) const TOKENS_PER_CALL: u64 = 128 + OUTPUT_MAX;
const OUTPUT_MAX: u64 = 16;

/// One job: its input, its lane and where its state and its output are.
#[derive(Debug)]
pub(crate) struct Job {
    bin: PathBuf,
    input: PathBuf,
    state: PathBuf,
    out: PathBuf,
    base_url: String,
    flags: Vec<String>,
}

impl Job {
    /// A job on `input` with empty state. `flags` are separated by spaces.
    pub(crate) fn new(setup: &Setup, input: &Path, base_url: &str, flags: &str) -> Result<Self> {
        let state = emptied(&setup.dir)?;
        let out = setup.dir.join("out.csv");
        let flags = flags.split_whitespace().map(str::to_owned).collect();
        Ok(Self {
            bin: setup.bin.clone(),
            input: input.to_owned(),
            state,
            out,
            base_url: base_url.to_owned(),
            flags,
        })
    }

    /// `bulkrate run`, ready to start; the same job again is the same command.
    pub(crate) fn run(&self) -> Command {
        let mut command = self.command("run");
        command.args(["--yes", "--quiet"]).arg("--out").arg(&self.out);
        command
    }

    /// `bulkrate plan`, which sends nothing.
    pub(crate) fn plan(&self) -> Command {
        self.command("plan")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.bin);
        command.arg(verb).arg(&self.input).args(["--id", "id", "--system", "Answer in one word."]);
        command.args([
            "--user",
            "Mood of: {{ text }}",
            "--model",
            "openai/gpt-6-luna",
            "--budget",
            "100000",
            "--json",
        ]);
        command.arg("--max-output-tokens").arg(OUTPUT_MAX.to_string());
        command.arg("--base-url").arg(&self.base_url).arg("--state").arg(&self.state).args(&self.flags);
        command.env("OPENAI_API_KEY", "sk-bench").env_remove("OPENAI_BASE_URL");
        command
    }

    /// Fails unless the output has a row for each of `items`.
    pub(crate) fn check(&self, items: u64) -> Result<()> {
        answers(&self.out, items)
    }
}

/// The folder of the state below `dir`, without a state, and no output.
pub(crate) fn emptied(dir: &Path) -> Result<PathBuf> {
    let state = dir.join("state");
    if state.exists() {
        std::fs::remove_dir_all(&state).with_context(|| format!("could not empty `{}`", state.display()))?;
    }
    std::fs::remove_file(dir.join("out.csv")).ok();
    Ok(state)
}

/// Fails unless there is a row in `out` for each of `items`.
pub(crate) fn answers(out: &Path, items: u64) -> Result<()> {
    use std::io::BufRead as _;
    let file = std::fs::File::open(out).with_context(|| format!("no output `{}`", out.display()))?;
    let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
    let mut rows = 0_u64;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        rows += bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        let used = bytes.len();
        reader.consume(used);
    }
    if rows != items + 1 {
        bail!("{items} items went in and {} rows came out", rows.saturating_sub(1));
    }
    Ok(())
}

/// The simulator that the batch rows run against, as a command.
pub(crate) fn simulator(setup: &Setup) -> Command {
    let mut command = Command::new(&setup.bin);
    command.args(["sim", "openai", "--port", "0", "--speed", "3600"]);
    command
}
