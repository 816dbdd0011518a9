//! What holds for every limit, every load and every order of events.

use proptest::prelude::*;

use crate::pace::{Admit, Hints, Limits, Pacer, RefusalKind, float};

/// Admits for `span_us` as fast as allowed; gives the admitted calls as (time, tokens).
fn admit_all(
    pacer: &mut Pacer,
    span_us: u64,
    tokens: impl Fn(usize) -> u64,
    idle: impl Fn(usize) -> u64,
) -> Vec<(u64, u64)> {
    let (mut now_us, mut sent) = (0, Vec::new());
    while now_us < span_us && sent.len() < 20_000 {
        let amount = tokens(sent.len());
        match pacer.admit(now_us, amount) {
            Admit::Go => {
                now_us += idle(sent.len());
                sent.push((now_us, amount));
            }
            Admit::At(at_us) => {
                assert!(at_us > now_us);
                now_us = at_us;
            }
        }
    }
    sent
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Over any window no more goes out than the limit and one burst, which never exceeds five seconds.
    #[test]
    fn no_window_exceeds_limit_and_burst(
        rpm in 1_u64..20_000, tpm in 1_000_u64..2_000_000, size in 1_u64..3_000, idle_ms in 0_u64..3_000, every in 50_usize..400,
    ) {
        let mut pacer = Pacer::new(Limits { rpm: Some(rpm), tpm: Some(tpm) });
        let tokens = |n: usize| 1 + (n as u64 * 7_919) % size;
        // Idle from time to time, so that bursts and their growth take place.
        let idle = |n: usize| if n.is_multiple_of(every) { idle_ms * 1_000 } else { 0 };
        let sent = admit_all(&mut pacer, 60_000_000, tokens, idle);
        let burst_s = 5.0;
        for start in (0..sent.len()).step_by(1 + sent.len() / 50) {
            let (mut calls, mut amount) = (0.0, 0.0);
            for (at_us, tokens) in &sent[start..] {
                let window_s = float(at_us - sent[start].0) / 1e6 + burst_s;
                calls += 1.0;
                amount += float(*tokens);
                prop_assert!(calls <= window_s * float(rpm) / 60.0 + 1.0 + 1e-6);
                prop_assert!(amount <= window_s * float(tpm) / 60.0 + float(size) + 1e-6);
            }
        }
        // A client that never idles stays within one second's burst.
        let mut pacer = Pacer::new(Limits { rpm: Some(rpm), tpm: None });
        let sent = admit_all(&mut pacer, 10_000_000, |_| 1, |_| 0);
        for (n, (at_us, _)) in sent.iter().enumerate() {
            prop_assert!(n as f64 <= (float(*at_us) / 1e6 * 1.006 + 1.0) * float(rpm) / 60.0 + 1e-6);
        }
    }

    /// Whatever happens, a call goes at the time that `At` names or soon after: nothing waits for ever.
    #[test]
    fn every_call_goes_in_the_end(
        rpm in proptest::option::of(1_u64..10_000),
        tpm in proptest::option::of(1_u64..1_000_000),
        sizes in proptest::collection::vec(0_u64..5_000_000, 1..40),
        events in proptest::collection::vec((0_u8..6, 0_u64..20_000_000, 0_u64..100_000), 0..40),
    ) {
        let mut pacer = Pacer::new(Limits { rpm, tpm });
        let mut now_us = 1;
        for (n, size) in sizes.iter().enumerate() {
            let mut asked = 0;
            while let Admit::At(at_us) = pacer.admit(now_us, *size) {
                prop_assert!(at_us > now_us);
                asked += 1;
                prop_assert!(asked < 1_000, "still waiting at {now_us}");
                now_us = at_us;
            }
            for (kind, wait_us, left) in events.iter().skip(n).take(3) {
                match kind {
                    0 => pacer.on_refused(now_us, RefusalKind::Requests, Some(*wait_us)),
                    1 => pacer.on_refused(now_us, RefusalKind::Tokens, None),
                    2 => pacer.on_refused(now_us, RefusalKind::SlowDown, Some(*wait_us)),
                    3 => pacer.correct(*size, *left),
                    4 => pacer.observe(now_us, now_us.saturating_sub(*wait_us), &Hints {
                        requests_limit: Some(*left), requests_left: Some(left / 3), requests_reset_ms: Some(wait_us / 1_000),
                        tokens_limit: Some(left * 10), tokens_left: Some(*left), tokens_reset_ms: None,
                    }),
                    _ => pacer.on_refused(now_us, RefusalKind::Unspecified, None),
                }
                prop_assert!((0.1..=50.0).contains(&pacer.k()));
            }
        }
    }
}

#[test]
fn a_call_larger_than_the_limit_passes_alone() {
    let mut pacer = Pacer::new(Limits { rpm: None, tpm: Some(6_000) });
    assert_eq!(pacer.admit(0, 60_000), Admit::Go);
    let Admit::At(at_us) = pacer.admit(0, 10) else { panic!("ten minutes' tokens are gone") };
    assert!((600_000_000..607_000_000).contains(&at_us), "{at_us}");
    assert_eq!(pacer.admit(at_us, 10), Admit::Go);
}

#[test]
fn an_answer_that_used_less_gives_the_rest_back() {
    let mut pacer = Pacer::new(Limits { rpm: None, tpm: Some(60_000) });
    assert_eq!(pacer.admit(0, 5_000), Admit::Go);
    let Admit::At(before_us) = pacer.admit(0, 500) else { panic!("nothing is left") };
    pacer.correct(5_000, 1_000);
    assert!(pacer.charge_factor() < 0.25);
    let Admit::At(after_us) = pacer.admit(0, 500) else { panic!("1,000 tokens take a second") };
    assert!(after_us + 3_900_000 < before_us, "{after_us} {before_us}");
}

#[test]
fn retry_after_is_honoured_and_reactions_are_rare() {
    let mut pacer = Pacer::new(Limits { rpm: Some(6_000), tpm: None });
    for call in 0..99 {
        assert_eq!(pacer.admit(0, 1), Admit::Go, "call {call} of the first second's burst");
    }
    for _ in 0..50 {
        pacer.on_refused(1_000, RefusalKind::Requests, Some(7_000_000));
    }
    assert!((pacer.k() - 0.6).abs() < 1e-9, "one reaction, not fifty: {}", pacer.k());
    let Admit::At(at_us) = pacer.admit(2_000, 1) else { panic!("not before the time asked for") };
    assert_eq!(at_us, 7_001_000);
    // Flex capacity says nothing about rates.
    pacer.on_refused(8_000_000, RefusalKind::Capacity, Some(100_000_000));
    assert_eq!(pacer.admit(8_000_000, 1), Admit::Go);
}

#[test]
fn unknown_limits_are_guessed_from_what_passed() {
    let mut pacer = Pacer::new(Limits::default());
    for call in 0..1_000_u64 {
        assert_eq!(pacer.admit(call * 10_000, 1), Admit::Go, "no limit is known, none is made up");
    }
    pacer.on_refused(10_000_000, RefusalKind::Unspecified, None);
    let rpm = pacer.limits().rpm.unwrap();
    assert!((4_500..7_000).contains(&rpm), "100 a second passed; {rpm} a minute guessed");
}

#[test]
fn of_a_first_call_that_is_refused_no_limit_is_guessed() {
    let mut pacer = Pacer::new(Limits::default());
    assert_eq!(pacer.admit(0, 1), Admit::Go);
    pacer.on_refused(300_000, RefusalKind::Unspecified, Some(2_000_000));
    assert_eq!(pacer.limits(), Limits::default(), "one call went, and one a second is no limit");
    assert_eq!(pacer.admit(400_000, 1), Admit::At(2_300_000), "what it asks for is kept");
    for _ in 0..32 {
        assert_eq!(pacer.admit(2_300_000, 1), Admit::Go);
    }
    pacer.on_refused(2_600_000, RefusalKind::Unspecified, None);
    assert!(pacer.limits().rpm.is_some(), "of many a rate can be told");
}

#[test]
fn header_limits_replace_configured_ones_but_daily_limits_do_not() {
    let mut pacer = Pacer::new(Limits { rpm: Some(600), tpm: None });
    let daily = Hints {
        requests_limit: Some(14_400),
        requests_left: Some(14_370),
        requests_reset_ms: Some(179_560),
        ..Hints::default()
    };
    pacer.observe(1_000, 0, &daily);
    assert_eq!(pacer.limits(), Limits { rpm: Some(600), tpm: None });
    let minutely = Hints {
        requests_limit: Some(60),
        requests_left: Some(59),
        requests_reset_ms: Some(1_000),
        ..Hints::default()
    };
    pacer.observe(2_000, 0, &minutely);
    assert_eq!(pacer.limits(), Limits { rpm: Some(60), tpm: None });
    // The day is used up: wait for the next one.
    pacer.observe(3_000, 0, &Hints { requests_left: Some(0), requests_reset_ms: Some(3_600_000), ..daily });
    assert_eq!(pacer.admit(4_000, 1), Admit::At(3_600_003_000));
}
