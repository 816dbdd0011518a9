//! One libFuzzer program for all targets: `BULKRATE_FUZZ_TARGET` names the one that it feeds.
#![no_main]

use std::sync::OnceLock;

use bulkrate_fuzz::{TARGETS, Target, target};
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// The target that the environment names; without one there is nothing to do.
fn chosen() -> Target {
    let name = std::env::var("BULKRATE_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("BULKRATE_FUZZ_TARGET is `{name}`; targets are {}", known.join(", "));
        std::process::exit(2)
    })
}

fuzz_target!(|bytes: &[u8]| {
    (CHOSEN.get_or_init(chosen).run)(bytes);
});
