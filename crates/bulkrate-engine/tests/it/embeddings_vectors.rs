//! Vectors that a job has already: lost, of another age, of another model or of a job that was removed, they are never mixed and never paid twice.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::{Catalogue, ModelRow};
use bulkrate_engine::report::Ending;
use bulkrate_engine::settings::Settings;
use bulkrate_engine::spec::JobSpec;
use bulkrate_engine::{Engine, Reader, Stop};
use bulkrate_sim::SimConfig;

use crate::embeddings::{ROWS, proved, spec};
use crate::embeddings_out::until_it_asks;
use crate::world::{World, fast};

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
