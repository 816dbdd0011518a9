//! Killed in the middle of each lane, started again: nothing lost, nothing paid twice, and the provider's bill agrees.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::jobs::{check_rows, nanos};
use super::support::{ASK, Place, Sim, reviews};

/// Starts a run and kills it (SIGKILL) as soon as `reached` holds of the job's status.
fn kill_when(place: &Place, args: &[&str], reached: impl Fn(&serde_json::Value) -> bool) {
    let mut child =
        place.command(args.iter().chain(&ASK)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !reached(&place.run("status --json", &[]).json()[0]) {
        assert!(started.elapsed() < Duration::from_secs(60), "not reached");
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn verify_with_bill(place: &Place, sim: &Sim) {
    place.put("bill.json", sim.bill());
    let proof = place.run("verify reviews --bill bill.json", &[]);
    assert_eq!(proof.code, 0, "{}{}", proof.stdout, proof.stderr);
}

#[test]
fn in_the_batch_lane_the_bill_is_exact() {
    let sim = Sim::start(&["--speed", "200"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(60));
    let args = ["run", "reviews.csv", "--yes", "--lane", "batch", "--poll-min", "200ms", "--out", "l.csv"];
    kill_when(&place, &args, |job| job["batches"][0]["batch"].is_string());
    let report = place
        .run("run reviews.csv --yes --lane batch --poll-min 200ms --out l.csv --json", &ASK)
        .expect(0)
        .json();
    assert_eq!((report["succeeded"].as_u64(), nanos(&report, "in_doubt")), (Some(60), 0), "{report}");
    check_rows(&place, "l.csv");
    let bill: serde_json::Value = serde_json::from_str(&sim.bill()).unwrap();
    assert_eq!(bill["total_usd_nanos"].as_i64(), Some(nanos(&report, "spent")), "{bill}");
    verify_with_bill(&place, &sim);
}

#[test]
fn in_the_sync_lane_the_bill_is_within_the_doubt() {
    let sim = Sim::start(&["--latency-ms", "150", "--rpm", "600"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(60));
    let args = [
        "run",
        "reviews.csv",
        "--yes",
        "--lane",
        "sync",
        "--rpm",
        "600",
        "--concurrency-max",
        "4",
        "--out",
        "l.csv",
    ];
    kill_when(&place, &args, |job| job["succeeded"].as_u64().is_some_and(|done| done >= 5));
    let report = place.run("resume reviews --concurrency-max 20 --json", &[]).expect(0).json();
    assert_eq!(report["succeeded"].as_u64(), Some(60), "{report}");
    check_rows(&place, "l.csv");
    let bill: serde_json::Value = serde_json::from_str(&sim.bill()).unwrap();
    let (total, spent, doubt) =
        (bill["total_usd_nanos"].as_i64().unwrap(), nanos(&report, "spent"), nanos(&report, "in_doubt"));
    assert!((spent..=spent + doubt).contains(&total), "{spent} <= {total} <= {spent} + {doubt}");
    verify_with_bill(&place, &sim);
}
