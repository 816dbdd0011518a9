//! A model, and how it is asked.

use std::fmt;

/// A model, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manner {
    pub model: String,
    /// So many items in one request; `None`: each by itself.
    pub bundle: Option<u32>,
}

/// As a person reads it: `openai/gpt-6-luna x20`.
impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model)?;
        self.bundle.map_or(Ok(()), |items| write!(f, " x{items}"))
    }
}
