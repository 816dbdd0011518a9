//! Whether longer requests have longer answers, and by how much: running sums over answers whose requests are known.

use serde::{Deserialize, Serialize};

use super::line::Line;
use super::numbers::{float, wide};

/// A mean is corrected to half of itself at least, and to twice at most: farther from what was seen a line is no evidence.
const FARTHEST: f64 = 2.0;

/// A slope is taken as it is where so much of it is more than chance: where it is ten of its standard errors.
const SURE: f64 = 0.96;

/// Sums of many are the sum of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Lengths {
    /// Answers that were added.
    pub items: u64,
    sum: u64,
    squares: u128,
    /// Of each length times the tokens of its answer.
    products: u128,
    /// The same of the tokens of its prompt, and the squares of these.
    inputs: u128,
    input_squares: u128,
}

impl Lengths {
    pub(super) fn add(&mut self, length: u64, input: u64, output: u64) {
        let of = |tokens: u64| u128::from(length) * u128::from(tokens);
        self.items = self.items.saturating_add(1);
        self.sum = self.sum.saturating_add(length);
        self.squares = self.squares.saturating_add(of(length));
        self.products = self.products.saturating_add(of(output));
        self.inputs = self.inputs.saturating_add(of(input));
        self.input_squares = self.input_squares.saturating_add(u128::from(input) * u128::from(input));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.items = self.items.saturating_add(other.items);
        self.sum = self.sum.saturating_add(other.sum);
        self.squares = self.squares.saturating_add(other.squares);
        self.products = self.products.saturating_add(other.products);
        self.inputs = self.inputs.saturating_add(other.inputs);
        self.input_squares = self.input_squares.saturating_add(other.input_squares);
    }

    /// Tokens that one more byte of an item's own text adds to its prompt, whatever all prompts have in common. `input`: the sum of all
    /// prompts. `None`: they are too much alike to tell.
    pub(super) fn per_byte(&self, input: u64) -> Option<f64> {
        if self.items < 3 {
            return None;
        }
        let sums = (float(self.sum), float(input));
        let squares = (wide(self.squares), wide(self.input_squares));
        let line = Line::of(float(self.items), sums, squares, wide(self.inputs));
        (line.sure_steepness() > SURE * line.steepness()).then(|| line.steepness())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Tokens of an answer to one of `left` requests that are together so long: (expected, the t-limit of their mean). `outputs`: the sum of
    /// those that were seen, and of their squares. `None` where lengths say no more than chance.
    pub(super) fn outputs(&self, outputs: (u64, u128), lengths: u64, left: u64) -> Option<(f64, f64)> {
        if self.items < 3 || left == 0 {
            return None;
        }
        let sums = (float(self.sum), float(outputs.0));
        let line =
            Line::of(float(self.items), sums, (wide(self.squares), wide(outputs.1)), wide(self.products));
        let slope = line.sure_steepness();
        if slope <= 0.0 {
            return None;
        }
        let (mean, _) = line.means();
        let (expected, limit) = line.at(slope, float(lengths) / float(left), float(left));
        let kept = expected.clamp(mean / FARTHEST, mean * FARTHEST);
        Some((kept, kept + (limit - expected)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "tests")]
    use super::super::estimate::{JobShape, Quote, Ratios, quote};
    use super::super::{Rates, price};
    use super::*;
    use crate::money::{PicoUsdPerToken, Tokens};
    use crate::pace::rng::SplitMix64;
    use crate::usage::Usage;

    const LEFT: u64 = 2_000;

    fn rates() -> Rates {
        Rates::flat(PicoUsdPerToken(50_000), PicoUsdPerToken(400_000))
    }

    /// What one item used, by the length of its request: 2,000 bytes of instructions, and a text.
    type Used = (u64, Usage);

    fn draw(rng: &mut SplitMix64, output: impl Fn(f64, &mut dyn FnMut() -> f64) -> f64) -> Used {
        let mut uniform = || (rng.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0;
        // A few texts are long.
        let text = 100.0 * (2.5 * uniform()).exp();
        let tokens = output(text, &mut uniform);
        let (length, input) = (2_000 + text as u64, 500 + (text / 4.0) as u64);
        (length, Usage { input, output: tokens as u64, ..Usage::default() })
    }

    /// The quote of `left` items by a pilot, with and without lengths, and what they cost.
    fn quoted(pilot: &[Used], left: &[Used]) -> (Quote, Quote, i64) {
        let mut ratios = Ratios::default();
        pilot.iter().for_each(|(length, usage)| ratios.add_of(*length, *length, usage));
        let bytes: u64 = left.iter().map(|(length, _)| length).sum();
        let shape = JobShape {
            items: left.len() as u64,
            bytes,
            bytes_largest: 4_000,
            input_max: Tokens(bytes),
            output_max: Tokens(2_048),
            lengths: Some(bytes),
            ..JobShape::default()
        };
        let bill = left.iter().map(|(_, usage)| price(&rates(), usage).unwrap().0).sum();
        let by_mean = quote(&rates(), &ratios, &JobShape { lengths: None, ..shape }).unwrap();
        (quote(&rates(), &ratios, &shape).unwrap(), by_mean, bill)
    }

    #[test]
    fn the_p95_covers_the_bill_whether_answers_follow_their_prompts_or_not() {
        let translated = |text: f64, uniform: &mut dyn FnMut() -> f64| text / 4.0 * (0.7 + 0.6 * uniform());
        let summed_up = |text: f64, uniform: &mut dyn FnMut() -> f64| 20.0 + text.sqrt() * 4.0 * uniform();
        let anything = |_: f64, uniform: &mut dyn FnMut() -> f64| 20.0 * (3.0 * uniform()).exp();
        type Says<'a> = &'a dyn Fn(f64, &mut dyn FnMut() -> f64) -> f64;
        for (told, says, near_at_least, gains) in [
            ("as long as the text", &translated as Says<'_>, 500, true),
            ("with its root", &summed_up, 498, true),
            ("as long as it likes", &anything, 470, false),
        ] {
            let (mut covered, mut near, mut near_by_mean, mut off, mut off_by_mean) = (0, 0, 0, 0, 0);
            for seed in 1..=500 {
                let mut rng = SplitMix64::new(seed);
                let mut items = |n: u64| (0..n).map(|_| draw(&mut rng, says)).collect::<Vec<_>>();
                let (pilot, left) = (items(100), items(LEFT));
                let (found, by_mean, bill) = quoted(&pilot, &left);
                let miss = |quote: &Quote| (quote.expected.0 - bill).abs();
                covered += usize::from(found.p95.0 >= bill);
                near += usize::from(miss(&found) * 100 <= bill * 15);
                near_by_mean += usize::from(miss(&by_mean) * 100 <= bill * 15);
                off += miss(&found) * 1_000 / bill;
                off_by_mean += miss(&by_mean) * 1_000 / bill;
            }
            assert!(covered >= 475, "{told}: covered {covered}");
            assert!(
                near >= near_at_least && near + 2 >= near_by_mean,
                "{told}: {near} against {near_by_mean}"
            );
            assert_eq!(
                off * 10 < off_by_mean * 9,
                gains,
                "{told}: off by {off} against {off_by_mean} permille"
            );
        }
    }

    #[test]
    fn what_is_far_from_all_that_was_seen_is_not_believed() {
        let pilot: Vec<Used> = (0..100)
            .map(|at| (100 + at, Usage { input: 100, output: 50 + at, ..Usage::default() }))
            .collect();
        let mut ratios = Ratios::default();
        pilot.iter().for_each(|(length, usage)| ratios.add_of(*length, 100, usage));
        let mean = 99.5;
        for (length, want) in [(100, 50.0), (149, 99.0), (199, 149.0), (5, mean / 2.0), (100_000, mean * 2.0)]
        {
            let sums = (ratios.output, ratios.output_squares);
            let (expected, limit) = ratios.lengths.outputs(sums, length * 1_000, 1_000).unwrap();
            assert!((expected - want).abs() < 0.6 && limit >= expected, "{length}: {expected} {limit}");
        }
    }

    #[test]
    fn lengths_of_a_part_of_the_answers_say_nothing() {
        let usage = |at: u64| Usage { input: 100, output: at, ..Usage::default() };
        let mut all = Ratios::default();
        (0..100).for_each(|at| all.add_of(100 + at, 100, &usage(at)));
        let shape = JobShape { items: 10, bytes: 1_000, output_max: Tokens(500), ..JobShape::default() };
        let of = |ratios: &Ratios, lengths| ratios.output(&JobShape { lengths, ..shape }).0;
        let (far, mean) = (of(&all, Some(1_890)), of(&all, None));
        assert!(far > 80.0 && (mean - 49.5).abs() < 1e-9, "{far} {mean}");
        // What an older version has kept has none.
        let mut mixed = all;
        mixed.add(100, &usage(49));
        assert!((of(&mixed, Some(1_890)) - of(&mixed, None)).abs() < 1e-9);
        let text = serde_json::to_string(&Ratios { lengths: Lengths::default(), ..all }).unwrap();
        let read: Ratios = serde_json::from_str(&text).unwrap();
        assert!(!text.contains("lengths") && read.lengths.is_empty());
        // Nor have those that were chosen, as if they were many.
        assert!(all.stretched(&all).lengths.is_empty());
        let mut halves = [Ratios::default(); 2];
        (0..100).for_each(|at| halves[usize::from(at >= 30)].add_of(100 + at, 100, &usage(at)));
        let [mut merged, rest] = halves;
        merged.merge(&rest);
        assert_eq!(merged, all);
    }
}
