//! What an earlier run left is taken up also where it could not be sent again today.

use std::sync::Arc;
use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::Catalogue;
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::spec::JobSpec;
use bulkrate_engine::{Engine, Stop};
use bulkrate_sim::SimConfig;
use bulkrate_store::{SqliteStore, View};

use crate::world::World;

/// The price list without the batch and flex prices of the model.
fn without_cheap_lanes() -> Arc<Catalogue> {
    let prices = include_str!("../../../../catalogue/prices.csv");
    let cut = prices.replacen(
        "openai,gpt-6-luna,,chat,0.1,0.5,0.01,0.125,,0.05,0.25,0.005,0.0625,0.05,0.25,0.005,",
        "openai,gpt-6-luna,,chat,0.1,0.5,0.01,0.125,,,,,,,,,",
        1,
    );
    assert_ne!(prices, cut);
    Arc::new(Catalogue::parse(&cut).unwrap())
}

/// Runs the job until `seen`, ends it so, and goes on in the sync lane with a price list that has no other.
async fn cut_and_resumed(
    world: &World,
    spec: &JobSpec,
    seen: impl Fn() -> bool,
    end: impl Fn(&Stop),
) -> (Report, Report) {
    let (stop, engine) = (Stop::new(), world.engine());
    let ended = stop.clone();
    let watch = async {
        while !seen() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // what is leased is sent
        end(&ended);
    };
    let (first, ()) = tokio::join!(engine.run(spec, &|_| true, world.ear.clone(), stop), watch);
    drop(engine);
    let mut settings = world.settings();
    settings.catalogue = without_cheap_lanes();
    let engine = Engine::open(settings).unwrap();
    let first = first.unwrap();
    let sync = |spec: &mut JobSpec| spec.run.lane = Some(Lane::Sync);
    let second = engine.resume(&first.job, &sync, world.ear.clone(), Stop::new()).await.unwrap();
    (first, second)
}

#[tokio::test]
async fn an_open_batch_that_could_not_be_sent_again_is_still_collected() {
    let world = World::new(SimConfig::default()).await;
    let mut spec = world.spec(&world.reviews(60), Lane::Batch);
    spec.run.budget = Some(UsdNanos::dollars(5));
    let created = || world.ear.heard("batch validating") || world.ear.heard("batch in_progress");
    let (first, second) = cut_and_resumed(&world, &spec, created, Stop::detach).await;
    assert_eq!(first.ending, Ending::Detached, "{first:?}");
    assert_eq!((second.ending, second.succeeded), (Ending::Finished, 60), "{second:?}");
    let of_batch = world.rows().iter().filter(|row| row["_lane"] == "batch").count();
    assert!(of_batch > 40, "{of_batch} of the batch's answers are kept");
    assert_eq!(second.reserved, UsdNanos::ZERO);
}

#[tokio::test]
async fn a_lost_call_that_could_not_be_sent_again_is_a_dead_letter() {
    let config = SimConfig { slow_ms: 60_000, ..SimConfig::default() };
    let config = config.with_fault("slow:sync@1").unwrap().with_fault("slow:sync@2").unwrap();
    let world = World::new(config).await;
    let mut spec = world.spec(&world.reviews(9), Lane::Flex);
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec.run.concurrency_max = 2;
    let leased = || {
        SqliteStore::open_reader(&world.path("state"))
            .and_then(|store| store.submissions(1))
            .is_ok_and(|submissions| submissions.iter().map(|found| found.items).sum::<u32>() == 2)
    };
    let (first, second) = cut_and_resumed(&world, &spec, leased, Stop::abort).await;
    assert_eq!(first.ending, Ending::Aborted, "{first:?}");
    assert_eq!((second.ending, second.open), (Ending::Finished, 0), "{second:?}");
    assert_eq!((second.succeeded, second.failures["invalid_input"]), (7, 2), "{second:?}");
    assert!(second.in_doubt > UsdNanos::ZERO, "{second:?}");
}
