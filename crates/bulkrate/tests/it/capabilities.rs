//! What a model, a lane or a fallback cannot take is told by `plan` and by `run` before anything is sent.

use serde_json::{Value, json};

use super::bedrock;
use super::bedrock_batch::ROLE;
use super::support::{ASK, Place, Sim, reviews, table};

const HAIKU: &str = "anthropic/claude-haiku-5-5";
const LUNA: &str = "openai/gpt-6-luna";

/// Simulators of these, and a place with a key of each.
pub(super) fn at<const N: usize>(names: [&str; N]) -> ([Sim; N], Place) {
    let sims = names.map(|name| Sim::of(name, &[]));
    let place = names.iter().zip(&sims).fold(Place::new(), |place, (name, sim)| {
        let name = name.to_uppercase();
        place.set(&format!("{name}_API_KEY"), "sk-sim").set(&format!("{name}_BASE_URL"), &sim.base_url)
    });
    (sims, place)
}

/// Requests that a simulator was sent.
fn sent(sim: &Sim) -> u64 {
    sim.get("/sim/requests")["total"].as_u64().unwrap()
}

fn line(id: usize, model: &str, more: &Value) -> String {
    let mut line = json!({
        "custom_id": format!("i-{id}"),
        "model": model,
        "messages": [{ "role": "user", "content": format!("Say {id}.") }],
    });
    line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    line.to_string() + "\n"
}

/// Sixty lines, of which the 31st has more than the others.
fn lines(model: &str, more: &Value) -> String {
    let none = json!({});
    (1..=60).map(|id| line(id, model, if id == 31 { more } else { &none })).collect()
}

#[test]
fn a_setting_that_a_provider_cannot_take_is_told_before_anything_is_sent() {
    let image = |url: &str| {
        let image = json!({ "type": "image", "source_type": "url", "media_type": "image/png", "data": url });
        json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "What is it?" }, image] }] })
    };
    let config = |name: &str, value: Value| json!({ "generation_config": { name: value } });
    for (provider, model, more, field) in [
        ("openai", LUNA, config("reasoning", json!(2_000)), "reasoning"),
        ("openai", LUNA, config("top_k", json!(3)), "top_k"),
        ("openai", LUNA, json!({ "kind": "embedding", "messages": [], "input": ["a", "b"] }), "input"),
        ("anthropic", HAIKU, config("temperature", json!(0.3)), "temperature"),
        ("anthropic", HAIKU, json!({ "provider_kwargs": { "stream": true } }), "provider_kwargs.stream"),
        ("gemini", "gemini/gemini-3.8-flash", image("https://example.org/a.png"), "messages.image"),
        ("gemini", "gemini/gemini-3.8-flash", config("temperature", json!(3)), "temperature"),
    ] {
        let ([sim], place) = at([provider]);
        place.put("in.jsonl", lines(model, &more));
        for command in ["plan in.jsonl", "run in.jsonl --yes --lane sync --out out.jsonl"] {
            let told = place.run(command, &[]);
            told.error(2, "item-unsupported", &["in.jsonl:31: ", &format!("`{field}`"), model]);
        }
        assert_eq!((sent(&sim), place.path("out.jsonl").exists()), (0, false), "{field}");
    }
}

#[test]
fn a_service_that_is_like_another_and_one_that_signs_are_asked_too() {
    let sim = Sim::start(&["--like", "mistral"]);
    let place = Place::new().set("MISTRAL_API_KEY", "sk-sim").set("MISTRAL_BASE_URL", &sim.base_url);
    place.put(
        "in.jsonl",
        lines("mistral/mistral-small-2603", &json!({ "generation_config": { "top_k": 3 } })),
    );
    place.run("plan in.jsonl", &[]).error(2, "item-unsupported", &["in.jsonl:31: ", "`top_k`"]);
    assert_eq!(sent(&sim), 0);
    let sim = Sim::of("bedrock", &[]);
    let place = bedrock::place(&sim);
    place.put(
        "in.jsonl",
        lines("bedrock/us.amazon.nova-lite-v1:0", &json!({ "generation_config": { "seed": 3 } })),
    );
    place.run("plan in.jsonl", &[]).error(2, "item-unsupported", &["in.jsonl:31: ", "`seed`", "nova-lite"]);
    assert_eq!(sent(&sim), 0);
}

#[test]
fn one_bad_line_of_many_is_a_dead_letter_where_the_user_says_so() {
    let ([sim], place) = at(["anthropic"]);
    place.put("in.jsonl", lines(HAIKU, &json!({ "generation_config": { "temperature": 0.3 } })));
    let said =
        place.run("run in.jsonl --yes --lane sync --out out.jsonl --on-bad-line dead --json", &[]).expect(5);
    let report = said.json();
    assert_eq!((report["succeeded"].as_u64(), report["failed"].as_u64()), (Some(59), Some(1)), "{report}");
    assert_eq!((sent(&sim), sim.bill()["requests"].as_u64()), (59, Some(59)));
    let dead = place.run("dead in", &[]).expect(0);
    assert!(dead.stdout.contains("`temperature` cannot be sent to"), "{dead:?}");
}

/// What is asked of every row is wrong once, whatever becomes of bad rows.
#[test]
fn a_setting_of_a_whole_table_is_one_error() {
    for dead in ["", "--on-bad-line dead"] {
        let ([sim], place) = at(["anthropic"]);
        place.put("data.csv", reviews(20));
        for command in ["plan data.csv", "run data.csv --yes --lane sync --out out.csv"] {
            let ask = ["--model", HAIKU, "--user", "{{ text }}", "--temperature", "0.3"];
            let said = place.run(&format!("{command} {dead}"), &ask);
            said.error(2, "item-unsupported", &["`temperature` cannot be sent to", HAIKU]);
            assert!(!said.stderr.contains("data.csv"), "{said:?}");
        }
        assert_eq!(sent(&sim), 0);
    }
    // The model that only a rule names is one of the job's.
    let (sims, place) = at(["openai", "anthropic"]);
    place.put("data.csv", reviews(20));
    let rule = format!("product == 'none' => {HAIKU}");
    let said = place.run("plan data.csv --seed 7", &[&ASK[..], &["--rule", &rule]].concat());
    said.error(2, "item-unsupported", &["`seed`", HAIKU]);
    assert_eq!(sims.map(|sim| sent(&sim)), [0, 0]);
}

#[test]
fn an_image_that_cannot_be_fetched_is_told_with_its_row() {
    let ([sim], place) = at(["gemini"]);
    let bytes = "data:image/png;base64,iVBORw0KGgo=";
    place.put("data.csv", format!("id,image\n1,\"{bytes}\"\n2,\"{bytes}\"\n3,https://example.org/a.png\n"));
    let ask = ["--model", "gemini/gemini-3.8-flash", "--user", "What is it?"];
    let plan = |more: &str| place.run(&format!("plan data.csv --image image {more}"), &ask);
    plan("").error(2, "item-unsupported", &["data.csv:4: ", "`messages.image`", "gemini-3.8-flash"]);
    let told = plan("--on-bad-line dead --json").expect(0).json();
    assert_eq!((told["invalid"].as_u64(), sent(&sim)), (Some(1), 0), "{told}");
}

/// Batches of Bedrock take no schema, calls do.
#[test]
fn a_lane_that_cannot_take_a_line_is_not_chosen() {
    let sim = Sim::of("bedrock", &[]);
    let place = bedrock::place(&sim);
    let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"], "additionalProperties": false });
    let with = json!({ "generation_config": { "output_schema": schema } });
    let job = |run: &str| {
        format!(
            "[source]\npath = \"in.jsonl\"\n[run]\n{run}\n[sink]\npath = \"out.jsonl\"\n[provider]\nrole_arn = \"{ROLE}\"\nstorage = \"s3://bkt/x\"\n"
        )
    };
    let (model, none) = ("bedrock/us.amazon.nova-lite-v1:0", json!({}));
    for (more, lane) in [(&json!({}), "batch"), (&with, "sync")] {
        let all = (1..=150).map(|id| line(id, model, if id == 131 { more } else { &none }));
        place.put("in.jsonl", all.collect::<String>()).put("job.toml", job(""));
        let plan = place.run("plan job.toml --json", &[]).expect(0).json();
        assert_eq!(plan["lane"], lane, "{plan}");
    }
    place.put("job.toml", job("lane = \"batch\""));
    let said = place.run("run job.toml --yes", &[]);
    said.error(
        2,
        "lane-unavailable",
        &["record 131: `output_schema` cannot be sent to", "batches of Bedrock take no schema"],
    );
    // Of the records that are asked for, none has one.
    let plan = place.run("plan job.toml --limit 130 --json", &[]).expect(0).json();
    assert_eq!((&plan["lane"], sent(&sim)), (&json!("batch"), 0), "{plan}");
    // Where a bad record is to die by itself, it takes the lane that the user names from no other.
    let dying = |run: &str| job(run).replace("[run]", "on_bad_line = \"dead\"\n[run]");
    place.put("job.toml", dying("lane = \"batch\""));
    let plan = place.run("plan job.toml --json", &[]).expect(0).json();
    assert_eq!(
        (&plan["lane"], &plan["invalid"], &plan["requests"]),
        (&json!("batch"), &json!(1), &json!(149))
    );
    // Where none is named, all go where all can, and the plan says what else there is.
    place.put("job.toml", dying(""));
    let plan = place.run("plan job.toml --json", &[]).expect(0).json();
    assert_eq!((&plan["lane"], &plan["invalid"]), (&json!("sync"), &json!(0)), "{plan}");
    let warnings = plan["warnings"].to_string();
    assert!(warnings.contains("cannot take record 131: `output_schema`"), "{warnings}");
    assert!(warnings.contains("with `--lane batch` such a record alone becomes a dead letter"), "{warnings}");
    place.put("job.toml", dying("lane = \"batch\"\ncanary = false\npoll_min = \"30ms\""));
    let report = place.run("run job.toml --yes --json", &[]).expect(5).json();
    assert_eq!(
        (&report["succeeded"], &report["failures"]["invalid_input"]),
        (&json!(149), &json!(1)),
        "{report}"
    );
    assert_eq!(sim.bill()["requests"], 149);
    // Too few for a batch go one by one, and one that no batch can take is dead all the same.
    let few = (1..=40).map(|id| line(id, model, if id == 31 { &with } else { &none }));
    let to_few = |run: &str| dying(run).replace("out.jsonl", "few.jsonl");
    place.put("in.jsonl", few.collect::<String>()).put("job.toml", to_few("lane = \"batch\""));
    let plan = place.run("plan job.toml --json --cache off", &[]).expect(0).json();
    assert_eq!((&plan["lane"], &plan["invalid"]), (&json!("sync"), &json!(1)), "{plan}");
    let warnings = plan["warnings"].to_string();
    assert!(warnings.contains("with `--lane sync` those are asked as well"), "{warnings}");
    // What was read for a job that is there no other lane changes.
    place.put("job.toml", to_few(""));
    let told = || place.run("plan job.toml --json --cache off", &[]).expect(0).json()["warnings"].to_string();
    assert!(told().contains("the batch lane is left out for all requests"), "{}", told());
    place.run("run job.toml --yes", &[]).expect(0);
    assert!(!told().contains("is left out for all requests"), "{}", told());
}

/// A line's own says what the job's would: once, and not after what the job says to all.
#[test]
fn a_system_turn_of_a_line_takes_the_place_of_the_jobs() {
    let ([sim], place) = at(["anthropic"]);
    let turn = |role: &str, text: &str| json!({ "role": role, "content": text });
    let unified = |id: usize, messages: Value| line(id, HAIKU, &json!({ "messages": messages }));
    let batch = |id: usize, messages: Value| {
        batch_line(id, &json!({ "model": HAIKU, "max_tokens": 9, "messages": messages }))
    };
    let own = json!([turn("system", "Own words."), turn("user", "Hi")]);
    let developers = json!([turn("developer", "Own words."), turn("user", "Hello")]);
    let none = json!([turn("user", "Good day")]);
    for (file, lines) in [
        ("u.jsonl", [unified(1, own), unified(2, none.clone())]),
        ("b.jsonl", [batch(1, developers), batch(2, none)]),
    ] {
        place.put(file, lines.concat());
        let command = format!("run {file} --yes --lane sync --out out.csv --force");
        place.run(&command, &["--system", "The job's words."]).expect(0);
        let name = file.trim_end_matches(".jsonl");
        for (item, says, says_not) in [("i-1", "Own words.", "The job's"), ("i-2", "The job's words.", "Own")]
        {
            let shown = place.run(&format!("show {name} {item}"), &[]).expect(0).json();
            let request = shown["request"].to_string();
            assert!(request.contains(says) && !request.contains(says_not), "{file} {item}: {request}");
        }
    }
    drop(sim);
    // Lines that go out as they are get none, and the plan says so.
    let (sims, place) = at(["openai"]);
    let ask = json!({ "model": LUNA, "messages": [turn("user", "Hi")] });
    place.put("in.jsonl", batch_line(1, &ask));
    let plan =
        |more: &[&str]| place.run("plan in.jsonl --json", more).expect(0).json()["warnings"].to_string();
    let told = format!("`--system` does not go to batch lines for `{LUNA}`");
    assert!(plan(&["--system", "The job's words."]).contains(&told) && !plan(&[]).contains(&told));
    assert_eq!(sims.map(|sim| sent(&sim)), [0]);
}

/// A default model that no row gets to is no reason to refuse the job; the first row that does is.
#[test]
fn a_default_model_is_asked_about_with_the_first_row_that_gets_there() {
    let (sims, place) = at(["openai", "anthropic"]);
    place.put("data.csv", "id,text,kind\n1,one,a\n2,two,a\n3,three,b\n");
    let ask = ["--model", HAIKU, "--user", "{{ text }}", "--seed", "7", "--rule"];
    let all = format!("kind != 'none' => {LUNA}");
    let plan = place.run("plan data.csv --json", &[&ask[..], &[&all]].concat()).expect(0).json();
    assert_eq!(plan["requests"], 3, "{plan}");
    let some = format!("kind == 'a' => {LUNA}");
    let said = place.run("plan data.csv", &[&ask[..], &[&some]].concat());
    said.error(2, "item-unsupported", &["`seed`", HAIKU]);
    // With no rule every row gets there.
    let said = place.run("plan data.csv", &ask[..6]);
    said.error(2, "item-unsupported", &["`seed`", HAIKU]);
    assert_eq!(sims.map(|sim| sent(&sim)), [0, 0]);
}

#[test]
fn a_fallback_that_cannot_take_what_is_asked_is_told_and_passed_over() {
    let (sims, place) = at(["anthropic"]);
    let openai = Sim::start(&["--fault", "insufficient-quota@1-1000"]);
    let place = place.set("OPENAI_API_KEY", "sk-sim").set("OPENAI_BASE_URL", &openai.base_url);
    place.put("data.csv", reviews(20));
    let more = [&ASK[..], &["--seed", "7", "--fallback", HAIKU]].concat();
    let told = format!("`{HAIKU}` cannot stand in within the sync lane: `seed` cannot be sent to");
    let plan = place.run("plan data.csv --lane sync --json", &more).expect(0).json();
    let warnings = plan["warnings"].to_string();
    assert!(warnings.contains(&told) && !warnings.contains("may have to stand in"), "{warnings}");
    let said = place.run("run data.csv --yes --lane sync --out out.csv", &more);
    assert!(said.code != 0 && said.stderr.contains("cannot stand in: `seed` cannot be sent to"), "{said:?}");
    assert!(!said.stderr.contains("going on with"), "{said:?}");
    assert_eq!((sent(&sims[0]), openai.bill()["requests"].as_u64()), (0, Some(0)));
}

/// One line of OpenAI's batches.
fn batch_line(id: usize, body: &Value) -> String {
    json!({ "custom_id": format!("i-{id}"), "method": "POST", "url": "/v1/chat/completions", "body": body })
        .to_string()
        + "\n"
}

#[test]
fn a_batch_line_of_openais_that_names_another_providers_model_is_read_as_a_request_to_it() {
    let (sims, place) = at(["openai", "anthropic"]);
    let body = |model: &str, id: usize| {
        json!({
            "model": model,
            "messages": [{ "role": "developer", "content": "Be brief." }, { "role": "user", "content": format!("Say {id}.") }],
            "max_completion_tokens": 200,
            "stop": ["END"],
            "service_tier": "auto",
        })
    };
    let mut all = String::new();
    for (id, model) in ["claude-haiku-5-5", HAIKU, "gpt-6-luna", LUNA].into_iter().enumerate() {
        let mut body = body(model, id);
        if model.contains("gpt") {
            body.as_object_mut().unwrap().remove("stop");
        }
        all.push_str(&batch_line(id, &body));
    }
    place.put("in.jsonl", &all);
    place.run("run in.jsonl --yes --lane sync --out out.csv", &[]).expect(0);
    let (header, rows) = table(&place.path("out.csv"));
    let column = |name: &str| header.iter().position(|one| one == name).unwrap();
    let of =
        |row: &Vec<String>| (row[0].clone(), row[column("_status")].clone(), row[column("_model")].clone());
    let found: Vec<_> = rows.iter().map(of).collect();
    for (at, (id, status, model)) in found.iter().enumerate() {
        assert_eq!((&**id, &**status), (&*format!("i-{at}"), "succeeded"), "{found:?}");
        assert_eq!(model.contains("haiku"), at < 2, "{found:?}");
    }
    for sim in &sims {
        assert_eq!(sim.bill()["requests"], 2, "{}", sim.bill());
    }
    let shown = place.run("show in i-0", &[]).expect(0).json();
    let request = &shown["request"];
    assert_eq!(
        request["generation_config"],
        json!({ "max_tokens": 200, "stop_sequences": ["END"] }),
        "{shown}"
    );
    place.run("verify in", &[]).expect(0);
}

#[test]
fn what_a_batch_line_of_openais_cannot_say_to_another_provider_is_named() {
    let ask = json!([{ "role": "user", "content": "Hi" }]);
    for (more, code, words) in [
        (
            json!({ "tools": [{ "type": "function" }] }),
            "item-unsupported",
            &["`body.tools`", "unified request"][..],
        ),
        (json!({ "logit_bias": { "1": 2 } }), "item-unsupported", &["`body.logit_bias`"]),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "n", "description": "d", "schema": {} } } }),
            "item-unsupported",
            &["`body.response_format.json_schema.description`", "leave it out"],
        ),
        (json!({ "temperature": 0.3 }), "item-unsupported", &["`temperature`"]),
        (json!({ "temperature": "warm" }), "item-bad-request", &["`body.temperature`"]),
    ] {
        let ([sim], place) = at(["anthropic"]);
        let mut bad = json!({ "model": "claude-haiku-5-5", "messages": ask, "max_tokens": 9 });
        let good = bad.clone();
        bad.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        place.put("in.jsonl", batch_line(1, &good) + &batch_line(2, &bad));
        for command in ["plan in.jsonl", "run in.jsonl --yes --lane sync --out out.jsonl"] {
            place.run(command, &[]).error(2, code, &[&["in.jsonl:2: "], words].concat());
        }
        assert_eq!(sent(&sim), 0, "{more}");
    }
}

/// A line for `/v1/responses` goes out as it is where the account speaks that API, in a batch and in a call; elsewhere it says so.
#[test]
fn a_line_for_the_responses_api_goes_out_as_it_is_or_is_refused_by_name() {
    let line = |id: usize, more: &Value| {
        let mut body =
            json!({ "model": "gpt-6-luna", "input": format!("Say {id}."), "instructions": "Be brief." });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let line =
            json!({ "custom_id": format!("i-{id}"), "method": "POST", "url": "/v1/responses", "body": body });
        line.to_string() + "\n"
    };
    let all: String = (0..4).map(|id| line(id, &json!({}))).collect();
    for (lane, calls) in [("sync", 4), ("batch", 1)] {
        let ([sim], place) = at(["openai"]);
        place.put("in.jsonl", &all);
        let run = format!("run in.jsonl --yes --lane {lane} --responses-api --poll-min 30ms --out out.jsonl");
        place.run(&run, &[]).expect(0);
        let paths = sim.get("/sim/requests")["by_path"].clone();
        // The canary of a batch job is a call.
        assert_eq!(paths["POST /v1/responses"]["200"], calls, "{paths}");
        assert_eq!(paths["POST /v1/chat/completions"], Value::Null, "{paths}");
        assert_eq!(sim.bill()["requests"], 4, "{}", sim.bill());
        place.proved("in", &sim);
        let rows = place.read("out.jsonl");
        assert_eq!(rows.matches("\"succeeded\"").count(), 4, "{rows}");
    }
    let ([sim], place) = at(["openai"]);
    place
        .put("in.jsonl", &all)
        .put("searches.jsonl", line(0, &json!({ "tools": [{ "type": "web_search" }] })));
    place.run("plan in.jsonl", &[]).error(2, "item-bad-request", &["in.jsonl:1: ", "`responses_api = true`"]);
    let searches = place.run("plan searches.jsonl --responses-api", &[]);
    searches.error(2, "item-bad-request", &["`web_search`", "cannot be bounded"]);
    assert_eq!(sent(&sim), 0);
}

/// Nothing bounds what a batch line's picture costs, and an assistant's own calls of tools have no words of ours: both are told by their names.
#[test]
fn what_no_request_can_say_is_refused_by_name() {
    let ([sim], place) = at(["openai"]);
    let picture = json!({ "custom_id": "i", "method": "POST", "url": "/v1/images/generations", "body": { "model": "gpt-image-2", "prompt": "a cat" } });
    let called = json!([
        { "role": "user", "content": "How warm is it?" },
        { "role": "assistant", "content": "", "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }] },
        { "role": "tool", "content": "9", "tool_call_id": "c" },
    ]);
    let calls = json!({ "custom_id": "i", "model": LUNA, "messages": called });
    for (line, word) in [(picture, "of kind `image`"), (calls, "`tool_calls`")] {
        place.put("in.jsonl", line.to_string() + "\n");
        place.run("plan in.jsonl", &[]).error(2, "item-bad-request", &["in.jsonl:1: ", word]);
    }
    assert_eq!(sent(&sim), 0);
}
