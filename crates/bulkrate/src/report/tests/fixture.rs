//! A plan, a report, a batch and a job with fixed values.

use super::*;

fn lane(lane: Lane, expected: i64, unavailable: Option<&str>, seconds: u64) -> LanePlan {
    LanePlan {
        learned: false,
        lane,
        unavailable: unavailable.map(str::to_owned),
        expected: UsdNanos(expected),
        p95: UsdNanos(expected * 3 / 2),
        worst: UsdNanos(expected * 4),
        seconds: Some(seconds),
        seconds_p95: None,
        batches: (lane == Lane::Batch).then_some(1),
    }
}

/// 340 tickets, 298 of them different, over the batch lane.
pub(crate) fn a_plan() -> Plan {
    Plan {
        bundle: None,
        embedding: None,
        job: "3f2a9c71".to_owned(),
        name: "tickets".to_owned(),
        models: vec![ModelPlan {
            model: "openai/gpt-6-luna".to_owned(),
            requests: 298,
            input_tokens: 14_902,
            output_tokens: 1_788,
            max_output_tokens: 25,
            input_count: None,
        }],
        records: 340,
        beyond_limit: 0,
        requests: 298,
        duplicates: 42,
        cached: 0,
        filtered: 0,
        invalid: 0,
        skipped_lines: 0,
        lanes: vec![
            lane(Lane::Batch, 1_200_000_000, None, 3_600),
            lane(Lane::Flex, 1_200_000_000, Some("this model has no flex price"), 0),
            lane(Lane::Sync, 2_400_000_000, None, 42),
        ],
        lane: Lane::Batch,
        why: "the cheapest that meets the deadline of 6 h".to_owned(),
        naive: UsdNanos(2_740_000_000),
        naive_model: Some("openai/gpt-6-luna".to_owned()),
        cap: Some(UsdNanos::dollars(5)),
        cap_is_default: false,
        spent: UsdNanos::ZERO,
        forecast: None,
        order: None,
        prompt_cache: Vec::new(),
        warnings: vec!["2 prompts are close to the context window".to_owned()],
        shape: "csv table".to_owned(),
        priced: true,
        unpriced_models: Vec::new(),
    }
}

pub(super) fn a_report() -> Report {
    Report {
        job: "3f2a9c71".to_owned(),
        name: "tickets".to_owned(),
        handle: "tickets".to_owned(),
        ending: Ending::Finished,
        reason: None,
        halted_by: None,
        key_env: Some("OPENAI_API_KEY".to_owned()),
        capped_by: None,
        items: 340,
        items_beyond_limit: 0,
        succeeded: 337,
        failed: 3,
        cancelled: 0,
        open: 0,
        duplicates: 42,
        cached: 0,
        filtered: 0,
        similar: 0,
        cascade: None,
        embedding: None,
        failures: [("refusal".to_owned(), 2), ("schema_failed".to_owned(), 1)].into(),
        spent: UsdNanos(1_137_000),
        in_doubt: UsdNanos::ZERO,
        reserved: UsdNanos::ZERO,
        naive: UsdNanos(2_600_000),
        forecast: None,
        naive_model: Some("openai/gpt-6-luna".to_owned()),
        saved: [
            ("batch".to_owned(), UsdNanos(1_137_000)),
            ("dedup".to_owned(), UsdNanos(326_000)),
            ("routing".to_owned(), UsdNanos::ZERO),
        ]
        .into(),
        beside: [].into(),
        saved_estimated: Vec::new(),
        pilot: None,
        source_embeddings: None,
        input_tokens: 14_902,
        output_tokens: 1_788,
        requests_sent: 304,
        hedged: 0,
        hedges_won: 0,
        hedges_lost: 0,
        rate_limited: 0,
        no_capacity: 0,
        batches: 1,
        batches_open: 0,
        seconds: 72.4,
        output: Some("labels.csv".to_owned()),
        state_dir: ".bulkrate".to_owned(),
        in_flight: 0,
        in_flight_bound: UsdNanos::ZERO,
        above_threshold: false,
        review: None,
        judged: None,
        estimated_usage: 0,
        unpriced: 0,
        unpriced_models: Vec::new(),
        above_bound: 0,
        excess: UsdNanos::ZERO,
    }
}

pub(super) fn a_batch() -> BatchLine {
    BatchLine {
        sub: "01".to_owned(),
        batch: Some("batch_7k".to_owned()),
        state: "in_progress".to_owned(),
        items: 298,
        completed: 120,
        failed: 1,
        since_ms: 10_000,
    }
}

pub(super) fn a_job() -> JobStatus {
    JobStatus {
        job: "3f2a9c71".to_owned(),
        name: "tickets".to_owned(),
        state: "running".to_owned(),
        engine_at_work: false,
        created_at_ms: 1_795_132_800_000,
        items: 340,
        succeeded: 100,
        failed: 1,
        cancelled: 0,
        open: 239,
        open_asked: 239,
        limit: None,
        in_flight: 239,
        duplicates: 12,
        spent: UsdNanos(400_000),
        reserved: UsdNanos(900_000),
        in_doubt: UsdNanos::ZERO,
        forecast: None,
        unpriced: false,
        doubts: bulkrate_engine::view::DoubtSum::default(),
        batches: vec![a_batch()],
        source: "tickets.csv".to_owned(),
        output: None,
        judged: None,
        disk_bytes: 181_300,
    }
}
