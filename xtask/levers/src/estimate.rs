//! Gate F1: whether the quote of a pilot covers the bill. Lengths of real texts stand for usage, as there is no public log of it.

use crate::data::{self, real};
use crate::gates::{Bar, Gates};
use anyhow::Result;
use bulkrate_core::money::{PicoUsdPerToken, Tokens};
use bulkrate_core::pace::rng::SplitMix64;
use bulkrate_core::price::estimate::{JobShape, Ratios, quote};
use bulkrate_core::price::{Rates, price};
use bulkrate_core::usage::Usage;
use std::path::Path;

const PILOTS: u64 = 500;
const PILOT: usize = 100;
/// What the bar of the expected value was measured for: answers whose lengths vary by so much of their mean. Where they vary more, no
/// mean of a hundred is that near, and the figure is shown alone; the P95 has its bar in any case.
const VARIES_MAX: f64 = 0.8;
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
    let rewrite = complaints.iter().zip(others).map(|(row, other)| used(&row.text, &other.text)).collect();
    for (what, log) in
        [("SNIPS, slots extracted", extract), ("complaints, answers as long as complaints", rewrite)]
    {
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

/// Draws pilots, quotes the rest of the log by each, and compares with what the rest has cost.
fn replay(what: &str, mut log: Vec<Used>, gates: &mut Gates) -> Result<()> {
    let rates = Rates::flat(PicoUsdPerToken(PRICES.0), PicoUsdPerToken(PRICES.1));
    let mut rng = SplitMix64::new(1);
    let (mut covered, mut near) = (0, 0);
    for _ in 0..PILOTS {
        for at in 0..PILOT {
            let left = u64::try_from(log.len() - 1 - at)?;
            log.swap(at, at + usize::try_from(rng.up_to(left))?);
        }
        let (pilot, rest) = log.split_at(PILOT);
        let mut ratios = Ratios::default();
        pilot.iter().for_each(|(bytes, usage)| ratios.add(*bytes, usage));
        let bytes: u64 = rest.iter().map(|(bytes, _)| bytes).sum();
        let shape = JobShape {
            items: rest.len() as u64,
            bytes,
            bytes_largest: rest.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0),
            input_max: Tokens(bytes),
            output_max: Tokens(OUTPUT_MAX),
            ..JobShape::default()
        };
        let quote = quote(&rates, &ratios, &shape).ok_or_else(|| anyhow::anyhow!("the quote overflows"))?;
        let bill: i64 = rest.iter().filter_map(|(_, usage)| price(&rates, usage)).map(|usd| usd.0).sum();
        covered += usize::from(quote.p95.0 >= bill);
        near += usize::from((quote.expected.0 - bill).abs() * 100 <= bill * 15);
    }
    let share = |count: usize| real(count) / real(usize::try_from(PILOTS).unwrap_or(1));
    gates.add(
        "F1",
        format!("{what}: share of 500 pilots of 100 whose P95 covers the bill"),
        share(covered),
        Bar::AtLeast(0.95),
    );
    let varies = varies(&log);
    let bar = if varies <= VARIES_MAX { Bar::AtLeast(0.95) } else { Bar::Shown };
    gates.add("F1", "the same: whose expected value is within 15 %", share(near), bar);
    gates.add("F1", "the same: coefficient of variation of the answers' lengths", varies, Bar::Shown);
    Ok(())
}

/// The coefficient of variation of the answers' lengths.
#[allow(clippy::cast_precision_loss, reason = "counts of tokens")]
fn varies(log: &[Used]) -> f64 {
    let n = real(log.len());
    let mean = log.iter().map(|(_, usage)| usage.output as f64).sum::<f64>() / n;
    let variance = log.iter().map(|(_, usage)| (usage.output as f64 - mean).powi(2)).sum::<f64>() / n;
    variance.sqrt() / mean
}
