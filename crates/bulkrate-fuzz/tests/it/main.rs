//! Every target on its corpus, on whatever was ever found, and on seeded mutations of both.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod mutate;

use std::path::Path;

use bulkrate_fuzz::{TARGETS, Target, target};

use self::mutate::Mutator;

/// Mutations of each target in one test run: the same ones each time.
const MUTATIONS: u64 = 2_000;

fn inputs(kind: &str, target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target.name);
    let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), std::fs::read(&path).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

/// Runs an input and says which it was when it fails.
fn feed(target: &Target, name: &str, bytes: &[u8]) {
    let run = target.run;
    if let Err(panic) = std::panic::catch_unwind(|| run(bytes)) {
        eprintln!("target `{}` fails on {name}: {:?}", target.name, String::from_utf8_lossy(bytes));
        std::panic::resume_unwind(panic);
    }
}

fn smoke(name: &str) {
    let target = target(name).unwrap();
    let corpus = inputs("corpus", &target);
    assert!(!corpus.is_empty(), "corpus/{name} has no input");
    let kept = inputs("regressions", &target);
    for (name, bytes) in corpus.iter().chain(&kept) {
        feed(&target, name, bytes);
    }
    let seeds: Vec<&[u8]> = corpus.iter().chain(&kept).map(|(_, bytes)| &bytes[..]).collect();
    let mut mutator = Mutator::new(name);
    for number in 0..MUTATIONS {
        let bytes = mutator.next(&seeds);
        feed(&target, &format!("mutation {number}"), &bytes);
    }
}

macro_rules! smoke {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { smoke(stringify!($name)); })*
        const SMOKED: &[&str] = &[$(stringify!($name)),*];
    };
}

smoke! { jsonl, csv, unified, provider_line, template, rules, job_file, batch_line, reply, headers, catalogue, price_import, router, filter }

#[test]
fn every_target_is_smoked() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, SMOKED);
}

#[test]
fn a_target_that_panics_fails() {
    let broken = Target { name: "broken", what: "", run: |bytes| assert!(bytes.len() < 3) };
    assert!(std::panic::catch_unwind(|| feed(&broken, "it", b"1234")).is_err());
}
