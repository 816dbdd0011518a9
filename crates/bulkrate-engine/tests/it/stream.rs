//! Rows as they land, the webhook, and custom base URLs.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkrate_core::lane::Lane;
use bulkrate_core::price::Catalogue;
use bulkrate_engine::report::Ending;
use bulkrate_engine::settings::{Account, Settings};
use bulkrate_engine::spec::OnBadLine;
use bulkrate_engine::{Engine, Stop};
use bulkrate_sim::SimConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{World, fast};

/// Rows by item; every item once.
fn by_item(world: &World) -> BTreeMap<u64, serde_json::Value> {
    let rows = world.rows();
    let count = rows.len();
    let found: BTreeMap<u64, serde_json::Value> =
        rows.into_iter().map(|row| (row["_item"].as_u64().unwrap(), row)).collect();
    assert_eq!(found.len(), count, "an item has two rows");
    found
}

#[tokio::test]
async fn every_item_is_streamed_once_with_its_id() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(fast()).await;
        let source = world.path("reviews.jsonl");
        let mut text = String::new();
        for row in 0..60 {
            let words = if row % 10 == 9 { 0 } else { row };
            text.push_str(&if row == 25 {
                "{\"id\":\"r25\"}\n".to_owned()
            } else {
                format!("{{\"id\":\"r{row}\",\"text\":\"great product {words}\"}}\n")
            });
        }
        std::fs::write(&source, text).unwrap();
        let mut spec = world.spec(&source, lane);
        spec.sink.stream = true;
        spec.source.on_bad_line = OnBadLine::Dead;
        let report = world.run(&spec).await.unwrap();
        assert_eq!(
            (report.ending, report.succeeded, report.failed, report.output.is_some()),
            (Ending::Finished, 59, 1, true),
            "{report:?}"
        );
        let rows = by_item(&world);
        assert_eq!(rows.len(), 60);
        for (item, row) in &rows {
            let want = if *item == 26 { "errored" } else { "succeeded" };
            assert_eq!(row["_status"], want, "{row}");
            // A line that is no request has no id but in the source.
            assert_eq!(row["_id"], format!("r{}", item - 1), "{row}");
        }
        assert_eq!(rows[&10]["_cost_usd"], "0", "{}", rows[&10]);

        // The same job again writes the same rows and pays nothing.
        let bill = world.sim.bill_usd_nanos();
        world.run(&spec).await.unwrap();
        assert_eq!((by_item(&world), world.sim.bill_usd_nanos()), (rows, bill));
    }
}

#[tokio::test]
async fn a_stopped_stream_goes_on_without_a_row_lost_or_twice() {
    let world =
        World::new(SimConfig { seed: 5, ..SimConfig::default() }.with_fault("5xx=0.1").unwrap()).await;
    let mut spec = world.spec(&world.reviews(200), Lane::Sync);
    spec.sink.stream = true;
    spec.run.concurrency_max = 4;
    let stop = Stop::new();
    let engine = world.engine();
    let watched = world.path("out.jsonl");
    let early = stop.clone();
    let watch = async move {
        // Rows appear while the job runs.
        while !std::fs::read_to_string(&watched).is_ok_and(|text| text.lines().count() >= 5) {
            tokio::task::yield_now().await;
        }
        early.detach();
    };
    let (report, ()) = tokio::join!(engine.run(&spec, &|_| true, world.ear.clone(), stop), watch);
    let report = report.unwrap();
    drop(engine);
    assert_eq!(report.ending, Ending::Detached, "{report:?}");
    let before = by_item(&world);
    assert!(before.len() >= 5 && before.len() < 200, "{}", before.len());
    let report = world.run(&spec).await.unwrap();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 200), "{report:?}");
    let after = by_item(&world);
    assert_eq!(after.len(), 200);
    for (item, row) in before {
        assert_eq!(after[&item], row);
    }
}

/// Takes posts and answers `status`; gives their bodies when told to.
async fn hook(status: u16) -> (String, Arc<std::sync::Mutex<Vec<serde_json::Value>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let posts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let taken = posts.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let body = loop {
                let mut block = [0; 8_192];
                let read = stream.read(&mut block).await.unwrap_or(0);
                request.extend_from_slice(&block[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                if let Some(body) =
                    text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok())
                {
                    break body;
                }
                assert!(read > 0, "the post ended early: {text}");
            };
            taken.lock().unwrap().push(body);
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, posts)
}

#[tokio::test]
async fn the_webhook_is_told_and_never_fails_the_job() {
    for status in [204, 500] {
        let (url, posts) = hook(status).await;
        let world = World::new(SimConfig { seed: 3, ..fast() }.with_fault("refusal=0.5").unwrap()).await;
        let mut spec = world.spec(&world.reviews(200), Lane::Sync);
        spec.run.webhook = Some(url);
        let report = world.run(&spec).await.unwrap();
        assert_eq!((report.ending, report.above_threshold), (Ending::Finished, true), "{report:?}");
        let posts = posts.lock().unwrap().clone();
        let events: Vec<_> = posts
            .iter()
            .map(|post| (post["event"].as_str().unwrap(), post["job"].as_str().unwrap()))
            .collect();
        assert_eq!(events, [("alert", report.job.as_str()), ("finished", report.job.as_str())], "{posts:?}");
        assert_eq!(posts[0]["code"], "failure-threshold");
        assert_eq!(posts[1]["report"]["failed"], report.failed);
        // Money as in `--json`: in dollars, and exactly.
        let sent = &posts[1]["report"];
        assert_eq!(sent["spent_usd_nanos"], report.spent.0, "{sent}");
        assert!(sent["spent_usd"].as_f64().unwrap() > 0.0 && sent.get("spent").is_none(), "{sent}");
        assert!(sent["saved_usd"].is_object() && sent["saved_usd_nanos"].is_object(), "{sent}");
        assert_eq!(world.ear.heard("answered 500"), status == 500);
    }
}

#[tokio::test]
async fn a_custom_base_url_is_asked_for_its_batch_api() {
    let world = World::new(fast()).await;
    let engine = |base_url: String| {
        let settings = bulkrate_provider::Settings {
            base_url: Some(base_url),
            api_key: "sk-test".into(),
            ..Default::default()
        };
        let mut retry = settings.retry;
        retry.tries = 1;
        let api =
            bulkrate_provider::open("custom", &bulkrate_provider::Settings { retry, ..settings }).unwrap();
        let account = Account {
            provider: "custom".into(),
            serves: None,
            id: "acc".into(),
            api,
            custom: true,
            key_env: "OPENAI_API_KEY".into(),
            has_key: true,
            key_named: false,
            rival: None,
        };
        Engine::open(Settings {
            state_dir: world.path("state"),
            catalogue: Arc::new(Catalogue::bundled()),
            accounts: vec![account],
            tables: Arc::new(bulkrate_tokens::Tables),
            seed: 7,
            batch_items_kept: 0,
        })
        .unwrap()
    };
    let mut spec = world.spec(&world.reviews(20), Lane::Batch);
    spec.request.model = Some("custom/gpt-6-luna".into());
    (spec.run.price_in, spec.run.price_out) = (Some("1".into()), Some("2".into()));
    let unavailable = |plan: &bulkrate_engine::plan::Plan| {
        plan.lanes.iter().find(|lane| lane.lane == Lane::Batch).unwrap().unavailable.clone()
    };

    // A base URL where nothing answers is a warning.
    let nowhere = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/v1", listener.local_addr().unwrap())
    };
    spec.run.lane = None;
    let plan = engine(nowhere).plan(&spec, &*world.ear).await.unwrap();
    assert!(unavailable(&plan).is_some(), "{plan:?}");
    assert!(plan.warnings.iter().any(|warning| warning.contains("batch API")), "{:?}", plan.warnings);

    let asked = engine(world.sim.base_url());
    let plan = asked.plan(&spec, &*world.ear).await.unwrap();
    assert_eq!(unavailable(&plan), None, "{plan:?}");
    drop(asked);
    spec.run.lane = Some(Lane::Batch);
    let report =
        engine(world.sim.base_url()).run(&spec, &|_| true, world.ear.clone(), Stop::new()).await.unwrap();
    assert_eq!(
        (report.ending, report.succeeded, report.batches > 0),
        (Ending::Finished, 20, true),
        "{report:?}"
    );
}
