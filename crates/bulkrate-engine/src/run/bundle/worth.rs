//! Whether a model answers bundles: what their parts have brought so far.

use crate::run::job::Job;

/// Parts that must have landed before anything is concluded.
const PARTS_ENOUGH: u64 = 100;

/// Parts of bundles that a deployment has answered or refused, and those of them that were of use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Brought {
    parts: u64,
    kept: u64,
    off: bool,
}

impl Brought {
    /// True: from now on nothing goes in bundles there.
    pub(crate) fn note(&mut self, kept: bool) -> bool {
        self.parts += 1;
        self.kept += u64::from(kept);
        let before = self.off;
        self.off |= self.parts >= PARTS_ENOUGH && self.kept * 2 < self.parts;
        self.off && !before
    }

    /// Too little came of them. That stays so: what is out may still land well.
    pub(crate) fn is_off(&self) -> bool {
        self.off
    }
}

impl Job {
    /// Notes a part of a bundle that landed. `kept`: it was of use to its item.
    pub(crate) fn note_part(&self, deployment: usize, kept: bool) {
        let mut state = self.state.borrow_mut();
        let brought = &mut state.brought[deployment];
        if !brought.note(kept) {
            return;
        }
        let Brought { parts, kept, .. } = *brought;
        drop(state);
        let message = format!(
            "only {kept} of {parts} items that `{}` was asked together had an answer that could be used; from now on each is asked alone there",
            self.deployments[deployment].pinned
        );
        self.alert("bundles-off", &message);
    }

    /// So many items go in a request to this deployment, as far as is known.
    pub(crate) fn bundled_at(&self, deployment: usize) -> u32 {
        let off = self.state.borrow().brought[deployment].is_off();
        self.bundle_at(deployment).filter(|_| !off).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether bundles are off after so many parts, and how often that was said.
    fn after(kept: impl Fn(u64) -> bool, parts: u64) -> (bool, usize) {
        let mut brought = Brought::default();
        let told = (0..parts).filter(|part| brought.note(kept(*part))).count();
        (brought.is_off(), told)
    }

    #[test]
    fn bundles_end_once_enough_parts_were_lost_and_that_is_said_once() {
        assert_eq!(after(|_| false, 99), (false, 0));
        assert_eq!(after(|_| false, 100), (true, 1));
        assert_eq!(after(|part| part >= 100, 300), (true, 1), "what lands later changes nothing");
        assert_eq!(after(|part| part % 2 == 0, 1_000), (false, 0), "half is enough");
        assert_eq!(after(|part| part % 5 == 0, 101), (true, 1));
    }
}
