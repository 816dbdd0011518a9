//! Repository tasks: `cargo xtask <task>`. Run without a task for the list.

mod args;
mod shell;
mod tools;
mod tidy;
mod docs;
mod faults;
mod sim;
mod demo;
mod examples;
mod bench;
mod levers;
mod world;
mod kill9;
mod fuzz;
mod ci;

use args::Args;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <task>

  demo                    build bulkrate and run examples/tickets against the bundled simulator: no key, no cost
  ci [--only STEP]...     everything the build server checks; installs what it needs below target/
     [--skip STEP]... [--list]
  tidy                    rules that the compiler does not know: crate arrows, file sizes, error pages, paths
  docs [--check]          write (or compare) the generated pages of docs/reference/ and the fault table of
                          docs/reliability.md
  examples [NAME]...      run the jobs of examples/ against the simulator and check what they write
  world [--seeds N]       live N seeds of the simulated world (10,000 unless said); `--seed S` replays one with all that
     [--seed S]           happens, `--planted` proves that planted bugs are caught, `--twice` that a seed is one history
     [--planted]
  kill9 [--rounds N]      kill -9 and stop an optimised build at random moments against the simulator, N times (50 unless
     [--seed S]           said), and compare the bill with the ledger each time
  fuzz [--seconds N | --runs N]   libFuzzer over everything that reads foreign bytes, N seconds (10 unless said) or inputs each;
     [--target T] [--seed S]      needs a C++ compiler. `--list` names the targets
  bench [--rows a,b] ...  measure the table of docs/benchmarks.md; `bench --help` lists rows and options
  levers [NAME...]        measure the cost levers on the data sets below BULKRATE_TEST_DATA against the bars of docs/levers.md
  bench-server, bench-bare   the two halves of the bare loop, by themselves; `--help` lists their options
";

fn main() -> ExitCode {
    let mut args = Args::new(std::env::args().skip(1));
    let done = match args.word().as_deref() {
        Some("demo") => demo::run(args),
        Some("ci") => ci::run(args),
        Some("tidy") => args.finish().and_then(|()| tidy::run()),
        Some("docs") => docs::run(args),
        Some("examples") => examples::run(args),
        Some("world") => world::run(args),
        Some("kill9") => kill9::run(args),
        Some("fuzz") => fuzz::run(args),
        Some("bench") => bench::run("run", args),
        Some("levers") => levers::run(args),
        Some("bench-server") => bench::run("server", args),
        Some("bench-bare") => bench::run("bare", args),
        Some("help" | "--help" | "-h") | None => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprintln!("error: `{other}` is not a task\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
