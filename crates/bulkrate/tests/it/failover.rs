//! Stand-ins in a lane of their own, and when they have rows, as people name them.

use serde_json::{Value, json};

use super::support::{ASK, Place, Sim, reviews, table};

const GROQ: &str = "groq/openai/gpt-oss-20b";

/// OpenAI with a fault, and Groq beside it.
fn two(fault: &str) -> (Sim, Sim, Place) {
    let openai = Sim::start(&["--fault", fault]);
    let groq = Sim::start(&["--like", "groq"]);
    let place = Place::with(&openai).set("GROQ_API_KEY", "gsk-sim").set("GROQ_BASE_URL", &groq.base_url);
    place.put("data.csv", reviews(40));
    (openai, groq, place)
}

fn bill(sim: &Sim) -> i64 {
    sim.bill()["total_usd_nanos"].as_i64().unwrap()
}

#[test]
fn rows_of_batches_that_are_refused_for_good_are_called_for_where_the_list_says() {
    let (openai, groq, place) = two("insufficient-quota:create@1-99");
    let line = format!(
        "run data.csv --yes --lane batch --no-canary --fallback {GROQ}@sync --fallback-when capacity --out out.csv --json"
    );
    let report = place.run(&line, &ASK).expect(0).json();
    assert_eq!((bill(&openai), &report["succeeded"]), (0, &json!(40)), "{report}");
    assert_eq!(report["spent_usd_nanos"].as_i64(), Some(bill(&groq)), "{report}");
    let (header, rows) = table(&place.path("out.csv"));
    let lane = header.iter().position(|name| name == "_lane").unwrap();
    assert!(rows.iter().all(|row| row[lane] == "sync"), "{rows:?}");
    let shown = place.run("show data r-0", &[]).expect(0).json();
    let instead = json!({ "of": "openai/gpt-6-luna", "asked": GROQ, "why": "billing" });
    let attempts: &Vec<Value> = shown["attempts"].as_array().unwrap();
    assert_eq!(attempts.last().unwrap()["result"]["instead"], instead, "{shown}");
    place.run("verify data", &[]).expect(0);
}

#[test]
fn a_lane_or_a_word_that_is_none_is_refused_with_what_is_wrong() {
    let (_openai, _groq, place) = two("insufficient-quota:create@1-99");
    let line = format!("plan data.csv --lane batch --fallback {GROQ}@flex");
    let words = ["the flex lane is not available", &format!("`--fallback` names `{GROQ}@flex`")];
    place.run(&line, &ASK).error(2, "lane-unavailable", &words);
    let said = place.run("plan data.csv --fallback-when never", &ASK);
    assert!(said.code == 2 && said.stderr.contains("outage") && said.stderr.contains("capacity"), "{said:?}");
    let line = "plan data.csv --lane sync --fallback openai/gpt-6-luna@batch --json";
    let plan = place.run(line, &ASK).expect(0).json();
    assert!(plan["warnings"].to_string().contains("does not wait for batches"), "{plan}");
}
