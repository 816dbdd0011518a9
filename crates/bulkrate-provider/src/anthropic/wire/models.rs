//! In what the generations of Claude differ, as data.

use bulkrate_core::money::Tokens;
use bulkrate_core::prompt_cache::Marks;

/// How a model is told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinks {
    /// By a number of tokens.
    Budget,
    /// By a number of tokens, or as it sees fit under an effort.
    Both,
    /// As it sees fit under an effort.
    Adaptive,
    /// The same, and it cannot be switched off.
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Family {
    /// Beginning of the names of its models.
    prefix: &'static str,
    pub(crate) thinks: Thinks,
    /// Whether `temperature`, `top_p` and `top_k` may differ from their defaults.
    pub(crate) samples: bool,
    /// Whether it continues a last turn of its own.
    pub(crate) prefills: bool,
    /// Prompts that begin alike for fewer tokens are not cached. Sources differ (litellm's `prompt_cache_min_tokens`, Anthropic's
    /// notes of September 2026): the lower number stands here, as a mark in vain costs nothing.
    cache_min: u64,
}

const NEW: Family =
    Family { prefix: "", thinks: Thinks::Adaptive, samples: false, prefills: false, cache_min: 512 };
const OLD: Family =
    Family { prefix: "", thinks: Thinks::Budget, samples: true, prefills: true, cache_min: 4_096 };

/// The first that fits. What is not listed is newer than all that is.
const FAMILIES: &[Family] = &[
    Family { prefix: "claude-haiku-4-5", ..OLD },
    Family { prefix: "claude-sonnet-4-5", cache_min: 1_024, ..OLD },
    Family { prefix: "claude-opus-4-5", ..OLD },
    Family { prefix: "claude-sonnet-4-6", thinks: Thinks::Both, prefills: false, cache_min: 1_024, ..OLD },
    Family { prefix: "claude-opus-4-6", thinks: Thinks::Both, prefills: false, ..OLD },
    Family { prefix: "claude-opus-4-7", cache_min: 2_048, ..NEW },
    Family { prefix: "claude-opus-4-8", cache_min: 1_024, ..NEW },
    Family { prefix: "claude-sonnet-5-5", ..NEW },
    Family { prefix: "claude-sonnet-5", cache_min: 1_024, ..NEW },
    Family { prefix: "claude-fable", thinks: Thinks::Always, ..NEW },
    Family { prefix: "claude-mythos", thinks: Thinks::Always, ..NEW },
    NEW,
];

pub(crate) fn family(model: &str) -> Family {
    FAMILIES.iter().find(|family| model.starts_with(family.prefix)).copied().unwrap_or(NEW)
}

/// What a mark for the prompt cache is called.
pub(super) const MARK: &str = "cache_control";

/// What is kept of a model's prompts where they are marked, for five minutes or an hour.
pub(crate) fn marks(model: &str) -> Marks {
    Marks { prefix_min: Tokens(family(model).cache_min), hour: true, word: MARK }
}

impl Thinks {
    pub(crate) fn adapts(self) -> bool {
        self != Self::Budget
    }

    pub(crate) fn takes_tokens(self) -> bool {
        matches!(self, Self::Budget | Self::Both)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_of_the_price_list_has_its_family() {
        let catalogue = bulkrate_core::price::Catalogue::bundled();
        let mut table = String::new();
        for row in catalogue.rows().iter().filter(|row| row.provider == "anthropic") {
            let Family { thinks, samples, prefills, cache_min, .. } = family(&row.id);
            table.push_str(&format!("{} {thinks:?} {samples} {prefills} {cache_min}\n", row.id));
        }
        for want in [
            "claude-haiku-5-5 Adaptive false false 512\n",
            "claude-fable-5-2 Always false false 512\n",
            "claude-sonnet-5-5 Adaptive false false 512\n",
            "claude-sonnet-5 Adaptive false false 1024\n",
            "claude-opus-4-7 Adaptive false false 2048\n",
            "claude-opus-4-6 Both true false 4096\n",
            "claude-haiku-4-5-20251001 Budget true true 4096\n",
        ] {
            assert!(table.contains(want), "{want}: {table}");
        }
    }
}
