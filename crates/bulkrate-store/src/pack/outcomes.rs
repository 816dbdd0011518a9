//! Outcomes, each against the one before: about 20 bytes for a usual answer.
//!
//! What a prompt cache saved is written only where one did something: then the BLOB has format 2, and each record the sum.

use bulkrate_core::failure::FailureClass;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::usage::Usage;

use super::bytes::{Damage, Pack, Unpack, VERSION_CACHED};
use crate::row::{Fate, Outcome, Place, Via};

const COUNTED: u8 = 1 << 5;
const ESTIMATED: u8 = 1 << 6;
const CLASS: u8 = 1 << 7;
const SAME_NAIVE: u8 = 1 << 6;
const NO_PLACE: u8 = 1 << 7;

#[must_use]
pub fn pack_outcomes(outcomes: &[Outcome]) -> Vec<u8> {
    let mut pack = Pack::new(outcomes.len() * 24);
    let cached = outcomes.iter().any(|outcome| outcome.prompt_cache != UsdNanos::ZERO);
    if cached {
        pack.set_version(VERSION_CACHED);
    }
    pack.count(outcomes.len());
    let mut before = Before { cached, ..Before::default() };
    for outcome in outcomes {
        pack_one(&mut pack, &mut before, outcome);
    }
    pack.finish()
}

pub fn unpack_outcomes(blob: &[u8]) -> Result<Vec<Outcome>, Damage> {
    let mut outcomes = Vec::new();
    unpack_outcomes_into(blob, &mut outcomes)?;
    Ok(outcomes)
}

/// As [`unpack_outcomes`], into a buffer that is emptied first; it holds rubbish after an error.
pub fn unpack_outcomes_into(blob: &[u8], outcomes: &mut Vec<Outcome>) -> Result<(), Damage> {
    outcomes.clear();
    let (version, mut unpack) = Unpack::versioned(blob)?;
    let count = unpack.count(5)?;
    outcomes.reserve(count);
    let mut before = Before { cached: version == VERSION_CACHED, ..Before::default() };
    for _ in 0..count {
        outcomes.push(unpack_one(&mut unpack, &mut before)?);
    }
    unpack.end()
}

/// What the next record is written against.
#[derive(Debug, Default)]
struct Before {
    /// The ordinal after the last one.
    next: i64,
    segment: u32,
    offset: u64,
    /// Each record says what a prompt cache saved.
    cached: bool,
}

fn pack_one(pack: &mut Pack, before: &mut Before, outcome: &Outcome) {
    let usage = [
        outcome.usage.input,
        outcome.usage.cache_read,
        outcome.usage.cache_write_5m,
        outcome.usage.cache_write_1h,
        outcome.usage.output,
        outcome.usage.reasoning,
    ];
    let mut flags = outcome.via as u8 | (outcome.fate as u8) << 3;
    flags |= if outcome.counted { COUNTED } else { 0 };
    flags |= if outcome.estimated { ESTIMATED } else { 0 };
    flags |= if outcome.class.is_some() { CLASS } else { 0 };
    let mut present = usage.iter().rev().fold(0, |bits, tokens| bits << 1 | u8::from(*tokens != 0));
    present |= if outcome.naive == outcome.cost { SAME_NAIVE } else { 0 };
    present |= if outcome.place == Place::NONE { NO_PLACE } else { 0 };
    pack.byte(flags);
    pack.byte(present);
    if let Some(class) = outcome.class {
        pack.byte(class.code());
    }
    pack.int(i64::from(outcome.ordinal) - before.next);
    before.next = i64::from(outcome.ordinal) + 1;
    pack.byte(outcome.attempt);
    pack.int(outcome.cost.0);
    if outcome.naive != outcome.cost {
        pack.int(outcome.naive.0);
    }
    if before.cached {
        pack.int(outcome.prompt_cache.0);
    }
    usage.into_iter().filter(|tokens| *tokens != 0).for_each(|tokens| pack.uint(tokens));
    if outcome.place != Place::NONE {
        let Place { segment, offset } = outcome.place;
        pack.int(i64::from(segment) - i64::from(before.segment));
        pack.int(offset.wrapping_sub(before.offset).cast_signed());
        (before.segment, before.offset) = (segment, offset);
    }
}

fn unpack_one(unpack: &mut Unpack<'_>, before: &mut Before) -> Result<Outcome, Damage> {
    let flags = unpack.byte()?;
    let present = unpack.byte()?;
    let via = *Via::ALL.get(usize::from(flags & 7)).ok_or(Damage::Value)?;
    let fate = *Fate::ALL.get(usize::from(flags >> 3 & 3)).ok_or(Damage::Value)?;
    let class = match flags & CLASS {
        0 => None,
        _ => Some(FailureClass::from_code(unpack.byte()?).ok_or(Damage::Value)?),
    };
    let ordinal = before.next.checked_add(unpack.int()?).ok_or(Damage::Value)?;
    let ordinal = u32::try_from(ordinal).map_err(|_| Damage::Value)?;
    before.next = i64::from(ordinal) + 1;
    let attempt = unpack.byte()?;
    let cost = UsdNanos(unpack.int()?);
    let naive = if present & SAME_NAIVE == 0 { UsdNanos(unpack.int()?) } else { cost };
    let prompt_cache = UsdNanos(if before.cached { unpack.int()? } else { 0 });
    let mut tokens = |bit: u8| if present >> bit & 1 == 0 { Ok(0) } else { unpack.uint() };
    let usage = Usage {
        input: tokens(0)?,
        cache_read: tokens(1)?,
        cache_write_5m: tokens(2)?,
        cache_write_1h: tokens(3)?,
        output: tokens(4)?,
        reasoning: tokens(5)?,
    };
    let place = if present & NO_PLACE == 0 { unpack_place(unpack, before)? } else { Place::NONE };
    let (counted, estimated) = (flags & COUNTED != 0, flags & ESTIMATED != 0);
    Ok(Outcome {
        ordinal,
        attempt,
        via,
        class,
        fate,
        counted,
        cost,
        naive,
        prompt_cache,
        usage,
        estimated,
        place,
    })
}

fn unpack_place(unpack: &mut Unpack<'_>, before: &mut Before) -> Result<Place, Damage> {
    let segment = i64::from(before.segment).checked_add(unpack.int()?).ok_or(Damage::Value)?;
    before.segment = u32::try_from(segment).map_err(|_| Damage::Value)?;
    before.offset = before.offset.wrapping_add(unpack.int()?.cast_unsigned());
    Ok(Place { segment: before.segment, offset: before.offset })
}
