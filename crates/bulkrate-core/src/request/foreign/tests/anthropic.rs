//! What lines of Anthropic's batches say.

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
