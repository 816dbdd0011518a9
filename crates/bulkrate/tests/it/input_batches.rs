//! The batch lane of services on whose batches nothing can be written, and which show their input file: Together, xAI and Fireworks.

use serde_json::json;

use super::batch_lane::{Lane, ROWS, job_of, requests, run, sums};
use super::jobs::nanos;
use super::support::{Place, Sim};

const TOGETHER: Lane = Lane {
    create: "POST /v1/batches",
    poll: "GET /v1/batches/{id}",
    rows: ROWS,
    requests: 37,
    sim: |flags| Sim::start(&[&["--like", "together"], flags].concat()),
    place: |sim| Place::new().set("TOGETHER_API_KEY", "tk-canary-0").set("TOGETHER_BASE_URL", &sim.base_url),
    job: |place, run| job_of("together/openai/gpt-oss-120b", place, run, ""),
};

const XAI: Lane = Lane {
    sim: |flags| Sim::start(&[&["--like", "xai"], flags].concat()),
    place: |sim| Place::new().set("XAI_API_KEY", "xai-canary-0").set("XAI_BASE_URL", &sim.base_url),
    job: |place, run| job_of("xai/grok-4.3", place, run, ""),
    ..TOGETHER
};

const FIREWORKS: Lane = Lane {
    sim: |flags| Sim::start(&[&["--like", "fireworks"], flags].concat()),
    place: |sim| {
        Place::new().set("FIREWORKS_API_KEY", "fw-canary-0").set("FIREWORKS_BASE_URL", &sim.base_url)
    },
    job: |place, run| job_of("fireworks/accounts/fireworks/models/gpt-oss-20b", place, run, ""),
    ..TOGETHER
};

const ALL: [Lane; 2] = [TOGETHER, XAI];

#[test]
fn a_job_runs_in_batches_and_leaves_no_input_at_the_provider() {
    for (lane, files) in ALL.iter().zip([4, 2]) {
        let sim = lane.sim(&[], &["--api-key", "canary-0123456789"]);
        let place = lane.with_job(&sim, "batch_items_max = 20");
        let place =
            place.set("TOGETHER_API_KEY", "canary-0123456789").set("XAI_API_KEY", "canary-0123456789");
        let (_, bill) = lane.whole(&place, &sim, run(&place));
        assert_eq!((&bill["requests_batch"], &bill["requests_sync"]), (&json!(37), &json!(0)), "{bill}");
        // Two inputs; and their results, where those are files.
        let deleted = &requests(&sim)["DELETE /v1/files/{id}"]["200"];
        assert_eq!((&lane.creates(&sim)["200"], deleted), (&json!(2), &json!(files)));
    }
}

#[test]
fn a_lost_create_is_found_by_its_input_file() {
    TOGETHER.a_lost_create_is_found_by_its_name("");
    XAI.a_lost_create_is_found_by_its_name("batch_");
}

#[test]
fn what_never_arrived_is_sent_again_once_its_file_is_gone() {
    for lane in ALL {
        lane.what_never_arrived_is_sent_again_once_its_input_is_gone();
    }
}

#[test]
fn a_killed_run_pays_once() {
    for lane in ALL {
        lane.pays_once_when_it_is_killed();
    }
}

/// A create that is carried out twice has a twin of the same input: it is cancelled, and what it cost is a duplicate.
#[test]
fn a_twin_is_known_by_its_input_too() {
    for (lane, is_told) in ALL.iter().zip([true, false]) {
        for fault in ["marker-twice@1", "delivered-twice:create@1"] {
            // Two hours of the simulator must not pass before the create: what is made later is no twin.
            let sim = lane.sim(&[fault], &["--speed", "100"]);
            let place = lane.with_job(&sim, "");
            let said = run(&place);
            assert!(said.stderr.contains("was made twice by the way"), "{fault}: {said:?}");
            let report = said.expect(0).json();
            let (spent, doubt, paid) = sums(&report, &sim);
            // What xAI calls cancelled may have run.
            let is_whole = if is_told { doubt == 0 && spent == paid } else { paid <= spent + doubt };
            assert!(is_whole, "{fault}: {report} {spent} {paid}");
            place.proved("reviews", &sim);
        }
    }
}

/// What goes wrong in a batch costs time and no rows.
fn what_goes_wrong_loses_no_row(lane: &Lane) {
    for faults in [
        &["line-errors:0.3=500"][..],
        &["line-errors:0.3=429"],
        &["duplicate-lines=0.2", "unknown-lines=0.2"],
        &["5xx:poll:0.3=500", "5xx:list=503@1"],
        &["429:create@1", "content-503=1"],
        &["truncated-body:content@1"],
        // Counters and states are ahead of what is to be read.
        &["output-late"],
        &["5xx:upload=503@1"],
    ] {
        lane.loses_no_row_by(faults);
    }
    lane.a_refusal_is_not_paid();
}

#[test]
fn what_goes_wrong_in_a_batch_at_together_costs_time_and_no_rows() {
    what_goes_wrong_loses_no_row(&TOGETHER);
}

#[test]
fn what_goes_wrong_in_a_batch_at_xai_costs_time_and_no_rows() {
    what_goes_wrong_loses_no_row(&XAI);
}

/// Told of, put where it says, and looked into: whichever answer is lost, that step is done again.
#[test]
fn an_upload_whose_answer_is_lost_costs_time_and_no_rows() {
    for fault in ["upload-lost@1", "upload-lost@2", "upload-lost@3"] {
        TOGETHER.loses_no_row_by(&[fault]);
    }
}

#[test]
fn what_expired_is_asked_again_and_was_not_paid() {
    let (spent, doubt, bill) = TOGETHER.what_expires_is_asked_again();
    assert_eq!((spent, doubt), (nanos(&bill, "total"), 0), "{bill}");
    // At xAI it is called cancelled, which proves nothing: it stays in doubt.
    let (spent, doubt, bill) = XAI.what_expires_is_asked_again();
    assert!(spent == nanos(&bill, "total") && doubt > 0, "{bill}");
}

#[test]
fn a_cancelled_batch_gives_what_it_finished() {
    let ((spent, doubt, paid), _) = TOGETHER.cancelled_in_the_middle();
    assert!(spent == paid && doubt == 0, "{spent} {doubt} {paid}");
    // For a moment xAI calls all of it cancelled, and then some of it is an answer: what is not seen of that is in doubt.
    let ((spent, doubt, paid), _) = XAI.cancelled_in_the_middle();
    assert!(doubt > 0 && paid <= spent + doubt, "{spent} {doubt} {paid}");
}

#[test]
fn a_line_that_is_missing_stays_in_doubt_beside_the_bill() {
    for lane in ALL {
        lane.a_line_that_is_missing_stays_in_doubt_beside_the_bill();
    }
}

/// A job of data sets is named after its input: what is carried out twice is one job.
#[test]
fn a_job_over_data_sets_costs_half_and_has_no_twin() {
    for faults in [&[][..], &["marker-twice@1"], &["delivered-twice:create@1"]] {
        let sim = FIREWORKS.sim(faults, &["--speed", "300"]);
        let place = FIREWORKS.with_job(&sim, "");
        let said = run(&place);
        assert!(!said.stderr.contains("was made twice"), "{said:?}");
        FIREWORKS.costs_half(&FIREWORKS.whole(&place, &sim, said));
        // The input and the results.
        assert_eq!(requests(&sim)["DELETE datasets/{id}"]["200"], 2);
    }
}

#[test]
fn a_lost_job_over_data_sets_is_found_or_proved_absent() {
    FIREWORKS.a_lost_create_is_found_by_its_name("bulkrate-");
    FIREWORKS.what_never_arrived_is_sent_again_once_its_input_is_gone();
    FIREWORKS.pays_once_when_it_is_killed();
}

#[test]
fn what_goes_wrong_with_data_sets_costs_time_and_no_rows() {
    for faults in [
        &["line-errors:0.3=500"][..],
        &["duplicate-lines=0.2", "unknown-lines=0.2"],
        &["5xx:poll:0.3=500", "5xx:list=503@1", "content-503=1"],
        &["truncated-body:content@2"],
        &["upload-lost@1"],
        &["upload-lost@2"],
        &["output-late"],
    ] {
        FIREWORKS.loses_no_row_by(faults);
    }
    FIREWORKS.a_refusal_is_not_paid();
}

/// What expired may have been answered: its results tell of it, or not.
#[test]
fn what_a_job_over_data_sets_did_not_show_stays_in_doubt() {
    let (spent, doubt, bill) = FIREWORKS.what_expires_is_asked_again();
    assert!(doubt > 0 && spent == nanos(&bill, "total"), "{spent} {doubt} {bill}");
    FIREWORKS.a_line_that_is_missing_stays_in_doubt_beside_the_bill();
}

/// It is stopped by deleting it: nothing of it can be read any more.
#[test]
fn a_job_over_data_sets_that_is_cancelled_is_gone_and_in_doubt() {
    let ((spent, doubt, paid), calls) = FIREWORKS.cancelled_in_the_middle();
    assert!(spent == 0 && paid > 0 && paid <= doubt, "{spent} {doubt} {paid}");
    assert_eq!(calls["POST /v1/batches/{id}/cancel"]["200"], 1, "{calls}");
}

/// Whoever resumes knows nothing of the delete: that the job is gone is its end all the same, and loses no row.
#[test]
fn a_cancel_of_a_job_over_data_sets_may_be_killed() {
    let sim = FIREWORKS.sim(&[], &["--speed", "60"]);
    let place = FIREWORKS.with_job(&sim, "");
    let cancel = std::cell::RefCell::new(None);
    place.kill_when(["run", "reviews.toml", "--yes"], |job| {
        let batch = &job["batches"][0];
        let is_open =
            batch["batch"].is_string() && requests(&sim)[FIREWORKS.poll]["200"].as_u64() >= Some(10);
        if is_open && cancel.borrow().is_none() {
            *cancel.borrow_mut() = Some(place.start(["cancel", "reviews"]));
        }
        batch["state"] == "cancelling"
    });
    let _ = cancel.take().unwrap().wait();
    let said = place.run("resume reviews --json", &[]);
    assert!(said.stderr.contains("is gone since it was cancelled"), "{said:?}");
    let status = place.run("status reviews --json", &[]).json()[0].clone();
    let (spent, doubt, paid) = sums(&status, &sim);
    assert!(spent == 0 && paid > 0 && paid <= doubt, "{spent} {doubt} {paid} {status}");
    assert_eq!((&status["state"], &status["failed"]), (&json!("cancelled"), &json!(0)), "{said:?} {status}");
    place.proved("reviews", &sim);
}

/// Vectors are none of what their batches take: the plan says so, and the job runs in the sync lane.
#[test]
fn batches_take_chats_alone() {
    let sim = TOGETHER.sim(&[], &[]);
    let place = (TOGETHER.place)(&sim);
    place.put("texts.csv", "id,text\n1,a\n2,b\n");
    let ask = ["--kind", "embedding", "--user", "{{ text }}", "--model", "together/BAAI/bge-base-en-v1.5"];
    let say = |line: &str| place.run(&format!("{line} --price-in 0.01 --price-out 0.01 --id id"), &ask);
    say("run texts.csv --yes --lane batch").error(2, "lane-unavailable", &["takes chats only"]);
    let plan = say("plan texts.csv --json").expect(0).json();
    let batch = plan["lanes"].as_array().unwrap().iter().find(|lane| lane["lane"] == "batch").unwrap();
    assert!(batch["unavailable"].as_str().unwrap().contains("takes chats only"), "{plan}");
    assert_eq!(plan["lane"], "sync", "{plan}");
    let report = say("run texts.csv --yes --json").expect(0).json();
    let bill = sim.bill();
    assert_eq!((&report["succeeded"], &bill["requests_sync"]), (&json!(2), &json!(2)), "{report} {bill}");
}
