//! Requests of several items: what is read out of them, and what a model makes of that.

use crate::dice::Dice;
use crate::remote::reply_to;

/// The items of a request, each as it would have been said alone; `None`: it holds one, in so many words.
#[must_use]
pub(crate) fn items(prompt: &str) -> Option<Vec<String>> {
    let (before, mut rest) = prompt.split_once("<item id=\"k1\">")?;
    let mut found = Vec::new();
    loop {
        let (item, after) = rest.split_once("</item>")?;
        found.push(item);
        match after.strip_prefix(&format!("\n<item id=\"k{}\">", found.len() + 1)) {
            Some(next) => rest = next,
            None => return Some(found.iter().map(|item| format!("{before}{item}{after}")).collect()),
        }
    }
}

/// The id of a request of several items without its count; `None`: it has none.
pub(crate) fn first(id: &str) -> Option<&str> {
    let (first, _) = id.rsplit_once('-')?;
    (first.matches('-').count() == 2).then_some(first)
}

/// What a model says of all of them. `wrong`: chances in a thousand that it makes one mistake.
pub(crate) fn reply(items: &[String], wrong: u64, dice: &mut Dice) -> String {
    let mut said: Vec<(usize, String)> = (1..).zip(items.iter().map(|item| reply_to(item))).collect();
    let place = |dice: &mut Dice| usize::try_from(dice.below(items.len() as u64)).unwrap_or(0);
    let mistake = if dice.permille(wrong) { dice.below(5) } else { u64::MAX };
    match mistake {
        0 => drop(said.remove(place(dice))),
        1 => {
            let (one, other) = (place(dice), place(dice));
            let ids = (said[one].0, said[other].0);
            (said[one].0, said[other].0) = (ids.1, ids.0);
        }
        2 => {
            for at in place(dice) + 1..said.len() {
                said[at - 1].1 = std::mem::take(&mut said[at].1);
            }
            said.pop();
        }
        3 => return "These are too many questions.".to_owned(),
        _ => {}
    }
    let entries: Vec<String> =
        said.iter().map(|(id, answer)| format!(r#"{{"id":"k{id}","answer":"{answer}"}}"#)).collect();
    let mut text = format!(r#"{{"answers":[{}]}}"#, entries.join(","));
    if mistake == 4 {
        text.truncate(text.len() / 2);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_item_is_read_as_it_would_be_said_alone() {
        let prompt = "question <item id=\"k1\">7</item>\n<item id=\"k2\">8</item> of world 3";
        assert_eq!(items(prompt).unwrap(), ["question 7 of world 3", "question 8 of world 3"]);
        assert_eq!(items("question 7 of world 3"), None);
    }
}
