//! What a pilot proves of the quality that a plan loses.

use super::sheet::{Said, Sheet};
use crate::filter::{error_high_at, least_clean_at};

/// A promise of quality may be broken this often; all plans that are looked at share it.
pub(super) const DOUBT: f64 = 0.05;

/// Quality lost against the strong model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// Items on which the strong model is right and the plan is not.
    pub lost: u64,
    /// The opposite; none without labels.
    pub gained: u64,
    pub judged: u64,
    /// Bounds of the loss, each of which holds with the confidence asked for. Below zero: quality gained.
    pub low: f64,
    pub high: f64,
}

impl Loss {
    /// The estimate.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts of items")]
    pub fn share(&self) -> f64 {
        (self.lost as f64 - self.gained as f64) / self.judged.max(1) as f64
    }
}

/// Whether the strong model is right on any label. Where it is on none, labels and answers do not speak the same language, and that no
/// plan loses anything against it proves nothing.
pub(super) fn labels_fit(sheet: &Sheet) -> bool {
    !sheet.labelled || sheet.right(0).0 > 0
}

/// The loss of answers `by` a plan. `None`: nothing can be compared. `doubt`: how often the bound may be broken.
pub fn loss(sheet: &Sheet, by: impl Fn(usize) -> Said, doubt: f64) -> Option<Loss> {
    if !labels_fit(sheet) {
        return None;
    }
    let (mut lost, mut gained, mut judged) = (0, 0, 0);
    for item in 0..sheet.items() {
        let Some((strong, plan)) = sheet.right_by(item, by(item)) else { continue };
        judged += 1;
        lost += u64::from(strong && !plan);
        gained += u64::from(!strong && plan);
    }
    (judged > 0).then(|| bounded(lost, gained, judged, sheet.labelled, doubt))
}

/// Several ways of one model, the safest first: those that keep the promise, as far as each before them does, so that they count as one
/// look. Where none keeps it, the first is answered for its figures.
#[must_use]
pub fn in_sequence(
    sheet: &Sheet,
    ways: &[usize],
    loss_permille: u32,
    doubt: f64,
) -> Vec<(usize, Option<Loss>)> {
    let allowed = f64::from(loss_permille) / 1_000.0;
    let looked = ways.iter().map(|way| (*way, loss(sheet, |item| sheet.said(*way, item), doubt)));
    as_far_as_kept(looked, |(_, loss)| loss.is_some_and(|loss| loss.high <= allowed))
}

/// Fixed-sequence testing: the first that breaks its promise ends the search, so that all count as one look. The first of all is
/// answered for its figures whether it keeps it or not.
pub(super) fn as_far_as_kept<T>(looked: impl IntoIterator<Item = T>, keeps: impl Fn(&T) -> bool) -> Vec<T> {
    let mut looked = looked.into_iter();
    let mut kept: Vec<T> = looked.next().into_iter().collect();
    if kept.first().is_some_and(&keeps) {
        kept.extend(looked.take_while(keeps));
    }
    kept
}

/// Two shares are bounded where something can be gained too, and both bounds must hold at once.
pub(super) fn bounded(lost: u64, gained: u64, judged: u64, two_sided: bool, doubt: f64) -> Loss {
    let doubt = if two_sided { doubt / 2.0 } else { doubt };
    let high = |count: u64| error_high_at(count, judged, doubt);
    let low = |count: u64| if count == 0 { 0.0 } else { 1.0 - error_high_at(judged - count, judged, doubt) };
    let (gained_low, gained_high) = if two_sided { (low(gained), high(gained)) } else { (0.0, 0.0) };
    Loss { lost, gained, judged, low: low(lost) - gained_high, high: high(lost) - gained_low }
}

/// How sure each of so many `plans` must be at the `look`-th look (from 1) at a pilot that grows until something is proved: `DOUBT / (k (k + 1))`
/// sums up to `DOUBT` over all looks, however many there will be.
#[must_use]
pub fn doubt_at(look: usize, plans: usize) -> f64 {
    let number = |count: usize| f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX));
    DOUBT / (number(look) * (number(look) + 1.0)) / number(plans)
}

/// Items without one loss that would prove that no more than `permille` of a thousand are lost.
#[must_use]
pub fn needed(permille: u32, labelled: bool, doubt: f64) -> u64 {
    let doubt = if labelled { doubt / 2.0 } else { doubt };
    least_clean_at(f64::from(permille) / 1_000.0, doubt)
}
