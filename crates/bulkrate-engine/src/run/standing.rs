//! How the deployments of a job stand, and who takes whose items because of it. What is decided: `bulkrate_core::failover`.
//!
//! Calls and batches are apart: that of a provider whose calls are lost may be well. One that refuses for good does so in both.

use bulkrate_core::failover::{Candidate, Standing, choose};
use bulkrate_core::failure::{FailureClass, Verdict};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;

use super::job::{Halt, Job, State};
use crate::deployment::Deployment;
use crate::event::Event;
use crate::prepare::{Refusal, Shape};

/// Those that may stand in.
#[derive(Debug, Default)]
pub(crate) struct StandIns {
    /// In the user's order, without those that cannot.
    able: Vec<usize>,
    /// Why the others cannot, to be said behind what is told of a move.
    passed_over: String,
    /// What the items that name one deployment are expected to cost at another, in the job's lane.
    costs: Vec<Vec<Option<UsdNanos>>>,
}

impl StandIns {
    /// `refusals`: what cannot be asked in the job's lane. `costs`: by the deployment that is named, and by the one that is asked.
    pub(crate) fn new(
        fallbacks: &[usize],
        deployments: &[Deployment],
        (shape, home): (Shape, Lane),
        refusals: &[&Refusal],
        costs: Vec<Vec<Option<UsdNanos>>>,
    ) -> Self {
        let mut own = Self { costs, ..Self::default() };
        for place in fallbacks {
            let found = &deployments[*place];
            let refused = || refusals.iter().find(|refusal| refusal.model == found.pinned);
            let unable = match shape {
                Shape::OpenAi => Some("OpenAI batch lines go to the model that they name".to_owned()),
                _ => found.unavailable(home).or_else(|| refused().map(ToString::to_string)),
            };
            match unable {
                None => own.able.push(*place),
                Some(why) => {
                    own.passed_over.push_str(&format!("; `{}` cannot stand in: {why}", found.pinned));
                }
            }
        }
        own
    }

    /// Whether the job has any.
    pub(crate) fn is_empty(&self) -> bool {
        self.able.is_empty()
    }

    /// Whom the items that name this one may go to, itself first.
    fn of(&self, named: usize) -> impl Iterator<Item = usize> {
        std::iter::once(named).chain(self.able.iter().copied().filter(move |place| *place != named))
    }

    fn cost(&self, named: usize, place: usize) -> Option<UsdNanos> {
        self.costs.get(named)?.get(place).copied().flatten()
    }
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
    /// It has been, in this run.
    left: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    calls: Way,
    batches: Way,
    gone: Option<FailureClass>,
    /// A person knows that it is away.
    told: bool,
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
        match (self.gone, way.away) {
            (Some(_), _) => Standing::Gone,
            (None, true) => Standing::Away,
            (None, false) => Standing::Fit,
        }
    }
}

/// How each deployment stands, and who is asked of what names it.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    places: Vec<Place>,
    calls: Vec<usize>,
    batches: Vec<usize>,
    /// How often items were sent elsewhere: whoever holds some looks again.
    pub moves: u64,
}

impl Standings {
    pub(crate) fn new(deployments: usize) -> Self {
        let own: Vec<usize> = (0..deployments).collect();
        Self { places: vec![Place::default(); deployments], calls: own.clone(), batches: own, moves: 0 }
    }

    /// Who is asked of what names this deployment.
    pub(crate) fn asked(&self, named: usize, lane: Lane) -> usize {
        self.active(By::of(lane))[named]
    }

    fn active(&self, by: By) -> &[usize] {
        if by == By::Calls { &self.calls } else { &self.batches }
    }

    fn active_mut(&mut self, by: By) -> &mut [usize] {
        if by == By::Calls { &mut self.calls } else { &mut self.batches }
    }
}

/// Why an item goes to another deployment than the one that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Away,
    /// It refused for good.
    Gone(FailureClass),
}

impl Why {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Gone(class) => class.name(),
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        if name == Self::Away.name() { Some(Self::Away) } else { name.parse().ok().map(Self::Gone) }
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
    from: usize,
    to: usize,
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
        let active = state.standings.active(By::of(lane));
        (0..active.len()).filter(|place| !self.stand_ins.contains(place)).map(|place| active[place])
    }

    /// Why an attempt at what `named` names goes to `asked`; `None`: it is asked for itself.
    pub(crate) fn instead(&self, state: &State, named: usize, asked: usize, lane: Lane) -> Option<Instead> {
        if named == asked || self.may_stand_in.is_empty() {
            return None;
        }
        let (by, standings) = (By::of(lane), &state.standings);
        // Of a cascade's item one of its cheap models may have been meant.
        let cheap = self.cascade.iter().flat_map(super::cascade::Cascade::before);
        let meant = std::iter::once(named).chain(cheap.filter(|_| named == 0));
        meant.filter(|of| *of != asked && standings.active(by)[*of] == asked).find_map(|of| {
            let place = &standings.places[of];
            let why = match (place.gone, place.stands(by)) {
                (Some(class), _) => Why::Gone(class),
                (None, Standing::Fit) => return None,
                (None, _) => Why::Away,
            };
            Some(Instead { of: u32::try_from(of).ok()?, why })
        })
    }

    /// Asks anew who takes whose items, of one way or of both.
    fn choose_again(&self, state: &mut State, ways: &[By]) -> Vec<Move> {
        let mut moves: Vec<Move> = Vec::new();
        for (by, named) in
            ways.iter().flat_map(|by| (0..self.deployments.len()).map(move |named| (*by, named)))
        {
            let list: Vec<usize> = self.may_stand_in.of(named).collect();
            let candidate = |place: &usize| {
                let found = &mut state.standings.places[*place];
                let cost = self.may_stand_in.cost(named, *place);
                Candidate { standing: found.stands(by), left: found.way(by).left, cost }
            };
            let candidates: Vec<Candidate> = list.iter().map(candidate).collect();
            let from = state.standings.active(by)[named];
            let present = list.iter().position(|place| *place == from).unwrap_or(0);
            let chosen = choose(&candidates, present).map(|chosen| list[chosen]);
            let Some(to) = chosen.filter(|to| *to != from) else { continue };
            state.standings.active_mut(by)[named] = to;
            state.standings.moves += 1;
            if by == By::Batches {
                state.wait_no_more(from);
            }
            if !self.stand_ins.contains(&named) {
                moves.push(Move { from, to });
            }
        }
        if !moves.is_empty() {
            self.changed.notify_waiters();
            self.wishes.notify_waiters();
        }
        moves
    }

    /// A deployment has been away for long. True: its items go elsewhere from now on, or have gone.
    pub(crate) fn replace_absent(&self, place: usize, by: By) -> bool {
        if self.may_stand_in.is_empty() {
            return false;
        }
        let mut state = self.state.borrow_mut();
        *state.standings.places[place].way(by) = Way { away: true, left: true };
        let moves = self.choose_again(&mut state, &[by]);
        let lane = if by == By::Batches { Lane::Batch } else { Lane::Sync };
        let replaced = !self.places_in_use(&state, lane).any(|used| used == place);
        let next = moves.iter().find(|moved| moved.from == place).map(|moved| moved.to);
        let known = next.is_some() && std::mem::replace(&mut state.standings.places[place].told, true);
        drop(state);
        if let (Some(next), false) = (next, known) {
            let (away, other) = (&self.deployments[place].pinned, &self.deployments[next].pinned);
            let passed_over = &self.may_stand_in.passed_over;
            let text = format!("`{away}` is away; `{other}` stands in until it is back{passed_over}");
            self.tell(&Event::Alert { code: "failover", message: &text });
        }
        replaced
    }

    /// Somebody answers at a deployment again: its items try it, one alone.
    pub(crate) fn try_again(&self, place: usize, by: By) {
        let mut state = self.state.borrow_mut();
        state.standings.places[place].way(by).away = false;
        self.choose_again(&mut state, &[by]);
    }

    /// A deployment has given a good answer.
    pub(crate) fn is_back(&self, place: usize, by: By) {
        self.try_again(place, by);
        let mut state = self.state.borrow_mut();
        let stood_in = std::mem::take(&mut state.standings.places[place].told);
        let has_items = state.standings.active(by).contains(&place);
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
        let moves = self.choose_again(state, &[By::Calls, By::Batches]);
        let mut lanes = [Lane::Sync, Lane::Batch].into_iter();
        let nobody = lanes.any(|lane| self.places_in_use(state, lane).any(|used| used == place));
        if nobody || !for_good {
            let message = format!("{message}{passed_over}");
            state.halted.get_or_insert(Halt { class, message });
        } else if let Some(next) = moves.iter().find(|moved| moved.from == place).map(|moved| moved.to) {
            let (own, other) = (&self.deployments[place].pinned, &self.deployments[next].pinned);
            let goes_on = match state.standings.places[next].stands(By::of(self.home)) {
                Standing::Away => format!("waiting for `{other}`, which is away"),
                _ => format!("going on with `{other}`"),
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
