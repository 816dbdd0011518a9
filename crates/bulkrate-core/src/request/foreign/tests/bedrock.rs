//! What records of Bedrock's batches say.

use super::*;
use Dialect::Bedrock;

fn plain() -> Value {
    json!({ "messages": [{ "role": "user", "content": [{ "text": "Hi" }] }] })
}

fn blocks(content: &Value) -> Value {
    json!({ "messages": [{ "role": "user", "content": content }] })
}

/// Claude's own body.
fn claude() -> Value {
    json!({ "anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": [{ "role": "user", "content": "Hi" }] })
}

#[test]
fn what_has_a_unified_name_is_said_by_it() {
    let hi = json!([{ "role": "user", "content": "Hi" }]);
    let schema = json!({ "type": "object" });
    says(
        Bedrock,
        &[
            (
                json!({
                    "schemaVersion": "messages-v1",
                    "system": [{ "text": "a" }, { "cachePoint": { "type": "default", "ttl": "1h" } }, { "text": "b" }],
                    "messages": [
                        { "role": "user", "content": [
                            { "text": "See" },
                            { "image": { "format": "png", "source": { "bytes": "AAAA" } } },
                            { "document": { "format": "txt", "name": "a contract", "source": { "bytes": "AAAA" } } },
                            { "cachePoint": { "type": "default" } },
                        ] },
                        { "role": "assistant", "content": [{ "text": "Yo" }] },
                        { "role": "user", "content": [{ "text": "Go" }] },
                    ],
                    "inferenceConfig": { "maxTokens": 256, "temperature": 0.2, "topP": 0.9, "topK": 5, "stopSequences": ["END"] },
                    "outputConfig": { "textFormat": { "type": "json_schema", "structure": { "jsonSchema": { "name": "label", "schema": schema.to_string() } } } },
                    "serviceTier": { "type": "flex" },
                }),
                json!({
                    "system_prompt": ["a", "b"],
                    "messages": [
                        { "role": "user", "content": [
                            { "type": "text", "text": "See" },
                            { "type": "image", "source_type": "base64", "media_type": "image/png", "data": "AAAA" },
                            { "type": "document", "source_type": "base64", "media_type": "text/plain", "data": "AAAA" },
                        ] },
                        { "role": "assistant", "content": "Yo" },
                        { "role": "user", "content": "Go" },
                    ],
                    "generation_config": { "max_tokens": 256, "temperature": 0.2, "top_p": 0.9, "top_k": 5, "stop_sequences": ["END"], "output_schema": schema },
                }),
            ),
            (
                merged(
                    &claude(),
                    &json!({ "system": "Be brief.", "thinking": { "type": "enabled", "budget_tokens": 2_000 }, "top_k": 3 }),
                ),
                json!({ "system_prompt": "Be brief.", "messages": hi, "generation_config": { "max_tokens": 64, "reasoning": 2_000, "top_k": 3 } }),
            ),
            (
                json!({ "inputText": "a", "dimensions": 256, "normalize": true, "embeddingTypes": ["float"] }),
                json!({ "kind": "embedding", "input": "a", "generation_config": { "dimensions": 256 } }),
            ),
        ],
    );
}

#[test]
fn what_says_nothing_is_passed_over() {
    says_nothing(
        Bedrock,
        &plain(),
        &[
            json!({ "additionalModelRequestFields": {}, "requestMetadata": {}, "additionalModelResponseFieldPaths": [] }),
            json!({ "toolConfig": { "tools": [] }, "performanceConfig": { "latency": "standard" }, "serviceTier": { "type": "default" } }),
            json!({ "inferenceConfig": {}, "outputConfig": {}, "system": [] }),
        ],
    );
}

#[test]
fn what_has_no_name_is_kept_and_binds() {
    let kept = |more: Value, field| (more.clone(), more, field);
    let block = |block: Value| blocks(&json!([{ "text": "a" }, block]));
    let s3 = json!({ "s3Location": { "uri": "s3://b/c.pdf" } });
    keeps(
        Bedrock,
        &plain(),
        &[
            kept(json!({ "toolConfig": { "tools": [{ "toolSpec": {} }] } }), "modelInput.toolConfig"),
            kept(
                json!({ "additionalModelRequestFields": { "top_k": 40 } }),
                "modelInput.additionalModelRequestFields",
            ),
            kept(json!({ "guardrailConfig": {} }), "modelInput.guardrailConfig"),
            kept(json!({ "requestMetadata": { "run": "r1" } }), "modelInput.requestMetadata"),
            kept(json!({ "performanceConfig": { "latency": "optimized" } }), "modelInput.performanceConfig"),
            kept(json!({ "inferenceConfig": { "other": 1 } }), "modelInput.inferenceConfig.other"),
            kept(json!({ "outputConfig": { "effort": "low" } }), "modelInput.outputConfig.effort"),
            kept(json!({ "system": [{ "guardContent": {} }] }), "modelInput.system[0]"),
            kept(
                block(json!({ "toolUse": { "toolUseId": "t", "name": "f", "input": {} } })),
                "modelInput.messages[0].content[1]",
            ),
            kept(
                block(json!({ "image": { "format": "png", "source": s3 } })),
                "modelInput.messages[0].content[1].image.source.s3Location",
            ),
            kept(
                block(json!({ "document": { "format": "pdf", "name": "n", "source": s3 } })),
                "modelInput.messages[0].content[1].document.source.s3Location",
            ),
            kept(
                block(
                    json!({ "document": { "format": "pdf", "name": "n", "context": "c", "source": { "bytes": "AAAA" } } }),
                ),
                "modelInput.messages[0].content[1].document.context",
            ),
            kept(
                json!({ "messages": [{ "role": "system", "content": [{ "text": "a" }] }] }),
                "modelInput.messages[0].role",
            ),
        ],
    );
    let beside = |more: Value, field| (more.clone(), json!({ "additionalModelRequestFields": more }), field);
    keeps(
        Bedrock,
        &claude(),
        &[
            beside(json!({ "anthropic_beta": ["b"] }), "modelInput.anthropic_beta"),
            beside(json!({ "thinking": { "type": "adaptive" } }), "modelInput.thinking.type"),
        ],
    );
}

#[test]
fn what_is_wrong_is_named() {
    refuses(
        Bedrock,
        &plain(),
        &[
            (
                json!({ "messages": null }),
                "`modelInput.messages` is missing: records are read in the form of Converse",
            ),
            (json!({ "messages": [] }), "`modelInput.messages` holds no turn"),
            (
                json!({ "messages": [{ "role": "user", "content": "Hi" }] }),
                "`modelInput.messages[0].content` is a text",
            ),
            (
                json!({ "messages": [{ "role": "tool", "content": [{ "text": "a" }] }] }),
                "`modelInput.messages[0].role` is none of",
            ),
            (blocks(&json!([])), "`modelInput.messages[0].content` is empty"),
            (
                blocks(&json!([{ "type": "text", "text": "a" }])),
                "`modelInput.messages[0].content[0]` is a block of one field",
            ),
            (blocks(&json!([{ "text": 3 }])), "`modelInput.messages[0].content[0].text` cannot be read"),
            (
                blocks(&json!([{ "image": { "source": { "bytes": "AAAA" } } }])),
                "`modelInput.messages[0].content[0].image.format` is missing",
            ),
            (json!({ "modelId": "m" }), "`modelInput.modelId` names a model"),
            (json!({ "serviceTier": { "type": "priority" } }), "`modelInput.serviceTier`: a tier"),
            (
                json!({ "inferenceConfig": { "maxTokens": 0 } }),
                "`modelInput.inferenceConfig.maxTokens` must be at least 1",
            ),
            (json!({ "inferenceConfig": [] }), "`modelInput.inferenceConfig` cannot be read"),
            (
                json!({ "outputConfig": { "textFormat": { "structure": { "jsonSchema": { "schema": "{" } } } } }),
                "`modelInput.outputConfig.textFormat.structure.jsonSchema.schema` cannot be read",
            ),
        ],
    );
    let other_form = "Converse, by which Bedrock is asked here, says it in another form";
    refuses(
        Bedrock,
        &claude(),
        &[
            (json!({ "tools": [{ "name": "f", "input_schema": {} }] }), other_form),
            (
                json!({ "messages": [{ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t" }] }] }),
                other_form,
            ),
            (
                json!({ "messages": [{ "role": "bot", "content": "a" }] }),
                "`modelInput.messages[0].role` is none of",
            ),
            (json!({ "model": "claude" }), "`modelInput.model` names a model"),
        ],
    );
    refuses(
        Bedrock,
        &json!({ "inputText": "a" }),
        &[(json!({ "normalize": false }), "`modelInput.normalize`")],
    );
    refuses(Bedrock, &json!({ "prompt": "a" }), &[(json!({}), "Claude, and of Titan's vectors")]);
}
