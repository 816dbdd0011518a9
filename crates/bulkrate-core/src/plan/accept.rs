//! By what a cascade should accept its cheap answers, tried on a pilot's.

use super::proof::{Loss, as_far_as_kept, loss};
use super::sheet::{Said, Sheet};
use crate::cascade::Accept;

/// Thresholds of a confidence field, in thousandths, the strictest first.
pub const THRESHOLDS: [u32; 11] = [990, 980, 950, 900, 850, 800, 750, 700, 650, 600, 500];

/// A rule, and what it does to a pilot's items.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    pub accept: Accept,
    /// Places of the items that go on to the strong model, of so many that are asked.
    pub rejected: Vec<usize>,
    pub reached: u64,
    pub loss: Option<Loss>,
}

/// A rule as it would work on the answers of `cheap`; what it rejects is answered by the strong model. A judge was not asked, so it
/// accepts nothing.
#[must_use]
pub(super) fn judged(sheet: &Sheet, cheap: &[usize], accept: &Accept, doubt: f64) -> Tried {
    let reached = (0..sheet.items()).filter(|item| sheet.reaches(*item));
    let rejected =
        reached.clone().filter(|item| accepted(sheet, cheap, accept, *item).is_none()).collect::<Vec<_>>();
    // Every row has an answer, whether it was asked for or not: quality is a matter of all of them.
    let by = |item: usize| accepted(sheet, cheap, accept, item).unwrap_or_else(|| sheet.said(0, item));
    Tried { accept: accept.clone(), rejected, reached: reached.count() as u64, loss: loss(sheet, by, doubt) }
}

/// The answer that a cascade would end an item with, before the strong model is asked.
fn accepted(sheet: &Sheet, cheap: &[usize], accept: &Accept, item: usize) -> Option<Said> {
    let mut earlier = Vec::new();
    for model in cheap {
        let said = sheet.said(*model, item);
        let taken = match accept {
            Accept::Valid => said.usable,
            Accept::Confidence { least_permille, .. } => {
                said.usable && said.sure_permille.is_some_and(|sure| sure >= *least_permille)
            }
            Accept::Sureness { measure, least_permille } => {
                let sure = said.sureness.and_then(|sure| sure.by(*measure));
                said.usable && sure.is_some_and(|sure| i64::from(sure) >= i64::from(*least_permille))
            }
            Accept::Agreement { .. } => said.opinion.is_some_and(|opinion| earlier.contains(&opinion)),
            Accept::Judge { .. } => false,
        };
        if taken {
            return Some(said);
        }
        earlier.extend(said.opinion);
    }
    None
}

/// The rule that sends least to the strong model among those that keep the promise. Rules come from the strictest on, and the first
/// that breaks it ends the search, so that they count as one look. `None`: there is no rule; where none keeps the promise, the first is
/// answered for its figures.
#[must_use]
pub fn best_accept(
    sheet: &Sheet,
    cheap: &[usize],
    rules: &[Accept],
    loss_permille: u32,
    doubt: f64,
) -> Option<Tried> {
    let allowed = f64::from(loss_permille) / 1_000.0;
    let tried = rules.iter().map(|accept| judged(sheet, cheap, accept, doubt));
    as_far_as_kept(tried, |tried| tried.loss.is_some_and(|loss| loss.high <= allowed)).pop()
}
