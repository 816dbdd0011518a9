//! What the operator says, who looks at the provider's console and not at the engine.

use bulkrate_core::money::UsdNanos;
use bulkrate_engine::decision::{Act, Decision};
use bulkrate_store::{NewOrder, SubmissionState, View};

use crate::hub::Hub;

/// The operator has looked at the provider's console and says what is there.
pub(crate) fn speak(hub: &mut Hub) {
    let held: Vec<String> = hub
        .books
        .rows
        .iter()
        .filter(|(_, row)| row.state == SubmissionState::Unresolved)
        .map(|(sub, _)| sub.to_string())
        .collect();
    for sub in held {
        let batch = hub.remotes.iter().find_map(|remote| remote.batch_of(&sub));
        let act = batch.map_or(Act::Absent, |batch| Act::Adopt { batch });
        order(hub, sub, act);
    }
}

/// The operator has looked at what batches have cost that the state folder knows nothing of.
pub(crate) fn speak_of_ghosts(hub: &mut Hub) {
    for sub in hub.books.ghosts() {
        // What was said of an earlier ghost of the same submission is not said again.
        let said = hub.books.apart.get(&sub).map_or(0, |apart| apart.duplicate.min(i64::MAX.into()));
        let said = i64::try_from(said).unwrap_or(0);
        let sub = sub.to_string();
        let costs = hub.remotes.iter().map(|remote| remote.cost_of(&sub));
        let Some(cost) = costs.sum::<Option<i64>>() else { continue }; // not over yet
        let act = match (cost - said).max(0) {
            0 => Act::Absent,
            _ if hub.dice.permille(200) => Act::Paid { cost: None, again: false },
            cost => Act::Paid { cost: Some(UsdNanos(cost)), again: false },
        };
        order(hub, sub, act);
    }
}

fn order(hub: &mut Hub, sub: String, act: Act) {
    hub.note(format_args!("the operator says of {sub}: {act:?}"));
    let decision = Decision { sub, act, who: "world".into() };
    let payload = serde_json::to_string(&decision).unwrap_or_default();
    // One that was refused for its budget left nothing but its number.
    let job = hub.store.jobs().ok().and_then(|jobs| jobs.last().map(|job| job.no)).unwrap_or(1);
    let order = NewOrder { job, verb: "doubt".into(), payload, at_ms: 0 };
    if let Err(error) = hub.store.put_order(&order) {
        hub.books.wrong("I2", format!("an order could not be left: {error}"));
    }
}
