//! Reserved items -> payloads: how many items go into one batch file.

/// Limits of one batch file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackLimits {
    pub items_max: u32,
    pub bytes_max: u64,
    /// Estimated input tokens that may still be enqueued at the provider.
    pub tokens_max: u64,
    /// Inputs of all lines together (embeddings count each input).
    pub inputs_max: u64,
}

/// What one item adds to a batch file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    pub bytes: u64,
    pub tokens: u64,
    pub inputs: u64,
}

/// Fills one file after the other, in item order.
#[derive(Debug, Clone, Copy)]
pub struct Pack {
    limits: PackLimits,
    pub items: u32,
    pub bytes: u64,
    pub tokens: u64,
    pub inputs: u64,
}

/// Whether an item went in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    Added,
    /// Close this file and start another.
    Full,
    /// No file can take this item.
    TooLarge,
}

impl Pack {
    #[must_use]
    pub fn new(limits: PackLimits) -> Self {
        Self { limits, items: 0, bytes: 0, tokens: 0, inputs: 0 }
    }

    /// An item that is alone over the token limit still goes into a file of its own: the limit is an estimate, and the
    /// provider has the last word.
    pub fn add(&mut self, weight: Weight) -> Fit {
        let limits = &self.limits;
        if weight.bytes > limits.bytes_max || weight.inputs > limits.inputs_max {
            return Fit::TooLarge;
        }
        let full = self.items >= limits.items_max
            || self.bytes + weight.bytes > limits.bytes_max
            || self.inputs + weight.inputs > limits.inputs_max
            || (self.items > 0 && self.tokens.saturating_add(weight.tokens) > limits.tokens_max);
        if full {
            return Fit::Full;
        }
        self.items += 1;
        self.bytes += weight.bytes;
        self.tokens = self.tokens.saturating_add(weight.tokens);
        self.inputs += weight.inputs;
        Fit::Added
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: PackLimits = PackLimits { items_max: 3, bytes_max: 100, tokens_max: 50, inputs_max: 4 };

    #[test]
    fn each_limit_closes_a_file() {
        let weight = |bytes, tokens, inputs| Weight { bytes, tokens, inputs };
        for (weights, want) in [
            (vec![weight(1, 1, 1); 4], Fit::Full),
            (vec![weight(60, 1, 1), weight(60, 1, 1)], Fit::Full),
            (vec![weight(1, 30, 1), weight(1, 30, 1)], Fit::Full),
            (vec![weight(1, 1, 3), weight(1, 1, 2)], Fit::Full),
            (vec![weight(101, 1, 1)], Fit::TooLarge),
            (vec![weight(1, 1_000, 1)], Fit::Added),
            (vec![weight(100, 50, 1)], Fit::Added),
        ] {
            let mut pack = Pack::new(LIMITS);
            let fits: Vec<Fit> = weights.iter().map(|weight| pack.add(*weight)).collect();
            assert_eq!(fits.last(), Some(&want), "{weights:?}");
        }
    }

    proptest! {
        #[test]
        fn no_file_passes_a_limit_and_no_item_is_left_out(weights in proptest::collection::vec((1_u64..120, 0_u64..60, 1_u64..5), 1..60)) {
            let (mut pack, mut placed, mut too_large) = (Pack::new(LIMITS), 0, 0);
            for (bytes, tokens, inputs) in weights.iter().copied() {
                let weight = Weight { bytes, tokens, inputs };
                let fit = match pack.add(weight) {
                    Fit::Full => {
                        pack = Pack::new(LIMITS);
                        pack.add(weight)
                    }
                    fit => fit,
                };
                prop_assert_ne!(fit, Fit::Full, "an empty file takes any item that fits a file");
                placed += usize::from(fit == Fit::Added);
                too_large += usize::from(fit == Fit::TooLarge);
                prop_assert!(pack.items <= 3 && pack.bytes <= 100 && pack.inputs <= 4 && (pack.tokens <= 50 || pack.items == 1));
            }
            prop_assert_eq!(placed + too_large, weights.len());
        }
    }
}
