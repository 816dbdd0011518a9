//! How a person ends a run: once to detach, twice to stop at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

use crate::EngineError;

/// A wish to stop, shared between the signal handler and the engine.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    inner: Arc<Inner>,
    /// A wish that is heard as well.
    whole: Option<Arc<Inner>>,
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

    /// The wish to stop a part of the work: whoever stops the whole stops it too.
    pub(crate) fn part(&self) -> Self {
        Self { inner: Arc::default(), whole: Some(Arc::clone(&self.inner)) }
    }

    #[must_use]
    pub fn is_detaching(&self) -> bool {
        self.level() >= 1
    }

    #[must_use]
    pub fn is_aborting(&self) -> bool {
        self.level() >= 2
    }

    /// Where nothing was sent yet, the first wish is the end.
    ///
    /// # Errors
    /// [`EngineError::Stopped`], once somebody wishes to stop.
    pub fn heed(&self) -> Result<(), EngineError> {
        if self.is_detaching() { Err(EngineError::Stopped) } else { Ok(()) }
    }

    fn level(&self) -> u8 {
        let level = |inner: &Arc<Inner>| inner.level.load(Ordering::SeqCst);
        level(&self.inner).max(self.whole.as_ref().map_or(0, level))
    }

    /// Waits for the next wish.
    pub async fn changed(&self) {
        let own = self.inner.changed.notified();
        let Some(whole) = &self.whole else { return own.await };
        tokio::select! {
            biased; // the same world does the same
            () = whole.changed.notified() => {}
            () = own => {}
        }
    }
}
