//! Several items in one request ("prompt packing"): which go together, what they are asked, whose answer is whose, and who pays
//! which part of it.
//!
//! Invariants
//! - A part that cannot surely be told to belong to an item belongs to none: an answer is missing rather than another item's.
//! - Parts add up to the whole, to the nano-dollar and the token.
//! - Texts are cut, never changed: what is said once, with an item in its place, is that item's own message.
//!
//! Acted on by `bulkrate_engine::run::bundle`.

mod ask;
mod fit;
mod kin;
#[cfg(test)]
mod mistakes;
mod pays;
mod read;
mod said;
mod schema;
mod shares;
mod stem;

pub use ask::Bundle;
pub use fit::{Limit, Room, fitting};
pub use kin::{Alone, Kin};
pub use pays::{ADDED_TOKENS, FRAMING_TOKENS, around_answer, asked_so, pays, together};
pub use read::{answers, text_of};
pub use said::Said;
pub use shares::{shares, usage_shares};
pub use stem::Common;

use crate::pace::rng::SplitMix64;

/// The most items in one request: beyond a hundred, models lose count.
pub const SIZE_MAX: u32 = 100;
/// The most prompt tokens of one bundle, as they are estimated.
pub const INPUT_TOKENS_MAX: u64 = 8_000;

/// With how many an item is asked after so many bundles that failed it: half as many each time, in the end alone.
#[must_use]
pub fn size_after(size: u32, failures: u8) -> u32 {
    size.checked_shr(u32::from(failures)).unwrap_or(0).max(1)
}

/// The order of `n` items in the prompt, so that a place there says nothing about a place in the source.
#[must_use]
pub fn shuffled(n: usize, seed: u64) -> Vec<usize> {
    let mut random = SplitMix64::new(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        let other = usize::try_from(random.up_to(last as u64)).unwrap_or(last);
        order.swap(last, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_fails_is_halved_until_its_items_are_alone() {
        let sizes: Vec<u32> = (0..8).map(|failures| size_after(20, failures)).collect();
        assert_eq!(sizes, [20, 10, 5, 2, 1, 1, 1, 1]);
        assert_eq!(size_after(100, 255), 1);
    }

    #[test]
    fn an_order_has_every_item_once_and_is_its_seeds() {
        let order = shuffled(50, 7);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_eq!(order, shuffled(50, 7));
        assert!(order != sorted && order != shuffled(50, 8));
        assert_eq!((shuffled(0, 1), shuffled(1, 1)), (vec![], vec![0]));
    }
}
