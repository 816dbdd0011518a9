//! An item that is about to be sent: answered like a similar one, or asked.

use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::semantic::{Prompt, coin};
use bulkrate_store::fold::{Applied, State as ItemState};
use bulkrate_store::{Fate, LedgerKind, Outcome, Via};

use super::{Kept, SEMANTIC, Semantic};
use crate::EngineError;
use crate::result_line::{Frame, Origin, write_served};
use crate::run::job::Job;
use crate::run::ledger::At;

/// Prompts of items that are asked are kept until they land, so many at most: 10 MB of long ones.
const CARRIED_MAX: usize = 256;

/// What is compared of an item.
pub(super) struct Asked {
    pub prompt: Prompt,
    /// Bytes of its canonical form.
    bytes: u64,
    tags: u32,
    named: usize,
}

impl Job {
    /// Answers an item that was never sent like a similar one, if it is likely enough that this is right. True: it is done.
    pub(crate) fn serve(&self, ordinal: Ordinal) -> Result<bool, EngineError> {
        let Some(semantic) = &self.semantic else { return Ok(false) };
        let found = &mut *semantic.borrow_mut();
        if found.chances.contains_key(&ordinal) || !self.may_be_served(ordinal) {
            return Ok(false);
        }
        let Some(asked) = self.compared(found, ordinal)? else { return Ok(false) };
        let near = found.answers.near(&asked.prompt);
        let tau = near.map_or(1.0, |near| found.answers.tau(near));
        let kept = near.and_then(|near| Some((near, found.kept.get(near.entry as usize)?)));
        match kept.filter(|_| coin(&self.id, u64::from(ordinal)) >= tau) {
            Some((near, kept)) => {
                let origin =
                    Origin { from: kept.ordinal, similarity: near.similarity, tau, at: found.answers.now() };
                self.book_served(ordinal, &asked, kept, origin);
                found.answers.ended();
                Ok(true)
            }
            None => {
                if let Some(near) = near.filter(|_| tau < 1.0) {
                    let chance = found.answers.ask(near, tau);
                    found.chances.insert(ordinal, chance);
                }
                if found.carried.len() < CARRIED_MAX {
                    found.carried.insert(ordinal, asked.prompt);
                }
                Ok(false)
            }
        }
    }

    /// Whether an item was never sent, and nobody else gets its answer: one call answers them all then, and one coin would decide
    /// them all. What has had any trouble, or was asked for again after it had ended, is asked.
    fn may_be_served(&self, ordinal: Ordinal) -> bool {
        let state = self.state.borrow();
        state.items.get(ordinal).is_some_and(|item| item.state == ItemState::Queued)
            && state.followers.of(ordinal) == 0
            && !state.trouble.contains_key(&ordinal)
    }

    /// What is compared of an item; `None`: nothing.
    pub(super) fn compared(
        &self,
        semantic: &Semantic,
        ordinal: Ordinal,
    ) -> Result<Option<Asked>, EngineError> {
        if semantic.uncached.binary_search(&ordinal).is_ok() {
            return Ok(None);
        }
        let mut requests = self.requests.borrow_mut();
        let spot = self.state.borrow().order.as_ref().and_then(|order| order.spot(ordinal));
        let sealed = match spot {
            Some(spot) => requests.at(spot)?,
            None => requests.get(&*self.reader, ordinal)?,
        };
        let draft = sealed.draft()?;
        let Some(prompt) = semantic.asked(ordinal, &draft)? else { return Ok(None) };
        let (bytes, tags) = (sealed.canonical_len(), sealed.tags);
        Ok(Some(Asked { prompt, bytes, tags, named: self.named(&draft)? }))
    }

    fn book_served(&self, ordinal: Ordinal, asked: &Asked, kept: &Kept, origin: Origin) {
        let mut results = self.results.borrow_mut();
        let place = results.place();
        let frame = Frame {
            ordinal,
            attempt: 0,
            attempts: 0,
            provider: &kept.provider,
            model: &kept.model,
            via: Via::Semantic.name(),
            cost: UsdNanos::ZERO,
            usage: None,
            sureness: None,
            chances: &[],
            instead: None,
        };
        write_served(frame, &kept.checked(), origin, results.buffer());
        drop(results);
        let naive = kept.naive;
        let outcome =
            Outcome { via: Via::Semantic, naive, ..Outcome::without_call(ordinal, None, Fate::Final, place) };
        let state = &mut *self.state.borrow_mut();
        if state.items.outcome(&outcome) == Applied::Late {
            return;
        }
        state.outcomes.push(outcome);
        state.forecasting.ended_free(asked.bytes);
        let at = At { lane: None, deployment: asked.named, tags: asked.tags, sub: None };
        state.moved.add(LedgerKind::Saving, Some(SEMANTIC), at, 1, naive);
        state.tally.naive += naive;
        let (own, _) = state.followers.decides(ordinal);
        state.tally.succeeded += own;
        state.tally.similar += own;
        self.changed.notify_waiters(); // nothing may be left to be sent
    }
}
