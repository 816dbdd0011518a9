//! A text as an embedding model sees it: a direction, one byte a number.
//!
//! What all texts of a job have in common, a template's words above all, is taken out of each before they are compared: it makes every
//! two of them alike. It is learned from the job's first texts and fixed, so that another run has the same directions.

/// So many numbers of kept directions at most: one search looks at all of a group's, which takes half a millisecond then.
pub(super) const KEPT_MAX: usize = 4 << 20;
/// Fewer texts do not say what is common.
const TEXTS_MIN: u32 = 100;
/// What is left of a text without what is common is noise below this.
const REST_MIN: f32 = 1e-3;

/// A direction. Its numbers are of any scale: only angles are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    numbers: Box<[i8]>,
    length: f32,
}

impl Dense {
    /// The direction of `values`, each to a 127th of the largest; `None`: they have none.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "from -127 to 127")]
    pub fn of(values: &[f32]) -> Option<Self> {
        let most = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        if !values.iter().all(|value| value.is_finite()) || most <= 0.0 {
            return None;
        }
        Self::new(values.iter().map(|value| (value / most * 127.0).round() as i8).collect())
    }

    /// As [`Self::bytes`] gave them; `None`: there are none, or all are zero.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::new(bytes.iter().map(|byte| byte.cast_signed()).collect())
    }

    fn new(numbers: Box<[i8]>) -> Option<Self> {
        let length = real(dot(&numbers, &numbers)).sqrt();
        (length > 0.0).then_some(Self { numbers, length })
    }

    /// One byte a number.
    pub fn bytes(&self) -> impl ExactSizeIterator<Item = u8> {
        self.numbers.iter().map(|number| number.cast_unsigned())
    }

    #[must_use]
    pub fn cosine(&self, other: &Self) -> f32 {
        real(dot(&self.numbers, &other.numbers)) / (self.length * other.length)
    }
}

/// An embedding as JSON writes it, `[0.25, -1e-3]`. `None`: it is no list of numbers.
pub fn numbers(text: &str, out: &mut Vec<f32>) -> Option<()> {
    out.clear();
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    if inner.trim().is_empty() {
        return Some(());
    }
    for number in inner.split(',') {
        out.push(number.trim().parse().ok()?);
    }
    Some(())
}

/// Blocks of known length: compilers turn them into a few instructions for many numbers at once.
fn dot(one: &[i8], other: &[i8]) -> i32 {
    // A product of two bytes fits into sixteen bits.
    let sum = |one: &[i8], other: &[i8]| -> i32 {
        one.iter().zip(other).map(|(one, other)| i32::from(i16::from(*one) * i16::from(*other))).sum()
    };
    let ((blocks, rest), (their_blocks, their_rest)) = (one.as_chunks::<32>(), other.as_chunks::<32>());
    blocks.iter().zip(their_blocks).map(|(one, other)| sum(one, other)).sum::<i32>() + sum(rest, their_rest)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "products of bytes: what is lost is below a thousandth of a cosine"
)]
fn real(sum: i32) -> f32 {
    sum as f32
}

/// The kept directions of one group, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    entries: Vec<super::EntryNo>,
    lengths: Vec<f32>,
    numbers: Vec<i8>,
}

impl Shelf {
    pub(super) fn add(&mut self, entry: super::EntryNo, direction: &Dense) {
        self.entries.push(entry);
        self.lengths.push(direction.length);
        self.numbers.extend_from_slice(&direction.numbers);
    }

    /// The entry with the smallest angle, and the cosine; of equals the oldest. Nothing is near that is not within a right angle.
    pub(super) fn near(&self, to: &Dense) -> Option<(super::EntryNo, f32)> {
        let all = self.numbers.chunks_exact(to.numbers.len()).zip(&self.lengths).zip(&self.entries);
        let mut best: Option<(super::EntryNo, f32)> = None;
        for ((numbers, length), entry) in all {
            let cosine = real(dot(numbers, &to.numbers)) / (length * to.length);
            if cosine > best.map_or(0.0, |(_, most)| most) {
                best = Some((*entry, cosine));
            }
        }
        best
    }
}

/// What the texts of a job have in common.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Centre {
    texts: u32,
    /// The sum of their directions, each one long.
    sum: Vec<f32>,
}

impl Centre {
    /// As [`Self::texts`] and [`Self::sum`] gave it.
    #[must_use]
    pub fn new(texts: u32, sum: Vec<f32>) -> Self {
        Self { texts, sum }
    }

    #[must_use]
    pub fn texts(&self) -> u32 {
        self.texts
    }

    #[must_use]
    pub fn sum(&self) -> &[f32] {
        &self.sum
    }

    /// Learns from one text more, of [`super::SAMPLE`] at most. The first one says how many numbers a direction has.
    pub fn learn(&mut self, values: &[f32]) {
        let Some(unit) = unit(values) else { return };
        if self.texts == 0 {
            self.sum = vec![0.0; unit.len()];
        }
        if self.sum.len() == unit.len() {
            self.texts += 1;
            self.sum.iter_mut().zip(unit).for_each(|(sum, value)| *sum += value);
        }
    }

    /// The direction of a text without what is common; `None`: it has none, or another number of numbers than the others.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "at most 2,000 texts")]
    pub fn direction(&self, values: &[f32]) -> Option<Dense> {
        let mut rest = unit(values).filter(|unit| unit.len() == self.sum.len())?;
        if self.texts >= TEXTS_MIN {
            let texts = self.texts as f32;
            rest.iter_mut().zip(&self.sum).for_each(|(value, sum)| *value -= sum / texts);
        }
        if length(&rest) < REST_MIN { None } else { Dense::of(&rest) }
    }
}

pub(crate) fn length(values: &[f32]) -> f32 {
    values.iter().map(|value| value * value).sum::<f32>().sqrt()
}

/// One long; `None`: there is no direction.
fn unit(values: &[f32]) -> Option<Vec<f32>> {
    let length = length(values);
    (length.is_finite() && length > 0.0).then(|| values.iter().map(|value| value / length).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_has_no_direction_is_none() {
        for (values, want) in [
            (vec![], false),
            (vec![0.0, -0.0], false),
            (vec![1.0, f32::NAN], false),
            (vec![1.0, f32::INFINITY], false),
            (vec![0.0, -1e-20, 0.0], true),
            (vec![3.0, 4.0], true),
        ] {
            assert_eq!(Dense::of(&values).is_some(), want, "{values:?}");
        }
        assert_eq!((Dense::from_bytes(&[]), Dense::from_bytes(&[0; 8])), (None, None));
    }

    proptest! {
        /// A byte a number is enough: cosines are right to a hundredth, and bytes read back as they were.
        #[test]
        fn cosines_are_those_of_the_numbers(
            one in proptest::collection::vec(-1.0_f32..1.0, 70), other in proptest::collection::vec(-1.0_f32..1.0, 70),
        ) {
            let dot: f32 = one.iter().zip(&other).map(|(a, b)| a * b).sum();
            let exact = dot / (length(&one) * length(&other));
            let [one, other] = [&one, &other].map(|values| Dense::of(values).unwrap());
            prop_assert!((one.cosine(&other) - exact).abs() < 0.01, "{} {exact}", one.cosine(&other));
            prop_assert_eq!(Dense::from_bytes(&one.bytes().collect::<Vec<_>>()), Some(one));
        }

        /// A search finds what is nearest of all, and of equals the oldest.
        #[test]
        fn the_nearest_is_that_of_a_search_over_all(
            kept in proptest::collection::vec(proptest::collection::vec(-1.0_f32..1.0, 8), 1..30),
            asked in proptest::collection::vec(-1.0_f32..1.0, 8),
        ) {
            let kept: Vec<Dense> = kept.iter().filter_map(|values| Dense::of(values)).collect();
            let Some(asked) = Dense::of(&asked) else { return Ok(()) };
            let mut shelf = Shelf::default();
            (0..).zip(&kept).for_each(|(entry, direction)| shelf.add(entry, direction));
            let most = kept.iter().map(|direction| direction.cosine(&asked)).fold(0.0_f32, f32::max);
            match shelf.near(&asked) {
                None => prop_assert!(most <= 0.0),
                Some((entry, cosine)) => {
                    prop_assert_eq!(cosine.to_bits(), most.to_bits());
                    let first = kept.iter().position(|direction| direction.cosine(&asked) >= most);
                    prop_assert_eq!(first, Some(entry as usize));
                }
            }
        }
    }

    #[test]
    fn what_all_texts_share_does_not_make_them_alike() {
        let text = |own: usize| {
            let mut values = vec![0.05_f32; 32];
            (values[0], values[own]) = (5.0, 1.0);
            values
        };
        let (mut centre, mut few) = (Centre::default(), Centre::default());
        (0..300).for_each(|at| centre.learn(&text(1 + at % 30)));
        few.learn(&text(1));
        let cosine = |centre: &Centre, one, other| {
            centre.direction(&text(one)).unwrap().cosine(&centre.direction(&text(other)).unwrap())
        };
        assert!(cosine(&few, 3, 4) > 0.9 && cosine(&centre, 3, 4) < 0.1);
        assert!(cosine(&centre, 3, 3) > 0.99);
        assert_eq!(centre.direction(&[1.0; 31]), None, "of another size");
        assert_eq!(Centre::new(centre.texts(), centre.sum().to_vec()), centre);
    }
}
