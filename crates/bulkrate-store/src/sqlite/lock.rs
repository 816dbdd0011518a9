//! The lock of the one engine: an OS lock on a file, which ends with the process however it ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::io_failed;
use crate::error::StoreError;

/// Held while the value lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes `engine.lock` and writes the process id and `now_ms` into it, for whoever finds it taken.
    pub(super) fn take(dir: &Path, now_ms: i64) -> Result<Self, StoreError> {
        let path = dir.join("engine.lock");
        let mut file = super::open::private(&path).map_err(io_failed("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who holds it is only for the message.
                drop(file.read_to_string(&mut text));
                let mut lines = text.lines();
                let pid = lines.next().and_then(|line| line.parse().ok());
                let since_ms = lines.next().and_then(|line| line.parse().ok());
                return Err(StoreError::Locked { dir: dir.to_owned(), pid, since_ms });
            }
            Err(TryLockError::Error(source)) => return Err(io_failed("lock", &path)(source)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}\n{now_ms}\n", std::process::id())
        };
        write(&mut file).map_err(io_failed("write", &path))?;
        Ok(Self { _file: file })
    }
}
