//! Worlds: seeds lived with the real engine under simulated faults, and planted bugs that they must catch.

use crate::args::Args;
use crate::shell::{cargo, on_ci, run as sh, target};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// Seeds of one push.
const SEEDS: &str = "10000";

pub(crate) fn run(args: Args) -> Result<()> {
    let mut world = Command::new(build()?);
    world.args(args.rest());
    sh(world)
}

/// What every push lives through; each seed twice in the first five hundred, which must leave the same trace. Before that, the
/// search through every interleaving must find the bugs that are planted in the protocol.
pub(crate) fn ci() -> Result<()> {
    sh(cargo("test --package bulkrate-core --features planted-bugs --lib planted_bugs_of_the_protocol"))?;
    let world = build()?;
    for args in [
        &["--seeds", "500", "--twice"][..],
        &["--seeds", SEEDS],
        &["--deadlines", "--seeds", "300"],
        &["--planted", "--seeds", SEEDS],
    ] {
        let mut command = Command::new(&world);
        command.args(args);
        sh(command)?;
    }
    Ok(())
}

/// Optimised: a debug build lives a tenth of the seeds. The planted bugs are compiled in, and asleep unless one is chosen.
fn build() -> Result<PathBuf> {
    let mut build = cargo("build --profile trial --package bulkrate-world --features planted-bugs");
    if on_ci() {
        build.arg("--locked");
    }
    sh(build)?;
    let path = target().join("trial").join(format!("bulkrate-world{}", std::env::consts::EXE_SUFFIX));
    if !path.is_file() {
        bail!("`cargo build` left no `{}`", path.display());
    }
    Ok(path)
}
