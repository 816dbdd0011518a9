//! Worlds: seeds lived with the real engine under simulated faults, and planted bugs that they must catch.

use crate::args::Args;
use crate::shell::{cargo, run as sh, trial};
use anyhow::Result;
use std::process::Command;

/// Optimised: a debug build lives a tenth of the seeds.
const PROGRAM: &str = "bulkrate-world";
/// Seeds of one push.
const SEEDS: &str = "10000";

pub(crate) fn run(args: Args) -> Result<()> {
    let mut world = Command::new(trial(PROGRAM)?);
    world.args(args.rest());
    sh(world)
}

/// What every push lives through; each seed twice in the first five hundred, which must leave the same trace. Before that, the
/// search through every interleaving must find the bugs that are planted in the protocol.
pub(crate) fn ci() -> Result<()> {
    sh(cargo("test --package bulkrate-core --features planted-bugs --lib planted_bugs_of_the_protocol"))?;
    let world = trial(PROGRAM)?;
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
