//! The last word on a world: the provider's bill, the rows and the output.

use std::collections::{BTreeSet, HashMap};

use bulkrate_core::ids::{Ordinal, WireId};
use bulkrate_engine::spec::JobSpec;

use crate::check::{Item, LeaseEnd, Paid, at_the_end, doubts};
use crate::hub::Hub;
use crate::line::leases_of;
use crate::remote::{Charge, Of, reply_to};
use crate::run::text;

/// Everything is over: the bill, the rows, the output.
pub(crate) fn judge(hub: &mut Hub, spec: &JobSpec) {
    hub.note(format_args!("judged"));
    let bill: Vec<Paid> = hub.charges().filter_map(|charge| paid(hub, charge)).collect();
    let (windows, usage) = (hub.plan.has_windows(), hub.plan.faults.no_usage == 0);
    at_the_end(&mut hub.books, &bill, (windows, &hub.doubled), usage);
    let (sent, calls) = (hub.books.copies.sent, hub.books.copies.calls);
    let share = u64::from(hub.plan.hedge.share_permille);
    // A call without a connection counts for the engine, and nobody here has seen it.
    if hub.plan.faults.no_connection == 0 && sent * 1_000 > calls * share {
        hub.books
            .wrong("I5", format!("{sent} copies beside {calls} calls are more than {share} of a thousand"));
    }
    // A batch that was denied, or a file that could not be had, leaves doubt about what was refused as well. So do files that
    // were deleted in a life that the restored folder knows nothing of.
    if hub.plan.faults.denied == 0 && hub.plan.faults.file_missing == 0 && !hub.restored {
        let mut refused = BTreeSet::new();
        hub.remotes.iter_mut().for_each(|remote| refused.append(&mut remote.refused));
        doubts(&mut hub.books, &refused);
    }
    if hub.books.open != 0 || hub.books.reserved() != 0 {
        let open = hub.books.open;
        hub.books.wrong("I9", format!("the job is over and {open} are still reserved"));
    }
    for (sub, row) in hub.books.rows.clone() {
        if row.lane == bulkrate_core::lane::Lane::Batch && !row.state.is_terminal() {
            hub.books.wrong("I2", format!("the job is over and {sub} is {:?}", row.state));
        }
    }
    output(hub, spec);
}

/// What a charge was for. `None`: the state folder that is judged has not seen the call.
fn paid(hub: &Hub, charge: &Charge) -> Option<Paid> {
    let (batch, cost) = (charge.batch.clone(), charge.nanos);
    match &charge.of {
        // A batch that is known by its input file alone is of nobody, where a restored folder knows no such file (W5).
        Of::Line(_) if hub.restored && charge.input.as_ref().is_some_and(|input| !hub.books.knows(input)) => {
            None
        }
        Of::Line(id) => {
            let sub = WireId::parse(id).map(|id| id.sub);
            Some(Paid { leases: leases_of(hub, id), sub, cost, by: id.clone(), batch })
        }
        Of::Call(no) => {
            let no = usize::try_from(*no).unwrap_or(0);
            let leases = hub.calls[no].clone();
            let seen = !hub.unseen.contains(&no);
            seen.then(|| Paid { leases, sub: None, cost, by: format!("call {no}"), batch })
        }
    }
}

/// The models that were paid for an item. What a restored folder has not seen is billed as well.
fn models(hub: &Hub) -> HashMap<Ordinal, Vec<&'static str>> {
    let mut models: HashMap<Ordinal, Vec<&'static str>> = HashMap::new();
    for charge in hub.charges() {
        for (item, _) in paid(hub, charge).into_iter().flat_map(|paid| paid.leases) {
            let of = models.entry(item).or_default();
            if !of.contains(&charge.model) {
                of.push(charge.model);
            }
        }
    }
    models
}

/// Every item has its row, in order, and a row with an answer has the right one.
fn output(hub: &mut Hub, spec: &JobSpec) {
    let path = spec.sink.path.clone().unwrap_or_default();
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let rows: Vec<serde_json::Value> =
        written.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if rows.len() as u64 != hub.plan.items {
        hub.books.wrong("I1", format!("{} items were given, {} rows came out", hub.plan.items, rows.len()));
    }
    let models = models(hub);
    for (item, row) in (0..).zip(&rows) {
        let prompt = text(item, &hub.plan);
        let leader = hub.prompts.get(&prompt).copied().unwrap_or(0);
        let state = hub.books.items.get(leader as usize).copied();
        let good = row["_status"] == "succeeded";
        if row["id"] != format!("i{item}") {
            hub.books.wrong("I12", format!("row {item} is {}", row["id"]));
        }
        if good != (state == Some(Item::Done)) {
            hub.books.wrong("I15", format!("row {item} says {}, item {leader} is {state:?}", row["_status"]));
        }
        let answer = row["answer"].as_str().unwrap_or("");
        // A line that came twice with two bodies: the first one counts, and either may be the first.
        if good && answer != reply_to(&prompt) && answer != "another answer" {
            hub.books.wrong("I7", format!("row {item} has the answer `{answer}`"));
        }
        let model = row["_model"].as_str().unwrap_or("");
        let is_one = |models: &Vec<&str>| models.iter().any(|paid| model.contains(paid));
        if good && !models.get(&leader).is_some_and(is_one) {
            hub.books
                .wrong("I7", format!("row {item} says that `{model}` has answered, which nobody billed"));
        }
        if !good && row["_error"].as_str().unwrap_or("").is_empty() {
            hub.books.wrong("I10", format!("row {item} failed without a reason: {row}"));
        }
    }
    let ends: u64 =
        hub.books.leases.values().flatten().filter(|leased| leased.end == LeaseEnd::Open).count() as u64;
    if ends > 0 {
        hub.books.wrong("I1", format!("{ends} leases never ended"));
    }
}
