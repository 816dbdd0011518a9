//! One sum cut into parts that add up to it exactly.

use crate::usage::Usage;

/// Cuts `total` by `weights`; equal parts where none weighs anything. Each part is the exact one, rounded down or up, so that no
/// part is larger than its weight where the total is no larger than all of them.
#[must_use]
pub fn shares(total: u64, weights: &[u64]) -> Vec<u64> {
    let all: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    let (all, weighs) = if all == 0 { (weights.len() as u128, false) } else { (all, true) };
    let (mut so_far, mut given) = (0_u128, 0_u128);
    let mut parts = Vec::with_capacity(weights.len());
    for &weight in weights {
        so_far += if weighs { u128::from(weight) } else { 1 };
        // Both factors are below 2^64 and 2^71, and `so_far` is at most `all`.
        let until = scaled(u128::from(total), so_far, all);
        parts.push(u64::try_from(until - given).unwrap_or(u64::MAX));
        given = until;
    }
    parts
}

/// `total x part / all`, rounded down, for `part <= all`; the product may be longer than 128 bits.
fn scaled(total: u128, part: u128, all: u128) -> u128 {
    match total.checked_mul(part) {
        Some(product) => product / all,
        // Weights are counts and nano-dollars: a sum of them above 2^64 is not met. Whole first, then what is left.
        None => total / all * part + (total % all).saturating_mul(part >> 8) / (all >> 8).max(1),
    }
}

/// The parts of what a whole answer used. Thinking stays a part of the output.
#[must_use]
pub fn usage_shares(usage: &Usage, weights: &[u64]) -> Vec<Usage> {
    let reasoning = usage.reasoning.min(usage.output);
    let cut = |total| shares(total, weights);
    let (input, read) = (cut(usage.input), cut(usage.cache_read));
    let (short, hour) = (cut(usage.cache_write_5m), cut(usage.cache_write_1h));
    let (visible, thought) = (cut(usage.output - reasoning), cut(reasoning));
    (0..weights.len())
        .map(|at| Usage {
            input: input[at],
            cache_read: read[at],
            cache_write_5m: short[at],
            cache_write_1h: hour[at],
            output: visible[at] + thought[at],
            reasoning: thought[at],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_of_a_few_sums() {
        for (total, weights, want) in [
            (10, vec![1, 1, 1], vec![3, 3, 4]),
            (10, vec![0, 0, 0], vec![3, 3, 4]),
            (7, vec![1, 0, 6], vec![1, 0, 6]),
            (0, vec![5, 5], vec![0, 0]),
            (5, vec![9], vec![5]),
            (u64::MAX, vec![u64::MAX, u64::MAX], vec![u64::MAX / 2, u64::MAX / 2 + 1]),
            (3, vec![], vec![]),
        ] {
            assert_eq!(shares(total, &weights), want, "{total} by {weights:?}");
        }
    }

    proptest! {
        #[test]
        fn parts_add_up_and_stay_below_their_weights(
            total: u64,
            weights in prop::collection::vec(0_u64..1 << 40, 1..120),
        ) {
            let parts = shares(total, &weights);
            prop_assert_eq!(parts.iter().map(|&part| u128::from(part)).sum::<u128>(), u128::from(total));
            let all: u64 = weights.iter().sum();
            if all > 0 {
                for (part, weight) in parts.iter().zip(&weights) {
                    let exact = u128::from(total) * u128::from(*weight);
                    let (low, high) = (exact / u128::from(all), exact.div_ceil(u128::from(all)));
                    prop_assert!((low..=high).contains(&u128::from(*part)), "{part} of {low}..={high}");
                }
            }
            // What was reserved by the same weights covers what is paid.
            let paid = shares(total.min(all), &weights);
            prop_assert!(all == 0 || paid.iter().zip(&weights).all(|(part, weight)| part <= weight));
        }

        #[test]
        fn no_token_is_lost_or_made(
            counts in prop::array::uniform6(0_u64..10_000_000),
            weights in prop::collection::vec(0_u64..5_000, 1..101),
        ) {
            let [input, cache_read, cache_write_5m, cache_write_1h, visible, reasoning] = counts;
            let output = visible + reasoning;
            let whole = Usage { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning };
            let parts = usage_shares(&whole, &weights);
            let sum = |of: fn(&Usage) -> u64| parts.iter().map(of).sum::<u64>();
            prop_assert_eq!(
                [sum(|u| u.input), sum(|u| u.cache_read), sum(|u| u.cache_write_5m), sum(|u| u.cache_write_1h)],
                [input, cache_read, cache_write_5m, cache_write_1h]
            );
            prop_assert_eq!((sum(|u| u.output), sum(|u| u.reasoning)), (output, reasoning));
            prop_assert!(parts.iter().all(|part| part.reasoning <= part.output));
        }
    }
}
