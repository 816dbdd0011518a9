//! The money of one answer: what it cost, and how that is booked.

use bulkrate_core::answer::{Answer, Body};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::planted::{self, Bug};
use bulkrate_core::request::Kind;
use bulkrate_core::usage::Usage;
use bulkrate_store::fold::Applied;
use bulkrate_store::{Fate, LedgerKind, Outcome, Place, Via};

use super::Landing;
use crate::run::job::{BUNDLE, CASCADE, Halt, Job, PROMPT_CACHE, ROUTING};
use crate::run::ledger::At;
use crate::run::ready::Ready;

/// A cost above so many times the worst case is no cost but an error of the provider.
const CREDIBLE_FACTOR: u64 = 16;
/// Below this nothing is called nonsense: small bounds are easily passed by rounding.
const CREDIBLE_MIN: UsdNanos = UsdNanos(10_000_000);
/// The most that one answer of a model without a known price may be said to cost.
const UNPRICED_MAX: UsdNanos = UsdNanos::dollars(1_000);

/// Money of one answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Receipt {
    pub cost: UsdNanos,
    pub naive: UsdNanos,
    /// What it would have cost in its lane without a prompt cache.
    pub uncached: UsdNanos,
    pub usage: Usage,
    pub estimated: bool,
    /// Nobody knows what it cost: the model has no price, and the provider did not say.
    pub unpriced: bool,
    pub paid: bool,
    /// What the provider told, where that is more than was reserved; not always believed.
    pub above: Option<UsdNanos>,
    /// The provider may have billed what it did not answer.
    pub doubt: bool,
    /// Of an item's part of a bundle's answer: what the item would have cost alone, at the standard price.
    pub alone: Option<UsdNanos>,
}

impl Receipt {
    /// What the provider's prompt cache saved.
    fn of_prompt_cache(&self) -> UsdNanos {
        self.uncached - self.cost
    }
}

impl Job {
    /// What an answer cost: the provider's own word first, then the catalogue; no usage means the bound.
    pub(in crate::run) fn receipt(&self, landing: Landing<'_>, answer: &Answer<'_>) -> Receipt {
        let Landing { ready, lane, .. } = landing;
        let priced_as = if planted::has(Bug::PricedAsNamed) { ready.named } else { ready.deployment };
        let found = &self.deployments[priced_as];
        // A flex call that was served at the standard tier is billed so.
        let billed =
            if lane == Lane::Flex && answer.tier.as_deref() == Some("default") { Lane::Sync } else { lane };
        let usage = answer.usage.unwrap_or_default();
        // Numbers that no answer to this request can have cost are nonsense: then the bound is booked, and said so.
        let most = if found.priced { ready.bound.times(CREDIBLE_FACTOR) } else { UNPRICED_MAX };
        let credible = |cost: &UsdNanos| (UsdNanos::ZERO..=most.saturating_add(CREDIBLE_MIN)).contains(cost);
        let told = match (answer.charged, &answer.usage) {
            (Some(charged), _) => Some(charged),
            (None, Some(usage)) if found.priced => found.cost(billed, usage),
            (None, Some(_)) => Some(UsdNanos::ZERO),
            (None, None) if matches!(answer.body, Body::Moderation(_)) => Some(UsdNanos::ZERO),
            (None, None) => None,
        };
        let above = told.filter(|told| !credible(told) || found.priced && *told > ready.bound);
        let told = told.filter(credible);
        let cost = told.unwrap_or(ready.bound);
        // A bound of zero is that of a free model: the cost is known without a usage.
        let estimated = told.is_none() && found.priced && ready.bound > UsdNanos::ZERO;
        let free = answer.usage.is_none() && matches!(answer.body, Body::Moderation(_));
        let unpriced = !found.priced && answer.charged.is_none() && !free;
        let of_usage = answer.usage.as_ref().and_then(|usage| found.naive(usage));
        let naive = of_usage.filter(credible).unwrap_or(cost);
        let of_cache = answer
            .usage
            .filter(|_| found.priced && told.is_some() && of_usage.is_some_and(|naive| credible(&naive)));
        let of_cache =
            of_cache.and_then(|usage| found.prompt_cache_saved(billed, &usage)).unwrap_or_default();
        let uncached = cost.saturating_add(of_cache).max(UsdNanos::ZERO);
        // Numbers that are nonsense by one price are none to price anything else with.
        let sound =
            above.is_none_or(|above| credible(&above)) && of_usage.is_none_or(|naive| credible(&naive));
        let usage = if sound && self.is_credible_at_strong(ready, &usage) { usage } else { Usage::default() };
        Receipt {
            cost,
            naive,
            uncached,
            usage,
            estimated,
            unpriced,
            paid: true,
            above,
            doubt: false,
            alone: None,
        }
    }

    /// Whether the strong model could have used so much: a cheap or a free one does not show by its own price that its
    /// numbers are nonsense.
    fn is_credible_at_strong(&self, ready: &Ready, usage: &Usage) -> bool {
        let Some(found) = &self.strong else { return true };
        let most = ready.strong.map_or(UNPRICED_MAX, |strong| strong.times(CREDIBLE_FACTOR));
        let most = most.saturating_add(CREDIBLE_MIN);
        let cost = found.deployment.naive(usage);
        cost.is_none_or(|cost| (UsdNanos::ZERO..=most).contains(&cost))
    }

    /// What an answer cost that does not land.
    pub(crate) fn cost_of(&self, landing: Landing<'_>, answer: &Answer<'_>) -> UsdNanos {
        self.receipt(landing, answer).cost
    }

    /// Books what levers saved on one answer: `naive x (1 + followers) = routing + cascade + bundle + dedup + lane +
    /// prompt cache + cost`, exactly.
    /// Where a router, a cascade, rules or a plan chose another model, naive is what the strong one would have cost for the same tokens.
    /// `kept`: the answer is the item's.
    pub(super) fn save(&self, landing: Landing<'_>, receipt: &Receipt, followers: u64, kept: bool) {
        let of_cascade = self.cascade_saved(landing.ready, &receipt.usage, receipt.naive, kept);
        let of_router = self.routed(landing, receipt);
        let of_bundle = match receipt.alone {
            None => UsdNanos::ZERO,
            Some(alone) if kept => alone - receipt.naive,
            // A part that brought nothing is lost; with a cascade it is counted there.
            Some(_) if of_cascade.is_some() => UsdNanos::ZERO,
            Some(_) => UsdNanos(-receipt.naive.0) - of_router,
        };
        let state = &mut *self.state.borrow_mut();
        let at = at(landing);
        let of_dedup = receipt.naive.times(followers);
        let (_, asked) = state.followers.decides(landing.ready.ordinal);
        let of_asked = receipt.naive.times(asked.min(followers));
        state.tally.naive += receipt.naive + of_asked;
        state.tally.beyond.dedup += of_dedup - of_asked;
        let items = if kept { u32::try_from(followers).unwrap_or(u32::MAX).saturating_add(1) } else { 0 };
        // An accepted answer of a free model saved nothing, and is counted.
        let counts = |lever| {
            kept && (lever == CASCADE && of_cascade.is_some() || lever == BUNDLE && receipt.alone.is_some())
        };
        for (lever, of_one) in
            [(ROUTING, of_router), (CASCADE, of_cascade.unwrap_or_default()), (BUNDLE, of_bundle)]
        {
            if of_one != UsdNanos::ZERO || counts(lever) {
                let of_all = of_one.times(u64::from(items.max(1)));
                state.tally.naive += of_all;
                state.moved.add(LedgerKind::Saving, Some(lever), at, items, of_all);
            }
        }
        if followers > 0 {
            state.moved.add(
                LedgerKind::Saving,
                Some("dedup"),
                at,
                u32::try_from(followers).unwrap_or(u32::MAX),
                of_dedup,
            );
        }
        let of_lane = receipt.naive - receipt.uncached;
        let lane = if landing.lane == Lane::Sync { "provider" } else { landing.lane.name() };
        for (lever, saved) in [(lane, of_lane), (PROMPT_CACHE, receipt.of_prompt_cache())] {
            if saved != UsdNanos::ZERO {
                state.moved.add(LedgerKind::Saving, Some(lever), at, 1, saved);
            }
        }
    }

    /// What the strong model would have cost more for the same usage, at the standard price; nothing where none but a cascade chose
    /// another.
    pub(super) fn routed(&self, landing: Landing<'_>, receipt: &Receipt) -> UsdNanos {
        let Some(strong) = self.strong.as_ref().filter(|_| !self.is_climbed(landing.ready)) else {
            return UsdNanos::ZERO;
        };
        strong.more(landing.ready.deployment, &receipt.usage, receipt.naive)
    }

    /// Applies an outcome to the states, the budget and the ledger. False: it came late and changed nothing.
    pub(super) fn book(&self, landing: Landing<'_>, receipt: &Receipt, outcome: Outcome) -> bool {
        let mut state = self.state.borrow_mut();
        if state.items.outcome(&outcome) == Applied::Late {
            if planted::has(Bug::DoubleBooking) && receipt.paid {
                state.moved.add(LedgerKind::Settle, None, at(landing), 1, receipt.cost);
            }
            return false;
        }
        if matches!(outcome.fate, Fate::Retry | Fate::Escalate) {
            let trouble = state.trouble.entry(outcome.ordinal).or_default();
            trouble.ended = trouble.ended.wrapping_add(1);
        }
        let (tags, bound) = (landing.ready.tags, landing.ready.bound);
        let at = at(landing);
        state.unflushed += if receipt.doubt { UsdNanos::ZERO } else { bound - receipt.cost.min(bound) };
        state.moved.add(LedgerKind::Release, None, at, 1, bound);
        if receipt.doubt && planted::has(Bug::DoubtReleased) {
            state.budget.release(tags, bound);
        } else if receipt.doubt {
            state.budget.doubt(tags, bound);
            let at = At { sub: landing.sub.or(landing.group), ..at };
            state.moved.add(LedgerKind::Doubt, None, at, 1, bound);
        } else if receipt.paid {
            state.budget.settle(tags, bound, receipt.cost);
            state.moved.add(LedgerKind::Settle, None, at, 1, receipt.cost);
            let tally = &mut state.tally;
            tally.input_tokens = tally.input_tokens.saturating_add(receipt.usage.prompt());
            tally.output_tokens = tally.output_tokens.saturating_add(receipt.usage.output);
            state.tally.estimated += u64::from(receipt.estimated);
            state.tally.unpriced += u64::from(receipt.unpriced);
        } else {
            state.budget.release(tags, bound);
        }
        state.outcomes.push(outcome);
        let deployment = landing.ready.deployment;
        let changed = state.note_mark(deployment, landing.ready.ordinal, &receipt.usage);
        drop(state);
        self.tell_mark(deployment, &changed);
        true
    }

    /// A provider that asks for more than the price list allows is told of: what was booked counts against the caps like
    /// all else, so a cap that is passed by it stops the next lease.
    pub(in crate::run) fn watch_cost(&self, landing: Landing<'_>, receipt: &Receipt) {
        let Some(told) = receipt.above else { return };
        let Landing { ready, .. } = landing;
        let mut state = self.state.borrow_mut();
        if ready.kind == Kind::Image {
            let message = unbounded_picture(ready, told);
            state.halted.get_or_insert(Halt { class: FailureClass::InvalidInput, message });
        }
        if !state.overcharged.note(self.clock.us(), ready.bound, receipt.cost) {
            return;
        }
        let over = state.overcharged;
        drop(state);
        let booked = if receipt.cost == told {
            "that is what is booked".to_owned()
        } else {
            format!("that is not believed, and USD {} are booked", receipt.cost)
        };
        let message = format!(
            "the answer to item {} cost USD {told} by the word of `{}`, and USD {} at most were reserved; {booked}; \
             so far {} of this run's answers were above their bounds, by USD {} in all",
            u64::from(ready.ordinal) + 1,
            self.deployments[ready.deployment].pinned,
            ready.bound,
            over.answers,
            over.excess,
        );
        self.alert("cost-above-bound", &message);
    }
}

/// The bound of a picture is the user's word, and what is reserved for the next one holds no longer.
fn unbounded_picture(ready: &Ready, told: UsdNanos) -> String {
    format!(
        "the picture of item {} cost USD {told}, and {} output tokens, which `--max-output-tokens` says are the most, would have cost USD {}; \
         start again with the most that one has",
        u64::from(ready.ordinal) + 1,
        ready.max_tokens,
        ready.bound,
    )
}

fn at(landing: Landing<'_>) -> At {
    At {
        lane: Some(landing.lane),
        deployment: landing.ready.deployment,
        tags: landing.ready.tags,
        sub: landing.sub,
    }
}

pub(super) fn via(lane: Lane) -> Via {
    match lane {
        Lane::Batch => Via::Batch,
        Lane::Flex => Via::Flex,
        Lane::Sync => Via::Sync,
    }
}

pub(super) fn outcome(
    landing: Landing<'_>,
    receipt: &Receipt,
    class: Option<FailureClass>,
    fate: Fate,
    counted: bool,
    place: Place,
) -> Outcome {
    Outcome {
        ordinal: landing.ready.ordinal,
        attempt: landing.ready.attempt,
        via: via(landing.lane),
        class,
        fate,
        counted,
        cost: receipt.cost,
        naive: receipt.naive,
        prompt_cache: receipt.of_prompt_cache(),
        usage: receipt.usage,
        // Of an unpriced answer the cost is zero, which no estimate is.
        estimated: receipt.estimated || receipt.unpriced,
        place,
    }
}
