//! What the model says, and what that is charged with.

use bulkrate_core::lane::Lane;
use bulkrate_core::price::Catalogue;

use super::{Answer, Remote};
use crate::bundle;
use crate::check::Fate;
use crate::tongue::{Known, Said};

/// One charge.
#[derive(Debug, Clone)]
pub struct Charge {
    /// The line's id, or the number of the call.
    pub of: Of,
    pub model: &'static str,
    pub prompt: String,
    pub nanos: i64,
    /// The batch that the line was in.
    pub batch: Option<String>,
    /// The file that the batch was made of, where it is known by that.
    pub input: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    Line(String),
    Call(u64),
}

/// Pico-dollars per token: input, output.
pub(super) type Price = (u64, u64);

/// A model, and what it costs in batches and in calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model {
    pub name: &'static str,
    pub batched: Price,
    pub called: Price,
}

impl Model {
    pub(super) fn of(provider: &str, name: &'static str) -> Self {
        let day = jiff::civil::date(2026, 11, 20);
        let catalogue = Catalogue::bundled();
        let row = catalogue.find(provider, name, day);
        let price = |lane| {
            let set = row.and_then(|row| row.rates(lane)).map(|rates| &rates.base);
            set.map_or((0, 0), |set| (set.input.per_token.0, set.output.per_token.0))
        };
        Self { name, batched: price(Lane::Batch), called: price(Lane::Sync) }
    }
}

/// What an honest model answers.
#[must_use]
pub fn reply_to(prompt: &str) -> String {
    let sum = prompt.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    format!("answer {:x}", sum % 0xffff)
}

impl Remote {
    /// Runs a model and charges for it.
    pub(super) fn answer(
        &mut self,
        prompt: &str,
        (model, price): (&'static str, Price),
        of: Of,
        batch: Option<String>,
    ) -> Said {
        let (input, mut output) = (prompt.len() as u64 / 4 + 9, 4 + prompt.len() as u64 % 9);
        let mut text = match bundle::items(prompt) {
            Some(items) => {
                output *= items.len() as u64;
                bundle::reply(&items, self.faults.bundle_wrong, &mut self.dice)
            }
            None => reply_to(prompt),
        };
        if self.dice.permille(self.faults.empty) {
            (text, output) = (String::new(), 1);
        }
        let picos = u128::from(input) * u128::from(price.0) + u128::from(output) * u128::from(price.1);
        let nanos = i64::try_from(picos / 1_000 + u128::from(picos % 1_000 != 0)).unwrap_or(i64::MAX);
        let of_batch = batch.as_ref().filter(|_| self.manners.known_by == Known::Input);
        let of_batch = of_batch.and_then(|id| self.batches.iter().find(|batch| batch.id == *id));
        let of_input = of_batch.map(|batch| batch.input.clone());
        self.bill.push(Charge { of, model, prompt: prompt.to_owned(), nanos, batch, input: of_input });
        Said { model, text, input, output, usage: !self.dice.permille(self.faults.no_usage) }
    }

    /// What an answer to a call says of its cost.
    pub(crate) fn says(&self, call: u64, answer: &Answer) -> Fate {
        if answer.status != 200 {
            return Fate::Refused;
        }
        let of = self.bill.iter().rev().find(|charge| charge.of == Of::Call(call));
        match of.filter(|_| self.tongue.says_usage(&answer.body)) {
            Some(charge) => Fate::Answered(charge.nanos),
            None => Fate::Vague,
        }
    }

    /// What the batches of a submission have cost here, once all of them have ended.
    #[must_use]
    pub fn cost_of(&self, sub: &str) -> Option<i64> {
        let ours = |batch: &&super::Batch| batch.sub().as_deref() == Some(sub);
        let mut sum = 0;
        for batch in self.batches.iter().filter(ours) {
            batch.over.as_ref()?;
            let charges = self.bill.iter().filter(|charge| charge.batch.as_ref() == Some(&batch.id));
            sum += charges.map(|charge| charge.nanos).sum::<i64>();
        }
        Some(sum)
    }
}
