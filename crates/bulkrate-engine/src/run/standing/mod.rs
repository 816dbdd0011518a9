//! How the deployments of a job stand, and who takes whose items because of it. What is decided: `bulkrate_core::failover`.
//!
//! Calls and batches are apart: that of a provider whose calls are lost may be well. One that refuses for good does so in both.

use bulkrate_core::failover::{Candidate, Standing, choose};
use bulkrate_core::failure::{FailureClass, Verdict};
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;

use super::job::{Halt, Job, State};
use crate::deployment::{Deployment, Route};
use crate::event::Event;
use crate::planning::cost_at;
use crate::prepare::{Checkpoint, Shape};
use crate::spec::{FallbackWhen, JobSpec};

/// Those that may stand in.
#[derive(Debug)]
pub(crate) struct StandIns {
    /// In the user's order, without those that cannot.
    able: Vec<Route>,
    /// Why the others cannot, to be said behind what is told of a move.
    passed_over: String,
    /// What the items that name a deployment are expected to cost there, and then by each of `able`.
    costs: Vec<Vec<Option<UsdNanos>>>,
    /// Bodies of the source name their models themselves.
    raw: bool,
    /// Some are asked in another lane than the job's.
    pub mixed: bool,
}

impl StandIns {
    pub(crate) fn new(
        spec: &JobSpec,
        checkpoint: &Checkpoint,
        deployments: &[Deployment],
        (fallbacks, home): (&[Route], Lane),
    ) -> Self {
        let (mut able, mut passed_over) = (Vec::new(), String::new());
        for route in fallbacks {
            match unable(spec, checkpoint, deployments, (*route, home)) {
                None => able.push(Route { lane: route.lane.filter(|lane| *lane != home), ..*route }),
                Some(why) => {
                    let pinned = &deployments[route.place].pinned;
                    passed_over.push_str(&format!("; `{pinned}` cannot stand in: {why}"));
                }
            }
        }
        let cost = |named: &Deployment, route: Route| {
            cost_at(spec, checkpoint, named, &deployments[route.place], route.lane.unwrap_or(home))
        };
        let of = |(place, named): (usize, &Deployment)| {
            let own = Route { place, lane: None };
            std::iter::once(own).chain(able.iter().copied()).map(|route| cost(named, route)).collect()
        };
        let costs =
            if able.is_empty() { Vec::new() } else { deployments.iter().enumerate().map(of).collect() };
        let mixed = able.iter().any(|route| route.lane.is_some());
        Self { able, passed_over, costs, raw: checkpoint.shape == Shape::OpenAi, mixed }
    }

    /// Whether the job has any.
    pub(crate) fn is_empty(&self) -> bool {
        self.able.is_empty()
    }

    /// Whom the items that name this one may go to, itself first, and what they cost there.
    fn of(&self, named: usize) -> impl Iterator<Item = (Route, Option<UsdNanos>)> {
        let own = Route { place: named, lane: None };
        let others = self.able.iter().copied();
        let all = std::iter::once(own).chain(others).enumerate();
        all.filter(move |(at, route)| *at == 0 || *route != own && (!self.raw || route.place == named))
            .map(move |(at, route)| (route, self.costs.get(named).and_then(|costs| costs[at])))
    }
}

/// Why a deployment cannot stand in in a lane.
fn unable(
    spec: &JobSpec,
    checkpoint: &Checkpoint,
    deployments: &[Deployment],
    (route, home): (Route, Lane),
) -> Option<String> {
    let (found, lane) = (&deployments[route.place], route.lane.unwrap_or(home));
    if lane == Lane::Batch && home != Lane::Batch {
        return Some(format!("a job of the {home} lane does not wait for batches"));
    }
    let elsewhere = lane != home;
    if checkpoint.shape == Shape::OpenAi && !elsewhere {
        return Some("OpenAI batch lines go to the model that they name".to_owned());
    }
    let mut refusals = checkpoint.refusals_in(lane, spec.source.limit);
    let refused = refusals.find(|refusal| refusal.model == found.pinned && (refusal.instead || elsewhere));
    found.unavailable(lane).or_else(|| refused.map(ToString::to_string))
}

/// What has shown how a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Calls,
    Batches,
}

impl By {
    fn of(lane: Lane) -> Self {
        if lane == Lane::Batch { Self::Batches } else { Self::Calls }
    }
}

/// One of the two ways to a deployment.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    away: bool,
    /// Its limits leave no room, and have not for long.
    full: bool,
    /// It has been so in this run: what does not fit need not wait any more to show it.
    small: bool,
    /// It has been away or full in this run.
    left: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    calls: Way,
    batches: Way,
    gone: Option<FailureClass>,
    /// A person knows that it is away, and that it was full.
    told: bool,
    full_told: bool,
}

impl Place {
    fn way(&mut self, by: By) -> &mut Way {
        match by {
            By::Calls => &mut self.calls,
            By::Batches => &mut self.batches,
        }
    }

    fn stands(&self, by: By) -> Standing {
        let way = if by == By::Calls { self.calls } else { self.batches };
        match (self.gone, way.away, way.full) {
            (Some(_), _, _) => Standing::Gone,
            (None, true, _) => Standing::Away,
            (None, false, true) => Standing::Full,
            (None, false, false) => Standing::Fit,
        }
    }
}

/// How each deployment stands, and who is asked of what names it.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    places: Vec<Place>,
    calls: Vec<Route>,
    batches: Vec<Route>,
    /// How often items were sent elsewhere: whoever holds some looks again.
    pub moves: u64,
}

impl Standings {
    pub(crate) fn new(deployments: usize) -> Self {
        let own: Vec<Route> = (0..deployments).map(|place| Route { place, lane: None }).collect();
        Self { places: vec![Place::default(); deployments], calls: own.clone(), batches: own, moves: 0 }
    }

    /// Who is asked of what names this deployment, for an item that is in this lane.
    pub(crate) fn asked(&self, named: usize, lane: Lane) -> Route {
        self.active(By::of(lane))[named]
    }

    fn active(&self, by: By) -> &[Route] {
        if by == By::Calls { &self.calls } else { &self.batches }
    }

    /// How it stands for items that come this way.
    fn stands(&self, route: Route, by: By) -> Candidate {
        let by = route.lane.map_or(by, By::of);
        let place = &self.places[route.place];
        let way = if by == By::Calls { place.calls } else { place.batches };
        Candidate { standing: place.stands(by), left: way.left, cost: None }
    }
}

/// Why an item goes to another deployment than the one that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Away,
    /// Its limits left no room.
    Capacity,
    /// It refused for good.
    Gone(FailureClass),
}

impl Why {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Capacity => "capacity",
            Self::Gone(class) => class.name(),
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let known = [Self::Away, Self::Capacity].into_iter().find(|why| why.name() == name);
        known.or_else(|| name.parse().ok().map(Self::Gone))
    }
}

/// A deployment in the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instead {
    /// The place of that one.
    pub of: u32,
    pub why: Why,
}

/// Items that one deployment had go to another.
struct Move {
    by: By,
    from: Route,
    to: Route,
}

/// Deployments that no call reaches now, and the time of this run in which none of those in use could be.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    pub away: Vec<usize>,
    since_us: Option<u64>,
    pub sum_us: u64,
}

impl Pauses {
    /// Who is away now, and whether that is all.
    fn note(&mut self, away: Vec<usize>, all: bool, now_us: u64) {
        self.away = away;
        if let Some(since_us) = self.since_us.take() {
            self.sum_us += now_us.saturating_sub(since_us);
        }
        self.since_us = all.then_some(now_us);
    }
}

impl Job {
    /// Takes note of who is away now.
    pub(crate) fn note_away(&self, away: impl Iterator<Item = usize>) {
        let mut state = self.state.borrow_mut();
        let in_use: Vec<usize> = self.places_in_use(&state, Lane::Sync).collect();
        let away: Vec<usize> = away.filter(|place| in_use.contains(place)).collect();
        let all = !in_use.is_empty() && in_use.iter().all(|place| away.contains(place));
        state.pauses.note(away, all, self.clock.us());
    }

    /// Deployments that items of a lane go to now: those that are named, or what stands in for them.
    pub(crate) fn places_in_use<'j>(&'j self, state: &'j State, lane: Lane) -> impl Iterator<Item = usize> {
        let by = By::of(lane);
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
        let called = state.switched || state.is_urgent(ordinal) || state.trouble.contains_key(&ordinal);
        if called || self.awaits_canary(&state) { lane } else { self.home }
    }

    /// Why an attempt at what `named` names goes to `asked`; `None`: it is asked for itself, in its own lane.
    pub(crate) fn instead(&self, state: &State, named: usize, asked: usize, lane: Lane) -> Option<Instead> {
        if self.may_stand_in.is_empty() || named == asked && !self.may_stand_in.mixed {
            return None;
        }
        let standings = &state.standings;
        // An item of a job of batches that is called for in another's place has come by way of its batches.
        let by = if self.calls_for_batches(state) { By::Batches } else { By::of(lane) };
        // Of a cascade's item one of its cheap models may have been meant.
        let cheap = self.cascade.iter().flat_map(super::cascade::Cascade::before);
        let meant = std::iter::once(named).chain(cheap.filter(|_| named == 0));
        // At its own place and in its own lane nothing stands in for it.
        let goes = |of: &usize| {
            let route = standings.active(by)[*of];
            route.place == asked && (*of != asked || route.lane == Some(lane))
        };
        meant.filter(goes).find_map(|of| {
            let place = &standings.places[of];
            let why = match (place.gone, place.stands(by)) {
                (Some(class), _) => Why::Gone(class),
                (None, Standing::Fit) => return None,
                (None, Standing::Full) => Why::Capacity,
                (None, _) => Why::Away,
            };
            Some(Instead { of: u32::try_from(of).ok()?, why })
        })
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
                match by {
                    By::Calls => state.standings.calls[named] = to,
                    By::Batches => {
                        state.standings.batches[named] = to;
                        state.wait_no_more(from.place);
                    }
                }
                state.standings.moves += 1;
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
        let way = state.standings.places[place].way(by);
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
        self.state.borrow_mut().standings.places[place].way(by).small
    }

    /// Whether others may have what does not fit here, and do not yet.
    pub(crate) fn is_newly_full(&self, place: usize, by: By) -> bool {
        let lets = self.spec.run.fallback_when == FallbackWhen::Capacity && !self.may_stand_in.is_empty();
        lets && {
            let way = *self.state.borrow_mut().standings.places[place].way(by);
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
        let way = state.standings.places[place].way(by);
        (way.away, way.left) = (true, true);
        let moves = self.choose_again(&mut state);
        let lane = if by == By::Batches { Lane::Batch } else { Lane::Sync };
        let replaced = !self.places_in_use(&state, lane).any(|used| used == place);
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
        state.standings.places[place].way(by).away = false;
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
        let away = state.standings.places[place].batches.away;
        away && !self.places_in_use(&state, Lane::Batch).any(|used| used == place)
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
        let mut lanes = [Lane::Sync, Lane::Batch].into_iter();
        let nobody = lanes.any(|lane| self.places_in_use(state, lane).any(|used| used == place));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_in_which_nobody_could_be_reached_is_a_pause() {
        let mut pauses = Pauses::default();
        for (now_us, away, all, sum_us) in [
            (10, vec![0], false, 0),
            (20, vec![0, 1], true, 0),
            (30, vec![0, 1], true, 10),
            (45, vec![0], false, 25),
            (60, vec![], false, 25),
            (70, vec![0, 1], true, 25),
            (71, vec![], false, 26),
        ] {
            pauses.note(away.clone(), all, now_us);
            assert_eq!((&pauses.away, pauses.sum_us), (&away, sum_us), "{now_us}");
        }
    }
}
