//! A state folder whose lock is held by a process that was killed and has not ended yet.
//!
//! The system releases the lock when the last thread is gone, and a thread in the middle of a sync to a slow disk goes late. Whoever
//! kills a run and starts it again at once should not be told that it is still at work.

use std::time::Duration;

use bulkrate_store::StoreError;

const TRIES_MAX: u32 = 30;
const PAUSE: Duration = Duration::from_millis(100);

/// Opens a store, and tries again for some three seconds while another process holds its lock.
pub(crate) fn patiently<T>(open: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    with_pauses(open, || std::thread::sleep(PAUSE))
}

fn with_pauses<T>(
    mut open: impl FnMut() -> Result<T, StoreError>,
    mut pause: impl FnMut(),
) -> Result<T, StoreError> {
    for _ in 1..TRIES_MAX {
        match open() {
            Err(StoreError::Locked { .. }) => pause(),
            other => return other,
        }
    }
    open()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_store::SqliteStore;

    #[test]
    fn a_lock_that_is_let_go_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let mut holder = Some(SqliteStore::open(dir.path(), "first", 0).unwrap());
        let mut pauses = 0;
        let open = || SqliteStore::open(dir.path(), "second", 1);
        let opened = with_pauses(open, || {
            pauses += 1;
            if pauses == 3 {
                drop(holder.take());
            }
        });
        assert!(opened.is_ok(), "{opened:?}");
        assert_eq!(pauses, 3);
    }

    #[test]
    fn a_lock_that_is_kept_is_told_and_other_errors_are_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let _holder = SqliteStore::open(dir.path(), "first", 0).unwrap();
        let mut pauses = 0;
        let error = with_pauses(|| SqliteStore::open(dir.path(), "second", 1), || pauses += 1).unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
        assert_eq!(pauses, TRIES_MAX - 1);
        let missing = with_pauses(|| SqliteStore::open_reader(&dir.path().join("none")), || unreachable!());
        assert!(matches!(missing, Err(StoreError::Missing { .. })));
    }
}
