//! How many items go in one request, and what is said where it is fewer than were asked for.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::Ending;
use bulkrate_engine::spec::RequestSpec;
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
