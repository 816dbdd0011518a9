//! Items that are answered like a similar one: decided as they are taken to be sent, learned of as answers land.
//!
//! Invariants
//! - Only answers of this job that a model gave are served or teach; what was served does neither.
//! - What was learned stands in the line of the answer that taught it, so that a start reads back exactly what is durable.
//! - A served item costs nothing and has no lease; naive is what the answer that it got would have cost.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;

use bulkrate_core::bundle::Kin;
use bulkrate_core::cascade::Opinion;
use bulkrate_core::collect::{Checked, Expectation};
use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::semantic::{Answers, Near, Prompt, Rarity, SAMPLE, Similarity, coin};
use bulkrate_store::fold::{Applied, State as ItemState};
use bulkrate_store::{Fate, ItemRec, LedgerKind, Outcome, Via, View};

use super::job::Job;
use super::ledger::At;
use super::ready::Ready;
use super::requests::{Draft, Requests};
use crate::EngineError;
use crate::deliver::Lines;
use crate::event::Event;
use crate::paths::JobDir;
use crate::result_line::{Compared, Frame, Origin, ResultLine, write_served};
use crate::spec::JobSpec;

/// The lever of the semantic cache.
pub(crate) const SEMANTIC: &str = "semantic";
/// Longer answers are not kept.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// What one job's semantic cache knows.
#[derive(Debug)]
pub(crate) struct Semantic {
    answers: Answers,
    /// By number.
    kept: Vec<Kept>,
    /// Items that want no cached answer, and give none; ascending.
    uncached: Vec<Ordinal>,
    full_told: bool,
}

/// An answer that may be served.
#[derive(Debug, Clone)]
struct Kept {
    ordinal: Ordinal,
    naive: UsdNanos,
    answer: Box<str>,
    is_json: bool,
    provider: Box<str>,
    model: Box<str>,
}

impl Kept {
    fn checked(&self) -> Checked<'_> {
        if self.is_json { Checked::Json((&*self.answer).into()) } else { Checked::Choice(&self.answer) }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.answer.len() + self.provider.len() + self.model.len()
    }
}

/// What is compared of an item.
struct Asked {
    prompt: Prompt,
    /// Bytes of its canonical form.
    bytes: u64,
    tags: u32,
    named: usize,
}

impl Semantic {
    /// The cache of a job as its durable lines have it; `None` where the job has none.
    pub(crate) fn of(
        spec: &JobSpec,
        view: &dyn View,
        job: u32,
        dir: &JobDir,
        lines: &mut Lines,
    ) -> Result<Option<RefCell<Self>>, EngineError> {
        let Some(semantic) = &spec.request.semantic else { return Ok(None) };
        let mut requests = Requests::open(dir, job)?;
        let rarity = rarity(view, job, &mut requests)?;
        let answers = Answers::new(f64::from(semantic.error_permille) / 1_000.0, rarity);
        let uncached = crate::prepare::lists::read(&dir.uncached())?;
        let mut found = Self { answers, kept: Vec::new(), uncached, full_told: false };
        found.reread(view, job, &mut requests, lines)?;
        Ok(Some(RefCell::new(found)))
    }

    /// Learns from the lines of earlier runs, in the order in which they became durable.
    fn reread(
        &mut self,
        view: &dyn View,
        job: u32,
        requests: &mut Requests,
        lines: &mut Lines,
    ) -> Result<(), EngineError> {
        let mut numbers = HashMap::new();
        let mut failure = Ok(());
        view.scan_outcomes(job, &mut |outcomes| {
            let answered = |outcome: &&Outcome| {
                outcome.via.is_attempt() && outcome.fate == Fate::Final && outcome.class.is_none()
            };
            failure = outcomes.iter().filter(answered).try_for_each(|outcome| {
                let line = lines.parse(outcome.place)?;
                self.reread_one(view, requests, (outcome, &line), &mut numbers)
            });
            if failure.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        failure
    }

    fn reread_one(
        &mut self,
        view: &dyn View,
        requests: &mut Requests,
        (outcome, line): (&Outcome, &ResultLine<'_>),
        numbers: &mut HashMap<Ordinal, u32>,
    ) -> Result<(), EngineError> {
        let Some(lesson) = &line.semantic else { return Ok(()) };
        let like = lesson.like.and_then(|number| numbers.get(&number.saturating_sub(1)).copied());
        if let (Some(entry), Some(similarity), Some(same)) = (like, lesson.similarity, lesson.same) {
            self.answers.recall(Near { entry, similarity: Similarity::of(similarity) }, same);
        }
        let response = line.response.as_ref().filter(|_| lesson.kept);
        let Some(response) = response else { return Ok(()) };
        let (answer, is_json) = match (&response.text, response.parsed) {
            (Some(text), _) => (text.to_string(), false),
            (None, Some(json)) => (json.get().to_owned(), true),
            (None, None) => return Ok(()),
        };
        let asked = self.asked(&requests.get(view, outcome.ordinal)?.draft()?);
        let kept = Kept {
            ordinal: outcome.ordinal,
            naive: outcome.naive,
            answer: answer.into(),
            is_json,
            provider: line.provider.as_deref().unwrap_or_default().into(),
            model: (&*line.model).into(),
        };
        let Some(prompt) = asked else { return Ok(()) };
        let said = Opinion::of(&kept.checked(), &[]);
        if let Some(number) = self.answers.keep(&prompt, said, kept.bytes()) {
            numbers.insert(outcome.ordinal, number);
            self.kept.push(kept);
        }
        Ok(())
    }

    /// The prompt of a request; `None`: it is none that is compared.
    fn asked(&self, draft: &Draft<'_>) -> Option<Prompt> {
        let Draft::Unified(request) = draft else { return None };
        let (kin, text) = Kin::of(request).ok()?;
        self.answers.prompt(kin.mark(), text)
    }
}

/// Which pieces of text are rare in a job, by its first requests.
fn rarity(view: &dyn View, job: u32, requests: &mut Requests) -> Result<Rarity, EngineError> {
    let mut first = Vec::with_capacity(SAMPLE);
    view.scan_items(job, 0, &mut |chunk| {
        let leaders = chunk.iter().filter(|(.., item)| matches!(item, ItemRec::Leader { .. }));
        first.extend(leaders.map(|(ordinal, ..)| ordinal).take(SAMPLE - first.len()));
        if first.len() < SAMPLE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let mut rarity = Rarity::default();
    for ordinal in first {
        if let Draft::Unified(request) = requests.get(view, ordinal)?.draft()?
            && let Ok((_, text)) = Kin::of(&request)
        {
            rarity.learn(text);
        }
    }
    Ok(rarity)
}

impl Job {
    /// Answers an item that was never sent like a similar one, if it is likely enough that this is right. True: it is done.
    pub(crate) fn serve(&self, ordinal: Ordinal) -> Result<bool, EngineError> {
        let Some(semantic) = &self.semantic else { return Ok(false) };
        let fresh = |item: bulkrate_store::fold::ItemState| item.state == ItemState::Queued;
        if !self.state.borrow().items.get(ordinal).is_some_and(fresh) {
            return Ok(false);
        }
        let Some(asked) = self.compared(&semantic.borrow(), ordinal)? else { return Ok(false) };
        let mut found = semantic.borrow_mut();
        let Some(near) = found.answers.near(&asked.prompt) else { return Ok(false) };
        let tau = found.answers.tau(near);
        if coin(&self.id, u64::from(ordinal)) < tau {
            return Ok(false);
        }
        let Some(kept) = found.kept.get(near.entry as usize) else { return Ok(false) };
        self.book_served(
            ordinal,
            &asked,
            kept,
            Origin { from: kept.ordinal, similarity: near.similarity, tau },
        );
        Ok(true)
    }

    /// What is compared of an item; `None`: nothing.
    fn compared(&self, semantic: &Semantic, ordinal: Ordinal) -> Result<Option<Asked>, EngineError> {
        if semantic.uncached.binary_search(&ordinal).is_ok() {
            return Ok(None);
        }
        let mut requests = self.requests.borrow_mut();
        let sealed = requests.get(&*self.reader, ordinal)?;
        let draft = sealed.draft()?;
        let Some(prompt) = semantic.asked(&draft) else { return Ok(None) };
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
        let (followers, (own, others)) = (state.followers.of(ordinal), state.followers.decides(ordinal));
        state.moved.add(LedgerKind::Saving, Some(SEMANTIC), at, 1, naive);
        if followers > 0 {
            let items = u32::try_from(followers).unwrap_or(u32::MAX);
            state.moved.add(LedgerKind::Saving, Some("dedup"), at, items, naive.times(followers));
        }
        state.tally.naive += naive + naive.times(others);
        state.tally.beyond.dedup += naive.times(followers - others);
        state.tally.succeeded += own + others;
        state.tally.duplicates += others;
        state.tally.similar += own;
        self.changed.notify_waiters(); // nothing may be left to be sent
    }

    /// Takes note of a good answer, and says what of it is to stand in its line. `None`: it is not compared.
    pub(crate) fn learn(
        &self,
        ready: &Ready,
        checked: &Checked<'_>,
        model: &str,
        naive: UsdNanos,
    ) -> Option<Compared> {
        let semantic = self.semantic.as_ref()?;
        let comparable = matches!(*ready.expectation, Expectation::Choices(_) | Expectation::Schema(_));
        let (answer, is_json) = match checked {
            Checked::Choice(text) => (*text, false),
            Checked::Json(json) if comparable => (&**json, true),
            _ => return None,
        };
        if answer.len() > ANSWER_BYTES_MAX {
            return None;
        }
        let semantic = &mut *semantic.borrow_mut();
        let asked = match self.compared(semantic, ready.ordinal) {
            Ok(asked) => asked?,
            Err(error) => {
                self.fail(error);
                return None;
            }
        };
        let kept = Kept {
            ordinal: ready.ordinal,
            naive,
            answer: answer.into(),
            is_json,
            provider: self.deployments[ready.deployment].row.provider.as_str().into(),
            model: model.into(),
        };
        let lesson = semantic.answers.learn(&asked.prompt, Opinion::of(checked, &[]), kept.bytes());
        let near = lesson.near.and_then(|(near, same)| {
            let like = semantic.kept.get(near.entry as usize)?.ordinal;
            Some((like, near.similarity, same))
        });
        if lesson.kept.is_some() {
            semantic.kept.push(kept);
        }
        if semantic.answers.is_full() && !std::mem::replace(&mut semantic.full_told, true) {
            let kept = semantic.kept.len();
            let message = format!(
                "the semantic cache is full with {kept} answers: they are used on, and no more are kept"
            );
            self.tell(&Event::Note { message: &message });
        }
        Some(Compared { near, kept: lesson.kept.is_some() })
    }
}
