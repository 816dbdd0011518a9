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

mod decisions;
mod read;

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
    let result =
        wire.encode(&request, WireOptions { max_tokens, ..WireOptions::new(lane, &model) }, &mut out);
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
            "input":[{"role":"user","content":"x"},{"role":"user","content":[{"type":"input_text","text":"t"},{"type":"input_image","detail":"auto","image_url":"u"}]}],
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
        let options = WireOptions { alternatives, ..WireOptions::new(Lane::Batch, model) };
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
