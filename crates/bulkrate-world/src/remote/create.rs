//! Creates: ours, those that are known, and batches that somebody else makes meanwhile.

use serde_json::Value;

use super::Remote;
use super::batch::{Batch, End};
use crate::tongue::{Known, Order, Wrong};

/// Tokens of creates are remembered for so long.
const TOKEN_MS: u64 = 900_000;

impl Remote {
    pub(super) fn create(&mut self, body: &[u8], now_ms: u64) -> Result<Value, Wrong> {
        let order = self.tongue.order(body);
        if let Some(known) = self.by_token(&order, now_ms)? {
            return Ok(self.tongue.created(known, now_ms));
        }
        let file = self.file_of(&order).ok_or(Wrong::NoInput)?;
        let (lines, model) = (self.lines(file), self.model_of_file(file));
        if lines.len() < self.manners.items_min {
            return Err(Wrong::NoInput);
        }
        self.creates += 1;
        if self.dice.permille(self.faults.foreign) {
            self.foreign(&order.mark, lines.len(), now_ms);
        }
        self.may_be_rerun(order.input.as_deref(), now_ms);
        let again = (order.mark.clone(), lines.len());
        let batch =
            Batch { model, ..self.batch(order.mark, order.input.unwrap_or_default(), lines, now_ms, false) };
        let shown = self.tongue.created(&batch, now_ms);
        self.batches.push(batch);
        if self.dice.permille(self.faults.foreign / 2) {
            self.foreign(&again.0, again.1, now_ms);
        }
        Ok(shown)
    }

    /// The batch that a create with this token has made, as long as that is remembered.
    fn by_token(&self, order: &Order, now_ms: u64) -> Result<Option<&Batch>, Wrong> {
        if !self.manners.tokens {
            return Ok(None);
        }
        match self.batches.iter().find(|batch| !batch.foreign && batch.mark == order.mark) {
            Some(batch) if now_ms > batch.created_ms + TOKEN_MS => Err(Wrong::Taken),
            found => Ok(found),
        }
    }

    /// A create is lost on its way. Where nothing can be written on a batch, somebody else may make one of the same file, or as large in
    /// that moment.
    pub(crate) fn instead(&mut self, body: &[u8], now_ms: u64) {
        if self.manners.known_by == Known::Input {
            let order = self.tongue.order(body);
            return self.may_be_rerun(order.input.as_deref(), now_ms);
        }
        if self.manners.known_by != Known::Looks || !self.dice.permille(self.faults.foreign) {
            return;
        }
        let order = self.tongue.order(body);
        let items = self.file_of(&order).map_or(0, |file| self.lines(file).len());
        self.foreign(&order.mark, items, now_ms);
    }

    /// A batch of somebody else in the same account: perhaps another copy of bulkrate that sent the very same lines. Where nothing can be
    /// written on it, it is as large as ours.
    fn foreign(&mut self, ours: &Value, items: usize, now_ms: u64) {
        let copy = !self.dice.permille(300);
        let mark = self.tongue.foreign_mark(ours, copy);
        let input = self.id(self.manners.ids[1]);
        let items = if self.manners.known_by == Known::Looks { items } else { 0 };
        let lines = (0..items).map(|row| (format!("row-{row}"), String::new())).collect();
        let batch = self.batch(mark, input, lines, now_ms, true);
        self.batches.push(batch);
    }

    pub(super) fn batch(
        &mut self,
        mark: Value,
        input: String,
        lines: Vec<(String, String)>,
        now_ms: u64,
        foreign: bool,
    ) -> Batch {
        let (least, most) = self.batch_ms;
        let window_ms = self.manners.window_h * 3_600_000;
        let mut takes_ms = self.dice.between(least, most);
        let mut end = End::Completed;
        if self.manners.refuses_whole && self.dice.permille(self.faults.batch_fails) {
            (end, takes_ms) = (End::Failed, 5_000);
        } else if self.faults.stuck > 0 && self.dice.permille(self.faults.stuck) {
            (end, takes_ms) = (End::Expired, 10 * window_ms);
        } else if takes_ms > window_ms || self.dice.permille(self.faults.expires) {
            (end, takes_ms) = (End::Expired, window_ms);
        }
        let in_the_middle = self.inputs.fails_late > 0 && self.dice.permille(self.inputs.fails_late);
        let reach = match end {
            End::Completed if !in_the_middle => lines.len(),
            End::Failed => 0,
            End::Completed | End::Expired => {
                usize::try_from(self.dice.below(lines.len() as u64 + 1)).unwrap_or(0)
            }
        };
        let lag_ms = self.dice.below(self.faults.list_lag_ms + 1);
        // Of one that expired nobody waits for more than its end names: what it does not show stays in doubt.
        let late_ms = match self.faults.results_late_ms {
            most if most > 0 && end == End::Completed => self.dice.below(most),
            _ => 0,
        };
        if in_the_middle {
            end = End::Failed;
        }
        let bare_ms = if self.inputs.bare_ms > 0 { self.dice.below(self.inputs.bare_ms) } else { 0 };
        Batch {
            id: self.id(self.manners.ids[0]),
            mark,
            input,
            model: self.models[0].name,
            created_ms: now_ms,
            end_ms: now_ms + takes_ms,
            end,
            cancel_ms: None,
            lines,
            reach,
            over: None,
            foreign,
            visible_ms: now_ms + lag_ms,
            bare_until_ms: now_ms + bare_ms,
            late_ms,
            gone: false,
        }
    }
}
