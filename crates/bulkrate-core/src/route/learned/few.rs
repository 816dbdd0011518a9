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

/// Panics at more than [`MODELS_MAX`] things: whoever reads or counts models refuses more, as one that is left out without a word would be
/// the strongest.
impl<T: Copy + Default> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(things: I) -> Self {
        let mut few = Self { of: [T::default(); MODELS_MAX], len: 0 };
        // Fused: what ends at an error (`collect` of results) goes on behind it when asked again.
        let mut things = things.into_iter().fuse();
        for (place, thing) in few.of.iter_mut().zip(&mut things) {
            *place = thing;
            few.len += 1;
        }
        assert!(things.next().is_none(), "a router has at most {MODELS_MAX} models");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_things_are_kept() {
        let few: Few<usize> = (0..MODELS_MAX).collect();
        assert_eq!((few.len(), few.last()), (8, Some(&7)));
    }

    #[test]
    fn an_error_ends_a_list() {
        let of = |things: [Result<u8, &'static str>; 3]| things.into_iter().collect::<Result<Few<u8>, _>>();
        assert_eq!(of([Ok(1), Err("no"), Ok(2)]), Err("no"));
        assert_eq!(of([Ok(1), Ok(2), Ok(3)]).map(|few| few.len()), Ok(3));
    }

    #[test]
    #[should_panic(expected = "at most 8 models")]
    fn a_ninth_thing_is_not_left_out_without_a_word() {
        let _: Few<usize> = (0..=MODELS_MAX).collect();
    }
}
