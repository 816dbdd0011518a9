//! A model, and how it is asked.

use std::fmt;

use super::candidate::Way;

/// A model, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manner {
    pub model: String,
    /// So many items in one request; `None`: each by itself.
    pub bundle: Option<u32>,
}

/// As a person reads it: `openai/gpt-6-luna x20`.
impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model)?;
        self.bundle.map_or(Ok(()), |items| write!(f, " x{items}"))
    }
}

/// Who is asked what a bundle leaves, which goes in halves: the same model in the largest of the smaller sizes of which there is a plan, or
/// an item at a time.
#[must_use]
pub fn asked_next(manners: &[Manner], place: usize, has_plan: &dyn Fn(usize) -> bool) -> Option<usize> {
    let half = manners[place].bundle? / 2;
    let is_smaller = |one: &Manner| one.model == manners[place].model && one.bundle.unwrap_or(1) <= half;
    let smaller = (0..manners.len()).filter(|one| is_smaller(&manners[*one]) && has_plan(*one));
    smaller.max_by_key(|one| manners[*one].bundle)
}

/// Items in one request at most, and of each model where they differ.
#[must_use]
pub fn bundles_of(manners: &[Manner], way: &Way) -> (u32, Vec<u32>) {
    let each: Vec<u32> = way.models().map(|place| manners[place].bundle.unwrap_or(1)).collect();
    let most = each.iter().copied().max().unwrap_or(1);
    (most, if each.iter().all(|size| *size == most) { Vec::new() } else { each })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bundle_leaves_goes_in_halves() {
        let of = |model: &str, bundle| Manner { model: model.to_owned(), bundle };
        let manners = [
            of("a", None),
            of("b", None),
            of("b", Some(2)),
            of("b", Some(5)),
            of("b", Some(10)),
            of("b", Some(20)),
        ];
        for (place, missing, want) in [
            (1, None, None),
            (2, None, Some(1)),
            (3, None, Some(2)),
            (4, None, Some(3)),
            (5, None, Some(4)),
            (5, Some(4), Some(3)),
            (2, Some(1), None),
        ] {
            let found = asked_next(&manners, place, &|one| Some(one) != missing);
            assert_eq!(found, want, "{place} without {missing:?}");
        }
    }

    #[test]
    fn sizes_are_told_of_each_model_where_they_differ() {
        let of = |bundle| Manner { model: "a".to_owned(), bundle };
        let manners = [of(None), of(Some(5)), of(Some(20))];
        let way = |router: &[usize], last| Way { router: router.to_vec(), ..Way::alone(last) };
        assert_eq!(bundles_of(&manners, &way(&[], 0)), (1, Vec::new()));
        assert_eq!(bundles_of(&manners, &way(&[2], 2)), (20, Vec::new()));
        assert_eq!(bundles_of(&manners, &way(&[2], 1)), (20, vec![20, 5]));
    }
}
