//! Laws of pricing, for every row of the bundled catalogue and any usage.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use proptest::sample::Index;

use super::bound::{RequestShape, Writes, bound_tokens, input_max};
use super::cost::{explain, naive, prompt_cache_saving};
use super::row::{RateSet, Rates};
use super::{Catalogue, ModelRow, price};
use crate::lane::Lane;
use crate::money::Tokens;
use crate::usage::Usage;

fn rows() -> &'static [ModelRow] {
    static BUNDLED: std::sync::OnceLock<Catalogue> = std::sync::OnceLock::new();
    BUNDLED.get_or_init(Catalogue::bundled).rows()
}

fn any_row() -> impl Strategy<Value = &'static ModelRow> {
    any::<Index>().prop_map(|index| &rows()[index.index(rows().len())])
}

fn any_usage() -> impl Strategy<Value = Usage> {
    // Mostly ordinary prompts, some around the tiers.
    let count = || prop_oneof![3 => 0_u64..5_000, 1 => 90_000_u64..300_000];
    (count(), count(), count(), count(), 0_u64..50_000).prop_map(
        |(input, cache_read, write, hour, output)| Usage {
            input,
            cache_read,
            cache_write_5m: write,
            cache_write_1h: hour,
            output,
            reasoning: output / 2,
        },
    )
}

fn lanes(row: &ModelRow) -> impl Iterator<Item = (Lane, &Rates)> {
    Lane::ALL.into_iter().filter_map(|lane| Some((lane, row.rates(lane)?)))
}

fn all_rates(set: &RateSet) -> [u64; 5] {
    [set.input, set.cache_read, set.cache_write_5m, set.cache_write_1h, set.output]
        .map(|rate| rate.per_token.0)
}

#[test]
fn a_long_prompt_is_never_cheaper_and_a_cheap_lane_never_dearer() {
    for row in rows() {
        for (lane, rates) in lanes(row) {
            let sync = row.sync.as_ref().unwrap();
            let pairs = all_rates(&rates.base).into_iter().zip(all_rates(&sync.base));
            assert!(pairs.into_iter().all(|(own, standard)| own <= standard), "{} {lane}", row.qualified);
            if let Some(long) = &rates.long {
                let pairs = all_rates(&rates.base).into_iter().zip(all_rates(&long.rates));
                assert!(pairs.into_iter().all(|(base, long)| base <= long), "{} {lane} long", row.qualified);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Without a prompt cache and one by one in the sync lane, less what the lane and the cache saved, is what is paid: no
    /// nano-dollar is lost on the way.
    #[test]
    fn lane_and_prompt_cache_lead_from_naive_to_paid(row in any_row(), usage in any_usage()) {
        for (_, rates) in lanes(row) {
            let start = naive(row, &usage.uncached()).unwrap();
            let uncached = price(rates, &usage.uncached()).unwrap();
            let cache = prompt_cache_saving(rates, &usage).unwrap();
            let paid = price(rates, &usage).unwrap();
            prop_assert_eq!((cache.naive, cache.paid), (uncached, paid));
            prop_assert_eq!(start.0 - (start.0 - uncached.0) - cache.saved.0, paid.0);
            prop_assert!(usage.touches_cache() || cache.saved.0 == 0);
        }
    }

    #[test]
    fn more_tokens_never_cost_less(row in any_row(), usage in any_usage(), more in any_usage()) {
        let sum = Usage {
            input: usage.input + more.input,
            cache_read: usage.cache_read + more.cache_read,
            cache_write_5m: usage.cache_write_5m + more.cache_write_5m,
            cache_write_1h: usage.cache_write_1h + more.cache_write_1h,
            output: usage.output + more.output,
            reasoning: 0,
        };
        for (lane, rates) in lanes(row) {
            prop_assert!(price(rates, &usage) <= price(rates, &sum), "{} {lane}", row.qualified);
        }
    }

    #[test]
    fn within_a_tier_parts_add_up_to_a_nano(row in any_row(), left in any_usage(), right in any_usage()) {
        for (_, rates) in lanes(row) {
            let flat = Rates { base: rates.base, long: None };
            let sum = Usage {
                input: left.input + right.input,
                cache_read: left.cache_read + right.cache_read,
                cache_write_5m: left.cache_write_5m + right.cache_write_5m,
                cache_write_1h: left.cache_write_1h + right.cache_write_1h,
                output: left.output + right.output,
                reasoning: 0,
            };
            let parts = price(&flat, &left).unwrap().0 + price(&flat, &right).unwrap().0;
            let whole = price(&flat, &sum).unwrap().0;
            prop_assert!((0..=1).contains(&(parts - whole)), "{} {parts} {whole}", row.qualified);
        }
    }

    #[test]
    fn the_cheap_lanes_never_cost_more(row in any_row(), usage in any_usage()) {
        for (lane, rates) in lanes(row) {
            prop_assert!(price(rates, &usage) <= price(row.sync.as_ref().unwrap(), &usage), "{} {lane}", row.qualified);
        }
    }

    #[test]
    fn a_cost_is_the_exact_sum_rounded_up(row in any_row(), usage in any_usage()) {
        for (_, rates) in lanes(row) {
            let told = explain(rates, &usage).unwrap();
            let nanos = u128::try_from(told.total.0).unwrap();
            prop_assert!(nanos * 1_000 >= told.picos && nanos * 1_000 < told.picos + 1_000);
            prop_assert_eq!(told.terms.iter().map(|term| term.picos).sum::<u128>(), told.picos);
            prop_assert_eq!(price(rates, &usage), Some(told.total));
        }
    }

    #[test]
    fn no_usage_within_the_bounds_costs_more_than_the_bound(
        row in any_row(), usage in any_usage(), spare in 0_u64..1_000,
    ) {
        for (lane, rates) in lanes(row) {
            let (input, output) = (Tokens(usage.prompt() + spare), Tokens(usage.output + spare));
            let bound = bound_tokens(rates, input, output, Writes::Hour);
            prop_assert!(price(rates, &usage) <= bound, "{} {lane}", row.qualified);
        }
    }

    #[test]
    fn a_text_has_no_more_tokens_than_its_bound(row in any_row(), bytes in 0_u64..1_000_000, messages in 1_u64..20) {
        let shape = RequestShape { text_bytes: bytes, messages, ..Default::default() };
        prop_assert!(input_max(row, &shape).unwrap().0 >= bytes + messages * 4 + 3);
    }
}
