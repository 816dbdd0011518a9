//! Request -> leader or follower: equal keys inside a job run once.
//!
//! Memory: 8 bytes an item for the fingerprint and 5.7 to 12 a leader for its slot. A fingerprint finds a candidate; the
//! caller confirms it on the full key before it counts.

use crate::ids::{Ordinal, RequestKey};

const EMPTY: Ordinal = Ordinal::MAX;
/// Fingerprints are held in pages of so many, so that growing copies none of them.
const PAGE: usize = 1 << 15;

/// Finds earlier items with the same key. Ordinals are inserted in ascending order.
#[derive(Debug, Default)]
pub struct Index {
    /// Fingerprint of each leader, by ordinal; zero for what is no leader.
    fingerprints: Vec<Box<[u64]>>,
    /// Open addressing, a power of two in size: ordinals of leaders.
    slots: Vec<Ordinal>,
    leaders: usize,
}

impl Index {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn leaders(&self) -> usize {
        self.leaders
    }

    /// The leader of `key`, if an earlier item has it; otherwise `ordinal` becomes its leader.
    /// `same` says whether the item of the given ordinal has exactly this key; its error stops the search.
    pub fn lead<E>(
        &mut self,
        key: &RequestKey,
        ordinal: Ordinal,
        mut same: impl FnMut(Ordinal) -> Result<bool, E>,
    ) -> Result<Option<Ordinal>, E> {
        if (self.leaders + 1) * 10 > self.slots.len() * 7 {
            self.grow();
        }
        let fingerprint = key.fingerprint();
        let mask = self.slots.len() - 1;
        let mut slot = spread(fingerprint) & mask;
        while self.slots[slot] != EMPTY {
            let leader = self.slots[slot];
            if self.fingerprint(leader) == fingerprint && same(leader)? {
                return Ok(Some(leader));
            }
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = ordinal;
        self.leaders += 1;
        self.keep(ordinal, fingerprint);
        Ok(None)
    }

    fn fingerprint(&self, leader: Ordinal) -> u64 {
        self.fingerprints[leader as usize / PAGE][leader as usize % PAGE]
    }

    fn keep(&mut self, ordinal: Ordinal, fingerprint: u64) {
        let (page, place) = (ordinal as usize / PAGE, ordinal as usize % PAGE);
        while self.fingerprints.len() <= page {
            self.fingerprints.push(vec![0; PAGE].into_boxed_slice());
        }
        self.fingerprints[page][place] = fingerprint;
    }

    /// Doubles the slots. Each leader is moved from the old ones, which are freed only then: they are half as many.
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(1_024);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; size]);
        for leader in old.into_iter().filter(|leader| *leader != EMPTY) {
            let mut slot = spread(self.fingerprint(leader)) & (size - 1);
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) & (size - 1);
            }
            self.slots[slot] = leader;
        }
    }
}

/// A fingerprint is the start of a SHA-256: its bits are as good as random already.
fn spread(fingerprint: u64) -> usize {
    usize::try_from(fingerprint & 0xffff_ffff).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::convert::Infallible;

    /// Keys that collide in the fingerprint on purpose.
    fn key(fingerprint: u8, rest: u8) -> RequestKey {
        let mut key = [0; 32];
        key[7] = fingerprint;
        key[31] = rest;
        RequestKey(key)
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(
            keys in proptest::collection::vec((0_u8..20, 0_u8..3), 0..3_000),
            spacing in prop_oneof![Just(1_usize), 1..100_usize],
        ) {
            let keys: Vec<RequestKey> = keys.into_iter().map(|(a, b)| key(a, b)).collect();
            let mut index = Index::new();
            let mut map: HashMap<RequestKey, Ordinal> = HashMap::new();
            for (ordinal, this) in keys.iter().enumerate() {
                // Some ordinals, whole pages too, hold what is no request.
                let ordinal = Ordinal::try_from(ordinal * spacing).unwrap();
                let found = index.lead::<Infallible>(this, ordinal, |other| Ok(keys[other as usize / spacing] == *this)).unwrap();
                prop_assert_eq!(found, map.get(this).copied());
                map.entry(*this).or_insert(ordinal);
            }
            prop_assert_eq!(index.leaders(), map.len());
        }
    }
}
