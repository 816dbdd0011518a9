//! What a plan says of decisions: what the same rows would be expected to cost as chats, which have batches.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::bound::{Effort, default_output_max};
use bulkrate_core::price::{JobShape, Ratios, estimate};

use super::Facts;
use crate::prepare::{ModelStats, Stats};

/// `None`: the job is none of decisions, or no price of chats is known.
pub(super) fn told(facts: &Facts<'_>, stats: &Stats) -> Option<String> {
    let sum = |lane, as_chat| {
        let asked = stats.models.iter().filter(|stats| stats.items > 0);
        asked.map(|stats| expected(facts, stats, lane, as_chat)).sum::<Option<UsdNanos>>()
    };
    let (own, batch) = (sum(Lane::Sync, false)?, sum(Lane::Batch, true)?);
    let sync = sum(Lane::Sync, true)?;
    if own == UsdNanos::ZERO {
        return None;
    }
    let cheapest = if batch < own {
        "a batch of chats is cheaper, and takes up to a day"
    } else {
        "decisions are cheaper"
    };
    Some(format!(
        "decisions are charged by their input alone, USD {own}; as chats the same rows would be expected to cost USD {batch} in the batch lane and USD {sync} in calls: {cheapest}"
    ))
}

/// Of a model's items, as decisions or as chats that answer with a choice and nothing else.
fn expected(facts: &Facts<'_>, stats: &ModelStats, lane: Lane, as_chat: bool) -> Option<UsdNanos> {
    let found = facts.deployments.iter().find(|found| found.pinned == stats.model)?;
    let chat = found.chat.as_ref()?;
    let row = if as_chat { chat } else { &found.row };
    let output_max = default_output_max(stats.choice_bytes, Effort::None, chat.limits.max_output);
    let shape = JobShape { output_max, ..stats.shape(false) };
    estimate::quote(row.rates(lane)?, &Ratios::default(), &shape).map(|quote| quote.expected)
}
