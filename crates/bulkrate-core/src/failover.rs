//! Which deployment takes a model's items now: the one that they name, or one of those that may stand in for it.
//!
//! The rule (`docs/adr/0020-failover.md`): what the items name is asked whenever it can be. When it cannot, the list is gone
//! through in the user's order. From one that stands in the items go back to one that they had left and that is cheaper, or as
//! cheap and earlier on the list. Where nobody can be asked they wait.
//!
//! Invariants
//! - Pure: what is known of each comes in, a place on the list comes out.
//! - Nothing is chosen while something else on the list stands better.
//! - To choose again without news changes nothing: whatever moves items costs less, comes earlier or stands better.
//!
//! Acted on by `bulkrate_engine::run::standing`.

use crate::money::UsdNanos;

/// How a deployment stands, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Standing {
    /// It refuses for good: its key, its credit, the model.
    Gone,
    /// Nothing gets through to it now.
    Away,
    /// It answers, and its limits leave no room for long.
    Full,
    #[default]
    Fit,
}

/// One entry of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Candidate {
    pub standing: Standing,
    /// The items had been here in this run, or would have, and went on because it could not be asked.
    pub left: bool,
    /// What the items cost here, as expected; `None`: not known, and so no reason to come back.
    pub cost: Option<UsdNanos>,
}

/// The place of the one to ask now. `list`: first the one that the items name, then those that may stand in, in the user's
/// order. `present`: where they go now. `None`: all refuse for good.
#[must_use]
pub fn choose(list: &[Candidate], present: usize) -> Option<usize> {
    let best = list.iter().map(|one| one.standing).max().filter(|best| *best > Standing::Gone)?;
    let stands = |place: usize| list.get(place).is_some_and(|one| one.standing == best);
    // Who is away is tried by those items alone that go there: they stay until somebody answers.
    if best == Standing::Away && stands(present) {
        return Some(present);
    }
    if stands(0) {
        return Some(0);
    }
    let from = if stands(present) { present } else { (0..list.len()).find(|place| stands(*place))? };
    let rank = |place: usize| (list[place].cost.map_or(i64::MAX, |cost| cost.0), place);
    let returned = (0..list.len()).filter(|place| list[*place].left && stands(*place));
    returned.chain([from]).min_by_key(|place| rank(*place))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    /// `+` fit, `o` full, `-` away, `x` gone; then `<` where it had been left; then the cost.
    fn list(text: &str) -> Vec<Candidate> {
        let one = |word: &str| {
            let standing = match word.as_bytes()[0] {
                b'+' => Standing::Fit,
                b'o' => Standing::Full,
                b'-' => Standing::Away,
                _ => Standing::Gone,
            };
            let left = word.contains('<');
            let cost = word.trim_start_matches(['+', 'o', '-', 'x', '<']).parse().ok().map(UsdNanos);
            Candidate { standing, left, cost }
        };
        text.split_whitespace().map(one).collect()
    }

    #[test]
    fn order_leads_away_and_price_leads_back() {
        for (candidates, present, want, why) in [
            ("+5", 0, Some(0), "nobody else"),
            ("+5 +1 +1", 0, Some(0), "what the items name, whatever others cost"),
            ("-<5 +9 +1", 0, Some(1), "the first of the list, not the cheapest: it is the user's order"),
            ("x<5 x<1 +1", 1, Some(2), "then the next"),
            ("+<9 +5 +1", 1, Some(0), "what the items name comes back, also where it is dearer"),
            ("-<5 -<3 +4", 1, Some(2), "away: on to the next"),
            ("-<5 +<3 +4", 2, Some(1), "a cheaper one is back"),
            ("-<5 +<4 +4", 2, Some(1), "as cheap, and earlier on the list"),
            ("-<5 +<6 +4", 2, Some(2), "back and dearer: the items stay"),
            ("-<5 +<6 -<4", 2, Some(1), "until they cannot"),
            ("x +<6 +<4 -", 3, Some(2), "of those that are back the cheaper one, whoever had the items"),
            ("-<5 +3 +1", 1, Some(1), "a cheaper one that was never needed is no way back"),
            ("x +<7 +<7 +<2 +<9", 4, Some(3), "the cheapest of those that are back"),
            ("x +<3 +", 2, Some(1), "a known price before an unknown one"),
            ("x +< +3", 2, Some(2), "an unknown price is no reason to go back"),
            ("-<5 -<3", 1, Some(1), "all away: whoever has them is tried on"),
            ("-<5 -<3 x", 2, Some(0), "not at one that refuses for good"),
            ("o5 +9", 0, Some(1), "no room here, room there"),
            ("o<5 o9", 1, Some(0), "no room anywhere: they wait where they belong"),
            ("-<5 o9", 0, Some(1), "no room before not there"),
            ("x x x", 2, None, "nobody is left"),
        ] {
            assert_eq!(choose(&list(candidates), present), want, "{candidates} at {present}: {why}");
        }
    }

    fn any_list() -> impl Strategy<Value = (Vec<Candidate>, usize)> {
        let standing =
            prop::sample::select(vec![Standing::Gone, Standing::Away, Standing::Full, Standing::Fit]);
        let cost = prop::option::of((0_i64..4).prop_map(UsdNanos));
        let one = (standing, any::<bool>(), cost).prop_map(|(standing, left, cost)| Candidate {
            standing,
            left,
            cost,
        });
        prop::collection::vec(one, 1..6).prop_flat_map(|list| {
            let places = 0..list.len();
            (Just(list), places)
        })
    }

    proptest! {
        #[test]
        fn the_choice_stands_best_and_is_kept((list, present) in any_list()) {
            let best = list.iter().map(|one| one.standing).max().unwrap();
            match choose(&list, present) {
                None => prop_assert_eq!(best, Standing::Gone),
                Some(chosen) => {
                    prop_assert_eq!(list[chosen].standing, best);
                    prop_assert_eq!(choose(&list, chosen), Some(chosen), "to ask again changes nothing");
                }
            }
        }

        #[test]
        fn from_one_that_can_be_asked_items_go_only_home_or_to_a_lower_rank((list, present) in any_list()) {
            let fit = list.iter().all(|one| one.standing <= list[present].standing);
            let chosen = choose(&list, present);
            if fit && list[present].standing != Standing::Gone && chosen != Some(present) && chosen != Some(0) {
                let rank = |at: usize| (list[at].cost.map_or(i64::MAX, |cost| cost.0), at);
                prop_assert!(rank(chosen.unwrap()) < rank(present) && list[chosen.unwrap()].left);
            }
        }
    }
}
