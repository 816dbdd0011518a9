//! Tests of the wire: bodies as they go out, answers as they come in.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bulkrate_core::answer::{Answer, Body, Embedding, Failure, Finish, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::{Sub, WireId};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::request::{Kind, Request};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::OpenAiWire;
use crate::api::{Reply, Unsupported, Wire, WireOptions};
use crate::http::Account;
use crate::openai::Dialect;
use crate::settings::{ChatEndpoint, ProxyFrom, Settings};

fn wire_with(dialect: Dialect, change: impl FnOnce(&mut Settings)) -> OpenAiWire {
    let mut settings = Settings {
        base_url: Some("http://127.0.0.1:1/v1".to_owned()),
        proxy: ProxyFrom::None,
        ..Settings::default()
    };
    change(&mut settings);
    OpenAiWire::new(dialect, Account::new(None, dialect.name, &settings).unwrap(), &settings)
}

fn openai() -> OpenAiWire {
    wire_with(Dialect::OPENAI, |_| {})
}

fn encode_on(
    wire: &OpenAiWire,
    lane: Lane,
    max_tokens: Option<u32>,
    line: &str,
) -> Result<String, Unsupported> {
    let request: Request<'_> = serde_json::from_str(line).unwrap();
    let model = request.model.to_string();
    let mut out = b"before".to_vec();
    let result = wire.encode(
        &request,
        WireOptions { lane, model: &model, max_tokens, mark: None, alternatives: None },
        &mut out,
    );
    let text = String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned();
    match result {
        Ok(()) => Ok(text),
        Err(error) => {
            assert_eq!(text, "", "nothing is written on an error");
            Err(error)
        }
    }
}

fn encode(line: &str) -> Value {
    serde_json::from_str(&encode_on(&openai(), Lane::Batch, None, line).unwrap()).unwrap()
}

fn unsupported(line: &str) -> &'static str {
    encode_on(&openai(), Lane::Batch, None, line).expect_err(line).field
}

#[test]
fn a_chat_with_everything_a_classic_model_takes() {
    let body = encode(
        r#"{"custom_id":"mine","model":"gpt-4.1-mini","system_prompt":["a","b"],"messages":[{"role":"user","content":"hi \"you\"\n"},{"role":"assistant","content":[{"type":"text","text":"yes"}]},{"role":"user","content":[{"type":"text","text":"see"},{"type":"image","source_type":"url","media_type":"image/png","data":"https://example.org/a.png"},{"type":"image","source_type":"base64","media_type":"image/png","data":"AAAA"},{"type":"document","source_type":"base64","media_type":"application/pdf","data":"BBBB"}]}],"generation_config":{"max_tokens":64,"temperature":0,"top_p":0.5,"stop_sequences":["\n\n"],"presence_penalty":0.5,"frequency_penalty":-1,"seed":-7,"reasoning":"none"},"tags":{"team":"t"}}"#,
    );
    assert_eq!(
        body,
        json!({"model":"gpt-4.1-mini","messages":[
            {"role":"system","content":"a"},{"role":"system","content":"b"},
            {"role":"user","content":"hi \"you\"\n"},
            {"role":"assistant","content":[{"type":"text","text":"yes"}]},
            {"role":"user","content":[{"type":"text","text":"see"},
                {"type":"image_url","image_url":{"url":"https://example.org/a.png"}},
                {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},
                {"type":"file","file":{"filename":"document.pdf","file_data":"data:application/pdf;base64,BBBB"}}]}],
            "max_completion_tokens":64,"temperature":0,"top_p":0.5,"stop":["\n\n"],"presence_penalty":0.5,"frequency_penalty":-1,"seed":-7})
    );
}

#[test]
fn choices_and_schemas_become_response_formats() {
    let body = encode(
        r#"{"model":"gpt-5.6-luna","messages":[{"role":"user","content":"x"}],"generation_config":{"choices":["a","b\""],"reasoning":"low"}}"#,
    );
    assert_eq!(body["reasoning_effort"], "low");
    assert_eq!(
        body["response_format"],
        json!({"type":"json_schema","json_schema":{"name":"choice","strict":true,"schema":
            {"type":"object","properties":{"answer":{"type":"string","enum":["a","b\""]}},"required":["answer"],"additionalProperties":false}}})
    );
    for (schema, strict) in [
        (
            r#"{"type":"object","properties":{"x":{"type":"integer"}},"required":["x"],"additionalProperties":false}"#,
            true,
        ),
        ("{\"type\":\"object\",\n \"properties\":{\"x\":{\"type\":\"integer\"}}}", false),
    ] {
        let line = format!(
            r#"{{"model":"gpt-4.1","messages":[{{"role":"user","content":"x"}}],"generation_config":{{"output_schema":{schema}}}}}"#
        );
        let text = encode_on(&openai(), Lane::Batch, None, &line).unwrap();
        assert!(!text.contains('\n'), "one line of a batch file: {text}");
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["response_format"]["json_schema"]["strict"], strict);
        assert_eq!(
            body["response_format"]["json_schema"]["schema"],
            serde_json::from_str::<Value>(schema).unwrap()
        );
    }
}

#[test]
fn the_lane_decides_the_tier() {
    let line = r#"{"model":"gpt-5.6-luna","messages":[{"role":"user","content":"x"}],"provider_kwargs":{"service_tier":"priority","verbosity":"low"}}"#;
    for (lane, tier) in
        [(Lane::Batch, Value::Null), (Lane::Flex, json!("flex")), (Lane::Sync, json!("default"))]
    {
        let body: Value = serde_json::from_str(&encode_on(&openai(), lane, None, line).unwrap()).unwrap();
        assert_eq!((&body["service_tier"], &body["verbosity"]), (&tier, &json!("low")), "{lane}");
    }
    let custom = wire_with(Dialect::CUSTOM, |_| {});
    let body: Value = serde_json::from_str(&encode_on(&custom, Lane::Sync, None, line).unwrap()).unwrap();
    assert_eq!(body["service_tier"], "priority", "elsewhere the field has no meaning of ours");
}

#[test]
fn a_body_of_the_caller_goes_out_as_he_wrote_it() {
    let body = r#"{"model":"gpt-5.6-luna", "messages":[{"role":"developer","content":"x"}],"max_completion_tokens" : 5,"temperature":1.0,"logit_bias":{"1":1e0}}"#;
    let line = format!(r#"{{"model":"gpt-5.6-luna","provider_kwargs":{body}}}"#);
    assert_eq!(encode_on(&openai(), Lane::Batch, None, &line).unwrap(), body);
    // A higher maximum takes the place of his own; the rest stays.
    let again: Value =
        serde_json::from_str(&encode_on(&openai(), Lane::Batch, Some(50), &line).unwrap()).unwrap();
    assert_eq!(
        (&again["max_completion_tokens"], &again["messages"][0]["role"]),
        (&json!(50), &json!("developer"))
    );
    // What he does not say is added.
    let line =
        r#"{"model":"gpt-5.6-luna","generation_config":{"max_tokens":9},"provider_kwargs":{"messages":[]}}"#;
    assert_eq!(encode(line), json!({"model":"gpt-5.6-luna","max_completion_tokens":9,"messages":[]}));
    let line = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"provider_kwargs":{}}"#;
    assert_eq!(encode(line), json!({"model":"m","messages":[{"role":"user","content":"x"}]}));
}

#[test]
fn what_cannot_be_sent_is_named() {
    let chat = |model: &str, config: &str, more: &str| {
        format!(
            r#"{{"model":"{model}","messages":[{{"role":"user","content":"x"}}],"generation_config":{config}{more}}}"#
        )
    };
    for (line, field) in [
        (chat("gpt-4.1", r#"{"top_k":5}"#, ""), "top_k"),
        (chat("gpt-4.1", r#"{"stop_sequences":["1","2","3","4","5"]}"#, ""), "stop_sequences"),
        (chat("gpt-4.1", r#"{"reasoning":"low"}"#, ""), "reasoning"),
        (chat("gpt-5.6-luna", r#"{"reasoning":500}"#, ""), "reasoning"),
        (chat("gpt-5-mini", r#"{"reasoning":"none"}"#, ""), "reasoning"),
        (chat("gpt-5-mini", r#"{"temperature":0}"#, ""), "temperature"),
        (chat("o3-mini", r#"{"top_p":0.1}"#, ""), "top_p"),
        (chat("o3-mini", r#"{"stop_sequences":["x"]}"#, ""), "stop_sequences"),
        (chat("gpt-6-luna", r#"{"presence_penalty":1}"#, ""), "presence_penalty"),
        (chat("gpt-6-luna", r#"{"temperature":0}"#, ""), "temperature"),
        (chat("gpt-6-luna", r#"{"temperature":0,"reasoning":"low"}"#, ""), "temperature"),
        (chat("gpt-6-luna", r#"{"choices":["a"],"output_schema":{}}"#, ""), "output_schema"),
        (chat("m", "{}", r#","provider_kwargs":{"stream":true}"#), "provider_kwargs.stream"),
        (chat("m", "{}", r#","provider_kwargs":{"n":2}"#), "provider_kwargs.n"),
        (chat("m", "{}", r#","provider_kwargs":[1]"#), "provider_kwargs"),
        (chat("m", "{}", r#","provider_kwargs":{"a":1,"a":2}"#), "provider_kwargs"),
        (r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#.to_owned(), "messages"),
        (r#"{"model":"m","messages":[{"role":"user","content":[{"type":"document","source_type":"url","media_type":"application/pdf","data":"https://example.org/a.pdf"}]}]}"#.to_owned(), "messages"),
        (r#"{"model":"m","kind":"embedding","input":["a","b"]}"#.to_owned(), "input"),
    ] {
        assert_eq!(unsupported(&line), field, "{line}");
    }
    for line in [
        chat("gpt-6-luna", r#"{"temperature":0,"reasoning":"none"}"#, ""),
        chat("gpt-6-luna", r#"{"temperature":1}"#, ""),
        chat("gpt-6-luna", r#"{"temperature":0}"#, r#","provider_kwargs":{"reasoning_effort":"none"}"#),
        chat("gpt-5-mini", r#"{"reasoning":"low"}"#, ""),
        chat("m", "{}", r#","provider_kwargs":{"n":1,"stream":false}"#),
    ] {
        assert!(encode_on(&openai(), Lane::Batch, None, &line).is_ok(), "{line}");
    }
}

#[test]
fn a_custom_endpoint_takes_what_openai_refuses() {
    let custom = wire_with(Dialect::CUSTOM, |settings| settings.structured_outputs = false);
    let line = r#"{"model":"my-model","messages":[{"role":"user","content":"x"}],"generation_config":{"max_tokens":5,"temperature":0.2,"top_k":4,"reasoning":100,"choices":["a"]}}"#;
    let body: Value = serde_json::from_str(&encode_on(&custom, Lane::Sync, None, line).unwrap()).unwrap();
    assert_eq!(
        body,
        json!({"model":"my-model","messages":[{"role":"user","content":"x"}],"max_tokens":5,"temperature":0.2,"top_k":4,"thinking_token_budget":100})
    );
}

#[test]
fn the_responses_endpoint() {
    let wire = wire_with(Dialect::OPENAI, |settings| settings.chat_endpoint = ChatEndpoint::Responses);
    assert_eq!(wire.path(Kind::Chat, "any"), "/responses");
    let line = r#"{"model":"gpt-5.6-luna","system_prompt":"s","messages":[{"role":"user","content":"x"},{"role":"user","content":[{"type":"text","text":"t"},{"type":"image","source_type":"url","media_type":"image/png","data":"u"}]}],"generation_config":{"max_tokens":20,"choices":["a"],"reasoning":"low"}}"#;
    let body: Value = serde_json::from_str(&encode_on(&wire, Lane::Flex, None, line).unwrap()).unwrap();
    assert_eq!(
        body,
        json!({"model":"gpt-5.6-luna","instructions":"s",
            "input":[{"role":"user","content":"x"},{"role":"user","content":[{"type":"input_text","text":"t"},{"type":"input_image","image_url":"u"}]}],
            "max_output_tokens":20,"reasoning":{"effort":"low"},
            "text":{"format":{"type":"json_schema","name":"choice","strict":true,"schema":{"type":"object","properties":{"answer":{"type":"string","enum":["a"]}},"required":["answer"],"additionalProperties":false}}},
            "store":false,"service_tier":"flex"})
    );
    let line =
        r#"{"model":"gpt-4.1","messages":[{"role":"user","content":"x"}],"generation_config":{"seed":1}}"#;
    assert_eq!(encode_on(&wire, Lane::Sync, None, line).unwrap_err().field, "seed");
}

#[test]
fn embeddings_and_moderations() {
    assert_eq!(
        encode(
            r#"{"model":"text-embedding-3-small","kind":"embedding","input":"a","generation_config":{"dimensions":8}}"#
        ),
        json!({"model":"text-embedding-3-small","input":"a","encoding_format":"base64","dimensions":8})
    );
    assert_eq!(
        encode(r#"{"model":"omni-moderation-latest","kind":"moderation","input":["a","b"]}"#),
        json!({"model":"omni-moderation-latest","input":["a","b"]})
    );
}

#[test]
fn a_batch_line() {
    let mut out = Vec::new();
    let id = WireId::one(Sub::new(0, 0), 35);
    openai().input_line(id, Kind::Embedding, b"{\"model\":\"m\"}", &mut out);
    let want = format!(
        "{{\"custom_id\":\"{id}\",\"method\":\"POST\",\"url\":\"/v1/embeddings\",\"body\":{{\"model\":\"m\"}}}}\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), want);
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, headers: http::HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn answer(reading: Reading<'_>) -> Answer<'_> {
    match reading {
        Reading::Answer(answer) => *answer,
        Reading::Failure(failure) => panic!("{failure:?}"),
    }
}

fn failure(reading: Reading<'_>) -> Failure {
    match reading {
        Reading::Failure(failure) => failure,
        Reading::Answer(answer) => panic!("{answer:?}"),
    }
}

fn text_of<'a>(answer: &'a Answer<'_>) -> &'a str {
    match &answer.body {
        Body::Text { text, .. } => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_chat_answer_is_borrowed() {
    let reply = reply(200, include_str!("../../../fixtures/openai/chat_ok.json"));
    let wire = openai();
    let answer = answer(wire.read(Kind::Chat, &reply));
    assert_eq!((text_of(&answer), answer.finish), (r#"{"answer":"delivery"}"#, Finish::Stop));
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.output, usage.reasoning), (256, 1_024, 90, 64));
    assert_eq!(
        (answer.model.as_deref(), answer.tier.as_deref()),
        (Some("gpt-5.6-luna-2026-07-10"), Some("default"))
    );
    assert!(matches!(answer.model, Some(std::borrow::Cow::Borrowed(_))));
}

#[test]
fn odd_chat_answers() {
    let wire = openai();
    for (body, text, refusal, calls, finish, has_usage) in [
        (
            r#"{"choices":[{"message":{"content":null,"refusal":"I cannot"},"finish_reason":"stop"}],"usage":null}"#,
            "",
            Some("I cannot"),
            false,
            Finish::ContentFilter,
            false,
        ),
        (
            r#"{"choices":[{"message":{"content":"","refusal":""},"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
            "",
            None,
            false,
            Finish::Length,
            true,
        ),
        (
            r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"c"}]},"finish_reason":"tool_calls"}]}"#,
            "",
            None,
            true,
            Finish::ToolCalls,
            false,
        ),
        (
            r#"{"choices":[{"message":{"content":"a","tool_calls":[ ]},"finish_reason":null}]}"#,
            "a",
            None,
            false,
            Finish::Other,
            false,
        ),
        (
            r#"{"choices":[{"message":{"content":[{"type":"thinking","text":"no"},{"type":"text","text":"a"},{"type":"text","text":"b"}]},"finish_reason":"stop"}]}"#,
            "ab",
            None,
            false,
            Finish::Stop,
            false,
        ),
        (
            r#"{"model":5,"service_tier":{},"system_fingerprint":[],"choices":[{"message":{"content":"a","reasoning_content":"r"},"finish_reason":"insufficient_system_resource"}],"usage":{"prompt_tokens":"?"}}"#,
            "a",
            None,
            false,
            Finish::Other,
            false,
        ),
        (
            "\n\n  {\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"content_filter\"}],\"error\":null}",
            "a",
            None,
            false,
            Finish::ContentFilter,
            false,
        ),
    ] {
        let reply = reply(200, body);
        let answer = answer(wire.read(Kind::Chat, &reply));
        let Body::Text { refusal: got, tool_calls, .. } = &answer.body else { panic!("{body}") };
        assert_eq!(
            (text_of(&answer), got.as_deref(), tool_calls.is_some(), answer.finish, answer.usage.is_some()),
            (text, refusal, calls, finish, has_usage),
            "{body}"
        );
    }
}

#[test]
fn answers_that_hold_none() {
    let wire = openai();
    for (body, class, maybe_paid) in [
        ("", FailureClass::Transient, true),
        ("{}", FailureClass::Transient, true),
        ("null", FailureClass::Transient, true),
        (r#"{"choices":[]}"#, FailureClass::Transient, true),
        (r#"{"choices":[{"finish_reason":"stop"}]}"#, FailureClass::Transient, true),
        (r#"{"choices":[{"message":{"content":5}}]}"#, FailureClass::Transient, true),
        (r#"{"error":{"code":502,"message":"upstream"}}"#, FailureClass::Transient, true),
        (r#"{"error":{"code":402,"message":"no credit"}}"#, FailureClass::Billing, false),
        (
            r#"{"error":{"code":429,"message":"slow. Please try again in 2s."}}"#,
            FailureClass::RateLimited,
            false,
        ),
        (r#"{"error":{"code":"server_is_overloaded","message":"x"}}"#, FailureClass::Transient, true),
    ] {
        let reply = reply(200, body);
        let failure = failure(wire.read(Kind::Chat, &reply));
        assert_eq!((failure.class, failure.maybe_paid), (class, maybe_paid), "{body}");
    }
}

#[test]
fn responses_answers() {
    let wire = wire_with(Dialect::OPENAI, |settings| settings.chat_endpoint = ChatEndpoint::Responses);
    let ok = reply(200, include_str!("../../../fixtures/openai/responses_ok.json"));
    let good = answer(wire.read(Kind::Chat, &ok));
    assert_eq!(
        (text_of(&good), good.finish, good.usage.unwrap().input),
        (r#"{"label":"a"}"#, Finish::Stop, 256)
    );
    for (body, finish) in [
        (
            r#"{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[]}"#,
            Finish::Length,
        ),
        (
            r#"{"status":"incomplete","incomplete_details":{"reason":"content_filter"},"output":[]}"#,
            Finish::ContentFilter,
        ),
        (
            r#"{"status":"completed","output":[{"type":"function_call","name":"f","arguments":"{}"}]}"#,
            Finish::ToolCalls,
        ),
        (
            r#"{"status":"completed","output":[{"type":"message","content":[{"type":"refusal","refusal":"no"}]}]}"#,
            Finish::ContentFilter,
        ),
        (
            r#"{"status":"failed","error":{"code":"server_error","message":"x"},"output":[],"usage":{"input_tokens":5,"output_tokens":5}}"#,
            Finish::Malformed,
        ),
        (r#"{"status":"cancelled","output":[]}"#, Finish::Other),
    ] {
        let reply = reply(200, body);
        assert_eq!(answer(wire.read(Kind::Chat, &reply)).finish, finish, "{body}");
    }
    let failed = reply(
        200,
        r#"{"status":"failed","error":{"code":"rate_limit_exceeded","message":"x"},"output":[],"usage":null}"#,
    );
    let failure = failure(wire.read(Kind::Chat, &failed));
    assert_eq!((failure.class, failure.maybe_paid), (FailureClass::RateLimited, false));
}

#[test]
fn vectors_and_verdicts() {
    let wire = openai();
    let base64 = reply(
        200,
        r#"{"object":"list","model":"e","data":[{"index":0,"embedding":"AACAPw=="}],"usage":{"prompt_tokens":2,"total_tokens":2}}"#,
    );
    let vector = answer(wire.read(Kind::Embedding, &base64));
    assert!(matches!(&vector.body, Body::Embedding(Embedding::Base64(text)) if text == "AACAPw=="));
    assert_eq!(vector.usage.unwrap().input, 2);
    let numbers = reply(200, r#"{"data":[{"embedding":[0.5, -1]}]}"#);
    assert!(
        matches!(&answer(wire.read(Kind::Embedding, &numbers)).body, Body::Embedding(Embedding::Numbers(raw)) if raw.get() == "[0.5, -1]")
    );
    for body in [r#"{"data":[]}"#, r#"{"data":[{"embedding":null}]}"#, r#"{"data":null}"#] {
        let reply = reply(200, body);
        assert!(failure(wire.read(Kind::Embedding, &reply)).maybe_paid, "{body}");
    }
    for (body, want) in
        [(r#"{"results":[{"flagged":false}]}"#, r#"{"flagged":false}"#), (r#"{"results":[1,2]}"#, "[1,2]")]
    {
        let reply = reply(200, body);
        let verdict = answer(wire.read(Kind::Moderation, &reply));
        assert!(matches!(verdict.body, Body::Moderation(raw) if raw.get() == want), "{body}");
        assert_eq!(verdict.usage.unwrap(), bulkrate_core::usage::Usage::default());
    }
}

#[test]
fn what_a_call_cost_is_believed_where_it_is_said() {
    let body = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"cost":1.4e-05}}"#;
    let mut with_header = reply(200, body);
    with_header.headers.insert("x-mdb-charged-usd", http::HeaderValue::from_static("0.0003"));
    let mut with_own = reply(200, body);
    with_own.headers.insert("x-cost", http::HeaderValue::from_static("0.5"));
    let bare = reply(200, body);
    let trusting = wire_with(Dialect::CUSTOM, |settings| settings.trust_body_cost = true);
    let own = wire_with(Dialect::CUSTOM, |settings| settings.cost_header = Some("X-Cost".to_owned()));
    for (wire, reply, want) in [
        (&openai(), &with_header, Some(UsdNanos(300_000))),
        (&openai(), &bare, None),
        (&openai(), &with_own, None),
        (&own, &with_own, Some(UsdNanos(500_000_000))),
        (&trusting, &bare, Some(UsdNanos(14_000))),
        (&trusting, &with_header, Some(UsdNanos(300_000))),
    ] {
        assert_eq!(answer(wire.read(Kind::Chat, reply)).charged, want);
    }
}

#[test]
fn f66_a_cost_header_that_is_no_number_says_nothing_and_of_two_the_dearer_counts() {
    let body = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let own = wire_with(Dialect::CUSTOM, |settings| settings.cost_header = Some("X-Cost".to_owned()));
    for (values, want) in [
        (&["NaN"][..], None),
        (&["inf"], None),
        (&["-0.5"], None),
        (&["a dime"], None),
        (&[""], None),
        (&["0.25", "0.5"], Some(500_000_000)),
        (&["0.5", "0.25"], Some(500_000_000)),
        (&["NaN", "0.25"], Some(250_000_000)),
    ] {
        let mut reply = reply(200, body);
        for value in values {
            reply.headers.append("x-cost", http::HeaderValue::from_static(value));
        }
        assert_eq!(answer(own.read(Kind::Chat, &reply)).charged, want.map(UsdNanos), "{values:?}");
    }
}

#[test]
fn lines_of_vllm_have_errors_in_three_shapes() {
    let wire = openai();
    let want = [
        ("i-1", None),
        ("i-2", Some((FailureClass::RefusedByProvider, "This model's maximum"))),
        ("i-3", Some((FailureClass::RefusedByProvider, "URL /v1/responses is not"))),
        ("i-4", Some((FailureClass::ModelUnavailable, "The model `x` does not"))),
        ("i-5", Some((FailureClass::Transient, "boom"))),
        ("i-6", Some((FailureClass::Transient, "it was not run"))),
        ("i-7", Some((FailureClass::Transient, "the item was not run"))),
    ];
    let lines: Vec<&str> = include_str!("../../../fixtures/vllm/batch_lines.jsonl").lines().collect();
    assert_eq!(lines.len(), want.len());
    for (line, (id, failed)) in lines.into_iter().zip(want) {
        let read = wire.read_line(Kind::Chat, line.as_bytes()).expect(line);
        assert_eq!(read.custom_id, id);
        match (&read.reading, failed) {
            (Reading::Answer(answer), None) => assert_eq!(text_of(answer), "x"),
            (Reading::Failure(failure), Some((class, message))) => {
                assert!(failure.class == class && failure.message.starts_with(message), "{failure:?}");
                assert!(!failure.maybe_paid, "{failure:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn lines_of_batch_files() {
    let wire = openai();
    let lines: Vec<&str> = include_str!("../../../fixtures/openai/batch_lines.jsonl").lines().collect();
    let want = [
        ("i-1", None),
        ("i-2", Some((FailureClass::RefusedByProvider, false, Some("context_length_exceeded")))),
        ("i-3", Some((FailureClass::Expired, false, Some("batch_expired")))),
        ("i-4", Some((FailureClass::Expired, false, Some("batch_cancelled")))),
        ("i-5", Some((FailureClass::Transient, false, Some("0")))),
        ("i-6", Some((FailureClass::Transient, true, None))),
        ("i-7", Some((FailureClass::Transient, true, None))),
        ("i-8", Some((FailureClass::RateLimited, false, Some("rate_limit_exceeded")))),
        ("i-9", Some((FailureClass::Timeout, false, Some("request_timeout")))),
        ("i-10", Some((FailureClass::RefusedByProvider, false, Some("400")))),
        ("i-11", Some((FailureClass::RefusedByProvider, false, Some("400")))),
        ("i-12", Some((FailureClass::Transient, false, None))),
    ];
    assert_eq!(lines.len(), want.len());
    for (line, (id, failed)) in lines.into_iter().zip(want) {
        let read = wire.read_line(Kind::Chat, line.as_bytes()).expect(line);
        let got = match &read.reading {
            Reading::Answer(_) => None,
            Reading::Failure(failure) => {
                Some((failure.class, failure.maybe_paid, failure.provider_code.as_deref()))
            }
        };
        assert_eq!((&*read.custom_id, got), (id, failed), "{line}");
    }
    for line in ["", "{}", "{\"custom_id\":5}", "{\"custom_id\":\"\"}", "{\"custom_id\":\"i\"", "\0", "null"]
    {
        assert!(wire.read_line(Kind::Chat, line.as_bytes()).is_err(), "{line}");
    }
    let marked = b"\xef\xbb\xbf{\"custom_id\":\"i\",\"response\":null,\"error\":null}\r";
    assert_eq!(wire.read_line(Kind::Chat, marked).unwrap().custom_id, "i");
}

fn json_like() -> impl Strategy<Value = String> {
    // Pieces of real answers in any order: far closer to what could break a reader than random bytes.
    let pieces = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "5",
        "-1",
        "1e400",
        "\"\"",
        "\"a\"",
        "\"choices\":",
        "\"message\":",
        "\"content\":",
        "\"usage\":",
        "\"prompt_tokens\":",
        "\"error\":",
        "\"code\":",
        "\"custom_id\":",
        "\"response\":",
        "\"status_code\":",
        "\"body\":",
        "\"data\":",
        "\"embedding\":",
        "\"results\":",
        "\"output\":",
        "\"status\":",
        "\"\\ud800\"",
    ]);
    prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn reading_never_panics(status in prop::sample::select(vec![0_u16, 200, 204, 301, 400, 429, 500, 503]), bytes in prop::collection::vec(any::<u8>(), 0..200), text in json_like()) {
        let wires = [openai(), wire_with(Dialect::CUSTOM, |settings| settings.chat_endpoint = ChatEndpoint::Responses)];
        for (wire, kind) in wires.iter().flat_map(|wire| [Kind::Chat, Kind::Embedding, Kind::Moderation].map(|kind| (wire, kind))) {
            for body in [Bytes::from(bytes.clone()), Bytes::from(text.clone())] {
                let _ = wire.read_line(kind, &body);
                let _ = wire.read(kind, &Reply { status, headers: http::HeaderMap::new(), body });
            }
        }
    }

    #[test]
    fn every_text_survives_the_way_out(text in "\\PC{0,40}", system in any::<String>()) {
        let line = json!({"model":"m","system_prompt":system,"messages":[{"role":"user","content":[{"type":"text","text":text},{"type":"image","source_type":"base64","media_type":"image/png","data":text}]}]}).to_string();
        let out = encode_on(&openai(), Lane::Batch, None, &line).unwrap();
        prop_assert!(!out.contains('\n'));
        let body: Value = serde_json::from_str(&out).unwrap();
        prop_assert_eq!(body["messages"][0]["content"].as_str().unwrap(), system);
        prop_assert_eq!(body["messages"][1]["content"][0]["text"].as_str().unwrap(), text.as_str());
        let url = format!("data:image/png;base64,{text}");
        prop_assert_eq!(body["messages"][1]["content"][1]["image_url"]["url"].as_str().unwrap(), url);
    }
}

#[test]
fn log_probabilities_are_asked_for_where_they_are_told() {
    let asked = |wire: &OpenAiWire, model: &str, reasoning: &str, alternatives: Option<u8>| {
        let line = format!(
            r#"{{"model":"{model}","messages":[{{"role":"user","content":"x"}}],"generation_config":{{"max_tokens":64{reasoning}}}}}"#
        );
        let request: Request<'_> = serde_json::from_str(&line).unwrap();
        let options = WireOptions { lane: Lane::Batch, model, max_tokens: None, mark: None, alternatives };
        let mut out = Vec::new();
        let told = wire.tells_no_logprobs(model, request.generation_config.reasoning);
        let written = wire.encode(&request, options, &mut out);
        assert_eq!(written.is_ok(), told.is_none() || alternatives.is_none(), "{model}: {told:?}");
        written
            .map(|()| serde_json::from_slice::<Value>(&out).unwrap())
            .map_err(|error| (error.field, error.why))
    };
    let none = r#","reasoning":"none""#;
    let body = asked(&openai(), "gpt-4.1-mini", "", Some(5)).unwrap();
    assert_eq!((&body["logprobs"], &body["top_logprobs"]), (&json!(true), &json!(5)));
    let body = asked(&openai(), "gpt-6-luna", none, Some(0)).unwrap();
    assert_eq!((&body["logprobs"], body.get("top_logprobs")), (&json!(true), None));
    let body = asked(&openai(), "gpt-6-luna", none, None).unwrap();
    assert!(body.get("logprobs").is_none() && body.get("top_logprobs").is_none(), "off, nothing is sent");
    let responses = wire_with(Dialect::OPENAI, |settings| settings.chat_endpoint = ChatEndpoint::Responses);
    let body = asked(&responses, "gpt-4.1-mini", "", Some(5)).unwrap();
    assert_eq!(body["include"], json!(["message.output_text.logprobs"]));
    assert_eq!((&body["top_logprobs"], body.get("logprobs")), (&json!(5), None));
    for (model, reasoning, why) in [
        ("gpt-6-luna", "", "only without reasoning"),
        ("gpt-6-luna", r#","reasoning":"low""#, "only without reasoning"),
        ("o4-mini", "", "always reasons"),
    ] {
        let (field, told) = asked(&openai(), model, reasoning, Some(0)).unwrap_err();
        assert!(field == "logprobs" && told.contains(why), "{model}: {told}");
    }
    for preset in crate::openai::presets::PRESETS {
        let tells = asked(&wire_with(*preset, |_| {}), "m", "", Some(0)).is_ok();
        assert_eq!(
            tells,
            ["fireworks", "vllm", "sglang", "llamacpp"].contains(&preset.name),
            "{}",
            preset.name
        );
    }
}

#[test]
fn log_probabilities_are_read_and_never_cost_an_answer() {
    let list = r#"[{"token":"{\"a","logprob":-0.5,"bytes":[123,34,97],"top_logprobs":[{"token":"{\"a","logprob":-0.5,"bytes":null},{"token":"no","logprob":-1.5}]},{"token":"b","logprob":-9999.0,"top_logprobs":null}]"#;
    let chat = |logprobs: &str| {
        format!(
            r#"{{"model":"m","choices":[{{"message":{{"content":"{{\"ab"}},"logprobs":{logprobs},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}}}"#
        )
    };
    let response = format!(
        r#"{{"status":"completed","output":[{{"type":"message","content":[{{"type":"output_text","text":"{{\"ab","logprobs":{list}}}]}}],"usage":{{"input_tokens":3,"output_tokens":2}}}}"#
    );
    let responses = wire_with(Dialect::OPENAI, |settings| settings.chat_endpoint = ChatEndpoint::Responses);
    let whole = format!(r#"{{"content":{list},"refusal":null}}"#);
    let line = format!(
        r#"{{"custom_id":"i","response":{{"status_code":200,"body":{}}},"error":null}}"#,
        chat(&whole)
    );
    let told = |reading: Reading<'_>| match reading {
        Reading::Answer(answer) => answer
            .tokens
            .iter()
            .map(|token| (token.text.to_string(), token.logprob, token.likely.len()))
            .collect::<Vec<_>>(),
        Reading::Failure(failure) => panic!("{failure:?}"),
    };
    let want = vec![("{\"a".to_owned(), -0.5, 2), ("b".to_owned(), -9_999.0, 0)];
    assert_eq!(told(openai().read(Kind::Chat, &reply(200, &chat(&whole)))), want);
    assert_eq!(told(responses.read(Kind::Chat, &reply(200, &response))), want);
    assert_eq!(told(openai().read_line(Kind::Chat, line.as_bytes()).unwrap().reading), want);
    for odd in ["null", "7", "[]", r#"{"content":null}"#, r#"{"content":[{"token":"a"}]}"#] {
        assert_eq!(told(openai().read(Kind::Chat, &reply(200, &chat(odd)))), vec![], "{odd}");
    }
}
