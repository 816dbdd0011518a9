//! A row that differs from an answered one in a setting alone is asked: neither the response cache nor the semantic cache answers it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::jobs::nanos;
use super::support::{Place, Sim};

/// One other field each, of the line or of its `generation_config`.
fn fields() -> Vec<(&'static str, Value)> {
    let tools = json!({"tools": [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]});
    let schema = json!({"type": "object", "properties": {"thing": {"type": "string"}}, "required": ["thing"], "additionalProperties": false});
    vec![
        ("model", json!("openai/gpt-6.1-terra")),
        ("system_prompt", json!("Be brief.")),
        ("sample", json!(1)),
        ("provider_kwargs", tools),
        ("provider_kwargs", json!({"logit_bias": {"50256": -100}})),
        ("max_tokens", json!(2001)),
        ("temperature", json!(0.25)),
        ("top_p", json!(0.5)),
        ("presence_penalty", json!(0.5)),
        ("frequency_penalty", json!(0.5)),
        ("stop_sequences", json!(["END"])),
        ("seed", json!(7)),
        ("output_schema", schema),
        ("choices", json!(["card", "parcel"])),
    ]
}

const CHOICES: [&str; 3] = ["card", "parcel", "account"];

/// A model that takes every setting, and one that thinks.
const PLAIN: &str = "openai/gpt-4.1-mini";
const THINKS: &str = "openai/gpt-6-luna";

fn line(id: &str, model: &str, text: &str, field: Option<&(&'static str, Value)>) -> String {
    let mut line = json!({"custom_id": id, "model": model, "messages": [{"role": "user", "content": text}]});
    line["generation_config"] = json!({"choices": CHOICES, "max_tokens": 2000});
    if let Some((name, value)) = field {
        match *name {
            "model" | "system_prompt" | "sample" | "provider_kwargs" => line[name] = value.clone(),
            _ => line["generation_config"][name] = value.clone(),
        }
        if *name == "output_schema" {
            line["generation_config"].as_object_mut().unwrap().remove("choices");
        }
    }
    format!("{line}\n")
}

/// The bases, and one line a field.
fn apart(text: &str) -> ([String; 2], Vec<String>) {
    let bases = [line("plain", PLAIN, text, None), line("thinks", THINKS, text, None)];
    let efforts = ["none", "low", "high"].map(|effort| ("reasoning", json!(effort)));
    let fields = fields();
    let others = fields.iter().map(|field| (PLAIN, field)).chain(efforts.iter().map(|field| (THINKS, field)));
    let others = others
        .enumerate()
        .map(|(at, (model, field))| line(&format!("f-{at}-{}", field.0), model, text, Some(field)));
    (bases, others.collect())
}

#[test]
fn the_response_cache_answers_only_what_is_equal_in_every_field() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    let (bases, others) = apart("where is my card?");
    let lines = [bases.to_vec(), others].concat();
    let rows = lines.len() as u64;
    place.put("base.jsonl", bases.concat()).put("all.jsonl", lines.concat());
    let run = |file: &str, name: &str| {
        place
            .run(&format!("run {file}.jsonl --yes --json --lane sync --name {name} --out {name}.jsonl"), &[])
            .expect(0)
            .json()
    };
    let counts = |report: &Value| {
        ["succeeded", "cached", "duplicates", "requests_sent"].map(|key| report[key].as_u64().unwrap())
    };
    assert_eq!(counts(&run("base", "one")), [2, 0, 0, 2]);
    // Of all of them only the bases were answered before, and no two are equal.
    assert_eq!(counts(&run("all", "two")), [rows, 2, 0, rows - 2]);
    // Each is kept under its own key: in another order, and by other ids, all are found again.
    let again: String =
        lines.iter().rev().map(|line| line.replacen("\"custom_id\":\"", "\"custom_id\":\"x", 1)).collect();
    place.put("again.jsonl", again);
    let third = run("again", "three");
    assert_eq!((counts(&third), nanos(&third, "spent")), ([rows, rows, 0, 0], 0));
}

#[test]
fn the_semantic_cache_answers_only_what_is_alike_in_text_and_equal_in_the_rest() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    let ends = ["", ".", "!", " thanks", " bye", " ok", " really", " soon", " today", " friends", " folks"];
    let words = [
        "",
        "hello, ",
        "sorry, ",
        "again: ",
        "well, ",
        "urgent: ",
        "hi there, ",
        "so, ",
        "hey, ",
        "good day, ",
        "once more: ",
    ];
    let text = |at: usize| format!("{}where is my card{}", words[at / 11], ends[at % 11]);
    // What is alike first, so that it is served; then its very words with one other field; then more that is alike.
    let mut rows: Vec<String> = (0..60).map(|at| line(&format!("a-{at}"), PLAIN, &text(at), None)).collect();
    for (at, field) in fields().iter().enumerate() {
        rows.extend(
            (0..3).map(|row| line(&format!("f-{at}-{row}-{}", field.0), PLAIN, &text(60 + row), Some(field))),
        );
    }
    rows.extend((63..121).map(|at| line(&format!("b-{at}"), PLAIN, &text(at), None)));
    place.put("rows.jsonl", rows.concat());
    let args = ["--semantic-cache", "20%", "--concurrency-max", "1", "--choices", "card,parcel,account"];
    let report = place.run("run rows.jsonl --yes --json --lane sync --out a.jsonl", &args).expect(0).json();
    let lanes: BTreeMap<String, String> = place
        .read("a.jsonl")
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            (
                row["custom_id"].as_str().unwrap().to_owned(),
                row["_lane"].as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    assert_eq!(
        (report["succeeded"].as_u64(), lanes.len()),
        (Some(rows.len() as u64), rows.len()),
        "{report}"
    );
    for (id, lane) in lanes.iter().filter(|(id, _)| id.starts_with("f-")) {
        assert_eq!(lane, "sync", "{id}");
    }
    let served =
        |kind: &str| lanes.iter().filter(|(id, lane)| id.starts_with(kind) && *lane == "semantic").count();
    assert!(served("a-") > 10 && served("b-") > 8, "{} {}", served("a-"), served("b-"));
}
