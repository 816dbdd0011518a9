//! What comes in as a line of a provider's own batches goes out to that provider as it came in, but for defaults and marks.

use bulkrate_core::lane::Lane;
use bulkrate_core::request::{Dialect, Request, Translated};
use bulkrate_provider::WireOptions;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::server::open;

/// The body that goes out for one that came in.
fn sent(dialect: Dialect, (service, model): (&str, &str), body: &Value) -> Result<Value, String> {
    let body = body.to_string();
    let Translated { mut request, kwargs, schema, bound, .. } =
        dialect.translate(&body).map_err(|error| error.to_string())?;
    let provider = open(service, "http://127.0.0.1:1/v1");
    if let Some(bound) = bound {
        assert!(provider.wire().speaks(bound.tongue, request.kind, model), "{bound:?}");
    }
    request.generation_config.output_schema = schema.as_deref().or(request.generation_config.output_schema);
    let mut request = Request { provider_kwargs: kwargs.as_deref(), ..request };
    request.settle_blobs().unwrap();
    let mut out = Vec::new();
    let options = WireOptions::new(Lane::Sync, model);
    provider.wire().encode(&request, options, &mut out).map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&out).unwrap())
}

fn merged(mut into: Value, more: &Value) -> Value {
    into.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    into
}

/// Both bodies in one spelling.
fn same(sent: &Value, written: &Value, spell: fn(&mut Map<String, Value>)) {
    let [sent, written] = [sent, written].map(|body| spelled(body.clone(), spell));
    assert_eq!(sent, written);
}

fn spelled(mut value: Value, spell: fn(&mut Map<String, Value>)) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            spell(fields);
            for value in fields.values_mut() {
                *value = spelled(value.take(), spell);
            }
        }
        Value::Array(items) => {
            items.retain(|item| item.get("cachePoint").is_none());
            items.iter_mut().for_each(|item| *item = spelled(item.take(), spell));
        }
        Value::Number(number) => value = json!(number.as_f64()),
        _ => {}
    }
    value
}

mod anthropic {
    use super::*;

    const OLD: (&str, &str) = ("anthropic", "claude-haiku-4-5");
    const NEW: (&str, &str) = ("anthropic", "claude-sonnet-5-5");

    /// Texts as blocks, and none of what is the default or decided for the whole job.
    fn spell(fields: &mut Map<String, Value>) {
        for name in ["system", "content"] {
            if let Some(Value::String(text)) = fields.get(name) {
                let text = json!([{ "type": "text", "text": text }]);
                fields.insert(name.to_owned(), text);
            }
        }
        fields.remove("cache_control");
        fields.remove("service_tier");
        let usual = |name: &str, value: &Value| match name {
            "temperature" | "top_p" => value.as_f64() == Some(1.0),
            "tools" | "stop_sequences" => value.as_array().is_some_and(Vec::is_empty),
            "stream" => value == &json!(false),
            "speed" => value == "standard",
            _ => false,
        };
        fields.retain(|name, value| !usual(name, value));
    }

    #[test]
    fn every_field_of_the_reference_goes_out_as_it_came_in() {
        let message = json!([{ "role": "user", "content": "Hi" }]);
        let schema = json!({ "type": "object", "properties": { "label": { "type": "string" } }, "required": ["label"], "additionalProperties": false });
        let tools = json!([{ "name": "lookup", "description": "find a row", "strict": true, "input_schema": { "type": "object", "properties": { "id": { "type": "integer" } }, "required": ["id"], "additionalProperties": false } }]);
        let turns = json!([
            { "role": "user", "content": [
                { "type": "text", "text": "Classify this.", "cache_control": { "type": "ephemeral" } },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo=" } },
                { "type": "image", "source": { "type": "url", "url": "https://example.com/a.jpg" } },
                { "type": "document", "title": "contract", "source": { "type": "base64", "media_type": "application/pdf", "data": "JVBERi0=" } },
                { "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": "plain body" } },
            ] },
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "toolu_01", "name": "lookup", "input": { "id": 7 } }] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_01", "content": "ok", "is_error": false }] },
        ]);
        let plain =
            |part: Value| json!([{ "role": "user", "content": [{ "type": "text", "text": "See." }, part] }]);
        for (model, more) in [
            (
                NEW,
                json!({ "messages": turns, "tools": tools, "tool_choice": { "type": "auto", "disable_parallel_tool_use": true } }),
            ),
            (
                NEW,
                json!({ "thinking": { "type": "adaptive", "display": "omitted" }, "output_config": { "effort": "low", "format": { "type": "json_schema", "schema": schema } } }),
            ),
            (
                NEW,
                json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "medium", "format": { "type": "json_schema", "schema": schema } } }),
            ),
            (NEW, json!({ "thinking": { "type": "adaptive" } })),
            (NEW, json!({ "thinking": { "type": "disabled" }, "output_config": { "effort": "high" } })),
            (NEW, json!({ "output_config": { "effort": "xhigh" } })),
            (OLD, json!({ "thinking": { "type": "enabled", "budget_tokens": 1_024 } })),
            (OLD, json!({ "temperature": 0.5, "top_k": 40 })),
            (OLD, json!({ "top_p": 0.9, "stop_sequences": ["END", "."] })),
            (
                OLD,
                json!({ "messages": [{ "role": "user", "content": "a" }, { "role": "assistant", "content": "{" }] }),
            ),
            (
                NEW,
                json!({ "service_tier": "standard_only", "metadata": { "user_id": "u-3f2a" }, "stream": false }),
            ),
            (
                NEW,
                json!({ "inference_geo": "global", "speed": "standard", "container": "c", "diagnostics": { "previous_message_id": "m" }, "user_profile_id": "p" }),
            ),
            (
                NEW,
                json!({ "system": [{ "type": "text", "text": "You label.", "cache_control": { "type": "ephemeral", "ttl": "1h" } }, { "type": "text", "text": "Be brief." }] }),
            ),
            (
                NEW,
                json!({ "messages": plain(json!({ "type": "image", "source": { "type": "file", "file_id": "f" } })) }),
            ),
            (
                NEW,
                json!({ "messages": plain(json!({ "type": "document", "source": { "type": "url", "url": "https://example.com/a.pdf" } })) }),
            ),
            (
                NEW,
                json!({ "messages": plain(json!({ "type": "document", "source": { "type": "content", "content": "c" }, "context": "x", "citations": { "enabled": true } })) }),
            ),
            (
                NEW,
                json!({ "messages": plain(json!({ "type": "search_result", "source": "s", "title": "t", "content": [] })) }),
            ),
            (
                NEW,
                json!({ "messages": [{ "role": "user", "content": "a" }, { "role": "system", "content": "b" }, { "role": "user", "content": "c" }] }),
            ),
            (NEW, json!({ "cache_control": { "type": "ephemeral" }, "tools": [] })),
        ] {
            let mut body =
                json!({ "model": model.1, "max_tokens": 2_048, "system": "You label.", "messages": message });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let sent =
                sent(Dialect::Anthropic, model, &body).unwrap_or_else(|error| panic!("{more}: {error}"));
            same(&sent, &body, spell);
        }
    }

    fn block() -> impl Strategy<Value = Value> {
        prop_oneof![
            4 => "[a-z\"\\\\é]{1,8}".prop_map(|text| json!({ "type": "text", "text": text })),
            1 => Just(json!({ "type": "image", "source": { "type": "base64", "media_type": "image/webp", "data": "AAAA" } })),
            1 => Just(json!({ "type": "image", "source": { "type": "url", "url": "https://x.org/a" } })),
            1 => Just(json!({ "type": "tool_result", "tool_use_id": "t", "content": [{ "type": "text", "text": "9" }] })),
        ]
    }

    fn turn() -> impl Strategy<Value = Value> {
        prop_oneof![
            "[a-z]{1,9}".prop_map(Value::from),
            proptest::collection::vec(block(), 1..4).prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_said_goes_out(
            turns in proptest::collection::vec(turn(), 1..4),
            system in proptest::option::of(turn()),
            settings in proptest::sample::subsequence(vec![
                ("top_k", json!(5)),
                ("stop_sequences", json!(["a", "b"])),
                ("metadata", json!({ "user_id": "u" })),
                ("temperature", json!(0.25)),
                ("tools", json!([{ "name": "f", "input_schema": {} }])),
                ("tool_choice", json!({ "type": "none" })),
                ("service_tier", json!("auto")),
            ], 0..7),
        ) {
            let mut body = json!({ "model": OLD.1, "max_tokens": 64 });
            body["messages"] = turns.into_iter().map(|content| json!({ "role": "user", "content": content })).collect();
            // A system prompt is of texts.
            let texts = |block: &Value| block["type"] == "text";
            if let Some(system) = system.filter(|said| said.as_array().is_none_or(|all| all.iter().all(texts))) {
                body["system"] = system;
            }
            let has_tools = settings.iter().any(|(name, _)| *name == "tools");
            for (name, value) in settings.into_iter().filter(|(name, _)| *name != "tool_choice" || has_tools) {
                body[name] = value;
            }
            same(&sent(Dialect::Anthropic, OLD, &body).unwrap(), &body, spell);
        }
    }
}

mod gemini {
    use super::*;

    const BUDGET: (&str, &str) = ("gemini", "gemini-2.5-flash");
    const LEVEL: (&str, &str) = ("gemini", "gemini-3.8-flash");

    /// One spelling of names, and none of what is the default.
    fn spell(fields: &mut Map<String, Value>) {
        let camel = |name: &str| {
            let mut words = name.split('_');
            let first = words.next().unwrap().to_owned();
            words.fold(first, |all, word| all + &word[..1].to_uppercase() + &word[1..])
        };
        // Names of the caller's own stay.
        if !fields.contains_key("lookup_id") {
            *fields = std::mem::take(fields).into_iter().map(|(name, value)| (camel(&name), value)).collect();
        }
        if fields.contains_key("parts") {
            fields.entry("role").or_insert_with(|| json!("user"));
        }
        let usual = |name: &str, value: &Value| match name {
            "serviceTier" => true,
            "candidateCount" => value == &json!(1),
            "responseMimeType" => value == "text/plain",
            "includeThoughts" | "responseLogprobs" => value == &json!(false),
            "tools" | "safetySettings" | "stopSequences" => value.as_array().is_some_and(Vec::is_empty),
            _ => false,
        };
        fields.retain(|name, value| !usual(name, value));
    }

    /// A role of the system instruction says nothing, and how little is thought by default is ours to say.
    fn goes_out(model: (&str, &str), body: &Value) {
        let mut out = sent(Dialect::Gemini, model, body).unwrap_or_else(|error| panic!("{body}: {error}"));
        let config = out["generationConfig"].as_object_mut().unwrap();
        let said = ["generationConfig", "generation_config"].map(|name| body[name].clone());
        if !said.iter().any(|said| said.get("thinkingConfig").or(said.get("thinking_config")).is_some()) {
            config.remove("thinkingConfig");
        }
        same(&out, body, spell);
    }

    #[test]
    fn every_field_of_the_reference_goes_out_as_it_came_in() {
        let schema = json!({ "type": "object", "properties": { "label": { "type": "string", "minLength": 1 } }, "required": ["label"] });
        let called = json!([
            { "role": "user", "parts": [
                { "text": "Classify." },
                { "inlineData": { "mimeType": "image/png", "data": "iVBORw0KGgo=" } },
                { "fileData": { "mimeType": "application/pdf", "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc123" } },
            ] },
            { "role": "model", "parts": [{ "functionCall": { "id": "c1", "name": "lookup", "args": { "id": 7 } }, "thoughtSignature": "AAEC" }] },
            { "role": "user", "parts": [{ "functionResponse": { "id": "c1", "name": "lookup", "response": { "output": "ok" } } }] },
        ]);
        let tools = json!([{ "functionDeclarations": [{ "name": "lookup", "description": "find", "parametersJsonSchema": { "type": "object" } }] }]);
        let with = |config: Value| json!({ "generationConfig": merged(json!({ "maxOutputTokens": 4_096 }), &config) });
        for (model, more) in [
            (
                BUDGET,
                with(json!({
                    "temperature": 0.2, "topP": 0.9, "topK": 40, "seed": 7, "candidateCount": 1, "stopSequences": ["END"],
                    "presencePenalty": 0.0, "frequencyPenalty": 0.0, "responseMimeType": "application/json", "responseJsonSchema": schema,
                    "thinkingConfig": { "thinkingBudget": 0, "includeThoughts": false },
                })),
            ),
            (BUDGET, with(json!({ "thinkingConfig": { "thinkingBudget": 1_024 } }))),
            (BUDGET, with(json!({ "thinkingConfig": { "thinkingBudget": -1 } }))),
            (LEVEL, with(json!({ "thinkingConfig": { "thinkingLevel": "HIGH" } }))),
            (
                LEVEL,
                with(json!({ "thinkingConfig": { "thinkingLevel": "MINIMAL", "includeThoughts": true } })),
            ),
            (
                LEVEL,
                with(
                    json!({ "responseMimeType": "application/json", "responseSchema": { "type": "OBJECT", "propertyOrdering": ["a"] } }),
                ),
            ),
            (
                LEVEL,
                with(
                    json!({ "responseMimeType": "text/x.enum", "responseLogprobs": true, "logprobs": 2, "mediaResolution": "MEDIA_RESOLUTION_LOW" }),
                ),
            ),
            (
                LEVEL,
                json!({ "contents": called, "tools": tools, "toolConfig": { "functionCallingConfig": { "mode": "AUTO" } } }),
            ),
            (
                LEVEL,
                json!({ "safetySettings": [{ "category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH" }], "labels": { "team": "a" }, "store": true, "serviceTier": "standard" }),
            ),
            (
                LEVEL,
                json!({ "systemInstruction": { "parts": [{ "text": "You label." }, { "text": "Be brief." }] } }),
            ),
            (
                LEVEL,
                json!({ "contents": [{ "parts": [{ "inlineData": { "mimeType": "application/pdf", "data": "JVBERi0=" } }, { "text": "Read." }] }] }),
            ),
            (
                LEVEL,
                json!({ "contents": [{ "parts": [{ "fileData": { "mimeType": "video/mp4", "fileUri": "https://youtu.be/x" }, "videoMetadata": { "fps": 1 } }, { "text": "See." }] }] }),
            ),
            (
                LEVEL,
                json!({ "contents": [{ "parts": [{ "text": "a" }] }, { "role": "model", "parts": [{ "text": "b" }] }, { "parts": [{ "text": "c" }] }] }),
            ),
            (
                LEVEL,
                json!({ "generationConfig": null, "generation_config": { "max_output_tokens": 64, "top_k": 4, "thinking_config": { "thinkingLevel": "LOW" } } }),
            ),
        ] {
            let plain = json!({
                "systemInstruction": { "parts": [{ "text": "You label tickets." }] },
                "contents": [{ "role": "user", "parts": [{ "text": "Hi" }] }],
                "generationConfig": { "maxOutputTokens": 512 },
            });
            goes_out(model, &merged(plain, &more));
        }
    }

    #[test]
    fn a_vector_is_asked_for_as_it_was() {
        let body = json!({ "content": { "parts": [{ "text": "embed me" }] }, "outputDimensionality": 768, "taskType": "RETRIEVAL_DOCUMENT" });
        let out = sent(Dialect::Gemini, ("gemini", "gemini-embedding-001"), &body).unwrap();
        let want = merged(body, &json!({ "model": "models/gemini-embedding-001" }));
        same(&out["requests"][0], &want, |_| {});
    }

    fn part() -> impl Strategy<Value = Value> {
        prop_oneof![
            4 => "[a-z\"\\\\é]{1,8}".prop_map(|text| json!({ "text": text })),
            1 => Just(json!({ "inlineData": { "mimeType": "image/webp", "data": "AAAA" } })),
            1 => Just(json!({ "inline_data": { "mime_type": "audio/mp3", "data": "AAAA" } })),
            1 => Just(json!({ "functionResponse": { "name": "f", "response": {} } })),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_said_goes_out(
            turns in proptest::collection::vec(proptest::collection::vec(part(), 1..4), 1..4),
            settings in proptest::sample::subsequence(vec![
                ("topK", json!(5)),
                ("temperature", json!(0.25)),
                ("stop_sequences", json!(["a", "b"])),
                ("thinkingConfig", json!({ "thinkingBudget": 0 })),
                ("responseMimeType", json!("application/json")),
                ("responseJsonSchema", json!({ "type": "string" })),
                ("mediaResolution", json!("MEDIA_RESOLUTION_LOW")),
            ], 0..7),
            labels: bool,
        ) {
            let mut body = json!({ "generationConfig": { "maxOutputTokens": 64 } });
            body["contents"] = turns.into_iter().map(|parts| json!({ "role": "user", "parts": parts })).collect();
            if labels {
                body["labels"] = json!({ "team": "a" });
            }
            // A schema has its type beside it.
            let is_json = settings.iter().any(|(name, _)| *name == "responseMimeType");
            for (name, value) in settings.into_iter().filter(|(name, _)| *name != "responseJsonSchema" || is_json) {
                body["generationConfig"][name] = value;
            }
            goes_out(BUDGET, &body);
        }
    }
}

mod bedrock {
    use super::*;

    const NOVA: (&str, &str) = ("bedrock", "us.amazon.nova-lite-v1:0");
    const CLAUDE: (&str, &str) = ("bedrock", "global.anthropic.claude-haiku-5-5");
    const OLD: (&str, &str) = ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0");

    /// Without labels, and what says nothing or is the lane's.
    fn spell(fields: &mut Map<String, Value>) {
        if fields.contains_key("format") || fields.contains_key("schema") {
            fields.remove("name");
        }
        if let Some(Value::String(schema)) = fields.get("schema") {
            let schema = serde_json::from_str(schema).unwrap();
            fields.insert("schema".to_owned(), schema);
        }
        fields.remove("serviceTier");
        let usual = |name: &str, value: &Value| match name {
            "schemaVersion" => true,
            "performanceConfig" => value["latency"] == "standard",
            _ => false,
        };
        fields.retain(|name, value| !usual(name, value));
    }

    #[test]
    fn every_field_of_the_reference_goes_out_as_it_came_in() {
        let schema = r#"{"type":"object","properties":{"label":{"type":"string"}},"required":["label"],"additionalProperties":false}"#;
        let called = json!([
            { "role": "user", "content": [
                { "text": "Classify." },
                { "image": { "format": "png", "source": { "bytes": "iVBORw0KGgo=" } } },
                { "document": { "format": "pdf", "name": "contract one", "source": { "s3Location": { "uri": "s3://bkt/c.pdf" } } } },
            ] },
            { "role": "assistant", "content": [{ "toolUse": { "toolUseId": "t1", "name": "lookup", "input": { "id": 7 } } }] },
            { "role": "user", "content": [{ "toolResult": { "toolUseId": "t1", "status": "success", "content": [{ "json": { "ok": true } }, { "text": "ok" }] } }] },
        ]);
        let tools = json!({ "tools": [{ "toolSpec": { "name": "lookup", "description": "find", "strict": true, "inputSchema": { "json": { "type": "object" } } } }], "toolChoice": { "auto": {} } });
        let format = json!({ "type": "json_schema", "structure": { "jsonSchema": { "name": "label", "schema": schema } } });
        for (model, more) in [
            (CLAUDE, json!({ "messages": called, "toolConfig": tools })),
            (
                OLD,
                json!({ "additionalModelRequestFields": { "top_k": 40 }, "additionalModelResponseFieldPaths": ["/stop_sequence"] }),
            ),
            (
                OLD,
                json!({ "additionalModelRequestFields": { "thinking": { "type": "enabled", "budget_tokens": 1_024 } } }),
            ),
            (
                OLD,
                json!({ "inferenceConfig": { "maxTokens": 256, "temperature": 0.2, "stopSequences": ["END"] } }),
            ),
            (CLAUDE, json!({ "outputConfig": { "textFormat": format } })),
            (CLAUDE, json!({ "outputConfig": { "effort": "low", "textFormat": format } })),
            (NOVA, json!({ "outputConfig": { "textFormat": format } })),
            (
                NOVA,
                json!({ "inferenceConfig": { "maxTokens": 256, "temperature": 1.0, "topP": 0.9 }, "schemaVersion": "messages-v1" }),
            ),
            (
                NOVA,
                json!({ "serviceTier": { "type": "flex" }, "performanceConfig": { "latency": "standard" }, "requestMetadata": { "run": "r1" } }),
            ),
            (NOVA, json!({ "additionalModelRequestFields": { "inferenceConfig": { "topK": 20 } } })),
            (
                NOVA,
                json!({ "messages": [{ "role": "user", "content": [{ "text": "Read." }, { "document": { "format": "csv", "name": "numbers", "source": { "bytes": "AAAA" } } }] }] }),
            ),
            (
                NOVA,
                json!({ "messages": [{ "role": "user", "content": [{ "text": "a" }, { "cachePoint": { "type": "default" } }] }, { "role": "assistant", "content": [{ "text": "b" }] }, { "role": "user", "content": [{ "text": "c" }] }] }),
            ),
            (
                NOVA,
                json!({ "messages": [{ "role": "user", "content": [{ "text": "a" }, { "video": { "format": "mp4", "source": { "s3Location": { "uri": "s3://b/v" } } } }] }] }),
            ),
        ] {
            let plain = json!({
                "system": [{ "text": "You label tickets." }, { "cachePoint": { "type": "default", "ttl": "1h" } }],
                "messages": [{ "role": "user", "content": [{ "text": "Hi" }] }],
                "inferenceConfig": { "maxTokens": 2_048 },
            });
            let body = merged(plain, &more);
            let out = sent(Dialect::Bedrock, model, &body).unwrap_or_else(|error| panic!("{more}: {error}"));
            same(&out, &body, spell);
        }
        // Nova's own body has the setting that Converse has no name for.
        let own = json!({ "messages": [{ "role": "user", "content": [{ "text": "Hi" }] }], "inferenceConfig": { "maxTokens": 9, "topK": 20 } });
        let out = sent(Dialect::Bedrock, NOVA, &own).unwrap();
        assert_eq!(out["additionalModelRequestFields"], json!({ "inferenceConfig": { "topK": 20 } }));
    }

    #[test]
    fn claudes_own_body_says_the_same_in_converses_words() {
        let own = json!({
            "anthropic_version": "bedrock-2023-05-31", "max_tokens": 2_048, "system": "Be brief.", "stop_sequences": ["END"],
            "anthropic_beta": ["b"], "thinking": { "type": "adaptive" },
            "messages": [{ "role": "user", "content": [{ "type": "text", "text": "See" }, { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } }] }],
        });
        let want = json!({
            "system": [{ "text": "Be brief." }],
            "messages": [{ "role": "user", "content": [{ "text": "See" }, { "image": { "format": "png", "source": { "bytes": "AAAA" } } }] }],
            "inferenceConfig": { "maxTokens": 2_048, "stopSequences": ["END"] },
            "additionalModelRequestFields": { "anthropic_beta": ["b"], "thinking": { "type": "adaptive" } },
        });
        same(&sent(Dialect::Bedrock, CLAUDE, &own).unwrap(), &want, spell);
        let vector = json!({ "inputText": "a", "dimensions": 256 });
        let out = sent(Dialect::Bedrock, ("bedrock", "amazon.titan-embed-text-v2:0"), &vector).unwrap();
        same(&out, &vector, spell);
    }

    fn block() -> impl Strategy<Value = Value> {
        prop_oneof![
            4 => "[a-z\"\\\\é]{1,8}".prop_map(|text| json!({ "text": text })),
            1 => Just(json!({ "image": { "format": "webp", "source": { "bytes": "AAAA" } } })),
            1 => Just(json!({ "toolResult": { "toolUseId": "t", "content": [{ "text": "9" }] } })),
            1 => Just(json!({ "document": { "format": "pdf", "name": "a", "source": { "bytes": "AAAA" } } })),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_said_goes_out(
            turns in proptest::collection::vec(proptest::collection::vec(block(), 1..4), 1..4),
            system in proptest::option::of("[a-z]{1,9}"),
            settings in proptest::sample::subsequence(vec![
                ("temperature", json!(0.25)),
                ("topP", json!(0.5)),
                ("stopSequences", json!(["a"])),
            ], 0..3),
            more in proptest::option::of(Just(json!({ "inferenceConfig": { "topK": 3 } }))),
        ) {
            let mut body = json!({ "inferenceConfig": { "maxTokens": 64 } });
            body["messages"] = turns.into_iter().map(|content| json!({ "role": "user", "content": content })).collect();
            if let Some(system) = system {
                body["system"] = json!([{ "text": system }]);
            }
            for (name, value) in settings {
                body["inferenceConfig"][name] = value;
            }
            if let Some(more) = more {
                body["additionalModelRequestFields"] = more;
            }
            same(&sent(Dialect::Bedrock, NOVA, &body).unwrap(), &body, spell);
        }
    }
}
