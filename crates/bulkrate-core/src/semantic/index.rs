//! Finds the kept prompt that is most like another, exactly: over lists of who has which piece, or over all embeddings of its group.

use std::collections::HashMap;

use super::dense::{Dense, KEPT_MAX, Shelf};
use super::rule::Similarity;
use super::vector::Vector;
use super::{Direction, EntryNo, Near};
use crate::pace::rng::mix;

/// Kept prompts by their pieces.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By group and piece: who has it, and how heavy.
    lists: HashMap<u64, Vec<(EntryNo, f32)>>,
    /// One of each kept prompt: what a search has found so far. All zero between two.
    found: Vec<f32>,
    touched: Vec<EntryNo>,
    /// Embeddings by group, and how many numbers all of them have.
    shelves: HashMap<u64, Shelf>,
    numbers: usize,
    bytes: usize,
}

/// What a list takes with its first prompt, and what each further one adds, room to grow included.
const LIST_BYTES: usize = 80;
const PLACE_BYTES: usize = 16;
/// What an embedding takes beside its numbers.
const DENSE_BYTES: usize = 32;

impl Index {
    /// Keeps a prompt under the next number.
    pub(super) fn add(&mut self, group: u64, direction: &Direction) -> EntryNo {
        let entry = EntryNo::try_from(self.found.len()).unwrap_or(EntryNo::MAX);
        self.found.push(0.0);
        match direction {
            Direction::Letters(vector) => self.add_letters(group, entry, vector),
            Direction::Meaning(dense) => self.add_dense(group, entry, dense),
        }
        entry
    }

    fn add_letters(&mut self, group: u64, entry: EntryNo, vector: &Vector) {
        for (piece, weight) in &vector.0 {
            let list = self.lists.entry(mix(group ^ piece)).or_default();
            self.bytes += if list.is_empty() { LIST_BYTES } else { PLACE_BYTES };
            list.push((entry, *weight));
        }
    }

    fn add_dense(&mut self, group: u64, entry: EntryNo, dense: &Dense) {
        let numbers = dense.bytes().len();
        self.shelves.entry(group).or_default().add(entry, dense);
        self.numbers += numbers;
        // Room to grow included.
        self.bytes += 2 * (numbers + DENSE_BYTES);
    }

    /// A search would take too long with more.
    pub(super) fn is_full(&self) -> bool {
        self.numbers >= KEPT_MAX
    }

    /// The memory that it takes, nearly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The most similar of a group; of equals the oldest.
    pub(super) fn near(&mut self, group: u64, direction: &Direction) -> Option<Near> {
        let best = match direction {
            Direction::Letters(vector) => self.near_letters(group, vector),
            Direction::Meaning(dense) => self.shelves.get(&group)?.near(dense),
        };
        best.map(|(entry, found)| Near { entry, similarity: Similarity::of(found) })
    }

    fn near_letters(&mut self, group: u64, vector: &Vector) -> Option<(EntryNo, f32)> {
        for (piece, weight) in &vector.0 {
            for (entry, theirs) in self.lists.get(&mix(group ^ piece)).into_iter().flatten() {
                let found = &mut self.found[*entry as usize];
                if *found <= 0.0 {
                    self.touched.push(*entry);
                }
                *found += weight * theirs;
            }
        }
        let mut best: Option<(EntryNo, f32)> = None;
        for entry in self.touched.drain(..) {
            let found = std::mem::take(&mut self.found[entry as usize]);
            if best.is_none_or(|(known, most)| {
                (found, std::cmp::Reverse(entry)) > (most, std::cmp::Reverse(known))
            }) {
                best = Some((entry, found));
            }
        }
        best
    }
}
