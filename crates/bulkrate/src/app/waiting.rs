//! A line on the terminal while something here takes long. Nobody else sees it.

use crate::report::live::Live;
use crate::report::out;

/// Shown until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    live: Option<Live>,
    quiet: bool,
    /// Not every word is shown: what is told a million times costs nothing then.
    next: std::cell::Cell<Option<std::time::Instant>>,
}

const EVERY: std::time::Duration = std::time::Duration::from_millis(100);

impl Waiting {
    pub(super) fn new(quiet: bool) -> Self {
        let live = (!quiet && out::stderr_is_terminal()).then(Live::new);
        Self { live, quiet, next: std::cell::Cell::new(None) }
    }

    pub(super) fn say(&self, text: impl FnOnce() -> String) {
        let Some(live) = &self.live else { return };
        let now = std::time::Instant::now();
        if self.next.get().is_none_or(|next| now >= next) {
            self.next.set(Some(now + EVERY));
            live.say(&text());
        }
    }

    /// What stays.
    pub(super) fn above(&self, text: &str) {
        match &self.live {
            _ if self.quiet || text.is_empty() => {}
            Some(live) => live.above(text),
            None => out::talk(text),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(live) = &self.live {
            live.clear();
        }
    }
}
