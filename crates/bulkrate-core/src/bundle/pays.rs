//! Whether bundles pay: what is said once instead of each time, against what each item is wrapped in.

use crate::money::{PicoUsdPerToken, Tokens};
use crate::price::JobShape;

/// Prompt tokens for each item: its marks, and its id in the shape of the answer. This and the two below as `o200k_base` counts them.
pub const FRAMING_TOKENS: u32 = 13;
/// Output tokens around each answer: its id, braces and quotes.
pub const ANSWER_TOKENS: u32 = 8;
/// Prompt tokens that a bundle adds once: how to answer, and the shape of it.
pub const ADDED_TOKENS: u32 = 145;
/// Output tokens around all answers.
const LIST_TOKENS: u32 = 5;
/// What is allowed for [`ANSWER_TOKENS`]: models count otherwise, and some put spaces.
pub(super) const ID_TOKENS: u32 = 10;

/// Whether bundles of `size` cost less than their items one by one. `common`: the prompt tokens that all have in common;
/// `repeated`: what each of those costs where every request says them again (less than `input`, if a prompt cache holds them).
#[must_use]
pub fn pays(
    common: u64,
    size: u32,
    repeated: PicoUsdPerToken,
    input: PicoUsdPerToken,
    output: PicoUsdPerToken,
) -> bool {
    let cost = |tokens: u64, price: PicoUsdPerToken| u128::from(tokens) * u128::from(price.0);
    let saved = cost(common, repeated) * u128::from(size.saturating_sub(1));
    let each = cost(u64::from(FRAMING_TOKENS), input) + cost(u64::from(ANSWER_TOKENS), output);
    saved > each * u128::from(size) + cost(u64::from(ADDED_TOKENS), input)
}

/// Output tokens of one answer beside the answer itself, to the nearest.
fn answer_tokens(size: u32) -> u32 {
    ANSWER_TOKENS + (LIST_TOKENS + size / 2) / size.max(1)
}

/// What items ask in bundles of `size` that each ask `alone`; `common`: the bytes of prompt that all have in common.
#[must_use]
pub fn together(alone: JobShape, common: u64, size: u32) -> JobShape {
    if size < 2 || alone.items == 0 {
        return alone;
    }
    let whole = alone.items.div_ceil(u64::from(size));
    let said_less = common.saturating_mul(alone.items - whole);
    let framed = alone.items.saturating_mul(u64::from(FRAMING_TOKENS)) + whole * u64::from(ADDED_TOKENS);
    let (prompts, answer) = (alone.added.0.0 + framed, alone.added.1.0 + u64::from(answer_tokens(size)));
    JobShape {
        bytes: alone.bytes.saturating_sub(said_less),
        bytes_largest: alone.bytes_largest.saturating_mul(u64::from(size)),
        messages: alone.messages / alone.items * whole,
        output_max: Tokens(alone.output_max.0 + u64::from(ID_TOKENS)),
        added: (Tokens(prompts), Tokens(answer)),
        cached: alone.cached.map(|cached| cached.part(whole, alone.items)),
        ..alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_once_is_counted_once() {
        let alone = JobShape {
            items: 100,
            bytes: 100 * 1_000,
            messages: 200,
            output_max: Tokens(20),
            choice_bytes: Some(8),
            ..JobShape::default()
        };
        let shape = together(alone, 900, 20);
        assert_eq!((shape.bytes, shape.messages), (100 * 100 + 5 * 900, 10));
        assert_eq!(shape.added.0.0, u64::from(100 * FRAMING_TOKENS + 5 * ADDED_TOKENS));
        assert_eq!(
            (shape.added.1.0, shape.output_max.0),
            (u64::from(ANSWER_TOKENS), 20 + u64::from(ID_TOKENS))
        );
        assert_eq!(together(alone, 900, 1), alone);
    }

    #[test]
    fn long_instructions_pay_and_short_or_cached_ones_do_not() {
        // Output is four times as dear as input; a cached token costs a tenth.
        let (input, output, cached) = (PicoUsdPerToken(1_000), PicoUsdPerToken(4_000), PicoUsdPerToken(100));
        for (common, size, repeated, want) in [
            (400, 20, input, true),
            (400, 2, input, true),
            (200, 2, input, false),
            (400, 1, input, false),
            (54, 20, input, false),
            (56, 20, input, true),
            (500, 20, cached, false),
            (600, 20, cached, true),
            (0, 100, input, false),
        ] {
            assert_eq!(pays(common, size, repeated, input, output), want, "{common} tokens, {size} items");
        }
    }
}
