//! Answers that fail their checks, and a reviewer's verdicts: too many of them stop the job before more is spent.

use bulkrate_core::failure::FailureClass;

use super::job::{Halt, Job};
use crate::EngineError;

impl Job {
    /// Stops the job if the verdicts on its answers, or the checks of an earlier run, prove an error rate above the limit.
    pub(crate) fn heed_review(&self) -> Result<(), EngineError> {
        let Some(limit) = self.spec.run.max_error_permille else { return Ok(()) };
        if self.state.borrow().halted.is_some() {
            return Ok(());
        }
        let proved = self.state.borrow().flaws.proved();
        if let Some((flawed, judged)) = proved {
            self.halt_for_flaws(flawed, judged, "found by an earlier run");
        } else if let Some(found) = crate::reader::judged(&*self.reader, self.no)?
            && found.low > f64::from(limit) / 1_000.0
        {
            let why = format!(
                "a reviewer found {} of {} answers wrong: with 95 % certainty more than {:.2} % of all are",
                found.wrong,
                found.items,
                found.low * 100.0
            );
            self.halt_for_errors(&why);
        }
        Ok(())
    }

    /// So many of the items judged so far failed their checks for good.
    pub(crate) fn halt_for_flaws(&self, flawed: u64, judged: u64, last: &str) {
        self.halt_for_errors(&format!(
            "{flawed} of {judged} answers failed their checks, which chance hardly explains; the last one: {last}"
        ));
    }

    fn halt_for_errors(&self, why: &str) {
        let limit = self.spec.run.max_error_permille.unwrap_or_default();
        let message = format!("{why}. `--max-error-rate` is {}.{} %", limit / 10, limit % 10);
        let mut state = self.state.borrow_mut();
        if state.halted.is_some() {
            return;
        }
        // Which class it is matters to nobody: the report says `error_rate`.
        state.halted = Some(Halt { class: FailureClass::SchemaFailed, message: message.clone() });
        state.halted_as = Some(crate::report::ERROR_RATE);
        let nothing_left = state.open() == 0;
        drop(state);
        if !nothing_left {
            self.alert("error-rate", &message);
        }
        self.changed.notify_waiters();
    }
}
