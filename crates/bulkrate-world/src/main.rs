//! `bulkrate-world`: lives seeds, and says of a failing one how to live it again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bulkrate_core::planted::Bug;
use bulkrate_world::{Hurry, Lived, Plan, live, live_as};

const USAGE: &str = "\
bulkrate-world [--seeds N] [--from SEED] [--threads N]   live N seeds; the first that fails is named
bulkrate-world --seed S                                  live one seed and print all that happens
bulkrate-world --deadlines [--seeds N] [--seed S]        jobs with a deadline, whose batches are late, stuck or expire
bulkrate-world --planted [--seeds N] [--bug P4]          each planted bug must be caught within N seeds
bulkrate-world ... --at together                         of these seeds those alone that are lived at this provider
";

struct Options {
    seeds: u64,
    from: u64,
    seed: Option<u64>,
    planted: bool,
    deadlines: bool,
    bug: Option<String>,
    at: Option<String>,
    threads: usize,
    twice: bool,
}

impl Options {
    /// Whether a seed is one of those that are asked for, and can show the bug.
    fn lives(&self, seed: u64, bug: Option<Bug>, scratch: &std::path::Path) -> bool {
        if self.at.is_none() && !bug.is_some_and(Bug::is_of_inputs) {
            return true;
        }
        let plan = Plan::of(seed, scratch);
        self.at.as_deref().is_none_or(|at| at == plan.provider()) && bug.is_none_or(|bug| plan.can_show(bug))
    }
}

fn options() -> Result<Options, String> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut options = Options {
        seeds: 10_000,
        from: 0,
        seed: None,
        planted: false,
        deadlines: false,
        bug: None,
        at: None,
        threads: cores,
        twice: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || {
            let text = args.next().ok_or_else(|| format!("`{arg}` needs a number"))?;
            text.parse::<u64>().map_err(|_| format!("`{text}` is no number"))
        };
        match arg.as_str() {
            "--seeds" => options.seeds = number()?,
            "--from" => options.from = number()?,
            "--seed" => options.seed = Some(number()?),
            "--threads" => options.threads = usize::try_from(number()?).unwrap_or(1),
            "--planted" => options.planted = true,
            "--deadlines" => options.deadlines = true,
            "--twice" => options.twice = true,
            "--bug" => options.bug = args.next(),
            "--at" => options.at = args.next(),
            other => return Err(format!("`{other}` is not an option\n\n{USAGE}")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(2);
        }
    };
    // A process that breaks is reported with its seed; its own message would only be in the way.
    std::panic::set_hook(Box::new(|_| {}));
    let scratch = match scratch() {
        Ok(scratch) => scratch,
        Err(error) => {
            eprintln!("error: no scratch folder: {error}");
            return ExitCode::from(2);
        }
    };
    let good = match options.seed {
        Some(seed) => replay(seed, &options, scratch.path()),
        None if options.planted => planted(&options, scratch.path()),
        None if options.deadlines => deadlines(&options, scratch.path()),
        None => {
            let run = many(&options, None, scratch.path());
            println!("{}", run.summary());
            if let Some(failed) = &run.failed {
                tell(failed, None);
            }
            run.failed.is_none()
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// In memory where the system has a place for that: files are written and thrown away by the thousand.
fn scratch() -> std::io::Result<tempfile::TempDir> {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir()
        && let Ok(dir) = tempfile::Builder::new().prefix("bulkrate-world").tempdir_in(memory)
    {
        return Ok(dir);
    }
    tempfile::tempdir()
}

/// Sums over many seeds.
#[derive(Default)]
struct Run {
    seeds: u64,
    by_provider: BTreeMap<&'static str, u64>,
    simulated_ms: u64,
    processes: u64,
    crashes: u64,
    commits: u64,
    requests: u64,
    batches: u64,
    bundles: u64,
    copies: u64,
    twins: u64,
    reruns: u64,
    restored: u64,
    stood_in: u64,
    moved: u64,
    back: u64,
    seconds: f64,
    failed: Option<Lived>,
}

impl Run {
    fn summary(&self) -> String {
        let by_provider: Vec<String> =
            self.by_provider.iter().map(|(name, seeds)| format!("{name} {seeds}")).collect();
        format!(
            "world: {} seeds ({}), {} simulated hours, {} processes, {} crashes, {} commits, {} requests, {} batches, {} bundles, {} copies of slow calls, {} creates delivered twice, {} batches that others made of our input, {} backups restored, {} requests answered by stand-ins, {} times left and {} times taken back, in {:.1} s: {}",
            self.seeds,
            by_provider.join(", "),
            self.simulated_ms / 3_600_000,
            self.processes,
            self.crashes,
            self.commits,
            self.requests,
            self.batches,
            self.bundles,
            self.copies,
            self.twins,
            self.reruns,
            self.restored,
            self.stood_in,
            self.moved,
            self.back,
            self.seconds,
            if self.failed.is_none() { "no violation" } else { "A VIOLATION" },
        )
    }
}

/// Lives seeds on all threads until one fails or all are done.
fn many(options: &Options, bug: Option<Bug>, scratch: &std::path::Path) -> Run {
    let started = Instant::now();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let run = Mutex::new(Run::default());
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                plant(bug);
                while !stop.load(Ordering::Relaxed) {
                    let no = next.fetch_add(1, Ordering::Relaxed);
                    if no >= options.seeds {
                        break;
                    }
                    let seed = options.from + no;
                    if !options.lives(seed, bug, scratch) {
                        continue;
                    }
                    let lived = once(seed, scratch, options.twice);
                    let Ok(mut run) = run.lock() else { break };
                    run.seeds += 1;
                    *run.by_provider.entry(lived.provider).or_default() += 1;
                    run.simulated_ms += lived.simulated_ms;
                    run.processes += lived.processes;
                    run.crashes += lived.crashes;
                    run.commits += lived.commits;
                    run.requests += lived.requests;
                    run.batches += lived.batches;
                    run.bundles += lived.bundles;
                    run.copies += lived.copies;
                    run.twins += lived.twins;
                    run.reruns += lived.reruns;
                    run.restored += lived.restored;
                    run.stood_in += lived.stood_in;
                    run.moved += lived.moved;
                    run.back += lived.back;
                    if !lived.violations.is_empty() {
                        stop.store(true, Ordering::Relaxed);
                        let first = run.failed.as_ref().is_none_or(|failed| lived.seed < failed.seed);
                        if first {
                            run.failed = Some(lived);
                        }
                    }
                }
            });
        }
    });
    let mut run = run.into_inner().unwrap_or_default();
    run.seconds = started.elapsed().as_secs_f64();
    run
}

/// Each job that can meet its deadline must, and call for hardly more items than it must.
fn deadlines(options: &Options, scratch: &std::path::Path) -> bool {
    let (mut hurry, mut good) = (Hurry::default(), true);
    for seed in options.from..options.from + options.seeds {
        match live_as(Plan::hurried, seed, scratch, false) {
            Ok(lived) if lived.violations.is_empty() => hurry.note(&lived),
            Ok(lived) => {
                tell(&lived, None);
                good = false;
            }
            Err(why) => {
                eprintln!("error: {why}");
                good = false;
            }
        }
    }
    print!("{hurry}");
    good && hurry.is_good()
}

fn once(seed: u64, scratch: &std::path::Path, twice: bool) -> Lived {
    let broken = |what: String| Lived {
        seed,
        violations: vec![bulkrate_world::Violation { invariant: "I19", what }],
        ..Lived::default()
    };
    let lived = live(seed, scratch, false).unwrap_or_else(broken);
    if twice && lived.violations.is_empty() {
        let again = live(seed, scratch, false).unwrap_or_else(broken);
        if again.hash != lived.hash {
            let what = format!("the same seed left two traces: {:x} and {:x}", lived.hash, again.hash);
            return Lived { violations: vec![bulkrate_world::Violation { invariant: "I18", what }], ..lived };
        }
    }
    lived
}

fn tell(lived: &Lived, bug: Option<Bug>) {
    println!("seed {} breaks a promise:", lived.seed);
    for violation in &lived.violations {
        println!("  {violation}");
    }
    let planted = bug.map_or(String::new(), |bug| format!(" --planted --bug {}", bug.name()));
    println!("replay: cargo xtask world --seed {}{planted}", lived.seed);
}

fn replay(seed: u64, options: &Options, scratch: &std::path::Path) -> bool {
    let bug = options.bug.as_deref().and_then(|name| Bug::ALL.into_iter().find(|bug| bug.name() == name));
    plant(bug);
    let plan = if options.deadlines { Plan::hurried } else { Plan::of };
    match live_as(plan, seed, scratch, true) {
        Ok(lived) => {
            for line in &lived.trace {
                println!("{line}");
            }
            println!("trace hash {:016x}", lived.hash);
            if options.deadlines {
                println!("late: {}, called {}, needed {}", lived.late, lived.called, lived.called_least);
            }
            if lived.violations.is_empty() {
                println!("seed {seed}: no violation, {} simulated hours", lived.simulated_ms / 3_600_000);
            } else {
                tell(&lived, bug);
            }
            lived.violations.is_empty()
        }
        Err(why) => {
            eprintln!("error: {why}");
            false
        }
    }
}

#[cfg(feature = "planted-bugs")]
fn plant(bug: Option<Bug>) {
    bulkrate_core::planted::plant(bug);
}

#[cfg(not(feature = "planted-bugs"))]
fn plant(_bug: Option<Bug>) {}

/// Every planted bug must be caught; a build without them proves nothing.
fn planted(options: &Options, scratch: &std::path::Path) -> bool {
    if !cfg!(feature = "planted-bugs") {
        eprintln!("error: this build has no planted bugs; `cargo xtask world --planted` makes one that has");
        return false;
    }
    let mut all = true;
    for bug in Bug::ALL {
        if options.bug.as_ref().is_some_and(|only| *only != bug.name()) {
            continue;
        }
        let run = many(options, Some(bug), scratch);
        match &run.failed {
            Some(failed) => println!(
                "{} {bug:?}: caught by seed {} after {} seeds and {:.1} s: {}",
                bug.name(),
                failed.seed,
                run.seeds,
                run.seconds,
                failed.violations.first().map_or(String::new(), ToString::to_string)
            ),
            None => {
                all = false;
                println!("{} {bug:?}: NOT CAUGHT in {} seeds", bug.name(), run.seeds);
            }
        }
    }
    all
}
