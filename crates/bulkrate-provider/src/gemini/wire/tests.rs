//! Bodies as they go out, refusals by name, and answers as they are read.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bulkrate_core::answer::{Body, Finish, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;
use bulkrate_core::request::Kind;
use serde_json::{Value, json};

use super::GeminiWire;
use crate::api::{Reply, Wire, WireOptions};
use crate::http::Account;
use crate::settings::{ProxyFrom, Settings};
use crate::testing::{self, asking};

const NEW: &str = "gemini-3.8-flash";
const LARGE: &str = "gemini-3.1-pro-preview";
const OLD: &str = "gemini-2.5-flash";
const OLD_LARGE: &str = "gemini-2.5-pro";

fn wire() -> GeminiWire {
    let settings =
        Settings { proxy: ProxyFrom::None, api_key: "AIza-canary-0123456".into(), ..Settings::default() };
    GeminiWire::new(Account::new(Some("http://127.0.0.1:1"), "gemini", &settings).unwrap(), &settings)
}

fn encoded_in(lane: Lane, model: &str, line: &str) -> Result<Value, String> {
    let options = WireOptions::new(lane, model);
    testing::encoded(&wire(), options, line)
}

fn encoded(model: &str, line: &str) -> Result<Value, String> {
    encoded_in(Lane::Sync, model, line)
}

#[test]
fn settings_stand_in_the_generation_config() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}});
    let choices = json!({"type": "object", "properties": {"answer": {"type": "string", "enum": ["ham", "spam"]}}, "required": ["answer"], "additionalProperties": false});
    let shaped = |schema: &Value, thinking: Value| json!({"responseMimeType": "application/json", "responseJsonSchema": schema, "thinkingConfig": thinking});
    let least = || json!({"thinkingLevel": "MINIMAL"});
    for (model, config, want) in [
        (NEW, json!({}), json!({"thinkingConfig": least()})),
        (LARGE, json!({}), json!({"thinkingConfig": {"thinkingLevel": "LOW"}})),
        (OLD, json!({}), json!({"thinkingConfig": {"thinkingBudget": 0}})),
        (OLD, json!({"reasoning": "none"}), json!({"thinkingConfig": {"thinkingBudget": 0}})),
        (OLD_LARGE, json!({}), json!({"thinkingConfig": {"thinkingBudget": 128}})),
        (OLD_LARGE, json!({"reasoning": 200}), json!({"thinkingConfig": {"thinkingBudget": 200}})),
        (OLD, json!({"reasoning": "low"}), json!({"thinkingConfig": {"thinkingBudget": 1_024}})),
        (
            OLD,
            json!({"reasoning": "high", "max_tokens": 30_000}),
            json!({"maxOutputTokens": 30_000, "thinkingConfig": {"thinkingBudget": 16_384}}),
        ),
        (NEW, json!({"reasoning": "high"}), json!({"thinkingConfig": {"thinkingLevel": "HIGH"}})),
        ("gemini-2.0-flash", json!({}), json!({})),
        (
            NEW,
            json!({"temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7, "presence_penalty": 0.5, "frequency_penalty": -0.5, "stop_sequences": ["END"]}),
            json!({"temperature": 0.5, "topP": 0.9, "topK": 40, "seed": 7, "presencePenalty": 0.5, "frequencyPenalty": -0.5, "stopSequences": ["END"], "thinkingConfig": least()}),
        ),
        (NEW, json!({"output_schema": schema}), shaped(&schema, least())),
        (NEW, json!({"choices": ["ham", "spam"]}), shaped(&choices, least())),
    ] {
        let line = asking(config, json!({}));
        let body = encoded(model, &line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut whole = json!({"maxOutputTokens": 4_000});
        whole.as_object_mut().unwrap().extend(want.as_object().unwrap().clone());
        let contents = json!([{"role": "user", "parts": [{"text": "Hi"}]}]);
        assert_eq!(body, json!({"contents": contents, "generationConfig": whole}), "{line}");
    }
}

#[test]
fn the_callers_own_fields_are_added_to_and_win() {
    let own = json!({"generationConfig": {"thinkingConfig": {"thinkingLevel": "HIGH"}, "mediaResolution": "MEDIA_RESOLUTION_LOW", "temperature": 0},
        "safetySettings": [], "serviceTier": "priority", "model": "other", "tools": [{"functionDeclarations": [{"name": "f"}]}]});
    let line = asking(json!({"temperature": 0.5, "top_k": 3}), json!({"provider_kwargs": own}));
    let body = encoded(NEW, &line).unwrap();
    let config = json!({"maxOutputTokens": 4_000, "topK": 3, "thinkingConfig": {"thinkingLevel": "HIGH"}, "mediaResolution": "MEDIA_RESOLUTION_LOW", "temperature": 0});
    assert_eq!(body["generationConfig"], config);
    assert_eq!(
        (&body["safetySettings"], &body["tools"][0]["functionDeclarations"][0]["name"]),
        (&json!([]), &json!("f"))
    );
    assert!(body.get("model").is_none() && body.get("serviceTier").is_none(), "{body}");
    // The lane decides the tier.
    assert_eq!(encoded_in(Lane::Flex, NEW, &line).unwrap()["serviceTier"], "flex");
}

#[test]
fn turns_and_parts() {
    let image = json!({"type": "image", "source_type": "base64", "media_type": "image/png", "data": "AAAA"});
    let file = json!({"type": "document", "source_type": "url", "media_type": "application/pdf", "data": "https://generativelanguage.googleapis.com/v1beta/files/a1"});
    let page =
        json!({"type": "document", "source_type": "base64", "media_type": "text/plain", "data": "QQ=="});
    let line = json!({"system_prompt": ["Be brief.", "", "Be kind."], "messages": [
        {"role": "system", "content": "Be calm."},
        {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "text", "text": ""}, image, file, page]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "Sure?"},
    ]});
    assert_eq!(
        encoded("gemini-2.0-flash", &line.to_string()).unwrap(),
        json!({
            "systemInstruction": {"parts": [{"text": "Be brief.\n\nBe kind.\n\nBe calm."}]},
            "contents": [
                {"role": "user", "parts": [
                    {"text": "Look"},
                    {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                    {"fileData": {"mimeType": "application/pdf", "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a1"}},
                    {"inlineData": {"mimeType": "text/plain", "data": "QQ=="}},
                ]},
                {"role": "model", "parts": [{"text": "A cat."}]},
                {"role": "user", "parts": [{"text": "Sure?"}]},
            ],
            "generationConfig": {},
        })
    );
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let own = |fields: Value| json!({"provider_kwargs": fields});
    let user = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    let blob = |kind: &str, source: &str, media: &str, data: &str| json!({"type": kind, "source_type": source, "media_type": media, "data": data});
    for (model, config, more, field, words) in [
        (NEW, json!({"reasoning": "none"}), json!({}), "reasoning", "always reasons"),
        (OLD_LARGE, json!({"reasoning": "none"}), json!({}), "reasoning", "always reasons"),
        (NEW, json!({"reasoning": 500}), json!({}), "reasoning", "not tokens"),
        (OLD, json!({"reasoning": 30_000}), json!({}), "reasoning", "1 to 24576"),
        (OLD, json!({"reasoning": "medium"}), json!({}), "reasoning", "leave no room"),
        (OLD_LARGE, json!({"max_tokens": 20}), json!({}), "reasoning", "leave no room"),
        ("gemini-2.0-flash", json!({"reasoning": "low"}), json!({}), "reasoning", "does not reason"),
        (NEW, json!({"temperature": 2.5}), json!({}), "temperature", "0 to 2"),
        (NEW, json!({"top_p": 1.5}), json!({}), "top_p", "0 to 1"),
        (NEW, json!({"stop_sequences": ["a", "b", "c", "d", "e", "f"]}), json!({}), "stop_sequences", "5"),
        (NEW, json!({"choices": ["a"], "output_schema": {}}), json!({}), "output_schema", "one of the two"),
        (
            NEW,
            json!({}),
            own(json!({"generation_config": {}})),
            "provider_kwargs.generation_config",
            "generationConfig",
        ),
        (NEW, json!({}), own(json!({"generationConfig": []})), "provider_kwargs.generationConfig", "object"),
        (
            NEW,
            json!({}),
            own(json!({"generationConfig": {"maxOutputTokens": 9}})),
            "provider_kwargs.generationConfig",
            "max_tokens",
        ),
        (
            NEW,
            json!({}),
            own(json!({"generationConfig": {"candidateCount": 2}})),
            "provider_kwargs.generationConfig",
            "candidateCount",
        ),
        (
            NEW,
            json!({}),
            own(json!({"generationConfig": {"candidate_count": 8}})),
            "provider_kwargs.generationConfig",
            "candidate_count",
        ),
        (NEW, json!({}), own(json!({"tools": [{"googleSearch": {}}]})), "provider_kwargs.tools", "costs"),
        (NEW, json!({}), own(json!({"tools": {"googleSearch": {}}})), "provider_kwargs.tools", "list"),
        (NEW, json!({}), user(blob("image", "base64", "image/gif", "AA==")), "messages.image", "image/gif"),
        (
            NEW,
            json!({}),
            user(blob("image", "url", "image/png", "https://example.com/a.png")),
            "messages.image",
            "base64",
        ),
        (
            NEW,
            json!({}),
            user(blob("document", "base64", "application/zip", "AA==")),
            "messages.document",
            "application/zip",
        ),
        (
            NEW,
            json!({}),
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}),
            "messages",
            "front",
        ),
        (
            NEW,
            json!({}),
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
            "messages",
            "continue",
        ),
        (
            NEW,
            json!({}),
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b", "tool_call_id": "c"}, {"role": "user", "content": "a"}]}),
            "messages",
            "provider_kwargs.contents",
        ),
        (NEW, json!({}), json!({"kind": "moderation", "input": "a"}), "kind", "moderation"),
    ] {
        let line = asking(config, more);
        let error = encoded(model, &line).expect_err(&line);
        assert!(
            error.starts_with(&format!("`{field}` cannot be sent to `{model}`")) && error.contains(words),
            "{line}: {error}"
        );
    }
}

#[test]
fn the_model_stands_in_the_path() {
    for (model, want) in [
        (NEW, "/v1beta/models/gemini-3.8-flash:generateContent"),
        ("a/../b?c", "/v1beta/models/a%2F..%2Fb%3Fc:generateContent"),
    ] {
        assert_eq!(wire().path(Kind::Chat, model), want);
    }
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, headers: http::HeaderMap::new(), body: bytes::Bytes::copy_from_slice(body.as_bytes()) }
}

#[test]
fn answers() {
    let whole = include_str!("../../../fixtures/gemini/answer.json");
    let usual = r#""content":{"role":"model","parts":[{"text":"Hello"}]}"#;
    let candidate =
        |fields: &str| format!(r#"{{"candidates":[{{{fields}}}],"usageMetadata":{{"promptTokenCount":8}}}}"#);
    let ended = |reason: &str| candidate(&format!("{usual},\"finishReason\":\"{reason}\",\"index\":0"));
    let blocked =
        r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":8}}"#;
    for (body, want, finish, refusal) in [
        (whole.to_owned(), "{\"label\":\"billing\"}", Finish::Stop, None),
        (ended("STOP"), "Hello", Finish::Stop, None),
        (ended("MAX_TOKENS"), "Hello", Finish::Length, None),
        // All of it was thought.
        (candidate(r#""finishReason":"MAX_TOKENS","index":0"#), "", Finish::Length, None),
        (candidate(r#""content":{"role":"model"},"finishReason":"MAX_TOKENS""#), "", Finish::Length, None),
        (ended("SAFETY"), "", Finish::ContentFilter, Some("blocked (SAFETY)")),
        (ended("RECITATION"), "", Finish::ContentFilter, Some("blocked (RECITATION)")),
        (
            candidate(r#""finishReason":"SPII","finishMessage":"A name.""#),
            "",
            Finish::ContentFilter,
            Some("A name."),
        ),
        (blocked.to_owned(), "", Finish::ContentFilter, Some("blocked (PROHIBITED_CONTENT)")),
        (ended("MALFORMED_FUNCTION_CALL"), "Hello", Finish::Malformed, None),
        (ended("OF_TOMORROW"), "Hello", Finish::Other, None),
        (candidate(usual), "Hello", Finish::Other, None),
    ] {
        let reply = reply(200, &body);
        let Reading::Answer(answer) = wire().read(Kind::Chat, &reply) else { panic!("{body}") };
        let Body::Text { text, refusal: said, tool_calls: None } = &answer.body else { panic!("{body}") };
        assert_eq!((&**text, answer.finish, said.as_deref()), (want, finish, refusal), "{body}");
        assert!(answer.usage.is_some_and(|usage| usage.input > 0), "{body}");
    }
    let reply = reply(200, whole);
    let Reading::Answer(answer) = wire().read(Kind::Chat, &reply) else { panic!() };
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.output, usage.reasoning), (20, 100, 840, 829));
    assert_eq!(answer.model.as_deref(), Some("gemini-2.5-flash"));
}

#[test]
fn tool_calls_look_as_everywhere() {
    let body = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"id":"c1","name":"f","args":{"id": 9}},"thoughtSignature":"AA"},{"functionCall":{"name":"g"}}]},"finishReason":"STOP"}]}"#;
    let reply = reply(200, body);
    let Reading::Answer(answer) = wire().read(Kind::Chat, &reply) else { panic!() };
    let Body::Text { tool_calls: Some(calls), .. } = &answer.body else { panic!() };
    assert_eq!((answer.finish, answer.usage), (Finish::ToolCalls, None));
    assert_eq!(
        calls.get(),
        r#"[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"id\": 9}"}},{"id":"","type":"function","function":{"name":"g","arguments":"{}"}}]"#
    );
}

#[test]
fn what_is_no_answer() {
    let error = |status: &str, message: &str| {
        format!(r#"{{"error":{{"code":0,"message":"{message}","status":"{status}"}}}}"#)
    };
    for (status, body, class, maybe_paid) in [
        (200, "{\"candidates\": [".to_owned(), FailureClass::Transient, true),
        (200, "{}".to_owned(), FailureClass::Transient, true),
        (200, r#"{"candidates":[]}"#.to_owned(), FailureClass::Transient, true),
        (200, "<html>".to_owned(), FailureClass::Transient, true),
        (200, error("UNAVAILABLE", "x"), FailureClass::RateLimited, false),
        (200, error("INTERNAL", "x"), FailureClass::Transient, true),
        (200, error("INVALID_ARGUMENT", "x"), FailureClass::RefusedByProvider, false),
        (400, error("INVALID_ARGUMENT", "API key not valid: AIza-canary-0123456"), FailureClass::Auth, false),
    ] {
        let reply = reply(status, &body);
        let Reading::Failure(failure) = wire().read(Kind::Chat, &reply) else { panic!("{body}") };
        assert_eq!((failure.class, failure.maybe_paid), (class, maybe_paid), "{body}");
        assert!(!failure.message.contains("canary"), "{failure:?}");
    }
}

#[test]
fn lines_of_results() {
    let lines: Vec<&str> = include_str!("../../../fixtures/gemini/batch_results.jsonl").lines().collect();
    let first = wire().read_line(Kind::Chat, lines[0].as_bytes()).unwrap();
    assert_eq!(first.custom_id, "br1-01kaxvhz0000000000000000aa-0");
    let Reading::Answer(answer) = first.reading else { panic!("{:?}", first.reading) };
    assert_eq!(answer.usage.map(|usage| (usage.input, usage.output, usage.reasoning)), Some((8, 840, 829)));
    for (line, code, class, maybe_paid) in [
        (1, Some("INVALID_ARGUMENT"), FailureClass::RefusedByProvider, false),
        (2, Some("500"), FailureClass::Transient, false),
        (3, Some("429"), FailureClass::RateLimited, false),
        (4, None, FailureClass::Transient, true),
        (5, None, FailureClass::Transient, true),
    ] {
        let read = wire().read_line(Kind::Chat, lines[line].as_bytes()).unwrap();
        let Reading::Failure(failure) = read.reading else { panic!("{}", lines[line]) };
        let seen = (failure.provider_code.as_deref(), failure.class, failure.maybe_paid);
        assert_eq!(seen, (code, class, maybe_paid), "{}", lines[line]);
    }
    for line in ["", "{}", r#"{"key":"","response":{}}"#, r#"{"response":{}}"#, "[]"] {
        assert!(wire().read_line(Kind::Chat, line.as_bytes()).is_err(), "{line}");
    }
}

const VECTORS: &str = "gemini-embedding-001";

#[test]
fn vectors_are_asked_for_one_by_one_and_in_lists_of_one() {
    let line = |more: Value| {
        let mut line = json!({"kind": "embedding", "input": "a \"b\""});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line.to_string()
    };
    let plain = json!({"content": {"parts": [{"text": "a \"b\""}]}});
    let with = |more: Value| {
        let mut body = plain.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let sized = json!({"generation_config": {"dimensions": 768}, "provider_kwargs": {"taskType": "CLUSTERING", "model": "x"}});
    for (more, want) in [
        (json!({}), json!({})),
        (sized, json!({"outputDimensionality": 768, "taskType": "CLUSTERING"})),
        (json!({"provider_kwargs": {"content": {"parts": []}}}), json!({"content": {"parts": []}})),
    ] {
        let line = line(more);
        assert_eq!(encoded_in(Lane::Batch, VECTORS, &line), Ok(with(want.clone())), "{line}");
        let mut call = with(want);
        call["model"] = format!("models/{VECTORS}").into();
        assert_eq!(encoded_in(Lane::Sync, VECTORS, &line), Ok(json!({"requests": [call]})), "{line}");
    }
    let two = json!({"kind": "embedding", "input": ["a", "b"]}).to_string();
    assert!(encoded(VECTORS, &two).unwrap_err().contains("here are 2 inputs"));
    assert!(wire().path(Kind::Embedding, VECTORS).ends_with("/gemini-embedding-001:batchEmbedContents"));
}

#[test]
fn vectors_are_read_from_calls_and_from_lines() {
    let call = |more: &str| format!(r#"{{"embeddings":[{{"values":[0.5,-1]}}]{more}}}"#);
    let line =
        |more: &str| format!(r#"{{"key":"k","response":{{"embedding":{{"values":[0.5,-1]}}{more}}}}}"#);
    let input = |reading: &Reading<'_>| match reading {
        Reading::Answer(answer) => {
            let Body::Embedding(bulkrate_core::answer::Embedding::Numbers(values)) = &answer.body else {
                panic!("{answer:?}")
            };
            assert_eq!(values.get(), "[0.5,-1]");
            Ok(answer.usage.map(|usage| (usage.input, usage.output)))
        }
        Reading::Failure(failure) => Err((failure.class, failure.maybe_paid)),
    };
    for (more, want) in [
        (r#","usageMetadata":{"promptTokenCount":7}"#, Some((7, 0))),
        (r#","tokenCount":"7""#, Some((7, 0))),
        (r#","tokenCount":-7"#, None),
        ("", None),
    ] {
        let (call, line) = (call(more), line(more));
        assert_eq!(input(&wire().read(Kind::Embedding, &reply(200, &call))), Ok(want), "{call}");
        let read = wire().read_line(Kind::Embedding, line.as_bytes()).unwrap();
        assert_eq!(input(&read.reading), Ok(want), "{line}");
    }
    // What has no vector was paid for all the same, perhaps.
    for body in [r#"{"embeddings":[]}"#, r#"{"embedding":{"values":null}}"#, "{}", "["] {
        let lost = Err((FailureClass::Transient, true));
        assert_eq!(input(&wire().read(Kind::Embedding, &reply(200, body))), lost, "{body}");
    }
}
