//! Whole jobs at Bedrock: what was asked for comes back, and the ledger is the bill.

use super::anthropic::{ROWS, ask, whole};
use super::prompt_cache::{cached_by, proved, run_at};
use super::support::{Place, Sim, table};

pub(super) const ID: &str = "AKIAIOSFODNN7EXAMPLE";
pub(super) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/canary-0123456789";
const MODEL: &str = "bedrock/us.amazon.nova-lite-v1:0";

/// The credentials of the simulator, as `ID:SECRET`.
pub(super) fn pair() -> String {
    format!("{ID}:{SECRET}")
}

pub(super) fn place(sim: &Sim) -> Place {
    let place = Place::new().set("AWS_ACCESS_KEY_ID", ID).set("AWS_SECRET_ACCESS_KEY", SECRET);
    place.set("AWS_REGION", "us-east-1").set("BEDROCK_BASE_URL", &sim.base_url)
}

#[test]
fn a_job_is_answered_and_its_ledger_is_the_bill() {
    for (model, line) in [
        (MODEL, "--choices positive,negative,neutral"),
        ("bedrock/global.anthropic.claude-haiku-5-5", "--choices positive,negative,neutral"),
        ("bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0", "--reasoning low --max-output-tokens 4000"),
        ("bedrock/mistral.ministral-3-8b-instruct", "--lane flex"),
        ("bedrock/amazon.nova-pro-v1:0", "--lane flex --temperature 0.5"),
    ] {
        let sim = Sim::of("bedrock", &["--api-key", &pair(), "--region", "us-east-1"]);
        let place = place(&sim);
        let bill = whole(&place, &sim, ask(&place, model, line));
        let lane = if line.contains("flex") { "requests_flex" } else { "requests_sync" };
        assert_eq!(bill[lane].as_u64(), bill["requests"].as_u64(), "{model}: {bill}");
    }
}

#[test]
fn vectors_of_each_maker_come_back_and_their_ledger_is_the_bill() {
    for (model, dimensions) in [
        ("amazon.titan-embed-text-v2:0", 256),
        ("us.cohere.embed-v4:0", 512),
        ("amazon.nova-2-multimodal-embeddings-v1:0", 384),
    ] {
        let sim = Sim::of("bedrock", &["--api-key", &pair()]);
        let place = place(&sim);
        let line = format!("--kind embedding --dimensions {dimensions}");
        whole(&place, &sim, ask(&place, &format!("bedrock/{model}"), &line));
        place.proved("reviews", &sim);
        let calls = sim.get("/sim/requests");
        assert!(calls["by_path"]["POST /model/{model}/invoke"]["200"].as_u64() > Some(0), "{calls}");
        let answer = &table(&place.path("out.csv")).1[0];
        let vector = answer.iter().find(|cell| cell.starts_with('[')).unwrap();
        assert_eq!(vector.split(',').count(), dimensions, "{model}");
    }
    let sim = Sim::of("bedrock", &[]);
    let place = place(&sim);
    let error = ask(&place, MODEL, "--kind embedding").expect(2).json()["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("embedding"), "{error}");
    assert_eq!(sim.bill()["requests"], 0);
}

/// What is written costs 1.25 times (an hour: 2 times) as much at Claude, and at Nova, which has no price for it, as much as plain input.
#[test]
fn what_all_prompts_begin_with_is_marked_where_the_model_keeps_it() {
    for (model, wish, saved, lost) in [
        ("us.amazon.nova-lite-v1:0", "auto", 45, 0),
        ("global.anthropic.claude-haiku-5-5", "auto", 90, 25),
        ("global.anthropic.claude-haiku-5-5", "1h", 90, 100),
    ] {
        let sim = Sim::of("bedrock", &["--latency-ms", "150"]);
        let place = place(&sim);
        let line = format!("run rows.csv --yes --lane sync --prompt-cache {wish} --out out.csv");
        let report = run_at(&place, &format!("bedrock/{model}"), 40, &line).expect(0).json();
        let (written, read) = cached_by(&sim, &model.replace("us.amazon", "amazon"));
        assert!(written > 1_000 && read == 39 * written, "{model}: {written} {read}");
        let (written, read) = (i64::try_from(written).unwrap(), i64::try_from(read).unwrap());
        assert_eq!(proved(&place, &sim, &report), read * saved - written * lost, "{model} {wish}");
    }
}

#[test]
fn what_a_model_or_lane_does_not_keep_is_not_marked_and_the_plan_says_why() {
    let sim = Sim::of("bedrock", &[]);
    let place = place(&sim);
    for (model, line, why) in [
        ("us.amazon.nova-lite-v1:0", "--prompt-cache 1h", Some("keeps no prompt for an hour")),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "", Some("the model caches from 4096 on")),
        ("mistral.ministral-3-8b-instruct", "", None),
        ("mistral.ministral-3-8b-instruct", "--prompt-cache 5m", Some("takes no marks here")),
    ] {
        let model = format!("bedrock/{model}");
        let plan = run_at(&place, &model, 20, &format!("plan rows.csv --lane sync {line}")).expect(0).json();
        let told = plan["prompt_cache"].get(0).map(|told| told["why"].as_str().unwrap());
        assert_eq!(told.is_some(), why.is_some(), "{model}: {plan}");
        assert!(told.unwrap_or_default().contains(why.unwrap_or_default()), "{model}: {plan}");
    }
}

#[test]
fn a_key_of_the_service_takes_the_place_of_signatures() {
    let sim = Sim::of("bedrock", &["--api-key", "bedrock-api-key-canary"]);
    let place =
        Place::new().set("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-canary").set("AWS_REGION", "eu-west-1");
    let place = place.set("BEDROCK_BASE_URL", &sim.base_url);
    whole(&place, &sim, ask(&place, MODEL, ""));
}

#[test]
fn limits_and_faults_cost_time_and_no_rows() {
    let faults =
        ["--fault", "429=0.1", "--fault", "5xx:0.1=503", "--fault", "refusal@3", "--fault", "length@5"];
    let sim = Sim::of("bedrock", &[&["--rpm", "6000"], &faults[..]].concat());
    let place = place(&sim);
    whole(&place, &sim, ask(&place, MODEL, ""));
    let calls = sim.get("/sim/requests");
    let converse = &calls["by_path"]["POST /model/{model}/converse"];
    assert!(converse["429"].as_u64() > Some(0) && converse["503"].as_u64() > Some(0), "{calls}");
}

#[test]
fn an_account_that_cannot_pay_stops_the_job() {
    let sim = Sim::of("bedrock", &["--fault", "insufficient-quota"]);
    let said = ask(&place(&sim), MODEL, "");
    assert_eq!(said.json()["halted_by"], "billing", "{said:?}");
    let calls = sim.get("/sim/requests");
    assert!(calls["total"].as_u64() < Some(ROWS as u64), "{calls}");
}

#[test]
fn credentials_that_are_wrong_missing_or_for_elsewhere_are_told() {
    let sim = Sim::of("bedrock", &["--api-key", &pair(), "--region", "us-east-1"]);
    let halted = |place: Place, words: &[&str]| {
        let said = ask(&place, MODEL, "");
        assert_eq!(said.json()["halted_by"], "auth", "{said:?}");
        for word in words {
            assert!(said.stderr.contains(word) && !said.stderr.contains("canary"), "{word}: {said:?}");
        }
    };
    halted(
        place(&sim).set("AWS_SECRET_ACCESS_KEY", "wrong-canary-0123456789"),
        &["does not match the signature"],
    );
    halted(
        place(&sim).set("AWS_ACCESS_KEY_ID", "AKIAWRONG"),
        &["security token included in the request is invalid"],
    );
    halted(place(&sim).set("AWS_REGION", "eu-west-1"), &["'eu-west-1' is wrong", "us-east-1"]);
    let none = Place::new().set("AWS_REGION", "us-east-1").set("AWS_EC2_METADATA_DISABLED", "true");
    halted(none.set("BEDROCK_BASE_URL", &sim.base_url), &["`AWS_ACCESS_KEY_ID`"]);
    let region = Place::new().set("BEDROCK_BASE_URL", &sim.base_url);
    let said = ask(&region, MODEL, "");
    assert!(said.code != 0 && said.stderr.contains("`AWS_REGION`"), "{said:?}");
    let bill = sim.bill();
    assert_eq!(bill["requests"], 0, "{bill}");
}

#[test]
fn doctor_checks_the_account_for_free() {
    let sim = Sim::of("bedrock", &["--api-key", &pair()]);
    let text = place(&sim).run(&format!("doctor --model {MODEL}"), &[]).expect(0).stdout;
    for word in ["signed with the credentials of this machine", "the provider answers"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let wrong = place(&sim).set("AWS_ACCESS_KEY_ID", "AKIAWRONG");
    let said = wrong.run(&format!("doctor --model {MODEL}"), &[]).expect(4);
    assert!(said.stdout.contains("is invalid") && !said.stdout.contains("canary"), "{said:?}");
    let bill = sim.bill();
    assert_eq!(bill["requests"], 0, "{bill}");
}
