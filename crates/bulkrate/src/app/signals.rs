//! Ctrl-C: the first detaches, the second stops at once, the third ends the process. SIGTERM and SIGHUP, as when the
//! terminal closes, detach.

use std::sync::Arc;

use super::engine::Stop;
use super::{AppError, runtime};
use crate::report::teller::Teller;

const FIRST: &str = "\nstopping: no new calls; calls in flight have up to 30 s";
const BATCHES: &str = ", batches go on at the provider";
const AGAIN: &str = ". Ctrl-C again stops at once\n";
const SECOND: &str = "\nstopping at once\n";

/// Listens on a thread of its own: the engine's thread may be reading a file when the signal comes. What it needs is
/// made before there is another thread that could take it.
pub(super) fn listen(stop: Stop, teller: Arc<Teller>) -> Result<(), AppError> {
    let runtime = runtime::single()?;
    let spawned = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(obey(&stop, &teller)));
    if let Err(error) = spawned {
        tracing::warn!(%error, "signals are not handled");
    }
    Ok(())
}

async fn obey(stop: &Stop, teller: &Teller) {
    for time in 1_u32.. {
        if next().await.is_err() {
            return;
        }
        match time {
            1 => {
                // First of all: a question that waits for its answer has the terminal until it hears of it.
                stop.detach();
                let batches = if teller.has_batches() { BATCHES } else { "" };
                teller.say(&format!("{FIRST}{batches}{AGAIN}"));
            }
            2 => {
                stop.abort();
                teller.say(SECOND);
            }
            _ => std::process::exit(130),
        }
    }
}

#[cfg(unix)]
async fn next() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut hangup = heeds_hangup().then(|| signal(SignalKind::hangup())).transpose()?;
    let hung_up = async {
        match &mut hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = hung_up => Ok(()),
        interrupt = tokio::signal::ctrl_c() => interrupt,
        _ = term.recv() => Ok(()),
    }
}

/// Not under `nohup`, which has the signal ignored, and not where that cannot be told.
#[cfg(unix)]
fn heeds_hangup() -> bool {
    use std::sync::OnceLock;
    static HEEDS: OnceLock<bool> = OnceLock::new(); // before the first handler of ours hides what was inherited
    *HEEDS.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 0)
    })
}

#[cfg(not(unix))]
async fn next() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
