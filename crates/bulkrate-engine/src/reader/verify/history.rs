//! The first reading: leases and outcomes, and the lines that the outcomes point at.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::fold::{ItemStates, State};
use bulkrate_store::{
    Fate, ItemRec, JobRow, JobState, LedgerKind, LogChunk, Outcome, SubmissionState, Sums, View,
};

use super::ledger::{Above, doubts};
use super::savings::Savings;
use super::served::Served;
use super::{Faults, number};
use crate::EngineError;
use crate::deliver::{Lines, spec_of};
use crate::paths::JobDir;
use crate::result_line::ResultLine;
use crate::view::Check;

/// What one reading of leases and outcomes gives.
#[derive(Debug, Default)]
pub(super) struct History {
    states: ItemStates,
    /// Final outcomes since the last revival, in the low four bits, and good ones ever, in the high four.
    finals: Vec<u8>,
    costs: UsdNanos,
    line_costs: UsdNanos,
    pub lines_read: u64,
    pub readable: Faults,
    pub above: Above,
    pub savings: Savings,
    pub served: Served,
    /// Cheap models of a cascade that an item has behind itself.
    escalations: HashMap<Ordinal, u64>,
}

impl History {
    pub(super) fn read(view: &dyn View, dir: &JobDir, job: &JobRow) -> Result<Self, EngineError> {
        let mut history = Self::default();
        view.scan_items(job.no, 0, &mut |chunk| {
            history.states.push(chunk);
            for item in &chunk.items {
                if let ItemRec::Follower { leader } = item {
                    history.savings.follows(*leader);
                }
            }
            ControlFlow::Continue(())
        })?;
        history.finals = vec![0; history.states.len()];
        let mut lines = Lines::new(dir, &view.submissions(job.no)?);
        view.scan_log(job.no, &mut |chunk| {
            history.states.feed(chunk);
            history.above.feed(chunk);
            if let LogChunk::Outcomes(outcomes) = chunk {
                for outcome in outcomes {
                    history.count(outcome);
                    history.line(outcome, &mut lines);
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(history)
    }

    fn count(&mut self, outcome: &Outcome) {
        self.costs = self.costs.saturating_add(outcome.cost);
        self.savings.count(outcome);
        let Some(finals) = self.finals.get_mut(outcome.ordinal as usize) else { return };
        match outcome.fate {
            Fate::Revive => *finals &= 0xf0,
            Fate::Retry => {}
            Fate::Escalate => *self.escalations.entry(outcome.ordinal).or_default() += 1,
            Fate::Final => {
                if *finals & 0x0f < 0x0f {
                    *finals += 1;
                }
                if outcome.class.is_none() && *finals & 0xf0 < 0xf0 {
                    *finals += 0x10;
                }
            }
        }
    }

    /// Reads the line that an outcome points at: it must be the same attempt at the same item, at the same cost.
    fn line(&mut self, outcome: &Outcome, lines: &mut Lines) {
        if outcome.place.is_none() {
            self.line_costs = self.line_costs.saturating_add(outcome.cost);
            if outcome.fate == Fate::Final && outcome.class.is_none() {
                self.readable
                    .add(|| format!("item {} has a good answer without a line", number(outcome.ordinal)));
            }
            return;
        }
        self.lines_read += 1;
        let read = lines.parse(outcome.place).map_err(|error| error.to_string()).and_then(|line| {
            self.served.look(&line, outcome);
            fits(&line, outcome)
        });
        match read {
            Ok(cost) => self.line_costs = self.line_costs.saturating_add(cost),
            Err(why) => self
                .readable
                .add(|| format!("item {}, attempt {}: {why}", number(outcome.ordinal), outcome.attempt)),
        }
    }

    pub(super) fn one_outcome(&self, view: &dyn View, job: &JobRow) -> Result<Check, EngineError> {
        let mut faults = Faults::default();
        let counts = self.states.recount();
        if self.states.len() as u64 != job.items && job.state != JobState::Preparing {
            faults.add(|| format!("{} items are stored, the job has {}", self.states.len(), job.items));
        }
        for (ordinal, item) in self.states.iter() {
            let finals = self.finals[ordinal as usize] & 0x0f;
            let want = u8::from(item.state.is_final());
            if finals != want {
                faults.add(|| {
                    format!("item {} is {:?} with {finals} final outcomes", number(ordinal), item.state)
                });
            }
        }
        self.followers(view, job, &mut faults)?;
        let open = counts.open();
        if open > 0 && job.state == JobState::Done {
            faults.add(|| format!("the job is done, but {open} items are open"));
        }
        let proved = format!(
            "{} items: {} done, {} dead, {} cancelled, {} invalid, {} followers, {open} open",
            counts.total(),
            counts.of(State::Done),
            counts.of(State::Dead),
            counts.of(State::Cancelled),
            counts.of(State::Invalid),
            counts.of(State::Follower)
        );
        Ok(faults.check("one outcome per item", proved))
    }

    /// Every follower copies an item that runs.
    fn followers(&self, view: &dyn View, job: &JobRow, faults: &mut Faults) -> Result<(), EngineError> {
        if self.states.counts().of(State::Follower) == 0 {
            return Ok(());
        }
        view.scan_items(job.no, 0, &mut |chunk| {
            for (ordinal, _, item) in chunk.iter() {
                if let ItemRec::Follower { leader } = item
                    && self
                        .states
                        .get(*leader)
                        .is_none_or(|led| matches!(led.state, State::Follower | State::Invalid))
                {
                    faults.add(|| {
                        format!(
                            "item {} follows item {}, which does not run",
                            number(ordinal),
                            number(*leader)
                        )
                    });
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    /// No item has more cheap models behind itself than the job's cascade has. `None`: there is nothing of a cascade.
    pub(super) fn cascade(&self, job: &JobRow) -> Result<Option<Check>, EngineError> {
        let cascade = spec_of(job)?.request.cascade;
        if cascade.is_none() && self.escalations.is_empty() {
            return Ok(None);
        }
        let most = cascade.map_or(0, |cascade| cascade.asked().count() as u64);
        let mut faults = Faults::default();
        for (ordinal, count) in self.escalations.iter().filter(|(_, count)| **count > most) {
            faults.add(|| format!("item {} went up {count} times of {most}", number(*ordinal)));
        }
        let proved = format!("{} items went to a better model", self.escalations.len());
        Ok(Some(faults.check("no model of the cascade asked twice", proved)))
    }

    pub(super) fn paid_once(&self, sums: &Sums, word: UsdNanos, windows: UsdNanos) -> Check {
        let mut faults = Faults::default();
        for (ordinal, finals) in (0_u32..).zip(&self.finals).filter(|(_, finals)| **finals >> 4 > 1) {
            faults.add(|| format!("item {} has {} good answers", number(ordinal), finals >> 4));
        }
        let settled = sums.usd(LedgerKind::Settle) - word;
        if settled > self.costs {
            faults.add(|| format!("USD {} were settled beyond what the outcomes cost", settled - self.costs));
        }
        let twice = sums.usd(LedgerKind::Duplicate) - windows;
        if twice != UsdNanos::ZERO {
            faults.add(|| format!("USD {twice} were paid for answers that were there already, and no window is named for them"));
        }
        let good = self.finals.iter().filter(|finals| **finals >> 4 > 0).count();
        let mut proved = format!("{good} items have a good answer");
        if windows != UsdNanos::ZERO {
            proved.push_str(&format!(
                "; USD {windows} were paid twice, booked as duplicates with their windows"
            ));
        }
        faults.check("no item paid twice", proved)
    }

    pub(super) fn receipts(
        &self,
        view: &dyn View,
        job: &JobRow,
        sums: &Sums,
        word: UsdNanos,
    ) -> Result<Check, EngineError> {
        let mut faults = Faults::default();
        let spent = sums.spent();
        let settled = sums.usd(LedgerKind::Settle) - word;
        if settled != self.costs {
            faults.add(|| format!("the ledger settled USD {settled}, the outcomes cost USD {}", self.costs));
        }
        if self.line_costs != self.costs {
            faults.add(|| {
                format!("the result files say USD {}, the outcomes USD {}", self.line_costs, self.costs)
            });
        }
        let unresolved = |state: SubmissionState| state != SubmissionState::Call && !state.is_terminal();
        let busy = self.states.counts().of(State::Leased) > 0
            || view.submissions(job.no)?.iter().any(|submission| unresolved(submission.state));
        if spent.reserved < UsdNanos::ZERO || (!busy && spent.reserved != UsdNanos::ZERO) {
            faults.add(|| {
                format!(
                    "USD {} are reserved, and {}",
                    spent.reserved,
                    if busy { "it cannot be less than nothing" } else { "nothing is in flight" }
                )
            });
        }
        if spent.doubt < UsdNanos::ZERO {
            faults.add(|| {
                format!("USD {} of doubt were cleared that were never booked", UsdNanos(-spent.doubt.0))
            });
        }
        let mut proved =
            format!("settled USD {settled}, reserved USD {}, in doubt USD {}", spent.reserved, spent.doubt);
        if word != UsdNanos::ZERO {
            proved.push_str(&format!(", settled on an operator's word USD {word}"));
        }
        if spent.doubt != UsdNanos::ZERO {
            proved.push_str(&doubts(view, job)?);
        }
        Ok(faults.check("ledger equals receipts", proved))
    }

    pub(super) fn misfits(&self) -> Check {
        let mut faults = Faults::default();
        let misfits = self.states.misfits();
        for (count, what) in [
            (misfits.late, "outcomes ended no open attempt"),
            (misfits.leases, "leases took items that could not be taken"),
            (misfits.unknown, "rows name items that do not exist"),
        ] {
            if count > 0 {
                faults.add(|| format!("{count} {what}"));
            }
        }
        faults.check("fold has no misfits", format!("{} items folded", self.states.len()))
    }
}

/// The cost in the line, if the line is what the outcome says.
fn fits(line: &ResultLine<'_>, outcome: &Outcome) -> Result<UsdNanos, String> {
    if (line.item, line.attempt) != (outcome.ordinal, outcome.attempt) {
        return Err(format!("its line is of item {}, attempt {}", number(line.item), line.attempt));
    }
    if (line.status == "succeeded") != outcome.class.is_none() {
        return Err(format!(
            "its line says `{}`, its outcome `{}`",
            line.status,
            outcome.class.map_or("succeeded", bulkrate_core::failure::FailureClass::name)
        ));
    }
    UsdNanos::parse(&line.cost_usd).map_err(|error| error.to_string())
}
