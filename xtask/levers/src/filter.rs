//! Gates B1 and B2: how much a classifier may answer by itself, and whether what it answers is as right as promised.

use crate::data::{self, Text, real};
use crate::gates::{Bar, Gates};
use anyhow::Result;
use bulkrate_core::filter::{Classifier, Confidence, Scratch, certify};
use bulkrate_core::pace::rng::mix;
use bulkrate_core::route::learned::fingerprint;
use std::path::Path;

const SEEDS: [u64; 2] = [1, 2];
const PROOF: usize = 1_000;
const ERROR_MAX: f64 = 0.02;
/// Resampled jobs.
const TRIALS: u64 = 200;

/// A data set, labels that teach, and the share that was measured elsewhere; `None`: shown alone.
const SETS: [(&str, &str, usize, Option<f64>); 4] = [
    ("sms_spam", "SMS spam, 1,000 labels", 1_000, Some(0.92)),
    ("snips_extract", "SNIPS intents, 500 labels", 500, Some(0.91)),
    ("banking77", "banking, 77 intents, 3,000 labels", 3_000, None),
    ("cfpb_complaints", "complaints, 11 products, 1,500 labels", 1_500, None),
];

/// A row as the classifier sees it: how sure, and whether it was right.
type Judged = (Confidence, bool);

pub(crate) fn measure(root: &Path, gates: &mut Gates) -> Result<()> {
    for (name, what, taught, want) in SETS {
        let rows = data::texts(root, name)?;
        println!("{} rows of {name}", rows.len());
        let judged: Vec<Vec<Judged>> = SEEDS.iter().map(|seed| judged(&rows, taught, *seed)).collect();
        let found: Vec<(f64, f64)> =
            judged.iter().map(|rows| outcome(&rows[..PROOF], &rows[PROOF..])).collect();
        let mean = |of: fn(&(f64, f64)) -> f64| found.iter().map(of).sum::<f64>() / real(found.len());
        let (share, error) = (mean(|(share, _)| *share), mean(|(_, error)| *error));
        let bar = want.map_or(Bar::Shown, |want| Bar::AtLeast(want - 0.08));
        gates.add("B1", format!("{what}, error of 2 %: share answered without the model"), share, bar);
        let bar = want.map_or(Bar::Shown, |_| Bar::AtMost(ERROR_MAX));
        gates.add("B1", "the same: wrong among those", error, bar);
        if want.is_some() {
            let broken = (0..TRIALS).filter(|trial| breaks(&judged[0], *trial)).count();
            let share = real(broken) / real(usize::try_from(TRIALS)?);
            gates.add(
                "B2",
                format!("{what}: share of {TRIALS} jobs that break it"),
                share,
                Bar::AtMost(0.08),
            );
        }
    }
    Ok(())
}

/// All rows but those that taught, in the order of the seed.
fn judged(rows: &[Text], taught: usize, seed: u64) -> Vec<Judged> {
    let mut order: Vec<&Text> = rows.iter().collect();
    order.sort_by_key(|row| mix(fingerprint(&row.text) ^ mix(seed)));
    let (teach, rest) = order.split_at(taught.min(order.len()));
    let pairs: Vec<(&str, &str)> = teach.iter().map(|row| (row.text.as_str(), row.label.as_str())).collect();
    let (classifier, mut scratch) = (Classifier::fit(&pairs, &mut |_, _| ()), Scratch::default());
    let judge = |row: &&Text| {
        let (answer, confidence) = classifier.classify(&row.text, &mut scratch);
        (confidence, answer == row.label)
    };
    rest.iter().map(judge).collect()
}

/// Share of the unseen rows that is answered, and how many of those wrongly.
fn outcome(prove: &[Judged], unseen: &[Judged]) -> (f64, f64) {
    let Some(cut) = certify(prove, ERROR_MAX) else { return (0.0, 0.0) };
    let answered: Vec<&Judged> =
        unseen.iter().filter(|(confidence, _)| *confidence >= cut.confidence).collect();
    let wrong = answered.iter().filter(|(_, right)| !right).count();
    (real(answered.len()) / real(unseen.len().max(1)), real(wrong) / real(answered.len().max(1)))
}

/// Whether a job that proves with other rows answers more of the rest wrongly than it promised.
fn breaks(rows: &[Judged], trial: u64) -> bool {
    let mut order: Vec<(u64, Judged)> =
        (0_u64..).zip(rows).map(|(at, row)| (mix(at ^ mix(trial ^ 0xB2)), *row)).collect();
    order.sort_unstable_by_key(|(key, _)| *key);
    let rows: Vec<Judged> = order.into_iter().map(|(_, row)| row).collect();
    outcome(&rows[..PROOF], &rows[PROOF..]).1 > ERROR_MAX
}
