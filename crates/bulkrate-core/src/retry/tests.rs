#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::{Alarm, Attempts, Failure, FailureMeter, Ladder, Next};
use crate::failure::FailureClass::{self, *};
use crate::failure::Verdict;
use crate::lane::Lane::{self, Batch, Flex, Sync};

fn failure(class: FailureClass, lane: Lane) -> Failure {
    Failure {
        class,
        lane,
        retry_after_us: None,
        no_capacity: false,
        waited_us: 0,
        switch_in_us: None,
        max_tokens: 100,
        max_tokens_model: 1_000,
        random: 7,
    }
}

/// Fails with one class after another until the item ends; gives the lanes gone through, raises included, and the end.
fn walk(home: Lane, classes: &[FailureClass]) -> (String, Next) {
    let (ladder, mut attempts, mut lane, mut max_tokens) =
        (Ladder::new(home), Attempts::default(), home, 100);
    let mut way = home.name().to_owned();
    for class in classes {
        attempts.record(lane, *class);
        let next = ladder.next(&attempts, &Failure { max_tokens, ..failure(*class, lane) });
        let Next::Again { lane: then, max_tokens: raised, .. } = next else { return (way, next) };
        lane = then;
        max_tokens = raised.unwrap_or(max_tokens);
        way = format!("{way} {lane}{}", raised.map_or(String::new(), |raised| format!("@{raised}")));
    }
    panic!("`{way}` did not end")
}

#[test]
fn the_ladder_of_each_lane() {
    let dead = |class| Next::Dead(class);
    for (home, classes, way, end) in [
        (Batch, &[Transient; 9][..], "batch batch sync", dead(AttemptsExhausted)),
        (Batch, &[Expired, Expired, Timeout], "batch batch sync", dead(AttemptsExhausted)),
        (Batch, &[Expired, SchemaFailed, SchemaFailed], "batch batch sync", dead(SchemaFailed)),
        (Sync, &[Transient; 9], "sync sync sync sync sync", dead(AttemptsExhausted)),
        (Flex, &[Timeout; 9], "flex flex flex flex sync", dead(AttemptsExhausted)),
        // Waiting for limits uses no attempt up.
        (
            Sync,
            &[RateLimited, RateLimited, Transient, RateLimited, Auth],
            "sync sync sync sync sync",
            Next::Halt(Auth),
        ),
        // Answers that are bad in themselves have limits of their own.
        (Sync, &[SchemaFailed, Empty, SchemaFailed], "sync sync sync", dead(SchemaFailed)),
        (Sync, &[Refusal, Refusal], "sync sync", dead(Refusal)),
        (Batch, &[Refusal, Refusal], "batch batch", dead(Refusal)),
        // Bundles are no attempts; after two of them a batch's item is called for, as often as it would have run.
        (
            Batch,
            &[BundleFailed, BundleFailed, SchemaFailed, SchemaFailed, SchemaFailed],
            "batch batch sync sync sync",
            dead(SchemaFailed),
        ),
        (
            Batch,
            &[BundleFailed, Transient, Transient, Transient],
            "batch batch batch sync",
            dead(AttemptsExhausted),
        ),
        (Sync, &[BundleFailed, BundleFailed, Refusal, Refusal], "sync sync sync sync", dead(Refusal)),
        (Flex, &[BundleFailed, Auth], "flex flex", Next::Halt(Auth)),
        // Truncated once: four times the maximum; twice: dead, never the same maximum again.
        (Sync, &[Truncated, Truncated], "sync sync@400", dead(Truncated)),
        (Batch, &[Truncated, Truncated], "batch batch@400", dead(Truncated)),
        (Sync, &[Truncated, Transient, Refusal, Truncated], "sync sync@400 sync sync", dead(Truncated)),
        // What no attempt can mend.
        (Sync, &[RefusedByProvider], "sync", dead(RefusedByProvider)),
        (Batch, &[ContentPolicy], "batch", dead(ContentPolicy)),
        (Batch, &[Transient, Billing], "batch batch", Next::Halt(Billing)),
    ] {
        assert_eq!(walk(home, classes), (way.to_owned(), end), "{home} {classes:?}");
    }
}

#[test]
fn the_output_maximum_is_raised_within_the_model_or_not_at_all() {
    for (now, model, want) in
        [(100, 1_000, Some(400)), (300, 1_000, Some(1_000)), (1_000, 1_000, None), (2_000, 1_000, None)]
    {
        let mut attempts = Attempts::default();
        attempts.record(Sync, Truncated);
        let failure = Failure { max_tokens: now, max_tokens_model: model, ..failure(Truncated, Sync) };
        let want = want.map_or(Next::Dead(Truncated), |raised| Next::Again {
            lane: Sync,
            wait_us: 0,
            max_tokens: Some(raised),
        });
        assert_eq!(Ladder::new(Sync).next(&attempts, &failure), want, "{now} of {model}");
    }
}

#[test]
fn flex_capacity_is_waited_for_as_long_as_patience_and_deadline_allow() {
    let minute = 60_000_000;
    for (waited, switch_in, no_capacity, want) in [
        (0, None, true, Flex),
        (14 * minute - 1, None, true, Flex),
        (15 * minute, None, true, Sync),
        (2 * minute, Some(minute), true, Sync),
        (0, Some(0), true, Sync),
        // A rate limit is the same in the sync lane: leaving would only cost more.
        (60 * minute, None, false, Flex),
    ] {
        let mut attempts = Attempts::default();
        attempts.record(Flex, RateLimited);
        let failure =
            Failure { waited_us: waited, switch_in_us: switch_in, no_capacity, ..failure(RateLimited, Flex) };
        match Ladder::new(Flex).next(&attempts, &failure) {
            Next::Again { lane, .. } => assert_eq!(lane, want, "{failure:?}"),
            end => panic!("{end:?}"),
        }
        assert_eq!(attempts.total(), 0);
    }
}

#[test]
fn where_there_are_no_calls_every_attempt_is_a_batch() {
    let ladder = Ladder::new(Batch).without_calls();
    let mut attempts = Attempts::default();
    let mut lanes = Vec::new();
    loop {
        attempts.record(Batch, Expired);
        match ladder.next(&attempts, &failure(Expired, Batch)) {
            Next::Again { lane, .. } => lanes.push(lane),
            end => {
                assert_eq!(end, Next::Dead(AttemptsExhausted));
                break;
            }
        }
    }
    assert_eq!((lanes, attempts.total()), (vec![Batch, Batch], 3));
}

#[test]
fn after_the_latest_switch_a_batch_item_goes_to_sync() {
    let mut attempts = Attempts::default();
    attempts.record(Batch, Expired);
    let ladder = Ladder::new(Batch);
    let Next::Again { lane, wait_us, .. } = ladder.next(&attempts, &failure(Expired, Batch)) else {
        panic!()
    };
    assert_eq!((lane, wait_us), (Batch, 60_000_000));
    let Next::Again { lane, wait_us, .. } =
        ladder.next(&attempts, &Failure { switch_in_us: Some(0), ..failure(Expired, Batch) })
    else {
        panic!()
    };
    assert!(lane == Sync && wait_us <= 1_000_000, "{lane} {wait_us}");
}

proptest! {
    /// Waits stay within their bounds and the ladder ends, whatever fails.
    #[test]
    fn waits_are_bounded_and_the_ladder_ends(
        home in 0_usize..3,
        classes in proptest::collection::vec(0..FailureClass::ALL.len(), 40),
        random in any::<u64>(),
        retry_after_us in proptest::option::of(0_u64..600_000_000),
    ) {
        let home = Lane::ALL[home];
        let (ladder, mut attempts, mut lane) = (Ladder::new(home), Attempts::default(), home);
        let counted: Vec<_> = classes.iter().map(|index| FailureClass::ALL[*index]).filter(|class| class.counts_as_attempt()).collect();
        for (n, class) in counted.iter().enumerate() {
            attempts.record(lane, *class);
            let before = Failure { retry_after_us, random: random.wrapping_add(n as u64), ..failure(*class, lane) };
            match ladder.next(&attempts, &before) {
                Next::Again { lane: then, wait_us, .. } => {
                    prop_assert!(class.verdict() == Verdict::RetryLater);
                    prop_assert!(wait_us >= retry_after_us.unwrap_or(0));
                    prop_assert!(wait_us <= 60_000_000.max(retry_after_us.unwrap_or(0)));
                    prop_assert!(then != Batch || home == Batch);
                    lane = then;
                }
                Next::Dead(end) => {
                    prop_assert!(end == *class || end == AttemptsExhausted);
                    prop_assert!(attempts.total() <= 5);
                    return Ok(());
                }
                Next::Halt(end) => {
                    prop_assert_eq!(end.verdict(), Verdict::HaltJob);
                    return Ok(());
                }
            }
        }
        prop_assert!(counted.len() < 5, "five attempts and no end");
    }

    /// The n-th wait is uniform below base x 2^n: never above it, and not always the same.
    #[test]
    fn backoff_doubles(calls in 1_u8..5, random in any::<u64>()) {
        let attempts = Attempts { calls: calls.min(4), ..Attempts::default() };
        let next = Ladder::new(Sync).next(&attempts, &Failure { random, ..failure(Transient, Sync) });
        let Next::Again { wait_us, .. } = next else { panic!("{next:?}") };
        prop_assert!(wait_us <= 500_000 << calls.min(4));
    }
}

#[test]
fn waiting_grows_with_refusals_and_starts_anew_after_an_attempt() {
    let mut attempts = Attempts::default();
    for _ in 0..300 {
        attempts.record(Sync, RateLimited);
    }
    let longest = (0..200)
        .map(|random| {
            match Ladder::new(Sync).next(&attempts, &Failure { random, ..failure(RateLimited, Sync) }) {
                Next::Again { wait_us, .. } => wait_us,
                end => panic!("{end:?}"),
            }
        })
        .max()
        .unwrap();
    assert!((50_000_000..=60_000_000).contains(&longest), "{longest}");
    attempts.record(Sync, Transient);
    assert_eq!((attempts.waits, attempts.calls), (0, 1));
}

#[test]
fn one_error_for_every_item_stops_the_job() {
    let twenty = |meter: &mut FailureMeter, class, code: &str| {
        (0..20).fold(Alarm::Quiet, |_, _| meter.failed(class, code))
    };
    for (class, want) in [
        (RefusedByProvider, Alarm::Stop(RefusedByProvider)),
        (InvalidInput, Alarm::Stop(InvalidInput)),
        (ContentPolicy, Alarm::Quiet), // says something about each item, not about the job
        (AttemptsExhausted, Alarm::Quiet),
    ] {
        assert_eq!(twenty(&mut FailureMeter::default(), class, "unsupported_value"), want, "{class}");
    }
    // A single good answer, or another code, proves that not every item fails.
    let mut meter = FailureMeter::default();
    meter.ok();
    assert_eq!(twenty(&mut meter, RefusedByProvider, "x"), Alarm::Quiet);
    let mut meter = FailureMeter::default();
    meter.failed(RefusedByProvider, "y");
    assert_eq!(twenty(&mut meter, RefusedByProvider, "x"), Alarm::Quiet);
    // Credentials stop at once, whatever came before.
    meter.ok();
    assert_eq!(meter.failed(Auth, "invalid_api_key"), Alarm::Stop(Auth));
}

#[test]
fn the_alarm_sounds_once_above_the_threshold() {
    let mut meter = FailureMeter::default();
    let mut alarms = Vec::new();
    for n in 0..1_000 {
        // One in ten, beginning with the first: small numbers must not raise the alarm.
        let alarm = if n % 10 == 0 { meter.failed(SchemaFailed, "") } else { meter.ok() };
        if alarm != Alarm::Quiet {
            alarms.push(alarm);
        }
    }
    assert_eq!(alarms, [Alarm::Alert { failed: 6, total: 51 }]);
    assert_eq!((meter.counts(), meter.is_above()), ((100, 1_000), true));

    let mut meter = FailureMeter::new(FailureMeter::THRESHOLD_PPM);
    for n in 0..1_000 {
        let alarm = if n % 20 == 0 { meter.failed(SchemaFailed, "") } else { meter.ok() };
        assert!(n < 60 || alarm == Alarm::Quiet || meter.is_above());
    }
    assert!(!meter.is_above(), "exactly 5 % is not above 5 %");
}
