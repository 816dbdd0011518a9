//! Gate F1: whether the quote of a pilot covers the bill. Lengths of real texts stand for usage, as there is no public log of it.

use crate::data::{self, real};
use crate::gates::{Bar, DRAWS, Gates};
use anyhow::Result;
use bulkrate_core::money::{PicoUsdPerToken, Tokens};
use bulkrate_core::pace::rng::SplitMix64;
use bulkrate_core::price::estimate::{JobShape, Ratios, quote};
use bulkrate_core::price::{Rates, price};
use bulkrate_core::usage::Usage;
use std::path::Path;

const PILOTS: u64 = 500;
const PILOT: usize = 100;
/// How near the expected value must be.
const NEAR: f64 = 0.15;
/// The enforced maximum of an answer.
const OUTPUT_MAX: u64 = 4_096;
/// Answers cost eight times what prompts do.
const PRICES: (u64, u64) = (50_000, 400_000);

#[derive(Debug, serde::Deserialize)]
struct Row {
    text: String,
    #[serde(default)]
    slots: Vec<(String, String)>,
}

/// What one item used, and the bytes of its prompt.
type Used = (u64, Usage);

pub(crate) fn measure(root: &Path, gates: &mut Gates) -> Result<()> {
    let read = |name: &str| data::rows::<Row>(&root.join("jobs").join(format!("{name}.jsonl.gz")));
    let snips = read("snips_extract")?;
    let extract =
        snips.iter().map(|row| used(&row.text, &serde_json::json!(row.slots).to_string())).collect();
    let complaints = read("cfpb_complaints")?;
    let half = complaints.len() / 2;
    let others = complaints.iter().cycle().skip(half);
    let other = complaints.iter().zip(others).map(|(row, other)| used(&row.text, &other.text)).collect();
    let mut rng = SplitMix64::new(2);
    let own = complaints.iter().map(|row| {
        let (bytes, usage) = used(&row.text, &row.text);
        // From half as long to one and a half times as long.
        (bytes, Usage { output: usage.output * (500 + rng.up_to(1_000)) / 1_000, ..usage })
    });
    let own = own.collect();
    for (what, log) in [
        ("SNIPS, slots extracted", extract),
        ("complaints, each told in other words", own),
        ("complaints, answers as long as other complaints", other),
    ] {
        replay(what, log, gates)?;
    }
    Ok(())
}

fn used(prompt: &str, answer: &str) -> Used {
    (prompt.len() as u64, Usage { input: tokens(prompt), output: tokens(answer), ..Usage::default() })
}

/// About what a tokenizer makes of a text: pieces of words of up to six letters, and each other sign.
fn tokens(text: &str) -> u64 {
    let word = |word: &str| {
        let letters = word.chars().filter(|letter| letter.is_alphanumeric()).count();
        letters.div_ceil(6) + word.chars().count() - letters
    };
    text.split_whitespace().map(word).sum::<usize>() as u64
}

/// How many pilots' quotes held.
#[derive(Debug, Default)]
struct Held {
    covered: usize,
    /// Of the rest, of the whole bill with the pilot's own items, and of the rest by the mean of the answers alone.
    near: usize,
    near_whole: usize,
    near_by_mean: usize,
}

/// Draws pilots, quotes the rest of the log by each, and compares with what the rest has cost.
fn replay(what: &str, mut log: Vec<Used>, gates: &mut Gates) -> Result<()> {
    let rates = Rates::flat(PicoUsdPerToken(PRICES.0), PicoUsdPerToken(PRICES.1));
    let mut rng = SplitMix64::new(1);
    let mut held = Held::default();
    for _ in 0..PILOTS {
        for at in 0..PILOT {
            let left = u64::try_from(log.len() - 1 - at)?;
            log.swap(at, at + usize::try_from(rng.up_to(left))?);
        }
        let (pilot, rest) = log.split_at(PILOT);
        let mut ratios = Ratios::default();
        pilot.iter().for_each(|(bytes, usage)| ratios.add_of(*bytes, *bytes, usage));
        let shape = shape(rest);
        let overflow = || anyhow::anyhow!("the quote overflows");
        let found = quote(&rates, &ratios, &shape).ok_or_else(overflow)?;
        let by_mean = quote(&rates, &ratios, &JobShape { lengths: None, ..shape }).ok_or_else(overflow)?;
        let paid = |items: &[Used]| -> i64 {
            items.iter().filter_map(|(_, usage)| price(&rates, usage)).map(|usd| usd.0).sum()
        };
        let (spent, bill) = (paid(pilot), paid(rest));
        let near =
            |expected: i64, bill: i64| usize::from(dollars(expected - bill).abs() <= NEAR * dollars(bill));
        held.covered += usize::from(found.p95.0 >= bill);
        held.near += near(found.expected.0, bill);
        held.near_whole += near(spent + found.expected.0, spent + bill);
        held.near_by_mean += near(by_mean.expected.0, bill);
    }
    tell(what, &log, &held, gates);
    Ok(())
}

/// What is still to be asked.
fn shape(rest: &[Used]) -> JobShape {
    let bytes: u64 = rest.iter().map(|(bytes, _)| bytes).sum();
    JobShape {
        items: rest.len() as u64,
        bytes,
        bytes_largest: rest.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0),
        input_max: Tokens(bytes),
        output_max: Tokens(OUTPUT_MAX),
        lengths: Some(bytes),
        ..JobShape::default()
    }
}

fn tell(what: &str, log: &[Used], held: &Held, gates: &mut Gates) {
    let share = |count: usize| real(count) / DRAWS;
    let Spread { varies, follows, part } = Spread::of(log);
    // What lengths explain is known of every item; the rest is chance, and so is the mean of a hundred.
    let chance = varies * part * (1.0 - follows * follows).sqrt();
    let within = |left: f64| within(NEAR / (chance * (1.0 / real(PILOT) + left).sqrt()));
    let [rest, whole] = [1.0 / real(log.len() - PILOT), -1.0 / real(log.len())].map(within);
    let mut add = |figure: &str, value, bar| gates.add("F1", format!("{what}: {figure}"), value, bar);
    add("share of 500 pilots of 100 whose P95 covers the bill", share(held.covered), Bar::AtLeast(0.95));
    add("whose expected value is within 15 % of the rest", share(held.near), Bar::AtLeastIfItCan(0.95, rest));
    add(
        "within 15 % of the whole bill, the pilot's rows included",
        share(held.near_whole),
        Bar::AtLeastIfItCan(0.95, whole),
    );
    add("within 15 % of the rest by the mean of the answers alone", share(held.near_by_mean), Bar::Shown);
    add("coefficient of variation of the answers' lengths", varies, Bar::Shown);
    add("correlation of the answers' lengths with their prompts'", follows, Bar::Shown);
}

/// How a log's answers vary.
#[derive(Debug)]
struct Spread {
    /// Their coefficient of variation, and their correlation with the bytes of the prompts.
    varies: f64,
    follows: f64,
    /// Their part of the bill.
    part: f64,
}

impl Spread {
    #[allow(clippy::cast_precision_loss, reason = "counts of tokens")]
    fn of(log: &[Used]) -> Self {
        let sum = |of: &dyn Fn(&Used) -> f64| log.iter().map(of).sum::<f64>();
        let n = real(log.len());
        let (prompt, answer) = (|used: &Used| used.0 as f64, |used: &Used| used.1.output as f64);
        let (long, mean) = (sum(&prompt) / n, sum(&answer) / n);
        let both = sum(&|used| (prompt(used) - long) * (answer(used) - mean));
        let prompts = sum(&|used| (prompt(used) - long).powi(2));
        let answers = sum(&|used| (answer(used) - mean).powi(2));
        let paid = sum(&answer) * PRICES.1 as f64;
        let asked = sum(&|used| used.1.input as f64) * PRICES.0 as f64;
        Self {
            varies: (answers / n).sqrt() / mean,
            follows: both / (prompts * answers).sqrt(),
            part: paid / (paid + asked),
        }
    }
}

/// The share of a normal distribution within so many of its standard deviations, by Simpson's rule.
fn within(deviations: f64) -> f64 {
    const STEPS: u32 = 200;
    let end = deviations.min(9.0);
    let width = end / f64::from(STEPS);
    let height = |at: u32| (-(f64::from(at) * width).powi(2) / 2.0).exp();
    let inner: f64 = (1..STEPS).map(|at| height(at) * if at % 2 == 1 { 4.0 } else { 2.0 }).sum();
    (height(0) + inner + height(STEPS)) * width / 3.0 * (2.0 / std::f64::consts::PI).sqrt()
}

#[allow(clippy::cast_precision_loss, reason = "a share is made of it, no money")]
fn dollars(nanos: i64) -> f64 {
    nanos as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution_is_as_in_the_tables() {
        for (deviations, want) in [(0.0, 0.0), (1.0, 0.6827), (1.96, 0.95), (2.5758, 0.99), (50.0, 1.0)] {
            assert!((within(deviations) - want).abs() < 1e-4, "{deviations}: {}", within(deviations));
        }
    }
}
