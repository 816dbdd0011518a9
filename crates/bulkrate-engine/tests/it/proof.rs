//! What `verify` sees of a job that has run: it passes, and names the file that somebody has edited since.

use std::fs;
use std::path::{Path, PathBuf};

use bulkrate_core::lane::Lane;
use bulkrate_engine::Reader;
use bulkrate_engine::report::Report;
use bulkrate_engine::view::Check;

use crate::world::{World, fast};

fn failing(world: &World, report: &Report) -> Vec<Check> {
    let proofs = Reader::open(&world.path("state")).unwrap().verify(&report.job, &[]).unwrap();
    proofs.checks.into_iter().filter(|check| !check.passed).collect()
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// The stored answers of the one batch.
fn output(world: &World, report: &Report) -> PathBuf {
    let batches = world.path("state").join("jobs").join(&report.job).join("batches");
    let batch = fs::read_dir(batches).unwrap().next().unwrap().unwrap().path();
    batch.join("output.jsonl")
}

#[tokio::test]
async fn an_edit_of_stored_answers_or_of_the_delivered_file_fails_verify_by_name() {
    let world = World::new(fast()).await;
    let mut spec = world.spec(&world.reviews(30), Lane::Batch);
    spec.run.canary = false;
    let report = world.run(&spec).await.unwrap();
    assert_eq!(failing(&world, &report), []);
    let (stored, delivered) = (output(&world, &report), world.path("out.jsonl"));
    for (path, check, named) in [
        (&stored, "files match digests", "output.jsonl of "),
        (&delivered, "delivered file is as written", "out.jsonl"),
    ] {
        let kept = fs::read(path).unwrap();
        edit(path, "positive", "negative");
        let found = failing(&world, &report);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].name == check && found[0].detail.contains(named), "{found:?}");
        fs::write(path, kept).unwrap();
        assert_eq!(failing(&world, &report), []);
    }
    fs::remove_file(&delivered).unwrap();
    assert_eq!(failing(&world, &report), [], "a file that was moved away is no fault of the ledger");
}

#[tokio::test]
async fn a_file_that_a_later_run_has_written_anew_is_the_one_that_counts() {
    for stream in [false, true] {
        let world = World::new(fast()).await;
        let mut spec = world.spec(&world.reviews(30), Lane::Sync);
        spec.sink.stream = stream;
        spec.source.limit = Some(10);
        let first = world.run(&spec).await.unwrap();
        assert_eq!(failing(&world, &first), [], "{stream}");
        spec.source.limit = None;
        let second = world.run(&spec).await.unwrap();
        assert_eq!((failing(&world, &second), world.rows().len()), (Vec::new(), 30), "{stream}");
        edit(&world.path("out.jsonl"), "negative", "positive");
        assert_eq!(failing(&world, &second).len(), 1, "{stream}");
    }
}
