//! Among which of a pilot's models a router may choose.

use super::candidate::Way;
use crate::route::learned::Few;

/// Models in the manner in which a router asks them, the cheapest first, and what the strong one costs over each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    pub way: Way,
    pub ratios: Few<f64>,
}

/// What an answer of the strong model has cost over one of another, to a tenth, and 1 where it has cost less; `None`: the cost of one is not
/// known.
fn price_ratio(strong: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(((strong? / other?).max(1.0) * 10.0).round() / 10.0)
}

/// The models that are cheaper than the strong one, the cheapest first, and that one. `places`: the manner of each, the strong one's first;
/// `most`: so many models; `each`: what an answer has cost, `None` of who took no part. `None`: none is cheaper.
#[must_use]
pub fn mix(places: &[usize], most: usize, each: &dyn Fn(usize) -> Option<Option<f64>>) -> Option<Mix> {
    let (last, others) = places.split_first()?;
    let strong = each(*last)?;
    let ratio = |place: &usize| Some((*place, price_ratio(strong, each(*place)?)));
    let mut cheap = cheaper(others.iter().filter_map(ratio).collect());
    cheap.truncate(most.saturating_sub(1));
    let (router, ratios): (Vec<usize>, Vec<f64>) = cheap.into_iter().unzip();
    let way = Way { router, ..Way::alone(*last) };
    (!way.router.is_empty()).then(|| Mix { way, ratios: ratios.into_iter().collect() })
}

/// Places and price ratios of the models that are cheaper than the strong one, the cheapest first. One alone may have an unknown price.
fn cheaper(mut all: Vec<(usize, Option<f64>)>) -> Vec<(usize, f64)> {
    if let [(place, None)] = all[..] {
        return vec![(place, f64::INFINITY)];
    }
    all.retain(|(_, ratio)| ratio.is_some_and(|ratio| ratio > 1.0));
    let mut known: Vec<(usize, f64)> =
        all.into_iter().filter_map(|(place, ratio)| Some((place, ratio?))).collect();
    known.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    known
}

/// The models that a router can be taught beside the strong one.
#[derive(Debug, Clone, PartialEq)]
pub struct Rivals {
    /// Their places, the cheapest first.
    pub cheap: Vec<usize>,
    /// What the strong one costs over each of them; `None`: the cost of one is not known.
    pub ratios: Option<Vec<f64>>,
    /// Those that cost no less than the strong one, and are left out.
    pub dearer: Vec<usize>,
}

/// Why there are no [`Rivals`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRivals {
    /// Of several models that nobody put in order, what the one at this place costs is not known.
    Unordered(usize),
    /// These cost no less than the strong one.
    Dearer(Vec<usize>),
    TooMany,
}

/// Who is left of `others` beside the strong model, by what an answer of each has cost. `ordered`: they stand the cheapest first, as
/// somebody has named them, and none may be left out; `most`: so many models, the strong one included.
///
/// # Errors
/// Where no router can be taught of them.
pub fn rivals(
    strong: Option<f64>,
    others: &[Option<f64>],
    ordered: bool,
    most: usize,
) -> Result<Rivals, NoRivals> {
    let mut places: Vec<usize> = (0..others.len()).collect();
    if !ordered {
        if let (Some(unknown), 2..) = (others.iter().position(Option::is_none), others.len()) {
            return Err(NoRivals::Unordered(unknown));
        }
        places.sort_by(|left, right| {
            others[*left].partial_cmp(&others[*right]).unwrap_or(std::cmp::Ordering::Equal)
        });
    }
    // One to a tenth, or less: nothing is saved by it. One that nobody knows may.
    let ratio = |place: usize| price_ratio(strong, others[place]);
    let (cheap, dearer): (Vec<usize>, Vec<usize>) =
        places.into_iter().partition(|place| ratio(*place).is_none_or(|ratio| ratio > 1.0));
    if cheap.is_empty() || ordered && !dearer.is_empty() {
        return Err(NoRivals::Dearer(dearer));
    }
    if cheap.len() >= most {
        return Err(NoRivals::TooMany);
    }
    let ratios = cheap.iter().map(|place| ratio(*place)).collect();
    Ok(Rivals { cheap, ratios, dearer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_taught_of_models_that_cost_less() {
        let taught = |cheap: &[usize], ratios: Option<&[f64]>, dearer: &[usize]| {
            Ok(Rivals { cheap: cheap.to_vec(), ratios: ratios.map(<[f64]>::to_vec), dearer: dearer.to_vec() })
        };
        let dearer = |all: &[usize]| Err(NoRivals::Dearer(all.to_vec()));
        let strong = Some(200.0);
        for (strong, others, ordered, want) in [
            (strong, &[Some(50.0), Some(10.0)][..], false, taught(&[1, 0], Some(&[20.0, 4.0]), &[])),
            (strong, &[Some(50.0), Some(10.0)], true, taught(&[0, 1], Some(&[4.0, 20.0]), &[])),
            (strong, &[Some(200.0), Some(10.0)], false, taught(&[1], Some(&[20.0]), &[0])),
            (strong, &[Some(200.0), Some(10.0)], true, dearer(&[0])),
            (strong, &[Some(300.0)], false, dearer(&[0])),
            // One alone needs no order, nor those that somebody has put into one.
            (strong, &[None], false, taught(&[0], None, &[])),
            (strong, &[Some(9.0), None], true, taught(&[0, 1], None, &[])),
            (strong, &[Some(9.0), None], false, Err(NoRivals::Unordered(1))),
            (None, &[Some(50.0), Some(10.0)], false, taught(&[1, 0], None, &[])),
            (strong, &[Some(1.0), Some(2.0), Some(3.0)], true, Err(NoRivals::TooMany)),
            (strong, &[], false, dearer(&[])),
        ] {
            assert_eq!(rivals(strong, others, ordered, 3), want, "{others:?} beside {strong:?}");
        }
    }

    #[test]
    fn a_router_takes_the_models_that_are_cheaper() {
        let unknown = Some(None);
        let some = |cost: f64| Some(Some(cost));
        for (others, want) in [
            (vec![some(10.0)], vec![(1, 20.0)]),
            (vec![some(50.0), None, some(10.0)], vec![(3, 20.0), (1, 4.0)]),
            (vec![unknown], vec![(1, f64::INFINITY)]),
            (vec![unknown, some(10.0)], vec![(2, 20.0)]),
            (vec![some(900.0), some(10.0)], vec![(2, 20.0)]),
            (vec![some(900.0)], vec![]),
        ] {
            let costs: Vec<Option<Option<f64>>> = std::iter::once(some(200.0)).chain(others).collect();
            let places: Vec<usize> = (0..costs.len()).collect();
            let found = mix(&places, 8, &|place| costs[place]);
            let (router, ratios): (Vec<usize>, Vec<f64>) = want.into_iter().unzip();
            assert_eq!(found.as_ref().map_or(&[][..], |mix| &mix.way.router), router, "{costs:?}");
            let most = mix(&places, 2, &|place| costs[place]).map_or(0, |mix| mix.way.router.len());
            assert_eq!(most, router.len().min(1), "{costs:?}");
            assert_eq!(found.map_or_else(Vec::new, |mix| mix.ratios.to_vec()), ratios, "{costs:?}");
        }
        assert_eq!(mix(&[], 8, &|_| some(1.0)), None);
    }
}
