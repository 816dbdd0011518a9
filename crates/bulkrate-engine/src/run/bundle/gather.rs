//! Items of one kin come together until a request is full.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use bulkrate_core::bundle::{Alone, ID_TOKENS, INPUT_TOKENS_MAX, Kin};
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;

use crate::EngineError;
use crate::event::Event;
use crate::run::job::Job;
use crate::run::ready::Ready;
use crate::run::requests::Draft as Request;

/// Kins that are gathered side by side; the one that waits longest goes as it is when another comes.
const DRAFTS_MAX: usize = 32;
/// Bytes around an item's text in the request.
const FRAME_BYTES: u64 = 32;

/// An item of a bundle to be.
#[derive(Debug)]
pub(crate) struct Member {
    pub ready: Ready,
    pub text: String,
}

/// A bundle to be.
#[derive(Debug)]
pub(crate) struct Draft {
    kin: Kin,
    size: u32,
    /// As many as were asked for at this try, whether they fit or not.
    wanted: u32,
    pub lane: Lane,
    pub members: Vec<Member>,
    /// Bytes of the request so far.
    bytes: u64,
}

/// What is gathered, and not leased.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    drafts: VecDeque<Draft>,
    told: BTreeSet<Alone>,
}

/// What became of an item that was offered.
#[derive(Debug)]
pub(crate) enum Gathered {
    /// It goes by itself.
    Alone(Ready),
    /// It waits for others; one that is complete goes.
    Kept(Option<Draft>),
}

impl Draft {
    pub(crate) fn ordinals(&self) -> Vec<Ordinal> {
        self.members.iter().map(|member| member.ready.ordinal).collect()
    }
}

impl Gathering {
    pub(crate) fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.drafts.clear();
    }

    /// All that wait.
    pub(crate) fn ordinals(&self) -> Vec<Ordinal> {
        self.drafts.iter().flat_map(Draft::ordinals).collect()
    }

    /// One that goes although it is not full: nothing else is there to fill it. `more_may_fail`: what failed before waits as long as
    /// what is out may bring it company.
    pub(crate) fn pop(&mut self, size: u32, more_may_fail: bool) -> Option<Draft> {
        let at = self.drafts.iter().position(|draft| !more_may_fail || draft.wanted >= size)?;
        self.drafts.remove(at)
    }
}

impl Job {
    /// Takes an item into a bundle.
    pub(crate) fn gather(
        &self,
        gathering: &mut Gathering,
        ready: Ready,
        lane: Lane,
    ) -> Result<Gathered, EngineError> {
        let size = {
            let state = self.state.borrow();
            let judged = state.climb.awaiting(ready.ordinal).is_some();
            let size = self.bundle_size(&state, ready.ordinal);
            if judged || state.is_urgent(ready.ordinal) { 1 } else { size }
        };
        if size < 2 {
            return Ok(Gathered::Alone(ready));
        }
        let (kin, text) = match self.kin(&ready)? {
            Ok(found) => found,
            Err(why) => {
                if gathering.told.insert(why) {
                    let message = format!(
                        "item {} is asked alone, not in a bundle, and so are others like it: {why}",
                        u64::from(ready.ordinal) + 1
                    );
                    self.tell(&Event::Note { message: &message });
                }
                return Ok(Gathered::Alone(ready));
            }
        };
        let (wanted, size) = (size, self.fitting(&ready, size));
        let added = text.len() as u64 + FRAME_BYTES;
        if size < 2 || self.tokens_of(&ready, ready.bytes) > INPUT_TOKENS_MAX {
            return Ok(Gathered::Alone(ready));
        }
        let is_one = |draft: &Draft| {
            let first = draft.members.first().map(|member| &member.ready);
            let same = |first: &Ready| first.deployment == ready.deployment && first.tags == ready.tags;
            draft.size == size && draft.lane == lane && first.is_some_and(same) && draft.kin == kin
        };
        let Some(at) = gathering.drafts.iter().position(is_one) else {
            let bytes = ready.bytes + FRAME_BYTES;
            let draft = Draft { kin, size, wanted, lane, members: vec![Member { ready, text }], bytes };
            let full = gathering.drafts.len() >= DRAFTS_MAX;
            let oldest = if full { gathering.drafts.pop_front() } else { None };
            gathering.drafts.push_back(draft);
            return Ok(Gathered::Kept(oldest));
        };
        let draft = &mut gathering.drafts[at];
        if self.tokens_of(&ready, draft.bytes + added) > INPUT_TOKENS_MAX {
            let bytes = ready.bytes + FRAME_BYTES;
            let begun = Draft { kin, size, wanted, lane, members: vec![Member { ready, text }], bytes };
            return Ok(Gathered::Kept(Some(std::mem::replace(draft, begun))));
        }
        draft.bytes += added;
        draft.members.push(Member { ready, text });
        let full = draft.members.len() >= size as usize;
        Ok(Gathered::Kept(if full { gathering.drafts.remove(at) } else { None }))
    }

    /// The kin of an item and the text in which it differs, or why it has none.
    fn kin(&self, ready: &Ready) -> Result<Result<(Kin, String), Alone>, EngineError> {
        let mut requests = self.requests.borrow_mut();
        let sealed = requests.get(&*self.reader, ready.ordinal)?;
        Ok(match sealed.draft()? {
            Request::Raw(_) => Err(Alone::OwnFields),
            Request::Unified(request) => Kin::of(&request).map(|(kin, text)| (kin, text.to_owned())),
        })
    }

    /// So many that their answers have room in one of the model's, and their price below the cap for one request.
    fn fitting(&self, ready: &Ready, size: u32) -> u32 {
        let of_cap = self.spec.run.budget_per_request.filter(|_| ready.bound > UsdNanos::ZERO);
        let size = of_cap.map_or(size, |most| size.min(u32::try_from(most.0 / ready.bound.0).unwrap_or(0)));
        let Some(most) = self.deployments[ready.deployment].max_output() else { return size };
        let each = u64::from(ready.max_tokens) + u64::from(ID_TOKENS);
        size.min(u32::try_from(most.0 / each).unwrap_or(u32::MAX))
    }

    fn tokens_of(&self, ready: &Ready, bytes: u64) -> u64 {
        self.estimated_tokens(ready.deployment, bytes)
    }
}
