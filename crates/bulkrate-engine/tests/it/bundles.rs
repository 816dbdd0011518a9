//! Several items in one request: every answer is its own item's, a bad one costs the others little, and the books are exact in
//! every lane, through every crash.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::Reader;
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::spec::JobSpec;
use bulkrate_sim::SimConfig;
use bulkrate_store::SqliteStore;
use bulkrate_store::fold::{ItemStates, State};
use serde_json::Value;

use crate::story::{ASKED, Books, Story};
use crate::world::{World, fast};

pub(crate) const SYSTEM: &str = "You read reviews of a shop and say how the customer feels. Say positive where the customer is pleased with what \
     was bought, negative where something was bad, broken or late, and neutral where neither can be told from the words alone. Do not \
     guess at irony; take every word as it stands. What a customer asks for is no judgement, and nor is a name. If a review says both, \
     weigh what is said of the product more than what is said of the delivery, and say neutral where both weigh the same. Only the \
     text counts: not its length, not its spelling, and not how often a customer has written before.";

pub(crate) fn bundled(spec: &mut JobSpec, size: u32) {
    spec.request.bundle = Some(size);
    spec.request.system = Some(SYSTEM.to_owned());
}

/// What each of sixty rows is answered alone.
fn want(row: &Value) -> &'static str {
    let text = row["text"].as_str().unwrap_or_default();
    match text.split(' ').next() {
        Some("great") => "positive",
        Some("terrible") => "negative",
        _ => "neutral",
    }
}

#[track_caller]
pub(crate) fn all_their_own(rows: &[Value]) {
    for row in rows.iter().filter(|row| row["_status"] == "succeeded") {
        assert_eq!(row["answer"], want(row), "{row}");
    }
}

/// `naive - savings = spent`; answers what bundles saved.
#[track_caller]
pub(crate) fn adds_up(report: &Report) -> i64 {
    let levers: i64 = report.saved.values().map(|usd| usd.0).sum();
    assert_eq!(report.naive.0 - levers, report.spent.0, "{report:?}");
    report.saved.get("bundle").map_or(0, |usd| usd.0)
}

pub(crate) fn requests(bill: &Value) -> u64 {
    bill["requests"].as_u64().unwrap()
}

#[tokio::test]
async fn every_lane_asks_several_at_once_and_pays_less() {
    for lane in [Lane::Sync, Lane::Flex, Lane::Batch] {
        let mut story = Story::of(lane, &[]).await;
        bundled(&mut story.spec, 10);
        let told = story.ends(Books::Exact).await.all_succeeded();
        all_their_own(&told.rows);
        // The first call of a run goes alone.
        assert!((6..=9).contains(&requests(&told.bill)), "{lane}: {}", told.bill);
        assert!(adds_up(&told.report) > 0, "{lane}: {:?}", told.report);
        assert!(told.rows.iter().all(|row| row["_lane"] == lane.name()), "{lane}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_good_comes_apart_until_every_item_has_its_own() {
    for lane in [Lane::Sync, Lane::Batch] {
        // Every second answer is not what was asked for.
        let mut story = Story::of(lane, &["bad-json:0.3"]).await;
        bundled(&mut story.spec, 8);
        let told = story.ends(Books::Exact).await;
        all_their_own(&told.rows);
        adds_up(&told.report);
        assert!(requests(&told.bill) > ASKED / 8, "{lane}: {}", told.bill);
        let dead: u64 =
            told.report.failures.iter().filter(|(class, _)| *class != "schema_failed").map(|(_, n)| n).sum();
        assert_eq!(dead, 0, "a dead letter tells what it failed of alone: {:?}", told.report);
    }
}

#[tokio::test]
async fn a_refusal_of_several_says_nothing_of_any_of_them() {
    for lane in [Lane::Sync, Lane::Batch] {
        let mut story = Story::of(lane, &["refusal@2"]).await;
        bundled(&mut story.spec, 10);
        let told = story.ends(Books::Exact).await.all_succeeded();
        all_their_own(&told.rows);
        adds_up(&told.report);
    }
}

#[tokio::test]
async fn mistakes_of_models_reach_no_row() {
    let config = SimConfig { bundle_faults: true, ..fast() };
    for lane in [Lane::Sync, Lane::Batch] {
        let mut story = Story::with(config.clone(), lane, &[]).await;
        bundled(&mut story.spec, 20);
        let told = story.ends(Books::Exact).await.all_succeeded();
        all_their_own(&told.rows);
        adds_up(&told.report);
    }
}

#[tokio::test]
async fn what_concerns_the_request_is_every_items_own() {
    for (lane, fault, books) in [
        (Lane::Sync, "F01=missing@2", Books::Exact),
        (Lane::Sync, "F06@3", Books::Doubt),
        (Lane::Sync, "F03=500@2", Books::Exact),
        (Lane::Sync, "F65=missing@2", Books::Exact),
        (Lane::Batch, "F34=0.4@1", Books::Exact),
        (Lane::Batch, "F57:0.6", Books::Doubt),
        (Lane::Batch, "F55:0.5", Books::Exact),
    ] {
        let mut story = Story::of(lane, &[fault]).await;
        bundled(&mut story.spec, 6);
        let usage_told = !fault.starts_with("F65");
        let (world, report) = if usage_told {
            let told = story.ends(books).await.all_succeeded();
            (told.world, told.report)
        } else {
            // The bound is booked where nobody says what was used: the bill is below it.
            let report = story.run().await;
            assert_eq!((report.succeeded, report.reserved), (60, UsdNanos::ZERO), "{report:?}");
            (story.world, report)
        };
        all_their_own(&world.rows());
        adds_up(&report);
    }
}

#[tokio::test]
async fn a_batch_whose_create_was_not_answered_is_known_by_its_requests() {
    let mut story = Story::of(Lane::Batch, &["F21@1"]).await;
    bundled(&mut story.spec, 6);
    let told = story.ends(Books::Exact).await.all_succeeded().heard("adopted");
    assert_eq!(requests(&told.bill), ASKED / 6, "{}", told.bill);
    all_their_own(&told.rows);
}

#[tokio::test]
async fn a_twin_of_a_batch_is_booked_as_paid_twice() {
    let mut story = Story::of(Lane::Batch, &["F28@1"]).await;
    bundled(&mut story.spec, 6);
    let report = story.run().await;
    assert!(story.world.ear.heard("was made twice"));
    all_their_own(&story.world.rows());
    let bill: Value = serde_json::from_str(&story.world.sim.bill_json()).unwrap();
    assert_eq!(
        (report.succeeded, report.spent.0, report.in_doubt, report.reserved),
        (60, bill["total_usd_nanos"].as_i64().unwrap(), UsdNanos::ZERO, UsdNanos::ZERO),
        "{report:?} {bill}"
    );
}

#[tokio::test]
async fn what_shares_no_prompt_goes_apart_and_says_so() {
    let world = World::new(fast()).await;
    let path = world.path("lines.jsonl");
    let line = |id: usize, system: &str, more: &str| {
        format!(
            r#"{{"custom_id":"r{id}","model":"openai/gpt-6-luna","system_prompt":"{system}","messages":[{{"role":"user","content":"great thing number {id}"}}],"generation_config":{{"choices":["positive","negative"]}}{more}}}"#
        )
    };
    let mut text = String::new();
    for id in 0..30 {
        let system = ["Say how it sounds.", "Say what is felt."][id % 2];
        let more = if id % 10 == 0 { r#","provider_kwargs":{"max_completion_tokens":90}"# } else { "" };
        text.push_str(&line(id, system, more));
        text.push('\n');
    }
    std::fs::write(&path, text).unwrap();
    let mut spec = world.spec(&path, Lane::Sync);
    spec.source.id = None;
    spec.request = bulkrate_engine::spec::RequestSpec { bundle: Some(20), ..Default::default() };
    spec.run.budget = Some(UsdNanos::dollars(5));
    let report = world.run(&spec).await.unwrap();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 30), "{report:?}");
    assert!(
        world.rows().iter().all(|row| row["response"]["text"] == "positive" || row["answer"] == "positive"),
        "{:?}",
        world.rows()[0]
    );
    assert!(world.ear.heard("`provider_kwargs` sets what holds for one answer"));
    let bill: Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
    // Three say how long they may be, one went first, and two prompts share nothing.
    assert!((5..=7).contains(&requests(&bill)), "{bill}");
}

#[tokio::test]
async fn bundles_that_cost_more_are_off_and_say_why() {
    let mut story = Story::of(Lane::Sync, &[]).await;
    story.spec.request.bundle = Some(10); // under an instruction of three words
    let plan = story.world.engine().plan(&story.spec, &*story.world.ear).await.unwrap();
    let bundle = plan.bundle.unwrap();
    assert!(bundle.size.is_none() && bundle.why.as_ref().unwrap().contains("does not pay"), "{bundle:?}");
    story.ends(Books::Exact).await.all_succeeded().paid(ASKED);
}

/// Two runs of one job: the first is left where `part` is heard.
async fn in_two_runs(lane: Lane, part: &str) -> (World, Report) {
    let world = World::new(SimConfig::default()).await;
    let mut spec = world.spec(&world.reviews(60), lane);
    spec.run.budget = Some(UsdNanos::dollars(5));
    bundled(&mut spec, 7);
    let first = world.until("state", &spec, part, 1).await;
    assert_eq!(first.ending, Ending::Detached, "{first:?}");
    let second = world.run(&spec).await.unwrap();
    (world, second)
}

#[tokio::test]
async fn another_run_tells_the_answers_apart_by_the_file_and_the_leases_alone() {
    let (world, report) = Box::pin(in_two_runs(Lane::Batch, "batch in_progress")).await;
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 60), "{report:?}");
    all_their_own(&world.rows());
    assert!(adds_up(&report) > 0, "{report:?}");
    let bill: Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
    assert_eq!(bill["total_usd_nanos"].as_i64(), Some(report.spent.0));
    let path = world.path("bill.json");
    std::fs::write(&path, world.sim.bill_json()).unwrap();
    let reader = Reader::open(&world.path("state")).unwrap();
    let proof = reader.verify(&report.job, &[path]).unwrap();
    assert!(proof.passed(), "{proof:?}");
}

#[tokio::test]
async fn a_budget_that_cannot_hold_a_bundle_is_used_by_smaller_ones() {
    for lane in [Lane::Sync, Lane::Batch] {
        let mut story = Story::of(lane, &[]).await;
        bundled(&mut story.spec, 50);
        // Nobody asks before the run whether it will do: two of the bounds of fifty do not fit, nor does one.
        let budget = UsdNanos(if lane == Lane::Batch { 300_000 } else { 600_000 });
        story.spec.run.budget_daily = Some(budget);
        let report = story.run().await;
        assert!(report.succeeded >= 20, "{lane}: {report:?}");
        assert!(report.spent <= budget && report.reserved == UsdNanos::ZERO, "{lane}: {report:?}");
        let bill: Value = serde_json::from_str(&story.world.sim.bill_json()).unwrap();
        assert!((3..=20).contains(&requests(&bill)), "{lane}: {bill}");
        adds_up(&report);
        story.spec.run.budget_daily = None;
        let told = story.ends(Books::Exact).await.all_succeeded();
        all_their_own(&told.rows);
        adds_up(&told.report);
    }
}

#[tokio::test]
async fn the_cap_for_one_request_holds_for_a_bundle() {
    for lane in [Lane::Sync, Lane::Batch] {
        let mut story = Story::of(lane, &[]).await;
        bundled(&mut story.spec, 20);
        story.spec.run.budget_per_request = Some(UsdNanos(1_100_000));
        let told = story.ends(Books::Exact).await.all_succeeded();
        all_their_own(&told.rows);
    }
}

#[tokio::test]
async fn bundles_that_do_not_work_end_and_their_items_keep_their_lane() {
    for lane in [Lane::Sync, Lane::Batch] {
        // All bundles of twenty are answered with prose; so are the first lines of each later file, and some calls. Of twice
        // eighteen bundles of ten half would follow, and 180 items leave the batch lane.
        let world = World::new(fast().with_fault("bad-json@1-18").unwrap()).await;
        let mut spec = world.spec(&world.reviews(400), lane);
        bundled(&mut spec, 20);
        spec.run.budget = Some(UsdNanos::dollars(5));
        spec.run.canary = false;
        spec.run.concurrency_max = 4;
        let report = world.run(&spec).await.unwrap();
        let heard = world.ear.heard.lock().unwrap().clone();
        assert_eq!(report.ending, Ending::Finished, "{lane}: {report:?} {heard:?}");
        assert!(report.succeeded >= 300, "{lane}: {report:?}");
        let told = heard.iter().filter(|line| line.starts_with("alert bundles-off")).count();
        assert_eq!(told, 1, "{lane}: {heard:?}");
        all_their_own(&world.rows());
        let elsewhere = world.rows().iter().filter(|row| row["_lane"] != lane.name()).count();
        assert!(elsewhere <= 100, "{lane}: {elsewhere} items left it: {report:?}");
        adds_up(&report);
        let bill: Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
        assert_eq!(bill["total_usd_nanos"].as_i64(), Some(report.spent.0), "{lane}");
        assert!(requests(&bill) > 360, "{lane}: {bill}");
    }
}

#[tokio::test]
async fn a_budget_that_ends_is_used_for_the_first_items_of_the_source() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(fast()).await;
        let mut spec = world.spec(&world.reviews(400), lane);
        bundled(&mut spec, 50);
        spec.run.canary = false;
        // Too little for a bundle of fifty, and nobody asks before the run.
        spec.run.budget_daily = Some(UsdNanos(if lane == Lane::Batch { 300_000 } else { 600_000 }));
        let report = world.run(&spec).await.unwrap();
        assert!(report.open > 300 && report.succeeded > 10, "{lane}: {report:?}");
        let store = SqliteStore::open_reader(&world.path("state")).unwrap();
        let states = ItemStates::load(&store, 1).unwrap();
        let done = states.iter().filter(|(_, item)| item.state == State::Done).map(|(ordinal, _)| ordinal);
        let last = done.max().unwrap();
        assert!(u64::from(last) <= report.succeeded + 50, "{lane}: {last} {report:?}");
    }
}
