//! The live display of a terminal: a bar, and under it money, troubles and batches.

use std::time::Duration;

use bulkrate_engine::event::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::out::harmless;
use super::progress;

/// Draws on standard error, at most ten times a second.
#[derive(Debug)]
pub struct Live {
    bar: ProgressBar,
}

impl Live {
    #[must_use]
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(spinner());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Something that has no end in sight yet.
    pub fn say(&self, text: &str) {
        self.bar.set_style(spinner());
        self.bar.set_message(harmless(text).into_owned());
    }

    pub fn show(&self, now: &Progress, now_ms: i64) {
        self.bar.set_style(bar());
        self.bar.set_length(now.items);
        self.bar.set_position(now.succeeded + now.failed);
        self.bar.set_prefix(progress::head(now));
        self.bar.set_message(harmless(&progress::body(now, now_ms).join("\n")).into_owned());
    }

    /// Prints above the display, or in its place.
    pub fn above(&self, text: &str) {
        self.bar.suspend(|| super::out::talk(text));
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Runs something that needs the terminal for itself.
    pub fn aside<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.bar.disable_steady_tick();
        let answer = self.bar.suspend(ask);
        self.bar.enable_steady_tick(Duration::from_millis(200));
        answer
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn bar() -> ProgressStyle {
    let style = ProgressStyle::with_template("{bar:30} {prefix}\n{msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}
