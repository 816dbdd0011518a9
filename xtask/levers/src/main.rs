//! Measures the cost levers on public data and compares each figure with its bar. A figure that misses makes it fail.

mod bundle;
mod cascade;
mod data;
mod dedup;
mod estimate;
mod filter;
mod gates;
mod order;
mod routing;
mod routing_several;
mod semantic;

use anyhow::{Context as _, Result, bail};
use gates::Gates;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let root = std::env::var_os("BULKRATE_TEST_DATA").map(PathBuf::from);
    let root =
        root.context("BULKRATE_TEST_DATA does not name the folder of the data sets; nothing was measured")?;
    let mut gates = Gates::default();
    dedup::measure(&root, &mut gates)?;
    semantic::measure(&root, &mut gates)?;
    filter::measure(&root, &mut gates)?;
    cascade::measure(&root, &mut gates)?;
    estimate::measure(&root, &mut gates)?;
    bundle::measure(&root, &mut gates)?;
    order::measure(&root, &mut gates)?;
    routing::measure(&data::routing(&root)?, &mut gates)?;
    println!("{}", gates.table());
    let missed = gates.missed();
    if missed > 0 {
        bail!("{missed} figures miss their bar");
    }
    Ok(())
}
