//! Killed in the middle of each lane, started again: nothing lost, nothing paid twice, and the provider's bill agrees.

use super::jobs::{check_rows, nanos};
use super::support::{ASK, Place, Sim, reviews};

#[test]
fn in_the_batch_lane_the_bill_is_exact() {
    let sim = Sim::start(&["--speed", "200"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(60));
    let args = ["run", "reviews.csv", "--yes", "--lane", "batch", "--poll-min", "200ms", "--out", "l.csv"];
    place.kill_when(args.iter().chain(&ASK), |job| job["batches"][0]["batch"].is_string());
    let report = place
        .run("run reviews.csv --yes --lane batch --poll-min 200ms --out l.csv --json", &ASK)
        .expect(0)
        .json();
    assert_eq!((report["succeeded"].as_u64(), nanos(&report, "in_doubt")), (Some(60), 0), "{report}");
    check_rows(&place, "l.csv");
    assert_eq!(place.proved("reviews", &sim), nanos(&report, "spent"), "{report}");
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
    place.kill_when(args.iter().chain(&ASK), |job| job["succeeded"].as_u64().is_some_and(|done| done >= 5));
    let report = place.run("resume reviews --concurrency-max 20 --json", &[]).expect(0).json();
    assert_eq!(report["succeeded"].as_u64(), Some(60), "{report}");
    check_rows(&place, "l.csv");
    let (total, spent, doubt) =
        (place.proved("reviews", &sim), nanos(&report, "spent"), nanos(&report, "in_doubt"));
    assert!((spent..=spent + doubt).contains(&total), "{spent} <= {total} <= {spent} + {doubt}");
}
