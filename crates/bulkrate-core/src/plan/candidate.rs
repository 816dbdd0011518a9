//! A plan that could be run: who answers, in which lane, for how much, how soon and how well.

use super::proof::Loss;
use crate::cascade::Accept;
use crate::filter::error_high;
use crate::lane::Lane;
use crate::money::UsdNanos;
use crate::price::Quote;
use crate::prompt_cache::Wish;

/// Who answers, as places in the list of models; the first of it is the strong one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Asked first, with the rule by which an answer of theirs is accepted.
    pub cascade: Option<(Vec<usize>, Accept)>,
    /// A learned router chooses among these, the cheapest first, and the last; none: there is no router.
    pub router: Vec<usize>,
    /// The model that has the last word.
    pub last: usize,
}

impl Way {
    #[must_use]
    pub fn alone(model: usize) -> Self {
        Self { cascade: None, router: Vec::new(), last: model }
    }

    /// Cheap models that are asked before the strong one, and by what an answer of theirs is accepted.
    #[must_use]
    pub fn cascade(cheap: Vec<usize>, accept: Accept) -> Self {
        Self { cascade: Some((cheap, accept)), ..Self::alone(0) }
    }

    /// All models that may be asked, in the order of their prices or in which they are asked.
    pub fn models(&self) -> impl Iterator<Item = usize> {
        let asked = self.cascade.iter().flat_map(|(cheap, _)| cheap);
        asked.chain(&self.router).chain([&self.last]).copied()
    }

    /// The strong model alone: what the others are compared with.
    #[must_use]
    pub fn is_reference(&self) -> bool {
        self.cascade.is_none() && self.router.is_empty() && self.last == 0
    }

    /// Orders ways of equal merit, always alike: the strong model before others, one model before a cascade.
    pub(super) fn rank(&self) -> (Vec<usize>, usize, bool, String) {
        let rule = self.cascade.as_ref().map(|(_, rule)| rule.to_string()).unwrap_or_default();
        let mut cheap: Vec<usize> = self.models().collect();
        cheap.pop();
        (cheap, self.last, !self.router.is_empty(), rule)
    }
}

/// What is known of a plan's quality.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Quality {
    /// The strong model alone loses nothing against itself.
    Reference,
    /// Answers cannot be compared, or none was.
    Unknown,
    Measured(Loss),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub way: Way,
    pub lane: Lane,
    /// Items in one request, at most.
    pub bundle: u32,
    /// The same of each model, in the order of [`Way::models`]; empty: all alike.
    pub bundles: Vec<u32>,
    /// How prompts are marked for a provider's prompt cache, where that is compared; `None`: as the job says.
    pub mark: Option<Wish>,
    /// What is left of the job would cost; `None`: a price is not known.
    pub cost: Option<Quote>,
    /// How long it would take, and how long if the lane fails and the rest has to be called one by one.
    pub time_s: u64,
    pub latest_s: u64,
    pub quality: Quality,
    /// Why it cannot be run at all.
    pub barred: Option<String>,
}

/// How long a way takes in a lane, and how long if the lane fails and the rest has to be called one by one: `lane_s` and `sync_s` are what
/// asking all items once takes there and in calls, in seconds, where that is known.
#[must_use]
pub fn times(way: &Way, lane: Lane, lane_s: Option<u64>, sync_s: Option<u64>) -> (u64, u64) {
    // Whoever is in a cascade waits for those before.
    let steps = way.cascade.as_ref().map_or(1, |(cheap, _)| cheap.len() as u64 + 1);
    let time = lane_s.unwrap_or(0).saturating_mul(steps);
    // A batch that does not end in time is cancelled, and a tenth is for looking after that.
    let rescue = sync_s.filter(|_| lane == Lane::Batch).map_or(0, |seconds| seconds + seconds / 10);
    (time, time.saturating_add(rescue))
}

/// What a cascade costs: all that the cheap models cost, and the strong one for what they do not answer. `rejected` of `items` pilot
/// items went on to it, and `strong` is its price if all were like those. The worst case is that all do.
#[must_use]
pub fn cascaded(cheap: &[Quote], strong: &Quote, rejected: u64, items: u64) -> Quote {
    let mut total = gone_on(strong, rejected, items);
    for quote in cheap {
        total.expected = total.expected.saturating_add(quote.expected);
        total.p95 = total.p95.saturating_add(quote.p95);
        total.worst = total.worst.saturating_add(quote.worst);
        total.learned &= quote.learned;
    }
    total.p95 = total.p95.max(total.expected).min(total.worst);
    total
}

/// What is left of a price if so many of so many items go on to it: more may than did, and in the worst case all.
#[must_use]
pub fn gone_on(of: &Quote, rejected: u64, items: u64) -> Quote {
    Quote {
        expected: of.expected.share_up(rejected, items),
        p95: of_share(of.p95, error_high(rejected, items)),
        ..*of
    }
}

/// What bundles cost: `measured` is made of what a pilot paid for them, what was asked again included. `failed` of `bundles` left items
/// without an answer, and `again` is the price if all items were asked as those are then. More of them may fail than did.
#[must_use]
pub fn asked_again(measured: &Quote, again: &Quote, failed: u64, bundles: u64) -> Quote {
    let seen = share(failed, bundles);
    let worst = measured.worst.saturating_add(again.worst);
    let more = of_share(again.p95, error_high(failed, bundles) - seen);
    Quote {
        expected: measured.expected,
        p95: measured.p95.saturating_add(more).max(measured.expected).min(worst),
        worst,
        learned: measured.learned && again.learned,
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of a pilot")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// A share from 0 to 1 in millionths, rounded up.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 1,000,000")]
fn of_share(amount: UsdNanos, share: f64) -> UsdNanos {
    const MILLION: u64 = 1_000_000;
    amount.share_up((share * 1e6).ceil().clamp(0.0, 1e6) as u64, MILLION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cascade_waits_for_each_step_and_a_batch_may_end_in_calls() {
        let (alone, cascade) = (Way::alone(0), Way::cascade(vec![2, 1], Accept::Valid));
        for (way, lane, lane_s, sync_s, want) in [
            (&alone, Lane::Sync, Some(100), Some(100), (100, 100)),
            (&alone, Lane::Batch, Some(3_600), Some(100), (3_600, 3_710)),
            (&alone, Lane::Flex, Some(400), Some(100), (400, 400)),
            (&cascade, Lane::Batch, Some(3_600), Some(100), (10_800, 10_910)),
            (&cascade, Lane::Batch, None, None, (0, 0)),
        ] {
            assert_eq!(times(way, lane, lane_s, sync_s), want, "{lane} of {way:?}");
        }
    }
}
