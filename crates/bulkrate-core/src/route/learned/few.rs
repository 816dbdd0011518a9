//! A short list kept inline: one thing for each model of a router, or for each but the strongest.

use super::MODELS_MAX;

/// At most [`MODELS_MAX`] things, the cheapest model's first. It is copied with each decision, so it takes nothing from the heap.
#[derive(Clone, Copy)]
pub struct Few<T> {
    of: [T; MODELS_MAX],
    len: usize,
}

impl<T: Copy + Default> Few<T> {
    /// The same thing so often.
    #[must_use]
    pub fn all(one: T, times: usize) -> Self {
        std::iter::repeat_n(one, times).collect()
    }
}

/// What comes after the first [`MODELS_MAX`] is dropped: whoever reads or counts models refuses more.
impl<T: Copy + Default> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(things: I) -> Self {
        let mut few = Self { of: [T::default(); MODELS_MAX], len: 0 };
        for (place, thing) in few.of.iter_mut().zip(things) {
            *place = thing;
            few.len += 1;
        }
        few
    }
}

impl<T: Copy + Default, const N: usize> From<[T; N]> for Few<T> {
    fn from(things: [T; N]) -> Self {
        things.into_iter().collect()
    }
}

impl<T> std::ops::Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.of[..self.len]
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Few<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
