//! Answers that the semantic cache served: each is one that a model gave to an earlier item, word for word and for what that is worth.

use std::collections::HashMap;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::route::learned::fingerprint;
use bulkrate_store::{Fate, Outcome, Via};

use super::{Faults, number};
use crate::result_line::{ResponseLine, ResultLine};
use crate::view::Check;

/// What was kept so far, in the order of the outcomes: as much as the cache itself keeps.
#[derive(Debug, Default)]
pub(super) struct Served {
    kept: HashMap<Ordinal, (u64, UsdNanos)>,
    count: u64,
    faults: Faults,
}

impl Served {
    pub(super) fn look(&mut self, line: &ResultLine<'_>, outcome: &Outcome) {
        let Some(lesson) = &line.semantic else { return };
        let good = outcome.fate == Fate::Final && outcome.class.is_none();
        let said = line.response.as_ref().map(digest);
        if outcome.via == Via::Semantic {
            self.count += 1;
            let source = lesson.from.and_then(|from| self.kept.get(&from.checked_sub(1)?));
            let item = number(outcome.ordinal);
            match (source, said) {
                (None, _) => {
                    self.faults.add(|| format!("item {item} has an answer that nothing before it kept"));
                }
                (Some((source, _)), said) if said != Some(*source) => {
                    self.faults
                        .add(|| format!("item {item} has another answer than the item that it is from"));
                }
                (Some((_, naive)), _) if *naive != outcome.naive => self.faults.add(|| {
                    format!(
                        "item {item} is booked as worth USD {}, its answer costs USD {naive}",
                        outcome.naive
                    )
                }),
                _ => {}
            }
        } else if good && lesson.kept && outcome.via.is_attempt() {
            let kept = said.map(|said| (said, lesson.naive().unwrap_or(outcome.naive)));
            self.kept.extend(kept.map(|kept| (outcome.ordinal, kept)));
        }
    }

    /// `None`: nothing was served.
    pub(super) fn check(&self) -> Option<Check> {
        let proved = format!("{} items were answered like a similar one", self.count);
        (self.count > 0).then(|| self.faults.check("served answers were given by a model", proved))
    }
}

fn digest(response: &ResponseLine<'_>) -> u64 {
    match (&response.text, response.parsed) {
        (Some(text), _) => fingerprint(text),
        (None, json) => fingerprint(json.map_or("", |json| json.get())).wrapping_add(1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bulkrate_store::Place;

    use super::*;

    fn outcome(ordinal: Ordinal, via: Via, naive: i64) -> Outcome {
        let place = Place { segment: 0, offset: 0 };
        Outcome { via, naive: UsdNanos(naive), ..Outcome::without_call(ordinal, None, Fate::Final, place) }
    }

    fn line(item: u32, text: &str, semantic: &str) -> String {
        format!(
            r#"{{"item":{item},"attempt":0,"status":"succeeded","response":{{"text":"{text}"}},"cost_usd":"0","model":"m","lane":"sync","semantic":{semantic}}}"#
        )
    }

    #[test]
    fn what_was_served_must_have_been_kept_before_and_be_equal() {
        let kept = r#"{"kept":true,"naive_usd":"0.000000500"}"#;
        for (from, text, naive, want) in [
            (1, "card", 500, None),
            (2, "card", 500, Some("nothing before it kept")),
            (0, "card", 500, Some("nothing before it kept")),
            (1, "parcel", 500, Some("another answer")),
            (1, "card", 400, Some("booked as worth")),
        ] {
            let mut served = Served::default();
            let source = line(1, "card", kept);
            served.look(&serde_json::from_str(&source).unwrap(), &outcome(0, Via::Sync, 500));
            assert!(served.check().is_none());
            let other = line(3, text, &format!(r#"{{"from":{from},"similarity":1.0,"tau":0.1}}"#));
            served.look(&serde_json::from_str(&other).unwrap(), &outcome(2, Via::Semantic, naive));
            let check = served.check().unwrap();
            assert_eq!(check.passed, want.is_none(), "{check:?}");
            assert!(check.detail.contains(want.unwrap_or("1 items")), "{check:?}");
        }
    }
}
