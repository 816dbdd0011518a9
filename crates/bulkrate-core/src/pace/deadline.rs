//! Which lane a job's items take, and until when a batch may be waited for.

use crate::lane::Lane;
use crate::money::UsdNanos;

use super::{SECOND_US, float, whole_up};

/// A job without a deadline has one day: the batch lane's own promise.
pub const DAY_US: u64 = 86_400_000_000;
/// Items that would take less than this in the flex lane are not worth a batch at the same price.
const FLEX_SOON_US: f64 = 3_600.0 * SECOND_US;
/// The part of the time needed that is kept in reserve.
const MARGIN: f64 = 0.1;
/// A cancelled batch may go on for so long: what is in flight there ends first ([OpenAI](https://platform.openai.com/docs/guides/batch)).
const CANCEL_US: u64 = 600_000_000;

/// How much a job minds waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Priority {
    /// The price decides.
    #[default]
    Cheap,
    /// The answers are wanted now, whatever the lane costs.
    Fast,
}

/// Expected price of one item per lane; `None` = no price known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LanePrices {
    pub batch: Option<UsdNanos>,
    pub flex: Option<UsdNanos>,
    pub sync: Option<UsdNanos>,
}

/// What the choice of a lane depends on.
#[derive(Debug, Clone)]
pub struct LaneChoice {
    pub now_us: u64,
    /// `None` = a day from now.
    pub deadline_us: Option<u64>,
    /// Items not yet answered.
    pub items: u64,
    pub priority: Priority,
    pub prices: LanePrices,
    /// Paced rate of sync and flex calls; 0.0 while nothing is learned or configured.
    pub items_per_s: f64,
    /// 99th percentile of the latency of one call.
    pub latency_p99_us: u64,
    /// Within this 95 of 100 batches like these are over, as many one after the other as the job needs; `None`: too few have run to say.
    pub batch_q95_us: Option<u64>,
    /// A batch cannot be cancelled: no other lane takes over what is in one.
    pub batch_held: bool,
    pub batch_available: bool,
    pub flex_available: bool,
}

/// The latest time at which `items` left over from a batch can still be done in the sync lane before `deadline_us`:
/// `deadline - items/rate - p99 latency - 10 %` of that time. 0 = too late, or the rate is not known to be above zero.
#[must_use]
pub fn switch_at(deadline_us: u64, items: u64, items_per_s: f64, latency_p99_us: u64) -> u64 {
    if items == 0 {
        return deadline_us;
    }
    let needed_us = needed_us(items, items_per_s) + float(latency_p99_us);
    deadline_us.saturating_sub(whole_up(needed_us * (1.0 + MARGIN)))
}

/// What is kept of a deadline that is `span_us` from a job's start for batches to be cancelled and collected in: ten minutes, and no more than
/// a twentieth.
#[must_use]
pub fn cancel_us(span_us: u64) -> u64 {
    CANCEL_US.min(span_us / 20)
}

/// Lane `auto`: the cheapest lane that can meet the deadline, and why.
///
/// Batch only while the sync lane could still take over (`switch_at`), and, where the job has a deadline and earlier batches tell
/// how long they take, only if it would be over by then: one that is cancelled is paid in part and done again. On equal price flex
/// if it would be done within an hour, else batch. When no lane can meet the deadline the sync lane comes closest; a missed deadline kills nothing.
#[must_use]
pub fn choose_lane(choice: &LaneChoice) -> (Lane, &'static str) {
    if choice.priority == Priority::Fast {
        return (Lane::Sync, "priority is fast");
    }
    if !choice.batch_available && !choice.flex_available {
        return (Lane::Sync, "the only lane available here");
    }
    let deadline_us = choice.deadline_us.unwrap_or_else(|| choice.now_us.saturating_add(DAY_US));
    // An unknown rate leaves the decision to the price; `switch_at` is asked again once a rate is learned.
    let known = choice.items_per_s > 0.0;
    let switch_us = switch_at(deadline_us, choice.items, choice.items_per_s, choice.latency_p99_us);
    if choice.now_us >= deadline_us || (known && choice.now_us >= switch_us) {
        return (Lane::Sync, "the deadline leaves no time for a cheaper lane");
    }
    let LanePrices { batch, flex, sync } = choice.prices;
    let in_time = |q95_us| choice.deadline_us.is_none() || choice.now_us.saturating_add(q95_us) <= switch_us;
    // What cannot be called back is trusted for no less than its promise, until others have told how long it takes.
    let batch_us = choice.batch_q95_us.or(choice.batch_held.then_some(DAY_US));
    let below_sync = |price: &UsdNanos| sync.is_none_or(|sync| *price < sync);
    let batch = batch.filter(|_| choice.batch_available);
    let flex = flex.filter(|_| choice.flex_available);
    let unpriced = sync.is_none() && batch.is_none() && flex.is_none();
    let batch = batch.filter(below_sync);
    // What is not there, or saves nothing, is not left out for its time.
    let late = known && batch.is_some() && !batch_us.is_none_or(in_time);
    let slow = match choice.batch_q95_us {
        Some(_) => "95 of 100 batches take longer than the deadline leaves",
        None => "a batch cannot be cancelled there and may take a day, longer than the deadline leaves",
    };
    match (batch.filter(|_| !late), flex.filter(below_sync)) {
        (None, None) if unpriced => (Lane::Sync, "no price is known for any lane"),
        (None, None) if late => (Lane::Sync, slow),
        (None, None) => (Lane::Sync, "no lane is cheaper"),
        (Some(batch), Some(flex)) if flex < batch => (Lane::Flex, "the cheapest lane"),
        (Some(batch), Some(flex)) if flex == batch && known && soon(choice) => {
            (Lane::Flex, "costs the same as batch and is done within the hour")
        }
        (Some(batch), Some(flex)) if flex == batch => {
            (Lane::Batch, "costs the same as flex and needs no pacing for hours")
        }
        (Some(_), _) => (Lane::Batch, "the cheapest lane"),
        (None, Some(_)) if late => (Lane::Flex, slow),
        (None, Some(_)) => (Lane::Flex, "the cheapest lane"),
    }
}

fn soon(choice: &LaneChoice) -> bool {
    needed_us(choice.items, choice.items_per_s) < FLEX_SOON_US
}

/// Time that `items` take at a paced rate; without a rate, for ever.
fn needed_us(items: u64, items_per_s: f64) -> f64 {
    if items_per_s > 0.0 { float(items) / items_per_s * SECOND_US } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: u64 = 3_600_000_000;

    #[test]
    fn the_switch_leaves_time_for_the_rest() {
        for (deadline_s, items, rate, p99_s, want_s) in [
            (10_000, 9_000, 10.0, 10, 8_999), // 900 s + 10 s, and a tenth of it
            (10_000, 0, 10.0, 10, 10_000),    // nothing left: no reason to switch
            (500, 9_000, 10.0, 10, 0),        // too late already
            (10_000, 1, 0.0, 10, 0),          // no rate known: cannot promise anything
        ] {
            let got = switch_at(deadline_s * 1_000_000, items, rate, p99_s * 1_000_000);
            assert_eq!(got.div_ceil(1_000_000), want_s, "{items} items at {rate}/s before {deadline_s} s");
        }
    }

    #[test]
    fn a_cancel_is_given_ten_minutes_of_a_long_deadline_and_little_of_a_short_one() {
        assert_eq!(cancel_us(24 * HOUR_US), 600_000_000);
        assert_eq!(cancel_us(HOUR_US), HOUR_US / 20);
        assert_eq!(cancel_us(0), 0);
    }

    #[test]
    fn auto_takes_the_cheapest_lane_that_meets_the_deadline() {
        use Lane::{Batch, Flex, Sync};
        let usd = |nanos: i64| (nanos > 0).then_some(UsdNanos(nanos));
        for (hours, items, rate, (batch, flex, sync), (has_batch, has_flex), want) in [
            (None, 1_000_000, 100.0, (50, 50, 100), (true, true), Batch),
            (None, 100_000, 100.0, (50, 50, 100), (true, true), Flex), // 1,000 s
            (None, 100_000, 0.0, (50, 50, 100), (true, true), Batch),  // nothing learned yet
            (None, 1_000_000, 100.0, (50, 40, 100), (true, true), Flex),
            (None, 1_000, 100.0, (40, 50, 100), (true, true), Batch),
            (None, 1_000, 100.0, (50, 0, 100), (true, true), Batch),
            (None, 1_000, 100.0, (50, 50, 100), (false, true), Flex),
            (None, 1_000, 100.0, (50, 50, 100), (false, false), Sync),
            (None, 1_000, 100.0, (100, 0, 100), (true, false), Sync), // a batch that saves nothing
            (None, 1_000, 100.0, (0, 0, 0), (true, true), Sync),      // nothing priced
            (Some(6), 1_000_000, 100.0, (50, 0, 100), (true, false), Batch), // needs 2.8 h, has 6 h
            (Some(3), 1_000_000, 100.0, (50, 0, 100), (true, false), Sync), // 2.8 h and a tenth: no time to wait
            (Some(0), 10, 100.0, (50, 50, 100), (true, true), Sync),
        ] {
            let choice = LaneChoice {
                now_us: HOUR_US,
                deadline_us: hours.map(|hours: u64| HOUR_US + hours * HOUR_US),
                items,
                priority: Priority::Cheap,
                prices: LanePrices { batch: usd(batch), flex: usd(flex), sync: usd(sync) },
                items_per_s: rate,
                latency_p99_us: 5_000_000,
                batch_q95_us: None,
                batch_held: false,
                batch_available: has_batch,
                flex_available: has_flex,
            };
            let (lane, why) = choose_lane(&choice);
            assert_eq!(lane, want, "{why}: {choice:?}");
            assert_eq!(choose_lane(&LaneChoice { priority: Priority::Fast, ..choice }).0, Sync);
        }
    }

    #[test]
    fn a_batch_that_cannot_be_cut_is_begun_only_if_its_day_leaves_time_for_it() {
        for (hours, q95_hours, held, want) in [
            (Some(12), None, false, Lane::Batch), // the switch saves the deadline
            (Some(12), None, true, Lane::Sync),
            (Some(30), None, true, Lane::Batch),
            (None, None, true, Lane::Batch),        // nobody waits
            (Some(12), Some(2), true, Lane::Batch), // as others have told
        ] {
            let choice = LaneChoice {
                now_us: HOUR_US,
                deadline_us: hours.map(|hours: u64| HOUR_US + hours * HOUR_US),
                items: 1_000,
                priority: Priority::Cheap,
                prices: LanePrices { batch: Some(UsdNanos(50)), flex: None, sync: Some(UsdNanos(100)) },
                items_per_s: 100.0,
                latency_p99_us: 5_000_000,
                batch_q95_us: q95_hours.map(|hours: u64| hours * HOUR_US),
                batch_held: held,
                batch_available: true,
                flex_available: false,
            };
            let (lane, why) = choose_lane(&choice);
            assert_eq!(lane, want, "{hours:?} {q95_hours:?} {held}: {why}");
            assert_eq!(why.starts_with("a batch cannot be cancelled"), want == Lane::Sync, "{why}");
        }
    }

    #[test]
    fn a_batch_is_begun_only_if_it_is_likely_to_end_in_time() {
        use Lane::{Batch, Flex, Sync};
        // A thousand seconds of calls, and what 95 of 100 batches take in minutes.
        for (deadline_min, q95_min, flex, want) in [
            (Some(120), None, false, Batch), // nothing learned: the switch saves the deadline
            (Some(120), Some(90), false, Batch),
            (Some(120), Some(110), false, Sync), // over after the switch at 101 min
            (Some(120), Some(110), true, Flex),
            (None, Some(1_440), false, Batch), // a day that nobody asked for
            (Some(1_440), Some(1_440), false, Sync),
        ] {
            let choice = LaneChoice {
                now_us: HOUR_US,
                deadline_us: deadline_min.map(|min: u64| HOUR_US + min * HOUR_US / 60),
                items: 100_000,
                priority: Priority::Cheap,
                prices: LanePrices {
                    batch: Some(UsdNanos(40)),
                    flex: flex.then_some(UsdNanos(50)),
                    sync: Some(UsdNanos(100)),
                },
                items_per_s: 100.0,
                latency_p99_us: 5_000_000,
                batch_q95_us: q95_min.map(|min: u64| min * HOUR_US / 60),
                batch_held: false,
                batch_available: true,
                flex_available: flex,
            };
            let (lane, why) = choose_lane(&choice);
            assert_eq!(lane, want, "{deadline_min:?} {q95_min:?}: {why}");
            let is_late = why == "95 of 100 batches take longer than the deadline leaves";
            assert_eq!(is_late, want != Batch, "{deadline_min:?} {q95_min:?}: {why}");
            // The time of batches is no reason where there are none, or where they save nothing.
            let absent = LaneChoice { batch_available: false, flex_available: true, ..choice.clone() };
            let dear = LanePrices { batch: Some(UsdNanos(100)), ..choice.prices };
            for choice in [absent, LaneChoice { prices: dear, ..choice }] {
                let (_, why) = choose_lane(&choice);
                assert!(!why.starts_with("95 of 100"), "{choice:?}: {why}");
            }
        }
    }
}
