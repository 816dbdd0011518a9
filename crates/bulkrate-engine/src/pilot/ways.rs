//! The ways that are compared, as they can be run: with a mark for the prompt cache, and with a router.

use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan::{Quality, Tested, Way};
use bulkrate_core::prompt_cache::Wish;

use super::Answers;
use crate::spec::{Learned, RouterSpec};

/// A way that was tested, with all that is needed to run it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged {
    pub way: Way,
    /// How its prompts are marked for a prompt cache, where that is compared.
    pub mark: Option<Wish>,
    pub quality: Quality,
    /// Of a cascade: places of the items that go on, of so many that are asked.
    pub rejected: Option<(Vec<usize>, u64)>,
    /// What the pilot has taught, where the way has a router.
    pub router: Option<Box<RouterSpec>>,
}

impl Judged {
    /// What is known of the models, with what goes on to the last one and what that used. `last`: its answers.
    pub(crate) fn learned(&self, known: &Learned, last: Option<&Answers>) -> Learned {
        let Some((places, reached)) = &self.rejected else { return known.clone() };
        Learned {
            rejected: Some((places.len() as u64, *reached)),
            gone_on: last.map(|answers| answers.ratios_of(places.iter().copied())),
            ..known.clone()
        }
    }
}

impl Judged {
    /// So many of so many items are asked of a model; `None`: all are. The last of a cascade is asked what the others left, and of a router's
    /// models each its own.
    pub(crate) fn part_at(&self, place: usize) -> Option<(u64, u64)> {
        match (&self.rejected, &self.router) {
            (Some((places, reached)), _) if place == self.way.last => Some((places.len() as u64, *reached)),
            (_, Some(router)) => {
                let at = self.way.router.iter().position(|one| *one == place);
                Some((u64::from(router.permille_at(at)), 1_000))
            }
            _ => None,
        }
    }
}

impl From<Tested> for Judged {
    fn from(Tested { way, quality, rejected }: Tested) -> Self {
        Self { way, mark: None, quality, rejected, router: None }
    }
}

/// Each way as often as there are marks for the prompt cache to compare: the same answers at another price, so that no look is spent on it.
pub(crate) fn by_mark(judged: Vec<Judged>, marks: &dyn Fn(&Judged) -> &'static [Wish]) -> Vec<Judged> {
    let each = |one: Judged| match marks(&one) {
        [] => vec![one],
        marks => marks.iter().map(|mark| Judged { mark: Some(*mark), ..one.clone() }).collect(),
    };
    judged.into_iter().flat_map(each).collect()
}

/// What a budget leaves for the job after its pilots.
pub(crate) fn left_of(budget: Option<UsdNanos>, spent: UsdNanos) -> Option<UsdNanos> {
    budget.map(|budget| UsdNanos((budget.0 - spent.0).max(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_there_under_each_mark() {
        const BOTH: &[Wish] = &[Wish::Auto, Wish::Off];
        let judged = |place| Judged {
            way: Way::alone(place),
            mark: None,
            quality: Quality::Unknown,
            rejected: None,
            router: None,
        };
        let marks = |one: &Judged| if one.way.last == 1 { BOTH } else { &[] };
        let all = by_mark(vec![judged(0), judged(1)], &marks);
        let found: Vec<(usize, Option<Wish>)> = all.iter().map(|one| (one.way.last, one.mark)).collect();
        assert_eq!(found, [(0, None), (1, Some(Wish::Auto)), (1, Some(Wish::Off))]);
    }

    #[test]
    fn a_budget_is_never_less_than_nothing() {
        let usd = UsdNanos::dollars;
        for (budget, spent, left) in [(Some(5), 2, Some(3)), (Some(1), 2, Some(0)), (None, 2, None)] {
            assert_eq!(left_of(budget.map(usd), usd(spent)), left.map(usd));
        }
    }
}
