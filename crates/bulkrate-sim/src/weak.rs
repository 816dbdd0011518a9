//! Models that know less: on which prompts they answer as if they had not read them.

use crate::rng::{hash, mix, unit};

/// What one model does not know. Without a pattern it errs anywhere, so that nothing in a prompt tells where; with one it errs at a kind of
/// prompt, which a router can learn.
#[derive(Debug, Clone)]
pub struct Weak {
    model: String,
    /// It errs where so many items or more are asked at once; 1: always.
    items: usize,
    /// Of the prompts that the pattern matches.
    share: f64,
    /// Looked for in the last user text; none: all prompts.
    pattern: Option<regex::Regex>,
}

impl std::str::FromStr for Weak {
    type Err = String;

    /// `MODEL=SHARE` or `MODEL=SHARE@PATTERN`, or for bundles alone `MODEL xN=SHARE@PATTERN`. A model's name may hold `=` and `@`, a pattern both
    /// too: the first `=` that a share follows counts.
    fn from_str(text: &str) -> Result<Self, String> {
        let read = |at: usize| {
            let (model, rest) = (&text[..at], &text[at + 1..]);
            let (share, pattern) = rest.split_once('@').map_or((rest, None), |(share, of)| (share, Some(of)));
            let share = share.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share))?;
            (!model.is_empty()).then_some((model, share, pattern))
        };
        let (model, share, pattern) =
            text.match_indices('=').find_map(|(at, _)| read(at)).ok_or_else(|| {
                format!("`{text}` is not `MODEL=SHARE` or `MODEL=SHARE@PATTERN` with a share from 0 to 1")
            })?;
        let bundled = model.rsplit_once(" x").and_then(|(name, items)| Some((name, items.parse().ok()?)));
        let (model, items) =
            bundled.filter(|(name, items)| !name.is_empty() && *items > 1).unwrap_or((model, 1));
        let compiled = pattern.map(regex::Regex::new).transpose();
        let pattern = compiled.map_err(|error| format!("the pattern of `{text}` cannot be used: {error}"))?;
        Ok(Self { model: model.to_owned(), items, share, pattern })
    }
}

/// Whether the model knows less, and the prompt is one that it does not know the answer to. `items`: so many are asked at once; `user`: the
/// last user text, as if this one were asked alone; `key`: of the prompt and the seed. Of several rules of one model that match, the largest share counts.
pub(crate) fn is_at(all: &[Weak], model: &str, items: usize, user: &str, key: u64) -> bool {
    let is_its = |weak: &&Weak| weak.model == model && weak.items <= items && weak.share > 0.0;
    let mut of_model = all.iter().filter(is_its);
    let coin = |weak: &Weak| unit(mix(key ^ hash(weak.model.as_bytes(), 0x3EA4))) < weak.share;
    of_model.any(|weak| coin(weak) && weak.pattern.as_ref().is_none_or(|pattern| pattern.is_match(user)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn rules(texts: &[&str]) -> Vec<Weak> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_weak_model_has_a_share_and_perhaps_a_pattern() {
        let read = |text: &str| {
            text.parse().map(|weak: Weak| (weak.model, weak.share, weak.pattern.map(|of| of.to_string())))
        };
        for (text, model, share, pattern) in [
            ("gpt-6-luna=0.25", "gpt-6-luna", 0.25, None),
            ("gpt-6-luna=1@(?i)loan", "gpt-6-luna", 1.0, Some("(?i)loan")),
            ("gpt-6-luna=0.5@a=1@b", "gpt-6-luna", 0.5, Some("a=1@b")),
            ("luna@2026=0.5@x", "luna@2026", 0.5, Some("x")),
            ("luna=a=0.5", "luna=a", 0.5, None),
        ] {
            assert_eq!(read(text).unwrap(), (model.to_owned(), share, pattern.map(str::to_owned)), "{text}");
        }
        for bad in ["gpt-6-luna", "=0.2", "gpt-6-luna=2", "gpt-6-luna=half", "gpt-6-luna=@x"] {
            assert!(read(bad).unwrap_err().contains("`MODEL=SHARE@PATTERN`"), "{bad}");
        }
        assert!(read("gpt-6-luna=1@(").unwrap_err().contains("the pattern of `gpt-6-luna=1@(`"));
    }

    #[test]
    fn a_weak_model_errs_at_a_share_of_what_its_pattern_matches_and_nowhere_else() {
        let count = |weak: &[Weak], model: &str, text: &str| {
            (0..2_000).filter(|key| is_at(weak, model, 1, text, mix(*key))).count()
        };
        let weak = rules(&["luna=0.3@(?i)loan", "luna=1@escrow", "terra=0"]);
        let some = count(&weak, "luna", "My student LOAN");
        assert!((540..660).contains(&some), "{some}");
        for (model, text, want) in [
            ("luna", "An escrow", 2_000),
            ("luna", "A credit card", 0),
            ("terra", "My student LOAN", 0),
            ("sol", "My student LOAN", 0),
        ] {
            assert_eq!(count(&weak, model, text), want, "{model} {text}");
        }
        // Which of them it errs at is the same whenever it is asked.
        let hit = |seed: u64| {
            (0..100).map(|key| is_at(&weak, "luna", 1, "loan", mix(key ^ seed))).collect::<Vec<_>>()
        };
        assert_eq!(hit(1), hit(1));
        assert_ne!(hit(1), hit(2));
    }

    #[test]
    fn a_model_may_err_in_bundles_alone() {
        let weak = rules(&["luna x10=1@loan", "terra x1=1"]);
        for (model, items, text, want) in [
            ("luna", 1, "loan", false),
            ("luna", 9, "loan", false),
            ("luna", 10, "loan", true),
            ("luna", 20, "lamp", false),
            ("terra", 20, "loan", false),
            ("terra x1", 1, "loan", true),
        ] {
            assert_eq!(is_at(&weak, model, items, text, 7), want, "{model} {items} {text}");
        }
    }
}
