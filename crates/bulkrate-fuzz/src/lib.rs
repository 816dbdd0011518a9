//! FEEDS bytes that nobody wrote to everything that reads what others wrote, and checks what must hold whatever they say.
//!
//! Invariants
//! - A target is a plain function of bytes: it fails by panicking and touches neither network nor disk.
//! - What is found stays: an input below `regressions/` is tried again by every test run.
//!
//! `cargo xtask fuzz` drives the targets with libFuzzer, tests with seeded mutations of the same corpus.

#![allow(clippy::panic, reason = "a target fails by panicking")]

pub mod sources;
pub mod replies;
pub mod texts;
pub mod prices;
pub mod routers;
pub mod filters;

/// A named target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// What it reads.
    pub what: &'static str,
    pub run: fn(&[u8]),
}

/// All of them, in the order of the documentation.
pub const TARGETS: [Target; 14] = [
    Target { name: "jsonl", what: "JSON lines of a source, whole and in small pieces", run: sources::jsonl },
    Target { name: "csv", what: "CSV of a source, whole and in small pieces", run: sources::csv },
    Target {
        name: "unified",
        what: "unified requests, their canonical form and OpenAI's body",
        run: texts::unified,
    },
    Target {
        name: "provider_line",
        what: "bodies of lines of providers' batches, read as unified requests",
        run: texts::provider_line,
    },
    Target { name: "template", what: "templates and their rendering", run: texts::template },
    Target { name: "rules", what: "routing rules", run: texts::rules },
    Target { name: "job_file", what: "job files and `bulkrate.toml`", run: texts::job_file },
    Target { name: "batch_line", what: "lines of batch output files", run: replies::batch_line },
    Target { name: "reply", what: "bodies of replies to paid calls", run: replies::reply },
    Target { name: "headers", what: "rate-limit headers and waits", run: replies::headers },
    Target { name: "catalogue", what: "price tables and aliases", run: prices::catalogue },
    Target { name: "price_import", what: "foreign price lists", run: prices::import },
    Target { name: "router", what: "files of learned routers", run: routers::router },
    Target { name: "filter", what: "files of filters", run: filters::filter },
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
