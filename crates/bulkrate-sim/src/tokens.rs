//! The one token count that usage, limits and bill share: four bytes a token, rounded up, and four tokens a message.

/// Tokens of a prompt of `bytes` text bytes in `messages` messages.
pub(crate) fn prompt(bytes: u64, messages: u64) -> u64 {
    bytes.div_ceil(4) + 4 * messages
}

/// Tokens of a produced text.
pub(crate) fn of(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4)
}

/// What one answered request used, in tokens. `cached` and what was written to the cache are parts of `prompt`, `reasoning` of `output`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt: u64,
    pub(crate) cached: u64,
    pub(crate) written_5m: u64,
    pub(crate) written_1h: u64,
    pub(crate) output: u64,
    pub(crate) reasoning: u64,
}

impl Usage {
    pub(crate) fn add(&mut self, other: Self) {
        self.prompt += other.prompt;
        self.cached += other.cached;
        self.written_5m += other.written_5m;
        self.written_1h += other.written_1h;
        self.output += other.output;
        self.reasoning += other.reasoning;
    }

    /// Prompt tokens that have nothing to do with the cache.
    pub(crate) fn fresh(self) -> u64 {
        self.prompt
            .saturating_sub(self.cached)
            .saturating_sub(self.written_5m)
            .saturating_sub(self.written_1h)
    }
}
