//! Standard output and standard error. A reader that has gone away is no error: the pipe is broken, the job is not.

use std::io::{IsTerminal as _, Write as _};

/// Data: to standard output.
pub fn data(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// One JSON document on standard output.
pub fn json(value: &serde_json::Value) {
    data(&format!("{value:#}\n"));
}

/// Talk: to standard error.
pub fn talk(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Whether a person sees standard error.
#[must_use]
pub fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether colours are wanted: `NO_COLOR` says no.
#[must_use]
pub fn colours(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
