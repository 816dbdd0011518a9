//! What a job will cost, before it runs: expected, P95 and worst case.
//!
//! What usage has taught is in [`Ratios`], per (model, template). Token counts are estimates and use floats; the
//! money made of them is integer and rounded up.

use super::bound::{Writes, dearest};
use super::numbers::{float, tokens};
use super::ratios::PRIOR_TOKENS_PER_BYTE;
pub use super::ratios::Ratios;
use super::row::{RateSet, Rates};
use crate::money::{Tokens, UsdNanos};

/// Tokens that stand around a message, and that begin the answer (OpenAI cookbook, "How to count tokens with tiktoken"). They
/// are in a learned ratio.
const PRIOR_TOKENS_PER_MESSAGE: f64 = 3.0;
const PRIOR_TOKENS_PER_ANSWER: f64 = 3.0;
/// Visible output of free text before any usage, at most: the mean of the measured tasks, rounded up.
const PRIOR_FREE_OUTPUT: f64 = 256.0;
/// Hidden reasoning before any usage, as a multiple of visible output.
const PRIOR_REASONING_FACTOR: f64 = 8.0;
/// The smallest prefix that any listed provider caches; shorter prompts are never billed as cache writes.
const CACHEABLE_MIN_TOKENS: f64 = 512.0;

/// The items that are still to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobShape {
    pub items: u64,
    /// Sums over the items, and the largest: bytes of prompt text.
    pub bytes: u64,
    pub bytes_largest: u64,
    /// Messages of all items; none for embeddings and moderations.
    pub messages: u64,
    /// So many requests ask them, where it is not one an item.
    pub requests: Option<u64>,
    /// The sum of the input bounds of [`super::bound::input_max`], and the largest.
    pub input_max: Tokens,
    pub input_max_largest: Tokens,
    /// The enforced maximum of output of one item.
    pub output_max: Tokens,
    /// Bytes of the longest choice where the answers are a closed list.
    pub choice_bytes: Option<u64>,
    pub reasoning: bool,
    pub writes: Writes,
    /// Tokens beside what bytes and the answers themselves say: of all prompts, and of all answers.
    pub added: (Tokens, Tokens),
    /// Input tokens that were counted, where they were: the sum, and the largest. They replace what bytes would say.
    pub counted: Option<(Tokens, Tokens)>,
    /// What is expected of a prompt cache, where prompts are marked for one and nothing is known of what it finds.
    pub cached: Option<Cached>,
    /// The sum of the lengths of all requests, in the measure in which [`Ratios::add_of`] was told those of the answers; whoever goes
    /// together with whom.
    pub lengths: Option<u64>,
    /// Where items go together: what is known of the shapes of their answers, and of asking them alone.
    pub schemas: Option<Schemas>,
}

/// What items ask in shapes of their answers, alone and in bundles. A service tells that a schema adds tokens, and not how many; what
/// answers alone have used says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Schemas {
    /// Tokens of the schemas of all items asked alone, and of all bundles, if their text counts.
    pub alone: Tokens,
    pub together: Tokens,
    /// Tokens around the messages of all items asked alone, and of all bundles.
    pub framing: (Tokens, Tokens),
    /// Bytes of prompt text of all items asked alone, and of these the ones that are each item's own.
    pub bytes: u64,
    pub own: u64,
    /// Tokens of what all of them have in common, and bytes.
    pub common: (u64, u64),
    /// Input tokens of all items asked alone, where they were counted.
    pub counted: Option<Tokens>,
}

impl Schemas {
    /// By what all items use alone: tokens of their own texts, tokens per byte of what they have in common, and the part of a schema's text that
    /// counts. `own`: tokens per byte of their own texts, where that is known.
    fn told(&self, alone: f64, own: Option<f64>) -> (f64, f64, f64) {
        let (said, schema) = ((alone - float(self.framing.0.0)).max(0.0), float(self.alone.0));
        let dense = float(self.common.0) / float(self.common.1).max(1.0);
        let (bytes, own_bytes) = (float(self.bytes).max(1.0), float(self.own));
        let part_of = |rest: f64| if schema > 0.0 { (rest / schema).clamp(0.0, 1.0) } else { 1.0 };
        let common = bytes - own_bytes;
        if let Some(own) = own.filter(|_| common > 0.0) {
            let own = (own * own_bytes).min(said);
            let part = part_of(said - own - common * dense);
            return (own, (said - own - part * schema).max(0.0) / common, part);
        }
        // Else the items' own texts are taken to be as dense as what they have in common.
        let part = part_of(said - bytes * dense);
        let each = (said - part * schema).max(0.0) / bytes;
        (each * own_bytes, each, part)
    }

    /// Input tokens of all bundles, whose text has so many bytes: (expected, P95 of the sum), without what they add in text.
    fn input(&self, bytes: u64, ratios: &Ratios) -> (f64, f64) {
        let (per_byte, per_byte_p95) = ratios.input_per_byte();
        let (framing, schema) = (float(self.framing.1.0), float(self.together.0));
        let known = match self.counted {
            Some(sum) => Some(float(sum.0)),
            None => ratios.knows_input().then(|| float(self.bytes) * per_byte),
        };
        let Some(alone) = known else {
            let around = framing + schema;
            return (float(bytes) * per_byte + around, float(bytes) * per_byte_p95 + around);
        };
        let (own, dense, part) = self.told(alone, ratios.own_per_byte());
        let text = own + dense * float(bytes.saturating_sub(self.own));
        let buffer =
            if self.counted.is_some() { 1.0 } else { per_byte_p95 / per_byte.max(f64::MIN_POSITIVE) };
        (text + framing + part * schema, text * buffer + framing + schema)
    }
}

/// Tokens of a job's input that a prompt cache is expected to hold, and that are expected to be written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cached {
    pub read: Tokens,
    pub written: Tokens,
    pub writes: Writes,
}

impl Cached {
    /// What is left of it where so many requests go instead of so many.
    #[must_use]
    pub fn part(self, requests: u64, of: u64) -> Self {
        let part = |all: Tokens| {
            let part = u128::from(all.0) * u128::from(requests) / u128::from(of.max(1));
            Tokens(u64::try_from(part).unwrap_or(u64::MAX))
        };
        Self { read: part(self.read), written: part(self.written), ..self }
    }
}

/// About so many tokens are in so many bytes of a prompt, before anything is known of its model.
#[must_use]
pub fn prompt_tokens(bytes: u64) -> u64 {
    tokens(float(bytes) * PRIOR_TOKENS_PER_BYTE)
}

impl JobShape {
    /// Input tokens of all items: (expected, P95 of the sum).
    fn input(&self, ratios: &Ratios) -> (f64, f64) {
        if let Some((sum, _)) = self.counted {
            return (float(sum.0), float(sum.0));
        }
        if let Some(schemas) = self.schemas {
            let (max, added) = (float(self.input_max.0), float(self.added.0.0));
            let (expected, p95) = schemas.input(self.bytes, ratios);
            return ((expected + added).min(max), (p95 + added).min(max));
        }
        let (per_byte, per_byte_p95) = ratios.input_per_byte();
        let framing = if ratios.knows_input() || self.messages == 0 {
            0.0
        } else {
            float(self.messages) * PRIOR_TOKENS_PER_MESSAGE
                + float(self.requests.unwrap_or(self.items)) * PRIOR_TOKENS_PER_ANSWER
        };
        // Never more tokens than the bounds allow.
        let max = float(self.input_max.0);
        let (bytes, framing) = (float(self.bytes), framing + float(self.added.0.0));
        ((bytes * per_byte + framing).min(max), (bytes * per_byte_p95 + framing).min(max))
    }

    /// Of so many input tokens: read from a prompt cache, written to it for five minutes, and for an hour.
    fn cached(&self, input: f64, ratios: &Ratios) -> [f64; 3] {
        if let Some(shares) = ratios.cached() {
            return shares.map(|share| share * input);
        }
        let Some(Cached { read, written, writes }) = self.cached else { return [0.0; 3] };
        let read = float(read.0).min(input);
        let written = float(written.0).min(input - read);
        if writes == Writes::Hour { [read, 0.0, written] } else { [read, written, 0.0] }
    }

    /// The input tokens to expect of all items.
    #[must_use]
    pub fn input_expected(&self, ratios: &Ratios) -> u64 {
        tokens(self.input(ratios).0)
    }

    /// Output tokens of one item before anything is known.
    pub(super) fn prior_output(&self) -> f64 {
        let visible = self.choice_bytes.map_or(PRIOR_FREE_OUTPUT, |bytes| float(bytes) / 4.0 + 4.0);
        if self.reasoning { visible * PRIOR_REASONING_FACTOR } else { visible }
    }
}

/// Three figures for one job on one lane: `expected <= p95 <= worst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    pub expected: UsdNanos,
    pub p95: UsdNanos,
    pub worst: UsdNanos,
    /// Whether the figures rest on enough usage for the P95 to be a promise.
    pub learned: bool,
}

/// Estimates the items of `job` at `rates`. `None` when the worst case is larger than the ledger can hold.
#[must_use]
pub fn quote(rates: &Rates, ratios: &Ratios, job: &JobShape) -> Option<Quote> {
    let (input, input_p95) = job.input(ratios);
    let largest = match job.counted {
        Some((_, largest)) => float(largest.0),
        None => float(job.bytes_largest) * ratios.input_per_byte().1,
    };
    let (output, output_p95) = ratios.output(job);
    let items = float(job.items);
    let worst = worst(rates, job)?;
    // The tier by the mean item; for the P95 by the largest one.
    let set = rates.for_prompt(tokens(input / items.max(1.0)));
    // What a prompt cache was seen to find is expected to be found again, and not counted on.
    let [read, short, hour] = job.cached(input, ratios);
    let expected = [
        ((input - read - short - hour).max(0.0), set.input.per_token.0),
        (read, set.cache_read.per_token.0),
        (short, set.cache_write_5m.per_token.0),
        (hour, set.cache_write_1h.per_token.0),
        (output * items, set.output.per_token.0),
    ];
    let expected = money(job.items, &expected)?;
    let (input_rate, output_rate) = p95_rates(rates, largest, job.writes);
    let p95 = money(job.items, &[(input_p95, input_rate), (output_p95 * items, output_rate)])?;
    let p95 = p95.max(expected).min(worst);
    Some(Quote { expected: expected.min(worst), p95, worst, learned: ratios.promises() })
}

/// Every item at its bound.
fn worst(rates: &Rates, job: &JobShape) -> Option<UsdNanos> {
    let (per_input, per_output) = dearest(rates, job.input_max_largest, job.writes);
    let output = u128::from(job.output_max.0).checked_mul(u128::from(job.items))?;
    let picos = (u128::from(job.input_max.0) * u128::from(per_input))
        .checked_add(output.checked_mul(u128::from(per_output))?)?;
    rounded(picos, job.items)
}

/// The rates that the P95 counts with: cache writes count where the largest prompt may be cached.
fn p95_rates(rates: &Rates, largest: f64, writes: Writes) -> (u64, u64) {
    if largest >= CACHEABLE_MIN_TOKENS {
        return dearest(rates, Tokens(tokens(largest)), writes);
    }
    let set: &RateSet = rates.for_prompt(tokens(largest));
    (set.input.per_token.0, set.output.per_token.0)
}

/// Tokens, each kind at its rate.
fn money(items: u64, terms: &[(f64, u64)]) -> Option<UsdNanos> {
    let of = |(count, rate): &(f64, u64)| u128::from(tokens(*count)) * u128::from(*rate);
    rounded(terms.iter().try_fold(0_u128, |sum, term| sum.checked_add(of(term)))?, items)
}

/// Rounds up; each paid item may itself be rounded up by just under a nano-dollar.
fn rounded(picos: u128, items: u64) -> Option<UsdNanos> {
    let rounding = if picos == 0 { 0 } else { u128::from(items) * 999 };
    super::cost::round_up(picos.checked_add(rounding)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "tests")]
    use super::*;
    use crate::lane::Lane;
    use crate::price::{Catalogue, price};
    use crate::usage::Usage;
    use proptest::prelude::*;

    #[test]
    fn few_harder_answers_are_priced_by_their_own_means() {
        let of = |items: u64, output: u64| {
            let mut ratios = Ratios::default();
            (0..items).for_each(|_| ratios.add(400, &Usage { input: 100, output, ..Usage::default() }));
            ratios
        };
        let (all, few) = (of(300, 20), of(10, 60));
        let like = few.stretched(&all);
        assert_eq!((like.items, like.bytes, like.input, like.output), (300, 120_000, 30_000, 18_000));
        assert_eq!(Ratios::default().stretched(&all), Ratios { items: 300, ..Ratios::default() });
        assert!(all.promises() && !few.promises());
        let shape = job(1_000, 400_000, 1_000);
        let expected = |ratios: &Ratios| quote(&luna(), ratios, &shape).unwrap().expected;
        assert!(expected(&like) > expected(&all), "{:?}", expected(&like));
    }

    #[test]
    fn the_measured_hit_rate_says_which_mark_is_cheapest() {
        let haiku = *Catalogue::bundled()
            .find("anthropic", "claude-haiku-5-5", jiff::civil::date(2026, 11, 20))
            .unwrap()
            .rates(Lane::Sync)
            .unwrap();
        // 2,000 tokens of 2,100 are marked, and written at 1.25 times the price or read at a tenth: 21.7 % must be found again.
        let seen = |hits: u64| {
            let mut ratios = Ratios::default();
            for item in 0..100 {
                let cache = Usage { input: 100, output: 5, ..Usage::default() };
                let usage = if item < hits {
                    Usage { cache_read: 2_000, ..cache }
                } else {
                    Usage { cache_write_5m: 2_000, ..cache }
                };
                ratios.add(8_400, &usage);
            }
            ratios
        };
        let shape = job(1_000, 8_400, 100);
        let expected = |ratios: &Ratios| quote(&haiku, ratios, &shape).unwrap().expected;
        for (hits, marked) in [(0, false), (21, false), (22, true), (60, true), (98, true)] {
            let seen = seen(hits);
            let (off, short, hour) = (
                expected(&seen.uncached()),
                expected(&seen.written_for(Writes::Short)),
                expected(&seen.written_for(Writes::Hour)),
            );
            assert_eq!(short < off, marked, "{hits} {short:?} {off:?}");
            assert!(hour > short, "{hits}: at the same hit rate an hour is dearer to write");
            assert_eq!(expected(&seen.written_for(Writes::Hour).written_for(Writes::Short)), short);
            assert!(seen.touches_cache() && !seen.uncached().touches_cache());
        }
    }

    fn luna() -> Rates {
        *Catalogue::bundled()
            .find("openai", "gpt-6-luna", jiff::civil::date(2026, 11, 20))
            .unwrap()
            .rates(Lane::Batch)
            .unwrap()
    }

    fn job(items: u64, bytes: u64, output_max: u64) -> JobShape {
        JobShape {
            items,
            bytes: items * bytes,
            bytes_largest: bytes,
            input_max: Tokens(items * (bytes + 80)),
            input_max_largest: Tokens(bytes + 80),
            output_max: Tokens(output_max),
            ..Default::default()
        }
    }

    /// Answers with a long tail and a mean of about `mean`, the same for every run.
    fn outputs(seed: u64, mean: f64) -> impl Iterator<Item = u64> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        std::iter::repeat_with(move || {
            let mut uniform = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                ((state >> 11) as f64 + 1.0) / 9_007_199_254_740_994.0
            };
            let normal = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
            // Log-normal with a coefficient of variation of 0.8, as measured.
            let sigma = (1.0_f64 + 0.64).ln().sqrt();
            (mean * (sigma * normal - sigma * sigma / 2.0).exp()).round().min(1_024.0) as u64
        })
    }

    #[test]
    fn before_any_usage_the_prior_speaks() {
        let quote = quote(&luna(), &Ratios::default(), &job(1_000, 400, 1_024)).unwrap();
        // 110 tokens in at 0.05 and 256 out at 0.25 USD per million, and 999 picos of rounding an item.
        assert_eq!(quote.expected, UsdNanos((110 * 50 + 256 * 250) * 1_000 + 999));
        assert_eq!(quote.p95, UsdNanos((160 * 50 + 1_024 * 250) * 1_000 + 999));
        assert_eq!(quote.worst.0, ((480.0 * 62.5 + 1_024.0 * 250.0) * 1_000.0) as i64 + 999);
        assert!(!quote.learned);
        let choices = JobShape { choice_bytes: Some(8), ..job(1_000, 400, 24) };
        let quote = super::quote(&luna(), &Ratios::default(), &choices).unwrap();
        assert_eq!(quote.expected, UsdNanos((110 * 50 + 6 * 250) * 1_000 + 999));
    }

    #[test]
    fn what_is_marked_is_expected_at_the_prices_of_the_cache_and_never_counted_on() {
        let luna = luna();
        // 400 bytes are 110 tokens: of 100,000 that are marked 30,000 are read, the rest is written.
        let cached = Cached { read: Tokens(30_000), written: Tokens(70_000), writes: Writes::Short };
        let plain = job(1_000, 400, 1_024);
        let marked = JobShape { cached: Some(cached), ..plain };
        let of = |ratios: &Ratios, job| quote(&luna, ratios, &job).unwrap();
        let fresh = Ratios::default();
        let (without, with) = (of(&fresh, plain), of(&fresh, marked));
        // 0.05 in, 0.005 read, 0.0625 written, 0.25 out.
        assert_eq!(with.expected.0, 10_000 * 50 + 30_000 * 5 + 70_000 * 125 / 2 + 256_000 * 250 + 999);
        assert_eq!((with.p95, with.worst), (without.p95, without.worst), "reserved as if all were written");
        // What answers have shown is known better.
        let mut seen = Ratios::default();
        (0..20).for_each(|_| {
            seen.add(400, &Usage { input: 10, cache_read: 90, output: 256, ..Usage::default() });
        });
        assert_eq!(of(&seen, marked).expected.0, 10_000 * 50 + 90_000 * 5 + 256_000 * 250 + 999);
        assert_eq!(of(&seen.uncached(), plain).expected.0, 100_000 * 50 + 256_000 * 250 + 999);
        (0..20).for_each(|_| {
            seen.add(400, &Usage { input: 10, cache_write_5m: 90, output: 256, ..Usage::default() });
        });
        let both = 45_000 * 5 + 45_000 * 125 / 2;
        assert_eq!(of(&seen, plain).expected.0, 10_000 * 50 + both + 256_000 * 250 + 999);
    }

    #[test]
    fn the_promise_tightens_as_usage_comes_in() {
        let mut ratios = Ratios::default();
        let quotes: Vec<Quote> = [49_u64, 50, 100]
            .into_iter()
            .map(|items| {
                while ratios.items < items {
                    ratios.add(400, &Usage { input: 100, output: 20, ..Default::default() });
                }
                quote(&luna(), &ratios, &job(100_000, 400, 1_024)).unwrap()
            })
            .collect();
        let per_item = |cost: UsdNanos| cost.0 / 100_000;
        assert_eq!(per_item(quotes[0].p95), 120 * 50 + 1_024 * 250);
        assert_eq!(per_item(quotes[1].p95), 5_550 + 26 * 250);
        assert_eq!(per_item(quotes[2].p95), 5_375 + 24 * 250);
        assert_eq!(quotes[2].expected, UsdNanos((100 * 50 + 20 * 250) * 100_000 + 99_900));
        assert!(!quotes[0].learned && quotes[1].learned);
    }

    #[test]
    fn the_p95_of_a_pilot_of_100_covers_the_bill() {
        // Acceptance F1: at least 95 % of 500 pilots cover the final bill; the expected value is within 15 % in 95 %.
        let (rates, left) = (luna(), 2_000_u64);
        let (mut covered, mut near) = (0, 0);
        for seed in 1..=500 {
            let mut outputs = outputs(seed, 180.0);
            let mut ratios = Ratios::default();
            let usage = |output| Usage { input: 120, output, ..Default::default() };
            for output in outputs.by_ref().take(100) {
                ratios.add(430, &usage(output));
            }
            let quote = quote(&rates, &ratios, &job(left, 430, 1_024)).unwrap();
            let bill: i64 =
                outputs.take(left as usize).map(|output| price(&rates, &usage(output)).unwrap().0).sum();
            covered += usize::from(quote.p95.0 >= bill);
            near += usize::from((quote.expected.0 - bill).abs() * 100 <= bill * 15);
        }
        assert!(covered >= 475, "covered {covered} of 500");
        assert!(near >= 475, "near {near} of 500");
    }

    #[test]
    fn counted_tokens_replace_the_ratio() {
        let counted = JobShape {
            counted: Some((Tokens(90_000), Tokens(120))),
            choice_bytes: Some(8),
            ..job(1_000, 400, 24)
        };
        let quote = quote(&luna(), &Ratios::default(), &counted).unwrap();
        assert_eq!(quote.expected, UsdNanos(90_000 * 50 + 6 * 250 * 1_000 + 999));
        assert_eq!(quote.p95, UsdNanos(90_000 * 50 + 24 * 250 * 1_000 + 999), "only the output is uncertain");
        let estimated =
            super::quote(&luna(), &Ratios::default(), &JobShape { counted: None, ..counted }).unwrap();
        assert_eq!(quote.worst, estimated.worst, "what is reserved stays a bound");
    }

    #[test]
    fn long_prompts_and_reasoning_count() {
        let flat = quote(&luna(), &Ratios::default(), &job(1, 900_000, 100)).unwrap();
        // 247,500 tokens expected: the base tier; 360,000 at P95: the long one, as cache writes.
        assert_eq!(flat.expected, UsdNanos(247_500 * 50 + 100 * 250 + 1));
        assert_eq!(flat.p95, UsdNanos(360_000 * 125 + 100 * 375 + 1));
        let thinking = JobShape { reasoning: true, ..job(1, 400, 16_384) };
        assert_eq!(
            quote(&luna(), &Ratios::default(), &thinking).unwrap().expected,
            UsdNanos(110 * 50 + 2_048 * 250 + 1)
        );
    }

    proptest! {
        #[test]
        fn the_three_figures_are_ordered(
            n in 0_u64..400, input in 1_u64..5_000, output in 0_u64..5_000,
            items in 0_u64..1_000_000, bytes in 0_u64..2_000_000, cap in 0_u64..20_000,
        ) {
            let mut ratios = Ratios::default();
            for _ in 0..n {
                ratios.add(1_000, &Usage { input, output, ..Default::default() });
            }
            let quote = quote(&luna(), &ratios, &job(items, bytes, cap)).unwrap();
            prop_assert!(quote.expected <= quote.p95 && quote.p95 <= quote.worst, "{quote:?}");
        }
    }
}
