//! Published figures, and laws.

use proptest::prelude::*;

use super::*;
use crate::failure::FailureClass;
use crate::pace::rng::SplitMix64;

fn close(got: f64, want: f64, digits: i32) -> bool {
    (got - want).abs() <= 0.5 * 10_f64.powi(-digits) + 1e-12
}

/// Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), table I,
/// method 3 (score, without continuity correction): four decimals.
#[test]
fn wilson_gives_the_published_intervals() {
    for (errors, judged, low, high) in
        [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
    {
        let got = wilson(errors, judged, Z95);
        assert!(close(got.low, low, 4) && close(got.high, high, 4), "{errors} of {judged}: {got:?}");
    }
}

/// What `statsmodels.stats.proportion.proportion_confint(k, n, method="wilson")` computes, to ten digits.
#[test]
fn wilson_gives_the_digits_of_another_implementation() {
    for (errors, judged, low, high) in [
        (8, 1_000, 0.004_059_195_8, 0.015_706_334_5),
        (0, 300, 0.0, 0.012_642_971_2),
        (56, 7_000, 0.006_166_153_0, 0.010_373_550_2),
        (160, 20_000, 0.006_856_368_3, 0.009_332_595_2),
        (5, 10, 0.236_593_090_5, 0.763_406_909_5),
        (10, 10, 0.722_467_200_1, 1.0),
    ] {
        let got = wilson(errors, judged, Z95);
        assert!(close(got.low, low, 10) && close(got.high, high, 10), "{errors} of {judged}: {got:?}");
    }
    assert_eq!(wilson(0, 0, Z95), Interval { low: 0.0, high: 1.0 });
}

proptest! {
    #[test]
    fn wilson_is_an_interval_around_the_rate(errors in 0_u64..5_000, more in 0_u64..100_000) {
        let judged = errors + more + 1;
        #[allow(clippy::cast_precision_loss, reason = "small")]
        let rate = errors as f64 / judged as f64;
        let got = wilson(errors, judged, Z95);
        prop_assert!(0.0 <= got.low && got.low <= rate && rate <= got.high && got.high <= 1.0);
        // The mirror image: what is no error is right.
        let right = wilson(judged - errors, judged, Z95);
        prop_assert!((right.low - (1.0 - got.high)).abs() < 1e-12 && (right.high - (1.0 - got.low)).abs() < 1e-12);
        // More evidence of the same rate says more.
        let tenfold = wilson(errors * 10, judged * 10, Z95);
        prop_assert!(tenfold.low >= got.low - 1e-15 && tenfold.high <= got.high + 1e-15);
    }

    #[test]
    fn a_larger_share_keeps_what_was_chosen(job in "[0-9a-f]{16}", few in 0_u32..=1_000, many in 0_u32..=1_000, ordinal: u32) {
        let (few, many) = (few.min(many), few.max(many));
        let picked = Sample::new(&job, few).picks(ordinal);
        prop_assert!(!picked || Sample::new(&job, many).picks(ordinal));
        prop_assert!(!Sample::new(&job, 0).picks(ordinal) && Sample::new(&job, 1_000).picks(ordinal));
    }

    #[test]
    fn more_flaws_never_prove_less(flawed in 0_u64..300, good in 0_u64..20_000, permille in 1_u32..300) {
        let limit = f64::from(permille) / 1_000.0;
        let judged = flawed + good;
        prop_assert!(!proves(flawed, judged, limit) || proves(flawed + 1, judged + 1, limit));
        // A good answer, or a looser limit, proves nothing new.
        prop_assert!(proves(flawed, judged, limit) || !proves(flawed, judged + 1, limit));
        prop_assert!(proves(flawed, judged, limit) || !proves(flawed, judged, limit * 1.1));
    }
}

#[test]
fn a_sample_is_a_share_spread_evenly_and_its_own_for_each_job() {
    for (permille, around) in [(1, 1_000_u32), (10, 10_000), (250, 250_000)] {
        let sample = Sample::new("3f2a9c71", permille);
        let tenths: Vec<usize> = (0..10_u32)
            .map(|tenth| (tenth * 100_000..(tenth + 1) * 100_000).filter(|item| sample.picks(*item)).count())
            .collect();
        let all = u32::try_from(tenths.iter().sum::<usize>()).unwrap_or(0);
        // Five standard deviations of a binomial, at most.
        let off = 5.0 * f64::from(around).sqrt();
        assert!(f64::from(all.abs_diff(around)) < off, "{permille}: {all}");
        assert!(
            tenths.iter().all(|count| count.abs_diff(around as usize / 10) < around as usize / 10),
            "{tenths:?}"
        );
    }
    let (one, other) = (Sample::new("3f2a9c71", 10), Sample::new("3f2a9c72", 10));
    let both = (0..1_000_000).filter(|item| one.picks(*item) && other.picks(*item)).count();
    assert!(both < 200, "{both}: unrelated samples share one item of 100");
}

/// Items until a job of so many parts per million flaws is stopped at a limit of 1 %; looked at after every flaw.
fn stopped_after(seed: u64, ppm: u64, items: u64) -> Option<u64> {
    let (mut dice, mut meter) = (SplitMix64::new(seed), FlawMeter::new(Some(10)));
    (1..=items).find(|_| {
        if dice.up_to(999_999) < ppm {
            meter.ended(FailureClass::SchemaFailed).is_some()
        } else {
            meter.good();
            false
        }
    })
}

/// At most 1 job of 100 at the very limit may be stopped, however long it runs; worse ones must be, and soon.
#[test]
fn good_jobs_run_on_and_bad_ones_stop() {
    let false_alarms = (0..400).filter(|seed| stopped_after(*seed, 10_000, 20_000).is_some()).count();
    assert!(false_alarms <= 4, "{false_alarms} of 400");
    for (ppm, at_most) in [(20_000, 2_000), (30_000, 600), (50_000, 200)] {
        let mut after: Vec<u64> =
            (0..201).map(|seed| stopped_after(seed, ppm, 100_000).unwrap_or(u64::MAX)).collect();
        after.sort_unstable();
        assert!(after[100] < at_most && after[200] < u64::MAX, "{ppm}: {} {}", after[100], after[200]);
    }
}

#[test]
fn only_flaws_of_answers_count_and_only_against_a_limit() {
    use FailureClass::{Refusal, Timeout};
    let mut free = FlawMeter::new(None);
    let mut strict = FlawMeter::new(Some(0));
    let mut usual = FlawMeter::new(Some(50));
    for _ in 0..100 {
        assert_eq!((free.ended(Refusal), usual.ended(Timeout), strict.ended(Timeout)), (None, None, None));
    }
    assert_eq!(strict.ended(Refusal), Some((1, 1)));
    let stopped = (1..100).find_map(|_| usual.ended(Refusal));
    assert_eq!(stopped, Some((6, 6)), "five of five may be bad luck, six are no 5 %");
}
