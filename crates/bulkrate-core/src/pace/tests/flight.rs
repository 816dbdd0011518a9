//! Calls in flight: found within a few round trips, not lost to noise, given up when the provider only queues.

use super::world::{Outcome, World, run};
use crate::pace::rng::SplitMix64;
use crate::pace::{Concurrency, Signal};

/// No rate limits; only what the provider runs at once bounds the flow.
fn unlimited(seed: u64) -> World {
    World {
        items: 200_000,
        rpm: 1e9,
        tpm: 1e12,
        headers: false,
        configured: false,
        latency_s: 0.5,
        latency_sigma: 0.5,
        in_flight_max: 1_000,
        jitter_us: 500,
        ..World::limited(seed)
    }
}

fn show(name: &str, got: &Outcome) {
    println!(
        "{name}: {:.1} s of {:.1} s = {:.2} %, top {}",
        got.span_s,
        got.ideal_s,
        100.0 * got.reached(),
        got.in_flight_top
    );
}

#[test]
fn a_thousand_in_flight_are_reached_and_kept() {
    for (sigma, reached_min) in [(0.3, 0.97), (0.5, 0.97), (0.8, 0.97), (1.2, 0.85)] {
        for seed in 1..=2 {
            let got = run(&World { latency_sigma: sigma, ..unlimited(seed) });
            show(&format!("sigma {sigma}, seed {seed}"), &got);
            assert_eq!(got.answered, 200_000);
            assert!(got.reached() >= reached_min, "sigma {sigma}, seed {seed}: {:.4}", got.reached());
        }
    }
}

#[test]
fn long_answers_are_not_congestion() {
    let got = run(&World { output: 200.0, output_max: 4_000, latency_sigma: 0.8, ..unlimited(3) });
    show("long answers", &got);
    assert!(got.reached() >= 0.97, "{:.4}", got.reached());
}

#[test]
fn a_provider_that_queues_is_kept_busy_but_not_buried() {
    let got = run(&World { servers: 100, items: 50_000, in_flight_max: 2_000, ..unlimited(1) });
    show("100 places", &got);
    assert!(got.reached() >= 0.93, "{:.4}", got.reached());
    assert!(got.in_flight_top < 1_000, "{} in flight for 100 places", got.in_flight_top);
}

/// Answers `calls` calls, each ending as `signal` says, with the limit always used.
fn feed(
    flight: &mut Concurrency,
    now_us: &mut u64,
    calls: u32,
    latency_us: impl Fn(u32) -> u64,
    signal: Signal,
) {
    for call in 0..calls {
        while flight.has_room() {
            flight.on_sent(*now_us);
        }
        let latency_us = latency_us(call);
        *now_us += latency_us / u64::from(flight.limit());
        flight.on_done(*now_us, latency_us, 10, signal);
    }
}

#[test]
fn overload_cuts_once_per_round_trip_and_is_forgotten() {
    let (mut flight, mut now_us) = (Concurrency::new(2_000), 0);
    feed(&mut flight, &mut now_us, 4_000, |_| 500_000, Signal::Ok);
    assert_eq!(flight.limit(), 2_000);
    for call in 0..500 {
        flight.on_done(now_us + call, 1_000, 0, Signal::Overloaded);
    }
    assert_eq!(flight.limit(), 1_800, "one burst of refusals, one cut");
    feed(&mut flight, &mut now_us, 20_000, |_| 500_000, Signal::Ok);
    assert_eq!(flight.limit(), 2_000);
    for _ in 0..100 {
        now_us += 5_000_000;
        flight.on_done(now_us, 500_000, 0, Signal::Timeout);
    }
    assert_eq!(flight.limit(), 1, "only time-outs for ever: one call at a time");
    feed(&mut flight, &mut now_us, 10_000, |_| 500_000, Signal::Ok);
    assert!(flight.limit() > 500, "{} after recovery", flight.limit());
}

#[test]
fn an_idle_client_does_not_grow_its_limit() {
    let mut flight = Concurrency::starting_at(64, 2_000);
    for call in 0..10_000_u64 {
        flight.on_sent(call);
        flight.on_done(call + 1, 500_000, 10, Signal::Ok);
    }
    assert_eq!(flight.limit(), 64);
}

#[test]
fn noise_does_not_collapse_the_limit() {
    let (mut flight, mut now_us) = (Concurrency::new(500), 0);
    let mut rng = SplitMix64::new(9);
    let mut lowest = u32::MAX;
    for round in 0..400 {
        let noise: Vec<u64> = (0..500).map(|_| (100_000.0 / rng.unit().max(0.001)) as u64).collect();
        feed(&mut flight, &mut now_us, 500, |call| noise[call as usize], Signal::Ok);
        if round > 20 {
            lowest = lowest.min(flight.limit());
        }
    }
    assert!(lowest >= 400, "fell to {lowest}");
}

/// A server whose answers take `base_us` and that does at most `per_s` calls a second; the client loses `pause_us` between bursts.
/// Answers the calls a second over the last third.
fn saturate(
    flight: &mut Concurrency,
    now_us: &mut u64,
    seconds: u64,
    server: impl Fn(u64) -> (u64, f64, u64),
) -> f64 {
    let (start_us, end_us) = (*now_us, *now_us + seconds * 1_000_000);
    let mut late = 0_u32;
    while *now_us < end_us {
        let (base_us, per_s, pause_us) = server(*now_us - start_us);
        while flight.has_room() {
            flight.on_sent(*now_us);
        }
        let calls = flight.in_flight();
        let span_us = (f64::from(calls) / per_s * 1e6) as u64;
        let sent_us = *now_us;
        for call in 0..calls {
            *now_us = sent_us + base_us + span_us * u64::from(call) / u64::from(calls);
            flight.on_done(*now_us, *now_us - sent_us, 10, Signal::Ok);
        }
        *now_us += pause_us;
        late += if *now_us - start_us > seconds * 666_666 { calls } else { 0 };
    }
    f64::from(late) / (seconds as f64 / 3.0)
}

#[test]
fn a_fast_server_that_is_full_is_not_given_more_than_it_can_use() {
    for (base_us, per_s, pause_us, least) in [
        (1_000, 50_000.0, 0, 0.75), // fifty at once fill it by half, as they come in bursts
        (1_000, 50_000.0, 5_000, 0.60), // our own disk makes longer bursts worth while
        (5_000, 50_000.0, 0, 0.75), // two hundred and fifty
    ] {
        let (mut flight, mut now_us) = (Concurrency::new(2_000), 0);
        let got = saturate(&mut flight, &mut now_us, 30, |_| (base_us, per_s, pause_us)) / per_s;
        println!("{base_us} us, {per_s} /s, {pause_us} us: {:.2}, {} in flight", got, flight.limit());
        assert!(got >= least, "{base_us} us: {got:.2} of what it can do, {} in flight", flight.limit());
        assert!(flight.limit() < 1_500, "{} in flight", flight.limit());
    }
}

#[test]
fn a_latency_that_grows_for_reasons_of_its_own_costs_no_throughput() {
    let (mut flight, mut now_us) = (Concurrency::new(400), 0);
    saturate(&mut flight, &mut now_us, 20, |_| (100_000, 1e6, 0));
    assert_eq!(flight.limit(), 400);
    // Four times as slow from now on: nothing that fewer calls in flight would mend.
    let got = saturate(&mut flight, &mut now_us, 120, |_| (400_000, 1e6, 0));
    assert!(got >= 0.8 * 1_000.0, "{got:.0} calls a second, {} in flight", flight.limit());
}
