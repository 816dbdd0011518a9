//! Calls that hold several items: gathered as far as there are any, and sent when they are full or nothing else is there.

use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bytes::Bytes;

use super::next::Read;
use super::waits::Turn;
use super::{Calls, GROUP_MAX, Held};
use crate::run::bundle::{Draft, Gathered, Parcel, bound};
use crate::run::job::Retry;
use crate::run::ready::NotReady;
use crate::run::standing::By;

/// Items of bundles that are leased in one commit.
const LEASES_MAX: usize = 1_000;

/// What became of an item that was taken.
enum Taken {
    /// A call goes, with it or another.
    Goes(Held),
    /// It waits for others, or has ended.
    Waits,
    /// Nothing more is to be read for now.
    Stop,
}

impl Held {
    pub(super) fn of(parcel: Parcel, lane: Lane, body: Vec<u8>) -> Self {
        let Parcel { ready, more, tokens, max_tokens } = parcel;
        // What a provider may count against its limit: the prompt, and the most it may answer.
        let tokens = tokens + u64::from(max_tokens);
        Self { ready, more, lane, came: lane, body: Bytes::from(body), tokens }
    }

    /// The most that it can cost.
    pub(super) fn bound(&self) -> UsdNanos {
        bound(&self.ready, &self.more)
    }

    pub(super) fn ordinals(&self) -> impl Iterator<Item = Ordinal> {
        std::iter::once(&self.ready).chain(&self.more).map(|ready| ready.ordinal)
    }
}

impl Calls {
    /// Whether every item of a call waits for one. Of a bundle that has lost some the others are taken up anew.
    pub(super) fn is_waiting(&self, held: &Held) -> bool {
        let mut state = self.job.state.borrow_mut();
        if held.more.is_empty() {
            return state.items.is_waiting(held.ready.ordinal);
        }
        let left: Vec<Ordinal> = held.ordinals().filter(|ordinal| state.items.is_waiting(*ordinal)).collect();
        if left.len() > held.more.len() {
            return true;
        }
        for ordinal in left {
            state.queue(Retry { due_us: 0, ordinal, lane: held.lane });
        }
        false
    }

    /// A bundle for which there is no money: its items may each have room, or be below the cap for one request.
    pub(super) fn come_apart(&self, held: &Held) {
        let ordinals: Vec<Ordinal> = held.ordinals().collect();
        self.job.come_apart(&ordinals, held.lane, None);
    }

    /// The next call of a job that bundles.
    pub(super) fn pick_bundled(&mut self) -> Option<Held> {
        loop {
            let (ordinal, lane) = match self.waits.turn() {
                Some(Turn::Held(held)) => return Some(held),
                Some(Turn::Behind(ordinal, lane)) => (ordinal, lane),
                None if !self.waits.looks_on(self.job.places_in_use(&self.job.state.borrow(), By::Calls)) => {
                    return None;
                }
                None if self.waits.is_far() => {
                    self.wake_us = Some(self.job.clock.us());
                    return None;
                }
                None => match self.coming() {
                    Some(next) => next,
                    None => match self.gathering.pop(self.waits_for_company()) {
                        Some(draft) => match self.sealed(draft).and_then(|held| self.may_go(held)) {
                            Some(held) => return Some(held),
                            None => continue,
                        },
                        None => return None,
                    },
                },
            };
            if !self.job.state.borrow().items.is_waiting(ordinal) {
                continue;
            }
            match self.take_in(ordinal, lane) {
                Taken::Goes(held) => {
                    if let Some(held) = self.may_go(held) {
                        return Some(held);
                    }
                }
                // Reading is work too: messages are looked at now and then.
                Taken::Waits => self.waits.pass(),
                Taken::Stop => return None,
            }
            if self.job.is_closing() {
                return None;
            }
        }
    }

    /// A call whose gate has not refused in this round; another one waits there.
    fn may_go(&mut self, held: Held) -> Option<Held> {
        if !self.waits.has_refused(held.ready.deployment) {
            return Some(held);
        }
        let first = self.goes_before(&held);
        self.waits.put(held, first);
        None
    }

    /// Whether what was gathered is enough for one commit.
    pub(super) fn is_full(&self) -> bool {
        let items = || self.group.iter().map(|flight| flight.items().count()).sum::<usize>();
        self.group.len() >= GROUP_MAX || self.job.bundle.is_some() && items() >= LEASES_MAX
    }

    /// Whether answers that are on their way may bring items that failed others of their size.
    fn waits_for_company(&self) -> bool {
        self.in_flight > 0 && !self.job.state.borrow().near.switched
    }

    /// Reads an item and takes it into a bundle.
    fn take_in(&mut self, ordinal: Ordinal, lane: Lane) -> Taken {
        let held = match self.read(ordinal, lane) {
            Read::Ready(held) => held,
            Read::Ended => return Taken::Waits,
            Read::Stop => return Taken::Stop,
        };
        if self.goes_alone(&held) {
            return Taken::Goes(held);
        }
        let job = std::rc::Rc::clone(&self.job);
        let Held { ready, body, tokens, lane, came, .. } = held;
        match job.gather(&mut self.gathering, ready, lane) {
            Ok(Gathered::Alone(ready)) => {
                Taken::Goes(Held { ready, more: Vec::new(), lane, came, body, tokens })
            }
            Ok(Gathered::Kept(draft)) => {
                draft.and_then(|draft| self.sealed(draft)).map_or(Taken::Waits, Taken::Goes)
            }
            Err(error) => {
                job.fail(error);
                Taken::Stop
            }
        }
    }

    /// The very first call to a deployment, and what goes ahead of the batches: one item, whose answer is worth one item.
    fn goes_alone(&self, held: &Held) -> bool {
        self.gates[held.ready.deployment].is_first(self.job.clock.us())
            || self.job.awaits_canary(&self.job.state.borrow())
    }

    /// A bundle as it goes out.
    fn sealed(&mut self, draft: Draft) -> Option<Held> {
        let job = std::rc::Rc::clone(&self.job);
        let (lane, ordinals) = (draft.lane, draft.ordinals());
        let mut body = Vec::with_capacity(8_192);
        match job.seal(draft, job.random(), &mut body) {
            Ok(parcel) => Some(Held::of(parcel, lane, body)),
            Err(NotReady::Engine(error)) => {
                job.fail(error);
                None
            }
            Err(NotReady::Lane(lane)) => {
                let mut state = job.state.borrow_mut();
                ordinals.into_iter().for_each(|ordinal| state.queue(Retry { due_us: 0, ordinal, lane }));
                None
            }
            Err(NotReady::Unsupported(why)) => {
                job.come_apart(&ordinals, lane, Some(&why));
                None
            }
        }
    }
}
