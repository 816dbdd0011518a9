//! What a job has measured of its own price, held against what its source holds and what its plan said.
//!
//! [`forecast`](super::forecast) speaks of ended items and of those that are left; this says what these are where items differ by lane and by
//! model, and when a forecast is reason enough to send nothing more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::forecast::{Forecast, Left, Measured, OfModel, of_models};
use super::numbers::{float, part_of};
use crate::lane::Lane;
use crate::money::UsdNanos;

/// What was measured so far, in this run and in those before it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    measured: Measured,
    /// Of what was paid, nano-dollars: by the lane that the rest was to go to then.
    #[serde(default)]
    paid: BTreeMap<Lane, u64>,
    /// Of each model that requests name: items that have ended, and what was paid for them.
    #[serde(default)]
    models: BTreeMap<String, (u64, u64)>,
    /// The latest one.
    pub forecast: Option<Forecast>,
}

/// What a job asks for, and what its plan says of it.
#[derive(Debug)]
pub struct Asked {
    /// What the source holds of items that are asked for, and bytes of their requests: zero where nobody has counted them.
    pub items: u64,
    pub bytes: u64,
    /// The same items by the model that they name, where there are several.
    pub models: BTreeMap<String, u64>,
    /// Of these: answered by earlier jobs.
    pub cached: BTreeMap<String, u64>,
    /// The items that were open when the run began, and what the plan says of them by lane.
    pub begun: u64,
    pub prices: BTreeMap<Lane, Priced>,
    /// The lane that the job was planned for.
    pub home: Lane,
}

/// What a plan says of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Priced {
    pub expected: UsdNanos,
    pub worst: UsdNanos,
}

/// An attempt that was paid, or that ended its item for nothing.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The model that the item names.
    pub model: &'a str,
    /// Bytes of its request.
    pub bytes: u64,
    pub cost: UsdNanos,
    /// Whether its item goes on no more.
    pub ends: bool,
    /// The lane that the rest goes to.
    pub lane: Lane,
}

impl Tally {
    /// Items that have ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.measured.items
    }

    /// An item of so many bytes has ended for nothing: so may others.
    pub fn ended_free(&mut self, bytes: u64) {
        self.measured.ended(bytes, UsdNanos::ZERO);
    }

    pub fn take(&mut self, attempt: &Attempt<'_>, asked: &Asked) {
        let before = self.measured.paid();
        if attempt.ends {
            self.measured.ended(attempt.bytes, attempt.cost);
        } else {
            self.measured.tried(attempt.cost);
        }
        let paid = self.measured.paid() - before;
        *self.paid.entry(attempt.lane).or_default() += paid;
        if asked.models.contains_key(attempt.model) {
            let of = match self.models.get_mut(attempt.model) {
                Some(known) => known,
                None => self.models.entry(attempt.model.to_owned()).or_default(),
            };
            *of = (of.0 + u64::from(attempt.ends), of.1 + paid);
        }
    }

    /// What the job will have cost if its open `items` go to `lane`, `spent` so far. `None`: too little is known of what they cost.
    #[must_use]
    pub fn forecast(&self, asked: &Asked, spent: UsdNanos, items: u64, lane: Lane) -> Option<Forecast> {
        Forecast::of(&self.measured, spent, &self.left(asked, items, lane)?)
    }

    /// The open items, which go to a lane. Those that have ended and that nobody has measured, as a run died before it had written
    /// them down, are taken to be as long as the open ones.
    fn left(&self, asked: &Asked, items: u64, lane: Lane) -> Option<Left> {
        let Measured { items: ended, bytes: ended_bytes, .. } = self.measured;
        let bytes = match asked.bytes {
            0 => part_of(ended_bytes, items, ended),
            all => {
                part_of(all.saturating_sub(ended_bytes), items, asked.items.saturating_sub(ended).max(items))
            }
        };
        let worst = |lane| asked.prices.get(&lane).map_or(UsdNanos::ZERO, |priced| priced.worst);
        // What a deadline takes out of its lane may be charged in either.
        let worst = worst(asked.home).max(worst(lane));
        let worst = worst.share_up(items.min(asked.begun), asked.begun);
        Some(Left { items, bytes, worst, dearer: self.dearer(asked, lane) * self.of_models(asked, items)? })
    }

    /// What the rest costs for the models that it names, as a multiple of what the measured ones did.
    fn of_models(&self, asked: &Asked, left: u64) -> Option<f64> {
        let one = |(model, items): (&String, &u64)| {
            let (ended, paid) = self.models.get(model).copied().unwrap_or_default();
            OfModel { items: items - asked.cached.get(model).copied().unwrap_or(0).min(*items), ended, paid }
        };
        of_models(&asked.models.iter().map(one).collect::<Vec<_>>(), left)
    }

    /// What an item costs in a lane, as a multiple of what the measured ones would have cost where they went: the plan knows both
    /// lanes' prices. Nothing is made of a lane without one.
    fn dearer(&self, asked: &Asked, lane: Lane) -> f64 {
        let price = |lane: &Lane| {
            asked.prices.get(lane).map_or(0.0, |priced| float(u64::try_from(priced.expected.0).unwrap_or(0)))
        };
        let here = price(&lane);
        let more = |(there, paid): (&Lane, &u64)| match price(there) {
            there if there > 0.0 && here > 0.0 => float(*paid) * (here / there - 1.0),
            _ => 0.0,
        };
        let paid = float(self.measured.paid().max(1));
        (1.0 + self.paid.iter().map(more).sum::<f64>() / paid).max(0.0)
    }
}

/// Looks at forecasts: one alone proves little, so a job ends early by two in a row.
#[derive(Debug, Default)]
pub struct Looks {
    above: bool,
}

impl Looks {
    /// Takes in one, under the job's own cap; whether it is the second in a row by which the cap will all but surely not do.
    pub fn passes(&mut self, forecast: &Forecast, cap: UsdNanos) -> bool {
        let before = std::mem::replace(&mut self.above, forecast.passes(cap));
        self.above && before
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A job of a thousand items of 2,000 down to 200 bytes, of which so many have ended and were measured, and bytes of the rest.
    fn sorted(ended: u64, measured: u64) -> (Tally, Asked, u64) {
        let bytes = |at: u64| 2_000 - at * 1_800 / 1_000;
        let plan = |expected, worst| Priced { expected: UsdNanos(expected), worst: UsdNanos(worst) };
        let asked = Asked {
            items: 1_000,
            bytes: (0..1_000).map(bytes).sum(),
            begun: 1_000 - ended,
            prices: [(Lane::Batch, plan(50, 5_000)), (Lane::Sync, plan(100, 10_000))].into(),
            home: Lane::Batch,
            models: BTreeMap::new(),
            cached: BTreeMap::new(),
        };
        let mut tally = Tally::default();
        (0..measured).for_each(|at| end(&mut tally, &asked, "m", bytes(at), 10));
        (tally, asked, (ended..1_000).map(bytes).sum())
    }

    fn end(tally: &mut Tally, asked: &Asked, model: &str, bytes: u64, cost: i64) {
        tally.take(&Attempt { model, bytes, cost: UsdNanos(cost), ends: true, lane: Lane::Batch }, asked);
    }

    #[test]
    fn on_resume_the_rest_is_as_long_as_what_has_not_ended() {
        for ended in [0, 100, 500, 999] {
            let (tally, asked, rest) = sorted(ended, ended);
            assert_eq!(tally.left(&asked, 1_000 - ended, Lane::Batch).unwrap().bytes, rest, "{ended} ended");
        }
        // What a run that died had not written down is taken to be as long as the rest.
        let (tally, asked, rest) = sorted(500, 490);
        let got = tally.left(&asked, 500, Lane::Batch).unwrap().bytes;
        assert!(got > rest && got < rest + rest / 25, "{got} for {rest}");
        // Measured twice, as a crash came between the file and the commit.
        let (tally, asked, rest) = sorted(500, 510);
        let got = tally.left(&asked, 500, Lane::Batch).unwrap().bytes;
        assert!(got < rest && got > rest - rest / 25, "{got} for {rest}");
    }

    #[test]
    fn items_that_end_without_a_call_do_not_make_the_others_longer() {
        let (mut tally, asked, _) = sorted(0, 0);
        let mean = asked.bytes / asked.items;
        (0..500).for_each(|_| tally.ended_free(mean));
        assert_eq!(tally.left(&asked, 500, Lane::Batch).unwrap().bytes, asked.bytes - 500 * mean);
        // Half of them cost nothing, so half of the rest is expected to.
        (0..500).for_each(|_| end(&mut tally, &asked, "m", mean, 1_000));
        let rest = Left { worst: UsdNanos(i64::MAX), ..tally.left(&asked, 100, Lane::Batch).unwrap() };
        let got = Forecast::of(&tally.measured, UsdNanos::ZERO, &rest).map(|got| got.expected);
        assert_eq!(got, Some(UsdNanos(50_000)));
    }

    #[test]
    fn what_another_lane_has_measured_is_priced_in_that_of_the_rest() {
        let (mut tally, mut asked, _) = sorted(200, 200);
        for (lane, want, worst) in [(Lane::Batch, 1.0, 5_000), (Lane::Sync, 2.0, 10_000)] {
            let left = tally.left(&asked, 800, lane).unwrap();
            assert!((left.dearer - want).abs() < 1e-9 && left.worst.0 == worst, "{lane}: {left:?}");
        }
        // A run died after its switch to calls, and the next one calls from the start.
        asked.home = Lane::Sync;
        let dearer = |tally: &Tally, lane| tally.left(&asked, 800, lane).unwrap().dearer;
        assert!((dearer(&tally, Lane::Sync) - 2.0).abs() < 1e-9);
        let call = Attempt { model: "m", bytes: 500, cost: UsdNanos(20), ends: false, lane: Lane::Sync };
        (0..100).for_each(|_| tally.take(&call, &asked));
        assert!((dearer(&tally, Lane::Sync) - 1.5).abs() < 1e-9, "half of what was paid was for calls");
        assert!((dearer(&tally, Lane::Batch) - 0.75).abs() < 1e-9);
        // A lane without a price says nothing.
        assert!((dearer(&tally, Lane::Flex) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn rows_of_several_models_are_priced_by_what_is_left_of_each() {
        let (mut tally, mut asked, _) = sorted(0, 0);
        asked.models = [("dear".to_owned(), 300), ("cheap".to_owned(), 700)].into();
        let mean = asked.bytes / asked.items;
        let expected = |tally: &Tally, asked: &Asked, items, spent| {
            let rest = Left { worst: UsdNanos(i64::MAX), ..tally.left(asked, items, Lane::Batch).unwrap() };
            Forecast::of(&tally.measured, UsdNanos(spent), &rest).unwrap().expected
        };
        (0..200).for_each(|_| end(&mut tally, &asked, "dear", mean, 20));
        (0..100).for_each(|_| end(&mut tally, &asked, "cheap", mean, 1));
        assert_eq!(expected(&tally, &asked, 700, 4_100), UsdNanos(4_100 + 100 * 20 + 600));
        // An earlier job had answered all but fifty of the dear ones, and of those all but ten are done.
        let mut tally = Tally::default();
        asked.cached = [("dear".to_owned(), 250)].into();
        (0..40).for_each(|_| end(&mut tally, &asked, "dear", mean, 20));
        (0..100).for_each(|_| end(&mut tally, &asked, "cheap", mean, 1));
        assert_eq!(expected(&tally, &asked, 610, 900), UsdNanos(900 + 10 * 20 + 600));
    }

    #[test]
    fn one_look_above_the_cap_ends_nothing() {
        let low = |low| Forecast {
            low: UsdNanos(low),
            expected: UsdNanos(low),
            p95: UsdNanos(low),
            measured: 100,
            left: 10,
        };
        let mut looks = Looks::default();
        let said: Vec<bool> =
            [120, 90, 120, 130, 140].iter().map(|at| looks.passes(&low(*at), UsdNanos(100))).collect();
        assert_eq!(said, [false, false, false, true, true]);
    }
}
