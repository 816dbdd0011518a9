//! The prompt cache: prefixes that were marked, from when they can be read, and until when they are kept.

use crate::rng::hash;
use crate::tokens::Usage;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const PREFIXES_MAX: usize = 100_000;

/// A place in a prompt up to which it may be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Breakpoint {
    /// Of all that stands before it.
    pub(super) prefix: u64,
    pub(super) tokens: u64,
    pub(super) hour: bool,
}

/// A prompt that comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lookup {
    pub(super) model: usize,
    /// Shorter prefixes are passed over in silence.
    pub(super) least: u64,
    /// What is kept is found: that is the best effort, and no promise.
    pub(super) found: bool,
    /// Until its answer begins: only then can others read what it writes.
    pub(super) wait: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    from: Instant,
    until: Instant,
}

/// What is kept, by model and prefix. Real time, as limits.
#[derive(Debug, Default)]
pub(crate) struct PromptCache {
    kept: Mutex<HashMap<u64, Kept>>,
}

impl PromptCache {
    /// The longest kept prefix is read; what is marked beyond it is written.
    pub(super) fn apply(&self, prompt: &Lookup, breakpoints: &[Breakpoint], usage: &mut Usage) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut done = 0;
        let key = |point: &Breakpoint| hash(&point.prefix.to_le_bytes(), prompt.model as u64);
        let long = |point: &&Breakpoint| point.tokens >= prompt.least;
        for point in breakpoints.iter().filter(long).filter(|_| prompt.found) {
            if kept.get(&key(point)).is_some_and(|kept| (kept.from..kept.until).contains(&now)) {
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
            let begins = now + prompt.wait;
            let known = kept.get(&key(point)).filter(|kept| now < kept.until);
            let from = known.map_or(begins, |kept| kept.from.min(begins));
            kept.insert(key(point), Kept { from, until: begins + lasts });
        }
    }
}
