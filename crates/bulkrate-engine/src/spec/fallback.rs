//! The models that stand in, as a spec names them, and when they do.

use bulkrate_core::lane::Lane;
use serde::{Deserialize, Serialize};

/// A name and the lane behind its last `@`. Names may have one of their own, which is no lane's name.
pub(super) fn split_lane(name: &str) -> (&str, Option<Lane>) {
    let split = name.rsplit_once('@').and_then(|(name, lane)| Some((name, lane.parse().ok()?)));
    split.map_or((name, None), |(name, lane)| (name, Some(lane)))
}

/// When a model of `fallback` has items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FallbackWhen {
    /// Those before it cannot be asked.
    #[default]
    Outage,
    /// Or their limits have left no room for long.
    Capacity,
}

impl FallbackWhen {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
    pub(super) fn is_outage(&self) -> bool {
        *self == Self::Outage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_stands_behind_the_last_at_sign_and_nothing_else_does() {
        for (name, want) in [
            ("fast", ("fast", None)),
            ("azure/gpt-x@sync", ("azure/gpt-x", Some(Lane::Sync))),
            ("vertex/claude-opus-4@20250514", ("vertex/claude-opus-4@20250514", None)),
            ("vertex/claude-opus-4@20250514@batch", ("vertex/claude-opus-4@20250514", Some(Lane::Batch))),
            ("mine@bacth", ("mine@bacth", None)),
        ] {
            assert_eq!(split_lane(name), want, "{name}");
        }
    }
}
