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
use super::ready::{Common, NotReady, encode_unified};
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
        let unseen = || NotReady::Unsupported("a judge would not see all of the request".to_owned());
        let Draft::Unified(about) = sealed.draft()? else { return Err(unseen()) };
        let question = Question::of(&about, &waits.answer).ok_or_else(unseen)?;
        let named = 0;
        let deployment = self.asked(&state, ordinal, named);
        let request = question.request(&about);
        encode_unified(&self.deployments[deployment], &request, lane, None, body)
            .map_err(NotReady::Unsupported)?;
        let common = Common {
            named,
            deployment,
            kind: Kind::Chat,
            max_tokens: request.generation_config.max_tokens.unwrap_or(0),
            messages: 2,
            images: 0,
            documents: 0,
            expectation: self.verdicts()?,
        };
        Ok(Some((common, question.bytes())))
    }

    /// What a judge's answer must be.
    fn verdicts(&self) -> Result<Arc<Expectation>, EngineError> {
        // Not a name that a schema or choices of a request could have.
        self.known("\u{1}verdict", || Ok(Expectation::Choices(VERDICTS.map(str::to_owned).to_vec())))
    }
}
