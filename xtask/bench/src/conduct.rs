//! Runs the rows that were asked for and prints what they measured.

use crate::rows;
use crate::table::{Line, markdown};
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Rows, separated by commas; all of them unless given.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// List the rows and end.
    #[arg(long)]
    list: bool,
    /// Items of the rows `sync`, `latency` (200,000) and `batch` (50,000) instead of their own number.
    #[arg(long)]
    items: Option<u64>,
    /// Bytes of each item's text.
    #[arg(long, default_value_t = 500)]
    bytes: usize,
    /// 10 million items in `memory` and `resume` instead of 1 million; needs some 30 GB of disk and half an hour.
    #[arg(long)]
    big: bool,
    /// One JSON document instead of the table.
    #[arg(long)]
    json: bool,
    /// The product's binary; `cargo xtask bench` builds and names it.
    #[arg(long, env = "BULKRATE_BENCH_BIN", default_value = "target/release/bulkrate")]
    bin: PathBuf,
    /// Folder for inputs, state and outputs.
    #[arg(long, env = "BULKRATE_BENCH_DIR", default_value = "target/bench")]
    dir: PathBuf,
}

/// What every row needs to know.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) bin: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) items: Option<u64>,
    pub(crate) bytes: usize,
    pub(crate) big: bool,
}

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    if args.list {
        for row in rows::ALL {
            println!("{:<9} {}", row.name, row.about);
        }
        return Ok(());
    }
    let find = |name: &String| {
        let names = || rows::ALL.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
        rows::ALL
            .iter()
            .find(|row| row.name == name)
            .with_context(|| format!("`{name}` is not a row; there are {}", names()))
    };
    let chosen: Vec<&rows::Row> = if args.rows.is_empty() {
        rows::ALL.iter().collect()
    } else {
        args.rows.iter().map(find).collect::<Result<_>>()?
    };
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("could not create `{}`", args.dir.display()))?;
    let setup = Setup {
        bin: args.bin.clone(),
        dir: args.dir.clone(),
        items: args.items,
        bytes: args.bytes,
        big: args.big,
    };
    if chosen.iter().any(|row| row.name != "bare") && !setup.bin.is_file() {
        bail!("no binary at `{}`; `cargo xtask bench` builds it", setup.bin.display());
    }
    let (mut lines, mut failed) = (Vec::<Line>::new(), Vec::new());
    for row in chosen {
        eprintln!("{}: {}", row.name, row.about);
        match (row.measure)(&setup) {
            Ok(measured) => lines.extend(measured),
            Err(error) => failed.push((row.name, format!("{error:#}"))),
        }
    }
    if args.json {
        let failed: serde_json::Map<_, _> =
            failed.iter().map(|(name, error)| ((*name).to_owned(), error.clone().into())).collect();
        println!("{}", serde_json::json!({ "machine": machine(), "lines": lines, "failed": failed }));
    } else {
        println!("\n{}\n\n{}", machine(), markdown(&lines));
        failed.iter().for_each(|(name, error)| println!("{name}: could not be measured: {error}"));
    }
    let missed = lines.iter().filter(|line| !line.passed()).count();
    if missed + failed.len() > 0 {
        bail!("{missed} figures miss their bar, {} rows could not be measured", failed.len());
    }
    Ok(())
}

/// Processor, cores and load, as far as the system says.
fn machine() -> String {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = file("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = file("/proc/loadavg");
    format!("{model}, {cores} cores, load {}", load.split(' ').next().unwrap_or("unknown"))
}
