//! What an answer cost. [`price`] is the one function that turns usage into money.

use super::row::{ModelRow, Rate, Rates};
use crate::lane::Lane;
use crate::money::UsdNanos;
use crate::usage::Usage;

/// Pico-dollars in a nano-dollar.
const PICOS_PER_NANO: u128 = 1_000;

/// A billable class of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    Input,
    CacheRead,
    CacheWrite5m,
    CacheWrite1h,
    Output,
}

impl Class {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache read",
            Self::CacheWrite5m => "cache write",
            Self::CacheWrite1h => "cache write 1h",
            Self::Output => "output",
        }
    }
}

/// One line of a cost: tokens of a class times their rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    pub class: Class,
    pub tokens: u64,
    pub rate: Rate,
    /// Pico-dollars, exact.
    pub picos: u128,
}

/// A cost with all that went into it; classes without tokens are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breakdown {
    /// Whether the long-context rates apply.
    pub long: bool,
    pub terms: Vec<Term>,
    /// The exact sum in pico-dollars.
    pub picos: u128,
    /// The sum rounded up to nano-dollars: what [`price`] returns.
    pub total: UsdNanos,
}

/// Prices one request: the tier by the whole prompt, an exact sum, one rounding, upward. `None` when the amount is
/// larger than the ledger can hold.
#[must_use]
pub fn price(rates: &Rates, usage: &Usage) -> Option<UsdNanos> {
    terms(rates, usage)?.iter().try_fold(0_u128, |sum, term| sum.checked_add(term.picos)).and_then(round_up)
}

/// The same cost as [`price`], term by term.
#[must_use]
pub fn explain(rates: &Rates, usage: &Usage) -> Option<Breakdown> {
    let all = terms(rates, usage)?;
    let picos = all.iter().try_fold(0_u128, |sum, term| sum.checked_add(term.picos))?;
    let long = rates.long.is_some_and(|long| long.covers(usage.prompt()));
    let terms = all.into_iter().filter(|term| term.tokens > 0).collect();
    Some(Breakdown { long, terms, picos, total: round_up(picos)? })
}

/// What the same usage costs at the standard sync price. `None` also when the model has no sync price.
#[must_use]
pub fn naive(row: &ModelRow, usage: &Usage) -> Option<UsdNanos> {
    price(row.sync.as_ref()?, usage)
}

/// What a lane saved on one request: `naive = saved + paid`, to the nano-dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saving {
    pub naive: UsdNanos,
    /// Negative where the lane is dearer.
    pub saved: UsdNanos,
    pub paid: UsdNanos,
}

/// Compares a lane with the sync lane for the same usage.
#[must_use]
pub fn lane_saving(row: &ModelRow, lane: Lane, usage: &Usage) -> Option<Saving> {
    let (naive, paid) = (naive(row, usage)?, price(row.rates(lane)?, usage)?);
    Some(Saving { naive, saved: UsdNanos(naive.0 - paid.0), paid })
}

/// What the prompt cache saved on one request: the cost with every prompt token at the input rate, less the cost as it
/// was. Negative where writes were not read often enough.
#[must_use]
pub fn prompt_cache_saving(rates: &Rates, usage: &Usage) -> Option<Saving> {
    let (naive, paid) = (price(rates, &usage.uncached())?, price(rates, usage)?);
    Some(Saving { naive, saved: UsdNanos(naive.0 - paid.0), paid })
}

/// Splits the way from one cost to another among the levers that were pulled, in order. `after` holds each lever and the
/// cost once it has worked; the parts add up to `start` less the last cost exactly. `None` on overflow.
#[must_use]
pub fn waterfall<L: Copy>(start: UsdNanos, after: &[(L, UsdNanos)]) -> Option<Vec<(L, UsdNanos)>> {
    let mut left = start;
    let mut parts = Vec::with_capacity(after.len());
    for &(lever, cost) in after {
        parts.push((lever, UsdNanos(left.0.checked_sub(cost.0)?)));
        left = cost;
    }
    Some(parts)
}

/// Nano-dollars, rounded up; `None` beyond the ledger's range.
pub(super) fn round_up(picos: u128) -> Option<UsdNanos> {
    i64::try_from(picos.div_ceil(PICOS_PER_NANO)).ok().map(UsdNanos)
}

fn terms(rates: &Rates, usage: &Usage) -> Option<[Term; 5]> {
    // A prompt beyond u64 cannot be priced; it must not slip into the cheaper tier by saturating.
    let prompt = [usage.cache_read, usage.cache_write_5m, usage.cache_write_1h];
    let prompt = prompt.into_iter().try_fold(usage.input, u64::checked_add)?;
    let set = rates.for_prompt(prompt);
    let term = |class, tokens, rate: Rate| Term {
        class,
        tokens,
        rate,
        picos: u128::from(tokens) * u128::from(rate.per_token.0),
    };
    Some([
        term(Class::Input, usage.input, set.input),
        term(Class::CacheRead, usage.cache_read, set.cache_read),
        term(Class::CacheWrite5m, usage.cache_write_5m, set.cache_write_5m),
        term(Class::CacheWrite1h, usage.cache_write_1h, set.cache_write_1h),
        term(Class::Output, usage.output, set.output),
    ])
}
