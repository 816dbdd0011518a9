//! Pilots: what they cost, that nothing of them is paid twice, which plan they find, and that it is carried out.

use bulkrate_store::{SqliteStore, View as _};
use serde_json::Value;

use super::jobs::nanos;
use super::support::{Place, Sim, reviews};

pub(super) const SOL: &str = "openai/gpt-6.1-sol";
pub(super) const LUNA: &str = "openai/gpt-6-luna";
pub(super) const TERRA: &str = "openai/gpt-6.1-terra";

/// The job, without its verb and what follows it.
pub(super) const JOB: [&str; 9] = [
    "reviews.csv",
    "--user",
    "Review of a {{ product }}: {{ text }}",
    "--system",
    "Say whether a review is positive, negative or neutral.",
    "--id",
    "id",
    "--model",
    SOL,
];
pub(super) const CHOICES: [&str; 2] = ["--choices", "positive,negative,neutral"];
pub(super) const TWO: [&str; 4] = ["--candidate", LUNA, "--candidate", TERRA];

pub(super) fn shop(sim: &Sim, rows: usize) -> Place {
    let place = Place::with(sim);
    place.put("reviews.csv", reviews(rows));
    place
}

pub(super) fn pilot(place: &Place, line: &str, more: &[&[&str]]) -> super::support::Said {
    place.run(&format!("plan --json {line}"), &[&[&JOB[..], &CHOICES], more].concat().concat())
}

/// The same, in words for a person.
pub(super) fn told(place: &Place, line: &str, more: &[&[&str]]) -> super::support::Said {
    place.run(&format!("plan {line}"), &[&[&JOB[..], &CHOICES], more].concat().concat())
}

/// The plans of these models and this lane.
pub(super) fn plan<'v>(found: &'v Value, models: &[&str], lane: &str) -> &'v Value {
    let plans = found["plans"].as_array().unwrap();
    plans.iter().find(|plan| plan["models"] == serde_json::json!(models) && plan["lane"] == lane).unwrap()
}

pub(super) fn winner(found: &Value) -> &Value {
    let number = usize::try_from(found["winner"].as_u64().unwrap()).unwrap();
    &found["plans"][number - 1]
}

pub(super) fn billed(sim: &Sim) -> i64 {
    nanos(&sim.bill(), "total")
}

#[test]
fn a_pilot_costs_what_it_says_and_is_paid_once() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 600);
    let line = "--pilot 100 --yes";
    let found = pilot(&place, line, &[&TWO]).expect(0).json();
    assert_eq!(found["items"], 100);
    let paid = billed(&sim);
    assert_eq!(nanos(&found, "spent"), paid);
    let models = found["models"].as_array().unwrap();
    assert_eq!(models.iter().map(|model| nanos(model, "spent")).sum::<i64>(), paid);
    assert!(paid > 0 && models.iter().all(|model| model["unusable"] == 0), "{found}");

    // Again: the same, for nothing; and a larger one pays only for what is new.
    let again = pilot(&place, line, &[&TWO]).expect(0).json();
    assert_eq!((billed(&sim), nanos(&again, "spent")), (paid, paid));
    let more = pilot(&place, "--pilot 160 --yes", &[&TWO]).expect(0).json();
    let asked = sim.bill()["requests"].as_u64().unwrap();
    assert!(asked <= 3 * 160, "{asked}");
    // The jobs of the larger one have paid for the rest alone, and what it says is what all of them have cost.
    assert!(billed(&sim) > paid, "{more}");
    assert_eq!(billed(&sim), nanos(&more, "spent"));

    // The run pays for what nobody asked yet, and the answers of the pilot are in it.
    let before = billed(&sim);
    let report = place
        .run(
            "run --json --plan cheapest --quality-loss 6% --yes --out labels.csv",
            &[&JOB[..], &CHOICES].concat(),
        )
        .expect(0)
        .json();
    assert_eq!(report["succeeded"], 600);
    assert!(report["cached"].as_u64().unwrap() > 130, "{report}");
    assert_eq!(billed(&sim) - before, nanos(&report, "spent"));
    let leaders = 600 - 60 + 1;
    let sent = report["requests_sent"].as_u64().unwrap();
    assert_eq!(sent + report["cached"].as_u64().unwrap(), leaders, "{report}");
    place.run("verify reviews", &[]).expect(0);
}

#[test]
fn the_cheapest_that_is_proved_wins_and_is_run() {
    // Luna answers two of five as if it had not read them; terra is as good as the strong model.
    let sim = Sim::start(&["--weak", "gpt-6-luna=0.4"]);
    let place = shop(&sim, 1_500);
    let found = pilot(&place, "--pilot 400 --budget 1", &[&TWO]).expect(0).json();
    let best = winner(&found);
    assert_eq!(
        (&best["models"], best["priced"].as_bool()),
        (&serde_json::json!([TERRA]), Some(true)),
        "{found}"
    );
    assert!(best["quality"]["high"].as_f64().unwrap() <= 0.02, "{best}");
    assert_eq!(best["quality"]["labels"], 400);
    let luna = plan(&found, &[LUNA], "batch");
    assert_eq!(luna["lost"]["reason"], "quality_unproved");
    assert!(luna["quality"]["loss"].as_f64().unwrap() > 0.15, "{luna}");
    assert_eq!(plan(&found, &[SOL], "batch")["lost"]["reason"], "dearer");
    // Two that agree are right; where they do not, the strong model is asked.
    let agree = plan(&found, &[LUNA, TERRA, SOL], "batch");
    assert_eq!((agree["accept"].as_str(), agree["lost"]["reason"].as_str()), (Some("agree"), Some("dearer")));
    assert!(agree["rejected_permille"].as_u64().unwrap() > 150, "{agree}");

    let spent = nanos(&found, "spent");
    let said = place
        .run("run --json --plan cheapest --budget 1 --out a.csv", &[&JOB[..], &CHOICES].concat())
        .expect(0);
    let report = said.json();
    assert!(
        said.stderr.contains(&format!("plan {}: the cheapest", best["name"].as_str().unwrap())),
        "{}",
        said.stderr
    );
    assert!(nanos(&report, "spent") <= nanos(best, "p95"), "{report} {best}");
    // The budget holds pilot and run together.
    let jobs = SqliteStore::open_reader(&place.path(".bulkrate")).unwrap().jobs().unwrap();
    let spec: Value = serde_json::from_str(&jobs.last().unwrap().spec).unwrap();
    assert_eq!(spec["run"]["budget"], 1_000_000_000 - spent, "{spec}");
    assert_eq!(billed(&sim), spent + nanos(&report, "spent"));
}

#[test]
fn a_cascade_is_found_by_what_a_model_says_of_itself() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 400);
    let schema = r#"{"type":"object","additionalProperties":false,"required":["sentiment","confidence"],
        "properties":{"sentiment":{"enum":["positive","negative","neutral"]},
        "confidence":{"type":"number","minimum":0,"maximum":1}}}"#;
    place.put("sure.json", schema);
    let ask = [&JOB[..], &["--schema", "sure.json"]].concat();
    let found = place
        .run("plan --json --pilot 120 --yes --quality-loss 5% --cascade openai/gpt-6-luna --accept confidence>=0.5", &ask)
        .expect(0)
        .json();
    assert_eq!(found["compared"], serde_json::json!(["sentiment"]));
    let plans = found["plans"].as_array().unwrap();
    let sure = plans
        .iter()
        .find(|plan| plan["accept"].as_str().is_some_and(|rule| rule.starts_with("confidence")))
        .unwrap();
    assert_eq!(sure["models"], serde_json::json!([LUNA, SOL]));
    let number = sure["number"].as_u64().unwrap();
    let report = place
        .run(&format!("run --json --plan {number} --yes --poll-min 50ms --out a.csv"), &ask)
        .expect(0)
        .json();
    assert_eq!((report["succeeded"].as_u64(), report["naive_model"].as_str()), (Some(400), Some(SOL)));
    assert!(report["cascade"]["accepted"].as_u64().unwrap() > 0, "{report}");
    place.run("verify reviews", &[]).expect(0);
    // A job that is gone on with counts with what the pilot has learned, too.
    place.run("resume reviews --json", &[]).expect(0);
}

#[test]
fn a_model_that_cannot_be_asked_is_told_of_and_the_others_are_compared() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 200);
    let others =
        ["--candidate", LUNA, "--candidate", "openai/gpt-none", "--candidate", "anthropic/claude-opus-4-8"];
    let found = pilot(&place, "--pilot 100 --yes --quality-loss 5%", &[&others]).expect(0).json();
    let models = found["models"].as_array().unwrap();
    let failed: Vec<bool> = models.iter().map(|model| !model["failed"].is_null()).collect();
    assert_eq!(failed, [false, false, true, true], "{found}");
    assert!(models[2]["failed"].as_str().unwrap().contains("gpt-none"), "{found}");
    assert_eq!(winner(&found)["models"], serde_json::json!([LUNA]));
    assert_eq!(nanos(&found, "spent"), billed(&sim));
}

#[test]
fn a_budget_that_does_not_cover_the_pilot_sends_nothing() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 200);
    told(&place, "--pilot 100 --budget 0.0001", &[&TWO]).error(
        3,
        "budget-too-small",
        &["100 items", "--pilot"],
    );
    // Nobody can be asked, and nobody said yes.
    told(&place, "--pilot 100", &[&TWO]).error(3, "plan-not-confirmed", &["--yes"]);
    assert_eq!(sim.bill()["requests"], 0);
    let found = pilot(&place, "--pilot 100 --budget 0.05", &[&TWO]).expect(0).json();
    assert!(billed(&sim) <= 50_000_000 && nanos(&found, "spent") == billed(&sim), "{found}");
}

#[test]
fn the_budget_holds_all_pilots_of_a_job_together() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 400);
    pilot(&place, "--pilot 100 --budget 1", &[&["--candidate", LUNA]]).expect(0);
    let paid = billed(&sim);
    // Ten items more, and a candidate less: little by itself, too much on top of what the first pilot has cost.
    let budget = format!("--budget {}.{:09}", paid / 1_000_000_000, paid % 1_000_000_000 + 1_000);
    told(&place, &format!("--pilot 110 {budget}"), &[]).error(3, "budget-too-small", &["earlier pilots"]);
    assert_eq!(billed(&sim), paid);
    // The run has what all pilots leave.
    let found = pilot(&place, "--pilot 110 --budget 1", &[]).expect(0).json();
    assert!(billed(&sim) > paid && nanos(&found, "spent") == billed(&sim), "{found}");
    assert_eq!(nanos(&found, "budget"), 1_000_000_000 - billed(&sim), "{found}");
}

#[test]
fn a_run_by_a_plan_is_gone_on_with_by_the_same_plan() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 300);
    let found =
        pilot(&place, "--pilot 150 --yes --quality-loss 5%", &[&["--candidate", LUNA]]).expect(0).json();
    assert_eq!(winner(&found)["models"], serde_json::json!([LUNA]));
    let job = [&JOB[..], &CHOICES].concat();
    let line = "run --json --plan cheapest --quality-loss 5% --yes --poll-min 50ms --out a.csv";
    let first = place.run(line, &job).expect(0).json();
    // A pilot without the model finds another winner, which would ask all items again.
    let other = pilot(&place, "--pilot 160 --yes", &[]).expect(0).json();
    assert_eq!(winner(&other)["models"], serde_json::json!([SOL]));
    let paid = billed(&sim);
    let again = place.run(line, &job).expect(0);
    assert!(again.stderr.contains("is gone on with: openai/gpt-6-luna"), "{}", again.stderr);
    assert_eq!((again.json()["job"].as_str(), billed(&sim)), (first["job"].as_str(), paid));
    // By its number another plan is run.
    let line = format!("run --json --plan {} --yes --poll-min 50ms --out b.csv", other["winner"]);
    place.run(&line, &job).expect(0);
    assert!(billed(&sim) > paid);
}

#[test]
fn a_pilot_that_was_killed_goes_on() {
    let sim = Sim::start(&["--latency-ms", "150"]);
    let place = shop(&sim, 400);
    let line = "plan --pilot 200 --yes --rpm 3000".split(' ');
    let args: Vec<&str> = line.chain(JOB).chain(CHOICES).chain(TWO).collect();
    place.kill_when(&args, |job| job["succeeded"].as_u64() > Some(20));
    let found = pilot(&place, "--pilot 200 --yes", &[&TWO]).expect(0).json();
    for model in found["models"].as_array().unwrap() {
        assert_eq!(
            (model["failed"].is_null(), model["answered"].as_u64() > Some(150)),
            (true, true),
            "{found}"
        );
        place.run(&format!("verify {}", model["job"].as_str().unwrap()), &[]).expect(0);
    }
    // What was in flight when it died may have been paid twice, and nothing else.
    let doubt: i64 = place
        .run("status --json", &[])
        .expect(0)
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|job| nanos(job, "in_doubt"))
        .sum();
    let (paid, spent) = (billed(&sim), nanos(&found, "spent"));
    assert!(spent <= paid && paid <= spent + doubt, "{spent} {paid} {doubt}");
}

#[test]
fn a_pilot_of_some_records_says_nothing_of_the_others() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 300);
    pilot(&place, "--pilot 60 --limit 100 --yes", &[]).expect(0);
    let job = [&JOB[..], &CHOICES].concat();
    let run = |limit: &str| {
        place.run(&format!("run --plan cheapest --yes --poll-min 50ms --out a.csv {limit}"), &job)
    };
    run("").error(2, "pilot-missing", &["first 100 records"]);
    run("--limit 101").error(2, "pilot-missing", &["first 100 records"]);
    run("--limit 80").expect(0);
}

#[test]
fn a_job_that_could_not_start_has_no_pilot() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    // Rows 1 and 400 have one id; the sample has hardly both.
    let rows: String =
        (1..=400).map(|row| format!("{},a,text {row}\n", if row == 400 { 1 } else { row })).collect();
    place.put("reviews.csv", format!("id,product,text\n{rows}"));
    told(&place, "--pilot 20 --yes", &[&TWO]).error(2, "item-duplicate-id", &["occurs twice"]);
    assert_eq!(sim.bill()["requests"], 0);
}

#[test]
fn a_pilot_that_was_cancelled_is_not_compared() {
    let sim = Sim::start(&["--latency-ms", "150"]);
    let place = shop(&sim, 400);
    let line = "plan --pilot 200 --yes --rpm 3000".split(' ');
    let args: Vec<&str> = line.chain(JOB).chain(CHOICES).chain(TWO).collect();
    place.kill_when(&args, |job| job["succeeded"].as_u64() > Some(20));
    place.run("cancel reviews-pilot-openai-gpt-6.1-sol", &[]).expect(0);
    drop(place.run("resume reviews-pilot-openai-gpt-6.1-sol", &[]));
    told(&place, "--pilot 200 --yes", &[&TWO]).error(2, "pilot-halted", &["bulkrate retry"]);
}

#[test]
fn labels_judge_the_strong_model_too() {
    let sim = Sim::start(&["--weak", "gpt-6.1-sol=0.5"]);
    let place = shop(&sim, 400);
    // What terra says is right, so that the strong model, which does not read half of the texts, is not.
    let terra =
        [&["--user", JOB[2], "--system", JOB[4], "--model", TERRA, "--id", "id"][..], &CHOICES].concat();
    place.run("run reviews.csv --yes --lane sync --out right.csv", &terra).expect(0);
    let (header, right) = super::support::table(&place.path("right.csv"));
    let at = |name: &str| header.iter().position(|column| column == name).unwrap();
    let rows: String = right
        .iter()
        .map(|row| {
            format!(
                "{},{},\"{}\",{}\n",
                row[at("id")],
                row[at("product")],
                row[at("text")],
                row[at("answer")].to_uppercase()
            )
        })
        .collect();
    place.put("reviews.csv", format!("id,product,text,right\n{rows}"));
    let found =
        pilot(&place, "--pilot 300 --yes --labels right", &[&["--candidate", TERRA]]).expect(0).json();
    let terra = plan(&found, &[TERRA], "batch");
    assert!(terra["quality"]["high"].as_f64().unwrap() < -0.1, "{terra}");
    assert_eq!(winner(&found)["models"], serde_json::json!([TERRA]));
    let right = |place: usize| found["models"][place]["right"].as_u64().unwrap();
    assert!(right(0) < 250 && right(1) == 300 && found["models"][0]["labelled"] == 300, "{found}");
    // Labels that are none of the choices would make all models equally bad, and the cheapest as good as any.
    let paid = billed(&sim);
    told(&place, "--pilot 300 --yes --labels product", &[&["--candidate", TERRA]]).error(
        2,
        "pilot-unfit",
        &["none of the choices"],
    );
    assert_eq!(billed(&sim), paid);
    told(&place, "--pilot 300 --yes --labels wrong", &[]).error(2, "column-unknown", &["`wrong`", "right"]);
}

#[test]
fn what_has_no_pilot_says_so() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 50);
    place.put(
        "lines.jsonl",
        r#"{"custom_id":"a","model":"openai/gpt-6-luna","messages":[{"role":"user","content":"hi"}]}"#,
    );
    place.run("plan lines.jsonl --pilot 10 --yes", &[]).error(2, "pilot-unfit", &["whole requests"]);
    told(&place, "--pilot 0 --yes", &[]).error(2, "pilot-unfit", &["from 1"]);
    let line = "run --plan cheapest --bundle 5 --yes --out a.csv";
    place.run(line, &[&JOB[..], &CHOICES].concat()).error(2, "pilot-missing", &["--pilot"]);
    place.run("run --plan cheapest --yes --out a.csv", &[&JOB[..], &CHOICES].concat()).error(
        2,
        "pilot-missing",
        &["--pilot"],
    );
    // Free text: nothing is compared, only the strong model is eligible, and too few items promise nothing.
    let found =
        place.run("plan --json --pilot 20 --yes --candidate openai/gpt-6-luna", &JOB).expect(0).json();
    assert_eq!(winner(&found)["models"], serde_json::json!([SOL]));
    assert_eq!(plan(&found, &[LUNA], "batch")["lost"]["reason"], "quality_unknown");
    let warnings = found["warnings"].to_string();
    assert!(warnings.contains("free text") && warnings.contains("too few"), "{warnings}");
    // No plan is taken by a number that is none, or where none keeps the promise.
    place.run("run --plan 99 --yes --out a.csv", &JOB).error(2, "pilot-no-plan", &["99"]);
    let line = "run --plan cheapest --deadline 1s --lane batch --yes --out a.csv";
    place.run(line, &JOB).error(2, "pilot-no-plan", &["may take"]);
    // Another request is another job, of which nothing is known.
    place.run("run --plan cheapest --yes --temperature 0 --out a.csv", &JOB).error(
        2,
        "pilot-missing",
        &["no pilot was made"],
    );
}
