//! Files made for a provider's own batches are read as they are: by their provider, and by others as far as their words go.

use serde_json::{Value, json};

use super::bedrock;
use super::capabilities::at;
use super::support::{Place, Sim, table};

const HAIKU: &str = "claude-haiku-5-5";
const LUNA: &str = "openai/gpt-6-luna";

/// Requests that a simulator would charge for.
fn paid(sim: &Sim) -> u64 {
    sim.bill()["requests"].as_u64().unwrap()
}

fn lines(all: impl IntoIterator<Item = Value>) -> String {
    all.into_iter().map(|line| line.to_string() + "\n").collect()
}

fn merged(mut into: Value, more: &Value) -> Value {
    into.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    into
}

/// Ids and states of the rows that came out.
fn rows(place: &Place) -> Vec<(String, String)> {
    let (header, rows) = table(&place.path("out.csv"));
    let status = header.iter().position(|one| one == "_status").unwrap();
    assert_eq!(header[0], "custom_id");
    rows.into_iter().map(|row| (row[0].clone(), row[status].clone())).collect()
}

/// One line of Anthropic's batches.
fn of_anthropic(id: &str, model: &str, more: &Value) -> Value {
    let params = json!({
        "model": model,
        "max_tokens": 200,
        "system": "Be brief.",
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": format!("Say {id}.") }] }],
    });
    json!({ "custom_id": id, "params": merged(params, more) })
}

fn tools() -> Value {
    json!({ "tools": [{ "name": "look", "input_schema": { "type": "object" } }] })
}

#[test]
fn lines_of_anthropics_batches_go_to_anthropic_in_each_lane() {
    let effort = json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "low" } });
    for lane in ["sync", "batch"] {
        let ([sim], place) = at(["anthropic"]);
        let mut none = of_anthropic("no id", HAIKU, &json!({}));
        none.as_object_mut().unwrap().remove("custom_id");
        let long = "i".repeat(65);
        place.put(
            "in.jsonl",
            lines([
                of_anthropic("a", HAIKU, &json!({})),
                of_anthropic("b", HAIKU, &tools()),
                none,
                of_anthropic(&long, "anthropic/claude-haiku-5-5", &effort),
            ]),
        );
        let run = format!("run in.jsonl --yes --lane {lane} --poll-min 30ms --out out.csv");
        let said = place.run(&run, &[]).expect(0);
        assert!(said.stderr.contains("4 records read as anthropic batch lines"), "{}", said.stderr);
        // Ids stay here, so that theirs may be of any length; a line without one is called by its number.
        let ids = ["a", "b", "3", &long];
        assert_eq!(rows(&place), ids.map(|id| (id.to_owned(), "succeeded".to_owned())));
        place.proved("in", &sim);
        let shown = place.run("show in b", &[]).expect(0).json();
        assert_eq!(shown["request"]["provider_kwargs"], tools(), "{shown}");
        assert_eq!(shown["request"]["system_prompt"], json!("Be brief."), "{shown}");
        let shown = place.run(&format!("show in {long}"), &[]).expect(0).json();
        assert_eq!(shown["request"]["generation_config"], json!({ "max_tokens": 200, "reasoning": "low" }));
    }
}

/// Marks stand where the job sets them: what they cost is reserved with it.
#[test]
fn marks_in_lines_are_left_out_and_it_is_said() {
    let ([_sim], place) = at(["anthropic"]);
    let marked = json!({ "system": [{ "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } }] });
    place.put("in.jsonl", lines([of_anthropic("a", HAIKU, &marked)]));
    let told = "marks for a prompt cache (`cache_control`, `cachePoint`) in the lines are left out";
    assert!(place.run("plan in.jsonl", &[]).expect(0).stderr.contains(told));
    let said = place.run("run in.jsonl --yes --lane sync --prompt-cache 5m --out out.csv", &[]).expect(0);
    assert!(!said.stderr.contains(told), "{}", said.stderr);
    let shown = place.run("show in a", &[]).expect(0).json();
    assert_eq!(shown["request"]["system_prompt"], json!("Be brief."), "{shown}");
}

#[test]
fn what_has_unified_words_goes_to_any_provider_and_the_rest_is_refused_by_name() {
    let ([gemini, openai], place) = at(["gemini", "openai"]);
    let all = [("a", "gemini-3.8-flash"), ("b", LUNA)];
    place.put("in.jsonl", lines(all.map(|(id, model)| of_anthropic(id, model, &json!({})))));
    place.run("run in.jsonl --yes --lane sync --out out.csv", &[]).expect(0);
    assert_eq!(rows(&place), ["a", "b"].map(|id| (id.to_owned(), "succeeded".to_owned())));
    assert_eq!([gemini.bill(), openai.bill()].map(|bill| bill["requests"].clone()), [json!(1), json!(1)]);
    place.run("verify in", &[]).expect(0);
    let before = paid(&openai);
    place.put("tools.jsonl", lines([of_anthropic("a", LUNA, &json!({})), of_anthropic("b", LUNA, &tools())]));
    for command in ["plan tools.jsonl", "run tools.jsonl --yes --lane sync --out out.csv --force"] {
        let words =
            ["tools.jsonl:2: ", "`params.tools`", LUNA, "only in Anthropic's words", "unified request"];
        place.run(command, &[]).error(2, "item-unsupported", &words);
    }
    assert_eq!(paid(&openai), before);
}

/// A stand-in takes all that a job asks, or nothing.
#[test]
fn a_request_that_is_bound_has_no_stand_in_of_another_provider() {
    let ([_sims, _], place) = at(["anthropic", "openai"]);
    let plan = |more: &Value| {
        place.put("in.jsonl", lines([of_anthropic("a", HAIKU, &json!({})), of_anthropic("b", HAIKU, more)]));
        let plan = place.run("plan in.jsonl --lane sync --json", &["--fallback", LUNA]).expect(0).json();
        plan["warnings"].to_string()
    };
    let told =
        format!("`{LUNA}` cannot stand in within the sync lane: record 2: `params.tools` cannot be sent");
    assert!(plan(&tools()).contains(&told), "{}", plan(&tools()));
    assert!(!plan(&json!({})).contains("cannot stand in"), "{}", plan(&json!({})));
}

#[test]
fn a_line_that_is_wrong_is_told_by_its_place() {
    let turn = |turn: Value| json!({ "messages": [turn] });
    let good = || of_anthropic("a", HAIKU, &json!({}));
    let user = json!({ "role": "user", "content": "Hi" });
    for (bad, code, words) in [
        (
            merged(good(), &json!({ "messages": [user] })),
            "item-bad-request",
            &["`messages` stands beside `params`"][..],
        ),
        (merged(good(), &json!({ "params": "Hi" })), "item-bad-request", &["`params` is no object"]),
        (merged(good(), &json!({ "params": null })), "item-bad-request", &["`params` is no object"]),
        (json!({ "custom_id": "b" }), "item-bad-request", &["`params` is missing"]),
        (
            json!({ "custom_id": "b", "model": HAIKU, "messages": [user] }),
            "item-bad-request",
            &["`params` is missing"],
        ),
        (merged(good(), &json!({ "custom_id": 7 })), "item-bad-request", &["`custom_id` is no text"]),
        (of_anthropic("b", "", &json!({})), "item-bad-request", &["`params.model` is missing"]),
        (
            of_anthropic("b", HAIKU, &json!({ "messages": [] })),
            "item-bad-request",
            &["`params.messages` holds no turn"],
        ),
        (
            of_anthropic("b", HAIKU, &turn(json!({ "role": "bot", "content": "a" }))),
            "item-bad-request",
            &["`params.messages[0].role` is none of"],
        ),
        (
            of_anthropic("b", HAIKU, &turn(json!({ "role": "user", "content": "" }))),
            "item-empty-prompt",
            &["empty"],
        ),
        (
            of_anthropic("b", HAIKU, &json!({ "max_tokens": "9" })),
            "item-bad-request",
            &["`params.max_tokens` cannot be read"],
        ),
        (
            of_anthropic("b", HAIKU, &json!({ "stream": true })),
            "item-unsupported",
            &["`params.stream`", "one whole answer"],
        ),
        (
            of_anthropic("b", HAIKU, &json!({ "speed": "fast" })),
            "item-unsupported",
            &["`params.speed`", "price"],
        ),
    ] {
        let ([sim], place) = at(["anthropic"]);
        place.put("in.jsonl", lines([good(), bad]));
        for command in ["plan in.jsonl", "run in.jsonl --yes --lane sync --out out.jsonl"] {
            place.run(command, &[]).error(2, code, &[&["in.jsonl:2: "], words].concat());
        }
        assert_eq!(paid(&sim), 0);
    }
}

/// The first record tells what a source is.
#[test]
fn a_first_line_whose_body_is_no_object_is_told_by_it() {
    let ([sim], place) = at(["anthropic"]);
    place.put("in.jsonl", lines([json!({ "custom_id": "a", "params": null })]));
    let told = place.run("plan in.jsonl", &["--model", HAIKU]);
    told.error(
        2,
        "no-prompt",
        &["`params` of the first record is no object", "anthropic batch lines", "--user"],
    );
    assert_eq!(paid(&sim), 0);
}

const FLASH: &str = "gemini/gemini-3.8-flash";

/// A line that is wrong is a dead letter by its own id, and the others go on.
#[test]
fn a_line_that_is_wrong_may_die_alone() {
    let ([sim], place) = at(["gemini"]);
    let bad = of_gemini("b", &json!({ "contents": [] }));
    place.put("in.jsonl", lines([of_gemini("a", &json!({})), bad, json!({ "key": "c" })]));
    let run = format!("run in.jsonl --yes --lane sync --on-bad-line dead --model {FLASH} --out out.csv");
    place.run(&run, &["--fail-above", "100"]).expect(5);
    let want = [("a", "succeeded"), ("b", "errored"), ("c", "errored")];
    assert_eq!(rows(&place), want.map(|(id, status)| (id.to_owned(), status.to_owned())));
    assert_eq!(paid(&sim), 1);
}

/// One line of Gemini's batches.
fn of_gemini(key: &str, more: &Value) -> Value {
    let request = json!({
        "systemInstruction": { "parts": [{ "text": "Be brief." }] },
        "contents": [{ "role": "user", "parts": [{ "text": format!("Say {key}.") }] }],
        "generationConfig": { "maxOutputTokens": 64 },
    });
    json!({ "key": key, "request": merged(request, more) })
}

#[test]
fn lines_of_geminis_batches_go_to_gemini_and_to_others() {
    let labels = json!({ "labels": { "team": "a" } });
    for lane in ["sync", "batch"] {
        let ([sim], place) = at(["gemini"]);
        place.put("in.jsonl", lines([of_gemini("a", &json!({})), of_gemini("b", &labels)]));
        let run = format!("run in.jsonl --yes --lane {lane} --model {FLASH} --poll-min 30ms --out out.csv");
        let said = place.run(&run, &[]).expect(0);
        assert!(said.stderr.contains("2 records read as gemini batch lines"), "{}", said.stderr);
        assert_eq!(rows(&place), ["a", "b"].map(|id| (id.to_owned(), "succeeded".to_owned())));
        place.proved("in", &sim);
        let shown = place.run("show in b", &[]).expect(0).json();
        assert_eq!(shown["request"]["provider_kwargs"], labels, "{shown}");
    }
    let ([sim], place) = at(["anthropic"]);
    place.put("in.jsonl", lines([of_gemini("a", &json!({})), of_gemini("b", &json!({}))]));
    place.run(&format!("run in.jsonl --yes --lane sync --model {HAIKU} --out out.csv"), &[]).expect(0);
    place.proved("in", &sim);
    let before = paid(&sim);
    place.put("labels.jsonl", lines([of_gemini("a", &json!({})), of_gemini("b", &labels)]));
    let words = ["labels.jsonl:2: ", "`request.labels`", HAIKU, "only in Gemini's words"];
    place.run(&format!("plan labels.jsonl --model {HAIKU}"), &[]).error(2, "item-unsupported", &words);
    assert_eq!(paid(&sim), before);
}

/// Gemini's lines are those of its vectors, too.
#[test]
fn lines_for_vectors_are_read_as_such() {
    let ([sim], place) = at(["gemini"]);
    let line = |key: &str| json!({ "key": key, "request": { "content": { "parts": [{ "text": key }] }, "outputDimensionality": 8, "taskType": "CLUSTERING" } });
    place.put("in.jsonl", lines([line("a"), line("b")]));
    let run =
        "run in.jsonl --yes --lane sync --kind embedding --model gemini/gemini-embedding-001 --out out.csv";
    place.run(run, &[]).expect(0);
    place.proved("in", &sim);
    let (_, rows) = table(&place.path("out.csv"));
    assert!(rows.iter().all(|row| row.iter().any(|cell| cell.split(',').count() == 8)), "{rows:?}");
}

/// One record of Bedrock's batches, in the form of Converse.
fn of_bedrock(id: &str, more: &Value) -> Value {
    let input = json!({
        "system": [{ "text": "Be brief." }],
        "messages": [{ "role": "user", "content": [{ "text": format!("Say {id}.") }] }],
        "inferenceConfig": { "maxTokens": 64 },
    });
    json!({ "recordId": id, "modelInput": merged(input, more) })
}

/// The same, in Claude's own form.
fn of_claude(id: &str, more: &Value) -> Value {
    let input = json!({
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 4_000,
        "messages": [{ "role": "user", "content": format!("Say {id}.") }],
    });
    json!({ "recordId": id, "modelInput": merged(input, more) })
}

#[test]
fn records_of_bedrocks_batches_go_to_bedrock_and_to_others() {
    let nova = "bedrock/us.amazon.nova-lite-v1:0";
    let claude = "bedrock/global.anthropic.claude-haiku-5-5";
    let tools = json!({ "toolConfig": { "tools": [{ "toolSpec": { "name": "f", "inputSchema": { "json": {} } } }] } });
    for (model, all) in [
        (nova, [of_bedrock("a", &json!({})), of_bedrock("b", &tools)]),
        (
            claude,
            [of_claude("a", &json!({})), of_claude("b", &json!({ "thinking": { "type": "adaptive" } }))],
        ),
    ] {
        let sim = Sim::of("bedrock", &["--api-key", &bedrock::pair(), "--region", "us-east-1"]);
        let place = bedrock::place(&sim);
        place.put("in.jsonl", lines(all));
        let said = place.run(&format!("run in.jsonl --yes --lane sync --model {model} --out out.csv"), &[]);
        assert!(said.stderr.contains("2 records read as bedrock records"), "{}", said.stderr);
        said.expect(0);
        assert_eq!(rows(&place), ["a", "b"].map(|id| (id.to_owned(), "succeeded".to_owned())));
        place.proved("in", &sim);
    }
    let ([sim], place) = at(["openai"]);
    place.put("in.jsonl", lines([of_bedrock("a", &json!({})), of_claude("b", &json!({}))]));
    place.run(&format!("run in.jsonl --yes --lane sync --model {LUNA} --out out.csv"), &[]).expect(0);
    place.proved("in", &sim);
    place.put("tools.jsonl", lines([of_bedrock("a", &json!({})), of_bedrock("b", &tools)]));
    let words = ["tools.jsonl:2: ", "`modelInput.toolConfig`", LUNA, "only in Converse's words"];
    place.run(&format!("plan tools.jsonl --model {LUNA}"), &[]).error(2, "item-unsupported", &words);
}

/// Lines of Gemini's and records of Bedrock's name no model: the job does.
#[test]
fn a_line_without_a_model_needs_the_jobs() {
    let ([sim], place) = at(["gemini"]);
    for (maker, line) in [("Gemini", of_gemini("a", &json!({}))), ("Bedrock", of_bedrock("a", &json!({})))] {
        place.put("in.jsonl", lines([line]));
        let words = [&*format!("lines of {maker}'s batches name none"), "--model"];
        place.run("plan in.jsonl", &[]).error(2, "no-model", &words);
    }
    for (line, words) in [
        (
            of_gemini("b", &json!({ "model": "models/gemini-2.5-pro" })),
            &["`request.model` names a model"][..],
        ),
        (of_gemini("b", &json!({ "contents": [] })), &["`request.contents` holds no turn"]),
        (
            merged(of_gemini("b", &json!({})), &json!({ "metadata": {} })),
            &["`metadata` stands beside `request`"],
        ),
        (merged(of_gemini("b", &json!({})), &json!({ "key": 3 })), &["`key` is no text"]),
        // Shapes are not mixed.
        (of_anthropic("b", HAIKU, &json!({})), &["`request` is missing"]),
        (of_bedrock("b", &json!({})), &["`request` is missing"]),
    ] {
        place.put("in.jsonl", lines([of_gemini("a", &json!({})), line]));
        let words = [&["in.jsonl:2: "], words].concat();
        place.run(&format!("plan in.jsonl --model {FLASH}"), &[]).error(2, "item-bad-request", &words);
    }
    assert_eq!(paid(&sim), 0);
    // A table may have such a column.
    place.put("in.jsonl", lines([json!({ "id": "a", "request": "Say a." })]));
    place.run(&format!("plan in.jsonl --model {FLASH}"), &[]).error(2, "no-prompt", &[]);
    let table = place.run(&format!("plan in.jsonl --json --model {FLASH}"), &["--user", "{{ request }}"]);
    assert_eq!(table.expect(0).json()["shape"], "table");
}

/// What costs more than its text is told by its words: no spelling of them hides it.
#[test]
fn what_is_written_in_escapes_is_bounded_and_refused_as_what_it_says() {
    let ([anthropic, openai], place) = at(["anthropic", "openai"]);
    let said = |line: &str, how: &str| {
        place.put("in.jsonl", line);
        place.run(&format!("plan in.jsonl{how}"), &[])
    };
    let plan = |line: &str| said(line, "");
    let hour = |ttl: &str| {
        format!(
            r#"{{"custom_id":"a","model":"{HAIKU}","messages":[{{"role":"user","content":"Hi"}}],"provider_kwargs":{{"cache_control":{{"type":"ephemeral","ttl":"{ttl}"}}}}}}"#
        )
    };
    for ttl in ["1h", r"\u0031h"] {
        plan(&hour(ttl)).error(2, "item-unsupported", &["in.jsonl:1: ", "one-hour prompt cache"]);
    }
    let body = |content: &str, more: &str| {
        format!(
            r#"{{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{{"model":"gpt-6-luna","max_tokens":9{more},"messages":[{{"role":"user","content":{content}}}]}}}}"#
        )
    };
    let image = |kind: &str| {
        body(&format!(r#"[{{"type":"{kind}","{kind}":{{"url":"https://a.example/b.png"}}}}]"#), "")
    };
    let worst =
        |line: &str| said(line, " --json").expect(0).json()["lanes"][0]["worst_usd_nanos"].as_u64().unwrap();
    let (text, known) = (worst(&body("\"Hi\"", "")), worst(&image("image_url")));
    assert!(known > 10 * text, "{known} {text}");
    assert_eq!(worst(&image(r"image\u005furl")), known);
    for name in ["web_search_options", r"web\u005fsearch_options"] {
        plan(&body("\"Hi\"", &format!(r#","{name}":{{}}"#))).error(
            2,
            "item-bad-request",
            &["web_search_options"],
        );
    }
    assert_eq!((paid(&anthropic), paid(&openai)), (0, 0));
}
