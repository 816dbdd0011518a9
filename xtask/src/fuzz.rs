//! Fuzzing: libFuzzer over the targets of `crates/bulkrate-fuzz`, on the stable toolchain.

use crate::args::{Args, known};
use crate::shell::{cargo, root, target, typed};
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// LLVM's coverage counters, without a sanitizer: those need a nightly compiler, and this project has no unsafe code.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=4";
/// For each target.
const SECONDS: &str = "10";
/// Longer inputs cost more than they find.
const INPUT_BYTES: &str = "-max_len=2048";

pub(crate) fn run(mut args: Args) -> Result<()> {
    let names = targets()?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if args.flag("--list") {
        println!("{}", names.join("\n"));
        return args.finish();
    }
    let (only, seconds, runs) = (args.values("--target")?, args.values("--seconds")?, args.values("--runs")?);
    let seed = args.values("--seed")?;
    args.finish()?;
    let chosen = known(&only, &names, "target")?;
    let chosen = if chosen.is_empty() { names } else { chosen };
    let limit = match (seconds.last(), runs.last()) {
        (Some(_), Some(_)) => bail!("`--seconds` or `--runs`, not both"),
        (_, Some(runs)) => format!("-runs={}", number("--runs", runs)?),
        (seconds, None) => {
            format!("-max_total_time={}", number("--seconds", seconds.map_or(SECONDS, String::as_str))?)
        }
    };
    let seed = number("--seed", seed.last().map_or("1", String::as_str))?;
    let program = build()?;
    let mut done = Vec::new();
    for name in chosen {
        let started = Instant::now();
        let runs = feed(&program, name, &limit, seed)?;
        done.push((name, runs, started.elapsed().as_secs_f64()));
    }
    println!("\n{:<14} {:>14} {:>9}", "target", "executions", "seconds");
    for (name, runs, seconds) in &done {
        println!("{name:<14} {runs:>14} {seconds:>9.1}");
    }
    println!("{:<14} {:>14}", "all", done.iter().map(|(_, runs, _)| runs).sum::<u64>());
    Ok(())
}

fn number(flag: &str, text: &str) -> Result<u64> {
    text.parse().with_context(|| format!("`{flag} {text}` is not a whole number"))
}

/// The targets' names, from the only place where they stand.
fn targets() -> Result<Vec<String>> {
    let list = root().join("crates/bulkrate-fuzz/src/lib.rs");
    let text =
        std::fs::read_to_string(&list).with_context(|| format!("could not read `{}`", list.display()))?;
    let names = text.lines().filter_map(|line| {
        let rest =
            line.trim().strip_prefix("Target { name: \"").or_else(|| line.trim().strip_prefix("name: \""))?;
        rest.split('"').next().map(str::to_owned)
    });
    Ok(names.collect())
}

fn build() -> Result<PathBuf> {
    let out = target().join("fuzz");
    let host = host()?;
    // Naming the host keeps the counters out of build scripts and macros.
    let mut build = cargo("build --release --manifest-path fuzz/Cargo.toml --target");
    build.arg(&host).env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", &out);
    crate::shell::run(build).context("libFuzzer needs a C++ compiler (`g++` on Debian and Ubuntu)")?;
    Ok(out.join(host).join("release/bulkrate-libfuzzer"))
}

fn host() -> Result<String> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.arg("-vV");
    let told = crate::shell::output(rustc)?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not tell its host")
}

/// Runs one target; answers how often. What it finds lies below `target/fuzz/found/`, and the error says how to keep it.
fn feed(program: &Path, name: &str, limit: &str, seed: u64) -> Result<u64> {
    let work = target().join("fuzz");
    let (corpus, found) = (work.join("corpus").join(name), work.join("found").join(name));
    for folder in [&corpus, &found] {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("could not create `{}`", folder.display()))?;
    }
    let kept = ["corpus", "regressions"]
        .map(|kind| root().join("crates/bulkrate-fuzz").join(kind).join(name))
        .into_iter()
        .filter(|folder| folder.is_dir());
    let mut fuzz = Command::new(program);
    fuzz.env("BULKRATE_FUZZ_TARGET", name).env("RUST_BACKTRACE", "0");
    fuzz.args([
        limit,
        INPUT_BYTES,
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-verbosity=1",
    ]);
    fuzz.arg(format!("-seed={seed}")).arg(format!("-artifact_prefix={}/", found.display()));
    fuzz.arg(&corpus).args(kept);
    println!("\n=== {name}\n$ BULKRATE_FUZZ_TARGET={name} {}", typed(&fuzz));
    let mut child =
        fuzz.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("could not start the fuzzer")?;
    let (mut runs, mut tail) = (None, std::collections::VecDeque::new());
    for line in child.stderr.take().into_iter().flat_map(|pipe| BufReader::new(pipe).split(b'\n')) {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            runs = count.trim().parse().ok();
        }
        tail.push_back(line);
        if tail.len() > 60 {
            tail.pop_front();
        }
    }
    let status = child.wait()?;
    if !status.success() {
        let mut err = std::io::stderr().lock();
        for line in &tail {
            writeln!(err, "{line}")?;
        }
        bail!(
            "target `{name}` failed ({status}); the input lies in `{}`. Mend the cause and keep the input below \
             crates/bulkrate-fuzz/regressions/{name}/, where every test run tries it",
            found.display()
        );
    }
    runs.context("libFuzzer did not say how often it ran")
}
