//! The most a request can cost, known before it is sent. What the budget reserves.
//!
//! Input tokens never exceed the bytes of the text: every tokenizer in use falls back to single bytes at worst. What a
//! provider adds around the text is covered by a fixed allowance. Output is bounded by the maximum that is always sent.

use super::cost::round_up;
use super::row::{ModelRow, Rate, RateSet, Rates};
use crate::money::{Tokens, UsdNanos};

/// Tokens that chat formats add around each message (OpenAI: 3 or 4); doubled.
const PER_MESSAGE_TOKENS: u64 = 8;
/// Tokens that a provider adds once: the start of the answer, a schema or tool preamble.
const PER_REQUEST_TOKENS: u64 = 64;
/// OpenAI's documented dearest image: gpt-4o-mini at 2,833 + 5,667 a tile, and 8 tiles at most (48,169), rounded up.
const MINI_IMAGE_TOKENS: u64 = 49_152;
/// Our own bound for every other model: OpenAI's largest documented patch budget (10,000) times the dearest multiplier
/// of a model that takes it (1.62), rounded up. Tiled models (1,445) and other providers stay far below.
const IMAGE_TOKENS: u64 = 16_384;

/// Maximum output without a word from the user, by decision: schema or free text.
pub const FREE_OUTPUT_TOKENS: u64 = 1_024;
/// Room beyond the longest choice, for quotes, braces and a stop token.
pub const CHOICE_MARGIN_TOKENS: u64 = 16;

/// How much a model may think before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Effort {
    #[default]
    None,
    Low,
    Medium,
    High,
    /// A budget of the user's own.
    Tokens(u64),
}

impl Effort {
    /// Tokens added to the maximum output.
    #[must_use]
    pub fn allowance(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Low => 1_024,
            Self::Medium => 4_096,
            Self::High => 16_384,
            Self::Tokens(tokens) => tokens,
        }
    }
}

/// The maximum output that is sent where the user sets none. `choice_bytes`: the longest allowed answer in bytes, for a
/// closed list of choices (a choice has at most as many tokens as bytes). Capped by what the model can do.
#[must_use]
pub fn default_output_max(choice_bytes: Option<u64>, effort: Effort, model_max: Option<Tokens>) -> Tokens {
    let visible = choice_bytes.map_or(FREE_OUTPUT_TOKENS, |bytes| bytes.saturating_add(CHOICE_MARGIN_TOKENS));
    let wanted = visible.saturating_add(effort.allowance());
    Tokens(model_max.filter(|max| max.0 > 0).map_or(wanted, |max| wanted.min(max.0)))
}

/// Which prompt-cache writes a provider may bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Writes {
    /// The short write, which some models make on their own.
    #[default]
    Short,
    /// The request asks for the one-hour cache.
    Hour,
}

/// What is known of a request before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestShape {
    /// UTF-8 bytes of all text that becomes prompt: messages, system prompt, tools, schema. Not base64 data.
    pub text_bytes: u64,
    pub messages: u64,
    pub images: u64,
    /// PDF and other files: no bound from their size, so the model's largest input stands in.
    pub documents: u64,
    /// The enforced maximum of one answer, reasoning included.
    pub output_max: Tokens,
    /// Answers asked for in one request (`n`); 0 counts as 1.
    pub answers: u64,
    pub writes: Writes,
}

/// The most input tokens the request can have. `None`: a document and no known input limit, or more than `u64` holds.
#[must_use]
pub fn input_max(row: &ModelRow, shape: &RequestShape) -> Option<Tokens> {
    let per_image = if row.id.contains("gpt-4o-mini") { MINI_IMAGE_TOKENS } else { IMAGE_TOKENS };
    let framing = shape.messages.checked_mul(PER_MESSAGE_TOKENS)?.checked_add(PER_REQUEST_TOKENS)?;
    let text = shape.text_bytes.checked_add(framing)?.checked_add(shape.images.checked_mul(per_image)?)?;
    if shape.documents == 0 {
        return Some(Tokens(text));
    }
    let limits = row.limits;
    let limit = limits.max_input.max(limits.context_window)?;
    Some(Tokens(text.max(limit.0)))
}

/// The most the request can cost on a lane: every input token at the dearest rate that may apply, the enforced maximum
/// of output. `None` when no bound exists or it is larger than the ledger can hold.
#[must_use]
pub fn bound(row: &ModelRow, rates: &Rates, shape: &RequestShape) -> Option<UsdNanos> {
    let input = input_max(row, shape)?;
    // Embeddings, moderations and decisions have no priced output; their rate is 0.
    let output = shape.output_max.0.checked_mul(shape.answers.max(1))?;
    bound_tokens(rates, input, Tokens(output), shape.writes)
}

/// As [`bound`], for token counts that are bounds already.
#[must_use]
pub fn bound_tokens(rates: &Rates, input: Tokens, output: Tokens, writes: Writes) -> Option<UsdNanos> {
    let (per_input, per_output) = dearest(rates, input, writes);
    let picos = (u128::from(input.0) * u128::from(per_input))
        .checked_add(u128::from(output.0) * u128::from(per_output))?;
    round_up(picos)
}

/// The dearest input and output rates that a prompt of at most `input` tokens can meet, in pico-dollars per token.
pub(super) fn dearest(rates: &Rates, input: Tokens, writes: Writes) -> (u64, u64) {
    let of_input = |set: &RateSet| {
        let hour = if writes == Writes::Hour { set.cache_write_1h } else { Rate::default() };
        [set.input, set.cache_read, set.cache_write_5m, hour]
            .into_iter()
            .map(|rate| rate.per_token.0)
            .max()
            .unwrap_or(0)
    };
    let base = (of_input(&rates.base), rates.base.output.per_token.0);
    match &rates.long {
        Some(long) if long.covers(input.0) => {
            (base.0.max(of_input(&long.rates)), base.1.max(long.rates.output.per_token.0))
        }
        _ => base,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::lane::Lane;
    use crate::price::Catalogue;

    fn row(catalogue: &Catalogue, provider: &str, id: &str) -> ModelRow {
        catalogue.find(provider, id, jiff::civil::date(2026, 11, 20)).unwrap().clone()
    }

    #[test]
    fn output_defaults_follow_the_decision() {
        for (choice, effort, model_max, want) in [
            (None, Effort::None, None, 1_024),
            (Some(8), Effort::None, None, 24),
            (Some(8), Effort::Low, None, 1_048),
            (None, Effort::Medium, None, 5_120),
            (None, Effort::High, None, 17_408),
            (None, Effort::High, Some(4_096), 4_096),
            (None, Effort::Tokens(100), Some(0), 1_124),
        ] {
            assert_eq!(default_output_max(choice, effort, model_max.map(Tokens)), Tokens(want));
        }
    }

    #[test]
    fn bounds_take_the_dearest_rate_that_may_apply() {
        let catalogue = Catalogue::bundled();
        let luna = row(&catalogue, "openai", "gpt-6-luna");
        let mini = row(&catalogue, "openai", "gpt-4o-mini");
        let haiku = row(&catalogue, "anthropic", "claude-haiku-5-5");
        let free = row(&catalogue, "openai", "omni-moderation-latest");
        let text = |text_bytes, output| RequestShape {
            text_bytes,
            messages: 2,
            output_max: Tokens(output),
            ..Default::default()
        };
        let hour = RequestShape { writes: Writes::Hour, ..text(920, 100) };
        for (name, row, lane, shape, want) in [
            // 920 + 16 + 64 = 1,000 tokens at the write rate 0.0625 and 100 at 0.25 USD per million.
            ("batch", &luna, Lane::Batch, text(920, 100), 62_500 + 25_000),
            ("sync", &luna, Lane::Sync, text(920, 100), 125_000 + 50_000),
            // 272,001 tokens reach the long tier: 0.25 in, 0.75 out.
            ("long", &luna, Lane::Sync, text(271_921, 100), 68_000_250 + 75_000),
            ("not long", &luna, Lane::Sync, text(271_920, 100), 34_000_000 + 50_000),
            ("hour", &haiku, Lane::Sync, hour, 200_000 + 50_000),
            ("no write rate", &mini, Lane::Sync, text(920, 100), 150_000 + 60_000),
            ("image", &mini, Lane::Batch, RequestShape { images: 1, ..text(920, 0) }, 3_761_400),
            ("answers", &luna, Lane::Batch, RequestShape { answers: 3, ..text(920, 100) }, 62_500 + 75_000),
            ("document", &haiku, Lane::Batch, RequestShape { documents: 1, ..text(920, 0) }, 312_500_000),
            ("free", &free, Lane::Sync, text(100_000, 0), 0),
        ] {
            assert_eq!(bound(row, row.rates(lane).unwrap(), &shape), Some(UsdNanos(want)), "{name}");
        }
        let rates = luna.rates(Lane::Sync).unwrap();
        assert_eq!(bound(&luna, rates, &text(u64::MAX, 1)), None, "more than can be held has no bound");
        let unlimited = ModelRow::custom("local", "m", None, None);
        assert_eq!(bound(&unlimited, rates, &RequestShape { documents: 1, ..text(1, 1) }), None);
    }
}
