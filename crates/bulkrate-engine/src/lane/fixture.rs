//! What a provider says of a batch, made by hand.

use bulkrate_core::submission::{BatchCounts, Owner, Phase, RemoteBatch};

/// A batch of which nothing else is told.
pub(super) fn remote(phase: Phase) -> RemoteBatch {
    RemoteBatch {
        id: "b".into(),
        phase,
        status: String::new(),
        input_file: None,
        output_file: None,
        error_file: None,
        counts: BatchCounts::default(),
        errors: Vec::new(),
        created_at: None,
        ended_at: None,
        expires_at: None,
        marker: None,
        owner: Owner::Unknown,
    }
}
