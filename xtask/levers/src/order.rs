//! Gates D1 and D2: the order of fields, and what a prompt cache is worth.

use crate::data::unpacked;
use crate::gates::{Bar, Gates};
use anyhow::{Result, ensure};
use bulkrate_core::order::{Factor, FieldTable, HIT_RATES};
use std::path::Path;
use std::time::Instant;

/// Published: complaints to the US consumer bureau, reviews of clothes; the least share that the greedy order must reach.
const TABLES: [(&str, &str, f64); 2] = [
    ("cfpb_table.csv.gz", "complaints, 8,340 x 14", 0.60),
    ("clothing_reviews_1000.csv.gz", "reviews, 1,000 x 10", 0.25),
];

pub(crate) fn measure(root: &Path, gates: &mut Gates) -> Result<()> {
    for (name, what, bar) in TABLES {
        let table = read(&root.join("jobs").join(name))?;
        println!("{} rows of {name}", table.rows());
        let started = Instant::now();
        let best = table.greedy(&mut |_| ());
        let took = started.elapsed().as_secs_f64();
        let by_place: Vec<usize> = (0..best.columns.len()).collect();
        gates.add(
            "D1",
            format!("{what}: shared with the row before, as it is"),
            table.as_is().share(),
            Bar::Shown,
        );
        gates.add("D1", format!("{what}: rows sorted"), table.sorted(&by_place).share(), Bar::Shown);
        gates.add(
            "D1",
            format!("{what}: greedy order of columns, rows sorted"),
            best.share(),
            Bar::AtLeast(bar),
        );
        gates.add("D1", format!("{what}: seconds"), took, Bar::AtMost(2.0));
    }
    factors(gates)
}

/// A pure prefix at a short and at a one-hour write: what is told, and whether caching is picked.
fn factors(gates: &mut Gates) -> Result<()> {
    for (what, write, picked) in [("short write (1.25)", 1.25, true), ("one-hour write (2.0)", 2.0, false)] {
        let factor = Factor { read: 0.1, write };
        for hits in HIT_RATES {
            let cost = factor.cost(1.0, hits);
            gates.add("D2", format!("{what}: f at a hit rate of {hits}"), cost, Bar::Shown);
        }
        gates.add("D2", format!("{what}: hit rate from which it saves"), factor.break_even(), Bar::Shown);
        ensure!(factor.pays(1.0) == (factor.cost(1.0, HIT_RATES[1]) < 1.0), "a verdict is that of its f");
        let wrong = f64::from(u8::from(factor.pays(1.0) != picked));
        gates.add(
            "D2",
            format!("{what}: picked where f >= 1, or left where it is less"),
            wrong,
            Bar::AtMost(0.0),
        );
    }
    Ok(())
}

fn read(path: &Path) -> Result<FieldTable> {
    let mut reader = csv::Reader::from_reader(unpacked(path)?);
    let mut table = FieldTable::named(reader.headers()?);
    for row in reader.records() {
        table.push(row?.iter());
    }
    Ok(table)
}
