//! Requests that differ in any one field share no answer: neither by their key, nor as rows that are alike.

use std::collections::{BTreeMap, BTreeSet};

use super::{Config, Request, write_canonical};
use crate::bundle::Kin;
use crate::cascade::Opinion;
use crate::prepare::key_of;
use crate::semantic::{Answers, Rarity};

/// Of each field, by its path, values that are each another call; the first is that of the base, and an empty one leaves it out.
const FIELDS: [(&str, &[&str]); 18] = [
    ("model", &["\"openai/m-1\"", "\"openai/m-2\"", "\"other/m-1\""]),
    ("kind", &["", "\"decision\""]),
    ("system_prompt", &["\"Be brief.\"", "\"Be brief\"", "", "[\"Be\",\"brief.\"]"]),
    ("before", &["", "{\"role\":\"user\",\"content\":\"a\"}", "{\"role\":\"assistant\",\"content\":\"a\"}"]),
    (
        "provider_kwargs",
        &[
            "{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}",
            "{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]}",
            "{\"tool_choice\":\"none\"}",
            "",
        ],
    ),
    ("sample", &["", "1", "2"]),
    ("generation_config.max_tokens", &["20", "21", ""]),
    ("generation_config.temperature", &["0.5", "0.25", "0", ""]),
    ("generation_config.top_p", &["0.9", "1", ""]),
    ("generation_config.top_k", &["40", "41", ""]),
    ("generation_config.stop_sequences", &["[\"x\"]", "[\"y\"]", "[\"x\",\"y\"]", ""]),
    ("generation_config.presence_penalty", &["0.1", "-0.1", ""]),
    ("generation_config.frequency_penalty", &["0.1", "-0.1", ""]),
    ("generation_config.seed", &["1", "-1", "0", ""]),
    ("generation_config.reasoning", &["\"low\"", "\"high\"", "\"none\"", "1024", ""]),
    (
        "generation_config.output_schema",
        &["{\"type\":\"object\"}", "{\"type\":\"object\",\"required\":[\"a\"]}", ""],
    ),
    ("generation_config.choices", &["[\"a\",\"b\"]", "[\"b\",\"a\"]", "[\"a\"]", ""]),
    ("generation_config.dimensions", &["256", "512", ""]),
];
/// And what is no part of the call.
const BESIDE: [(&str, &str); 4] = [
    ("custom_id", "\"r-2\""),
    ("tags", "{\"team\":\"a\"}"),
    ("cache", "\"refresh\""),
    ("route_by", "\"line\""),
];

/// The line of a request: the base's values, but for `other` in one field.
fn line(text: &str, field: &str, other: &str) -> String {
    let (mut top, mut config, mut before) = (BTreeMap::new(), BTreeMap::new(), String::new());
    for (path, values) in FIELDS {
        let value = if path == field { other } else { values[0] };
        match path.split_once('.') {
            _ if value.is_empty() => {}
            None if path == "before" => before = format!("{value},"),
            None => drop(top.insert(path, value)),
            Some((_, name)) => drop(config.insert(name, value)),
        }
    }
    top.extend(BESIDE.iter().filter(|(name, _)| *name == field).copied());
    let written = |fields: BTreeMap<&str, &str>| {
        fields.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect::<Vec<_>>().join(",")
    };
    let messages = format!("\"messages\":[{before}{{\"role\":\"user\",\"content\":\"{text}\"}}]");
    format!("{{{},{messages},\"generation_config\":{{{}}}}}", written(top), written(config))
}

fn with<T>(line: &str, of: impl FnOnce(&Request<'_>) -> T) -> T {
    of(&serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
}

/// Every line that differs from the base in one field, and which.
fn apart(text: &str) -> Vec<(&'static str, String)> {
    let of = |(path, values): (&'static str, &'static [&'static str])| {
        values.iter().skip(1).map(move |other| (path, line(text, path, other)))
    };
    FIELDS.into_iter().flat_map(of).collect()
}

/// A field that is new must be named here, and with it above: in `FIELDS`, or among those that do not change the answer.
#[test]
fn no_field_is_forgotten() {
    let Config {
        max_tokens: _,
        temperature: _,
        top_p: _,
        top_k: _,
        stop_sequences: _,
        presence_penalty: _,
        frequency_penalty: _,
        seed: _,
        reasoning: _,
        output_schema: _,
        choices: _,
        dimensions: _,
    } = Config::default();
    // `tags`, `priority`, `cache`, the id and what chose the model are no part of the call.
    let Request {
        custom_id: _,
        model: _,
        kind: _,
        messages: _,
        input: _,
        system_prompt: _,
        generation_config: _,
        provider_kwargs: _,
        sample: _,
        tags: _,
        priority: _,
        cache: _,
        route_score: _,
        route_by: _,
    } = Request::default();
}

#[test]
fn one_other_field_is_another_key() {
    let key = |line: &str| {
        with(line, |request| {
            let mut canonical = Vec::new();
            write_canonical(request, &mut canonical);
            key_of(&canonical)
        })
    };
    let base = line("where is my card?", "", "");
    let lines = apart("where is my card?");
    assert!(lines.len() > 40, "{}", lines.len());
    let mut keys = BTreeMap::from([(key(&base).0, base.clone())]);
    for (_, line) in lines {
        if let Some(same) = keys.insert(key(&line).0, line.clone()) {
            panic!("one key of two calls:\n{same}\n{line}");
        }
    }
    // What does not change the answer does not change the key.
    for (field, other) in BESIDE {
        assert_eq!(key(&line("where is my card?", field, other)), key(&base), "{field}");
    }
}

/// Although its text is word for word that of an answer that is always served.
#[test]
fn one_other_field_is_never_answered_like_a_similar_row() {
    let ends =
        ["", " please", " now", " thanks", " today", " again", " then", " sir", " at last", " once more"];
    let text = |end: &str| format!("where is my card{end}?");
    let mut rarity = Rarity::default();
    let others =
        ["why was my transfer late", "how do I get a refund", "please explain the fee", "I lost my passcode"];
    ends.iter().for_each(|end| rarity.learn(&text(end)));
    others
        .iter()
        .flat_map(|other| ends.iter().map(move |end| format!("{other}{end}?")))
        .for_each(|text| rarity.learn(&text));
    let mut answers = Answers::new(0.05, rarity);
    (0..10_000).for_each(|_| answers.ended());
    let prompt = |answers: &Answers, line: &str| {
        with(line, |request| {
            let (kin, text) = Kin::in_all_but_text(request)?;
            answers.prompt(kin.mark(), text)
        })
    };
    for end in ends {
        let taught = prompt(&answers, &line(&text(end), "", "")).unwrap();
        answers.learn(&taught, Opinion([1; 16]), 4);
    }
    let base = prompt(&answers, &line(&text(" now"), "", "")).unwrap();
    let near = answers.near(&base).unwrap();
    assert!(near.similarity.0 > 500 && answers.tau(near) < 0.5, "{near:?} {}", answers.tau(near));
    let mut never = BTreeSet::new();
    for (field, line) in apart(&text(" now")) {
        match prompt(&answers, &line) {
            Some(other) => assert_eq!(answers.near(&other), None, "{line}"),
            None => drop(never.insert(field)),
        }
    }
    // Only chats are compared at all.
    assert_eq!(Vec::from_iter(never), ["kind"]);
    for (field, other) in BESIDE {
        let same = prompt(&answers, &line(&text(" now"), field, other)).unwrap();
        assert_eq!(answers.near(&same), Some(near), "{field}");
    }
}
