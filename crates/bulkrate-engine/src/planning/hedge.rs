//! What a plan says of copies of slow calls.

use bulkrate_core::lane::Lane;
use bulkrate_core::pace::HedgeRule;

use crate::spec::JobSpec;

/// What a job is told that has copies of its slow calls sent.
pub(super) fn told(spec: &JobSpec, lane: Lane) -> Option<String> {
    if !spec.run.hedge {
        return None;
    }
    if spec.request.bundle.is_some() {
        return Some(
            "calls that may hold several items are not hedged: `--hedge` does nothing beside `--bundle`"
                .to_owned(),
        );
    }
    let only = match lane {
        Lane::Sync => "",
        Lane::Flex | Lane::Batch => "; only calls of the sync lane are hedged, and this job hardly makes any",
    };
    Some(format!(
        "up to {} % of the calls may be billed twice: `--hedge` sends a copy of those that are slower than 95 of 100, and what it costs is not in this plan{only}",
        HedgeRule::default().share_permille / 10
    ))
}
