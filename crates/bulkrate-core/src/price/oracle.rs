//! Our integer arithmetic and table against somebody else's: the `genai-prices` crate with the data it ships.
//!
//! Both tables go back to overlapping public lists, so this proves the arithmetic, tiers and inheritance rules rather
//! than the published figures. Where the two are known to differ, the case is listed with the reason.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::disallowed_types,
    reason = "tests; the oracle counts in f64"
)]

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use genai_prices::{Calculator, PriceRequest};

use super::{Catalogue, ModelRow, price};
use crate::lane::Lane;
use crate::usage::Usage;

/// Our provider, theirs.
const PROVIDERS: &[(&str, &str)] = &[
    ("openai", "openai"),
    ("anthropic", "anthropic"),
    ("gemini", "google"),
    ("mistral", "mistral"),
    ("groq", "groq"),
    ("deepseek", "deepseek"),
    ("xai", "x-ai"),
    ("voyage", "voyageai"),
    ("cohere", "cohere"),
];

/// 2026-11-20 02:00 UTC, a Friday: in DeepSeek's dear hours, which is what our table holds.
fn moment() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_140_000)
}

/// Model, lane and usage where the tables differ, and why. Every one must still differ, or the entry goes.
const CONFLICTS: &[(&str, &str)] = &[
    (
        "openai/gpt-5.5-pro batch",
        "they list no long-context tier for batch; ours, from the other list, is dearer",
    ),
    ("openai/gpt-5.5-pro flex", "as batch"),
    ("openai/gpt-5.4 batch", "long cached reads: 0.25 rounded by the provider, 0.26 by our ratio rule"),
    ("openai/gpt-5.4 flex", "as batch"),
    (
        "mistral/mistral-large-4 batch",
        "their crate is older than the price cut that their own later list has",
    ),
    ("mistral/mistral-large-4 sync", "as batch"),
    ("groq/openai/gpt-oss-safeguard-20b sync", "cached reads 0.037 in one list, 0.0375 in the other"),
    ("deepseek/deepseek-chat sync", "retired; the lists disagree on its last price"),
    ("deepseek/deepseek-reasoner sync", "retired; the lists disagree on its last price"),
];

fn usages() -> Vec<(&'static str, Usage)> {
    let usage = |input, cache_read, cache_write_5m, cache_write_1h, output| Usage {
        input,
        cache_read,
        cache_write_5m,
        cache_write_1h,
        output,
        reasoning: 0,
    };
    vec![
        ("plain", usage(500, 0, 0, 0, 200)),
        ("one", usage(1, 0, 0, 0, 1)),
        ("read", usage(123, 4_567, 0, 0, 89)),
        ("write", usage(123, 0, 4_567, 0, 89)),
        ("hour", usage(123, 0, 0, 4_567, 89)),
        ("mixed", usage(777, 3_333, 1_111, 555, 999)),
        ("at 100k", usage(100_000, 0, 0, 0, 10)),
        ("over 100k", usage(90_000, 10_001, 0, 0, 10)),
        ("below 200k", usage(199_999, 0, 0, 0, 10)),
        ("at 200k", usage(150_000, 50_000, 0, 0, 10)),
        ("over 200k", usage(200_001, 0, 0, 0, 10)),
        ("at 272k", usage(272_000, 0, 0, 0, 10)),
        ("over 272k", usage(272_001, 0, 0, 0, 1_000)),
        ("long read", usage(300_000, 12_345, 0, 0, 1_000)),
        ("long write", usage(300_000, 0, 12_345, 0, 1_000)),
    ]
}

/// Whether the row itself publishes every class that the usage has.
fn published(row: &ModelRow, usage: &Usage) -> bool {
    let Some(sync) = &row.sync else { return false };
    let base = &sync.base;
    (usage.cache_read == 0 || !base.cache_read.derived)
        && (usage.cache_write_5m == 0 || !base.cache_write_5m.derived)
        && (usage.cache_write_1h == 0 || !base.cache_write_1h.derived)
        && (usage.output == 0 || !base.output.derived)
}

fn theirs(calculator: &Calculator, provider: &str, model: &str, lane: Lane, usage: &Usage) -> Option<f64> {
    let mut counts = genai_prices::Usage::new();
    for (name, count) in [
        ("input_tokens", usage.prompt()),
        ("cache_read_tokens", usage.cache_read),
        ("cache_write_tokens", usage.cache_write_5m + usage.cache_write_1h),
        ("cache_write_1h_tokens", usage.cache_write_1h),
        ("output_tokens", usage.output),
    ] {
        if count > 0 {
            counts.insert(name, count as f64);
        }
    }
    let request = PriceRequest::new(model, &counts).with_provider_id(provider).with_timestamp(moment());
    let request = match lane {
        Lane::Sync => request,
        Lane::Batch => request.with_price_context("processing", "batch"),
        Lane::Flex => request.with_price_context("service_tier", "flex"),
    };
    Some(calculator.calculate(&request).ok()?.total_price)
}

/// Without a variant for the lane the other side answers with the standard price, which says nothing of the lane.
fn modelled(calculator: &Calculator, provider: &str, row: &ModelRow, lane: Lane) -> bool {
    let usage = Usage { input: 1_000, output: 1_000, ..Default::default() };
    let of = |lane| theirs(calculator, provider, &row.id, lane, &usage).map(|cost| (cost * 1e9).round());
    lane == Lane::Sync || of(lane).zip(of(Lane::Sync)).is_some_and(|(own, standard)| own < standard)
}

#[test]
fn prices_agree_with_the_other_table() {
    let (catalogue, calculator) = (Catalogue::bundled(), Calculator::bundled());
    let day = jiff::civil::date(2026, 11, 20);
    let (mut compared, mut models) = (0_u32, BTreeSet::new());
    let mut differing: BTreeSet<String> = BTreeSet::new();
    for row in catalogue.rows().iter().filter(|row| row.holds_on(day) && row.endpoint.is_none()) {
        let Some((_, provider)) = PROVIDERS.iter().find(|(ours, _)| *ours == row.provider) else { continue };
        for lane in Lane::ALL {
            let Some(rates) = row.rates(lane) else { continue };
            if !modelled(calculator, provider, row, lane) {
                continue;
            }
            for (name, usage) in usages().into_iter().filter(|(_, usage)| published(row, usage)) {
                let Some(theirs) = theirs(calculator, provider, &row.id, lane, &usage) else { continue };
                let ours = price(rates, &usage).unwrap().0 as f64;
                compared += 1;
                models.insert(&row.qualified);
                // Ours is rounded up to the next nano-dollar; theirs is a float.
                if ours < theirs * 1e9 - 0.01 || ours > theirs * 1e9 + 1.01 {
                    println!("{} {lane} {name}: {ours} against {}", row.qualified, theirs * 1e9);
                    differing.insert(format!("{} {lane}", row.qualified));
                }
            }
        }
    }
    let known: BTreeSet<String> = CONFLICTS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(differing, known);
    assert!(compared >= 2_000 && models.len() >= 80, "{compared} pairs of {} models", models.len());
}
