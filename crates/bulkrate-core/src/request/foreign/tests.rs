//! What lines say in unified words, what they keep, and what is wrong with others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::{Value, json};

use super::{Dialect, Translated};
use crate::request::{BodyError, Request, write_canonical};

/// The canonical form of a body, and the first field that binds it.
pub(super) fn read(dialect: Dialect, body: &Value) -> Result<(Value, Option<String>), BodyError> {
    let body = body.to_string();
    let Translated { mut request, kwargs, schema, bound, .. } = dialect.translate(&body)?;
    request.generation_config.output_schema = schema.as_deref().or(request.generation_config.output_schema);
    let mut request = Request { provider_kwargs: kwargs.as_deref(), ..request };
    request.settle_blobs().unwrap();
    let mut out = Vec::new();
    write_canonical(&request, &mut out);
    Ok((serde_json::from_slice(&out).unwrap(), bound.map(|bound| bound.field)))
}

/// The canonical form of a unified request.
fn unified(request: &Value) -> Value {
    let text = request.to_string();
    let request: Request<'_> = serde_json::from_str(&text).unwrap();
    let mut out = Vec::new();
    write_canonical(&request, &mut out);
    serde_json::from_slice(&out).unwrap()
}

fn merged(into: &Value, more: &Value) -> Value {
    let mut all = into.clone();
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

/// Each body, and the unified request that says the same to whoever it goes to.
pub(super) fn says(dialect: Dialect, cases: &[(Value, Value)]) {
    for (body, request) in cases {
        assert_eq!(read(dialect, body).unwrap(), (unified(request), None), "{body}");
    }
}

/// What a body with this field more keeps of it, and which field binds it; all else stays as it is.
pub(super) fn keeps(dialect: Dialect, plain: &Value, cases: &[(Value, Value, &str)]) {
    let (without, _) = read(dialect, plain).unwrap();
    for (more, kwargs, field) in cases {
        let (mut request, bound) = read(dialect, &merged(plain, more)).unwrap();
        assert_eq!(bound.as_deref(), Some(*field), "{more}");
        assert_eq!(&request["provider_kwargs"], kwargs, "{more}");
        request.as_object_mut().unwrap().remove("provider_kwargs");
        // Turns that are kept are nowhere else.
        let own_turns = ["messages", "contents"].iter().any(|name| !kwargs[name].is_null());
        let mut want = without.clone();
        if own_turns {
            want.as_object_mut().unwrap().remove("messages");
        }
        for name in ["system_prompt", "generation_config"] {
            if request[name] != want[name] {
                request.as_object_mut().unwrap().remove(name);
                want.as_object_mut().unwrap().remove(name);
            }
        }
        assert_eq!(request, want, "{more}");
    }
}

/// What says no more than its absence binds nothing.
pub(super) fn says_nothing(dialect: Dialect, plain: &Value, cases: &[Value]) {
    let without = read(dialect, plain).unwrap();
    assert_eq!(without.1, None);
    for more in cases {
        assert_eq!(read(dialect, &merged(plain, more)).unwrap(), without, "{more}");
    }
}

/// What is wrong with a body that has this more, in the words that are told.
pub(super) fn refuses(dialect: Dialect, plain: &Value, cases: &[(Value, &str)]) {
    for (more, told) in cases {
        let error = read(dialect, &merged(plain, more)).unwrap_err().to_string();
        assert!(error.contains(told), "{more}: {error}");
    }
}

mod anthropic {
    use super::*;
    use Dialect::Anthropic;

    fn plain() -> Value {
        json!({ "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }] })
    }

    fn turn(content: &Value) -> Value {
        json!({ "messages": [{ "role": "user", "content": content }] })
    }

    #[test]
    fn what_has_a_unified_name_is_said_by_it() {
        let schema = json!({ "type": "object" });
        says(
            Anthropic,
            &[
                (
                    json!({
                        "model": "m", "max_tokens": 9, "system": "Be brief.", "stop_sequences": ["END"],
                        "temperature": 0.5, "top_p": 0.9, "top_k": 40,
                        "messages": [{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": "Yo" }, { "role": "user", "content": "Go" }],
                    }),
                    json!({
                        "model": "m", "system_prompt": "Be brief.",
                        "generation_config": { "max_tokens": 9, "stop_sequences": ["END"], "temperature": 0.5, "top_p": 0.9, "top_k": 40 },
                        "messages": [{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": "Yo" }, { "role": "user", "content": "Go" }],
                    }),
                ),
                (
                    json!({
                        "system": [{ "type": "text", "text": "a", "cache_control": { "type": "ephemeral", "ttl": "1h" } }, { "type": "text", "text": "b", "citations": null }],
                        "messages": [{ "role": "user", "content": [
                            { "type": "text", "text": "See" },
                            { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" }, "cache_control": { "type": "ephemeral" } },
                            { "type": "image", "source": { "type": "url", "url": "https://x.org/a.gif" } },
                            { "type": "document", "source": { "type": "base64", "media_type": "application/pdf", "data": "JVBERi0=" }, "title": null },
                            { "type": "document", "source": { "type": "url", "url": "https://x.org/a.pdf" } },
                        ] }],
                        "output_config": { "format": { "type": "json_schema", "schema": schema } },
                        "thinking": { "type": "enabled", "budget_tokens": 2_000 },
                    }),
                    json!({
                        "system_prompt": ["a", "b"],
                        "messages": [{ "role": "user", "content": [
                            { "type": "text", "text": "See" },
                            { "type": "image", "source_type": "base64", "media_type": "image/png", "data": "AAAA" },
                            { "type": "image", "source_type": "url", "media_type": "image/gif", "data": "https://x.org/a.gif" },
                            { "type": "document", "source_type": "base64", "media_type": "application/pdf", "data": "JVBERi0=" },
                            { "type": "document", "source_type": "url", "media_type": "application/pdf", "data": "https://x.org/a.pdf" },
                        ] }],
                        "generation_config": { "output_schema": schema, "reasoning": 2_000 },
                    }),
                ),
                // One text is a text, however it is written.
                (turn(&json!([{ "type": "text", "text": "Hi" }])), turn(&json!("Hi"))),
                (
                    merged(
                        &turn(&json!("Hi")),
                        &json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "low" } }),
                    ),
                    merged(&turn(&json!("Hi")), &json!({ "generation_config": { "reasoning": "low" } })),
                ),
                (
                    merged(&turn(&json!("Hi")), &json!({ "thinking": { "type": "disabled" } })),
                    merged(&turn(&json!("Hi")), &json!({ "generation_config": { "reasoning": "none" } })),
                ),
            ],
        );
    }

    #[test]
    fn what_says_nothing_is_passed_over() {
        says_nothing(
            Anthropic,
            &plain(),
            &[
                json!({ "tools": [], "tool_choice": { "type": "auto" } }),
                json!({ "metadata": {} }),
                json!({ "metadata": { "user_id": null } }),
                json!({ "stream": false, "system": null, "stop_sequences": [], "speed": "standard" }),
                json!({ "service_tier": "auto" }),
                json!({ "service_tier": "standard_only", "cache_control": { "type": "ephemeral", "ttl": "1h" } }),
                json!({ "output_config": {}, "system": [] }),
            ],
        );
    }

    #[test]
    fn what_has_no_name_is_kept_and_binds() {
        let tool = json!([{ "name": "f", "input_schema": { "type": "object" } }]);
        let said = json!([
            { "role": "user", "content": "How warm?" },
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "f", "input": {} }] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "9" }] },
        ]);
        let kept = |more: Value, field| (more.clone(), more, field);
        let block = |block: Value| turn(&json!([{ "type": "text", "text": "a" }, block]));
        let source = |source: Value| json!({ "type": "document", "source": source });
        keeps(
            Anthropic,
            &plain(),
            &[
                kept(json!({ "tools": tool, "tool_choice": { "type": "any" } }), "params.tool_choice"),
                kept(json!({ "metadata": { "user_id": "u" } }), "params.metadata"),
                kept(json!({ "inference_geo": "us" }), "params.inference_geo"),
                kept(json!({ "container": "c" }), "params.container"),
                kept(json!({ "whatever": 1 }), "params.whatever"),
                kept(json!({ "thinking": { "type": "adaptive" } }), "params.thinking.type"),
                kept(json!({ "thinking": { "type": "between_tools" } }), "params.thinking.type"),
                kept(
                    json!({ "thinking": { "type": "adaptive", "display": "omitted" } }),
                    "params.thinking.display",
                ),
                kept(json!({ "output_config": { "effort": "low" } }), "params.output_config.effort"),
                kept(
                    json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "max" } }),
                    "params.thinking.type",
                ),
                kept(json!({ "messages": said }), "params.messages[1].content[0]"),
                kept(
                    json!({ "messages": [{ "role": "user", "content": "a" }, { "role": "system", "content": "b" }] }),
                    "params.messages[1].role",
                ),
                kept(
                    json!({ "messages": [{ "role": "user", "content": "a", "name": "n" }] }),
                    "params.messages[0].name",
                ),
                kept(
                    block(json!({ "type": "thinking", "thinking": "", "signature": "x" })),
                    "params.messages[0].content[1]",
                ),
                kept(
                    block(json!({ "type": "image", "source": { "type": "file", "file_id": "f" } })),
                    "params.messages[0].content[1].source",
                ),
                kept(
                    block(source(json!({ "type": "text", "media_type": "text/plain", "data": "a" }))),
                    "params.messages[0].content[1].source",
                ),
                kept(
                    block(
                        json!({ "type": "document", "title": "t", "source": { "type": "url", "url": "https://x" } }),
                    ),
                    "params.messages[0].content[1].title",
                ),
                kept(
                    block(json!({ "type": "text", "text": "b", "citations": [{}] })),
                    "params.messages[0].content[1].citations",
                ),
                kept(
                    json!({ "system": [{ "type": "text", "text": "b", "citations": [{}] }] }),
                    "params.system[0].citations",
                ),
            ],
        );
        // The answer is held to its schema all the same.
        let schema = json!({ "type": "object" });
        let both = json!({ "output_config": { "effort": "low", "format": { "type": "json_schema", "schema": schema } } });
        let (request, _) = read(Anthropic, &merged(&plain(), &both)).unwrap();
        assert_eq!(request["generation_config"]["output_schema"], schema);
        assert_eq!(request["provider_kwargs"], both);
    }

    #[test]
    fn what_is_wrong_is_named() {
        refuses(
            Anthropic,
            &plain(),
            &[
                (json!({ "messages": null }), "`params.messages` is missing"),
                (json!({ "messages": [] }), "`params.messages` holds no turn"),
                (json!({ "messages": "Hi" }), "`params.messages` cannot be read: invalid type: string"),
                (json!({ "messages": [{ "content": "a" }] }), "`params.messages[0].role` is missing"),
                (json!({ "messages": [{ "role": "user" }] }), "`params.messages[0].content` is missing"),
                (
                    json!({ "messages": [{ "role": "tool", "content": "a" }] }),
                    "`params.messages[0].role` is none of `user`, `assistant`",
                ),
                (turn(&json!([])), "`params.messages[0].content` is empty"),
                (turn(&json!(3)), "`params.messages[0].content` cannot be read"),
                (turn(&json!([{ "text": "a" }])), "`params.messages[0].content[0].type` is missing"),
                (
                    turn(&json!([{ "type": "text", "text": 3 }])),
                    "`params.messages[0].content[0].text` cannot be read",
                ),
                (
                    turn(&json!([{ "type": "image", "source": { "type": "base64" } }])),
                    "`params.messages[0].content[0].source.media_type` is missing",
                ),
                // What is wrong is told before what only has no name.
                (
                    json!({ "messages": [{ "role": "system", "content": "a" }, { "role": "bot", "content": "a" }] }),
                    "`params.messages[1].role`",
                ),
                (json!({ "max_tokens": 0 }), "`params.max_tokens` must be at least 1"),
                (json!({ "max_tokens": "9" }), "`params.max_tokens` cannot be read"),
                (json!({ "temperature": "warm" }), "`params.temperature` cannot be read"),
                (json!({ "system": 3 }), "`params.system` cannot be read"),
                (json!({ "stream": true }), "`params.stream`: one whole answer"),
                (json!({ "service_tier": "other" }), "`params.service_tier`: a tier"),
                (json!({ "betas": ["b"] }), "`params.betas`: betas stand in a header"),
                (json!({ "thinking": { "type": "enabled" } }), "`params.thinking.budget_tokens` is missing"),
            ],
        );
    }
}

mod gemini {
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
                (
                    json!({ "safety_settings": [1] }),
                    json!({ "safetySettings": [1] }),
                    "request.safetySettings",
                ),
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
                kept(
                    config(&json!({ "responseLogprobs": true })),
                    "request.generationConfig.responseLogprobs",
                ),
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
        let claude = json!({ "anthropic_version": "vertex-2023-10-16", "messages": [{ "role": "user", "content": "a" }] });
        refuses(Gemini, &claude, &[(json!({ "model": "claude" }), "`request.model` names a model")]);
    }
}

mod bedrock {
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
                kept(
                    json!({ "performanceConfig": { "latency": "optimized" } }),
                    "modelInput.performanceConfig",
                ),
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
        let beside =
            |more: Value, field| (more.clone(), json!({ "additionalModelRequestFields": more }), field);
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
}
