//! What a setting names that is not there, or is somebody else's: the job stops with the service's own words before anything is paid,
//! and is gone on with when the setting is right.

use serde_json::json;

use super::bad_accounts::{self, each};
use super::batch_lane::{ROWS, job_of, run, whole};
use super::jobs::nanos;
use super::support::{Place, Sim};
use super::{bedrock, vertex};

/// One setting that is wrong.
struct Wrong {
    sim: fn() -> Sim,
    /// A machine with everything else that the provider needs.
    place: fn(&Sim) -> Place,
    model: &'static str,
    /// What stands in `[provider]` or behind it, wrong and right; `BASE` is the simulator's address.
    own: [&'static str; 2],
    /// A variable, wrong and right.
    variable: Option<[&'static str; 3]>,
    halted_by: &'static str,
    words: &'static str,
}

const LUNA: Wrong = Wrong {
    sim: || Sim::start(&["--project", "proj_labels"]),
    place: Place::with,
    model: "openai/gpt-6-luna",
    own: ["project = \"proj_nobodys\"", "project = \"proj_labels\""],
    variable: None,
    halted_by: "auth",
    words: "OpenAI-Project header should match project for API key",
};
const VERTEX: Wrong = Wrong {
    sim: || vertex::sim(&["--location", "us-central1"]),
    place: vertex::place,
    model: vertex::MODEL,
    own: [vertex::BUCKET; 2],
    variable: Some(["GOOGLE_CLOUD_PROJECT", "nobodys", "acme-labels"]),
    halted_by: "auth",
    words: "Permission denied on resource project nobodys",
};
const DEPLOYED: [&str; 2] = [
    "deployments = { triage = { model = \"gpt-4.1-mini\", batch = \"gone\" } }",
    "deployments = { triage = { model = \"gpt-4.1-mini\", batch = \"gpt-4.1-mini-batch\" } }",
];
const ROLE: &str = "role_arn = \"arn:aws:iam::123456789012:role/batches\"\nstorage = \"s3://bkt/x\"";
/// Its role reads no object, once.
const NOVA: Wrong = Wrong {
    sim: || Sim::of("bedrock", &["--fault", "validation-fails=input_no_permissions@1"]),
    place: bedrock::place,
    model: "bedrock/us.amazon.nova-lite-v1:0",
    own: [ROLE; 2],
    variable: None,
    halted_by: "auth",
    words: "Could not validate GetObject permissions to access Amazon S3 bucket: bkt at key x/",
};
const TEAM: [&str; 2] = [
    "[accounts.team]\nprovider = \"fireworks\"\nbase_url = \"BASE\"\nkey_env = \"KEY\"\nproject = \"nobodys\"",
    "[accounts.team]\nprovider = \"fireworks\"\nbase_url = \"BASE\"\nkey_env = \"KEY\"\nproject = \"sim\"",
];

const ALL: [Wrong; 6] = [
    LUNA,
    VERTEX,
    Wrong {
        variable: Some(["GOOGLE_CLOUD_LOCATION", "europe-west4", "us-central1"]),
        halted_by: "model_unavailable",
        words: "Google has nothing at this address: there may be no such location (`region`)",
        ..VERTEX
    },
    Wrong {
        sim: || Sim::of("azure", &[]),
        place: bad_accounts::azure,
        model: "azure/triage",
        own: DEPLOYED,
        variable: None,
        halted_by: "model_unavailable",
        words: "'gone' is not supported by the Batch API",
    },
    NOVA,
    Wrong {
        sim: || bad_accounts::like("fireworks", &[]),
        place: |_| Place::new().set("KEY", "fw-x"),
        model: "team/accounts/fireworks/models/gpt-oss-20b",
        own: TEAM,
        variable: None,
        halted_by: "model_unavailable",
        words: "upload a batch file: Invalid URL (POST /v1/accounts/nobodys/datasets)",
    },
];

/// The job, with the wrong setting or the right one.
fn set(wrong: &Wrong, sim: &Sim, mut place: Place, right: usize) -> Place {
    if let Some(variable) = wrong.variable {
        place = place.set(variable[0], variable[1 + right]);
    }
    job_of(wrong.model, &place, "", &wrong.own[right].replace("BASE", &sim.base_url));
    if wrong.model.starts_with("bedrock/") {
        // Its batches have a hundred items at least.
        place.put("reviews.csv", super::support::reviews(AT_BEDROCK));
    }
    place
}

const AT_BEDROCK: usize = 120;

/// It stops in these words, unpaid, and no row is lost.
fn stops(wrong: &Wrong, sim: &Sim, place: &Place) {
    let said = run(place);
    let (report, told) = (said.json(), format!("{}: {said:?}", wrong.model));
    assert_eq!((&report["halted_by"], &report["failed"]), (&json!(wrong.halted_by), &json!(0)), "{told}");
    assert!(report["reason"].as_str().unwrap().contains(wrong.words), "{}: {told}", wrong.words);
    assert_eq!((nanos(&report, "in_doubt"), nanos(&sim.bill(), "total")), (0, 0), "{told}");
}

#[test]
fn what_is_not_there_or_somebody_elses_stops_the_job_unpaid_and_is_gone_on_with_when_it_is_right() {
    each(&ALL, |wrong| {
        let sim = (wrong.sim)();
        let place = set(wrong, &sim, (wrong.place)(&sim), 0);
        stops(wrong, &sim, &place);
        let place = set(wrong, &sim, place, 1);
        let rows = if wrong.model.starts_with("bedrock/") { AT_BEDROCK } else { ROWS };
        whole(&place, &sim, run(&place), rows);
    });
}

#[test]
fn a_bucket_of_another_region_is_told_with_the_region_it_lies_in() {
    let wrong = Wrong {
        sim: || Sim::of("bedrock", &["--bucket", "bkt", "--bucket-region", "eu-west-1"]),
        words: "the bucket lies in `eu-west-1`, and `region` names another",
        ..NOVA
    };
    let sim = (wrong.sim)();
    let place = set(&wrong, &sim, (wrong.place)(&sim), 0);
    stops(&wrong, &sim, &place);
}
