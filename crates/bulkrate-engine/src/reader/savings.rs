//! `bulkrate cost --savings`: the way from the naive cost of a job to what was paid, lever by lever.
//!
//! Two books are compared. What each answer would have cost is in the outcomes; what each lever saved, and what was paid, is in
//! the ledger. Nothing is fitted: if the two do not meet to the nano-dollar, a last step says by how much, and `verify` fails.

use std::collections::BTreeMap;
use std::path::Path;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{By, JobRow, LedgerKind, LedgerQuery, Sums, View};

use super::cost::unpriced_models;
use super::status::sums;
use super::verify::on_word;
use crate::EngineError;
use crate::deliver::spec_of;
use crate::embed::{EMBEDDING, Kept};
use crate::engine::delivered::report_of;
use crate::made::embeddings_of;
use crate::paths::JobDir;
use crate::run::hedge::{HEDGE, paid_twice};
use crate::run::job::{BY_MODEL, CASCADE, ESTIMATED, FILTER, PROMPT_CACHE, ROUTING};
use crate::run::recover::recover;
use crate::run::semantic::SEMANTIC;
use crate::spec::JobSpec;
use crate::view::{NaivePlan, Savings, Step};

/// Levers in the order in which they work on an item; what is not named here comes after them.
const ORDER: [&str; 10] =
    [ROUTING, CASCADE, "dedup", "cache", FILTER, SEMANTIC, "batch", "flex", "provider", PROMPT_CACHE];
/// An engine at work commits between two readings; so often they are made again.
const READINGS_MAX: u32 = 5;

/// Items, and what was not spent on them.
type Saved = BTreeMap<String, (u64, UsdNanos)>;

/// The sums of both books at one moment.
struct Books {
    naive: UsdNanos,
    saved: Saved,
    sums: Sums,
    beside: Beside,
}

/// What was paid that no lever is about, with the items that it was paid for.
pub(crate) type Beside = [(&'static str, u64, UsdNanos); 3];

/// What was paid more than once, or without an answer: `naive - savings + beside = spent`.
pub(crate) fn beside(view: &dyn View, job: u32, sums: &Sums) -> Result<Beside, EngineError> {
    let (of_duplicates, any) = (sums.usd(LedgerKind::Duplicate), sums.items(LedgerKind::Duplicate));
    let (copies, hedged) = if any > 0 { paid_twice(view, job)? } else { (0, UsdNanos::ZERO) };
    Ok([
        (HEDGE, copies, hedged),
        ("paid twice", any.saturating_sub(copies), of_duplicates - hedged),
        // Settled because an operator said so.
        ("paid without an answer", 0, on_word(view, job)?),
    ])
}

impl Books {
    fn read(view: &dyn View, job: &JobRow) -> Result<Self, EngineError> {
        let mut readings = 0;
        loop {
            let sums_before = sums(view, &LedgerQuery::of_job(job.no))?;
            let saved = saved(view, job)?;
            let of_outcomes = naive_of_outcomes(view, job)?;
            // Outcomes know what they would have cost at their own model; what another would have is in the ledger.
            let by_model = BY_MODEL.iter().filter_map(|lever| saved.get(*lever)).map(|(_, usd)| *usd);
            let naive = of_outcomes + by_model.sum::<UsdNanos>();
            let beside = beside(view, job.no, &sums_before)?;
            let sums = sums(view, &LedgerQuery::of_job(job.no))?;
            readings += 1;
            if sums == sums_before || readings == READINGS_MAX {
                return Ok(Self { naive, saved, sums, beside });
            }
        }
    }

    fn steps(&self) -> Vec<(String, u64, UsdNanos)> {
        let place = |lever: &str| ORDER.iter().position(|known| *known == lever).unwrap_or(ORDER.len());
        let mut steps: Vec<_> =
            self.saved.iter().map(|(lever, (items, usd))| (lever.clone(), *items, *usd)).collect();
        steps.sort_by_key(|(lever, ..)| place(lever));
        steps.extend(self.beside.map(|(name, items, usd)| (name.to_owned(), items, UsdNanos(-usd.0))));
        steps.retain(|(_, items, usd)| *items > 0 || *usd != UsdNanos::ZERO);
        steps
    }

    /// By how much the books do not meet.
    fn gap(&self) -> UsdNanos {
        let saved: UsdNanos = self.steps().iter().map(|(.., usd)| *usd).sum();
        self.naive - saved - self.sums.spent().settled
    }
}

fn saved(view: &dyn View, job: &JobRow) -> Result<Saved, EngineError> {
    let query = LedgerQuery { kind: Some(LedgerKind::Saving), ..LedgerQuery::of_job(job.no) };
    let totals = view.ledger_totals(&query.by(&[By::Lever]))?.into_iter();
    Ok(totals
        .map(|total| {
            let sum = (total.sums.items(LedgerKind::Saving), total.sums.usd(LedgerKind::Saving));
            (total.group.concat(), sum)
        })
        .collect())
}

/// What every outcome would have cost one by one, each follower as much as its leader.
fn naive_of_outcomes(view: &dyn View, job: &JobRow) -> Result<UsdNanos, EngineError> {
    Ok(recover(view, job.no, true, 0, None, Ordinal::MAX)?.tally.naive)
}

pub(super) fn savings(view: &dyn View, state_dir: &Path, job: &JobRow) -> Result<Savings, EngineError> {
    let books = Books::read(view, job)?;
    // The job that embeds has books of its own; what it cost was spent for this one.
    let embeds = Kept::load(&JobDir::of(state_dir, &job.id))?;
    let embedded = embeds.spent(view)?;
    let mut steps = books.steps();
    if embedded.settled > UsdNanos::ZERO {
        let behind = steps.iter().position(|(lever, ..)| lever == SEMANTIC).map_or(steps.len(), |at| at + 1);
        steps.insert(behind, (EMBEDDING.to_owned(), embeds.vectors, UsdNanos(-embedded.settled.0)));
    }
    let gap = books.gap();
    if gap != UsdNanos::ZERO {
        steps.push(("not explained".to_owned(), 0, gap));
    }
    let mut cost = books.naive;
    let steps = steps
        .into_iter()
        .map(|(lever, items, saved)| {
            cost -= saved;
            Step { estimated: ESTIMATED.contains(&lever.as_str()), lever, items, saved, cost }
        })
        .collect();
    let spent = books.sums.spent().and(embedded);
    Ok(Savings {
        job: job.id.clone(),
        name: job.name.clone(),
        items: job.items,
        limit: spec_of(job)?.source.limit.filter(|limit| *limit < job.items),
        naive_plan: naive_plan(view, job)?,
        naive: books.naive,
        steps,
        spent: spent.settled,
        in_doubt: spent.doubt,
        reserved: spent.reserved,
        pilot: crate::pilot::cost_of(state_dir, &job.id, view)?,
        source_embeddings: embeddings_of(view, job)?,
        unpriced: !unpriced_models(job).is_empty(),
    })
}

/// The plan that everything is compared with: the strong model for all where something chose another, else each item's own.
fn naive_plan(view: &dyn View, job: &JobRow) -> Result<NaivePlan, EngineError> {
    let totals = view.ledger_totals(&LedgerQuery::of_job(job.no).by(&[By::Model]))?.into_iter();
    let answered = |sums: &Sums| sums.items(LedgerKind::Settle) > 0 || sums.items(LedgerKind::Saving) > 0;
    let models: Vec<String> = totals
        .filter(|total| answered(&total.sums))
        .map(|total| total.group.concat())
        .filter(|model| !model.is_empty())
        .collect();
    let only = models.first().filter(|_| models.len() == 1).cloned();
    // The report names it as it was resolved; until there is one, the job's own word must do.
    let model = match report_of(job) {
        Some(report) => report["naive_model"].as_str().map(str::to_owned),
        None => {
            let JobSpec { request, run, .. } = spec_of(job)?;
            let chosen = request.chooses();
            run.instead_of.or(request.model.filter(|_| chosen))
        }
    };
    let model = model.or(only);
    Ok(NaivePlan { model, models, lane: "sync".to_owned() })
}
