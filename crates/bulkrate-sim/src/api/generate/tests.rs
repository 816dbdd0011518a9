//! What the API takes and refuses, and what it answers.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::api::testing::Server;
use crate::api::{Endpoint, Twist};
use crate::tokens::Usage;
use serde_json::{Value, json};

const NEW: &str = "gemini-3.8-flash";
const OLD: &str = "gemini-2.5-flash";
const PRO: &str = "gemini-2.5-pro";

fn ask(server: &Server, model: &str, body: &Value, twist: Twist) -> Result<(Value, Usage), String> {
    server.ask((Endpoint::Generate, Some(model)), &body.to_string(), twist)
}

fn call(config: Value) -> Value {
    let mut body = json!({"contents": [{"role": "user", "parts": [{"text": "Hello there"}]}]});
    body["generationConfig"] = config;
    body
}

#[test]
fn answers() {
    let schema = json!({"type": "object", "properties": {"label": {"type": "string", "enum": ["a", "b"]}}, "required": ["label"]});
    let open_api = json!({"type": "OBJECT", "properties": {"label": {"type": "STRING", "enum": ["a", "b"]}}, "required": ["label"], "propertyOrdering": ["label"]});
    let least = json!({"thinkingConfig": {"thinkingLevel": "MINIMAL"}});
    let shaped = |name: &str, schema: &Value| json!({"responseMimeType": "application/json", name: schema});
    for (model, config, twist, reason, text) in [
        (NEW, least.clone(), Twist::None, "STOP", true),
        (
            NEW,
            json!({"thinking_config": {"thinking_level": "low"}, "max_output_tokens": 900}),
            Twist::None,
            "STOP",
            true,
        ),
        (NEW, shaped("responseJsonSchema", &schema), Twist::None, "STOP", true),
        (NEW, shaped("responseSchema", &open_api), Twist::None, "STOP", true),
        // Nothing said of thinking: it thinks, and all that was allowed is gone.
        (NEW, json!({"maxOutputTokens": 20}), Twist::None, "MAX_TOKENS", false),
        (OLD, json!({"maxOutputTokens": 20}), Twist::None, "MAX_TOKENS", false),
        (
            OLD,
            json!({"maxOutputTokens": 20, "thinkingConfig": {"thinkingBudget": 0}}),
            Twist::None,
            "STOP",
            true,
        ),
        (NEW, least.clone(), Twist::Length, "MAX_TOKENS", true),
        (NEW, least.clone(), Twist::Refusal, "SAFETY", false),
        (NEW, least, Twist::Empty, "STOP", false),
    ] {
        let (answer, usage) = ask(&Server::of("gemini"), model, &call(config), twist).unwrap();
        let candidate = &answer["candidates"][0];
        assert_eq!(candidate["finishReason"], reason, "{answer}");
        assert_eq!(candidate["content"]["parts"][0]["text"].is_string(), text, "{answer}");
        let count = |name: &str| answer["usageMetadata"][name].as_u64().unwrap_or(0);
        assert_eq!((count("promptTokenCount"), count("thoughtsTokenCount")), (usage.prompt, usage.reasoning));
        assert_eq!(count("candidatesTokenCount"), usage.output - usage.reasoning);
        assert_eq!(count("totalTokenCount"), usage.prompt + usage.output);
        assert_eq!(answer["modelVersion"], model);
    }
    let (answer, _) =
        ask(&Server::of("gemini"), NEW, &call(shaped("responseSchema", &open_api)), Twist::None).unwrap();
    let said: Value =
        serde_json::from_str(answer["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap())
            .unwrap();
    assert!(["a", "b"].contains(&said["label"].as_str().unwrap()), "{said}");
}

#[test]
fn some_prompts_are_not_let_through_and_cost_no_more_than_themselves() {
    let mut server = Server::of("gemini");
    server.key = 8;
    let (answer, usage) = ask(&server, NEW, &call(json!({})), Twist::Refusal).unwrap();
    assert_eq!(answer["promptFeedback"]["blockReason"], "PROHIBITED_CONTENT");
    assert!(answer.get("candidates").is_none(), "{answer}");
    assert_eq!((usage.output, answer["usageMetadata"]["totalTokenCount"].as_u64()), (0, Some(usage.prompt)));
}

#[test]
fn a_function_that_must_be_called_is() {
    let mut body = call(json!({"thinkingConfig": {"thinkingLevel": "LOW"}}));
    body["tools"] = json!([{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {"id": {"type": "INTEGER"}}, "required": ["id"]}}]}]);
    body["toolConfig"] = json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}});
    let (answer, _) = ask(&Server::of("gemini"), NEW, &body, Twist::None).unwrap();
    let part = &answer["candidates"][0]["content"]["parts"][0];
    assert_eq!(part["functionCall"]["name"], "f");
    assert!(part["functionCall"]["args"]["id"].is_i64() && part["thoughtSignature"].is_string(), "{answer}");
}

#[test]
fn refusals() {
    let server = Server::of("gemini");
    let parts = |role: &str, parts: Value| json!({"contents": [{"role": role, "parts": parts}]});
    let blob = |kind: &str| json!([{"inlineData": {"mimeType": kind, "data": "AAAA"}}]);
    let thinking = |config: Value| call(json!({"thinkingConfig": config}));
    for (model, body, want) in [
        ("gemini-0", call(json!({})), "404 "),
        (NEW, json!({}), "contents is not specified"),
        (NEW, json!({"contents": [], "prompt": "x"}), "Unknown name \"prompt\""),
        (NEW, call(json!({"maxTokens": 1})), "Unknown name \"maxTokens\""),
        (
            NEW,
            call(json!({"maxOutputTokens": 65_537})),
            "supported range is from 1 (inclusive) to 65537 (exclusive)",
        ),
        (NEW, call(json!({"candidateCount": 2})), "Multiple candidates"),
        (NEW, call(json!({"stopSequences": ["a", "b", "c", "d", "e", "f"]})), "stop_sequences"),
        (NEW, call(json!({"temperature": 2.5})), "temperature"),
        (NEW, call(json!({"responseJsonSchema": {}})), "response_mime_type"),
        (NEW, thinking(json!({"thinkingBudget": 1, "thinkingLevel": "LOW"})), "only one of"),
        (NEW, thinking(json!({"thinkingLevel": "SOME"})), "thinking_level"),
        ("gemini-3.1-pro-preview", thinking(json!({"thinkingLevel": "MINIMAL"})), "MINIMAL is not supported"),
        (OLD, thinking(json!({"thinkingLevel": "LOW"})), "not supported for this model"),
        (OLD, thinking(json!({"thinkingBudget": 24_577})), "between 1 and 24576"),
        (PRO, thinking(json!({"thinkingBudget": 0})), "only works in thinking mode"),
        (PRO, thinking(json!({"thinkingBudget": 127})), "between 128 and 32768"),
        (NEW, parts("assistant", json!([{"text": "a"}])), "valid role"),
        (NEW, parts("user", json!([])), "must not be empty"),
        (NEW, parts("user", json!([{"text": ""}])), "required oneof field"),
        (
            NEW,
            parts("user", json!([{"text": "a", "inlineData": {"mimeType": "image/png", "data": ""}}])),
            "required oneof field",
        ),
        (NEW, parts("user", blob("image/gif")), "Unsupported MIME type: image/gif"),
        (
            NEW,
            parts("user", json!([{"fileData": {"fileUri": "https://example.com/a.png"}}])),
            "Unsupported file URI",
        ),
        (
            NEW,
            json!({"contents": [{"parts": [{"text": "a"}]}], "systemInstruction": [{"text": "b"}]}),
            "Invalid value at 'system_instruction'",
        ),
        (NEW, json!({"contents": [{"parts": [{"text": "a"}]}], "serviceTier": "priority"}), "priority"),
    ] {
        let error = ask(&server, model, &body, Twist::None).expect_err(&body.to_string());
        assert!(
            error.contains(want) && (error.starts_with("400") || want.starts_with("404")),
            "{body}: {error}"
        );
    }
    assert!(ask(&server, NEW, &parts("user", blob("application/pdf")), Twist::None).is_ok());
}
