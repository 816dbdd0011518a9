//! How many items go in one request, and what is said where it is fewer than were asked for.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::Ending;
use bulkrate_engine::spec::{JobSpec, RequestSpec};
use serde_json::{Value, json};

use crate::world::{World, fast};

fn requests(world: &World) -> u64 {
    let bill: Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
    bill["requests"].as_u64().unwrap()
}

/// Runs whole requests in bundles of twenty; answers how many were sent.
async fn sent(world: &World, lines: impl Iterator<Item = Value>) -> u64 {
    let path = world.path("lines.jsonl");
    let lines: Vec<String> = lines.map(|line| line.to_string()).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    let mut spec = world.spec(&path, Lane::Sync);
    spec.source.id = None;
    spec.request = RequestSpec { bundle: Some(20), ..Default::default() };
    spec.run.budget = Some(UsdNanos::dollars(5));
    let report = world.run(&spec).await.unwrap();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, lines.len() as u64), "{report:?}");
    requests(world)
}

fn line(id: usize, system: &str, user: &str) -> Value {
    json!({"custom_id": format!("r{id}"), "model": "openai/gpt-6-luna", "system_prompt": system,
        "messages": [{"role": "user", "content": user}], "generation_config": {"choices": ["positive", "negative"]}})
}

#[tokio::test]
async fn what_all_begin_with_takes_its_room_once() {
    let world = World::new(fast()).await;
    // Six hundred tokens in each message: twenty times that is more than a bundle may have.
    let guide = "Say what the customer feels about the product, not about the shop. ".repeat(36);
    let lines = (0..60).map(|id| line(id, "Sort.", &format!("{guide}The review: great thing number {id}")));
    assert_eq!(sent(&world, lines).await, 4, "the first call, and three of twenty");
}

#[tokio::test]
async fn an_item_beside_which_there_is_no_room_says_so() {
    let world = World::new(fast()).await;
    let long = "a word or two ".repeat(2_500);
    let lines = (0..12).map(|id| line(id, "Sort.", &format!("great {id} {long}")));
    assert_eq!(sent(&world, lines).await, 12);
    assert!(world.ear.heard("no second one has room beside it: a bundle's prompt has at most 8000 tokens"));
}

#[tokio::test]
async fn more_prompts_than_are_gathered_side_by_side_are_told() {
    let world = World::new(fast()).await;
    let lines =
        (0..120).map(|id| line(id, &format!("Sort for shop {}.", id % 40), &format!("great thing {id}")));
    assert!(sent(&world, lines).await > 100);
    assert!(world.ear.heard("more than 32 kinds of requests come in turn"));
}

/// Sixty rows under an instruction of three hundred words.
fn reviews(world: &World, change: impl FnOnce(&mut JobSpec)) -> JobSpec {
    let mut spec = world.spec(&world.reviews(60), Lane::Sync);
    spec.request.bundle = Some(20);
    spec.request.system = Some("Say how the customer feels about the product. ".repeat(50));
    spec.run.budget = Some(UsdNanos::dollars(5));
    change(&mut spec);
    spec
}

#[tokio::test]
async fn a_plan_promises_no_bundles_where_every_item_goes_alone() {
    for (change, why) in [
        (
            (|spec| {
                spec.request.model = Some("openai/gpt-4.1-mini".into());
                spec.request.stop = vec!["\n".to_owned()];
            }) as fn(&mut JobSpec),
            "a stop sequence would end",
        ),
        (
            |spec| spec.request.provider_kwargs = Some(r#"{"logprobs":true}"#.to_owned()),
            "`provider_kwargs` sets what holds for one answer",
        ),
        (
            |spec| {
                spec.request.choices.clear();
                spec.request.schema =
                    Some(r##"{"type":"object","properties":{"a":{"$ref":"#"}}}"##.to_owned());
            },
            "its schema refers to places that move",
        ),
        (
            |spec| spec.request.system = Some("a word or two ".repeat(2_500)),
            "no second one has room beside it",
        ),
        (|spec| spec.run.budget_per_request = Some(UsdNanos(500_000)), "the cap for one request"),
    ] {
        let world = World::new(fast()).await;
        let spec = reviews(&world, change);
        let plan = world.engine().plan(&spec, &*world.ear).await.unwrap();
        let bundle = plan.bundle.as_ref().unwrap();
        let told = bundle.why.as_deref().unwrap_or_default();
        assert!(bundle.size.is_none() && told.contains(why), "{why}: {bundle:?}");
        assert_eq!((bundle.requests, bundle.saved), (54, UsdNanos::ZERO), "{why}");
    }
}

#[tokio::test]
async fn a_plan_promises_the_size_that_comes() {
    const CAP: UsdNanos = UsdNanos(4_000_000);
    for (change, why) in [
        ((|_| ()) as fn(&mut JobSpec), ""),
        (|spec| spec.run.budget_per_request = Some(CAP), "the cap for one request"),
        (|spec| spec.request.max_output_tokens = Some(12_000), "the answers of all"),
    ] {
        let world = World::new(fast()).await;
        let spec = reviews(&world, change);
        let plan = world.engine().plan(&spec, &*world.ear).await.unwrap();
        let bundle = plan.bundle.unwrap();
        let size = bundle.size.unwrap();
        assert_eq!((size < 20, bundle.why.is_some()), (!why.is_empty(), !why.is_empty()), "{bundle:?}");
        assert!(bundle.why.unwrap_or_default().contains(why), "{why}");
        let report = world.run(&spec).await.unwrap();
        assert_eq!((report.ending, report.succeeded), (Ending::Finished, 60), "{report:?}");
        assert!(report.spent < CAP.times(20), "{report:?}");
        // The first call of a run goes alone.
        let sent = requests(&world);
        assert!(
            (bundle.requests..=bundle.requests + 1).contains(&sent),
            "{why}: {sent} of {}",
            bundle.requests
        );
    }
}
