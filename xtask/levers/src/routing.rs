//! Gates A1 to A5: the learned router on MMLU and GSM8K, Mixtral-8x7B against GPT-4.

use crate::data::{Routing, Row, real};
use crate::gates::{Bar, Gates};
use anyhow::{Context as _, Result};
use bulkrate_core::pace::rng::{SplitMix64, mix};
use bulkrate_core::route::learned::metrics::{Qualities, Worth, by_category, by_length, gains, worth};
use bulkrate_core::route::learned::threshold::{Cut, calibrate, naive};
use bulkrate_core::route::learned::{
    Few, Labelled, Model, PinReason, Router, Score, Scratch, TrainOptions, Verdict, fingerprint,
};
use std::time::Instant;

const SEEDS: [u64; 3] = [1, 2, 3];
const FOLDS: u64 = 5;
const FEW: usize = 1_500;

pub(crate) fn measure(data: &Routing, gates: &mut Gates) -> Result<()> {
    let (mmlu, gsm8k) = (labelled(&data.mmlu), labelled(&data.gsm8k));
    println!("{} prompts of MMLU, {} of GSM8K", mmlu.len(), gsm8k.len());
    let crossed = each_seed(|seed| worth(&crossed(&mmlu, seed), &gained(&mmlu), seed))?;
    reach(gates, "MMLU, five-fold", &crossed, 0.66);
    reach(gates, "MMLU, 1,500 labels", &each_seed(|seed| from_few(&mmlu, seed))?, 0.61);
    let other = each_seed(|seed| worth(&self::crossed(&gsm8k, seed), &gained(&gsm8k), seed))?;
    reach(gates, "GSM8K, five-fold", &other, 0.59);
    speed("A1", "", &mmlu, gates);
    let length =
        worth(&by_length(mmlu.iter().map(|item| item.text)), &gained(&mmlu), 1).context("MMLU has no gap")?;
    gates.add("A2", "MMLU: APGR of prompt length alone", length.apgr, Bar::Shown);
    gates.add("A2", "MMLU, five-fold: APGR above it", lowest(&crossed) - length.apgr, Bar::AtLeast(0.05));
    let groups: Vec<String> = data.mmlu.iter().map(|row| row.group.clone()).collect();
    let bound = worth(&by_category(&groups, &gained(&mmlu)), &gained(&mmlu), 1).context("no gap")?;
    gates.add(
        "A2",
        "MMLU: APGR of the subject's mean, which nobody knows beforehand",
        bound.apgr,
        Bar::Shown,
    );
    promises(&mmlu, gates);
    switch(&mmlu, gates);
    repeatable(&mmlu, gates)?;
    crate::routing_several::measure(&mmlu, gates)
}

fn labelled(rows: &[Row]) -> Vec<Labelled<'_>> {
    rows.iter().map(Row::labelled).collect()
}

pub(crate) fn qualities(items: &[Labelled<'_>]) -> Vec<Qualities> {
    items.iter().map(|item| item.qualities).collect()
}

/// What the strong model gains on each.
fn gained(items: &[Labelled<'_>]) -> Vec<f64> {
    gains(&qualities(items), 0)
}

fn each_seed(measure: impl Fn(u64) -> Option<Worth>) -> Result<Vec<Worth>> {
    SEEDS
        .into_iter()
        .map(|seed| measure(seed).context("the strong model is not better on these rows"))
        .collect()
}

fn lowest(worths: &[Worth]) -> f64 {
    worths.iter().map(|worth| worth.apgr).fold(f64::INFINITY, f64::min)
}

fn reach(gates: &mut Gates, what: &str, worths: &[Worth], bar: f64) {
    let highest = worths.iter().map(|worth| worth.apgr).fold(0.0, f64::max);
    let mean = |of: fn(&Worth) -> f64| worths.iter().map(of).sum::<f64>() / real(worths.len());
    gates.add("A1", format!("{what}: APGR, lowest of 3 seeds"), lowest(worths), Bar::AtLeast(bar));
    gates.add("A1", format!("{what}: spread over seeds"), highest - lowest(worths), Bar::AtMost(0.02));
    gates.add(
        "A1",
        format!("{what}: share at the strong model for half the gap"),
        mean(|worth| worth.cpt50),
        Bar::Shown,
    );
    gates.add("A1", format!("{what}: for four fifths"), mean(|worth| worth.cpt80), Bar::Shown);
}

/// Each item scored by a model that learnt from the other four fifths.
fn crossed(items: &[Labelled<'_>], seed: u64) -> Vec<Score> {
    let fold = |item: &Labelled<'_>| mix(fingerprint(item.text) ^ mix(seed)) % FOLDS;
    let (mut scores, mut scratch) = (vec![Score(0); items.len()], Scratch::default());
    for out in 0..FOLDS {
        let teach: Vec<Labelled<'_>> = items.iter().filter(|item| fold(item) != out).copied().collect();
        let model = Model::fit(&teach);
        for (score, item) in scores.iter_mut().zip(items).filter(|(_, item)| fold(item) == out) {
            *score = model.scores(item.text, &mut scratch)[0];
        }
    }
    scores
}

pub(crate) fn scores(model: &Model, items: &[Labelled<'_>]) -> Vec<Few<Score>> {
    let mut scratch = Scratch::default();
    items.iter().map(|item| model.scores(item.text, &mut scratch)).collect()
}

pub(crate) fn shuffled<'a>(items: &[Labelled<'a>], seed: u64) -> Vec<Labelled<'a>> {
    let mut items = items.to_vec();
    items.sort_by_key(|item| mix(fingerprint(item.text) ^ mix(seed)));
    items
}

fn from_few(items: &[Labelled<'_>], seed: u64) -> Option<Worth> {
    let items = shuffled(items, seed);
    let (teach, test) = items.split_at(FEW);
    let scores: Vec<Score> = scores(&Model::fit(teach), test).iter().map(|scores| scores[0]).collect();
    worth(&scores, &gained(test), seed)
}

pub(crate) fn speed(name: &'static str, what: &str, items: &[Labelled<'_>], gates: &mut Gates) {
    let started = Instant::now();
    let model = Model::fit(items);
    let first = scores(&model, items);
    let took = started.elapsed().as_secs_f64();
    gates.add(
        name,
        format!("{what}train and score {} prompts, one core: seconds", items.len()),
        took,
        Bar::AtMost(10.0),
    );
    let (rounds, started) = (5, Instant::now());
    for _ in 0..rounds {
        assert!(scores(&model, items) == first, "a text has one score");
    }
    let rate = real(items.len() * rounds) / started.elapsed().as_secs_f64();
    gates.add(name, format!("{what}prompts scored a second and core"), rate, Bar::AtLeast(50_000.0));
}

/// How often a threshold from 1,000 labels loses more than promised on all other items.
fn promises(items: &[Labelled<'_>], gates: &mut Gates) {
    const TRIALS: u64 = 300;
    const LABELS: usize = 1_000;
    let items = shuffled(items, 1);
    let (teach, rest) = items.split_at(FEW);
    let model = Model::fit(teach);
    let (scores, all) = (scores(&model, rest), qualities(rest));
    type Calibrate = fn(&[Few<Score>], &[Qualities], &[f64], f64) -> Cut;
    let bound: Calibrate = |scores, items, ratios, loss_max| calibrate(scores, items, ratios, loss_max).cut;
    let ways: [(&str, Calibrate, Bar); 2] =
        [("with the bound", bound, Bar::AtMost(0.08)), ("by the estimate alone", naive, Bar::Shown)];
    for loss_max in [0.02, 0.04] {
        for (way, cut, bar) in ways {
            let (mut broken, mut strong) = (0, 0.0);
            for trial in 0..TRIALS {
                let (ours, theirs) = drawn(rest.len(), LABELS, trial);
                let pick = |places: &[usize]| {
                    let scores: Vec<Few<Score>> = places.iter().map(|at| scores[*at]).collect();
                    (scores, places.iter().map(|at| all[*at]).collect::<Vec<_>>())
                };
                let (known, labels) = pick(&ours);
                let cut = cut(&known, &labels, &[f64::INFINITY], loss_max);
                let (unseen, truth) = pick(&theirs);
                let goes =
                    |scores: &Few<Score>| cut.thresholds.is_none_or(|thresholds| scores[0] >= thresholds[0]);
                let lost: f64 = unseen
                    .iter()
                    .zip(&truth)
                    .filter(|(score, _)| !goes(score))
                    .map(|(_, item)| item.gain(0))
                    .sum();
                broken += u32::from(lost / real(truth.len()) > loss_max);
                strong += real(unseen.iter().filter(|score| goes(score)).count()) / real(unseen.len());
            }
            let trials = f64::from(u32::try_from(TRIALS).unwrap_or(u32::MAX));
            let what = format!(
                "loss of at most {:.0} %, {way}: share of {TRIALS} jobs that break it",
                loss_max * 100.0
            );
            gates.add("A3", what, f64::from(broken) / trials, bar);
            gates.add("A3", "the same: mean share at the strong model", strong / trials, Bar::Shown);
        }
    }
}

/// Places of `n` that are drawn, and those that are not.
pub(crate) fn drawn(n: usize, draw: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut dice = SplitMix64::new(mix(seed));
    let mut places: Vec<usize> = (0..n).collect();
    for at in 0..draw.min(n) {
        let left = u64::try_from(n - at - 1).unwrap_or(0);
        let other = at + usize::try_from(dice.up_to(left)).unwrap_or(0);
        places.swap(at, other);
    }
    let rest = places.split_off(draw.min(n));
    (places, rest)
}

/// The same with the models in each other's place.
fn swap<'a>(item: &Labelled<'a>) -> Labelled<'a> {
    Labelled { qualities: item.qualities.iter().rev().copied().collect(), ..*item }
}

/// How often routing stays on in pilots of 500 where it must not.
fn switch(items: &[Labelled<'_>], gates: &mut Gates) {
    const TRIALS: u64 = 100;
    const LABELS: usize = 500;
    let mut wrong = [0_u32; 3];
    for trial in 0..TRIALS {
        let (pilot, _) = drawn(items.len(), LABELS, trial);
        let mut dice = SplitMix64::new(mix(trial ^ 0xA4));
        let pilot: Vec<Labelled<'_>> = pilot.iter().map(|at| items[*at]).collect();
        let turned: Vec<_> = pilot.iter().map(swap).collect();
        let equal: Vec<_> =
            pilot.iter().map(|item| if dice.up_to(1) == 0 { *item } else { swap(item) }).collect();
        let options = TrainOptions { seed: trial, quality_loss_permille: 20, price_ratios: [20.0].into() };
        let verdict = |items: &[Labelled<'_>], options| {
            Router::train(items, "prompt", options).map(|router| router.verdict)
        };
        let weak = Verdict::Pin { place: 0, reason: PinReason::WeakAsGood };
        wrong[0] += u32::from(verdict(&turned, options) != Ok(weak));
        wrong[1] += u32::from(matches!(verdict(&equal, options), Ok(Verdict::Route { .. })));
        let dear = TrainOptions { price_ratios: [1.1].into(), ..options };
        wrong[2] += u32::from(!matches!(verdict(&pilot, dear), Ok(Verdict::Pin { place: 1, .. })));
    }
    let share = |count: u32| f64::from(count) / f64::from(u32::try_from(TRIALS).unwrap_or(u32::MAX));
    for (what, count, bar) in [
        ("the weak model is better: share of 100 pilots that do not pin it", wrong[0], 0.0),
        ("both models are equally good: share of 100 pilots that route", wrong[1], 0.08),
        ("nothing to save: share of 100 pilots that do not pin the strong model", wrong[2], 0.0),
    ] {
        gates.add("A4", what, share(count), Bar::AtMost(bar));
    }
}

/// The same labels in another order give the same file, and what is read back decides as what was written.
fn repeatable(items: &[Labelled<'_>], gates: &mut Gates) -> Result<()> {
    let options = TrainOptions { seed: 1, quality_loss_permille: 40, price_ratios: [20.0].into() };
    let router = Router::train(items, "prompt", options)?;
    let bytes = router.to_bytes();
    let other = Router::train(&shuffled(items, 9), "prompt", options)?.to_bytes();
    let back = Router::from_bytes(&bytes)?;
    let mut scratch = Scratch::default();
    let mut differs = u32::from(bytes != other);
    for item in items {
        differs += u32::from(router.decide(item.text, &mut scratch) != back.decide(item.text, &mut scratch));
    }
    gates.add(
        "A5",
        "decisions that differ between two trainings, or after the file",
        f64::from(differs),
        Bar::AtMost(0.0),
    );
    gates.add("A5", "the router's file: kilobytes", real(bytes.len()) / 1_000.0, Bar::Shown);
    Ok(())
}
