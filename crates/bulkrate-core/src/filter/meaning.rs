//! A linear classifier over embeddings: the same heads as over words, one column a number.

use serde::{Deserialize, Serialize};

use super::classify::{Confidence, Head, heads, likeliest};
use crate::route::learned::fit::Rows;
use crate::route::learned::sparse::Vector;
use crate::semantic::{length, numbers};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Meaning {
    /// Numbers of an embedding; texts with others are not answered.
    width: usize,
    heads: Vec<Head>,
}

impl Meaning {
    /// Learns from embeddings and labels. `None`: the first of them has none, or all say the same.
    pub(super) fn fit(items: &[(&str, &str)], tell: &mut dyn FnMut(usize, usize)) -> Option<Self> {
        let mut vector = Vector::default();
        let (mut rows, mut labels) = (None, Vec::new());
        for (embedding, label) in items {
            if !read(embedding, &mut vector) {
                continue;
            }
            let (rows, width) =
                rows.get_or_insert_with(|| (Rows::new(vector.values.len()), vector.values.len()));
            if vector.values.len() == *width {
                rows.push(&vector.columns, &vector.values);
                labels.push(*label);
            }
        }
        let (rows, width) = rows?;
        let tells_apart = labels.iter().any(|label| *label != labels[0]);
        tells_apart.then(|| Self { width, heads: heads(&rows, &labels, tell) })
    }

    /// Whether what a file holds is one of ours.
    pub(super) fn is_sound(&self) -> bool {
        self.width > 0 && !self.heads.is_empty() && self.heads.iter().all(|head| head.width() == self.width)
    }

    pub(super) fn answers(&self) -> impl Iterator<Item = &str> {
        self.heads.iter().map(Head::answer)
    }

    /// The likeliest answer; `None`: `embedding` is no list of as many numbers as those that taught had.
    pub(super) fn classify(&self, embedding: &str, vector: &mut Vector) -> Option<(&str, Confidence)> {
        let fits = read(embedding, vector) && vector.values.len() == self.width;
        fits.then(|| likeliest(&self.heads, vector))
    }
}

/// Reads a list of numbers as a vector that is one long. False: it is none, or has no direction.
fn read(text: &str, out: &mut Vector) -> bool {
    let is_list = numbers(text, &mut out.values).is_some();
    let length = length(&out.values);
    if !is_list || !length.is_finite() || length <= 0.0 {
        return false;
    }
    out.values.iter_mut().for_each(|value| *value /= length);
    out.columns.clear();
    out.columns.extend((0..).take(out.values.len()));
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_no_list_of_as_many_numbers_is_not_answered() {
        let items = [
            ("[1, 0.1]", "a"),
            ("[0.1, 1]", "b"),
            ("", "b"),
            ("[1]", "a"),
            ("[2, 0.1]", "a"),
            ("[0, 3]", "b"),
        ];
        let meaning = Meaning::fit(&items, &mut |_, _| ()).unwrap();
        assert!(meaning.is_sound());
        let mut vector = Vector::default();
        for (embedding, want) in [
            ("[7.5, 0.5]", Some("a")),
            ("[0, 1e-3]", Some("b")),
            ("[1]", None),
            ("[0, 0]", None),
            ("[1, NaN]", None),
            ("[1, 1", None),
            ("1, 1", None),
            ("", None),
        ] {
            let answer = meaning.classify(embedding, &mut vector).map(|(answer, _)| answer);
            assert_eq!(answer, want, "{embedding}");
        }
        for none in [&[][..], &[("", "a"), ("", "b")], &[("[1]", "a"), ("[2]", "a")]] {
            assert!(Meaning::fit(none, &mut |_, _| ()).is_none(), "{none:?}");
        }
    }
}
