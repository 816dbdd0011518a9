//! Items that are answered like a similar one: decided as they are taken to be sent, learned of as answers land.
//!
//! Invariants
//! - Only answers of this job that its own models gave are served or teach; what was served does neither, nor what a stand-in said.
//! - The coin of an item is thrown once: what is to be asked is asked.
//! - What was learned stands in the line of the answer that taught it, so that a start reads back exactly what is durable.
//! - A served item costs nothing and has no lease; naive is what the answer that it got would have cost.

mod learn;
mod serve;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;

use bulkrate_core::bundle::Kin;
use bulkrate_core::cascade::Opinion;
use bulkrate_core::collect::Checked;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::semantic::{Answers, Chance, Near, Prompt, Rarity, SAMPLE, Similarity};
use bulkrate_store::{Fate, ItemRec, Outcome, Via, View};

use super::requests::{Draft, Requests};
use crate::EngineError;
use crate::deliver::Lines;
use crate::embed::Vectors;
use crate::event::{Event, Observer};
use crate::paths::JobDir;
use crate::result_line::ResultLine;
use crate::spec::JobSpec;

/// The lever of the semantic cache.
pub(crate) const SEMANTIC: &str = "semantic";

/// What one job's semantic cache knows.
#[derive(Debug)]
pub(crate) struct Semantic {
    answers: Answers,
    /// Where prompts are compared by embeddings: those of the job's items.
    vectors: Option<Vectors>,
    /// By number.
    kept: Vec<Kept>,
    /// Items that want no cached answer, and give none; ascending.
    uncached: Vec<Ordinal>,
    /// Items that are asked although they might have been served, until they land: as many as are out.
    chances: HashMap<Ordinal, Chance>,
    carried: HashMap<Ordinal, Prompt>,
    full_told: bool,
    errors_told: bool,
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

impl Semantic {
    /// The cache of a job as its durable lines have it; `None` where the job has none.
    pub(crate) fn of(
        spec: &JobSpec,
        view: &dyn View,
        job: u32,
        dir: &JobDir,
        lines: &mut Lines,
        observer: &dyn Observer,
    ) -> Result<Option<RefCell<Self>>, EngineError> {
        let Some(semantic) = &spec.request.semantic else { return Ok(None) };
        let mut requests = Requests::open(dir, job)?;
        let error_max = f64::from(semantic.error_permille) / 1_000.0;
        let answers = match &semantic.embed {
            Some(_) => Answers::of_embeddings(error_max),
            None => Answers::new(error_max, rarity(view, job, &mut requests)?),
        };
        // Without the file nothing is compared: a run makes it before it comes here.
        let vectors = semantic.embed.as_ref().map_or(Ok(None), |_| Vectors::open(dir))?;
        let uncached = crate::prepare::lists::read(&dir.uncached())?;
        let mut found = Self {
            answers,
            vectors,
            kept: Vec::new(),
            uncached,
            chances: HashMap::new(),
            carried: HashMap::new(),
            full_told: false,
            errors_told: false,
        };
        let damaged = found.reread(view, job, &mut requests, lines)?;
        if damaged > 0 {
            let message = format!(
                "{damaged} stored results cannot be read: the semantic cache does without them; `bulkrate verify` names them"
            );
            observer.event(&Event::Note { message: &message });
        }
        Ok(Some(RefCell::new(found)))
    }

    /// Learns from the lines of earlier runs, in the order in which they became durable. Answers how many could not be read: what they
    /// taught is lost, and no reason to send nothing.
    fn reread(
        &mut self,
        view: &dyn View,
        job: u32,
        requests: &mut Requests,
        lines: &mut Lines,
    ) -> Result<u64, EngineError> {
        let mut numbers = HashMap::new();
        let (mut damaged, mut failure) = (0, Ok(()));
        view.scan_outcomes(job, &mut |outcomes| {
            for outcome in outcomes.iter().filter(|outcome| outcome.fate == Fate::Final) {
                let good = outcome.class.is_none();
                if good && (outcome.via.is_attempt() || outcome.via == Via::Semantic) {
                    self.answers.ended();
                }
                if !outcome.via.is_attempt() || outcome.place.is_none() {
                    continue;
                }
                let Ok(line) = lines.parse(outcome.place) else {
                    damaged += 1;
                    continue;
                };
                failure = self.reread_one(view, requests, (outcome, &line), &mut numbers);
                if failure.is_err() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        failure.map(|()| damaged)
    }

    fn reread_one(
        &mut self,
        view: &dyn View,
        requests: &mut Requests,
        (outcome, line): (&Outcome, &ResultLine<'_>),
        numbers: &mut HashMap<Ordinal, u32>,
    ) -> Result<(), EngineError> {
        let Some(lesson) = &line.semantic else { return Ok(()) };
        if outcome.class.is_some() {
            self.answers.failed();
        }
        if let (Some(tau), Some(false)) = (lesson.tau, lesson.right) {
            self.answers.recall_wrong(tau);
        }
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
        let asked = self.asked(outcome.ordinal, &requests.get(view, outcome.ordinal)?.draft()?)?;
        let kept = Kept {
            ordinal: outcome.ordinal,
            naive: lesson.naive().unwrap_or(outcome.naive),
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

    /// What was kept of an item until it landed.
    fn landed(&mut self, ordinal: Ordinal) -> (Option<Chance>, Option<Prompt>) {
        (self.chances.remove(&ordinal), self.carried.remove(&ordinal))
    }

    /// Nothing is to be learned of an item that might have been served.
    fn leave(&mut self, chance: Option<Chance>) {
        if let Some(chance) = chance {
            self.answers.leave(chance);
        }
    }

    /// What a line says of the answer that was nearest.
    fn told(&self, near: Near, same: bool) -> Option<(Ordinal, Similarity, bool)> {
        Some((self.kept.get(near.entry as usize)?.ordinal, near.similarity, same))
    }

    /// The prompt of a request; `None`: it is none that is compared.
    fn asked(&self, ordinal: Ordinal, draft: &Draft<'_>) -> Result<Option<Prompt>, EngineError> {
        let Draft::Unified(request) = draft else { return Ok(None) };
        let Some((kin, text)) = Kin::in_all_but_text(request) else { return Ok(None) };
        let Some(vectors) = &self.vectors else { return Ok(self.answers.prompt(kin.mark(), text)) };
        let embedding = vectors.get(ordinal)?;
        Ok(embedding.and_then(|embedding| self.answers.prompt_of(kin.mark(), text, embedding)))
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
            && let Some((_, text)) = Kin::in_all_but_text(&request)
        {
            rarity.learn(text);
        }
    }
    Ok(rarity)
}
