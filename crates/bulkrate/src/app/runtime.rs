//! Where event loops are made: a system that has no descriptor left for one gives an error, not a panic.

use tokio::runtime::{Builder, Runtime};

use super::AppError;

/// For work on the thread that waits for it.
pub(super) fn single() -> Result<Runtime, AppError> {
    built(&mut Builder::new_current_thread())
}

pub(super) fn threads(count: usize) -> Result<Runtime, AppError> {
    built(Builder::new_multi_thread().worker_threads(count))
}

fn built(builder: &mut Builder) -> Result<Runtime, AppError> {
    room().and_then(|()| builder.enable_all().build()).map_err(AppError::Runtime)
}

/// The first runtime of a process makes a pipe for signals, and Tokio panics where it cannot. So there must be room
/// for all that it opens: the pipe and a copy of one end, the poll and a copy of it, and what wakes it.
#[cfg(unix)]
fn room() -> std::io::Result<()> {
    use std::os::unix::net::UnixStream;
    let _held = [UnixStream::pair()?, UnixStream::pair()?, UnixStream::pair()?];
    Ok(())
}

#[cfg(not(unix))]
fn room() -> std::io::Result<()> {
    Ok(())
}
