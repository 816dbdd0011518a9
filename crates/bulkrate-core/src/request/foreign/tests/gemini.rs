//! What lines of Gemini's batches say.

use super::*;
use Dialect::Gemini;

fn plain() -> Value {
    json!({ "contents": [{ "role": "user", "parts": [{ "text": "Hi" }] }] })
}

fn parts(parts: &Value) -> Value {
    json!({ "contents": [{ "parts": parts }] })
}

fn config(config: &Value) -> Value {
    json!({ "generationConfig": config })
}

#[test]
fn what_has_a_unified_name_is_said_by_it() {
    let schema = json!({ "type": "object" });
    let hi = json!([{ "role": "user", "content": "Hi" }]);
    let set = |config: Value| json!({ "messages": hi, "generation_config": config });
    says(
        Gemini,
        &[
            (
                json!({
                    "systemInstruction": { "role": "user", "parts": [{ "text": "Be brief." }] },
                    "contents": [
                        { "parts": [{ "text": "See" }, { "inlineData": { "mimeType": "image/png", "data": "AAAA" } }] },
                        { "role": "model", "parts": [{ "text": "Yo", "thought": false }] },
                        { "role": "user", "parts": [{ "inlineData": { "mimeType": "application/pdf", "data": "JVBERi0=" } }, { "fileData": { "mimeType": "image/gif", "fileUri": "https://x.org/a" } }] },
                    ],
                    "generationConfig": {
                        "maxOutputTokens": 512, "temperature": 0.2, "topP": 0.9, "topK": 40.0, "seed": 7, "candidateCount": 1,
                        "stopSequences": ["END"], "presencePenalty": 0.5, "frequencyPenalty": 0.25,
                        "responseMimeType": "application/json", "responseJsonSchema": schema,
                        "thinkingConfig": { "thinkingBudget": 0, "includeThoughts": false },
                    },
                }),
                json!({
                    "system_prompt": "Be brief.",
                    "messages": [
                        { "role": "user", "content": [{ "type": "text", "text": "See" }, { "type": "image", "source_type": "base64", "media_type": "image/png", "data": "AAAA" }] },
                        { "role": "assistant", "content": "Yo" },
                        { "role": "user", "content": [{ "type": "document", "source_type": "base64", "media_type": "application/pdf", "data": "JVBERi0=" }, { "type": "image", "source_type": "url", "media_type": "image/gif", "data": "https://x.org/a" }] },
                    ],
                    "generation_config": {
                        "max_tokens": 512, "temperature": 0.2, "top_p": 0.9, "top_k": 40, "seed": 7, "stop_sequences": ["END"],
                        "presence_penalty": 0.5, "frequency_penalty": 0.25, "output_schema": schema, "reasoning": "none",
                    },
                }),
            ),
            // Both spellings are taken.
            (
                json!({
                    "system_instruction": { "parts": [{ "text": "a" }] },
                    "contents": [{ "parts": [{ "text": "See" }, { "inline_data": { "mime_type": "image/png", "data": "AAAA" } }] }],
                    "generation_config": { "max_output_tokens": 9, "thinking_config": { "thinking_budget": 512 } },
                }),
                json!({
                    "system_prompt": "a",
                    "messages": [{ "role": "user", "content": [{ "type": "text", "text": "See" }, { "type": "image", "source_type": "base64", "media_type": "image/png", "data": "AAAA" }] }],
                    "generation_config": { "max_tokens": 9, "reasoning": 512 },
                }),
            ),
            (
                merged(&plain(), &config(&json!({ "thinkingConfig": { "thinkingLevel": "LOW" } }))),
                set(json!({ "reasoning": "low" })),
            ),
            (
                json!({ "content": { "parts": [{ "text": "a" }] }, "outputDimensionality": 768 }),
                json!({ "kind": "embedding", "input": "a", "generation_config": { "dimensions": 768 } }),
            ),
            // Claude, as Google sells it.
            (
                json!({ "anthropic_version": "vertex-2023-10-16", "max_tokens": 50, "messages": [{ "role": "user", "content": "Hi" }] }),
                set(json!({ "max_tokens": 50 })),
            ),
        ],
    );
}

#[test]
fn what_says_nothing_is_passed_over() {
    says_nothing(
        Gemini,
        &plain(),
        &[
            json!({ "tools": [], "toolConfig": { "functionCallingConfig": { "mode": "AUTO" } } }),
            json!({ "safetySettings": [], "labels": {}, "serviceTier": "flex" }),
            json!({ "generationConfig": {} }),
            config(
                &json!({ "candidateCount": 1, "responseMimeType": "text/plain", "responseModalities": ["TEXT"] }),
            ),
            config(
                &json!({ "responseLogprobs": false, "thinkingConfig": { "includeThoughts": false }, "seed": null }),
            ),
        ],
    );
}

#[test]
fn what_has_no_name_is_kept_and_binds() {
    let kept = |more: Value, field| (more.clone(), more, field);
    let part = |part: Value| parts(&json!([{ "text": "a" }, part]));
    let file = |uri: &str| part(json!({ "fileData": { "mimeType": "application/pdf", "fileUri": uri } }));
    keeps(
        Gemini,
        &plain(),
        &[
            kept(
                json!({ "tools": [{ "functionDeclarations": [] }], "toolConfig": { "functionCallingConfig": { "mode": "ANY" } } }),
                "request.toolConfig",
            ),
            kept(json!({ "safetySettings": [{ "category": "c" }] }), "request.safetySettings"),
            kept(json!({ "labels": { "team": "a" } }), "request.labels"),
            kept(json!({ "store": false }), "request.store"),
            (json!({ "safety_settings": [1] }), json!({ "safetySettings": [1] }), "request.safetySettings"),
            kept(
                json!({ "systemInstruction": { "parts": [{ "text": "a" }, { "text": "b" }] } }),
                "request.systemInstruction.parts",
            ),
            kept(
                part(json!({ "functionCall": { "name": "f", "args": {} } })),
                "request.contents[0].parts[1]",
            ),
            kept(part(json!({ "text": "b", "thoughtSignature": "x" })), "request.contents[0].parts[1]"),
            kept(
                part(json!({ "inlineData": { "mimeType": "audio/mp3", "data": "AAAA" } })),
                "request.contents[0].parts[1].inlineData",
            ),
            kept(
                file("https://generativelanguage.googleapis.com/v1beta/files/abc123"),
                "request.contents[0].parts[1].fileData",
            ),
            kept(file("gs://b/o"), "request.contents[0].parts[1].fileData"),
            kept(
                json!({ "contents": [{ "role": "function", "parts": [{ "text": "a" }] }] }),
                "request.contents[0].role",
            ),
            kept(
                config(&json!({ "responseMimeType": "application/json" })),
                "request.generationConfig.responseMimeType",
            ),
            kept(
                config(
                    &json!({ "responseMimeType": "application/json", "responseSchema": { "type": "OBJECT" } }),
                ),
                "request.generationConfig.responseMimeType",
            ),
            kept(config(&json!({ "responseLogprobs": true })), "request.generationConfig.responseLogprobs"),
            kept(
                config(&json!({ "thinkingConfig": { "thinkingBudget": -1 } })),
                "request.generationConfig.thinkingConfig.thinkingBudget",
            ),
            kept(
                config(&json!({ "thinkingConfig": { "thinkingLevel": "MINIMAL" } })),
                "request.generationConfig.thinkingConfig.thinkingLevel",
            ),
            kept(
                config(&json!({ "thinkingConfig": { "thinkingBudget": 9, "includeThoughts": true } })),
                "request.generationConfig.thinkingConfig",
            ),
        ],
    );
    let vector = json!({ "content": { "parts": [{ "text": "a" }] } });
    keeps(Gemini, &vector, &[kept(json!({ "taskType": "RETRIEVAL_DOCUMENT" }), "request.taskType")]);
}

#[test]
fn what_is_wrong_is_named() {
    refuses(
        Gemini,
        &plain(),
        &[
            (json!({ "contents": null }), "`request.contents` is missing"),
            (json!({ "contents": [] }), "`request.contents` holds no turn"),
            (json!({ "contents": { "parts": [] } }), "`request.contents` cannot be read"),
            (json!({ "contents": [{ "role": "user" }] }), "`request.contents[0].parts` is missing"),
            (
                json!({ "contents": [{ "role": "assistant", "parts": [{ "text": "a" }] }] }),
                "`request.contents[0].role` is none of `user` and `model`",
            ),
            (parts(&json!([])), "`request.contents[0].parts` is empty"),
            (parts(&json!([{}])), "`request.contents[0].parts[0]` is empty"),
            (parts(&json!([{ "text": 3 }])), "`request.contents[0].parts[0].text` cannot be read"),
            (
                parts(&json!([{ "inlineData": { "mimeType": "image/png" } }])),
                "`request.contents[0].parts[0].inlineData.data` is missing",
            ),
            (
                json!({ "systemInstruction": "Be brief." }),
                "`request.systemInstruction` is an object with `parts`",
            ),
            (json!({ "systemInstruction": [] }), "`request.systemInstruction` is an object with `parts`"),
            (json!({ "model": "models/gemini-2.5-flash" }), "`request.model` names a model"),
            (json!({ "cachedContent": "cachedContents/1" }), "`request.cachedContent`: it names tokens"),
            (json!({ "serviceTier": "priority" }), "`request.serviceTier`: a tier"),
            (json!({ "generation_config": {}, "generationConfig": {} }), "in two spellings"),
            (
                config(&json!({ "candidateCount": 2 })),
                "`request.generationConfig.candidateCount`: one whole answer",
            ),
            (
                config(&json!({ "responseModalities": ["IMAGE"] })),
                "`request.generationConfig.responseModalities`: answers of text",
            ),
            (
                config(&json!({ "maxOutputTokens": 0 })),
                "`request.generationConfig.maxOutputTokens` must be at least 1",
            ),
            (
                config(&json!({ "temperature": "warm" })),
                "`request.generationConfig.temperature` cannot be read",
            ),
            (config(&json!({ "topK": 1.5 })), "`request.generationConfig.topK` cannot be read"),
        ],
    );
    let vector = json!({ "content": { "parts": [{ "text": "a" }, { "text": "b" }] } });
    refuses(Gemini, &vector, &[(json!({}), "`request.content.parts`: an item has one vector")]);
    let claude =
        json!({ "anthropic_version": "vertex-2023-10-16", "messages": [{ "role": "user", "content": "a" }] });
    refuses(Gemini, &claude, &[(json!({ "model": "claude" }), "`request.model` names a model")]);
}
