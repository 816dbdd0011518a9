//! A bundle that goes: its order is drawn, its body written, its bound cut into those of its items.

use bulkrate_core::bundle::{Bundle, shares, shuffled};
use bulkrate_core::request::{Request, write_canonical};

use super::cut;
use super::gather::{Draft, Member};
use crate::EngineError;
use crate::run::job::Job;
use crate::run::ready::{Asking, Common, NotReady, Ready, encode_unified};
use crate::run::requests::Draft as Stored;

/// What an item weighs at least beside a longer one: its marks and its answer.
const WEIGHT_BYTES: u64 = 64;

/// What goes out as one request.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// The item, or the first of several; the others in the order of their ids.
    pub ready: Ready,
    pub more: Vec<Ready>,
    /// Prompt tokens of all, and the most that the answer may have.
    pub tokens: u64,
    pub max_tokens: u32,
}

impl Parcel {
    pub(crate) fn alone(ready: Ready) -> Self {
        Self { tokens: ready.tokens, max_tokens: ready.max_tokens, ready, more: Vec::new() }
    }
}

impl Job {
    /// Writes the body of a bundle. `seed`: draws which item comes where.
    pub(crate) fn seal(&self, draft: Draft, seed: u64, body: &mut Vec<u8>) -> Result<Parcel, NotReady> {
        let once = draft.once();
        let order = shuffled(draft.members.len(), seed);
        let mut members: Vec<Option<Member>> = draft.members.into_iter().map(Some).collect();
        let members: Vec<Member> = order.into_iter().filter_map(|at| members[at].take()).collect();
        let first = members.first().ok_or_else(|| EngineError::Internal("a bundle of nothing".to_owned()))?;
        if members.len() == 1 {
            // Nobody came to it: it is asked as if there were no bundles.
            return self.ready(first.ready.ordinal, draft.lane, body).map(Parcel::alone);
        }
        let whole = self.whole(&members, draft.lane, body)?;
        // What is said once weighs nothing: each pays for it as for the words around it.
        let own = |member: &Member| (member.text.len() as u64).saturating_sub(once) + WEIGHT_BYTES;
        let weights: Vec<u64> = members.iter().map(own).collect();
        let (bounds, strong) = (cut(whole.bound, &weights), whole.strong.map(|usd| cut(usd, &weights)));
        let tokens = shares(whole.tokens, &weights);
        let mut items = members.into_iter().enumerate().map(|(at, member)| Ready {
            bound: bounds[at],
            strong: strong.as_ref().map(|parts| parts[at]),
            tokens: tokens[at],
            ..member.ready
        });
        let ready = items.next().ok_or_else(|| EngineError::Internal("a bundle of nothing".to_owned()))?;
        Ok(Parcel { ready, more: items.collect(), tokens: whole.tokens, max_tokens: whole.max_tokens })
    }

    /// The request of a whole bundle, as if it were an item's.
    fn whole(
        &self,
        members: &[Member],
        lane: bulkrate_core::lane::Lane,
        body: &mut Vec<u8>,
    ) -> Result<Ready, NotReady> {
        let first = &members[0].ready;
        let found = &self.deployments[first.deployment];
        let mut requests = self.requests.borrow_mut();
        let sealed = requests.get(&*self.reader, first.ordinal)?;
        let Stored::Unified(lead) = sealed.draft()? else {
            return Err(NotReady::Unsupported("it cannot be asked together with others".to_owned()));
        };
        let most = found.max_output().and_then(|most| u32::try_from(most.0).ok());
        let texts: Vec<&str> = members.iter().map(|member| member.text.as_str()).collect();
        let bundle = Bundle::of(&lead, &texts, most)
            .ok_or_else(|| NotReady::Unsupported("its schema cannot be written down".to_owned()))?;
        let mut request = bundle.request(&lead);
        let start = body.len();
        let mark = self.state.borrow().mark(first.deployment);
        let asking = Asking { lane, max_tokens: None, mark, second: None, alternatives: None };
        let fits = |request: &Request<'_>, body: &mut Vec<u8>| encode_unified(found, request, asking, body);
        if let Err(why) = fits(&request, body) {
            // A wire that takes no schema: the prompt says the shape too.
            body.truncate(start);
            if lead.generation_config.output_schema.is_some() {
                return Err(NotReady::Unsupported(why));
            }
            request.generation_config.output_schema = None;
            fits(&request, body).map_err(NotReady::Unsupported)?;
        }
        let mut canonical = Vec::with_capacity(4_096);
        write_canonical(&request, &mut canonical);
        let common = Common {
            named: first.named,
            deployment: first.deployment,
            kind: first.kind,
            max_tokens: request.generation_config.max_tokens.unwrap_or(0),
            messages: request.messages.len() as u64 + 2,
            images: 0,
            documents: 0,
            data: 0,
            mark,
            share: None,
            expectation: std::sync::Arc::clone(&first.expectation),
        };
        self.bounded((first.ordinal, first.attempt, first.tags), lane, canonical.len() as u64, &common)
    }
}
