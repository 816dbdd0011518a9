//! How a person ends a run: once to detach, twice to stop at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// A wish to stop, shared between the signal handler and the engine.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    level: AtomicU8,
    changed: Notify,
}

impl Stop {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No new calls; calls in flight may end; batches go on at the provider.
    pub fn detach(&self) {
        self.raise(1);
    }

    /// Stop now: what is in flight becomes doubt.
    pub fn abort(&self) {
        self.raise(2);
    }

    fn raise(&self, level: u8) {
        self.inner.level.fetch_max(level, Ordering::SeqCst);
        self.inner.changed.notify_waiters();
    }

    #[must_use]
    pub fn is_detaching(&self) -> bool {
        self.inner.level.load(Ordering::SeqCst) >= 1
    }

    #[must_use]
    pub fn is_aborting(&self) -> bool {
        self.inner.level.load(Ordering::SeqCst) >= 2
    }

    /// Waits for the next wish.
    pub async fn changed(&self) {
        self.inner.changed.notified().await;
    }
}
