//! What holds money back: too much in doubt, tags whose budget is used up, credentials that were taken back.

use std::collections::BTreeMap;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::Ending;
use bulkrate_engine::spec::JobSpec;
use bulkrate_engine::{EngineError, Reader, Stop};
use bulkrate_sim::SimConfig;
use bulkrate_store::{LedgerKind, LedgerQuery, SqliteStore, View};

use crate::world::{World, fast};

#[tokio::test]
async fn no_call_is_sent_while_too_much_is_in_doubt() {
    let world = World::new(SimConfig::default().with_fault("reset:sync@3").unwrap()).await;
    let mut spec = world.spec(&world.reviews(40), Lane::Sync);
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec.run.concurrency_max = 1;
    spec.run.max_in_doubt = Some(UsdNanos::ZERO);
    let report = world.run(&spec).await.unwrap();
    assert_eq!((report.ending, report.exit_code(), report.succeeded), (Ending::InDoubt, 6, 6), "{report:?}");
    assert!(report.open > 0 && report.in_doubt > UsdNanos::ZERO, "{report:?}");
    // Two answers, one of which four followers share.
    assert_eq!(world.bill()["requests"], 3, "the third call was the last");
    assert!(world.ear.heard("alert in-doubt-limit"), "{:?}", world.ear.heard.lock().unwrap());

    // It is no other job when more may be in doubt, and the quarter of the cap is far away.
    spec.run.max_in_doubt = None;
    let report = world.run(&spec).await.unwrap();
    assert_eq!((report.ending, report.succeeded, report.open), (Ending::Finished, 40, 0), "{report:?}");
    let bill = i64::try_from(world.sim.bill_usd_nanos()).unwrap();
    assert!(report.spent.0 < bill && bill <= report.spent.0 + report.in_doubt.0, "{report:?} {bill}");
}

#[tokio::test]
async fn no_batch_is_created_while_too_much_is_in_doubt() {
    let world = World::new(fast().with_fault("reset-early:create@1").unwrap()).await;
    let mut spec = world.spec(&world.reviews(60), Lane::Batch);
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec.run.max_in_doubt = Some(UsdNanos::ZERO);
    spec.run.batch_items_max = 10;
    spec.run.batches_max = 1;
    spec.run.t_lag_ms = 600;
    let (stop, engine) = (Stop::new(), world.engine());
    let detach = stop.clone();
    let watch = async {
        while !world.ear.heard("alert batch-in-doubt") {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        detach.detach();
    };
    let (report, ()) = tokio::join!(engine.run(&spec, &|_| true, world.ear.clone(), stop), watch);
    assert_eq!(report.unwrap().ending, Ending::Detached);
    drop(engine);
    world.ear.heard.lock().unwrap().clear();

    spec.run.batches_max = 50;
    let report = world.run(&spec).await.unwrap();
    let heard = world.ear.heard.lock().unwrap().clone();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 60), "{report:?} {heard:?}");
    let place = |part: &str| {
        heard.iter().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {heard:?}"))
    };
    assert!(place("alert in-doubt-limit") < place("proved not to exist"), "{heard:?}");
    assert!(place("proved not to exist") < place("batch validating"), "{heard:?}");
    assert_eq!((report.in_doubt, report.reserved), (UsdNanos::ZERO, UsdNanos::ZERO));
    assert_eq!(report.spent.0, i64::try_from(world.sim.bill_usd_nanos()).unwrap());
}

/// Unified requests, `rows` of them, of the teams `a` and `b` in turn.
fn of_two_teams(world: &World, name: &str, rows: usize) -> std::path::PathBuf {
    let path = world.path(name);
    let mut text = String::new();
    for row in 0..rows {
        let team = ["a", "b"][row % 2];
        text.push_str(&format!(
            "{{\"custom_id\":\"{name}{row}\",\"messages\":[{{\"role\":\"user\",\"content\":\"say {name} {row}\"}}],\"tags\":{{\"team\":\"{team}\"}},\"generation_config\":{{\"max_tokens\":40}}}}\n"
        ));
    }
    std::fs::write(&path, text).unwrap();
    path
}

fn unified(world: &World, source: &std::path::Path, lane: Lane) -> JobSpec {
    let mut spec = world.spec(source, lane);
    spec.source.id = None;
    spec.request.user = None;
    spec.request.choices.clear();
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec
}

/// What the ledger holds against each team (settled, doubted and reserved): at its highest while job `since` ran, and in
/// the end.
fn held(world: &World, since: u32) -> BTreeMap<String, (i64, i64)> {
    let store = SqliteStore::open_reader(&world.path("state")).unwrap();
    let mut teams = BTreeMap::new();
    for job in store.jobs().unwrap() {
        for (number, tags) in store.tag_sets(job.no).unwrap() {
            let tags: BTreeMap<String, String> = serde_json::from_str(&tags).unwrap();
            teams.insert((job.no, number), tags.get("team").cloned().unwrap_or_default());
        }
    }
    let mut sums = BTreeMap::<String, (i64, i64)>::new();
    let mut moment = None;
    store
        .ledger_scan(&LedgerQuery::default(), &mut |entry| {
            let looked = moment.replace((entry.job, entry.at_ms));
            if looked.is_some_and(|(job, at_ms)| job >= since && at_ms != entry.at_ms) {
                for (peak, sum) in sums.values_mut() {
                    *peak = (*peak).max(*sum);
                }
            }
            let sign = match entry.kind {
                LedgerKind::Reserve | LedgerKind::Settle | LedgerKind::Doubt => 1,
                LedgerKind::Release => -1,
                _ => 0,
            };
            sums.entry(teams[&(entry.job, entry.tags)].clone()).or_default().1 += sign * entry.usd.0;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    sums
}

fn by_team(world: &World) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for row in world.rows() {
        let number: usize =
            row["custom_id"].as_str().unwrap().rsplit(".jsonl").next().unwrap().parse().unwrap();
        let team = ["a", "b"][number % 2].to_owned();
        *counts.entry((team, row["_status"].as_str().unwrap().to_owned())).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn a_tag_that_runs_dry_stops_its_own_items_alone() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(fast()).await;
        // Another job has spent under the same tag already.
        let first = unified(&world, &of_two_teams(&world, "first.jsonl", 20), lane);
        world.run(&first).await.unwrap();
        let (_, spent) = held(&world, 1)["a"];

        let mut spec = unified(&world, &of_two_teams(&world, "second.jsonl", 200), lane);
        spec.sink.force = true;
        let limit = spent * 6;
        spec.run.budget_tags = [("team=a".to_owned(), UsdNanos(limit))].into();
        let report = world.run(&spec).await.unwrap();
        let heard = world.ear.heard.lock().unwrap().clone();
        assert_eq!((report.ending, report.open), (Ending::Finished, 0), "{lane}: {report:?} {heard:?}");
        let counts = by_team(&world);
        let of = |team: &str, status: &str| {
            counts.get(&(team.to_owned(), status.to_owned())).copied().unwrap_or(0)
        };
        assert_eq!(of("b", "succeeded"), 100, "{lane}: {counts:?}");
        let (done, dry) = (of("a", "succeeded"), of("a", "errored"));
        assert!(done > 0 && dry > 0 && done + dry == 100, "{lane}: {counts:?}");
        assert_eq!(report.failures["budget_exhausted"], dry as u64, "{lane}: {report:?}");
        let (peak, spent) = held(&world, 2)["a"];
        assert!(peak <= limit, "{lane}: USD {} of {}", UsdNanos(peak), UsdNanos(limit));
        assert!(spent * 2 > limit, "{lane}: much was left: USD {} of {}", UsdNanos(spent), UsdNanos(limit));
        let bill = i64::try_from(world.sim.bill_usd_nanos()).unwrap();
        assert_eq!(held(&world, 2)["b"].1 + spent, bill, "{lane}: at rest the ledger is the bill");
    }
}

#[tokio::test]
async fn revoked_credentials_stop_the_job_and_the_next_run_collects() {
    for fault in ["revoked:content@1", "revoked:poll@1", "revoked:list@1"] {
        let config =
            if fault.contains("list") { fast().with_fault("create-lost@1").unwrap() } else { fast() };
        let world = World::new(config.with_fault(fault).unwrap()).await;
        let mut spec = world.spec(&world.reviews(60), Lane::Batch);
        spec.run.budget = Some(UsdNanos::dollars(5));
        let limit = std::time::Duration::from_secs(20);
        let report = tokio::time::timeout(limit, world.run(&spec)).await.expect("it stops").unwrap();
        assert_eq!((report.ending, report.exit_code()), (Ending::Halted, 4), "{fault}: {report:?}");
        assert!(report.reserved > UsdNanos::ZERO && report.in_doubt == UsdNanos::ZERO, "{fault}: {report:?}");

        let report = world.run(&spec).await.unwrap();
        assert_eq!((report.ending, report.succeeded), (Ending::Finished, 60), "{fault}: {report:?}");
        assert_eq!(report.spent.0, i64::try_from(world.sim.bill_usd_nanos()).unwrap(), "{fault}");
        assert_eq!(world.bill()["requests"], 54, "{fault}: paid once");
    }
}

/// Waits for limits and calls that never left are no attempts; what was answered badly is.
#[tokio::test]
async fn attempts_are_those_that_count() {
    for (fault, waits) in [("429=0.2", true), ("empty=0.5", false)] {
        let world = World::new(SimConfig { seed: 3, ..fast() }.with_fault(fault).unwrap()).await;
        let spec = world.spec(&world.reviews(30), Lane::Sync);
        let report = world.run(&spec).await.unwrap();
        let attempts: Vec<_> = world.rows().iter().map(|row| row["_attempts"].as_u64().unwrap()).collect();
        if waits {
            assert!(report.rate_limited > 0, "{report:?}");
            assert!(attempts.iter().all(|count| *count == 1), "{fault}: {attempts:?}");
        } else {
            let more = attempts.iter().filter(|count| **count > 1).count();
            assert!(
                more > 0 && attempts.iter().all(|count| (1..=3).contains(count)),
                "{fault}: {attempts:?}"
            );
        }
    }
}

/// An OpenAI batch line whose answer was cut is asked once more, with room for the rest.
#[tokio::test]
async fn a_passed_through_line_that_was_cut_is_asked_again_with_more_room() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(fast()).await;
        let source = world.path("lines.jsonl");
        // The simulator says it again: some fifty tokens.
        let words = "word ".repeat(60);
        let line = |id: &str, most: &str| {
            format!(
                "{{\"custom_id\":\"{id}\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{{\"model\":\"gpt-4.1-mini\",{most}\"messages\":[{{\"role\":\"user\",\"content\":\"tell {id} {words}\"}}]}}}}\n"
            )
        };
        let text = line("new", "\"max_completion_tokens\":2,")
            + &line("old", "\"max_tokens\":3,")
            + &line("none", "");
        std::fs::write(&source, text).unwrap();
        let mut spec = unified(&world, &source, lane);
        spec.request.system = None;
        spec.request.max_output_tokens = Some(4);
        spec.run.keep_remote = true;
        let report = world.run(&spec).await.unwrap();
        assert_eq!((report.ending, report.failed), (Ending::Finished, 3), "{lane}: {report:?}");
        assert_eq!(report.failures["truncated"], 3, "{lane}: {report:?}");
        assert_eq!(world.bill()["requests"], 6, "{lane}: each is retried once");
        // What the provider billed for the second try: the raised maximum, used up.
        let dead = Reader::open(&world.path("state")).unwrap().dead(&report.job).unwrap();
        for (letter, most) in dead.iter().zip([2, 3, 4]) {
            let used: Vec<u64> = letter
                .attempts
                .iter()
                .map(|attempt| {
                    let line: serde_json::Value = serde_json::from_str(&attempt.evidence).unwrap();
                    line["usage"]["output_tokens"].as_u64().unwrap()
                })
                .collect();
            assert_eq!(used, [most, most * 4], "{lane} {}", letter.item_id);
        }
    }
}

/// A simulator that bills `times` what the price list says, by cost header, and the settings that read it.
async fn dear(input: &str, output: &str) -> (World, bulkrate_engine::settings::Settings) {
    let prices = include_str!("../../../../catalogue/prices.csv");
    let dear = prices.replacen(
        "openai,gpt-6-luna,,chat,0.1,0.5,",
        &format!("openai,gpt-6-luna,,chat,{input},{output},"),
        1,
    );
    assert_ne!(prices, dear);
    let config = SimConfig { prices: Some(dear), cost_header: Some("x-cost".into()), ..SimConfig::default() };
    let world = World::new(config).await;
    let mut settings = world.settings();
    let provider = bulkrate_provider::Settings {
        base_url: Some(world.sim.base_url()),
        api_key: "sk-test".into(),
        cost_header: Some("x-cost".into()),
        ..Default::default()
    };
    settings.accounts[0].api = bulkrate_provider::open("openai", &provider).unwrap();
    (world, settings)
}

#[tokio::test]
async fn costs_above_their_bounds_are_booked_told_and_stop_at_the_cap() {
    let (world, settings) = dear("3", "15").await;
    let mut spec = world.spec(&world.reviews(60), Lane::Sync);
    let budget = UsdNanos(1_000_000);
    spec.run.budget = Some(budget);
    spec.run.concurrency_max = 1;
    let engine = bulkrate_engine::Engine::open(settings).unwrap();
    let report = engine.run(&spec, &|_| true, world.ear.clone(), Stop::new()).await.unwrap();
    drop(engine);
    let heard = world.ear.heard.lock().unwrap().clone();
    assert_eq!((report.ending, report.exit_code()), (Ending::BudgetExhausted, 3), "{report:?} {heard:?}");
    assert_eq!(report.spent.0, i64::try_from(world.sim.bill_usd_nanos()).unwrap(), "booked as it was");
    let each = report.spent.0 / i64::try_from(report.above_bound).unwrap();
    assert!(report.spent <= budget + UsdNanos(2 * each), "the next one is not sent: {report:?}");
    assert!(report.above_bound > 2 && report.above_bound == report.requests_sent, "{report:?}");
    assert!(report.excess > UsdNanos::ZERO && report.excess < report.spent, "{report:?}");
    let alerts: Vec<_> = heard.iter().filter(|line| line.starts_with("alert cost-above-bound")).collect();
    assert_eq!(alerts.len(), 1, "once a minute: {alerts:?}");
    assert!(alerts[0].contains("item 1 ") && alerts[0].contains("`openai/gpt-6-luna`"), "{alerts:?}");

    let proofs = Reader::open(&world.path("state")).unwrap().verify(&report.job, &[]).unwrap();
    let caps = proofs.checks.iter().find(|check| check.name == "caps held").unwrap();
    let told = format!(
        "more than their bounds: {}, by USD {} in all (item 1 USD",
        report.above_bound, report.excess
    );
    assert!(caps.detail.contains(&told), "{told}: {caps:?}");
}

#[tokio::test]
async fn a_cost_beyond_all_reason_is_told_and_booked_at_its_bound() {
    let (world, settings) = dear("3000", "15000").await;
    let mut spec = world.spec(&world.reviews(5), Lane::Sync);
    spec.run.budget = Some(UsdNanos::dollars(1));
    let engine = bulkrate_engine::Engine::open(settings).unwrap();
    let report = engine.run(&spec, &|_| true, world.ear.clone(), Stop::new()).await.unwrap();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 5), "{report:?}");
    assert_eq!((report.estimated_usage, report.above_bound, report.excess), (5, 5, UsdNanos::ZERO));
    assert!(world.ear.heard("alert cost-above-bound") && world.ear.heard("not believed"));
}

#[tokio::test]
async fn followers_do_not_hide_that_many_requests_fail() {
    let world = World::new(fast().with_fault("line-errors=0.5").unwrap()).await;
    let path = world.path("many.csv");
    let mut text = "id,text\n".to_owned();
    for row in 0..700 {
        // The first is asked six hundred times.
        text.push_str(&format!("r{row},great product {}\n", row.min(100) % 100));
    }
    std::fs::write(&path, text).unwrap();
    let mut spec = world.spec(&path, Lane::Batch);
    spec.run.budget = Some(UsdNanos::dollars(5));
    let report = world.run(&spec).await.unwrap();
    assert_eq!((report.ending, report.open), (Ending::Finished, 0), "{report:?}");
    assert!(report.duplicates == 600 && (6..35).contains(&report.failed), "{report:?}");
    let heard = world.ear.heard.lock().unwrap();
    assert!(heard.iter().any(|line| line.starts_with("alert failure-threshold")), "{heard:?}");
}

#[tokio::test]
async fn a_wish_to_stop_is_heard_while_the_source_is_read_and_leaves_nothing() {
    let world = World::new(SimConfig::default()).await;
    let spec = world.spec(&world.reviews(60), Lane::Sync);
    let stop = Stop::new();
    stop.detach();
    let ended = world.engine().run(&spec, &|_| true, world.ear.clone(), stop).await;
    assert!(matches!(ended, Err(EngineError::Stopped)), "{ended:?}");
    assert!(Reader::open(&world.path("state")).unwrap().status(None).unwrap().is_empty());
    assert_eq!(world.run(&spec).await.unwrap().succeeded, 60);
}
