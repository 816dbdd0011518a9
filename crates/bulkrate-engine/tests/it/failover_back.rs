//! Items that go back: batches to whoever takes batches again, and among those that stand in to the cheaper one.

use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::spec::{FallbackWhen, JobSpec, RequestSpec};
use bulkrate_engine::{Engine, Reader, Stop};
use bulkrate_provider::RetryPolicy;
use bulkrate_sim::SimConfig;
use serde_json::Value;

use crate::failover::{GROQ, LUNA, Several, XAI, impatient_with};

/// Batches that take so many milliseconds.
pub fn batches(run_ms: f64) -> SimConfig {
    let speed = 1_000.0;
    SimConfig { speed, validating_secs: 0.0, finalizing_secs: 0.0, run_secs: run_ms, ..SimConfig::default() }
}

pub fn with(config: SimConfig, faults: &[&str]) -> SimConfig {
    faults.iter().fold(config, |config, fault| config.with_fault(fault).unwrap())
}

/// Two uploads fail, and it is left; then the first look at it, and the first batch that tries it again.
const NO_UPLOADS: [&str; 2] = ["5xx:upload=503@1-3", "reset-early:models@1"];

/// From one failure to the next passes more than the patience of `impatient_with`: the second one is an outage, however fast the machine.
pub fn leaves_at_the_second_failure(spec: &mut JobSpec) {
    (spec.run.poll_min_ms, spec.run.poll_max_ms) = (300, 300);
}

/// Batches of ten, one after the other.
pub fn tens(there: &Several, rows: usize, fallback: &[&str]) -> JobSpec {
    let mut spec = there.spec(Lane::Batch, rows, fallback);
    (spec.run.batch_items_max, spec.run.batches_max) = (10, 1);
    spec
}

/// Free calls are tried once, so that the engine sees each failure.
pub fn impatient_once(there: &Several) -> Engine {
    let retry = RetryPolicy { tries: 1, wait_max: Duration::from_millis(10), ..RetryPolicy::default() };
    impatient_with(there, &retry)
}

pub async fn run(there: &Several, spec: &JobSpec) -> Report {
    let engine = impatient_once(there);
    let run = engine.run(spec, &|_| true, there.world.ear.clone(), Stop::new());
    tokio::time::timeout(Duration::from_secs(60), run).await.expect("nothing waits for ever").unwrap()
}

/// Items by who answered them, and the reason where that was another than the one asked for.
fn by_whom(there: &Several, report: &Report, rows: usize) -> Vec<(String, Option<String>)> {
    let reader = Reader::open(&there.world.path("state")).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let of = |row| {
        let shown = reader.show(&report.job, &format!("r{row}")).unwrap();
        let last = shown["attempts"].as_array().unwrap().last().cloned()?;
        let result = &last["result"];
        let instead = &result["instead"];
        if !instead.is_null() {
            assert_eq!(text(&instead["of"]).as_deref(), Some(LUNA), "{instead}");
            assert!(text(&instead["asked"]).unwrap().starts_with(result["provider"].as_str().unwrap()));
        }
        Some((text(&result["provider"])?, text(&instead["why"])))
    };
    (0..rows).filter(|row| row % 10 != 9).filter_map(of).collect()
}

/// The ledger is the sum of the bills, to the nano-dollar, and `verify` finds nothing.
pub fn is_exact(there: &Several, report: &Report) {
    let reader = Reader::open(&there.world.path("state")).unwrap();
    let proofs = reader.verify(&report.job, &[]).unwrap();
    let failing: Vec<_> = proofs.checks.into_iter().filter(|check| !check.passed).collect();
    assert!(failing.is_empty(), "{failing:?}");
    let saved: i64 = report.saved.values().map(|saved| saved.0).sum();
    assert_eq!(report.naive.0 - saved, report.spent.0, "{report:?}");
}

#[tokio::test]
async fn batches_go_to_the_next_while_nothing_gets_through_and_back_when_one_is_taken() {
    for (what, faults) in [
        ("uploads", &NO_UPLOADS[..]),
        ("creates", &["5xx:create=503@1-2"]),
        ("a limit that the one that tries meets", &["5xx:create=503@1-2", "429:create@1"]),
    ] {
        // The first is looked at while a batch of the other runs, and tried after it: of its nine it has three at most.
        let there = Several::new(with(batches(100.0), faults), &[("groq", batches(2_500.0))]).await;
        let mut spec = tens(&there, 100, &[GROQ]);
        leaves_at_the_second_failure(&mut spec);
        let report = run(&there, &spec).await;
        there.whole(&report, 100);
        is_exact(&there, &report);
        let bills = there.bills();
        assert!(bills[0].0 >= 10 && bills[1].0 >= 10, "{what}: both have answered: {bills:?}");
        let by = by_whom(&there, &report, 100);
        let away = by.iter().filter(|(_, why)| why.as_deref() == Some("away")).count();
        let other = by.iter().filter(|(who, _)| who == "groq").count();
        assert_eq!((away, other as u64), (other, bills[1].0), "{what}: who stood in is said: {by:?}");
        let (alerts, notes) = (there.told("alert failover"), there.told("note `openai"));
        assert!(!alerts.is_empty() && alerts[0].contains("stands in until it is back"), "{what}: {alerts:?}");
        assert!(notes.last().unwrap().contains("takes its items back"), "{what}: {notes:?}");
    }
}

#[tokio::test]
async fn what_was_sent_stays_with_its_account_and_the_rest_goes_on_elsewhere() {
    // The first batch is taken; then nobody can be asked of it for a while.
    let faults = ["5xx:poll=503@1-40", "5xx:models=503@1-4", "5xx:list=503@1-40"];
    let there = Several::new(with(batches(50.0), &faults), &[("groq", batches(30.0))]).await;
    let mut spec = tens(&there, 60, &[GROQ]);
    spec.run.batches_max = 2;
    let report = run(&there, &spec).await;
    there.whole(&report, 60);
    is_exact(&there, &report);
    let bills = there.bills();
    assert!(bills[0].0 >= 9 && bills[1].0 >= 9, "{bills:?}");
    let by = by_whom(&there, &report, 60);
    assert_eq!(by[0], ("openai".to_owned(), None), "its answer was fetched when that was possible again");
}

/// A batch that is at work there answers each look all the while.
#[tokio::test]
async fn uploads_that_fail_are_an_outage_though_older_batches_answer() {
    let first = with(batches(60_000.0), &["5xx:upload=503@2-99999"]);
    let there = Several::new(first, &[("groq", batches(50.0))]).await;
    let mut spec = tens(&there, 60, &[GROQ]);
    spec.run.batches_max = 2;
    let others_are_done = async {
        while there.bills()[1].0 < 44 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        report = run(&there, &spec) => panic!("its first batch is at work: {report:?}"),
        () = others_are_done => {}
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("{:?} {:?}", there.bills(), there.told("")),
    }
    assert_eq!(there.told("alert failover").len(), 1, "{:?}", there.told("alert"));
    assert_eq!(there.told("note `openai"), Vec::<String>::new(), "nothing says that it is back");
}

#[tokio::test]
async fn where_nobody_takes_batches_they_wait_and_nothing_fails() {
    let first = with(batches(20.0), &["5xx:upload=503@1-14", "5xx:models=503@1-2"]);
    let other = with(batches(20.0), &["5xx:upload=503", "5xx:models=503"]);
    let there = Several::new(first, &[("groq", other)]).await;
    let report = run(&there, &tens(&there, 40, &[GROQ])).await;
    there.whole(&report, 40);
    assert_eq!(there.bills()[1].0, 0);
    assert_eq!(
        there.told("alert failover").len(),
        1,
        "to the other, which takes nothing: {:?}",
        there.told("alert")
    );
    assert!(there.told("note `openai").iter().any(|note| note.contains("takes its items back")));
}

/// Calls that are answered, then lost for a while.
pub fn dips(from: usize, lost: usize) -> SimConfig {
    let config = SimConfig { latency_ms: 20.0, latency_sigma: 0.0, ..SimConfig::default() };
    let until = from + lost - 1;
    with(config, &[&format!("html:sync=502@{from}-{until}"), "reset-early:models@1-2"])
}

#[tokio::test]
async fn of_two_that_stand_in_the_cheaper_has_the_items_when_it_is_back() {
    // Who is to be left again takes a second for what the other does in 20 ms: it has few items, however long a look takes.
    let slow = |latency_ms| SimConfig { latency_ms, latency_sigma: 0.0, ..SimConfig::default() };
    let gone = || SimConfig::default().with_fault("revoked:sync").unwrap();
    for (first, then, others) in [
        (GROQ, XAI, [("groq", dips(11, 7)), ("xai", slow(1_000.0))]),
        (XAI, GROQ, [("groq", slow(40.0)), ("xai", dips(11, 7))]),
    ] {
        let there = Several::new(gone(), &others).await;
        let mut spec = there.spec(Lane::Sync, 300, &[first, then]);
        (spec.run.concurrency_max, spec.run.max_in_doubt) = (4, Some(UsdNanos::dollars(1)));
        let report = run(&there, &spec).await;
        assert_eq!((report.ending, report.succeeded), (Ending::Finished, 300), "{report:?}");
        is_exact(&there, &report);
        let bills = there.bills();
        let (groq, xai) = (bills[1].0, bills[2].0);
        assert!(groq > 150 && xai > 0, "the cheaper one has most, whoever was asked first: {bills:?}");
        let back = there.told(&format!("note `{first}` answers again"));
        let says = if first == GROQ { "takes its items back" } else { "stay where they cost less" };
        assert!(first == XAI && back.is_empty() || back[0].contains(says), "{back:?}");
        if first == XAI {
            assert!(xai < 30, "it was left, and is not gone back to: {bills:?}");
        }
        let by = by_whom(&there, &report, 300);
        assert!(
            by.iter().all(|(_, why)| why.as_deref() == Some("auth")),
            "all in the place of the first: {by:?}"
        );
    }
}

/// A limit of so many calls a minute, told in headers.
fn limited(rpm: u64) -> SimConfig {
    SimConfig { rpm: Some(rpm), latency_ms: 5.0, latency_sigma: 0.0, ..SimConfig::default() }
}

#[tokio::test]
async fn what_limits_leave_no_room_for_goes_on_where_the_user_says_so() {
    for (when, spills) in [(FallbackWhen::Outage, false), (FallbackWhen::Capacity, true)] {
        let other = SimConfig { latency_ms: 5.0, latency_sigma: 0.0, ..SimConfig::default() };
        let there = Several::new(limited(1_200), &[("groq", other)]).await;
        let mut spec = there.spec(Lane::Sync, 100, &[GROQ]);
        (spec.run.fallback_when, spec.run.rpm) = (when, None);
        let report = run(&there, &spec).await;
        there.whole(&report, 100);
        is_exact(&there, &report);
        let bills = there.bills();
        assert_eq!(bills[1].0 > 0, spills, "{when:?}: {bills:?}");
        assert!(bills[0].0 >= 2, "what fits stays: {when:?}: {bills:?}");
        assert!(there.told("alert failover").is_empty(), "{:?}", there.told("alert"));
        let notes = there.told("note the limits of `openai/gpt-6-luna` leave no room");
        assert_eq!(notes.len(), usize::from(spills), "told once: {notes:?}");
        let by = by_whom(&there, &report, 100);
        let moved = by.iter().filter(|(_, why)| why.as_deref() == Some("capacity")).count();
        assert_eq!(moved as u64, bills[1].0, "{by:?}");
    }
}

#[tokio::test]
async fn a_full_queue_of_batches_lets_the_next_have_what_waits() {
    for (when, spills) in [(FallbackWhen::Outage, false), (FallbackWhen::Capacity, true)] {
        let there = Several::new(batches(900.0), &[("groq", batches(50.0))]).await;
        let mut spec = tens(&there, 40, &[GROQ]);
        (spec.run.batches_max, spec.run.enqueued_tokens_max) = (50, Some(600));
        spec.run.fallback_when = when;
        let report = run(&there, &spec).await;
        there.whole(&report, 40);
        is_exact(&there, &report);
        let bills = there.bills();
        assert_eq!(bills[1].0 > 0, spills, "{when:?}: {bills:?}");
        assert!(bills[0].0 >= 5, "{when:?}: {bills:?}");
    }
}

#[tokio::test]
async fn batches_that_are_not_taken_are_called_for_where_the_list_says_so() {
    // The same model in another lane, and another model.
    for (fallback, called_at) in
        [(&["openai/gpt-6-luna@sync"][..], 0), (&["groq/openai/gpt-oss-20b@sync"], 1)]
    {
        // To call for all of them would take far longer than the outage.
        let first = SimConfig { latency_ms: 800.0, latency_sigma: 0.0, ..with(batches(20.0), &NO_UPLOADS) };
        let other = SimConfig { latency_ms: 800.0, latency_sigma: 0.0, ..batches(20.0) };
        let there = Several::new(first, &[("groq", other)]).await;
        let mut spec = tens(&there, 100, fallback);
        spec.run.concurrency_max = 2;
        leaves_at_the_second_failure(&mut spec);
        let worst = |plan: &bulkrate_engine::plan::Plan| {
            plan.lanes.iter().find(|one| one.lane == plan.lane).unwrap().worst
        };
        let alone =
            JobSpec { request: RequestSpec { fallback: Vec::new(), ..spec.request.clone() }, ..spec.clone() };
        let (with, without) = (worst(&there.plan(&spec).await), worst(&there.plan(&alone).await));
        assert!(called_at == 1 || with > without, "calls cost more: {with} {without}");
        let report = run(&there, &spec).await;
        there.whole(&report, 100);
        is_exact(&there, &report);
        let lanes = |lane: &str| there.world.rows().iter().filter(|row| row["_lane"] == lane).count();
        assert!(lanes("sync") > 0 && lanes("batch") > 0, "{fallback:?}: {:?}", there.told(""));
        let by = by_whom(&there, &report, 100);
        let away = by.iter().filter(|(_, why)| why.as_deref() == Some("away")).count();
        assert!(away > 0 && away < 90, "until batches are taken again: {by:?}");
        assert_eq!(there.bills()[1].0 > 0, called_at == 1);
    }
}

#[tokio::test]
async fn a_lane_that_a_stand_in_does_not_have_is_refused_or_passed_over() {
    let there = Several::new(batches(20.0), &[("xai", SimConfig::default())]).await;
    let engine = impatient_with(&there, &RetryPolicy::default());
    let spec = there.spec(Lane::Batch, 20, &["xai/grok-4.5@flex"]);
    let error = engine.plan(&spec, &*there.world.ear).await.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("lane-unavailable", 2));
    assert!(error.to_string().contains("xai/grok-4.5@flex"), "{error}");

    let spec = there.spec(Lane::Sync, 20, &["openai/gpt-6-luna@batch"]);
    let plan = engine.plan(&spec, &*there.world.ear).await.unwrap();
    let told =
        "`openai/gpt-6-luna` cannot stand in within the batch lane: a job of the sync lane does not wait";
    assert!(plan.warnings.iter().any(|warning| warning.contains(told)), "{plan:?}");
}
