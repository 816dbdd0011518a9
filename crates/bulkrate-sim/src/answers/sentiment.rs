//! Sentiment by counting words.

const GOOD: [&str; 28] = [
    "love",
    "great",
    "excellent",
    "amazing",
    "good",
    "perfect",
    "happy",
    "wonderful",
    "fantastic",
    "best",
    "thanks",
    "thank",
    "pleased",
    "awesome",
    "recommend",
    "delighted",
    "superb",
    "nice",
    "fast",
    "comfortable",
    "brilliant",
    "enjoy",
    "enjoyed",
    "satisfied",
    "helpful",
    "works",
    "beautiful",
    "easy",
];
const BAD: [&str; 32] = [
    "hate",
    "terrible",
    "awful",
    "bad",
    "worst",
    "broken",
    "broke",
    "poor",
    "disappointed",
    "disappointing",
    "horrible",
    "angry",
    "late",
    "refund",
    "return",
    "never",
    "useless",
    "waste",
    "slow",
    "failed",
    "fails",
    "defective",
    "rude",
    "unhappy",
    "damaged",
    "missing",
    "wrong",
    "annoying",
    "cheap",
    "scam",
    "problem",
    "garbage",
];

/// Good words minus bad ones; a word after `not`, `no` or `n't` counts the other way round.
pub(crate) fn score(text: &str) -> i64 {
    let (mut total, mut turned) = (0, false);
    for word in words(text) {
        let value = i64::from(is_one_of(word, &GOOD)) - i64::from(is_one_of(word, &BAD));
        total += if turned { -value } else { value };
        turned = is_one_of(word, &["not", "no", "don't", "isn't", "wasn't", "didn't", "doesn't"]);
    }
    total
}

/// Words of a text: letters, digits and apostrophes.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| {
        !(char.is_ascii_alphanumeric() || char == '\'' || !char.is_ascii() && char.is_alphanumeric())
    })
    .filter(|word| !word.is_empty())
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|known| known.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_decide() {
        assert!(score("Great phone, I love it") > 0);
        assert!(score("The WORST purchase, it broke") < 0);
        assert_eq!(score("It is a phone"), 0);
        assert!(score("not good") < 0);
        assert!(score("isn't bad") > 0);
    }
}
