//! What jobs with a deadline came to: none may be late, and none may call for more than it must but for a stated reason.

use std::fmt;

use crate::run::Lived;

/// So many of a hundred jobs must be within a tenth of the least, each by itself.
const NEAR_PERCENT: u64 = 90;

/// Sums over jobs, and the seeds of those that are not as they should be.
#[derive(Debug, Default)]
pub struct Hurry {
    jobs: u64,
    /// Those that had to leave their batches.
    switched: u64,
    called: u64,
    least: u64,
    /// Within a tenth of the least, rounded up to a whole item, as a tenth of seven is none.
    near: u64,
    late: Vec<u64>,
    /// Farther than that, and by more than the rule explains.
    beyond: Vec<u64>,
    /// The largest number of calls beyond a tenth that the rule explains.
    farthest: u64,
}

impl Hurry {
    pub fn note(&mut self, lived: &Lived) {
        let allowed = lived.called_least + lived.called_least.div_ceil(10);
        self.jobs += 1;
        self.switched += u64::from(lived.called_least > 0);
        self.called += lived.called;
        self.least += lived.called_least;
        if lived.late {
            self.late.push(lived.seed);
        }
        if lived.called <= allowed {
            self.near += 1;
        } else if lived.called <= lived.called_by_rule {
            self.farthest = self.farthest.max(lived.called - allowed);
        } else {
            self.beyond.push(lived.seed);
        }
    }

    /// None is late, none is beyond what the rule explains, nine of ten are near the least, and so is the sum.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.late.is_empty()
            && self.beyond.is_empty()
            && self.near * 100 >= self.jobs * NEAR_PERCENT
            && self.called * 10 <= self.least * 11
    }
}

impl fmt::Display for Hurry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, switched, called, least, near, late, beyond, farthest } = self;
        writeln!(
            f,
            "deadlines: {jobs} jobs, {switched} of which had to leave their batches; {} late; {called} items called for where {least} had to be; {near} jobs within a tenth of that each, {} farther \
             as running batches hand out nothing (by {farthest} items at most), {} farther than that",
            late.len(),
            jobs - near - beyond.len() as u64,
            beyond.len(),
        )?;
        for (what, seeds) in [("late", late), ("calls for too much", beyond)] {
            for seed in seeds {
                writeln!(f, "{what}: cargo xtask world --deadlines --seed {seed}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_judged_by_itself() {
        let of = |jobs: &[(u64, u64, u64, bool)]| {
            let mut all = Hurry::default();
            for (called, called_least, called_by_rule, late) in jobs.iter().copied() {
                all.note(&Lived { called, called_least, called_by_rule, late, ..Lived::default() });
            }
            (all.near, all.farthest, all.beyond.len(), all.is_good())
        };
        let near = (100, 100, 130, false);
        for (job, want) in [
            (near, (10, 0, 0, true)),
            ((110, 100, 100, false), (10, 0, 0, true)),
            ((8, 7, 7, false), (10, 0, 0, true)),
            ((111, 100, 130, false), (9, 1, 0, true)),
            // Few enough in the sum of ten, and yet too many for this one.
            ((131, 100, 130, false), (9, 0, 1, false)),
            ((1, 0, 0, false), (9, 0, 1, false)),
            ((100, 100, 130, true), (10, 0, 0, false)),
        ] {
            assert_eq!(of(&[&[near; 9][..], &[job]].concat()), want, "{job:?}");
        }
        let far = (111, 100, 130, false);
        assert_eq!(of(&[&[near; 8][..], &[far; 2]].concat()), (8, 1, 0, false), "no more than one in ten");
    }
}
