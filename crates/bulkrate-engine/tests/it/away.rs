//! Calls that are lost one after the other: each may have been paid, so few are.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::Ending;
use bulkrate_engine::spec::JobSpec;
use bulkrate_sim::SimConfig;

use crate::world::{World, fast};

const PAID: &str = "POST /v1/chat/completions";

async fn world(faults: &[&str], latency_ms: f64) -> World {
    let mut config = SimConfig { latency_ms, latency_sigma: 0.0, ..fast() };
    for fault in faults {
        config = config.with_fault(fault).unwrap();
    }
    World::new(config).await
}

/// What is in flight when an outage begins may all be doubt: a small job's cap would end it there.
fn roomy(spec: &mut JobSpec) {
    (spec.run.budget, spec.run.max_in_doubt) = (Some(UsdNanos::dollars(1)), Some(UsdNanos::dollars(1)));
}

#[tokio::test]
async fn a_server_that_answers_no_call_costs_three_and_no_item() {
    for (fault, lane) in [
        ("reset-early:sync", Lane::Sync),
        ("html:sync=502", Lane::Flex),
        ("5xx:sync=502", Lane::Sync),
        ("reset:sync", Lane::Batch),
    ] {
        let world = world(&[fault], 0.0).await;
        let report = world.run(&world.spec(&world.reviews(40), lane)).await.unwrap();
        assert_eq!((report.ending, report.exit_code()), (Ending::Halted, 1), "{fault} {lane}: {report:?}");
        assert_eq!((report.requests_sent, report.failed), (3, 0), "{fault} {lane}: {report:?}");
        let why = report.reason.as_deref().unwrap();
        assert!(why.contains("none of the first 3 calls was answered"), "{fault} {lane}: {why}");
        assert!(report.in_doubt > UsdNanos::ZERO && report.in_doubt < UsdNanos::dollars(1), "{report:?}");
        assert_eq!(
            world.sim.calls_to("POST /v1/batches"),
            0,
            "nothing is staged behind a canary that was lost: {lane}"
        );
    }
}

#[tokio::test]
async fn an_outage_in_the_middle_is_waited_for_with_free_calls() {
    for fault in ["reset-early:sync@8-400", "html:sync=502@8-400", "5xx:sync=500@8-400"] {
        // The free looks are refused three times each, of which one probe is made.
        let world = world(&[fault, "5xx:models=502@1-12"], 40.0).await;
        let mut spec = world.spec(&world.reviews(60), Lane::Sync);
        roomy(&mut spec);
        let run = world.run(&spec);
        let watch = async {
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                if world.ear.heard.lock().unwrap().iter().any(|line| line.contains("provider-away")) {
                    break;
                }
            }
            // What was in flight comes back lost; from then on nothing paid leaves.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            let lost = world.sim.calls_to(PAID);
            tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
            (lost, world.sim.calls_to(PAID))
        };
        tokio::select! {
            report = run => panic!("{fault}: an outage of 400 calls is not over: {report:?}"),
            (before, after) = watch => assert_eq!(before, after, "{fault}"),
        }
        // Nothing is under way meanwhile, and nobody is told how long it will take.
        let waits = "away [\"openai/gpt-6-luna\"]: 0 in flight, left None";
        assert!(world.ear.heard(waits), "{fault}: {:?}", world.ear.heard.lock().unwrap());
    }
}

#[tokio::test]
async fn after_an_outage_every_item_is_answered() {
    let world = world(&["html:sync=502@6-12"], 40.0).await;
    let mut spec = world.spec(&world.reviews(60), Lane::Sync);
    roomy(&mut spec);
    let report = world.run(&spec).await.unwrap();
    assert_eq!((report.ending, report.failed), (Ending::Finished, 0), "{report:?}");
    let heard = world.ear.heard.lock().unwrap().clone();
    let told = |part: &str| heard.iter().filter(|line| line.contains(part)).count();
    assert_eq!((told("alert provider-away"), told("answers again")), (1, 1), "{heard:?}");
}
