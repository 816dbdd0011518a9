//! Gate C3: whether the semantic cache keeps its promise on questions that look alike and are not, and what it saves there.

use crate::data::{self, Text, real};
use crate::gates::{Bar, Gates};
use anyhow::Result;
use bulkrate_core::cascade::Opinion;
use bulkrate_core::collect::Checked;
use bulkrate_core::pace::rng::mix;
use bulkrate_core::route::learned::fingerprint;
use bulkrate_core::semantic::{Answers, Rarity, SAMPLE, coin};
use std::path::Path;

const SEEDS: u64 = 10;
const ERRORS_MAX: [f64; 2] = [0.02, 0.05];
/// A data set, and whether its errors have a bar.
const SETS: [(&str, &str, bool); 2] =
    [("banking77", "banking, 77 intents", true), ("snips_extract", "SNIPS intents", false)];

pub(crate) fn measure(root: &Path, gates: &mut Gates) -> Result<()> {
    for (name, what, has_bar) in SETS {
        let rows = data::texts(root, name)?;
        println!("{} rows of {name}", rows.len());
        for error_max in ERRORS_MAX {
            let jobs: Vec<(f64, f64)> =
                (1..=SEEDS).map(|seed| job(&rows, error_max, seed)).collect::<Result<_>>()?;
            let percent = error_max * 100.0;
            let served = jobs.iter().map(|(served, _)| *served).sum::<f64>() / real(jobs.len());
            let worst = jobs.iter().map(|(_, wrong)| *wrong).fold(0.0, f64::max);
            gates.add(
                "C3",
                format!("{what}, {percent} % may be wrong: share served, mean of {SEEDS} orders"),
                served,
                Bar::Shown,
            );
            let bar = if has_bar { Bar::AtMost(error_max) } else { Bar::Shown };
            gates.add("C3", "the same: wrong, of all, the highest", worst, bar);
        }
    }
    Ok(())
}

/// Share of the rows that is served, and share that is served wrongly, one after the other in the order of the seed.
fn job(rows: &[Text], error_max: f64, seed: u64) -> Result<(f64, f64)> {
    let mut order: Vec<&Text> = rows.iter().collect();
    order.sort_by_key(|row| mix(fingerprint(&row.text) ^ mix(seed ^ 0xC3)));
    let mut rarity = Rarity::default();
    order.iter().take(SAMPLE).for_each(|row| rarity.learn(&row.text));
    let mut answers = Answers::new(error_max, rarity);
    let (mut kept, mut served, mut wrong): (Vec<&str>, usize, usize) = (Vec::new(), 0, 0);
    let id = format!("job {seed}");
    for (item, row) in (0_u64..).zip(&order) {
        let Some(prompt) = answers.prompt(0, &row.text) else { continue };
        let near = answers.near(&prompt);
        match near.filter(|near| coin(&id, item) >= answers.tau(*near)) {
            Some(near) => {
                served += 1;
                wrong += usize::from(kept[usize::try_from(near.entry)?] != row.label);
            }
            None => {
                let said = Opinion::of(&Checked::Choice(&row.label), &[]);
                if answers.learn(&prompt, said, row.label.len()).kept.is_some() {
                    kept.push(&row.label);
                }
            }
        }
    }
    Ok((real(served) / real(order.len()), real(wrong) / real(order.len())))
}
