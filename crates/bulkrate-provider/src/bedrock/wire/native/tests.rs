//! Bodies in Claude's own words as they go out, refusals by name, and answers that are read by their form alone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bulkrate_core::answer::{Body, Finish, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::Ttl;
use bulkrate_core::request::{Kind, Part, Request, Tongue};
use serde_json::{Value, json};

use super::begins;
use crate::api::{Reply, Wire, WireOptions};
use crate::bedrock::wire::BedrockWire;
use crate::http::Account;
use crate::settings::{ModelInvocationType, ProxyFrom, Settings};

const CLAUDE: &str = "global.anthropic.claude-haiku-5-5";
const OLD: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const PROFILE: &str =
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0";
const NOVA: &str = "us.amazon.nova-lite-v1:0";

fn wire_of(more: Settings) -> BedrockWire {
    let settings =
        Settings { proxy: ProxyFrom::None, model_invocation_type: ModelInvocationType::InvokeModel, ..more };
    BedrockWire::new(Account::new(Some("http://127.0.0.1:1"), "bedrock", &settings).unwrap(), &settings)
}

fn wire() -> BedrockWire {
    wire_of(Settings::default())
}

fn encoded(
    wire: &BedrockWire,
    (lane, mark): (Lane, Option<Ttl>),
    model: &str,
    line: &Value,
) -> Result<Value, String> {
    let text = line.to_string();
    let request: Request<'_> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}"));
    let mut body = Vec::new();
    let options = WireOptions { mark, ..WireOptions::new(lane, model) };
    match wire.encode(&request, options, &mut body) {
        Ok(()) => {
            assert!(body.starts_with(b"{\"anthropic_version\":"), "records are told by it");
            Ok(serde_json::from_slice(&body).unwrap())
        }
        Err(error) => {
            assert!(body.is_empty(), "{error}");
            Err(error.to_string())
        }
    }
}

/// A request with these fields besides a prompt.
fn asking(config: &Value, more: &Value) -> Value {
    let mut line = json!({"messages": [{"role": "user", "content": "Hi"}], "generation_config": {"max_tokens": 4_000}, "system_prompt": ["Be brief."]});
    let merge = |into: &mut Value, from: &Value| {
        into.as_object_mut().unwrap().extend(from.as_object().unwrap().clone());
    };
    merge(&mut line["generation_config"], config);
    merge(&mut line, more);
    line
}

#[test]
fn a_body_is_anthropics_with_its_version_and_no_model() {
    let choices = json!({"type": "object", "properties": {"answer": {"type": "string", "enum": ["ham", "spam"]}}, "required": ["answer"], "additionalProperties": false});
    let asked = json!({"choices": ["ham", "spam"]});
    let own = json!({"provider_kwargs": {"model": "other", "stream": false, "service_tier": "auto", "anthropic_version": "x", "tool_choice": {"type": "none"}}});
    for (lane, model, config, more, want) in [
        (Lane::Sync, CLAUDE, json!({}), json!({}), json!({})),
        // A header says the tier.
        (Lane::Flex, CLAUDE, json!({}), json!({}), json!({})),
        (
            Lane::Sync,
            CLAUDE,
            json!({"reasoning": "low", "stop_sequences": ["END"]}),
            json!({}),
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}, "stop_sequences": ["END"]}),
        ),
        (
            Lane::Batch,
            PROFILE,
            json!({"reasoning": "low"}),
            json!({}),
            json!({"thinking": {"type": "enabled", "budget_tokens": 1_024}}),
        ),
        (
            Lane::Sync,
            OLD,
            json!({"temperature": 0.5, "top_k": 5}),
            json!({}),
            json!({"temperature": 0.5, "top_k": 5}),
        ),
        (
            Lane::Sync,
            CLAUDE,
            asked.clone(),
            json!({}),
            json!({"output_config": {"format": {"type": "json_schema", "schema": choices}}}),
        ),
        // Batches take no schema: choices are told apart by what is answered.
        (Lane::Batch, OLD, asked, json!({}), json!({})),
        (Lane::Sync, CLAUDE, json!({}), own, json!({"tool_choice": {"type": "none"}})),
    ] {
        let body = encoded(&wire(), (lane, None), model, &asking(&config, &more)).unwrap();
        let mut all = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 4_000, "system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}]});
        all.as_object_mut().unwrap().extend(want.as_object().unwrap().clone());
        assert_eq!(body, all, "{lane:?} {model}");
    }
    let betas =
        wire_of(Settings { betas: vec!["one-2026".into(), "two-2026".into()], ..Settings::default() });
    let body = encoded(&betas, (Lane::Batch, None), OLD, &asking(&json!({}), &json!({}))).unwrap();
    assert_eq!(body["anthropic_beta"], json!(["one-2026", "two-2026"]));
}

#[test]
fn refusals_name_the_field() {
    let own = |fields: Value| json!({"provider_kwargs": fields});
    let none = || json!({});
    let schema = json!({"output_schema": {"type": "object", "properties": {"a": {"type": "string"}}}});
    let image = |from: &str| json!({"messages": [{"role": "user", "content": [{"type": "image", "source_type": "url", "media_type": "image/png", "data": from}]}]});
    for (lane, model, config, more, words) in [
        (Lane::Sync, NOVA, none(), none(), "`model_invocation_type`"),
        (Lane::Batch, "meta.llama3-1-8b-instruct-v1:0", none(), none(), "Claude's models alone"),
        (Lane::Batch, OLD, schema, none(), "`output_schema`"),
        (Lane::Batch, OLD, none(), own(json!({"tools": []})), "`provider_kwargs.tools`"),
        (
            Lane::Batch,
            OLD,
            none(),
            own(json!({"output_config": {"format": {}}})),
            "`provider_kwargs.output_config`",
        ),
        (Lane::Sync, CLAUDE, none(), own(json!({"anthropic_beta": ["x"]})), "set `betas` in `[provider]`"),
        (Lane::Sync, CLAUDE, none(), own(json!({"speed": "fast"})), "`provider_kwargs.speed`"),
        (
            Lane::Sync,
            CLAUDE,
            none(),
            own(json!({"tools": [{"type": "web_search_20250305", "name": "w"}]})),
            "`provider_kwargs.tools`",
        ),
        (
            Lane::Sync,
            CLAUDE,
            none(),
            own(json!({"cache_control": {"type": "ephemeral", "ttl": "1h"}})),
            "--prompt-cache 1h",
        ),
        (Lane::Sync, CLAUDE, json!({"temperature": 0.5}), none(), "`temperature`"),
        (Lane::Sync, CLAUDE, none(), image("https://example.org/a.png"), "`messages.image`"),
        (Lane::Sync, CLAUDE, none(), image("s3://b/a.png"), "`messages.image`"),
        (Lane::Sync, CLAUDE, none(), json!({"kind": "moderation", "input": ["x"], "messages": []}), "`kind`"),
    ] {
        let error = encoded(&wire(), (lane, None), model, &asking(&config, &more)).unwrap_err();
        assert!(error.contains(words) && error.contains(model), "{words}: {error}");
    }
    // A schema that is not sent is not in the way.
    let unsent = wire_of(Settings { structured_outputs: false, ..Settings::default() });
    let asked = asking(&json!({"output_schema": {"type": "object"}}), &json!({}));
    assert!(encoded(&unsent, (Lane::Batch, None), OLD, &asked).unwrap().get("output_config").is_none());
}

#[test]
fn marks_and_what_is_read_are_anthropics_and_batches_keep_nothing() {
    let wire = wire();
    let mark =
        |lane, model| wire.marks(lane, model).map(|marks| (marks.prefix_min.0, marks.hour, marks.word));
    assert_eq!(mark(Lane::Sync, OLD), Some((4_096, true, "cache_control")));
    assert_eq!((mark(Lane::Batch, OLD), mark(Lane::Sync, NOVA)), (None, None));
    let body =
        encoded(&wire, (Lane::Sync, Some(Ttl::Hour)), CLAUDE, &asking(&json!({}), &json!({}))).unwrap();
    let hour = json!({"type": "ephemeral", "ttl": "1h"});
    assert_eq!(body["system"], json!([{"type": "text", "text": "Be brief.", "cache_control": hour}]));
    let speaks = |tongue| wire.speaks(tongue, Kind::Chat, CLAUDE);
    assert!(speaks(Tongue::Anthropic) && !speaks(Tongue::Converse));
    for (from, data, reads) in [("base64", "AAAA", true), ("url", "https://x/a.png", false)] {
        let part = json!({"type": "image", "source_type": from, "media_type": "image/png", "data": data})
            .to_string();
        let part: Part<'_> = serde_json::from_str(&part).unwrap();
        assert_eq!(wire.reads(&part, CLAUDE), reads, "{from}");
    }
}

#[test]
fn a_call_is_of_invoke_model_and_its_tier_is_said_beside_the_path() {
    let wire = wire();
    let path = "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke";
    assert_eq!(wire.path_in(Lane::Sync, Kind::Chat, OLD), path);
    assert_eq!(wire.path_in(Lane::Flex, Kind::Chat, OLD), format!("{path}#flex"));
    let vectors = wire.path_in(Lane::Flex, Kind::Embedding, "amazon.titan-embed-text-v2:0");
    assert_eq!(vectors, "/model/amazon.titan-embed-text-v2%3A0/invoke");
}

const MESSAGE: &str = r#"{"id":"msg_bdrk_01","type":"message","role":"assistant","model":"claude-haiku-4-5-20251001","content":[{"type":"thinking","thinking":"hm","signature":"x"},{"type":"text","text":"the \"output\""}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":8,"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":5},"output_tokens":4}}"#;
const CONVERSED: &str = r#"{"output":{"message":{"role":"assistant","content":[{"text":"the \"content\""}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":2}}"#;

/// A state folder may hold jobs that were made before the setting was changed, either way.
#[test]
fn answers_are_read_by_their_form_whatever_the_account_asks_in() {
    let converse = Settings { proxy: ProxyFrom::None, ..Settings::default() };
    let account = Account::new(Some("http://127.0.0.1:1"), "bedrock", &converse).unwrap();
    for wire in [wire(), BedrockWire::new(account, &converse)] {
        for (body, said, input, hour) in
            [(MESSAGE, "the \"output\"", 8, 5), (CONVERSED, "the \"content\"", 3, 0)]
        {
            let reply = Reply { status: 200, headers: http::HeaderMap::new(), body: body.to_owned().into() };
            let line = format!(r#"{{"recordId":"a","modelInput":{{"messages":[]}},"modelOutput":{body}}}"#);
            let of_line = wire.read_line(Kind::Chat, line.as_bytes()).unwrap().reading;
            for reading in [wire.read(Kind::Chat, &reply), of_line] {
                let Reading::Answer(answer) = reading else { panic!("{body}") };
                let Body::Text { text, .. } = &answer.body else { panic!("{body}") };
                let usage = answer.usage.unwrap();
                assert_eq!((&**text, answer.finish), (said, Finish::Stop));
                assert_eq!((usage.input, usage.cache_write_1h), (input, hour));
            }
        }
    }
}

#[test]
fn the_tier_of_a_call_stands_in_a_header_and_errors_are_amazons() {
    let wire = wire();
    let mut reply = Reply { status: 200, headers: http::HeaderMap::new(), body: MESSAGE.to_owned().into() };
    reply.headers.insert("x-amzn-bedrock-service-tier", http::HeaderValue::from_static("default"));
    let Reading::Answer(answer) = wire.read(Kind::Chat, &reply) else { panic!() };
    assert_eq!(answer.tier.as_deref(), Some("default"));
    let refused = r#"{"__type":"ValidationException","message":"max_tokens: Field required"}"#;
    let reply = Reply { status: 400, headers: http::HeaderMap::new(), body: refused.to_owned().into() };
    let Reading::Failure(failure) = wire.read(Kind::Chat, &reply) else { panic!() };
    assert_eq!((failure.class, failure.maybe_paid), (FailureClass::RefusedByProvider, false));
}

#[test]
fn records_are_told_by_how_they_begin() {
    for (record, native) in [
        (
            r#"{"recordId":"br1-x-0","modelInput":{"anthropic_version":"bedrock-2023-05-31","max_tokens":1}}"#,
            true,
        ),
        (r#"{"recordId":"br1-x-0","modelInput":{"messages":[],"anthropic_version":"x"}}"#, false),
        (
            r#"{"recordId":"a","modelInput":{"messages":[{"content":[{"text":"\"modelInput\":{\"anthropic_version\":"}]}]}}"#,
            false,
        ),
        ("", false),
    ] {
        assert_eq!(begins(record.as_bytes()), native, "{record}");
    }
}
