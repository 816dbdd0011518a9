//! Builds and starts `bulkrate-levers` (xtask/levers), which measures the cost levers on the public data sets, and the program that it
//! runs some of them with.

use crate::args::Args;
use crate::shell::{cargo, root, run as start, target};
use anyhow::Result;
use std::process::Command;

pub(crate) fn run(args: Args) -> Result<()> {
    start(cargo("build --release --package bulkrate-levers --package bulkrate --bins"))?;
    let exe = target().join("release").join(format!("bulkrate-levers{}", std::env::consts::EXE_SUFFIX));
    let mut levers = Command::new(exe);
    levers.current_dir(root()).args(args.rest());
    start(levers)
}
