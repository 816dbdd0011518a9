//! Whether bundles pay: what is said once instead of each time, against what each item is wrapped in.

use super::said::Said;
use crate::money::{PicoUsdPerToken, Tokens};
use crate::price::JobShape;

/// Prompt tokens for each item: its marks, and its id in the shape of the answer. This and the two below as `o200k_base` counts them.
pub const FRAMING_TOKENS: u32 = 13;
/// Output tokens around each answer: its id, braces and quotes.
const ANSWER_TOKENS: u32 = 8;
/// Prompt tokens that a bundle adds once: how to answer, and the shape of it.
pub const ADDED_TOKENS: u32 = 145;
/// Output tokens around all answers.
const LIST_TOKENS: u32 = 5;
/// Of those: what stands around an answer from a closed list that is asked alone, too, `{"answer":"..."}`, the shape that services are
/// given for it.
const WRAPPED_TOKENS: u32 = 4;
/// What is allowed for [`ANSWER_TOKENS`]: models count otherwise, and some put spaces.
pub(super) const ID_TOKENS: u32 = 10;

/// Whether bundles of `size` cost less than their items one by one. `common`: the prompt tokens that all have in common;
/// `repeated`: what each of those costs where every request says them again (less than `input`, if a prompt cache holds them);
/// `is_choice`: whether answers are those of a closed list.
#[must_use]
pub fn pays(
    common: u64,
    size: u32,
    repeated: PicoUsdPerToken,
    input: PicoUsdPerToken,
    output: PicoUsdPerToken,
    is_choice: bool,
) -> bool {
    let cost = |tokens: u64, price: PicoUsdPerToken| u128::from(tokens) * u128::from(price.0);
    let saved = cost(common, repeated) * u128::from(size.saturating_sub(1));
    let each = cost(u64::from(FRAMING_TOKENS), input) + cost(u64::from(around_answer(is_choice)), output);
    saved > each * u128::from(size) + cost(u64::from(ADDED_TOKENS), input)
}

/// Output tokens that a bundle adds to each answer: less where the answer is wrapped when it is asked alone, as those of a closed list
/// are.
#[must_use]
pub fn around_answer(is_choice: bool) -> u32 {
    if is_choice { ANSWER_TOKENS - WRAPPED_TOKENS } else { ANSWER_TOKENS }
}

/// The same of all answers, with the list around those of each of `whole` bundles.
fn answer_tokens(items: u64, whole: u64, is_choice: bool) -> u64 {
    items * u64::from(around_answer(is_choice)) + whole * u64::from(LIST_TOKENS)
}

/// What items ask in bundles of `size` that each ask `alone`; `said`: what such a bundle says, and what all items have in common.
#[must_use]
pub fn together(alone: JobShape, size: u32, said: &Said) -> JobShape {
    if size < 2 || alone.items == 0 {
        return alone;
    }
    let whole = alone.items.div_ceil(u64::from(size));
    let said_less = said.common().saturating_mul(alone.items - whole);
    let (prompts, schemas) = said.added(&alone, whole);
    let answers = answer_tokens(alone.items, whole, alone.choice_bytes.is_some());
    let (prompts, answers) = (alone.added.0.0 + prompts.0, alone.added.1.0 + answers);
    JobShape {
        bytes: alone.bytes.saturating_sub(said_less),
        messages: alone.messages / alone.items * whole,
        added: (Tokens(prompts), Tokens(answers)),
        schemas: Some(schemas),
        ..asked_so(alone, size)
    }
}

/// What items ask in bundles of `size` where it is known what answers in such bundles use: no tokens are guessed, only the bounds differ.
#[must_use]
pub fn asked_so(alone: JobShape, size: u32) -> JobShape {
    let whole = alone.items.div_ceil(u64::from(size.max(1)));
    JobShape {
        requests: Some(whole),
        bytes_largest: alone.bytes_largest.saturating_mul(u64::from(size)),
        output_max: Tokens(alone.output_max.0 + u64::from(ID_TOKENS)),
        cached: alone.cached.map(|cached| cached.part(whole, alone.items)),
        counted: None,
        ..alone
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::price::Ratios;
    use crate::request::Request;

    /// Choices, and 900 bytes that all have in common.
    fn said(size: u32) -> Said {
        let line = format!(
            r#"{{"model":"m","system_prompt":["{}"],"messages":[{{"role":"user","content":"?"}}],"generation_config":{{"choices":["good","bad"]}}}}"#,
            "Sort it. ".repeat(100)
        );
        let lead: Request<'_> = serde_json::from_str(&line).unwrap();
        Said::of(&lead, &str::to_owned, size, &crate::tokens::about).unwrap()
    }

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
        let shape = together(alone, 20, &said(20));
        assert_eq!((shape.bytes, shape.messages, shape.requests), (100 * 100 + 5 * 900, 10, Some(5)));
        assert_eq!(shape.output_max.0, 20 + u64::from(ID_TOKENS));
        // A quarter of a token a byte and a tenth more, three around each of ten messages and before each of five answers; around each item and
        // in each bundle about what is known of them: ids are a part of the answer's shape.
        let bounded = JobShape { input_max: Tokens(1 << 20), ..shape };
        let known = bounded.input_expected(&Ratios::default()) - (14_500 * 11 / 40 + 1 + 10 * 3 + 5 * 3);
        let allowed = 5 * u64::from(ADDED_TOKENS) + 100 * u64::from(FRAMING_TOKENS);
        assert!(known.abs_diff(allowed) * 10 < allowed, "{known} {allowed}");
        assert_eq!(together(alone, 1, &said(1)), alone);
        // What is known of answers in bundles leaves nothing to guess.
        let known = asked_so(alone, 20);
        assert_eq!((known.bytes, known.messages, known.added), (alone.bytes, alone.messages, alone.added));
        assert_eq!((known.output_max, known.bytes_largest), (shape.output_max, shape.bytes_largest));
    }

    #[test]
    fn what_stands_around_a_choice_alone_is_not_counted_again() {
        // `{"id":"k7","answer":"good"}` in a list, against `{"answer":"good"}` or a text without anything around it.
        let free = JobShape { items: 100, bytes: 100_000, ..JobShape::default() };
        let choices = JobShape { choice_bytes: Some(4), ..free };
        for (size, around) in [(2, 250), (5, 100), (10, 50), (20, 25), (100, 5)] {
            let added = |alone| together(alone, size, &said(size)).added.1.0;
            assert_eq!((added(free), added(choices)), (800 + around, 400 + around), "{size} items");
        }
    }

    #[test]
    fn long_instructions_pay_and_short_or_cached_ones_do_not() {
        // Output is four times as dear as input; a cached token costs a tenth.
        let (input, output, cached) = (PicoUsdPerToken(1_000), PicoUsdPerToken(4_000), PicoUsdPerToken(100));
        for (common, size, repeated, is_choice, want) in [
            (400, 20, input, false, true),
            (400, 2, input, false, true),
            (200, 2, input, false, false),
            (400, 1, input, false, false),
            (54, 20, input, false, false),
            (56, 20, input, false, true),
            (38, 20, input, true, false),
            (39, 20, input, true, true),
            (500, 20, cached, false, false),
            (600, 20, cached, false, true),
            (0, 100, input, true, false),
        ] {
            let found = pays(common, size, repeated, input, output, is_choice);
            assert_eq!(found, want, "{common} tokens, {size} items, {is_choice}");
        }
    }
}
