#![allow(clippy::unwrap_used, reason = "tests")]
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::RequestKey;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::usage::Usage;
use proptest::prelude::*;

use super::bytes::{Pack, Unpack};
use super::*;
use crate::row::{Fate, ItemChunk, ItemRec, Lease, Outcome, Place, Via};

/// Small numbers mostly, the extremes often.
fn uint() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..300, Just(u64::MAX), Just(0), any::<u64>()]
}

fn money() -> impl Strategy<Value = UsdNanos> {
    prop_oneof![0_i64..1_000_000, Just(i64::MIN), Just(i64::MAX), any::<i64>()].prop_map(UsdNanos)
}

fn chunk() -> impl Strategy<Value = ItemChunk> {
    let item = prop_oneof![
        (any::<[u8; 32]>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
            |(key, header_len, len, tags)| ItemRec::Leader { key: RequestKey(key), header_len, len, tags }
        ),
        any::<u32>().prop_map(|leader| ItemRec::Follower { leader }),
        Just(ItemRec::Invalid),
    ];
    (any::<u32>(), any::<u64>(), prop::collection::vec(item, 0..40))
        .prop_map(|(first, offset, items)| ItemChunk { first, offset, items })
}

fn leases() -> impl Strategy<Value = Vec<Lease>> {
    let lease = (any::<u32>(), any::<u8>(), money()).prop_map(|(ordinal, attempt, bound)| Lease {
        ordinal,
        attempt,
        bound,
    });
    prop::collection::vec(lease, 0..40)
}

prop_compose! {
    fn outcome()(
        ordinal: u32, attempt: u8, via in 0..Via::ALL.len(), class in 0..=FailureClass::ALL.len(), fate in 0..Fate::ALL.len(),
        counted: bool, estimated: bool, cost in money(), naive in prop::option::of(money()), prompt_cache in prop::option::of(money()),
        tokens in prop::array::uniform6(uint()), segment in prop_oneof![0_u32..3, Just(u32::MAX), any::<u32>()], offset in uint(),
    ) -> Outcome {
        let [input, cache_read, cache_write_5m, cache_write_1h, output, reasoning] = tokens;
        Outcome {
            ordinal, attempt, counted, estimated, cost,
            via: Via::ALL[via],
            class: FailureClass::ALL.get(class).copied(),
            fate: Fate::ALL[fate],
            naive: naive.unwrap_or(cost),
            prompt_cache: prompt_cache.unwrap_or(UsdNanos::ZERO),
            usage: Usage { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning },
            place: Place { segment, offset },
        }
    }
}

fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
    prop::collection::vec(outcome(), 0..40)
}

/// Everything that reads a BLOB; none may panic.
fn read_all(blob: &[u8]) -> bool {
    let items = unpack_items(7, 9, blob, blob).is_ok() | unpack_kinds(blob, &mut Vec::new()).is_ok();
    items | unpack_leases(blob).is_ok() | unpack_outcomes(blob).is_ok()
}

/// A frame that passes the checksum, around anything.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut pack = Pack::new(0);
    pack.bytes(body);
    pack.finish()
}

proptest! {
    #[test]
    fn numbers_survive(value in uint(), signed: i64) {
        let mut pack = Pack::new(0);
        pack.uint(value);
        pack.int(signed);
        let blob = pack.finish();
        let mut unpack = Unpack::new(&blob).unwrap();
        prop_assert_eq!((unpack.uint(), unpack.int(), unpack.end()), (Ok(value), Ok(signed), Ok(())));
    }

    #[test]
    fn items_survive(chunk in chunk()) {
        let (items, keys) = (pack_items(&chunk), pack_keys(&chunk));
        prop_assert_eq!(unpack_items(chunk.first, chunk.offset, &items, &keys), Ok(chunk.clone()));
        let mut kinds = Vec::new();
        unpack_kinds(&items, &mut kinds).unwrap();
        prop_assert_eq!(kinds, chunk.items.iter().map(ItemRec::kind).collect::<Vec<_>>());
    }

    #[test]
    fn leases_survive(leases in leases()) {
        prop_assert_eq!(unpack_leases(&pack_leases(&leases)), Ok(leases));
    }

    #[test]
    fn outcomes_survive(outcomes in outcomes()) {
        prop_assert_eq!(unpack_outcomes(&pack_outcomes(&outcomes)), Ok(outcomes));
    }

    #[test]
    fn garbage_is_refused(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(!read_all(&garbage));
    }

    #[test]
    fn garbage_with_a_good_checksum_never_panics(garbage in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff), 0_u8..4], 0..200)) {
        read_all(&framed(&garbage));
    }

    #[test]
    fn one_flipped_bit_or_a_cut_is_found(outcomes in prop::collection::vec(outcome(), 1..20), place: prop::sample::Index, bit in 0..8) {
        let blob = pack_outcomes(&outcomes);
        let place = place.index(blob.len());
        prop_assert!(unpack_outcomes(&blob[..place]).is_err());
        let mut flipped = blob;
        flipped[place] ^= 1_u8 << bit;
        prop_assert!(unpack_outcomes(&flipped).is_err());
    }
}

#[test]
fn a_count_that_lies_allocates_nothing() {
    let mut body = Pack::new(0);
    body.uint(u64::MAX >> 1);
    assert_eq!(unpack_outcomes(&body.finish()), Err(Damage::Short));
}

#[test]
fn a_usual_outcome_is_about_twenty_bytes() {
    let outcomes: Vec<Outcome> = (0..1_000_u32)
        .map(|n| Outcome {
            ordinal: n,
            attempt: 1,
            via: Via::Batch,
            class: None,
            fate: Fate::Final,
            counted: true,
            cost: UsdNanos(31_250),
            naive: UsdNanos(62_500),
            prompt_cache: UsdNanos::ZERO,
            usage: Usage { input: 220, output: 12, ..Usage::default() },
            estimated: false,
            place: Place { segment: 3, offset: u64::from(n) * 612 },
        })
        .collect();
    assert!(pack_outcomes(&outcomes).len() <= 20_000, "{}", pack_outcomes(&outcomes).len());
}
