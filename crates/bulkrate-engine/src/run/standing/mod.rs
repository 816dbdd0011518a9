//! How the deployments of a job stand, and who takes whose items because of it. What is decided: `bulkrate_core::failover`.
//!
//! Calls and batches are apart: that of a provider whose calls are lost may be well. One that refuses for good does so in both.

mod instead;
mod pauses;
mod places;
mod stand_ins;

use bulkrate_core::failover::{Candidate, Standing, choose};
use bulkrate_core::failure::{FailureClass, Verdict};
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;

pub(crate) use self::instead::{Instead, Why};
pub(crate) use self::pauses::Pauses;
pub(crate) use self::places::{By, Standings};
pub(crate) use self::stand_ins::StandIns;
use super::job::{Halt, Job, State};
use crate::deployment::Route;
use crate::event::Event;

/// Items that one deployment had go to another.
struct Move {
    by: By,
    from: Route,
    to: Route,
}

impl Job {
    /// Deployments that items go to now this way: those that are named, or what stands in for them.
    pub(crate) fn places_in_use<'j>(&'j self, state: &'j State, by: By) -> impl Iterator<Item = usize> {
        let here = move |route: &Route| route.lane.is_none_or(|lane| By::of(lane) == by);
        self.routes(state, by).filter(here).map(|route| route.place)
    }

    fn routes<'j>(&'j self, state: &'j State, by: By) -> impl Iterator<Item = Route> {
        let active = state.standings.active(by).iter().copied().enumerate();
        active.filter(|(named, _)| !self.stand_ins.contains(named)).map(|(_, route)| route)
    }

    /// Whether some of what waits for a batch is to be called for now, as who takes its batches stands no better.
    pub(crate) fn calls_for_batches(&self, state: &State) -> bool {
        self.may_stand_in.mixed
            && self.home == Lane::Batch
            && self.routes(state, By::Batches).any(|route| route.lane.is_some())
    }

    /// The lane in which a route asks an item that is in this one.
    pub(crate) fn lane_at(&self, route: Route, lane: Lane) -> Lane {
        // An item that was called for in the flex lane of a stand-in goes on in a lane that others have.
        let moved = self.may_stand_in.mixed && lane == Lane::Flex && self.home != Lane::Flex;
        let own = || if moved { Lane::Sync } else { lane };
        route.lane.unwrap_or_else(own)
    }

    /// The lane of an item that is to be called for: its own, where a call only stands in for a batch.
    pub(crate) fn lane_of(&self, ordinal: Ordinal, lane: Lane) -> Lane {
        if !self.may_stand_in.mixed {
            return lane;
        }
        let state = self.state.borrow();
        if state.near.switched && lane == Lane::Batch {
            return Lane::Sync; // what waited for a batch is called for from now on
        }
        let called = state.near.switched || state.is_urgent(ordinal) || state.trouble.contains_key(&ordinal);
        if called || self.awaits_canary(&state) { lane } else { self.home }
    }

    /// Asks anew who takes whose items. What only stands in is asked too, and not told of.
    fn choose_again(&self, state: &mut State) -> Vec<Move> {
        let mut moves: Vec<Move> = Vec::new();
        for named in 0..self.deployments.len() {
            let own = |state: &State, by| {
                let of_route = |(route, cost)| Candidate { cost, ..state.standings.stands(route, by) };
                let list: Vec<(Route, _)> = self.may_stand_in.of(named).collect();
                let present = list.iter().position(|(route, _)| *route == state.standings.active(by)[named]);
                let candidates: Vec<Candidate> = list.iter().copied().map(of_route).collect();
                choose(&candidates, present.unwrap_or(0)).map(|chosen| list[chosen].0)
            };
            let batches = own(state, By::Batches);
            // Items that are called for instead of a batch go where their list says, and so do others that want a call.
            let called = batches.filter(|route| self.home == Lane::Batch && route.lane.is_some());
            let calls = called.or_else(|| own(state, By::Calls));
            for (by, to) in [(By::Batches, batches), (By::Calls, calls)] {
                let from = state.standings.active(by)[named];
                let Some(to) = to.filter(|to| *to != from) else { continue };
                state.standings.send(named, by, to);
                if by == By::Batches {
                    state.wait_no_more(from.place);
                }
                if !self.stand_ins.contains(&named) {
                    moves.push(Move { by, from, to });
                }
            }
        }
        if !moves.is_empty() {
            self.changed.notify_waiters();
            self.wishes.notify_waiters();
        }
        moves
    }

    /// The limits of a deployment have left no room for long, or they have room again.
    pub(crate) fn note_room(&self, place: usize, by: By, full: bool) {
        let mut state = self.state.borrow_mut();
        let way = state.standings.places[place].way_mut(by);
        if std::mem::replace(&mut way.full, full) == full {
            return;
        }
        (way.left, way.small) = (way.left || full, way.small || full);
        let moves = self.choose_again(&mut state);
        let next = moves.iter().find(|moved| full && moved.by == by && moved.from.place == place);
        let Some(next) = next.map(|moved| moved.to) else { return };
        if std::mem::replace(&mut state.standings.places[place].full_told, true) {
            return;
        }
        drop(state);
        let (own, other) = (&self.deployments[place].pinned, self.name_of(next));
        let text = format!("the limits of `{own}` leave no room: {other} takes what does not fit");
        self.tell(&Event::Note { message: &text });
    }

    /// Whether a deployment has been full in this run.
    pub(crate) fn is_small(&self, place: usize, by: By) -> bool {
        self.state.borrow().standings.places[place].way(by).small
    }

    /// Whether others may have what does not fit here, and do not yet.
    pub(crate) fn is_newly_full(&self, place: usize, by: By) -> bool {
        self.may_stand_in.when_full && {
            let way = self.state.borrow().standings.places[place].way(by);
            way.small && !way.full
        }
    }

    /// As people read it.
    fn name_of(&self, route: Route) -> String {
        let pinned = &self.deployments[route.place].pinned;
        route.lane.map_or_else(|| format!("`{pinned}`"), |lane| format!("`{pinned}` in the {lane} lane"))
    }

    /// A deployment has been away for long. True: its items go elsewhere from now on, or have gone.
    pub(crate) fn replace_absent(&self, place: usize, by: By) -> bool {
        if self.may_stand_in.is_empty() {
            return false;
        }
        let mut state = self.state.borrow_mut();
        let way = state.standings.places[place].way_mut(by);
        (way.away, way.left) = (true, true);
        let moves = self.choose_again(&mut state);
        let replaced = !self.places_in_use(&state, by).any(|used| used == place);
        let next =
            moves.iter().find(|moved| moved.by == by && moved.from.place == place).map(|moved| moved.to);
        let known = next.is_some() && std::mem::replace(&mut state.standings.places[place].told, true);
        drop(state);
        if let (Some(next), false) = (next, known) {
            let (away, other) = (&self.deployments[place].pinned, self.name_of(next));
            let passed_over = &self.may_stand_in.passed_over;
            let text = format!("`{away}` is away; {other} stands in until it is back{passed_over}");
            self.tell(&Event::Alert { code: "failover", message: &text });
        }
        replaced
    }

    /// Somebody answers at a deployment again: its items try it, one alone.
    pub(crate) fn try_again(&self, place: usize, by: By) {
        let mut state = self.state.borrow_mut();
        state.standings.places[place].way_mut(by).away = false;
        self.choose_again(&mut state);
    }

    /// A deployment has given a good answer.
    pub(crate) fn is_back(&self, place: usize, by: By) {
        self.try_again(place, by);
        let mut state = self.state.borrow_mut();
        let stood_in = std::mem::take(&mut state.standings.places[place].told);
        let has_items = state.standings.active(by).iter().any(|route| route.place == place);
        drop(state);
        let name = &self.deployments[place].pinned;
        let items = match (stood_in, has_items) {
            (true, true) => " and takes its items back",
            (true, false) => "; its items stay where they cost less",
            (false, _) => "",
        };
        self.tell(&Event::Note { message: &format!("`{name}` answers again{items}") });
    }

    /// Whether what is ready for this deployment in a batch, and not sent, is to go elsewhere.
    pub(crate) fn is_left(&self, place: usize) -> bool {
        let state = self.state.borrow();
        let away = state.standings.places[place].way(By::Batches).away;
        away && !self.places_in_use(&state, By::Batches).any(|used| used == place)
    }

    /// A deployment cannot serve: the next one on the list stands in, or the job stops. Calls that were under way when it was
    /// replaced say the same once more; they change nothing.
    pub(crate) fn halt_or_fall_back(
        &self,
        state: &mut State,
        place: usize,
        class: FailureClass,
        message: &str,
    ) {
        let passed_over = &self.may_stand_in.passed_over;
        let for_good = class.verdict() == Verdict::HaltJob;
        if for_good && state.standings.places[place].gone.replace(class).is_some() {
            return;
        }
        let moves = self.choose_again(state);
        let mut ways = [By::Calls, By::Batches].into_iter();
        let nobody = ways.any(|by| self.places_in_use(state, by).any(|used| used == place));
        if nobody || !for_good {
            let message = format!("{message}{passed_over}");
            state.halted.get_or_insert(Halt { class, message });
        } else if let Some(next) = moves.iter().find(|moved| moved.from.place == place).map(|moved| moved.to)
        {
            let (own, other) = (&self.deployments[place].pinned, self.name_of(next));
            let goes_on = match state.standings.stands(next, By::of(self.home)).standing {
                Standing::Away => format!("waiting for {other}, which is away"),
                _ => format!("going on with {other}"),
            };
            let text = format!("`{own}` failed ({message}); {goes_on}{passed_over}");
            self.tell(&Event::Alert { code: "failover", message: &text });
        }
    }
}
