//! The first call of a run goes alone: what is wrong with an address, a key or a model costs one call.

use std::time::{Duration, Instant};

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::Ending;
use bulkrate_sim::SimConfig;

use crate::world::{World, fast};

const LANES: [Lane; 2] = [Lane::Sync, Lane::Flex];

#[tokio::test]
async fn a_wrong_key_costs_one_call() {
    for lane in LANES {
        let world = World::new(SimConfig { api_key: Some("sk-right".into()), ..fast() }).await;
        let report = world.run(&world.spec(&world.reviews(100), lane)).await.unwrap();
        assert_eq!((report.ending, report.exit_code()), (Ending::Halted, 4), "{lane}: {report:?}");
        assert_eq!((report.requests_sent, world.sim.calls_with_status(401)), (1, 1), "{lane}: {report:?}");
        assert_eq!((report.in_doubt, report.failed), (UsdNanos::ZERO, 0), "{lane}: {report:?}");
    }
}

#[tokio::test]
async fn a_page_costs_one_call_and_one_doubt() {
    for lane in LANES {
        let world = World::new(fast().with_fault("html:sync").unwrap()).await;
        let mut spec = world.spec(&world.reviews(100), lane);
        spec.run.budget = Some(UsdNanos::dollars(1));
        let report = world.run(&spec).await.unwrap();
        assert_eq!((report.ending, report.exit_code()), (Ending::Halted, 1), "{lane}: {report:?}");
        assert_eq!((report.requests_sent, world.sim.calls_with_status(200)), (1, 1), "{lane}: {report:?}");
        let why = report.reason.as_deref().unwrap();
        assert!(why.contains("like the API to the first call") && why.contains("--base-url"), "{why}");
        let each = report.in_doubt.0;
        assert!(each > 0 && each < UsdNanos::dollars(1).0 / 100, "one call's bound: {report:?}");
    }
}

/// A model that a rule sends some items to and that the account may not use: the other model's answers prove nothing of it.
#[tokio::test]
async fn a_second_model_goes_alone_as_well() {
    let world = World::new(SimConfig { latency_ms: 30.0, latency_sigma: 0.0, ..fast() }).await;
    let mut spec = world.spec(&world.reviews(60), Lane::Sync);
    // Known here, and no chat model there.
    spec.request.rules = vec![bulkrate_engine::spec::RuleSpec {
        when: "'great' in text".into(),
        model: "openai/gpt-unheard-of".into(),
    }];
    (spec.run.price_in, spec.run.price_out) = (None, None);
    let mut settings = world.settings();
    settings.accounts[0].custom = true;
    let engine = bulkrate_engine::Engine::open(settings).unwrap();
    spec.run.budget = None;
    let ear = world.ear.clone();
    let report = engine.run(&spec, &|_| true, ear, bulkrate_engine::Stop::new()).await.unwrap();
    assert_eq!(
        (report.ending, report.halted_by.as_deref()),
        (Ending::Halted, Some("model_unavailable")),
        "{report:?}"
    );
    assert_eq!(world.sim.calls_with_status(404), 1, "{report:?}");
}

#[tokio::test]
async fn after_the_first_answer_all_of_the_usual_calls_leave_at_once() {
    for lane in LANES {
        let world = World::new(SimConfig { latency_ms: 400.0, latency_sigma: 0.0, ..fast() }).await;
        // 33 leaders: one, then as many as a run begins with.
        let spec = world.spec(&world.reviews(36), lane);
        let begun = Instant::now();
        let report = world.run(&spec).await.unwrap();
        assert_eq!((report.ending, report.requests_sent), (Ending::Finished, 33), "{lane}: {report:?}");
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(800), "two round trips: {took:?}");
        assert!(took < Duration::from_millis(2_400), "and not one for each call: {took:?}");
    }
}
