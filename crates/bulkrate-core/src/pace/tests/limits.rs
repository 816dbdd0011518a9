//! Limits: known, learned, cut. The figures asserted here are those the documentation promises.

use super::world::{Charged, World, run};

/// Runs three seeds, prints the figures and holds them against what is required.
fn check(name: &str, make: impl Fn(u64) -> World, reached_min: f64, refused_max: f64) {
    for seed in 1..=3 {
        let world = make(seed);
        let got = run(&world);
        let refused = got.refused as f64 / world.items as f64;
        println!(
            "{name}, seed {seed}: {:.1} s of {:.1} s = {:.2} %, refused {:.3} %, top {}",
            got.span_s,
            got.ideal_s,
            100.0 * got.reached(),
            100.0 * refused,
            got.in_flight_top
        );
        assert_eq!(got.answered, world.items, "{name}: none lost");
        assert!(
            got.reached() >= reached_min,
            "{name}, seed {seed}: reached {:.4} of the optimum",
            got.reached()
        );
        assert!(refused <= refused_max, "{name}, seed {seed}: {refused:.4} refused");
    }
}

#[test]
fn known_limits_are_used_up() {
    check("known", World::limited, 0.98, 0.005);
    check("known, no headers", |seed| World { headers: false, ..World::limited(seed) }, 0.98, 0.005);
    let near = |seed| World { latency_s: 0.001, jitter_us: 200, ..World::limited(seed) };
    check("known, loopback", near, 0.98, 0.005);
    check("known, loopback, tokens bind", |seed| World { prompt: 300.0, ..near(seed) }, 0.98, 0.005);
    check("known, slow answers", |seed| World { latency_s: 5.0, ..World::limited(seed) }, 0.98, 0.005);
    check("known, tokens bind", |seed| World { prompt: 300.0, ..World::limited(seed) }, 0.98, 0.005);
    check("known, both bind", |seed| World { prompt: 70.0, ..World::limited(seed) }, 0.98, 0.005);
}

#[test]
fn limits_are_learned_from_headers() {
    let learned = |seed| World { configured: false, ..World::limited(seed) };
    check("learned", learned, 0.95, 0.02);
    check(
        "learned, loopback",
        |seed| World { latency_s: 0.001, jitter_us: 200, ..learned(seed) },
        0.95,
        0.02,
    );
    check("learned, tokens bind", |seed| World { prompt: 300.0, ..learned(seed) }, 0.95, 0.02);
}

#[test]
fn the_charge_of_a_call_is_learned() {
    // The estimate is many times what the server books: an output maximum of 1,024 for answers of some 40 tokens.
    let wide =
        |seed| World { charged: Charged::Used, output: 40.0, output_max: 1_024, ..World::limited(seed) };
    check("wide estimate", wide, 0.93, 0.01);
    check("wide estimate, no headers", |seed| World { headers: false, ..wide(seed) }, 0.90, 0.01);
    check("wide estimate, learned", |seed| World { configured: false, ..wide(seed) }, 0.94, 0.02);
    let reserved = |seed| World { output: 40.0, output_max: 1_024, items: 1_000, ..World::limited(seed) };
    check("output maximum booked", reserved, 0.97, 0.01);
    check("output maximum booked, no headers", |seed| World { headers: false, ..reserved(seed) }, 0.85, 0.04);
}

/// The simulation of `cost-levers` 7.1: 600 requests and 300,000 tokens a minute, a provider that lets 10 s pass at once.
fn classic(seed: u64) -> World {
    World {
        items: 2_000,
        rpm: 600.0,
        tpm: 300_000.0,
        burst_s: 10.0,
        prompt: 450.0,
        output: 150.0,
        output_max: 150,
        latency_s: 4.0,
        ..World::limited(seed)
    }
}

#[test]
fn g1_known_limits_cause_no_refusal() {
    // The first ten seconds' worth, which we do not take at once, is 3 % of the ideal of 2,000 items; the gate is of the steady state.
    let steady = |seed| World { items: 8_000, ..classic(seed) };
    check("G1, 10 s bucket", steady, 0.95, 0.0);
    check("G1, 1 s bucket", |seed| World { burst_s: 1.0, ..steady(seed) }, 0.95, 0.000_5);
}

#[test]
fn g2_a_cut_to_two_fifths_is_survived() {
    let cut = |seed| World { cut: Some((60.0, 240.0, 0.4)), ..classic(seed) };
    check("G2, 10 s bucket", cut, 1.0 / 1.12, 0.01);
    check("G2, 1 s bucket", |seed| World { burst_s: 1.0, ..cut(seed) }, 1.0 / 1.12, 0.01);
    check("G2, whole seconds", |seed| World { retry_after_min_s: 1.0, ..cut(seed) }, 1.0 / 1.12, 0.01);
    let fast = |seed| World { items: 20_000, cut: Some((60.0, 160.0, 0.4)), ..World::limited(seed) };
    check("G2 at 6,000 a minute", fast, 1.0 / 1.12, 0.01);
}

#[test]
fn a_busy_network_costs_little() {
    check("jitter 50 ms", |seed| World { jitter_us: 50_000, ..World::limited(seed) }, 0.97, 0.005);
    check(
        "retry-after 1 s",
        |seed| World { jitter_us: 50_000, retry_after_min_s: 1.0, ..World::limited(seed) },
        0.95,
        0.01,
    );
}

/// One call in five is refused at random and asked to wait for a second: the others do not wait with it.
#[test]
fn random_refusals_do_not_stop_the_account() {
    let unknown = |seed| World {
        configured: false,
        headers: false,
        rpm: 6e7,
        tpm: 6e9,
        in_flight_max: 50,
        items: 6_000,
        ..World::limited(seed)
    };
    let cases: [(&str, &dyn Fn(u64) -> World); 4] = [
        ("known limits", &|seed| World { items: 6_000, ..World::limited(seed) }),
        ("known, no headers", &|seed| World { items: 6_000, headers: false, ..World::limited(seed) }),
        ("learned limits", &|seed| World { items: 6_000, configured: false, ..World::limited(seed) }),
        ("no limit at all", &unknown),
    ];
    for (name, make) in cases {
        for share in [0.05, 0.2] {
            for seed in 1..=3 {
                let without = run(&make(seed));
                let with = run(&World { random: share, ..make(seed) });
                println!(
                    "{name}, {share} at random, seed {seed}: {:.1} s, {:.1} s without",
                    with.span_s, without.span_s
                );
                assert_eq!(with.answered, 6_000, "{name}: none lost");
                assert!(
                    with.span_s <= 2.0 * without.span_s,
                    "{name}, {share}, seed {seed}: {with:?} {without:?}"
                );
            }
        }
    }
}
