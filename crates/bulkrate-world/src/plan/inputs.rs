//! What may go wrong where a batch is known by its input file, beside what may everywhere.

use bulkrate_core::planted::Bug;

use super::{HOUR_MS, Plan};
use crate::dice::Dice;
use crate::tongue::Known;

/// Chances in a thousand, and times.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inputs {
    /// Somebody makes a batch of our file by hand, so soon that it may be one of our create.
    pub rerun: u64,
    /// The same hours later: it is none of ours.
    pub rerun_late: u64,
    /// Lists show only so long after a batch was made, at most, of which file that was.
    pub bare_ms: u64,
    /// F36: a cancel that is taken, and the batch runs on.
    pub cancel_unheard: u64,
    /// A batch that fails when a part of it is done, and paid.
    pub fails_late: u64,
    /// A batch that was cut shows what it had finished.
    pub cut_shown: u64,
}

impl Inputs {
    /// Whether somebody makes batches of our files, so that something may be paid twice that the list shows.
    pub(crate) fn reruns(self) -> bool {
        self.rerun + self.rerun_late > 0
    }
}

impl Plan {
    /// Whether the seed can show a planted bug: some are of what is known by its input file alone, and it is enough to live those seeds.
    #[must_use]
    pub fn can_show(&self, bug: Bug) -> bool {
        !bug.is_of_inputs() || self.tongue.manners().known_by == Known::Input
    }

    /// A job at a provider on whose batches nothing can be written, and which show their input file.
    pub(super) fn by_inputs(mut self, dice: &mut Dice) -> Self {
        self.inputs = Inputs {
            rerun: dice.pick(&[0, 0, 300, 900]),
            rerun_late: dice.pick(&[0, 0, 300, 900]),
            bare_ms: dice.pick(&[0, 0, 100_000, 2 * HOUR_MS / 3]),
            cancel_unheard: dice.pick(&[0, 300, 1_000]),
            fails_late: dice.pick(&[0, 0, 100]),
            cut_shown: dice.pick(&[0, 500, 1_000]),
        };
        if self.faults.clock {
            // Nobody looks for second batches longer than two hours after a create, of which clocks may take one.
            self.inputs.bare_ms = self.inputs.bare_ms.min(100_000);
        }
        // Doubt is what all of this is about.
        if dice.permille(500) {
            self.faults.answer_lost = self.faults.answer_lost.max(100);
        }
        if dice.permille(300) {
            self.faults.list_lag_ms = 119_000;
        }
        self.faults.foreign = dice.pick(&[0, 300, 900]);
        if self.backup_at.is_some() {
            // A create of the restored folder may be of the same file, and what was late is then soon.
            self.inputs.rerun_late = 0;
        }
        self
    }
}
