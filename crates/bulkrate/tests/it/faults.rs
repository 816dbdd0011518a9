//! Faults of the simulator in the batch lane, end to end: what fails at the provider neither stops a job for ever nor is
//! paid again where reading again is free.

use super::jobs::nanos;
use super::support::{ASK, Place, Said, Sim, reviews};

/// Forty rows over the batch lane of a simulator with these faults.
fn batch_job(faults: &[&str], more: &str) -> (Said, i64) {
    let flags: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
    let sim = Sim::start(&flags);
    let place = Place::with(&sim);
    place.put("data.csv", reviews(40)).put("bulkrate.toml", "[run]\nt_lag = \"400ms\"\nt_q = \"2s\"\n");
    let line = format!("run data.csv --yes --lane batch --poll-min 50ms --out out.csv --json {more}");
    let said = place.run(&line, &ASK);
    let bill = place.proved("data", &sim);
    (said, bill)
}

#[test]
fn a_canary_that_fails_is_tried_again_and_the_batches_follow() {
    for fault in
        ["refusal:sync=1@1", "empty=0.3", "overloaded:sync=1@1", "malformed:sync=1@1", "reset:sync=1@1"]
    {
        let (said, _) = batch_job(&[fault], "");
        assert!([0, 1, 5].contains(&said.code), "{fault}: {said:?}");
        let report = said.json();
        assert_eq!(
            (report["ending"].as_str(), report["open"].as_u64()),
            (Some("finished"), Some(0)),
            "{fault}"
        );
    }
}

#[test]
fn a_request_that_is_refused_costs_three_calls_and_no_batch() {
    let (said, bill) = batch_job(&[], "--provider-kwargs {\"temperature\":9}");
    let report = said.expect(1).json();
    assert_eq!(
        (report["ending"].as_str(), report["halted_by"].as_str(), report["requests_sent"].as_u64(), bill),
        (Some("halted"), Some("refused_by_provider"), Some(3), 0),
        "{report}"
    );
}

#[test]
fn results_that_are_missing_or_damaged_are_read_again_and_not_paid_again() {
    for fault in
        ["malformed:content=1@1", "html:content=1@1", "file-gone=1@1", "cut-tail=1@1", "batch-gone=1@1"]
    {
        let (said, bill) = batch_job(&[fault], "--no-canary");
        let report = said.expect(0).json();
        assert_eq!(report["succeeded"], 40, "{fault}: {report}");
        assert_eq!((nanos(&report, "spent"), nanos(&report, "in_doubt")), (bill, 0), "{fault}: {report}");
    }
}

#[test]
fn an_order_to_cancel_outlives_the_process_that_took_it() {
    let sim = Sim::start(&["--speed", "1"]);
    let place = Place::with(&sim);
    place.put("data.csv", reviews(40));
    let run = "run data.csv --yes --lane batch --no-canary --poll-min 50ms --out out.csv";
    let mut child = place
        .command(run.split_whitespace().chain(ASK))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let began = std::time::Instant::now();
    let batch = |what: &dyn Fn(&serde_json::Value) -> bool| loop {
        let status = place.run("status --json", &[]).json();
        if what(&status[0]["batches"][0]) {
            break;
        }
        assert!(began.elapsed().as_secs() < 30, "{status}");
        std::thread::sleep(std::time::Duration::from_millis(30));
    };
    batch(&|batch| batch["batch"].is_string());
    place.run("cancel data", &[]).expect(0);
    // The cancellation takes a minute there, so the process dies with the order taken and not carried out.
    batch(&|batch| batch["state"] == "cancelling");
    child.kill().unwrap();
    child.wait().unwrap();
    let mut child = place
        .command(["resume", "data", "--events", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let said = std::io::BufReader::new(child.stdout.take().unwrap());
    let obeyed = std::io::BufRead::lines(said)
        .map_while(Result::ok)
        .take(40)
        .any(|line| line.contains("being cancelled"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(obeyed, "the order was lost");
}
