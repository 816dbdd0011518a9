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
pub fn answers(text: &str, n: usize) -> Result<Vec<Option<&RawValue>>, String> {
    let whole: Whole<'_> = serde_json::from_str(unfence(text))
        .map_err(|error| format!("the answer is not the JSON that was asked for: {error}"))?;
    // What has no readable id is nobody's, and says nothing of the order.
    let told: Vec<(usize, &RawValue)> = whole
        .answers
        .iter()
        .filter_map(|entry| serde_json::from_str::<One<'_>>(entry.get()).ok())
        .filter_map(|one| Some((number(&one.id)?, one.answer)))
        .collect();
    let ids: Vec<usize> = told.iter().map(|(id, _)| *id).collect();
    let believed = believed(&ids, n)?;
    Ok(believed.into_iter().map(|at| at.map(|at| told[at].1)).collect())
}

/// Of each of `n` ids where in the list it stands, if it is believed.
///
/// An id is in its place if it is there once, all before it are smaller and all after it larger: where a model has exchanged two of
/// them, none between them is. It is believed if those before and after it are in their places too: of two that were exchanged one may
/// have been left out, and what is left is in order. And the last id must be believed, and none be there that was not given: a
/// model that passes an item over, or answers one twice, and counts on, gives every later item its neighbour's answer, and only the
/// end of the list says so.
pub(super) fn believed(ids: &[usize], n: usize) -> Result<Vec<Option<usize>>, &'static str> {
    if ids.iter().any(|id| !(1..=n).contains(id)) {
        return Err("the answer has ids that were not given: nobody can say from where on it counts wrongly");
    }
    let placed = in_place(ids, n);
    // Before the first and behind the last nothing can be missing.
    let is_placed = |id: usize| id == 0 || id > n || placed[id - 1].is_some();
    let found: Vec<Option<usize>> =
        (1..=n).map(|id| placed[id - 1].filter(|_| is_placed(id - 1) && is_placed(id + 1))).collect();
    if found.last().is_none_or(Option::is_none) {
        return Err(
            "the last id is not surely in its place: nobody can say from where on the answer counts wrongly",
        );
    }
    Ok(found)
}

/// Where in the list each id stands that is in its place.
fn in_place(ids: &[usize], n: usize) -> Vec<Option<usize>> {
    let mut after: Vec<usize> = vec![usize::MAX; ids.len() + 1];
    for (at, id) in ids.iter().enumerate().rev() {
        after[at] = after[at + 1].min(*id);
    }
    let mut placed = vec![None; n];
    let mut before = 0;
    for (at, id) in ids.iter().enumerate() {
        if before < *id && *id < after[at + 1] {
            placed[*id - 1] = Some(at);
        }
        before = before.max(*id);
    }
    placed
}

/// The number of an id, whether it was given or not.
fn number(id: &str) -> Option<usize> {
    let digits = id
        .strip_prefix('k')
        .filter(|digits| !digits.is_empty() && (*digits == "0" || !digits.starts_with('0')))?;
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    // One that is too long to be read is none that was given.
    is_number.then(|| digits.parse().unwrap_or(usize::MAX))
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

    const N: usize = 6;

    fn read(ids: &[&str]) -> Vec<bool> {
        let listed: Vec<String> =
            ids.iter().map(|id| format!(r#"{{"id":"{id}","answer":"of {id}"}}"#)).collect();
        let text = format!(r#"{{"answers":[{}]}}"#, listed.join(","));
        let Ok(found) = answers(&text, N) else { return vec![false; N] };
        for (place, answer) in found.iter().enumerate() {
            assert!(answer.is_none_or(|answer| answer.get() == format!("\"of k{}\"", place + 1)), "{ids:?}");
        }
        found.iter().map(Option::is_some).collect()
    }

    #[test]
    fn an_id_that_is_not_surely_its_own_is_nobodys() {
        for (ids, want) in [
            (&["k1", "k2", "k3", "k4", "k5", "k6"][..], [true, true, true, true, true, true]),
            (&["k1", "k3", "k4", "k5", "k6"], [false, false, false, true, true, true]),
            (&["k2", "k3", "k4", "k5", "k6"], [false, false, true, true, true, true]),
            (&["k1", "k3", "k2", "k4", "k5", "k6"], [false, false, false, false, true, true]),
            (&["k4", "k2", "k3", "k1", "k5", "k6"], [false, false, false, false, false, true]),
            (&["k1", "k2", "k2", "k3", "k4", "k5", "k6"], [false, false, false, true, true, true]),
            (&["k1", "k2", "k1", "k3", "k4", "k5", "k6"], [false, false, false, true, true, true]),
            (&["k1", "x", "k3", "k4", "k5", "k6"], [false, false, false, true, true, true]),
            (&["k1", "k02", "k+2", "k2", "k3", "k4", "k5", "k6"], [true; 6]),
            (&["k0", "k", "k-1", "k+2", "K3"], [false; 6]),
            (&[], [false; 6]),
        ] {
            assert_eq!(read(ids), want, "{ids:?}");
        }
    }

    #[test]
    fn where_a_model_has_miscounted_nothing_is_believed() {
        for ids in [
            &["k1", "k2", "k3", "k4", "k5"][..], // one was passed over, and those behind it moved up
            &["k1", "k2", "k3", "k4", "k5", "k6", "k7"], // one was answered twice
            &["k1", "k2", "k3", "k4", "k5", "k6", "k6"], // the same, where no other id is allowed
            &["k0", "k1", "k2", "k3", "k4", "k5", "k6"],
            &["k1", "k2", "k3", "k4", "k6", "k5"],
            &["k1", "k2", "k3", "k4", "k6"], // one of two that were exchanged may have been left out
            &["k1", "k2", "k3", "k4", "k5", "k6", "k99999999999999999999"],
        ] {
            assert_eq!(read(ids), [false; N], "{ids:?}");
        }
        let shifted = r#"{"answers":[{"id":"k1","answer":"of k1"},{"id":"k2","answer":"of k3"},{"id":"k3","answer":"of k4"}]}"#;
        assert!(answers(shifted, 4).unwrap_err().contains("the last id"));
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
