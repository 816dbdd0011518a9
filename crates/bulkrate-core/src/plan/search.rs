//! Which plan wins, and why each other one lost.

use std::cmp::Ordering;

use super::candidate::{Candidate, Quality};
use crate::lane::Lane;
use crate::money::UsdNanos;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Aim {
    #[default]
    Cheapest,
    Fastest,
}

/// What a plan must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    pub aim: Aim,
    /// Quality that may be lost against the strong model, in thousandths.
    pub loss_permille: u32,
    pub deadline_s: Option<u64>,
    /// Compared with the P95, or with the worst case.
    pub budget: Option<UsdNanos>,
    pub strict: bool,
    /// The only lane that may be taken.
    pub lane: Option<Lane>,
}

/// Why a plan was not taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Lost {
    /// It cannot be run.
    Barred(String),
    /// Another lane was asked for.
    OtherLane,
    QualityUnknown,
    /// The bound of its loss is above what is allowed.
    QualityUnproved {
        high: f64,
    },
    /// It may take so many seconds, which is beyond the deadline.
    TooSlow {
        latest_s: u64,
    },
    /// Its price is not known.
    Unpriced,
    /// By so much.
    OverBudget {
        by: UsdNanos,
    },
    /// Good enough, and so much dearer than the winner, or as dear.
    Dearer {
        by: UsdNanos,
    },
    /// Good enough, and so much slower than the winner, or as slow and dearer.
    Slower {
        by_s: u64,
    },
}

/// The winner's place among the candidates, and for each why it lost; `None` is the winner's.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    pub winner: Option<usize>,
    pub lost: Vec<Option<Lost>>,
}

#[must_use]
pub fn search(candidates: &[Candidate], ask: &Ask) -> Search {
    let mut lost: Vec<Option<Lost>> = candidates.iter().map(|one| unfit(one, ask)).collect();
    let fit = (0..candidates.len()).filter(|place| lost[*place].is_none());
    let winner = fit.min_by(|a, b| order(&candidates[*a], &candidates[*b], ask.aim));
    if let Some(winner) = winner {
        for (place, why) in
            lost.iter_mut().enumerate().filter(|(place, why)| *place != winner && why.is_none())
        {
            *why = Some(behind(&candidates[place], &candidates[winner], ask.aim));
        }
    }
    Search { winner, lost }
}

/// Why a plan may not be taken, whatever the others are like.
fn unfit(one: &Candidate, ask: &Ask) -> Option<Lost> {
    if let Some(why) = &one.barred {
        return Some(Lost::Barred(why.clone()));
    }
    if ask.lane.is_some_and(|lane| lane != one.lane) {
        return Some(Lost::OtherLane);
    }
    match one.quality {
        Quality::Reference => {}
        Quality::Unknown => return Some(Lost::QualityUnknown),
        Quality::Measured(loss) if loss.high > f64::from(ask.loss_permille) / 1_000.0 => {
            return Some(Lost::QualityUnproved { high: loss.high });
        }
        Quality::Measured(_) => {}
    }
    if ask.deadline_s.is_some_and(|deadline| one.latest_s > deadline) {
        return Some(Lost::TooSlow { latest_s: one.latest_s });
    }
    let Some(cost) = one.cost else {
        // The soonest is the soonest at any price; no budget could be kept.
        return (ask.aim == Aim::Cheapest || ask.budget.is_some()).then_some(Lost::Unpriced);
    };
    let needed = if ask.strict { cost.worst } else { cost.p95 };
    match ask.budget {
        Some(budget) if needed > budget => Some(Lost::OverBudget { by: needed - budget }),
        _ => None,
    }
}

/// The better one first; among equals always the same one.
fn order(a: &Candidate, b: &Candidate, aim: Aim) -> Ordering {
    // What costs nobody knows what comes last.
    let cost = |one: &Candidate| (one.cost.is_none(), one.cost.map(|cost| (cost.expected, cost.p95)));
    let loss = |one: &Candidate| if let Quality::Measured(loss) = one.quality { loss.high } else { 0.0 };
    let dearer = || cost(a).cmp(&cost(b));
    let slower = || a.time_s.cmp(&b.time_s);
    let rank = |one: &Candidate| (one.way.rank(), one.lane, one.bundle, one.bundles.clone(), one.mark);
    let first = match aim {
        Aim::Cheapest => dearer().then_with(slower),
        Aim::Fastest => slower().then_with(dearer),
    };
    first.then_with(|| loss(a).total_cmp(&loss(b))).then_with(|| rank(a).cmp(&rank(b)))
}

fn behind(one: &Candidate, winner: &Candidate, aim: Aim) -> Lost {
    let expected = |one: &Candidate| one.cost.map_or(UsdNanos::ZERO, |cost| cost.expected);
    match aim {
        Aim::Cheapest => Lost::Dearer { by: expected(one) - expected(winner) },
        Aim::Fastest => Lost::Slower { by_s: one.time_s.saturating_sub(winner.time_s) },
    }
}
