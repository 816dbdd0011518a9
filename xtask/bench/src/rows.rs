//! The rows of docs/benchmarks.md, each a function from the setup to its figures.

use crate::conduct::Setup;
use crate::input;
use crate::limits::best_span;
use crate::process::{Measured, Server, measured};
use crate::product::{Job, TOKENS_PER_CALL, simulator};
use crate::stats::{Stats, secs};
use crate::table::Line;
use crate::table::Target::{AtLeast, AtMost};
use anyhow::{Context as _, Result, bail};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A named part of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) measure: fn(&Setup) -> Result<Vec<Line>>,
}

pub(crate) const ALL: [Row; 12] = [
    Row { name: "bare", about: "the bare hyper loop by itself, 1,000 in flight", measure: bare },
    Row {
        name: "sync",
        about: "sync lane without latency: CPU per item, and its ratio to the bare loop",
        measure: sync,
    },
    Row { name: "latency", about: "sync lane, 500 ms median latency, 1,000 in flight", measure: latency },
    Row { name: "limited", about: "sync lane under 6,000 RPM and 600,000 TPM, known", measure: limited },
    Row { name: "learned", about: "the same limits, learned from headers only", measure: learned },
    Row { name: "batch", about: "batch lane against the simulator, read to written", measure: batch },
    Row {
        name: "prepare",
        about: "reading, rendering, keys and dedup, by `bulkrate plan`",
        measure: prepare,
    },
    Row {
        name: "results",
        about: "output file to matched, checked, stored, written; derived from batch and plan",
        measure: results,
    },
    Row { name: "memory", about: "peak memory of both lanes", measure: memory },
    Row { name: "resume", about: "kill -9, start again, time to the first new request", measure: resume },
    Row { name: "start", about: "start of the program to its first request, 1,000 items", measure: start },
    Row {
        name: "simulators",
        about: "50,000 items through the batch API of each simulator: what its process takes",
        measure: crate::simulators::simulators,
    },
];

const MB: f64 = 1e6;
/// Of both sides, as the floor depends on it; the latency row has as many.
const IN_FLIGHT: &str = "1000";
const RPM: u64 = 6_000;
const TPM: u64 = 600_000;

#[allow(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

fn micros_per_item(cpu_secs: f64, items: u64) -> f64 {
    cpu_secs / float(items) * 1e6
}

fn wall(measured: &Measured) -> String {
    format!("wall {:.1} s", measured.used.wall_secs)
}

fn flags(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// CPU per call of the bare loop, in microseconds.
fn bare_micros(setup: &Setup, server: &Server, items: u64) -> Result<(f64, Measured)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bare", "--in-flight", IN_FLIGHT, "--base-url", &server.base_url]);
    command.arg("--items").arg(items.to_string()).arg("--bytes").arg(setup.bytes.to_string());
    let done = measured(&setup.dir, &command)?.ok("the bare loop")?;
    Ok((micros_per_item(done.used.cpu_secs(), items), done))
}

fn bare(setup: &Setup) -> Result<Vec<Line>> {
    let items = setup.items.unwrap_or(200_000);
    let server = Server::bench(&[])?;
    let (micros, done) = bare_micros(setup, &server, items)?;
    let rate = float(items) / done.used.wall_secs;
    let note = format!(
        "user {:.1} us, system {:.1} us",
        micros_per_item(done.used.user_secs, items),
        micros_per_item(done.used.system_secs, items)
    );
    Ok(vec![
        Line::plain("bare", "CPU per call", micros, "us").note(note),
        Line::plain("bare", "calls a second", rate, "/s").note(wall(&done)),
        Line::plain("bare", "peak memory", float(done.used.peak_bytes) / MB, "MB"),
    ])
}

/// Runs a sync job to its end and returns what it used and what the server saw.
fn sync_job(setup: &Setup, server: &Server, items: u64, more: &str) -> Result<(Measured, Stats)> {
    let file = input::csv(&setup.dir, items, setup.bytes)?;
    let job = Job::new(setup, &file, &server.base_url, &format!("--lane sync {more}"))?;
    server.reset()?;
    let done = measured(&setup.dir, &job.run())?.ok("bulkrate run")?;
    let stats = server.stats()?;
    job.check(items)?;
    if stats.answered != items {
        bail!("{items} items took {} answered calls", stats.answered);
    }
    Ok((done, stats))
}

fn sync(setup: &Setup) -> Result<Vec<Line>> {
    let items = setup.items.unwrap_or(200_000);
    let server = Server::bench(&[])?;
    let (before, _) = bare_micros(setup, &server, items)?;
    let (done, stats) = sync_job(setup, &server, items, &format!("--concurrency-max {IN_FLIGHT}"))?;
    let (after, _) = bare_micros(setup, &server, items)?;
    let (micros, floor) = (micros_per_item(done.used.cpu_secs(), items), f64::midpoint(before, after));
    let split = format!(
        "user {:.1}, system {:.1}",
        micros_per_item(done.used.user_secs, items),
        micros_per_item(done.used.system_secs, items)
    );
    Ok(vec![
        Line::new("sync", "CPU per item, all included", micros, "us", AtMost(30.0))
            .note(format!("{split}, {}", wall(&done))),
        Line::new("sync", "ratio to the bare loop", micros / floor, "x", AtMost(1.9))
            .note(format!("bare {before:.1} and {after:.1} us; {} connections", stats.connections)),
        Line::plain("sync", "peak memory", float(done.used.peak_bytes) / MB, "MB"),
    ])
}

fn latency(setup: &Setup) -> Result<Vec<Line>> {
    let items = setup.items.unwrap_or(200_000);
    let server = Server::bench(&flags("--latency-ms 500"))?;
    let (done, stats) = sync_job(setup, &server, items, "--concurrency-max 1000")?;
    let ideal = stats.latency_secs / 1_000.0;
    let note = format!(
        "{} against {ideal:.1} s; first call to last answer {:.1} s; {} in flight at most",
        wall(&done),
        stats.span_secs(),
        stats.in_flight_max
    );
    let micros = micros_per_item(done.used.cpu_secs(), items);
    Ok(vec![
        Line::new(
            "latency",
            "share of the ideal span",
            100.0 * ideal / done.used.wall_secs,
            "%",
            AtLeast(97.0),
        )
        .note(note),
        Line::plain("latency", "CPU per item", micros, "us"),
    ])
}

fn limited(setup: &Setup) -> Result<Vec<Line>> {
    under_limits(setup, "limited", &format!("--rpm {RPM} --tpm {TPM}"), 98.0, 0.5)
}

fn learned(setup: &Setup) -> Result<Vec<Line>> {
    under_limits(setup, "learned", "", 95.0, 2.0)
}

fn under_limits(
    setup: &Setup,
    row: &'static str,
    told: &str,
    share: f64,
    refused_max: f64,
) -> Result<Vec<Line>> {
    let items = 3_000;
    let limits = format!("--rpm {RPM} --tpm {TPM} --tokens-per-call {TOKENS_PER_CALL} --latency-ms 100");
    let server = Server::bench(&flags(&limits))?;
    let (done, stats) = sync_job(setup, &server, items, told)?;
    let best = best_span(stats.answered, stats.tokens, Some(RPM), Some(TPM));
    let span = secs(stats.last_admitted_unix_ns.saturating_sub(stats.first_unix_ns));
    let refused = 100.0 * float(stats.refused) / float(items);
    Ok(vec![
        Line::new(row, "share of the optimum", 100.0 * best / span, "%", AtLeast(share))
            .note(format!("{span:.1} s against {best:.1} s; {}", wall(&done))),
        Line::new(row, "refused calls", refused, "% of items", AtMost(refused_max)).note("none lost"),
    ])
}

/// A batch job to its end; the CPU time is the client's alone.
fn batch_job(setup: &Setup, items: u64) -> Result<(Measured, Job)> {
    let file = input::csv(&setup.dir, items, setup.bytes)?;
    let server = Server::start(simulator(setup))?;
    let job = Job::new(
        setup,
        &file,
        &server.base_url,
        "--lane batch --poll-min 1s --choices positive,negative,neutral",
    )?;
    let done = measured(&setup.dir, &job.run())?.ok("bulkrate run")?;
    job.check(items)?;
    Ok((done, job))
}

fn batch(setup: &Setup) -> Result<Vec<Line>> {
    let items = setup.items.unwrap_or(50_000);
    let (done, _) = batch_job(setup, items)?;
    let micros = micros_per_item(done.used.cpu_secs(), items);
    Ok(vec![
        Line::new("batch", "CPU per item, whole process", micros, "us", AtMost(8.0)).note(wall(&done)),
        Line::new("batch", "peak memory", float(done.used.peak_bytes) / MB, "MB", AtMost(48.0)),
    ])
}

/// CPU seconds and input bytes of `bulkrate plan`.
fn plan_cpu(setup: &Setup, items: u64, bytes: usize) -> Result<(f64, u64)> {
    let file = input::csv(&setup.dir, items, bytes)?;
    let job =
        Job::new(setup, &file, "http://127.0.0.1:9/v1", "--lane batch --choices positive,negative,neutral")?;
    let done = measured(&setup.dir, &job.plan())?.ok("bulkrate plan")?;
    Ok((done.used.cpu_secs(), input::size(&file)?))
}

fn prepare(setup: &Setup) -> Result<Vec<Line>> {
    let (long, long_bytes) = plan_cpu(setup, 200_000, 2_000)?;
    let (short, _) = plan_cpu(setup, 1_000_000, 100)?;
    let proxy = "by `plan`, which seals no payload";
    Ok(vec![
        Line::new(
            "prepare",
            "input a CPU second, 2,000 bytes an item",
            float(long_bytes) / MB / long,
            "MB/s",
            AtLeast(250.0),
        )
        .note(proxy),
        Line::new("prepare", "items a CPU second, 100 bytes an item", 1e6 / short, "/s", AtLeast(300_000.0))
            .note(proxy),
    ])
}

fn results(setup: &Setup) -> Result<Vec<Line>> {
    let items = setup.items.unwrap_or(50_000);
    let (done, _) = batch_job(setup, items)?;
    let (plan, _) = plan_cpu(setup, items, setup.bytes)?;
    let rest = done.used.cpu_secs() - plan;
    if rest <= 0.0 {
        bail!("`run` took no more CPU than `plan`: too few items to tell the difference");
    }
    let note = "batch row minus `plan`: upload, polling and download still counted in";
    Ok(vec![
        Line::new("results", "lines a CPU second", float(items) / rest, "/s", AtLeast(200_000.0)).note(note),
    ])
}

fn memory(setup: &Setup) -> Result<Vec<Line>> {
    let (items, most) = if setup.big { (10_000_000, 250.0) } else { (1_000_000, 64.0) };
    let millions = items / 1_000_000;
    let small =
        Setup { bin: setup.bin.clone(), dir: setup.dir.clone(), items: None, bytes: 100, big: setup.big };
    let server = Server::bench(&[])?;
    let (sync, _) = sync_job(&small, &server, items, "")?;
    drop(server);
    let (batch, _) = batch_job(&small, items)?;
    let line = |lane: &str, done: &Measured| {
        let what = format!("peak, {lane} lane, {millions} M items");
        Line::new("memory", what, float(done.used.peak_bytes) / MB, "MB", AtMost(most)).note(wall(done))
    };
    Ok(vec![line("sync", &sync), line("batch", &batch)])
}

fn resume(setup: &Setup) -> Result<Vec<Line>> {
    let items = if setup.big { 10_000_000 } else { 1_000_000 };
    let file = input::csv(&setup.dir, items, 100)?;
    let server = Server::bench(&[])?;
    let job = Job::new(setup, &file, &server.base_url, "--lane sync")?;
    let answered = interrupted(&job, &server, items / 3)?;
    server.reset()?;
    let started = crate::stats::unix_ns();
    interrupted(&job, &server, 1)?;
    let first = server.stats()?.first_unix_ns;
    let what = format!("start to first new request, {} M items", items / 1_000_000);
    let note = format!("killed after {answered} answers");
    Ok(vec![Line::new("resume", what, secs(first.saturating_sub(started)), "s", AtMost(3.0)).note(note)])
}

/// Starts the job and kills it when the server has answered `calls` calls; says how many it had answered then.
fn interrupted(job: &Job, server: &Server, calls: u64) -> Result<u64> {
    let mut child = job
        .run()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("could not start bulkrate")?;
    let deadline = Instant::now() + Duration::from_secs(1_800);
    let answered = loop {
        std::thread::sleep(Duration::from_millis(20));
        let answered = server.stats()?.answered;
        if answered >= calls {
            break answered;
        }
        if let Some(status) = child.try_wait()? {
            bail!("bulkrate ended with {status} after {answered} calls, before it could be killed");
        }
        if Instant::now() > deadline {
            child.kill().ok();
            bail!("only {answered} calls in half an hour");
        }
    };
    child.kill()?; // SIGKILL
    child.wait()?;
    Ok(answered)
}

fn start(setup: &Setup) -> Result<Vec<Line>> {
    let server = Server::bench(&[])?;
    let mut waits = Vec::new();
    for _ in 0..7 {
        let (done, stats) = sync_job(setup, &server, 1_000, "")?;
        waits.push(stats.first_unix_ns.saturating_sub(done.used.started_unix_ns));
    }
    drop(server);
    waits.sort_unstable();
    let peak = memory_at_first_call(setup)?;
    Ok(vec![
        Line::new(
            "start",
            "start to first request, 1,000 items",
            secs(waits[waits.len() / 2]) * 1e3,
            "ms",
            AtMost(30.0),
        )
        .note("median of 7"),
        Line::new("start", "peak memory until then", peak, "MB", AtMost(20.0)),
    ])
}

/// The most memory that a job had when the server had its first call, in MB. Answers take a second, so that no other
/// part of the job has begun.
fn memory_at_first_call(setup: &Setup) -> Result<f64> {
    let server = Server::bench(&flags("--latency-ms 1000"))?;
    let file = input::csv(&setup.dir, 1_000, setup.bytes)?;
    let job = Job::new(setup, &file, &server.base_url, "--lane sync")?;
    let mut child =
        job.run().stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("could not start bulkrate")?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while server.stats()?.first_unix_ns == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    child.kill()?;
    child.wait()?;
    let peak = crate::process::peak_mb(&status?);
    peak.context("the system does not say how much memory a process had")
}
