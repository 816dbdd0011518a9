//! Requests that hold several items under ids: what a model makes of each of them, and how it gets some of them wrong.
//!
//! An item is answered as it would be alone, so that what was exchanged on the way can be told from the answers.

use super::schema::Schema;
use super::{Format, Prompt};
use crate::json::push_str;
use crate::rng::{below, hash, mix, unit};

/// Shares of items whose answer is left out or has another's id; of answers that pass one item over and count on, so that all
/// later items have their neighbour's, and of answers that are cut; and one item in so many that spoils every answer in which
/// it has company.
const DROPPED: f64 = 0.02;
const EXCHANGED: f64 = 0.01;
const SHIFTED: f64 = 0.01;
const CUT: f64 = 0.005;
const POISON_IN: usize = 500;

/// The answer to a request of several items; `None` for any other. `wrong`: models make the mistakes above; `errs`: whether the model does not
/// know the answer to one of so many items, by its text and a key.
pub(crate) fn write(
    prompt: &Prompt<'_>,
    format: &Format,
    key: u64,
    wrong: bool,
    errs: &dyn Fn(usize, &str, u64) -> bool,
) -> Option<String> {
    let Format::Schema(schema) = format else { return None };
    let ids = schema.ids()?;
    let items = items(&prompt.user, &ids)?;
    let answer = |text: &str| {
        let key = hash(text.as_bytes(), 0xB0D1E);
        // Who has not read it says what is plausible.
        if errs(items.len(), text, key) {
            schema.answer("", mix(key ^ 0xB11D))
        } else {
            schema.answer(text, key)
        }
    };
    let mut answers: Vec<(&str, String)> = items.iter().map(|(id, text)| (*id, answer(text))).collect();
    if wrong && items.len() > 1 {
        if items.iter().any(|(_, text)| is_poison(text)) {
            return Some("I could not make sense of all of this.".to_owned());
        }
        exchange(&mut answers, key);
        if unit(mix(key ^ 0x5117)) < SHIFTED {
            shift(&mut answers, below(mix(key ^ 0x0FF), items.len()));
        }
        let kept = |at: usize| unit(mix(key ^ mix(at as u64 + 1))) >= DROPPED;
        let mut at = 0;
        answers.retain(|_| {
            at += 1;
            kept(at)
        });
    }
    let mut out = b"{\"answers\":[".to_vec();
    for (at, (id, answer)) in answers.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",{\"id\":" } else { b"{\"id\":" });
        push_str(&mut out, id);
        out.extend_from_slice(b",\"answer\":");
        out.extend_from_slice(answer.as_bytes());
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    if wrong && items.len() > 1 && unit(mix(key ^ 0xC07)) < CUT {
        out.truncate(out.len() / 2);
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// Whether a text spoils the answers of its company.
fn is_poison(text: &str) -> bool {
    below(hash(text.as_bytes(), 0x901_50B), POISON_IN) == 0
}

/// Gives some answers the id of another.
fn exchange(answers: &mut [(&str, String)], key: u64) {
    for at in 0..answers.len() {
        let draw = mix(key ^ mix(at as u64 ^ 0x5A9));
        // Each exchange concerns two items.
        if unit(draw) < EXCHANGED / 2.0 {
            let other = below(mix(draw), answers.len());
            let (here, there) = (answers[at].0, answers[other].0);
            (answers[at].0, answers[other].0) = (there, here);
        }
    }
}

/// Passes one over and gives its id to the next one, and so on.
fn shift(answers: &mut Vec<(&str, String)>, from: usize) {
    for at in from + 1..answers.len() {
        answers[at - 1].1 = std::mem::take(&mut answers[at].1);
    }
    answers.pop();
}

/// The items by their ids, each as it would have been said alone: with what stands around all of them.
fn items<'i>(user: &str, ids: &[&'i str]) -> Option<Vec<(&'i str, String)>> {
    let first = user.find(&format!(" id=\"{}\">", ids.first()?))?;
    let open = user[..first].rfind('<')?;
    let (before, name) = (&user[..open], &user[open + 1..first]);
    let mut rest = &user[open..];
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let start = format!("<{name} id=\"{id}\">");
        let from = rest.find(&start)? + start.len();
        let end = format!("</{name}>");
        let to = from + rest[from..].find(&end)?;
        found.push((*id, rest[from..to].to_owned()));
        rest = &rest[to + end.len()..];
    }
    for (_, text) in &mut found {
        *text = format!("{before}{text}{rest}");
    }
    Some(found)
}

impl Schema {
    /// The form of one answer of several, about `text`.
    fn answer(&self, text: &str, key: u64) -> String {
        self.example_at(&["answers", "", "answer"], text, key)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::sync::Arc;

    fn asked(texts: &[&str], wrong: bool) -> Option<String> {
        let ids: Vec<String> = (1..=texts.len()).map(|at| format!("k{at}")).collect();
        let schema = serde_json::json!({"type":"object","properties":{"answers":{"type":"array","items":{"type":"object",
            "properties":{"id":{"type":"string","enum":ids},"answer":{"type":"string","enum":["positive","negative","neutral"]}}}}}});
        let format = Format::Schema(Arc::new(Schema::compile(&schema, false, "a", "p").unwrap()));
        let mut user = "Review: ".to_owned();
        for (at, text) in texts.iter().enumerate() {
            user.push_str(&format!("<item2- id=\"k{}\">{text}</item2->\n", at + 1));
        }
        let prompt = Prompt { user: user.into(), ..Prompt::default() };
        let key = prompt.key(1);
        write(&prompt, &format, key, wrong, &|_, _, _| false)
    }

    #[test]
    fn every_item_is_answered_as_if_it_were_alone() {
        assert_eq!(
            asked(&["great stuff", "terrible stuff", "a box"], false).unwrap(),
            r#"{"answers":[{"id":"k1","answer":"positive"},{"id":"k2","answer":"negative"},{"id":"k3","answer":"neutral"}]}"#
        );
        let plain = Schema::compile(&serde_json::json!({"type":"object"}), false, "a", "p").unwrap();
        assert_eq!(
            write(&Prompt::default(), &Format::Schema(Arc::new(plain)), 1, false, &|_, _, _| true),
            None
        );
    }

    #[test]
    fn a_model_that_passes_one_over_counts_on() {
        let mut said = vec![("k1", "a".to_owned()), ("k2", "b".to_owned()), ("k3", "c".to_owned())];
        shift(&mut said, 1);
        assert_eq!(said, [("k1", "a".to_owned()), ("k2", "c".to_owned())]);
    }

    #[test]
    fn mistakes_are_as_frequent_as_they_are_said_to_be() {
        let (mut items, mut told, mut unusable, mut ordered) = (0_u32, 0_u32, 0_u32, 0_u32);
        for call in 0..2_000 {
            let texts: Vec<String> = (0..20).map(|item| format!("great {call} {item}")).collect();
            let said = asked(&texts.iter().map(String::as_str).collect::<Vec<_>>(), true).unwrap();
            items += 20;
            let Ok(read) = serde_json::from_str::<serde_json::Value>(&said) else {
                unusable += 1;
                continue;
            };
            let ids: Vec<u32> = read["answers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["id"].as_str().unwrap()[1..].parse().unwrap())
                .collect();
            told += u32::try_from(ids.len()).unwrap();
            ordered += u32::from(ids.is_sorted());
        }
        // One bundle in 25 has a poisonous item, one in 200 is cut; a tenth has an exchange.
        assert!((60..130).contains(&unusable), "{unusable}");
        let missing = items - unusable * 20 - told;
        assert!((600..920).contains(&missing), "{missing} of {items}");
        assert!((1_650..1_860).contains(&ordered), "{ordered}");
    }
}
