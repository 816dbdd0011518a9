//! What jobs with a deadline came to: none may be late, and none may call for more than it must.

use std::fmt;

use crate::run::Lived;

/// Sums over jobs, and the seeds of those that are not as they should be.
#[derive(Debug, Default)]
pub struct Hurry {
    jobs: u64,
    /// Those that had to leave their batches.
    switched: u64,
    called: u64,
    least: u64,
    late: Vec<u64>,
    /// Farther than a tenth from the least, rounded up to a whole item, as a tenth of seven is none: seed, called, least.
    far: Vec<(u64, u64, u64)>,
}

impl Hurry {
    pub fn note(&mut self, lived: &Lived) {
        let Lived { seed, called, called_least: least, .. } = *lived;
        self.jobs += 1;
        self.switched += u64::from(least > 0);
        self.called += called;
        self.least += least;
        if lived.late {
            self.late.push(seed);
        }
        if called > least + least.div_ceil(10) {
            self.far.push((seed, called, least));
        }
    }

    /// None is late, and each by itself is within a tenth of the least.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.late.is_empty() && self.far.is_empty()
    }
}

impl fmt::Display for Hurry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, switched, called, least, late, far } = self;
        writeln!(
            f,
            "deadlines: {jobs} jobs, {switched} of which had to leave their batches; {} late; {called} items called for where {least} had to be; {} jobs farther than a tenth from that each",
            late.len(),
            far.len(),
        )?;
        for seed in late {
            writeln!(f, "late: cargo xtask world --deadlines --seed {seed}")?;
        }
        for (seed, called, least) in far {
            writeln!(f, "{called} called for, {least} needed: cargo xtask world --deadlines --seed {seed}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_judged_by_itself() {
        let is_good = |jobs: &[(u64, u64, bool)]| {
            let mut all = Hurry::default();
            for (called, called_least, late) in jobs.iter().copied() {
                all.note(&Lived { called, called_least, late, ..Lived::default() });
            }
            all.is_good()
        };
        let near = (100, 100, false);
        for (job, want) in [
            ((0, 0, false), true),
            ((110, 100, false), true),
            ((8, 7, false), true),
            // Few enough in the sum of ten, and yet too many for this one.
            ((111, 100, false), false),
            ((1, 0, false), false),
            ((100, 100, true), false),
        ] {
            assert_eq!(is_good(&[&[near; 9][..], &[job]].concat()), want, "{job:?}");
        }
    }
}
