//! What single lines wish: to be answered at once, to keep out of the response cache.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::Ending;
use bulkrate_engine::spec::{JobSpec, OnBadLine};
use bulkrate_sim::SimConfig;

use crate::world::{World, fast};

/// One unified request a line, each with its own wishes.
fn spec(world: &World, name: &str, lane: Lane, lines: &[(u32, &str)]) -> JobSpec {
    let path = world.path(&format!("{name}.jsonl"));
    let line = |(number, wishes): &(u32, &str)| {
        let content = format!("say {number}");
        format!(
            "{{\"custom_id\":\"i{number}\",{wishes}\"messages\":[{{\"role\":\"user\",\"content\":\"{content}\"}}]}}\n"
        )
    };
    std::fs::write(&path, lines.iter().map(line).collect::<String>()).unwrap();
    let mut spec = world.spec(&path, lane);
    spec.source.id = None;
    spec.request.user = None;
    spec.request.choices.clear();
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec.sink.force = true;
    spec
}

fn lanes(world: &World) -> Vec<String> {
    world.rows().iter().map(|row| row["_lane"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_line_in_a_hurry_goes_to_the_sync_lane() {
    let urgent = |number: u32| number % 5 == 2;
    // Also where an attempt fails: its retries are calls as well.
    for config in [fast(), SimConfig { seed: 3, ..fast() }.with_fault("5xx:sync=0.1").unwrap()] {
        for lane in [Lane::Batch, Lane::Flex, Lane::Sync] {
            let world = World::new(config.clone()).await;
            let lines: Vec<_> = (0..60)
                .map(|number| {
                    (number, if urgent(number) { "\"priority\":\"high\"," } else { "\"priority\":\"low\"," })
                })
                .collect();
            let report = world.run(&spec(&world, "a", lane, &lines)).await.unwrap();
            assert_eq!((report.ending, report.succeeded), (Ending::Finished, 60), "{lane}: {report:?}");
            let want = |number| if urgent(number) { Lane::Sync.name() } else { lane.name() };
            let got = lanes(&world);
            let others = (0..60).filter(|number| got[*number as usize] != want(*number)).count();
            // The canary, if it was faster than the first of the urgent lines; the last flex try takes the surer lane.
            assert!(others <= if lane == Lane::Sync { 0 } else { 3 }, "{lane}: {got:?}");
            assert!(
                (0..60).filter(|number| urgent(*number)).all(|number| got[number as usize] == "sync"),
                "{lane}: {got:?}"
            );
            assert_eq!(report.spent.0, i64::try_from(world.sim.bill_usd_nanos()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_follower_in_a_hurry_hurries_its_leader() {
    let world = World::new(fast()).await;
    let mut job = spec(&world, "a", Lane::Batch, &[(1, ""), (2, ""), (3, "")]);
    let path = job.source.path.clone().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let same = text
        .lines()
        .nth(1)
        .unwrap()
        .replace("\"custom_id\":\"i2\",", "\"custom_id\":\"i4\",\"priority\":\"high\",");
    std::fs::write(&path, format!("{text}{same}\n")).unwrap();
    job.run.canary = false;
    let report = world.run(&job).await.unwrap();
    assert_eq!((report.succeeded, report.duplicates), (4, 1), "{report:?}");
    assert_eq!(lanes(&world), ["batch", "sync", "batch", "sync"]);
}

#[tokio::test]
async fn a_line_may_keep_out_of_the_cache() {
    let world = World::new(fast()).await;
    let (off, refresh, high) = ("\"cache\":\"off\",", "\"cache\":\"refresh\",", "\"priority\":\"high\",");
    let first = spec(&world, "first", Lane::Sync, &[(1, off), (2, refresh), (3, ""), (4, ""), (5, "")]);
    assert_eq!(world.run(&first).await.unwrap().cached, 0);
    // Neither wish is a part of the key: 2 and 3 are known from lines that had others.
    let second = spec(&world, "second", Lane::Sync, &[(1, ""), (2, ""), (3, high), (4, off), (5, refresh)]);
    let report = world.run(&second).await.unwrap();
    assert_eq!((report.succeeded, report.cached), (5, 2), "{report:?}");
    assert_eq!(lanes(&world), ["sync", "cache", "cache", "sync", "sync"]);
    // What the second job's lines added: 1, and 5 anew.
    let third = spec(&world, "third", Lane::Sync, &[(1, ""), (5, "")]);
    assert_eq!(world.run(&third).await.unwrap().cached, 2);
}

#[tokio::test]
async fn an_unknown_wish_is_an_error_of_its_item() {
    let world = World::new(fast()).await;
    for wish in ["\"priority\":\"urgent\",", "\"cache\":\"never\",", "\"priority\":1,"] {
        let mut job = spec(&world, "a", Lane::Sync, &[(1, ""), (2, wish), (3, "")]);
        let error = world.run(&job).await.unwrap_err();
        assert_eq!(error.code(), "item-bad-request", "{error}");
        assert!(error.to_string().contains(":2:"), "{error}");
        job.source.on_bad_line = OnBadLine::Dead;
        let report = world.run(&job).await.unwrap();
        assert_eq!((report.ending, report.succeeded, report.failed), (Ending::Finished, 2, 1), "{report:?}");
        assert_eq!(world.rows()[1]["_status"], "errored");
    }
}
