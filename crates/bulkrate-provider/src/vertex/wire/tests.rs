#![allow(clippy::unwrap_used, reason = "tests")]
mod vectors;

use std::sync::Arc;
use std::time::Duration;

use bulkrate_core::answer::Body;
use bulkrate_core::ids::{Sub, WireId};
use bulkrate_core::request::{Config, Content, Message, Role};
use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::http::sign::{Sign, Unsignable, Unsigned};
use crate::settings::ProxyFrom;

fn write_line(id: WireId, kind: Kind, body: &[u8], out: &mut Vec<u8>) {
    wire().write_line(id, kind, body, out);
}

const GEMINI: &str = "gemini-3.8-flash";
const CLAUDE: &str = "claude-haiku-5-5";
const RESULTS: &str = include_str!("../../../fixtures/vertex/batch_results.jsonl");

fn wire() -> VertexWire {
    signed(None)
}

fn signed(signer: Option<Arc<dyn Sign>>) -> VertexWire {
    made(signer, Batched::default())
}

fn made(signer: Option<Arc<dyn Sign>>, batched: Batched) -> VertexWire {
    let settings = Settings {
        base_url: Some("http://127.0.0.1:1".to_owned()),
        proxy: ProxyFrom::None,
        connect_timeout: Duration::from_secs(1),
        ..Settings::default()
    };
    let account = Account::new(None, "vertex", &settings).unwrap();
    let account = match signer {
        Some(signer) => account.signed_by(signer),
        None => account,
    };
    VertexWire::new(account, &settings, batched)
}

fn request(kwargs: Option<&'static str>) -> Request<'static> {
    Request {
        messages: vec![Message { role: Role::User, content: Content::text("Hi"), tool_call_id: None }],
        generation_config: Config { max_tokens: Some(64), ..Config::default() },
        provider_kwargs: kwargs.map(|text| serde_json::from_str(text).unwrap()),
        ..Request::default()
    }
}

fn body(lane: Lane, model: &str, kwargs: Option<&'static str>) -> Result<Vec<u8>, Unsupported> {
    let mut out = Vec::new();
    let options = WireOptions::new(lane, model);
    wire().encode(&request(kwargs), options, &mut out).map(|()| out)
}

fn id() -> WireId {
    WireId::one(Sub::new(1_795_046_400_000, 7), 41)
}

#[test]
fn the_path_names_maker_model_and_lane_and_the_body_names_none() {
    let wire = wire();
    for (model, path) in [
        (GEMINI, "/publishers/google/models/gemini-3.8-flash:generateContent"),
        (CLAUDE, "/publishers/anthropic/models/claude-haiku-5-5:rawPredict"),
        ("claude-haiku-4-5@20251001", "/publishers/anthropic/models/claude-haiku-4-5%4020251001:rawPredict"),
    ] {
        assert_eq!(wire.path(Kind::Chat, model), path);
        assert_eq!(wire.path_in(Lane::Sync, Kind::Chat, model), path);
        assert_eq!(wire.path_in(Lane::Flex, Kind::Chat, model), format!("{path}#flex"));
        for lane in [Lane::Sync, Lane::Flex, Lane::Batch] {
            let said: Value = serde_json::from_slice(&body(lane, model, None).unwrap()).unwrap();
            let absent = ["model", "serviceTier", "service_tier"].iter().all(|name| said.get(name).is_none());
            assert!(absent, "{said}");
        }
    }
    let said: Value = serde_json::from_slice(&body(Lane::Sync, CLAUDE, None).unwrap()).unwrap();
    assert_eq!(
        said,
        json!({"anthropic_version": "vertex-2023-10-16", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]})
    );
    let refused = body(Lane::Sync, GEMINI, Some(r#"{"store":true}"#)).unwrap_err();
    assert!(refused.to_string().contains("`store`"), "{refused}");
}

#[test]
fn our_id_stands_among_the_callers_labels_or_beside_the_request() {
    let line = |model, kwargs| {
        let mut out = Vec::new();
        write_line(id(), Kind::Chat, &body(Lane::Batch, model, kwargs).unwrap(), &mut out);
        assert!(out.ends_with(b"}\n") && out.iter().filter(|byte| **byte == b'\n').count() == 1);
        serde_json::from_slice::<Value>(&out).unwrap()
    };
    let id = id().to_string();
    // As a value of a label may be.
    assert!(
        id.len() <= 63
            && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    );
    assert_eq!(line(GEMINI, None)["request"]["labels"], json!({"bulkrate": id}));
    let plain: Value = serde_json::from_slice(&body(Lane::Batch, GEMINI, None).unwrap()).unwrap();
    for (kwargs, labels) in [
        (
            r#"{"labels":{"team":"a","note":"labels"}}"#,
            json!({"bulkrate": id, "team": "a", "note": "labels"}),
        ),
        (r#"{"labels":{}}"#, json!({"bulkrate": id})),
    ] {
        let mut said = line(GEMINI, Some(kwargs));
        assert_eq!(said["request"]["labels"], labels);
        said["request"].as_object_mut().unwrap().remove("labels");
        assert_eq!(said["request"], plain, "the rest is as it was");
    }
    let claude = line(CLAUDE, None);
    assert_eq!((&claude["custom_id"], &claude["request"]["max_tokens"]), (&json!(id), &json!(64)));
}

#[test]
fn lines_of_results() {
    let wire = wire();
    let read: Vec<String> = RESULTS
        .lines()
        .map(|line| match wire.read_line(Kind::Chat, line.as_bytes()) {
            Err(why) => why,
            Ok(BatchLine { custom_id, reading: Reading::Answer(answer) }) => {
                let Body::Text { text, .. } = answer.body else { panic!("{line}") };
                let usage = answer.usage.unwrap();
                format!("{custom_id} {text} {}+{}", usage.input, usage.output)
            }
            Ok(BatchLine { custom_id, reading: Reading::Failure(failure) }) => {
                format!("{custom_id} {:?} {}", failure.class, failure.maybe_paid)
            }
        })
        .collect();
    assert_eq!(
        read,
        [
            "br1-01kaxvhz0000000000000000aa-0 Hello 2+1",
            "br1-01kaxvhz0000000000000000aa-1 RefusedByProvider false",
            "br1-01kaxvhz0000000000000000aa-2 RateLimited false",
            "br1-01kaxvhz0000000000000000aa-3 Transient false",
            // What is answered is paid, whatever is said of it.
            "br1-01kaxvhz0000000000000000aa-4 Hello 2+1",
            "br1-01kaxvhz0000000000000000aa-5 Hi 9+4",
            "br1-01kaxvhz0000000000000000aa-6 Transient true",
            "not a result: nothing in it says whose it is",
        ]
    );
}

#[test]
fn replies_are_read_in_the_words_of_whoever_made_the_model() {
    let wire = wire();
    let of = |status: u16, body: &str| {
        let reply =
            Reply { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) };
        match wire.read(Kind::Chat, &reply) {
            Reading::Answer(answer) => format!("{:?}", answer.body),
            Reading::Failure(failure) => format!("{:?} {}", failure.class, failure.maybe_paid),
        }
    };
    let gemini = r#"{"candidates":[{"content":{"parts":[{"text":"a \"stop_reason\" b"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":2}}"#;
    let claude = r#"{"type":"message","content":[{"type":"text","text":"the \"candidates\""}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":4}}"#;
    assert!(of(200, gemini).contains("stop_reason") && of(200, claude).contains("candidates"));
    for (status, body, want) in [
        (
            404,
            r#"{"error":{"code":404,"message":"Publisher Model was not found","status":"NOT_FOUND"}}"#,
            "ModelUnavailable false",
        ),
        (
            429,
            r#"{"error":{"code":429,"message":"Resource exhausted","status":"RESOURCE_EXHAUSTED"}}"#,
            "RateLimited false",
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"x"}}"#,
            "RefusedByProvider false",
        ),
        (502, "<html>", "Transient true"),
    ] {
        assert_eq!(of(status, body), want, "{body}");
    }
}

#[test]
fn whose_answer_it_is_says_its_top_level() {
    let wire = wire();
    let of = |body: &str| {
        let reply =
            Reply { status: 200, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) };
        let line = format!(r#"{{"custom_id":"a","response":{body}}}"#);
        let said = |reading| match reading {
            Reading::Answer(answer) => {
                let usage = answer.usage.unwrap();
                (usage.input, usage.output)
            }
            Reading::Failure(failure) => panic!("{failure:?}"),
        };
        let both = [
            said(wire.read(Kind::Chat, &reply)),
            said(wire.read_line(Kind::Chat, line.as_bytes()).unwrap().reading),
        ];
        assert_eq!(both[0], both[1], "{body}");
        both[0]
    };
    // What a tool is given may have names of any kind: the answer is paid, and read as its maker's.
    let claude = r#"{"type":"message","role":"assistant","content":[{"type":"text","text":"x"},{"type":"tool_use","id":"t","name":"rank","input":{"candidates":[1]}}],"stop_reason":"tool_use","usage":{"input_tokens":9,"output_tokens":4}}"#;
    let gemini = r#"{"candidates":[{"content":{"parts":[{"text":"x"},{"functionCall":{"name":"f","args":{"stop_reason":"y"}}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":1}}"#;
    assert_eq!((of(claude), of(gemini)), ((9, 4), (2, 1)));

    // As it is written: a property of a schema makes no body Claude's.
    let mut out = Vec::new();
    let own = r#"{"generationConfig":{"responseJsonSchema":{"properties":{"anthropic_version":{}}}}}"#;
    write_line(id(), Kind::Chat, &body(Lane::Batch, GEMINI, Some(own)).unwrap(), &mut out);
    let line: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (&line["request"]["labels"]["bulkrate"], line.get("custom_id")),
        (&json!(id().to_string()), None)
    );
}

const LLAMA: &str = "meta/llama-3.3-70b-instruct-maas";

#[test]
fn open_models_speak_openais_language_at_an_address_of_their_own() {
    let wire = wire();
    assert_eq!(wire.path(Kind::Chat, LLAMA), "/endpoints/openapi/chat/completions");
    assert_eq!(resource(LLAMA), "publishers/meta/models/llama-3.3-70b-instruct-maas");
    let said: Value = serde_json::from_slice(&body(Lane::Sync, LLAMA, None).unwrap()).unwrap();
    assert_eq!(
        said,
        json!({"model": LLAMA, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 64})
    );
    // Which models have batches, anywhere and at `global`.
    let global = made(None, Batched { at_global: true, ..Batched::default() });
    for (kind, model, refused) in [
        (Kind::Chat, LLAMA, (false, true)),
        (Kind::Chat, GEMINI, (false, false)),
        (Kind::Chat, CLAUDE, (false, false)),
        (Kind::Embedding, "gemini-embedding-001", (false, false)),
        (Kind::Embedding, "text-embedding-005", (true, true)),
    ] {
        let both = [&wire, &global].map(|wire| wire.no_batches(kind, model).is_some());
        assert_eq!((both[0], both[1]), refused, "{model}");
    }
    let of = |status: u16, body: &str| {
        let body = Bytes::copy_from_slice(body.as_bytes());
        match wire.read(Kind::Chat, &Reply { status, headers: HeaderMap::new(), body }) {
            Reading::Answer(answer) => {
                let usage = answer.usage.unwrap();
                format!("{:?} {}+{}", answer.finish, usage.input, usage.output)
            }
            Reading::Failure(failure) => format!("{:?} {}", failure.class, failure.maybe_paid),
        }
    };
    let open = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"the \"candidates\" and \"stop_reason\""},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}"#;
    let gemini = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"choices":[1]}}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":1}}"#;
    for (status, body, want) in [
        (200, open, "Stop 9+4"),
        (200, gemini, "ToolCalls 2+1"),
        // In Google's words, alone in a list as well, or in those of the server behind it.
        (
            400,
            r#"[{"error":{"code":400,"message":"x","status":"INVALID_ARGUMENT"}}]"#,
            "RefusedByProvider false",
        ),
        (
            400,
            r#"{"error":{"message":"x","type":"invalid_request_error","code":null}}"#,
            "RefusedByProvider false",
        ),
    ] {
        assert_eq!(of(status, body), want, "{body}");
    }
}

#[test]
fn a_line_of_an_open_model_is_openais_and_its_result_has_nothing_around_the_answer() {
    let line = |wire: &VertexWire| {
        let mut out = Vec::new();
        wire.write_line(id(), Kind::Chat, &body(Lane::Batch, LLAMA, None).unwrap(), &mut out);
        serde_json::from_slice::<Value>(&out).unwrap()
    };
    let want = json!({
        "custom_id": id().to_string(), "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": LLAMA, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 64},
    });
    let in_tables = made(None, Batched { in_tables: true, ..Batched::default() });
    assert_eq!((line(&wire()), line(&in_tables)), (want.clone(), want));
    // Whatever the model reads in calls, Google takes texts alone.
    let image = r#"{"messages":[{"role":"user","content":[{"type":"image","source_type":"base64","media_type":"image/png","data":"AAAA"}]}]}"#;
    for (lane, taken) in [(Lane::Sync, true), (Lane::Batch, false)] {
        let options = WireOptions::new(lane, LLAMA);
        let encoded = wire().encode(&serde_json::from_str(image).unwrap(), options, &mut Vec::new());
        assert_eq!(
            encoded.map_err(|refused| refused.to_string().contains("texts alone")),
            if taken { Ok(()) } else { Err(true) }
        );
    }
    let wire = wire();
    let of = |rest: &str| {
        let line = format!(r#"{{"custom_id":"a","id":"ca6661dd",{rest}}}"#);
        let BatchLine { custom_id, reading } = wire.read_line(Kind::Chat, line.as_bytes()).unwrap();
        assert_eq!(custom_id, "a");
        match reading {
            Reading::Answer(answer) => {
                let usage = answer.usage.unwrap();
                format!("{:?} {}+{}", answer.finish, usage.input, usage.output)
            }
            Reading::Failure(failure) => format!("{:?} {}", failure.class, failure.maybe_paid),
        }
    };
    let answer = r#""response":{"object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"the \"stop_reason\"","tool_calls":[]},"finish_reason":"stop","stop_reason":null}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}"#;
    for (rest, want) in [
        (format!(r#""error":"",{answer}"#), "Stop 9+4"),
        (format!(r#""error":null,{answer}"#), "Stop 9+4"),
        (answer.to_owned(), "Stop 9+4"),
        // An answer is paid, whatever is said of it.
        (format!(r#""error":"a remark",{answer}"#), "Stop 9+4"),
        // What is wrong comes in whichever form: no page shows one.
        (
            r#""error":"Bad Request: {\"error\": {\"code\": 400, \"message\": \"x\"}}","response":{}"#
                .to_owned(),
            "RefusedByProvider false",
        ),
        (
            r#""error":{"object":"error","message":"x","type":"BadRequestError","code":400},"response":null"#
                .to_owned(),
            "RefusedByProvider false",
        ),
        (
            r#""error":{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}"#.to_owned(),
            "RateLimited false",
        ),
        (r#""error":"no capacity","response":{}"#.to_owned(), "Transient false"),
        // An error in place of the answer.
        (
            r#""error":"","response":{"error":{"message":"x","code":400}}"#.to_owned(),
            "RefusedByProvider false",
        ),
        (r#""error":"","response":{}"#.to_owned(), "Transient true"),
    ] {
        assert_eq!(of(&rest), want, "{rest}");
    }
}

#[test]
fn a_label_of_the_callers_that_has_our_name_is_refused_in_batches() {
    for labels in [
        r#"{"labels":{"bulkrate":"x"}}"#,
        r#"{"labels":{"team":"a","bulkr\u0061te":"x"}}"#,
        r#"{"labels":{"team":"a","team":"b"}}"#,
        r#"{"labels":5}"#,
    ] {
        let refused = body(Lane::Batch, GEMINI, Some(labels)).unwrap_err();
        assert_eq!(refused.field, "provider_kwargs.labels", "{refused}");
    }
    // One call is known by itself; and none at all is none.
    body(Lane::Sync, GEMINI, Some(r#"{"labels":{"bulkrate":"x"}}"#)).unwrap();
    let mut out = Vec::new();
    write_line(id(), Kind::Chat, &body(Lane::Batch, GEMINI, Some(r#"{"labels":null}"#)).unwrap(), &mut out);
    let said = String::from_utf8(out).unwrap();
    assert_eq!(said.matches("\"labels\"").count(), 1, "{said}");
}

#[test]
fn a_gemini_body_with_another_makers_words_is_refused() {
    for (kwargs, field) in [
        (r#"{"messages":[]}"#, "provider_kwargs.messages"),
        (r#"{"mess\u0061ges":[]}"#, "provider_kwargs.messages"),
        (r#"{"anthropic_version":"vertex-2023-10-16"}"#, "provider_kwargs.anthropic_version"),
    ] {
        for lane in [Lane::Sync, Lane::Batch] {
            assert_eq!(body(lane, GEMINI, Some(kwargs)).unwrap_err().field, field, "{lane} {kwargs}");
        }
    }
}

#[test]
fn a_stale_token_is_no_wrong_one() {
    #[derive(Debug)]
    struct Signer(bool);
    #[async_trait::async_trait]
    impl Sign for Signer {
        async fn sign(&self, _: Unsigned<'_>) -> Result<HeaderMap, Unsignable> {
            Ok(HeaderMap::new())
        }
        fn held(&self) -> Option<Arc<str>> {
            Some("ya29.canary-token".into())
        }
        fn ended(&self) -> bool {
            self.0
        }
    }
    let body = r#"{"error":{"code":401,"message":"Request had invalid authentication credentials: ya29.canary-token","status":"UNAUTHENTICATED"}}"#;
    let reply = Reply { status: 401, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) };
    for (renews, class) in [(true, FailureClass::Transient), (false, FailureClass::Auth)] {
        let wire = signed(Some(Arc::new(Signer(renews))));
        let Reading::Failure(failure) = wire.read(Kind::Chat, &reply) else { panic!("an answer") };
        assert_eq!((failure.class, failure.maybe_paid), (class, false));
        assert!(!failure.message.contains("canary"), "{failure:?}");
    }
}

proptest! {
    #[test]
    fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..160), status in ".{0,60}") {
        let wire = wire();
        let _ = (wire.read_line(Kind::Chat, &bytes), wire.read_line(Kind::Embedding, &bytes));
        let line = json!({"custom_id": "a", "status": status}).to_string();
        prop_assert!(wire.read_line(Kind::Chat, line.as_bytes()).is_ok());
    }

    #[test]
    fn whatever_the_labels_the_line_is_json_and_has_our_id(name in "[a-z{}\"]{1,8}", value in ".{0,12}") {
        let body = json!({"contents": [{"parts": [{"text": value}]}], "labels": {name: value}}).to_string();
        let mut out = Vec::new();
        write_line(id(), Kind::Chat, body.as_bytes(), &mut out);
        let line: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(&line["request"]["labels"]["bulkrate"], &json!(id().to_string()));
        prop_assert_eq!(line["request"]["labels"].as_object().unwrap().len(), 2);
    }
}

#[test]
fn a_row_of_a_table_has_an_id_and_its_request_as_a_text() {
    let row = |body: &str| {
        let mut out = Vec::new();
        let in_tables = Batched { in_tables: true, ..Batched::default() };
        made(None, in_tables).write_line(id(), Kind::Chat, body.as_bytes(), &mut out);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        serde_json::from_slice::<Value>(&out).unwrap()
    };
    // A number that no column of JSON holds.
    let gemini = row(r#"{"contents":[],"x":1e999}"#);
    let said = gemini["request"].as_str().unwrap();
    assert_eq!(said, format!(r#"{{"labels":{{"bulkrate":"{}"}},"contents":[],"x":1e999}}"#, id()));
    assert_eq!(gemini["custom_id"], id().to_string());
    let claude = row(r#"{"anthropic_version":"vertex-2023-10-16","messages":[]}"#);
    assert_eq!(claude["request"]["messages"], json!([]));
}
