//! A job whose answers cost more than its plan said is paused before its budget, and only then.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::Ratios;
use bulkrate_engine::Reader;
use bulkrate_engine::report::Ending;
use bulkrate_engine::spec::{JobSpec, Learned};

use crate::world::{World, fast};

/// A job of 900 reviews in small shards, 811 of them different, under a budget of what its plan says at P95: a pilot of easy rows
/// has taught it so few tokens that the answers will cost more than twice as much.
async fn misled(world: &World, lane: Lane) -> JobSpec {
    let mut spec = world.spec(&world.reviews(900), lane);
    spec.run.batch_items_max = 60;
    spec.run.batches_max = 1;
    spec.run.concurrency_max = 4;
    let easy = Ratios {
        items: 400,
        bytes: 400 * 150,
        input: 400 * 12,
        output: 400,
        output_squares: 400,
        ..Ratios::default()
    };
    spec.run.learned = Some(Box::new(Learned {
        models: [("openai/gpt-6-luna".to_owned(), easy)].into(),
        ..Learned::default()
    }));
    let plan = world.engine().plan(&spec, &*world.ear).await.unwrap();
    let planned = plan.lanes.iter().find(|plan| plan.lane == lane).unwrap();
    // A dozen requests fit at their bounds, so that it is not the cap that stops it first.
    spec.run.budget = Some(planned.p95 + planned.worst.share_up(12, plan.requests));
    spec
}

#[tokio::test]
async fn a_job_that_will_pass_its_budget_is_paused_before_it() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(fast()).await;
        let mut spec = misled(&world, lane).await;
        let budget = spec.run.budget.unwrap();
        let report = world.run(&spec).await.unwrap();
        assert_eq!((report.ending, report.exit_code()), (Ending::BudgetForecast, 3), "{lane}: {report:?}");
        let forecast = report.forecast.unwrap();
        assert!(forecast.low > budget && forecast.measured >= 60, "{lane}: {forecast:?} of {budget}");
        assert!(
            report.spent < budget && report.reserved == UsdNanos::ZERO && report.open > 0,
            "{lane}: {report:?}"
        );
        let bill = |world: &World| i64::try_from(world.sim.bill_usd_nanos()).unwrap();
        assert_eq!(
            (report.spent.0, report.in_doubt),
            (bill(&world), UsdNanos::ZERO),
            "what was out has landed"
        );
        let told = world.ear.heard.lock().unwrap().clone();
        assert_eq!(
            told.iter().filter(|line| line.starts_with("alert budget-forecast")).count(),
            1,
            "{told:?}"
        );
        let shown = Reader::open(&world.path("state")).unwrap().status(None).unwrap();
        assert_eq!(shown[0].forecast, Some(forecast), "{lane}");

        // The same again sends nothing.
        let again = world.run(&spec).await.unwrap();
        assert_eq!((again.ending, again.requests_sent), (Ending::BudgetForecast, 0), "{lane}: {again:?}");
        assert_eq!(again.spent, report.spent);

        // The forecast holds: under a budget of its P95 the job comes to its end.
        spec.run.budget = Some(forecast.p95);
        let whole = world.run(&spec).await.unwrap();
        assert_eq!((whole.ending, whole.succeeded), (Ending::Finished, 900), "{lane}: {whole:?}");
        assert_eq!(whole.spent.0, bill(&world), "{lane}");
        let near = (whole.spent.0 - forecast.expected.0).abs() * 100 / whole.spent.0;
        assert!(near <= 15, "{lane}: {near} % off: {forecast:?} for {}", whole.spent);
        let proofs = Reader::open(&world.path("state")).unwrap().verify(&whole.job, &[]).unwrap();
        assert!(proofs.passed(), "{lane}: {proofs:?}");
    }
}

#[tokio::test]
async fn who_wants_to_spend_all_is_stopped_by_the_cap() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(fast()).await;
        let mut spec = misled(&world, lane).await;
        let paused = world.run(&spec).await.unwrap();
        assert_eq!(paused.ending, Ending::BudgetForecast, "{lane}: {paused:?}");
        spec.run.spend_all = true;
        let report = world.run(&spec).await.unwrap();
        assert_eq!((report.ending, report.exit_code()), (Ending::BudgetExhausted, 3), "{lane}: {report:?}");
        assert!(
            report.succeeded > paused.succeeded && Some(report.spent) <= spec.run.budget,
            "{lane}: {report:?}"
        );
    }
}

/// What a limit asks for is what the forecast is about.
#[tokio::test]
async fn a_part_that_the_budget_holds_is_not_paused() {
    let world = World::new(fast()).await;
    let mut spec = misled(&world, Lane::Sync).await;
    spec.source.limit = Some(200);
    let report = world.run(&spec).await.unwrap();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 200), "{report:?}");
    let forecast = report.forecast.unwrap();
    assert!(Some(forecast.p95) < spec.run.budget && forecast.left < 200, "{forecast:?}");
}

/// A plan that promised enough is not overruled by what the first answers leave open.
#[tokio::test]
async fn a_job_that_costs_what_its_budget_holds_is_not_paused() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(fast()).await;
        let mut spec = misled(&world, lane).await;
        let (planned, least) = (spec.run.budget.take(), spec.run.learned.take());
        let bill = world.run(&spec).await.unwrap().spent;
        let world = World::new(fast()).await;
        spec = misled(&world, lane).await;
        assert_eq!((spec.run.budget, &spec.run.learned), (planned, &least), "the same job");
        spec.run.budget = Some(UsdNanos(bill.0 * 112 / 100));
        let report = world.run(&spec).await.unwrap();
        assert_eq!((report.ending, report.succeeded), (Ending::Finished, 900), "{lane}: {report:?}");
        assert!(!world.ear.heard("budget-forecast"), "{lane}");
    }
}

/// Paused in the sync lane, a job goes on in batches at half the price.
#[tokio::test]
async fn a_paused_job_goes_on_in_a_lane_that_its_budget_pays_for() {
    let world = World::new(fast()).await;
    let mut spec = misled(&world, Lane::Sync).await;
    let paused = world.run(&spec).await.unwrap();
    assert_eq!(paused.ending, Ending::BudgetForecast, "{paused:?}");
    let forecast = paused.forecast.unwrap();
    // Less than all of it costs in calls.
    spec.run.budget = Some(UsdNanos(forecast.low.0 - 1));
    let again = world.run(&spec).await.unwrap();
    assert_eq!((again.ending, again.requests_sent), (Ending::BudgetForecast, 0), "{again:?}");
    spec.run.lane = Some(Lane::Batch);
    let report = world.run(&spec).await.unwrap();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 900), "{report:?}");
    assert!(Some(report.spent) <= spec.run.budget, "{report:?}");
}

/// A run that ends between two looks leaves all that it has measured to the next.
#[tokio::test]
async fn what_was_measured_after_the_last_look_is_kept() {
    let world = World::new(fast()).await;
    let mut spec = misled(&world, Lane::Sync).await;
    spec.source.limit = Some(57);
    let report = world.run(&spec).await.unwrap();
    let path = world.path("state").join("jobs").join(&report.job).join("forecast.json");
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(kept["measured"]["items"], 57 - report.duplicates, "{kept} {report:?}");
}
