//! Runs that die while a stand-in has items: the next one pays nothing twice, and begins at what the items name.

use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::spec::{FallbackWhen, JobSpec, RuleSpec};
use bulkrate_engine::{Reader, Stop};
use bulkrate_sim::{Sim, SimConfig};
use bulkrate_store::{SqliteStore, Submission, View};

use crate::failover::{GROQ, LUNA, Several, XAI};
use crate::failover_back::{
    batches, dips, impatient_once, is_exact, leaves_at_the_second_failure, run, tens, with,
};

/// A run that is ended without a word to what is out, once the store shows this.
async fn dies(there: &Several, spec: &JobSpec, shown: impl Fn(&Submission) -> bool) -> Report {
    let (stop, engine) = (Stop::new(), impatient_once(there));
    let seen = || {
        let rows =
            SqliteStore::open_reader(&there.world.path("state")).and_then(|store| store.submissions(1));
        rows.is_ok_and(|rows| rows.iter().any(&shown))
    };
    let watch = async {
        while !seen() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // what is leased is sent
        stop.abort();
        std::future::pending::<()>().await;
    };
    let run = engine.run(spec, &|_| true, there.world.ear.clone(), stop.clone());
    let run = tokio::time::timeout(Duration::from_secs(60), run);
    let report = tokio::select! {
        report = run => report.expect("it ends").unwrap(),
        () = watch => unreachable!("it waits for the run"),
    };
    assert_eq!(report.ending, Ending::Aborted, "{report:?}");
    report
}

/// The bills of all, as files.
fn bills(there: &Several) -> Vec<std::path::PathBuf> {
    let write = |(at, sim): (usize, &Sim)| {
        let path = there.world.path(&format!("bill-{at}.json"));
        std::fs::write(&path, sim.bill_json()).unwrap();
        path
    };
    there.sims().enumerate().map(write).collect()
}

#[tokio::test]
async fn calls_that_were_out_at_a_stand_in_are_doubted_at_its_price_and_asked_once_more() {
    let quick = SimConfig { latency_ms: 20.0, latency_sigma: 0.0, ..SimConfig::default() };
    for (what, faults) in [
        ("out of credit", &["insufficient-quota:sync@11-99999"][..]),
        ("away, and back in the second run", &["html:sync=502@11-17", "reset-early:models@1-3"]),
    ] {
        let slow = SimConfig { slow_ms: 60_000, ..quick.clone() };
        let there =
            Several::new(with(quick.clone(), faults), &[("xai", with(slow, &["slow:sync@11-14"]))]).await;
        let mut spec = there.spec(Lane::Sync, 100, &[XAI]);
        (spec.run.concurrency_max, spec.run.max_in_doubt) = (4, Some(UsdNanos::dollars(2)));
        // Ten of its calls were answered; what it is asked now is not.
        let stands_in = |row: &Submission| row.provider == "xai" && there.bills()[1].0 >= 10;
        let left = dies(&there, &spec, stands_in).await;
        assert!(left.in_flight > 0 && left.reserved > UsdNanos::ZERO, "{what}: {left:?}");
        let report = run(&there, &spec).await;
        assert_eq!(
            (report.ending, report.succeeded, report.failed),
            (Ending::Finished, 100, 0),
            "{what}: {report:?}"
        );
        // A call of the first model costs a twentieth: the doubt is what the stand-in may have cost.
        let each = left.reserved.0 / i64::try_from(left.in_flight).unwrap();
        assert!(report.in_doubt >= left.reserved && each > 100_000, "{what}: {each} {report:?}");
        let paid: i64 = there.bills().iter().map(|bill| bill.1).sum();
        let known = report.spent.0..=report.spent.0 + report.in_doubt.0;
        assert!(known.contains(&paid), "{what}: {paid} of {report:?}");
        is_exact(&there, &report);
        let proof =
            Reader::open(&there.world.path("state")).unwrap().verify(&report.job, &bills(&there)).unwrap();
        assert!(proof.passed(), "{what}: {proof:?}");
        assert_eq!(there.world.rows().len(), 100);
    }
}

#[tokio::test]
async fn a_batch_that_was_sent_to_a_stand_in_is_collected_there_by_the_next_run() {
    for state in ["sending", "accepted"] {
        let first = with(batches(20.0), &["5xx:create=503@1-99999"]);
        let other = SimConfig { latency_ms: 100.0, ..batches(1_000.0) };
        let there = Several::new(first, &[("groq", other)]).await;
        let mut spec = tens(&there, 40, &[GROQ]);
        leaves_at_the_second_failure(&mut spec);
        let sent = |row: &Submission| row.provider == "groq" && row.state.name() == state;
        let left = dies(&there, &spec, sent).await;
        assert!(left.open > 0, "{state}: {left:?}");
        let report = run(&there, &spec).await;
        there.whole(&report, 40);
        is_exact(&there, &report);
        let paid = there.bills();
        assert_eq!(
            (paid[0].0, paid[1].0),
            (0, 36),
            "{state}: each item once, and all at the stand-in: {paid:?}"
        );
    }
}

/// Finding 14: it was packed for who stood in then, and nothing was sent.
#[tokio::test]
async fn a_batch_that_waits_to_be_sent_to_a_stand_in_goes_to_the_first_in_the_next_run() {
    let first = with(batches(20.0), &["5xx:create=503@1-2"]);
    let other = with(batches(20.0), &["5xx:upload=503@1-2"]);
    let there = Several::new(first, &[("groq", other)]).await;
    let mut spec = tens(&there, 40, &[GROQ]);
    leaves_at_the_second_failure(&mut spec);
    let staging = |row: &Submission| row.provider == "groq" && row.state.name() == "staging";
    dies(&there, &spec, staging).await;
    let report = run(&there, &spec).await;
    there.whole(&report, 40);
    is_exact(&there, &report);
    let paid = there.bills();
    assert_eq!((paid[0].0, paid[1].0), (36, 0), "all at the one that they name: {paid:?}");
}

/// Finding 15: of two models that items name only the one whose items wait is full.
#[tokio::test]
async fn a_deployment_that_nothing_waits_for_is_not_full() {
    const MISTRAL: &str = "mistral/mistral-small-2603";
    for (when, full) in [("'product 1,' in text", false), ("'terrible' in text", true)] {
        let others = [("groq", batches(20.0)), ("mistral", batches(20.0))];
        let there = Several::new(batches(1_500.0), &others).await;
        let mut spec = tens(&there, 60, &[MISTRAL]);
        spec.request.model = Some(GROQ.into());
        spec.request.rules = vec![RuleSpec { when: when.into(), model: LUNA.into() }];
        // A batch of one item leaves no room for another.
        (spec.run.batches_max, spec.run.enqueued_tokens_max) = (50, Some(1));
        spec.run.fallback_when = FallbackWhen::Capacity;
        let report = run(&there, &spec).await;
        there.whole(&report, 60);
        is_exact(&there, &report);
        let told = there.told("note the limits of `openai/gpt-6-luna` leave no room");
        assert_eq!(told.len(), usize::from(full), "{when}: {:?}", there.told("note"));
    }
}

/// Finding 10: items that a batch did not bring, and that wait to be called for while no batch is taken.
#[tokio::test]
async fn what_waits_to_be_called_for_instead_of_a_second_batch_goes_back_to_batches() {
    // Half of the first batch expires; then no file is taken for a while.
    let first = with(batches(20.0), &["expire@1", "5xx:upload=503@2-4", "reset-early:models@1"]);
    let first = SimConfig { latency_ms: 800.0, latency_sigma: 0.0, ..first };
    let there = Several::new(first, &[]).await;
    let mut spec = there.spec(Lane::Batch, 80, &["openai/gpt-6-luna@sync"]);
    (spec.run.batch_items_max, spec.run.batches_max, spec.run.concurrency_max) = (60, 1, 2);
    leaves_at_the_second_failure(&mut spec);
    let report = run(&there, &spec).await;
    there.whole(&report, 80);
    is_exact(&there, &report);
    let rows = there.world.rows();
    let again = |lane: &str| rows.iter().filter(|row| row["_attempts"] == 2 && row["_lane"] == lane).count();
    assert!(again("sync") > 0, "some are called for: {:?}", there.told(""));
    assert!(again("batch") > 0, "the others wait for the next batch: {:?}", there.told(""));
}

/// What the user allows at once is no limit of the provider's.
#[tokio::test]
async fn a_full_concurrency_of_the_users_own_is_no_want_of_capacity() {
    let slow = SimConfig { latency_ms: 100.0, latency_sigma: 0.0, ..SimConfig::default() };
    let there = Several::new(slow.clone(), &[("groq", slow)]).await;
    let mut spec = there.spec(Lane::Sync, 40, &[GROQ]);
    (spec.run.fallback_when, spec.run.concurrency_max) = (FallbackWhen::Capacity, 2);
    let report = run(&there, &spec).await;
    there.whole(&report, 40);
    assert_eq!(there.bills()[1].0, 0, "all wait for the first: {:?}", there.told("note"));
}

/// A sync job's own model in another lane: what it answers in its own lane is nobody's stand-in.
#[tokio::test]
async fn nobody_stands_in_for_itself_in_its_own_lane() {
    let there = Several::new(dips(11, 7), &[]).await;
    let mut spec = there.spec(Lane::Sync, 200, &["openai/gpt-6-luna@flex"]);
    (spec.run.concurrency_max, spec.run.max_in_doubt) = (4, Some(UsdNanos::dollars(1)));
    let report = run(&there, &spec).await;
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 200), "{report:?}");
    let reader = Reader::open(&there.world.path("state")).unwrap();
    for row in (0..200).filter(|row| row % 10 != 9) {
        let shown = reader.show(&report.job, &format!("r{row}")).unwrap();
        let last = shown["attempts"].as_array().unwrap().last().cloned().unwrap();
        assert_eq!(last["lane"] == "sync", last["result"]["instead"].is_null(), "{last}");
    }
}
