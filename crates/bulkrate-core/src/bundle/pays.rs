//! Whether bundles pay: what is said once instead of each time, against what each item is wrapped in.

use crate::money::PicoUsdPerToken;

/// Prompt tokens around each item: its marks and its id.
pub const FRAMING_TOKENS: u32 = 12;
/// Output tokens around each answer: its id, braces and quotes.
pub const ID_TOKENS: u32 = 10;
/// Prompt tokens that a bundle adds once: how to answer, and the shape of it.
pub const ADDED_TOKENS: u32 = 140;

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
    let each = cost(u64::from(FRAMING_TOKENS), input) + cost(u64::from(ID_TOKENS), output);
    saved > each * u128::from(size) + cost(u64::from(ADDED_TOKENS), input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_instructions_pay_and_short_or_cached_ones_do_not() {
        // Output is four times as dear as input; a cached token costs a tenth.
        let (input, output, cached) = (PicoUsdPerToken(1_000), PicoUsdPerToken(4_000), PicoUsdPerToken(100));
        for (common, size, repeated, want) in [
            (400, 20, input, true),
            (400, 2, input, true),
            (200, 2, input, false),
            (400, 1, input, false),
            (60, 20, input, false),
            (66, 20, input, true),
            (500, 20, cached, false),
            (700, 20, cached, true),
            (0, 100, input, false),
        ] {
            assert_eq!(pays(common, size, repeated, input, output), want, "{common} tokens, {size} items");
        }
    }
}
