//! Whose answer is whose: what an item is given is surely its own, or it is given nothing.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::collect::unfence;
use crate::request::Text;

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    answers: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct One<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    answer: &'a RawValue,
}

/// The answers to `n` items in the order of their ids; `None` where there is none that is surely the item's. The error says why
/// nothing in it can be used.
///
/// An id counts only if all before it are smaller and all after it larger: where a model has exchanged two of them, no answer
/// between them is believed.
pub fn answers(text: &str, n: usize) -> Result<Vec<Option<&RawValue>>, String> {
    let whole: Whole<'_> = serde_json::from_str(unfence(text))
        .map_err(|error| format!("the answer is not the JSON that was asked for: {error}"))?;
    // What has no readable id is nobody's, and says nothing of the order.
    let told: Vec<(usize, &RawValue)> = whole
        .answers
        .iter()
        .filter_map(|entry| serde_json::from_str::<One<'_>>(entry.get()).ok())
        .filter_map(|one| Some((place(&one.id, n)?, one.answer)))
        .collect();
    let mut after: Vec<usize> = vec![usize::MAX; told.len() + 1];
    for (at, (place, _)) in told.iter().enumerate().rev() {
        after[at] = after[at + 1].min(*place);
    }
    let mut found = vec![None; n];
    let mut before = None;
    for (at, (place, answer)) in told.iter().enumerate() {
        if before.is_none_or(|before| before < *place) && *place < after[at + 1] {
            found[*place] = Some(*answer);
        }
        before = before.max(Some(*place));
    }
    Ok(found)
}

/// The place that an id names, from 0.
fn place(id: &str, n: usize) -> Option<usize> {
    let digits = id.strip_prefix('k').filter(|digits| !digits.starts_with(['0', '+']))?;
    digits.parse::<usize>().ok()?.checked_sub(1).filter(|place| *place < n)
}

/// An item's answer as the text that it would have been alone. `as_json`: JSON was asked for. `None`: there is none.
#[must_use]
pub fn text_of(answer: &RawValue, as_json: bool) -> Option<Cow<'_, str>> {
    if as_json {
        return Some(Cow::Borrowed(answer.get()));
    }
    match serde_json::from_str::<Text<'_>>(answer.get()) {
        Ok(text) => Some(text.0),
        Err(_) if answer.get() == "null" => None,
        Err(_) => Some(Cow::Borrowed(answer.get())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn read(ids: &[&str]) -> Vec<bool> {
        let listed: Vec<String> =
            ids.iter().map(|id| format!(r#"{{"id":"{id}","answer":"of {id}"}}"#)).collect();
        let text = format!(r#"{{"answers":[{}]}}"#, listed.join(","));
        let found = answers(&text, 4).unwrap();
        for (place, answer) in found.iter().enumerate() {
            assert!(answer.is_none_or(|answer| answer.get() == format!("\"of k{}\"", place + 1)), "{ids:?}");
        }
        found.iter().map(Option::is_some).collect()
    }

    #[test]
    fn an_id_that_is_not_surely_its_own_is_nobodys() {
        for (ids, want) in [
            (&["k1", "k2", "k3", "k4"][..], [true, true, true, true]),
            (&["k1", "k3", "k4"], [true, false, true, true]),
            (&["k1", "k3", "k2", "k4"], [true, false, false, true]),
            (&["k4", "k2", "k3", "k1"], [false, false, false, false]),
            (&["k1", "k2", "k2", "k4"], [true, false, false, true]),
            (&["k1", "k2", "k1", "k4"], [false, false, false, true]),
            (&["k1", "k9", "k2", "x", "k3", "k04"], [true, true, true, false]),
            (&["k0", "k", "k-1", "k+2", "K3"], [false, false, false, false]),
            (&[], [false, false, false, false]),
        ] {
            assert_eq!(read(ids), want, "{ids:?}");
        }
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_nobodys() {
        let text = r#"{"answers":[{"id":"k1","answer":1},{"answer":2},7,{"id":3,"answer":3},{"id":"k2"},{"id":"k2","answer":{"a":[1]}}],"more":1}"#;
        let found = answers(text, 2).unwrap();
        assert_eq!(
            found.iter().map(|answer| answer.unwrap().get()).collect::<Vec<_>>(),
            ["1", r#"{"a":[1]}"#]
        );
        let fenced = format!("```json\n{text}\n```");
        assert_eq!(answers(&fenced, 2).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_list_of_answers_is_unusable() {
        for text in
            ["", "positive", "{\"answers\":[{\"id\":\"k1\",\"answer\":\"a", "[]", "{}", r#"{"answers":7}"#]
        {
            assert!(answers(text, 2).unwrap_err().contains("not the JSON"), "{text}");
        }
    }

    #[test]
    fn an_answer_is_the_text_that_it_would_have_been() {
        for (raw, as_json, want) in [
            (r#""a\nb""#, false, Some("a\nb")),
            (r#""a""#, true, Some(r#""a""#)),
            ("7", false, Some("7")),
            ("null", false, None),
            (r#"{"n":1}"#, true, Some(r#"{"n":1}"#)),
        ] {
            assert_eq!(text_of(serde_json::from_str(raw).unwrap(), as_json).as_deref(), want, "{raw}");
        }
    }
}
