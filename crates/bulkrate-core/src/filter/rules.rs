//! Rules of the user's: a pattern or a set of words, and the answer where it is found.

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// A compiled pattern may take so much memory.
const SIZE_MAX: usize = 4 << 20;

/// What a text must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// A regular expression.
    Pattern(String),
    /// One of these words or phrases, whole, capitals or not.
    Words(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    #[serde(flatten)]
    pub when: When,
    pub answer: String,
}

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter rule {number}: {why}")]
pub struct RuleError {
    /// From 1.
    pub number: usize,
    pub why: String,
}

impl RuleError {
    /// `number`: of the rule, from 1.
    #[must_use]
    pub fn new(number: usize, why: String) -> Self {
        Self { number, why }
    }
}

impl Rule {
    pub(super) fn compile(&self, number: usize) -> Result<Regex, RuleError> {
        let bad = |why: String| RuleError { number, why };
        let pattern = match &self.when {
            When::Pattern(pattern) if pattern.is_empty() => {
                return Err(bad("the pattern is empty".to_owned()));
            }
            When::Pattern(pattern) => pattern.clone(),
            When::Words(words) => {
                if words.is_empty() || words.iter().any(|word| word.trim().is_empty()) {
                    return Err(bad("there are no words, or an empty one".to_owned()));
                }
                let any: Vec<String> = words.iter().map(|word| whole(word.trim())).collect();
                format!("(?i){}", any.join("|"))
            }
        };
        RegexBuilder::new(&pattern).size_limit(SIZE_MAX).build().map_err(|error| bad(error.to_string()))
    }
}

/// A phrase that begins and ends where its words do; where it begins with a mark, nothing is asked of what stands before.
fn whole(word: &str) -> String {
    let edge = |letter: Option<char>| if letter.is_some_and(char::is_alphanumeric) { r"\b" } else { "" };
    format!("{}{}{}", edge(word.chars().next()), regex::escape(word), edge(word.chars().last()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn words(words: &[&str]) -> Rule {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Rule { when: When::Words(words), answer: "spam".to_owned() }
    }

    #[test]
    fn words_are_whole_and_patterns_are_as_written() {
        for (rule, text, want) in [
            (words(&["free entry", "prize"]), "Your PRIZE!", true),
            (words(&["free entry", "prize"]), "a Free Entry now", true),
            (words(&["prize"]), "surprized", false),
            (words(&["a.b"]), "a.b", true),
            (words(&["a.b"]), "axb", false),
            (words(&["£"]), "win £100", true),
            (Rule { when: When::Pattern("^win".to_owned()), answer: String::new() }, "win", true),
            (Rule { when: When::Pattern("^win".to_owned()), answer: String::new() }, "Win", false),
        ] {
            assert_eq!(rule.compile(1).unwrap().is_match(text), want, "{rule:?} {text}");
        }
    }

    #[test]
    fn what_is_no_rule_says_why() {
        for (rule, why) in [
            (words(&[]), "no words"),
            (words(&["a", " "]), "an empty one"),
            (Rule { when: When::Pattern(String::new()), answer: String::new() }, "empty"),
            (Rule { when: When::Pattern("(".to_owned()), answer: String::new() }, "unclosed group"),
            (Rule { when: When::Pattern("(?:a{1000}){1000}".to_owned()), answer: String::new() }, "size"),
        ] {
            let error = rule.compile(3).unwrap_err();
            assert!(error.number == 3 && error.why.contains(why), "{error}");
        }
    }
}
