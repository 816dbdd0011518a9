//! How labelled rows are taken by whatever learns from them: different texts, in an order of chance, some to prove and some to teach.

use std::collections::BTreeSet;

use super::words::fingerprint;
use crate::pace::rng::mix;

/// Fewer labels than this teach nothing that could be proved.
pub const LABELS_MIN: usize = 100;
/// More labels than this do not sharpen the proof enough to be kept from teaching.
pub(super) const PROOF_MAX: usize = 2_000;

/// Different texts in an order that the seed and the texts decide and their rows do not. Of equal texts the first counts.
pub(crate) fn distinct<T: Copy>(items: &[T], text: impl Fn(&T) -> &str, seed: u64) -> Vec<T> {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<(u64, T)> = items
        .iter()
        .map(|item| (fingerprint(text(item)), *item))
        .filter(|(print, _)| seen.insert(*print))
        .collect();
    kept.sort_unstable_by_key(|(print, _)| mix(print ^ mix(seed)));
    kept.into_iter().map(|(_, item)| item).collect()
}

/// Those that prove, and those that teach.
pub(crate) fn split<T>(items: &[T]) -> (&[T], &[T]) {
    items.split_at((items.len() / 2).min(PROOF_MAX))
}
