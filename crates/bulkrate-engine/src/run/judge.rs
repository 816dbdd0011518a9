//! A cascade's judge: another model says whether a cheap answer is right. The item waits for that like for any other model, its
//! answer kept; a yes makes it the item's.

use std::sync::Arc;

use bulkrate_core::answer::{Answer, Body, Finish};
use bulkrate_core::cascade::{Question, VERDICTS};
use bulkrate_core::collect::{Checked, Expectation};
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::request::Kind;
use bulkrate_core::usage::Usage;

use super::job::Job;
use super::ready::{Asking, Common, NotReady, Ready, encode_unified};
use super::requests::{Draft, Sealed};
use crate::EngineError;

/// A cheap answer that waits for its verdict.
#[derive(Debug, Clone)]
pub(crate) struct Awaiting {
    pub answer: String,
    /// The model that gave it, as it called itself, and what it used.
    pub model: String,
    pub usage: Usage,
}

impl Awaiting {
    /// The answer as it came, so that it can be checked once more.
    pub(crate) fn as_answer(&self) -> Answer<'_> {
        Answer {
            body: Body::Text { text: self.answer.as_str().into(), refusal: None, tool_calls: None },
            finish: Finish::Stop,
            usage: Some(self.usage),
            model: Some(self.model.as_str().into()),
            tier: None,
            charged: None,
            tokens: Vec::new(),
        }
    }
}

/// Whether a judge's valid answer accepts.
pub(crate) fn accepts(checked: &Checked<'_>) -> bool {
    matches!(checked, Checked::Choice(said) if *said == VERDICTS[0])
}

impl Job {
    /// Writes the body of what the judge is asked of an item. `None`: no judgement of it is due.
    pub(super) fn judged_body(
        &self,
        ordinal: Ordinal,
        sealed: &Sealed<'_>,
        lane: Lane,
        body: &mut Vec<u8>,
    ) -> Result<Option<(Common, u64)>, NotReady> {
        let state = self.state.borrow();
        let Some(waits) = state.climb.awaiting(ordinal) else { return Ok(None) };
        let route = self.asked(&state, ordinal, 0, lane);
        self.in_lane(route, lane)?;
        let deployment = route.place;
        self.question(sealed, &waits.answer, deployment, lane, body).map(Some)
    }

    /// Whether a judge is to be asked of a cheap answer, of which this is kept. It is asked of all of it, after a crash too: what
    /// holds a secret is not kept, and so not asked of; nor is what is no text, or what no judge can be asked.
    pub(super) fn is_judged(&self, ready: &Ready, body: &Body<'_>, kept: Option<&str>) -> bool {
        let Body::Text { text, tool_calls: None, .. } = body else { return false };
        if text.trim().is_empty() || kept != Some(&**text) {
            return false;
        }
        match self.can_be_judged(ready.ordinal, text) {
            Ok(()) => true,
            Err(NotReady::Unsupported(_) | NotReady::Lane(_)) => false,
            Err(NotReady::Engine(error)) => {
                self.fail(error);
                false
            }
        }
    }

    fn can_be_judged(&self, ordinal: Ordinal, answer: &str) -> Result<(), NotReady> {
        let nobody = || NotReady::Unsupported("there is no judge".to_owned());
        let (judge, lane) = self.judge_of(ordinal).ok_or_else(nobody)?;
        let mut requests = self.requests.borrow_mut();
        let sealed = requests.get(&*self.reader, ordinal)?;
        let (common, bytes) = self.question(&sealed, answer, judge, lane, &mut Vec::new())?;
        self.bounded((ordinal, 0, sealed.tags), lane, bytes, &common).map(drop)
    }

    fn question(
        &self,
        sealed: &Sealed<'_>,
        answer: &str,
        deployment: usize,
        lane: Lane,
        body: &mut Vec<u8>,
    ) -> Result<(Common, u64), NotReady> {
        let unseen = || NotReady::Unsupported("a judge would not see all of the request".to_owned());
        let Draft::Unified(about) = sealed.draft()? else { return Err(unseen()) };
        let question = Question::of(&about, answer).ok_or_else(unseen)?;
        let request = question.request(&about);
        // A question has nothing long that all of them begin with.
        let asking = Asking { lane, max_tokens: None, mark: None, second: None, alternatives: None };
        encode_unified(&self.deployments[deployment], &request, asking, body)
            .map_err(NotReady::Unsupported)?;
        let common = Common {
            named: 0,
            deployment,
            kind: Kind::Chat,
            max_tokens: request.generation_config.max_tokens.unwrap_or(0),
            messages: 2,
            images: 0,
            documents: 0,
            data: 0,
            mark: None,
            share: None,
            expectation: self.verdicts()?,
        };
        Ok((common, question.bytes()))
    }

    /// What a judge's answer must be.
    fn verdicts(&self) -> Result<Arc<Expectation>, EngineError> {
        // Not a name that a schema or choices of a request could have.
        self.known("\u{1}verdict", || Ok(Expectation::Choices(VERDICTS.map(str::to_owned).to_vec())))
    }
}
