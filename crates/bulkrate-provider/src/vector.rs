//! Vectors as they come back: one list of numbers, whichever API it is of.

use std::borrow::Cow;

use bulkrate_core::answer::{Answer, Body, Embedding, Finish, Reading};
use bulkrate_core::usage::Usage;
use serde_json::value::RawValue;

/// `None`: what has no vector is no answer.
pub(crate) fn answer<'a>(
    values: Option<&'a RawValue>,
    finish: Finish,
    (usage, tier): (Option<Usage>, Option<Cow<'a, str>>),
) -> Option<Reading<'a>> {
    let values = values.filter(|values| values.get().starts_with('['))?;
    Some(Reading::Answer(Box::new(Answer {
        body: Body::Embedding(Embedding::Numbers(values)),
        finish,
        usage,
        model: None,
        tier,
        charged: None,
        tokens: Vec::new(),
    })))
}
