//! By what a cascade should accept its cheap answers, tried on a pilot's.

use super::proof::{Loss, as_far_as_kept, loss};
use super::sheet::{Said, Sheet};
use crate::cascade::Accept;

/// Thresholds of a confidence field, in thousandths, the strictest first.
pub const THRESHOLDS: [u32; 11] = [990, 980, 950, 900, 850, 800, 750, 700, 650, 600, 500];

/// A cascade that can be tried: who is asked first, by what an answer of theirs is accepted, and who has the last word. In bundles these
/// are the places of the models as they are asked in bundles of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub cheap: Vec<usize>,
    pub accept: Accept,
    pub last: usize,
}

/// A cascade, and what it does to a pilot's items.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    pub step: Step,
    /// Places of the items that go on to the last model, of so many that are asked.
    pub rejected: Vec<usize>,
    pub reached: u64,
    pub loss: Option<Loss>,
}

/// A rule as it would work on the answers of the cheap models; what it rejects is answered by the last one. A judge was not asked, so it
/// accepts nothing.
#[must_use]
pub(super) fn judged(sheet: &Sheet, step: &Step, doubt: f64) -> Tried {
    let Step { cheap, accept, last } = step;
    let reached = (0..sheet.items()).filter(|item| sheet.reaches(*item));
    let rejected =
        reached.clone().filter(|item| accepted(sheet, cheap, accept, *item).is_none()).collect::<Vec<_>>();
    // Every row has an answer, whether it was asked for or not: quality is a matter of all of them.
    let by = |item: usize| accepted(sheet, cheap, accept, item).unwrap_or_else(|| sheet.said(*last, item));
    Tried { step: step.clone(), rejected, reached: reached.count() as u64, loss: loss(sheet, by, doubt) }
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

/// The rule that sends least to the strong model among those that keep the promise. Rules come from the strictest on. `None`: there is no
/// rule; where none keeps the promise, the first is answered for its figures.
#[must_use]
pub fn best_accept(
    sheet: &Sheet,
    cheap: &[usize],
    rules: &[Accept],
    loss_permille: u32,
    doubt: f64,
) -> Option<Tried> {
    let step = |accept: &Accept| Step { cheap: cheap.to_vec(), accept: accept.clone(), last: 0 };
    let steps: Vec<Step> = rules.iter().map(step).collect();
    cascades(sheet, &steps, loss_permille, doubt).pop()
}

/// Cascades in a sequence that was settled beforehand, the safest first: those that keep the promise, as far as each before them does. The first
/// that breaks it ends the search, so that all count as one look. Where none keeps it, the first is answered for its figures.
#[must_use]
pub fn cascades(sheet: &Sheet, steps: &[Step], loss_permille: u32, doubt: f64) -> Vec<Tried> {
    let allowed = f64::from(loss_permille) / 1_000.0;
    let tried = steps.iter().map(|step| judged(sheet, step, doubt));
    as_far_as_kept(tried, |tried| tried.loss.is_some_and(|loss| loss.high <= allowed))
}
