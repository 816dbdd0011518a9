//! A semantic cache over embeddings: they are made before the run by a job of their own, paid once whatever happens, and their cost is told.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::{Catalogue, ModelRow};
use bulkrate_engine::event::{BatchLine, Event, Observer};
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::settings::{Account, Settings};
use bulkrate_engine::spec::{EmbedSpec, JobSpec, SemanticSpec, SinkSpec};
use bulkrate_engine::{Engine, Reader, Stop};
use bulkrate_sim::SimConfig;

use crate::ghosts::{copy, restore};
use crate::world::{World, fast};

const ROWS: usize = 500;

/// Messages about three things, each in many wordings; the simulator answers by the thing's name.
fn spec(world: &World, rows: usize, lane: Lane) -> JobSpec {
    const ASKED: [&str; 4] = [
        "my {} was charged twice, please look into it",
        "please tell me when the {} arrives at my house",
        "the {} is broken and I would like another",
        "somebody else uses my {} without asking me",
    ];
    const WORDS: [&str; 7] = ["", "hello, ", "sorry, ", "again: ", "well, ", "urgent: ", "hi there, "];
    const ENDS: [&str; 8] = ["", ".", "!", " thanks", " bye", " ok", " really", " soon"];
    let mut csv = String::from("id,text\n");
    for row in 0..rows {
        let thing = ["card", "parcel", "account"][row % 3];
        let text = ASKED[row / 3 % 4].replace("{}", thing);
        csv.push_str(&format!("m{row},\"{}{text}{}\"\n", WORDS[row / 12 % 7], ENDS[row / 84 % 8]));
    }
    std::fs::write(world.path("rows.csv"), csv).unwrap();
    let mut spec = world.spec(&world.path("rows.csv"), lane);
    spec.name = "rows".into();
    spec.request.user = Some("{{ text }}".into());
    spec.request.choices = vec!["card".into(), "parcel".into(), "account".into()];
    spec.request.semantic = Some(SemanticSpec {
        error_permille: 50,
        embed: Some(EmbedSpec { model: "openai/text-embedding-3-small".into(), dimensions: Some(256) }),
    });
    spec.run.concurrency_max = 1;
    spec.run.budget = Some(UsdNanos::dollars(1));
    spec
}

/// The bill is what the report says, both jobs are whole, and naive less savings is spend.
#[track_caller]
fn proved(world: &World, report: &Report) {
    let heard = world.ear.heard.lock().unwrap().clone();
    assert_eq!((report.ending, report.open, report.failed), (Ending::Finished, 0, 0), "{report:?} {heard:?}");
    assert_eq!(world.bill()["total_usd_nanos"].as_i64(), Some(report.spent.0), "{report:?}");
    let saved: UsdNanos = report.saved.values().copied().sum();
    assert_eq!(report.naive - saved, report.spent, "{report:?}");
    let reader = Reader::open(&world.path("state")).unwrap();
    for job in reader.status(None).unwrap() {
        let found = reader.verify(&job.job, &[]).unwrap();
        assert!(found.passed(), "{}: {found:?}", job.name);
    }
    let savings = reader.savings("rows").unwrap();
    let of = report.embedding.as_ref().unwrap();
    let step = savings.steps.iter().find(|step| step.lever == "embedding").unwrap();
    assert_eq!((step.saved.0, savings.spent), (-of.spent.0, report.spent), "{savings:?}");
    assert_eq!(savings.steps.last().unwrap().cost, savings.spent, "{savings:?}");
}

#[tokio::test]
async fn embeddings_come_first_and_similar_rows_share_an_answer() {
    let world = World::new(fast()).await;
    let spec = spec(&world, ROWS, Lane::Sync);
    let engine = world.engine();
    let plan = engine.plan(&spec, &*world.ear).await.unwrap();
    let of = plan.embedding.clone().unwrap();
    assert_eq!((of.requests, of.lane, of.spent), (ROWS as u64, Lane::Sync, UsdNanos::ZERO), "{of:?}");
    assert!(of.pays_from_permille.is_some_and(|permille| (1..300).contains(&permille)), "{of:?}");
    assert!(plan.price().0 > of.expected && world.bill()["requests"] == 0);
    assert_eq!(
        std::fs::read_dir(world.path("state").join("jobs")).unwrap().count(),
        0,
        "a plan leaves nothing"
    );
    drop(engine);
    let report = Box::pin(world.run(&spec)).await.unwrap();
    proved(&world, &report);
    let embedded = report.embedding.clone().unwrap();
    assert_eq!((embedded.texts, embedded.vectors), (ROWS as u64, ROWS as u64));
    assert!(embedded.spent > UsdNanos::ZERO && embedded.spent <= of.p95, "{embedded:?} {of:?}");
    assert!(report.similar > 60 && report.requests_sent + report.similar == ROWS as u64, "{report:?}");
    for row in world.rows() {
        let text = row["text"].as_str().unwrap();
        assert!(text.contains(row["answer"].as_str().unwrap()), "{row}");
    }
    // All of it again asks for nothing.
    let asked = world.bill()["requests"].clone();
    let unwritten = JobSpec { sink: SinkSpec::default(), ..spec.clone() };
    let again = Box::pin(world.run(&unwritten)).await.unwrap();
    assert_eq!((&again.spent, &world.bill()["requests"]), (&report.spent, &asked));
    // Another job of the same texts has its vectors from the first.
    let mut other = spec.clone();
    other.request.semantic.as_mut().unwrap().error_permille = 20;
    other.sink.path = Some(world.path("other.jsonl"));
    let report = Box::pin(world.run(&other)).await.unwrap();
    let embedded = report.embedding.clone().unwrap();
    assert_eq!(
        (embedded.vectors, embedded.spent),
        (ROWS as u64 - report.cached, UsdNanos::ZERO),
        "{report:?}"
    );
    assert!(report.cached < ROWS as u64 && report.saved.contains_key("semantic"), "{report:?}");
}

#[tokio::test]
async fn a_run_that_stops_while_it_embeds_goes_on_and_no_text_is_paid_twice() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(SimConfig { latency_ms: 2.0, ..fast() }).await;
        let mut spec = spec(&world, 200, lane);
        spec.run.concurrency_max = 5;
        let part = if lane == Lane::Sync { "note embedding" } else { "batch" };
        let first = Box::pin(world.until("state", &spec, part, 1)).await;
        assert_eq!((first.ending, first.succeeded), (Ending::Detached, 0), "{lane}: {first:?}");
        assert!(first.embedding.as_ref().is_some_and(|of| of.left), "{lane}: {first:?}");
        assert!(world.bill()["requests"].as_u64() < Some(200), "{lane}");
        let report = Box::pin(world.run(&spec)).await.unwrap();
        proved(&world, &report);
        assert_eq!(report.embedding.as_ref().map(|of| of.vectors), Some(200), "{lane}: {report:?}");
        let requests = world.bill()["requests"].as_u64();
        assert_eq!(requests, Some(200 + 200 - report.similar), "{lane}: {report:?}");
    }
}

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
async fn until_it_asks(world: &World, spec: &JobSpec) -> Report {
    let stop = Stop::new();
    let job = world.engine().plan(spec, &*world.ear).await.unwrap().job;
    let ear = Arc::new(StopsWhenAsking(stop.clone(), job));
    Box::pin(world.engine().run(spec, &|_| true, ear, stop)).await.unwrap()
}

#[tokio::test]
async fn vectors_that_are_lost_are_had_again_for_nothing() {
    let world = World::new(SimConfig { latency_ms: 1.0, ..fast() }).await;
    let spec = spec(&world, ROWS, Lane::Sync);
    let first = until_it_asks(&world, &spec).await;
    assert!(first.ending == Ending::Detached && first.succeeded < ROWS as u64, "{first:?}");
    let jobs = std::fs::read_dir(world.path("state").join("jobs")).unwrap();
    let vectors: Vec<_> =
        jobs.map(|job| job.unwrap().path().join("vectors")).filter(|path| path.exists()).collect();
    assert_eq!(vectors.len(), 1, "the run was stopped behind them");
    let bytes = std::fs::read(&vectors[0]).unwrap();
    std::fs::remove_file(&vectors[0]).unwrap();
    let report = Box::pin(world.run(&spec)).await.unwrap();
    proved(&world, &report);
    assert_eq!(world.bill()["requests"].as_u64(), Some((2 * ROWS) as u64 - report.similar), "{report:?}");
    let of = report.embedding.as_ref().unwrap();
    assert_eq!((of.texts, of.vectors), (ROWS as u64, ROWS as u64), "{report:?}");
    assert!(std::fs::read(&vectors[0]).unwrap() == bytes, "the same vectors in the same order");
}

/// A file of the job's folder.
fn of_rows(world: &World, file: &str) -> PathBuf {
    let job = Reader::open(&world.path("state")).unwrap().find("rows").unwrap().id;
    world.path("state").join("jobs").join(job).join(file)
}

/// Whatever a crash leaves of the two files, or a backup that holds one of them from before.
#[tokio::test]
async fn vectors_and_what_is_known_of_their_jobs_may_be_of_different_ages() {
    for newer in ["vectors", "embed.json"] {
        let world = World::new(SimConfig { latency_ms: 2.0, ..fast() }).await;
        let mut spec = spec(&world, 300, Lane::Sync);
        spec.source.limit = Some(120);
        Box::pin(world.until("state", &spec, "note embedding", 1)).await;
        let begun = std::fs::read(of_rows(&world, "embed.json")).unwrap();
        Box::pin(world.run(&spec)).await.unwrap();
        let vectors = std::fs::read(of_rows(&world, "vectors")).unwrap();
        if newer == "vectors" {
            std::fs::write(of_rows(&world, "embed.json"), begun).unwrap();
        } else {
            spec.source.limit = Some(200);
            assert_eq!(until_it_asks(&world, &spec).await.ending, Ending::Detached);
            std::fs::write(of_rows(&world, "vectors"), vectors).unwrap();
        }
        spec.source.limit = None;
        let report = Box::pin(world.run(&spec)).await.unwrap();
        proved(&world, &report);
        let of = report.embedding.as_ref().unwrap();
        assert!(of.texts == of.vectors && of.texts > 200, "{newer}: {report:?}");
        assert_eq!(world.bill()["requests"].as_u64(), Some(600 - report.similar), "{newer}: {report:?}");
    }
}

/// Keeps what each job was told that it may spend.
#[derive(Debug, Default)]
struct HearsBudgets(Mutex<Vec<(String, Option<UsdNanos>)>>);

impl Observer for HearsBudgets {
    fn event(&self, event: &Event<'_>) {
        if let Event::Progress { progress } = event {
            self.0.lock().unwrap().push((progress.job.clone(), progress.budget));
        }
    }
}

#[tokio::test]
async fn a_budget_holds_embeddings_and_answers_together() {
    let world = World::new(fast()).await;
    let mut spec = spec(&world, ROWS, Lane::Sync);
    let plan = world.engine().plan(&spec, &*world.ear).await.unwrap();
    let of = plan.embedding.clone().unwrap();
    spec.run.budget = Some(UsdNanos(plan.price().1.0 - of.p95.0 / 2));
    let refused = Box::pin(world.run(&spec)).await.unwrap_err();
    assert_eq!(refused.code(), "budget-too-small", "{refused}");
    assert_eq!(world.bill()["requests"], 0);
    assert!(
        Reader::open(&world.path("state")).unwrap().status(None).unwrap().is_empty(),
        "it leaves nothing"
    );
    spec.run.budget = Some(plan.price().1);
    let ear = Arc::new(HearsBudgets::default());
    let report = Box::pin(world.engine().run(&spec, &|_| true, ear.clone(), Stop::new())).await.unwrap();
    proved(&world, &report);
    // The answers have what the embeddings have left of it.
    let left = Some(plan.price().1 - report.embedding.as_ref().unwrap().spent);
    let told = ear.0.lock().unwrap();
    let told: Vec<_> = told.iter().filter(|(job, _)| *job == report.job).map(|(_, budget)| *budget).collect();
    assert!(!told.is_empty() && told.iter().all(|budget| *budget == left), "{left:?} {told:?}");
    assert!(report.spent <= plan.price().1);
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

#[tokio::test]
async fn a_row_whose_embedding_failed_is_asked() {
    // The embeddings come from another account, where some lines of a batch fail.
    let (world, other) =
        (World::new(fast()).await, World::new(fast().with_fault("line-errors=400@5-24").unwrap()).await);
    let mut spec = spec(&world, 300, Lane::Batch);
    spec.run.canary = false;
    spec.run.batch_items_max = 300;
    spec.request.semantic.as_mut().unwrap().embed.as_mut().unwrap().model =
        "other/text-embedding-3-small".into();
    let engine = Engine::open(with_other(&world, &other)).unwrap();
    let plan = engine.plan(&spec, &*world.ear).await.unwrap();
    assert!(plan.warnings.iter().any(|told| told.contains("nothing can be served")), "{:?}", plan.warnings);
    let run = engine.run(&spec, &|_| true, world.ear.clone(), Stop::new());
    let report = Box::pin(run).await.unwrap();
    assert_eq!((report.succeeded, report.failed), (300, 0), "{report:?}");
    let bills = [&world, &other].map(|world| world.bill()["total_usd_nanos"].as_i64().unwrap());
    assert_eq!(bills.iter().sum::<i64>(), report.spent.0, "{report:?}");
    let of = report.embedding.as_ref().unwrap();
    assert_eq!((of.texts, of.vectors), (300, 280), "{report:?}");
    assert!(world.ear.heard("20 of 300 texts have no vector"), "{:?}", world.ear.heard.lock().unwrap());
}

#[tokio::test]
async fn a_larger_limit_embeds_what_is_new() {
    let world = World::new(fast()).await;
    let mut spec = spec(&world, 300, Lane::Sync);
    spec.source.limit = Some(120);
    let report = Box::pin(world.run(&spec)).await.unwrap();
    assert_eq!(report.embedding.as_ref().map(|of| (of.texts, of.vectors)), Some((120, 120)), "{report:?}");
    spec.source.limit = None;
    let report = Box::pin(world.run(&spec)).await.unwrap();
    assert_eq!(report.embedding.as_ref().map(|of| (of.texts, of.vectors)), Some((300, 300)), "{report:?}");
    assert_eq!(world.bill()["total_usd_nanos"].as_i64(), Some(report.spent.0), "{report:?}");
    assert_eq!(world.bill()["requests"].as_u64(), Some(600 - report.similar), "{report:?}");
}

#[tokio::test]
async fn a_model_that_does_not_embed_is_refused_before_anything_is_sent() {
    let world = World::new(fast()).await;
    for (model, code) in
        [("openai/gpt-6-luna", "option-invalid"), ("openai/text-embedding-9", "unknown-model")]
    {
        let mut spec = spec(&world, 20, Lane::Sync);
        spec.request.semantic.as_mut().unwrap().embed.as_mut().unwrap().model = model.into();
        let refused = Box::pin(world.run(&spec)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(Reader::open(&world.path("state")).unwrap().status(None).unwrap().is_empty(), "{model}");
    }
    assert_eq!(world.bill()["requests"], 0);
}

#[tokio::test]
async fn a_model_that_embeds_no_text_stops_the_job_before_it_asks() {
    let world = World::new(fast()).await;
    let mut spec = spec(&world, 20, Lane::Sync);
    // It has one size alone.
    spec.request.semantic.as_mut().unwrap().embed.as_mut().unwrap().model =
        "openai/text-embedding-ada-002".into();
    for _ in 0..2 {
        let stopped = Box::pin(world.run(&spec)).await.unwrap_err();
        assert_eq!((stopped.code(), stopped.exit_code()), ("embedding-halted", 5), "{stopped}");
        assert!(stopped.to_string().contains("none of its 20 texts has a vector"), "{stopped}");
        let job = Reader::open(&world.path("state")).unwrap().find("rows").unwrap().id;
        let retry = format!("`bulkrate retry {job}` asks for them again");
        assert!(stopped.hint().is_some_and(|hint| hint.contains(&retry)), "{stopped:?}");
    }
    let of_rows = Reader::open(&world.path("state")).unwrap().status(Some("rows")).unwrap();
    assert_eq!((of_rows[0].succeeded, world.bill()["total_usd_nanos"].as_i64()), (0, Some(0)));
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

/// The embeddings come from an account of their own.
fn with_other(world: &World, other: &World) -> Settings {
    let mut settings = world.settings();
    let there = other.settings().accounts.remove(0);
    settings.accounts.push(Account {
        provider: "other".into(),
        serves: Some("openai".into()),
        id: "b".into(),
        ..there
    });
    settings
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

#[tokio::test]
async fn a_job_that_embeds_is_prepared_once_and_a_plan_changes_nothing_of_it() {
    let world = World::new(SimConfig { latency_ms: 2.0, ..fast() }).await;
    let mut spec = spec(&world, 200, Lane::Sync);
    let first = Box::pin(world.until("state", &spec, "note embedding", 1)).await;
    assert_eq!(first.ending, Ending::Detached, "{first:?}");
    let stored = || {
        let reader = Reader::open(&world.path("state")).unwrap();
        ["rows", "rows-embed"].map(|job| reader.find(job).unwrap())
    };
    let [rows, embed] = stored();
    assert_eq!(embed.no, rows.no + 1, "its texts were read once");
    let budget = |row: &str| serde_json::from_str::<serde_json::Value>(row).unwrap()["run"]["budget"].clone();
    assert_eq!((budget(&rows.spec), budget(&embed.spec)), (1_000_000_000.into(), 1_000_000_000.into()));
    spec.run.budget = Some(UsdNanos::dollars(2));
    world.engine().plan(&spec, &*world.ear).await.unwrap();
    let [rows_now, embed_now] = stored();
    assert_eq!((rows_now.spec, embed_now.spec), (rows.spec, embed.spec), "a plan changes nothing");
}

#[tokio::test]
async fn what_more_embeddings_would_cost_is_admitted_where_answers_tell_the_rest() {
    let world = World::new(fast()).await;
    let mut spec = spec(&world, ROWS, Lane::Sync);
    spec.source.limit = Some(120);
    let first = Box::pin(world.run(&spec)).await.unwrap();
    assert!(first.forecast.is_some(), "{first:?}");
    let asked = world.bill()["requests"].clone();
    spec.source.limit = None;
    let of = world.engine().plan(&spec, &*world.ear).await.unwrap().embedding.unwrap();
    assert_eq!(of.requests, ROWS as u64 - 120);
    spec.run.budget = Some(first.spent + UsdNanos(of.p95.0 / 2));
    let refused = Box::pin(world.run(&spec)).await.unwrap_err();
    assert_eq!(refused.code(), "budget-too-small", "{refused}");
    assert!(refused.to_string().contains("its embeddings"), "{refused}");
    assert_eq!(world.bill()["requests"], asked, "nothing was sent");
    spec.run.budget = Some(UsdNanos::dollars(1));
    let report = Box::pin(world.run(&spec)).await.unwrap();
    proved(&world, &report);
}

#[tokio::test]
async fn what_a_killed_and_removed_job_has_embedded_counts_on() {
    let world = World::new(SimConfig { latency_ms: 2.0, ..fast() }).await;
    let spec = spec(&world, 200, Lane::Sync);
    let engine = world.engine();
    let spent = || Reader::open(&world.path("state")).unwrap().status(Some("rows-embed")).unwrap()[0].spent;
    let killed = async {
        while !world.ear.heard("note embedding") || spent() == UsdNanos::ZERO {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = Box::pin(engine.run(&spec, &|_| true, world.ear.clone(), Stop::new())) => panic!("it was not killed"),
        () = killed => {}
    }
    drop(engine);
    let before = spent();
    Reader::remove(&world.path("state"), "rows-embed").unwrap();
    let report = Box::pin(world.run(&spec)).await.unwrap();
    let embedded = report.embedding.as_ref().unwrap();
    assert_eq!((embedded.vectors, embedded.spent), (200, before + spent()), "{report:?}");
    let saved: UsdNanos = report.saved.values().copied().sum();
    assert_eq!(report.naive - saved, report.spent, "{report:?}");
}

/// The settings in which the user's word for a model means this one.
fn meaning(world: &World, model: &str) -> Settings {
    let catalogue = Catalogue::bundled().with_aliases(&format!("vec = \"{model}\"")).unwrap();
    Settings { catalogue: Arc::new(catalogue), ..world.settings() }
}

#[tokio::test]
async fn vectors_of_two_models_are_never_compared() {
    const SMALL: &str = "openai/text-embedding-3-small";
    let world = World::new(fast()).await;
    let mut spec = spec(&world, 300, Lane::Sync);
    spec.request.semantic.as_mut().unwrap().embed.as_mut().unwrap().model = "vec".into();
    spec.source.limit = Some(120);
    let run = |model: &'static str, spec: JobSpec| {
        let engine = Engine::open(meaning(&world, model)).unwrap();
        let ear = world.ear.clone();
        async move { Box::pin(engine.run(&spec, &|_| true, ear, Stop::new())).await }
    };
    let report = run(SMALL, spec.clone()).await.unwrap();
    assert_eq!(report.embedding.as_ref().unwrap().model, SMALL);
    // The word means another model now: the one that was begun with goes on.
    spec.source.limit = Some(200);
    let report = run("openai/text-embedding-3-large", spec.clone()).await.unwrap();
    let of = report.embedding.as_ref().unwrap();
    assert_eq!((&*of.model, of.texts, of.vectors), (SMALL, 200, 200), "{report:?}");
    let models = world.bill()["by_model"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(!models.iter().any(|model| model.contains("large")), "{models:?}");
    // The name is served by another snapshot now: its numbers are left out, and its rows are asked.
    let (vectors, name) = (of_rows(&world, "vectors"), b"text-embedding-3-small");
    let mut bytes = std::fs::read(&vectors).unwrap();
    let at = bytes.windows(name.len()).position(|part| part == name).unwrap();
    bytes[at..at + name.len()].copy_from_slice(b"text-embedding-2-small");
    std::fs::write(&vectors, bytes).unwrap();
    spec.source.limit = None;
    let report = run(SMALL, spec.clone()).await.unwrap();
    proved(&world, &report);
    assert_eq!(report.embedding.as_ref().map(|of| (of.texts, of.vectors)), Some((300, 200)), "{report:?}");
    assert!(world.ear.heard("alert embeddings-mixed: 100 texts"), "{:?}", world.ear.heard.lock().unwrap());
}

#[tokio::test]
async fn a_model_that_has_embedded_nothing_may_be_another_now() {
    const SMALL: &str = "openai/text-embedding-3-small";
    let world = World::new(fast()).await;
    let mut spec = spec(&world, 300, Lane::Sync);
    spec.request.semantic.as_mut().unwrap().embed.as_mut().unwrap().model = "vec".into();
    spec.source.limit = Some(120);
    // It has one size alone.
    let engine = Engine::open(meaning(&world, "openai/text-embedding-ada-002")).unwrap();
    let stopped = Box::pin(engine.run(&spec, &|_| true, world.ear.clone(), Stop::new())).await.unwrap_err();
    assert_eq!(stopped.code(), "embedding-halted", "{stopped}");
    drop(engine);
    spec.source.limit = Some(200);
    let engine = Engine::open(meaning(&world, SMALL)).unwrap();
    let report = Box::pin(engine.run(&spec, &|_| true, world.ear.clone(), Stop::new())).await.unwrap();
    let of = report.embedding.as_ref().unwrap();
    assert_eq!((&*of.model, of.texts, of.vectors), (SMALL, 200, 200), "{report:?}");
}

#[tokio::test]
async fn a_model_that_is_gone_makes_no_more_vectors_and_no_other_does() {
    let world = World::new(fast()).await;
    let mut spec = spec(&world, 200, Lane::Sync);
    spec.source.limit = Some(120);
    Box::pin(world.run(&spec)).await.unwrap();
    let asked = world.bill()["requests"].clone();
    spec.source.limit = None;
    let gone = Catalogue::bundled().rows().iter().find(|row| row.id == "text-embedding-3-small").cloned();
    let gone = ModelRow { retirement: Some("2020-01-01".parse().unwrap()), ..gone.unwrap() };
    let catalogue = Arc::new(Catalogue::bundled().with_overrides(vec![gone]));
    let engine = Engine::open(Settings { catalogue, ..world.settings() }).unwrap();
    let refused = Box::pin(engine.run(&spec, &|_| true, world.ear.clone(), Stop::new())).await.unwrap_err();
    assert_eq!(refused.code(), "retired-model", "{refused}");
    assert!(refused.to_string().contains("has made the vectors that this job has"), "{refused}");
    assert_eq!(world.bill()["requests"], asked, "nothing was sent");
}
