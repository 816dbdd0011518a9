//! Measures the cost levers on public data and compares each figure with its bar. A figure that misses makes it fail.

mod bundle;
mod cascade;
mod data;
mod dedup;
mod estimate;
mod filter;
mod gates;
mod mistakes;
mod order;
mod routing;
mod routing_several;
mod semantic;

use anyhow::{Context as _, Result, bail};
use gates::Gates;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What measures figures of one lever.
type Measure = fn(&Path, &mut Gates) -> Result<()>;

/// In the order of the table. Names behind the command measure those alone.
const MEASURES: [(&str, Measure); 9] = [
    ("dedup", dedup::measure),
    ("semantic", semantic::measure),
    ("filter", filter::measure),
    ("cascade", cascade::measure),
    ("estimate", estimate::measure),
    ("bundle", bundle::measure),
    ("mistakes", mistakes::measure),
    ("order", order::measure),
    ("routing", |root, gates| routing::measure(&data::routing(root)?, gates)),
];

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
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| !MEASURES.iter().any(|(known, _)| known == name)) {
        let known: Vec<&str> = MEASURES.iter().map(|(name, _)| *name).collect();
        bail!("nothing is called `{unknown}`; there are {}", known.join(", "));
    }
    let mut gates = Gates::default();
    for (name, measure) in MEASURES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            measure(&root, &mut gates)?;
        }
    }
    println!("{}", gates.table());
    if gates.excused() > 0 {
        println!("{} figures miss a bar that nothing could reach there", gates.excused());
    }
    let missed = gates.missed();
    if missed > 0 {
        bail!("{missed} figures miss their bar");
    }
    Ok(())
}
