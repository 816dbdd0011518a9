//! Log-probabilities of an answer's tokens: a model that knows is mostly sure, and one that does not is mostly unsure.

use std::io::Write as _;

use crate::answers::{self, Format, Prompt};
use crate::json::push_str;
use crate::rng::{mix, unit};

/// Of right answers so many are sure ones, and of wrong ones.
const SURE_RIGHT: f64 = 0.85;
const SURE_WRONG: f64 = 0.25;
/// The probability of a token that leaves no doubt.
const CERTAIN: f64 = 0.9999;
/// A token is no longer than this.
const TOKEN_BYTES_MAX: usize = 8;

/// What a model doubts of its answer.
#[derive(Debug)]
pub(crate) struct Doubt {
    /// The probability of the token in which the answer parts from the other.
    sure: f64,
    /// What it would have answered else.
    other: String,
    /// Tokens that are told in the place of each.
    top: usize,
}

impl Doubt {
    /// `wrong`: the model does not know the answer. `key`: of the prompt and the model.
    pub(crate) fn of(
        prompt: &Prompt<'_>,
        format: &Format,
        (key, own): (u64, u64),
        wrong: bool,
        top: usize,
    ) -> Self {
        let other = match wrong {
            true => answers::write(prompt, format, key),
            false => answers::write_blindly(prompt, format, key),
        };
        let draw = |salt: u64| unit(mix(own ^ salt));
        let is_sure = draw(0x5_0BE) < if wrong { SURE_WRONG } else { SURE_RIGHT };
        let (low, high) = match (is_sure, wrong) {
            (true, _) => (0.95, 0.999),
            (false, false) => (0.55, 0.9),
            (false, true) => (0.35, 0.7),
        };
        Self { sure: low + (high - low) * draw(0xD0_0B7), other, top }
    }

    /// Appends the list of tokens.
    pub(crate) fn write(&self, text: &str, out: &mut Vec<u8>) {
        let (tokens, others) = (tokens(text), tokens(&self.other));
        let parts = tokens.iter().zip(&others).position(|(token, other)| token != other);
        out.push(b'[');
        for (at, token) in tokens.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let rival =
                others.get(at).filter(|_| parts == Some(at)).map(|other| (*other, (1.0 - self.sure) * 0.9));
            let own = (*token, if rival.is_some() { self.sure } else { CERTAIN });
            let mut likely: Vec<(&str, f64)> = std::iter::once(own).chain(rival).collect();
            likely.sort_by(|one, other| other.1.total_cmp(&one.1));
            push_token(own, out);
            out.extend_from_slice(b",\"top_logprobs\":[");
            for (at, one) in likely.into_iter().take(self.top).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                push_token(one, out);
                out.push(b'}');
            }
            out.extend_from_slice(b"]}");
        }
        out.push(b']');
    }
}

/// Without its closing brace.
fn push_token((text, probability): (&str, f64), out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"token\":");
    push_str(out, text);
    // Writing to a Vec cannot fail.
    let _ = write!(out, ",\"logprob\":{:.6},\"bytes\":{:?}", probability.ln(), text.as_bytes());
}

/// Words, and what stands between them, in pieces.
fn tokens(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = first.is_alphanumeric();
        let end = rest.find(|next: char| next.is_alphanumeric() != is_word).unwrap_or(rest.len());
        let end = rest.floor_char_boundary(end.min(TOKEN_BYTES_MAX)).max(first.len_utf8());
        let (token, left) = rest.split_at(end);
        found.push(token);
        rest = left;
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_doubt_stands_where_the_answers_part() {
        let doubt = Doubt { sure: 0.4, other: "{\"answer\":\"negative\"}".to_owned(), top: 2 };
        let mut out = Vec::new();
        let text = "{\"answer\":\"positive\"}";
        doubt.write(text, &mut out);
        let list: Value = serde_json::from_slice(&out).unwrap();
        let all = list.as_array().unwrap();
        let said: String = all.iter().map(|token| token["token"].as_str().unwrap()).collect();
        assert_eq!(said, text);
        let p = |token: &Value| token["logprob"].as_f64().unwrap().exp();
        let unsure: Vec<&Value> = all.iter().filter(|token| p(token) < 0.99).collect();
        assert_eq!(unsure.len(), 1, "{list}");
        assert_eq!(unsure[0]["token"], "positive");
        let top = unsure[0]["top_logprobs"].as_array().unwrap();
        assert_eq!(
            (top[0]["token"].as_str(), top[1]["token"].as_str()),
            (Some("negative"), Some("positive"))
        );
        assert!((p(&top[0]) - 0.54).abs() < 1e-3 && (p(unsure[0]) - 0.4).abs() < 1e-3, "{list}");
    }

    #[test]
    fn who_knows_is_surer_than_who_does_not() {
        let prompt = Prompt::default();
        let sure = |wrong: bool| -> Vec<f64> {
            (0..500).map(|n| Doubt::of(&prompt, &Format::Text, (n, mix(n)), wrong, 0).sure).collect()
        };
        let high = |all: &[f64]| all.iter().filter(|sure| **sure >= 0.9).count();
        let (right, wrong) = (sure(false), sure(true));
        assert!(right.iter().chain(&wrong).all(|sure| (0.3..1.0).contains(sure)));
        assert!(high(&right) > 400 && (90..160).contains(&high(&wrong)), "{} {}", high(&right), high(&wrong));
    }
}
