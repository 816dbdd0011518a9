//! What the answers of one model say of its mark: once enough of them lose by it, it is changed.

use super::Ttl;
use crate::order::{Factor, HIT_RATES};
use crate::usage::Usage;

/// So many answers that were written or read, and a loss is one: of fewer the first writes are too large a share.
const ANSWERS_MIN: u64 = 50;

/// The mark of one model, and what was found again of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Meter {
    mark: Option<Ttl>,
    /// `None`: the mark is the user's, and stays.
    auto: Option<Auto>,
    found: Found,
    /// Answers from which a loss is one.
    answers_min: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Auto {
    short: Factor,
    /// Where the longer life may find more.
    hour: Option<Factor>,
}

/// Tokens since the mark was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Found {
    answers: u64,
    read: u64,
    written: u64,
}

/// A mark that was changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Switched {
    pub from: Ttl,
    pub to: Option<Ttl>,
    /// The share of the marked tokens that was found again, and that from which it would have paid.
    pub hits: f64,
    pub pays_from: f64,
    pub answers: u64,
}

impl Meter {
    /// A mark that stays, or none.
    #[must_use]
    pub fn fixed(mark: Option<Ttl>) -> Self {
        Self { mark, auto: None, found: Found::default(), answers_min: ANSWERS_MIN }
    }

    /// A mark that is kept as long as it pays. `hour`: to be tried before it is taken away.
    #[must_use]
    pub fn auto(mark: Option<Ttl>, short: Factor, hour: Option<Factor>) -> Self {
        Self { auto: mark.map(|_| Auto { short, hour }), ..Self::fixed(mark) }
    }

    /// For how long requests are marked now.
    #[must_use]
    pub fn mark(&self) -> Option<Ttl> {
        self.mark
    }

    /// Whether answers may change it.
    #[must_use]
    pub fn learns(&self) -> bool {
        self.auto.is_some() && self.mark.is_some()
    }

    /// The dearest mark that requests were ever sent with.
    #[must_use]
    pub fn dearest(&self) -> Option<Ttl> {
        let tried = self.auto.map(|auto| if auto.hour.is_some() { Ttl::Hour } else { Ttl::FiveMinutes });
        tried.or(self.mark)
    }

    /// A batch of so many items goes out. Its answers come in the order of its lines, and the first lines found a cold cache:
    /// no fewer answers than the largest batch has say what is found again.
    pub fn batch(&mut self, items: u64) {
        self.answers_min = self.answers_min.max(items);
    }

    /// Learns from an answer to what was sent under the mark of now. `Some`: from now on requests are marked otherwise, and what is
    /// out says nothing of the new mark.
    #[allow(clippy::cast_precision_loss, reason = "a share of tokens")]
    pub fn note(&mut self, usage: &Usage) -> Option<Switched> {
        let (Some(auto), Some(mark)) = (self.auto, self.mark) else { return None };
        if !usage.touches_cache() {
            return None;
        }
        let found = &mut self.found;
        found.answers += 1;
        found.read = found.read.saturating_add(usage.cache_read);
        found.written = found.written.saturating_add(usage.cache_write_5m + usage.cache_write_1h);
        let factor = match mark {
            Ttl::FiveMinutes => auto.short,
            Ttl::Hour => auto.hour?,
        };
        let hits = found.read as f64 / (found.read.saturating_add(found.written)).max(1) as f64;
        if found.answers < self.answers_min || factor.cost(1.0, hits) < 1.0 {
            return None;
        }
        let answers = found.answers;
        // Worth a try only where it would pay if nearly all were found.
        let longer = auto.hour.filter(|hour| mark == Ttl::FiveMinutes && hour.cost(1.0, HIT_RATES[2]) < 1.0);
        (self.mark, self.found) = (longer.map(|_| Ttl::Hour), Found::default());
        Some(Switched { from: mark, to: self.mark, hits, pays_from: factor.break_even(), answers })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    const SHORT: Factor = Factor { read: 0.1, write: 1.25 };
    const HOUR: Factor = Factor { read: 0.1, write: 2.0 };

    fn read() -> Usage {
        Usage { input: 9, cache_read: 1_000, ..Usage::default() }
    }

    fn written(by: Ttl) -> Usage {
        match by {
            Ttl::FiveMinutes => Usage { cache_write_5m: 1_000, ..Usage::default() },
            Ttl::Hour => Usage { cache_write_1h: 1_000, ..Usage::default() },
        }
    }

    /// Of a hundred answers so many read; what came of it, and after how many answers.
    fn after(meter: &mut Meter, hits: u64) -> Option<(u64, Switched)> {
        (0..5_000).find_map(|at| {
            let usage = if at * 7 % 100 < hits { read() } else { written(meter.mark()?) };
            meter.note(&usage).map(|switched| (at + 1, switched))
        })
    }

    #[test]
    fn a_mark_that_loses_is_changed_and_one_that_pays_stays() {
        for (hits, hour, want) in [
            (90, Some(HOUR), Some(Ttl::FiveMinutes)),
            (30, Some(HOUR), Some(Ttl::FiveMinutes)),
            (10, Some(HOUR), Some(Ttl::Hour)),
            (10, None, None),
            (10, Some(Factor { write: 9.0, ..HOUR }), Some(Ttl::Hour)),
            (10, Some(Factor { write: 10.0, ..HOUR }), None),
        ] {
            let mut meter = Meter::auto(Some(Ttl::FiveMinutes), SHORT, hour);
            let switched = after(&mut meter, hits);
            assert_eq!(meter.mark(), want, "{hits} {hour:?}");
            assert_eq!(switched.is_some(), want != Some(Ttl::FiveMinutes), "{hits} {hour:?}");
            if let Some((answers, switched)) = switched {
                assert_eq!((answers, switched.from, switched.to), (50, Ttl::FiveMinutes, want));
                assert!((switched.pays_from - 0.217).abs() < 5e-4 && switched.hits < 0.217, "{switched:?}");
            }
        }
    }

    #[test]
    fn the_hour_is_judged_by_its_own_answers() {
        for (hits, want) in [(60, None), (40, Some((50, Ttl::Hour, None)))] {
            let mut meter = Meter::auto(Some(Ttl::FiveMinutes), SHORT, Some(HOUR));
            after(&mut meter, 0).unwrap();
            assert_eq!(meter.mark(), Some(Ttl::Hour));
            let found = after(&mut meter, hits).map(|(answers, by)| (answers, by.from, by.to));
            assert_eq!(found, want);
            assert_eq!((meter.learns(), meter.dearest()), (want.is_none(), Some(Ttl::Hour)));
            assert!(want.is_none() || meter.note(&written(Ttl::Hour)).is_none(), "told once");
        }
    }

    #[test]
    fn the_first_lines_of_a_batch_are_not_taken_for_all_of_it() {
        let mut meter = Meter::auto(Some(Ttl::FiveMinutes), SHORT, None);
        for size in [10, 1_000, 200] {
            meter.batch(size);
        }
        // Four hundred run at once and write; the others read.
        assert!((0..400).all(|_| meter.note(&written(Ttl::FiveMinutes)).is_none()));
        assert!((0..600).all(|_| meter.note(&read()).is_none()));
        let (answers, switched) = after(&mut meter, 0).unwrap();
        assert!(answers > 1_000 && switched.hits < 0.25, "{answers} {switched:?}");
    }

    #[test]
    fn answers_that_were_not_cached_say_nothing() {
        let mut meter = Meter::auto(Some(Ttl::FiveMinutes), SHORT, None);
        let plain = Usage { input: 5_000, output: 9, ..Usage::default() };
        assert!((0..500).all(|_| meter.note(&plain).is_none()));
        assert_eq!(meter.dearest(), Some(Ttl::FiveMinutes), "no hour was ever to be had");
        let mut kept = Meter::fixed(Some(Ttl::Hour));
        assert!(after(&mut kept, 0).is_none() && !kept.learns(), "the user's own choice stays");
        assert_eq!(Meter::auto(None, SHORT, None).mark(), None);
    }

    proptest! {
        /// Whatever comes in which order: what is switched off lost by its own answers, and nothing is tried twice.
        #[test]
        fn a_mark_goes_only_by_its_own_losses(
            reads in prop::collection::vec(any::<bool>(), 0..900), size in 0..200_u64,
        ) {
            let mut meter = Meter::auto(Some(Ttl::FiveMinutes), SHORT, Some(HOUR));
            meter.batch(size);
            let (mut own, mut switches) = (Vec::new(), Vec::new());
            for hit in reads {
                let Some(mark) = meter.mark() else { break };
                own.push(hit);
                if let Some(switched) = meter.note(&if hit { read() } else { written(mark) }) {
                    let hits = own.iter().filter(|hit| **hit).count() as f64 / own.len() as f64;
                    prop_assert!(own.len() as u64 >= size.max(50) && (hits - switched.hits).abs() < 1e-9);
                    prop_assert!(hits < switched.pays_from + 1e-9);
                    own.clear();
                    switches.push(switched.to);
                }
            }
            prop_assert!([&[][..], &[Some(Ttl::Hour)], &[Some(Ttl::Hour), None]].contains(&&switches[..]));
        }
    }
}
