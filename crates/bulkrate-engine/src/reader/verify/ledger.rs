//! The third reading: the ledger, against the caps and against the provider's bill.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bulkrate_core::ids::Sub;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{JobRow, LedgerEntry, LedgerKind, LedgerQuery, LogChunk, Outcome, Sums, View};

use super::{Faults, NAMED_MAX, number};
use crate::EngineError;
use crate::decision::{is_hedge, is_kept, is_operators, is_window};
use crate::deliver::spec_of;
use crate::paths::io_error;
use crate::reader::status::sums;
use crate::view::Check;

/// Answers that cost more than was reserved for them.
#[derive(Debug, Default)]
pub(super) struct Above {
    /// Bounds of open leases.
    bounds: HashMap<u32, UsdNanos>,
    answers: Faults,
    excess: UsdNanos,
}

impl Above {
    pub(super) fn feed(&mut self, chunk: LogChunk<'_>) {
        match chunk {
            LogChunk::Leases { leases, .. } => {
                self.bounds.extend(leases.iter().map(|lease| (lease.ordinal, lease.bound)));
            }
            LogChunk::Outcomes(outcomes) => outcomes.iter().for_each(|outcome| self.look(outcome)),
        }
    }

    fn look(&mut self, outcome: &Outcome) {
        if !outcome.via.is_attempt() {
            return;
        }
        // Nothing is reserved for what has no price.
        let bound = self.bounds.remove(&outcome.ordinal).filter(|bound| *bound > UsdNanos::ZERO);
        let Some(bound) = bound.filter(|bound| outcome.cost > *bound) else { return };
        self.excess = self.excess.saturating_add(outcome.cost - bound);
        self.answers
            .add(|| format!("item {} USD {} of at most USD {bound}", number(outcome.ordinal), outcome.cost));
    }

    /// What is to be said of them; they are no fault of the books.
    fn told(&self) -> String {
        if self.answers.count == 0 {
            return String::new();
        }
        format!(
            "; answers that cost more than their bounds: {}, by USD {} in all ({})",
            self.answers.count,
            self.excess,
            self.answers.named.join(", ")
        )
    }
}

/// Duplicates that name the window they came through (`W1`).
pub(super) fn in_windows(view: &dyn View, job: &JobRow) -> Result<UsdNanos, EngineError> {
    noted(view, job.no, LedgerKind::Duplicate, is_window)
}

/// What was settled without a receipt, because an operator said that it was paid.
pub(in crate::reader) fn on_word(view: &dyn View, job: u32) -> Result<UsdNanos, EngineError> {
    noted(view, job, LedgerKind::Settle, is_operators)
}

/// The sum of the entries of one kind with such a note.
fn noted(view: &dyn View, job: u32, kind: LedgerKind, is: fn(&str) -> bool) -> Result<UsdNanos, EngineError> {
    let mut sum = UsdNanos::ZERO;
    let query = LedgerQuery { kind: Some(kind), ..LedgerQuery::of_job(job) };
    view.ledger_scan(&query, &mut |entry| {
        if entry.note.as_deref().is_some_and(is) {
            sum = sum.saturating_add(entry.usd);
        }
        ControlFlow::Continue(())
    })?;
    Ok(sum)
}

/// A doubt that stands.
#[derive(Default)]
struct Standing {
    usd: UsdNanos,
    since_ms: i64,
    /// An operator has said that it was paid, at a cost nobody knows: it is decided, and stays at its bound.
    kept: bool,
}

/// The first doubts of a job that stand, by submission. What was cleared, by evidence or an operator's word, is in doubt no
/// more.
pub(super) fn doubts(view: &dyn View, job: &JobRow) -> Result<String, EngineError> {
    let mut standing: BTreeMap<Option<Sub>, Standing> = BTreeMap::new();
    for kind in [LedgerKind::Doubt, LedgerKind::DoubtCleared] {
        let query = LedgerQuery { kind: Some(kind), ..LedgerQuery::of_job(job.no) };
        view.ledger_scan(&query, &mut |entry| {
            let of = standing
                .entry(entry.sub)
                .or_insert_with(|| Standing { since_ms: entry.at_ms, ..Standing::default() });
            of.usd.0 += if kind == LedgerKind::Doubt { entry.usd.0 } else { -entry.usd.0 };
            of.kept |= entry.note.as_deref().is_some_and(is_kept);
            ControlFlow::Continue(())
        })?;
    }
    standing.retain(|_, of| of.usd > UsdNanos::ZERO);
    let more = standing.len().saturating_sub(NAMED_MAX);
    let named = standing.iter().take(NAMED_MAX).map(|(sub, of)| {
        let what = sub.map_or_else(|| format!("at {} ms", of.since_ms), |sub| format!("of {sub}"));
        let word = if of.kept { ", kept on an operator's word" } else { "" };
        format!("USD {} {what}{word}", of.usd)
    });
    let named = named.collect::<Vec<_>>().join("; ");
    Ok(if more > 0 { format!(" ({named}; and {more} more)") } else { format!(" ({named})") })
}

/// What a window let through beside all that was reserved here: nothing that was sent made it, so it is apart from the caps.
#[derive(Debug, Default)]
struct Beside {
    /// Doubt that stands, by submission.
    doubt: HashMap<Option<Sub>, UsdNanos>,
    sum: UsdNanos,
    peak: UsdNanos,
}

impl Beside {
    /// So much of an entry counts against the caps.
    fn counts(&mut self, entry: &LedgerEntry) -> UsdNanos {
        // A copy is sent from here, and reserved as any other call.
        let windows = entry.note.as_deref().is_some_and(|note| is_window(note) && !is_hedge(note));
        let standing = self.doubt.entry(entry.sub).or_default();
        let apart = match entry.kind {
            LedgerKind::Doubt | LedgerKind::Duplicate if windows => entry.usd,
            // On an operator's word as well.
            LedgerKind::DoubtCleared => entry.usd.min(*standing),
            _ => return entry.usd,
        };
        match entry.kind {
            LedgerKind::Doubt => *standing += apart,
            LedgerKind::DoubtCleared => *standing -= apart,
            _ => {}
        }
        let sign = if entry.kind == LedgerKind::DoubtCleared { -1 } else { 1 };
        self.sum.0 += sign * apart.0;
        self.peak = self.peak.max(self.sum);
        entry.usd - apart
    }

    fn told(&self) -> String {
        if self.peak == UsdNanos::ZERO {
            return String::new();
        }
        format!("; beside it USD {} at most that a window let through", self.peak)
    }
}

/// Folds the ledger and looks at every moment whether the job's cap held. Entries of one moment count together, as a
/// commit is one moment and gives back what it settles.
pub(super) fn caps(view: &dyn View, job: &JobRow, above: &Above) -> Result<Check, EngineError> {
    let name = "caps held";
    let Some(budget) = spec_of(job)?.run.budget else {
        return Ok(Check {
            name: name.to_owned(),
            passed: true,
            detail: format!("the job has no budget of its own{}", above.told()),
        });
    };
    let mut faults = Faults::default();
    let (mut running, mut peak, mut moment, mut overflow) = (Sums::default(), UsdNanos::ZERO, None, false);
    let mut beside = Beside::default();
    let mut look = |at_ms: i64, running: &Sums| {
        let total = running.spent().total();
        peak = peak.max(total);
        if total > budget {
            faults.add(|| format!("USD {total} were settled, in doubt or reserved at {at_ms} ms"));
        }
    };
    view.ledger_scan(&LedgerQuery::of_job(job.no), &mut |entry: &LedgerEntry| {
        if let Some(before) = moment.replace(entry.at_ms).filter(|before| *before != entry.at_ms) {
            look(before, &running);
        }
        overflow |= running.add(entry.kind, beside.counts(entry), 0).is_err();
        if overflow { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(last) = moment {
        look(last, &running);
    }
    if overflow {
        faults.add(|| "the ledger's sums overflow".to_owned());
    }
    let told = format!("{}{}", above.told(), beside.told());
    Ok(faults.check(name, format!("at most USD {peak} of the budget of USD {budget}{told}")))
}

/// What was settled at the bound because the provider reported no usage: the bill may be lower by as much.
fn estimated(view: &dyn View, jobs: &[u32]) -> Result<i64, EngineError> {
    let mut sum: i64 = 0;
    for job in jobs {
        view.scan_outcomes(*job, &mut |outcomes| {
            let costs = outcomes.iter().filter(|outcome| outcome.estimated).map(|outcome| outcome.cost.0);
            sum = sum.saturating_add(costs.sum());
            ControlFlow::Continue(())
        })?;
    }
    Ok(sum)
}

/// What is reserved: for batches of which nobody knows whether they exist, and for all else that is under way. The provider
/// may have billed either.
fn open_bounds(view: &dyn View, jobs: &[u32], sums: &Sums) -> Result<(i64, i64), EngineError> {
    let mut doubted: i64 = 0;
    for job in jobs {
        for batch in view.open_submissions(*job)?.iter().filter(|batch| batch.state.is_undecided()) {
            doubted = doubted.saturating_add(batch.reserved.0);
        }
    }
    Ok((doubted, sums.spent().reserved.0.saturating_sub(doubted).max(0)))
}

/// One side of the comparison: what was settled and may have been paid.
struct Side {
    of: &'static str,
    sums: Sums,
    /// Settled without usage: an upper bound itself.
    estimated: i64,
    /// Reserved for batches in doubt, and for what is under way.
    open: (i64, i64),
}

impl Side {
    fn new(view: &dyn View, of: &'static str, jobs: &[u32], sums: Sums) -> Result<Self, EngineError> {
        Ok(Self { of, sums, estimated: estimated(view, jobs)?, open: open_bounds(view, jobs, &sums)? })
    }

    fn fits(&self, total: i64) -> bool {
        let spent = self.sums.spent();
        let least = spent.settled.0.saturating_sub(self.estimated);
        let most = spent.settled.0.saturating_add(spent.doubt.0);
        (least..=most.saturating_add(self.open.0).saturating_add(self.open.1)).contains(&total)
    }

    fn told(&self, total: i64) -> String {
        let (spent, (doubted, under_way)) = (self.sums.spent(), self.open);
        let doubt = UsdNanos(spent.doubt.0.saturating_add(doubted));
        let mut told = format!(
            "bill USD {}, {} settled USD {} and in doubt USD {doubt}",
            UsdNanos(total),
            self.of,
            spent.settled
        );
        for (sum, what) in [
            (self.estimated, "settled at the bound for lack of usage"),
            (doubted, "in doubt for batches that may or may not exist"),
            (under_way, "at most for what is under way"),
        ] {
            if sum > 0 {
                told.push_str(&format!(", USD {} {what}", UsdNanos(sum)));
            }
        }
        told
    }
}

/// Settled <= bill <= settled + doubt, for this job or, where the bill is of several jobs, for all of them. A job that was
/// answered by several providers has a bill of each. What was settled without usage is an upper bound itself.
pub(super) fn bill_check(
    view: &dyn View,
    job: u32,
    sums_of_job: &Sums,
    bills: &[PathBuf],
) -> Result<Check, EngineError> {
    let mut total = 0_i64;
    for path in bills {
        total = total.saturating_add(billed(path)?);
    }
    let numbers: Vec<u32> = view.jobs()?.iter().map(|job| job.no).collect();
    let own = Side::new(view, "the job", &[job], *sums_of_job)?;
    let every = Side::new(view, "all jobs of the state", &numbers, sums(view, &LedgerQuery::default())?)?;
    let side = if own.fits(total) || !every.fits(total) { own } else { every };
    let exact =
        if total == side.sums.spent().settled.0 { "exactly" } else { "within the doubt and the bounds" };
    let (passed, told) = (side.fits(total), side.told(total));
    let detail = if passed { format!("{told}: it fits {exact}") } else { told };
    Ok(Check { name: "bill equals ledger".to_owned(), passed, detail })
}

/// The total of one bill.
fn billed(path: &Path) -> Result<i64, EngineError> {
    let text = std::fs::read_to_string(path).map_err(io_error("could not read", path))?;
    serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|bill| bill.get("total_usd_nanos")?.as_i64())
        .ok_or_else(|| EngineError::BadSpec {
            code: "bill-invalid",
            what: format!("`{}` is no bill", path.display()),
            why: "a bill is a JSON object with the whole number `total_usd_nanos`".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_a_window_let_through_is_beside_the_caps_and_nothing_else_is() {
        let entry = |kind, sub: u64, usd, note: &str| LedgerEntry {
            job: 1,
            at_ms: 0,
            kind,
            lane: None,
            provider: String::new(),
            model: String::new(),
            tags: 0,
            lever: None,
            sub: Some(Sub::new(sub, 1)),
            items: 1,
            usd: UsdNanos(usd),
            note: Some(note.to_owned()),
        };
        let mut beside = Beside::default();
        for (kind, sub, usd, note, counts) in [
            (LedgerKind::Reserve, 1, 50, "", 50),
            (LedgerKind::Doubt, 1, 30, "W1: b was made by the same create", 0),
            (LedgerKind::Doubt, 1, 20, "", 20),
            (LedgerKind::DoubtCleared, 1, 25, "W1: b was made by the same create", 0),
            // The operator ends both doubts: five of a window, the rest not.
            (LedgerKind::DoubtCleared, 1, 25, "operator ada: it was not run", 20),
            (LedgerKind::Duplicate, 1, 7, "W1: b was made by the same create", 0),
            (LedgerKind::Duplicate, 1, 7, "", 7),
            (LedgerKind::Doubt, 2, 40, "W5: batch c runs or ran", 0),
            (LedgerKind::DoubtCleared, 2, 0, "operator ada: it was paid, the bound is kept", 0),
            (LedgerKind::DoubtCleared, 2, 40, "operator ada: it was paid, USD 0.00000003", 0),
            (LedgerKind::Settle, 2, 30, "operator ada: it was paid, USD 0.00000003", 30),
            (LedgerKind::Doubt, 3, 9, "W9: a copy of a slow call", 9),
            (LedgerKind::DoubtCleared, 3, 9, "W9: a copy of a slow call", 9),
            (LedgerKind::Duplicate, 3, 5, "W9: a copy of a slow call", 5),
        ] {
            assert_eq!(beside.counts(&entry(kind, sub, usd, note)), UsdNanos(counts), "{kind} {usd} {note}");
        }
        assert_eq!((beside.sum, beside.peak), (UsdNanos(7), UsdNanos(47)));
    }
}
