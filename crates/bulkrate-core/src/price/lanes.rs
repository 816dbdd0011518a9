//! From the price cells of one row to the rates of the three lanes: what no source publishes is filled in by rule.
//!
//! The rules, in words, are in `docs/concepts/prices.md`. A filled-in rate is marked `derived`.

use super::row::{CellError, Kind, LongContext, Rate, RateSet, Rates, count, rate};
use super::table::{Column, Record};
use crate::money::{PicoUsdPerToken, Tokens};

/// Rates of the three lanes, with what the table lacks filled in by rule.
pub(super) struct Lanes {
    pub(super) sync: Option<Rates>,
    pub(super) batch: Option<Rates>,
    pub(super) flex: Option<Rates>,
}

impl Lanes {
    pub(super) fn read(
        record: &Record<'_>,
        kind: Kind,
        inclusive: bool,
    ) -> Result<Self, (Column, CellError)> {
        let cell = |column| rate(record, column);
        // An absent output price means "no output" for these kinds, and "unknown" for chat.
        let output = |column| Ok(cell(column)?.or((kind != Kind::Chat).then(|| derived(PicoUsdPerToken(0)))));
        let Some((input, out)) = cell(Column::Input)?.zip(output(Column::Output)?) else {
            return Ok(Self { sync: None, batch: None, flex: None });
        };
        // No price for a cached class: it bills as plain input.
        let write_5m = cell(Column::CacheWrite5m)?.unwrap_or(as_derived(input));
        let base = RateSet {
            input,
            cache_read: cell(Column::CacheRead)?.unwrap_or(as_derived(input)),
            cache_write_5m: write_5m,
            cache_write_1h: cell(Column::CacheWrite1h)?.unwrap_or(as_derived(write_5m)),
            output: out,
        };
        let threshold = count(record, Column::LcThreshold)?;
        let long = match threshold.zip(cell(Column::LcInput)?) {
            None => None,
            Some((threshold, long_input)) => {
                let grow = |rate| scale(rate, long_input, input);
                let rates = RateSet {
                    input: long_input,
                    cache_read: cell(Column::LcCacheRead)?.unwrap_or_else(|| grow(base.cache_read)),
                    cache_write_5m: grow(base.cache_write_5m),
                    cache_write_1h: grow(base.cache_write_1h),
                    output: cell(Column::LcOutput)?.unwrap_or_else(|| grow(base.output)),
                };
                Some(LongContext { threshold: Tokens(threshold), inclusive, rates })
            }
        };
        let sync = Rates { base, long };
        let batch = match cell(Column::BatchInput)?.zip(output(Column::BatchOutput)?) {
            None => None,
            Some((input, output)) => {
                let cheap = Cheap {
                    input,
                    output,
                    read: cell(Column::BatchCacheRead)?,
                    write: cell(Column::BatchCacheWrite5m)?,
                };
                Some(cheap.rates(&sync, cell(Column::LcBatchInput)?, cell(Column::LcBatchOutput)?))
            }
        };
        let flex = match cell(Column::FlexInput)?.zip(output(Column::FlexOutput)?) {
            None => None,
            Some((input, output)) => {
                // Flex is sold at the batch price; the table has no write rate of its own for it.
                let twin = batch.filter(|batch| batch.base.input.per_token == input.per_token);
                let write =
                    twin.map(|batch| batch.base.cache_write_5m).filter(|rate| !rate.derived).map(as_derived);
                Some(
                    Cheap { input, output, read: cell(Column::FlexCacheRead)?, write }
                        .rates(&sync, None, None),
                )
            }
        };
        Ok(Self { sync: Some(sync), batch, flex })
    }
}

/// A discounted lane as the table gives it.
struct Cheap {
    input: Rate,
    output: Rate,
    read: Option<Rate>,
    write: Option<Rate>,
}

impl Cheap {
    /// Fills what is not published. Cache reads: the cheaper of the standard cached rate and the lane's input rate.
    /// Cache writes: the standard rate, unless the lane has its own. Long context: as the standard rates grow.
    fn rates(self, sync: &Rates, long_input: Option<Rate>, long_output: Option<Rate>) -> Rates {
        let base = &sync.base;
        let standard = |rate: Rate| if rate.derived { as_derived(self.input) } else { as_derived(rate) };
        let write_5m = self.write.unwrap_or_else(|| standard(base.cache_write_5m));
        let write_1h = match self.write {
            Some(write) if !base.cache_write_1h.derived => {
                scale(base.cache_write_1h, write, base.cache_write_5m)
            }
            Some(write) => as_derived(write),
            None => standard(base.cache_write_1h),
        };
        let lower =
            if base.cache_read.per_token < self.input.per_token { base.cache_read } else { self.input };
        let set = RateSet {
            input: self.input,
            cache_read: self.read.unwrap_or(as_derived(lower)),
            cache_write_5m: write_5m,
            cache_write_1h: write_1h,
            output: self.output,
        };
        let long = sync.long.map(|long| {
            let to = &long.rates;
            let rates = RateSet {
                input: long_input.unwrap_or_else(|| scale(set.input, to.input, base.input)),
                cache_read: scale(set.cache_read, to.cache_read, base.cache_read),
                cache_write_5m: scale(set.cache_write_5m, to.cache_write_5m, base.cache_write_5m),
                cache_write_1h: scale(set.cache_write_1h, to.cache_write_1h, base.cache_write_1h),
                output: long_output.unwrap_or_else(|| scale(set.output, to.output, base.output)),
            };
            LongContext { rates, ..long }
        });
        Rates { base: set, long }
    }
}

pub(super) fn listed(per_token: PicoUsdPerToken) -> Rate {
    Rate { per_token, derived: false }
}

pub(super) fn derived(per_token: PicoUsdPerToken) -> Rate {
    Rate { per_token, derived: true }
}

fn as_derived(rate: Rate) -> Rate {
    derived(rate.per_token)
}

/// `rate * to / from`, rounded up; `rate` itself where `from` is free.
fn scale(rate: Rate, to: Rate, from: Rate) -> Rate {
    let (to, from) = (u128::from(to.per_token.0), u128::from(from.per_token.0));
    let scaled = (u128::from(rate.per_token.0) * to)
        .checked_div(from)
        .map(|floor| floor + u128::from(floor * from < u128::from(rate.per_token.0) * to));
    let per_token = scaled.map_or(rate.per_token.0, |picos| u64::try_from(picos).unwrap_or(u64::MAX));
    derived(PicoUsdPerToken(per_token))
}
