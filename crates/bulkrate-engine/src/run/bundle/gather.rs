//! Items of one kin come together until a request is full.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use bulkrate_core::bundle::{Alone, Common, INPUT_TOKENS_MAX, Kin, Limit, Room, fitting, size_after};
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;

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
    /// Its items have not failed in one before, whether as many as were asked for fit or not.
    is_first: bool,
    pub lane: Lane,
    pub members: Vec<Member>,
    /// Bytes of the request beside the texts, and what the texts have in common.
    around: u64,
    common: Common,
}

/// What is gathered, and not leased.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    drafts: VecDeque<Draft>,
    /// Their items: one that was queued twice is gathered once.
    held: BTreeSet<Ordinal>,
    told: BTreeSet<Alone>,
    /// Whether it was said that more kinds of requests come than are gathered side by side.
    crowded: bool,
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
    fn begun(kin: Kin, (is_first, size): (bool, u32), lane: Lane, ready: Ready, text: String) -> Self {
        let (around, common) = (ready.bytes.saturating_sub(text.len() as u64), Common::of(&text));
        Self { kin, size, is_first, lane, members: vec![Member { ready, text }], around, common }
    }

    fn first(&self) -> &str {
        self.members.first().map_or("", |member| &member.text)
    }

    /// Whether an item may come to it.
    fn is_for(&self, kin: &Kin, size: u32, lane: Lane, ready: &Ready) -> bool {
        let first = self.members.first().map(|member| &member.ready);
        let same = |first: &Ready| first.deployment == ready.deployment && first.tags == ready.tags;
        self.size == size && self.lane == lane && first.is_some_and(same) && self.kin == *kin
    }

    /// What the texts have in common with one more, and the bytes of the request then.
    fn with(&self, text: &str) -> (Common, u64) {
        let common = self.common.with(self.first(), text);
        let marks = FRAME_BYTES * (self.members.len() as u64 + 1);
        (common, self.around + common.said(self.first()) + marks)
    }

    /// Bytes of each text that are said once for all.
    pub(super) fn once(&self) -> u64 {
        self.common.once(self.first())
    }

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
        self.held.clear();
    }

    /// One that goes.
    fn goes(&mut self, draft: Draft) -> Draft {
        for member in &draft.members {
            self.held.remove(&member.ready.ordinal);
        }
        draft
    }

    /// All that wait.
    pub(crate) fn ordinals(&self) -> Vec<Ordinal> {
        self.drafts.iter().flat_map(Draft::ordinals).collect()
    }

    /// One that goes although it is not full: nothing else is there to fill it. `more_may_fail`: what failed before waits as long as
    /// what is out may bring it company.
    pub(crate) fn pop(&mut self, more_may_fail: bool) -> Option<Draft> {
        let at = self.drafts.iter().position(|draft| !more_may_fail || draft.is_first)?;
        let draft = self.drafts.remove(at)?;
        Some(self.goes(draft))
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
        if gathering.held.contains(&ready.ordinal) {
            return Ok(Gathered::Kept(None));
        }
        let halvings = {
            let state = self.state.borrow();
            let judged = state.climb.awaiting(ready.ordinal).is_some();
            let alone = judged || state.is_urgent(ready.ordinal);
            self.halvings(&state, &ready).filter(|_| !alone)
        };
        let (Some(asked), Some(halvings)) = (self.bundle_at(ready.deployment), halvings) else {
            return Ok(Gathered::Alone(ready));
        };
        let (room, limit) = self.fitting(&ready, asked);
        // Half of those that were together, not of those that were asked for.
        let size = size_after(room, halvings);
        if size < 2 && room > 1 {
            return Ok(Gathered::Alone(ready));
        }
        let found = match limit {
            Some(limit) if room < 2 => Err(Alone::NoRoom(limit)),
            _ => self.kin(&ready)?,
        };
        Ok(match found {
            Ok((kin, text)) => {
                let draft = Draft::begun(kin, (halvings == 0, size), lane, ready, text);
                Gathered::Kept(self.come_together(gathering, draft))
            }
            Err(why) => {
                self.tell_alone(gathering, &ready, why);
                Gathered::Alone(ready)
            }
        })
    }

    /// Brings one together with those of its kin; a bundle that is complete, or has to make room, goes.
    fn come_together(&self, gathering: &mut Gathering, mut one: Draft) -> Option<Draft> {
        let Member { ready, text } = one.members.pop()?;
        gathering.held.insert(ready.ordinal);
        let is_one = |draft: &Draft| draft.is_for(&one.kin, one.size, one.lane, &ready);
        let Some(at) = gathering.drafts.iter().position(is_one) else {
            one.members.push(Member { ready, text });
            let full = gathering.drafts.len() >= DRAFTS_MAX;
            if full && !std::mem::replace(&mut gathering.crowded, true) {
                let message = format!(
                    "more than {DRAFTS_MAX} kinds of requests come in turn, by prompt and tags: some bundles go before they are full; \
                     a source that is sorted by them fills them"
                );
                self.tell(&Event::Note { message: &message });
            }
            let oldest = if full { gathering.drafts.pop_front() } else { None };
            gathering.drafts.push_back(one);
            return oldest.map(|oldest| gathering.goes(oldest));
        };
        let draft = &mut gathering.drafts[at];
        let (common, bytes) = draft.with(&text);
        if self.estimated_tokens(ready.deployment, bytes) > INPUT_TOKENS_MAX {
            one.members.push(Member { ready, text });
            let full = std::mem::replace(draft, one);
            return Some(gathering.goes(full));
        }
        draft.common = common;
        draft.members.push(Member { ready, text });
        let full = draft.members.len() >= draft.size as usize;
        let full = if full { gathering.drafts.remove(at) } else { None };
        full.map(|full| gathering.goes(full))
    }

    /// Says once why items like this one go alone.
    fn tell_alone(&self, gathering: &mut Gathering, ready: &Ready, why: Alone) {
        if gathering.told.insert(why) {
            let message = format!(
                "item {} is asked alone, not in a bundle, and so are others like it: {why}",
                u64::from(ready.ordinal) + 1
            );
            self.tell(&Event::Note { message: &message });
        }
    }

    /// The kin of an item and the text in which it differs, or why it has none.
    fn kin(&self, ready: &Ready) -> Result<Result<(Kin, String), Alone>, EngineError> {
        let mut requests = self.requests.borrow_mut();
        let sealed = requests.get(&*self.reader, ready.ordinal)?;
        Ok(match sealed.draft()? {
            Request::Raw(_) => Err(Alone::AsWritten),
            Request::Unified(request) => Kin::of(&request).map(|(kin, text)| (kin, text.to_owned())),
        })
    }

    /// So many items like this one as have room in one request. What further ones add to the prompt shows when they come.
    fn fitting(&self, ready: &Ready, size: u32) -> (u32, Option<Limit>) {
        let most = self.deployments[ready.deployment].max_output().map(|most| most.0);
        let room = Room {
            prompt: (self.estimated_tokens(ready.deployment, ready.bytes), 0),
            output: (u64::from(ready.max_tokens), most),
            price: (ready.bound, self.spec.run.budget_per_request),
        };
        fitting(size, &room)
    }
}
