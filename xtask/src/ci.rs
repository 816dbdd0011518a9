//! Everything the build server checks, in an order that finds cheap faults first. One target folder serves all steps.

use crate::args::{Args, known};
use crate::shell::{self, PRINTERS, built, bulkrate, cargo, on_ci, quoted, root, target, typed};
use crate::tools::{cargo_tool, python};
use crate::{demo, docs, examples, kill9, tidy, world};
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A named step; what it returns is shown in the summary.
type Step = (&'static str, fn() -> Result<Option<String>>);

const STEPS: [Step; 13] = [
    ("fmt", || plain(cargo("fmt --all --check"))),
    ("tidy", || tidy::run().map(|()| None)),
    ("clippy", clippy),
    ("tests", tests),
    ("doctests", || plain(locked("test --doc --workspace --quiet"))),
    ("doc", doc),
    ("docs", || docs::run(Args::new(["--check".to_owned()])).map(|()| None)),
    ("deny", deny),
    ("demo", || demo::run(Args::new([])).map(|()| None)),
    ("sdk", sdk),
    ("world", || world::ci().map(|()| None)),
    ("kill9", || kill9::run(Args::new([])).map(|()| None)),
    ("examples", || examples::run(Args::new([])).map(|()| None)),
];

struct Outcome {
    name: &'static str,
    took: Duration,
    result: Result<Option<String>>,
}

fn run_steps(steps: &[Step]) -> Result<()> {
    let started = Instant::now();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (name, step) in steps {
        println!("\n=== {name}");
        let step_started = Instant::now();
        let result = step();
        let took = step_started.elapsed();
        match &result {
            Ok(_) => println!("=== {name}: ok, {:.1} s", took.as_secs_f64()),
            Err(error) => println!("error: {error:#}\n=== {name}: FAILED, {:.1} s", took.as_secs_f64()),
        }
        outcomes.push(Outcome { name, took, result });
    }
    summary(&outcomes, started.elapsed())
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let names: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
    if args.flag("--list") {
        println!("{}", names.join("\n"));
        return args.finish();
    }
    let (only, skip) = (args.values("--only")?, args.values("--skip")?);
    args.finish()?;
    let (only, skip) = (known(&only, &names, "step")?, known(&skip, &names, "step")?);
    let chosen = |name: &&'static str| (only.is_empty() || only.contains(name)) && !skip.contains(name);
    run_steps(&STEPS.into_iter().filter(|(name, _)| chosen(name)).collect::<Vec<_>>())
}

/// One line a step, the total, and last the line that counts the tests.
fn summary(outcomes: &[Outcome], took: Duration) -> Result<()> {
    println!("\n=== summary");
    for outcome in outcomes {
        let word = if outcome.result.is_ok() { "ok" } else { "FAILED" };
        println!("{:<10} {word:<7} {:>7.1} s", outcome.name, outcome.took.as_secs_f64());
    }
    println!("{:<18} {:>7.1} s", "all", took.as_secs_f64());
    let failed: Vec<&str> =
        outcomes.iter().filter(|outcome| outcome.result.is_err()).map(|outcome| outcome.name).collect();
    for line in outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok()?.as_deref()) {
        println!("{line}");
    }
    if !failed.is_empty() {
        bail!(
            "failed: {}; `cargo xtask ci --only {}` repeats what failed",
            failed.join(", "),
            failed.join(",")
        );
    }
    Ok(())
}

fn plain(command: Command) -> Result<Option<String>> {
    shell::run(command).map(|()| None)
}

/// A cargo command that takes the lock file as it is on a build server.
fn locked(args: &str) -> Command {
    let mut command = cargo(args);
    if on_ci() {
        command.arg("--locked");
    }
    command
}

fn clippy() -> Result<Option<String>> {
    let mut clippy = locked("clippy --workspace --all-targets");
    clippy.args(["--", "-D", "warnings"]);
    plain(clippy)
}

fn doc() -> Result<Option<String>> {
    // The printers are in the selection for the same reason as in `shell::bulkrate`: clippy has checked these dependencies.
    let mut doc = locked(&format!("doc --workspace --no-deps --lib {PRINTERS}"));
    doc.env("RUSTDOCFLAGS", "-D warnings");
    plain(doc)
}

fn deny() -> Result<Option<String>> {
    let mut deny = cargo_tool("cargo-deny")?;
    deny.args(["--log-level", "warn", "check", "bans", "licenses", "sources"]);
    plain(deny)
}

/// Runs nextest, passing its lines on, and keeps the one that counts the tests.
fn tests() -> Result<Option<String>> {
    if std::env::var_os("BULKRATE_TEST_DATA").is_none() {
        println!(
            "note: BULKRATE_TEST_DATA is not set: tests on the real data sets skip themselves and say so"
        );
    }
    let mut nextest = cargo_tool("cargo-nextest")?;
    nextest.args(["nextest", "run", "--workspace", "--profile", "ci"]);
    if on_ci() {
        nextest.arg("--locked");
    }
    let line = typed(&nextest);
    println!("$ {line}");
    let mut child = nextest
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{line}`"))?;
    let mut counted = None;
    for line in child.stderr.take().into_iter().flat_map(|pipe| BufReader::new(pipe).lines()) {
        let line = line?;
        eprintln!("{line}");
        if line.trim_start().starts_with("Summary [") {
            counted = Some(line);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "`{line}` failed ({status}){}",
            counted.map_or(String::new(), |counted| format!(": {}", counted.trim()))
        );
    }
    Ok(counted)
}

/// The services' own Python SDKs, and vLLM's own models, against the simulator and against what is sent, so that client and simulator do not
/// merely agree with each other.
fn sdk() -> Result<Option<String>> {
    let (python, bulkrate) = (python()?, bulkrate()?);
    let mut pytest = Command::new(python);
    pytest.current_dir(root()).args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/python"]);
    pytest.env("BULKRATE_SIM_CMD", format!("{} sim openai --port 0", quoted(&bulkrate.to_string_lossy())));
    pytest.env("BULKRATE_OUTGOING_CMD", quoted(&built("examples/outgoing")?.to_string_lossy()));
    pytest.env("PYTHONPYCACHEPREFIX", target().join("pycache")).env("BULKRATE_TOOLS", target().join("tools"));
    plain(pytest)
}
