//! The credentials that are held: whether they still do, and what a refusal says of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::chain::Keys;
use crate::http::limits::now_unix_s;

/// Credentials that end so soon are fetched anew.
const SPARE_S: i64 = 300;
/// Where nothing better was to be had, it is asked for again after so long, and what is held goes on.
pub(super) const AGAIN: Duration = Duration::from_secs(15);
/// For so long after a change, refusals may be of what was signed before it.
pub(super) const STRAGGLERS: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Held {
    keys: Arc<Keys>,
    /// When they were asked for last.
    asked: Instant,
    /// When they came in the place of others.
    changed: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// Those of which the provider said last that they have ended.
    over: Option<Arc<Keys>>,
}

/// What a chain holds.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<State>);

impl Kept {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn held(&self) -> Option<Arc<Keys>> {
        self.lock().held.as_ref().map(|held| Arc::clone(&held.keys))
    }

    /// Those that need not be asked for.
    pub(super) fn fresh(&self) -> Option<Arc<Keys>> {
        let state = self.lock();
        let is_fresh = |held: &&Held| held.holds(SPARE_S) || held.holds(0) && held.asked.elapsed() < AGAIN;
        state.held.as_ref().filter(is_fresh).map(|held| Arc::clone(&held.keys))
    }

    /// Those that have not ended, if only just.
    pub(super) fn valid(&self) -> Option<Arc<Keys>> {
        self.lock().held.as_ref().filter(|held| held.holds(0)).map(|held| Arc::clone(&held.keys))
    }

    /// Nobody gave others: those that are held, while they hold.
    pub(super) fn asked_in_vain(&self) -> Option<Arc<Keys>> {
        if let Some(held) = &mut self.lock().held {
            held.asked = Instant::now();
        }
        self.valid()
    }

    /// Holds what was given, unless it is known to have ended.
    pub(super) fn take_in(&self, keys: &Arc<Keys>) -> bool {
        let mut state = self.lock();
        if state.over.as_ref().is_some_and(|over| over.is(keys)) {
            return false;
        }
        let asked = Instant::now();
        let changed = match &state.held {
            Some(held) if held.keys.is(keys) => held.changed,
            Some(_) => Some(asked),
            None => state.over.as_ref().map(|_| asked),
        };
        state.held = Some(Held { keys: Arc::clone(keys), asked, changed });
        true
    }

    /// Forgets what has ended; not what has only just come in the place of others, which is what the refusal then speaks of.
    pub(super) fn ended(&self) {
        let mut state = self.lock();
        let is_late = |held: &Held| held.changed.is_some_and(|changed| changed.elapsed() < STRAGGLERS);
        if !state.held.as_ref().is_some_and(is_late)
            && let Some(held) = state.held.take()
        {
            state.over = Some(held.keys);
        }
    }

    /// As if so much time had passed.
    #[cfg(test)]
    pub(super) fn ages(&self, by: Duration) {
        if let Some(held) = &mut self.lock().held {
            let before = |at: Instant| at.checked_sub(by).unwrap_or(at);
            (held.asked, held.changed) = (before(held.asked), held.changed.map(before));
        }
    }
}

impl Held {
    fn holds(&self, spare_s: i64) -> bool {
        self.keys.ends_at.is_none_or(|at| at - spare_s > now_unix_s())
    }
}
