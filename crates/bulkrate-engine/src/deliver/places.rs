//! Where the result line of every item lies: eight bytes an item, the fold of the outcomes.
//!
//! Bits of an entry: 63 good, 43-62 segment, 0-42 offset. All ones: no outcome yet.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{Fate, JobRow, Outcome, Place, View};

use crate::EngineError;

const GOOD: u64 = 1 << 63;
const OFFSET_BITS: u32 = 43;
const OFFSET: u64 = (1 << OFFSET_BITS) - 1;
const SEGMENT: u64 = (1 << 20) - 1;
const OPEN: u64 = u64::MAX;
/// A segment number that no file has: the outcome has no line, the offset holds its class.
const NO_LINE: u64 = SEGMENT;
const NO_CLASS: u64 = 0xff;

/// What is known of a leader's or an invalid item's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landed {
    Open,
    /// Decided without a line; `None` = a good answer.
    NoLine(Option<FailureClass>),
    Line {
        place: Place,
        good: bool,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Places {
    places: Vec<u64>,
    /// What failed attempts cost; few items have any.
    extra: HashMap<Ordinal, i64>,
}

impl Places {
    pub(crate) fn load(view: &dyn View, job: &JobRow) -> Result<Self, EngineError> {
        let items =
            usize::try_from(job.items).map_err(|_| EngineError::Internal("too many items".to_owned()))?;
        let mut places = Self { places: vec![OPEN; items], extra: HashMap::new() };
        let mut failure = Ok(());
        view.scan_outcomes(job.no, &mut |outcomes| {
            failure = outcomes.iter().try_for_each(|outcome| places.apply(outcome));
            if failure.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        failure?;
        Ok(places)
    }

    /// The first final outcome counts, until a revival: what comes after it was late.
    fn apply(&mut self, outcome: &Outcome) -> Result<(), EngineError> {
        // Items that were appended after the job's row was read are left out.
        let Some(slot) = self.places.get_mut(outcome.ordinal as usize) else { return Ok(()) };
        match outcome.fate {
            Fate::Revive if *slot & GOOD == 0 => *slot = OPEN,
            Fate::Final if *slot == OPEN => *slot = pack(outcome)?,
            _ => {}
        }
        if outcome.class.is_some() && outcome.cost > UsdNanos::ZERO {
            let extra = self.extra.entry(outcome.ordinal).or_default();
            *extra = extra.saturating_add(outcome.cost.0);
        }
        Ok(())
    }

    pub(crate) fn get(&self, ordinal: Ordinal) -> Landed {
        let bits = self.places.get(ordinal as usize).copied().unwrap_or(OPEN);
        if bits == OPEN {
            return Landed::Open;
        }
        let segment = bits >> OFFSET_BITS & SEGMENT;
        if segment == NO_LINE {
            return Landed::NoLine(u8::try_from(bits & 0xff).ok().and_then(FailureClass::from_code));
        }
        // Twenty bits.
        let segment = u32::try_from(segment).unwrap_or(u32::MAX);
        Landed::Line { place: Place { segment, offset: bits & OFFSET }, good: bits & GOOD != 0 }
    }

    /// What the failed attempts of a leader cost.
    pub(crate) fn extra(&self, ordinal: Ordinal) -> UsdNanos {
        if self.extra.is_empty() {
            return UsdNanos::ZERO;
        }
        UsdNanos(self.extra.get(&ordinal).copied().unwrap_or(0))
    }
}

fn pack(outcome: &Outcome) -> Result<u64, EngineError> {
    let Place { segment, offset } = outcome.place;
    let good = if outcome.class.is_none() { GOOD } else { 0 };
    if outcome.place.is_none() {
        let class = outcome.class.map_or(NO_CLASS, |class| u64::from(class.code()));
        return Ok(good | NO_LINE << OFFSET_BITS | class);
    }
    if u64::from(segment) >= NO_LINE || offset > OFFSET {
        return Err(EngineError::Internal(format!(
            "result place {segment}:{offset} is beyond 2^20 files of 2^43 bytes"
        )));
    }
    Ok(good | u64::from(segment) << OFFSET_BITS | offset)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_store::Via;

    fn outcome(fate: Fate, class: Option<FailureClass>, place: Place, cost: i64) -> Outcome {
        super::super::fixture::outcome(0, 1, Via::Batch, class, fate, UsdNanos(cost), place)
    }

    fn fold(outcomes: &[Outcome]) -> Places {
        let mut places = Places { places: vec![OPEN], extra: HashMap::new() };
        for outcome in outcomes {
            places.apply(outcome).unwrap();
        }
        places
    }

    #[test]
    fn a_place_survives_packing() {
        for segment in [0, 1, 7_777, (1 << 20) - 2] {
            for offset in [0, 1, 123_456_789, (1 << 43) - 1] {
                for class in FailureClass::ALL.iter().copied().map(Some).chain([None]) {
                    let place = Place { segment, offset };
                    let got = fold(&[outcome(Fate::Final, class, place, 0)]).get(0);
                    assert_eq!(got, Landed::Line { place, good: class.is_none() });
                }
            }
        }
    }

    #[test]
    fn the_first_final_outcome_counts_until_a_revival() {
        use FailureClass::{SchemaFailed, Timeout};
        let at = |offset| Place { segment: 1, offset };
        let line = |offset, good| Landed::Line { place: at(offset), good };
        let last = |fate, class, offset| outcome(fate, class, at(offset), 5);
        for (name, outcomes, want, extra) in [
            ("nothing", vec![], Landed::Open, 0),
            ("a retry", vec![last(Fate::Retry, Some(SchemaFailed), 1)], Landed::Open, 5),
            ("late", vec![last(Fate::Final, None, 1), last(Fate::Final, None, 2)], line(1, true), 0),
            (
                "dead",
                vec![last(Fate::Retry, Some(Timeout), 1), last(Fate::Final, Some(Timeout), 2)],
                line(2, false),
                10,
            ),
            (
                "revived",
                vec![last(Fate::Final, Some(Timeout), 1), outcome(Fate::Revive, None, Place::NONE, 0)],
                Landed::Open,
                5,
            ),
            (
                "revived and done",
                vec![
                    last(Fate::Final, Some(Timeout), 1),
                    outcome(Fate::Revive, None, Place::NONE, 0),
                    last(Fate::Final, None, 3),
                ],
                line(3, true),
                5,
            ),
            (
                "a done item is not revived",
                vec![last(Fate::Final, None, 1), outcome(Fate::Revive, None, Place::NONE, 0)],
                line(1, true),
                0,
            ),
            (
                "without a line",
                vec![outcome(Fate::Final, Some(Timeout), Place::NONE, 0)],
                Landed::NoLine(Some(Timeout)),
                0,
            ),
            (
                "good without a line",
                vec![outcome(Fate::Final, None, Place::NONE, 0)],
                Landed::NoLine(None),
                0,
            ),
        ] {
            let places = fold(&outcomes);
            assert_eq!((places.get(0), places.extra(0).0), (want, extra), "{name}");
        }
    }

    #[test]
    fn a_place_beyond_the_bits_is_refused() {
        for (segment, offset) in [((1 << 20) - 1, 0), (0, 1 << 43)] {
            let mut places = Places { places: vec![OPEN], extra: HashMap::new() };
            assert!(places.apply(&outcome(Fate::Final, None, Place { segment, offset }, 0)).is_err());
        }
    }
}
