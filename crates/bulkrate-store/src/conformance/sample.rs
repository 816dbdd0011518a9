//! Rows to test with.

use bulkrate_core::ids::{RequestKey, Sub};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::submission::BatchCounts;
use bulkrate_core::usage::Usage;

use crate::row::{
    Fate, ItemChunk, ItemRec, Lease, LedgerEntry, LedgerKind, NewJob, Outcome, Place, Submission,
    SubmissionState, Via,
};

#[must_use]
pub fn job(id: &str) -> NewJob {
    NewJob {
        id: id.to_owned(),
        name: format!("{id}'s name"),
        spec: r#"{"model":"m"}"#.to_owned(),
        source: "reviews.csv".to_owned(),
        source_digest: "5d".to_owned(),
        catalogue_digest: "ca".to_owned(),
        created_at_ms: 1_000,
    }
}

/// `count` leaders from ordinal `first`, each line 100 bytes.
#[must_use]
pub fn chunk(first: u32, count: u32) -> ItemChunk {
    let leader = |ordinal: u32| {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&ordinal.to_be_bytes());
        ItemRec::Leader { key: RequestKey(key), header_len: 20, len: 100, tags: ordinal % 3 }
    };
    ItemChunk { first, offset: u64::from(first) * 100, items: (first..first + count).map(leader).collect() }
}

#[must_use]
pub fn sub(n: u64) -> Sub {
    Sub::new(1_700_000_000_000 + n, u128::from(n))
}

#[must_use]
pub fn lease(ordinal: u32, attempt: u8) -> Lease {
    Lease { ordinal, attempt, bound: UsdNanos(500) }
}

/// A batch in state `planned` with every field set.
#[must_use]
pub fn submission(n: u64, job: u32) -> Submission {
    Submission {
        provider: "openai".to_owned(),
        account: "main".to_owned(),
        model: "gpt".to_owned(),
        kind: "chat".to_owned(),
        reserved: UsdNanos(i64::MAX),
        segment: 4,
        items: 2,
        input_digest: Some("d1".to_owned()),
        input_bytes: 1 << 40,
        remote_input: Some("file-1".to_owned()),
        remote_batch: Some("batch-1".to_owned()),
        remote_phase: Some("in_progress".to_owned()),
        remote_output: Some("file-2".to_owned()),
        remote_errors: Some("file-3".to_owned()),
        counts: BatchCounts { total: 3, completed: 2, failed: 1 },
        sent_at_ms: Some(2),
        ended_at_ms: Some(3),
        settled_at_ms: Some(4),
        output_cursor: 5,
        error_cursor: 6,
        epoch: 7,
        evidence: Some("{}".to_owned()),
        ..Submission::new(sub(n), job, Lane::Batch, SubmissionState::Planned, 1)
    }
}

/// A good final answer to a batch attempt.
#[must_use]
pub fn outcome(ordinal: u32, attempt: u8) -> Outcome {
    Outcome {
        ordinal,
        attempt,
        via: Via::Batch,
        class: None,
        fate: Fate::Final,
        counted: true,
        cost: UsdNanos(300),
        naive: UsdNanos(600),
        prompt_cache: UsdNanos(i64::from(ordinal % 3) * -7),
        usage: Usage { input: 20, output: 3, ..Usage::default() },
        estimated: false,
        place: Place { segment: 4, offset: u64::from(ordinal) * 50 },
    }
}

#[must_use]
pub fn ledger(job: u32, kind: LedgerKind, at_ms: i64, usd: i64) -> LedgerEntry {
    LedgerEntry {
        job,
        at_ms,
        kind,
        lane: None,
        provider: "openai".to_owned(),
        model: "gpt".to_owned(),
        tags: 0,
        lever: None,
        sub: None,
        items: 1,
        usd: UsdNanos(usd),
        note: None,
    }
}
