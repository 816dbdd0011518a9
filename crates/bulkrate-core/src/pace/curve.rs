//! How long batches take, from those that have run: the time within which 95 of 100 are over.
//!
//! A batch that was cancelled, expired or still runs has taken at least so long: its weight goes to those that took longer
//! (product-limit estimate: Kaplan and Meier 1958). From few samples the quantile is not read off but bounded: the `k`-th shortest of
//! `n` is above the true quantile with a confidence that follows from the binomial distribution alone (order statistics: David and
//! Nagaraja, *Order Statistics*, 7.1). Below 59 samples not even the longest is so with 95 %; then it is moved towards the day that
//! providers promise, by the probability `0.95^n` that all of `n` were shorter than the quantile.

use super::deadline::DAY_US;

/// Fewer batches that came to their end teach nothing.
const SAMPLES_MIN: usize = 20;
/// The share of batches that the long quantile covers, and how surely.
const SHARE: f64 = 0.95;
const CONFIDENCE: f64 = 0.95;

/// One batch that has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchTime {
    /// Hour of the day (UTC) in which it was created, 0 to 23.
    pub hour: u8,
    /// From its create to its end, or as long as it was seen to run.
    pub took_us: u64,
    /// It came to its end by itself; else it would have taken at least so long.
    pub done: bool,
}

/// What earlier batches say of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchCurve {
    /// Half of them are over within this.
    pub median_us: u64,
    /// 95 of 100 are; at most a day.
    pub q95_us: u64,
    /// Batches that came to their end, which this rests on.
    pub samples: usize,
}

/// The curve of batches that are created in this hour: of those of the same hour if there are enough, else of all. `None` below
/// 20 that came to their end: then nothing is known but what the provider promises.
#[must_use]
pub fn batch_curve(times: &[BatchTime], hour: u8) -> Option<BatchCurve> {
    let of_hour: Vec<BatchTime> = times.iter().filter(|time| time.hour == hour).copied().collect();
    curve(of_hour).or_else(|| curve(times.to_vec()))
}

fn curve(mut times: Vec<BatchTime>) -> Option<BatchCurve> {
    let done = times.iter().filter(|time| time.done).count();
    if done < SAMPLES_MIN {
        return None;
    }
    // Of equal times those that ended come first: the others took longer.
    times.sort_unstable_by_key(|time| (time.took_us, !time.done));
    let (covering, sure) = covering(done);
    let read = quantile(&times, covering).unwrap_or(DAY_US).min(DAY_US);
    let q95_us = if sure { read } else { towards_a_day(read, done) };
    let median_us = quantile(&times, 0.5).unwrap_or(DAY_US).min(q95_us);
    Some(BatchCurve { median_us, q95_us, samples: done })
}

/// The shortest time within which this share of the batches is over; `None` where too few were seen to end.
fn quantile(times: &[BatchTime], share: f64) -> Option<u64> {
    let mut open = 1.0;
    for (place, time) in times.iter().enumerate().filter(|(_, time)| time.done) {
        open *= 1.0 - 1.0 / count(times.len() - place);
        if open <= 1.0 - share + 1e-9 {
            return Some(time.took_us);
        }
    }
    None
}

/// The share of `n` samples whose longest is above the quantile with [`CONFIDENCE`], and whether there is one.
fn covering(n: usize) -> (f64, bool) {
    // P(at least j of n above the quantile) falls with j: as many may be left out as keeps the confidence.
    let mut term = SHARE.powf(count(n));
    let mut none_above = term;
    if none_above > 1.0 - CONFIDENCE {
        return (1.0, false);
    }
    let mut out = 0;
    while out + 1 < n {
        term *= count(n - out) / count(out + 1) * (1.0 - SHARE) / SHARE;
        if none_above + term > 1.0 - CONFIDENCE {
            break;
        }
        none_above += term;
        out += 1;
    }
    (1.0 - count(out) / count(n), true)
}

/// A long quantile that the samples do not prove.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "microseconds of a day"
)]
fn towards_a_day(read_us: u64, n: usize) -> u64 {
    let missing = DAY_US.saturating_sub(read_us) as f64;
    read_us.saturating_add((missing * SHARE.powf(count(n))).ceil() as u64)
}

#[allow(clippy::cast_precision_loss, reason = "counts of batches")]
fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "tests"
    )]
    use super::*;
    use crate::pace::rng::SplitMix64;

    const MINUTE_US: u64 = 60_000_000;

    fn took(minutes: u64) -> BatchTime {
        BatchTime { hour: 3, took_us: minutes * MINUTE_US, done: true }
    }

    fn cut(minutes: u64) -> BatchTime {
        BatchTime { done: false, ..took(minutes) }
    }

    #[test]
    fn samples_in_and_quantiles_out() {
        let ramp = |n: u64| (1..=n).map(took).collect::<Vec<_>>();
        let with = |mut times: Vec<BatchTime>, more: Vec<BatchTime>| {
            times.extend(more);
            times
        };
        for (told, times, want) in [
            ("nothing yet", vec![], None),
            ("too few", ramp(19), None),
            ("too few that ended", with(ramp(19), vec![cut(5); 50]), None),
            // 20 + 0.95^20 of the 1,420 minutes that are left of a day.
            ("few: near a day", ramp(20), Some((10, 530))),
            ("the longest of 58, and a little", ramp(58), Some((29, 129))),
            ("the longest of 59", ramp(59), Some((30, 59))),
            ("one of 100 may be left out", ramp(100), Some((50, 99))),
            ("29 of 1,000", ramp(1_000), Some((500, 962))),
            // Cancelled early: what they say is shared out among the longer ones.
            ("cut at once", with(ramp(100), vec![cut(0); 100]), Some((50, 99))),
            ("cut in the middle", with(ramp(100), vec![cut(50); 20]), Some((58, 100))),
            ("cut after the longest: nobody knows", with(ramp(100), vec![cut(101); 20]), Some((60, 1_440))),
            ("all alike", vec![took(7); 200], Some((7, 7))),
            ("longer than a day", vec![took(3_000); 60], Some((1_440, 1_440))),
        ] {
            let got = batch_curve(&times, 3);
            let minutes = |us: u64| us.div_ceil(MINUTE_US);
            assert_eq!(got.map(|got| (minutes(got.median_us), minutes(got.q95_us))), want, "{told}");
        }
    }

    #[test]
    fn the_hour_counts_where_it_is_known() {
        let slow = (0..30).map(|_| BatchTime { hour: 15, ..took(600) });
        let times: Vec<BatchTime> = (0..100).map(|_| took(10)).chain(slow).collect();
        let median = |hour| batch_curve(&times, hour).unwrap().median_us / MINUTE_US;
        assert_eq!((median(3), median(15)), (10, 600));
        let other = batch_curve(&times, 9).unwrap();
        assert_eq!(
            (other.median_us / MINUTE_US, other.samples),
            (10, 130),
            "an hour without batches: all of them"
        );
    }

    #[test]
    fn q95_covers_19_of_20_in_nearly_all_worlds() {
        // Log-normal times; one of ten is cut at a time of its own. At least 95 of 100 worlds must not be promised too little.
        for n in [20_usize, 59, 150, 600] {
            let kept = (1..=400)
                .filter(|seed| {
                    let mut rng = SplitMix64::new(*seed);
                    let mut uniform = || ((rng.next_u64() >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0;
                    let mut minutes = || {
                        let normal =
                            (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
                        (40.0 * (0.8 * normal).exp(), uniform(), uniform())
                    };
                    let times: Vec<BatchTime> = (0..n)
                        .map(|_| {
                            let (took, cuts, at) = minutes();
                            let (took, done) = if cuts < 0.1 { (took * at, false) } else { (took, true) };
                            BatchTime { hour: 0, took_us: (took * MINUTE_US as f64) as u64, done }
                        })
                        .collect();
                    // The true quantile: 40 x exp(0.8 x 1.6449).
                    batch_curve(&times, 0).is_none_or(|got| got.q95_us as f64 >= 149.1 * MINUTE_US as f64)
                })
                .count();
            assert!(kept >= 376, "{n} batches: {kept} of 400 worlds");
        }
    }
}
