//! How many tokens a prompt has: bounds from its bytes, and the exact count where the bounds cannot decide.
//!
//! Invariants
//! - The tables of a tokenizer are not here. Whoever needs an exact count passes something that implements [`CountTokens`];
//!   they cost time and memory to load, so a decision asks the bounds first.
//! - A count never exceeds the upper bound: a byte-level token covers at least one byte.

mod about;
mod prompt;

use std::fmt;

pub use about::about;
pub use prompt::Prompt;

/// Which tables a model's texts are cut with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    O200kBase,
    Cl100kBase,
}

impl Encoding {
    /// The name in OpenAI's `tiktoken`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::O200kBase => "o200k_base",
            Self::Cl100kBase => "cl100k_base",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The encoding of one model, and whether its maker has published that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vocabulary {
    pub encoding: Encoding,
    /// `tiktoken` names the model. Otherwise the encoding is that of the models before it: likely, not known.
    pub published: bool,
}

/// OpenAI's families by the beginning of their ids, as `tiktoken` 0.14 lists them, and those that it does not list yet. The
/// flag says whether versions follow a dot (`gpt-5.2`).
const FAMILIES: [(&str, bool, Encoding, bool); 14] = [
    ("gpt-6", true, Encoding::O200kBase, false),
    ("gpt-5", true, Encoding::O200kBase, true),
    ("gpt-4.5", false, Encoding::O200kBase, true),
    ("gpt-4.1", false, Encoding::O200kBase, true),
    ("gpt-4o", false, Encoding::O200kBase, true),
    ("chatgpt-4o", false, Encoding::O200kBase, true),
    ("o1", false, Encoding::O200kBase, true),
    ("o3", false, Encoding::O200kBase, true),
    ("o4-mini", false, Encoding::O200kBase, true),
    ("gpt-4", false, Encoding::Cl100kBase, true),
    ("gpt-3.5-turbo", false, Encoding::Cl100kBase, true),
    ("text-embedding-ada-002", false, Encoding::Cl100kBase, true),
    ("text-embedding-3-small", false, Encoding::Cl100kBase, true),
    ("text-embedding-3-large", false, Encoding::Cl100kBase, true),
];

impl Vocabulary {
    /// The vocabulary of a model at its own maker; `None` where it is not known.
    #[must_use]
    pub fn of(provider: &str, model: &str) -> Option<Self> {
        if provider != "openai" {
            return None;
        }
        // `ft:gpt-4o-mini:org::id` is cut like the model that it was made of.
        let model = model.strip_prefix("ft:").unwrap_or(model);
        FAMILIES.into_iter().find_map(|(family, dotted, encoding, published)| {
            let rest = model.strip_prefix(family)?;
            let of_family =
                rest.is_empty() || rest.starts_with(['-', ':']) || (dotted && rest.starts_with('.'));
            of_family.then_some(Self { encoding, published })
        })
    }
}

/// Counts the tokens of a text, exactly. Implemented where the tables are.
pub trait CountTokens: fmt::Debug + Send + Sync {
    fn count(&self, encoding: Encoding, text: &str) -> u64;
}

/// Bytes that a token covers at most, by experience: the lower bound of a count. Whole texts in English have 4 to 5, in scripts
/// of two or three bytes a letter up to 9 (`bulkrate-tokens` measures some). Only monotone filler such as a page of blanks
/// exceeds 16, so what relies on the lower bound alone must survive being wrong about filler.
const BYTES_PER_TOKEN_MAX: u64 = 16;

/// Between what a prompt's count lies, both ends included. `high` is certain, `low` is experience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub low: u64,
    pub high: u64,
}

impl Bounds {
    /// Of `bytes` of text with `framing` tokens around them.
    #[must_use]
    pub fn of(bytes: u64, framing: u64) -> Self {
        Self { low: framing.saturating_add(bytes / BYTES_PER_TOKEN_MAX), high: framing.saturating_add(bytes) }
    }

    /// Whether the prompt has at most `most` tokens; `None` when only a count can tell.
    #[must_use]
    pub fn at_most(self, most: u64) -> Option<bool> {
        if self.high <= most {
            Some(true)
        } else if self.low > most {
            Some(false)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_apart() {
        let (o200k, cl100k) = (Encoding::O200kBase, Encoding::Cl100kBase);
        for (provider, model, want) in [
            ("openai", "gpt-4o-mini-2024-07-18", Some((o200k, true))),
            ("openai", "gpt-4.1-nano", Some((o200k, true))),
            ("openai", "gpt-5", Some((o200k, true))),
            ("openai", "gpt-5.6-luna", Some((o200k, true))),
            ("openai", "gpt-6-luna", Some((o200k, false))), // not in `tiktoken` yet
            ("openai", "gpt-6.1-terra", Some((o200k, false))),
            ("openai", "o3-pro", Some((o200k, true))),
            ("openai", "ft:gpt-4o-mini:org::id", Some((o200k, true))),
            ("openai", "ft:gpt-3.5-turbo:org::id", Some((cl100k, true))),
            ("openai", "gpt-4-turbo", Some((cl100k, true))),
            ("openai", "gpt-4", Some((cl100k, true))),
            ("openai", "gpt-3.5-turbo-0125", Some((cl100k, true))),
            ("openai", "text-embedding-3-small", Some((cl100k, true))),
            ("openai", "gpt-4.9", None),
            ("openai", "gpt-60", None),
            ("openai", "o11", None),
            ("openai", "omni-moderation-latest", None),
            ("anthropic", "claude-haiku-5-5", None),
            ("custom", "gpt-4o", None),
        ] {
            let want = want.map(|(encoding, published)| Vocabulary { encoding, published });
            assert_eq!(Vocabulary::of(provider, model), want, "{provider}/{model}");
        }
    }

    #[test]
    fn bounds_decide_outside_the_band() {
        let bounds = Bounds::of(1_600, 11);
        assert_eq!(bounds, Bounds { low: 111, high: 1_611 });
        for (most, want) in [(110, Some(false)), (111, None), (1_610, None), (1_611, Some(true))] {
            assert_eq!(bounds.at_most(most), want, "{most}");
        }
    }
}
