//! Gate E2 where models make mistakes in bundles: what pilots expect of jobs, against the bills of their runs, with the program itself and its
//! simulator.
//!
//! One job of a hundred bundles says little: one bundle in three fails in a part, and its rows are asked again, so that a bill is moved by a
//! tenth by chance alone. Whether what is expected is too high or too low on the whole only many jobs show.

use crate::bundle::GUIDE;
use crate::data::{self, real};
use crate::gates::{Bar, Gates};
use anyhow::{Context as _, Result, bail, ensure};
use bulkrate_core::pace::rng::mix;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const JOBS: u64 = 100;
const ROWS: usize = 2_000;
/// Rows of a pilot. In bundles of 12 they are 67, and the rest of the job are 100 more.
const PILOT: &str = "800";
const BUNDLE: &str = "12";

pub(crate) fn measure(root: &Path, gates: &mut Gates) -> Result<()> {
    let texts: Vec<String> = data::texts(root, "sms_spam")?.into_iter().map(|row| row.text).collect();
    let jobs = (1..=JOBS).map(|seed| job(&texts, seed)).collect::<Result<Vec<_>>>()?;
    let mut off: Vec<f64> = jobs.iter().map(|job| job.expected / job.bill - 1.0).collect();
    let covered = jobs.iter().filter(|job| job.bill <= job.p95).count();
    let mean = off.iter().sum::<f64>() / real(off.len());
    off.iter_mut().for_each(|off| *off = off.abs());
    off.sort_by(f64::total_cmp);
    let what = format!("SMS spam, {BUNDLE} in one request, with mistakes, {JOBS} jobs of {ROWS} rows");
    gates.add(
        "E2",
        format!("{what}: the mean of what is expected, off the bill"),
        mean.abs(),
        Bar::AtMost(0.03),
    );
    let covers = real(covered) / real(jobs.len());
    gates.add("E2", format!("{what}: share of jobs whose P95 covers the bill"), covers, Bar::AtLeast(0.95));
    for (name, at) in [("the median", off.len() / 2), ("19 of 20 are nearer than", off.len() * 19 / 20)] {
        gates.add("E2", format!("{what}: one job's expected cost off its bill, {name}"), off[at], Bar::Shown);
    }
    Ok(())
}

/// Dollars.
struct Job {
    expected: f64,
    p95: f64,
    bill: f64,
}

/// Makes a pilot of some rows in bundles, and runs the plan that wins.
fn job(texts: &[String], seed: u64) -> Result<Job> {
    let place = std::env::temp_dir().join(format!("bulkrate-levers-{}-{seed}", std::process::id()));
    std::fs::create_dir_all(&place).with_context(|| format!("could not make `{}`", place.display()))?;
    let found = asked(texts, seed, &place);
    drop(std::fs::remove_dir_all(&place));
    found.with_context(|| format!("job {seed}"))
}

fn asked(texts: &[String], seed: u64, place: &Path) -> Result<Job> {
    let mut rows: Vec<usize> = (0..texts.len()).collect();
    rows.sort_by_key(|row| mix(mix(seed) ^ *row as u64));
    let mut table = csv::Writer::from_path(place.join("rows.csv"))?;
    table.write_record(["text"])?;
    rows.iter().take(ROWS).try_for_each(|row| table.write_record([&texts[*row]]))?;
    table.flush()?;
    let sim = Sim::start(seed)?;
    let plan = sim.said(place, &["plan", "--pilot", PILOT, "--bundle", BUNDLE, "--quality-loss", "5%"])?;
    let winner = usize::try_from(plan["winner"].as_u64().context("no plan wins")?)?;
    let plan = &plan["plans"][winner - 1];
    ensure!(plan["bundle"].as_u64() > Some(1), "no plan of bundles wins: {plan}");
    let run = ["run", "--plan", "cheapest", "--quality-loss", "5%", "--poll-min", "50ms", "--out", "out.csv"];
    let report = sim.said(place, &run)?;
    ensure!(report["succeeded"].as_u64() == Some(ROWS as u64), "{report}");
    Ok(Job { expected: usd(plan, "expected")?, p95: usd(plan, "p95")?, bill: usd(&report, "spent")? })
}

#[allow(clippy::cast_precision_loss, reason = "a ratio is made of it, no money")]
fn usd(of: &Value, what: &str) -> Result<f64> {
    let nanos = of[format!("{what}_usd_nanos")].as_i64();
    Ok(nanos.with_context(|| format!("no `{what}` in {of}"))? as f64 / 1e9)
}

/// A simulator whose models make gate E1's mistakes in bundles; gone when dropped.
struct Sim {
    child: Child,
    base_url: String,
}

impl Sim {
    fn start(seed: u64) -> Result<Self> {
        let child = Command::new(bulkrate()?)
            .args(["sim", "openai", "--port", "0", "--speed", "3600", "--bundle-faults", "--seed"])
            .arg(seed.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start the simulator")?;
        let mut sim = Self { child, base_url: String::new() };
        let mut lines = BufReader::new(sim.child.stdout.take().context("no output")?).lines();
        for line in lines.by_ref() {
            if let Some(url) = line?.split_whitespace().find(|word| word.starts_with("http")) {
                url.clone_into(&mut sim.base_url);
                break;
            }
        }
        ensure!(!sim.base_url.is_empty(), "the simulator did not say where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        Ok(sim)
    }

    /// What a command about the job answers in JSON.
    fn said(&self, place: &Path, line: &[&str]) -> Result<Value> {
        let (verb, more) = line.split_first().context("no command")?;
        let done = Command::new(bulkrate()?)
            .args([verb, "rows.csv", "--json", "--yes", "--model", "openai/gpt-6.1-sol"])
            .args(["--system", GUIDE, "--user", "{{ text }}", "--choices", "ham,spam"])
            .args(more)
            .current_dir(place)
            .env("OPENAI_API_KEY", "sk-sim")
            .env("OPENAI_BASE_URL", &self.base_url)
            .env("BULKRATE_STATE", place.join("state"))
            .stdin(Stdio::null())
            .output()?;
        if !done.status.success() {
            bail!("`{verb}` ended with {}: {}", done.status, String::from_utf8_lossy(&done.stderr));
        }
        Ok(serde_json::from_slice(&done.stdout)?)
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The program, which is built beside this one.
fn bulkrate() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(format!("bulkrate{}", std::env::consts::EXE_SUFFIX));
    ensure!(path.is_file(), "`{}` is not there: `cargo xtask levers` builds it", path.display());
    Ok(path)
}
