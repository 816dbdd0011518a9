//! Whose a model is: what goes beside Converse's own fields differs by maker.

use bulkrate_core::money::Tokens;
use bulkrate_core::prompt_cache::Marks;

use crate::anthropic::wire::models as claudes;

/// Makers by the beginning of their models' names.
const MAKERS: &[&str] = &[
    "ai21.",
    "amazon.",
    "anthropic.",
    "cohere.",
    "deepseek.",
    "google.",
    "meta.",
    "minimax.",
    "mistral.",
    "moonshot.",
    "nvidia.",
    "openai.",
    "qwen.",
    "writer.",
    "zai.",
];
/// Models that reason only where they are told to, or never do.
const PLAIN: &[&str] = &[
    "amazon.nova-micro",
    "amazon.nova-lite",
    "amazon.nova-pro",
    "amazon.nova-premier",
    "meta.",
    "mistral.",
    "amazon.nova-2",
];

/// What a mark for the prompt cache is called.
pub(super) const MARK: &str = "cachePoint";
/// Prompts of Nova that begin alike for fewer tokens are not cached, as Amazon's page on prompt caching has it ("1K").
const NOVA_CACHE_MIN: u64 = 1_000;

/// The name without its region or the ARN around it: `anthropic.claude-haiku-5-5`.
pub(super) fn base(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    let is_base = |name: &str| MAKERS.iter().any(|maker| name.starts_with(maker));
    match name.split_once('.') {
        Some((_, rest)) if !is_base(name) && is_base(rest) => rest,
        _ => name,
    }
}

/// Claude's own name, where it is one.
pub(super) fn claude(model: &str) -> Option<&str> {
    base(model).strip_prefix("anthropic.")
}

pub(super) fn is_nova(model: &str) -> bool {
    base(model).starts_with("amazon.nova")
}

/// What calls of a model keep where they are marked: of Claude what Anthropic's own API does, of Nova for five minutes.
pub(super) fn marks(model: &str) -> Option<Marks> {
    if let Some(name) = claude(model) {
        return Some(Marks { word: MARK, ..claudes::marks(name) });
    }
    let nova = Marks { prefix_min: Tokens(NOVA_CACHE_MIN), hour: false, word: MARK };
    (is_nova(model) && !model.contains("embed")).then_some(nova)
}

/// Whether it does not reason unless it is told to.
pub(super) fn is_plain(model: &str) -> bool {
    PLAIN.iter().any(|prefix| base(model).starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_seen_through_regions_and_arns() {
        for (model, want) in [
            ("anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5-20251001-v1:0"),
            ("us.anthropic.claude-haiku-5-5", "anthropic.claude-haiku-5-5"),
            ("global.openai.gpt-6-luna", "openai.gpt-6-luna"),
            ("openai.gpt-6.1-terra", "openai.gpt-6.1-terra"),
            ("deepseek.v3.2", "deepseek.v3.2"),
            (
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0",
                "amazon.nova-lite-v1:0",
            ),
            ("arn:aws:bedrock:us-east-1:123456789012:custom-model/abc", "abc"),
        ] {
            assert_eq!(base(model), want, "{model}");
        }
        assert_eq!(claude("global.anthropic.claude-opus-5-5"), Some("claude-opus-5-5"));
        assert!(is_nova("us.amazon.nova-lite-v1:0") && !is_nova("meta.llama3-1-8b-instruct-v1:0"));
    }

    #[test]
    fn claude_and_nova_keep_what_is_marked() {
        let of = |model| marks(model).map(|marks| (marks.prefix_min.0, marks.hour, marks.word));
        for (model, want) in [
            ("us.amazon.nova-lite-v1:0", Some((1_000, false, MARK))),
            ("global.anthropic.claude-haiku-5-5", Some((512, true, MARK))),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", Some((4_096, true, MARK))),
            ("global.openai.gpt-6-luna", None),
            ("amazon.nova-2-multimodal-embeddings-v1:0", None),
            ("meta.llama3-1-8b-instruct-v1:0", None),
        ] {
            assert_eq!(of(model), want, "{model}");
        }
    }

    #[test]
    fn every_maker_of_the_price_list_is_known() {
        let catalogue = bulkrate_core::price::Catalogue::bundled();
        for row in catalogue.rows().iter().filter(|row| row.provider == "bedrock") {
            assert!(MAKERS.iter().any(|maker| base(&row.id).starts_with(maker)), "{}", row.id);
        }
    }
}
