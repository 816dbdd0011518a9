//! The batch lane at Azure from and to a container of one's own: a batch is known by its input, on which nothing can be written.

use serde_json::{Value, json};

use super::batch_lane::{Lane, ROWS, job_of, requests, run};
use super::jobs::nanos;
use super::support::{Place, Sim};

const KEY: &str = "azure-canary-0123456789";
const SAS: &str = "?sv=2024-11-04&sig=canary-abc%2Fdef%3D";
pub(super) const DEPLOYMENTS: &str =
    "deployments = { \"gpt-4.1-mini\" = { model = \"gpt-4.1-mini\", batch = \"gpt-4.1-mini-batch\" } }";

pub(super) fn sim(flags: &[&str]) -> Sim {
    Sim::of("azure", &[&["--api-key", KEY, "--bucket", "batches"], flags].concat())
}

fn origin(sim: &Sim) -> &str {
    sim.base_url.split("/openai").next().unwrap().trim_end_matches("/v1")
}

/// A machine with the resource's key, that keeps where its blobs are for the job.
fn at(sim: &Sim, container: &str) -> Place {
    let place = Place::new().set("AZURE_OPENAI_API_KEY", KEY).set("AZURE_OPENAI_ENDPOINT", &sim.base_url);
    place.put("storage.txt", format!("{}/blobs/{container}", origin(sim)));
    place
}

pub(super) fn place(sim: &Sim) -> Place {
    at(sim, "batches/labels").set("AZURE_STORAGE_SAS_TOKEN", SAS)
}

fn job(place: &Place, run: &str) {
    let provider = format!("storage = \"{}\"\n{DEPLOYMENTS}", place.read("storage.txt"));
    job_of("azure/gpt-4.1-mini", place, run, &provider);
}

const LANE: Lane = Lane {
    create: "POST /v1/batches",
    poll: "GET /v1/batches/{id}",
    rows: ROWS,
    requests: 37,
    sim,
    place,
    job,
};

#[test]
fn a_job_costs_half_and_leaves_no_blob() {
    let sim = LANE.sim(&[], &[]);
    let place = LANE.with_job(&sim, "batch_items_max = 20");
    LANE.costs_half(&LANE.whole(&place, &sim, run(&place)));
    let asked = requests(&sim);
    // Input and results of two batches: of errors there are none, though the batches name a blob of them.
    assert_eq!((&LANE.creates(&sim)["200"], &asked["DELETE blob"]), (&json!(2), &json!({"202": 4})));
    assert_eq!((&asked["PUT blob"], &asked["POST /v1/files"]), (&json!({"201": 2}), &Value::Null));
}

#[test]
fn an_application_of_entra_has_tokens_for_models_and_for_blobs() {
    let sim = LANE.sim(&["expired-key:content@1"], &[]);
    let application = [
        ("AZURE_TENANT_ID", "contoso"),
        ("AZURE_CLIENT_ID", "app-1"),
        ("AZURE_CLIENT_SECRET", "secret-canary-0123"),
        ("AZURE_AUTHORITY_HOST", origin(&sim)),
    ];
    let place = application
        .iter()
        .fold(at(&sim, "batches").set("AZURE_OPENAI_API_KEY", ""), |place, (name, value)| {
            place.set(name, value)
        });
    job(&place, "");
    LANE.whole(&place, &sim, run(&place));
    // All tokens are taken back before the results are read, and both are had anew.
    assert!(requests(&sim)["token of Entra"]["200"].as_u64() >= Some(3), "{}", requests(&sim));
}

#[test]
fn a_lost_create_is_found_by_its_input() {
    LANE.a_lost_create_is_found_by_its_name("batch_");
}

#[test]
fn what_never_arrived_is_sent_again_once_its_input_is_gone() {
    LANE.what_never_arrived_is_sent_again_once_its_input_is_gone();
}

#[test]
fn a_run_that_is_killed_between_upload_and_create_or_later_goes_on_and_pays_once() {
    LANE.pays_once_when_it_is_killed();
}

#[test]
fn what_goes_wrong_in_a_batch_costs_time_and_no_rows() {
    for faults in [
        &["line-errors:0.3=500"][..],
        &["line-errors:0.3=429", "status-regression"],
        &["truncated-body:content@1", "duplicate-lines=0.2", "unknown-lines=0.2"],
        &["unknown-status", "5xx:poll:0.3=500"],
        &["429:create@1", "5xx:list=503@1", "content-503=1"],
        &["cut-tail=line@1", "file-changes"],
        &["reset:upload@1"],
        &["5xx:upload=503@1", "5xx:delete=503@1"],
    ] {
        LANE.loses_no_row_by(faults);
    }
}

#[test]
fn a_batch_that_is_refused_as_a_whole_is_not_paid() {
    LANE.a_refusal_is_not_paid();
}

#[test]
fn a_resource_that_may_not_read_its_input_stops_the_job_and_kills_no_row() {
    let sim = LANE.sim(&["validation-fails=input_no_permissions@1"], &[]);
    let place = LANE.with_job(&sim, "");
    let said = run(&place);
    assert_eq!(
        (said.json()["halted_by"].as_str(), nanos(&sim.bill(), "total")),
        (Some("auth"), 0),
        "{said:?}"
    );
    // It was given the right: the same rows go out again.
    let (_, bill) = LANE.whole(&place, &sim, run(&place));
    assert_eq!((&LANE.creates(&sim)["200"], &bill["requests_batch"]), (&json!(2), &json!(37)));
}

#[test]
fn an_input_that_somebody_touched_is_sent_anew() {
    let sim = LANE.sim(&["validation-fails=input_modified@1"], &[]);
    let place = LANE.with_job(&sim, "");
    let (_, bill) = LANE.whole(&place, &sim, run(&place));
    assert_eq!((&LANE.creates(&sim)["200"], &bill["requests_batch"]), (&json!(2), &json!(37)));
}

#[test]
fn a_row_that_is_missing_stays_in_doubt_beside_the_bill() {
    LANE.a_line_that_is_missing_stays_in_doubt_beside_the_bill();
}

#[test]
fn what_a_cancelled_batch_has_finished_is_kept_and_paid() {
    let ((spent, doubt, paid), asked) = LANE.cancelled_in_the_middle();
    assert_eq!(asked["POST /v1/batches/{id}/cancel"]["200"], 1, "{asked}");
    assert!(spent == paid && paid > 0 && doubt == 0, "{spent} {doubt} {paid}");
}

#[test]
fn results_that_may_not_be_read_wait_for_the_right_to_and_nothing_is_paid_twice() {
    LANE.waits_for_the_right_to_read_and_pays_nothing_twice("AuthorizationPermissionMismatch");
}

#[test]
fn what_is_wrong_with_the_container_is_told_before_anything_is_paid() {
    let sim = LANE.sim(&[], &[]);
    for (container, sas, words) in [
        ("nobodys", SAS, "container does not exist"),
        ("batches", "sv=2024-11-04&sig=wrong-canary", "AuthenticationFailed"),
    ] {
        let place = at(&sim, container).set("AZURE_STORAGE_SAS_TOKEN", sas);
        job(&place, "");
        LANE.stops_unpaid(&sim, &place, words);
    }
    // Nobody may read it.
    let place = at(&sim, "batches");
    job(&place, "");
    let error = run(&place).expect(2).json()["error"].clone();
    assert_eq!(error["code"], "provider-not-ready", "{error}");
    assert!(error["message"].as_str().unwrap().contains("AZURE_STORAGE_SAS_TOKEN"), "{error}");
    assert_eq!(sim.bill()["requests"], 0);
}

#[test]
fn a_storage_that_is_another_one_meanwhile_stops_the_job_and_pays_nothing() {
    let sim = LANE.sim(&[], &["--speed", "200"]);
    let place = LANE.with_job(&sim, "");
    let made = |job: &Value| job["batches"][0]["batch"].is_string();
    place.kill_when(["run", "reviews.toml", "--yes"], made);
    let named = place.read("storage.txt");
    place.put("storage.txt", named.replace("/batches/labels", "/others"));
    job(&place, "");
    let said = run(&place);
    assert_eq!(said.json()["halted_by"], "auth", "{said:?}");
    assert!(said.stderr.contains("not where `storage` is now"), "{said:?}");
    // Named as before, it is gone on with.
    place.put("storage.txt", named);
    job(&place, "");
    let (_, bill) = LANE.whole(&place, &sim, run(&place));
    assert_eq!((&LANE.creates(&sim)["200"], &bill["requests_batch"]), (&json!(1), &json!(37)));
}
