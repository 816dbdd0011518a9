//! Jobs whose embeddings, or whose batches behind them, are out at the provider when a run stops, is cancelled or loses its source.

use std::sync::Arc;
use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::event::{BatchLine, Event, Observer};
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::spec::JobSpec;
use bulkrate_engine::{Engine, Reader, Stop};
use bulkrate_sim::SimConfig;

use crate::embeddings::{proved, spec, with_other};
use crate::ghosts::{copy, restore};
use crate::world::{World, fast};

/// The job that embeds 120 rows is another one than that of all rows, which would ask for the 120 again.
#[tokio::test]
async fn embeddings_that_were_begun_with_another_limit_are_ended_first() {
    let world = World::new(fast()).await;
    let mut spec = spec(&world, 300, Lane::Batch);
    spec.source.limit = Some(120);
    let first = Box::pin(world.until("state", &spec, "batch", 1)).await;
    assert_eq!((first.ending, first.succeeded), (Ending::Detached, 0), "{first:?}");
    spec.source.limit = None;
    let error = Box::pin(world.run(&spec)).await.unwrap_err();
    assert_eq!(error.code(), "embedding-halted");
    let id = Reader::open(&world.path("state")).unwrap().find("rows-embed").unwrap().id;
    assert!(error.to_string().contains(&format!("`{id}` was begun with another `--limit`")), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("`--limit 120`")), "{error:?}");
    spec.source.limit = Some(120);
    Box::pin(world.run(&spec)).await.unwrap();
    spec.source.limit = None;
    let report = Box::pin(world.run(&spec)).await.unwrap();
    assert_eq!(world.bill()["total_usd_nanos"].as_i64(), Some(report.spent.0), "{report:?}");
    assert_eq!(world.bill()["requests"].as_u64(), Some(600 - report.similar), "{report:?}");
}

/// Stops a job once it asks: behind its embeddings, and where it asks in batches once one is at the provider.
#[derive(Debug)]
struct StopsWhenAsking(Stop, String);

impl Observer for StopsWhenAsking {
    fn event(&self, event: &Event<'_>) {
        if let Event::Progress { progress } = event
            && progress.job == self.1
            && (progress.lane == Some(Lane::Sync) || progress.batches.iter().any(BatchLine::goes_on))
        {
            self.0.detach();
        }
    }
}

/// Runs a job until it asks.
pub async fn until_it_asks(world: &World, spec: &JobSpec) -> Report {
    let stop = Stop::new();
    let job = world.engine().plan(spec, &*world.ear).await.unwrap().job;
    let ear = Arc::new(StopsWhenAsking(stop.clone(), job));
    Box::pin(world.engine().run(spec, &|_| true, ear, stop)).await.unwrap()
}

/// What is out is among the requests that are still to be paid.
#[tokio::test]
async fn embeddings_that_are_out_are_admitted_once() {
    // A batch takes 0.6 seconds.
    let world = World::new(SimConfig { speed: 1_000.0, ..SimConfig::default() }).await;
    let mut spec = spec(&world, 200, Lane::Batch);
    spec.run.canary = false;
    spec.run.budget = Some(world.engine().plan(&spec, &*world.ear).await.unwrap().price().1);
    let first = Box::pin(world.until("state", &spec, "batch in_progress", 1)).await;
    assert_eq!((first.ending, first.batches_open), (Ending::Detached, 1), "{first:?}");
    let report = Box::pin(world.run(&spec)).await.unwrap();
    proved(&world, &report);
}

/// A batch takes a minute.
fn slow() -> SimConfig {
    SimConfig { speed: 1_000.0, run_secs: 60_000.0, cancel_secs: 1.0, ..SimConfig::default() }
}

#[tokio::test]
async fn a_run_that_is_left_while_it_embeds_tells_of_the_batches_that_go_on() {
    let world = World::new(slow()).await;
    let spec = spec(&world, 200, Lane::Batch);
    let left = Box::pin(world.until("state", &spec, "batch in_progress", 1)).await;
    assert_eq!((left.ending, left.batches_open), (Ending::Detached, 1), "{left:?}");
    assert!(left.embedding.as_ref().is_some_and(|of| of.left), "{left:?}");
    assert!(
        left.reason.as_ref().is_some_and(|why| why.ends_with("batches go on at the provider")),
        "{left:?}"
    );
}

/// Keeps orders from being left behind: what is cancelled is cancelled with what works for it.
#[tokio::test]
async fn a_job_that_is_cancelled_while_it_embeds_stops_embedding() {
    let world = World::new(slow()).await;
    let spec = spec(&world, 200, Lane::Batch);
    let engine = world.engine();
    let cancel = async {
        while !world.ear.heard("batch in_progress") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(Reader::open(&world.path("state")).unwrap().cancel("rows").unwrap());
    };
    let run = tokio::time::timeout(
        Duration::from_secs(30),
        Box::pin(engine.run(&spec, &|_| true, world.ear.clone(), Stop::new())),
    );
    let (report, ()) = tokio::join!(run, cancel);
    let report = report.expect("it does not wait for the embeddings").unwrap();
    assert_eq!((report.ending, report.cancelled, report.open), (Ending::Cancelled, 200, 0), "{report:?}");
    assert!(!world.ear.heard("those rows are asked"), "{:?}", world.ear.heard.lock().unwrap());
    let reader = Reader::open(&world.path("state")).unwrap();
    let states: Vec<_> = reader.status(None).unwrap().into_iter().map(|job| job.state).collect();
    assert_eq!(states, ["cancelled", "cancelled"]);
    assert_eq!(world.bill()["total_usd_nanos"].as_i64(), Some(report.spent.0), "{report:?}");
    for job in ["rows", "rows-embed"] {
        let found = reader.verify(job, &[]).unwrap();
        assert!(found.passed(), "{job}: {found:?}");
    }
}

#[tokio::test]
async fn an_order_to_cancel_that_waits_is_heard_before_anything_is_embedded() {
    let world = World::new(fast()).await;
    let spec = spec(&world, 200, Lane::Sync);
    Box::pin(world.until("state", &spec, "note embedding", 1)).await;
    let reader = Reader::open(&world.path("state")).unwrap();
    reader.cancel("rows").unwrap();
    let asked = world.bill()["requests"].clone();
    let report = Box::pin(world.run(&spec)).await.unwrap();
    assert_eq!((report.ending, report.cancelled), (Ending::Cancelled, 200), "{report:?}");
    assert_eq!(world.bill()["requests"], asked, "nothing was sent");
}

/// The rows that are asked for now are others than those that the job that embeds was begun for.
#[tokio::test]
async fn whoever_cancels_a_job_cancels_all_that_embeds_for_it() {
    for gone in [false, true] {
        let world = World::new(slow()).await;
        let mut spec = spec(&world, 200, Lane::Batch);
        spec.source.limit = Some(100);
        let left = Box::pin(world.until("state", &spec, "batch in_progress", 1)).await;
        assert_eq!((left.ending, left.batches_open), (Ending::Detached, 1), "{left:?}");
        let reader = Reader::open(&world.path("state")).unwrap();
        reader.cancel("rows").unwrap();
        let engine = world.engine();
        let report = if gone {
            std::fs::remove_file(world.path("rows.csv")).unwrap();
            let all = |spec: &mut JobSpec| spec.sink.path = None;
            Box::pin(engine.resume("rows", &all, world.ear.clone(), Stop::new())).await.unwrap()
        } else {
            spec.source.limit = None;
            Box::pin(engine.run(&spec, &|_| true, world.ear.clone(), Stop::new())).await.unwrap()
        };
        assert_eq!(report.open, 0, "{report:?}");
        let states: Vec<_> = reader.status(None).unwrap().into_iter().map(|job| job.state).collect();
        assert_eq!(states, ["cancelled", "cancelled"], "{report:?}");
        assert_eq!(world.bill()["total_usd_nanos"].as_i64(), Some(report.spent.0), "{report:?}");
        for job in ["rows", "rows-embed"] {
            let found = reader.verify(job, &[]).unwrap();
            assert!(found.passed(), "{job}: {found:?}");
        }
    }
}

#[tokio::test]
async fn embeddings_that_are_out_come_in_where_the_source_is_gone() {
    // A batch takes 0.6 seconds.
    let world = World::new(SimConfig { speed: 1_000.0, ..SimConfig::default() }).await;
    let mut spec = spec(&world, 200, Lane::Batch);
    spec.run.canary = false;
    Box::pin(world.until("state", &spec, "batch in_progress", 1)).await;
    let source = std::fs::read(world.path("rows.csv")).unwrap();
    std::fs::remove_file(world.path("rows.csv")).unwrap();
    let resumed = world.engine();
    let report = Box::pin(resumed.resume("rows", &|_| (), world.ear.clone(), Stop::new())).await.unwrap();
    drop(resumed);
    assert_eq!((report.ending, report.succeeded), (Ending::Halted, 0), "{report:?}");
    let embeds = Reader::open(&world.path("state")).unwrap().status(Some("rows-embed")).unwrap();
    assert_eq!((embeds[0].succeeded, world.bill()["requests"].as_u64()), (200, Some(200)), "{embeds:?}");
    std::fs::write(world.path("rows.csv"), source).unwrap();
    let report = Box::pin(world.run(&spec)).await.unwrap();
    proved(&world, &report);
    assert_eq!(world.bill()["requests"].as_u64(), Some(400 - report.similar), "{report:?}");
}

#[tokio::test]
async fn a_job_that_was_cancelled_while_it_embedded_is_tried_again_with_its_vectors() {
    // A batch takes 0.6 seconds.
    let world = World::new(SimConfig { speed: 1_000.0, ..SimConfig::default() }).await;
    let mut spec = spec(&world, 200, Lane::Batch);
    spec.run.canary = false;
    Box::pin(world.until("state", &spec, "batch in_progress", 1)).await;
    Reader::open(&world.path("state")).unwrap().cancel("rows").unwrap();
    let report = Box::pin(world.run(&spec)).await.unwrap();
    assert_eq!((report.ending, report.cancelled), (Ending::Cancelled, 200), "{report:?}");
    let engine = world.engine();
    let report = Box::pin(engine.retry("rows", &|_| (), world.ear.clone(), Stop::new())).await.unwrap();
    drop(engine);
    proved(&world, &report);
    assert_eq!(report.embedding.as_ref().map(|of| of.vectors), Some(200), "{report:?}");
}

/// Of two jobs at work in one process one looks for batches that no row knows.
#[tokio::test]
async fn a_ghost_is_booked_once_where_two_jobs_are_at_work() {
    // A batch takes 0.6 seconds.
    let world = World::new(SimConfig { speed: 1_000.0, ..SimConfig::default() }).await;
    let mut spec = spec(&world, 300, Lane::Batch);
    (spec.run.canary, spec.run.keep_remote) = (false, true);
    spec.source.limit = Some(120);
    let first = until_it_asks(&world, &spec).await;
    assert_eq!((first.ending, first.batches_open), (Ending::Detached, 1), "{first:?}");
    copy(&world.path("state"), &world.path("backup"));
    spec.source.limit = Some(240);
    Box::pin(world.run(&spec)).await.unwrap();
    restore(&world, "backup");
    spec.source.limit = None;
    let held = Box::pin(world.run(&spec)).await.unwrap_err();
    assert_eq!((held.code(), held.exit_code()), ("embedding-halted", 6), "{held}");
    let reader = Reader::open(&world.path("state")).unwrap();
    let of_rows = reader.status(Some("rows")).unwrap();
    assert_eq!((of_rows[0].succeeded, of_rows[0].in_doubt), (120, UsdNanos::ZERO), "{of_rows:?}");
    let doubts = reader.doubts(None).unwrap();
    assert!(doubts.len() == 2 && doubts.iter().all(|line| line.state == "ghost"), "{doubts:?}");
    for job in reader.status(None).unwrap() {
        let found = reader.verify(&job.job, &[]).unwrap();
        assert!(found.passed(), "{}: {found:?}", job.name);
    }
}

/// Results expire: what an earlier run has left does not wait for embeddings of more rows.
#[tokio::test]
async fn batches_that_are_out_are_brought_in_while_more_is_embedded() {
    // A batch takes 0.6 seconds.
    let world = World::new(SimConfig { speed: 1_000.0, ..SimConfig::default() }).await;
    let mut spec = spec(&world, 300, Lane::Batch);
    spec.run.canary = false;
    spec.source.limit = Some(120);
    let first = until_it_asks(&world, &spec).await;
    assert_eq!((first.ending, first.succeeded, first.batches_open), (Ending::Detached, 0, 1), "{first:?}");
    spec.source.limit = None;
    let report = Box::pin(world.run(&spec)).await.unwrap();
    proved(&world, &report);
    assert_eq!(report.succeeded, 300, "{report:?}");
    let heard = world.ear.heard.lock().unwrap();
    let at = |line: &str| {
        heard.iter().position(|heard| heard == line).unwrap_or_else(|| panic!("{line}: {heard:?}"))
    };
    assert!(at("batch settled 120") < at("batch settled 180"), "{heard:?}");
    assert_eq!(heard.iter().filter(|line| *line == "batch settled 120").count(), 1, "{heard:?}");
}

/// What is out is paid for, whatever becomes of the embeddings.
#[tokio::test]
async fn batches_that_are_out_are_brought_in_where_the_embeddings_are_halted() {
    // A batch takes 0.6 seconds.
    let world = World::new(SimConfig { speed: 1_000.0, ..SimConfig::default() }).await;
    let (open, shut) =
        (World::new(fast()).await, World::new(SimConfig { api_key: Some("no".into()), ..fast() }).await);
    let mut spec = spec(&world, 300, Lane::Batch);
    spec.run.canary = false;
    spec.request.semantic.as_mut().unwrap().embed.as_mut().unwrap().model =
        "other/text-embedding-3-small".into();
    spec.source.limit = Some(120);
    let stop = Stop::new();
    let engine = Engine::open(with_other(&world, &open)).unwrap();
    let job = engine.plan(&spec, &*world.ear).await.unwrap().job;
    let ear = Arc::new(StopsWhenAsking(stop.clone(), job));
    let first = Box::pin(engine.run(&spec, &|_| true, ear, stop)).await.unwrap();
    assert_eq!((first.succeeded, first.batches_open), (0, 1), "{first:?}");
    drop(engine);
    spec.source.limit = None;
    let engine = Engine::open(with_other(&world, &shut)).unwrap();
    let halted = Box::pin(engine.run(&spec, &|_| true, world.ear.clone(), Stop::new())).await.unwrap_err();
    assert_eq!(halted.code(), "embedding-halted", "{halted}");
    let of_rows = Reader::open(&world.path("state")).unwrap().status(Some("rows")).unwrap();
    assert_eq!(of_rows[0].succeeded, 120, "{of_rows:?}");
    assert!(world.ear.heard("brought in before the job ends"), "{:?}", world.ear.heard.lock().unwrap());
}
