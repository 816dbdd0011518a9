//! Whole jobs at Vertex AI: credentials of every kind, calls to Gemini and Claude, and what is told of a wrong setting.

use serde_json::Value;

use super::anthropic::{ROWS, ask, whole};
use super::support::{Place, Sim, reviews};

const KEY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../bulkrate-provider/fixtures/vertex/service_account.json");
const SIGN_IN: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../bulkrate-provider/fixtures/vertex/authorized_user.json");
const PROJECT: &str = "acme-labels";
pub(super) const MODEL: &str = "vertex/gemini-3.8-flash";
pub(super) const BUCKET: &str = "storage = \"gs://acme-batches/labels\"";

pub(super) fn sim(flags: &[&str]) -> Sim {
    Sim::of("vertex", &[&["--project", PROJECT, "--bucket", "acme-batches"], flags].concat())
}

/// A file of credentials, as it would come from a simulator that gives out its tokens.
fn credentials(sim: &Sim, file: &str) -> String {
    let mut file: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    file["token_uri"] = format!("{}/token", sim.base_url).into();
    file.to_string()
}

/// A machine with a service account's key.
pub(super) fn place(sim: &Sim) -> Place {
    let place = at(sim, "us-central1");
    place.put("key.json", credentials(sim, KEY));
    place.set("GOOGLE_APPLICATION_CREDENTIALS", "key.json")
}

/// A machine that knows where everything is, and has no key.
pub(super) fn at(sim: &Sim, location: &str) -> Place {
    Place::new()
        .set("VERTEX_BASE_URL", &sim.base_url)
        .set("STORAGE_EMULATOR_HOST", &sim.base_url)
        .set("BIGQUERY_EMULATOR_HOST", &sim.base_url)
        .set("GCE_METADATA_HOST", sim.base_url.trim_start_matches("http://"))
        .set("GOOGLE_CLOUD_PROJECT", PROJECT)
        .set("GOOGLE_CLOUD_LOCATION", location)
}

#[test]
fn a_job_is_answered_and_its_ledger_is_the_bill() {
    for (model, line) in [
        (MODEL, "--choices positive,negative,neutral"),
        ("vertex/gemini-4-argon", "--temperature 0.5 --reasoning high"),
        ("vertex/claude-haiku-5-5", "--choices positive,negative,neutral"),
        ("vertex/claude-sonnet-5-5", "--reasoning low"),
    ] {
        let sim = sim(&[]);
        let place = place(&sim);
        let bill = whole(&place, &sim, ask(&place, model, line));
        assert_eq!(bill["requests_sync"].as_u64(), bill["requests"].as_u64(), "{bill}");
    }
    let sim = sim(&["--location", "global"]);
    let place = at(&sim, "global");
    let bill = whole(&place, &sim, ask(&place, MODEL, "--lane flex"));
    assert_eq!(bill["requests_flex"].as_u64(), bill["requests"].as_u64(), "{bill}");
}

#[test]
fn vectors_come_back_in_their_models_lanes_and_their_ledger_is_the_bill() {
    for (model, lane, verb) in [
        ("vertex/gemini-embedding-001", "sync", "embedContent"),
        ("vertex/gemini-embedding-001", "batch", "embedContent"),
        ("vertex/text-embedding-005", "sync", "predict"),
    ] {
        let sim = sim(&[]);
        let place = place(&sim);
        let line = format!(
            "--kind embedding --dimensions 8 --lane {lane} --poll-min 50ms --storage gs://acme-batches/labels"
        );
        let bill = whole(&place, &sim, ask(&place, model, &line));
        let of_lane = bill[format!("requests_{lane}")].as_u64().unwrap();
        assert!(of_lane > 0 && bill["requests"].as_u64() <= Some(of_lane + 1), "{bill}");
        let calls = sim.get("/sim/requests");
        let paths = &calls["by_path"];
        assert_eq!(paths["POST batchPredictionJobs"].is_object(), lane == "batch", "{calls}");
        // In the batch lane it is the canary.
        let call = format!("POST publishers/google/models/{{model}}:{verb}");
        assert!(paths[call]["200"].is_u64(), "{calls}");
        place.proved("reviews", &sim);
    }
    // Nothing in the answers to a batch of theirs would say whose they are.
    let sim = sim(&[]);
    let place = place(&sim);
    let line = "--kind embedding --lane batch --storage gs://acme-batches/labels";
    let error = ask(&place, "vertex/text-embedding-005", line).expect(2).json()["error"].clone();
    assert_eq!(error["code"], "lane-unavailable");
    assert!(error["message"].as_str().unwrap().contains("no batch price"), "{error}");
    assert_eq!(sim.bill()["requests"], 0);
}

#[test]
fn every_kind_of_credentials_is_found_where_googles_own_tools_find_it() {
    let sim = sim(&[]);
    // A person's sign-in, where `gcloud` leaves it.
    let place = at(&sim, "us-central1");
    std::fs::create_dir_all(place.path(".config/gcloud")).unwrap();
    place.put(".config/gcloud/application_default_credentials.json", credentials(&sim, SIGN_IN));
    whole(&place, &sim, ask(&place, MODEL, ""));
    let tokens = |path: &str| sim.get("/sim/requests")["by_path"][path]["200"].as_u64();
    assert_eq!((tokens("POST /token"), tokens("GET /computeMetadata/v1")), (Some(1), None));
    // The machine's own.
    let sim = self::sim(&[]);
    let place = at(&sim, "us-central1");
    whole(&place, &sim, ask(&place, MODEL, ""));
    let tokens = |path: &str| sim.get("/sim/requests")["by_path"][path]["200"].as_u64();
    assert_eq!((tokens("POST /token"), tokens("GET /computeMetadata/v1")), (None, Some(1)));
    // Two accounts with projects of their own, from the job file alone.
    let sim = self::sim(&[]);
    let place = Place::new()
        .set("TEAM_KEY", "team.json")
        .set("STORAGE_EMULATOR_HOST", &sim.base_url)
        .set("GOOGLE_CLOUD_PROJECT", "nobodys");
    place.put("team.json", credentials(&sim, KEY)).put("reviews.csv", reviews(ROWS));
    let file = format!(
        "[source]\npath = \"reviews.csv\"\nid = \"id\"\n[request]\nmodel = \"team/gemini-3.8-flash\"\nuser = \"{{{{ text }}}}\"\n[run]\nlane = \"sync\"\nbudget = \"1\"\n[sink]\npath = \"out.csv\"\n\
         [accounts.team]\nprovider = \"vertex\"\nbase_url = \"{}\"\nkey_env = \"TEAM_KEY\"\nproject = \"{PROJECT}\"\nregion = \"us-central1\"\n",
        sim.base_url
    );
    place.put("reviews.toml", file);
    whole(&place, &sim, place.run("run reviews.toml --yes --json", &[]));
    place.proved("reviews", &sim);
}

#[test]
fn limits_faults_and_tokens_that_end_cost_time_and_no_rows() {
    let faults = [
        "--fault",
        "429=0.1",
        "--fault",
        "5xx:0.1=503",
        "--fault",
        "refusal@3",
        "--fault",
        "expired-key:sync@9",
    ];
    let sim = sim(&[&["--rpm", "6000", "--token-secs", "4"], &faults[..]].concat());
    let place = place(&sim);
    whole(&place, &sim, ask(&place, MODEL, ""));
    let calls = sim.get("/sim/requests");
    let calls = &calls["by_path"]["POST publishers/google/models/{model}:generateContent"];
    for status in ["401", "429", "503"] {
        assert!(calls[status].as_u64() > Some(0), "{status}: {calls}");
    }
}

fn not_ready(place: &Place, word: &str) {
    let error = ask(place, MODEL, "").expect(2).json()["error"].clone();
    assert_eq!(error["code"], "provider-not-ready");
    assert!(error["message"].as_str().unwrap().contains(word), "{error}");
}

#[test]
fn what_is_wrong_with_an_account_is_told_in_its_own_words() {
    let sim = sim(&["--location", "us-central1"]);
    for (name, value, halted, word) in [
        ("GOOGLE_CLOUD_PROJECT", "nobodys", "auth", "project nobodys"),
        ("GOOGLE_CLOUD_LOCATION", "us-centrall1", "model_unavailable", "no such location"),
    ] {
        let place = place(&sim).set(name, value);
        let said = ask(&place, MODEL, "");
        assert_eq!(said.json()["halted_by"], halted, "{said:?}");
        assert!(said.stderr.contains(word), "{word}: {said:?}");
    }
    let revoked = place(&sim);
    revoked.put("key.json", credentials(&sim, SIGN_IN).replace("1//canary", "1//revoked-canary"));
    let said = ask(&revoked, MODEL, "");
    assert_eq!(said.json()["halted_by"], "auth", "{said:?}");
    assert!(said.stderr.contains("invalid_grant") && !format!("{said:?}").contains("canary"), "{said:?}");
    for (text, word) in [("{", "`key.json`"), (r#"{"type":"external_account"}"#, "`external_account`")] {
        let place = place(&sim);
        place.put("key.json", text);
        not_ready(&place, word);
    }
    not_ready(&at(&sim, " "), "GOOGLE_CLOUD_LOCATION");
    let unknown = ask(&place(&sim), "vertex/gemini-3.8-falsh", "");
    assert!(unknown.stderr.contains("did you mean `vertex/gemini-3.8-flash`"), "{unknown:?}");
    let bill = sim.bill();
    assert_eq!(bill["requests"], 0, "{bill}");
}

#[test]
fn doctor_checks_project_location_and_bucket_for_free() {
    let sim = sim(&["--location", "us-central1"]);
    let line = format!("doctor --model {MODEL}");
    let said = place(&sim).run(&line, &[]).expect(0);
    assert!(said.stdout.contains("the provider answers"), "{said:?}");
    let said = at(&sim, "us-central1").run(&line, &[]).expect(0);
    assert!(said.stdout.contains("the credentials of this machine"), "{said:?}");
    let wrong = place(&sim).set("GOOGLE_CLOUD_PROJECT", "nobodys").run(&line, &[]).expect(4);
    assert!(wrong.stdout.contains("project nobodys"), "{wrong:?}");
    let bill = sim.bill();
    assert_eq!(bill["requests"], 0, "{bill}");
}
