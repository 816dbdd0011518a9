//! Costs worked out by hand from published prices. A change here is a change of what people are told they paid.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::cost::{Class, explain, lane_saving, naive, prompt_cache_saving, waterfall};
use super::rates::usd_per_million;
use super::row::{LongContext, RateSet, Rates};
use super::{Catalogue, ModelRow, price};
use crate::lane::Lane::{self, Batch, Flex, Sync};
use crate::money::{PicoUsdPerToken, Tokens, UsdNanos};
use crate::usage::Usage;

/// Input, cache read, cache write (5 min), cache write (1 h), output.
type Counts = (u64, u64, u64, u64, u64);

fn usage((input, cache_read, cache_write_5m, cache_write_1h, output): Counts) -> Usage {
    Usage { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning: 0 }
}

/// (model, lane, counts, nano-dollars). The comment is the sum, in USD per million tokens times tokens.
const VECTORS: &[(&str, Lane, Counts, i64)] = &[
    // The three lanes of one model.
    ("openai/gpt-6-luna", Sync, (500, 0, 0, 0, 200), 150_000), // 500 x 0.1 + 200 x 0.5
    ("openai/gpt-6-luna", Batch, (500, 0, 0, 0, 200), 75_000), // 500 x 0.05 + 200 x 0.25
    ("openai/gpt-6-luna", Flex, (500, 0, 0, 0, 200), 75_000),  // the same
    ("openai/gpt-6-luna", Sync, (500, 0, 0, 0, 20), 60_000),   // 500 x 0.1 + 20 x 0.5
    ("openai/gpt-6-luna", Batch, (500, 0, 0, 0, 20), 30_000),
    // Nothing used, nothing paid; one token; a fraction of a nano-dollar.
    ("openai/gpt-6-luna", Batch, (0, 0, 0, 0, 0), 0),
    ("openai/gpt-6-luna", Batch, (1, 0, 0, 0, 0), 50),
    ("openai/gpt-6-luna", Batch, (0, 1, 0, 0, 0), 5),
    ("openai/gpt-6-luna", Batch, (0, 0, 1, 0, 0), 63), // 62.5
    ("openai/gpt-6-luna", Batch, (0, 0, 2, 0, 0), 125),
    ("openai/gpt-5-nano", Batch, (0, 1, 0, 0, 0), 3),   // 2.5
    ("openai/gpt-5-nano", Batch, (0, 3, 0, 0, 0), 8),   // 7.5
    ("openai/gpt-5-nano", Batch, (1, 1, 0, 0, 1), 228), // 25 + 2.5 + 200
    ("openai/gpt-5-nano", Batch, (500, 0, 0, 0, 200), 52_500),
    ("bedrock/amazon.nova-micro-v1:0", Batch, (500, 0, 0, 0, 200), 22_750), // 500 x 0.0175 + 200 x 0.07
    ("bedrock/amazon.nova-micro-v1:0", Sync, (0, 1, 0, 0, 0), 9),           // 8.75
    ("mistral/ministral-3b-2512", Batch, (500, 0, 0, 0, 200), 35_000),
    ("groq/openai/gpt-oss-20b", Batch, (500, 0, 0, 0, 200), 48_750),
    ("bedrock/openai.gpt-oss-20b-1:0", Flex, (500, 0, 0, 0, 200), 47_500),
    // The models of the worked tables: 500 in, 200 out.
    ("openai/gpt-4.1", Sync, (500, 0, 0, 0, 200), 2_600_000),
    ("openai/gpt-4.1", Batch, (500, 0, 0, 0, 200), 1_300_000),
    ("openai/gpt-4.1-mini", Sync, (500, 0, 0, 0, 200), 520_000),
    ("openai/gpt-4.1-nano", Batch, (500, 0, 0, 0, 200), 65_000),
    // Cached input: stacking, and not stacking where no batch rate is published.
    ("openai/gpt-6-luna", Sync, (100, 900, 0, 0, 10), 24_000), // 100 x 0.1 + 900 x 0.01 + 10 x 0.5
    ("openai/gpt-6-luna", Batch, (100, 900, 0, 0, 10), 12_000),
    ("openai/gpt-4.1", Batch, (100, 900, 0, 0, 10), 590_000), // 100 x 1 + 900 x 0.5 (standard) + 10 x 4
    ("openai/gpt-4o", Batch, (100, 900, 0, 0, 10), 1_300_000), // cached costs what batch input costs
    ("gemini/gemini-2.5-flash", Batch, (100, 900, 0, 0, 10), 54_500), // 100 x 0.15 + 900 x 0.03 + 10 x 1.25
    ("groq/openai/gpt-oss-20b", Batch, (100, 900, 0, 0, 10), 39_000), // all input at 0.0375
    ("anthropic/claude-sonnet-5-5", Batch, (100, 900, 0, 0, 10), 195_000), // 100 x 1 + 900 x 0.05 + 10 x 5
    // Cache writes, short and long.
    ("openai/gpt-6-luna", Sync, (0, 0, 1_000, 0, 0), 125_000),
    ("anthropic/claude-haiku-5-5", Sync, (10, 0, 1_000, 500, 0), 226_000), // 10 x 0.1 + 1000 x 0.125 + 500 x 0.2
    ("anthropic/claude-haiku-5-5", Batch, (10, 0, 1_000, 500, 0), 113_000), // half of each
    ("openai/gpt-4.1", Sync, (0, 0, 1_000, 0, 0), 2_000_000),              // no write price: plain input
    // Anthropic's batches: half of the cache's prices too, for reads and for both writes.
    ("anthropic/claude-haiku-5-5", Batch, (0, 10_000, 0, 0, 0), 50_000), // 10,000 x 0.005
    ("anthropic/claude-haiku-5-5", Batch, (100, 2_000, 0, 0, 20), 20_000), // 5,000 + 2,000 x 0.005 + 5,000
    ("anthropic/claude-haiku-5-5", Batch, (100, 0, 2_000, 0, 20), 135_000), // 5,000 + 2,000 x 0.0625 + 5,000
    ("anthropic/claude-haiku-5-5", Batch, (100, 0, 0, 2_000, 20), 210_000), // 5,000 + 2,000 x 0.1 + 5,000
    ("anthropic/claude-sonnet-5-5", Batch, (100, 2_000, 0, 0, 20), 300_000), // 100 x 1 + 2,000 x 0.05 + 20 x 5
    ("anthropic/claude-sonnet-5-5", Batch, (100, 0, 2_000, 0, 20), 2_700_000), // 2,000 x 1.25
    ("anthropic/claude-sonnet-5-5", Batch, (100, 0, 0, 2_000, 20), 4_200_000), // 2,000 x 2
    ("anthropic/claude-opus-4-8", Batch, (0, 1, 1, 1, 0), 8_375),            // 0.25 + 3.125 + 5
    // Long context: exactly at the threshold, one above; the whole request changes.
    ("openai/gpt-6-luna", Sync, (272_000, 0, 0, 0, 100), 27_250_000), // 27,200,000 + 50,000
    ("openai/gpt-6-luna", Sync, (272_001, 0, 0, 0, 100), 54_475_200), // 272,001 x 0.2 + 100 x 0.75
    ("openai/gpt-6-luna", Batch, (272_001, 0, 0, 0, 100), 27_237_600), // 272,001 x 0.1 + 100 x 0.375
    ("openai/gpt-6-luna", Sync, (1, 272_000, 0, 0, 0), 5_440_200), // cached tokens count: 0.2 + 272,000 x 0.02
    ("anthropic/claude-haiku-5-5", Sync, (100_000, 0, 0, 0, 1), 10_000_500),
    ("anthropic/claude-haiku-5-5", Sync, (100_001, 0, 0, 0, 1), 50_003_000), // five times: 0.5 and 2.5
    ("anthropic/claude-haiku-5-5", Batch, (0, 0, 0, 100_001, 0), 50_000_500), // 1-hour write 0.1 x 5
    ("anthropic/claude-sonnet-5-5", Sync, (900_000, 0, 0, 0, 0), 1_800_000_000), // flat
    ("gemini/gemini-2.5-pro", Batch, (200_001, 0, 0, 0, 0), 250_001_250),    // 1.25
    // xAI counts the threshold itself as long, and takes a fifth off in batch.
    ("xai/grok-4.3", Sync, (199_999, 0, 0, 0, 0), 249_998_750),
    ("xai/grok-4.3", Sync, (200_000, 0, 0, 0, 0), 500_000_000),
    ("xai/grok-4.3", Batch, (200_000, 0, 0, 0, 1), 400_004_000),
    // Kinds without output, and free ones.
    ("openai/text-embedding-3-small", Sync, (1_000, 0, 0, 0, 0), 20_000),
    ("openai/text-embedding-3-small", Batch, (1_000, 0, 0, 0, 0), 10_000),
    ("openai/text-embedding-3-large", Batch, (7, 0, 0, 0, 0), 455), // 7 x 0.065
    ("openai/omni-moderation-latest", Sync, (1_000_000, 0, 0, 0, 5), 0),
    ("openai/omni-moderation-latest", Batch, (1_000_000, 0, 0, 0, 5), 0),
    ("voyage/rerank-3", Sync, (10, 0, 0, 0, 0), 500),
    // Large amounts.
    ("openai/gpt-5.5-pro", Sync, (0, 0, 0, 0, 1_000_000_000), 180_000_000_000_000),
];

#[test]
fn hand_computed_costs() {
    let catalogue = Catalogue::bundled();
    assert!(VECTORS.len() >= 40);
    for &(model, lane, counts, want) in VECTORS {
        let row = catalogue.resolve(model, jiff::civil::date(2026, 11, 20)).unwrap().row;
        let rates = row.rates(lane).unwrap_or_else(|| panic!("{model} {lane}"));
        assert_eq!(price(rates, &usage(counts)), Some(UsdNanos(want)), "{model} {lane} {counts:?}");
        assert_eq!(
            explain(rates, &usage(counts)).unwrap().total,
            UsdNanos(want),
            "{model} {lane} {counts:?}"
        );
    }
}

#[test]
fn rounding_is_upward_and_overflow_is_reported() {
    let flat = |picos| Rates::flat(PicoUsdPerToken(picos), PicoUsdPerToken(picos));
    for (picos, counts, want) in [
        (0, (u64::MAX, 0, 0, 0, u64::MAX), Some(0)),
        (1, (1, 0, 0, 0, 0), Some(1)),
        (1, (999, 0, 0, 0, 1), Some(1)),
        (1, (1_000, 0, 0, 0, 1), Some(2)),
        (333, (1, 1, 1, 0, 0), Some(1)), // one rounding of the sum, not one of each term
        (1_000, (i64::MAX.unsigned_abs(), 0, 0, 0, 0), Some(i64::MAX)),
        (1_000, (i64::MAX.unsigned_abs(), 0, 0, 0, 1), None),
        (u64::MAX, (u64::MAX, 0, 0, 0, 0), None),
        (u64::MAX, (u64::MAX, 0, 0, 0, u64::MAX), None),
        (1, (u64::MAX, 1, 0, 0, 0), None), // the prompt itself cannot be counted
    ] {
        assert_eq!(price(&flat(picos), &usage(counts)), want.map(UsdNanos), "{picos} {counts:?}");
    }
    let long = RateSet { input: flat(5).base.input, ..RateSet::default() };
    let cliff = Rates {
        long: Some(LongContext { threshold: Tokens(0), inclusive: true, rates: long }),
        ..flat(1_000)
    };
    assert_eq!(
        price(&cliff, &usage((0, 0, 0, 0, 9))),
        Some(UsdNanos(0)),
        "an inclusive threshold of 0 always applies"
    );
}

#[test]
fn reasoning_is_part_of_output() {
    let rates = Rates::flat(PicoUsdPerToken(1_000), PicoUsdPerToken(2_000));
    let with = Usage { reasoning: 90, ..usage((10, 0, 0, 0, 100)) };
    assert_eq!(price(&rates, &with), price(&rates, &usage((10, 0, 0, 0, 100))));
}

#[test]
fn a_breakdown_shows_its_terms() {
    let catalogue = Catalogue::bundled();
    let row = catalogue.find("openai", "gpt-4.1", jiff::civil::date(2026, 11, 20)).unwrap();
    let told = explain(row.rates(Batch).unwrap(), &usage((100, 900, 0, 0, 10))).unwrap();
    let terms: Vec<_> = told
        .terms
        .iter()
        .map(|term| (term.class, term.tokens, term.rate.per_token.0, term.rate.derived))
        .collect();
    assert_eq!(
        terms,
        [
            (Class::Input, 100, 1_000_000, false),
            (Class::CacheRead, 900, 500_000, true),
            (Class::Output, 10, 4_000_000, false),
        ]
    );
    assert_eq!((told.picos, told.total, told.long), (590_000_000, UsdNanos(590_000), false));
}

#[test]
fn savings_add_up() {
    let catalogue = Catalogue::bundled();
    let row = catalogue.find("openai", "gpt-5-nano", jiff::civil::date(2026, 11, 20)).unwrap();
    let used = usage((1, 1, 0, 0, 1));
    let lane = lane_saving(row, Batch, &used).unwrap();
    assert_eq!((lane.naive, lane.saved, lane.paid), (UsdNanos(455), UsdNanos(227), UsdNanos(228)));
    assert_eq!(naive(row, &used), Some(lane.naive));
    let cache = prompt_cache_saving(row.rates(Batch).unwrap(), &usage((0, 1_000, 0, 0, 0))).unwrap();
    assert_eq!((cache.naive, cache.saved, cache.paid), (UsdNanos(25_000), UsdNanos(22_500), UsdNanos(2_500)));
    let luna = catalogue.find("openai", "gpt-6-luna", jiff::civil::date(2026, 11, 20)).unwrap();
    let wrote = prompt_cache_saving(luna.rates(Sync).unwrap(), &usage((0, 0, 1_000, 0, 0))).unwrap();
    assert_eq!(wrote.saved, UsdNanos(-25_000), "a write that nobody reads costs a quarter more");

    let steps = [("dedup", UsdNanos(700)), ("routing", UsdNanos(801)), ("lane", UsdNanos(33))];
    let parts = waterfall(UsdNanos(1_000), &steps).unwrap();
    assert_eq!(parts, [("dedup", UsdNanos(300)), ("routing", UsdNanos(-101)), ("lane", UsdNanos(768))]);
    assert_eq!(parts.iter().map(|(_, part)| part.0).sum::<i64>(), 1_000 - 33);
}

#[test]
fn the_worked_table_comes_out_to_the_cent() {
    // 500 in and 200 out; 80 % nano, 15 % mini, 5 % full in batch; then a quarter deduplicated, 15 % of the rest cached.
    let catalogue = Catalogue::bundled();
    let item = |id: &str, lane| {
        let row = catalogue.find("openai", id, jiff::civil::date(2026, 11, 20)).unwrap();
        price(row.rates(lane).unwrap(), &usage((500, 0, 0, 0, 200))).unwrap().0
    };
    for (items, full, full_batch, mini, mini_batch, mix, dedup, cached) in [
        (100_000_i64, 26_000, 13_000, 5_200, 2_600, 1_560, 1_170, 994.5),
        (5_000_000, 1_300_000, 650_000, 260_000, 130_000, 78_000, 58_500, 49_725.0),
        (50_000_000, 13_000_000, 6_500_000, 2_600_000, 1_300_000, 780_000, 585_000, 497_250.0),
    ] {
        let cents = |nanos: i64| nanos / 10_000_000;
        assert_eq!(cents(items * item("gpt-4.1", Sync)), full);
        assert_eq!(cents(items * item("gpt-4.1", Batch)), full_batch);
        assert_eq!(cents(items * item("gpt-4.1-mini", Sync)), mini);
        assert_eq!(cents(items * item("gpt-4.1-mini", Batch)), mini_batch);
        let shares =
            80 * item("gpt-4.1-nano", Batch) + 15 * item("gpt-4.1-mini", Batch) + 5 * item("gpt-4.1", Batch);
        let routed = items / 100 * shares;
        assert_eq!(cents(routed), mix);
        assert_eq!(cents(routed / 4 * 3), dedup);
        let tenths_of_cents = |nanos: i64| nanos / 1_000_000;
        assert!(
            (f64::from(i32::try_from(tenths_of_cents(routed / 4 * 3 / 100 * 85)).unwrap()) - cached * 10.0)
                .abs()
                < 0.5
        );
    }
}

#[test]
fn a_custom_price_bills_every_lane_alike() {
    let row = ModelRow::custom("local", "m", usd_per_million("0.2").ok(), usd_per_million("0.8").ok());
    for lane in Lane::ALL {
        assert_eq!(price(row.rates(lane).unwrap(), &usage((10, 10, 0, 0, 5))), Some(UsdNanos(8_000)));
    }
}
