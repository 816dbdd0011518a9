//! What a provider says an answer used, in disjoint classes.

use serde::{Deserialize, Serialize};

/// Tokens of one answer. The classes are disjoint except `reasoning`, which is a part of `output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Usage {
    /// Input billed at the full rate: neither read from nor written to the prompt cache.
    #[serde(rename = "input_tokens", default)]
    pub input: u64,
    #[serde(rename = "cache_read_tokens", default)]
    pub cache_read: u64,
    #[serde(rename = "cache_write_5m_tokens", default)]
    pub cache_write_5m: u64,
    #[serde(rename = "cache_write_1h_tokens", default)]
    pub cache_write_1h: u64,
    #[serde(rename = "output_tokens", default)]
    pub output: u64,
    #[serde(rename = "reasoning_tokens", default)]
    pub reasoning: u64,
}

impl Usage {
    /// All tokens of the prompt, whatever each is billed at; price tiers compare with this.
    #[must_use]
    pub fn prompt(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
    }

    /// The same tokens as if there were no prompt cache: all of the prompt at the full rate.
    #[must_use]
    pub fn uncached(&self) -> Self {
        Self { input: self.prompt(), cache_read: 0, cache_write_5m: 0, cache_write_1h: 0, ..*self }
    }

    /// Whether a prompt cache did something: it was read from, or written to.
    #[must_use]
    pub fn touches_cache(&self) -> bool {
        self.cache_read | self.cache_write_5m | self.cache_write_1h != 0
    }

    /// Counts another attempt's tokens as well.
    pub fn add(&mut self, more: &Self) {
        for (sum, more) in [
            (&mut self.input, more.input),
            (&mut self.cache_read, more.cache_read),
            (&mut self.cache_write_5m, more.cache_write_5m),
            (&mut self.cache_write_1h, more.cache_write_1h),
            (&mut self.output, more.output),
            (&mut self.reasoning, more.reasoning),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}
