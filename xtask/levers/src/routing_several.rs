//! Gate A6: the learned router among three models. Two are real, Mixtral-8x7B and GPT-4 on MMLU; the third is made of their outcomes by
//! a seeded coin, as no public data here has more than two.

use crate::data::real;
use crate::gates::{Bar, Gates};
use crate::routing::{drawn, qualities, scores, shuffled, speed};
use anyhow::Result;
use bulkrate_core::pace::rng::{SplitMix64, mix};
use bulkrate_core::route::learned::metrics::{Qualities, gains, saving};
use bulkrate_core::route::learned::threshold::{Cut, calibrate};
use bulkrate_core::route::learned::{
    Few, Labelled, Model, Router, Score, Scratch, TrainOptions, Verdict, fingerprint, place_of,
};

/// The strongest model's price over that of the cheapest and of the one between.
const RATIOS: [f64; 2] = [20.0, 4.0];
const TEACH: usize = 1_500;

pub(crate) fn measure(items: &[Labelled<'_>], gates: &mut Gates) -> Result<()> {
    let three = between(items);
    speed("A6", "three models: ", &three, gates);
    promises(&three, gates);
    trained(items, gates);
    dominated(items, gates);
    Ok(())
}

/// A model between the two: right where both are, nearly always; where the strong one alone is, in 65 of 100; where the weak one alone is, in
/// 70; where none is, in 10.
fn between<'a>(items: &[Labelled<'a>]) -> Vec<Labelled<'a>> {
    let third = |item: &Labelled<'a>| {
        let (weak, strong) = (item.qualities[0], item.qualities[1]);
        let chance = match (weak > 0.5, strong > 0.5) {
            (true, true) => 0.98,
            (false, true) => 0.65,
            (true, false) => 0.7,
            (false, false) => 0.1,
        };
        let coin = SplitMix64::new(mix(fingerprint(item.text))).unit();
        Labelled { qualities: [weak, f64::from(u8::from(coin < chance)), strong].into(), ..*item }
    };
    items.iter().map(third).collect()
}

/// How often thresholds from 1,000 labels lose more than promised on all other items, and what the mix saves.
fn promises(items: &[Labelled<'_>], gates: &mut Gates) {
    const TRIALS: u64 = 300;
    const LABELS: usize = 1_000;
    let items = shuffled(items, 1);
    let (teach, rest) = items.split_at(TEACH);
    let scores = scores(&Model::fit(teach), rest);
    let all = qualities(rest);
    for loss_max in [0.02, 0.04] {
        let (mut broken, mut saved, mut of_two) = (0, 0.0, 0.0);
        for trial in 0..TRIALS {
            let (ours, theirs) = drawn(rest.len(), LABELS, trial);
            let known = pick(&scores, &all, &ours);
            let proof = calibrate(&known.0, &known.1, &RATIOS, loss_max);
            let cut = proof.cut;
            saved += saving(&cut.shares, &RATIOS);
            let two = without_middle(&known);
            of_two += saving(&calibrate(&two.0, &two.1, &RATIOS[..1], loss_max).cut.shares, &RATIOS[..1]);
            // Whatever is proved may be what is run: the mix, or one model alone.
            let unseen = pick(&scores, &all, &theirs);
            let alone = proof.alone.map_or(0.0, |one| mean(&gains(&unseen.1, one.place)));
            broken += u32::from(lost(&cut, &unseen).max(alone) > loss_max);
        }
        let trials = f64::from(u32::try_from(TRIALS).unwrap_or(u32::MAX));
        let what = format!(
            "three models, loss of at most {:.0} %: share of {TRIALS} jobs that break it",
            loss_max * 100.0
        );
        gates.add("A6", what, f64::from(broken) / trials, Bar::AtMost(0.08));
        gates.add("A6", "the same: mean share of the cost that is saved", saved / trials, Bar::Shown);
        gates.add("A6", "the same, without the model between", of_two / trials, Bar::Shown);
    }
}

type Known = (Vec<Few<Score>>, Vec<Qualities>);

fn pick(scores: &[Few<Score>], all: &[Qualities], places: &[usize]) -> Known {
    places.iter().map(|at| (scores[*at], all[*at])).unzip()
}

fn without_middle((scores, labels): &Known) -> Known {
    let scores = scores.iter().map(|scores| Few::from([scores[0]])).collect();
    (scores, labels.iter().map(|item| Few::from([item[0], item[2]])).collect())
}

/// Mean quality lost on items that proved nothing.
fn lost(cut: &Cut, (scores, truth): &Known) -> f64 {
    let Some(thresholds) = &cut.thresholds else { return 0.0 };
    let rows = scores.iter().zip(truth);
    let losses: Vec<f64> = rows.map(|(scores, item)| item.gain(place_of(scores, thresholds))).collect();
    mean(&losses)
}

fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / real(losses.len())
}

/// How often what a trained router does, mix or single model, loses more than promised on all rows that it did not see, where the model
/// between loses half a point more than is allowed: it is right where the strong one is, but for a part of what the weak one misses.
fn trained(items: &[Labelled<'_>], gates: &mut Gates) {
    const TRIALS: u64 = 300;
    const LOSS_PERMILLE: u32 = 40;
    let loss_max = f64::from(LOSS_PERMILLE) / 1_000.0;
    let hard = items.iter().filter(|item| item.qualities.gain(0) > 0.5).count();
    let missed = (loss_max + 0.005) * real(items.len()) / real(hard);
    let third = |item: &Labelled<'_>| {
        let coin = SplitMix64::new(mix(fingerprint(item.text) ^ 0xA6)).unit();
        let wrong = item.qualities.gain(0) > 0.5 && coin < missed;
        if wrong { 0.0 } else { item.qualities[1] }
    };
    let middle: Vec<f64> = items.iter().map(third).collect();
    let three = |at: &usize| {
        let item = &items[*at];
        Labelled { qualities: [item.qualities[0], middle[*at], item.qualities[1]].into(), ..*item }
    };
    for labels in [300, 500, 2_000] {
        let (mut broken, mut routed) = (0_u32, 0_u32);
        for trial in 0..TRIALS {
            let (ours, theirs) = drawn(items.len(), labels, trial);
            let pilot: Vec<Labelled<'_>> = ours.iter().map(three).collect();
            let options = TrainOptions {
                seed: trial,
                quality_loss_permille: LOSS_PERMILLE,
                price_ratios: RATIOS.into(),
            };
            let Ok(router) = Router::train(&pilot, "prompt", options) else { continue };
            routed += u32::from(matches!(router.verdict, Verdict::Route { .. }));
            let mut scratch = Scratch::default();
            let mut lost = |at: &usize| {
                let item = three(at);
                item.qualities.gain(router.decide(item.text, &mut scratch).1)
            };
            broken += u32::from(mean(&theirs.iter().map(&mut lost).collect::<Vec<_>>()) > loss_max);
        }
        let share = |count: u32| f64::from(count) / f64::from(u32::try_from(TRIALS).unwrap_or(u32::MAX));
        let what = format!(
            "the model between is half a point too bad, {labels} labels: share of {TRIALS} routers that lose more than 4 %"
        );
        gates.add("A6", what, share(broken), Bar::AtMost(0.08));
        let least = if labels < 500 { Bar::Shown } else { Bar::AtLeast(0.2) };
        gates.add("A6", "the same: share of them that route", share(routed), least);
    }
}

/// How often pilots of 500 do not find out that one model is best alone: the one between answers as the strong one does at a quarter of its
/// price, and the cheap one is right in one row of five, whatever the row, so that even hard rows are not its own.
fn dominated(items: &[Labelled<'_>], gates: &mut Gates) {
    const TRIALS: u64 = 100;
    const LABELS: usize = 500;
    let mut missed = 0;
    for trial in 0..TRIALS {
        let (pilot, _) = drawn(items.len(), LABELS, trial);
        let mut dice = SplitMix64::new(mix(trial ^ 0xA6));
        let mut row = |at: &usize| {
            let (item, coin) = (&items[*at], f64::from(u8::from(dice.unit() < 0.2)));
            Labelled { qualities: [coin, item.qualities[1], item.qualities[1]].into(), ..*item }
        };
        let pilot: Vec<Labelled<'_>> = pilot.iter().map(&mut row).collect();
        let options = TrainOptions { seed: trial, quality_loss_permille: 20, price_ratios: RATIOS.into() };
        let verdict = Router::train(&pilot, "prompt", options).map(|router| router.verdict);
        missed += u32::from(!matches!(verdict, Ok(Verdict::Pin { place: 1, .. })));
    }
    let trials = f64::from(u32::try_from(TRIALS).unwrap_or(u32::MAX));
    gates.add(
        "A6",
        "the model between is best alone: share of 100 pilots that do not pin it",
        f64::from(missed) / trials,
        Bar::AtMost(0.0),
    );
}
