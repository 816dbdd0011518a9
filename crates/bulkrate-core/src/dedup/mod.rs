//! Request -> leader or follower: equal keys inside a job run once.
//!
//! Memory: 8 bytes an item for the fingerprint and 5.7 to 8 for its slot. A fingerprint finds a candidate; the caller
//! confirms it on the full key before it counts.

use crate::ids::{Ordinal, RequestKey};

const EMPTY: Ordinal = Ordinal::MAX;

/// Finds earlier items with the same key. Ordinals are inserted in order, from 0.
#[derive(Debug, Default)]
pub struct Index {
    /// Fingerprint of each leader, by leader number.
    fingerprints: Vec<u64>,
    /// Ordinal of each leader, by leader number.
    ordinals: Vec<Ordinal>,
    /// Open addressing, a power of two in size: leader numbers.
    slots: Vec<u32>,
}

impl Index {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn leaders(&self) -> usize {
        self.ordinals.len()
    }

    /// The leader of `key`, if an earlier item has it; otherwise `ordinal` becomes its leader.
    /// `same` says whether the item of the given ordinal has exactly this key; its error stops the search.
    pub fn lead<E>(
        &mut self,
        key: &RequestKey,
        ordinal: Ordinal,
        mut same: impl FnMut(Ordinal) -> Result<bool, E>,
    ) -> Result<Option<Ordinal>, E> {
        if (self.fingerprints.len() + 1) * 10 > self.slots.len() * 7 {
            self.grow();
        }
        let fingerprint = key.fingerprint();
        let mask = self.slots.len() - 1;
        let mut slot = spread(fingerprint) & mask;
        while self.slots[slot] != EMPTY {
            let leader = self.slots[slot] as usize;
            if self.fingerprints[leader] == fingerprint && same(self.ordinals[leader])? {
                return Ok(Some(self.ordinals[leader]));
            }
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = u32::try_from(self.fingerprints.len()).unwrap_or(EMPTY);
        self.fingerprints.push(fingerprint);
        self.ordinals.push(ordinal);
        Ok(None)
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(1_024);
        self.slots = Vec::new(); // freed before the larger one is taken
        self.slots = vec![EMPTY; size];
        for (leader, fingerprint) in self.fingerprints.iter().enumerate() {
            let mut slot = spread(*fingerprint) & (size - 1);
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) & (size - 1);
            }
            self.slots[slot] = u32::try_from(leader).unwrap_or(EMPTY);
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
        fn agrees_with_a_map(keys in proptest::collection::vec((0_u8..20, 0_u8..3), 0..3_000)) {
            let keys: Vec<RequestKey> = keys.into_iter().map(|(a, b)| key(a, b)).collect();
            let mut index = Index::new();
            let mut map: HashMap<RequestKey, Ordinal> = HashMap::new();
            for (ordinal, this) in keys.iter().enumerate() {
                let ordinal = Ordinal::try_from(ordinal).unwrap();
                let found = index.lead::<Infallible>(this, ordinal, |other| Ok(keys[other as usize] == *this)).unwrap();
                prop_assert_eq!(found, map.get(this).copied());
                map.entry(*this).or_insert(ordinal);
            }
            prop_assert_eq!(index.leaders(), map.len());
        }
    }
}
