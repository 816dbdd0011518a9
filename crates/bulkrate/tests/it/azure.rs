//! Azure OpenAI: whole jobs over deployments, in both generations of its API, and what happens when something of it is wrong.

use super::jobs::{nanos, whole};
use super::support::{ASK, Place, Said, Sim, reviews};

const ROWS: usize = 40;
const KEY: &str = "azure-canary-0123456789";
const DEPLOYMENTS: &[&str] =
    &["--api-key", KEY, "--deployment", "triage=gpt-4.1-mini", "--deployment", "nightly=gpt-4.1-mini,batch"];

fn sim(more: &[&str]) -> Sim {
    Sim::of("azure", &[DEPLOYMENTS, more].concat())
}

/// A job over an account of the user's own name.
fn job(place: &Place, sim: &Sim, model: &str, run: &str, account: &str) {
    let request = format!("model = \"{model}\"\nuser = \"{}\"", ASK[1]);
    let tables = format!(
        "[sink]\npath = \"out.csv\"\n[accounts.sweden]\nprovider = \"azure\"\nbase_url = \"{}\"\n{account}",
        sim.base_url
    );
    let run = format!("budget = \"5\"\n{run}");
    place.put("reviews.csv", reviews(ROWS)).put_job("reviews", &request, &run, &tables);
}

const MINI: &str = r#"deployments = { triage = { model = "gpt-4.1-mini", batch = "nightly" } }"#;

fn place() -> Place {
    Place::new().set("AZURE_OPENAI_API_KEY", KEY)
}

fn run(place: &Place) -> Said {
    let said = place.run("run reviews.toml --yes --json", &[]);
    assert!(!format!("{said:?}").contains("canary"), "{said:?}");
    said
}

fn requests(sim: &Sim, label: &str) -> serde_json::Value {
    sim.get("/sim/requests")["by_path"][label].clone()
}

#[test]
fn both_lanes_in_both_generations_bill_what_the_ledger_says() {
    for version in ["", "api_version = \"2024-10-21\""] {
        for lane in ["sync", "batch"] {
            let (sim, place) = (sim(&[]), place());
            let account = format!("{MINI}\n{version}");
            job(&place, &sim, "sweden/triage", &format!("lane = \"{lane}\""), &account);
            let (report, bill) = whole(&place, &sim, run(&place), ROWS);
            assert!(nanos(&report, "spent") > 0, "{report}");
            assert!(bill["by_model"]["gpt-4.1-mini"]["requests"].as_u64() > Some(0), "{bill}");
            assert_eq!(bill["requests_batch"].as_u64() > Some(0), lane == "batch", "{bill}");
            place.proved("reviews", &sim);
            if lane == "batch" {
                // The canary is a call, to the deployment that takes calls.
                assert_eq!(bill["requests_sync"].as_u64(), Some(1), "{bill}");
                let deleted = requests(&sim, "DELETE /v1/files/{id}");
                let status = if version.is_empty() { "200" } else { "204" };
                assert_eq!(
                    deleted[status].as_u64(),
                    Some(3),
                    "input, output and the empty file of errors: {deleted}"
                );
            }
        }
    }
}

#[test]
fn variables_set_up_the_resource_and_a_deployment_called_like_its_model_needs_no_more() {
    let sim = sim(&[]);
    for more in [None, Some("2024-10-21")] {
        let place = place().set("AZURE_OPENAI_ENDPOINT", &sim.base_url);
        let place = more
            .map(str::to_owned)
            .into_iter()
            .fold(place, |place, version| place.set("OPENAI_API_VERSION", &version));
        place.put("reviews.csv", reviews(ROWS));
        let ask = [
            "--user",
            "Review: {{ text }}",
            "--choices",
            "good,bad",
            "--id",
            "id",
            "--model",
            "azure/gpt-4.1-mini",
        ];
        let before = nanos(&sim.bill(), "total");
        let said = place.run("run reviews.csv --lane sync --yes --json --out out.csv", &ask);
        let report = said.expect(0).json();
        assert_eq!(nanos(&report, "spent"), nanos(&sim.bill(), "total") - before, "{report}");
        let text = place.run("doctor", &[]).expect(0).stdout;
        assert!(text.contains("azure it answers; sync and batch"), "{text}");
    }
}

/// A token is taken back between two looks at a batch, or before a call: the next one has another, and nothing is lost or paid twice.
#[test]
fn an_application_of_entra_needs_no_key_and_its_tokens_are_renewed() {
    let origin = |sim: &Sim| sim.base_url.split("/openai").next().unwrap().trim_end_matches("/v1").to_owned();
    for (lane, fault) in [("sync", "expired-key:sync@3"), ("batch", "expired-key:poll@2")] {
        let sim = sim(&["--fault", fault]);
        let place = Place::new().set("AZURE_TENANT_ID", "contoso").set("AZURE_CLIENT_ID", "app-1");
        let place = place.set("AZURE_CLIENT_SECRET", KEY).set("AZURE_AUTHORITY_HOST", &origin(&sim));
        job(&place, &sim, "sweden/triage", &format!("lane = \"{lane}\""), MINI);
        whole(&place, &sim, run(&place), ROWS);
        place.proved("reviews", &sim);
        assert_eq!(requests(&sim, "token of Entra")["200"], 2, "{lane}");
        let text = place
            .set("AZURE_OPENAI_ENDPOINT", &sim.base_url)
            .run("doctor --model azure/gpt-4.1-mini", &[])
            .expect(0);
        assert!(text.stdout.contains("signed with the credentials of this machine"), "{text:?}");
        assert!(!format!("{text:?}").contains("canary"), "{text:?}");
    }
    let sim = sim(&[]);
    let nobody = Place::new();
    job(&nobody, &sim, "sweden/triage", "lane = \"sync\"", MINI);
    assert_eq!(run(&nobody).expect(4).json()["error"]["code"], "credentials-missing");
    for (tenant, secret, code) in [("t", "wrong-canary-0123", "AADSTS7000215"), ("wrong", KEY, "AADSTS90002")]
    {
        let wrong = Place::new().set("AZURE_TENANT_ID", tenant).set("AZURE_CLIENT_ID", "c");
        let wrong = wrong.set("AZURE_CLIENT_SECRET", secret).set("AZURE_AUTHORITY_HOST", &origin(&sim));
        job(&wrong, &sim, "sweden/triage", "lane = \"sync\"", MINI);
        let said = run(&wrong).expect(4);
        assert!(format!("{said:?}").contains(code), "{said:?}");
        assert!(!format!("{said:?}").contains("canary"), "{said:?}");
    }
    assert_eq!(sim.bill()["requests"], 0);
}

#[test]
fn a_flag_says_what_a_deployment_serves_and_the_verbs_of_the_batch_api_work() {
    let sim = sim(&[]);
    let place = place().set("AZURE_OPENAI_ENDPOINT", &sim.base_url);
    place.put("reviews.csv", reviews(ROWS));
    let ask =
        ["--user", "Review: {{ text }}", "--choices", "good,bad", "--id", "id", "--model", "azure/triage"];
    let unknown = place.run("batch submit reviews.csv --yes", &ask);
    unknown.error(2, "model-unpriced", &["--deployment triage=MODEL"]);
    let submit = "batch submit reviews.csv --yes --budget 1 --deployment triage=gpt-4.1-mini,nightly";
    place.run(submit, &ask).expect(0);
    let listed = place.run("batch list --provider azure --json", &[]).expect(0).stdout;
    assert!(listed.contains("\"reviews\"") && listed.contains("batch_"), "{listed}");
    // What the job was submitted with is known without the flag.
    place.run("batch results reviews --out out.csv --poll-min 30ms --json", &[]).expect(0);
    let bill = sim.bill();
    assert_eq!(
        (bill["requests_batch"].as_u64(), bill["requests_sync"].as_u64()),
        (Some(37), Some(0)),
        "{bill}"
    );
    place.proved("reviews", &sim);
}

#[test]
fn flex_is_half_the_price_where_a_model_has_it() {
    let (sim, place) = (sim(&[]), place());
    job(&place, &sim, "sweden/gpt-5.6-luna", "lane = \"flex\"", "");
    let (report, bill) = whole(&place, &sim, run(&place), ROWS);
    assert_eq!(bill["requests_flex"].as_u64(), Some(37), "{bill}");
    assert_eq!(report["saved_usd_nanos"]["flex"].as_i64(), Some(nanos(&report, "spent")), "{report}");
}

#[test]
fn a_lost_create_is_adopted_by_its_mark_and_paid_once() {
    for version in ["", "api_version = \"2024-10-21\""] {
        for fault in ["create-lost@1", "create-5xx@1"] {
            let (sim, place) = (sim(&["--fault", fault]), place());
            job(
                &place,
                &sim,
                "sweden/triage",
                "lane = \"batch\"\ncanary = false",
                &format!("{MINI}\n{version}"),
            );
            let said = run(&place);
            assert!(said.stderr.contains("was found as batch_"), "{said:?}");
            let (report, _) = whole(&place, &sim, said, ROWS);
            assert_eq!(nanos(&report, "in_doubt"), 0, "{report}");
            let creates = requests(&sim, "POST /v1/batches");
            let sum: u64 = creates.as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum();
            assert_eq!(sum, 1, "{creates}");
            place.proved("reviews", &sim);
        }
    }
}

#[test]
fn a_create_that_never_arrived_is_sent_again_once_its_absence_is_proved() {
    let (sim, place) = (sim(&["--fault", "reset-early:create=1@1"]), place());
    let account = format!("{MINI}\napi_version = \"2024-10-21\"");
    job(&place, &sim, "sweden/triage", "lane = \"batch\"\ncanary = false", &account);
    let said = run(&place);
    assert!(said.stderr.contains("proved not to exist"), "{said:?}");
    whole(&place, &sim, said, ROWS);
    place.proved("reviews", &sim);
}

#[test]
fn a_full_queue_of_tokens_is_learnt_from_azures_words() {
    let (sim, place) = (sim(&["--enqueued-tokens", "400"]), place());
    job(&place, &sim, "sweden/triage", "lane = \"batch\"\ncanary = false\nbatch_items_max = 12", MINI);
    let said = run(&place);
    assert!(said.stderr.contains("configured limit of 400 for the deployment 'nightly'"), "{said:?}");
    whole(&place, &sim, said, ROWS);
    place.proved("reviews", &sim);
}

#[test]
fn what_the_filter_keeps_back_is_a_dead_letter_of_its_own_class() {
    for lane in ["sync", "batch"] {
        let (sim, place) = (sim(&["--fault", "refusal=0.2"]), place());
        let run_ = format!("lane = \"{lane}\"\ncanary = false\nfail_above = \"90%\"");
        job(&place, &sim, "sweden/triage", &run_, MINI);
        let report = run(&place).expect(5).json();
        assert!(report["failures"]["content_policy"].as_u64() > Some(0), "{report}");
        assert_eq!(nanos(&report, "spent"), nanos(&sim.bill(), "total"), "{report}");
        place.proved("reviews", &sim);
    }
}

#[test]
fn what_a_deployment_serves_must_be_said_and_wrong_names_are_told() {
    let (sim, place) = (sim(&[]), place());
    let asked = |model: &str, account: &str| {
        job(&place, &sim, model, "lane = \"sync\"", account);
        place.run("run reviews.toml --yes", &[])
    };
    asked("sweden/triage", "").error(
        2,
        "model-unpriced",
        &["triage", "deployments = {", "[accounts.sweden]", "--price-in"],
    );
    asked("sweden/triage", "deployments = { triage = \"of-tomorrow\" }").error(
        2,
        "model-unpriced",
        &["serve `of-tomorrow`"],
    );
    asked("sweden/triage", "deployments = { triage = 7 }").error(
        2,
        "job-file-invalid",
        &["the model that the deployment serves"],
    );
    let gone = asked("sweden/gone", "deployments = { gone = \"gpt-4.1-mini\" }");
    assert!(
        gone.code != 0 && gone.stderr.contains("deployment for this resource does not exist"),
        "{gone:?}"
    );
    // One that takes batches alone answers no call.
    let nightly = asked("sweden/nightly", "deployments = { nightly = \"gpt-4.1-mini\" }");
    assert!(nightly.code != 0 && nightly.stderr.contains("GlobalBatch"), "{nightly:?}");
    // One that takes calls alone takes no batch.
    job(
        &place,
        &sim,
        "sweden/triage",
        "lane = \"batch\"\ncanary = false",
        "deployments = { triage = \"gpt-4.1-mini\" }",
    );
    let refused = run(&place);
    assert!(refused.code != 0 && refused.stderr.contains("takes no batches"), "{refused:?}");
    let bare = Place::new();
    job(&bare, &sim, "azure/gpt-4.1-mini", "", "");
    bare.run("run reviews.toml --yes", &[]).error(
        2,
        "provider-not-set-up",
        &["AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"],
    );
}
