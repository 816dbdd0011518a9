//! The prompt cache: prefixes that were marked, and until when they are kept.

use crate::rng::hash;
use crate::tokens::Usage;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Shorter prefixes are passed over in silence.
const TOKENS_MIN: u64 = 1_024;
const PREFIXES_MAX: usize = 100_000;

/// A place in a prompt up to which it may be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Breakpoint {
    /// Of all that stands before it.
    pub(super) prefix: u64,
    pub(super) tokens: u64,
    pub(super) hour: bool,
}

/// What is kept, by model and prefix. Real time, as limits.
#[derive(Debug, Default)]
pub(crate) struct PromptCache {
    kept: Mutex<HashMap<u64, Instant>>,
}

impl PromptCache {
    /// The longest kept prefix is read; what is marked beyond it is written.
    pub(super) fn apply(&self, model: usize, breakpoints: &[Breakpoint], usage: &mut Usage) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut done = 0;
        let key = |point: &Breakpoint| hash(&point.prefix.to_le_bytes(), model as u64);
        let long = |point: &&Breakpoint| point.tokens >= TOKENS_MIN;
        for point in breakpoints.iter().filter(long) {
            if kept.get(&key(point)).is_some_and(|until| now < *until) {
                usage.cached = point.tokens;
                done = point.tokens;
            }
        }
        if kept.len() > PREFIXES_MAX {
            kept.clear();
        }
        for point in breakpoints.iter().filter(long) {
            let written = point.tokens.saturating_sub(done);
            *(if point.hour { &mut usage.written_1h } else { &mut usage.written_5m }) += written;
            done = done.max(point.tokens);
            let lasts = Duration::from_secs(if point.hour { 3_600 } else { 300 });
            kept.insert(key(point), now + lasts);
        }
    }
}
