//! Jobs of decisions: one of the choices for each row, its chances kept, and only what was read paid for.

use serde_json::{Value, json};

use super::jobs::nanos;
use super::support::{Place, Said, Sim, reviews, table};

const ROWS: usize = 60;
const MODEL: &str = "openai/gpt-6-luna";

fn ask(place: &Place, line: &str, model: &str) -> Said {
    ask_of(place, "decision", line, model)
}

fn ask_of(place: &Place, kind: &str, line: &str, model: &str) -> Said {
    place.put("reviews.csv", reviews(ROWS));
    let choices = "positive,negative,neutral";
    let more = [
        "--system",
        "Give the sentiment.",
        "--user",
        "Review: {{ text }}",
        "--choices",
        choices,
        "--id",
        "id",
    ];
    place.run(&format!("{line} --kind {kind} --model {model}"), &more)
}

#[test]
fn each_row_gets_a_choice_and_only_what_was_read_is_paid() {
    let sim = Sim::start(&["--fault", "429=0.1", "--fault", "refusal@3"]);
    let place = Place::with(&sim);
    let report = ask(&place, "run reviews.csv --yes --json --out out.csv", MODEL).expect(0).json();
    let bill = sim.bill();
    assert_eq!(nanos(&report, "spent"), nanos(&bill, "total"), "{report} {bill}");
    // A tenth of a dollar for a million tokens that were read, and nothing for what was said.
    let by = &bill["by_model"]["gpt-6-luna/v1/decisions"];
    assert_eq!(Some(nanos(&bill, "total")), by["input_tokens"].as_i64().map(|tokens| tokens * 100), "{bill}");
    assert!(by["output_tokens"].as_u64() > Some(0), "{bill}");
    assert!(sim.get("/sim/requests")["by_path"]["POST /v1/decisions"]["200"].as_u64() > Some(50));
    place.proved("reviews", &sim);
    let (header, rows) = table(&place.path("out.csv"));
    let answer = header.iter().position(|name| name == "answer").unwrap();
    assert_eq!(rows.len(), ROWS);
    assert!(rows.iter().all(|row| ["positive", "negative", "neutral"].contains(&row[answer].as_str())));
    // Kept beside the answer: all chances, and how sure that makes of the one that was chosen.
    let kept = std::fs::read_to_string(place.job_dir().join("results.jsonl")).unwrap();
    let lines: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let good: Vec<&Value> = lines.iter().filter(|line| line["status"] == "succeeded").collect();
    assert_eq!(good.len(), 55);
    for line in good {
        let chosen = line["response"]["text"].as_str().unwrap();
        let chance = line["probabilities"][chosen].as_f64().unwrap();
        assert!(line["probabilities"].as_object().unwrap().len() == 3 && chance > 0.5, "{line}");
        assert!((line["sureness"]["logprob"].as_f64().unwrap() - chance).abs() < 2e-3, "{line}");
    }
    // A chat of the same rows is asked by itself.
    let line = "run reviews.csv --yes --json --lane sync --name chats --out chats.csv";
    let chats = ask_of(&place, "chat", line, MODEL).expect(0).json();
    assert!(nanos(&chats, "spent") > nanos(&report, "spent"), "{chats}");
}

#[test]
fn the_plan_says_when_a_batch_of_chats_is_cheaper() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    let told = |plan: &Value| {
        let all = plan["warnings"].as_array().unwrap();
        all.iter().find_map(|one| one.as_str().filter(|text| text.contains("as chats"))).unwrap().to_owned()
    };
    let plan = ask(&place, "plan reviews.csv --json", MODEL).expect(0).json();
    assert_eq!(plan["lane"], "sync", "{plan}");
    let lanes = plan["lanes"].as_array().unwrap();
    let lane = |name: &str| lanes.iter().find(|lane| lane["lane"] == name).unwrap();
    assert!(lane("batch")["unavailable"].as_str().unwrap().contains("no batch price"), "{plan}");
    assert!(
        told(&plan).ends_with("decisions are cheaper"),
        "the answer is long for so short a prompt: {plan}"
    );
    // What is expected is what a run pays, to a fifth.
    let spent =
        nanos(&ask(&place, "run reviews.csv --yes --json --out out.csv", MODEL).expect(0).json(), "spent");
    assert!((nanos(lane("sync"), "expected") - spent).abs() * 5 < spent, "{plan} {spent}");
    place.put("system.txt", "Give the sentiment of the review. ".repeat(40));
    let more = ["--user", "{{ text }}", "--choices", "positive,negative", "--id", "id", "--model", MODEL];
    let long =
        place.run("plan reviews.csv --json --kind decision --system @system.txt", &more).expect(0).json();
    assert!(told(&long).ends_with("a batch of chats is cheaper, and takes up to a day"), "{long}");
}

#[test]
fn what_cannot_be_decided_is_told_before_anything_is_sent() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    let said = |line: &str, model| ask(&place, &format!("run reviews.csv --yes --json {line}"), model);
    for (line, model, code, words) in [
        ("--lane batch", MODEL, "lane-unavailable", "no batch price"),
        ("--lane flex", MODEL, "lane-unavailable", "no flex price"),
        ("", "openai/gpt-5.6-luna", "model-unpriced", "`openai/gpt-6-luna`"),
        ("--bundle 5", MODEL, "option-invalid", "--bundle: asks several items in one chat"),
    ] {
        let error = said(line, model).expect(2).json()["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    for (more, words) in
        [(&["--system", "Sort."][..], "needs `--choices`"), (&["--choices", "a,b"], "needs `--system`")]
    {
        place
            .run("plan reviews.csv --kind decision --user {{text}} --id id --model openai/gpt-6-luna", more)
            .error(2, "option-invalid", &[words]);
    }
    // Lines of whole requests: all of them are decisions, or none is.
    let line = json!({"custom_id": "a", "kind": "decision", "system_prompt": ["Sort."], "messages": [{"role": "user", "content": "Hi"}], "generation_config": {"choices": ["a", "b"]}});
    place.put("items.jsonl", line.to_string());
    place.run("plan items.jsonl --model openai/gpt-6-luna", &[]).error(
        2,
        "item-bad-request",
        &["items.jsonl:1: ", "priced by themselves"],
    );
    let plan = place.run(
        "run items.jsonl --model openai/gpt-6-luna --kind decision --yes --json --out items.out.jsonl",
        &[],
    );
    assert_eq!(plan.expect(0).json()["succeeded"], 1);
    assert_eq!(sim.bill()["requests"], 1);
    // Nor are OpenAI's batch lines, which are chats: at the price of decisions their answers would be free.
    let line = json!({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "Hi"}]}});
    place.put("lines.jsonl", line.to_string());
    place.run("run lines.jsonl --kind decision --yes --out lines.out.jsonl", &[]).error(
        2,
        "item-bad-request",
        &["lines.jsonl:1: ", "priced by themselves"],
    );
    assert_eq!(sim.bill()["requests"], 1);
}
