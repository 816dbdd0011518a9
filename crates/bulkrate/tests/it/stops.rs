//! What stops a job in its middle, and how it goes on: an interrupt in the sync lane, a cancel that is regretted, the cap of a day.

use serde_json::Value;

use super::jobs::{check_rows, nanos, whole};
use super::support::{ASK, Place, Sim, reviews};

const ROWS: usize = 60;

#[cfg(unix)]
#[test]
fn an_interrupt_lets_the_calls_in_flight_end() {
    let sim = Sim::start(&["--latency-ms", "400", "--latency-sigma", "0"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(ROWS));
    let args = "run reviews.csv --yes --lane sync --concurrency-max 5 --out l.csv --json";
    let mut command = place.command(args.split(' ').chain(ASK));
    let pipe = std::process::Stdio::piped;
    let mut child = command.stdout(pipe()).stderr(pipe()).spawn().unwrap();
    place.wait_for(&mut child, |job| job["succeeded"].as_u64() > Some(4));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((nanos(&report, "in_doubt"), nanos(&report, "reserved")), (0, 0), "{report}");
    assert!(report["succeeded"].as_u64() < Some(60), "{report}");
    assert_eq!(nanos(&report, "spent"), nanos(&sim.bill(), "total"), "none was cut off: {report}");
    place.run("resume reviews --json", &[]).expect(0);
    check_rows(&place, "l.csv");
    place.proved("reviews", &sim);
}

#[cfg(unix)]
#[test]
fn the_first_interrupt_is_heard_while_the_source_is_read() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    let args = "run - --name piped --yes --lane sync --out l.csv";
    let mut command = place.command(args.split(' ').chain(ASK));
    let pipe = std::process::Stdio::piped;
    let mut child = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
    // Its beginning is there, and its end never comes.
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, reviews(10).as_bytes()).unwrap();
    super::support::waited("the source is read", || {
        std::fs::metadata(place.path(".bulkrate/stdin.spool")).is_ok_and(|file| file.len() > 0)
    });
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("error[stopped]: stopped before anything was sent"), "{said}");
    assert_eq!(place.run("status --json", &[]).expect(0).json().as_array().map(Vec::len), Some(0));
    assert_eq!(nanos(&sim.bill(), "total"), 0);
    drop(input);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_output_disk_lets_the_calls_in_flight_land() {
    let sim = Sim::start(&["--latency-ms", "400"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(ROWS));
    let line =
        "run reviews.csv --yes --lane sync --concurrency-max 8 --stream --out /dev/full --out-format jsonl";
    place.run(line, &ASK).error(1, "sink-disk-full", &["/dev/full", "no answer is lost"]);
    let status = place.run("status reviews --json", &[]).expect(0).json()[0].clone();
    let left = ["in_flight"].map(|key| status[key].as_u64().unwrap());
    assert_eq!((left, nanos(&status, "reserved"), nanos(&status, "in_doubt")), ([0], 0, 0), "{status}");
    assert!((1..50).contains(&status["succeeded"].as_u64().unwrap()), "{status}");
    assert_eq!(nanos(&status, "spent"), nanos(&sim.bill(), "total"), "all that was sent has landed");
    let said = place.run("resume reviews --out l.jsonl --json", &[]).expect(0).json();
    assert_eq!((said["succeeded"].as_u64(), nanos(&said, "in_doubt")), (Some(ROWS as u64), 0), "{said}");
    assert_eq!(place.read("l.jsonl").lines().count(), ROWS);
    place.proved("reviews", &sim);
}

#[test]
fn a_job_that_was_cancelled_may_be_tried_again() {
    let sim = Sim::start(&["--speed", "60", "--run-secs", "3600"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(ROWS));
    let args = "run reviews.csv --yes --no-canary --lane batch --poll-min 100ms --out out.csv";
    place.kill_when(args.split(' ').chain(ASK), |job| job["batches"][0]["batch"].is_string());
    place.run("cancel reviews", &[]).expect(0);
    let cancelled = place.run("resume reviews --json", &[]);
    assert!(matches!(cancelled.code, 0 | 5), "{cancelled:?}");
    let cancelled = cancelled.json();
    assert!(cancelled["cancelled"].as_u64() > Some(0), "{cancelled}");
    let status = place.run("status reviews --json", &[]).expect(0).json().as_array().unwrap()[0].clone();
    for key in ["items", "succeeded", "failed", "cancelled", "open", "duplicates"] {
        assert_eq!(status[key], cancelled[key], "{key}: {status} {cancelled}");
    }
    let count = |key: &str| cancelled[key].as_u64().unwrap();
    let parts = ["succeeded", "failed", "cancelled", "open"].map(count);
    assert_eq!((parts.iter().sum::<u64>(), parts[1]), (ROWS as u64, 0), "each item once: {cancelled}");
    let again = place.run("retry reviews --lane sync --json", &[]);
    let (report, _) = whole(&place, &sim, again, ROWS);
    assert!(nanos(&report, "spent") >= nanos(&cancelled, "spent"), "{report}");
    place.proved("reviews", &sim);
}

#[test]
fn the_cap_of_a_day_holds_over_jobs_and_over_deleted_ones() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(ROWS));
    let run = |name: &str, cap: &str| {
        let line = format!(
            "run reviews.csv --yes --lane sync --cache off --name {name} --budget-daily {cap} --out {name}.csv --json"
        );
        place.run(&line, &ASK)
    };
    let first = nanos(&run("a", "1").expect(0).json(), "spent");
    place.run("rm a --yes", &[]).expect(0);
    // Half as much again as one job costs: the second one does not fit.
    let cap = format!("0.{:09}", first * 3 / 2);
    let second = run("b", &cap).expect(3).json();
    assert_eq!(second["ending"], "budget_exhausted", "{second}");
    let bill = nanos(&sim.bill(), "total");
    assert_eq!(bill, first + nanos(&second, "spent"), "{second}");
    assert!(bill <= first * 3 / 2, "{bill} of {cap}");
}
