//! A learned router among the models of a pilot, each asked alone or in bundles, proved by the items that did not teach it.

use super::candidate::Way;
use super::proof::{Loss, bounded, labels_fit};
use super::sheet::Sheet;
use crate::route::learned::metrics::Qualities;
use crate::route::learned::{Labelled, Router, TrainError, TrainOptions, Verdict, labels};

/// In bundles a model may lose this part of what the whole plan may, against itself alone: 1 of so many. The rest is for its own errors.
const BUNDLES_LOSE: u64 = 4;

/// A router that keeps the promise, and what it loses.
#[derive(Debug, Clone, PartialEq)]
pub struct Routed {
    pub router: Router,
    pub loss: Loss,
}

/// How well each model of a way answered an item, 0 or 1, the last one at last. `None`: nobody can tell.
#[must_use]
pub fn qualities(sheet: &Sheet, way: &Way, item: usize) -> Option<Qualities> {
    way.models().map(|model| sheet.right_of(model, item).map(|(_, right)| quality(right))).collect()
}

fn quality(right: bool) -> f64 {
    f64::from(u8::from(right))
}

/// In which manner a router asks a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedSo {
    pub place: usize,
    /// The smallest bundles that cost it too much quality.
    pub broken: Option<Broken>,
}

/// Bundles in which a model is wrong too often, of so many items that tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    pub place: usize,
    pub wrong: u64,
    /// The same where it was asked alone.
    pub alone: u64,
    pub of: u64,
}

/// In which manner each model is asked where a router chooses among them. `sequences`: for each model the places of its manners, alone
/// first and then ever larger bundles; `seed`: that of the router. As far as no manner loses more than a little against the first, the one
/// that costs least `each`, of those whose cost is not known the last.
///
/// Only items that teach the router are looked at, so that no certainty is spent on the choice: those that prove have not been seen.
#[must_use]
pub fn asked_by_router(
    sheet: &Sheet,
    sequences: &[Vec<usize>],
    texts: &[String],
    seed: u64,
    loss_permille: u32,
    each: &dyn Fn(usize) -> Option<f64>,
) -> Vec<AskedSo> {
    let teach = teaching(sheet, texts, seed);
    let of = teach.len() as u64;
    let wrong = |place: usize| {
        let is_wrong = |item: &&usize| matches!(sheet.right_of(place, **item), Some((_, false)));
        teach.iter().filter(is_wrong).count() as u64
    };
    let best = |sequence: &Vec<usize>| {
        let (first, sizes) = sequence.split_first()?;
        let (mut found, alone) = (AskedSo { place: *first, broken: None }, wrong(*first));
        for place in sizes {
            let wrong = wrong(*place);
            if wrong.saturating_sub(alone) * BUNDLES_LOSE * 1_000 > u64::from(loss_permille) * of {
                found.broken = Some(Broken { place: *place, wrong, alone, of });
                break;
            }
            match (each(found.place), each(*place)) {
                (Some(known), Some(cost)) if cost >= known => {}
                _ => found.place = *place,
            }
        }
        Some(found)
    };
    sequences.iter().filter_map(best).collect()
}

/// The items that teach a router of this seed.
fn teaching(sheet: &Sheet, texts: &[String], seed: u64) -> Vec<usize> {
    let known = |(item, _): &(usize, &str)| sheet.reaches(*item) && sheet.right_of(0, *item).is_some();
    let texts = texts.iter().map(String::as_str).take(sheet.items()).enumerate();
    let items: Vec<(usize, &str)> = texts.filter(known).collect();
    let items = labels::distinct(&items, |(_, text)| text, seed);
    labels::split(&items).1.iter().map(|(item, _)| *item).collect()
}

/// Learns from half of the items and proves by the others. `way`: the models in the manner in which they are asked, the cheapest first and
/// the strong one last; `texts`: what the router reads of each item, from `column`; `doubt`: how often the bound of its loss may be broken.
/// What is lost is lost against the strong model alone, whatever the manner, so that what it errs in bundles counts too. `None`: no
/// thresholds are proved, or all items go to one model, which is another plan.
///
/// # Errors
/// The items teach nothing.
pub fn routed(
    sheet: &Sheet,
    way: &Way,
    texts: &[String],
    column: &str,
    options: TrainOptions,
    doubt: f64,
) -> Result<Option<Routed>, TrainError> {
    if !labels_fit(sheet) {
        return Ok(None);
    }
    let label = |item: usize| {
        let (strong, _) = sheet.right_of(0, item)?;
        Some(Labelled {
            text: texts.get(item)?,
            qualities: qualities(sheet, way, item)?,
            against: (way.last != 0).then(|| quality(strong)),
        })
    };
    let items: Vec<Labelled<'_>> =
        (0..sheet.items()).filter(|item| sheet.reaches(*item)).filter_map(label).collect();
    let of = |losses: &[f64]| {
        let count = |is: fn(&&f64) -> bool| losses.iter().filter(is).count() as u64;
        bounded(
            count(|loss| **loss > 0.0),
            count(|loss| **loss < 0.0),
            losses.len() as u64,
            sheet.labelled,
            doubt,
        )
    };
    let mut router = Router::train_by(&items, column, options, &|losses| of(losses).high)?;
    // The router's own verdict weighs single models too; those are plans of their own here, and each plan has its doubt and its price.
    let whole = |share: &f64| *share >= 1.0;
    let Some(thresholds) = router.facts.cut.thresholds.filter(|_| !router.facts.cut.shares.iter().any(whole))
    else {
        return Ok(None);
    };
    router.verdict = Verdict::Route { thresholds };
    let loss = of(&router.losses(&items));
    Ok(Some(Routed { router, loss }))
}
