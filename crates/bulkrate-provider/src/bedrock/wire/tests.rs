//! Bodies as they go out, refusals by name, and answers as they are read.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bulkrate_core::answer::{Body, Embedding, Finish, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::Ttl;
use bulkrate_core::request::{Kind, Request};
use serde_json::{Value, json};

use super::BedrockWire;
use crate::api::{Reply, Wire, WireOptions};
use crate::http::Account;
use crate::settings::{ProxyFrom, Settings};
use crate::testing::{self, asking};

const NOVA: &str = "us.amazon.nova-lite-v1:0";
const CLAUDE: &str = "global.anthropic.claude-haiku-5-5";
const OLD: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const LLAMA: &str = "meta.llama3-1-8b-instruct-v1:0";
const OSS: &str = "openai.gpt-oss-120b-1:0";

fn wire() -> BedrockWire {
    let settings =
        Settings { proxy: ProxyFrom::None, api_key: "bedrock-canary-0123456".into(), ..Settings::default() };
    BedrockWire::new(Account::new(Some("http://127.0.0.1:1"), "bedrock", &settings).unwrap(), &settings)
}

fn encoded_in(lane: Lane, model: &str, line: &str) -> Result<Value, String> {
    let options = WireOptions::new(lane, model);
    testing::encoded(&wire(), options, line)
}

#[test]
fn settings_have_their_places() {
    // As they are written: a schema goes out as a text.
    let schema_text = r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#;
    let choices = r#"{"type":"object","properties":{"answer":{"type":"string","enum":["ham","spam"]}},"required":["answer"],"additionalProperties":false}"#;
    let format = |schema: &str| json!({"type": "json_schema", "structure": {"jsonSchema": {"name": "answer", "schema": schema}}});
    let config = |more: Value| {
        let mut all = json!({"maxTokens": 4_000});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    for (lane, model, asked, want) in [
        (Lane::Sync, NOVA, json!({}), json!({"inferenceConfig": config(json!({}))})),
        (
            Lane::Flex,
            NOVA,
            json!({}),
            json!({"inferenceConfig": config(json!({})), "serviceTier": {"type": "flex"}}),
        ),
        (
            Lane::Sync,
            NOVA,
            json!({"temperature": 0.5, "top_p": 1.0, "top_k": 5, "stop_sequences": ["END"]}),
            json!({"inferenceConfig": config(json!({"temperature": 0.5, "topP": 1, "stopSequences": ["END"]})), "additionalModelRequestFields": {"inferenceConfig": {"topK": 5}}}),
        ),
        (
            Lane::Sync,
            OLD,
            json!({"temperature": 0.5, "top_k": 5}),
            json!({"inferenceConfig": config(json!({"temperature": 0.5})), "additionalModelRequestFields": {"top_k": 5}}),
        ),
        (
            Lane::Sync,
            OLD,
            json!({"reasoning": "low"}),
            json!({"inferenceConfig": config(json!({})), "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1_024}}}),
        ),
        (
            Lane::Sync,
            CLAUDE,
            json!({"reasoning": "low", "choices": ["ham", "spam"]}),
            json!({"inferenceConfig": config(json!({})), "additionalModelRequestFields": {"thinking": {"type": "adaptive"}}, "outputConfig": {"effort": "low", "textFormat": format(choices)}}),
        ),
        (Lane::Sync, CLAUDE, json!({"temperature": 1.0}), json!({"inferenceConfig": config(json!({}))})),
        (
            Lane::Flex,
            LLAMA,
            json!({"output_schema": serde_json::from_str::<Value>(schema_text).unwrap()}),
            json!({"inferenceConfig": config(json!({})), "outputConfig": {"textFormat": format(&serde_json::from_str::<Value>(schema_text).unwrap().to_string())}, "serviceTier": {"type": "flex"}}),
        ),
        // Batches take no schema: choices are told apart by what is answered.
        (
            Lane::Batch,
            NOVA,
            json!({"choices": ["ham", "spam"]}),
            json!({"inferenceConfig": config(json!({}))}),
        ),
        (Lane::Sync, LLAMA, json!({"reasoning": "none"}), json!({"inferenceConfig": config(json!({}))})),
    ] {
        let line = asking(asked, json!({}));
        let mut body =
            encoded_in(lane, model, &line).unwrap_or_else(|error| panic!("{model} {line}: {error}"));
        assert_eq!(
            body.as_object_mut().unwrap().remove("messages").unwrap(),
            json!([{"role": "user", "content": [{"text": "Hi"}]}])
        );
        assert_eq!(body, want, "{model} {line}");
    }
}

#[test]
fn the_callers_own_fields_are_added_to_and_win() {
    let own = json!({"inferenceConfig": {"temperature": 0}, "additionalModelRequestFields": {"inferenceConfig": {"topK": 1}}, "requestMetadata": {"run": "r1"}, "serviceTier": {"type": "priority"}, "modelId": "other"});
    let line = asking(json!({"temperature": 0.5, "top_k": 3}), json!({"provider_kwargs": own}));
    let body = encoded_in(Lane::Flex, NOVA, &line).unwrap();
    assert_eq!(body["inferenceConfig"], json!({"maxTokens": 4_000, "temperature": 0}));
    assert_eq!(body["additionalModelRequestFields"], json!({"inferenceConfig": {"topK": 1}}));
    assert_eq!(
        (&body["requestMetadata"]["run"], &body["serviceTier"]["type"]),
        (&json!("r1"), &json!("flex"))
    );
    assert!(body.get("modelId").is_none(), "{body}");
}

#[test]
fn the_end_of_what_stands_before_the_last_turn_is_marked() {
    let marked = |line: &Value, mark: Option<Ttl>| {
        let text = line.to_string();
        let request: Request<'_> = serde_json::from_str(&text).unwrap();
        let options = WireOptions { mark, ..WireOptions::new(Lane::Sync, CLAUDE) };
        let mut body = Vec::new();
        wire().encode(&request, options, &mut body).map_err(|error| error.to_string())?;
        Ok::<Value, String>(serde_json::from_slice(&body).unwrap())
    };
    let (short, long) =
        (json!({"cachePoint": {"type": "default"}}), json!({"cachePoint": {"type": "default", "ttl": "1h"}}));
    let last = json!({"role": "user", "content": "Hi"});
    let plain = json!({"system_prompt": ["Be brief.", "Be calm."], "messages": [last]});
    let body = marked(&plain, Some(Ttl::FiveMinutes)).unwrap();
    assert_eq!(body["system"], json!([{"text": "Be brief."}, {"text": "Be calm."}, short]));
    assert_eq!(body["messages"][0]["content"], json!([{"text": "Hi"}]));
    let parts = json!([{"type": "text", "text": "A"}, {"type": "text", "text": ""}]);
    for (turn, written) in [(json!("A"), json!([{"text": "A"}, long])), (parts, json!([{"text": "A"}, long]))]
    {
        let turns = json!([{"role": "user", "content": "Q"}, {"role": "assistant", "content": turn}, last]);
        let line = json!({"system_prompt": ["Be brief."], "messages": turns});
        let body = marked(&line, Some(Ttl::Hour)).unwrap();
        assert_eq!(body["messages"][1]["content"], written, "examples belong to it");
        assert_eq!(body.to_string().matches("cachePoint").count(), 1, "{body}");
        assert!(!marked(&line, None).unwrap().to_string().contains("cachePoint"));
    }
    // The caller's own marks win; for an hour only where its price is reserved.
    let own = json!({"system_prompt": ["x"], "messages": [last], "provider_kwargs": {"system": [{"text": "S"}, long]}});
    assert_eq!(marked(&own, Some(Ttl::Hour)).unwrap()["system"], json!([{"text": "S"}, long]));
    assert!(marked(&own, Some(Ttl::FiveMinutes)).unwrap_err().contains("--prompt-cache 1h"));
}

#[test]
fn what_some_requests_share_of_the_last_turn_is_marked_within_it() {
    let marked = |line: &Value, second: Option<u32>| {
        let text = line.to_string();
        let request: Request<'_> = serde_json::from_str(&text).unwrap();
        let options = WireOptions { second, ..WireOptions::new(Lane::Sync, NOVA) };
        let mut body = Vec::new();
        wire().encode(&request, options, &mut body).unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()
    };
    let line = json!({"messages": [{"role": "user", "content": "A \"long\" text. Why?"}]});
    let content = |body: &Value| body["messages"][0]["content"].clone();
    let want = json!([{"text": "A \"long\" text."}, {"cachePoint": {"type": "default"}}, {"text": " Why?"}]);
    assert_eq!(content(&marked(&line, Some(14))), want);
    let whole = json!([{"text": "A \"long\" text. Why?"}]);
    for none in [None, Some(0), Some(19), Some(22)] {
        assert_eq!(content(&marked(&line, none)), whole, "{none:?}");
    }
    let own = json!({"messages": line["messages"], "provider_kwargs": {"toolConfig": {"tools": [{"cachePoint": {"type": "default"}}]}}});
    assert_eq!(content(&marked(&own, Some(14))), whole, "the caller's own marks win");
}

#[test]
fn turns_and_parts() {
    let blob = |kind: &str, from: &str, media: &str, data: &str| json!({"type": kind, "source_type": from, "media_type": media, "data": data});
    let line = json!({"system_prompt": ["Be brief.", ""], "messages": [
        {"role": "system", "content": "Be calm."},
        {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "text", "text": ""}, blob("image", "base64", "image/png", "AAAA"), blob("document", "url", "application/pdf", "s3://b/k.pdf"), blob("document", "base64", "text/plain", "QQ==")]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "Sure?"},
    ]});
    let body = encoded_in(Lane::Batch, NOVA, &line.to_string()).unwrap();
    assert_eq!(
        body,
        json!({
            "system": [{"text": "Be brief."}, {"text": "Be calm."}],
            "messages": [
                {"role": "user", "content": [
                    {"text": "Look"},
                    {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                    {"document": {"format": "pdf", "name": "document 1", "source": {"s3Location": {"uri": "s3://b/k.pdf"}}}},
                    {"document": {"format": "txt", "name": "document 2", "source": {"bytes": "QQ=="}}},
                ]},
                {"role": "assistant", "content": [{"text": "A cat."}]},
                {"role": "user", "content": [{"text": "Sure?"}]},
            ],
            "inferenceConfig": {},
        })
    );
}

#[test]
fn refusals_name_the_field() {
    let schema = json!({"output_schema": {"type": "object"}});
    let own = |fields: Value| json!({"provider_kwargs": fields});
    let extra = |fields: Value| own(json!({"additionalModelRequestFields": fields}));
    let none = || json!({});
    let url = json!({"messages": [{"role": "user", "content": [{"type": "image", "source_type": "url", "media_type": "image/png", "data": "https://example.org/a.png"}]}]});
    for (lane, model, config, more, words) in [
        (Lane::Sync, NOVA, json!({"temperature": 1.5}), none(), "`temperature`"),
        (Lane::Sync, NOVA, json!({"seed": 1}), none(), "`seed`"),
        (Lane::Sync, NOVA, json!({"presence_penalty": 1}), none(), "`presence_penalty`"),
        (Lane::Sync, LLAMA, json!({"top_k": 1}), none(), "`top_k`"),
        (Lane::Sync, OSS, json!({"reasoning": "low"}), none(), "`reasoning`"),
        (Lane::Sync, OSS, json!({"reasoning": "none"}), none(), "`reasoning`"),
        (Lane::Sync, CLAUDE, json!({"temperature": 0.5}), none(), "`temperature`"),
        (Lane::Sync, CLAUDE, json!({"reasoning": 2_000}), none(), "`reasoning`"),
        (Lane::Batch, NOVA, schema, none(), "`output_schema`"),
        (Lane::Batch, NOVA, none(), own(json!({"toolConfig": {}})), "`provider_kwargs.toolConfig`"),
        (Lane::Batch, NOVA, none(), own(json!({"outputConfig": {}})), "`provider_kwargs.outputConfig`"),
        (
            Lane::Sync,
            NOVA,
            none(),
            own(json!({"inferenceConfig": {"maxTokens": 1}})),
            "`provider_kwargs.inferenceConfig`",
        ),
        (Lane::Sync, NOVA, none(), own(json!({"inferenceConfig": 7})), "`provider_kwargs.inferenceConfig`"),
        (Lane::Sync, NOVA, none(), own(json!({"guardrailConfig": {}})), "`provider_kwargs.guardrailConfig`"),
        (
            Lane::Sync,
            NOVA,
            none(),
            own(json!({"toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]}})),
            "`provider_kwargs.toolConfig`",
        ),
        (Lane::Sync, NOVA, none(), extra(json!({"inferenceConfig": {"maxTokens": 9}})), "`inferenceConfig`"),
        (Lane::Sync, NOVA, none(), extra(json!({"max_tokens": 60_000})), "`max_tokens`"),
        (Lane::Sync, NOVA, none(), extra(json!({"tools": [{"type": "web_search_20250305"}]})), "`tools`"),
        (
            Lane::Sync,
            NOVA,
            none(),
            own(json!({"performanceConfig": {"latency": "optimized"}})),
            "`provider_kwargs.performanceConfig`",
        ),
        (
            Lane::Sync,
            NOVA,
            none(),
            own(json!({"system": [{"cachePoint": {"type": "default", "ttl": "1h"}}]})),
            "`provider_kwargs.cachePoint`",
        ),
        (Lane::Sync, NOVA, none(), url, "`messages.image`"),
        (
            Lane::Sync,
            NOVA,
            none(),
            json!({"messages": [{"role": "assistant", "content": "x"}]}),
            "`messages`",
        ),
        (Lane::Sync, NOVA, none(), json!({"kind": "embedding", "input": ["x"], "messages": []}), "`kind`"),
        (Lane::Sync, NOVA, none(), json!({"kind": "moderation", "input": ["x"], "messages": []}), "`kind`"),
    ] {
        let error = encoded_in(lane, model, &asking(config, more)).unwrap_err();
        assert!(error.contains(words) && error.contains(model), "{words}: {error}");
    }
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, headers: http::HeaderMap::new(), body: body.to_owned().into() }
}

#[test]
fn answers_and_what_ended_them() {
    let wire = wire();
    let answer = |reason: &str, content: &str| {
        format!(
            r#"{{"output":{{"message":{{"role":"assistant","content":[{content}]}}}},"stopReason":"{reason}","usage":{{"inputTokens":3,"outputTokens":2,"totalTokens":5}},"metrics":{{"latencyMs":5}},"serviceTier":{{"type":"flex"}}}}"#
        )
    };
    let text = r#"{"reasoningContent":{"reasoningText":{"text":"hm","signature":"x"}}},{"text":"He"},{"ofTomorrow":{}},{"text":"llo"}"#;
    for (reason, finish, want) in [
        ("end_turn", Finish::Stop, "Hello"),
        ("stop_sequence", Finish::Stop, "Hello"),
        ("max_tokens", Finish::Length, "Hello"),
        ("model_context_window_exceeded", Finish::ContextExceeded, "Hello"),
        ("guardrail_intervened", Finish::ContentFilter, ""),
        ("content_filtered", Finish::ContentFilter, ""),
        ("malformed_model_output", Finish::Malformed, "Hello"),
        ("of_tomorrow", Finish::Other, "Hello"),
    ] {
        let reply = reply(200, &answer(reason, text));
        let Reading::Answer(answer) = wire.read(Kind::Chat, &reply) else { panic!("{reason}") };
        let Body::Text { text, refusal, .. } = &answer.body else { panic!("{reason}") };
        assert_eq!(
            (answer.finish, &**text, refusal.is_some()),
            (finish, want, finish == Finish::ContentFilter)
        );
        assert_eq!((answer.tier.as_deref(), answer.usage.unwrap().input), (Some("flex"), 3));
    }
    let call =
        reply(200, &answer("tool_use", r#"{"toolUse":{"toolUseId":"t2","name":"f","input":{"id":9}}}"#));
    let Reading::Answer(called) = wire.read(Kind::Chat, &call) else { panic!() };
    let Body::Text { tool_calls: Some(calls), .. } = &called.body else { panic!() };
    assert_eq!(
        calls.get(),
        r#"[{"id":"t2","type":"function","function":{"name":"f","arguments":"{\"id\":9}"}}]"#
    );
}

#[test]
fn what_is_no_answer_may_have_been_paid() {
    let wire = wire();
    for (status, body, class, maybe_paid) in [
        (200, "{}", FailureClass::Transient, true),
        (200, "<html>", FailureClass::Transient, true),
        (200, r#"{"output":null}"#, FailureClass::Transient, true),
        (500, "gateway", FailureClass::Transient, true),
        (
            429,
            r#"{"__type":"ThrottlingException","message":"bedrock-canary-0123456"}"#,
            FailureClass::RateLimited,
            false,
        ),
        // A key of one's own does not come back by itself.
        (403, r#"{"__type":"ExpiredTokenException","message":"x"}"#, FailureClass::Auth, false),
    ] {
        let reply = reply(status, body);
        let Reading::Failure(failure) = wire.read(Kind::Chat, &reply) else { panic!("{body}") };
        assert_eq!((failure.class, failure.maybe_paid), (class, maybe_paid), "{body}");
        assert!(!failure.message.contains("canary"), "{failure:?}");
    }
}

#[test]
fn lines_of_results() {
    let wire = wire();
    let answered = r#"{"recordId":"br1-x-0","modelInput":{"messages":[]},"modelOutput":{"output":{"message":{"role":"assistant","content":[{"text":"Hello"}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":2}}}"#;
    let line = wire.read_line(Kind::Chat, answered.as_bytes()).unwrap();
    assert!(line.custom_id == "br1-x-0" && matches!(line.reading, Reading::Answer(_)), "{line:?}");
    for (error, class) in [
        (r#"{"errorCode":400,"errorMessage":"bad request"}"#, FailureClass::RefusedByProvider),
        (r#"{"errorCode":"429","errorMessage":"x"}"#, FailureClass::RateLimited),
        (r#"{"errorCode":503}"#, FailureClass::RateLimited),
        (r#"{"errorMessage":"x"}"#, FailureClass::Transient),
        (r#"{"errorCode":"InternalServerException","errorMessage":"x"}"#, FailureClass::Transient),
    ] {
        let text = format!(r#"{{"recordId":"a","modelInput":{{}},"error":{error}}}"#);
        let Reading::Failure(failure) = wire.read_line(Kind::Chat, text.as_bytes()).unwrap().reading else {
            panic!("{text}")
        };
        assert_eq!((failure.class, failure.maybe_paid), (class, false), "{text}");
    }
    let empty = wire.read_line(Kind::Chat, br#"{"recordId":"a"}"#).unwrap();
    assert!(matches!(empty.reading, Reading::Failure(failure) if failure.maybe_paid));
    for bad in ["", "{}", "[]", r#"{"recordId":""}"#, r#"{"recordId":7}"#] {
        assert!(wire.read_line(Kind::Chat, bad.as_bytes()).is_err(), "{bad}");
    }
}

const TITAN: &str = "amazon.titan-embed-text-v2:0";
const COHERE: &str = "us.cohere.embed-v4:0";
const NOVA_EMBED: &str = "amazon.nova-2-multimodal-embeddings-v1:0";

#[test]
fn vectors_are_asked_for_in_their_makers_words() {
    let ask = |model: &str, config: Value, own: Value| {
        let line = json!({"kind": "embedding", "input": ["some words"], "generation_config": config, "provider_kwargs": own});
        encoded_in(Lane::Sync, model, &line.to_string())
    };
    let cohere = |more: Value| {
        let mut body = json!({"texts": ["some words"], "input_type": "search_document", "embedding_types": ["float"], "truncate": "NONE"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let nova = |length: u64, purpose: &str| json!({"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"embeddingPurpose": purpose, "embeddingDimension": length, "text": {"truncationMode": "NONE", "value": "some words"}}});
    let (none, short) = (json!({}), json!({"dimensions": 256}));
    for (model, config, own, want) in [
        (TITAN, &none, json!({}), json!({"inputText": "some words"})),
        (
            TITAN,
            &short,
            json!({"normalize": false}),
            json!({"inputText": "some words", "dimensions": 256, "normalize": false}),
        ),
        ("amazon.titan-embed-text-v1", &none, json!({}), json!({"inputText": "some words"})),
        (COHERE, &none, json!({}), cohere(json!({}))),
        (
            COHERE,
            &short,
            json!({"input_type": "clustering"}),
            cohere(json!({"output_dimension": 256, "input_type": "clustering"})),
        ),
        (NOVA_EMBED, &none, json!({}), nova(3_072, "GENERIC_INDEX")),
        (
            NOVA_EMBED,
            &short,
            json!({"singleEmbeddingParams": {"embeddingPurpose": "CLUSTERING"}}),
            nova(256, "CLUSTERING"),
        ),
    ] {
        assert_eq!(ask(model, config.clone(), own).unwrap(), want, "{model}");
    }
    for (model, config, own, words) in [
        ("cohere.embed-english-v3", &short, json!({}), "`dimensions`"),
        ("amazon.titan-embed-text-v1", &short, json!({}), "`dimensions`"),
        ("amazon.titan-embed-image-v1", &none, json!({"inputImage": "AAAA"}), "only texts"),
        (COHERE, &none, json!({"images": []}), "only texts"),
        (NOVA_EMBED, &none, json!({"singleEmbeddingParams": {"video": {}}}), "only texts"),
        (NOVA_EMBED, &none, json!({"singleEmbeddingParams": 7}), "`provider_kwargs.singleEmbeddingParams`"),
    ] {
        let error = ask(model, config.clone(), own).unwrap_err();
        assert!(error.contains(words) && error.contains(model), "{words}: {error}");
    }
    // Results of batches would not say how many tokens were read, whatever a price list says.
    let one = r#"{"kind":"embedding","input":["a"]}"#;
    for (model, taken) in [(TITAN, true), (COHERE, false), (NOVA_EMBED, false)] {
        let told = encoded_in(Lane::Batch, model, one);
        assert_eq!(told.is_ok(), taken, "{told:?}");
        assert!(told.err().is_none_or(|why| why.contains("use the sync lane")), "{model}");
    }
    let two = r#"{"kind":"embedding","input":["a","b"]}"#;
    assert!(encoded_in(Lane::Sync, TITAN, two).unwrap_err().contains("2 inputs"));
    let wire = wire();
    assert_eq!(wire.path(Kind::Embedding, TITAN), "/model/amazon.titan-embed-text-v2%3A0/invoke");
}

#[test]
fn vectors_and_their_tokens() {
    let wire = wire();
    let counted = |body: &str, tokens: Option<&'static str>| {
        let mut reply = reply(200, body);
        if let Some(tokens) = tokens {
            reply.headers.insert("x-amzn-bedrock-input-token-count", http::HeaderValue::from_static(tokens));
        }
        reply
    };
    let titan = r#"{"embedding":[0.1,-0.2],"embeddingsByType":{"float":[0.1,-0.2]},"inputTextTokenCount":7}"#;
    let uncounted = r#"{"embedding":[0.1,-0.2]}"#;
    let cohere = r#"{"id":"x","embeddings":{"float":[[0.1,-0.2]]},"response_type":"embeddings_by_type"}"#;
    let plain = r#"{"embeddings":[[0.1,-0.2]],"response_type":"embeddings_floats"}"#;
    let nova = r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[0.1,-0.2]}]}"#;
    let cut = r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[0.1,-0.2],"truncatedCharLength":9}]}"#;
    for (body, header, input, finish) in [
        (titan, Some("9"), Some(7), Finish::Stop),
        (titan, None, Some(7), Finish::Stop),
        (uncounted, None, None, Finish::Stop),
        (cohere, Some("9"), Some(9), Finish::Stop),
        (cohere, Some("-9"), None, Finish::Stop),
        (plain, Some("9"), Some(9), Finish::Stop),
        (nova, Some(" 9 "), Some(9), Finish::Stop),
        (cut, Some("9"), Some(9), Finish::Length),
    ] {
        let reply = counted(body, header);
        let Reading::Answer(answer) = wire.read(Kind::Embedding, &reply) else { panic!("{body}") };
        let Body::Embedding(Embedding::Numbers(numbers)) = &answer.body else { panic!("{body}") };
        assert_eq!((numbers.get(), answer.finish), ("[0.1,-0.2]", finish), "{body}");
        assert_eq!(answer.usage.map(|usage| usage.input), input, "{body}");
    }
    for body in
        ["{}", "<html>", r#"{"embeddings":{"int8":[[1]]}}"#, r#"{"embeddings":[]}"#, r#"{"embedding":7}"#]
    {
        let reply = counted(body, Some("9"));
        let Reading::Failure(failure) = wire.read(Kind::Embedding, &reply) else { panic!("{body}") };
        assert!(failure.maybe_paid, "{body}");
    }
    let line = format!(r#"{{"recordId":"br1-x-0","modelInput":{{}},"modelOutput":{titan}}}"#);
    let line = wire.read_line(Kind::Embedding, line.as_bytes()).unwrap();
    assert!(matches!(line.reading, Reading::Answer(answer) if answer.usage.unwrap().input == 7));
}
