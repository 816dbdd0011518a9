//! Files of filters.

use bulkrate_core::filter::{Filter, Scratch};

/// A filter that is read answers any text, always alike, and what is written of it reads back.
pub fn filter(bytes: &[u8]) {
    let Ok(filter) = Filter::from_bytes(bytes) else { return };
    let mut scratch = Scratch::default();
    for text in ["", "you have won a prize", "\u{130}\u{0}?\n9 $$$"] {
        assert_eq!(
            filter.answer(text, "[1, 0.5]", &mut scratch),
            filter.answer(text, "[1, 0.5]", &mut Scratch::default())
        );
    }
    assert!(Filter::from_bytes(&filter.to_bytes()).is_ok(), "what was written reads back");
}
