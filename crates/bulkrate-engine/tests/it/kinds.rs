//! Whole jobs of the rarer kinds: the Responses API, moderations, a flex lane without room; and limits on batches.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::request::Kind;
use bulkrate_engine::reader::CostQuery;
use bulkrate_engine::report::Ending;
use bulkrate_engine::{Engine, Stop};
use bulkrate_provider::ChatEndpoint;
use bulkrate_sim::SimConfig;

use crate::story::{Books, Story};
use crate::world::{World, fast};

#[tokio::test]
async fn the_responses_api_does_a_whole_job_in_both_lanes() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(fast()).await;
        let mut settings = world.settings();
        let provider = bulkrate_provider::Settings {
            base_url: Some(world.sim.base_url()),
            api_key: "sk-test".into(),
            chat_endpoint: ChatEndpoint::Responses,
            ..Default::default()
        };
        settings.accounts[0].api = bulkrate_provider::open("openai", &provider).unwrap();
        let spec = world.spec(&world.reviews(40), lane);
        let engine = Engine::open(settings).unwrap();
        let report = engine.run(&spec, &|_| true, world.ear.clone(), Stop::new()).await.unwrap();
        let heard = world.ear.heard.lock().unwrap().clone();
        assert_eq!((report.ending, report.succeeded), (Ending::Finished, 40), "{lane}: {report:?} {heard:?}");
        let bill = world.bill();
        assert_eq!(
            (bill["requests"].as_u64(), bill["total_usd_nanos"].as_i64()),
            (Some(36), Some(report.spent.0))
        );
        assert!(report.spent > UsdNanos::ZERO && report.in_doubt == UsdNanos::ZERO);
        for (place, row) in world.rows().iter().enumerate() {
            let want =
                if place % 10 == 9 { "positive" } else { ["positive", "negative", "neutral"][place % 3] };
            assert_eq!(
                (&row["answer"], &row["_status"]),
                (&want.into(), &"succeeded".into()),
                "{lane}: {row}"
            );
        }
    }
}

#[tokio::test]
async fn moderations_do_a_whole_job_for_nothing_in_calls_and_in_batches() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(fast()).await;
        let mut spec = world.spec(&world.reviews(40), lane);
        spec.request.kind = Kind::Moderation;
        spec.request.model = Some("openai/omni-moderation-latest".into());
        spec.request.user = Some("{{ text }}".into());
        spec.request.system = None;
        spec.request.choices.clear();
        let report = world.run(&spec).await.unwrap();
        assert_eq!((report.ending, report.succeeded, report.failed), (Ending::Finished, 40, 0), "{report:?}");
        assert_eq!((report.spent.0, world.sim.bill_usd_nanos(), report.unpriced), (0, 0, 0), "{report:?}");
        assert_eq!(world.bill()["requests"], 36, "equal texts share one request");
        let there = world.rows().iter().filter(|row| row["_lane"] == lane.name()).count();
        assert!(there >= 35, "all but the first one of a batch job, and its equals: {there}");
        for row in world.rows() {
            let answer = row["answer"].to_string();
            assert!(row["_status"] == "succeeded" && answer.contains("flagged"), "{row}");
        }
    }
}

/// A picture costs what its answer reports, within what the user says one costs at most.
#[tokio::test]
async fn pictures_do_a_whole_job_in_both_lanes() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(SimConfig { any_model: true, ..fast() }).await;
        let mut settings = world.settings();
        settings.accounts[0].custom = true;
        let mut spec = world.spec(&world.reviews(20), lane);
        spec.request.kind = Kind::Image;
        spec.request.model = Some("painter".into());
        spec.request.user = Some("A poster that says: {{ text }}".into());
        spec.request.system = None;
        spec.request.choices.clear();
        spec.request.provider_kwargs = Some(r#"{"quality":"low","output_format":"webp"}"#.into());
        (spec.run.price_in, spec.run.price_out) = (Some("1".into()), Some("1".into()));
        let engine = || Engine::open(settings.clone()).unwrap();
        let refused = engine().plan(&spec, &*world.ear).await.unwrap_err();
        assert_eq!(refused.code(), "image-unbounded", "{refused}");

        // Too low a word stops the job at its first picture.
        spec.request.max_output_tokens = Some(9);
        let stopped = engine().run(&spec, &|_| true, world.ear.clone(), Stop::new()).await.unwrap();
        assert_eq!((stopped.ending, stopped.requests_sent), (Ending::Halted, 1), "{stopped:?}");
        assert!(stopped.reason.is_some_and(|why| why.contains("--max-output-tokens")));

        spec.request.max_output_tokens = Some(300);
        let report = engine().run(&spec, &|_| true, world.ear.clone(), Stop::new()).await.unwrap();
        assert_eq!((report.ending, report.succeeded, report.failed), (Ending::Finished, 20, 0), "{report:?}");
        assert_eq!(
            (world.bill()["requests"].as_u64(), report.estimated_usage),
            (Some(1 + 18), 0),
            "{report:?}"
        );
        for row in world.rows() {
            let picture = &row["answer"];
            assert_eq!(
                (&picture["type"], &picture["source_type"], &picture["media_type"]),
                (&"image".into(), &"base64".into(), &"image/webp".into()),
                "{lane}: {row}"
            );
            assert!(picture["data"].as_str().unwrap().starts_with("UklGR"), "{row}");
        }
        let reader = bulkrate_engine::Reader::open(&world.path("state")).unwrap();
        assert!(reader.verify(&report.job, &[]).unwrap().passed());
    }
}

/// A model that no list prices: what is answered is not called free.
#[tokio::test]
async fn answers_without_a_price_are_counted_and_no_zero() {
    let world = World::new(SimConfig { any_model: true, ..fast() }).await;
    let mut settings = world.settings();
    settings.accounts[0].custom = true;
    let mut spec = world.spec(&world.reviews(20), Lane::Sync);
    spec.request.model = Some("llama-of-mine".into());
    let engine = || Engine::open(settings.clone()).unwrap();
    let plan = engine().plan(&spec, &*world.ear).await.unwrap();
    assert_eq!((plan.priced, plan.unpriced_models), (false, vec!["openai/llama-of-mine".to_owned()]));
    let refused = engine().run(&spec, &|_| false, world.ear.clone(), Stop::new()).await.unwrap_err();
    assert!(!refused.to_string().contains("0.00"), "{refused}");
    let hint = refused.hint().unwrap();
    assert!(hint.contains("--price-in") && hint.contains("--yes") && !hint.contains("--budget"), "{hint}");

    let report = engine().run(&spec, &|_| true, world.ear.clone(), Stop::new()).await.unwrap();
    assert_eq!((report.succeeded, report.unpriced, report.estimated_usage), (20, 18, 0), "{report:?}");
    assert_eq!(report.unpriced_models, ["openai/llama-of-mine"]);
    // Another process knows it as well.
    let again = engine().run(&spec, &|_| true, world.ear.clone(), Stop::new()).await.unwrap();
    assert_eq!((again.unpriced, again.estimated_usage), (18, 0), "{again:?}");
    let reader = bulkrate_engine::Reader::open(&world.path("state")).unwrap();
    for by in ["model", "lane", "job", "day", "tag.feature"] {
        let ask = CostQuery { by: by.to_owned(), since_ms: None, until_ms: None, trend: None };
        let rows = reader.cost(&ask, None).unwrap();
        assert!(matches!(&rows[..], [row] if row.unpriced && row.items == 18), "{by}: {rows:?}");
    }
    assert!(reader.status(None).unwrap()[0].unpriced);
    assert!(reader.verify("reviews", &[]).unwrap().passed());
}

#[tokio::test]
async fn flex_without_room_is_waited_for_and_is_no_rate_limit() {
    let config = SimConfig { seed: 5, ..SimConfig::default() };
    let told = Story::with(config, Lane::Flex, &["flex-unavailable=0.3"]).await.ends(Books::Exact).await;
    let told = told.all_succeeded();
    assert!(told.report.no_capacity > 0 && told.report.rate_limited == 0, "{:?}", told.report);
    let flex = told.rows.iter().filter(|row| row["_lane"] == "flex").count();
    assert!(flex > 50 && told.rows.iter().all(|row| row["_attempts"] == 1), "waits are no attempts");
}

#[tokio::test]
async fn no_more_batches_are_open_than_allowed() {
    let config = SimConfig { speed: 20_000.0, ..SimConfig::default() };
    let world = World::new(config).await;
    let mut spec = world.spec(&world.reviews(200), Lane::Batch);
    spec.run.canary = false;
    (spec.run.batch_items_max, spec.run.batches_max) = (20, 3);
    let most = std::cell::Cell::new(0);
    let engine = world.engine();
    let watch = async {
        // Asked of the provider, for as long as the job runs.
        loop {
            let open = open_batches(&world).await;
            most.set(open.max(most.get()));
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
    };
    let run = engine.run(&spec, &|_| true, world.ear.clone(), Stop::new());
    let report = tokio::select! { report = run => report.unwrap(), () = watch => unreachable!() };
    assert_eq!((report.ending, report.succeeded, report.batches), (Ending::Finished, 200, 9), "{report:?}");
    assert_eq!(most.get(), 3, "as many as allowed, and never more");
}

/// Batches that have not ended, by the provider's own list.
async fn open_batches(world: &World) -> usize {
    let client = bulkrate_provider::Settings {
        base_url: Some(world.sim.base_url()),
        api_key: "sk-test".into(),
        ..Default::default()
    };
    let api = bulkrate_provider::open("openai", &client).unwrap();
    let listed = api.batches().unwrap().list_since(0).await.unwrap();
    listed.iter().filter(|batch| !batch.phase.is_terminal()).count()
}

/// What goes in would be free: half of a price is none, whatever is asked for.
#[tokio::test]
async fn a_price_of_answers_alone_is_refused() {
    let world = World::new(fast()).await;
    for kind in [Kind::Chat, Kind::Decision] {
        let mut spec = world.spec(&world.reviews(5), Lane::Sync);
        spec.request.kind = kind;
        spec.run.price_out = Some("2".into());
        let refused = world.run(&spec).await.unwrap_err();
        assert_eq!(refused.code(), "price-invalid", "{kind:?}: {refused}");
        assert!(refused.to_string().contains("--price-out"), "{refused}");
    }
    assert_eq!(world.bill()["requests"], 0);
}
