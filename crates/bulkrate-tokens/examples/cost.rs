//! What the tables cost in this process: `cargo run --release -p bulkrate-tokens --example cost`. Linux only.
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::time::Instant;

use bulkrate_core::tokens::{CountTokens as _, Encoding};
use bulkrate_tokens::Tables;

fn main() {
    println!("before: {}", resident());
    for encoding in [Encoding::O200kBase, Encoding::Cl100kBase] {
        let start = Instant::now();
        let first = Tables.count(encoding, "x");
        println!("{encoding}: first count ({first}) after {:.1?}, {}", start.elapsed(), resident());
    }
    let text = "The quick brown fox, No. 4711, jumps over the lazy dog's \u{201c}fence\u{201d} in 2026.\n"
        .repeat(100_000);
    for encoding in [Encoding::O200kBase, Encoding::Cl100kBase] {
        let start = Instant::now();
        let tokens = Tables.count(encoding, &text);
        println!("{encoding}: {tokens} tokens of {} bytes in {:.1?}", text.len(), start.elapsed());
    }
}

/// Resident memory now and at its peak, as the kernel tells it.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}
