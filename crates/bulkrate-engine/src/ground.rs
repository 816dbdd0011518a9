//! What an engine stands on: its store and its clock. A real one has a state directory and the system's time; a simulated
//! world brings its own.

use std::fmt;
use std::sync::Arc;

use bulkrate_store::{SqliteStore, StoreError, View, Writer};

use crate::EngineError;
use crate::engine::patience::patiently;
use crate::run::clock::Clock;
pub use crate::run::clock::Pulse;
use crate::settings::Settings;

/// Opens another reading view of the store.
pub type Views = Arc<dyn Fn() -> Result<Box<dyn View>, StoreError> + Send + Sync>;

/// A store that was opened for work.
#[derive(Clone)]
pub struct Ground {
    pub writer: Writer,
    pub views: Views,
    /// Milliseconds since the epoch, now. From here on the runtime's clock moves it.
    pub unix_ms: u64,
    pub pulse: Pulse,
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground").field("unix_ms", &self.unix_ms).finish_non_exhaustive()
    }
}

impl Ground {
    /// The state directory, locked, and its writer's thread. `patient`: a lock that is held is waited for a while.
    pub(crate) fn open(settings: &Settings, inst: &str, patient: bool) -> Result<Self, EngineError> {
        let clock = Clock::start();
        let open = || SqliteStore::open(&settings.state_dir, inst, clock.row_ms());
        let store = if patient { patiently(open)? } else { open()? };
        let dir = settings.state_dir.clone();
        let views: Views = Arc::new(move || Ok(Box::new(SqliteStore::open_reader(&dir)?)));
        let writer = Writer::spawn(Box::new(store))?;
        Ok(Self { writer, views, unix_ms: clock.unix_ms(), pulse: Pulse::default() })
    }
}
