//! In which order thresholds are tried: from all items at the strongest model downwards, a fiftieth of what can be saved at a time.
//!
//! The order depends on scores and prices alone, never on the labels that prove: only so may the search end at the first thresholds that
//! are not proved, and pay for itself.
//!
//! With two models a step sends a fiftieth of the items more to the weak one. With more there are many ways to save as much. The one that
//! is expected to lose least is taken: for a price `lambda` of money in quality, each model, from the dearest down, takes what it answers
//! better than the dearer ones for that money, and `lambda` is moved until a step is saved.

use super::metrics::price;
use super::{Few, Score, real};

/// Steps of a path.
pub(super) const STEPS: usize = 50;
/// Above every score seen, and one that no text reaches: all items go to that model.
const ALL: Score = Score(i32::MAX);
/// No item goes to that model.
const NONE: Score = Score(i32::MIN);
/// `lambda` is the hyperbolic sine of something between these: fine around 0, and so large at the ends that money alone or quality alone
/// decides.
const REACH: f64 = 15.0;
const HALVINGS: usize = 18;

/// Thresholds to be tried, one after the other. `ratios`: the strongest model's price over that of each cheaper one.
pub(super) fn path(scores: &[Few<Score>], ratios: &[f64]) -> Vec<Few<Score>> {
    if ratios.len() == 1 {
        return by_share(scores);
    }
    let by_price = ByPrice::new(scores, ratios);
    let (mut path, mut cost, mut lambda) = (Vec::new(), 1.0, -REACH);
    for step in 1..=STEPS {
        let next = by_price.at_step(step, &mut lambda);
        // A step over many equal scores is one of several.
        let cheaper = by_price.cost(&next);
        if cheaper < cost {
            path.push(next);
            cost = cheaper;
        }
    }
    path
}

/// The place of the model that an item goes to.
#[must_use]
pub fn place_of(scores: &[Score], thresholds: &[Score]) -> usize {
    let cheaper = scores.iter().zip(thresholds).position(|(score, threshold)| score < threshold);
    cheaper.unwrap_or(thresholds.len())
}

/// Two models: the neediest items stay at the strong one, and all that score as high as the last of them.
fn by_share(scores: &[Few<Score>]) -> Vec<Few<Score>> {
    let mut order: Vec<Score> = scores.iter().filter_map(|scores| scores.first().copied()).collect();
    order.sort_unstable_by_key(|score| std::cmp::Reverse(*score));
    let threshold = |strong: usize| match strong.checked_sub(1) {
        Some(last) => order.get(last).copied().unwrap_or(ALL),
        None => ALL,
    };
    (0..STEPS).rev().map(|step| Few::from([threshold(order.len() * step / STEPS)])).collect()
}

/// More models than two.
struct ByPrice<'a> {
    scores: &'a [Few<Score>],
    /// The price of each model, that of the strongest being 1.
    prices: Vec<f64>,
    /// For each cheaper model the items, those that it answers best first.
    orders: Vec<Vec<usize>>,
}

impl<'a> ByPrice<'a> {
    fn new(scores: &'a [Few<Score>], ratios: &[f64]) -> Self {
        let order = |place: usize| {
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by_key(|item| scores[*item][place]);
            order
        };
        Self {
            scores,
            prices: (0..=ratios.len()).map(|place| price(ratios, place)).collect(),
            orders: (0..ratios.len()).map(order).collect(),
        }
    }

    /// The thresholds that cost so many steps less than the strongest model alone. `from`: where `lambda` was for the step before.
    fn at_step(&self, step: usize, from: &mut f64) -> Few<Score> {
        if step == STEPS {
            return (0..self.orders.len()).map(|place| if place == 0 { ALL } else { NONE }).collect();
        }
        let most = 1.0 - (1.0 - self.prices[0]) * real(step) / real(STEPS);
        let (mut low, mut high) = (*from, REACH);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if self.cost(&self.thresholds(middle.sinh())) > most { low = middle } else { high = middle }
        }
        *from = low;
        self.thresholds(high.sinh())
    }

    fn cost(&self, thresholds: &[Score]) -> f64 {
        let costs = self.scores.iter().map(|scores| self.prices[place_of(scores, thresholds)]);
        costs.sum::<f64>() / real(self.scores.len().max(1))
    }

    /// What each model takes where quality lost is weighed against `lambda` times the price.
    fn thresholds(&self, lambda: f64) -> Few<Score> {
        // What an item is expected to come to at the dearer models.
        let mut dearer = vec![lambda; self.scores.len()];
        let mut found = vec![NONE; self.orders.len()];
        for place in (0..self.orders.len()).rev() {
            let here = |item: usize| self.scores[item][place].gain() + lambda * self.prices[place];
            let (mut sum, mut best) = (0.0, 0.0);
            let mut order = self.orders[place].iter().peekable();
            while let Some(item) = order.next() {
                sum += here(*item) - dearer[*item];
                let next = order.peek().map_or(ALL, |next| self.scores[**next][place]);
                // Equal scores stay together.
                if sum < best && next > self.scores[*item][place] {
                    (best, found[place]) = (sum, next);
                }
            }
            for (item, dearer) in dearer.iter_mut().enumerate() {
                if self.scores[item][place] < found[place] {
                    *dearer = here(item);
                }
            }
        }
        found.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(of: &[[i32; 2]]) -> Vec<Few<Score>> {
        of.iter().map(|[cheap, middle]| Few::from([Score(*cheap), Score(*middle)])).collect()
    }

    #[test]
    fn an_item_goes_to_the_cheapest_model_that_may_have_it() {
        let thresholds = [Score(10), Score(20)];
        for (scores, place) in
            [([9, 0], 0), ([10, 19], 1), ([10, 20], 2), ([i32::MAX, 20], 2), ([i32::MIN, 99], 0)]
        {
            assert_eq!(place_of(&scores.map(Score), &thresholds), place, "{scores:?}");
        }
        assert_eq!((place_of(&[ALL], &[NONE]), place_of(&[Score(0)], &[ALL])), (1, 0));
    }

    /// A third of the items is easy for both cheaper models, a third for the middle one alone, a third for none.
    #[test]
    fn each_model_takes_what_it_answers_well() {
        let scores: Vec<[i32; 2]> = (0..900)
            .map(|at| match at % 3 {
                0 => [0, 0],
                1 => [500_000, 1_000],
                _ => [600_000, 600_000],
            })
            .collect();
        let scores = scored(&scores);
        let path = path(&scores, &[20.0, 4.0]);
        let shares = |thresholds: &Few<Score>| {
            let mut shares = [0; 3];
            scores.iter().for_each(|scores| shares[place_of(scores, thresholds)] += 1);
            shares
        };
        let all: Vec<[i32; 3]> = path.iter().map(shares).collect();
        assert!(all.contains(&[300, 300, 300]), "{all:?}");
        assert_eq!(all.last(), Some(&[900, 0, 0]), "it ends where the cheapest model has all");
        let costs: Vec<f64> = path.iter().map(|one| ByPrice::new(&scores, &[20.0, 4.0]).cost(one)).collect();
        assert!(costs.windows(2).all(|two| two[1] < two[0]), "each step costs less: {costs:?}");
    }

    /// A cheap model that is never as good as the middle one is not asked before quality does not count.
    #[test]
    fn a_model_that_another_stands_above_is_passed_over() {
        let scores: Vec<[i32; 2]> = (0..1_000).map(|at| [900_000, at * 100]).collect();
        let scores = scored(&scores);
        let path = path(&scores, &[5.0, 4.0]);
        let first = path.iter().position(|thresholds| thresholds[0] > NONE).unwrap_or(0);
        assert!(first > path.len() * 9 / 10 - 5, "{first} of {}", path.len());
    }

    #[test]
    fn equal_scores_stay_together() {
        let scores: Vec<Few<Score>> =
            [vec![Few::from([Score(1)]); 60], vec![Few::from([Score(0)]); 40]].concat();
        let path = path(&scores, &[f64::INFINITY]);
        assert!(path.iter().all(|one| [Score(0), Score(1), ALL].contains(&one[0])), "{path:?}");
    }
}
