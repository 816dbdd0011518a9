//! What is taken, what is refused, and how it is said.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use crate::api::testing::Server;
use crate::api::{Endpoint, Twist, prepare};
use serde_json::{Value, json};

const NOVA: &str = "us.amazon.nova-lite-v1:0";
const CLAUDE: &str = "global.anthropic.claude-haiku-5-5";

fn body(more: &Value) -> String {
    let mut body = json!({"messages": [{"role": "user", "content": [{"text": "My parcel is late"}]}], "inferenceConfig": {"maxTokens": 64}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

fn asked(model: &str, more: &Value) -> Result<Value, String> {
    let server = Server::of("bedrock");
    server.ask((Endpoint::Converse, Some(model)), &body(more), Twist::None).map(|(answer, _)| answer)
}

#[test]
fn an_answer_and_its_usage() {
    let schema = json!({"type": "object", "properties": {"label": {"type": "string", "enum": ["billing", "delivery"]}}, "required": ["label"], "additionalProperties": false});
    let plain = asked(NOVA, &json!({})).unwrap();
    assert_eq!((&plain["stopReason"], &plain["usage"]["inputTokens"]), (&json!("end_turn"), &json!(9)));
    let format = json!({"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema.to_string()}}}}});
    let shaped = asked(CLAUDE, &format).unwrap();
    assert_eq!(shaped["output"]["message"]["content"][0]["text"], r#"{"label":"delivery"}"#);
    let tools = json!({"toolConfig": {"tools": [{"toolSpec": {"name": "label", "inputSchema": {"json": schema}}}], "toolChoice": {"any": {}}}});
    let called = asked(NOVA, &tools).unwrap();
    assert_eq!(
        (&called["stopReason"], &called["output"]["message"]["content"][0]["toolUse"]["input"]),
        (&json!("tool_use"), &json!({"label": "delivery"}))
    );
    // Neither of the two in a batch.
    for more in [format, tools] {
        let (server, body) = (Server::of("bedrock"), body(&more));
        let prepared = prepare(&server.models, Endpoint::Converse, Some(NOVA), body.as_bytes(), true);
        assert!(prepared.unwrap_err().message.contains("batch"), "{body}");
    }
}

#[test]
fn what_is_wrong_is_refused() {
    let image = |format: &str| json!({"messages": [{"role": "user", "content": [{"image": {"format": format, "source": {"bytes": "AAAA"}}}]}]});
    for (model, more, words) in [
        ("nobody.model", json!({}), "does not exist"),
        (NOVA, json!({"max_tokens": 7}), "Malformed input request"),
        (NOVA, json!({"inferenceConfig": {"maxTokens": 1_000_000}}), "exceeds the model limit"),
        (NOVA, json!({"inferenceConfig": {"temperature": 1.5}}), "inferenceConfig.temperature"),
        (NOVA, json!({"messages": []}), "start with a user message"),
        (
            NOVA,
            json!({"messages": [{"role": "assistant", "content": [{"text": "x"}]}]}),
            "start with a user message",
        ),
        (NOVA, json!({"messages": [{"role": "user", "content": [{"text": ""}]}]}), "is blank"),
        (NOVA, image("bmp"), "enum value set"),
        (NOVA, json!({"additionalModelRequestFields": {"top_k": 1}}), "extraneous key [top_k]"),
        (NOVA, json!({"outputConfig": {"effort": "low"}}), "outputConfig.effort"),
        (NOVA, json!({"serviceTier": {"type": "gold"}}), "serviceTier.type"),
        (CLAUDE, json!({"inferenceConfig": {"temperature": 0.5}}), "deprecated for this model"),
        (
            CLAUDE,
            json!({"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2_000}}}),
            "thinking",
        ),
    ] {
        let error = asked(model, &more).unwrap_err();
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(asked(NOVA, &image("png")).is_ok());
}
