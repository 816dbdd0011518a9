//! What the API takes and refuses, and what it answers.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::api::testing::Server;
use crate::api::{Endpoint, Twist};
use crate::tokens::Usage;
use serde_json::Value;

const NEW: &str = "claude-sonnet-5-5";
const OLD: &str = "claude-haiku-4-5-20251001";

fn ask(server: &Server, model: &str, fields: &str, twist: Twist) -> Result<(Value, Usage), String> {
    server.ask((Endpoint::Messages, None), &format!(r#"{{"model":"{model}",{fields}}}"#), twist)
}

/// Fields of a call besides the model.
fn call(more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!(r#""max_tokens":4000,"messages":[{{"role":"user","content":"Hello there"}}]{comma}{more}"#)
}

#[tokio::test]
async fn answers() {
    let server = Server::of("anthropic");
    let schema = r#"{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}"#;
    for (more, twist, stop, block) in [
        (String::new(), Twist::None, "end_turn", "text"),
        (
            r#""thinking":{"type":"adaptive"},"output_config":{"effort":"low"}"#.to_owned(),
            Twist::None,
            "end_turn",
            "thinking",
        ),
        (
            format!(r#""output_config":{{"format":{{"type":"json_schema","schema":{schema}}}}}"#),
            Twist::None,
            "end_turn",
            "text",
        ),
        (
            format!(r#""tools":[{{"name":"f","input_schema":{schema}}}],"tool_choice":{{"type":"any"}}"#),
            Twist::None,
            "tool_use",
            "tool_use",
        ),
        (String::new(), Twist::Length, "max_tokens", "text"),
        (String::new(), Twist::Refusal, "refusal", ""),
        (String::new(), Twist::Empty, "end_turn", ""),
    ] {
        let (message, usage) = ask(&server, NEW, &call(&more), twist).unwrap();
        assert_eq!(message["stop_reason"], stop, "{more}");
        assert_eq!(message["content"][0]["type"].as_str().unwrap_or_default(), block, "{message}");
        assert_eq!(message["usage"]["input_tokens"], usage.prompt);
        assert_eq!(message["usage"]["output_tokens"], usage.output);
        assert_eq!(message["model"], NEW);
    }
}

#[test]
fn refusals() {
    let server = Server::of("anthropic");
    let messages = |turns: &str| format!(r#""max_tokens":9,"messages":[{turns}]"#);
    let user = r#"{"role":"user","content":"Hi"}"#;
    for (model, fields, want) in [
        ("claude-nobody", call(""), "404 "),
        (NEW, r#""messages":[]"#.to_owned(), "max_tokens: Field required"),
        (NEW, r#""max_tokens":9"#.to_owned(), "messages: Field required"),
        (NEW, messages(""), "at least one message"),
        (NEW, call(r#""seed":1"#), "seed: Extra inputs are not permitted"),
        (NEW, call(r#""temperature":0.5"#), "`temperature` is deprecated for this model"),
        (NEW, call(r#""top_k":5"#), "`top_k` is deprecated"),
        (OLD, call(r#""temperature":2"#), "temperature: range"),
        (OLD, call(r#""temperature":0.5,"top_p":0.5"#), "cannot both"),
        (
            OLD,
            call(r#""temperature":0.5,"thinking":{"type":"enabled","budget_tokens":1024}"#),
            "when thinking",
        ),
        (OLD, call(r#""thinking":{"type":"enabled","budget_tokens":100}"#), "1024"),
        (OLD, call(r#""thinking":{"type":"enabled","budget_tokens":4000}"#), "must be greater"),
        (OLD, call(r#""thinking":{"type":"adaptive"}"#), "not supported"),
        (OLD, call(r#""output_config":{"effort":"low"}"#), "effort parameter"),
        (NEW, call(r#""thinking":{"type":"enabled","budget_tokens":1024}"#), "not supported"),
        ("claude-fable-5", call(r#""thinking":{"type":"disabled"}"#), "not supported"),
        (
            NEW,
            call(r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}"#),
            "additionalProperties",
        ),
        (
            NEW,
            call(
                r#""output_config":{"format":{"type":"json_schema","schema":{"type":"integer","minimum":1}}}"#,
            ),
            "'minimum'",
        ),
        (NEW, call(r#""service_tier":"flex""#), "service_tier"),
        (NEW, call(r#""stream":true"#), "stream"),
        (NEW, call(r#""stop_sequences":[" "]"#), "stop_sequences"),
        (
            NEW,
            r#""max_tokens":999999,"messages":[{"role":"user","content":"Hi"}]"#.to_owned(),
            "999999 > 128000",
        ),
        (NEW, messages(r#"{"role":"assistant","content":"Hi"}"#), "first message"),
        (NEW, messages(r#"{"role":"system","content":"Hi"}"#), "Unexpected role"),
        (NEW, messages(&format!(r#"{user},{{"role":"assistant","content":"It"}}"#)), "prefill"),
        (NEW, messages(r#"{"role":"user","content":[{"type":"text","text":""}]}"#), "non-empty"),
        (
            NEW,
            messages(
                r#"{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/tiff","data":"A"}}]}"#,
            ),
            "source",
        ),
    ] {
        let error = ask(&server, model, &fields, Twist::None).expect_err(&fields);
        assert!(
            error.contains(want) && (error.starts_with("400") || want.starts_with("404")),
            "{fields}: {error}"
        );
    }
    let prefill = messages(&format!(r#"{user},{{"role":"assistant","content":"It"}}"#));
    assert!(ask(&server, OLD, &prefill, Twist::None).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_marked_prefix_is_written_then_read_until_it_is_forgotten() {
    let server = Server::of("anthropic");
    let long = "word ".repeat(1_000);
    let used = |ttl: &str, user: &str| {
        let fields = format!(
            r#""max_tokens":99,"system":[{{"type":"text","text":"{long}","cache_control":{{"type":"ephemeral"{ttl}}}}}],"messages":[{{"role":"user","content":"{user}"}}]"#
        );
        let usage = ask(&server, NEW, &fields, Twist::None).unwrap().1;
        (usage.cached, usage.written_5m, usage.written_1h, usage.fresh())
    };
    assert_eq!(used("", "abcd"), (0, 1_254, 0, 5));
    assert_eq!(used("", "efgh"), (1_254, 0, 0, 5));
    tokio::time::advance(std::time::Duration::from_secs(301)).await;
    assert_eq!(used(r#","ttl":"1h""#, "abcd"), (0, 0, 1_254, 5));
    tokio::time::advance(std::time::Duration::from_secs(3_000)).await;
    assert_eq!(used("", "abcd"), (1_254, 0, 0, 5));
    // A short prompt is passed over in silence.
    let short = ask(&server, NEW, &call(r#""cache_control":{"type":"ephemeral"}"#), Twist::None).unwrap().1;
    assert_eq!((short.written_5m, short.cached), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_prefix_is_read_once_its_first_answer_has_begun_and_not_always() {
    let mut server = Server::of("anthropic");
    server.wait = std::time::Duration::from_secs(2);
    let marked = |words: usize| {
        let long = "word ".repeat(words);
        format!(
            r#""max_tokens":99,"system":[{{"type":"text","text":"{long}","cache_control":{{"type":"ephemeral"}}}}],"messages":[{{"role":"user","content":"Hi"}}]"#
        )
    };
    let used = |server: &Server, model, words| {
        let usage = ask(server, model, &marked(words), Twist::None).unwrap().1;
        (usage.cached, usage.written_5m)
    };
    assert_eq!(used(&server, NEW, 1_000), (0, 1_254));
    assert_eq!(used(&server, NEW, 1_000), (0, 1_254), "beside the first: it writes the same");
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    assert_eq!(used(&server, NEW, 1_000), (1_254, 0));
    // From how many tokens on differs by model.
    assert_eq!((used(&server, NEW, 400).1, used(&server, NEW, 420).1), (0, 529));
    assert_eq!((used(&server, OLD, 3_000).1, used(&server, OLD, 3_300).1), (0, 4_129));
    server.config.marked_hits = 0.0;
    assert_eq!(used(&server, NEW, 1_000), (0, 1_254), "kept, and not found");
}

/// As Bedrock takes it: the path names the model.
#[test]
fn a_body_for_a_host_has_a_version_and_says_nothing_that_the_call_says() {
    let server = Server::of("bedrock");
    let ask = |more: &str| {
        let version = r#""anthropic_version":"bedrock-2023-05-31""#;
        let body = format!("{{{}}}", call(&more.replace("VERSION", version)));
        let model = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
        server.ask((Endpoint::InvokeMessages, Some(model)), &body, Twist::None)
    };
    let (message, usage) = ask(r#"VERSION,"anthropic_beta":["b"],"temperature":0.5"#).unwrap();
    assert_eq!(message["model"], "claude-haiku-4-5-20251001");
    assert_eq!(message["usage"]["input_tokens"], usage.prompt);
    assert!(message["usage"].get("service_tier").is_none(), "{message}");
    for (more, words) in [
        ("", "anthropic_version: Field required"),
        (r#""anthropic_version":"2023-06-01""#, "not a valid version"),
        (r#""anthropic_version":"2026-10-21","top_k":5"#, "top_k: Extra inputs"),
        (r#"VERSION,"model":"x""#, "model: Extra inputs"),
        (r#"VERSION,"stream":false"#, "stream: Extra inputs"),
        (r#"VERSION,"service_tier":"auto""#, "service_tier: Extra inputs"),
        (r#"VERSION,"thinking":{"type":"adaptive"}"#, "thinking: Input tag is not supported"),
        (r#"VERSION,"inferenceConfig":{}"#, "inferenceConfig: Extra inputs"),
    ] {
        let error = ask(more).unwrap_err();
        assert!(error.contains(words), "{more}: {error}");
    }
    let own = self::ask(&Server::of("anthropic"), NEW, &call(r#""anthropic_beta":["b"]"#), Twist::None);
    assert!(own.unwrap_err().contains("anthropic_beta: Extra inputs"));
}
