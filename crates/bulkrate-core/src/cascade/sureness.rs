//! How sure a model was of an answer, by the log-probabilities of its tokens.
//!
//! Of a choice only the tokens count that say it: what stands around it (`{"answer":"`) the provider's grammar writes, and it would
//! hide the doubt. Of any other answer all tokens count.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::answer::{Chance, Token};
use crate::collect::{Checked, Expectation};

/// Which figure a rule compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The geometric mean of the tokens' probabilities: `exp(mean(log p))`.
    Logprob,
    /// By how much the choice was more probable than the next one, where its tokens part from it.
    Margin,
}

impl Measure {
    pub const ALL: [Self; 2] = [Self::Logprob, Self::Margin];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Logprob => "logprob",
            Self::Margin => "margin",
        }
    }

    /// How many likely tokens must be told in the place of each.
    #[must_use]
    pub fn alternatives(self) -> u8 {
        match self {
            Self::Logprob => 0,
            // More than labels usually have beginnings; one service takes no more than these.
            Self::Margin => 5,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Both figures in thousandths, rounded down, as a threshold is reached or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sureness {
    pub logprob: i32,
    /// `None`: the answer is no choice, or the tokens do not show where it parts from the others. Below 0 where another was likelier.
    pub margin: Option<i32>,
}

impl Sureness {
    /// `None`: there are no tokens, or those that say the choice are not to be found among them.
    #[must_use]
    pub fn of(tokens: &[Token<'_>], checked: &Checked<'_>, expectation: &Expectation) -> Option<Self> {
        let Checked::Choice(choice) = checked else {
            return Some(Self { logprob: thousandths(mean(tokens)?), margin: None });
        };
        let label = Label::find(tokens, choice)?;
        let said = tokens.get(label.first..label.end)?;
        let margin = match expectation {
            Expectation::Choices(choices) => label.margin(tokens, choices),
            _ => None,
        };
        Some(Self { logprob: thousandths(mean(said)?), margin: margin.map(thousandths) })
    }

    /// Of an answer that says how likely each choice is. `None`: not of the one it chose.
    #[must_use]
    pub fn of_choice(choice: &str, chances: &[Chance<'_>]) -> Option<Self> {
        let (own, others): (Vec<&Chance<'_>>, _) = chances.iter().partition(|chance| chance.choice == choice);
        let own = own.first()?.probability.clamp(0.0, 1.0);
        let next = others.iter().map(|chance| chance.probability.clamp(0.0, 1.0)).fold(0.0, f64::max);
        Some(Self { logprob: thousandths(own), margin: Some(thousandths(own - next)) })
    }

    #[must_use]
    pub fn by(self, measure: Measure) -> Option<i32> {
        match measure {
            Measure::Logprob => Some(self.logprob),
            Measure::Margin => self.margin,
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "from -1,000 to 1,000")]
fn thousandths(share: f64) -> i32 {
    // 0.57 x 1,000 comes out a hair below 570.
    (share * 1_000.0 + 1e-9).floor() as i32
}

fn mean(tokens: &[Token<'_>]) -> Option<f64> {
    let sum: f64 = tokens.iter().map(|token| token.logprob.min(0.0)).sum();
    (!tokens.is_empty()).then(|| (sum / tokens.len() as f64).exp())
}

fn probability(logprob: f64) -> f64 {
    logprob.min(0.0).exp()
}

/// Where the tokens of an answer say its choice.
struct Label<'c> {
    choice: &'c str,
    /// The tokens that hold a part of it.
    first: usize,
    end: usize,
    /// Bytes of the first token that stand before it.
    lead: usize,
}

impl<'c> Label<'c> {
    /// The last place at which the tokens, put together, say it.
    fn find(tokens: &[Token<'_>], choice: &'c str) -> Option<Self> {
        let choice = choice.trim();
        let text: String = tokens.iter().map(|token| &*token.text).collect();
        let start = text.rfind(choice).or_else(|| {
            // Upper and lower case are one, as where the answer was checked.
            let (text, choice) = (text.as_bytes(), choice.as_bytes());
            text.windows(choice.len().max(1)).rposition(|window| window.eq_ignore_ascii_case(choice))
        })?;
        let mut at = 0;
        let mut first = None;
        for (place, token) in tokens.iter().enumerate() {
            let next = at + token.text.len();
            if first.is_none() && next > start {
                first = Some((place, start - at));
            }
            at = next;
            if let Some((first, lead)) = first
                && at >= start + choice.len()
            {
                return Some(Self { choice, first, end: place + 1, lead });
            }
        }
        None
    }

    /// The least margin of the tokens until no other choice begins like what was said: mostly that of the first.
    fn margin(&self, tokens: &[Token<'_>], choices: &[String]) -> Option<f64> {
        let others = || choices.iter().map(|choice| choice.trim()).filter(|choice| *choice != self.choice);
        let mut said = String::new();
        let mut least: Option<f64> = None;
        for (place, token) in tokens.iter().enumerate().skip(self.first) {
            let lead = if place == self.first { &token.text[..self.lead] } else { "" };
            let margin =
                over_rivals(token, |text| self.says(&said, text.strip_prefix(lead).unwrap_or(text)))?;
            least = Some(least.map_or(margin, |least| least.min(margin)));
            said.push_str(&token.text[lead.len()..]);
            if !others().any(|other| begins(other, &said)) {
                break;
            }
        }
        least
    }

    /// Whether `said`, gone on with by `piece`, is still a way to say the choice.
    fn says(&self, said: &str, piece: &str) -> bool {
        let piece = if said.is_empty() { piece.trim_start() } else { piece };
        let whole = format!("{said}{piece}");
        if begins(self.choice, &whole) {
            return !whole.is_empty();
        }
        let ended = |rest: &str| !rest.starts_with(char::is_alphanumeric);
        begins(&whole, self.choice) && whole.get(self.choice.len()..).is_some_and(ended)
    }
}

/// Whether a text begins so, whatever its case.
fn begins(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|head| head.to_lowercase() == start.to_lowercase())
}

/// The token's probability less that of the likeliest other that does not say the same. Where none is told, less all that those
/// which are told leave. `None`: no others were told.
fn over_rivals(token: &Token<'_>, same: impl Fn(&str) -> bool) -> Option<f64> {
    if token.likely.is_empty() {
        return None;
    }
    let own = probability(token.logprob);
    let others = || token.likely.iter().filter(|(text, _)| *text != token.text);
    let rival =
        others().filter(|(text, _)| !same(text)).map(|(_, logprob)| probability(*logprob)).reduce(f64::max);
    let left = || (1.0 - own - others().map(|(_, logprob)| probability(*logprob)).sum::<f64>()).max(0.0);
    Some(own - rival.unwrap_or_else(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token with its probability, and what else was likely in its place.
    type Said = (&'static str, f64, &'static [(&'static str, f64)]);

    fn tokens(of: &[Said]) -> Vec<Token<'static>> {
        let one = |(text, p, others): &Said| Token {
            text: (*text).into(),
            logprob: p.ln(),
            likely: std::iter::once((*text, *p))
                .chain(others.iter().copied())
                .map(|(text, p)| (text.into(), p.ln()))
                .collect(),
        };
        of.iter().map(one).collect()
    }

    fn of_choice(tokens: &[Token<'_>], choice: &str, choices: &[&str]) -> Option<(i32, Option<i32>)> {
        let expectation = Expectation::Choices(choices.iter().map(|choice| (*choice).to_owned()).collect());
        Sureness::of(tokens, &Checked::Choice(choice), &expectation).map(|sure| (sure.logprob, sure.margin))
    }

    #[test]
    fn chances_of_choices_are_taken_as_they_are_told() {
        let of = |choice: &str, told: &[(&'static str, f64)]| {
            let chances: Vec<Chance<'_>> = told
                .iter()
                .map(|(choice, probability)| Chance { choice: (*choice).into(), probability: *probability })
                .collect();
            Sureness::of_choice(choice, &chances).map(|sure| (sure.logprob, sure.margin))
        };
        for (choice, told, want) in [
            ("a", &[("a", 0.9), ("b", 0.07), ("c", 0.03)][..], Some((900, Some(830)))),
            ("b", &[("a", 0.6), ("b", 0.4)], Some((400, Some(-200)))),
            ("a", &[("a", 1.0)], Some((1_000, Some(1_000)))),
            ("a", &[("a", 7.0), ("b", -1.0)], Some((1_000, Some(1_000)))),
            ("a", &[("b", 0.5)], None),
            ("a", &[], None),
        ] {
            assert_eq!(of(choice, told), want, "{choice} {told:?}");
        }
    }

    #[test]
    fn only_the_tokens_of_a_choice_count() {
        let moods = ["positive", "negative", "neutral"];
        for (said, want) in [
            // Braces and quotes are sure and say nothing.
            (
                tokens(&[
                    ("{\"answer\":\"", 1.0, &[]),
                    ("positive", 0.6, &[("negative", 0.3), ("ne", 0.05)]),
                    ("\"}", 1.0, &[]),
                ]),
                Some((600, Some(300))),
            ),
            // A choice of two tokens: their mean; the first one parts it from the others.
            (
                tokens(&[("pos", 0.5, &[("neg", 0.25)]), ("itive", 0.98, &[("sible", 0.02)])]),
                Some((700, Some(250))),
            ),
            // Another way to begin the same is no rival, whatever its case or what stands around it.
            (
                tokens(&[(" Positive", 0.5, &[("positive", 0.4), (" pos", 0.05), (" negative", 0.04)])]),
                Some((500, Some(460))),
            ),
            // A token that begins before the choice.
            (tokens(&[(":\"pos", 0.7, &[(":\"neg", 0.2)]), ("itive\"", 1.0, &[])]), Some((836, Some(500)))),
            // No rival is told: what the others leave is taken for one.
            (tokens(&[("positive", 0.9, &[])]), Some((900, Some(800)))),
            // Another was likelier, and was not drawn.
            (tokens(&[("positive", 0.2, &[("negative", 0.7)])]), Some((200, Some(-500)))),
            (tokens(&[("neg", 0.9, &[]), ("ative", 0.9, &[])]), None),
            (vec![], None),
        ] {
            assert_eq!(of_choice(&said, "positive", &moods), want, "{said:?}");
        }
    }

    #[test]
    fn choices_that_begin_alike_part_later() {
        let tones = ["very good", "very bad", "bad"];
        let said = tokens(&[("very", 0.9, &[("bad", 0.1)]), (" good", 0.55, &[(" bad", 0.45)])]);
        assert_eq!(of_choice(&said, "very good", &tones), Some((703, Some(100))));
        // One that is the beginning of another parts from it where it ends.
        let said = tokens(&[("pos", 0.99, &[]), ("\"}", 0.6, &[("itive", 0.4)])]);
        assert_eq!(of_choice(&said, "pos", &["pos", "positive"]), Some((990, Some(200))));
    }

    #[test]
    fn without_alternatives_there_is_no_margin() {
        let bare = [Token { text: "a".into(), logprob: 0.9_f64.ln(), likely: vec![] }];
        assert_eq!(of_choice(&bare, "a", &["a", "b"]), Some((900, None)));
    }

    #[test]
    fn of_other_answers_all_tokens_count() {
        let said = tokens(&[("two", 0.25, &[]), (" words", 1.0, &[])]);
        let text = Sureness::of(&said, &Checked::Text("two words".into()), &Expectation::Text);
        assert_eq!(text, Some(Sureness { logprob: 500, margin: None }));
        // A provider's rounding may leave a probability above 1; -9999 stands for none at all.
        let odd = [0.001, -9_999.0].map(|logprob| Token { text: "x".into(), logprob, likely: vec![] });
        let of = |token: &Token<'static>| {
            Sureness::of(std::slice::from_ref(token), &Checked::Text("x".into()), &Expectation::Text)
        };
        assert_eq!(odd.each_ref().map(|token| of(token).map(|sure| sure.logprob)), [Some(1_000), Some(0)]);
    }
}
