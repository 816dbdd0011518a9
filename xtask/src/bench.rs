//! Hands over to `bulkrate-bench` (xtask/bench), which needs a runtime and an HTTP stack that the other tasks do not.

use crate::args::Args;
use crate::shell::{cargo, output, root, target, typed};
use anyhow::{Context as _, Result, bail};
use std::process::Command;

/// Builds it (and for whole rows the product) in the release profile and runs one of its commands.
pub(crate) fn run(task: &str, args: Args) -> Result<()> {
    let args = args.rest();
    let alone =
        ["--help", "-h", "--list", "--rows=bare"].iter().any(|word| args.iter().any(|arg| arg == word));
    let rows = task == "run" && !alone && !args.windows(2).any(|two| two == ["--rows", "bare"]);
    let mut build = cargo("build --release --package bulkrate-bench");
    if rows {
        build.args(["--package", "bulkrate"]);
    }
    eprintln!("$ {}", typed(&build));
    output(build)?;
    let exe = |name: &str| target().join("release").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let mut bench = Command::new(exe("bulkrate-bench"));
    bench.current_dir(root()).arg(task).args(args);
    bench.env("BULKRATE_BENCH_BIN", exe("bulkrate")).env("BULKRATE_BENCH_DIR", target().join("bench"));
    let status = bench.status().with_context(|| format!("could not start `{}`", typed(&bench)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", typed(&bench));
    }
    Ok(())
}
