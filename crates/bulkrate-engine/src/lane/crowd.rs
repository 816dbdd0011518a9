//! Whether the limits of a deployment have left no room for long, while something waits for it.
//!
//! Asked before each try, where the user lets stand-ins take what does not fit. A limit that is met now and then is no reason to
//! pay somebody else: the first time it must have been met without a break for as long as an outage would be waited out. From then on the
//! deployment is known to be too small for the job, and each item that does not fit goes on at once.

/// Of one deployment, one way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Crowd {
    since_us: Option<u64>,
    /// A limit says when it has room again.
    pub until_us: u64,
}

impl Crowd {
    /// Something waits, and a limit keeps it back until this time, where it says when.
    pub(super) fn refused(&mut self, now_us: u64, until_us: Option<u64>) {
        self.since_us.get_or_insert(now_us);
        self.until_us = until_us.unwrap_or(now_us);
    }

    /// Nothing waits.
    pub(super) fn cleared(&mut self) {
        *self = Self::default();
    }

    /// Whether it is full for long now. `shut`: a limit keeps the next one back; `known`: it has been full before.
    pub(super) fn is_full(&self, now_us: u64, shut: bool, known: bool, patience_us: u64) -> bool {
        let long = self.since_us.is_some_and(|since_us| now_us.saturating_sub(since_us) >= patience_us);
        (shut || now_us < self.until_us) && (known || long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_full_when_it_was_met_for_long_and_then_at_once() {
        let mut crowd = Crowd::default();
        assert!(!crowd.is_full(0, true, false, 60), "nothing waits");
        crowd.refused(0, Some(5));
        assert!(!crowd.is_full(1, false, false, 60), "not for long");
        crowd.refused(59, Some(65));
        assert!(!crowd.is_full(59, false, false, 60));
        assert!(crowd.is_full(60, false, false, 60), "all the while something waited");
        assert!(!crowd.is_full(65, false, false, 60), "there is room now");
        assert!(crowd.is_full(65, true, false, 60), "by one limit, by another there is none");
        crowd.cleared();
        crowd.refused(100, Some(110));
        assert!(!crowd.is_full(101, false, false, 60), "it began anew");
        assert!(crowd.is_full(101, false, true, 60), "one that is known to be too small");
    }
}
