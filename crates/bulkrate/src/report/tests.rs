//! What people read, from fixed values.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::Forecast;
use bulkrate_engine::event::{BatchLine, Progress};
use bulkrate_engine::plan::{EmbeddingPlan, LanePlan, ModelPlan, Plan};
use bulkrate_engine::report::{Embedded, Ending, Report};
use bulkrate_engine::view::{AttemptLine, Check, CostRow, DeadLetter, JobStatus, PeriodCost, Verification};

use super::cost::{self, Shown};
use super::{end, json, plan, progress, views};

mod fixture;

pub(crate) use fixture::a_plan;
use fixture::{a_batch, a_job, a_report};

#[test]
fn a_plan_reads_like_this() {
    insta::assert_snapshot!(plan::text(&a_plan()), @r"
    plan for `tickets` (job 3f2a9c71)
      340 records read as csv table: 298 requests to send, 42 equal to another

        model              requests  input tokens  output tokens  output at most
        openai/gpt-6-luna       298        14,902          1,788              25

         lane   expected USD  P95 USD  worst USD    time  batches
      *  batch          1.20     1.80       4.80   ~ 1 h        1
         flex              -        -          -       -        -
         sync           2.40     3.60       9.60  ~ 42 s        -
         flex cannot be used: this model has no flex price

      lane: batch, the cheapest that meets the deadline of 6 h
      one by one in the sync lane, all at openai/gpt-6-luna and equal ones too, it would be USD 2.74
      hard cap: USD 5.00 (your budget)
      warning: 2 prompts are close to the context window
    ");
    let unknown = Plan {
        priced: false,
        unpriced_models: vec!["custom/llama".to_owned()],
        cap: None,
        cap_is_default: true,
        warnings: Vec::new(),
        models: Vec::new(),
        ..a_plan()
    };
    insta::assert_snapshot!(plan::text(&unknown), @r"
    plan for `tickets` (job 3f2a9c71)
      340 records read as csv table: 298 requests to send, 42 equal to another

         lane   expected USD  P95 USD  worst USD    time  batches
      *  batch       unknown  unknown    unknown   ~ 1 h        1
         flex              -        -          -       -        -
         sync        unknown  unknown    unknown  ~ 42 s        -
         flex cannot be used: this model has no flex price

      lane: batch, the cheapest that meets the deadline of 6 h
      no price is known for `custom/llama`: `--price-in` and `--price-out` name one; a `--budget` could not be kept
    ");
}

#[test]
fn embeddings_have_a_line_in_plan_and_report() {
    let of = EmbeddingPlan {
        model: "openai/text-embedding-3-small".to_owned(),
        requests: 298,
        lane: Lane::Batch,
        expected: UsdNanos(41_000),
        p95: UsdNanos(62_000),
        worst: UsdNanos(160_000),
        spent: UsdNanos::ZERO,
        pays_from_permille: Some(35),
        priced: true,
    };
    let line = |of: EmbeddingPlan| {
        let text = plan::text(&Plan { embedding: Some(of), ..a_plan() });
        text.lines().find(|line| line.contains("embeddings")).unwrap_or_default().trim().to_owned()
    };
    let none = EmbeddingPlan { requests: 0, spent: UsdNanos(39_000), ..of.clone() };
    let unpriced = EmbeddingPlan { requests: 1, priced: false, pays_from_permille: None, ..of.clone() };
    let lines = [line(of), line(none), line(unpriced)].join("\n");
    insta::assert_snapshot!(lines, @r"
    embeddings: 298 texts by openai/text-embedding-3-small, before the run in the batch lane: USD 0.000041 more, P95 0.000062; they pay where more than 3.5 % of the requests are served
    embeddings: nothing to be made by openai/text-embedding-3-small; USD 0.000039 spent so far
    embeddings: 1 text by openai/text-embedding-3-small, before the run in the batch lane: at a price that is not known
    ");
    let embedded = |vectors| {
        let of = Embedded {
            model: "openai/text-embedding-3-small".to_owned(),
            texts: 298,
            vectors,
            spent: UsdNanos(41_000),
            in_doubt: UsdNanos::ZERO,
            left: false,
        };
        let text = end::text(&Report { embedding: Some(of), ..a_report() });
        text.lines().find(|line| line.contains("embeddings")).unwrap_or_default().trim().to_owned()
    };
    insta::assert_snapshot!([embedded(298), embedded(297)].join("\n"), @r"
    embeddings: 298 vectors by openai/text-embedding-3-small, USD 0.000041 of the sum
    embeddings: 297 vectors by openai/text-embedding-3-small, USD 0.000041 of the sum; 1 text without one, whose rows were asked
    ");
}

#[test]
fn a_run_that_was_left_while_it_embedded_says_so() {
    let of = Embedded {
        model: "openai/text-embedding-3-small".to_owned(),
        texts: 298,
        vectors: 0,
        spent: UsdNanos(1_000),
        in_doubt: UsdNanos::ZERO,
        left: true,
    };
    let left = Report { ending: Ending::Detached, batches_open: 1, embedding: Some(of), ..a_report() };
    let text = end::text(&left);
    let lines = text.lines().filter(|line| line.contains("embed"));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r"
    `tickets` (job 3f2a9c71) was left after 1 min 12 s, while its texts were embedded; batches go on at the provider
      embeddings: 0 vectors by openai/text-embedding-3-small, USD 0.000001 of the sum; 298 texts on the way
    ");
}

#[test]
fn a_plan_with_nothing_to_send_is_short() {
    let done = Plan { requests: 0, spent: UsdNanos(1_137_000), ..a_plan() };
    insta::assert_snapshot!(plan::text(&done), @r"
    plan for `tickets` (job 3f2a9c71)
      340 records read as csv table: 0 requests to send, 42 equal to another
      nothing to send; already spent by this job: USD 0.001137
    ");
}

#[test]
fn a_finished_job_reads_like_this() {
    insta::assert_snapshot!(end::text(&a_report()), @r"
    `tickets` (job 3f2a9c71) finished in 1 min 12 s
      340 items: 337 answered, 3 failed
      304 requests sent, 1 batch, 42 answered by an equal item

        failure        items  share
        refusal            2  0.5 %
        schema_failed      1  0.2 %

      spent USD 0.001137 for 14,902 input and 1,788 output tokens; one by one in the sync lane, all at openai/gpt-6-luna and equal ones too, it would have been USD 0.002600
      saved USD 0.001463 (56.2 %): batch 0.001137, dedup 0.000326
      results: labels.csv
      see why with `bulkrate dead tickets`, try again with `bulkrate retry tickets`
    ");
}

#[test]
fn every_other_end_says_how_to_go_on() {
    let open = || Report {
        failed: 0,
        failures: [].into(),
        succeeded: 100,
        open: 240,
        output: None,
        state_dir: "/tmp/s".to_owned(),
        ..a_report()
    };
    let alone = end::text(&Report { ending: Ending::Detached, ..open() });
    assert!(alone.contains("(job 3f2a9c71) was left after 1 min 12 s\n"), "no batch is open: {alone}");
    insta::assert_snapshot!(end::text(&Report { ending: Ending::Detached, batches_open: 1, ..open() }), @r"
    `tickets` (job 3f2a9c71) was left after 1 min 12 s; batches go on at the provider
      340 items: 100 answered, 240 still open
      304 requests sent, 1 batch, 42 answered by an equal item
      spent USD 0.001137 for 14,902 input and 1,788 output tokens; one by one in the sync lane, all at openai/gpt-6-luna and equal ones too, it would have been USD 0.002600
      saved USD 0.001463 (56.2 %): batch 0.001137, dedup 0.000326
      come back with `bulkrate resume tickets --state /tmp/s`
      results are kept: `bulkrate results tickets --out FILE --state /tmp/s`
    ");
    let aborted = Report {
        ending: Ending::Aborted,
        in_flight: 12,
        in_flight_bound: UsdNanos(5_000_000),
        in_doubt: UsdNanos(5_000_000),
        ..open()
    };
    insta::assert_snapshot!(end::text(&aborted), @r"
    `tickets` (job 3f2a9c71) was stopped at once after 1 min 12 s
      340 items: 100 answered, 240 still open
      304 requests sent, 1 batch, 42 answered by an equal item
      spent USD 0.001137 for 14,902 input and 1,788 output tokens; one by one in the sync lane, all at openai/gpt-6-luna and equal ones too, it would have been USD 0.002600
      saved USD 0.001463 (56.2 %): batch 0.001137, dedup 0.000326
      in doubt: up to USD 0.005000 more, for calls that were sent and never answered
      12 calls in flight, USD 0.005000 at most; each is asked for or booked as doubt when you come back
      come back with `bulkrate resume tickets --state /tmp/s`
      results are kept: `bulkrate results tickets --out FILE --state /tmp/s`
    ");
    let halted = Report {
        ending: Ending::Halted,
        reason: Some("the credentials were rejected".to_owned()),
        halted_by: Some("auth".to_owned()),
        ..open()
    };
    insta::assert_snapshot!(end::text(&halted), @r"
    `tickets` (job 3f2a9c71) was halted: the credentials were rejected
      340 items: 100 answered, 240 still open
      304 requests sent, 1 batch, 42 answered by an equal item
      spent USD 0.001137 for 14,902 input and 1,788 output tokens; one by one in the sync lane, all at openai/gpt-6-luna and equal ones too, it would have been USD 0.002600
      saved USD 0.001463 (56.2 %): batch 0.001137, dedup 0.000326
      check the key in `OPENAI_API_KEY`, or in the variable that `--key-env` names, then `bulkrate resume tickets --state /tmp/s`
      results are kept: `bulkrate results tickets --out FILE --state /tmp/s`
    ");
    assert_eq!(halted.exit_code(), 4);
    let signed = Report { key_env: None, ..halted.clone() };
    assert!(
        end::text(&signed).contains("check the credentials, which `bulkrate doctor --model MODEL` tries")
    );
    let mended = Report { halted_by: Some("billing".to_owned()), ..halted };
    assert!(end::text(&mended).contains("mend the cause, then `bulkrate resume tickets"));
}

#[test]
fn a_job_that_would_pass_its_budget_says_what_it_would_cost() {
    let forecast = Forecast {
        low: UsdNanos(2_480_000),
        expected: UsdNanos(2_750_000),
        p95: UsdNanos(3_020_000),
        measured: 113,
        left: 187,
    };
    let paused = Report {
        ending: Ending::BudgetForecast,
        reason: Some("after 113 answers ... Nothing new is sent".to_owned()),
        succeeded: 113,
        failed: 0,
        failures: [].into(),
        open: 227,
        output: None,
        forecast: Some(forecast),
        ..a_report()
    };
    assert_eq!(paused.exit_code(), 3);
    let text = end::text(&paused);
    assert!(
        text.contains("was paused before its budget: after 113 answers ... Nothing new is sent"),
        "{text}"
    );
    assert!(
        text.contains("go on with `bulkrate resume tickets --budget 0.00302`, or until the cap stops it with `bulkrate resume tickets --spend-all`"),
        "{text}"
    );
    let now = Progress { spent: UsdNanos(400_000), forecast: Some(forecast), ..Progress::default() };
    assert!(
        progress::line(&now).contains("about USD 0.002750 in all, P95 0.003020"),
        "{}",
        progress::line(&now)
    );
    let status = views::job(&JobStatus { forecast: Some(forecast), ..a_job() }, 22_000);
    assert!(status.contains("about USD 0.002750 in all, P95 0.003020, measured by 113 answers"), "{status}");
}

#[test]
fn progress_reads_like_this() {
    let now = Progress {
        job: "3f2a9c71".to_owned(),
        items: 340,
        succeeded: 118,
        failed: 2,
        duplicates: 42,
        in_flight: 220,
        retries: 3,
        spent: UsdNanos(400_000),
        budget: Some(UsdNanos::dollars(5)),
        naive: UsdNanos(900_000),
        items_per_second: 4.25,
        eta_ms: Some(52_000),
        elapsed_ms: 28_000,
        lane: Some(Lane::Batch),
        batches: vec![a_batch()],
        ..Progress::default()
    };
    insta::assert_snapshot!(progress::line(&now), @"120 of 340 items (35.2 %), 4.2/s, spent USD 0.000400 of 5.00, one by one USD 0.000900, 220 in flight, 42 answered without a request, 2 failed, 3 tried again, about 52 s left");
    insta::assert_snapshot!(format!("{}\n{}", progress::head(&now), progress::body(&now, 22_000).join("\n")), @r"
    120/340 35.2 %  4.2/s  about 52 s left
      spent USD 0.000400 of 5.00, one by one USD 0.000900
      220 in flight, 42 answered without a request, 2 failed, 3 tried again
      batch batch_7k: in_progress for 12 s, 120 of 298 items, 1 failed
    ");
}

#[test]
fn a_provider_that_is_away_is_waited_for_and_no_time_is_told() {
    let away = vec!["openai/gpt-6-luna".to_owned()];
    let now = Progress {
        items: 340,
        succeeded: 120,
        items_per_second: 4.25,
        eta_ms: Some(9),
        away,
        ..Progress::default()
    };
    for text in [progress::line(&now), progress::head(&now)] {
        assert!(
            text.ends_with("waiting for openai/gpt-6-luna to come back") && !text.contains("left"),
            "{text}"
        );
    }
}

#[test]
fn what_earlier_batches_took_stands_beside_the_price() {
    let mut learned = a_plan();
    for lane in learned.lanes.iter_mut().filter(|plan| plan.lane == Lane::Batch) {
        (lane.seconds, lane.seconds_p95) = (Some(720), Some(5_400));
    }
    let text = plan::text(&learned);
    assert!(text.contains("~ 12 min, P95 1 h 30 min"), "{text}");
}

#[test]
fn what_a_limit_left_out_is_said() {
    let plan = plan::text(&Plan { records: 100, beyond_limit: 240, ..a_plan() });
    assert!(plan.contains("100 records of 340 (limited) read as"), "{plan}");
    let report = end::text(&Report { items: 100, items_beyond_limit: 240, ..a_report() });
    assert!(report.contains("240 items beyond the limit: `bulkrate resume tickets --no-limit`"), "{report}");
    let limited = JobStatus { limit: Some(100), open_asked: 0, ..a_job() };
    assert!(views::jobs(std::slice::from_ref(&limited), 22_000).contains("  limited  "));
    let text = views::job(&limited, 22_000);
    assert!(
        text.contains("the first 100 items are done; the rest: `bulkrate resume tickets --no-limit`"),
        "{text}"
    );
    let text = views::job(&JobStatus { open_asked: 3, ..limited }, 22_000);
    assert!(
        text.contains("(job 3f2a9c71): waiting")
            && text.contains("`bulkrate resume tickets` for the first 100 items"),
        "{text}"
    );
}

#[test]
fn jobs_read_like_this() {
    insta::assert_snapshot!(views::jobs(&[a_job(), JobStatus { name: "b".to_owned(), state: "done".to_owned(), batches: Vec::new(), ..a_job() }], 22_000), @r"
    job       name     state    items    done  failed  in flight  spent USD      disk  created
    3f2a9c71  tickets  waiting    340  29.7 %       1        239   0.000400  181.3 kB  2026-11-20 00:00 UTC
    3f2a9c71  b        done       340  29.7 %       1        239   0.000400  181.3 kB  2026-11-20 00:00 UTC
    2 jobs, 362.6 kB on disk; `bulkrate rm JOB` deletes one with its results
      tickets: batch batch_7k: in_progress for 12 s, 120 of 298 items, 1 failed
    ");
    insta::assert_snapshot!(views::job(&a_job(), 22_000), @r"
    `tickets` (job 3f2a9c71): waiting
      created   2026-11-20 00:00 UTC
      source    tickets.csv
      output    kept in the state folder
      items     340: 100 answered (12 by an equal item), 1 failed, 0 cancelled, 239 open, 239 in flight
      money     spent USD 0.000400, reserved 0.000900, in doubt 0.00
      disk      181.3 kB
                batch batch_7k: in_progress for 12 s, 120 of 298 items, 1 failed
      next      no process works on it: `bulkrate resume tickets`
    ");
    insta::assert_snapshot!(views::jobs(&[], 0), @"no jobs here yet; `bulkrate run FILE ...` starts one");
}

#[test]
fn dead_letters_proofs_and_costs_read_like_this() {
    let letter = DeadLetter {
        item: 7,
        item_id: "t-7".to_owned(),
        class: "schema_failed".to_owned(),
        message: "`maybe` is none of the choices".to_owned(),
        attempts: vec![AttemptLine {
            attempt: 1,
            lane: "sync".to_owned(),
            class: "schema_failed".to_owned(),
            cost: UsdNanos(3_000),
            evidence: "{\"text\":\"maybe\"}\n".to_owned(),
        }],
        followers: 2,
        replay: "bulkrate retry tickets".to_owned(),
    };
    insta::assert_snapshot!(views::dead(&[letter]), @r#"
    t-7 (item 7): schema_failed: `maybe` is none of the choices
      and 2 items with the same request
      attempt 1 (sync lane): schema_failed, USD 0.000003
        {"text":"maybe"}
      replay: bulkrate retry tickets
    "#);
    let check = |name: &str, passed| Check { name: name.to_owned(), passed, detail: "340 of 340".to_owned() };
    let proof = Verification {
        job: "3f2a9c71".to_owned(),
        checks: vec![check("outcomes", true), check("ledger", false)],
    };
    insta::assert_snapshot!(views::verification(&proof), @r"
    job 3f2a9c71
      ok     outcomes: 340 of 340
      FAILED ledger: 340 of 340
    1 of 2 checks failed
    ");
}

#[test]
fn costs_are_a_table_a_plot_and_csv() {
    let step = |period: &str, nanos| PeriodCost { period: period.to_owned(), spent: UsdNanos(nanos) };
    let row = |group: &str, spent, share, trend: [i64; 3]| CostRow {
        group: group.to_owned(),
        items: 170,
        spent: UsdNanos(spent),
        share: Some(share),
        saved: UsdNanos(1_000_000_000),
        saved_by: [
            ("batch".to_owned(), UsdNanos(1_100_000_000)),
            ("cascade".to_owned(), UsdNanos(-100_000_000)),
        ]
        .into(),
        trend: ["2026-11-28", "2026-11-29", "2026-11-30"]
            .into_iter()
            .zip(trend)
            .map(|(day, spent)| step(day, spent))
            .collect(),
        ..CostRow::default()
    };
    let rows = [
        row("triage", 3_000_000_000, 0.75, [0, 1_000_000_000, 2_000_000_000]),
        row("=b,c", 1_000_000_000, 0.25, [1_000_000_000, 0, 0]),
    ];
    let plain: Vec<CostRow> = rows.iter().map(|row| CostRow { trend: Vec::new(), ..row.clone() }).collect();
    insta::assert_snapshot!(cost::text("tag.feature", &plain, Shown::default()), @r"
    tag.feature  items  spent USD    share  in doubt USD  saved USD
    triage         170       3.00   75.0 %          0.00       1.00
    =b,c           170       1.00   25.0 %          0.00       1.00
    sum            340       4.00  100.0 %          0.00       2.00
    ");
    insta::assert_snapshot!(cost::text("tag.feature", &rows, Shown { plot: true, ..Shown::default() }), @r"
    tag.feature  items  spent USD    share  in doubt USD  saved USD  trend    change
    triage         170       3.00   75.0 %          0.00       1.00  ·▄█    +100.0 %  ██████████████████
    =b,c           170       1.00   25.0 %          0.00       1.00  █··              ██████
    sum            340       4.00  100.0 %          0.00       2.00  ▄▄█    +100.0 %
    trend: from 2026-11-28 to 2026-11-30 in 3 steps; change: of the last to the one before
    ");
    insta::assert_snapshot!(cost::text("tag.feature", &plain, Shown { levers: true, ..Shown::default() }), @r"
    tag.feature  batch  cascade  saved USD  of naive  spent USD
    triage        1.10    -0.10       1.00    25.0 %       3.00
    =b,c          1.10    -0.10       1.00    50.0 %       1.00
    sum           2.20    -0.20       2.00    33.3 %       4.00
    ");
    let paid_twice = CostRow { beside: UsdNanos(500_000_000), ..plain[0].clone() };
    insta::assert_snapshot!(cost::text("model", std::slice::from_ref(&paid_twice), Shown::default()), @r"
    model   items  spent USD   share  in doubt USD  saved USD  beside USD
    triage    170       3.00  75.0 %          0.00       1.00        0.50
    beside: of what was spent, paid twice or without an answer; one by one would have cost spent and saved, less beside
    ");
    let levers = cost::text("model", &[paid_twice], Shown { levers: true, ..Shown::default() });
    assert!(levers.contains("28.6 %"), "1.00 of 3.50: {levers}");
    insta::assert_snapshot!(cost::csv("tag.feature", &rows), @r#"
    tag.feature,items,spent_usd,share,in_doubt_usd,saved_usd,beside_usd,unpriced,saved_batch_usd,saved_cascade_usd,spent_usd_2026-11-28,spent_usd_2026-11-29,spent_usd_2026-11-30
    triage,170,3.00,0.750000,0.00,1.00,0.00,false,1.10,-0.10,0.00,1.00,2.00
    "'=b,c",170,1.00,0.250000,0.00,1.00,0.00,false,1.10,-0.10,1.00,0.00,0.00
    "#);
}

#[test]
fn what_comes_next_fits_what_has_happened() {
    let flex = end::text(&Report { no_capacity: 7, ..a_report() });
    assert!(flex.contains("7 refused for want of flex capacity") && !flex.contains("rate limits"), "{flex}");
    let invalid = Report { failures: [("invalid_input".to_owned(), 3)].into(), ..a_report() };
    let text = end::text(&invalid);
    assert!(text.contains("`bulkrate dead tickets`; mend those items") && !text.contains("retry"), "{text}");
    let named =
        end::text(&Report { handle: "my tickets".to_owned(), state_dir: "a b".to_owned(), ..a_report() });
    assert!(named.contains("`bulkrate dead 'my tickets' --state 'a b'`"), "{named}");
    let cancelled = |cancelled, failed| Report { ending: Ending::Cancelled, cancelled, failed, ..a_report() };
    let codes = [(3, 0), (0, 3), (0, 0)].map(|(gone, failed)| cancelled(gone, failed).exit_code());
    assert_eq!(codes, [5, 5, 0], "an order that came too late changed nothing");
}

#[test]
fn what_nobody_knows_is_no_zero() {
    let report = Report {
        spent: UsdNanos::ZERO,
        naive: UsdNanos::ZERO,
        saved: [].into(),
        unpriced: 40,
        unpriced_models: vec!["custom/llama".to_owned()],
        ..a_report()
    };
    let text = end::text(&report);
    assert!(
        text.contains(
            "spent an unknown sum (no price is known for 40 answers of `custom/llama`) for 14,902 input"
        ),
        "{text}"
    );
    assert!(!text.contains("0.00"), "{text}");
    assert!(json::report(&report)["spent_usd"].is_null());
    let part = end::text(&Report { spent: UsdNanos(75_000), ..report });
    assert!(part.contains("spent USD 0.000075 and more (no price"), "{part}");

    let job = JobStatus { unpriced: true, spent: UsdNanos::ZERO, ..a_job() };
    assert!(views::job(&job, 0).contains("money     spent unknown, reserved"), "{}", views::job(&job, 0));
    assert!(views::jobs(&[job], 0).contains("  unknown  "));
    let row = |unpriced, nanos| CostRow {
        group: "x".to_owned(),
        items: 1,
        spent: UsdNanos(nanos),
        unpriced,
        ..CostRow::default()
    };
    insta::assert_snapshot!(cost::text("model", &[row(true, 0), row(false, 75_000)], Shown::default()), @r"
    model  items           spent USD  share  in doubt USD  saved USD
    x          1             unknown                 0.00       0.00
    x          1            0.000075                 0.00       0.00
    sum        2  0.000075 + unknown                 0.00       0.00
    unknown: what a model without a known price has cost; `--price-in` and `--price-out` name one
    ");
}

#[test]
fn the_document_for_programs_names_every_figure() {
    let document = json::report(&a_report());
    insta::assert_snapshot!(format!("{document:#}"), @r#"
    {
      "above_bound": 0,
      "above_threshold": false,
      "batches": 1,
      "batches_open": 0,
      "beside_usd": {},
      "beside_usd_nanos": {},
      "cached": 0,
      "cancelled": 0,
      "capped_by": null,
      "duplicates": 42,
      "ending": "finished",
      "estimated_usage": 0,
      "excess_usd": 0.0,
      "excess_usd_nanos": 0,
      "exit_code": 5,
      "failed": 3,
      "failures": {
        "refusal": 2,
        "schema_failed": 1
      },
      "filtered": 0,
      "forecast": null,
      "halted_by": null,
      "hedged": 0,
      "hedges_lost": 0,
      "hedges_won": 0,
      "in_doubt_usd": 0.0,
      "in_doubt_usd_nanos": 0,
      "in_flight": 0,
      "in_flight_bound_usd": 0.0,
      "in_flight_bound_usd_nanos": 0,
      "input_tokens": 14902,
      "items": 340,
      "items_beyond_limit": 0,
      "job": "3f2a9c71",
      "judged": null,
      "naive_model": "openai/gpt-6-luna",
      "naive_usd": 0.0026,
      "naive_usd_nanos": 2600000,
      "name": "tickets",
      "no_capacity": 0,
      "open": 0,
      "output": "labels.csv",
      "output_tokens": 1788,
      "rate_limited": 0,
      "reason": null,
      "requests_sent": 304,
      "reserved_usd": 0.0,
      "reserved_usd_nanos": 0,
      "review": null,
      "saved_usd": {
        "batch": 0.001137,
        "dedup": 0.000326,
        "routing": 0.0
      },
      "saved_usd_nanos": {
        "batch": 1137000,
        "dedup": 326000,
        "routing": 0
      },
      "seconds": 72.4,
      "similar": 0,
      "spent_usd": 0.001137,
      "spent_usd_nanos": 1137000,
      "state_dir": ".bulkrate",
      "succeeded": 337,
      "unpriced": 0,
      "unpriced_models": []
    }
    "#);
}
