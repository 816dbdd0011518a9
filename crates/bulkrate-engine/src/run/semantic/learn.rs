//! What an answer proves of those that were kept.

use bulkrate_core::cascade::Opinion;
use bulkrate_core::collect::{Checked, Expectation};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::semantic::Prompt;

use super::{Kept, Semantic};
use crate::event::Event;
use crate::result_line::Compared;
use crate::run::job::Job;
use crate::run::ready::Ready;

/// Longer answers are not kept.
const ANSWER_BYTES_MAX: usize = 16 << 10;

impl Job {
    /// Takes note of a good answer, and says what of it is to stand in its line. `None`: it is not compared. `naive`: what it costs to
    /// ask for one such answer by itself.
    pub(crate) fn learn(
        &self,
        ready: &Ready,
        checked: &Checked<'_>,
        model: &str,
        naive: UsdNanos,
    ) -> Option<Compared> {
        let semantic = &mut *self.semantic.as_ref()?.borrow_mut();
        semantic.answers.ended();
        let (chance, prompt) = semantic.landed(ready.ordinal);
        let comparable = matches!(*ready.expectation, Expectation::Choices(_) | Expectation::Schema(_));
        let answer = match checked {
            Checked::Choice(text) => Some((*text, false)),
            Checked::Json(json) if comparable => Some((&**json, true)),
            _ => None,
        };
        // A stand-in's answers are not the model's: they prove nothing of them, and no row of the model's gets one.
        let Some((answer, is_json)) = answer.filter(|_| ready.deployment == ready.named) else {
            semantic.leave(chance);
            return None;
        };
        let said = Opinion::of(checked, &[]);
        let chance = chance.map(|chance| (chance, semantic.answers.judge(chance, Some(said))));
        self.tell_errors(semantic);
        let prompt =
            self.prompt_of(semantic, ready.ordinal, prompt).filter(|_| answer.len() <= ANSWER_BYTES_MAX);
        let Some(prompt) = prompt else {
            return chance.map(|_| Compared { near: None, chance, kept: None });
        };
        let kept = Kept {
            ordinal: ready.ordinal,
            naive,
            answer: answer.into(),
            is_json,
            provider: self.deployments[ready.deployment].row.provider.as_str().into(),
            model: model.into(),
        };
        let lesson = semantic.answers.learn(&prompt, said, kept.bytes());
        let near = lesson.near.and_then(|(near, same)| semantic.told(near, same));
        if lesson.kept.is_some() {
            semantic.kept.push(kept);
        }
        self.tell_full(semantic);
        Some(Compared { near, chance, kept: lesson.kept.map(|_| naive) })
    }

    /// An item has ended unasked: it weighs no more among those that are out.
    pub(crate) fn forget_chance(&self, ordinal: Ordinal) {
        if let Some(semantic) = &self.semantic {
            let semantic = &mut *semantic.borrow_mut();
            let (chance, _) = semantic.landed(ordinal);
            semantic.leave(chance);
        }
    }

    /// Takes note of an item that has ended without a good answer. Where the model had none to give, a similar answer is wrong.
    pub(crate) fn unlearn(&self, ready: &Ready, class: FailureClass) -> Option<Compared> {
        let semantic = &mut *self.semantic.as_ref()?.borrow_mut();
        let (chance, prompt) = semantic.landed(ready.ordinal);
        let of_model =
            matches!(class, FailureClass::Refusal | FailureClass::SchemaFailed | FailureClass::ContentPolicy);
        if !of_model || ready.deployment != ready.named {
            semantic.leave(chance);
            return None;
        }
        let chance = chance.map(|chance| (chance, semantic.answers.judge(chance, None)));
        self.tell_errors(semantic);
        let prompt = self.prompt_of(semantic, ready.ordinal, prompt);
        let near = prompt.and_then(|prompt| semantic.answers.refuse(&prompt));
        let near = near.and_then(|near| semantic.told(near, false));
        let told = near.is_some() || chance.is_some();
        told.then(|| {
            semantic.answers.failed();
            Compared { near, chance, kept: None }
        })
    }

    /// The prompt of an item that has landed, as it was compared before it was sent or read anew.
    fn prompt_of(&self, semantic: &Semantic, ordinal: Ordinal, carried: Option<Prompt>) -> Option<Prompt> {
        carried.or_else(|| match self.compared(semantic, ordinal) {
            Ok(asked) => asked.map(|asked| asked.prompt),
            Err(error) => {
                self.fail(error);
                None
            }
        })
    }

    fn tell_full(&self, semantic: &mut Semantic) {
        if semantic.answers.is_full() && !std::mem::replace(&mut semantic.full_told, true) {
            let kept = semantic.kept.len();
            let message = format!(
                "the semantic cache is full with {kept} answers: they are used on, and no more are kept"
            );
            self.tell(&Event::Note { message: &message });
        }
    }

    fn tell_errors(&self, semantic: &mut Semantic) {
        let Some((wrong, ended)) = semantic.answers.used_up() else { return };
        if !std::mem::replace(&mut semantic.errors_told, true) {
            let allowed = self.spec.request.semantic.as_ref().map_or(0, |semantic| semantic.error_permille);
            let message = format!(
                "by the rows that were asked all the same, some {wrong:.0} of {ended} rows were answered wrongly by the semantic \
                 cache, give or take, and {} % may be: what is allowed is used up, and rows are asked until more of them have ended",
                f64::from(allowed) / 10.0,
            );
            self.alert("semantic-cache-errors", &message);
        }
    }
}
