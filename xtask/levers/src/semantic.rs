//! Gate C3: whether the semantic cache keeps its promise on questions that look alike and are not, in whatever order they come and
//! however sure the model is, and what it saves there.

use crate::data::{self, Text, real};
use crate::gates::{Bar, Gates};
use anyhow::Result;
use bulkrate_core::cascade::Opinion;
use bulkrate_core::collect::Checked;
use bulkrate_core::pace::rng::{mix, unit};
use bulkrate_core::route::learned::fingerprint;
use bulkrate_core::semantic::{Answers, Rarity, SAMPLE, coin};
use std::path::Path;

const SEEDS: u64 = 10;
const ERRORS_MAX: [f64; 2] = [0.02, 0.05];
/// A data set, and the least share of it that is served at each of the errors, in any order.
const SETS: [(&str, &str, [f64; 2]); 2] =
    [("banking77", "banking, 77 intents", [0.05, 0.08]), ("snips_extract", "SNIPS intents", [0.12, 0.18])];

/// In which order rows come, and how sure the model is of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Shuffled,
    /// As tables often are: one kind after the other.
    ByLabel,
    ByText,
    /// Each tenth answer is another one, so that no curve rises to certainty.
    Unsure,
}

const STREAMS: [(Stream, &str); 4] = [
    (Stream::Shuffled, "any order"),
    (Stream::ByLabel, "sorted by label"),
    (Stream::ByText, "sorted by text"),
    (Stream::Unsure, "a model that errs one time in ten"),
];

pub(crate) fn measure(root: &Path, gates: &mut Gates) -> Result<()> {
    for (name, what, served_min) in SETS {
        let rows = data::texts(root, name)?;
        println!("{} rows of {name}", rows.len());
        for (error_max, served_min) in ERRORS_MAX.into_iter().zip(served_min) {
            for (stream, order) in STREAMS {
                let jobs: Vec<(f64, f64)> =
                    (1..=SEEDS).map(|seed| job(&rows, error_max, stream, seed)).collect::<Result<_>>()?;
                let mean = jobs.iter().map(|(served, _)| *served).sum::<f64>() / real(jobs.len());
                let worst = jobs.iter().map(|(_, wrong)| *wrong).fold(0.0, f64::max);
                let percent = error_max * 100.0;
                let bar = if stream == Stream::Shuffled { Bar::AtLeast(served_min) } else { Bar::Shown };
                gates.add(
                    "C3",
                    format!("{what}, {order}, {percent} % may be wrong: share served, mean of {SEEDS} jobs"),
                    mean,
                    bar,
                );
                // A model that is sure, in an order that is not against it, is far below what is allowed.
                let most = if stream == Stream::Shuffled { error_max * 0.4 } else { error_max };
                gates.add("C3", "the same: wrong, of all, the highest", worst, Bar::AtMost(most));
            }
        }
    }
    Ok(())
}

/// Share of the rows that is served, and share that is served wrongly, one after the other.
fn job(rows: &[Text], error_max: f64, stream: Stream, seed: u64) -> Result<(f64, f64)> {
    let chance = |row: &Text| mix(fingerprint(&row.text) ^ mix(seed ^ 0xC3));
    let mut order: Vec<&Text> = rows.iter().collect();
    match stream {
        Stream::Shuffled | Stream::Unsure => order.sort_by_key(|row| chance(row)),
        Stream::ByLabel => order.sort_by_key(|row| (row.label.as_str(), chance(row))),
        Stream::ByText => order.sort_by_key(|row| row.text.to_lowercase()),
    }
    let said = |row: &Text| {
        let errs = stream == Stream::Unsure && unit(mix(chance(row) ^ 1)) < 0.1;
        if errs { format!("not {}", row.label) } else { row.label.clone() }
    };
    let mut rarity = Rarity::default();
    order.iter().take(SAMPLE).for_each(|row| rarity.learn(&row.text));
    let mut answers = Answers::new(error_max, rarity);
    let (mut kept, mut served, mut wrong): (Vec<String>, usize, usize) = (Vec::new(), 0, 0);
    let id = format!("job {seed}");
    for (item, row) in (0_u64..).zip(&order) {
        let said = said(row);
        let opinion = Opinion::of(&Checked::Choice(&said), &[]);
        answers.ended();
        let Some(prompt) = answers.prompt(0, &row.text) else { continue };
        let near = answers.near(&prompt);
        let tau = near.map_or(1.0, |near| answers.tau(near));
        if let Some(near) = near.filter(|_| coin(&id, item) >= tau) {
            served += 1;
            wrong += usize::from(kept[usize::try_from(near.entry)?] != said);
            continue;
        }
        if let Some(near) = near.filter(|_| tau < 1.0) {
            let chance = answers.ask(near, tau);
            answers.judge(chance, Some(opinion));
        }
        if answers.learn(&prompt, opinion, said.len()).kept.is_some() {
            kept.push(said);
        }
    }
    Ok((real(served) / real(order.len()), real(wrong) / real(order.len())))
}
