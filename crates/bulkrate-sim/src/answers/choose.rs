//! Picks one of several labels for a text.

use super::sentiment::{score, words};
use crate::rng::below;

/// Words that speak for a label whose name starts with the key.
const HINTS: [(&str, &[&str]); 16] = [
    (
        "bill",
        &[
            "bill",
            "invoice",
            "charge",
            "charged",
            "payment",
            "paid",
            "refund",
            "price",
            "card",
            "subscription",
            "receipt",
            "overcharged",
            "money",
        ],
    ),
    ("pay", &["invoice", "charge", "charged", "payment", "paid", "card", "receipt"]),
    ("refund", &["refund", "refunded", "return", "money"]),
    ("deliver", DELIVERY),
    ("ship", DELIVERY),
    (
        "tech",
        &[
            "error", "crash", "crashes", "bug", "broken", "install", "app", "screen", "update", "wifi",
            "freezes", "slow", "failed", "works", "website",
        ],
    ),
    ("bug", &["error", "crash", "crashes", "bug", "broken", "freezes", "failed"]),
    ("account", &["account", "password", "login", "log", "email", "profile", "username", "locked", "sign"]),
    ("login", &["password", "login", "log", "locked", "sign"]),
    (
        "spam",
        &[
            "win",
            "winner",
            "free",
            "prize",
            "click",
            "cash",
            "offer",
            "urgent",
            "congratulations",
            "viagra",
            "lottery",
            "txt",
            "claim",
            "guaranteed",
        ],
    ),
    ("urgent", &["urgent", "asap", "immediately", "now", "emergency", "critical"]),
    ("high", &["urgent", "asap", "immediately", "critical", "outage", "down"]),
    ("feature", &["feature", "add", "wish", "support", "could", "request"]),
    ("question", &["how", "what", "why", "when", "where", "question"]),
    ("complain", &["angry", "terrible", "worst", "unacceptable", "complaint", "disappointed"]),
    ("prais", &["love", "great", "thanks", "thank", "excellent"]),
];
const DELIVERY: &[&str] = &[
    "parcel",
    "package",
    "delivery",
    "delivered",
    "deliver",
    "late",
    "arrive",
    "arrived",
    "tracking",
    "courier",
    "shipping",
    "shipped",
    "shipment",
    "post",
];
/// Words of a text that are weighed.
const WORDS_MAX: usize = 400;
const FALLBACKS: [&str; 8] = ["other", "neutral", "ham", "general", "unknown", "none", "not_spam", "medium"];

/// The label with the most evidence; without any, a catch-all label, else one chosen by `key`. Never empty-handed unless
/// `choices` is empty.
pub(crate) fn choose<'a, T: AsRef<str>>(text: &str, choices: &'a [T], key: u64) -> &'a str {
    let said: Vec<&str> = words(text).take(WORDS_MAX).collect();
    let mut best: Option<(&str, i64)> = None;
    for choice in choices {
        let evidence = evidence(text, &said, choice.as_ref());
        if evidence > 0 && best.is_none_or(|(_, most)| evidence > most) {
            best = Some((choice.as_ref(), evidence));
        }
    }
    if let Some((choice, _)) = best {
        return choice;
    }
    let fallback =
        choices.iter().find(|choice| FALLBACKS.iter().any(|name| name.eq_ignore_ascii_case(choice.as_ref())));
    fallback.or_else(|| choices.get(below(key, choices.len()))).map_or("", AsRef::as_ref)
}

fn evidence(text: &str, said: &[&str], choice: &str) -> i64 {
    let is = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(choice));
    let mood = |sign: i64| 10 * (score(text) * sign).max(0);
    if is(&["positive", "good", "happy"]) {
        return mood(1);
    }
    if is(&["negative", "bad", "unhappy"]) {
        return mood(-1);
    }
    if is(&["neutral", "other", "ham", "mixed", "not_spam", "not spam"]) {
        return 0;
    }
    let starts = |name: &str| choice.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let hints = HINTS.iter().find(|(name, _)| starts(name)).map_or(&[][..], |(_, hints)| hints);
    let heard = |words: &[&str]| -> i64 {
        let among = |said: &&str| words.iter().any(|word| word.eq_ignore_ascii_case(said));
        said.iter().filter(|said| among(said)).map(|_| 1).sum()
    };
    let own: Vec<&str> = words(choice).filter(|part| part.len() > 2).collect();
    2 * heard(hints) + 3 * heard(&own)
}

/// Labels listed in plain text after `one of`, `labels`, `categories`, `choices` or `options`, and the text without the list.
pub(crate) fn listed(text: &str) -> Option<(Vec<String>, String)> {
    let lower = text.to_ascii_lowercase();
    for marker in [
        "one of these:",
        "one of the following:",
        "one of:",
        "one of ",
        "labels:",
        "categories:",
        "choices:",
        "options:",
    ] {
        let Some(at) = lower.find(marker) else { continue };
        let start = at + marker.len();
        let end = start + text[start..].find(['\n', '.', ';']).unwrap_or(text.len() - start);
        let labels: Vec<String> = split_labels(&text[start..end]);
        if labels.len() > 1 {
            return Some((labels, format!("{} {}", &text[..at], &text[end..])));
        }
    }
    None
}

fn split_labels(list: &str) -> Vec<String> {
    let list = list.replace(" or ", ",").replace(" and ", ",").replace('|', ",").replace(" / ", ",");
    let labels = list
        .split(',')
        .map(|label| label.trim().trim_matches(['"', '\'', '`', '[', ']', '(', ')', ':']).trim());
    labels.filter(|label| (1..=40).contains(&label.len())).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn lists_are_found_in_plain_text() {
        let cases = [
            ("Answer with one of: a, b, c.", vec!["a", "b", "c"]),
            ("Labels: \"spam\" or \"ham\"\nText: hi", vec!["spam", "ham"]),
            ("Choose exactly one of [billing, delivery, other]", vec!["billing", "delivery", "other"]),
        ];
        for (text, want) in cases {
            assert_eq!(listed(text).unwrap().0, want, "{text}");
        }
        assert!(listed("one of my friends came").is_none());
        assert!(listed("nothing here").is_none());
    }

    #[test]
    fn choices_are_always_members_and_repeat() {
        let choices = ["red", "green", "blue"];
        for key in 0..50 {
            let picked = choose("something", &choices, crate::rng::mix(key));
            assert!(choices.contains(&picked));
            assert_eq!(picked, choose("something", &choices, crate::rng::mix(key)));
        }
        assert_eq!(choose("the blue one", &choices, 0), "blue");
        assert_eq!(choose::<&str>("x", &[], 5), "");
    }
}
