//! The prompt cache: prefixes that were marked, from when they can be read, and until when they are kept.

use super::{Context, Prepared};
use crate::rng::{hash, mix, unit};
use crate::tokens::{self, Usage};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const PREFIXES_MAX: usize = 100_000;

/// A place in a prompt up to which it may be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Breakpoint {
    /// Of all that stands before it.
    prefix: u64,
    tokens: u64,
    pub(super) hour: bool,
}

/// A prompt as it grows, and the marks set in it.
#[derive(Default)]
pub(super) struct Prefix {
    hash: u64,
    bytes: u64,
    pub(super) messages: u64,
    pub(super) points: Vec<Breakpoint>,
}

impl Prefix {
    pub(super) fn push(&mut self, text: &str) {
        self.push_free(text);
        self.bytes += text.len() as u64;
    }

    /// What is no part of the prompt's tokens.
    pub(super) fn push_free(&mut self, text: &str) {
        self.hash = hash(text.as_bytes(), self.hash);
    }

    pub(super) fn mark(&mut self, hour: bool) {
        let tokens = tokens::prompt(self.bytes, self.messages);
        self.points.push(Breakpoint { prefix: self.hash, tokens, hour });
    }
}

/// A prompt that comes.
#[derive(Debug, Clone, Copy)]
struct Lookup {
    model: usize,
    /// Shorter prefixes are passed over in silence.
    least: u64,
    /// What is kept is found: that is the best effort, and no promise.
    found: bool,
    /// Until its answer begins: only then can others read what it writes.
    wait: Duration,
}

/// What of a prompt is read and written where only what is marked is kept, from `least` tokens on.
pub(super) fn touch(
    prepared: &Prepared<'_>,
    context: &Context<'_>,
    least: u64,
    points: &[Breakpoint],
    usage: &mut Usage,
) {
    usage.cached = 0; // nothing is cached unless it is asked for
    let found = unit(mix(context.key ^ 0x3A8C_00ED)) < context.config.marked_hits;
    let prompt = Lookup { model: prepared.model.index, least, found, wait: context.wait };
    context.prompt_cache.apply(&prompt, points, usage);
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
    fn apply(&self, prompt: &Lookup, breakpoints: &[Breakpoint], usage: &mut Usage) {
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
