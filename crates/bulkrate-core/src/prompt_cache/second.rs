//! The mark behind what only some rows share, and what it brings by itself.
//!
//! Answers tell tokens and no marks. All rows have the first mark's tokens in common, so that the least that was ever read is what
//! that mark keeps, and all beyond it is the second one's.

use super::{Meter, Switched, Ttl};
use crate::order::Factor;
use crate::usage::Usage;

/// The second mark of one model. It is one of five minutes.
#[derive(Debug, Clone, PartialEq)]
pub struct Second {
    meter: Meter,
    /// Tokens up to the first mark, once an answer has read them.
    before: Option<u64>,
}

impl Second {
    /// `factor`: of five minutes; `None`: there is none.
    #[must_use]
    pub fn new(factor: Option<Factor>) -> Self {
        let meter = factor.map(|factor| Meter::auto(Some(Ttl::FiveMinutes), factor, None));
        Self { meter: meter.unwrap_or_else(|| Meter::fixed(None)), before: None }
    }

    /// Whether requests have it now.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.meter.mark().is_some()
    }

    /// Learns from an answer. Answers what of it is the first mark's, `first` being whether there is one, and whether from now on none is
    /// set behind what some share.
    pub fn note(&mut self, usage: &Usage, first: bool) -> (Usage, Option<Switched>) {
        if !self.is_set() {
            return (*usage, None);
        }
        let before = if first { self.before(usage) } else { 0 };
        let read = usage.cache_read.min(before);
        let written = usage.cache_write_5m.min((before - read).saturating_sub(usage.cache_write_1h));
        let beyond = Usage {
            cache_read: usage.cache_read - read,
            cache_write_5m: usage.cache_write_5m - written,
            cache_write_1h: 0,
            ..*usage
        };
        (Usage { cache_read: read, cache_write_5m: written, ..*usage }, self.meter.note(&beyond))
    }

    /// Until something was read all that is written is taken for the first mark's.
    fn before(&mut self, usage: &Usage) -> u64 {
        if usage.cache_read > 0 {
            self.before = Some(self.before.map_or(usage.cache_read, |known| known.min(usage.cache_read)));
        }
        self.before.unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SHORT: Factor = Factor { read: 0.1, write: 1.25 };

    fn of(read: u64, written: u64) -> Usage {
        Usage { input: 60, cache_read: read, cache_write_5m: written, ..Usage::default() }
    }

    fn told((first, _): (Usage, Option<Switched>)) -> (u64, u64) {
        (first.cache_read, first.cache_write_5m)
    }

    #[test]
    fn what_is_read_beyond_the_first_mark_is_the_second_ones() {
        let mut second = Second::new(Some(SHORT));
        // 1,000 tokens for all, documents of 5,000 and 6,000.
        assert_eq!(told(second.note(&of(0, 6_000), true)), (0, 6_000), "nothing was read yet");
        assert_eq!(told(second.note(&of(6_000, 0), true)), (6_000, 0));
        assert_eq!(told(second.note(&of(1_000, 6_000), true)), (1_000, 0), "the next document");
        assert_eq!(told(second.note(&of(7_000, 0), true)), (1_000, 0));
        assert_eq!(told(second.note(&of(0, 6_000), true)), (0, 1_000), "all was lost");
        assert_eq!(told(second.note(&of(6_000, 0), false)), (0, 0), "there is no first mark");
        assert_eq!(told(Second::new(None).note(&of(6_000, 1), true)), (6_000, 1), "there is no second");
    }

    #[test]
    fn a_second_mark_that_loses_goes_and_the_first_one_pays_on() {
        let mut second = Second::new(Some(SHORT));
        let mut first = Meter::auto(Some(Ttl::FiveMinutes), SHORT, None);
        let mut switched = None;
        for at in 1..=200 {
            // Every row finds what all share, and one of ten its document.
            let usage = if at % 10 == 0 { of(7_000, 0) } else { of(1_000, 6_000) };
            let (of_first, now) = second.note(&usage, true);
            assert_eq!(first.note(&of_first), None, "of all tokens too few are found");
            if let Some(now) = now {
                switched = Some((at, now));
                break;
            }
        }
        let (at, now) = switched.unwrap();
        assert!(at == 50 && now.hits < 0.11 && now.to.is_none(), "{at} {now:?}");
        assert!(!second.is_set() && first.mark().is_some());
    }
}
