//! What a prompt cache makes of the input's price, and whether an order of items is worth having.

use serde::{Deserialize, Serialize};

use crate::price::RateSet;
use crate::price::bound::Writes;

/// Shares of the shared prefixes that the cache may find again: none, the least and what is common. Providers promise none.
pub const HIT_RATES: [f64; 3] = [0.0, 0.3, 0.9];
/// The hit rate that a verdict assumes: the least that is told of batches.
const ASSUMED: f64 = HIT_RATES[1];
/// An order that saves less of the input's price is not worth the reading in another order.
const GAIN_MIN: f64 = 0.01;

/// Prices of cached input, in prices of plain input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor {
    pub read: f64,
    pub write: f64,
}

impl Factor {
    /// Where writes are kept for so long. `None` where input is free, or where the price list has no price of its own for
    /// cached input.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a ratio of prices")]
    pub fn of(rates: &RateSet, writes: Writes) -> Option<Self> {
        let input = rates.input.per_token.0 as f64;
        if input == 0.0 || rates.cache_read.derived {
            return None;
        }
        let ratio = |rate: u64| rate as f64 / input;
        let write = match writes {
            Writes::Short => rates.cache_write_5m,
            Writes::Hour => rates.cache_write_1h,
        };
        // A write without a price of its own bills as plain input.
        Some(Self { read: ratio(rates.cache_read.per_token.0), write: ratio(write.per_token.0) })
    }

    /// The input's cost as a share of its cost without a cache, where `shared` of it is a shared prefix that is found again
    /// in `hits` of the cases.
    #[must_use]
    pub fn cost(&self, shared: f64, hits: f64) -> f64 {
        shared * (hits * self.read + (1.0 - hits) * self.write) + (1.0 - shared)
    }

    /// The hit rate from which on a cache saves; above 1 it never does.
    #[must_use]
    pub fn break_even(&self) -> f64 {
        if self.write <= 1.0 {
            return 0.0;
        }
        (self.write - 1.0) / (self.write - self.read)
    }

    /// Whether marking `shared` of the input for the cache is cheaper than leaving it, at the hit rate that is assumed.
    #[must_use]
    pub fn pays(&self, shared: f64) -> bool {
        self.cost(shared, ASSUMED) < 1.0
    }
}

/// Bytes of prompts, and how many of them stand at the beginning of the prompt sent before as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Shared {
    pub bytes: u64,
    /// In the order of the source, and in that of the prefixes.
    pub as_is: u64,
    pub ordered: u64,
}

impl Shared {
    /// Both as shares, 0 to 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a share for people and prices")]
    pub fn shares(&self) -> (f64, f64) {
        let whole = self.bytes.max(1) as f64;
        (self.as_is as f64 / whole, self.ordered as f64 / whole)
    }
}

/// Whether items are sent in the order of their prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Ordered,
    AsIs(Reason),
}

/// Why items are sent in the order of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The provider caches what is marked alone, and some rows share nothing that is worth a mark.
    Marked,
    /// The model has no price for cached input.
    NoPrice,
    /// No two prompts share a beginning that is long enough.
    NothingShared,
    /// The source has them side by side already.
    AlreadyClose,
    /// Writing costs more than reading is expected to save.
    Dear,
}

impl Reason {
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Marked => {
                "the provider caches only what a request marks: no column ends a beginning that rows share and that is long enough"
            }
            Self::NoPrice => "the model has no price of its own for cached input",
            Self::NothingShared => {
                "no two prompts share a beginning of 4,096 bytes, which is about the least that a provider caches"
            }
            Self::AlreadyClose => "rows that share a beginning stand side by side in the source",
            Self::Dear => "writing to the prompt cache costs more than reading is expected to save",
        }
    }
}

/// Whether the order pays. `factor`: of the model; `marked`: the provider caches marked prompts alone.
#[must_use]
pub fn judge(factor: Option<Factor>, marked: bool, shared: Shared) -> Verdict {
    let (as_is, ordered) = shared.shares();
    let Some(factor) = factor else { return Verdict::AsIs(Reason::NoPrice) };
    if marked {
        return Verdict::AsIs(Reason::Marked);
    }
    if shared.ordered == 0 {
        return Verdict::AsIs(Reason::NothingShared);
    }
    if !factor.pays(ordered) {
        return Verdict::AsIs(Reason::Dear);
    }
    if factor.cost(as_is, ASSUMED) - factor.cost(ordered, ASSUMED) < GAIN_MIN {
        return Verdict::AsIs(Reason::AlreadyClose);
    }
    Verdict::Ordered
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::money::PicoUsdPerToken;
    use crate::price::{Rate, Rates};

    /// Anthropic's short write, its one-hour write, and a cache whose writes cost nothing.
    const SHORT: Factor = Factor { read: 0.1, write: 1.25 };
    const HOUR: Factor = Factor { read: 0.1, write: 2.0 };
    const FREE: Factor = Factor { read: 0.1, write: 1.0 };

    #[test]
    fn the_price_of_a_cache_is_that_of_its_formula() {
        for (factor, shared, hits, want) in [
            (SHORT, 1.0, 0.98, 0.123),
            (SHORT, 1.0, 0.3, 0.905),
            (SHORT, 1.0, 0.0, 1.25),
            (HOUR, 1.0, 0.98, 0.138),
            (HOUR, 1.0, 0.3, 1.43),
            (FREE, 0.5, 0.9, 0.595),
            (FREE, 0.0, 0.9, 1.0),
        ] {
            let got = factor.cost(shared, hits);
            assert!((got - want).abs() < 1e-9, "{factor:?} {shared} {hits}: {got}");
        }
        for (factor, want, pays) in [(SHORT, 0.217, true), (HOUR, 0.526, false), (FREE, 0.0, true)] {
            assert!((factor.break_even() - want).abs() < 5e-4, "{factor:?}: {}", factor.break_even());
            assert_eq!(factor.pays(1.0), pays, "{factor:?}");
        }
        assert!(!FREE.pays(0.0), "nothing shared, nothing saved");
    }

    #[test]
    fn an_order_that_does_not_pay_says_why() {
        let shared = |bytes, as_is, ordered| Shared { bytes, as_is, ordered };
        let spread = shared(100, 0, 60);
        for (factor, marked, shared, want) in [
            (Some(FREE), false, spread, Verdict::Ordered),
            (Some(SHORT), false, spread, Verdict::Ordered),
            (Some(HOUR), false, spread, Verdict::AsIs(Reason::Dear)),
            (None, false, spread, Verdict::AsIs(Reason::NoPrice)),
            (Some(FREE), true, spread, Verdict::AsIs(Reason::Marked)),
            (Some(FREE), false, shared(100, 0, 0), Verdict::AsIs(Reason::NothingShared)),
            (Some(FREE), false, shared(0, 0, 0), Verdict::AsIs(Reason::NothingShared)),
            (Some(FREE), false, shared(100, 59, 60), Verdict::AsIs(Reason::AlreadyClose)),
        ] {
            assert_eq!(judge(factor, marked, shared), want, "{factor:?} {shared:?}");
        }
    }

    #[test]
    fn ratios_come_from_the_price_list() {
        let rate = |picos, derived| Rate { per_token: PicoUsdPerToken(picos), derived };
        let flat = Rates::flat(PicoUsdPerToken(200), PicoUsdPerToken(800)).base;
        let of = |rates: &RateSet| Factor::of(rates, Writes::Short);
        assert_eq!(of(&flat), None, "no price for cached input");
        let listed = RateSet { cache_read: rate(20, false), cache_write_5m: rate(250, false), ..flat };
        assert_eq!(of(&listed), Some(SHORT));
        assert_eq!(of(&RateSet { cache_write_5m: rate(200, true), ..listed }), Some(FREE));
        assert_eq!(of(&RateSet { input: rate(0, false), ..listed }), None);
        let hour = RateSet { cache_write_1h: rate(400, false), ..listed };
        assert_eq!(Factor::of(&hour, Writes::Hour), Some(HOUR));
    }
}
