//! Batches that somebody makes by hand of an input file of ours, which lies in the account for all to see.
//!
//! What is made of it soon cannot be told from a second batch of the same create: it is ours to pay and to book. What is made of it hours
//! later is known to be somebody's, who is left alone with it.

use serde_json::Value;

use super::Remote;
use super::batch::Batch;

/// With a create that is late and clocks that stand an hour apart, within the two hours in which a create may have made a batch.
const SOON_MS: u64 = 40 * 60_000;
/// With clocks that stand an hour apart, after them.
const LATE_MS: (u64, u64) = (3 * 3_600_000 + 300_000, 9 * 3_600_000);

/// One that is to be made.
#[derive(Debug)]
pub(super) struct Rerun {
    at_ms: u64,
    input: String,
    is_late: bool,
}

impl Remote {
    /// Somebody has seen the file of a create. Later batches of it change nothing: all times are those of the first.
    pub(super) fn may_be_rerun(&mut self, input: Option<&str>, now_ms: u64) {
        let Some(input) = input.filter(|_| self.inputs.reruns()) else { return };
        let known = self.batches.iter().any(|batch| batch.input == input)
            || self.reruns.iter().any(|rerun| rerun.input == input);
        if known {
            return;
        }
        for is_late in [false, true] {
            let chance = if is_late { self.inputs.rerun_late } else { self.inputs.rerun };
            if self.dice.permille(chance) {
                let after_ms = match is_late {
                    true => self.dice.between(LATE_MS.0, LATE_MS.1),
                    false => self.dice.below(SOON_MS),
                };
                self.reruns.push(Rerun { at_ms: now_ms + after_ms, input: input.to_owned(), is_late });
            }
        }
    }

    /// Those whose time has come are made, where the file is still there.
    pub(super) fn rerun(&mut self, now_ms: u64) {
        self.reruns.sort_by_key(|rerun| rerun.at_ms);
        while self.reruns.first().is_some_and(|rerun| rerun.at_ms <= now_ms) {
            let Rerun { at_ms, input, is_late } = self.reruns.remove(0);
            let Some(file) = self.files.get(&input) else { continue };
            let (lines, model) = (self.lines(file), self.model_of_file(file));
            let batch = Batch { model, ..self.batch(Value::Null, input, lines, at_ms, is_late) };
            self.batches.push(batch);
            self.rerun_times += 1;
        }
    }
}
