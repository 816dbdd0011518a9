//! A learned router among the models of a pilot, proved by the items that did not teach it.

use super::proof::{Loss, bounded, labels_fit};
use super::sheet::Sheet;
use crate::route::learned::metrics::Qualities;
use crate::route::learned::{Labelled, Router, TrainError, TrainOptions, Verdict};

/// A router that keeps the promise, and what it loses.
#[derive(Debug, Clone, PartialEq)]
pub struct Routed {
    pub router: Router,
    pub loss: Loss,
}

/// How well each model answered an item, 0 or 1: those at the places `cheap`, and last the strong one. `None`: nobody can tell.
#[must_use]
pub fn qualities(sheet: &Sheet, cheap: &[usize], item: usize) -> Option<Qualities> {
    let is = |right: bool| f64::from(u8::from(right));
    let (strong, _) = sheet.right_of(0, item)?;
    let others = cheap.iter().map(|model| sheet.right_of(*model, item).map(|(_, right)| is(right)));
    others.chain([Some(is(strong))]).collect()
}

/// Learns from half of the items and proves by the others. `cheap`: the models beside the strong one, the cheapest first; `texts`: what the
/// router reads of each item, from `column`; `doubt`: how often the bound of its loss may be broken. `None`: no thresholds are proved, or
/// all items go to one model, which is another plan.
///
/// # Errors
/// The items teach nothing.
pub fn routed(
    sheet: &Sheet,
    cheap: &[usize],
    texts: &[String],
    column: &str,
    options: TrainOptions,
    doubt: f64,
) -> Result<Option<Routed>, TrainError> {
    if !labels_fit(sheet) {
        return Ok(None);
    }
    let label =
        |item: usize| Some(Labelled { text: texts.get(item)?, qualities: qualities(sheet, cheap, item)? });
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
