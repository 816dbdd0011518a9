//! Services that are a row of data: whole jobs against servers like them, the names that reach them, and what is refused.

use super::jobs::{nanos, whole};
use super::support::{Place, Said, Sim, reviews, table};

const ROWS: usize = 20;

fn job(place: &Place, model: &str, line: &str) -> Said {
    run(place, model, &format!("--json {line}"))
}

fn run(place: &Place, model: &str, line: &str) -> Said {
    let ask = [
        "--user",
        "Review: {{ text }}",
        "--choices",
        "positive,negative,neutral",
        "--model",
        model,
        "--id",
        "id",
    ];
    place.put("reviews.csv", reviews(ROWS));
    place.run(&format!("run reviews.csv --yes --out out.csv --poll-min 100ms {line}"), &ask)
}

/// Services with a batch API, the form of it being OpenAI's or not: the variable's name, a model, and what is saved in batches of
/// each dollar that they cost.
const IN_BATCHES: &[(&str, &str, &str, f64)] = &[
    ("groq", "GROQ", "groq/openai/gpt-oss-20b", 1.0),
    ("mistral", "MISTRAL", "mistral/mistral-small-2603", 1.0),
    ("together", "TOGETHER", "together/openai/gpt-oss-120b", 0.0),
    ("xai", "XAI", "xai/grok-4.3", 0.25),
    ("fireworks", "FIREWORKS", "fireworks/accounts/fireworks/models/gpt-oss-20b", 1.0),
];

#[test]
fn a_key_is_all_that_a_service_needs_in_both_lanes() {
    for (service, name, model, _) in IN_BATCHES {
        let sim = Sim::start(&["--like", service, "--api-key", "gsk-canary-123456"]);
        for lane in ["sync", "batch"] {
            let before = nanos(&sim.bill(), "total");
            let place = Place::new().set(&format!("{name}_API_KEY"), "gsk-canary-123456");
            let place = place.set(&format!("{name}_BASE_URL"), &sim.base_url);
            let report = job(&place, model, &format!("--lane {lane}")).expect(0).json();
            let bill = sim.bill();
            assert_eq!(nanos(&report, "spent"), nanos(&bill, "total") - before, "{lane}: {report} {bill}");
            assert!(nanos(&report, "spent") > 0);
            assert_eq!(bill["requests_batch"].as_u64() > Some(0), lane == "batch", "{bill}");
        }
    }
}

#[test]
fn a_lost_create_is_adopted_by_its_mark_whatever_the_form_of_the_batches() {
    for (service, name, model, saves) in IN_BATCHES {
        for fault in ["create-lost@1", "create-5xx@1", "create-no-id@1"] {
            let sim = Sim::start(&["--like", service, "--fault", fault]);
            let place = Place::new().set(&format!("{name}_API_KEY"), "sk-x");
            let place = place.set(&format!("{name}_BASE_URL"), &sim.base_url);
            let said = job(&place, model, "--lane batch --no-canary");
            assert!(said.stderr.contains("was found as "), "{service} {fault}: {said:?}");
            let (report, bill) = whole(&place, &sim, said, ROWS);
            assert_eq!(nanos(&report, "in_doubt"), 0, "{service} {fault}: {report}");
            // The discount but for a rounding of each request, and nothing but the batch.
            let saved = report["saved_usd_nanos"]["batch"].as_f64().unwrap_or(0.0);
            let spent = report["spent_usd_nanos"].as_f64().unwrap();
            assert!((saved - spent * saves).abs() <= ROWS as f64, "{service}: {report}");
            assert_eq!(bill["requests_sync"].as_u64(), Some(0), "{bill}");
            let creates = sim.get("/sim/requests")["by_path"]["POST /v1/batches"].clone();
            let sent: u64 = creates.as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum();
            assert_eq!(sent, 1, "{service} {fault}: {creates}");
            place.proved("reviews", &sim);
        }
    }
}

#[test]
fn a_charge_that_answers_report_is_what_the_ledger_settles() {
    for (service, key, model) in [
        ("openrouter", "OPENROUTER", "openrouter/openai/gpt-6-luna"),
        ("fluxrouter", "FLUXROUTER", "fluxrouter/flux-auto"),
    ] {
        let sim = Sim::start(&["--like", service]);
        let place = Place::new()
            .set(&format!("{key}_API_KEY"), "sk-x")
            .set(&format!("{key}_BASE_URL"), &sim.base_url);
        let (report, _) = whole(&place, &sim, job(&place, model, ""), ROWS);
        assert!(nanos(&report, "spent") > 0, "{report}");
        // Who answered, where a router says so in a header.
        let (header, rows) = table(&place.path("out.csv"));
        let served = header.iter().position(|name| name == "_model").unwrap();
        assert_eq!(rows[0][served].ends_with("flux-small-2"), service == "fluxrouter", "{:?}", rows[0]);
        // No price: a budget could not be kept.
        let budgeted = run(&place, model, "--budget 1 --force");
        budgeted.error(3, "model-unpriced", &["no known price"]);
    }
}

#[test]
fn a_server_of_ones_own_needs_no_key_and_costs_nothing() {
    let sim = Sim::start(&["--like", "vllm"]);
    let place = Place::new().set("VLLM_BASE_URL", &sim.base_url);
    let (report, _) = whole(&place, &sim, job(&place, "vllm/served-model", "--budget 1"), ROWS);
    assert_eq!(nanos(&report, "spent"), 0);
    // A machine has a price where the user says so.
    let place = Place::new().set("VLLM_BASE_URL", &sim.base_url);
    let priced = job(&place, "vllm/served-model", "--price-in 1 --price-out 2");
    assert!(nanos(&priced.expect(0).json(), "spent") > 0);
}

#[test]
fn what_is_not_set_up_says_which_variable() {
    let place = Place::new();
    for (model, code, exit, words) in [
        ("groq/openai/gpt-oss-20b", "credentials-missing", 4, &["GROQ_API_KEY"][..]),
        ("groq/of-tomorrow", "credentials-missing", 4, &["GROQ_API_KEY"]),
        ("mistral-small-latest", "credentials-missing", 4, &["MISTRAL_API_KEY"]),
        ("voyage/voyage-4", "provider-not-set-up", 2, &["voyage"]),
    ] {
        run(&place, model, "").error(exit, code, words);
    }
    let place = Place::new().set("GROQ_API_KEY", "gsk-x");
    run(&place, "groq/of-tomorrow", "").error(2, "model-unpriced", &["groq/of-tomorrow", "--price-in"]);
    let flex = run(&place, "groq/openai/gpt-oss-20b", "--lane flex --price-in 1 --price-out 1");
    assert!(flex.code != 0 && flex.stderr.contains("no flex lane"), "{flex:?}");
}

/// Who rehearses with one address for everything never pays by another way.
#[test]
fn a_base_url_for_everything_takes_what_has_no_address_of_its_own() {
    let sim = Sim::start(&["--any-model"]);
    let place = Place::new().set("OPENAI_API_KEY", "sk-sim").set("GROQ_API_KEY", "gsk-canary-987654");
    let said = job(&place, "groq/openai/gpt-oss-20b", &format!("--base-url {}", sim.base_url));
    said.expect(0);
    let bill = sim.bill();
    assert!(bill["requests"].as_u64() > Some(0), "{bill}");
}

/// The variable may be there for OpenAI's models alone: it takes no service's place where that can be reached by itself.
#[test]
fn openai_base_url_in_the_environment_outranks_no_service_of_its_own() {
    let sim = Sim::start(&["--any-model"]);
    let both = || Place::with(&sim).set("GROQ_API_KEY", "gsk-x");
    let words = [
        "`GROQ_API_KEY` is set",
        "`OPENAI_BASE_URL`",
        "GROQ_BASE_URL=https://api.groq.com/openai/v1",
        "--base-url",
    ];
    for model in ["groq/openai/gpt-oss-20b", "groq/of-tomorrow"] {
        run(&both(), model, "--price-in 1 --price-out 1").error(2, "provider-ambiguous", &words);
    }
    // A model that its service alone sells, without the service's name before it.
    let place = Place::with(&sim).set("MISTRAL_API_KEY", "m-x");
    run(&place, "mistral-small-latest", "").error(2, "provider-ambiguous", &["`MISTRAL_API_KEY` is set"]);
    // One that stands in, and one that needs no key.
    let stands_in = run(&both(), "openai/gpt-6-luna", "--fallback groq/openai/gpt-oss-20b");
    stands_in.error(2, "provider-ambiguous", &words);
    run(&Place::with(&sim), "ollama/llama", "").error(
        2,
        "provider-ambiguous",
        &["needs no key", "OLLAMA_BASE_URL"],
    );
    assert_eq!(sim.bill()["requests"], 0);
    let doctor = both().run("doctor", &[]).stdout;
    assert!(doctor.contains("groq   `GROQ_API_KEY` is set, and so is `OPENAI_BASE_URL`"), "{doctor}");
    both().run("doctor --model groq/openai/gpt-oss-20b", &[]).expect(2);
    // OpenAI's own go there whatever else is set up; so does a service that is not, and one with an address goes to that.
    job(&both(), "openai/gpt-6-luna", "").expect(0);
    job(&Place::with(&sim), "groq/openai/gpt-oss-20b", "").expect(0);
    let groq = Sim::start(&["--like", "groq"]);
    job(&both().set("GROQ_BASE_URL", &groq.base_url), "groq/openai/gpt-oss-20b", "").expect(0);
    assert!(groq.bill()["requests"].as_u64() > Some(0));
}

#[test]
fn doctor_lists_services() {
    let sim = Sim::start(&["--like", "groq"]);
    let place = Place::new().set("GROQ_API_KEY", "gsk-x").set("GROQ_BASE_URL", &sim.base_url);
    let text = place.run("doctor", &[]).expect(0).stdout;
    for word in ["groq it answers; sync and batch", "mistral (MISTRAL_API_KEY)", "ollama (OLLAMA_BASE_URL)"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("groq (GROQ_API_KEY)"), "{text}");
    let text = place.run("doctor --model groq/openai/gpt-oss-20b", &[]).expect(0).stdout;
    for word in ["known and priced", "`GROQ_API_KEY` is set", "there is a batch API"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let text = Place::new().run("doctor", &[]).expect(4).stdout;
    assert!(text.contains("`OPENAI_API_KEY` is not set"), "{text}");
}
